//! The account of a large fleet, and what it costs to read it over time.

use std::sync::Arc;

use anyhow::{Context, Result};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::history::{Aggregate, Embedded, History, Keep, Point};
use kcloud_monitor::inventory::batch::{Batch, BatchPoint, BatchSubject};
use kcloud_monitor::inventory::{Inventory, Kind, Quality, SourceInfo};
use kcloud_monitor::power::{self, Recorder};

use crate::{cpu, row};

const NODES: usize = 1_000;
pub const PODS: usize = 100;
const SENSORS: usize = 50;
const INTERVAL_MS: i64 = 15_000;
const TURNS: u32 = 500;
const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
/// A whole hour.
const START_MS: i64 = 1_764_000_000_000;

struct Rows(Batch);

impl Rows {
    fn add(
        &mut self,
        kind: Kind,
        parent: Option<u32>,
        identity: &[(&str, &str)],
        labels: &[(&str, &str)],
        readings: &[(&str, f64)],
    ) -> u32 {
        let owned = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let subject = self.0.subjects.len() as u32;
        self.0.subjects.push(BatchSubject { kind, identity: owned(identity), labels: owned(labels), parent, observed_at_ms: None });
        let point = |(name, value): &(&str, f64)| {
            Some(BatchPoint { subject, metric: Catalogue::known(name)?, value: *value, quality: Quality::Measured, at_ms: None })
        };
        self.0.points.extend(readings.iter().filter_map(point));
        subject
    }
}

/// One server with its cards, sensors and pods, as one source says it.
pub fn server(n: usize) -> Batch {
    let mut rows = Rows(Batch::default());
    let name = format!("worker{n}");
    let node = rows.add(Kind::Node, None, &[("node", &name)], &[], &[("cpu_power_watts", 400.0), ("memory_power_watts", 90.0)]);
    rows.add(Kind::Chassis, Some(node), &[("name", "dcmi")], &[("method", "dcmi")], &[("power_watts", 3_000.0 + n as f64)]);
    for i in 0..8 {
        let (uuid, pod) = (format!("GPU-{n}-{i}"), format!("pod{n}-{i}"));
        let labels = [("class", "gpu"), ("vendor", "nvidia"), ("namespace", "ml"), ("pod", pod.as_str())];
        rows.add(Kind::Accelerator, Some(node), &[("uuid", &uuid)], &labels, &[("power_watts", 300.0), ("utilization_ratio", 0.9)]);
    }
    for i in 0..SENSORS {
        rows.add(Kind::Sensor, Some(node), &[("name", &format!("Temp{i}"))], &[], &[("temperature_celsius", 40.0)]);
    }
    for i in 0..PODS {
        let namespace = if i < 8 { "ml".to_owned() } else { format!("team{}", i % 50) };
        let pod = format!("pod{n}-{i}");
        rows.add(
            Kind::Pod,
            Some(node),
            &[("namespace", &namespace), ("name", &pod)],
            &[("label:app", "web"), ("label:team", &format!("team{}", i % 50)), ("owner_kind", "Job"), ("owner_name", "j")],
            &[("cpu_power_watts", 3.0)],
        );
    }
    rows.0
}

/// CPU milliseconds of this thread.
fn cost<T>(work: impl FnOnce() -> T) -> Result<(T, f64)> {
    let before = cpu::this_thread()?;
    let done = work();
    Ok((done, (cpu::this_thread()? - before) * 1e3))
}

pub fn run() -> Result<()> {
    let inventory = Inventory::new(0);
    for n in 0..NODES {
        let info = SourceInfo {
            plugin: "bench".into(),
            target: format!("worker{n}").into(),
            cluster: "cluster1".into(),
            interval_ms: INTERVAL_MS,
            priority: 0,
            max_subjects: 1_000_000,
            max_values: 10_000_000,
        };
        inventory.apply(&info, server(n), START_MS);
    }
    let snapshot = inventory.prepare(START_MS, i64::MAX).context("a snapshot")?.snapshot;
    let what = format!("{NODES} servers of 8 cards and {SENSORS} sensors, {} pods", NODES * PODS);
    let (known, took) = cost(|| snapshot.account().total(None).known)?;
    row("account of a snapshot, CPU-ms", took, "", &format!("{what}; {known} known"));
    let (shares, took) = cost(|| snapshot.workloads().shares.len())?;
    row("shares of its pods, CPU-ms", took, "", &format!("{shares} shares"));
    let mut points = Vec::new();
    let ((), took) = cost(|| Recorder::default().note(&snapshot, &mut points))?;
    row("what of it goes into history, CPU-ms", took, "", &format!("{} points, sums by namespace and 20,000 shares with it", points.len()));

    let dir = tempfile::tempdir()?;
    let history = Embedded::open(dir.path(), Keep::default())?;
    let names: Vec<Arc<str>> = (0..NODES).map(|n| format!("node/cluster1/worker{n}").into()).collect();
    let (servers, sums): (Arc<str>, Arc<str>) = (power::SERVER_WATTS.into(), power::CLUSTER_WATTS.into());
    let cluster: Arc<str> = power::cluster_series("cluster1").into();
    let mut sequence = 0;
    for tick in 0..DAY / 5_000 {
        let at_ms = START_MS + tick * 5_000;
        let wobble = |n: usize| ((tick as u64).wrapping_mul(n as u64 + 7) % 97) as f64;
        let mut points = Vec::new();
        if tick % 3 == 0 {
            let one = |(n, name): (usize, &Arc<str>)| Point {
                subject: name.clone(),
                metric: servers.clone(),
                at_ms: at_ms + n as i64 % 9,
                value: Some(3_000.0 + wobble(n)),
            };
            points.extend(names.iter().enumerate().map(one));
        }
        if tick % 2 == 0 {
            points.push(Point { subject: cluster.clone(), metric: sums.clone(), at_ms, value: Some(3e6 + wobble(1)) });
        }
        sequence += 1;
        history.commit(sequence, at_ms, &points)?;
        if tick % 12 == 0 {
            history.upkeep(at_ms)?;
        }
    }
    let window = (START_MS, START_MS + DAY);
    let many = || -> Result<()> {
        for _ in 0..TURNS {
            let steps = history.range(&cluster, power::CLUSTER_WATTS, window, MINUTE, Aggregate::Average)?;
            anyhow::ensure!(steps.iter().all(|(_, v)| v.is_some()), "every minute was observed");
        }
        Ok(())
    };
    // One is below what the kernel's account can tell.
    let (done, took) = cost(many)?;
    done?;
    row("a day of 1-minute watts of 1,000 nodes, their sum, CPU-ms", took / f64::from(TURNS), "≤ 50", "1,440 steps");
    let all = || -> Result<usize> {
        let read = |name: &Arc<str>| history.range(name, power::SERVER_WATTS, window, MINUTE, Aggregate::Average);
        names.iter().map(|name| Ok(read(name)?.len())).sum()
    };
    let (steps, took) = cost(all)?;
    row("the same of each node, CPU-ms", took, "", &format!("{} steps of {NODES} series on one thread", steps?));
    Ok(())
}
