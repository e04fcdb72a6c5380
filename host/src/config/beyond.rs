//! `[history]` beyond the host: where remote write goes, and which engine answers for the past.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Bytes, Config, CredentialKind, Period};
use crate::history::{Endpoint, remote};
use crate::plugins::capabilities::http_policy::Origin;
use crate::plugins::capabilities::tls::Trust;

/// Labels that every series has already.
const OWN: [&str; 4] = ["__name__", "cluster", "id", "kind"];

/// Which engine answers reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    #[default]
    Embedded,
    Prometheus,
}

/// `[history.remote_write]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteWriteConfig {
    pub url: String,
    pub credential: Option<String>,
    pub tls: Option<String>,
    /// Put on every series.
    pub labels: BTreeMap<String, String>,
    /// Points are gathered for this long.
    pub batch: Period,
    pub timeout: Period,
    /// What waits may take this much of the disk.
    pub max_bytes: Bytes,
}

/// `[history.prometheus]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// The base below which `/api/v1/query_range` lies.
    pub url: String,
    pub credential: Option<String>,
    pub tls: Option<String>,
    /// Stand in every query.
    pub labels: BTreeMap<String, String>,
    pub timeout: Period,
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            credential: None,
            tls: None,
            labels: BTreeMap::new(),
            batch: Period(Duration::from_secs(5)),
            timeout: Period(Duration::from_secs(30)),
            max_bytes: Bytes(1 << 30),
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { url: String::new(), credential: None, tls: None, labels: BTreeMap::new(), timeout: Period(Duration::from_secs(10)) }
    }
}

fn label_problem((name, value): (&String, &String)) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match () {
        _ if OWN.contains(&name.as_str()) => Some(format!("labels: every series has a {name:?} of its own")),
        _ if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with("__") || !name.chars().all(is_name) => {
            Some(format!("labels: {name:?} is no label name; allowed: letters, digits, _, not a digit or __ first"))
        }
        _ if value.is_empty() => Some(format!("labels: {name:?} is empty")),
        _ => None,
    }
}

/// What a section says of a server.
pub(super) struct Server<'a> {
    pub url: &'a str,
    pub credential: Option<&'a String>,
    pub tls: Option<&'a String>,
    pub labels: &'a BTreeMap<String, String>,
    pub timeout: Duration,
}

impl Server<'_> {
    pub(super) fn problem(&self, config: &Config) -> Option<String> {
        if self.url.is_empty() {
            return Some("url is missing".to_owned());
        }
        let origin = match Origin::of(self.url) {
            Ok(origin) => origin,
            Err(error) => return Some(format!("url: {error}")),
        };
        if let Some(problem) = self.labels.iter().find_map(label_problem) {
            return Some(problem);
        }
        let spec = match self.tls {
            Some(name) if !origin.is_https() => return Some(format!("tls = {name:?} is for an address with https")),
            Some(name) => match config.tls.get(name) {
                Some(spec) => Some(spec),
                None => return Some(format!("no [tls.{name}] is configured")),
            },
            None => None,
        };
        let name = self.credential?;
        match config.credentials.get(name) {
            None => Some(format!("no [credentials.{name}] is configured")),
            Some(c) if !c.origins.iter().any(|o| Origin::of(o).is_ok_and(|o| o == origin)) => {
                Some(format!("credential {name:?} is not bound to {origin}; its origins say where it may go"))
            }
            Some(c) if c.kind != CredentialKind::Header => Some(format!(
                "credential {name:?} is one with which the host logs in; this address takes a header's (bearer_file, or username and password_file)"
            )),
            Some(_) if spec.is_some_and(|s| s.insecure) => {
                Some(format!("credential {name:?} is not sent over an insecure tls; pin_sha256 makes it sure"))
            }
            Some(_) => None,
        }
    }

    pub(super) fn endpoint(&self, config: &Config) -> Result<Endpoint, String> {
        let credential = self.credential.and_then(|name| Some(config.credentials.get(name)?.attach(name, None)));
        let trust = self.tls.and_then(|name| Some(Arc::new(Trust::new(name, config.tls.get(name)?.clone()))));
        Endpoint::new(self.url, credential, trust, self.timeout)
    }
}

impl RemoteWriteConfig {
    fn server(&self) -> Server<'_> {
        let Self { url, labels, timeout, .. } = self;
        Server { url, credential: self.credential.as_ref(), tls: self.tls.as_ref(), labels, timeout: timeout.0 }
    }
}

impl EngineConfig {
    fn server(&self) -> Server<'_> {
        let Self { url, labels, timeout, .. } = self;
        Server { url, credential: self.credential.as_ref(), tls: self.tls.as_ref(), labels, timeout: timeout.0 }
    }
}

impl Config {
    /// What is wrong with `[history]` beyond the host.
    pub(super) fn beyond_problem(&self) -> Option<String> {
        let h = &self.history;
        let of = |section: &str, server: Server<'_>| server.problem(self).map(|p| format!("[history.{section}] {p}"));
        if let Some(problem) = h.remote_write.as_ref().and_then(|r| of("remote_write", r.server())) {
            return Some(problem);
        }
        match (h.backend, &h.prometheus) {
            (Backend::Prometheus, None) => Some("[history] backend = \"prometheus\" needs [history.prometheus] with its url".to_owned()),
            (_, Some(engine)) => of("prometheus", engine.server()),
            (Backend::Embedded, None) => None,
        }
    }

    /// How history leaves, and the server that answers for the past with the matchers of each query.
    pub fn beyond(&self) -> Result<crate::host::Beyond, String> {
        let h = &self.history;
        let remote_write = match &h.remote_write {
            Some(r) => Some(remote::Settings {
                endpoint: r.server().endpoint(self)?,
                labels: r.labels.clone(),
                max_bytes: r.max_bytes.0 as u64,
                batch: r.batch.0,
            }),
            None => None,
        };
        let engine = match &h.prometheus {
            Some(e) if h.backend == Backend::Prometheus => Some((e.server().endpoint(self)?, e.labels.clone())),
            _ => None,
        };
        Ok(crate::host::Beyond { remote_write, engine })
    }
}
