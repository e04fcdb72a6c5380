//! Points over time, embedded and durable.
//!
//! In: the points of each snapshot before it is published. Out: ranges, stepped and aggregated. What [`Embedded::commit`]
//! returned for is there after `kill -9`. It must never be read or written from an async task directly: it waits for the disk.
//!
//! One row a commit holds that snapshot's points, so that writing is one append; a reader walks the rows of its window.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// Series by `subject\0metric`.
const SERIES: TableDefinition<'_, &str, u32> = TableDefinition::new("series");
/// Points of a commit, by (time in ms, sequence).
const ROWS: TableDefinition<'_, (i64, u64), &[u8]> = TableDefinition::new("rows-1");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const SEQUENCE: &str = "sequence";
/// Sum of all rows' lengths.
const BYTES: &str = "bytes";
/// The end of a series: what lies across is not joined. A NaN that no reading can be.
const END: u64 = 0x7ff0_0000_0000_0002;
/// Series, time behind the row's (i32 ms), value.
const POINT: usize = 4 + 4 + 8;
/// Points a series in one answer.
pub const MAX_POINTS: i64 = 11_000;

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history store: {0}")]
    Store(#[from] redb::Error),
    #[error("the history store could not be opened: {0}")]
    Open(#[from] redb::DatabaseError),
    #[error("a row of the history store is damaged")]
    Damaged,
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

/// One observation, or with `None` the end of a series.
#[derive(Debug, Clone)]
pub struct Point {
    pub subject: Arc<str>,
    pub metric: Arc<str>,
    pub at_ms: i64,
    pub value: Option<f64>,
}

/// How the observations of a step become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Average,
    Minimum,
    Maximum,
    Sum,
    Count,
    Last,
    P95,
}

/// The embedded store.
pub struct Embedded {
    db: Database,
    series: RwLock<HashMap<String, u32>>,
}

fn key(subject: &str, metric: &str) -> String {
    format!("{subject}\0{metric}")
}

impl Embedded {
    /// Opens or makes the store in a directory.
    pub fn open(dir: &Path) -> Result<Self, HistoryError> {
        std::fs::create_dir_all(dir).map_err(redb::Error::Io)?;
        let db = Database::create(dir.join("history.redb"))?;
        let begin = db.begin_write()?;
        begin.open_table(ROWS)?;
        begin.open_table(META)?;
        let mut series = HashMap::new();
        for row in begin.open_table(SERIES)?.iter()? {
            let (name, id) = row?;
            series.insert(name.value().to_owned(), id.value());
        }
        begin.commit()?;
        Ok(Self { db, series: RwLock::new(series) })
    }

    /// The last sequence whose points are on disk.
    pub fn committed(&self) -> Result<u64, HistoryError> {
        let read = self.db.begin_read()?;
        Ok(read.open_table(META)?.get(SEQUENCE)?.map_or(0, |v| v.value()))
    }

    /// Makes a snapshot's points durable.
    pub fn commit(&self, sequence: u64, at_ms: i64, points: &[Point]) -> Result<(), HistoryError> {
        let write = self.db.begin_write()?;
        {
            let mut new = Vec::new();
            let mut row = Vec::with_capacity(points.len() * POINT);
            {
                let mut names = write.open_table(SERIES)?;
                let mut series = self.series.write().unwrap_or_else(|e| e.into_inner());
                for p in points {
                    let name = key(&p.subject, &p.metric);
                    let next = series.len() as u32;
                    let id = *series.entry(name).or_insert_with_key(|name| {
                        new.push((name.clone(), next));
                        next
                    });
                    let behind = (at_ms - p.at_ms).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
                    row.extend_from_slice(&id.to_le_bytes());
                    row.extend_from_slice(&behind.to_le_bytes());
                    row.extend_from_slice(&p.value.map_or(END, f64::to_bits).to_le_bytes());
                }
                for (name, id) in &new {
                    names.insert(name.as_str(), id)?;
                }
            }
            write.open_table(ROWS)?.insert((at_ms, sequence), row.as_slice())?;
            let mut meta = write.open_table(META)?;
            meta.insert(SEQUENCE, sequence)?;
            let bytes = meta.get(BYTES)?.map_or(0, |b| b.value());
            meta.insert(BYTES, bytes + row.len() as u64)?;
        }
        write.commit()?;
        Ok(())
    }

    /// Observations of one series in `[start, end)`, in order of time.
    pub fn raw(&self, subject: &str, metric: &str, start_ms: i64, end_ms: i64) -> Result<Vec<(i64, Option<f64>)>, HistoryError> {
        let id = self.series.read().unwrap_or_else(|e| e.into_inner()).get(&key(subject, metric)).copied();
        let Some(id) = id else { return Ok(Vec::new()) };
        let read = self.db.begin_read()?;
        let rows = read.open_table(ROWS)?;
        let mut points = Vec::new();
        // A point is stamped before its row was written, by minutes at most for sources that stamp their own.
        const LATE_MS: i64 = 10 * 60_000;
        for row in rows.range((start_ms, 0)..(end_ms.saturating_add(LATE_MS), 0))? {
            let (at, bytes) = row?;
            let at = at.value().0;
            let (all, rest) = bytes.value().as_chunks::<POINT>();
            if !rest.is_empty() {
                return Err(HistoryError::Damaged);
            }
            for [a, b, c, d, e, f, g, h, value @ ..] in all {
                if u32::from_le_bytes([*a, *b, *c, *d]) != id {
                    continue;
                }
                let point_at = at - i64::from(i32::from_le_bytes([*e, *f, *g, *h]));
                let bits = u64::from_le_bytes(*value);
                if (start_ms..end_ms).contains(&point_at) {
                    points.push((point_at, (bits != END).then(|| f64::from_bits(bits))));
                }
            }
        }
        points.sort_by_key(|(at, _)| *at);
        Ok(points)
    }

    /// Steps at multiples of `step_ms` from the Unix epoch; one without an observation is `None`.
    pub fn range(
        &self,
        subject: &str,
        metric: &str,
        window: (i64, i64),
        step_ms: i64,
        how: Aggregate,
    ) -> Result<Vec<(i64, Option<f64>)>, HistoryError> {
        let step = step_ms.max(1);
        let (start, end) = (window.0.div_euclid(step) * step, window.1);
        let raw = self.raw(subject, metric, start, end)?;
        let mut raw = raw.into_iter().filter_map(|(at, v)| v.map(|v| (at, v))).peekable();
        let mut out = Vec::new();
        let mut at = start;
        while at < end {
            let mut values = Vec::new();
            while let Some((_, v)) = raw.next_if(|(t, _)| *t < at + step) {
                values.push(v);
            }
            out.push((at, aggregate(&values, how)));
            at += step;
        }
        Ok(out)
    }

    /// Drops the oldest rows: those beyond `retention`, then more until at most `max_bytes` of rows are kept. Freed pages
    /// are used again; the file does not shrink.
    pub fn retain(&self, now_ms: i64, retention: Duration, max_bytes: u64) -> Result<u64, HistoryError> {
        let before = now_ms - retention.as_millis() as i64;
        let write = self.db.begin_write()?;
        let mut dropped = 0;
        {
            let (mut rows, mut meta) = (write.open_table(ROWS)?, write.open_table(META)?);
            let mut bytes = meta.get(BYTES)?.map_or(0, |b| b.value());
            loop {
                let Some(first) = rows.first()?.map(|(k, v)| (k.value(), v.value().len() as u64)) else { break };
                if first.0.0 >= before && bytes <= max_bytes {
                    break;
                }
                rows.remove(first.0)?;
                bytes = bytes.saturating_sub(first.1);
                dropped += 1;
            }
            meta.insert(BYTES, bytes)?;
        }
        write.commit()?;
        Ok(dropped)
    }
}

fn aggregate(values: &[f64], how: Aggregate) -> Option<f64> {
    let last = *values.last()?;
    let sum = || values.iter().sum::<f64>();
    Some(match how {
        Aggregate::Average => sum() / values.len() as f64,
        Aggregate::Minimum => values.iter().copied().fold(f64::INFINITY, f64::min),
        Aggregate::Maximum => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Aggregate::Sum => sum(),
        Aggregate::Count => values.len() as f64,
        Aggregate::Last => last,
        Aggregate::P95 => {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted[(sorted.len() * 95).div_ceil(100).saturating_sub(1)]
        }
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
