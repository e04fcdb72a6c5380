//! `/export`: files of many rows. A handler makes a [`Plan`] of the request; `export/` writes it on a thread of its own, in pieces
//! that the client takes.

mod columns;
pub(in crate::api) mod jobs;
pub(in crate::api) mod report;
pub(in crate::api) mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::envelope::etag;
use super::super::params::Params;
use super::super::{App, Problem};
use crate::export::{self, ExportError, Format, Plan, Progress, Style, stream};
use crate::inventory::Snapshot;
use crate::report::Lang;

/// Rows that a file will have, for those who show how far it is.
const EXPECTED: &str = "x-export-rows-expected";

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Power,
    Metrics,
}

impl What {
    fn plan(self, app: &App, snapshot: &Snapshot, params: &Params) -> Result<Plan, Problem> {
        match self {
            Self::Power => request::power(app, snapshot, params),
            Self::Metrics => request::metrics(app, snapshot, params),
        }
    }
}

/// Who can be told to wait waits this long.
const RETRY_S: u64 = 5;

fn format(params: &Params) -> Result<Format, Problem> {
    let Some(given) = params.get("format") else { return Ok(Format::Json) };
    let names: Vec<&str> = Format::ALL.iter().map(|f| f.name()).collect();
    Format::parse(given).ok_or_else(|| Problem::parameter("format", given, names.join(", ")))
}

fn style(app: &App, params: &Params) -> Result<Style, Problem> {
    let is_korean = params.one_of("lang", &Lang::NAMES)?.and_then(Lang::parse) == Some(Lang::Ko);
    Ok(Style { bom: params.flag("bom")?, is_korean, scratch: app.exports.scratch.clone(), max_scratch: app.exports.limits.max_file_bytes })
}

fn affordable(app: &App, plan: &Plan) -> Result<(), Problem> {
    let most = app.exports.limits.max_rows;
    let (expected, step) = (plan.rows_expected, plan.step_ms.map_or("raw".to_owned(), |s| format!("{}s", s as f64 / 1e3)));
    if expected <= most {
        return Ok(());
    }
    let allowed = format!(
        "at most {most} rows in one answer, and these are about {expected}; a larger step, fewer resources, or a job (POST /api/v1/export/jobs) whose file is fetched when it is done"
    );
    Err(Problem::parameter("step", &step, allowed))
}

pub(in crate::api) async fn power(State(app): State<App>, method: Method, headers: HeaderMap, params: Params) -> Result<Response, Problem> {
    deliver(app, What::Power, method, headers, params).await
}

pub(in crate::api) async fn metrics(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    deliver(app, What::Metrics, method, headers, params).await
}

/// Answers with a file that is written while it is read.
async fn deliver(app: App, what: What, method: Method, headers: HeaderMap, params: Params) -> Result<Response, Problem> {
    let (format, style) = (format(&params)?, style(&app, &params)?);
    let snapshot = app.inventory.current();
    let (route, seen) = (format!("export/{what:?}"), headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()));
    let tag = etag(&snapshot, &route, &params);
    if seen.is_some_and(|s| s.split(',').any(|t| t.trim() == tag || t.trim() == "*")) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    // A hundred thousand resources are looked through: not on a thread that answers others.
    let planning = app.clone();
    let planned = tokio::task::spawn_blocking(move || what.plan(&planning, &snapshot, &params)).await;
    let plan = planned.map_err(|_| Problem::internal())??;
    affordable(&app, &plan)?;
    let mut response = match method {
        Method::HEAD => Response::new(Body::empty()),
        _ => Response::new(written(&app, &plan, format, style)?),
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=1"));
    out.insert(header::VARY, HeaderValue::from_static("authorization"));
    out.insert(EXPECTED, plan.rows_expected.into());
    for (name, value) in [(header::CONTENT_DISPOSITION, disposition(&plan, format)), (header::ETAG, tag)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            out.insert(name, value);
        }
    }
    Ok(response)
}

/// Nothing in the name comes from a client but two moments.
fn disposition(plan: &Plan, format: Format) -> String {
    format!("attachment; filename=\"{}.{}\"", plan.file_stem(), format.extension())
}

/// The body; its thread ends when the client goes away.
fn written(app: &App, plan: &Plan, format: Format, style: Style) -> Result<Body, Problem> {
    let running =
        app.exports.begin().ok_or_else(|| Problem::unavailable("as many exports run as may; ask again, or make a job", RETRY_S))?;
    let progress = Arc::new(Progress::default());
    let (sender, mut pieces) = stream::channel(progress.clone());
    let (app, plan) = (app.clone(), plan.clone());
    let is_whole = Arc::new(AtomicBool::new(false));
    let whole = is_whole.clone();
    tokio::task::spawn_blocking(move || {
        // It holds the way to the client open until it is known how this ends.
        let (is_open, exports) = (sender.watch(), app.exports.clone());
        let is_there = || is_open() && !exports.is_ending();
        let written: Result<(), ExportError> = export::encoder(format, &plan, &style, Box::new(sender))
            .and_then(|encoder| export::run(&plan, &*app.history, encoder, &progress, &is_there))
            .map(drop);
        app.exports.ended("answer", format, &progress, written.as_ref().map(|_| ()));
        drop(running);
        match written {
            Ok(()) => whole.store(true, Ordering::Release),
            Err(error) if error.is_stop() => tracing::debug!(%error, "an export ended before its end"),
            Err(error) => tracing::error!(%error, format = format.name(), "an export failed"),
        }
    });
    // What has its end is whole: anything else ends with an error, which breaks the connection off.
    let mut has_ended = false;
    Ok(Body::from_stream(futures::stream::poll_fn(move |cx| match pieces.poll_recv(cx) {
        Poll::Ready(None) if !has_ended && !is_whole.load(Ordering::Acquire) => {
            has_ended = true;
            Poll::Ready(Some(Err(std::io::Error::other("the export did not come to its end"))))
        }
        polled => polled,
    })))
}

/// `/export/formats`: what is really there.
pub(in crate::api) async fn formats() -> axum::Json<Value> {
    let mut all: serde_json::Map<String, Value> = Format::ALL
        .into_iter()
        .map(|f| {
            let (title, description, features) = f.described();
            let row = json!({
                "name": title, "description": description, "mime_type": f.media_type(), "file_extension": format!(".{}", f.extension()),
                "status": "available", "features": features,
            });
            (f.name().to_owned(), row)
        })
        .collect();
    let html = json!({
        "name": "HTML", "description": "A page that holds all it needs; of reports only", "mime_type": crate::report::Format::Html.media_type(),
        "file_extension": ".html", "status": "reports", "features": ["self-contained", "charts", "lang=ko for Korean"],
    });
    all.insert("html".to_owned(), html);
    axum::Json(json!({ "formats": all, "report_templates": report::described() }))
}
