//! Readings of BMCs as rows: sensors, fans, supplies and the chassis itself, from IPMI or Redfish alike.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::v1::view::{number, percent, scaled, state};
use crate::catalogue::Catalogue;
use crate::inventory::{Kind, Snapshot, Subject};

pub(in crate::api) const TYPES: [&str; 6] = ["temperature", "power", "fan", "voltage", "current", "other"];

/// One reading.
pub(super) struct Row<'a> {
    pub subject: &'a Arc<Subject>,
    /// The machine: its node's name, else the BMC's address.
    pub machine: Arc<str>,
    pub name: String,
    pub kind: &'static str,
    pub value: Option<f64>,
    pub unit: &'static str,
    pub status: &'static str,
}

/// What a subject of a BMC may read: metric, type, unit, factor.
const READINGS: [(&str, &str, &str, f64); 12] = [
    ("temperature_celsius", "temperature", "celsius", 1.0),
    ("fan_speed_rpm", "fan", "rpm", 1.0),
    ("fan_ratio", "fan", "percent", 100.0),
    ("power_watts", "power", "watts", 1.0),
    ("power_input_watts", "power", "watts", 1.0),
    ("power_output_watts", "power", "watts", 1.0),
    ("voltage_volts", "voltage", "volts", 1.0),
    ("current_amperes", "current", "amperes", 1.0),
    ("humidity_ratio", "other", "percent", 100.0),
    ("reading_value", "other", "", 1.0),
    ("energy_joules", "other", "joules", 1.0),
    ("power_limit_watts", "", "", 1.0),
];

/// The node that contains a subject, by its own label or by its chassis.
pub(super) fn machine(snapshot: &Snapshot, s: &Subject) -> Arc<str> {
    let (mut at, mut bmc) = (Some(s), None);
    // A chassis may be in a chassis; nothing lies deeper than that.
    for _ in 0..8 {
        let Some(s) = at else { break };
        if let Some(node) = &s.node {
            return node.clone();
        }
        bmc = bmc.or_else(|| s.label("bmc_address"));
        at = s.parent.as_deref().and_then(|id| snapshot.get(id)).map(|p| &**p);
    }
    bmc.unwrap_or(&s.id).into()
}

/// By its own state, else by its thresholds, else by its health.
fn status(s: &Subject, value: Option<f64>) -> &'static str {
    match state(s, "sensor_state") {
        Some("nominal") => return "normal",
        Some(known @ ("warning" | "critical")) => return known,
        _ => {}
    }
    let limit = |name: &str| number(s, name);
    let over = |high: &str, low: &str| value.is_some_and(|v| limit(high).is_some_and(|l| v >= l) || limit(low).is_some_and(|l| v <= l));
    let names = ["threshold_upper_critical", "threshold_lower_critical", "threshold_upper_warning", "threshold_lower_warning"];
    match () {
        () if over(names[0], names[1]) => "critical",
        () if over(names[2], names[3]) => "warning",
        () if value.is_some() && names.iter().any(|n| limit(n).is_some()) => "normal",
        () => match state(s, "health") {
            Some("ok") => "normal",
            Some(known @ ("warning" | "critical")) => known,
            _ => "unknown",
        },
    }
}

/// A limit in the unit that the row is shown in.
pub(super) fn threshold(row: &Row<'_>, which: &str) -> Option<f64> {
    let factor = if row.unit == "percent" { 100.0 } else { 1.0 };
    scaled(row.subject, which, factor)
}

/// Every reading of a subject. One that it should have and has not is a row without a value.
fn rows<'a>(snapshot: &Snapshot, s: &'a Arc<Subject>, into: &mut Vec<Row<'a>>) {
    let own = s.identity.iter().find(|(k, _)| &**k == "name").or_else(|| s.identity.iter().find(|(k, _)| &**k == "entity"));
    let name = own.map_or("", |(_, v)| v);
    let machine = machine(snapshot, s);
    let before = into.len();
    for (metric, kind, unit, factor) in READINGS.into_iter().filter(|r| !r.1.is_empty()) {
        let Some(id) = Catalogue::known(metric) else { continue };
        let is_said = s.reading(id).is_some();
        // A fan's share and speed are one reading; what a supply draws and gives are two.
        if !is_said || (metric == "fan_ratio" && into.len() > before) || (s.kind == Kind::Chassis && metric == "energy_joules") {
            continue;
        }
        let value = scaled(s, metric, factor);
        let what = match (s.kind, metric) {
            (Kind::Psu, "power_input_watts") => " input",
            (Kind::Psu, "power_output_watts") => " output",
            (Kind::Psu, "voltage_volts") => " voltage",
            (Kind::Psu, "current_amperes") => " current",
            (Kind::Psu, "temperature_celsius") => " temperature",
            (Kind::Chassis, "power_watts") => " power",
            _ => "",
        };
        let name = format!("{name}{what}");
        into.push(Row { subject: s, machine: machine.clone(), name, kind, value, unit, status: status(s, value) });
    }
    if into.len() == before && (state(s, "sensor_state").is_some() || state(s, "health").is_some()) && s.kind != Kind::Chassis {
        // A discrete sensor has a state and no number.
        let kind = match s.kind {
            Kind::Fan => "fan",
            Kind::Psu => "power",
            _ => TYPES.into_iter().find(|t| s.label("sensor_type") == Some(t)).unwrap_or("other"),
        };
        into.push(Row { subject: s, machine, name: name.to_owned(), kind, value: None, unit: "", status: status(s, None) });
    }
}

/// Every row, in order of cluster, machine and name. What hangs below a card (its own sensors) is a card's affair, and what hangs below
/// a node is its operating system's (hwmon), not its BMC's.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let mut out = Vec::new();
    let is_own = |s: &Subject| s.parent.as_deref().and_then(|p| snapshot.get(p)).is_some_and(|p| p.kind == Kind::Node);
    for kind in [Kind::Chassis, Kind::Sensor, Kind::Psu, Kind::Fan] {
        snapshot.of_kind(kind).iter().filter(|s| s.kind == Kind::Chassis || !is_own(s)).for_each(|s| rows(snapshot, s, &mut out));
    }
    once(snapshot, &mut out);
    out.sort_by(|a, b| (&a.subject.cluster, &a.machine).cmp(&(&b.subject.cluster, &b.machine)).then_with(|| natural(&a.name, &b.name)));
    out
}

/// A BMC that is asked both ways tells everything twice, under other names: of each type of a machine's readings those of one source
/// are kept. Redfish also tells limits, IPMI tells more than an exporter passes on.
fn once(snapshot: &Snapshot, rows: &mut Vec<Row<'_>>) {
    let rank = |row: &Row<'_>| {
        let source = row.subject.readings.first().and_then(|r| snapshot.sources.get(r.source as usize));
        let plugin = source.map_or("", |s| &*s.plugin);
        ["redfish", "ipmi", "ipmi-exporter"].iter().position(|p| *p == plugin).unwrap_or(3)
    };
    let key = |row: &Row<'_>| (row.subject.cluster.clone(), row.machine.clone(), row.kind);
    let mut best: HashMap<_, usize> = HashMap::new();
    for row in rows.iter().filter(|r| r.subject.kind != Kind::Chassis) {
        best.entry(key(row)).and_modify(|known| *known = rank(row).min(*known)).or_insert_with(|| rank(row));
    }
    rows.retain(|row| row.subject.kind == Kind::Chassis || best.get(&key(row)) == Some(&rank(row)));
}

/// `FAN2` before `FAN10`.
pub(super) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let parts = |text: &str| {
        let mut out: Vec<(String, u64)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(digits);
            let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
            out.push((word.to_lowercase(), tail[..end].parse().unwrap_or(0)));
            rest = &tail[end..];
        }
        out
    };
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

/// The worst of several.
pub(super) fn worst<'a>(all: impl Iterator<Item = &'a str>) -> &'static str {
    let rank = |s: &str| ["unknown", "normal", "warning", "critical"].iter().position(|k| *k == s).unwrap_or(0);
    all.map(rank).max().map_or("unknown", |i| ["unknown", "normal", "warning", "critical"][i])
}

/// Share of its capacity that a supply gives.
pub(super) fn load(s: &Subject) -> Option<f64> {
    percent(number(s, "power_output_watts").or_else(|| number(s, "power_input_watts")), number(s, "power_capacity_watts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_comes_after_two() {
        let mut names = ["FAN10", "FAN2", "fan1", "12V", "5V", "CPU"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["5V", "12V", "CPU", "fan1", "FAN2", "FAN10"]);
        assert_eq!(worst(["normal", "critical", "unknown"].into_iter()), "critical");
    }
}
