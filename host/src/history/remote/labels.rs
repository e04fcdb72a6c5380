//! Which labels a subject's series carry, as remote write encodes them, and from which sequence on.
//!
//! A row of the log knows series by number; who that was must still be known when the row is sent, after a restart too.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::super::codec::put_varint;
use super::super::names;
use crate::inventory::{Kind, Snapshot, Subject};
use crate::power::series_labels;

/// Labels of a subject, encoded as `repeated Label labels = 1` of a `TimeSeries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    /// Of what they were made.
    pub fingerprint: u64,
    bytes: Box<[u8]>,
    /// As many bytes stand before `__name__` in the order of names.
    before: usize,
}

/// Appends one `Label`.
pub(super) fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    const LABEL: u8 = 1 << 3 | 2;
    let length = |text: &str| 1 + varint_bytes(text.len() as u64) + text.len();
    out.push(LABEL);
    put_varint(out, (length(name) + length(value)) as u64);
    for (tag, text) in [(1 << 3 | 2, name), (2 << 3 | 2, value)] {
        out.push(tag);
        put_varint(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

pub(super) fn varint_bytes(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

impl Labels {
    fn of<'a>(mut all: BTreeMap<String, &'a str>, external: &'a BTreeMap<String, String>, fingerprint: u64) -> Self {
        for (name, value) in external {
            // Who it is goes before what an operator says of all.
            all.entry(name.clone()).or_insert(value);
        }
        let (mut bytes, mut before) = (Vec::new(), 0);
        for (name, value) in &all {
            // An empty value is no label.
            if !value.is_empty() {
                put_label(&mut bytes, name, value);
            }
            if name.as_str() < "__name__" {
                before = bytes.len();
            }
        }
        Self { fingerprint, bytes: bytes.into(), before }
    }

    /// What stands before and after `__name__`.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.before)
    }

    pub(super) fn to_row(&self) -> Vec<u8> {
        let mut row = self.fingerprint.to_le_bytes().to_vec();
        put_varint(&mut row, self.before as u64);
        row.extend_from_slice(&self.bytes);
        row
    }

    pub(super) fn of_row(row: &[u8]) -> Option<Self> {
        let (fingerprint, mut rest) = row.split_first_chunk::<8>()?;
        let before = super::super::codec::take_varint(&mut rest)? as usize;
        (before <= rest.len()).then(|| Self { fingerprint: u64::from_le_bytes(*fingerprint), bytes: rest.into(), before })
    }
}

/// Labels of one subject over time: each from a sequence on, oldest first.
pub(super) type Versions = Vec<(u64, Arc<Labels>)>;

/// Labels of all subjects.
#[derive(Default)]
pub(super) struct Known {
    all: HashMap<Arc<str>, Versions>,
    /// What the account of power says of itself, and when it last did: no snapshot has a subject of it.
    without_subject: HashMap<Arc<str>, i64>,
}

/// What makes other series of a subject: another life under its name (or other labels of the operator). What is learned of its
/// identity later does not, or a spelling that changes back and forth would begin series without end.
fn life(subject: &Subject) -> Option<&str> {
    match subject.kind {
        Kind::Pod => subject.label("uid"),
        Kind::Container => subject.label("runtime_id"),
        _ => None,
    }
}

impl Known {
    pub(super) fn restore(&mut self, subject: &str, from: u64, labels: Labels) {
        let versions = match self.all.get_mut(subject) {
            Some(versions) => versions,
            None => self.all.entry(subject.into()).or_default(),
        };
        versions.push((from, Arc::new(labels)));
        versions.sort_by_key(|(from, _)| *from);
    }

    /// Subjects of a snapshot whose labels are new or changed with it, among those that `named` gives.
    pub(super) fn news<'a>(
        &mut self,
        snapshot: &Snapshot,
        named: impl Iterator<Item = &'a Arc<str>>,
        external: &BTreeMap<String, String>,
    ) -> Vec<(&'a Arc<str>, Labels)> {
        let mut hasher = DefaultHasher::new();
        external.hash(&mut hasher);
        let of_external = hasher.finish();
        let (mut news, mut last) = (Vec::new(), None);
        // Readings of one subject come together.
        for id in named {
            if last.replace(id) == Some(id) {
                continue;
            }
            let subject = snapshot.get(id);
            let own = subject.is_none().then(|| series_labels(id)).flatten();
            let (cluster, life) = match (subject, &own) {
                (Some(subject), _) => (&*subject.cluster, life(subject)),
                (None, Some(own)) => (own.get("cluster").copied().unwrap_or_default(), None),
                (None, None) => continue,
            };
            if own.is_some() {
                self.without_subject.insert(id.clone(), snapshot.at_ms);
            }
            let mut hasher = DefaultHasher::new();
            (of_external, cluster, life).hash(&mut hasher);
            let fingerprint = hasher.finish();
            if self.all.get(id).and_then(|v| v.last()).is_none_or(|(_, known)| known.fingerprint != fingerprint) {
                let all = own.or_else(|| subject.map(|s| names::labels(s))).unwrap_or_default();
                news.push((id, Labels::of(all, external, fingerprint)));
            }
        }
        news.sort_by_key(|(id, _)| *id);
        news.dedup_by_key(|(id, _)| *id);
        news
    }

    pub(super) fn add(&mut self, subject: &Arc<str>, from: u64, labels: Labels) {
        self.all.entry(subject.clone()).or_default().push((from, Arc::new(labels)));
    }

    /// The labels that held at a sequence, and from which on.
    pub(super) fn at(&self, subject: &str, sequence: u64) -> Option<&(u64, Arc<Labels>)> {
        let versions = self.all.get(subject)?;
        // Labels that are only known from later on are better than none.
        versions.iter().rev().find(|(from, _)| *from <= sequence).or(versions.first())
    }

    pub(super) fn version(&self, subject: &str, from: u64) -> Option<&Arc<Labels>> {
        self.all.get(subject)?.iter().find(|(f, _)| *f == from).map(|(_, l)| l)
    }

    /// Forgets versions that no row after `sent` needs, and subjects that a snapshot has no more. Gives their keys.
    pub(super) fn sweep(&mut self, sent: u64, snapshot: &Snapshot) -> Vec<(Arc<str>, u64)> {
        let mut gone = Vec::new();
        let lately = snapshot.at_ms - super::SWEEP.as_millis() as i64;
        self.without_subject.retain(|_, at| *at >= lately);
        let without_subject = &self.without_subject;
        self.all.retain(|subject, versions| {
            let is_there = snapshot.get(subject).is_some() || without_subject.contains_key(subject);
            let keep = match is_there || versions.iter().any(|(from, _)| *from > sent) {
                true => versions.iter().rposition(|(from, _)| *from <= sent).unwrap_or(0),
                false => versions.len(),
            };
            gone.extend(versions.drain(..keep).map(|(from, _)| (subject.clone(), from)));
            !versions.is_empty()
        });
        gone
    }
}
