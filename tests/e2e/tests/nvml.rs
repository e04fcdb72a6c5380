//! NVIDIA's driver on this machine, with a library of our own in its place: cards, MIG, links, processes, XIDs; and a driver that
//! hangs, crashes, lies or is not there. What only real cards can show is not shown here (docs/plugins/nvidia-nvml.md).

#[path = "nvml/library.rs"]
mod library;

use std::sync::Arc;
use std::time::Duration;

use kcloud_e2e::{Running, until};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::inventory::{Kind, Life, Reason, Subject, Value};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::Grants;
use kcloud_monitor::plugins::contract::Target;
use library::Library;

const WHOLE: &str = "GPU-00000000-1111-2222-3333-444444444444";
const DIVIDED: &str = "GPU-00000001-1111-2222-3333-444444444444";
const OLD: &str = "GPU-00000002-1111-2222-3333-444444444444";

fn settings(library: &Library) -> Settings {
    let labels = vec![("node".into(), "worker1".into())];
    let target =
        Target { id: "worker1".into(), address: "nvml:".into(), cluster: "cluster1".into(), labels, credential: None, config: "{}".into() };
    Settings {
        interval: Duration::from_millis(300),
        timeout: Duration::from_secs(2),
        targets: vec![(target, None)],
        clusters: vec!["cluster1".into()],
        grants: Grants { nvml: Some(library.driver()), ..Grants::default() },
        ..Settings::bare("nvidia-nvml")
    }
}

/// A good plugin that has nothing to do with it.
fn neighbour() -> Settings {
    let target = Target {
        id: "t".into(),
        address: "http://127.0.0.1:9/".into(),
        cluster: "cluster1".into(),
        labels: vec![],
        credential: None,
        config: "{}".into(),
    };
    Settings {
        interval: Duration::from_millis(300),
        targets: vec![(target, None)],
        clusters: vec!["cluster1".into()],
        grants: Grants { state: true, ..Grants::default() },
        ..Settings::bare("turncoat")
    }
}

fn find(running: &Running, kind: Kind, is: impl Fn(&Subject) -> bool) -> Option<Arc<Subject>> {
    running.host.app.inventory.current().of_kind(kind).iter().find(|s| is(s)).cloned()
}

fn card(running: &Running, uuid: &str) -> Option<Arc<Subject>> {
    find(running, Kind::Accelerator, |s| s.identity.iter().any(|(k, v)| &**k == "uuid" && **v == *uuid))
}

fn reading(subject: &Subject, metric: &str) -> Option<Value> {
    let catalogue = Catalogue::default();
    subject.readings.iter().find(|r| *catalogue.name(r.metric) == *metric).map(|r| r.value)
}

fn number(subject: &Subject, metric: &str) -> Option<f64> {
    match reading(subject, metric)? {
        Value::Number(v, _) if subject.life == Life::Live => Some((v * 1e6).round() / 1e6),
        _ => None,
    }
}

fn gap(subject: &Subject, metric: &str) -> Option<Reason> {
    match reading(subject, metric)? {
        Value::Gap(reason) => Some(reason),
        Value::Number(..) => None,
    }
}

async fn watts(running: &Running, uuid: &str) -> f64 {
    until(&format!("{uuid} has watts"), async || number(&*card(running, uuid)?, "power_watts")).await
}

/// Waits for words in the error that the source shows.
async fn source_says(running: &Running, words: &str) -> String {
    until(&format!("it says {words:?}"), async || {
        let snapshot = running.host.app.inventory.current();
        let source = snapshot.sources.iter().find(|s| &*s.plugin == "nvidia-nvml")?;
        let said = source.last_error.as_deref()?.to_owned();
        (source.consecutive_failures > 0 && said.contains(words)).then_some(said)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_instances_links_and_processes_are_read_without_an_exporter() {
    let library = Library::build();
    let running = Running::start(&["nvidia-nvml"], vec![settings(&library)]).await;
    assert_eq!(watts(&running, WHOLE).await, 301.5);
    let whole = card(&running, WHOLE).unwrap();
    for (key, value) in [("model", "NVIDIA H100 80GB HBM3"), ("device", "nvidia0"), ("driver_version", "570.86.15"), ("class", "gpu")] {
        assert_eq!(whole.label(key), Some(value), "{key}");
    }
    for (metric, value) in [
        ("energy_joules", 123_456.789),
        ("power_limit_watts", 700.0),
        ("utilization_ratio", 0.87),
        ("memory_used_bytes", 20.0 * 1_073_741_824.0),
        ("temperature_celsius", 60.0),
        ("memory_temperature_celsius", 71.0),
        ("shutdown_temperature_celsius", 92.0),
        ("temperature_limit_celsius", 87.0),
        ("clock_sm_hertz", 1.98e9),
        ("pcie_tx_bytes_per_second", 1e6),
        ("ecc_corrected_total", 12.0),
        ("ecc_uncorrected_total", 1.0),
        ("remapped_rows_correctable_total", 5.0),
        ("throttle_reasons", 4.0),
        ("throttle_thermal_seconds_total", 1.5),
    ] {
        assert_eq!(number(&whole, metric), Some(value), "{metric}");
    }
    assert_eq!(gap(&whole, "fan_ratio"), Some(Reason::Unsupported));
    // The library lacks the function: as an older driver does.
    assert_eq!(gap(&whole, "encoder_utilization_ratio"), Some(Reason::Unsupported));
    let old = card(&running, OLD).unwrap();
    assert_eq!(gap(&old, "energy_joules"), Some(Reason::Unsupported));
    assert_eq!(gap(&old, "power_limit_watts"), Some(Reason::Denied));
    assert_eq!(gap(&old, "pcie_replay_total"), Some(Reason::Unsupported), "all bits set is no count");

    let divided = card(&running, DIVIDED).unwrap();
    assert_eq!((number(&divided, "power_watts"), gap(&divided, "utilization_ratio")), (Some(201.5), Some(Reason::Unsupported)));
    let snapshot = running.host.app.inventory.current();
    let below = |kind, id: &str| snapshot.of_kind(kind).iter().filter(|s| s.parent.as_deref() == Some(id)).cloned().collect::<Vec<_>>();
    let instances = below(Kind::Partition, &divided.id);
    let named: Vec<_> = instances.iter().map(|s| (s.label("partition_id"), s.label("profile"), number(s, "memory_used_bytes"))).collect();
    let used = Some(3.0 * 1_073_741_824.0);
    assert_eq!(named, [(Some("7"), Some("1g.10gb"), used), (Some("9"), Some("1g.10gb"), used)]);
    let links = below(Kind::Link, &whole.id);
    let errors: Vec<_> = links.iter().map(|s| number(s, "nvlink_replay_errors_total")).collect();
    assert_eq!(errors, [Some(10.0), None], "one link is down");
    let of_whole = below(Kind::Process, &whole.id);
    assert_eq!(of_whole.iter().map(|s| number(s, "memory_used_bytes")).collect::<Vec<_>>(), [Some(7.0 * 1_073_741_824.0)]);
    assert!(of_whole[0].label("name").is_some_and(|n| n.starts_with("kcloud-monitor")), "its own helper stands for a user");
    assert_eq!(below(Kind::Process, &instances[1].id).len(), 1, "a process in an instance is the instance's");
    assert!(below(Kind::Process, &divided.id).is_empty());

    library.begin("xid");
    until("the XID is an event", async || {
        let snapshot = running.host.app.inventory.current();
        snapshot.events.iter().any(|e| &*e.code == "xid:79").then_some(())
    })
    .await;
    assert_eq!(number(&card(&running, WHOLE).unwrap(), "xid_last"), Some(79.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_hangs_costs_one_field_of_one_card_and_no_one_else_anything() {
    let library = Library::build();
    let running = Running::start(&["nvidia-nvml", "turncoat"], vec![settings(&library), neighbour()]).await;
    watts(&running, WHOLE).await;
    library.begin("hang");
    let said = source_says(&running, "did not answer in time").await;
    assert!(said.contains("card.temperature_gpu of card 0") && said.contains("started again in 1 s"), "{said}");
    // The process came back, and leaves alone what it hung over.
    let whole = until("the card is read without its temperature", async || {
        let card = card(&running, WHOLE)?;
        (gap(&card, "temperature_celsius") == Some(Reason::Error) && number(&card, "power_watts").is_some()).then_some(card)
    })
    .await;
    assert_eq!(number(&whole, "energy_joules"), Some(123_456.789));
    assert_eq!(number(&card(&running, DIVIDED).unwrap(), "temperature_celsius"), Some(61.0), "its neighbour is read as ever");
    let (_, other) = running.get("/api/v1/system/plugins/turncoat").await;
    assert_eq!((&other["data"]["state"], &other["data"]["failures_by_blame"]), (&"active".into(), &serde_json::json!({})));
    let (_, own) = running.get("/api/v1/system/plugins/nvidia-nvml").await;
    let blamed = own["data"]["failures_by_blame"].as_object().unwrap();
    assert_eq!(blamed.keys().collect::<Vec<_>>(), ["target"], "{blamed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_crashes_is_started_again_and_its_own_process_is_all_that_ends() {
    let library = Library::build();
    let running = Running::start(&["nvidia-nvml", "turncoat"], vec![settings(&library), neighbour()]).await;
    watts(&running, WHOLE).await;
    library.begin("crash");
    let said = source_says(&running, "signal 11").await;
    assert!(said.contains("over card.energy of card 1"), "{said}");
    until("the card is read without its energy", async || {
        let card = card(&running, DIVIDED)?;
        (gap(&card, "energy_joules") == Some(Reason::Error) && number(&card, "power_watts").is_some()).then_some(())
    })
    .await;
    assert_eq!(running.plugin("turncoat").await.0, "active");
    assert_eq!(running.plugin("nvidia-nvml").await.0, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_lies_is_believed_up_to_a_bound() {
    let library = Library::build();
    library.begin("lie");
    let running = Running::start(&["nvidia-nvml"], vec![settings(&library)]).await;
    assert_eq!(watts(&running, WHOLE).await, 301.5);
    let whole = card(&running, WHOLE).unwrap();
    assert_eq!((whole.label("model"), card(&running, DIVIDED).unwrap().label("model")), (None, Some("[2J evil")));
    assert!(running.host.app.inventory.current().of_kind(Kind::Process).is_empty());
    let (_, body) = running.get("/api/v1/system/plugins/nvidia-nvml").await;
    let text = body.to_string();
    for words in ["4000000000; the first 256 are read", "4000000000; at most 4096 are read"] {
        assert!(text.contains(words), "{words}: {text:.2000}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_missing_or_refuses_is_said_so_and_is_found_when_it_comes() {
    let library = Library::build();
    library.begin("no-driver");
    let running = Running::start(&["nvidia-nvml"], vec![settings(&library)]).await;
    source_says(&running, "NVIDIA driver is not loaded").await;
    library.end("no-driver");
    library.begin("denied");
    source_says(&running, "/dev/nvidia").await;
    library.end("denied");
    watts(&running, WHOLE).await;
    library.begin("lost");
    until("a card that fell off the bus is said, not dropped", async || {
        let (_, body) = running.get("/api/v1/system/plugins/nvidia-nvml").await;
        body.to_string().contains("card 2: device fell off the bus").then_some(())
    })
    .await;
    assert!(card(&running, OLD).is_some());
    watts(&running, WHOLE).await;
}
