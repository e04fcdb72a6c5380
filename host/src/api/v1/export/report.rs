//! `/export/report` and `/export/templates`: reports as files, and those that make themselves.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::super::envelope::rfc3339;
use super::super::super::params::Params;
use super::super::super::{App, Problem};
use super::super::listing::known_cluster;
use crate::now_ms;
use crate::report::{Format, Given, Lang, ReportError, Template, Window, WindowError, Zone};

/// A page that a report is may use nothing but its own style.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");

impl From<WindowError> for Problem {
    fn from(e: WindowError) -> Self {
        Self::parameter(e.parameter, &e.given, e.allowed)
    }
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::History(e) => e.into(),
            ReportError::Busy => Self::unavailable("other reports are being made", 10),
            other => {
                tracing::error!(error = %other, "a report could not be made");
                Self::internal()
            }
        }
    }
}

/// Makes a report, off the threads that answer others; it stops when the client goes away.
pub(in crate::api) async fn report(State(app): State<App>, params: Params) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    let settings = app.reports.settings();
    let template = params.one_of("template", &Template::NAMES)?.and_then(Template::parse).unwrap_or(Template::Daily);
    let format = params.one_of("format", &Format::NAMES)?.and_then(Format::parse).unwrap_or(Format::Pdf);
    let lang = params.one_of("lang", &Lang::NAMES)?.and_then(Lang::parse).unwrap_or(settings.lang);
    let zone = match params.get("timezone") {
        // A `+` in a query is a blank.
        Some(text) => Zone::parse(&text.replace(' ', "+"))
            .ok_or_else(|| Problem::parameter("timezone", text, "Z, or an offset such as +09:00 (in a URL %2B09:00)"))?,
        None => settings.zone,
    };
    let given = Given {
        start_date: params.get("start_date"),
        end_date: params.get("end_date"),
        start_time: params.get("start_time"),
        end_time: params.get("end_time"),
    };
    let window = Window::of(template, zone, &given, now_ms())?;
    let clusters = app.clusters().iter().map(|c| c.name.clone()).collect();
    let ask = app.reports.ask(window, params.cluster.clone(), clusters);
    let made = app.reports.make(ask, vec![format], lang).await?.pop().ok_or_else(Problem::internal)?;
    let mut response = made.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", made.name)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// What reports there are.
pub(super) fn described() -> serde_json::Map<String, Value> {
    let of = |template: Template| {
        let (name, description) = match template {
            Template::Daily => ("Daily report", "A day by the hour beside the day before; default: the last whole day"),
            Template::Weekly => ("Weekly report", "Seven days by the day beside the week before; default: the last whole week from Monday"),
            Template::Monthly => ("Monthly report", "A calendar month by the day beside the month before; default: the last whole month"),
            Template::Custom => ("Custom report", "From start_date to end_date, or from start_time to end_time"),
        };
        let value = json!({
            "name": name, "description": description, "status": "available", "formats": Format::NAMES, "languages": Lang::NAMES,
        });
        (template.name().to_owned(), value)
    };
    Template::ALL.into_iter().map(of).collect()
}

/// The same, and those that make themselves with how they fared.
pub(in crate::api) async fn templates(State(app): State<App>) -> Json<Value> {
    let now = now_ms();
    let settings = app.reports.settings();
    Json(json!({
        "timestamp": rfc3339(now),
        "templates": described(),
        "timezone": settings.zone, "lang": settings.lang,
        "price_per_kwh": settings.price.as_ref().map(|p| p.per_kwh), "currency": settings.price.as_ref().map(|p| &p.currency),
        "schedules": app.reports.plans(now),
    }))
}
