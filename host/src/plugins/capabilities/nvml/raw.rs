//! Two functions of the library that the wrapper lacks: which instance a MIG device is. The only place here that is not safe Rust.
#![allow(unsafe_code)]

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_try};

/// Id of the GPU instance of a MIG device.
pub(super) fn gpu_instance(device: &Device<'_>) -> Result<u32, NvmlError> {
    let ask = device.nvml().lib().nvmlDeviceGetGpuInstanceId.as_ref();
    let ask = ask.map_err(|e| NvmlError::FailedToLoadSymbol(e.to_string()))?;
    let mut id = 0;
    // SAFETY: the symbol is of the library that made the handle, both live as long as `device`, and it writes one unsigned int.
    nvml_try(unsafe { ask(device.handle(), &mut id) })?;
    Ok(id)
}

/// Id of the compute instance of a MIG device.
pub(super) fn compute_instance(device: &Device<'_>) -> Result<u32, NvmlError> {
    let ask = device.nvml().lib().nvmlDeviceGetComputeInstanceId.as_ref();
    let ask = ask.map_err(|e| NvmlError::FailedToLoadSymbol(e.to_string()))?;
    let mut id = 0;
    // SAFETY: as above.
    nvml_try(unsafe { ask(device.handle(), &mut id) })?;
    Ok(id)
}
