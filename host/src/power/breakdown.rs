//! The total by one of six views. What no row claims is `unattributed`, which the reader of the rows adds.

use std::collections::HashMap;
use std::sync::Arc;

use super::Share;
use crate::inventory::{Kind, Snapshot, Subject};

/// A view of the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Cluster,
    Node,
    Namespace,
    Workload,
    Vendor,
    ResourceType,
}

impl By {
    pub const NAMES: [&'static str; 6] = ["cluster", "node", "namespace", "workload", "vendor", "resource_type"];

    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Cluster, Self::Node, Self::Namespace, Self::Workload, Self::Vendor, Self::ResourceType];
        Self::NAMES.iter().position(|n| *n == name).map(|i| all[i])
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// One part of the total.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Names that are alike in two clusters stay apart. `None` where the category is one in all: a vendor, CPUs.
    pub cluster: Option<Arc<str>>,
    pub category: Arc<str>,
    /// `cluster node namespace vms workload pod vm vendor cpu accelerator …`: what the category is.
    pub kind: &'static str,
    /// `None` where nobody knows.
    pub watts: Option<f64>,
    /// Servers, cards, pods or VMs in it.
    pub count: usize,
    /// Of these, those whose watts are known.
    pub known: usize,
}

/// What a category of a view is that is known by its name alone.
pub fn kind_of(by: By, category: &str) -> &'static str {
    match by {
        By::Cluster => "cluster",
        By::Node => "node",
        By::Vendor => "vendor",
        By::ResourceType if category == "cpu" => "cpu",
        By::ResourceType if category == "memory" => "memory",
        By::ResourceType => "accelerator",
        By::Namespace if category == "vms" => "vms",
        By::Namespace => "namespace",
        By::Workload if category.starts_with("vm/") => "vm",
        By::Workload if category.matches('/').count() == 1 => "pod",
        By::Workload => "workload",
    }
}

/// Rows of a view over one cluster, or all; the largest first.
pub fn breakdown(snapshot: &Snapshot, cluster: Option<&str>, by: By) -> Vec<Row> {
    let mut rows: HashMap<(Option<Arc<str>>, Arc<str>), Row> = HashMap::new();
    let is_everywhere = matches!(by, By::Vendor | By::ResourceType);
    let mut add = |cluster: &Arc<str>, category: Arc<str>, kind: &'static str, watts: Option<f64>, count: usize| {
        let cluster = (!is_everywhere).then(|| cluster.clone());
        let row = rows.entry((cluster.clone(), category.clone())).or_insert_with(|| Row {
            cluster: cluster.clone(),
            category,
            kind,
            watts: None,
            count: 0,
            known: 0,
        });
        row.watts = watts.map_or(row.watts, |w| Some(row.watts.unwrap_or(0.0) + w));
        row.count += count;
        row.known += if watts.is_some() { count } else { 0 };
    };
    let account = snapshot.account();
    match by {
        By::Cluster => account.machines(cluster).for_each(|s| add(&s.cluster, s.cluster.clone(), "cluster", s.watts(), 1)),
        By::Node => account.machines(cluster).for_each(|s| add(&s.cluster, s.name.clone(), "node", s.watts(), 1)),
        By::Vendor => {
            for server in account.machines(cluster) {
                for (card, watts) in account.cards_of(snapshot, server) {
                    add(
                        &server.cluster,
                        card.label_shared("vendor").unwrap_or_else(|| "unknown".into()),
                        "vendor",
                        watts.map(|w| w.watts),
                        1,
                    );
                }
            }
        }
        By::ResourceType => {
            for server in account.machines(cluster) {
                for (name, part) in [("cpu", &server.cpu), ("memory", &server.memory)] {
                    if let Some(w) = part {
                        add(&server.cluster, name.into(), name, Some(w.watts), 1);
                    }
                }
                let mut of_cards = 0.0;
                for (card, watts) in account.cards_of(snapshot, server) {
                    of_cards += watts.map_or(0.0, |w| w.watts);
                    add(&server.cluster, class(card).into(), "accelerator", watts.map(|w| w.watts), 1);
                }
                // Where cards are not read but their node's zone is: that of Kepler, which knows GPUs only.
                if let Some(w) = server.accelerators.filter(|w| (w.watts - of_cards).abs() > 1e-9) {
                    add(&server.cluster, "gpus".into(), "accelerator", Some(w.watts - of_cards), 0);
                }
            }
        }
        By::Namespace | By::Workload => {
            let all = &snapshot.workloads().shares;
            for share in all.iter().filter(|s| cluster.is_none_or(|c| *s.cluster == *c)) {
                let (category, kind) = match by {
                    By::Namespace if share.kind == Kind::Vm => ("vms".into(), "vms"),
                    By::Namespace => (share.namespace.clone(), "namespace"),
                    _ => {
                        let (name, kind) = workload(snapshot, share);
                        (name.into(), kind)
                    }
                };
                add(&share.cluster, category, kind, share.own_watts(), 1);
            }
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    // What is unknown comes last; the order of equals is always the same.
    let order = |r: &Row| r.watts.unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| order(b).total_cmp(&order(a)).then_with(|| (&a.cluster, &a.category).cmp(&(&b.cluster, &b.category))));
    rows
}

/// The class of a card in the plural, as the API names it.
pub fn class(card: &Subject) -> &'static str {
    match card.label("class") {
        Some("gpu") => "gpus",
        Some("npu" | "tpu") => "npus",
        _ => "others",
    }
}

fn workload(snapshot: &Snapshot, share: &Share) -> (String, &'static str) {
    match snapshot.get(&share.id) {
        _ if share.kind == Kind::Vm => (format!("vm/{}", share.name), "vm"),
        Some(pod) => workload_of(pod),
        None => (format!("{}/{}", share.namespace, share.name), "pod"),
    }
}

/// What stands above a pod, as far as its source says; else the pod itself.
pub fn workload_of(pod: &Subject) -> (String, &'static str) {
    let label = |key| pod.label(key).filter(|v| !v.is_empty());
    let namespace = label("namespace").unwrap_or("");
    let above = label("workload_kind").zip(label("workload_name")).or_else(|| label("owner_kind").zip(label("owner_name")));
    match above {
        Some((kind, name)) => (format!("{namespace}/{kind}/{name}"), "workload"),
        None => (format!("{namespace}/{}", label("name").unwrap_or(&pod.id)), "pod"),
    }
}

/// Shares of a total in hundredths of a percent that add up to exactly 100: what rounding leaves goes to those that it took most
/// from. `None` where the total is not above 0.
pub fn percentages(parts: &[f64], total: f64) -> Option<Vec<f64>> {
    if total <= 0.0 || parts.is_empty() {
        return None;
    }
    let exact: Vec<f64> = parts.iter().map(|p| p / total * 1e4).collect();
    let mut whole: Vec<i64> = exact.iter().map(|p| p.floor() as i64).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|a, b| (exact[*b] - exact[*b].floor()).total_cmp(&(exact[*a] - exact[*a].floor())));
    let left = (10_000 - whole.iter().sum::<i64>()).max(0) as usize;
    order.iter().cycle().take(left.min(parts.len())).for_each(|i| whole[*i] += 1);
    Some(whole.into_iter().map(|p| p as f64 / 100.0).collect())
}
