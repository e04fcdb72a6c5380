//! Nodes: what Kubernetes, their exporters and their BMCs say of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::super::envelope::{respond, rfc3339};
use super::super::super::params::{Id, Params};
use super::super::super::{App, Problem, Rendered};
use super::super::listing::{Key, arrange, fields, known_cluster, page, the_one};
use super::super::timed::Field;
use super::super::view::{MIB, number, percent, scaled, sources, state, unavailable, watts, whole};
use super::{Cards, MBPS, about, foreign, power_over, read_at, with_series};
use crate::inventory::{Kind, Life, Snapshot, Subject};
use crate::power::{Account, Watts};

pub(in crate::api) const ROLES: [&str; 4] = ["master", "worker", "gpu_worker", "npu_worker"];
pub(in crate::api) const STATUSES: [&str; 4] = ["ready", "not_ready", "unknown", "maintenance"];
const SORTS: [&str; 6] = ["node_name", "current_power_watts", "gpu_count", "cpu_utilization_percent", "memory_used_mb", "status"];
const OVER_TIME: [Field<'_>; 5] = [
    ("cpu_utilization_percent", "utilization_ratio", 100.0),
    ("memory_used_mb", "memory_used_bytes", 1.0 / MIB),
    ("network_rx_mbps", "network_rx_bytes_per_second", MBPS),
    ("network_tx_mbps", "network_tx_bytes_per_second", MBPS),
    ("power_watts", crate::power::SERVER_WATTS, 1.0),
];

/// As Kubernetes calls it, else by the cards in it; `None` where nobody says.
pub(in crate::api::v1) fn role(s: &Subject, [gpus, npus]: [usize; 2]) -> Option<&'static str> {
    let roles = s.label("roles");
    let is_master = |r: &str| matches!(r, "control-plane" | "master" | "controlplane" | "etcd");
    let has = |cards: usize, metric: &str| cards > 0 || number(s, metric).is_some_and(|n| n > 0.0);
    match () {
        () if roles.is_some_and(|all| all.split(',').any(is_master)) => Some("master"),
        () if has(gpus, "gpu_capacity_count") => Some("gpu_worker"),
        () if has(npus, "npu_capacity_count") => Some("npu_worker"),
        () if roles.is_some() || state(s, "readiness").is_some() => Some("worker"),
        () => None,
    }
}

/// What Kubernetes says of it; a node that nobody hears of is `unknown`.
pub(in crate::api::v1) fn status(s: &Subject) -> &'static str {
    match state(s, "readiness") {
        _ if s.life != Life::Live => "unknown",
        Some("ready") if s.label("unschedulable") == Some("true") => "maintenance",
        Some(known) => known,
        None => "unknown",
    }
}

/// Cards as they are watched, else as Kubernetes counts them.
fn count(cards: usize, s: &Subject, metric: &str) -> Option<u64> {
    if cards > 0 { Some(cards as u64) } else { whole(number(s, metric)) }
}

fn row(snapshot: &Snapshot, account: &Account, cards: &Cards<'_>, s: &Subject) -> Map<String, Value> {
    let [gpus, npus] = cards.on(s);
    let server = account.server(&s.id);
    let mb = |metric| whole(scaled(s, metric, 1.0 / MIB));
    fields([
        ("node_name", json!(s.node)),
        ("instance", json!(s.label("instance").or(s.node.as_deref()))),
        ("cluster", json!(&*s.cluster)),
        ("hostname", json!(s.label("hostname").or(s.node.as_deref()))),
        ("role", json!(role(s, [gpus, npus]))),
        ("status", json!(status(s))),
        ("conditions", json!(s.label("conditions").map(|c| c.split(',').collect::<Vec<_>>()).unwrap_or_default())),
        ("internal_ip", json!(s.label("internal_ip"))),
        ("cpu_architecture", json!(s.label("cpu_architecture"))),
        ("kernel_version", json!(s.label("kernel_version"))),
        ("os_image", json!(s.label("os_image"))),
        ("container_runtime", json!(s.label("container_runtime"))),
        ("kubelet_version", json!(s.label("kubelet_version"))),
        ("cpu_cores", json!(number(s, "cpu_capacity_cores"))),
        ("memory_total_mb", json!(mb("memory_total_bytes"))),
        ("gpu_count", json!(count(gpus, s, "gpu_capacity_count"))),
        ("npu_count", json!(count(npus, s, "npu_capacity_count"))),
        ("allocatable_cpu_cores", json!(number(s, "cpu_allocatable_cores"))),
        ("allocatable_memory_mb", json!(mb("memory_allocatable_bytes"))),
        ("allocatable_gpu_count", json!(whole(number(s, "gpu_allocatable_count")))),
        ("allocatable_npu_count", json!(whole(number(s, "npu_allocatable_count")))),
        ("current_power_watts", json!(watts(server.and_then(|s| s.watts())))),
        ("power_source", json!(server.and_then(|s| s.total()).map(|(method, _)| method.name()))),
        ("labels", foreign(s, "label:")),
        ("annotations", foreign(s, "annotation:")),
        ("last_seen", json!(rfc3339(s.last_seen_ms))),
        ("data_source", json!(sources(snapshot, s))),
    ])
}

fn readings(snapshot: &Snapshot, s: &Subject) -> Map<String, Value> {
    let mb = |metric| whole(scaled(s, metric, 1.0 / MIB));
    let (mut pods, mut containers) = (0, 0);
    for pod in snapshot.of_kind(Kind::Pod).iter().filter(|p| p.cluster == s.cluster && p.node == s.node && p.life == Life::Live) {
        pods += 1;
        containers += snapshot.children(&pod.id, Kind::Container).count();
    }
    let has_pods = snapshot.of_kind(Kind::Pod).iter().any(|p| p.cluster == s.cluster);
    fields([
        ("node_name", json!(s.node)),
        ("timestamp", json!(rfc3339(read_at(s)))),
        ("cpu_utilization_percent", json!(scaled(s, "utilization_ratio", 100.0))),
        ("cpu_load_1min", json!(number(s, "load_1min_count"))),
        ("cpu_load_5min", json!(number(s, "load_5min_count"))),
        ("cpu_load_15min", json!(number(s, "load_15min_count"))),
        ("memory_total_mb", json!(mb("memory_total_bytes"))),
        ("memory_used_mb", json!(mb("memory_used_bytes"))),
        ("memory_available_mb", json!(mb("memory_available_bytes"))),
        ("memory_utilization_percent", json!(percent(number(s, "memory_used_bytes"), number(s, "memory_total_bytes")))),
        ("disk_total_mb", json!(mb("filesystem_total_bytes"))),
        ("disk_used_mb", json!(mb("filesystem_used_bytes"))),
        ("disk_available_mb", json!(mb("filesystem_available_bytes"))),
        ("disk_utilization_percent", json!(percent(number(s, "filesystem_used_bytes"), number(s, "filesystem_total_bytes")))),
        ("disk_read_bytes_per_second", json!(number(s, "disk_read_bytes_per_second"))),
        ("disk_written_bytes_per_second", json!(number(s, "disk_written_bytes_per_second"))),
        ("network_rx_mbps", json!(scaled(s, "network_rx_bytes_per_second", MBPS))),
        ("network_tx_mbps", json!(scaled(s, "network_tx_bytes_per_second", MBPS))),
        ("pod_count", json!(has_pods.then_some(pods))),
        ("container_count", json!(has_pods.then_some(containers))),
    ])
}

/// What a node draws now, and its parts; never a sum of what contains each other.
fn current(account: &Account, s: &Subject) -> Value {
    let Some((server, (method, total))) = account.server(&s.id).and_then(|s| Some((s, s.total()?))) else { return Value::Null };
    let part = |part: &Option<Watts>| watts(part.map(|w| w.watts));
    json!({
        "total_power_watts": watts(Some(total.watts)), "power_source": method.name(), "quality": total.quality, "timestamp": rfc3339(total.at_ms),
        "cpu_power_watts": part(&server.cpu), "dram_power_watts": part(&server.memory), "gpu_power_watts": part(&server.accelerators),
        "other_power_watts": watts(server.rest()),
    })
}

fn select<'a>(snapshot: &'a Snapshot, cards: &Cards<'_>, params: &Params) -> Result<Vec<&'a Arc<Subject>>, Problem> {
    let (by_role, by_status) = (params.one_of("role", &ROLES)?, params.one_of("status", &STATUSES)?);
    let has_gpu = params.get("has_gpu").map(|_| params.flag("has_gpu")).transpose()?;
    let selector = super::selector::Selector::parse(params.get("label_selector"))?;
    Ok(snapshot
        .of_kind(Kind::Node)
        .iter()
        .filter(|s| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c))
        .filter(|s| by_role.is_none_or(|wanted| role(s, cards.on(s)) == Some(wanted)))
        .filter(|s| by_status.is_none_or(|wanted| status(s) == wanted))
        .filter(|s| has_gpu.is_none_or(|wanted| count(cards.on(s)[0], s, "gpu_capacity_count").is_some_and(|n| n > 0) == wanted))
        .filter(|s| selector.takes(s))
        .collect())
}

/// A node by its name, in the cluster asked for.
pub(in crate::api::v1) fn find<'a>(snapshot: &'a Snapshot, name: &str, params: &Params) -> Result<&'a Arc<Subject>, Problem> {
    let in_cluster = |s: &&Arc<Subject>| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c);
    let found: Vec<_> = snapshot.of_kind(Kind::Node).iter().filter(|s| s.node.as_deref() == Some(name)).filter(in_cluster).collect();
    the_one("node", name, &found)
}

pub(in crate::api) async fn list(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    let (with_metrics, with_reasons) = (params.flag("include_metrics")?, params.flag("include_reasons")?);
    respond(&app, &h, "node", "infrastructure/nodes", &params, |snapshot| {
        let (cards, account) = (Cards::of(snapshot), snapshot.account());
        let mut all = select(snapshot, &cards, &params)?;
        arrange(&mut all, &params, &SORTS, |s, field| match field {
            "current_power_watts" => Key::Number(account.server(&s.id).and_then(|w| w.watts())),
            "gpu_count" => Key::Number(Some(cards.on(s)[0] as f64)),
            "cpu_utilization_percent" => Key::Number(number(s, "utilization_percent")),
            "memory_used_mb" => Key::Number(number(s, "memory_used_mb")),
            "status" => Key::from(Some(status(s))),
            _ => Key::from(s.node.as_deref()),
        })?;
        page(&params, "/api/v1/infrastructure/nodes", &all, |s| {
            let mut row = row(snapshot, account, &cards, s);
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

pub(in crate::api) async fn summary(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    respond(&app, &h, "node", "infrastructure/nodes/summary", &params, |snapshot| {
        let (cards, account) = (Cards::of(snapshot), snapshot.account());
        let mut all = select(snapshot, &cards, &params)?;
        let with = |wanted: &str| all.iter().filter(|s| status(s) == wanted).count();
        let mut by_role: BTreeMap<&str, usize> = BTreeMap::new();
        all.iter().for_each(|s| *by_role.entry(role(s, cards.on(s)).unwrap_or("unknown")).or_default() += 1);
        let known: Vec<f64> = all.iter().filter_map(|s| account.server(&s.id)?.watts()).collect();
        let total = watts((!known.is_empty()).then(|| known.iter().sum()));
        let sum = |i: usize, metric: &str| all.iter().filter_map(|s| count(cards.on(s)[i], s, metric)).sum::<u64>();
        let mut data = json!({
            "total_nodes": all.len(), "ready_nodes": with("ready"), "not_ready_nodes": with("not_ready"), "unknown_nodes": with("unknown"),
            "maintenance_nodes": with("maintenance"), "total_gpus": sum(0, "gpu_capacity_count"), "total_npus": sum(1, "npu_capacity_count"),
            "total_power_watts": total, "avg_power_per_node_watts": total.map(|t| (t / known.len() as f64 * 1e3).round() / 1e3),
            "power_known_count": known.len(), "nodes_by_role": by_role,
        });
        let missing = all.len() - known.len();
        let warnings: Vec<String> = (missing > 0)
            .then(|| format!("{missing} of {} nodes have no power reading and are not in the total", all.len()))
            .into_iter()
            .collect();
        let power = |s: &Subject| account.server(&s.id).and_then(|w| w.watts());
        all.sort_by(|a, b| power(b).unwrap_or(-1.0).total_cmp(&power(a).unwrap_or(-1.0)));
        let top = all.iter().filter(|s| power(s).is_some()).take(10).map(|s| Value::Object(row(snapshot, account, &cards, s)));
        data["top_nodes_by_power"] = top.collect();
        Ok(Rendered { warnings: warnings.into(), ..Rendered::object(&data)? })
    })
}

pub(in crate::api) async fn detail(State(app): State<App>, Id(name): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let (with_metrics, with_power, with_reasons) =
        (params.flag("include_metrics")?, params.flag("include_power")?, params.flag("include_reasons")?);
    let route = format!("infrastructure/nodes/{name:?}");
    about(
        (app, params, h),
        ("node", route),
        move |snapshot, params| find(snapshot, &name, params),
        move |app, params, snapshot, s| {
            let account = snapshot.account();
            let mut out = row(snapshot, account, &Cards::of(snapshot), s);
            if with_metrics {
                out.insert("metrics".into(), readings(snapshot, s).into());
            }
            if with_power {
                out.insert("power".into(), power_row(app, params, snapshot, s)?.0.into());
            }
            if with_reasons {
                out.insert("unavailable".into(), unavailable(s));
            }
            Rendered::object(&out)
        },
    )
    .await
}

fn power_row(app: &App, params: &Params, snapshot: &Snapshot, s: &Subject) -> Result<(Map<String, Value>, Vec<String>), Problem> {
    let window = params.window("1h", snapshot.at_ms)?;
    let mut out = power_over(app, s, crate::power::SERVER_WATTS, &window)?;
    out.insert("node_name".into(), json!(s.node));
    out.insert("current".into(), current(snapshot.account(), s));
    Ok((out, window.warning.into_iter().collect()))
}

pub(in crate::api) async fn power(State(app): State<App>, Id(name): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let route = format!("infrastructure/nodes/{name:?}/power");
    about(
        (app, params, h),
        ("node", route),
        move |snapshot, params| find(snapshot, &name, params),
        |app, params, snapshot, s| {
            let (out, warnings) = power_row(app, params, snapshot, s)?;
            Ok(Rendered { warnings: warnings.into(), ..Rendered::object(&out)? })
        },
    )
    .await
}

pub(in crate::api) async fn metrics(State(app): State<App>, Id(name): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let route = format!("infrastructure/nodes/{name:?}/metrics");
    about(
        (app, params, h),
        ("node", route),
        move |snapshot, params| find(snapshot, &name, params),
        |app, params, snapshot, s| with_series(app, params, s, &OVER_TIME, readings(snapshot, s), snapshot.at_ms),
    )
    .await
}
