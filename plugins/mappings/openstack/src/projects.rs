//! What projects may use and do use.

use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::exporter::Row;

use crate::{MIB, Reading, table};

impl Reading<'_, '_, '_, '_> {
    pub(crate) fn projects(&mut self) {
        let page = self.page;
        let names = self.project_names();
        for (id, name) in &names {
            let project = self.out.subject("x_openstack_project", "name", id, None);
            self.out.label(project, "project", Some(name));
        }
        for resource in table::QUOTA {
            for (family, kind, metric) in [
                (resource.limit_family, None, resource.limit),
                (resource.used_family, None, resource.used),
                (resource.quota_family, Some("limit"), resource.limit),
                (resource.quota_family, Some("in_use"), resource.used),
            ] {
                let is_kind = |row: &&Row<'_>| kind.is_none() || row.get("type").as_deref() == kind;
                // Both families say the same: the first counts.
                if kind.is_some() && !page.rows(resource.limit_family).is_empty() {
                    continue;
                }
                for row in page.rows(family).iter().filter(is_kind) {
                    let Some(id) = row.get("tenant_id") else { continue };
                    let project = self.out.subject("x_openstack_project", "name", &id, None);
                    match row.value {
                        // No limit is no number.
                        -1.0 => {
                            self.out.gap(metric, project, GapReason::Absent);
                            self.unlimited(project, resource.name);
                        }
                        value => self.out.put(metric, project, if resource.is_mib { value * MIB } else { value }, row.at_ms),
                    }
                }
            }
        }
    }

    fn unlimited(&mut self, project: kcloud_collector_sdk::SubjectRef, resource: &str) {
        let labels = self.out.batch.labels(project);
        match labels.iter_mut().find(|l| l.key == "unlimited") {
            Some(label) => label.value = format!("{},{resource}", label.value),
            None => labels.push(kcloud_collector_sdk::exporter::label("unlimited", resource)),
        }
    }
}
