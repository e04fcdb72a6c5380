//! `/export`: files.

pub(in crate::api) mod report;
