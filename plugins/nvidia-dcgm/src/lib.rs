//! NVIDIA GPUs as dcgm-exporter shows them: straight (`scrape`) or from a Prometheus that scrapes it (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use dcgm_mapping::{ROWS, Reader, names};
use kcloud_collector_sdk::exposition::{Event, Parser};
use kcloud_collector_sdk::mapping::Mapping;
use kcloud_collector_sdk::promql::{NAMES_A_QUERY, Server, selector};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, http, register};
use serde::Deserialize;

/// How the source is reached.
#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum Transport {
    #[default]
    Scrape,
    Promql,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    transport: Transport,
}

struct Dcgm {
    transport: Transport,
    mapping: Mapping,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are dcgm-exporters. promql: targets are Prometheus servers that scrape them, one a cluster."
    }
  }
}"#;

impl Collector for Dcgm {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "nvidia-dcgm",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "nvidia",
            description: "NVIDIA GPUs, MIG instances and NVLinks from dcgm-exporter, straight or through Prometheus",
            metrics: Mapping::definitions(ROWS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { transport: config.transport, mapping: Mapping::new(ROWS) })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        match self.transport {
            Transport::Scrape => {
                let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4";
                let answer = http::get(target, &target.address, accept, deadline_ms)?;
                let (text, format) = answer.exposition()?;
                if text.trim().is_empty() {
                    // What it answers while it reloads; its last values are stale, not gone.
                    return Err(CollectError::Unreachable("the answer is empty: the exporter is reloading".to_owned()));
                }
                let mut reader = Reader::new(target, &self.mapping, 0, batch);
                for event in Parser::new(&text, format) {
                    match event {
                        Ok(Event::Sample(s)) => reader.sample(s.name, &s.labels, s.value, s.timestamp_ms),
                        Ok(_) => {}
                        Err(bad) => reader.bad_line(bad),
                    }
                }
                reader.finish()
            }
            Transport::Promql => self.ask(target, deadline_ms, batch),
        }
    }
}

impl Dcgm {
    /// The same rows as a Prometheus-compatible server holds them, at the time at which it scraped them.
    fn ask(&self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let server = Server::new(target, deadline_ms);
        let scraped = server.scraped_at()?;
        let names: Vec<&str> = names().collect();
        let mut reader = Reader::new(target, &self.mapping, 0, batch);
        for names in names.chunks(NAMES_A_QUERY) {
            for series in server.instant(&selector(names, ""))? {
                dcgm_mapping::series(&mut reader, &series, &scraped);
            }
        }
        reader.finish()
    }
}

register!(Dcgm);
