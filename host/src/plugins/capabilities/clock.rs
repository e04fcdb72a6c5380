//! The host's clocks, as coarse as a collector can use: a fine one would let a guest time what it must not see.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Guest;

/// What is kept of a reading's time is no finer either.
const GRAIN: u64 = 1_000_000;

impl Guest {
    /// Nanoseconds since the Unix epoch, in whole milliseconds.
    pub fn unix_ns(&self) -> u64 {
        coarse(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Nanoseconds since the instance began, in whole milliseconds.
    pub fn monotonic_ns(&self) -> u64 {
        coarse(self.started.elapsed())
    }
}

fn coarse(time: Duration) -> u64 {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    ns - ns % GRAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_moves_in_milliseconds() {
        assert_eq!(coarse(Duration::from_nanos(1_999_999)), 1_000_000);
        assert_eq!(coarse(Duration::from_millis(7)), 7_000_000);
    }
}
