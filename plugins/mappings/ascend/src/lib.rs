//! From rows of Huawei's npu-exporter to NPUs, vNPUs, ports and processes, in its three sets of labels, whichever way the rows came.

mod table;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use kcloud_collector_sdk::exporter::{Def, Out, Page, Readings, Row, Source, Who};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, Event, GapReason, Severity, SubjectRef};

use table::{DDR_TOTAL, FAMILIES, Family, HBM_TOTAL, Of};

/// A stamp below is in seconds, as old builds wrote: in ms it would be before 1973.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// Reads Ascend chips.
#[derive(Default)]
pub struct Ascend;

impl Source for Ascend {
    const NAME: &'static str = "npu-exporter";
    const LIKE: &'static str = "(npu_chip_info|container_npu|vnpu_pod)_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let mut reading = Reading { page, out, readings: Readings::default(), ids: HashMap::new(), cards: BTreeMap::new() };
        // Rows without a vdie_id (vNPUs, old builds) are of the chip that has their number.
        for row in FAMILIES.iter().flat_map(|f| page.rows(f.name)) {
            let [id, old_id, vdie, uuid] = row.pick(["id", "npuID", "vdie_id", "uuid"]);
            if let (Some(id), Some(vdie)) = (id.or(old_id), vdie.or(uuid)) {
                reading.ids.entry(id.into_owned()).or_insert_with(|| vdie.into_owned());
            }
        }
        for family in FAMILIES {
            for row in page.rows(family.name) {
                reading.row(family, row);
            }
        }
        reading.finish();
        Ok(())
    }
}

struct Reading<'p, 'r, 'o, 'b> {
    page: &'p Page<'r>,
    out: &'o mut Out<'b>,
    readings: Readings,
    /// UUIDs by number.
    ids: HashMap<String, String>,
    cards: BTreeMap<usize, SubjectRef>,
}

impl Reading<'_, '_, '_, '_> {
    fn row(&mut self, family: &'static Family, row: &Row<'_>) {
        let Some(card) = self.card(family, row) else { return };
        let at_ms = row.at_ms.map(|at| if (1..SECONDS_BELOW).contains(&at) { at * 1_000 } else { at });
        let value = sane(row.value, family.is_positive).map(|v| v * family.factor);
        match family.of {
            Of::Pod => {}
            Of::Card => self.readings.say(card, family.metric, value, at_ms),
            // A total of nothing: the other memory is the card's, and nothing of this one is used.
            Of::Hbm => {
                if family.is_positive || self.has(HBM_TOTAL, row) != Some(false) {
                    self.readings.say(card, family.metric, value, at_ms);
                }
            }
            Of::Ddr => {
                if self.has(HBM_TOTAL, row) != Some(true) && (family.is_positive || self.has(DDR_TOTAL, row) == Some(true)) {
                    self.readings.say(card, family.metric, value, at_ms);
                }
            }
            Of::Health => match row.value {
                // Other than of Rebellions, 1 is good.
                1.0 => self.out.state("health", card, "ok"),
                0.0 => self.out.state("health", card, "critical"),
                _ => self.out.gap("health", card, GapReason::Error),
            },
            Of::Link => {
                let link = self.out.subject("link", "index", "0", Some(card));
                self.out.label(link, "type", Some("roce"));
                match row.value {
                    1.0 => self.out.state("link_status", link, "up"),
                    0.0 => self.out.state("link_status", link, "down"),
                    _ => self.out.gap("link_status", link, GapReason::Error),
                }
            }
            Of::Code => {
                if let Some(code) = sane(row.value, true).ok().map(|code| format!("ascend:{code}")) {
                    let who = self.out.batch.get(card).identity.iter().map(|l| l.value.as_str()).collect::<Vec<_>>().join("/");
                    let (key, message) = (format!("now:{who}/{code}"), format!("the chip shows error code {}", row.value));
                    let event = Event { subject: 0, at: None, severity: Severity::Critical, code, message, key };
                    self.out.batch.event(card, event);
                }
            }
            Of::Process => {
                let Some(pid) = row.get("process_id").filter(|p| p != "0") else { return };
                let process = self.out.subject("process", "pid", &pid, Some(card));
                self.out.label(process, "name", row.get("process_name").or_else(|| row.get("container_name")));
                self.readings.say(process, family.metric, value, at_ms);
            }
            Of::Vnpu => {
                let Some(id) = row.get("v_dev_id").or_else(|| row.get("vdev_id")) else {
                    self.out.problem(format!("{}: a row without v_dev_id", family.name));
                    return;
                };
                let part = self.out.subject("partition", "partition_id", &id, Some(card));
                self.out.label(part, "core_count", row.get("aicore_count"));
                self.out.held_by(part, holder(row).each_ref().map(Option::as_deref));
                self.readings.say(part, family.metric, value, at_ms);
            }
        }
    }

    /// Whether the chip of a row has such a memory; `None` where its total is not said.
    fn has(&self, total: &str, row: &Row<'_>) -> Option<bool> {
        let number = |row: &Row<'_>| row.get("id").or_else(|| row.get("npuID")).map(Cow::into_owned);
        let wanted = number(row);
        let mut totals = self.page.rows(total).iter().filter(|r| number(r) == wanted).peekable();
        totals.peek()?;
        Some(totals.any(|r| sane(r.value, true).is_ok()))
    }

    fn card(&mut self, family: &Family, row: &Row<'_>) -> Option<SubjectRef> {
        let [id, id_old, vdie, uuid, pci, pci_old] = row.pick(["id", "npuID", "vdie_id", "uuid", "pcie_bus_info", "pcie"]);
        let [model, model_old, name] = row.pick(["model_name", "modelName", "name"]);
        let id = id.or(id_old);
        let own = vdie.or(uuid);
        let uuid = own.as_deref().or_else(|| self.ids.get(id.as_deref()?).map(String::as_str));
        let node = self.page.node_of(None);
        let device = id.as_deref().map(|id| format!("npu{id}"));
        // Two chips of a 310P share a bus address: alone it tells nobody.
        let pci = pci.or(pci_old).filter(|p| uuid.is_some() && p.contains(':'));
        let who = Who { node: node.as_deref(), uuid, pci_address: pci.as_deref(), device: device.as_deref() };
        let Some(card) = self.out.card("npu", "huawei", who) else {
            let name = family.name;
            self.out
                .problem(format!("{name}: a row names neither a chip's vdie_id nor, with labels.node of the target, its node and number"));
            return None;
        };
        self.out.label(card, "model", model.or(model_old).or(name));
        self.out.label(card, "index", id);
        if !matches!(family.of, Of::Vnpu | Of::Process) {
            self.out.held_by(card, holder(row).each_ref().map(Option::as_deref));
        }
        self.cards.insert(card.index(), card);
        Some(card)
    }

    fn finish(mut self) {
        let expected = ["power_watts", "temperature_celsius", "utilization_ratio", "memory_used_bytes", "memory_total_bytes"];
        for card in self.cards.into_values() {
            self.readings.lacks(card, &expected, GapReason::Absent);
        }
        self.readings.finish(self.out);
    }
}

fn holder<'r>(row: &Row<'r>) -> [Option<Cow<'r, str>>; 3] {
    let [namespace, pod, pod_old, container, container_old] =
        row.pick(["namespace", "pod_name", "podName", "container_name", "containerName"]);
    [namespace, pod.or(pod_old), container.or(container_old)]
}

/// The exporter's and the driver's ways of saying "no reading".
fn sane(value: f64, is_positive: bool) -> Result<f64, GapReason> {
    match value {
        v if !v.is_finite() => Err(GapReason::Error),
        v if v == -1.0 || v == f64::from(u32::MAX) || v == f64::from(i32::MAX) => Err(GapReason::Error),
        v if v < 0.0 => Err(GapReason::Error),
        0.0 if is_positive => Err(GapReason::Absent),
        v => Ok(v),
    }
}
