//! The power tree: facility ⊇ clusters ⊇ servers ⊇ CPUs, memory, accelerators, with what remains of each.

use std::sync::Arc;

use serde_json::{Value, json};

use super::watts;
use crate::inventory::{Snapshot, Subject};
use crate::power::{Account, Efficiency, Facility, Server, Watts};

/// One thing that draws, with how that is known.
fn branch(snapshot: &Snapshot, (name, kind): (&str, &str), of: Option<&Watts>, children: Vec<Value>) -> Value {
    json!({
        "name": name, "kind": kind, "power_watts": watts(of.map(|w| w.watts)), "method": of.map(|w| w.quality),
        "source": of.and_then(|w| snapshot.sources.get(w.source as usize)).map(|s| &*s.plugin),
        "age_seconds": of.map(|w| age(snapshot, w.at_ms)), "read_count": of.map_or(0, |w| w.read), "of_count": of.map_or(0, |w| w.of),
        "remainder_watts": Value::Null, "children": children,
    })
}

pub(super) fn age(snapshot: &Snapshot, at_ms: i64) -> f64 {
    (snapshot.at_ms - at_ms).max(0) as f64 / 1e3
}

/// A server with its parts; with its cards where `deep`.
pub(super) fn server(snapshot: &Snapshot, server: &Server, deep: bool) -> Value {
    let card = |(card, w): (&Arc<Subject>, Option<Watts>)| branch(snapshot, (&card.id, "accelerator"), w.as_ref(), Vec::new());
    let cards = if deep { snapshot.account().cards_of(snapshot, server).map(card).collect() } else { Vec::new() };
    let parts = vec![
        branch(snapshot, ("cpu", "part"), server.cpu.as_ref(), Vec::new()),
        branch(snapshot, ("memory", "part"), server.memory.as_ref(), Vec::new()),
        branch(snapshot, ("accelerators", "part"), server.accelerators.as_ref(), cards),
    ];
    let mut out = branch(snapshot, (&server.name, "server"), server.total().map(|(_, w)| w), parts);
    let ways: Vec<Value> = server
        .ways
        .iter()
        .map(|(method, w)| {
            json!({
                "measured_by": method, "power_watts": watts(Some(w.watts)), "method": w.quality,
                "source": snapshot.sources.get(w.source as usize).map(|s| &*s.plugin), "age_seconds": age(snapshot, w.at_ms),
            })
        })
        .collect();
    out["remainder_watts"] = json!(watts(server.rest()));
    out["cluster"] = json!(&*server.cluster);
    out["measured_by"] = json!(server.total().map(|(method, _)| method));
    out["guest_of"] = json!(server.guest_of);
    out["ways"] = json!(ways);
    out
}

/// The sum of one part over servers; `of` counts those whose whole is known.
fn part(snapshot: &Snapshot, account: &Account, cluster: Option<&str>, name: &str, of: impl Fn(&Server) -> Option<Watts>) -> Value {
    let all: Vec<Watts> = account.machines(cluster).filter_map(of).collect();
    branch(snapshot, (name, "part"), Watts::total(all.into_iter()).as_ref(), Vec::new())
}

fn cluster(snapshot: &Snapshot, name: &str) -> Value {
    let account = snapshot.account();
    let parts = vec![
        part(snapshot, account, Some(name), "cpu", |s| s.cpu),
        part(snapshot, account, Some(name), "memory", |s| s.memory),
        part(snapshot, account, Some(name), "accelerators", |s| s.accelerators),
    ];
    let mut out = branch(snapshot, (name, "cluster"), total(account, Some(name)).as_ref(), parts);
    let rest: Vec<f64> = account.machines(Some(name)).filter_map(Server::rest).collect();
    out["remainder_watts"] = json!(watts((!rest.is_empty()).then(|| rest.iter().sum())));
    out
}

/// All servers' watts as one sum over how many of how many.
fn total(account: &Account, cluster: Option<&str>) -> Option<Watts> {
    let all = account.machines(cluster).count();
    let sum = Watts::total(account.machines(cluster).filter_map(|s| s.total().map(|(_, w)| Watts { read: 1, of: 1, ..*w })))?;
    Some(Watts { of: all as u32, ..sum })
}

/// Facility (where one is metered) or `it`, down to the parts of each cluster.
pub(super) fn of(snapshot: &Snapshot, only: Option<&str>, efficiency: &Efficiency, facilities: &[&Facility]) -> Value {
    let account = snapshot.account();
    let mut names: Vec<&Arc<str>> = account.machines(only).map(|s| &s.cluster).collect();
    names.dedup();
    let clusters: Vec<Value> = names.into_iter().map(|name| cluster(snapshot, name)).collect();
    let it = branch(snapshot, ("it", "it"), total(account, only).as_ref(), clusters);
    let Some(drawn) = efficiency.facility_watts else { return it };
    let name = facilities.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
    let metered: Vec<Watts> = facilities.iter().filter_map(|f| f.metered(snapshot).ok().flatten()).collect();
    let mut out = branch(snapshot, (&name, "facility"), Watts::total(metered.into_iter()).as_ref(), vec![it]);
    out["power_watts"] = json!(watts(Some(drawn)));
    if efficiency.is_configured {
        out["method"] = json!("configured");
    }
    // Cooling, losses, and servers that nobody reads.
    out["remainder_watts"] = json!(watts(efficiency.it.watts.map(|it| drawn - it)));
    out
}
