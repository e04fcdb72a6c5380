//! The parts of the API's objects that are read, and what they mean. Whatever else an object holds is passed over.

use std::collections::BTreeMap;

use kube_mapping::model::{Container, Labels, Node, Pod, Resources};
use kube_mapping::owner::Owner;
use kube_mapping::resource::quantity;
use kube_mapping::runtime_id;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::events::EventObject;

/// A longer annotation is a document, not a description.
const MAX_ANNOTATION: usize = 256;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Where a queue is named, on a pod or on the job above it: Kueue, then Volcano.
const QUEUES: [&str; 3] = ["kueue.x-k8s.io/queue-name", "volcano.sh/queue-name", "scheduling.volcano.sh/queue-name"];

#[derive(Deserialize)]
pub struct List<T> {
    pub metadata: ListMeta,
    pub items: Option<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    #[serde(default)]
    pub resource_version: String,
    #[serde(default, rename = "continue")]
    pub next: Option<String>,
}

/// One line of a watch; what its object is, says its kind.
#[derive(Deserialize)]
pub struct Event<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// An object with its metadata.
pub trait Read: DeserializeOwned {
    fn meta(&self) -> &Meta;
}

macro_rules! read {
    ($($object:ty),+) => { $(impl Read for $object {
        fn meta(&self) -> &Meta {
            &self.metadata
        }
    })+ };
}

read!(Bare, NodeObject, NamespaceObject, PodObject, EventObject);

/// The object of an error.
#[derive(Deserialize)]
pub struct Status {
    #[serde(default)]
    pub code: u16,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: Option<String>,
    pub uid: Option<String>,
    pub resource_version: String,
    pub creation_timestamp: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub annotations: Option<BTreeMap<String, String>>,
    pub owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Deserialize, Debug, Clone)]
pub struct OwnerReference {
    kind: String,
    name: String,
    #[serde(default)]
    controller: Option<bool>,
}

impl Meta {
    /// The controller, else the first owner.
    pub fn owner(&self) -> Option<Owner> {
        let all = self.owner_references.as_deref().unwrap_or_default();
        let one = all.iter().find(|o| o.controller == Some(true)).or(all.first())?;
        Some(Owner::new(&one.kind, &one.name))
    }

    pub fn queue(&self) -> Option<&str> {
        let places = [self.labels.as_ref(), self.annotations.as_ref()];
        places.into_iter().flatten().find_map(|all| QUEUES.iter().find_map(|k| all.get(*k))).map(String::as_str)
    }

    fn describe(&self, to: &mut Labels, annotations: bool) {
        to.put("created_at", self.creation_timestamp.as_deref().unwrap_or_default());
        for (key, value) in self.labels.iter().flatten() {
            to.put_empty(&format!("label:{key}"), value);
        }
        if annotations {
            for (key, value) in self.annotations.iter().flatten() {
                if value.len() <= MAX_ANNOTATION && key != LAST_APPLIED {
                    to.put_empty(&format!("annotation:{key}"), value);
                }
            }
        }
    }
}

/// An object of which only the metadata is read.
#[derive(Deserialize, Debug, Clone)]
pub struct Bare {
    pub metadata: Meta,
}

/// As text, or as a number where whoever made the object wrote one.
#[derive(Deserialize, Debug, Clone)]
#[serde(untagged)]
enum Quantity {
    Text(String),
    Number(f64),
}

type Quantities = Option<BTreeMap<String, Quantity>>;

fn resources(given: &Quantities) -> Resources {
    let mut all = Resources::default();
    for (name, given) in given.iter().flatten() {
        let value = match given {
            Quantity::Text(text) => quantity(text),
            Quantity::Number(n) => Some(*n),
        };
        // A quantity that is none is left out: nothing is said of that resource.
        value.into_iter().for_each(|value| all.set(name, value));
    }
    all
}

#[derive(Deserialize, Debug, Clone)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// Place in `READINESS`.
fn readiness(conditions: &[Condition]) -> Option<u32> {
    conditions.iter().find(|c| c.kind == "Ready").map(|c| match c.status.as_str() {
        "True" => 0,
        "False" => 1,
        _ => 2,
    })
}

#[derive(Deserialize, Debug, Clone)]
pub struct NodeObject {
    pub metadata: Meta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "camelCase", default)]
struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
    unschedulable: Option<bool>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    capacity: Quantities,
    allocatable: Quantities,
    conditions: Option<Vec<Condition>>,
    addresses: Option<Vec<Address>>,
    node_info: NodeInfo,
}

#[derive(Deserialize, Debug, Clone)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    #[serde(rename = "machineID")]
    machine_id: String,
    #[serde(rename = "systemUUID")]
    system_uuid: String,
    kernel_version: String,
    os_image: String,
    container_runtime_version: String,
    kubelet_version: String,
    architecture: String,
}

impl NodeObject {
    pub fn read(&self, annotations: bool) -> Node {
        let mut node = Node { name: self.metadata.name.clone(), ..Node::default() };
        let address = |kind: &str| self.status.addresses.iter().flatten().find(|a| a.kind == kind).map(|a| a.address.as_str());
        let info = &self.status.node_info;
        for (key, value) in [
            ("internal_ip", address("InternalIP")),
            ("hostname", address("Hostname")),
            ("os_image", Some(info.os_image.as_str())),
            ("kernel_version", Some(&info.kernel_version)),
            ("container_runtime", Some(&info.container_runtime_version)),
            ("kubelet_version", Some(&info.kubelet_version)),
            ("cpu_architecture", Some(&info.architecture)),
            ("machine_id", Some(&info.machine_id)),
            ("system_uuid", Some(&info.system_uuid)),
            ("pod_cidr", self.spec.pod_cidr.as_deref()),
            ("provider_id", self.spec.provider_id.as_deref()),
            ("unschedulable", self.spec.unschedulable.filter(|u| *u).map(|_| "true")),
        ] {
            node.labels.put(key, value.unwrap_or_default());
        }
        for (key, value) in self.metadata.labels.iter().flatten() {
            let role = key.strip_prefix("node-role.kubernetes.io/").or((key == "kubernetes.io/role").then_some(value.as_str()));
            node.roles.extend(role.filter(|r| !r.is_empty()).map(str::to_owned));
        }
        self.metadata.describe(&mut node.labels, annotations);
        let conditions = self.status.conditions.as_deref().unwrap_or_default();
        node.readiness = readiness(conditions);
        let wrong = conditions.iter().filter(|c| c.kind != "Ready" && c.status == "True");
        node.wrong = wrong.map(|c| c.kind.clone()).collect();
        node.capacity = resources(&self.status.capacity);
        node.allocatable = resources(&self.status.allocatable);
        node
    }
}

#[derive(Deserialize, Debug, Clone)]
pub struct NamespaceObject {
    pub metadata: Meta,
    #[serde(default)]
    status: Phase,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
struct Phase {
    phase: String,
}

impl NamespaceObject {
    pub fn read(&self, annotations: bool) -> Labels {
        let mut labels = Labels::default();
        labels.put("phase", &self.status.phase.to_ascii_lowercase());
        self.metadata.describe(&mut labels, annotations);
        labels
    }
}

#[derive(Deserialize, Debug, Clone)]
pub struct PodObject {
    pub metadata: Meta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
    containers: Option<Vec<ContainerSpec>>,
    init_containers: Option<Vec<ContainerSpec>>,
    priority_class_name: Option<String>,
}

#[derive(Deserialize, Debug, Clone)]
struct ContainerSpec {
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    resources: Asked,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
struct Asked {
    requests: Quantities,
    limits: Quantities,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    reason: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    start_time: Option<String>,
    qos_class: Option<String>,
    conditions: Option<Vec<Condition>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize, Debug, Clone)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    restart_count: u32,
    #[serde(default, rename = "imageID")]
    image_id: String,
    #[serde(default, rename = "containerID")]
    container_id: Option<String>,
    #[serde(default)]
    state: ContainerState,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Reason>,
    running: Option<Reason>,
    terminated: Option<Reason>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "camelCase", default)]
struct Reason {
    reason: Option<String>,
    started_at: Option<String>,
}

impl PodObject {
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or("default")
    }

    /// Where it was placed.
    pub fn node(&self) -> Option<&str> {
        self.spec.node_name.as_deref()
    }

    /// Whether it runs no more, and holds nothing.
    pub fn has_ended(&self) -> bool {
        ["Succeeded", "Failed"].contains(&self.status.phase.as_str())
    }

    /// Names of its containers, those that set it up included.
    pub fn container_names(&self) -> impl Iterator<Item = &str> {
        self.spec.containers.iter().chain(&self.spec.init_containers).flatten().map(|c| c.name.as_str())
    }

    /// All but the workload, for which other objects must be known.
    pub fn read(&self, annotations: bool) -> Pod {
        let (meta, spec, status) = (&self.metadata, &self.spec, &self.status);
        let mut pod = Pod {
            namespace: self.namespace().to_owned(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            node: spec.node_name.clone().filter(|n| !n.is_empty()),
            owner: meta.owner(),
            phase: kube_mapping::model::PHASES.iter().position(|p| p.eq_ignore_ascii_case(&status.phase)).map(|i| i as u32),
            readiness: readiness(status.conditions.as_deref().unwrap_or_default()),
            says_resources: true,
            ..Pod::default()
        };
        for (key, value) in [
            ("queue", meta.queue()),
            ("started_at", status.start_time.as_deref()),
            ("pod_ip", status.pod_ip.as_deref()),
            ("host_ip", status.host_ip.as_deref()),
            ("qos_class", status.qos_class.as_deref()),
            ("reason", status.reason.as_deref()),
            ("priority_class", spec.priority_class_name.as_deref()),
        ] {
            pod.labels.put(key, value.unwrap_or_default());
        }
        meta.describe(&mut pod.labels, annotations);
        let both = [(&spec.containers, &status.container_statuses, false), (&spec.init_containers, &status.init_container_statuses, true)];
        for (specs, statuses, is_init) in both {
            for spec in specs.iter().flatten() {
                let status = statuses.iter().flatten().find(|s| s.name == spec.name);
                pod.containers.push(container(spec, status, is_init));
            }
        }
        pod
    }
}

fn container(spec: &ContainerSpec, status: Option<&ContainerStatus>, is_init: bool) -> Container {
    let mut c = Container {
        name: spec.name.clone(),
        is_init,
        requests: resources(&spec.resources.requests),
        limits: resources(&spec.resources.limits),
        ..Container::default()
    };
    c.labels.put("image", &spec.image);
    let Some(status) = status else { return c };
    c.labels.put("image_id", &status.image_id);
    c.runtime_id = status.container_id.as_deref().and_then(runtime_id).map(str::to_owned);
    c.readiness = Some(u32::from(!status.ready));
    c.restarts = Some(f64::from(status.restart_count));
    let states = [&status.state.waiting, &status.state.running, &status.state.terminated];
    // A state that the kubelet has not said yet is waiting, as the API's own rule has it.
    let at = states.iter().position(|s| s.is_some());
    c.state = Some(at.unwrap_or(0) as u32);
    if let Some(state) = at.and_then(|i| states[i].as_ref()) {
        c.labels.put("reason", state.reason.as_deref().unwrap_or_default());
        c.labels.put("started_at", state.started_at.as_deref().unwrap_or_default());
    }
    c
}
