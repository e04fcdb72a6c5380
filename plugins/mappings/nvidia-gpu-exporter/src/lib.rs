//! From rows of nvidia_gpu_exporter to cards and their processes, whichever way the rows came.
//!
//! Where the exporter's program failed, what it shows is old: every figure is then a gap, and never a value.

mod table;

use kcloud_collector_sdk::exporter::tables::Cards;
use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source, Who};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef};

/// Reads the cards of one node.
#[derive(Default)]
pub struct NvidiaGpuExporter;

impl Source for NvidiaGpuExporter {
    const NAME: &'static str = "nvidia_gpu_exporter";
    const LIKE: &'static str = "nvidia_smi_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        &*table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let mut cards = Cards::new(out, "gpu", "nvidia");
        let node = page.node_of(None);
        let node = node.as_deref();
        // Names and models first: other rows carry the UUID alone.
        for row in page.rows(table::INFO) {
            let Some(card) = card(&mut cards, node, row) else { continue };
            let [index, name, driver, serial] = row.pick(["index", "name", "driver_version", "serial"]);
            for (key, value) in [("index", index), ("model", name), ("driver_version", driver), ("serial_number", serial)] {
                cards.out.label(card, key, value.filter(|v| is_said(v)));
            }
        }
        let exit = page.first(table::EXIT).map_or(0.0, |r| r.value);
        let is_old = exit != 0.0 || page.first(table::SUCCESS).is_some_and(|r| r.value == 0.0);
        if is_old {
            cards.out.problem(format!("nvidia-smi ended with {exit}: what the exporter shows is what it said before"));
            for q in table::CARD {
                for row in q.names.iter().flat_map(|name| page.rows(name)) {
                    if let Some(card) = card(&mut cards, node, row) {
                        cards.gap(q.metric, card, GapReason::Error);
                    }
                }
            }
        } else {
            cards.read(page, table::CARD, |cards, row| card(cards, node, row));
            processes(&mut cards, page, node);
        }
        // A field that the program cannot say is no row, and a card that fell off the bus has none.
        for row in page.rows(table::INFO) {
            if let Some(card) = card(&mut cards, node, row) {
                ["power_watts", "temperature_celsius", "utilization_ratio", "memory_used_bytes"]
                    .into_iter()
                    .for_each(|metric| cards.gap(metric, card, GapReason::Absent));
            }
        }
        cards.finish();
        Ok(())
    }
}

fn processes(cards: &mut Cards<'_, '_>, page: &Page<'_>, node: Option<&str>) {
    for name in [table::PROCESS].into_iter().chain(table::PROCESS_MEMORY) {
        for row in page.rows(name) {
            let Some(card) = card(cards, node, row) else { continue };
            let [pid, program] = row.pick(["pid", "process_name"]);
            let Some(pid) = pid else { continue };
            let process = cards.part("process", &pid, card);
            cards.out.label(process, "name", program.filter(|v| is_said(v)));
            if name != table::PROCESS {
                cards.value("memory_used_bytes", process, row.value, row.at_ms);
            }
        }
    }
}

fn card(cards: &mut Cards<'_, '_>, node: Option<&str>, row: &Row<'_>) -> Option<SubjectRef> {
    let [uuid, pci] = row.pick(["uuid", "pci_bus_id"]);
    let uuid = uuid?;
    // The exporter takes the vendor's prefix off, by which every other source knows the card.
    let uuid = match uuid.starts_with("GPU-") || uuid.starts_with("MIG-") {
        true => uuid.into_owned(),
        false => format!("GPU-{uuid}"),
    };
    let card = cards.card(Who { node, uuid: Some(&uuid), pci_address: pci.as_deref(), device: None });
    if let Some(card) = card {
        cards.holder(card, row, ["namespace", "pod", "container"]);
    }
    card
}

/// Not `[N/A]`, `[Not Supported]`, `[Unknown Error]`, nor a serial number of zeros.
fn is_said(text: &str) -> bool {
    !text.starts_with('[') && !text.eq_ignore_ascii_case("n/a") && !text.trim_matches('0').is_empty()
}
