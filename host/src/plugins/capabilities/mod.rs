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

use super::limits::{Limiter, Limits};

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

impl Shared {
    /// The same plugin with nothing granted: what is linked answers that it is denied.
    pub fn without_rights(&self) -> Self {
        Self {
            plugin: self.plugin.clone(),
            limits: self.limits.clone(),
            grants: Grants::default(),
            credentials: HashMap::new(),
            http: self.http.clone(),
            state: None,
            log: self.log.clone(),
        }
    }
}

/// The data of one store.
pub struct Guest {
    pub shared: Arc<Shared>,
    pub limiter: Limiter,
    pub table: ResourceTable,
    pub ticks: u32,
    pub tick_budget: u32,
    pub deadline: Instant,
    pub log_lines: u32,
    pub log_bytes: usize,
    pub started: Instant,
}

impl Guest {
    pub fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            limiter: Limiter::new(&shared.limits),
            shared,
            table: ResourceTable::new(),
            ticks: 0,
            tick_budget: 0,
            deadline: now,
            log_lines: 0,
            log_bytes: 0,
            started: now,
        }
    }
}

impl Guest {
    /// One log line of a level that is kept, within the call's limits.
    pub fn emit_line(&mut self, level: log::Level, message: &str, fields: &[(String, String)]) {
        if !level.is_kept() {
            return;
        }
        self.log_lines += 1;
        self.log_bytes += message.len() + fields.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        let limits = &self.shared.limits;
        match self.log_lines <= limits.log_lines && self.log_bytes <= limits.log_bytes {
            true => self.shared.log.write(&self.shared.plugin, level, message, fields),
            false => self.shared.log.drop_line(),
        }
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
