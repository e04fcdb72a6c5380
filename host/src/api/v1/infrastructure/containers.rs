//! Containers of pods, each once; those that run below a node without a pod, too.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::super::envelope::{respond, rfc3339};
use super::super::super::params::{Id, Params};
use super::super::super::{App, Problem, Rendered};
use super::super::listing::{Key, arrange, fields, known_cluster, page, the_one};
use super::super::timed::Field;
use super::super::view::{MIB, number, percent, scaled, sources, state, unavailable, whole};
use super::pods::{name, namespace, within};
use super::{MBPS, about, cores, read_at, with_series};
use crate::inventory::{Kind, Life, Snapshot, Subject};

const SORTS: [&str; 6] = ["container_name", "pod_name", "namespace", "current_power_watts", "cpu_usage_millicores", "memory_used_mb"];
const OVER_TIME: [Field<'_>; 3] = [
    ("cpu_usage_millicores", "cpu_usage_cores", 1e3),
    ("memory_used_mb", "memory_used_bytes", 1.0 / MIB),
    ("power_watts", "power_watts", 1.0),
];

fn runtime_id(s: &Subject) -> Option<&str> {
    s.identity.iter().find(|(k, _)| &**k == "runtime_id").map(|(_, v)| &**v)
}

fn pod<'a>(snapshot: &'a Snapshot, s: &Subject) -> Option<&'a Arc<Subject>> {
    snapshot.get(s.parent.as_deref()?).filter(|p| p.kind == Kind::Pod)
}

/// `namespace/pod/container`, below a node its own name.
fn path(snapshot: &Snapshot, s: &Subject) -> String {
    let own = name(s).unwrap_or("");
    match pod(snapshot, s) {
        Some(pod) => format!("{}/{}/{own}", namespace(pod).unwrap_or(""), name(pod).unwrap_or("")),
        None => own.to_owned(),
    }
}

fn status(s: &Subject) -> &'static str {
    match s.life {
        Life::Live => state(s, "container_state").unwrap_or("unknown"),
        _ => "unknown",
    }
}

/// As it stands below its pod.
pub(super) fn part(s: &Subject) -> Value {
    let mb = |metric| whole(scaled(s, metric, 1.0 / MIB));
    json!({
        "name": name(s), "image": s.label("image"), "status": status(s), "init": s.label("init") == Some("true"),
        "cpu_request": cores(s, "cpu_request_cores"), "cpu_limit": cores(s, "cpu_limit_cores"),
        "memory_request_mb": mb("memory_request_bytes"), "memory_limit_mb": mb("memory_limit_bytes"),
        "gpu_request": whole(number(s, "gpu_request_count")), "restarts": whole(number(s, "restarts_total")),
    })
}

fn row(snapshot: &Snapshot, s: &Subject) -> Map<String, Value> {
    let mb = |metric| whole(scaled(s, metric, 1.0 / MIB));
    let pod = pod(snapshot, s);
    fields([
        ("container_id", json!(runtime_id(s).map_or_else(|| path(snapshot, s), str::to_owned))),
        ("container_name", json!(name(s))),
        ("pod_name", json!(pod.and_then(|p| name(p)))),
        ("namespace", json!(pod.and_then(|p| namespace(p)))),
        ("cluster", json!(&*s.cluster)),
        ("image", json!(s.label("image"))),
        ("image_id", json!(s.label("image_id"))),
        ("node_name", json!(s.node.as_ref().or_else(|| pod?.node.as_ref()))),
        ("status", json!(status(s))),
        ("reason", json!(s.label("reason"))),
        ("init", json!(s.label("init") == Some("true"))),
        ("cpu_request", json!(cores(s, "cpu_request_cores"))),
        ("cpu_limit", json!(cores(s, "cpu_limit_cores"))),
        ("memory_request_mb", json!(mb("memory_request_bytes"))),
        ("memory_limit_mb", json!(mb("memory_limit_bytes"))),
        ("restart_policy", json!(pod.and_then(|p| p.label("restart_policy")))),
        ("restart_count", json!(whole(number(s, "restarts_total")))),
        ("created_at", json!(s.label("created_at").or_else(|| pod?.label("created_at")))),
        ("started_at", json!(s.label("started_at"))),
        ("finished_at", json!(s.label("finished_at"))),
        ("current_power_watts", json!(number(s, "power_watts"))),
        ("last_seen", json!(rfc3339(s.last_seen_ms))),
        ("data_source", json!(sources(snapshot, s))),
    ])
}

fn readings(snapshot: &Snapshot, s: &Subject) -> Map<String, Value> {
    let mb = |metric| whole(scaled(s, metric, 1.0 / MIB));
    // The network is the pod's: its containers share one.
    let net = |metric| pod(snapshot, s).and_then(|p| scaled(p, metric, MBPS)).or_else(|| scaled(s, metric, MBPS));
    fields([
        ("container_id", json!(runtime_id(s).map_or_else(|| path(snapshot, s), str::to_owned))),
        ("container_name", json!(name(s))),
        ("timestamp", json!(rfc3339(read_at(s)))),
        ("cpu_usage_millicores", json!(whole(scaled(s, "cpu_usage_cores", 1e3)))),
        ("cpu_utilization_percent", json!(percent(number(s, "cpu_usage_cores"), number(s, "cpu_limit_cores")))),
        ("memory_used_mb", json!(mb("memory_used_bytes"))),
        ("memory_working_set_mb", json!(mb("memory_working_set_bytes"))),
        ("memory_rss_mb", json!(mb("memory_rss_bytes"))),
        ("memory_cache_mb", json!(mb("memory_cache_bytes"))),
        ("memory_utilization_percent", json!(percent(number(s, "memory_working_set_bytes"), number(s, "memory_limit_bytes")))),
        ("fs_reads_mb", json!(mb("disk_read_bytes_total"))),
        ("fs_writes_mb", json!(mb("disk_written_bytes_total"))),
        ("fs_used_mb", json!(mb("filesystem_used_bytes"))),
        ("network_rx_mbps", json!(net("network_rx_bytes_per_second"))),
        ("network_tx_mbps", json!(net("network_tx_bytes_per_second"))),
        ("power_watts", json!(number(s, "power_watts"))),
        ("cpu_power_watts", json!(number(s, "cpu_power_watts"))),
        ("dram_power_watts", json!(number(s, "memory_power_watts"))),
    ])
}

/// By runtime id, with or without its scheme, or by `namespace/pod/container`.
fn find<'a>(snapshot: &'a Snapshot, id: &str, params: &Params) -> Result<&'a Arc<Subject>, Problem> {
    let in_cluster = |s: &&Arc<Subject>| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c);
    let is_it = |known: &str| known == id || known.split_once("://").is_some_and(|(_, bare)| bare == id);
    let is = |s: &&Arc<Subject>| runtime_id(s).is_some_and(is_it);
    let containers = || snapshot.of_kind(Kind::Container).iter().filter(in_cluster);
    let mut found: Vec<_> = containers().filter(is).collect();
    if found.is_empty() {
        let own = id.rsplit('/').next();
        found = containers().filter(|s| name(s) == own && path(snapshot, s) == id).collect();
    }
    the_one("container", id, &found)
}

pub(in crate::api) async fn list(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    let (with_metrics, with_reasons) = (params.flag("include_metrics")?, params.flag("include_reasons")?);
    let with_ended = params.flag("include_terminated")?;
    let bounds = (params.decimal("min_power")?, params.decimal("max_power")?);
    respond(&app, &h, "container", "infrastructure/containers", &params, |snapshot| {
        let by_pod = params.get("namespace").is_some() || params.get("pod").is_some();
        let is =
            |p: &Subject, key: &str, value: Option<&str>| params.get(key).is_none_or(|given| value == Some(given)) && p.kind == Kind::Pod;
        let mut all: Vec<&Arc<Subject>> = snapshot
            .of_kind(Kind::Container)
            .iter()
            .filter(|s| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c))
            .filter(|s| params.get("node").is_none_or(|n| s.node.as_deref() == Some(n)))
            .filter(|s| !by_pod || pod(snapshot, s).is_some_and(|p| is(p, "namespace", namespace(p)) && is(p, "pod", name(p))))
            .filter(|s| with_ended || status(s) != "terminated")
            .filter(|s| within(number(s, "power_watts"), bounds))
            .collect();
        arrange(&mut all, &params, &SORTS, |s, field| match field {
            "current_power_watts" => Key::Number(number(s, "power_watts")),
            "cpu_usage_millicores" => Key::Number(number(s, "cpu_usage_cores")),
            "memory_used_mb" => Key::Number(number(s, "memory_used_bytes")),
            "pod_name" => Key::from(pod(snapshot, s).and_then(|p| name(p))),
            "namespace" => Key::from(pod(snapshot, s).and_then(|p| namespace(p))),
            _ => Key::from(name(s)),
        })?;
        page(&params, "/api/v1/infrastructure/containers", &all, |s| {
            let mut row = row(snapshot, s);
            if with_metrics {
                row.insert("metrics".into(), readings(snapshot, s).into());
            }
            if with_reasons {
                row.insert("unavailable".into(), unavailable(s));
            }
            row
        })
    })
}

async fn one(app: App, id: String, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let (with_metrics, with_reasons) = (params.flag_or("include_metrics", true)?, params.flag("include_reasons")?);
    let route = format!("infrastructure/containers/{id:?}");
    about(
        (app, params, h),
        ("container", route),
        move |snapshot, params| find(snapshot, &id, params),
        move |_, _, snapshot, s| {
            let mut out = row(snapshot, s);
            if with_metrics {
                out.insert("metrics".into(), readings(snapshot, s).into());
            }
            if with_reasons {
                out.insert("unavailable".into(), unavailable(s));
            }
            Rendered::object(&out)
        },
    )
    .await
}

async fn read(app: App, id: String, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let route = format!("infrastructure/containers/{id:?}/metrics");
    about(
        (app, params, h),
        ("container", route),
        move |snapshot, params| find(snapshot, &id, params),
        |app, params, snapshot, s| with_series(app, params, s, &OVER_TIME, readings(snapshot, s), snapshot.at_ms),
    )
    .await
}

/// The names in a container's path.
type Named = Path<(String, String, String)>;

pub(in crate::api) async fn detail(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    one(app, id, params, h).await
}

pub(in crate::api) async fn named(
    State(app): State<App>,
    Path((n, p, c)): Named,
    params: Params,
    h: HeaderMap,
) -> Result<Response, Problem> {
    one(app, format!("{n}/{p}/{c}"), params, h).await
}

pub(in crate::api) async fn metrics(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    read(app, id, params, h).await
}

pub(in crate::api) async fn named_metrics(
    State(app): State<App>,
    Path((n, p, c)): Named,
    params: Params,
    h: HeaderMap,
) -> Result<Response, Problem> {
    read(app, format!("{n}/{p}/{c}"), params, h).await
}
