//! Nodes, namespaces, pods and containers straight from the Kubernetes API: listed once, then followed by watches.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod changes;
mod events;
mod feed;
mod held;
mod objects;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use kube_mapping::model::definitions;
use serde::Deserialize;

use sync::Cluster;

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    page_size: u32,
    watch_seconds: u32,
    labels_per_subject: usize,
    annotations: bool,
    shared_cards: bool,
    events: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            page_size: 500,
            watch_seconds: 240,
            labels_per_subject: 64,
            annotations: true,
            shared_cards: false,
            events: "warning".to_owned(),
        }
    }
}

struct Kubernetes {
    config: Config,
    /// By target; the host binds one to an instance.
    clusters: HashMap<String, Cluster>,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "page_size": {
      "type": "integer",
      "minimum": 10,
      "maximum": 2000,
      "default": 500,
      "description": "Objects of one page of a list."
    },
    "watch_seconds": {
      "type": "integer",
      "minimum": 10,
      "maximum": 3600,
      "default": 240,
      "description": "How long the server is asked to keep a watch open before it is opened anew."
    },
    "labels_per_subject": {
      "type": "integer",
      "minimum": 16,
      "maximum": 1024,
      "default": 64,
      "description": "Labels of one node or pod that are taken, at most what [limits] labels_per_subject allows; those of feature discovery go first."
    },
    "annotations": {
      "type": "boolean",
      "default": true,
      "description": "Whether annotations of at most 256 bytes are taken as labels."
    },
    "shared_cards": {
      "type": "boolean",
      "default": false,
      "description": "Whether HAMi's and Volcano's annotations say which cards a pod shares. Who may create pods can write them, too."
    },
    "events": {
      "type": "string",
      "enum": ["warning", "all", "none"],
      "default": "warning",
      "description": "Which events of the cluster are taken."
    }
  }
}"#;

impl Collector for Kubernetes {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "kubernetes",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "kubernetes",
            description: "Nodes, namespaces, pods, containers and events of a cluster from the Kubernetes API, by list and watch",
            metrics: definitions(),
            config_schema: SCHEMA,
            affinity: Affinity::Target,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { config, clusters: HashMap::new() })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let cluster = self.clusters.entry(target.id.clone()).or_insert_with(|| Cluster::new(&self.config.events));
        cluster.collect(target, &self.config, deadline_ms, batch)
    }
}

register!(Kubernetes);
