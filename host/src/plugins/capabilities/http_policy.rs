//! What a plugin may reach over HTTP. Pure: no name is looked up here and nothing is sent.

use std::net::IpAddr;

/// Origins (`scheme://host:port`) that a plugin may reach, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    origins: Vec<Origin>,
    ranges: Vec<Range>,
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

    /// Only of literal addresses: a name may lead elsewhere tomorrow.
    fn holds(&self, origin: &Origin) -> bool {
        let host = origin.host.trim_start_matches('[').trim_end_matches(']');
        let Ok(address) = host.parse::<IpAddr>() else { return false };
        let same = match (self.network, address) {
            (IpAddr::V4(n), IpAddr::V4(a)) => (u32::from(n) ^ u32::from(a)).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0,
            (IpAddr::V6(n), IpAddr::V6(a)) => (u128::from(n) ^ u128::from(a)).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0,
            _ => false,
        };
        // A wide range does not open the host itself or a metadata service.
        same && origin.port == self.port && address_allowed(host, address)
    }
}

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// Why a request is not sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    #[error("{0:?} is not a URL with http or https and a host")]
    NotAUrl(String),
    #[error("a URL must not carry user information; name a credential instead")]
    UserInformation,
    #[error("{0} is neither a target of this plugin nor an origin in its [grants] http")]
    Origin(String),
    #[error("method {0:?} is not granted; GET and HEAD are")]
    Method(String),
    #[error("header {0:?} is set by the host alone")]
    Header(String),
}

impl Origin {
    /// The origin of an absolute URL.
    pub fn of(url: &str) -> Result<Self, Denied> {
        let bad = || Denied::NotAUrl(url.chars().take(200).collect());
        let parsed = reqwest::Url::parse(url).map_err(|_| bad())?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(Denied::UserInformation);
        }
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad());
        }
        let host = parsed.host_str().ok_or_else(bad)?.to_ascii_lowercase();
        let port = parsed.port_or_known_default().ok_or_else(bad)?;
        Ok(Self { scheme: parsed.scheme().to_owned(), host, port })
    }

    /// The host as the operator wrote it.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl Policy {
    /// Allows the origins of what the operator wrote: targets' addresses, listed origins and ranges. What is neither allows
    /// nothing.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let mut policy = Self::default();
        for entry in entries {
            match (Range::parse(entry), Origin::of(entry)) {
                (Some(range), _) => policy.ranges.push(range),
                (None, Ok(origin)) => policy.origins.push(origin),
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

    /// Checks a request before anything is looked up or sent.
    pub fn check(&self, method: &str, url: &str, headers: &[(String, String)]) -> Result<Origin, Denied> {
        if !matches!(method, "GET" | "HEAD") {
            return Err(Denied::Method(method.chars().take(40).collect()));
        }
        for (name, _) in headers {
            let lower = name.to_ascii_lowercase();
            if matches!(
                lower.as_str(),
                "host" | "authorization" | "cookie" | "proxy-authorization" | "connection" | "content-length" | "transfer-encoding"
            ) {
                return Err(Denied::Header(name.clone()));
            }
        }
        let origin = Origin::of(url)?;
        match self.origins.contains(&origin) || self.ranges.iter().any(|r| r.holds(&origin)) {
            true => Ok(origin),
            false => Err(Denied::Origin(origin.to_string())),
        }
    }
}

/// Whether a name may lead to this address. Loopback only where the operator wrote it as such (a literal, `localhost`).
pub fn address_allowed(name: &str, address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    };
    if address.is_loopback() {
        return name == "localhost" || name.ends_with(".localhost");
    }
    match address {
        IpAddr::V4(a) => !(a.is_link_local() || a.is_multicast() || a.is_unspecified() || a.is_broadcast()),
        // fec0::/10 and fd00:ec2::254 (a metadata address in a private range) are not reached by name either.
        IpAddr::V6(a) => {
            let link_local = a.segments()[0] & 0xffc0 == 0xfe80;
            let metadata = a.segments()[..2] == [0xfd00, 0x0ec2];
            !(link_local || metadata || a.is_multicast() || a.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_written_origins_are_reached() {
        let p = Policy::new(["http://10.0.0.11:9400/metrics", "https://prom.example"]);
        for ok in ["http://10.0.0.11:9400/other", "https://prom.example:443/api", "https://PROM.example/x"] {
            assert!(p.check("GET", ok, &[]).is_ok(), "{ok}");
        }
        for bad in [
            "http://10.0.0.11:9401/metrics",
            "https://10.0.0.11:9400/",
            "http://prom.example/",
            "http://10.0.0.12:9400/",
            "ftp://10.0.0.11:9400/",
            "http://u:p@10.0.0.11:9400/",
            "metrics",
            "http://0xa00000b:9401/",
        ] {
            assert!(p.check("GET", bad, &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_opens_its_literal_addresses_on_its_port_and_no_name() {
        let p = Policy::new(["10.1.0.0/16:9400", "[fd12::]/16:9400", "0.0.0.0/0:80", "127.0.0.0/8:9400"]);
        for ok in ["http://10.1.255.3:9400/metrics", "https://10.1.0.1:9400/", "http://[fd12:1::2]:9400/", "http://8.8.8.8/"] {
            assert!(p.check("GET", ok, &[]).is_ok(), "{ok}");
        }
        for bad in [
            "http://10.2.0.1:9400/",
            "http://10.1.0.1:9401/",
            "http://worker1:9400/",
            "http://[fd13::1]:9400/",
            "http://169.254.169.254/",
            "http://127.0.0.1/",
            "http://127.0.0.1:9400/",
        ] {
            assert!(p.check("GET", bad, &[]).is_err(), "{bad}");
        }
        for bad in ["10.0.0.0/33:9400", "10.0.0.0/16", "10.0.0/16:1", "/16:1"] {
            assert!(Policy::entry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_credential_can_never_be_used_to_change_anything() {
        let p = Policy::new(["http://a:1"]);
        for method in ["POST", "DELETE", "PATCH", "PUT", "get", "GET /x HTTP/1.1\r\n"] {
            assert!(matches!(p.check(method, "http://a:1/", &[]), Err(Denied::Method(_))));
        }
        assert!(p.check("GET", "http://a:1/", &[("Authorization".into(), "x".into())]).is_err());
    }

    #[test]
    fn a_name_never_leads_to_the_host_itself_or_to_metadata() {
        let denied = [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "224.0.0.1",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "ff02::1",
        ];
        for address in denied {
            assert!(!address_allowed("prom.example", address.parse().unwrap()), "{address}");
        }
        for private in ["10.1.2.3", "192.168.1.1", "fd12::1", "8.8.8.8"] {
            assert!(address_allowed("bmc1", private.parse().unwrap()));
        }
        assert!(address_allowed("localhost", "127.0.0.1".parse().unwrap()));
    }
}
