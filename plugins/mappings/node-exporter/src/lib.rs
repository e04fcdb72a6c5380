//! From rows of node_exporter to a node with its sensors, devices and energy, whichever way the rows came.

mod cpu;
mod devices;
mod filesystems;
mod sensors;
mod table;
mod total;

use std::collections::HashMap;

use kcloud_collector_sdk::exporter::{Def, Out, Page, Source};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, Quality, SubjectRef};

use cpu::Busy;
use total::Total;

/// Reads nodes. It keeps what it read before: a share of time and a sum of counters need two reads.
#[derive(Default)]
pub struct NodeExporter {
    pressure: bool,
    ignore: Vec<String>,
    busy: HashMap<String, Busy>,
    totals: HashMap<(String, &'static str), Total>,
}

/// One read of one node.
struct Reading<'p, 'r, 'o, 'b> {
    page: &'p Page<'r>,
    out: &'o mut Out<'b>,
    node: SubjectRef,
}

impl Source for NodeExporter {
    const NAME: &'static str = "node_exporter";
    const LIKE: &'static str = "node_[a-z].*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let uname = page.first("node_uname_info");
        let own = || uname.and_then(|u| u.get("nodename")).map(|n| n.into_owned());
        let Some(name) = page.node.clone().or_else(own).or_else(|| page.host.clone()) else {
            return Err(CollectError::Config("nobody says which node this is: give the target labels.node".to_owned()));
        };
        let node = out.node(&name);
        for (key, family, label) in table::LABELS {
            out.label(node, key, page.first(family).and_then(|row| row.get(label)));
        }
        let mut reading = Reading { page, out, node };
        self.busy.entry(page.key.clone()).or_default().read(&mut reading);
        reading.memory();
        for (family, metric) in table::PLAIN {
            if let Some(row) = page.first(family) {
                reading.out.put(metric, node, row.value, row.at_ms);
            }
        }
        if self.pressure {
            for (family, metric) in table::PRESSURE {
                if let Some(row) = page.first(family) {
                    reading.out.put(metric, node, row.value, row.at_ms);
                }
            }
        }
        self.energy(&mut reading);
        self.network(&mut reading);
        self.disks(&mut reading);
        reading.filesystems();
        reading.sensors();
        Ok(())
    }
}

impl NodeExporter {
    /// With pressure stall seconds where they are wanted; interfaces and disks whose name begins like one of `ignore` are passed by.
    pub fn new(pressure: bool, ignore: Vec<String>) -> Self {
        Self { pressure, ignore, ..Self::default() }
    }

    /// The sum of one counter over the parts of a node.
    fn sum(&mut self, reading: &mut Reading<'_, '_, '_, '_>, metric: &'static str, parts: &[(String, f64)], at_ms: Option<i64>) {
        if !parts.is_empty() {
            let total = self.totals.entry((reading.page.key.clone(), metric)).or_default().read(parts);
            reading.out.put(metric, reading.node, total, at_ms);
        }
    }

    /// RAPL. `psys` contains the packages, a package its core and uncore: each zone stays its own.
    fn energy(&mut self, reading: &mut Reading<'_, '_, '_, '_>) {
        for (family, metric) in table::RAPL {
            // The same package once more, read through memory-mapped registers.
            let is_own = |path: &str| !path.contains("intel-rapl-mmio");
            let rows = reading.page.rows(family).iter().filter(|r| is_own(&r.text("path")) && r.value.is_finite());
            let parts: Vec<(String, f64)> = rows.map(|r| (format!("{}/{}", r.text("index"), r.text("path")), r.value)).collect();
            let at_ms = reading.page.first(family).and_then(|r| r.at_ms);
            self.sum(reading, metric, &parts, at_ms);
        }
    }
}

impl Reading<'_, '_, '_, '_> {
    fn memory(&mut self) {
        let value = |name: &str| self.page.first(name).map(|r| r.value).filter(|v| v.is_finite());
        let Some(total) = value("node_memory_MemTotal_bytes") else { return };
        let at_ms = self.page.first("node_memory_MemTotal_bytes").and_then(|r| r.at_ms);
        self.out.put("memory_total_bytes", self.node, total, at_ms);
        let free = value("node_memory_MemFree_bytes");
        if let Some(free) = free {
            self.out.put("memory_free_bytes", self.node, free, at_ms);
        }
        let said = value("node_memory_MemAvailable_bytes");
        // Kernels before 3.14 do not say what is available.
        let made = || {
            let parts = ["node_memory_Buffers_bytes", "node_memory_Cached_bytes", "node_memory_SReclaimable_bytes"];
            free.map(|free| free + parts.iter().filter_map(|n| value(n)).sum::<f64>() - value("node_memory_Shmem_bytes").unwrap_or(0.0))
        };
        let Some(available) = said.or_else(made) else { return };
        let quality = match said {
            Some(_) => Quality::Measured,
            None => Quality::Derived,
        };
        self.out.put_as(quality, "memory_available_bytes", self.node, available, at_ms);
        self.out.put("memory_used_bytes", self.node, total - available, at_ms);
    }
}
