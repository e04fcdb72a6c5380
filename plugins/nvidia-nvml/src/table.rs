//! The driver's fields and what they are in the catalogue. Units: NVIDIA's `nvml.h`. Beside the names and units of nvidia-dcgm, so
//! that a card seen by both is one card with one reading of each.

use kcloud_collector_sdk::MetricKind::{self, Counter, Gauge};
use kcloud_collector_sdk::mapping::Row;

const MILLI: f64 = 1e-3;
const PERCENT: f64 = 1e-2;
const MEGA: f64 = 1e6;
/// Nanoseconds.
const NS: f64 = 1e-9;

const fn row(field: &'static [&'static str], metric: &'static str, unit: &'static str, kind: MetricKind, factor: f64) -> Row {
    Row { foreign: field, metric, unit, kind, factor }
}

/// Fields with a number, of whatever part has them.
pub static ROWS: &[Row] = &[
    row(&["power_usage"], "power_watts", "watts", Gauge, MILLI),
    row(&["power_limit_enforced"], "power_limit_watts", "watts", Gauge, MILLI),
    row(&["power_limit_requested"], "x_nvidia_power_limit_requested_watts", "watts", Gauge, MILLI),
    row(&["power_limit_default"], "x_nvidia_power_limit_default_watts", "watts", Gauge, MILLI),
    row(&["power_limit_min"], "x_nvidia_power_limit_min_watts", "watts", Gauge, MILLI),
    row(&["power_limit_max"], "x_nvidia_power_limit_max_watts", "watts", Gauge, MILLI),
    row(&["energy"], "energy_joules", "joules", Counter, MILLI),
    row(&["temperature_gpu"], "temperature_celsius", "celsius", Gauge, 1.0),
    row(&["temperature_memory"], "memory_temperature_celsius", "celsius", Gauge, 1.0),
    row(&["temperature_slowdown"], "slowdown_temperature_celsius", "celsius", Gauge, 1.0),
    row(&["temperature_shutdown"], "shutdown_temperature_celsius", "celsius", Gauge, 1.0),
    row(&["temperature_gpu_max"], "temperature_limit_celsius", "celsius", Gauge, 1.0),
    row(&["temperature_memory_max"], "x_nvidia_memory_temperature_limit_celsius", "celsius", Gauge, 1.0),
    row(&["utilization_gpu"], "utilization_ratio", "ratio", Gauge, PERCENT),
    // Of the time, not of the bandwidth, as DCGM's own.
    row(&["utilization_memory"], "memory_bandwidth_ratio", "ratio", Gauge, PERCENT),
    row(&["utilization_encoder"], "encoder_utilization_ratio", "ratio", Gauge, PERCENT),
    row(&["utilization_decoder"], "decoder_utilization_ratio", "ratio", Gauge, PERCENT),
    row(&["memory_total"], "memory_total_bytes", "bytes", Gauge, 1.0),
    row(&["memory_used"], "memory_used_bytes", "bytes", Gauge, 1.0),
    row(&["memory_free"], "memory_free_bytes", "bytes", Gauge, 1.0),
    row(&["memory_reserved"], "memory_reserved_bytes", "bytes", Gauge, 1.0),
    row(&["clock_sm"], "clock_sm_hertz", "hertz", Gauge, MEGA),
    row(&["clock_memory"], "clock_memory_hertz", "hertz", Gauge, MEGA),
    row(&["clock_graphics"], "x_nvidia_clock_graphics_hertz", "hertz", Gauge, MEGA),
    row(&["clock_video"], "x_nvidia_clock_video_hertz", "hertz", Gauge, MEGA),
    row(&["clock_sm_max"], "x_nvidia_clock_sm_max_hertz", "hertz", Gauge, MEGA),
    row(&["clock_memory_max"], "x_nvidia_clock_memory_max_hertz", "hertz", Gauge, MEGA),
    row(&["fan_speed"], "fan_ratio", "ratio", Gauge, PERCENT),
    // `nvml.h` says KB/s and no more: taken as 1000 bytes.
    row(&["pcie_tx"], "pcie_tx_bytes_per_second", "bytes_per_second", Gauge, 1e3),
    row(&["pcie_rx"], "pcie_rx_bytes_per_second", "bytes_per_second", Gauge, 1e3),
    row(&["pcie_replays"], "pcie_replay_total", "count", Counter, 1.0),
    row(&["pcie_generation"], "x_nvidia_pcie_generation_count", "count", Gauge, 1.0),
    row(&["pcie_generation_max"], "x_nvidia_pcie_generation_max_count", "count", Gauge, 1.0),
    row(&["pcie_width"], "x_nvidia_pcie_lanes_count", "count", Gauge, 1.0),
    row(&["pcie_width_max"], "x_nvidia_pcie_lanes_max_count", "count", Gauge, 1.0),
    row(&["performance_state"], "x_nvidia_performance_state_count", "count", Gauge, 1.0),
    row(&["ecc_corrected"], "ecc_corrected_total", "count", Counter, 1.0),
    row(&["ecc_uncorrected"], "ecc_uncorrected_total", "count", Counter, 1.0),
    row(&["ecc_corrected_aggregate"], "x_nvidia_ecc_corrected_aggregate_total", "count", Counter, 1.0),
    row(&["ecc_uncorrected_aggregate"], "x_nvidia_ecc_uncorrected_aggregate_total", "count", Counter, 1.0),
    row(&["retired_pages_sbe"], "retired_pages_sbe_total", "count", Counter, 1.0),
    row(&["retired_pages_dbe"], "retired_pages_dbe_total", "count", Counter, 1.0),
    row(&["retired_pages_pending"], "retired_pages_pending", "count", Gauge, 1.0),
    row(&["remapped_rows_correctable"], "remapped_rows_correctable_total", "count", Counter, 1.0),
    row(&["remapped_rows_uncorrectable"], "remapped_rows_uncorrectable_total", "count", Counter, 1.0),
    row(&["row_remap_pending"], "x_nvidia_row_remap_pending_count", "count", Gauge, 1.0),
    row(&["row_remap_failure"], "row_remap_failure", "count", Gauge, 1.0),
    row(&["throttle_reasons"], "throttle_reasons", "count", Gauge, 1.0),
    row(&["throttle_power"], "throttle_power_seconds_total", "seconds", Counter, NS),
    row(&["throttle_thermal"], "throttle_thermal_seconds_total", "seconds", Counter, NS),
    row(&["throttle_sync_boost"], "throttle_sync_boost_seconds_total", "seconds", Counter, NS),
    row(&["throttle_board_limit"], "throttle_board_limit_seconds_total", "seconds", Counter, NS),
    row(&["throttle_low_utilization"], "throttle_low_utilization_seconds_total", "seconds", Counter, NS),
    row(&["throttle_reliability"], "throttle_reliability_seconds_total", "seconds", Counter, NS),
    row(&["multiprocessors"], "x_nvidia_multiprocessors_count", "count", Gauge, 1.0),
    row(&["replay_errors"], "nvlink_replay_errors_total", "count", Counter, 1.0),
    row(&["recovery_errors"], "nvlink_recovery_errors_total", "count", Counter, 1.0),
    row(&["crc_flit_errors"], "nvlink_crc_flit_errors_total", "count", Counter, 1.0),
    row(&["crc_data_errors"], "nvlink_crc_data_errors_total", "count", Counter, 1.0),
    // Of XIDs only what was heard since the host listens is known: said once there was one.
    row(&["xid"], "xid_last", "count", Gauge, 1.0),
];

/// Fields that are no numbers of the table, by the kind of part.
pub const OTHERS: &[&str] = &[
    "driver.driver_version",
    "driver.cuda_version",
    "card.uuid",
    "card.pci_address",
    "card.minor_number",
    "card.name",
    "card.serial",
    "card.part_number",
    "card.vbios_version",
    "card.mig_mode",
    "card.ecc_mode",
    "mig.name",
    "mig.memory_total",
    "mig.memory_used",
    "mig.memory_free",
    "mig.memory_reserved",
    "mig.multiprocessors",
];

pub const LINK: &[&str] = &[
    "link.active",
    "link.version",
    "link.remote_pci_address",
    "link.replay_errors",
    "link.recovery_errors",
    "link.crc_flit_errors",
    "link.crc_data_errors",
];

pub const PROCESS: &[&str] = &[
    "process.pid",
    "process.type",
    "process.memory_used",
    "process.process_name",
    "process.container_id",
    "process.pod_uid",
    "process.namespace",
    "process.pod",
    "process.container",
];

/// Fields of the table that are no card's.
const OF_PARTS: [&str; 6] = ["multiprocessors", "replay_errors", "recovery_errors", "crc_flit_errors", "crc_data_errors", "xid"];

/// Names of the card's own numbers.
pub fn of_card() -> impl Iterator<Item = &'static str> {
    ROWS.iter().flat_map(|r| r.foreign).copied().filter(|f| !OF_PARTS.contains(f))
}
