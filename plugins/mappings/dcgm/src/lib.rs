//! From rows of dcgm-exporter to subjects and readings, whichever way the rows came: scraped, or held by a Prometheus.

mod read;
mod table;

use std::collections::BTreeMap;

use kcloud_collector_sdk::promql::Series;

pub use read::{Get, Place, Reader};
pub use table::{ENGINE, ROWS};

/// Every name that a row of ours can have.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().flat_map(|r| r.foreign).copied().chain(ENGINE)
}

/// Labels that hold a card's UUID, by version and family.
pub const UUID_LABELS: [&str; 3] = ["UUID", "gpu_uuid", "uuid"];

/// Takes a series of an instant query. `scraped` is when each (job, instance) was scraped.
pub fn series(reader: &mut Reader<'_>, series: &Series, scraped: &BTreeMap<(String, String), i64>) {
    let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
    let at_ms = scraped.get(&(label("job"), label("instance"))).copied();
    for (_, value) in series.samples() {
        match value {
            Some(value) => reader.sample(series.name(), &series.labels, value, at_ms),
            None => reader.problem(format!("{}: a value is not a number", series.name())),
        }
    }
}
