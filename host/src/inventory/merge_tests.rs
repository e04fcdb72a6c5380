use super::super::Reason;
use super::super::batch::{BatchGap, BatchPoint};
use super::*;
use crate::catalogue::Catalogue;

const SECOND: i64 = 1_000;

fn source(plugin: &str) -> SourceInfo {
    SourceInfo {
        plugin: plugin.into(),
        target: "t".into(),
        cluster: "cluster1".into(),
        interval_ms: 15 * SECOND,
        priority: 0,
        max_subjects: 10_000,
        max_values: 100_000,
    }
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
fn what_a_counter_grows_by_a_second_is_derived_until_it_begins_anew() {
    let i = Inventory::new(0);
    let pod = |uid: &str| BatchSubject {
        kind: Kind::Pod,
        identity: [("name", "train-0"), ("namespace", "ml"), ("uid", uid)].map(|(k, v)| (k.into(), v.into())).to_vec(),
        ..card("", "")
    };
    let (joules, cpu) = (Catalogue::known("energy_joules").unwrap(), Catalogue::known("cpu_seconds_total").unwrap());
    let cores = Catalogue::known("cpu_usage_cores").unwrap();
    let say = |uid: &str, at: i64, energy: f64, seconds: f64| {
        let point = |metric, value, quality| BatchPoint { subject: 0, metric, value, quality, at_ms: Some(at) };
        let points = vec![point(joules, energy, Quality::Modelled), point(cpu, seconds, Quality::Measured)];
        i.apply(&source("a"), Batch { subjects: vec![pod(uid)], points, ..Batch::default() }, at);
        let publication = publish(&i, at);
        let pod = publication.snapshot.of_kind(Kind::Pod)[0].clone();
        (pod.reading(power()).map(|r| r.value), pod.reading(cores).map(|r| r.value))
    };
    assert_eq!(say("1", 0, 100.0, 10.0), (None, None), "one reading has no rate");
    let first = (Some(Value::Number(20.0, Quality::Modelled)), Some(Value::Number(2.0, Quality::Derived)));
    assert_eq!(say("1", 10 * SECOND, 300.0, 30.0), first);
    assert_eq!(say("1", 10 * SECOND, 300.0, 30.0), first, "the same observation again");
    let reset = (Some(Value::Gap(Reason::Absent)), Some(Value::Number(1.0, Quality::Derived)));
    assert_eq!(say("1", 20 * SECOND, 5.0, 40.0), reset);
    assert_eq!(say("2", 30 * SECOND, 400.0, 90.0), (None, None), "another pod under the name");
    assert_eq!(say("2", 30 * SECOND + super::super::rates::MAX_JOINED_MS + 1, 500.0, 91.0), (None, None), "too far apart");
}

/// Watts that are derived of what a source says of a card or a container: (second, joules) one after the other.
fn watts_of(kind: Kind, interval_s: i64, counts: &[(i64, f64)]) -> Vec<Option<Value>> {
    let i = Inventory::new(0);
    let info = SourceInfo { interval_ms: interval_s * SECOND, ..source("a") };
    let joules = Catalogue::known("energy_joules").unwrap();
    let say = |(second, energy): &(i64, f64)| {
        let at = second * SECOND;
        let subject = match kind {
            Kind::Accelerator => card("GPU-1", "0000:01:00.0"),
            kind => BatchSubject { kind, identity: vec![("name".into(), "worker1".into())], ..card("", "") },
        };
        let points = vec![BatchPoint { subject: 0, metric: joules, value: *energy, quality: Quality::Measured, at_ms: Some(at) }];
        i.apply(&info, Batch { subjects: vec![subject], points, ..Batch::default() }, at);
        publish(&i, at).snapshot.of_kind(kind)[0].reading(power()).map(|r| r.value)
    };
    counts.iter().map(say).collect()
}

const NOT_KNOWN: Option<Value> = Some(Value::Gap(Reason::Absent));

fn watts(watts: f64) -> Option<Value> {
    Some(Value::Number(watts, Quality::Derived))
}

#[test]
fn a_card_whose_joules_stand_still_draws_nobody_knows_what() {
    let counts = [(0, 100.0), (10, 3_100.0), (20, 6_100.0), (40, 6_100.0), (50, 6_100.0), (60, 9_100.0), (70, 11_100.0)];
    // The first growth may be a part of a step; what comes after nobody kept count may be, too.
    let known = [None, NOT_KNOWN, watts(300.0), watts(300.0), NOT_KNOWN, NOT_KNOWN, watts(200.0)];
    assert_eq!(watts_of(Kind::Accelerator, 10, &counts), known);
}

#[test]
fn joules_that_come_in_coarse_steps_are_watts_without_jumps() {
    // A controller that counts thousandths of kilowatt-hours, asked each half minute: 3,600 J every two minutes are 30 W.
    let counts: Vec<(i64, f64)> = (0..20).map(|i| (i * 30, 3_600.0 * ((i * 30 + 50) / 120) as f64)).collect();
    let said = watts_of(Kind::Chassis, 30, &counts);
    let first = said.iter().position(|v| *v == watts(30.0)).expect("known once");
    assert!(said[1..first].iter().all(|v| *v == NOT_KNOWN), "{said:?}");
    assert!(said[first..].iter().all(|v| *v == watts(30.0)), "{said:?}");
}

#[test]
fn joules_that_are_asked_for_often_are_watts_over_ten_seconds() {
    // 100 W, read each second with 30 ms of blur.
    let counts: Vec<(i64, f64)> = (0..40).map(|s| (s, s as f64 * 100.0 + if s % 2 == 0 { 3.0 } else { 0.0 })).collect();
    let said = watts_of(Kind::Node, 1, &counts);
    let off = |v: &Option<Value>| match v {
        Some(Value::Number(w, _)) => (w - 100.0).abs(),
        other => panic!("{other:?}"),
    };
    assert!(said[20..].iter().all(|v| off(v) < 0.31), "{said:?}");
    // An idle container's count stands still; so does one that is counted each five seconds and read each second.
    let idle: Vec<(i64, f64)> = (0..40).map(|s| (s, if s < 10 { s as f64 } else { 9.0 })).collect();
    let said = watts_of(Kind::Container, 1, &idle);
    assert_eq!((said[9], said[15], said[39]), (watts(1.0), watts(1.0), watts(0.0)));
    let slow: Vec<(i64, f64)> = (0..40).map(|s| (s, (s / 5 * 5) as f64)).collect();
    assert!(watts_of(Kind::Container, 1, &slow)[11..].iter().all(|v| *v == watts(1.0)));
}

#[test]
fn a_partition_has_one_id_whether_its_card_was_known_at_first_or_not() {
    let part = |labels: &[(&str, &str)], parent| BatchSubject {
        kind: Kind::Partition,
        identity: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        labels: Vec::new(),
        parent,
        observed_at_ms: None,
    };
    let kubelet = || batch(vec![part(&[("device_uuid", "MIG-1"), ("node", "worker1")], None)], &[(0, 1.0, Quality::Measured)]);
    let driver = || {
        let all = vec![card("GPU-1", "0000:01:00.0"), part(&[("device_uuid", "MIG-1"), ("partition_id", "7")], Some(0))];
        batch(all, &[(1, 2.0, Quality::Measured)])
    };
    for kubelet_first in [true, false] {
        let i = Inventory::new(0);
        let mut ended = Vec::new();
        for n in 0..4 {
            let (plugin, said) = if (n % 2 == 0) == kubelet_first { ("pod-resources", kubelet()) } else { ("nvidia-nvml", driver()) };
            i.apply(&source(plugin), said, n * SECOND);
            ended.extend(publish(&i, n * SECOND).points.into_iter().filter(|p| p.value.is_none()).map(|p| p.subject));
        }
        let snapshot = i.current();
        let parts: Vec<_> = snapshot.children("GPU-1", Kind::Partition).map(|p| (&*p.id, p.label("device_uuid"))).collect();
        assert_eq!((parts, snapshot.of_kind(Kind::Partition).len()), (vec![("partition/GPU-1/7", Some("MIG-1"))], 1));
        let was: &[&str] = if kubelet_first { &["partition/MIG-1"] } else { &[] };
        assert_eq!(ended.iter().map(|s| &**s).collect::<Vec<_>>(), was);
        assert!(snapshot.get("partition/MIG-1").is_none());
    }
}

#[test]
fn a_node_is_one_by_its_short_name_its_long_one_and_its_addresses() {
    let i = Inventory::new(0);
    let node = |name: &str, labels: &[(&str, &str)]| BatchSubject {
        kind: Kind::Node,
        identity: vec![("node".into(), name.into())],
        labels: labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        parent: None,
        observed_at_ms: None,
    };
    let say = |plugin: &str, subjects: Vec<BatchSubject>, at: i64| {
        i.apply(&source(plugin), batch(subjects, &[(0, 1.0, Quality::Measured)]), at);
        let snapshot = publish(&i, at).snapshot;
        snapshot.of_kind(Kind::Node).iter().map(|n| n.node.as_deref().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(say("exporter", vec![node("worker1.example.com", &[])], 0), ["worker1.example.com"]);
    assert_eq!(say("bmc", vec![node("10.1.0.1", &[])], 1), ["10.1.0.1", "worker1.example.com"]);
    let known = [("internal_ip", "10.0.0.1"), ("bmc_address", "10.1.0.1")];
    say("kubernetes", vec![node("worker1", &known)], 2);
    say("exporter", vec![node("worker1.example.com", &[])], 3);
    assert_eq!(say("bmc", vec![node("10.1.0.1", &[])], 4), ["worker1"], "all three are one");
    let card = BatchSubject { identity: vec![("uuid".into(), "GPU-1".into()), ("node".into(), "10.0.0.1".into())], ..card("GPU-1", "") };
    say("dcgm", vec![card], 5);
    let snapshot = i.current();
    let card = snapshot.get("GPU-1").unwrap();
    assert_eq!((card.node.as_deref(), card.label("node")), (Some("worker1"), Some("worker1")));
    let node = snapshot.get("node/cluster1/worker1").unwrap();
    assert_eq!((node.others.len(), node.label("node")), (2, Some("worker1")), "what each of the three says is kept");
    // Another node's name is no address, whatever a plugin says.
    say("kubernetes", vec![self::node("worker3")], 5);
    let thief = BatchSubject { labels: vec![("internal_ip".into(), "worker3".into())], ..self::node("thief") };
    say("evil", vec![thief], 5);
    let names = say("kubernetes", vec![self::node("worker3")], 5);
    assert!(names.contains(&"worker3".to_owned()) && names.contains(&"thief".to_owned()), "{names:?}");
    // Two of one short name: it means neither.
    say("exporter", vec![self::node("worker2.a.example")], 6);
    say("other", vec![self::node("worker2.b.example")], 7);
    let names = say("kubernetes", vec![self::node("worker2")], 8);
    say("exporter", vec![self::node("worker2.a.example")], 9);
    assert!(names.contains(&"worker2.a.example".to_owned()) && names.contains(&"worker2.b.example".to_owned()), "{names:?}");
}

fn node(name: &str) -> BatchSubject {
    BatchSubject { kind: Kind::Node, identity: vec![("node".into(), name.into())], ..card("", "") }
}

#[test]
fn what_has_no_stamp_is_as_old_as_its_answer_not_as_its_turn() {
    let i = Inventory::new(0);
    let heard = Batch { heard_at_ms: Some(4 * SECOND), ..batch(vec![card("GPU-1", "")], &[(0, 300.0, Quality::Measured)]) };
    i.apply(&source("a"), heard, 9 * SECOND);
    assert_eq!(publish(&i, 9 * SECOND).points[0].at_ms, 4 * SECOND);
    let odd = Batch { heard_at_ms: Some(99 * SECOND), ..batch(vec![card("GPU-1", "")], &[(0, 310.0, Quality::Measured)]) };
    i.apply(&source("a"), odd, 10 * SECOND);
    assert_eq!(publish(&i, 10 * SECOND).points[0].at_ms, 10 * SECOND, "nothing is from the future");
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
fn what_only_a_silent_source_told_is_stale_while_others_speak() {
    let i = Inventory::new(0);
    let (a, b) = (source("a"), source("b"));
    i.apply(&a, batch(vec![card("GPU-1", "")], &[(0, 300.0, Quality::Measured)]), 0);
    i.apply(&b, batch(vec![card("GPU-1", "")], &[]), SECOND);
    assert_eq!(publish(&i, 2 * SECOND).snapshot.get("GPU-1").unwrap().number(power()), Some(300.0));
    i.apply(&b, batch(vec![card("GPU-1", "")], &[]), 46 * SECOND);
    let p = publish(&i, 47 * SECOND);
    let known = p.snapshot.get("GPU-1").unwrap();
    assert_eq!((known.life, known.number(power()), known.gap(power())), (Life::Live, None, Some(Reason::Stale)));
    assert!(p.points.len() == 1 && p.points[0].value.is_none(), "its series ends");
    i.apply(&a, batch(vec![card("GPU-1", "")], &[(0, 310.0, Quality::Measured)]), 48 * SECOND);
    assert_eq!(publish(&i, 49 * SECOND).snapshot.get("GPU-1").unwrap().number(power()), Some(310.0));
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

fn cards(from: usize, count: usize) -> Vec<BatchSubject> {
    (from..from + count).map(|i| card(&format!("GPU-{i}"), "")).collect()
}

#[test]
fn what_a_plugin_names_no_more_does_not_pile_up() {
    let i = Inventory::new(0);
    for turn in 0..50 {
        i.apply(&source("a"), batch(cards(turn * 1_000, 1_000), &[(0, 1.0, Quality::Measured)]), turn as i64);
    }
    let snapshot = publish(&i, 60).snapshot;
    assert!(snapshot.subjects.len() <= 4_000, "{} of 50 000", snapshot.subjects.len());
    assert!(snapshot.get("GPU-49999").is_some() && snapshot.get("GPU-48000").is_some() && snapshot.get("GPU-0").is_none());
    // One that comes back is there again.
    i.apply(&source("a"), batch(cards(0, 1), &[(0, 1.0, Quality::Measured)]), 61);
    assert_eq!(publish(&i, 62).snapshot.get("GPU-0").unwrap().number(power()), Some(1.0));
}

#[test]
fn a_plugin_that_only_adds_has_room_for_so_many_and_others_have_their_own() {
    let i = Inventory::new(0);
    let add = |plugin: &str, target: &str, from: usize| {
        let info = SourceInfo { target: target.into(), ..source(plugin) };
        i.apply(&info, Batch { coverage: Coverage::Delta, ..batch(cards(from, 6_000), &[]) }, 0)
    };
    assert!(add("a", "t1", 0).is_empty());
    assert_eq!(add("a", "t2", 6_000), ["2000 subjects are not taken: 10000 of this plugin are known already"]);
    assert!(add("b", "t", 100_000).is_empty());
    assert_eq!(publish(&i, 1).snapshot.subjects.len(), 16_000);
    // What it leaves makes room for what is new.
    i.remove_source("a", "t1", 2);
    assert!(add("a", "t2", 200_000).is_empty());
}

#[test]
fn a_flood_of_events_gives_way_before_others_do() {
    let i = Inventory::new(0);
    let event = |key: String, severity| super::super::batch::BatchEvent {
        subject: 0,
        at_ms: None,
        severity,
        code: "c".into(),
        message: "m".into(),
        key,
    };
    let say = |plugin: &str, events| i.apply(&source(plugin), Batch { events, ..batch(cards(0, 1), &[]) }, 5);
    say("modest", vec![event("the one".into(), Severity::Critical)]);
    for turn in 0..15 {
        say("flood", (0..1_000).map(|n| event(format!("{turn}/{n}"), Severity::Info)).collect());
    }
    let snapshot = publish(&i, 6).snapshot;
    assert!(snapshot.events.len() == MAX_EVENTS && snapshot.events.iter().any(|e| &*e.key == "the one"), "{}", snapshot.events.len());
    assert_eq!((snapshot.last_critical_ms("GPU-0"), snapshot.last_critical_ms("GPU-1")), (Some(5), None));
}

#[test]
fn places_of_sources_that_are_gone_are_used_again() {
    let i = Inventory::new(0);
    for turn in 0..70_000 {
        let info = SourceInfo { target: format!("t{turn}").into(), ..source("a") };
        i.failed(&info, "nobody there");
        i.remove_source("a", &info.target, turn);
    }
    i.apply(&source("b"), batch(cards(0, 1), &[(0, 1.0, Quality::Measured)]), 0);
    let snapshot = publish(&i, 1).snapshot;
    assert!(snapshot.sources.len() <= 2 * MAX_GONE, "{}", snapshot.sources.len());
    assert_eq!(snapshot.asked().map(|s| &*s.plugin).collect::<Vec<_>>(), ["b"]);
    let reading = *snapshot.get("GPU-0").unwrap().reading(power()).unwrap();
    assert_eq!(&*snapshot.sources[reading.source as usize].plugin, "b");
}

#[test]
fn of_one_subject_few_targets_of_a_plugin_speak_and_others_still_can() {
    let i = Inventory::new(0);
    let of = |plugin: &str, target: usize| SourceInfo { target: format!("t{target}").into(), ..source(plugin) };
    let one = || batch(cards(0, 1), &[(0, 1.0, Quality::Modelled)]);
    let problems: Vec<String> = (0..20_000).flat_map(|t| i.apply(&of("flood", t), one(), 0)).collect();
    assert!(problems.len() == 19_992 && problems[0].starts_with("1 readings are not taken: 8 targets speak of their subject"));
    assert!(i.apply(&of("modest", 0), batch(cards(0, 1), &[(0, 2.0, Quality::Measured)]), 1).is_empty());
    let card = publish(&i, 2).snapshot.get("GPU-0").unwrap().clone();
    assert_eq!((card.number(power()), card.others.len()), (Some(2.0), 8));
    // Those that speak no more give way.
    assert!(i.apply(&of("flood", 19_999), one(), 46 * SECOND).is_empty());
}

#[test]
fn readings_and_series_of_a_plugin_are_counted_over_all_of_its_answers() {
    let i = Inventory::new(0);
    let info = SourceInfo { max_values: 1_000, ..source("a") };
    let numbers: Vec<_> = (0..600).map(|n| (n, 1.0, Quality::Measured)).collect();
    let many = |from: usize, coverage| Batch { coverage, ..batch(cards(from, 600), &numbers) };
    assert!(i.apply(&info, many(0, Coverage::Delta), 0).is_empty());
    let problems = i.apply(&info, many(600, Coverage::Delta), 1);
    assert!(problems.len() == 1 && problems[0].starts_with("200 readings are not taken"), "{problems:?}");
    assert_eq!(publish(&i, 2).points.len(), 1_000);
    // What is gone makes room for readings, but for no series.
    i.remove_source("a", "t", 3);
    let problems = i.apply(&info, many(2_000, Coverage::Whole), 46 * SECOND);
    assert_eq!(problems, ["600 readings are not kept in history: this plugin began as many series as it may for now"]);
    let p = publish(&i, 47 * SECOND);
    assert!(p.points.iter().all(|p| p.value.is_none()), "only ends of what was");
    assert_eq!(p.snapshot.get("GPU-2000").unwrap().number(power()), Some(1.0));
}

#[test]
fn a_card_whose_uuid_is_what_another_was_known_by_has_an_id_of_its_own() {
    let i = Inventory::new(0);
    let of = |uuid: &str| BatchSubject {
        identity: [("uuid", uuid), ("node", "worker1"), ("device", "nvidia0")]
            .into_iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
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

fn named(kind: Kind, identity: &[(&str, &str)], labels: &[(&str, &str)], parent: Option<u32>) -> BatchSubject {
    let pairs = |all: &[(&str, &str)]| all.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    BatchSubject { kind, identity: pairs(identity), labels: pairs(labels), parent, observed_at_ms: None }
}

#[test]
fn a_parent_that_a_delta_names_bare_keeps_what_was_said_of_it() {
    let i = Inventory::new(0);
    let pod = |parent| named(Kind::Pod, &[("namespace", "ml"), ("name", "train-1")], &[("reason", "Evicted")], parent);
    let node = |labels: &[(&str, &str)]| named(Kind::Node, &[("node", "worker1")], labels, None);
    i.apply(&source("a"), batch(vec![node(&[("roles", "gpu")]), pod(Some(0))], &[]), 0);
    let delta = |subjects| Batch { coverage: Coverage::Delta, ..batch(subjects, &[]) };
    i.apply(&source("a"), delta(vec![node(&[]), named(Kind::Pod, &[("namespace", "ml"), ("name", "train-2")], &[], Some(0))]), 1);
    let snapshot = publish(&i, 2).snapshot;
    assert_eq!(snapshot.subjects.iter().find(|s| s.kind == Kind::Node).unwrap().label("roles"), Some("gpu"));
    // What has labels and is named with others has those.
    i.apply(&source("a"), delta(vec![node(&[("roles", "master")])]), 3);
    let snapshot = publish(&i, 4).snapshot;
    assert_eq!(snapshot.subjects.iter().find(|s| s.kind == Kind::Node).unwrap().label("roles"), Some("master"));
}

#[test]
fn a_source_that_does_not_say_where_a_pod_runs_does_not_move_it() {
    let i = Inventory::new(0);
    let pod = |parent| named(Kind::Pod, &[("namespace", "ml"), ("name", "train-1")], &[], parent);
    i.apply(&source("a"), batch(vec![named(Kind::Node, &[("node", "worker1")], &[], None), pod(Some(0))], &[]), 0);
    i.apply(&source("b"), batch(vec![pod(None)], &[]), 1);
    let snapshot = publish(&i, 2).snapshot;
    let pod = snapshot.subjects.iter().find(|s| s.kind == Kind::Pod).unwrap();
    assert_eq!((pod.parent.as_deref(), pod.node.as_deref()), (Some("node/cluster1/worker1"), Some("worker1")));
}

#[test]
fn what_deltas_leave_as_it_is_stays_live_and_is_not_copied_for_each() {
    let i = Inventory::new(0);
    i.apply(&source("a"), batch(vec![named(Kind::Node, &[("node", "worker1")], &[("roles", "gpu")], None)], &[]), 0);
    let first = publish(&i, 0).snapshot;
    for at in (1..=20).map(|n| n * 15 * SECOND) {
        i.apply(&source("a"), Batch { coverage: Coverage::Delta, ..Batch::default() }, at);
        let snapshot = publish(&i, at).snapshot;
        assert_eq!(snapshot.subjects[0].life, Life::Live);
        assert!(at - snapshot.subjects[0].last_seen_ms < 60 * SECOND, "{at}");
        assert_eq!(Arc::ptr_eq(&snapshot.subjects[0], &first.subjects[0]), at < 60 * SECOND, "{at}");
    }
}

#[test]
fn what_another_host_hears_no_more_is_stale_here_at_once_and_since_then() {
    let i = Inventory::new(0);
    let presence = Catalogue::known("presence").unwrap();
    let told = |coverage, life: Option<f64>, now: i64| {
        let mut b = batch(vec![card("GPU-1", ""), card("GPU-2", "")], &[(0, 300.0, Quality::Measured), (1, 200.0, Quality::Measured)]);
        b.points.iter_mut().for_each(|p| p.at_ms = Some(now));
        let point = |value| BatchPoint { subject: 0, metric: presence, value, quality: Quality::Measured, at_ms: Some(now - 50 * SECOND) };
        b.points.extend(life.map(point));
        i.apply(&source("kcloud"), Batch { coverage, ..b }, now);
        let snapshot = publish(&i, now).snapshot;
        let card = snapshot.get("GPU-1").unwrap();
        assert!(card.reading(presence).is_none() && snapshot.get("GPU-2").unwrap().life == Life::Live);
        (card.life, card.last_seen_ms, card.number(power()), card.gap(power()))
    };
    let t = 1_764_000_000_000;
    assert_eq!(told(Coverage::Whole, None, t), (Life::Live, t, Some(300.0), None));
    assert_eq!(told(Coverage::Whole, Some(1.0), t + SECOND), (Life::Stale, t - 49 * SECOND, None, Some(Reason::Stale)));
    // A delta that leaves it as it is does not make it live.
    i.apply(&source("kcloud"), Batch { coverage: Coverage::Delta, ..Batch::default() }, t + 2 * SECOND);
    assert_eq!(publish(&i, t + 2 * SECOND).snapshot.get("GPU-1").unwrap().life, Life::Stale);
    assert_eq!(told(Coverage::Delta, Some(2.0), t + 3 * SECOND).0, Life::Offline);
    // Somebody else who sees it is believed.
    let other = batch(vec![card("GPU-1", "")], &[(0, 310.0, Quality::Measured)]);
    i.apply(&source("nvidia-dcgm"), other, t + 4 * SECOND);
    let snapshot = publish(&i, t + 4 * SECOND).snapshot;
    let seen = snapshot.get("GPU-1").unwrap();
    assert_eq!((seen.life, seen.last_seen_ms, seen.number(power())), (Life::Live, t + 4 * SECOND, Some(310.0)));
    assert_eq!(told(Coverage::Delta, None, t + 5 * SECOND).0, Life::Live);
}
