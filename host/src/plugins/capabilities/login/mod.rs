//! Credentials for which the host logs in: a Redfish session, a token of OpenStack's Keystone.
//!
//! In: who logs in where (`[credentials.NAME]`) and the client that the request's TLS needs. Out: the header that a request
//! carries. One login is under way for a credential and an origin, whoever waits for it, and it goes on when a call is cut off:
//! what it opened is known and given back. A secret that was refused is left alone for a while, because BMCs lock accounts.
//! No guest ever sees secret or token, nor reaches the path where they are exchanged.

mod keystone;
mod redfish;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use sha2::{Digest, Sha256};

use super::http::{HttpError, explain, next_piece, shows_its_end};
use super::http_policy::Origin;

pub use keystone::{Keystone, Who};

/// A slow BMC takes ten seconds to open a session.
const LOGIN: Duration = Duration::from_secs(30);
/// After a refusal, doubled at each. BMCs lock an account after three to five of them, mostly for minutes.
const REFUSED: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(1_800)];
/// A server that answers 401 to a session that it has just given is believed: no new one more often than this.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A service without sessions is asked again whether it has some by now.
const BASIC_FOR: Duration = Duration::from_secs(300);
/// A session that nobody used for this long is given back.
const IDLE: Duration = Duration::from_secs(1_800);
/// What giving all sessions back may take when the host stops.
const END: Duration = Duration::from_secs(3);
/// A token's catalogue of services is the largest answer.
const MAX_ANSWER: usize = 4 << 20;

pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
pub(super) const SUBJECT: HeaderName = HeaderName::from_static("x-subject-token");

/// Who logs in, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Of the credential.
    pub name: String,
    /// Read at each login.
    pub secret_file: PathBuf,
    pub way: Way,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// A session of the service that is asked. Basic where it has none and that is wanted.
    Redfish {
        username: String,
        basic_fallback: bool,
    },
    Keystone(Keystone),
}

/// Why there is no header.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failed {
    /// The server took neither secret nor token.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// What requests carry while the host is logged in.
pub(super) struct Held {
    pub value: HeaderValue,
    pub key: HeaderName,
    /// How it is given back: a DELETE, with this beside the token.
    end: Option<(Url, Option<(HeaderName, HeaderValue)>)>,
    /// From then on a new one is asked for.
    renew_at: Option<Instant>,
    /// Of the secret that it was given for.
    secret: [u8; 32],
    /// Something that is not open to everybody was answered since the last 401.
    is_proven: AtomicBool,
}

impl Held {
    fn new(key: HeaderName, value: HeaderValue) -> Self {
        Self { key, value, end: None, renew_at: None, secret: [0; 32], is_proven: AtomicBool::new(false) }
    }

    /// Takes note of an answer.
    pub(super) fn answered(&self, path: &str, status: StatusCode) {
        let is_open = matches!(path.trim_end_matches('/'), "" | "/redfish" | "/redfish/v1");
        if status.is_success() && !is_open {
            self.is_proven.store(true, Ordering::Relaxed);
        }
    }
}

struct Refused {
    secret: [u8; 32],
    until: Instant,
    times: u32,
    why: String,
}

type Flight = futures::future::Shared<BoxFuture<'static, Result<Arc<Held>, Failed>>>;

/// One credential at one origin.
struct Entry {
    login: Arc<Login>,
    origin: Origin,
    state: Mutex<State>,
}

struct State {
    client: Client,
    held: Option<Arc<Held>>,
    /// What a new one replaces, and gives back.
    old: Option<Arc<Held>>,
    under_way: Option<Flight>,
    refused: Option<Refused>,
    renewed: Option<Instant>,
    used: Instant,
}

/// All sessions of a host.
#[derive(Default)]
pub struct Logins {
    entries: Mutex<HashMap<(String, String), Arc<Entry>>>,
    is_ending: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Login {
    /// Whether a path is one where sessions are opened, listed or looked into, however it is spelt.
    pub(super) fn guards(&self, path: &str) -> bool {
        let decoded = decoded(path).to_ascii_lowercase().replace('\\', "/");
        let segments: Vec<&str> = decoded.split('/').map(|s| s.split(';').next().unwrap_or("").trim()).filter(|s| !s.is_empty()).collect();
        match self.way {
            Way::Redfish { .. } => segments.iter().any(|s| matches!(*s, "sessions" | "sessionservice")),
            Way::Keystone(_) => segments.windows(2).any(|pair| pair == ["auth", "tokens"]),
        }
    }

    fn secret(&self) -> Result<String, Failed> {
        let read = std::fs::read_to_string(&self.secret_file);
        let wrong = |e: std::io::Error| HttpError::Denied(format!("the credential's file cannot be read: {}", e.kind()));
        Ok(read.map_err(wrong)?.trim_end().to_owned())
    }

    async fn begin(&self, origin: &Origin, client: &Client, secret: &str) -> Result<Held, Failed> {
        match &self.way {
            Way::Redfish { username, basic_fallback } => redfish::log_in(origin, client, username, secret, *basic_fallback).await,
            Way::Keystone(keystone) => keystone.log_in(client, secret).await,
        }
    }
}

impl Logins {
    fn entry(&self, login: &Arc<Login>, origin: &Origin, client: &Client) -> Arc<Entry> {
        // A Keystone's token is good at every origin that the credential is bound to.
        let origin_key = if matches!(login.way, Way::Redfish { .. }) { origin.to_string() } else { String::new() };
        let mut all = lock(&self.entries);
        let idle: Vec<_> = all.iter().filter(|(_, e)| lock(&e.state).used.elapsed() > IDLE).map(|(key, _)| key.clone()).collect();
        idle.iter().filter_map(|key| all.remove(key)).for_each(|entry| drop(tokio::spawn(entry.end())));
        let key = (login.name.clone(), origin_key);
        if let Some(known) = all.get(&key).filter(|e| e.login == *login) {
            return known.clone();
        }
        let state =
            State { client: client.clone(), held: None, old: None, under_way: None, refused: None, renewed: None, used: Instant::now() };
        let entry = Arc::new(Entry { login: login.clone(), origin: origin.clone(), state: Mutex::new(state) });
        if let Some(before) = all.insert(key, entry.clone()) {
            tokio::spawn(before.end());
        }
        entry
    }

    /// The header for a request to `origin`; logs in where the host is not yet.
    pub(super) async fn header(&self, login: &Arc<Login>, origin: &Origin, client: &Client) -> Result<Arc<Held>, Failed> {
        let entry = self.entry(login, origin, client);
        let flight = {
            let mut state = lock(&entry.state);
            (state.used, state.client) = (Instant::now(), client.clone());
            let is_good = |h: &&Arc<Held>| h.renew_at.is_none_or(|at| Instant::now() < at);
            if let Some(held) = state.held.as_ref().filter(is_good) {
                return Ok(held.clone());
            }
            state.old = state.held.take().or(state.old.take());
            self.begin(&entry, &mut state)?
        };
        flight.await
    }

    /// After a 401: another header to try the request with once more, or nothing when the answer stands.
    pub(super) async fn another(&self, login: &Arc<Login>, origin: &Origin, client: &Client, refused: &Arc<Held>) -> Option<Arc<Held>> {
        let entry = self.entry(login, origin, client);
        let flight = {
            let mut state = lock(&entry.state);
            match state.held.clone() {
                // Somebody else met the 401 first.
                Some(now) if !Arc::ptr_eq(&now, refused) => return Some(now),
                // Some answer 401 to what an account may not see.
                Some(now) if now.key != TOKEN && now.is_proven.swap(false, Ordering::Relaxed) => return None,
                Some(now) if now.key != TOKEN => {
                    state.held = None;
                    state.refuse(now.secret, format!("{} refused name and password", entry.origin));
                    return None;
                }
                Some(now) => {
                    if state.renewed.is_some_and(|at| at.elapsed() < RENEW_EVERY) {
                        return None;
                    }
                    (state.renewed, state.held, state.old) = (Some(Instant::now()), None, Some(now));
                }
                None => {}
            }
            self.begin(&entry, &mut state).ok()?
        };
        // Whose login fails now hears so with its next request; this one's answer was 401.
        flight.await.ok()
    }

    fn begin(&self, entry: &Arc<Entry>, state: &mut State) -> Result<Flight, Failed> {
        if let Some(flight) = &state.under_way {
            return Ok(flight.clone());
        }
        if self.is_ending.load(Ordering::Relaxed) {
            return Err(HttpError::Denied("the host is stopping: it logs in nowhere".into()).into());
        }
        let secret = entry.login.secret()?;
        let digest: [u8; 32] = Sha256::digest(&secret).into();
        if let Some(refused) = state.refused.as_ref().filter(|r| r.secret == digest) {
            let left = refused.until.saturating_duration_since(Instant::now()).as_secs();
            if left > 0 {
                return Err(Failed::Refused(format!(
                    "{}; so as not to lock the account it is not tried again for {left} s, unless the secret's file changes",
                    refused.why
                )));
            }
        }
        let (working, client, old) = (entry.clone(), state.client.clone(), state.old.take());
        let task = tokio::spawn(async move {
            let login = working.login.begin(&working.origin, &client, &secret);
            let outcome = tokio::time::timeout(LOGIN, login).await.unwrap_or(Err(HttpError::Timeout.into()));
            let outcome = outcome.map(|held| Arc::new(Held { secret: digest, ..held }));
            // Before anybody asks on: a BMC is asked one thing at a time.
            if let (Some(old), Ok(held)) = (old, &outcome) {
                give_back(client, old, held.clone()).await;
            }
            working.ended(outcome, digest)
        });
        let failed = entry.clone();
        let joined = async move {
            task.await.unwrap_or_else(|e| {
                lock(&failed.state).under_way = None;
                Err(HttpError::Protocol(format!("logging in: {e}")).into())
            })
        };
        let flight = joined.boxed().shared();
        state.under_way = Some(flight.clone());
        Ok(flight)
    }

    /// Gives all sessions back, and opens none any more.
    pub async fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let all: Vec<Arc<Entry>> = lock(&self.entries).drain().map(|(_, entry)| entry).collect();
        if tokio::time::timeout(END, join_all(all.into_iter().map(Entry::end))).await.is_err() {
            tracing::warn!("not every session was given back in time; its server ends it when it is idle");
        }
    }
}

impl State {
    fn refuse(&mut self, secret: [u8; 32], why: String) {
        let times = self.refused.as_ref().filter(|r| r.secret == secret).map_or(0, |r| r.times);
        let wait = REFUSED[0].saturating_mul(1 << times.min(16)).min(REFUSED[1]);
        self.refused = Some(Refused { secret, until: Instant::now() + wait, times: times + 1, why });
    }
}

impl Entry {
    fn ended(&self, outcome: Result<Arc<Held>, Failed>, secret: [u8; 32]) -> Result<Arc<Held>, Failed> {
        let mut state = lock(&self.state);
        state.under_way = None;
        let name = &self.login.name;
        match outcome {
            Ok(held) => {
                (state.held, state.refused) = (Some(held.clone()), None);
                tracing::debug!(credential = name, origin = %self.origin, "logged in");
                Ok(held)
            }
            Err(failed) => {
                if let Failed::Refused(why) = &failed {
                    tracing::warn!(credential = name, origin = %self.origin, why, "the login was refused");
                    state.refuse(secret, why.clone());
                }
                Err(failed)
            }
        }
    }

    async fn end(self: Arc<Self>) {
        let flight = lock(&self.state).under_way.clone();
        if let Some(flight) = flight {
            // Its own error was told to whoever asked.
            drop(flight.await);
        }
        let (client, held) = {
            let mut state = lock(&self.state);
            (state.client.clone(), state.held.take())
        };
        if let Some(held) = held {
            give_back(client, held.clone(), held).await;
        }
    }
}

/// Ends a session with the right of another, or of itself.
async fn give_back(client: Client, held: Arc<Held>, by: Arc<Held>) {
    let Some((url, subject)) = &held.end else { return };
    let mut request = client.delete(url.clone()).header(&by.key, &by.value).timeout(END);
    if let Some((key, value)) = subject {
        request = request.header(key, value);
    }
    if let Err(error) = request.send().await.map_err(explain) {
        tracing::debug!(%error, "a session was not given back; its server ends it when it is idle");
    }
}

/// A header's value that no log shows.
fn secret_value(text: &str) -> Result<HeaderValue, Failed> {
    let mut value = HeaderValue::from_str(text).map_err(|_| HttpError::Protocol("a token that no header can hold".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of an answer to the host itself.
async fn body(response: reqwest::Response) -> Result<Vec<u8>, HttpError> {
    let (mut body, shows_its_end) = (Vec::new(), shows_its_end(&response));
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = next_piece(&mut chunks, shows_its_end).await {
        body.extend_from_slice(&chunk?);
        if body.len() > MAX_ANSWER {
            return Err(HttpError::TooLarge(MAX_ANSWER as u64));
        }
    }
    Ok(body)
}

/// A path with what is encoded in it, as often as it is.
fn decoded(path: &str) -> String {
    let mut bytes = path.as_bytes().to_vec();
    while let Some(at) = (0..bytes.len()).find(|at| escaped(&bytes[*at..]).is_some()) {
        let byte = escaped(&bytes[at..]).unwrap_or_default();
        bytes.splice(at..at + 3, [byte]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(at: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = at else { return None };
    let digit = |d: u8| (d as char).to_digit(16);
    Some((digit(*high)? << 4 | digit(*low)?) as u8)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
