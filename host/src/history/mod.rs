//! Points over time.
//!
//! In: the points of each snapshot, before it is published. Out: raw ranges, and ranges in steps. What [`History::commit`]
//! returned for is there after `kill -9`. It waits for the disk: never call it from an async task.
//!
//! [`Embedded`] is the store that needs no server: new points are rows of a transactional log (`redb`) and a compressed
//! head in memory; sealed ones are columns in immutable files, with rollups of a minute and an hour beside them. The format
//! is in spec/HISTORY.md. What it commits may leave by [`remote`] write, and be read back by PromQL ([`Beyond`]).

mod beyond;
mod block;
mod codec;
mod column;
mod embedded;
mod endpoint;
mod fleet;
mod head;
mod log;
pub mod names;
mod nothing;
mod promql;
pub mod remote;
mod rollup;
mod series;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use beyond::Beyond;
pub use embedded::{Embedded, Keep};
pub use endpoint::Endpoint;
pub(crate) use endpoint::said;
pub use fleet::Fleet;
pub use nothing::Nothing;
pub use promql::Engine;
pub use rollup::Aggregate;

/// Points a series in one answer.
pub const MAX_POINTS: i64 = 11_000;

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history store: {0}")]
    Store(#[from] redb::Error),
    #[error("the history store could not be opened: {0}")]
    Open(#[from] redb::DatabaseError),
    #[error("a file of the history store: {0}")]
    File(#[from] std::io::Error),
    #[error("the history store is damaged: {0}")]
    Damaged(&'static str),
    #[error("the history engine: {0}")]
    Engine(String),
    #[error("this host keeps no history")]
    Nothing,
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for HistoryError {
            fn from(e: $error) -> Self {
                Self::Store(e.into())
            }
        }
    )*};
}
from_redb!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);

/// One observation, or with `None` the end of a series: what lies across is not joined.
#[derive(Debug, Clone)]
pub struct Point {
    pub subject: Arc<str>,
    pub metric: Arc<str>,
    pub at_ms: i64,
    pub value: Option<f64>,
}

/// One observation of a series (time in ms), or its end.
pub type Observation = (i64, Option<f64>);

/// What the upkeep did, and what the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upkeep {
    pub sealed_points: u64,
    pub dropped_blocks: u64,
    /// Of the sealed files and the log's rows.
    pub bytes: u64,
}

/// What the store holds now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    pub series: u64,
    /// In memory, not sealed yet.
    pub head_points: u64,
    pub head_bytes: u64,
    /// The same points on disk.
    pub log_rows: u64,
    pub log_bytes: u64,
    /// Points that were stamped too far back to be kept, since the start.
    pub too_late: u64,
    /// Sealed: name of the tier, number of files, their bytes.
    pub files: [(&'static str, u64, u64); 3],
}

/// An engine answers for what lies before a moment, the embedded store for what follows, where it has any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halves {
    pub engine: &'static str,
    pub until_ms: i64,
}

/// A store of points over time.
pub trait History: Send + Sync {
    /// The last sequence whose points are durable.
    fn committed(&self) -> Result<u64, HistoryError>;

    /// Makes a snapshot's points durable.
    fn commit(&self, sequence: u64, at_ms: i64, points: &[Point]) -> Result<(), HistoryError>;

    /// Observations of one series in `[start, end)`, in order of time. Where only rollups are left, the last of each.
    fn raw(&self, subject: &str, metric: &str, start_ms: i64, end_ms: i64) -> Result<Vec<Observation>, HistoryError>;

    /// Steps at multiples of `step_ms` from the Unix epoch that meet `[window.0, window.1)`; one without an observation
    /// is `None`.
    fn range(
        &self,
        subject: &str,
        metric: &str,
        window: (i64, i64),
        step_ms: i64,
        how: Aggregate,
    ) -> Result<Vec<Observation>, HistoryError>;

    /// The same of several subjects, in their order.
    fn ranges(
        &self,
        subjects: &[&str],
        metric: &str,
        window: (i64, i64),
        step_ms: i64,
        how: Aggregate,
    ) -> Result<Vec<Vec<Observation>>, HistoryError> {
        subjects.iter().map(|s| self.range(s, metric, window, step_ms, how)).collect()
    }

    /// Every subject that has a series of a metric here, also those that are gone from the model; in order.
    fn subjects(&self, _metric: &str) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Who answers for which part of a window, where it is not this store alone.
    fn halves(&self, _window: (i64, i64), _step_ms: i64) -> Option<Halves> {
        None
    }

    /// Seals, rolls up and drops what is due.
    fn upkeep(&self, now_ms: i64) -> Result<Upkeep, HistoryError>;

    /// What it holds, without a look at the disk.
    fn holds(&self) -> Holds;
}

/// Reads every series of a file, whatever is in it: how many points there are. For the fuzz targets.
#[doc(hidden)]
pub fn read_sealed(path: &std::path::Path, tier: u8) -> Result<usize, HistoryError> {
    let tier = block::Tier::of(tier).ok_or(HistoryError::Damaged("no such tier"))?;
    let entry = block::Entry { id: 0, tier, is_rolled: false, span: (0, 0), bytes: std::fs::metadata(path)?.len() };
    let block = block::Block::open(path, entry)?;
    let mut points = 0;
    for series in block.series()?.into_iter().take(16) {
        // A damaged record costs its own series.
        if let Ok(Some(chunk)) = block.get(series) {
            points += chunk.buckets().count() + chunk.ends.len();
        }
    }
    Ok(points)
}

/// Reads a row of the log, whatever is in it: how many points there are. For the fuzz targets.
#[doc(hidden)]
pub fn read_row(row: &[u8]) -> Option<usize> {
    log::decode(row).map(|points| points.len())
}

impl Default for Keep {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        Self { raw: days(2), minutes: days(30), hours: days(730), max_bytes: 4 << 30 }
    }
}
