//! One loaded version of a plugin, with its warm instances. Nothing else swaps a plugin.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use wasmtime::Store;
use wasmtime::component::Component;

use super::call::{self, Failure};
use super::capabilities::{Guest, Shared, log};
use super::check::{self, Admitted, PastSeries};
use super::contract::{Info, RangeQuery, Target};
use super::engine::Runtime;
use super::schema;
use super::settings::Settings;
use super::verify::{Admission, Candidate, ContentDigest, Verified};
use super::wit;
use crate::catalogue::{Catalogue, NamesLeft};
use crate::inventory::batch::Batch;

/// Of a vendor's name and a description.
const MAX_TEXT: usize = 1_024;
/// Pages of one answer, at most.
const MAX_PAGES: usize = 1_000;

/// Why a component cannot become a generation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    NotAComponent(String),
    #[error("{0}")]
    Contract(String),
    /// It asks for what the operator did not grant.
    #[error("{}", super::approval::asks(plugin, missing))]
    NeedsGrant { plugin: String, missing: Vec<String> },
    #[error("describe: {0}")]
    Describe(Failure),
    #[error("its description: {0}")]
    Description(String),
    #[error("its [config]: {0}")]
    Config(String),
    #[error("configure: {0}")]
    Configure(Failure),
}

/// A compiled component; compiling is the slow part, so it is kept apart from linking.
pub struct Compiled {
    component: Component,
    pub admission: Admission,
    pub rights_asked: Vec<String>,
    /// Whether it imports WASI, which gives it nothing.
    pub wasi: bool,
}

impl Compiled {
    /// Compiles; blocking, and slow where the code cache does not help.
    pub fn new(runtime: &Runtime, verified: &Verified) -> Result<Self, LoadError> {
        let compiled = runtime.compile(verified.admission().digest(), verified.bytes());
        let component = compiled.map_err(|e| LoadError::NotAComponent(format!("it does not compile: {e}")))?;
        let rights_asked = wit::asked(runtime.engine(), &component).map_err(LoadError::Contract)?;
        let wasi = wit::wasi::is_used(runtime.engine(), &component);
        Ok(Self { component, admission: verified.admission().clone(), wasi, rights_asked })
    }
}

/// Names in it are the component's.
fn first_line(text: &str) -> String {
    log::clean(text.lines().next().unwrap_or_default())
}

/// A version of a plugin that can be called.
pub struct Generation {
    pub number: u64,
    pub digest: ContentDigest,
    /// Judged anew when the policy, the pins or the signature change.
    pub admission: ArcSwap<Admission>,
    pub rights_asked: Vec<String>,
    pub wasi: bool,
    pub info: Info,
    pub config: String,
    pub loaded_at_ms: i64,
    runtime: Arc<Runtime>,
    ready: wit::Ready,
    shared: Arc<Shared>,
    metrics: Vec<Admitted>,
    names_left: NamesLeft,
    permits: Arc<Semaphore>,
    idle: Mutex<HashMap<String, Vec<Warm>>>,
    /// The most memory an instance used, in bytes.
    pub memory_high_water: AtomicU64,
    /// CPU of its calls, in ticks of the engine's clock, and readings that it gave.
    pub cpu_ticks: AtomicU64,
    pub points: AtomicU64,
    pub born: Instant,
    /// Faults of its own in a row, and good calls.
    pub strikes: AtomicU32,
    pub good: AtomicU32,
    /// What it was made of, until it is kept as good.
    source: Mutex<Option<Candidate>>,
}

struct Warm {
    store: Store<Guest>,
    instance: wit::Instance,
    calls: u32,
    last: Instant,
    cursor: Option<Vec<u8>>,
}

impl Generation {
    /// Links what is granted, asks the component what it is, checks its configuration and configures a first instance.
    pub async fn new(
        runtime: Arc<Runtime>,
        catalogue: &Catalogue,
        compiled: Compiled,
        shared: Shared,
        config: &serde_json::Value,
        number: u64,
        now_ms: i64,
    ) -> Result<Self, LoadError> {
        let rights = shared.rights();
        let missing: Vec<String> = compiled.rights_asked.iter().filter(|r| !rights.grants.holds(r)).cloned().collect();
        if !missing.is_empty() {
            return Err(LoadError::NeedsGrant { plugin: shared.plugin.to_string(), missing });
        }
        let contract = |e: wasmtime::Error| LoadError::Contract(first_line(&format!("{e:#}")));
        let ready = wit::Ready::new(runtime.engine(), &compiled.component, &rights.grants).map_err(contract)?;
        let limits = shared.limits.clone();
        let shared = Arc::new(shared);
        let config_text = config.to_string();
        let mut generation = Self {
            number,
            digest: compiled.admission.digest(),
            admission: ArcSwap::from_pointee(compiled.admission),
            rights_asked: compiled.rights_asked,
            wasi: compiled.wasi,
            info: Info {
                name: String::new(),
                version: String::new(),
                vendor: String::new(),
                description: String::new(),
                metrics: Vec::new(),
                config_schema: String::new(),
                bound_to_target: false,
            },
            config: config_text,
            loaded_at_ms: now_ms,
            permits: Arc::new(Semaphore::new(limits.instances.max(1))),
            runtime,
            ready,
            shared,
            metrics: Vec::new(),
            names_left: NamesLeft::default(),
            idle: Mutex::new(HashMap::new()),
            memory_high_water: AtomicU64::new(0),
            cpu_ticks: AtomicU64::new(0),
            points: AtomicU64::new(0),
            born: Instant::now(),
            strikes: AtomicU32::new(0),
            good: AtomicU32::new(0),
            source: Mutex::default(),
        };
        let info = generation.describe().await.map_err(LoadError::Describe)?;
        generation.metrics = described(catalogue, &generation.names_left, &info).map_err(LoadError::Description)?;
        // Off the guests' threads: it is the host's own work, and no guest's budget ends it.
        let (schema, given) = (info.config_schema.clone(), config.clone());
        let checked = tokio::task::spawn_blocking(move || schema::check(&schema, &given)).await;
        checked.unwrap_or_else(|e| Err(LoadError::Config(e.to_string())))?;
        generation.info = info;
        let first = generation.instance(limits.cpu, Duration::from_secs(5)).await.map_err(LoadError::Configure)?;
        generation.keep(String::new(), first);
        Ok(generation)
    }

    /// Takes over what an operator grants now.
    pub(super) fn set_rights(&self, settings: &Settings) {
        self.shared.set_rights(settings.grants.clone(), settings.credentials.clone());
    }

    /// Remembers what it was made of.
    pub(super) fn made_of(self, source: Candidate) -> Self {
        *self.source.lock().unwrap_or_else(|e| e.into_inner()) = Some(source);
        self
    }

    /// What it was made of, once.
    pub(super) fn take_source(&self) -> Option<Candidate> {
        self.source.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// Asks it what it is. It runs with no rights: whatever it calls is denied.
    async fn describe(&self) -> Result<Info, Failure> {
        let limits = &self.shared.limits;
        // Wall time is generous beside the CPU budget: the machine may be busy, the guest may not.
        let (cpu, wall) = (limits.describe_cpu, Duration::from_secs(5));
        let mut store = call::store(self.runtime.engine(), &Arc::new(self.shared.without_rights()));
        call::arm(&mut store, cpu, wall);
        let instance = call::bounded(wall, limits.output_bytes, self.ready.instantiate(&mut store)).await;
        let instance = instance.map_err(|f| call::judged(f, store.data()))?;
        let described = call::bounded(wall, limits.output_bytes, instance.describe(&mut store)).await;
        described.map_err(|f| call::judged(f, store.data()))
    }

    async fn instance(&self, cpu: Duration, wall: Duration) -> Result<Warm, Failure> {
        let output = self.shared.limits.output_bytes;
        let mut store = call::store(self.runtime.engine(), &self.shared);
        call::arm(&mut store, cpu, wall);
        let instance = call::bounded(wall, output, self.ready.instantiate(&mut store)).await;
        let instance = instance.map_err(|f| call::judged(f, store.data()))?;
        let configured = call::bounded(wall, output, instance.configure(&mut store, &self.config)).await;
        configured.map_err(|f| call::judged(f, store.data()))??;
        Ok(Warm { store, instance, calls: 0, last: Instant::now(), cursor: None })
    }

    /// Reads one target once, all pages of it.
    pub async fn collect(&self, catalogue: &Catalogue, target: &Target, wall: Duration) -> Result<Batch, Failure> {
        let deadline = Instant::now() + wall;
        let host = |e: tokio::sync::AcquireError| Failure::Host(e.to_string());
        let waited = tokio::time::timeout(wall, self.permits.acquire()).await;
        let _permit = waited.map_err(|_| Failure::Host("all instances were busy for the whole time-out".into()))?.map_err(host)?;
        let limits = &self.shared.limits;
        let key = if self.info.bound_to_target { target.id.clone() } else { String::new() };
        let mut warm = match self.take(&key) {
            Some(warm) => warm,
            None => self.instance(limits.cpu, wall).await?,
        };
        let left = |now: Instant| deadline.saturating_duration_since(now);
        let mut whole: Option<Batch> = None;
        let mut page: Option<Vec<u8>> = None;
        let mut cursor = None;
        let mut room = check::Room::new(limits);
        call::arm(&mut warm.store, limits.cpu, left(Instant::now()));
        let outcome = async {
            for _ in 0..MAX_PAGES {
                let now = left(Instant::now());
                call::go_on(&mut warm.store);
                let collect =
                    warm.instance.collect(&mut warm.store, target, now.as_millis() as u32, page.as_deref(), warm.cursor.as_deref());
                let answered = call::bounded(now, limits.output_bytes, collect).await;
                let mut raw = answered.map_err(|f| call::judged(f, warm.store.data()))??;
                page = raw.next_page.take();
                cursor = raw.cursor.take().or(cursor.take());
                room.take(&raw).map_err(Failure::Invalid)?;
                let checked = check::batch(catalogue, &self.names_left, &self.metrics, limits, raw).map_err(Failure::Invalid)?;
                self.points.fetch_add(checked.points.len() as u64, Ordering::Relaxed);
                match &mut whole {
                    None => whole = Some(checked),
                    Some(first) => check::join(first, checked),
                }
                if page.is_none() {
                    return Ok(());
                }
            }
            Err(Failure::Invalid(format!("more than {MAX_PAGES} pages")))
        }
        .await;
        // The call's, over all its pages.
        self.cpu_ticks.fetch_add(warm.store.data().ticks.into(), Ordering::Relaxed);
        if !self.info.bound_to_target {
            warm.store.data_mut().close_streams();
        }
        let used = warm.store.data().limiter.high_water as u64;
        self.memory_high_water.fetch_max(used, Ordering::Relaxed);
        match outcome {
            Ok(()) => {
                warm.cursor = cursor;
                let heard_at_ms = warm.store.data().used.heard_at_ms;
                self.keep(key, warm);
                whole.map(|batch| Batch { heard_at_ms, ..batch }).ok_or_else(|| Failure::Host("no page".into()))
            }
            // Nothing of this call is taken: the next goes on from where the last good one stopped.
            Err(failure) => {
                if failure.instance_lives() {
                    self.keep(key, warm);
                }
                Err(failure)
            }
        }
    }

    /// Whether the component answers for the time before the host ran.
    pub fn has_history(&self) -> bool {
        self.ready.has_history()
    }

    /// What the component says of the past, all pages of it; nothing where it does not answer for it.
    pub async fn range(&self, target: &Target, query: &RangeQuery, wall: Duration) -> Result<Vec<PastSeries>, Failure> {
        let deadline = Instant::now() + wall;
        let waited = tokio::time::timeout(wall, self.permits.acquire()).await;
        let host = |e: tokio::sync::AcquireError| Failure::Host(e.to_string());
        let _permit = waited.map_err(|_| Failure::Host("all instances were busy for the whole time-out".into()))?.map_err(host)?;
        let limits = &self.shared.limits;
        // Never the instance that a target is bound to: a read of the past must not hold up the present.
        let mut warm = self.instance(limits.cpu, wall).await?;
        let mut all = Vec::new();
        let mut page: Option<Vec<u8>> = None;
        let mut room = check::Room::new(limits);
        call::arm(&mut warm.store, limits.cpu, deadline.saturating_duration_since(Instant::now()));
        for _ in 0..MAX_PAGES {
            let left = deadline.saturating_duration_since(Instant::now());
            call::go_on(&mut warm.store);
            let asked = warm.instance.range(&mut warm.store, target, query, left.as_millis() as u32, page.as_deref());
            let asked = call::bounded(left, limits.output_bytes, asked).await;
            let Some(answer) = asked.map_err(|f| call::judged(f, warm.store.data()))? else { return Ok(all) };
            let mut answer = answer?;
            page = answer.next_page.take();
            room.take_past(&answer).map_err(Failure::Invalid)?;
            all.extend(check::past(query, limits, answer).map_err(Failure::Invalid)?);
            if page.is_none() {
                return Ok(all);
            }
        }
        Err(Failure::Invalid(format!("more than {MAX_PAGES} pages")))
    }

    /// Targets that the component finds itself.
    pub async fn discover(&self, wall: Duration) -> Result<Vec<Target>, Failure> {
        let limits = &self.shared.limits;
        let mut warm = self.instance(limits.cpu, wall).await?;
        call::arm(&mut warm.store, limits.cpu, wall);
        let found = call::bounded(wall, limits.output_bytes, warm.instance.discover(&mut warm.store)).await;
        Ok(found.map_err(|f| call::judged(f, warm.store.data()))??)
    }

    fn take(&self, key: &str) -> Option<Warm> {
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        let expiry = self.shared.limits.idle;
        idle.retain(|_, all| {
            all.retain(|w| w.last.elapsed() < expiry);
            !all.is_empty()
        });
        idle.get_mut(key)?.pop()
    }

    fn keep(&self, key: String, mut warm: Warm) {
        warm.calls += 1;
        if warm.calls >= self.shared.limits.max_calls {
            return;
        }
        warm.last = Instant::now();
        self.idle.lock().unwrap_or_else(|e| e.into_inner()).entry(key).or_default().push(warm);
    }

    /// Lets no new call in and waits for those under way.
    pub async fn drain(&self, within: Duration) -> bool {
        let all = self.shared.limits.instances.max(1) as u32;
        let drained = tokio::time::timeout(within, self.permits.acquire_many(all)).await.is_ok();
        self.idle.lock().unwrap_or_else(|e| e.into_inner()).clear();
        drained
    }

    /// The plugin's log.
    pub fn log(&self) -> &Arc<log::Tail> {
        &self.shared.log
    }
}

/// Checks what a component says of itself, and admits its metrics.
pub fn described(catalogue: &Catalogue, names_left: &NamesLeft, info: &Info) -> Result<Vec<Admitted>, String> {
    let name_ok = !info.name.is_empty()
        && info.name.len() <= 64
        && info.name.starts_with(|c: char| c.is_ascii_lowercase())
        && info.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !name_ok {
        return Err(format!(
            "name {:?}; it must match [a-z][a-z0-9-]* and have at most 64 bytes",
            info.name.chars().take(80).collect::<String>()
        ));
    }
    for (what, text) in [("vendor", &info.vendor), ("description", &info.description)] {
        if text.len() > MAX_TEXT || log::clean(text) != *text {
            return Err(format!("its {what} has more than {MAX_TEXT} bytes, or characters that are not shown as they are"));
        }
    }
    let known = info.version.len() <= 64 && info.version.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-".contains(&b));
    let parts: Vec<&str> = info.version.split(['-', '+']).next().unwrap_or("").split('.').collect();
    if !known || parts.len() != 3 || parts.iter().any(|p| p.parse::<u32>().is_err()) {
        return Err(format!("version {:?} is not a semantic version", info.version.chars().take(80).collect::<String>()));
    }
    check::metrics(catalogue, names_left, &info.metrics)
}
