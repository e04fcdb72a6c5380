//! Reads every target on the host's own schedule.
//!
//! In: the registry's plugins and their targets. Out: checked batches into the inventory. One task a (plugin, target), so
//! that nothing is read twice at once and a slow target delays no other. It must never serve a request.

mod backoff;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::inventory::{Inventory, SourceInfo};
use crate::now_ms;
use crate::plugins::check;
use crate::plugins::contract::Target;
use crate::plugins::trial::{MetricSet, Values};
use crate::plugins::{Admission, Blame, Failure, Plugin, Registry, swap};
use backoff::Backoff;

/// First reads are spread over this, so that a start is no stampede, and a new plugin has data within two seconds.
const FIRST_SPREAD: Duration = Duration::from_millis(500);

/// A plugin is asked this often which targets it finds.
const DISCOVER: Duration = Duration::from_secs(60);
/// A target that asks to be left alone is, for this long at most.
const MOST_THROTTLED: Duration = Duration::from_secs(3_600);
/// One that rests after faults of its own is asked again after this.
const RESTING: Duration = Duration::from_secs(5);

/// Keeps one task running for each (plugin, target).
pub struct Collector {
    registry: Arc<Registry>,
    inventory: Arc<Inventory>,
    tasks: HashMap<(String, String), (AbortHandle, String)>,
    /// One a plugin, for one generation of it.
    discovering: HashMap<String, (AbortHandle, u64)>,
}

impl Collector {
    pub fn new(registry: Arc<Registry>, inventory: Arc<Inventory>) -> Self {
        Self { registry, inventory, tasks: HashMap::new(), discovering: HashMap::new() }
    }

    /// Starts tasks for new targets and stops those of targets and plugins that are gone.
    pub fn sync(&mut self) {
        let (mut wanted, mut generations) = (HashMap::new(), HashMap::new());
        for plugin in self.registry.list() {
            let Some(generation) = plugin.generation() else { continue };
            generations.insert(plugin.name.clone(), generation.number);
            let settings = plugin.settings();
            if self.discovering.get(&plugin.name).is_none_or(|(_, number)| *number != generation.number) {
                let work = discover_for_ever(self.registry.clone(), plugin.clone(), settings.timeout);
                let old = self.discovering.insert(plugin.name.clone(), (tokio::spawn(work).abort_handle(), generation.number));
                old.iter().for_each(|(task, _)| task.abort());
            }
            for (target, interval) in &plugin.targets() {
                let interval = interval.unwrap_or(settings.interval);
                let fingerprint = format!("{target:?} {interval:?} {:?}", settings.timeout);
                wanted.insert((plugin.name.clone(), target.id.clone()), (plugin.clone(), target.clone(), interval, fingerprint));
            }
        }
        self.discovering.retain(|name, (task, _)| {
            let stays = generations.contains_key(name);
            if !stays {
                task.abort();
            }
            stays
        });
        self.tasks.retain(|key, (task, fingerprint)| {
            let stays = wanted.get(key).is_some_and(|w| w.3 == *fingerprint);
            if !stays {
                task.abort();
                if !wanted.contains_key(key) {
                    self.inventory.remove_source(&key.0, &key.1, now_ms());
                }
            }
            stays
        });
        for (key, (plugin, target, interval, fingerprint)) in wanted {
            if !self.tasks.contains_key(&key) {
                let work = read_for_ever(self.registry.clone(), self.inventory.clone(), plugin, target, interval);
                self.tasks.insert(key, (tokio::spawn(work).abort_handle(), fingerprint));
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.tasks.values().for_each(|(task, _)| task.abort());
        self.discovering.values().for_each(|(task, _)| task.abort());
    }
}

/// Asks a plugin again and again which targets it finds itself.
async fn discover_for_ever(registry: Arc<Registry>, plugin: Arc<Plugin>, timeout: Duration) {
    loop {
        let mut pause = DISCOVER;
        match plugin.generation() {
            // Which of its calls goes first is for its targets to say.
            Some(_) if plugin.is_resting() => pause = RESTING,
            Some(generation) => {
                let asked = generation.clone();
                let call = async move { asked.discover(timeout).await };
                match registry.runtime().handle().spawn(call).await {
                    Ok(Ok(found)) => {
                        if plugin.discover(found) {
                            registry.changed.notify_one();
                        }
                    }
                    // What was found last stays: a directory that is down takes no target along.
                    Ok(Err(failure)) => registry.ended(&plugin, &generation, None, Err(&failure)),
                    Err(error) => tracing::error!(%error, plugin = plugin.name, "discover"),
                }
            }
            None => {}
        }
        tokio::time::sleep(pause).await;
    }
}

async fn read_for_ever(registry: Arc<Registry>, inventory: Arc<Inventory>, plugin: Arc<Plugin>, target: Target, interval: Duration) {
    let source = SourceInfo {
        plugin: plugin.name.as_str().into(),
        target: target.id.as_str().into(),
        cluster: target.cluster.as_str().into(),
        interval_ms: interval.as_millis() as i64,
        priority: plugin.settings().priority,
        max_subjects: plugin.settings().limits.subjects.saturating_mul(check::PAGES_WORTH),
    };
    let spread = FIRST_SPREAD.min(interval).mul_f64(rand::rng().random());
    let mut next = Instant::now() + spread;
    let mut backoff = Backoff::default();
    loop {
        tokio::time::sleep_until(next).await;
        // Its own faults hold all of its calls back; what it said ages meanwhile, and the last error stays.
        if let Admission::Wait(until) = plugin.admit(std::time::Instant::now()) {
            next = next.max(until.into());
            continue;
        }
        let outcome = read_once(&registry, &inventory, &plugin, &target, &source).await;
        // From the planned time, not from now: a slow read does not shift the schedule. Missed turns are left out.
        next += interval;
        let delay = match &outcome {
            Ok(()) => {
                backoff.reset();
                Duration::ZERO
            }
            Err(failure) => {
                let asked = failure.wait().map_or(Duration::ZERO, |wait| wait.min(MOST_THROTTLED));
                backoff.after(failure.blame() == Blame::Plugin, interval).max(asked)
            }
        };
        next = next.max(Instant::now() + delay);
    }
}

async fn read_once(
    registry: &Arc<Registry>,
    inventory: &Arc<Inventory>,
    plugin: &Arc<Plugin>,
    target: &Target,
    source: &SourceInfo,
) -> Result<(), Failure> {
    let Some(generation) = plugin.generation() else {
        return Ok(());
    };
    let timeout = plugin.settings().timeout;
    let began = Instant::now();
    let outcome = registry.collect(&generation, target, timeout).await;
    plugin.took(began.elapsed());
    registry.ended(plugin, &generation, Some(&target.id), outcome.as_ref().map(drop));
    let seen = outcome.as_ref().ok().map(MetricSet::of);
    let compared = plugin.shadow().and(outcome.as_ref().ok()).zip(seen.clone()).map(|(batch, set)| (set, Values::of(batch)));
    plugin.saw(&target.id, seen);
    let result = match outcome {
        Ok(batch) => {
            plugin.out_of_range.fetch_add(batch.out_of_range, Ordering::Relaxed);
            let said = batch.problems.clone();
            let problems = inventory.apply(source, batch, now_ms());
            for problem in said.iter().chain(&problems).take(20) {
                plugin.log.write(&plugin.name, crate::plugins::capabilities::log::Level::Debug, problem, &[]);
            }
            Ok(())
        }
        Err(failure) => {
            tracing::debug!(plugin = plugin.name, target = &*source.target, %failure, blame = ?failure.blame(), "collect");
            inventory.failed(source, &failure.to_string());
            Err(failure)
        }
    };
    // After the running version's own answer is in the model: a shadow delays nothing but the next turn.
    swap::shadow(registry, plugin, target, compared.as_ref(), timeout).await;
    result
}
