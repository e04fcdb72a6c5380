//! Alertmanager, by its API v2: what fires is sent again before it would be forgotten there, what ended is sent with its end until it is
//! taken. Labels are as they were when the alert fired, so that Alertmanager knows it again; grouping and routing are its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Caller, Counts, Hear, News, Outcome};
use crate::alerts::alert::{Alert, State};
use crate::alerts::{Alerts, Change};
use crate::api::rfc3339;
use crate::inventory::Severity;

/// Alerts of one request.
const BATCH: usize = 500;
/// Ended alerts that wait to be told; beyond it they are dropped and counted: what is not sent again ends there by itself.
const MOST_ENDED: usize = 20_000;
/// It looks for what is due this often.
const LOOK: Duration = Duration::from_secs(1);
/// An alert ends there by itself when it was not sent for so many times `resend`.
const LIVES: i64 = 4;

#[derive(Clone)]
pub struct AlertmanagerSpec {
    pub resend: Duration,
    /// Put on every alert that has none of that name.
    pub labels: BTreeMap<String, String>,
    pub least: Severity,
    /// Where this host is reached, for links.
    pub external_url: Option<String>,
}

pub(super) struct Told {
    spec: AlertmanagerSpec,
    /// When what fires was sent last, in ms.
    sent: Mutex<HashMap<Arc<str>, i64>>,
    ended: Mutex<Vec<Arc<Alert>>>,
    more: Notify,
    counts: Arc<Counts>,
}

impl Told {
    pub(super) fn new(spec: AlertmanagerSpec, counts: Arc<Counts>) -> Self {
        Self { spec, sent: Mutex::default(), ended: Mutex::default(), more: Notify::new(), counts }
    }

    fn ended<T>(&self, work: impl FnOnce(&mut Vec<Arc<Alert>>) -> T) -> T {
        let mut ended = self.ended.lock().unwrap_or_else(|e| e.into_inner());
        let done = work(&mut ended);
        self.counts.waiting.store(ended.len() as u64, Ordering::Relaxed);
        done
    }

    fn sent<T>(&self, work: impl FnOnce(&mut HashMap<Arc<str>, i64>) -> T) -> T {
        work(&mut self.sent.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn is_told(&self, alert: &Alert) -> bool {
        alert.severity >= self.spec.least && alert.silenced_by.is_empty() && alert.state() != State::Pending
    }
}

impl Hear for Told {
    fn hear(&self, news: &[News]) {
        let over = news
            .iter()
            .filter(|(change, a)| *change == Change::ThresholdCleared && a.severity >= self.spec.least && super::is_heard(*change, a))
            .map(|(_, a)| a.clone());
        let dropped = self.ended(|ended| {
            ended.extend(over);
            let over = ended.len().saturating_sub(MOST_ENDED);
            ended.drain(..over);
            over
        });
        self.counts.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        self.more.notify_one();
    }
}

pub(super) async fn run(told: Arc<Told>, mut caller: Caller, alerts: Weak<Alerts>) {
    loop {
        let now_ms = crate::now_ms();
        let resend_ms = told.spec.resend.as_millis() as i64;
        // Before what fires: else one that ends in between would be sent as firing after its end.
        let ended = told.ended(std::mem::take);
        let Some(all) = alerts.upgrade() else { return };
        let firing = all.look(|book| {
            told.sent(|sent| {
                let known: HashSet<&Arc<str>> = book.all().map(|a| &a.id).collect();
                sent.retain(|id, _| known.contains(id));
                let is_due = |a: &&Alert| sent.get(&a.id).is_none_or(|at| now_ms - at >= resend_ms || now_ms < *at);
                book.all().filter(|a| a.state() == State::Firing && told.is_told(a)).filter(is_due).cloned().collect::<Vec<Alert>>()
            })
        });
        drop(all);
        let mut is_away = None;
        let mut left = ended.as_slice();
        while !left.is_empty() && is_away.is_none() {
            let (batch, rest) = left.split_at(left.len().min(BATCH));
            match send(&told.spec, &mut caller, batch.iter().map(|a| &**a), now_ms).await {
                Outcome::Taken | Outcome::Refused => left = rest,
                Outcome::Later(pause) => is_away = Some(pause),
            }
        }
        // What ended meanwhile comes after what waited before.
        told.ended(|waiting| drop(waiting.splice(0..0, left.iter().cloned())));
        for batch in firing.chunks(BATCH) {
            if is_away.is_some() {
                break;
            }
            match send(&told.spec, &mut caller, batch.iter(), now_ms).await {
                Outcome::Taken | Outcome::Refused => told.sent(|sent| sent.extend(batch.iter().map(|a| (a.id.clone(), now_ms)))),
                Outcome::Later(pause) => is_away = Some(pause),
            }
        }
        match is_away {
            Some(pause) => tokio::time::sleep(pause).await,
            // Late by a second at most: time alone makes an alert due again.
            None => drop(tokio::time::timeout(LOOK, told.more.notified()).await),
        }
    }
}

async fn send<'a>(spec: &AlertmanagerSpec, caller: &mut Caller, batch: impl Iterator<Item = &'a Alert>, now_ms: i64) -> Outcome {
    let all: Vec<Value> = batch.map(|a| posted(spec, a, now_ms)).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let count = all.len() as u64;
    caller.call(headers, Value::Array(all).to_string().into_bytes(), count).await
}

/// An alert of API v2.
fn posted(spec: &AlertmanagerSpec, alert: &Alert, now_ms: i64) -> Value {
    let mut labels: BTreeMap<&str, &str> = spec.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    labels.extend(alert.labels.iter().map(|(k, v)| (&**k, &**v)));
    let mut notes = BTreeMap::from([("summary", alert.message.to_string()), ("alert_id", alert.id.to_string())]);
    notes.extend(alert.message_ko.as_ref().map(|m| ("summary_ko", m.to_string())));
    notes.extend(alert.value.map(|v| ("value", super::super::message::figure(v))));
    notes.extend(alert.threshold.map(|v| ("threshold", super::super::message::figure(v))));
    notes.extend(alert.acknowledged.as_ref().map(|a| ("acknowledged_by", a.by.to_string())));
    let starts_ms = alert.fired_ms.unwrap_or(alert.since_ms);
    let ends_ms = alert.ended_ms.unwrap_or(now_ms + spec.resend.as_millis() as i64 * LIVES);
    let mut out = json!({
        "labels": labels, "annotations": notes, "startsAt": rfc3339(starts_ms),
        // It refuses an end before the beginning.
        "endsAt": rfc3339(ends_ms.max(starts_ms + 1)),
    });
    if let Some(url) = &spec.external_url {
        out["generatorURL"] = json!(format!("{}/api/v1/monitoring/alerts/{}", url.trim_end_matches('/'), alert.id));
    }
    out
}
