//! The embedded store: log and heads for what is new, sealed files for what is old.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::block::{Block, Chunk, Columns, Entry, Reads, Tier, Writer};
use super::head::Head;
use super::log::{self, Change, Log, Sealed};
use super::rollup::{Bucket, Sums, fold, ones, steps};
use super::series::Series;
use super::{Aggregate, History, HistoryError, Holds, Observation, Point, Upkeep};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Heads are sealed when the oldest point is this old: 480 points a series at 15 s, where pco does well.
const SEAL_AFTER: i64 = 2 * HOUR;
/// Points that are stamped further back than this before they come are not kept: what a file spans must be about when it was made, or
/// one clock that is years behind would hide what everybody else has (`sources`).
const LATE: i64 = 4 * HOUR;
/// Or when they hold this many points a series, over all that hold any: longer columns are hardly smaller (docs/PERFORMANCE.md), and
/// a target that is read every second must not fill the memory for two hours. All are sealed together, so that files stay large.
const SEAL_POINTS: u64 = 1_024;
/// That many may come within seconds; a file holds at least this much time, whatever is read how often.
const SEAL_LEAST: i64 = 5 * MINUTE;
/// Or when they fill this much memory: half an hour of 8,000 cards.
const HEAD_BYTES: usize = 64 << 20;
/// Raw files become minutes when they span this, minutes become hours after two days.
const ROLL_RAW: i64 = 6 * HOUR;
const ROLL_MINUTES: i64 = 48 * HOUR;

/// Series that are worth a thread, and threads of one query.
const MANY: usize = 64;
const MOST_THREADS: usize = 8;

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub raw: Duration,
    pub minutes: Duration,
    pub hours: Duration,
    /// Of all together; the oldest raw observations go first, hours last.
    pub max_bytes: u64,
}

/// The embedded store.
pub struct Embedded {
    dir: PathBuf,
    keep: Keep,
    log: Log,
    recent: RwLock<Recent>,
    blocks: ArcSwap<Vec<Arc<Block>>>,
    /// One writer, and one that seals or rolls up, at a time.
    writing: Mutex<()>,
    sealing: Mutex<()>,
    next_block: AtomicU64,
    /// Rows after this one are read by somebody yet, sealed or not.
    held: AtomicU64,
    /// Points that came too late to be kept.
    too_late: AtomicU64,
}

/// A row of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub sequence: u64,
    /// When it was committed.
    pub at_ms: i64,
    /// The earliest and latest time of its points; of a row that is sealed when it was committed.
    pub first_ms: i64,
    pub last_ms: i64,
    pub bytes: u64,
}

/// Points that are in a file already and not yet gone from the heads.
struct Trim {
    cut_ms: i64,
    /// By series: the first so many, as far as they lie before the cut.
    copied: Vec<u32>,
    /// Heads before this one are trimmed.
    done: usize,
}

#[derive(Default)]
struct Recent {
    series: Series,
    /// By series number.
    heads: Vec<Head>,
    head_bytes: usize,
    head_points: u64,
    /// Heads that hold any.
    open_heads: u64,
    /// Rows in the log whose points are in the heads, in order.
    rows: Vec<Row>,
    /// Rows that are sealed and held.
    waiting: Vec<Row>,
    trim: Option<Trim>,
}

impl Recent {
    fn take(&mut self, sequence: u64, at_ms: i64, row_bytes: usize, points: &[(u32, Observation)]) {
        let count = self.heads.len().max(self.series.count() as usize);
        if count > self.heads.capacity() {
            self.heads.reserve_exact(count + count / 8 - self.heads.len());
        }
        self.heads.resize_with(count, Head::default);
        let bytes = row_bytes as u64;
        if points.is_empty() {
            return self.waiting.push(Row { sequence, at_ms, first_ms: at_ms, last_ms: at_ms, bytes });
        }
        let (mut first_ms, mut last_ms) = (i64::MAX, i64::MIN);
        for (id, (at, value)) in points {
            let Some(head) = self.heads.get_mut(*id as usize) else { continue };
            let before = head.bytes();
            self.open_heads += u64::from(head.count() == 0);
            self.head_points += 1;
            head.push(*at, *value);
            // Closing a chunk gives back what it did not need.
            self.head_bytes = self.head_bytes + head.bytes() - before;
            (first_ms, last_ms) = (first_ms.min(*at), last_ms.max(*at));
        }
        self.rows.push(Row { sequence, at_ms, first_ms, last_ms, bytes });
    }

    /// Points of a series that are in no file.
    fn points(&self, id: u32) -> impl Iterator<Item = Observation> {
        let trim = self.trim.as_ref().filter(|t| id as usize >= t.done);
        let (sealed, cut_ms) = trim.map_or((0, 0), |t| (t.copied.get(id as usize).copied().unwrap_or(0), t.cut_ms));
        let points = self.heads.get(id as usize).into_iter().flat_map(Head::points).enumerate();
        points.filter(move |(i, (at, _))| *i >= sealed as usize || *at >= cut_ms).map(|(_, point)| point)
    }

    /// After heads were trimmed.
    fn recount(&mut self) {
        self.head_bytes = self.heads.iter().map(Head::bytes).sum();
        self.head_points = self.heads.iter().map(|h| u64::from(h.count())).sum();
        self.open_heads = self.heads.iter().filter(|h| h.count() > 0).count() as u64;
    }

    /// Whether the heads hold more than is worth memory, `seal_after` ms being the most time.
    fn is_due(&self, now_ms: i64, seal_after: i64) -> bool {
        // By when they came, not by their stamps: a late point makes no file of its own.
        let age = self.rows.first().map_or(0, |r| now_ms - r.at_ms);
        let is_long = self.open_heads > 0 && self.head_points >= SEAL_POINTS * self.open_heads;
        age >= seal_after || (is_long && age >= SEAL_LEAST) || self.head_bytes > HEAD_BYTES
    }
}

impl Embedded {
    /// Opens or makes the store in a directory.
    pub fn open(dir: &Path, keep: Keep) -> Result<Self, HistoryError> {
        let files = dir.join("blocks");
        std::fs::create_dir_all(&files)?;
        let (log, found) = Log::open(dir)?;
        let mut recent = Recent::default();
        found.series.iter().for_each(|(name, id)| recent.series.restore(name, *id));
        log.replay(|sequence, at_ms, bytes, points| recent.take(sequence, at_ms, bytes, points))?;
        let mut blocks = Vec::with_capacity(found.blocks.len());
        for entry in found.blocks {
            match Block::open(&file(dir, entry.id), entry) {
                Ok(block) => blocks.push(Arc::new(block)),
                // One lost file must not take the rest along.
                Err(error) => tracing::error!(%error, block = entry.id, from_ms = entry.span.0, to_ms = entry.span.1, "history left out"),
            }
        }
        // What a crash left half done.
        for entry in std::fs::read_dir(&files)? {
            let path = entry?.path();
            if !blocks.iter().any(|b| file(dir, b.id) == path) {
                tracing::warn!(file = %path.display(), "an unfinished file of history is removed");
                std::fs::remove_file(&path)?;
            }
        }
        blocks.sort_by_key(|b| (b.tier, b.id));
        let next = blocks.iter().map(|b| b.id + 1).max().unwrap_or(1);
        Ok(Self {
            dir: dir.to_owned(),
            keep,
            log,
            recent: RwLock::new(recent),
            blocks: ArcSwap::from_pointee(blocks),
            writing: Mutex::default(),
            sealing: Mutex::default(),
            next_block: AtomicU64::new(next),
            held: AtomicU64::new(u64::MAX),
            too_late: AtomicU64::new(0),
        })
    }

    fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(|e| e.into_inner())
    }

    fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Seals every point before `cut_ms` now.
    pub fn seal(&self, cut_ms: i64) -> Result<u64, HistoryError> {
        let _one = lock(&self.sealing);
        // Of one moment: what is committed meanwhile stays in the heads and comes back from its row.
        let (copied, upto): (Vec<u32>, u64) = {
            let recent = self.recent();
            (recent.heads.iter().map(Head::count).collect(), recent.rows.last().map_or(0, |r| r.sequence))
        };
        let written = self.write_block(Tier::Raw, |out| {
            for (id, copied) in copied.iter().enumerate() {
                let mut points: Vec<Observation> = {
                    let recent = self.recent();
                    recent.heads[id].points().take(*copied as usize).filter(|(at, _)| *at < cut_ms).collect()
                };
                if !points.is_empty() {
                    tidy(&mut points);
                    out.add(id as u32, &Chunk::raw(points.into_iter()))?;
                }
            }
            Ok(())
        })?;
        let points = written.as_ref().map_or(0, |w| w.1);
        let is_whole = |r: &Row| r.sequence <= upto && r.last_ms < cut_ms;
        let held = self.held.load(Ordering::Acquire);
        let (drop, whole) = {
            let recent = self.recent();
            let drop = recent.rows.iter().filter(|r| is_whole(r) && r.sequence <= held).map(|r| r.sequence).collect();
            (drop, recent.rows.iter().find(|r| !is_whole(r)).map_or(upto, |r| upto.min(r.sequence - 1)))
        };
        let heads = copied.len();
        self.change(written.map(|w| w.0), &[], &[], Some((Sealed { upto, cut: cut_ms, whole, drop }, copied)))?;
        // A thousand at a time, so that a reader waits for microseconds.
        for first in (0..heads).step_by(1_000) {
            let mut recent = self.recent_mut();
            let Recent { heads, trim: Some(trim), .. } = &mut *recent else { break };
            let end = (first + 1_000).min(trim.copied.len());
            heads[first..end].iter_mut().zip(&trim.copied[first..end]).for_each(|(head, copied)| head.trim(*copied, cut_ms));
            trim.done = end;
        }
        let mut recent = self.recent_mut();
        recent.trim = None;
        let (waiting, rows): (Vec<_>, Vec<_>) = std::mem::take(&mut recent.rows).into_iter().partition(is_whole);
        recent.rows = rows;
        recent.waiting.extend(waiting.into_iter().filter(|r| r.sequence > held));
        recent.recount();
        Ok(points)
    }

    /// Writes a file that does not count yet; `None` when nothing was put in.
    fn write_block(
        &self,
        tier: Tier,
        fill: impl FnOnce(&mut Writer) -> Result<(), HistoryError>,
    ) -> Result<Option<(Block, u64)>, HistoryError> {
        let id = self.next_block.fetch_add(1, Ordering::Relaxed);
        let path = file(&self.dir, id);
        let mut out = Writer::create(&path)?;
        fill(&mut out)?;
        let (points, span) = (out.points, out.span);
        let bytes = out.finish()?;
        let Some(span) = span else {
            std::fs::remove_file(&path)?;
            return Ok(None);
        };
        // The name must be durable before the log counts the file.
        std::fs::File::open(self.dir.join("blocks"))?.sync_all()?;
        Ok(Some((Block::open(&path, Entry { id, tier, is_rolled: false, span, bytes })?, points)))
    }

    /// Makes one change durable, then visible.
    fn change(&self, add: Option<Block>, remove: &[u64], rolled: &[u64], sealed: Option<(Sealed, Vec<u32>)>) -> Result<(), HistoryError> {
        let entry = add.as_ref().map(Block::entry);
        let (sealed, trim) = sealed.map_or((None, None), |(sealed, copied)| {
            let trim = Trim { cut_ms: sealed.cut, copied, done: 0 };
            (Some(sealed), Some(trim))
        });
        self.log.change(&Change { add: entry, remove: remove.to_vec(), rolled: rolled.to_vec(), sealed })?;
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        let before = self.blocks.load_full();
        for block in before.iter().filter(|b| !remove.contains(&b.id)) {
            blocks.push(match rolled.contains(&block.id) {
                true => Arc::new(Block::open(&file(&self.dir, block.id), Entry { is_rolled: true, ..block.entry() })?),
                false => block.clone(),
            });
        }
        blocks.extend(add.map(Arc::new));
        blocks.sort_by_key(|b| (b.tier, b.id));
        {
            // At one moment, so that a reader finds each point in one place.
            let mut recent = self.recent_mut();
            self.blocks.store(Arc::new(blocks));
            recent.trim = trim;
        }
        before.iter().filter(|b| remove.contains(&b.id)).for_each(|b| b.remove());
        Ok(())
    }

    /// Makes a rollup of all files of a tier that are in none.
    fn roll(&self, from: Tier, into: Tier, width: i64) -> Result<(), HistoryError> {
        let _one = lock(&self.sealing);
        let all = self.blocks.load_full();
        let sources: Vec<&Arc<Block>> = all.iter().filter(|b| b.tier == from && !b.is_rolled).collect();
        let mut ids: Vec<u32> = Vec::new();
        for block in &sources {
            ids.extend(block.series()?);
            ids.sort_unstable();
            ids.dedup();
        }
        let written = self.write_block(into, |out| {
            for id in ids {
                let mut buckets = Vec::new();
                for block in &sources {
                    match block.get(id) {
                        Ok(chunk) => chunk.iter().for_each(|c| buckets.extend(c.buckets())),
                        // Passed by, or nothing would ever be rolled up or dropped again.
                        Err(HistoryError::Damaged(what)) => tracing::error!(block = block.id, series = id, what, "not rolled up"),
                        Err(error) => return Err(error),
                    }
                }
                // A late observation may have been sealed behind later ones.
                buckets.sort_by_key(|b| b.at);
                out.add(id, &Chunk::rolled(&fold(buckets.into_iter(), width)))?;
            }
            Ok(())
        })?;
        let rolled: Vec<u64> = sources.iter().map(|b| b.id).collect();
        self.change(written.map(|w| w.0), &[], &rolled, None)
    }

    fn is_due(&self, tier: Tier, span: i64, drops_before: i64) -> bool {
        let all = self.blocks.load();
        let open: Vec<_> = all.iter().filter(|b| b.tier == tier && !b.is_rolled).collect();
        let first = open.iter().map(|b| b.span.0).min();
        let last = open.iter().map(|b| b.span.1).max();
        first.zip(last).is_some_and(|(a, b)| b - a >= span) || open.iter().any(|b| b.span.1 < drops_before)
    }

    fn oldest(&self, tier: Tier) -> Option<Arc<Block>> {
        self.blocks.load().iter().find(|b| b.tier == tier).cloned()
    }

    fn bytes(&self) -> u64 {
        self.blocks.load().iter().map(|b| b.bytes).sum::<u64>() + self.recent().rows.iter().map(|r| r.bytes).sum::<u64>()
    }

    /// The coarsest tier that a step of `step` ms allows, and the files that answer for a window, each up to a moment; older before
    /// newer, so that of one moment the last word stands last.
    fn sources(blocks: &[Arc<Block>], (start, end): (i64, i64), step: i64) -> (Tier, Vec<(Arc<Block>, i64)>) {
        let coarsest = match step {
            s if s % HOUR == 0 => Tier::Hours,
            s if s % MINUTE == 0 => Tier::Minutes,
            _ => Tier::Raw,
        };
        // Where finer files are gone, what was made of them answers.
        let floor = |tier: Tier| blocks.iter().filter(|b| b.tier <= tier).map(|b| b.span.0).min();
        let tiers = [Tier::Hours, Tier::Minutes, Tier::Raw];
        let in_order = tiers.iter().flat_map(|t| blocks.iter().filter(move |b| b.tier == *t));
        let mut sources = Vec::new();
        for block in in_order.filter(|b| b.meets(start.saturating_sub(HOUR), end)) {
            let before = match block.tier {
                tier if tier < coarsest && block.is_rolled => continue,
                tier if tier <= coarsest => i64::MAX,
                Tier::Minutes => floor(Tier::Raw).unwrap_or(i64::MAX),
                _ => floor(if coarsest == Tier::Raw { Tier::Minutes } else { coarsest }).unwrap_or(i64::MAX),
            };
            sources.push((block.clone(), before));
        }
        (coarsest, sources)
    }

    /// Steps of whole minutes, added up column by column: what a day of a thousand series is read by.
    fn sums(
        &self,
        id: u32,
        (start, end): (i64, i64),
        step: i64,
        how: Aggregate,
        reads: &mut Reads,
    ) -> Result<Vec<Observation>, HistoryError> {
        let (blocks, mut newest) = self.view(id, (start, end));
        let (_, sources) = Self::sources(&blocks, (start, end), step);
        let mut sums = Sums::new(start, end, step, how);
        for (block, before) in sources {
            if let Some(chunk) = block.get_some(id, how.columns(), reads)? {
                sums.chunk(&chunk, before);
            }
        }
        tidy(&mut newest);
        newest.iter().filter_map(|(at, v)| Some((*at, (*v)?))).for_each(|(at, v)| sums.add(at, v, 1.0));
        Ok(sums.into_steps())
    }

    /// Buckets of a series in a window, in order of time, from the coarsest tier that a step of `step` ms allows.
    fn buckets(
        &self,
        id: u32,
        (blocks, mut newest): (&[Arc<Block>], Vec<Observation>),
        (start, end): (i64, i64),
        step: i64,
        columns: Columns,
        reads: &mut Reads,
    ) -> Result<Vec<Bucket>, HistoryError> {
        let (coarsest, sources) = Self::sources(blocks, (start, end), step);
        let mut out = Vec::new();
        for (block, before) in sources {
            if let Some(chunk) = block.get_some(id, columns, reads)? {
                out.extend(chunk.buckets().filter(|b| b.at >= start && b.at < end && b.at < before));
            }
        }
        tidy(&mut newest);
        out.extend(ones(&newest));
        out.sort_by_key(|b| b.at);
        if coarsest == Tier::Raw {
            out.dedup_by(|later, earlier| {
                let same = later.at == earlier.at && later.count == 1.0 && earlier.count == 1.0;
                if same {
                    *earlier = *later;
                }
                same
            });
        }
        Ok(out)
    }

    /// From now on rows after this one stay until they are let go, sealed or not.
    pub(super) fn hold_after(&self, sequence: u64) {
        self.held.store(sequence, Ordering::Release);
    }

    /// Rows after a sequence, in order, with all their points, until `take` has enough.
    pub(super) fn rows_after(
        &self,
        sequence: u64,
        take: impl FnMut(u64, &[(u32, Observation)]) -> ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        self.log.after(sequence, take)
    }

    /// The rows after a sequence, in order.
    pub(super) fn waiting_after(&self, sequence: u64) -> Vec<Row> {
        let recent = self.recent();
        let mut all: Vec<_> = recent.waiting.iter().chain(&recent.rows).filter(|r| r.sequence > sequence).copied().collect();
        all.sort_unstable_by_key(|r| r.sequence);
        all
    }

    /// Subject and metric of each series from a number on.
    pub(super) fn names_from(&self, first: u32) -> Vec<(u32, Arc<str>, Arc<str>)> {
        self.recent().series.names_from(first)
    }

    /// Drops the sealed rows that nobody holds any more.
    fn release(&self) -> Result<(), HistoryError> {
        let held = self.held.load(Ordering::Acquire);
        let free: Vec<u64> = self.recent().waiting.iter().map(|r| r.sequence).filter(|s| *s <= held).collect();
        if !free.is_empty() {
            self.log.release(&free)?;
            self.recent_mut().waiting.retain(|r| r.sequence > held);
        }
        Ok(())
    }

    /// Steps of a series; of none where it was never begun.
    fn steps(
        &self,
        id: Option<u32>,
        window: (i64, i64),
        step_ms: i64,
        how: Aggregate,
        reads: &mut Reads,
    ) -> Result<Vec<Observation>, HistoryError> {
        let step = step_ms.max(1);
        let window = (window.0.div_euclid(step) * step, window.1);
        if let Some(id) = id.filter(|_| step % MINUTE == 0 && how != Aggregate::P95) {
            return self.sums(id, window, step, how, reads);
        }
        // Rollups hold no ranks.
        let grain = if how == Aggregate::P95 { 1 } else { step };
        let read = |id| {
            let (blocks, newest) = self.view(id, window);
            self.buckets(id, (&blocks, newest), window, grain, how.columns(), reads)
        };
        let buckets = id.map(read).transpose()?;
        Ok(steps(&buckets.unwrap_or_default(), window, step, how))
    }

    /// The files, and the points of a series in a window that are in none of them: of one moment.
    fn view(&self, id: u32, (start, end): (i64, i64)) -> (Arc<Vec<Arc<Block>>>, Vec<Observation>) {
        let recent = self.recent();
        let newest = recent.points(id).filter(|(at, _)| (start..end).contains(at)).collect();
        (self.blocks.load_full(), newest)
    }
}

impl History for Embedded {
    fn committed(&self) -> Result<u64, HistoryError> {
        self.log.committed()
    }

    fn commit(&self, sequence: u64, at_ms: i64, points: &[Point]) -> Result<(), HistoryError> {
        let _one = lock(&self.writing);
        let (mut numbered, names) = {
            let mut recent = self.recent_mut();
            let timely = points.iter().filter(|p| p.at_ms >= at_ms.saturating_sub(LATE));
            let numbered: Vec<_> = timely.map(|p| (recent.series.number(&p.subject, &p.metric), (p.at_ms, p.value))).collect();
            (numbered, recent.series.unsaved().to_vec())
        };
        self.too_late.fetch_add((points.len() - numbered.len()) as u64, Ordering::Relaxed);
        let row = if numbered.is_empty() { Vec::new() } else { log::encode(at_ms, &mut numbered) };
        self.log.append(sequence, &names, &row)?;
        let mut recent = self.recent_mut();
        recent.series.saved(names.len());
        if !row.is_empty() {
            recent.take(sequence, at_ms, row.len(), &numbered);
        }
        Ok(())
    }

    fn raw(&self, subject: &str, metric: &str, start_ms: i64, end_ms: i64) -> Result<Vec<Observation>, HistoryError> {
        let Some(id) = self.recent().series.get(subject, metric) else { return Ok(Vec::new()) };
        let window = (start_ms, end_ms);
        let (blocks, newest) = self.view(id, window);
        let ends: Vec<Observation> = newest.iter().filter(|(_, v)| v.is_none()).copied().collect();
        let buckets = self.buckets(id, (&blocks, newest), window, 1, Aggregate::Last.columns(), &mut Reads::default())?;
        let mut all: Vec<Observation> = buckets.into_iter().map(|b| (b.at, Some(b.last))).collect();
        for block in blocks.iter().filter(|b| b.tier == Tier::Raw && b.meets(start_ms, end_ms)) {
            if let Some(chunk) = block.get(id)? {
                all.extend(chunk.ends.iter().filter(|at| (start_ms..end_ms).contains(*at)).map(|at| (*at, None)));
            }
        }
        all.extend(ends);
        all.sort_by_key(|(at, v)| (*at, v.is_none()));
        all.dedup_by(|a, b| a.0 == b.0 && a.1.is_none() && b.1.is_none());
        Ok(all)
    }

    fn range(
        &self,
        subject: &str,
        metric: &str,
        window: (i64, i64),
        step_ms: i64,
        how: Aggregate,
    ) -> Result<Vec<Observation>, HistoryError> {
        let id = self.recent().series.get(subject, metric);
        self.steps(id, window, step_ms, how, &mut Reads::default())
    }

    fn ranges(
        &self,
        subjects: &[&str],
        metric: &str,
        window: (i64, i64),
        step_ms: i64,
        how: Aggregate,
    ) -> Result<Vec<Vec<Observation>>, HistoryError> {
        let ids: Vec<Option<u32>> = {
            let recent = self.recent();
            subjects.iter().map(|s| recent.series.get(s, metric)).collect()
        };
        let read = |ids: &[Option<u32>]| {
            let mut reads = if ids.len() < MANY { Reads::default() } else { Reads::many() };
            ids.iter().map(|id| self.steps(*id, window, step_ms, how, &mut reads)).collect::<Result<Vec<_>, _>>()
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(ids.len() / MANY);
        if threads < 2 {
            return read(&ids);
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> = ids.chunks(ids.len().div_ceil(threads)).map(|part| scope.spawn(move || read(part))).collect();
            let mut all = Vec::with_capacity(ids.len());
            for part in parts {
                all.extend(part.join().unwrap_or(Err(HistoryError::Damaged("a thread that read it failed")))?);
            }
            Ok(all)
        })
    }

    fn subjects(&self, metric: &str) -> Vec<Arc<str>> {
        self.recent().series.subjects(metric)
    }

    fn upkeep(&self, now_ms: i64) -> Result<Upkeep, HistoryError> {
        let mut done = Upkeep::default();
        self.release()?;
        let ms = |d: Duration| d.as_millis() as i64;
        let (raw, minutes, hours) = (now_ms - ms(self.keep.raw), now_ms - ms(self.keep.minutes), now_ms - ms(self.keep.hours));
        let is_full = |bytes: u64| bytes > self.keep.max_bytes;
        let seal_after = SEAL_AFTER.min(ms(self.keep.raw) / 4).max(MINUTE);
        if self.recent().is_due(now_ms, seal_after) || is_full(self.bytes()) {
            done.sealed_points = self.seal(now_ms.div_euclid(MINUTE) * MINUTE)?;
        }
        if self.is_due(Tier::Raw, ROLL_RAW, raw) || is_full(self.bytes()) {
            self.roll(Tier::Raw, Tier::Minutes, MINUTE)?;
        }
        if self.is_due(Tier::Minutes, ROLL_MINUTES, minutes) {
            self.roll(Tier::Minutes, Tier::Hours, HOUR)?;
        }
        for (tier, before) in [(Tier::Raw, raw), (Tier::Minutes, minutes), (Tier::Hours, hours)] {
            while let Some(block) = self.oldest(tier).filter(|b| b.span.1 < before || is_full(self.bytes())) {
                let _one = lock(&self.sealing);
                self.change(None, &[block.id], &[], None)?;
                done.dropped_blocks += 1;
            }
        }
        done.bytes = self.bytes();
        Ok(done)
    }

    fn holds(&self) -> Holds {
        let blocks = self.blocks.load();
        let tier = |name, tier| {
            let (files, bytes) = blocks.iter().filter(|b| b.tier == tier).fold((0, 0), |(n, sum), b| (n + 1, sum + b.bytes));
            (name, files, bytes)
        };
        let recent = self.recent();
        Holds {
            series: recent.series.count().into(),
            head_points: recent.head_points,
            head_bytes: recent.head_bytes as u64,
            log_rows: recent.rows.len() as u64,
            log_bytes: recent.rows.iter().map(|r| r.bytes).sum(),
            too_late: self.too_late.load(Ordering::Relaxed),
            files: [tier("raw", Tier::Raw), tier("minutes", Tier::Minutes), tier("hours", Tier::Hours)],
        }
    }
}

/// In order of time; of several at one moment the last one counts.
fn tidy(points: &mut Vec<Observation>) {
    if points.windows(2).all(|w| w[0].0 < w[1].0) {
        return;
    }
    points.sort_by_key(|(at, _)| *at);
    points.dedup_by(|later, earlier| {
        // A value and the end that follows it at once are both true.
        let same = later.0 == earlier.0 && later.1.is_some() == earlier.1.is_some();
        if same {
            *earlier = *later;
        }
        same
    });
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn file(dir: &Path, id: u64) -> PathBuf {
    dir.join("blocks").join(format!("{id:016x}.kch"))
}
