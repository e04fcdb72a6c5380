//! One vocabulary for what leaves the host as Prometheus series: `/metrics`, remote write, and the queries that read it back.

use std::collections::BTreeMap;

use crate::catalogue::{Kind, Metric};
use crate::inventory::Subject;

/// The name of a catalogue metric's series. A plugin's own raw metrics do not leave under our name.
pub fn metric(metric: &Metric) -> String {
    let suffix = match metric.kind {
        Kind::Counter if !metric.name.ends_with("_total") => "_total",
        _ => "",
    };
    format!("kcloud_{}{suffix}", metric.name)
}

/// The labels of a subject's series, sorted.
pub fn labels(subject: &Subject) -> BTreeMap<String, &str> {
    let mut all: BTreeMap<String, &str> = BTreeMap::new();
    all.insert("cluster".into(), &subject.cluster);
    all.insert("kind".into(), subject.kind.name());
    // An identity may be told from another by its parent alone (a sensor's name): without the id two rows would be one series.
    all.insert("id".into(), &subject.id);
    for (k, v) in &subject.identity {
        let mut name = label_name(k);
        // Two keys may become one name; dropping either could make two subjects look the same.
        while all.get(&name).is_some_and(|known| **known != **v) {
            name.push('_');
        }
        all.insert(name, v);
    }
    all
}

/// A label's value between its quotes, in the text format and in PromQL.
pub fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A plugin's label key as Prometheus takes it. What begins with two underscores is Prometheus' own: `__name__` would rename
/// the metric.
fn label_name(key: &str) -> String {
    let mut name = key.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '_'), "_");
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if name.starts_with("__") { format!("x{name}") } else { name }
}
