use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::testing::{Seen, target};

use super::*;

fn read(text: &str) -> Seen {
    let bmc = target("http://exporter:9290/ipmi?target=10.1.0.11&module=default", &[("node", "worker1")]);
    Seen::text(&mut IpmiExporter::default(), &bmc, text)
}

#[test]
fn dcmi_watts_stand_on_the_chassis_that_they_were_measured_on() {
    let seen = read(
        "ipmi_up{collector=\"dcmi\"} 1\nipmi_dcmi_power_consumption_watts 812\nipmi_chassis_power_state 1\nipmi_sel_logs_count 7\n\
         ipmi_bmc_info{firmware_revision=\"1.66\",manufacturer_id=\"Dell Inc. (674)\",system_firmware_version=\"N/A\"} 1\n",
    );
    let dcmi = seen.find("chassis", "name", "dcmi").unwrap();
    assert_eq!((seen.value(dcmi, "power_watts"), seen.label(dcmi, "method")), (Some(812.0), Some("dcmi")));
    let node = seen.find("node", "node", "worker1").unwrap();
    assert_eq!((seen.parent(dcmi), seen.label(node, "bmc_address")), (Some(("node", node)), Some("10.1.0.11")));
    let bmc = seen.find("chassis", "name", "bmc").unwrap();
    assert_eq!((seen.state(bmc, "power_state"), seen.value(bmc, "x_ipmi_sel_count")), (Some("on"), Some(7.0)));
    assert_eq!((seen.label(bmc, "manufacturer"), seen.label(bmc, "firmware_version")), (Some("Dell Inc."), Some("1.66")));
    assert_eq!((seen.label(bmc, "system_firmware_version"), seen.value(bmc, "power_watts"), seen.label(bmc, "method")), (None, None, None));
}

#[test]
fn nothing_measured_is_no_zero_watts() {
    let seen = read("ipmi_dcmi_power_consumption_watts 0\n");
    let dcmi = seen.find("chassis", "name", "dcmi").unwrap();
    assert_eq!((seen.value(dcmi, "power_watts"), seen.gap(dcmi, "power_watts")), (None, Some(GapReason::Absent)));
}

#[test]
fn the_sensor_of_the_whole_server_stays_a_sensor_beside_those_of_parts() {
    let seen = read(
        "ipmi_power_watts{id=\"90\",name=\"Pwr Consumption\"} 700\nipmi_power_watts{id=\"91\",name=\"CPU Power\"} 200\nipmi_power_watts{id=\"92\",name=\"PSU1 Power In\"} 360\n",
    );
    let whole = seen.find("sensor", "name", "Pwr Consumption").unwrap();
    assert_eq!((seen.value(whole, "power_watts"), seen.label(whole, "sensor_type")), (Some(700.0), Some("power")));
    assert_eq!(seen.parent(whole), Some(("chassis", seen.find("chassis", "name", "bmc").unwrap())));
    assert_eq!((seen.all("sensor").len(), seen.all("psu").len()), (2, 1));
}

#[test]
fn supplies_only_are_a_server_too_each_with_its_sides() {
    let seen = read(
        "ipmi_power_watts{id=\"1\",name=\"PSU1 Power In\"} 700\nipmi_power_watts{id=\"2\",name=\"PSU1 Power Out\"} 650\nipmi_power_watts{id=\"3\",name=\"PSU2 Power In\"} NaN\n\
         ipmi_power_watts{id=\"4\",name=\"PS3\"} 90\nipmi_power_state{id=\"1\",name=\"PSU1 Power In\"} 0\nipmi_power_state{id=\"2\",name=\"PSU1 Power Out\"} 2\n\
         ipmi_current_amperes{id=\"5\",name=\"PSU1 Current In\"} 3\nipmi_current_amperes{id=\"6\",name=\"PSU1 Current Out\"} 54\n\
         ipmi_sensor_state{id=\"7\",name=\"PS2 Status\",type=\"Power Supply\"} 1\nipmi_sensor_value{id=\"7\",name=\"PS2 Status\",type=\"Power Supply\"} NaN\n",
    );
    let one = seen.find("psu", "name", "PSU1").unwrap();
    assert_eq!(
        (seen.value(one, "power_input_watts"), seen.value(one, "power_output_watts"), seen.value(one, "power_watts")),
        (Some(700.0), Some(650.0), None)
    );
    assert_eq!((seen.state(one, "sensor_state"), seen.value(one, "current_amperes")), (Some("critical"), Some(3.0)));
    let out = seen.find("sensor", "name", "PSU1 Current Out").unwrap();
    assert_eq!(seen.value(out, "current_amperes"), Some(54.0));
    let two = seen.find("psu", "name", "PSU2").unwrap();
    assert_eq!((seen.gap(two, "power_input_watts"), seen.state(two, "sensor_state")), (Some(GapReason::Absent), Some("warning")));
    assert_eq!(seen.value(seen.find("psu", "name", "PS3").unwrap(), "power_watts"), Some(90.0), "it does not say which side");
}

#[test]
fn any_number_of_fans_and_rails_by_their_own_names() {
    let mut text = String::new();
    for fan in 1..=16 {
        text += &format!(
            "ipmi_fan_speed_rpm{{id=\"{fan}\",name=\"FAN{fan}\"}} {}\nipmi_fan_speed_state{{id=\"{fan}\",name=\"FAN{fan}\"}} 0\n",
            fan * 100
        );
    }
    text += "ipmi_fan_speed_ratio{id=\"58\",name=\"Fan 1 DutyCycle\"} 0.2195\nipmi_voltage_volts{id=\"20\",name=\"1.05V\"} 1.05\nipmi_voltage_volts{id=\"21\",name=\"5V\"} 5\n\
        ipmi_voltage_volts{id=\"22\",name=\"VCORE\"} 0.9\nipmi_voltage_volts{id=\"23\",name=\"VCORE\"} 0.8\n";
    let seen = read(&text);
    assert_eq!(seen.all("fan").len(), 17);
    let rpm = |name: &str| seen.value(seen.find("fan", "name", name).unwrap(), "fan_speed_rpm");
    assert_eq!((rpm("FAN1"), rpm("FAN10")), (Some(100.0), Some(1000.0)));
    assert_eq!(seen.value(seen.find("fan", "name", "Fan 1 DutyCycle").unwrap(), "fan_ratio"), Some(0.2195));
    let volts = |key: &str, value: &str| seen.value(seen.find("sensor", key, value).unwrap(), "voltage_volts");
    assert_eq!((volts("name", "1.05V"), volts("name", "5V")), (Some(1.05), Some(5.0)));
    assert_eq!((volts("entity", "22"), volts("entity", "23")), (Some(0.9), Some(0.8)), "one name twice: told apart by its id");
}

#[test]
fn states_are_kept_and_a_state_that_makes_no_sense_is_a_gap() {
    let seen = read(
        "ipmi_temperature_celsius{id=\"1\",name=\"Inlet\"} 24\nipmi_temperature_state{id=\"1\",name=\"Inlet\"} 1\n\
         ipmi_temperature_celsius{id=\"2\",name=\"GPU0\"} NaN\nipmi_temperature_state{id=\"2\",name=\"GPU0\"} NaN\n\
         ipmi_sensor_state{id=\"3\",name=\"Intrusion\",type=\"Physical Security\"} 2\nipmi_sensor_value{id=\"3\",name=\"Intrusion\",type=\"Physical Security\"} NaN\n",
    );
    let of = |name: &str| seen.find("sensor", "name", name).unwrap();
    assert_eq!((seen.state(of("Inlet"), "sensor_state"), seen.state(of("Intrusion"), "sensor_state")), (Some("warning"), Some("critical")));
    assert_eq!(
        (seen.gap(of("GPU0"), "sensor_state"), seen.gap(of("GPU0"), "temperature_celsius")),
        (Some(GapReason::Error), Some(GapReason::Absent))
    );
    assert_eq!(
        (seen.value(of("Intrusion"), "reading_value"), seen.gap(of("Intrusion"), "reading_value")),
        (None, None),
        "it never has one"
    );
}

#[test]
fn what_a_fault_is_differs_by_collector_and_is_said_in_the_help_alone() {
    let health = |text: &str| {
        let seen = read(text);
        seen.state(seen.find("chassis", "name", "bmc").unwrap(), "health").map(str::to_owned)
    };
    let free = "# HELP ipmi_chassis_cooling_fault_state Current Cooling/fan fault state (1=false, 0=true).\n";
    let native = "# HELP ipmi_chassis_cooling_fault_state Current Cooling/fan fault state (1=true, 0=false).\n";
    let row = "ipmi_chassis_cooling_fault_state 1\n";
    assert_eq!(health(&format!("{free}{row}")).as_deref(), Some("ok"));
    assert_eq!(health(&format!("{native}{row}")).as_deref(), Some("critical"));
    assert_eq!(health(row), None, "nobody can know");
}

#[test]
fn a_collector_that_failed_leaves_half_an_answer_and_all_of_them_none() {
    use kcloud_collector_sdk::bindings::kcloud::collector::types::Coverage;
    let half = read("ipmi_up{collector=\"ipmi\"} 0\nipmi_up{collector=\"chassis\"} 1\nipmi_chassis_power_state 0\n");
    assert_eq!(half.batch.coverage, Coverage::Partial);
    assert!(half.problems().contains("could not read ipmi"), "{}", half.problems());
    assert_eq!(half.state(half.find("chassis", "name", "bmc").unwrap(), "power_state"), Some("off"));
    let bmc = target("http://exporter:9290/ipmi?target=10.1.0.11", &[]);
    let none = Seen::try_text(&mut IpmiExporter::default(), &bmc, "ipmi_up{collector=\"ipmi\"} 0\nipmi_up{collector=\"chassis\"} 0\n");
    assert!(matches!(none.err(), Some(CollectError::Unreachable(why)) if why.contains("10.1.0.11")));
}

#[test]
fn several_bmcs_at_one_exporter_stay_apart_also_without_nodes() {
    let text = "ipmi_dcmi_power_consumption_watts 500\n";
    let read =
        |address: &str| Seen::text(&mut IpmiExporter::default(), &target(&format!("http://e:9290/ipmi?target={address}"), &[]), text);
    let identity = |seen: &Seen| seen.batch.subjects[0].identity.iter().map(|l| format!("{}={}", l.key, l.value)).collect::<Vec<_>>();
    let (one, two) = (read("10.1.0.11"), read("10.1.0.12:623"));
    assert_eq!(identity(&one), ["entity=10.1.0.11", "name=dcmi"]);
    assert_ne!(identity(&one), identity(&two));
    assert!(one.problems().contains("10.1.0.11"), "{}", one.problems());
    let mut known = IpmiExporter { nodes: [("10.1.0.11".to_owned(), "worker1".to_owned())].into() };
    let series: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"ipmi_dcmi_power_consumption_watts","job":"ipmi","instance":"10.1.0.11"},"value":[1764000010,"500"]},
            {"metric":{"__name__":"ipmi_dcmi_power_consumption_watts","job":"ipmi","instance":"10.1.0.12","node":"worker2"},"value":[1764000010,"700"]}]"#,
    )
    .unwrap();
    let seen = Seen::series(&mut known, &series, &Default::default());
    let watts = |node: &str| {
        let node = seen.find("node", "node", node).unwrap();
        let chassis =
            seen.all("chassis").into_iter().find(|c| seen.parent(*c) == Some(("node", node)) && seen.label(*c, "name") == Some("dcmi"));
        seen.value(chassis.unwrap(), "power_watts")
    };
    assert_eq!((watts("worker1"), watts("worker2")), (Some(500.0), Some(700.0)));
}

#[test]
fn an_operators_event_comes_with_its_time_unless_the_clock_was_never_set() {
    let seen = read(
        "ipmi_sel_events_count_by_state{state=\"Warning\"} 5\nipmi_sel_events_count_by_name{name=\"psu_lost\"} 77\n\
         ipmi_sel_events_latest_timestamp{name=\"psu_lost\"} 1.703613275e+09\nipmi_sel_events_latest_timestamp{name=\"old\"} 12\nipmi_sel_events_latest_timestamp{name=\"never\"} 0\n",
    );
    let events: Vec<_> = seen.batch.events.iter().map(|e| (e.code.as_str(), e.at)).collect();
    assert_eq!(events, [("sel:psu_lost", Some(1_703_613_275_000_000_000)), ("sel:old", None)]);
    assert_eq!(seen.value(seen.find("chassis", "name", "bmc").unwrap(), "x_ipmi_sel_warning_count"), Some(5.0));
    assert_eq!(seen.value(seen.find("x_ipmi_event", "name", "psu_lost").unwrap(), "x_ipmi_sel_count"), Some(77.0));
}

#[test]
fn the_exporters_own_examples_are_read_whole() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/ipmi/documented-examples.prom");
    let Ok(text) = std::fs::read_to_string(file) else {
        eprintln!("NOT RUN: {file} is not here");
        return;
    };
    let seen = read(&text);
    assert_eq!(seen.problems(), "");
    assert_eq!(seen.value(seen.find("sensor", "name", "Pwr Consumption").unwrap(), "power_watts"), Some(70.0));
    assert_eq!(seen.value(seen.find("sensor", "name", "Inlet Temp").unwrap(), "temperature_celsius"), Some(24.0));
    assert_eq!(seen.value(seen.find("fan", "name", "Fan1A").unwrap(), "fan_speed_rpm"), Some(4560.0));
    assert_eq!(seen.state(seen.find("sensor", "name", "Power Cable").unwrap(), "sensor_state"), Some("nominal"));
    // Another exporter's rows are no rows of this one.
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/ipmi/bmc_exporter-scrape.prom");
    assert!(read(&std::fs::read_to_string(other).unwrap()).batch.subjects.is_empty());
}
