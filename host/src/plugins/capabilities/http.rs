//! HTTP for guests: the policy decides, then a client sends, within caps on bytes, time and requests under way.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::address::name_leads_to;
use super::http_policy::{Denied, Origin};
use super::login::{Failed, Login, SUBJECT, TOKEN};
use super::{Credential, Guest, Secret, Shared, Used};

pub use super::stream::BodyStream;

/// A connection that does not come about within this is not one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Headers of a response, and the sum of their names and values.
const MAX_HEADERS: usize = 128;
const MAX_HEADER_BYTES: usize = 64 << 10;
/// A request's own body.
const MAX_BODY: usize = 1 << 20;
/// Requests of one call.
const MAX_REQUESTS: usize = 4_096;
/// Bytes that a server may send before anybody reads them, of one answer and of one connection.
const WINDOWS: [u32; 2] = [256 << 10, 1 << 20];
const IDLE_CONNECTIONS: usize = 16;

/// Looks a name up.
type LookUp = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// What every client has: no redirect, no proxy from the environment, every resolved address checked.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    let look_up = |name: String| async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }.boxed();
    with_look_up(Arc::new(look_up))
}

fn with_look_up(look_up: LookUp) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADER_BYTES as u32)
        .http2_initial_stream_window_size(WINDOWS[0])
        .http2_initial_connection_window_size(WINDOWS[1])
        .dns_resolver(Arc::new(CheckedResolver { look_up, under_way: Arc::default() }))
        .user_agent(concat!("kcloud-monitor/", env!("CARGO_PKG_VERSION")))
}

type Answer = futures::future::Shared<BoxFuture<'static, Result<Vec<SocketAddr>, String>>>;

/// Asked for each new connection, so that a name whose answer changes is checked again; a connection that is kept goes on to the
/// address that was checked.
struct CheckedResolver {
    look_up: LookUp,
    /// A name is looked up once at a time: a name server that hangs holds one thread a name, however often a guest asks.
    under_way: Arc<Mutex<HashMap<String, Answer>>>,
}

impl CheckedResolver {
    fn answer(&self, host: &str) -> Answer {
        let forget = |all: &Mutex<HashMap<String, Answer>>, host: &str| drop(lock(all).remove(host));
        let begin = || {
            let (work, all, name) = ((self.look_up)(host.to_owned()), self.under_way.clone(), host.to_owned());
            let task = tokio::spawn(async move {
                let found = work.await.map_err(|e| e.to_string());
                forget(&all, &name);
                found
            });
            let (all, name) = (self.under_way.clone(), host.to_owned());
            let joined = async move {
                task.await.unwrap_or_else(|e| {
                    forget(&all, &name);
                    Err(e.to_string())
                })
            };
            joined.boxed().shared()
        };
        lock(&self.under_way).entry(host.to_owned()).or_insert_with(begin).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A name that leads only to where a name may not lead.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} leads only to addresses that a name may not lead to (loopback, link-local, metadata, multicast)")]
struct LeadsAstray(String);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let found = self.answer(&host);
        Box::pin(async move {
            let allowed: Vec<SocketAddr> = found.await?.into_iter().filter(|a| name_leads_to(&host, a.ip())).collect();
            match allowed.is_empty() {
                true => Err(LeadsAstray(host).into()),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub credential: Option<String>,
    pub timeout: Option<Duration>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    #[error("{0}")]
    Denied(String),
    #[error("name look-up: {0}")]
    Dns(String),
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Tls(String),
    #[error("timed out")]
    Timeout,
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    #[error("{0}")]
    Protocol(String),
}

impl From<Denied> for HttpError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied.to_string())
    }
}

/// A place among the requests that are under way: the plugin's and everybody's.
pub(super) struct Place {
    _plugin: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl Guest {
    /// What is left of the call's wall time.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// HTTP within this call.
    pub fn http(&self) -> Caller<'_> {
        Caller { shared: &self.shared, used: &self.used, deadline: self.deadline }
    }
}

/// A request that may be sent.
struct Ready {
    client: reqwest::Client,
    request: reqwest::Request,
    /// Whose session it needs, and where.
    login: Option<(Arc<Login>, Origin)>,
}

/// HTTP within one call: its budgets are summed over everything that is sent through it.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    shared: &'a Shared,
    used: &'a Used,
    deadline: Instant,
}

impl Caller<'_> {
    /// Sends one request and reads the whole body.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let until = self.until(&request);
        let ready = self.approve(request)?;
        let _place = self.place(until).await?;
        let work = async {
            let response = self.execute(ready).await?;
            let (status, headers) = self.head(&response)?;
            let cap = self.shared.limits.http_body_bytes;
            let (mut body, shows_its_end) = (Vec::new(), shows_its_end(&response));
            let mut chunks = response.bytes_stream();
            while let Some(chunk) = next_piece(&mut chunks, shows_its_end).await {
                let chunk = chunk?;
                if body.len() + chunk.len() > cap {
                    return Err(HttpError::TooLarge(cap as u64));
                }
                self.take(chunk.len())?;
                body.extend_from_slice(&chunk);
            }
            Ok(Response { status, headers, body })
        };
        timeout_at(until.into(), work).await.unwrap_or(Err(HttpError::Timeout))
    }

    /// Sends many, `parallel` at a time; answers in their order.
    pub async fn send_all(&self, requests: Vec<Request>, parallel: u32) -> Vec<Result<Response, HttpError>> {
        let parallel = (parallel as usize).clamp(1, self.shared.limits.http_parallel.max(1));
        futures::stream::iter(requests).map(|r| self.send(r)).buffered(parallel).collect().await
    }

    /// Sends a request and returns once its headers are there.
    pub(super) async fn open(&self, request: Request) -> Result<BodyStream, HttpError> {
        let until = self.until(&request);
        let ready = self.approve(request)?;
        let place = self.place(until).await?;
        let response = timeout_at(until.into(), self.execute(ready)).await.map_err(|_| HttpError::Timeout)??;
        let head = self.head(&response)?;
        Ok(BodyStream::new(head, response.bytes_stream().boxed(), self.shared.limits.http_body_bytes, place))
    }

    fn until(&self, request: &Request) -> Instant {
        request.timeout.map_or(self.deadline, |t| self.deadline.min(Instant::now() + t))
    }

    /// Counts bytes that came from outside against the call's budget.
    pub(super) fn take(&self, bytes: usize) -> Result<(), HttpError> {
        let limit = self.shared.limits.http_call_bytes;
        let before = self.used.http_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > limit { Err(HttpError::TooLarge(limit as u64)) } else { Ok(()) }
    }

    async fn place(&self, until: Instant) -> Result<Place, HttpError> {
        let wait = |all: &Arc<Semaphore>| timeout_at(until.into(), all.clone().acquire_owned());
        let limit = self.shared.limits.http_outstanding;
        let full =
            format!("{limit} requests of this plugin are under way or its streams open; [limits] http_outstanding says how many may be");
        // A semaphore is closed by nobody.
        let plugin = wait(&self.shared.requests).await.ok().and_then(Result::ok).ok_or(HttpError::Denied(full))?;
        let host = wait(&self.shared.commons.requests).await.ok().and_then(Result::ok).ok_or(HttpError::Timeout)?;
        Ok(Place { _plugin: plugin, _host: host })
    }

    /// Sends what was approved, logged in where its credential needs that. A refused login is the 401 that it was.
    async fn execute(&self, ready: Ready) -> Result<reqwest::Response, HttpError> {
        let Ready { client, mut request, login } = ready;
        let Some((login, origin)) = login else { return client.execute(request).await.map_err(explain) };
        let logins = &self.shared.commons.logins;
        let held = match logins.header(&login, &origin, &client).await {
            Ok(held) => held,
            Err(Failed::Http(error)) => return Err(error),
            Err(Failed::Refused(why)) => {
                let answer = axum::http::Response::builder().status(401).header("content-type", "text/plain").body(why);
                return Ok(answer.map_err(|e| HttpError::Protocol(e.to_string()))?.into());
            }
        };
        // Bodies are in memory: every request can be sent again.
        let (again, path) = (request.try_clone(), request.url().path().to_owned());
        request.headers_mut().insert(&held.key, held.value.clone());
        let answer = client.execute(request).await.map_err(explain)?;
        held.answered(&path, answer.status());
        let Some(mut again) = again.filter(|_| answer.status() == 401) else { return Ok(answer) };
        let Some(held) = logins.another(&login, &origin, &client, &held).await else { return Ok(answer) };
        again.headers_mut().insert(&held.key, held.value.clone());
        client.execute(again).await.map_err(explain)
    }

    /// Checks a request and makes what is sent of it, with the client that its origin needs.
    fn approve(&self, request: Request) -> Result<Ready, HttpError> {
        let denied = |e: String| HttpError::Denied(e);
        let (rights, limits) = (self.shared.rights(), &self.shared.limits);
        let policy = rights.grants.http.as_ref().ok_or_else(|| denied("http is not granted".into()))?;
        let approved = policy.check(&request.method, &request.url, &request.headers)?;
        if self.used.http_requests.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
            return Err(denied(format!("at most {MAX_REQUESTS} requests in one call")));
        }
        if self.used.http_bytes.load(Ordering::Relaxed) > limits.http_call_bytes {
            return Err(HttpError::TooLarge(limits.http_call_bytes as u64));
        }
        let is_verified = approved.trust.as_ref().is_none_or(|t| t.is_verified());
        let logs_in = |c: &Credential| matches!(&c.secret, Secret::Login(login) if login.guards(approved.url.path()));
        if rights.credentials.values().any(logs_in) {
            return Err(denied(format!("{} is where the host itself logs in", approved.url.path())));
        }
        let mut out = reqwest::Request::new(approved.method, approved.url);
        *out.headers_mut() = approved.headers;
        let mut login = None;
        if let Some(name) = &request.credential {
            match bound(rights.credentials.get(name), name, &approved.origin, is_verified)? {
                Secret::Login(of) => login = Some((of.clone(), approved.origin.clone())),
                Secret::Header(make) => {
                    let (key, value) = make().map_err(denied)?;
                    let bad = |e: String| denied(format!("credential {name:?} holds what a header cannot: {e}"));
                    let mut value = HeaderValue::from_str(&value).map_err(|e| bad(e.to_string()))?;
                    value.set_sensitive(true);
                    out.headers_mut().insert(HeaderName::from_bytes(key.as_bytes()).map_err(|e| bad(e.to_string()))?, value);
                }
            }
        }
        match request.body {
            Some(_) if matches!(out.method().as_str(), "GET" | "HEAD") => return Err(denied("GET and HEAD have no body".into())),
            Some(body) if body.len() > MAX_BODY => return Err(denied(format!("a request's body has at most {MAX_BODY} bytes"))),
            body => *out.body_mut() = body.map(Into::into),
        }
        let client = match &approved.trust {
            Some(trust) => trust.client().map_err(HttpError::Tls)?,
            None => self.shared.commons.http.clone(),
        };
        Ok(Ready { client, request: out, login })
    }

    fn head(&self, response: &reqwest::Response) -> Result<(u16, Vec<(String, String)>), HttpError> {
        let mut size = 0;
        let mut headers = Vec::with_capacity(response.headers().len());
        for (name, value) in response.headers() {
            // The host's own affair, and none of the guest's.
            if matches!(name.as_str(), "set-cookie" | "www-authenticate" | "proxy-authenticate") || [TOKEN, SUBJECT].contains(name) {
                continue;
            }
            size += name.as_str().len() + value.len();
            if size > MAX_HEADER_BYTES {
                return Err(HttpError::TooLarge(MAX_HEADER_BYTES as u64));
            }
            if let Ok(value) = value.to_str() {
                headers.push((name.to_string(), value.to_owned()));
            }
        }
        self.take(size)?;
        Ok((response.status().as_u16(), headers))
    }
}

/// Whether a body that ends with its connection shows by itself that it is whole: a JSON document does.
pub(super) fn shows_its_end(response: &reqwest::Response) -> bool {
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
    let is_json = header("content-type").is_some_and(|t| t.to_ascii_lowercase().contains("json"));
    is_json && header("content-length").is_none() && header("transfer-encoding").is_none()
}

/// The next piece of a body. Old BMCs close a connection without TLS's goodbye: anybody on the way could have cut the answer, which
/// does no harm where `shows_its_end`.
pub(super) async fn next_piece(
    chunks: &mut (impl futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    shows_its_end: bool,
) -> Option<Result<bytes::Bytes, HttpError>> {
    match chunks.next().await? {
        Err(error) if shows_its_end && is_abrupt_end(&error) => None,
        piece => Some(piece.map_err(explain)),
    }
}

fn is_abrupt_end(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_end = error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof);
    is_end || error.source().is_some_and(is_abrupt_end)
}

/// Names what went wrong, without the URL: it stands in the target already and may hold a secret.
pub(crate) fn explain(error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    while let Some(e) = cause {
        text = e.to_string();
        if is_tls(e) {
            return HttpError::Tls(text);
        }
        if e.is::<LeadsAstray>() {
            return HttpError::Denied(text);
        }
        cause = e.source();
    }
    match () {
        _ if error.is_timeout() => HttpError::Timeout,
        _ if error.is_dns() => HttpError::Dns(text),
        _ if error.is_connect() => HttpError::Connect(text),
        _ => HttpError::Protocol(text),
    }
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // An I/O error gives what is in it as its text, not as its source.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|e| is_tls(e))
}

/// The secret of a credential, for an origin that it is bound to.
fn bound<'a>(given: Option<&'a Credential>, name: &str, origin: &Origin, is_verified: bool) -> Result<&'a Secret, HttpError> {
    let denied = |e: String| HttpError::Denied(e);
    let credential = given.ok_or_else(|| denied(format!("no credential of this plugin is named {name:?}")))?;
    if !credential.origins.iter().any(|o| Origin::of(o).is_ok_and(|o| o == *origin)) {
        return Err(denied(format!("credential {name:?} is not bound to {origin}")));
    }
    match is_verified {
        true => Ok(&credential.secret),
        false => Err(denied(format!("credential {name:?} is not sent to {origin}, whose TLS is insecure; pin_sha256 makes it sure"))),
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
pub(super) mod tests;
