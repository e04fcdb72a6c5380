//! Kepler's watts and joules in the names from 0.10, or on nodes that have the old one in those up to 0.9.

use crate::page::Page;
use crate::power::{CPU_PER_MILLICORE, MEMORY_PER_MILLICORE};
use crate::truth::watts;
use crate::{Fleet, Moment, Pod, mix};

const ZONES: [(&str, &str, u64); 2] = [
    ("package", "/host/sys/class/powercap/intel-rapl:0", CPU_PER_MILLICORE),
    ("dram", "/host/sys/class/powercap/intel-rapl:0:0", MEMORY_PER_MILLICORE),
];

pub(crate) fn write(fleet: &Fleet, node: usize, moment: Moment) -> String {
    let mut page = Page::new();
    if fleet.nodes[node].has_old_kepler {
        old(&mut page, fleet, node, moment)
    } else {
        new(&mut page, fleet, node, moment)
    }
    page.done()
}

fn new(page: &mut Page, fleet: &Fleet, node: usize, moment: Moment) {
    let at = &fleet.nodes[node];
    let host = ("node_name", at.name.as_str());
    let power = fleet.power(node, moment.tick);
    page.gauge("kepler_build_info")
        .sample(&[("arch", "amd64"), ("branch", "main"), ("revision", "0"), ("version", "v0.11.3"), ("goversion", "go1.24")], 1.0);
    page.gauge("kepler_node_cpu_info").sample(
        &[("processor", "0"), ("vendor_id", "GenuineIntel"), ("model_name", "Contoso 8592"), ("physical_id", "0"), ("core_id", "0"), host],
        1.0,
    );
    page.gauge("kepler_node_cpu_usage_ratio").sample(&[host], power.millicores as f64 / (at.cores * 1_000) as f64);
    let zone = |idle: bool, active: bool, name: &str, p: &crate::power::NodePower| {
        let (i, a) = if name == "package" { (p.cpu_idle, p.cpu_active) } else { (p.memory_idle, p.memory_active) };
        u64::from(idle) * i + u64::from(active) * a
    };
    for (part, idle, active) in [("", true, true), ("active_", false, true), ("idle_", true, false)] {
        page.gauge(&format!("kepler_node_cpu_{part}watts"));
        for (name, path, _) in ZONES {
            page.sample(&[host, ("path", path), ("zone", name)], watts(zone(idle, active, name, &power)));
        }
        page.counter(&format!("kepler_node_cpu_{part}joules_total"));
        for (name, path, _) in ZONES {
            let joules = fleet.node_integral(node, moment, |p| zone(idle, active, name, p)) / 1e3;
            page.sample(&[host, ("path", path), ("zone", name)], joules);
        }
    }
    if at.bmc.redfish.is_some() || at.bmc.method() == "kepler" {
        // It asks the BMC in its own way: the same watts once more.
        let labels = [
            ("source", "redfish"),
            host,
            ("bmc_id", "bmc"),
            ("chassis_id", "1"),
            ("source_id", "0"),
            ("source_name", "System Power Control"),
            ("source_type", "PowerControl"),
        ];
        page.gauge("kepler_platform_watts").sample(&labels, watts(power.server_milliwatts));
    }
    pods(page, fleet, node, moment);
    vms(page, fleet, node, moment);
}

fn pods(page: &mut Page, fleet: &Fleet, node: usize, moment: Moment) {
    let at = &fleet.nodes[node];
    let host = ("node_name", at.name.as_str());
    let each: Vec<(&Pod, String)> = at.pods.iter().map(|p| &fleet.pods[*p]).map(|p| (p, p.uid(moment))).collect();
    for is_counter in [false, true] {
        let (suffix, kind) = if is_counter { ("joules_total", "counter") } else { ("watts", "gauge") };
        page.family(&format!("kepler_pod_cpu_{suffix}"), kind);
        for (pod, uid) in &each {
            for (zone, _, per) in ZONES {
                let labels = [
                    host,
                    ("pod_id", uid),
                    ("pod_name", &pod.name),
                    ("pod_namespace", pod.namespace),
                    ("state", "running"),
                    ("zone", zone),
                ];
                let value = match is_counter {
                    true => moment.lifetime(pod.life(moment).0, |t| pod.all_millicores(t) * per) / 1e3,
                    false => watts(pod.all_millicores(moment.tick) * per),
                };
                page.sample(&labels, value);
            }
        }
        page.family(&format!("kepler_container_cpu_{suffix}"), kind);
        for (pod, uid) in &each {
            for (c, container) in pod.containers.iter().enumerate() {
                let id = pod.container_id(moment, c);
                for (zone, _, per) in ZONES {
                    let labels = [
                        ("container_id", id.as_str()),
                        ("container_name", container.name),
                        host,
                        ("pod_id", uid),
                        ("runtime", "containerd"),
                        ("state", "running"),
                        ("zone", zone),
                    ];
                    let value = match is_counter {
                        true => moment.lifetime(pod.life(moment).0, |t| pod.millicores(c, t) * per) / 1e3,
                        false => watts(pod.millicores(c, moment.tick) * per),
                    };
                    page.sample(&labels, value);
                }
            }
        }
    }
    // One that has ended, and whose last figures are still shown.
    let gone = ("pod_id", "00000000-0000-4000-8000-000000000000");
    let labels = [host, gone, ("pod_name", "gone"), ("pod_namespace", "batch"), ("state", "terminated"), ("zone", "package")];
    page.counter("kepler_pod_cpu_joules_total").sample(&labels, 12_345.0);
    // The cards' watts, which dcgm-exporter says too; and of the pods that hold them.
    page.gauge("kepler_node_gpu_watts");
    for card in fleet.cards(node, moment.tick).iter().filter(|c| !c.blank_power) {
        let labels =
            [("gpu", &*card.index.to_string()), ("gpu_name", card.model.name), ("gpu_uuid", &card.uuid), host, ("vendor", "nvidia")];
        page.sample(&labels, watts(card.milliwatts(moment.tick)));
    }
    page.gauge("kepler_pod_gpu_watts");
    for (pod, uid) in each.iter().filter(|(p, _)| p.gpus > 0) {
        let labels = [host, ("pod_id", uid), ("pod_name", &pod.name), ("pod_namespace", pod.namespace), ("state", "running")];
        page.sample(&labels, watts(fleet.held_milliwatts(pod, moment.tick)));
    }
}

fn vms(page: &mut Page, fleet: &Fleet, node: usize, moment: Moment) {
    let at = &fleet.nodes[node];
    for is_counter in [false, true] {
        let (suffix, kind) = if is_counter { ("joules_total", "counter") } else { ("watts", "gauge") };
        page.family(&format!("kepler_vm_cpu_{suffix}"), kind);
        for vm in at.vms.iter().map(|v| &fleet.vms[*v]).filter(|v| v.is_active) {
            for (zone, _, per) in ZONES {
                let labels = [
                    ("hypervisor", "kvm"),
                    ("node_name", at.name.as_str()),
                    ("state", "running"),
                    ("vm_id", &vm.uuid),
                    ("vm_name", &vm.domain),
                    ("zone", zone),
                ];
                let value = match is_counter {
                    true => moment.lifetime(0, |t| vm.millicores(t) * per) / 1e3,
                    false => watts(vm.millicores(moment.tick) * per),
                };
                page.sample(&labels, value);
            }
        }
    }
}

fn old(page: &mut Page, fleet: &Fleet, node: usize, moment: Moment) {
    let at = &fleet.nodes[node];
    let host = ("instance", at.name.as_str());
    let joules = |of: fn(&crate::power::NodePower) -> u64| fleet.node_integral(node, moment, of) / 1e3;
    page.gauge("kepler_exporter_build_info").sample(&[("revision", "0"), ("version", "0.7.12")], 1.0);
    page.gauge("kepler_node_info").sample(
        &[
            ("components_power_source", "rapl"),
            ("cpu_architecture", "Sapphire Rapids"),
            ("platform_power_source", "acpi"),
            ("source", "os"),
        ],
        1.0,
    );
    page.counter("kepler_node_platform_joules_total")
        .sample(&[host, ("mode", "dynamic"), ("source", "acpi")], joules(|p| p.server_milliwatts));
    page.sample(&[host, ("mode", "idle"), ("source", "acpi")], 0.0);
    type Part = fn(&crate::power::NodePower) -> u64;
    let parts: [(&str, Part, Part); 2] = [("package", |p| p.cpu_active, |p| p.cpu_idle), ("dram", |p| p.memory_active, |p| p.memory_idle)];
    for (zone, active, idle) in parts {
        page.counter(&format!("kepler_node_{zone}_joules_total"));
        page.sample(&[host, ("mode", "dynamic"), ("package", "0"), ("source", "rapl")], joules(active));
        page.sample(&[host, ("mode", "idle"), ("package", "0"), ("source", "rapl")], joules(idle));
    }
    for (zone, _, per) in ZONES.into_iter().chain([("", "", CPU_PER_MILLICORE + MEMORY_PER_MILLICORE)]) {
        let name =
            if zone.is_empty() { "kepler_container_joules_total".to_owned() } else { format!("kepler_container_{zone}_joules_total") };
        page.counter(&name);
        for pod in at.pods.iter().map(|p| &fleet.pods[*p]) {
            for (c, container) in pod.containers.iter().enumerate() {
                let id = pod.container_id(moment, c);
                for mode in ["dynamic", "idle"] {
                    let labels = [
                        ("container_id", id.as_str()),
                        ("container_name", container.name),
                        ("container_namespace", pod.namespace),
                        ("mode", mode),
                        ("pod_name", &pod.name),
                        ("source", "rapl"),
                    ];
                    let dynamic = || moment.lifetime(pod.life(moment).0, |t| pod.millicores(c, t) * per) / 1e3;
                    page.sample(&labels, if mode == "dynamic" { dynamic() } else { 0.0 });
                }
            }
        }
    }
    page.counter("kepler_vm_package_joules_total");
    for vm in at.vms.iter().map(|v| &fleet.vms[*v]).filter(|v| v.is_active) {
        let labels = [("mode", "dynamic"), ("source", "rapl"), ("vm_id", vm.uuid.as_str())];
        page.sample(&labels, moment.lifetime(0, |t| vm.millicores(t) * CPU_PER_MILLICORE) / 1e3);
    }
    let system = mix(&[at.id, 22]) % 1_000;
    page.counter("kepler_node_core_joules_total")
        .sample(&[host, ("mode", "dynamic"), ("package", "0"), ("source", "rapl")], joules(|p| p.cpu_active) * 0.8 + system as f64);
}
