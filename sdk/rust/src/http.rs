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

/// Reads a URL of a target with the target's credential.
pub fn get(target: &Target, url: &str, accept: &str, timeout_ms: u32) -> Result<Answer, CollectError> {
    let request = wire::Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: vec![Label { key: "accept".to_owned(), value: accept.to_owned() }],
        body: None,
        credential: target.credential.clone(),
        timeout_ms: Some(timeout_ms),
    };
    let response = wire::send(&request).map_err(|e| failed(e, timeout_ms))?;
    let header = |name: &str| response.headers.iter().find(|h| h.key.eq_ignore_ascii_case(name)).map(|h| h.value.clone());
    match response.status {
        200..=299 => Ok(Answer { content_type: header("content-type"), body: response.body }),
        401 | 403 => Err(CollectError::Auth(format!("HTTP {}", response.status))),
        429 => Err(CollectError::Throttled(header("retry-after").and_then(|s| s.parse().ok()))),
        300..=399 => {
            Err(CollectError::Protocol(format!("HTTP {}: redirects are not followed; write the address that it leads to", response.status)))
        }
        500..=599 => Err(CollectError::Unreachable(format!("HTTP {}", response.status))),
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
