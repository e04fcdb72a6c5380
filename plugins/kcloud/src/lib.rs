//! Another host of KCloud Monitor: node agents into the host of a cluster, hosts of clusters into that of a fleet.
//!
//! In: `/api/v1/system/snapshot` of the far host, whole at first, then what changed. Out: its subjects as it knows them, with the times
//! at which they were observed, and how its own sources fare.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod far;
mod feed;
mod line;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, http, register};
use serde::Deserialize;

use far::Far;

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    hosts: Vec<Host>,
    labels_per_subject: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { hosts: Vec::new(), labels_per_subject: 64 }
    }
}

/// A host all of whose clusters are read.
#[derive(Deserialize)]
struct Host {
    id: String,
    address: String,
    credential: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TargetConfig {
    /// What the far host calls the target's cluster.
    cluster: Option<String>,
}

struct Kcloud {
    config: Config,
    /// By target; the host binds one to an instance.
    hosts: HashMap<String, Far>,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "hosts": {
      "type": "array",
      "default": [],
      "description": "Hosts all of whose clusters are read, each as a target ID/CLUSTER. A cluster that is not configured here is refused. Their addresses stand in [grants] http, their credentials in [grants] credentials, too.",
      "items": {
        "type": "object",
        "additionalProperties": false,
        "required": ["id", "address"],
        "properties": {
          "id": { "type": "string", "minLength": 1, "description": "Begins the ids of its targets." },
          "address": { "type": "string", "description": "As http://10.0.0.1:8001." },
          "credential": { "type": "string", "description": "Name of a credential for it." }
        }
      }
    },
    "labels_per_subject": {
      "type": "integer",
      "minimum": 16,
      "maximum": 1024,
      "default": 64,
      "description": "Labels of one subject that are taken, at most what [limits] labels_per_subject allows."
    }
  }
}"#;

impl Collector for Kcloud {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "kcloud",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "kcloud",
            description: "Another host of KCloud Monitor: agents of nodes, hosts of clusters",
            metrics: far::definitions(),
            config_schema: SCHEMA,
            affinity: Affinity::Target,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { config, hosts: HashMap::new() })
    }

    fn discover(&mut self) -> Result<Vec<Target>, CollectError> {
        let mut found = Vec::new();
        for host in &self.config.hosts {
            found.extend(clusters(host)?);
        }
        Ok(found)
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let own: TargetConfig = match target.config.as_str() {
            "" => TargetConfig::default(),
            text => serde_json::from_str(text).map_err(|e| CollectError::Config(format!("target {}: config: {e}", target.id)))?,
        };
        let cluster = own.cluster.unwrap_or_else(|| target.cluster.clone());
        let far = self.hosts.entry(target.id.clone()).or_default();
        let mut open = |url: &str, timeout_ms: u32| -> Result<Box<dyn feed::Pieces>, CollectError> {
            Ok(Box::new(http::open(target, url, line::MEDIA, timeout_ms)?.good()?))
        };
        far.collect(target, &cluster, self.config.labels_per_subject, deadline_ms, batch, &mut open)
    }
}

#[derive(Deserialize)]
struct Clusters {
    data: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// A target for each cluster of a host.
fn clusters(host: &Host) -> Result<Vec<Target>, CollectError> {
    let target = |cluster: String| Target {
        id: format!("{}/{cluster}", host.id),
        address: host.address.clone(),
        cluster,
        labels: Vec::new(),
        credential: host.credential.clone(),
        config: "{}".to_owned(),
    };
    let url = format!("{}/api/v1/clusters?limit=1000", host.address.trim_end_matches('/'));
    let answer = http::get(&target(String::new()), &url, "application/json", 5_000)?;
    Ok(answer.json::<Clusters>()?.data.into_iter().map(|c| target(c.name)).collect())
}

register!(Kcloud);
