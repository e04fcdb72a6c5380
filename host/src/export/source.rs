//! Rows from history, in slices of resources and of time, so that memory does not grow with them.
//!
//! All rows of a resource stand together, in order of time. Reads wait for the disk: never on a thread that answers others.

use std::sync::atomic::Ordering;

use super::plan::{Plan, Remainder};
use super::table::{Batch, Column, Entry};
use super::{ExportError, Progress};
use crate::catalogue::Catalogue;
use crate::history::{Aggregate, History, Observation};
use crate::inventory::{Reason, Value};

/// Cells of one slice together.
const BUDGET_BYTES: usize = 4 << 20;
/// Steps of one slice: more than the longest file of history holds of a minute.
const STEPS: u64 = 4_096;
/// Resources of one slice: enough for history to read a file's directory once for all.
const GROUP: usize = 256;
/// Of raw observations: as long as the longest file of them.
const RAW_SLICE_MS: i64 = 6 * 3_600_000;

/// Hands every row of a plan to `each`.
pub(super) fn rows(
    plan: &Plan,
    history: &dyn History,
    progress: &Progress,
    each: &mut dyn FnMut(&Batch<'_>) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut slice = Slice { plan, history, times: Vec::new(), cells: Vec::new(), gaps: Gaps::default() };
    match plan.step_ms {
        Some(step) => slice.steps(step, progress, each)?,
        None => slice.raw(progress, each)?,
    }
    for remainder in &plan.remainders {
        slice.remainder(remainder, each)?;
    }
    progress.read_permille.store(1_000, Ordering::Relaxed);
    Ok(())
}

/// One piece of the rows, and the room for it, used again and again.
struct Slice<'a> {
    plan: &'a Plan,
    history: &'a dyn History,
    times: Vec<i64>,
    /// By entry, then by column.
    cells: Vec<Vec<Vec<f64>>>,
    gaps: Gaps,
}

type Each<'a> = &'a mut dyn FnMut(&Batch<'_>) -> Result<(), ExportError>;

impl Slice<'_> {
    fn steps(&mut self, step: i64, progress: &Progress, each: Each<'_>) -> Result<(), ExportError> {
        let (plan, total) = (self.plan, self.plan.steps());
        let steps = total.clamp(1, STEPS);
        let of_one = steps as usize * (8 * plan.columns.len() + size_of::<Observation>() + 12);
        let group = if steps < total { 1 } else { (BUDGET_BYTES / of_one).clamp(1, GROUP) };
        let mut done = 0;
        for alike in plan.entries.chunk_by(|a, b| std::sync::Arc::ptr_eq(&a.metrics, &b.metrics)) {
            for entries in alike.chunks(group) {
                let mut at = plan.start();
                while at < plan.window.1 {
                    let end = plan.window.1.min(at + steps as i64 * step);
                    self.read(entries, (at, end), step)?;
                    for (i, entry) in entries.iter().enumerate() {
                        if entry.is_gone {
                            self.gone(entry, i, each)?;
                            continue;
                        }
                        self.gaps.of_steps(plan, entry, &self.cells[i], self.times.len());
                        let (times, cells) = (self.times.as_slice(), self.cells[i].as_slice());
                        each(&Batch { entry, times, cells, reasons: &self.gaps.reasons, texts: &self.gaps.texts })?;
                    }
                    at += steps as i64 * step;
                }
                done += entries.len();
                progress.read(done, plan.entries.len());
            }
        }
        Ok(())
    }

    /// The steps in which one that is gone has a value.
    fn gone(&self, entry: &Entry, i: usize, each: Each<'_>) -> Result<(), ExportError> {
        let is_known = |row: &usize| self.cells[i].iter().any(|column| !column[*row].is_nan());
        let rows: Vec<usize> = (0..self.times.len()).filter(is_known).collect();
        let times: Vec<i64> = rows.iter().map(|row| self.times[*row]).collect();
        let cells: Vec<Vec<f64>> = self.cells[i].iter().map(|column| rows.iter().map(|row| column[*row]).collect()).collect();
        let mut gaps = Gaps::default();
        gaps.of_steps(self.plan, entry, &cells, rows.len());
        // Also where it has none: it is asked there whether to go on.
        each(&Batch { entry, times: &times, cells: &cells, reasons: &gaps.reasons, texts: &gaps.texts })
    }

    /// Fills `times` and `cells` with the steps of some resources.
    fn read(&mut self, entries: &[Entry], window: (i64, i64), step: i64) -> Result<(), ExportError> {
        self.times.clear();
        self.times.extend((window.0..window.1).step_by(step as usize));
        self.cells.resize_with(entries.len().max(self.cells.len()), Vec::new);
        let (times, columns) = (&self.times, &self.plan.columns);
        for cells in &mut self.cells[..entries.len()] {
            cells.resize_with(columns.len(), Vec::new);
            for column in cells.iter_mut() {
                column.clear();
                column.resize(times.len(), f64::NAN);
            }
        }
        let (Some(first), ids) = (entries.first(), entries.iter().map(|e| &*e.series).collect::<Vec<_>>()) else { return Ok(()) };
        for (c, metric) in first.metrics.iter().enumerate() {
            let Some(metric) = metric else { continue };
            let all = self.history.ranges(&ids, metric, window, step, columns[c].how)?;
            for (cells, steps) in self.cells.iter_mut().zip(all) {
                put(&mut cells[c], times, &steps, step, &columns[c]);
            }
        }
        Ok(())
    }

    fn raw(&mut self, progress: &Progress, each: Each<'_>) -> Result<(), ExportError> {
        let plan = self.plan;
        self.cells = vec![vec![Vec::new(); plan.columns.len()]];
        for (i, entry) in plan.entries.iter().enumerate() {
            let mut at = plan.window.0;
            while at < plan.window.1 {
                let end = plan.window.1.min(at.saturating_add(RAW_SLICE_MS));
                self.observations(entry, (at, end))?;
                // Also where nothing was observed: it is asked there whether to go on.
                let (times, cells) = (self.times.as_slice(), self.cells[0].as_slice());
                each(&Batch { entry, times, cells, reasons: &self.gaps.reasons, texts: &self.gaps.texts })?;
                at = end;
            }
            progress.read(i + 1, plan.entries.len());
        }
        Ok(())
    }

    /// Fills `times` and `cells` with what was observed of a resource; what was observed at one moment is one row.
    fn observations(&mut self, entry: &Entry, (start, end): (i64, i64)) -> Result<(), ExportError> {
        let columns = &self.plan.columns;
        let mut all: Vec<Vec<Observation>> = Vec::with_capacity(columns.len());
        for metric in entry.metrics.iter() {
            all.push(match metric {
                Some(metric) => self.history.raw(&entry.series, metric, start, end)?,
                None => Vec::new(),
            });
        }
        self.times.clear();
        self.times.extend(all.iter().flatten().map(|(at, _)| *at));
        if all.iter().filter(|a| !a.is_empty()).count() > 1 {
            self.times.sort_unstable();
        }
        self.times.dedup();
        self.gaps.begin(self.times.len());
        for (c, observations) in all.iter().enumerate() {
            let cells = &mut self.cells[0][c];
            cells.clear();
            cells.resize(self.times.len(), f64::NAN);
            let mut row = 0;
            for (at, value) in observations {
                while self.times[row] < *at {
                    row += 1;
                }
                match value {
                    Some(v) if v.is_finite() => cells[row] = columns[c].scale.apply(*v),
                    // An end that came with a last value is one moment; the value counts.
                    _ if cells[row].is_nan() => self.gaps.ended(row, c, columns),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What is left of a total when its parts are taken away.
    fn remainder(&mut self, remainder: &Remainder, each: Each<'_>) -> Result<(), ExportError> {
        let (plan, Some(step)) = (self.plan, self.plan.step_ms) else { return Ok(()) };
        let parts = &plan.entries[remainder.parts.clone()];
        let span = STEPS as i64 * step;
        let mut at = plan.start();
        while at < plan.window.1 {
            let window = (at, plan.window.1.min(at + span));
            let total = self.history.range(&remainder.total.0, &remainder.total.1, window, step, Aggregate::Average)?;
            let mut left: Vec<f64> = Vec::new();
            self.read(&[], window, step)?;
            left.resize(self.times.len(), f64::NAN);
            put(&mut left, &self.times, &total, step, &plan.columns[0]);
            for some in parts.chunks(16) {
                self.read(some, window, step)?;
                for cells in &self.cells[..some.len()] {
                    for (left, part) in left.iter_mut().zip(&cells[0]).filter(|(_, part)| !part.is_nan()) {
                        *left -= part;
                    }
                }
            }
            let mut cells = vec![vec![f64::NAN; self.times.len()]; plan.columns.len()];
            cells[0] = left;
            self.gaps.of_steps(plan, &remainder.entry, &cells, self.times.len());
            let entry = &remainder.entry;
            each(&Batch { entry, times: &self.times, cells: &cells, reasons: &self.gaps.reasons, texts: &self.gaps.texts })?;
            at += span;
        }
        Ok(())
    }
}

/// Puts steps where their moments are. What an engine calls NaN or infinite is no number.
fn put(cells: &mut [f64], times: &[i64], steps: &[Observation], step: i64, column: &Column) {
    let Some(first) = times.first() else { return };
    for (i, (at, value)) in steps.iter().enumerate() {
        let Some(v) = value.filter(|v| v.is_finite()) else { continue };
        let i = if times.get(i) == Some(at) { i } else { usize::try_from((at - first).div_euclid(step)).unwrap_or(usize::MAX) };
        if let Some(cell) = cells.get_mut(i) {
            *cell = column.scale.apply(v);
        }
    }
}

/// Why cells are empty.
#[derive(Default)]
struct Gaps {
    /// Text 0 is none.
    texts: Vec<String>,
    reasons: Vec<u32>,
    /// Which columns are empty in the rows of each text.
    masks: Vec<Vec<u64>>,
}

impl Gaps {
    fn begin(&mut self, rows: usize) {
        self.texts.clear();
        self.texts.push(String::new());
        self.masks.clear();
        self.masks.push(Vec::new());
        self.reasons.clear();
        self.reasons.resize(rows, 0);
    }

    /// Of a row of steps: each column that the resource has at all, or had, and has no value in.
    fn of_steps(&mut self, plan: &Plan, entry: &Entry, cells: &[Vec<f64>], rows: usize) {
        self.begin(rows);
        let columns = &plan.columns;
        let observed = |c: usize| cells[c].iter().any(|v| !v.is_nan());
        let reading = |c: usize| {
            let metric = Catalogue::known(entry.metrics[c].as_deref()?)?;
            entry.model.as_ref()?.reading(metric)
        };
        let expected: Vec<usize> = (0..columns.len())
            .filter(|c| entry.metrics[*c].is_some() && (columns.len() == 1 || reading(*c).is_some() || observed(*c)))
            .collect();
        if expected.is_empty() {
            self.texts.push("absent".to_owned());
            return self.reasons.fill(1);
        }
        let gappy: Vec<usize> = expected.into_iter().filter(|c| cells[*c].iter().any(|v| v.is_nan())).collect();
        if gappy.is_empty() {
            return;
        }
        // History does not keep why; a reason that lasts is in the model.
        let why = |c: usize| match reading(c).map(|r| r.value) {
            Some(Value::Gap(Reason::Unsupported)) => "unsupported",
            Some(Value::Gap(Reason::Denied)) => "denied",
            _ => "not_observed",
        };
        let mut mask = vec![0u64; columns.len().div_ceil(64)];
        let mut last = 0u32;
        let Self { texts, reasons, masks } = self;
        for (row, reason) in reasons.iter_mut().enumerate() {
            mask.fill(0);
            gappy.iter().filter(|c| cells[**c][row].is_nan()).for_each(|c| mask[c / 64] |= 1 << (c % 64));
            if mask.iter().all(|m| *m == 0) {
                continue;
            }
            if masks[last as usize] != mask {
                last = match masks.iter().position(|m| *m == mask) {
                    Some(known) => known as u32,
                    None => {
                        let empty: Vec<usize> = gappy.iter().copied().filter(|c| mask[c / 64] >> (c % 64) & 1 == 1).collect();
                        masks.push(mask.clone());
                        texts.push(match (columns.len(), empty.as_slice()) {
                            (1, [c]) => why(*c).to_owned(),
                            _ => empty.iter().map(|c| format!("{}={}", columns[*c].name, why(*c))).collect::<Vec<_>>().join(";"),
                        });
                        texts.len() as u32 - 1
                    }
                };
            }
            *reason = last;
        }
    }

    /// A series ended here.
    fn ended(&mut self, row: usize, c: usize, columns: &[Column]) {
        let before = self.texts[self.reasons[row] as usize].clone();
        let text = match (columns.len(), before.as_str()) {
            (1, _) => "ended".to_owned(),
            (_, "") => format!("{}=ended", columns[c].name),
            (_, before) => format!("{before};{}=ended", columns[c].name),
        };
        self.reasons[row] = match self.texts.iter().position(|t| *t == text) {
            Some(known) => known as u32,
            None => {
                self.texts.push(text);
                self.texts.len() as u32 - 1
            }
        };
    }
}
