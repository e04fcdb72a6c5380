//! Rebellions' NPUs as rbln-metrics-exporter shows them, straight (`scrape`) or from a Prometheus that scrapes it (`promql`), or as
//! `rbln-stat -j` was written to a file or is served.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

#[cfg(test)]
mod tests;

use kcloud_collector_sdk::bindings::kcloud::collector::files::{self, FileError};
use kcloud_collector_sdk::exporter::{self, Out, Source, Transport};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, http, register};
use rebellions_mapping::{Rebellions, Scale, stat};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    transport: Transport,
    #[serde(default)]
    scale: Option<serde_json::Value>,
    #[serde(default)]
    dies_per_card: Option<usize>,
}

struct Plugin {
    transport: Transport,
    source: Rebellions,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "transport": {
      "enum": ["scrape", "promql"],
      "default": "scrape",
      "description": "scrape: targets are rbln-metrics-exporters, or files or pages with the JSON of rbln-stat. promql: targets are Prometheus servers that scrape the exporters, one a cluster."
    },
    "scale": {
      "enum": ["auto", 1, 1000],
      "default": "auto",
      "description": "What the exporter's watts and degrees are multiplied with. auto: by 1000 where a card would draw less than 1 W or be colder than 1 degree."
    },
    "dies_per_card": {
      "type": "integer",
      "minimum": 1,
      "maximum": 16,
      "description": "How many of the exporter's devices make a card; by model where it is not said: 4 of an ATOM Max."
    }
  }
}"#;

impl Collector for Plugin {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "rebellions",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "rebellions",
            description: "Rebellions ATOM, ATOM+ and ATOM Max cards and their dies from rbln-metrics-exporter or rbln-stat",
            metrics: exporter::definitions(Rebellions::METRICS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        let scale = config.scale.as_ref().and_then(serde_json::Value::as_f64).map_or(Scale::Auto, Scale::By);
        Ok(Self { transport: config.transport, source: Rebellions { scale, dies_per_card: config.dies_per_card } })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let address = target.address.as_str();
        let path = address.strip_prefix("file://").or_else(|| address.starts_with('/').then_some(address));
        match (self.transport, path) {
            (Transport::Scrape, Some(path)) => file(path, target, batch),
            (Transport::Scrape, None) => {
                let answer = http::get(target, address, "text/plain;version=0.0.4,application/json;q=0.5", deadline_ms)?;
                let (text, format) = answer.exposition()?;
                let mut out = Out::new::<Rebellions>(batch, 0);
                if text.trim_start().starts_with('{') {
                    return stat::read(&text, target, &mut out);
                }
                exporter::read_text(&mut self.source, target, &text, format, &mut out)?;
                match out.is_empty() {
                    true => Err(CollectError::Unsupported(
                        "neither a row of rbln-metrics-exporter nor the JSON of rbln-stat is in the answer".to_owned(),
                    )),
                    false => Ok(()),
                }
            }
            (Transport::Promql, _) => exporter::collect(&mut self.source, self.transport, target, deadline_ms, batch),
        }
    }
}

/// A dump is as old as its file.
fn file(path: &str, target: &Target, batch: &mut Batch) -> Result<(), CollectError> {
    let wrong = |e: FileError| match e {
        FileError::Denied(why) => CollectError::Auth(format!("{path}: {why}")),
        FileError::NotFound => CollectError::Unreachable(format!("{path} is not there")),
        FileError::TooLarge(bytes) => CollectError::Protocol(format!("{path} has {bytes} bytes, which is too much")),
        FileError::Io(why) => CollectError::Unreachable(format!("{path}: {why}")),
    };
    let written = files::modified(path).map_err(wrong)?;
    let bytes = files::read(path).map_err(wrong)?;
    let text = String::from_utf8(bytes).map_err(|e| CollectError::Protocol(format!("{path}: {e}")))?;
    let first = batch.count();
    stat::read(&text, target, &mut Out::new::<Rebellions>(batch, 0))?;
    batch.observed_since(first, i64::try_from(written / 1_000_000).unwrap_or(i64::MAX));
    Ok(())
}

register!(Plugin);
