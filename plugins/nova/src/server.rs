//! One server as Nova shows it, and what it becomes.

use std::collections::BTreeMap;

use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{Batch, GapReason, Label, Metric, MetricDef, MetricKind, Quality, SubjectRef};
use serde::Deserialize;
use serde_json::Value;

use crate::Nova;

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

const NUMBERS: [(&str, &str); 4] =
    [("filesystem_total_bytes", "bytes"), ("gpu_request_count", "count"), ("memory_total_bytes", "bytes"), ("vcpu_count", "count")];
const STATUS: [&str; 20] = [
    "active",
    "build",
    "deleted",
    "error",
    "hard_reboot",
    "migrating",
    "password",
    "paused",
    "reboot",
    "rebuild",
    "rescue",
    "resize",
    "revert_resize",
    "shelved",
    "shelved_offloaded",
    "shutoff",
    "soft_deleted",
    "suspended",
    "verify_resize",
    "unknown",
];
const POWER: [&str; 4] = ["on", "off", "paused", "unknown"];

pub(crate) fn definitions() -> Vec<MetricDef> {
    let numbers = NUMBERS.iter().map(|(name, unit)| definition(name, unit, MetricKind::Gauge, Quality::Measured));
    let states = [("power_state", &POWER[..]), ("vm_status", &STATUS)].map(|(name, states)| MetricDef {
        states: states.iter().map(|s| (*s).to_owned()).collect(),
        ..definition(name, "state", MetricKind::State, Quality::Measured)
    });
    numbers.chain(states).collect()
}

const POWER_STATE: Metric = Metric(NUMBERS.len() as u32);
const VM_STATUS: Metric = Metric(NUMBERS.len() as u32 + 1);

/// A flavour: inside a server, or of the list of flavours.
#[derive(Deserialize, Clone, Default)]
#[serde(default)]
pub(crate) struct Flavor {
    /// Inside an old server there is nothing else.
    id: Option<String>,
    #[serde(alias = "original_name")]
    name: Option<String>,
    vcpus: Option<f64>,
    /// MiB, whatever the documents call it.
    ram: Option<f64>,
    /// GiB.
    disk: Option<f64>,
    extra_specs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(crate) struct Server {
    id: String,
    name: Option<String>,
    status: Option<String>,
    tenant_id: Option<String>,
    user_id: Option<String>,
    created: Option<String>,
    #[serde(default)]
    flavor: Flavor,
    /// An object, or empty text where the machine boots from a volume.
    #[serde(default)]
    image: Value,
    #[serde(default)]
    addresses: BTreeMap<String, Vec<Address>>,
    #[serde(rename = "OS-EXT-STS:power_state")]
    power: Option<i64>,
    #[serde(rename = "OS-EXT-STS:task_state")]
    task: Option<String>,
    #[serde(rename = "OS-EXT-AZ:availability_zone")]
    zone: Option<String>,
    #[serde(rename = "OS-EXT-SRV-ATTR:hypervisor_hostname")]
    hypervisor: Option<String>,
    #[serde(rename = "OS-EXT-SRV-ATTR:host")]
    host: Option<String>,
    #[serde(rename = "OS-EXT-SRV-ATTR:instance_name")]
    instance: Option<String>,
}

#[derive(Deserialize)]
struct Address {
    addr: String,
}

fn label(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}

impl Server {
    pub(crate) fn put(&self, batch: &mut Batch, nova: &Nova) {
        let said = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        // Who may not see the host sees none of these: the machine then stands below nothing.
        let hypervisor = said(&self.hypervisor).or_else(|| said(&self.host));
        let node = hypervisor.as_ref().map(|name| batch.subject("node", name, None, |s| s.identity.push(label("node", name))));
        let listed = self.flavor.id.as_ref().and_then(|id| nova.flavors.as_ref()?.get(id));
        let flavor = listed.unwrap_or(&self.flavor);
        let mut addresses: Vec<&str> = self.addresses.values().flatten().map(|a| a.addr.as_str()).collect();
        addresses.dedup();
        let labels = [
            ("name", said(&self.name)),
            ("project", self.tenant_id.as_ref().and_then(|id| nova.projects.get(id)).cloned()),
            ("project_id", said(&self.tenant_id)),
            ("user_id", said(&self.user_id)),
            ("flavor", said(&flavor.name).or_else(|| said(&flavor.id))),
            ("image", self.image["id"].as_str().map(str::to_owned)),
            ("hypervisor", hypervisor),
            ("instance_name", said(&self.instance)),
            ("availability_zone", said(&self.zone)),
            ("addresses", Some(addresses.join(",")).filter(|a| !a.is_empty())),
            ("created_at", said(&self.created)),
            ("task_state", said(&self.task)),
            ("pci_aliases", flavor.extra_specs.get("pci_passthrough:alias").cloned()),
        ];
        let vm = batch.subject("vm", &self.id, node, |s| {
            s.identity.push(label("uuid", &self.id));
            s.labels.extend(labels.into_iter().filter_map(|(key, value)| Some(label(key, &value?))));
        });
        let gpus = flavor.vcpus.and(flavor.gpus(&nova.config.gpu_aliases));
        for (name, value) in [
            ("vcpu_count", flavor.vcpus),
            ("memory_total_bytes", flavor.ram.map(|mib| mib * MIB)),
            // A disk of 0 is a volume of whatever size, or the image's own.
            ("filesystem_total_bytes", flavor.disk.filter(|gib| *gib > 0.0).map(|gib| gib * GIB)),
            ("gpu_request_count", gpus),
        ] {
            put(batch, vm, name, value);
        }
        let status = self.status.as_deref().unwrap_or("").to_ascii_lowercase();
        batch.state(VM_STATUS, vm, place(&STATUS, &status));
        // nova.compute.power_state: crashed and suspended draw nothing either.
        let power = match self.power {
            Some(1) => "on",
            Some(3) => "paused",
            Some(4 | 6 | 7) => "off",
            Some(_) => "unknown",
            None => return batch.gap(POWER_STATE, vm, GapReason::Denied),
        };
        batch.state(POWER_STATE, vm, place(&POWER, power));
    }
}

impl Flavor {
    /// Cards that a flavour asks for: virtual ones, and aliases of passed-through devices that are cards.
    fn gpus(&self, aliases: &[String]) -> Option<f64> {
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        let virtual_ones = self.extra_specs.get("resources:VGPU").map_or(Some(0.0), |n| number(n))?;
        let passed = self.extra_specs.get("pci_passthrough:alias").map_or("", String::as_str);
        let is_gpu = |alias: &str| match aliases {
            [] => alias.to_ascii_lowercase().contains("gpu"),
            all => all.iter().any(|a| a == alias),
        };
        let count = |entry: &str| {
            let (alias, n) = entry.split_once(':').unwrap_or((entry, "1"));
            if is_gpu(alias.trim()) { number(n) } else { Some(0.0) }
        };
        let cards: Option<f64> = passed.split(',').filter(|e| !e.trim().is_empty()).map(count).sum();
        Some(virtual_ones + cards?)
    }
}

/// Its place among the states; what is new there is `unknown`, the last.
fn place(states: &[&str], state: &str) -> u32 {
    states.iter().position(|s| *s == state).unwrap_or(states.len() - 1) as u32
}

fn put(batch: &mut Batch, vm: SubjectRef, name: &str, value: Option<f64>) {
    let metric = NUMBERS.iter().position(|(n, _)| *n == name).map(|i| Metric(i as u32));
    if let Some((metric, value)) = metric.zip(value) {
        batch.point(metric, vm, value, None);
    }
}
