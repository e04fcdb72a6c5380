//! What credentials are good for.

use serde::{Deserialize, Serialize};

/// One permission. None holds another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every answer of the interface.
    Read,
    /// Files of many rows.
    Export,
    /// Plugins, configuration and keys.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Export, Self::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Export => "export",
            Self::Admin => "admin",
        }
    }
}
