//! Rules over the model: what is beyond a limit for how long, who was told, who said that they know.
//!
//! In: each published snapshot, and the operator's rules. Out: [`Transition`]s, for streams and notifiers.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::inventory::Severity;

/// Transitions that a receiver may lag behind before it loses the oldest, and is told so.
const LAG: usize = 16_384;

/// All alerts of a host.
pub struct Alerts {
    transitions: broadcast::Sender<Arc<Transition>>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { transitions: broadcast::Sender::new(LAG) }
    }
}

impl Alerts {
    /// What changes from now on. One who lags loses the oldest and is told how many.
    pub fn transitions(&self) -> broadcast::Receiver<Arc<Transition>> {
        self.transitions.subscribe()
    }
}

/// What happened to an alert, by its name on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It fires: its condition held for as long as its rule says.
    ThresholdExceeded,
    /// It fires no more.
    ThresholdCleared,
    /// Watts jumped between two snapshots; it has no end of its own.
    PowerSpike,
}

/// One change of one alert.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Transition {
    /// The same from firing to its end.
    pub alert: Arc<str>,
    pub rule: Arc<str>,
    #[serde(rename = "type")]
    pub change: Change,
    pub severity: Severity,
    pub cluster: Arc<str>,
    /// `gpu`, `npu`, `node`, `source`, `cluster` …
    pub resource_type: Arc<str>,
    /// Id of the subject, or the name of what has none.
    pub resource_id: Arc<str>,
    /// In words, as the rule says them.
    pub message: Arc<str>,
    pub message_ko: Option<Arc<str>>,
    pub current_value: Option<f64>,
    pub threshold: Option<f64>,
    /// Milliseconds since the Unix epoch.
    #[serde(skip)]
    pub at_ms: i64,
}
