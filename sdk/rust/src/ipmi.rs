//! Reading commands to a target's BMC. The host owns session and password; what only reads passes.

use crate::bindings::kcloud::collector::ipmi as wire;
use crate::{CollectError, Target};

pub use wire::{Bridge, IpmiError, Request};

/// What a BMC said to one command: its data, or why there is none.
pub type Answer = Result<Vec<u8>, IpmiError>;

/// Asks in order. What fails as a whole is the error; what fails alone stands in its place.
pub fn ask(target: &Target, requests: &[Request]) -> Result<Vec<Answer>, CollectError> {
    wire::raw_all(&target.id, requests).map_err(failed)
}

/// A failure in the terms of a call.
pub fn failed(error: IpmiError) -> CollectError {
    match error {
        IpmiError::Denied(why) => CollectError::Denied(why),
        IpmiError::Unreachable(why) => CollectError::Unreachable(why),
        IpmiError::Auth(why) => CollectError::Auth(why),
        IpmiError::Timeout => CollectError::Timeout("the BMC did not answer in time".to_owned()),
        IpmiError::Completion(code) => CollectError::Protocol(format!("completion code {code:#04x}")),
    }
}
