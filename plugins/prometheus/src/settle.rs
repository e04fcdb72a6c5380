//! Two sources of one server may say the same of one subject: RAPL joules by node_exporter and by Kepler, a card's by its exporter and
//! by Kepler. Of a gauge the better reading counts. Two counters count from different beginnings: changing from one to the other would
//! look like a burst, so that the one that was taken first is kept while it is there.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use kcloud_collector_sdk::{Batch, MetricDef, MetricKind};

/// Longer than two readings of a counter are joined by the host.
const KEPT_MS: u64 = 11 * 60_000;

/// What is described, and which of two counters is taken.
pub(crate) struct Settle {
    /// By described metric: the first of its name, its rank among those of one name (the better first), and whether it counts.
    /// `None` where no other has its name.
    metrics: Vec<Option<(u32, u32, bool)>>,
    /// By subject and name: the metric that is taken, and when it was last said.
    taken: HashMap<(u64, u32), (u32, u64)>,
}

impl Settle {
    pub(crate) fn new(described: &[MetricDef]) -> Self {
        let first = |name: &str| described.iter().position(|d| d.name == name).unwrap_or_default() as u32;
        let ranked = |(place, d): (usize, &MetricDef)| {
            let rank = d.quality as u32 * described.len() as u32 + place as u32;
            let is_shared = described.iter().filter(|other| other.name == d.name).count() > 1;
            is_shared.then(|| (first(&d.name), rank, d.kind == MetricKind::Counter))
        };
        Self { metrics: described.iter().enumerate().map(ranked).collect(), taken: HashMap::new() }
    }

    /// Leaves one reading of each metric and subject.
    pub(crate) fn settle(&mut self, batch: &mut Batch, now_ms: u64) {
        let out = batch.raw();
        let mut said: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
        let points = out.points.iter().map(|p| (p.metric, p.subject)).chain(out.timed_points.iter().map(|p| (p.metric, p.subject)));
        for (metric, subject) in points {
            if let Some(Some((name, ..))) = self.metrics.get(metric as usize) {
                let of = said.entry((subject, *name)).or_default();
                if !of.contains(&metric) {
                    of.push(metric);
                }
            }
        }
        let mut dropped: HashSet<(u32, u32)> = HashSet::new();
        for ((subject, name), metrics) in said {
            let rank = |metric: &u32| self.metrics.get(*metric as usize).copied().flatten();
            let Some(best) = metrics.iter().copied().min_by_key(|m| rank(m).map(|(_, rank, _)| rank)) else { continue };
            let s = &out.subjects[subject as usize];
            // Of what comes and goes every hour one source alone counts anything.
            let is_kept = rank(&best).is_some_and(|(.., counts)| counts) && !matches!(&*s.kind, "pod" | "container" | "process");
            let taken = match is_kept {
                false => best,
                true => {
                    let mut hasher = DefaultHasher::new();
                    (s.kind.as_str(), s.parent.map(|p| identity(&out.subjects[p as usize])), identity(s)).hash(&mut hasher);
                    let entry = self.taken.entry((hasher.finish(), name)).or_insert((best, now_ms));
                    if metrics.contains(&entry.0) || now_ms.saturating_sub(entry.1) > KEPT_MS {
                        let kept = if metrics.contains(&entry.0) { entry.0 } else { best };
                        *entry = (kept, now_ms);
                    }
                    entry.0
                }
            };
            dropped.extend(metrics.into_iter().filter(|m| *m != taken).map(|m| (m, subject)));
        }
        if !dropped.is_empty() {
            out.points.retain(|p| !dropped.contains(&(p.metric, p.subject)));
            out.timed_points.retain(|p| !dropped.contains(&(p.metric, p.subject)));
        }
        self.taken.retain(|_, (_, at)| now_ms.saturating_sub(*at) <= 2 * KEPT_MS);
    }
}

fn identity(subject: &kcloud_collector_sdk::bindings::kcloud::collector::types::Subject) -> Vec<(&str, &str)> {
    subject.identity.iter().map(|l| (l.key.as_str(), l.value.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcloud_collector_sdk::mapping::definition;
    use kcloud_collector_sdk::{Label, Metric, Quality};

    fn described() -> Vec<MetricDef> {
        vec![
            definition("cpu_energy_joules", "joules", MetricKind::Counter, Quality::Measured),
            definition("power_watts", "watts", MetricKind::Gauge, Quality::Derived),
            definition("cpu_energy_joules", "joules", MetricKind::Counter, Quality::Measured),
            definition("power_watts", "watts", MetricKind::Gauge, Quality::Measured),
        ]
    }

    fn settled(settle: &mut Settle, said: &[(u32, f64)], now_ms: u64) -> Vec<f64> {
        let mut batch = Batch::new(described());
        let node = batch.subject("node", "a", None, |s| s.identity = vec![Label { key: "node".into(), value: "worker1".into() }]);
        said.iter().for_each(|(metric, value)| batch.point(Metric(*metric), node, *value, None));
        settle.settle(&mut batch, now_ms);
        batch.finish().points.iter().map(|p| p.value).collect()
    }

    #[test]
    fn of_two_gauges_the_better_counts_and_of_two_counters_the_one_that_was_taken_first() {
        let mut settle = Settle::new(&described());
        assert_eq!(settled(&mut settle, &[(1, 100.0), (3, 101.0)], 0), [101.0], "measured before derived");
        assert_eq!(settled(&mut settle, &[(2, 50.0)], 0), [50.0]);
        assert_eq!(settled(&mut settle, &[(0, 9_000.0), (2, 60.0)], 15_000), [60.0], "the first stays though the other is listed first");
        assert!(settled(&mut settle, &[(0, 9_010.0)], 30_000).is_empty(), "no burst where it is silent once");
        assert_eq!(settled(&mut settle, &[(0, 9_020.0), (2, 70.0)], 45_000), [70.0]);
        assert_eq!(settled(&mut settle, &[(0, 9_900.0)], 45_000 + KEPT_MS + 1), [9_900.0], "gone for good");
        assert_eq!(settled(&mut settle, &[(1, 99.0)], 0), [99.0], "alone it counts as it is");
    }
}
