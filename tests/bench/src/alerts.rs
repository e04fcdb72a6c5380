//! What a look at ten thousand cards costs with the ready-made rules.

use std::sync::Arc;

use anyhow::{Context, Result};
use kcloud_monitor::alerts::{Alerts, Settings, rules};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::inventory::batch::{Batch, BatchPoint, BatchSubject, Coverage};
use kcloud_monitor::inventory::{Inventory, Kind, Quality, SourceInfo};

use crate::{cpu, row};

const NODES: usize = 1_250;
const TURNS: usize = 60;
const START_MS: i64 = 1_764_000_000_000;

/// What a node's exporter says of its eight cards; `celsius` of each.
fn cards(node: usize, turn: i64, celsius: f64) -> Batch {
    let own = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
    let mut batch = Batch { coverage: Coverage::Whole, ..Batch::default() };
    let name = format!("worker{node}");
    let subject = |kind, identity: &[(&str, &str)], labels: &[(&str, &str)], parent| BatchSubject {
        kind,
        identity: own(identity),
        labels: own(labels),
        parent,
        observed_at_ms: None,
    };
    batch.subjects.push(subject(Kind::Node, &[("node", &name)], &[], None));
    for i in 0..8u32 {
        let (uuid, device) = (format!("GPU-{node}-{i}"), format!("nvidia{i}"));
        let labels =
            [("class", "gpu"), ("vendor", "nvidia"), ("model", "H100"), ("namespace", "ml"), ("pod", "train-0"), ("driver_version", "550")];
        batch.subjects.push(subject(Kind::Accelerator, &[("uuid", &uuid), ("node", &name), ("device", &device)], &labels, Some(0)));
        let readings = [
            ("power_watts", 300.0 + (turn % 7) as f64),
            ("power_limit_watts", 700.0),
            ("energy_joules", 1e6 + turn as f64),
            ("temperature_celsius", celsius),
            ("memory_temperature_celsius", 70.0),
            ("slowdown_temperature_celsius", 87.0),
            ("shutdown_temperature_celsius", 92.0),
            ("utilization_ratio", 0.9),
            ("memory_used_bytes", 6e10),
            ("memory_total_bytes", 8e10),
            ("clock_sm_hertz", 1.4e9),
            ("clock_memory_hertz", 2.6e9),
            ("ecc_corrected_total", 3.0),
            ("ecc_uncorrected_total", 0.0),
            ("row_remap_failure", 0.0),
            ("throttle_reasons", 4.0),
            ("throttle_thermal_seconds_total", 1.0),
            ("pcie_replay_total", 0.0),
            ("xid_last", 0.0),
            ("fan_ratio", 0.3),
        ];
        let point = |(name, value): &(&str, f64)| {
            Some(BatchPoint { subject: i + 1, metric: Catalogue::known(name)?, value: *value, quality: Quality::Measured, at_ms: None })
        };
        batch.points.extend(readings.iter().filter_map(point));
    }
    batch
}

struct Stage {
    inventory: Inventory,
    catalogue: Catalogue,
    alerts: Arc<Alerts>,
    now_ms: i64,
}

impl Stage {
    /// CPU milliseconds of a look after `nodes` of the exporters said something.
    fn look(&mut self, nodes: std::ops::Range<usize>, celsius: f64) -> Result<f64> {
        self.now_ms += 15_000;
        for node in nodes {
            let info = SourceInfo {
                plugin: "nvidia-dcgm".into(),
                target: format!("worker{node}").into(),
                cluster: "cluster1".into(),
                interval_ms: 15_000_000,
                priority: 0,
                max_subjects: 100_000,
                max_values: 10_000_000,
            };
            self.inventory.apply(&info, cards(node, self.now_ms / 15_000, celsius), self.now_ms);
        }
        let next = self.inventory.prepare(self.now_ms, i64::MAX).context("something changed")?;
        // The account is made once a snapshot, whoever asks first.
        next.snapshot.account();
        let before = cpu::this_thread()?;
        self.alerts.look_at(&next.snapshot, &self.catalogue, self.now_ms);
        let took = (cpu::this_thread()? - before) * 1e3;
        self.inventory.publish(next.snapshot);
        Ok(took)
    }

    /// The mean of several.
    fn mean(&mut self, celsius: f64, nodes: impl Fn(usize) -> std::ops::Range<usize>) -> Result<f64> {
        (0..TURNS).try_fold(0.0, |sum, turn| Ok(sum + self.look(nodes(turn), celsius)? / TURNS as f64))
    }
}

pub fn run() -> Result<()> {
    let budgets = [("cluster1".to_owned(), 1e9)].into();
    let (rules, problems) = rules(true, &budgets, &[]);
    anyhow::ensure!(problems.is_empty(), "{problems:?}");
    let what = format!("10,000 cards of 20 readings, {} ready-made rules", rules.len());
    let alerts: Arc<Alerts> = Arc::default();
    alerts.set(&Settings { rules, notifiers: Vec::new() });
    let mut stage = Stage { inventory: Inventory::new(0), catalogue: Catalogue::default(), alerts, now_ms: START_MS };
    let first = stage.look(0..NODES, 60.0)?;
    row("alerts: first look, CPU-ms", first, "", &format!("{what}: filters and everything"));
    let all = stage.mean(60.0, |_| 0..NODES)?;
    row("alerts: all cards changed, CPU-ms", all, "≤ 5", &what);
    let few = stage.mean(60.0, |turn| turn % 60 * 20..turn % 60 * 20 + 20)?;
    row("alerts: one in sixty changed, CPU-ms", few, "", "a snapshot of 250 ms where sources answer every 15 s");
    stage.now_ms += 60_000;
    stage.look(0..NODES, 90.0)?;
    stage.now_ms += 60_000;
    let fire = stage.look(0..NODES, 90.0)?;
    row("alerts: all fire at once, CPU-ms", fire, "", "10,000 alerts with labels and messages in two languages, not written");
    row("alerts: while all fire, CPU-ms", stage.mean(90.0, |_| 0..NODES)?, "", "all cards changed");
    Ok(())
}
