//! Cards as their vendors' programs print them, where no exporter runs: a timer writes the output to a file, which is read here.
//! `nvidia-smi` (XML, CSV), `rocm-smi` (JSON), `hl-smi` (table, CSV), `xpu-smi dump` (CSV), told apart by what stands in the file.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod nvidia;
mod others;
mod said;
#[cfg(test)]
mod tests;

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::{self, Def, Out, Page, Source, number};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Target, dump, register, target_label};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {}

struct Dumps;

const METRICS: &[Def] = &[
    number("power_watts", "watts", Gauge, Measured),
    number("power_limit_watts", "watts", Gauge, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("memory_temperature_celsius", "celsius", Gauge, Measured),
    number("utilization_ratio", "ratio", Gauge, Measured),
    number("memory_bandwidth_ratio", "ratio", Gauge, Measured),
    number("encoder_utilization_ratio", "ratio", Gauge, Measured),
    number("decoder_utilization_ratio", "ratio", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    number("memory_used_bytes", "bytes", Gauge, Measured),
    number("memory_free_bytes", "bytes", Gauge, Measured),
    number("memory_reserved_bytes", "bytes", Gauge, Measured),
    number("clock_sm_hertz", "hertz", Gauge, Measured),
    number("clock_memory_hertz", "hertz", Gauge, Measured),
    number("fan_ratio", "ratio", Gauge, Measured),
    number("fan_speed_rpm", "rpm", Gauge, Measured),
    number("pcie_replay_total", "count", Counter, Measured),
    number("pcie_tx_bytes_per_second", "bytes_per_second", Gauge, Measured),
    number("pcie_rx_bytes_per_second", "bytes_per_second", Gauge, Measured),
    number("ecc_corrected_total", "count", Counter, Measured),
    number("ecc_uncorrected_total", "count", Counter, Measured),
];

/// Not of an exporter: what is put out is by name, as theirs is.
impl Source for Dumps {
    const NAME: &'static str = "dumps";
    const LIKE: &'static str = "";
    const METRICS: &'static [Def] = METRICS;

    fn asks(&self) -> &'static [Ask] {
        &[]
    }

    fn read(&mut self, _: &Page<'_>, _: &mut Out<'_>) -> Result<(), CollectError> {
        Ok(())
    }
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {}
}"#;

impl Collector for Dumps {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "smi-dump",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "kcloud",
            description: "Cards from files with the output of nvidia-smi, rocm-smi, hl-smi or xpu-smi",
            metrics: exporter::definitions(METRICS),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(_: Config) -> Result<Self, CollectError> {
        Ok(Self)
    }

    fn collect(&mut self, target: &Target, _: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let Some(path) = dump::path(&target.address) else {
            return Err(CollectError::Config(format!(
                "{:?} is no file: an address is a path, such as \"/var/lib/smi/worker1.xml\"",
                target.address
            )));
        };
        let (text, written_ms) = dump::read(path)?;
        let first = batch.count();
        read(&text, target, &mut Out::new::<Self>(batch, 0))?;
        batch.observed_since(first, written_ms);
        Ok(())
    }
}

/// Reads a dump by what it begins with.
fn read(text: &str, target: &Target, out: &mut Out<'_>) -> Result<(), CollectError> {
    let node = target_label(target, "node").filter(|n| !n.is_empty());
    let text = text.trim_start_matches(['\u{feff}', '\n', '\r', ' ']);
    let head = text.lines().next().unwrap_or_default();
    match () {
        _ if text.starts_with("<?xml") || text.starts_with("<nvidia_smi_log") => nvidia::xml(text, node, out),
        _ if text.starts_with('{') => others::rocm(text, node, out),
        _ if text.starts_with('+') && text.contains("HL-SMI") => others::hl_table(text, node, out),
        _ if head.starts_with("Timestamp, DeviceId") => others::xpu(text, node, out),
        _ if head.contains("utilization.aip") || head.split(',').count() == 11 && head.contains("HL-") => others::hl_csv(text, node, out),
        _ if head.contains("uuid") && head.contains("power.draw") => nvidia::csv(text, node, out),
        _ => Err(CollectError::Unsupported(
            "neither `nvidia-smi -q -x`, `nvidia-smi --query-gpu=uuid,power.draw,… --format=csv`, `rocm-smi --json`, `hl-smi` nor `xpu-smi dump` is in the file".to_owned(),
        )),
    }
}

register!(Dumps);
