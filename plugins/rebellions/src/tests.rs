use kcloud_collector_sdk::exporter::definitions;
use kcloud_collector_sdk::testing::{Seen, captures, cut_off, target};
use kcloud_collector_sdk::{GapReason, Quality};

use super::*;

fn read_as(mut source: Rebellions, text: &str) -> Seen {
    Seen::text(&mut source, &target("http://10.0.0.11:9090/metrics", &[("node", "worker1")]), text)
}

fn read(text: &str) -> Seen {
    read_as(Rebellions::default(), text)
}

fn stat(text: &str) -> Result<Seen, CollectError> {
    let metrics = definitions(Rebellions::METRICS);
    Seen::of(metrics, |batch| {
        stat::read(text, &target("/var/lib/rbln.json", &[("node", "worker1")]), &mut Out::new::<Rebellions>(batch, 0))
    })
}

fn row(name: &str, model: &str, device: u32, value: &str) -> String {
    format!(
        "{name}{{card=\"{model}\",deviceID=\"0x1220\",driver_version=\"3.0.0\",hostname=\"worker7\",name=\"rbln{device}\",uuid=\"u{device}\"}} {value}\n"
    )
}

#[test]
fn both_generations_of_names_are_one_reading_and_0_is_good_health() {
    for names in [
        ["RBLN_DEVICE_STATUS:CARD_POWER", "RBLN_DEVICE_STATUS:TEMPERATURE", "RBLN_DEVICE_STATUS:UTILIZATION", "RBLN_DEVICE_STATUS:HEALTH"],
        ["rbln_npu_power", "rbln_npu_temperature", "rbln_npu_utilization", "rbln_npu_health"],
    ] {
        let text: String = names.iter().zip(["52.5", "41", "87.5", "0"]).map(|(n, v)| row(n, "RBLN-CA22", 0, v)).collect();
        let seen = read(&text);
        let card = seen.find("accelerator", "uuid", "u0").unwrap();
        assert_eq!((seen.value(card, "power_watts"), seen.value(card, "temperature_celsius")), (Some(52.5), Some(41.0)));
        assert_eq!((seen.value(card, "utilization_ratio"), seen.state(card, "health")), (Some(0.875), Some("ok")));
        let labels = ["node", "device", "model", "vendor", "class", "unit_rule"].map(|key| seen.label(card, key));
        assert_eq!(labels, [Some("worker7"), Some("rbln0"), Some("RBLN-CA22"), Some("rebellions"), Some("npu"), None]);
    }
    let bad = row("rbln_npu_health", "RBLN-CA22", 0, "1") + &row("rbln_npu_health", "RBLN-CA22", 1, "7");
    let seen = read(&bad);
    let health = |uuid| seen.state(seen.find("accelerator", "uuid", uuid).unwrap(), "health");
    assert_eq!((health("u0"), health("u1")), (Some("critical"), Some("unknown")));
}

#[test]
fn values_at_a_thousandth_are_made_whole_and_the_label_says_so() {
    let text = row("rbln_npu_power", "RBLN-CA22", 0, "0.0175218") + &row("rbln_npu_temperature", "RBLN-CA22", 0, "0.031");
    let seen = read(&text);
    let card = seen.find("accelerator", "uuid", "u0").unwrap();
    assert_eq!((seen.total("accelerator", "power_watts"), seen.total("accelerator", "temperature_celsius")), (17.5218, 31.0));
    assert_eq!(seen.label(card, "unit_rule"), Some("power and temperature times 1000"));
    // An operator knows better.
    let text = row("rbln_npu_power", "RBLN-CA22", 0, "1.5");
    let by = |scale| read_as(Rebellions { scale, ..Rebellions::default() }, &text).total("accelerator", "power_watts");
    assert_eq!((by(Scale::By(1000.0)), by(Scale::By(1.0)), by(Scale::Auto)), (1500.0, 1.5, 1.5));
}

#[test]
fn zero_watts_and_degrees_are_gaps_and_an_idle_load_is_a_reading() {
    let text = row("rbln_npu_power", "RBLN-CA22", 0, "0")
        + &row("rbln_npu_temperature", "RBLN-CA22", 0, "0")
        + &row("rbln_npu_utilization", "RBLN-CA22", 0, "0");
    let seen = read(&text);
    let card = seen.find("accelerator", "uuid", "u0").unwrap();
    assert_eq!((seen.gap(card, "power_watts"), seen.gap(card, "temperature_celsius")), (Some(GapReason::Absent), Some(GapReason::Absent)));
    assert_eq!((seen.value(card, "utilization_ratio"), seen.gap(card, "memory_total_bytes")), (Some(0.0), Some(GapReason::Absent)));
}

#[test]
fn memory_in_gib_and_in_bytes_is_the_same() {
    for (used, total) in [("2", "16"), ("2147483648", "17179869184")] {
        let text = row("RBLN_DEVICE_STATUS:DRAM_USED", "RBLN-CA22", 0, used) + &row("RBLN_DEVICE_STATUS:DRAM_TOTAL", "RBLN-CA22", 0, total);
        let seen = read(&text);
        let (used, total) = (seen.total("accelerator", "memory_used_bytes"), seen.total("accelerator", "memory_total_bytes"));
        assert_eq!((used, total), (2_147_483_648.0, 17_179_869_184.0));
    }
}

#[test]
fn four_dies_of_an_atom_max_are_one_card_whose_watts_count_once() {
    let mut text = String::new();
    for die in 0..8 {
        let watts = if die < 4 { "250.5" } else { "300" };
        text += &row("rbln_npu_power", "RBLN-CA25", die, watts);
        text += &row("rbln_npu_temperature", "RBLN-CA25", die, &(40 + die).to_string());
        text += &row("rbln_npu_utilization", "RBLN-CA25", die, &(die * 10).to_string());
        text += &row("rbln_npu_memory_used", "RBLN-CA25", die, "1073741824");
        text += &row("rbln_npu_memory_total", "RBLN-CA25", die, "17179869184");
        text += &row("rbln_npu_health", "RBLN-CA25", die, if die == 2 { "1" } else { "0" });
    }
    let seen = read(&text);
    assert_eq!((seen.count("accelerator", "power_watts"), seen.total("accelerator", "power_watts")), ((2, 2, 0), 550.5));
    assert_eq!((seen.count("partition", "power_watts"), seen.count("partition", "utilization_ratio")), ((8, 0, 0), (8, 8, 0)));
    let card = seen.find("accelerator", "uuid", "u0").unwrap();
    assert_eq!(seen.reading(card, "temperature_celsius"), Some((43.0, Quality::Derived, None)), "the hottest");
    assert_eq!(seen.reading(card, "memory_total_bytes"), Some((68_719_476_736.0, Quality::Derived, None)));
    assert_eq!((seen.total("accelerator", "utilization_ratio"), seen.state(card, "health")), (0.7, Some("critical")), "15 and 55 %");
    // Where the devices do not look like such cards, nothing is thrown together, and it is said.
    let five = text.clone() + &row("rbln_npu_power", "RBLN-CA25", 8, "250");
    let seen = read(&five);
    assert_eq!((seen.all("accelerator").len(), seen.all("partition").len()), (9, 0));
    assert!(seen.problems().contains("dies_per_card"), "{}", seen.problems());
    // Unless an operator says how many.
    let seen = read_as(Rebellions { dies_per_card: Some(2), ..Rebellions::default() }, &text);
    assert_eq!((seen.all("accelerator").len(), seen.total("accelerator", "power_watts"), seen.problems()), (4, 1101.0, String::new()));
}

#[test]
fn dies_are_told_by_serial_in_rbln_stat_and_contexts_are_processes() {
    let die = |npu: u32, sid: &str| {
        format!(
            r#"{{"npu":{npu},"name":"RBLN-CA25","sid":"{sid}","uuid":"u{npu}","device":"rbln{npu}","status":"normal","pci":{{"bus_id":"0000:0{npu}:00.0"}},"temperature":"{}C","card_power":"250000000uW","memory":{{"used":"1073741824","total":"17179869184"}},"util":"50.0"}}"#,
            40 + npu
        )
    };
    let devices = [die(0, "a"), die(1, "a"), die(2, "b"), die(3, "b")].join(",");
    let text = format!(
        r#"{{"KMD_version":"3.0.0","devices":[{devices}],"contexts":[{{"ctx_id":"7","npu":2,"process":"python3","pid":"4711","memalloc":"3.5GiB","util_info":"x"}}]}}"#
    );
    let seen = stat(&text).unwrap();
    assert_eq!((seen.count("accelerator", "power_watts"), seen.total("accelerator", "power_watts")), ((2, 2, 0), 500.0));
    let card = seen.find("accelerator", "serial_number", "b").unwrap();
    let process = seen.find("process", "pid", "4711").unwrap();
    let die = seen.parent(process).unwrap().1;
    assert_eq!((seen.parent(die), seen.label(die, "device")), (Some(("accelerator", card)), Some("rbln2")));
    assert_eq!((seen.label(process, "name"), seen.value(process, "memory_used_bytes")), (Some("python3"), Some(3.5 * 1_073_741_824.0)));
}

#[test]
fn what_rbln_stat_does_not_know_is_a_gap_and_no_text_makes_it_fall() {
    let text = r#"{"devices":[{"uuid":"u0","device":"rbln0","status":"fault","temperature":"N/A","card_power":"0uW","util":null,"memory":{"used":[],"total":"0"}},{"x":1}]}"#;
    let seen = stat(text).unwrap();
    let card = seen.find("accelerator", "uuid", "u0").unwrap();
    let gaps =
        ["temperature_celsius", "power_watts", "utilization_ratio", "memory_used_bytes", "memory_total_bytes"].map(|m| seen.gap(card, m));
    use GapReason::{Absent, Error, Unsupported};
    assert_eq!(gaps, [Some(Unsupported), Some(Absent), Some(Absent), Some(Error), Some(Absent)]);
    assert_eq!((seen.state(card, "health"), seen.batch.points.len()), (Some("critical"), 0));
    assert!(seen.problems().contains("neither a uuid"), "{}", seen.problems());
    assert!(matches!(stat("{}"), Err(CollectError::Unsupported(_))));
    assert!(matches!(stat("{\"devices\":["), Err(CollectError::Protocol(_))));
}

/// Of a capture: cards, their watts, degrees and bytes together; and why.
const CAPTURES: &[(&str, usize, f64, f64, f64, &str)] = &[(
    "rbln-stat-atom-plus-idle.json",
    2,
    35.829_055,
    64.0,
    33_755_758_592.0,
    "two ATOM+ with a serial each: 17521800 and 18307255 µW, 31 and 33 °C, twice 16877879296 bytes",
)];

#[test]
fn every_capture_is_read_to_the_last_device_broken_or_not() {
    let Some(captures) = captures(env!("CARGO_MANIFEST_DIR"), "rebellions") else { return };
    let names: Vec<&str> = captures.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(names, CAPTURES.iter().map(|c| c.0).collect::<Vec<_>>(), "each capture has its row in the table");
    for ((name, text), (_, cards, watts, degrees, bytes, why)) in captures.iter().zip(CAPTURES) {
        let seen = stat(text).unwrap();
        assert_eq!((seen.count("accelerator", "power_watts"), seen.problems()), ((*cards, *cards, 0), String::new()), "{name}: {why}");
        let totals = ["power_watts", "temperature_celsius", "memory_total_bytes"].map(|m| seen.total("accelerator", m));
        assert_eq!(totals, [*watts, *degrees, *bytes], "{name}: {why}");
        assert_eq!(seen.count("accelerator", "utilization_ratio"), (*cards, *cards, 0), "{name}: idle is a reading");
        for cut in cut_off(text) {
            assert!(stat(cut).is_err(), "half a document is none");
        }
        let card = seen.find("accelerator", "uuid", "4126c167-c7a6-4d0a-80dd-ffbf3641d1b0").unwrap();
        let labels = ["node", "device", "pci_address", "model", "serial_number", "firmware_version", "driver_version", "pstate"];
        let expected = ["worker1", "rbln0", "0000:03:00.0", "RBLN-CA22", "0000000022513338", "3.0.0", "3.0.0", "P14"];
        assert_eq!(labels.map(|key| seen.label(card, key)), expected.map(Some));
    }
}

#[test]
fn dies_behind_a_server_make_cards_of_their_own_node() {
    let row = |node: u32, die: u32| {
        format!(
            r#"{{"metric":{{"__name__":"RBLN_DEVICE_STATUS:CARD_POWER","job":"rbln","instance":"10.0.0.{node}:9090","card":"RBLN-CA25","name":"rbln{die}","uuid":"u{node}{die}","hostname":"worker{node}"}},"value":[1764000000,"0.25"]}}"#
        )
    };
    let rows: Vec<String> = (1..3).flat_map(|node| (0..4).map(move |die| row(node, die))).collect();
    let series: Vec<kcloud_collector_sdk::promql::Series> = serde_json::from_str(&format!("[{}]", rows.join(","))).unwrap();
    let seen = Seen::series(&mut Rebellions::default(), &series, &Default::default());
    assert_eq!((seen.count("accelerator", "power_watts"), seen.total("accelerator", "power_watts")), ((2, 2, 0), 500.0));
    assert_eq!((seen.all("partition").len(), seen.problems()), (8, String::new()));
}
