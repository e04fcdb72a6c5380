//! kube-state-metrics and cAdvisor in the real host, against pages written for it.

use std::path::Path;
use std::time::Duration;

use kcloud_collector_test::{Answer, Kind, Plugin, Reason, Recorded, Setup, target};

const WALL: Duration = Duration::from_secs(10);

async fn plugin(name: &str, recorded: &Recorded, config: serde_json::Value) -> Plugin {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/dist/plugins/{name}.wasm"));
    let setup = Setup { http: vec![recorded.address("/")], config, ..Setup::default() };
    Plugin::load(&file, setup).await.expect("it loads")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kube_state_metrics_says_passes_the_hosts_checks() {
    let page = r#"kube_node_info{node="worker1",kernel_version="6.1"} 1
kube_node_labels{node="worker1",label_x="a b",label_node_role_kubernetes_io_worker=""} 1
kube_node_status_condition{node="worker1",condition="Ready",status="true"} 1
kube_node_status_capacity{node="worker1",resource="cpu",unit="core"} 8
kube_node_status_capacity{node="worker1",resource="nvidia_com_gpu",unit="integer"} 2
kube_namespace_status_phase{namespace="ml",phase="Active"} 1
kube_pod_info{namespace="ml",pod="train-1",uid="p-1",node="worker1"} 1
kube_pod_status_phase{namespace="ml",pod="train-1",uid="p-1",phase="Running"} 1
kube_pod_container_info{namespace="ml",pod="train-1",uid="p-1",container="main",container_id="containerd://c1"} 1
kube_pod_container_resource_limits{namespace="ml",pod="train-1",uid="p-1",container="main",resource="nvidia_com_gpu",unit="integer"} 2
kube_pod_container_resource_requests{namespace="ml",pod="train-1",uid="p-1",container="main",resource="nvidia_com_gpu",unit="integer"} 2
kube_pod_container_status_restarts_total{namespace="ml",pod="train-1",uid="p-1",container="main"} 3
"#;
    let recorded = Recorded::start([("/metrics", Answer::text(page))]).await.expect("a port");
    let plugin = plugin("kube-state-metrics", &recorded, serde_json::json!({})).await;
    let read = plugin.collect(&target("cluster1", &recorded.address("/metrics"), &[]), WALL).await.expect("a batch");
    let node = read.subject(Kind::Node, "node", "worker1").expect("the node");
    let pod = read.subject(Kind::Pod, "uid", "p-1").expect("the pod");
    assert_eq!((read.value(node, "gpu_capacity_count"), read.value(node, "readiness")), (Some(2.0), Some(0.0)));
    assert_eq!((read.value(pod, "gpu_request_count"), read.value(pod, "restarts_total")), (Some(2.0), Some(3.0)));
    assert_eq!(read.value(pod, "x_k8s_nvidia_com_gpu_requested_count"), Some(2.0));
    assert_eq!(read.gap(pod, "cpu_limit_cores"), Some(Reason::Absent));
    assert!(read.subject(Kind::Container, "runtime_id", "c1").is_some() && read.subject(Kind::Other, "name", "ml").is_some());
    recorded.answer("/metrics", Answer::text("node_load1 0.5\n"));
    let error = plugin.collect(&target("cluster1", &recorded.address("/metrics"), &[]), WALL).await.err().expect("a failure").to_string();
    assert!(error.contains("kube-state-metrics"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kubelet_says_passes_the_hosts_checks_with_its_stamps() {
    let row = |name: &str, container: &str, more: &str, value: &str| {
        format!("{name}{{container=\"{container}\",id=\"/k/{container}\",namespace=\"ml\",pod=\"train-1\"{more}}} {value} 1764000000123\n")
    };
    let page = row("container_cpu_usage_seconds_total", "", ",cpu=\"total\"", "30")
        + &row("container_cpu_usage_seconds_total", "main", ",cpu=\"total\"", "20")
        + &row("container_network_receive_bytes_total", "", ",interface=\"eth0\"", "7");
    let recorded = Recorded::start([("/metrics/cadvisor", Answer::text(page))]).await.expect("a port");
    let plugin = plugin("cadvisor", &recorded, serde_json::json!({ "transport": "scrape" })).await;
    let of = target("worker1", &recorded.address("/metrics/cadvisor"), &[("node", "worker1")]);
    let read = plugin.collect(&of, WALL).await.expect("a batch");
    let pod = read.subject(Kind::Pod, "name", "train-1").expect("the pod");
    assert_eq!((read.value(pod, "cpu_seconds_total"), read.value(pod, "network_rx_bytes_total")), (Some(20.0), Some(7.0)));
    assert!(read.batch.points.iter().all(|p| p.at_ms == Some(1_764_000_000_123)));
    recorded.answer("/metrics/cadvisor", Answer::status(401));
    assert!(plugin.collect(&of, WALL).await.err().expect("a failure").to_string().contains("credential"));
}
