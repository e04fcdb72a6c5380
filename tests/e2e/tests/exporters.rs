//! Real exporters of Debian's, read straight and by way of a real Prometheus.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kcloud_collector_test::{Collected, Kind, Plugin, Setup, target};
use kcloud_e2e::{component, until};
use serde_json::json;

const WALL: Duration = Duration::from_secs(10);

/// Ends what it started, by its process id.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("a part did not end: {error}");
        }
    }
}

/// Starts a part, or says loudly that it is not here.
fn part(command: &mut Command) -> Option<Part> {
    match command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn() {
        Ok(child) => Some(Part(child)),
        Err(error) => {
            eprintln!("NOT RUN: {:?}: {error}; `apt-get install` it (cargo xtask test tries to)", command.get_program());
            None
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Prometheus with this scrape configuration, every second.
fn prometheus(dir: &Path, jobs: &str) -> Option<(Part, String)> {
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}")).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display())).arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    let part = part(command.arg(format!("--web.listen-address=127.0.0.1:{port}")))?;
    Some((part, format!("http://127.0.0.1:{port}")))
}

async fn plugin(name: &str, address: &str, config: serde_json::Value) -> Plugin {
    let setup = Setup { http: vec![address.to_owned()], config, ..Setup::default() };
    Plugin::load(&component(name), setup).await.expect("it loads")
}

/// Reads until there is what is waited for.
async fn read<T>(what: &str, plugin: &Plugin, address: &str, labels: &[(&str, &str)], check: impl Fn(&Collected) -> Option<T>) -> T {
    let target = target("t", address, labels);
    until(what, async || plugin.collect(&target, WALL).await.ok().and_then(|read| check(&read))).await
}

fn node_exporter() -> Option<(Part, String)> {
    let port = free_port();
    let part = part(Command::new("prometheus-node-exporter").arg(format!("--web.listen-address=127.0.0.1:{port}")))?;
    Some((part, format!("127.0.0.1:{port}")))
}

fn memory_of_this_machine() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|l| l.starts_with("MemTotal:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// What every way to this machine must agree in.
fn of_this_machine(read: &Collected, name: &str) -> Option<f64> {
    let node = read.subject(Kind::Node, "node", name)?;
    let ratio = read.value(node, "utilization_ratio")?;
    assert!((0.0..=1.0).contains(&ratio), "{ratio}");
    assert_eq!(read.value(node, "memory_total_bytes"), Some(memory_of_this_machine()));
    let cpus = std::fs::read_to_string("/proc/stat").unwrap().lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    assert_eq!(read.value(node, "cpu_capacity_cores"), Some(cpus as f64));
    assert!(read.value(node, "load_1min_count").is_some() && read.value(node, "memory_used_bytes") < Some(memory_of_this_machine()));
    assert!(read.subjects(Kind::Other).all(|(_, s)| s.identity.iter().all(|(_, v)| v != "lo")), "loopback is no card");
    Some(ratio)
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_by_way_of_a_real_node_exporter() {
    let Some((_part, at)) = node_exporter() else { return };
    let address = format!("http://{at}/metrics");
    let plugin = plugin("node-exporter", &address, json!({ "pressure": true })).await;
    read("a second read", &plugin, &address, &[("node", "worker1")], |r| of_this_machine(r, "worker1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_by_way_of_a_real_prometheus() {
    let Some((_part, at)) = node_exporter() else { return };
    let dir = tempfile::tempdir().unwrap();
    let jobs = format!("  - job_name: node\n    static_configs: [{{targets: ['{at}'], labels: {{node: worker1}}}}]\n");
    let Some((_server, address)) = prometheus(dir.path(), &jobs) else { return };
    for (name, config) in [("node-exporter", json!({ "transport": "promql" })), ("prometheus", json!({ "discover_seconds": 1 }))] {
        let plugin = plugin(name, &address, config).await;
        read("two scrapes", &plugin, &address, &[], |r| of_this_machine(r, "worker1")).await;
    }
}
