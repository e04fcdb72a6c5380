//! Sources whose rows can be read here. To add one: implement [`Known`] with its mapping crate and list it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kcloud_collector_sdk::exporter::{self, Out, Source};
use kcloud_collector_sdk::mapping::Mapping;
use kcloud_collector_sdk::promql::{Ask, Series};
use kcloud_collector_sdk::{Batch, MetricDef, SubjectRef, Target};
use kube_mapping::model::Writer;

/// One source: its names and what its rows mean.
pub(crate) trait Known {
    fn name(&self) -> &'static str;

    /// A regular expression that all its names match, for asking which there are.
    fn like(&self) -> &'static str;

    fn asks(&self) -> &'static [Ask];

    fn definitions(&self) -> Vec<MetricDef>;

    /// Puts what rows say now into the batch.
    fn read(&mut self, target: &Target, rows: &[Series], scraped: &BTreeMap<(String, String), i64>, batch: &mut Batch);

    /// Names that hold a metric of the catalogue, each with its factor. Of a source whose rows mean something only together there is
    /// no past to be had.
    fn holding(&self, _metric: &str) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Label names under which an identity label may stand.
    fn spellings(&self, _identity: &str) -> &'static [&'static str] {
        &[]
    }

    /// The subject that a row is about, which is put into the batch.
    fn subject(&self, _target: &Target, _row: &Series, _batch: &mut Batch) -> Option<SubjectRef> {
        None
    }

    /// Whether a number stands for "no reading".
    fn is_blank(&self, value: f64) -> bool {
        !value.is_finite()
    }
}

/// Makes a source whose first metric has this place.
type New = fn(u32) -> Box<dyn Known>;

/// In the order of their metrics in `describe`; each is told the place of its first.
const KNOWN: &[New] = &[
    |first| Box::new(Dcgm { first, mapping: Mapping::new(dcgm_mapping::ROWS) }),
    |first| Box::new(KubeStateMetrics { first }),
    |first| Box::new(Cadvisor { first }),
    rows::<node_exporter_mapping::NodeExporter>,
    rows::<ipmi_exporter_mapping::IpmiExporter>,
    rows::<kepler_mapping::Kepler>,
    rows::<openstack_mapping::OpenStack>,
    rows::<libvirt_mapping::Libvirt>,
    rows::<furiosa_mapping::Furiosa>,
    rows::<rebellions_mapping::Rebellions>,
    rows::<all_smi_mapping::AllSmi>,
    rows::<ascend_mapping::Ascend>,
    rows::<amd_mapping::Amd>,
    rows::<intel_gaudi_mapping::Gaudi>,
    rows::<intel_gpu_mapping::IntelGpu>,
    rows::<nvidia_gpu_exporter_mapping::NvidiaGpuExporter>,
    rows::<tenstorrent_mapping::Tenstorrent>,
    rows::<google_tpu_mapping::GoogleTpu>,
];

pub(crate) fn all() -> Vec<Box<dyn Known>> {
    let mut first = 0;
    let mut place = |known: &New| {
        let known = known(first);
        first += known.definitions().len() as u32;
        known
    };
    KNOWN.iter().map(&mut place).collect()
}

/// Any source that reads whole pages.
struct Rows<S> {
    first: u32,
    source: S,
}

fn rows<S: Source + Default + 'static>(first: u32) -> Box<dyn Known> {
    Box::new(Rows { first, source: S::default() })
}

impl<S: Source> Known for Rows<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn like(&self) -> &'static str {
        S::LIKE
    }

    fn asks(&self) -> &'static [Ask] {
        self.source.asks()
    }

    fn definitions(&self) -> Vec<MetricDef> {
        exporter::definitions(S::METRICS)
    }

    fn read(&mut self, target: &Target, rows: &[Series], scraped: &BTreeMap<(String, String), i64>, batch: &mut Batch) {
        exporter::read_series(&mut self.source, target, rows, scraped, &mut Out::new::<S>(batch, self.first));
    }
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

    fn asks(&self) -> &'static [Ask] {
        static ASKS: LazyLock<[Ask; 1]> = LazyLock::new(|| [Ask::Rows(dcgm_mapping::names().collect::<Vec<_>>().leak(), "")]);
        &*ASKS
    }

    fn definitions(&self) -> Vec<MetricDef> {
        Mapping::definitions(dcgm_mapping::ROWS)
    }

    fn read(&mut self, target: &Target, rows: &[Series], scraped: &BTreeMap<(String, String), i64>, batch: &mut Batch) {
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

struct KubeStateMetrics {
    first: u32,
}

impl Known for KubeStateMetrics {
    fn name(&self) -> &'static str {
        "kube-state-metrics"
    }

    fn like(&self) -> &'static str {
        "kube_(node|pod|namespace|replicaset|job)_.*"
    }

    fn asks(&self) -> &'static [Ask] {
        &[Ask::Rows(kube_mapping::state::NAMES, "")]
    }

    fn definitions(&self) -> Vec<MetricDef> {
        kube_mapping::model::definitions()
    }

    fn read(&mut self, _: &Target, rows: &[Series], scraped: &BTreeMap<(String, String), i64>, batch: &mut Batch) {
        let mut state = kube_mapping::state::State::new();
        each(rows, scraped, |name, labels, value, at_ms| state.row(name, labels, value, at_ms));
        if state.rows() > 0
            && let Err(error) = state.finish(&mut Writer::new(self.first), batch)
        {
            batch.problem(error, None);
        }
    }
}

struct Cadvisor {
    first: u32,
}

impl Known for Cadvisor {
    fn name(&self) -> &'static str {
        "cadvisor"
    }

    fn like(&self) -> &'static str {
        "(container|machine)_.*"
    }

    fn asks(&self) -> &'static [Ask] {
        static ASKS: LazyLock<[Ask; 1]> = LazyLock::new(|| [Ask::Rows(kube_mapping::cadvisor::names().collect::<Vec<_>>().leak(), "")]);
        &*ASKS
    }

    fn definitions(&self) -> Vec<MetricDef> {
        kube_mapping::model::definitions()
    }

    fn read(&mut self, target: &Target, rows: &[Series], scraped: &BTreeMap<(String, String), i64>, batch: &mut Batch) {
        let mut all = kube_mapping::cadvisor::Cadvisor::new(target);
        each(rows, scraped, |name, labels, value, at_ms| all.row(name, labels, value, at_ms));
        if all.rows() > 0
            && let Err(error) = all.finish(&mut Writer::new(self.first), batch, &mut Default::default())
        {
            batch.problem(error, None);
        }
    }

    /// Of its containers, what is one row.
    fn holding(&self, metric: &str) -> Vec<(&'static str, f64)> {
        kube_mapping::cadvisor::holding(metric).map(|name| (name, 1.0)).into_iter().collect()
    }

    fn subject(&self, target: &Target, row: &Series, batch: &mut Batch) -> Option<SubjectRef> {
        kube_mapping::cadvisor::Cadvisor::new(target).subject(&row.labels, batch)
    }
}

/// Hands out every sample with when it was scraped; what is no number is none of a reader's.
fn each(
    rows: &[Series],
    scraped: &BTreeMap<(String, String), i64>,
    mut take: impl FnMut(&str, &BTreeMap<String, String>, f64, Option<i64>),
) {
    for series in rows {
        let at_ms = kube_mapping::scraped_at(series, scraped);
        series.samples().filter_map(|(_, value)| value).for_each(|value| take(series.name(), &series.labels, value, at_ms));
    }
}
