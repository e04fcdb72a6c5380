//! What grows a second, derived from counters where a source says no such gauge itself.

use super::merge::STALE_INTERVALS;
use super::{Kind, Quality, Reading, Reason, Value};
use crate::catalogue::{Catalogue, MetricId};

/// Two readings of a counter that lie further apart, and further than a source may be silent, are not joined.
pub(super) const MAX_JOINED_MS: i64 = 5 * 60_000;
/// Watts are the growth of joules over this at least: when a source without stamps was asked is known to milliseconds only.
pub(super) const STEADY_MS: i64 = 10_000;
/// A count of joules may stand still for so many of its usual steps.
const STEPS: i64 = 2;

/// Where no step has been seen yet, one is waited for so long.
const LONGEST_STEP_MS: i64 = 3_600_000;

/// What one source's counts of joules on one subject are measured from.
#[derive(Default)]
pub(super) struct Rates(Vec<Base>);

/// A count and when it was read.
type Mark = (f64, i64);

/// A count of joules grows in steps: a program counts anew every few seconds, a board controller by thousandths of kilowatt-hours.
/// So it is measured from step to step.
struct Base {
    counter: MetricId,
    /// The growth is since `from`; `next` takes its place.
    from: Mark,
    next: Mark,
    /// The last step, and how long it had taken.
    step: Mark,
    step_ms: i64,
    /// Whether `from` is where a step was. A first reading lies somewhere between two, as does what comes after a count that nobody kept.
    is_step: bool,
}

impl Rates {
    /// `before` is what the source said last, sorted.
    pub(super) fn add(&mut self, kind: Kind, readings: &mut Vec<Reading>, before: &[Reading], interval_ms: i64) {
        let last = |metric: MetricId| before.binary_search_by_key(&metric, |r| r.metric).ok().map(|i| before[i]);
        for i in 0..readings.len() {
            let now = readings[i];
            let Some(gauge) = Catalogue::rate_of(now.metric) else { continue };
            if readings.iter().any(|r| r.metric == gauge && matches!(r.value, Value::Number(..))) {
                continue;
            }
            let Value::Number(count, quality) = now.value else { continue };
            let Some(Reading { value: Value::Number(counted, _), at_ms: then_ms, .. }) = last(now.metric) else {
                self.0.retain(|b| b.counter != now.metric);
                continue;
            };
            let span_ms = now.at_ms - then_ms;
            if span_ms == 0 {
                // The same observation again: what was derived of it stands.
                readings.extend(last(gauge));
                continue;
            }
            if span_ms < 0 || span_ms > (interval_ms * STALE_INTERVALS).max(MAX_JOINED_MS) {
                self.0.retain(|b| b.counter != now.metric);
                continue;
            }
            let metric = Catalogue::metric(gauge);
            // Such a thing draws something while it is on, so that a count that stands still is counted by nobody.
            let draws = matches!(kind, Kind::Accelerator | Kind::Node | Kind::Chassis) && metric.is_some_and(|m| m.name == "power_watts");
            let is_watts = metric.is_some_and(|m| m.unit == "watts");
            let growth = match is_watts && (draws || interval_ms < STEADY_MS) {
                true => self.base(now.metric, (counted, then_ms)).grow((count, now.at_ms), draws),
                false if count < counted => Growth::Unknown,
                false => Growth::Rate((count - counted) / span_ms as f64 * 1e3),
            };
            let value = match growth {
                Growth::Rate(rate) if metric.is_none_or(|m| rate <= m.range.1) => Value::Number(rate, quality.max(Quality::Derived)),
                Growth::Rate(_) => Value::Gap(Reason::Error),
                Growth::Unknown => Value::Gap(Reason::Absent),
                Growth::AsBefore => last(gauge).map_or(Value::Gap(Reason::Absent), |r| r.value),
            };
            readings.push(Reading { metric: gauge, value, ..now });
        }
    }

    fn base(&mut self, counter: MetricId, first: Mark) -> &mut Base {
        let at = self.0.iter().position(|b| b.counter == counter).unwrap_or_else(|| {
            self.0.push(Base::at(counter, first, false));
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

enum Growth {
    Rate(f64),
    /// It may only not have been counted anew yet.
    AsBefore,
    Unknown,
}

impl Base {
    fn at(counter: MetricId, mark: Mark, is_step: bool) -> Self {
        Self { counter, from: mark, next: mark, step: mark, step_ms: 0, is_step }
    }

    fn grow(&mut self, now: Mark, draws: bool) -> Growth {
        let stood_ms = now.1 - self.step.1;
        if now.0 < self.step.0 {
            *self = Self::at(self.counter, now, false);
            return Growth::Unknown;
        }
        if now.0 == self.step.0 {
            let is_first = draws && self.step_ms == 0;
            if stood_ms <= if is_first { LONGEST_STEP_MS } else { (self.step_ms * STEPS).max(STEADY_MS) } {
                return Growth::AsBefore;
            }
            if draws {
                self.is_step = false;
                return Growth::Unknown;
            }
            *self = Self::at(self.counter, now, true);
            return Growth::Rate(0.0);
        }
        if !self.is_step {
            *self = Self::at(self.counter, now, true);
            return Growth::AsBefore;
        }
        let rate = (now.0 - self.from.0) / (now.1 - self.from.1) as f64 * 1e3;
        (self.step, self.step_ms) = (now, stood_ms);
        if now.1 - self.next.1 >= STEADY_MS {
            (self.from, self.next) = (self.next, now);
        }
        Growth::Rate(rate)
    }
}
