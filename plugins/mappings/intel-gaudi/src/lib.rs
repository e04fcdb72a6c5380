//! From rows of the Gaudi exporter to cards and their network ports, whichever way the rows came.

mod table;

use kcloud_collector_sdk::exporter::tables::Cards;
use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source, Who};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, SubjectRef};

/// Reads the cards of one node.
#[derive(Default)]
pub struct Gaudi;

impl Source for Gaudi {
    const NAME: &'static str = "gaudi exporter";
    const LIKE: &'static str = "(habanalabs|accelerator)_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        &*table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let mut cards = Cards::new(out, "npu", "intel");
        let host = page.first(table::INFO).and_then(|row| row.get("node_name").or_else(|| row.get("node")));
        let node = page.node_of(host.as_deref());
        cards.read(page, table::CARD, |cards, row| card(cards, node.as_deref(), row));
        for row in page.rows(table::PORTS) {
            let Some(of) = card(&mut cards, node.as_deref(), row) else { continue };
            let Some(port) = row.get("port") else { continue };
            let link = cards.part("link", &port, of);
            cards.out.label(link, "link_type", Some("ethernet"));
            cards.out.label(link, "port_type", row.get("port_type"));
            let status = match row.value {
                1.0 => "up",
                0.0 => "down",
                _ => "unknown",
            };
            cards.out.state("link_status", link, status);
        }
        cards.finish();
        Ok(())
    }
}

/// The card of a row. The generic twins are other exporters' names, too: a row of ours says who the card is in these labels.
fn card(cards: &mut Cards<'_, '_>, node: Option<&str>, row: &Row<'_>) -> Option<SubjectRef> {
    let [uuid, serial, device, number, driver] = row.pick(["UUID", "Serial", "device", "id", "driver"]);
    let uuid = uuid.or_else(|| serial.clone());
    if uuid.is_none() && number.is_none() {
        return None;
    }
    let place = device.or_else(|| number.clone());
    let card = cards.card(Who { node, uuid: uuid.as_deref(), device: place.as_deref(), pci_address: None })?;
    for (key, value) in [("index", number), ("serial_number", serial), ("driver_version", driver)] {
        cards.out.label(card, key, value);
    }
    cards.holder(card, row, ["pod_namespace", "pod_name", "container_name"]);
    Some(card)
}
