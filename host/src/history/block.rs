//! A sealed file: columns of many series over one span of time. Written once, then only read.
//!
//! Head, records, directory, foot (spec/HISTORY.md). Each record carries its length and checksum; series of one target were
//! read at the same moments, so that a column of times is written once and pointed at.

use std::collections::{HashMap, hash_map};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::HistoryError;
use super::codec::{put_varint, take_varint, unzigzag, zigzag};
use super::column;
use super::rollup::Bucket;

const MAGIC: &[u8; 8] = b"KCHIST\x00\x01";
/// Directory's place and count, its checksum, and the magic again.
const FOOT: u64 = 8 + 8 + 4 + 8;
/// A series number and the place of its record.
const ENTRY: usize = 8;
/// Columns of times remembered while a file is written; beyond it they are written again, which only costs space.
const SHARED_TIMES: usize = 4_096;
/// Read at once where nothing says how long a record is; most are shorter. And at most, where the next one's place does.
const GUESS: usize = 1_024;
const MOST_GUESS: u64 = 64 << 10;

/// What a file holds. Rollups are of a minute or an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Tier {
    Raw = 0,
    Minutes = 1,
    Hours = 2,
}

impl Tier {
    pub(super) fn of(n: u8) -> Option<Self> {
        [Self::Raw, Self::Minutes, Self::Hours].into_iter().find(|t| *t as u8 == n)
    }
}

/// One series in one file. `columns` has one column (raw) or five (min, max, sum, count, last), each as long as `times`.
pub(super) struct Chunk {
    /// Shared by all series that were read at the same moments.
    pub times: Arc<Vec<i64>>,
    /// Where the series ended.
    pub ends: Vec<i64>,
    pub columns: Vec<Vec<f64>>,
}

impl Chunk {
    pub(super) fn raw(points: impl Iterator<Item = super::Observation>) -> Self {
        let (mut times, mut values, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (at, value) in points {
            match value {
                Some(v) => {
                    times.push(at);
                    values.push(v);
                }
                None => ends.push(at),
            }
        }
        Self { times: times.into(), ends, columns: vec![values] }
    }

    pub(super) fn rolled(buckets: &[Bucket]) -> Self {
        let column = |of: fn(&Bucket) -> f64| buckets.iter().map(of).collect();
        let columns = vec![column(|b| b.min), column(|b| b.max), column(|b| b.sum), column(|b| b.count), column(|b| b.last)];
        Self { times: Arc::new(buckets.iter().map(|b| b.at).collect()), ends: Vec::new(), columns }
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let [min, max, sum, count, last] = match self.columns.as_slice() {
            [a, b, c, d, e] => [a, b, c, d, e],
            _ => [&self.columns[0]; 5],
        };
        let one = self.columns.len() == 1;
        self.times.iter().enumerate().map(move |(i, at)| {
            // A column that was not asked for is empty.
            let of = |column: &[f64]| column.get(i).copied().unwrap_or(0.0);
            let count = if one { 1.0 } else { of(count) };
            Bucket { at: *at, min: of(min), max: of(max), sum: of(sum), count, last: of(last) }
        })
    }
}

/// Which of the columns min, max, sum, count, last are read.
pub(super) type Columns = [bool; 5];
pub(super) const ALL: Columns = [true; 5];

/// What is remembered while series of the same files are read one after the other.
#[derive(Default)]
pub(super) struct Reads {
    /// Many are read: whole directories are cheaper than single look-ups.
    many: bool,
    directories: HashMap<u64, Vec<u8>>,
    files: HashMap<u64, Arc<File>>,
    /// By file, the place of the column that was read last, and the column: neighbours mostly share it.
    times: HashMap<u64, (u64, Arc<Vec<i64>>)>,
}

impl Reads {
    pub(super) fn many() -> Self {
        Self { many: true, ..Self::default() }
    }

    fn file(&mut self, block: &Block) -> Result<Arc<File>, HistoryError> {
        if let Some(file) = self.files.get(&block.id) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(&block.path)?);
        if self.many {
            self.files.insert(block.id, file.clone());
        }
        Ok(file)
    }
}

/// Writes a file. Series come in the order of their numbers.
pub(super) struct Writer {
    out: BufWriter<File>,
    at: u64,
    directory: Vec<u8>,
    times: HashMap<Vec<i64>, u64>,
    record: Vec<u8>,
    pub points: u64,
    /// First and last time.
    pub span: Option<(i64, i64)>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self, HistoryError> {
        let mut out = BufWriter::with_capacity(256 << 10, File::create(path)?);
        out.write_all(MAGIC)?;
        let (at, directory, record) = (MAGIC.len() as u64, Vec::new(), Vec::new());
        Ok(Self { out, at, directory, times: HashMap::new(), record, points: 0, span: None })
    }

    pub(super) fn add(&mut self, series: u32, chunk: &Chunk) -> Result<(), HistoryError> {
        let all = || chunk.times.iter().chain(&chunk.ends);
        let (Some(first), Some(last)) = (all().min(), all().max()) else { return Ok(()) };
        if chunk.times.len() > column::MOST {
            return Err(HistoryError::Damaged("a series has more points than a file takes"));
        }
        self.span = Some(self.span.map_or((*first, *last), |(a, b)| (a.min(*first), b.max(*last))));
        let times_at = match self.times.get(&*chunk.times) {
            Some(at) => *at,
            None => {
                let mut bytes = Vec::new();
                column::put_times(&mut bytes, &chunk.times);
                let at = self.write(&bytes)?;
                if self.times.len() >= SHARED_TIMES {
                    self.times.clear();
                }
                self.times.insert(chunk.times.to_vec(), at);
                at
            }
        };
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        put_varint(&mut record, times_at);
        put_varint(&mut record, chunk.ends.len() as u64);
        let mut before = 0;
        for at in &chunk.ends {
            put_varint(&mut record, zigzag(at.wrapping_sub(before)));
            before = *at;
        }
        for values in &chunk.columns {
            let mut bytes = Vec::new();
            column::put_values(&mut bytes, values);
            put_varint(&mut record, bytes.len() as u64);
            record.extend_from_slice(&bytes);
        }
        let at = self.write(&record)?;
        self.record = record;
        let at = u32::try_from(at).map_err(|_| HistoryError::Damaged("a sealed file would pass 4 GiB"))?;
        self.directory.extend_from_slice(&series.to_le_bytes());
        self.directory.extend_from_slice(&at.to_le_bytes());
        self.points += chunk.times.len() as u64;
        Ok(())
    }

    fn write(&mut self, payload: &[u8]) -> Result<u64, HistoryError> {
        let mut head = Vec::with_capacity(9);
        put_varint(&mut head, payload.len() as u64);
        head.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(payload)?;
        let at = self.at;
        self.at += (head.len() + payload.len()) as u64;
        Ok(at)
    }

    /// Makes the file durable and gives its length.
    pub(super) fn finish(mut self) -> Result<u64, HistoryError> {
        self.out.write_all(&self.directory)?;
        self.out.write_all(&self.at.to_le_bytes())?;
        self.out.write_all(&((self.directory.len() / ENTRY) as u64).to_le_bytes())?;
        self.out.write_all(&crc32fast::hash(&self.directory).to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        let file = self.out.into_inner().map_err(|e| e.into_error())?;
        file.sync_all()?;
        Ok(self.at + self.directory.len() as u64 + FOOT)
    }
}

/// A file that is read.
pub(super) struct Block {
    pub id: u64,
    pub tier: Tier,
    /// Its points are in a rollup, too.
    pub is_rolled: bool,
    /// First and last time.
    pub span: (i64, i64),
    pub bytes: u64,
    /// Opened for each read: a host that runs for days has hundreds of files and few readers.
    path: PathBuf,
    directory: (u64, u64),
    /// It counts no more: the file goes with its last reader.
    is_removed: AtomicBool,
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.is_removed.load(Ordering::Acquire)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::error!(%error, file = %self.path.display(), "a file of history that counts no more was not removed; the next start does it");
        }
    }
}

/// What the log keeps of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub id: u64,
    pub tier: Tier,
    pub is_rolled: bool,
    pub span: (i64, i64),
    pub bytes: u64,
}

impl Block {
    pub(super) fn open(path: &Path, entry: Entry) -> Result<Self, HistoryError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut foot = [0; FOOT as usize];
        let start = length.checked_sub(FOOT).ok_or(HistoryError::Damaged("a sealed file is cut off"))?;
        file.read_exact_at(&mut foot, start)?;
        let number = |at: usize| foot[at..at + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let directory = (number(0), number(8));
        let fits = directory.0.checked_add(directory.1.saturating_mul(ENTRY as u64)) == Some(start);
        if &foot[20..] != MAGIC || !fits || length != entry.bytes {
            return Err(HistoryError::Damaged("a sealed file has no foot"));
        }
        let Entry { id, tier, is_rolled, span, bytes } = entry;
        Ok(Self { id, tier, is_rolled, span, bytes, path: path.to_owned(), directory, is_removed: AtomicBool::new(false) })
    }

    /// Takes the file away once nobody reads it.
    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
    }

    pub(super) fn entry(&self) -> Entry {
        Entry { id: self.id, tier: self.tier, is_rolled: self.is_rolled, span: self.span, bytes: self.bytes }
    }

    pub(super) fn meets(&self, start: i64, end: i64) -> bool {
        self.span.0 < end && self.span.1 >= start
    }

    /// Numbers of all series in it.
    pub(super) fn series(&self) -> Result<Vec<u32>, HistoryError> {
        let mut bytes = vec![0; self.directory.1 as usize * ENTRY];
        File::open(&self.path)?.read_exact_at(&mut bytes, self.directory.0)?;
        Ok(bytes.as_chunks::<ENTRY>().0.iter().map(|e| u32::from_le_bytes([e[0], e[1], e[2], e[3]])).collect())
    }

    /// One series, if it is there.
    pub(super) fn get(&self, series: u32) -> Result<Option<Chunk>, HistoryError> {
        self.get_some(series, ALL, &mut Reads::default())
    }

    /// The same with some columns of five only; the others are empty.
    pub(super) fn get_some(&self, series: u32, columns: Columns, reads: &mut Reads) -> Result<Option<Chunk>, HistoryError> {
        const DAMAGED: HistoryError = HistoryError::Damaged("a record of a sealed file does not read");
        let file = reads.file(self)?;
        let Some((at, next)) = self.find(series, &file, reads)? else { return Ok(None) };
        let record = self.record(&file, at.into(), next)?;
        let mut rest = record.as_slice();
        let number = |rest: &mut &[u8]| take_varint(rest).ok_or(DAMAGED);
        let times_at = number(&mut rest)?;
        let times = match reads.times.get(&self.id).filter(|(at, _)| *at == times_at) {
            Some((_, times)) => times.clone(),
            None => {
                let times = Arc::new(column::times(&self.record(&file, times_at, None)?)?);
                if reads.many {
                    reads.times.insert(self.id, (times_at, times.clone()));
                }
                times
            }
        };
        let mut ends = Vec::new();
        let mut before = 0i64;
        for _ in 0..number(&mut rest)? {
            before = before.wrapping_add(unzigzag(number(&mut rest)?));
            ends.push(before);
        }
        let wanted = if self.tier == Tier::Raw { 1 } else { 5 };
        let mut out = Vec::with_capacity(wanted);
        while !rest.is_empty() && out.len() < wanted {
            let length = number(&mut rest)? as usize;
            let (bytes, after) = rest.split_at_checked(length).ok_or(DAMAGED)?;
            rest = after;
            out.push(if wanted == 1 || columns[out.len()] { column::values(bytes, times.len())? } else { Vec::new() });
        }
        match out.len() == wanted && rest.is_empty() {
            true => Ok(Some(Chunk { times, ends, columns: out })),
            false => Err(DAMAGED),
        }
    }

    /// Where the record of a series lies, and where the next one does, if that is known: they stand in the order of their numbers.
    fn find(&self, series: u32, file: &File, reads: &mut Reads) -> Result<Option<(u32, Option<u64>)>, HistoryError> {
        let number = |e: &[u8]| u32::from_le_bytes([e[0], e[1], e[2], e[3]]);
        if reads.many {
            let directory = match reads.directories.entry(self.id) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(new) => {
                    let mut bytes = vec![0; self.directory.1 as usize * ENTRY];
                    file.read_exact_at(&mut bytes, self.directory.0)?;
                    new.insert(bytes)
                }
            };
            let entries = directory.as_chunks::<ENTRY>().0;
            let found = entries.binary_search_by_key(&series, |e| number(e)).ok();
            let next = |i: usize| entries.get(i + 1).map_or(self.directory.0, |e| number(&e[4..]).into());
            return Ok(found.map(|i| (number(&entries[i][4..]), Some(next(i)))));
        }
        let (mut low, mut high) = (0, self.directory.1);
        let mut entry = [0; ENTRY];
        while low < high {
            let middle = (low + high) / 2;
            file.read_exact_at(&mut entry, self.directory.0 + middle * ENTRY as u64)?;
            match number(&entry).cmp(&series) {
                std::cmp::Ordering::Equal => return Ok(Some((number(&entry[4..]), None))),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn record(&self, file: &File, at: u64, next: Option<u64>) -> Result<Vec<u8>, HistoryError> {
        const DAMAGED: HistoryError = HistoryError::Damaged("a record's checksum differs");
        let guess = next.and_then(|next| next.checked_sub(at)).map_or(GUESS as u64, |length| length.min(MOST_GUESS));
        let mut bytes = vec![0; guess.min(self.bytes.saturating_sub(at)) as usize];
        file.read_exact_at(&mut bytes, at)?;
        let mut rest = bytes.as_slice();
        let length = take_varint(&mut rest).ok_or(DAMAGED)? as usize;
        let (sum, _) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let (sum, head) = (u32::from_le_bytes(*sum), bytes.len() - rest.len() + 4);
        if length as u64 > self.bytes {
            return Err(DAMAGED);
        }
        let have = bytes.len();
        bytes.resize(head + length, 0);
        if have < bytes.len() {
            file.read_exact_at(&mut bytes[have..], at + have as u64)?;
        }
        bytes.drain(..head);
        match crc32fast::hash(&bytes) == sum {
            true => Ok(bytes),
            false => Err(DAMAGED),
        }
    }
}
