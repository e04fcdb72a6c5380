//! From rows of AMD's device-metrics-exporter to cards, their partitions, links and processes, whichever way the rows came.
//!
//! Only the first partition of a card measures power, temperature, clock, energy, PCIe; the others repeat it or say 0. Memory is each
//! partition's own. A 0 of a sensor that the model lacks, and the largest number of a width, are gaps.

mod memory;
mod table;
mod who;

use std::collections::BTreeMap;

use kcloud_collector_sdk::exporter::tables::Cards;
use kcloud_collector_sdk::exporter::{self, Def, Out, Page, Row, Source, is_exporters};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, Event, GapReason, Severity, SubjectRef};

use table::{FAMILIES, Family, Zero};
use who::{Known, Who};

/// Reads the cards of one node.
pub struct Amd {
    prefixes: Vec<String>,
    asks: &'static [Ask],
}

impl Default for Amd {
    fn default() -> Self {
        Self { prefixes: table::PREFIXES.map(str::to_owned).to_vec(), asks: &*table::ASKS }
    }
}

impl Amd {
    /// With a prefix of the operator's own beside those that are known.
    pub fn with_prefix(prefix: &str) -> Self {
        let known = table::PREFIXES.contains(&prefix);
        match known {
            true => Self::default(),
            false => Self {
                prefixes: table::PREFIXES.iter().copied().chain([prefix]).map(str::to_owned).collect(),
                asks: vec![Ask::Rows(table::names(&[table::PREFIXES[0], table::PREFIXES[1], prefix]).leak(), "")].leak(),
            },
        }
    }
}

/// Of a card and a metric: sum and count of what was said, and when.
type Mean = (SubjectRef, &'static str, f64, u32, Option<i64>);

/// Whom rows are of.
#[derive(Clone, Copy)]
struct Spot {
    card: SubjectRef,
    /// Where the card is divided.
    partition: Option<SubjectRef>,
    is_first: bool,
}

struct Reading<'p, 'r, 'o, 'b> {
    page: &'p Page<'r>,
    prefixes: &'p [String],
    cards: Cards<'o, 'b>,
    known: Known,
    /// Cards of which more than one partition shows.
    divided: BTreeMap<(Option<String>, Option<String>), bool>,
    spots: BTreeMap<Who, Option<Spot>>,
}

impl Source for Amd {
    const NAME: &'static str = "amd device-metrics-exporter";
    const LIKE: &'static str = "(amd_gpu|amd_pcie|gpu|pcie)_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        self.asks
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let names: Vec<&str> = self.asks.iter().flat_map(Ask::names).collect();
        let rows: Vec<Who> = names.iter().flat_map(|name| page.rows(name)).filter_map(Who::of).collect();
        let mut known = Known::default();
        rows.iter().for_each(|who| known.learn(who));
        let mut divided = BTreeMap::new();
        for who in &rows {
            *divided.entry(known.card(who)).or_insert(false) |= !who.is_first();
        }
        let cards = Cards::new(out, "gpu", "amd");
        let mut reading = Reading { page, prefixes: &self.prefixes, cards, known, divided, spots: BTreeMap::new() };
        FAMILIES.iter().for_each(|family| reading.family(family));
        reading.memory();
        reading.clocks();
        reading.hottest();
        reading.parts();
        reading.state();
        reading.cards.finish();
        Ok(())
    }
}

impl<'p, 'r> Reading<'p, 'r, '_, '_> {
    /// Rows of a name, with whatever prefix.
    fn rows(&self, name: &str) -> Vec<Row<'r>> {
        self.prefixes.iter().flat_map(|prefix| self.page.rows(&format!("{prefix}{name}"))).copied().collect()
    }

    fn spot(&mut self, row: &Row<'_>) -> Option<Spot> {
        let who = Who::of(row)?;
        if let Some(known) = self.spots.get(&who) {
            return *known;
        }
        let spot = self.new_spot(&who, row);
        self.spots.insert(who, spot);
        spot
    }

    fn new_spot(&mut self, who: &Who, row: &Row<'_>) -> Option<Spot> {
        let of = self.known.card(who);
        let is_divided = self.divided.get(&of).copied().unwrap_or_default();
        let (uuid, device) = of;
        let host = row.get("hostname");
        let node = self.page.node_of(host.as_deref());
        let who_is = exporter::Who { node: node.as_deref(), uuid: uuid.as_deref(), device: device.as_deref(), pci_address: None };
        let card = self.cards.card(who_is)?;
        let [series, model, driver, serial] = row.pick(["card_series", "card_model", "driver_version", "serial_number"]);
        self.cards.out.label(card, "index", device.as_deref());
        self.cards.out.label(card, "model", series.or(model));
        self.cards.out.label(card, "driver_version", driver);
        self.cards.out.label(card, "serial_number", serial);
        self.cards.out.label(card, "hostname", host.filter(|h| is_exporters(h)));
        let partition = is_divided.then(|| {
            let partition = self.cards.part("partition", &who.partition.unwrap_or_default().to_string(), card);
            let [compute, memory] = row.pick(["gpu_compute_partition_type", "gpu_memory_partition_type"]);
            let profile: Vec<_> = [compute, memory].into_iter().flatten().collect();
            self.cards.out.label(partition, "profile", Some(profile.join("/")));
            partition
        });
        self.cards.holder(partition.unwrap_or(card), row, ["namespace", "pod", "container"]);
        Some(Spot { card, partition, is_first: who.is_first() })
    }

    fn family(&mut self, family: &Family) {
        for row in self.rows(family.name) {
            let Some(spot) = self.spot(&row).filter(|s| s.is_first) else { continue };
            match blank(family, &row) {
                Some(reason) => self.cards.gap(family.metric, spot.card, reason),
                None => self.cards.value(family.metric, spot.card, row.value * family.factor, row.at_ms),
            }
        }
    }

    /// A partition's own; of a card that is divided, the sum.
    fn memory(&mut self) {
        let all = |reading: &Self, name: &str, old: &str| [reading.rows(name), reading.rows(old)].concat();
        let (total, old, _) = table::MEMORY[0];
        let mut sizes: Vec<f64> = all(self, total, old).iter().map(|r| r.value).filter(|v| !is_largest(*v)).collect();
        if sizes.is_empty() {
            let any = table::MEMORY.iter().flat_map(|(name, old, _)| all(self, name, old));
            sizes = any.map(|r| r.value).filter(|v| !is_largest(*v)).collect();
        }
        let (factor, unit) = memory::unit(sizes.into_iter());
        for (name, old, metric) in table::MEMORY {
            let mut sums: BTreeMap<usize, (SubjectRef, Option<f64>, Option<i64>)> = BTreeMap::new();
            for row in all(self, name, old) {
                let Some(spot) = self.spot(&row) else { continue };
                let of = spot.partition.unwrap_or(spot.card);
                let is_new = self.cards.get(metric, of).is_none();
                // An SR-IOV host does not see what its guests use; it says 0.
                let value = (row.value > 0.0 && !is_largest(row.value)).then_some(row.value * factor);
                match value {
                    Some(value) => self.cards.value(metric, of, value, row.at_ms),
                    None if row.value == 0.0 && *metric == "memory_free_bytes" => self.cards.value(metric, of, 0.0, row.at_ms),
                    None => self.cards.gap(metric, of, if row.value == 0.0 { GapReason::Absent } else { GapReason::Unsupported }),
                }
                if value.is_some() {
                    self.cards.out.label(spot.card, "unit_rule", (unit != "MiB").then(|| format!("memory in {unit}")));
                }
                if spot.partition.is_some() && is_new {
                    let sum = sums.entry(spot.card.index()).or_insert((spot.card, Some(0.0), row.at_ms));
                    // Of an unknown part the whole is unknown.
                    sum.1 = sum.1.zip(value).map(|(a, b)| a + b);
                }
            }
            for (card, sum, at_ms) in sums.into_values() {
                match sum {
                    Some(sum) => self.cards.derived(metric, card, sum, at_ms),
                    None => self.cards.gap(metric, card, GapReason::Absent),
                }
            }
        }
    }

    /// The mean over the clocks of one kind.
    fn clocks(&mut self) {
        let mut means: BTreeMap<(usize, &str), Mean> = BTreeMap::new();
        for row in self.rows("gpu_clock") {
            let Some(spot) = self.spot(&row).filter(|s| s.is_first) else { continue };
            let kind = row.text("clock_type").to_ascii_lowercase();
            let kind = kind.strip_prefix("gpu_clock_type_").unwrap_or(&kind);
            let Some((_, metric)) = table::CLOCKS.iter().find(|(name, _)| *name == kind) else { continue };
            if is_largest(row.value) || row.value < 0.0 || !row.value.is_finite() {
                self.cards.gap(metric, spot.card, GapReason::Unsupported);
                continue;
            }
            let mean = means.entry((spot.card.index(), metric)).or_insert((spot.card, metric, 0.0, 0, row.at_ms));
            (mean.2, mean.3) = (mean.2 + row.value, mean.3 + 1);
        }
        for (card, metric, sum, count, at_ms) in means.into_values() {
            let value = sum / f64::from(count) * table::CLOCK_FACTOR;
            match count {
                1 => self.cards.value(metric, card, value, at_ms),
                _ => self.cards.derived(metric, card, value, at_ms),
            }
        }
    }

    /// Of several stacks of memory the hottest, where no temperature of all is said.
    fn hottest(&mut self) {
        let mut most: BTreeMap<usize, (SubjectRef, f64, Option<i64>)> = BTreeMap::new();
        for row in self.rows("gpu_hbm_temperature") {
            let Some(spot) = self.spot(&row).filter(|s| s.is_first) else { continue };
            if row.value > 0.0 && !is_largest(row.value) {
                let one = most.entry(spot.card.index()).or_insert((spot.card, row.value, row.at_ms));
                one.1 = one.1.max(row.value);
            }
        }
        for (card, value, at_ms) in most.into_values() {
            self.cards.derived("memory_temperature_celsius", card, value, at_ms);
        }
    }

    /// Errors by block, links and processes.
    fn parts(&mut self) {
        for (name, metric) in table::BLOCKS {
            for row in self.rows(name) {
                if let Some(spot) = self.spot(&row).filter(|s| s.is_first && !is_largest(row.value)) {
                    self.cards.value(metric, spot.card, row.value, row.at_ms);
                }
            }
        }
        for (name, metric) in [("gpu_xgmi_link_rx", "x_amd_xgmi_rx_bytes_total"), ("gpu_xgmi_link_tx", "x_amd_xgmi_tx_bytes_total")] {
            for row in self.rows(name) {
                let Some(spot) = self.spot(&row).filter(|s| s.is_first && !is_largest(row.value)) else { continue };
                let Some(index) = row.get("link_index") else { continue };
                let link = self.cards.part("link", &index, spot.card);
                self.cards.out.label(link, "link_type", Some("xgmi"));
                self.cards.value(metric, link, row.value * 1_024.0, row.at_ms);
            }
        }
        for row in self.rows("gpu_process_cu_occupancy") {
            let Some(spot) = self.spot(&row) else { continue };
            let Some(pid) = row.get("kfd_process_id").filter(|p| *p != "0") else { continue };
            let process = self.cards.part("process", &pid, spot.partition.unwrap_or(spot.card));
            match is_largest(row.value) {
                true => self.cards.gap("x_amd_cu_occupancy_ratio", process, GapReason::Unsupported),
                false => self.cards.value("x_amd_cu_occupancy_ratio", process, row.value * 0.01, row.at_ms),
            }
        }
    }

    /// Whether a card is well, and the last errors that its firmware named.
    fn state(&mut self) {
        for row in self.rows("gpu_health") {
            let Some(spot) = self.spot(&row).filter(|s| s.is_first) else { continue };
            match row.value {
                1.0 => self.cards.out.state("health", spot.card, "ok"),
                0.0 => self.cards.out.state("health", spot.card, "critical"),
                _ => self.cards.gap("health", spot.card, GapReason::Error),
            }
        }
        for row in self.rows("gpu_afid_errors") {
            let Some(spot) = self.spot(&row).filter(|_| row.value > 0.0 && !is_largest(row.value)) else { continue };
            let said = row.text("severity").to_ascii_lowercase();
            let severity = match &*said {
                s if s.contains("fatal") && !s.contains("non") => Severity::Critical,
                s if s.contains("uncorrect") => Severity::Critical,
                s if s.contains("correct") => Severity::Info,
                _ => Severity::Warning,
            };
            let code = format!("afid:{}", row.value);
            let message = format!("AMD field id {}{}{said}", row.value, if said.is_empty() { "" } else { ", " });
            let key = format!("now:{code}");
            self.cards.out.batch.event(spot.card, Event { subject: 0, at: None, severity, code, message, key });
        }
    }
}

/// What stands for "not available": the largest number of 32 or 64 bits.
fn is_largest(value: f64) -> bool {
    value == f64::from(u32::MAX) || value >= 1.844_674_407_370_955e19
}

/// Why a row of a card holds no reading.
fn blank(family: &Family, row: &Row<'_>) -> Option<GapReason> {
    let value = row.value;
    // Sensors of 16 bits say 65535; what counts may be so much.
    let is_narrow = value == f64::from(u16::MAX) && !family.metric.ends_with("_total") && family.metric != "energy_joules";
    match () {
        _ if is_largest(value) || is_narrow => Some(GapReason::Unsupported),
        _ if !value.is_finite() || value < 0.0 => Some(GapReason::Error),
        _ if value == 0.0 && family.zero == Zero::Nothing => Some(match lacks(family.name, row) {
            true => GapReason::Unsupported,
            false => GapReason::Absent,
        }),
        _ => None,
    }
}

/// Whether a model is known to lack what a name says (the exporter's own list of metrics by platform).
fn lacks(name: &str, row: &Row<'_>) -> bool {
    let [series, model] = row.pick(["card_series", "card_model"]);
    let model = format!("{}{}", series.unwrap_or_default(), model.unwrap_or_default()).to_ascii_uppercase();
    let (is_mi3, is_older) = (model.contains("MI3"), ["MI1", "MI2", "RADEON"].iter().any(|m| model.contains(m)));
    match name {
        "gpu_package_power" | "gpu_junction_temperature" => is_older,
        "gpu_average_package_power" | "gpu_edge_temperature" => is_mi3,
        _ => false,
    }
}
