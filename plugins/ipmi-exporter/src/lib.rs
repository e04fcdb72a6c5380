//! Servers' BMCs as ipmi_exporter shows them: straight (`scrape`) or from a Prometheus that scrapes it (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use ipmi_exporter_mapping::IpmiExporter;
use kcloud_collector_sdk::exporter::{self, Source, Transport};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    nodes: HashMap<String, String>,
}

struct Plugin {
    transport: Transport,
    source: IpmiExporter,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: each target is one BMC at an ipmi_exporter. promql: targets are Prometheus servers that scrape them, one a cluster."
    },
    "nodes": {
      "type": "object",
      "additionalProperties": { "type": "string", "minLength": 1 },
      "default": {},
      "description": "Whose a BMC is, by its address without the port, where neither the target's labels.node nor the server's label node says it."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "ipmi-exporter",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "prometheus",
            description: "Power, sensors, fans, supplies and event log counts of servers' BMCs from ipmi_exporter",
            metrics: exporter::definitions(IpmiExporter::METRICS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { transport: config.transport, source: IpmiExporter { nodes: config.nodes } })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        exporter::collect(&mut self.source, self.transport, target, deadline_ms, batch)
    }
}

register!(Plugin);
