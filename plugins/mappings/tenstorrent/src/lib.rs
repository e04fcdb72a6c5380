//! From rows of tt_telemetry, whichever way they came, and from the JSON of `tt-smi -s` to chips and their ethernet links.
//!
//! Each chip is a card of its own: its watts are its own, also where two share a board. How busy a chip is and what memory it uses no
//! Tenstorrent source says: gaps.

pub mod smi;
mod table;

use std::collections::BTreeMap;

use kcloud_collector_sdk::exporter::tables::{Cards, largest};
use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source, Who};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef};

/// Reads the chips of one node, or of several where one exporter collects for others.
#[derive(Default)]
pub struct Tenstorrent {
    /// UUIDs that `tt-smi` gives, by node, tray and chip (`worker1/1/0`): tt_telemetry has none.
    pub uuids: BTreeMap<String, String>,
}

impl Source for Tenstorrent {
    const NAME: &'static str = "tt_telemetry";
    const LIKE: &'static str = "(AICLK|AIClock|AXICLK|AXIClock|ARCCLK|ARCClock|FanSpeed|TDP|TDC|VCORE|VCore|ASICTemperature|BoardTemperature|linkIsUp|crcErrorCount|retrainCount|correctedCodewordCount|uncorrectedCodewordCount).*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        &*table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let mut cards = Cards::new(out, "npu", "tenstorrent");
        for family in table::CHIP {
            for row in family.names.iter().flat_map(|name| page.rows(name)) {
                let Some(chip) = self.chip(&mut cards, page, row) else { continue };
                // Wormhole's firmware keeps the limit in the upper half of the word.
                let value = match family.is_packed && row.value >= 65_536.0 && row.value < f64::from(u32::MAX) {
                    true => f64::from(row.value as u32 & 0xffff),
                    false => row.value,
                };
                let factor = row.get("unit").and_then(|u| table::factor(&u)).unwrap_or(family.factor);
                match largest(value) {
                    Some(reason) => cards.gap(family.metric, chip, reason),
                    None if value == 0.0 => cards.gap(family.metric, chip, GapReason::Absent),
                    None => cards.value(family.metric, chip, value * factor, row.at_ms),
                }
            }
        }
        for row in page.rows(table::LINK_UP) {
            let Some(link) = self.link(&mut cards, page, row) else { continue };
            cards.out.state("link_status", link, if row.value == 1.0 { "up" } else { "down" });
        }
        for (name, metric) in table::LINKS {
            for row in page.rows(name) {
                if let Some(link) = self.link(&mut cards, page, row) {
                    cards.value(metric, link, row.value, row.at_ms);
                }
            }
        }
        cards.finish();
        Ok(())
    }
}

impl Tenstorrent {
    /// The chip of a row; a row without a tray and a chip is another source's.
    fn chip(&self, cards: &mut Cards<'_, '_>, page: &Page<'_>, row: &Row<'_>) -> Option<SubjectRef> {
        let [tray, chip, host] = row.pick(["tray", "chip", "hostname"]);
        let device = format!("{}/{}", tray?, chip?);
        let node = page.node_of(host.as_deref());
        let uuid = self.uuids.get(&format!("{}/{device}", node.as_deref().unwrap_or_default())).map(String::as_str);
        let card = cards.card(Who { node: node.as_deref(), uuid, device: Some(&device), pci_address: None })?;
        table::NEVER.iter().for_each(|metric| cards.gap(metric, card, GapReason::Unsupported));
        Some(card)
    }

    fn link(&self, cards: &mut Cards<'_, '_>, page: &Page<'_>, row: &Row<'_>) -> Option<SubjectRef> {
        let channel = row.get("channel")?;
        let chip = self.chip(cards, page, row)?;
        let link = cards.part("link", &channel, chip);
        cards.out.label(link, "link_type", Some("ethernet"));
        Some(link)
    }
}
