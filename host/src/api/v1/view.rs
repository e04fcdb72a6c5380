//! From a subject in base units to the documented fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::envelope::rfc3339;
pub(super) use crate::catalogue::documented as catalogue_name;
use crate::catalogue::{Catalogue, METRICS};
use crate::inventory::{Kind, Life, Snapshot, Subject};

pub(super) const MIB: f64 = 1_048_576.0;
/// Below this share of load a card is idle.
const IDLE: f64 = 0.01;

/// The class of an accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Gpu,
    Npu,
    Other,
}

impl Class {
    pub(super) fn of(s: &Subject) -> Self {
        match s.label("class") {
            Some("gpu") => Self::Gpu,
            // A TPU is one of many names for an NPU.
            Some("npu" | "tpu") => Self::Npu,
            _ => Self::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Npu => "npu",
            Self::Other => "other",
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Gpu => "gpus",
            Self::Npu => "npus",
            Self::Other => "others",
        }
    }
}

/// 0.57 * 100 is 56.99999999999999: what the source said had no more than six digits behind the point.
pub(crate) fn converted(value: f64, factor: f64) -> f64 {
    match factor == 1.0 {
        true => value,
        false => (value * factor * 1e6).round() / 1e6,
    }
}

/// A reading in the API's unit.
pub(super) fn number(s: &Subject, field: &str) -> Option<f64> {
    let (metric, factor) = catalogue_name(field);
    s.number(Catalogue::known(&metric)?).map(|v| converted(v, factor))
}

pub(super) fn whole(value: Option<f64>) -> Option<u64> {
    value.map(|v| v.round() as u64)
}

/// What a card is doing, from what was read.
pub(super) fn status(snapshot: &Snapshot, s: &Subject) -> &'static str {
    if s.life != Life::Live {
        return "offline";
    }
    let failed = snapshot.is_at_fault(&s.id) || state(s, "health") == Some("critical");
    match number(s, "utilization_percent") {
        _ if failed => "error",
        Some(load) if load < IDLE * 100.0 => "idle",
        _ => "active",
    }
}

/// A part of a card.
pub(super) fn partition(p: &Subject) -> Value {
    json!({
        "partition_id": p.label("partition_id"), "profile": p.label("profile"), "uuid": p.label("uuid"),
        "utilization_percent": number(p, "utilization_percent"),
        "memory_used_mb": whole(number(p, "memory_used_mb")), "memory_total_mb": whole(number(p, "memory_total_mb")),
        "power_watts": number(p, "power_watts"), "temperature_celsius": number(p, "temperature_celsius"),
        "namespace": p.label("namespace"), "pod": p.label("pod"), "container": p.label("container"),
        "last_seen": rfc3339(p.last_seen_ms),
    })
}

/// The static fields of one card.
pub(super) fn device(snapshot: &Snapshot, s: &Subject, class: Class) -> Map<String, Value> {
    let partitions: Vec<Value> = snapshot.children(&s.id, Kind::Partition).map(|p| partition(p)).collect();
    let mut row = Map::new();
    let mut put = |k: &str, v: Value| {
        row.insert(k.to_owned(), v);
    };
    put(&format!("{}_id", class.name()), json!(&*s.id));
    put("uuid", json!(s.label("uuid")));
    put("device_index", json!(s.label("index").and_then(|i| i.parse::<u32>().ok())));
    put("device", json!(s.label("device")));
    put("model_name", json!(s.label("model")));
    put("vendor", json!(s.label("vendor")));
    put("driver_version", json!(s.label("driver_version")));
    put("cluster", json!(&*s.cluster));
    put("hostname", json!(s.node));
    put("pci_bus_id", json!(s.label("pci_address")));
    put("memory_total_mb", json!(whole(number(s, "memory_total_mb"))));
    put("status", json!(status(snapshot, s)));
    put("namespace", json!(s.label("namespace")));
    put("pod", json!(s.label("pod")));
    put("container", json!(s.label("container")));
    put("partitions", Value::Array(partitions));
    put("last_seen", json!(rfc3339(s.last_seen_ms)));
    put("data_source", json!(sources(snapshot, s)));
    row
}

/// Plugins whose readings are shown of a subject.
pub(super) fn sources(snapshot: &Snapshot, s: &Subject) -> String {
    let mut all: Vec<&str> = s.readings.iter().filter_map(|r| snapshot.sources.get(r.source as usize)).map(|s| &*s.plugin).collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

/// The name of a state that a subject is in now.
pub(super) fn state(s: &Subject, metric: &str) -> Option<&'static str> {
    let id = Catalogue::known(metric)?;
    METRICS[id.0 as usize].states.get(s.number(id)? as usize).copied()
}

/// A reading of the catalogue times a factor.
pub(super) fn scaled(s: &Subject, metric: &str, factor: f64) -> Option<f64> {
    s.number(Catalogue::known(metric)?).map(|v| converted(v, factor))
}

/// Watts that were added up: microwatts and finer are noise of adding doubles.
pub(super) fn watts(value: Option<f64>) -> Option<f64> {
    value.map(|w| (w * 1e6).round() / 1e6)
}

/// Part of whole in percent.
pub(super) fn percent(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    part.zip(whole).filter(|(_, whole)| *whole > 0.0).map(|(part, whole)| (part / whole * 1e4).round() / 1e2)
}

/// The readings of one card.
pub(super) fn metrics(s: &Subject, class: Class) -> Map<String, Value> {
    let name = class.name();
    let plain = |k: &str| json!(number(s, k));
    let int = |k: &str| json!(whole(number(s, k)));
    let rows: Vec<(String, Value)> = vec![
        (format!("{name}_id"), json!(&*s.id)),
        ("timestamp".into(), json!(rfc3339(s.readings.iter().map(|r| r.at_ms).max().unwrap_or(s.last_seen_ms)))),
        (format!("{name}_utilization_percent"), plain("utilization_percent")),
        (
            "memory_utilization_percent".into(),
            json!(
                number(s, "memory_used_mb")
                    .zip(number(s, "memory_total_mb"))
                    .filter(|(_, t)| *t > 0.0)
                    .map(|(u, t)| (u / t * 1e4).round() / 1e2)
            ),
        ),
        ("decoder_utilization_percent".into(), plain("decoder_utilization_percent")),
        ("encoder_utilization_percent".into(), plain("encoder_utilization_percent")),
        ("memory_copy_utilization_percent".into(), plain("memory_bandwidth_percent")),
        (format!("{name}_temperature_celsius"), plain("temperature_celsius")),
        ("memory_temperature_celsius".into(), plain("memory_temperature_celsius")),
        ("temperature_limit_celsius".into(), plain("temperature_limit_celsius")),
        ("power_usage_watts".into(), plain("power_watts")),
        ("power_limit_watts".into(), plain("power_limit_watts")),
        ("total_energy_joules".into(), plain("energy_joules")),
        ("memory_used_mb".into(), int("memory_used_mb")),
        ("memory_free_mb".into(), int("memory_free_mb")),
        ("memory_reserved_mb".into(), int("memory_reserved_mb")),
        ("sm_clock_mhz".into(), int("clock_sm_mhz")),
        ("memory_clock_mhz".into(), int("clock_memory_mhz")),
        ("xid_errors".into(), int("xid_last")),
        ("pcie_replay_counter".into(), int("pcie_replay_total")),
        ("correctable_remapped_rows".into(), int("remapped_rows_correctable_total")),
        ("uncorrectable_remapped_rows".into(), int("remapped_rows_uncorrectable_total")),
        ("sm_active_percent".into(), plain("sm_active_percent")),
        ("tensor_active_percent".into(), plain("tensor_active_percent")),
        ("dram_active_percent".into(), plain("dram_active_percent")),
    ];
    rows.into_iter().collect()
}

/// Why what is `null` is not there, by catalogue name.
pub(super) fn unavailable(s: &Subject) -> Value {
    const ASKED: [&str; 8] = [
        "power_watts",
        "power_limit_watts",
        "energy_joules",
        "temperature_celsius",
        "memory_temperature_celsius",
        "utilization_ratio",
        "memory_used_bytes",
        "memory_total_bytes",
    ];
    let known = ASKED.iter().filter_map(|n| Catalogue::known(n));
    let named = s.readings.iter().map(|r| r.metric);
    let mut all: Vec<_> = known.chain(named).filter(|m| (m.0 as usize) < METRICS.len()).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().filter_map(|m| s.gap(m).map(|reason| (METRICS[m.0 as usize].name.to_owned(), json!(reason)))).collect()
}

/// Sums and means over cards; each counts once, an unknown reading in none of them.
#[derive(Default)]
pub(super) struct Summary {
    total: usize,
    vendors: BTreeMap<String, usize>,
    active: usize,
    idle: usize,
    error: usize,
    offline: usize,
    power: Stat,
    utilization: Stat,
    temperature: Stat,
    memory_used: f64,
    memory_total: f64,
    memory_known: bool,
    limited: [usize; 2],
}

#[derive(Default)]
struct Stat {
    sum: f64,
    max: Option<f64>,
    count: usize,
}

impl Stat {
    fn add(&mut self, value: Option<f64>) {
        if let Some(v) = value {
            self.sum += v;
            self.count += 1;
            self.max = Some(self.max.map_or(v, |m| m.max(v)));
        }
    }

    fn sum(&self) -> Option<f64> {
        // Milliwatts and finer are noise of adding doubles.
        (self.count > 0).then(|| (self.sum * 1e6).round() / 1e6)
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.sum / self.count as f64 * 1e3).round() / 1e3)
    }
}

impl Summary {
    pub(super) fn of(snapshot: &Snapshot, cards: &[&Arc<Subject>]) -> Self {
        let mut all = Self { total: cards.len(), ..Self::default() };
        for s in cards {
            *all.vendors.entry(s.label("vendor").unwrap_or("unknown").to_owned()).or_default() += 1;
            match status(snapshot, s) {
                "active" => all.active += 1,
                "idle" => all.idle += 1,
                "error" => all.error += 1,
                _ => all.offline += 1,
            }
            all.power.add(number(s, "power_watts"));
            all.utilization.add(number(s, "utilization_percent"));
            let temperature = number(s, "temperature_celsius");
            all.temperature.add(temperature);
            for (i, limit) in ["slowdown_temperature_celsius", "shutdown_temperature_celsius"].iter().enumerate() {
                let over = temperature.zip(number(s, limit)).is_some_and(|(t, l)| t >= l);
                all.limited[i] += usize::from(over);
            }
            if let Some((used, total)) = number(s, "memory_used_mb").zip(number(s, "memory_total_mb")) {
                all.memory_known = true;
                all.memory_used += used;
                all.memory_total += total;
            }
        }
        all
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let missing = self.total - self.power.count;
        (missing > 0)
            .then(|| format!("{missing} of {} cards have no power reading and are not in the total", self.total))
            .into_iter()
            .collect()
    }

    fn base(&self) -> Map<String, Value> {
        let memory = |v: f64| self.memory_known.then(|| v.round() as u64);
        let share = (self.memory_known && self.memory_total > 0.0).then(|| (self.memory_used / self.memory_total * 1e4).round() / 1e2);
        let rows: [(&str, Value); 11] = [
            ("max_utilization_percent", json!(self.utilization.max)),
            ("avg_temperature_celsius", json!(self.temperature.mean())),
            ("max_temperature_celsius", json!(self.temperature.max)),
            ("warning_temperature_count", json!(self.limited[0])),
            ("critical_temperature_count", json!(self.limited[1])),
            ("total_power_watts", json!(self.power.sum())),
            ("avg_power_watts", json!(self.power.mean())),
            ("max_power_watts", json!(self.power.max)),
            ("total_memory_used_mb", json!(memory(self.memory_used))),
            ("total_memory_available_mb", json!(memory(self.memory_total - self.memory_used))),
            ("avg_memory_used_percent", json!(share)),
        ];
        rows.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    pub(super) fn fields(&self, class: Class) -> Map<String, Value> {
        let (one, many) = (class.name(), class.plural());
        let mut out = self.base();
        let max = out.remove("max_utilization_percent").unwrap_or(Value::Null);
        let mut put = |k: String, v: Value| {
            out.insert(k, v);
        };
        put(format!("total_{many}"), json!(self.total));
        put(format!("active_{many}"), json!(self.active));
        put(format!("idle_{many}"), json!(self.idle));
        put(format!("error_{many}"), json!(self.error));
        put(format!("offline_{many}"), json!(self.offline));
        put(format!("avg_{one}_utilization_percent"), json!(self.utilization.mean()));
        put(format!("max_{one}_utilization_percent"), max);
        put("power_known_count".into(), json!(self.power.count));
        put("vendors".into(), json!(self.vendors));
        if class == Class::Npu {
            // As clients of the predecessor know them.
            for vendor in ["furiosa", "rebellions"] {
                put(format!("{vendor}_count"), json!(self.vendors.get(vendor).copied().unwrap_or(0)));
            }
        }
        out
    }

    pub(super) fn combined(&self, gpus: &Self, npus: &Self) -> Map<String, Value> {
        let mut out = self.base();
        let other = self.power.sum - gpus.power.sum - npus.power.sum;
        let rows: [(&str, Value); 12] = [
            ("total_accelerators", json!(self.total)),
            ("total_gpus", json!(gpus.total)),
            ("total_npus", json!(npus.total)),
            ("total_other", json!(self.total - gpus.total - npus.total)),
            ("active_accelerators", json!(self.active)),
            ("idle_accelerators", json!(self.idle)),
            ("error_accelerators", json!(self.error)),
            ("offline_accelerators", json!(self.offline)),
            ("avg_utilization_percent", json!(self.utilization.mean())),
            ("gpu_power_watts", json!(gpus.power.sum())),
            ("npu_power_watts", json!(npus.power.sum())),
            ("other_power_watts", json!((self.power.count > gpus.power.count + npus.power.count).then_some(other))),
        ];
        out.extend(rows.into_iter().map(|(k, v)| (k.to_owned(), v)));
        out
    }

    pub(super) fn part(&self) -> Value {
        json!({
            "count": self.total, "active": self.active, "idle": self.idle,
            "power_watts": self.power.sum(), "avg_utilization_percent": self.utilization.mean(),
        })
    }
}
