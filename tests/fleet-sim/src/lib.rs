//! A fleet that never was: clusters, nodes, cards, pods, VMs and BMCs, the same for the same seed, served as the real exporters would.
//!
//! `serve` says which page lies where, `/truth` what a reader must find, `/tick` pins the clock so that both speak of one moment.
//! Every watt is a whole milliwatt and every load repeats after 120 ticks, so that each energy counter is the exact
//! integral of the watts beside it and any moment can be had without walking there.
//!
//! A [`Fleet::new`] has cards only; [`Fleet::whole`] has a [`Shape`] of everything else around the same cards.

mod bmc;
mod card;
mod clock;
mod exposition;
mod other;
mod page;
mod pages;
mod power;
mod redfish;
mod serve;
mod truth;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

pub use bmc::BmcFault;
pub use card::{Card, Model};
pub use clock::Moment;
pub use other::{OtherCard, OtherModel, OtherReading, OtherTruth, Others, PartTruth, VendorTruth};
pub use pages::{DIALECTS, Dialect, Shown, dialect};
pub use serve::{BMC_BASIC, Origins, router, serve, serve_bmc};
pub use truth::*;
pub use world::{Bmc, Cluster, Container, Node, Phase, Pod, Shape, Vm};

/// What is simulated of cards.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    pub seed: u64,
    pub nodes: usize,
    pub gpus_per_node: usize,
    /// How often values change.
    pub tick: Duration,
    pub faults: Faults,
    /// Nodes with cards of other vendors; none in a fleet of NVIDIA's alone.
    pub others: Vec<Others>,
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
    /// Every tenth pod of a StatefulSet comes back with another uid after so many ticks, again and again.
    pub churn_every: Option<u64>,
    /// Every n-th BMC has a fan that stands still.
    pub broken_fan_every: usize,
    /// Every n-th card of another vendor fell off the bus.
    pub dead_every: usize,
    /// Every n-th card of another vendor that can be split is.
    pub split_every: usize,
}

impl Faults {
    /// What a demo shows.
    pub fn demo() -> Self {
        Self {
            new_names_every: 2,
            mig_every: 11,
            xid_every: 29,
            churn_every: Some(300),
            broken_fan_every: 5,
            split_every: 5,
            ..Self::default()
        }
    }

    /// Everything at once.
    pub fn all() -> Self {
        Self {
            new_names_every: 2,
            mig_every: 5,
            xid_every: 7,
            blank_power_every: 9,
            broken_lines: true,
            vanish_after: Some(3),
            churn_every: Some(60),
            broken_fan_every: 3,
            dead_every: 7,
            split_every: 3,
        }
    }
}

/// The fleet and its clock.
pub struct Fleet {
    config: FleetConfig,
    shape: Shape,
    clusters: Vec<Cluster>,
    /// Those of the first cluster that have cards stand first, in order.
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    vms: Vec<Vm>,
    clock: clock::Clock,
    down: Mutex<Vec<String>>,
    bmc_faults: Mutex<BTreeMap<String, BmcFault>>,
}

impl Fleet {
    /// Nodes with cards and nothing else.
    pub fn new(config: FleetConfig) -> Self {
        Self::whole(config, Shape::cards_only())
    }

    /// The cards with everything around them.
    pub fn whole(config: FleetConfig, shape: Shape) -> Self {
        let world::World { clusters, nodes, pods, vms } = world::build(&config, &shape);
        let clock = clock::Clock::new(config.tick);
        Self { config, shape, clusters, nodes, pods, vms, clock, down: Mutex::default(), bmc_faults: Mutex::default() }
    }

    pub fn node_name(&self, node: usize) -> String {
        format!("worker{}", node + 1)
    }

    /// Nodes with cards in the first cluster.
    pub fn node_count(&self) -> usize {
        self.config.nodes
    }

    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Every node of every cluster.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    pub fn vms(&self) -> &[Vm] {
        &self.vms
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The moment that is shown now.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Its tick.
    pub fn tick(&self) -> u64 {
        self.now().tick
    }

    /// Stops the clock at a tick, or lets it run.
    pub fn pin(&self, tick: Option<u64>) {
        self.clock.pin(tick);
    }

    /// Keeps every load as it is at a tick while the counters go on with it: rates and watts agree for as long as it is held.
    pub fn hold(&self, tick: u64) {
        self.clock.hold(tick);
    }

    /// Takes a node's exporters down or up again. A name alone is of the first cluster, `cluster/node` of any.
    pub fn set_down(&self, node: &str, is_down: bool) {
        let mut down = self.down.lock().unwrap_or_else(|e| e.into_inner());
        down.retain(|n| n != node);
        if is_down {
            down.push(node.to_owned());
        }
    }

    pub(crate) fn is_down(&self, node: &Node) -> bool {
        let cluster = &self.clusters[node.cluster].name;
        let is_it = |n: &String| match n.split_once('/') {
            Some((c, n)) => c == cluster && n == node.name,
            None => node.cluster == 0 && *n == node.name,
        };
        self.down.lock().unwrap_or_else(|e| e.into_inner()).iter().any(is_it)
    }

    /// Makes the BMC of a node (`cluster/node`) misbehave, or well again.
    pub fn set_bmc_fault(&self, node: &str, fault: Option<BmcFault>) {
        let mut faults = self.bmc_faults.lock().unwrap_or_else(|e| e.into_inner());
        match fault {
            Some(fault) => faults.insert(node.to_owned(), fault),
            None => faults.remove(node),
        };
    }

    pub(crate) fn bmc_fault(&self, node: &Node) -> Option<BmcFault> {
        let key = format!("{}/{}", self.clusters[node.cluster].name, node.name);
        self.bmc_faults.lock().unwrap_or_else(|e| e.into_inner()).get(&key).copied()
    }

    /// The place of a node of a cluster.
    pub fn find(&self, cluster: &str, node: &str) -> Option<usize> {
        self.nodes.iter().position(|n| n.name == node && self.clusters[n.cluster].name == cluster)
    }

    /// One node's cards at a moment, as dcgm-exporter says them.
    pub fn exposition(&self, node: usize, moment: impl Into<Moment>) -> String {
        let moment = moment.into();
        let at = &self.nodes[node];
        exposition::write(&self.config, at.with_cards, &at.name, self.cards(node, moment.tick), moment)
    }

    fn cards(&self, node: usize, tick: u64) -> &[Card] {
        let all = &self.nodes[node].cards;
        match self.config.faults.vanish_after {
            Some(after) if node == 0 && tick >= after => &all[..all.len().saturating_sub(1)],
            _ => all,
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

/// A UUID of its own for each number.
pub(crate) fn uuid(id: u64) -> String {
    let (a, b) = (mix(&[id, 1]), mix(&[id, 2]));
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, (a >> 16) & 0xffff, a & 0xffff, b >> 48, b & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests;
