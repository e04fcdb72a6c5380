//! All plugins: what is in the directory, what is configured, what runs, and why something does not.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::call::{Blame, Failure};
use super::capabilities::{Commons, Credential, Grants, Shared, log};
use super::contract::Target;
use super::engine::{MAX_COMPONENT, Runtime};
use super::generation::{Compiled, Generation, LoadError};
use super::limits::Limits;
use super::verify::ContentDigest;
use super::watch;
use crate::catalogue::Catalogue;

/// How long calls under way may go on after a swap.
const DRAIN: Duration = Duration::from_secs(30);
/// Targets that one plugin may find.
const MAX_DISCOVERED: usize = 10_000;
/// Scans without the file before a plugin is taken as removed: a rename may be under way.
const GRACE_SCANS: u32 = 2;

/// What a configured component that is not in the directory means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// It may still come; until then the host is degraded.
    #[default]
    Wait,
    /// Nothing is wrong.
    Ignore,
    /// The host does not start.
    Fail,
}

/// What the operator says of one plugin.
#[derive(Clone)]
pub struct Settings {
    pub name: String,
    /// File stem of its component.
    pub component: String,
    pub enabled: bool,
    pub interval: Duration,
    pub timeout: Duration,
    pub grants: Grants,
    pub limits: Limits,
    pub config: serde_json::Value,
    pub targets: Vec<(Target, Option<Duration>)>,
    pub credentials: HashMap<String, Credential>,
    pub priority: i32,
    pub on_missing: OnMissing,
    /// Configured clusters; the first is the default.
    pub clusters: Vec<String>,
}

impl Settings {
    /// No rights and no targets: what a component without a `NAME.toml` gets.
    pub fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            component: name.to_owned(),
            enabled: true,
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            grants: Grants::default(),
            limits: Limits::default(),
            config: serde_json::json!({}),
            targets: Vec::new(),
            credentials: HashMap::new(),
            priority: 0,
            on_missing: OnMissing::default(),
            clusters: Vec::new(),
        }
    }

    /// What needs a new generation when it changes. Targets do not; the origins that they grant do.
    fn fingerprint(&self) -> String {
        let mut credentials: Vec<_> = self.credentials.iter().map(|(k, v)| (k, &v.origins)).collect();
        credentials.sort();
        format!("{:?} {:?} {} {credentials:?}", self.grants, self.limits, self.config)
    }
}

/// Where a plugin stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Configured, but its component is not in the directory.
    Missing,
    Loading,
    Active,
    Disabled,
    /// It asks for a right that was not granted.
    NeedsGrant,
    /// What is in the directory cannot be used; an older version may go on.
    Rejected,
}

/// One plugin over its versions.
pub struct Plugin {
    pub name: String,
    settings: ArcSwap<Settings>,
    generation: ArcSwapOption<Generation>,
    status: Mutex<Status>,
    pub log: Arc<log::Tail>,
    pub calls: AtomicU64,
    pub out_of_range: AtomicU64,
    failures: Mutex<HashMap<Blame, u64>>,
    discovered: Mutex<Discovered>,
}

/// Targets that a plugin found itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Discovered {
    pub targets: Vec<Target>,
    /// Why others that it named are not read.
    pub refused: Vec<String>,
}

#[derive(Default)]
struct Status {
    state: Option<State>,
    reason: Option<String>,
    rights_asked: Vec<String>,
    loaded: Option<(ContentDigest, String)>,
    refused: Option<(ContentDigest, String)>,
    missing_scans: u32,
    last_error: Option<(i64, String)>,
}

impl Plugin {
    fn new(settings: Settings) -> Self {
        Self {
            name: settings.name.clone(),
            settings: ArcSwap::from_pointee(settings),
            generation: ArcSwapOption::empty(),
            status: Mutex::default(),
            log: Arc::default(),
            calls: AtomicU64::new(0),
            out_of_range: AtomicU64::new(0),
            failures: Mutex::default(),
            discovered: Mutex::default(),
        }
    }

    fn status(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub fn discovered(&self) -> Discovered {
        self.discovered.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// All targets with their own intervals; a configured one goes before one that was found under its id.
    pub fn targets(&self) -> Vec<(Target, Option<Duration>)> {
        let mut all = self.settings().targets.clone();
        let found = self.discovered().targets.into_iter().filter(|t| !all.iter().any(|(known, _)| known.id == t.id));
        let found: Vec<_> = found.map(|t| (t, None)).collect();
        all.extend(found);
        all
    }

    /// Takes what the plugin found: within its rights, in a configured cluster, each id once. Whether anything changed.
    pub fn discover(&self, found: Vec<Target>) -> bool {
        let settings = self.settings();
        let mut next = Discovered::default();
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
                _ if target.id.is_empty() || target.id.len() > 256 || target.id.chars().any(char::is_control) => {
                    Some("an id has 1 to 256 bytes and no control characters".to_owned())
                }
                _ if next.targets.iter().any(|t: &Target| t.id == target.id) => Some("its id stands twice".to_owned()),
                _ if next.targets.len() >= MAX_DISCOVERED => Some(format!("more than {MAX_DISCOVERED} targets")),
                _ if !settings.clusters.contains(&target.cluster) => Some(format!("no cluster {:?} is configured", target.cluster)),
                _ => reach,
            };
            match refused {
                None => next.targets.push(target),
                Some(why) if next.refused.len() < 20 => next.refused.push(format!("target {id:?}: {why}")),
                Some(_) => {}
            }
        }
        let mut now = self.discovered.lock().unwrap_or_else(|e| e.into_inner());
        let changed = *now != next;
        *now = next;
        changed
    }

    /// The version that answers now.
    pub fn generation(&self) -> Option<Arc<Generation>> {
        self.generation.load_full()
    }

    /// State and, where it is not simply active, the reason.
    pub fn state(&self) -> (State, Option<String>) {
        let status = self.status();
        (status.state.clone().unwrap_or(State::Loading), status.reason.clone())
    }

    pub fn rights_asked(&self) -> Vec<String> {
        self.status().rights_asked.clone()
    }

    /// The last failure of a call: when, and what it said.
    pub fn last_error(&self) -> Option<(i64, String)> {
        self.status().last_error.clone()
    }

    pub fn failures(&self) -> HashMap<Blame, u64> {
        self.failures.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Counts a call and whom its failure is blamed on.
    pub fn count(&self, outcome: Result<(), &Failure>, now_ms: i64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = outcome {
            *self.failures.lock().unwrap_or_else(|e| e.into_inner()).entry(failure.blame()).or_default() += 1;
            self.status().last_error = Some((now_ms, failure.to_string()));
        }
    }

    fn set(&self, state: State, reason: Option<String>) {
        let mut status = self.status();
        if status.state.as_ref() != Some(&state) || status.reason != reason {
            tracing::info!(plugin = self.name, ?state, reason = reason.as_deref().unwrap_or(""), "plugin");
        }
        (status.state, status.reason) = (Some(state), reason);
    }
}

/// Every plugin of this host.
pub struct Registry {
    runtime: Arc<Runtime>,
    catalogue: Arc<Catalogue>,
    dir: PathBuf,
    state_dir: PathBuf,
    commons: Commons,
    plugins: RwLock<BTreeMap<String, Arc<Plugin>>>,
    generations: AtomicU64,
    /// Told when a plugin found other targets than before.
    pub discovered: tokio::sync::Notify,
}

impl Registry {
    /// `dir` holds components, `state_dir` the plugins' own small stores.
    pub fn new(runtime: Arc<Runtime>, catalogue: Arc<Catalogue>, dir: PathBuf, state_dir: PathBuf) -> anyhow::Result<Self> {
        let commons = Commons::new()?;
        let (plugins, generations) = (RwLock::default(), AtomicU64::new(0));
        Ok(Self { runtime, catalogue, dir, state_dir, commons, plugins, generations, discovered: tokio::sync::Notify::new() })
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

    /// Brings what runs in line with the directory and the settings. One plugin's trouble never keeps another from it.
    pub async fn reconcile(&self, settings: Vec<Settings>) {
        let dir = self.dir.clone();
        let scanned = tokio::task::spawn_blocking(move || watch::scan(&dir, MAX_COMPONENT)).await;
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
        let mut files: HashMap<String, Arc<Result<Vec<u8>, String>>> = found.into_iter().map(|f| (f.name, Arc::new(f.bytes))).collect();
        let mut wanted: BTreeMap<String, Settings> = settings.into_iter().map(|s| (s.name.clone(), s)).collect();
        let used: Vec<String> = wanted.values().map(|s| s.component.clone()).collect();
        for name in files.keys().filter(|n| !used.contains(n)) {
            wanted.entry(name.clone()).or_insert_with(|| Settings::bare(name));
        }
        for plugin in self.list() {
            if !wanted.contains_key(&plugin.name) {
                let gone = {
                    let mut s = plugin.status();
                    s.missing_scans += 1;
                    s.missing_scans >= GRACE_SCANS
                };
                if gone {
                    self.plugins.write().unwrap_or_else(|e| e.into_inner()).remove(&plugin.name);
                    self.retire(plugin.generation.swap(None));
                    tracing::info!(plugin = plugin.name, "removed");
                }
            }
        }
        for (name, settings) in wanted {
            let file = files.get(&settings.component).cloned();
            let plugin = {
                let mut plugins = self.plugins.write().unwrap_or_else(|e| e.into_inner());
                plugins.entry(name).or_insert_with(|| Arc::new(Plugin::new(settings.clone()))).clone()
            };
            plugin.settings.store(Arc::new(settings.clone()));
            self.bring(&plugin, settings, file).await;
        }
        files.clear();
    }

    async fn bring(&self, plugin: &Arc<Plugin>, settings: Settings, file: Option<Arc<Result<Vec<u8>, String>>>) {
        if !settings.enabled {
            self.retire(plugin.generation.swap(None));
            plugin.status().loaded = None;
            plugin.set(State::Disabled, Some("enabled = false in its settings".into()));
            return;
        }
        let Some(file) = file else {
            let gone = {
                let mut s = plugin.status();
                s.missing_scans += 1;
                s.missing_scans >= GRACE_SCANS || s.loaded.is_none()
            };
            if gone {
                self.retire(plugin.generation.swap(None));
                (plugin.status().loaded, plugin.status().refused) = (None, None);
                plugin.set(State::Missing, Some(format!("{}.wasm is not in the plugins directory", settings.component)));
            }
            return;
        };
        plugin.status().missing_scans = 0;
        let bytes = match &*file {
            Ok(bytes) => bytes,
            Err(reason) => return plugin.set(State::Rejected, Some(self.going_on(plugin, reason))),
        };
        let key = (ContentDigest::of(bytes), settings.fingerprint());
        {
            let mut status = plugin.status();
            if status.refused.as_ref() == Some(&key) {
                return;
            }
            if status.loaded.as_ref() == Some(&key) {
                // What was refused in between is gone again.
                status.refused = None;
                drop(status);
                return plugin.set(State::Active, note(&settings));
            }
        }
        match self.load(plugin, &settings, file.clone()).await {
            Ok(generation) => {
                tracing::info!(plugin = plugin.name, version = generation.info.version, digest = %generation.digest, "loaded");
                let old = plugin.generation.swap(Some(Arc::new(generation)));
                self.retire(old);
                let mut status = plugin.status();
                (status.loaded, status.refused) = (Some(key), None);
                drop(status);
                plugin.set(State::Active, note(&settings));
            }
            Err(error) => {
                plugin.status().refused = Some(key);
                let state = match error {
                    LoadError::NeedsGrant(_) => State::NeedsGrant,
                    _ => State::Rejected,
                };
                plugin.set(state, Some(self.going_on(plugin, &error.to_string())));
            }
        }
    }

    fn going_on(&self, plugin: &Plugin, reason: &str) -> String {
        match plugin.generation() {
            Some(old) => format!("{reason}; version {} goes on", old.info.version),
            None => reason.to_owned(),
        }
    }

    async fn load(&self, plugin: &Arc<Plugin>, settings: &Settings, file: Arc<Result<Vec<u8>, String>>) -> Result<Generation, LoadError> {
        let (runtime, component) = (self.runtime.clone(), settings.component.clone());
        let host = |e: tokio::task::JoinError| LoadError::NotAComponent(format!("the host failed on it: {e}"));
        let compiled = tokio::task::spawn_blocking(move || match &*file {
            Ok(bytes) => Compiled::new(&runtime, &component, bytes),
            Err(reason) => Err(LoadError::NotAComponent(reason.clone())),
        })
        .await
        .map_err(host)??;
        plugin.status().rights_asked = compiled.rights_asked.iter().filter(|r| *r != "types").cloned().collect();
        let (limits, grants, credentials) = (settings.limits.clone(), settings.grants.clone(), settings.credentials.clone());
        let state = Some(self.state_dir.join(&plugin.name));
        let shared = Shared::new(&plugin.name, limits, grants, credentials, self.commons.clone(), state, plugin.log.clone());
        let number = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let (runtime, catalogue, config) = (self.runtime.clone(), self.catalogue.clone(), settings.config.clone());
        let now_ms = crate::now_ms();
        let building = async move { Generation::new(runtime, &catalogue, compiled, shared, &config, number, now_ms).await };
        self.runtime.handle().spawn(building).await.map_err(host)?
    }

    fn retire(&self, old: Option<Arc<Generation>>) {
        if let Some(old) = old {
            self.runtime.handle().spawn(async move {
                if !old.drain(DRAIN).await {
                    tracing::warn!(generation = old.number, "calls of a replaced version did not end in time");
                }
            });
        }
    }
}

fn note(settings: &Settings) -> Option<String> {
    settings.targets.is_empty().then(|| format!("it has no targets; plugins.d/{}.toml lists them", settings.name))
}
