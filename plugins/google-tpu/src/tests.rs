use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::testing::{Seen, capture, cut_off, target, with_broken_lines};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut GoogleTpu, &target("http://10.0.0.11:2112/metrics", &[("node", "worker1")]), text)
}

/// File; cards, sum of used and of total bytes, sum of busy shares, cards that a pod holds; why.
type Expected = (&'static str, usize, f64, f64, f64, usize, &'static str);
const CAPTURES: [Expected; 2] = [
    (
        "gke-tpu7x-capture.prom",
        2,
        176_938_736_128.0,
        203_465_670_656.0,
        0.0,
        1,
        "card 0 stands in rows of the node alone, card 4 in both: once each",
    ),
    ("ray-agent-v6e-indented-no-meta.prom", 2, 3_000.0, 8_000.0, 0.6, 2, "indented rows without HELP and TYPE"),
];

#[test]
fn every_capture_gives_its_cards_once_also_between_broken_lines() {
    for (file, cards, used, total, busy, held, why) in CAPTURES {
        let Some(text) = capture(&format!("google-tpu/{file}")) else { return };
        for text in [text.clone(), with_broken_lines(&text)] {
            let seen = read(&text);
            assert_eq!(seen.all("accelerator").len(), cards, "{file}: {why}");
            assert_eq!(
                (seen.total("accelerator", "memory_used_bytes"), seen.total("accelerator", "memory_total_bytes")),
                (used, total),
                "{file}: {why}"
            );
            assert_eq!(seen.total("accelerator", "utilization_ratio"), busy, "{file}: {why}");
            assert_eq!(seen.all("accelerator").iter().filter(|c| seen.label(**c, "pod").is_some()).count(), held, "{file}: {why}");
            assert_eq!(seen.count("accelerator", "power_watts"), (cards, 0, cards), "no TPU says watts");
        }
        assert_eq!(read(&text).problems(), "");
        cut_off(&text).for_each(|part| drop(read(part)));
    }
    let seen = read(&capture("google-tpu/gke-tpu7x-capture.prom").unwrap());
    let card = seen.find("accelerator", "device", "4").unwrap();
    assert_eq!(
        (seen.label(card, "uuid"), seen.label(card, "node"), seen.label(card, "class")),
        (Some("1234567890123456789-4"), Some("worker1"), Some("tpu"))
    );
    assert_eq!(
        (seen.label(card, "model"), seen.label(card, "topology"), seen.label(card, "pod")),
        (Some("tpu7x"), Some("2x2x2"), Some("test-workload-pod"))
    );
    assert_eq!(seen.value(seen.find("accelerator", "device", "0").unwrap(), "memory_bandwidth_ratio"), Some(0.425));
    assert_eq!(
        (seen.gap(card, "temperature_celsius"), seen.gap(card, "clock_sm_hertz")),
        (Some(GapReason::Unsupported), Some(GapReason::Unsupported))
    );
}

#[test]
fn names_without_the_make_are_another_sources() {
    let seen = read("duty_cycle{accelerator_id=\"1-0\",make=\"nvidia\"} 20\nmemory_used{pool=\"heap\"} 12\nmemory_total 9\n");
    assert!(seen.all("accelerator").is_empty() && seen.batch.points.is_empty());
}

#[test]
fn through_a_server_a_card_has_its_own_name_where_no_node_is_known() {
    let series: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"duty_cycle","accelerator_id":"77-0","make":"cloud-tpu","exported_pod":"train-1","exported_namespace":"ml","pod":"tpu-device-plugin-x","job":"tpu","instance":"10.0.0.1:2112"},"value":[1764000010,"50"]},
            {"metric":{"__name__":"duty_cycle","accelerator_id":"78-0","make":"cloud-tpu","pod":"tpu-device-plugin-y","job":"tpu","instance":"10.0.0.2:2112"},"value":[1764000010,"0"]}]"#,
    )
    .unwrap();
    let seen = Seen::series(&mut GoogleTpu, &series, &Default::default());
    let (busy, idle) = (seen.find("accelerator", "uuid", "77-0").unwrap(), seen.find("accelerator", "uuid", "78-0").unwrap());
    assert_eq!(
        (seen.value(busy, "utilization_ratio"), seen.label(busy, "pod"), seen.label(idle, "pod")),
        (Some(0.5), Some("train-1"), None)
    );
}
