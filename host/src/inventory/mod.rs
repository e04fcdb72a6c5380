//! One model of everything that is watched.
//!
//! In: checked batches ([`batch::Batch`]) from `collect/`. Out: an immutable [`Snapshot`] with a sequence number, and the
//! points that history keeps. It must never block a reader: readers take the current snapshot and go.

pub mod batch;
mod changes;
mod identity;
mod merge;
mod rates;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::catalogue::MetricId;
use crate::power::{Account, Workloads};
pub use changes::{Anew, Changes, Difference};
pub use identity::Kind;
pub(crate) use identity::pci;
pub(crate) use merge::STALE_INTERVALS;
pub use merge::{Inventory, NewPoint, Publication, SourceInfo};

/// Number of a snapshot; grows by one with each that is published.
pub type Sequence = u64;

/// How a value came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    Measured,
    Derived,
    Modelled,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    Unsupported,
    Stale,
    Denied,
    Error,
    Absent,
}

/// A number in base units, or the reason why there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Number(f64, Quality),
    Gap(Reason),
}

/// What one source says about one metric of one subject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub metric: MetricId,
    pub value: Value,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Index into [`Snapshot::sources`].
    pub source: u16,
}

/// Whether a subject is still heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    Live,
    /// Not seen for three intervals.
    Stale,
    /// Not seen for ten minutes.
    Offline,
}

/// Labels sorted by key, shared by all snapshots between two changes.
pub type Labels = Arc<[(Arc<str>, Arc<str>)]>;

/// One thing that has readings.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Stable over restarts: made of the identity.
    pub id: Arc<str>,
    pub kind: Kind,
    pub cluster: Arc<str>,
    pub node: Option<Arc<str>>,
    /// Id of the subject that contains this one.
    pub parent: Option<Arc<str>>,
    pub identity: Vec<(Arc<str>, Arc<str>)>,
    pub labels: Labels,
    /// The trusted reading of each metric, sorted by metric.
    pub readings: Arc<[Reading]>,
    /// Readings of other sources that were not taken.
    pub others: Vec<Reading>,
    pub first_seen_ms: i64,
    pub last_seen_ms: i64,
    pub life: Life,
}

impl Subject {
    /// A label, descriptive or of the identity.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().chain(self.identity.iter()).find(|(k, _)| &**k == key).map(|(_, v)| &**v)
    }

    /// The same, shared.
    pub fn label_shared(&self, key: &str) -> Option<Arc<str>> {
        self.labels.iter().chain(self.identity.iter()).find(|(k, _)| &**k == key).map(|(_, v)| v.clone())
    }

    /// The trusted reading of a metric.
    pub fn reading(&self, metric: MetricId) -> Option<&Reading> {
        self.readings.binary_search_by_key(&metric, |r| r.metric).ok().map(|i| &self.readings[i])
    }

    /// The number of a metric; `None` where it was not read or the subject is no longer live.
    pub fn number(&self, metric: MetricId) -> Option<f64> {
        match (self.life, self.reading(metric)?.value) {
            (Life::Live, Value::Number(v, _)) => Some(v),
            _ => None,
        }
    }

    /// Why a metric has no number now.
    pub fn gap(&self, metric: MetricId) -> Option<Reason> {
        match (self.life, self.reading(metric).map(|r| r.value)) {
            (Life::Live, Some(Value::Number(..))) => None,
            (_, Some(Value::Gap(reason))) => Some(reason),
            (_, Some(Value::Number(..))) => Some(Reason::Stale),
            (_, None) => Some(Reason::Absent),
        }
    }
}

/// Something that happened to a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub subject: Arc<str>,
    pub at_ms: i64,
    pub severity: Severity,
    pub code: Arc<str>,
    pub message: Arc<str>,
    /// One event, however often it is said. Of what holds now: `now:…`, with `@` and when it began where that was seen.
    pub key: Arc<str>,
    pub source: u16,
}

/// A critical event counts against its card for this long, unless its fault is said to be over.
pub const FAULT_WINDOW_MS: i64 = 10 * 60_000;

/// How a card stands by the alerts about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// A critical one fires.
    pub is_critical: bool,
    /// When an operator said that one was over, or a reset ended one.
    pub over_ms: Option<i64>,
}

/// Begins the key of an event that says what holds now: said again after an answer without it, it is another event.
pub const HOLDS_NOW: &str = "now:";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// A (plugin, target) that feeds the model, and how it fares.
#[derive(Debug, Clone)]
pub struct Source {
    pub plugin: Arc<str>,
    pub target: Arc<str>,
    pub cluster: Arc<str>,
    pub interval_ms: i64,
    /// The operator's: what one of a higher says goes before.
    pub priority: i32,
    pub last_success_ms: Option<i64>,
    pub last_error: Option<Arc<str>>,
    pub consecutive_failures: u32,
    /// Its plugin or target was removed; what it said last may still be read.
    pub is_gone: bool,
}

/// The world at one moment. Shares its subjects with the snapshot before.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub sequence: Sequence,
    pub at_ms: i64,
    /// Sorted by kind, then id.
    pub subjects: Vec<Arc<Subject>>,
    pub sources: Vec<Arc<Source>>,
    /// Newest last, bounded.
    pub events: Vec<Arc<Event>>,
    /// When the last critical event of a subject was.
    critical: HashMap<Arc<str>, i64>,
    faults: Arc<HashMap<Arc<str>, Fault>>,
    index: Arc<HashMap<Arc<str>, usize>>,
    /// What `power/` makes of it; made by who asks first, for all.
    account: OnceLock<Account>,
    workloads: OnceLock<Workloads>,
}

impl Snapshot {
    /// All subjects of a kind.
    pub fn of_kind(&self, kind: Kind) -> &[Arc<Subject>] {
        let start = self.subjects.partition_point(|s| s.kind < kind);
        let end = self.subjects.partition_point(|s| s.kind <= kind);
        &self.subjects[start..end]
    }

    /// Those that are asked now.
    pub fn asked(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.iter().filter(|s| !s.is_gone)
    }

    /// What its servers draw.
    pub fn account(&self) -> &Account {
        self.account.get_or_init(|| Account::of(self))
    }

    /// What its pods and virtual machines draw of that.
    pub fn workloads(&self) -> &Workloads {
        self.workloads.get_or_init(|| Workloads::of(self))
    }

    /// When the last critical event of a subject was, in milliseconds since the Unix epoch.
    pub fn last_critical_ms(&self, subject: &str) -> Option<i64> {
        self.critical.get(subject).copied()
    }

    /// Whether a card is at fault: a critical alert about it fires, or a critical event was a while ago and is not said to be over.
    pub fn is_at_fault(&self, subject: &str) -> bool {
        let fault = self.faults.get(subject).copied().unwrap_or_default();
        let is_recent = |at: i64| self.at_ms - at <= FAULT_WINDOW_MS && fault.over_ms.is_none_or(|over| at > over);
        fault.is_critical || self.last_critical_ms(subject).is_some_and(is_recent)
    }

    /// A subject by its id.
    pub fn get(&self, id: &str) -> Option<&Arc<Subject>> {
        self.index.get(id).map(|i| &self.subjects[*i])
    }

    /// Direct children of a subject, of one kind. Where ids are made of the parent's they stand together.
    pub fn children<'a>(&'a self, id: &'a str, kind: Kind) -> impl Iterator<Item = &'a Arc<Subject>> {
        let all = self.of_kind(kind);
        let near = match kind.is_known_by_its_parent() {
            true => {
                let prefix = format!("{}/{id}/", kind.name());
                let start = all.partition_point(|s| *s.id < *prefix);
                &all[start..start + all[start..].partition_point(|s| s.id.starts_with(&prefix))]
            }
            false => all,
        };
        near.iter().filter(move |s| s.parent.as_deref() == Some(id))
    }
}
