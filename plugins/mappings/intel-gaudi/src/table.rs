//! Names of the Gaudi exporter and what they are in the catalogue. Its twins with generic names lie about their unit: what is called
//! watts is milliwatts, what is called hertz is megahertz.

use std::sync::LazyLock;

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::tables::{Quantity, asked, never_zero, quantity};
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

pub(crate) const CARD: &[Quantity] = &[
    never_zero(&["habanalabs_power_mW", "accelerator_power_usage_watts"], "power_watts", 1e-3),
    never_zero(&["habanalabs_power_default_limit_mW"], "power_limit_watts", 1e-3),
    never_zero(&["habanalabs_temperature_onchip", "accelerator_temperature_celcius"], "temperature_celsius", 1.0),
    never_zero(&["habanalabs_temperature_onboard"], "x_habana_board_temperature_celsius", 1.0),
    never_zero(&["habanalabs_temperature_threshold_gpu"], "temperature_limit_celsius", 1.0),
    never_zero(&["habanalabs_temperature_threshold_shutdown"], "shutdown_temperature_celsius", 1.0),
    never_zero(&["habanalabs_temperature_threshold_slowdown"], "slowdown_temperature_celsius", 1.0),
    quantity(&["habanalabs_utilization", "accelerator_gpu_utilization"], "utilization_ratio", 0.01),
    never_zero(&["habanalabs_memory_total_bytes", "accelerator_memory_total_bytes"], "memory_total_bytes", 1.0),
    quantity(&["habanalabs_memory_used_bytes", "accelerator_memory_used_bytes"], "memory_used_bytes", 1.0),
    quantity(&["habanalabs_memory_free_bytes"], "memory_free_bytes", 1.0),
    never_zero(&["habanalabs_clock_soc_mhz", "accelerator_sm_clock_hertz"], "clock_sm_hertz", 1e6),
    quantity(&["habanalabs_pcie_replay_count"], "pcie_replay_total", 1.0),
    // Nobody states the unit of these.
    quantity(&["habanalabs_energy"], "x_habana_energy_count", 1.0),
    quantity(&["habanalabs_pcie_receive_throughput", "habanalabs_pcie_rx"], "x_habana_pcie_rx_count", 1.0),
    quantity(&["habanalabs_pcie_transmit_throughput", "habanalabs_pcie_tx"], "x_habana_pcie_tx_count", 1.0),
    quantity(&["habanalabs_pending_rows_with_single_bit_ecc_errors"], "x_habana_pending_rows_corrected_count", 1.0),
    quantity(&["habanalabs_pending_rows_with_double_bit_ecc_errors"], "x_habana_pending_rows_uncorrected_count", 1.0),
];

pub(crate) const PORTS: &str = "habanalabs_nic_port_status";
pub(crate) const INFO: &str = "habanalabs_kube_info";

pub(crate) static ASKS: LazyLock<[Ask; 1]> = LazyLock::new(|| [Ask::Rows(asked(CARD, &[PORTS, INFO]), "")]);

pub(crate) const METRICS: &[Def] = &[
    number("power_watts", "watts", Gauge, Measured),
    number("power_limit_watts", "watts", Gauge, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("temperature_limit_celsius", "celsius", Gauge, Measured),
    number("shutdown_temperature_celsius", "celsius", Gauge, Measured),
    number("slowdown_temperature_celsius", "celsius", Gauge, Measured),
    number("utilization_ratio", "ratio", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    number("memory_used_bytes", "bytes", Gauge, Measured),
    number("memory_free_bytes", "bytes", Gauge, Measured),
    number("clock_sm_hertz", "hertz", Gauge, Measured),
    number("pcie_replay_total", "count", Counter, Measured),
    state("link_status", &["up", "down", "unknown"]),
    number("x_habana_board_temperature_celsius", "celsius", Gauge, Measured),
    number("x_habana_energy_count", "count", Gauge, Measured),
    number("x_habana_pcie_rx_count", "count", Gauge, Measured),
    number("x_habana_pcie_tx_count", "count", Gauge, Measured),
    number("x_habana_pending_rows_corrected_count", "count", Gauge, Measured),
    number("x_habana_pending_rows_uncorrected_count", "count", Gauge, Measured),
];
