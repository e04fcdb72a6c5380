//! The same totals by way of a real Prometheus (Debian's) that scrapes the fleet; and promtool on what we write.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kcloud_e2e::{Running, fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::plugins::capabilities::Grants;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;

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

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_by_way_of_a_real_prometheus_agrees_with_the_truth() {
    if !is_installed("prometheus") {
        return;
    }
    let (fleet, address) = fleet(4, Faults { blank_power_every: 0, ..Faults::demo() }).await;
    fleet.pin(Some(7));
    let truth = fleet.truth(7);
    let dir = tempfile::tempdir().unwrap();
    let jobs: String = (0..4)
        .map(|i| {
            let node = fleet.node_name(i);
            format!("  - job_name: {node}\n    metrics_path: /nodes/{node}/metrics\n    static_configs: [{{targets: ['{address}']}}]\n")
        })
        .collect();
    let config = dir.path().join("prometheus.yml");
    std::fs::write(&config, format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}")).unwrap();
    let port = free_port();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _prometheus = Part(child);
    let base = format!("http://127.0.0.1:{port}");
    let mut settings = demo_settings(&fleet, address).remove(0);
    let mut target = settings.targets.remove(0).0;
    (target.id, target.address, target.labels) = ("cluster1".into(), base.clone(), vec![]);
    settings.grants = Grants { http: Some(Policy::new([base.as_str()])), ..Grants::default() };
    settings.config = serde_json::json!({ "transport": "promql" });
    settings.interval = Duration::from_millis(500);
    settings.targets = vec![(target, None)];
    let running = Running::start(&["nvidia-dcgm"], vec![settings]).await;
    let summary = until("all cards by way of Prometheus", async || {
        let (_, body) = running.get("/api/v1/accelerators/gpus/summary").await;
        (body["data"]["power_known_count"] == truth.total_gpus).then(|| body["data"].clone())
    })
    .await;
    assert_eq!(summary["total_power_watts"].as_f64(), Some(truth.total_power_watts));
    assert_eq!(summary["total_memory_used_mb"].as_u64(), Some(truth.total_memory_used_mib));
    let card = truth.cards.iter().find(|c| c.mig_instances == 0 && c.power_watts > Some(100.0)).unwrap();
    let (_, body) = running.get(&format!("/api/v1/accelerators/gpus/{}", card.uuid)).await;
    // Without honor_labels the workload's pod is the exported one.
    assert_eq!(body["data"]["namespace"], "ml", "{body}");
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
    }
}
