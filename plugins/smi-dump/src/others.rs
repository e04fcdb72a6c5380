//! `rocm-smi --json` by its spellings of four releases, `hl-smi` as table and as CSV, `xpu-smi dump`.

use std::collections::{BTreeMap, BTreeSet};

use kcloud_collector_sdk::CollectError;
use kcloud_collector_sdk::exporter::tables::Cards;
use kcloud_collector_sdk::exporter::{Out, Who};
use serde_json::{Map, Value as Json};

use crate::nvidia::column;
use crate::said::{say, text};

/// Keys of rocm-smi, the first that is there counts; their unit; the metric.
const ROCM: &[(&[&str], &str, &str)] = &[
    (
        &["Current Socket Graphics Package Power (W)", "Average Graphics Package Power (W)", "Average Socket Graphics Package Power (W)"],
        "W",
        "power_watts",
    ),
    (&["Max Graphics Package Power (W)"], "W", "power_limit_watts"),
    (&["Temperature (Sensor junction) (C)", "Temperature (Sensor edge) (C)"], "C", "temperature_celsius"),
    (&["Temperature (Sensor memory) (C)"], "C", "memory_temperature_celsius"),
    (&["GPU use (%)"], "%", "utilization_ratio"),
    (&["GPU Memory Read/Write Activity (%)", "GPU memory use (%)"], "%", "memory_bandwidth_ratio"),
    (&["VRAM Total Memory (B)"], "B", "memory_total_bytes"),
    (&["VRAM Total Used Memory (B)"], "B", "memory_used_bytes"),
    (&["sclk clock speed:"], "", "clock_sm_hertz"),
    (&["mclk clock speed:"], "", "clock_memory_hertz"),
    (&["Fan speed (%)"], "%", "fan_ratio"),
    (&["Fan RPM"], "RPM", "fan_speed_rpm"),
    (&["PCIe Replay Count"], "", "pcie_replay_total"),
];

pub(crate) fn rocm(dump: &str, node: Option<&str>, out: &mut Out<'_>) -> Result<(), CollectError> {
    let json: Map<String, Json> = serde_json::from_str(dump).map_err(|e| CollectError::Protocol(format!("rocm-smi: {e}")))?;
    let number = |key: &str| key.strip_prefix("card").filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned);
    let of: Vec<(String, &Json)> = json.iter().filter_map(|(key, card)| Some((number(key)?, card))).collect();
    if of.is_empty() {
        return Err(CollectError::Unsupported("no card in the JSON: is this the output of `rocm-smi --json`?".to_owned()));
    }
    let driver = json.get("system").and_then(|s| s.get("Driver version")).and_then(Json::as_str);
    let mut cards = Cards::new(out, "gpu", "amd");
    for (index, card) in of {
        let key = |names: &[&str]| names.iter().find_map(|n| card.get(n).and_then(Json::as_str));
        // The board's serial number is what AMD's exporter knows it by, too.
        let uuid = text(key(&["Serial Number"])).or_else(|| text(key(&["Unique ID"])));
        let who = Who { node, uuid, pci_address: text(key(&["PCI Bus"])), device: Some(&index) };
        let Some(subject) = cards.card(who) else { continue };
        let model = text(key(&["Card series", "Card Series", "Device Name", "Card model", "Card Model"]));
        for (label, value) in [("index", Some(index.as_str())), ("model", model), ("driver_version", driver)] {
            cards.out.label(subject, label, value);
        }
        for (names, unit, metric) in ROCM {
            say(&mut cards, subject, metric, key(names), unit);
        }
    }
    cards.finish();
    Ok(())
}

/// What `hl-smi -Q …` was asked for where no head says it: the order in its documentation.
const HL: [&str; 11] = [
    "index",
    "uuid",
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "memory.free",
    "power.draw",
    "power.max",
    "temperature.aip",
    "utilization.aip",
];

pub(crate) fn hl_csv(dump: &str, node: Option<&str>, out: &mut Out<'_>) -> Result<(), CollectError> {
    let mut lines: Vec<&str> = dump.lines().filter(|l| !l.trim().is_empty()).collect();
    let head: Vec<(&str, &str)> = match lines.first() {
        Some(first) if first.contains("uuid") => lines.remove(0).split(',').map(column).collect(),
        _ => HL
            .map(|name| {
                (
                    name,
                    if name.starts_with("memory") {
                        "MiB"
                    } else if name.starts_with("utilization") {
                        "%"
                    } else {
                        ""
                    },
                )
            })
            .to_vec(),
    };
    let mut cards = Cards::new(out, "npu", "intel");
    for line in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() != head.len() {
            cards.out.problem(format!(
                "{} cells where {} were asked for: {}",
                cells.len(),
                head.len(),
                line.chars().take(80).collect::<String>()
            ));
            continue;
        }
        let cell = |name: &str| head.iter().position(|(n, _)| *n == name).map(|i| (cells[i], head[i].1));
        let said = |name: &str| cell(name).map(|c| c.0);
        let device = said("index").map(|i| format!("accel{i}"));
        let who = Who { node, uuid: text(said("uuid")), pci_address: text(said("bus_id")), device: device.as_deref() };
        let Some(card) = cards.card(who) else { continue };
        for (label, name) in [("index", "index"), ("model", "name"), ("driver_version", "driver_version")] {
            cards.out.label(card, label, said(name));
        }
        for (name, metric) in [
            ("power.draw", "power_watts"),
            ("power.max", "power_limit_watts"),
            ("temperature.aip", "temperature_celsius"),
            ("utilization.aip", "utilization_ratio"),
            ("memory.total", "memory_total_bytes"),
            ("memory.used", "memory_used_bytes"),
            ("memory.free", "memory_free_bytes"),
        ] {
            if let Some((value, unit)) = cell(name) {
                say(&mut cards, card, metric, Some(value), unit);
            }
        }
    }
    cards.finish();
    Ok(())
}

/// Two lines a card: `|  0  HL-225  N/A | 0000:4d:00.0 N/A |`, then `| N/A  31C  N/A  95W / 600W | 768MiB / 98304MiB |  0% N/A |`.
pub(crate) fn hl_table(dump: &str, node: Option<&str>, out: &mut Out<'_>) -> Result<(), CollectError> {
    let mut cards = Cards::new(out, "npu", "intel");
    let mut current = None;
    for line in dump.lines() {
        let columns: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [first, second, third] = columns[..] else { continue };
        let words: Vec<&str> = first.split_whitespace().collect();
        let pci = second.split_whitespace().next().filter(|w| w.matches(':').count() == 2);
        if let ([index, model, ..], Some(pci)) = (&words[..], pci) {
            current = cards.card(Who { node, uuid: None, pci_address: Some(pci), device: None });
            if let Some(card) = current {
                cards.out.label(card, "index", Some(index));
                cards.out.label(card, "model", Some(model));
            }
        } else if let (Some(card), [_, temperature, _, power, "/", limit], Some((used, total))) =
            (current, &words[..], second.split_once('/'))
        {
            let share = third.split_whitespace().next();
            for (metric, cell) in [
                ("temperature_celsius", Some(*temperature)),
                ("power_watts", Some(*power)),
                ("power_limit_watts", Some(*limit)),
                ("memory_used_bytes", Some(used)),
                ("memory_total_bytes", Some(total)),
                ("utilization_ratio", share),
            ] {
                say(&mut cards, card, metric, cell, "");
            }
            current = None;
        }
    }
    cards.finish();
    Ok(())
}

/// One row a device, tile and time; the last of each counts. Blank cells are unknown.
pub(crate) fn xpu(dump: &str, node: Option<&str>, out: &mut Out<'_>) -> Result<(), CollectError> {
    let mut lines = dump.lines();
    let head: Vec<(&str, &str)> = lines.next().unwrap_or_default().split(',').map(column).collect();
    let mut last: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for line in lines.filter(|l| !l.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        match (cells.len() == head.len(), &cells[..]) {
            (true, [_, device, tile, ..]) if head[2].0 == "TileId" => drop(last.insert((device, tile), cells)),
            (true, [_, device, ..]) => drop(last.insert((device, ""), cells)),
            _ => {
                out.problem(format!("{} cells below a head of {}: {}", cells.len(), head.len(), line.chars().take(80).collect::<String>()))
            }
        }
    }
    let mut tiles: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (device, tile) in last.keys() {
        tiles.entry(device).or_default().insert(tile);
    }
    let mut cards = Cards::new(out, "gpu", "intel");
    for ((device, tile), cells) in &last {
        let Some(card) = cards.card(Who { node, uuid: None, pci_address: None, device: Some(device) }) else { continue };
        cards.out.label(card, "index", Some(device));
        // A single tile is the card.
        let is_part = tiles.get(device).is_some_and(|all| all.len() > 1) && !tile.eq_ignore_ascii_case("n/a");
        let of = if is_part { cards.part("partition", tile, card) } else { card };
        for ((name, unit), cell) in head.iter().zip(cells) {
            let metric = match *name {
                "GPU Utilization" => "utilization_ratio",
                "GPU Power" => "power_watts",
                "GPU Frequency" => "clock_sm_hertz",
                "GPU Core Temperature" => "temperature_celsius",
                "GPU Memory Temperature" => "memory_temperature_celsius",
                _ => continue,
            };
            say(&mut cards, of, metric, Some(cell), unit);
        }
    }
    cards.finish();
    Ok(())
}
