//! Names of openstack-exporter and what they are in the catalogue. Its `…_available` of a hypervisor is all that there is, not what is left.

use kcloud_collector_sdk::MetricKind::Gauge;
use kcloud_collector_sdk::Quality::Measured;
use kcloud_collector_sdk::exporter::{Def, number, state};
use kcloud_collector_sdk::promql::Ask;

pub(crate) const ASKS: &[Ask] = &[
    Ask::Rows(
        &[
            "openstack_nova_up",
            "openstack_identity_up",
            "openstack_placement_up",
            "openstack_identity_project_info",
            "openstack_nova_flavor",
            "openstack_nova_server_status",
            "openstack_nova_server_local_gb",
            "openstack_nova_agent_state",
            "openstack_nova_vcpus_available",
            "openstack_nova_vcpus_used",
            "openstack_nova_memory_available_bytes",
            "openstack_nova_memory_used_bytes",
            "openstack_nova_local_storage_available_bytes",
            "openstack_nova_local_storage_used_bytes",
            "openstack_nova_free_disk_bytes",
            "openstack_nova_current_workload",
            "openstack_nova_running_vms",
            "openstack_nova_limits_vcpus_max",
            "openstack_nova_limits_vcpus_used",
            "openstack_nova_limits_memory_max",
            "openstack_nova_limits_memory_used",
            "openstack_nova_limits_instances_max",
            "openstack_nova_limits_instances_used",
            "openstack_placement_resource_total",
            "openstack_placement_resource_usage",
            "openstack_placement_resource_reserved",
            "openstack_placement_resource_allocation_ratio",
        ],
        "",
    ),
    Ask::Rows(&["openstack_nova_quota_cores", "openstack_nova_quota_ram", "openstack_nova_quota_instances"], "type=~\"limit|in_use\""),
];

/// Nova's set.
pub(crate) const VM_STATUS: [&str; 20] = [
    "active",
    "build",
    "deleted",
    "error",
    "hard_reboot",
    "migrating",
    "password",
    "paused",
    "reboot",
    "rebuild",
    "rescue",
    "resize",
    "revert_resize",
    "shelved",
    "shelved_offloaded",
    "shutoff",
    "soft_deleted",
    "suspended",
    "verify_resize",
    "unknown",
];

pub(crate) const METRICS: &[Def] = &[
    state("vm_status", &VM_STATUS),
    number("vcpu_count", "count", Gauge, Measured),
    number("memory_total_bytes", "bytes", Gauge, Measured),
    number("filesystem_total_bytes", "bytes", Gauge, Measured),
    state("x_openstack_agent_state", &["up", "down"]),
    number("x_openstack_vcpus_count", "count", Gauge, Measured),
    number("x_openstack_vcpus_allocated_count", "count", Gauge, Measured),
    number("x_openstack_memory_bytes", "bytes", Gauge, Measured),
    number("x_openstack_memory_allocated_bytes", "bytes", Gauge, Measured),
    number("x_openstack_disk_bytes", "bytes", Gauge, Measured),
    number("x_openstack_disk_allocated_bytes", "bytes", Gauge, Measured),
    number("x_openstack_disk_free_bytes", "bytes", Gauge, Measured),
    number("x_openstack_workload_count", "count", Gauge, Measured),
    number("x_openstack_vms_count", "count", Gauge, Measured),
    number("x_openstack_quota_vcpus_limit_count", "count", Gauge, Measured),
    number("x_openstack_quota_vcpus_used_count", "count", Gauge, Measured),
    number("x_openstack_quota_memory_limit_bytes", "bytes", Gauge, Measured),
    number("x_openstack_quota_memory_used_bytes", "bytes", Gauge, Measured),
    number("x_openstack_quota_vms_limit_count", "count", Gauge, Measured),
    number("x_openstack_quota_vms_used_count", "count", Gauge, Measured),
];

/// Labels of a machine, and what the exporter calls them.
pub(crate) const LABELS: &[(&str, &str)] = &[
    ("name", "name"),
    ("project_id", "tenant_id"),
    ("user_id", "user_id"),
    ("availability_zone", "availability_zone"),
    ("instance_name", "instance_libvirt"),
];

pub(crate) const HYPERVISOR: &[(&str, &str)] = &[
    ("openstack_nova_vcpus_available", "x_openstack_vcpus_count"),
    ("openstack_nova_vcpus_used", "x_openstack_vcpus_allocated_count"),
    ("openstack_nova_memory_available_bytes", "x_openstack_memory_bytes"),
    ("openstack_nova_memory_used_bytes", "x_openstack_memory_allocated_bytes"),
    ("openstack_nova_local_storage_available_bytes", "x_openstack_disk_bytes"),
    ("openstack_nova_local_storage_used_bytes", "x_openstack_disk_allocated_bytes"),
    ("openstack_nova_free_disk_bytes", "x_openstack_disk_free_bytes"),
    ("openstack_nova_current_workload", "x_openstack_workload_count"),
];

/// Family, end of the metric's name, unit.
pub(crate) const PLACEMENT: &[(&str, &str, &str)] = &[
    ("openstack_placement_resource_total", "total_count", "count"),
    ("openstack_placement_resource_usage", "allocated_count", "count"),
    ("openstack_placement_resource_reserved", "reserved_count", "count"),
    ("openstack_placement_resource_allocation_ratio", "allocation_ratio", "ratio"),
];

/// What a project may use of one resource.
pub(crate) struct Quota {
    pub name: &'static str,
    pub limit_family: &'static str,
    pub used_family: &'static str,
    pub quota_family: &'static str,
    pub limit: &'static str,
    pub used: &'static str,
    pub is_mib: bool,
}

pub(crate) const QUOTA: &[Quota] = &[
    Quota {
        name: "vcpus",
        limit_family: "openstack_nova_limits_vcpus_max",
        used_family: "openstack_nova_limits_vcpus_used",
        quota_family: "openstack_nova_quota_cores",
        limit: "x_openstack_quota_vcpus_limit_count",
        used: "x_openstack_quota_vcpus_used_count",
        is_mib: false,
    },
    Quota {
        name: "memory",
        limit_family: "openstack_nova_limits_memory_max",
        used_family: "openstack_nova_limits_memory_used",
        quota_family: "openstack_nova_quota_ram",
        limit: "x_openstack_quota_memory_limit_bytes",
        used: "x_openstack_quota_memory_used_bytes",
        is_mib: true,
    },
    Quota {
        name: "vms",
        limit_family: "openstack_nova_limits_instances_max",
        used_family: "openstack_nova_limits_instances_used",
        quota_family: "openstack_nova_quota_instances",
        limit: "x_openstack_quota_vms_limit_count",
        used: "x_openstack_quota_vms_used_count",
        is_mib: false,
    },
];
