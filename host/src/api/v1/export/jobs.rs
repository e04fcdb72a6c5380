//! `/export/jobs`: exports that run on their own, seen by who asked for them and by administrators.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tower::ServiceExt;
use tower_http::services::ServeFile;

use super::super::super::envelope::rfc3339;
use super::super::super::params::{Id, Params};
use super::super::super::{App, Problem};
use super::{What, format, request, style};
use crate::auth::{AuthError, Principal, Scope};
use crate::export::ExportError;
use crate::export::jobs::{self, Job, Jobs, Order, Refused};
use crate::export::{self, Format};

const PATH: &str = "/api/v1/export/jobs";

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match &refused {
            Refused::Disk(error) => {
                tracing::error!(%error, "a job could not be noted");
                Self::unavailable("the host cannot write files now", 30)
            }
            other => Self::unavailable(&other.to_string(), 60),
        }
    }
}

fn all(app: &App) -> Result<&Jobs, Problem> {
    app.exports.jobs.as_ref().ok_or_else(|| Refused::Nowhere.into())
}

fn view(job: &Job) -> Value {
    let (record, now) = (job.record(), crate::now_ms());
    let (percent, seconds_left) = job.percent(now);
    let ran = record.started_ms.map(|at| (record.ended_ms.unwrap_or(now) - at) as f64 / 1e3);
    json!({
        "id": record.id, "what": record.what, "format": record.format, "parameters": record.parameters, "owner": record.owner,
        "state": record.state, "created_at": rfc3339(record.created_ms), "started_at": record.started_ms.map(rfc3339),
        "ended_at": record.ended_ms.map(rfc3339), "expires_at": rfc3339(record.expires_ms),
        "rows": record.rows, "rows_expected": record.rows_expected, "bytes": record.bytes, "percent": percent,
        "seconds_running": ran, "seconds_left": seconds_left, "error": record.error, "file_name": record.file_name,
        "file": (record.state == jobs::State::Done).then(|| format!("{PATH}/{}/file", record.id)),
    })
}

/// What another asked for is not there for those who are no administrators.
fn find(app: &App, id: &str, principal: &Principal) -> Result<Arc<Job>, Problem> {
    let may = |job: &Arc<Job>| principal.scopes.contains(&Scope::Admin) || *job.record().owner == *principal.name;
    all(app)?.get(id).filter(may).ok_or_else(|| Problem::not_found("job", id))
}

/// Takes a job on.
pub(in crate::api) async fn create(
    State(app): State<App>,
    principal: Option<Extension<Principal>>,
    body: Bytes,
) -> Result<Response, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let form = r#"{"what": "metrics", "format": "parquet", "metric_name": "power", "resource_type": "gpus", "period": "1d"}"#;
    let mut asked: Map<String, Value> = serde_json::from_slice(&body).map_err(|e| Problem::parameter("body", &e.to_string(), form))?;
    let (what, allowed) = match asked.remove("what") {
        Some(Value::String(w)) if w == "metrics" => (What::Metrics, request::METRICS),
        Some(Value::String(w)) if w == "power" => (What::Power, request::POWER),
        other => return Err(Problem::parameter("what", &other.unwrap_or_default().to_string(), "metrics, power")),
    };
    let params = Params::from_json(&asked, allowed)?;
    let (format, style) = (format(&params)?, style(&app, &params)?);
    let taken = tokio::task::spawn_blocking(move || {
        let plan = what.plan(&app, &app.inventory.current(), &params)?;
        let order = Order {
            what: plan.what.to_owned(),
            format,
            parameters: params.all().clone(),
            owner: principal.name.to_string(),
            rows_expected: plan.step_ms.map(|_| plan.rows_expected),
            file_stem: plan.file_stem(),
        };
        // It is planned again when its turn comes: what waits holds nothing of the model.
        drop(plan);
        let (exports, later) = (app.exports.clone(), app.clone());
        let job = jobs::start(&exports, order, move |job, out, is_wanted| {
            let plan = what.plan(&later, &later.inventory.current(), &params).map_err(|p| ExportError::Plan(p.detail().to_owned()))?;
            let history = later.history.clone();
            let encoder = export::encoder(format, &plan, &style, out)?;
            Ok(export::run(&plan, &*history, encoder, &job.progress, is_wanted)?.rows)
        })?;
        Ok::<_, Problem>(job)
    });
    let job = taken.await.map_err(|_| Problem::internal())??;
    let location = format!("{PATH}/{}", job.record().id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view(&job))).into_response())
}

pub(in crate::api) async fn list(State(app): State<App>, principal: Option<Extension<Principal>>) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let is_admin = principal.scopes.contains(&Scope::Admin);
    let jobs = all(&app)?.list();
    let rows: Vec<Value> = jobs.iter().filter(|job| is_admin || *job.record().owner == *principal.name).map(|job| view(job)).collect();
    Ok(Json(json!({
        "timestamp": rfc3339(crate::now_ms()), "resource_type": "export_job", "metadata": { "total_count": rows.len() }, "data": rows,
    })))
}

pub(in crate::api) async fn one(
    State(app): State<App>,
    principal: Option<Extension<Principal>>,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    Ok(Json(view(&*find(&app, &id, &principal)?)))
}

/// Ends a job that is under way; removes one that is over, with its file.
pub(in crate::api) async fn delete(
    State(app): State<App>,
    principal: Option<Extension<Principal>>,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let job = find(&app, &id, &principal)?;
    if !job.record().state.is_over() {
        job.cancel();
        return Ok(Json(json!({ "id": id, "message": "the job ends" })));
    }
    let removed = id.clone();
    let done = tokio::task::spawn_blocking(move || app.exports.jobs.iter().for_each(|jobs| jobs.delete(&removed)));
    done.await.map_err(|_| Problem::internal())?;
    Ok(Json(json!({ "id": id, "message": "the job and its file are removed" })))
}

/// The whole file, or the ranges that are asked for.
pub(in crate::api) async fn file(
    State(app): State<App>,
    principal: Option<Extension<Principal>>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let job = find(&app, &id, &principal)?;
    let record = job.record();
    let Some(path) = all(&app)?.file(&job) else {
        let state = format!("{:?}", record.state).to_lowercase();
        return Err(Problem::conflict(format!("the job is {state}: there is a file when it is done")));
    };
    let response = ServeFile::new(path).oneshot(request).await.map_err(|_| Problem::internal())?;
    if response.status() == StatusCode::NOT_FOUND {
        return Err(Problem::not_found("job", &id));
    }
    let mut response = response.map(Body::new);
    let media = Format::parse(&record.format).map_or("application/octet-stream", Format::media_type);
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-transform"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", record.file_name)) {
        out.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
