//! What crosses the boundary, in the host's own types: one shape for all versions of the contract (`wit/`).

use crate::catalogue::Kind as MetricKind;
use crate::inventory::{Quality, Reason, Severity};

pub type Pairs = Vec<(String, String)>;

#[derive(Debug, Clone)]
pub struct MetricDef {
    pub name: String,
    pub unit: String,
    pub kind: MetricKind,
    pub quality: Quality,
    pub states: Vec<String>,
}

/// What a plugin says of itself.
#[derive(Debug, Clone)]
pub struct Info {
    pub name: String,
    pub version: String,
    pub vendor: String,
    pub description: String,
    pub metrics: Vec<MetricDef>,
    pub config_schema: String,
    /// Calls for one target must meet one instance.
    pub bound_to_target: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub id: String,
    pub address: String,
    pub cluster: String,
    pub labels: Pairs,
    pub credential: Option<String>,
    pub config: String,
}

#[derive(Debug)]
pub struct Subject {
    pub kind: String,
    pub identity: Pairs,
    pub labels: Pairs,
    pub parent: Option<u32>,
    pub observed_at_ns: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub metric: u32,
    pub subject: u32,
    pub value: f64,
}

#[derive(Debug, Clone, Copy)]
pub struct TimedPoint {
    pub point: Point,
    pub observed_at_ns: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct StatePoint {
    pub metric: u32,
    pub subject: u32,
    pub state: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Gap {
    pub metric: u32,
    pub subject: u32,
    pub reason: Reason,
}

#[derive(Debug)]
pub struct Event {
    pub subject: u32,
    pub at_ns: Option<u64>,
    pub severity: Severity,
    pub code: String,
    pub message: String,
    pub key: String,
}

/// Why a plugin says that its call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    #[error("configuration: {0}")]
    Config(String),
    #[error("the target refused the credential: {0}")]
    Auth(String),
    #[error("not granted: {0}")]
    Denied(String),
    #[error("unreachable: {0}")]
    Unreachable(String),
    #[error("the target did not answer in time: {0}")]
    Timeout(String),
    #[error("the target asked to slow down")]
    Throttled(Option<u32>),
    #[error("the target's answer is not in the form expected: {0}")]
    Protocol(String),
    #[error("the target lacks what is needed: {0}")]
    Unsupported(String),
    #[error("the plugin's own fault: {0}")]
    Internal(String),
}

#[derive(Debug)]
pub struct Problem {
    pub subject: Option<u32>,
    pub error: CollectError,
    pub line: Option<u32>,
}

/// What a batch says about what it does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coverage {
    /// It is gone.
    #[default]
    Whole,
    /// It stands.
    Delta,
    /// It could not be read, and ages.
    Partial,
}

#[derive(Debug, Default)]
pub struct Batch {
    pub coverage: Coverage,
    pub metrics: Vec<MetricDef>,
    pub subjects: Vec<Subject>,
    pub points: Vec<Point>,
    pub timed_points: Vec<TimedPoint>,
    pub states: Vec<StatePoint>,
    /// Checked and counted; the model does not keep distributions yet.
    pub histograms: usize,
    pub gaps: Vec<Gap>,
    pub events: Vec<Event>,
    pub problems: Vec<Problem>,
    pub tombstones: Vec<u32>,
    pub next_page: Option<Vec<u8>>,
    pub cursor: Option<Vec<u8>>,
}

/// What is asked of the past; times in nanoseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub struct RangeQuery {
    pub metric: String,
    pub kind: String,
    pub matching: Pairs,
    pub start_ns: u64,
    pub end_ns: u64,
    pub step_ns: u64,
}

/// One page of what a plugin says of the past.
#[derive(Debug, Default)]
pub struct HistoryPage {
    pub subjects: Vec<Subject>,
    pub series: Vec<HistorySeries>,
    pub next_page: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
pub struct HistorySeries {
    /// Index into the page's subjects.
    pub subject: u32,
    pub quality: Quality,
    /// Time in nanoseconds, value.
    pub observations: Vec<(u64, f64)>,
}
