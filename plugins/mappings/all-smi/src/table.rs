//! Names of all-smi's API (to 0.25) and what they are in the catalogue. `all_smi_` stands before each.

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::{Def, number};
use kcloud_collector_sdk::promql::Ask;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Card,
    /// A MIG instance or a vGPU.
    Part,
    Process,
    Node,
}

pub(crate) struct Family {
    pub name: &'static str,
    pub metric: &'static str,
    pub factor: f64,
    pub of: Of,
    /// Where 0 cannot be: what reads so has no reading.
    pub is_positive: bool,
}

const fn family(name: &'static str, metric: &'static str, factor: f64, of: Of, is_positive: bool) -> Family {
    Family { name, metric, factor, of, is_positive }
}

use Of::{Card, Node, Part, Process};

pub(crate) const FAMILIES: &[Family] = &[
    family("all_smi_gpu_power_consumption_watts", "power_watts", 1.0, Card, true),
    family("all_smi_gpu_power_limit_current_watts", "power_limit_watts", 1.0, Card, true),
    family("all_smi_gpu_power_limit_max_watts", "power_limit_watts", 1.0, Card, true),
    family("all_smi_energy_consumed_joules_total", "energy_joules", 1.0, Card, false),
    family("all_smi_gpu_temperature_celsius", "temperature_celsius", 1.0, Card, true),
    family("all_smi_gpu_temperature_threshold_slowdown_celsius", "slowdown_temperature_celsius", 1.0, Card, true),
    family("all_smi_gpu_temperature_threshold_shutdown_celsius", "shutdown_temperature_celsius", 1.0, Card, true),
    family("all_smi_gpu_temperature_threshold_max_operating_celsius", "temperature_limit_celsius", 1.0, Card, true),
    family("all_smi_gpu_utilization", "utilization_ratio", 0.01, Card, false),
    family("all_smi_gpu_memory_bandwidth_utilization", "memory_bandwidth_ratio", 0.01, Card, false),
    family("all_smi_gpu_memory_used_bytes", "memory_used_bytes", 1.0, Card, false),
    family("all_smi_gpu_memory_total_bytes", "memory_total_bytes", 1.0, Card, true),
    family("all_smi_gpu_frequency_mhz", "clock_sm_hertz", 1e6, Card, true),
    family("all_smi_gpu_fan_speed_rpm", "fan_speed_rpm", 1.0, Card, false),
    family("all_smi_mig_instance_memory_used_bytes", "memory_used_bytes", 1.0, Part, false),
    family("all_smi_mig_instance_memory_total_bytes", "memory_total_bytes", 1.0, Part, true),
    family("all_smi_mig_instance_utilization_gpu", "utilization_ratio", 0.01, Part, false),
    family("all_smi_vgpu_memory_used_bytes", "memory_used_bytes", 1.0, Part, false),
    family("all_smi_vgpu_memory_total_bytes", "memory_total_bytes", 1.0, Part, true),
    family("all_smi_vgpu_utilization", "utilization_ratio", 0.01, Part, false),
    family("all_smi_gpu_process_memory_bytes", "memory_used_bytes", 1.0, Process, false),
    family("all_smi_process_memory_used_bytes", "memory_used_bytes", 1.0, Process, false),
    family("all_smi_gpu_process_sm_util", "utilization_ratio", 0.01, Process, false),
    family("all_smi_tenstorrent_voltage_volts", "voltage_volts", 1.0, Card, true),
    family("all_smi_tenstorrent_current_amperes", "current_amperes", 1.0, Card, false),
    family("all_smi_cpu_utilization", "utilization_ratio", 0.01, Node, false),
    family("all_smi_memory_total_bytes", "memory_total_bytes", 1.0, Node, true),
    // A kernel uses some: where it reads 0, it was not to be had (a container without /proc of its host).
    family("all_smi_memory_used_bytes", "memory_used_bytes", 1.0, Node, true),
];

/// Its rows are there for their labels.
pub(crate) const INFO: &str = "all_smi_gpu_info";
pub(crate) const CHASSIS_POWER: &str = "all_smi_chassis_power_watts";

pub(crate) const METRICS: &[Def] = &[
    number("power_watts", "watts", Gauge, Measured),
    number("power_limit_watts", "watts", Gauge, Measured),
    number("energy_joules", "joules", Counter, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("slowdown_temperature_celsius", "celsius", Gauge, Measured),
    number("shutdown_temperature_celsius", "celsius", Gauge, Measured),
    number("temperature_limit_celsius", "celsius", Gauge, Measured),
    number("utilization_ratio", "ratio", Gauge, Measured),
    number("memory_bandwidth_ratio", "ratio", Gauge, Measured),
    number("memory_used_bytes", "bytes", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    number("clock_sm_hertz", "hertz", Gauge, Measured),
    number("voltage_volts", "volts", Gauge, Measured),
    number("current_amperes", "amperes", Gauge, Measured),
    number("fan_speed_rpm", "rpm", Gauge, Measured),
];

const NAMES: [&str; FAMILIES.len() + 2] = {
    let mut names = [INFO; FAMILIES.len() + 2];
    names[FAMILIES.len()] = CHASSIS_POWER;
    let mut at = 0;
    while at < FAMILIES.len() {
        names[at] = FAMILIES[at].name;
        at += 1;
    }
    names
};

pub(crate) const ASKS: &[Ask] = &[Ask::Rows(&NAMES, "")];
