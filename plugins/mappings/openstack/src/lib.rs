//! From rows of openstack-exporter to virtual machines with their projects, hypervisors and agents, whichever way the rows came.
//! A cloud says what is allocated and never what is used.

mod hypervisors;
mod projects;
mod table;

use std::collections::HashMap;

use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, SubjectRef};

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// Reads clouds.
#[derive(Default)]
pub struct OpenStack;

/// One read of one cloud.
struct Reading<'p, 'r, 'o, 'b> {
    page: &'p Page<'r>,
    out: &'o mut Out<'b>,
}

impl Source for OpenStack {
    const NAME: &'static str = "openstack-exporter";
    const LIKE: &'static str = "openstack_(nova|identity|placement)_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        for service in ["nova", "identity", "placement"] {
            let is_down = page.first(&format!("openstack_{service}_up")).is_some_and(|r| r.value == 0.0);
            let why = CollectError::Unreachable(format!("openstack-exporter could not read {service}"));
            match is_down {
                true if service == "nova" => return Err(why),
                true => out.half(why),
                false => {}
            }
        }
        let mut reading = Reading { page, out };
        reading.machines();
        reading.hypervisors();
        reading.agents();
        reading.projects();
        reading.placement();
        Ok(())
    }
}

impl Reading<'_, '_, '_, '_> {
    fn machines(&mut self) {
        let page = self.page;
        // Since Nova 2.47 a server names its flavour; before, its id, which goes before a name that looks like one.
        let mut flavors: HashMap<String, &Row<'_>> = HashMap::new();
        for key in ["name", "id"] {
            flavors.extend(page.rows("openstack_nova_flavor").iter().map(|f| (f.text(key), f)));
        }
        let flavor = |row: &Row<'_>| flavors.get(&*row.get("flavor_id")?).copied();
        let names = self.project_names();
        for row in page.rows("openstack_nova_server_status") {
            let Some(uuid) = row.get("uuid").or_else(|| row.get("id")) else {
                self.out.problem("a server without an id");
                continue;
            };
            // A server that was never placed, or was taken down, is on none.
            let hypervisor = row.get("hypervisor_hostname");
            let node = hypervisor.as_ref().map(|h| self.out.node(h));
            let vm = self.out.vm(&uuid, node);
            for (key, said) in table::LABELS {
                self.out.label(vm, key, row.get(said));
            }
            self.out.label(vm, "hypervisor", hypervisor);
            self.out.label(vm, "project", names.get(&row.text("tenant_id")));
            let addresses: Vec<_> = [row.get("address_ipv4"), row.get("address_ipv6")].into_iter().flatten().collect();
            self.out.label(vm, "addresses", Some(addresses.join(",")));
            let flavor = flavor(row);
            self.out.label(vm, "flavor", flavor.and_then(|f| f.get("name")).or_else(|| row.get("flavor_id")));
            // `BUILD(spawning)`
            let status = row.text("status").to_ascii_lowercase();
            let status = status.split('(').next().unwrap_or("");
            self.out.state("vm_status", vm, table::VM_STATUS.iter().find(|s| **s == status).copied().unwrap_or("unknown"));
            for (metric, said, factor) in [("vcpu_count", "vcpus", 1.0), ("memory_total_bytes", "ram", MIB)] {
                if let Some(value) = flavor.and_then(|f| f.get(said)?.parse::<f64>().ok()) {
                    self.out.put(metric, vm, value * factor, row.at_ms);
                }
            }
        }
        for row in page.rows("openstack_nova_server_local_gb") {
            if let Some(uuid) = row.get("id").filter(|_| row.value >= 0.0) {
                let vm = self.out.vm(&uuid, None);
                self.out.label(vm, "name", row.get("name"));
                self.out.label(vm, "project_id", row.get("tenant_id"));
                self.out.label(vm, "project", names.get(&row.text("tenant_id")));
                self.out.put("filesystem_total_bytes", vm, row.value * GIB, row.at_ms);
            }
        }
    }

    /// Names of projects by their id.
    fn project_names(&self) -> HashMap<String, String> {
        let of = |family: &str, id: &'static str, name: &'static str| {
            self.page
                .rows(family)
                .iter()
                .filter_map(move |r| Some((r.get(id)?.into_owned(), r.get(name)?.into_owned())))
                .collect::<Vec<_>>()
        };
        let limits = ["openstack_nova_limits_instances_max", "openstack_nova_quota_instances"].map(|f| of(f, "tenant_id", "tenant"));
        limits.into_iter().flatten().chain(of("openstack_identity_project_info", "id", "name")).collect()
    }

    fn agents(&mut self) {
        for row in self.page.rows("openstack_nova_agent_state") {
            let host = row.get("hostname");
            // An agent of a controller stands for itself: it makes no node.
            let node = host.as_ref().filter(|_| row.get("service").as_deref() == Some("nova-compute")).map(|h| self.out.node(h));
            let agent: SubjectRef = self.out.subject("x_openstack_agent", "name", &row.text("id"), node);
            for (key, said) in [("host", "hostname"), ("service", "service"), ("zone", "zone"), ("reason", "disabledReason")] {
                self.out.label(agent, key, row.get(said));
            }
            self.out.label(agent, "admin_state", row.get("adminState"));
            let state = if row.value == 1.0 { "up" } else { "down" };
            self.out.state("x_openstack_agent_state", agent, state);
        }
    }
}
