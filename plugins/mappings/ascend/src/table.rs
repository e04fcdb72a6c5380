//! Names of Huawei's npu-exporter and what they are in the catalogue.

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

/// "MB" of the exporter: an Ascend 910B with 64 GiB says 65536.
const MIB: f64 = 1_048_576.0;
const KIB: f64 = 1_024.0;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Card,
    /// HBM of the 910 family, DDR of the 310 family: one of both is the card's memory.
    Hbm,
    Ddr,
    Vnpu,
    Process,
    Link,
    /// Rows that are there for their labels.
    Pod,
    Health,
    Code,
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

use Of::{Card, Code, Ddr, Hbm, Health, Link, Pod, Process, Vnpu};

pub(crate) const HBM_TOTAL: &str = "npu_chip_info_hbm_total_memory";
pub(crate) const DDR_TOTAL: &str = "npu_chip_info_total_memory";

pub(crate) const FAMILIES: &[Family] = &[
    family("npu_chip_info_name", "", 1.0, Pod, false),
    family("npu_chip_info_power", "power_watts", 1.0, Card, true),
    family("npu_chip_info_temperature", "temperature_celsius", 1.0, Card, true),
    family("npu_chip_info_hbm_temperature", "memory_temperature_celsius", 1.0, Card, true),
    family("npu_chip_info_voltage", "voltage_volts", 1.0, Card, true),
    family("npu_chip_info_utilization", "utilization_ratio", 0.01, Card, false),
    family("npu_chip_info_overall_utilization", "x_ascend_overall_utilization_ratio", 0.01, Card, false),
    family("npu_chip_info_vector_utilization", "x_ascend_vector_utilization_ratio", 0.01, Card, false),
    family("npu_chip_info_cube_utilization", "x_ascend_cube_utilization_ratio", 0.01, Card, false),
    family("npu_chip_info_hbm_bandwidth_utilization", "memory_bandwidth_ratio", 0.01, Card, false),
    family("npu_chip_info_aicore_current_freq", "clock_sm_hertz", 1e6, Card, true),
    family(HBM_TOTAL, "memory_total_bytes", MIB, Hbm, true),
    family("npu_chip_info_hbm_used_memory", "memory_used_bytes", MIB, Hbm, false),
    family(DDR_TOTAL, "memory_total_bytes", MIB, Ddr, true),
    family("npu_chip_info_used_memory", "memory_used_bytes", MIB, Ddr, false),
    family("npu_chip_info_hbm_ecc_single_bit_error_cnt", "ecc_corrected_total", 1.0, Card, false),
    family("npu_chip_info_hbm_ecc_double_bit_error_cnt", "ecc_uncorrected_total", 1.0, Card, false),
    family("npu_chip_info_bandwidth_rx", "network_rx_bytes_per_second", 1e6, Card, false),
    family("npu_chip_info_bandwidth_tx", "network_tx_bytes_per_second", 1e6, Card, false),
    family("npu_chip_info_health_status", "health", 1.0, Health, false),
    family("npu_chip_info_link_status", "link_status", 1.0, Link, false),
    family("npu_chip_info_error_code", "", 1.0, Code, false),
    family("npu_chip_info_error_code_1", "", 1.0, Code, false),
    family("npu_chip_info_error_code_2", "", 1.0, Code, false),
    family("npu_chip_info_error_code_3", "", 1.0, Code, false),
    family("npu_chip_info_error_code_4", "", 1.0, Code, false),
    family("npu_chip_info_error_code_5", "", 1.0, Code, false),
    family("npu_chip_info_error_code_6", "", 1.0, Code, false),
    family("npu_chip_info_error_code_7", "", 1.0, Code, false),
    family("npu_chip_info_error_code_8", "", 1.0, Code, false),
    family("npu_chip_info_error_code_9", "", 1.0, Code, false),
    family("npu_chip_info_process_info", "memory_used_bytes", MIB, Process, false),
    // Repeats the card: it says only who holds it.
    family("container_npu_utilization", "", 1.0, Pod, false),
    family("vnpu_pod_aicore_utilization", "utilization_ratio", 0.01, Vnpu, false),
    family("vnpu_pod_total_memory", "memory_total_bytes", KIB, Vnpu, true),
    family("vnpu_pod_used_memory", "memory_used_bytes", KIB, Vnpu, false),
];

pub(crate) const METRICS: &[Def] = &[
    state("health", &["ok", "critical"]),
    state("link_status", &["up", "down"]),
    number("power_watts", "watts", Gauge, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("memory_temperature_celsius", "celsius", Gauge, Measured),
    number("voltage_volts", "volts", Gauge, Measured),
    number("utilization_ratio", "ratio", Gauge, Measured),
    number("x_ascend_overall_utilization_ratio", "ratio", Gauge, Measured),
    number("x_ascend_vector_utilization_ratio", "ratio", Gauge, Measured),
    number("x_ascend_cube_utilization_ratio", "ratio", Gauge, Measured),
    number("memory_bandwidth_ratio", "ratio", Gauge, Measured),
    number("clock_sm_hertz", "hertz", Gauge, Measured),
    number("memory_used_bytes", "bytes", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    // Declared as gauges by the exporter.
    number("ecc_corrected_total", "count", Counter, Measured),
    number("ecc_uncorrected_total", "count", Counter, Measured),
    number("network_rx_bytes_per_second", "bytes_per_second", Gauge, Measured),
    number("network_tx_bytes_per_second", "bytes_per_second", Gauge, Measured),
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
