//! Names of rbln-metrics-exporter, before and from 2026-06, and what they are in the catalogue.

use kcloud_collector_sdk::MetricKind::Gauge;
use kcloud_collector_sdk::Quality::{Derived, Measured};
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

/// A quantity and its names, old and new.
pub(crate) const FAMILIES: &[(Of, [&str; 2])] = &[
    (Of::Power, ["RBLN_DEVICE_STATUS:CARD_POWER", "rbln_npu_power"]),
    (Of::Temperature, ["RBLN_DEVICE_STATUS:TEMPERATURE", "rbln_npu_temperature"]),
    (Of::Utilization, ["RBLN_DEVICE_STATUS:UTILIZATION", "rbln_npu_utilization"]),
    (Of::Used, ["RBLN_DEVICE_STATUS:DRAM_USED", "rbln_npu_memory_used"]),
    (Of::Total, ["RBLN_DEVICE_STATUS:DRAM_TOTAL", "rbln_npu_memory_total"]),
    (Of::Health, ["RBLN_DEVICE_STATUS:HEALTH", "rbln_npu_health"]),
];

#[derive(Debug, Clone, Copy)]
pub(crate) enum Of {
    Power,
    Temperature,
    Utilization,
    Used,
    Total,
    Health,
}

pub(crate) const ASKS: &[Ask] = &[Ask::Rows(
    &[
        "RBLN_DEVICE_STATUS:CARD_POWER",
        "rbln_npu_power",
        "RBLN_DEVICE_STATUS:TEMPERATURE",
        "rbln_npu_temperature",
        "RBLN_DEVICE_STATUS:UTILIZATION",
        "rbln_npu_utilization",
        "RBLN_DEVICE_STATUS:DRAM_USED",
        "rbln_npu_memory_used",
        "RBLN_DEVICE_STATUS:DRAM_TOTAL",
        "rbln_npu_memory_total",
        "RBLN_DEVICE_STATUS:HEALTH",
        "rbln_npu_health",
    ],
    "",
)];

/// `derived` is what a card has of its dies.
pub(crate) const METRICS: &[Def] = &[
    state("health", &["ok", "critical", "unknown"]),
    number("power_watts", "watts", Gauge, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("temperature_celsius", "celsius", Gauge, Derived),
    number("utilization_ratio", "ratio", Gauge, Measured),
    number("utilization_ratio", "ratio", Gauge, Derived),
    number("memory_used_bytes", "bytes", Gauge, Measured),
    number("memory_used_bytes", "bytes", Gauge, Derived),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Derived),
];
