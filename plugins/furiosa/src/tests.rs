use kcloud_collector_sdk::testing::{Seen, captures, cut_off, target, with_broken_lines};
use kcloud_collector_sdk::{GapReason, Quality};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut Furiosa, &target("http://10.0.0.11:6254/metrics", &[("node", "worker1")]), text)
}

const CARD: &str = r#"arch="rngd",device="npu0",uuid="09512C86-0702-4303-8F40-474746474A40",pci_bus_id="0000:c7:00.0",hostname="worker7""#;

#[test]
fn a_card_given_out_in_ranges_counts_once_and_its_parts_lie_under_it() {
    let mut text = String::new();
    for (range, pod) in [("0-3", "a"), ("4-7", "b")] {
        let of = format!("{{{CARD},core=\"{range}\",namespace=\"ml\",pod=\"{pod}\",container=\"main\"");
        text +=
            &format!("furiosa_npu_alive{of}}} 1\nfuriosa_npu_hw_power{of},label=\"rms\"}} 90\nfuriosa_npu_dram_total{of}}} 51539607552\n");
    }
    for core in 0..8 {
        text += &format!("furiosa_npu_core_utilization{{{CARD},core=\"{core}\"}} {}\n", core * 10);
    }
    let seen = read(&text);
    assert_eq!((seen.count("accelerator", "power_watts"), seen.total("accelerator", "power_watts")), ((1, 1, 0), 90.0));
    assert_eq!((seen.count("partition", "power_watts"), seen.count("core", "utilization_ratio")), ((2, 0, 0), (8, 8, 0)));
    let card = seen.find("accelerator", "node", "worker7").unwrap();
    let quality = seen.reading(card, "utilization_ratio").map(|r| r.1);
    assert_eq!((seen.total("accelerator", "utilization_ratio"), quality), (0.35, Some(Quality::Derived)), "the mean over its cores");
    let second = seen.find("partition", "partition_id", "4-7").unwrap();
    assert_eq!((seen.label(second, "pod"), seen.label(card, "pod")), (Some("b"), None));
    assert_eq!(
        (seen.reading(second, "utilization_ratio"), seen.parent(second)),
        (Some((0.55, Quality::Derived, None)), Some(("accelerator", card)))
    );
    assert_eq!(seen.parent(seen.find("core", "index", "5").unwrap()), Some(("partition", second)));
    assert_eq!(seen.value(card, "memory_total_bytes"), Some(51_539_607_552.0));
}

#[test]
fn microwatts_of_old_builds_are_watts_and_their_names_are_read() {
    let text = "furiosa_npu_hw_power{arch=\"warboy\",core=\"0-1\",device=\"npu0\",kubernetes_node_name=\"worker3\",label=\"rms\",uuid=\"u\"} 4795000\n\
                furiosa_npu_hw_temperature{arch=\"warboy\",core=\"0-1\",device=\"npu0\",kubernetes_node_name=\"worker3\",label=\"soc_peak\",pci_bud_id=\"0000:17:00.0\",uuid=\"u\"} 41\n\
                furiosa_npu_error{arch=\"warboy\",core=\"0-1\",device=\"npu0\",kubernetes_node_name=\"worker3\",label=\"axi_post_error\",uuid=\"u\"} 2\n\
                furiosa_npu_error{arch=\"warboy\",core=\"0-1\",device=\"npu0\",kubernetes_node_name=\"worker3\",label=\"device_error\",uuid=\"u\"} 0\n";
    let seen = read(text);
    let card = seen.find("accelerator", "uuid", "u").unwrap();
    assert!((seen.value(card, "power_watts").unwrap() - 4.795).abs() < 1e-9);
    assert_eq!(seen.value(card, "temperature_celsius"), Some(41.0));
    let labels = ["unit_rule", "model", "pci_address", "node"].map(|key| seen.label(card, key));
    assert_eq!(labels, [Some("power read as microwatts"), Some("Warboy"), Some("0000:17:00.0"), Some("worker3")]);
    assert_eq!(seen.gap(card, "memory_total_bytes"), Some(GapReason::Unsupported), "these builds have none");
    let events: Vec<_> = seen.batch.events.iter().map(|e| (e.code.as_str(), e.key.as_str())).collect();
    assert_eq!(events, [("furiosa:axi_post_error", "now:u/furiosa:axi_post_error")]);
}

#[test]
fn a_dead_card_has_gaps_and_no_zeros() {
    let seen = read(&format!("furiosa_npu_alive{{{CARD},core=\"0-7\"}} 0\nfuriosa_npu_hw_power{{{CARD},core=\"0-7\",label=\"rms\"}} 0\n"));
    let card = seen.find("accelerator", "device", "npu0").unwrap();
    assert_eq!((seen.state(card, "health"), seen.gap(card, "power_watts")), (Some("critical"), Some(GapReason::Absent)));
    assert_eq!(seen.gap(card, "temperature_celsius"), Some(GapReason::Absent));
    assert!(seen.batch.points.is_empty());
}

#[test]
fn an_exporters_pod_is_neither_a_node_nor_a_holder() {
    let text = "furiosa_npu_alive{core=\"0-7\",device=\"npu0\",hostname=\"furiosa-metrics-exporter-abcde\",namespace=\"kube-system\",pod=\"furiosa-metrics-exporter-abcde\",uuid=\"u\"} 1\n";
    let seen = read(text);
    let card = seen.find("accelerator", "uuid", "u").unwrap();
    assert_eq!((seen.label(card, "node"), seen.label(card, "pod"), seen.label(card, "namespace")), (Some("worker1"), None, None));
}

/// Of a capture: cards, cards with watts, their sum, cores with a utilization, the cards' mean of it in percent; and why.
type Expected = (&'static str, usize, usize, f64, usize, Option<f64>, &'static str);

const CAPTURES: &[Expected] = &[
    ("core_utilization-expected.prom", 1, 0, 0.0, 8, Some(90.0), "eight cores of npu0, each at 90 %; no row of power"),
    (
        "rngd-full-example.prom",
        1,
        1,
        50.0,
        8,
        Some(99.683_135),
        "one RNGD in one piece: 50 W, four cores at 99.68364 %, four at 99.68263 %",
    ),
    ("temperature-expected.prom", 1, 0, 0.0, 0, None, "peak 39, ambient 35; nothing else"),
    ("throttling-events-as-counter-older.prom", 1, 0, 0.0, 0, None, "eight reasons, each once"),
];

#[test]
fn every_capture_is_read_to_the_last_row_broken_or_not() {
    let Some(captures) = captures(env!("CARGO_MANIFEST_DIR"), "furiosa") else { return };
    let names: Vec<&str> = captures.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(names, CAPTURES.iter().map(|c| c.0).collect::<Vec<_>>(), "each capture has its row in the table");
    for ((name, text), (_, cards, with_watts, watts, cores, utilization, why)) in captures.iter().zip(CAPTURES) {
        for text in [text.clone(), with_broken_lines(text)] {
            let seen = read(&text);
            assert_eq!(seen.count("accelerator", "power_watts"), (*cards, *with_watts, cards - with_watts), "{name}: {why}");
            assert_eq!(seen.total("accelerator", "power_watts"), *watts, "{name}: {why}");
            assert_eq!(seen.count("core", "utilization_ratio"), (*cores, *cores, 0), "{name}: {why}");
            assert!(seen.all("partition").is_empty(), "{name}: {why}");
            let said = seen.value(seen.all("accelerator")[0], "utilization_ratio");
            assert_eq!(said.map(|v| (v * 1e8).round() / 1e6), *utilization, "{name}: {why}");
        }
        for cut in cut_off(text) {
            let _ = Seen::try_text(&mut Furiosa, &target("http://worker1:6254/metrics", &[]), cut);
        }
    }
    let of = |name: &str| read(&captures.iter().find(|c| c.0.starts_with(name)).unwrap().1);
    let full = of("rngd");
    let card = full.find("accelerator", "uuid", "09512C86-0702-4303-8F40-474746474A40").unwrap();
    let labels = ["node", "device", "pci_address", "model", "pod", "namespace", "driver_version"].map(|key| full.label(card, key));
    let expected = ["cntk002", "npu0", "0000:c7:00.0", "RNGD", "furiosa", "default", "2025.1.0+f09a8d8"];
    assert_eq!(labels, expected.map(Some));
    assert_eq!((full.value(card, "temperature_celsius"), full.value(card, "x_furiosa_ambient_celsius")), (Some(67.756), Some(52.0)));
    assert_eq!(
        (full.value(card, "clock_sm_hertz"), full.state(card, "health"), full.problems()),
        (Some(1.75e9), Some("ok"), String::new())
    );
    assert_eq!(full.value(full.find("core", "index", "4").unwrap(), "x_furiosa_task_cycles_total"), Some(5_685_170_235.0));
    let temperature = of("temperature");
    assert_eq!(temperature.value(temperature.all("accelerator")[0], "temperature_celsius"), Some(39.0), "the peak");
    let throttle = of("throttling");
    let reasons = throttle.batch.points.iter().filter(|p| p.value == 1.0).count();
    assert_eq!(reasons, 8);
}

#[test]
fn a_server_that_scrapes_two_nodes_gives_both_with_the_workload_that_holds_a_card() {
    let row = |at: u32, exported: &str| {
        format!(
            r#"{{"metric":{{"__name__":"furiosa_npu_hw_power","job":"furiosa","instance":"10.0.0.{at}:6254","arch":"rngd","core":"0-7","device":"npu0","label":"rms","hostname":"worker{at}","uuid":"u{at}","pod":"furiosa-metrics-exporter-{at}","namespace":"kube-system"{exported}}},"value":[1764000000,"{at}0.5"]}}"#
        )
    };
    let text = format!("[{},{}]", row(1, r#","exported_pod":"infer-1","exported_namespace":"ml""#), row(2, ""));
    let series: Vec<kcloud_collector_sdk::promql::Series> = serde_json::from_str(&text).unwrap();
    let scraped = [((String::from("furiosa"), String::from("10.0.0.1:6254")), 1_764_000_000_000)].into();
    let seen = Seen::series(&mut Furiosa, &series, &scraped);
    let (first, second) = (seen.find("accelerator", "node", "worker1").unwrap(), seen.find("accelerator", "node", "worker2").unwrap());
    assert_eq!(seen.reading(first, "power_watts").map(|r| (r.0, r.2)), Some((10.5, Some(1_764_000_000_000_000_000))));
    assert_eq!((seen.value(second, "power_watts"), seen.label(second, "pod")), (Some(20.5), None), "its exporter's pod holds nothing");
    assert_eq!((seen.label(first, "pod"), seen.label(first, "namespace")), (Some("infer-1"), Some("ml")));
}
