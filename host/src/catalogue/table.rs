//! The known metrics, sorted by name. Names follow `tables/canonical-map` in base units.

use super::{Combine, Kind};

/// One known metric.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub unit: &'static str,
    pub kind: Kind,
    /// A reading outside is nonsense of the source: it becomes a gap and is counted.
    pub range: (f64, f64),
    pub combine: Combine,
}

const fn m(name: &'static str, unit: &'static str, kind: Kind, low: f64, high: f64, combine: Combine) -> Metric {
    Metric { name, unit, kind, range: (low, high), combine }
}

use Combine::{Average, Maximum, None, Sum};
use Kind::{Counter, Gauge};

// Bounds: no single board draws 10 kW, no server rack 1 MW; silicon does not run below -60 or above 250 degrees;
// a counter of bytes or joules ends where f64 stops being exact.
const WATTS: f64 = 1e6;
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Sorted by name; a test holds it so.
pub static METRICS: &[Metric] = &[
    m("clock_memory_hertz", "hertz", Gauge, 0.0, 1e11, Average),
    m("clock_sm_hertz", "hertz", Gauge, 0.0, 1e11, Average),
    m("decoder_utilization_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("dram_active_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("ecc_corrected_total", "count", Counter, 0.0, EXACT, Sum),
    m("ecc_uncorrected_total", "count", Counter, 0.0, EXACT, Sum),
    m("encoder_utilization_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("energy_joules", "joules", Counter, 0.0, EXACT, Sum),
    m("fan_ratio", "ratio", Gauge, 0.0, 1.5, Average),
    m("fp16_active_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("fp32_active_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("fp64_active_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("memory_bandwidth_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("memory_free_bytes", "bytes", Gauge, 0.0, 1e15, Sum),
    m("memory_reserved_bytes", "bytes", Gauge, 0.0, 1e15, Sum),
    m("memory_temperature_celsius", "celsius", Gauge, -60.0, 250.0, Maximum),
    m("memory_total_bytes", "bytes", Gauge, 0.0, 1e15, Sum),
    m("memory_used_bytes", "bytes", Gauge, 0.0, 1e15, Sum),
    m("nvlink_crc_data_errors_total", "count", Counter, 0.0, EXACT, Sum),
    m("nvlink_crc_flit_errors_total", "count", Counter, 0.0, EXACT, Sum),
    m("nvlink_recovery_errors_total", "count", Counter, 0.0, EXACT, Sum),
    m("nvlink_replay_errors_total", "count", Counter, 0.0, EXACT, Sum),
    m("nvlink_total", "count", Counter, 0.0, EXACT, None),
    m("pcie_replay_total", "count", Counter, 0.0, EXACT, Sum),
    m("pcie_rx_bytes_per_second", "bytes_per_second", Gauge, 0.0, 1e13, Sum),
    m("pcie_tx_bytes_per_second", "bytes_per_second", Gauge, 0.0, 1e13, Sum),
    m("power_limit_watts", "watts", Gauge, 0.0, WATTS, Sum),
    m("power_watts", "watts", Gauge, 0.0, WATTS, Sum),
    m("remapped_rows_correctable_total", "count", Counter, 0.0, EXACT, Sum),
    m("remapped_rows_uncorrectable_total", "count", Counter, 0.0, EXACT, Sum),
    m("retired_pages_dbe_total", "count", Counter, 0.0, EXACT, Sum),
    m("retired_pages_pending", "count", Gauge, 0.0, 1e9, Sum),
    m("retired_pages_sbe_total", "count", Counter, 0.0, EXACT, Sum),
    m("row_remap_failure", "count", Gauge, 0.0, 1.0, Maximum),
    m("shutdown_temperature_celsius", "celsius", Gauge, -60.0, 250.0, None),
    m("slowdown_temperature_celsius", "celsius", Gauge, -60.0, 250.0, None),
    m("sm_active_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("sm_occupancy_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("temperature_celsius", "celsius", Gauge, -60.0, 250.0, Maximum),
    m("temperature_limit_celsius", "celsius", Gauge, -60.0, 250.0, None),
    m("tensor_active_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("throttle_board_limit_seconds_total", "seconds", Counter, 0.0, EXACT, Sum),
    m("throttle_low_utilization_seconds_total", "seconds", Counter, 0.0, EXACT, Sum),
    m("throttle_power_seconds_total", "seconds", Counter, 0.0, EXACT, Sum),
    m("throttle_reasons", "count", Gauge, 0.0, EXACT, None),
    m("throttle_reliability_seconds_total", "seconds", Counter, 0.0, EXACT, Sum),
    m("throttle_sync_boost_seconds_total", "seconds", Counter, 0.0, EXACT, Sum),
    m("throttle_thermal_seconds_total", "seconds", Counter, 0.0, EXACT, Sum),
    m("utilization_ratio", "ratio", Gauge, 0.0, 1.0, Average),
    m("xid_last", "count", Gauge, 0.0, 1e6, None),
];
