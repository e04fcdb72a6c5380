//! Computer systems: what the server is, and accelerators among its processors.

use kcloud_collector_sdk::{GapReason, SubjectRef};
use serde_json::Value;

use crate::out::{Out, is_absent, label};
use crate::service::{Miss, Service};
use crate::value::{id, last, num, reading, text};

const MIB: f64 = 1_048_576.0;

/// What the system says of the server, where its chassis does not.
pub(crate) fn describe(out: &mut Out<'_>, system: &Value, chassis: SubjectRef, has: (bool, bool)) -> (bool, bool) {
    out.labels(chassis, system, &[("manufacturer", "Manufacturer"), ("model", "Model"), ("serial_number", "SerialNumber"), ("sku", "SKU")]);
    let power = has.0 || out.power_state(chassis, system);
    (power, has.1 || out.health(chassis, system))
}

/// Reads GPUs and other accelerators of a system.
pub(crate) fn accelerators(service: &mut Service<'_>, out: &mut Out<'_>, system: &Value, node: Option<(SubjectRef, &str)>) {
    // The processors proper are many requests that say nothing of use.
    let wanted = |path: &str| !last(path).to_ascii_lowercase().starts_with("cpu");
    let Ok(all) = service.members(system, "Processors", wanted) else { return };
    for (position, processor) in all.iter().enumerate() {
        let class = match processor["ProcessorType"].as_str() {
            Some("GPU") => "gpu",
            Some("Accelerator") => "other",
            _ => continue,
        };
        let card = subject(service, out, processor, node, position);
        out.label(card, "class", Some(class.to_owned()));
        out.label(card, "vendor", text(&processor["Manufacturer"]).map(|m| m.to_ascii_lowercase()));
        out.labels(card, processor, &[("model", "Model"), ("serial_number", "SerialNumber"), ("firmware_version", "FirmwareVersion")]);
        if is_absent(processor) {
            out.gap(card, "power_watts", GapReason::Absent);
            continue;
        }
        out.health(card, processor);
        let memory = &processor["MemorySummary"];
        out.known(card, "memory_total_bytes", num(&memory["TotalMemorySizeMiB"]).map(|mib| mib * MIB));
        readings(service, out, processor, card);
        if let Ok(metrics) = service.follow(memory, "Metrics") {
            out.known(card, "memory_bandwidth_ratio", num(&metrics["BandwidthPercent"]).map(|p| p / 100.0));
            let errors = &metrics["LifeTime"];
            out.known(card, "ecc_corrected_total", num(&errors["CorrectableECCErrorCount"]));
            out.known(card, "ecc_uncorrected_total", num(&errors["UncorrectableECCErrorCount"]));
        }
    }
}

fn readings(service: &mut Service<'_>, out: &mut Out<'_>, processor: &Value, card: SubjectRef) {
    match service.follow(processor, "EnvironmentMetrics") {
        Ok(found) => {
            out.value(card, "power_watts", reading(&found["PowerWatts"]));
            out.value(card, "temperature_celsius", reading(&found["TemperatureCelsius"]));
            let limit = &found["PowerLimitWatts"];
            out.known(card, "power_limit_watts", num(&limit["SetPoint"]).or_else(|| reading(limit)));
            let kwh = reading(&found["EnergykWh"]).map(|kwh| kwh * 3_600_000.0);
            out.known(card, "energy_joules", reading(&found["EnergyJoules"]).or(kwh));
        }
        Err(Miss::Failed) => out.gap(card, "power_watts", GapReason::Error),
        Err(Miss::Absent) => out.gap(card, "power_watts", GapReason::Unsupported),
    }
    let metrics = service.follow(processor, "Metrics").unwrap_or_default();
    let mhz = num(&metrics["OperatingSpeedMHz"]).or_else(|| num(&processor["OperatingSpeedMHz"]));
    out.known(card, "clock_sm_hertz", mhz.map(|mhz| mhz * 1e6));
    out.known(card, "utilization_ratio", num(&metrics["BandwidthPercent"]).map(|p| p / 100.0));
}

/// By its UUID, as NVIDIA's own tools write it, else by its name in the node.
fn subject(service: &Service<'_>, out: &mut Out<'_>, processor: &Value, node: Option<(SubjectRef, &str)>, position: usize) -> SubjectRef {
    let is_uuid = |u: &String| u.len() >= 8 && u.bytes().any(|b| b.is_ascii_alphanumeric() && b != b'0');
    let is_nvidia = text(&processor["Manufacturer"]).is_some_and(|m| m.to_ascii_lowercase().contains("nvidia"));
    let is_bare = |u: &str| u.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let uuid = text(&processor["UUID"]).filter(is_uuid).map(|u| if is_nvidia && is_bare(&u) { format!("GPU-{u}") } else { u });
    let own = Some(id(processor)).filter(|i| !i.is_empty()).unwrap_or_else(|| position.to_string());
    let device = if node.is_some() { own } else { format!("{}/{own}", service.host()) };
    let key = uuid.clone().unwrap_or_else(|| device.clone());
    out.batch.subject("accelerator", &key, node.map(|(subject, _)| subject), |s| {
        match &uuid {
            Some(uuid) => s.identity.push(label("uuid", uuid)),
            None => s.identity.push(label("device", &device)),
        }
        if let Some((_, node)) = node {
            s.identity.push(label("node", node));
        }
        if uuid.is_some() {
            s.labels.push(label("redfish_id", &device));
        }
    })
}
