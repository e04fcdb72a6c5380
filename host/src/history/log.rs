//! The transactional part: rows of what is not sealed, names of series, and which files count.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::block::{Entry, Tier};
use super::codec::{put_bits, put_varint, take_bits, take_varint, unzigzag, zigzag};
use super::{HistoryError, Observation};

const SERIES: TableDefinition<'_, &str, u32> = TableDefinition::new("series");
/// The points of a commit by its sequence.
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows-2");
/// Tier, is rolled, first and last time, length.
const BLOCKS: TableDefinition<'_, u64, (u8, bool, i64, i64, u64)> = TableDefinition::new("blocks");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const SEQUENCE: &str = "sequence";
/// Rows up to this sequence are sealed as far as they lie before [`CUT`].
const SEALED: &str = "sealed";
const CUT: &str = "cut";
/// Rows up to this sequence are wholly sealed: those that are still here wait for somebody else.
const WHOLE: &str = "whole";
/// Pages that redb keeps in memory: what is read often lies in files.
const CACHE: usize = 4 << 20;
const DAMAGED: HistoryError = HistoryError::Damaged("a row of the log does not read");

/// What a start finds.
#[derive(Default)]
pub(super) struct Found {
    pub series: Vec<(String, u32)>,
    pub blocks: Vec<Entry>,
}

pub(super) struct Log(Database);

/// A change of the files that count, all of it or nothing.
#[derive(Default)]
pub(super) struct Change {
    pub add: Option<Entry>,
    pub remove: Vec<u64>,
    pub rolled: Vec<u64>,
    pub sealed: Option<Sealed>,
}

/// What is sealed of the rows.
pub(super) struct Sealed {
    /// Rows up to this sequence are sealed as far as they lie before the cut.
    pub upto: u64,
    pub cut: i64,
    /// Rows up to this sequence are wholly sealed.
    pub whole: u64,
    /// Rows that nobody needs any more.
    pub drop: Vec<u64>,
}

impl Log {
    pub(super) fn open(dir: &Path) -> Result<(Self, Found), HistoryError> {
        let db = Database::builder().set_cache_size(CACHE).create(dir.join("history.redb"))?;
        let mut found = Found::default();
        let begin = db.begin_write()?;
        begin.open_table(ROWS)?;
        begin.open_table(META)?;
        for row in begin.open_table(SERIES)?.iter()? {
            let (name, id) = row?;
            found.series.push((name.value().to_owned(), id.value()));
        }
        for row in begin.open_table(BLOCKS)?.iter()? {
            let (id, entry) = row?;
            let (tier, is_rolled, first, last, bytes) = entry.value();
            let tier = Tier::of(tier).ok_or(HistoryError::Damaged("a file of a newer version"))?;
            found.blocks.push(Entry { id: id.value(), tier, is_rolled, span: (first, last), bytes });
        }
        begin.commit()?;
        Ok((Self(db), found))
    }

    fn meta(&self, key: &str) -> Result<u64, HistoryError> {
        let read = self.0.begin_read()?;
        Ok(read.open_table(META)?.get(key)?.map_or(0, |v| v.value()))
    }

    pub(super) fn committed(&self) -> Result<u64, HistoryError> {
        self.meta(SEQUENCE)
    }

    pub(super) fn append(&self, sequence: u64, names: &[(String, u32)], row: &[u8]) -> Result<(), HistoryError> {
        let write = self.0.begin_write()?;
        {
            let mut series = write.open_table(SERIES)?;
            for (name, id) in names {
                series.insert(name.as_str(), id)?;
            }
            if !row.is_empty() {
                write.open_table(ROWS)?.insert(sequence, row)?;
            }
            write.open_table(META)?.insert(SEQUENCE, sequence)?;
        }
        Ok(write.commit()?)
    }

    /// Gives every row with the points that no file holds: sequence, time, length of the row, these points.
    pub(super) fn replay(&self, mut row: impl FnMut(u64, i64, usize, &[(u32, Observation)])) -> Result<(), HistoryError> {
        let (sealed, cut, whole) = (self.meta(SEALED)?, self.meta(CUT)? as i64, self.meta(WHOLE)?);
        let read = self.0.begin_read()?;
        for found in read.open_table(ROWS)?.iter()? {
            let (sequence, bytes) = found?;
            let (sequence, bytes) = (sequence.value(), bytes.value());
            let at_ms = unzigzag(take_varint(&mut &*bytes).ok_or(DAMAGED)?);
            if sequence <= whole {
                row(sequence, at_ms, bytes.len(), &[]);
                continue;
            }
            let mut points = decode(bytes).ok_or(DAMAGED)?;
            if sequence <= sealed {
                points.retain(|(_, (at, _))| *at >= cut);
            }
            row(sequence, at_ms, bytes.len(), &points);
        }
        Ok(())
    }

    /// Gives rows after a sequence, in order, with all their points, until `take` has enough.
    pub(super) fn after(
        &self,
        sequence: u64,
        mut take: impl FnMut(u64, &[(u32, Observation)]) -> std::ops::ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        let read = self.0.begin_read()?;
        for found in read.open_table(ROWS)?.range(sequence.saturating_add(1)..)? {
            let (sequence, bytes) = found?;
            let points = decode(bytes.value()).ok_or(DAMAGED)?;
            if take(sequence.value(), &points).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Drops rows that are wholly sealed.
    pub(super) fn release(&self, rows: &[u64]) -> Result<(), HistoryError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(ROWS)?;
            for row in rows {
                table.remove(row)?;
            }
        }
        Ok(write.commit()?)
    }

    pub(super) fn change(&self, change: &Change) -> Result<(), HistoryError> {
        let write = self.0.begin_write()?;
        {
            let mut blocks = write.open_table(BLOCKS)?;
            for id in &change.remove {
                blocks.remove(id)?;
            }
            for id in &change.rolled {
                let entry = blocks.get(id)?.map(|e| e.value());
                if let Some((tier, _, first, last, bytes)) = entry {
                    blocks.insert(id, (tier, true, first, last, bytes))?;
                }
            }
            if let Some(e) = change.add {
                blocks.insert(e.id, (e.tier as u8, e.is_rolled, e.span.0, e.span.1, e.bytes))?;
            }
            if let Some(Sealed { upto, cut, whole, drop }) = &change.sealed {
                let mut meta = write.open_table(META)?;
                meta.insert(SEALED, upto)?;
                meta.insert(CUT, *cut as u64)?;
                meta.insert(WHOLE, whole)?;
                let mut table = write.open_table(ROWS)?;
                for row in drop {
                    table.remove(row)?;
                }
            }
        }
        Ok(write.commit()?)
    }
}

/// Writes a row: points by series number, each with its time behind the row's.
pub(super) fn encode(at_ms: i64, points: &mut [(u32, Observation)]) -> Vec<u8> {
    points.sort_by_key(|(id, _)| *id);
    let mut row = Vec::with_capacity(points.len() * 8 + 10);
    put_varint(&mut row, zigzag(at_ms));
    let mut before = 0;
    for (id, (at, value)) in points {
        put_varint(&mut row, u64::from(*id - before));
        put_varint(&mut row, zigzag(at_ms.wrapping_sub(*at)));
        put_bits(&mut row, 0, value.map(f64::to_bits));
        before = *id;
    }
    row
}

pub(super) fn decode(mut row: &[u8]) -> Option<Vec<(u32, Observation)>> {
    let at_ms = unzigzag(take_varint(&mut row)?);
    let (mut points, mut id) = (Vec::new(), 0u32);
    while !row.is_empty() {
        id = id.checked_add(u32::try_from(take_varint(&mut row)?).ok()?)?;
        let at = at_ms.wrapping_sub(unzigzag(take_varint(&mut row)?));
        points.push((id, (at, take_bits(&mut row, 0)?.map(f64::from_bits))));
    }
    Some(points)
}
