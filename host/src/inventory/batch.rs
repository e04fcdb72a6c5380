//! What a plugin said, in the host's own types: the same shape for every version of the contract.

use super::{Reason, Severity};
use crate::catalogue::MetricId;
use crate::inventory::{Kind, Quality};
pub use crate::plugins::contract::Coverage;

/// A checked batch: every index is in range, every number finite, every string within its limits.
#[derive(Debug, Default)]
pub struct Batch {
    pub coverage: Coverage,
    pub subjects: Vec<BatchSubject>,
    pub points: Vec<BatchPoint>,
    pub gaps: Vec<BatchGap>,
    pub events: Vec<BatchEvent>,
    pub problems: Vec<String>,
    /// Subjects that no longer exist; in a delta only.
    pub tombstones: Vec<u32>,
    /// Readings outside the metric's range, turned into gaps here.
    pub out_of_range: u64,
    /// When the network last answered the call that this is of: when what has no stamp was read. Without it: when it is applied.
    pub heard_at_ms: Option<i64>,
}

#[derive(Debug)]
pub struct BatchSubject {
    pub kind: Kind,
    pub identity: Vec<(String, String)>,
    pub labels: Vec<(String, String)>,
    pub parent: Option<u32>,
    pub observed_at_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
pub struct BatchPoint {
    pub subject: u32,
    pub metric: MetricId,
    pub value: f64,
    pub quality: Quality,
    pub at_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
pub struct BatchGap {
    pub subject: u32,
    pub metric: MetricId,
    pub reason: Reason,
}

#[derive(Debug)]
pub struct BatchEvent {
    pub subject: u32,
    pub at_ms: Option<i64>,
    pub severity: Severity,
    pub code: String,
    pub message: String,
    pub key: String,
}
