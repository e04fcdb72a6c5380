//! `tt-smi -s`, as a timer writes it to a file: padded texts beside numbers. Its `time` has no zone; times are those of the file.

use std::collections::HashMap;

use kcloud_collector_sdk::exporter::tables::{Cards, largest};
use kcloud_collector_sdk::exporter::{Out, Who};
use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef, Target, target_label};
use serde_json::Value as Json;

use crate::table::NEVER;

/// What stands where, what it is, its factor, and whether a chip that runs must have it.
const FIELDS: &[(&str, &str, &str, f64, bool)] = &[
    ("telemetry", "power", "power_watts", 1.0, true),
    ("telemetry", "asic_temperature", "temperature_celsius", 1.0, true),
    ("telemetry", "aiclk", "clock_sm_hertz", 1e6, true),
    ("telemetry", "voltage", "voltage_volts", 1.0, true),
    ("telemetry", "current", "current_amperes", 1.0, true),
    ("telemetry", "fan_speed", "fan_ratio", 0.01, false),
    ("smbus_telem", "FAN_RPM", "fan_speed_rpm", 1.0, false),
    ("limits", "tdp_limit", "power_limit_watts", 1.0, false),
    ("limits", "thm_limit", "temperature_limit_celsius", 1.0, false),
    ("smbus_telem", "THM_LIMIT_SHUTDOWN", "shutdown_temperature_celsius", 1.0, false),
];

/// Puts what the JSON says into the batch.
pub fn read(text: &str, target: &Target, out: &mut Out<'_>) -> Result<(), CollectError> {
    let json: Json = serde_json::from_str(text).map_err(|e| CollectError::Protocol(format!("tt-smi: {e}")))?;
    let Some(chips) = json.get("device_info").and_then(Json::as_array) else {
        return Err(CollectError::Unsupported("no `device_info` in the JSON: is this the output of `tt-smi -s`?".to_owned()));
    };
    let said = json.get("host_info").and_then(|h| text_of(h, "Hostname"));
    let node = target_label(target, "node").filter(|n| !n.is_empty()).map(str::to_owned).or(said);
    let mut cards = Cards::new(out, "npu", "tenstorrent");
    let mut of_board: HashMap<String, usize> = HashMap::new();
    for (index, chip) in chips.iter().enumerate() {
        let board = chip.get("board_info").and_then(|b| text_of(b, "board_id")).or_else(|| raw_board(chip));
        // Chips of one board, in the order in which they are listed.
        let uuid = board.as_ref().map(|board| {
            let number = of_board.entry(board.clone()).or_default();
            *number += 1;
            format!("{board}-{}", *number - 1)
        });
        let pci = chip.get("board_info").and_then(|b| text_of(b, "bus_id"));
        let index = index.to_string();
        let who = Who { node: node.as_deref(), uuid: uuid.as_deref(), pci_address: pci.as_deref(), device: Some(&index) };
        let Some(card) = cards.card(who) else { continue };
        let info = |key: &str| chip.get("board_info").and_then(|b| text_of(b, key));
        let firmware = chip.get("firmwares").and_then(|f| text_of(f, "fw_bundle_version"));
        for (key, value) in
            [("index", Some(index.clone())), ("model", info("board_type")), ("board_id", board), ("firmware_version", firmware)]
        {
            cards.out.label(card, key, value);
        }
        for (group, key, metric, factor, must) in FIELDS {
            say(&mut cards, card, chip.get(group).and_then(|g| g.get(key)), metric, *factor, *must);
        }
        NEVER.iter().for_each(|metric| cards.gap(metric, card, GapReason::Unsupported));
    }
    cards.finish();
    Ok(())
}

fn say(cards: &mut Cards<'_, '_>, card: SubjectRef, json: Option<&Json>, metric: &'static str, factor: f64, must: bool) {
    match json.and_then(number) {
        None if must => cards.gap(metric, card, GapReason::Absent),
        None => {}
        Some(Err(reason)) => cards.gap(metric, card, reason),
        // A chip whose controller hangs says zeros; a fan that is not there says the largest number.
        Some(Ok(value)) => match largest(value) {
            Some(reason) => cards.gap(metric, card, reason),
            None if value == 0.0 || value == 65_535.0 => cards.gap(metric, card, GapReason::Absent),
            None => cards.value(metric, card, value * factor, None),
        },
    }
}

/// ` 16.0`, `0x75a` or a number; `N/A` is what a chip cannot say.
fn number(json: &Json) -> Option<Result<f64, GapReason>> {
    let text = match json {
        Json::Number(number) => return number.as_f64().map(Ok),
        Json::String(text) => text.trim(),
        _ => return None,
    };
    let value = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|v| v as f64),
        None => text.parse::<f64>().ok().filter(|v| v.is_finite()),
    };
    Some(value.ok_or(GapReason::Unsupported))
}

/// A board's number where only the raw words hold it.
fn raw_board(chip: &Json) -> Option<String> {
    let word = |key: &str| u64::from_str_radix(chip.get("smbus_telem")?.get(key)?.as_str()?.trim().strip_prefix("0x")?, 16).ok();
    let (high, low) = (word("BOARD_ID_HIGH")?, word("BOARD_ID_LOW")?);
    (high > 0 || low > 0).then(|| format!("{:x}", high << 32 | low & 0xffff_ffff))
}

fn text_of(json: &Json, key: &str) -> Option<String> {
    json.get(key)?.as_str().map(str::trim).filter(|t| !t.is_empty() && !t.eq_ignore_ascii_case("n/a")).map(str::to_owned)
}
