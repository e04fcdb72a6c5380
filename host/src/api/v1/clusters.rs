//! `/clusters`: the configured ones and how their sources fare.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::super::envelope::{respond, rfc3339};
use super::super::params::{Id, Params};
use super::super::{App, ClusterInfo, Problem, Rendered};
use crate::inventory::{Kind, Snapshot};

#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    region: Option<&'a str>,
    description: Option<&'a str>,
    /// `healthy`, `degraded` when some sources fail, `unreachable` when all do, `unknown` when there is none.
    health_status: &'static str,
    last_health_check: Option<String>,
    total_sources: usize,
    failing_sources: usize,
    total_nodes: usize,
    total_accelerators: usize,
}

fn cluster<'a>(info: &'a ClusterInfo, snapshot: &Snapshot) -> Cluster<'a> {
    let sources: Vec<_> = snapshot.asked().filter(|s| *s.cluster == *info.name).collect();
    let failing = sources.iter().filter(|s| s.consecutive_failures > 0).count();
    let count = |kind| snapshot.of_kind(kind).iter().filter(|s| *s.cluster == *info.name).count();
    Cluster {
        name: &info.name,
        region: info.region.as_deref(),
        description: info.description.as_deref(),
        health_status: match (sources.len(), failing) {
            (0, _) => "unknown",
            (_, 0) => "healthy",
            (all, failing) if all == failing => "unreachable",
            _ => "degraded",
        },
        last_health_check: sources.iter().filter_map(|s| s.last_success_ms).max().map(rfc3339),
        total_sources: sources.len(),
        failing_sources: failing,
        total_nodes: count(Kind::Node),
        total_accelerators: count(Kind::Accelerator),
    }
}

pub(in crate::api) async fn list(State(app): State<App>, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let (limit, offset) = params.page()?;
    let clusters = app.clusters();
    let link = params.link("/api/v1/clusters", clusters.len())?;
    respond(&app, &headers, "cluster", "clusters", &params, |snapshot| {
        let page: Vec<_> = clusters.iter().skip(offset).take(limit).map(|c| cluster(c, snapshot)).collect();
        Ok(Rendered { link, ..Rendered::list(&page, clusters.len())? })
    })
}

pub(in crate::api) async fn detail(State(app): State<App>, Id(name): Id, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let clusters = app.clusters();
    let info = clusters.iter().find(|c| c.name == name).ok_or_else(|| Problem::not_found("cluster", &name))?;
    respond(&app, &headers, "cluster", &format!("clusters/{name}"), &params, |s| Rendered::object(&cluster(info, s)))
}
