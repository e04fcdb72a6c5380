//! Against the model of a BMC, without session and host; those stand in the end-to-end tests.

use std::collections::BTreeMap;

use kcloud_bmc_sim::{Dcmi, Model, Sensor as Reading, sdr as records};
use kcloud_collector_sdk::bindings::kcloud::collector::types as t;
use kcloud_collector_sdk::ipmi::{Answer, IpmiError, Request};
use kcloud_collector_sdk::{GapReason, Label, Severity};

use super::*;

/// A BMC whose answers take time; it falls silent once `dies_after` of them were given.
struct Fake {
    model: Model,
    asked: BTreeMap<(u8, u8), usize>,
    left_ms: u64,
    answer_ms: u64,
    unix_s: u64,
    dies_after: usize,
}

impl Fake {
    fn new(model: Model) -> Self {
        Self { model, asked: BTreeMap::new(), left_ms: 5_000, answer_ms: 1, unix_s: 0x6500_0000, dies_after: usize::MAX }
    }

    fn count(&self, netfn: u8, cmd: u8) -> usize {
        self.asked.get(&(netfn, cmd)).copied().unwrap_or(0)
    }
}

impl Bmc for Fake {
    fn ask(&mut self, requests: &[Request]) -> Result<Vec<Answer>, CollectError> {
        let answer = |r: &Request| {
            self.left_ms = self.left_ms.saturating_sub(self.answer_ms);
            if self.asked.values().sum::<usize>() >= self.dies_after {
                return Err(IpmiError::Timeout);
            }
            *self.asked.entry((r.netfn, r.cmd)).or_default() += 1;
            let owner = r.bridge.map_or(0x20, |b| b.address);
            self.model.answer(owner, r.netfn, r.lun, r.cmd, &r.data).map_err(IpmiError::Completion)
        };
        Ok(requests.iter().map(answer).collect())
    }

    fn left_ms(&self) -> u64 {
        self.left_ms
    }

    fn unix_s(&self) -> u64 {
        self.unix_s
    }
}

impl Store for HashMap<String, Vec<u8>> {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.get(key).cloned()
    }

    fn put(&mut self, key: &str, value: &[u8]) {
        self.insert(key.to_owned(), value.to_vec());
    }
}

struct Said(t::Batch);

impl Said {
    /// The subject of a kind with this label.
    fn find(&self, kind: &str, key: &str, value: &str) -> u32 {
        let has = |s: &t::Subject| s.kind == kind && s.identity.iter().chain(&s.labels).any(|l| l.key == key && l.value == value);
        let found = self.0.subjects.iter().position(has);
        found.unwrap_or_else(|| panic!("no {kind} with {key} {value}: {:#?}", self.0.subjects)) as u32
    }

    fn label(&self, subject: u32, key: &str) -> Option<&str> {
        let s = &self.0.subjects[subject as usize];
        s.identity.iter().chain(&s.labels).find(|l| l.key == key).map(|l| l.value.as_str())
    }

    fn index(metric: &str) -> u32 {
        map::metrics().iter().position(|m| m.name == metric).unwrap_or_else(|| panic!("{metric}")) as u32
    }

    fn value(&self, subject: u32, metric: &str) -> Option<f64> {
        let metric = Self::index(metric);
        let all: Vec<f64> = self.0.points.iter().filter(|p| (p.subject, p.metric) == (subject, metric)).map(|p| p.value).collect();
        assert!(all.len() < 2, "said twice: {all:?}");
        all.first().map(|v| (v * 1e6).round() / 1e6)
    }

    fn state(&self, subject: u32, metric: &str) -> Option<String> {
        let index = Self::index(metric);
        let found = self.0.states.iter().find(|s| (s.subject, s.metric) == (subject, index))?;
        Some(map::metrics()[index as usize].states[found.state as usize].clone())
    }

    fn gap(&self, subject: u32, metric: &str) -> Option<GapReason> {
        let index = Self::index(metric);
        self.0.gaps.iter().find(|g| (g.subject, g.metric) == (subject, index)).map(|g| g.reason)
    }
}

fn target() -> Target {
    Target {
        id: "worker1".into(),
        address: "ipmi://10.0.1.11".into(),
        cluster: "cluster1".into(),
        labels: vec![Label { key: "node".into(), value: "worker1".into() }],
        credential: Some("bmc".into()),
        config: "{}".into(),
    }
}

type Memory = HashMap<String, Vec<u8>>;

fn collect(fake: &mut Fake, memory: &mut Memory) -> Result<Said, CollectError> {
    fake.asked.clear();
    let mut batch = Batch::new(map::metrics());
    read(fake, memory, &Config { events: true }, &target(), &mut batch)?;
    Ok(Said(batch.finish()))
}

fn once(model: Model) -> Said {
    collect(&mut Fake::new(model), &mut Memory::new()).unwrap()
}

#[test]
fn a_server_is_its_chassis_sensors_fans_and_supplies() {
    let said = once(Model::server("SN1", 0));
    let chassis = said.find("chassis", "name", "bmc");
    assert_eq!(said.label(said.find("node", "node", "worker1"), "bmc_address"), Some("10.0.1.11"));
    let labels = ["manufacturer", "model", "serial_number", "firmware_version", "method"].map(|k| said.label(chassis, k).unwrap());
    assert_eq!(labels, ["Example Systems", "GX-8", "SN1", "1.42", "dcmi"]);
    assert_eq!(said.value(chassis, "power_watts"), Some(412.0));
    assert_eq!(said.gap(chassis, "power_limit_watts"), Some(GapReason::Absent));
    assert_eq!((said.state(chassis, "power_state").as_deref(), said.state(chassis, "health").as_deref()), (Some("on"), Some("ok")));

    let gpu = said.find("sensor", "name", "GPU0 Temp");
    assert_eq!(
        (said.label(gpu, "entity"), said.label(gpu, "location"), said.label(gpu, "unit")),
        (Some("11.1"), Some("add-in card"), Some("°C"))
    );
    assert_eq!(said.value(gpu, "temperature_celsius"), Some(61.0));
    assert_eq!((said.value(gpu, "threshold_upper_warning"), said.value(gpu, "threshold_upper_critical")), (Some(83.0), Some(90.0)));
    assert_eq!(said.value(gpu, "threshold_lower_critical"), None, "it has none");
    assert_eq!(said.state(gpu, "sensor_state").as_deref(), Some("nominal"));
    let fan = said.find("fan", "name", "Fan1");
    assert_eq!((said.value(fan, "fan_speed_rpm"), said.value(fan, "threshold_lower_critical")), (Some(8_400.0), Some(500.0)));
    assert_eq!(said.value(said.find("sensor", "name", "12V rail"), "voltage_volts"), Some(12.06));

    let psu = said.find("psu", "name", "PSU1");
    assert_eq!((said.value(psu, "power_input_watts"), said.value(psu, "power_output_watts")), (Some(240.0), Some(216.0)));
    assert_eq!(
        (said.label(psu, "entity"), said.label(psu, "serial_number"), said.state(psu, "health").as_deref()),
        (Some("10.1"), Some("SN1-P1"), Some("ok"))
    );
    let intrusion = said.find("sensor", "name", "Intrusion");
    assert_eq!((said.state(intrusion, "sensor_state").as_deref(), said.label(intrusion, "sensor_type")), (Some("nominal"), Some("other")));
    assert!(said.0.subjects.iter().all(|s| s.kind == "node" || s.parent.is_some()));
}

#[test]
fn states_are_words_and_a_weight() {
    let mut model = Model::server("SN1", 0);
    model.sensors.get_mut(&(0x20, 0, 2)).unwrap().states[0] = 0xc0 | 0b01_1000;
    model.sensors.get_mut(&(0x20, 0, 1)).unwrap().states[0] = 0xc0 | 0b00_1000;
    model.sensors.insert((0x20, 0, 21), Reading::states(0b1001));
    model.sensors.insert((0x20, 0, 22), Reading::states(0));
    model.sensors.insert((0x20, 0, 30), Reading::states(1));
    model.add(records::compact(31, (7, 1), 0xc0, 0x70, 1, "OEM"));
    model.sensors.insert((0x20, 0, 31), Reading::states(0b101));
    model.chassis = [0b1000, 0, 0];
    let said = once(model);
    let state = |kind, name, metric| said.state(said.find(kind, "name", name), metric).unwrap();
    assert_eq!(state("sensor", "GPU0 Temp", "sensor_state"), "critical");
    assert_eq!(state("sensor", "CPU0 Temp", "sensor_state"), "warning");
    assert_eq!(state("psu", "PSU1", "health"), "critical");
    assert_eq!(said.label(said.find("psu", "name", "PSU2"), "state"), Some("absent"));
    assert_eq!(state("psu", "PSU2", "health"), "unknown");
    assert_eq!(
        (state("sensor", "Intrusion", "sensor_state"), said.label(said.find("sensor", "name", "Intrusion"), "state")),
        ("warning".into(), Some("chassis intrusion"))
    );
    assert_eq!(
        (state("sensor", "OEM", "sensor_state"), said.value(said.find("sensor", "name", "OEM"), "x_ipmi_states_count")),
        ("unknown".into(), Some(5.0))
    );
    assert_eq!((state("chassis", "bmc", "power_state"), state("chassis", "bmc", "health")), ("off".into(), "critical".into()));
}

#[test]
fn what_was_not_read_is_a_gap_with_its_reason_and_never_zero() {
    let mut model = Model::server("SN1", 0);
    model.sensors.get_mut(&(0x20, 0, 1)).unwrap().flags = 0xe0;
    model.sensors.get_mut(&(0x20, 0, 3)).unwrap().flags = 0x80;
    model.sensors.remove(&(0x20, 0, 2));
    model.dcmi = Some(Dcmi { watts: 0, limit: Some(900), is_active: true });
    let said = once(model.clone());
    for name in ["CPU0 Temp", "Inlet Temp", "GPU0 Temp"] {
        let sensor = said.find("sensor", "name", name);
        assert_eq!(
            (said.value(sensor, "temperature_celsius"), said.gap(sensor, "temperature_celsius")),
            (None, Some(GapReason::Absent)),
            "{name}"
        );
        assert_eq!(said.state(sensor, "sensor_state").as_deref(), Some("unknown"));
    }
    let chassis = said.find("chassis", "name", "bmc");
    assert_eq!((said.value(chassis, "power_watts"), said.gap(chassis, "power_watts")), (None, Some(GapReason::Absent)));
    assert_eq!(said.value(chassis, "power_limit_watts"), Some(900.0));
    for (code, reason) in [(0xc1, GapReason::Unsupported), (0xd4, GapReason::Denied), (0xff, GapReason::Error), (0xd5, GapReason::Absent)] {
        model.refused.insert((0x2c, 2), code);
        let said = once(model.clone());
        assert_eq!(said.gap(said.find("chassis", "name", "bmc"), "power_watts"), Some(reason), "{code:#x}");
    }
    model.refused.clear();
    model.dcmi = Some(Dcmi { watts: 300, limit: None, is_active: false });
    let said = once(model);
    assert_eq!(said.gap(said.find("chassis", "name", "bmc"), "power_watts"), Some(GapReason::Absent), "measurement is off");
}

#[test]
fn without_dcmi_the_boards_own_sensor_says_what_the_server_draws() {
    let mut model = Model::server("SN1", 0);
    model.dcmi = None;
    model.analog(
        records::Full { number: 60, units: records::WATTS, m: 7, name: "Pwr Consumption", ..records::Full::default() },
        Reading::reading(100),
    );
    let said = once(model);
    let chassis = said.find("chassis", "name", "bmc");
    assert_eq!((said.value(chassis, "power_watts"), said.label(chassis, "method")), (Some(700.0), Some("sensor")));
}

#[test]
fn formats_curves_and_units_come_out_in_base_units() {
    let mut model = Model::default();
    let full = records::Full::default;
    model.analog(records::Full { number: 1, units: [0x80, 2, 0], name: "F", ..full() }, Reading::reading(0x80));
    model.analog(records::Full { number: 2, units: [0x40, 3, 0], m: 2, name: "K", ..full() }, Reading::reading(0xfe));
    model.analog(records::Full { number: 3, sensor_type: 4, units: [1, 0, 0], name: "duty", ..full() }, Reading::reading(35));
    model.analog(records::Full { number: 4, sensor_type: 0xb, units: [1, 0, 0], name: "Humidity", ..full() }, Reading::reading(35));
    model.analog(records::Full { number: 5, units: [0b01_1000, 7, 0], name: "J/s", ..full() }, Reading::reading(200));
    model.analog(
        records::Full { number: 6, sensor_type: 0xb, units: [0, 17, 0], name: "Air", ..full() },
        Reading::reading(60).upper(70, 80),
    );
    model.analog(records::Full { number: 7, linearization: 7, r_exp: 1, name: "1/x", ..full() }, Reading::reading(2));
    model.analog(records::Full { number: 8, linearization: 7, name: "1/0", ..full() }, Reading::reading(0));
    model.analog(records::Full { number: 9, linearization: 0x70, name: "curved", ..full() }, Reading::reading(21));
    model.analog(records::Full { number: 10, owner: 0x2c, lun: 1, name: "behind", ..full() }, Reading::reading(44));
    let said = once(model);
    let value = |kind, name, metric| said.value(said.find(kind, "name", name), metric);
    assert_eq!(value("sensor", "F", "temperature_celsius"), Some(-88.888_889));
    assert_eq!(value("sensor", "K", "temperature_celsius"), Some(-275.15));
    assert_eq!(value("fan", "duty", "fan_ratio"), Some(0.35));
    assert_eq!(value("sensor", "Humidity", "humidity_ratio"), Some(0.35));
    assert_eq!(value("sensor", "J/s", "power_watts"), Some(200.0));
    assert_eq!((value("sensor", "Air", "reading_value"), value("sensor", "Air", "threshold_upper_critical")), (Some(60.0), Some(80.0)));
    assert_eq!(said.label(said.find("sensor", "name", "Air"), "unit"), Some("CFM"));
    assert_eq!(value("sensor", "1/x", "temperature_celsius"), Some(0.05));
    assert_eq!(said.gap(said.find("sensor", "name", "1/0"), "temperature_celsius"), Some(GapReason::Error));
    assert_eq!(value("sensor", "curved", "temperature_celsius"), Some(42.0), "factors of this reading");
    assert_eq!(value("sensor", "behind", "temperature_celsius"), Some(44.0), "through the BMC");
}

#[test]
fn records_are_read_once_until_the_repository_says_that_it_changed() {
    let (mut fake, mut memory) = (Fake::new(Model::server("SN1", 0)), Memory::new());
    let first = collect(&mut fake, &mut memory).unwrap();
    assert!(fake.count(0x0a, 0x23) > 10 && fake.count(0x04, 0x27) > 5 && fake.count(0x0a, 0x11) > 3);
    let second = collect(&mut fake, &mut memory).unwrap();
    assert_eq!((fake.count(0x0a, 0x23), fake.count(0x04, 0x27), fake.count(0x0a, 0x11)), (0, 0, 0));
    assert_eq!(format!("{:?}", first.0.points), format!("{:?}", second.0.points));
    // Thresholds may be set without a word.
    fake.unix_s += 601;
    fake.model.sensors.get_mut(&(0x20, 0, 2)).unwrap().thresholds = Reading::reading(0).upper(70, 75).thresholds;
    let later = collect(&mut fake, &mut memory).unwrap();
    assert_eq!(later.value(later.find("sensor", "name", "GPU0 Temp"), "threshold_upper_critical"), Some(75.0));
    assert_eq!((fake.count(0x0a, 0x23), fake.count(0x0a, 0x11)), (0, 0));
    fake.model.analog(records::Full { number: 50, name: "New", ..records::Full::default() }, Reading::reading(1));
    let more = collect(&mut fake, &mut memory).unwrap();
    assert_eq!(more.value(more.find("sensor", "name", "New"), "temperature_celsius"), Some(1.0));
    assert_eq!(fake.count(0x0a, 0x23), fake.model.records.len());
}

#[test]
fn a_repository_that_takes_longer_than_a_call_is_read_over_several() {
    let (mut fake, mut memory) = (Fake::new(Model::server("SN1", 60)), Memory::new());
    (fake.model.most_read, fake.answer_ms) = (16, 20);
    let total = fake.model.records.len();
    let mut sensors = Vec::new();
    for _ in 0..12 {
        fake.left_ms = 5_000;
        let said = collect(&mut fake, &mut memory).unwrap();
        sensors.push(said.0.subjects.iter().filter(|s| s.kind == "sensor").count());
        let is_partial = matches!(said.0.coverage, t::Coverage::Partial);
        assert_eq!(is_partial, !said.0.problems.is_empty());
        if !is_partial {
            break;
        }
    }
    assert!(sensors.len() > 1 && sensors.is_sorted() && sensors[0] > 0, "{sensors:?} of {total}");
    assert_eq!(*sensors.last().unwrap(), 65, "{sensors:?}");
}

#[test]
fn what_a_bmc_refuses_of_its_records_is_said() {
    let mut model = Model::server("SN1", 0);
    model.refused.insert((0x0a, 0x23), 0xd4);
    let why = collect(&mut Fake::new(model), &mut Memory::new()).err().unwrap();
    assert!(matches!(&why, CollectError::Protocol(text) if text.contains("0xd4")), "{why}");
    // Without a repository there is still the chassis.
    let mut model = Model::server("SN1", 0);
    model.refused.extend([((0x0a, 0x20), 0xc1), ((0x04, 0x20), 0xc1)]);
    let said = once(model);
    assert_eq!(said.value(said.find("chassis", "name", "bmc"), "power_watts"), Some(412.0));
}

#[test]
fn names_are_decoded_shared_and_told_apart() {
    let mut model = Model::default();
    let six = |name: &[u8]| {
        let bits: Vec<u8> = name.iter().flat_map(|c| (0..6).map(move |n| (c - 0x20) >> n & 1)).collect();
        bits.chunks(8).map(|c| c.iter().enumerate().fold(0, |b, (n, bit)| b | bit << n)).collect::<Vec<u8>>()
    };
    let mut record = records::Full { number: 1, name: "x", ..records::Full::default() }.record();
    record.truncate(47);
    record.push(0x80 | 3);
    record.extend(six(b"FAN1"));
    record[4] = record.len() as u8 - 5;
    model.add(record);
    model.sensors.insert((0x20, 0, 1), Reading::reading(20));
    model.add(records::compact(10, (8, 1), 0x0c, 0x6f, 3, "DIMM"));
    model.sensors.extend((10..13).map(|n| ((0x20, 0, n), Reading::states(if n == 11 { 2 } else { 0x40 }))));
    for number in [20, 21] {
        model.analog(records::Full { number, name: "Twin", ..records::Full::default() }, Reading::reading(number));
    }
    let said = once(model);
    assert_eq!(said.value(said.find("sensor", "name", "FAN1"), "temperature_celsius"), Some(20.0));
    let dimm = |name| said.find("sensor", "name", name);
    assert_eq!((said.label(dimm("DIMM1"), "entity"), said.label(dimm("DIMM3"), "entity")), (Some("8.1"), Some("8.3")));
    assert_eq!(
        (said.label(dimm("DIMM2"), "state"), said.state(dimm("DIMM2"), "sensor_state").as_deref()),
        (Some("uncorrectable ECC"), Some("critical"))
    );
    assert_eq!(said.value(said.find("sensor", "name", "Twin"), "temperature_celsius"), Some(20.0));
    assert_eq!(said.value(said.find("sensor", "name", "Twin 0x15"), "temperature_celsius"), Some(21.0));
    assert_eq!(sdr::text(0x42, &[0x12, 0x3a]), "123");
}

fn codes(said: &Said) -> Vec<(String, Severity, Option<u64>, String)> {
    said.0.events.iter().map(|e| (e.code.clone(), e.severity, e.at, e.message.clone())).collect()
}

#[test]
fn entries_of_the_log_are_events_once_each() {
    let (mut fake, mut memory) = (Fake::new(Model::server("SN1", 0)), Memory::new());
    fake.model.add(records::event_only(70, (7, 1), 0x13, 0x6f, "Critical IRQ"));
    fake.model.happened(records::sel_entry(0x6500_0010, 1, 2, 1, [0x59, 85, 83]));
    fake.model.happened(records::sel_entry(0x6500_0020, 1, 2, 0x81, [0x59, 80, 83]));
    fake.model.happened(records::sel_entry(0x6500_0030, 0x13, 70, 0x6f, [5, 0, 0]));
    fake.model.happened(records::sel_entry(12, 0x0c, 99, 0x6f, [1, 0, 0]));
    let said = collect(&mut fake, &mut memory).unwrap();
    let at = |s: u64| Some(s * 1_000_000_000);
    assert_eq!(
        codes(&said),
        [
            (
                "sel:0x01".into(),
                Severity::Critical,
                at(0x6500_0010),
                "GPU0 Temp: upper critical going high, reading 85.00 °C, threshold 83.00 °C".into()
            ),
            (
                "sel:0x01".into(),
                Severity::Info,
                at(0x6500_0020),
                "GPU0 Temp: upper critical going high (over), reading 80.00 °C, threshold 83.00 °C".into()
            ),
            ("sel:0x13".into(), Severity::Critical, at(0x6500_0030), "Critical IRQ: PCI SERR".into()),
            ("sel:0x0c".into(), Severity::Critical, None, "memory sensor 0x63: uncorrectable ECC".into()),
        ]
    );
    assert_eq!(said.0.events[0].subject, said.find("sensor", "name", "GPU0 Temp"));
    assert_eq!(said.0.events[2].subject, said.find("chassis", "name", "bmc"), "nothing is read of it");
    assert_eq!(said.value(said.find("chassis", "name", "bmc"), "x_ipmi_sel_count"), Some(4.0));
    let keys: std::collections::HashSet<&String> = said.0.events.iter().map(|e| &e.key).collect();
    assert_eq!(keys.len(), 4);

    assert_eq!(codes(&collect(&mut fake, &mut memory).unwrap()), []);
    assert_eq!(fake.count(0x0a, 0x43), 0);
    fake.model.happened(records::sel_entry(0x6500_0040, 8, 21, 0x6f, [1, 0, 0]));
    assert_eq!(codes(&collect(&mut fake, &mut memory).unwrap()).len(), 1);
    // Cleared: numbers begin anew.
    fake.model.log.clear();
    fake.model.log_erased_at += 1;
    fake.model.happened(records::sel_entry(0x6500_0050, 8, 21, 0x6f, [1, 0, 0]));
    let cleared = collect(&mut fake, &mut memory).unwrap();
    assert_eq!(codes(&cleared), [("sel:0x08".into(), Severity::Critical, at(0x6500_0050), "PSU1 Status: failure".into())]);
    assert_eq!(cleared.0.events[0].subject, cleared.find("psu", "name", "PSU1"));
}

#[test]
fn a_long_log_comes_in_over_several_calls_and_none_is_lost() {
    let (mut fake, mut memory) = (Fake::new(Model::server("SN1", 0)), Memory::new());
    (0..150).for_each(|n| fake.model.happened(records::sel_entry(0x6500_0000 + n, 1, 2, 1, [9, 0, 0])));
    let mut stamps = Vec::new();
    for _ in 0..4 {
        fake.left_ms = 5_000;
        stamps.extend(collect(&mut fake, &mut memory).unwrap().0.events.iter().map(|e| e.at.unwrap() / 1_000_000_000));
    }
    assert_eq!(stamps, (0x6500_0000..0x6500_0000 + 150).collect::<Vec<u64>>());
}

#[test]
fn a_clock_that_is_not_believed_gives_no_time_and_a_zone_is_taken_off() {
    assert_eq!(sel::zone_s(0x6500_0000, 0x6500_0005), Some(0));
    assert_eq!(sel::zone_s(0x6500_0000 + 9 * 3_600, 0x6500_0000), Some(9 * 3_600));
    assert_eq!(sel::zone_s(0x6500_0000, 0x6500_0000 + 19_800 + 100), Some(-19_800));
    assert_eq!(sel::zone_s(0x6500_0000 + 400, 0x6500_0000), None, "neither a zone nor near");
    assert_eq!(sel::zone_s(0x6500_0000 + 86_400 * 30, 0x6500_0000), None);
    assert_eq!(sel::zone_s(4_000, 0x6500_0000), None, "never set");
    let at = |zone| sel::event(&records::sel_entry(0x6500_7e90, 1, 2, 1, [9, 0, 0]), zone, None).at;
    assert_eq!((at(Some(9 * 3_600)), at(None)), (Some((0x6500_7e90 - 32_400) * 1_000_000_000), None));
    let mut oem = records::sel_entry(0x6500_0000, 1, 2, 1, [9, 0, 0]);
    oem[2] = 0xe1;
    let event = sel::event(&oem, Some(0), None);
    assert_eq!((event.code.as_str(), event.at), ("sel:oem-0xe1", None), "it has no stamp");
}

#[test]
fn a_bmc_that_falls_silent_is_said_and_one_dead_sensor_costs_itself() {
    let (mut fake, mut memory) = (Fake::new(Model::server("SN1", 40)), Memory::new());
    collect(&mut fake, &mut memory).unwrap();
    fake.dies_after = 12;
    let why = collect(&mut fake, &mut memory).err().unwrap();
    assert!(matches!(&why, CollectError::Timeout(text) if text.contains("5 of")), "{why}");
    fake.dies_after = 0;
    assert!(matches!(collect(&mut fake, &mut memory), Err(CollectError::Timeout(_))));
    fake.dies_after = 45;
    let said = collect(&mut fake, &mut memory).unwrap();
    assert!(matches!(said.0.coverage, t::Coverage::Partial) && said.0.problems.len() == 1);
    fake.dies_after = usize::MAX;
    assert!(matches!(collect(&mut fake, &mut memory).unwrap().0.coverage, t::Coverage::Whole));
}

#[test]
fn a_damaged_inventory_says_nothing_and_the_board_stands_in() {
    let mut model = Model::server("SN1", 0);
    model.inventories.get_mut(&0).unwrap()[9] ^= 1;
    let said = once(model.clone());
    assert_eq!(said.label(said.find("chassis", "name", "bmc"), "manufacturer"), None);
    model.inventories.insert(0, vec![0xff; 64]);
    assert_eq!(once(model).0.problems.len(), 0);
    assert_eq!(fru::fields(&[1, 1, 0, 0xc2, b'A', b'B', 0xc0, 0xc1, 9], 3), ["AB", ""]);
}

#[test]
fn records_and_inventories_that_are_cut_or_changed_cost_themselves() {
    let mut model = Model::server("SN1", 0);
    model.add(records::event_only(70, (7, 1), 0x13, 0x6f, "Critical IRQ"));
    for record in model.records.clone() {
        for at in 0..record.len() {
            _ = sdr::read(&record[..at]);
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut other = record.clone();
                other[at] = value;
                if let Some(sdr::Record::Sensors(all)) = sdr::read(&other) {
                    assert!(!all.is_empty() && all.len() < 16);
                    let analog =
                        all[0].analog.map(|a| (0..=255).map(|raw| convert::value(a.format, a.factors, a.linearization, raw)).sum::<f64>());
                    _ = (all[0].units.text(), analog);
                }
            }
        }
    }
    for at in 0..model.inventories[&0].len() {
        for value in [0x00, 0x7f, 0xff] {
            let mut other = model.clone();
            other.inventories.get_mut(&0).unwrap()[at] = value;
            let said = once(other);
            assert_eq!(said.value(said.find("chassis", "name", "bmc"), "power_watts"), Some(412.0));
        }
    }
}
