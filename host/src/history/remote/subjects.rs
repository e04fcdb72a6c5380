//! Who is there now, for hosts that watch nothing themselves: one series a subject, and the readings that stand longer than an
//! engine shows a sample for.
//!
//! Points of the log say values; whose they are, what contains what, and what a card is called stands in a snapshot alone. Every
//! round it is sent from there as it is: not from the log, not again when it fails, for the next one says it anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::super::names;
use super::encode::{Body, Rounds};
use super::labels::put_label;
use crate::catalogue::METRICS;
use crate::inventory::{Life, Quality, Reading, Snapshot, Source, Subject, Value};

/// Readings that have stood for longer are said in a round, since sources that tell only what changes do not say them again.
const STANDING_MS: i64 = 120_000;
/// Of one part of a subject's labels, and parts: engines bound both the length of a value and the number of labels.
const PART: usize = 900;
const PARTS: usize = 12;

/// Bodies of one round.
pub(super) fn bodies(snapshot: &Snapshot, external: &BTreeMap<String, String>) -> Vec<Body> {
    let mut rounds = Rounds::default();
    let mut all = Vec::new();
    for subject in snapshot.subjects.iter().filter(|s| s.life == Life::Live) {
        let about = about(snapshot, subject);
        let mut labels: BTreeMap<&str, &str> = about.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        for (name, value) in external {
            labels.entry(name).or_insert(value);
        }
        labels.insert("__name__", "kcloud_subject_info");
        rounds.add(&encoded(&labels), snapshot.at_ms, 1.0, &mut all);
        for reading in subject.readings.iter().filter(|r| snapshot.at_ms - r.at_ms > STANDING_MS) {
            let (Value::Number(value, _), Some(metric)) = (reading.value, METRICS.get(reading.metric.0 as usize)) else { continue };
            let mut labels: BTreeMap<&str, &str> = external.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            labels.extend([
                ("__name__", "kcloud_standing_value"),
                ("cluster", &subject.cluster),
                ("id", &subject.id),
                ("metric", metric.name),
            ]);
            rounds.add(&encoded(&labels), snapshot.at_ms, value, &mut all);
        }
    }
    rounds.finish(&mut all);
    all
}

/// All that is said of one subject.
pub(super) fn about(snapshot: &Snapshot, subject: &Subject) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = names::labels(subject).into_iter().map(|(k, v)| (k, v.to_owned())).collect();
    let mut put = |key: &str, value: String| drop(all.insert(key.to_owned(), value));
    let identity: Map<String, Json> = subject.identity.iter().map(|(k, v)| (k.to_string(), Json::from(&**v))).collect();
    put("subject_identity", Json::Object(identity).to_string());
    put("subject_parent", subject.parent.as_deref().unwrap_or_default().to_owned());
    let source = source(snapshot, subject);
    put("subject_plugin", source.map(|s| s.plugin.to_string()).unwrap_or_default());
    put("subject_priority", source.filter(|s| s.priority != 0).map(|s| s.priority.to_string()).unwrap_or_default());
    for (key, quality) in [("subject_derived", Quality::Derived), ("subject_modelled", Quality::Modelled)] {
        let is_it = |r: &&Reading| matches!(r.value, Value::Number(_, q) if q == quality);
        let of = subject.readings.iter().filter(is_it).filter_map(|r| METRICS.get(r.metric.0 as usize));
        put(key, of.map(|m| m.name).collect::<Vec<_>>().join(","));
    }
    for (i, part) in parts(subject).into_iter().enumerate() {
        put(&format!("subject_labels_{i}"), Json::Object(part).to_string());
    }
    all
}

/// Who reads it: of its watts where it has any, since who says those decides how they count.
fn source<'a>(snapshot: &'a Snapshot, subject: &Subject) -> Option<&'a Arc<Source>> {
    let is_power = |r: &&Reading| METRICS.get(r.metric.0 as usize).is_some_and(|m| m.name.ends_with("_watts"));
    let reading = subject.readings.iter().find(is_power).or(subject.readings.first())?;
    snapshot.sources.get(reading.source as usize)
}

/// The descriptive labels as objects that an engine takes. Annotations stay at home, and what is too long.
fn parts(subject: &Subject) -> Vec<Map<String, Json>> {
    let (mut parts, mut length) = (Vec::<Map<String, Json>>::new(), PART);
    for (key, value) in subject.labels.iter().filter(|(k, _)| !k.starts_with("annotation:")) {
        let long = key.len() + value.len() + 6;
        if long > PART || subject.identity.iter().any(|(k, _)| k == key) {
            continue;
        }
        if length + long > PART {
            if parts.len() == PARTS {
                break;
            }
            parts.push(Map::new());
            length = 2;
        }
        length += long;
        if let Some(part) = parts.last_mut() {
            part.insert(key.to_string(), Json::from(&**value));
        }
    }
    parts
}

fn encoded(labels: &BTreeMap<&str, &str>) -> Vec<u8> {
    let mut out = Vec::new();
    labels.iter().filter(|(_, v)| !v.is_empty()).for_each(|(k, v)| put_label(&mut out, k, v));
    out
}
