//! Whether a component may load at all, before anything of it runs.

use sha2::{Digest, Sha256};

use super::capabilities::state::hex;

/// Digests of the components that this binary was built with, `name=sha256,…`; set by `cargo xtask build`.
const BUNDLED: Option<&str> = option_env!("KCLOUD_BUNDLED_DIGESTS");

/// SHA-256 of a component's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// How a component came to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Its digest is one that the build made.
    Pinned,
    /// Anybody's; signatures come with a later version.
    Any,
}

/// How a component of this name with this digest is trusted.
pub fn trust(name: &str, digest: ContentDigest) -> Trust {
    let listed = BUNDLED.unwrap_or("").split(',').filter_map(|e| e.split_once('='));
    match listed.into_iter().any(|(n, d)| n == name && d == digest.to_string()) {
        true => Trust::Pinned,
        false => Trust::Any,
    }
}
