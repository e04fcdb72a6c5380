//! What everything draws and does at a tick: whole milliwatts and millicores, from which pages and truth are both made.
//!
//! Server = (CPU packages + memory + cards + the rest) with the supplies' losses on top, rounded up to whole watts: as a BMC says them.

use crate::card::PERIOD;
use crate::clock::Moment;
use crate::world::{GIB, Node, Pod, Vm};
use crate::{Fleet, mix};

/// Milliwatts that a busy thousandth of a core adds to the packages and to the memory.
pub(crate) const CPU_PER_MILLICORE: u64 = 6;
pub(crate) const MEMORY_PER_MILLICORE: u64 = 1;

/// Millicores of the system's own processes: nobody's pod.
const SYSTEM_MILLICORES: u64 = 350;

/// One node at a tick, in milliwatts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodePower {
    pub millicores: u64,
    pub cpu_idle: u64,
    pub cpu_active: u64,
    pub memory_idle: u64,
    pub memory_active: u64,
    pub cards: u64,
    /// Fans, disks, network cards, boards.
    pub rest: u64,
    pub losses: u64,
    pub server_milliwatts: u64,
}

impl NodePower {
    pub fn cpu(&self) -> u64 {
        self.cpu_idle + self.cpu_active
    }

    pub fn memory(&self) -> u64 {
        self.memory_idle + self.memory_active
    }

    /// Whole watts into each supply; their sum is the server's.
    pub fn supplies_watts(&self, supplies: usize) -> impl Iterator<Item = u64> {
        let (all, n) = (self.server_milliwatts / 1_000, supplies.max(1) as u64);
        (0..n).map(move |k| all / n + u64::from(k < all % n))
    }
}

/// A load of its own for everybody: thousandths, a triangle between a half and nearly all, with a little noise. Repeats.
fn load(id: u64, tick: u64) -> u64 {
    let phase = (tick + id % PERIOD) % PERIOD;
    let triangle = phase.min(PERIOD - phase) * 1_000 / (PERIOD / 2);
    500 + triangle * 2 / 5 + mix(&[id, tick % PERIOD, 5]) % 90
}

impl Pod {
    /// What one container uses now.
    pub(crate) fn millicores(&self, container: usize, tick: u64) -> u64 {
        self.containers[container].cpu_millicores * load(self.id + container as u64, tick) / 1_000
    }

    /// Of all containers.
    pub(crate) fn all_millicores(&self, tick: u64) -> u64 {
        (0..self.containers.len()).map(|c| self.millicores(c, tick)).sum()
    }

    /// In whole pages.
    pub(crate) fn working_set(&self, container: usize, tick: u64) -> u64 {
        let of = self.containers[container].memory_bytes;
        of / 4_096 * (400 + load(self.id + container as u64, tick) * 2 / 5) / 1_000 * 4_096
    }
}

impl Vm {
    pub(crate) fn millicores(&self, tick: u64) -> u64 {
        if self.is_active { self.vcpus * load(self.id, tick) } else { 0 }
    }

    /// Used inside the guest, in whole KiB.
    pub(crate) fn memory_used(&self, tick: u64) -> u64 {
        if self.is_active { self.memory_bytes / 1_024 * (300 + load(self.id, tick) / 2) / 1_000 * 1_024 } else { 0 }
    }
}

impl Fleet {
    pub(crate) fn millicores(&self, node: usize, tick: u64) -> u64 {
        let at = &self.nodes[node];
        let pods: u64 = at.pods.iter().map(|p| self.pods[*p].all_millicores(tick)).sum();
        let vms: u64 = at.vms.iter().map(|v| self.vms[*v].millicores(tick)).sum();
        (SYSTEM_MILLICORES * load(at.id, tick) / 1_000 + pods + vms).min(at.cores * 1_000)
    }

    pub(crate) fn memory_used(&self, node: usize, tick: u64) -> u64 {
        let at = &self.nodes[node];
        let of = |p: &usize| (0..self.pods[*p].containers.len()).map(|c| self.pods[*p].working_set(c, tick)).sum::<u64>();
        let vms: u64 = at.vms.iter().map(|v| if self.vms[*v].is_active { self.vms[*v].memory_bytes } else { 0 }).sum();
        (6 * GIB + at.pods.iter().map(of).sum::<u64>() + vms).min(at.memory_bytes)
    }

    pub(crate) fn power(&self, node: usize, tick: u64) -> NodePower {
        self.power_with(node, tick, self.cards(node, tick).len())
    }

    fn power_with(&self, node: usize, tick: u64, cards: usize) -> NodePower {
        let at = &self.nodes[node];
        let millicores = self.millicores(node, tick);
        let (cpu_idle, cpu_active) = (at.cores * 1_700, millicores * CPU_PER_MILLICORE);
        let (memory_idle, memory_active) = (at.memory_bytes.div_ceil(GIB) * 70, millicores * MEMORY_PER_MILLICORE);
        let in_cards: u64 = at.cards[..cards].iter().map(|c| c.milliwatts(tick)).sum();
        let in_others: u64 = at.others.iter().map(|c| c.milliwatts(tick)).sum();
        let in_cards = in_cards + in_others;
        let inside = cpu_idle + cpu_active + memory_idle + memory_active + in_cards;
        let rest = 25_000 + (at.cards.len() + at.others.len()) as u64 * 7_000 + inside / 25;
        // Supplies give 94 of 100.
        let server_milliwatts = ((inside + rest) * 100).div_ceil(94).div_ceil(1_000) * 1_000;
        let losses = server_milliwatts - inside - rest;
        NodePower { millicores, cpu_idle, cpu_active, memory_idle, memory_active, cards: in_cards, rest, losses, server_milliwatts }
    }

    /// The integral of a part of a node's power since the fleet's beginning, in thousandths of a joule; a card that drops off draws until then.
    pub(crate) fn node_integral(&self, node: usize, moment: Moment, of: impl Fn(&NodePower) -> u64) -> f64 {
        let all = self.nodes[node].cards.len();
        let with = |cards: usize, until: Moment| until.lifetime(0, |t| of(&self.power_with(node, t, cards)));
        match self.config.faults.vanish_after {
            Some(after) if node == 0 && moment.tick >= after => {
                let then = Moment { tick: after, beyond: 0.0, ..moment };
                let left = all.saturating_sub(1);
                with(all, then) + with(left, moment) - with(left, then)
            }
            _ => with(all, moment),
        }
    }

    /// Milliwatts of the cards that a pod holds.
    pub(crate) fn held_milliwatts(&self, pod: &Pod, tick: u64) -> u64 {
        let Some(node) = pod.node.filter(|_| pod.gpus > 0 || pod.others.is_some()) else { return 0 };
        let of_others: u64 = self.nodes[node]
            .others
            .iter()
            .flat_map(|c| c.holders().map(move |h| (c, h)))
            .filter(|(_, (name, ..))| *name == pod.name)
            .map(|(c, (_, parts, of))| c.milliwatts(tick) * parts / of)
            .sum();
        let is_held = |name: &Option<String>| name.as_ref() == Some(&pod.name);
        of_others + self.cards(node, tick).iter().filter(|c| is_held(&c.pod)).map(|c| c.milliwatts(tick)).sum::<u64>()
    }

    /// What the meter at the facility's door shows, in milliwatts: everything, its cooling, and some light.
    pub(crate) fn facility_milliwatts(&self, tick: u64) -> u64 {
        let servers: u64 = (0..self.nodes.len()).map(|n| self.power(n, tick).server_milliwatts).sum();
        servers + servers * (260 + load(self.config.seed, tick) / 20) / 1_000 + 1_200_000
    }
}

/// A device's bytes a second: they swing with a load of their own.
pub(crate) fn bytes_per_second(node: &Node, device: u64, base: u64, tick: u64) -> u64 {
    base * load(mix(&[node.id, device]), tick) / 1_000
}
