//! Shapes that every source fills, and how they are written into a batch.

use std::collections::BTreeSet;

use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{Batch, GapReason, Label, Metric, MetricDef, MetricKind, Quality, SubjectRef};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::owner::Owner;
use crate::resource::{Class, class, sanitised};

/// A label's key, at most.
const MAX_KEY: usize = 128;

pub const PHASES: [&str; 5] = ["pending", "running", "succeeded", "failed", "unknown"];
pub const READINESS: [&str; 3] = ["ready", "not_ready", "unknown"];
pub const CONTAINER_STATES: [&str; 4] = ["waiting", "running", "terminated", "unknown"];

/// Metrics, by their place in [`definitions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum M {
    Readiness,
    Phase,
    ContainerState,
    CpuCapacity,
    CpuAllocatable,
    MemoryTotal,
    MemoryAllocatable,
    GpuCapacity,
    GpuAllocatable,
    NpuCapacity,
    NpuAllocatable,
    PodCapacity,
    CpuRequest,
    CpuLimit,
    MemoryRequest,
    MemoryLimit,
    GpuRequest,
    GpuLimit,
    NpuRequest,
    NpuLimit,
    Restarts,
    CpuSeconds,
    CpuThrottled,
    MemoryUsed,
    MemoryWorkingSet,
    MemoryRss,
    MemoryCache,
    FilesystemUsed,
    NetworkRxBytes,
    NetworkTxBytes,
    NetworkRxPackets,
    NetworkTxPackets,
}

const TABLE: [(&str, &str, MetricKind, &[&str]); 32] = {
    use MetricKind::{Counter, Gauge, State};
    [
        ("readiness", "state", State, &READINESS),
        ("phase", "state", State, &PHASES),
        ("container_state", "state", State, &CONTAINER_STATES),
        ("cpu_capacity_cores", "cores", Gauge, &[]),
        ("cpu_allocatable_cores", "cores", Gauge, &[]),
        ("memory_total_bytes", "bytes", Gauge, &[]),
        ("memory_allocatable_bytes", "bytes", Gauge, &[]),
        ("gpu_capacity_count", "count", Gauge, &[]),
        ("gpu_allocatable_count", "count", Gauge, &[]),
        ("npu_capacity_count", "count", Gauge, &[]),
        ("npu_allocatable_count", "count", Gauge, &[]),
        ("pod_capacity_count", "count", Gauge, &[]),
        ("cpu_request_cores", "cores", Gauge, &[]),
        ("cpu_limit_cores", "cores", Gauge, &[]),
        ("memory_request_bytes", "bytes", Gauge, &[]),
        ("memory_limit_bytes", "bytes", Gauge, &[]),
        ("gpu_request_count", "count", Gauge, &[]),
        ("gpu_limit_count", "count", Gauge, &[]),
        ("npu_request_count", "count", Gauge, &[]),
        ("npu_limit_count", "count", Gauge, &[]),
        ("restarts_total", "count", Counter, &[]),
        ("cpu_seconds_total", "seconds", Counter, &[]),
        ("cpu_throttled_seconds_total", "seconds", Counter, &[]),
        ("memory_used_bytes", "bytes", Gauge, &[]),
        ("memory_working_set_bytes", "bytes", Gauge, &[]),
        ("memory_rss_bytes", "bytes", Gauge, &[]),
        ("memory_cache_bytes", "bytes", Gauge, &[]),
        ("filesystem_used_bytes", "bytes", Gauge, &[]),
        ("network_rx_bytes_total", "bytes", Counter, &[]),
        ("network_tx_bytes_total", "bytes", Counter, &[]),
        ("network_rx_packets_total", "count", Counter, &[]),
        ("network_tx_packets_total", "count", Counter, &[]),
    ]
};

/// What a plugin of this crate describes.
pub fn definitions() -> Vec<MetricDef> {
    let one = |(name, unit, kind, states): &(&str, &str, MetricKind, &[&str])| {
        let mut def = definition(name, unit, *kind, Quality::Measured);
        def.states = states.iter().map(|s| (*s).to_owned()).collect();
        def
    };
    TABLE.iter().map(one).collect()
}

/// What is offered, asked for or allowed. `None` is what the source does not say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    pub cpu_cores: Option<f64>,
    pub memory_bytes: Option<f64>,
    pub pods: Option<f64>,
    /// Sanitised name and number.
    pub accelerators: Vec<(String, Class, f64)>,
}

impl Resources {
    /// Takes one resource; the same again replaces it. What is no resource of ours is left out.
    pub fn set(&mut self, resource: &str, value: f64) {
        match resource {
            "cpu" => self.cpu_cores = Some(value),
            "memory" => self.memory_bytes = Some(value),
            "pods" => self.pods = Some(value),
            _ => {
                let name = sanitised(resource);
                let Some(class) = class(&name) else { return };
                match self.accelerators.iter_mut().find(|(n, ..)| *n == name) {
                    Some(known) => known.2 = value,
                    None => self.accelerators.push((name, class, value)),
                }
            }
        }
    }

    pub fn count(&self, class: Class) -> f64 {
        // Not `sum`, which of nothing is -0.
        self.accelerators.iter().filter(|(_, c, _)| *c == class).fold(0.0, |all, (.., n)| all + n)
    }

    fn add(&mut self, other: &Self) {
        let plus = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b).or(a).or(b);
        self.cpu_cores = plus(self.cpu_cores, other.cpu_cores);
        self.memory_bytes = plus(self.memory_bytes, other.memory_bytes);
        for (name, class, n) in &other.accelerators {
            match self.accelerators.iter_mut().find(|(known, ..)| known == name) {
                Some(known) => known.2 += n,
                None => self.accelerators.push((name.clone(), *class, *n)),
            }
        }
    }
}

/// A machine of the cluster.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub name: String,
    pub labels: Labels,
    pub roles: BTreeSet<String>,
    /// Place in [`READINESS`].
    pub readiness: Option<u32>,
    /// Conditions that hold and should not.
    pub wrong: BTreeSet<String>,
    pub capacity: Resources,
    pub allocatable: Resources,
}

#[derive(Debug, Clone, Default)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: Option<String>,
    pub node: Option<String>,
    pub labels: Labels,
    pub owner: Option<Owner>,
    pub workload: Option<Owner>,
    /// Place in [`PHASES`].
    pub phase: Option<u32>,
    pub readiness: Option<u32>,
    pub containers: Vec<Container>,
    /// Whether the source says what is asked for: then what it does not name is known to be nothing.
    pub says_resources: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Container {
    pub name: String,
    pub runtime_id: Option<String>,
    pub is_init: bool,
    pub labels: Labels,
    /// Place in [`CONTAINER_STATES`].
    pub state: Option<u32>,
    pub readiness: Option<u32>,
    pub restarts: Option<f64>,
    pub requests: Resources,
    pub limits: Resources,
}

/// Descriptive labels in the order in which they came; the first of one key counts.
#[derive(Debug, Clone, Default)]
pub struct Labels(Vec<Label>);

impl Labels {
    /// Puts a label; one without a value says nothing.
    pub fn put(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.put_empty(key, value);
        }
    }

    /// The same for a key whose empty value says something, too, such as that of a role. A key that the contract does not take is
    /// left out.
    pub fn put_empty(&mut self, key: &str, value: &str) {
        let is_fit = key.len() <= MAX_KEY && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b));
        if is_fit && !self.0.iter().any(|l| l.key == key) {
            self.0.push(Label { key: key.to_owned(), value: value.to_owned() });
        }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|l| l.key == key).map(|l| l.value.as_str())
    }

    /// Cuts to what the host takes of a subject, `most` with its identity; what describes the machine itself goes last. How many went.
    fn fit(&mut self, most: usize) -> usize {
        let over = self.0.len().saturating_sub(most);
        if over > 0 {
            // Feature discovery alone brings a hundred labels; they are the first to go, annotations the next.
            let rank = |l: &Label| match () {
                _ if l.key.starts_with("label:feature.node.kubernetes.io/") => 3,
                _ if l.key.starts_with("annotation:") => 2,
                _ if l.key.starts_with("label:") => 1,
                _ => 0,
            };
            self.0.sort_by_key(rank);
            self.0.truncate(most);
        }
        over
    }
}

/// RFC 3339 of seconds since the Unix epoch.
pub fn rfc3339(seconds: f64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(seconds.is_finite().then_some(seconds as i64)?).ok()?;
    at.format(&Rfc3339).ok()
}

fn pair(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}

/// Writes the shapes into a batch.
pub struct Writer {
    /// Place of the first metric in `describe`.
    pub first: u32,
    /// Labels of one subject that the host takes, identity included.
    pub most_labels: usize,
    /// Labels that there was no room for.
    pub left_out: usize,
}

impl Writer {
    pub fn new(first: u32) -> Self {
        Self { first, most_labels: 64, left_out: 0 }
    }

    pub fn metric(&self, m: M) -> Metric {
        Metric(self.first + m as u32)
    }

    fn number(&self, batch: &mut Batch, subject: SubjectRef, m: M, value: Option<f64>) {
        if let Some(value) = value {
            batch.point(self.metric(m), subject, value, None);
        }
    }

    fn state(&self, batch: &mut Batch, subject: SubjectRef, m: M, state: Option<u32>) {
        if let Some(state) = state {
            batch.state(self.metric(m), subject, state);
        }
    }

    /// A reading, or the word that there is none to have.
    fn stated(&self, batch: &mut Batch, subject: SubjectRef, m: M, value: Option<f64>) {
        match value {
            Some(value) => batch.point(self.metric(m), subject, value, None),
            None => batch.gap(self.metric(m), subject, GapReason::Absent),
        }
    }

    /// A node by its name, as a parent.
    pub fn node_named(batch: &mut Batch, name: &str) -> SubjectRef {
        batch.subject("node", name, None, |s| s.identity = vec![pair("node", name)])
    }

    /// A pod by its name, as a parent or in a tombstone.
    pub fn pod_named(batch: &mut Batch, node: Option<&str>, namespace: &str, name: &str, uid: Option<&str>) -> SubjectRef {
        let parent = node.map(|n| Self::node_named(batch, n));
        batch.subject("pod", &format!("{namespace}/{name}"), parent, |s| {
            s.identity = vec![pair("namespace", namespace), pair("name", name)];
            s.identity.extend(uid.map(|uid| pair("uid", uid)));
        })
    }

    /// A container of a pod by its name.
    pub fn container_named(batch: &mut Batch, pod: SubjectRef, name: &str, runtime_id: Option<&str>) -> SubjectRef {
        batch.subject("container", &format!("{}/{name}", pod.index()), Some(pod), |s| {
            s.identity = vec![pair("name", name)];
            s.identity.extend(runtime_id.map(|id| pair("runtime_id", id)));
        })
    }

    /// Adds labels to those that the subject has.
    pub fn describe(&mut self, batch: &mut Batch, subject: SubjectRef, labels: Labels) {
        let room = self.most_labels.saturating_sub(batch.get(subject).identity.len());
        let mut all = Labels(std::mem::take(batch.labels(subject)));
        match all.0.is_empty() {
            true => all = labels,
            false => labels.0.iter().for_each(|l| all.put_empty(&l.key, &l.value)),
        }
        self.left_out += all.fit(room);
        *batch.labels(subject) = all.0;
    }

    pub fn node(&mut self, batch: &mut Batch, mut node: Node) -> SubjectRef {
        let subject = Self::node_named(batch, &node.name);
        let joined = |all: &BTreeSet<String>| all.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        node.labels.put("roles", &joined(&node.roles));
        node.labels.put("conditions", &joined(&node.wrong));
        self.describe(batch, subject, node.labels);
        self.state(batch, subject, M::Readiness, node.readiness);
        let known = |r: &Resources, class| r.cpu_cores.is_some().then(|| r.count(class)).or(Some(r.count(class)).filter(|n| *n > 0.0));
        let (capacity, allocatable) = (&node.capacity, &node.allocatable);
        for (m, value) in [
            (M::CpuCapacity, capacity.cpu_cores),
            (M::CpuAllocatable, allocatable.cpu_cores),
            (M::MemoryTotal, capacity.memory_bytes),
            (M::MemoryAllocatable, allocatable.memory_bytes),
            (M::GpuCapacity, known(capacity, Class::Gpu)),
            (M::GpuAllocatable, known(allocatable, Class::Gpu)),
            (M::NpuCapacity, known(capacity, Class::Npu)),
            (M::NpuAllocatable, known(allocatable, Class::Npu)),
            (M::PodCapacity, capacity.pods),
        ] {
            self.number(batch, subject, m, value);
        }
        Self::each(batch, subject, capacity, "capacity");
        subject
    }

    /// Each resource of its own, raw: what the sums are made of.
    fn each(batch: &mut Batch, subject: SubjectRef, resources: &Resources, what: &str) {
        for (name, _, n) in &resources.accelerators {
            let name = format!("x_k8s_{}_{what}_count", name.to_ascii_lowercase());
            if name.len() <= 100 {
                let metric = batch.metric(definition(&name, "count", MetricKind::Gauge, Quality::Measured));
                batch.point(metric, subject, *n, None);
            }
        }
    }

    /// Writes a pod with its containers. What its containers ask for and how often they restarted is summed here, init containers
    /// left out.
    pub fn pod(&mut self, batch: &mut Batch, mut pod: Pod) -> SubjectRef {
        let subject = Self::pod_named(batch, pod.node.as_deref(), &pod.namespace, &pod.name, pod.uid.as_deref());
        if let Some(owner) = &pod.owner {
            pod.labels.put("owner_kind", &owner.kind);
            pod.labels.put("owner_name", &owner.name);
        }
        if let Some(workload) = &pod.workload {
            pod.labels.put("workload_kind", &workload.kind);
            pod.labels.put("workload_name", &workload.name);
        }
        self.describe(batch, subject, std::mem::take(&mut pod.labels));
        self.state(batch, subject, M::Phase, pod.phase);
        self.state(batch, subject, M::Readiness, pod.readiness);
        let (mut requests, mut limits) = (Resources::default(), Resources::default());
        let mut restarts = None;
        for c in pod.containers.iter().filter(|c| !c.is_init) {
            requests.add(&c.requests);
            limits.add(&c.limits);
            restarts = c.restarts.map(|n| n + restarts.unwrap_or(0.0)).or(restarts);
        }
        self.number(batch, subject, M::Restarts, restarts);
        if pod.says_resources {
            self.asked(batch, subject, &requests, &limits);
            for (m, class) in [(M::GpuRequest, Class::Gpu), (M::NpuRequest, Class::Npu)] {
                batch.point(self.metric(m), subject, requests.count(class), None);
            }
            Self::each(batch, subject, &requests, "requested");
        }
        for c in pod.containers {
            self.container(batch, subject, c, pod.says_resources);
        }
        subject
    }

    fn asked(&self, batch: &mut Batch, subject: SubjectRef, requests: &Resources, limits: &Resources) {
        self.stated(batch, subject, M::CpuRequest, requests.cpu_cores);
        self.stated(batch, subject, M::CpuLimit, limits.cpu_cores);
        self.stated(batch, subject, M::MemoryRequest, requests.memory_bytes);
        self.stated(batch, subject, M::MemoryLimit, limits.memory_bytes);
        for (m, class) in [(M::GpuLimit, Class::Gpu), (M::NpuLimit, Class::Npu)] {
            self.number(batch, subject, m, Some(limits.count(class)).filter(|n| *n > 0.0));
        }
    }

    fn container(&mut self, batch: &mut Batch, pod: SubjectRef, mut c: Container, says_resources: bool) {
        let subject = Self::container_named(batch, pod, &c.name, c.runtime_id.as_deref());
        if c.is_init {
            c.labels.put("init", "true");
        }
        if says_resources && c.limits.cpu_cores.is_none() && c.limits.memory_bytes.is_none() {
            c.labels.put("limit", "none");
        }
        self.describe(batch, subject, c.labels);
        self.state(batch, subject, M::ContainerState, c.state);
        self.state(batch, subject, M::Readiness, c.readiness);
        self.number(batch, subject, M::Restarts, c.restarts);
        if says_resources {
            self.asked(batch, subject, &c.requests, &c.limits);
            for (m, class) in [(M::GpuRequest, Class::Gpu), (M::NpuRequest, Class::Npu)] {
                self.number(batch, subject, m, Some(c.requests.count(class)).filter(|n| *n > 0.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_its_metrics_where_they_are_looked_for() {
        assert_eq!(TABLE[M::Readiness as usize].0, "readiness");
        assert_eq!(TABLE[M::MemoryLimit as usize].0, "memory_limit_bytes");
        assert_eq!(TABLE[M::NetworkTxPackets as usize].0, "network_tx_packets_total");
    }

    #[test]
    fn labels_of_a_machine_stay_where_there_is_no_room_for_all() {
        let mut labels = Labels::default();
        labels.put("label:feature.node.kubernetes.io/cpu-cpuid.AVX", "true");
        labels.put("label:zone", "a");
        labels.put("os_image", "Debian");
        labels.put("a key", "is not one");
        labels.put("label:zone", "b");
        assert_eq!((labels.fit(2), labels.get("label:zone"), labels.get("os_image")), (1, Some("a"), Some("Debian")));
        assert_eq!(labels.get("a key"), None);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(1.5e9).as_deref(), Some("2017-07-14T02:40:00Z"));
        assert_eq!((rfc3339(f64::NAN), rfc3339(1e300)), (None, None));
    }
}
