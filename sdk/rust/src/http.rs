//! GET with the failures of a target told apart, and bodies that are read piece by piece.

use std::borrow::Cow;

use crate::bindings::kcloud::collector::http as wire;
use crate::exposition::{Format, decode};
use crate::{CollectError, Label, Target};

/// Larger answers are refused.
const MAX_BODY: usize = 32 << 20;

/// A good answer.
pub struct Answer {
    body: Vec<u8>,
    content_type: Option<String>,
}

impl Answer {
    /// As exposition text, in the dialect that its content type says.
    pub fn exposition(&self) -> Result<(Cow<'_, str>, Format), CollectError> {
        let text = decode(&self.body, MAX_BODY).map_err(|e| CollectError::Protocol(e.to_string()))?;
        Ok((text, Format::of(self.content_type.as_deref())))
    }

    /// As JSON of a known shape.
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, CollectError> {
        serde_json::from_slice(&self.body).map_err(|e| CollectError::Protocol(format!("JSON: {e}")))
    }
}

/// An answer of whatever status, for a source that says more by it.
pub struct Raw {
    pub status: u16,
    pub headers: Vec<Label>,
    pub body: Vec<u8>,
}

impl Raw {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.key.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
    }

    /// Itself where its status is good, else whom it is blamed on.
    pub fn good(self) -> Result<Answer, CollectError> {
        match self.status {
            200..=299 => Ok(Answer { content_type: self.header("content-type").map(str::to_owned), body: self.body }),
            _ => Err(self.refused()),
        }
    }

    /// What a status other than a good one means.
    pub fn refused(&self) -> CollectError {
        match self.status {
            401 | 403 => CollectError::Auth(format!("HTTP {}{}", self.status, self.why())),
            429 => CollectError::Throttled(self.header("retry-after").and_then(|s| s.parse().ok())),
            300..=399 => {
                CollectError::Protocol(format!("HTTP {}: redirects are not followed; write the address that it leads to", self.status))
            }
            500..=599 => CollectError::Unreachable(format!("HTTP {}", self.status)),
            status => CollectError::Protocol(format!("HTTP {status}")),
        }
    }

    /// What stands in a short answer of plain text: the host says there why it could not log in.
    fn why(&self) -> String {
        match self.header("content-type") {
            Some(t) if t.starts_with("text/plain") && (1..=300).contains(&self.body.len()) => {
                format!(": {}", String::from_utf8_lossy(&self.body))
            }
            _ => String::new(),
        }
    }
}

impl From<wire::Response> for Raw {
    fn from(wire::Response { status, headers, body }: wire::Response) -> Self {
        Self { status, headers, body }
    }
}

/// Reads a URL of a target with the target's credential.
pub fn get(target: &Target, url: &str, accept: &str, timeout_ms: u32) -> Result<Answer, CollectError> {
    raw(target, url, &[("accept", accept)], timeout_ms)?.good()
}

/// The same, whatever the status.
pub fn raw(target: &Target, url: &str, headers: &[(&str, &str)], timeout_ms: u32) -> Result<Raw, CollectError> {
    wire::send(&request(target, url, headers, timeout_ms)).map(Raw::from).map_err(|e| failed(e, timeout_ms))
}

/// A body that is read piece by piece: a Kubernetes watch, server-sent events. It may be kept between calls where the plugin's
/// affinity is the target; the budget on its bytes holds over its life. Closed when dropped.
pub struct Stream {
    stream: wire::BodyStream,
    head: Raw,
}

/// Sends a request and returns once its headers are there, whatever the status is.
pub fn open(target: &Target, url: &str, accept: &str, timeout_ms: u32) -> Result<Stream, CollectError> {
    let stream = wire::open(&request(target, url, &[("accept", accept)], timeout_ms)).map_err(|e| failed(e, timeout_ms))?;
    let head = stream.head().into();
    Ok(Stream { stream, head })
}

impl Stream {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Itself where its status is good, else whom it is blamed on.
    pub fn good(self) -> Result<Self, CollectError> {
        match self.head.status {
            200..=299 => Ok(self),
            _ => Err(self.head.refused()),
        }
    }

    /// Up to `max_bytes` of what came, nothing in them when nothing came within `wait_ms`, `None` at the end.
    pub fn read(&mut self, max_bytes: u32, wait_ms: u32) -> Result<Option<Vec<u8>>, CollectError> {
        self.stream.read(max_bytes, wait_ms).map_err(|e| failed(e, wait_ms))
    }
}

fn request(target: &Target, url: &str, headers: &[(&str, &str)], timeout_ms: u32) -> wire::Request {
    wire::Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: headers.iter().map(|(key, value)| Label { key: (*key).to_owned(), value: (*value).to_owned() }).collect(),
        body: None,
        credential: target.credential.clone(),
        timeout_ms: Some(timeout_ms),
    }
}

fn failed(error: wire::HttpError, timeout_ms: u32) -> CollectError {
    match error {
        wire::HttpError::Denied(why) => CollectError::Denied(why),
        wire::HttpError::Dns(why) => CollectError::Unreachable(format!("name look-up: {why}")),
        wire::HttpError::Connect(why) | wire::HttpError::Tls(why) => CollectError::Unreachable(why),
        wire::HttpError::Timeout => CollectError::Timeout(format!("no whole answer within {timeout_ms} ms")),
        wire::HttpError::TooLarge(limit) => CollectError::Protocol(format!("the answer is larger than {limit} bytes")),
        wire::HttpError::Protocol(why) => CollectError::Protocol(why),
    }
}
