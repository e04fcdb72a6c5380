//! Rebellions' cards as rbln-metrics-exporter writes them. Before 2026-06: names with a colon, watts and degrees at a thousandth,
//! memory in GiB. An ATOM Max is four devices, each of which repeats the card's power. A dead card's devices say zeros.

use super::{Dialect, Shown};
use crate::other::OtherModel;
use crate::page::{Labels, Page};
use crate::{mix, uuid};

const fn model(name: &'static str, dies: usize, limit_watts: u64, resource: &'static str) -> OtherModel {
    OtherModel {
        vendor: "rebellions",
        class: "npu",
        name,
        memory_bytes: (16 << 30) * dies as u64,
        limit_watts,
        idle_watts: limit_watts / 5,
        says_power: true,
        cores: dies,
        parts: 0,
        clock_mhz: 1_000,
        resource,
    }
}

pub(crate) const DIALECT: Dialect = Dialect {
    name: "rebellions",
    models: &[model("RBLN-CA22", 1, 85, "rebellions_ai_ATOM"), model("RBLN-CA25", 4, 350, "rebellions_ai_ATOM_Max")],
    old_lacks_memory: false,
    write,
};

fn write(shown: &Shown<'_>) -> String {
    let newer = shown.node.is_newer;
    let mut devices: Vec<(Labels, [f64; 6])> = Vec::new();
    for (card, r) in &shown.cards {
        let dies = card.model.cores as u64;
        let (mib, total) = (r.memory_used >> 20, card.model.memory_bytes / dies);
        for die in 0..dies {
            let name = format!("rbln{}", devices.len());
            let id = if die == 0 { card.uuid.clone() } else { uuid(card.uuid.bytes().fold(die, |h, b| mix(&[h, u64::from(b)]))) };
            let mut labels = vec![
                ("card", card.model.name.to_owned()),
                ("deviceID", "0x1220".to_owned()),
                ("driver_version", if newer { "3.0.0" } else { "1.2.92" }.to_owned()),
                ("firmware_version", "3.0.0".to_owned()),
                ("hostname", shown.node.name.clone()),
                ("name", name),
                ("uuid", id),
            ];
            if let Some(pod) = &card.pod {
                labels.extend([("namespace", "ml".to_owned()), ("pod", pod.clone()), ("container", "main".to_owned())]);
            }
            let used = (mib / dies + if die == 0 { mib % dies } else { 0 }) << 20;
            let alive = f64::from(u8::from(!card.is_dead));
            let (small, bytes) = if newer { (1.0, 1.0) } else { (1e-3, 1.0 / (1u64 << 30) as f64) };
            let values = [
                r.milliwatts as f64 / 1e3 * small,
                r.temperature as f64 * small * alive,
                r.cores[die as usize] as f64 / 10.0,
                used as f64 * bytes,
                total as f64 * bytes * alive,
                1.0 - alive,
            ];
            devices.push((labels, values));
        }
    }
    let names = if newer {
        [
            "rbln_npu_power",
            "rbln_npu_temperature",
            "rbln_npu_utilization",
            "rbln_npu_memory_used",
            "rbln_npu_memory_total",
            "rbln_npu_health",
        ]
    } else {
        [
            "RBLN_DEVICE_STATUS:CARD_POWER",
            "RBLN_DEVICE_STATUS:TEMPERATURE",
            "RBLN_DEVICE_STATUS:UTILIZATION",
            "RBLN_DEVICE_STATUS:DRAM_USED",
            "RBLN_DEVICE_STATUS:DRAM_TOTAL",
            "RBLN_DEVICE_STATUS:HEALTH",
        ]
    };
    let mut page = Page::new();
    for (at, name) in names.iter().enumerate() {
        page.gauge(name).rows(devices.iter().map(|(labels, values)| (labels.clone(), values[at])).collect());
    }
    page.done()
}
