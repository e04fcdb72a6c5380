//! What a guest can reach, one file a capability. Each asks its policy, which alone decides.

pub mod files;
pub mod http;
pub mod http_policy;
pub mod log;
pub mod state;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::ResourceTable;

use super::limits::{HANDLES, Limiter, Limits};

/// Rights that a component can ask for, in contract order.
pub const RIGHTS: [&str; 4] = ["http", "files", "state", "ipmi"];

/// What the operator granted; only what is here is linked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    pub http: Option<http_policy::Policy>,
    pub files: Option<Vec<String>>,
    pub state: bool,
    pub ipmi: bool,
}

impl Grants {
    /// Whether an interface of this name is linked. `log` and `clock` always are.
    pub fn holds(&self, right: &str) -> bool {
        match right {
            "http" => self.http.is_some(),
            "files" => self.files.is_some(),
            "state" => self.state,
            "ipmi" => self.ipmi,
            "log" | "clock" | "types" => true,
            _ => false,
        }
    }
}

/// A credential that the host adds to requests. Never crosses the boundary.
#[derive(Clone)]
pub struct Credential {
    /// Header name and value, built when it is used so that a rotated file counts.
    pub header: Arc<dyn Fn() -> Result<(String, String), String> + Send + Sync>,
    /// Origins that it may be sent to.
    pub origins: Vec<String>,
}

/// What all instances of one generation share.
pub struct Shared {
    pub plugin: Arc<str>,
    pub limits: Limits,
    pub grants: Grants,
    pub credentials: HashMap<String, Credential>,
    pub http: http::Client,
    pub state: Option<state::Store>,
    pub log: Arc<log::Tail>,
}

/// The data of one store.
pub struct Guest {
    pub shared: Arc<Shared>,
    pub limiter: Limiter,
    pub table: ResourceTable,
    pub ticks: u32,
    pub tick_budget: u32,
    pub deadline: Instant,
    /// What this call may still log.
    pub voice: Arc<log::Voice>,
    /// Of a component that imports it, from its first use on.
    pub wasi: Option<Box<wasmtime_wasi::WasiCtx>>,
    pub started: Instant,
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
            limiter: Limiter::new(&shared.limits),
            shared,
            table,
            ticks: 0,
            tick_budget: 0,
            deadline: now,
            started: now,
        }
    }
}

impl Guest {
    /// One log line, within the call's limits.
    pub fn emit_line(&mut self, level: log::Level, message: &str, fields: &[(String, String)]) {
        self.voice.say(level, message, fields);
    }

    /// Runs a blocking look at the plugin's store off the guest threads.
    pub async fn with_state<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&state::Store) -> Result<T, state::StateError> + Send + 'static,
    ) -> Result<T, state::StateError> {
        let missing = || std::io::Error::other("the plugin has no store");
        let store = self.shared.state.clone().ok_or_else(missing)?;
        tokio::task::spawn_blocking(move || look(&store)).await.map_err(std::io::Error::other)?
    }

    /// Runs a blocking look at granted files off the guest threads.
    pub async fn with_files<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&[String]) -> Result<T, files::FileError> + Send + 'static,
    ) -> Result<T, files::FileError> {
        let globs = self.shared.grants.files.clone().unwrap_or_default();
        let joined = tokio::task::spawn_blocking(move || look(&globs)).await;
        joined.map_err(|e| files::FileError::Io(e.to_string()))?
    }
}
