//! Reports: what a fleet drew, wasted and suffered over a window, for people.
//!
//! In: history and a snapshot. Out: one model, and files made of it. It waits for the disk and computes: never call it from an
//! async task. It never invents: what nobody observed is counted as missing, and no total is made of it.

pub mod chart;
pub mod format;
pub mod pdf;
