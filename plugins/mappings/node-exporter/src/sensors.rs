//! What the kernel's hardware monitors show. A chip's sensor is named by its label, where two do not share one.

use std::collections::{HashMap, HashSet};

use kcloud_collector_sdk::SubjectRef;
use kcloud_collector_sdk::exporter::label;

use crate::{Reading, table};

impl Reading<'_, '_, '_, '_> {
    pub(crate) fn sensors(&mut self) {
        let page = self.page;
        let chips: HashMap<String, String> =
            page.rows("node_hwmon_chip_names").iter().map(|r| (r.text("chip"), r.text("chip_name"))).collect();
        let labels: HashMap<(String, String), String> =
            page.rows("node_hwmon_sensor_label").iter().map(|r| ((r.text("chip"), r.text("sensor")), r.text("label"))).collect();
        let mut shared: HashMap<(&str, &str), usize> = HashMap::new();
        for ((chip, _), label) in &labels {
            *shared.entry((chip, label)).or_default() += 1;
        }
        // Some chips say watts both as they are and averaged: the first counts.
        let mut seen = HashSet::new();
        for (family, kind, sensor_type, metric) in table::HWMON {
            for row in page.rows(family) {
                let (chip, sensor) = (row.text("chip"), row.text("sensor"));
                let name = match labels.get(&(chip.clone(), sensor.clone())).filter(|l| !l.is_empty()) {
                    Some(l) if shared.get(&(chip.as_str(), l.as_str())) == Some(&1) => l.clone(),
                    Some(l) => format!("{l} {sensor}"),
                    None => sensor.clone(),
                };
                let one = self.sensor(kind, &chip, &name, sensor_type);
                if !seen.insert((one, *metric)) {
                    continue;
                }
                self.out.label(one, "location", chips.get(&chip));
                self.out.put(metric, one, row.value, row.at_ms);
                for (limit, metric) in table::LIMITS.iter().filter(|(limit, _)| limit.starts_with(table::stem(family))) {
                    let of = page.rows(limit).iter().find(|r| r.text("chip") == chip && r.text("sensor") == sensor);
                    // Drivers write 0, or the largest number that the chip holds, where no limit is set.
                    if let Some(row) = of.filter(|r| r.value.is_finite() && r.value != 0.0 && (*kind == "fan" || r.value.abs() < 1_000.0)) {
                        self.out.put(metric, one, row.value, row.at_ms);
                    }
                }
            }
        }
        for row in page.rows("node_thermal_zone_temp") {
            let one = self.sensor("sensor", &format!("thermal_zone{}", row.text("zone")), &row.text("type"), "temperature");
            self.out.put("temperature_celsius", one, row.value, row.at_ms);
        }
    }

    fn sensor(&mut self, kind: &str, chip: &str, name: &str, sensor_type: &str) -> SubjectRef {
        let (node, key) = (self.node, format!("{}/{chip}/{name}", self.node.index()));
        self.out.batch.subject(kind, &key, Some(node), |s| {
            s.identity = vec![label("entity", chip), label("name", name)];
            if kind == "sensor" {
                s.labels = vec![label("sensor_type", sensor_type)];
            }
        })
    }
}
