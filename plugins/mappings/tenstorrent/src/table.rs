//! Names of tt_telemetry (first as the firmware spells them, then as words) and what they are in the catalogue.

use std::sync::LazyLock;

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

/// One quantity of a chip. What its firmware does not say is written as 0, and nothing here is ever 0 on a chip that runs.
pub(crate) struct Family {
    pub names: &'static [&'static str],
    pub metric: &'static str,
    /// From the unit that the exporter names where it names none.
    pub factor: f64,
    /// Its word may hold a limit above the value.
    pub is_packed: bool,
}

const fn family(names: &'static [&'static str], metric: &'static str, factor: f64) -> Family {
    Family { names, metric, factor, is_packed: false }
}

const fn packed(names: &'static [&'static str], metric: &'static str, factor: f64) -> Family {
    Family { names, metric, factor, is_packed: true }
}

pub(crate) const CHIP: &[Family] = &[
    packed(&["TDP"], "power_watts", 1.0),
    packed(&["TDC"], "current_amperes", 1.0),
    family(&["VCORE", "VCore"], "voltage_volts", 1e-3),
    family(&["ASICTemperature"], "temperature_celsius", 1.0),
    family(&["BoardTemperature"], "x_tenstorrent_board_temperature_celsius", 1.0),
    packed(&["AICLK", "AIClock"], "clock_sm_hertz", 1e6),
    family(&["AXICLK", "AXIClock"], "x_tenstorrent_axi_clock_hertz", 1e6),
    family(&["ARCCLK", "ARCClock"], "x_tenstorrent_arc_clock_hertz", 1e6),
    family(&["FanSpeed"], "fan_speed_rpm", 1.0),
];

/// What the exporter's label `unit` says of a value.
pub(crate) fn factor(unit: &str) -> Option<f64> {
    Some(match unit {
        "W" | "A" | "V" | "RPM" | "°C" | "Hz" => 1.0,
        "mW" | "mA" | "mV" => 1e-3,
        "MHz" => 1e6,
        _ => return None,
    })
}

pub(crate) const LINK_UP: &str = "linkIsUp";
pub(crate) const LINKS: &[(&str, &str)] = &[
    ("crcErrorCount", "x_tenstorrent_crc_errors_total"),
    ("retrainCount", "x_tenstorrent_retrains_total"),
    ("correctedCodewordCount", "x_tenstorrent_corrected_codewords_total"),
    ("uncorrectedCodewordCount", "x_tenstorrent_uncorrected_codewords_total"),
];

/// What no Tenstorrent source can say.
pub(crate) const NEVER: [&str; 3] = ["utilization_ratio", "memory_used_bytes", "memory_total_bytes"];

pub(crate) static ASKS: LazyLock<[Ask; 1]> = LazyLock::new(|| {
    let names = CHIP.iter().flat_map(|f| f.names).copied().chain(LINKS.iter().map(|(name, _)| *name)).chain([LINK_UP]);
    [Ask::Rows(names.collect::<Vec<_>>().leak(), "")]
});

pub(crate) const METRICS: &[Def] = &[
    number("power_watts", "watts", Gauge, Measured),
    number("power_limit_watts", "watts", Gauge, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("temperature_limit_celsius", "celsius", Gauge, Measured),
    number("shutdown_temperature_celsius", "celsius", Gauge, Measured),
    number("clock_sm_hertz", "hertz", Gauge, Measured),
    number("voltage_volts", "volts", Gauge, Measured),
    number("current_amperes", "amperes", Gauge, Measured),
    number("fan_ratio", "ratio", Gauge, Measured),
    number("fan_speed_rpm", "rpm", Gauge, Measured),
    number("utilization_ratio", "ratio", Gauge, Measured),
    number("memory_used_bytes", "bytes", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    state("link_status", &["up", "down"]),
    number("x_tenstorrent_board_temperature_celsius", "celsius", Gauge, Measured),
    number("x_tenstorrent_axi_clock_hertz", "hertz", Gauge, Measured),
    number("x_tenstorrent_arc_clock_hertz", "hertz", Gauge, Measured),
    number("x_tenstorrent_crc_errors_total", "count", Counter, Measured),
    number("x_tenstorrent_retrains_total", "count", Counter, Measured),
    number("x_tenstorrent_corrected_codewords_total", "count", Counter, Measured),
    number("x_tenstorrent_uncorrected_codewords_total", "count", Counter, Measured),
];
