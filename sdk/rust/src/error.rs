//! Why a call failed, whichever version of the contract the plugin is built against.

use std::fmt;

use crate::bindings::kcloud::collector::types as wire;

/// Why a call failed, and so whom it is blamed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectError {
    /// Operator: what is configured cannot be used; says which key.
    Config(String),
    /// Operator: the target refused the credential.
    Auth(String),
    /// Operator: a right that this needs was not granted.
    Denied(String),
    /// Target: no connection, 5xx.
    Unreachable(String),
    /// Target: it did not answer in time; says what was waited for. Contract 0.1 has no word for it: there the host hears
    /// `Unreachable`.
    Timeout(String),
    /// Target: asked to slow down; seconds to wait when it said so.
    Throttled(Option<u32>),
    /// Target: answered, but not in the form that this plugin reads.
    Protocol(String),
    /// Target: right form, lacks what this plugin needs.
    Unsupported(String),
    /// Plugin: its own fault.
    Internal(String),
}

impl From<CollectError> for wire::CollectError {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Config(why) => Self::Config(why),
            CollectError::Auth(why) => Self::Auth(why),
            CollectError::Denied(why) => Self::Denied(why),
            CollectError::Unreachable(why) => Self::Unreachable(why),
            #[cfg(not(feature = "contract-0-2"))]
            CollectError::Timeout(why) => Self::Unreachable(why),
            #[cfg(feature = "contract-0-2")]
            CollectError::Timeout(why) => Self::Timeout(why),
            CollectError::Throttled(seconds) => Self::Throttled(seconds),
            CollectError::Protocol(why) => Self::Protocol(why),
            CollectError::Unsupported(why) => Self::Unsupported(why),
            CollectError::Internal(why) => Self::Internal(why),
        }
    }
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for CollectError {}
