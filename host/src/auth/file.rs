//! Users on disk, and files that are nobody else's to read.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::Scope;

/// One user.
#[derive(Debug, Clone, Serialize)]
pub(super) struct User {
    /// argon2id, in PHC form.
    pub password: String,
    pub scopes: Vec<Scope>,
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        /// The first format had the hash alone, of users who could do everything.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Hash(String),
            User { password: String, scopes: Vec<Scope> },
        }
        Ok(match Written::deserialize(d)? {
            Written::Hash(password) => Self { password, scopes: Scope::ALL.to_vec() },
            Written::User { password, scopes } => Self { password, scopes },
        })
    }
}

/// Reads a file of JSON; `None` when there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(anyhow::anyhow!("{}: {e}", path.display())),
    }
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    Ok(write_private(path, &serde_json::to_vec_pretty(value)?)?)
}

/// Whole or not at all, and nobody else's to read.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    if let Err(e) = fs::remove_file(&part)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(part, path)
}

pub(super) fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|m| m.modified()).ok()
}

pub(super) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// 18 random bytes as text.
pub(super) fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(&random()[..18])
}
