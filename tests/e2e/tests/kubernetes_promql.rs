//! kube-state-metrics and cAdvisor by way of a real Prometheus (Debian's): the same as scraped straight.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kcloud_collector_test::{Answer, Recorded};
use kcloud_e2e::{Running, until};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::inventory::Value::Number;
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::Grants;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
use kcloud_monitor::plugins::contract::Target;
use serde_json::{Value, json};

/// Ends what it started, by its process id.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("a part did not end: {error}");
        }
    }
}

const STATE: &str = r#"kube_node_info{node="worker1",kernel_version="6.1",internal_ip="10.0.0.11"} 1
kube_node_status_condition{node="worker1",condition="Ready",status="true"} 1
kube_node_status_capacity{node="worker1",resource="cpu",unit="core"} 64
kube_node_status_capacity{node="worker1",resource="rebellions_ai_ATOM",unit="integer"} 4
kube_pod_info{namespace="ml",pod="train-1",uid="p-1",node="worker1",created_by_kind="Job",created_by_name="train"} 1
kube_pod_labels{namespace="ml",pod="train-1",uid="p-1",label_app="train"} 1
kube_pod_status_phase{namespace="ml",pod="train-1",uid="p-1",phase="Running"} 1
kube_pod_status_phase{namespace="ml",pod="train-1",uid="p-1",phase="Failed"} 0
kube_pod_container_info{namespace="ml",pod="train-1",uid="p-1",container="main",image="img:1",container_id="containerd://c1"} 1
kube_pod_container_resource_requests{namespace="ml",pod="train-1",uid="p-1",container="main",node="worker1",resource="cpu",unit="core"} 1.5
kube_pod_container_status_restarts_total{namespace="ml",pod="train-1",uid="p-1",container="main"} 3
"#;

/// As a kubelet stamps it, some seconds ago.
fn usage() -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() - 3_000;
    let row = |name: &str, container: &str, more: &str, value: &str| {
        format!(
            "{name}{{container=\"{container}\",id=\"/k/{container}\",image=\"img:1\",namespace=\"ml\",pod=\"train-1\"{more}}} {value} {at}\n"
        )
    };
    row("container_cpu_usage_seconds_total", "", ",cpu=\"total\"", "30")
        + &row("container_cpu_usage_seconds_total", "main", ",cpu=\"total\"", "20")
        + &row("container_memory_working_set_bytes", "", "", "5000")
        + &row("container_memory_working_set_bytes", "main", "", "2000")
        + &row("container_network_receive_bytes_total", "", ",interface=\"eth0\"", "7")
        + &row("container_network_receive_bytes_total", "", ",interface=\"lo\"", "70")
        + &row("container_spec_memory_limit_bytes", "main", "", "4096")
}

fn settings(plugin: &str, address: &str, transport: Value) -> Settings {
    let target = Target {
        id: plugin.into(),
        address: address.into(),
        cluster: "cluster1".into(),
        labels: vec![],
        credential: None,
        config: "{}".into(),
    };
    Settings {
        grants: Grants { http: Some(Policy::new([address])), ..Grants::default() },
        config: transport,
        interval: Duration::from_millis(500),
        targets: vec![(target, None)],
        ..Settings::bare(plugin)
    }
}

type Texts = BTreeMap<String, String>;

/// Numbers and labels of everything, by id.
fn world(running: &Running) -> BTreeMap<String, (Texts, Texts)> {
    let snapshot = running.host.app.inventory.current();
    let one = |s: &std::sync::Arc<kcloud_monitor::inventory::Subject>| {
        // What the host derives a second hangs on when it read.
        let is_rate = |name: &str| name.ends_with("_per_second") || name == "cpu_usage_cores";
        let numbers = s.readings.iter().filter_map(|r| match r.value {
            Number(v, _) => Some((Catalogue::metric(r.metric)?.name.to_owned(), v.to_string())).filter(|(name, _)| !is_rate(name)),
            _ => None,
        });
        let labels = s.labels.iter().chain(s.identity.iter()).map(|(k, v)| (k.to_string(), v.to_string()));
        (s.id.to_string(), (numbers.collect(), labels.collect()))
    };
    snapshot.subjects.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_way_of_prometheus_a_cluster_is_the_same_as_scraped_straight() {
    if Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("NOT RUN: prometheus is missing; `apt-get install prometheus` (cargo xtask test tries to)");
        return;
    }
    let exporters = Recorded::start([("/state", Answer::text(STATE)), ("/usage", Answer::text(usage()))]).await.unwrap();
    let straight = Running::start(
        &["kube-state-metrics", "cadvisor"],
        vec![
            settings("kube-state-metrics", &exporters.address("/state"), json!({})),
            settings("cadvisor", &exporters.address("/usage"), json!({})),
        ],
    )
    .await;
    // The node that is named after the exporter's address is of stand-alone cAdvisors only; a pod hangs on the node that is known.
    let expected = until("the node, the pod and its container", async || {
        let world = world(&straight);
        let pod = world.get("pod/cluster1/ml/train-1")?;
        (pod.0.contains_key("cpu_seconds_total") && pod.0.contains_key("restarts_total")).then_some(world)
    })
    .await;
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        ["container/pod/cluster1/ml/train-1/main", "node/cluster1/worker1", "pod/cluster1/ml/train-1"]
    );
    assert_eq!(expected["pod/cluster1/ml/train-1"].0["network_rx_bytes_total"], "7");

    let dir = tempfile::tempdir().unwrap();
    let at = exporters.address("").replace("http://", "");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
         - {{job_name: state, metrics_path: /state, static_configs: [{{targets: ['{at}'], labels: {{namespace: monitoring, pod: ksm-0}}}}]}}\n\
         - {{job_name: usage, metrics_path: /usage, static_configs: [{{targets: ['{at}']}}]}}\n"
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _part = Part(child);
    let base = format!("http://127.0.0.1:{port}");
    let promql = json!({ "transport": "promql" });
    let each = vec![settings("kube-state-metrics", &base, promql.clone()), settings("cadvisor", &base, promql)];
    let both = vec![settings("prometheus", &base, json!({ "discover_seconds": 1 }))];
    for (plugins, all) in [(&["kube-state-metrics", "cadvisor"][..], each), (&["prometheus"][..], both)] {
        let held = Running::start(plugins, all).await;
        let mut last = BTreeMap::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while last != expected {
            assert!(std::time::Instant::now() < deadline, "{plugins:?}: {last:#?}\nstraight: {expected:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            last = world(&held);
        }
    }
}
