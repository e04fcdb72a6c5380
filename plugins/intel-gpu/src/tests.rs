use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::testing::{Seen, capture, captures, cut_off, target, with_broken_lines};
use kcloud_collector_sdk::{GapReason, Quality};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut IntelGpu, &target("https://10.0.0.11:29999/metrics", &[("node", "worker1")]), text)
}

const UUID: &str = "01000000-0000-0000-0000-000000a30000";
const OLD: &str = r#"uuid="01000000-0000-0000-0000-000000a30000",dev_name="Intel(R) Data Center GPU Max 1550",pci_dev="0xbd5",vendor="Intel(R) Corporation",pci_bdf="0000:4d:00.0",dev_file="/dev/dri/card1",src="direct",kube_pod="train-1",kube_namespace="ml",kube_container="main""#;
const NEW: &str = r#"hw_id="gpu-uuid-0",pci_bdf="0000:03:00.0",pod="xpumd-x7k2p",namespace="monitoring""#;

#[test]
fn the_first_generation_says_the_card_by_its_tiles_and_its_watts_once() {
    let mut text = format!("xpum_power_watts{{{OLD}}} 450\nxpum_energy_joules_total{{{OLD}}} 99000\nxpum_resets_total{{{OLD}}} 1\n");
    for (tile, load) in [(0, 0.4), (1, 0.8)] {
        let of = format!("{OLD},sub_dev=\"{tile}\"");
        text += &format!(
            "xpum_power_watts{{{of}}} 200\nxpum_engine_ratio{{{of}}} {load}\nxpum_memory_used_bytes{{{of}}} 17179869184\nxpum_memory_ratio{{{of}}} 0.25\n\
             xpum_temperature_celsius{{{of},location=\"gpu\"}} {}\nxpum_frequency_mhz{{{of},location=\"gpu\",type=\"actual\"}} 1600\nxpum_frequency_mhz{{{of},location=\"gpu\",type=\"request\"}} 9999\n\
             xpum_engine_group_ratio{{{of},type=\"compute\"}} {load}\nxpum_cache_errors_total{{{of},type=\"uncorrectable\"}} 2\n",
            50 + tile
        );
    }
    let seen = read(&text);
    let card = seen.find("accelerator", "uuid", UUID).unwrap();
    assert_eq!((seen.value(card, "power_watts"), seen.value(card, "energy_joules")), (Some(450.0), Some(99_000.0)));
    let derived = |metric| seen.reading(card, metric).map(|(v, q, _)| (v, q));
    let load = derived("utilization_ratio").unwrap();
    assert!((load.0 - 0.6).abs() < 1e-9 && load.1 == Quality::Derived);
    assert_eq!(
        (derived("memory_used_bytes"), derived("memory_total_bytes")),
        (Some((34_359_738_368.0, Quality::Derived)), Some((137_438_953_472.0, Quality::Derived)))
    );
    assert_eq!(
        (seen.value(card, "temperature_celsius"), seen.value(card, "clock_sm_hertz"), seen.value(card, "ecc_uncorrected_total")),
        (Some(51.0), Some(1.6e9), Some(4.0))
    );
    let tile = seen.find("partition", "partition_id", "1").unwrap();
    assert_eq!(
        (seen.value(tile, "power_watts"), seen.value(tile, "utilization_ratio"), seen.parent(tile)),
        (Some(200.0), Some(0.8), Some(("accelerator", card)))
    );
    assert_eq!(
        (seen.label(card, "pod"), seen.label(card, "model"), seen.label(card, "device")),
        (Some("train-1"), Some("Intel(R) Data Center GPU Max 1550"), Some("card1"))
    );
    assert_eq!(seen.problems(), "");
}

#[test]
fn tiles_watts_alone_are_no_cards() {
    let seen = read(&format!(
        "xpum_power_watts{{{OLD},sub_dev=\"0\"}} 200\nxpum_power_watts{{{OLD},sub_dev=\"1\"}} 190\nxpum_power_watts{{card=\"2147483649\"}} 900\n"
    ));
    assert_eq!((seen.values("accelerator", "power_watts"), seen.values("partition", "power_watts")), (vec![], vec![190.0, 200.0]));
    assert_eq!(seen.all("accelerator").len(), 1, "a sum over several cards is no card");
}

#[test]
fn a_small_share_is_too_coarse_for_a_total_and_zero_watts_are_a_gap() {
    let seen = read(&format!(
        "xpum_memory_used_bytes{{{OLD}}} 100000\nxpum_memory_ratio{{{OLD}}} 0.0001\nxpum_power_watts{{{OLD}}} 0\nxpum_temperature_celsius{{{OLD},location=\"mem\"}} 4294967295\n"
    ));
    let card = seen.all("accelerator")[0];
    assert_eq!((seen.gap(card, "memory_total_bytes"), seen.gap(card, "power_watts")), (Some(GapReason::Absent), Some(GapReason::Absent)));
    assert_eq!(seen.gap(card, "memory_temperature_celsius"), Some(GapReason::Unsupported));
}

#[test]
fn the_same_series_twice_counts_once_and_is_a_problem() {
    let line = format!("xpum_power_watts{{{OLD}}} 300\n");
    let seen = read(&format!("{line}{}", line.replace(" 300", " 310")));
    assert_eq!(seen.values("accelerator", "power_watts"), [300.0]);
    assert!(seen.problems().contains("1 series stand twice"), "{}", seen.problems());
}

#[test]
fn the_second_generation_is_read_by_its_labels() {
    let seen = read(&format!(
        "hw_gpu_info{{{NEW},hw_model=\"Intel(R) Arc(TM) Pro B60 Graphics\",hw_name=\"gpu-1\",hw_serial_number=\"S1\"}} 1\nhw_power_watts{{{NEW},hw_sensor_location=\"card\"}} 31.5\n\
         hw_power_watts{{{NEW},hw_sensor_location=\"package\"}} 21\nhw_energy_joules_total{{{NEW}}} 500\nhw_memory_size_bytes{{{NEW},hw_memory_location=\"device\"}} 25669140480\n\
         hw_memory_usage_bytes{{{NEW},hw_memory_location=\"device\"}} 8589934592\nhw_memory_usage_bytes{{{NEW},hw_memory_location=\"system\"}} 7\n\
         hw_temperature_celsius{{{NEW},hw_sensor_location=\"gpu\",statistic=\"max\"}} 36\nhw_temperature_celsius{{{NEW},hw_sensor_location=\"gpu\",statistic=\"min\"}} 30\n\
         hw_temperature_celsius{{{NEW},hw_sensor_location=\"memory\",statistic=\"max\"}} 40\nhw_frequency_hertz{{{NEW},hw_frequency_domain=\"gpu\",aggregation=\"avg\"}} 960000000\n\
         hw_gpu_utilization_ratio{{{NEW},hw_gpu_task=\"all\"}} 0.125\nhw_status{{{NEW},hw_state=\"ok\"}} 0\nhw_status{{{NEW},hw_state=\"degraded\"}} 1\n\
         hw_errors_total{{{NEW},error_type=\"uncorrected\",error_category=\"cache_errors\"}} 2\nhw_errors_total{{{NEW},error_type=\"uncorrected\",error_category=\"driver_errors\"}} 3\n"
    ));
    let card = seen.find("accelerator", "uuid", "gpu-uuid-0").unwrap();
    assert_eq!(
        (seen.value(card, "power_watts"), seen.value(card, "energy_joules"), seen.value(card, "utilization_ratio")),
        (Some(31.5), Some(500.0), Some(0.125))
    );
    assert_eq!(
        (seen.value(card, "memory_total_bytes"), seen.value(card, "memory_used_bytes")),
        (Some(25_669_140_480.0), Some(8_589_934_592.0))
    );
    assert_eq!(
        (
            seen.value(card, "temperature_celsius"),
            seen.value(card, "x_intel_temperature_min_celsius"),
            seen.value(card, "memory_temperature_celsius")
        ),
        (Some(36.0), Some(30.0), Some(40.0))
    );
    assert_eq!((seen.value(card, "clock_sm_hertz"), seen.state(card, "health")), (Some(9.6e8), Some("warning")));
    assert_eq!((seen.value(card, "ecc_uncorrected_total"), seen.value(card, "x_intel_errors_uncorrected_total")), (Some(2.0), Some(5.0)));
    assert_eq!(
        (seen.label(card, "pod"), seen.label(card, "model"), seen.label(card, "pci_address")),
        (None, Some("Intel(R) Arc(TM) Pro B60 Graphics"), Some("0000:03:00.0")),
        "the pod is the exporter's own"
    );
}

#[test]
fn an_id_that_is_a_number_tells_no_card_from_another_nodes() {
    let seen = read("hw_power_watts{hw_id=\"0\",pci_bdf=\"0000:29:00.0\"} 20\nhw_power_watts{hw_id=\"cpu-0\"} 90\n");
    assert_eq!(seen.values("accelerator", "power_watts"), [20.0], "hardware without a PCI device is none of ours");
    let card = seen.all("accelerator")[0];
    assert_eq!(
        (seen.label(card, "uuid"), seen.label(card, "pci_address"), seen.label(card, "node")),
        (None, Some("0000:29:00.0"), Some("worker1"))
    );
}

#[test]
fn through_a_server_both_generations_stand_side_by_side() {
    let series: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"xpum_power_watts","uuid":"u1","pci_bdf":"0000:4d:00.0","node":"worker1","job":"xpum","instance":"w1:29999"},"value":[1764000010,"100"]},
            {"metric":{"__name__":"hw_power_watts","hw_id":"u2","pci_bdf":"0000:4d:00.0","node":"worker2","job":"xpumd","instance":"w2:8080"},"value":[1764000010,"200"]}]"#,
    )
    .unwrap();
    let seen = Seen::series(&mut IntelGpu, &series, &Default::default());
    assert_eq!((seen.values("accelerator", "power_watts"), seen.all("node").len()), (vec![100.0, 200.0], 2));
}

#[test]
fn every_capture_is_read_as_it_says() {
    // Lines of a page of xpumd 2.x: the share of all engines is the card's, those of one kind stand beside it.
    let Some(text) = capture("intel-gpu/xpumd-2-utilization-lines.prom") else { return };
    let seen = read(&text);
    assert_eq!((seen.all("accelerator").len(), seen.problems()), (1, String::new()));
    for (metric, expected) in [("utilization_ratio", 0.125), ("x_intel_engine_compute_ratio", 1.0), ("x_intel_engine_copy_ratio", 0.0)] {
        assert_eq!(seen.values("accelerator", metric), [expected], "{metric}");
    }
    // What `xpu-smi dump` writes is no page of an exporter: not one line of it is taken for one.
    let dump = capture("intel-gpu/xpumcli-dump-rawdata.csv").unwrap();
    assert!(read(&dump).batch.subjects.is_empty());
}

#[test]
fn a_broken_capture_costs_its_broken_lines_and_makes_nothing_fall() {
    let Some(all) = captures(env!("CARGO_MANIFEST_DIR"), "intel-gpu") else { return };
    for (file, text) in all {
        let (whole, broken) = (read(&text), read(&with_broken_lines(&text)));
        let count = |seen: &Seen| (seen.batch.points.len(), seen.batch.gaps.len(), seen.batch.subjects.len());
        assert_eq!(count(&whole), count(&broken), "{file}");
        cut_off(&text).for_each(|part| drop(read(part)));
    }
}
