//! A Prometheus-compatible server that already scrapes a fleet: canonical data of every source whose rows it holds, now
//! and for the time before this host ran.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod known;
mod past;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use kcloud_collector_sdk::promql::{Ask, Server};
use kcloud_collector_sdk::{
    Affinity, Batch, CollectError, Collector, History, Info, Page, RangeQuery, Target, clock, register_with_history,
};
use serde::Deserialize;

use known::Known;
use settle::Settle;

#[derive(Deserialize)]
struct Config {
    #[serde(default = "five_minutes")]
    discover_seconds: u64,
    #[serde(default)]
    leave_out: Vec<String>,
}

fn five_minutes() -> u64 {
    300
}

struct Prometheus {
    /// What a server holds is asked again after this.
    discover_ms: u64,
    known: Vec<Box<dyn Known>>,
    /// By target: when asked, and which names it holds of any source.
    held: HashMap<String, (u64, HashSet<&'static str>)>,
    settle: Settle,
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
    },
    "leave_out": {
      "type": "array",
      "items": { "type": "string" },
      "default": [],
      "description": "Known sources that are not read here, by name: those that have a plugin and targets of their own."
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
        let mut known = known::all();
        let names: Vec<&str> = known.iter().map(|k| k.name()).collect();
        if let Some(other) = config.leave_out.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(CollectError::Config(format!("leave_out: {other:?} is not known; known are {}", names.join(", "))));
        }
        known.retain(|k| !config.leave_out.iter().any(|name| name == k.name()));
        Ok(Self {
            discover_ms: config.discover_seconds * 1_000,
            known,
            held: HashMap::new(),
            settle: Settle::new(&Self::describe().metrics),
        })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let server = Server::new(target, deadline_ms);
        let now = clock::monotonic_ms();
        let is_fresh = self.held.get(&target.id).is_some_and(|(at, names)| now.saturating_sub(*at) < self.discover_ms && !names.is_empty());
        if !is_fresh {
            self.held.insert(target.id.clone(), (now, holds(&server, &self.known)?));
        }
        let Some((_, held)) = self.held.get(&target.id) else { return Ok(()) };
        if held.is_empty() {
            let sources: Vec<&str> = self.known.iter().map(|k| k.name()).collect();
            let text = format!("it holds no row of a source that is known here ({})", sources.join(", "));
            return Err(CollectError::Unsupported(text));
        }
        let scraped = server.scraped_at()?;
        for known in &mut self.known {
            let rows = server.ask(known.asks(), |name| held.contains(name))?;
            known.read(target, &rows, &scraped, batch);
        }
        self.settle.settle(batch, now);
        Ok(())
    }
}

/// Which names of known sources the server holds: one question for all of them.
fn holds(server: &Server<'_>, known: &[Box<dyn Known>]) -> Result<HashSet<&'static str>, CollectError> {
    let like: Vec<&str> = known.iter().map(|k| k.like()).collect();
    let found: HashSet<String> = server.names(&like)?.into_iter().collect();
    Ok(known.iter().flat_map(|k| k.asks()).flat_map(Ask::names).filter(|name| found.contains(*name)).collect())
}

impl History for Prometheus {
    fn range(&mut self, target: &Target, query: &RangeQuery, deadline_ms: u32, page: Option<&[u8]>) -> Result<Page, CollectError> {
        past::range(&self.known, &Server::new(target, deadline_ms), target, query, page)
    }
}

register_with_history!(Prometheus);
