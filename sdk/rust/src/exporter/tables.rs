//! Exporters of accelerators read by tables. In: readings as they are met, under old and new names, of a card and repeated on its
//! parts. Out: one reading a metric and subject. Nothing is guessed: a card that nothing tells from others is a problem and no subject.

use super::{Out, Page, Readings, Row, Who};
use crate::{CollectError, GapReason, SubjectRef};

/// One quantity of a card or part, as a table lists it.
pub struct Quantity {
    /// Old and new names and twins, the most trusted first.
    pub names: &'static [&'static str],
    pub metric: &'static str,
    /// From the source's unit to the catalogue's.
    pub factor: f64,
    /// 0 stands for "no reading": nothing runs at 0 W or 0 °C.
    pub zero_is_nothing: bool,
}

/// A quantity whose 0 is a reading.
pub const fn quantity(names: &'static [&'static str], metric: &'static str, factor: f64) -> Quantity {
    Quantity { names, metric, factor, zero_is_nothing: false }
}

/// One whose 0 says nothing.
pub const fn never_zero(names: &'static [&'static str], metric: &'static str, factor: f64) -> Quantity {
    Quantity { names, metric, factor, zero_is_nothing: true }
}

/// What a source writes for "not available" in the widths of its integers, or below zero where nothing is.
pub fn largest(value: f64) -> Option<GapReason> {
    match value {
        v if v == f64::from(u32::MAX) || v == f64::from(i32::MAX) || v >= 9.2e18 => Some(GapReason::Unsupported),
        v if !v.is_finite() || v < 0.0 => Some(GapReason::Error),
        _ => None,
    }
}

/// All that a table and further names ask for.
pub fn asked(table: &[Quantity], further: &[&'static str]) -> &'static [&'static str] {
    table.iter().flat_map(|q| q.names).chain(further).copied().collect::<Vec<_>>().leak()
}

/// Cards of one exporter.
pub struct Cards<'o, 'b> {
    pub out: &'o mut Out<'b>,
    class: &'static str,
    vendor: &'static str,
    readings: Readings,
    nameless: usize,
}

impl<'o, 'b> Cards<'o, 'b> {
    /// `class` is `gpu`, `npu`, `tpu` or `other`.
    pub fn new(out: &'o mut Out<'b>, class: &'static str, vendor: &'static str) -> Self {
        Self { out, class, vendor, readings: Readings::default(), nameless: 0 }
    }

    /// A card, counted where nothing tells it from others.
    pub fn card(&mut self, who: Who<'_>) -> Option<SubjectRef> {
        let card = self.out.card(self.class, self.vendor, who);
        self.nameless += usize::from(card.is_none());
        card
    }

    /// A part of a card: `partition` by `partition_id`, `core` and `link` by `index`, `process` by `pid`.
    pub fn part(&mut self, kind: &'static str, id: &str, card: SubjectRef) -> SubjectRef {
        let key = match kind {
            "partition" => "partition_id",
            "process" => "pid",
            _ => "index",
        };
        self.out.subject(kind, key, id, Some(card))
    }

    /// Who holds a card or partition: labels of its namespace, pod and container.
    pub fn holder(&mut self, of: SubjectRef, row: &Row<'_>, names: [&str; 3]) {
        let held = row.pick(names);
        self.out.held_by(of, held.each_ref().map(|v| v.as_deref()));
    }

    /// A reading, unless there is one already; what is no number is a gap.
    pub fn value(&mut self, metric: &'static str, of: SubjectRef, value: f64, at_ms: Option<i64>) {
        let value = if value.is_finite() { Ok(value) } else { Err(GapReason::Error) };
        self.readings.say(of, metric, value, at_ms);
    }

    /// One that was computed from others.
    pub fn derived(&mut self, metric: &'static str, of: SubjectRef, value: f64, at_ms: Option<i64>) {
        self.readings.derive(of, metric, value, at_ms);
    }

    /// Why there is no reading, should none come.
    pub fn gap(&mut self, metric: &'static str, of: SubjectRef, reason: GapReason) {
        self.readings.miss(of, metric, reason);
    }

    /// Reads a table: `of` says whom a row is of, and `None` of one that is none of ours.
    pub fn read<'a>(&mut self, page: &Page<'a>, table: &'static [Quantity], mut of: impl FnMut(&mut Self, &Row<'a>) -> Option<SubjectRef>) {
        for q in table {
            for row in q.names.iter().flat_map(|name| page.rows(name)) {
                let Some(subject) = of(self, row) else { continue };
                match largest(row.value) {
                    Some(reason) => self.gap(q.metric, subject, reason),
                    None if row.value == 0.0 && q.zero_is_nothing => self.gap(q.metric, subject, GapReason::Absent),
                    None => self.value(q.metric, subject, row.value * q.factor, row.at_ms),
                }
            }
        }
    }

    /// What was said of a metric so far.
    pub fn get(&self, metric: &'static str, of: SubjectRef) -> Option<(f64, Option<i64>)> {
        self.readings.get_timed(of, metric)
    }

    /// Puts it all into the batch.
    pub fn finish(self) {
        self.readings.finish(self.out);
        if self.nameless > 0 {
            let why =
                format!("{} rows are of a card without a UUID on a node that nobody names: set labels.node of the target", self.nameless);
            self.out.batch.problem(CollectError::Unsupported(why), None);
        }
    }
}
