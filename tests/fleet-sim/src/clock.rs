//! The fleet's time: which tick is shown, and how long ago it began.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::card::PERIOD;

/// Ticks that the fleet had run before its tick 0, in whole swings: counters do not begin at nothing.
pub(crate) const BEFORE: u64 = 2_160 * PERIOD;

/// A moment: its tick, and the seconds since that began.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub tick: u64,
    pub beyond: f64,
    /// Length of a tick in seconds.
    pub length: f64,
    /// Unix time.
    pub at_ms: u64,
    /// Unix time of tick 0.
    pub epoch_ms: u64,
}

impl From<u64> for Moment {
    /// The beginning of a tick of one second.
    fn from(tick: u64) -> Self {
        Self { tick, beyond: 0.0, length: 1.0, at_ms: 0, epoch_ms: 0 }
    }
}

impl Moment {
    /// Seconds times `of`, from tick 0 to now, where `of` repeats after a swing.
    pub(crate) fn integral(self, of: impl Fn(u64) -> u64) -> f64 {
        let (swings, rest) = (self.tick / PERIOD, self.tick % PERIOD);
        let part: u64 = (0..rest).map(&of).sum();
        let whole = if swings == 0 { 0 } else { swings * (part + (rest..PERIOD).map(&of).sum::<u64>()) };
        (whole + part) as f64 * self.length + of(self.tick) as f64 * self.beyond
    }

    /// The same from the fleet's own beginning, or from a tick after that (both counted with [`BEFORE`]).
    pub(crate) fn lifetime(self, since: u64, of: impl Fn(u64) -> u64) -> f64 {
        let to = Self { tick: self.tick + BEFORE, ..self };
        let from = Self { tick: since, beyond: 0.0, ..self };
        if since == 0 { to.integral(of) } else { to.integral(&of) - from.integral(&of) }
    }

    /// Unix seconds of a tick that is counted with [`BEFORE`].
    pub(crate) fn unix(self, tick: u64) -> f64 {
        (self.epoch_ms as f64 / 1e3 + (tick as f64 - BEFORE as f64) * self.length).floor()
    }
}

enum Mode {
    Runs,
    Pinned(u64),
    Held(u64, Instant),
}

pub(crate) struct Clock {
    started: Instant,
    epoch_ms: u64,
    length: Duration,
    mode: Mutex<Mode>,
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_millis() as u64).unwrap_or(0)
}

impl Clock {
    pub fn new(length: Duration) -> Self {
        Self { started: Instant::now(), epoch_ms: unix_ms(), length, mode: Mutex::new(Mode::Runs) }
    }

    pub fn pin(&self, tick: Option<u64>) {
        *self.lock() = tick.map_or(Mode::Runs, Mode::Pinned);
    }

    pub fn hold(&self, tick: u64) {
        *self.lock() = Mode::Held(tick, Instant::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Mode> {
        self.mode.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn now(&self) -> Moment {
        let length = self.length.as_secs_f64().max(1e-9);
        let (tick, beyond) = match *self.lock() {
            Mode::Runs => {
                let elapsed = self.started.elapsed();
                let tick = (elapsed.as_nanos() / self.length.as_nanos().max(1)) as u64;
                (tick, elapsed.as_secs_f64() - tick as f64 * length)
            }
            Mode::Pinned(tick) => (tick, 0.0),
            Mode::Held(tick, since) => (tick, since.elapsed().as_secs_f64()),
        };
        Moment { tick, beyond: beyond.max(0.0), length, at_ms: unix_ms(), epoch_ms: self.epoch_ms }
    }
}
