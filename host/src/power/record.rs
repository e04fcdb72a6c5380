//! The account over time: what of it goes into history with each snapshot, so that what was shown can be read again.
//!
//! Servers are noted when something new was observed of them, sums every ten seconds. Where watts cease to be known, their
//! series ends. No plugin can say these metrics: they are not in the catalogue.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{By, Method, breakdown};
use crate::history::Point;
use crate::inventory::{Quality, Snapshot};

/// On the id of a node: what its server draws.
pub const SERVER_WATTS: &str = "server_power_watts";
/// On the id of a node: how that is known, as [`method_of`] reads it.
pub const SERVER_METHOD: &str = "server_power_method";
/// On [`cluster_series`]: the sum over its servers, over how many, and of how many.
pub const CLUSTER_WATTS: &str = "cluster_power_watts";
pub const CLUSTER_KNOWN: &str = "cluster_power_known_count";
pub const CLUSTER_SERVERS: &str = "cluster_power_servers_count";
/// On the id of a pod or VM that holds a card: all that it is known to draw.
pub const WORKLOAD_WATTS: &str = "workload_power_watts";
/// On [`group_series`].
pub const GROUP_WATTS: &str = "group_power_watts";

/// Sums are noted this often: sources answer every 15 s or more seldom.
const SUMS_EVERY_MS: i64 = 10_000;
/// Rows of a view that are kept of one cluster; the largest.
const MOST_GROUPS: usize = 500;
/// Holders of cards that are kept; those that hold none have what a model says of them.
const MOST_HOLDERS: usize = 20_000;
/// The views that are kept.
const KEPT: [By; 3] = [By::ResourceType, By::Vendor, By::Namespace];

/// The series of a cluster's sums.
pub fn cluster_series(cluster: &str) -> String {
    format!("cluster/{cluster}")
}

/// The series of one row of a view.
pub fn group_series(cluster: &str, by: By, category: &str) -> String {
    format!("power/{cluster}/{}/{category}", by.name())
}

/// The method and quality that a point of [`SERVER_METHOD`] stands for.
pub fn method_of(value: f64) -> Option<(Method, Quality)> {
    let code = value as usize;
    let qualities = [Quality::Measured, Quality::Derived, Quality::Modelled];
    Some((*Method::ALL.get(code / qualities.len())?, qualities[code % qualities.len()]))
}

fn code(method: Method, quality: Quality) -> f64 {
    (method as usize * 3 + quality as usize) as f64
}

/// Knows what was noted last.
#[derive(Default)]
pub struct Recorder {
    /// By server: when what was noted last was observed.
    servers: HashMap<Arc<str>, i64>,
    /// Sums that are known.
    sums: HashSet<(Arc<str>, &'static str)>,
    summed_ms: Option<i64>,
}

impl Recorder {
    /// Adds what is new of a snapshot.
    pub fn note(&mut self, snapshot: &Snapshot, points: &mut Vec<Point>) {
        let account = snapshot.account();
        let names = [SERVER_WATTS, SERVER_METHOD].map(Arc::<str>::from);
        let mut point = |subject: &Arc<str>, metric: &Arc<str>, at_ms, value| {
            points.push(Point { subject: subject.clone(), metric: metric.clone(), at_ms, value });
        };
        for server in &account.servers {
            match server.total() {
                Some((method, watts)) => {
                    let noted = self.servers.entry(server.id.clone()).or_insert(i64::MIN);
                    if watts.newest_ms > *noted {
                        *noted = watts.newest_ms;
                        point(&server.id, &names[0], watts.newest_ms, Some(watts.watts));
                        point(&server.id, &names[1], watts.newest_ms, Some(code(method, watts.quality)));
                    }
                }
                None if self.servers.remove(&server.id).is_some() => names.iter().for_each(|n| point(&server.id, n, snapshot.at_ms, None)),
                None => {}
            }
        }
        self.servers.retain(|id, _| {
            let stays = account.server(id).is_some();
            if !stays {
                names.iter().for_each(|n| point(id, n, snapshot.at_ms, None));
            }
            stays
        });
        if self.summed_ms.is_none_or(|at| snapshot.at_ms - at >= SUMS_EVERY_MS) {
            self.summed_ms = Some(snapshot.at_ms);
            self.sums(snapshot, points);
        }
    }

    fn sums(&mut self, snapshot: &Snapshot, points: &mut Vec<Point>) {
        let account = snapshot.account();
        let mut clusters: Vec<&Arc<str>> = account.servers.iter().map(|s| &s.cluster).collect();
        clusters.dedup();
        let names: HashMap<&str, Arc<str>> =
            [CLUSTER_WATTS, CLUSTER_KNOWN, CLUSTER_SERVERS, GROUP_WATTS, WORKLOAD_WATTS].into_iter().map(|n| (n, n.into())).collect();
        let mut now = HashSet::new();
        let mut point = |subject: Arc<str>, metric: &'static str, value| {
            points.push(Point { subject: subject.clone(), metric: names[metric].clone(), at_ms: snapshot.at_ms, value: Some(value) });
            now.insert((subject, metric));
        };
        for cluster in clusters {
            let series: Arc<str> = cluster_series(cluster).into();
            let total = account.total(Some(cluster));
            let Some(watts) = total.watts else { continue };
            point(series.clone(), CLUSTER_WATTS, watts);
            point(series.clone(), CLUSTER_KNOWN, total.known as f64);
            point(series, CLUSTER_SERVERS, total.of as f64);
            for by in KEPT {
                for row in breakdown(snapshot, Some(cluster), by).into_iter().take(MOST_GROUPS) {
                    if let Some(watts) = row.watts {
                        point(group_series(cluster, by, &row.category).into(), GROUP_WATTS, watts);
                    }
                }
            }
        }
        let work = snapshot.workloads();
        for share in work.shares.iter().filter(|s| s.accelerators.is_some()).take(MOST_HOLDERS) {
            if let Some(watts) = share.watts() {
                point(share.id.clone(), WORKLOAD_WATTS, watts);
            }
        }
        for (subject, metric) in self.sums.difference(&now) {
            points.push(Point { subject: subject.clone(), metric: names[metric].clone(), at_ms: snapshot.at_ms, value: None });
        }
        self.sums = now;
    }
}
