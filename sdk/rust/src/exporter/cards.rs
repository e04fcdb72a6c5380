//! What exporters of accelerators share: who a card is, who holds it, and each quantity said once however many rows repeat it.

use std::collections::HashMap;

use super::{Out, Page, label};
use crate::{GapReason, Label, Quality, SubjectRef};

/// Whom a row names: what its source tells of these.
#[derive(Debug, Default, Clone, Copy)]
pub struct Who<'a> {
    pub node: Option<&'a str>,
    pub uuid: Option<&'a str>,
    pub pci_address: Option<&'a str>,
    pub device: Option<&'a str>,
}

impl Page<'_> {
    /// The node of a row: as its exporter says, unless that names the exporter's own pod and somebody says better.
    pub fn node_of(&self, said: Option<&str>) -> Option<String> {
        match said.filter(|n| !n.is_empty()) {
            Some(said) if is_exporters(said) => Some(self.node.clone().unwrap_or_else(|| said.to_owned())),
            Some(said) => Some(said.to_owned()),
            None => self.named(),
        }
    }
}

impl Out<'_> {
    /// An accelerator by its strongest identity: its UUID, else its node with the PCI address or the device's name. `None` where
    /// nothing tells it from others: an index alone does not.
    pub fn card(&mut self, class: &str, vendor: &str, who: Who<'_>) -> Option<SubjectRef> {
        let node = who.node.filter(|n| !n.is_empty());
        let parent = node.map(|n| self.node(n));
        let weak = who.pci_address.map(|a| ("pci_address", a)).or_else(|| who.device.map(|d| ("device", d)));
        let identity: Vec<Label> = match (who.uuid, node, weak) {
            (Some(uuid), node, _) => [Some(label("uuid", uuid)), node.map(|n| label("node", n))].into_iter().flatten().collect(),
            (None, Some(node), Some((key, value))) => vec![label("node", node), label(key, value)],
            _ => return None,
        };
        let key = who.uuid.map_or_else(|| format!("{}\n{}", node.unwrap_or_default(), weak.map_or("", |w| w.1)), str::to_owned);
        let card = self.batch.subject("accelerator", &key, parent, |s| {
            s.identity = identity;
            // What is not known is left to a source that knows.
            let known = [("class", class), ("vendor", vendor)].into_iter().filter(|(_, value)| !value.is_empty());
            s.labels = known.map(|(key, value)| label(key, value)).collect();
        });
        for (key, value) in [("pci_address", who.pci_address), ("device", who.device)] {
            if self.batch.get(card).identity.iter().all(|l| l.key != key) {
                self.label(card, key, value);
            }
        }
        Some(card)
    }

    /// Who holds a card or a part of it. An exporter's own pod, which a server's relabelling may put there, holds none.
    pub fn held_by(&mut self, subject: SubjectRef, [namespace, pod, container]: [Option<&str>; 3]) {
        let Some(pod) = pod.filter(|p| !p.is_empty() && !is_exporters(p)) else { return };
        self.label(subject, "namespace", namespace);
        self.label(subject, "pod", Some(pod));
        self.label(subject, "container", container);
    }
}

/// Whether a name is that of an exporter's pod, or of the container in which it runs.
pub fn is_exporters(name: &str) -> bool {
    const PARTS: [&str; 7] = ["exporter", "xpumd", "xpumanager", "device-plugin", "dcgm", "telemetry", "node-agent"];
    let is_container = name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit());
    is_container || name.contains('-') && PARTS.iter().any(|part| name.contains(part))
}

/// Readings before they are put out: of each metric of each subject one, the first that was said. A reading beats a gap.
#[derive(Default)]
pub struct Readings {
    place: HashMap<(usize, &'static str), usize>,
    all: Vec<Reading>,
}

struct Reading {
    subject: SubjectRef,
    metric: &'static str,
    quality: Option<Quality>,
    value: Result<f64, GapReason>,
    at_ms: Option<i64>,
}

impl Readings {
    pub fn say(&mut self, subject: SubjectRef, metric: &'static str, value: Result<f64, GapReason>, at_ms: Option<i64>) {
        self.put(Reading { subject, metric, quality: None, value, at_ms });
    }

    /// What follows from others.
    pub fn derive(&mut self, subject: SubjectRef, metric: &'static str, value: f64, at_ms: Option<i64>) {
        self.put(Reading { subject, metric, quality: Some(Quality::Derived), value: Ok(value), at_ms });
    }

    /// Says of each of these that nothing was said, where nothing was.
    pub fn lacks(&mut self, subject: SubjectRef, metrics: &[&'static str], reason: GapReason) {
        metrics.iter().for_each(|metric| self.say(subject, metric, Err(reason), None));
    }

    pub fn get(&self, subject: SubjectRef, metric: &'static str) -> Option<f64> {
        self.all[*self.place.get(&(subject.index(), metric))?].value.ok()
    }

    /// The same with when it was read.
    pub fn get_timed(&self, subject: SubjectRef, metric: &'static str) -> Option<(f64, Option<i64>)> {
        let reading = &self.all[*self.place.get(&(subject.index(), metric))?];
        reading.value.ok().map(|value| (value, reading.at_ms))
    }

    /// Why one name says nothing of a metric that several names say: what the one can never say, another may only miss now.
    pub fn miss(&mut self, subject: SubjectRef, metric: &'static str, reason: GapReason) {
        match self.place.get(&(subject.index(), metric)).map(|at| &mut self.all[*at].value) {
            Some(known) if *known == Err(GapReason::Unsupported) => *known = Err(reason),
            Some(_) => {}
            None => self.say(subject, metric, Err(reason), None),
        }
    }

    fn put(&mut self, reading: Reading) {
        match self.place.get(&(reading.subject.index(), reading.metric)) {
            Some(at) if self.all[*at].value.is_err() && reading.value.is_ok() => self.all[*at] = reading,
            Some(_) => {}
            None => {
                self.place.insert((reading.subject.index(), reading.metric), self.all.len());
                self.all.push(reading);
            }
        }
    }

    /// Puts all of them out.
    pub fn finish(self, out: &mut Out<'_>) {
        for Reading { subject, metric, quality, value, at_ms } in self.all {
            match (value, quality) {
                (Ok(value), Some(quality)) => out.put_as(quality, metric, subject, value, at_ms),
                (Ok(value), None) => out.put(metric, subject, value, at_ms),
                (Err(reason), _) => out.gap(metric, subject, reason),
            }
        }
    }
}

/// The mean of what was said, and when.
#[derive(Debug, Default, Clone, Copy)]
pub struct Mean {
    sum: f64,
    count: u32,
    at_ms: Option<i64>,
}

impl Mean {
    pub fn add(&mut self, value: f64, at_ms: Option<i64>) {
        self.sum += value;
        self.count += 1;
        self.at_ms = self.at_ms.max(at_ms);
    }

    pub fn get(&self) -> Option<(f64, Option<i64>)> {
        (self.count > 0).then(|| (self.sum / f64::from(self.count), self.at_ms))
    }
}
