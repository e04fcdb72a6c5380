//! From rows of the exporters over libvirt to virtual machines, in the names of both of their families (`libvirt_domain_*`, by a
//! domain's name, and `libvirtd_domain_*`, by UUID), whichever way the rows came.

mod table;

use std::collections::{BTreeMap, HashMap, HashSet};

use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source, is_uuid};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, GapReason, Quality, SubjectRef};

use table::{Family, Of};

/// Reads hypervisors.
#[derive(Default)]
pub struct Libvirt;

/// One read of one hypervisor.
struct Reading<'p, 'r, 'o, 'b> {
    page: &'p Page<'r>,
    out: &'o mut Out<'b>,
    node: Option<SubjectRef>,
    /// UUIDs of domains, where the exporter gives them.
    uuids: HashMap<String, String>,
    nameless: HashSet<String>,
    /// What was said of a machine, by metric: the sum over its devices.
    sums: BTreeMap<(usize, &'static str), (SubjectRef, f64, Option<i64>)>,
}

impl Source for Libvirt {
    const NAME: &'static str = "libvirt";
    const LIKE: &'static str = "libvirt.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        if page.first("libvirt_up").is_some_and(|r| r.value == 0.0) {
            return Err(CollectError::Unreachable("the exporter does not reach libvirt".to_owned()));
        }
        let node = page.named().map(|name| out.node(&name));
        let mut reading = Reading { page, out, node, uuids: HashMap::new(), nameless: HashSet::new(), sums: BTreeMap::new() };
        reading.describe();
        for family in table::FAMILIES {
            reading.family(family);
        }
        reading.finish();
        Ok(())
    }
}

impl Reading<'_, '_, '_, '_> {
    /// What machines are called and whose they are.
    fn describe(&mut self) {
        let page = self.page;
        for row in table::INFO.iter().flat_map(|family| page.rows(family)) {
            let said = |names: &[&str]| names.iter().find_map(|n| row.get(n)).map(|v| v.into_owned());
            if let (Some(domain), Some(uuid)) = (row.get("domain"), said(table::UUID)) {
                self.uuids.insert(domain.into_owned(), uuid);
            }
            let Some(vm) = self.machine(row) else { continue };
            for (key, names) in table::LABELS {
                self.out.label(vm, key, said(names));
            }
        }
    }

    /// The machine that a row is of. Only a UUID is the same everywhere.
    fn machine(&mut self, row: &Row<'_>) -> Option<SubjectRef> {
        let own = table::UUID.iter().find_map(|n| row.get(n));
        let domain = row.get("domain");
        let uuid = own.as_deref().or_else(|| self.uuids.get(domain.as_deref()?).map(String::as_str)).filter(|u| is_uuid(u));
        let Some(uuid) = uuid else {
            self.nameless.insert(domain.or(own).unwrap_or_default().into_owned());
            return None;
        };
        let vm = self.out.vm(uuid, self.node);
        self.out.label(vm, "instance_name", domain);
        Some(vm)
    }

    fn family(&mut self, family: &Family) {
        let page = self.page;
        for row in page.rows(family.name).iter().filter(|r| r.value.is_finite() && r.value >= 0.0) {
            let Some(vm) = self.machine(row) else { continue };
            let value = row.value * family.factor;
            let device = |names: &[&str]| names.iter().find_map(|n| row.get(n)).map(|v| v.into_owned());
            let (kind, key, part) = match family.of {
                Of::State => {
                    self.out.state("power_state", vm, table::power_state(row.value));
                    continue;
                }
                Of::Machine => {
                    // An old and a new name, or what is and what may be at most: the first counts.
                    self.sums.entry((vm.index(), family.metric)).or_insert((vm, value, row.at_ms));
                    continue;
                }
                Of::Vcpu => ("x_vcpu", "index", device(&["vcpu"])),
                Of::Disk => ("x_disk", "name", device(&["target_device", "device"])),
                Of::Nic => ("x_nic", "name", device(&["target_device", "interface"])),
            };
            if let Some(part) = part {
                let part = self.out.subject(kind, key, &part, Some(vm));
                self.out.put(family.metric, part, value, row.at_ms);
            }
            if family.of != Of::Vcpu {
                let sum = self.sums.entry((vm.index(), family.metric)).or_insert((vm, 0.0, row.at_ms));
                sum.1 += value;
            }
        }
    }

    fn finish(mut self) {
        self.memory();
        for ((_, metric), (vm, value, at_ms)) in std::mem::take(&mut self.sums) {
            if !metric.starts_with("balloon_") {
                self.out.put(metric, vm, value, at_ms);
            }
        }
        if !self.nameless.is_empty() {
            let why = format!(
                "{} domains without a UUID: this exporter does not give one, and a name is not the same everywhere",
                self.nameless.len()
            );
            self.out.batch.problem(CollectError::Unsupported(why), None);
        }
    }

    /// What is used inside the guest, which only its balloon driver tells; what a machine holds of its host is its allocation.
    fn memory(&mut self) {
        let machines: BTreeMap<usize, SubjectRef> = self.sums.values().map(|(vm, ..)| (vm.index(), *vm)).collect();
        for (index, vm) in machines {
            let said = |metric| self.sums.get(&(index, metric)).map(|(_, value, at_ms)| (*value, *at_ms));
            let free = said("balloon_usable").or_else(|| said("balloon_unused"));
            match (said("balloon_available"), free) {
                (Some((available, at_ms)), Some((free, _))) if available > 0.0 && free <= available => {
                    self.out.put_as(Quality::Derived, "memory_used_bytes", vm, available - free, at_ms);
                }
                _ => self.out.gap("memory_used_bytes", vm, GapReason::Unsupported),
            }
        }
        // Where the number of its processors is not said, those that are shown are all.
        let mut vcpus: BTreeMap<usize, (SubjectRef, f64)> = BTreeMap::new();
        for family in ["libvirtd_domain_vcpu_state", "libvirt_domain_vcpu_state"] {
            let page = self.page;
            for row in page.rows(family) {
                if let Some(vm) = self.machine(row) {
                    vcpus.entry(vm.index()).or_insert((vm, 0.0)).1 += 1.0;
                }
            }
        }
        for (index, (vm, count)) in vcpus {
            self.sums.entry((index, "vcpu_count")).or_insert((vm, count, None));
        }
    }
}
