//! One request at a time to one BMC, within the call's time. What fails is noted and the rest is read.

use kcloud_collector_sdk::CollectError;
use kcloud_collector_sdk::http::Raw;
use serde_json::Value;

use crate::value::{link, parse};

/// Kept for making the answer.
const RESERVE_MS: u64 = 300;
/// A BMC that is late so often in a row hangs.
const LATE: u32 = 2;
/// The root is answered to everybody.
const OPEN: u32 = 1;
/// Answers of 401 after which nothing more is asked.
const REFUSED: u32 = 3;
/// A collection's pages, and members of one.
const MAX_PAGES: usize = 64;
const MAX_MEMBERS: usize = 2_000;

/// How a BMC is reached; tests have their own.
pub(crate) trait Bmc {
    fn get(&mut self, url: &str, timeout_ms: u32) -> Result<Raw, CollectError>;

    /// Milliseconds of a clock that never goes back.
    fn now_ms(&self) -> u64;
}

/// Why there is no document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is none: no link, or 404 where it leads.
    Absent,
    /// It may be there; the failure is noted.
    Failed,
}

pub(crate) struct Service<'a> {
    bmc: &'a mut dyn Bmc,
    origin: String,
    end_ms: u64,
    request_ms: u32,
    /// The query that puts members into their collection, where the service offers it.
    expand: Option<&'static str>,
    late: u32,
    /// Documents that were answered, and answers of 401 to others.
    answered: u32,
    refused: u32,
    /// Nothing more is asked: why.
    stopped: Option<CollectError>,
    unread: usize,
    failures: Vec<CollectError>,
}

impl<'a> Service<'a> {
    pub(crate) fn new(bmc: &'a mut dyn Bmc, address: &str, deadline_ms: u32, request_ms: u32) -> Self {
        let end_ms = bmc.now_ms() + u64::from(deadline_ms);
        let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
        let origin = format!("{scheme}://{}", rest.split('/').next().unwrap_or(rest));
        Self {
            bmc,
            origin,
            end_ms,
            request_ms,
            expand: None,
            late: 0,
            answered: 0,
            refused: 0,
            stopped: None,
            unread: 0,
            failures: Vec::new(),
        }
    }

    /// The address of the BMC, without scheme and port.
    pub(crate) fn host(&self) -> &str {
        let authority = self.origin.split_once("://").map_or("", |(_, a)| a);
        match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
            Some((address, _)) => address,
            None => authority.split(':').next().unwrap_or(authority),
        }
    }

    /// What failed, the first of it first.
    pub(crate) fn failures(mut self) -> Vec<CollectError> {
        if let Some(why) = self.stopped.take() {
            self.failures.push(CollectError::Protocol(format!("{why}; {} resources were not asked for", self.unread)));
        }
        self.failures
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.failures.is_empty() || self.stopped.is_some()
    }

    pub(crate) fn failure_count(&self) -> usize {
        self.failures.len() + self.unread
    }

    pub(crate) fn problem(&mut self, error: CollectError) {
        self.failures.push(error);
    }

    /// The service's root; whether it expands is taken from it. Its failure is the target's.
    pub(crate) fn root(&mut self) -> Result<Value, CollectError> {
        let root = match self.fetch("/redfish/v1/") {
            Err(Fault::Absent) => self.fetch("/redfish/v1"),
            other => other,
        };
        let root = root.map_err(|fault| match fault {
            Fault::Absent => CollectError::Protocol("there is no Redfish service: /redfish/v1 is not found".to_owned()),
            Fault::Stopped => CollectError::Timeout("no time is left".to_owned()),
            Fault::Error(error) => error,
        })?;
        let offered = &root["ProtocolFeaturesSupported"]["ExpandQuery"];
        let is = |key: &str| offered[key].as_bool() == Some(true);
        self.expand = match (is("NoLinks"), is("ExpandAll"), is("Levels")) {
            (true, _, true) => Some("?$expand=.($levels=1)"),
            (true, _, false) => Some("?$expand=."),
            (false, true, true) => Some("?$expand=*($levels=1)"),
            (false, true, false) => Some("?$expand=*"),
            (false, false, _) => None,
        };
        Ok(root)
    }

    /// A document by its path.
    pub(crate) fn get(&mut self, path: &str) -> Result<Value, Miss> {
        match self.fetch(path) {
            Ok(value) => Ok(value),
            Err(Fault::Absent) => Err(Miss::Absent),
            Err(Fault::Stopped) => Err(Miss::Failed),
            Err(Fault::Error(error)) => {
                self.failures.push(at(path, error));
                Err(Miss::Failed)
            }
        }
    }

    /// The document that a property links to; itself where the service has put it there.
    pub(crate) fn follow(&mut self, of: &Value, name: &str) -> Result<Value, Miss> {
        match (&of[name], link(&of[name])) {
            (whole, _) if is_whole(whole) => Ok(whole.clone()),
            (_, Some(path)) => self.get(path),
            _ => Err(Miss::Absent),
        }
    }

    /// The members of the collection that a property links to. `wanted` says of a member's path whether it is needed.
    pub(crate) fn members(&mut self, of: &Value, name: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Value>, Miss> {
        let (mut found, mut listed) = (Vec::new(), Vec::new());
        let mut page =
            if of[name]["Members"].is_array() { of[name].clone() } else { self.first_page(link(&of[name]).ok_or(Miss::Absent)?)? };
        for _ in 0..MAX_PAGES {
            let Some(members) = page["Members"].as_array_mut() else {
                let path = link(&page).unwrap_or(name).to_owned();
                self.failures.push(at(&path, CollectError::Protocol("a collection without members".to_owned())));
                return Err(Miss::Failed);
            };
            listed.append(members);
            let Some(next) = link(&page["Members@odata.nextLink"]).map(str::to_owned) else { break };
            page = self.get(&next)?;
        }
        if listed.len() > MAX_MEMBERS {
            self.failures.push(CollectError::Protocol(format!("{name}: {} members; the first {MAX_MEMBERS} are read", listed.len())));
            listed.truncate(MAX_MEMBERS);
        }
        for member in listed {
            match link(&member).map(str::to_owned) {
                _ if is_whole(&member) => found.push(member),
                Some(path) if wanted(&path) => match self.get(&path) {
                    Ok(value) => found.push(value),
                    Err(Miss::Absent) => self.failures.push(at(&path, CollectError::Protocol("a member that is not found".to_owned()))),
                    Err(Miss::Failed) => {}
                },
                Some(_) => {}
                None => self.failures.push(CollectError::Protocol(format!("{name}: a member without a link"))),
            }
        }
        Ok(found)
    }

    fn first_page(&mut self, path: &str) -> Result<Value, Miss> {
        if let Some(query) = self.expand {
            match self.fetch(&format!("{path}{query}")) {
                Ok(page) => return Ok(page),
                Err(Fault::Stopped) => return Err(Miss::Failed),
                Err(Fault::Error(CollectError::Timeout(_))) if self.stopped.is_some() => return Err(Miss::Failed),
                // Offered and not kept: one by one for the rest of this read.
                Err(_) => self.expand = None,
            }
        }
        self.get(path)
    }

    fn fetch(&mut self, path: &str) -> Result<Value, Fault> {
        let mut raw = self.ask(path)?;
        if matches!(raw.status, 301 | 302 | 307 | 308)
            && let Some(other) = raw.header("location").and_then(|to| with_other_slash(path, to))
        {
            raw = self.ask(&other)?;
        }
        match raw.status {
            200..=299 => parse(&raw.body).map_err(|e| Fault::Error(CollectError::Protocol(format!("broken JSON: {e}")))),
            404 | 410 => Err(Fault::Absent),
            403 => Err(Fault::Error(CollectError::Denied("HTTP 403: the account lacks a privilege".to_owned()))),
            _ => Err(Fault::Error(raw.refused())),
        }
    }

    fn ask(&mut self, path: &str) -> Result<Raw, Fault> {
        let left = self.end_ms.saturating_sub(self.bmc.now_ms() + RESERVE_MS);
        if self.stopped.is_none() && left == 0 {
            self.stopped = Some(CollectError::Timeout("the call's time is over".to_owned()));
        }
        if self.stopped.is_some() {
            self.unread += 1;
            return Err(Fault::Stopped);
        }
        // What stands after # is a place in the document.
        let path = path.split('#').next().unwrap_or(path);
        let answer = self.bmc.get(&format!("{}{path}", self.origin), left.min(u64::from(self.request_ms)) as u32);
        let is_late = matches!(answer, Err(CollectError::Timeout(_)));
        self.late = if is_late { self.late + 1 } else { 0 };
        let error = match answer {
            Ok(raw) if raw.status == 401 => {
                self.refused += 1;
                // Some say 401 to what an account may not see. A credential that nothing was answered to is not tried on everything.
                if self.answered > OPEN && self.refused < REFUSED {
                    return Err(Fault::Error(raw.refused()));
                }
                raw.refused()
            }
            Ok(raw) if raw.status == 429 => raw.refused(),
            Ok(raw) => {
                self.answered += u32::from(raw.status < 300);
                return Ok(raw);
            }
            Err(error) => error,
        };
        if self.late >= LATE || !matches!(error, CollectError::Timeout(_) | CollectError::Protocol(_)) {
            self.stopped = Some(error.clone());
        }
        Err(Fault::Error(error))
    }
}

/// The same path with, or without, its final slash, where that is all that a redirect changes.
fn with_other_slash(path: &str, to: &str) -> Option<String> {
    let (path, query) = path.split_once('?').map_or((path, String::new()), |(path, query)| (path, format!("?{query}")));
    let (to, bare) = (to.split('?').next()?, path.trim_end_matches('/'));
    let is_same = to.trim_end_matches('/').ends_with(bare) && to.ends_with('/') != path.ends_with('/');
    is_same.then(|| if path.ends_with('/') { format!("{bare}{query}") } else { format!("{bare}/{query}") })
}

enum Fault {
    Absent,
    Stopped,
    Error(CollectError),
}

/// Whether a value is more than a link.
fn is_whole(value: &Value) -> bool {
    value.as_object().is_some_and(|o| o.keys().any(|key| !key.starts_with('@')))
}

fn at(path: &str, error: CollectError) -> CollectError {
    use CollectError::{Auth, Config, Denied, Internal, Protocol, Throttled, Timeout, Unreachable, Unsupported};
    let said = |why: String| format!("{path}: {why}");
    match error {
        Config(why) => Config(said(why)),
        Auth(why) => Auth(said(why)),
        Denied(why) => Denied(said(why)),
        Unreachable(why) => Unreachable(said(why)),
        Timeout(why) => Timeout(said(why)),
        Throttled(seconds) => Throttled(seconds),
        Protocol(why) => Protocol(said(why)),
        Unsupported(why) => Unsupported(said(why)),
        Internal(why) => Internal(said(why)),
    }
}
