//! GET with the failures of a target told apart.

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

/// Reads a URL of a target with the target's credential, whatever the status.
pub fn raw(target: &Target, url: &str, headers: &[(&str, &str)], timeout_ms: u32) -> Result<Raw, CollectError> {
    let request = wire::Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: headers.iter().map(|(key, value)| Label { key: (*key).to_owned(), value: (*value).to_owned() }).collect(),
        body: None,
        credential: target.credential.clone(),
        timeout_ms: Some(timeout_ms),
    };
    let wire::Response { status, headers, body } = wire::send(&request).map_err(|e| failed(e, timeout_ms))?;
    Ok(Raw { status, headers, body })
}

/// Reads a URL of a target with the target's credential.
pub fn get(target: &Target, url: &str, accept: &str, timeout_ms: u32) -> Result<Answer, CollectError> {
    let raw = raw(target, url, &[("accept", accept)], timeout_ms)?;
    match raw.status {
        200..=299 => Ok(Answer { content_type: raw.header("content-type").map(str::to_owned), body: raw.body }),
        _ => Err(raw.refused()),
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
