//! From rows of furiosa-metrics-exporter to NPUs, their ranges of cores and their cores, whichever way the rows came.
//!
//! A card that is given out in ranges of cores has a row of each card value for each range: it counts once. Nothing of the card
//! is said of a range.

mod table;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use kcloud_collector_sdk::exporter::{Def, Mean, Out, Page, Readings, Row, Source, Who};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, Event, GapReason, Severity, SubjectRef};

use table::{FAMILIES, Family, Of};

/// No card draws so many watts: what is above is microwatts, as builds of 2024 wrote.
const MICROWATTS_ABOVE: f64 = 2_000.0;

/// Reads Warboy and RNGD cards.
#[derive(Default)]
pub struct Furiosa;

/// First and last core.
type Range = (u32, u32);

#[derive(Default)]
struct Card {
    ranges: BTreeSet<Range>,
    cores: BTreeSet<u32>,
    is_alive: Option<bool>,
}

impl Card {
    /// Several ranges, or one that is not the whole card.
    fn is_split(&self) -> bool {
        let outside = |range: &Range| self.cores.iter().any(|c| !(range.0..=range.1).contains(c));
        self.ranges.len() > 1 || self.ranges.iter().any(outside)
    }
}

/// A row with whom it names.
struct Line<'r> {
    family: &'static Family,
    card: SubjectRef,
    range: Option<Range>,
    label: Option<Cow<'r, str>>,
    holder: [Option<Cow<'r, str>>; 3],
    value: f64,
    at_ms: Option<i64>,
}

impl Source for Furiosa {
    const NAME: &'static str = "furiosa-metrics-exporter";
    const LIKE: &'static str = "furiosa_npu_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let mut cards: BTreeMap<usize, (SubjectRef, Card)> = BTreeMap::new();
        let mut lines = Vec::new();
        for family in FAMILIES {
            for row in page.rows(family.name) {
                let Some(line) = line(page, out, family, row) else { continue };
                let card = &mut cards.entry(line.card.index()).or_insert_with(|| (line.card, Card::default())).1;
                match (family.of, line.range) {
                    (Of::Core, Some(range)) => drop(card.cores.insert(range.0)),
                    (_, Some(range)) => drop(card.ranges.insert(range)),
                    (_, None) => {}
                }
                lines.push(line);
            }
        }
        let mut readings = Readings::default();
        let mut means: BTreeMap<(usize, &'static str), (SubjectRef, Mean)> = BTreeMap::new();
        for line in &lines {
            let Some((_, card)) = cards.get_mut(&line.card.index()) else { continue };
            one(out, card, line, &mut readings, &mut means);
        }
        for ((_, metric), (subject, mean)) in means {
            if let Some((value, at_ms)) = mean.get() {
                readings.derive(subject, metric, value, at_ms);
            }
        }
        // Builds before 2025 say nothing of memory.
        let memory = if page.rows("furiosa_npu_dram_total").is_empty() { GapReason::Unsupported } else { GapReason::Absent };
        for (subject, card) in cards.into_values() {
            readings.lacks(subject, &["power_watts", "temperature_celsius", "utilization_ratio"], GapReason::Absent);
            readings.lacks(subject, &["memory_used_bytes", "memory_total_bytes"], memory);
            if let Some(is_alive) = card.is_alive {
                out.state("health", subject, if is_alive { "ok" } else { "critical" });
            }
        }
        readings.finish(out);
        Ok(())
    }
}

/// Reads a row's labels and puts its card into the batch.
fn line<'r>(page: &Page<'r>, out: &mut Out<'_>, family: &'static Family, row: &Row<'r>) -> Option<Line<'r>> {
    let [uuid, device, core, label, arch, pci, pci_old, host, host_old] =
        row.pick(["uuid", "device", "core", "label", "arch", "pci_bus_id", "pci_bud_id", "hostname", "kubernetes_node_name"]);
    let [driver, firmware, pert, namespace, pod, container] =
        row.pick(["driver_version", "firmware_version", "pert_version", "namespace", "pod", "container"]);
    let node = page.node_of(host.or(host_old).as_deref());
    let pci = pci.or(pci_old);
    let who = Who { node: node.as_deref(), uuid: uuid.as_deref(), pci_address: pci.as_deref(), device: device.as_deref() };
    let Some(card) = out.card("npu", "furiosa", who) else {
        out.problem(format!("{}: a row names neither a card's uuid nor a node with its device", family.name));
        return None;
    };
    let model = arch.as_deref().map(|arch| match arch {
        "rngd" => "RNGD",
        "warboy" => "Warboy",
        other => other,
    });
    out.label(card, "model", model);
    for (key, value) in [("driver_version", driver), ("firmware_version", firmware), ("pert_version", pert)] {
        out.label(card, key, value);
    }
    let range = core.as_deref().and_then(range);
    Some(Line { family, card, range, label, holder: [namespace, pod, container], value: row.value, at_ms: row.at_ms })
}

/// `3` or `0-3`.
fn range(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn one(
    out: &mut Out<'_>,
    card: &mut Card,
    line: &Line<'_>,
    readings: &mut Readings,
    means: &mut BTreeMap<(usize, &'static str), (SubjectRef, Mean)>,
) {
    let part = line.range.filter(|_| card.is_split()).and_then(|(first, last)| {
        let found = card.ranges.iter().find(|r| r.0 <= first && last <= r.1)?;
        let name = if found.0 == found.1 { found.0.to_string() } else { format!("{}-{}", found.0, found.1) };
        Some(out.subject("partition", "partition_id", &name, Some(line.card)))
    });
    let holder = part.or_else(|| (!card.is_split()).then_some(line.card));
    if let Some(held) = holder {
        out.held_by(held, line.holder.each_ref().map(|h| h.as_deref()));
    }
    let value = if line.value.is_finite() { Ok(line.value * line.family.factor) } else { Err(GapReason::Error) };
    let label = line.label.as_deref();
    let metric = match line.family.of {
        Of::Labelled => line.family.metrics.iter().find(|(l, _)| Some(*l) == label).map(|m| m.1),
        _ => line.family.metrics.first().map(|m| m.1),
    };
    match (line.family.of, metric) {
        (Of::Labelled, None) if line.family.name == "furiosa_npu_error" => {
            if let Some(label) = label.filter(|_| line.value > 0.0) {
                let code = format!("furiosa:{label}");
                let key = format!("now:{}/{code}", out.batch.get(line.card).identity.first().map_or("", |l| &l.value));
                let message = format!("{label} was counted {} times", line.value);
                out.batch.event(line.card, Event { subject: 0, at: None, severity: Severity::Warning, code, message, key });
            }
        }
        (_, None) => {}
        (_, Some("health")) => card.is_alive = card.is_alive.or(value.ok().map(|v| v == 1.0)),
        (_, Some("power_watts")) => {
            let value = value.and_then(|watts| match watts {
                // A card that answers draws something.
                w if w <= 0.0 => Err(GapReason::Absent),
                w if w > MICROWATTS_ABOVE => {
                    out.label(line.card, "unit_rule", Some("power read as microwatts"));
                    Ok(w * 1e-6)
                }
                w => Ok(w),
            });
            readings.say(line.card, "power_watts", value, line.at_ms);
        }
        (Of::Core, Some(metric)) => {
            let Some((core, _)) = line.range else { return };
            let at = out.subject("core", "index", &core.to_string(), Some(part.unwrap_or(line.card)));
            let is_first = readings.get(at, metric).is_none();
            readings.say(at, metric, value, line.at_ms);
            if let (Ok(value), true, false) = (value, is_first, metric.starts_with("x_")) {
                for whole in [Some(line.card), part].into_iter().flatten() {
                    means.entry((whole.index(), metric)).or_insert_with(|| (whole, Mean::default())).1.add(value, line.at_ms);
                }
            }
        }
        (_, Some(metric)) => readings.say(line.card, metric, value, line.at_ms),
    }
}
