//! The plugin runtime: finds components, limits them, calls them, swaps them.
//!
//! In: files in the plugins directory and their `plugins.d/NAME.toml`. Out: answered calls ([`contract`] types) for
//! `collect/`, and a view of every plugin for the API. It must never let a plugin stop the host or another plugin, and
//! no store survives an abnormal call.

pub mod call;
pub mod capabilities;
pub mod check;
pub mod contract;
pub mod engine;
pub mod generation;
pub mod limits;
pub mod registry;
pub mod schema;
pub mod verify;
pub mod watch;
mod wit;

pub use call::{Blame, Failure};
pub use engine::Runtime;
pub use registry::{OnMissing, Plugin, Registry, Settings};
