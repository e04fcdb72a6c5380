//! Virtual machines of an OpenStack cloud, straight from Nova's API.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod server;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use kcloud_collector_sdk::http::{self, Raw};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use serde::Deserialize;
use serde_json::Value;

use server::{Flavor, Server};

/// From this on a server carries its flavour whole (Pike, 2017).
const MICROVERSION: &str = "compute 2.47";

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    all_projects: bool,
    identity_url: Option<String>,
    page_size: u32,
    gpu_aliases: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { all_projects: true, identity_url: None, page_size: 500, gpu_aliases: Vec::new() }
    }
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "all_projects": {
      "type": "boolean",
      "default": true,
      "description": "All projects' machines, which needs the right of an administrator (or of a reader of the system); else those of the credential's own project."
    },
    "identity_url": {
      "type": "string",
      "pattern": "^https?://",
      "description": "Of the identity service, such as https://keystone:5000/v3, for projects' names; its origin stands in [grants] http and in the credential's origins. Without it machines have their project's id only."
    },
    "page_size": {
      "type": "integer",
      "minimum": 1,
      "maximum": 1000,
      "default": 500,
      "description": "Machines asked for at once."
    },
    "gpu_aliases": {
      "type": "array",
      "items": { "type": "string" },
      "default": [],
      "description": "Names of PCI aliases (pci_passthrough:alias of a flavour) that are GPUs; when empty, those whose name contains gpu."
    }
  }
}"#;

/// How the services are reached; tests have their own.
pub(crate) trait Cloud {
    fn get(&mut self, url: &str, headers: &[(&str, &str)], timeout_ms: u32) -> Result<Raw, CollectError>;
}

/// The host's client, which holds the token.
struct Wire<'a>(&'a Target);

impl Cloud for Wire<'_> {
    fn get(&mut self, url: &str, headers: &[(&str, &str)], timeout_ms: u32) -> Result<Raw, CollectError> {
        http::raw(self.0, url, headers, timeout_ms)
    }
}

struct Nova {
    config: Config,
    /// Names by id, as the first page of a read found them.
    projects: HashMap<String, String>,
    /// Flavours by id, of a Nova that does not put them into servers.
    flavors: Option<HashMap<String, Flavor>>,
}

impl Collector for Nova {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "nova",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "openstack",
            description: "Virtual machines of OpenStack from Nova's API: project, flavour, host, state, addresses",
            metrics: server::definitions(),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { config, projects: HashMap::new(), flavors: None })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        self.read(&mut Wire(target), target, deadline_ms, batch)
    }
}

impl Nova {
    /// One page; the batch says where the next begins.
    fn read(&mut self, cloud: &mut dyn Cloud, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let base = target.address.trim_end_matches('/');
        let marker = batch.page.take().map(|page| String::from_utf8_lossy(&page).into_owned());
        if marker.is_none() {
            (self.projects, self.flavors) = (HashMap::new(), None);
            self.name_projects(cloud, deadline_ms, batch);
        }
        let mut url = format!("{base}/servers/detail?limit={}", self.config.page_size);
        if self.config.all_projects {
            url += "&all_tenants=1";
        }
        if let Some(marker) = &marker {
            url += &format!("&marker={marker}");
        }
        let answer = self.list(cloud, &url, base, deadline_ms)?;
        let Some(servers) = answer["servers"].as_array() else {
            return Err(CollectError::Protocol("a list of servers without servers; is this the compute endpoint?".to_owned()));
        };
        for value in servers {
            match Server::deserialize(value) {
                Ok(server) => server.put(batch, self),
                Err(error) => {
                    let id = value["id"].as_str().unwrap_or("without an id");
                    batch.problem(CollectError::Protocol(format!("server {id}: {error}")), None);
                }
            }
        }
        // A service may give fewer at once than was asked for: its own link says whether there is more.
        let has_more = answer["servers_links"].as_array().is_some_and(|links| links.iter().any(|l| l["rel"] == "next"));
        let last = servers.last().and_then(|s| s["id"].as_str());
        match last.filter(|_| has_more) {
            Some(last) if marker.as_deref() == Some(last) => {
                Err(CollectError::Protocol(format!("the page after {last} ends with it again")))
            }
            Some(last) => {
                batch.next_page(last.as_bytes().to_vec());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A page of servers, with their flavours in them where this Nova can.
    fn list(&mut self, cloud: &mut dyn Cloud, url: &str, base: &str, deadline_ms: u32) -> Result<Value, CollectError> {
        if self.flavors.is_none() {
            let raw = cloud.get(url, &[("accept", "application/json"), ("openstack-api-version", MICROVERSION)], deadline_ms)?;
            match raw.status {
                406 => self.flavors = Some(flavors(cloud, base, deadline_ms)?),
                _ => return json(raw),
            }
        }
        json(cloud.get(url, &[("accept", "application/json")], deadline_ms)?)
    }

    /// Names are worth a problem, not the read.
    fn name_projects(&mut self, cloud: &mut dyn Cloud, deadline_ms: u32, batch: &mut Batch) {
        let Some(url) = &self.config.identity_url else { return };
        let url = format!("{}/projects", url.trim_end_matches('/'));
        let found = cloud.get(&url, &[("accept", "application/json")], deadline_ms / 2).and_then(json);
        match found.as_ref().map(|f| f["projects"].as_array()) {
            Ok(Some(projects)) => {
                let named = projects.iter().filter_map(|p| Some((p["id"].as_str()?.to_owned(), p["name"].as_str()?.to_owned())));
                self.projects = named.collect();
            }
            Ok(None) => batch.problem(CollectError::Protocol("identity_url: a list of projects without projects".to_owned()), None),
            Err(error) => batch.problem(CollectError::Protocol(format!("projects have no names: {error}")), None),
        }
    }
}

fn json(raw: Raw) -> Result<Value, CollectError> {
    match raw.status {
        200..=299 => serde_json::from_slice(&raw.body).map_err(|e| CollectError::Protocol(format!("JSON: {e}"))),
        _ => Err(raw.refused()),
    }
}

fn flavors(cloud: &mut dyn Cloud, base: &str, deadline_ms: u32) -> Result<HashMap<String, Flavor>, CollectError> {
    let url = format!("{base}/flavors/detail?is_public=None&limit=1000");
    let answer = json(cloud.get(&url, &[("accept", "application/json")], deadline_ms)?)?;
    let all = answer["flavors"].as_array().into_iter().flatten();
    Ok(all.filter_map(|f| Some((f["id"].as_str()?.to_owned(), Flavor::deserialize(f).ok()?))).collect())
}

register!(Nova);
