//! Asking a BMC: what the rest of the plugin needs of it, so that tests can put another in its place.

use kcloud_collector_sdk::ipmi::{self, Answer, Bridge, IpmiError, Request};
use kcloud_collector_sdk::{CollectError, GapReason, Target};

use crate::sdr::Key;

/// Completion codes (IPMI v2.0, table 5-2).
pub(crate) const UNSUPPORTED: u8 = 0xc1;
pub(crate) const RESERVATION: u8 = 0xc5;
pub(crate) const NOT_PRESENT: u8 = 0xcb;

/// Requests that one call to the host carries: time is looked at between them.
const AT_ONCE: usize = 32;

/// A BMC, and how much time there is for it.
pub(crate) trait Bmc {
    fn ask(&mut self, requests: &[Request]) -> Result<Vec<Answer>, CollectError>;

    /// Milliseconds that are left of the call.
    fn left_ms(&self) -> u64;

    fn unix_s(&self) -> u64;

    /// One command to the BMC itself.
    fn one(&mut self, netfn: u8, cmd: u8, data: &[u8]) -> Result<Answer, CollectError> {
        let mut answers = self.ask(&[request(netfn, cmd, data)])?;
        match answers.pop() {
            Some(Err(error)) if !matches!(error, IpmiError::Completion(_)) => Err(ipmi::failed(error)),
            Some(answer) => Ok(answer),
            None => Err(CollectError::Internal("the host gave no answer".to_owned())),
        }
    }

    /// Many commands, as far as time and the BMC let them come: what is not there any more was not asked.
    fn many(&mut self, requests: &[Request], keep_ms: u64) -> Result<Vec<Answer>, CollectError> {
        let mut answers = Vec::with_capacity(requests.len());
        for some in requests.chunks(AT_ONCE) {
            if self.left_ms() <= keep_ms {
                break;
            }
            let more = self.ask(some)?;
            let is_dead = more.iter().all(is_silence);
            answers.extend(more);
            if is_dead {
                break;
            }
        }
        Ok(answers)
    }
}

/// Whether a BMC said nothing.
pub(crate) fn is_silence(answer: &Answer) -> bool {
    matches!(answer, Err(IpmiError::Timeout | IpmiError::Unreachable(_)))
}

pub(crate) fn request(netfn: u8, cmd: u8, data: &[u8]) -> Request {
    Request { bridge: None, netfn, lun: 0, cmd, data: data.to_vec() }
}

/// A command about a sensor, to the controller that owns it.
pub(crate) fn of_sensor(key: Key, cmd: u8, more: &[u8]) -> Request {
    let bridge = (key.owner != 0x20).then_some(Bridge { channel: key.channel, address: key.owner });
    let mut data = vec![key.number];
    data.extend(more);
    Request { bridge, netfn: 0x04, lun: key.lun, cmd, data }
}

/// Why there is no reading.
pub(crate) fn gap(error: &IpmiError) -> GapReason {
    match error {
        IpmiError::Completion(UNSUPPORTED | 0xc2) => GapReason::Unsupported,
        // Privilege.
        IpmiError::Completion(0xd4) | IpmiError::Denied(_) | IpmiError::Auth(_) => GapReason::Denied,
        // Not present; its controller is not there; not in this state of the machine.
        IpmiError::Completion(NOT_PRESENT | 0xd3 | 0xd5 | 0x83) => GapReason::Absent,
        _ => GapReason::Error,
    }
}

/// The BMC of a target, by way of the host.
pub(crate) struct Remote<'a> {
    pub target: &'a Target,
    pub deadline_ns: u64,
}

impl Bmc for Remote<'_> {
    fn ask(&mut self, requests: &[Request]) -> Result<Vec<Answer>, CollectError> {
        ipmi::ask(self.target, requests)
    }

    fn left_ms(&self) -> u64 {
        self.deadline_ns.saturating_sub(monotonic_ns()) / 1_000_000
    }

    fn unix_s(&self) -> u64 {
        kcloud_collector_sdk::bindings::kcloud::collector::clock::unix_ns() / 1_000_000_000
    }
}

pub(crate) fn monotonic_ns() -> u64 {
    kcloud_collector_sdk::bindings::kcloud::collector::clock::monotonic_ns()
}
