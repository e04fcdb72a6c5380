//! Readings over time, as several routes show them. Reading history waits for the disk: call it through [`off_thread`].

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::envelope::rfc3339;
use super::super::params::Window;
use super::super::past::Witness;
use super::super::{App, Problem};
use super::view::converted;
use crate::history::{Aggregate, HistoryError};
use crate::inventory::Subject;

/// A field of the API, its catalogue metric, and the factor from there.
pub(super) type Field<'a> = (&'a str, &'a str, f64);

/// Steps by field, where they pass to this host's own, and what could not be answered.
#[derive(Default)]
pub(super) struct Series {
    pub fields: Map<String, Value>,
    pub seam: Option<Arc<Value>>,
    pub warnings: Vec<String>,
}

/// Means of each step. What lies before this host's first observation comes from a plugin that knows it, where `asks_past`.
pub(super) fn series(app: &App, s: &Subject, fields: &[Field<'_>], window: &Window, asks_past: bool) -> Result<Series, Problem> {
    let witness = Witness::of(app, &s.cluster).filter(|_| asks_past);
    let mut out = Series::default();
    for (name, metric, factor) in fields {
        let mut steps = from_history(app.history.range(&s.id, metric, window.span(), window.step, Aggregate::Average))?;
        let own = steps.iter().position(|(_, v)| v.is_some()).unwrap_or(steps.len());
        if let (Some(witness), true) = (&witness, own > 0) {
            let until = steps.get(own).map_or(window.end, |(at, _)| *at);
            match witness.range(app, s, metric, (steps[0].0, until), window.step) {
                Ok(past) => {
                    for (at, value) in past.iter() {
                        if let Ok(i) = steps[..own].binary_search_by_key(at, |(t, _)| *t) {
                            steps[i].1 = Some(*value);
                        }
                    }
                    if !past.is_empty() {
                        out.seam = Some(Arc::new(json!({ "source": witness.name, "until": rfc3339(until) })));
                    }
                }
                Err(error) => {
                    tracing::warn!(source = witness.name, error, "the past was not answered");
                    out.warnings = vec![format!("{} does not answer for the time before this host's first observation", witness.name)];
                }
            }
        }
        let points = steps.into_iter().map(|(at, v)| json!({ "timestamp": rfc3339(at), "value": v.map(|v| converted(v, *factor)) }));
        out.fields.insert((*name).to_owned(), points.collect());
    }
    Ok(out)
}

/// Adds what a window was to a row.
pub(super) fn put_window(row: &mut Map<String, Value>, window: &Window) {
    row.insert("start_time".into(), json!(rfc3339(window.start)));
    row.insert("end_time".into(), json!(rfc3339(window.end)));
    row.insert("step_seconds".into(), json!(window.step as f64 / 1e3));
}

pub(super) fn from_history<T>(result: Result<T, HistoryError>) -> Result<T, Problem> {
    result.map_err(Problem::from)
}

/// Reading history waits for the disk: never on a thread that answers others.
pub(super) async fn off_thread(work: impl FnOnce() -> Result<Response, Problem> + Send + 'static) -> Result<Response, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an answer from history failed");
        Err(Problem::internal())
    })
}
