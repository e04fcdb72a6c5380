//! A UDP socket to one BMC. Sends, waits a bounded time for what is taken as an answer, sends again.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::super::address::name_leads_to;
use super::IpmiError;
use super::policy::Place;

/// No packet of RMCP+ that a reading command brings is longer; what is, fails its signature.
const BUFFER: usize = 2 << 10;

pub(super) struct Link {
    pub(super) socket: UdpSocket,
    buffer: Box<[u8; BUFFER]>,
}

impl Link {
    /// Looks the place up and binds a socket that hears this BMC alone.
    pub(super) async fn to(place: &Place, until: Instant) -> Result<Self, IpmiError> {
        let failed = |what: &str, e: std::io::Error| IpmiError::Unreachable(format!("{place}: {what}: {e}"));
        let address = match place.address() {
            Some(address) => SocketAddr::new(address, place.port),
            None => {
                let look_up = tokio::net::lookup_host((place.host.as_str(), place.port));
                let found = timeout_at(until.into(), look_up).await.map_err(|_| IpmiError::Timeout)?;
                let mut found = found.map_err(|e| failed("name look-up", e))?;
                let astray = || {
                    let what = "leads only to addresses that a name may not lead to (loopback, link-local, metadata, multicast)";
                    IpmiError::Denied(format!("{:?} {what}", place.host))
                };
                found.find(|a| name_leads_to(&place.host, a.ip())).ok_or_else(astray)?
            }
        };
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await.map_err(|e| IpmiError::Unreachable(format!("no socket: {e}")))?;
        socket.connect(address).await.map_err(|e| failed("no route", e))?;
        Ok(Self { socket, buffer: Box::new([0; BUFFER]) })
    }

    /// Sends once for each of `waits`, which is how long an answer may take. What `accept` does not take is not for us.
    pub(super) async fn ask<T>(
        &mut self,
        waits: &[Duration],
        until: Instant,
        mut packet: impl FnMut() -> Vec<u8>,
        mut accept: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T, IpmiError> {
        for wait in waits {
            let by = until.min(Instant::now() + *wait);
            self.socket.send(&packet()).await.map_err(lost)?;
            // An answer that came just in time counts, so that a host that is late itself blames nobody.
            while let Ok(received) = timeout_at(by.into(), self.socket.recv(&mut self.buffer[..])).await {
                if let Some(answer) = accept(&self.buffer[..received.map_err(lost)?]) {
                    return Ok(answer);
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        Err(IpmiError::Timeout)
    }

    /// Waits for one more answer without sending.
    pub(super) async fn hear<T>(
        &mut self,
        wait: Duration,
        until: Instant,
        mut accept: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T, IpmiError> {
        let by = until.min(Instant::now() + wait);
        while let Ok(received) = timeout_at(by.into(), self.socket.recv(&mut self.buffer[..])).await {
            if let Some(answer) = accept(&self.buffer[..received.map_err(lost)?]) {
                return Ok(answer);
            }
        }
        Err(IpmiError::Timeout)
    }
}

/// What the network said of a packet.
fn lost(error: std::io::Error) -> IpmiError {
    IpmiError::Unreachable(match error.kind() {
        ErrorKind::ConnectionRefused => "nothing listens for IPMI at the BMC's address".into(),
        _ => error.to_string(),
    })
}
