//! Who may ask. Passwords are argon2id hashes; a verified credential is remembered for a minute, by digest, so that
//! Basic authentication costs a hash per request and not 40 ms of argon2.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// A token is good for this long.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// A verified password is believed for this long.
const REMEMBER: Duration = Duration::from_secs(60);
/// Wrong tries of one user from one address before it has to wait.
const FREE_TRIES: u32 = 5;
/// And how long it then waits.
const WAIT: Duration = Duration::from_secs(30);
const ISSUER: &str = "kcloud-monitor";
pub const MIN_PASSWORD: usize = 8;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Principal {
    pub name: Arc<str>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthError {
    #[error("credentials are needed: Basic, or Bearer with a token from /api/v1/auth/login")]
    Missing,
    #[error("the credentials are not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    #[error("too many failed attempts")]
    Throttled { retry_after_seconds: u64 },
    #[error("authentication is not possible now: {0}")]
    Unavailable(String),
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iss: String,
    exp: u64,
    iat: u64,
}

/// Users and the key that signs tokens.
pub struct Auth {
    users: RwLock<BTreeMap<String, String>>,
    /// When the file that `users` came from was written.
    written: Mutex<Option<SystemTime>>,
    file: Option<PathBuf>,
    key: [u8; 32],
    remembered: Cache<[u8; 32], Arc<str>>,
    failures: Cache<(String, String), u32>,
    /// Hashing is heavy on purpose; a flood of wrong passwords must not take the machine.
    hashing: Semaphore,
    /// What an unknown user's password is checked against, so that both cost the same.
    decoy: String,
}

/// Made on the first start, and shown once.
pub struct FirstStart {
    pub user: String,
    pub password: String,
}

impl Auth {
    fn with(users: BTreeMap<String, String>, file: Option<PathBuf>, key: [u8; 32]) -> anyhow::Result<Self> {
        Ok(Self {
            users: RwLock::new(users),
            written: Mutex::new(file.as_deref().and_then(modified)),
            file,
            key,
            remembered: Cache::builder().max_capacity(10_000).time_to_live(REMEMBER).build(),
            failures: Cache::builder().max_capacity(100_000).time_to_live(WAIT).build(),
            hashing: Semaphore::new(2),
            decoy: hash(&random_text())?,
        })
    }

    /// One user in memory: the demo's.
    pub fn in_memory(user: &str, password: &str) -> anyhow::Result<Self> {
        Self::with(BTreeMap::from([(user.to_owned(), hash(password)?)]), None, random())
    }

    /// Users and key from a directory, made there on the first start.
    pub fn open(dir: &Path) -> anyhow::Result<(Self, Option<FirstStart>)> {
        fs::create_dir_all(dir)?;
        let key_file = dir.join("signing.key");
        let key = match fs::read(&key_file) {
            Ok(key) => key.try_into().map_err(|_| anyhow::anyhow!("{} must hold 32 bytes", key_file.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = random();
                write_private(&key_file, &key)?;
                key
            }
            Err(e) => return Err(e.into()),
        };
        let file = dir.join("users.json");
        let (users, first) = match fs::read(&file) {
            Ok(text) => (serde_json::from_slice(&text)?, None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let first = FirstStart { user: "admin".into(), password: random_text() };
                let users = BTreeMap::from([(first.user.clone(), hash(&first.password)?)]);
                write_private(&file, &serde_json::to_vec_pretty(&users)?)?;
                (users, Some(first))
            }
            Err(e) => return Err(e.into()),
        };
        Ok((Self::with(users, Some(file), key)?, first))
    }

    /// Names of all users.
    pub fn users(&self) -> Vec<String> {
        self.users.read().unwrap_or_else(|e| e.into_inner()).keys().cloned().collect()
    }

    /// Adds a user or changes a password.
    pub fn set_password(&self, user: &str, password: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            !user.is_empty() && user.len() <= 64 && !user.contains(':') && !user.chars().any(char::is_control),
            "a user name has 1 to 64 bytes, no ':' and no control characters"
        );
        anyhow::ensure!(password.len() >= MIN_PASSWORD, "a password has at least {MIN_PASSWORD} bytes");
        let hash = hash(password)?;
        self.change(|users| users.insert(user.to_owned(), hash))?;
        Ok(())
    }

    /// Removes a user; false when there was none.
    pub fn remove(&self, user: &str) -> anyhow::Result<bool> {
        Ok(self.change(|users| users.remove(user))?.is_some())
    }

    /// Takes users that the command line changed beside a running host. A file that cannot be read changes nothing.
    pub fn reload(&self) {
        let Some(file) = &self.file else { return };
        let now = modified(file);
        let mut written = self.written.lock().unwrap_or_else(|e| e.into_inner());
        if now.is_none() || *written == now {
            return;
        }
        let read = fs::read(file).map_err(|e| e.to_string());
        match read.and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string())) {
            Ok(users) => {
                *self.users.write().unwrap_or_else(|e| e.into_inner()) = users;
                self.remembered.invalidate_all();
                *written = now;
            }
            Err(error) => tracing::error!(%error, "users.json was not taken; the users before it stay"),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> anyhow::Result<T> {
        let mut users = self.users.write().unwrap_or_else(|e| e.into_inner());
        let mut next = users.clone();
        let result = change(&mut next);
        if let Some(file) = &self.file {
            write_private(file, &serde_json::to_vec_pretty(&next)?)?;
        }
        *users = next;
        self.remembered.invalidate_all();
        Ok(result)
    }

    /// Who sent this `Authorization` header. `peer` tells attackers apart.
    pub async fn authenticate(self: &Arc<Self>, header: Option<&str>, peer: &str) -> Result<Principal, AuthError> {
        let (scheme, value) = header.and_then(|h| h.split_once(' ')).ok_or(AuthError::Missing)?;
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => self.bearer(value.trim()),
            "basic" => {
                let text = STANDARD.decode(value.trim()).ok().and_then(|b| String::from_utf8(b).ok()).ok_or(AuthError::Invalid)?;
                let (user, password) = text.split_once(':').ok_or(AuthError::Invalid)?;
                self.password(user, password, peer).await
            }
            _ => Err(AuthError::Missing),
        }
    }

    /// Checks a password.
    pub async fn password(self: &Arc<Self>, user: &str, password: &str, peer: &str) -> Result<Principal, AuthError> {
        let digest: [u8; 32] =
            Sha256::new().chain_update(self.key).chain_update(user).chain_update([0]).chain_update(password).finalize().into();
        if let Some(name) = self.remembered.get(&digest) {
            return Ok(Principal { name });
        }
        // By user and address: nobody locks another out from elsewhere.
        let source = (user.chars().take(64).collect::<String>(), peer.to_owned());
        let tries = self.failures.get(&source).unwrap_or(0);
        if tries >= FREE_TRIES {
            return Err(AuthError::Throttled { retry_after_seconds: WAIT.as_secs() });
        }
        let known = self.users.read().unwrap_or_else(|e| e.into_inner()).get(user).cloned();
        let (is_known, expected) = (known.is_some(), known.unwrap_or_else(|| self.decoy.clone()));
        let _permit = self.hashing.acquire().await.map_err(|e| AuthError::Unavailable(e.to_string()))?;
        let password = password.to_owned();
        let verified = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&expected).is_ok_and(|h| Argon2::default().verify_password(password.as_bytes(), &h).is_ok())
        });
        let right = verified.await.map_err(|e| AuthError::Unavailable(e.to_string()))?;
        if !(right && is_known) {
            self.failures.insert(source, tries + 1);
            return Err(AuthError::Invalid);
        }
        self.failures.invalidate(&source);
        let name: Arc<str> = user.into();
        self.remembered.insert(digest, name.clone());
        Ok(Principal { name })
    }

    /// A token for someone who is known.
    pub fn token(&self, principal: &Principal) -> Result<String, AuthError> {
        let now = (crate::now_ms() / 1_000) as u64;
        let claims = Claims { sub: principal.name.to_string(), iss: ISSUER.to_owned(), iat: now, exp: now + TOKEN_LIFE.as_secs() };
        let key = EncodingKey::from_secret(&self.key);
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|e| AuthError::Unavailable(e.to_string()))
    }

    fn bearer(&self, token: &str) -> Result<Principal, AuthError> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        rules.leeway = 0;
        let claims: Claims = jsonwebtoken::decode(token, &DecodingKey::from_secret(&self.key), &rules)
            .map_err(|e| match e.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => AuthError::Expired,
                _ => AuthError::Invalid,
            })?
            .claims;
        // A removed user's token ends with the user.
        match self.users.read().unwrap_or_else(|e| e.into_inner()).contains_key(&claims.sub) {
            true => Ok(Principal { name: claims.sub.into() }),
            false => Err(AuthError::Invalid),
        }
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|m| m.modified()).ok()
}

fn hash(password: &str) -> anyhow::Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|e| anyhow::anyhow!("argon2: {e}"))?;
    Ok(hash.to_string())
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(&random()[..18])
}

/// Whole or not at all, and nobody else's to read.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn basic(user: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    }

    async fn ask(auth: &Arc<Auth>, header: &str) -> Result<String, AuthError> {
        auth.authenticate(Some(header), "10.0.0.1").await.map(|p| p.name.to_string())
    }

    #[tokio::test]
    async fn a_password_and_the_token_for_it_open_and_nothing_else_does() {
        let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
        assert_eq!(ask(&auth, &basic("admin", "changeme")).await.unwrap(), "admin");
        let token = auth.token(&Principal { name: "admin".into() }).unwrap();
        assert_eq!(ask(&auth, &format!("Bearer {token}")).await.unwrap(), "admin");
        let other = Auth::in_memory("admin", "changeme").unwrap().token(&Principal { name: "admin".into() }).unwrap();
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(r#"{"sub":"admin","iss":"kcloud-monitor","exp":99999999999}"#)
        );
        let ghost = auth.token(&Principal { name: "ghost".into() }).unwrap();
        for bad in [
            format!("Bearer {other}"),
            format!("Bearer {none}"),
            format!("Bearer {ghost}"),
            basic("admin", "wrong"),
            basic("ghost", "changeme"),
            "Basic !!".into(),
        ] {
            assert_eq!(ask(&auth, &bad).await, Err(AuthError::Invalid), "{bad}");
        }
        assert_eq!(auth.authenticate(None, "x").await.map(|_| ()), Err(AuthError::Missing));
    }

    #[tokio::test]
    async fn a_token_without_an_end_or_past_it_is_refused() {
        let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
        let sign = |claims: serde_json::Value| {
            let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&auth.key)).unwrap();
            format!("Bearer {token}")
        };
        let endless = sign(serde_json::json!({"sub": "admin", "iss": ISSUER, "iat": 0}));
        assert_eq!(ask(&auth, &endless).await, Err(AuthError::Invalid));
        let past = sign(serde_json::json!({"sub": "admin", "iss": ISSUER, "iat": 0, "exp": 1}));
        assert_eq!(ask(&auth, &past).await, Err(AuthError::Expired));
    }

    #[tokio::test]
    async fn guessing_is_slowed_for_the_guesser_alone() {
        let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
        for _ in 0..FREE_TRIES {
            assert_eq!(ask(&auth, &basic("admin", "guess")).await, Err(AuthError::Invalid));
        }
        assert!(matches!(ask(&auth, &basic("admin", "changeme")).await, Err(AuthError::Throttled { .. })));
        assert!(auth.authenticate(Some(&basic("admin", "changeme")), "10.0.0.2").await.is_ok());
    }

    #[tokio::test]
    async fn the_first_start_makes_a_password_that_is_kept_as_a_private_hash() {
        let dir = tempfile::tempdir().unwrap();
        let (auth, first) = Auth::open(dir.path()).unwrap();
        let first = first.unwrap();
        let auth = Arc::new(auth);
        assert!(ask(&auth, &basic("admin", &first.password)).await.is_ok());
        for file in ["users.json", "signing.key"] {
            assert_eq!(fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!fs::read_to_string(dir.path().join("users.json")).unwrap().contains(&first.password));
        auth.set_password("admin", "another-one").unwrap();
        assert_eq!(ask(&auth, &basic("admin", &first.password)).await, Err(AuthError::Invalid), "the remembered one is forgotten");
        let (again, first) = Auth::open(dir.path()).unwrap();
        assert!(first.is_none());
        again.set_password("other", "from-elsewhere").unwrap();
        auth.reload();
        assert!(ask(&auth, &basic("other", "from-elsewhere")).await.is_ok(), "a running host takes a new user");
        assert!(ask(&Arc::new(again), &basic("admin", "another-one")).await.is_ok());
    }
}
