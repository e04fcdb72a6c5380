//! Names of the exporters over libvirt. The first family counts in seconds and bytes, the second in nanoseconds and, of memory, in KiB.

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::{Derived, Measured};
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

const KIB: f64 = 1_024.0;
/// Beyond 2^53 ns (104 days) the last bits are lost, which are below a microsecond.
const NS: f64 = 1e-9;

/// What a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Machine,
    State,
    Vcpu,
    Disk,
    Nic,
}

pub(crate) struct Family {
    pub name: &'static str,
    /// A metric, or what memory in use is made of (`balloon_…`).
    pub metric: &'static str,
    pub factor: f64,
    pub of: Of,
}

const fn family(name: &'static str, metric: &'static str, factor: f64, of: Of) -> Family {
    Family { name, metric, factor, of }
}

pub(crate) const FAMILIES: &[Family] = &[
    family("libvirt_domain_info_vstate", "power_state", 1.0, Of::State),
    family("libvirt_domain_state_code", "power_state", 1.0, Of::State),
    family("libvirtd_domain_domain_state", "power_state", 1.0, Of::State),
    family("libvirt_domain_info_virtual_cpus", "vcpu_count", 1.0, Of::Machine),
    family("libvirt_domain_info_cpu_time_seconds_total", "cpu_seconds_total", 1.0, Of::Machine),
    family("libvirtd_domain_cpu_time", "cpu_seconds_total", NS, Of::Machine),
    // What it is given now, else at most.
    family("libvirt_domain_info_memory_usage_bytes", "memory_total_bytes", 1.0, Of::Machine),
    family("libvirt_domain_info_maximum_memory_bytes", "memory_total_bytes", 1.0, Of::Machine),
    family("libvirtd_domain_balloon_current", "memory_total_bytes", KIB, Of::Machine),
    family("libvirtd_domain_balloon_maximum", "memory_total_bytes", KIB, Of::Machine),
    family("libvirt_domain_memory_stats_available_bytes", "balloon_available", 1.0, Of::Machine),
    family("libvirt_domain_memory_stats_usable_bytes", "balloon_usable", 1.0, Of::Machine),
    family("libvirt_domain_memory_stats_unused_bytes", "balloon_unused", 1.0, Of::Machine),
    family("libvirtd_domain_balloon_available", "balloon_available", KIB, Of::Machine),
    family("libvirtd_domain_balloon_usable", "balloon_usable", KIB, Of::Machine),
    family("libvirtd_domain_balloon_unused", "balloon_unused", KIB, Of::Machine),
    family("libvirt_domain_vcpu_time_seconds_total", "cpu_seconds_total", 1.0, Of::Vcpu),
    family("libvirtd_domain_vcpu_time", "cpu_seconds_total", NS, Of::Vcpu),
    family("libvirt_domain_block_stats_read_bytes_total", "disk_read_bytes_total", 1.0, Of::Disk),
    family("libvirt_domain_block_stats_write_bytes_total", "disk_written_bytes_total", 1.0, Of::Disk),
    family("libvirt_domain_block_stats_read_requests_total", "disk_reads_total", 1.0, Of::Disk),
    family("libvirt_domain_block_stats_write_requests_total", "disk_writes_total", 1.0, Of::Disk),
    family("libvirt_domain_block_stats_capacity_bytes", "filesystem_total_bytes", 1.0, Of::Disk),
    family("libvirtd_domain_block_read_bytes", "disk_read_bytes_total", 1.0, Of::Disk),
    family("libvirtd_domain_block_write_bytes", "disk_written_bytes_total", 1.0, Of::Disk),
    family("libvirtd_domain_block_read_requests", "disk_reads_total", 1.0, Of::Disk),
    family("libvirtd_domain_block_write_requests", "disk_writes_total", 1.0, Of::Disk),
    family("libvirtd_domain_block_capacity", "filesystem_total_bytes", 1.0, Of::Disk),
    family("libvirt_domain_interface_stats_receive_bytes_total", "network_rx_bytes_total", 1.0, Of::Nic),
    family("libvirt_domain_interface_stats_transmit_bytes_total", "network_tx_bytes_total", 1.0, Of::Nic),
    family("libvirt_domain_interface_stats_receive_packets_total", "network_rx_packets_total", 1.0, Of::Nic),
    family("libvirt_domain_interface_stats_transmit_packets_total", "network_tx_packets_total", 1.0, Of::Nic),
    family("libvirtd_domain_net_rx_bytes", "network_rx_bytes_total", 1.0, Of::Nic),
    family("libvirtd_domain_net_tx_bytes", "network_tx_bytes_total", 1.0, Of::Nic),
    family("libvirtd_domain_net_rx_packets", "network_rx_packets_total", 1.0, Of::Nic),
    family("libvirtd_domain_net_tx_packets", "network_tx_packets_total", 1.0, Of::Nic),
];

/// Families whose rows are there for their labels.
pub(crate) const INFO: &[&str] = &["libvirt_domain_info_meta", "libvirt_domain_openstack_info", "libvirtd_domain_seconds"];

/// Labels that hold a machine's UUID.
pub(crate) const UUID: &[&str] = &["uuid", "instance_id", "instanceId"];

/// Labels of a machine, and what builds call them.
pub(crate) const LABELS: &[(&str, &[&str])] = &[
    ("name", &["instance_name", "instanceName"]),
    ("flavor", &["flavor", "flavor_name", "flavorName", "instance_type"]),
    ("project", &["project_name", "projectName"]),
    ("project_id", &["project_uuid", "project_id", "projectId"]),
    ("user_id", &["user_uuid", "user_id", "userId"]),
];

/// `virDomainState`.
pub(crate) fn power_state(code: f64) -> &'static str {
    match code as i64 {
        // Running, or waiting for a device.
        1 | 2 => "on",
        // Paused, or asleep in the guest.
        3 | 7 => "paused",
        4 => "powering_off",
        // Off, or crashed.
        5 | 6 => "off",
        _ => "unknown",
    }
}

pub(crate) const METRICS: &[Def] = &[
    state("power_state", &["on", "off", "powering_off", "paused", "unknown"]),
    number("vcpu_count", "count", Gauge, Measured),
    number("cpu_seconds_total", "seconds", Counter, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    number("memory_used_bytes", "bytes", Gauge, Derived),
    number("filesystem_total_bytes", "bytes", Gauge, Measured),
    number("disk_read_bytes_total", "bytes", Counter, Measured),
    number("disk_written_bytes_total", "bytes", Counter, Measured),
    number("disk_reads_total", "count", Counter, Measured),
    number("disk_writes_total", "count", Counter, Measured),
    number("network_rx_bytes_total", "bytes", Counter, Measured),
    number("network_tx_bytes_total", "bytes", Counter, Measured),
    number("network_rx_packets_total", "count", Counter, Measured),
    number("network_tx_packets_total", "count", Counter, Measured),
];

pub(crate) const ASKS: &[Ask] = &[Ask::Rows(
    &[
        "libvirt_domain_info_vstate",
        "libvirt_domain_state_code",
        "libvirtd_domain_domain_state",
        "libvirt_domain_info_virtual_cpus",
        "libvirt_domain_info_cpu_time_seconds_total",
        "libvirtd_domain_cpu_time",
        "libvirt_domain_info_memory_usage_bytes",
        "libvirt_domain_info_maximum_memory_bytes",
        "libvirtd_domain_balloon_current",
        "libvirtd_domain_balloon_maximum",
        "libvirt_domain_memory_stats_available_bytes",
        "libvirt_domain_memory_stats_usable_bytes",
        "libvirt_domain_memory_stats_unused_bytes",
        "libvirtd_domain_balloon_available",
        "libvirtd_domain_balloon_usable",
        "libvirtd_domain_balloon_unused",
        "libvirt_domain_vcpu_time_seconds_total",
        "libvirtd_domain_vcpu_time",
        "libvirt_domain_block_stats_read_bytes_total",
        "libvirt_domain_block_stats_write_bytes_total",
        "libvirt_domain_block_stats_read_requests_total",
        "libvirt_domain_block_stats_write_requests_total",
        "libvirt_domain_block_stats_capacity_bytes",
        "libvirtd_domain_block_read_bytes",
        "libvirtd_domain_block_write_bytes",
        "libvirtd_domain_block_read_requests",
        "libvirtd_domain_block_write_requests",
        "libvirtd_domain_block_capacity",
        "libvirt_domain_interface_stats_receive_bytes_total",
        "libvirt_domain_interface_stats_transmit_bytes_total",
        "libvirt_domain_interface_stats_receive_packets_total",
        "libvirt_domain_interface_stats_transmit_packets_total",
        "libvirtd_domain_net_rx_bytes",
        "libvirtd_domain_net_tx_bytes",
        "libvirtd_domain_net_rx_packets",
        "libvirtd_domain_net_tx_packets",
        "libvirt_domain_info_meta",
        "libvirt_domain_openstack_info",
        "libvirtd_domain_seconds",
        "libvirt_up",
        "libvirt_domain_vcpu_state",
        "libvirtd_domain_vcpu_state",
    ],
    "",
)];
