//! Nodes, pods and containers as kube-state-metrics shows them: straight (`scrape`) or from a Prometheus that scrapes it (`promql`).

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use kcloud_collector_sdk::exposition::{Event, Parser};
use kcloud_collector_sdk::promql::{NAMES_A_QUERY, Server, selector};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, http, log, register};
use kube_mapping::model::{Writer, definitions};
use kube_mapping::state::{NAMES, State, bad_line};
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
    #[serde(default = "sixty_four")]
    labels_per_subject: usize,
}

fn sixty_four() -> usize {
    64
}

struct KubeStateMetrics(Config);

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are kube-state-metrics. promql: targets are Prometheus servers that scrape it, one a cluster."
    },
    "labels_per_subject": {
      "type": "integer",
      "minimum": 16,
      "maximum": 1024,
      "default": 64,
      "description": "Labels of one node or pod that are taken, at most what [limits] labels_per_subject allows; those of feature discovery go first."
    }
  }
}"#;

impl Collector for KubeStateMetrics {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "kube-state-metrics",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "kubernetes",
            description: "Nodes, pods and containers of a cluster from kube-state-metrics, straight or through Prometheus",
            metrics: definitions(),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self(config))
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let mut state = State::new();
        match self.0.transport {
            Transport::Scrape => {
                let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4";
                let answer = http::get(target, &target.address, accept, deadline_ms)?;
                let (text, format) = answer.exposition()?;
                for event in Parser::new(&text, format) {
                    match event {
                        Ok(Event::Sample(s)) => state.row(s.name, &s.labels, s.value, s.timestamp_ms),
                        Ok(_) => {}
                        Err(bad) => bad_line(batch, bad),
                    }
                }
            }
            Transport::Promql => {
                let server = Server::new(target, deadline_ms);
                let scraped = server.scraped_at()?;
                for names in NAMES.chunks(NAMES_A_QUERY) {
                    for series in server.instant(&selector(names, ""))? {
                        let at_ms = kube_mapping::scraped_at(&series, &scraped);
                        for (_, value) in series.samples() {
                            state.row(series.name(), &series.labels, value.unwrap_or(f64::NAN), at_ms);
                        }
                    }
                }
            }
        }
        let mut writer = Writer::new(0);
        writer.most_labels = self.0.labels_per_subject;
        state.finish(&mut writer, batch)?;
        if writer.left_out > 0 {
            let text = format!("{} labels are left out: more than {} of one subject", writer.left_out, writer.most_labels);
            log::line(log::Level::Info, &text);
        }
        Ok(())
    }
}

register!(KubeStateMetrics);
