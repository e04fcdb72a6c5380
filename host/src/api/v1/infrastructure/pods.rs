//! Pods, whichever of Kubernetes, kube-state-metrics, cAdvisor and Kepler speak of them. What a pod uses is said once, on the pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::super::envelope::{respond, rfc3339};
use super::super::super::params::Params;
use super::super::super::{App, Problem, Rendered};
use super::super::listing::{Key, arrange, fields, known_cluster, page, the_one};
use super::super::timed::Field;
use super::super::view::{MIB, number, percent, scaled, sources, state, unavailable, watts, whole};
use super::containers::part;
use super::selector::Selector;
use super::{MBPS, about, cores, foreign, power_over, read_at, with_series, workload_metric};
use crate::inventory::{Kind, Life, Snapshot, Subject};
use crate::power::Workloads;

pub(in crate::api) const STATUSES: [&str; 5] = ["running", "pending", "succeeded", "failed", "unknown"];
const SORTS: [&str; 7] =
    ["pod_name", "namespace", "node_name", "current_power_watts", "cpu_usage_millicores", "memory_used_mb", "created_at"];
const OVER_TIME: [Field<'_>; 4] = [
    ("cpu_usage_millicores", "cpu_usage_cores", 1e3),
    ("memory_used_mb", "memory_used_bytes", 1.0 / MIB),
    ("network_rx_mbps", "network_rx_bytes_per_second", MBPS),
    ("network_tx_mbps", "network_tx_bytes_per_second", MBPS),
];

fn identity<'a>(s: &'a Subject, key: &str) -> Option<&'a str> {
    s.identity.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v)
}

pub(in crate::api::v1) fn name(s: &Subject) -> Option<&str> {
    identity(s, "name")
}

pub(in crate::api::v1) fn namespace(s: &Subject) -> Option<&str> {
    identity(s, "namespace")
}

/// Its phase; a pod that nobody hears of is `unknown`.
pub(in crate::api::v1) fn status(s: &Subject) -> &'static str {
    match s.life {
        Life::Live => state(s, "phase").unwrap_or("unknown"),
        _ => "unknown",
    }
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}

/// The filters of a list.
struct Filter<'a> {
    params: &'a Params,
    selector: Selector,
    status: Option<&'a str>,
    has_gpu: Option<bool>,
    power: (Option<f64>, Option<f64>),
}

impl<'a> Filter<'a> {
    fn of(params: &'a Params) -> Result<Self, Problem> {
        Ok(Self {
            params,
            selector: Selector::parse(params.get("label_selector"))?,
            status: params.one_of("status", &STATUSES)?,
            has_gpu: params.get("has_gpu").map(|_| params.flag("has_gpu")).transpose()?,
            power: (params.decimal("min_power")?, params.decimal("max_power")?),
        })
    }

    fn is_open(&self) -> bool {
        let named = ["cluster", "namespace", "node", "label_selector", "status", "has_gpu", "min_power", "max_power"];
        named.iter().all(|p| self.params.get(p).is_none())
    }

    fn select<'s>(&self, snapshot: &'s Snapshot, work: &Workloads) -> Vec<&'s Arc<Subject>> {
        let pods = snapshot.of_kind(Kind::Pod).iter();
        if self.is_open() {
            return pods.collect();
        }
        let (cluster, node, space) = (self.params.cluster.as_deref(), self.params.get("node"), self.params.get("namespace"));
        pods.filter(|s| cluster.is_none_or(|c| *s.cluster == *c))
            .filter(|s| node.is_none_or(|n| s.node.as_deref() == Some(n)))
            .filter(|s| space.is_none_or(|n| namespace(s) == Some(n)))
            .filter(|s| self.status.is_none_or(|wanted| status(s) == wanted))
            .filter(|s| self.has_gpu.is_none_or(|wanted| (gpus(work, s).unwrap_or(0) > 0) == wanted))
            .filter(|s| self.selector.takes(s))
            .filter(|s| self.power == (None, None) || within(work.share(&s.id).and_then(|w| w.watts()), self.power))
            .collect()
    }
}

/// Whether watts are within bounds; unknown ones are within none.
pub(super) fn within(watts: Option<f64>, (least, most): (Option<f64>, Option<f64>)) -> bool {
    least.is_none_or(|l| watts.is_some_and(|w| w >= l)) && most.is_none_or(|m| watts.is_some_and(|w| w <= m))
}

/// Cards that it asked for, else those that it is seen to hold.
fn gpus(work: &Workloads, s: &Subject) -> Option<u64> {
    whole(number(s, "gpu_request_count")).or_else(|| work.share(&s.id).map(|w| w.cards as u64).filter(|n| *n > 0))
}

/// A pod's row; `with` are its power and its usage.
fn row(snapshot: &Snapshot, work: &Workloads, s: &Subject, (with_power, with_metrics): (bool, bool)) -> Map<String, Value> {
    let mb = |metric| whole(scaled(s, metric, 1.0 / MIB));
    let containers: Vec<&str> =
        snapshot.children(&s.id, Kind::Container).filter(|c| c.label("init") != Some("true")).filter_map(|c| name(c)).collect();
    let mut out = fields([
        ("pod_name", json!(name(s))),
        ("namespace", json!(namespace(s))),
        ("uid", json!(identity(s, "uid"))),
        ("cluster", json!(&*s.cluster)),
        ("node_name", json!(s.node)),
        ("status", json!(status(s))),
        ("phase", json!(capitalised(status(s)))),
        ("container_count", json!(containers.len())),
        ("container_names", json!(containers)),
        ("cpu_request", json!(cores(s, "cpu_request_cores"))),
        ("cpu_limit", json!(cores(s, "cpu_limit_cores"))),
        ("memory_request_mb", json!(mb("memory_request_bytes"))),
        ("memory_limit_mb", json!(mb("memory_limit_bytes"))),
        ("gpu_count", json!(gpus(work, s))),
        ("npu_count", json!(whole(number(s, "npu_request_count")))),
        ("restarts", json!(whole(number(s, "restarts_total")))),
        ("labels", foreign(s, "label:")),
        ("annotations", foreign(s, "annotation:")),
        ("workload_type", json!(s.label("workload_kind").or_else(|| s.label("owner_kind")))),
        ("workload_name", json!(s.label("workload_name").or_else(|| s.label("owner_name")))),
        ("queue", json!(s.label("queue"))),
        ("created_at", json!(s.label("created_at"))),
        ("started_at", json!(s.label("started_at"))),
        ("last_seen", json!(rfc3339(s.last_seen_ms))),
        ("data_source", json!(sources(snapshot, s))),
    ]);
    if with_power {
        out.insert("current_power_watts".into(), json!(watts(work.share(&s.id).and_then(|w| w.watts()))));
    }
    if with_metrics {
        out.insert("cpu_usage_millicores".into(), json!(whole(scaled(s, "cpu_usage_cores", 1e3))));
        out.insert("memory_used_mb".into(), json!(mb("memory_used_bytes")));
    }
    out
}

fn readings(snapshot: &Snapshot, s: &Subject) -> Map<String, Value> {
    let mb = |metric| whole(scaled(s, metric, 1.0 / MIB));
    let containers: Vec<_> = snapshot.children(&s.id, Kind::Container).filter(|c| c.label("init") != Some("true")).collect();
    let ready = containers.iter().filter(|c| state(c, "readiness") == Some("ready")).count();
    fields([
        ("pod_name", json!(name(s))),
        ("namespace", json!(namespace(s))),
        ("timestamp", json!(rfc3339(read_at(s)))),
        ("cpu_usage_millicores", json!(whole(scaled(s, "cpu_usage_cores", 1e3)))),
        ("cpu_utilization_percent", json!(percent(number(s, "cpu_usage_cores"), number(s, "cpu_limit_cores")))),
        ("memory_used_mb", json!(mb("memory_used_bytes"))),
        ("memory_working_set_mb", json!(mb("memory_working_set_bytes"))),
        ("memory_utilization_percent", json!(percent(number(s, "memory_working_set_bytes"), number(s, "memory_limit_bytes")))),
        ("network_rx_mbps", json!(scaled(s, "network_rx_bytes_per_second", MBPS))),
        ("network_tx_mbps", json!(scaled(s, "network_tx_bytes_per_second", MBPS))),
        ("fs_used_mb", json!(mb("filesystem_used_bytes"))),
        ("container_count", json!(containers.len())),
        ("ready_containers", json!(containers.iter().any(|c| state(c, "readiness").is_some()).then_some(ready))),
        ("restarts", json!(whole(number(s, "restarts_total")))),
    ])
}

fn current(snapshot: &Snapshot, work: &Workloads, s: &Subject) -> Value {
    let Some(share) = work.share(&s.id) else { return Value::Null };
    let containers: Map<String, Value> =
        snapshot.children(&s.id, Kind::Container).filter_map(|c| Some((name(c)?.to_owned(), json!(number(c, "power_watts")?)))).collect();
    json!({
        "total_power_watts": watts(share.watts()), "quality": share.quality, "timestamp": rfc3339(share.at_ms),
        "cpu_power_watts": watts(share.cpu), "dram_power_watts": watts(share.memory), "gpu_power_watts": watts(share.accelerators),
        "container_power_watts": containers,
    })
}

pub(super) fn find<'a>(snapshot: &'a Snapshot, (space, pod): (&str, &str), params: &Params) -> Result<&'a Arc<Subject>, Problem> {
    let in_cluster = |s: &&Arc<Subject>| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c);
    let all = snapshot.of_kind(Kind::Pod).iter().filter(|s| name(s) == Some(pod) && namespace(s) == Some(space));
    let found: Vec<_> = all.filter(in_cluster).collect();
    the_one("pod", &format!("{space}/{pod}"), &found)
}

pub(in crate::api) async fn list(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    let with = (params.flag_or("include_power", true)?, params.flag("include_metrics")?);
    let (filter, with_reasons) = (Filter::of(&params)?, params.flag("include_reasons")?);
    respond(&app, &h, "pod", "infrastructure/pods", &params, |snapshot| {
        let work = snapshot.workloads();
        let mut all = filter.select(snapshot, work);
        arrange(&mut all, &params, &SORTS, |s, field| match field {
            "current_power_watts" => Key::Number(work.share(&s.id).and_then(|w| w.watts())),
            "cpu_usage_millicores" => Key::Number(number(s, "cpu_usage_cores")),
            "memory_used_mb" => Key::Number(number(s, "memory_used_bytes")),
            "namespace" => Key::from(namespace(s)),
            "node_name" => Key::from(s.node.as_deref()),
            "created_at" => Key::from(s.label("created_at")),
            _ => Key::from(name(s)),
        })?;
        page(&params, "/api/v1/infrastructure/pods", &all, |s| {
            let mut row = row(snapshot, work, s, with);
            if with_reasons {
                row.insert("unavailable".into(), unavailable(s));
            }
            row
        })
    })
}

pub(in crate::api) async fn summary(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    let filter = Filter::of(&params)?;
    respond(&app, &h, "pod", "infrastructure/pods/summary", &params, |snapshot| {
        let work = snapshot.workloads();
        let all = filter.select(snapshot, work);
        let mut by_status: BTreeMap<&str, usize> = STATUSES.iter().map(|s| (*s, 0)).collect();
        let mut by_space: BTreeMap<&str, (usize, Option<f64>)> = BTreeMap::new();
        let mut watts: Vec<(f64, &Arc<Subject>)> = Vec::new();
        for s in &all {
            *by_status.entry(status(s)).or_default() += 1;
            let space = by_space.entry(namespace(s).unwrap_or("")).or_default();
            space.0 += 1;
            if let Some(w) = work.share(&s.id).and_then(|w| w.watts()) {
                watts.push((w, s));
                space.1 = Some(space.1.unwrap_or(0.0) + w);
            }
        }
        let round = |v: f64| (v * 1e6).round() / 1e6;
        let total = (!watts.is_empty()).then(|| round(watts.iter().map(|w| w.0).sum()));
        watts.sort_by(|a, b| b.0.total_cmp(&a.0));
        let top: Vec<_> = watts.iter().take(10).map(|(_, s)| row(snapshot, work, s, (true, false))).collect();
        let spaces: Map<String, Value> = by_space
            .iter()
            .map(|(name, (pods, watts))| ((*name).to_owned(), json!({ "pods": pods, "power_watts": watts.map(round) })))
            .collect();
        Rendered::object(&json!({
            "total_pods": all.len(), "namespaces": by_space.len(), "running_pods": by_status["running"], "pending_pods": by_status["pending"],
            "failed_pods": by_status["failed"], "pods_by_status": by_status, "namespaces_summary": spaces,
            "total_power_watts": total, "avg_power_per_pod_watts": total.map(|t| (t / watts.len() as f64 * 1e3).round() / 1e3),
            "power_known_count": watts.len(), "top_pods_by_power": top,
        }))
    })
}

/// The names in a pod's path.
type Named = Path<(String, String)>;

pub(in crate::api) async fn detail(State(app): State<App>, Path(names): Named, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let (with_metrics, with_power) = (params.flag_or("include_metrics", true)?, params.flag_or("include_power", true)?);
    let with_reasons = params.flag("include_reasons")?;
    let route = format!("infrastructure/pods/{names:?}");
    about(
        (app, params, h),
        ("pod", route),
        move |snapshot, params| find(snapshot, (&names.0, &names.1), params),
        move |app, params, snapshot, s| {
            let work = snapshot.workloads();
            let mut out = row(snapshot, work, s, (with_power, with_metrics));
            let containers: Vec<_> = snapshot.children(&s.id, Kind::Container).map(|c| part(c)).collect();
            out.insert("containers".into(), json!(containers));
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
    let mut out = power_over(app, s, workload_metric(snapshot, s), &window)?;
    let started = s.label("started_at").and_then(|t| time::OffsetDateTime::parse(t, &time::format_description::well_known::Rfc3339).ok());
    let hours = started.map(|t| (snapshot.at_ms as f64 / 1e3 - t.unix_timestamp() as f64) / 3_600.0).filter(|h| *h >= 0.0);
    if let Some(statistics) = out.get_mut("statistics") {
        statistics["runtime_hours"] = json!(hours.map(|h| (h * 1e2).round() / 1e2));
    }
    out.insert("pod_name".into(), json!(name(s)));
    out.insert("namespace".into(), json!(namespace(s)));
    out.insert("current".into(), current(snapshot, snapshot.workloads(), s));
    Ok((out, window.warning.into_iter().collect()))
}

pub(in crate::api) async fn power(State(app): State<App>, Path(names): Named, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let route = format!("infrastructure/pods/{names:?}/power");
    about(
        (app, params, h),
        ("pod", route),
        move |snapshot, params| find(snapshot, (&names.0, &names.1), params),
        |app, params, snapshot, s| {
            let (out, warnings) = power_row(app, params, snapshot, s)?;
            Ok(Rendered { warnings: warnings.into(), ..Rendered::object(&out)? })
        },
    )
    .await
}

pub(in crate::api) async fn metrics(State(app): State<App>, Path(names): Named, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let route = format!("infrastructure/pods/{names:?}/metrics");
    about(
        (app, params, h),
        ("pod", route),
        move |snapshot, params| find(snapshot, (&names.0, &names.1), params),
        |app, params, snapshot, s| with_series(app, params, s, &OVER_TIME, readings(snapshot, s), snapshot.at_ms),
    )
    .await
}
