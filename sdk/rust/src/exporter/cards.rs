//! Accelerators out of exporters' rows: cards, their parts, who holds them. In: readings as they are met, under old and new names, of
//! a card and repeated on its parts. Out: one reading a metric and subject, in which a value comes before a gap. Nothing is guessed:
//! a card that nothing tells from others is a problem and no subject.

use std::collections::BTreeMap;

use super::{Out, Page, Row, label};
use crate::{CollectError, GapReason, Quality, SubjectRef};

/// What a source calls a card.
#[derive(Debug, Clone, Copy, Default)]
pub struct Id<'a> {
    /// The vendor's, the same everywhere.
    pub uuid: Option<&'a str>,
    pub pci_address: Option<&'a str>,
    /// Its name or number on its node.
    pub device: Option<&'a str>,
}

/// One quantity of a card or part, as a table lists it.
pub struct Quantity {
    /// Old and new names and twins, the most trusted first.
    pub names: &'static [&'static str],
    pub metric: &'static str,
    /// From the source's unit to the catalogue's.
    pub factor: f64,
    /// 0 stands for "no reading": nothing runs at 0 W or 0 °C.
    pub zero_is_nothing: bool,
}

/// A quantity whose 0 is a reading.
pub const fn quantity(names: &'static [&'static str], metric: &'static str, factor: f64) -> Quantity {
    Quantity { names, metric, factor, zero_is_nothing: false }
}

/// One whose 0 says nothing.
pub const fn never_zero(names: &'static [&'static str], metric: &'static str, factor: f64) -> Quantity {
    Quantity { names, metric, factor, zero_is_nothing: true }
}

/// What a source writes for "not available" in the widths of its integers, or below zero where nothing is.
pub fn largest(value: f64) -> Option<GapReason> {
    match value {
        v if v == f64::from(u32::MAX) || v == f64::from(i32::MAX) || v >= 9.2e18 => Some(GapReason::Unsupported),
        v if !v.is_finite() || v < 0.0 => Some(GapReason::Error),
        _ => None,
    }
}

/// All that a table and further names ask for.
pub fn asked(table: &[Quantity], further: &[&'static str]) -> &'static [&'static str] {
    table.iter().flat_map(|q| q.names).chain(further).copied().collect::<Vec<_>>().leak()
}

struct Said {
    subject: SubjectRef,
    reading: Result<f64, GapReason>,
    at_ms: Option<i64>,
    quality: Option<Quality>,
}

/// Cards of one exporter.
pub struct Cards<'o, 'b> {
    pub out: &'o mut Out<'b>,
    class: &'static str,
    vendor: &'static str,
    said: BTreeMap<(usize, &'static str), Said>,
    nameless: usize,
}

impl<'o, 'b> Cards<'o, 'b> {
    /// `class` is `gpu`, `npu`, `tpu` or `other`.
    pub fn new(out: &'o mut Out<'b>, class: &'static str, vendor: &'static str) -> Self {
        Self { out, class, vendor, said: BTreeMap::new(), nameless: 0 }
    }

    /// The node of a row: what the source says, unless that may be the exporter's own pod and the operator says better.
    pub fn node(&mut self, page: &Page<'_>, said: Option<&str>) -> Option<SubjectRef> {
        let believed = said.filter(|s| !s.is_empty()).filter(|s| page.node.is_none() || !may_be_a_pod(s));
        let name = believed.map(str::to_owned).or_else(|| page.named())?;
        Some(self.out.node(&name))
    }

    /// A card. Without a UUID it is known by its place on its node, and without that by nothing.
    pub fn card(&mut self, page: &Page<'_>, node: Option<SubjectRef>, id: Id<'_>) -> Option<SubjectRef> {
        let place = id.pci_address.or(id.device);
        if id.uuid.is_none() && (node.is_none() || place.is_none()) {
            self.nameless += 1;
            return None;
        }
        let own = id.uuid.map_or_else(|| format!("{}/{:?}/{}", page.key, node, place.unwrap_or_default()), str::to_owned);
        let on = node.and_then(|n| self.out.batch.get(n).identity.first().cloned());
        let (class, vendor) = (self.class, self.vendor);
        let card = self.out.batch.subject("accelerator", &own, node, |s| {
            s.identity.extend(id.uuid.map(|uuid| label("uuid", uuid)));
            s.identity.extend(on);
            if id.uuid.is_none() {
                s.identity.extend(id.pci_address.map(|a| label("pci_address", a)));
                s.identity.extend(id.pci_address.is_none().then_some(id.device).flatten().map(|d| label("device", d)));
            }
            s.labels = vec![label("class", class), label("vendor", vendor)];
        });
        let is_known = |key: &str, out: &Out<'_>| out.batch.get(card).identity.iter().any(|l| l.key == key);
        for (key, value) in [("pci_address", id.pci_address), ("device", id.device)] {
            if !is_known(key, self.out) {
                self.out.label(card, key, value);
            }
        }
        Some(card)
    }

    /// A part of a card: `partition` by `partition_id`, `core` and `link` by `index`, `process` by `pid`.
    pub fn part(&mut self, kind: &'static str, id: &str, card: SubjectRef) -> SubjectRef {
        let key = match kind {
            "partition" => "partition_id",
            "process" => "pid",
            _ => "index",
        };
        self.out.subject(kind, key, id, Some(card))
    }

    /// Who holds a card or partition. Where a server put the exporter's own pod into the labels, nobody does.
    pub fn holder(&mut self, of: SubjectRef, row: &Row<'_>, names: [&str; 3]) {
        let [namespace, pod, container] = row.pick(names);
        if pod.as_deref().is_none_or(|pod| may_be_an_exporter(pod)) {
            return;
        }
        for (key, value) in [("namespace", namespace), ("pod", pod), ("container", container)] {
            self.out.label(of, key, value);
        }
    }

    /// A reading, unless there is one already; what is no number is a gap.
    pub fn value(&mut self, metric: &'static str, of: SubjectRef, value: f64, at_ms: Option<i64>) {
        let reading = if value.is_finite() { Ok(value) } else { Err(GapReason::Error) };
        self.offer(metric, of, reading, at_ms, None);
    }

    /// One that was computed from others.
    pub fn derived(&mut self, metric: &'static str, of: SubjectRef, value: f64, at_ms: Option<i64>) {
        self.offer(metric, of, Ok(value), at_ms, Some(Quality::Derived));
    }

    /// Why there is no reading, should none come.
    pub fn gap(&mut self, metric: &'static str, of: SubjectRef, reason: GapReason) {
        self.offer(metric, of, Err(reason), None, None);
    }

    /// Reads a table: `of` says whom a row is of, and `None` of one that is none of ours.
    pub fn read<'a>(&mut self, page: &Page<'a>, table: &'static [Quantity], mut of: impl FnMut(&mut Self, &Row<'a>) -> Option<SubjectRef>) {
        for q in table {
            for row in q.names.iter().flat_map(|name| page.rows(name)) {
                let Some(subject) = of(self, row) else { continue };
                match largest(row.value) {
                    Some(reason) => self.gap(q.metric, subject, reason),
                    None if row.value == 0.0 && q.zero_is_nothing => self.gap(q.metric, subject, GapReason::Absent),
                    None => self.value(q.metric, subject, row.value * q.factor, row.at_ms),
                }
            }
        }
    }

    /// What was said of a metric so far.
    pub fn get(&self, metric: &'static str, of: SubjectRef) -> Option<(f64, Option<i64>)> {
        let said = self.said.get(&(of.index(), metric))?;
        said.reading.ok().map(|value| (value, said.at_ms))
    }

    fn offer(
        &mut self,
        metric: &'static str,
        subject: SubjectRef,
        reading: Result<f64, GapReason>,
        at_ms: Option<i64>,
        quality: Option<Quality>,
    ) {
        let said = Said { subject, reading, at_ms, quality };
        let known = self.said.get(&(subject.index(), metric));
        // What one name can never say, another may only miss now.
        let is_better = |k: &Said| match (k.reading, said.reading) {
            (Ok(_), _) => false,
            (Err(known), Err(new)) => known == GapReason::Unsupported && new != known,
            (Err(_), Ok(_)) => true,
        };
        if known.is_none_or(is_better) {
            self.said.insert((subject.index(), metric), said);
        }
    }

    /// Puts it all into the batch.
    pub fn finish(self) {
        let out = self.out;
        for ((_, metric), Said { subject, reading, at_ms, quality }) in self.said {
            match (reading, quality) {
                (Ok(value), Some(quality)) => out.put_as(quality, metric, subject, value, at_ms),
                (Ok(value), None) => out.put(metric, subject, value, at_ms),
                (Err(reason), _) => out.gap(metric, subject, reason),
            }
        }
        if self.nameless > 0 {
            let why =
                format!("{} rows are of a card without a UUID on a node that nobody names: set labels.node of the target", self.nameless);
            out.batch.problem(CollectError::Unsupported(why), None);
        }
    }
}

/// A name that an exporter may have found in its own pod or container instead of on its node.
pub fn may_be_a_pod(name: &str) -> bool {
    let is_container = name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit());
    is_container || may_be_an_exporter(name)
}

/// The pod of an exporter, by the names that their charts give them.
fn may_be_an_exporter(pod: &str) -> bool {
    const PARTS: [&str; 7] = ["exporter", "xpumd", "xpumanager", "device-plugin", "dcgm", "telemetry", "node-agent"];
    pod.contains('-') && PARTS.iter().any(|part| pod.contains(part))
}
