//! Nodes, pods and containers of Kubernetes as subjects and readings, whoever speaks of them: the API, kube-state-metrics, cAdvisor.
//!
//! In: what a source says, put into [`model`]'s shapes. Out: subjects with the labels and metrics of spec/DATA_MODELS.md, section 9,
//! the same for every source. A source's silence is never a zero here.

pub mod cadvisor;
pub mod held;
pub mod model;
pub mod owner;
pub mod resource;
pub mod state;

use std::borrow::Cow;
use std::collections::BTreeMap;

use kcloud_collector_sdk::exposition::Labels;
use kcloud_collector_sdk::promql::Series;

/// Labels of a row, scraped or held by a Prometheus.
pub trait Get {
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;

    fn each(&self, with: &mut dyn FnMut(&str, &str));
}

impl Get for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(|v| Cow::Borrowed(v.as_str()))
    }

    fn each(&self, with: &mut dyn FnMut(&str, &str)) {
        self.iter().for_each(|(k, v)| with(k, v));
    }
}

impl Get for Labels<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        Labels::get(self, name)
    }

    fn each(&self, with: &mut dyn FnMut(&str, &str)) {
        self.iter().for_each(|(k, v)| with(k, &v));
    }
}

/// A label that says something. Behind a Prometheus without `honor_labels`, `pod` and its like are those of the exporter, and what
/// the exporter said is `exported_pod`.
pub(crate) fn said<'a>(labels: &'a impl Get, name: &str) -> Option<Cow<'a, str>> {
    let exported = match name {
        "namespace" => labels.get("exported_namespace"),
        "pod" => labels.get("exported_pod"),
        "container" => labels.get("exported_container"),
        "node" => labels.get("exported_node"),
        _ => None,
    };
    exported.or_else(|| labels.get(name)).filter(|v| !v.is_empty() && v != "<none>")
}

/// When a series of an instant query was scraped, in ms; `scraped` is the answer of `timestamp(up)`.
pub fn scraped_at(series: &Series, scraped: &BTreeMap<(String, String), i64>) -> Option<i64> {
    let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
    scraped.get(&(label("job"), label("instance"))).copied()
}

/// The id of a container without the runtime's scheme: `containerd://abc` and `abc` are one.
pub fn runtime_id(id: &str) -> Option<&str> {
    let bare = id.rsplit_once("://").map_or(id, |(_, bare)| bare);
    (!bare.is_empty()).then_some(bare)
}
