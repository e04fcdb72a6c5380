//! What a plugin may reach over HTTP, with which methods and headers. Pure: no name is looked up here and nothing is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::address::{Reach, reach};
use super::tls::Trust;

const MAX_URL: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// Sum of a request's header names and values.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Origins (`scheme://host:port`) that a plugin may reach, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// Each with the trust that its TLS needs.
    origins: BTreeMap<Origin, Option<Arc<Trust>>>,
    ranges: Vec<Range>,
    methods: BTreeSet<(String, Origin, String)>,
    /// Of origins without one of their own.
    trust: Option<Arc<Trust>>,
}

/// Addresses with one port, as `10.0.0.0/16:9400` or `[fd00::]/8:9400`: for targets that a plugin finds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    network: IpAddr,
    bits: u8,
    port: u16,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (network, rest) = text.split_once('/')?;
        let (bits, port) = rest.split_once(':')?;
        let network: IpAddr = network.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let (bits, port) = (bits.parse().ok()?, port.parse().ok()?);
        let most = if network.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { network, bits, port })
    }

    /// Only of literal addresses: a name may lead elsewhere tomorrow. A wide range does not open the host itself.
    fn holds(&self, origin: &Origin) -> bool {
        let Some(address) = origin.address() else { return false };
        let same = match (self.network, address) {
            (IpAddr::V4(n), IpAddr::V4(a)) => (u32::from(n) ^ u32::from(a)).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0,
            (IpAddr::V6(n), IpAddr::V6(a)) => (u128::from(n) ^ u128::from(a)).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0,
            _ => false,
        };
        same && origin.port == self.port && reach(address) == Reach::Open
    }
}

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// Why a request is not sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    #[error("{0:?} is not a URL with http or https and a host, of at most {MAX_URL} bytes")]
    NotAUrl(String),
    #[error("a URL must not carry user information; name a credential instead")]
    UserInformation,
    #[error("{0} is neither a target of this plugin nor an origin in its [grants] http")]
    Origin(String),
    #[error("{0} is never reached: {1}")]
    Address(String, &'static str),
    #[error("{0} is not granted; GET and HEAD are, and what [grants] http_methods lists")]
    Method(String),
    #[error(
        "{0:?} is not a method with a URL, such as \"POST https://bmc1/redfish/v1/SessionService/Sessions\": POST, PUT, PATCH or DELETE; a path of plain segments, the last of which may be *; no query"
    )]
    Grant(String),
    #[error("header {0:?} is set by the host alone")]
    Header(String),
    #[error("header {0:?} has a name or a value that no header can have")]
    BadHeader(String),
    #[error("more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them")]
    Headers,
    #[error("a query must not change the method")]
    Override,
}

/// A request that may be sent, in the only spelling that is sent.
#[derive(Debug)]
pub struct Approved {
    pub method: Method,
    pub url: Url,
    pub origin: Origin,
    pub headers: HeaderMap,
    pub trust: Option<Arc<Trust>>,
}

impl Origin {
    /// The origin of an absolute URL.
    pub fn of(url: &str) -> Result<Self, Denied> {
        parse(url).map(|(_, origin)| origin)
    }

    /// The address of a host that is none by name. The URL's parser has brought every spelling into one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    pub fn is_https(&self) -> bool {
        self.scheme == "https"
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

fn parse(text: &str) -> Result<(Url, Origin), Denied> {
    let bad = || Denied::NotAUrl(short(text));
    if text.len() > MAX_URL {
        return Err(bad());
    }
    let url = Url::parse(text).map_err(|_| bad())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Denied::UserInformation);
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    let host = url.host_str().ok_or_else(bad)?.to_ascii_lowercase();
    let port = url.port_or_known_default().ok_or_else(bad)?;
    let origin = Origin { scheme: url.scheme().to_owned(), host, port };
    match origin.address().map(reach) {
        Some(Reach::Never(what)) => Err(Denied::Address(origin.to_string(), what)),
        _ => Ok((url, origin)),
    }
}

/// Whether a path has one spelling only: nothing encoded, no empty or dot segment, nothing that a server reads in its own way.
fn is_plain(path: &str) -> bool {
    let mut segments = path.split('/').skip(1).peekable();
    let mut plain = path.starts_with('/');
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let known = segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~:@=+,()-".contains(&b));
        plain &= known && !matches!(segment, "." | "..") && (last || !segment.is_empty());
    }
    plain
}

/// Headers that are the host's, that only one hop reads, or that make a server see another method, path, caller or host.
fn is_hosts(name: &str) -> bool {
    // Servers that hand headers on as variables take `_` for `-`.
    let name = name.to_ascii_lowercase().replace('_', "-");
    let exact = matches!(
        name.as_str(),
        "host"
            | "authorization"
            | "cookie"
            | "cookie2"
            | "connection"
            | "content-length"
            | "transfer-encoding"
            | "upgrade"
            | "te"
            | "trailer"
            | "expect"
            | "keep-alive"
            | "http2-settings"
            | "forwarded"
            | "via"
            | "x-real-ip"
            | "x-host"
            | "x-original-url"
            | "x-original-host"
            | "x-original-method"
            | "x-rewrite-url"
            | "x-method"
            | "x-method-override"
            | "x-http-method"
            | "x-http-method-override"
    );
    exact || ["proxy-", "x-forwarded", "x-remote-", "impersonate-", "sec-"].iter().any(|p| name.starts_with(p))
}

fn header_map(given: &[(String, String)]) -> Result<HeaderMap, Denied> {
    if given.len() > MAX_HEADERS || given.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > MAX_HEADER_BYTES {
        return Err(Denied::Headers);
    }
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        if is_hosts(name) {
            return Err(Denied::Header(short(name)));
        }
        let bad = || Denied::BadHeader(short(name));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        headers.append(key, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    Ok(headers)
}

impl Policy {
    /// Allows the origins of what the operator wrote: targets' addresses, listed origins and ranges. What is neither allows
    /// nothing.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let mut policy = Self::default();
        for entry in entries {
            match (Range::parse(entry), Origin::of(entry)) {
                (Some(range), _) => policy.ranges.push(range),
                (None, Ok(origin)) => drop(policy.origins.insert(origin, None)),
                (None, Err(_)) => {}
            }
        }
        policy
    }

    /// Whether an entry of a list says something.
    pub fn entry(text: &str) -> Result<(), Denied> {
        match Range::parse(text) {
            Some(_) => Ok(()),
            None => Origin::of(text).map(drop),
        }
    }

    /// Trust for one origin that is allowed already, or for all that have none of their own. `false` when the origin has another.
    pub fn trust(&mut self, origin: Option<&Origin>, trust: Arc<Trust>) -> bool {
        let place = match origin {
            Some(origin) => self.origins.entry(origin.clone()).or_default(),
            None => &mut self.trust,
        };
        let agrees = place.as_ref().is_none_or(|known| *known == trust);
        *place = Some(trust);
        agrees
    }

    /// Allows a method on one path of an origin that is allowed already, or on what lies right below a path (`/*`).
    pub fn allow_method(&mut self, text: &str) -> Result<(), Denied> {
        let bad = || Denied::Grant(short(text));
        let (method, url) = text.split_once(' ').ok_or_else(bad)?;
        let (url, origin) = parse(url)?;
        let path = url.path();
        let is_known = matches!(method, "POST" | "PUT" | "PATCH" | "DELETE");
        if !is_known || !is_plain(path.strip_suffix('*').unwrap_or(path)) || url.query().is_some() || url.fragment().is_some() {
            return Err(bad());
        }
        if path.ends_with('*') && !path.ends_with("/*") {
            return Err(bad());
        }
        if !self.origins.contains_key(&origin) {
            return Err(Denied::Origin(origin.to_string()));
        }
        self.methods.insert((method.to_owned(), origin, path.to_owned()));
        Ok(())
    }

    /// Checks a request before anything is looked up or sent.
    pub fn check(&self, method: &str, url: &str, headers: &[(String, String)]) -> Result<Approved, Denied> {
        let headers = header_map(headers)?;
        let (url, origin) = parse(url)?;
        let trust = match self.origins.get(&origin) {
            Some(trust) => trust.as_ref(),
            None if self.ranges.iter().any(|r| r.holds(&origin)) => None,
            None => return Err(Denied::Origin(origin.to_string())),
        };
        let trust = trust.or(self.trust.as_ref()).filter(|_| origin.is_https()).cloned();
        if url.query_pairs().any(|(key, _)| key.eq_ignore_ascii_case("_method")) {
            return Err(Denied::Override);
        }
        let method = match method {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            other if self.grants(other, &origin, url.path()) => {
                Method::from_bytes(other.as_bytes()).map_err(|_| Denied::Method(short(other)))?
            }
            other => return Err(Denied::Method(format!("{:?} {origin}{}", short(other), short(url.path())))),
        };
        Ok(Approved { method, url, origin, headers, trust })
    }

    fn grants(&self, method: &str, origin: &Origin, path: &str) -> bool {
        let listed = |path: String| self.methods.contains(&(method.to_owned(), origin.clone(), path));
        let below = || path.rsplit_once('/').is_some_and(|(head, last)| !last.is_empty() && listed(format!("{head}/*")));
        is_plain(path) && (listed(path.to_owned()) || below())
    }
}

#[cfg(test)]
#[path = "http_policy_tests.rs"]
mod tests;
