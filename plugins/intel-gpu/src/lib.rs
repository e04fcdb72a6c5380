//! Intel GPUs as XPU Manager and xpumd show them: straight (`scrape`) or from a Prometheus that scrapes it (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use intel_gpu_mapping::IntelGpu;
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
      "description": "scrape: targets are XPU Manager 1.x or xpumd 2.x exporters. promql: targets are Prometheus servers that scrape them, one a cluster."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "intel-gpu",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "intel",
            description: "Intel GPUs and their tiles from XPU Manager 1.x and xpumd 2.x",
            metrics: exporter::definitions(IntelGpu::METRICS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { transport: config.transport })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        exporter::collect(&mut IntelGpu, self.transport, target, deadline_ms, batch)
    }
}

register!(Plugin);
