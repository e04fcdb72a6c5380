//! What a plugin may ask of a BMC, and of which. Pure: nothing is looked up and nothing is sent here.
//!
//! The list holds what reads. A command that is not on it is refused, whoever asks: none on it changes what a server does, clears a
//! log, sets a sensor, a user or an address. The three `Reserve` commands only give a number that later reads show.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::address::{Reach, reach};
use super::crypto::Suite;

/// Port of RMCP.
const PORT: u16 = 623;
/// A reading command has few bytes of its own.
const MAX_DATA: usize = 32;
const DCMI: u8 = 0x2c;
/// What every DCMI command begins with.
const DCMI_GROUP: u8 = 0xdc;

/// Network function, command, and what it is.
const READS: [(u8, u8, &str); 39] = [
    (0x00, 0x00, "Get Chassis Capabilities"),
    (0x00, 0x01, "Get Chassis Status"),
    (0x00, 0x07, "Get System Restart Cause"),
    (0x00, 0x0f, "Get POH Counter"),
    (0x04, 0x20, "Get Device SDR Info"),
    (0x04, 0x21, "Get Device SDR"),
    (0x04, 0x22, "Reserve Device SDR Repository"),
    (0x04, 0x23, "Get Sensor Reading Factors"),
    (0x04, 0x25, "Get Sensor Hysteresis"),
    (0x04, 0x27, "Get Sensor Thresholds"),
    (0x04, 0x29, "Get Sensor Event Enable"),
    (0x04, 0x2b, "Get Sensor Event Status"),
    (0x04, 0x2d, "Get Sensor Reading"),
    (0x04, 0x2f, "Get Sensor Type"),
    (0x06, 0x01, "Get Device ID"),
    (0x06, 0x04, "Get Self Test Results"),
    (0x06, 0x08, "Get Device GUID"),
    (0x06, 0x25, "Get Watchdog Timer"),
    (0x06, 0x37, "Get System GUID"),
    (0x06, 0x59, "Get System Info Parameters"),
    (0x0a, 0x10, "Get FRU Inventory Area Info"),
    (0x0a, 0x11, "Read FRU Data"),
    (0x0a, 0x20, "Get SDR Repository Info"),
    (0x0a, 0x21, "Get SDR Repository Allocation Info"),
    (0x0a, 0x22, "Reserve SDR Repository"),
    (0x0a, 0x23, "Get SDR"),
    (0x0a, 0x28, "Get SDR Repository Time"),
    (0x0a, 0x40, "Get SEL Info"),
    (0x0a, 0x41, "Get SEL Allocation Info"),
    (0x0a, 0x42, "Reserve SEL"),
    (0x0a, 0x43, "Get SEL Entry"),
    (0x0a, 0x48, "Get SEL Time"),
    (0x0a, 0x5c, "Get SEL Time UTC Offset"),
    (DCMI, 0x01, "Get DCMI Capabilities"),
    (DCMI, 0x02, "Get Power Reading"),
    (DCMI, 0x03, "Get Power Limit"),
    (DCMI, 0x06, "Get Asset Tag"),
    (DCMI, 0x07, "Get DCMI Sensor Info"),
    (DCMI, 0x10, "Get Temperature Readings"),
];

/// A controller behind the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    pub channel: u8,
    pub address: u8,
}

/// One command, as a guest asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub bridge: Option<Bridge>,
    pub netfn: u8,
    pub lun: u8,
    pub cmd: u8,
    pub data: Vec<u8>,
}

/// What the session may do; no more is asked of the BMC than this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privilege {
    #[default]
    User,
    Operator,
    /// Some BMCs show power or events to nobody else.
    Administrator,
}

impl Privilege {
    pub(super) fn level(self) -> u8 {
        match self {
            Self::User => 2,
            Self::Operator => 3,
            Self::Administrator => 4,
        }
    }
}

impl std::fmt::Display for Privilege {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        })
    }
}

/// Where a BMC is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// A name in lower case, or an address in its usual spelling.
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why a command is not sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    #[error("{0:?} is no address of a BMC; allowed: ipmi://HOST or ipmi://HOST:PORT")]
    Address(String),
    #[error("{0} is never reached: {1}")]
    Never(Place, &'static str),
    #[error("{0:?} is no configured target of this plugin with an ipmi:// address and a credential")]
    Target(String),
    #[error("network function {0:#04x} command {1:#04x} is not among the reading commands")]
    Command(u8, u8),
    #[error("a DCMI command begins with its group, 0xdc")]
    Group,
    #[error("a reading command has at most {MAX_DATA} bytes; this has {0}")]
    Long(usize),
    #[error("logical unit {0}: there are 0 to 3")]
    Unit(u8),
    #[error("bridge to channel {0}, address {1:#04x}: channels are 0 to 11, addresses even")]
    Bridge(u8, u8),
}

impl Place {
    /// `ipmi://HOST[:PORT]`, nothing more.
    pub fn of(address: &str) -> Result<Self, Denied> {
        let bad = || Denied::Address(address.chars().take(200).collect());
        let rest = address.strip_prefix("ipmi://").ok_or_else(bad)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').map(|r| r.split_once(']').ok_or_else(bad)).transpose()? {
            Some((host, port)) => (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) }),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => PORT,
            Some(port) => port.parse().ok().filter(|p| *p != 0).ok_or_else(bad)?,
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            let place = Self { host: address.to_string(), port };
            return match reach(address) {
                Reach::Never(what) => Err(Denied::Never(place, what)),
                _ => Ok(place),
            };
        }
        let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        // What ends in a number is an address in a spelling of its own.
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let is_name = plain && host.len() <= 253 && last.starts_with(|c: char| c.is_ascii_alphabetic());
        is_name.then(|| Self { host: host.to_ascii_lowercase(), port }).ok_or_else(bad)
    }

    /// The address of a host that is none by name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Where a credential may be used: a place, or literal addresses on a port (`ipmi://10.0.0.0/16:623`).
pub fn binds(origin: &str, place: &Place) -> bool {
    if let Ok(bound) = Place::of(origin) {
        return bound == *place;
    }
    let range = || {
        let (network, rest) = origin.strip_prefix("ipmi://")?.split_once('/')?;
        let (bits, port) = rest.split_once(':').map_or((rest, Some(PORT)), |(bits, port)| (bits, port.parse().ok()));
        let network: IpAddr = network.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let bits: u32 = bits.parse().ok()?;
        let same = match (network, place.address()?) {
            (IpAddr::V4(n), IpAddr::V4(a)) if bits <= 32 => (u32::from(n) ^ u32::from(a)).checked_shr(32 - bits).unwrap_or(0) == 0,
            (IpAddr::V6(n), IpAddr::V6(a)) if bits <= 128 => (u128::from(n) ^ u128::from(a)).checked_shr(128 - bits).unwrap_or(0) == 0,
            _ => false,
        };
        Some(same && port? == place.port)
    };
    range().unwrap_or(false)
}

/// How one target's BMC is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmc {
    pub place: Place,
    /// Name of the credential.
    pub credential: String,
    pub privilege: Privilege,
    /// Those that may be used, strongest first.
    pub suites: Vec<Suite>,
}

/// The BMCs of a plugin's targets, by the target's id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    bmcs: BTreeMap<String, Bmc>,
}

impl Policy {
    /// Of each target's id and its BMC.
    pub fn new(bmcs: impl IntoIterator<Item = (String, Bmc)>) -> Self {
        Self { bmcs: bmcs.into_iter().collect() }
    }

    /// The BMC of a target.
    pub fn target(&self, id: &str) -> Result<&Bmc, Denied> {
        self.bmcs.get(id).ok_or_else(|| Denied::Target(id.chars().take(80).collect()))
    }
}

/// Whether a command only reads.
pub fn check(request: &Request) -> Result<(), Denied> {
    let Request { bridge, netfn, lun, cmd, data } = request;
    if !READS.iter().any(|(n, c, _)| (n, c) == (netfn, cmd)) {
        return Err(Denied::Command(*netfn, *cmd));
    }
    match bridge {
        Some(Bridge { channel, address }) if *channel > 11 || address % 2 != 0 => Err(Denied::Bridge(*channel, *address)),
        _ if *lun > 3 => Err(Denied::Unit(*lun)),
        _ if data.len() > MAX_DATA => Err(Denied::Long(data.len())),
        _ if *netfn == DCMI && data.first() != Some(&DCMI_GROUP) => Err(Denied::Group),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
