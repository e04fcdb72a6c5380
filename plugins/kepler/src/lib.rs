//! What nodes, pods, containers and virtual machines draw as Kepler shows it, in the names of both of its generations: straight
//! (`scrape`) or from a Prometheus that scrapes it (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use kcloud_collector_sdk::exporter::{self, Source, Transport};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use kepler_mapping::Kepler;
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    modelled: bool,
    #[serde(default)]
    processes: bool,
}

struct Plugin {
    transport: Transport,
    source: Kepler,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are Keplers. promql: targets are Prometheus servers that scrape them, one a cluster."
    },
    "modelled": {
      "type": "boolean",
      "default": false,
      "description": "What Kepler says of a node is a model's result, too: it runs in a virtual machine, or with its fake meter."
    },
    "processes": {
      "type": "boolean",
      "default": false,
      "description": "Take processes, too: thousands a node; raise [limits] subjects with it."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "kepler",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "sustainable-computing-io",
            description: "Energy and power of nodes, pods, containers and virtual machines from Kepler, up to 0.9 and from 0.10",
            metrics: exporter::definitions(Kepler::METRICS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { transport: config.transport, source: Kepler { modelled: config.modelled, processes: config.processes } })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        exporter::collect(&mut self.source, self.transport, target, deadline_ms, batch)
    }
}

register!(Plugin);
