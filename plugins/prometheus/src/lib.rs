//! A Prometheus-compatible server that already scrapes a fleet: canonical data of every source whose rows it holds, now
//! and for the time before this host ran.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod known;
mod past;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use kcloud_collector_sdk::promql::{NAMES_A_QUERY, Series, Server, selector};
use kcloud_collector_sdk::{
    Affinity, Batch, CollectError, Collector, History, Info, Page, RangeQuery, Target, clock, register_with_history,
};
use serde::Deserialize;

use known::Known;

#[derive(Deserialize)]
struct Config {
    #[serde(default = "five_minutes")]
    discover_seconds: u64,
}

fn five_minutes() -> u64 {
    300
}

struct Prometheus {
    /// What a server holds is asked again after this.
    discover_ms: u64,
    known: Vec<Box<dyn Known>>,
    /// By target: when asked, and which names it holds of each source.
    held: HashMap<String, (u64, Vec<Vec<&'static str>>)>,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "discover_seconds": {
      "type": "integer",
      "minimum": 1,
      "default": 300,
      "description": "How long the list of what a server holds is believed, in seconds."
    }
  }
}"#;

impl Collector for Prometheus {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "prometheus",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "kcloud",
            description: "Every known source whose rows a Prometheus-compatible server holds, with their past",
            metrics: known::all().iter().flat_map(|k| k.definitions()).collect(),
            config_schema: SCHEMA,
            affinity: Affinity::Target,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { discover_ms: config.discover_seconds * 1_000, known: known::all(), held: HashMap::new() })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let server = Server::new(target, deadline_ms);
        let now = clock::monotonic_ms();
        let fresh = self
            .held
            .get(&target.id)
            .is_some_and(|(at, names)| now.saturating_sub(*at) < self.discover_ms && names.iter().any(|n| !n.is_empty()));
        if !fresh {
            let names = self.known.iter().map(|k| holds(&server, k.as_ref())).collect::<Result<_, _>>()?;
            self.held.insert(target.id.clone(), (now, names));
        }
        let Some((_, held)) = self.held.get(&target.id) else { return Ok(()) };
        if held.iter().all(Vec::is_empty) {
            let sources: Vec<&str> = self.known.iter().map(|k| k.name()).collect();
            let text = format!("it holds no row of a source that is known here ({})", sources.join(", "));
            return Err(CollectError::Unsupported(text));
        }
        let scraped = server.scraped_at()?;
        for (known, names) in self.known.iter().zip(held) {
            let mut rows: Vec<Series> = Vec::new();
            for names in names.chunks(NAMES_A_QUERY) {
                rows.extend(server.instant(&selector(names, ""))?);
            }
            known.read(target, &rows, &scraped, batch);
        }
        Ok(())
    }
}

/// Which of a source's names the server holds.
fn holds(server: &Server<'_>, known: &dyn Known) -> Result<Vec<&'static str>, CollectError> {
    let found = server.names(known.like())?;
    Ok(known.names().into_iter().filter(|n| found.iter().any(|f| f == n)).collect())
}

impl History for Prometheus {
    fn range(&mut self, target: &Target, query: &RangeQuery, deadline_ms: u32, page: Option<&[u8]>) -> Result<Page, CollectError> {
        past::range(&self.known, &Server::new(target, deadline_ms), target, query, page)
    }
}

register_with_history!(Prometheus);
