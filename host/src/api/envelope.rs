//! The documented envelope, written around a `data` that was rendered once per snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;

use super::params::Params;
use super::{App, Problem, Rendered};
use crate::inventory::Snapshot;

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    time.and_then(|t| t.format(&format).ok()).unwrap_or_default()
}

/// Answers from the cache, or renders. `resource` is `resource_type`; `render` sees one snapshot and nothing else.
pub(crate) fn respond(
    app: &App,
    headers: &HeaderMap,
    resource: &'static str,
    route: &str,
    params: &Params,
    render: impl FnOnce(&Snapshot) -> Result<Rendered, Problem>,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let snapshot = app.inventory.current();
    let key = key(&snapshot, route, params);
    let etag = tag(&snapshot, &key);
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if seen.is_some_and(|s| s.split(',').any(|t| t.trim() == etag || t.trim() == "*")) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    // Who asks for the same at the same time waits for the first and renders nothing.
    let (mut render, mut problem) = (Some(render), None);
    let mut run = || match render.take().map(|render| render(&snapshot)) {
        Some(Ok(rendered)) => Some(Rendered { life: life(route, params), metadata: metadata(&snapshot, &rendered), ..rendered }),
        Some(Err(error)) => {
            problem = Some(error);
            None
        }
        None => None,
    };
    // Where the first failed, each finds its own reason.
    let rendered = app.cache.optionally_get_with(key, &mut run).or_else(run);
    let cache_hit = render.is_some();
    let Some(rendered) = rendered else { return Err(problem.unwrap_or_else(Problem::internal)) };
    app.counters.cache(cache_hit);
    Ok(written((resource, params), &rendered, etag, began, cache_hit))
}

/// The same for what changes without a snapshot: rendered anew each time.
pub(crate) fn respond_now(
    app: &App,
    headers: &HeaderMap,
    resource: &'static str,
    params: &Params,
    render: impl FnOnce() -> Result<Rendered, Problem>,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let snapshot = app.inventory.current();
    let rendered = render()?;
    let rendered = Rendered { metadata: metadata(&snapshot, &rendered), ..rendered };
    let etag = format!("W/\"{:x}-{:016x}\"", rendered.total, hash(&String::from_utf8_lossy(&rendered.data)));
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if seen.is_some_and(|s| s.split(',').any(|t| t.trim() == etag || t.trim() == "*")) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    Ok(written((resource, params), &rendered, etag, began, false))
}

fn written((resource, params): (&str, &Params), rendered: &Rendered, etag: String, began: Instant, cache_hit: bool) -> Response {
    let cluster = serde_json::to_string(params.cluster.as_deref().unwrap_or("default")).unwrap_or_default();
    let mut body = Vec::with_capacity(rendered.data.len() + rendered.metadata.len() + 256);
    let head = format!(r#"{{"timestamp":"{}","cluster":{cluster},"resource_type":"{resource}","data":"#, rfc3339(crate::now_ms()));
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(&rendered.data);
    let took = began.elapsed().as_micros() as f64 / 1e3;
    let tail = format!(r#","metadata":{{"query_time_ms":{took},"cache_hit":{cache_hit},{}}}}}"#, rendered.metadata);
    body.extend_from_slice(tail.as_bytes());
    let mut response = (
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "private, max-age=1"), (header::VARY, "authorization")],
        body,
    )
        .into_response();
    let out = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&etag) {
        out.insert(header::ETAG, value);
    }
    if let Some(link) = rendered.link.as_deref().and_then(|l| HeaderValue::from_str(l).ok()) {
        out.insert(header::LINK, link);
    }
    response
}

fn key(snapshot: &Snapshot, route: &str, params: &Params) -> String {
    format!("{route}?{}#{}", params.normalised(), snapshot.sequence)
}

fn tag(snapshot: &Snapshot, key: &str) -> String {
    format!("W/\"{:x}-{:016x}\"", snapshot.sequence, hash(key))
}

/// The tag of what a route answers to a request from a snapshot.
pub(crate) fn etag(snapshot: &Snapshot, route: &str, params: &Params) -> String {
    tag(snapshot, &key(snapshot, route, params))
}

/// What the snapshot says about an answer, as the inside of a JSON object.
fn metadata(snapshot: &Snapshot, rendered: &Rendered) -> Arc<str> {
    let mut plugins: Vec<&str> = snapshot.asked().map(|s| &*s.plugin).collect();
    plugins.sort_unstable();
    plugins.dedup();
    let failing = snapshot.asked().filter(|s| s.consecutive_failures > 0).count();
    let mut warnings: Vec<String> = rendered.warnings.to_vec();
    if failing > 0 {
        warnings.push(format!("{failing} of {} sources do not answer; what they said last ages", snapshot.asked().count()));
    }
    let mut metadata = json!({
        "total_count": rendered.total,
        "data_source": plugins,
        "sequence": snapshot.sequence,
        "as_of": rfc3339(snapshot.at_ms),
        "partial": failing > 0,
        "warnings": warnings,
    });
    if let Some(seam) = &rendered.seam {
        metadata["history"] = (**seam).clone();
    }
    if let Some(window) = &rendered.window {
        metadata["window"] = (**window).clone();
    }
    let text = metadata.to_string();
    text[1..text.len() - 1].into()
}

/// How long an answer is kept at most; a new snapshot makes a new one at once.
fn life(route: &str, params: &Params) -> Duration {
    match () {
        _ if params.has_window() => Duration::from_secs(300),
        _ if route.ends_with("summary") => Duration::from_secs(60),
        _ => Duration::from_secs(30),
    }
}

pub(super) fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Rendered {
    /// One object.
    pub(crate) fn object(value: &impl serde::Serialize) -> Result<Self, Problem> {
        Self::list(value, 1)
    }

    /// A page of `total`.
    pub(crate) fn list(value: &impl serde::Serialize, total: usize) -> Result<Self, Problem> {
        let data = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "an answer could not be written");
            Problem::internal()
        })?;
        Ok(Self { data: data.into(), total, ..Self::empty() })
    }
}
