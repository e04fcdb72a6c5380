//! Names of both generations of Intel's exporters and what they are in the catalogue. None of the first (`xpum_*`, XPU Manager 1.x)
//! survives in the second (`hw_*`, xpumd 2.x, whose names OpenTelemetry gives to any hardware).

use std::sync::LazyLock;

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::{Derived, Measured};
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

const MHZ: f64 = 1e6;

/// How a card's figure comes of its tiles', where the exporter says none of the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    Sum,
    Mean,
    Most,
    /// It does not.
    Never,
}

/// One quantity: rows of these names that carry these labels.
pub(crate) struct Family {
    pub names: &'static [&'static str],
    /// Labels and the values that they may have; one that is absent fits where `""` is among them.
    pub only: &'static [(&'static str, &'static [&'static str])],
    pub metric: &'static str,
    pub factor: f64,
    pub zero_is_nothing: bool,
    pub whole: Whole,
}

const fn family(
    names: &'static [&'static str],
    only: &'static [(&'static str, &'static [&'static str])],
    metric: &'static str,
    factor: f64,
    whole: Whole,
) -> Family {
    Family { names, only, metric, factor, zero_is_nothing: false, whole }
}

/// The same of what is never 0.
const fn sensor(
    names: &'static [&'static str],
    only: &'static [(&'static str, &'static [&'static str])],
    metric: &'static str,
    whole: Whole,
) -> Family {
    Family { zero_is_nothing: true, ..family(names, only, metric, 1.0, whole) }
}

use Whole::{Mean, Most, Never, Sum};

const DEVICE: (&str, &[&str]) = ("hw_memory_location", &["", "device"]);

pub(crate) const FAMILIES: &[Family] = &[
    sensor(&["xpum_power_watts"], &[], "power_watts", Never),
    // Of the card itself first; a sensor of the package is the chip's, and less.
    sensor(&["hw_power_watts"], &[("hw_sensor_location", &["", "card"])], "power_watts", Never),
    sensor(&["hw_power_watts"], &[("hw_sensor_location", &["package", "gpu"])], "power_watts", Never),
    sensor(
        &["hw_power_limit_watts"],
        &[("hw_sensor_location", &["", "card"]), ("com_intel_power_limit_level", &["", "sustained"])],
        "power_limit_watts",
        Never,
    ),
    sensor(&["xpum_energy_joules", "xpum_energy_joules_total"], &[], "energy_joules", Never),
    sensor(&["hw_energy_joules_total"], &[("hw_sensor_location", &["", "card"])], "energy_joules", Never),
    sensor(&["hw_energy_joules_total"], &[("hw_sensor_location", &["package", "gpu"])], "energy_joules", Never),
    sensor(&["xpum_temperature_celsius"], &[("location", &["", "gpu"])], "temperature_celsius", Most),
    sensor(&["xpum_temperature_celsius"], &[("location", &["mem", "memory"])], "memory_temperature_celsius", Most),
    sensor(&["hw_temperature_celsius"], &[("hw_sensor_location", &["", "gpu"]), ("statistic", &["", "max"])], "temperature_celsius", Most),
    sensor(
        &["hw_temperature_celsius"],
        &[("hw_sensor_location", &["memory"]), ("statistic", &["", "max"])],
        "memory_temperature_celsius",
        Most,
    ),
    sensor(
        &["hw_temperature_celsius"],
        &[("hw_sensor_location", &["", "gpu"]), ("statistic", &["min"])],
        "x_intel_temperature_min_celsius",
        Never,
    ),
    family(&["xpum_engine_ratio"], &[], "utilization_ratio", 1.0, Mean),
    family(&["hw_gpu_utilization_ratio"], &[("hw_gpu_task", &["", "all"])], "utilization_ratio", 1.0, Mean),
    family(&["xpum_memory_used_bytes"], &[], "memory_used_bytes", 1.0, Sum),
    family(&["hw_memory_usage_bytes"], &[DEVICE], "memory_used_bytes", 1.0, Sum),
    family(&["hw_memory_free_bytes"], &[DEVICE], "memory_free_bytes", 1.0, Sum),
    sensor(&["hw_memory_size_bytes"], &[DEVICE], "memory_total_bytes", Sum),
    family(&["xpum_memory_bandwidth_ratio"], &[], "memory_bandwidth_ratio", 1.0, Mean),
    family(&["hw_memory_bandwidth_utilization_ratio"], &[DEVICE], "memory_bandwidth_ratio", 1.0, Mean),
    family(&["xpum_frequency_mhz"], &[("location", &["", "gpu"]), ("type", &["", "actual"])], "clock_sm_hertz", MHZ, Mean),
    family(&["hw_frequency_hertz"], &[("hw_frequency_domain", &["", "gpu"]), ("aggregation", &["", "avg"])], "clock_sm_hertz", 1.0, Mean),
    family(
        &["hw_frequency_hertz"],
        &[("hw_frequency_domain", &["memory"]), ("aggregation", &["", "avg"])],
        "clock_memory_hertz",
        1.0,
        Mean,
    ),
    family(&["xpum_cache_errors", "xpum_cache_errors_total"], &[("type", &["correctable"])], "ecc_corrected_total", 1.0, Sum),
    family(&["xpum_cache_errors", "xpum_cache_errors_total"], &[("type", &["uncorrectable"])], "ecc_uncorrected_total", 1.0, Sum),
    family(&["xpum_resets", "xpum_resets_total"], &[], "x_intel_resets_total", 1.0, Sum),
    family(&["xpum_driver_errors", "xpum_driver_errors_total"], &[], "x_intel_driver_errors_total", 1.0, Sum),
    family(&["xpum_programming_errors", "xpum_programming_errors_total"], &[], "x_intel_programming_errors_total", 1.0, Sum),
    family(&["xpum_pcie_read_bytes", "xpum_pcie_read_bytes_total"], &[], "x_intel_pcie_read_bytes_total", 1.0, Never),
    family(&["xpum_pcie_write_bytes", "xpum_pcie_write_bytes_total"], &[], "x_intel_pcie_write_bytes_total", 1.0, Never),
    family(&["hw_gpu_io_bytes_total"], &[("network_io_direction", &["receive"])], "x_intel_pcie_read_bytes_total", 1.0, Never),
    family(&["hw_gpu_io_bytes_total"], &[("network_io_direction", &["transmit"])], "x_intel_pcie_write_bytes_total", 1.0, Never),
    family(&["xpum_eu_active_ratio"], &[], "sm_active_ratio", 1.0, Mean),
    family(&["xpum_engine_group_ratio"], &[("type", &["compute"])], "x_intel_engine_compute_ratio", 1.0, Mean),
    family(&["xpum_engine_group_ratio"], &[("type", &["copy"])], "x_intel_engine_copy_ratio", 1.0, Mean),
    family(&["xpum_engine_group_ratio"], &[("type", &["media"])], "x_intel_engine_media_ratio", 1.0, Mean),
    family(&["xpum_engine_group_ratio"], &[("type", &["render"])], "x_intel_engine_render_ratio", 1.0, Mean),
    family(&["xpum_engine_group_ratio"], &[("type", &["3d"])], "x_intel_engine_3d_ratio", 1.0, Mean),
    family(&["hw_gpu_utilization_ratio"], &[("hw_gpu_task", &["compute-all"])], "x_intel_engine_compute_ratio", 1.0, Mean),
    family(&["hw_gpu_utilization_ratio"], &[("hw_gpu_task", &["copy-all"])], "x_intel_engine_copy_ratio", 1.0, Mean),
    family(&["hw_gpu_utilization_ratio"], &[("hw_gpu_task", &["media-all"])], "x_intel_engine_media_ratio", 1.0, Mean),
    family(&["hw_gpu_utilization_ratio"], &[("hw_gpu_task", &["render-all", "render"])], "x_intel_engine_render_ratio", 1.0, Mean),
];

/// From used memory and its share, of which the first generation says no whole.
pub(crate) const SHARE: &str = "xpum_memory_ratio";
pub(crate) const INFO: &str = "hw_gpu_info";
pub(crate) const STATUS: &str = "hw_status";
pub(crate) const ERRORS: [&str; 2] = ["hw_errors_total", "hw_errors"];

pub(crate) static ASKS: LazyLock<[Ask; 1]> = LazyLock::new(|| {
    let mut names: Vec<&str> = FAMILIES.iter().flat_map(|f| f.names).copied().chain([SHARE, INFO, STATUS]).chain(ERRORS).collect();
    names.sort_unstable();
    names.dedup();
    [Ask::Rows(names.leak(), "")]
});

/// A metric that a card has of itself or of its tiles.
macro_rules! metrics {
    (both: $($name:literal $unit:literal $kind:ident)*; measured: $($own:literal $own_unit:literal $own_kind:ident)*) => {
        pub(crate) const METRICS: &[Def] = &[
            $(number($name, $unit, $kind, Measured), number($name, $unit, $kind, Derived),)*
            $(number($own, $own_unit, $own_kind, Measured),)*
            state("health", &["ok", "warning", "critical", "unknown"]),
        ];
    };
}

metrics! {
    both:
        "temperature_celsius" "celsius" Gauge
        "memory_temperature_celsius" "celsius" Gauge
        "utilization_ratio" "ratio" Gauge
        "memory_total_bytes" "bytes" Gauge
        "memory_used_bytes" "bytes" Gauge
        "memory_free_bytes" "bytes" Gauge
        "memory_bandwidth_ratio" "ratio" Gauge
        "clock_sm_hertz" "hertz" Gauge
        "clock_memory_hertz" "hertz" Gauge
        "sm_active_ratio" "ratio" Gauge
        "ecc_corrected_total" "count" Counter
        "ecc_uncorrected_total" "count" Counter
        "x_intel_resets_total" "count" Counter
        "x_intel_driver_errors_total" "count" Counter
        "x_intel_programming_errors_total" "count" Counter
        "x_intel_errors_corrected_total" "count" Counter
        "x_intel_errors_uncorrected_total" "count" Counter
        "x_intel_engine_compute_ratio" "ratio" Gauge
        "x_intel_engine_copy_ratio" "ratio" Gauge
        "x_intel_engine_media_ratio" "ratio" Gauge
        "x_intel_engine_render_ratio" "ratio" Gauge
        "x_intel_engine_3d_ratio" "ratio" Gauge;
    measured:
        "power_watts" "watts" Gauge
        "power_limit_watts" "watts" Gauge
        "energy_joules" "joules" Counter
        "x_intel_temperature_min_celsius" "celsius" Gauge
        "x_intel_pcie_read_bytes_total" "bytes" Counter
        "x_intel_pcie_write_bytes_total" "bytes" Counter
}
