use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::testing::{Seen, capture, cut_off, target, with_broken_lines};

use super::*;

const AT: i64 = 1_764_000_000_123;

fn read(text: &str) -> Seen {
    Seen::text(&mut Tenstorrent::default(), &target("http://10.0.0.11:8080/api/metrics", &[("node", "worker1")]), text)
}

fn dump(text: &str) -> Result<Seen, CollectError> {
    let of = target("/var/lib/tt-smi/worker1.json", &[("node", "worker1")]);
    Seen::of(Plugin::describe().metrics, |batch| smi::read(text, &of, &mut Out::new::<Tenstorrent>(batch, 0)))
}

/// As the server writes it: a stamp on each sample, a blank line after it, families interleaved.
fn page() -> String {
    let chip = |name: &str, chip: u32, unit: &str, value: &str| {
        format!("{name}{{chip=\"{chip}\",tray=\"1\",hostname=\"worker1\",unit=\"{unit}\"}} {value} {AT}\n\n")
    };
    let link = |name: &str, value: u32| format!("{name}{{channel=\"7\",chip=\"0\",tray=\"1\",hostname=\"worker1\"}} {value} {AT}\n\n");
    "# Tenstorrent Metal Telemetry Metrics\n# Generated at: Wed\n\n".to_owned()
        + &chip("TDP", 0, "W", "62")
        + &chip("TDP", 1, "W", "58")
        + &chip("AIClock", 0, "MHz", "1000")
        + &chip("AICLK", 1, "MHz", "800")
        + &chip("TDC", 0, "A", "70")
        + &chip("VCore", 0, "mV", "720")
        + &chip("ASICTemperature", 0, "°C", "45.250000")
        + &chip("FanSpeed", 0, "RPM", "0")
        + &link("linkIsUp", 1)
        + &link("crcErrorCount", 3)
        + &link("retrainCount", 2)
}

#[test]
fn a_chip_of_a_tray_is_a_card_with_its_time_and_what_it_never_says() {
    let seen = read(&page());
    let chip = seen.find("accelerator", "device", "1/0").unwrap();
    assert_eq!(seen.reading(chip, "power_watts").map(|(v, _, at)| (v, at)), Some((62.0, Some(AT as u64 * 1_000_000))));
    assert_eq!(
        (seen.value(chip, "clock_sm_hertz"), seen.value(chip, "voltage_volts"), seen.value(chip, "temperature_celsius")),
        (Some(1e9), Some(0.72), Some(45.25))
    );
    assert_eq!(
        (seen.gap(chip, "utilization_ratio"), seen.gap(chip, "memory_used_bytes")),
        (Some(GapReason::Unsupported), Some(GapReason::Unsupported))
    );
    assert_eq!(seen.gap(chip, "fan_speed_rpm"), Some(GapReason::Absent), "what the firmware does not say is written as 0");
    let second = seen.find("accelerator", "device", "1/1").unwrap();
    assert_eq!((seen.value(second, "clock_sm_hertz"), seen.label(second, "node")), (Some(8e8), Some("worker1")), "the older name");
    let link = seen.find("link", "index", "7").unwrap();
    assert_eq!(
        (seen.state(link, "link_status"), seen.value(link, "x_tenstorrent_crc_errors_total"), seen.parent(link)),
        (Some("up"), Some(3.0), Some(("accelerator", chip)))
    );
    assert_eq!(seen.problems(), "");
}

#[test]
fn a_word_with_a_limit_above_its_value_is_the_value() {
    let of = "chip=\"0\",tray=\"1\",hostname=\"worker1\"";
    let seen = read(&format!("TDP{{{of}}} {}\nTDP{{chip=\"1\",tray=\"1\"}} 4294967295\n", 85 << 16 | 30));
    assert_eq!(seen.values("accelerator", "power_watts"), [30.0]);
    assert_eq!(seen.gap(seen.find("accelerator", "device", "1/1").unwrap(), "power_watts"), Some(GapReason::Unsupported));
}

#[test]
fn a_label_that_holds_a_line_break_costs_its_line_alone() {
    let broken = "Firmware{chip=\"0\",tray=\"1\",hostname=\"worker1\",value=\"1.2\\\n3\"} 1 1764000000123\n\n";
    let seen = read(&(broken.to_owned() + &page()));
    assert_eq!((seen.values("accelerator", "power_watts"), seen.all("link").len()), (vec![58.0, 62.0], 1));
    let seen = read(&with_broken_lines(&page()));
    assert_eq!(seen.values("accelerator", "power_watts"), [58.0, 62.0]);
}

#[test]
fn the_two_sources_meet_by_the_uuid_that_the_operator_wrote() {
    let config = serde_json::from_str(r#"{"uuids":{"worker1/1/0":"46131924062-0"}}"#).unwrap();
    let mut own = Plugin::new(config).unwrap().source;
    let seen = Seen::text(&mut own, &target("http://10.0.0.11:8080/api/metrics", &[]), &page());
    assert!(seen.find("accelerator", "uuid", "46131924062-0").is_some() && seen.find("accelerator", "device", "1/1").is_some());
    assert!(
        Seen::text(&mut own, &target("http://10.0.0.11:8080/x", &[]), "TDP 12\nFanSpeed{fan=\"1\"} 900\n").batch.subjects.is_empty(),
        "no chip of ours"
    );
}

#[test]
fn the_capture_of_tt_smi_gives_its_chip() {
    // One p300c chip: texts are padded, the board's number stands in raw words alone, the fan is 38 % and 1882 turns.
    let Some(text) = capture("tenstorrent/tt-smi-snapshot-p300c.json") else { return };
    let seen = dump(&text).unwrap();
    let chip = seen.find("accelerator", "uuid", "46131924062-0").unwrap();
    for (metric, expected) in [
        ("power_watts", 16.0),
        ("temperature_celsius", 34.8),
        ("clock_sm_hertz", 8e8),
        ("voltage_volts", 0.72),
        ("current_amperes", 23.0),
        ("fan_ratio", 0.38),
        ("fan_speed_rpm", 1_882.0),
        ("shutdown_temperature_celsius", 110.0),
    ] {
        assert_eq!(seen.value(chip, metric), Some(expected), "{metric}");
    }
    assert_eq!(
        (seen.label(chip, "model"), seen.label(chip, "pci_address"), seen.problems()),
        (Some("p300c"), Some("0000:04:00.0"), String::new())
    );
    assert_eq!((seen.all("accelerator").len(), seen.gap(chip, "utilization_ratio")), (1, Some(GapReason::Unsupported)));
    for part in cut_off(&text) {
        assert!(dump(part).is_err(), "half a file is no answer");
    }
}

#[test]
fn chips_of_one_board_are_told_apart_and_a_hanging_one_has_gaps() {
    let text = r#"{"host_info":{"Hostname":"worker9"},"device_info":[
        {"board_info":{"board_type":"n300 L","board_id":"0100014611901234","bus_id":"0000:01:00.0"},"telemetry":{"power":"21.0","asic_temperature":45,"aiclk":"N/A","fan_speed":"4294967295"},"limits":{"tdp_limit":"85","thm_limit":75}},
        {"board_info":{"board_type":"n300 R","board_id":"0100014611901234","bus_id":"N/A"},"telemetry":{"power":null,"asic_temperature":"0.0"}},
        {"board_info":{},"telemetry":{}}]}"#;
    let of = target("/var/lib/tt-smi/x.json", &[]);
    let seen = Seen::of(Plugin::describe().metrics, |batch| smi::read(text, &of, &mut Out::new::<Tenstorrent>(batch, 0))).unwrap();
    let left = seen.find("accelerator", "uuid", "0100014611901234-0").unwrap();
    let right = seen.find("accelerator", "uuid", "0100014611901234-1").unwrap();
    assert_eq!(
        (seen.value(left, "power_watts"), seen.value(left, "power_limit_watts"), seen.value(left, "temperature_limit_celsius")),
        (Some(21.0), Some(85.0), Some(75.0))
    );
    assert_eq!(
        (seen.gap(left, "clock_sm_hertz"), seen.gap(left, "fan_ratio")),
        (Some(GapReason::Unsupported), Some(GapReason::Unsupported))
    );
    assert_eq!(
        (seen.gap(right, "power_watts"), seen.gap(right, "temperature_celsius"), seen.label(right, "pci_address")),
        (Some(GapReason::Absent), Some(GapReason::Absent), None)
    );
    let hanging = seen.find("accelerator", "device", "2").unwrap();
    assert_eq!((seen.gap(hanging, "power_watts"), seen.label(hanging, "node")), (Some(GapReason::Absent), Some("worker9")));
    assert!(dump(r#"{"devices":[]}"#).err().is_some_and(|e| e.to_string().contains("tt-smi -s")));
}
