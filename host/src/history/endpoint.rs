//! A Prometheus-compatible server that an operator named: with its credential and its TLS, never with its URL in an error.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Body, Method, Url};

use crate::plugins::capabilities::http::{HttpError, builder, explain};
use crate::plugins::capabilities::tls::Trust;
use crate::plugins::capabilities::{Credential, Secret};

/// Where it is and how it is spoken to.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    credential: Option<Credential>,
    trust: Option<Arc<Trust>>,
    timeout: Duration,
    plain: reqwest::Client,
}

/// What came back, its body cut off at a bound.
pub(crate) struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
    /// There was more of the body.
    pub is_cut: bool,
}

impl Endpoint {
    pub fn new(url: &str, credential: Option<Credential>, trust: Option<Arc<Trust>>, timeout: Duration) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|e| e.to_string())?;
        let plain = builder().build().map_err(|e| e.to_string())?;
        Ok(Self { url, credential, trust, timeout, plain })
    }

    /// The same server's other path, below the given one.
    pub(crate) fn below(&self, path: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        Self { url, ..self.clone() }
    }

    /// Posts a body, reads at most `most` bytes of the answer.
    pub(crate) async fn post(&self, headers: &[(&'static str, &str)], body: impl Into<Body>, most: usize) -> Result<Answer, HttpError> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|e| HttpError::Denied(format!("{name}: {e}")))?;
            all.insert(HeaderName::from_static(name), value);
        }
        self.send(all, body, most).await
    }

    /// The same with headers of any kind.
    pub(crate) async fn send(&self, mut all: HeaderMap, body: impl Into<Body>, most: usize) -> Result<Answer, HttpError> {
        if let Some(credential) = &self.credential {
            let Secret::Header(header) = &credential.secret else {
                return Err(HttpError::Denied("the credential is one with which the host logs in".to_owned()));
            };
            let (name, value) = header().map_err(HttpError::Denied)?;
            let bad = |_| HttpError::Denied("the credential holds what a header cannot".to_owned());
            let mut value = HeaderValue::from_str(&value).map_err(|e| bad(e.to_string()))?;
            value.set_sensitive(true);
            all.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.to_string()))?, value);
        }
        let client = match &self.trust {
            Some(trust) => trust.client().map_err(HttpError::Tls)?,
            None => self.plain.clone(),
        };
        let request = client.request(Method::POST, self.url.clone()).headers(all).body(body).timeout(self.timeout);
        let response = request.send().await.map_err(explain)?;
        let (status, retry_after) = (response.status().as_u16(), response.headers().get(RETRY_AFTER).and_then(retry_after));
        let (mut body, mut is_cut) = (Vec::new(), false);
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(explain)?;
            let room = most - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                is_cut = true;
                break;
            }
        }
        Ok(Answer { status, retry_after, body, is_cut })
    }
}

/// Seconds, or a date.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc2822).ok()?;
    let ms = at.unix_timestamp().saturating_mul(1_000) - crate::now_ms();
    Some(Duration::from_millis(ms.max(0) as u64))
}

/// The beginning of an answer as one line that a log can hold.
pub(crate) fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_when_to_come_again_in_seconds_or_as_a_date() {
        let of = |text: &'static str| retry_after(&HeaderValue::from_static(text));
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(of("Fri, 31 Dec 2099 23:59:59 GMT").is_some_and(|d| d > Duration::from_secs(3_600)));
        assert_eq!(of("soon"), None);
    }
}
