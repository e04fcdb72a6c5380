//! Servers by their BMC's Redfish service: chassis, supplies, fans, sensors, and accelerators among the processors.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod chassis;
mod logs;
mod old;
mod out;
mod plan;
mod sensors;
mod service;
mod system;
#[cfg(test)]
mod tests;
mod value;

use kcloud_collector_sdk::bindings::kcloud::collector::clock;
use kcloud_collector_sdk::http::{self, Raw};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, SubjectRef, Target, register, target_label};
use serde::Deserialize;
use serde_json::Value;

use chassis::{Parts, Reader};
use out::{Out, label};
use plan::Under;
use service::{Bmc, Service};
use value::{id, link, text};

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    request_seconds: u32,
    parts: Vec<Part>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Part {
    Power,
    Thermal,
    Sensors,
    Processors,
    Logs,
}

impl Default for Config {
    fn default() -> Self {
        Self { request_seconds: 10, parts: vec![Part::Power, Part::Thermal, Part::Sensors, Part::Processors] }
    }
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "request_seconds": {
      "type": "integer",
      "minimum": 1,
      "maximum": 60,
      "default": 10,
      "description": "A BMC that does not answer one request within this is late; late twice in a row, it is asked nothing more in this read."
    },
    "parts": {
      "type": "array",
      "items": { "enum": ["power", "thermal", "sensors", "processors", "logs"] },
      "uniqueItems": true,
      "default": ["power", "thermal", "sensors", "processors"],
      "description": "What is read of each server. Sensors and processors are a request each where the BMC does not offer $expand; logs are slow on most."
    }
  }
}"#;

struct Redfish {
    config: Config,
}

/// The host's client, which holds the session.
struct Wire<'a>(&'a Target);

impl Bmc for Wire<'_> {
    fn get(&mut self, url: &str, timeout_ms: u32) -> Result<Raw, CollectError> {
        http::raw(self.0, url, &[("accept", "application/json")], timeout_ms)
    }

    fn now_ms(&self) -> u64 {
        clock::monotonic_ns() / 1_000_000
    }
}

impl Collector for Redfish {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "redfish",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "dmtf",
            description: "Servers by their BMC's Redfish service: watts, supplies, fans, sensors, accelerators",
            metrics: out::definitions(),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { config })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        self.read(&mut Wire(target), target, deadline_ms, batch)
    }
}

impl Redfish {
    fn read(&self, bmc: &mut dyn Bmc, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let mut service = Service::new(bmc, &target.address, deadline_ms, self.config.request_seconds * 1_000);
        let root = service.root()?;
        let systems = service.members(&root, "Systems", |_| true).unwrap_or_default();
        let all = service.members(&root, "Chassis", |_| true).unwrap_or_default();
        if systems.is_empty() && all.is_empty() {
            let first = service.failures().into_iter().next();
            return Err(first.unwrap_or_else(|| CollectError::Unsupported("it names neither systems nor chassis".to_owned())));
        }
        let node = target_label(target, "node");
        let mut out = Out::new(batch);
        let subjects = subjects(&mut out, &mut service, node, &all, &systems);
        let has = |part| self.config.parts.contains(&part);
        let parts = Parts { power: has(Part::Power), thermal: has(Part::Thermal), sensors: has(Part::Sensors) };
        for (chassis, subject) in all.iter().zip(&subjects.chassis) {
            if let Some(subject) = subject {
                Reader { service: &mut service, out: &mut out, parts }.read(chassis, *subject);
            }
        }
        for (system, node) in systems.iter().zip(&subjects.nodes).filter(|_| has(Part::Processors)) {
            system::accelerators(&mut service, &mut out, system, node.as_ref().map(|(subject, name)| (*subject, name.as_str())));
        }
        for (i, chassis) in all.iter().enumerate().filter(|_| has(Part::Logs)) {
            let Some(subject) = subjects.chassis[i] else { continue };
            logs::read(&mut service, out.batch, chassis, subject);
        }
        for (system, whole) in systems.iter().zip(&subjects.wholes) {
            let Some(subject) = *whole else { continue };
            let manager = link(&system["Links"]["ManagedBy"][0]).and_then(|path| service.get(path).ok()).unwrap_or_default();
            out.label(subject, "firmware_version", text(&manager["FirmwareVersion"]));
            for of in [system, &manager].into_iter().filter(|_| has(Part::Logs)) {
                logs::read(&mut service, out.batch, of, subject);
            }
        }
        if service.has_failed() {
            batch.partial();
            service.failures().into_iter().for_each(|failure| batch.problem(failure, None));
        }
        Ok(())
    }
}

struct Subjects {
    /// By chassis; none of one that has no name.
    chassis: Vec<Option<SubjectRef>>,
    /// By system.
    nodes: Vec<Option<(SubjectRef, String)>>,
    /// By system: the chassis that stands for it.
    wholes: Vec<Option<SubjectRef>>,
}

/// Nodes and chassis, each after what it hangs under.
fn subjects(out: &mut Out<'_>, service: &mut Service<'_>, target: Option<&str>, all: &[Value], systems: &[Value]) -> Subjects {
    let host = service.host().to_owned();
    let mut nodes = Vec::new();
    for (name, system) in plan::nodes(target, systems).into_iter().zip(systems) {
        nodes.push(name.map(|name| (node(out, &name, &host), name)));
        if let Some(Some((of, _))) = nodes.last().filter(|_| text(&system["HostName"]).is_some() || systems.len() == 1) {
            out.label(*of, "system_uuid", text(&system["UUID"]));
        }
    }
    let places = plan::places(target, all, systems);
    let mut chassis: Vec<Option<SubjectRef>> = vec![None; all.len()];
    let mut states = vec![(false, false); all.len()];
    // A chassis stands once what it lies in does; none lies in itself.
    for _ in 0..=all.len() {
        for (i, value) in all.iter().enumerate().filter(|(_, c)| !id(c).is_empty()) {
            let parent = match &places[i] {
                Under::Node(name) => Some(node(out, name, &host)),
                Under::Chassis(container) if chassis[*container].is_none() && !id(&all[*container]).is_empty() => continue,
                Under::Chassis(container) => chassis[*container],
                Under::Nothing => None,
            };
            if chassis[i].is_none() {
                let (of, has) = describe(out, value, parent, &host, i);
                (chassis[i], states[i]) = (Some(of), has);
            }
        }
    }
    if all.iter().any(|c| id(c).is_empty()) {
        service.problem(chassis::nameless());
    }
    let mut wholes = Vec::new();
    for (system, node) in systems.iter().zip(&nodes) {
        let holds =
            |c: &Value| system["Links"]["Chassis"].as_array().into_iter().flatten().any(|l| link(l).is_some() && link(l) == link(c));
        let whole = |i: &usize| matches!(&places[*i], Under::Node(name) if node.as_ref().is_some_and(|(_, n)| n == name));
        let found = (0..all.len()).find(|i| whole(i)).or_else(|| (0..all.len()).find(|i| holds(&all[*i])));
        // The board of an accelerator is not the server: who says its name, or stands alone, speaks first.
        let speaks = systems.len() == 1 || text(&system["HostName"]).is_some() || found.is_some_and(|i| holds(&all[i]));
        match found.and_then(|i| Some((i, chassis[i]?))) {
            Some((i, of)) => {
                wholes.push(Some(of));
                if speaks {
                    states[i] = system::describe(out, system, of, states[i]);
                }
            }
            // A service that shows no chassis: the system is all that there is of the server.
            None => {
                let (of, has) = describe(out, system, node.as_ref().map(|(of, _)| *of), &host, 0);
                system::describe(out, system, of, has);
                wholes.push(Some(of));
            }
        }
    }
    Subjects { chassis, nodes, wholes }
}

fn node(out: &mut Out<'_>, name: &str, host: &str) -> SubjectRef {
    let of = out.batch.subject("node", name, None, |s| s.identity.push(label("node", name)));
    out.label(of, "bmc_address", Some(host.to_owned()));
    of
}

/// A chassis without a node is told from those of other BMCs by its BMC's address.
fn describe(out: &mut Out<'_>, value: &Value, parent: Option<SubjectRef>, host: &str, position: usize) -> (SubjectRef, (bool, bool)) {
    let entity = if parent.is_some() { id(value) } else { format!("{host}/{}", id(value)) };
    let of = out.part("chassis", parent, &entity, None, position);
    let labels = [
        ("manufacturer", "Manufacturer"),
        ("model", "Model"),
        ("serial_number", "SerialNumber"),
        ("sku", "SKU"),
        ("chassis_type", "ChassisType"),
    ];
    out.labels(of, value, &labels);
    out.label(of, "bmc_address", Some(host.to_owned()));
    let has = (out.power_state(of, value), out.health(of, value));
    (of, has)
}

register!(Redfish);
