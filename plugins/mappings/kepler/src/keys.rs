//! Whose energy a row is, in the labels of both generations.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use kcloud_collector_sdk::exporter::{Page, Row};

use crate::share::Part;
use crate::table::{FAMILIES, Who};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Node,
    /// Work of the system that belongs to no pod.
    System,
    Pod(PodKey),
    Container {
        pod: Option<PodKey>,
        name: String,
        id: String,
    },
    Process {
        pid: String,
        command: String,
    },
    Vm {
        id: String,
        name: String,
    },
}

/// A pod by name, and by its uid from 0.10 on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PodKey {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

pub(crate) fn node_name(page: &Page<'_>) -> Option<String> {
    let from_0_10 = || FAMILIES.iter().find_map(|f| page.first(f.name)?.get("node_name").map(|n| n.into_owned()));
    // Before, its own `instance`: a name; a server's, where that took its place, is an address with a port.
    let before = || {
        let rows = FAMILIES.iter().filter(|f| f.who == Who::Node).filter_map(|f| page.first(f.name));
        let mut named = rows.filter_map(|r| r.get("instance").map(|n| n.into_owned()));
        named.find(|n| !n.contains(':') && !n.starts_with("localhost"))
    };
    page.node.clone().or_else(from_0_10).or_else(before)
}

/// Pods by their uid.
fn pods(page: &Page<'_>) -> HashMap<String, PodKey> {
    let mut pods = HashMap::new();
    for row in FAMILIES.iter().filter(|f| f.who == Who::Pod).flat_map(|f| page.rows(f.name)) {
        let [uid, namespace, name] = row.pick(["pod_id", "pod_namespace", "pod_name"]);
        if let (Some(uid), Some(namespace), Some(name)) = (uid, namespace, name)
            && !pods.contains_key(&*uid)
        {
            let (namespace, name, uid) = (namespace.into_owned(), name.into_owned(), uid.into_owned());
            pods.insert(uid.clone(), PodKey { namespace, name, uid });
        }
    }
    pods
}

/// What the labels of a row say.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spot {
    /// Whose it is, as a place among those that were met; `None` of one that is left out.
    pub tenant: Option<usize>,
    pub zone: Option<Part>,
    /// It is the sum of what the others of its family say.
    pub is_sum: bool,
}

/// All tenants of a node, in the order in which they were met.
pub(crate) struct Tenants {
    all: Vec<Key>,
    places: HashMap<Key, usize>,
    /// By whose rows they are and the number that equal labels share: watts and joules have the same.
    spots: HashMap<(Who, u32), Spot>,
    pods: HashMap<String, PodKey>,
    /// Containers whose pod is not named.
    pub unplaced: HashSet<String>,
}

impl Tenants {
    pub(crate) fn new(page: &Page<'_>) -> Self {
        Self { all: Vec::new(), places: HashMap::new(), spots: HashMap::new(), pods: pods(page), unplaced: HashSet::new() }
    }

    pub(crate) fn spot(&mut self, who: Who, row: &Row<'_>) -> Spot {
        let id = row.id().map(|id| (who, id));
        if let Some(known) = id.and_then(|id| self.spots.get(&id)) {
            return *known;
        }
        let spot = self.read(who, row);
        if let Some(id) = id {
            self.spots.insert(id, spot);
        }
        spot
    }

    pub(crate) fn place(&mut self, key: Key) -> usize {
        *self.places.entry(key.clone()).or_insert_with(|| {
            self.all.push(key);
            self.all.len() - 1
        })
    }

    pub(crate) fn all(&self) -> &[Key] {
        &self.all
    }

    fn read(&mut self, who: Who, row: &Row<'_>) -> Spot {
        let [zone, path, mode, state] = row.pick(["zone", "path", "mode", "state"]);
        // One that ended shows its last figures for a while; a zone shows once more through memory-mapped registers.
        if state.as_deref() == Some("terminated") || path.is_some_and(|p| p.contains("intel-rapl-mmio")) {
            return Spot::default();
        }
        let tenant = self.key(who, row).map(|key| self.place(key));
        Spot { tenant, zone: zone.and_then(|z| Part::of_zone(&z)), is_sum: mode.as_deref() == Some("absolute") }
    }

    fn key(&mut self, who: Who, row: &Row<'_>) -> Option<Key> {
        let owned = |text: Option<Cow<'_, str>>| text.map_or_else(String::new, Cow::into_owned);
        match who {
            Who::Node => Some(Key::Node),
            Who::Pod => Some(Key::Pod(self.pods.get(&row.text("pod_id"))?.clone())),
            Who::Container => self.container(row),
            Who::Process => {
                let [pid, comm, command] = row.pick(["pid", "comm", "command"]);
                Some(Key::Process { pid: pid?.into_owned(), command: owned(comm.or(command)) })
            }
            Who::Vm => {
                let [id, name] = row.pick(["vm_id", "vm_name"]).map(owned);
                Some(Key::Vm { id, name })
            }
        }
    }

    fn container(&mut self, row: &Row<'_>) -> Option<Key> {
        let [name, id, uid, pod, namespace] = row.pick(["container_name", "container_id", "pod_id", "pod_name", "container_namespace"]);
        let owned = |text: Option<Cow<'_, str>>| text.map_or_else(String::new, Cow::into_owned);
        let name = owned(name);
        let pod = match (pod, uid) {
            // Up to 0.9 what belongs to no pod looks like one.
            (Some(pod), _) if is_system(&pod) || is_system(&name) => return Some(Key::System),
            (Some(pod), uid) => Some(PodKey { namespace: owned(namespace), name: pod.into_owned(), uid: owned(uid) }),
            (None, None) => None,
            (None, Some(uid)) => match self.pods.get(&*uid) {
                Some(pod) => Some(pod.clone()),
                None => {
                    self.unplaced.insert(owned(id));
                    return None;
                }
            },
        };
        Some(Key::Container { pod: pod.filter(|p| !p.namespace.is_empty()), name, id: owned(id) })
    }
}

/// `system_processes`, `kernel_processes`
fn is_system(name: &str) -> bool {
    name.ends_with("_processes") && (name.starts_with("system") || name.starts_with("kernel"))
}
