//! Every query of the Grafana dashboard has data in a real Prometheus (Debian's) that scrapes a host over the demo fleet.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kcloud_e2e::{Running, root};
use kcloud_fleet_sim::{Faults, Fleet, FleetConfig, Origins, Shape};
use kcloud_monitor::cli::{demo_clusters, fleet_settings};
use serde_json::Value;

/// Ends what it started, by its process id.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("a part did not end: {error}");
        }
    }
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(root().join("docs/grafana/kcloud-monitor.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Title and expression of every query, as Grafana sends it with all clusters chosen.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let of = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |t| (title.clone(), t["expr"].as_str().unwrap().replace("$cluster", ".*"))).collect::<Vec<_>>()
    };
    panels.iter().flat_map(of).collect()
}

#[test]
fn the_dashboard_has_no_panel_twice_in_one_place_and_no_id_twice() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|p| p["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let number = |p: &Value, key: &str| p["gridPos"][key].as_i64().unwrap();
    for (i, a) in panels.iter().enumerate() {
        assert!(number(a, "x") + number(a, "w") <= 24, "{}", a["title"]);
        for b in &panels[i + 1..] {
            let apart =
                |at: &str, size: &str| number(a, at) + number(a, size) <= number(b, at) || number(b, at) + number(b, size) <= number(a, at);
            assert!(apart("x", "w") || apart("y", "h"), "{} lies over {}", a["title"], b["title"]);
        }
    }
    assert!(queries(&dashboard).len() > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_dashboard_has_data_in_a_real_prometheus() {
    if Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("NOT RUN: prometheus is missing; `apt-get install prometheus` (cargo xtask test tries to)");
        return;
    }
    let config =
        FleetConfig { seed: 1, nodes: 8, gpus_per_node: 8, tick: Duration::from_secs(1), faults: Faults::demo(), others: Vec::new() };
    let fleet = Arc::new(Fleet::whole(config, Shape::demo()));
    let origins = Origins::serve(&fleet).await.unwrap();
    let built = std::fs::read_dir(root().join("target/dist/plugins")).expect("run `cargo xtask components`");
    let components: Vec<String> = built.map(|e| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut settings = fleet_settings(&fleet, &origins, &components);
    settings.retain(|s| s.enabled);
    let components: Vec<String> = settings.iter().map(|s| s.name.clone()).collect();
    let names: Vec<&str> = components.iter().map(String::as_str).collect();
    let clusters = demo_clusters(&fleet);
    let running = Running::start_with(&names, settings, |options| options.clusters = clusters).await;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prometheus.yml");
    let host = running.base.trim_start_matches("http://");
    let job = "  - job_name: kcloud-monitor\n    basic_auth: {username: admin, password: changeme}\n    honor_labels: true\n";
    std::fs::write(
        &file,
        format!("global: {{scrape_interval: 2s}}\nscrape_configs:\n{job}    static_configs: [{{targets: ['{host}']}}]\n"),
    )
    .unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut prometheus = Command::new("prometheus");
    prometheus.arg(format!("--config.file={}", file.display())).arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
    prometheus.arg(format!("--web.listen-address=127.0.0.1:{port}")).stdout(Stdio::null()).stderr(Stdio::null());
    let _part = Part(prometheus.spawn().unwrap());

    let mut left = queries(&dashboard());
    let deadline = Instant::now() + Duration::from_secs(120);
    let client = reqwest::Client::new();
    while !left.is_empty() {
        let mut said = Vec::new();
        let mut still = Vec::new();
        for (title, query) in left {
            let asked = reqwest::Url::parse_with_params(&format!("http://127.0.0.1:{port}/api/v1/query"), [("query", &query)]).unwrap();
            let answer = match client.get(asked).send().await {
                Ok(answer) => answer.json::<Value>().await.unwrap_or(Value::Null),
                // It is not up yet.
                Err(error) => Value::String(error.to_string()),
            };
            if answer["data"]["result"].as_array().is_none_or(Vec::is_empty) {
                said.push(format!("{title}: {query}: {answer}"));
                still.push((title, query));
            }
        }
        left = still;
        assert!(left.is_empty() || Instant::now() < deadline, "panels without data, with {components:?}: {said:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
