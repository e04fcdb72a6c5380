//! The whole server, as its board or BMC tells Kepler, and its cards.

use std::collections::BTreeMap;

use kcloud_collector_sdk::exporter::{Row, label};
use kcloud_collector_sdk::{GapReason, Quality, SubjectRef};

use crate::Reading;

/// Which rows of a family count: the sum where it is said beside its parts (`dynamic`, `idle`), else all.
pub(crate) fn counted(rows: &[Row<'_>]) -> impl Fn(&Row<'_>) -> bool + use<> {
    let is_sum = |row: &Row<'_>| row.get("mode").as_deref() == Some("absolute");
    let has_sum = rows.iter().any(is_sum);
    move |row| !has_sum || is_sum(row)
}

impl Reading<'_, '_, '_, '_> {
    /// Joules up to 0.9, watts from 0.10.
    pub(crate) fn platform(&mut self) {
        let Some(node) = self.node else { return };
        // Two ways of asking are the same watts twice: the one that knows more counts.
        let mut by_source: BTreeMap<String, f64> = BTreeMap::new();
        let rows = self.page.rows("kepler_node_platform_joules_total");
        let is_counted = counted(rows);
        for row in rows.iter().filter(|r| r.value.is_finite() && is_counted(r)) {
            *by_source.entry(row.text("source")).or_default() += row.value;
        }
        if let Some(joules) = by_source.into_values().max_by(f64::total_cmp) {
            let chassis = self.chassis(node, None);
            match joules > 0.0 {
                true => self.out.put_as(self.quality, "energy_joules", chassis, joules, rows[0].at_ms),
                false => self.out.gap("energy_joules", chassis, GapReason::Unsupported),
            }
        }
        let mut by_chassis: BTreeMap<String, Vec<Row<'_>>> = BTreeMap::new();
        for row in self.page.rows("kepler_platform_watts").iter().filter(|r| r.value.is_finite()) {
            by_chassis.entry(row.text("chassis_id")).or_default().push(*row);
        }
        let is_one = by_chassis.len() == 1;
        for (id, rows) in by_chassis {
            let chassis = self.chassis(node, Some(id).filter(|_| !is_one));
            // Newer BMCs show supplies in place of the one control; one that shows both says the same twice.
            let is_supply = |row: &&Row<'_>| row.get("source_type").as_deref() == Some("PowerSupply");
            let supplies: Vec<f64> = rows.iter().filter(is_supply).map(|r| r.value).collect();
            let most = rows.iter().map(|r| r.value).max_by(f64::total_cmp);
            let (quality, watts) = match supplies.is_empty() {
                true => (self.quality, most),
                false => (self.quality.max(Quality::Derived), Some(supplies.iter().sum())),
            };
            match watts.filter(|w| *w > 0.0) {
                Some(watts) => self.out.put_as(quality, "power_watts", chassis, watts, rows[0].at_ms),
                None => self.out.gap("power_watts", chassis, GapReason::Unsupported),
            }
        }
    }

    fn chassis(&mut self, node: SubjectRef, entity: Option<String>) -> SubjectRef {
        let key = format!("{}/kepler/{}", node.index(), entity.as_deref().unwrap_or(""));
        self.out.batch.subject("chassis", &key, Some(node), |s| {
            s.identity = entity.iter().map(|e| label("entity", e)).collect();
            s.identity.push(label("name", "kepler"));
            s.labels = vec![label("method", "kepler")];
        })
    }

    /// Cards, from 0.10 on by their UUID: the same that their own exporter names.
    pub(crate) fn cards(&mut self) {
        for (family, metric) in [("kepler_node_gpu_joules_total", "energy_joules"), ("kepler_node_gpu_watts", "power_watts")] {
            for row in self.page.rows(family) {
                let Some(uuid) = row.get("gpu_uuid") else { continue };
                let node = self.node;
                let name = node.and_then(|n| self.out.batch.get(n).identity.first().map(|l| l.value.clone()));
                let card = self.out.batch.subject("accelerator", &uuid, node, |s| {
                    s.identity = vec![label("uuid", &uuid)];
                    s.identity.extend(name.map(|name| label("node", &name)));
                });
                self.out.label(card, "class", Some("gpu"));
                for (key, said) in [("vendor", "vendor"), ("model", "gpu_name"), ("index", "gpu")] {
                    self.out.label(card, key, row.get(said));
                }
                self.out.put_as(self.quality, metric, card, row.value, row.at_ms);
            }
        }
    }
}
