//! A node's cards as dcgm-exporter writes them, in the names before and from DCGM 4.6.

use std::fmt::Write;

use crate::card::{Card, Reading};
use crate::{FleetConfig, Moment, mix};

/// What DCGM writes for "not supported", as an int64.
const BLANK: u64 = 9_223_372_036_854_775_794;

struct Family {
    old: &'static str,
    new: &'static str,
    kind: &'static str,
    /// Repeated on each MIG instance, as the whole card's value.
    on_instances: bool,
    value: fn(&Card, &Reading) -> Option<f64>,
}

const fn family(
    old: &'static str,
    new: &'static str,
    kind: &'static str,
    on_instances: bool,
    value: fn(&Card, &Reading) -> Option<f64>,
) -> Family {
    Family { old, new, kind, on_instances, value }
}

/// `DCGM_FI_` stands before each name.
const FAMILIES: &[Family] = &[
    family("DEV_SM_CLOCK", "DEV_SM_CLOCK", "gauge", true, |_, r| Some(r.sm_clock as f64)),
    family("DEV_MEM_CLOCK", "DEV_MEM_CLOCK", "gauge", true, |_, _| Some(2_619.0)),
    family("DEV_MEMORY_TEMP", "DEV_MEMORY_TEMP_CELSIUS", "gauge", true, |_, r| Some((r.temperature + 6) as f64)),
    family("DEV_GPU_TEMP", "DEV_GPU_TEMP_CELSIUS", "gauge", true, |_, r| Some(r.temperature as f64)),
    family("DEV_POWER_USAGE", "DEV_BOARD_POWER_WATTS", "gauge", true, |c, r| {
        Some(if c.blank_power { BLANK as f64 } else { r.milliwatts as f64 / 1e3 })
    }),
    family("DEV_ENFORCED_POWER_LIMIT", "DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS", "gauge", true, |c, _| Some(c.model.limit_watts as f64)),
    family("DEV_TOTAL_ENERGY_CONSUMPTION", "DEV_TOTAL_ENERGY_CONSUMPTION", "counter", true, |_, r| Some(r.energy_millijoules as f64)),
    family("DEV_PCIE_REPLAY_COUNTER", "DEV_PCIE_REPLAY_TOTAL", "counter", true, |_, _| Some(0.0)),
    family("DEV_GPU_UTIL", "DEV_GPU_UTIL_RATIO", "gauge", false, |c, r| (c.mig_instances == 0).then_some(r.utilization as f64)),
    family("DEV_MEM_COPY_UTIL", "DEV_MEM_COPY_UTIL", "gauge", false, |c, r| (c.mig_instances == 0).then_some((r.utilization / 2) as f64)),
    family("DEV_ENC_UTIL", "DEV_ENC_UTIL", "gauge", false, |c, _| (c.mig_instances == 0).then_some(0.0)),
    family("DEV_DEC_UTIL", "DEV_DEC_UTIL", "gauge", false, |c, _| (c.mig_instances == 0).then_some(0.0)),
    family("DEV_XID_ERRORS", "DEV_XID_ERROR", "gauge", false, |c, _| Some(c.xid.into())),
    family("DEV_FB_FREE", "DEV_FB_FREE", "gauge", false, |c, r| Some((c.model.memory_mib - r.memory_used - r.memory_reserved) as f64)),
    family("DEV_FB_USED", "DEV_FB_USED", "gauge", false, |_, r| Some(r.memory_used as f64)),
    family("DEV_FB_RESERVED", "DEV_FB_RESERVED", "gauge", false, |_, r| Some(r.memory_reserved as f64)),
    family("DEV_UNCORRECTABLE_REMAPPED_ROWS", "DEV_ROW_REMAP_UNCORRECTABLE_TOTAL", "counter", false, |_, _| Some(0.0)),
    family("DEV_CORRECTABLE_REMAPPED_ROWS", "DEV_ROW_REMAP_CORRECTABLE_TOTAL", "counter", false, |_, _| Some(0.0)),
    family("DEV_ROW_REMAP_FAILURE", "DEV_ROW_REMAP_FAILED", "gauge", false, |_, _| Some(0.0)),
    family("PROF_GR_ENGINE_ACTIVE", "PROF_GR_ENGINE_UTIL_RATIO", "gauge", true, |_, r| Some(r.utilization as f64 / 100.0)),
    family("PROF_PIPE_TENSOR_ACTIVE", "PROF_TENSOR_UTIL_RATIO", "gauge", false, |_, r| Some(r.utilization as f64 / 160.0)),
    family("PROF_DRAM_ACTIVE", "PROF_DRAM_UTIL_RATIO", "gauge", false, |_, r| Some(r.utilization as f64 / 200.0)),
    family("PROF_PCIE_TX_BYTES", "PROF_PCIE_TX_BYTES", "gauge", false, |c, r| {
        Some((mix(&[r.milliwatts, c.index as u64]) % 1_000_000_000) as f64)
    }),
    family("PROF_PCIE_RX_BYTES", "PROF_PCIE_RX_BYTES", "gauge", false, |c, r| {
        Some((mix(&[r.milliwatts, 9 + c.index as u64]) % 1_000_000_000) as f64)
    }),
];

/// One node's whole answer.
pub(crate) fn write(config: &FleetConfig, node: usize, host: &str, cards: &[Card], moment: Moment) -> String {
    let new = config.faults.new_names_every > 0 && node % config.faults.new_names_every == config.faults.new_names_every - 1;
    let readings: Vec<(Reading, String, String)> = cards
        .iter()
        .map(|c| {
            let device = format!(
                "gpu=\"{0}\",UUID=\"{1}\",pci_bus_id=\"{2}\",device=\"nvidia{0}\",modelName=\"{3}\"",
                c.index, c.uuid, c.pci, c.model.name
            );
            let (key, driver) = if new { ("hostname", "580.65.06") } else { ("Hostname", "550.90.07") };
            let mut rest = format!(",{key}=\"{host}\",DCGM_FI_DRIVER_VERSION=\"{driver}\"");
            if let Some(pod) = &c.pod {
                // Writing to a String cannot fail.
                write!(rest, ",container=\"main\",namespace=\"ml\",pod=\"{pod}\"").unwrap_or_default();
            }
            (c.read(moment), device, rest)
        })
        .collect();
    let mut out = String::with_capacity(cards.len() * FAMILIES.len() * 300);
    for f in FAMILIES {
        let name = if new { f.new } else { f.old };
        writeln!(out, "# HELP DCGM_FI_{name} simulated\n# TYPE DCGM_FI_{name} {}", f.kind).unwrap_or_default();
        let mut line = |labels: [&str; 3], value: f64| {
            let [device, instance, rest] = labels;
            writeln!(out, "DCGM_FI_{name}{{{device}{instance}{rest}}} {value}").unwrap_or_default();
        };
        for (card, (reading, device, rest)) in cards.iter().zip(&readings) {
            let Some(value) = (f.value)(card, reading) else { continue };
            if card.mig_instances == 0 || !f.on_instances {
                line([device, "", rest], value);
            }
            for instance in 0..card.mig_instances {
                let mig = format!(",GPU_I_PROFILE=\"3g.40gb\",GPU_I_ID=\"{}\"", instance + 1);
                match f.old {
                    _ if f.on_instances => line([device, &mig, rest], value),
                    "DEV_FB_USED" | "DEV_FB_FREE" | "DEV_FB_RESERVED" => line([device, &mig, rest], (value / 2.0).floor()),
                    _ => {}
                }
            }
        }
    }
    // NVLink rows spell their labels another way.
    for (card, (reading, ..)) in cards.iter().zip(&readings) {
        let name = if new { "DCGM_FI_DEV_NVLINK_THROUGHPUT_TOTAL" } else { "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL" };
        let (uuid, index) = (&card.uuid, card.index);
        let total = reading.energy_millijoules / 7;
        writeln!(out, "{name}{{nvlink=\"0\",gpu=\"{index}\",gpu_uuid=\"{uuid}\",device=\"nvidia{index}\",hostname=\"{host}\"}} {total}")
            .unwrap_or_default();
    }
    if config.faults.broken_lines {
        out.push_str("DCGM_FI_DEV_FAN_SPEED{gpu=\"0\"} ERROR - FAILED TO CONVERT TO STRING\nDCGM_FI_DEV_FAN_SPEED{gpu=\"1\n");
    }
    out
}
