//! From rows of ipmi_exporter to a server's BMC: its chassis, sensors, fans and supplies, whichever way the rows came.

mod names;
mod table;

use std::collections::{HashMap, HashSet};

use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source, label};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, Event, GapReason, Severity, SubjectRef};

use names::{Side, Supply, supply};

/// Reads BMCs. `nodes` says whose a BMC is, by its address, where neither the target nor a server's relabelling does.
#[derive(Default)]
pub struct IpmiExporter {
    pub nodes: HashMap<String, String>,
}

/// One read of one BMC.
struct Reading<'p, 'r, 'o, 'b> {
    page: &'p Page<'r>,
    out: &'o mut Out<'b>,
    chassis: SubjectRef,
    /// The worst state that any sensor of a subject is in.
    states: HashMap<SubjectRef, Option<u32>>,
    /// By their number: `PS1 Status` is of the supply that `PSU1 Power In` names.
    supplies: HashMap<String, SubjectRef>,
}

impl Source for IpmiExporter {
    const NAME: &'static str = "ipmi_exporter";
    const LIKE: &'static str = "ipmi_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        answered(page, out)?;
        let address = page.host.clone().unwrap_or_default();
        let named = page.node.clone().or_else(|| self.nodes.get(&address).cloned());
        if named.is_none() {
            out.problem(format!("nobody says which node the BMC {address} is of: the target's labels.node, or [config] nodes"));
        }
        let node = named.map(|name| out.node(&name));
        if let Some(node) = node {
            out.label(node, "bmc_address", page.asked.as_ref());
        }
        // Without a node its own address tells it from others.
        let chassis = |name: &str, out: &mut Out<'_>| {
            let one = out.batch.subject("chassis", &format!("{address}/{name}/{}", page.key), node, |s| {
                s.identity = match node {
                    Some(_) => vec![label("name", name)],
                    None => vec![label("entity", &address), label("name", name)],
                }
            });
            out.label(one, "bmc_address", page.asked.as_ref());
            one
        };
        if let Some(row) = page.first("ipmi_dcmi_power_consumption_watts") {
            let dcmi = chassis("dcmi", out);
            out.label(dcmi, "method", Some("dcmi"));
            // Before 1.7 it says 0 where the BMC measures nothing.
            match row.value > 0.0 {
                true => out.put("power_watts", dcmi, row.value, row.at_ms),
                false => out.gap("power_watts", dcmi, GapReason::Absent),
            }
        }
        let chassis = chassis("bmc", out);
        let mut reading = Reading { page, out, chassis, states: HashMap::new(), supplies: HashMap::new() };
        reading.info();
        reading.log();
        for family in table::FAMILIES {
            reading.family(family);
        }
        reading.discrete();
        reading.finish();
        Ok(())
    }
}

/// Whether any of the exporter's collectors reached the BMC.
fn answered(page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
    let all = page.rows("ipmi_up");
    let failed: Vec<String> = all.iter().filter(|r| r.value == 0.0).map(|r| r.text("collector")).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let of = page.host.as_deref().unwrap_or("the BMC");
    let why = CollectError::Unreachable(format!("ipmi_exporter could not read {} of {of}", failed.join(", ")));
    if failed.len() == all.len() {
        return Err(why);
    }
    out.half(why);
    Ok(())
}

impl Reading<'_, '_, '_, '_> {
    fn info(&mut self) {
        if let Some(row) = self.page.first("ipmi_bmc_info") {
            let said = |name: &str| row.get(name).filter(|v| v != "N/A").map(|v| v.into_owned());
            self.out.label(self.chassis, "firmware_version", said("firmware_revision"));
            self.out.label(self.chassis, "system_firmware_version", said("system_firmware_version"));
            // `Dell Inc. (674)`
            let maker = said("manufacturer_id").map(|m| m.split(" (").next().unwrap_or("").to_owned());
            self.out.label(self.chassis, "manufacturer", maker);
        }
        if let Some(row) = self.page.first("ipmi_chassis_power_state") {
            let state = match row.value {
                1.0 => "on",
                0.0 => "off",
                _ => "unknown",
            };
            self.out.state("power_state", self.chassis, state);
        }
        // The collector over FreeIPMI says 1 for no fault, the native one 1 for a fault: only the help text tells.
        let fault = |family: &str| {
            let (value, help) = (self.page.first(family)?.value, self.page.help(family)?);
            match (help.contains("1=false"), help.contains("1=true")) {
                (true, false) => Some(value == 0.0),
                (false, true) => Some(value == 1.0),
                _ => None,
            }
        };
        let faults = ["ipmi_chassis_cooling_fault_state", "ipmi_chassis_drive_fault_state"].map(fault);
        if faults.iter().any(Option::is_some) {
            let health = if faults.contains(&Some(true)) { "critical" } else { "ok" };
            self.out.state("health", self.chassis, health);
        }
    }

    /// The system event log: how much is in it, and the operator's own events.
    fn log(&mut self) {
        for (family, metric) in table::LOG {
            if let Some(row) = self.page.first(family) {
                self.out.put(metric, self.chassis, row.value, row.at_ms);
            }
        }
        for row in self.page.rows("ipmi_sel_events_count_by_state") {
            let metric = match &*row.text("state") {
                "Nominal" => "x_ipmi_sel_nominal_count",
                "Warning" => "x_ipmi_sel_warning_count",
                "Critical" => "x_ipmi_sel_critical_count",
                _ => continue,
            };
            self.out.put(metric, self.chassis, row.value, row.at_ms);
        }
        for row in self.page.rows("ipmi_sel_events_count_by_name") {
            let event = self.out.subject("x_ipmi_event", "name", &row.text("name"), Some(self.chassis));
            self.out.put("x_ipmi_sel_count", event, row.value, row.at_ms);
        }
        for row in self.page.rows("ipmi_sel_events_latest_timestamp") {
            let name = row.text("name");
            // A clock that was never set counts from its own beginning.
            let at = (row.value >= 1e9 && row.value < 1e10).then_some(row.value as u64 * 1_000_000_000);
            if row.value > 0.0 {
                let message = format!("{name} stands in the system event log");
                let (code, key) = (format!("sel:{name}"), format!("{name}/{}", row.value));
                self.out.batch.event(self.chassis, Event { subject: 0, at, severity: Severity::Warning, code, message, key });
            }
        }
    }

    fn value(&mut self, metric: &str, subject: SubjectRef, row: &Row<'_>) {
        match row.value.is_nan() {
            // FreeIPMI's "N/A": the machine is off, or nothing is plugged in.
            true => self.out.gap(metric, subject, GapReason::Absent),
            false => self.out.put(metric, subject, row.value, row.at_ms),
        }
    }

    fn family(&mut self, family: &table::Family) {
        let page = self.page;
        let states: HashMap<(String, String), f64> =
            page.rows(family.states).iter().map(|r| ((r.text("id"), r.text("name")), r.value)).collect();
        let mut said: HashSet<(SubjectRef, &str)> = HashSet::new();
        for row in page.rows(family.values) {
            let (id, name) = (row.text("id"), row.text("name"));
            let state = states.get(&(id.clone(), name.clone())).copied();
            if let Some(found) = supply(&name).filter(|_| family.is_of_supplies()) {
                let metric = match (family.metric, found.side) {
                    ("power_watts", Side::In) => "power_input_watts",
                    ("power_watts", Side::Out) => "power_output_watts",
                    (metric, _) => metric,
                };
                let psu = self.supply(&found);
                self.state(psu, state);
                // Of two voltages, one in and one out, the first is the supply's; the other stays a sensor.
                if said.insert((psu, metric)) {
                    self.value(metric, psu, row);
                    continue;
                }
            }
            let one = self.sensor(family.kind, &id, &name, family.sensor_type);
            self.state(one, state);
            self.value(family.metric, one, row);
        }
    }

    /// Sensors that have states and mostly no value.
    fn discrete(&mut self) {
        let page = self.page;
        let values: HashMap<(String, String), Row<'_>> =
            page.rows("ipmi_sensor_value").iter().map(|r| ((r.text("id"), r.text("name")), *r)).collect();
        for row in page.rows("ipmi_sensor_state") {
            let (id, name, kind) = (row.text("id"), row.text("name"), row.text("type"));
            let one = match supply(&name).filter(|_| kind == "Power Supply") {
                Some(found) => self.supply(&found),
                None => self.sensor("sensor", &id, &name, "other"),
            };
            self.out.label(one, "type", Some(&kind).filter(|_| !kind.is_empty()));
            self.state(one, Some(row.value));
            if let Some(value) = values.get(&(id, name)).filter(|v| v.value.is_finite() && kind != "Power Supply") {
                self.out.put("reading_value", one, value.value, value.at_ms);
            }
        }
    }

    /// A supply has the name by which it was met first.
    fn supply(&mut self, found: &Supply<'_>) -> SubjectRef {
        let (out, chassis) = (&mut *self.out, self.chassis);
        let new = || out.subject("psu", "name", found.name, Some(chassis));
        *self.supplies.entry(found.number.to_owned()).or_insert_with(new)
    }

    fn sensor(&mut self, kind: &str, id: &str, name: &str, sensor_type: &str) -> SubjectRef {
        let chassis = self.chassis;
        self.out.batch.subject(kind, &format!("{}/{id}/{name}", chassis.index()), Some(chassis), |s| {
            s.identity = vec![label("entity", id), label("name", name)];
            if kind == "sensor" {
                s.labels = vec![label("sensor_type", sensor_type)];
            }
        })
    }

    /// Notes what state a sensor is in: 0 nominal, 1 warning, 2 critical.
    fn state(&mut self, subject: SubjectRef, state: Option<f64>) {
        let Some(value) = state else { return };
        let said = [0.0, 1.0, 2.0].iter().position(|s| *s == value).map(|s| s as u32);
        let worst = self.states.entry(subject).or_insert(said);
        *worst = (*worst).max(said);
    }

    fn finish(self) {
        for (subject, state) in self.states {
            match state {
                Some(state) => self.out.state("sensor_state", subject, table::STATES[state as usize]),
                // The exporter could not make sense of what the BMC said.
                None => self.out.gap("sensor_state", subject, GapReason::Error),
            }
        }
    }
}
