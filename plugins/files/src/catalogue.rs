//! The host's own list of metrics, so that a wrong name is told with what would be right.

// The ranges and sums are the host's to apply.
#![allow(dead_code)]

#[path = "../../../host/src/catalogue/table.rs"]
mod table;

pub(crate) use table::METRICS;

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Gauge,
    Counter,
    State,
}

/// How values add up over subjects.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Combine {
    Sum,
    Average,
    Maximum,
    None,
}
