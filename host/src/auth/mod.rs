//! Who may ask, and what for: users with passwords, tokens of theirs, long-lived API keys, single-use tickets.
//!
//! Passwords are argon2id hashes; a verified credential is remembered for a minute, by digest, so that Basic
//! authentication costs a hash per request and not 40 ms of argon2. No secret is kept or logged in the clear.

mod file;
mod keys;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::time::{Duration, Instant, SystemTime};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{Semaphore, oneshot};

use file::User;
use keys::Key;
pub use keys::KeyView;
pub use scope::Scope;

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

/// A ticket is good for this long, once: a browser cannot set headers on a WebSocket.
pub const TICKET_LIFE: Duration = Duration::from_secs(60);

/// Who asks, and what for.
#[derive(Debug, Clone)]
pub struct Principal {
    /// A user's name, or `key:` and an API key's.
    pub name: Arc<str>,
    pub scopes: Vec<Scope>,
    pub proof: Proof,
    /// When the credentials end by themselves, in milliseconds since the Unix epoch.
    pub until_ms: Option<i64>,
}

/// What a principal came in with: what must still be there for a stream to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A user, by what stands for the password that was right.
    User(u64),
    /// An API key, by its id.
    Key(Arc<str>),
    /// The host's own socket.
    Local,
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
    #[error("this needs the scope {:?}, which the credentials do not have", .0.name())]
    Scope(Scope),
    #[error("authentication is not possible now: {0}")]
    Unavailable(String),
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iss: String,
    exp: u64,
    iat: u64,
    /// [`Auth::stamp`] of the user; none in tokens of an older version, which are refused.
    #[serde(default)]
    stamp: String,
}

/// Users and the key that signs tokens.
pub struct Auth {
    users: RwLock<BTreeMap<String, User>>,
    keys: RwLock<BTreeMap<String, Key>>,
    /// Where users and keys are kept, and when each was written as we know it.
    dir: Option<PathBuf>,
    written: Mutex<[Option<SystemTime>; 2]>,
    key: [u8; 32],
    remembered: Cache<[u8; 32], Arc<str>>,
    /// With when each was given.
    tickets: Cache<String, (Principal, Instant)>,
    failures: Cache<(String, String), u32>,
    /// Hashing is heavy on purpose: one at a time, so that a flood of wrong passwords takes neither the machine nor its memory.
    hashing: Semaphore,
    hasher: mpsc::Sender<Job>,
    /// What an unknown user's password is checked against, so that both cost the same.
    decoy: String,
}

/// Made on the first start, and shown once.
pub struct FirstStart {
    pub user: String,
    pub password: String,
}

const FILES: [&str; 2] = ["users.json", "keys.json"];

impl Auth {
    fn with(users: BTreeMap<String, User>, keys: BTreeMap<String, Key>, dir: Option<PathBuf>, key: [u8; 32]) -> anyhow::Result<Self> {
        let auth = Self {
            users: RwLock::new(users),
            keys: RwLock::new(keys),
            dir,
            written: Mutex::default(),
            key,
            remembered: Cache::builder().max_capacity(10_000).time_to_live(REMEMBER).build(),
            tickets: Cache::builder().max_capacity(10_000).time_to_live(TICKET_LIFE).build(),
            failures: Cache::builder().max_capacity(100_000).time_to_live(WAIT).build(),
            hashing: Semaphore::new(1),
            hasher: hasher()?,
            decoy: decoy(),
        };
        *auth.written.lock().unwrap_or_else(|e| e.into_inner()) = auth.on_disk();
        Ok(auth)
    }

    /// One user in memory: the demo's.
    pub fn in_memory(user: &str, password: &str) -> anyhow::Result<Self> {
        let one = User { password: hash(password)?, scopes: Scope::ALL.to_vec() };
        Self::with(BTreeMap::from([(user.to_owned(), one)]), BTreeMap::new(), None, file::random())
    }

    /// Users and keys from a directory, made there on the first start.
    pub fn open(dir: &Path) -> anyhow::Result<(Self, Option<FirstStart>)> {
        fs::create_dir_all(dir)?;
        let key_file = dir.join("signing.key");
        let key = match fs::read(&key_file) {
            Ok(key) => key.try_into().map_err(|_| anyhow::anyhow!("{} must hold 32 bytes", key_file.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = file::random();
                file::write_private(&key_file, &key)?;
                key
            }
            Err(e) => return Err(e.into()),
        };
        let (users, first) = match file::read(&dir.join(FILES[0]))? {
            Some(users) => (users, None),
            None => {
                let first = FirstStart { user: "admin".into(), password: file::random_text() };
                let admin = User { password: hash(&first.password)?, scopes: Scope::ALL.to_vec() };
                let users = BTreeMap::from([(first.user.clone(), admin)]);
                file::write_json(&dir.join(FILES[0]), &users)?;
                (users, Some(first))
            }
        };
        let keys = file::read(&dir.join(FILES[1]))?.unwrap_or_default();
        Ok((Self::with(users, keys, Some(dir.to_owned()), key)?, first))
    }

    /// All users and what they may do.
    pub fn users(&self) -> BTreeMap<String, Vec<Scope>> {
        let users = self.users.read().unwrap_or_else(|e| e.into_inner());
        users.iter().map(|(name, u)| (name.clone(), u.scopes.clone())).collect()
    }

    /// Adds a user.
    pub fn add(&self, user: &str, password: &str, scopes: &[Scope]) -> anyhow::Result<()> {
        anyhow::ensure!(
            !user.is_empty() && user.len() <= 64 && !user.contains(':') && !user.chars().any(char::is_control),
            "a user name has 1 to 64 bytes, no ':' and no control characters"
        );
        let new = User { password: checked_hash(password)?, scopes: scopes.to_vec() };
        self.change_users(|users| users.insert(user.to_owned(), new)).map(drop)
    }

    /// Changes a password.
    pub fn set_password(&self, user: &str, password: &str) -> anyhow::Result<()> {
        let hash = checked_hash(password)?;
        let known = self.change_users(|users| users.get_mut(user).map(|u| u.password = hash))?;
        known.ok_or_else(|| anyhow::anyhow!("there is no user {user:?}; `user add` makes one"))
    }

    /// Removes a user; false when there was none.
    pub fn remove(&self, user: &str) -> anyhow::Result<bool> {
        Ok(self.change_users(|users| users.remove(user))?.is_some())
    }

    /// Whether some user has this password.
    pub fn has_password(&self, password: &str) -> bool {
        self.users.read().unwrap_or_else(|e| e.into_inner()).values().any(|u| verify(&u.password, password))
    }

    fn on_disk(&self) -> [Option<SystemTime>; 2] {
        FILES.map(|f| self.dir.as_ref().and_then(|d| file::modified(&d.join(f))))
    }

    /// Takes users and keys that the command line changed beside a running host. A file that cannot be read changes nothing.
    pub fn reload(&self) {
        let Some(dir) = &self.dir else { return };
        let now = self.on_disk();
        let mut written = self.written.lock().unwrap_or_else(|e| e.into_inner());
        if *written == now {
            return;
        }
        let read = file::read(&dir.join(FILES[0])).and_then(|users| Ok((users, file::read(&dir.join(FILES[1]))?)));
        match read {
            Ok((Some(users), keys)) => {
                *self.users.write().unwrap_or_else(|e| e.into_inner()) = users;
                *self.keys.write().unwrap_or_else(|e| e.into_inner()) = keys.unwrap_or_default();
                self.remembered.invalidate_all();
                *written = now;
            }
            // Without a file of users nobody could come in; those in memory stay.
            Ok((None, _)) => {}
            Err(error) => tracing::error!(%error, "users and keys were not taken; those before stay"),
        }
    }

    fn change_users<T>(&self, change: impl FnOnce(&mut BTreeMap<String, User>) -> T) -> anyhow::Result<T> {
        let mut users = self.users.write().unwrap_or_else(|e| e.into_inner());
        let mut next = users.clone();
        let result = change(&mut next);
        if let Some(dir) = &self.dir {
            file::write_json(&dir.join(FILES[0]), &next)?;
        }
        *users = next;
        self.remembered.invalidate_all();
        Ok(result)
    }

    /// A ticket for someone who is known.
    pub fn ticket(&self, principal: &Principal) -> String {
        let ticket = file::random_text();
        self.tickets.insert(ticket.clone(), (principal.clone(), Instant::now()));
        ticket
    }

    /// Who holds a ticket, which is gone with that, and may still be here for what is asked.
    pub fn redeem(&self, ticket: &str, needed: Scope) -> Result<Principal, AuthError> {
        let (principal, given) = self.tickets.remove(ticket).ok_or(AuthError::Invalid)?;
        // The cache gives out what it has not yet thrown away.
        if given.elapsed() >= TICKET_LIFE {
            return Err(AuthError::Expired);
        }
        self.still(&principal, needed)?;
        Ok(principal)
    }

    /// What stands for a password in tokens: another as soon as the password is.
    fn stamp(&self, user: &User) -> u64 {
        let digest = Sha256::new().chain_update(self.key).chain_update(b"stamp").chain_update(&user.password).finalize();
        digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
    }

    fn principal(&self, user: &str) -> Result<Principal, AuthError> {
        let users = self.users.read().unwrap_or_else(|e| e.into_inner());
        let user_of =
            |u: &User| Principal { name: user.into(), scopes: u.scopes.clone(), proof: Proof::User(self.stamp(u)), until_ms: None };
        users.get(user).map(user_of).ok_or(AuthError::Invalid)
    }

    /// Who sent this `Authorization` header. `peer` tells attackers apart.
    pub async fn authenticate(self: &Arc<Self>, header: Option<&str>, peer: &str) -> Result<Principal, AuthError> {
        let (scheme, value) = header.and_then(|h| h.split_once(' ')).ok_or(AuthError::Missing)?;
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" if value.trim().starts_with(keys::PREFIX) => self.api_key(value.trim()),
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
            return self.principal(&name);
        }
        // By user and address: nobody locks another out from elsewhere.
        let source = (user.chars().take(64).collect::<String>(), peer.to_owned());
        let wait = |tries: u32| match tries >= FREE_TRIES {
            true => Err(AuthError::Throttled { retry_after_seconds: WAIT.as_secs() }),
            false => Ok(()),
        };
        let failed = || self.failures.get(&source).unwrap_or(0);
        wait(failed())?;
        let _permit = self.hashing.acquire().await.map_err(|e| AuthError::Unavailable(e.to_string()))?;
        // Who waited beside others that said the same finds what they found: the hash is made once, and guesses at one time count as
        // many as guesses one after the other.
        if let Some(name) = self.remembered.get(&digest) {
            return self.principal(&name);
        }
        wait(failed())?;
        let known = self.users.read().unwrap_or_else(|e| e.into_inner()).get(user).cloned();
        let (is_known, expected) = (known.is_some(), known.map_or_else(|| self.decoy.clone(), |u| u.password));
        let (answer, verified) = oneshot::channel();
        let gone = || AuthError::Unavailable("nobody checks passwords".to_owned());
        self.hasher.send(Job { expected, password: password.to_owned(), answer }).map_err(|_| gone())?;
        let right = verified.await.map_err(|_| gone())?;
        if !(right && is_known) {
            self.failures.entry(source).and_upsert_with(|tries| tries.map_or(1, |t| t.into_value() + 1));
            return Err(AuthError::Invalid);
        }
        self.failures.invalidate(&source);
        let name: Arc<str> = user.into();
        self.remembered.insert(digest, name);
        self.principal(user)
    }

    /// A token for someone who is known.
    pub fn token(&self, principal: &Principal) -> Result<String, AuthError> {
        let now = (crate::now_ms() / 1_000) as u64;
        // A key or a ticket makes no token: it would outlive them.
        let Proof::User(stamp) = principal.proof else { return Err(AuthError::Missing) };
        let (sub, iss, exp) = (principal.name.to_string(), ISSUER.to_owned(), now + TOKEN_LIFE.as_secs());
        let claims = Claims { sub, iss, iat: now, exp, stamp: format!("{stamp:016x}") };
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
        // A removed user's token ends with the user, every token with its password, and what the user may do now counts.
        let until_ms = i64::try_from(claims.exp).ok().map(|s| s.saturating_mul(1_000));
        let principal = Principal { until_ms, ..self.principal(&claims.sub)? };
        match principal.proof {
            Proof::User(stamp) if claims.stamp == format!("{stamp:016x}") => Ok(principal),
            _ => Err(AuthError::Invalid),
        }
    }

    /// Whether who came in may still be here: the credentials have not ended and were not taken away.
    pub fn still(&self, principal: &Principal, needed: Scope) -> Result<(), AuthError> {
        if principal.until_ms.is_some_and(|at| crate::now_ms() >= at) {
            return Err(AuthError::Expired);
        }
        let scopes = match &principal.proof {
            Proof::Local => return Ok(()),
            Proof::User(_) => {
                let now = self.principal(&principal.name)?;
                if now.proof != principal.proof {
                    return Err(AuthError::Invalid);
                }
                now.scopes
            }
            Proof::Key(id) => self.scopes_of_key(id).ok_or(AuthError::Invalid)?,
        };
        scopes.contains(&needed).then_some(()).ok_or(AuthError::Scope(needed))
    }
}

fn hash(password: &str) -> anyhow::Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|e| anyhow::anyhow!("argon2: {e}"))?;
    Ok(hash.to_string())
}

/// A hash of no password, of the same cost to check as any other.
fn decoy() -> String {
    let random = || base64::engine::general_purpose::STANDARD_NO_PAD.encode(file::random());
    let (memory, passes) = (argon2::Params::DEFAULT_M_COST, argon2::Params::DEFAULT_T_COST);
    format!("$argon2id$v=19$m={memory},t={passes},p={}${}${}", argon2::Params::DEFAULT_P_COST, random(), random())
}

fn checked_hash(password: &str) -> anyhow::Result<String> {
    anyhow::ensure!(password.len() >= MIN_PASSWORD, "a password has at least {MIN_PASSWORD} bytes");
    hash(password)
}

/// A password to check.
struct Job {
    expected: String,
    password: String,
    answer: oneshot::Sender<bool>,
}

/// Checks passwords until nobody can ask any more. A thread of its own with memory of its own: the 19 MiB of a hash are the same each
/// time, while what is allocated for each stays with the allocator for long.
fn hasher() -> std::io::Result<mpsc::Sender<Job>> {
    let (asked, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new().name("passwords".to_owned()).spawn(move || {
        let mut memory = Vec::new();
        for job in jobs {
            // Who asked may have gone.
            let _ = job.answer.send(verify_in(&mut memory, &job.expected, &job.password).unwrap_or(false));
        }
    })?;
    Ok(asked)
}

/// The same in memory that is there; `None` where the hash cannot be read.
fn verify_in(memory: &mut Vec<Block>, hash: &str, password: &str) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let (salt, expected) = (hash.salt.as_ref()?, hash.hash.as_ref()?);
    let params = Params::try_from(&hash).ok()?;
    let algorithm = argon2::Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map_or(Some(Version::default()), |v| Version::try_from(v).ok())?;
    memory.resize(params.block_count(), Block::new());
    let mut found = vec![0; expected.as_ref().len()];
    let argon2 = Argon2::new(algorithm, version, params);
    argon2.hash_password_into_with_memory(password.as_bytes(), salt.as_ref(), &mut found, &mut memory[..]).ok()?;
    // What is left of a password in it is nobody's.
    memory.fill(Block::new());
    Some(found.ct_eq(expected.as_ref()).into())
}

fn verify(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|h| Argon2::default().verify_password(password.as_bytes(), &h).is_ok())
}
