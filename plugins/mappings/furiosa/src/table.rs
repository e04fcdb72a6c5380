//! Names of furiosa-metrics-exporter and what they are in the catalogue.

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::{Derived, Measured};
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

/// What rows of a family are of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The whole card, on a row for each range of cores that is given out.
    Card,
    /// The whole card; the label `label` says which quantity.
    Labelled,
    /// One core.
    Core,
}

pub(crate) struct Family {
    pub name: &'static str,
    pub of: Of,
    /// Value of `label` and metric; for others one metric, whatever the label.
    pub metrics: &'static [(&'static str, &'static str)],
    pub factor: f64,
}

const fn family(name: &'static str, of: Of, factor: f64, metrics: &'static [(&'static str, &'static str)]) -> Family {
    Family { name, of, metrics, factor }
}

pub(crate) const FAMILIES: &[Family] = &[
    family("furiosa_npu_alive", Of::Card, 1.0, &[("", "health")]),
    family(
        "furiosa_npu_hw_temperature",
        Of::Labelled,
        1.0,
        &[("peak", "temperature_celsius"), ("soc_peak", "temperature_celsius"), ("ambient", "x_furiosa_ambient_celsius")],
    ),
    family("furiosa_npu_hw_power", Of::Labelled, 1.0, &[("rms", "power_watts")]),
    family("furiosa_npu_dram_usage", Of::Card, 1.0, &[("", "memory_used_bytes")]),
    family("furiosa_npu_dram_total", Of::Card, 1.0, &[("", "memory_total_bytes")]),
    family("furiosa_npu_core_utilization", Of::Core, 0.01, &[("", "utilization_ratio")]),
    family("furiosa_npu_core_frequency", Of::Core, 1e6, &[("", "clock_sm_hertz")]),
    family("furiosa_npu_total_cycle_count", Of::Core, 1.0, &[("", "x_furiosa_cycles_total")]),
    family("furiosa_npu_task_execution_cycle", Of::Core, 1.0, &[("", "x_furiosa_task_cycles_total")]),
    family(
        "furiosa_npu_throttling_events_count",
        Of::Labelled,
        1.0,
        &[
            ("idle", "x_furiosa_throttle_idle_total"),
            ("thermal_slowdown", "x_furiosa_throttle_thermal_slowdown_total"),
            ("app_power_cap", "x_furiosa_throttle_app_power_cap_total"),
            ("app_clock_cap", "x_furiosa_throttle_app_clock_cap_total"),
            ("hw_clock_cap", "x_furiosa_throttle_hw_clock_cap_total"),
            ("hw_bus_limit", "x_furiosa_throttle_hw_bus_limit_total"),
            ("hw_power_cap", "x_furiosa_throttle_hw_power_cap_total"),
            ("other_reason", "x_furiosa_throttle_other_reason_total"),
        ],
    ),
    family("furiosa_npu_error", Of::Labelled, 1.0, &[]),
];

pub(crate) const METRICS: &[Def] = &[
    state("health", &["ok", "critical"]),
    number("power_watts", "watts", Gauge, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("x_furiosa_ambient_celsius", "celsius", Gauge, Measured),
    number("memory_used_bytes", "bytes", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    // Of a core; of a card or a range the mean over its cores.
    number("utilization_ratio", "ratio", Gauge, Measured),
    number("utilization_ratio", "ratio", Gauge, Derived),
    number("clock_sm_hertz", "hertz", Gauge, Measured),
    number("clock_sm_hertz", "hertz", Gauge, Derived),
    number("x_furiosa_cycles_total", "count", Counter, Measured),
    number("x_furiosa_task_cycles_total", "count", Counter, Measured),
    number("x_furiosa_throttle_idle_total", "count", Counter, Measured),
    number("x_furiosa_throttle_thermal_slowdown_total", "count", Counter, Measured),
    number("x_furiosa_throttle_app_power_cap_total", "count", Counter, Measured),
    number("x_furiosa_throttle_app_clock_cap_total", "count", Counter, Measured),
    number("x_furiosa_throttle_hw_clock_cap_total", "count", Counter, Measured),
    number("x_furiosa_throttle_hw_bus_limit_total", "count", Counter, Measured),
    number("x_furiosa_throttle_hw_power_cap_total", "count", Counter, Measured),
    number("x_furiosa_throttle_other_reason_total", "count", Counter, Measured),
];

const NAMES: [&str; FAMILIES.len()] = {
    let mut names = [""; FAMILIES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = FAMILIES[at].name;
        at += 1;
    }
    names
};

pub(crate) const ASKS: &[Ask] = &[Ask::Rows(&NAMES, "")];
