//! From rows of Intel's exporters (XPU Manager 1.x and xpumd 2.x) to cards and their tiles, whichever way the rows came.
//!
//! Rows without a tile are the card's. Where the exporter says a figure of the tiles alone, the card's is derived of them; watts and
//! joules never are, since a board draws more than its tiles. Rows of the second generation that name no PCI device are of other
//! hardware: their names are OpenTelemetry's.

mod table;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kcloud_collector_sdk::exporter::tables::{Cards, largest};
use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source, Who};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef};

use table::{Family, Whole};

/// Reads the cards of one node.
#[derive(Default)]
pub struct IntelGpu;

struct Reading<'p, 'r, 'o, 'b> {
    page: &'p Page<'r>,
    cards: Cards<'o, 'b>,
    /// UUIDs by PCI address: not every row carries both.
    uuids: BTreeMap<String, String>,
    /// Tiles by their card.
    tiles: BTreeMap<SubjectIndex, (SubjectRef, BTreeSet<SubjectIndex>)>,
    subjects: BTreeMap<SubjectIndex, SubjectRef>,
}

type SubjectIndex = usize;

impl Source for IntelGpu {
    const NAME: &'static str = "intel gpu exporters";
    const LIKE: &'static str = "(xpum|hw)_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        &*table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let cards = Cards::new(out, "gpu", "intel");
        let mut reading = Reading { page, cards, uuids: BTreeMap::new(), tiles: BTreeMap::new(), subjects: BTreeMap::new() };
        reading.identify();
        table::FAMILIES.iter().for_each(|family| reading.family(family));
        reading.totals();
        reading.errors();
        reading.wholes();
        reading.status();
        reading.twice();
        reading.cards.finish();
        Ok(())
    }
}

impl<'r> Reading<'_, 'r, '_, '_> {
    fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        table::ASKS.iter().flat_map(Ask::names)
    }

    fn identify(&mut self) {
        let page = self.page;
        for row in self.names().flat_map(|name| page.rows(name)) {
            if let (Some(uuid), Some(pci)) = (uuid_of(row), row.get("pci_bdf")) {
                self.uuids.entry(pci.into_owned()).or_insert(uuid);
            }
        }
        for row in page.rows(table::INFO) {
            let Some((card, _)) = self.spot(row) else { continue };
            let [model, name, serial, firmware] = row.pick(["hw_model", "hw_name", "hw_serial_number", "hw_firmware_version"]);
            for (key, value) in [("model", model.or(name)), ("serial_number", serial), ("firmware_version", firmware)] {
                self.cards.out.label(card, key, value);
            }
        }
    }

    /// The card of a row, and its tile.
    fn spot(&mut self, row: &Row<'_>) -> Option<(SubjectRef, Option<SubjectRef>)> {
        let [pci, file, model, tile, new_tile, node] =
            row.pick(["pci_bdf", "dev_file", "dev_name", "sub_dev", "com_intel_subdevice_id", "node"]);
        let uuid = pci.as_deref().and_then(|pci| self.uuids.get(pci).cloned()).or_else(|| uuid_of(row));
        // What says neither is a sum over several cards, or other hardware.
        if pci.is_none() && (uuid.is_none() || row.get("hw_id").is_some()) {
            return None;
        }
        let device = file.as_deref().map(|f| f.rsplit('/').next().unwrap_or(f));
        let node = self.page.node_of(node.as_deref());
        let card = self.cards.card(Who { node: node.as_deref(), uuid: uuid.as_deref(), pci_address: pci.as_deref(), device })?;
        self.cards.out.label(card, "model", model);
        // Pods of the second generation are the exporter's own.
        self.cards.holder(card, row, ["kube_namespace", "kube_pod", "kube_container"]);
        self.subjects.insert(card.index(), card);
        let tile = tile.or(new_tile).map(|tile| {
            let part = self.cards.part("partition", &tile, card);
            self.tiles.entry(card.index()).or_insert((card, BTreeSet::new())).1.insert(part.index());
            self.subjects.insert(part.index(), part);
            part
        });
        Some((card, tile))
    }

    fn family(&mut self, family: &Family) {
        let page = self.page;
        for row in family.names.iter().flat_map(|name| page.rows(name)) {
            let fits = |(label, values): &(&str, &[&str])| values.contains(&&*row.get(label).unwrap_or_default());
            if !family.only.iter().all(fits) {
                continue;
            }
            let Some((card, tile)) = self.spot(row) else { continue };
            let of = tile.unwrap_or(card);
            match largest(row.value) {
                Some(reason) => self.cards.gap(family.metric, of, reason),
                None if row.value == 0.0 && family.zero_is_nothing => self.cards.gap(family.metric, of, GapReason::Absent),
                None => self.cards.value(family.metric, of, row.value * family.factor, row.at_ms),
            }
        }
    }

    /// All memory, from what is used and its share; a share of a few percent is too coarse to tell.
    fn totals(&mut self) {
        let page = self.page;
        for row in page.rows(table::SHARE) {
            let Some((card, tile)) = self.spot(row) else { continue };
            let of = tile.unwrap_or(card);
            match self.cards.get("memory_used_bytes", of).filter(|_| row.value >= 0.05 && row.value <= 1.0) {
                Some((used, at_ms)) => self.cards.derived("memory_total_bytes", of, used / row.value, at_ms),
                None => self.cards.gap("memory_total_bytes", of, GapReason::Absent),
            }
        }
    }

    /// Errors of the second generation: those of memory and caches by the catalogue's names, and all of a kind.
    fn errors(&mut self) {
        let page = self.page;
        let mut sums: BTreeMap<(SubjectIndex, &'static str), (f64, Option<i64>)> = BTreeMap::new();
        for row in table::ERRORS.iter().flat_map(|name| page.rows(name)).filter(|r| largest(r.value).is_none()) {
            let Some((card, tile)) = self.spot(row) else { continue };
            let of = tile.unwrap_or(card).index();
            let (kind, category) = (row.text("error_type"), row.text("error_category"));
            let (all, ecc) = match kind.contains("uncorrect") {
                true => ("x_intel_errors_uncorrected_total", "ecc_uncorrected_total"),
                false if kind.contains("correct") => ("x_intel_errors_corrected_total", "ecc_corrected_total"),
                false => continue,
            };
            let is_ecc = ["memory", "cache"].iter().any(|c| category.contains(c));
            for metric in [Some(all), is_ecc.then_some(ecc)].into_iter().flatten() {
                sums.entry((of, metric)).or_insert((0.0, row.at_ms)).0 += row.value;
            }
        }
        for ((of, metric), (sum, at_ms)) in sums {
            if let Some(of) = self.subjects.get(&of) {
                self.cards.value(metric, *of, sum, at_ms);
            }
        }
    }

    /// A card's figures of which only its tiles' are said; of a tile that says nothing the whole is unknown.
    fn wholes(&mut self) {
        let further = [
            ("memory_total_bytes", Whole::Sum),
            ("x_intel_errors_corrected_total", Whole::Sum),
            ("x_intel_errors_uncorrected_total", Whole::Sum),
        ];
        let wholes: BTreeMap<&'static str, Whole> =
            table::FAMILIES.iter().map(|f| (f.metric, f.whole)).filter(|(_, whole)| *whole != Whole::Never).chain(further).collect();
        for (card, tiles) in self.tiles.values() {
            for (metric, whole) in &wholes {
                let of_tile = |index: &usize| self.cards.get(metric, *self.subjects.get(index)?);
                let Some(all) = tiles.iter().map(of_tile).collect::<Option<Vec<_>>>() else { continue };
                let values = all.iter().map(|(value, _)| *value);
                let value = match whole {
                    Whole::Sum => values.sum(),
                    Whole::Mean => values.sum::<f64>() / all.len() as f64,
                    Whole::Most | Whole::Never => values.fold(f64::MIN, f64::max),
                };
                let at_ms = all.iter().filter_map(|(_, at)| *at).min();
                self.cards.derived(metric, *card, value, at_ms);
            }
        }
    }

    /// The state that is true of each card; its parts have states of their own.
    fn status(&mut self) {
        let page = self.page;
        let mut worst: BTreeMap<SubjectIndex, (SubjectRef, usize)> = BTreeMap::new();
        const STATES: [&str; 4] = ["ok", "unknown", "warning", "critical"];
        for row in page.rows(table::STATUS).iter().filter(|r| r.value == 1.0) {
            let Some((card, _)) = self.spot(row) else { continue };
            let state = match &*row.text("hw_state") {
                "ok" => 0,
                "degraded" | "predicted_failure" | "needs_cleaning" | "warning" => 2,
                "failed" | "critical" => 3,
                _ => 1,
            };
            let known = worst.entry(card.index()).or_insert((card, state));
            known.1 = known.1.max(state);
        }
        for (card, state) in worst.into_values() {
            self.cards.out.state("health", card, STATES[state]);
        }
    }

    /// The same series twice in one answer: the first counts, and it is said.
    fn twice(&mut self) {
        let page = self.page;
        let mut count = 0;
        for name in self.names() {
            let mut seen = HashSet::new();
            count += page.rows(name).iter().filter_map(Row::raw).filter(|labels| !seen.insert(*labels)).count();
        }
        if count > 0 {
            self.cards.out.problem(format!("{count} series stand twice in the answer; the first counts"));
        }
    }
}

/// The UUID of a card; a `hw_id` that is a number is its place on the node.
fn uuid_of(row: &Row<'_>) -> Option<String> {
    let [uuid, id] = row.pick(["uuid", "hw_id"]);
    let id = id.filter(|id| !id.bytes().all(|b| b.is_ascii_digit()));
    uuid.or(id).map(|v| v.into_owned())
}
