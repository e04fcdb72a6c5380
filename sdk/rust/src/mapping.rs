//! Tables from foreign names to the catalogue: data that a plugin declares once.

use std::collections::HashMap;

use crate::{MetricDef, MetricKind, Quality};

/// One metric of the catalogue and what a source calls it.
pub struct Row {
    /// Old and new spellings; they carry the same value.
    pub foreign: &'static [&'static str],
    pub metric: &'static str,
    pub unit: &'static str,
    pub kind: MetricKind,
    /// From the source's unit to the catalogue's.
    pub factor: f64,
}

/// Finds rows by foreign name.
pub struct Mapping {
    rows: &'static [Row],
    by_name: HashMap<&'static str, usize>,
}

impl Mapping {
    pub fn new(rows: &'static [Row]) -> Self {
        let named = rows.iter().enumerate().flat_map(|(i, r)| r.foreign.iter().map(move |n| (*n, i)));
        Self { rows, by_name: named.collect() }
    }

    /// The row of a foreign name, with its number.
    pub fn find(&self, foreign: &str) -> Option<(usize, &'static Row)> {
        self.by_name.get(foreign).map(|i| (*i, &self.rows[*i]))
    }

    /// Rows that are kept under a metric of the catalogue.
    pub fn of_metric<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = &'static Row> + 'a {
        self.rows.iter().filter(move |r| r.metric == metric)
    }

    /// The definitions, in order of the rows.
    pub fn definitions(rows: &'static [Row]) -> Vec<MetricDef> {
        let define = |r: &Row| definition(r.metric, r.unit, r.kind, Quality::Measured);
        rows.iter().map(define).collect()
    }
}

/// One definition.
pub fn definition(name: &str, unit: &str, kind: MetricKind, quality: Quality) -> MetricDef {
    MetricDef { name: name.to_owned(), help: String::new(), unit: unit.to_owned(), kind, quality, states: Vec::new() }
}
