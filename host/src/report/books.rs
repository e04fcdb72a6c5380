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

/// A source that tells less often than each step is silent in between: what it said stands for as many steps as it is usually silent,
/// and never for longer.
pub(super) fn held(mut steps: Vec<Observation>) -> Vec<Observation> {
    let known: Vec<usize> = steps.iter().enumerate().filter(|(_, s)| s.1.is_some()).map(|(i, _)| i).collect();
    let mut distances: Vec<usize> = known.windows(2).map(|w| w[1] - w[0]).collect();
    // Two or three observations say nothing of what is usual.
    if distances.len() < 4 {
        return steps;
    }
    distances.sort_unstable();
    // Every 90 s is one minute, two, one, two: most of them are not longer than this.
    let usual = distances[distances.len() * 3 / 4];
    for (place, at) in known.iter().enumerate().filter(|_| usual > 1) {
        let next = known.get(place + 1).copied().unwrap_or(steps.len());
        for i in at + 1..(at + usual).min(next) {
            steps[i].1 = steps[*at].1;
        }
    }
    steps
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

/// Seconds of the steps in which a card's load was below this share of it, and the kilowatt-hours of those of them whose watts are
/// known: none where it was never idle, unknown where no watts are.
pub(super) fn idle(watts: &[Observation], load: &[Observation], step: i64, span: (i64, i64)) -> (f64, Option<f64>) {
    const IDLE_BELOW: f64 = 0.01;
    let idle: Vec<Observation> = load.iter().map(|(at, l)| (*at, l.filter(|l| *l < IDLE_BELOW))).collect();
    let seconds = power::joules_of_steps(&idle, step, span).covered_ms as f64 / 1e3;
    let only: Vec<Observation> = watts.iter().zip(&idle).map(|(w, l)| (w.0, w.1.filter(|_| l.1.is_some()))).collect();
    let energy = power::joules_of_steps(&only, step, span).kwh();
    (seconds, energy.or((seconds == 0.0 && load.iter().any(|l| l.1.is_some())).then_some(0.0)))
}

/// Steps in which something that is known at other times of the window is not: a total over the others is less than all.
pub(super) fn silent(all: &[Vec<Observation>]) -> Vec<bool> {
    let heard: Vec<&Vec<Observation>> = all.iter().filter(|of| of.iter().any(|o| o.1.is_some())).collect();
    let steps = heard.iter().map(|of| of.len()).max().unwrap_or(0);
    let is_silent = |i: usize| {
        let known = heard.iter().filter(|of| of.get(i).is_some_and(|o| o.1.is_some())).count();
        known > 0 && known < heard.len()
    };
    (0..steps).map(is_silent).collect()
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
    fn a_slow_source_stands_for_its_usual_distance_and_a_gap_stays_a_gap() {
        let at = |i: i64, v: Option<f64>| (i * 60_000, v);
        // Every five minutes for an hour, then nothing for an hour, then again.
        let steps: Vec<Observation> = (0..180).map(|i| at(i, (i % 5 == 0 && !(60..120).contains(&i)).then_some(1_000.0))).collect();
        let steps = held(steps);
        assert_eq!(steps.iter().filter(|s| s.1.is_some()).count(), 120);
        assert!(steps[60..120].iter().all(|s| s.1.is_none()));
        let dense: Vec<Observation> = (0..60).map(|i| at(i, (i != 30).then_some(1.0))).collect();
        assert_eq!(held(dense)[30].1, None);
    }

    #[test]
    fn idle_counts_only_where_the_load_is_known() {
        let watts = [(0, Some(100.0)), (60_000, Some(100.0)), (120_000, Some(100.0))];
        let load = [(0, Some(0.0)), (60_000, Some(0.5)), (120_000, None)];
        assert_eq!(idle(&watts, &load, 60_000, (0, 180_000)), (60.0, Some(100.0 * 60.0 / 3.6e6)));
        let unread = watts.map(|(at, _)| (at, None));
        assert_eq!(idle(&unread, &load, 60_000, (0, 180_000)), (60.0, None), "idle, and nobody knows at what cost");
        let busy = watts.map(|(at, _)| (at, Some(0.9)));
        assert_eq!(idle(&unread, &busy, 60_000, (0, 180_000)), (0.0, Some(0.0)), "never idle costs nothing");
    }

    #[test]
    fn a_total_over_some_of_those_that_were_heard_of_is_no_total() {
        let of = |all: [Option<f64>; 3]| all.iter().enumerate().map(|(i, v)| (i as i64, *v)).collect::<Vec<Observation>>();
        let (whole, silent_for_a_while, never) = (of([Some(1.0); 3]), of([Some(2.0), None, Some(2.0)]), of([None; 3]));
        assert_eq!(silent(&[whole, silent_for_a_while, never]), [false, true, false]);
        assert_eq!(silent(&[of([None, Some(1.0), None])]), [false; 3], "where all are silent, nothing is shown");
    }
}
