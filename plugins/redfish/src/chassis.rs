//! One chassis: its watts, supplies, fans and sensors, in the present shape where it is served and else in the old one, never in both.

use kcloud_collector_sdk::{CollectError, GapReason, SubjectRef};
use serde_json::Value;

use crate::out::{Out, is_absent};
use crate::service::{Miss, Service};
use crate::value::{id, num, reading, text};

pub(crate) const JOULES_PER_KWH: f64 = 3_600_000.0;

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

/// What is known of a chassis' watts.
#[derive(Default)]
pub(crate) struct Whole {
    /// There is a place for them, filled or not.
    pub(crate) is_named: bool,
    pub(crate) watts: Option<f64>,
    pub(crate) limit: Option<f64>,
}

/// Sensors whose reading was said already, each with whose it is.
pub(crate) type Said = Vec<(String, SubjectRef)>;

impl Reader<'_, '_, '_> {
    pub(crate) fn read(&mut self, chassis: &Value, subject: SubjectRef) {
        let mut said = Said::new();
        let mut whole = Whole::default();
        let (mut has_power, mut has_supplies, mut has_fans) = (Err(Miss::Absent), Err(Miss::Absent), Err(Miss::Absent));
        if self.parts.power {
            has_power = self.environment(chassis, subject, &mut said, &mut whole);
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
                Ok(old) => self.old_power(&old, subject, &mut whole, [lacks(&has_power), lacks(&has_supplies), lacks(&has_voltages)]),
                Err(Miss::Failed) if lacks(&has_power) => has_power = Err(Miss::Failed),
                Err(_) => {}
            }
        }
        // A server that is on and draws nothing is a sensor that says nothing.
        let is_on = chassis["PowerState"].as_str() == Some("On");
        let gap = match (whole.watts, &has_power) {
            (Some(watts), _) if watts != 0.0 || !is_on => None,
            (Some(_), _) | (None, Err(Miss::Failed)) => Some(GapReason::Error),
            (None, _) => Some(GapReason::Absent).filter(|_| whole.is_named),
        };
        if whole.is_named {
            self.out.label(subject, "method", Some("redfish".to_owned()));
        }
        match gap {
            Some(reason) => self.out.gap(subject, "power_watts", reason),
            None => self.out.known(subject, "power_watts", whole.watts),
        }
        self.out.known(subject, "power_limit_watts", whole.limit);
    }

    /// The watts and joules of the whole. A place for watts that is empty is as good as none: the old document may have them.
    fn environment(&mut self, chassis: &Value, subject: SubjectRef, said: &mut Said, whole: &mut Whole) -> Result<(), Miss> {
        let found = self.service.follow(chassis, "EnvironmentMetrics")?;
        for name in ["PowerWatts", "EnergykWh", "EnergyJoules"] {
            said.extend(source(&found[name]).map(|path| (path, subject)));
        }
        let joules = reading(&found["EnergyJoules"]).or_else(|| reading(&found["EnergykWh"]).map(|kwh| kwh * JOULES_PER_KWH));
        self.out.known(subject, "energy_joules", joules);
        let limit = &found["PowerLimitWatts"];
        whole.limit = num(&limit["SetPoint"]).or_else(|| reading(limit));
        whole.is_named = !found["PowerWatts"].is_null();
        whole.watts = reading(&found["PowerWatts"]);
        whole.watts.map(drop).ok_or(Miss::Absent)
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
    pub(crate) fn supply(&mut self, supply: &Value, psu: SubjectRef) {
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
    pub(crate) fn none_since(&self, failures: usize) -> Miss {
        if self.service.failure_count() > failures { Miss::Failed } else { Miss::Absent }
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
}

/// The sensor that an excerpt is of.
fn source(excerpt: &Value) -> Option<String> {
    excerpt["DataSourceUri"].as_str().map(|path| path.trim_end_matches('/').to_owned())
}

/// A problem of the whole where a chassis cannot be told from others.
pub(crate) fn nameless() -> CollectError {
    CollectError::Protocol("a chassis with neither Id nor @odata.id".to_owned())
}
