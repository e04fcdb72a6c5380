//! Names of ipmi_exporter (from 1.0 on) and what they are in the catalogue.

use kcloud_collector_sdk::MetricKind::Gauge;
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

pub(crate) const ASKS: &[Ask] = &[Ask::Rows(
    &[
        "ipmi_up",
        "ipmi_dcmi_power_consumption_watts",
        "ipmi_bmc_info",
        "ipmi_chassis_power_state",
        "ipmi_chassis_cooling_fault_state",
        "ipmi_chassis_drive_fault_state",
        "ipmi_temperature_celsius",
        "ipmi_temperature_state",
        "ipmi_fan_speed_rpm",
        "ipmi_fan_speed_ratio",
        "ipmi_fan_speed_state",
        "ipmi_voltage_volts",
        "ipmi_voltage_state",
        "ipmi_current_amperes",
        "ipmi_current_state",
        "ipmi_power_watts",
        "ipmi_power_state",
        "ipmi_sensor_value",
        "ipmi_sensor_state",
        "ipmi_sel_logs_count",
        "ipmi_sel_free_space_bytes",
        "ipmi_sel_events_count_by_state",
        "ipmi_sel_events_count_by_name",
        "ipmi_sel_events_latest_timestamp",
    ],
    "",
)];

/// By the exporter's number.
pub(crate) const STATES: [&str; 3] = ["nominal", "warning", "critical"];

pub(crate) const METRICS: &[Def] = &[
    number("power_watts", "watts", Gauge, Measured),
    number("power_input_watts", "watts", Gauge, Measured),
    number("power_output_watts", "watts", Gauge, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("fan_speed_rpm", "rpm", Gauge, Measured),
    number("fan_ratio", "ratio", Gauge, Measured),
    number("voltage_volts", "volts", Gauge, Measured),
    number("current_amperes", "amperes", Gauge, Measured),
    number("reading_value", "sensor", Gauge, Measured),
    state("sensor_state", &STATES),
    state("power_state", &["on", "off", "unknown"]),
    state("health", &["ok", "critical"]),
    number("x_ipmi_sel_count", "count", Gauge, Measured),
    number("x_ipmi_sel_free_bytes", "bytes", Gauge, Measured),
    number("x_ipmi_sel_nominal_count", "count", Gauge, Measured),
    number("x_ipmi_sel_warning_count", "count", Gauge, Measured),
    number("x_ipmi_sel_critical_count", "count", Gauge, Measured),
];

pub(crate) const LOG: &[(&str, &str)] =
    &[("ipmi_sel_logs_count", "x_ipmi_sel_count"), ("ipmi_sel_free_space_bytes", "x_ipmi_sel_free_bytes")];

/// Sensors of one unit.
pub(crate) struct Family {
    pub values: &'static str,
    pub states: &'static str,
    pub kind: &'static str,
    pub sensor_type: &'static str,
    pub metric: &'static str,
}

impl Family {
    /// Whether a supply has such a reading: its temperature and its fan are sensors like others.
    pub(crate) fn is_of_supplies(&self) -> bool {
        matches!(self.metric, "power_watts" | "voltage_volts" | "current_amperes")
    }
}

const fn family(values: &'static str, states: &'static str, kind: &'static str, sensor_type: &'static str, metric: &'static str) -> Family {
    Family { values, states, kind, sensor_type, metric }
}

/// Power first: its sensors name the supplies best.
pub(crate) const FAMILIES: &[Family] = &[
    family("ipmi_power_watts", "ipmi_power_state", "sensor", "power", "power_watts"),
    family("ipmi_temperature_celsius", "ipmi_temperature_state", "sensor", "temperature", "temperature_celsius"),
    family("ipmi_fan_speed_rpm", "ipmi_fan_speed_state", "fan", "fan", "fan_speed_rpm"),
    family("ipmi_fan_speed_ratio", "ipmi_fan_speed_state", "fan", "fan", "fan_ratio"),
    family("ipmi_voltage_volts", "ipmi_voltage_state", "sensor", "voltage", "voltage_volts"),
    family("ipmi_current_amperes", "ipmi_current_state", "sensor", "current", "current_amperes"),
];
