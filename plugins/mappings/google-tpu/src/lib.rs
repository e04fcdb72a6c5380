//! From rows of GKE's TPU device plugin to cards, whichever way the rows came. Its names have no prefix: rows are its own by their
//! label `make` alone.

use std::sync::LazyLock;

use kcloud_collector_sdk::MetricKind::Gauge;
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::tables::{Cards, Quantity, asked, never_zero, quantity};
use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source, Who, number};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef};

/// Reads the cards of one node.
#[derive(Default)]
pub struct GoogleTpu;

const MAKE: &str = "cloud-tpu";

/// Rows with the pod that holds a card first; those that end in `_node` repeat them, and alone know cards that nobody holds.
const CARD: &[Quantity] = &[
    quantity(&["duty_cycle", "duty_cycle_node"], "utilization_ratio", 0.01),
    quantity(&["tensorcore_utilization", "tensorcore_utilization_node"], "x_tpu_tensorcore_utilization_ratio", 0.01),
    quantity(&["memory_bandwidth_utilization", "memory_bandwidth_utilization_node"], "memory_bandwidth_ratio", 0.01),
    quantity(&["memory_used", "memory_used_node"], "memory_used_bytes", 1.0),
    never_zero(&["memory_total", "memory_total_node"], "memory_total_bytes", 1.0),
];

/// What no public interface of a TPU says.
const NEVER: [&str; 3] = ["power_watts", "temperature_celsius", "clock_sm_hertz"];

impl Source for GoogleTpu {
    const NAME: &'static str = "google tpu device plugin";
    const LIKE: &'static str = "(duty_cycle|tensorcore_utilization|memory_bandwidth_utilization|memory_used|memory_total)(_node)?";
    const METRICS: &'static [Def] = &[
        number("utilization_ratio", "ratio", Gauge, Measured),
        number("memory_bandwidth_ratio", "ratio", Gauge, Measured),
        number("memory_used_bytes", "bytes", Gauge, Measured),
        number("memory_total_bytes", "bytes", Gauge, Measured),
        number("power_watts", "watts", Gauge, Measured),
        number("temperature_celsius", "celsius", Gauge, Measured),
        number("clock_sm_hertz", "hertz", Gauge, Measured),
        number("x_tpu_tensorcore_utilization_ratio", "ratio", Gauge, Measured),
    ];

    fn asks(&self) -> &'static [Ask] {
        static ASKS: LazyLock<[Ask; 1]> = LazyLock::new(|| [Ask::Rows(asked(CARD, &[]), "make=\"cloud-tpu\"")]);
        &*ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let mut cards = Cards::new(out, "tpu", "google");
        let node = page.node_of(None);
        cards.read(page, CARD, |cards, row| card(cards, node.as_deref(), row));
        cards.finish();
        Ok(())
    }
}

/// `<instance>-<n>` is a card's own name in the whole cloud, and `n` its number on its node.
fn card(cards: &mut Cards<'_, '_>, node: Option<&str>, row: &Row<'_>) -> Option<SubjectRef> {
    let [make, id, model, topology] = row.pick(["make", "accelerator_id", "model", "tpu_topology"]);
    let id = id.filter(|_| make.as_deref() == Some(MAKE))?;
    let number = id.rsplit('-').next().unwrap_or(&id);
    let card = cards.card(Who { node, uuid: Some(&id), device: Some(number), pci_address: None })?;
    for (key, value) in [("index", Some(number)), ("model", model.as_deref()), ("topology", topology.as_deref())] {
        cards.out.label(card, key, value);
    }
    cards.holder(card, row, ["namespace", "pod", "container"]);
    NEVER.iter().for_each(|metric| cards.gap(metric, card, GapReason::Unsupported));
    Some(card)
}
