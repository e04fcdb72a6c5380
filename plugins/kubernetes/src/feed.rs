//! One resource of the API: its list in pages, then its watch from where the list ended.

use kcloud_collector_sdk::{CollectError, Target, clock, http};
use serde::de::DeserializeOwned;

use crate::objects::{Bare, Event, List, Read, Status};

/// Of one read; a watch is read until nothing more is there.
const READ_BYTES: u32 = 256 << 10;
/// What a line of a watch may have: an object has 1.5 MiB in etcd, and its text some more.
const MAX_LINE: usize = 8 << 20;
/// How long the first read of a call waits: what was sent between two calls is there already.
const FIRST_WAIT_MS: u32 = 30;
const WAIT_MS: u32 = 5;
/// A watch that the server should have ended, and this much later did not, has died on the way.
const GRACE_MS: u64 = 20_000;

/// A line of a watch.
pub enum Line<T> {
    /// Added or modified.
    Now(T),
    Gone(T),
}

/// Why a watch gives nothing more.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All that there is now was read.
    Idle,
    /// As much as was asked for; there may be more.
    Full,
    /// The version is too old: list anew.
    Expired,
}

/// Time of one call.
#[derive(Clone, Copy)]
pub struct Deadline(u64);

impl Deadline {
    pub fn new(left_ms: u32) -> Self {
        Self(clock::monotonic_ms() + u64::from(left_ms))
    }

    pub fn left_ms(self) -> u32 {
        u32::try_from(self.0.saturating_sub(clock::monotonic_ms())).unwrap_or(u32::MAX).max(1)
    }
}

pub struct Feed {
    path: &'static str,
    /// Which of them, as a parameter.
    selector: &'static str,
    accept: &'static str,
    /// Where the watch goes on.
    version: String,
    stream: Option<Open>,
}

struct Open {
    stream: http::Stream,
    opened_ms: u64,
    /// Of a line whose end has not come.
    rest: Vec<u8>,
}

/// What the API says of a whole object, and of its metadata alone.
pub const WHOLE: [&str; 2] = ["application/json", "application/json"];
pub const METADATA: [&str; 2] = [
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;q=0.5",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;q=0.5",
];

impl Feed {
    pub fn new(path: &'static str, accept: [&'static str; 2]) -> (Self, &'static str) {
        Self::selected(path, "", accept)
    }

    pub fn selected(path: &'static str, selector: &'static str, accept: [&'static str; 2]) -> (Self, &'static str) {
        (Self { path, selector, accept: accept[1], version: String::new(), stream: None }, accept[0])
    }

    /// One page of the list; the watch starts at the version of the first.
    pub fn page<T: DeserializeOwned>(
        &mut self,
        target: &Target,
        accept: &str,
        limit: u32,
        next: Option<&str>,
        deadline: Deadline,
    ) -> Result<(Vec<T>, Option<String>), CollectError> {
        let base = target.address.trim_end_matches('/');
        let more = next.map(|n| format!("&continue={}", encoded(n))).unwrap_or_default();
        let url = format!("{base}{}?{}&limit={limit}{more}", self.path, self.selector).replace("?&", "?");
        let answer = http::raw(target, &url, &[("accept", accept)], deadline.left_ms())?;
        if answer.status == 410 {
            return Err(CollectError::Unreachable(format!("{}: the list expired while it was read; it begins anew", self.path)));
        }
        let list: List<T> = answer.good().map_err(|e| at(self.path, e))?.json().map_err(|e| at(self.path, e))?;
        self.stream = None;
        self.version = list.metadata.resource_version;
        Ok((list.items.unwrap_or_default(), list.metadata.next.filter(|n| !n.is_empty())))
    }

    /// Hands out what the watch brought since it was last read; stops after `most` lines.
    pub fn read<T: Read>(
        &mut self,
        target: &Target,
        watch_seconds: u32,
        deadline: Deadline,
        most: usize,
        mut take: impl FnMut(Line<T>),
    ) -> Result<Stopped, CollectError> {
        let mut lines = 0;
        // Twice: the server ends a watch after its time, and the next goes on at once.
        for _ in 0..2 {
            if self.stream.as_ref().is_some_and(|s| clock::monotonic_ms() > s.opened_ms + u64::from(watch_seconds) * 1_000 + GRACE_MS) {
                self.stream = None;
            }
            let mut open = match self.stream.take() {
                Some(open) => open,
                None => match self.open(target, watch_seconds, deadline)? {
                    Some(open) => open,
                    None => return Ok(Stopped::Expired),
                },
            };
            let mut wait_ms = FIRST_WAIT_MS;
            loop {
                // Whole lines first: those that the last read left.
                let buffer = std::mem::take(&mut open.rest);
                let mut done = 0;
                while let Some(end) = buffer[done..].iter().position(|b| *b == b'\n').filter(|_| lines < most) {
                    let line = &buffer[done..done + end];
                    done += end + 1;
                    lines += 1;
                    match self.line(line, &mut take)? {
                        Said::GoOn => {}
                        Said::Expired => return Ok(Stopped::Expired),
                    }
                }
                open.rest = buffer[done..].to_vec();
                if lines >= most {
                    self.stream = Some(open);
                    return Ok(Stopped::Full);
                }
                if open.rest.len() > MAX_LINE {
                    return Err(at(self.path, CollectError::Protocol(format!("a line of the watch has more than {MAX_LINE} bytes"))));
                }
                match open.stream.read(READ_BYTES, wait_ms.min(deadline.left_ms())) {
                    Ok(Some(piece)) if piece.is_empty() => {
                        self.stream = Some(open);
                        return Ok(Stopped::Idle);
                    }
                    Ok(Some(piece)) => open.rest.extend(piece),
                    // Ended, broken, or its budget of bytes is used up: the next goes on from the last version.
                    Ok(None) | Err(_) => break,
                }
                wait_ms = WAIT_MS;
            }
        }
        Ok(Stopped::Idle)
    }

    /// Opens the watch; `None` when its version is too old.
    fn open(&self, target: &Target, watch_seconds: u32, deadline: Deadline) -> Result<Option<Open>, CollectError> {
        let base = target.address.trim_end_matches('/');
        let version = encoded(&self.version);
        let url = format!(
            "{base}{}?{}&watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={watch_seconds}",
            self.path, self.selector
        );
        let url = url.replace("?&", "?");
        let stream = http::open(target, &url, self.accept, deadline.left_ms())?;
        if stream.status() == 410 {
            return Ok(None);
        }
        let stream = stream.good().map_err(|e| at(self.path, e))?;
        Ok(Some(Open { stream, opened_ms: clock::monotonic_ms(), rest: Vec::new() }))
    }

    fn line<T: Read>(&mut self, line: &[u8], take: &mut impl FnMut(Line<T>)) -> Result<Said, CollectError> {
        let bad = |e: serde_json::Error| at(self.path, CollectError::Protocol(format!("a line of the watch: {e}")));
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Said::GoOn);
        }
        let Event { kind, object } = serde_json::from_slice(line).map_err(bad)?;
        match kind {
            "ERROR" => {
                let status: Status = serde_json::from_str(object.get()).map_err(bad)?;
                match status.code {
                    410 => Ok(Said::Expired),
                    code => Err(at(self.path, CollectError::Unreachable(format!("the watch says {code}: {}", status.message)))),
                }
            }
            "BOOKMARK" => {
                let mark: Bare = serde_json::from_str(object.get()).map_err(bad)?;
                self.version = mark.metadata.resource_version;
                Ok(Said::GoOn)
            }
            "ADDED" | "MODIFIED" | "DELETED" => {
                let object: T = serde_json::from_str(object.get()).map_err(bad)?;
                self.version.clone_from(&object.meta().resource_version);
                take(if kind == "DELETED" { Line::Gone(object) } else { Line::Now(object) });
                Ok(Said::GoOn)
            }
            other => Err(at(self.path, CollectError::Protocol(format!("the watch says {other:?}")))),
        }
    }
}

enum Said {
    GoOn,
    Expired,
}

/// Says of which resource it is.
fn at(path: &str, error: CollectError) -> CollectError {
    let of = |text: String| format!("{path}: {text}");
    match error {
        CollectError::Auth(text) => CollectError::Auth(of(text)),
        CollectError::Unreachable(text) => CollectError::Unreachable(of(text)),
        CollectError::Timeout(text) => CollectError::Timeout(of(text)),
        CollectError::Protocol(text) => CollectError::Protocol(of(text)),
        other => other,
    }
}

/// For a query: tokens of lists are base64.
fn encoded(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_passes_a_query_whole() {
        assert_eq!(encoded("eyJ2+/==a_b-c"), "eyJ2%2B%2F%3D%3Da_b-c");
    }
}
