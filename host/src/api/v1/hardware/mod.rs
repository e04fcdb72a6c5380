//! `/hardware/ipmi`: what BMCs read, by IPMI or Redfish. Any number of fans, rails and supplies, each by its own name.

pub(in crate::api) mod sensors;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use self::sensors::{Row, TYPES, all, load, natural, threshold, worst};
use super::super::envelope::{respond, rfc3339};
use super::super::params::{Id, Params};
use super::super::{App, Problem, Rendered};
use super::listing::{fields, known_cluster, only};
use super::view::{number, state, unavailable};
use crate::inventory::{Kind, Snapshot};
use crate::power::{Account, Server};

pub(in crate::api) const STATUSES: [&str; 4] = ["normal", "warning", "critical", "unknown"];

/// The rows of machines, by cluster and name.
type Machines<'a> = BTreeMap<(Arc<str>, Arc<str>), Vec<Row<'a>>>;

/// Rows that the filters let through.
fn select<'a>(snapshot: &'a Snapshot, params: &Params) -> Vec<Row<'a>> {
    let mut rows = all(snapshot);
    rows.retain(|r| {
        params.cluster.as_deref().is_none_or(|c| *r.subject.cluster == *c) && params.get("node").is_none_or(|n| *r.machine == *n)
    });
    rows
}

fn by_machine<'a>(rows: Vec<Row<'a>>) -> Machines<'a> {
    let mut out = Machines::new();
    for row in rows {
        out.entry((row.subject.cluster.clone(), row.machine.clone())).or_default().push(row);
    }
    out
}

/// A machine that nobody knows is an error, not an empty list.
fn known_machine(snapshot: &Snapshot, params: &Params) -> Result<(), Problem> {
    let Some(name) = params.get("node") else { return Ok(()) };
    let is_node = snapshot.of_kind(Kind::Node).iter().any(|s| s.node.as_deref() == Some(name));
    match is_node || all(snapshot).iter().any(|r| *r.machine == *name) {
        true => Ok(()),
        false => Err(Problem::not_found("node", name)),
    }
}

/// What the account knows of a machine.
fn server<'a>(account: &'a Account, cluster: &str, name: &str) -> Option<&'a Server> {
    let place = account.servers.binary_search_by(|s| (&*s.cluster, &*s.name).cmp(&(cluster, name)));
    place.ok().map(|i| &account.servers[i])
}

fn round(v: f64) -> f64 {
    (v * 1e3).round() / 1e3
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| round(values.iter().sum::<f64>() / values.len() as f64))
}

fn most(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::max)
}

fn at(rows: &[Row<'_>]) -> String {
    rfc3339(rows.iter().flat_map(|r| r.subject.readings.iter()).map(|r| r.at_ms).max().unwrap_or(0))
}

fn sensor(row: &Row<'_>, with_reasons: bool) -> Map<String, Value> {
    let s = row.subject;
    let limit = |which: &str| json!(threshold(row, which));
    let own = |key: &str| s.identity.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v);
    let mut out = fields([
        ("sensor_id", json!(&*s.id)),
        ("sensor_name", json!(row.name)),
        ("sensor_type", json!(row.kind)),
        ("node_name", json!(row.machine)),
        ("cluster", json!(&*s.cluster)),
        ("value", json!(row.value)),
        ("unit", json!(if row.unit.is_empty() { s.label("unit").unwrap_or("") } else { row.unit })),
        ("status", json!(row.status)),
        ("lower_critical", limit("threshold_lower_critical")),
        ("lower_warning", limit("threshold_lower_warning")),
        ("upper_warning", limit("threshold_upper_warning")),
        ("upper_critical", limit("threshold_upper_critical")),
        ("timestamp", json!(rfc3339(s.readings.iter().map(|r| r.at_ms).max().unwrap_or(s.last_seen_ms)))),
        ("entity_id", json!(own("entity"))),
        ("location", json!(s.label("location"))),
    ]);
    if with_reasons {
        out.insert("unavailable".into(), unavailable(s));
    }
    out
}

fn list_sensors(app: &App, params: &Params, headers: &HeaderMap, node: Option<&str>) -> Result<Response, Problem> {
    known_cluster(app, params)?;
    let (limit, offset) = params.page()?;
    let (kind, wanted) = (params.one_of("sensor_type", &TYPES)?, params.one_of("status", &STATUSES)?);
    let with_reasons = params.flag("include_reasons")?;
    let path = node.map_or_else(|| "hardware/ipmi/sensors".to_owned(), |n| format!("hardware/ipmi/sensors/{n}"));
    respond(app, headers, "sensor", &path, params, |snapshot| {
        known_machine(snapshot, params)?;
        let mut rows = select(snapshot, params);
        if let Some(node) = node {
            let is_node = snapshot.of_kind(Kind::Node).iter().any(|s| s.node.as_deref() == Some(node));
            rows.retain(|r| *r.machine == *node);
            if rows.is_empty() && !is_node {
                return Err(Problem::not_found("node", node));
            }
        }
        rows.retain(|r| kind.is_none_or(|k| r.kind == k) && wanted.is_none_or(|w| r.status == w));
        let with = |status: &str| rows.iter().filter(|r| r.status == status).count();
        let warnings: Vec<String> = match (with("critical"), with("warning")) {
            (0, 0) => vec![],
            (critical, warning) => vec![format!("{critical} sensors are critical, {warning} in warning")],
        };
        let mut page: Vec<_> = rows.iter().skip(offset).take(limit).map(|r| sensor(r, with_reasons)).collect();
        only(&mut page, params.get("fields"))?;
        let link = params.link(&format!("/api/v1/{path}"), rows.len())?;
        Ok(Rendered { link, warnings: warnings.into(), ..Rendered::list(&page, rows.len())? })
    })
}

/// A list with one row a machine.
fn each(
    app: &App,
    params: &Params,
    headers: &HeaderMap,
    route: &str,
    row: impl Fn(&Snapshot, &Account, &[Row<'_>]) -> Option<Map<String, Value>>,
) -> Result<Response, Problem> {
    known_cluster(app, params)?;
    let (limit, offset) = params.page()?;
    respond(app, headers, "ipmi", route, params, |snapshot| {
        known_machine(snapshot, params)?;
        let account = snapshot.account();
        let machines = by_machine(select(snapshot, params));
        let rows: Vec<Map<String, Value>> = machines
            .iter()
            .filter_map(|((cluster, name), rows)| {
                let mut out = fields([("node_name", json!(name)), ("cluster", json!(cluster)), ("timestamp", json!(at(rows)))]);
                out.extend(row(snapshot, account, rows)?);
                Some(out)
            })
            .collect();
        let page: Vec<_> = rows.iter().skip(offset).take(limit).collect();
        let link = params.link(&format!("/api/v1/{route}"), rows.len())?;
        Ok(Rendered { link, ..Rendered::list(&page, rows.len())? })
    })
}

/// Supplies of a machine, by name.
fn supplies(rows: &[Row<'_>]) -> Vec<Value> {
    let mut all: Vec<_> = rows.iter().filter(|r| r.subject.kind == Kind::Psu).map(|r| r.subject).collect();
    all.sort_by(|a, b| natural(&a.id, &b.id));
    all.dedup_by(|a, b| a.id == b.id);
    let named = |s: &crate::inventory::Subject| s.identity.iter().find(|(k, _)| &**k == "name").map(|(_, v)| v.to_string());
    let status = |id: &str| worst(rows.iter().filter(|r| *r.subject.id == *id).map(|r| r.status));
    all.into_iter()
        .map(|s| {
            json!({
                "name": named(s), "input_watts": number(s, "power_input_watts"), "output_watts": number(s, "power_output_watts"),
                "power_watts": number(s, "power_input_watts").or_else(|| number(s, "power_watts")),
                "capacity_watts": number(s, "power_capacity_watts"), "load_percent": load(s), "state": s.label("state"),
                "status": status(&s.id), "serial_number": s.label("serial_number"), "model": s.label("model"),
            })
        })
        .collect()
}

/// Sum of readings of a type whose names hold a word.
fn of_words(rows: &[Row<'_>], kind: &str, words: &[&str]) -> Option<f64> {
    let holds = |r: &&Row<'_>| r.kind == kind && r.subject.kind == Kind::Sensor && words.iter().any(|w| r.name.to_lowercase().contains(w));
    rows.iter().filter(holds).filter_map(|r| r.value).reduce(|a, b| a + b)
}

fn power_row(account: &Account, rows: &[Row<'_>]) -> Option<Map<String, Value>> {
    let powered: Vec<&Row<'_>> = rows.iter().filter(|r| r.kind == "power").collect();
    if powered.is_empty() {
        return None;
    }
    let server = server(account, &rows[0].subject.cluster, &rows[0].machine);
    let supplies = supplies(rows);
    let supply = |i: usize, key: &str| supplies.get(i).map_or(Value::Null, |s| s[key].clone());
    let chassis = rows.iter().map(|r| r.subject).find(|s| s.kind == Kind::Chassis);
    Some(fields([
        ("total_power_watts", json!(server.and_then(|s| s.watts()))),
        ("power_source", json!(server.and_then(|s| s.total()).map(|(method, _)| method.name()))),
        ("psu1_power_watts", supply(0, "power_watts")),
        ("psu2_power_watts", supply(1, "power_watts")),
        ("psu1_status", supply(0, "status")),
        ("psu2_status", supply(1, "status")),
        ("cpu_power_watts", json!(of_words(rows, "power", &["cpu", "processor"]))),
        ("memory_power_watts", json!(of_words(rows, "power", &["mem", "dimm", "dram"]))),
        ("power_status", json!(worst(powered.iter().map(|r| r.status)))),
        ("power_state", json!(chassis.and_then(|s| state(s, "power_state")))),
        ("power_limit_watts", json!(chassis.and_then(|s| number(s, "power_limit_watts")))),
        ("supplies", json!(supplies)),
    ]))
}

fn temperature_row(rows: &[Row<'_>]) -> Option<Map<String, Value>> {
    let all: Vec<&Row<'_>> = rows.iter().filter(|r| r.kind == "temperature").collect();
    let values: Vec<f64> = all.iter().filter_map(|r| r.value).collect();
    if all.is_empty() {
        return None;
    }
    let is_cpu = |n: &str| n.contains("cpu") || n.contains("processor");
    let cpus: Vec<f64> =
        all.iter().filter(|r| is_cpu(&r.name.to_lowercase()) && !r.name.to_lowercase().contains("dimm")).filter_map(|r| r.value).collect();
    let hottest = |words: &[&str]| {
        let named = all.iter().filter(|r| words.iter().any(|w| r.name.to_lowercase().contains(w)));
        most(&named.filter_map(|r| r.value).collect::<Vec<_>>())
    };
    let with = |status: &str| all.iter().filter(|r| r.status == status).count();
    let each: Vec<Value> = all.iter().map(|r| json!({ "name": r.name, "temperature_celsius": r.value, "status": r.status })).collect();
    Some(fields([
        ("cpu1_temperature_celsius", json!(cpus.first())),
        ("cpu2_temperature_celsius", json!(cpus.get(1))),
        ("inlet_temperature_celsius", json!(hottest(&["inlet", "ambient", "intake"]))),
        ("exhaust_temperature_celsius", json!(hottest(&["exhaust", "outlet"]))),
        ("motherboard_temperature_celsius", json!(hottest(&["motherboard", "mb temp", "system board", "planar", "baseboard"]))),
        ("memory_temperature_celsius", json!(hottest(&["dimm", "memory", "mem "]))),
        ("pcie_temperature_celsius", json!(hottest(&["pcie", "pci "]))),
        ("overall_temperature_status", json!(worst(all.iter().map(|r| r.status)))),
        ("highest_temperature_celsius", json!(most(&values))),
        ("critical_temperature_count", json!(with("critical"))),
        ("warning_temperature_count", json!(with("warning"))),
        ("temperatures", json!(each)),
    ]))
}

/// A fan that stands still, or that its BMC calls critical.
fn has_failed(row: &Row<'_>) -> bool {
    row.status == "critical" || (row.value == Some(0.0) && row.status != "normal")
}

fn fan_row(rows: &[Row<'_>]) -> Option<Map<String, Value>> {
    let all: Vec<&Row<'_>> = rows.iter().filter(|r| r.kind == "fan").collect();
    if all.is_empty() {
        return None;
    }
    let speed = |i: usize| json!(all.get(i).filter(|r| r.unit == "rpm").and_then(|r| r.value).map(|v| v.round() as u64));
    let speeds: Vec<f64> = all.iter().filter(|r| r.unit == "rpm").filter_map(|r| r.value).collect();
    let each: Vec<Value> = all
        .iter()
        .map(|r| {
            let of = |unit: &str| r.value.filter(|_| r.unit == unit);
            json!({ "name": r.name, "fan_speed_rpm": of("rpm"), "fan_speed_percent": of("percent"), "status": r.status })
        })
        .collect();
    Some(fields([
        ("fan1_speed_rpm", speed(0)),
        ("fan2_speed_rpm", speed(1)),
        ("fan3_speed_rpm", speed(2)),
        ("fan4_speed_rpm", speed(3)),
        ("fan5_speed_rpm", speed(4)),
        ("fan6_speed_rpm", speed(5)),
        ("fan_count", json!(all.len())),
        ("overall_fan_status", json!(worst(all.iter().map(|r| r.status)))),
        ("fan_failure_count", json!(all.iter().filter(|r| has_failed(r)).count())),
        ("avg_fan_speed_rpm", json!(mean(&speeds))),
        ("fans", json!(each)),
    ]))
}

/// Whether a name holds a voltage as a word of its own: `12V` and `+12 V`, not `1.05V` for 5.
fn is_rail(name: &str, volts: &str) -> bool {
    let name = name.to_lowercase().replace(' ', "");
    let mut rest = name.as_str();
    while let Some(i) = rest.find(volts) {
        let (before, after) = (rest[..i].chars().next_back(), &rest[i + volts.len()..]);
        let ends = after.starts_with('v') && !after[1..].starts_with(|c: char| c.is_ascii_digit());
        if ends && before.is_none_or(|c| !c.is_ascii_digit() && c != '.') {
            return true;
        }
        rest = &rest[i + volts.len()..];
    }
    false
}

fn voltage_row(rows: &[Row<'_>]) -> Option<Map<String, Value>> {
    let all: Vec<&Row<'_>> = rows.iter().filter(|r| r.kind == "voltage").collect();
    if all.is_empty() {
        return None;
    }
    let rail = |volts: &[&str]| json!(all.iter().find(|r| volts.iter().any(|v| is_rail(&r.name, v))).and_then(|r| r.value));
    let named = |words: &[&str]| json!(all.iter().find(|r| words.iter().any(|w| r.name.to_lowercase().contains(w))).and_then(|r| r.value));
    let each: Vec<Value> = all.iter().map(|r| json!({ "name": r.name, "voltage_volts": r.value, "status": r.status })).collect();
    Some(fields([
        ("voltage_12v", rail(&["12"])),
        ("voltage_5v", rail(&["5", "5.0"])),
        ("voltage_3_3v", rail(&["3.3", "3_3"])),
        ("voltage_cpu", named(&["vcore", "cpu", "vccp"])),
        ("voltage_dimm", named(&["dimm", "vddq", "mem"])),
        ("overall_voltage_status", json!(worst(all.iter().map(|r| r.status)))),
        ("voltage_warning_count", json!(all.iter().filter(|r| matches!(r.status, "warning" | "critical")).count())),
        ("rails", json!(each)),
    ]))
}

pub(in crate::api) async fn list(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    list_sensors(&app, &params, &h, None)
}

pub(in crate::api) async fn of_node(State(app): State<App>, Id(node): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    list_sensors(&app, &params, &h, Some(&node))
}

pub(in crate::api) async fn power(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    each(&app, &params, &h, "hardware/ipmi/power", |_, account, rows| power_row(account, rows))
}

pub(in crate::api) async fn temperature(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    each(&app, &params, &h, "hardware/ipmi/temperature", |_, _, rows| temperature_row(rows))
}

pub(in crate::api) async fn fans(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    each(&app, &params, &h, "hardware/ipmi/fans", |_, _, rows| fan_row(rows))
}

pub(in crate::api) async fn voltage(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    each(&app, &params, &h, "hardware/ipmi/voltage", |_, _, rows| voltage_row(rows))
}

pub(in crate::api) async fn summary(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    respond(&app, &h, "ipmi", "hardware/ipmi/summary", &params, |snapshot| {
        known_machine(snapshot, &params)?;
        let account = snapshot.account();
        let machines = by_machine(select(snapshot, &params));
        let servers = machines.keys().filter_map(|(cluster, name)| server(account, cluster, name));
        let watts: Vec<f64> = servers.filter_map(|s| s.watts()).collect();
        let rows = || machines.values().flatten();
        let heat: Vec<f64> = rows().filter(|r| r.kind == "temperature").filter_map(|r| r.value).collect();
        let hot = |status: &str| rows().filter(|r| r.kind == "temperature" && r.status == status).count();
        let fans: Vec<&Row<'_>> = rows().filter(|r| r.kind == "fan").collect();
        let speeds: Vec<f64> = fans.iter().filter(|r| r.unit == "rpm").filter_map(|r| r.value).collect();
        // Each machine once, by the worst of its readings.
        let states: Vec<&str> = machines.values().map(|rows| worst(rows.iter().map(|r| r.status))).collect();
        let with = |status: &str| states.iter().filter(|s| **s == status).count();
        Rendered::object(&json!({
            "total_nodes": machines.len(),
            "total_power_watts": (!watts.is_empty()).then(|| round(watts.iter().sum())), "avg_power_watts": mean(&watts), "max_power_watts": most(&watts),
            "power_known_count": watts.len(),
            "highest_temperature_celsius": most(&heat), "avg_temperature_celsius": mean(&heat),
            "critical_temperature_count": hot("critical"), "warning_temperature_count": hot("warning"),
            "total_fans": fans.len(), "failed_fans": fans.iter().filter(|r| has_failed(r)).count(), "avg_fan_speed_rpm": mean(&speeds),
            "total_sensors": rows().count(),
            "critical_nodes": with("critical"), "warning_nodes": with("warning"), "healthy_nodes": with("normal"), "unknown_nodes": with("unknown"),
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rail_is_a_word_and_no_part_of_another() {
        for (name, volts, is) in [
            ("12V", "12", true),
            ("+12 V", "12", true),
            ("P12V_AUX", "12", true),
            ("1.05V", "5", false),
            ("5V", "5", true),
            ("P5V", "5", true),
            ("15V", "5", false),
            ("3.3V", "3.3", true),
            ("5VSB", "5", true),
            ("12V5", "12", false),
        ] {
            assert_eq!(is_rail(name, volts), is, "{name}");
        }
    }
}
