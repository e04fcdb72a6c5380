//! Tenstorrent chips as tt_telemetry shows them: straight (`scrape`) or from a Prometheus that scrapes it (`promql`); or as
//! `tt-smi -s` was written to a file.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kcloud_collector_sdk::dump;
use kcloud_collector_sdk::exporter::{self, Out, Source, Transport};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use serde::Deserialize;
use tenstorrent_mapping::{Tenstorrent, smi};

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    uuids: BTreeMap<String, String>,
}

struct Plugin {
    transport: Transport,
    source: Tenstorrent,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are tt_telemetry servers, or files with the JSON of `tt-smi -s`. promql: targets are Prometheus servers that scrape them, one a cluster."
    },
    "uuids": {
      "type": "object",
      "propertyNames": { "pattern": "^[^/]+/[0-9]+/[0-9]+$" },
      "additionalProperties": { "type": "string", "minLength": 1 },
      "default": {},
      "description": "UUIDs of chips as tt-smi gives them, by node, tray and chip (worker1/1/0), where both sources are read: tt_telemetry has none."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "tenstorrent",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "tenstorrent",
            description: "Tenstorrent chips and their ethernet links from tt_telemetry or tt-smi",
            metrics: exporter::definitions(Tenstorrent::METRICS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { transport: config.transport, source: Tenstorrent { uuids: config.uuids } })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let Some(path) = dump::path(&target.address).filter(|_| self.transport == Transport::Scrape) else {
            return exporter::collect(&mut self.source, self.transport, target, deadline_ms, batch);
        };
        let (text, written_ms) = dump::read(path)?;
        let first = batch.count();
        smi::read(&text, target, &mut Out::new::<Tenstorrent>(batch, 0))?;
        batch.observed_since(first, written_ms);
        Ok(())
    }
}

register!(Plugin);
