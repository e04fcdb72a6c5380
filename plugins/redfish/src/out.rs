//! What is said: the metrics, and subjects that are told apart whatever ids a vendor repeats.

use std::collections::HashSet;

use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{Batch, GapReason, Label, Metric, MetricDef, MetricKind, Quality, SubjectRef};
use serde_json::Value;

use crate::value::{num, text};

const HEALTH: [&str; 3] = ["ok", "warning", "critical"];
const POWER: [&str; 5] = ["on", "off", "powering_on", "powering_off", "paused"];
const SENSOR: [&str; 3] = ["nominal", "warning", "critical"];

const NUMBERS: [(&str, &str); 23] = [
    ("clock_sm_hertz", "hertz"),
    ("current_amperes", "amperes"),
    ("fan_ratio", "ratio"),
    ("fan_speed_rpm", "rpm"),
    ("humidity_ratio", "ratio"),
    ("memory_bandwidth_ratio", "ratio"),
    ("memory_total_bytes", "bytes"),
    ("power_capacity_watts", "watts"),
    ("power_input_watts", "watts"),
    ("power_limit_watts", "watts"),
    ("power_output_watts", "watts"),
    ("power_watts", "watts"),
    ("reading_value", "sensor"),
    ("temperature_celsius", "celsius"),
    ("threshold_lower_critical", "sensor"),
    ("threshold_lower_warning", "sensor"),
    ("threshold_upper_critical", "sensor"),
    ("threshold_upper_warning", "sensor"),
    ("utilization_ratio", "ratio"),
    ("voltage_volts", "volts"),
    ("ecc_corrected_total", "count"),
    ("ecc_uncorrected_total", "count"),
    ("energy_joules", "joules"),
];

pub(crate) fn definitions() -> Vec<MetricDef> {
    let kind = |name: &str| if name.ends_with("_total") || name == "energy_joules" { MetricKind::Counter } else { MetricKind::Gauge };
    let numbers = NUMBERS.iter().map(|(name, unit)| definition(name, unit, kind(name), Quality::Measured));
    let states = [("health", &HEALTH[..]), ("power_state", &POWER), ("sensor_state", &SENSOR)].map(|(name, states)| MetricDef {
        states: states.iter().map(|s| (*s).to_owned()).collect(),
        ..definition(name, "state", MetricKind::State, Quality::Measured)
    });
    numbers.chain(states).collect()
}

/// The batch, and who is in it.
pub(crate) struct Out<'a> {
    pub(crate) batch: &'a mut Batch,
    names: Vec<String>,
    taken: HashSet<String>,
}

impl<'a> Out<'a> {
    pub(crate) fn new(batch: &'a mut Batch) -> Self {
        Self { batch, names: definitions().into_iter().map(|d| d.name).collect(), taken: HashSet::new() }
    }

    fn metric(&self, name: &str) -> Option<Metric> {
        self.names.iter().position(|n| n == name).map(|i| Metric(i as u32))
    }

    /// A new subject. Where `entity` stands there already, or says nothing, its position tells it apart, and a label says so.
    pub(crate) fn part(&mut self, kind: &str, parent: Option<SubjectRef>, entity: &str, name: Option<&str>, position: usize) -> SubjectRef {
        let key = |entity: &str| format!("{kind} {} {entity}/{}", parent.map_or(0, |p| p.index() + 1), name.unwrap_or(""));
        let is_told = !entity.is_empty() && !self.taken.contains(&key(entity));
        let entity = match (is_told, entity.is_empty()) {
            (true, _) => entity.to_owned(),
            (false, true) => position.to_string(),
            (false, false) => format!("{entity}#{position}"),
        };
        self.taken.insert(key(&entity));
        let subject = self.batch.subject(kind, &key(&entity), parent, |s| {
            s.identity.push(label("entity", &entity));
            s.identity.extend(name.map(|name| label("name", name)));
        });
        if !is_told {
            self.label(subject, "identified_by", Some("position".to_owned()));
        }
        subject
    }

    pub(crate) fn label(&mut self, subject: SubjectRef, key: &str, value: Option<String>) {
        let all = self.batch.labels(subject);
        if let Some(value) = value.filter(|_| all.iter().all(|l| l.key != key)) {
            all.push(label(key, &value));
        }
    }

    /// Labels from properties of a document.
    pub(crate) fn labels(&mut self, subject: SubjectRef, of: &Value, pairs: &[(&str, &str)]) {
        for (key, property) in pairs {
            self.label(subject, key, text(&of[*property]));
        }
    }

    /// A reading, or that it is missing now.
    pub(crate) fn value(&mut self, subject: SubjectRef, name: &str, value: Option<f64>) {
        match value {
            Some(_) => self.known(subject, name, value),
            None => self.gap(subject, name, GapReason::Absent),
        }
    }

    /// A reading where there is one.
    pub(crate) fn known(&mut self, subject: SubjectRef, name: &str, value: Option<f64>) {
        if let Some((metric, value)) = self.metric(name).zip(value) {
            self.batch.point(metric, subject, value, None);
        }
    }

    pub(crate) fn gap(&mut self, subject: SubjectRef, name: &str, reason: GapReason) {
        if let Some(metric) = self.metric(name) {
            self.batch.gap(metric, subject, reason);
        }
    }

    fn state(&mut self, subject: SubjectRef, name: &str, state: Option<usize>) {
        if let Some((metric, state)) = self.metric(name).zip(state) {
            self.batch.state(metric, subject, state as u32);
        }
    }

    /// The health of a resource; `true` when it says one.
    pub(crate) fn health(&mut self, subject: SubjectRef, of: &Value) -> bool {
        let found = health(of);
        self.state(subject, "health", found);
        found.is_some()
    }

    /// The same of a sensor, whose state it is.
    pub(crate) fn sensor_state(&mut self, subject: SubjectRef, of: &Value) {
        self.state(subject, "sensor_state", health(of));
    }

    pub(crate) fn power_state(&mut self, subject: SubjectRef, of: &Value) -> bool {
        let snake = |said: String| {
            said.chars().fold(String::new(), |s, c| match c.is_ascii_uppercase() && !s.is_empty() {
                true => format!("{s}_{}", c.to_ascii_lowercase()),
                false => format!("{s}{}", c.to_ascii_lowercase()),
            })
        };
        let state = text(&of["PowerState"]).map(snake).and_then(|s| POWER.iter().position(|known| *known == s));
        self.state(subject, "power_state", state);
        state.is_some()
    }

    /// Thresholds in the unit of the reading, in both shapes: of a sensor, and of a row in an old document.
    pub(crate) fn thresholds(&mut self, subject: SubjectRef, of: &Value, factor: f64) {
        for (name, new, old) in [
            ("threshold_lower_critical", "LowerCritical", "LowerThresholdCritical"),
            ("threshold_lower_warning", "LowerCaution", "LowerThresholdNonCritical"),
            ("threshold_upper_critical", "UpperCritical", "UpperThresholdCritical"),
            ("threshold_upper_warning", "UpperCaution", "UpperThresholdNonCritical"),
        ] {
            let value = num(&of["Thresholds"][new]["Reading"]).or_else(|| num(&of[old]));
            self.known(subject, name, value.map(|v| v * factor));
        }
    }
}

fn health(of: &Value) -> Option<usize> {
    let said = text(&of["Status"]["Health"]).or_else(|| text(&of["Status"]["HealthRollup"]))?.to_ascii_lowercase();
    HEALTH.iter().position(|known| *known == said)
}

/// Whether a bay is empty.
pub(crate) fn is_absent(of: &Value) -> bool {
    of["Status"]["State"].as_str().is_some_and(|s| s.eq_ignore_ascii_case("absent"))
}

pub(crate) fn label(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}
