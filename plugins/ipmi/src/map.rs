//! From sensors and their answers to subjects, readings, states and gaps of the model (DATA_MODELS, section 9).

use std::collections::{HashMap, HashSet};

use kcloud_collector_sdk::ipmi::{Answer, IpmiError};
use kcloud_collector_sdk::{Batch, GapReason, Label, Metric, MetricDef, MetricKind, Quality, Severity, SubjectRef};

use crate::bmc::gap;
use crate::convert::{Factors, Quantity, value};
use crate::discrete;
use crate::fru::Identity;
use crate::sdr::{Inventory, Key, Sensor};

const NUMBERS: [(&str, &str); 17] = [
    ("temperature_celsius", "celsius"),
    ("power_watts", "watts"),
    ("voltage_volts", "volts"),
    ("current_amperes", "amperes"),
    ("fan_speed_rpm", "rpm"),
    ("fan_ratio", "ratio"),
    ("humidity_ratio", "ratio"),
    ("reading_value", "sensor"),
    ("threshold_lower_warning", "sensor"),
    ("threshold_lower_critical", "sensor"),
    ("threshold_upper_warning", "sensor"),
    ("threshold_upper_critical", "sensor"),
    ("power_input_watts", "watts"),
    ("power_output_watts", "watts"),
    ("power_limit_watts", "watts"),
    ("x_ipmi_sel_count", "count"),
    ("x_ipmi_states_count", "count"),
];
const STATES: [(&str, &[&str]); 3] = [
    ("sensor_state", &["nominal", "warning", "critical", "unknown"]),
    ("health", &["ok", "warning", "critical", "unknown"]),
    ("power_state", &["on", "off"]),
];

pub(crate) const TEMPERATURE: Metric = Metric(0);
pub(crate) const POWER: Metric = Metric(1);
const VOLTAGE: Metric = Metric(2);
const CURRENT: Metric = Metric(3);
const FAN_SPEED: Metric = Metric(4);
const FAN_RATIO: Metric = Metric(5);
const HUMIDITY: Metric = Metric(6);
const VALUE: Metric = Metric(7);
/// Lower warning, lower critical, upper warning, upper critical.
const THRESHOLDS: [Metric; 4] = [Metric(8), Metric(9), Metric(10), Metric(11)];
const POWER_INPUT: Metric = Metric(12);
const POWER_OUTPUT: Metric = Metric(13);
pub(crate) const POWER_LIMIT: Metric = Metric(14);
pub(crate) const LOG_COUNT: Metric = Metric(15);
/// A vendor's own states, as the bits that are on.
const STATE_BITS: Metric = Metric(16);
pub(crate) const SENSOR_STATE: Metric = Metric(17);
pub(crate) const HEALTH: Metric = Metric(18);
pub(crate) const POWER_STATE: Metric = Metric(19);

const UNKNOWN: u32 = 3;

/// What the plugin can say, in order of the constants.
pub(crate) fn metrics() -> Vec<MetricDef> {
    let define = |name: &str, unit: &str, kind, states: &[&str]| MetricDef {
        name: name.to_owned(),
        help: String::new(),
        unit: unit.to_owned(),
        kind,
        quality: Quality::Measured,
        states: states.iter().map(|s| (*s).to_owned()).collect(),
    };
    let numbers = NUMBERS.iter().map(|(name, unit)| define(name, unit, MetricKind::Gauge, &[]));
    numbers.chain(STATES.iter().map(|(name, states)| define(name, "state", MetricKind::State, states))).collect()
}

pub(crate) fn label(key: &str, value: impl Into<String>) -> Label {
    Label { key: key.to_owned(), value: value.into() }
}

/// Entity ids that a reader knows by name (table 43-13).
fn location(entity: u8) -> Option<&'static str> {
    Some(match entity {
        0x03 | 0x41 => "processor",
        0x04 | 0x1a => "disk",
        0x07 | 0x42 => "system board",
        0x08 | 0x20 => "memory",
        0x0a => "power supply",
        0x0b => "add-in card",
        0x0c => "front panel",
        0x0f => "drive backplane",
        0x13 => "power unit",
        0x17 => "chassis",
        0x1d => "fan",
        0x1e => "cooling",
        0x27 | 0x28 => "battery",
        0x37 | 0x40 => "air inlet",
        _ => return None,
    })
}

const POWER_SUPPLY: u8 = 0x0a;
const FAN: u8 = 0x04;

/// Names under which boards show what the whole server draws.
const WHOLE: [&str; 10] = [
    "pwr consumption",
    "pw consumption",
    "power consumption",
    "system level",
    "system power",
    "sys power",
    "sys_power",
    "total power",
    "total_power",
    "power meter",
];

/// A sensor with what was read of it.
pub(crate) struct Read<'a> {
    pub sensor: &'a Sensor,
    pub answer: &'a Answer,
    /// Of this very reading, where the sensor is not linear.
    pub factors: Option<Factors>,
    pub thresholds: Option<&'a [u8; 7]>,
}

/// A supply: its sensors meet on one subject.
struct Supply {
    subject: SubjectRef,
    said: HashSet<Metric>,
    /// Worst of its states, and whether any was read.
    state: Option<u32>,
    health: Option<u32>,
}

pub(crate) struct Map<'a> {
    pub batch: &'a mut Batch,
    pub chassis: SubjectRef,
    inventories: &'a [Inventory],
    identities: &'a std::collections::BTreeMap<u8, Identity>,
    names: HashSet<String>,
    supplies: HashMap<u8, Supply>,
    /// Watts of the whole server, by a sensor.
    pub whole: Option<Result<f64, GapReason>>,
    pub of_key: HashMap<Key, SubjectRef>,
}

impl<'a> Map<'a> {
    pub(crate) fn new(
        batch: &'a mut Batch,
        chassis: SubjectRef,
        inventories: &'a [Inventory],
        identities: &'a std::collections::BTreeMap<u8, Identity>,
    ) -> Self {
        let (names, supplies, of_key) = (HashSet::new(), HashMap::new(), HashMap::new());
        Self { batch, chassis, inventories, identities, names, supplies, whole: None, of_key }
    }

    pub(crate) fn sensor(&mut self, read: &Read<'_>) {
        let sensor = read.sensor;
        let subject = match sensor.entity.0 {
            POWER_SUPPLY => self.of_supply(read),
            _ => None,
        };
        let subject = subject.unwrap_or_else(|| self.own(read));
        self.of_key.insert(sensor.key, subject);
    }

    /// States of supplies, once all their sensors are known.
    pub(crate) fn finish(&mut self) {
        for supply in self.supplies.values() {
            if let Some(state) = supply.state {
                self.batch.state(SENSOR_STATE, supply.subject, state);
            }
            if let Some(health) = supply.health {
                self.batch.state(HEALTH, supply.subject, health);
            }
        }
    }

    /// A subject for one sensor alone.
    fn own(&mut self, read: &Read<'_>) -> SubjectRef {
        let sensor = read.sensor;
        let (quantity, ..) = sensor.units.quantity();
        let is_fan = sensor.sensor_type == FAN || quantity == Quantity::FanSpeed;
        let metric = metric_of(sensor, is_fan);
        let kind = if is_fan { "fan" } else { "sensor" };
        let entity = format!("{}.{}", sensor.entity.0, sensor.entity.1 & 0x7f);
        let mut name = sensor.name.clone();
        if name.is_empty() || !self.names.insert(format!("{kind}/{entity}/{name}")) {
            // Two sensors of one name: their numbers tell them apart.
            name = format!("{name} {:#04x}", sensor.key.number).trim().to_owned();
        }
        let subject = self.batch.subject(kind, &format!("{entity}/{name}/{:?}", sensor.key), Some(self.chassis), |s| {
            s.identity = vec![label("entity", entity), label("name", name)];
            s.labels.extend(location(sensor.entity.0).map(|l| label("location", l)));
            if !is_fan {
                s.labels.push(label("sensor_type", type_of(quantity, metric)));
                s.labels.extend(Some(sensor.units.text()).filter(|u| sensor.analog.is_some() && !u.is_empty()).map(|u| label("unit", u)));
            }
        });
        match (reading(read), metric) {
            (Ok(Some(number)), Some(metric)) => {
                let scaled = scale(sensor, metric, number);
                self.batch.point(metric, subject, scaled, None);
                self.thresholds(read, subject, metric);
                if metric == POWER && is_whole(sensor) {
                    self.whole.get_or_insert(Ok(scaled));
                }
            }
            (Err(why), Some(metric)) => {
                self.batch.gap(metric, subject, why);
                if metric == POWER && is_whole(sensor) {
                    self.whole.get_or_insert(Err(why));
                }
            }
            _ => {}
        }
        let state = self.state_of(read, subject);
        self.batch.state(SENSOR_STATE, subject, state);
        subject
    }

    /// Puts what a supply's sensor says on the supply. None where that has such a reading already: it stands for itself then.
    fn of_supply(&mut self, read: &Read<'_>) -> Option<SubjectRef> {
        let sensor = read.sensor;
        let (quantity, ..) = sensor.units.quantity();
        let name = sensor.name.to_ascii_lowercase();
        let is_out = name.contains("out");
        let is_in = name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.ends_with("in") || word.starts_with("input"));
        let metric = match (sensor.analog.is_some(), quantity) {
            (true, Quantity::Power) if is_out => Some(POWER_OUTPUT),
            (true, Quantity::Power) if is_in => Some(POWER_INPUT),
            (true, Quantity::Power) => Some(POWER),
            (true, Quantity::Voltage) if !is_out => Some(VOLTAGE),
            (true, Quantity::Current) if !is_out => Some(CURRENT),
            (true, _) => return None,
            (false, _) => None,
        };
        let instance = sensor.entity.1 & 0x7f;
        let (batch, chassis) = (&mut *self.batch, self.chassis);
        let (inventories, identities) = (self.inventories, self.identities);
        let supply = self.supplies.entry(instance).or_insert_with(|| {
            let inventory = inventories.iter().find(|i| i.entity.0 == POWER_SUPPLY && i.entity.1 & 0x7f == instance);
            let name = inventory.map(|i| i.name.clone()).filter(|n| !n.is_empty()).unwrap_or_else(|| format!("PSU {instance}"));
            let entity = format!("{POWER_SUPPLY}.{instance}");
            let subject = batch.subject("psu", &entity.clone(), Some(chassis), |s| {
                s.identity = vec![label("entity", entity), label("name", name)];
                s.labels.extend(inventory.and_then(|i| identities.get(&i.device)).into_iter().flat_map(identity_labels));
            });
            Supply { subject, said: HashSet::new(), state: None, health: None }
        });
        let subject = supply.subject;
        if let Some(metric) = metric {
            if !supply.said.insert(metric) {
                return None;
            }
            match reading(read) {
                Ok(Some(number)) => batch.point(metric, subject, scale(sensor, metric, number), None),
                Ok(None) => batch.gap(metric, subject, GapReason::Error),
                Err(why) => batch.gap(metric, subject, why),
            }
            let state = threshold_state(read);
            supply.state = worse(supply.state, state);
            return Some(subject);
        }
        let Ok(data) = read.answer else { return Some(subject) };
        if sensor.sensor_type == 0x08 && sensor.reading_type == 0x6f {
            let Some(bits) = state_bits(data) else { return Some(subject) };
            let is_absent = bits & 1 == 0;
            if is_absent && !batch.get(subject).labels.iter().any(|l| l.key == "state") {
                batch.labels(subject).push(label("state", "absent"));
            }
            let worst = discrete::asserted(0x08, 0x6f, bits).map_or(0, |(_, weight)| u32::from(discrete::rank(weight)));
            supply.health = worse(supply.health, if is_absent { UNKNOWN } else { worst });
            return Some(subject);
        }
        None
    }

    /// The state of a sensor, with what it says as a label where that is words.
    fn state_of(&mut self, read: &Read<'_>, subject: SubjectRef) -> u32 {
        let sensor = read.sensor;
        if sensor.reading_type == 0x01 {
            return threshold_state(read);
        }
        let Some(bits) = read.answer.as_ref().ok().and_then(|data| state_bits(data)) else { return UNKNOWN };
        match discrete::asserted(sensor.sensor_type, sensor.reading_type, bits) {
            Some((text, weight)) => {
                if !text.is_empty() {
                    self.batch.labels(subject).push(label("state", text));
                }
                weight_index(weight)
            }
            None => {
                self.batch.point(STATE_BITS, subject, f64::from(bits), None);
                UNKNOWN
            }
        }
    }

    fn thresholds(&mut self, read: &Read<'_>, subject: SubjectRef, metric: Metric) {
        let (Some([mask, values @ ..]), Some(analog)) = (read.thresholds, read.sensor.analog) else { return };
        // LNC LC LNR UNC UC UNR; where there is no critical one, what is beyond it stands for it.
        let readable = |n: usize| (mask >> n & 1 != 0).then_some(values[n]);
        let pairs = [readable(0), readable(1).or(readable(2)), readable(3), readable(4).or(readable(5))];
        for (raw, threshold) in pairs.into_iter().zip(THRESHOLDS) {
            let Some(raw) = raw else { continue };
            let factors = read.factors.unwrap_or(analog.factors);
            let number = value(analog.format, factors, analog.linearization, raw);
            self.batch.point(threshold, subject, scale(read.sensor, metric, number), None);
        }
    }
}

/// Labels of who made a thing.
pub(crate) fn identity_labels(identity: &Identity) -> Vec<Label> {
    let parts = [("manufacturer", &identity.manufacturer), ("model", &identity.model), ("serial_number", &identity.serial_number)];
    parts.into_iter().filter_map(|(key, value)| Some(label(key, value.clone()?))).collect()
}

fn is_whole(sensor: &Sensor) -> bool {
    let name = sensor.name.to_ascii_lowercase();
    WHOLE.iter().any(|w| name.contains(w))
}

fn metric_of(sensor: &Sensor, is_fan: bool) -> Option<Metric> {
    sensor.analog?;
    let (quantity, ..) = sensor.units.quantity();
    Some(match quantity {
        Quantity::Temperature => TEMPERATURE,
        Quantity::Power => POWER,
        Quantity::Voltage => VOLTAGE,
        Quantity::Current => CURRENT,
        Quantity::FanSpeed => FAN_SPEED,
        Quantity::Ratio if is_fan => FAN_RATIO,
        Quantity::Ratio if sensor.name.to_ascii_lowercase().contains("humid") => HUMIDITY,
        Quantity::Ratio | Quantity::Other => VALUE,
    })
}

fn type_of(quantity: Quantity, metric: Option<Metric>) -> &'static str {
    match (quantity, metric) {
        (_, None) => "other",
        (Quantity::Temperature, _) => "temperature",
        (Quantity::Power, _) => "power",
        (Quantity::Voltage, _) => "voltage",
        (Quantity::Current, _) => "current",
        (_, Some(HUMIDITY)) => "humidity",
        _ => "other",
    }
}

/// In the metric's unit; a bare reading stays in the unit that its source shows.
fn scale(sensor: &Sensor, metric: Metric, number: f64) -> f64 {
    let (_, factor, offset) = sensor.units.quantity();
    if metric == VALUE { number } else { number * factor + offset }
}

/// The number of a reading; none of a sensor that has states only.
fn reading(read: &Read<'_>) -> Result<Option<f64>, GapReason> {
    let data = read.answer.as_ref().map_err(gap)?;
    let [raw, flags, ..] = data[..] else { return Err(GapReason::Error) };
    if !is_available(flags) {
        return Err(GapReason::Absent);
    }
    let Some(analog) = read.sensor.analog else { return Ok(None) };
    let number = value(analog.format, read.factors.unwrap_or(analog.factors), analog.linearization, raw);
    if number.is_finite() { Ok(Some(number)) } else { Err(GapReason::Error) }
}

/// Scanning is on, and there is a reading.
fn is_available(flags: u8) -> bool {
    flags & 0x40 != 0 && flags & 0x20 == 0
}

/// The 15 states of a sensor that is available.
fn state_bits(data: &[u8]) -> Option<u16> {
    let [_, flags, low, rest @ ..] = data else { return None };
    let high = rest.first().copied().unwrap_or(0) & 0x7f;
    is_available(*flags).then(|| u16::from_le_bytes([*low, high]))
}

/// The raw reading, for what depends on it.
pub(crate) fn raw(answer: &Answer) -> Option<u8> {
    answer.as_ref().ok().and_then(|data| data.first().copied())
}

fn threshold_state(read: &Read<'_>) -> u32 {
    match read.answer {
        Ok(data) => match data[..] {
            // Some BMCs leave the comparison out where no threshold is crossed.
            [_, flags] if is_available(flags) => 0,
            [_, flags, compared, ..] if is_available(flags) => match compared & 0x3f {
                0 => 0,
                bits if bits & 0b11_0110 != 0 => 2,
                _ => 1,
            },
            _ => UNKNOWN,
        },
        Err(IpmiError::Completion(_) | _) => UNKNOWN,
    }
}

fn weight_index(weight: Severity) -> u32 {
    discrete::rank(weight).into()
}

/// Known before unknown, bad before good.
fn worse(a: Option<u32>, b: u32) -> Option<u32> {
    match a {
        None | Some(UNKNOWN) => Some(b),
        Some(a) if b == UNKNOWN => Some(a),
        Some(a) => Some(a.max(b)),
    }
}
