//! Server-sent events. The bytes of an event are the same for all its readers, and are written as they are.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::super::params::Params;
use super::super::super::{App, Problem};
use super::super::listing::known_cluster;
use super::{Line, said};
use crate::api::rfc3339;
use crate::auth::{AuthError, Principal};
use crate::now_ms;
use crate::stream::topic::Topic;
use crate::stream::{Endpoint, Next, Reader, id_of};

/// Milliseconds after which a client comes back.
const RETRY_MS: u32 = 3_000;

pub(in crate::api) async fn power(
    State(app): State<App>,
    who: Option<Extension<Principal>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let topic = Topic::events(&params)?;
    known_cluster(&app, &params)?;
    open(&app, who, &params, &headers, Endpoint::PowerEvents, topic)
}

/// An answer that goes on.
pub(super) fn open(
    app: &App,
    who: Option<Extension<Principal>>,
    params: &Params,
    headers: &HeaderMap,
    endpoint: Endpoint,
    topic: Topic,
) -> Result<Response, Problem> {
    let Extension(principal) = who.ok_or(AuthError::Missing)?;
    let given = headers.get("last-event-id").and_then(|v| v.to_str().ok()).or(params.get("last_event_id"));
    let last = match given.filter(|t| !t.is_empty()) {
        None => None,
        Some(text) => {
            Some(id_of(text).ok_or_else(|| Problem::parameter("last_event_id", text, "the id of an event, as in 1234 or 1234.1"))?)
        }
    };
    let place = app.streams.enter(endpoint)?;
    let (reader, goes_on) = app.streams.read(topic, last, &principal.name)?;
    let mut first = format!("retry: {RETRY_MS}\n\n");
    if let Some(last) = given.filter(|_| last.is_some() && !goes_on) {
        let reason = "what followed that event is not kept; the next one is the whole world";
        first.push_str(&format!(
            "event: reset\ndata: {}\n\n",
            json!({ "last_event_id": last, "reason": reason, "timestamp": rfc3339(now_ms()) })
        ));
    }
    let events = Events { reader, line: Line::new(app, principal, place), first: Some(first) };
    let body = Body::from_stream(futures::stream::unfold(events, |mut events| async {
        let bytes = events.next().await?;
        Some((Ok::<_, Infallible>(bytes), events))
    }));
    Ok(response(body))
}

/// An answer of events.
pub(super) fn response(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        // Proxies that gather answers would hold events back.
        ("x-accel-buffering", "no"),
    ];
    (headers, body).into_response()
}

struct Events {
    reader: Reader,
    line: Line,
    first: Option<String>,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first.into());
        }
        if self.line.is_done {
            return None;
        }
        let next = tokio::select! {
            next = self.reader.next() => next,
            bytes = self.line.besides() => return Some(bytes),
        };
        let counts = self.line.place.hub().counts();
        match next {
            Next::Frame(frame) => {
                counts.sent.fetch_add(1, Ordering::Relaxed);
                counts.sent_bytes.fetch_add(frame.text.len() as u64, Ordering::Relaxed);
                Some(frame.text.clone().into())
            }
            Next::Lag(missed) => {
                counts.missed.fetch_add(missed, Ordering::Relaxed);
                Some(said("lag", &json!({ "timestamp": rfc3339(now_ms()), "missed": missed })))
            }
            Next::End => None,
        }
    }
}
