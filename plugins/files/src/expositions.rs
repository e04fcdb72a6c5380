//! Expositions: a subject is what the labels of a sample say, so that its readings come from many lines.

use std::collections::{BTreeMap, HashMap};

use kcloud_collector_sdk::exposition::{Event, Format as Dialect, Labels, Parser, decode};
use kcloud_collector_sdk::{CollectError, SubjectRef};

use crate::read::{Body, Reader, Row};
use crate::table::Parent;
use crate::value::Got;

/// An answer or a file of an exposition, decompressed.
const MAX_TEXT: usize = 32 << 20;

impl Reader<'_, '_, '_> {
    pub(crate) fn expositions(&mut self) -> Result<(), CollectError> {
        let table = self.table;
        let is_file = table.files.is_some();
        let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4";
        let mut by_name: HashMap<&str, Vec<(usize, usize, usize)>> = HashMap::new();
        for (s, subject) in table.subjects.iter().enumerate() {
            for (m, metric) in subject.metrics.iter().enumerate() {
                metric.series.iter().enumerate().for_each(|(rank, name)| by_name.entry(name).or_default().push((s, m, rank)));
            }
        }
        // By subject and metric: how far down the list of names what was taken stood.
        let mut taken: BTreeMap<(usize, usize), (usize, f64, Option<i64>)> = BTreeMap::new();
        let mut subjects: BTreeMap<usize, (SubjectRef, usize)> = BTreeMap::new();
        for Body { place, bytes, content_type, .. } in self.bodies(accept)? {
            self.is_stale = is_file && self.age(&place);
            let text = match decode(&bytes, MAX_TEXT) {
                Ok(text) => text,
                Err(error) if !is_file => return Err(CollectError::Protocol(error.to_string())),
                Err(error) => {
                    self.problem(format!("{place}: {error}"));
                    self.batch.partial();
                    continue;
                }
            };
            // By the texts of labels that stood there before.
            let mut known: HashMap<(usize, u32), Option<SubjectRef>> = HashMap::new();
            for event in Parser::new(&text, Dialect::of(content_type.as_deref())) {
                let sample = match event {
                    Ok(Event::Sample(sample)) => sample,
                    Ok(_) => continue,
                    Err(bad) => {
                        self.batch
                            .problem(CollectError::Protocol(format!("{place}: column {}: {}", bad.column, bad.reason)), Some(bad.line));
                        continue;
                    }
                };
                let Some(wanted) = by_name.get(sample.name) else { continue };
                for (s, m, rank) in wanted {
                    let row = Row::Sample { labels: sample.labels };
                    let metric = &table.subjects[*s].metrics[*m];
                    let has = |(k, v): &(String, String)| sample.labels.get(k).as_deref().unwrap_or("") == v;
                    if !metric.matching.iter().all(has) {
                        continue;
                    }
                    let found = match sample.labels.id() {
                        Some(id) => *known.entry((*s, id)).or_insert_with(|| self.sampled(*s, &row)),
                        None => self.sampled(*s, &row),
                    };
                    let Some(of) = found else { continue };
                    if subjects.len() >= table.max_rows && !subjects.contains_key(&of.index()) {
                        self.disk
                            .cut(format!("{place}: more than {} subjects; the rest is left out: max_rows says how many", table.max_rows));
                        continue;
                    }
                    subjects.insert(of.index(), (of, *s));
                    match taken.get(&(of.index(), *m)) {
                        Some((before, ..)) if before < rank => {}
                        Some((before, value, _)) if before == rank => {
                            if *value != sample.value && !(value.is_nan() && sample.value.is_nan()) {
                                let text = format!(
                                    "line {}: {} stands twice for one {}, with another value; the first counts",
                                    sample.line, sample.name, table.subjects[*s].kind
                                );
                                self.problem(text);
                            }
                        }
                        _ => drop(taken.insert((of.index(), *m), (*rank, sample.value, sample.timestamp_ms))),
                    }
                }
            }
        }
        for (index, (of, s)) in subjects {
            for (m, metric) in table.subjects[s].metrics.iter().enumerate() {
                let (got, at_ms) = taken.get(&(index, m)).map_or((Got::Missing, None), |(_, value, at)| (Got::Number(*value), *at));
                self.reading(metric, of, got, at_ms, &Row::Sample { labels: Labels::default() });
            }
        }
        Ok(())
    }

    /// The subject of a sample, with those above it.
    fn sampled(&mut self, subject: usize, row: &Row<'_>) -> Option<SubjectRef> {
        let table = self.table;
        let definition = &table.subjects[subject];
        if !self.is_taken(&definition.only, row) {
            return None;
        }
        let parent = match definition.parent {
            Parent::Subject(above) => Some(self.sampled(above, row)?),
            _ => None,
        };
        self.subject(definition, row, parent)
    }
}
