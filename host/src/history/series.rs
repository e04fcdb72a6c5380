//! Which number a series has. Numbers are given once and kept; they index the heads and the files' directories.

use std::collections::HashMap;
use std::sync::Arc;

/// Between subject and metric in the stored name; neither holds a control character.
const BETWEEN: char = '\0';

#[derive(Default)]
pub(super) struct Series {
    /// A subject's series by metric: a short list, so that a fleet's names are not repeated for each series.
    subjects: HashMap<Arc<str>, Vec<(u16, u32)>>,
    metrics: HashMap<Arc<str>, u16>,
    next: u32,
    /// Given since the last [`Series::saved`].
    unsaved: Vec<(String, u32)>,
}

impl Series {
    /// Takes a stored name back in.
    pub(super) fn restore(&mut self, name: &str, id: u32) {
        let Some((subject, metric)) = name.split_once(BETWEEN) else { return };
        let metric = self.metric(&metric.into());
        match self.subjects.get_mut(subject) {
            Some(all) => {
                all.reserve_exact(1);
                all.push((metric, id));
            }
            None => drop(self.subjects.insert(subject.into(), vec![(metric, id)])),
        }
        self.next = self.next.max(id + 1);
    }

    pub(super) fn get(&self, subject: &str, metric: &str) -> Option<u32> {
        let metric = self.metrics.get(metric)?;
        self.subjects.get(subject)?.iter().find(|(m, _)| m == metric).map(|(_, id)| *id)
    }

    fn metric(&mut self, metric: &Arc<str>) -> u16 {
        match self.metrics.get(metric) {
            Some(known) => *known,
            None => {
                let new = self.metrics.len() as u16;
                self.metrics.insert(metric.clone(), new);
                new
            }
        }
    }

    /// The number of a series, given now if it is new.
    pub(super) fn number(&mut self, subject: &Arc<str>, metric: &Arc<str>) -> u32 {
        let m = self.metric(metric);
        if !self.subjects.contains_key(subject) {
            self.subjects.insert(subject.clone(), Vec::new());
        }
        let (Some(all), next) = (self.subjects.get_mut(subject), self.next) else { return u32::MAX };
        if let Some((_, id)) = all.iter().find(|(known, _)| *known == m) {
            return *id;
        }
        // A subject has few, once; a fleet has many subjects.
        all.reserve_exact(1);
        all.push((m, next));
        self.next += 1;
        self.unsaved.push((format!("{subject}{BETWEEN}{metric}"), next));
        next
    }

    /// Names that are not on disk yet.
    pub(super) fn unsaved(&self) -> &[(String, u32)] {
        &self.unsaved
    }

    /// The first `count` of [`Series::unsaved`] are on disk now.
    pub(super) fn saved(&mut self, count: usize) {
        self.unsaved.drain(..count);
        self.unsaved.shrink_to(2 * self.unsaved.len());
    }

    /// Subject and metric of each series from a number on, in no order.
    pub(super) fn names_from(&self, first: u32) -> Vec<(u32, Arc<str>, Arc<str>)> {
        let mut metrics: Vec<&Arc<str>> = self.metrics.keys().collect();
        metrics.sort_by_key(|name| self.metrics[*name]);
        let all = self.subjects.iter().flat_map(|(subject, all)| all.iter().map(move |(metric, id)| (*id, subject, *metric)));
        let new = all.filter(|(id, ..)| *id >= first);
        new.filter_map(|(id, subject, metric)| Some((id, subject.clone(), (*metrics.get(metric as usize)?).clone()))).collect()
    }

    /// Those that have a series of a metric, in order.
    pub(super) fn subjects(&self, metric: &str) -> Vec<Arc<str>> {
        let Some(metric) = self.metrics.get(metric) else { return Vec::new() };
        let of = self.subjects.iter().filter(|(_, all)| all.iter().any(|(m, _)| m == metric));
        let mut subjects: Vec<Arc<str>> = of.map(|(subject, _)| subject.clone()).collect();
        subjects.sort_unstable();
        subjects
    }

    pub(super) fn count(&self) -> u32 {
        self.next
    }
}
