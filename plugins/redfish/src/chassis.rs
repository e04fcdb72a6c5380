//! One chassis: its watts, supplies, fans and sensors, in the present shape where it is served and else in the old one, never in both.

use std::collections::HashSet;

use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef};
use serde_json::Value;

use crate::out::{Out, is_absent};
use crate::service::{Miss, Service};
use crate::value::{id, link, num, reading, text};

const JOULES_PER_KWH: f64 = 3_600_000.0;

/// Which parts are read.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) power: bool,
    pub(crate) thermal: bool,
    pub(crate) sensors: bool,
}

/// Reads what belongs to a chassis.
pub(crate) struct Reader<'r, 's, 'b> {
    pub(crate) service: &'r mut Service<'s>,
    pub(crate) out: &'r mut Out<'b>,
    pub(crate) parts: Parts,
}

/// Sensors whose reading was said already, each with whose it is.
type Said = Vec<(String, SubjectRef)>;

impl Reader<'_, '_, '_> {
    pub(crate) fn read(&mut self, chassis: &Value, subject: SubjectRef) {
        let mut said = Said::new();
        let (mut has_power, mut has_supplies, mut has_fans) = (Err(Miss::Absent), Err(Miss::Absent), Err(Miss::Absent));
        if self.parts.power {
            has_power = self.environment(chassis, subject, &mut said);
            has_supplies = self.supplies(chassis, subject, &mut said);
        }
        if self.parts.thermal {
            has_fans = self.fans(chassis, subject, &mut said);
        }
        let (mut has_temperatures, mut has_voltages) = (Err(Miss::Absent), Err(Miss::Absent));
        if self.parts.sensors {
            (has_temperatures, has_voltages) = self.sensors(chassis, subject, &said);
        }
        if self.parts.thermal && has_temperatures == Err(Miss::Absent) {
            has_temperatures = self.thermal_metrics(chassis, subject);
        }
        // The old documents, for what the present ones do not have. One that could not be read is no reason: its readings would
        // come under other names.
        let lacks = |found: &Result<(), Miss>| *found == Err(Miss::Absent);
        if self.parts.thermal
            && (lacks(&has_fans) || lacks(&has_temperatures))
            && let Ok(old) = self.service.follow(chassis, "Thermal")
        {
            self.old_thermal(&old, subject, lacks(&has_temperatures), lacks(&has_fans));
        }
        if self.parts.power && (lacks(&has_power) || lacks(&has_supplies) || lacks(&has_voltages)) {
            match self.service.follow(chassis, "Power") {
                Ok(old) => self.old_power(&old, subject, [lacks(&has_power), lacks(&has_supplies), lacks(&has_voltages)]),
                Err(Miss::Failed) if lacks(&has_power) => self.out.gap(subject, "power_watts", GapReason::Error),
                Err(_) => {}
            }
        }
    }

    /// The watts and joules of the whole.
    fn environment(&mut self, chassis: &Value, subject: SubjectRef, said: &mut Said) -> Result<(), Miss> {
        let found = match self.service.follow(chassis, "EnvironmentMetrics") {
            Err(Miss::Failed) => {
                self.out.gap(subject, "power_watts", GapReason::Error);
                return Err(Miss::Failed);
            }
            other => other?,
        };
        for name in ["PowerWatts", "EnergykWh", "EnergyJoules"] {
            said.extend(source(&found[name]).map(|path| (path, subject)));
        }
        let joules = reading(&found["EnergyJoules"]).or_else(|| reading(&found["EnergykWh"]).map(|kwh| kwh * JOULES_PER_KWH));
        self.out.known(subject, "energy_joules", joules);
        let limit = &found["PowerLimitWatts"];
        self.out.known(subject, "power_limit_watts", num(&limit["SetPoint"]).or_else(|| reading(limit)));
        if found["PowerWatts"].is_null() {
            return Err(Miss::Absent);
        }
        self.out.label(subject, "method", Some("redfish".to_owned()));
        self.out.value(subject, "power_watts", reading(&found["PowerWatts"]));
        Ok(())
    }

    fn supplies(&mut self, chassis: &Value, subject: SubjectRef, said: &mut Said) -> Result<(), Miss> {
        let before = self.service.failure_count();
        let subsystem = self.service.follow(chassis, "PowerSubsystem")?;
        let all = self.service.members(&subsystem, "PowerSupplies", |_| true)?;
        for (position, supply) in all.iter().enumerate() {
            let psu = self.out.part("psu", Some(subject), &id(supply), text(&supply["Name"]).as_deref(), position);
            self.supply(supply, psu);
            if is_absent(supply) {
                continue;
            }
            match self.service.follow(supply, "Metrics") {
                Ok(metrics) => {
                    for (name, property) in [
                        ("power_input_watts", "InputPowerWatts"),
                        ("power_output_watts", "OutputPowerWatts"),
                        ("voltage_volts", "InputVoltage"),
                        ("current_amperes", "InputCurrentAmps"),
                    ] {
                        said.extend(source(&metrics[property]).map(|path| (path, psu)));
                        if !metrics[property].is_null() {
                            self.out.value(psu, name, reading(&metrics[property]));
                        }
                    }
                }
                Err(Miss::Failed) => self.out.gap(psu, "power_input_watts", GapReason::Error),
                Err(Miss::Absent) => self.out.gap(psu, "power_input_watts", GapReason::Unsupported),
            }
        }
        if all.is_empty() { Err(self.none_since(before)) } else { Ok(()) }
    }

    /// What a supply says of itself in both shapes.
    fn supply(&mut self, supply: &Value, psu: SubjectRef) {
        self.out.labels(psu, supply, &[("manufacturer", "Manufacturer"), ("model", "Model"), ("serial_number", "SerialNumber")]);
        self.out.known(psu, "power_capacity_watts", num(&supply["PowerCapacityWatts"]));
        if is_absent(supply) {
            self.out.label(psu, "state", Some("absent".to_owned()));
            self.out.gap(psu, "power_input_watts", GapReason::Absent);
        }
        self.out.health(psu, supply);
    }

    fn fans(&mut self, chassis: &Value, subject: SubjectRef, said: &mut Said) -> Result<(), Miss> {
        let before = self.service.failure_count();
        let subsystem = self.service.follow(chassis, "ThermalSubsystem")?;
        let all = self.service.members(&subsystem, "Fans", |_| true)?;
        for (position, fan) in all.iter().enumerate() {
            let of = self.out.part("fan", Some(subject), &id(fan), text(&fan["Name"]).as_deref(), position);
            self.out.label(
                of,
                "location",
                text(&fan["Location"]["PartLocation"]["ServiceLabel"]).or_else(|| text(&fan["PhysicalContext"])),
            );
            let speed = &fan["SpeedPercent"];
            said.extend(source(speed).map(|path| (path, of)));
            self.out.value(of, "fan_ratio", reading(speed).map(|percent| percent / 100.0));
            self.out.known(of, "fan_speed_rpm", num(&speed["SpeedRPM"]));
            self.out.health(of, fan);
        }
        if all.is_empty() { Err(self.none_since(before)) } else { Ok(()) }
    }

    /// Why nothing was found: it is not there, or it is among what failed since.
    fn none_since(&self, failures: usize) -> Miss {
        if self.service.failure_count() > failures { Miss::Failed } else { Miss::Absent }
    }

    /// The chassis' sensors; whether temperatures and voltages are among them.
    fn sensors(&mut self, chassis: &Value, subject: SubjectRef, said: &Said) -> (Result<(), Miss>, Result<(), Miss>) {
        let known: HashSet<&str> = said.iter().map(|(path, _)| path.as_str()).collect();
        let before = self.service.failure_count();
        let found = self.service.members(chassis, "Sensors", |path| !known.contains(path.trim_end_matches('/')));
        let (mut has_temperatures, mut has_voltages) = (Err(self.none_since(before)), Err(self.none_since(before)));
        let Ok(all) = found else { return (has_temperatures, has_voltages) };
        for (position, sensor) in all.iter().enumerate() {
            let quantity = Quantity::of(sensor);
            // Said already, as a reading of whose it is; its limits are new.
            if let Some((_, of)) = said.iter().find(|(path, _)| link(sensor) == Some(path)) {
                if quantity.metric.starts_with("fan_") {
                    self.out.thresholds(*of, sensor, quantity.factor);
                }
                continue;
            }
            match quantity.metric {
                "temperature_celsius" => has_temperatures = Ok(()),
                "voltage_volts" => has_voltages = Ok(()),
                _ => {}
            }
            let name = text(&sensor["Name"]);
            if quantity.metric.starts_with("fan_") {
                let of = self.out.part("fan", Some(subject), &id(sensor), name.as_deref(), position);
                self.row(of, sensor, reading(sensor), &quantity);
                continue;
            }
            let of = self.out.part("sensor", Some(subject), &id(sensor), name.as_deref(), position);
            self.row(of, sensor, reading(sensor), &quantity);
            self.out.label(of, "sensor_type", Some(quantity.kind.to_owned()));
            self.out.label(of, "unit", text(&sensor["ReadingUnits"]));
        }
        (has_temperatures, has_voltages)
    }

    /// Reading, limits and state of one sensor or row.
    fn row(&mut self, of: SubjectRef, row: &Value, value: Option<f64>, quantity: &Quantity) {
        self.out.label(of, "location", text(&row["PhysicalContext"]));
        let is_on = !is_absent(row) && row["Status"]["State"].as_str() != Some("Disabled");
        self.out.value(of, quantity.metric, value.filter(|_| is_on).map(|v| v * quantity.factor));
        self.out.thresholds(of, row, quantity.factor);
        self.out.sensor_state(of, row);
    }

    /// Temperatures in one document, where there are no sensors of their own.
    fn thermal_metrics(&mut self, chassis: &Value, subject: SubjectRef) -> Result<(), Miss> {
        let subsystem = self.service.follow(chassis, "ThermalSubsystem")?;
        let found = self.service.follow(&subsystem, "ThermalMetrics")?;
        let listed = found["TemperatureReadingsCelsius"].as_array().into_iter().flatten();
        let mut all: Vec<(Option<String>, &Value)> = listed.map(|r| (text(&r["DeviceName"]), r)).collect();
        if all.is_empty() {
            let summary = found["TemperatureSummaryCelsius"].as_object().into_iter().flatten();
            all = summary.filter(|(_, r)| r.is_object()).map(|(name, r)| (Some(name.clone()), r)).collect();
        }
        for (position, (name, value)) in all.iter().enumerate() {
            let entity = source(value).map(|path| crate::value::last(&path).to_owned()).or_else(|| name.clone()).unwrap_or_default();
            let of = self.out.part("sensor", Some(subject), &entity, name.as_deref(), position);
            self.out.label(of, "sensor_type", Some("temperature".to_owned()));
            self.out.label(of, "unit", Some("Cel".to_owned()));
            self.out.value(of, "temperature_celsius", reading(value));
        }
        if all.is_empty() { Err(Miss::Absent) } else { Ok(()) }
    }

    fn old_thermal(&mut self, old: &Value, subject: SubjectRef, temperatures: bool, fans: bool) {
        for (position, row) in rows(old, "Temperatures").filter(|_| temperatures).enumerate() {
            let of = self.old_sensor(subject, row, "Temperatures", position);
            self.typed(of, "temperature", "Cel");
            self.row(of, row, num(&row["ReadingCelsius"]), &Quantity::new("temperature", "temperature_celsius"));
        }
        for (position, row) in rows(old, "Fans").filter(|_| fans).enumerate() {
            let name = text(&row["Name"]).or_else(|| text(&row["FanName"]));
            let of = self.out.part("fan", Some(subject), &member(row), name.as_deref(), position);
            let is_percent = text(&row["ReadingUnits"]).is_some_and(|u| u.starts_with('%') || u.eq_ignore_ascii_case("percent"));
            let (metric, factor) = if is_percent { ("fan_ratio", 0.01) } else { ("fan_speed_rpm", 1.0) };
            let value = num(&row["Reading"]).or_else(|| num(&row["ReadingRPM"]));
            self.row(of, row, value, &Quantity { kind: "fan", metric, factor });
            self.out.health(of, row);
        }
    }

    fn old_power(&mut self, old: &Value, subject: SubjectRef, [watts, supplies, voltages]: [bool; 3]) {
        for (position, row) in rows(old, "PowerControl").filter(|_| watts).enumerate() {
            let consumed = num(&row["PowerConsumedWatts"]);
            // The first is the whole; what follows are parts of it (processors, memory).
            if position > 0 {
                let of = self.old_sensor(subject, row, "PowerControl", position);
                self.typed(of, "power", "W");
                self.out.value(of, "power_watts", consumed);
                continue;
            }
            self.out.label(subject, "method", Some("redfish".to_owned()));
            self.out.value(subject, "power_watts", consumed);
            self.out.known(subject, "power_limit_watts", num(&row["PowerLimit"]["LimitInWatts"]));
        }
        if watts && rows(old, "PowerControl").next().is_none() {
            self.out.gap(subject, "power_watts", GapReason::Unsupported);
        }
        for (position, row) in rows(old, "PowerSupplies").filter(|_| supplies).enumerate() {
            let psu = self.out.part("psu", Some(subject), &member(row), text(&row["Name"]).as_deref(), position);
            self.supply(row, psu);
            if is_absent(row) {
                continue;
            }
            // Dell's iDRAC shows the most that a supply may draw in its place.
            let rated = num(&row["Oem"]["Dell"]["DellPowerSupplyView"]["Range1MaxInputPowerWatts"]);
            match num(&row["PowerInputWatts"]) {
                Some(input) if rated == Some(input) => self.out.gap(psu, "power_input_watts", GapReason::Unsupported),
                input => self.out.value(psu, "power_input_watts", input),
            }
            self.out.known(psu, "power_output_watts", num(&row["PowerOutputWatts"]).or_else(|| num(&row["LastPowerOutputWatts"])));
            self.out.known(psu, "voltage_volts", num(&row["LineInputVoltage"]));
        }
        let voltages = voltages && self.parts.sensors;
        for (position, row) in rows(old, "Voltages").filter(|_| voltages).enumerate() {
            let of = self.old_sensor(subject, row, "Voltages", position);
            // Dell again: "power good" as a voltage of 1 without a range.
            let is_flag = num(&row["MaxReadingRange"]) == Some(0.0) && num(&row["MinReadingRange"]) == Some(0.0);
            let quantity = if is_flag { Quantity::new("other", "reading_value") } else { Quantity::new("voltage", "voltage_volts") };
            self.typed(of, quantity.kind, if is_flag { "" } else { "V" });
            self.row(of, row, num(&row["ReadingVolts"]), &quantity);
        }
    }

    fn old_sensor(&mut self, subject: SubjectRef, row: &Value, of: &str, position: usize) -> SubjectRef {
        let entity = Some(member(row)).filter(|m| !m.is_empty()).map_or_else(|| format!("{of}/{position}"), |m| format!("{of}/{m}"));
        self.out.part("sensor", Some(subject), &entity, text(&row["Name"]).as_deref(), position)
    }

    fn typed(&mut self, of: SubjectRef, kind: &str, unit: &str) {
        self.out.label(of, "sensor_type", Some(kind.to_owned()));
        self.out.label(of, "unit", Some(unit.to_owned()).filter(|u| !u.is_empty()));
    }
}

fn rows<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    of[name].as_array().into_iter().flatten().filter(|row| row.is_object())
}

/// What tells a row from the others of its list.
fn member(row: &Value) -> String {
    text(&row["MemberId"]).or_else(|| num(&row["MemberId"]).map(|n| n.to_string())).unwrap_or_default()
}

/// The sensor that an excerpt is of.
fn source(excerpt: &Value) -> Option<String> {
    excerpt["DataSourceUri"].as_str().map(|path| path.trim_end_matches('/').to_owned())
}

/// What a sensor measures, as the catalogue says it.
struct Quantity {
    kind: &'static str,
    metric: &'static str,
    factor: f64,
}

impl Quantity {
    fn new(kind: &'static str, metric: &'static str) -> Self {
        Self { kind, metric, factor: 1.0 }
    }

    /// By its type and unit; older ones have the unit only.
    fn of(sensor: &Value) -> Self {
        let (kind, unit) = (sensor["ReadingType"].as_str().unwrap_or(""), sensor["ReadingUnits"].as_str().unwrap_or(""));
        let is_fan = text(&sensor["Name"]).is_some_and(|n| n.to_ascii_lowercase().contains("fan"));
        let of = |kind, metric, factor| Self { kind, metric, factor };
        match (kind, unit) {
            ("Temperature", _) | ("", "Cel") => of("temperature", "temperature_celsius", 1.0),
            ("Power", "kW") => of("power", "power_watts", 1_000.0),
            ("Power", _) | ("", "W") => of("power", "power_watts", 1.0),
            ("Voltage", "mV") => of("voltage", "voltage_volts", 0.001),
            ("Voltage", _) | ("", "V") => of("voltage", "voltage_volts", 1.0),
            ("Current", "mA") => of("current", "current_amperes", 0.001),
            ("Current", _) | ("", "A") => of("current", "current_amperes", 1.0),
            ("Rotational", _) | ("", "RPM" | "{rev}/min") => of("fan", "fan_speed_rpm", 1.0),
            ("Humidity", _) => of("humidity", "humidity_ratio", 0.01),
            ("EnergykWh", _) | ("", "kW.h") => of("other", "energy_joules", JOULES_PER_KWH),
            ("EnergyJoules", _) | ("", "J") => of("other", "energy_joules", 1.0),
            ("Percent" | "", "%") if is_fan => of("fan", "fan_ratio", 0.01),
            _ => of("other", "reading_value", 1.0),
        }
    }
}

/// A problem of the whole where a chassis cannot be told from others.
pub(crate) fn nameless() -> CollectError {
    CollectError::Protocol("a chassis with neither Id nor @odata.id".to_owned())
}
