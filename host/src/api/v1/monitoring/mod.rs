//! `/monitoring`: what is drawn now, by whom, and over time. Reads the account (`power/`), and history for what was.
//!
//! Every answer about now is rendered once a snapshot; nothing here adds watts that `power/` keeps apart.

mod now;
mod series;
#[cfg(test)]
mod tests;
mod tree;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::super::envelope::respond;
use super::super::params::{Id, Params};
use super::super::{App, Problem, Rendered};
use super::listing::known_cluster;
use super::timed::off_thread;
use crate::inventory::Snapshot;
use crate::power::By;
pub(crate) use now::{PARTS, totals};

/// An answer's `data` and what is to be said about it.
pub(super) struct Answer {
    data: Value,
    total: usize,
    warnings: Vec<String>,
}

impl Answer {
    fn of(data: Value) -> Self {
        Self { data, total: 1, warnings: Vec::new() }
    }

    fn rendered(self) -> Result<Rendered, Problem> {
        Ok(Rendered { warnings: self.warnings.into(), ..Rendered::list(&self.data, self.total)? })
    }
}

/// Watts in the API: milliwatts and finer are noise of adding.
pub(crate) fn watts(value: Option<f64>) -> Option<f64> {
    value.map(|w| (w * 1e3).round() / 1e3)
}

fn answer(
    (app, params, headers): (&App, &Params, &HeaderMap),
    route: &str,
    make: impl FnOnce(&Snapshot) -> Result<Answer, Problem>,
) -> Result<Response, Problem> {
    known_cluster(app, params)?;
    respond(app, headers, "power", &format!("monitoring/{route}"), params, |snapshot| make(snapshot)?.rendered())
}

pub(in crate::api) async fn power(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let parts = now::parts(params.get("resource_types"))?;
    answer((&app, &params, &h), "power", |s| Ok(now::power(s, params.cluster.as_deref(), &app.facilities(), &parts)))
}

pub(in crate::api) async fn accelerators(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    answer((&app, &params, &h), "accelerators", |s| Ok(now::accelerators(s, params.cluster.as_deref())))
}

pub(in crate::api) async fn infrastructure(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let page = params.page()?;
    answer((&app, &params, &h), "infrastructure", |s| Ok(now::infrastructure(s, params.cluster.as_deref(), params.get("node"), page)))
}

pub(in crate::api) async fn breakdown(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let by = view(&params)?.unwrap_or(By::Cluster);
    answer((&app, &params, &h), "breakdown", |s| Ok(now::breakdown(s, params.cluster.as_deref(), by)))
}

pub(in crate::api) async fn efficiency(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    answer((&app, &params, &h), "efficiency", |s| Ok(now::efficiency(s, params.cluster.as_deref(), &app.facilities())))
}

pub(in crate::api) async fn of_cluster(
    State(app): State<App>,
    Id(name): Id,
    mut params: Params,
    h: HeaderMap,
) -> Result<Response, Problem> {
    params.cluster = Some(name.clone());
    known_cluster(&app, &params)?;
    let (by, with_efficiency) = (view(&params)?, params.flag("include_efficiency")?);
    respond(&app, &h, "cluster", &format!("clusters/{name}/power"), &params, |s| {
        now::of_cluster(s, &name, by.unwrap_or(By::Node), with_efficiency).rendered()
    })
}

fn view(params: &Params) -> Result<Option<By>, Problem> {
    Ok(params.one_of("breakdown_by", &By::NAMES)?.and_then(By::parse))
}

pub(in crate::api) async fn power_series(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    off_thread(move || {
        respond(&app, &h, "power", "monitoring/timeseries/power", &params, |snapshot| {
            let clusters = app.clusters().iter().map(|c| c.name.clone()).collect();
            series::power(&*app.history, snapshot, &params, clusters, &app.facilities())
        })
    })
    .await
}

pub(in crate::api) async fn metric_series(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    off_thread(move || {
        respond(&app, &h, "metrics", "monitoring/timeseries/metrics", &params, |snapshot| {
            let metric = params.one_of("metric_name", &series::METRIC_NAMES)?;
            let metric = metric.ok_or_else(|| Problem::parameter("metric_name", "", series::METRIC_NAMES.join(", ")))?;
            series::metrics(&*app.history, snapshot, &params, metric)
        })
    })
    .await
}

pub(in crate::api) async fn temperature_series(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    off_thread(move || {
        respond(&app, &h, "metrics", "monitoring/timeseries/temperature", &params, |snapshot| {
            series::metrics(&*app.history, snapshot, &params, "temperature")
        })
    })
    .await
}
