//! Sources whose rows can be read here. To add one: implement [`Known`] with its mapping crate and list it.

use std::collections::BTreeMap;

use kcloud_collector_sdk::mapping::Mapping;
use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::{Batch, MetricDef, SubjectRef, Target};

/// One source: its names and what its rows mean.
pub(crate) trait Known {
    fn name(&self) -> &'static str;

    /// A regular expression that all its names match, for asking which there are.
    fn like(&self) -> &'static str;

    fn names(&self) -> Vec<&'static str>;

    fn definitions(&self) -> Vec<MetricDef>;

    /// Puts what rows say now into the batch.
    fn read(&self, target: &Target, rows: &[Series], scraped: &BTreeMap<(String, String), i64>, batch: &mut Batch);

    /// Names that hold a metric of the catalogue, each with its factor.
    fn holding(&self, metric: &str) -> Vec<(&'static str, f64)>;

    /// Label names under which an identity label may stand.
    fn spellings(&self, identity: &str) -> &'static [&'static str];

    /// The subject that a row is about, which is put into the batch.
    fn subject(&self, target: &Target, row: &Series, batch: &mut Batch) -> Option<SubjectRef>;

    /// Whether a number stands for "no reading".
    fn is_blank(&self, value: f64) -> bool;
}

/// In the order of their metrics in `describe`.
pub(crate) const KNOWN: [fn() -> Box<dyn Known>; 1] = [|| Box::new(Dcgm { first: 0, mapping: Mapping::new(dcgm_mapping::ROWS) })];

pub(crate) fn all() -> Vec<Box<dyn Known>> {
    KNOWN.iter().map(|k| k()).collect()
}

struct Dcgm {
    first: u32,
    mapping: Mapping,
}

impl Known for Dcgm {
    fn name(&self) -> &'static str {
        "dcgm-exporter"
    }

    fn like(&self) -> &'static str {
        "DCGM_FI_.*"
    }

    fn names(&self) -> Vec<&'static str> {
        dcgm_mapping::names().collect()
    }

    fn definitions(&self) -> Vec<MetricDef> {
        Mapping::definitions(dcgm_mapping::ROWS)
    }

    fn read(&self, target: &Target, rows: &[Series], scraped: &BTreeMap<(String, String), i64>, batch: &mut Batch) {
        let mut reader = dcgm_mapping::Reader::new(target, &self.mapping, self.first, batch);
        rows.iter().for_each(|row| dcgm_mapping::series(&mut reader, row, scraped));
        if reader.rows() > 0
            && let Err(error) = reader.finish()
        {
            batch.problem(error, None);
        }
    }

    fn holding(&self, metric: &str) -> Vec<(&'static str, f64)> {
        self.mapping.of_metric(metric).flat_map(|r| r.foreign.iter().map(|n| (*n, r.factor))).collect()
    }

    fn spellings(&self, identity: &str) -> &'static [&'static str] {
        match identity {
            "uuid" => &dcgm_mapping::UUID_LABELS,
            "node" => &["Hostname", "hostname", "node", "kubernetes_node"],
            "partition_id" => &["GPU_I_ID"],
            _ => &[],
        }
    }

    fn subject(&self, target: &Target, row: &Series, batch: &mut Batch) -> Option<SubjectRef> {
        let mut reader = dcgm_mapping::Reader::new(target, &self.mapping, self.first, batch);
        reader.place(row.name(), &row.labels).map(|place| place.subject)
    }

    fn is_blank(&self, value: f64) -> bool {
        !value.is_finite() || kcloud_collector_sdk::blank::dcgm(value).is_some()
    }
}
