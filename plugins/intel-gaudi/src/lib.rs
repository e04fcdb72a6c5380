//! Intel Gaudi accelerators as the vendor's exporter shows them: straight (`scrape`) or from a Prometheus that scrapes it (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use intel_gaudi_mapping::Gaudi;
use kcloud_collector_sdk::exporter::{self, Source, Transport};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    transport: Transport,
}

struct Plugin {
    transport: Transport,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are Gaudi exporters. promql: targets are Prometheus servers that scrape them, one a cluster."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "intel-gaudi",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "intel",
            description: "Intel Gaudi accelerators and their network ports from the vendor's exporter",
            metrics: exporter::definitions(Gaudi::METRICS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { transport: config.transport })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        exporter::collect(&mut Gaudi, self.transport, target, deadline_ms, batch)
    }
}

register!(Plugin);
