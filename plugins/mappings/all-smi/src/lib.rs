//! From rows of all-smi's API to cards of every vendor that it reads, whichever way the rows came. It is a peer of the vendors'
//! exporters: a card that one of them shows, too, is the same by its UUID.

mod table;

use std::collections::BTreeMap;

use kcloud_collector_sdk::exporter::{Def, Out, Page, Readings, Row, Source, Who};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef};

use table::{CHASSIS_POWER, FAMILIES, INFO, Of};

/// Reads all-smi.
#[derive(Default)]
pub struct AllSmi;

/// Whose a card is, by how all-smi calls it.
const VENDORS: &[(&str, &str, &str)] = &[
    ("nvidia", "nvidia", "gpu"),
    ("tesla", "nvidia", "gpu"),
    ("geforce", "nvidia", "gpu"),
    ("gaudi", "intel", "npu"),
    ("intel", "intel", "gpu"),
    ("amd", "amd", "gpu"),
    ("radeon", "amd", "gpu"),
    ("instinct", "amd", "gpu"),
    ("apple", "apple", "gpu"),
    ("rebellions", "rebellions", "npu"),
    ("rbln", "rebellions", "npu"),
    ("furiosa", "furiosa", "npu"),
    ("rngd", "furiosa", "npu"),
    ("warboy", "furiosa", "npu"),
    ("tenstorrent", "tenstorrent", "npu"),
    ("wormhole", "tenstorrent", "npu"),
    ("blackhole", "tenstorrent", "npu"),
    ("tpu", "google", "tpu"),
];

impl Source for AllSmi {
    const NAME: &'static str = "all-smi";
    const LIKE: &'static str = "all_smi_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let mut readings = Readings::default();
        let mut cards: BTreeMap<usize, SubjectRef> = BTreeMap::new();
        for row in page.rows(INFO) {
            if let Some(card) = card(page, out, row) {
                let [driver, pci] = row.pick(["driver_version", "pci_address"]);
                out.label(card, "driver_version", driver);
                out.label(card, "pci_address", pci);
                cards.insert(card.index(), card);
            }
        }
        for family in FAMILIES {
            for row in page.rows(family.name) {
                let subject = match family.of {
                    Of::Card => card(page, out, row),
                    Of::Part => {
                        below(page, out, row, "partition", "partition_id", &["gpu_instance_id", "mig_instance", "vgpu_id", "vgpu_uuid"])
                    }
                    Of::Process => below(page, out, row, "process", "pid", &["pid"]),
                    Of::Node => node(page, row).map(|name| out.node(&name)),
                };
                let Some(subject) = subject else {
                    out.problem(format!("{}: a row names nobody", family.name));
                    continue;
                };
                if family.of == Of::Card {
                    cards.insert(subject.index(), subject);
                }
                let value = match row.value {
                    v if !v.is_finite() => Err(GapReason::Error),
                    // What it has inside for "no reading"; a good build leaves the row out.
                    v if v < 0.0 && !family.metric.contains("temperature") => Err(GapReason::Absent),
                    -1.0 => Err(GapReason::Absent),
                    0.0 if family.is_positive => Err(GapReason::Absent),
                    v => Ok(v * family.factor),
                };
                readings.say(subject, family.metric, value, row.at_ms);
            }
        }
        chassis(page, out, &mut readings, cards.values());
        for card in cards.into_values() {
            let expected = ["power_watts", "temperature_celsius", "utilization_ratio", "memory_used_bytes", "memory_total_bytes"];
            readings.lacks(card, &expected, GapReason::Absent);
        }
        readings.finish(out);
        Ok(())
    }
}

/// A server's watts, where they are not only its cards' together: without a sensor of the whole, all-smi adds up what it has.
fn chassis<'c>(page: &Page<'_>, out: &mut Out<'_>, readings: &mut Readings, cards: impl Iterator<Item = &'c SubjectRef>) {
    let mut of_cards: BTreeMap<Option<u32>, f64> = BTreeMap::new();
    for card in cards {
        *of_cards.entry(out.batch.get(*card).parent).or_default() += readings.get(*card, "power_watts").unwrap_or(0.0);
    }
    for row in page.rows(CHASSIS_POWER) {
        let Some(node) = node(page, row).map(|name| out.node(&name)) else { continue };
        let together = of_cards.get(&Some(node.index() as u32)).copied().unwrap_or(0.0);
        if row.value > 0.0 && row.value.is_finite() && (row.value - together).abs() > row.value * 0.01 {
            let chassis = out.subject("chassis", "name", "all-smi", Some(node));
            out.label(chassis, "method", Some("sensor"));
            readings.say(chassis, "power_watts", Ok(row.value), row.at_ms);
        }
    }
}

/// all-smi's `instance` and `hostname`; behind a server, `instance` is the server's own unless it was kept as `exported_instance`.
fn node(page: &Page<'_>, row: &Row<'_>) -> Option<String> {
    let [hostname, host, instance] = row.pick(["hostname", "host", "instance"]);
    let said = hostname.or(host).or_else(|| instance.filter(|i| !i.contains(':')));
    page.node_of(said.as_deref())
}

fn card(page: &Page<'_>, out: &mut Out<'_>, row: &Row<'_>) -> Option<SubjectRef> {
    let [name, uuid, index, old_uuid, old_index] = row.pick(["gpu", "gpu_uuid", "gpu_index", "uuid", "index"]);
    let [npu, npu_uuid, npu_index] = row.pick(["npu", "npu_uuid", "npu_index"]);
    let [kind, namespace, pod, container] = row.pick(["type", "namespace", "pod", "container"]);
    let (name, uuid, index) = (name.or(npu), uuid.or(npu_uuid).or(old_uuid), index.or(npu_index).or(old_index));
    // A device without a UUID of its own is given its place as one.
    let uuid = uuid.filter(|u| u.parse::<u32>().is_err() && !u.eq_ignore_ascii_case("unknown") && !u.eq_ignore_ascii_case("n/a"));
    let lower = name.as_deref().unwrap_or_default().to_ascii_lowercase();
    let known = VENDORS.iter().find(|(part, ..)| lower.contains(part));
    let class = match kind.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("npu") => "npu",
        Some("tpu") => "tpu",
        Some("gpu") if known.is_none() => "gpu",
        _ => known.map_or("", |k| k.2),
    };
    let node = node(page, row);
    let device = index.map(|i| format!("{}{i}", if class == "gpu" { "gpu" } else { "npu" }));
    let who = Who { node: node.as_deref(), uuid: uuid.as_deref(), pci_address: None, device: device.as_deref() };
    let card = out.card(class, known.map_or("", |k| k.1), who)?;
    out.label(card, "model", name);
    out.held_by(card, [namespace.as_deref(), pod.as_deref(), container.as_deref()]);
    Some(card)
}

fn below(page: &Page<'_>, out: &mut Out<'_>, row: &Row<'_>, kind: &str, key: &str, names: &[&str]) -> Option<SubjectRef> {
    let id = names.iter().find_map(|n| row.get(n))?;
    let card = card(page, out, row)?;
    let part = out.subject(kind, key, &id, Some(card));
    for (label, names) in [("name", &["process_name", "name"][..]), ("profile", &["mig_profile", "vgpu_type"]), ("uuid", &["mig_uuid"])] {
        out.label(part, label, names.iter().find_map(|n| row.get(n)));
    }
    Some(part)
}
