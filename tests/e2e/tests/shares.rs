//! One plugin that takes all that it may, beside nine polite ones, on guest threads that have no time left.

use std::time::{Duration, Instant};

use kcloud_e2e::{Running, component, until};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::contract::Target;
use kcloud_monitor::plugins::limits::Limits;
use serde_json::json;

const POLITE: usize = 9;
const SPAN: Duration = Duration::from_secs(12);

fn target(id: &str) -> (Target, Option<Duration>) {
    let target =
        Target { id: id.into(), address: "none".into(), cluster: "cluster1".into(), labels: vec![], credential: None, config: "{}".into() };
    (target, None)
}

/// Reads `targets` targets again and again, each with `repeat` parses of 500 samples.
fn settings(name: &str, targets: usize, interval_ms: u64, repeat: u32) -> Settings {
    let text: String = (0..500).map(|i| format!("some_metric{{index=\"{i}\",host=\"worker1\"}} {i}\n")).collect();
    Settings {
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_secs(20),
        limits: Limits { cpu: Duration::from_secs(10), ..Limits::default() },
        config: json!({ "text": text, "repeat": repeat }),
        targets: (0..targets).map(|i| target(&format!("{name}-{i}"))).collect(),
        clusters: vec!["cluster1".into()],
        ..Settings::bare(name)
    }
}

/// Calls and CPU-seconds of each plugin.
async fn used(running: &Running, names: &[String]) -> Vec<(f64, f64)> {
    let (_, text) = running.get("/api/v1/system/metrics").await;
    let text = text.as_str().unwrap().to_owned();
    let of = |family: &str, name: &str| {
        let line = text.lines().find(|l| l.starts_with(&format!("{family}{{plugin=\"{name}\"}}")));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    names.iter().map(|n| (of("kcloud_plugin_calls_total", n), of("kcloud_plugin_cpu_seconds_total", n))).collect()
}

/// Shares of all guests' CPU, the greedy one's first, and reads done of those due of each polite one.
async fn shares(interval_ms: u64, repeat: u32) -> (Vec<f64>, Vec<f64>) {
    let names: Vec<String> = std::iter::once("greedy".to_owned()).chain((0..POLITE).map(|i| format!("polite{i}"))).collect();
    // As many calls at once as a plugin may have unless its operator says otherwise.
    let mut all = vec![settings("greedy", 16, 100, 1_000)];
    all.extend(names[1..].iter().map(|n| settings(n, 1, interval_ms, repeat)));
    let running = Running::start(&[], all).await;
    let bytes = std::fs::read(component("bench-guest")).unwrap();
    names.iter().for_each(|n| std::fs::write(running.plugins_dir().join(format!("{n}.wasm")), &bytes).unwrap());
    running.host.look_again.notify_one();
    until("all are read", async || {
        let now = used(&running, &names).await;
        (now.iter().skip(1).all(|(calls, _)| *calls >= 3.0) && now[0].1 > 1.0).then_some(())
    })
    .await;
    let (before, began) = (used(&running, &names).await, Instant::now());
    until("the span is over", async || (began.elapsed() >= SPAN).then_some(())).await;
    let (after, span) = (used(&running, &names).await, began.elapsed().as_secs_f64());
    let cpu: Vec<f64> = before.iter().zip(&after).map(|(a, b)| b.1 - a.1).collect();
    let sum: f64 = cpu.iter().sum();
    let due = span * 1e3 / interval_ms as f64;
    let done = before.iter().zip(&after).skip(1).map(|(a, b)| (b.0 - a.0) / due).collect();
    println!("{sum:.1} CPU-s of guests in {span:.1} s");
    (cpu.iter().map(|c| c / sum).collect(), done)
}

fn ends(all: &[f64]) -> (f64, f64) {
    (all.iter().copied().fold(f64::MAX, f64::min), all.iter().copied().fold(0.0, f64::max))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_plugin_costs_polite_ones_no_read() {
    let (shares, done) = shares(1_000, 40).await;
    println!(
        "greedy {:.3}, a polite one {:.3} to {:.3}; reads done / due {done:.2?}",
        shares[0],
        ends(&shares[1..]).0,
        ends(&shares[1..]).1
    );
    assert!(done.iter().all(|d| *d > 0.7), "{done:?}");
    assert!(shares[0] > 0.5, "what nobody else wants the greedy one gets: {shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_want_more_than_there_is_the_greedy_one_gets_no_more_than_its_calls_at_once() {
    let (shares, done) = shares(100, 400).await;
    let (least, most) = ends(&shares[1..]);
    println!("greedy {:.3}, a polite one {least:.3} to {most:.3}; reads done / due {done:.2?}", shares[0]);
    // Four calls at once beside nine: four thirteenths are fair to calls.
    assert!(shares[0] < 0.45, "{shares:?}");
    assert!(least > 0.03 && most < 2.5 * least, "polite ones get alike: {shares:?}");
}
