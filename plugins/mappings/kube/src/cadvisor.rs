//! Rows of cAdvisor, stand-alone or in the kubelet, whichever way they came.
//!
//! A row that names a container is of that container, and a pod's figures are the sum over its containers. A row that names a pod and
//! no container repeats that sum and is read for the network only, which its containers share. What names neither is a cgroup. A
//! container that restarted may stand twice, by its old and its new id: the younger counts.

use std::collections::{BTreeMap, HashMap};

use kcloud_collector_sdk::{Batch, CollectError, Event, GapReason, Severity, SubjectRef, Target, target_label};

use crate::model::{Labels, M, Writer, rfc3339};
use crate::{Get, runtime_id, said};

/// Families by metric, and the label that tells the parts that are added up.
const FAMILIES: [(&str, M, &str); 11] = [
    ("container_cpu_usage_seconds_total", M::CpuSeconds, "cpu"),
    ("container_cpu_cfs_throttled_seconds_total", M::CpuThrottled, ""),
    ("container_memory_usage_bytes", M::MemoryUsed, ""),
    ("container_memory_working_set_bytes", M::MemoryWorkingSet, ""),
    ("container_memory_rss", M::MemoryRss, ""),
    ("container_memory_cache", M::MemoryCache, ""),
    ("container_fs_usage_bytes", M::FilesystemUsed, "device"),
    ("container_network_receive_bytes_total", M::NetworkRxBytes, "interface"),
    ("container_network_transmit_bytes_total", M::NetworkTxBytes, "interface"),
    ("container_network_receive_packets_total", M::NetworkRxPackets, "interface"),
    ("container_network_transmit_packets_total", M::NetworkTxPackets, "interface"),
];
/// From here on families are of the pod.
const NETWORK: usize = 7;

const OTHERS: [&str; 8] = [
    "container_last_seen",
    "container_oom_events_total",
    "container_spec_cpu_period",
    "container_spec_cpu_quota",
    "container_spec_memory_limit_bytes",
    "container_start_time_seconds",
    "machine_cpu_cores",
    "machine_memory_bytes",
];

/// A limit of this and more is the kernel's word for none (`PAGE_COUNTER_MAX` in bytes is just below 2^63).
const NO_LIMIT: f64 = 1e18;

/// Every name that a row of ours can have.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, ..)| *name).chain(OTHERS)
}

/// Families that hold a metric of the catalogue for one container.
pub fn holding(metric: &str) -> Option<&'static str> {
    let of = |m: M| match m {
        M::MemoryUsed => "memory_used_bytes",
        M::MemoryWorkingSet => "memory_working_set_bytes",
        M::MemoryRss => "memory_rss_bytes",
        M::MemoryCache => "memory_cache_bytes",
        _ => "",
    };
    FAMILIES.iter().find(|(_, m, _)| of(*m) == metric && !metric.is_empty()).map(|(name, ..)| *name)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Namespace, pod and container; an empty container is the pod's network.
    Pod(String, String, String),
    /// Node and container, where there is no Kubernetes.
    Node(String, String),
}

/// One figure: its parts by the label that tells them (a CPU, a device, an interface), and the newest stamp.
#[derive(Default, Clone)]
struct Figure {
    parts: Vec<(String, f64)>,
    at_ms: Option<i64>,
}

impl Figure {
    fn put(&mut self, part: &str, value: f64, at_ms: Option<i64>) {
        // The same part again is the same reading by another way (two jobs of one Prometheus): the first counts.
        if !self.parts.iter().any(|(known, _)| known == part) {
            self.parts.push((part.to_owned(), value));
            self.at_ms = self.at_ms.max(at_ms);
        }
    }

    fn value(&self) -> Option<(f64, Option<i64>)> {
        let whole = self.parts.iter().find(|(part, _)| part == "total").map(|(_, v)| *v);
        let sum = || self.parts.iter().fold(0.0, |all, (_, v)| all + v);
        (!self.parts.is_empty()).then(|| (whole.unwrap_or_else(sum), self.at_ms))
    }
}

/// What is said of one life of a container.
#[derive(Default)]
struct Life {
    figures: [Figure; FAMILIES.len()],
    runtime_id: Option<String>,
    image: Option<String>,
    start_seconds: Option<f64>,
    last_seen: Option<f64>,
    memory_limit: Option<f64>,
    cpu_quota: Option<f64>,
    cpu_period: Option<f64>,
    ooms: Option<f64>,
    newest_ms: Option<i64>,
    node: Option<String>,
}

impl Life {
    /// What tells the younger of two.
    fn age(&self) -> (f64, f64, i64) {
        (self.start_seconds.unwrap_or(0.0), self.last_seen.unwrap_or(0.0), self.newest_ms.unwrap_or(0))
    }
}

/// Kills for want of memory that were counted before, by place: an instance's memory.
pub type Ooms = HashMap<String, f64>;

/// What an answer said so far.
pub struct Cadvisor<'a> {
    target: &'a Target,
    /// By place, then by the container's cgroup or id.
    all: BTreeMap<Place, Vec<(String, Life)>>,
    machines: BTreeMap<String, (Option<f64>, Option<f64>, Labels)>,
    rows: u64,
}

impl<'a> Cadvisor<'a> {
    pub fn new(target: &'a Target) -> Self {
        Self { target, all: BTreeMap::new(), machines: BTreeMap::new(), rows: 0 }
    }

    /// Rows that were ours, also where they named no container.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The machine that a row is of: as configured, as a Prometheus knows it, else the host that is asked.
    fn node(&self, labels: &impl Get) -> Option<String> {
        let host = |address: &str| {
            let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
            let authority = rest.split(['/', '?']).next().unwrap_or(rest);
            let host = match authority.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
                _ => authority,
            };
            (!host.is_empty()).then(|| host.trim_matches(['[', ']']).to_owned())
        };
        let label = |name| said(labels, name).map(|v| v.into_owned());
        self.named_node(labels).or_else(|| host(&label("instance")?)).or_else(|| host(&self.target.address))
    }

    /// The machine by its name; a pod's may not be guessed from an address.
    fn named_node(&self, labels: &impl Get) -> Option<String> {
        let configured = target_label(self.target, "node").map(str::to_owned);
        configured.or_else(|| said(labels, "kubernetes_io_hostname").or_else(|| said(labels, "node")).map(|v| v.into_owned()))
    }

    /// Takes one row with the stamp that it has.
    pub fn row(&mut self, name: &str, labels: &impl Get, value: f64, at_ms: Option<i64>) {
        let family = FAMILIES.iter().position(|(n, ..)| *n == name);
        if (family.is_none() && !OTHERS.contains(&name)) || !value.is_finite() {
            return;
        }
        self.rows += 1;
        if name.starts_with("machine_") {
            let Some(node) = self.node(labels) else { return };
            let machine = self.machines.entry(node).or_default();
            match name {
                "machine_cpu_cores" => machine.0 = Some(value),
                _ => machine.1 = Some(value),
            }
            for key in ["machine_id", "system_uuid"] {
                machine.2.put(key, &said(labels, key).unwrap_or_default());
            }
            return;
        }
        let Some(place) = self.place(labels) else { return };
        let is_network = family.is_some_and(|f| f >= NETWORK);
        // Of a pod without a container only the network; of its containers the network is the pod's, too.
        let place = match (place, is_network) {
            (Place::Pod(namespace, pod, _), true) => Place::Pod(namespace, pod, String::new()),
            (Place::Pod(_, _, container), false) if container.is_empty() => return,
            (place, _) => place,
        };
        let id = said(labels, "id").unwrap_or_default();
        let node = self.named_node(labels);
        let lives = self.all.entry(place).or_default();
        let at = lives.iter().position(|(known, _)| **known == *id).unwrap_or_else(|| {
            lives.push((id.clone().into_owned(), Life::default()));
            lives.len() - 1
        });
        let life = &mut lives[at].1;
        life.newest_ms = life.newest_ms.max(at_ms);
        if life.runtime_id.is_none() {
            life.runtime_id = own_id(&id).or_else(|| runtime_id(&said(labels, "name")?).map(str::to_owned));
            life.image = said(labels, "image").map(|i| i.into_owned());
            life.node = node;
        }
        let Some(family) = family else {
            let to = match name {
                "container_start_time_seconds" => &mut life.start_seconds,
                "container_last_seen" => &mut life.last_seen,
                "container_spec_memory_limit_bytes" => &mut life.memory_limit,
                "container_spec_cpu_quota" => &mut life.cpu_quota,
                "container_spec_cpu_period" => &mut life.cpu_period,
                _ => &mut life.ooms,
            };
            *to = Some(value);
            return;
        };
        let part = match FAMILIES[family].2 {
            "" => None,
            label => said(labels, label),
        };
        match part.as_deref() {
            Some("lo") if is_network => {}
            part => life.figures[family].put(part.unwrap_or(""), value, at_ms),
        }
    }

    /// Whose row it is; `None` for a cgroup that is no container.
    fn place(&self, labels: &impl Get) -> Option<Place> {
        let one = |names: [&str; 3]| names.iter().find_map(|n| said(labels, n)).map(|v| v.into_owned());
        let pod = one(["pod", "pod_name", "container_label_io_kubernetes_pod_name"]);
        let namespace = one(["namespace", "pod_namespace", "container_label_io_kubernetes_pod_namespace"]);
        let container = one(["container", "container_name", "container_label_io_kubernetes_container_name"]);
        match namespace.zip(pod) {
            // The sandbox: its figures are the pod's network and a pause that uses nothing.
            Some((namespace, pod)) => Some(Place::Pod(namespace, pod, container.filter(|c| c != "POD").unwrap_or_default())),
            None => {
                let name = said(labels, "name")?.into_owned();
                Some(Place::Node(self.node(labels)?, name))
            }
        }
    }

    /// Writes everything down. `before` are the kills for want of memory that this target counted when it was last asked.
    pub fn finish(self, writer: &mut Writer, batch: &mut Batch, before: &mut Ooms) -> Result<(), CollectError> {
        if self.rows == 0 {
            return Err(CollectError::Unsupported("no row of cAdvisor in the answer: is this a kubelet's /metrics/cadvisor?".to_owned()));
        }
        for (node, (cores, memory, labels)) in self.machines {
            let subject = Writer::node_named(batch, &node);
            writer.describe(batch, subject, labels);
            for (m, value) in [(M::CpuCapacity, cores), (M::MemoryTotal, memory)] {
                if let Some(value) = value {
                    batch.point(writer.metric(m), subject, value, None);
                }
            }
        }
        let mut ooms = Ooms::new();
        let mut sums: BTreeMap<(String, String), (SubjectRef, Sums)> = BTreeMap::new();
        for (place, lives) in self.all {
            let Some((_, life)) =
                lives.into_iter().max_by(|(_, a), (_, b)| a.age().partial_cmp(&b.age()).unwrap_or(std::cmp::Ordering::Equal))
            else {
                continue;
            };
            let (container, pod) = match &place {
                Place::Pod(namespace, pod, container) => {
                    let subject = Writer::pod_named(batch, life.node.as_deref(), namespace, pod, None);
                    let sum = &mut sums.entry((namespace.clone(), pod.clone())).or_insert_with(|| (subject, Sums::default())).1;
                    if container.is_empty() {
                        sum.network(&life);
                        continue;
                    }
                    sum.add(&life);
                    (Writer::container_named(batch, subject, container, life.runtime_id.as_deref()), Some(subject))
                }
                Place::Node(node, name) => {
                    let parent = Writer::node_named(batch, node);
                    (Writer::container_named(batch, parent, name, life.runtime_id.as_deref()), None)
                }
            };
            write(writer, batch, container, &life);
            if let Some(count) = life.ooms {
                let key = format!("{place:?}/{}", life.runtime_id.as_deref().unwrap_or_default());
                if before.get(&key).is_some_and(|was| count > *was) {
                    let message = format!("the kernel killed a process for want of memory; {count} times in this container's life");
                    let code = "k8s:oom".to_owned();
                    let key = format!("oom/{}/{count}", life.runtime_id.as_deref().unwrap_or_default());
                    batch.event(pod.unwrap_or(container), Event { subject: 0, at: None, severity: Severity::Warning, code, message, key });
                }
                ooms.insert(key, count);
            }
        }
        for (subject, sum) in sums.into_values() {
            sum.write(writer, batch, subject);
        }
        *before = ooms;
        Ok(())
    }

    /// The container that a row of one reading is about, put into the batch: for reading the past.
    pub fn subject(&self, labels: &impl Get, batch: &mut Batch) -> Option<SubjectRef> {
        match self.place(labels)? {
            Place::Pod(_, _, container) if container.is_empty() => None,
            Place::Pod(namespace, pod, container) => {
                let pod = Writer::pod_named(batch, None, &namespace, &pod, None);
                Some(Writer::container_named(batch, pod, &container, None))
            }
            Place::Node(node, name) => {
                let parent = Writer::node_named(batch, &node);
                Some(Writer::container_named(batch, parent, &name, None))
            }
        }
    }
}

/// The container's own id at the end of its cgroup: 64 hexadecimal digits, bare or in a scope of systemd's.
fn own_id(cgroup: &str) -> Option<String> {
    let last = cgroup.rsplit('/').next()?;
    let last = last.strip_suffix(".scope").unwrap_or(last);
    let last = last.rsplit_once('-').map_or(last, |(_, id)| id);
    (last.len() == 64 && last.bytes().all(|b| b.is_ascii_hexdigit())).then(|| last.to_owned())
}

fn limits(life: &Life) -> (Option<f64>, Option<f64>) {
    let memory = life.memory_limit.filter(|v| *v > 0.0 && *v < NO_LIMIT);
    let cpu = life.cpu_quota.zip(life.cpu_period).filter(|(quota, period)| *quota > 0.0 && *period > 0.0).map(|(q, p)| q / p);
    (cpu, memory)
}

fn write(writer: &mut Writer, batch: &mut Batch, subject: SubjectRef, life: &Life) {
    let (cpu, memory) = limits(life);
    let mut labels = Labels::default();
    labels.put("image", life.image.as_deref().unwrap_or_default());
    labels.put("started_at", &life.start_seconds.filter(|s| *s > 0.0).and_then(rfc3339).unwrap_or_default());
    // The kubelet leaves the row of a quota out where there is none.
    if life.memory_limit.is_some() {
        if cpu.is_none() && memory.is_none() {
            labels.put("limit", "none");
        }
        for (m, value) in [(M::CpuLimit, cpu), (M::MemoryLimit, memory)] {
            match value {
                Some(value) => batch.point(writer.metric(m), subject, value, life.newest_ms),
                None => batch.gap(writer.metric(m), subject, GapReason::Absent),
            }
        }
    }
    writer.describe(batch, subject, labels);
    for ((_, m, _), figure) in FAMILIES.iter().zip(&life.figures) {
        if let Some((value, at_ms)) = figure.value() {
            batch.point(writer.metric(*m), subject, value, at_ms);
        }
    }
}

/// A pod's figures.
#[derive(Default)]
struct Sums {
    all: [Option<(f64, Option<i64>)>; FAMILIES.len()],
    cpu_limit: Option<f64>,
    memory_limit: Option<f64>,
    says_limits: bool,
    at_ms: Option<i64>,
}

impl Sums {
    fn add(&mut self, life: &Life) {
        for (sum, figure) in self.all.iter_mut().zip(&life.figures).take(NETWORK) {
            if let Some((value, at_ms)) = figure.value() {
                let (so_far, newest) = sum.unwrap_or((0.0, None));
                *sum = Some((so_far + value, newest.max(at_ms)));
            }
        }
        let (cpu, memory) = limits(life);
        self.cpu_limit = cpu.map(|v| v + self.cpu_limit.unwrap_or(0.0)).or(self.cpu_limit);
        self.memory_limit = memory.map(|v| v + self.memory_limit.unwrap_or(0.0)).or(self.memory_limit);
        self.says_limits |= life.memory_limit.is_some();
        self.at_ms = self.at_ms.max(life.newest_ms);
    }

    fn network(&mut self, life: &Life) {
        for (sum, figure) in self.all.iter_mut().zip(&life.figures).skip(NETWORK) {
            *sum = figure.value();
        }
    }

    fn write(self, writer: &Writer, batch: &mut Batch, pod: SubjectRef) {
        for ((_, m, _), sum) in FAMILIES.iter().zip(self.all) {
            if let Some((value, at_ms)) = sum {
                batch.point(writer.metric(*m), pod, value, at_ms);
            }
        }
        for (m, limit) in [(M::CpuLimit, self.cpu_limit), (M::MemoryLimit, self.memory_limit)] {
            match limit {
                Some(limit) => batch.point(writer.metric(m), pod, limit, self.at_ms),
                None if self.says_limits => batch.gap(writer.metric(m), pod, GapReason::Absent),
                None => {}
            }
        }
    }
}
