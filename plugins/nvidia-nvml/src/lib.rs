//! NVIDIA GPUs of the host's own machine, through the driver: no exporter at all.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod read;
mod table;
#[cfg(test)]
mod tests;

use kcloud_collector_sdk::mapping::{Mapping, definition};
use kcloud_collector_sdk::{
    Affinity, Batch, CollectError, Collector, Info, Metric, MetricDef, MetricKind, Quality, Target, nvml, register,
};
use serde::Deserialize;

use read::Reader;
use table::{LINK, OTHERS, PROCESS, ROWS, of_card};

const LINK_STATUS: Metric = Metric(ROWS.len() as u32);
const LINK_UP: u32 = 0;
const LINK_DOWN: u32 = 1;

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Config {
    #[serde(default = "yes")]
    processes: bool,
    #[serde(default = "yes")]
    links: bool,
    #[serde(default)]
    leave_out: Vec<String>,
}

struct Nvml {
    mapping: Mapping,
    fields: Vec<String>,
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "processes": {
      "type": "boolean",
      "default": true,
      "description": "Processes that use a card, with the container and pod that they belong to."
    },
    "links": {
      "type": "boolean",
      "default": true,
      "description": "NVLinks with their state and error counters."
    },
    "leave_out": {
      "type": "array",
      "items": { "type": "string", "pattern": "^(driver|card|mig|link|process)\\.[a-z_]+$" },
      "default": [],
      "description": "Fields that the driver is never asked for, such as card.pcie_tx and card.pcie_rx, which take 20 ms each."
    }
  }
}"#;

fn definitions() -> Vec<MetricDef> {
    let mut all = Mapping::definitions(ROWS);
    let states = ["up", "down"].map(str::to_owned).to_vec();
    all.push(MetricDef { states, ..definition("link_status", "state", MetricKind::State, Quality::Measured) });
    all
}

impl Collector for Nvml {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "nvidia-nvml",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "nvidia",
            description: "NVIDIA GPUs, MIG instances, NVLinks and processes of this machine, from the driver itself",
            metrics: definitions(),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        let mut fields: Vec<String> = of_card().map(|f| format!("card.{f}")).collect();
        fields.extend(OTHERS.iter().map(|f| (*f).to_owned()));
        if config.links {
            fields.extend(LINK.iter().map(|f| (*f).to_owned()));
        }
        if config.processes {
            fields.extend(PROCESS.iter().map(|f| (*f).to_owned()));
        }
        if let Some(unknown) = config.leave_out.iter().find(|f| !fields.contains(f)) {
            return Err(CollectError::Config(format!("leave_out: {unknown:?} is no field that would be asked for")));
        }
        fields.retain(|f| !config.leave_out.contains(f));
        Ok(Self { mapping: Mapping::new(ROWS), fields })
    }

    fn collect(&mut self, target: &Target, _deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let answer = nvml::read(&self.fields)?;
        Reader { target, mapping: &self.mapping, batch }.answer(&answer)
    }
}

register!(Nvml);
