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

use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, http, log, register};
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
    /// Clusters of each of the configured hosts, as it last said.
    found: HashMap<String, Vec<String>>,
}

/// One host that hangs leaves time for the others.
const DISCOVER_MS: u32 = 2_000;

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
        Ok(Self { config, hosts: HashMap::new(), found: HashMap::new() })
    }

    fn discover(&mut self) -> Result<Vec<Target>, CollectError> {
        let mut failed = None;
        for host in &self.config.hosts {
            match clusters(host) {
                Ok(names) => drop(self.found.insert(host.id.clone(), names)),
                Err(error) => {
                    log::line(log::Level::Warn, &format!("host {}: its clusters are not known: {error}", host.id));
                    failed = Some(error);
                }
            }
        }
        // A host that is down takes neither its own targets along nor others'.
        let of = |host: &Host| self.found.get(&host.id).map(|names| names.iter().map(|c| host.target(c)).collect::<Vec<_>>());
        let all: Vec<Target> = self.config.hosts.iter().filter_map(of).flatten().collect();
        match failed {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(all),
        }
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

/// The clusters that a host has.
fn clusters(host: &Host) -> Result<Vec<String>, CollectError> {
    let url = format!("{}/api/v1/clusters?limit=1000", host.address.trim_end_matches('/'));
    let answer = http::get(&host.target(""), &url, "application/json", DISCOVER_MS)?;
    Ok(answer.json::<Clusters>()?.data.into_iter().map(|c| c.name).collect())
}

impl Host {
    fn target(&self, cluster: &str) -> Target {
        Target {
            id: format!("{}/{cluster}", self.id),
            address: self.address.clone(),
            cluster: cluster.to_owned(),
            labels: Vec::new(),
            credential: self.credential.clone(),
            config: "{}".to_owned(),
        }
    }
}

register!(Kcloud);
