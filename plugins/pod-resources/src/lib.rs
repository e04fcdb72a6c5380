//! Which pod holds which accelerator of the host's own machine, as its kubelet says: of every vendor whose device plugin names devices.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::pod_resources::{self, Answer, Devices};
use kcloud_collector_sdk::{
    Affinity, Batch, CollectError, Collector, Info, Label, Metric, MetricDef, MetricKind, Quality, Target, register, target_label,
};
use kube_mapping::held::holders;
use kube_mapping::resource::{Class, class, sanitised};
use serde::Deserialize;

const HOLDERS: Metric = Metric(0);

#[derive(Deserialize)]
struct Config {
    /// Resources that no table knows: `gpu` or `npu`.
    #[serde(default)]
    resources: BTreeMap<String, String>,
}

struct PodResources {
    resources: BTreeMap<String, String>,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "resources": {
      "type": "object",
      "additionalProperties": { "enum": ["gpu", "npu", "tpu", "other"] },
      "default": {},
      "description": "Resources of accelerators that the host does not know, with their class: { \"example.com/npu\" = \"npu\" }."
    }
  }
}"#;

fn definitions() -> Vec<MetricDef> {
    vec![definition("x_kubelet_holders_count", "count", MetricKind::Gauge, Quality::Measured)]
}

fn pair(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}

/// What an id says that a device is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Named {
    /// A part of a card, by its own UUID.
    Part,
    Uuid,
    Pci,
    /// Its name on this machine, or a number of its plugin.
    Device,
}

/// The device behind an id, without the number of a share of it (`GPU-…::3`).
fn named(id: &str) -> (Named, &str) {
    let id = id.split_once("::").map_or(id, |(device, _)| device);
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_uuid = |text: &str| text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex);
    let is_pci = |text: &str| {
        let words: Vec<&str> = text.split([':', '.']).collect();
        matches!(words[..], [domain, bus, device, function] if [domain, bus, device, function].into_iter().all(is_hex) && domain.len() >= 4)
    };
    let kind = match id {
        _ if id.starts_with("MIG-") => Named::Part,
        _ if id.starts_with("GPU-") || is_uuid(id) => Named::Uuid,
        _ if is_pci(id) => Named::Pci,
        _ => Named::Device,
    };
    (kind, id)
}

/// The vendor as its other sources name it, by the domain of a resource.
fn vendor(resource: &str) -> Option<&'static str> {
    let domain = resource.split('/').next()?;
    let known = [
        ("nvidia.com", "nvidia"),
        ("amd.com", "amd"),
        ("intel.com", "intel"),
        ("habana.ai", "intel"),
        ("furiosa.ai", "furiosa"),
        ("rebellions.ai", "rebellions"),
        ("tenstorrent.com", "tenstorrent"),
        ("huawei.com", "huawei"),
        ("google.com", "google"),
        ("amazon.com", "aws"),
    ];
    known.into_iter().find(|(d, _)| domain == *d || domain.strip_suffix(d).is_some_and(|rest| rest.ends_with('.'))).map(|(_, v)| v)
}

/// A device: what it is called, its resource, and the containers that hold it.
#[derive(Default)]
struct Device<'a> {
    resource: &'a str,
    holders: Vec<[&'a str; 3]>,
}

impl PodResources {
    /// `gpu npu tpu other`, or `None` for what is no accelerator.
    fn class(&self, resource: &str) -> Option<&str> {
        if let Some(class) = self.resources.get(resource) {
            return Some(class);
        }
        match class(&sanitised(resource))? {
            _ if resource == "google.com/tpu" => Some("tpu"),
            Class::Gpu => Some("gpu"),
            Class::Npu => Some("npu"),
        }
    }

    fn read(&self, target: &Target, answer: &Answer, batch: &mut Batch) -> Result<(), CollectError> {
        let Some(node_name) = target_label(target, "node") else {
            return Err(CollectError::Config("the target needs labels = { node = \"…\" }: the kubelet does not name its node".into()));
        };
        let node = batch.subject("node", node_name, None, |s| s.identity = vec![pair("node", node_name)]);
        let mut all: BTreeMap<(Named, &str), Device<'_>> = BTreeMap::new();
        let containers = answer.holders.iter().map(|h| (&h.devices, Some([h.namespace.as_str(), h.pod.as_str(), h.container.as_str()])));
        for (devices, holder) in answer.allocatable.iter().map(|a| (a, None)).chain(containers) {
            for Devices { resource, ids } in devices.iter().filter(|d| self.class(&d.resource).is_some()) {
                for id in ids {
                    let device = all.entry(named(id)).or_default();
                    device.resource = resource;
                    device.holders.extend(holder.filter(|h| !device.holders.contains(h)));
                }
            }
        }
        for ((kind, id), device) in all {
            let subject = match kind {
                Named::Part => batch.subject("partition", id, None, |s| {
                    s.identity = vec![pair("device_uuid", id), pair("node", node_name)];
                    s.labels.extend(holders(&device.holders));
                }),
                _ => batch.subject("accelerator", id, Some(node), |s| {
                    let key = match kind {
                        Named::Pci => "pci_address",
                        Named::Device => "device",
                        _ => "uuid",
                    };
                    s.identity = vec![pair(key, id), pair("node", node_name)];
                    s.labels.extend(self.class(device.resource).map(|c| pair("class", c)));
                    s.labels.extend(vendor(device.resource).map(|v| pair("vendor", v)));
                    s.labels.extend(holders(&device.holders));
                }),
            };
            batch.point(HOLDERS, subject, device.holders.len() as f64, None);
        }
        Ok(())
    }
}

impl Collector for PodResources {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "pod-resources",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "kubernetes",
            description: "Which pod holds which accelerator of this machine, from its kubelet",
            metrics: definitions(),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { resources: config.resources })
    }

    fn collect(&mut self, target: &Target, _deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        self.read(target, &pod_resources::read()?, batch)
    }
}

register!(PodResources);
