//! Virtual machines of OpenStack and libvirt. Without such a source the list is empty and says so.

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
use super::super::view::{MIB, number, percent, scaled, sources, state, unavailable, whole};
use super::{MBPS, about, foreign, power_over, read_at, with_series, workload_metric};
use crate::inventory::{Kind, Life, Snapshot, Subject};

const GIB: f64 = 1024.0 * MIB;
const SORTS: [&str; 6] = ["vm_name", "project_name", "hypervisor_hostname", "vcpus", "memory_mb", "current_power_watts"];
const OVER_TIME: [Field<'_>; 4] = [
    ("cpu_usage_cores", "cpu_usage_cores", 1.0),
    ("memory_used_mb", "memory_used_bytes", 1.0 / MIB),
    ("network_rx_mbps", "network_rx_bytes_per_second", MBPS),
    ("network_tx_mbps", "network_tx_bytes_per_second", MBPS),
];

fn uuid(s: &Subject) -> Option<&str> {
    s.label("uuid")
}

/// What its cloud says, else its hypervisor, in the cloud's words; `unknown` where nobody hears of it.
fn status(s: &Subject) -> &'static str {
    match (s.life, state(s, "vm_status"), state(s, "power_state")) {
        (Life::Live, Some(status), _) => status,
        (Life::Live, None, Some("on")) => "active",
        (Life::Live, None, Some("off")) => "shutoff",
        (Life::Live, None, Some("paused")) => "paused",
        _ => "unknown",
    }
}

fn row(snapshot: &Snapshot, watts: Option<f64>, s: &Subject) -> Map<String, Value> {
    let text = |key: &str| json!(s.label(key));
    fields([
        ("vm_id", json!(uuid(s))),
        ("vm_name", json!(s.label("name").or_else(|| s.label("instance_name")))),
        ("cluster", json!(&*s.cluster)),
        ("project_id", text("project_id")),
        ("project_name", text("project")),
        ("user_id", text("user_id")),
        ("status", json!(status(s))),
        ("power_state", json!(state(s, "power_state"))),
        ("task_state", text("task_state")),
        ("hypervisor_hostname", json!(s.node.as_deref().or_else(|| s.label("hypervisor")))),
        ("availability_zone", text("availability_zone")),
        ("flavor_id", text("flavor_id")),
        ("flavor_name", text("flavor")),
        ("vcpus", json!(whole(number(s, "vcpu_count")))),
        ("memory_mb", json!(whole(scaled(s, "memory_total_bytes", 1.0 / MIB)))),
        ("disk_gb", json!(whole(scaled(s, "filesystem_total_bytes", 1.0 / GIB)))),
        ("gpu_count", json!(whole(number(s, "gpu_request_count")))),
        ("pci_devices", json!(s.label("pci_devices").map(|a| a.split(',').collect::<Vec<_>>()).unwrap_or_default())),
        ("image_id", text("image_id")),
        ("image_name", text("image")),
        ("ip_addresses", json!(s.label("addresses").map(|a| a.split(',').collect::<Vec<_>>()).unwrap_or_default())),
        ("metadata", foreign(s, "label:")),
        ("created_at", text("created_at")),
        ("updated_at", text("updated_at")),
        ("launched_at", text("launched_at")),
        ("current_power_watts", json!(super::super::view::watts(watts))),
        ("last_seen", json!(rfc3339(s.last_seen_ms))),
        ("data_source", json!(sources(snapshot, s))),
    ])
}

fn readings(s: &Subject) -> Map<String, Value> {
    let mb = |metric| whole(scaled(s, metric, 1.0 / MIB));
    let left = number(s, "memory_total_bytes").zip(number(s, "memory_used_bytes")).map(|(total, used)| ((total - used) / MIB).max(0.0));
    fields([
        ("vm_id", json!(uuid(s))),
        ("vm_name", json!(s.label("name").or_else(|| s.label("instance_name")))),
        ("timestamp", json!(rfc3339(read_at(s)))),
        ("cpu_utilization_percent", json!(percent(number(s, "cpu_usage_cores"), number(s, "vcpu_count")))),
        ("cpu_time_seconds", json!(number(s, "cpu_seconds_total"))),
        ("memory_used_mb", json!(mb("memory_used_bytes"))),
        ("memory_available_mb", json!(whole(left))),
        ("memory_utilization_percent", json!(percent(number(s, "memory_used_bytes"), number(s, "memory_total_bytes")))),
        ("memory_rss_mb", json!(mb("memory_rss_bytes"))),
        ("disk_read_mb", json!(mb("disk_read_bytes_total"))),
        ("disk_write_mb", json!(mb("disk_written_bytes_total"))),
        ("disk_read_iops", json!(number(s, "disk_reads_per_second"))),
        ("disk_write_iops", json!(number(s, "disk_writes_per_second"))),
        ("disk_used_gb", json!(whole(scaled(s, "filesystem_used_bytes", 1.0 / GIB)))),
        ("network_rx_mbps", json!(scaled(s, "network_rx_bytes_per_second", MBPS))),
        ("network_tx_mbps", json!(scaled(s, "network_tx_bytes_per_second", MBPS))),
        ("network_rx_packets", json!(whole(number(s, "network_rx_packets_total")))),
        ("network_tx_packets", json!(whole(number(s, "network_tx_packets_total")))),
    ])
}

fn select<'a>(snapshot: &'a Snapshot, params: &Params) -> Vec<&'a Arc<Subject>> {
    let is = |given: &str, values: [Option<&str>; 2]| params.get(given).is_none_or(|wanted| values.contains(&Some(wanted)));
    snapshot
        .of_kind(Kind::Vm)
        .iter()
        .filter(|s| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c))
        .filter(|s| is("project", [s.label("project"), s.label("project_id")]))
        .filter(|s| is("status", [Some(status(s)), None]))
        .filter(|s| is("hypervisor", [s.node.as_deref(), s.label("hypervisor")]))
        .collect()
}

/// An empty list is no proof that there are none.
fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let is_silent = snapshot.of_kind(Kind::Vm).is_empty();
    is_silent
        .then(|| "no source speaks of virtual machines: openstack, nova or libvirt is not configured or does not answer".to_owned())
        .into_iter()
        .collect()
}

fn find<'a>(snapshot: &'a Snapshot, id: &str, params: &Params) -> Result<&'a Arc<Subject>, Problem> {
    let in_cluster = |s: &&Arc<Subject>| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c);
    let all = || snapshot.of_kind(Kind::Vm).iter().filter(in_cluster);
    let mut found: Vec<_> = all().filter(|s| uuid(s) == Some(id)).collect();
    if found.is_empty() {
        found = all().filter(|s| s.label("name") == Some(id) || s.label("instance_name") == Some(id)).collect();
    }
    match found.as_slice() {
        [_, _, ..] => Err(Problem::ambiguous(id, found.iter().filter_map(|s| uuid(s)).map(str::to_owned).collect())),
        _ => the_one("virtual machine", id, &found),
    }
}

pub(in crate::api) async fn list(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    let (with_metrics, with_reasons) = (params.flag("include_metrics")?, params.flag("include_reasons")?);
    respond(&app, &h, "vm", "infrastructure/vms", &params, |snapshot| {
        let work = snapshot.workloads();
        let watts = |s: &Subject| work.share(&s.id).and_then(|w| w.watts());
        let mut all = select(snapshot, &params);
        arrange(&mut all, &params, &SORTS, |s, field| match field {
            "vcpus" => Key::Number(number(s, "vcpu_count")),
            "memory_mb" => Key::Number(number(s, "memory_total_bytes")),
            "current_power_watts" => Key::Number(watts(s)),
            "project_name" => Key::from(s.label("project")),
            "hypervisor_hostname" => Key::from(s.node.as_deref()),
            _ => Key::from(s.label("name")),
        })?;
        let rendered = page(&params, "/api/v1/infrastructure/vms", &all, |s| {
            let mut row = row(snapshot, watts(s), s);
            if with_metrics {
                row.insert("metrics".into(), readings(s).into());
            }
            if with_reasons {
                row.insert("unavailable".into(), unavailable(s));
            }
            row
        })?;
        Ok(Rendered { warnings: warnings(snapshot).into(), ..rendered })
    })
}

pub(in crate::api) async fn summary(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    respond(&app, &h, "vm", "infrastructure/vms/summary", &params, |snapshot| {
        let (work, all) = (snapshot.workloads(), select(snapshot, &params));
        let sum = |of: &dyn Fn(&Subject) -> Option<f64>| all.iter().filter_map(|s| of(s)).reduce(|a, b| a + b);
        let mut by_status: std::collections::BTreeMap<&str, usize> = Default::default();
        let mut by_project: std::collections::BTreeMap<&str, usize> = Default::default();
        for s in &all {
            *by_status.entry(status(s)).or_default() += 1;
            *by_project.entry(s.label("project").or_else(|| s.label("project_id")).unwrap_or("")).or_default() += 1;
        }
        let watts = sum(&|s| work.share(&s.id).and_then(|w| w.watts()));
        let data = json!({
            "total_vms": all.len(), "vms_by_status": by_status, "vms_by_project": by_project,
            "total_vcpus": whole(sum(&|s| number(s, "vcpu_count"))),
            "total_memory_mb": whole(sum(&|s| scaled(s, "memory_total_bytes", 1.0 / MIB))),
            "total_disk_gb": whole(sum(&|s| scaled(s, "filesystem_total_bytes", 1.0 / GIB))),
            "total_power_watts": watts.map(|w| (w * 1e6).round() / 1e6),
        });
        Ok(Rendered { warnings: warnings(snapshot).into(), ..Rendered::object(&data)? })
    })
}

pub(in crate::api) async fn detail(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let (with_metrics, with_power, with_reasons) =
        (params.flag("include_metrics")?, params.flag("include_power")?, params.flag("include_reasons")?);
    let route = format!("infrastructure/vms/{id:?}");
    about(
        (app, params, h),
        ("vm", route),
        move |snapshot, params| find(snapshot, &id, params),
        move |app, params, snapshot, s| {
            let mut out = row(snapshot, snapshot.workloads().share(&s.id).and_then(|w| w.watts()), s);
            if with_metrics {
                out.insert("metrics".into(), readings(s).into());
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
    let work = snapshot.workloads();
    let now = work.share(&s.id);
    out.extend(fields([
        ("vm_id", json!(uuid(s))),
        ("vm_name", json!(s.label("name").or_else(|| s.label("instance_name")))),
        ("timestamp", json!(rfc3339(now.map_or(s.last_seen_ms, |w| w.at_ms)))),
        ("total_power_watts", json!(super::super::view::watts(now.and_then(|w| w.watts())))),
        ("cpu_power_watts", json!(now.and_then(|w| w.cpu))),
        ("memory_power_watts", json!(now.and_then(|w| w.memory))),
        ("gpu_power_watts", json!(now.and_then(|w| w.accelerators))),
        ("estimation_method", json!(now.map(|w| w.quality))),
    ]));
    Ok((out, window.warning.into_iter().collect()))
}

pub(in crate::api) async fn power(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let route = format!("infrastructure/vms/{id:?}/power");
    about(
        (app, params, h),
        ("vm", route),
        move |snapshot, params| find(snapshot, &id, params),
        |app, params, snapshot, s| {
            let (out, warnings) = power_row(app, params, snapshot, s)?;
            Ok(Rendered { warnings: warnings.into(), ..Rendered::object(&out)? })
        },
    )
    .await
}

pub(in crate::api) async fn metrics(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let route = format!("infrastructure/vms/{id:?}/metrics");
    about(
        (app, params, h),
        ("vm", route),
        move |snapshot, params| find(snapshot, &id, params),
        |app, params, snapshot, s| with_series(app, params, s, &OVER_TIME, readings(s), snapshot.at_ms),
    )
    .await
}
