//! The road from a file in the directory to a version that answers: verify, compile, link, describe without rights, check and
//! apply its configuration, read a live target on trial, run beside the old one as a shadow, swap, drain, keep.
//!
//! Whatever fails on the way, the version that runs goes on, unless it holds a right that the operator took away.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::call::{Blame, Failure};
use super::capabilities::Shared;
use super::contract::Target;
use super::generation::{Compiled, Generation, LoadError};
use super::kept::{Good, Kept};
use super::plugin::{Key, Plugin, Previous, State, note};
use super::registry::Registry;
use super::settings::Settings;
use super::trial::{Difference, MetricSet, Values};
use super::verify::{Candidate, Place, Verified};
use crate::inventory::batch::Batch;

/// Scans without the file before a plugin is taken as removed: a rename may be under way.
pub(super) const GRACE_SCANS: u32 = 2;
/// Live targets that are tried before a new version is sent away for now.
const TRIES: usize = 3;

/// What the directory and the settings say of one plugin now.
pub(super) struct Work {
    pub settings: Settings,
    /// `None` without a file, `Err` with why it could not be read.
    pub file: Option<Result<Candidate, String>>,
}

/// What lies in the directory and does not run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Pending {
    pub state: State,
    pub digest_sha256: Option<String>,
    pub version: Option<String>,
    pub reason: String,
    pub rights_asked: Vec<String>,
    /// Of these, what is not granted.
    pub rights_missing: Vec<String>,
    /// What the running version does not ask for.
    pub rights_added: Vec<String>,
}

impl Pending {
    fn new(state: State, reason: String) -> Self {
        let none = Vec::new;
        Self { state, digest_sha256: None, version: None, reason, rights_asked: none(), rights_missing: none(), rights_added: none() }
    }

    /// The reason, with what goes on meanwhile.
    pub fn going_on(&self, running: Option<&Generation>) -> String {
        match running {
            Some(old) => format!("{}; version {} goes on", self.reason, old.info.version),
            None => self.reason.clone(),
        }
    }
}

/// How a version came in.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Swapped {
    pub at_ms: i64,
    pub from_version: Option<String>,
    pub from_digest_sha256: Option<String>,
    /// From its bytes to a configured instance.
    pub build_seconds: f64,
    /// Reading a live target.
    pub trial_seconds: f64,
    /// Beside the version before, on trial and as a shadow.
    pub difference: Option<Difference>,
}

/// A new version that reads what the old one reads, for comparison only.
pub struct Shadow {
    pub generation: Arc<Generation>,
    key: Key,
    report: Swapped,
    cycles: AtomicU32,
    wanted: u32,
    difference: Mutex<Difference>,
}

impl Shadow {
    /// Where it stands.
    pub fn difference(&self) -> Difference {
        self.difference.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Done of wanted.
    pub fn progress(&self) -> (u32, u32) {
        (self.cycles.load(Ordering::Relaxed), self.wanted)
    }
}

/// Why a version does not come in.
struct Refusal {
    state: State,
    reason: String,
    rights_asked: Vec<String>,
    rights_missing: Vec<String>,
    version: Option<String>,
    /// It would be the same the next time.
    is_final: bool,
}

impl Refusal {
    fn new(reason: String) -> Self {
        Self { state: State::Rejected, reason, rights_asked: Vec::new(), rights_missing: Vec::new(), version: None, is_final: true }
    }
}

/// Brings one plugin in line with the directory and its settings.
pub(super) async fn bring(registry: &Arc<Registry>, plugin: &Arc<Plugin>, work: Work) {
    let Work { settings, file } = work;
    plugin.settings.store(Arc::new(settings.clone()));
    plugin.forget_previous();
    let off = match registry.kept().disabled_by(&plugin.name) {
        Some(by) => Some(format!("switched off by {by}; `plugin enable {}` undoes it", plugin.name)),
        None => (!settings.enabled).then(|| "enabled = false in its settings".to_owned()),
    };
    if let Some(reason) = off {
        registry.stop(plugin);
        return plugin.set(State::Disabled, Some(reason));
    }
    // What was taken away counts at once, whatever becomes of what is new.
    if plugin.generation().is_some_and(|old| old.rights_asked.iter().any(|r| !settings.grants.holds(r))) {
        registry.stop(plugin);
    }
    let others = [plugin.previous(), plugin.shadow().map(|s| s.generation.clone())];
    plugin.generation().iter().chain(others.iter().flatten()).for_each(|g| g.set_rights(&settings));
    let Some(file) = file else { return missing(registry, plugin, &settings) };
    plugin.status().missing_scans = 0;
    let judged = match file {
        Ok(candidate) => registry.judge(candidate.clone(), &settings).await.map(|verified| (candidate, verified)),
        Err(reason) => Err(reason),
    };
    let (candidate, verified) = match judged {
        Ok(both) => both,
        Err(reason) => {
            // Trust may come without the bytes changing: a signature beside them, a key, a pin.
            plugin.status().refused = None;
            plugin.shadow.store(None);
            return wait(plugin, Pending::new(State::Rejected, reason));
        }
    };
    let key = Key { digest: verified.admission().digest(), fingerprint: settings.fingerprint() };
    {
        let mut status = plugin.status();
        if status.running.as_ref() == Some(&key) {
            // What was refused in between is gone again.
            (status.refused, status.pending) = (None, None);
            drop(status);
            plugin.shadow.store(None);
            if let Some(running) = plugin.generation() {
                running.admission.store(Arc::new(verified.admission().clone()));
            }
            if !plugin.is_resting() {
                plugin.settle();
            }
            return;
        }
        if status.refused.as_ref() == Some(&key) || plugin.shadow().is_some_and(|s| s.key == key) {
            return;
        }
    }
    plugin.shadow.store(None);
    if let Some(quarantined) = registry.kept().quarantined(&plugin.name, key.digest) {
        let mut pending = Pending::new(
            State::Quarantined,
            format!("quarantined: {}; `plugin reload {}` tries it again", quarantined.reason, plugin.name),
        );
        pending.digest_sha256 = Some(key.digest.to_string());
        return instead(registry, plugin, &settings, key, candidate.place, pending).await;
    }
    if plugin.generation().is_none() {
        plugin.set(State::Loading, None);
    }
    match advance(registry, plugin, &settings, (candidate, verified), key.clone(), true).await {
        Ok(()) => {}
        Err(refusal) => {
            if refusal.is_final {
                plugin.status().refused = Some(key.clone());
            }
            let running = plugin.generation();
            let has = |r: &String| running.as_ref().is_some_and(|g| g.rights_asked.contains(r));
            let mut pending = Pending::new(refusal.state, refusal.reason);
            pending.rights_added = refusal.rights_asked.iter().filter(|r| !has(r)).cloned().collect();
            (pending.digest_sha256, pending.version) = (Some(key.digest.to_string()), refusal.version);
            (pending.rights_asked, pending.rights_missing) = (refusal.rights_asked, refusal.rights_missing);
            wait(plugin, pending);
        }
    }
}

/// The component is not there: the plugin goes, once that is no mere rename.
fn missing(registry: &Registry, plugin: &Plugin, settings: &Settings) {
    let is_gone = {
        let mut status = plugin.status();
        status.missing_scans += 1;
        status.missing_scans >= GRACE_SCANS || status.running.is_none()
    };
    if is_gone {
        registry.stop(plugin);
        plugin.status().refused = None;
        plugin.set(State::Missing, Some(format!("{}.wasm is not in the plugins directory", settings.component)));
    }
}

/// Notes what does not run; what runs goes on.
fn wait(plugin: &Plugin, pending: Pending) {
    let (state, reason) = (pending.state, pending.going_on(plugin.generation().as_deref()));
    plugin.status().pending = Some(pending);
    plugin.set(state, Some(reason));
}

/// Lets the last good version run in place of one that is quarantined.
async fn instead(registry: &Arc<Registry>, plugin: &Arc<Plugin>, settings: &Settings, key: Key, place: Place, mut pending: Pending) {
    let is_fit = |running: &Key| running.digest != key.digest && running.fingerprint == key.fingerprint;
    let goes_on = plugin.status().running.as_ref().is_some_and(is_fit);
    if !goes_on
        && let Some(good) = registry.kept().last_good(&plugin.name, Some(key.digest))
        && let Err(reason) = restore(registry, plugin, settings, &key, place, &good).await
    {
        pending.reason.push_str(&format!("; the last good version {} cannot be used either: {reason}", good.version));
    }
    // Nothing good to put in its place: at least it does not run.
    if plugin.status().running.as_ref().is_some_and(|running| running.digest == key.digest) {
        registry.stop(plugin);
    }
    wait(plugin, pending);
}

/// A kept version, as if it lay in the directory.
fn candidate(kept: &Kept, good: &Good, component: String, place: Place) -> Result<Candidate, String> {
    let (bytes, signature) = kept.read(good).map_err(|e| e.to_string())?;
    Ok(Candidate { name: component, place, bytes: bytes.into(), signature: signature.map(|s| Ok(s.into())) })
}

/// Brings a kept version back; it is judged like any other.
async fn restore(
    registry: &Arc<Registry>,
    plugin: &Arc<Plugin>,
    settings: &Settings,
    key: &Key,
    place: Place,
    good: &Good,
) -> Result<(), String> {
    let (kept, wanted, component) = (registry.clone(), good.clone(), settings.component.clone());
    let read = tokio::task::spawn_blocking(move || candidate(kept.kept(), &wanted, component, place)).await;
    let candidate = read.map_err(|e| e.to_string())??;
    let verified = registry.judge(candidate.clone(), settings).await?;
    let key = Key { digest: verified.admission().digest(), fingerprint: key.fingerprint.clone() };
    advance(registry, plugin, settings, (candidate, verified), key, false).await.map_err(|refusal| refusal.reason)
}

/// All of the road for one component.
async fn advance(
    registry: &Arc<Registry>,
    plugin: &Arc<Plugin>,
    settings: &Settings,
    (candidate, verified): (Candidate, Verified),
    key: Key,
    is_tried: bool,
) -> Result<(), Refusal> {
    let began = Instant::now();
    let generation = Arc::new(build(registry, plugin, settings, verified).await?.made_of(candidate));
    let mut report = Swapped {
        at_ms: crate::now_ms(),
        from_version: plugin.generation().map(|g| g.info.version.clone()),
        from_digest_sha256: plugin.generation().map(|g| g.digest.to_string()),
        build_seconds: began.elapsed().as_secs_f64(),
        trial_seconds: 0.0,
        difference: None,
    };
    // The first version has nothing to lose: its first read is its trial.
    if is_tried && plugin.generation().is_some() {
        let began = Instant::now();
        let version = Some(generation.info.version.clone());
        report.difference = trial(registry, plugin, settings, &generation).await.map_err(|r| Refusal { version, ..r })?;
        report.trial_seconds = began.elapsed().as_secs_f64();
        if settings.shadow > 0 && report.difference.is_some() {
            let wanted = settings.shadow.saturating_mul(plugin.targets().len().max(1) as u32);
            let pending = Pending {
                digest_sha256: Some(key.digest.to_string()),
                version: Some(generation.info.version.clone()),
                rights_asked: generation.rights_asked.clone(),
                ..Pending::new(
                    State::Active,
                    format!("version {} runs as a shadow for {} cycles first", generation.info.version, settings.shadow),
                )
            };
            let (cycles, difference) = (AtomicU32::new(0), Mutex::new(report.difference.clone().unwrap_or_default()));
            plugin.shadow.store(Some(Arc::new(Shadow { generation, key, report, cycles, wanted, difference })));
            wait(plugin, pending);
            return Ok(());
        }
    }
    registry.swap_in(plugin, generation, key, report);
    Ok(())
}

/// Compiles, links what is granted, describes, checks its configuration and configures a first instance.
async fn build(registry: &Arc<Registry>, plugin: &Arc<Plugin>, settings: &Settings, verified: Verified) -> Result<Generation, Refusal> {
    let host = |e: &dyn std::fmt::Display| Refusal { is_final: false, ..Refusal::new(format!("the host failed on it: {e}")) };
    let runtime = registry.runtime().clone();
    let _turn = registry.compiling().acquire().await.map_err(|e| host(&e))?;
    let compiled = tokio::task::spawn_blocking(move || Compiled::new(&runtime, &verified));
    let compiled = compiled.await.map_err(|e| host(&e))?.map_err(|e| Refusal::new(e.to_string()))?;
    let asked: Vec<String> = compiled.rights_asked.iter().filter(|r| *r != "types").cloned().collect();
    let (limits, grants, credentials) = (settings.limits.clone(), settings.grants.clone(), settings.credentials.clone());
    let state = Some(registry.state_dir().join(&plugin.name));
    let shared = Shared::new(&plugin.name, limits, grants, credentials, registry.commons().clone(), state, plugin.log.clone());
    let (runtime, catalogue, config) = (registry.runtime().clone(), registry.catalogue().clone(), settings.config.clone());
    let number = registry.next_number();
    let building = async move { Generation::new(runtime, &catalogue, compiled, shared, &config, number, crate::now_ms()).await };
    let built = registry.runtime().handle().spawn(building).await.map_err(|e| host(&e))?;
    built.map_err(|error| {
        let (state, missing) = match &error {
            LoadError::NeedsGrant { missing, .. } => (State::WaitingForApproval, missing.clone()),
            _ => (State::Rejected, Vec::new()),
        };
        // What the host or the machine was to blame for may be over the next time.
        let is_final =
            !matches!(&error, LoadError::Describe(f) | LoadError::Configure(f) if matches!(f.blame(), Blame::Host | Blame::Target));
        Refusal { state, rights_asked: asked, rights_missing: missing, is_final, ..Refusal::new(settings.reason(&error)) }
    })
}

/// Reads a target that the running version reads well, and compares.
async fn trial(registry: &Registry, plugin: &Plugin, settings: &Settings, new: &Arc<Generation>) -> Result<Option<Difference>, Refusal> {
    let live = plugin.targets().into_iter().filter_map(|(t, _)| plugin.seen(&t.id).map(|seen| (t, seen)));
    let mut said = Vec::new();
    for (target, seen) in live.take(TRIES) {
        match registry.collect(new, &target, settings.timeout).await {
            Ok(batch) => {
                let mut difference = Difference::default();
                difference.sets(&seen, &MetricSet::of(&batch), registry.catalogue());
                let has_nothing = batch.points.is_empty() && batch.gaps.is_empty() && seen != MetricSet::default();
                if has_nothing && !batch_may_be_partial(&batch) {
                    return Err(Refusal::new(format!(
                        "on trial it read nothing of target {:?}, of which the running version reads much",
                        target.id
                    )));
                }
                if !difference.loses_nothing() {
                    tracing::warn!(plugin = plugin.name, lost = ?difference.metrics_lost, "a new version lacks metrics of the running one");
                }
                return Ok(Some(difference));
            }
            Err(failure) if failure.blame() == Blame::Plugin => {
                return Err(Refusal::new(format!("on trial, reading target {:?}: {failure}", target.id)));
            }
            // The target may be to blame: another, and then another time.
            Err(failure) => said.push(format!("{}: {failure}", target.id)),
        }
    }
    if said.is_empty() {
        // None is known to be read well: at least it must not fall over the first.
        let Some((target, _)) = plugin.targets().into_iter().next() else { return Ok(None) };
        return match registry.collect(new, &target, settings.timeout).await {
            Err(failure) if failure.blame() == Blame::Plugin => {
                Err(Refusal::new(format!("on trial, reading target {:?}: {failure}", target.id)))
            }
            _ => Ok(None),
        };
    }
    let reason = format!("on trial it read none of the live targets ({}); tried again", said.join("; "));
    Err(Refusal { is_final: false, ..Refusal::new(reason) })
}

/// A delta may say that nothing changed.
fn batch_may_be_partial(batch: &Batch) -> bool {
    batch.coverage != super::contract::Coverage::Whole
}

/// Lets a shadow read what the running version just read, and takes over after its last cycle.
pub async fn shadow(registry: &Arc<Registry>, plugin: &Arc<Plugin>, target: &Target, old: Option<&(MetricSet, Values)>, timeout: Duration) {
    let Some(shadow) = plugin.shadow() else { return };
    let outcome = registry.collect(&shadow.generation, target, timeout).await;
    let mut fault = None;
    {
        let mut difference = shadow.difference.lock().unwrap_or_else(|e| e.into_inner());
        match (&outcome, old) {
            (Ok(new), Some((set, values))) => {
                difference.sets(set, &MetricSet::of(new), registry.catalogue());
                difference.values(values, new, registry.catalogue());
            }
            (Err(failure), _) if old.is_some() || failure.blame() == Blame::Plugin => {
                difference.failures += 1;
                difference.last_failure = Some(failure.to_string());
                fault = (failure.blame() == Blame::Plugin).then(|| failure.to_string());
            }
            _ => {}
        }
    }
    let done = shadow.cycles.fetch_add(1, Ordering::Relaxed) + 1;
    if done < shadow.wanted && fault.is_none() {
        return;
    }
    // Of several targets' tasks one ends it.
    let ended = plugin.shadow.compare_and_swap(&shadow, None);
    if !ended.as_ref().is_some_and(|s| Arc::ptr_eq(s, &shadow)) {
        return;
    }
    let difference = shadow.difference();
    match fault {
        Some(fault) => {
            plugin.status().refused = Some(shadow.key.clone());
            let mut pending = Pending::new(State::Rejected, format!("as a shadow, reading target {:?}: {fault}", target.id));
            (pending.digest_sha256, pending.version) = (Some(shadow.key.digest.to_string()), Some(shadow.generation.info.version.clone()));
            wait(plugin, pending);
        }
        None => {
            tracing::info!(plugin = plugin.name, version = shadow.generation.info.version, lost = ?difference.metrics_lost, gained = ?difference.metrics_gained,
                compared = difference.values_compared, different = difference.values_different, failures = difference.failures, "a shadow takes over");
            let report = Swapped { at_ms: crate::now_ms(), difference: Some(difference), ..shadow.report.clone() };
            registry.swap_in(plugin, shadow.generation.clone(), shadow.key.clone(), report);
            registry.changed.notify_one();
        }
    }
}

impl Registry {
    /// Lets a version answer from now on, and the one before end what it is doing.
    fn swap_in(&self, plugin: &Plugin, new: Arc<Generation>, key: Key, report: Swapped) {
        let admission = new.admission.load();
        tracing::info!(plugin = plugin.name, version = new.info.version, digest = %new.digest, trust = %admission.trust, rule = admission.rule, "loaded");
        plugin.swaps.fetch_add(1, Ordering::Relaxed);
        let (old, before) = {
            let mut status = plugin.status();
            (status.refused, status.pending, status.last_swap) = (None, None, Some(report));
            (plugin.generation.swap(Some(new)), status.running.replace(key.clone()))
        };
        plugin.begin_anew();
        // The same anew (a reload) is no way back.
        let before = before.filter(|b| b.digest != key.digest || b.fingerprint.trim_end() != key.fingerprint);
        if let (Some(old), Some(before)) = (&old, before) {
            plugin.remember_previous(old.clone(), before);
        }
        self.drain(old);
        plugin.set(State::Active, note(&plugin.settings()));
    }

    /// Takes how a call of a version ended: remembers what worked, and returns to the version before when a new one only fails.
    pub fn ended(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        generation: &Arc<Generation>,
        target: Option<&str>,
        outcome: Result<(), &Failure>,
    ) {
        if plugin.record(generation, target, outcome, crate::now_ms()) {
            let strikes = generation.strikes.load(Ordering::Relaxed);
            let last = outcome.err().map(ToString::to_string).unwrap_or_default();
            let reason = format!("version {} failed {strikes} times in a row ({last})", generation.info.version);
            let (registry, plugin, generation) = (self.clone(), plugin.clone(), generation.clone());
            tokio::task::spawn_blocking(move || match registry.give_way(&plugin, &generation, &reason) {
                Ok(_) => {
                    plugin.returns.fetch_add(1, Ordering::Relaxed);
                    registry.look_again.notify_one();
                }
                // The breaker holds it.
                Err(why) => tracing::debug!(plugin = plugin.name, why, "no way back"),
            });
        } else if outcome.is_ok()
            && let Some(source) = generation.take_source()
        {
            let (registry, name, generation) = (self.clone(), plugin.name.clone(), generation.clone());
            tokio::task::spawn_blocking(move || {
                let good = Good { sha256: generation.digest.to_string(), version: generation.info.version.clone(), at_ms: crate::now_ms() };
                let signature = source.signature.as_ref().and_then(|s| s.as_deref().ok());
                if let Err(error) = registry.kept().good(&name, good, &source.bytes, signature) {
                    tracing::error!(%error, plugin = name, "a good version was not kept; there is no way back to it after a restart");
                }
            });
        }
    }

    /// Quarantines what runs and lets the version before answer: at once where it is still there, else at the next look. What comes
    /// back, or why nothing can. Blocking: the ledger is written durably.
    pub(super) fn give_way(&self, plugin: &Plugin, generation: &Generation, reason: &str) -> Result<String, String> {
        let settings = plugin.settings();
        let runs = || plugin.generation().is_some_and(|g| g.number == generation.number);
        let (running, previous) = {
            let status = plugin.status();
            if !runs() {
                return Err("it no longer runs".into());
            }
            (status.running.clone().ok_or("nothing runs")?, status.previous.clone())
        };
        let is_config_only = previous.as_ref().is_some_and(|p| p.key.digest == running.digest);
        let is_fit = |p: &Previous| {
            let is_free = p.key.fingerprint == settings.fingerprint() && self.kept().quarantined(&plugin.name, p.key.digest).is_none();
            (is_config_only || is_free) && self.policy().again(&p.generation.admission.load(), &settings.pins).is_ok()
        };
        let previous = previous.filter(is_fit);
        let back = match (&previous, self.kept().last_good(&plugin.name, Some(running.digest))) {
            (Some(previous), _) => format!("version {} answers", previous.generation.info.version),
            (None, Some(good)) if !is_config_only => {
                let place = generation.admission.load().place();
                let judged = candidate(self.kept(), &good, settings.component.clone(), place)
                    .and_then(|c| self.policy().judge(&c, &settings.pins).map_err(|refusal| refusal.to_string()));
                judged.map_err(|reason| format!("version {} before this one cannot be used: {reason}", good.version))?;
                format!("version {} is being brought back", good.version)
            }
            _ => return Err("there is no version before this one".into()),
        };
        let (state, what) = match is_config_only {
            true => (State::Rejected, "its settings of now are left aside"),
            false => (State::Quarantined, "quarantined"),
        };
        let mut text = format!("{what}: {reason}; `plugin reload {}` tries it again", plugin.name);
        let written = if is_config_only { Ok(()) } else { self.kept().quarantine(&plugin.name, running.digest, reason) };
        if let Err(error) = &written {
            // A full disk keeps no version that fails running while another is at hand.
            text.push_str(&format!("; a restart tries it again too: the quarantine could not be written: {error}"));
            if previous.is_none() {
                return Err(format!("the quarantine could not be written: {error}"));
            }
        }
        let mut pending = Pending::new(state, text);
        (pending.digest_sha256, pending.version) = (Some(running.digest.to_string()), Some(generation.info.version.clone()));
        if let Some(previous) = previous {
            let old = {
                let mut status = plugin.status();
                if !runs() {
                    return Err("it no longer runs".into());
                }
                if is_config_only || written.is_err() {
                    status.refused = Some(running);
                }
                (status.running, status.previous) = (Some(previous.key), None);
                plugin.generation.swap(Some(previous.generation))
            };
            plugin.begin_anew();
            self.drain(old);
        }
        wait(plugin, pending);
        Ok(back)
    }
}
