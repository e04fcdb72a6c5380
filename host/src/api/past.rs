//! The time before this host's first observation, where a plugin answers for it (its `history` export).
//!
//! What was asked once is kept for five minutes: the past does not change.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::App;
use crate::inventory::Subject;
use crate::plugins::Plugin;
use crate::plugins::contract::{RangeQuery, Target};
use crate::plugins::generation::Generation;

/// How long a plugin may take for one metric.
const PATIENCE: Duration = Duration::from_secs(5);
const KEPT: Duration = Duration::from_secs(300);
/// Answers kept; one has at most 11,000 points.
const ANSWERS: u64 = 500;
const MS: i64 = 1_000_000;

/// Time in ms and value of each step that has one.
type Answer = Arc<Vec<(i64, f64)>>;

/// Answers about the past by what was asked.
#[derive(Clone)]
pub(crate) struct Past(Cache<String, Answer>);

impl Default for Past {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(ANSWERS).time_to_live(KEPT).build())
    }
}

/// Who answers for the past of a cluster.
pub(crate) struct Witness {
    plugin: Arc<Plugin>,
    generation: Arc<Generation>,
    target: Target,
    /// As it is named to clients.
    pub name: String,
}

impl Witness {
    pub(crate) fn of(app: &App, cluster: &str) -> Option<Self> {
        app.registry.list().into_iter().find_map(|plugin| {
            // One that rests after faults of its own is not asked either.
            let generation = plugin.generation().filter(|g| g.has_history() && !plugin.is_resting())?;
            let target = plugin.targets().into_iter().map(|(t, _)| t).find(|t| t.cluster == cluster)?;
            let name = format!("{}/{}", plugin.name, target.id);
            Some(Self { plugin, generation, target, name })
        })
    }

    /// Steps of one metric of one subject in `[start, end)`, at multiples of `step` from the Unix epoch. Blocking.
    pub(crate) fn range(&self, app: &App, subject: &Subject, metric: &str, (start, end): (i64, i64), step: i64) -> Result<Answer, String> {
        let key = format!("{} {} {metric} {start} {end} {step}", self.name, subject.id);
        if let Some(answer) = app.past.0.get(&key) {
            return Ok(answer);
        }
        let matching = subject.identity.iter().filter(|(k, _)| &**k == "uuid").map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let query = RangeQuery {
            metric: metric.to_owned(),
            kind: subject.kind.name().to_owned(),
            matching,
            start_ns: start.max(0).saturating_mul(MS) as u64,
            end_ns: end.max(0).saturating_mul(MS) as u64,
            step_ns: step.saturating_mul(MS) as u64,
        };
        let (generation, target) = (self.generation.clone(), self.target.clone());
        let asking = async move { generation.range(&target, &query, PATIENCE).await };
        let handle = app.registry.runtime().handle();
        let joined = handle.block_on(handle.spawn(asking)).map_err(|e| e.to_string())?;
        let series = joined.map_err(|failure| {
            app.registry.ended(&self.plugin, &self.generation, Some(&self.target.id), Err(&failure));
            failure.to_string()
        })?;
        let mut all: Vec<(i64, f64)> = series.into_iter().flat_map(|s| s.observations).collect();
        all.sort_by_key(|(at, _)| *at);
        let answer: Answer = Arc::new(all);
        app.past.0.insert(key, answer.clone());
        Ok(answer)
    }
}
