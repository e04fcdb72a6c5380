//! Cards of other vendors: what they are and what they do at a tick, in no dialect. How an exporter writes them is `pages`'.
//!
//! Only what [`crate::FleetConfig::others`] asks for is there. Nodes with such cards stand after all others of the first cluster,
//! so that a fleet's NVIDIA cards are the same with and without them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::card::PERIOD;
use crate::pages::Dialect;
use crate::truth::watts;
use crate::world::Node;
use crate::{FleetConfig, Moment, Truth, mix, uuid};

/// Nodes of the first cluster that carry cards which one exporter shows.
#[derive(Debug, Clone, Copy)]
pub struct Others {
    pub dialect: &'static Dialect,
    pub nodes: usize,
    pub cards_per_node: usize,
}

/// A model of card with its real limits.
#[derive(Debug)]
pub struct OtherModel {
    pub vendor: &'static str,
    /// `gpu npu tpu`.
    pub class: &'static str,
    pub name: &'static str,
    /// 0: its exporter does not say how much is used, nor of how much.
    pub memory_bytes: u64,
    pub limit_watts: u64,
    pub idle_watts: u64,
    /// Its exporter says watts.
    pub says_power: bool,
    pub cores: usize,
    /// Into how many it can be split; also what a card is made of that shows as several. 0: it cannot.
    pub parts: usize,
    pub clock_mhz: u64,
    /// What a pod asks for, as kube-state-metrics writes it.
    pub resource: &'static str,
}

/// One such card.
#[derive(Debug)]
pub struct OtherCard {
    pub index: usize,
    pub uuid: String,
    pub pci: String,
    pub serial: String,
    pub model: &'static OtherModel,
    /// Who holds it whole, in namespace `ml`.
    pub pod: Option<String>,
    /// Who holds each part of a split card; empty for one that is not split.
    pub parts: Vec<Option<String>>,
    /// It fell off the bus: it draws nothing and says nothing.
    pub is_dead: bool,
    id: u64,
    busy: bool,
}

/// What one reads at a tick.
#[derive(Debug, Clone)]
pub struct OtherReading {
    pub milliwatts: u64,
    pub energy_millijoules: u64,
    /// Of the whole card, in percent: the mean over its cores.
    pub utilization: f64,
    /// Of each core, in thousandths.
    pub cores: Vec<u64>,
    pub temperature: u64,
    pub ambient: u64,
    pub memory_temperature: u64,
    pub memory_used: u64,
    pub clock_mhz: u64,
}

impl OtherCard {
    pub(crate) fn new(config: &FleetConfig, others: &Others, node: usize, host: &str, index: usize) -> Self {
        let id = mix(&[config.seed, 110, node as u64, index as u64]);
        let number = node * others.cards_per_node + index;
        let every = |n: usize| n > 0 && number % n == n - 1;
        let models = others.dialect.models;
        let model = &models[(node + index / others.cards_per_node.div_ceil(2).max(1)) % models.len().max(1)];
        let is_dead = every(config.faults.dead_every);
        let busy = !is_dead && !id.is_multiple_of(4);
        let is_split = every(config.faults.split_every) && model.parts > 1 && !is_dead;
        let name = format!("infer-{host}-{index}");
        // Of a split card every second part is held, by one pod each.
        let held = |part: usize| part.is_multiple_of(2).then(|| format!("{name}-{part}"));
        Self {
            index,
            uuid: uuid(id),
            pci: format!("0000:{:02x}:00.0", 0x21 + index * 0x0b),
            serial: format!("SN{:010}", id % 10_000_000_000),
            model,
            pod: (busy && !is_split).then(|| name.clone()),
            parts: if is_split { (0..model.parts).map(held).collect() } else { Vec::new() },
            is_dead,
            id,
            busy,
        }
    }

    /// Pods that hold something of it, and of how many parts how many.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let parts = self.parts.len() as u64;
        let split = self.parts.iter().flatten().map(move |p| (p.as_str(), 1, parts));
        self.pod.as_deref().map(|p| (p, 1, 1)).into_iter().chain(split)
    }

    /// Thousandths.
    fn load(&self, tick: u64) -> u64 {
        if !self.busy {
            return 0;
        }
        let phase = (tick + self.id % PERIOD) % PERIOD;
        let triangle = phase.min(PERIOD - phase) * 1_000 / (PERIOD / 2);
        450 + triangle * 2 / 5 + mix(&[self.id, tick % PERIOD, 6]) % 40
    }

    pub(crate) fn milliwatts(&self, tick: u64) -> u64 {
        if self.is_dead {
            return 0;
        }
        let span = (self.model.limit_watts - self.model.idle_watts) * self.load(tick);
        self.model.idle_watts * 1_000 + span + mix(&[self.id, tick % PERIOD, 7]) % 1_000
    }

    pub(crate) fn read(&self, moment: Moment) -> OtherReading {
        let load = self.load(moment.tick);
        let cores: Vec<u64> = (0..self.model.cores.max(1) as u64).map(|core| (load * (95 + core % 3 * 5) / 100).min(1_000)).collect();
        let used = if self.busy { self.model.memory_bytes / 4 + self.model.memory_bytes / 2_000 * load } else { 0 };
        OtherReading {
            milliwatts: self.milliwatts(moment.tick),
            energy_millijoules: (self.id % 1_000_000) * 1_000 + moment.integral(|t| self.milliwatts(t)) as u64,
            utilization: cores.iter().sum::<u64>() as f64 / cores.len() as f64 / 10.0,
            cores,
            temperature: 33 + load * 40 / 1_000 + self.id % 4,
            ambient: 27 + self.id % 5,
            memory_temperature: 38 + load * 40 / 1_000 + self.id % 4,
            // In whole MiB, which the coarsest of them write.
            memory_used: used >> 20 << 20,
            clock_mhz: if self.busy { self.model.clock_mhz } else { self.model.clock_mhz / 2 },
        }
    }

    /// Percent and used bytes of one part: an even share of the cores and of the memory, the rest with the first.
    pub(crate) fn part(&self, reading: &OtherReading, part: usize) -> (f64, u64) {
        let n = self.parts.len().max(1);
        let cores: Vec<u64> =
            reading.cores.iter().copied().skip(part * reading.cores.len() / n).take(reading.cores.len().div_ceil(n)).collect();
        let mib = reading.memory_used >> 20;
        let used = mib / n as u64 + if part == 0 { mib % n as u64 } else { 0 };
        (cores.iter().sum::<u64>() as f64 / cores.len().max(1) as f64 / 10.0, used << 20)
    }

    pub(crate) fn truth(&self, moment: Moment, cluster: &str, node: &Node) -> OtherTruth {
        let r = self.read(moment);
        let says = |is: bool| is && !self.is_dead;
        let lacks_memory = !node.is_newer && node.dialect.is_some_and(|d| d.old_lacks_memory);
        let says_memory = says(self.model.memory_bytes > 0 && !lacks_memory);
        let part = |index: usize| {
            let (utilization_percent, memory_used_bytes) = self.part(&r, index);
            let memory_total_bytes = self.model.memory_bytes / self.parts.len() as u64;
            PartTruth { index, pod: self.parts[index].clone(), utilization_percent, memory_used_bytes, memory_total_bytes }
        };
        OtherTruth {
            vendor: self.model.vendor.to_owned(),
            class: self.model.class.to_owned(),
            dialect: node.dialect.map_or("", |d| d.name).to_owned(),
            uuid: self.uuid.clone(),
            cluster: cluster.to_owned(),
            node: node.name.clone(),
            index: self.index,
            pci: self.pci.clone(),
            model: self.model.name.to_owned(),
            is_alive: !self.is_dead,
            pod: self.pod.clone(),
            power_watts: says(self.model.says_power).then(|| watts(r.milliwatts)),
            energy_joules: watts(r.energy_millijoules),
            temperature_celsius: says(true).then_some(r.temperature as f64),
            utilization_percent: says(true).then_some(r.utilization),
            memory_used_bytes: says_memory.then_some(r.memory_used),
            memory_total_bytes: says_memory.then_some(self.model.memory_bytes),
            cores: self.model.cores,
            parts: (0..self.parts.len()).map(part).collect(),
        }
    }
}

/// One such card at a moment. `None` is what its exporter does not say, or what a dead card has not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OtherTruth {
    pub vendor: String,
    pub class: String,
    pub dialect: String,
    pub uuid: String,
    pub cluster: String,
    pub node: String,
    pub index: usize,
    pub pci: String,
    pub model: String,
    pub is_alive: bool,
    /// In namespace `ml`.
    pub pod: Option<String>,
    pub power_watts: Option<f64>,
    /// Of the card itself, whether its exporter says it or not.
    pub energy_joules: f64,
    pub temperature_celsius: Option<f64>,
    pub utilization_percent: Option<f64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    pub cores: usize,
    pub parts: Vec<PartTruth>,
}

/// One part of a split card.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartTruth {
    pub index: usize,
    pub pod: Option<String>,
    pub utilization_percent: f64,
    pub memory_used_bytes: u64,
    pub memory_total_bytes: u64,
}

/// A vendor's cards, each once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VendorTruth {
    pub cards: usize,
    pub dead: usize,
    /// Cards without a power reading, dead ones among them.
    pub unknown_power: usize,
    pub power_watts: f64,
    pub memory_used_bytes: u64,
    pub memory_total_bytes: u64,
    pub parts: usize,
}

/// Of NVIDIA's and all other cards, by vendor.
pub(crate) fn by_vendor(truth: &Truth) -> BTreeMap<String, VendorTruth> {
    let mut all: BTreeMap<String, VendorTruth> = BTreeMap::new();
    let mut add = |vendor: &str, watts: Option<f64>, memory: (u64, u64), parts: usize, is_alive: bool| {
        let sum = all.entry(vendor.to_owned()).or_default();
        sum.cards += 1;
        sum.dead += usize::from(!is_alive);
        sum.unknown_power += usize::from(watts.is_none());
        // Milliwatts are whole: summed as such, no digit is lost.
        sum.power_watts = ((sum.power_watts + watts.unwrap_or(0.0)) * 1e3).round() / 1e3;
        sum.memory_used_bytes += memory.0;
        sum.memory_total_bytes += memory.1;
        sum.parts += parts;
    };
    for card in &truth.cards {
        add("nvidia", card.power_watts, (card.memory_used_mib << 20, card.memory_total_mib << 20), card.mig_instances, true);
    }
    for card in &truth.others {
        let memory = (card.memory_used_bytes.unwrap_or(0), card.memory_total_bytes.unwrap_or(0));
        add(&card.vendor, card.power_watts, memory, card.parts.len(), card.is_alive);
    }
    all
}
