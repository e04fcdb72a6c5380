//! DCGM's names, before and from 4.6, and what they are in the catalogue. Units: NVIDIA's `dcgm_fields.h`.

use kcloud_collector_sdk::MetricKind::{self, Counter, Gauge};
use kcloud_collector_sdk::mapping::Row;

const MIB: f64 = 1_048_576.0;
/// Nanoseconds.
const NS: f64 = 1e-9;

const fn row(metric: &'static str, unit: &'static str, kind: MetricKind, factor: f64, foreign: &'static [&'static str]) -> Row {
    Row { foreign, metric, unit, kind, factor }
}

pub static ROWS: &[Row] = &[
    row("power_watts", "watts", Gauge, 1.0, &["DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS"]),
    row(
        "power_limit_watts",
        "watts",
        Gauge,
        1.0,
        &[
            "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
            "DCGM_FI_DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS",
            "DCGM_FI_DEV_POWER_MGMT_LIMIT",
            "DCGM_FI_DEV_BOARD_POWER_LIMIT_REQUESTED_WATTS",
        ],
    ),
    row("energy_joules", "joules", Counter, 0.001, &["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"]),
    row("temperature_celsius", "celsius", Gauge, 1.0, &["DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS"]),
    row("memory_temperature_celsius", "celsius", Gauge, 1.0, &["DCGM_FI_DEV_MEMORY_TEMP", "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS"]),
    row("slowdown_temperature_celsius", "celsius", Gauge, 1.0, &["DCGM_FI_DEV_SLOWDOWN_TEMP", "DCGM_FI_DEV_GPU_TEMP_SLOWDOWN_CELSIUS"]),
    row("shutdown_temperature_celsius", "celsius", Gauge, 1.0, &["DCGM_FI_DEV_SHUTDOWN_TEMP", "DCGM_FI_DEV_GPU_TEMP_SHUTDOWN_CELSIUS"]),
    row("temperature_limit_celsius", "celsius", Gauge, 1.0, &["DCGM_FI_DEV_GPU_MAX_OP_TEMP", "DCGM_FI_DEV_GPU_MAX_OP_TEMP_CELSIUS"]),
    // "RATIO" in the new name, 0 to 100 in the value.
    row("utilization_ratio", "ratio", Gauge, 0.01, &["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO"]),
    row("memory_bandwidth_ratio", "ratio", Gauge, 0.01, &["DCGM_FI_DEV_MEM_COPY_UTIL"]),
    row("encoder_utilization_ratio", "ratio", Gauge, 0.01, &["DCGM_FI_DEV_ENC_UTIL"]),
    row("decoder_utilization_ratio", "ratio", Gauge, 0.01, &["DCGM_FI_DEV_DEC_UTIL"]),
    row("memory_used_bytes", "bytes", Gauge, MIB, &["DCGM_FI_DEV_FB_USED"]),
    row("memory_free_bytes", "bytes", Gauge, MIB, &["DCGM_FI_DEV_FB_FREE"]),
    row("memory_reserved_bytes", "bytes", Gauge, MIB, &["DCGM_FI_DEV_FB_RESERVED"]),
    row("memory_total_bytes", "bytes", Gauge, MIB, &["DCGM_FI_DEV_FB_TOTAL"]),
    row("clock_sm_hertz", "hertz", Gauge, 1e6, &["DCGM_FI_DEV_SM_CLOCK"]),
    row("clock_memory_hertz", "hertz", Gauge, 1e6, &["DCGM_FI_DEV_MEM_CLOCK"]),
    // Percent, not revolutions.
    row("fan_ratio", "ratio", Gauge, 0.01, &["DCGM_FI_DEV_FAN_SPEED"]),
    row("xid_last", "count", Gauge, 1.0, &["DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_XID_ERROR"]),
    row("ecc_corrected_total", "count", Counter, 1.0, &["DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"]),
    row("ecc_uncorrected_total", "count", Counter, 1.0, &["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"]),
    row("pcie_replay_total", "count", Counter, 1.0, &["DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "DCGM_FI_DEV_PCIE_REPLAY_TOTAL"]),
    row("retired_pages_sbe_total", "count", Counter, 1.0, &["DCGM_FI_DEV_RETIRED_SBE", "DCGM_FI_DEV_PAGE_RETIRED_SBE_TOTAL"]),
    row("retired_pages_dbe_total", "count", Counter, 1.0, &["DCGM_FI_DEV_RETIRED_DBE", "DCGM_FI_DEV_PAGE_RETIRED_DBE_TOTAL"]),
    row("retired_pages_pending", "count", Gauge, 1.0, &["DCGM_FI_DEV_RETIRED_PENDING", "DCGM_FI_DEV_PAGE_RETIRED_PENDING"]),
    row(
        "remapped_rows_uncorrectable_total",
        "count",
        Counter,
        1.0,
        &["DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_ROW_REMAP_UNCORRECTABLE_TOTAL"],
    ),
    row(
        "remapped_rows_correctable_total",
        "count",
        Counter,
        1.0,
        &["DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_ROW_REMAP_CORRECTABLE_TOTAL"],
    ),
    row("row_remap_failure", "count", Gauge, 1.0, &["DCGM_FI_DEV_ROW_REMAP_FAILURE", "DCGM_FI_DEV_ROW_REMAP_FAILED"]),
    row("nvlink_total", "count", Counter, 1.0, &["DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "DCGM_FI_DEV_NVLINK_THROUGHPUT_TOTAL"]),
    row(
        "nvlink_crc_flit_errors_total",
        "count",
        Counter,
        1.0,
        &["DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_TOTAL"],
    ),
    row(
        "nvlink_crc_data_errors_total",
        "count",
        Counter,
        1.0,
        &["DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_TOTAL"],
    ),
    row(
        "nvlink_replay_errors_total",
        "count",
        Counter,
        1.0,
        &["DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_TOTAL"],
    ),
    row(
        "nvlink_recovery_errors_total",
        "count",
        Counter,
        1.0,
        &["DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_TOTAL"],
    ),
    row("throttle_power_seconds_total", "seconds", Counter, NS, &["DCGM_FI_DEV_POWER_VIOLATION"]),
    row("throttle_thermal_seconds_total", "seconds", Counter, NS, &["DCGM_FI_DEV_THERMAL_VIOLATION"]),
    row("throttle_sync_boost_seconds_total", "seconds", Counter, NS, &["DCGM_FI_DEV_SYNC_BOOST_VIOLATION"]),
    row("throttle_board_limit_seconds_total", "seconds", Counter, NS, &["DCGM_FI_DEV_BOARD_LIMIT_VIOLATION"]),
    row("throttle_low_utilization_seconds_total", "seconds", Counter, NS, &["DCGM_FI_DEV_LOW_UTIL_VIOLATION"]),
    row("throttle_reliability_seconds_total", "seconds", Counter, NS, &["DCGM_FI_DEV_RELIABILITY_VIOLATION"]),
    row("throttle_reasons", "count", Gauge, 1.0, &["DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "DCGM_FI_DEV_CLOCKS_EVENT_REASONS"]),
    row("sm_active_ratio", "ratio", Gauge, 1.0, &["DCGM_FI_PROF_SM_ACTIVE", "DCGM_FI_PROF_SM_UTIL_RATIO"]),
    row("sm_occupancy_ratio", "ratio", Gauge, 1.0, &["DCGM_FI_PROF_SM_OCCUPANCY", "DCGM_FI_PROF_SM_OCCUPANCY_RATIO"]),
    row("tensor_active_ratio", "ratio", Gauge, 1.0, &["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "DCGM_FI_PROF_TENSOR_UTIL_RATIO"]),
    row("dram_active_ratio", "ratio", Gauge, 1.0, &["DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_DRAM_UTIL_RATIO"]),
    row("fp64_active_ratio", "ratio", Gauge, 1.0, &["DCGM_FI_PROF_PIPE_FP64_ACTIVE", "DCGM_FI_PROF_FP64_UTIL_RATIO"]),
    row("fp32_active_ratio", "ratio", Gauge, 1.0, &["DCGM_FI_PROF_PIPE_FP32_ACTIVE", "DCGM_FI_PROF_FP32_UTIL_RATIO"]),
    row("fp16_active_ratio", "ratio", Gauge, 1.0, &["DCGM_FI_PROF_PIPE_FP16_ACTIVE", "DCGM_FI_PROF_FP16_UTIL_RATIO"]),
    row("pcie_tx_bytes_per_second", "bytes_per_second", Gauge, 1.0, &["DCGM_FI_PROF_PCIE_TX_BYTES"]),
    row("pcie_rx_bytes_per_second", "bytes_per_second", Gauge, 1.0, &["DCGM_FI_PROF_PCIE_RX_BYTES"]),
];

// `Reader` keeps a bit for each row of each subject.
const _: () = assert!(ROWS.len() <= 128);

/// Busy share of the engine: the only utilisation that a MIG instance has.
pub const ENGINE: [&str; 2] = ["DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO"];

/// Measured on an instance itself; every other row of an instance repeats the whole card.
pub(crate) fn is_per_instance(metric: &str) -> bool {
    metric.starts_with("memory_") && !metric.contains("temperature") && !metric.contains("bandwidth")
        || matches!(
            metric,
            "sm_active_ratio"
                | "sm_occupancy_ratio"
                | "tensor_active_ratio"
                | "dram_active_ratio"
                | "fp64_active_ratio"
                | "fp32_active_ratio"
                | "fp16_active_ratio"
        )
}
