//! A request to a [`Plan`]: which resources, which columns, which window. What cannot be used is named.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::super::super::params::Params;
use super::super::super::{App, Problem};
use super::super::listing::known_cluster;
use super::columns::{Chosen, chosen};
use crate::export::Plan;
use crate::export::plan::{AGGREGATES, Remainder};
use crate::export::table::{Column, Entry, Scale};
use crate::history::Aggregate;
use crate::inventory::{Kind, Snapshot, Subject};
use crate::power::{self, By};

/// What `/export/metrics` and `/export/power` take.
#[rustfmt::skip]
pub(in crate::api) const METRICS: &[&str] = &[
    "format", "metric_name", "resource_type", "cluster", "node", "period", "step", "start_time", "end_time", "start", "end", "aggregate", "bom", "lang",
];
#[rustfmt::skip]
pub(in crate::api) const POWER: &[&str] = &[
    "format", "resource_type", "breakdown_by", "cluster", "node", "period", "step", "start_time", "end_time", "start", "end", "aggregate", "bom", "lang",
];

/// Whose rows there may be: the name, the same in the singular, and what it means.
const RESOURCES: [(&str, &str, Option<Kind>); 20] = [
    ("all", "all", None),
    ("gpus", "gpu", Some(Kind::Accelerator)),
    ("npus", "npu", Some(Kind::Accelerator)),
    ("others", "accelerator", Some(Kind::Accelerator)),
    ("accelerators", "accelerator", Some(Kind::Accelerator)),
    ("partitions", "partition", Some(Kind::Partition)),
    ("cores", "core", Some(Kind::Core)),
    ("links", "link", Some(Kind::Link)),
    ("processes", "process", Some(Kind::Process)),
    ("nodes", "node", Some(Kind::Node)),
    ("pods", "pod", Some(Kind::Pod)),
    ("containers", "container", Some(Kind::Container)),
    ("vms", "vm", Some(Kind::Vm)),
    ("chassis", "chassis", Some(Kind::Chassis)),
    ("sensors", "sensor", Some(Kind::Sensor)),
    ("psus", "psu", Some(Kind::Psu)),
    ("fans", "fan", Some(Kind::Fan)),
    ("facilities", "facility", Some(Kind::Facility)),
    ("clusters", "cluster", Some(Kind::Cluster)),
    ("x", "other", Some(Kind::Other)),
];
/// As documented; a window that has fewer than twelve of these is cut into sixty.
const STEP_MS: i64 = 5 * 60_000;
/// An observation every so often, where no source says.
const USUAL_INTERVAL_MS: i64 = 15_000;

pub(in crate::api) fn resource_names() -> Vec<&'static str> {
    RESOURCES.iter().map(|(name, ..)| *name).collect()
}

/// `/export/metrics`.
pub(super) fn metrics(app: &App, snapshot: &Snapshot, params: &Params) -> Result<Plan, Problem> {
    known_cluster(app, params)?;
    let resource = resource(params)?.unwrap_or("accelerators");
    of_resources(app, snapshot, params, resource, params.get("metric_name").unwrap_or("all"), "metrics")
}

/// `/export/power`: totals of clusters, parts of them in a view, or resources of one type.
pub(super) fn power(app: &App, snapshot: &Snapshot, params: &Params) -> Result<Plan, Problem> {
    const VIEWS: [&str; 5] = ["cluster", "node", "namespace", "vendor", "resource_type"];
    known_cluster(app, params)?;
    let by = params.one_of("breakdown_by", &VIEWS)?.and_then(By::parse);
    match (resource(params)?, by) {
        (Some(resource), Some(_)) => Err(Problem::parameter("resource_type", resource, "not with breakdown_by: one of the two")),
        (Some(resource), None) => of_resources(app, snapshot, params, resource, "power", "power"),
        (None, by) => of_account(app, snapshot, params, by.unwrap_or(By::Cluster)),
    }
}

fn resource(params: &Params) -> Result<Option<&'static str>, Problem> {
    let Some(given) = params.get("resource_type") else { return Ok(None) };
    let found = RESOURCES.iter().find(|(many, ..)| *many == given).or_else(|| RESOURCES.iter().rfind(|(_, one, _)| *one == given));
    found.map(|(name, ..)| Some(*name)).ok_or_else(|| Problem::parameter("resource_type", given, resource_names().join(", ")))
}

/// Window, step and what else every plan holds.
fn frame(snapshot: &Snapshot, params: &Params, what: &'static str, resource: &str) -> Result<(Plan, Option<Aggregate>), Problem> {
    let is_raw = params.get("step") == Some("raw");
    let window = if is_raw { params.without("step") } else { params.clone() }.window_of("1h", snapshot.at_ms, i64::MAX)?;
    let length = window.end - window.start;
    let step = match params.get("step") {
        None if length >= 12 * STEP_MS => STEP_MS,
        _ => window.step,
    };
    let names: Vec<&str> = AGGREGATES.iter().map(|(name, _)| *name).collect();
    let how = params.one_of("aggregate", &names)?.and_then(|given| AGGREGATES.iter().find(|(name, _)| *name == given));
    if let (true, Some((given, _))) = (is_raw, how) {
        return Err(Problem::parameter("aggregate", given, "nothing with step=raw: each observation stands for itself"));
    }
    let plan = Plan {
        what,
        resource: resource.to_owned(),
        cluster: params.cluster.clone(),
        window: (window.start, window.end),
        step_ms: (!is_raw).then_some(step),
        period: params.get("period").map(str::to_owned),
        sequence: snapshot.sequence,
        as_of_ms: snapshot.at_ms,
        warnings: window.warning.into_iter().collect(),
        ..Plan::default()
    };
    Ok((plan, how.map(|(_, how)| *how)))
}

/// What a resource's rows are called.
fn type_of(s: &Subject) -> &'static str {
    match (s.kind, s.label("class")) {
        (Kind::Accelerator, Some("gpu")) => "gpu",
        (Kind::Accelerator, Some("npu" | "tpu")) => "npu",
        (kind, _) => kind.name(),
    }
}

fn of_resources(
    app: &App,
    snapshot: &Snapshot,
    params: &Params,
    resource: &'static str,
    metrics: &str,
    what: &'static str,
) -> Result<Plan, Problem> {
    let (mut plan, how) = frame(snapshot, params, what, resource)?;
    if resource == "clusters" {
        return of_account(app, snapshot, params, By::Cluster);
    }
    let kind = RESOURCES.iter().find(|(name, ..)| *name == resource).and_then(|(.., kind)| *kind);
    let class = |s: &Subject| match resource {
        "gpus" | "npus" | "others" => power::class(s) == resource,
        _ => true,
    };
    let all = kind.map_or(snapshot.subjects.as_slice(), |kind| snapshot.of_kind(kind));
    let mut subjects: Vec<Arc<Subject>> = all
        .iter()
        .filter(|s| class(s))
        .filter(|s| params.cluster.as_deref().is_none_or(|c| *s.cluster == *c))
        .filter(|s| params.get("node").is_none_or(|n| s.node.as_deref() == Some(n) || s.kind == Kind::Node && s.label("node") == Some(n)))
        .cloned()
        .collect();
    subjects.sort_by(|a, b| (a.kind, &a.cluster, &a.node, &a.id).cmp(&(b.kind, &b.cluster, &b.node, &b.id)));
    let columns = chosen(app, &subjects, metrics, how)?;
    let mut by_kind: HashMap<Kind, Arc<[Option<Arc<str>>]>> = HashMap::new();
    let mut types: HashMap<&'static str, Arc<str>> = HashMap::new();
    plan.rows_expected = subjects.iter().map(|s| rows_of(&plan, snapshot, s)).sum();
    for s in subjects {
        let metrics = by_kind.entry(s.kind).or_insert_with(|| columns.iter().map(|c: &Chosen| c.metric(s.kind)).collect()).clone();
        let name = ["name", "device", "node"].iter().find_map(|key| s.label_shared(key));
        let type_of = types.entry(type_of(&s)).or_insert_with(|| type_of(&s).into()).clone();
        plan.entries.push(Entry {
            labels: [Some(s.cluster.clone()), Some(type_of), Some(s.id.clone()), name, s.node.clone()],
            series: s.id.clone(),
            metrics,
            model: Some(s),
            is_gone: false,
        });
    }
    if plan.entries.is_empty() {
        plan.warnings.push(format!("nothing that is watched now is {resource} and passes the filters"));
    }
    plan.columns = columns.into_iter().map(|c| c.column).collect();
    Ok(plan)
}

/// Rows that one resource will have; of raw observations as many as its quickest source makes.
fn rows_of(plan: &Plan, snapshot: &Snapshot, s: &Subject) -> u64 {
    match plan.step_ms {
        Some(_) => plan.steps(),
        None => {
            let intervals = s.readings.iter().filter_map(|r| snapshot.sources.get(r.source as usize)).map(|s| s.interval_ms);
            ((plan.window.1 - plan.window.0) / intervals.min().unwrap_or(USUAL_INTERVAL_MS).max(1)) as u64
        }
    }
}

/// What the account noted: the total of each cluster, or its parts in a view.
fn of_account(app: &App, snapshot: &Snapshot, params: &Params, by: By) -> Result<Plan, Problem> {
    let (mut plan, how) = frame(snapshot, params, "power", by.name())?;
    let how = how.unwrap_or(Aggregate::Average);
    let column = |name: &str, unit: &str| Column { name: name.to_owned(), unit: unit.into(), scale: Scale::One, states: None, how };
    plan.columns = vec![column("power_watts", "watts")];
    let known = snapshot.account().machines(None).map(|s| s.cluster.to_string());
    let clusters: BTreeSet<String> = app.clusters().iter().map(|c| c.name.clone()).chain(known).collect();
    let clusters = clusters.into_iter().filter(|c| params.cluster.as_deref().is_none_or(|given| given == c));
    let only_node = params.get("node");
    if let (Some(node), false) = (only_node, by == By::Node) {
        return Err(Problem::parameter("node", node, "only with breakdown_by=node or resource_type"));
    }
    let entry = |cluster: &str, kind: &str, name: &str, node: Option<&str>, series: String, metrics: &Arc<[Option<Arc<str>>]>| {
        let series: Arc<str> = series.into();
        Entry {
            labels: [Some(cluster.into()), Some(kind.into()), Some(series.clone()), Some(name.into()), node.map(Arc::from)],
            series,
            metrics: metrics.clone(),
            model: None,
            is_gone: false,
        }
    };
    let of = |metric: &str| -> Arc<[Option<Arc<str>>]> { [Some(Arc::from(metric))].into() };
    let (servers, groups) = (of(power::SERVER_WATTS), of(power::GROUP_WATTS));
    let adds_up = plan.columns.iter().all(|c| c.how == Aggregate::Average);
    if by == By::Cluster {
        plan.columns.extend([column("servers_known_count", "count"), column("servers_count", "count")]);
        let totals: Arc<[Option<Arc<str>>]> =
            [power::CLUSTER_WATTS, power::CLUSTER_KNOWN, power::CLUSTER_SERVERS].map(|m| Some(m.into())).into();
        plan.entries.extend(clusters.map(|c| entry(&c, "cluster", &c, None, power::cluster_series(&c), &totals)));
    } else {
        for cluster in clusters {
            let first = plan.entries.len();
            let of = |kind: &str, name: &str| match by {
                By::Node => entry(&cluster, kind, name, Some(name), format!("node/{cluster}/{name}"), &servers),
                by => entry(&cluster, kind, name, None, power::group_series(&cluster, by, name), &groups),
            };
            let now = power::breakdown(snapshot, Some(&cluster), by);
            let is_asked = |name: &str| only_node.is_none_or(|node| name == node);
            plan.entries.extend(now.iter().filter(|row| is_asked(&row.category)).map(|row| of(row.kind, &row.category)));
            // What drew something then and is there no more.
            let names: HashSet<&str> = now.iter().map(|row| &*row.category).collect();
            for name in power::noted(&*app.history, &cluster, by).iter().filter(|n| !names.contains(n.as_str()) && is_asked(n)) {
                plan.entries.push(Entry { is_gone: true, ..of(power::kind_of(by, name), name) });
            }
            if plan.step_ms.is_some() && only_node.is_none() && adds_up {
                let series = power::group_series(&cluster, by, "unattributed");
                plan.remainders.push(Remainder {
                    entry: entry(&cluster, "unattributed", "unattributed", None, series, &groups),
                    total: (power::cluster_series(&cluster).into(), power::CLUSTER_WATTS.into()),
                    parts: first..plan.entries.len(),
                });
            }
        }
        if !adds_up {
            plan.warnings.push("no row of what is unattributed: only means of parts and total add up".to_owned());
        }
        if plan.step_ms.is_none() {
            plan.warnings
                .push("step=raw has no row of what is unattributed: parts and total were noted at moments of their own".to_owned());
        }
    }
    // The account notes sums every ten seconds.
    let each = if plan.step_ms.is_some() { plan.steps() } else { ((plan.window.1 - plan.window.0) / 10_000) as u64 };
    let there = plan.entries.iter().filter(|e| !e.is_gone).count();
    plan.rows_expected = each * (there + plan.remainders.len()) as u64;
    Ok(plan)
}
