//! What was, from history: steps that begin at multiples of `step` from the Unix epoch; one that nobody observed is null.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::super::envelope::rfc3339;
use super::super::super::params::{Params, Window};
use super::super::super::{Problem, Rendered};
use super::super::timed::from_history;
use super::super::view::{catalogue_name, converted};
use super::watts;
use crate::catalogue::Catalogue;
use crate::history::{Aggregate, History, MAX_POINTS, Observation};
use crate::inventory::{Kind, Snapshot, Subject};
use crate::power::{self, By, Facility};

/// What `metric_name` may be.
pub(super) const METRIC_NAMES: [&str; 4] = ["utilization", "temperature", "memory_usage", "power"];
const RESOURCES: [&str; 4] = ["gpus", "npus", "accelerators", "nodes"];
/// As documented; a window that has fewer than twelve of these is cut into sixty.
const STEP_MS: i64 = 5 * 60_000;
/// Points of all series of one answer: 20 MB of JSON.
const ALL_POINTS: usize = 400_000;
/// Rows of a view in one answer, unless `limit` says otherwise.
const ROWS: usize = 20;

/// The window that is asked for, with the documented step where none is given.
fn window(params: &Params, snapshot: &Snapshot) -> Result<Window, Problem> {
    let mut window = params.window("1h", snapshot.at_ms)?;
    let length = window.end - window.start;
    if params.get("step").is_none() && length >= 12 * STEP_MS {
        // Of a window for which that is too fine, the finest in whole minutes.
        let finest = (length / MAX_POINTS).div_euclid(60_000) * 60_000 + 60_000;
        window.step = if length / STEP_MS <= MAX_POINTS { STEP_MS } else { finest };
    }
    Ok(window)
}

fn affordable(series: usize, window: &Window) -> Result<(), Problem> {
    let each = ((window.end - window.start) / window.step + 1) as usize;
    if series * each <= ALL_POINTS {
        return Ok(());
    }
    let fits = (window.end - window.start) / (ALL_POINTS / series).max(1) as i64 / 1_000 + 1;
    let given = format!("{}s", window.step / 1_000);
    Err(Problem::parameter("step", &given, format!("{ALL_POINTS} points over all {series} series; {fits}s fits, or a smaller limit")))
}

/// What the envelope says of the window.
fn used(window: &Window, params: &Params) -> Option<Arc<Value>> {
    Some(Arc::new(json!({
        "start_time": rfc3339(window.start), "end_time": rfc3339(window.end), "step_seconds": window.step as f64 / 1e3,
        "period": params.get("period"),
    })))
}

/// A duration as it is written in a query.
fn written(ms: i64) -> String {
    match ms {
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms => format!("{}s", ms / 1_000),
    }
}

/// Adds up series over the same steps; a step in which none was observed is null.
fn added(all: impl Iterator<Item = Vec<Observation>>) -> Vec<Observation> {
    all.reduce(|mut sum, one| {
        for (into, (_, value)) in sum.iter_mut().zip(one) {
            into.1 = match (into.1, value) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        sum
    })
    .unwrap_or_default()
}

fn points(steps: &[Observation]) -> Value {
    steps.iter().map(|(at, v)| json!({ "timestamp": rfc3339(*at), "value": watts(*v) })).collect()
}

/// One reader of history over one window.
struct Reader<'a> {
    history: &'a dyn History,
    window: &'a Window,
}

impl Reader<'_> {
    fn steps(&self, subject: &str, metric: &str) -> Result<Vec<Observation>, Problem> {
        from_history(self.history.range(subject, metric, self.window.span(), self.window.step, Aggregate::Average))
    }

    /// The same of several subjects, which many threads read where there are many.
    fn many(&self, subjects: &[String], metric: &str) -> Result<Vec<Vec<Observation>>, Problem> {
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        from_history(self.history.ranges(&subjects, metric, self.window.span(), self.window.step, Aggregate::Average))
    }

    fn sum(&self, clusters: &[String], metric: &str) -> Result<Vec<Observation>, Problem> {
        let all: Vec<String> = clusters.iter().map(|c| power::cluster_series(c)).collect();
        Ok(added(self.many(&all, metric)?.into_iter()))
    }
}

/// `/timeseries/power`: the total as it was shown, over how many servers, and its parts in a view.
pub(super) fn power(
    history: &dyn History,
    snapshot: &Snapshot,
    params: &Params,
    configured: Vec<String>,
    facilities: &[Facility],
) -> Result<Rendered, Problem> {
    let by = params.one_of("breakdown_by", &By::NAMES)?.and_then(By::parse);
    let with_efficiency = params.flag("include_efficiency")?;
    let (limit, _) = params.page()?;
    let limit = if params.get("limit").is_some() { limit } else { ROWS };
    let window = window(params, snapshot)?;
    let scope = params.cluster.as_deref();
    let known = snapshot.account().machines(None).map(|s| s.cluster.to_string());
    let clusters: BTreeSet<String> = configured.into_iter().chain(known).filter(|c| scope.is_none_or(|s| s == c)).collect();
    let clusters: Vec<String> = clusters.into_iter().collect();
    let read = Reader { history, window: &window };
    let total = read.sum(&clusters, power::CLUSTER_WATTS)?;
    let coverage = read.sum(&clusters, power::CLUSTER_KNOWN)?;
    let servers = read.sum(&clusters, power::CLUSTER_SERVERS)?;
    let energy = power::joules_of_steps(&total, window.step, window.span());
    let mut data = json!({
        "cluster_name": scope, "period": params.get("period").map_or_else(|| written(window.end - window.start), str::to_owned),
        "step": written(window.step), "start_time": rfc3339(window.start), "end_time": rfc3339(window.end), "total_samples": total.len(),
        "total_power_timeseries": points(&total),
        "coverage_timeseries": coverage.iter().zip(&servers).map(|((at, known), (_, of))| {
            json!({ "timestamp": rfc3339(*at), "servers_known": known, "servers": of })
        }).collect::<Vec<_>>(),
        "energy": {
            "joules": watts(energy.joules), "kwh": energy.kwh().map(|k| (k * 1e6).round() / 1e6),
            "covered_seconds": energy.covered_ms as f64 / 1e3, "missing_seconds": energy.missing_ms as f64 / 1e3, "gaps": energy.gaps,
        },
    });
    let mut warnings: Vec<String> = window.warning.iter().cloned().collect();
    if let Some(by) = by {
        let (rows, left_out) = breakdown(&read, snapshot, by, scope, &clusters, limit, &total)?;
        data["breakdown_timeseries"] = Value::Object(rows);
        if left_out > 0 {
            warnings.push(format!("{left_out} more rows are in unattributed; limit={limit} shows the largest now"));
        }
    }
    if with_efficiency {
        match efficiency(&read, snapshot, facilities, scope, &total, (&coverage, &servers)) {
            Ok(steps) => {
                let steps = steps?;
                let all = steps.iter().map(|(at, v)| json!({ "timestamp": rfc3339(*at), "value": v.map(|v| (v * 1e4).round() / 1e4) }));
                data["efficiency_timeseries"] = all.collect();
            }
            Err(reason) => {
                data["efficiency_timeseries"] = Value::Null;
                warnings.push(format!("efficiency_timeseries is null: {reason}"));
            }
        }
    }
    Ok(Rendered { seam: seam(history, &window), warnings: warnings.into(), window: used(&window, params), ..Rendered::object(&data)? })
}

/// Which part of a window an engine answers for.
fn seam(history: &dyn History, window: &Window) -> Option<Arc<Value>> {
    let halves = history.halves((window.start, window.end), window.step)?;
    Some(Arc::new(json!({ "source": halves.engine, "until": rfc3339(halves.until_ms) })))
}

/// The largest rows of a view now, over time, with what is in none of them; and how many rows are not shown.
fn breakdown(
    read: &Reader<'_>,
    snapshot: &Snapshot,
    by: By,
    scope: Option<&str>,
    clusters: &[String],
    limit: usize,
    total: &[Observation],
) -> Result<(Map<String, Value>, usize), Problem> {
    let rows = power::breakdown(snapshot, scope, by);
    affordable(rows.len().min(limit) + 1, read.window)?;
    let left_out = rows.len().saturating_sub(limit);
    let rows: Vec<power::Row> = rows.into_iter().take(limit).collect();
    let series = |cluster: &str, category: &str| match by {
        By::Cluster => power::cluster_series(cluster),
        By::Node => format!("node/{cluster}/{category}"),
        by => power::group_series(cluster, by, category),
    };
    let metric = match by {
        By::Cluster => power::CLUSTER_WATTS,
        By::Node => power::SERVER_WATTS,
        _ => power::GROUP_WATTS,
    };
    // A row that is one in all clusters is the sum of theirs.
    let of = |row: &power::Row| match &row.cluster {
        Some(cluster) => vec![series(cluster, &row.category)],
        None => clusters.iter().map(|c| series(c, &row.category)).collect(),
    };
    let subjects: Vec<Vec<String>> = rows.iter().map(of).collect();
    let mut all = read.many(&subjects.concat(), metric)?.into_iter();
    let (mut out, mut shown) = (Map::new(), Vec::new());
    for (row, subjects) in rows.iter().zip(&subjects) {
        let steps = added(all.by_ref().take(subjects.len()));
        let name = match &row.cluster {
            Some(cluster) if clusters.len() > 1 && by != By::Cluster => format!("{cluster}/{}", row.category),
            _ => row.category.to_string(),
        };
        out.insert(name, points(&steps));
        shown.push(steps);
    }
    let claimed = added(shown.into_iter());
    let left = total.iter().enumerate().map(|(i, (at, t))| (*at, t.map(|t| t - claimed.get(i).and_then(|(_, v)| *v).unwrap_or(0.0))));
    out.insert("unattributed".into(), points(&left.collect::<Vec<_>>()));
    Ok((out, left_out))
}

/// PUE of each step in which every server was known; `Err` says why there is none at all.
fn efficiency(
    read: &Reader<'_>,
    snapshot: &Snapshot,
    facilities: &[Facility],
    scope: Option<&str>,
    it: &[Observation],
    (known, of): (&[Observation], &[Observation]),
) -> Result<Result<Vec<Observation>, Problem>, String> {
    let chosen = power::covering(snapshot, facilities, scope)?;
    let constant: f64 = chosen.iter().filter_map(|f| f.power_watts).sum();
    let meters: Vec<String> = chosen.iter().flat_map(|f| f.meters()).collect();
    let all: Result<Vec<Vec<Observation>>, Problem> = meters.iter().map(|id| read.steps(id, "power_watts")).collect();
    Ok(all.map(|all| {
        let step = |(i, (at, it)): (usize, &Observation)| {
            let metered: Option<f64> = all.iter().map(|m| m.get(i).and_then(|(_, v)| *v)).sum();
            let is_whole = known.get(i).zip(of.get(i)).is_some_and(|((_, k), (_, o))| k == o);
            let pue = it.zip(metered).filter(|(it, _)| is_whole && *it > 0.0).map(|(it, m)| (m + constant) / it);
            (*at, pue.filter(|p| *p >= 1.0))
        };
        it.iter().enumerate().map(step).collect()
    }))
}

/// What a subject is asked for: the metric's name in history, the factor to the API's unit, and that unit.
fn quantity(metric: &str, kind: Kind) -> (String, f64, &'static str) {
    let (field, unit) = match metric {
        "utilization" => ("utilization_percent", "percent"),
        "temperature" => ("temperature_celsius", "celsius"),
        "memory_usage" => ("memory_used_mb", "mb"),
        _ if kind == Kind::Node => (power::SERVER_WATTS, "watts"),
        _ => ("power_watts", "watts"),
    };
    let (name, factor) = catalogue_name(field);
    (name, factor, unit)
}

/// `/timeseries/metrics` and `/timeseries/temperature`: one metric of a page of cards or nodes.
pub(super) fn metrics(history: &dyn History, snapshot: &Snapshot, params: &Params, metric: &str) -> Result<Rendered, Problem> {
    let resource = params.one_of("resource_type", &RESOURCES)?.unwrap_or("gpus");
    let (limit, offset) = params.page()?;
    let window = window(params, snapshot)?;
    // What a node itself does not read its sensors do.
    let kind = match resource {
        "nodes" if metric == "temperature" => Kind::Sensor,
        "nodes" => Kind::Node,
        _ => Kind::Accelerator,
    };
    let is_temperature = |s: &Subject| Catalogue::known("temperature_celsius").is_some_and(|m| s.reading(m).is_some());
    let mut all: Vec<&Arc<Subject>> = snapshot
        .of_kind(kind)
        .iter()
        .filter(|s| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c))
        .filter(|s| params.get("node").is_none_or(|n| s.node.as_deref() == Some(n)))
        .filter(|s| match resource {
            "nodes" => kind == Kind::Node || is_temperature(s),
            "accelerators" => true,
            class => power::class(s) == class,
        })
        .collect();
    all.sort_by(|a, b| (&a.cluster, &a.node, &a.id).cmp(&(&b.cluster, &b.node, &b.id)));
    let total = all.len();
    let page: Vec<_> = all.into_iter().skip(offset).take(limit).collect();
    affordable(page.len(), &window)?;
    let (name, factor, unit) = quantity(metric, kind);
    let ids: Vec<&str> = page.iter().map(|s| &*s.id).collect();
    let all = from_history(history.ranges(&ids, &name, window.span(), window.step, Aggregate::Average))?;
    let mut rows = Vec::with_capacity(page.len());
    for (s, steps) in page.into_iter().zip(all) {
        // Seconds since the Unix epoch, as clients of the predecessor know it.
        let datapoints: Vec<Value> =
            steps.iter().map(|(at, v)| json!({ "timestamp": *at as f64 / 1e3, "value": v.map(|v| converted(v, factor)) })).collect();
        rows.push(json!({
            "resource_id": &*s.id, "metric": metric, "unit": unit, "resource_type": resource, "cluster": &*s.cluster, "node": s.node,
            "name": s.label("name").or_else(|| s.label("device")), "datapoints": datapoints,
        }));
    }
    let path = if params.get("metric_name").is_some() { "metrics" } else { "temperature" };
    let link = params.link(&format!("/api/v1/monitoring/timeseries/{path}"), total)?;
    let warnings: Vec<String> = window.warning.iter().cloned().collect();
    Ok(Rendered {
        seam: seam(history, &window),
        link,
        warnings: warnings.into(),
        window: used(&window, params),
        ..Rendered::list(&rows, total)?
    })
}
