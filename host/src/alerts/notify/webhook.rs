//! A webhook: each change once, in order, in batches, signed where a secret is given.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Notify;

use super::{Caller, Counts, Hear, News, Outcome, view};
use crate::inventory::Severity;

/// Changes that wait; beyond it the oldest are dropped and counted.
const MOST_WAITING: usize = 20_000;
/// Changes of one request.
const BATCH: usize = 200;
const SIGNATURE: HeaderName = HeaderName::from_static("x-kcloud-signature");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-kcloud-timestamp");

#[derive(Clone)]
pub struct WebhookSpec {
    /// Read at each use.
    pub secret_file: Option<PathBuf>,
    pub least: Severity,
}

pub(super) struct Queue {
    spec: WebhookSpec,
    waiting: Mutex<VecDeque<News>>,
    more: Notify,
    counts: Arc<Counts>,
}

impl Queue {
    pub(super) fn new(spec: WebhookSpec, counts: Arc<Counts>) -> Self {
        Self { spec, waiting: Mutex::default(), more: Notify::new(), counts }
    }

    fn change<T>(&self, work: impl FnOnce(&mut VecDeque<News>) -> T) -> T {
        let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        let done = work(&mut waiting);
        self.counts.waiting.store(waiting.len() as u64, Ordering::Relaxed);
        done
    }
}

impl Hear for Queue {
    fn hear(&self, news: &[News]) {
        let told = news.iter().filter(|(change, a)| a.severity >= self.spec.least && super::is_heard(*change, a));
        let dropped = self.change(|waiting| {
            waiting.extend(told.cloned());
            let over = waiting.len().saturating_sub(MOST_WAITING);
            waiting.drain(..over);
            over
        });
        self.counts.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        self.more.notify_one();
    }
}

pub(super) async fn run(queue: Arc<Queue>, mut caller: Caller) {
    loop {
        let batch: Vec<News> = queue.change(|waiting| waiting.drain(..waiting.len().min(BATCH)).collect());
        if batch.is_empty() {
            queue.more.notified().await;
            continue;
        }
        let alerts: Vec<Value> = batch
            .iter()
            .map(|(change, alert)| {
                let mut out = view(alert);
                out["type"] = json!(change);
                out
            })
            .collect();
        let body = json!({ "version": 1, "alerts": alerts }).to_string().into_bytes();
        loop {
            let headers = match headers(queue.spec.secret_file.as_deref(), &body, crate::now_ms()) {
                Ok(headers) => headers,
                Err(error) => {
                    // Unsigned, it would be taken for somebody else's: it waits until the secret can be read.
                    if caller.may_speak() {
                        tracing::error!(notifier = caller.name, error, "alerts are not sent: their secret cannot be used");
                    }
                    tokio::time::sleep(super::PAUSES.0 * 5).await;
                    continue;
                }
            };
            match caller.call(headers, body.clone(), batch.len() as u64).await {
                Outcome::Taken | Outcome::Refused => break,
                Outcome::Later(pause) => tokio::time::sleep(pause).await,
            }
        }
    }
}

/// `x-kcloud-signature: sha256=HEX` is the HMAC of `TIMESTAMP.BODY`, so that an old request is told from a new one.
fn headers(secret: Option<&std::path::Path>, body: &[u8], now_ms: i64) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Some(path) = secret else { return Ok(headers) };
    let secret = std::fs::read_to_string(path).map_err(|e| format!("secret_file: {}", e.kind()))?;
    let secret = secret.trim_end();
    if secret.is_empty() {
        return Err("secret_file is empty".to_owned());
    }
    let stamp = (now_ms / 1_000).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|e| e.to_string())?;
    mac.update(stamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let value = |text: String| HeaderValue::from_str(&text).map_err(|e| e.to_string());
    headers.insert(TIMESTAMP, value(stamp)?);
    headers.insert(SIGNATURE, value(format!("sha256={hex}"))?);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_openssl_makes_of_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let made = headers(Some(file.path()), b"{}", 1_000_000).unwrap();
        // printf '1000.{}' | openssl dgst -sha256 -hmac secret
        assert_eq!(made[SIGNATURE], "sha256=026360fb6284f077f1148b1ae7c62679730497810a6a0321574de01e8b009e7a");
        assert_eq!(made[TIMESTAMP], "1000");
        std::fs::write(file.path(), "\n").unwrap();
        assert!(headers(Some(file.path()), b"{}", 0).unwrap_err().contains("empty"));
        assert!(headers(Some("/no/such".as_ref()), b"{}", 0).unwrap_err().contains("not found"));
        assert!(headers(None, b"{}", 0).unwrap().get(SIGNATURE).is_none());
    }
}
