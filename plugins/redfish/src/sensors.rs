//! A chassis' sensors in the present shape, and what one sensor or row says.

use std::collections::HashSet;

use kcloud_collector_sdk::SubjectRef;
use serde_json::Value;

use crate::chassis::{JOULES_PER_KWH, Reader, Said};
use crate::out::is_absent;
use crate::service::Miss;
use crate::value::{id, link, reading, text};

impl Reader<'_, '_, '_> {
    /// The chassis' sensors; whether temperatures and voltages are among them.
    pub(crate) fn sensors(&mut self, chassis: &Value, subject: SubjectRef, said: &Said) -> (Result<(), Miss>, Result<(), Miss>) {
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
    pub(crate) fn row(&mut self, of: SubjectRef, row: &Value, value: Option<f64>, quantity: &Quantity) {
        self.out.label(of, "location", text(&row["PhysicalContext"]));
        let is_on = !is_absent(row) && row["Status"]["State"].as_str() != Some("Disabled");
        self.out.value(of, quantity.metric, value.filter(|_| is_on).map(|v| v * quantity.factor));
        self.out.thresholds(of, row, quantity.factor);
        self.out.sensor_state(of, row);
    }
}

/// What a sensor measures, as the catalogue says it.
pub(crate) struct Quantity {
    pub(crate) kind: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) factor: f64,
}

impl Quantity {
    pub(crate) fn new(kind: &'static str, metric: &'static str) -> Self {
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
