//! GET with the failures of a target told apart, and bodies that are read piece by piece.

use std::borrow::Cow;

use crate::bindings::kcloud::collector::http as wire;
use crate::exposition::{Format, decode};
use crate::{CollectError, Label, Target};

/// Larger answers are refused.
const MAX_BODY: usize = 32 << 20;

/// An answer.
pub struct Answer {
    status: u16,
    body: Vec<u8>,
    content_type: Option<String>,
    retry_after: Option<u32>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Itself where it is good, else whom it is blamed on.
    pub fn good(self) -> Result<Self, CollectError> {
        judge(self.status, self.retry_after).map(|()| self)
    }

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

/// Reads a URL of a target with the target's credential.
pub fn get(target: &Target, url: &str, accept: &str, timeout_ms: u32) -> Result<Answer, CollectError> {
    ask(target, url, accept, timeout_ms)?.good()
}

/// The same, whatever the status is.
pub fn ask(target: &Target, url: &str, accept: &str, timeout_ms: u32) -> Result<Answer, CollectError> {
    let response = wire::send(&request(target, url, accept, timeout_ms)).map_err(|e| failed(e, timeout_ms))?;
    let (content_type, retry_after) = (header(&response, "content-type"), retry_after(&response));
    Ok(Answer { status: response.status, content_type, retry_after, body: response.body })
}

/// A body that is read piece by piece: a Kubernetes watch, server-sent events. It may be kept between calls where the plugin's
/// affinity is the target; the budget on its bytes holds over its life. Closed when dropped.
pub struct Stream {
    stream: wire::BodyStream,
    head: wire::Response,
}

/// Sends a request and returns once its headers are there, whatever the status is.
pub fn open(target: &Target, url: &str, accept: &str, timeout_ms: u32) -> Result<Stream, CollectError> {
    let stream = wire::open(&request(target, url, accept, timeout_ms)).map_err(|e| failed(e, timeout_ms))?;
    let head = stream.head();
    Ok(Stream { stream, head })
}

impl Stream {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Itself where its status is good, else whom it is blamed on.
    pub fn good(self) -> Result<Self, CollectError> {
        judge(self.head.status, retry_after(&self.head)).map(|()| self)
    }

    /// Up to `max_bytes` of what came, nothing in them when nothing came within `wait_ms`, `None` at the end.
    pub fn read(&mut self, max_bytes: u32, wait_ms: u32) -> Result<Option<Vec<u8>>, CollectError> {
        self.stream.read(max_bytes, wait_ms).map_err(|e| failed(e, wait_ms))
    }
}

fn request(target: &Target, url: &str, accept: &str, timeout_ms: u32) -> wire::Request {
    wire::Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: vec![Label { key: "accept".to_owned(), value: accept.to_owned() }],
        body: None,
        credential: target.credential.clone(),
        timeout_ms: Some(timeout_ms),
    }
}

fn header(response: &wire::Response, name: &str) -> Option<String> {
    response.headers.iter().find(|h| h.key.eq_ignore_ascii_case(name)).map(|h| h.value.clone())
}

fn retry_after(response: &wire::Response) -> Option<u32> {
    header(response, "retry-after").and_then(|s| s.parse().ok())
}

fn judge(status: u16, retry_after: Option<u32>) -> Result<(), CollectError> {
    match status {
        200..=299 => Ok(()),
        401 | 403 => Err(CollectError::Auth(format!("HTTP {status}"))),
        429 => Err(CollectError::Throttled(retry_after)),
        300..=399 => Err(CollectError::Protocol(format!("HTTP {status}: redirects are not followed; write the address that it leads to"))),
        500..=599 => Err(CollectError::Unreachable(format!("HTTP {status}"))),
        status => Err(CollectError::Protocol(format!("HTTP {status}"))),
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
