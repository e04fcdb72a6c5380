//! `rbln-stat -j`, as a timer writes it to a file or an agent serves it: texts with units.

use kcloud_collector_sdk::exporter::Out;
use kcloud_collector_sdk::{CollectError, GapReason, Target, target_label};
use serde_json::Value as Json;

use crate::device::{Device, Value, say};

/// Puts what the JSON says into the batch. Times are those of the file: the text has none.
pub fn read(text: &str, target: &Target, out: &mut Out<'_>) -> Result<(), CollectError> {
    let json: Json = serde_json::from_str(text).map_err(|e| CollectError::Protocol(format!("rbln-stat: {e}")))?;
    let Some(devices) = json.get("devices").and_then(Json::as_array) else {
        return Err(CollectError::Unsupported("no `devices` in the JSON: is this the output of `rbln-stat -j`?".to_owned()));
    };
    let driver = json.get("KMD_version").and_then(Json::as_str);
    let mut all: Vec<(Option<String>, Device)> = devices.iter().map(|d| device(d, driver, target)).collect();
    for context in json.get("contexts").and_then(Json::as_array).into_iter().flatten() {
        let npu = text_of(context, "npu");
        let mut of = all.iter_mut().filter(|(number, _)| number.is_some() && *number == npu);
        // `npu` is not unique: which of several is meant, nobody says.
        match (of.next(), of.next(), text_of(context, "pid")) {
            (Some((_, device)), None, Some(pid)) => {
                let bytes = context.get("memalloc").and_then(|v| quantity(v)?.ok());
                device.processes.push((pid, text_of(context, "process").unwrap_or_default(), bytes));
            }
            _ => out.problem(format!("context {}: no single device has its npu", text_of(context, "ctx_id").unwrap_or_default())),
        }
    }
    say(all.into_iter().map(|(_, device)| device).collect(), None, out);
    Ok(())
}

fn device(json: &Json, driver: Option<&str>, target: &Target) -> (Option<String>, Device) {
    let text = |key: &str| text_of(json, key);
    let value = |key: &str| json.get(key).and_then(quantity);
    let memory = |key: &str| json.get("memory")?.get(key).and_then(quantity);
    let labels = [("driver_version", driver.map(str::to_owned)), ("firmware_version", text("fw_ver")), ("pstate", text("pstate"))];
    let device = Device {
        node: target_label(target, "node").map(str::to_owned),
        uuid: text("uuid"),
        name: text("device"),
        pci_address: json.get("pci").and_then(|p| text_of(p, "bus_id")),
        model: text("name"),
        serial: text("sid"),
        labels: labels.into_iter().filter_map(|(k, v)| Some((k, v?))).collect(),
        // A card that answers draws something and is not at freezing point.
        power: value("card_power").map(positive),
        temperature: value("temperature").map(positive),
        utilization: value("util").map(|v| v.map(|percent| percent / 100.0)),
        used: memory("used"),
        total: memory("total").map(positive),
        health: text("status").map(|s| if s.eq_ignore_ascii_case("normal") { "ok" } else { "critical" }),
        ..Device::default()
    };
    (text("npu"), device)
}

fn positive(value: Result<f64, GapReason>) -> Result<f64, GapReason> {
    value.and_then(|v| if v > 0.0 { Ok(v) } else { Err(GapReason::Absent) })
}

/// A text, or a number as text; none where there is nothing.
fn text_of(json: &Json, key: &str) -> Option<String> {
    match json.get(key)? {
        Json::String(text) => Some(text.clone()).filter(|t| !t.is_empty()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// `17521800uW`, `31C`, `3.5GiB`, `0.0` in base units. What is no such text is a reading that the source has not.
fn quantity(json: &Json) -> Value {
    let text = match json {
        Json::Null => return Some(Err(GapReason::Absent)),
        Json::Number(number) => return number.as_f64().map(Ok),
        Json::String(text) => text.trim(),
        _ => return Some(Err(GapReason::Error)),
    };
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "" | "W" | "C" | "B" | "%" => 1.0,
        "uW" => 1e-6,
        "mW" => 1e-3,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return Some(Err(GapReason::Unsupported)),
    };
    Some(number.parse().map(|v: f64| v * factor).map_err(|_| GapReason::Unsupported))
}
