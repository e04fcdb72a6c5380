//! Events of the API: what the cluster itself found wrong, as events of the node or pod that they speak of.
//!
//! Listed once, then watched, beside everything else: without them the rest is read. One that speaks of what is not there (a pod that went)
//! stands on its namespace; it must never make a pod that there is not.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use kcloud_collector_sdk::{Batch, CollectError, Event, Severity, Target, log};
use kube_mapping::model::Writer;
use serde::Deserialize;

use crate::feed::{Deadline, Feed, Line, Stopped, WHOLE};
use crate::objects::Meta;
use crate::sync::{namespace_named, optional};

/// Of one call; of more of them, those that come first go.
const MOST: usize = 500;
/// Of the list at the beginning: what is left out there is old.
const PAGES: usize = 4;
/// Of the watch, in one call.
const LINES: usize = 2_000;
const MAX_MESSAGE: usize = 1_024;

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct EventObject {
    pub metadata: Meta,
    involved_object: Involved,
    reason: Option<String>,
    message: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    count: Option<u64>,
    series: Option<Series>,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    first_timestamp: Option<String>,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
struct Involved {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    count: Option<u64>,
    last_observed_time: Option<String>,
}

impl EventObject {
    fn count(&self) -> u64 {
        self.series.as_ref().and_then(|s| s.count).or(self.count).unwrap_or(1)
    }

    /// When it was seen last, in nanoseconds since the Unix epoch.
    fn at(&self) -> Option<u64> {
        let series = self.series.as_ref().and_then(|s| s.last_observed_time.as_ref());
        let all = [series, self.last_timestamp.as_ref(), self.event_time.as_ref(), self.first_timestamp.as_ref()];
        all.into_iter().flatten().chain(self.metadata.creation_timestamp.as_ref()).find_map(|t| nanoseconds(t))
    }

    /// The event, and whether the message must say of what it speaks.
    fn event(&self, of: Option<String>) -> Event {
        let message = self.message.as_deref().unwrap_or_default().trim();
        let message = of.map(|of| format!("{of}: {message}")).unwrap_or_else(|| message.to_owned());
        Event {
            subject: 0,
            at: self.at(),
            severity: if self.kind.as_deref() == Some("Warning") { Severity::Warning } else { Severity::Info },
            code: format!("k8s:{}", self.reason.as_deref().filter(|r| !r.is_empty()).unwrap_or("Unknown")),
            message: message.chars().take(MAX_MESSAGE).collect(),
            // Seen once more is another event.
            key: format!("k8s/{}/{}", self.metadata.uid.as_deref().unwrap_or(&self.metadata.name), self.count()),
        }
    }
}

/// `2025-11-24T16:00:05Z`, with or without a fraction: the API writes UTC.
fn nanoseconds(text: &str) -> Option<u64> {
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let (hour, minute, second) = (part(11..13)?, part(14..16)?, part(17..19)?);
    // Days since 1970, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1 - 719_468;
    let fraction: String = text.get(20..)?.chars().take_while(char::is_ascii_digit).take(9).collect();
    let fraction = format!("{fraction:0<9}").parse::<u64>().ok()?;
    u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// Nodes and pods that there are, by a hash of their names.
#[derive(Default)]
pub struct There(HashSet<u64>);

impl There {
    fn key(namespace: &str, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (namespace, name).hash(&mut hasher);
        hasher.finish()
    }

    /// A node has no namespace.
    pub fn put(&mut self, namespace: &str, name: &str, is_there: bool) {
        let key = Self::key(namespace, name);
        _ = if is_there { self.0.insert(key) } else { self.0.remove(&key) };
    }

    fn has(&self, namespace: &str, name: &str) -> bool {
        self.0.contains(&Self::key(namespace, name))
    }
}

/// Those of one cluster.
pub struct Events {
    /// `None` where they are not wanted, or the API does not give them.
    feed: Option<(Feed, &'static str)>,
    is_listed: bool,
    /// By uid, the last word of each, that the host was not told yet.
    pending: BTreeMap<String, EventObject>,
    left_out: usize,
    sent: Vec<(String, EventObject)>,
}

impl Events {
    pub fn new(wanted: &str) -> Self {
        let selector = match wanted {
            "none" => None,
            "all" => Some(""),
            _ => Some("fieldSelector=type%3DWarning"),
        };
        let feed = selector.map(|s| Feed::selected("/api/v1/events", s, WHOLE));
        Self { feed, is_listed: false, pending: BTreeMap::new(), left_out: 0, sent: Vec::new() }
    }

    pub fn taken(&mut self) {
        self.sent.clear();
    }

    /// The host did not take what it was told last.
    pub fn put_back(&mut self) {
        for (uid, event) in std::mem::take(&mut self.sent) {
            self.pending.entry(uid).or_insert(event);
        }
    }

    fn take(pending: &mut BTreeMap<String, EventObject>, left_out: &mut usize, event: EventObject) {
        let uid = event.metadata.uid.clone().unwrap_or_else(|| event.metadata.name.clone());
        pending.insert(uid, event);
        if pending.len() > MOST {
            let oldest = pending.iter().min_by_key(|(_, e)| e.at()).map(|(uid, _)| uid.clone());
            oldest.and_then(|uid| pending.remove(&uid));
            *left_out += 1;
        }
    }

    /// Reads what is new, from the list at first.
    pub fn read(
        &mut self,
        target: &Target,
        page_size: u32,
        watch_seconds: u32,
        deadline: Deadline,
        batch: &mut Batch,
    ) -> Result<(), CollectError> {
        let Self { feed, is_listed, pending, left_out, .. } = self;
        if !*is_listed {
            let mut next: Option<String> = None;
            for page in 0..PAGES {
                let read =
                    optional(feed, batch, |feed, accept| feed.page::<EventObject>(target, accept, page_size, next.as_deref(), deadline))?;
                let Some((all, more)) = read else { break };
                all.into_iter().for_each(|e| Self::take(pending, left_out, e));
                next = more;
                if next.is_none() {
                    break;
                }
                if page + 1 == PAGES {
                    log::line(log::Level::Info, "there are more events than are read at the beginning; the rest is left out");
                }
            }
            *is_listed = true;
        }
        let Some((open, _)) = feed else { return Ok(()) };
        let stopped = open.read(target, watch_seconds, deadline, LINES, |line: Line<EventObject>| {
            // One that goes has run out; what it said was said.
            if let Line::Now(event) = line {
                Self::take(pending, left_out, event);
            }
        })?;
        if stopped == Stopped::Expired {
            *is_listed = false;
        }
        Ok(())
    }

    /// Tells the host.
    pub fn write(&mut self, there: &There, batch: &mut Batch) {
        let pending = std::mem::take(&mut self.pending);
        for event in pending.values() {
            let text = |of: &Option<String>| of.clone().unwrap_or_default();
            let (kind, namespace, name) =
                (text(&event.involved_object.kind), text(&event.involved_object.namespace), text(&event.involved_object.name));
            let subject = match kind.as_str() {
                "Pod" if there.has(&namespace, &name) => Writer::pod_named(batch, None, &namespace, &name, None),
                "Node" if there.has("", &name) => Writer::node_named(batch, &name),
                _ => {
                    let space =
                        Some(namespace.as_str()).filter(|n| !n.is_empty()).or(event.metadata.namespace.as_deref()).unwrap_or("default");
                    let subject = namespace_named(batch, space);
                    batch.event(subject, event.event(Some(format!("{kind}/{name}"))));
                    continue;
                }
            };
            batch.event(subject, event.event(None));
        }
        self.sent.extend(pending);
        if self.left_out > 0 {
            log::line(
                log::Level::Info,
                &format!("{} events are left out: more than {MOST} in one call", std::mem::take(&mut self.left_out)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(uid: &str, count: u64, at: &str) -> EventObject {
        let object = json!({
            "metadata": { "name": "train-1.17", "namespace": "ml", "uid": uid }, "type": "Warning", "reason": "BackOff",
            "message": "Back-off restarting failed container", "count": count, "lastTimestamp": at,
            "involvedObject": { "kind": "Pod", "namespace": "ml", "name": "train-1" }
        });
        serde_json::from_value(object).unwrap()
    }

    fn written(events: &mut Events, there: &There) -> kcloud_collector_sdk::bindings::kcloud::collector::types::Batch {
        let mut batch = Batch::new(vec![]);
        events.write(there, &mut batch);
        batch.finish()
    }

    #[test]
    fn times_of_the_api_are_read() {
        assert_eq!(nanoseconds("1970-01-01T00:00:01Z"), Some(1_000_000_000));
        assert_eq!(nanoseconds("2025-11-24T16:00:05Z"), Some(1_764_000_005_000_000_000));
        assert_eq!(nanoseconds("2025-11-24T16:00:05.250000Z"), Some(1_764_000_005_250_000_000));
        assert_eq!((nanoseconds(""), nanoseconds("yesterday"), nanoseconds("1969-12-31T23:59:59Z")), (None, None, None));
    }

    #[test]
    fn an_event_stands_on_its_pod_while_that_is_there_and_else_on_its_namespace() {
        let (mut events, mut there) = (Events::new("warning"), There::default());
        there.put("ml", "train-1", true);
        Events::take(&mut events.pending, &mut events.left_out, event("e1", 3, "2025-11-24T16:00:05Z"));
        let batch = written(&mut events, &there);
        let one = &batch.events[0];
        assert_eq!((one.code.as_str(), one.key.as_str(), one.at), ("k8s:BackOff", "k8s/e1/3", Some(1_764_000_005_000_000_000)));
        assert_eq!(
            (batch.subjects[one.subject as usize].kind.as_str(), one.message.as_str()),
            ("pod", "Back-off restarting failed container")
        );
        there.put("ml", "train-1", false);
        // The host did not take it.
        events.put_back();
        let batch = written(&mut events, &there);
        let one = &batch.events[0];
        assert_eq!((batch.subjects.len(), batch.subjects[one.subject as usize].kind.as_str()), (1, "x_namespace"));
        assert!(one.message.starts_with("Pod/train-1: "), "{}", one.message);
        events.taken();
        events.put_back();
        assert!(written(&mut events, &there).events.is_empty(), "told once");
    }

    #[test]
    fn of_a_storm_the_newest_are_told_and_of_one_event_its_last_word() {
        let mut events = Events::new("warning");
        for i in 0..MOST as u64 + 100 {
            let at = format!("2025-11-24T{:02}:{:02}:{:02}Z", i / 3600, i / 60 % 60, i % 60);
            Events::take(&mut events.pending, &mut events.left_out, event(&format!("e{i}"), 1, &at));
        }
        let last = format!("e{}", MOST + 99);
        Events::take(&mut events.pending, &mut events.left_out, event(&last, 9, "2025-11-24T23:00:00Z"));
        assert_eq!((events.pending.len(), events.left_out), (MOST, 100));
        assert!(!events.pending.contains_key("e0") && events.pending[&last].count() == 9);
    }
}
