//! A fleet that never was: nodes and cards, the same for the same seed, served as dcgm-exporter would.
//!
//! `/nodes/NAME/metrics` is one node's exporter, `/truth` says what the totals must be, `/tick` pins the clock so that both
//! speak of one moment. Watts are whole milliwatts: their decimal text and their sum are exact enough to compare.

mod card;
mod exposition;
mod serve;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use card::{Card, Model};
pub use serve::{router, serve};

/// What is simulated.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    pub seed: u64,
    pub nodes: usize,
    pub gpus_per_node: usize,
    /// How often values change.
    pub tick: Duration,
    pub faults: Faults,
}

/// What goes wrong; 0 is never.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Every n-th node writes the names of DCGM 4.6.
    pub new_names_every: usize,
    /// Every n-th card is split into MIG instances.
    pub mig_every: usize,
    /// Every n-th card has a last XID.
    pub xid_every: usize,
    /// Every n-th card has no power reading: a blank number.
    pub blank_power_every: usize,
    /// Every node's answer holds lines that no parser can read.
    pub broken_lines: bool,
    /// The last card of the first node is gone from this tick on.
    pub vanish_after: Option<u64>,
}

impl Faults {
    /// What a demo shows.
    pub fn demo() -> Self {
        Self { new_names_every: 2, mig_every: 11, xid_every: 29, ..Self::default() }
    }

    /// Everything at once.
    pub fn all() -> Self {
        Self { new_names_every: 2, mig_every: 5, xid_every: 7, blank_power_every: 9, broken_lines: true, vanish_after: Some(3) }
    }
}

/// What a reader must find.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Truth {
    pub tick: u64,
    pub total_gpus: usize,
    /// Each card once; those without a power reading are left out.
    pub total_power_watts: f64,
    pub unknown_power: usize,
    pub total_memory_used_mib: u64,
    pub cards: Vec<CardTruth>,
}

/// One card at that moment. `None` is what its exporter does not say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CardTruth {
    pub uuid: String,
    pub node: String,
    pub device: String,
    pub model: String,
    pub power_watts: Option<f64>,
    pub temperature_celsius: u32,
    pub utilization_percent: Option<u32>,
    pub memory_used_mib: u64,
    pub memory_total_mib: u64,
    pub energy_joules: f64,
    pub xid: u32,
    pub mig_instances: usize,
}

/// The fleet and its clock.
pub struct Fleet {
    config: FleetConfig,
    nodes: Vec<Vec<Card>>,
    started: Instant,
    /// `u64::MAX` when the clock runs.
    pinned: AtomicU64,
    down: Mutex<Vec<String>>,
}

impl Fleet {
    pub fn new(config: FleetConfig) -> Self {
        let cards = |n| (0..config.gpus_per_node).map(|g| Card::new(&config, n, g)).collect();
        let nodes = (0..config.nodes).map(cards).collect();
        Self { config, nodes, started: Instant::now(), pinned: AtomicU64::new(u64::MAX), down: Mutex::default() }
    }

    pub fn node_name(&self, node: usize) -> String {
        format!("worker{}", node + 1)
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The moment that is shown now.
    pub fn tick(&self) -> u64 {
        match self.pinned.load(Ordering::Relaxed) {
            u64::MAX => (self.started.elapsed().as_nanos() / self.config.tick.as_nanos().max(1)) as u64,
            pinned => pinned,
        }
    }

    /// Stops the clock at a tick, or lets it run.
    pub fn pin(&self, tick: Option<u64>) {
        self.pinned.store(tick.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes a node's exporter down or up again.
    pub fn set_down(&self, node: &str, is_down: bool) {
        let mut down = self.down.lock().unwrap_or_else(|e| e.into_inner());
        down.retain(|n| n != node);
        if is_down {
            down.push(node.to_owned());
        }
    }

    fn is_down(&self, node: &str) -> bool {
        self.down.lock().unwrap_or_else(|e| e.into_inner()).iter().any(|n| n == node)
    }

    fn index(&self, name: &str) -> Option<usize> {
        let index = name.strip_prefix("worker")?.parse::<usize>().ok()?.checked_sub(1)?;
        (index < self.nodes.len() && self.node_name(index) == name).then_some(index)
    }

    /// One node's answer at a moment.
    pub fn exposition(&self, node: usize, tick: u64) -> String {
        exposition::write(&self.config, node, self.cards(node, tick), tick)
    }

    fn cards(&self, node: usize, tick: u64) -> &[Card] {
        let all = &self.nodes[node];
        match self.config.faults.vanish_after {
            Some(after) if node == 0 && tick >= after => &all[..all.len().saturating_sub(1)],
            _ => all,
        }
    }

    /// What a reader must find at a moment.
    pub fn truth(&self, tick: u64) -> Truth {
        let nodes = 0..self.nodes.len();
        let cards: Vec<CardTruth> = nodes.flat_map(|n| self.cards(n, tick).iter().map(move |c| c.truth(tick, self.node_name(n)))).collect();
        let milliwatts: u64 = cards.iter().filter_map(|c| c.power_watts).map(|w| (w * 1e3).round() as u64).sum();
        Truth {
            tick,
            total_gpus: cards.len(),
            total_power_watts: milliwatts as f64 / 1e3,
            unknown_power: cards.iter().filter(|c| c.power_watts.is_none()).count(),
            total_memory_used_mib: cards.iter().map(|c| c.memory_used_mib).sum(),
            cards,
        }
    }
}

/// A hash of whole numbers (splitmix64), so that any value can be had without walking there.
pub(crate) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |h, p| {
        let mut z = (h ^ p).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(faults: Faults) -> Fleet {
        Fleet::new(FleetConfig { seed: 7, nodes: 4, gpus_per_node: 8, tick: Duration::from_secs(1), faults })
    }

    #[test]
    fn the_same_seed_is_the_same_fleet() {
        let (a, b) = (fleet(Faults::all()), fleet(Faults::all()));
        assert_eq!(a.exposition(1, 5), b.exposition(1, 5));
        assert_ne!(a.exposition(1, 5), a.exposition(1, 6));
    }

    #[test]
    fn the_truth_is_what_stands_in_the_text_each_card_once() {
        for faults in [Faults::default(), Faults::demo(), Faults { blank_power_every: 3, mig_every: 2, ..Faults::demo() }] {
            let fleet = fleet(faults);
            let mut seen: std::collections::BTreeMap<String, f64> = std::collections::BTreeMap::new();
            for line in (0..4).flat_map(|n| fleet.exposition(n, 9).lines().map(str::to_owned).collect::<Vec<_>>()) {
                if line.starts_with("DCGM_FI_DEV_POWER_USAGE{") || line.starts_with("DCGM_FI_DEV_BOARD_POWER_WATTS{") {
                    let uuid = line.split("UUID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
                    let watts: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
                    if watts < 1e6 {
                        seen.insert(uuid, watts);
                    }
                }
            }
            let truth = fleet.truth(9);
            assert_eq!(truth.total_gpus, 32);
            assert_eq!(seen.len() + truth.unknown_power, 32);
            assert!((seen.values().sum::<f64>() - truth.total_power_watts).abs() < 1e-6);
        }
    }

    #[test]
    fn energy_only_grows() {
        let fleet = fleet(Faults::default());
        let energy = |t| fleet.truth(t).cards[3].energy_joules;
        assert!((0..50).all(|t| energy(t + 1) > energy(t)));
    }

    #[test]
    fn a_card_vanishes_and_a_wrong_name_is_nobody() {
        let fleet = fleet(Faults { vanish_after: Some(3), ..Faults::default() });
        assert_eq!((fleet.truth(2).total_gpus, fleet.truth(3).total_gpus), (32, 31));
        assert_eq!((fleet.index("worker1"), fleet.index("worker01"), fleet.index("worker5")), (Some(0), None, None));
    }
}
