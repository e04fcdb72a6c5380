//! When watts are too many: a threshold that must be passed for a while, and is cleared lower than it is passed.
//!
//! In: sums over time with how many were known. Out: what to tell. A sum over fewer than before is not less power: it neither
//! clears a threshold nor is it a spike.

use super::topic::Limits;
use crate::power::Sum;

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    Exceeded { watts: f64, threshold: f64 },
    Cleared { watts: f64, threshold: f64 },
    Spike { watts: f64, before: f64, percent: f64 },
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Watts, and of how many that was known.
    last: Option<(f64, usize)>,
    /// Since when, and of how many that was.
    over_since: Option<(i64, usize)>,
    /// Of how many the watts were when it was told.
    told: Option<usize>,
}

impl Seen {
    /// Whether the threshold was told as passed and not yet as cleared.
    pub fn is_over(&self) -> bool {
        self.told.is_some()
    }

    /// Takes what is drawn at a moment; where nobody knows, nothing changes.
    pub fn take(&mut self, limits: &Limits, at_ms: i64, now: &Sum) -> Vec<Told> {
        let known = now.known;
        // Fewer are read than then: those that are not there any more are none of these.
        let lacks = |of: usize| known < of && known < now.of;
        let Some(watts) = now.watts else {
            self.last = None;
            return Vec::new();
        };
        let mut told = Vec::new();
        if let Some(threshold) = limits.threshold_watts() {
            if watts > threshold {
                let (since, _) = *self.over_since.get_or_insert((at_ms, known));
                if self.told.is_none() && at_ms - since >= limits.hold_ms {
                    self.told = Some(known);
                    told.push(Told::Exceeded { watts, threshold });
                }
            } else {
                self.over_since = self.over_since.filter(|(_, of)| lacks(*of));
                if watts < limits.clear_watts() && self.told.is_some_and(|of| !lacks(of)) {
                    self.told = None;
                    told.push(Told::Cleared { watts, threshold });
                }
            }
        }
        if let Some((before, _)) = self.last.filter(|(before, of)| *of == known && *before > 0.0) {
            let percent = (watts - before) / before * 100.0;
            if percent.abs() > limits.spike_percent() {
                told.push(Told::Spike { watts, before, percent });
            }
        }
        self.last = Some((watts, known));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::params::Params;
    use crate::stream::topic::{EVENTS, Topic, Wire};

    fn sum(watts: f64, known: usize, of: usize) -> Sum {
        Sum { watts: Some(watts), known, of, oldest_ms: None }
    }

    fn limits(query: &str) -> Limits {
        match Topic::events(&Params::parse(Some(query), EVENTS).unwrap()).unwrap().wire {
            Wire::Events(limits) => limits,
            Wire::Socket => unreachable!("events go out as events"),
        }
    }

    #[test]
    fn a_threshold_is_told_once_and_cleared_lower_than_it_was_passed() {
        let limits = limits("threshold_watts=1000&spike_percent=1000");
        let mut seen = Seen::default();
        let mut take = |watts: f64| seen.take(&limits, 0, &sum(watts, 4, 4));
        assert_eq!(take(1000.0), []);
        assert_eq!(take(1001.0), [Told::Exceeded { watts: 1001.0, threshold: 1000.0 }]);
        assert_eq!(take(1500.0), []);
        assert_eq!(take(960.0), [], "within the hysteresis it is still over");
        assert_eq!(take(1001.0), []);
        assert_eq!(take(949.0), [Told::Cleared { watts: 949.0, threshold: 1000.0 }]);
        assert_eq!(take(949.0), []);
    }

    #[test]
    fn a_threshold_with_a_duration_is_told_when_it_held_so_long_without_a_break() {
        let limits = limits("threshold_watts=1000&for=10s&spike_percent=1000");
        let mut seen = Seen::default();
        let mut take = |at: i64, watts: f64| seen.take(&limits, at, &sum(watts, 4, 4)).len();
        assert_eq!([take(0, 1100.0), take(9_000, 1100.0), take(9_500, 990.0), take(10_000, 1100.0), take(19_999, 1100.0)], [0; 5]);
        assert_eq!(take(20_000, 1100.0), 1);
    }

    #[test]
    fn watts_that_nobody_reads_any_more_are_no_less_power() {
        let limits = limits("threshold_watts=1000");
        let mut seen = Seen::default();
        assert_eq!(seen.take(&limits, 0, &sum(1100.0, 4, 4)).len(), 1);
        assert_eq!(seen.take(&limits, 1, &sum(800.0, 3, 4)), [], "a server less is known: neither cleared nor a spike");
        assert_eq!(seen.take(&limits, 2, &Sum { watts: None, ..sum(0.0, 0, 4) }), []);
        assert_eq!(seen.take(&limits, 3, &sum(900.0, 4, 4)), [Told::Cleared { watts: 900.0, threshold: 1000.0 }]);
    }

    #[test]
    fn what_is_not_there_any_more_keeps_no_threshold_passed() {
        let limits = limits("threshold_watts=1000&spike_percent=1000");
        let mut seen = Seen::default();
        assert_eq!(seen.take(&limits, 0, &sum(1100.0, 10, 10)).len(), 1);
        assert_eq!(seen.take(&limits, 1, &sum(200.0, 2, 2)), [Told::Cleared { watts: 200.0, threshold: 1000.0 }]);
    }

    #[test]
    fn a_server_that_is_not_read_for_a_moment_does_not_break_the_duration() {
        let limits = limits("threshold_watts=1000&for=10s&spike_percent=1000");
        let mut seen = Seen::default();
        assert_eq!(seen.take(&limits, 0, &sum(1100.0, 4, 4)).len(), 0);
        assert_eq!(seen.take(&limits, 5_000, &sum(800.0, 3, 4)).len(), 0);
        assert_eq!(seen.take(&limits, 10_000, &sum(1100.0, 4, 4)).len(), 1);
    }

    #[test]
    fn a_jump_between_two_readings_of_the_same_servers_is_a_spike() {
        let limits = limits("");
        let mut seen = Seen::default();
        let mut take = |watts: f64, known: usize| seen.take(&limits, 0, &sum(watts, known, known));
        assert_eq!(take(1000.0, 4), []);
        assert_eq!(take(1100.0, 4), []);
        assert!(matches!(take(1300.0, 4)[..], [Told::Spike { before: 1100.0, .. }]));
        assert_eq!(take(2000.0, 5), [], "one more server is known");
    }
}
