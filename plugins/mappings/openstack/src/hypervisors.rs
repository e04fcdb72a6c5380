//! Hypervisors: what they have to give and what is given. Nova from 2.88 on says it no more; Placement does.

use std::collections::BTreeMap;

use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{MetricKind, Quality};

use crate::{Reading, table};

/// Longer names of resources than any that Placement knows are not made metrics.
const LONGEST: usize = 60;

impl Reading<'_, '_, '_, '_> {
    pub(crate) fn hypervisors(&mut self) {
        let page = self.page;
        for (family, metric) in table::HYPERVISOR {
            for row in page.rows(family) {
                let Some(host) = row.get("hostname").filter(|_| row.value >= 0.0) else { continue };
                let node = self.out.node(&host);
                self.out.label(node, "availability_zone", row.get("availability_zone"));
                self.out.put(metric, node, row.value, row.at_ms);
            }
        }
        // In some releases one row a project.
        let mut running: BTreeMap<String, (f64, Option<i64>)> = BTreeMap::new();
        for row in page.rows("openstack_nova_running_vms") {
            let of = running.entry(row.text("hostname")).or_insert((0.0, row.at_ms));
            of.0 += row.value;
        }
        for (host, (count, at_ms)) in running.into_iter().filter(|(host, _)| !host.is_empty()) {
            let node = self.out.node(&host);
            self.out.put("x_openstack_vms_count", node, count, at_ms);
        }
    }

    /// Inventories of resource providers, in an open set of classes: `VCPU`, `VGPU`, `CUSTOM_…`.
    pub(crate) fn placement(&mut self) {
        let page = self.page;
        for (family, what, unit) in table::PLACEMENT {
            for row in page.rows(family) {
                let (Some(host), Some(class)) = (row.get("hostname"), row.get("resourcetype")) else { continue };
                let class: String = class.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
                if class.len() > LONGEST || !row.value.is_finite() {
                    continue;
                }
                let node = self.out.node(&host);
                let name = format!("x_openstack_placement_{class}_{what}");
                let metric = self.out.batch.metric(definition(&name, unit, MetricKind::Gauge, Quality::Measured));
                self.out.batch.point(metric, node, row.value, row.at_ms);
            }
        }
    }
}
