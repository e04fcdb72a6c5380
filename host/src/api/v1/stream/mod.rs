//! `/monitoring/stream/*` and `/monitoring/events/*`: the doors to `crate::stream`.
//!
//! Who may read is settled before the first frame, and again while it lasts: a token that ends takes its stream with it.

pub(in crate::api) mod events;
pub(in crate::api) mod socket;
pub(in crate::api) mod system;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::{App, Problem};
use crate::api::rfc3339;
use crate::auth::{Auth, AuthError, Principal, Scope};
use crate::now_ms;
use crate::stream::topic::{self, INTERVAL, Resource};
use crate::stream::{Endpoint, Place, Refused, stopped};
use crate::telemetry::Page;

/// A stream that has nothing to say says that it is there, this often.
const HEARTBEAT: Duration = Duration::from_secs(15);

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::unavailable(&refused.to_string(), 5)
    }
}

/// Who reads, for as long as they may.
struct Reading {
    auth: Arc<Auth>,
    principal: Principal,
}

impl Reading {
    fn name(&self) -> &Arc<str> {
        &self.principal.name
    }

    fn check(&self) -> Result<(), AuthError> {
        self.auth.still(&self.principal, Scope::Read)
    }

    /// Is done when the credentials end by themselves.
    async fn expired(&self) {
        match self.principal.until_ms {
            Some(at) => tokio::time::sleep(Duration::from_millis((at - crate::now_ms()).max(0) as u64)).await,
            None => std::future::pending().await,
        }
    }
}

/// What every stream of events says besides its events, and how it ends.
struct Line {
    reading: Reading,
    place: Place,
    stop: watch::Receiver<bool>,
    /// When it says that it is there, whatever else it says, and looks whether the reader may go on.
    beat: Instant,
    is_done: bool,
}

impl Line {
    fn new(app: &App, principal: Principal, place: Place) -> Self {
        let (reading, stop) = (Reading { auth: app.auth.clone(), principal }, place.hub().stopping());
        Self { reading, place, stop, beat: Instant::now() + HEARTBEAT, is_done: false }
    }

    /// Waits until there is something to say besides events: that it is there, or its last words. Loses nothing when it is dropped
    /// before it is done.
    async fn besides(&mut self) -> Bytes {
        let (kind, reason) = tokio::select! {
            () = tokio::time::sleep_until(self.beat) => match self.reading.check() {
                Ok(()) => {
                    self.beat = Instant::now() + HEARTBEAT;
                    return Bytes::from_static(b": heartbeat\n\n");
                }
                Err(why) => ("error", why.to_string()),
            },
            () = self.reading.expired() => ("error", AuthError::Expired.to_string()),
            () = stopped(&mut self.stop) => ("goodbye", "the host stops".to_owned()),
        };
        self.is_done = true;
        said(kind, &json!({ "timestamp": rfc3339(now_ms()), "reason": reason }))
    }
}

/// An event that is one reader's own: it has no id.
fn said(kind: &str, data: &Value) -> Bytes {
    format!("event: {kind}\ndata: {data}\n\n").into()
}

pub(in crate::api) async fn info(State(app): State<App>, headers: HeaderMap) -> axum::Json<Value> {
    let hub = &app.streams;
    let secure = if app.is_tls { "s" } else { "" };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("127.0.0.1:8001");
    let describe = |names: &[&str], resources: &[&str]| -> Value {
        let text = |name: &str| match name {
            "cluster" => "name of a configured cluster; all where none is named".to_owned(),
            "node" | "namespace" | "vendor" => "only of these".to_owned(),
            "metric_name" => "utilization (default), temperature, memory_usage, power, or a documented field".to_owned(),
            "interval" => format!("1 to 60 seconds, default {INTERVAL}"),
            "delta" => "true: after the first frame only what changed".to_owned(),
            "threshold_watts" => "told when passed".to_owned(),
            "clear_watts" => "cleared below this; default 95 % of the threshold".to_owned(),
            "for" => "how long it must be passed, as in 30s".to_owned(),
            "spike_percent" => "a jump by more than this is told; default 10".to_owned(),
            "last_event_id" => "as the header Last-Event-ID, for who cannot set it".to_owned(),
            _ => resources.join(", "),
        };
        names.iter().map(|n| ((*n).to_owned(), Value::String(text(n)))).collect::<serde_json::Map<_, _>>().into()
    };
    let socket = |endpoint: Endpoint, path: &str, description: &str, (query, resources): (&[&str], &[&str])| {
        json!({
            "url": format!("ws{secure}://{host}/api/v1/monitoring/stream/{path}"), "description": description, "query_parameters": describe(query, resources),
            "update_interval_seconds": INTERVAL, "active_connections": hub.open(endpoint), "status": "available",
        })
    };
    axum::Json(json!({
        "websocket_endpoints": {
            "power": socket(Endpoint::Power, "power", "Watts, in all and of each resource", (topic::POWER, &Resource::POWER)),
            "metrics": socket(Endpoint::Metrics, "metrics", "One metric of each resource", (topic::METRICS, &Resource::METRICS)),
        },
        "sse_endpoints": {
            "power_events": {
                "url": format!("http{secure}://{host}/api/v1/monitoring/events/power"), "description": "Watts, and what is to be told of them",
                "query_parameters": describe(topic::EVENTS, &Resource::POWER), "active_connections": hub.open(Endpoint::PowerEvents), "status": "available",
                "event_types": ["power_update", "threshold_exceeded", "threshold_cleared", "power_spike", "lag", "reset", "goodbye"],
            },
            "system_events": {
                "url": format!("http{secure}://{host}/api/v1/system/events"), "description": "What happens to plugins", "query_parameters": {},
                "active_connections": hub.open(Endpoint::SystemEvents), "status": "available",
                "event_types": ["plugin_states", "plugin_state", "lag", "goodbye"],
            },
        },
        "active_connections": hub.open_connections(), "max_connections": hub.limits().max_connections, "topics": hub.topic_count(),
        "usage_example": {
            "websocket": format!("websocat -H 'Authorization: Bearer TOKEN' 'ws{secure}://{host}/api/v1/monitoring/stream/power?interval=5'"),
            "sse": format!("curl -N -H 'Authorization: Bearer TOKEN' 'http{secure}://{host}/api/v1/monitoring/events/power?threshold_watts=20000'"),
        },
    }))
}

/// What is counted of streams.
pub(in crate::api) fn metrics(app: &App, page: &mut Page) {
    use std::sync::atomic::Ordering::Relaxed;
    let hub = &app.streams;
    page.family("kcloud_stream_connections", "gauge", "Open streams by endpoint.");
    for endpoint in Endpoint::ALL {
        page.sample("kcloud_stream_connections", &[("endpoint", endpoint.name())], hub.open(endpoint));
    }
    page.family("kcloud_stream_topics", "gauge", "Different streams that are read.");
    page.sample("kcloud_stream_topics", &[], hub.topic_count());
    let counts = hub.counts();
    for (name, help, value) in [
        ("frames_made", "Frames made and encoded, each once for all its readers.", &counts.made),
        ("frames_made_bytes", "Their bytes.", &counts.made_bytes),
        ("frames_sent", "Frames handed to readers.", &counts.sent),
        ("frames_sent_bytes", "Their bytes.", &counts.sent_bytes),
        ("frames_missed", "Frames that readers were too slow for.", &counts.missed),
        ("refused", "Streams refused because too many were open.", &counts.refused),
    ] {
        let name = format!("kcloud_stream_{name}_total");
        page.family(&name, "counter", help);
        page.sample(&name, &[], value.load(Relaxed));
    }
}
