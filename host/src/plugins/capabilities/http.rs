//! HTTP for guests: the policy decides, then one shared client sends, within byte and time caps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::http_policy::address_allowed;
use super::{Guest, Shared};

/// A connection that does not come about within this is not one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Sum of a response's header names and values.
const MAX_HEADER_BYTES: usize = 64 << 10;
const MAX_URL: usize = 8 << 10;
const MAX_REQUESTS: usize = 4_096;

pub type Client = reqwest::Client;

/// One client for all plugins: no redirect, no proxy from the environment, every resolved address checked.
pub fn client() -> Result<Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .dns_resolver(Arc::new(CheckedResolver))
        .user_agent(concat!("kcloud-monitor/", env!("CARGO_PKG_VERSION")))
        .build()
}

struct CheckedResolver;

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|a| address_allowed(&host, a.ip())).collect();
            if allowed.is_empty() {
                let error =
                    format!("{host:?} leads only to addresses that a name may not lead to (loopback, link-local, metadata, multicast)");
                return Err(error.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
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

#[derive(Debug, thiserror::Error)]
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

/// An open body; dropped with its store at the latest.
pub struct BodyStream {
    pub head: (u16, Vec<(String, String)>),
    chunks: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    rest: bytes::Bytes,
    budget: usize,
    limit: usize,
}

impl BodyStream {
    /// Up to `max` bytes, an empty list when none came within `wait`, none at the end.
    pub async fn read(&mut self, max: usize, wait: Duration) -> Result<Option<Vec<u8>>, HttpError> {
        if self.rest.is_empty() {
            match tokio::time::timeout(wait, self.chunks.next()).await {
                Err(_) => return Ok(Some(Vec::new())),
                Ok(None) => return Ok(None),
                Ok(Some(chunk)) => self.rest = chunk.map_err(explain)?,
            }
        }
        let piece = self.rest.split_to(max.clamp(1, self.rest.len().max(1)).min(self.rest.len()));
        self.budget = self.budget.checked_sub(piece.len()).ok_or(HttpError::TooLarge(self.limit as u64))?;
        Ok(Some(piece.to_vec()))
    }
}

impl Guest {
    /// What is left of the call's wall time.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(std::time::Instant::now())
    }
}

/// Sends one request and reads the whole body.
pub async fn send(shared: &Shared, request: Request, remaining: Duration) -> Result<Response, HttpError> {
    let limit = request.timeout.unwrap_or(remaining).min(remaining);
    let work = async {
        let response = begin(shared, request).await?;
        let (status, headers) = head(&response)?;
        let cap = shared.limits.http_body_bytes;
        let too_large = HttpError::TooLarge(cap as u64);
        let mut body = Vec::with_capacity(response.content_length().unwrap_or(0).min(cap as u64) as usize);
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(explain)?;
            if body.len() + chunk.len() > cap {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    };
    tokio::time::timeout(limit, work).await.unwrap_or(Err(HttpError::Timeout))
}

/// Sends many, `parallel` at a time; answers in their order.
pub async fn send_all(shared: &Shared, requests: Vec<Request>, parallel: u32, remaining: Duration) -> Vec<Result<Response, HttpError>> {
    let over = requests.len().saturating_sub(MAX_REQUESTS);
    let parallel = (parallel as usize).clamp(1, shared.limits.http_parallel);
    let sent = requests.into_iter().take(MAX_REQUESTS).map(|r| send(shared, r, remaining));
    let mut answers: Vec<_> = futures::stream::iter(sent).buffered(parallel).collect().await;
    answers.extend((0..over).map(|_| Err(HttpError::Denied(format!("at most {MAX_REQUESTS} requests in one call")))));
    answers
}

/// Sends a request and returns once its headers are there.
pub async fn open(shared: &Shared, request: Request, remaining: Duration) -> Result<BodyStream, HttpError> {
    let limit = request.timeout.unwrap_or(remaining).min(remaining);
    let response = tokio::time::timeout(limit, begin(shared, request)).await.unwrap_or(Err(HttpError::Timeout))?;
    let head = head(&response)?;
    let limit = shared.limits.http_body_bytes;
    Ok(BodyStream { head, chunks: response.bytes_stream().boxed(), rest: bytes::Bytes::new(), budget: limit, limit })
}

async fn begin(shared: &Shared, request: Request) -> Result<reqwest::Response, HttpError> {
    let denied = |e: String| HttpError::Denied(e);
    let policy = shared.grants.http.as_ref().ok_or_else(|| denied("http is not granted".into()))?;
    if request.url.len() > MAX_URL {
        return Err(denied(format!("a URL has at most {MAX_URL} bytes")));
    }
    let origin = policy.check(&request.method, &request.url, &request.headers).map_err(|e| denied(e.to_string()))?;
    let method = match request.method.as_str() {
        "HEAD" => reqwest::Method::HEAD,
        _ => reqwest::Method::GET,
    };
    let mut builder = shared.http.request(method, &request.url);
    for (k, v) in &request.headers {
        builder = builder.header(k, v);
    }
    if let Some(name) = &request.credential {
        let credential = shared.credentials.get(name).ok_or_else(|| denied(format!("no credential is named {name:?}")))?;
        let bound = credential.origins.iter().any(|o| super::http_policy::Origin::of(o).is_ok_and(|o| o == origin));
        if !bound {
            return Err(denied(format!("credential {name:?} is not bound to {origin}")));
        }
        let (k, v) = (credential.header)().map_err(denied)?;
        builder = builder.header(k, v);
    }
    if let Some(body) = request.body {
        builder = builder.body(body);
    }
    builder.send().await.map_err(explain)
}

fn head(response: &reqwest::Response) -> Result<(u16, Vec<(String, String)>), HttpError> {
    let mut size = 0;
    let mut headers = Vec::with_capacity(response.headers().len());
    for (name, value) in response.headers() {
        // The host's own affair, and none of the guest's.
        if matches!(name.as_str(), "set-cookie" | "www-authenticate" | "proxy-authenticate") {
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
    Ok((response.status().as_u16(), headers))
}

/// Names what went wrong, without the URL: it stands in the target already and may hold a secret.
fn explain(error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(e) = cause {
        causes.push(e.to_string());
        cause = e.source();
    }
    let text = causes.last().cloned().unwrap_or_else(|| error.to_string());
    let all = causes.join(": ");
    match () {
        _ if error.is_timeout() => HttpError::Timeout,
        _ if all.contains("dns error") => HttpError::Dns(text),
        _ if all.contains("certificate") || all.contains("TLS") || all.contains("tls") => HttpError::Tls(text),
        _ if error.is_connect() => HttpError::Connect(text),
        _ => HttpError::Protocol(text),
    }
}
