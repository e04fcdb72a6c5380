//! The same totals by way of a real Prometheus (Debian's) that scrapes the fleet; and promtool on what we write.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kcloud_e2e::{Running, fleet, until};
use kcloud_fleet_sim::{Faults, Fleet};
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::Grants;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
use kcloud_monitor::plugins::contract::{RangeQuery, Target};
use serde_json::json;

/// Ends what it started, by its process id.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("a part did not end: {error}");
        }
    }
}

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("NOT RUN: {program} is missing; `apt-get install prometheus` (cargo xtask test tries to)");
    }
    found
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Prometheus that scrapes every node of the fleet each second.
fn prometheus(dir: &Path, fleet: &Fleet, address: SocketAddr) -> (Part, String) {
    let jobs: String = (0..fleet.node_count())
        .map(|i| {
            let node = fleet.node_name(i);
            format!("  - job_name: {node}\n    metrics_path: /nodes/{node}/metrics\n    static_configs: [{{targets: ['{address}']}}]\n")
        })
        .collect();
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}")).unwrap();
    let port = free_port();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Part(child), format!("http://127.0.0.1:{port}"))
}

/// A plugin whose one target is that server.
fn settings(name: &str, base: &str, config: serde_json::Value) -> Settings {
    let target = Target {
        id: "cluster1".into(),
        address: base.to_owned(),
        cluster: "cluster1".into(),
        labels: vec![],
        credential: None,
        config: "{}".into(),
    };
    Settings {
        grants: Grants { http: Some(Policy::new([base])), ..Grants::default() },
        config,
        interval: Duration::from_millis(500),
        targets: vec![(target, None)],
        ..Settings::bare(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_by_way_of_a_real_prometheus_agrees_with_the_truth() {
    if !is_installed("prometheus") {
        return;
    }
    let (fleet, address) = fleet(4, Faults { blank_power_every: 0, ..Faults::demo() }).await;
    fleet.pin(Some(7));
    let truth = fleet.truth(7);
    let dir = tempfile::tempdir().unwrap();
    let (_part, base) = prometheus(dir.path(), &fleet, address);
    for (plugin, config) in [("nvidia-dcgm", json!({ "transport": "promql" })), ("prometheus", json!({ "discover_seconds": 1 }))] {
        let running = Running::start(&[plugin], vec![settings(plugin, &base, config)]).await;
        let summary = until("all cards by way of Prometheus", async || {
            let (_, body) = running.get("/api/v1/accelerators/gpus/summary").await;
            (body["data"]["power_known_count"] == truth.total_gpus).then(|| body["data"].clone())
        })
        .await;
        assert_eq!(summary["total_power_watts"].as_f64(), Some(truth.total_power_watts), "{plugin}");
        assert_eq!(summary["total_memory_used_mb"].as_u64(), Some(truth.total_memory_used_mib), "{plugin}");
        let card = truth.cards.iter().find(|c| c.mig_instances == 0 && c.power_watts > Some(100.0)).unwrap();
        let (_, body) = running.get(&format!("/api/v1/accelerators/gpus/{}", card.uuid)).await;
        // Without honor_labels the workload's pod is the exported one.
        assert_eq!(body["data"]["namespace"], "ml", "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_by_query_range_is_what_the_fleet_showed_then() {
    if !is_installed("prometheus") {
        return;
    }
    let (fleet, address) = fleet(2, Faults { blank_power_every: 5, mig_every: 3, ..Faults::demo() }).await;
    fleet.pin(Some(7));
    let dir = tempfile::tempdir().unwrap();
    let (_part, base) = prometheus(dir.path(), &fleet, address);
    let running = Running::start(&["prometheus"], vec![settings("prometheus", &base, json!({ "discover_seconds": 1 }))]).await;
    let plugin = until("the plugin is loaded", async || running.host.app.registry.get("prometheus")).await;
    let generation = until("a version answers", async || plugin.generation()).await;
    assert!(generation.has_history());
    let target = plugin.settings().targets[0].0.clone();
    let began = kcloud_monitor::now_ms() as u64 / 1_000 * 1_000;
    let watts = async |uuid: &str| -> Vec<(i64, f64)> {
        let query = RangeQuery {
            metric: "power_watts".into(),
            kind: "accelerator".into(),
            matching: vec![("uuid".into(), uuid.into())],
            start_ns: (began - 60_000) * 1_000_000,
            end_ns: (began + 600_000) * 1_000_000,
            step_ns: 1_000_000_000,
        };
        let (generation, target) = (generation.clone(), target.clone());
        let asking = async move { generation.range(&target, &query, Duration::from_secs(5)).await };
        let all = running.host.app.registry.runtime().handle().spawn(asking).await.unwrap();
        // Not up yet is the target's own matter.
        all.unwrap_or_default().into_iter().flat_map(|s| s.observations).collect()
    };
    let card = |tick: u64| fleet.truth(tick).cards.iter().find(|c| c.power_watts.is_some()).cloned().unwrap();
    let (early, late) = (card(7), card(90));
    assert_ne!(early.power_watts, late.power_watts);
    until("three readings of the first moment", async || (watts(&early.uuid).await.len() >= 3).then_some(())).await;
    fleet.pin(Some(90));
    let all = until("three readings of the second", async || {
        let all = watts(&early.uuid).await;
        (all.iter().filter(|(_, v)| Some(*v) == late.power_watts).count() >= 3).then_some(all)
    })
    .await;
    let switch = all.iter().position(|(_, v)| Some(*v) == late.power_watts).unwrap();
    assert!(switch >= 3 && all[..switch].iter().all(|(_, v)| Some(*v) == early.power_watts), "{all:?}");
    assert!(all[switch..].iter().all(|(_, v)| Some(*v) == late.power_watts), "{all:?}");
    assert!(all.iter().all(|(at, _)| at % 1_000 == 0), "at multiples of the step: {all:?}");
    // A host that starts only now answers for the time before it, and says where its own begins.
    let late_start = Running::start(&["prometheus"], vec![settings("prometheus", &base, json!({ "discover_seconds": 1 }))]).await;
    let path = format!("/api/v1/accelerators/gpus/{}/metrics?period=5m&step=1s", early.uuid);
    let body = until("the past and the present in one answer", async || {
        let (_, body) = late_start.get(&path).await;
        let watts = body["data"]["timeseries"]["power_watts"].as_array()?.clone();
        let seen = |w: Option<f64>| watts.iter().any(|p| p["value"].as_f64() == w);
        (seen(early.power_watts) && seen(late.power_watts) && body["metadata"]["history"].is_object()).then_some(body)
    })
    .await;
    assert_eq!(body["metadata"]["history"]["source"], "prometheus/cluster1");
    let blank = fleet.truth(7).cards.into_iter().find(|c| c.power_watts.is_none()).unwrap();
    assert!(watts(&blank.uuid).await.is_empty(), "a blank is no reading");
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_our_metrics() {
    if !is_installed("promtool") {
        return;
    }
    let (fleet, address) = fleet(2, Faults::demo()).await;
    let running = Running::start(&["nvidia-dcgm"], demo_settings(&fleet, address)).await;
    until("16 cards", async || (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 16).then_some(())).await;
    for path in ["/metrics", "/api/v1/system/metrics"] {
        let (status, body) = running.get(path).await;
        assert_eq!(status, 200);
        let file = running.dir.path().join("metrics.txt");
        std::fs::write(&file, body.as_str().unwrap()).unwrap();
        let out = Command::new("promtool").args(["check", "metrics"]).stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{path}: {said}");
        let holds = body.as_str().unwrap().lines().any(|l| l.starts_with("kcloud_history_head_bytes ") && !l.ends_with(" 0"));
        assert_eq!(holds, path.contains("system"), "{path} says what history holds");
    }
}
