use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::testing::{Seen, capture, captures, cut_off, target, with_broken_lines};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut NvidiaGpuExporter, &target("http://10.0.0.11:9835/metrics", &[("node", "worker1")]), text)
}

const PAGE: &str = r#"nvidia_smi_gpu_info{driver_version="590.48.01",index="3",name="NVIDIA H200",pci_bus_id="00000000:83:00.0",serial="0000000000000",uuid="a1b2"} 1
nvidia_smi_power_draw_watts{uuid="a1b2"} 627.4
nvidia_smi_power_draw_instant_watts{uuid="a1b2"} 626.26
nvidia_smi_utilization_gpu_ratio{uuid="a1b2"} 0.97
nvidia_smi_memory_total_bytes{uuid="a1b2"} 1.50754820096e+11
nvidia_smi_clocks_current_sm_clock_hz{uuid="a1b2"} 1.98e+09
nvidia_smi_fan_speed_ratio{uuid="a1b2"} 0.3
nvidia_smi_compute_app_info{pid="77",process_name="./train",uuid="a1b2"} 1
nvidia_smi_compute_app_used_memory_bytes{pid="77",process_name="./train",uuid="a1b2"} 1e9
"#;

#[test]
fn a_field_is_a_reading_in_base_units_of_the_card_that_other_sources_know() {
    let seen = read(&format!("nvidia_smi_command_exit_code 0\nnvidia_smi_last_collect_success 1\n{PAGE}"));
    let card = seen.find("accelerator", "uuid", "GPU-a1b2").unwrap();
    assert_eq!(
        (seen.value(card, "power_watts"), seen.value(card, "utilization_ratio"), seen.value(card, "clock_sm_hertz")),
        (Some(627.4), Some(0.97), Some(1.98e9))
    );
    assert_eq!((seen.value(card, "memory_total_bytes"), seen.value(card, "fan_ratio")), (Some(150_754_820_096.0), Some(0.3)));
    assert_eq!(
        (seen.label(card, "model"), seen.label(card, "index"), seen.label(card, "pci_address"), seen.label(card, "serial_number")),
        (Some("NVIDIA H200"), Some("3"), Some("00000000:83:00.0"), None)
    );
    let process = seen.find("process", "pid", "77").unwrap();
    assert_eq!(
        (seen.value(process, "memory_used_bytes"), seen.label(process, "name"), seen.parent(process)),
        (Some(1e9), Some("./train"), Some(("accelerator", card)))
    );
}

#[test]
fn what_a_failed_program_said_before_is_no_reading_now() {
    for failed in ["nvidia_smi_command_exit_code 15\n", "nvidia_smi_command_exit_code 0\nnvidia_smi_last_collect_success 0\n"] {
        let seen = read(&format!("{failed}{PAGE}"));
        let card = seen.find("accelerator", "uuid", "GPU-a1b2").unwrap();
        assert_eq!(
            (seen.batch.points.len(), seen.gap(card, "power_watts"), seen.gap(card, "fan_ratio")),
            (0, Some(GapReason::Error), Some(GapReason::Error))
        );
        assert!(seen.all("process").is_empty() && seen.problems().contains("nvidia-smi ended"), "{}", seen.problems());
    }
}

#[test]
fn a_broken_line_and_a_number_that_is_none_cost_themselves() {
    let seen = read(&format!(
        "{PAGE}nvidia_smi_temperature_gpu{{uuid=\"a1b2\" 52\nnvidia_smi_temperature_memory{{uuid=\"a1b2\"}} NaN\nnvidia_smi_ecc_errors_corrected_volatile_total{{uuid=\"a1b2\"}} 4294967295\n"
    ));
    let card = seen.find("accelerator", "uuid", "GPU-a1b2").unwrap();
    assert_eq!((seen.value(card, "power_watts"), seen.batch.problems.len()), (Some(627.4), 1));
    assert_eq!(
        (seen.gap(card, "memory_temperature_celsius"), seen.gap(card, "ecc_corrected_total")),
        (Some(GapReason::Error), Some(GapReason::Unsupported))
    );
}

#[test]
fn hosts_of_one_server_stay_apart_by_their_targets() {
    let series: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"nvidia_smi_power_draw_watts","uuid":"a","job":"smi","instance":"worker1:9835"},"value":[1764000010,"100"]},
            {"metric":{"__name__":"nvidia_smi_power_draw_watts","uuid":"b","job":"smi","instance":"worker2:9835"},"value":[1764000010,"200"]},
            {"metric":{"__name__":"nvidia_smi_command_exit_code","job":"smi","instance":"worker2:9835"},"value":[1764000010,"9"]}]"#,
    )
    .unwrap();
    let seen = Seen::series(&mut NvidiaGpuExporter, &series, &Default::default());
    assert_eq!(
        (seen.values("accelerator", "power_watts"), seen.all("accelerator").len(), seen.all("node").len()),
        (vec![100.0], 2, 2),
        "one host's failure is not another's"
    );
}

/// File; watts, used and total bytes, utilisation, processes; why.
type Expected = (&'static str, f64, f64, f64, f64, usize, &'static str);
const CAPTURES: [Expected; 2] = [
    (
        "linux-x86_64__nvidia-h200__590.48.01__load.nvidia_gpu_exporter.prom",
        627.4,
        33_934_016_512.0,
        150_754_820_096.0,
        1.0,
        3,
        "power.draw, not its average or instant beside",
    ),
    (
        "linux-x86_64__nvidia-l40s__595.80__idle.nvidia_gpu_exporter.prom",
        144.97,
        0.0,
        48_305_799_168.0,
        1.0,
        0,
        "nothing allocated is 0 bytes, and no memory sensor is no row",
    ),
];

#[test]
fn every_capture_gives_its_card() {
    for (file, watts, used, total, load, processes, why) in CAPTURES {
        let Some(text) = capture(&format!("nvidia-smi/{file}")) else { return };
        let seen = read(&text);
        assert_eq!(
            (seen.problems(), seen.all("accelerator").len(), seen.all("process").len()),
            (String::new(), 1, processes),
            "{file}: {why}"
        );
        let card = seen.all("accelerator")[0];
        for (metric, expected) in
            [("power_watts", watts), ("memory_used_bytes", used), ("memory_total_bytes", total), ("utilization_ratio", load)]
        {
            assert_eq!(seen.value(card, metric), Some(expected), "{file} {metric}: {why}");
        }
        assert!(seen.batch.gaps.is_empty(), "{:?}", seen.batch.gaps);
    }
}

#[test]
fn what_the_program_itself_writes_is_no_exporters_page() {
    for file in [
        "a100-sxm4-v12.xml",
        "rtx-3080-v13.xml",
        "tesla-t4.xml",
        "nvidia-h200__590.48.01__idle__query-gpu.csv",
        "nvidia-h200__590.48.01__load__q.txt",
        "nvidia-h200__590.48.01__load__pmon.txt",
    ] {
        let Some(text) = capture(&format!("nvidia-smi/{file}")) else { return };
        assert!(read(&text).batch.subjects.is_empty(), "{file}");
    }
}

#[test]
fn a_broken_capture_costs_its_broken_lines_and_makes_nothing_fall() {
    let Some(all) = captures(env!("CARGO_MANIFEST_DIR"), "nvidia-smi") else { return };
    for (file, text) in all {
        let (whole, broken) = (read(&text), read(&with_broken_lines(&text)));
        let count = |seen: &Seen| (seen.batch.points.len(), seen.batch.gaps.len(), seen.batch.subjects.len());
        assert_eq!(count(&whole), count(&broken), "{file}");
        cut_off(&text).for_each(|part| drop(read(part)));
    }
}

#[test]
fn a_card_that_fell_off_the_bus_stays_listed_without_a_reading() {
    let info = PAGE.lines().next().unwrap();
    let seen = read(&format!("nvidia_smi_command_exit_code 0\n{info}\n"));
    let card = seen.find("accelerator", "uuid", "GPU-a1b2").unwrap();
    assert_eq!(
        (seen.batch.points.len(), seen.gap(card, "power_watts"), seen.gap(card, "memory_used_bytes")),
        (0, Some(GapReason::Absent), Some(GapReason::Absent))
    );
}
