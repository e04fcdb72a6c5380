//! `backend = "prometheus"`: the embedded store keeps what is new, an engine answers for what is old.
//!
//! Points are committed to the embedded store as ever: it says which sequence is durable, and remote write reads from it. A
//! read asks the engine for what it must have by now, and takes the newest part from the store.

use std::sync::Arc;

use super::promql::Engine;
use super::remote::RemoteWrite;
use super::{Aggregate, Embedded, Halves, History, HistoryError, Holds, Observation, Point, Upkeep};
use crate::catalogue::Catalogue;

/// What was sent longer ago than this can be seen in any engine; VictoriaMetrics hides the last 30 s.
const SEEN_AFTER: i64 = 60_000;

/// An engine with the embedded store before it.
pub struct Beyond {
    store: Arc<Embedded>,
    engine: Engine,
    remote: Option<Arc<RemoteWrite>>,
}

impl Beyond {
    pub fn new(store: Arc<Embedded>, engine: Engine, remote: Option<Arc<RemoteWrite>>) -> Self {
        Self { store, engine, remote }
    }

    /// Up to here the engine answers; what follows may not have arrived.
    fn edge(&self, step: i64) -> i64 {
        let seen = crate::now_ms() - SEEN_AFTER;
        let edge = self.remote.as_ref().and_then(|r| r.pending_since()).map_or(seen, |pending| pending.min(seen));
        edge.div_euclid(step) * step
    }
}

impl History for Beyond {
    fn committed(&self) -> Result<u64, HistoryError> {
        self.store.committed()
    }

    fn commit(&self, sequence: u64, at_ms: i64, points: &[Point]) -> Result<(), HistoryError> {
        self.store.commit(sequence, at_ms, points)
    }

    fn raw(&self, subject: &str, metric: &str, start_ms: i64, end_ms: i64) -> Result<Vec<Observation>, HistoryError> {
        if Catalogue::leaving(metric).is_none() {
            return self.store.raw(subject, metric, start_ms, end_ms);
        }
        let edge = self.edge(1).clamp(start_ms, end_ms.max(start_ms));
        let new = self.store.raw(subject, metric, edge, end_ms)?;
        // Of what this host does not collect the engine knows the newest part, too.
        let until = if new.is_empty() { end_ms } else { edge };
        let mut all = self.engine.raw(subject, metric, start_ms, until)?;
        all.extend(new);
        Ok(all)
    }

    fn range(&self, subject: &str, metric: &str, window: (i64, i64), step: i64, how: Aggregate) -> Result<Vec<Observation>, HistoryError> {
        Ok(self.ranges(&[subject], metric, window, step, how)?.pop().unwrap_or_default())
    }

    fn ranges(
        &self,
        subjects: &[&str],
        metric: &str,
        (start, end): (i64, i64),
        step: i64,
        how: Aggregate,
    ) -> Result<Vec<Vec<Observation>>, HistoryError> {
        if Catalogue::leaving(metric).is_none() {
            return self.store.ranges(subjects, metric, (start, end), step, how);
        }
        let step = step.max(1);
        let start = start.div_euclid(step) * step;
        let edge = self.edge(step).clamp(start, (end.max(start)).div_euclid(step) * step);
        let new = self.store.ranges(subjects, metric, (edge, end), step, how)?;
        let is_ours = new.iter().flatten().any(|(_, v)| v.is_some());
        let until = if is_ours { edge } else { end };
        let mut all = self.engine.ranges(subjects, metric, (start, until), step, how)?;
        if is_ours {
            all.iter_mut().zip(new).for_each(|(old, new)| old.extend(new));
        }
        Ok(all)
    }

    fn subjects(&self, metric: &str) -> Vec<Arc<str>> {
        self.store.subjects(metric)
    }

    fn halves(&self, (start, end): (i64, i64), step: i64) -> Option<Halves> {
        let step = step.max(1);
        let start = start.div_euclid(step) * step;
        Some(Halves { engine: "prometheus", until_ms: self.edge(step).clamp(start, end.max(start)) })
    }

    fn upkeep(&self, now_ms: i64) -> Result<Upkeep, HistoryError> {
        self.store.upkeep(now_ms)
    }

    fn holds(&self) -> Holds {
        self.store.holds()
    }
}
