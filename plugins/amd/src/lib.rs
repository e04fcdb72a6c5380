//! AMD GPUs as device-metrics-exporter shows them: straight (`scrape`) or from a Prometheus that scrapes it (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use amd_mapping::Amd;
use kcloud_collector_sdk::exporter::{self, Source, Transport};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    prefix: Option<String>,
}

struct Plugin {
    transport: Transport,
    source: Amd,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are device-metrics-exporters. promql: targets are Prometheus servers that scrape them, one a cluster."
    },
    "prefix": {
      "type": "string",
      "pattern": "^[a-zA-Z_][a-zA-Z0-9_]{0,63}$",
      "description": "What the exporter's MetricsFieldPrefix puts before its names; without one, and amd_, are known anyway."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "amd",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "amd",
            description: "AMD GPUs, their partitions, XGMI links and errors from device-metrics-exporter",
            metrics: exporter::definitions(Amd::METRICS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        let source = config.prefix.as_deref().map_or_else(Amd::default, Amd::with_prefix);
        Ok(Self { transport: config.transport, source })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        exporter::collect(&mut self.source, self.transport, target, deadline_ms, batch)
    }
}

register!(Plugin);
