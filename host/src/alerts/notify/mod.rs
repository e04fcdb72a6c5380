//! Who is told: webhooks hear each change once, Alertmanagers hear again and again what fires.
//!
//! A silenced alert is not told. Nothing here can hold evaluation up: a server that is away costs a bounded queue, whose overflow is
//! counted. No secret is logged, and no address of a server.

mod alertmanager;
mod webhook;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rand::Rng;
use serde_json::{Value, json};

use super::alert::Alert;
use super::{Alerts, Change};
use crate::history::{Endpoint, said};
use crate::plugins::capabilities::http::HttpError;

pub use alertmanager::AlertmanagerSpec;
pub use webhook::WebhookSpec;

/// First and longest pause before a server is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// What goes wrong again and again is said this often.
const SAID: Duration = Duration::from_secs(60);
/// Of a server's reason.
const REASON: usize = 4 << 10;

/// One that is to be told.
#[derive(Clone)]
pub struct Spec {
    pub name: String,
    pub endpoint: Endpoint,
    pub way: Way,
    /// Everything that it was made of, to tell whether it changed; no secret is in it.
    pub made_of: String,
}

#[derive(Clone)]
pub enum Way {
    Webhook(WebhookSpec),
    Alertmanager(AlertmanagerSpec),
}

/// What it counted.
#[derive(Default)]
pub struct Counts {
    pub sent: AtomicU64,
    pub refused: AtomicU64,
    pub dropped: AtomicU64,
    pub requests: AtomicU64,
    /// Tries in a row that brought nothing.
    pub failures: AtomicU64,
    pub waiting: AtomicU64,
}

/// A change, as it is told.
pub type News = (Change, Arc<Alert>);

/// One at work; drop it and it stops.
pub struct Notifier {
    pub spec: Spec,
    pub counts: Arc<Counts>,
    hear: Arc<dyn Hear>,
    task: tokio::task::JoinHandle<()>,
}

/// Takes changes in; never waits.
trait Hear: Send + Sync {
    fn hear(&self, news: &[News]);
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notifier {
    pub(super) fn start(spec: Spec, alerts: Weak<Alerts>) -> Self {
        let counts: Arc<Counts> = Arc::default();
        let caller =
            Caller { name: spec.name.clone(), endpoint: spec.endpoint.clone(), counts: counts.clone(), spoken: None, pause: PAUSES.0 };
        let (hear, task): (Arc<dyn Hear>, _) = match &spec.way {
            Way::Webhook(webhook) => {
                let queue = Arc::new(webhook::Queue::new(webhook.clone(), counts.clone()));
                (queue.clone(), tokio::spawn(webhook::run(queue, caller)))
            }
            Way::Alertmanager(manager) => {
                let told = Arc::new(alertmanager::Told::new(manager.clone(), counts.clone()));
                (told.clone(), tokio::spawn(alertmanager::run(told, caller, alerts)))
            }
        };
        Self { spec, counts, hear, task }
    }

    pub(super) fn hear(&self, news: &[News]) {
        self.hear.hear(news);
    }

    pub fn kind(&self) -> &'static str {
        match self.spec.way {
            Way::Webhook(_) => "webhook",
            Way::Alertmanager(_) => "alertmanager",
        }
    }
}

/// Whether a change gets through the silences: an end does where the beginning did, so that no pager stays open.
fn is_heard(change: Change, alert: &Alert) -> bool {
    match change {
        Change::ThresholdCleared => alert.is_told,
        _ => alert.silenced_by.is_empty(),
    }
}

/// What became of one request.
enum Outcome {
    Taken,
    /// It will never be taken.
    Refused,
    /// Not now: wait so long.
    Later(Duration),
}

/// Sends to one server and keeps count.
struct Caller {
    name: String,
    endpoint: Endpoint,
    counts: Arc<Counts>,
    spoken: Option<Instant>,
    pause: Duration,
}

impl Caller {
    /// `alerts` are in the body.
    async fn call(&mut self, headers: reqwest::header::HeaderMap, body: Vec<u8>, alerts: u64) -> Outcome {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.endpoint.send(headers, body, REASON).await;
        let (reason, asked) = match answer {
            Ok(answer) => match answer.status {
                200..=299 => {
                    self.counts.sent.fetch_add(alerts, Ordering::Relaxed);
                    if self.counts.failures.swap(0, Ordering::Relaxed) > 0 {
                        tracing::info!(notifier = self.name, "alerts are taken again");
                        self.spoken = None;
                    }
                    self.pause = PAUSES.0;
                    return Outcome::Taken;
                }
                status @ (400..=407 | 409..=428 | 430..=499) => {
                    self.counts.refused.fetch_add(alerts, Ordering::Relaxed);
                    self.counts.failures.store(0, Ordering::Relaxed);
                    if self.may_speak() {
                        tracing::error!(
                            notifier = self.name,
                            status,
                            alerts,
                            reason = said(&answer.body),
                            "alerts were refused and are not sent again"
                        );
                    }
                    return Outcome::Refused;
                }
                status => (format!("status {status}: {}", said(&answer.body)), answer.retry_after),
            },
            Err(error) => (reason(&error), None),
        };
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        if self.may_speak() {
            tracing::warn!(notifier = self.name, reason, "alerts are not taken; they are sent again");
        }
        let own = self.pause.mul_f64(rand::rng().random_range(0.8..=1.2));
        self.pause = (self.pause * 2).min(PAUSES.1);
        Outcome::Later(asked.map_or(own, |asked| asked.clamp(own, PAUSES.1 * 10)))
    }

    fn may_speak(&mut self) -> bool {
        let is_due = self.spoken.is_none_or(|at| at.elapsed() >= SAID);
        if is_due {
            self.spoken = Some(Instant::now());
        }
        is_due
    }
}

fn reason(error: &HttpError) -> String {
    super::message::one_line(&error.to_string(), 300)
}

/// An alert as receivers and clients read it.
pub(crate) fn view(alert: &Alert) -> Value {
    let moment = |at: Option<i64>| at.map(crate::api::rfc3339);
    json!({
        "id": alert.id, "rule": alert.rule, "state": alert.state(), "severity": alert.severity,
        "cluster": alert.cluster, "node": alert.node, "resource_type": alert.resource_type, "resource_id": alert.resource_id,
        "labels": alert.labels.iter().map(|(k, v)| (k.to_string(), json!(v))).collect::<serde_json::Map<_, _>>(),
        "message": alert.message, "message_ko": alert.message_ko,
        "value": alert.value, "threshold": alert.threshold, "unit": alert.unit,
        "since": crate::api::rfc3339(alert.since_ms), "fired_at": moment(alert.fired_ms), "ended_at": moment(alert.ended_ms), "end_reason": alert.end,
        "unknown": alert.unknown,
        "acknowledged": alert.acknowledged.as_ref().map(|a| json!({ "by": a.by, "at": crate::api::rfc3339(a.at_ms), "comment": a.comment })),
        "resolved": alert.resolved.as_ref().map(|a| json!({ "by": a.by, "at": crate::api::rfc3339(a.at_ms), "comment": a.comment })),
        "silenced_by": alert.silenced_by,
    })
}
