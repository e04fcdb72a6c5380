//! One module a domain, named as in the URLs.

pub(super) mod accelerators;
pub(super) mod alerts;
pub(super) mod auth;
pub(super) mod bulk;
pub(super) mod clusters;
pub(super) mod export;
pub(super) mod fleet;
pub(super) mod hardware;
pub(super) mod infrastructure;
mod listing;
pub(crate) mod monitoring;
pub(super) mod stream;
mod timed;
pub(crate) mod view;
