//! What remote write keeps over a restart: how far it is, and which labels a subject has.

use std::path::Path;

#[cfg(test)]
use redb::ReadableDatabase;
use redb::{Database, ReadableTable, TableDefinition};

use super::super::HistoryError;
use super::labels::{Known, Labels};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// By subject and the sequence from which they hold.
const LABELS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("labels-1");
/// Rows up to this one are done with: taken, refused, or dropped.
const DONE: &str = "done";
/// Rows up to this one may have arrived in part.
const TRIED: &str = "tried";
const CACHE: usize = 1 << 20;

pub(super) struct State(Database);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub done: u64,
    pub tried: u64,
}

impl State {
    /// Opens or makes it. A new one begins after `now`, the last sequence of the history.
    pub(super) fn open(dir: &Path, now: u64) -> Result<(Self, Cursor, Known), HistoryError> {
        let db = Database::builder().set_cache_size(CACHE).create(dir.join("remote_write.redb"))?;
        let mut known = Known::default();
        let begin = db.begin_write()?;
        for row in begin.open_table(LABELS)?.iter()? {
            let (key, value) = row?;
            let (subject, from) = key.value();
            let labels = Labels::of_row(value.value()).ok_or(HistoryError::Damaged("labels of remote write do not read"))?;
            known.restore(subject, from, labels);
        }
        let cursor = {
            let mut meta = begin.open_table(META)?;
            let get = |meta: &redb::Table<'_, &str, u64>, key| meta.get(key).map(|v| v.map(|v| v.value()));
            // A history that was thrown away counts from the start again.
            let done = get(&meta, DONE)?.unwrap_or(now).min(now);
            let tried = get(&meta, TRIED)?.unwrap_or(done).clamp(done, now.max(done));
            meta.insert(DONE, done)?;
            meta.insert(TRIED, tried)?;
            Cursor { done, tried }
        };
        begin.commit()?;
        Ok((Self(db), cursor, known))
    }

    pub(super) fn advance(&self, to: Cursor) -> Result<(), HistoryError> {
        let write = self.0.begin_write()?;
        {
            let mut meta = write.open_table(META)?;
            meta.insert(DONE, to.done)?;
            meta.insert(TRIED, to.tried)?;
        }
        Ok(write.commit()?)
    }

    pub(super) fn put_labels<'a>(&self, from: u64, all: impl Iterator<Item = (&'a str, &'a Labels)>) -> Result<(), HistoryError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(LABELS)?;
            for (subject, labels) in all {
                table.insert((subject, from), labels.to_row().as_slice())?;
            }
        }
        Ok(write.commit()?)
    }

    pub(super) fn drop_labels<'a>(&self, all: impl Iterator<Item = (&'a str, u64)>) -> Result<(), HistoryError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(LABELS)?;
            for key in all {
                table.remove(key)?;
            }
        }
        Ok(write.commit()?)
    }

    #[cfg(test)]
    pub(super) fn cursor(&self) -> Result<Cursor, HistoryError> {
        let read = self.0.begin_read()?;
        let meta = read.open_table(META)?;
        let get = |key| Ok::<_, HistoryError>(meta.get(key)?.map_or(0, |v| v.value()));
        Ok(Cursor { done: get(DONE)?, tried: get(TRIED)? })
    }
}
