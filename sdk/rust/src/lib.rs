//! Everything that a collector needs: [`Collector`] and [`register!`], a [`Batch`] whose easy way is the cheap one,
//! HTTP, a tolerant [`exposition`] parser, [`mapping`] tables and [`blank`] rules. See docs/PLUGIN_GUIDE.md.

extern crate self as kcloud_collector_sdk;

pub mod blank;
pub mod exposition;
pub mod http;
pub mod mapping;
pub mod promql;

mod batch;
mod collector;

/// Generated from `wit/v0.1`, world `plugin-with-history` (`cargo xtask bindings`).
#[rustfmt::skip]
#[allow(unsafe_code, missing_docs, clippy::all)]
pub mod bindings;

/// Generated, too: how a component without `history` says which world it is of.
#[rustfmt::skip]
#[doc(hidden)]
pub mod export_plugin;

#[doc(hidden)]
pub use wit_bindgen::rt;

pub use batch::{Batch, Metric, Page, SubjectRef};
pub use bindings::exports::kcloud::collector::history::{Observation, RangeQuery};
pub use bindings::kcloud::collector::types::{CollectError, Event, GapReason, Label, MetricDef, MetricKind, Quality, Severity, Target};
pub use collector::{Affinity, Collector, History, Info, Registered, target_label};
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
