//! Rows of kube-state-metrics, of its versions 1 and 2, whichever way they came.
//!
//! Rows of one object are spread over the whole answer: they are gathered first and written by [`State::finish`]. The same row again
//! (two of its replicas behind one Prometheus) changes nothing.

use std::collections::HashMap;

use kcloud_collector_sdk::exposition::BadLine;
use kcloud_collector_sdk::{Batch, CollectError, Label};

use crate::model::{CONTAINER_STATES, Container, Labels, Node, PHASES, Pod, READINESS, Resources, Writer, rfc3339};
use crate::owner::{Owner, top};
use crate::{Get, runtime_id, said};

/// Every name that a row of ours can have.
pub const NAMES: &[&str] = &[
    "kube_job_owner",
    "kube_namespace_created",
    "kube_namespace_labels",
    "kube_namespace_status_phase",
    "kube_node_annotations",
    "kube_node_info",
    "kube_node_labels",
    "kube_node_role",
    "kube_node_spec_unschedulable",
    "kube_node_status_addresses",
    "kube_node_status_allocatable",
    "kube_node_status_allocatable_cpu_cores",
    "kube_node_status_allocatable_memory_bytes",
    "kube_node_status_allocatable_pods",
    "kube_node_status_capacity",
    "kube_node_status_capacity_cpu_cores",
    "kube_node_status_capacity_memory_bytes",
    "kube_node_status_capacity_pods",
    "kube_node_status_condition",
    "kube_pod_annotations",
    "kube_pod_container_info",
    "kube_pod_container_resource_limits",
    "kube_pod_container_resource_limits_cpu_cores",
    "kube_pod_container_resource_limits_memory_bytes",
    "kube_pod_container_resource_requests",
    "kube_pod_container_resource_requests_cpu_cores",
    "kube_pod_container_resource_requests_memory_bytes",
    "kube_pod_container_state_started",
    "kube_pod_container_status_ready",
    "kube_pod_container_status_restarts_total",
    "kube_pod_container_status_running",
    "kube_pod_container_status_terminated",
    "kube_pod_container_status_terminated_reason",
    "kube_pod_container_status_waiting",
    "kube_pod_container_status_waiting_reason",
    "kube_pod_created",
    "kube_pod_info",
    "kube_pod_init_container_info",
    "kube_pod_init_container_status_ready",
    "kube_pod_init_container_status_restarts_total",
    "kube_pod_init_container_status_running",
    "kube_pod_init_container_status_terminated",
    "kube_pod_init_container_status_terminated_reason",
    "kube_pod_init_container_status_waiting",
    "kube_pod_init_container_status_waiting_reason",
    "kube_pod_labels",
    "kube_pod_owner",
    "kube_pod_start_time",
    "kube_pod_status_phase",
    "kube_pod_status_qos_class",
    "kube_pod_status_ready",
    "kube_pod_status_reason",
    "kube_replicaset_owner",
];

/// Keys that are known under their own spelling; of any other only the sanitised one is left in the answer.
const KEYS: &[&str] = &[
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/metadata.name",
    "kubernetes.io/os",
    "kueue.x-k8s.io/queue-name",
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
    "node-role.kubernetes.io/worker",
    "node.kubernetes.io/instance-type",
    "nvidia.com/gpu.count",
    "nvidia.com/gpu.family",
    "nvidia.com/gpu.machine",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.present",
    "nvidia.com/gpu.product",
    "nvidia.com/mig.capable",
    "nvidia.com/mig.strategy",
    "pod-template-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "volcano.sh/queue-name",
];

/// Things by name, in the order in which they were met; rows of one thing mostly stand together.
struct Table<T> {
    index: HashMap<String, usize>,
    all: Vec<T>,
    last: (String, usize),
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { index: HashMap::new(), all: Vec::new(), last: (String::new(), 0) }
    }
}

impl<T> Table<T> {
    fn of(&mut self, key: &str, new: impl FnOnce() -> T) -> &mut T {
        if self.all.is_empty() || self.last.0 != key {
            let at = match self.index.get(key) {
                Some(at) => *at,
                None => {
                    self.all.push(new());
                    self.index.insert(key.to_owned(), self.all.len() - 1);
                    self.all.len() - 1
                }
            };
            self.last = (key.to_owned(), at);
        }
        &mut self.all[self.last.1]
    }
}

#[derive(Default)]
struct NodeRows {
    node: Node,
    at_ms: Option<i64>,
}

#[derive(Default)]
struct PodRows {
    pod: Pod,
    /// As the pod itself says, from `kube_pod_owner`, which goes before `created_by` of `kube_pod_info`.
    owner: Option<(Owner, bool)>,
    at_ms: Option<i64>,
}

#[derive(Default)]
struct Namespace {
    name: String,
    labels: Labels,
}

/// What an answer said so far.
#[derive(Default)]
pub struct State {
    nodes: Table<NodeRows>,
    pods: Table<PodRows>,
    namespaces: Table<Namespace>,
    /// Owners of ReplicaSets and Jobs, by kind, namespace and name.
    owners: HashMap<(String, String, String), Owner>,
    says_resources: bool,
    rows: u64,
    keys: HashMap<String, &'static str>,
}

impl State {
    pub fn new() -> Self {
        let keys = KEYS.iter().map(|k| (crate::resource::sanitised(k), *k)).collect();
        Self { keys, ..Self::default() }
    }

    /// Rows that were ours.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes one row; `at_ms` is when it was scraped, where that is known.
    pub fn row(&mut self, name: &str, labels: &impl Get, value: f64, at_ms: Option<i64>) {
        if !value.is_finite() {
            return;
        }
        let is_ours = match name {
            _ if name.starts_with("kube_node_") => self.node(&name["kube_node_".len()..], labels, value, at_ms),
            _ if name.starts_with("kube_pod_") => self.pod(&name["kube_pod_".len()..], labels, value, at_ms),
            "kube_replicaset_owner" => self.owner("ReplicaSet", "replicaset", labels),
            "kube_job_owner" => self.owner("Job", "job_name", labels),
            _ if name.starts_with("kube_namespace_") => self.namespace(&name["kube_namespace_".len()..], labels, value),
            _ => None,
        };
        self.rows += u64::from(is_ours.is_some());
    }

    fn owner(&mut self, kind: &str, label: &str, labels: &impl Get) -> Option<()> {
        let (namespace, name) = (said(labels, "namespace")?, said(labels, label)?);
        let is_controller = said(labels, "owner_is_controller").is_none_or(|v| v == "true");
        if let (true, Some(kind_above), Some(above)) = (is_controller, said(labels, "owner_kind"), said(labels, "owner_name")) {
            let owned = (kind.to_owned(), namespace.into_owned(), name.into_owned());
            self.owners.insert(owned, Owner::new(&kind_above, &above));
        }
        Some(())
    }

    fn namespace(&mut self, family: &str, labels: &impl Get, value: f64) -> Option<()> {
        let name = said(labels, "namespace")?;
        let keys = &self.keys;
        let new = || Namespace { name: name.clone().into_owned(), ..Namespace::default() };
        let of = &mut self.namespaces.of(&name, new).labels;
        match family {
            "status_phase" if value == 1.0 => of.put("phase", &said(labels, "phase")?.to_ascii_lowercase()),
            "status_phase" => {}
            "created" => of.put("created_at", &rfc3339(value)?),
            "labels" => foreign(keys, labels, of, None),
            _ => return None,
        }
        Some(())
    }

    fn node(&mut self, family: &str, labels: &impl Get, value: f64, at_ms: Option<i64>) -> Option<()> {
        let name = said(labels, "node")?;
        let new = || NodeRows { node: Node { name: name.clone().into_owned(), ..Node::default() }, at_ms: None };
        let keys = &self.keys;
        let rows = self.nodes.of(&name, new);
        rows.at_ms = rows.at_ms.max(at_ms);
        let node = &mut rows.node;
        match family {
            "info" => {
                for (key, label) in [
                    ("internal_ip", "internal_ip"),
                    ("os_image", "os_image"),
                    ("kernel_version", "kernel_version"),
                    ("container_runtime", "container_runtime_version"),
                    ("kubelet_version", "kubelet_version"),
                    ("system_uuid", "system_uuid"),
                    ("pod_cidr", "pod_cidr"),
                    ("provider_id", "provider_id"),
                ] {
                    node.labels.put(key, &said(labels, label).unwrap_or_default());
                }
            }
            "labels" => {
                labels.each(&mut |key, value| match key {
                    "label_kubernetes_io_arch" => node.labels.put("cpu_architecture", value),
                    "label_kubernetes_io_role" => _ = node.roles.insert(value.to_owned()),
                    _ => {
                        let role = key.strip_prefix("label_node_role_kubernetes_io_");
                        node.roles.extend(role.map(|r| r.replace('_', "-")));
                    }
                });
                foreign(keys, labels, &mut node.labels, None);
            }
            "annotations" => foreign(keys, labels, &mut node.labels, Some(())),
            "role" => node.roles.extend(said(labels, "role").map(|r| r.into_owned())),
            "spec_unschedulable" if value == 1.0 => node.labels.put("unschedulable", "true"),
            "spec_unschedulable" => {}
            "status_addresses" if said(labels, "type").as_deref() == Some("InternalIP") => {
                node.labels.put("internal_ip", &said(labels, "address").unwrap_or_default());
            }
            "status_addresses" => {}
            "status_condition" if value == 1.0 => {
                let (condition, status) = (said(labels, "condition")?, said(labels, "status")?);
                match (&*condition, &*status) {
                    ("Ready", "true") => node.readiness = Some(0),
                    ("Ready", "false") => node.readiness = Some(1),
                    ("Ready", _) => node.readiness = Some(2),
                    (wrong, "true") => _ = node.wrong.insert(wrong.to_owned()),
                    _ => {}
                }
            }
            "status_condition" => {}
            _ => {
                let (of, rest) = match (family.strip_prefix("status_capacity"), family.strip_prefix("status_allocatable")) {
                    (Some(rest), _) => (&mut node.capacity, rest),
                    (_, Some(rest)) => (&mut node.allocatable, rest),
                    _ => return None,
                };
                resource(of, rest, labels, value)?;
            }
        }
        Some(())
    }

    fn pod(&mut self, family: &str, labels: &impl Get, value: f64, at_ms: Option<i64>) -> Option<()> {
        let (namespace, name) = (said(labels, "namespace")?, said(labels, "pod")?);
        let keys = &self.keys;
        let new = || PodRows {
            pod: Pod { namespace: namespace.clone().into_owned(), name: name.clone().into_owned(), ..Pod::default() },
            ..PodRows::default()
        };
        let rows = self.pods.of(&format!("{namespace}/{name}"), new);
        rows.at_ms = rows.at_ms.max(at_ms);
        let pod = &mut rows.pod;
        if pod.uid.is_none() {
            pod.uid = said(labels, "uid").map(|uid| uid.into_owned());
        }
        match family {
            "info" => {
                pod.node = said(labels, "node").map(|n| n.into_owned());
                for key in ["pod_ip", "host_ip", "priority_class"] {
                    pod.labels.put(key, &said(labels, key).unwrap_or_default());
                }
                let by = said(labels, "created_by_kind").zip(said(labels, "created_by_name"));
                pod.owner = by.map(|(kind, name)| Owner::new(&kind, &name));
            }
            "owner" => {
                let Some((kind, above)) = said(labels, "owner_kind").zip(said(labels, "owner_name")) else { return Some(()) };
                let is_controller = said(labels, "owner_is_controller").is_some_and(|v| v == "true");
                if rows.owner.as_ref().is_none_or(|(_, was)| is_controller && !was) {
                    rows.owner = Some((Owner::new(&kind, &above), is_controller));
                }
            }
            "labels" => foreign(keys, labels, &mut pod.labels, None),
            "annotations" => foreign(keys, labels, &mut pod.labels, Some(())),
            "created" => pod.labels.put("created_at", &rfc3339(value)?),
            "start_time" => pod.labels.put("started_at", &rfc3339(value)?),
            "status_phase" | "status_ready" | "status_reason" | "status_qos_class" if value != 1.0 => {}
            "status_phase" => pod.phase = place(&PHASES, &said(labels, "phase")?.to_ascii_lowercase()),
            "status_ready" => pod.readiness = Some(truth(&said(labels, "condition")?)),
            "status_reason" => pod.labels.put("reason", &said(labels, "reason")?),
            "status_qos_class" => pod.labels.put("qos_class", &said(labels, "qos_class")?),
            _ => {
                let init = family.strip_prefix("init_container_");
                let family = init.or_else(|| family.strip_prefix("container_"))?;
                let name = said(labels, "container")?;
                let at = pod.containers.iter().position(|c| c.name == *name).unwrap_or_else(|| {
                    pod.containers.push(Container { name: name.into_owned(), is_init: init.is_some(), ..Container::default() });
                    pod.containers.len() - 1
                });
                let says_resources = container(&mut pod.containers[at], family, labels, value)?;
                self.says_resources |= says_resources;
            }
        }
        Some(())
    }

    /// Writes everything down. An answer without a row of ours is none of kube-state-metrics.
    pub fn finish(self, writer: &mut Writer, batch: &mut Batch) -> Result<(), CollectError> {
        if self.rows == 0 {
            return Err(CollectError::Unsupported("no row of kube-state-metrics in the answer: is this its /metrics?".to_owned()));
        }
        for namespace in self.namespaces.all {
            let subject = batch.subject("x_namespace", &namespace.name, None, |s| {
                s.identity = vec![Label { key: "name".to_owned(), value: namespace.name.clone() }];
            });
            writer.describe(batch, subject, namespace.labels);
        }
        for rows in self.nodes.all {
            let subject = writer.node(batch, rows.node);
            if let Some(at_ms) = rows.at_ms {
                batch.observed_at(subject, at_ms);
            }
        }
        for rows in self.pods.all {
            let mut pod = rows.pod;
            pod.owner = rows.owner.map(|(owner, _)| owner).or(pod.owner);
            let known = pod.owner.as_ref().and_then(|o| self.owners.get(&(o.kind.clone(), pod.namespace.clone(), o.name.clone())));
            pod.workload = pod.owner.as_ref().map(|o| top(o, pod.labels.get("label:pod-template-hash"), known));
            let queue = ["label:kueue.x-k8s.io/queue-name", "label:volcano.sh/queue-name"].iter().find_map(|k| pod.labels.get(k));
            if let Some(queue) = queue.map(str::to_owned) {
                pod.labels.put("queue", &queue);
            }
            // Behind an allow-list that leaves these families out nothing is known of what any pod asks for.
            pod.says_resources = self.says_resources && pod.containers.iter().any(|c| !c.is_init);
            let first = batch.count();
            writer.pod(batch, pod);
            if let Some(at_ms) = rows.at_ms {
                batch.observed_since(first, at_ms);
            }
        }
        Ok(())
    }
}

/// A line that could not be read, as a problem of the answer.
pub fn bad_line(batch: &mut Batch, bad: BadLine) {
    batch.problem(CollectError::Protocol(format!("column {}: {}", bad.column, bad.reason)), Some(bad.line));
}

/// A resource's number. Version 1 has it in the name (`_cpu_cores`), version 2 in labels.
fn resource(of: &mut Resources, rest: &str, labels: &impl Get, value: f64) -> Option<()> {
    match rest {
        "" => of.set(&said(labels, "resource")?, value),
        "_cpu_cores" => of.set("cpu", value),
        "_memory_bytes" => of.set("memory", value),
        "_pods" => of.set("pods", value),
        _ => return None,
    }
    Some(())
}

/// Takes a row of a container; whether it is about what the container asks for.
fn container(c: &mut Container, family: &str, labels: &impl Get, value: f64) -> Option<bool> {
    match family {
        "info" => {
            c.labels.put("image", &said(labels, "image_spec").or_else(|| said(labels, "image")).unwrap_or_default());
            c.labels.put("image_id", &said(labels, "image_id").unwrap_or_default());
            c.runtime_id = said(labels, "container_id").and_then(|id| runtime_id(&id).map(str::to_owned));
        }
        "state_started" => c.labels.put("started_at", &rfc3339(value)?),
        "status_ready" => c.readiness = Some(u32::from(value != 1.0)),
        "status_restarts_total" => c.restarts = Some(value),
        "status_waiting_reason" | "status_terminated_reason" if value == 1.0 => c.labels.put("reason", &said(labels, "reason")?),
        "status_waiting_reason" | "status_terminated_reason" => {}
        _ => match (family.strip_prefix("status_"), family.strip_prefix("resource_requests"), family.strip_prefix("resource_limits")) {
            (Some(state), ..) => {
                let state = place(&CONTAINER_STATES, state)?;
                if value == 1.0 {
                    c.state = Some(state);
                }
            }
            (_, Some(rest), _) => return resource(&mut c.requests, rest, labels, value).map(|()| true),
            (.., Some(rest)) => return resource(&mut c.limits, rest, labels, value).map(|()| true),
            _ => return None,
        },
    }
    Some(false)
}

/// Labels of the object itself, or its annotations.
fn foreign(keys: &HashMap<String, &'static str>, labels: &impl Get, to: &mut Labels, annotation: Option<()>) {
    let (prefix, own) = match annotation {
        None => ("label_", "label:"),
        Some(()) => ("annotation_", "annotation:"),
    };
    labels.each(&mut |key, value| {
        if let Some(key) = key.strip_prefix(prefix) {
            let key = keys.get(key).copied().unwrap_or(key);
            to.put_empty(&format!("{own}{key}"), value);
        }
    });
}

fn place(all: &[&str], name: &str) -> Option<u32> {
    all.iter().position(|s| *s == name).map(|i| i as u32)
}

fn truth(word: &str) -> u32 {
    let name = match word {
        "true" => "ready",
        "false" => "not_ready",
        _ => "unknown",
    };
    place(&READINESS, name).unwrap_or(2)
}
