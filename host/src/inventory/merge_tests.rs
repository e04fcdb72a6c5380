use super::super::Reason;
use super::super::batch::{BatchGap, BatchPoint};
use super::*;
use crate::catalogue::Catalogue;

const SECOND: i64 = 1_000;

fn source(plugin: &str) -> SourceInfo {
    SourceInfo { plugin: plugin.into(), target: "t".into(), cluster: "cluster1".into(), interval_ms: 15 * SECOND, priority: 0 }
}

fn card(uuid: &str, pci: &str) -> BatchSubject {
    let identity = [("uuid", uuid), ("node", "worker1"), ("pci_address", pci)];
    BatchSubject {
        kind: Kind::Accelerator,
        identity: identity.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        labels: vec![("class".into(), "gpu".into())],
        parent: None,
        observed_at_ms: None,
    }
}

fn power() -> MetricId {
    Catalogue::known("power_watts").unwrap()
}

fn batch(subjects: Vec<BatchSubject>, watts: &[(u32, f64, Quality)]) -> Batch {
    let point = |(subject, value, quality): &(u32, f64, Quality)| BatchPoint {
        subject: *subject,
        metric: power(),
        value: *value,
        quality: *quality,
        at_ms: None,
    };
    Batch { subjects, points: watts.iter().map(point).collect(), ..Batch::default() }
}

fn publish(i: &Inventory, now: i64) -> Publication {
    let p = i.prepare(now, i64::MAX).expect("something changed");
    i.publish(p.snapshot.clone());
    p
}

#[test]
fn two_sources_that_share_a_pci_address_mean_one_card() {
    let i = Inventory::new(0);
    i.apply(&source("a"), batch(vec![card("GPU-1", "0000:17:00.0")], &[(0, 300.0, Quality::Derived)]), 0);
    i.apply(&source("b"), batch(vec![card("", "00000000:17:00.0")], &[(0, 310.0, Quality::Measured)]), 1);
    let snapshot = publish(&i, 2).snapshot;
    assert_eq!(snapshot.subjects.len(), 1);
    let card = snapshot.get("GPU-1").unwrap();
    assert_eq!(card.number(power()), Some(310.0), "measured is trusted over derived");
    assert_eq!(card.others.len(), 1, "the other stays visible");
}

#[test]
fn a_card_that_took_anothers_slot_is_another_card() {
    let i = Inventory::new(0);
    i.apply(&source("a"), batch(vec![card("GPU-1", "0000:17:00.0")], &[]), 0);
    i.apply(&source("a"), batch(vec![card("GPU-2", "0000:17:00.0")], &[]), 1);
    assert_eq!(publish(&i, 2).snapshot.subjects.len(), 2);
}

#[test]
fn a_silent_card_turns_stale_then_offline_and_its_series_ends() {
    let i = Inventory::new(0);
    i.apply(&source("a"), batch(vec![card("GPU-1", "")], &[(0, 300.0, Quality::Measured)]), 0);
    publish(&i, 1);
    assert!(i.prepare(45 * SECOND, i64::MAX).is_none(), "three intervals are not over");
    let stale = publish(&i, 46 * SECOND);
    assert_eq!(stale.snapshot.get("GPU-1").unwrap().gap(power()), Some(Reason::Stale));
    assert_eq!(stale.points.len(), 1);
    assert!(stale.points[0].value.is_none());
    assert_eq!(publish(&i, 600 * SECOND).snapshot.get("GPU-1").unwrap().life, Life::Offline);
}

#[test]
fn a_gap_ends_the_series_once() {
    let i = Inventory::new(0);
    i.apply(&source("a"), batch(vec![card("GPU-1", "")], &[(0, 300.0, Quality::Measured)]), 0);
    publish(&i, 1);
    for now in [2, 3] {
        let gaps = vec![BatchGap { subject: 0, metric: power(), reason: Reason::Error }];
        i.apply(&source("a"), Batch { gaps, ..batch(vec![card("GPU-1", "")], &[]) }, now);
    }
    let p = publish(&i, 4);
    assert_eq!(p.points.iter().filter(|p| p.value.is_none()).count(), 1);
    assert_eq!(p.snapshot.get("GPU-1").unwrap().gap(power()), Some(Reason::Error));
}

#[test]
fn a_card_that_vanishes_from_a_whole_ages_and_stays() {
    let i = Inventory::new(0);
    let both = vec![card("GPU-1", ""), card("GPU-2", "")];
    i.apply(&source("a"), batch(both, &[(0, 1.0, Quality::Measured), (1, 2.0, Quality::Measured)]), 0);
    for at in [15, 30, 45, 60] {
        i.apply(&source("a"), batch(vec![card("GPU-1", "")], &[(0, 1.0, Quality::Measured)]), at * SECOND);
    }
    let snapshot = publish(&i, 60 * SECOND).snapshot;
    assert_eq!(snapshot.get("GPU-1").unwrap().life, Life::Live);
    assert_eq!(snapshot.get("GPU-2").unwrap().life, Life::Stale);
}

#[test]
fn snapshots_share_what_did_not_change() {
    let i = Inventory::new(7);
    i.apply(&source("a"), batch(vec![card("GPU-1", "")], &[(0, 1.0, Quality::Measured)]), 0);
    let one = publish(&i, 1).snapshot;
    i.apply(&source("b"), batch(vec![card("GPU-2", "")], &[(0, 1.0, Quality::Measured)]), 2);
    let two = publish(&i, 3).snapshot;
    assert_eq!((one.sequence, two.sequence), (8, 9));
    assert!(Arc::ptr_eq(one.get("GPU-1").unwrap(), two.get("GPU-1").unwrap()));
}

#[test]
fn a_stamp_from_the_future_is_a_problem_and_not_taken() {
    let i = Inventory::new(0);
    let mut b = batch(vec![card("GPU-1", "")], &[(0, 1.0, Quality::Measured)]);
    b.points[0].at_ms = Some(6 * 60 * SECOND);
    assert_eq!(i.apply(&source("a"), b, 0).len(), 1);
    assert_eq!(publish(&i, 1).snapshot.get("GPU-1").unwrap().gap(power()), Some(Reason::Absent));
}

#[test]
fn an_id_names_one_subject_whatever_a_plugin_calls_a_card() {
    let i = Inventory::new(0);
    let of = |kind, key: &str, value: &str| BatchSubject { kind, identity: vec![(key.into(), value.into())], ..card("", "") };
    let all = vec![
        of(Kind::Node, "node", "worker1"),
        of(Kind::Accelerator, "uuid", "node/cluster1/worker1"),
        of(Kind::Vm, "uuid", "one"),
        of(Kind::Accelerator, "uuid", "one"),
    ];
    i.apply(&source("a"), batch(all, &[]), 0);
    let snapshot = publish(&i, 1).snapshot;
    assert_eq!(snapshot.subjects.len(), 4);
    assert!(snapshot.subjects.iter().all(|s| Arc::ptr_eq(snapshot.get(&s.id).unwrap(), s)));
    assert_eq!(snapshot.get("one").unwrap().kind, Kind::Accelerator, "a card has its own name");
}

#[test]
fn a_card_whose_uuid_is_what_another_was_known_by_has_an_id_of_its_own() {
    let i = Inventory::new(0);
    let of = |uuid: &str| BatchSubject {
        identity: card(uuid, "").identity.into_iter().chain([("device".into(), "nvidia0".into())]).collect(),
        ..card("", "")
    };
    // Known by its place first, then by name; another card in its place; a third that calls itself what the first is known by.
    for uuid in ["", "GPU-1", "GPU-2", "cluster1/worker1/nvidia0"] {
        i.apply(&source("a"), batch(vec![of(uuid)], &[]), 0);
    }
    let snapshot = publish(&i, 1).snapshot;
    let ids: Vec<&str> = snapshot.subjects.iter().map(|s| &*s.id).collect();
    assert_eq!(ids, ["GPU-2", "cluster1/worker1/nvidia0", "cluster1/worker1/nvidia0#2"]);
}
