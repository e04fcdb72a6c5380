//! Who is in the fleet: clusters, nodes, pods, VMs, BMCs. What they do at a moment is `power`'s.

mod populate;

use crate::bmc::{IpmiPower, RedfishShape};
use crate::card::Card;
use crate::clock::{BEFORE, Moment};
use crate::other::OtherCard;
use crate::pages::Dialect;
use crate::{FleetConfig, mix, uuid};

pub use crate::bmc::Bmc;

pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const MIB: u64 = 1 << 20;

/// What stands around the cards, a cluster each. The first cluster's workers are [`FleetConfig::nodes`].
#[derive(Debug, Clone)]
pub struct Shape {
    pub clusters: Vec<Cluster>,
    whole: bool,
}

/// A cluster and how much of everything it has.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub name: String,
    pub masters: usize,
    pub workers: usize,
    pub gpus_per_worker: usize,
    /// Those that hold cards and those of DaemonSets are among them, and there are never fewer than these.
    pub pods: usize,
    /// They run on its workers.
    pub vms: usize,
}

impl Shape {
    /// Only workers with cards, as their dcgm-exporters show them.
    pub fn cards_only() -> Self {
        Self { clusters: vec![cluster("cluster1", 0, 0, 0, 0, 0)], whole: false }
    }

    /// Three masters and 180 pods around the cards; a second cluster of one master, two workers of four cards, 40 pods and 12 VMs.
    pub fn demo() -> Self {
        Self { clusters: vec![cluster("cluster1", 3, 0, 0, 180, 0), cluster("cluster2", 1, 2, 4, 40, 12)], whole: true }
    }

    /// One cluster with as many masters and pods as said.
    pub fn one(masters: usize, pods: usize) -> Self {
        Self { clusters: vec![cluster("cluster1", masters, 0, 0, pods, 0)], whole: true }
    }

    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

fn cluster(name: &str, masters: usize, workers: usize, gpus_per_worker: usize, pods: usize, vms: usize) -> Cluster {
    Cluster { name: name.to_owned(), masters, workers, gpus_per_worker, pods, vms }
}

#[derive(Debug)]
pub struct Node {
    /// Its place in [`crate::Fleet::clusters`].
    pub cluster: usize,
    pub name: String,
    pub is_master: bool,
    pub ip: String,
    pub cores: u64,
    pub memory_bytes: u64,
    pub cards: Vec<Card>,
    /// Cards of other vendors, and the exporter that shows them.
    pub others: Vec<OtherCard>,
    pub dialect: Option<&'static Dialect>,
    /// That exporter writes its newest names.
    pub is_newer: bool,
    pub bmc: Bmc,
    /// It runs Kepler 0.9 instead of 0.10.
    pub has_old_kepler: bool,
    pub(crate) id: u64,
    /// Which of all nodes with cards it is.
    pub(crate) with_cards: usize,
    pub(crate) pods: Vec<usize>,
    pub(crate) vms: Vec<usize>,
}

impl Node {
    pub fn system_uuid(&self) -> String {
        uuid(mix(&[self.id, 20]))
    }

    pub fn machine_id(&self) -> String {
        uuid(mix(&[self.id, 21])).replace('-', "")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Running,
    Pending,
    Succeeded,
    Failed,
}

impl Phase {
    pub const ALL: [Self; 4] = [Self::Running, Self::Pending, Self::Succeeded, Self::Failed];

    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Pending => "Pending",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

#[derive(Debug)]
pub struct Pod {
    pub cluster: usize,
    pub namespace: &'static str,
    pub name: String,
    pub node: Option<usize>,
    pub phase: Phase,
    /// Who made it, and what stands at the top.
    pub owner: (&'static str, String),
    pub workload: (&'static str, String),
    pub labels: Vec<(&'static str, String)>,
    pub containers: Vec<Container>,
    /// Cards that it asks for.
    pub gpus: u64,
    /// What it asks for of another vendor's: the resource's name, and how many.
    pub others: Option<(&'static str, u64)>,
    pub(crate) id: u64,
    created: u64,
    churn: Option<u64>,
}

#[derive(Debug)]
pub struct Container {
    pub name: &'static str,
    pub image: &'static str,
    /// Thousandths of a core, when at its busiest.
    pub cpu_millicores: u64,
    pub memory_bytes: u64,
    pub restarts: u64,
}

impl Pod {
    /// The tick (counted with [`BEFORE`]) since which this life of it runs, and the uid of this life.
    pub(crate) fn life(&self, moment: Moment) -> (u64, u64) {
        match self.churn {
            Some(every) => {
                let since = (moment.tick + BEFORE) / every * every;
                (since, mix(&[self.id, since]))
            }
            None => (self.created, self.id),
        }
    }

    pub fn uid(&self, moment: Moment) -> String {
        uuid(self.life(moment).1)
    }

    pub fn ip(&self) -> String {
        let at = mix(&[self.id, 30]);
        format!("10.{}.{}.{}", 244 + self.cluster, at % 250, (at >> 8) % 250 + 2)
    }

    pub(crate) fn container_id(&self, moment: Moment, container: usize) -> String {
        let id = mix(&[self.life(moment).1, 40, container as u64]);
        (0..4).map(|part| format!("{:016x}", mix(&[id, part]))).collect()
    }
}

#[derive(Debug)]
pub struct Vm {
    pub cluster: usize,
    pub node: usize,
    pub uuid: String,
    pub name: String,
    /// libvirt's name of the domain.
    pub domain: String,
    pub project: &'static str,
    pub flavor: &'static str,
    pub vcpus: u64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// ACTIVE, else SHUTOFF.
    pub is_active: bool,
    pub(crate) id: u64,
}

impl Vm {
    pub fn project_id(&self) -> String {
        let number = self.project.bytes().fold(7, |h, b| mix(&[h, u64::from(b)]));
        uuid(number).replace('-', "")
    }
}

pub(crate) struct World {
    pub clusters: Vec<Cluster>,
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub vms: Vec<Vm>,
}

pub(crate) fn build(config: &FleetConfig, shape: &Shape) -> World {
    let mut world = World { clusters: shape.clusters.clone(), nodes: Vec::new(), pods: Vec::new(), vms: Vec::new() };
    if let Some(first) = world.clusters.first_mut() {
        (first.workers, first.gpus_per_worker) = (config.nodes, config.gpus_per_node);
    }
    let mut with_cards = 0;
    for at in 0..world.clusters.len() {
        let Cluster { masters, workers, gpus_per_worker, .. } = world.clusters[at];
        // Which of the nodes with other cards stands at a place, and which of all it is.
        let others: Vec<&crate::Others> = match at {
            0 => config.others.iter().flat_map(|o| std::iter::repeat_n(o, o.nodes)).collect(),
            _ => Vec::new(),
        };
        for n in 0..workers + masters + others.len() {
            let other = n.checked_sub(workers + masters);
            let is_master = n >= workers && other.is_none();
            let id = mix(&[config.seed, 50, at as u64, n as u64]);
            let cards = if is_master || other.is_some() { 0 } else { gpus_per_worker };
            let name = match other {
                Some(other) => format!("worker{}", workers + other + 1),
                None if is_master => format!("master{}", n - workers + 1),
                None => format!("worker{}", n + 1),
            };
            let of = other.map(|other| (other, others[other]));
            let own = of.into_iter().flat_map(|(at, of)| (0..of.cards_per_node).map(move |card| (at, of, card)));
            world.nodes.push(Node {
                cluster: at,
                others: own.map(|(at, of, card)| OtherCard::new(config, of, at, &name, card)).collect(),
                dialect: of.map(|(_, of)| of.dialect),
                is_newer: other.is_some_and(|other| other % 2 == 1),
                name,
                is_master,
                ip: format!("10.{at}.{}.{}", n / 250, n % 250 + 1),
                cores: if is_master { 16 } else { 96 },
                memory_bytes: if is_master { 64 * GIB } else { 1_024 * GIB } - 400 * MIB,
                cards: (0..cards).map(|card| Card::new(config, shape, with_cards, card)).collect(),
                bmc: bmc(config, at, n, is_master, id),
                has_old_kepler: at > 0 && !is_master && n % 2 == 1,
                id,
                with_cards: other.unwrap_or(with_cards),
                pods: Vec::new(),
                vms: Vec::new(),
            });
            with_cards += usize::from(!is_master && other.is_none());
        }
    }
    if shape.whole {
        (0..world.clusters.len()).for_each(|at| populate::fill(&mut world, config, at));
    }
    world
}

/// Each way in which a server's watts can be known stands in the fleet.
fn bmc(config: &FleetConfig, cluster: usize, n: usize, is_master: bool, id: u64) -> Bmc {
    use {IpmiPower::*, RedfishShape::*};
    let (ipmi, redfish) = match (cluster, is_master, n % 8) {
        (_, true, _) | (0, _, 0..=2) => (Some(Dcmi), None),
        (0, _, 3) => (Some(Sensor), None),
        (0, _, 4) => (Some(Supplies), None),
        (0, _, 5) => (Some(Dcmi), Some(New)),
        (0, _, 6) => (None, Some(Old)),
        (0, ..) => (None, Some(New)),
        (.., k) if k % 2 == 0 => (None, Some(Old)),
        _ => (None, None),
    };
    let every = config.faults.broken_fan_every;
    let fans = if is_master { 4 } else { 8 + (id % 6) as usize };
    let broken_fan = (every > 0 && n % every == every - 1).then_some(n % fans);
    Bmc { ipmi, redfish, fans, supplies: if is_master { 2 } else { 4 + 2 * (n % 2) }, broken_fan, id }
}
