//! Names of AMD's device-metrics-exporter (old and new, without their prefix) and what they are in the catalogue. Its help calls all
//! of them gauges, also what only grows.

use std::sync::LazyLock;

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::{Derived, Measured};
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

const MHZ: f64 = 1e6;
const PERCENT: f64 = 0.01;

/// What a 0 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zero {
    Reading,
    /// "This model has no such sensor", or "not now": no card runs at 0 W or 0 °C.
    Nothing,
}

/// One quantity of a whole card.
pub(crate) struct Family {
    pub name: &'static str,
    pub metric: &'static str,
    pub factor: f64,
    pub zero: Zero,
}

const fn family(name: &'static str, metric: &'static str, factor: f64, zero: Zero) -> Family {
    Family { name, metric, factor, zero }
}

use Zero::{Nothing, Reading};

/// Of two names of one metric the first that says something counts.
pub(crate) const FAMILIES: &[Family] = &[
    family("gpu_package_power", "power_watts", 1.0, Nothing),
    family("gpu_average_package_power", "power_watts", 1.0, Nothing),
    family("gpu_power_usage", "power_watts", 1.0, Nothing),
    family("gpu_energy_consumed", "energy_joules", 1e-6, Nothing),
    family("gpu_junction_temperature", "temperature_celsius", 1.0, Nothing),
    family("gpu_edge_temperature", "temperature_celsius", 1.0, Nothing),
    family("gpu_memory_temperature", "memory_temperature_celsius", 1.0, Nothing),
    family("gpu_gfx_activity", "utilization_ratio", PERCENT, Reading),
    family("gpu_usage", "utilization_ratio", PERCENT, Reading),
    family("gpu_umc_activity", "memory_bandwidth_ratio", PERCENT, Reading),
    family("pcie_replay_count", "pcie_replay_total", 1.0, Reading),
    family("pcie_recovery_count", "x_amd_pcie_recovery_total", 1.0, Reading),
    family("pcie_nack_sent_count", "x_amd_pcie_nack_sent_total", 1.0, Reading),
    family("pcie_nack_received_count", "x_amd_pcie_nack_received_total", 1.0, Reading),
    // Megabits, both ways together.
    family("pcie_bandwidth", "x_amd_pcie_bytes_per_second", 125_000.0, Reading),
    family("gpu_ecc_correct_total", "ecc_corrected_total", 1.0, Reading),
    family("gpu_ecc_uncorrect_total", "ecc_uncorrected_total", 1.0, Reading),
    family("gpu_ecc_deferred_total", "x_amd_ecc_deferred_total", 1.0, Reading),
    family("gpu_violation_ppt_residency_percentage", "x_amd_throttle_power_ratio", PERCENT, Reading),
    family("gpu_violation_socket_thermal_residency_percentage", "x_amd_throttle_thermal_ratio", PERCENT, Reading),
    family("gpu_violation_hbm_thermal_residency_percentage", "x_amd_throttle_memory_ratio", PERCENT, Reading),
    family("gpu_violation_vr_thermal_residency_percentage", "x_amd_throttle_regulator_ratio", PERCENT, Reading),
    family("gpu_violation_processor_hot_residency_percentage", "x_amd_throttle_prochot_ratio", PERCENT, Reading),
];

/// Memory, of a card or of its partition: name, old name, metric.
pub(crate) const MEMORY: &[(&str, &str, &str)] = &[
    ("gpu_total_vram", "gpu_total_memory", "memory_total_bytes"),
    ("gpu_used_vram", "gpu_used_memory", "memory_used_bytes"),
    ("gpu_free_vram", "gpu_free_memory", "memory_free_bytes"),
];

/// Clocks, several of each kind: what stands in `clock_type` (once with `GPU_CLOCK_TYPE_` before it), and the metric.
pub(crate) const CLOCKS: &[(&str, &str)] = &[("system", "clock_sm_hertz"), ("memory", "clock_memory_hertz")];
pub(crate) const CLOCK_FACTOR: f64 = MHZ;

const OTHERS: &[&str] = &[
    "gpu_hbm_temperature",
    "gpu_clock",
    "gpu_health",
    "gpu_afid_errors",
    "gpu_process_cu_occupancy",
    "gpu_xgmi_link_rx",
    "gpu_xgmi_link_tx",
];

/// The table of blocks whose errors are counted, and with it all metrics.
macro_rules! tables {
    ($($block:literal)*) => {
        /// Errors by block: name and metric.
        pub(crate) const BLOCKS: &[(&str, &str)] = &[$(
            (concat!("gpu_ecc_correct_", $block), concat!("x_amd_ecc_", $block, "_corrected_total")),
            (concat!("gpu_ecc_uncorrect_", $block), concat!("x_amd_ecc_", $block, "_uncorrected_total")),
            (concat!("gpu_ecc_deferred_", $block), concat!("x_amd_ecc_", $block, "_deferred_total")),
        )*];

        pub(crate) const METRICS: &[Def] = &[
            number("power_watts", "watts", Gauge, Measured),
            number("energy_joules", "joules", Counter, Measured),
            number("temperature_celsius", "celsius", Gauge, Measured),
            number("memory_temperature_celsius", "celsius", Gauge, Measured),
            // The hottest of several stacks, where the exporter says no temperature of all.
            number("memory_temperature_celsius", "celsius", Gauge, Derived),
            number("utilization_ratio", "ratio", Gauge, Measured),
            number("memory_bandwidth_ratio", "ratio", Gauge, Measured),
            number("memory_total_bytes", "bytes", Gauge, Measured),
            number("memory_used_bytes", "bytes", Gauge, Measured),
            number("memory_free_bytes", "bytes", Gauge, Measured),
            // Of a card: the sum over its partitions.
            number("memory_total_bytes", "bytes", Gauge, Derived),
            number("memory_used_bytes", "bytes", Gauge, Derived),
            number("memory_free_bytes", "bytes", Gauge, Derived),
            number("clock_sm_hertz", "hertz", Gauge, Measured),
            number("clock_memory_hertz", "hertz", Gauge, Measured),
            // The mean over several.
            number("clock_sm_hertz", "hertz", Gauge, Derived),
            number("clock_memory_hertz", "hertz", Gauge, Derived),
            number("pcie_replay_total", "count", Counter, Measured),
            number("ecc_corrected_total", "count", Counter, Measured),
            number("ecc_uncorrected_total", "count", Counter, Measured),
            state("health", &["ok", "critical"]),
            number("x_amd_pcie_recovery_total", "count", Counter, Measured),
            number("x_amd_pcie_nack_sent_total", "count", Counter, Measured),
            number("x_amd_pcie_nack_received_total", "count", Counter, Measured),
            number("x_amd_pcie_bytes_per_second", "bytes_per_second", Gauge, Measured),
            number("x_amd_ecc_deferred_total", "count", Counter, Measured),
            number("x_amd_throttle_power_ratio", "ratio", Gauge, Measured),
            number("x_amd_throttle_thermal_ratio", "ratio", Gauge, Measured),
            number("x_amd_throttle_memory_ratio", "ratio", Gauge, Measured),
            number("x_amd_throttle_regulator_ratio", "ratio", Gauge, Measured),
            number("x_amd_throttle_prochot_ratio", "ratio", Gauge, Measured),
            number("x_amd_cu_occupancy_ratio", "ratio", Gauge, Measured),
            number("x_amd_xgmi_rx_bytes_total", "bytes", Counter, Measured),
            number("x_amd_xgmi_tx_bytes_total", "bytes", Counter, Measured),
            $(
                number(concat!("x_amd_ecc_", $block, "_corrected_total"), "count", Counter, Measured),
                number(concat!("x_amd_ecc_", $block, "_uncorrected_total"), "count", Counter, Measured),
                number(concat!("x_amd_ecc_", $block, "_deferred_total"), "count", Counter, Measured),
            )*
        ];
    };
}

tables!("athub" "bif" "df" "fuse" "gfx" "hdp" "ih" "jpeg" "mca" "mmhub" "mp0" "mp1" "mpio" "sdma" "sem" "smn" "umc" "vcn" "xgmi_wafl");

/// All names that are read, as they stand after one of these prefixes.
pub(crate) fn names(prefixes: &[&str]) -> Vec<&'static str> {
    let bare = FAMILIES.iter().map(|f| f.name).chain(MEMORY.iter().flat_map(|(new, old, _)| [*new, *old]));
    let bare: Vec<&str> = bare.chain(BLOCKS.iter().map(|(name, _)| *name)).chain(OTHERS.iter().copied()).collect();
    let with = |prefix: &&str| bare.iter().map(|name| &*format!("{prefix}{name}").leak()).collect::<Vec<_>>();
    prefixes.iter().flat_map(with).collect()
}

/// The exporter's own names, and those of its sample configuration.
pub(crate) static PREFIXES: [&str; 2] = ["", "amd_"];
pub(crate) static ASKS: LazyLock<[Ask; 1]> = LazyLock::new(|| [Ask::Rows(names(&PREFIXES).leak(), "")]);
