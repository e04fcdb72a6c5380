//! Which cards pods hold, where a scheduler that shares cards writes it on the pod: HAMi (`hami.io/…-devices-allocated`) and Volcano
//! (`volcano.sh/vgpu-ids-new`), as `UUID,type,memory,cores` of each device, `:` after each and `;` after each container. Which container
//! it is cannot be told: releases begin the list in different places. Cards are those with a UUID of NVIDIA's; what other vendors'
//! plugins write there names a device by numbers of their own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kcloud_collector_sdk::{Batch, Label, SubjectRef};
use kube_mapping::held::holders;
use kube_mapping::model::Writer;

use crate::objects::{Meta, PodObject};

/// Of one pod: no machine has more.
const MOST: usize = 64;

/// Namespace and name of a pod.
type Name = (String, String);

#[derive(Default)]
pub struct Held {
    by_pod: HashMap<Name, Vec<String>>,
    /// By the card's UUID: its pods, and their node.
    by_card: BTreeMap<String, BTreeMap<Name, String>>,
    /// Cards whose pods changed since the host was told, and those of the answer that it has not taken yet.
    changed: BTreeSet<String>,
    sent: BTreeSet<String>,
}

/// The cards that a pod's annotations name.
fn cards(meta: &Meta) -> Vec<String> {
    let is_it = |key: &str| key == "volcano.sh/vgpu-ids-new" || key.starts_with("hami.io/") && key.ends_with("-devices-allocated");
    let all = meta.annotations.iter().flatten().filter(|(key, _)| is_it(key)).flat_map(|(_, value)| value.split([';', ':']));
    // HAMi names a MIG instance behind its card: `GPU-…[1g.10gb-0]`.
    let ids = all.filter_map(|device| device.split([',', '[']).next()).filter(|id| is_uuid(id));
    let mut ids: Vec<String> = ids.map(str::to_owned).take(MOST).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn is_uuid(id: &str) -> bool {
    let Some(id) = id.strip_prefix("GPU-") else { return false };
    id.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

impl Held {
    /// A pod as it is now.
    pub fn pod(&mut self, object: &PodObject) {
        let name = (object.namespace().to_owned(), object.metadata.name.clone());
        let node = object.node().unwrap_or_default();
        let now = if node.is_empty() || object.has_ended() { Vec::new() } else { cards(&object.metadata) };
        self.gone(&name);
        for card in &now {
            self.by_card.entry(card.clone()).or_default().insert(name.clone(), node.to_owned());
            self.changed.insert(card.clone());
        }
        if !now.is_empty() {
            self.by_pod.insert(name, now);
        }
    }

    pub fn gone(&mut self, name: &Name) {
        for card in self.by_pod.remove(name).unwrap_or_default() {
            if let Some(pods) = self.by_card.get_mut(&card) {
                pods.remove(name);
                if pods.is_empty() {
                    self.by_card.remove(&card);
                }
            }
            self.changed.insert(card);
        }
    }

    /// Says of the cards that changed who holds them; one that nobody holds any more is no longer ours to speak of.
    pub fn write(&mut self, batch: &mut Batch) {
        for card in std::mem::take(&mut self.changed) {
            match self.by_card.get(&card) {
                Some(pods) => {
                    let node = pods.values().next().map(String::as_str).unwrap_or_default();
                    let at = named(batch, &card, Some(node));
                    let pods: Vec<_> = pods.keys().map(|(namespace, pod)| [namespace.as_str(), pod.as_str(), ""]).collect();
                    *batch.labels(at) = holders(&pods);
                    batch.labels(at).extend([label("class", "gpu"), label("vendor", "nvidia")]);
                }
                None => {
                    let at = named(batch, &card, None);
                    batch.tombstone(at);
                }
            }
            self.sent.insert(card);
        }
    }

    /// The host took what was said.
    pub fn taken(&mut self) {
        self.sent.clear();
    }

    pub fn put_back(&mut self) {
        self.changed.append(&mut self.sent);
    }
}

fn label(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}

fn named(batch: &mut Batch, card: &str, node: Option<&str>) -> SubjectRef {
    let parent = node.map(|node| Writer::node_named(batch, node));
    batch.subject("accelerator", card, parent, |s| {
        s.identity = vec![label("uuid", card)];
        s.identity.extend(node.map(|node| label("node", node)));
    })
}
