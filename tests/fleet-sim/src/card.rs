//! One card: what it is, and what it does at a tick.

use crate::world::{Node, Shape};
use crate::{CardTruth, FleetConfig, Moment, mix, uuid};

/// A model of card with its real limits.
#[derive(Debug)]
pub struct Model {
    pub name: &'static str,
    pub memory_mib: u64,
    pub limit_watts: u64,
    pub idle_watts: u64,
}

const MODELS: [Model; 3] = [
    Model { name: "NVIDIA H100 80GB HBM3", memory_mib: 81_559, limit_watts: 700, idle_watts: 70 },
    Model { name: "NVIDIA A100-SXM4-80GB", memory_mib: 81_920, limit_watts: 400, idle_watts: 60 },
    Model { name: "NVIDIA L40S", memory_mib: 46_068, limit_watts: 350, idle_watts: 35 },
];

/// Ticks of one swing of the load.
pub(crate) const PERIOD: u64 = 120;

/// One card of the fleet.
#[derive(Debug)]
pub struct Card {
    pub index: usize,
    pub uuid: String,
    pub pci: String,
    pub model: &'static Model,
    pub mig_instances: usize,
    pub xid: u32,
    pub pod: Option<String>,
    pub(crate) blank_power: bool,
    id: u64,
    busy: bool,
    /// Ticks after which the noise repeats. `PERIOD` where the energy is to be the exact integral of the watts.
    noise: u64,
}

/// What a card reads at a tick.
pub(crate) struct Reading {
    pub milliwatts: u64,
    pub utilization: u64,
    pub temperature: u64,
    pub memory_used: u64,
    pub memory_reserved: u64,
    pub energy_millijoules: u64,
    pub sm_clock: u64,
}

impl Card {
    /// The card `index` of the `node`-th node of the whole fleet that has cards.
    pub(crate) fn new(config: &FleetConfig, shape: &Shape, node: usize, index: usize) -> Self {
        let number = node * config.gpus_per_node + index;
        let id = mix(&[config.seed, node as u64, index as u64]);
        let every = |n: usize| n > 0 && number % n == n - 1;
        let busy = !id.is_multiple_of(4);
        let mig = every(config.faults.mig_every);
        Self {
            index,
            uuid: format!("GPU-{}", uuid(id)),
            pci: format!("00000000:{:02X}:00.0", 0x18 + index * 0x0b),
            model: &MODELS[node % MODELS.len()],
            mig_instances: if mig { 2 } else { 0 },
            xid: if every(config.faults.xid_every) { 79 } else { 0 },
            pod: (busy && !mig).then(|| format!("train-{}-{index}", node + 1)),
            blank_power: every(config.faults.blank_power_every),
            id,
            busy,
            noise: if shape.is_whole() { PERIOD } else { u64::MAX },
        }
    }

    /// Load at a tick in thousandths: a triangle with a phase of the card's own, and a little noise.
    fn load(&self, tick: u64) -> u64 {
        if !self.busy {
            return 0;
        }
        let phase = (tick + self.id % PERIOD) % PERIOD;
        let triangle = phase.min(PERIOD - phase) * 1_000 / (PERIOD / 2);
        (500 + triangle * 9 / 20 + mix(&[self.id, tick % self.noise, 3]) % 40).min(1_000)
    }

    pub(crate) fn milliwatts(&self, tick: u64) -> u64 {
        let span = (self.model.limit_watts - self.model.idle_watts) * self.load(tick);
        self.model.idle_watts * 1_000 + span + mix(&[self.id, tick % self.noise, 4]) % 1_000
    }

    /// Millijoules since tick 0 at one tick a second. Where noise does not repeat: its mean instead of it, so that whole swings
    /// have one sum and the counter needs no walk from the start.
    fn energy(&self, moment: Moment) -> u64 {
        if self.noise == PERIOD {
            return moment.integral(|t| self.milliwatts(t)) as u64;
        }
        let mean = |t: u64| {
            let phase = (t + self.id % PERIOD) % PERIOD;
            let triangle = phase.min(PERIOD - phase) * 1_000 / (PERIOD / 2);
            let load = if self.busy { (520 + triangle * 9 / 20).min(1_000) } else { 0 };
            self.model.idle_watts * 1_000 + (self.model.limit_watts - self.model.idle_watts) * load + 500
        };
        moment.integral(mean) as u64
    }

    pub(crate) fn read(&self, moment: Moment) -> Reading {
        let load = self.load(moment.tick);
        let memory = self.model.memory_mib;
        let reserved = 600 + self.id % 64;
        let used = if self.busy { memory / 4 + (memory / 2) * load / 1_000 } else { 4 };
        Reading {
            milliwatts: self.milliwatts(moment.tick),
            utilization: load / 10,
            temperature: 31 + load * 45 / 1_000 + self.id % 4,
            memory_used: used,
            memory_reserved: reserved,
            energy_millijoules: (self.id % 1_000_000) * 1_000 + self.energy(moment),
            sm_clock: if self.busy { 1_980 - load / 10 } else { 345 },
        }
    }

    pub(crate) fn truth(&self, moment: Moment, cluster: &str, node: &Node) -> CardTruth {
        let r = self.read(moment);
        CardTruth {
            uuid: self.uuid.clone(),
            cluster: cluster.to_owned(),
            node: node.name.clone(),
            pod: self.pod.clone(),
            device: format!("nvidia{}", self.index),
            model: self.model.name.to_owned(),
            power_watts: (!self.blank_power).then_some(r.milliwatts as f64 / 1e3),
            temperature_celsius: r.temperature as u32,
            utilization_percent: (self.mig_instances == 0).then_some(r.utilization as u32),
            memory_used_mib: r.memory_used,
            memory_total_mib: self.model.memory_mib,
            energy_joules: r.energy_millijoules as f64 / 1e3,
            xid: self.xid,
            mig_instances: self.mig_instances,
        }
    }
}
