//! How long to leave a failing target alone.

use std::time::Duration;

use rand::Rng;

/// A target is asked at least this often, however long it fails.
const MOST: Duration = Duration::from_secs(300);
/// First pause after the plugin's own fault.
const FIRST: Duration = Duration::from_secs(1);

/// Doubles with each failure in a row, with jitter; a success resets it.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure. A target that fails is asked at its interval twice more before it is left alone.
    pub(super) fn after(&mut self, plugins_fault: bool, interval: Duration) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let (first, doublings) = match plugins_fault {
            true => (FIRST, self.failures - 1),
            false => (interval, self.failures.saturating_sub(3)),
        };
        let full = first.saturating_mul(1 << doublings.min(16)).min(MOST.max(interval));
        full.mul_f64(rand::rng().random_range(0.8..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_its_bound_and_starts_again() {
        let mut b = Backoff::default();
        let interval = Duration::from_secs(15);
        let pauses: Vec<_> = (0..20).map(|_| b.after(false, interval)).collect();
        assert!(pauses[0] <= interval && pauses[0] >= interval.mul_f64(0.8));
        assert!(pauses[19] <= MOST && pauses[19] >= MOST.mul_f64(0.8));
        b.reset();
        assert!(b.after(true, interval) <= FIRST);
    }
}
