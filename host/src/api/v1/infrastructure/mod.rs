//! `/infrastructure`: nodes, pods, containers and VMs, from whichever sources speak of them.

pub(in crate::api) mod containers;
pub(in crate::api) mod nodes;
pub(in crate::api) mod pods;
mod selector;
pub(in crate::api) mod vms;

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::envelope::{respond, rfc3339};
use super::super::params::{Params, Window};
use super::super::{App, Problem, Rendered};
use super::listing::fields;
use super::timed::{self, Field, Series, from_history, put_window, series};
use super::view::{Class, scaled};
use crate::history::Aggregate;
use crate::inventory::{Kind, Snapshot, Subject};
use crate::power::WORKLOAD_WATTS;

/// From bytes a second to megabits.
const MBPS: f64 = 8e-6;
/// What a window shows of a subject's power, over time.
const OVER_TIME: [&str; 6] = ["period", "step", "start_time", "end_time", "start", "end"];

/// Cards by node: of class GPU, of class NPU.
pub(super) struct Cards<'a>(HashMap<(&'a str, &'a str), [usize; 2]>);

impl<'a> Cards<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let mut all: HashMap<(&str, &str), [usize; 2]> = HashMap::new();
        for card in snapshot.of_kind(Kind::Accelerator) {
            let Some(node) = &card.node else { continue };
            match Class::of(card) {
                Class::Gpu => all.entry((&card.cluster, node)).or_default()[0] += 1,
                Class::Npu => all.entry((&card.cluster, node)).or_default()[1] += 1,
                Class::Other => {}
            }
        }
        Self(all)
    }

    pub(super) fn on(&self, node: &Subject) -> [usize; 2] {
        node.node.as_deref().and_then(|name| self.0.get(&(&*node.cluster, name))).copied().unwrap_or_default()
    }
}

/// Milliseconds of the newest reading.
fn read_at(s: &Subject) -> i64 {
    s.readings.iter().map(|r| r.at_ms).max().unwrap_or(s.last_seen_ms)
}

/// `2` or `250m`, as Kubernetes writes cores.
fn cores(s: &Subject, metric: &str) -> Option<String> {
    let cores = scaled(s, metric, 1.0)?;
    Some(match cores.fract() == 0.0 {
        true => format!("{cores}"),
        false => format!("{}m", (cores * 1e3).round()),
    })
}

/// Foreign labels or annotations (`label:app`) by their own key.
fn foreign(s: &Subject, prefix: &str) -> Value {
    s.labels.iter().filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_owned(), json!(&**v)))).collect::<Map<_, _>>().into()
}

/// A subject's watts in a window; time without an observation counts for nothing and is stated.
fn power_over(app: &App, s: &Subject, metric: &str, window: &Window) -> Result<Map<String, Value>, Problem> {
    let all = from_history(crate::power::statistics(&*app.history, &s.id, metric, window.span()))?;
    let steps = from_history(app.history.range(&s.id, metric, window.span(), window.step, Aggregate::Average))?;
    let round = |v: Option<f64>, digits: f64| v.map(|v| (v * digits).round() / digits);
    let statistics = json!({
        "avg_power_watts": round(all.average, 1e3), "max_power_watts": round(all.most, 1e3), "min_power_watts": round(all.least, 1e3),
        "total_energy_kwh": round(all.energy.kwh(), 1e6), "covered_seconds": all.energy.covered_ms as f64 / 1e3,
        "missing_seconds": all.energy.missing_ms as f64 / 1e3, "gaps": all.energy.gaps,
    });
    let points = steps.into_iter().map(|(at, v)| json!({ "timestamp": rfc3339(at), "power_watts": round(v, 1e3) }));
    let mut out = fields([("statistics", statistics), ("timeseries", points.collect())]);
    put_window(&mut out, window);
    Ok(out)
}

/// The series of what a pod or VM draws: with its cards where it holds some, else what a model says.
fn workload_metric(snapshot: &Snapshot, s: &Subject) -> &'static str {
    let holds = snapshot.workloads().share(&s.id).is_some_and(|share| share.accelerators.is_some());
    if holds { WORKLOAD_WATTS } else { "power_watts" }
}

/// Readings and, with a window, their series.
fn with_series(
    app: &App,
    params: &Params,
    s: &Subject,
    over: &[Field<'_>],
    mut row: Map<String, Value>,
    now_ms: i64,
) -> Result<Rendered, Problem> {
    let mut over_time = Series::default();
    let mut warning = None;
    if OVER_TIME.iter().any(|p| params.get(p).is_some()) {
        let window = params.window("1h", now_ms)?;
        over_time = series(app, s, over, &window, false)?;
        row.insert("timeseries".into(), Value::Object(std::mem::take(&mut over_time.fields)));
        put_window(&mut row, &window);
        over_time.seam = app.seam(&window);
        warning = window.warning;
    }
    let warnings: Vec<String> = over_time.warnings.into_iter().chain(warning).collect();
    Ok(Rendered { seam: over_time.seam, warnings: warnings.into(), ..Rendered::object(&row)? })
}

/// One request about one subject that is found in the snapshot, off the threads that answer others.
async fn about(
    (app, params, headers): (App, Params, HeaderMap),
    (resource, route): (&'static str, String),
    find: impl for<'a> FnOnce(&'a Snapshot, &Params) -> Result<&'a Arc<Subject>, Problem> + Send + 'static,
    render: impl FnOnce(&App, &Params, &Snapshot, &Subject) -> Result<Rendered, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    timed::off_thread(move || {
        respond(&app, &headers, resource, &route, &params, |snapshot| render(&app, &params, snapshot, find(snapshot, &params)?))
    })
    .await
}
