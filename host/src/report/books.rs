//! Steps of watts into energy, peaks and parts.

use super::model::{Drawn, Price};
use crate::history::Observation;
use crate::power;

/// What steps of means come to over a span.
pub(super) fn drawn(steps: &[Observation], step: i64, span: (i64, i64), price: Option<&Price>) -> Drawn {
    let energy = power::joules_of_steps(steps, step, span);
    let within = |at: i64| at + step > span.0 && at < span.1;
    let peak = steps.iter().filter(|s| within(s.0)).filter_map(|(at, v)| Some(((*at).max(span.0), (*v)?)));
    let peak = peak.reduce(|best, next| if next.1 > best.1 { next } else { best });
    Drawn {
        energy_kwh: energy.kwh(),
        cost: cost(energy.kwh(), price),
        average_watts: energy.joules.filter(|_| energy.covered_ms > 0).map(|j| j * 1e3 / energy.covered_ms as f64),
        peak_watts: peak.map(|p| p.1),
        peak_time: peak.map(|p| p.0),
        covered_seconds: energy.covered_ms as f64 / 1e3,
        missing_seconds: energy.missing_ms as f64 / 1e3,
        gaps: energy.gaps,
    }
}

pub(super) fn cost(kwh: Option<f64>, price: Option<&Price>) -> Option<f64> {
    Some(kwh? * price?.per_kwh)
}

/// Steps of several series added up; a step is what is known of it.
pub(super) fn added(all: impl Iterator<Item = Vec<Observation>>) -> Vec<Observation> {
    all.reduce(|mut sum, next| {
        for (sum, next) in sum.iter_mut().zip(next) {
            sum.1 = match (sum.1, next.1) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        sum
    })
    .unwrap_or_default()
}

/// Seconds and kilowatt-hours of the steps in which a card's load was below this share of it.
pub(super) fn idle(watts: &[Observation], load: &[Observation], step: i64, span: (i64, i64)) -> (f64, Option<f64>) {
    const IDLE_BELOW: f64 = 0.01;
    let is_idle = |l: Option<f64>| l.is_some_and(|l| l < IDLE_BELOW);
    let only: Vec<Observation> = watts.iter().zip(load).map(|(w, l)| (w.0, w.1.filter(|_| is_idle(l.1)))).collect();
    let energy = power::joules_of_steps(&only, step, span);
    (energy.covered_ms as f64 / 1e3, energy.kwh())
}

/// Means of about so many steps, for a chart.
pub(super) fn thinned(steps: &[Observation], step: i64, most: usize) -> (Vec<Observation>, i64) {
    let each = steps.len().div_ceil(most.max(1)).max(1);
    let mean = |part: &[Observation]| {
        let known: Vec<f64> = part.iter().filter_map(|p| p.1).collect();
        (part[0].0, (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64))
    };
    (steps.chunks(each).map(mean).collect(), step * each as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_across_the_edge_counts_for_the_part_that_is_inside() {
        // Three hours of 1, 2 and 3 kW; the middle of the first to the middle of the last.
        let steps = [(0, Some(1e3)), (3_600_000, Some(2e3)), (7_200_000, Some(3e3))];
        let price = Price { per_kwh: 100.0, currency: "KRW".into() };
        let all = drawn(&steps, 3_600_000, (1_800_000, 9_000_000), Some(&price));
        assert_eq!((all.energy_kwh, all.cost, all.average_watts), (Some(4.0), Some(400.0), Some(2_000.0)));
        assert_eq!((all.peak_watts, all.peak_time, all.covered_seconds), (Some(3_000.0), Some(7_200_000), 7_200.0));
    }

    #[test]
    fn idle_counts_only_where_the_load_is_known() {
        let watts = [(0, Some(100.0)), (60_000, Some(100.0)), (120_000, Some(100.0))];
        let load = [(0, Some(0.0)), (60_000, Some(0.5)), (120_000, None)];
        assert_eq!(idle(&watts, &load, 60_000, (0, 180_000)), (60.0, Some(100.0 * 60.0 / 3.6e6)));
    }
}
