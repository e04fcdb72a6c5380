//! Which container holds which device of the host's own machine, as its kubelet says.

use crate::CollectError;
use crate::bindings_node::kcloud::collector::pod_resources as wire;

pub use wire::{Answer, Devices, Holder, PodResourcesError};

/// Asks the kubelet once.
pub fn read() -> Result<Answer, CollectError> {
    wire::read().map_err(failed)
}

/// A failure in the terms of a call.
pub fn failed(error: PodResourcesError) -> CollectError {
    match error {
        PodResourcesError::Denied(why) => CollectError::Denied(why),
        PodResourcesError::Unavailable(why) => CollectError::Unreachable(why),
        PodResourcesError::Timeout(why) => CollectError::Timeout(why),
    }
}
