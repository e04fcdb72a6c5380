//! The account over time: what of it goes into history with each snapshot, so that what was shown can be read again.
//!
//! Servers are noted when something new was observed of them, sums every ten seconds, shares of
//! pods and VMs every thirty. Where watts cease to be known, their
//! series ends. No plugin can say these metrics: they are the host's own (`catalogue::ACCOUNT`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{By, Method, breakdown};
use crate::history::{History, Point};
use crate::inventory::{Quality, Snapshot};
use crate::plugins::limits::Bucket;

/// On the id of a node: what its server draws.
pub const SERVER_WATTS: &str = "server_power_watts";
/// On the id of a node: how that is known, as [`method_of`] reads it.
pub const SERVER_METHOD: &str = "server_power_method";
/// On [`cluster_series`]: the sum over its servers, over how many, and of how many.
pub const CLUSTER_WATTS: &str = "cluster_power_watts";
pub const CLUSTER_KNOWN: &str = "cluster_power_known_servers";
pub const CLUSTER_SERVERS: &str = "cluster_power_servers";
/// On the id of a pod or VM: its share.
pub const WORKLOAD_WATTS: &str = "workload_power_watts";
/// On [`group_series`].
pub const GROUP_WATTS: &str = "group_power_watts";

/// Sums are noted this often: sources answer every 15 s or more seldom.
const SUMS_EVERY_MS: i64 = 10_000;
/// Shares of pods and VMs; there may be many.
const SHARES_EVERY_MS: i64 = 30_000;
/// Pods and VMs whose shares are kept at one time, and how many may begin to be over some days: they come and go.
const MOST_SHARES: usize = 20_000;
const BEGUN: (u32, Duration) = (100_000, Duration::from_secs(10 * 86_400));
/// Rows of a view that are kept of one cluster; the largest.
const MOST_GROUPS: usize = 500;
/// The views that are kept.
const KEPT: [By; 4] = [By::ResourceType, By::Vendor, By::Namespace, By::Workload];

/// The series of a cluster's sums.
pub fn cluster_series(cluster: &str) -> String {
    format!("cluster/{cluster}")
}

/// The series of one row of a view.
pub fn group_series(cluster: &str, by: By, category: &str) -> String {
    format!("power/{cluster}/{}/{category}", by.name())
}

/// Names of the rows of a view of a cluster that history holds, also those that are gone from the model.
pub fn noted(history: &dyn History, cluster: &str, by: By) -> Vec<String> {
    let (metric, prefix) = match by {
        By::Node => (SERVER_WATTS, format!("node/{cluster}/")),
        by => (GROUP_WATTS, group_series(cluster, by, "")),
    };
    history.subjects(metric).iter().filter_map(|id| id.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// The labels under which a series of the account leaves whose id is no subject's.
pub fn series_labels(id: &str) -> Option<BTreeMap<String, &str>> {
    let (kind, rest) = id.split_once('/')?;
    // No cluster's name has a slash; a category may.
    let own = match kind {
        "cluster" => vec![("cluster", rest)],
        "node" => {
            let (cluster, node) = rest.split_once('/')?;
            vec![("cluster", cluster), ("node", node)]
        }
        "power" => {
            let mut parts = rest.splitn(3, '/');
            vec![("cluster", parts.next()?), ("breakdown_by", parts.next()?), ("category", parts.next()?)]
        }
        _ => return None,
    };
    Some(own.into_iter().chain([("id", id), ("kind", kind)]).map(|(k, v)| (k.to_owned(), v)).collect())
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
pub struct Recorder {
    /// By server: when what was noted last was observed.
    servers: HashMap<Arc<str>, i64>,
    /// Sums that are known.
    sums: HashSet<(Arc<str>, &'static str)>,
    summed_ms: Option<i64>,
    /// Pods and VMs whose shares are kept, and how many more may begin to be.
    shares: HashSet<Arc<str>>,
    shared_ms: Option<i64>,
    may_begin: Bucket,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            servers: HashMap::new(),
            sums: HashSet::new(),
            summed_ms: None,
            shares: HashSet::new(),
            shared_ms: None,
            may_begin: Bucket::new(BEGUN.0, BEGUN.1),
        }
    }
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
        if self.shared_ms.is_none_or(|at| snapshot.at_ms - at >= SHARES_EVERY_MS) {
            self.shared_ms = Some(snapshot.at_ms);
            self.shares(snapshot, points);
        }
    }

    /// Shares that were kept go on; others begin while there is room, the largest first.
    fn shares(&mut self, snapshot: &Snapshot, points: &mut Vec<Point>) {
        let metric: Arc<str> = WORKLOAD_WATTS.into();
        let mut point = |subject: &Arc<str>, value| {
            points.push(Point { subject: subject.clone(), metric: metric.clone(), at_ms: snapshot.at_ms, value });
        };
        let known = snapshot.workloads().shares.iter().filter_map(|s| Some((&s.id, s.watts()?)));
        let (kept, mut new): (Vec<_>, Vec<_>) = known.partition(|(id, _)| self.shares.contains(*id));
        kept.iter().for_each(|(id, watts)| point(id, Some(*watts)));
        let mut now: HashSet<Arc<str>> = kept.into_iter().map(|(id, _)| id.clone()).collect();
        self.shares.difference(&now).for_each(|id| point(id, None));
        new.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (id, watts) in new.into_iter().take(MOST_SHARES.saturating_sub(now.len())) {
            if !self.may_begin.take() {
                break;
            }
            point(id, Some(watts));
            now.insert(id.clone());
        }
        self.shares = now;
    }

    fn sums(&mut self, snapshot: &Snapshot, points: &mut Vec<Point>) {
        let account = snapshot.account();
        let mut clusters: Vec<&Arc<str>> = account.servers.iter().map(|s| &s.cluster).collect();
        clusters.dedup();
        let names: HashMap<&str, Arc<str>> =
            [CLUSTER_WATTS, CLUSTER_KNOWN, CLUSTER_SERVERS, GROUP_WATTS].into_iter().map(|n| (n, n.into())).collect();
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
                    let Some(watts) = row.watts else { continue };
                    let series: Arc<str> = group_series(cluster, by, &row.category).into();
                    // Workloads come and go like their pods.
                    let is_kept = by != By::Workload || self.sums.contains(&(series.clone(), GROUP_WATTS)) || self.may_begin.take();
                    if is_kept {
                        point(series, GROUP_WATTS, watts);
                    }
                }
            }
        }
        for (subject, metric) in self.sums.difference(&now) {
            points.push(Point { subject: subject.clone(), metric: names[metric].clone(), at_ms: snapshot.at_ms, value: None });
        }
        self.sums = now;
    }
}
