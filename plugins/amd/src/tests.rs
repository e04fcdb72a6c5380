use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::testing::{Seen, capture, captures, cut_off, target, with_broken_lines};
use kcloud_collector_sdk::{GapReason, Quality, Severity};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut Amd::default(), &target("http://10.0.0.11:5000/metrics", &[("node", "worker1")]), text)
}

fn row(name: &str, labels: &str, value: &str) -> String {
    format!("{name}{{card_series=\"AMD Instinct MI300X\",driver_version=\"6.14.14\",hostname=\"worker1\",{labels}}} {value}\n")
}

const ONE: &str = "gpu_id=\"0\",gpu_partition_id=\"0\",gpu_compute_partition_type=\"spx\",serial_number=\"692251001124\"";

#[test]
fn old_and_new_names_are_one_reading_in_base_units() {
    let text = row("gpu_package_power", ONE, "0")
        + &row("gpu_average_package_power", ONE, "0")
        + &row("gpu_power_usage", ONE, "412")
        + &row("gpu_energy_consumed", ONE, "5e9")
        + &row("gpu_junction_temperature", ONE, "61")
        + &row("gpu_edge_temperature", ONE, "0")
        + &row("gpu_gfx_activity", ONE, "87")
        + &row("gpu_umc_activity", ONE, "0")
        + &row("gpu_total_vram", ONE, "196592")
        + &row("gpu_used_vram", ONE, "283")
        + &row("gpu_ecc_uncorrect_total", ONE, "2")
        + &row("gpu_ecc_uncorrect_umc", ONE, "2")
        + &row("gpu_health", ONE, "0")
        + &row("pcie_bandwidth", ONE, "8");
    let seen = read(&text);
    let card = seen.find("accelerator", "uuid", "692251001124").unwrap();
    assert_eq!((seen.value(card, "power_watts"), seen.gap(card, "power_watts")), (Some(412.0), None), "the first that is not 0");
    assert_eq!((seen.value(card, "energy_joules"), seen.value(card, "temperature_celsius")), (Some(5_000.0), Some(61.0)));
    assert_eq!((seen.value(card, "utilization_ratio"), seen.value(card, "memory_bandwidth_ratio")), (Some(0.87), Some(0.0)));
    assert_eq!(
        (seen.value(card, "memory_total_bytes"), seen.value(card, "memory_used_bytes")),
        (Some(196_592.0 * 1_048_576.0), Some(283.0 * 1_048_576.0))
    );
    assert_eq!((seen.value(card, "ecc_uncorrected_total"), seen.value(card, "x_amd_ecc_umc_uncorrected_total")), (Some(2.0), Some(2.0)));
    assert_eq!((seen.state(card, "health"), seen.value(card, "x_amd_pcie_bytes_per_second")), (Some("critical"), Some(1e6)));
    assert_eq!(
        (seen.label(card, "model"), seen.label(card, "vendor"), seen.label(card, "class"), seen.label(card, "device")),
        (Some("AMD Instinct MI300X"), Some("amd"), Some("gpu"), Some("0"))
    );
}

#[test]
fn a_prefix_of_the_operators_own_is_read_like_the_known_ones() {
    let text = row("site_gpu_package_power", ONE, "300");
    let at = target("http://10.0.0.11:5000/metrics", &[("node", "worker1")]);
    let mut own = Plugin::new(serde_json::from_str(r#"{"prefix":"site_"}"#).unwrap()).unwrap().source;
    assert_eq!(Seen::text(&mut own, &at, &text).values("accelerator", "power_watts"), [300.0]);
    assert_eq!(read(&text.replace("site_", "amd_")).values("accelerator", "power_watts"), [300.0]);
    assert!(Seen::text(&mut Amd::default(), &at, &text).batch.subjects.is_empty());
}

#[test]
fn a_divided_card_counts_once_and_its_parts_have_their_own_memory() {
    let mut text = String::new();
    for part in 0..8 {
        let labels = format!(
            "gpu_id=\"{}\",gpu_partition_id=\"{part}\",gpu_compute_partition_type=\"cpx\",gpu_memory_partition_type=\"nps4\",serial_number=\"S1\",pod=\"train-{part}\",namespace=\"ml\",container=\"main\"",
            8 + part
        );
        text += &row("gpu_package_power", &labels, if part == 0 { "512" } else { "0" });
        text += &row("gpu_junction_temperature", &labels, if part == 0 { "60" } else { "0" });
        text += &row("gpu_gfx_activity", &labels, if part == 0 { "40" } else { "0" });
        text += &row("gpu_total_vram", &labels, "24574");
        text += &row("gpu_used_vram", &labels, &(1000 + part).to_string());
    }
    let seen = read(&text);
    assert_eq!((seen.values("accelerator", "power_watts"), seen.values("partition", "power_watts")), (vec![512.0], vec![]));
    assert_eq!(
        (seen.values("accelerator", "utilization_ratio"), seen.values("accelerator", "temperature_celsius")),
        (vec![0.4], vec![60.0])
    );
    assert_eq!((seen.all("partition").len(), seen.batch.gaps.len()), (8, 0));
    let card = seen.all("accelerator")[0];
    let mib = 1_048_576.0;
    assert_eq!(seen.reading(card, "memory_used_bytes").map(|(v, q, _)| (v, q)), Some((8_028.0 * mib, Quality::Derived)));
    assert_eq!(seen.value(card, "memory_total_bytes"), Some(8.0 * 24_574.0 * mib));
    let third = seen.find("partition", "partition_id", "3").unwrap();
    assert_eq!(
        (seen.value(third, "memory_used_bytes"), seen.label(third, "pod"), seen.label(third, "profile")),
        (Some(1_003.0 * mib), Some("train-3"), Some("cpx/nps4"))
    );
    assert_eq!((seen.label(card, "pod"), seen.parent(third)), (None, Some(("accelerator", card))));
}

#[test]
fn without_a_serial_number_a_card_is_its_first_partition() {
    let of = |gpu: u32, part: u32| format!("gpu_id=\"{gpu}\",gpu_uuid=\"u{gpu}\",gpu_partition_id=\"{part}\"");
    let text: String = [(0, 0), (1, 1), (2, 0), (3, 1)].map(|(gpu, part)| row("gpu_used_vram", &of(gpu, part), "500")).concat();
    let seen = read(&text);
    assert_eq!((seen.all("accelerator").len(), seen.all("partition").len()), (2, 4));
    assert!(seen.find("accelerator", "uuid", "u0").is_some() && seen.find("accelerator", "uuid", "u2").is_some());
}

#[test]
fn what_a_model_lacks_is_a_gap_and_what_is_largest_no_reading() {
    let older = ONE.replace("692251001124", "S2") + ",card_model=\"MI210\"";
    let text = format!("gpu_average_package_power{{{older}}} 0\ngpu_package_power{{{older}}} 0\ngpu_junction_temperature{{{older}}} 0\n")
        + &format!(
            "gpu_gfx_activity{{{older}}} 65535\ngpu_energy_consumed{{{older}}} 18446744073709551615\ngpu_umc_activity{{{older}}} -1\ngpu_clock{{{older},clock_type=\"GPU_CLOCK_TYPE_SYSTEM\",clock_index=\"0\"}} 4294967295\n"
        );
    let seen = read(&text);
    let card = seen.find("accelerator", "uuid", "S2").unwrap();
    let gap = |metric| seen.gap(card, metric);
    assert_eq!((gap("power_watts"), gap("temperature_celsius")), (Some(GapReason::Absent), Some(GapReason::Unsupported)));
    assert_eq!(
        (gap("utilization_ratio"), gap("energy_joules"), gap("clock_sm_hertz")),
        (Some(GapReason::Unsupported), Some(GapReason::Unsupported), Some(GapReason::Unsupported))
    );
    assert_eq!((gap("memory_bandwidth_ratio"), seen.batch.points.len()), (Some(GapReason::Error), 0));
}

#[test]
fn clocks_are_a_mean_links_and_processes_are_parts_and_an_error_is_an_event() {
    let text = [(0, 2000), (1, 2100)]
        .map(|(i, mhz)| row("gpu_clock", &format!("{ONE},clock_type=\"system\",clock_index=\"{i}\""), &mhz.to_string()))
        .concat()
        + &row("gpu_xgmi_link_tx", &format!("{ONE},link_index=\"3\""), "4")
        + &row("gpu_process_cu_occupancy", &format!("{ONE},kfd_process_id=\"77\""), "50")
        + &row("gpu_afid_errors", &format!("{ONE},afid_index=\"0\",severity=\"CPER_SEVERITY_FATAL\""), "27")
        + &row("gpu_hbm_temperature", &format!("{ONE},hbm_index=\"0\""), "50")
        + &row("gpu_hbm_temperature", &format!("{ONE},hbm_index=\"1\""), "53");
    let seen = read(&text);
    let card = seen.all("accelerator")[0];
    assert_eq!(seen.reading(card, "clock_sm_hertz").map(|(v, q, _)| (v, q)), Some((2.05e9, Quality::Derived)));
    assert_eq!(seen.value(card, "memory_temperature_celsius"), Some(53.0));
    assert_eq!(seen.value(seen.find("link", "index", "3").unwrap(), "x_amd_xgmi_tx_bytes_total"), Some(4_096.0));
    assert_eq!(seen.value(seen.find("process", "pid", "77").unwrap(), "x_amd_cu_occupancy_ratio"), Some(0.5));
    let event = &seen.batch.events[0];
    assert_eq!((event.code.as_str(), event.key.as_str(), event.severity), ("afid:27", "now:afid:27", Severity::Critical));
}

#[test]
fn behind_prometheus_the_workload_is_the_exported_one() {
    let series: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"gpu_package_power","job":"amd","instance":"10.0.0.11:5000","pod":"amd-metrics-exporter-x","exported_pod":"train-1","exported_namespace":"ml","serial_number":"S1","gpu_id":"0","hostname":"worker1"},"value":[1764000010,"500"]},
            {"metric":{"__name__":"gpu_package_power","job":"amd","instance":"10.0.0.11:5000","pod":"amd-metrics-exporter-x","namespace":"kube-amd-gpu","serial_number":"S2","gpu_id":"1","hostname":"worker1"},"value":[1764000010,"100"]}]"#,
    )
    .unwrap();
    let scraped = [(("amd".to_owned(), "10.0.0.11:5000".to_owned()), 1_764_000_003_000i64)].into_iter().collect();
    let seen = Seen::series(&mut Amd::default(), &series, &scraped);
    let busy = seen.find("accelerator", "uuid", "S1").unwrap();
    let idle = seen.find("accelerator", "uuid", "S2").unwrap();
    assert_eq!((seen.label(busy, "pod"), seen.label(idle, "pod"), seen.label(idle, "namespace")), (Some("train-1"), None, None));
    assert_eq!(seen.reading(busy, "power_watts").and_then(|(_, _, at)| at), Some(1_764_000_003_000_000_000));
    assert!(seen.find("node", "node", "worker1").is_some());
}

#[test]
fn another_exporters_rows_of_such_names_are_none_of_ours() {
    assert!(read("gpu_power_usage 300\npcie_bandwidth{device=\"x\"} 1\n").batch.subjects.is_empty());
}

/// File, cards, sum of watts, gaps of watts, why.
const CAPTURES: &[(&str, usize, f64, usize, &str)] = &[
    ("aiperf-minimal-page.prom", 1, 212.0, 0, "one card by its number alone, on the target's node"),
    ("gpu_clock-sample.prom", 3, 0.0, 0, "clocks of cards 0, 3 and 5, whose serial number was made the same: it names none of them"),
    ("issue-353-zero-means-unsupported.prom", 1, 0.0, 1, "0 W of a card of no known model: nothing measured"),
    ("metrics_mini.prom", 1, 41.0, 0, "labels in capitals, power under two names: counted once"),
];

#[test]
fn every_capture_gives_its_cards_and_watts() {
    for (file, cards, watts, gaps, why) in CAPTURES {
        let Some(text) = capture(&format!("amd/{file}")) else { return };
        let seen = read(&text);
        assert_eq!(seen.problems(), "", "{file}");
        assert_eq!(seen.all("accelerator").len(), *cards, "{file}: {why}");
        assert_eq!(seen.values("accelerator", "power_watts").iter().sum::<f64>(), *watts, "{file}: {why}");
        assert_eq!(seen.all("accelerator").iter().filter(|c| seen.gap(**c, "power_watts").is_some()).count(), *gaps, "{file}: {why}");
    }
    let seen = read(&capture("amd/metrics_mini.prom").unwrap());
    let card = seen.find("accelerator", "uuid", "692247001282").unwrap();
    assert_eq!((seen.value(card, "memory_total_bytes"), seen.label(card, "unit_rule")), (Some(68_702e6), Some("memory in MB")), "64 GiB");
    assert_eq!(seen.value(card, "utilization_ratio"), Some(0.0));
    let seen = read(&capture("amd/gpu_clock-sample.prom").unwrap());
    let first = seen.find("accelerator", "device", "0").unwrap();
    assert_eq!((seen.value(first, "clock_sm_hertz"), seen.value(first, "clock_memory_hertz")), (Some(132e6), Some(900e6)));
    let seen = read(&capture("amd/issue-353-zero-means-unsupported.prom").unwrap());
    let card = seen.all("accelerator")[0];
    // A container's id is no node.
    assert_eq!((seen.label(card, "hostname"), seen.label(card, "node")), (Some("18ab41be1b15"), Some("worker1")));
}

#[test]
fn every_field_of_the_sample_configuration_is_read_or_known_to_be_left_out() {
    let Some(text) = capture("amd/exporter-config-gpu.json") else { return };
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let prefix = config["CommonConfig"]["MetricsFieldPrefix"].as_str().unwrap();
    let read: Vec<&str> = Amd::default().asks().iter().flat_map(kcloud_collector_sdk::promql::Ask::names).collect();
    const LEFT_OUT: &[&str] = &[
        "nodes_total",
        "mma_activity",
        "vcn_activity",
        "jpeg_activity",
        "voltage",
        "speed",
        "rollover",
        "max_bandwidth",
        "nbr_",
        "visible_vram",
        "gtt",
        "min_clock",
        "max_clock",
        "bidirectional",
        "busy_instantaneous",
        "violation",
        "accumulated_counter",
        "pcie_rx",
        "pcie_tx",
        "prof_",
    ];
    let fields = config["GPUConfig"]["Fields"].as_array().unwrap();
    assert!(fields.len() > 100);
    for field in fields {
        let name = format!("{prefix}{}", field.as_str().unwrap().to_lowercase());
        assert!(read.contains(&name.as_str()) || LEFT_OUT.iter().any(|l| name.contains(l)), "{name}");
    }
}

#[test]
fn what_is_no_exporters_page_is_no_card() {
    for file in ["mi100_rocm602.rocm-smi.json", "rx6700xt_rocm612.rocm-smi.json", "vega-10-XT.rocm-smi.json", "exporter-config-gpu.json"] {
        let Some(text) = capture(&format!("amd/{file}")) else { return };
        assert!(read(&text).batch.subjects.is_empty(), "{file}");
    }
}

#[test]
fn a_broken_capture_costs_its_broken_lines_and_makes_nothing_fall() {
    let Some(all) = captures(env!("CARGO_MANIFEST_DIR"), "amd") else { return };
    for (file, text) in all {
        let (whole, broken) = (read(&text), read(&with_broken_lines(&text)));
        let count = |seen: &Seen| (seen.batch.points.len(), seen.batch.gaps.len(), seen.batch.subjects.len());
        assert_eq!(count(&whole), count(&broken), "{file}");
        cut_off(&text).for_each(|part| drop(read(part)));
    }
}
