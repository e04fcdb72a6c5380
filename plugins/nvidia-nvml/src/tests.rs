use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::nvml::{Answer, Part, Reading, Value, Xid};
use kcloud_collector_sdk::testing::{Seen, target};

use super::*;

fn part(kind: &str, parent: Option<u32>, readings: &[(&str, Value)]) -> Part {
    let reading = |(field, value): &(&str, Value)| Reading { field: (*field).to_owned(), value: value.clone() };
    Part { kind: kind.to_owned(), parent, readings: readings.iter().map(reading).collect() }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

use Value::Number as N;

fn seen(parts: Vec<Part>, xids: Vec<Xid>) -> Seen {
    let mut batch = Batch::new(definitions());
    let target = target("nvml:", &[("node", "worker1")]);
    Reader { target: &target, mapping: &Mapping::new(ROWS), batch: &mut batch }.answer(&Answer { parts, xids }).unwrap();
    Seen::over(definitions(), batch.finish())
}

fn card(more: &[(&str, Value)]) -> Part {
    let own = [
        ("index", N(0.0)),
        ("uuid", text("GPU-1")),
        ("minor_number", N(3.0)),
        ("name", text("NVIDIA H100")),
        ("pci_address", text("00000000:17:00.0")),
    ];
    part("card", None, &[&own[..], more].concat())
}

#[test]
fn a_card_has_the_identity_labels_and_units_that_it_has_through_dcgm() {
    let driver = part("driver", None, &[("driver_version", text("570.86.15")), ("cuda_version", N(12_080.0)), ("cards", N(1.0))]);
    let read = seen(
        vec![
            driver,
            card(&[
                ("power_usage", N(301_500.0)),
                ("energy", N(5_000.0)),
                ("utilization_gpu", N(87.0)),
                ("clock_sm", N(1_980.0)),
                ("memory_total", N(85_520_809_984.0)),
                ("throttle_power", N(2e9)),
                ("pcie_tx", N(12.0)),
                ("mig_mode", N(0.0)),
            ]),
        ],
        vec![],
    );
    let card = read.find("accelerator", "uuid", "GPU-1").unwrap();
    for (key, value) in [
        ("node", "worker1"),
        ("class", "gpu"),
        ("vendor", "nvidia"),
        ("model", "NVIDIA H100"),
        ("device", "nvidia3"),
        ("index", "0"),
        ("pci_address", "00000000:17:00.0"),
        ("driver_version", "570.86.15"),
        ("cuda_version", "12.8"),
        ("mig_mode", "disabled"),
    ] {
        assert_eq!(read.label(card, key), Some(value), "{key}");
    }
    for (metric, value) in [
        ("power_watts", 301.5),
        ("energy_joules", 5.0),
        ("utilization_ratio", 0.87),
        ("clock_sm_hertz", 1.98e9),
        ("memory_total_bytes", 85_520_809_984.0),
        ("throttle_power_seconds_total", 2.0),
        ("pcie_tx_bytes_per_second", 12_000.0),
    ] {
        assert_eq!(read.value(card, metric), Some(value), "{metric}");
    }
    assert_eq!(read.value(card, "xid_last"), None, "nothing was heard: that is not to say that there was none");
}

#[test]
fn what_the_driver_does_not_say_is_a_gap_with_its_reason_and_never_zero() {
    let read = seen(
        vec![card(&[
            ("power_usage", Value::Unsupported),
            ("ecc_corrected", Value::Denied),
            ("energy", Value::Failed("device fell off the bus".into())),
            ("fan_speed", N(f64::from(u32::MAX))),
            ("pcie_replays", N(u64::MAX as f64)),
            ("performance_state", N(32.0)),
        ])],
        vec![],
    );
    for (metric, reason) in [
        ("power_watts", GapReason::Unsupported),
        ("ecc_corrected_total", GapReason::Denied),
        ("energy_joules", GapReason::Error),
        ("fan_ratio", GapReason::Unsupported),
        ("pcie_replay_total", GapReason::Unsupported),
        ("x_nvidia_performance_state_count", GapReason::Absent),
    ] {
        assert_eq!((read.gap(1, metric), read.value(1, metric)), (Some(reason), None), "{metric}");
    }
    assert!(read.problems().contains("energy: device fell off the bus"));
}

#[test]
fn an_instance_is_what_dcgm_calls_it_and_memory_that_two_share_counts_once() {
    let mig = |gi: f64, ci: f64, uuid: &str| {
        let readings = [
            ("uuid", text(uuid)),
            ("gpu_instance", N(gi)),
            ("compute_instance", N(ci)),
            ("name", text("NVIDIA H100 80GB HBM3 MIG 1g.10gb")),
            ("memory_used", N(1e9)),
        ];
        part("mig", Some(0), &readings)
    };
    let process =
        part("process", Some(1), &[("pid", N(42.0)), ("namespace", text("ml")), ("pod", text("train-0")), ("memory_used", N(7.0))]);
    let read = seen(vec![card(&[]), mig(7.0, 0.0, "MIG-a"), mig(9.0, 0.0, "MIG-b"), mig(9.0, 1.0, "MIG-c"), process], vec![]);
    assert_eq!(read.all("partition").len(), 2);
    let alone = read.find("partition", "partition_id", "7").unwrap();
    assert_eq!((read.label(alone, "profile"), read.label(alone, "mig_uuid")), (Some("1g.10gb"), Some("MIG-a")));
    let shared = read.find("partition", "partition_id", "9").unwrap();
    assert_eq!((read.value(shared, "memory_used_bytes"), read.label(shared, "mig_uuid")), (Some(1e9), None));
    let process = read.find("process", "pid", "42").unwrap();
    assert_eq!(read.parent(process), Some(("partition", alone)));
    assert_eq!((read.label(process, "pod"), read.value(process, "memory_used_bytes")), (Some("train-0"), Some(7.0)));
}

#[test]
fn a_card_that_does_not_say_who_it_is_leaves_the_others_and_is_not_taken_for_gone() {
    let lost = part("card", None, &[("index", N(1.0)), ("uuid", Value::Failed("device fell off the bus".into()))]);
    let link = |index: f64, active: f64| part("link", Some(0), &[("index", N(index)), ("active", N(active)), ("replay_errors", N(4.0))]);
    let read = seen(vec![card(&[]), lost, link(0.0, 1.0), link(1.0, 0.0)], vec![]);
    assert_eq!(read.all("accelerator").len(), 1);
    assert!(read.problems().contains("card 1: device fell off the bus"));
    assert!(matches!(read.batch.coverage, kcloud_collector_sdk::bindings::kcloud::collector::types::Coverage::Partial));
    let links = read.all("link");
    let states: Vec<_> = links.iter().map(|l| (read.state(*l, "link_status"), read.value(*l, "nvlink_replay_errors_total"))).collect();
    assert_eq!(states, [(Some("up"), Some(4.0)), (Some("down"), None)]);
}

#[test]
fn each_xid_that_was_heard_is_one_event_however_often_it_is_said() {
    let xid = |code, heard_at| Xid { uuid: "GPU-1".into(), code, heard_at };
    let read = seen(vec![card(&[])], vec![xid(31, 1), xid(79, 2), Xid { uuid: "GPU-gone".into(), code: 1, heard_at: 3 }]);
    let events: Vec<_> = read.batch.events.iter().map(|e| (e.code.as_str(), e.key.as_str(), e.at)).collect();
    assert_eq!(events, [("xid:31", "GPU-1/xid:31/1", Some(1)), ("xid:79", "GPU-1/xid:79/2", Some(2))]);
    assert_eq!(read.value(1, "xid_last"), Some(79.0));
}

#[test]
fn every_number_that_the_table_knows_is_asked_for() {
    let all = Nvml::new(serde_json::from_str("{}").unwrap()).unwrap().fields;
    assert!(all.len() < 256 && all.contains(&"card.power_usage".to_owned()) && all.contains(&"process.pod".to_owned()));
    let some = r#"{"processes": false, "links": false, "leave_out": ["card.pcie_tx"]}"#;
    let fields = Nvml::new(serde_json::from_str(some).unwrap()).unwrap().fields;
    assert!(!fields.iter().any(|f| f == "card.pcie_tx" || f.starts_with("link.") || f.starts_with("process.")));
    assert!(Nvml::new(serde_json::from_str(r#"{"leave_out": ["card.powr"]}"#).unwrap()).is_err());
}
