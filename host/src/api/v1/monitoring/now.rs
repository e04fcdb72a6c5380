//! What is drawn now.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::super::Problem;
use super::super::super::envelope::rfc3339;
use super::{Answer, tree, watts};
use crate::inventory::{Kind, Snapshot};
use crate::power::{self, By, Facility, Method, Row, Server, Share, Sum};

pub(crate) const PARTS: [&str; 6] = ["gpus", "npus", "nodes", "pods", "vms", "ipmi"];

/// `resource_types=gpus,nodes`: which parts are shown beneath the total.
pub(super) fn parts(given: Option<&str>) -> Result<Vec<&'static str>, Problem> {
    let Some(given) = given else { return Ok(PARTS.to_vec()) };
    let one = |name: &str| PARTS.into_iter().find(|p| *p == name.trim());
    given
        .split(',')
        .map(|n| one(n).ok_or_else(|| Problem::parameter("resource_types", n, format!("some of {}", PARTS.join(",")))))
        .collect()
}

/// What is amiss with the total.
fn warnings(snapshot: &Snapshot, cluster: Option<&str>) -> Vec<String> {
    let account = snapshot.account();
    let names =
        |is: &dyn Fn(&Server) -> bool| -> Vec<String> { account.machines(cluster).filter(|s| is(s)).map(|s| s.name.to_string()).collect() };
    let mut out = Vec::new();
    let mut say = |all: Vec<String>, what: &str| {
        if !all.is_empty() {
            let some = all.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            let more = if all.len() > 3 { ", …" } else { "" };
            out.push(format!("{} servers ({some}{more}) {what}", all.len()));
        }
    };
    say(names(&|s| s.total().is_none()), "have no power reading now and are not in the total");
    say(names(&|s| matches!(s.total(), Some((Method::Parts, _)))), "are known by their parts alone and draw more than is said");
    // Watts that differ by less than one in a hundred are read at other moments.
    say(
        names(&|s| s.rest().zip(s.watts()).is_some_and(|(rest, all)| rest < -0.01 * all)),
        "draw less than their parts say: remainder below 0",
    );
    say(names(&|s| s.rivals > 0), "have several chassis measured in one way; the one that draws most is taken");
    if account.unattached_chassis > 0 && cluster.is_none() {
        out.push(format!("{} chassis with watts stand below no node and are not added", account.unattached_chassis));
    }
    out
}

fn sum_of_shares(snapshot: &Snapshot, cluster: Option<&str>, kind: Kind) -> (Option<f64>, usize) {
    let all = snapshot.workloads().shares.iter().filter(|s| s.kind == kind && cluster.is_none_or(|c| *s.cluster == *c));
    let known: Vec<f64> = all.filter_map(Share::watts).collect();
    ((!known.is_empty()).then(|| known.iter().sum()), known.len())
}

/// Cards of a class (`gpus npus others`).
fn cards(snapshot: &Snapshot, cluster: Option<&str>, class: &str) -> Sum {
    let account = snapshot.account();
    let all = account.machines(cluster).flat_map(|s| account.cards_of(snapshot, s)).filter(|(card, _)| power::class(card) == class);
    Sum::of(all.map(|(_, w)| w))
}

/// The total, what of it is drawn by what, and how much of it is known.
pub(crate) fn totals(snapshot: &Snapshot, cluster: Option<&str>, shown: &[&str]) -> Map<String, Value> {
    let account = snapshot.account();
    let total = account.total(cluster);
    let bmc = |s: &Server| s.ways.iter().find(|(m, _)| (Method::Dcmi..=Method::Psu).contains(m)).map(|(_, w)| *w);
    let part = |name: &str| match name {
        "gpus" | "npus" => cards(snapshot, cluster, name).watts,
        "nodes" => total.watts,
        "pods" => sum_of_shares(snapshot, cluster, Kind::Pod).0,
        "vms" => sum_of_shares(snapshot, cluster, Kind::Vm).0,
        _ => Sum::of(account.machines(cluster).map(bmc)).watts,
    };
    let group = |names: &[(&str, &str)]| -> Map<String, Value> {
        names.iter().filter(|(n, _)| shown.contains(n)).map(|(n, field)| ((*field).to_owned(), json!(watts(part(n))))).collect()
    };
    let mut ways: BTreeMap<&str, usize> = Method::ALL.iter().map(|m| (m.name(), 0)).collect();
    let mut qualities: BTreeMap<&str, usize> = [("measured", 0), ("derived", 0), ("modelled", 0)].into();
    for (method, w) in account.machines(cluster).filter_map(Server::total) {
        *ways.entry(method.name()).or_default() += 1;
        let quality = ["measured", "derived", "modelled"][w.quality as usize];
        *qualities.entry(quality).or_default() += 1;
    }
    let of_cards = Sum::of(account.machines(cluster).flat_map(|s| account.cards_of(snapshot, s)).map(|(_, w)| w));
    let data = json!({
        "total_power_watts": watts(total.watts),
        "breakdown": {
            "accelerators": group(&[("gpus", "gpus"), ("npus", "npus")]),
            "infrastructure": group(&[("nodes", "nodes"), ("pods", "pods"), ("vms", "vms")]),
            "hardware": group(&[("ipmi", "ipmi_measured")]),
        },
        "coverage": {
            "servers": total.of, "servers_known": total.known, "servers_unknown": total.of - total.known,
            "by_way": ways, "by_method": qualities,
            "accelerators": of_cards.of, "accelerators_known": of_cards.known,
            "guests": account.servers.iter().filter(|s| s.guest_of.is_some() && cluster.is_none_or(|c| *s.cluster == *c)).count(),
            "unattached_chassis": account.unattached_chassis,
            "oldest_seconds": total.oldest_ms.map(|at| tree::age(snapshot, at)),
        },
    });
    match data {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn power(snapshot: &Snapshot, cluster: Option<&str>, facilities: &[Facility], shown: &[&str]) -> Answer {
    let efficiency = power::efficiency(snapshot, facilities, cluster);
    let covering = power::covering(snapshot, facilities, cluster).unwrap_or_default();
    let mut data = Value::Object(totals(snapshot, cluster, shown));
    data["tree"] = tree::of(snapshot, cluster, &efficiency, &covering);
    Answer { warnings: warnings(snapshot, cluster), ..Answer::of(data) }
}

/// Sum, count and mean as the documented fields.
fn stat(sum: &Sum) -> Map<String, Value> {
    let mean = sum.watts.map(|w| w / sum.known as f64);
    let fields = [
        ("power_watts", json!(watts(sum.watts))),
        ("count", json!(sum.of)),
        ("known_count", json!(sum.known)),
        ("avg_power_watts", json!(watts(mean))),
    ];
    fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

pub(super) fn accelerators(snapshot: &Snapshot, cluster: Option<&str>) -> Answer {
    let of = ["gpus", "npus", "others"].map(|class| (class, cards(snapshot, cluster, class)));
    let total = of.iter().filter_map(|(_, sum)| sum.watts).reduce(|a, b| a + b);
    let missing: usize = of.iter().map(|(_, sum)| sum.of - sum.known).sum();
    let all: usize = of.iter().map(|(_, sum)| sum.of).sum();
    let breakdown: Map<String, Value> = of.iter().map(|(class, sum)| ((*class).to_owned(), Value::Object(stat(sum)))).collect();
    let warnings = (missing > 0).then(|| format!("{missing} of {all} cards have no power reading and are not in the total"));
    let data = json!({ "total_power_watts": watts(total), "breakdown": breakdown });
    Answer { warnings: warnings.into_iter().collect(), ..Answer::of(data) }
}

/// Servers with their trees, a page of them, or one with its cards.
pub(super) fn infrastructure(snapshot: &Snapshot, cluster: Option<&str>, node: Option<&str>, (limit, offset): (usize, usize)) -> Answer {
    let account = snapshot.account();
    let mut nodes = stat(&account.total(cluster));
    let guests = account.servers.iter().filter(|s| s.guest_of.is_some() && cluster.is_none_or(|c| *s.cluster == *c)).count();
    nodes.insert("guests".into(), json!(guests));
    let of = |kind, note: &str| {
        let (sum, known) = sum_of_shares(snapshot, cluster, kind);
        let all = snapshot.of_kind(kind).iter().filter(|s| cluster.is_none_or(|c| *s.cluster == *c)).count();
        let note = (known < all || sum.is_none()).then_some(note);
        let status = match known {
            0 => "unknown",
            known if known < all => "partial",
            _ => "known",
        };
        json!({ "power_watts": watts(sum), "count": all.max(known), "known_count": known, "avg_power_watts": watts(sum.map(|w| w / known as f64)), "status": status, "note": note })
    };
    let listed: Vec<&Server> =
        account.servers.iter().filter(|s| cluster.is_none_or(|c| *s.cluster == *c) && node.is_none_or(|n| *s.name == *n)).collect();
    let total = listed.len();
    let servers: Vec<Value> = listed.into_iter().skip(offset).take(limit).map(|s| tree::server(snapshot, s, node.is_some())).collect();
    let data = json!({
        // Pods and virtual machines run on the nodes: their watts are in the nodes'.
        "total_power_watts": watts(account.total(cluster).watts),
        "breakdown": {
            "nodes": nodes,
            "pods": of(Kind::Pod, "a pod's watts are known where a source models them or where it holds a card"),
            "vms": of(Kind::Vm, "a machine's watts are known where a source models them or where it holds a card"),
        },
        "servers": servers,
    });
    Answer { total, warnings: warnings(snapshot, cluster), ..Answer::of(data) }
}

/// Rows of a view with the row `unattributed`, so that they add up to the total and their percentages to 100.
fn rows(snapshot: &Snapshot, cluster: Option<&str>, by: By) -> (Option<f64>, Vec<Value>, Vec<String>) {
    let mut all = power::breakdown(snapshot, cluster, by);
    let total = snapshot.account().total(cluster).watts;
    let mut warnings = warnings(snapshot, cluster);
    if let Some(total) = total {
        let claimed: f64 = all.iter().filter_map(|r| r.watts).sum();
        // What adding doubles leaves is nobody's.
        let left = if (total - claimed).abs() < 1e-6 { 0.0 } else { total - claimed };
        if left < -0.01 * total {
            warnings.push(format!("the rows say {:.1} W more than the servers draw: unattributed is below 0", -left));
        }
        all.push(Row { cluster: None, category: "unattributed".into(), kind: "unattributed", watts: Some(left), count: 0, known: 0 });
    }
    let known: Vec<f64> = all.iter().filter_map(|r| r.watts).collect();
    let mut percentages = total.and_then(|t| power::percentages(&known, t)).into_iter().flatten();
    let row = |r: &Row| {
        let percentage = r.watts.and_then(|_| percentages.next());
        json!({ "category": &*r.category, "cluster": r.cluster, "kind": r.kind, "power_watts": watts(r.watts), "percentage": percentage, "count": r.count })
    };
    (total, all.iter().map(row).collect(), warnings)
}

pub(super) fn breakdown(snapshot: &Snapshot, cluster: Option<&str>, by: By) -> Answer {
    let (total, rows, warnings) = rows(snapshot, cluster, by);
    let count = rows.len();
    let data = json!({ "breakdown_by": by.name(), "total_power_watts": watts(total), "breakdowns": rows });
    Answer { total: count, warnings, ..Answer::of(data) }
}

pub(super) fn efficiency(snapshot: &Snapshot, cluster: Option<&str>, facilities: &[Facility]) -> Answer {
    let e = power::efficiency(snapshot, facilities, cluster);
    let cards = power::idle(snapshot, cluster);
    let cooling = e.pue.and(e.facility_watts).zip(e.it.watts).map(|(all, it)| all - it);
    let round = |v: Option<f64>| v.map(|v| (v * 1e4).round() / 1e4);
    let pue_method = e.facility_watts.map(|_| if e.is_configured { "configured" } else { "measured" });
    let note = match (&e.reason, e.is_configured) {
        (Some(reason), _) => format!("PUE is null: {reason}"),
        (None, true) => "the facility's watts are a constant of the configuration".to_owned(),
        (None, false) => "the facility's watts are its meters'".to_owned(),
    };
    let data = json!({
        "pue": round(e.pue), "pue_method": pue_method, "pue_reason": e.reason,
        "it_power_watts": watts(e.it.watts), "total_facility_power_watts": watts(e.facility_watts), "cooling_power_watts": watts(cooling),
        "efficiency_metrics": {
            // Nobody tells how much was computed.
            "compute_per_watt": Value::Null,
            "gpu_efficiency_percent": round(cards.at_work().map(|r| r * 100.0)),
            "accelerators": cards.cards, "utilised_accelerators": cards.utilised, "idle_accelerators": cards.idle,
            "accelerator_power_watts": watts(cards.watts), "idle_accelerator_power_watts": watts(cards.idle_watts),
            "power_watts_per_utilised_accelerator": watts(cards.watts_per_utilised()),
        },
        "note": note,
    });
    Answer { warnings: warnings(snapshot, cluster), ..Answer::of(data) }
}

pub(super) fn of_cluster(snapshot: &Snapshot, name: &str, by: By, with_efficiency: bool) -> Answer {
    let (total, rows, warnings) = rows(snapshot, Some(name), by);
    let of = |kind| snapshot.of_kind(kind).iter().filter(|s| *s.cluster == *name);
    let pods = of(Kind::Pod).count();
    let sum = snapshot.account().total(Some(name));
    let mut data = json!({
        "cluster_name": name, "total_power_watts": watts(total), "measurement_time": rfc3339(sum.oldest_ms.unwrap_or(snapshot.at_ms)),
        "breakdown_by": by.name(), "breakdown": rows, "node_count": of(Kind::Node).count(), "pod_count": pods,
        "servers_known": sum.known,
    });
    if with_efficiency {
        let mut namespaces: Vec<&str> = of(Kind::Pod).filter_map(|p| p.label("namespace")).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let workloads: BTreeSet<String> = of(Kind::Pod).map(|p| power::workload_of(p).0).collect();
        let per = |n: usize| watts(total.filter(|_| n > 0).map(|t| t / n as f64));
        data["efficiency"] = json!({
            "power_per_pod": per(pods), "power_per_namespace": per(namespaces.len()),
            "total_workloads": workloads.len(), "active_namespaces": namespaces.len(),
        });
    }
    Answer { warnings, ..Answer::of(data) }
}
