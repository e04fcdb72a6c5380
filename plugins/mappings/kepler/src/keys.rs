//! Whose energy a row is, in the labels of both generations.

use std::collections::HashMap;

use kcloud_collector_sdk::exporter::{Page, Row};

use crate::Reading;
use crate::table::{FAMILIES, Who};

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
pub(crate) fn pods(page: &Page<'_>) -> HashMap<String, PodKey> {
    let rows = FAMILIES.iter().filter(|f| f.who == Who::Pod).flat_map(|f| page.rows(f.name));
    let named = rows.map(|r| PodKey { namespace: r.text("pod_namespace"), name: r.text("pod_name"), uid: r.text("pod_id") });
    named.map(|pod| (pod.uid.clone(), pod)).collect()
}

impl Reading<'_, '_, '_, '_> {
    pub(crate) fn key(&mut self, who: Who, row: &Row<'_>) -> Option<Key> {
        match who {
            Who::Node => Some(Key::Node),
            Who::Pod => Some(Key::Pod(self.pods.get(&row.text("pod_id"))?.clone())),
            Who::Container => self.container(row),
            Who::Process => {
                let command = row.get("comm").or_else(|| row.get("command"));
                Some(Key::Process { pid: row.get("pid")?.into_owned(), command: command.map_or_else(String::new, |c| c.into_owned()) })
            }
            Who::Vm => Some(Key::Vm { id: row.text("vm_id"), name: row.text("vm_name") }),
        }
    }

    fn container(&mut self, row: &Row<'_>) -> Option<Key> {
        let (name, id, uid) = (row.text("container_name"), row.text("container_id"), row.text("pod_id"));
        let pod = match row.get("pod_name") {
            // Up to 0.9 what belongs to no pod looks like one.
            Some(pod) if is_system(&pod) || is_system(&name) => return Some(Key::System),
            Some(pod) => Some(PodKey { namespace: row.text("container_namespace"), name: pod.into_owned(), uid }),
            None if uid.is_empty() => None,
            None => match self.pods.get(&uid) {
                Some(pod) => Some(pod.clone()),
                None => {
                    self.unplaced += 1;
                    return None;
                }
            },
        };
        Some(Key::Container { pod: pod.filter(|p| !p.namespace.is_empty()), name, id })
    }
}

/// `system_processes`, `kernel_processes`
fn is_system(name: &str) -> bool {
    name.ends_with("_processes") && (name.starts_with("system") || name.starts_with("kernel"))
}
