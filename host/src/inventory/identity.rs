//! Who is who (spec/DATA_MODELS.md): the keys by which two sources mean the same thing.

use std::collections::HashMap;
use std::sync::Arc;

/// Kinds of subjects, in the order in which a snapshot lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Cluster,
    Node,
    Accelerator,
    Partition,
    Core,
    Link,
    Process,
    Pod,
    Container,
    Vm,
    Chassis,
    Sensor,
    Psu,
    Fan,
    Facility,
    /// A kind that the model does not know (`x_…`): kept and shown raw.
    Other,
}

impl Kind {
    /// The kind that a plugin named; `None` when it is neither known nor `x_…`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "cluster" => Self::Cluster,
            "node" => Self::Node,
            "accelerator" => Self::Accelerator,
            "partition" => Self::Partition,
            "core" => Self::Core,
            "link" => Self::Link,
            "process" => Self::Process,
            "pod" => Self::Pod,
            "container" => Self::Container,
            "vm" => Self::Vm,
            "chassis" => Self::Chassis,
            "sensor" => Self::Sensor,
            "psu" => Self::Psu,
            "fan" => Self::Fan,
            "facility" => Self::Facility,
            _ if name.starts_with("x_") => Self::Other,
            _ => return None,
        })
    }

    /// Whether its ids begin with its parent's.
    pub(super) fn is_known_by_its_parent(self) -> bool {
        !matches!(self, Self::Cluster | Self::Facility | Self::Node | Self::Accelerator | Self::Vm | Self::Pod)
    }

    /// Whether a text begins as the ids of a kind do.
    pub(super) fn leads(text: &str) -> bool {
        text.split_once('/').is_some_and(|(head, _)| head == Self::Other.name() || Self::parse(head).is_some())
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Accelerator => "accelerator",
            Self::Partition => "partition",
            Self::Core => "core",
            Self::Link => "link",
            Self::Process => "process",
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Vm => "vm",
            Self::Chassis => "chassis",
            Self::Sensor => "sensor",
            Self::Psu => "psu",
            Self::Fan => "fan",
            Self::Facility => "facility",
            Self::Other => "other",
        }
    }
}

/// By which other names sources call a node: an address of it or of its BMC, and its name with a domain.
#[derive(Default)]
pub(super) struct NodeNames {
    /// By cluster and alias; `None` where several nodes have it, so that it means none.
    names: HashMap<String, Option<Arc<str>>>,
}

/// Addresses and long names that are remembered.
const MAX_NAMES: usize = 200_000;

impl NodeNames {
    /// Learns from what a source says of a node.
    pub(super) fn learn<'a>(&mut self, cluster: &str, said: impl Fn(&str) -> Option<&'a str>) {
        let Some(name) = said("node") else { return };
        // Addresses alone: a name that a plugin claims for its node would take another node's place.
        let is_address = |a: &&str| *a != name && a.parse::<std::net::IpAddr>().is_ok();
        for address in ["internal_ip", "bmc_address"].into_iter().filter_map(&said).filter(is_address) {
            self.put(format!("{cluster}/{address}"), name);
        }
        if let Some(short) = short(name) {
            // By its short name, with the point that no name ends in.
            self.put(format!("{cluster}/{short}."), name);
        }
    }

    fn put(&mut self, alias: String, name: &str) {
        let known = match self.names.get(&alias) {
            None if self.names.len() >= MAX_NAMES => return,
            None => Some(name),
            Some(None) => return,
            // A short and a long name of one node are no contradiction.
            Some(Some(known)) if **known == *name || short(name) == Some(known) => return,
            Some(Some(known)) if short(known) == Some(name) => Some(name),
            Some(Some(_)) => None,
        };
        self.names.insert(alias, known.map(Arc::from));
    }

    /// The name by which a node is known, where it is another: that of its address, or without its domain where a node of that name
    /// is known, too. `is_node` says whether there is one under a key.
    pub(super) fn canonical(&self, cluster: &str, name: &str, is_node: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        let mut found: Option<Arc<str>> = self.names.get(&format!("{cluster}/{name}")).cloned().flatten();
        let long = found.as_deref().unwrap_or(name);
        if let Some(short) = short(long)
            && is_node(&format!("{cluster}/{short}"))
            && self.names.get(&format!("{cluster}/{short}.")).is_some_and(|only| only.as_deref() == Some(long))
        {
            found = Some(short.into());
        }
        found
    }
}

/// A name without its domain; `None` for an address and for a name without one.
fn short(name: &str) -> Option<&str> {
    let (short, _) = name.split_once('.')?;
    (!short.is_empty() && name.parse::<std::net::IpAddr>().is_err()).then_some(short)
}

/// The identity keys of a subject, the most trusted first. Two subjects of one kind that share a key are one, unless a
/// more trusted label of both differs. `scope` is the parent's id, or the cluster's name.
pub(super) fn keys(kind: Kind, scope: &str, parent: Option<&str>, node: Option<&str>, get: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let node = node.unwrap_or("");
    let mut keys = Vec::with_capacity(3);
    let mut push = |id: Option<String>| keys.extend(id);
    match kind {
        Kind::Cluster | Kind::Facility => push(get("name").or_else(|| Some(scope.to_owned()))),
        Kind::Node => push(get("node").or_else(|| get("name")).map(|n| format!("{scope}/{n}"))),
        Kind::Accelerator => {
            push(get("uuid"));
            push(get("pci_address").map(|p| format!("{scope}/{node}/{}", pci(&p))));
            push(get("device").map(|d| format!("{scope}/{node}/{d}")));
        }
        Kind::Vm => push(get("uuid")),
        Kind::Pod => push(get("namespace").zip(get("name")).map(|(ns, n)| format!("{scope}/{ns}/{n}"))),
        // Two supplies of one chassis may have one name: the entity tells them apart where the source has it.
        Kind::Chassis | Kind::Sensor | Kind::Psu | Kind::Fan => {
            let own = match (get("entity"), get("name")) {
                (Some(entity), Some(name)) => Some(format!("{entity}/{name}")),
                (entity, name) => name.or(entity),
            };
            push(own.map(|own| format!("{}/{own}", parent.unwrap_or(scope))));
        }
        Kind::Partition => {
            push(get("partition_id").map(|id| format!("{}/{id}", parent.unwrap_or(scope))));
            // As device plugins and their kubelet name it, who do not know its card.
            push(get("device_uuid"));
        }
        _ => {
            let own = ["partition_id", "index", "pid", "name", "entity"].iter().find_map(|k| get(k));
            push(own.map(|own| format!("{}/{own}", parent.unwrap_or(scope))));
        }
    }
    keys
}

/// `00000000:17:00.0`, `0000:17:00.0` and `0000:17:00` in upper or lower case name one address.
pub(crate) fn pci(address: &str) -> String {
    let lower = address.to_ascii_lowercase();
    let (head, rest) = lower.split_once(':').unwrap_or(("", &lower));
    let domain = head.trim_start_matches('0');
    format!("{domain:0>4}:{}", rest.strip_suffix(".0").unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_of_one_name_are_told_apart_by_their_entity() {
        let key = |entity: &str| {
            keys(Kind::Psu, "c", Some("chassis/1"), None, |k| match k {
                "entity" => Some(entity.to_owned()),
                "name" => Some("PSU".to_owned()),
                _ => None,
            })
        };
        assert_ne!(key("10.1"), key("10.2"));
        assert_eq!(key("10.1"), ["chassis/1/10.1/PSU"]);
    }

    #[test]
    fn spellings_of_one_pci_address_agree() {
        for spelling in ["00000000:17:00.0", "0000:17:00.0", "0000:17:00", "00000000:17:00.0"] {
            assert_eq!(pci(spelling), "0000:17:00");
        }
        assert_ne!(pci("0001:17:00.0"), pci("0000:17:00.0"));
    }
}
