//! A source from a table: sysfs, hwmon, any text and JSON files, any Prometheus or JSON endpoint, mapped to the model by the operator.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod catalogue;
mod expositions;
mod members;
mod pattern;
mod raw;
mod read;
mod table;
#[cfg(test)]
mod tests;
mod units;
mod value;
mod world;

use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, register};
use serde::Deserialize;

use read::Reader;
use table::Table;
use world::{Wire, World};

struct Files {
    tables: Vec<Table>,
}

/// `config` of a target.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTarget {
    /// Names of the tables that read it; without it those that fit its address.
    tables: Option<Vec<String>>,
}

impl Collector for Files {
    type Config = raw::Config;

    fn describe() -> Info {
        Info {
            name: "files",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "kcloud",
            description: "What a table of the operator maps: text and JSON files (sysfs, hwmon), Prometheus and JSON endpoints",
            metrics: Vec::new(),
            config_schema: include_str!("../schema.json"),
            affinity: Affinity::None,
        }
    }

    fn new(config: raw::Config) -> Result<Self, CollectError> {
        table::check(config).map(|tables| Self { tables }).map_err(CollectError::Config)
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        self.read(&mut Wire { target, timeout_ms: deadline_ms }, target, batch)
    }
}

impl Files {
    /// Reads every table of a target; what one cannot say costs the others nothing.
    fn read(&self, world: &mut dyn World, target: &Target, batch: &mut Batch) -> Result<(), CollectError> {
        let mut failed = Vec::new();
        let tables = self.of(target)?;
        let count = tables.len();
        for table in tables {
            failed.extend(Reader::new(table, target, batch, world).read().err());
        }
        if failed.len() == count {
            return failed.into_iter().next().map_or(Ok(()), Err);
        }
        if !failed.is_empty() {
            batch.partial();
            failed.into_iter().for_each(|error| batch.problem(error, None));
        }
        Ok(())
    }

    fn of(&self, target: &Target) -> Result<Vec<&Table>, CollectError> {
        let config = |why: String| CollectError::Config(format!("target {:?}: {why}", target.id));
        let own: OfTarget = serde_json::from_str(&target.config).map_err(|e| config(format!("its config: {e}")))?;
        let names = || self.tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ");
        let is_http = target.address.starts_with("http://") || target.address.starts_with("https://");
        let tables: Vec<&Table> = match own.tables {
            Some(wanted) => {
                let find = |name: &String| self.tables.iter().find(|t| t.name == *name);
                let all = wanted.iter().map(|name| find(name).ok_or_else(|| config(format!("no table {name:?}; there are {}", names()))));
                all.collect::<Result<_, _>>()?
            }
            None => self.tables.iter().filter(|t| t.files.is_none() == is_http).collect(),
        };
        if let Some(table) = tables.iter().find(|t| t.files.is_none() && !is_http) {
            return Err(config(format!("table {:?} is read over HTTP; its address is {:?}", table.name, target.address)));
        }
        match tables.is_empty() {
            true => Err(config(format!("no table fits its address {:?}; there are {}", target.address, names()))),
            false => Ok(tables),
        }
    }
}

register!(Files);
