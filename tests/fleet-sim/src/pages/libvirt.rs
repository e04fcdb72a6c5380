//! A hypervisor's domains in the names of the older family of exporters, or of the newer one on every second hypervisor.

use crate::page::Page;
use crate::{Fleet, Moment, Vm};

pub(crate) fn write(fleet: &Fleet, node: usize, moment: Moment) -> String {
    let at = &fleet.nodes[node];
    let vms: Vec<&Vm> = at.vms.iter().map(|v| &fleet.vms[*v]).collect();
    let mut page = Page::new();
    if at.with_cards.is_multiple_of(2) {
        domains(&mut page, &vms, moment)
    } else {
        daemon(&mut page, &vms, moment)
    }
    page.done()
}

fn bytes(vm: &Vm, moment: Moment, factor: u64) -> f64 {
    moment.lifetime(0, |t| vm.millicores(t) * factor).floor()
}

fn domains(page: &mut Page, vms: &[&Vm], moment: Moment) {
    page.gauge("libvirt_up").sample(&[], 1.0);
    page.gauge("libvirt_domain_info_meta");
    for vm in vms {
        page.sample(
            &[
                ("domain", &vm.domain),
                ("uuid", &vm.uuid),
                ("instance_name", &vm.name),
                ("flavor", vm.flavor),
                ("user_name", "user"),
                ("user_uuid", "user-1"),
                ("project_name", vm.project),
                ("project_uuid", &vm.project_id()),
                ("root_type", "image"),
                ("root_uuid", "155e5ab9-0000-4000-8000-000000000001"),
            ],
            1.0,
        );
    }
    let mut each = |name: &str, kind: &str, extra: Option<(&str, &str)>, value: &dyn Fn(&Vm) -> Option<f64>| {
        page.family(&format!("libvirt_domain_{name}"), kind);
        for vm in vms {
            let labels: Vec<(&str, &str)> = [("domain", vm.domain.as_str())].into_iter().chain(extra).collect();
            if let Some(value) = value(vm) {
                page.sample(&labels, value);
            }
        }
    };
    let active = |vm: &Vm, value: f64| vm.is_active.then_some(value);
    each("info_virtual_cpus", "gauge", None, &|v| Some(v.vcpus as f64));
    each("info_maximum_memory_bytes", "gauge", None, &|v| Some(v.memory_bytes as f64));
    each("info_memory_usage_bytes", "gauge", None, &|v| Some(v.memory_bytes as f64));
    each("info_cpu_time_seconds_total", "counter", None, &|v| Some(moment.lifetime(0, |t| v.millicores(t)) / 1e3));
    // 1 runs, 5 is shut off.
    each("info_vstate", "gauge", None, &|v| Some(if v.is_active { 1.0 } else { 5.0 }));
    each("memory_stats_available_bytes", "gauge", None, &|v| active(v, v.memory_bytes as f64));
    each("memory_stats_unused_bytes", "gauge", None, &|v| active(v, (v.memory_bytes - v.memory_used(moment.tick)) as f64));
    each("memory_stats_usable_bytes", "gauge", None, &|v| active(v, (v.memory_bytes - v.memory_used(moment.tick)) as f64));
    each("memory_stats_rss_bytes", "gauge", None, &|v| active(v, v.memory_bytes as f64));
    let disk = Some(("target_device", "vda"));
    each("block_stats_read_bytes_total", "counter", disk, &|v| active(v, bytes(v, moment, 500)));
    each("block_stats_write_bytes_total", "counter", disk, &|v| active(v, bytes(v, moment, 300)));
    each("block_stats_capacity_bytes", "gauge", disk, &|v| active(v, v.disk_bytes as f64));
    let wire = Some(("target_device", "tap0"));
    each("interface_stats_receive_bytes_total", "counter", wire, &|v| active(v, bytes(v, moment, 200)));
    each("interface_stats_transmit_bytes_total", "counter", wire, &|v| active(v, bytes(v, moment, 100)));
}

fn daemon(page: &mut Page, vms: &[&Vm], moment: Moment) {
    let mut each = |name: &str, kind: &str, extra: &[(&str, &str)], value: &dyn Fn(&Vm) -> Option<f64>| {
        page.family(&format!("libvirtd_domain_{name}"), kind);
        for vm in vms {
            let labels: Vec<(&str, &str)> = [("uuid", vm.uuid.as_str())].into_iter().chain(extra.iter().copied()).collect();
            if let Some(value) = value(vm) {
                page.sample(&labels, value);
            }
        }
    };
    let active = |vm: &Vm, value: f64| vm.is_active.then_some(value);
    each("domain_state", "gauge", &[], &|v| Some(if v.is_active { 1.0 } else { 5.0 }));
    each("domain_state_reason", "gauge", &[], &|_| Some(1.0));
    // Nanoseconds; the balloon in KiB.
    each("cpu_time", "counter", &[], &|v| active(v, (moment.lifetime(0, |t| v.millicores(t)) * 1e6).floor()));
    each("balloon_current", "gauge", &[], &|v| active(v, (v.memory_bytes / 1_024) as f64));
    each("balloon_maximum", "gauge", &[], &|v| Some((v.memory_bytes / 1_024) as f64));
    let wire = [("interface", "tap0")];
    each("net_rx_bytes", "counter", &wire, &|v| active(v, bytes(v, moment, 200)));
    each("net_tx_bytes", "counter", &wire, &|v| active(v, bytes(v, moment, 100)));
    let disk = [("device", "vda"), ("path", "/dev/vg/vda")];
    each("block_read_bytes", "counter", &disk, &|v| active(v, bytes(v, moment, 500)));
    each("block_write_bytes", "counter", &disk, &|v| active(v, bytes(v, moment, 300)));
    each("block_capacity", "gauge", &disk, &|v| Some(v.disk_bytes as f64));
    page.family("libvirtd_domain_vcpu_state", "gauge");
    for vm in vms.iter().filter(|v| v.is_active) {
        for vcpu in 0..vm.vcpus {
            page.sample(&[("uuid", &vm.uuid), ("vcpu", &vcpu.to_string())], 1.0);
        }
    }
    page.family("libvirtd_domain_seconds", "gauge");
    for vm in vms {
        let labels = [("uuid", &*vm.uuid), ("instance_type", vm.flavor), ("user_id", "user-1"), ("project_id", &*vm.project_id())];
        page.sample(&labels, moment.lifetime(0, |_| 1).floor());
    }
}
