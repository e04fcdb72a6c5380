use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::testing::{Seen, captures, cut_off, target, with_broken_lines};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut AllSmi, &target("http://10.0.0.11:9090/metrics", &[]), text)
}

#[test]
fn old_and_new_labels_name_one_card_and_nothing_below_zero_is_a_reading() {
    for labels in ["gpu_uuid=\"U-1\", gpu_index=\"0\"", "uuid=\"U-1\", index=\"0\""] {
        let of = format!("{{gpu=\"Furiosa RNGD\", instance=\"node-1\", {labels}}}");
        let text = format!(
            "all_smi_gpu_power_consumption_watts{of} 55.5\nall_smi_gpu_utilization{of} -1\nall_smi_gpu_temperature_celsius{of} -1\nall_smi_gpu_memory_total_bytes{of} 0\n"
        );
        let seen = read(&text);
        let card = seen.find("accelerator", "uuid", "U-1").unwrap();
        let labels = ["vendor", "class", "model", "node", "device"].map(|key| seen.label(card, key));
        assert_eq!(labels, ["furiosa", "npu", "Furiosa RNGD", "node-1", "npu0"].map(Some));
        let gaps = ["utilization_ratio", "temperature_celsius", "memory_total_bytes"].map(|m| seen.gap(card, m));
        assert_eq!((seen.value(card, "power_watts"), gaps), (Some(55.5), [Some(GapReason::Absent); 3]));
    }
}

#[test]
fn instances_and_processes_lie_under_their_card() {
    let card = "gpu_index=\"0\", gpu_uuid=\"GPU-Z\", gpu=\"NVIDIA H100\", instance=\"node-9:9090\", host=\"node-9\"";
    let mig = format!(
        "{{{card}, mig_instance=\"0\", mig_uuid=\"MIG-Z\", mig_profile=\"1g.10gb\", gpu_instance_id=\"7\", compute_instance_id=\"0\"}}"
    );
    let text = format!(
        "all_smi_mig_instance_utilization_gpu{mig} 64\nall_smi_mig_instance_memory_used_bytes{mig} 1024\nall_smi_gpu_process_memory_bytes{{{card}, pid=\"4711\", process_name=\"python3\"}} 2048\n"
    );
    let seen = read(&text);
    let card = seen.find("accelerator", "node", "node-9").unwrap();
    let part = seen.find("partition", "partition_id", "7").unwrap();
    assert_eq!((seen.parent(part), seen.label(part, "profile")), (Some(("accelerator", card)), Some("1g.10gb")));
    assert_eq!((seen.value(part, "utilization_ratio"), seen.value(part, "memory_used_bytes")), (Some(0.64), Some(1024.0)));
    let process = seen.find("process", "pid", "4711").unwrap();
    assert_eq!((seen.label(process, "name"), seen.value(process, "memory_used_bytes")), (Some("python3"), Some(2048.0)));
}

#[test]
fn watts_of_a_chassis_that_are_only_its_cards_together_are_not_a_servers() {
    let card = "{gpu=\"x\", instance=\"n1\", gpu_uuid=\"U-1\", gpu_index=\"0\"}";
    let of = |watts: &str| {
        let text = format!(
            "all_smi_gpu_power_consumption_watts{card} 400\nall_smi_chassis_power_watts{{hostname=\"n1\", instance=\"n1\"}} {watts}\n"
        );
        read(&text).total("chassis", "power_watts")
    };
    assert_eq!((of("400.3"), of("900"), of("-1"), of("NaN")), (0.0, 900.0, 0.0, 0.0));
}

/// Of a capture: cards, their watts, bytes used and in all, degrees, percent; and why.
type Expected = (&'static str, usize, [f64; 5], &'static str);

const CAPTURES: &[Expected] = &[
    ("container-cpu-only.prom", 0, [0.0; 5], "a container without cards: its node's memory, and 0 bytes of it in use is no reading"),
    (
        "mock-0.25-intel.prom",
        8,
        [3_376.912, 53_267_908_120.0, 103_079_215_104.0, 542.0, 389.21],
        "eight Arc B580 of 12 GiB; sums of its own rows",
    ),
    (
        "mock-0.25-nvidia.prom",
        8,
        [3_420.356, 652_755_196_348.0, 1_649_267_441_664.0, 552.0, 433.16],
        "eight B200 of 192 GiB; its chassis says 3420.36 W, which is their sum and no server's",
    ),
    (
        "older-label-names-h200.prom",
        1,
        [400.5, 8_589_934_592.0, 34_359_738_368.0, 65.0, 25.5],
        "one H200, labels uuid and index; its ANE is nobody's",
    ),
];

#[test]
fn every_capture_is_read_to_the_last_row_broken_or_not() {
    let Some(captures) = captures(env!("CARGO_MANIFEST_DIR"), "all-smi") else { return };
    let names: Vec<&str> = captures.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(names, CAPTURES.iter().map(|c| c.0).collect::<Vec<_>>(), "each capture has its row in the table");
    for ((name, text), (_, cards, expected, why)) in captures.iter().zip(CAPTURES) {
        for text in [text.clone(), with_broken_lines(text)] {
            let seen = read(&text);
            assert_eq!(seen.count("accelerator", "power_watts"), (*cards, *cards, 0), "{name}: {why}");
            let of = |metric| seen.total("accelerator", metric);
            let percent = (of("utilization_ratio") * 1e6).round() / 1e4;
            let said = [of("power_watts"), of("memory_used_bytes"), of("memory_total_bytes"), of("temperature_celsius"), percent];
            assert_eq!(said, *expected, "{name}: {why}");
            assert!(seen.all("chassis").is_empty(), "{name}: {why}");
        }
        for cut in cut_off(text) {
            let _ = Seen::try_text(&mut AllSmi, &target("http://worker1:9090/metrics", &[]), cut);
        }
    }
    let of = |name: &str| read(&captures.iter().find(|c| c.0.starts_with(name)).unwrap().1);
    let alone = of("container");
    let node = alone.find("node", "node", "a8416cc9eadf").unwrap();
    assert_eq!(
        (alone.value(node, "memory_total_bytes"), alone.gap(node, "memory_used_bytes")),
        (Some(4_294_967_296.0), Some(GapReason::Absent))
    );
    for (name, vendor, class, driver) in
        [("mock-0.25-intel", "intel", "gpu", "32.0.101.6299"), ("mock-0.25-nvidia", "nvidia", "gpu", "580.82.07")]
    {
        let seen = of(name);
        for card in seen.all("accelerator") {
            let labels = ["vendor", "class", "driver_version", "node"].map(|key| seen.label(card, key));
            assert_eq!(labels, [vendor, class, driver, "node-0001"].map(Some));
        }
        assert_eq!(seen.problems(), "");
    }
}

#[test]
fn behind_a_server_the_instance_is_all_smis_own_and_not_the_servers() {
    let text = r#"[{"metric":{"__name__":"all_smi_gpu_power_consumption_watts","job":"all-smi","instance":"10.0.0.1:9090","exported_instance":"node-7","gpu":"Intel Gaudi 3","gpu_uuid":"U-1","gpu_index":"0"},"value":[1764000000,"600"]}]"#;
    let series: Vec<kcloud_collector_sdk::promql::Series> = serde_json::from_str(text).unwrap();
    let seen = Seen::series(&mut AllSmi, &series, &Default::default());
    let card = seen.find("accelerator", "uuid", "U-1").unwrap();
    let labels = ["node", "vendor", "class"].map(|key| seen.label(card, key));
    assert_eq!((labels, seen.value(card, "power_watts")), ([Some("node-7"), Some("intel"), Some("npu")], Some(600.0)));
}
