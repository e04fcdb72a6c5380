//! What a guest can reach, one file a capability. Each asks its policy, which alone decides.

pub mod address;
mod clock;
pub mod files;
pub mod globs;
pub mod http;
pub mod http_policy;
pub mod ipmi;
pub mod log;
pub mod login;
pub mod nvml;
pub mod state;
mod stream;
pub mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::Semaphore;
use wasmtime::component::ResourceTable;

use super::limits::{HANDLES, Limiter, Limits, MemoryPool};

/// Rights that a component can ask for, in contract order.
pub const RIGHTS: [&str; 5] = ["http", "files", "state", "ipmi", "nvml"];

/// What the operator granted; only what is here is linked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    pub http: Option<http_policy::Policy>,
    pub files: Option<globs::Globs>,
    pub state: bool,
    pub ipmi: Option<ipmi::Policy>,
    pub nvml: Option<nvml::Driver>,
}

impl Grants {
    /// Whether an interface of this name is linked. `log` and `clock` always are.
    pub fn holds(&self, right: &str) -> bool {
        match right {
            "http" => self.http.is_some(),
            "files" => self.files.is_some(),
            "state" => self.state,
            "ipmi" => self.ipmi.is_some(),
            "nvml" => self.nvml.is_some(),
            "log" | "clock" | "types" => true,
            _ => false,
        }
    }
}

/// A credential that the host adds to requests. Never crosses the boundary.
#[derive(Clone)]
pub struct Credential {
    pub secret: Secret,
    /// Origins that it may be sent to.
    pub origins: Vec<String>,
}

/// Header name and value, built when it is used so that a rotated file counts.
pub type MakeHeader = Arc<dyn Fn() -> Result<(String, String), String> + Send + Sync>;

/// What a credential is made of.
#[derive(Clone)]
pub enum Secret {
    Header(MakeHeader),
    /// The host logs in and holds what it is given.
    Login(Arc<login::Login>),
}

impl Secret {
    /// A user with a password: Basic over HTTP, and as it is for what is no HTTP.
    pub fn password(read: impl Fn() -> Result<(String, String), String> + Send + Sync + 'static) -> Self {
        Self::Header(Arc::new(move || {
            let (user, password) = read()?;
            Ok(("authorization".to_owned(), format!("Basic {}", BASE64.encode(format!("{user}:{password}")))))
        }))
    }

    /// User and password, where it is made of them.
    fn user_and_password(&self) -> Result<(String, String), String> {
        let no = || "the credential needs username and password_file".to_owned();
        let Self::Header(make) = self else { return Err(no()) };
        let (_, value) = make()?;
        let pair = value.strip_prefix("Basic ").and_then(|v| String::from_utf8(BASE64.decode(v).ok()?).ok());
        let pair = pair.as_deref().and_then(|p| p.split_once(':')).ok_or_else(no)?;
        Ok((pair.0.to_owned(), pair.1.to_owned()))
    }
}

/// Requests under way, of all plugins together.
const HOST_REQUESTS: usize = 1_024;
/// Looks at files and stores under way, of one plugin: a file system that hangs holds up no other plugin.
const BLOCKING: usize = 8;

/// What all plugins of a host share, so that one cannot take it all.
#[derive(Clone)]
pub struct Commons {
    http: reqwest::Client,
    requests: Arc<Semaphore>,
    bmcs: Arc<ipmi::Bmcs>,
    drivers: Arc<nvml::Drivers>,
    pub memory: Arc<MemoryPool>,
    /// Sessions that the host opened; they outlive versions of plugins.
    pub logins: Arc<login::Logins>,
}

impl Commons {
    pub fn new() -> Result<Self, reqwest::Error> {
        let (http, requests) = (http::builder().build()?, Arc::new(Semaphore::new(HOST_REQUESTS)));
        Ok(Self { http, requests, bmcs: Arc::default(), drivers: Arc::default(), memory: Arc::default(), logins: Arc::default() })
    }
}

/// What a plugin may do now. A change counts for the next thing that it does.
#[derive(Default)]
pub struct Rights {
    pub grants: Grants,
    pub credentials: HashMap<String, Credential>,
}

/// What all instances of one generation share.
pub struct Shared {
    pub plugin: Arc<str>,
    pub limits: Limits,
    rights: ArcSwap<Rights>,
    commons: Commons,
    state: Option<state::Store>,
    pub log: Arc<log::Tail>,
    /// Places for requests and open streams.
    requests: Arc<Semaphore>,
    blocking: Arc<Semaphore>,
    memory: Arc<MemoryPool>,
}

impl Shared {
    /// `state` is the plugin's directory, where it is to have one.
    pub fn new(
        plugin: &str,
        limits: Limits,
        grants: Grants,
        credentials: HashMap<String, Credential>,
        commons: Commons,
        state: Option<std::path::PathBuf>,
        log: Arc<log::Tail>,
    ) -> Self {
        log.set_rate(limits.log_lines_per_minute);
        let state = state.filter(|_| grants.state).map(|dir| state::Store::new(dir, limits.state_bytes));
        let (requests, blocking) = (Arc::new(Semaphore::new(limits.http_outstanding)), Arc::new(Semaphore::new(BLOCKING)));
        let rights = ArcSwap::from_pointee(Rights { grants, credentials });
        let memory = Arc::new(MemoryPool::share(commons.memory.clone()));
        Self { plugin: plugin.into(), limits, rights, commons, state, log, requests, blocking, memory }
    }

    /// What is granted now.
    pub fn rights(&self) -> Arc<Rights> {
        self.rights.load_full()
    }

    /// Takes over what an operator grants now. What was not linked stays out of reach.
    pub fn set_rights(&self, grants: Grants, credentials: HashMap<String, Credential>) {
        self.rights.store(Arc::new(Rights { grants, credentials }));
    }

    /// For a guest that says what it is: what is linked answers that it is not granted.
    pub fn without_rights(&self) -> Self {
        let (plugin, commons) = (self.plugin.clone(), self.commons.clone());
        Self::new(&plugin, self.limits.clone(), Grants::default(), HashMap::new(), commons, None, self.log.clone())
    }
}

/// What one call has used of what it may.
#[derive(Debug, Default)]
pub struct Used {
    http_requests: AtomicUsize,
    http_bytes: AtomicUsize,
    file_bytes: usize,
    state_writes: u32,
    ipmi_requests: usize,
    nvml_reads: usize,
    /// For the network, until now and since when.
    waited: Duration,
    waits_since: Option<Instant>,
    /// When it last answered.
    pub heard_at_ms: Option<i64>,
}

/// The data of one store.
pub struct Guest {
    pub shared: Arc<Shared>,
    pub limiter: Limiter,
    pub table: ResourceTable,
    streams: usize,
    pub ticks: u32,
    pub tick_budget: u32,
    pub deadline: Instant,
    pub used: Used,
    /// What this call may still log.
    pub voice: Arc<log::Voice>,
    /// Of a component that imports it, from its first use on.
    pub wasi: Option<Box<wasmtime_wasi::WasiCtx>>,
    started: Instant,
}

impl Guest {
    /// Marks what a call waits for the network, so that it is blamed on the target and not on the plugin. A call that is cut off
    /// in between waits still.
    pub fn waits(&mut self, is_waiting: bool) {
        self.used.waited = self.waited();
        self.used.waits_since = is_waiting.then(Instant::now);
        if !is_waiting {
            self.used.heard_at_ms = Some(crate::now_ms());
        }
    }

    /// How long the call waited for the network.
    pub fn waited(&self) -> Duration {
        self.used.waited + self.used.waits_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Guest {
    pub fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let Limits { log_lines, log_bytes, .. } = shared.limits;
        Self {
            voice: Arc::new(log::Voice::new(shared.plugin.clone(), shared.log.clone(), log_lines, log_bytes)),
            wasi: None,
            limiter: Limiter::new(&shared.limits, shared.memory.clone()),
            shared,
            table,
            streams: 0,
            ticks: 0,
            tick_budget: 0,
            deadline: now,
            used: Used::default(),
            started: now,
        }
    }
}

impl Guest {
    /// One log line of a level that is kept, within the call's limits and the plugin's rate.
    pub fn emit_line(&mut self, level: log::Level, message: &str, fields: &[(String, String)]) {
        self.voice.say(level, message, fields);
    }

    /// Runs what blocks off the guest threads; `None` when the host failed. What hangs goes on counting after its call ended.
    async fn off_thread<T: Send + 'static>(&mut self, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let place = self.shared.blocking.clone().acquire_owned().await.ok()?;
        let run = move || {
            let _place = place;
            look()
        };
        tokio::task::spawn_blocking(run).await.ok()
    }
}
