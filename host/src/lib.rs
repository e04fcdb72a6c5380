//! KCloud Monitor: watches AI accelerators and the machines around them.
//!
//! Data flows `plugins → collect → catalogue → inventory → history → api` (spec/ARCHITECTURE.md).

pub mod api;
pub mod auth;
pub mod catalogue;
pub mod cli;
pub mod collect;
pub mod config;
pub mod history;
pub mod host;
pub mod inventory;
pub mod log;
pub mod plugins;
pub mod telemetry;
pub mod tls;

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}
