//! From a snapshot to the bytes of a frame.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::channel::Id;
use super::threshold::{Seen, Told};
use super::topic::{Filter, Resource, Topic, What, Wire};
use crate::alerts::Transition;
use crate::api::rfc3339;
use crate::api::v1::monitoring::{PARTS, totals, watts};
use crate::api::v1::view::converted;
use crate::inventory::{Kind, Reason, Sequence, Snapshot, Subject};
use crate::power::Sum;

/// A frame in the making.
pub struct Made {
    pub text: String,
    pub is_update: bool,
}

/// What was said before, for what only changes are said of, and for what is to be told.
#[derive(Default)]
pub struct Maker {
    /// What was said last of each resource, as a hash, and by which frame.
    values: HashMap<Arc<str>, (u64, Sequence)>,
    seen: Seen,
}

/// One resource in a frame.
struct Row<'a> {
    id: &'a Arc<str>,
    cluster: &'a str,
    node: Option<&'a str>,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    field: &'a str,
    value: Option<f64>,
    reason: Option<Reason>,
}

impl Row<'_> {
    /// Of everything that is said.
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let text = (self.cluster, self.node, self.namespace, self.name);
        (text, self.value.map(f64::to_bits), self.reason).hash(&mut hasher);
        hasher.finish()
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("resource_id", self.id)?;
        map.serialize_entry("cluster", self.cluster)?;
        map.serialize_entry("node", &self.node)?;
        if let Some(namespace) = self.namespace {
            map.serialize_entry("namespace", namespace)?;
        }
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry(self.field, &self.value)?;
        if let Some(reason) = self.reason {
            map.serialize_entry("reason", &reason)?;
        }
        map.end()
    }
}

fn of_subject<'a>(s: &'a Subject, id: &'a Arc<str>, field: &'a str, value: Option<f64>, reason: Option<Reason>) -> Row<'a> {
    Row {
        id,
        cluster: &s.cluster,
        node: s.node.as_deref(),
        namespace: s.label("namespace"),
        name: s.label("name").or_else(|| s.label("device")).or_else(|| s.label("node")),
        field,
        value,
        reason: reason.filter(|_| value.is_none()),
    }
}

const WATTS: &str = "power_watts";

/// Watts of each of a resource, as the account knows them.
fn each_power<'a>(snapshot: &'a Snapshot, resource: Resource, filter: &Filter, each: &mut dyn FnMut(Row<'a>)) {
    let account = snapshot.account();
    let unknown = |value: Option<f64>| value.is_none().then_some(Reason::Absent);
    match resource.kind() {
        Kind::Cluster => {
            let mut names: Vec<&Arc<str>> = account.machines(None).map(|s| &s.cluster).filter(|c| filter.has_cluster(c)).collect();
            names.sort_unstable();
            names.dedup();
            for id in names {
                let value = watts(account.total(Some(id)).watts);
                each(Row { id, cluster: id, node: None, namespace: None, name: Some(id), field: WATTS, value, reason: unknown(value) });
            }
        }
        Kind::Node => {
            let is = |s: &crate::power::Server| filter.has_cluster(&s.cluster) && filter.node.as_deref().is_none_or(|n| *s.name == *n);
            for s in account.machines(None).filter(|s| is(s)) {
                let value = watts(s.watts());
                let (id, name) = (&s.id, Some(&*s.name));
                each(Row { id, cluster: &s.cluster, node: name, namespace: None, name, field: WATTS, value, reason: unknown(value) });
            }
        }
        Kind::Accelerator => {
            for server in account.machines(None).filter(|s| filter.has_cluster(&s.cluster)) {
                for (card, w) in account.cards_of(snapshot, server).filter(|(card, _)| filter.takes(resource, card)) {
                    let value = watts(w.map(|w| w.watts));
                    let why = crate::catalogue::Catalogue::known(WATTS).and_then(|m| card.gap(m));
                    each(of_subject(card, &card.id, WATTS, value, why.or(unknown(value))));
                }
            }
        }
        kind => {
            // A share names its node by the id.
            let node = |s: &'a crate::power::Share| snapshot.get(s.node.as_deref()?)?.node.as_deref();
            let is = |s: &&'a crate::power::Share| {
                s.kind == kind
                    && filter.has_cluster(&s.cluster)
                    && filter.node.as_deref().is_none_or(|n| node(s) == Some(n))
                    && filter.namespace.as_deref().is_none_or(|n| *s.namespace == *n)
            };
            for s in snapshot.workloads().shares.iter().filter(is) {
                let value = watts(s.watts());
                let row = Row {
                    id: &s.id,
                    cluster: &s.cluster,
                    node: node(s),
                    namespace: Some(&s.namespace),
                    name: Some(&s.name),
                    field: WATTS,
                    value,
                    reason: unknown(value),
                };
                each(row);
            }
        }
    }
}

fn each_row<'a>(topic: &'a Topic, snapshot: &'a Snapshot, each: &mut dyn FnMut(Row<'a>)) {
    match &topic.what {
        What::Power(None) => {}
        What::Power(Some(resource)) => each_power(snapshot, *resource, &topic.filter, each),
        What::Metrics(metric, resource) => {
            let factor = metric.factor();
            for s in snapshot.of_kind(resource.kind()).iter().filter(|s| topic.filter.takes(*resource, s)) {
                let value = s.number(metric.id).map(|v| converted(v, factor));
                each(of_subject(s, &s.id, &metric.field, value, s.gap(metric.id)));
            }
        }
    }
}

/// Which of the rows are said.
enum Which<'a> {
    All,
    Changed(&'a mut HashMap<Arc<str>, (u64, Sequence)>),
}

/// An update, and what is drawn by how many of what it is about.
fn update(topic: &Topic, name: &str, snapshot: &Snapshot, which: Which<'_>) -> (String, Sum) {
    let kind = format!("{}_update", topic.stream());
    let (resource, metric) = match &topic.what {
        What::Power(resource) => (*resource, None),
        What::Metrics(metric, resource) => (Some(*resource), Some(metric)),
    };
    let mut head = json!({
        "type": kind, "timestamp": rfc3339(snapshot.at_ms), "sequence": snapshot.sequence, "topic": name,
        "cluster": topic.filter.cluster, "resource_type": resource.map(Resource::name), "interval_seconds": topic.interval_seconds,
    });
    if let Some(metric) = metric {
        head["metric_name"] = json!(metric.name);
        head["field"] = json!(metric.field);
    }
    if topic.is_delta {
        head["full"] = json!(matches!(which, Which::All));
    }
    let mut rows: Vec<u8> = Vec::new();
    let (mut count, mut known, mut sum) = (0_usize, 0_usize, 0.0);
    let mut which = which;
    each_row(topic, snapshot, &mut |row| {
        count += 1;
        if let Some(v) = row.value {
            known += 1;
            sum += v;
        }
        if let Which::Changed(values) = &mut which {
            let hash = row.hash();
            let before = values.insert(row.id.clone(), (hash, snapshot.sequence));
            if before.is_some_and(|(said, _)| said == hash) {
                return;
            }
        }
        if !rows.is_empty() {
            rows.push(b',');
        }
        // Writing into memory cannot fail, and a row is no map with odd keys.
        serde_json::to_writer(&mut rows, &row).unwrap_or_default();
    });
    let mut data = Map::new();
    let mut drawn = Sum { watts: Some(sum).filter(|_| known > 0), known, of: count, oldest_ms: None };
    if let What::Power(_) = topic.what {
        let total = snapshot.account().total(topic.filter.cluster.as_deref());
        if resource.is_none() {
            drawn = total;
        }
        data = totals(snapshot, topic.filter.cluster.as_deref(), &PARTS);
    }
    if resource.is_some() {
        data.insert("count".into(), json!(count));
        data.insert("known_count".into(), json!(known));
        if metric.is_none() {
            data.insert("resources_power_watts".into(), json!(watts(drawn.watts)));
        }
    }
    let mut text = head.to_string();
    text.pop();
    text.push_str(",\"data\":");
    let inside = Value::Object(data).to_string();
    text.push_str(&inside[..inside.len() - 1]);
    if resource.is_some() {
        let (key, lead) = match which {
            Which::All => ("resources", if inside.len() > 2 { "," } else { "" }),
            Which::Changed(_) => ("changed", ","),
        };
        text.push_str(&format!("{lead}\"{key}\":["));
        text.push_str(&String::from_utf8_lossy(&rows));
        text.push(']');
    }
    if let (Which::Changed(values), true) = (which, resource.is_some()) {
        let mut removed = Vec::new();
        values.retain(|id, (_, said)| {
            let is_there = *said == snapshot.sequence;
            if !is_there {
                removed.push(id.clone());
            }
            is_there
        });
        text.push_str(&format!(",\"removed\":{}", json!(removed)));
    }
    text.push_str("}}");
    (text, drawn)
}

impl Maker {
    /// The frames of a snapshot: the update, and what is to be told of it.
    pub fn make(&mut self, topic: &Topic, name: &str, snapshot: &Snapshot) -> Vec<Made> {
        let which = if topic.is_delta { Which::Changed(&mut self.values) } else { Which::All };
        let (text, drawn) = update(topic, name, snapshot, which);
        let told = match &topic.wire {
            Wire::Events(limits) => self.seen.take(limits, snapshot.at_ms, &drawn),
            Wire::Socket => Vec::new(),
        };
        let mut made = vec![Made { text: written_out(topic, text, snapshot, self.is_over()), is_update: true }];
        for told in told {
            let id = (snapshot.sequence, made.len() as u32);
            let (kind, data) = of_told(&told, topic, name, snapshot);
            made.push(Made { text: event(id, kind, &data.to_string()), is_update: false });
        }
        made
    }

    /// Whether the threshold is passed.
    pub fn is_over(&self) -> bool {
        self.seen.is_over()
    }
}

/// The whole of a snapshot, as a topic's readers get it first.
pub fn whole(topic: &Topic, name: &str, snapshot: &Snapshot, is_over: bool) -> String {
    written_out(topic, update(topic, name, snapshot, Which::All).0, snapshot, is_over)
}

/// An update as it goes out. Who comes later learns from it whether the threshold is passed.
fn written_out(topic: &Topic, mut text: String, snapshot: &Snapshot, is_over: bool) -> String {
    let Wire::Events(limits) = &topic.wire else { return text };
    if limits.threshold_watts().is_some() {
        text.pop();
        text.push_str(&format!(",\"threshold_exceeded\":{is_over}}}"));
    }
    event((snapshot.sequence, 0), "power_update", &text)
}

fn of_told(told: &Told, topic: &Topic, name: &str, snapshot: &Snapshot) -> (&'static str, Value) {
    let of = topic.filter.cluster.as_deref().unwrap_or("all clusters");
    let (kind, severity, message, current, threshold) = match *told {
        Told::Exceeded { watts: w, threshold } => {
            let severity = if w >= threshold * 1.1 { "critical" } else { "warning" };
            ("threshold_exceeded", severity, format!("{w:.1} W of {of} are above {threshold} W"), w, Some(threshold))
        }
        Told::Cleared { watts: w, threshold } => {
            ("threshold_cleared", "info", format!("{w:.1} W of {of} are no longer above {threshold} W"), w, Some(threshold))
        }
        Told::Spike { watts: w, before, percent } => {
            ("power_spike", "warning", format!("{of} went from {before:.1} W to {w:.1} W ({percent:+.1} %)"), w, None)
        }
    };
    let mut data = json!({
        "type": kind, "timestamp": rfc3339(snapshot.at_ms), "sequence": snapshot.sequence, "topic": name, "severity": severity,
        "cluster": topic.filter.cluster, "message": message, "current_value": watts(Some(current)), "threshold": threshold,
    });
    if let Told::Spike { before, percent, .. } = told {
        data["previous_value"] = json!(watts(Some(*before)));
        data["change_percent"] = json!((percent * 100.0).round() / 100.0);
    }
    (kind, data)
}

/// A change of an alert as it goes out on a wire.
pub fn alert(transition: &Transition, topic: &str, wire: &Wire, id: Id) -> String {
    let mut data = json!(transition);
    data["timestamp"] = json!(rfc3339(transition.at_ms));
    data["sequence"] = json!(id.0);
    data["topic"] = json!(topic);
    match wire {
        Wire::Events(_) => {
            let kind = data["type"].as_str().unwrap_or("alert").to_owned();
            event(id, &kind, &data.to_string())
        }
        Wire::Socket => {
            data["event"] = data["type"].take();
            data["type"] = json!("alert");
            data.to_string()
        }
    }
}

/// An event of `text/event-stream`. The data is one line: JSON has no line breaks of its own.
pub fn event(id: Id, kind: &str, data: &str) -> String {
    format!("id: {}\nevent: {kind}\ndata: {data}\n\n", written(id))
}

/// The sequence alone for what a snapshot says, with a number behind it for what is told besides.
fn written((sequence, n): Id) -> String {
    match n {
        0 => sequence.to_string(),
        n => format!("{sequence}.{n}"),
    }
}

/// An id as it was written.
pub fn id_of(text: &str) -> Option<Id> {
    match text.trim().split_once('.') {
        None => Some((text.trim().parse().ok()?, 0)),
        Some((sequence, n)) => Some((sequence.parse().ok()?, n.parse().ok()?)),
    }
}
