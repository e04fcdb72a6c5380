//! From the driver's answer to subjects and readings.

use std::collections::HashMap;

use kcloud_collector_sdk::mapping::Mapping;
use kcloud_collector_sdk::nvml::{Answer, Part, Value, Xid};
use kcloud_collector_sdk::{Batch, CollectError, Event, GapReason, Label, Metric, Severity, SubjectRef, Target, target_label};

use crate::{LINK_DOWN, LINK_STATUS, LINK_UP};

pub struct Reader<'a> {
    pub target: &'a Target,
    pub mapping: &'a Mapping,
    pub batch: &'a mut Batch,
}

/// A number, as long as it is none of the driver's that stand for "not available".
fn number(part: &Part, field: &str) -> Option<f64> {
    match value(part, field)? {
        Value::Number(n) if blank(*n).is_none() => Some(*n),
        _ => None,
    }
}

fn text<'p>(part: &'p Part, field: &str) -> Option<&'p str> {
    match value(part, field)? {
        Value::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn value<'p>(part: &'p Part, field: &str) -> Option<&'p Value> {
    part.readings.iter().find(|r| r.field == field).map(|r| &r.value)
}

/// `NVML_VALUE_NOT_AVAILABLE` is all bits set, of 32 or of 64.
fn blank(number: f64) -> Option<GapReason> {
    (number >= 9.2e18 || number == f64::from(u32::MAX)).then_some(GapReason::Unsupported)
}

fn pair(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}

impl Reader<'_> {
    pub fn answer(mut self, answer: &Answer) -> Result<(), CollectError> {
        let node = match target_label(self.target, "node") {
            Some(node) => self.batch.subject("node", node, None, |s| s.identity = vec![pair("node", node)]),
            None => {
                return Err(CollectError::Config(
                    "the target needs labels = { node = \"…\" }: the driver does not name its machine".into(),
                ));
            }
        };
        let node_name = target_label(self.target, "node").unwrap_or_default();
        let driver = answer.parts.first().filter(|p| p.kind == "driver");
        let drivers: Vec<Label> = driver.map(driver_labels).unwrap_or_default();
        if let Some(Value::Failed(why)) = driver.and_then(|d| value(d, "cards")) {
            self.batch.problem(CollectError::Protocol(why.clone()), None);
        }
        let shared = instances_of(answer);
        // By the part's place: the subject, and the card's UUID.
        let mut places: Vec<Option<(SubjectRef, String)>> = Vec::with_capacity(answer.parts.len());
        for (at, part) in answer.parts.iter().enumerate() {
            let parent = part.parent.and_then(|p| places.get(p as usize).cloned().flatten());
            let place = match (part.kind.as_str(), parent) {
                ("card", _) => self.card(part, node, node_name, &drivers),
                ("mig", Some((card, uuid))) => self.instance(part, card, &uuid, shared.get(&at).map_or(1, |n| *n)).map(|s| (s, uuid)),
                ("link", Some((card, uuid))) => self.link(part, card, &uuid).map(|s| (s, uuid)),
                ("process", Some((card, uuid))) => self.process(part, card).map(|s| (s, uuid)),
                _ => None,
            };
            places.push(place);
        }
        let mut cards: HashMap<&str, SubjectRef> = HashMap::new();
        for (part, place) in answer.parts.iter().zip(&places) {
            if let ("card", Some((card, uuid))) = (part.kind.as_str(), place) {
                cards.insert(uuid, *card);
            }
        }
        self.xids(&answer.xids, &cards);
        Ok(())
    }

    fn card(&mut self, part: &Part, node: SubjectRef, node_name: &str, drivers: &[Label]) -> Option<(SubjectRef, String)> {
        let index = number(part, "index");
        let Some(uuid) = text(part, "uuid") else {
            // It is there and does not say who it is: what is known of it ages, and nobody takes it for gone.
            let why = match value(part, "uuid") {
                Some(Value::Failed(why)) => why.as_str(),
                Some(Value::Denied) => "no permission",
                _ => "it has no UUID",
            };
            let name = index.map_or_else(|| "a card".to_owned(), |i| format!("card {i}"));
            self.batch.problem(CollectError::Unreachable(format!("{name}: {why}")), None);
            self.batch.partial();
            return None;
        };
        let card = self.batch.subject("accelerator", uuid, Some(node), |s| {
            s.identity = vec![pair("uuid", uuid), pair("node", node_name)];
            s.labels = vec![pair("class", "gpu"), pair("vendor", "nvidia")];
            s.labels.extend(index.map(|i| pair("index", &i.to_string())));
            s.labels.extend(number(part, "minor_number").map(|n| pair("device", &format!("nvidia{n}"))));
            let named = [
                ("pci_address", "pci_address"),
                ("name", "model"),
                ("serial", "serial_number"),
                ("part_number", "part_number"),
                ("vbios_version", "vbios_version"),
            ];
            s.labels.extend(named.into_iter().filter_map(|(field, key)| Some(pair(key, text(part, field)?))));
            for (field, key) in [("mig_mode", "mig_mode"), ("ecc_mode", "ecc_mode")] {
                s.labels.extend(number(part, field).map(|n| pair(key, if n == 0.0 { "disabled" } else { "enabled" })));
            }
            s.labels.extend_from_slice(drivers);
        });
        self.readings(part, card);
        Some((card, uuid.to_owned()))
    }

    /// A MIG device: the GPU instance, as DCGM counts it; what several compute instances share is said once.
    fn instance(&mut self, part: &Part, card: SubjectRef, uuid: &str, of_one: usize) -> Option<SubjectRef> {
        let Some(id) = number(part, "gpu_instance").map(|n| n.to_string()) else {
            let name = text(part, "uuid").unwrap_or("a MIG device").to_owned();
            self.batch.problem_of(card, CollectError::Protocol(format!("{name}: the driver does not say which instance it is")));
            return None;
        };
        let first = self.batch.count();
        let instance = self.batch.subject("partition", &format!("{uuid}/{id}"), Some(card), |s| {
            s.identity = vec![pair("uuid", uuid), pair("partition_id", &id)];
            // "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
            let profile = text(part, "name").and_then(|n| n.rsplit_once(" MIG ")).map(|(_, profile)| profile);
            s.labels.extend(profile.map(|p| pair("profile", p)));
            if of_one == 1 {
                s.identity.extend(text(part, "uuid").map(|u| pair("device_uuid", u)));
            }
        });
        let is_new = self.batch.count() > first;
        if is_new {
            self.readings(part, instance);
        }
        Some(instance)
    }

    fn link(&mut self, part: &Part, card: SubjectRef, uuid: &str) -> Option<SubjectRef> {
        let index = number(part, "index")?.to_string();
        let link = self.batch.subject("link", &format!("{uuid}/{index}"), Some(card), |s| {
            s.identity = vec![pair("uuid", uuid), pair("index", &index)];
            s.labels = vec![pair("link_type", "nvlink")];
            s.labels.extend(text(part, "remote_pci_address").map(|a| pair("remote_device", a)));
            s.labels.extend(number(part, "version").map(|v| pair("link_version", &v.to_string())));
        });
        let is_up = number(part, "active");
        match is_up {
            Some(up) => self.batch.state(LINK_STATUS, link, if up == 0.0 { LINK_DOWN } else { LINK_UP }),
            None => self.batch.gap(LINK_STATUS, link, GapReason::Error),
        }
        // Counters of a link that is down are the driver's leftovers.
        if is_up == Some(1.0) {
            self.readings(part, link);
        }
        Some(link)
    }

    fn process(&mut self, part: &Part, parent: SubjectRef) -> Option<SubjectRef> {
        let pid = number(part, "pid")?.to_string();
        let process = self.batch.subject("process", &format!("{}/{pid}", parent.index()), Some(parent), |s| {
            s.identity = vec![pair("pid", &pid)];
            let named = [
                ("process_name", "name"),
                ("type", "type"),
                ("container_id", "container_id"),
                ("pod_uid", "pod_uid"),
                ("namespace", "namespace"),
                ("pod", "pod"),
                ("container", "container"),
            ];
            s.labels.extend(named.into_iter().filter_map(|(field, key)| Some(pair(key, text(part, field)?))));
        });
        self.readings(part, process);
        Some(process)
    }

    /// Every field of the table that a part has.
    fn readings(&mut self, part: &Part, subject: SubjectRef) {
        for reading in &part.readings {
            let Some((row, found)) = self.mapping.find(&reading.field) else { continue };
            let metric = Metric(row as u32);
            let gap = match &reading.value {
                Value::Number(n) => match blank(*n) {
                    // P32 is "unknown".
                    None if found.foreign == ["performance_state"] && *n > 15.0 => GapReason::Absent,
                    None => {
                        self.batch.point(metric, subject, n * found.factor, None);
                        continue;
                    }
                    Some(reason) => reason,
                },
                Value::Unsupported => GapReason::Unsupported,
                Value::Denied => GapReason::Denied,
                Value::Text(_) => GapReason::Error,
                Value::Failed(why) => {
                    self.batch.problem_of(subject, CollectError::Protocol(format!("{}: {why}", reading.field)));
                    GapReason::Error
                }
            };
            self.batch.gap(metric, subject, gap);
        }
        for field in ["process.compute", "process.graphics"] {
            if let Some(Value::Failed(why)) = value(part, field) {
                self.batch.problem_of(subject, CollectError::Protocol(format!("{field}: {why}")));
            }
        }
    }

    /// XIDs as events, and the last one of each card.
    fn xids(&mut self, xids: &[Xid], cards: &HashMap<&str, SubjectRef>) {
        let mut last: HashMap<&str, u64> = HashMap::new();
        for Xid { uuid, code, heard_at } in xids {
            let Some(card) = cards.get(uuid.as_str()) else { continue };
            last.insert(uuid, *code);
            let key = format!("{uuid}/xid:{code}/{heard_at}");
            let message = format!("XID {code}");
            let code = format!("xid:{code}");
            let event = Event { subject: 0, at: Some(*heard_at), severity: Severity::Critical, code, message, key };
            self.batch.event(*card, event);
        }
        let Some((row, _)) = self.mapping.find("xid") else { return };
        for (uuid, code) in last {
            if let Some(card) = cards.get(uuid) {
                self.batch.point(Metric(row as u32), *card, code as f64, None);
            }
        }
    }
}

fn driver_labels(driver: &Part) -> Vec<Label> {
    let version = text(driver, "driver_version").map(|v| pair("driver_version", v));
    // 12080 is 12.8.
    let cuda = number(driver, "cuda_version").map(|v| format!("{}.{}", (v / 1000.0) as u32, (v % 1000.0) as u32 / 10));
    version.into_iter().chain(cuda.map(|c| pair("cuda_version", &c))).collect()
}

/// How many MIG devices share the GPU instance of each, by their places.
fn instances_of(answer: &Answer) -> HashMap<usize, usize> {
    let id = |p: &Part| Some((p.parent?, number(p, "gpu_instance")? as u64));
    let mut count: HashMap<(u32, u64), usize> = HashMap::new();
    let migs = || answer.parts.iter().enumerate().filter(|(_, p)| p.kind == "mig");
    migs().filter_map(|(_, p)| id(p)).for_each(|k| *count.entry(k).or_default() += 1);
    migs().filter_map(|(at, p)| Some((at, *count.get(&id(p)?)?))).collect()
}
