//! Energy: watts over time, with what nobody observed left out and counted.

use crate::history::{Aggregate, History, HistoryError, Observation};

/// A gap is what is longer than this many usual distances; three intervals without a reading make it stale.
const GAP: i64 = 3;
/// Where two observations are all there is, their distance says nothing.
const LONGEST_MS: i64 = 5 * 60_000;

/// Joules over a window, and how much of it they are about.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Energy {
    /// `None` where nothing of the window was observed.
    pub joules: Option<f64>,
    pub covered_ms: i64,
    pub missing_ms: i64,
    /// Spans between two observations over which nothing is known.
    pub gaps: u32,
}

impl Energy {
    fn add(&mut self, joules: f64, span_ms: i64) {
        self.joules = Some(self.joules.unwrap_or(0.0) + joules);
        self.covered_ms += span_ms;
    }

    pub fn kwh(&self) -> Option<f64> {
        self.joules.map(|j| j / 3.6e6)
    }
}

/// Of observations in watts, in order of time, in `[start, end)`: between two that are near, the mean of both over their distance.
pub fn joules(observations: &[Observation], (start, end): (i64, i64)) -> Energy {
    let mut energy = Energy::default();
    let mut distances: Vec<i64> =
        observations.windows(2).filter(|w| w[0].1.is_some() && w[1].1.is_some()).map(|w| w[1].0 - w[0].0).filter(|d| *d > 0).collect();
    distances.sort_unstable();
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(0);
    let most = if distances.len() < 3 { LONGEST_MS } else { (usual * GAP).min(LONGEST_MS.max(usual)) };
    for pair in observations.windows(2) {
        let ((from, a), (to, b)) = (pair[0], pair[1]);
        match a.zip(b) {
            Some((a, b)) if to - from <= most => energy.add((a + b) / 2.0 * (to - from) as f64 / 1e3, to - from),
            _ if a.is_some() => energy.gaps += 1,
            _ => {}
        }
    }
    energy.missing_ms = (end - start - energy.covered_ms).max(0);
    energy
}

/// Of steps that hold means: each one that was observed counts over its length, within `[start, end)`.
pub fn joules_of_steps(steps: &[Observation], step_ms: i64, (start, end): (i64, i64)) -> Energy {
    let mut energy = Energy::default();
    let mut was_known = false;
    for (at, value) in steps {
        let span = (at + step_ms).min(end) - (*at).max(start);
        if span <= 0 {
            continue;
        }
        match value {
            Some(watts) => energy.add(watts * span as f64 / 1e3, span),
            None if was_known => energy.gaps += 1,
            None => {}
        }
        was_known = value.is_some();
    }
    energy.missing_ms = (end - start - energy.covered_ms).max(0);
    energy
}

/// Windows up to this are read raw, longer ones by the minute.
const RAW_MS: i64 = 6 * 3_600_000;
const MINUTE: i64 = 60_000;

/// Watts of one series over a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Statistics {
    /// Over time, not over observations: energy over the time that it is about.
    pub average: Option<f64>,
    pub least: Option<f64>,
    pub most: Option<f64>,
    pub energy: Energy,
}

/// What history says of a series of watts in `[start, end)`. Waits for the disk.
pub fn statistics(history: &dyn History, subject: &str, metric: &str, window: (i64, i64)) -> Result<Statistics, HistoryError> {
    let numbers = |all: &[Observation]| all.iter().filter_map(|(_, v)| *v).collect::<Vec<f64>>();
    let (energy, low, high, mean) = if window.1 - window.0 <= RAW_MS {
        let all = history.raw(subject, metric, window.0, window.1)?;
        let numbers = numbers(&all);
        (joules(&all, window), numbers.clone(), numbers.clone(), numbers)
    } else {
        let read = |how| history.range(subject, metric, window, MINUTE, how);
        let steps = read(Aggregate::Average)?;
        (joules_of_steps(&steps, MINUTE, window), numbers(&read(Aggregate::Minimum)?), numbers(&read(Aggregate::Maximum)?), numbers(&steps))
    };
    let of_observations = (!mean.is_empty()).then(|| mean.iter().sum::<f64>() / mean.len() as f64);
    let over_time = energy.joules.filter(|_| energy.covered_ms > 0).map(|j| j * 1e3 / energy.covered_ms as f64);
    Ok(Statistics {
        // One observation has no span.
        average: over_time.or(of_observations),
        least: low.into_iter().reduce(f64::min),
        most: high.into_iter().reduce(f64::max),
        energy,
    })
}
