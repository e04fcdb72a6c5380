//! Names of node_exporter (from 0.16 on) and what they are in the catalogue.

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::{Derived, Measured};
use kcloud_collector_sdk::exporter::{Def, number};
use kcloud_collector_sdk::promql::Ask;

pub(crate) const ASKS: &[Ask] = &[
    // A processor has eight modes, a node hundreds of processors: the server adds them up.
    Ask::Value {
        name: "node_cpu_idle_seconds:sum",
        of: "node_cpu_seconds_total",
        expression: "sum by (job, instance, node) (node_cpu_seconds_total{mode=\"idle\"})",
    },
    Ask::Value {
        name: "node_cpu_seconds:sum",
        of: "node_cpu_seconds_total",
        expression: "sum by (job, instance, node) (node_cpu_seconds_total)",
    },
    Ask::Value {
        name: "node_cpu_idle_seconds:count",
        of: "node_cpu_seconds_total",
        expression: "count by (job, instance, node) (node_cpu_seconds_total{mode=\"idle\"})",
    },
    Ask::Value {
        name: "node_cpu_idle_seconds:at",
        of: "node_cpu_seconds_total",
        expression: "max by (job, instance, node) (timestamp(node_cpu_seconds_total{mode=\"idle\"}))",
    },
    Ask::Rows(
        &[
            "node_uname_info",
            "node_os_info",
            "node_dmi_info",
            "node_load1",
            "node_load5",
            "node_load15",
            "node_memory_MemTotal_bytes",
            "node_memory_MemAvailable_bytes",
            "node_memory_MemFree_bytes",
            "node_memory_Buffers_bytes",
            "node_memory_Cached_bytes",
            "node_memory_SReclaimable_bytes",
            "node_memory_Shmem_bytes",
            "node_rapl_package_joules_total",
            "node_rapl_dram_joules_total",
            "node_rapl_core_joules_total",
            "node_rapl_uncore_joules_total",
            "node_rapl_psys_joules_total",
            "node_pressure_cpu_waiting_seconds_total",
            "node_pressure_memory_waiting_seconds_total",
            "node_pressure_memory_stalled_seconds_total",
            "node_pressure_io_waiting_seconds_total",
            "node_pressure_io_stalled_seconds_total",
            "node_hwmon_chip_names",
            "node_hwmon_sensor_label",
            "node_hwmon_temp_celsius",
            "node_hwmon_temp_max_celsius",
            "node_hwmon_temp_crit_celsius",
            "node_hwmon_temp_min_celsius",
            "node_hwmon_temp_lcrit_celsius",
            "node_hwmon_fan_rpm",
            "node_hwmon_fan_min_rpm",
            "node_hwmon_in_volts",
            "node_hwmon_in_min_volts",
            "node_hwmon_in_max_volts",
            "node_hwmon_curr_amps",
            "node_hwmon_power_watt",
            "node_hwmon_power_average_watt",
            "node_hwmon_humidity",
            "node_thermal_zone_temp",
            "node_bonding_slaves",
            "node_infiniband_port_data_received_bytes_total",
            "node_infiniband_port_data_transmitted_bytes_total",
            "node_disk_read_bytes_total",
            "node_disk_written_bytes_total",
            "node_disk_reads_completed_total",
            "node_disk_writes_completed_total",
        ],
        "",
    ),
    // A node of pods has a hundred cables' ends and as many mounts: they are left with the server.
    Ask::Rows(
        &[
            "node_network_receive_bytes_total",
            "node_network_transmit_bytes_total",
            "node_network_receive_packets_total",
            "node_network_transmit_packets_total",
            "node_network_iface_link",
            "node_network_iface_id",
        ],
        "device!~\"lo|veth.*|cali.*|lxc.*|tap.*|vnet.*\"",
    ),
    Ask::Rows(
        &["node_filesystem_size_bytes", "node_filesystem_free_bytes", "node_filesystem_avail_bytes"],
        "fstype!~\"tmpfs|devtmpfs|overlay|squashfs|nfs.*\"",
    ),
];

pub(crate) const METRICS: &[Def] = &[
    number("utilization_ratio", "ratio", Gauge, Derived),
    number("cpu_capacity_cores", "cores", Gauge, Derived),
    number("load_1min_count", "count", Gauge, Measured),
    number("load_5min_count", "count", Gauge, Measured),
    number("load_15min_count", "count", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    number("memory_free_bytes", "bytes", Gauge, Measured),
    number("memory_available_bytes", "bytes", Gauge, Measured),
    number("memory_available_bytes", "bytes", Gauge, Derived),
    number("memory_used_bytes", "bytes", Gauge, Derived),
    number("filesystem_total_bytes", "bytes", Gauge, Measured),
    number("filesystem_used_bytes", "bytes", Gauge, Derived),
    number("filesystem_available_bytes", "bytes", Gauge, Measured),
    number("network_rx_bytes_total", "bytes", Counter, Measured),
    number("network_tx_bytes_total", "bytes", Counter, Measured),
    number("network_rx_packets_total", "count", Counter, Measured),
    number("network_tx_packets_total", "count", Counter, Measured),
    number("disk_read_bytes_total", "bytes", Counter, Measured),
    number("disk_written_bytes_total", "bytes", Counter, Measured),
    number("disk_reads_total", "count", Counter, Measured),
    number("disk_writes_total", "count", Counter, Measured),
    number("cpu_energy_joules", "joules", Counter, Measured),
    number("memory_energy_joules", "joules", Counter, Measured),
    number("x_rapl_core_joules_total", "joules", Counter, Measured),
    number("x_rapl_uncore_joules_total", "joules", Counter, Measured),
    number("x_rapl_psys_joules_total", "joules", Counter, Measured),
    number("temperature_celsius", "celsius", Gauge, Measured),
    number("fan_speed_rpm", "rpm", Gauge, Measured),
    number("voltage_volts", "volts", Gauge, Measured),
    number("current_amperes", "amperes", Gauge, Measured),
    number("power_watts", "watts", Gauge, Measured),
    number("humidity_ratio", "ratio", Gauge, Measured),
    number("threshold_lower_critical", "sensor", Gauge, Measured),
    number("threshold_lower_warning", "sensor", Gauge, Measured),
    number("threshold_upper_warning", "sensor", Gauge, Measured),
    number("threshold_upper_critical", "sensor", Gauge, Measured),
    number("x_node_pressure_cpu_waiting_seconds_total", "seconds", Counter, Measured),
    number("x_node_pressure_memory_waiting_seconds_total", "seconds", Counter, Measured),
    number("x_node_pressure_memory_stalled_seconds_total", "seconds", Counter, Measured),
    number("x_node_pressure_io_waiting_seconds_total", "seconds", Counter, Measured),
    number("x_node_pressure_io_stalled_seconds_total", "seconds", Counter, Measured),
];

/// Label of the node, and family and label that say it.
pub(crate) const LABELS: &[(&str, &str, &str)] = &[
    ("kernel_version", "node_uname_info", "release"),
    ("cpu_architecture", "node_uname_info", "machine"),
    ("os_image", "node_os_info", "pretty_name"),
    ("system_uuid", "node_dmi_info", "product_uuid"),
];

pub(crate) const PLAIN: &[(&str, &str)] =
    &[("node_load1", "load_1min_count"), ("node_load5", "load_5min_count"), ("node_load15", "load_15min_count")];

pub(crate) const PRESSURE: &[(&str, &str)] = &[
    ("node_pressure_cpu_waiting_seconds_total", "x_node_pressure_cpu_waiting_seconds_total"),
    ("node_pressure_memory_waiting_seconds_total", "x_node_pressure_memory_waiting_seconds_total"),
    ("node_pressure_memory_stalled_seconds_total", "x_node_pressure_memory_stalled_seconds_total"),
    ("node_pressure_io_waiting_seconds_total", "x_node_pressure_io_waiting_seconds_total"),
    ("node_pressure_io_stalled_seconds_total", "x_node_pressure_io_stalled_seconds_total"),
];

pub(crate) const RAPL: &[(&str, &str)] = &[
    ("node_rapl_package_joules_total", "cpu_energy_joules"),
    ("node_rapl_dram_joules_total", "memory_energy_joules"),
    ("node_rapl_core_joules_total", "x_rapl_core_joules_total"),
    ("node_rapl_uncore_joules_total", "x_rapl_uncore_joules_total"),
    ("node_rapl_psys_joules_total", "x_rapl_psys_joules_total"),
];

pub(crate) const NETWORK: &[(&str, &str)] = &[
    ("node_network_receive_bytes_total", "network_rx_bytes_total"),
    ("node_network_transmit_bytes_total", "network_tx_bytes_total"),
    ("node_network_receive_packets_total", "network_rx_packets_total"),
    ("node_network_transmit_packets_total", "network_tx_packets_total"),
];

pub(crate) const INFINIBAND: &[(&str, &str)] = &[
    ("node_infiniband_port_data_received_bytes_total", "network_rx_bytes_total"),
    ("node_infiniband_port_data_transmitted_bytes_total", "network_tx_bytes_total"),
];

pub(crate) const DISK: &[(&str, &str)] = &[
    ("node_disk_read_bytes_total", "disk_read_bytes_total"),
    ("node_disk_written_bytes_total", "disk_written_bytes_total"),
    ("node_disk_reads_completed_total", "disk_reads_total"),
    ("node_disk_writes_completed_total", "disk_writes_total"),
];

/// Family, kind of the subject, its `sensor_type`, metric.
pub(crate) const HWMON: &[(&str, &str, &str, &str)] = &[
    ("node_hwmon_temp_celsius", "sensor", "temperature", "temperature_celsius"),
    ("node_hwmon_fan_rpm", "fan", "fan", "fan_speed_rpm"),
    ("node_hwmon_in_volts", "sensor", "voltage", "voltage_volts"),
    ("node_hwmon_curr_amps", "sensor", "current", "current_amperes"),
    ("node_hwmon_power_watt", "sensor", "power", "power_watts"),
    ("node_hwmon_power_average_watt", "sensor", "power", "power_watts"),
    ("node_hwmon_humidity", "sensor", "humidity", "humidity_ratio"),
];

pub(crate) const LIMITS: &[(&str, &str)] = &[
    ("node_hwmon_temp_max_celsius", "threshold_upper_warning"),
    ("node_hwmon_temp_crit_celsius", "threshold_upper_critical"),
    ("node_hwmon_temp_min_celsius", "threshold_lower_warning"),
    ("node_hwmon_temp_lcrit_celsius", "threshold_lower_critical"),
    ("node_hwmon_fan_min_rpm", "threshold_lower_critical"),
    ("node_hwmon_in_min_volts", "threshold_lower_critical"),
    ("node_hwmon_in_max_volts", "threshold_upper_critical"),
];

/// What a family and its limits begin with: `node_hwmon_temp_` of `node_hwmon_temp_celsius`.
pub(crate) fn stem(family: &str) -> &str {
    family.rfind('_').map_or(family, |end| &family[..=end])
}
