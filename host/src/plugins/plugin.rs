//! One plugin over its versions: what runs, what waits, how its calls ended, and every change of its state.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::broadcast;

use super::breaker::{Admission, Breaker, Change};
use super::call::{Blame, Failure};
use super::capabilities::log;
use super::contract::Target;
use super::generation::Generation;
use super::settings::Settings;
use super::swap::{Pending, Shadow, Swapped};
use super::trial::MetricSet;
use super::verify::ContentDigest;
use crate::telemetry::Histogram;

/// Targets that one plugin may find.
const MAX_DISCOVERED: usize = 10_000;
/// Changes of state and failed calls that are remembered.
const REMEMBERED: usize = 50;
/// Good calls after which a new version has proved itself, and the version before is let go.
const PROVEN: u32 = 20;
/// Or after so long.
const PROBATION: Duration = Duration::from_secs(600);

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Configured, but its component is not in the directory.
    Missing,
    Loading,
    Active,
    /// Its own faults in a row keep it from being called for a while.
    Degraded,
    Disabled,
    /// It asks for a right that was not granted; an older version may go on.
    WaitingForApproval,
    /// What is in the directory cannot be used; an older version may go on.
    Rejected,
    /// What is in the directory failed, or was rolled back; an older version may go on.
    Quarantined,
}

impl State {
    pub const ALL: [Self; 8] = [
        Self::Missing,
        Self::Loading,
        Self::Active,
        Self::Degraded,
        Self::Disabled,
        Self::WaitingForApproval,
        Self::Rejected,
        Self::Quarantined,
    ];

    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Loading => "loading",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Disabled => "disabled",
            Self::WaitingForApproval => "waiting-for-approval",
            Self::Rejected => "rejected",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A change of state.
#[derive(Debug, Clone)]
pub struct Transition {
    pub at_ms: i64,
    pub from: State,
    pub to: State,
    pub reason: Option<String>,
    /// The version that runs after it.
    pub version: Option<String>,
}

/// A change of state, told to who listens.
#[derive(Debug)]
pub struct Told {
    pub plugin: String,
    pub transition: Transition,
}

/// A call that failed.
#[derive(Debug, Clone)]
pub struct Fault {
    pub at_ms: i64,
    pub blame: Blame,
    /// `None` where no target was read.
    pub target: Option<String>,
    pub message: String,
}

/// What makes a generation this one: the component's bytes, and the settings that need a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub digest: ContentDigest,
    pub fingerprint: String,
}

/// Targets that a plugin found itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Discovered {
    pub targets: Vec<Target>,
    /// Why others that it named are not read.
    pub refused: Vec<String>,
}

/// The version before, which can take over at once.
#[derive(Clone)]
pub(super) struct Previous {
    pub generation: Arc<Generation>,
    pub key: Key,
    since: Instant,
}

#[derive(Default)]
pub(super) struct Status {
    state: Option<State>,
    reason: Option<String>,
    pub running: Option<Key>,
    pub refused: Option<Key>,
    pub missing_scans: u32,
    /// What lies in the directory and does not run.
    pub pending: Option<Pending>,
    pub last_swap: Option<Swapped>,
    pub previous: Option<Previous>,
    transitions: VecDeque<Transition>,
    entered: BTreeMap<State, u64>,
    faults: VecDeque<Fault>,
}

/// One plugin over its versions.
pub struct Plugin {
    pub name: String,
    pub(super) settings: ArcSwap<Settings>,
    pub(super) generation: ArcSwapOption<Generation>,
    pub(super) shadow: ArcSwapOption<Shadow>,
    status: Mutex<Status>,
    breaker: Mutex<Breaker>,
    pub log: Arc<log::Tail>,
    told: broadcast::Sender<Arc<Told>>,
    pub calls: AtomicU64,
    pub out_of_range: AtomicU64,
    pub swaps: AtomicU64,
    pub returns: AtomicU64,
    failures: Mutex<HashMap<Blame, u64>>,
    durations: Mutex<Histogram>,
    discovered: Mutex<Discovered>,
    /// Metrics of each target's last good read.
    seen: Mutex<HashMap<String, MetricSet>>,
}

impl Plugin {
    pub(super) fn new(settings: Settings, told: broadcast::Sender<Arc<Told>>) -> Self {
        Self {
            name: settings.name.clone(),
            settings: ArcSwap::from_pointee(settings),
            generation: ArcSwapOption::empty(),
            shadow: ArcSwapOption::empty(),
            status: Mutex::default(),
            breaker: Mutex::default(),
            log: Arc::default(),
            told,
            calls: AtomicU64::new(0),
            out_of_range: AtomicU64::new(0),
            swaps: AtomicU64::new(0),
            returns: AtomicU64::new(0),
            failures: Mutex::default(),
            durations: Mutex::default(),
            discovered: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The version that answers now.
    pub fn generation(&self) -> Option<Arc<Generation>> {
        self.generation.load_full()
    }

    /// A new version that runs beside it on trial.
    pub fn shadow(&self) -> Option<Arc<Shadow>> {
        self.shadow.load_full()
    }

    /// State and, where it is not simply active, the reason.
    pub fn state(&self) -> (State, Option<String>) {
        let status = self.status();
        (status.state.unwrap_or(State::Loading), status.reason.clone())
    }

    /// Changes of state, the newest last.
    pub fn transitions(&self) -> Vec<Transition> {
        self.status().transitions.iter().cloned().collect()
    }

    /// How often each state was entered.
    pub fn entered(&self) -> BTreeMap<State, u64> {
        self.status().entered.clone()
    }

    /// Calls that failed, the newest last.
    pub fn faults(&self) -> Vec<Fault> {
        self.status().faults.iter().cloned().collect()
    }

    /// What lies in the directory and does not run, and why.
    pub fn pending(&self) -> Option<Pending> {
        self.status().pending.clone()
    }

    /// How the running version came in.
    pub fn last_swap(&self) -> Option<Swapped> {
        self.status().last_swap.clone()
    }

    /// The version that a rollback would bring back at once.
    pub fn previous(&self) -> Option<Arc<Generation>> {
        self.status().previous.as_ref().map(|p| p.generation.clone())
    }

    pub fn failures(&self) -> HashMap<Blame, u64> {
        self.failures.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Notes how long a call took.
    pub fn took(&self, wall: Duration) {
        self.durations.lock().unwrap_or_else(|e| e.into_inner()).observe(wall);
    }

    /// How long its calls took.
    pub fn durations(&self) -> Histogram {
        self.durations.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Sets the state; every change is remembered, counted and logged.
    pub(super) fn set(&self, state: State, reason: Option<String>) {
        let version = self.generation().map(|g| g.info.version.clone());
        let mut status = self.status();
        let from = status.state.unwrap_or(State::Loading);
        if status.state.is_some() && from == state && status.reason == reason {
            return;
        }
        match state {
            State::Active | State::Loading | State::Disabled | State::Missing => {
                tracing::info!(plugin = self.name, state = state.name(), reason = reason.as_deref().unwrap_or(""), version, "plugin");
            }
            _ => tracing::warn!(plugin = self.name, state = state.name(), reason = reason.as_deref().unwrap_or(""), version, "plugin"),
        }
        if from != state || status.state.is_none() {
            *status.entered.entry(state).or_default() += 1;
        }
        let transition = Transition { at_ms: crate::now_ms(), from, to: state, reason: reason.clone(), version };
        // Where nobody listens, it is remembered all the same.
        drop(self.told.send(Arc::new(Told { plugin: self.name.clone(), transition: transition.clone() })));
        push(&mut status.transitions, transition);
        (status.state, status.reason) = (Some(state), reason);
    }

    // === calls ===

    /// Whether a call may be made now.
    pub fn admit(&self, now: Instant) -> Admission {
        self.breaker.lock().unwrap_or_else(|e| e.into_inner()).admit(now)
    }

    /// Whether its own faults keep it from being called.
    pub fn is_resting(&self) -> bool {
        self.breaker.lock().unwrap_or_else(|e| e.into_inner()).is_open()
    }

    /// Forgets its faults: another version answers now.
    pub(super) fn begin_anew(&self) {
        *self.breaker.lock().unwrap_or_else(|e| e.into_inner()) = Breaker::default();
    }

    /// Takes how a call of a version ended. True when that version must give way to the one before.
    pub fn record(&self, generation: &Generation, target: Option<&str>, outcome: Result<(), &Failure>, now_ms: i64) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let is_fault = outcome.is_err_and(|f| f.blame() == Blame::Plugin);
        if let Err(failure) = outcome {
            let blame = failure.blame();
            *self.failures.lock().unwrap_or_else(|e| e.into_inner()).entry(blame).or_default() += 1;
            let fault = Fault { at_ms: now_ms, blame, target: target.map(str::to_owned), message: failure.to_string() };
            push(&mut self.status().faults, fault);
        }
        let change = self.breaker.lock().unwrap_or_else(|e| e.into_inner()).record(is_fault, Instant::now());
        match change {
            Some(Change::Opened { faults, pause }) => {
                let last = outcome.err().map(ToString::to_string).unwrap_or_default();
                self.set(
                    State::Degraded,
                    Some(format!("{faults} faults of its own in a row ({last}); it is called again in {:.1} s", pause.as_secs_f64())),
                );
            }
            Some(Change::Closed) => self.settle(),
            None => {}
        }
        match is_fault {
            true => {
                generation.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= self.settings().return_after.max(1)
                    && self.is_on_probation(generation)
            }
            false => {
                generation.strikes.store(0, Ordering::Relaxed);
                if outcome.is_ok() && generation.good.fetch_add(1, Ordering::Relaxed) + 1 == PROVEN {
                    self.status().previous = None;
                }
                false
            }
        }
    }

    /// Whether a version may still have to give way by itself.
    fn is_on_probation(&self, generation: &Generation) -> bool {
        self.settings().return_after > 0 && generation.good.load(Ordering::Relaxed) < PROVEN && generation.born.elapsed() < PROBATION
    }

    /// Back to what it was before its faults: active, or what the directory makes of it.
    pub(super) fn settle(&self) {
        let (settings, pending) = (self.settings(), self.pending());
        match pending {
            Some(p) => self.set(p.state, Some(p.going_on(self.generation().as_deref()))),
            None => self.set(State::Active, note(&settings)),
        }
    }

    /// Lets the version before go, once it is not needed any more.
    pub(super) fn forget_previous(&self) {
        let mut status = self.status();
        if status.previous.as_ref().is_some_and(|p| p.since.elapsed() >= PROBATION) {
            status.previous = None;
        }
    }

    pub(super) fn remember_previous(&self, generation: Arc<Generation>, key: Key) {
        self.status().previous = Some(Previous { generation, key, since: Instant::now() });
    }

    /// Notes which metrics a target's read gave, or that it gave none.
    pub fn saw(&self, target: &str, metrics: Option<MetricSet>) {
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        match metrics {
            Some(metrics) if seen.get(target) != Some(&metrics) => drop(seen.insert(target.to_owned(), metrics)),
            Some(_) => {}
            None => drop(seen.remove(target)),
        }
    }

    /// Metrics of a target's last read, if that was good.
    pub(super) fn seen(&self, target: &str) -> Option<MetricSet> {
        self.seen.lock().unwrap_or_else(|e| e.into_inner()).get(target).cloned()
    }

    // === targets ===

    pub fn discovered(&self) -> Discovered {
        self.discovered.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// All targets with their own intervals; a configured one goes before one that was found under its id.
    pub fn targets(&self) -> Vec<(Target, Option<Duration>)> {
        let mut all = self.settings().targets.clone();
        let known: HashSet<&str> = all.iter().map(|(t, _)| t.id.as_str()).collect();
        let found: Vec<_> = self.discovered().targets.into_iter().filter(|t| !known.contains(t.id.as_str())).map(|t| (t, None)).collect();
        all.extend(found);
        all
    }

    /// Takes what the plugin found: within its rights, in a configured cluster, each id once. Whether anything changed.
    pub fn discover(&self, found: Vec<Target>) -> bool {
        let settings = self.settings();
        let mut next = Discovered::default();
        let mut ids = HashSet::new();
        for mut target in found {
            let id: String = target.id.chars().take(80).collect();
            if target.cluster.is_empty() {
                target.cluster = settings.clusters.first().cloned().unwrap_or_default();
            }
            let reach = match &settings.grants.http {
                Some(policy) => policy.check("GET", &target.address, &[]).err().map(|e| e.to_string()),
                None => None,
            };
            let refused = match () {
                _ if target.id.is_empty() || target.id.len() > 256 || log::clean(&target.id) != target.id => {
                    Some("an id has 1 to 256 bytes, all of which are shown as they are".to_owned())
                }
                _ if ids.contains(&target.id) => Some("its id stands twice".to_owned()),
                _ if next.targets.len() >= MAX_DISCOVERED => Some(format!("more than {MAX_DISCOVERED} targets")),
                _ if !settings.clusters.contains(&target.cluster) => Some(format!("no cluster {:?} is configured", target.cluster)),
                _ => reach,
            };
            match refused {
                None => {
                    ids.insert(target.id.clone());
                    next.targets.push(target);
                }
                Some(why) if next.refused.len() < 20 => next.refused.push(format!("target {id:?}: {why}")),
                Some(_) => {}
            }
        }
        // What was read of targets that come no more is of no use.
        let is_known = |id: &String| ids.contains(id) || settings.targets.iter().any(|(t, _)| t.id == *id);
        self.seen.lock().unwrap_or_else(|e| e.into_inner()).retain(|id, _| is_known(id));
        let mut now = self.discovered.lock().unwrap_or_else(|e| e.into_inner());
        let changed = *now != next;
        *now = next;
        changed
    }
}

/// What an active plugin lacks to be of use.
pub(super) fn note(settings: &Settings) -> Option<String> {
    settings.targets.is_empty().then(|| format!("it has no targets; plugins.d/{}.toml lists them", settings.name))
}

fn push<T>(ring: &mut VecDeque<T>, item: T) {
    if ring.len() == REMEMBERED {
        ring.pop_front();
    }
    ring.push_back(item);
}
