//! NVIDIA's driver on the host's own machine. The host opens its library in a process of its own; what is asked only reads.

use crate::CollectError;
use crate::bindings_node::kcloud::collector::nvml as wire;

pub use wire::{Answer, NvmlError, Part, Reading, Value, Xid};

/// Reads all cards with their parts once; fields are named with their kind (`card.power_usage`).
pub fn read(fields: &[String]) -> Result<Answer, CollectError> {
    wire::read(fields).map_err(failed)
}

/// A failure in the terms of a call.
pub fn failed(error: NvmlError) -> CollectError {
    match error {
        NvmlError::Denied(why) => CollectError::Denied(why),
        NvmlError::Unavailable(why) => CollectError::Unreachable(why),
        NvmlError::Timeout(why) => CollectError::Timeout(why),
    }
}
