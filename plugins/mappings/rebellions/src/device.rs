//! Devices as a source lists them, and the cards that they make: an ATOM Max is four of them, each of which repeats its power.

use std::collections::BTreeMap;

use kcloud_collector_sdk::exporter::{Mean, Out, Readings, Who};
use kcloud_collector_sdk::{GapReason, SubjectRef};

const GIB: f64 = 1_073_741_824.0;
/// A die of an ATOM Max has 16 GiB: one that says more says its card's.
const DIE_BYTES: f64 = 32.0 * GIB;

pub(crate) type Value = Option<Result<f64, GapReason>>;

/// One device, in base units.
#[derive(Debug, Default)]
pub(crate) struct Device {
    pub node: Option<String>,
    pub uuid: Option<String>,
    /// `rbln0`.
    pub name: Option<String>,
    pub pci_address: Option<String>,
    pub model: Option<String>,
    /// What devices of one card share, where a source has it.
    pub serial: Option<String>,
    pub labels: Vec<(&'static str, String)>,
    pub holder: [Option<String>; 3],
    pub power: Value,
    pub temperature: Value,
    pub utilization: Value,
    pub used: Value,
    pub total: Value,
    pub health: Option<&'static str>,
    pub at_ms: Option<i64>,
    /// Pid, name, bytes.
    pub processes: Vec<(String, String, Option<f64>)>,
}

impl Device {
    /// `rbln10` stands after `rbln9`.
    fn order(&self) -> (u32, &Option<String>) {
        let digits = self.name.as_deref().map(|n| n.trim_start_matches(|c: char| !c.is_ascii_digit()));
        (digits.and_then(|d| d.parse().ok()).unwrap_or(u32::MAX), &self.uuid)
    }

    /// How many of its model make a card.
    fn usual_dies(&self) -> usize {
        if self.model.as_deref().is_some_and(|m| m.contains("CA25") || m.to_ascii_lowercase().contains("atom max")) { 4 } else { 1 }
    }
}

/// Says what devices make cards: those that share a serial, else so many of a node and model in their order.
pub(crate) fn say(devices: Vec<Device>, dies_per_card: Option<usize>, out: &mut Out<'_>) {
    let mut readings = Readings::default();
    let mut groups: BTreeMap<[Option<String>; 3], Vec<Device>> = BTreeMap::new();
    for device in devices {
        groups.entry([device.node.clone(), device.model.clone(), device.serial.clone()]).or_default().push(device);
    }
    for ([node, model, serial], mut group) in groups {
        group.sort_by(|a, b| a.order().cmp(&b.order()));
        let dies = match (&serial, dies_per_card) {
            (Some(_), _) => group.len(),
            (None, Some(given)) => given.max(1),
            (None, None) => group.first().map_or(1, Device::usual_dies),
        };
        let is_whole = group.len().is_multiple_of(dies) && (serial.is_some() || dies_per_card.is_some() || group.chunks(dies).all(repeats));
        if !is_whole {
            out.problem(format!(
                "{} devices {} on {} are no cards of {dies} dies that repeat one power: each counts as a card, and watts may count several times; config dies_per_card says how many make one",
                group.len(),
                model.as_deref().unwrap_or("without a model"),
                node.as_deref().unwrap_or("a node without a name"),
            ));
        }
        for card in group.chunks(if is_whole { dies } else { 1 }) {
            one(card, out, &mut readings);
        }
    }
    readings.finish(out);
}

/// Whether the dies say one power; those that say none tell nothing.
fn repeats(dies: &[Device]) -> bool {
    let mut watts = dies.iter().filter_map(|d| d.power?.ok());
    let Some(first) = watts.next() else { return true };
    watts.all(|w| (w - first).abs() <= first * 0.1)
}

fn one(dies: &[Device], out: &mut Out<'_>, readings: &mut Readings) {
    let Some(first) = dies.first() else { return };
    let who = Who {
        node: first.node.as_deref(),
        uuid: first.uuid.as_deref(),
        pci_address: first.pci_address.as_deref(),
        device: first.name.as_deref(),
    };
    let Some(card) = out.card("npu", "rebellions", who) else {
        out.problem("a device has neither a uuid nor a node with its name");
        return;
    };
    out.label(card, "model", first.model.as_deref());
    out.label(card, "serial_number", first.serial.as_deref());
    first.labels.iter().for_each(|(key, value)| out.label(card, key, Some(value)));
    let is_split = dies.len() > 1;
    if !is_split || dies.iter().all(|d| d.holder == first.holder) {
        out.held_by(card, first.holder.each_ref().map(Option::as_deref));
    }
    if let Some(worst) = ["critical", "unknown", "ok"].into_iter().find(|h| dies.iter().any(|d| d.health == Some(*h))) {
        out.state("health", card, worst);
    }
    for die in dies {
        readings_of(card, die, &[("power_watts", die.power)], readings);
    }
    if is_split {
        for (at, die) in dies.iter().enumerate() {
            let part = out.subject("partition", "partition_id", &at.to_string(), Some(card));
            for (key, value) in [("uuid", &die.uuid), ("device", &die.name), ("pci_address", &die.pci_address)] {
                out.label(part, key, value.as_deref());
            }
            out.held_by(part, die.holder.each_ref().map(Option::as_deref));
            readings_of(part, die, &own(die), readings);
            processes(part, die, out, readings);
        }
        together(card, dies, readings);
    } else {
        readings_of(card, first, &own(first), readings);
        processes(card, first, out, readings);
    }
    readings.lacks(
        card,
        &["power_watts", "temperature_celsius", "utilization_ratio", "memory_used_bytes", "memory_total_bytes"],
        GapReason::Absent,
    );
}

fn own(die: &Device) -> [(&'static str, Value); 4] {
    [
        ("temperature_celsius", die.temperature),
        ("utilization_ratio", die.utilization),
        ("memory_used_bytes", die.used),
        ("memory_total_bytes", die.total),
    ]
}

fn readings_of(subject: SubjectRef, die: &Device, values: &[(&'static str, Value)], readings: &mut Readings) {
    for (metric, value) in values.iter().filter_map(|(m, v)| Some((*m, (*v)?))) {
        readings.say(subject, metric, value, die.at_ms);
    }
}

/// A card of its dies: the hottest, their mean load, their memory together.
fn together(card: SubjectRef, dies: &[Device], readings: &mut Readings) {
    let at_ms = dies.iter().filter_map(|d| d.at_ms).max();
    let all = |of: fn(&Device) -> Value| dies.iter().filter_map(move |d| of(d)?.ok());
    if let Some(hottest) = all(|d| d.temperature).reduce(f64::max) {
        readings.derive(card, "temperature_celsius", hottest, at_ms);
    }
    let mut mean = Mean::default();
    all(|d| d.utilization).for_each(|v| mean.add(v, at_ms));
    if let Some((value, _)) = mean.get() {
        readings.derive(card, "utilization_ratio", value, at_ms);
    }
    let is_repeated = all(|d| d.total).any(|bytes| bytes > DIE_BYTES);
    for (metric, of) in [("memory_used_bytes", (|d| d.used) as fn(&Device) -> Value), ("memory_total_bytes", |d| d.total)] {
        let said: Vec<f64> = all(of).collect();
        match is_repeated {
            true => said.iter().take(1).for_each(|v| readings.derive(card, metric, *v, at_ms)),
            // The rest of a sum that lacks a die would be taken for the whole.
            false if said.len() == dies.len() => readings.derive(card, metric, said.iter().sum(), at_ms),
            false => {}
        }
    }
}

fn processes(parent: SubjectRef, die: &Device, out: &mut Out<'_>, readings: &mut Readings) {
    for (pid, name, bytes) in &die.processes {
        let process = out.subject("process", "pid", pid, Some(parent));
        out.label(process, "name", Some(name));
        if let Some(bytes) = bytes {
            readings.say(process, "memory_used_bytes", Ok(*bytes), die.at_ms);
        }
    }
}
