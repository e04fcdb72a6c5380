//! What containers use, as cAdvisor shows it in the kubelet or by itself: straight (`scrape`) or from a Prometheus that scrapes it
//! (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use kcloud_collector_sdk::exposition::{Event, Parser};
use kcloud_collector_sdk::promql::{NAMES_A_QUERY, Server, selector};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, http, register};
use kube_mapping::cadvisor::{Cadvisor, Ooms, names};
use kube_mapping::model::{Writer, definitions};
use kube_mapping::state::bad_line;
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

struct Plugin {
    transport: Transport,
    /// By target.
    ooms: HashMap<String, Ooms>,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are kubelets (/metrics/cadvisor) or cAdvisors. promql: targets are Prometheus servers that scrape them, one a cluster."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "cadvisor",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "kubernetes",
            description: "CPU, memory, network and limits of pods and containers from cAdvisor, straight or through Prometheus",
            metrics: definitions(),
            config_schema: SCHEMA,
            affinity: Affinity::Target,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { transport: config.transport, ooms: HashMap::new() })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let mut rows = Cadvisor::new(target);
        match self.transport {
            Transport::Scrape => {
                let answer = http::get(target, &target.address, "text/plain;version=0.0.4", deadline_ms)?;
                let (text, format) = answer.exposition()?;
                for event in Parser::new(&text, format) {
                    match event {
                        Ok(Event::Sample(s)) => rows.row(s.name, &s.labels, s.value, s.timestamp_ms),
                        Ok(_) => {}
                        Err(bad) => bad_line(batch, bad),
                    }
                }
            }
            Transport::Promql => {
                let server = Server::new(target, deadline_ms);
                let scraped = server.scraped_at()?;
                let names: Vec<&str> = names().collect();
                for names in names.chunks(NAMES_A_QUERY) {
                    for series in server.instant(&selector(names, ""))? {
                        let at_ms = kube_mapping::scraped_at(&series, &scraped);
                        for (_, value) in series.samples() {
                            rows.row(series.name(), &series.labels, value.unwrap_or(f64::NAN), at_ms);
                        }
                    }
                }
            }
        }
        let before = self.ooms.entry(target.id.clone()).or_default();
        rows.finish(&mut Writer::new(0), batch, before)
    }
}

register!(Plugin);
