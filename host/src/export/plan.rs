//! What is to be exported, resolved against one snapshot: columns, resources, window. Made by `api/`, read by everything here.

use std::sync::Arc;

use super::table::{Column, Entry};
use crate::history::Aggregate;

/// How observations become one, as a client writes it.
pub const AGGREGATES: [(&str, Aggregate); 7] = [
    ("average", Aggregate::Average),
    ("minimum", Aggregate::Minimum),
    ("maximum", Aggregate::Maximum),
    ("sum", Aggregate::Sum),
    ("count", Aggregate::Count),
    ("last", Aggregate::Last),
    ("p95", Aggregate::P95),
];

/// The name of one of [`AGGREGATES`].
pub fn name_of(how: Aggregate) -> &'static str {
    AGGREGATES.iter().find(|(_, h)| *h == how).map_or("last", |(name, _)| name)
}

/// One file to be written.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// `power` or `metrics`.
    pub what: &'static str,
    /// Whose rows: `gpus`, `all`, `cluster` …
    pub resource: String,
    pub cluster: Option<String>,
    pub columns: Vec<Column>,
    pub entries: Vec<Entry>,
    /// Below the entries of each cluster, what none of them claims of its total: the first entry's column 0 is the total.
    pub remainders: Vec<Remainder>,
    /// `[start, end)` in ms.
    pub window: (i64, i64),
    /// `None` for every observation as it came.
    pub step_ms: Option<i64>,
    pub period: Option<String>,
    pub sequence: u64,
    pub as_of_ms: i64,
    pub warnings: Vec<String>,
    /// Rows that it will have; of raw observations an estimate.
    pub rows_expected: u64,
}

/// What is left of a total.
#[derive(Debug, Clone)]
pub struct Remainder {
    pub entry: Entry,
    /// History's series of the total, and its metric.
    pub total: (Arc<str>, Arc<str>),
    /// Entries that are taken from it.
    pub parts: std::ops::Range<usize>,
}

impl Plan {
    /// Where the first step begins.
    pub fn start(&self) -> i64 {
        self.step_ms.map_or(self.window.0, |step| self.window.0.div_euclid(step) * step)
    }

    /// Steps of one resource.
    pub fn steps(&self) -> u64 {
        self.step_ms.map_or(0, |step| ((self.window.1 - self.start()).max(0) as u64).div_ceil(step as u64))
    }

    /// `kcloud-power_20260101T000000Z_20260102T000000Z`, without its extension.
    pub fn file_stem(&self) -> String {
        let compact = |ms| crate::api::rfc3339(ms).get(..19).unwrap_or_default().replace(['-', ':'], "");
        format!("kcloud-{}_{}Z_{}Z", self.what, compact(self.window.0), compact(self.window.1))
    }
}
