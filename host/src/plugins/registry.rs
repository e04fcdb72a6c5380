//! All plugins: what is in the directory, what is configured, and which plugin gets which work.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, broadcast};

use super::call::Failure;
use super::capabilities::Commons;
use super::contract::Target;
use super::engine::{MAX_COMPONENT, Runtime};
use super::generation::Generation;
use super::kept::Kept;
use super::plugin::{Plugin, State, Told};
use super::settings::Settings;
use super::swap::{self, GRACE_SCANS, Work};
use super::verify::{Candidate, ContentDigest, Policy, Verified};
use super::watch;
use crate::catalogue::Catalogue;
use crate::inventory::batch::Batch;

/// How long calls under way may go on after a swap.
const DRAIN: Duration = Duration::from_secs(30);
/// Components that are compiled at once: one that takes long must not keep every other waiting.
const COMPILING: usize = 2;

/// Every plugin of this host.
pub struct Registry {
    runtime: Arc<Runtime>,
    catalogue: Arc<Catalogue>,
    dir: PathBuf,
    state_dir: PathBuf,
    kept: Kept,
    commons: Commons,
    policy: ArcSwap<Policy>,
    plugins: RwLock<BTreeMap<String, Arc<Plugin>>>,
    queues: Mutex<HashMap<String, Queue>>,
    generations: AtomicU64,
    told: broadcast::Sender<Arc<Told>>,
    compiling: Semaphore,
    /// Told when something else than before runs, or other targets were found.
    pub changed: Notify,
    /// Told when the directory and the settings are to be looked at again.
    pub look_again: Arc<Notify>,
}

/// Changes of state that a listener may be behind.
const TOLD: usize = 1_024;

/// What waits for one plugin: the latest look only, and whether somebody is at it.
#[derive(Default)]
struct Queue {
    next: Option<Work>,
    is_busy: bool,
}

impl Registry {
    /// Changes of state from now on, of all plugins.
    pub fn told(&self) -> broadcast::Receiver<Arc<Told>> {
        self.told.subscribe()
    }

    /// `dir` holds components, `state_dir` the plugins' own small stores, `kept_dir` what outlives a restart.
    pub fn new(
        runtime: Arc<Runtime>,
        catalogue: Arc<Catalogue>,
        dir: PathBuf,
        state_dir: PathBuf,
        kept_dir: PathBuf,
        policy: Policy,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            runtime,
            catalogue,
            dir,
            state_dir,
            kept: Kept::open(kept_dir)?,
            commons: Commons::new()?,
            policy: ArcSwap::from_pointee(policy),
            plugins: RwLock::default(),
            queues: Mutex::default(),
            generations: AtomicU64::new(0),
            told: broadcast::Sender::new(TOLD),
            compiling: Semaphore::new(COMPILING),
            changed: Notify::new(),
            look_again: Arc::default(),
        })
    }

    /// Another policy; the next [`Registry::reconcile`] judges by it what runs and what lies there.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    pub fn list(&self) -> Vec<Arc<Plugin>> {
        self.plugins.read().unwrap_or_else(|e| e.into_inner()).values().cloned().collect()
    }

    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugins.read().unwrap_or_else(|e| e.into_inner()).get(name).cloned()
    }

    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// What all plugins share.
    pub fn commons(&self) -> &Commons {
        &self.commons
    }

    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// Versions that worked and digests that do not run.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(super) fn compiling(&self) -> &Semaphore {
        &self.compiling
    }

    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(super) fn next_number(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reads a target once, on the guests' own threads.
    pub async fn collect(&self, generation: &Arc<Generation>, target: &Target, timeout: Duration) -> Result<Batch, Failure> {
        let (generation, catalogue, target) = (generation.clone(), self.catalogue.clone(), target.clone());
        let call = self.runtime.handle().spawn(async move { generation.collect(&catalogue, &target, timeout).await });
        call.await.unwrap_or_else(|e| Err(Failure::Host(format!("the call's task failed: {e}"))))
    }

    /// Hands every plugin what the directory and the settings say of it now. One plugin's trouble never keeps another waiting: each
    /// is brought in line by a task of its own.
    pub async fn reconcile(self: &Arc<Self>, settings: Vec<Settings>) {
        let pins = |plugin: &Plugin| settings.iter().find(|s| s.name == plugin.name).map_or_else(Vec::new, |s| s.pins.clone());
        self.list().iter().for_each(|plugin| self.judge_again(plugin, &pins(plugin)));
        let (dir, policy) = (self.dir.clone(), self.policy());
        let scanned = tokio::task::spawn_blocking(move || watch::scan(&dir, policy.dev_dir.as_deref(), MAX_COMPONENT)).await;
        let found = match scanned {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(dir = %self.dir.display(), %error, "the plugins directory cannot be read; what runs goes on");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "the plugins directory was not read");
                return;
            }
        };
        let files: HashMap<String, Result<Candidate, String>> = found.into_iter().map(|f| (f.name, f.read)).collect();
        let mut wanted: BTreeMap<String, Settings> = settings.into_iter().map(|s| (s.name.clone(), s)).collect();
        let used: Vec<String> = wanted.values().map(|s| s.component.clone()).collect();
        for name in files.keys().filter(|n| !used.contains(n)) {
            wanted.entry(name.clone()).or_insert_with(|| Settings::bare(name));
        }
        for plugin in self.list().into_iter().filter(|p| !wanted.contains_key(&p.name)) {
            let is_gone = {
                let mut status = plugin.status();
                status.missing_scans += 1;
                status.missing_scans >= GRACE_SCANS
            };
            if is_gone {
                self.plugins.write().unwrap_or_else(|e| e.into_inner()).remove(&plugin.name);
                self.stop(&plugin);
                tracing::info!(plugin = plugin.name, "removed");
                self.changed.notify_one();
            }
        }
        for (name, settings) in wanted {
            let file = files.get(&settings.component).cloned();
            let plugin = {
                let mut plugins = self.plugins.write().unwrap_or_else(|e| e.into_inner());
                plugins.entry(name).or_insert_with(|| Arc::new(Plugin::new(settings.clone(), self.told.clone()))).clone()
            };
            self.enqueue(plugin, Work { settings, file });
        }
    }

    fn enqueue(self: &Arc<Self>, plugin: Arc<Plugin>, work: Work) {
        let is_idle = {
            let mut queues = self.queues.lock().unwrap_or_else(|e| e.into_inner());
            let queue = queues.entry(plugin.name.clone()).or_default();
            queue.next = Some(work);
            !std::mem::replace(&mut queue.is_busy, true)
        };
        if is_idle {
            let registry = self.clone();
            tokio::spawn(async move {
                while let Some(work) = registry.next(&plugin.name) {
                    swap::bring(&registry, &plugin, work).await;
                    registry.changed.notify_one();
                }
            });
        }
    }

    /// The latest look at a plugin that nobody took yet; without one its queue goes.
    fn next(&self, name: &str) -> Option<Work> {
        let mut queues = self.queues.lock().unwrap_or_else(|e| e.into_inner());
        let next = queues.get_mut(name)?.next.take();
        if next.is_none() {
            queues.remove(name);
        }
        next
    }

    /// Whether some plugin is still being brought in line.
    pub fn is_busy(&self) -> bool {
        !self.queues.lock().unwrap_or_else(|e| e.into_inner()).is_empty()
    }

    /// Judges a component by today's policy.
    pub(super) async fn judge(&self, candidate: Candidate, settings: &Settings) -> Result<Verified, String> {
        let (policy, pins) = (self.policy(), settings.pins.clone());
        let judging = tokio::task::spawn_blocking(move || policy.judge(&candidate, &pins));
        judging.await.map_err(|e| format!("the host failed on it: {e}"))?.map_err(|refusal| refusal.to_string())
    }

    /// Judges what runs by today's policy and pins; what is not trusted any more stops. The version before is judged when it is to
    /// come back.
    fn judge_again(&self, plugin: &Plugin, pins: &[ContentDigest]) {
        let policy = self.policy();
        if plugin.shadow().is_some_and(|s| policy.again(&s.generation.admission.load(), pins).is_err()) {
            plugin.shadow.store(None);
        }
        let Some(running) = plugin.generation() else { return };
        match policy.again(&running.admission.load(), pins) {
            Ok(admission) => running.admission.store(Arc::new(admission)),
            Err(refusal) => {
                self.stop(plugin);
                plugin.set(State::Rejected, Some(format!("version {} was stopped: {refusal}", running.info.version)));
            }
        }
    }

    /// Lets a plugin answer no more.
    pub(super) fn stop(&self, plugin: &Plugin) {
        plugin.shadow.store(None);
        {
            let mut status = plugin.status();
            (status.running, status.previous, status.pending) = (None, None, None);
        }
        self.drain(plugin.generation.swap(None));
    }

    pub(super) fn drain(&self, old: Option<Arc<Generation>>) {
        if let Some(old) = old {
            self.runtime.handle().spawn(async move {
                if !old.drain(DRAIN).await {
                    tracing::warn!(generation = old.number, "calls of a replaced version did not end in time");
                }
            });
        }
    }

    // === what an operator does while it runs ===

    /// Brings the version before back and quarantines the one that runs. What was done, or why not.
    pub fn roll_back(&self, plugin: &Plugin, by: &str) -> Result<String, String> {
        let running = plugin.generation().ok_or("nothing of it runs")?;
        let back = self.give_way(plugin, &running, &format!("version {} was rolled back by {by}", running.info.version))?;
        self.look_again.notify_one();
        self.changed.notify_one();
        Ok(format!("version {} was taken out; {back}", running.info.version))
    }

    /// Switches a plugin off over restarts.
    pub fn disable(&self, plugin: &Plugin, by: &str) -> Result<String, String> {
        self.kept.disable(&plugin.name, Some(by)).map_err(|e| e.to_string())?;
        self.look_again.notify_one();
        Ok("switched off".to_owned())
    }

    /// Switches it on again.
    pub fn enable(&self, plugin: &Plugin) -> Result<String, String> {
        if self.kept.disabled_by(&plugin.name).is_none() {
            return Err("it was not switched off here".to_owned());
        }
        self.kept.disable(&plugin.name, None).map_err(|e| e.to_string())?;
        self.look_again.notify_one();
        Ok("switched on".to_owned())
    }

    /// Tries everything of a plugin again: what was refused, what was quarantined, and what runs as a fresh version.
    pub fn reload(&self, plugin: &Plugin) -> Result<String, String> {
        let released = self.kept.release(&plugin.name).map_err(|e| e.to_string())?;
        {
            let mut status = plugin.status();
            (status.refused, status.pending) = (None, None);
            // Another key than any: what runs is built anew.
            if let Some(running) = &mut status.running {
                running.fingerprint.push(' ');
            }
        }
        self.look_again.notify_one();
        Ok(format!("looked at again; {released} released from quarantine"))
    }
}
