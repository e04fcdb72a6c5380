//! Kepler's names: those up to 0.9 have a family a zone, those from 0.10 on a label.

use kcloud_collector_sdk::MetricKind::{Counter, Gauge};
use kcloud_collector_sdk::Quality::{Derived, Measured, Modelled};
use kcloud_collector_sdk::exporter::{Def, number};
use kcloud_collector_sdk::promql::Ask;

use crate::share::Part;

/// Whose rows a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Node,
    Pod,
    Container,
    Process,
    Vm,
}

/// Rows of one name.
pub(crate) struct Family {
    pub name: &'static str,
    pub who: Who,
    /// `None`: the label `zone` says it.
    pub part: Option<Part>,
    /// Watts, not joules.
    pub is_power: bool,
}

const fn family(name: &'static str, who: Who, part: Option<Part>, is_power: bool) -> Family {
    Family { name, who, part, is_power }
}

pub(crate) const FAMILIES: &[Family] = &[
    family("kepler_node_cpu_joules_total", Who::Node, None, false),
    family("kepler_node_cpu_watts", Who::Node, None, true),
    family("kepler_node_gpu_watts", Who::Node, Some(Part::Gpu), true),
    family("kepler_node_package_joules_total", Who::Node, Some(Part::Package), false),
    family("kepler_node_dram_joules_total", Who::Node, Some(Part::Dram), false),
    family("kepler_node_gpu_joules_total", Who::Node, Some(Part::Gpu), false),
    family("kepler_node_other_joules_total", Who::Node, Some(Part::Other), false),
    family("kepler_node_core_joules_total", Who::Node, Some(Part::Core), false),
    family("kepler_node_uncore_joules_total", Who::Node, Some(Part::Uncore), false),
    family("kepler_pod_cpu_joules_total", Who::Pod, None, false),
    family("kepler_pod_cpu_watts", Who::Pod, None, true),
    family("kepler_pod_gpu_watts", Who::Pod, Some(Part::Gpu), true),
    family("kepler_pod_gpu_joules_total", Who::Pod, Some(Part::Gpu), false),
    family("kepler_container_cpu_joules_total", Who::Container, None, false),
    family("kepler_container_cpu_watts", Who::Container, None, true),
    family("kepler_container_gpu_watts", Who::Container, Some(Part::Gpu), true),
    family("kepler_container_package_joules_total", Who::Container, Some(Part::Package), false),
    family("kepler_container_dram_joules_total", Who::Container, Some(Part::Dram), false),
    family("kepler_container_gpu_joules_total", Who::Container, Some(Part::Gpu), false),
    family("kepler_container_other_joules_total", Who::Container, Some(Part::Other), false),
    family("kepler_container_core_joules_total", Who::Container, Some(Part::Core), false),
    family("kepler_container_uncore_joules_total", Who::Container, Some(Part::Uncore), false),
    family("kepler_container_joules_total", Who::Container, Some(Part::Total), false),
    family("kepler_process_cpu_joules_total", Who::Process, None, false),
    family("kepler_process_cpu_watts", Who::Process, None, true),
    family("kepler_process_gpu_watts", Who::Process, Some(Part::Gpu), true),
    family("kepler_process_package_joules_total", Who::Process, Some(Part::Package), false),
    family("kepler_process_dram_joules_total", Who::Process, Some(Part::Dram), false),
    family("kepler_process_gpu_joules_total", Who::Process, Some(Part::Gpu), false),
    family("kepler_process_other_joules_total", Who::Process, Some(Part::Other), false),
    family("kepler_process_core_joules_total", Who::Process, Some(Part::Core), false),
    family("kepler_process_uncore_joules_total", Who::Process, Some(Part::Uncore), false),
    family("kepler_process_joules_total", Who::Process, Some(Part::Total), false),
    family("kepler_vm_cpu_joules_total", Who::Vm, None, false),
    family("kepler_vm_cpu_watts", Who::Vm, None, true),
    family("kepler_vm_gpu_watts", Who::Vm, Some(Part::Gpu), true),
    family("kepler_vm_package_joules_total", Who::Vm, Some(Part::Package), false),
    family("kepler_vm_dram_joules_total", Who::Vm, Some(Part::Dram), false),
    family("kepler_vm_gpu_joules_total", Who::Vm, Some(Part::Gpu), false),
    family("kepler_vm_other_joules_total", Who::Vm, Some(Part::Other), false),
    family("kepler_vm_core_joules_total", Who::Vm, Some(Part::Core), false),
    family("kepler_vm_uncore_joules_total", Who::Vm, Some(Part::Uncore), false),
    family("kepler_vm_joules_total", Who::Vm, Some(Part::Total), false),
];

/// Processes, which are thousands a node, come last: they are asked for only where they are wanted.
pub(crate) const ASKS: &[Ask] = &[
    Ask::Rows(
        &[
            "kepler_node_cpu_joules_total",
            "kepler_node_cpu_watts",
            "kepler_node_gpu_watts",
            "kepler_node_package_joules_total",
            "kepler_node_dram_joules_total",
            "kepler_node_gpu_joules_total",
            "kepler_node_other_joules_total",
            "kepler_node_core_joules_total",
            "kepler_node_uncore_joules_total",
            "kepler_pod_cpu_joules_total",
            "kepler_pod_cpu_watts",
            "kepler_pod_gpu_watts",
            "kepler_pod_gpu_joules_total",
            "kepler_container_cpu_joules_total",
            "kepler_container_cpu_watts",
            "kepler_container_gpu_watts",
            "kepler_container_package_joules_total",
            "kepler_container_dram_joules_total",
            "kepler_container_gpu_joules_total",
            "kepler_container_other_joules_total",
            "kepler_container_core_joules_total",
            "kepler_container_uncore_joules_total",
            "kepler_container_joules_total",
            "kepler_vm_cpu_joules_total",
            "kepler_vm_cpu_watts",
            "kepler_vm_gpu_watts",
            "kepler_vm_package_joules_total",
            "kepler_vm_dram_joules_total",
            "kepler_vm_gpu_joules_total",
            "kepler_vm_other_joules_total",
            "kepler_vm_core_joules_total",
            "kepler_vm_uncore_joules_total",
            "kepler_vm_joules_total",
            "kepler_node_platform_joules_total",
            "kepler_platform_watts",
            "kepler_node_cpu_usage_ratio",
        ],
        "state!=\"terminated\"",
    ),
    Ask::Rows(
        &[
            "kepler_process_cpu_joules_total",
            "kepler_process_cpu_watts",
            "kepler_process_gpu_watts",
            "kepler_process_package_joules_total",
            "kepler_process_dram_joules_total",
            "kepler_process_gpu_joules_total",
            "kepler_process_other_joules_total",
            "kepler_process_core_joules_total",
            "kepler_process_uncore_joules_total",
            "kepler_process_joules_total",
        ],
        "state!=\"terminated\"",
    ),
];

pub(crate) const METRICS: &[Def] = &[
    number("energy_joules", "joules", Counter, Measured),
    number("energy_joules", "joules", Counter, Modelled),
    number("power_watts", "watts", Gauge, Measured),
    number("power_watts", "watts", Gauge, Derived),
    number("power_watts", "watts", Gauge, Modelled),
    number("cpu_energy_joules", "joules", Counter, Measured),
    number("cpu_energy_joules", "joules", Counter, Modelled),
    number("cpu_power_watts", "watts", Gauge, Measured),
    number("cpu_power_watts", "watts", Gauge, Modelled),
    number("memory_energy_joules", "joules", Counter, Measured),
    number("memory_energy_joules", "joules", Counter, Modelled),
    number("memory_power_watts", "watts", Gauge, Measured),
    number("memory_power_watts", "watts", Gauge, Modelled),
    number("accelerator_energy_joules", "joules", Counter, Measured),
    number("accelerator_energy_joules", "joules", Counter, Modelled),
    number("accelerator_power_watts", "watts", Gauge, Measured),
    number("accelerator_power_watts", "watts", Gauge, Modelled),
    number("other_energy_joules", "joules", Counter, Measured),
    number("other_energy_joules", "joules", Counter, Modelled),
    number("other_power_watts", "watts", Gauge, Measured),
    number("other_power_watts", "watts", Gauge, Modelled),
    number("x_kepler_psys_joules_total", "joules", Counter, Measured),
    number("x_kepler_psys_joules_total", "joules", Counter, Modelled),
    number("x_kepler_psys_watts", "watts", Gauge, Measured),
    number("x_kepler_psys_watts", "watts", Gauge, Modelled),
    number("x_kepler_core_joules_total", "joules", Counter, Measured),
    number("x_kepler_core_joules_total", "joules", Counter, Modelled),
    number("x_kepler_core_watts", "watts", Gauge, Measured),
    number("x_kepler_core_watts", "watts", Gauge, Modelled),
    number("x_kepler_uncore_joules_total", "joules", Counter, Measured),
    number("x_kepler_uncore_joules_total", "joules", Counter, Modelled),
    number("x_kepler_uncore_watts", "watts", Gauge, Measured),
    number("x_kepler_uncore_watts", "watts", Gauge, Modelled),
    number("x_kepler_system_joules_total", "joules", Counter, Modelled),
    number("utilization_ratio", "ratio", Gauge, Derived),
];

/// A metric a part.
type Names = &'static [(Part, &'static str)];

pub(crate) const JOULES: Names = &[
    (Part::Package, "cpu_energy_joules"),
    (Part::Dram, "memory_energy_joules"),
    (Part::Gpu, "accelerator_energy_joules"),
    (Part::Other, "other_energy_joules"),
];

pub(crate) const WATTS: Names = &[
    (Part::Package, "cpu_power_watts"),
    (Part::Dram, "memory_power_watts"),
    (Part::Gpu, "accelerator_power_watts"),
    (Part::Other, "other_power_watts"),
];

/// Zones that are in others.
pub(crate) const ZONES: Names = &[
    (Part::Psys, "x_kepler_psys_joules_total"),
    (Part::Core, "x_kepler_core_joules_total"),
    (Part::Uncore, "x_kepler_uncore_joules_total"),
];

pub(crate) const ZONE_WATTS: Names =
    &[(Part::Psys, "x_kepler_psys_watts"), (Part::Core, "x_kepler_core_watts"), (Part::Uncore, "x_kepler_uncore_watts")];
