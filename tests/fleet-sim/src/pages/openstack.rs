//! A cloud's hypervisors and servers, as openstack-exporter writes them: all gauges, what is allocated and never what is used.

use crate::page::Page;
use crate::{Fleet, Vm};

pub(crate) fn write(fleet: &Fleet, cluster: usize) -> String {
    let mut page = Page::new();
    let vms: Vec<&Vm> = fleet.vms.iter().filter(|v| v.cluster == cluster).collect();
    let hosts: Vec<_> = fleet.nodes.iter().filter(|n| !n.vms.is_empty() && n.cluster == cluster).collect();
    page.gauge("openstack_nova_up").sample(&[], 1.0);
    page.gauge("openstack_identity_up").sample(&[], 1.0);
    page.gauge("openstack_identity_project_info");
    let mut projects: Vec<(&str, String)> = vms.iter().map(|v| (v.project, v.project_id())).collect();
    projects.sort();
    projects.dedup();
    for (name, id) in &projects {
        page.sample(
            &[
                ("description", ""),
                ("domain_id", "default"),
                ("enabled", "true"),
                ("id", id),
                ("is_domain", "false"),
                ("name", name),
                ("parent_id", ""),
            ],
            1.0,
        );
    }
    page.gauge("openstack_nova_flavor");
    for (id, (name, vcpus, ram)) in [("m1.medium", "2", "4096"), ("m1.large", "4", "8192"), ("m1.xlarge", "8", "16384")].iter().enumerate()
    {
        page.sample(
            &[("disk", "40"), ("id", &(id + 1).to_string()), ("is_public", "true"), ("name", name), ("ram", ram), ("vcpus", vcpus)],
            1.0,
        );
    }
    let on = |host: &crate::Node| host.vms.iter().map(|v| &fleet.vms[*v]).collect::<Vec<_>>();
    type Of = fn(&crate::Node, &[&Vm]) -> f64;
    let totals: [(&str, Of); 5] = [
        ("vcpus_available", |n, _| n.cores as f64),
        ("vcpus_used", |_, v| v.iter().map(|v| v.vcpus).sum::<u64>() as f64),
        ("memory_available_bytes", |n, _| n.memory_bytes as f64),
        ("memory_used_bytes", |_, v| v.iter().map(|v| v.memory_bytes).sum::<u64>() as f64),
        ("running_vms", |_, v| v.iter().filter(|v| v.is_active).count() as f64),
    ];
    for (name, of) in totals {
        page.gauge(&format!("openstack_nova_{name}"));
        for host in &hosts {
            page.sample(&[("aggregates", ""), ("availability_zone", "nova"), ("hostname", &host.name)], of(host, &on(host)));
        }
    }
    page.gauge("openstack_nova_agent_state");
    for (id, host) in hosts.iter().enumerate() {
        page.sample(
            &[
                ("adminState", "enabled"),
                ("disabledReason", ""),
                ("hostname", &host.name),
                ("id", &(id + 1).to_string()),
                ("service", "nova-compute"),
                ("zone", "nova"),
            ],
            1.0,
        );
    }
    page.gauge("openstack_nova_server_status");
    for vm in &vms {
        let flavor = ["m1.medium", "m1.large", "m1.xlarge"].iter().position(|f| *f == vm.flavor).map_or(0, |f| f + 1).to_string();
        page.sample(
            &[
                ("address_ipv4", &format!("192.168.{}.{}", vm.id % 200, vm.id % 250 + 1)),
                ("address_ipv6", ""),
                ("availability_zone", "nova"),
                ("flavor_id", &flavor),
                ("host_id", &format!("{:056x}", fleet.nodes[vm.node].id)),
                ("hypervisor_hostname", &fleet.nodes[vm.node].name),
                ("id", &vm.uuid),
                ("instance_libvirt", &vm.domain),
                ("name", &vm.name),
                ("status", if vm.is_active { "ACTIVE" } else { "SHUTOFF" }),
                ("tenant_id", &vm.project_id()),
                ("user_id", "user-1"),
                ("uuid", &vm.uuid),
            ],
            // The place in Nova's list of states.
            if vm.is_active { 0.0 } else { 16.0 },
        );
    }
    page.gauge("openstack_nova_total_vms").sample(&[], vms.len() as f64);
    page.gauge("openstack_nova_limits_instances_max");
    projects.iter().for_each(|(name, id)| page.row(&[("tenant", name), ("tenant_id", id)], -1.0));
    page.done()
}
