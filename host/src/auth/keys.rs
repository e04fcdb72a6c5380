//! Long-lived API keys: 32 random bytes of which only the digest is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Auth, AuthError, FILES, Principal, Proof, Scope, file};
use crate::plugins::capabilities::state::hex;

/// `kcm_ID_SECRET`, so that a leaked key can be recognised.
pub(super) const PREFIX: &str = "kcm_";
/// Keys of one host.
const MOST: usize = 10_000;

/// One key as it is kept, by its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Key {
    name: String,
    /// SHA-256 of the secret, hexadecimal.
    sha256: String,
    scopes: Vec<Scope>,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
}

/// One key as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct KeyView {
    pub id: String,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: String,
    pub expires_at: Option<String>,
}

fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

impl Auth {
    /// Makes a key; gives its id, and the key itself this once.
    pub fn create_key(&self, name: &str, scopes: &[Scope], life: Option<Duration>) -> anyhow::Result<(String, String)> {
        anyhow::ensure!(
            !name.is_empty() && name.len() <= 64 && !name.chars().any(char::is_control),
            "a key's name has 1 to 64 bytes and no control characters"
        );
        anyhow::ensure!(!scopes.is_empty(), "a key needs a scope: read, export, admin");
        let (id, secret) = (hex(&file::random()[..4]), URL_SAFE_NO_PAD.encode(file::random()));
        let now = crate::now_ms();
        let expires_at_ms = life.map(|l| now.saturating_add(i64::try_from(l.as_millis()).unwrap_or(i64::MAX)));
        let key = Key { name: name.to_owned(), sha256: digest(&secret), scopes: scopes.to_vec(), created_at_ms: now, expires_at_ms };
        self.change_keys(|keys| {
            anyhow::ensure!(keys.len() < MOST, "there are {MOST} keys; revoke some");
            anyhow::ensure!(keys.insert(id.clone(), key).is_none(), "the id was taken; try again");
            Ok(())
        })??;
        let key = format!("{PREFIX}{id}_{secret}");
        Ok((id, key))
    }

    /// Ends a key; false when there was none.
    pub fn revoke_key(&self, id: &str) -> anyhow::Result<bool> {
        Ok(self.change_keys(|keys| keys.remove(id))?.is_some())
    }

    /// All keys, without their secrets.
    pub fn keys(&self) -> Vec<KeyView> {
        let time = crate::api::rfc3339;
        let view = |(id, k): (&String, &Key)| KeyView {
            id: id.clone(),
            name: k.name.clone(),
            scopes: k.scopes.clone(),
            created_at: time(k.created_at_ms),
            expires_at: k.expires_at_ms.map(time),
        };
        self.keys.read().unwrap_or_else(|e| e.into_inner()).iter().map(view).collect()
    }

    pub(super) fn api_key(&self, given: &str) -> Result<Principal, AuthError> {
        let (id, secret) = given.strip_prefix(PREFIX).and_then(|k| k.split_once('_')).ok_or(AuthError::Invalid)?;
        let keys = self.keys.read().unwrap_or_else(|e| e.into_inner());
        let key = keys.get(id).ok_or(AuthError::Invalid)?;
        if !bool::from(digest(secret).as_bytes().ct_eq(key.sha256.as_bytes())) {
            return Err(AuthError::Invalid);
        }
        match key.expires_at_ms.is_some_and(|at| crate::now_ms() >= at) {
            true => Err(AuthError::Expired),
            false => Ok(Principal {
                name: format!("key:{}", key.name).into(),
                scopes: key.scopes.clone(),
                proof: Proof::Key(id.into()),
                until_ms: key.expires_at_ms,
            }),
        }
    }

    pub(super) fn scopes_of_key(&self, id: &str) -> Option<Vec<Scope>> {
        self.keys.read().unwrap_or_else(|e| e.into_inner()).get(id).map(|k| k.scopes.clone())
    }

    fn change_keys<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Key>) -> T) -> anyhow::Result<T> {
        let mut keys = self.keys.write().unwrap_or_else(|e| e.into_inner());
        let mut next = keys.clone();
        let result = change(&mut next);
        if let Some(dir) = &self.dir {
            file::write_json(&dir.join(FILES[1]), &next)?;
        }
        *keys = next;
        Ok(result)
    }
}
