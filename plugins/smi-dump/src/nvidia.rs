//! `nvidia-smi -q -x`, by which release whatever an element is called, and `nvidia-smi --query-gpu=… --format=csv`.

use kcloud_collector_sdk::exporter::tables::Cards;
use kcloud_collector_sdk::exporter::{Out, Who};
use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef};
use roxmltree::{Document, Node, ParsingOptions};

use crate::said::{number, say, text};

/// Paths below a `gpu` element, the first that is there counts; the metric. Elements moved by release (v10 to v13).
const XML: &[(&[&str], &str)] = &[
    (
        &[
            "gpu_power_readings/power_draw",
            "gpu_power_readings/average_power_draw",
            "gpu_power_readings/instant_power_draw",
            "power_readings/power_draw",
        ],
        "power_watts",
    ),
    (
        &[
            "gpu_power_readings/current_power_limit",
            "gpu_power_readings/power_limit",
            "power_readings/enforced_power_limit",
            "power_readings/power_limit",
        ],
        "power_limit_watts",
    ),
    (&["temperature/gpu_temp"], "temperature_celsius"),
    (&["temperature/memory_temp"], "memory_temperature_celsius"),
    (&["utilization/gpu_util"], "utilization_ratio"),
    (&["utilization/memory_util"], "memory_bandwidth_ratio"),
    (&["utilization/encoder_util"], "encoder_utilization_ratio"),
    (&["utilization/decoder_util"], "decoder_utilization_ratio"),
    (&["fb_memory_usage/total"], "memory_total_bytes"),
    (&["fb_memory_usage/used"], "memory_used_bytes"),
    (&["fb_memory_usage/free"], "memory_free_bytes"),
    (&["fb_memory_usage/reserved"], "memory_reserved_bytes"),
    (&["clocks/sm_clock"], "clock_sm_hertz"),
    (&["clocks/mem_clock"], "clock_memory_hertz"),
    (&["fan_speed"], "fan_ratio"),
    (&["pci/replay_counter"], "pcie_replay_total"),
    (&["pci/tx_util"], "pcie_tx_bytes_per_second"),
    (&["pci/rx_util"], "pcie_rx_bytes_per_second"),
];

/// Columns by their name without the unit.
const CSV: &[(&str, &str)] = &[
    ("power.draw", "power_watts"),
    ("power.draw.average", "power_watts"),
    ("power.draw.instant", "power_watts"),
    ("enforced.power.limit", "power_limit_watts"),
    ("power.limit", "power_limit_watts"),
    ("temperature.gpu", "temperature_celsius"),
    ("temperature.memory", "memory_temperature_celsius"),
    ("utilization.gpu", "utilization_ratio"),
    ("utilization.memory", "memory_bandwidth_ratio"),
    ("utilization.encoder", "encoder_utilization_ratio"),
    ("utilization.decoder", "decoder_utilization_ratio"),
    ("memory.total", "memory_total_bytes"),
    ("memory.used", "memory_used_bytes"),
    ("memory.free", "memory_free_bytes"),
    ("memory.reserved", "memory_reserved_bytes"),
    ("clocks.current.sm", "clock_sm_hertz"),
    ("clocks.sm", "clock_sm_hertz"),
    ("clocks.current.memory", "clock_memory_hertz"),
    ("clocks.mem", "clock_memory_hertz"),
    ("fan.speed", "fan_ratio"),
    ("ecc.errors.corrected.volatile.total", "ecc_corrected_total"),
    ("ecc.errors.uncorrected.volatile.total", "ecc_uncorrected_total"),
];

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|c| c.has_tag_name(name))
}

fn at<'a>(node: Node<'a, 'a>, path: &str) -> Option<&'a str> {
    path.split('/').try_fold(node, child)?.text()
}

pub(crate) fn xml(dump: &str, node: Option<&str>, out: &mut Out<'_>) -> Result<(), CollectError> {
    // The document type is named, and never fetched.
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(dump, options).map_err(|e| CollectError::Protocol(format!("XML: {e}")))?;
    let log = document.root_element();
    if !log.has_tag_name("nvidia_smi_log") {
        return Err(CollectError::Unsupported("the XML is not that of `nvidia-smi -q -x`".to_owned()));
    }
    let driver = at(log, "driver_version");
    let mut cards = Cards::new(out, "gpu", "nvidia");
    for gpu in log.children().filter(|c| c.has_tag_name("gpu")) {
        let pci = text(at(gpu, "pci/pci_bus_id")).or_else(|| gpu.attribute("id"));
        let Some(card) = cards.card(Who { node, uuid: text(at(gpu, "uuid")), pci_address: pci, device: None }) else { continue };
        for (key, value) in [("model", at(gpu, "product_name")), ("serial_number", at(gpu, "serial")), ("driver_version", driver)] {
            cards.out.label(card, key, text(value));
        }
        for (paths, metric) in XML {
            say(&mut cards, card, metric, paths.iter().find_map(|p| at(gpu, p)), "");
        }
        for (metric, wanted) in [("ecc_corrected_total", "_correctable"), ("ecc_uncorrected_total", "_uncorrectable")] {
            ecc(&mut cards, card, gpu, metric, wanted);
        }
        for instance in child(gpu, "mig_devices").into_iter().flat_map(|m| m.children()).filter(|c| c.has_tag_name("mig_device")) {
            let Some(id) = at(instance, "gpu_instance_id") else { continue };
            let id = match at(instance, "compute_instance_id") {
                Some(compute) if compute != "0" => format!("{id}/{compute}"),
                _ => id.to_owned(),
            };
            let part = cards.part("partition", &id, card);
            for (path, metric) in [("total", "memory_total_bytes"), ("used", "memory_used_bytes"), ("free", "memory_free_bytes")] {
                say(&mut cards, part, metric, at(instance, &format!("fb_memory_usage/{path}")), "");
            }
        }
        for process in child(gpu, "processes").into_iter().flat_map(|p| p.children()).filter(|c| c.has_tag_name("process_info")) {
            let Some(pid) = at(process, "pid") else { continue };
            let of = cards.part("process", pid, card);
            cards.out.label(of, "name", text(at(process, "process_name")));
            say(&mut cards, of, "memory_used_bytes", at(process, "used_memory"), "");
        }
    }
    cards.finish();
    Ok(())
}

/// Since the driver was loaded, over all memories; what one cannot say nobody can sum.
fn ecc<'a>(cards: &mut Cards<'_, '_>, card: SubjectRef, gpu: Node<'a, 'a>, metric: &'static str, wanted: &str) {
    let Some(volatile) = child(gpu, "ecc_errors").and_then(|e| child(e, "volatile")) else { return };
    let of = |c: &Node<'a, 'a>| c.tag_name().name().contains(wanted);
    let all: Result<Vec<f64>, GapReason> = volatile.children().filter(of).map(|c| number(c.text().unwrap_or_default(), "")).collect();
    match all {
        Ok(all) if !all.is_empty() => cards.value(metric, card, all.iter().sum(), None),
        Ok(_) => {}
        Err(reason) => cards.gap(metric, card, reason),
    }
}

/// A table with a head: `power.draw [W]`. Cells hold no comma.
pub(crate) fn csv(dump: &str, node: Option<&str>, out: &mut Out<'_>) -> Result<(), CollectError> {
    let mut lines = dump.lines();
    let head: Vec<(&str, &str)> = lines.next().unwrap_or_default().split(',').map(column).collect();
    let mut cards = Cards::new(out, "gpu", "nvidia");
    for (at, line) in lines.enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() != head.len() {
            let why = format!("{} cells below a head of {}", cells.len(), head.len());
            cards.out.batch.problem(CollectError::Protocol(why), u32::try_from(at + 2).ok());
            continue;
        }
        let cell = |name: &str| head.iter().position(|(n, _)| *n == name).map(|i| (cells[i], head[i].1));
        let said = |name: &str| text(cell(name).map(|c| c.0));
        let who = Who { node, uuid: said("uuid").or_else(|| said("gpu_uuid")), pci_address: said("pci.bus_id"), device: None };
        let Some(card) = cards.card(who) else { continue };
        for (key, name) in [("index", "index"), ("model", "name"), ("serial_number", "serial"), ("driver_version", "driver_version")] {
            cards.out.label(card, key, cell(name).map(|c| c.0).filter(|v| key == "index" || text(Some(v)).is_some()));
        }
        for (name, metric) in CSV {
            if let Some((value, unit)) = cell(name) {
                say(&mut cards, card, metric, Some(value), unit);
            }
        }
    }
    cards.finish();
    Ok(())
}

/// Name and unit of a column.
pub(crate) fn column(head: &str) -> (&str, &str) {
    let head = head.trim();
    match head.split_once(['[', '(']) {
        Some((name, unit)) => (name.trim(), unit.trim_end_matches([']', ')'])),
        None => (head, ""),
    }
}
