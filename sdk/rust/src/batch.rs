//! Builds a batch: each subject once, flat points that index it.

use std::collections::HashMap;

use crate::bindings::exports::kcloud::collector::history;
use crate::bindings::kcloud::collector::types as t;
use crate::{CollectError, Event, GapReason, MetricDef, Quality};

/// The host takes label values up to this length.
const MAX_VALUE: usize = 1_024;
/// No source reports readings from before this (2001-09-09): a stamp below it is in another unit, or of a clock that was never set.
const OLDEST_MS: i64 = 1_000_000_000_000;

/// A metric of this batch: its place in `describe`, or of one that was added here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Metric(pub u32);

/// A subject of this batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectRef(u32);

impl SubjectRef {
    /// Its place in the batch.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What one call answers.
pub struct Batch {
    /// Where the host goes on: `next_page` and `cursor` of the batch before.
    pub page: Option<Vec<u8>>,
    pub cursor: Option<Vec<u8>>,
    known: u32,
    out: t::Batch,
    /// By kind, then key.
    index: Vec<(String, HashMap<String, u32>)>,
    is_raw: bool,
}

impl Batch {
    /// A whole batch over the metrics of `describe`.
    pub fn new(described: Vec<MetricDef>) -> Self {
        let out = t::Batch {
            coverage: t::Coverage::Whole,
            metrics: Vec::new(),
            subjects: Vec::new(),
            points: Vec::new(),
            timed_points: Vec::new(),
            states: Vec::new(),
            histograms: Vec::new(),
            gaps: Vec::new(),
            events: Vec::new(),
            problems: Vec::new(),
            tombstones: Vec::new(),
            next_page: None,
            cursor: None,
        };
        Self { page: None, cursor: None, known: described.len() as u32, out, index: Vec::new(), is_raw: false }
    }

    /// A metric that `describe` did not name.
    pub fn metric(&mut self, definition: MetricDef) -> Metric {
        let found = self.out.metrics.iter().position(|m| m.name == definition.name && m.quality == definition.quality);
        let index = found.unwrap_or_else(|| {
            self.out.metrics.push(definition);
            self.out.metrics.len() - 1
        });
        Metric(self.known + index as u32)
    }

    /// The subject of this kind that `key` tells from the others; made by `new` when it is the first of it.
    pub fn subject(&mut self, kind: &str, key: &str, parent: Option<SubjectRef>, new: impl FnOnce(&mut t::Subject)) -> SubjectRef {
        let of_kind = match self.index.iter().position(|(k, _)| k == kind) {
            Some(at) => at,
            None => {
                self.index.push((kind.to_owned(), HashMap::new()));
                self.index.len() - 1
            }
        };
        if let Some(found) = self.index[of_kind].1.get(key) {
            return SubjectRef(*found);
        }
        let mut subject =
            t::Subject { kind: kind.to_owned(), identity: Vec::new(), labels: Vec::new(), parent: parent.map(|p| p.0), observed_at: None };
        new(&mut subject);
        let index = self.out.subjects.len() as u32;
        self.out.subjects.push(subject);
        self.index[of_kind].1.insert(key.to_owned(), index);
        SubjectRef(index)
    }

    /// A subject as it stands.
    pub fn get(&self, subject: SubjectRef) -> &t::Subject {
        &self.out.subjects[subject.0 as usize]
    }

    /// The descriptive labels of a subject, to add to.
    pub fn labels(&mut self, subject: SubjectRef) -> &mut Vec<t::Label> {
        &mut self.out.subjects[subject.0 as usize].labels
    }

    /// One reading. What is no number, or has a stamp that is no time, becomes a gap.
    pub fn point(&mut self, metric: Metric, subject: SubjectRef, value: f64, at_ms: Option<i64>) {
        let (metric, subject) = (metric.0, subject.0);
        match (value.is_finite(), at_ms, at_ms.and_then(nanoseconds)) {
            (true, None, _) => self.out.points.push(t::Point { metric, subject, value }),
            (true, Some(_), Some(observed_at)) => self.out.timed_points.push(t::TimedPoint { metric, subject, value, observed_at }),
            _ => self.out.gaps.push(t::Gap { metric, subject, reason: GapReason::Error }),
        }
    }

    /// Says why there is no reading.
    pub fn gap(&mut self, metric: Metric, subject: SubjectRef, reason: GapReason) {
        self.out.gaps.push(t::Gap { metric: metric.0, subject: subject.0, reason });
    }

    /// Something that happened; `event.subject` is filled in.
    pub fn event(&mut self, subject: SubjectRef, event: Event) {
        self.out.events.push(Event { subject: subject.0, ..event });
    }

    /// Something wrong with a part of the answer, at a line of it. The first hundred are kept.
    pub fn problem(&mut self, error: CollectError, line: Option<u32>) {
        if self.out.problems.len() < 100 {
            self.out.problems.push(t::Problem { subject: None, error: error.into(), line });
        }
    }

    /// One named state, by its place in the metric's `states`.
    pub fn state(&mut self, metric: Metric, subject: SubjectRef, state: u32) {
        self.out.states.push(t::StatePoint { metric: metric.0, subject: subject.0, state });
    }

    /// Something wrong with one subject; the rest holds.
    pub fn problem_of(&mut self, subject: SubjectRef, error: CollectError) {
        self.out.problems.push(t::Problem { subject: Some(subject.0), error: error.into(), line: None });
    }

    /// When a subject's readings were observed, for sources that say so; a stamp that is no time says nothing.
    pub fn observed_at(&mut self, subject: SubjectRef, ms: i64) {
        self.out.subjects[subject.0 as usize].observed_at = nanoseconds(ms);
    }

    /// Subjects so far.
    pub fn count(&self) -> usize {
        self.out.subjects.len()
    }

    /// The same for all subjects from a [`Batch::count`] on.
    pub fn observed_since(&mut self, first: usize, ms: i64) {
        self.out.subjects.iter_mut().skip(first).for_each(|s| s.observed_at = nanoseconds(ms));
    }

    /// Half an answer: what is not named ages.
    pub fn partial(&mut self) {
        self.out.coverage = t::Coverage::Partial;
    }

    /// Only what changed; `cursor` is handed back with the next call.
    pub fn delta(&mut self, cursor: Vec<u8>) {
        self.out.coverage = t::Coverage::Delta;
        self.out.cursor = Some(cursor);
    }

    /// Where the next call goes on, which may then answer with a delta.
    pub fn go_on_from(&mut self, cursor: Vec<u8>) {
        self.out.cursor = Some(cursor);
    }

    /// In a delta: this one is gone.
    pub fn tombstone(&mut self, subject: SubjectRef) {
        self.out.tombstones.push(subject.0);
    }

    /// There is more: the host calls again at once with this.
    pub fn next_page(&mut self, page: Vec<u8>) {
        self.out.next_page = Some(page);
    }

    /// What is out so far, past all care: for guests of tests that say what a host must refuse. `finish` still makes label values fit
    /// unless [`Batch::leave_as_is`] was called.
    #[doc(hidden)]
    pub fn raw(&mut self) -> &mut t::Batch {
        &mut self.out
    }

    /// Nothing is made fit: for such guests, too.
    #[doc(hidden)]
    pub fn leave_as_is(&mut self) {
        self.is_raw = true;
    }

    /// What crosses the boundary. A label value that the host would refuse the whole answer for is made fit: cut to length,
    /// control characters replaced.
    pub fn finish(mut self) -> t::Batch {
        if !self.is_raw {
            fit(&mut self.out.subjects);
        }
        self.out
    }
}

fn nanoseconds(ms: i64) -> Option<u64> {
    (ms >= OLDEST_MS).then_some(ms as u64)?.checked_mul(1_000_000)
}

fn fit(subjects: &mut [t::Subject]) {
    for label in subjects.iter_mut().flat_map(|s| s.identity.iter_mut().chain(&mut s.labels)) {
        label.value.truncate(label.value.floor_char_boundary(MAX_VALUE));
        if label.value.chars().any(char::is_control) {
            label.value = label.value.replace(char::is_control, "?");
        }
    }
}

/// One page of an answer about the past. Subjects come from a [`Batch`], so that one mapping serves both.
pub struct Page {
    subjects: Vec<t::Subject>,
    series: Vec<history::Series>,
    next: Option<Vec<u8>>,
}

impl Page {
    /// A page over the subjects of a batch.
    pub fn over(batch: Batch) -> Self {
        Self { subjects: batch.finish().subjects, series: Vec::new(), next: None }
    }

    /// The observations of one subject, in order of time.
    pub fn series(&mut self, subject: SubjectRef, quality: Quality, observations: Vec<history::Observation>) {
        self.series.push(history::Series { subject: subject.0, quality, observations });
    }

    /// There is more.
    pub fn next_page(&mut self, page: Vec<u8>) {
        self.next = Some(page);
    }

    /// Series so far, for tests.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// What crosses the boundary.
    pub fn finish(self) -> history::Page {
        history::Page { subjects: self.subjects, series: self.series, next_page: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Label;

    #[test]
    fn what_a_source_says_oddly_costs_that_and_not_the_answer() {
        let mut batch = Batch::new(Vec::new());
        let long = "한".repeat(400);
        let card = batch.subject("accelerator", "a", None, |s| {
            s.identity = vec![Label { key: "uuid".into(), value: "GPU-1\n\u{85}".into() }];
            s.labels = vec![Label { key: "model".into(), value: long.clone() }];
        });
        for at in [Some(1_764_000_000_000), None, Some(1_764_000_000), Some(-1), Some(i64::MAX)] {
            batch.point(Metric(0), card, 1.0, at);
        }
        batch.observed_at(card, 12);
        let out = batch.finish();
        assert_eq!((out.points.len(), out.timed_points.len(), out.gaps.len()), (1, 1, 3));
        assert_eq!((out.subjects[0].identity[0].value.as_str(), out.subjects[0].observed_at), ("GPU-1??", None));
        assert_eq!(out.subjects[0].labels[0].value, long[..1_023]);
    }
}
