//! Linux machines as node_exporter shows them: straight (`scrape`) or from a Prometheus that scrapes it (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use kcloud_collector_sdk::exporter::{self, Source, Transport};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use node_exporter_mapping::NodeExporter;
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    pressure: bool,
    #[serde(default)]
    ignore_devices: Vec<String>,
}

struct Plugin {
    transport: Transport,
    source: NodeExporter,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are node_exporters. promql: targets are Prometheus servers that scrape them, one a cluster."
    },
    "pressure": {
      "type": "boolean",
      "default": false,
      "description": "Take pressure stall seconds (PSI), too."
    },
    "ignore_devices": {
      "type": "array",
      "items": { "type": "string", "minLength": 1 },
      "default": [],
      "description": "Network interfaces and disks whose name begins like one of these are passed by, beside those that are known to be virtual."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "node-exporter",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "prometheus",
            description: "Processors, memory, disks, network, sensors and RAPL energy of Linux machines from node_exporter",
            metrics: exporter::definitions(NodeExporter::METRICS),
            config_schema: SCHEMA,
            // A share of time needs the read before.
            affinity: Affinity::Target,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        let source = NodeExporter::new(config.pressure, config.ignore_devices);
        Ok(Self { transport: config.transport, source })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        exporter::collect(&mut self.source, self.transport, target, deadline_ms, batch)
    }
}

register!(Plugin);
