//! One module a domain, named as in the URLs.

pub(super) mod accelerators;
pub(super) mod auth;
pub(super) mod clusters;
pub(super) mod export;
pub(super) mod fleet;
pub(super) mod hardware;
pub(super) mod infrastructure;
mod listing;
pub(super) mod monitoring;
mod timed;
mod view;
