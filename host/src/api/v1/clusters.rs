//! `/clusters`: the configured ones, how their sources fare, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::envelope::{respond, rfc3339};
use super::super::params::{Id, Params};
use super::super::{App, ClusterInfo, Problem, Rendered};
use super::infrastructure::nodes::{role, status};
use super::infrastructure::{Cards, pods};
use super::listing::fields;
use crate::inventory::{Kind, Life, Snapshot, Subject};

/// `healthy`, `degraded` when some sources fail, `unreachable` when all do, `unknown` when there is none.
fn health(snapshot: &Snapshot, name: &str) -> (&'static str, Option<String>, [usize; 2]) {
    let sources: Vec<_> = snapshot.asked().filter(|s| *s.cluster == *name).collect();
    let failing = sources.iter().filter(|s| s.consecutive_failures > 0).count();
    let status = match (sources.len(), failing) {
        (0, _) => "unknown",
        (_, 0) => "healthy",
        (all, failing) if all == failing => "unreachable",
        _ => "degraded",
    };
    (status, sources.iter().filter_map(|s| s.last_success_ms).max().map(rfc3339), [sources.len(), failing])
}

fn of<'a>(snapshot: &'a Snapshot, kind: Kind, cluster: &'a str) -> impl Iterator<Item = &'a Arc<Subject>> {
    snapshot.of_kind(kind).iter().filter(move |s| *s.cluster == *cluster)
}

fn row(info: &ClusterInfo, snapshot: &Snapshot) -> Map<String, Value> {
    let (health_status, seen, [sources, failing]) = health(snapshot, &info.name);
    let count = |kind| of(snapshot, kind, &info.name).count();
    fields([
        ("name", json!(info.name)),
        ("region", json!(info.region)),
        ("description", json!(info.description)),
        ("health_status", json!(health_status)),
        ("last_health_check", json!(seen)),
        ("total_sources", json!(sources)),
        ("failing_sources", json!(failing)),
        ("total_nodes", json!(count(Kind::Node))),
        ("total_pods", json!(count(Kind::Pod))),
        ("total_vms", json!(count(Kind::Vm))),
        ("total_accelerators", json!(count(Kind::Accelerator))),
    ])
}

/// A node as a cluster lists it.
fn node(cards: &Cards<'_>, kepler: &BTreeSet<&str>, s: &Subject) -> Map<String, Value> {
    let text = |key: &str| json!(s.label(key));
    fields([
        ("node_name", json!(s.node)),
        ("instance", json!(s.label("instance").or(s.node.as_deref()))),
        ("internal_ip", text("internal_ip")),
        ("role", json!(role(s, cards.on(s)))),
        ("status", json!(status(s))),
        ("cpu_architecture", text("cpu_architecture")),
        ("os_image", text("os_image")),
        ("kernel_version", text("kernel_version")),
        ("kubelet_version", text("kubelet_version")),
        ("container_runtime", text("container_runtime")),
        ("system_uuid", text("system_uuid")),
        ("pod_cidr", text("pod_cidr")),
        ("has_kepler", json!(s.node.as_deref().is_some_and(|n| kepler.contains(n)))),
    ])
}

/// Nodes of a cluster that Kepler speaks of.
fn with_kepler<'a>(snapshot: &'a Snapshot, cluster: &'a str) -> BTreeSet<&'a str> {
    let is_keplers = |s: &&Arc<Subject>| {
        s.readings
            .iter()
            .chain(&s.others)
            .any(|r| snapshot.sources.get(r.source as usize).is_some_and(|source| &*source.plugin == "kepler"))
    };
    let by_node = of(snapshot, Kind::Node, cluster).filter(is_keplers);
    let by_chassis = of(snapshot, Kind::Chassis, cluster).filter(|s| s.label("method") == Some("kepler"));
    by_node.chain(by_chassis).filter_map(|s| s.node.as_deref()).collect()
}

fn find<'a>(clusters: &'a [ClusterInfo], name: &str) -> Result<&'a ClusterInfo, Problem> {
    clusters.iter().find(|c| c.name == name).ok_or_else(|| Problem::not_found("cluster", name))
}

/// A cluster whose sources are silent shows what they said last.
fn warnings(snapshot: &Snapshot, name: &str) -> Vec<String> {
    match health(snapshot, name) {
        ("unreachable", seen, _) => {
            vec![format!("no source of cluster {name} answers; its last data is from {}", seen.as_deref().unwrap_or("never"))]
        }
        ("unknown", ..) => vec![format!("cluster {name} has no source")],
        _ => vec![],
    }
}

fn resources(snapshot: &Snapshot, name: &str) -> Map<String, Value> {
    let (cards, kepler) = (Cards::of(snapshot), with_kepler(snapshot, name));
    let nodes: Vec<_> = of(snapshot, Kind::Node, name).map(|s| node(&cards, &kepler, s)).collect();
    let pods: Vec<_> = of(snapshot, Kind::Pod, name).filter(|s| s.life == Life::Live).collect();
    let spaces: BTreeSet<&str> = pods.iter().filter_map(|s| pods::namespace(s)).collect();
    fields([
        ("cluster_name", json!(name)),
        ("total_nodes", json!(nodes.len())),
        ("nodes", json!(nodes)),
        ("total_pods", json!(pods.len())),
        ("active_pods", json!(pods.iter().filter(|s| pods::status(s) == "running").count())),
        ("namespaces", json!(spaces)),
        ("total_accelerators", json!(of(snapshot, Kind::Accelerator, name).count())),
        ("total_vms", json!(of(snapshot, Kind::Vm, name).count())),
    ])
}

pub(in crate::api) async fn list(State(app): State<App>, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let (limit, offset) = params.page()?;
    let clusters = app.clusters();
    let link = params.link("/api/v1/clusters", clusters.len())?;
    respond(&app, &headers, "cluster", "clusters", &params, |snapshot| {
        let page: Vec<_> = clusters.iter().skip(offset).take(limit).map(|c| row(c, snapshot)).collect();
        Ok(Rendered { link, ..Rendered::list(&page, clusters.len())? })
    })
}

pub(in crate::api) async fn detail(State(app): State<App>, Id(name): Id, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let clusters = app.clusters();
    let info = find(&clusters, &name)?;
    respond(&app, &headers, "cluster", &format!("clusters/{name}"), &params, |snapshot| {
        let mut out = row(info, snapshot);
        out.extend(resources(snapshot, &name));
        Ok(Rendered { warnings: warnings(snapshot, &name).into(), ..Rendered::object(&out)? })
    })
}

pub(in crate::api) async fn summary(State(app): State<App>, Id(name): Id, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let clusters = app.clusters();
    let info = find(&clusters, &name)?;
    respond(&app, &headers, "cluster", &format!("clusters/{name}/summary"), &params, |snapshot| {
        let (health_status, seen, [sources, failing]) = health(snapshot, &name);
        let out = json!({
            "cluster_name": name, "health_status": health_status, "last_health_check": seen, "region": info.region, "description": info.description,
            "total_sources": sources, "failing_sources": failing, "resources": resources(snapshot, &name),
        });
        Ok(Rendered { warnings: warnings(snapshot, &name).into(), ..Rendered::object(&out)? })
    })
}

pub(in crate::api) async fn topology(
    State(app): State<App>,
    Id(name): Id,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let clusters = app.clusters();
    find(&clusters, &name)?;
    let with_pods = params.flag_or("include_pods", true)?;
    respond(&app, &headers, "cluster", &format!("clusters/{name}/topology"), &params, |snapshot| {
        let (cards, kepler) = (Cards::of(snapshot), with_kepler(snapshot, &name));
        let space = params.get("namespace");
        let pods: Vec<_> =
            of(snapshot, Kind::Pod, &name).filter(|s| space.is_none_or(|wanted| pods::namespace(s) == Some(wanted))).collect();
        let mut by_node: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for pod in &pods {
            let short = json!({ "name": pods::name(pod), "namespace": pods::namespace(pod) });
            by_node.entry(pod.node.as_deref().unwrap_or("")).or_default().push(short);
        }
        let all: Vec<_> = of(snapshot, Kind::Node, &name).collect();
        let nodes: Vec<_> = all
            .iter()
            .map(|s| {
                let on = s.node.as_deref().and_then(|n| by_node.get(n)).map_or(&[][..], Vec::as_slice);
                let mut out = node(&cards, &kepler, s);
                out.insert("name".into(), json!(s.node));
                out.insert("pod_count".into(), json!(on.len()));
                if with_pods {
                    out.insert("pods".into(), json!(on));
                }
                out
            })
            .collect();
        let masters = all.iter().filter(|s| role(s, cards.on(s)) == Some("master")).count();
        let pod_row = |s: &&Arc<Subject>| {
            json!({
                "name": pods::name(s), "namespace": pods::namespace(s), "node": s.node, "host_ip": s.label("host_ip"), "pod_ip": s.label("pod_ip"),
                "uid": s.identity.iter().find(|(k, _)| &**k == "uid").map(|(_, v)| &**v),
                "created_by_kind": s.label("owner_kind"), "created_by_name": s.label("owner_name"),
            })
        };
        let card_of = |s: &Arc<Subject>| json!({ "source": s.node, "target": &*s.id, "type": "node_accelerator" });
        let pod_of = |s: &&Arc<Subject>| {
            let target = format!("{}/{}", pods::namespace(s).unwrap_or(""), pods::name(s).unwrap_or(""));
            json!({ "source": s.node, "target": target, "type": "node_pod" })
        };
        let links = of(snapshot, Kind::Accelerator, &name).filter(|s| s.node.is_some()).map(card_of);
        let placed = pods.iter().filter(|s| with_pods && s.node.is_some());
        let connections: Vec<Value> = links.chain(placed.map(pod_of)).collect();
        let out = json!({
            "cluster_name": name, "nodes": nodes, "connections": connections,
            "pods": if with_pods { pods.iter().map(pod_row).collect::<Vec<_>>() } else { vec![] },
            "summary": {
                "total_nodes": all.len(), "total_pods": pods.len(), "master_nodes": masters, "worker_nodes": all.len() - masters,
                "nodes_with_kepler": all.iter().filter(|s| s.node.as_deref().is_some_and(|n| kepler.contains(n))).count(),
            },
        });
        Ok(Rendered { warnings: warnings(snapshot, &name).into(), ..Rendered::object(&out)? })
    })
}
