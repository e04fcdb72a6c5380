//! The plugin runtime: finds components, limits them, calls them, swaps them.
//!
//! In: files in the plugins directory and their `plugins.d/NAME.toml`. Out: answered calls ([`contract`] types) for
//! `collect/`, and a view of every plugin for the API. It must never let a plugin stop the host or another plugin, and
//! no store survives an abnormal call.

pub mod approval;
mod breaker;
pub mod call;
pub mod capabilities;
pub mod check;
pub mod contract;
pub mod engine;
pub mod generation;
pub mod kept;
pub mod limits;
pub mod places;
mod plugin;
pub mod registry;
pub mod schema;
mod settings;
pub mod swap;
pub mod trial;
pub mod verify;
pub mod watch;
mod wit;

pub use breaker::Admission;
pub use call::{Blame, Failure};
pub use engine::Runtime;
pub use plugin::{Fault, Plugin, State, Told, Transition};
pub use registry::Registry;
pub use settings::{OnMissing, Settings};
pub use wit::contracts;
