//! A day of the watts of a thousand nodes, by the minute: from the embedded store, and from a real Prometheus to which the same
//! was sent by remote write.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::history::remote::{RemoteWrite, Settings};
use kcloud_monitor::history::{Aggregate, Beyond, Embedded, Endpoint, Engine, History, Keep, Observation, Point};
use kcloud_monitor::inventory::batch::{Batch, BatchPoint, BatchSubject};
use kcloud_monitor::inventory::{Inventory, Kind, Publication, Quality, SourceInfo};

use crate::api::Started;
use crate::installed::{free_port, until};
use crate::{cpu, row};

const NODES: usize = 1_000;
const INTERVAL: i64 = 15_000;
const DAY: i64 = 86_400_000;
const WATTS: &str = "power_watts";

fn watts(node: usize, tick: i64) -> f64 {
    let hour = (tick as f64 + node as f64 * 13.0) / 240.0;
    ((900.0 + 300.0 * hour.sin() + ((tick * 7_919 + node as i64 * 104_729) % 100) as f64) * 10.0).round() / 10.0
}

/// The nodes as the model has them.
fn nodes(at_ms: i64) -> Result<Publication> {
    let inventory = Inventory::new(0);
    let source = SourceInfo {
        plugin: "p".into(),
        target: "t".into(),
        cluster: "cluster1".into(),
        interval_ms: INTERVAL,
        priority: 0,
        max_subjects: 10_000,
        max_values: 100_000,
    };
    let subject = |i| BatchSubject {
        kind: Kind::Node,
        identity: vec![("node".into(), format!("worker{i}"))],
        labels: vec![],
        parent: None,
        observed_at_ms: None,
    };
    let metric = Catalogue::known(WATTS).context("watts are in the catalogue")?;
    let point = |i| BatchPoint { subject: i as u32, metric, value: 1.0, quality: Quality::Measured, at_ms: None };
    let batch = Batch { subjects: (0..NODES).map(subject).collect(), points: (0..NODES).map(point).collect(), ..Batch::default() };
    inventory.apply(&source, batch, at_ms);
    inventory.prepare(at_ms, i64::MAX).context("nodes are something new")
}

fn prometheus(dir: &Path) -> Result<Option<(Started, String)>> {
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n")?;
    let port = free_port()?;
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.enable-remote-write-receiver")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        Ok(child) => Ok(Some((Started(child), format!("http://127.0.0.1:{port}")))),
        Err(error) => {
            println!("NOT RUN: prometheus did not start ({error}); `apt-get install prometheus`");
            Ok(None)
        }
    }
}

/// The shortest of some tries, and what it gave.
fn best<T>(tries: u32, mut work: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let mut shortest: Option<(Duration, T)> = None;
    for _ in 0..tries {
        let began = Instant::now();
        let given = work()?;
        let took = began.elapsed();
        if shortest.as_ref().is_none_or(|(best, _)| took < *best) {
            shortest = Some((took, given));
        }
    }
    shortest.map(|(took, given)| (took.as_secs_f64() * 1e3, given)).context("at least one try")
}

fn differing(ours: &[Vec<Observation>], theirs: &[Vec<Observation>]) -> usize {
    let pairs = ours.iter().zip(theirs).flat_map(|(a, b)| a.iter().zip(b));
    let agree = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
    pairs.filter(|((at, a), (too, b))| at != too || a.is_some() != b.is_some() || !a.zip(*b).is_none_or(|(a, b)| agree(a, b))).count()
}

pub fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let start = (kcloud_monitor::now_ms() - DAY) / 60_000 * 60_000;
    let nodes = nodes(start)?;
    let ids: Vec<Arc<str>> = nodes.snapshot.of_kind(Kind::Node).iter().map(|s| s.id.clone()).collect();
    ensure!(ids.len() == NODES, "{} nodes", ids.len());
    let store = Arc::new(Embedded::open(&dir.path().join("history"), Keep::default())?);
    let runtime = tokio::runtime::Runtime::new()?;
    let engine = prometheus(dir.path())?;
    let remote = match &engine {
        Some((_, base)) => {
            let endpoint =
                Endpoint::new(&format!("{base}/api/v1/write"), None, None, Duration::from_secs(30)).map_err(anyhow::Error::msg)?;
            let settings = Settings { endpoint, labels: BTreeMap::new(), max_bytes: 1 << 30, batch: Duration::from_millis(100) };
            let remote = RemoteWrite::open(dir.path(), store.clone(), settings)?;
            remote.note(&nodes.snapshot, nodes.points.iter().map(|p| &p.subject))?;
            Some(Arc::new(remote))
        }
        None => None,
    };
    let metric: Arc<str> = WATTS.into();
    for tick in 0..DAY / INTERVAL {
        let point = |node: usize| Point {
            subject: ids[node].clone(),
            metric: metric.clone(),
            at_ms: start + tick * INTERVAL + node as i64,
            value: Some(watts(node, tick)),
        };
        let now = start + (tick + 1) * INTERVAL;
        store.commit(tick as u64 + 1, now, &(0..NODES).map(point).collect::<Vec<_>>())?;
        if tick % 40 == 0 {
            store.upkeep(now)?;
        }
    }
    let ids: Vec<&str> = ids.iter().map(|n| &**n).collect();
    let window = (start, start + DAY);
    let (took, ours) = best(7, || Ok(store.ranges(&ids, WATTS, window, 60_000, Aggregate::Average)?))?;
    let steps = ours.iter().flatten().filter(|(_, v)| v.is_some()).count();
    ensure!(steps == NODES * 1_440, "{steps} steps");
    row(
        "ms for a day of watts by the minute, 1,000 nodes",
        took,
        "≤ 50",
        "embedded store: minutes, and the last hours raw; the best of seven",
    );
    let (Some((process, base)), Some(remote)) = (engine, remote) else { return Ok(()) };
    let before = cpu::seconds(std::process::id())?;
    let sending = runtime.spawn(remote.clone().run());
    until("everything is sent", || (remote.counts().pending_rows == 0).then_some(()))?;
    sending.abort();
    let used = cpu::seconds(std::process::id())? - before;
    let counts = remote.counts();
    ensure!(counts.sent as usize == NODES * (DAY / INTERVAL) as usize && counts.refused == 0, "{counts:?}");
    row(
        "samples sent by remote write, M per CPU-s",
        counts.sent as f64 / used / 1e6,
        "",
        &format!("from the log to Prometheus' answer; {:.1} bytes a sample on the wire", counts.sent_bytes as f64 / counts.sent as f64),
    );
    let server = Endpoint::new(&base, None, None, Duration::from_secs(60)).map_err(anyhow::Error::msg)?;
    let empty = Arc::new(Embedded::open(&dir.path().join("viewer"), Keep::default())?);
    let viewer = {
        let _inside = runtime.enter();
        Beyond::new(empty, Engine::new(&server, BTreeMap::new()), None)
    };
    let before = cpu::seconds(process.0.id())?;
    let (took, theirs) = best(3, || Ok(viewer.ranges(&ids, WATTS, window, 60_000, Aggregate::Average)?))?;
    let each = (cpu::seconds(process.0.id())? - before) / 3.0 * 1e3;
    let differ = differing(&ours, &theirs);
    ensure!(differ == 0 && theirs.len() == ours.len(), "{differ} steps differ");
    row(
        "ms for the same from Prometheus",
        took,
        "",
        &format!("PromQL, two queries, every step the same; {each:.0} ms of its CPU; the best of three"),
    );
    Ok(())
}
