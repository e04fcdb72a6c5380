use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::testing::{Seen, captures, cut_off, target, with_broken_lines};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut Ascend, &target("http://10.0.0.11:8082/metrics", &[("node", "worker1")]), text)
}

const CHIP: &str =
    r#"id="0",model_name="910B1",vdie_id="V-0",pcie_bus_info="0000:01:00.0",namespace="ml",pod_name="train-1",container_name="main""#;

#[test]
fn every_unit_is_what_its_name_says_and_hbm_is_the_memory() {
    let text = format!(
        "npu_chip_info_power{{{CHIP}}} 91.9 1764000000000\nnpu_chip_info_utilization{{{CHIP}}} 36 1764000000000\nnpu_chip_info_hbm_total_memory{{{CHIP}}} 65536 1764000000000\n\
         npu_chip_info_hbm_used_memory{{{CHIP}}} 8192 1764000000000\nnpu_chip_info_total_memory{{{CHIP}}} 15000 1764000000000\nnpu_chip_info_used_memory{{{CHIP}}} 900 1764000000000\n\
         npu_chip_info_aicore_current_freq{{{CHIP}}} 800 1764000000000\nnpu_chip_info_health_status{{{CHIP}}} 1 1764000000000\nnpu_chip_info_bandwidth_rx{{{CHIP}}} 2.5 1764000000000\n"
    );
    let seen = read(&text);
    let card = seen.find("accelerator", "uuid", "V-0").unwrap();
    let at = Some(1_764_000_000_000_000_000);
    assert_eq!(seen.reading(card, "power_watts").map(|r| (r.0, r.2)), Some((91.9, at)));
    let bytes = (seen.value(card, "memory_total_bytes"), seen.value(card, "memory_used_bytes"));
    assert_eq!(bytes, (Some(68_719_476_736.0), Some(8_589_934_592.0)), "not the DDR beside it");
    assert_eq!((seen.value(card, "clock_sm_hertz"), seen.value(card, "utilization_ratio")), (Some(8e8), Some(0.36)));
    assert_eq!((seen.state(card, "health"), seen.value(card, "network_rx_bytes_per_second")), (Some("ok"), Some(2.5e6)));
    let labels = ["node", "device", "pci_address", "pod", "namespace", "container", "vendor", "class"].map(|key| seen.label(card, key));
    assert_eq!(labels, ["worker1", "npu0", "0000:01:00.0", "train-1", "ml", "main", "huawei", "npu"].map(Some));
}

#[test]
fn a_310p_has_ddr_and_two_chips_on_one_bus_are_two() {
    let chip = |id: u32| format!("id=\"{id}\",model_name=\"310P3\",vdie_id=\"\",pcie_bus_info=\"0000:05:00.0\"");
    let mut text = String::new();
    for id in [0, 1] {
        let of = chip(id);
        text += &format!(
            "npu_chip_info_hbm_total_memory{{{of}}} 0\nnpu_chip_info_hbm_used_memory{{{of}}} 0\nnpu_chip_info_total_memory{{{of}}} 21527\nnpu_chip_info_used_memory{{{of}}} 1500\n"
        );
    }
    let seen = read(&text);
    assert_eq!(seen.count("accelerator", "memory_total_bytes"), (2, 2, 0));
    let second = seen.find("accelerator", "device", "npu1").unwrap();
    assert_eq!((seen.value(second, "memory_used_bytes"), seen.label(second, "pci_address")), (Some(1500.0 * 1_048_576.0), None));
}

#[test]
fn what_is_unknown_is_a_gap_and_bad_health_is_bad() {
    let text = format!(
        "npu_chip_info_power{{{CHIP}}} 4294967295\nnpu_chip_info_temperature{{{CHIP}}} -1\nnpu_chip_info_voltage{{{CHIP}}} 0\nnpu_chip_info_health_status{{{CHIP}}} -1\n\
         npu_chip_info_error_code{{{CHIP}}} 2147483647\nnpu_chip_info_error_code_1{{{CHIP}}} 2167832323\nnpu_chip_info_error_code_2{{{CHIP}}} 0\n"
    );
    let seen = read(&text);
    let card = seen.find("accelerator", "uuid", "V-0").unwrap();
    let gaps = ["power_watts", "temperature_celsius", "health", "voltage_volts"].map(|m| seen.gap(card, m));
    assert_eq!(gaps, [Some(GapReason::Error), Some(GapReason::Error), Some(GapReason::Error), Some(GapReason::Absent)]);
    assert!(seen.batch.points.is_empty());
    assert_eq!(seen.batch.events.iter().map(|e| e.code.as_str()).collect::<Vec<_>>(), ["ascend:2167832323"]);
    let bad = read(&format!("npu_chip_info_health_status{{{CHIP}}} 0\n"));
    assert_eq!(bad.state(bad.all("accelerator")[0], "health"), Some("critical"));
}

#[test]
fn vnpus_count_in_kilobytes_and_lie_under_their_chip_with_its_processes() {
    let vnpu = r#"id="0",model_name="310P3",v_dev_id="100",aicore_count="4",namespace="ml",pod_name="small-1",container_name="main",is_virtual="true""#;
    let text = format!(
        "npu_chip_info_power{{{CHIP}}} 40\nvnpu_pod_aicore_utilization{{{vnpu}}} 25\nvnpu_pod_total_memory{{{vnpu}}} 6291456\nvnpu_pod_used_memory{{{vnpu}}} 1048576\n\
         npu_chip_info_process_info{{{CHIP},process_id=\"4711\"}} 512\nnpu_chip_info_link_status{{{CHIP}}} 1\n"
    );
    let seen = read(&text);
    let card = seen.find("accelerator", "uuid", "V-0").unwrap();
    let part = seen.find("partition", "partition_id", "100").unwrap();
    assert_eq!((seen.parent(part), seen.label(part, "pod")), (Some(("accelerator", card)), Some("small-1")));
    assert_eq!((seen.value(part, "memory_total_bytes"), seen.value(part, "utilization_ratio")), (Some(6_442_450_944.0), Some(0.25)));
    let process = seen.find("process", "pid", "4711").unwrap();
    assert_eq!((seen.parent(process), seen.value(process, "memory_used_bytes")), (Some(("accelerator", card)), Some(536_870_912.0)));
    assert_eq!(seen.state(seen.find("link", "index", "0").unwrap(), "link_status"), Some("up"));
}

/// Of a capture: chips, those with watts, watts, bytes used and in all, chips in good health; and why.
type Expected = (&'static str, usize, usize, [f64; 3], usize, &'static str);

const CAPTURES: &[Expected] = &[
    (
        "mind-cluster-unit-expected.prom",
        8,
        0,
        [0.0; 3],
        8,
        "a unit test's page: eight chips in good health, all else 0, which no powered chip says of watts, degrees, volts or memory; stamps in seconds",
    ),
    ("npu-smi-910b1-fields.txt", 0, 0, [0.0; 3], 0, "the text of a program, no exporter's: nothing of it is a row"),
    (
        "third-label-set-npuID.prom",
        1,
        1,
        [188.0, 8_589_934_592.0, 68_719_476_736.0],
        1,
        "one 910B in the third spelling of the labels: 188 W, 8192 of 65536 MB",
    ),
];

#[test]
fn every_capture_is_read_to_the_last_row_broken_or_not() {
    let Some(captures) = captures(env!("CARGO_MANIFEST_DIR"), "ascend") else { return };
    let names: Vec<&str> = captures.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(names, CAPTURES.iter().map(|c| c.0).collect::<Vec<_>>(), "each capture has its row in the table");
    for ((name, text), (_, chips, with_watts, sums, good, why)) in captures.iter().zip(CAPTURES) {
        for text in [text.clone(), with_broken_lines(text)] {
            let seen = read(&text);
            assert_eq!(seen.count("accelerator", "power_watts"), (*chips, *with_watts, chips - with_watts), "{name}: {why}");
            let totals = ["power_watts", "memory_used_bytes", "memory_total_bytes"].map(|m| seen.total("accelerator", m));
            assert_eq!(totals, *sums, "{name}: {why}");
            let healthy = seen.all("accelerator").into_iter().filter(|c| seen.state(*c, "health") == Some("ok")).count();
            assert_eq!(healthy, *good, "{name}: {why}");
        }
        for cut in cut_off(text) {
            let _ = Seen::try_text(&mut Ascend, &target("http://worker1:8082/metrics", &[]), cut);
        }
    }
    let unit = read(&captures[0].1);
    assert_eq!(unit.count("accelerator", "temperature_celsius"), (8, 0, 8));
    assert_eq!(unit.count("accelerator", "utilization_ratio"), (8, 8, 0), "an idle chip's 0 is a reading");
    let stamp = unit.reading(unit.find("accelerator", "device", "npu3").unwrap(), "utilization_ratio").unwrap().2;
    assert_eq!(stamp, Some(1_606_402_000_000_000_000), "seconds, read as such");
    let third = read(&captures[2].1);
    let card = third.find("accelerator", "uuid", "uuid0").unwrap();
    assert_eq!(
        (third.label(card, "model"), third.label(card, "device"), third.label(card, "pci_address")),
        (Some("Ascend910B"), Some("npu0"), None)
    );
    assert_eq!((third.value(card, "temperature_celsius"), third.value(card, "utilization_ratio")), (Some(62.0), Some(0.36)));
}

#[test]
fn chips_of_two_nodes_behind_one_server_are_told_by_its_label_node() {
    let row = |at: u32| {
        format!(
            r#"{{"metric":{{"__name__":"npu_chip_info_power","job":"npu","instance":"10.0.0.{at}:8082","node":"worker{at}","id":"0","pod":"npu-exporter-x{at}","exported_namespace":"ml","pod_name":"train-{at}"}},"value":[1764000000,"{at}0"]}}"#
        )
    };
    let series: Vec<kcloud_collector_sdk::promql::Series> = serde_json::from_str(&format!("[{},{}]", row(1), row(2))).unwrap();
    let seen = Seen::series(&mut Ascend, &series, &Default::default());
    for (node, watts, pod) in [("worker1", 10.0, "train-1"), ("worker2", 20.0, "train-2")] {
        let card = seen.find("accelerator", "node", node).unwrap();
        assert_eq!((seen.value(card, "power_watts"), seen.label(card, "device")), (Some(watts), Some("npu0")));
        assert_eq!((seen.label(card, "pod"), seen.label(card, "namespace")), (Some(pod), Some("ml")));
    }
}
