//! What a new version says beside what the running one says: metrics lost and gained, values that differ. Pure.

use std::collections::HashMap;

use crate::catalogue::{Catalogue, MetricId};
use crate::inventory::batch::Batch;

/// Two readings of one thing at nearly one time that differ by more than this are worth a word.
const SHARE: f64 = 0.05;
/// Names in a report, at most.
const NAMED: usize = 50;

/// Metrics that occur in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricSet(Vec<u64>);

impl MetricSet {
    /// Those of a batch, gaps included: a value that is missing for now is no lost metric.
    pub fn of(batch: &Batch) -> Self {
        let mut set = Self::default();
        batch.points.iter().map(|p| p.metric).chain(batch.gaps.iter().map(|g| g.metric)).for_each(|m| set.insert(m));
        set
    }

    fn insert(&mut self, metric: MetricId) {
        let (word, bit) = (usize::from(metric.0) / 64, metric.0 % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    fn holds(&self, metric: MetricId) -> bool {
        self.0.get(usize::from(metric.0) / 64).is_some_and(|word| word >> (metric.0 % 64) & 1 == 1)
    }

    /// Names of those that `other` lacks.
    fn beyond(&self, other: &Self, catalogue: &Catalogue) -> Vec<String> {
        let all = (0..self.0.len() as u16 * 64).map(MetricId).filter(|m| self.holds(*m) && !other.holds(*m));
        all.take(NAMED).map(|m| catalogue.name(m).to_string()).collect()
    }
}

/// How two versions differ.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Difference {
    /// Targets that both read, or how often.
    pub cycles: u32,
    pub metrics_lost: Vec<String>,
    pub metrics_gained: Vec<String>,
    pub values_compared: u64,
    /// Beyond five in a hundred.
    pub values_different: u64,
    /// Metric and both values of the first that differ.
    pub examples: Vec<String>,
    /// Calls of the new version that failed while the old one's did not.
    pub failures: u32,
    pub last_failure: Option<String>,
}

impl Difference {
    /// Takes what both said of one target.
    pub fn sets(&mut self, old: &MetricSet, new: &MetricSet, catalogue: &Catalogue) {
        self.cycles += 1;
        merge(&mut self.metrics_lost, old.beyond(new, catalogue));
        merge(&mut self.metrics_gained, new.beyond(old, catalogue));
    }

    /// Compares value by value what both read of one target at nearly one time.
    pub fn values(&mut self, old: &Values, new: &Batch, catalogue: &Catalogue) {
        for p in &new.points {
            let Some(subject) = new.subjects.get(p.subject as usize) else { continue };
            let Some(before) = old.0.get(&(key(&subject.identity), p.metric)) else { continue };
            self.values_compared += 1;
            if (before - p.value).abs() > SHARE * before.abs().max(p.value.abs()).max(1.0) {
                self.values_different += 1;
                if self.examples.len() < 10 {
                    self.examples.push(format!("{}: {before} by the old, {} by the new", catalogue.name(p.metric), p.value));
                }
            }
        }
    }

    /// Whether nothing is missing.
    pub fn loses_nothing(&self) -> bool {
        self.metrics_lost.is_empty()
    }
}

/// The values of one answer, by identity and metric.
pub struct Values(HashMap<(String, MetricId), f64>);

impl Values {
    pub fn of(batch: &Batch) -> Self {
        let named = |p: &crate::inventory::batch::BatchPoint| {
            let subject = batch.subjects.get(p.subject as usize)?;
            Some(((key(&subject.identity), p.metric), p.value))
        };
        Self(batch.points.iter().filter_map(named).collect())
    }
}

fn key(identity: &[(String, String)]) -> String {
    identity.iter().map(|(k, v)| format!("{k}\u{1}{v}\u{2}")).collect()
}

fn merge(into: &mut Vec<String>, more: Vec<String>) {
    for name in more {
        if !into.contains(&name) && into.len() < NAMED {
            into.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::batch::{BatchGap, BatchPoint, BatchSubject};
    use crate::inventory::{Kind, Quality, Reason};

    fn batch(values: &[(&str, f64)]) -> Batch {
        let identity = vec![("uuid".to_owned(), "GPU-1".to_owned())];
        let subject = BatchSubject { kind: Kind::Accelerator, identity, labels: vec![], parent: None, observed_at_ms: None };
        let point = |(name, value): &(&str, f64)| BatchPoint {
            subject: 0,
            metric: Catalogue::known(name).unwrap(),
            value: *value,
            quality: Quality::Measured,
            at_ms: None,
        };
        Batch { subjects: vec![subject], points: values.iter().map(point).collect(), ..Batch::default() }
    }

    #[test]
    fn what_is_lost_and_gained_is_named_and_a_gap_is_no_loss() {
        let catalogue = Catalogue::default();
        let old = batch(&[("power_watts", 300.0), ("temperature_celsius", 50.0)]);
        let mut new = batch(&[("power_watts", 301.0), ("utilization_ratio", 0.5)]);
        let mut difference = Difference::default();
        difference.sets(&MetricSet::of(&old), &MetricSet::of(&new), &catalogue);
        difference.values(&Values::of(&old), &new, &catalogue);
        assert_eq!(
            (&difference.metrics_lost[..], &difference.metrics_gained[..]),
            (&["temperature_celsius".to_owned()][..], &["utilization_ratio".to_owned()][..])
        );
        assert_eq!((difference.values_compared, difference.values_different), (1, 0));
        new.gaps.push(BatchGap { subject: 0, metric: Catalogue::known("temperature_celsius").unwrap(), reason: Reason::Error });
        let mut again = Difference::default();
        again.sets(&MetricSet::of(&old), &MetricSet::of(&new), &catalogue);
        assert!(again.loses_nothing());
    }

    #[test]
    fn a_value_in_another_unit_is_seen() {
        let catalogue = Catalogue::default();
        let mut difference = Difference::default();
        difference.values(&Values::of(&batch(&[("power_watts", 300.0)])), &batch(&[("power_watts", 300_000.0)]), &catalogue);
        assert_eq!(difference.values_different, 1);
        assert!(difference.examples[0].contains("power_watts"));
    }
}
