//! Names of nvidia_gpu_exporter, one a field of `nvidia-smi --query-gpu` in base units, and what they are in the catalogue. Fields were
//! renamed by drivers (`clocks_throttle_reasons` became `clocks_event_reasons`); both names are known.

use std::sync::LazyLock;

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::tables::{Quantity, asked, never_zero, quantity};
use kcloud_collector_sdk::exporter::{Def, number};
use kcloud_collector_sdk::promql::Ask;

pub(crate) const CARD: &[Quantity] = &[
    never_zero(
        &["nvidia_smi_power_draw_watts", "nvidia_smi_power_draw_average_watts", "nvidia_smi_power_draw_instant_watts"],
        "power_watts",
        1.0,
    ),
    never_zero(&["nvidia_smi_enforced_power_limit_watts", "nvidia_smi_power_limit_watts"], "power_limit_watts", 1.0),
    never_zero(&["nvidia_smi_temperature_gpu"], "temperature_celsius", 1.0),
    never_zero(&["nvidia_smi_temperature_memory"], "memory_temperature_celsius", 1.0),
    quantity(&["nvidia_smi_utilization_gpu_ratio"], "utilization_ratio", 1.0),
    quantity(&["nvidia_smi_utilization_memory_ratio"], "memory_bandwidth_ratio", 1.0),
    quantity(&["nvidia_smi_utilization_encoder_ratio"], "encoder_utilization_ratio", 1.0),
    quantity(&["nvidia_smi_utilization_decoder_ratio"], "decoder_utilization_ratio", 1.0),
    never_zero(&["nvidia_smi_memory_total_bytes"], "memory_total_bytes", 1.0),
    quantity(&["nvidia_smi_memory_used_bytes"], "memory_used_bytes", 1.0),
    quantity(&["nvidia_smi_memory_free_bytes"], "memory_free_bytes", 1.0),
    quantity(&["nvidia_smi_memory_reserved_bytes"], "memory_reserved_bytes", 1.0),
    quantity(&["nvidia_smi_clocks_current_sm_clock_hz", "nvidia_smi_clocks_sm_hz"], "clock_sm_hertz", 1.0),
    quantity(&["nvidia_smi_clocks_current_memory_clock_hz", "nvidia_smi_clocks_mem_hz"], "clock_memory_hertz", 1.0),
    quantity(&["nvidia_smi_fan_speed_ratio"], "fan_ratio", 1.0),
    quantity(&["nvidia_smi_ecc_errors_corrected_volatile_total"], "ecc_corrected_total", 1.0),
    quantity(&["nvidia_smi_ecc_errors_uncorrected_volatile_total"], "ecc_uncorrected_total", 1.0),
    quantity(&["nvidia_smi_retired_pages_single_bit_ecc_count", "nvidia_smi_retired_pages_sbe"], "retired_pages_sbe_total", 1.0),
    quantity(&["nvidia_smi_retired_pages_double_bit_count", "nvidia_smi_retired_pages_dbe"], "retired_pages_dbe_total", 1.0),
    quantity(&["nvidia_smi_retired_pages_pending"], "retired_pages_pending", 1.0),
    quantity(&["nvidia_smi_remapped_rows_correctable"], "remapped_rows_correctable_total", 1.0),
    quantity(&["nvidia_smi_remapped_rows_uncorrectable"], "remapped_rows_uncorrectable_total", 1.0),
    quantity(&["nvidia_smi_remapped_rows_failure"], "row_remap_failure", 1.0),
    quantity(&["nvidia_smi_clocks_event_reasons_active", "nvidia_smi_clocks_throttle_reasons_active"], "throttle_reasons", 1.0),
    quantity(&["nvidia_smi_clocks_event_reasons_counters_sw_power_cap_seconds"], "throttle_power_seconds_total", 1.0),
    quantity(&["nvidia_smi_clocks_event_reasons_counters_hw_thermal_slowdown_seconds"], "throttle_thermal_seconds_total", 1.0),
    quantity(&["nvidia_smi_clocks_event_reasons_counters_sync_boost_seconds"], "throttle_sync_boost_seconds_total", 1.0),
];

pub(crate) const INFO: &str = "nvidia_smi_gpu_info";
/// Since which the figures are old: the exporter goes on showing what the last good run of its program said.
pub(crate) const EXIT: &str = "nvidia_smi_command_exit_code";
pub(crate) const SUCCESS: &str = "nvidia_smi_last_collect_success";
pub(crate) const PROCESS: &str = "nvidia_smi_compute_app_info";
pub(crate) const PROCESS_MEMORY: [&str; 2] = ["nvidia_smi_compute_app_used_memory_bytes", "nvidia_smi_compute_app_memory_bytes"];

pub(crate) static ASKS: LazyLock<[Ask; 1]> =
    LazyLock::new(|| [Ask::Rows(asked(CARD, &[INFO, EXIT, SUCCESS, PROCESS, PROCESS_MEMORY[0], PROCESS_MEMORY[1]]), "")]);

pub(crate) const METRICS: &[Def] = &[
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
    number("ecc_corrected_total", "count", Counter, Measured),
    number("ecc_uncorrected_total", "count", Counter, Measured),
    number("retired_pages_sbe_total", "count", Counter, Measured),
    number("retired_pages_dbe_total", "count", Counter, Measured),
    number("retired_pages_pending", "count", Gauge, Measured),
    number("remapped_rows_correctable_total", "count", Counter, Measured),
    number("remapped_rows_uncorrectable_total", "count", Counter, Measured),
    number("row_remap_failure", "count", Gauge, Measured),
    number("throttle_reasons", "count", Gauge, Measured),
    number("throttle_power_seconds_total", "seconds", Counter, Measured),
    number("throttle_thermal_seconds_total", "seconds", Counter, Measured),
    number("throttle_sync_boost_seconds_total", "seconds", Counter, Measured),
];
