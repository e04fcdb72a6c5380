//! When a plugin's own faults in a row keep it from being called at all. Pure: the caller brings the time.
//!
//! One target on which a plugin traps is left alone by that target's own backoff (`collect/`); only faults that no success
//! interrupts, on whatever targets, open the breaker.

use std::time::{Duration, Instant};

use rand::Rng;

/// Faults in a row that open it.
const TRIP: u32 = 3;
/// First pause; it doubles with each opening.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(300);
/// After so long without a fault the next opening begins with the first pause again.
const HEALTHY: Duration = Duration::from_secs(60);

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Go,
    /// Not before this moment.
    Wait(Instant),
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Opened { faults: u32, pause: Duration },
    Closed,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    /// One call is under way that decides; `since` frees it when that call never answers.
    Probing {
        since: Instant,
    },
}

/// The breaker of one plugin.
#[derive(Debug)]
pub struct Breaker {
    phase: Phase,
    faults: u32,
    openings: u32,
    last_fault: Option<Instant>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { phase: Phase::Closed, faults: 0, openings: 0, last_fault: None }
    }
}

impl Breaker {
    /// Whether a call may be made now; of those that wait for an open breaker to end one goes first.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.phase {
            Phase::Closed => Admission::Go,
            Phase::Open { until } if now < until => Admission::Wait(until),
            Phase::Probing { since } if now < since + HEALTHY => Admission::Wait(now + FIRST),
            Phase::Open { .. } | Phase::Probing { .. } => {
                self.phase = Phase::Probing { since: now };
                Admission::Go
            }
        }
    }

    /// Takes the outcome of a call: a fault of the plugin's own, or anything else.
    pub fn record(&mut self, is_fault: bool, now: Instant) -> Option<Change> {
        if !is_fault {
            self.faults = 0;
            if self.last_fault.is_none_or(|at| now.duration_since(at) >= HEALTHY) {
                self.openings = 0;
            }
            let was_open = !matches!(self.phase, Phase::Closed);
            self.phase = Phase::Closed;
            return was_open.then_some(Change::Closed);
        }
        self.faults = self.faults.saturating_add(1);
        self.last_fault = Some(now);
        // Calls that were under way when it opened change nothing.
        if self.faults < TRIP || matches!(self.phase, Phase::Open { until } if now < until) {
            return None;
        }
        let full = FIRST.saturating_mul(1 << self.openings.min(16)).min(MOST);
        let pause = full.mul_f64(rand::rng().random_range(0.8..=1.0));
        self.openings += 1;
        self.phase = Phase::Open { until: now + pause };
        Some(Change::Opened { faults: self.faults, pause })
    }

    /// Whether calls are held back.
    pub fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn three_faults_in_a_row_open_it_and_a_success_between_does_not() {
        let (mut b, t) = (Breaker::default(), Instant::now());
        for outcome in [true, true, false, true, true] {
            assert_eq!(b.record(outcome, t), None);
        }
        assert!(matches!(b.record(true, t), Some(Change::Opened { faults: 3, pause }) if pause <= FIRST));
        assert!(matches!(b.admit(t), Admission::Wait(_)));
    }

    #[test]
    fn after_the_pause_one_call_decides() {
        let (mut b, t) = (Breaker::default(), Instant::now());
        assert!((0..3).filter_map(|_| b.record(true, t)).count() == 1);
        let later = after(t, 2);
        assert_eq!(b.admit(later), Admission::Go);
        assert!(matches!(b.admit(later), Admission::Wait(_)), "a second call would be a stampede");
        assert!(matches!(b.record(true, later), Some(Change::Opened { faults: 4, .. })));
        assert_eq!(b.admit(after(t, 10)), Admission::Go);
        assert_eq!(b.record(false, after(t, 10)), Some(Change::Closed));
        assert_eq!(b.admit(after(t, 10)), Admission::Go);
    }

    #[test]
    fn a_probe_that_never_answers_does_not_hold_it_open_for_ever() {
        let (mut b, t) = (Breaker::default(), Instant::now());
        assert!((0..3).filter_map(|_| b.record(true, t)).count() == 1);
        assert_eq!(b.admit(after(t, 2)), Admission::Go);
        assert_eq!(b.admit(after(t, 400)), Admission::Go);
    }

    #[test]
    fn the_pause_doubles_to_its_bound_and_begins_anew_after_a_minute_of_health() {
        let (mut b, mut t) = (Breaker::default(), Instant::now());
        let open = |b: &mut Breaker, t: Instant| loop {
            if let Some(Change::Opened { pause, .. }) = b.record(true, t) {
                return pause;
            }
        };
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            last = open(&mut b, t);
            t += last;
            assert_eq!(b.admit(t), Admission::Go);
        }
        assert!(last <= MOST && last >= MOST.mul_f64(0.8), "{last:?}");
        b.record(false, after(t, 61));
        assert!(open(&mut b, after(t, 62)) <= FIRST);
    }
}
