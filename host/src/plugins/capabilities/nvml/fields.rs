//! The fields that a guest can ask for, by the kind of part that has them: one table a kind, one call of the library a row.
//! Units are the driver's own. Every call reads.

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError, PcieUtilCounter, PerformancePolicy, RetirementCause, TemperatureSensor, TemperatureThreshold,
};
use nvml_wrapper::enum_wrappers::nv_link::ErrorCounter;
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::nv_link::NvLink;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id;
use nvml_wrapper::{Device, Nvml};

use super::{Value, raw};

pub(super) type Got = Result<Vec<Value>, NvmlError>;

/// Names of what one call says, and the call.
pub(super) type Row<F> = (&'static [&'static str], F);
type OfDriver = fn(&Nvml) -> Got;
type OfDevice = for<'n> fn(&Device<'n>) -> Got;
type OfLink = for<'d, 'n> fn(&NvLink<'d, 'n>) -> Got;

fn number(value: Result<u32, NvmlError>) -> Got {
    value.map(|v| vec![Value::Number(v.into())])
}

fn large(value: Result<u64, NvmlError>) -> Got {
    value.map(|v| vec![Value::Number(v as f64)])
}

fn text(value: Result<String, NvmlError>) -> Got {
    value.map(|v| vec![Value::Text(v)])
}

fn yes(value: Result<bool, NvmlError>) -> Got {
    value.map(|v| vec![Value::Number(f64::from(u8::from(v)))])
}

/// One of the fields that have a number and no function.
fn field(device: &Device<'_>, id: u32) -> Got {
    let mut all = device.field_values_for(&[FieldId(id)])?;
    let sample = all.pop().ok_or(NvmlError::NoData)??;
    Ok(vec![Value::Number(match sample.value? {
        SampleValue::F64(v) => v,
        SampleValue::U32(v) => v.into(),
        SampleValue::U64(v) => v as f64,
        SampleValue::I64(v) => v as f64,
    })])
}

fn ecc(device: &Device<'_>, error: MemoryError, counter: EccCounter) -> Got {
    large(device.total_ecc_errors(error, counter))
}

fn throttled(device: &Device<'_>, why: PerformancePolicy) -> Got {
    large(device.violation_status(why).map(|v| v.violation_time))
}

fn retired(device: &Device<'_>, cause: RetirementCause) -> Got {
    device.retired_pages(cause).map(|pages| vec![Value::Number(pages.len() as f64)])
}

pub(super) static DRIVER: &[Row<OfDriver>] = &[
    (&["driver_version"], |n| text(n.sys_driver_version())),
    (&["nvml_version"], |n| text(n.sys_nvml_version())),
    (&["cuda_version"], |n| n.sys_cuda_driver_version().map(|v| vec![Value::Number(v.into())])),
];

pub(super) static CARD: &[Row<OfDevice>] = &[
    (&["uuid"], |d| text(d.uuid())),
    (&["pci_address"], |d| text(d.pci_info().map(|p| p.bus_id))),
    (&["minor_number"], |d| number(d.minor_number())),
    (&["name"], |d| text(d.name())),
    (&["serial"], |d| text(d.serial())),
    (&["part_number"], |d| text(d.board_part_number())),
    (&["vbios_version"], |d| text(d.vbios_version())),
    (&["mig_mode"], |d| number(d.mig_mode().map(|m| m.current))),
    (&["performance_state"], |d| number(d.performance_state().map(|p| p.as_c()))),
    (&["utilization_gpu", "utilization_memory"], |d| {
        d.utilization_rates().map(|u| vec![Value::Number(u.gpu.into()), Value::Number(u.memory.into())])
    }),
    (&["utilization_encoder"], |d| number(d.encoder_utilization().map(|u| u.utilization))),
    (&["utilization_decoder"], |d| number(d.decoder_utilization().map(|u| u.utilization))),
    MEMORY,
    (&["power_usage"], |d| number(d.power_usage())),
    (&["power_limit_enforced"], |d| number(d.enforced_power_limit())),
    (&["power_limit_requested"], |d| number(d.power_management_limit())),
    (&["power_limit_default"], |d| number(d.power_management_limit_default())),
    (&["power_limit_min", "power_limit_max"], |d| {
        d.power_management_limit_constraints().map(|c| vec![Value::Number(c.min_limit.into()), Value::Number(c.max_limit.into())])
    }),
    (&["energy"], |d| large(d.total_energy_consumption())),
    (&["temperature_gpu"], |d| number(d.temperature(TemperatureSensor::Gpu))),
    (&["temperature_memory"], |d| field(d, field_id::NVML_FI_DEV_MEMORY_TEMP)),
    (&["temperature_shutdown"], |d| number(d.temperature_threshold(TemperatureThreshold::Shutdown))),
    (&["temperature_slowdown"], |d| number(d.temperature_threshold(TemperatureThreshold::Slowdown))),
    (&["temperature_gpu_max"], |d| number(d.temperature_threshold(TemperatureThreshold::GpuMax))),
    (&["temperature_memory_max"], |d| number(d.temperature_threshold(TemperatureThreshold::MemoryMax))),
    (&["clock_sm"], |d| number(d.clock_info(Clock::SM))),
    (&["clock_memory"], |d| number(d.clock_info(Clock::Memory))),
    (&["clock_graphics"], |d| number(d.clock_info(Clock::Graphics))),
    (&["clock_video"], |d| number(d.clock_info(Clock::Video))),
    (&["clock_sm_max"], |d| number(d.max_clock_info(Clock::SM))),
    (&["clock_memory_max"], |d| number(d.max_clock_info(Clock::Memory))),
    (&["fan_speed"], |d| number(d.fan_speed(0))),
    (&["pcie_tx"], |d| number(d.pcie_throughput(PcieUtilCounter::Send))),
    (&["pcie_rx"], |d| number(d.pcie_throughput(PcieUtilCounter::Receive))),
    (&["pcie_replays"], |d| number(d.pcie_replay_counter())),
    (&["pcie_generation"], |d| number(d.current_pcie_link_gen())),
    (&["pcie_generation_max"], |d| number(d.max_pcie_link_gen())),
    (&["pcie_width"], |d| number(d.current_pcie_link_width())),
    (&["pcie_width_max"], |d| number(d.max_pcie_link_width())),
    (&["ecc_mode"], |d| yes(d.is_ecc_enabled().map(|m| m.currently_enabled))),
    (&["ecc_corrected"], |d| ecc(d, MemoryError::Corrected, EccCounter::Volatile)),
    (&["ecc_uncorrected"], |d| ecc(d, MemoryError::Uncorrected, EccCounter::Volatile)),
    (&["ecc_corrected_aggregate"], |d| ecc(d, MemoryError::Corrected, EccCounter::Aggregate)),
    (&["ecc_uncorrected_aggregate"], |d| ecc(d, MemoryError::Uncorrected, EccCounter::Aggregate)),
    (&["retired_pages_sbe"], |d| retired(d, RetirementCause::MultipleSingleBitEccErrors)),
    (&["retired_pages_dbe"], |d| retired(d, RetirementCause::DoubleBitEccError)),
    (&["retired_pages_pending"], |d| yes(d.are_pages_pending_retired())),
    (&["remapped_rows_correctable"], |d| field(d, field_id::NVML_FI_DEV_REMAPPED_COR)),
    (&["remapped_rows_uncorrectable"], |d| field(d, field_id::NVML_FI_DEV_REMAPPED_UNC)),
    (&["row_remap_pending"], |d| field(d, field_id::NVML_FI_DEV_REMAPPED_PENDING)),
    (&["row_remap_failure"], |d| field(d, field_id::NVML_FI_DEV_REMAPPED_FAILURE)),
    (&["throttle_reasons"], |d| large(d.current_throttle_reasons().map(|r| r.bits()))),
    (&["throttle_power"], |d| throttled(d, PerformancePolicy::Power)),
    (&["throttle_thermal"], |d| throttled(d, PerformancePolicy::Thermal)),
    (&["throttle_sync_boost"], |d| throttled(d, PerformancePolicy::SyncBoost)),
    (&["throttle_board_limit"], |d| throttled(d, PerformancePolicy::BoardLimit)),
    (&["throttle_low_utilization"], |d| throttled(d, PerformancePolicy::LowUtilization)),
    (&["throttle_reliability"], |d| throttled(d, PerformancePolicy::Reliability)),
    (&["xid_events"], |d| yes(d.supported_event_types().map(|t| t.contains(EventTypes::CRITICAL_XID_ERROR)))),
];

const MEMORY: Row<OfDevice> = (&["memory_total", "memory_used", "memory_free", "memory_reserved"], |d| {
    d.memory_info().map(|m| [m.total, m.used, m.free, m.reserved].map(|v| Value::Number(v as f64)).to_vec())
});

pub(super) static MIG: &[Row<OfDevice>] = &[
    (&["uuid"], |d| text(d.uuid())),
    (&["gpu_instance"], |d| number(raw::gpu_instance(d))),
    (&["compute_instance"], |d| number(raw::compute_instance(d))),
    (&["name"], |d| text(d.name())),
    MEMORY,
    (&["slices", "compute_slices", "multiprocessors"], |d| {
        let of = |a: nvml_wrapper::struct_wrappers::device::DeviceAttributes| {
            [a.gpu_instance_slice_count, a.compute_instance_slice_count, a.multiprocessor_count]
        };
        d.attributes().map(|a| of(a).map(|v| Value::Number(v.into())).to_vec())
    }),
];

pub(super) static LINK: &[Row<OfLink>] = &[
    (&["active"], |l| yes(l.is_active())),
    (&["version"], |l| number(l.version())),
    (&["remote_pci_address"], |l| text(l.remote_pci_info().map(|p| p.bus_id))),
    (&["replay_errors"], |l| large(l.error_counter(ErrorCounter::DlReplay))),
    (&["recovery_errors"], |l| large(l.error_counter(ErrorCounter::DlRecovery))),
    (&["crc_flit_errors"], |l| large(l.error_counter(ErrorCounter::DlCrcFlit))),
    (&["crc_data_errors"], |l| large(l.error_counter(ErrorCounter::DlCrcData))),
];

/// Of a process; they come together.
pub(super) const PROCESS: [&str; 9] =
    ["pid", "type", "memory_used", "process_name", "container_id", "pod_uid", "namespace", "pod", "container"];
