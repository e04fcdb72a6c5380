//! One hostile guest with many bad modes, chosen by `[config] mode`: what the host must make of each stands in
//! `tests/e2e/tests/evil.rs`. What no toolchain would write (a start function that spins, pointers that lie) is made there by hand.

// Natively nothing is exported, and so nothing is used.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod cpu;
mod files;
mod injection;
mod ipmi;
mod memory;
mod network;
mod nvml;
mod output;
mod state;

use std::sync::OnceLock;

use kcloud_collector_sdk::bindings::exports::kcloud::collector::collector as export;
use kcloud_collector_sdk::bindings::kcloud::collector::types as wire;
use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{
    Affinity, Batch, CollectError, Collector, Info, Label, Metric, MetricKind, Quality, Registered, SubjectRef, Target, log,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    mode: String,
    #[serde(default)]
    url: String,
    /// URLs, paths, names: what the mode is about.
    #[serde(default)]
    list: Vec<String>,
}

/// What was configured, for what happens outside a [`Collector`] too.
static MODE: OnceLock<String> = OnceLock::new();

fn mode() -> &'static str {
    MODE.get().map_or("", String::as_str)
}

struct Evil {
    config: Config,
    calls: u64,
    held: Vec<Vec<u8>>,
}

const SCHEMA: &str = r#"{"type":"object","required":["mode"],"properties":{
    "mode":{"type":"string"},"url":{"type":"string"},"list":{"type":"array","items":{"type":"string"}}}}"#;

impl Collector for Evil {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "evil",
            version: "0.1.0",
            vendor: "nobody",
            description: "does what it should not",
            metrics: vec![definition("power_watts", "watts", MetricKind::Gauge, Quality::Measured)],
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        MODE.get_or_init(|| config.mode.clone());
        match mode() {
            "refuse" => return Err(CollectError::Config("it never likes its configuration".into())),
            "spin-in-configure" => cpu::spin(),
            "eat-in-configure" => memory::eat(),
            _ => {}
        }
        Ok(Self { config, calls: 0, held: Vec::new() })
    }

    fn discover(&mut self) -> Result<Vec<Target>, CollectError> {
        match mode() {
            "spin-in-discover" => cpu::spin(),
            "targets" => Ok(injection::targets(&self.config)),
            "many-targets" => Ok(injection::many_targets(&self.config)),
            _ => Ok(Vec::new()),
        }
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        self.calls += 1;
        let done = cpu::collect(self, target, batch)
            .or_else(|| memory::collect(self))
            .or_else(|| injection::collect(self, batch))
            .or_else(|| files::collect(&self.config))
            .or_else(|| state::collect(&self.config))
            .or_else(|| ipmi::collect(&self.config))
            .or_else(|| nvml::collect(&self.config))
            .or_else(|| network::collect(&self.config, target, deadline_ms));
        match (done, mode()) {
            (Some(done), _) => done,
            (None, "panic") => panic!("on purpose"),
            (None, "panic-on-second") if self.calls > 1 => panic!("on purpose, at the second call"),
            (None, "panic-on-second") => Ok(()),
            // Some modes are about what is made of a good answer.
            (None, _) => {
                reading(batch, "GPU-evil");
                Ok(())
            }
        }
    }
}

/// One card with one good reading.
fn reading(batch: &mut Batch, uuid: &str) -> SubjectRef {
    let card = batch.subject("accelerator", uuid, None, |s| s.identity = vec![label("uuid", uuid)]);
    batch.point(Metric(0), card, 5.0, None);
    card
}

fn label(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}

fn say(line: &str) {
    log::line(log::Level::Info, line);
}

/// Between the SDK, which would not let it say much of this, and the host.
struct Unchecked;

impl export::Guest for Unchecked {
    fn describe() -> export::Info {
        Registered::<Evil>::describe()
    }

    fn configure(config: String) -> Result<(), wire::CollectError> {
        Registered::<Evil>::configure(config)
    }

    fn discover() -> Result<Vec<Target>, wire::CollectError> {
        Registered::<Evil>::discover()
    }

    fn collect(
        target: Target,
        deadline_ms: u32,
        page: Option<Vec<u8>>,
        cursor: Option<Vec<u8>>,
    ) -> Result<wire::Batch, wire::CollectError> {
        let _until_the_end = cpu::Ending;
        let mut batch = Registered::<Evil>::collect(target, deadline_ms, page, cursor)?;
        output::spoil(&mut batch);
        Ok(batch)
    }
}

#[cfg(target_arch = "wasm32")]
kcloud_collector_sdk::export_plugin::export_plugin!(Unchecked with_types_in kcloud_collector_sdk::bindings);
