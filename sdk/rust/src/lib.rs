//! Everything that a collector needs: [`Collector`] and [`register!`], a [`Batch`] whose easy way is the cheap one,
//! HTTP, a tolerant [`exposition`] parser, [`mapping`] tables and [`blank`] rules. See docs/PLUGIN_GUIDE.md.

extern crate self as kcloud_collector_sdk;

pub mod blank;
pub mod dump;
pub mod exporter;
pub mod exposition;
pub mod http;
pub mod ipmi;
pub mod mapping;
pub mod nvml;
pub mod pod_resources;
pub mod promql;
/// For native tests of a plugin.
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

mod batch;
mod collector;
mod error;

/// Generated from `wit/v0.1`, with the feature `contract-0-2` from `wit/v0.2`, world `plugin-with-history`
/// (`cargo xtask bindings`).
#[cfg_attr(feature = "contract-0-2", path = "bindings_v0_2.rs")]
#[rustfmt::skip]
#[allow(unsafe_code, missing_docs, clippy::all)]
pub mod bindings;

/// Generated, too, from world `node`: what only the machine that the host runs on can answer.
#[cfg_attr(feature = "contract-0-2", path = "bindings_node_v0_2.rs")]
#[rustfmt::skip]
#[allow(unsafe_code, missing_docs, clippy::all)]
pub mod bindings_node;

/// Generated, too: how a component without `history` says which world it is of.
#[cfg_attr(feature = "contract-0-2", path = "export_plugin_v0_2.rs")]
#[rustfmt::skip]
#[doc(hidden)]
pub mod export_plugin;

#[doc(hidden)]
pub use wit_bindgen::rt;

pub use batch::{Batch, Metric, Page, SubjectRef};
pub use bindings::exports::kcloud::collector::history::{Observation, RangeQuery};
pub use bindings::kcloud::collector::types::{Event, GapReason, Label, MetricDef, MetricKind, Quality, Severity, Target};
pub use collector::{Affinity, Collector, History, Info, Registered, target_label};
pub use error::CollectError;
#[doc(hidden)]
pub use serde_json;

/// Lines to the plugin's own log.
pub mod log {
    pub use crate::bindings::kcloud::collector::log::Level;

    /// Writes one line; in a native test it goes to standard error.
    pub fn line(level: Level, message: &str) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::kcloud::collector::log::emit(level, message, &[]);
        #[cfg(not(target_arch = "wasm32"))]
        eprintln!("{level:?} {message}");
    }

    /// Whether a line of this level is kept at all now; ask before one of `Trace` or `Debug` that takes work. A plugin that asks
    /// needs a host with contract 0.1.1, any other still runs on 0.1.0. In a native test every line is.
    pub fn enabled(level: Level) -> bool {
        cfg!(not(target_arch = "wasm32")) || crate::bindings::kcloud::collector::log::is_enabled(level)
    }
}

/// The host's clock.
pub mod clock {
    /// Milliseconds since an arbitrary start; never goes back. In a native test from the first call on.
    pub fn monotonic_ms() -> u64 {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::kcloud::collector::clock::monotonic_ns() / 1_000_000;
        #[cfg(not(target_arch = "wasm32"))]
        {
            static BEGAN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
            BEGAN.elapsed().as_millis() as u64
        }
    }
}

/// Makes a type that implements [`Collector`] the component's collector.
#[macro_export]
macro_rules! register {
    ($collector:ty) => {
        #[cfg(target_arch = "wasm32")]
        type KcloudExported = $crate::Registered<$collector>;
        #[cfg(target_arch = "wasm32")]
        $crate::export_plugin::export_plugin!(KcloudExported with_types_in $crate::bindings);
    };
}

/// The same for a type that implements [`History`], too.
#[macro_export]
macro_rules! register_with_history {
    ($collector:ty) => {
        #[cfg(target_arch = "wasm32")]
        type KcloudExported = $crate::Registered<$collector>;
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::export_plugin_with_history!(KcloudExported with_types_in $crate::bindings);
    };
}
