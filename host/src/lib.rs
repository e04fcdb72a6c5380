//! KCloud Monitor: watches AI accelerators and the machines around them.
//!
//! Data flows `plugins → collect → catalogue → inventory → history → power → api` (spec/ARCHITECTURE.md).

pub mod alerts;
pub mod api;
pub mod auth;
pub mod catalogue;
pub mod cli;
pub mod collect;
pub mod config;
pub mod export;
pub mod history;
pub mod host;
pub mod inventory;
pub mod log;
pub mod net;
pub mod plugins;
pub mod power;
pub mod report;
pub mod stream;
pub mod telemetry;
pub mod tls;

/// Threads for what blocks go after this: there is always a little to do for one of them, and with the usual ten seconds that
/// keeps every one of a burst for ever.
pub(crate) const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(1);

/// The threads that everything but guests runs on.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    runtime_with(&mut tokio::runtime::Builder::new_multi_thread())
}

/// The same for an agent, which leaves the cores of its node to others.
pub fn agent_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    runtime_with(tokio::runtime::Builder::new_multi_thread().worker_threads(1))
}

fn runtime_with(builder: &mut tokio::runtime::Builder) -> std::io::Result<tokio::runtime::Runtime> {
    builder.thread_keep_alive(KEEP_ALIVE).enable_all().build()
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}
