//! Services of our own making, and captures of real ones where they lie beside the project.

use std::collections::BTreeMap;
use std::path::Path;

use kcloud_collector_sdk::bindings::kcloud::collector::types::{Batch as Wire, CollectError as Said, Coverage};
use kcloud_collector_sdk::{GapReason, Label};
use serde_json::json;

use super::*;

/// A BMC in memory; each answer takes as long as it says.
#[derive(Default)]
struct Fake {
    answers: BTreeMap<String, (u16, String)>,
    late: Vec<&'static str>,
    answer_ms: u64,
    now: u64,
    asked: Vec<String>,
}

impl Bmc for Fake {
    fn get(&mut self, url: &str, timeout_ms: u32) -> Result<Raw, CollectError> {
        let path = url.strip_prefix("https://10.0.1.11").unwrap();
        self.asked.push(path.to_owned());
        if self.late.iter().any(|l| path.starts_with(l)) || self.answer_ms > u64::from(timeout_ms) {
            self.now += u64::from(timeout_ms);
            return Err(CollectError::Timeout(format!("no whole answer within {timeout_ms} ms")));
        }
        self.now += self.answer_ms;
        let found = self.answers.get(path).or_else(|| self.answers.get(path.trim_end_matches('/')));
        let (status, body) = found.cloned().unwrap_or((404, String::new()));
        Ok(Raw { status, headers: vec![], body: body.into_bytes() })
    }

    fn now_ms(&self) -> u64 {
        self.now
    }
}

impl Fake {
    /// A server with one system and the chassis that are given, as id and properties.
    fn server(chassis: &[(&str, Value)]) -> Self {
        let mut fake = Self { answer_ms: 10, ..Self::default() };
        fake.put("", json!({ "Systems": { "@odata.id": "/redfish/v1/Systems" }, "Chassis": { "@odata.id": "/redfish/v1/Chassis/" } }));
        fake.collection("/Systems", &["1"]);
        fake.put(
            "/Systems/1",
            json!({ "Id": "1", "HostName": "worker1", "PowerState": "On", "UUID": "u-1", "Model": "S1",
            "SerialNumber": "SN1", "Links": { "Chassis": [{ "@odata.id": format!("/redfish/v1/Chassis/{}", chassis[0].0) }] } }),
        );
        fake.collection("/Chassis", &chassis.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        for (id, properties) in chassis {
            let mut whole = json!({ "Id": id, "@odata.id": format!("/redfish/v1/Chassis/{id}"), "ChassisType": "RackMount" });
            whole.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
            fake.put(&format!("/Chassis/{id}"), whole);
        }
        fake
    }

    fn put(&mut self, path: &str, value: Value) {
        self.text(path, 200, &value.to_string());
    }

    fn text(&mut self, path: &str, status: u16, body: &str) {
        self.answers.insert(format!("/redfish/v1{path}"), (status, body.to_owned()));
    }

    fn collection(&mut self, path: &str, ids: &[&str]) {
        let members: Vec<Value> = ids.iter().map(|id| json!({ "@odata.id": format!("/redfish/v1{path}/{id}") })).collect();
        self.put(path, json!({ "@odata.id": format!("/redfish/v1{path}"), "Members": members }));
    }

    fn try_read(&mut self, node: Option<&str>) -> Result<Read, CollectError> {
        self.read_with(node, Config::default())
    }

    fn read_with(&mut self, node: Option<&str>, config: Config) -> Result<Read, CollectError> {
        let target = Target {
            id: "bmc1".into(),
            address: "https://10.0.1.11/redfish/v1".into(),
            cluster: "cluster1".into(),
            labels: node.map(|n| Label { key: "node".into(), value: n.into() }).into_iter().collect(),
            credential: None,
            config: "{}".into(),
        };
        let mut batch = Batch::new(out::definitions());
        Redfish { config }.read(self, &target, 30_000, &mut batch)?;
        Ok(Read(batch.finish()))
    }

    fn read(&mut self) -> Read {
        self.try_read(None).unwrap()
    }
}

struct Read(Wire);

impl Read {
    fn identity(&self, i: usize, key: &str) -> Option<&str> {
        let s = &self.0.subjects[i];
        s.identity.iter().chain(&s.labels).find(|l| l.key == key).map(|l| l.value.as_str())
    }

    /// The subject of a kind with this label.
    fn find(&self, kind: &str, key: &str, value: &str) -> usize {
        let is = |i: &usize| self.0.subjects[*i].kind == kind && self.identity(*i, key) == Some(value);
        (0..self.0.subjects.len()).find(is).unwrap_or_else(|| panic!("no {kind} with {key} = {value}: {:?}", self.0.subjects))
    }

    fn of_kind(&self, kind: &str) -> usize {
        self.0.subjects.iter().filter(|s| s.kind == kind).count()
    }

    fn metric(name: &str) -> u32 {
        out::definitions().iter().position(|d| d.name == name).unwrap() as u32
    }

    fn value(&self, subject: usize, metric: &str) -> Option<f64> {
        let all: Vec<f64> =
            self.0.points.iter().filter(|p| (p.subject, p.metric) == (subject as u32, Self::metric(metric))).map(|p| p.value).collect();
        assert!(all.len() <= 1, "{metric} said more than once: {all:?}");
        all.first().copied()
    }

    fn gap(&self, subject: usize, metric: &str) -> Option<GapReason> {
        self.0.gaps.iter().find(|g| (g.subject, g.metric) == (subject as u32, Self::metric(metric))).map(|g| g.reason)
    }

    fn state(&self, subject: usize, metric: &str) -> Option<String> {
        let found = self.0.states.iter().find(|s| (s.subject, s.metric) == (subject as u32, Self::metric(metric)))?;
        Some(out::definitions()[found.metric as usize].states[found.state as usize].clone())
    }

    fn parent(&self, subject: usize) -> Option<usize> {
        self.0.subjects[subject].parent.map(|p| p as usize)
    }

    fn is_partial(&self) -> bool {
        self.0.coverage == Coverage::Partial
    }

    fn problems(&self) -> String {
        format!("{:?}", self.0.problems.iter().map(|p| &p.error).collect::<Vec<_>>())
    }
}

fn link_to(path: &str) -> Value {
    json!({ "@odata.id": format!("/redfish/v1{path}") })
}

fn old_server() -> Fake {
    let mut fake = Fake::server(&[("1", json!({ "Power": link_to("/Chassis/1/Power"), "Thermal": link_to("/Chassis/1/Thermal") }))]);
    fake.put(
        "/Chassis/1/Power",
        json!({
            "PowerControl": [
                { "MemberId": "0", "Name": "Server", "PowerConsumedWatts": "512.5", "PowerLimit": { "LimitInWatts": null } },
                { "MemberId": "1", "Name": "CPU", "PowerConsumedWatts": 200 },
            ],
            "PowerSupplies": [
                { "MemberId": "0", "Name": "PSU", "PowerInputWatts": 300, "LastPowerOutputWatts": 280, "LineInputVoltage": 230 },
                { "MemberId": "0", "Name": "PSU", "PowerInputWatts": 301, "PowerOutputWatts": 281, "LastPowerOutputWatts": 1 },
                { "Name": "PSU", "Status": { "State": "Absent" } },
            ],
            "Voltages": [
                { "MemberId": "0", "Name": "VRM", "ReadingVolts": 12.1, "UpperThresholdCritical": 13, "Status": { "Health": "OK" } },
                { "MemberId": "1", "Name": "PS1 PG", "ReadingVolts": 1, "MinReadingRange": 0, "MaxReadingRange": 0 },
            ],
        }),
    );
    fake.put("/Chassis/1/Thermal", json!({
        "Temperatures": [
            { "MemberId": "0", "Name": "CPU1", "ReadingCelsius": 41, "UpperThresholdNonCritical": 80, "Status": { "State": "Enabled", "Health": "Warning" } },
            { "MemberId": "1", "Name": "CPU2", "ReadingCelsius": null, "Status": { "State": "Enabled" } },
            { "MemberId": "2", "Name": "CPU3", "ReadingCelsius": 0, "Status": { "State": "Absent" } },
        ],
        "Fans": [
            { "MemberId": "0", "FanName": "Fan 1", "Reading": 45, "ReadingUnits": "Percent" },
            { "MemberId": "0", "Name": "Fan 2", "Reading": 2100, "ReadingUnits": "RPM" },
        ],
    }));
    fake
}

#[test]
fn the_old_shape_is_read_with_repeated_ids_empty_bays_and_missing_readings() {
    let read = old_server().read();
    assert!(!read.is_partial(), "{}", read.problems());
    let chassis = read.find("chassis", "entity", "1");
    assert_eq!((read.value(chassis, "power_watts"), read.value(chassis, "power_limit_watts")), (Some(512.5), None));
    assert_eq!((read.identity(chassis, "method"), read.identity(chassis, "model")), (Some("redfish"), Some("S1")));
    assert_eq!(read.state(chassis, "power_state").as_deref(), Some("on"));
    assert_eq!(read.parent(chassis), Some(read.find("node", "node", "worker1")));
    assert_eq!(read.value(read.find("sensor", "name", "CPU"), "power_watts"), Some(200.0), "a part, not the whole");
    let (first, second, third) = (read.find("psu", "entity", "0"), read.find("psu", "entity", "0#1"), read.find("psu", "entity", "2"));
    assert_eq!((read.value(first, "power_input_watts"), read.value(first, "power_output_watts")), (Some(300.0), Some(280.0)));
    assert_eq!((read.value(second, "power_input_watts"), read.value(second, "power_output_watts")), (Some(301.0), Some(281.0)));
    assert_eq!((read.identity(first, "identified_by"), read.identity(second, "identified_by")), (None, Some("position")));
    assert_eq!((read.gap(third, "power_input_watts"), read.identity(third, "state")), (Some(GapReason::Absent), Some("absent")));
    let (cpu1, cpu2, cpu3) =
        (read.find("sensor", "name", "CPU1"), read.find("sensor", "name", "CPU2"), read.find("sensor", "name", "CPU3"));
    assert_eq!((read.value(cpu1, "temperature_celsius"), read.value(cpu1, "threshold_upper_warning")), (Some(41.0), Some(80.0)));
    assert_eq!(read.state(cpu1, "sensor_state").as_deref(), Some("warning"));
    for off in [cpu2, cpu3] {
        assert_eq!((read.value(off, "temperature_celsius"), read.gap(off, "temperature_celsius")), (None, Some(GapReason::Absent)));
    }
    assert_eq!(read.value(read.find("fan", "name", "Fan 1"), "fan_ratio"), Some(0.45));
    assert_eq!(read.value(read.find("fan", "name", "Fan 2"), "fan_speed_rpm"), Some(2_100.0));
    let (vrm, flag) = (read.find("sensor", "name", "VRM"), read.find("sensor", "name", "PS1 PG"));
    assert_eq!(
        (read.value(vrm, "voltage_volts"), read.value(flag, "voltage_volts"), read.value(flag, "reading_value")),
        (Some(12.1), None, Some(1.0))
    );
}

fn new_server() -> Fake {
    let mut fake = old_server();
    let path = |p: &str| link_to(&format!("/Chassis/1/{p}"));
    fake.put(
        "/Chassis/1",
        json!({ "Id": "1", "@odata.id": "/redfish/v1/Chassis/1", "Power": path("Power"), "Thermal": path("Thermal"),
        "EnvironmentMetrics": path("EnvironmentMetrics"), "PowerSubsystem": path("PowerSubsystem"),
        "ThermalSubsystem": path("ThermalSubsystem"), "Sensors": path("Sensors") }),
    );
    let uri = |id: &str| format!("/redfish/v1/Chassis/1/Sensors/{id}");
    fake.put(
        "/Chassis/1/EnvironmentMetrics",
        json!({ "PowerWatts": { "Reading": 600, "DataSourceUri": uri("Total") },
        "EnergykWh": { "Reading": 2.5 }, "PowerLimitWatts": { "SetPoint": 900 } }),
    );
    fake.put("/Chassis/1/PowerSubsystem", json!({ "PowerSupplies": path("PowerSubsystem/PowerSupplies") }));
    fake.collection("/Chassis/1/PowerSubsystem/PowerSupplies", &["Bay1", "Bay2"]);
    let psus = "/Chassis/1/PowerSubsystem/PowerSupplies";
    fake.put(
        &format!("{psus}/Bay1"),
        json!({ "Id": "Bay1", "Name": "PSU 1", "PowerCapacityWatts": 800, "Metrics": link_to(&format!("{psus}/Bay1/Metrics")) }),
    );
    fake.put(
        &format!("{psus}/Bay1/Metrics"),
        json!({ "InputPowerWatts": { "Reading": 610, "DataSourceUri": uri("Psu1In") }, "OutputPowerWatts": { "Reading": null } }),
    );
    fake.put(&format!("{psus}/Bay2"), json!({ "Id": "Bay2", "Name": "PSU 2", "Status": { "State": "Absent" } }));
    fake.put("/Chassis/1/ThermalSubsystem", json!({ "Fans": path("ThermalSubsystem/Fans") }));
    fake.collection("/Chassis/1/ThermalSubsystem/Fans", &["F1"]);
    fake.put(
        "/Chassis/1/ThermalSubsystem/Fans/F1",
        json!({ "Id": "F1", "Name": "Fan 1", "SpeedPercent": { "Reading": 30, "SpeedRPM": 4000 } }),
    );
    fake.collection("/Chassis/1/Sensors", &["Total", "Psu1In", "Inlet", "Energy", "Rail"]);
    for (id, kind, unit, value) in [
        ("Total", "Power", "W", 600.0),
        ("Psu1In", "Power", "W", 610.0),
        ("Inlet", "Temperature", "Cel", 24.5),
        ("Rail", "Voltage", "V", 12.0),
    ] {
        fake.put(
            &format!("/Chassis/1/Sensors/{id}"),
            json!({ "Id": id, "@odata.id": uri(id), "Name": id, "Reading": value, "ReadingType": kind,
            "ReadingUnits": unit, "Thresholds": { "UpperCaution": { "Reading": 35 } } }),
        );
    }
    fake.put(
        "/Chassis/1/Sensors/Energy",
        json!({ "Id": "Energy", "Name": "Energy", "Reading": 1, "ReadingType": "EnergykWh", "ReadingUnits": "kW.h" }),
    );
    fake
}

#[test]
fn where_both_shapes_are_served_the_new_one_wins_and_nothing_is_said_twice() {
    let mut fake = new_server();
    let read = fake.read();
    assert!(!read.is_partial(), "{}", read.problems());
    let chassis = read.find("chassis", "entity", "1");
    assert_eq!((read.value(chassis, "power_watts"), read.value(chassis, "energy_joules")), (Some(600.0), Some(9_000_000.0)));
    assert_eq!(read.value(chassis, "power_limit_watts"), Some(900.0));
    assert_eq!((read.of_kind("psu"), read.of_kind("fan"), read.of_kind("sensor")), (2, 1, 3));
    let psu = read.find("psu", "entity", "Bay1");
    assert_eq!((read.value(psu, "power_input_watts"), read.gap(psu, "power_output_watts")), (Some(610.0), Some(GapReason::Absent)));
    let inlet = read.find("sensor", "entity", "Inlet");
    assert_eq!((read.value(inlet, "temperature_celsius"), read.value(inlet, "threshold_upper_warning")), (Some(24.5), Some(35.0)));
    assert_eq!(read.value(read.find("sensor", "entity", "Energy"), "energy_joules"), Some(3_600_000.0));
    assert_eq!(read.value(read.find("fan", "entity", "F1"), "fan_ratio"), Some(0.3));
    // What was said as the chassis' and the supply's own is not asked for again, nor are the old documents.
    for old in ["Sensors/Total", "Sensors/Psu1In", "/Power", "/Thermal"] {
        assert!(!fake.asked.iter().any(|p| p.ends_with(old)), "{old}: {:?}", fake.asked);
    }
}

#[test]
fn what_the_new_shape_lacks_comes_from_the_old_and_what_failed_does_not() {
    let mut fake = new_server();
    fake.collection("/Chassis/1/PowerSubsystem/PowerSupplies", &[]);
    fake.text("/Chassis/1/EnvironmentMetrics", 500, "");
    let read = fake.read();
    let chassis = read.find("chassis", "entity", "1");
    assert_eq!((read.value(chassis, "power_watts"), read.gap(chassis, "power_watts")), (None, Some(GapReason::Error)));
    assert!(read.is_partial() && read.problems().contains("EnvironmentMetrics"), "{}", read.problems());
    assert_eq!(read.value(read.find("psu", "entity", "0"), "power_input_watts"), Some(300.0));
}

#[test]
fn an_empty_place_for_watts_is_filled_from_the_old_document_and_nothing_is_never_zero() {
    let mut fake = new_server();
    fake.put("/Chassis/1/EnvironmentMetrics", json!({ "PowerWatts": { "Reading": null }, "PowerLimitWatts": { "SetPoint": 900 } }));
    let watts = |fake: &mut Fake| {
        let read = fake.read();
        let chassis = read.find("chassis", "entity", "1");
        assert_eq!(read.value(chassis, "power_limit_watts"), Some(900.0));
        (read.value(chassis, "power_watts"), read.gap(chassis, "power_watts"))
    };
    assert_eq!(watts(&mut fake), (Some(512.5), None));
    fake.put("/Chassis/1/Power", json!({ "PowerControl": [{ "PowerConsumedWatts": null, "PowerLimit": { "LimitInWatts": 1 } }] }));
    assert_eq!(watts(&mut fake), (None, Some(GapReason::Absent)));
    fake.put("/Chassis/1/Power", json!({ "PowerControl": [{ "PowerConsumedWatts": 0 }] }));
    assert_eq!(watts(&mut fake), (Some(0.0), None), "it may be off");
    let mut chassis: Value = serde_json::from_str(&fake.answers["/redfish/v1/Chassis/1"].1).unwrap();
    chassis["PowerState"] = json!("On");
    fake.put("/Chassis/1", chassis);
    assert_eq!(watts(&mut fake), (None, Some(GapReason::Error)));
}

#[test]
fn one_broken_part_costs_that_part_and_the_rest_is_read() {
    let mut fake = new_server();
    fake.text("/Chassis/1/Sensors/Inlet", 200, "{\"Id\": \"Inlet\", \"Reading\": ");
    fake.text("/Chassis/1/Sensors/Rail", 404, "");
    fake.text("/Chassis/1/ThermalSubsystem/Fans/F1", 200, "{\"Id\": \"F1\", \"SpeedPercent\": {\"Reading\": NaN,},}");
    let read = fake.read();
    assert!(read.is_partial());
    let problems = read.problems();
    assert!(problems.contains("Sensors/Inlet: broken JSON") && problems.contains("Sensors/Rail: a member that is not found"), "{problems}");
    assert_eq!(read.gap(read.find("fan", "entity", "F1"), "fan_ratio"), Some(GapReason::Absent));
    assert_eq!(read.value(read.find("chassis", "entity", "1"), "power_watts"), Some(600.0));
}

#[test]
fn members_come_expanded_where_that_is_offered_and_one_by_one_where_it_is_not_kept() {
    let mut fake = new_server();
    let mut root: Value = serde_json::from_str(&fake.answers["/redfish/v1"].1).unwrap();
    root["ProtocolFeaturesSupported"] = json!({ "ExpandQuery": { "NoLinks": true, "Levels": true, "MaxLevels": 1 } });
    fake.put("", root);
    let plain = fake.read().0.subjects.len();
    assert!(fake.asked.iter().filter(|p| p.contains("$expand")).count() == 1, "refused once: {:?}", fake.asked);
    for collection in
        ["/Systems", "/Chassis", "/Chassis/1/Sensors", "/Chassis/1/ThermalSubsystem/Fans", "/Chassis/1/PowerSubsystem/PowerSupplies"]
    {
        let mut whole: Value = serde_json::from_str(&fake.answers[&format!("/redfish/v1{collection}")].1).unwrap();
        for member in whole["Members"].as_array_mut().unwrap() {
            *member = serde_json::from_str(&fake.answers[member["@odata.id"].as_str().unwrap()].1).unwrap();
        }
        fake.put(&format!("{collection}?$expand=.($levels=1)"), whole);
    }
    fake.asked.clear();
    let read = fake.read();
    assert_eq!((read.0.subjects.len(), read.is_partial()), (plain, false), "{}", read.problems());
    assert!(fake.asked.len() < 13, "{:?}", fake.asked);
}

#[test]
fn a_collection_is_read_to_its_last_page() {
    let mut fake = new_server();
    fake.put(
        "/Chassis/1/Sensors",
        json!({ "Members": [link_to("/Chassis/1/Sensors/Inlet")], "Members@odata.nextLink": "/redfish/v1/Chassis/1/Sensors?$skip=1" }),
    );
    fake.put("/Chassis/1/Sensors?$skip=1", json!({ "Members": [link_to("/Chassis/1/Sensors/Rail")] }));
    let read = fake.read();
    assert_eq!((read.of_kind("sensor"), read.is_partial()), (2, false), "{}", read.problems());
}

#[test]
fn a_bmc_that_hangs_in_the_middle_is_left_alone_and_what_was_read_holds() {
    let mut fake = new_server();
    fake.late = vec!["/redfish/v1/Chassis/1/Sensors/"];
    let read = fake.read();
    assert!(read.is_partial() && read.problems().contains("were not asked for"), "{}", read.problems());
    assert_eq!(read.value(read.find("chassis", "entity", "1"), "power_watts"), Some(600.0));
    assert!(fake.now <= 21_000, "two requests of ten seconds each: {} ms", fake.now);
    let mut dead = new_server();
    dead.late = vec!["/redfish/v1"];
    assert!(matches!(dead.try_read(None), Err(CollectError::Timeout(_))));
}

#[test]
fn a_slow_bmc_is_read_as_far_as_time_goes() {
    let mut fake = new_server();
    fake.answer_ms = 2_500;
    let read = fake.read();
    assert!(read.is_partial() && fake.now <= 30_000, "{} ms", fake.now);
    assert_eq!(read.value(read.find("chassis", "entity", "1"), "power_watts"), Some(600.0));
}

#[test]
fn a_refused_credential_is_tried_once_and_is_the_operators_affair() {
    let mut fake = new_server();
    for path in ["/Systems", "/Chassis"] {
        fake.text(path, 401, "");
    }
    assert!(matches!(fake.try_read(None), Err(CollectError::Auth(_))));
    assert_eq!(fake.asked.len(), 2, "{:?}", fake.asked);
    // A privilege that lacks for one part is no reason to stop, however that is said.
    let mut fake = new_server();
    fake.text("/Chassis/1/EnvironmentMetrics", 401, "");
    fake.text("/Chassis/1/Sensors/Inlet", 403, "");
    let read = fake.read();
    assert!(read.0.problems.iter().any(|p| matches!(&p.error, Said::Denied(_))), "{}", read.problems());
    assert!(read.problems().contains("EnvironmentMetrics: HTTP 401"), "{}", read.problems());
    assert_eq!(read.of_kind("sensor"), 3, "not from the old document under another name");
}

#[test]
fn one_chassis_is_the_servers_whole_and_what_else_it_has_lies_in_it() {
    let mut fake = Fake::server(&[
        ("Board", json!({ "ChassisType": "Module", "Links": { "ContainedBy": link_to("/Chassis/Self") } })),
        ("Self", json!({ "ChassisType": "RackMount", "Links": { "ComputerSystems": [link_to("/Systems/1")] } })),
        ("Loose", json!({ "ChassisType": "Component" })),
        ("A", json!({ "ChassisType": "Component", "Links": { "ContainedBy": link_to("/Chassis/B") } })),
        ("B", json!({ "ChassisType": "Component", "Links": { "ContainedBy": link_to("/Chassis/A") } })),
    ]);
    fake.put("/Systems/1", json!({ "Id": "1", "Links": { "Chassis": [link_to("/Chassis/Self")] } }));
    let read = fake.try_read(Some("worker1")).unwrap();
    let (node, whole) = (read.find("node", "node", "worker1"), read.find("chassis", "entity", "Self"));
    assert_eq!((read.parent(whole), read.of_kind("chassis")), (Some(node), 5));
    for part in ["Board", "Loose", "A", "B"] {
        assert_eq!(read.parent(read.find("chassis", "entity", part)), Some(whole), "{part}");
    }
    // Nobody says whose it is: the BMC's address tells it from others.
    let read = fake.read();
    let whole = read.find("chassis", "entity", "10.0.1.11/Self");
    assert_eq!((read.parent(whole), read.of_kind("node")), (None, 0));
}

#[test]
fn an_enclosure_of_several_servers_gives_each_its_own() {
    let mut fake = Fake::server(&[
        ("Frame", json!({ "ChassisType": "Enclosure", "Links": { "ComputerSystems": [link_to("/Systems/1"), link_to("/Systems/2")] } })),
        ("Sled1", json!({ "ChassisType": "Sled", "Links": { "ContainedBy": link_to("/Chassis/Frame") } })),
        ("Sled2", json!({ "ChassisType": "Sled", "Links": { "ContainedBy": link_to("/Chassis/Frame") } })),
    ]);
    fake.collection("/Systems", &["1", "2"]);
    for n in [1, 2] {
        let chassis = [link_to(&format!("/Chassis/Sled{n}"))];
        fake.put(&format!("/Systems/{n}"), json!({ "@odata.id": format!("/redfish/v1/Systems/{n}"), "Id": n.to_string(), "HostName": format!("worker{n}"), "Links": { "Chassis": chassis } }));
    }
    let read = fake.read();
    for n in [1, 2] {
        let sled = read.find("chassis", "entity", &format!("Sled{n}"));
        assert_eq!(read.parent(sled), Some(read.find("node", "node", &format!("worker{n}"))));
    }
    assert_eq!(read.parent(read.find("chassis", "entity", "10.0.1.11/Frame")), None);
}

#[test]
fn accelerators_are_cards_of_the_node_and_its_processors_are_not() {
    let mut fake = Fake::server(&[("1", json!({}))]);
    let managers = [link_to("/Managers/1")];
    fake.put("/Managers/1", json!({ "Id": "1", "FirmwareVersion": "1.2.3" }));
    let processors = link_to("/Systems/1/Processors");
    fake.put("/Systems/1", json!({ "Id": "1", "HostName": "worker1", "Processors": processors, "Links": { "ManagedBy": managers } }));
    fake.collection("/Systems/1/Processors", &["CPU_0", "GPU_0", "GPU_1", "X"]);
    let uuid = "b92e6a0e-1234-5678-9abc-def012345678";
    let base = "/Systems/1/Processors/GPU_0";
    fake.put(
        base,
        json!({ "Id": "GPU_0", "ProcessorType": "GPU", "Manufacturer": "NVIDIA", "Model": "H100", "UUID": uuid,
        "EnvironmentMetrics": link_to(&format!("{base}/EnvironmentMetrics")), "Metrics": link_to(&format!("{base}/ProcessorMetrics")),
        "MemorySummary": { "TotalMemorySizeMiB": 81_920, "Metrics": link_to(&format!("{base}/MemoryMetrics")) } }),
    );
    fake.put(
        &format!("{base}/EnvironmentMetrics"),
        json!({ "PowerWatts": { "Reading": 412.5 }, "TemperatureCelsius": { "Reading": 61 }, "EnergyJoules": { "Reading": 7 } }),
    );
    fake.put(&format!("{base}/ProcessorMetrics"), json!({ "OperatingSpeedMHz": 1_410, "BandwidthPercent": 93 }));
    fake.put(&format!("{base}/MemoryMetrics"), json!({ "LifeTime": { "CorrectableECCErrorCount": 3, "UncorrectableECCErrorCount": 0 } }));
    fake.put("/Systems/1/Processors/GPU_1", json!({ "Id": "GPU_1", "ProcessorType": "GPU", "Status": { "State": "Absent" } }));
    fake.put("/Systems/1/Processors/X", json!({ "Id": "X", "ProcessorType": "CPU" }));
    let read = fake.read();
    assert_eq!(read.of_kind("accelerator"), 2);
    assert_eq!(read.identity(read.find("chassis", "entity", "1"), "firmware_version"), Some("1.2.3"));
    let card = read.find("accelerator", "uuid", &format!("GPU-{uuid}"));
    for (metric, expected) in [
        ("power_watts", 412.5),
        ("temperature_celsius", 61.0),
        ("energy_joules", 7.0),
        ("clock_sm_hertz", 1.41e9),
        ("utilization_ratio", 0.93),
        ("memory_total_bytes", 81_920.0 * 1_048_576.0),
        ("ecc_corrected_total", 3.0),
        ("ecc_uncorrected_total", 0.0),
    ] {
        assert_eq!(read.value(card, metric), Some(expected), "{metric}");
    }
    assert_eq!(
        (read.identity(card, "vendor"), read.identity(card, "class"), read.identity(card, "node")),
        (Some("nvidia"), Some("gpu"), Some("worker1"))
    );
    let empty = read.find("accelerator", "device", "GPU_1");
    assert_eq!(read.gap(empty, "power_watts"), Some(GapReason::Absent));
    assert!(!fake.asked.iter().any(|p| p.ends_with("CPU_0")));
}

#[test]
fn the_newest_entries_of_a_servers_logs_are_its_events() {
    let mut fake = Fake::server(&[("1", json!({}))]);
    let chassis = [link_to("/Chassis/1")];
    fake.put(
        "/Systems/1",
        json!({ "Id": "1", "HostName": "worker1", "LogServices": link_to("/Systems/1/LogServices"), "Links": { "Chassis": chassis } }),
    );
    fake.collection("/Systems/1/LogServices", &["SEL", "AuditLog"]);
    let entries = "/Systems/1/LogServices/SEL/Entries";
    fake.put("/Systems/1/LogServices/SEL", json!({ "Id": "SEL", "Entries": link_to(entries) }));
    let entry = |n: i64| {
        json!({ "Id": n.to_string(), "Created": format!("2026-01-02T03:{:02}:00Z", n % 60), "Severity": "Critical",
            "MessageId": "PLAT.2.1.PSU0003", "Message": format!("The power input for power supply {n} is lost.") })
    };
    let all: Vec<Value> = (0..300).map(entry).collect();
    let page = |from: usize, to: usize| json!({ "Members@odata.count": 300, "Members": all[from..to].to_vec() });
    fake.put(entries, page(0, 10));
    fake.put(&format!("{entries}?$skip=250"), page(250, 300));
    let parts = vec![Part::Logs];
    let read = fake.read_with(None, Config { parts, ..Config::default() }).unwrap();
    assert_eq!((read.0.events.len(), read.is_partial()), (50, false), "{}", read.problems());
    let last = read.0.events.iter().find(|e| e.key.starts_with("SEL/299/")).unwrap();
    assert_eq!((last.code.as_str(), last.at), ("redfish:psu0003", Some(1_767_326_340_000_000_000)));
    assert_eq!(last.subject as usize, read.find("chassis", "entity", "1"));
    assert!(!fake.asked.iter().any(|p| p.contains("AuditLog")), "{:?}", fake.asked);
    // A clock that was never set says no time.
    fake.put(entries, json!({ "Members": [{ "Id": "1", "Created": "1970-01-01T00:10:00Z", "Message": "Power on" }, { "Id": "2" }] }));
    let read = fake.read_with(None, Config { parts: vec![Part::Logs], ..Config::default() }).unwrap();
    assert_eq!((read.0.events.len(), read.0.events[0].at), (1, None));
}

/// Captures of real services, which are not part of the project.
fn captures() -> Option<&'static Path> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/redfish"));
    if !folder.is_dir() {
        eprintln!("NOT RUN: {} is not there: captures of real Redfish services", folder.display());
        return None;
    }
    Some(folder)
}

fn capture(fake: &mut Fake, folder: &Path, file: &str, path: &str) {
    fake.text(path, 200, &std::fs::read_to_string(folder.join(file)).unwrap());
}

#[test]
fn the_public_mockup_of_a_rack_server_reads_as_it_says() {
    let Some(folder) = captures() else { return };
    let mut fake = Fake::server(&[("1U", json!({}))]);
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(place) = name.strip_prefix("dmtf-1U__").and_then(|n| n.strip_suffix(".json")) {
            let path = if place == "Chassis" { String::new() } else { format!("/{}", place.replace("__", "/")) };
            capture(&mut fake, folder, &name, &format!("/Chassis/1U{path}"));
        }
    }
    let read = fake.read();
    let chassis = read.find("chassis", "entity", "1U");
    assert_eq!((read.value(chassis, "power_watts"), read.value(chassis, "power_limit_watts")), (Some(374.0), Some(500.0)));
    assert_eq!((read.identity(chassis, "serial_number"), read.state(chassis, "health").as_deref()), (Some("437XR1138R2"), Some("ok")));
    let psu = read.find("psu", "entity", "Bay1");
    assert_eq!(
        (read.value(psu, "power_input_watts"), read.value(psu, "voltage_volts"), read.value(psu, "current_amperes")),
        (Some(937.4), Some(230.2), Some(5.19))
    );
    assert_eq!(read.state(psu, "health").as_deref(), Some("warning"));
    assert_eq!(read.gap(read.find("psu", "entity", "Bay2"), "power_input_watts"), Some(GapReason::Absent));
    let cpu = read.find("sensor", "name", "CPU #1 Temperature");
    assert_eq!((read.value(cpu, "temperature_celsius"), read.value(cpu, "threshold_upper_critical")), (Some(37.0), Some(45.0)));
    let fan = read.find("fan", "entity", "Bay1");
    assert_eq!((read.value(fan, "fan_ratio"), read.value(fan, "fan_speed_rpm")), (Some(0.45), Some(2_200.0)));
    // Most of the members that it lists were not captured.
    assert!(read.is_partial() && read.problems().contains("a member that is not found"));
}

#[test]
fn a_dell_with_the_old_shape_reads_as_it_says() {
    let Some(folder) = captures() else { return };
    let mut fake = Fake::server(&[("System.Embedded.1", json!({}))]);
    capture(&mut fake, folder, "telegraf-base.json", "");
    capture(&mut fake, folder, "telegraf-dell-dell_available_systems.json", "/Systems");
    for (file, path) in [("systems", "/Systems"), ("chassis", "/Chassis")] {
        capture(&mut fake, folder, &format!("telegraf-dell-dell_{file}.json"), &format!("{path}/System.Embedded.1"));
    }
    for (file, path) in [("power", "Power"), ("thermal", "Thermal")] {
        capture(&mut fake, folder, &format!("telegraf-dell-dell_{file}.json"), &format!("/Chassis/System.Embedded.1/{path}"));
    }
    let read = fake.read();
    let chassis = read.find("chassis", "entity", "System.Embedded.1");
    assert_eq!((read.value(chassis, "power_watts"), read.value(chassis, "power_limit_watts")), (Some(429.0), Some(348.0)));
    assert_eq!(
        (read.identity(chassis, "model"), read.parent(chassis)),
        (Some("PowerEdge R640"), Some(read.find("node", "node", "tpa-hostname")))
    );
    let psu = read.find("psu", "entity", "PSU.Slot.1");
    assert_eq!(
        (read.value(psu, "power_output_watts"), read.gap(psu, "power_input_watts")),
        (Some(203.0), Some(GapReason::Unsupported)),
        "900 W is its rating"
    );
    assert_eq!(read.value(read.find("fan", "name", "System Board Fan1A"), "fan_speed_rpm"), Some(17_760.0));
    assert_eq!(read.value(read.find("sensor", "name", "CPU1 Temp"), "temperature_celsius"), Some(40.0));
    let flag = read.find("sensor", "name", "System Board DIMM PG");
    assert_eq!((read.value(flag, "voltage_volts"), read.value(flag, "reading_value")), (None, Some(1.0)));
}

#[test]
fn an_accelerators_board_shows_its_cards() {
    let Some(folder) = captures() else { return };
    let mut fake = Fake::server(&[("HGX_Chassis_0", json!({}))]);
    fake.collection("/Systems", &["HGX_Baseboard_0"]);
    capture(&mut fake, folder, "gb300__index.json", "/Systems/HGX_Baseboard_0");
    capture(&mut fake, folder, "gb300__Processors__index.json", "/Systems/HGX_Baseboard_0/Processors");
    capture(&mut fake, folder, "gb300__Processors__GPU_0__index.json", "/Systems/HGX_Baseboard_0/Processors/GPU_0");
    let read = fake.try_read(Some("worker1")).unwrap();
    let card = read.find("accelerator", "redfish_id", "GPU_0");
    assert_eq!((read.value(card, "memory_total_bytes"), read.value(card, "clock_sm_hertz")), (Some(285_324.0 * 1_048_576.0), Some(1.2e8)));
    assert_eq!((read.identity(card, "model"), read.gap(card, "power_watts")), (Some("NVIDIA GB300"), Some(GapReason::Unsupported)));
    assert_eq!(read.problems().matches("a member that is not found").count(), 3, "the other three cards were not captured");
}
