//! Rules over a world that is told by hand, second by second.

use std::sync::Arc;

use super::alert::{End, Matcher, Silence, State};
use super::engine::Told;
use super::store::Found;
use super::*;
use crate::inventory::batch::{Batch, BatchEvent, BatchGap, BatchPoint, BatchSubject, Coverage};
use crate::inventory::{HOLDS_NOW, Kind, Quality, Reason, SourceInfo};

const SECOND: i64 = 1_000;
const START: i64 = 1_764_000_000_000;

/// One card of one node, and a host that watches it.
struct Stage {
    inventory: Inventory,
    catalogue: Catalogue,
    engine: Engine,
    now: i64,
}

#[derive(Default, Clone, Copy)]
struct Says<'a> {
    labels: &'a [(&'a str, &'a str)],
    numbers: &'a [(&'a str, f64)],
    gaps: &'a [(&'a str, Reason)],
    events: &'a [(&'a str, Option<i64>)],
    without_card: bool,
}

fn read(text: &str) -> Result<Vec<Arc<Rule>>, String> {
    let file = Rules::read(Path::new("alerts.d/own.toml"), text).map_err(|e| e.to_string())?;
    let (rules, problems) = rules(false, &Default::default(), &[&file]);
    if problems.is_empty() { Ok(rules) } else { Err(problems.join("\n")) }
}

fn one(text: &str) -> String {
    format!("[[rules]]\nname = \"r\"\nseverity = \"warning\"\nmessage = \"{{name}} {{value}} {{threshold}}\"\n{text}\n")
}

impl Stage {
    fn new(text: &str) -> Self {
        Self::over(Engine::default(), text)
    }

    fn over(engine: Engine, text: &str) -> Self {
        let mut stage = Self { inventory: Inventory::new(0), catalogue: Catalogue::default(), engine, now: START };
        stage.engine.set(read(text).unwrap(), stage.now, &mut Out::default());
        stage
    }

    fn info() -> SourceInfo {
        SourceInfo {
            plugin: "nvidia-dcgm".into(),
            target: "worker1".into(),
            cluster: "cluster1".into(),
            interval_ms: 15 * SECOND,
            priority: 0,
            max_subjects: 100_000,
            max_values: 1_000_000,
        }
    }

    fn say(&mut self, says: Says<'_>) {
        let own = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        let subject = |kind, identity: &[(&str, &str)], labels: &[(&str, &str)], parent| BatchSubject {
            kind,
            identity: own(identity),
            labels: own(labels),
            parent,
            observed_at_ms: Some(self.now),
        };
        let metric = |name: &str| Catalogue::known(name).unwrap();
        let mut batch =
            Batch { coverage: Coverage::Whole, subjects: vec![subject(Kind::Node, &[("node", "worker1")], &[], None)], ..Batch::default() };
        if !says.without_card {
            let labels: Vec<(&str, &str)> =
                [("class", "gpu"), ("vendor", "nvidia")].into_iter().chain(says.labels.iter().copied()).collect();
            batch.subjects.push(subject(
                Kind::Accelerator,
                &[("uuid", "GPU-1"), ("node", "worker1"), ("device", "nvidia0")],
                &labels,
                Some(0),
            ));
            let point = |(name, value): &(&str, f64)| BatchPoint {
                subject: 1,
                metric: metric(name),
                value: *value,
                quality: Quality::Measured,
                at_ms: None,
            };
            batch.points = says.numbers.iter().map(point).collect();
            batch.gaps = says.gaps.iter().map(|(name, reason)| BatchGap { subject: 1, metric: metric(name), reason: *reason }).collect();
            batch.events = says
                .events
                .iter()
                .map(|(code, at_ms)| BatchEvent {
                    subject: 1,
                    at_ms: *at_ms,
                    severity: Severity::Critical,
                    code: (*code).to_owned(),
                    message: "as the driver says".to_owned(),
                    key: format!("{}GPU-1/{code}", if at_ms.is_some() { "" } else { HOLDS_NOW }),
                })
                .collect();
        }
        assert_eq!(self.inventory.apply(&Self::info(), batch, self.now), Vec::<String>::new());
    }

    /// Looks after so many seconds.
    fn look(&mut self, seconds: i64) -> Out {
        self.now += seconds * SECOND;
        if let Some(next) = self.inventory.prepare(self.now, i64::MAX) {
            self.inventory.publish(next.snapshot);
        }
        self.engine.evaluate(&self.inventory.current(), &self.catalogue, self.now)
    }

    /// Says numbers and looks: what changed, by name.
    fn tell(&mut self, seconds: i64, numbers: &[(&str, f64)]) -> Vec<Change> {
        self.now += seconds * SECOND;
        self.say(Says { numbers, ..Says::default() });
        self.look(0).changes.into_iter().map(|(change, _)| change).collect()
    }

    fn alert(&self) -> Option<Alert> {
        let all: Vec<&Alert> = self.engine.book.all().collect();
        assert!(all.len() <= 1, "{all:?}");
        all.first().map(|a| (*a).clone())
    }

    fn state(&self) -> Option<State> {
        self.alert().map(|a| a.state())
    }
}

use Change::{PowerSpike, ThresholdCleared, ThresholdExceeded};

const HOT: &str = "metric = \"temperature_celsius\"\nabove = 80.0\nclear = 75.0\n";

#[test]
fn a_threshold_fires_above_and_clears_only_where_it_says() {
    let mut stage = Stage::new(&one(HOT));
    let mut told = Vec::new();
    for celsius in [70.0, 80.0, 81.0, 90.0, 78.0, 81.0, 76.0, 75.0, 79.0] {
        told.push(stage.tell(15, &[("temperature_celsius", celsius)]));
    }
    let expected: [&[Change]; 9] = [&[], &[], &[ThresholdExceeded], &[], &[], &[], &[], &[ThresholdCleared], &[]];
    assert_eq!(told, expected);
    let (_, ended) = stage.engine.book.ended.back().unwrap();
    assert_eq!((ended.end, &*ended.message), (Some(End::Cleared), "nvidia0 (GPU-1) 81 80"));
    assert_eq!((&*ended.resource_type, &*ended.resource_id, ended.node.as_deref()), ("gpu", "GPU-1", Some("worker1")));
}

#[test]
fn a_condition_must_hold_for_as_long_as_its_rule_says() {
    let mut stage = Stage::new(&one(&format!("{HOT}for = \"1m\"")));
    assert_eq!(stage.tell(0, &[("temperature_celsius", 90.0)]), []);
    assert_eq!(stage.state(), Some(State::Pending));
    // Between threshold and clear it does not hold: it begins anew.
    stage.tell(30, &[("temperature_celsius", 78.0)]);
    assert_eq!(stage.state(), None);
    stage.tell(15, &[("temperature_celsius", 90.0)]);
    assert_eq!(stage.tell(59, &[("temperature_celsius", 91.0)]), []);
    // Time alone makes it fire: no snapshot comes.
    assert_eq!(stage.look(1).changes.len(), 1);
    assert_eq!(stage.state(), Some(State::Firing));
}

#[test]
fn what_is_not_known_neither_fires_nor_clears() {
    let mut stage = Stage::new(&one(HOT));
    stage.say(Says { gaps: &[("temperature_celsius", Reason::Error)], ..Says::default() });
    assert_eq!(stage.look(0).changes.len(), 0);
    assert_eq!(stage.tell(15, &[("temperature_celsius", 90.0)]), [ThresholdExceeded]);
    stage.now += 15 * SECOND;
    stage.say(Says { gaps: &[("temperature_celsius", Reason::Denied)], ..Says::default() });
    assert_eq!(stage.look(0).changes.len(), 0);
    assert_eq!(stage.alert().unwrap().unknown, Some(Reason::Denied));
    // Left out altogether, and silent for so long that it is stale and offline.
    assert_eq!(stage.tell(15, &[("power_watts", 300.0)]), []);
    assert_eq!(stage.alert().unwrap().unknown, Some(Reason::Absent));
    for _ in 0..20 {
        assert_eq!(stage.look(60).changes.len(), 0);
    }
    assert_eq!((stage.state(), stage.alert().unwrap().unknown), (Some(State::Firing), Some(Reason::Absent)));
    assert_eq!(stage.tell(1, &[("temperature_celsius", 70.0)]), [ThresholdCleared]);
}

#[test]
fn a_gap_in_between_is_not_joined() {
    let mut stage = Stage::new(&one(&format!("{HOT}for = \"1m\"")));
    stage.tell(0, &[("temperature_celsius", 90.0)]);
    stage.now += 30 * SECOND;
    stage.say(Says { gaps: &[("temperature_celsius", Reason::Error)], ..Says::default() });
    stage.look(0);
    assert_eq!(stage.state(), None);
    assert_eq!(stage.tell(40, &[("temperature_celsius", 90.0)]), []);
}

#[test]
fn a_card_is_held_against_its_own_limit_and_against_none_where_it_tells_none() {
    let mut stage = Stage::new(&one(
        "metric = \"temperature_celsius\"\nnear = [\"slowdown_temperature_celsius\", \"temperature_limit_celsius\"]\nwithin = 3.0\nclear = 6.0\n",
    ));
    assert_eq!(stage.tell(0, &[("temperature_celsius", 200.0)]), [], "no limit is known");
    assert_eq!(stage.tell(15, &[("temperature_celsius", 84.0), ("temperature_limit_celsius", 90.0)]), []);
    assert_eq!(
        stage.tell(15, &[("temperature_celsius", 84.0), ("temperature_limit_celsius", 90.0), ("slowdown_temperature_celsius", 87.0)]),
        [ThresholdExceeded]
    );
    assert_eq!(stage.alert().unwrap().threshold, Some(84.0));
    assert_eq!(stage.tell(15, &[("temperature_celsius", 82.0), ("slowdown_temperature_celsius", 87.0)]), []);
    assert_eq!(stage.tell(15, &[("temperature_celsius", 81.0), ("slowdown_temperature_celsius", 87.0)]), [ThresholdCleared]);
}

#[test]
fn the_unit_of_the_rule_is_that_of_its_name() {
    let mut stage = Stage::new(&one(
        "metric = \"utilization_percent\"\nbelow = 1.0\nclear = 5.0\nand = [{ metric = \"memory_used_mb\", above = 1024.0 }]",
    ));
    assert_eq!(stage.tell(0, &[("utilization_ratio", 0.005), ("memory_used_bytes", 1e9)]), []);
    assert_eq!(stage.tell(15, &[("utilization_ratio", 0.005)]), [], "whether it holds memory is not known");
    assert_eq!(stage.tell(15, &[("utilization_ratio", 0.005), ("memory_used_bytes", 2e9)]), [ThresholdExceeded]);
    let alert = stage.alert().unwrap();
    assert_eq!((alert.value, alert.threshold, &*alert.unit), (Some(0.5), Some(1.0), "%"));
    assert_eq!(stage.tell(15, &[("utilization_ratio", 0.04), ("memory_used_bytes", 2e9)]), []);
    assert_eq!(stage.tell(15, &[("utilization_ratio", 0.04), ("memory_used_bytes", 1e9)]), [ThresholdCleared]);
}

#[test]
fn bits_states_parts_and_rates_are_conditions() {
    for (rule, before, holds, over) in [
        (
            "metric = \"throttle_reasons\"\nbits = 0xE8",
            ("throttle_reasons", 1.0),
            ("throttle_reasons", 0x40 as f64),
            ("throttle_reasons", 4.0),
        ),
        ("metric = \"health\"\nstate = [\"critical\", \"warning\"]", ("health", 0.0), ("health", 2.0), ("health", 0.0)),
        (
            "metric = \"throttle_thermal_seconds_total\"\nrate = true\nabove = 0.1",
            ("throttle_thermal_seconds_total", 5.0),
            ("throttle_thermal_seconds_total", 8.0),
            ("throttle_thermal_seconds_total", 9.0),
        ),
    ] {
        let mut stage = Stage::new(&one(rule));
        assert_eq!(stage.tell(0, &[before]), [], "{rule}");
        assert_eq!(stage.tell(15, &[holds]), [ThresholdExceeded], "{rule}");
        assert_eq!(stage.tell(15, &[over]), [ThresholdCleared], "{rule}");
    }
    let mut stage = Stage::new(&one("metric = \"memory_used_bytes\"\nof = \"memory_total_bytes\"\nabove = 0.5"));
    assert_eq!(stage.tell(0, &[("memory_used_bytes", 60.0), ("memory_total_bytes", 100.0)]), [ThresholdExceeded]);
    assert_eq!(stage.tell(15, &[("memory_used_bytes", 60.0), ("memory_total_bytes", 0.0)]), [], "a part of nothing is not known");
}

#[test]
fn a_counter_that_grows_fires_and_expires_when_it_rests() {
    let mut stage = Stage::new(&one("metric = \"ecc_uncorrected_total\"\nincreases = 1.0\nkeep = \"1m\""));
    assert_eq!(stage.tell(0, &[("ecc_uncorrected_total", 7.0)]), [], "what was before the start is not news");
    assert_eq!(stage.tell(15, &[("ecc_uncorrected_total", 7.0)]), []);
    assert_eq!(stage.tell(15, &[("ecc_uncorrected_total", 8.0)]), [ThresholdExceeded]);
    assert_eq!(stage.tell(50, &[("ecc_uncorrected_total", 9.0)]), [], "it fires already");
    assert_eq!(stage.tell(50, &[("ecc_uncorrected_total", 9.0)]), []);
    assert_eq!(stage.tell(15, &[("ecc_uncorrected_total", 9.0)]), [ThresholdCleared]);
    assert_eq!(stage.engine.book.ended.back().unwrap().1.end, Some(End::Expired));
    // A card that is silent for a while and comes back with one more, and one whose counter began anew.
    stage.now += 15 * SECOND;
    stage.say(Says { gaps: &[("ecc_uncorrected_total", Reason::Error)], ..Says::default() });
    stage.look(0);
    assert_eq!(stage.tell(15, &[("ecc_uncorrected_total", 10.0)]), [ThresholdExceeded]);
    stage.look(120);
    assert_eq!(stage.tell(15, &[("ecc_uncorrected_total", 0.0)]), []);
    assert_eq!(stage.tell(15, &[("ecc_uncorrected_total", 1.0)]), [ThresholdExceeded]);
}

#[test]
fn an_xid_says_what_it_means_in_both_languages_and_is_told_once() {
    let text = "[[rules]]\nname = \"xid\"\nseverity = \"critical\"\nevent = [\"xid:*\"]\nexcept = [\"xid:13\"]\nkeep = \"1h\"\nmessage = \"{code}: {meaning}; {action}\"\nmessage_ko = \"{code}: {meaning}. {action}\"\n";
    let mut stage = Stage::new(text);
    stage.say(Says { events: &[("xid:13", None), ("sel:0x0c", None)], ..Says::default() });
    assert_eq!(stage.look(0).changes.len(), 0);
    stage.say(Says { events: &[("xid:79", None)], ..Says::default() });
    let out = stage.look(15);
    let alert = &out.changes[0].1;
    assert!(alert.message.starts_with("xid:79: GPU has fallen off the bus; drain the node"), "{}", alert.message);
    assert!(alert.message_ko.as_deref().unwrap().contains("GPU가 버스에서 사라짐"));
    assert_eq!(out.rows.told.len(), 2, "as it is, and as it will stand there after a start");
    // The gauge keeps the last code for ever: the event is the same one.
    stage.say(Says { events: &[("xid:79", None)], ..Says::default() });
    assert_eq!(stage.look(15).changes.len(), 0);
    assert_eq!(stage.look(3_700).changes.len(), 1);
    stage.say(Says { events: &[("xid:79", None)], ..Says::default() });
    assert_eq!(stage.look(15).changes.len(), 0);
    // An unknown code says what the source said.
    stage.say(Says { events: &[("xid:777", None)], ..Says::default() });
    let out = stage.look(15);
    assert!(out.changes[0].1.message.contains("as the driver says"), "{:?}", out.changes);
}

#[test]
fn an_xid_that_comes_again_is_told_again_and_each_code_is_an_alert_of_its_own() {
    let text = "[[rules]]\nname = \"xid\"\nseverity = \"critical\"\nevent = \"xid:*\"\nkeep = \"1h\"\nmessage = \"{code}\"\n";
    let mut stage = Stage::new(text);
    let tell = |stage: &mut Stage, seconds: i64, code: Option<&str>| {
        let events: Vec<(&str, Option<i64>)> = code.into_iter().map(|c| (c, None)).collect();
        stage.now += seconds * SECOND;
        stage.say(Says { events: &events, ..Says::default() });
        stage.look(0).changes.into_iter().map(|(c, a)| (c, a.message.to_string())).collect::<Vec<_>>()
    };
    let fired = |code: &str| (ThresholdExceeded, code.to_owned());
    assert_eq!(tell(&mut stage, 15, None), []);
    assert_eq!(tell(&mut stage, 15, Some("xid:79")), [fired("xid:79")]);
    assert_eq!(tell(&mut stage, 15, Some("xid:79")), []);
    // Another code while the first still counts, and the first one again.
    assert_eq!(tell(&mut stage, 15, Some("xid:48")), [fired("xid:48")]);
    assert_eq!(tell(&mut stage, 15, Some("xid:79")), [], "it fires already");
    assert_eq!(stage.engine.book.all().count(), 2);
    let held: Vec<i64> = stage.engine.book.all().filter(|a| a.code.as_deref() == Some("xid:79")).map(|a| a.held_ms).collect();
    assert_eq!(held, [stage.now], "but it happened just now");
    assert_eq!(tell(&mut stage, 3_700, Some("xid:79")).len(), 2, "both ended by time");
    assert_eq!(tell(&mut stage, 15, None), []);
    assert_eq!(tell(&mut stage, 15, Some("xid:79")), [fired("xid:79")], "a card that was reset and fails again");
    // What stands there after a start was told before.
    let told = stage.engine.rows().told.into_iter().map(|t| (t, 0)).collect();
    let mut again = Stage::over(Engine::with(Found { told, ..Found::default() }, stage.now), text);
    again.now = stage.now;
    assert_eq!(tell(&mut again, 15, Some("xid:79")), []);
}

#[test]
fn a_fault_that_a_reset_ends_outlives_a_restart_and_a_reading_that_is_a_little_less() {
    let text = one("metric = \"ecc_uncorrected_total\"\nincreases = 1.0\nuntil = \"reset\"\nkeep = \"7d\"");
    let mut stage = Stage::new(&text);
    let said = |ecc: f64, joules: f64| [("ecc_uncorrected_total", ecc), ("energy_joules", joules)];
    assert_eq!(stage.tell(0, &said(0.0, 1e6)), []);
    assert_eq!(stage.tell(15, &said(1.0, 2e6)), [ThresholdExceeded]);
    assert_eq!(stage.tell(15, &said(1.0, 1.9e6)), []);
    let active = stage.engine.book.all().cloned().collect();
    let mut again = Stage::over(Engine::with(Found { active, ..Found::default() }, stage.now), &text);
    again.now = stage.now;
    // Nothing is read of it while the node restarts.
    again.now += 60 * SECOND;
    again.say(Says { gaps: &[("energy_joules", Reason::Error)], ..Says::default() });
    assert_eq!(again.look(0).changes.len(), 0);
    assert_eq!(again.tell(15, &said(0.0, 5.0)), [ThresholdCleared]);
    assert_eq!(again.engine.book.ended.back().unwrap().1.end, Some(End::Reset));
    assert_eq!(again.tell(15, &said(1.0, 10.0)), [ThresholdExceeded], "a counter that began anew counts from 0");
}

#[test]
fn one_observation_holds_for_no_time() {
    let mut stage = Stage::new(&one(&format!("{HOT}for = \"30s\"")));
    stage.tell(0, &[("temperature_celsius", 90.0)]);
    assert_eq!(stage.look(44).changes.len(), 0);
    assert_eq!(stage.tell(1, &[("temperature_celsius", 90.0)]), [ThresholdExceeded]);
}

#[test]
fn two_rules_about_one_counter_both_see_what_grew_behind_a_gap() {
    let second = one("metric = \"ecc_uncorrected_total\"\nincreases = 2.0").replace("\"r\"", "\"s\"");
    let mut stage = Stage::new(&format!("{}{second}", one("metric = \"ecc_uncorrected_total\"\nincreases = 1.0")));
    assert_eq!(stage.tell(0, &[("ecc_uncorrected_total", 7.0)]), []);
    stage.now += 15 * SECOND;
    stage.say(Says { gaps: &[("ecc_uncorrected_total", Reason::Error)], ..Says::default() });
    stage.look(0);
    assert_eq!(stage.tell(15, &[("ecc_uncorrected_total", 9.0)]).len(), 2);
}

#[test]
fn a_snapshot_that_comes_late_changes_nothing() {
    let mut stage = Stage::new(&one(HOT));
    stage.tell(0, &[("temperature_celsius", 70.0)]);
    let old = stage.inventory.current();
    assert_eq!(stage.tell(15, &[("temperature_celsius", 90.0)]), [ThresholdExceeded]);
    assert_eq!(stage.engine.evaluate(&old, &stage.catalogue, stage.now + SECOND).changes.len(), 0);
    assert_eq!(stage.state(), Some(State::Firing));
}

#[test]
fn who_is_told_hears_of_what_a_silence_hid_when_it_ends_and_of_the_end_of_what_was_told() {
    let mut stage = Stage::new(&one(HOT));
    let silence = |ends_ms| Silence {
        id: "s".into(),
        matchers: vec![Matcher { name: "alertname".into(), value: "r".into() }],
        by: "mina".into(),
        comment: String::new(),
        starts_ms: START,
        ends_ms,
    };
    stage.engine.book.silences.push(silence(START + 60 * SECOND));
    let out = stage.look(0);
    assert!(out.late.is_empty());
    assert_eq!(stage.tell(1, &[("temperature_celsius", 90.0)]), [ThresholdExceeded], "streams hear it");
    assert!(!stage.alert().unwrap().is_told);
    let out = stage.look(60);
    assert_eq!(out.late.iter().map(|(change, a)| (*change, a.is_told)).collect::<Vec<_>>(), [(ThresholdExceeded, true)]);
    assert_eq!((out.changes.len(), out.rows.put.len()), (0, 1), "and after a restart it is not told again");
    assert!(stage.look(60).late.is_empty());
    stage.engine.book.silences.push(silence(i64::MAX));
    stage.engine.book.weigh_silences();
    stage.now += SECOND;
    stage.say(Says { numbers: &[("temperature_celsius", 70.0)], ..Says::default() });
    let out = stage.look(0);
    assert_eq!((out.changes[0].0, out.changes[0].1.is_told), (ThresholdCleared, true));
}

#[test]
fn an_event_log_that_is_read_anew_wakes_nobody_for_what_was_long_ago() {
    let mut stage = Stage::new(&one("event = \"sel:*\"\nkeep = \"1h\""));
    stage.say(Says { events: &[("sel:0x0c", Some(START - 7_200 * SECOND)), ("sel:0x0d", Some(START - 60 * SECOND))], ..Says::default() });
    let out = stage.look(0);
    assert_eq!(out.changes.len(), 1);
}

#[test]
fn a_card_that_its_source_names_no_more_has_vanished_and_one_whose_source_is_silent_has_not() {
    let text = format!(
        "{}{}",
        one("vanished = true\nfor = \"30s\""),
        "[[rules]]\nname = \"s\"\nseverity = \"warning\"\nmessage = \"{name}\"\nstale_source = true\n"
    );
    let mut stage = Stage::new(&text);
    stage.tell(0, &[("power_watts", 300.0)]);
    let mut told = Vec::new();
    for _ in 0..8 {
        stage.now += 15 * SECOND;
        stage.say(Says { without_card: true, ..Says::default() });
        told.extend(stage.look(0).changes);
    }
    let names: Vec<(&str, Change)> = told.iter().map(|(change, a)| (&*a.rule, *change)).collect();
    assert_eq!(names, [("r", ThresholdExceeded)]);
    assert_eq!(stage.tell(15, &[("power_watts", 300.0)]), [ThresholdCleared]);
    // Now the source itself is silent: the card is not said to be gone.
    let mut told = Vec::new();
    for _ in 0..8 {
        told.extend(stage.look(15).changes);
    }
    let names: Vec<(&str, &str)> = told.iter().map(|(_, a)| (&*a.rule, &*a.resource_id)).collect();
    assert_eq!(names, [("s", "nvidia-dcgm/worker1")]);
    assert_eq!(stage.tell(15, &[("power_watts", 300.0)]), [ThresholdCleared]);
}

#[test]
fn watts_that_jump_are_told_each_time_and_have_no_end_on_a_stream() {
    let mut stage = Stage::new(&one("metric = \"power_watts\"\nspike_percent = 50.0\nleast_watts = 100.0\nkeep = \"1m\""));
    assert_eq!(stage.tell(0, &[("power_watts", 100.0)]), []);
    assert_eq!(stage.tell(15, &[("power_watts", 180.0)]), [], "less than the least");
    assert_eq!(stage.tell(15, &[("power_watts", 300.0)]), [PowerSpike]);
    assert_eq!(stage.tell(15, &[("power_watts", 100.0)]), [PowerSpike], "down counts, too");
    assert_eq!(stage.look(90).changes.len(), 1, "the alert itself ends");
}

#[test]
fn a_sum_that_lacks_a_part_may_be_too_much_but_never_little_enough() {
    use crate::power::tests::{NODE, World, chassis};
    let world = World::new();
    let text = "[[rules]]\nname = \"b\"\nseverity = \"warning\"\npower_by = \"cluster\"\nbudgets = { cluster1 = 1000.0, cluster2 = 1000.0 }\nclear = 0.9\nmessage = \"{name} {value} {threshold}\"\n[[rules]]\nname = \"s\"\nseverity = \"info\"\npower_by = \"cluster\"\nspike_percent = 30.0\nkeep = \"5m\"\nmessage = \"{previous} {value}\"\n";
    let (mut engine, catalogue) = (Engine::default(), Catalogue::default());
    engine.set(read(text).unwrap(), world.now, &mut Out::default());
    let mut world = world;
    let say = |engine: &mut Engine, world: &mut World, watts: Option<f64>, two: bool| {
        world.now += 6 * SECOND;
        let chassis_row = (Kind::Chassis, Some(0), &chassis("dcmi") as &[_], &[("power_watts", watts.unwrap_or(0.0))] as &[_]);
        match watts {
            Some(_) => world.say("ipmi", "cluster1", &[NODE, chassis_row]),
            None => world.say("ipmi", "cluster1", &[NODE]),
        }
        if two {
            world.say("kubernetes", "cluster1", &[(Kind::Node, None, &[("node", "worker2")], &[])]);
        }
        let out = engine.evaluate(&world.snapshot(), &catalogue, world.now);
        out.changes.iter().map(|(c, a)| (a.rule.to_string(), *c, a.message.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(say(&mut engine, &mut world, Some(800.0), false), []);
    assert_eq!(
        say(&mut engine, &mut world, Some(1_100.0), false),
        [("b".into(), ThresholdExceeded, "cluster cluster1 1100 1000".into()), ("s".into(), PowerSpike, "800 1100".into())]
    );
    // What has no budget any more is over none.
    let (mut other, mut out) = (Engine::default(), Out::default());
    other.set(read(text).unwrap(), world.now, &mut out);
    assert_eq!(other.evaluate(&world.snapshot(), &catalogue, world.now).changes.len(), 1);
    other.set(read(&text.replace("cluster1", "cluster3")).unwrap(), world.now, &mut out);
    let ended = other.evaluate(&world.snapshot(), &catalogue, world.now + SECOND);
    assert_eq!(ended.changes.iter().map(|(_, a)| a.end).collect::<Vec<_>>(), [Some(End::RuleRemoved)]);
    // Half of the cluster is not known: the budget does not clear.
    assert_eq!(say(&mut engine, &mut world, Some(500.0), true), [("s".into(), PowerSpike, "1100 500".into())]);
    assert_eq!(engine.book.all().find(|a| &*a.rule == "b").unwrap().unknown, Some(Reason::Absent));
    // One more server in the sum is another sum, and no jump.
    world.say(
        "redfish",
        "cluster1",
        &[(Kind::Node, None, &[("node", "worker2")], &[]), (Kind::Chassis, Some(0), &chassis("redfish"), &[("power_watts", 900.0)])],
    );
    assert_eq!(say(&mut engine, &mut world, Some(500.0), true), []);
}

#[test]
fn a_namespace_that_draws_nothing_any_more_is_over_no_budget() {
    use crate::power::tests::{NODE, World, say_cards};
    let mut world = World::new();
    let text = "[[rules]]\nname = \"n\"\nseverity = \"warning\"\npower_by = \"namespace\"\nabove = 200.0\nmessage = \"{name}\"\n";
    let (mut engine, catalogue) = (Engine::default(), Catalogue::default());
    engine.set(read(text).unwrap(), world.now, &mut Out::default());
    let mut look = |world: &mut World, seconds: i64, watts: &[f64]| {
        world.now += seconds * SECOND;
        match watts {
            // Nobody holds it any more.
            [] => world.say(
                "nvidia-dcgm",
                "cluster1",
                &[NODE, (Kind::Accelerator, Some(0), &[("uuid", "GPU-0"), ("class", "gpu")], &[("power_watts", 300.0)])],
            ),
            watts => say_cards(world, watts),
        }
        let out = engine.evaluate(&world.snapshot(), &catalogue, world.now);
        out.changes.iter().map(|(c, a)| (*c, a.message.to_string(), a.end)).collect::<Vec<_>>()
    };
    assert_eq!(look(&mut world, 6, &[300.0; 8]), [(ThresholdExceeded, "namespace ml".into(), None)]);
    assert_eq!(look(&mut world, 6, &[]), [], "not at once: it may be that nobody was asked yet");
    assert_eq!(look(&mut world, 601, &[]), [(ThresholdCleared, "namespace ml".into(), Some(End::Gone))]);
}

#[test]
fn a_filter_lets_in_by_label_and_follows_when_a_label_changes() {
    let mut stage =
        Stage::new(&one(&format!("{HOT}where = {{ class = \"gpu\", node = [\"master*\", \"worker*\"], \"label:team\" = \"ml\" }}")));
    stage.say(Says { numbers: &[("temperature_celsius", 90.0)], labels: &[("label:team", "web")], ..Says::default() });
    assert_eq!(stage.look(0).changes.len(), 0);
    stage.now += 15 * SECOND;
    stage.say(Says { numbers: &[("temperature_celsius", 90.0)], labels: &[("label:team", "ml")], ..Says::default() });
    assert_eq!(stage.look(0).changes.len(), 1);
    stage.now += 15 * SECOND;
    stage.say(Says { numbers: &[("temperature_celsius", 90.0)], labels: &[("label:team", "web")], ..Says::default() });
    assert_eq!(stage.look(0).changes[0].0, ThresholdCleared);
}

#[test]
fn rules_that_change_while_alerts_fire_keep_them_and_those_that_go_end_them() {
    let mut stage = Stage::new(&one(HOT));
    stage.tell(0, &[("temperature_celsius", 90.0)]);
    let id = stage.alert().unwrap().id;
    let mut out = Out::default();
    stage.engine.set(read(&one("metric = \"temperature_celsius\"\nabove = 85.0")).unwrap(), stage.now, &mut out);
    assert_eq!((out.changes.len(), stage.look(1).changes.len()), (0, 0));
    assert_eq!((stage.alert().unwrap().id, stage.alert().unwrap().threshold), (id, Some(85.0)));
    stage.engine.set(read(&one("metric = \"temperature_celsius\"\nabove = 95.0")).unwrap(), stage.now, &mut out);
    assert_eq!(stage.look(1).changes[0].0, ThresholdCleared);
    stage.tell(15, &[("temperature_celsius", 99.0)]);
    // Of another severity it is another alert.
    let mut out = Out::default();
    stage.engine.set(read(&one(HOT).replace("warning", "critical")).unwrap(), stage.now, &mut out);
    assert_eq!((out.changes[0].1.end, stage.look(1).changes[0].1.severity), (Some(End::RuleRemoved), Severity::Critical));
    let mut out = Out::default();
    stage.engine.set(Vec::new(), stage.now, &mut out);
    assert_eq!(out.changes[0].1.end, Some(End::RuleRemoved));
}

#[test]
fn a_damaged_store_is_put_aside_and_alerts_begin_anew() {
    for damage in [b"this was never a database".repeat(500), vec![0; 1 << 20]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("alerts.redb"), &damage).unwrap();
        let alerts = Alerts::open(dir.path()).unwrap();
        assert!(alerts.rules().is_empty());
        drop(alerts);
        let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let aside: Vec<String> = names.filter(|n| n.starts_with("alerts.redb.damaged-")).collect();
        assert_eq!(aside.len(), 1);
        assert_eq!(std::fs::read(dir.path().join(&aside[0])).unwrap(), damage, "nothing of it is lost");
        Alerts::open(dir.path()).expect("the new one is whole");
    }
}

#[test]
fn a_store_that_is_written_anew_holds_what_is_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let told = |key: &str| Told { rule: "r".into(), subject: "GPU-1".into(), key: key.into() };
    store.write(&Rows { told: vec![told("old")], ..Rows::default() }, START).unwrap();
    let mut stage = Stage::new(&one(HOT));
    stage.tell(0, &[("temperature_celsius", 90.0)]);
    stage.tell(15, &[("temperature_celsius", 70.0)]);
    stage.tell(15, &[("temperature_celsius", 91.0)]);
    store.rewrite(&stage.engine.rows(), stage.now).unwrap();
    drop(store);
    let (_, found) = Store::open(dir.path()).unwrap();
    assert_eq!((found.active.len(), found.ended.len(), found.told.len()), (1, 1, 0));
    assert_eq!(found.active[0].id, stage.alert().unwrap().id);
}

#[test]
fn a_restart_neither_fires_again_nor_forgets_who_knows() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{}{}",
        one(HOT),
        "[[rules]]\nname = \"xid\"\nseverity = \"critical\"\nevent = \"xid:*\"\nkeep = \"1h\"\nmessage = \"{code}\"\n"
    );
    let settings = Settings { rules: read(&text).unwrap(), notifiers: Vec::new() };
    let says = Says { numbers: &[("temperature_celsius", 90.0)], events: &[("xid:79", None)], ..Says::default() };
    let mut stage = Stage::new(&text);
    stage.now = crate::now_ms();
    let snapshot = |stage: &mut Stage, says: Says<'_>| {
        stage.now += SECOND;
        stage.say(says);
        stage.look(0);
        stage.inventory.current()
    };
    let (first, silence) = {
        let alerts = Arc::new(Alerts::open(dir.path()).unwrap());
        let mut heard = alerts.transitions();
        alerts.set(&settings);
        alerts.look_at(&snapshot(&mut stage, says), &stage.catalogue, stage.now);
        assert_eq!((heard.try_recv().unwrap().change, heard.try_recv().unwrap().change), (ThresholdExceeded, ThresholdExceeded));
        let first = alerts.look(|book| book.all().find(|a| &*a.rule == "r").unwrap().clone());
        alerts.acknowledge(&first.id, "mina", "on it").unwrap();
        let matchers = vec![Matcher { name: "alertname".into(), value: "xi*".into() }];
        let silence = Silence {
            id: "s1".into(),
            matchers,
            by: "mina".into(),
            comment: String::new(),
            starts_ms: stage.now,
            ends_ms: stage.now + 3_600 * SECOND,
        };
        alerts.silence(silence.clone()).unwrap();
        (first, silence)
    };
    let alerts = Arc::new(Alerts::open(dir.path()).unwrap());
    let mut heard = alerts.transitions();
    alerts.set(&settings);
    // The sources have not answered yet: what fired before is kept, and not known.
    alerts.look_at(&Inventory::new(0).current(), &stage.catalogue, stage.now);
    let mut again = Stage::new(&text);
    again.now = stage.now + 10 * SECOND;
    alerts.look_at(&snapshot(&mut again, says), &again.catalogue, again.now);
    assert!(heard.try_recv().is_err(), "it is told once");
    alerts.look(|book| {
        assert_eq!(book.all().count(), 2);
        let kept = book.all().find(|a| a.id == first.id).unwrap();
        assert_eq!((&*kept.acknowledged.as_ref().unwrap().by, kept.fired_ms, kept.unknown), ("mina", first.fired_ms, None));
        let xid = book.all().find(|a| &*a.rule == "xid").unwrap();
        assert_eq!(xid.silenced_by, std::slice::from_ref(&silence.id));
    });
    alerts.look_at(
        &snapshot(&mut again, Says { numbers: &[("temperature_celsius", 60.0)], ..Says::default() }),
        &again.catalogue,
        again.now,
    );
    assert_eq!(heard.try_recv().unwrap().change, ThresholdCleared);
    drop(alerts);
    let alerts = Alerts::open(dir.path()).unwrap();
    alerts.look(|book| assert_eq!((book.ended.len(), &*book.ended[0].1.acknowledged.as_ref().unwrap().comment), (1, "on it")));
    assert!(matches!(alerts.acknowledge(&first.id, "mina", ""), Err(ChangeError::NotNow(_))));
    assert!(matches!(alerts.acknowledge("none", "mina", ""), Err(ChangeError::NotFound)));
}

#[test]
fn hostile_names_stay_text() {
    let evil = "a\"b\\c\u{202e}<script>=cmd|' /C calc'!A0\u{7f}";
    let mut stage = Stage::new(&one(&format!("{HOT}labels = {{ team = \"x\" }}")));
    stage.say(Says {
        numbers: &[("temperature_celsius", 90.0)],
        labels: &[("pod", evil), ("model", &"m".repeat(5_000))],
        ..Says::default()
    });
    let out = stage.look(0);
    let alert = &out.changes[0].1;
    let pod = alert.label("pod").unwrap();
    assert!(pod.contains("<script>") && !pod.contains(['\u{202e}', '\u{7f}']) && alert.label("model").unwrap().len() == 256);
    let json = notify::view(alert).to_string();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["labels"]["pod"], pod);
    assert_eq!((alert.label("team"), alert.label("cluster")), (Some("x"), Some("cluster1")));
}

#[test]
fn the_ready_made_rules_read_and_can_be_changed_switched_off_and_given_budgets() {
    let names = |rules: &[Arc<Rule>]| rules.iter().map(|r| r.name.to_string()).collect::<Vec<_>>();
    let (plain, problems) = rules(true, &Default::default(), &[]);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(plain.len(), 12);
    assert!(plain.iter().all(|r| r.message_ko.is_some()), "in both languages");
    assert!(!names(&plain).contains(&"power-over-budget".to_owned()));
    let budgets = [("cluster1".to_owned(), 5e4)].into();
    assert!(names(&rules(true, &budgets, &[]).0).contains(&"power-over-budget".to_owned()));
    let text = "[[rules]]\nname = \"source-stale\"\nenabled = false\n[[rules]]\nname = \"accelerator-temperature\"\nwithin = 1.0\nseverity = \"critical\"\n[[rules]]\nname = \"accelerator-throttled\"\nabove = 0.0\nmetric = \"throttle_reasons\"\n";
    let file = Rules::read(Path::new("own.toml"), text).unwrap();
    let (changed, problems) = rules(true, &Default::default(), &[&file]);
    assert_eq!(problems, Vec::<String>::new());
    assert!(!names(&changed).contains(&"source-stale".to_owned()) && changed.len() == 11);
    let hot = changed.iter().find(|r| &*r.name == "accelerator-temperature").unwrap();
    assert_eq!((hot.severity, &*hot.origin, hot.file.within, hot.file.clear), (Severity::Critical, "own.toml", Some(1.0), Some(6.0)));
    let throttled = changed.iter().find(|r| &*r.name == "accelerator-throttled").unwrap();
    assert_eq!((throttled.file.bits, throttled.file.above), (None, Some(0.0)), "another form of condition replaces the old one");
    assert_eq!(rules(false, &Default::default(), &[]).0.len(), 0);
}

#[test]
fn a_card_that_is_slowed_down_by_heat_has_one_alert_of_it() {
    for (reasons, expected) in [(&[("throttle_reasons", 64.0)] as &[_], "accelerator-throttled"), (&[], "accelerator-throttled-by-heat")] {
        let mut stage = Stage::new("");
        stage.engine.set(rules(true, &Default::default(), &[]).0, stage.now, &mut Out::default());
        let mut fired = Vec::new();
        for i in 0..10 {
            stage.now += 15 * SECOND;
            let numbers: Vec<(&str, f64)> =
                [("throttle_thermal_seconds_total", f64::from(i) * 10.0)].iter().chain(reasons).copied().collect();
            stage.say(Says { numbers: &numbers, ..Says::default() });
            fired.extend(stage.look(0).changes.iter().map(|(_, a)| a.rule.to_string()));
        }
        assert_eq!(fired, [expected]);
    }
}

#[test]
fn a_rule_that_does_not_check_says_where_why_and_what_is_allowed() {
    for (text, expected) in [
        (
            "metric = \"temperatur_celsius\"\nabove = 1.0",
            "own.toml:5:1: rule \"r\": metric: \"temperatur_celsius\" is no metric of the catalogue (spec/DATA_MODELS.md) and does not begin with x_; did you mean \"temperature_celsius\"?",
        ),
        ("metric = \"power_watts\"\nabove = 80.0\nclear = 90.0", "own.toml:7:1: rule \"r\": clear is 90, above is 80"),
        ("metric = \"power_watts\"\nabove = nan", "own.toml:6:1: rule \"r\": above is NaN"),
        ("metric = \"power_watts\"", "one of above, below, near, state, bits, increases, spike_percent"),
        ("metric = \"power_watts\"\nabove = 1.0\nbits = 1", "above and bits"),
        ("metric = \"power_watts\"\nabove = 1.0\nvanished = true", "metric and vanished"),
        ("metric = \"power_watts\"\nincreases = 1.0", "increases is for counters"),
        ("metric = \"power_watts\"\nrate = true\nabove = 1.0", "rate is for counters"),
        ("metric = \"health\"\nabove = 1.0", "state = one of ok, warning, critical, unknown"),
        ("metric = \"health\"\nstate = \"bad\"", "has no state \"bad\""),
        ("metric = \"temperature_celsius\"\nspike_percent = 5.0", "for watts"),
        ("metric = \"throttle_reasons\"\nbits = 0", "at least one bit"),
        ("metric = \"power_watts\"\nabove = 1.0\nkind = \"gpu\"", "allowed: accelerator"),
        ("metric = \"power_watts\"\nabove = 1.0\nseverty = \"info\"", "own.toml:7:1: unknown field `severty`"),
        ("metric = \"power_watts\"\nabove = 1.0\nfor = \"5\"", "own.toml:7:7: \"5\" is no duration"),
        ("metric = \"power_watts\"\nabove = 1.0\nfor = \"99999999d\"", "at most 36500d"),
        ("metric = \"power_watts\"\nabove = 1.0\nkeep = \"1h\"", "keep is for what only happens"),
        ("event = \"xid:*\"\nfor = \"1m\"", "does not last"),
        ("metric = \"power_watts\"\nabove = 1.0\nuntil = \"reset\"", "until is for event and increases"),
        ("event = \"xid:*\"\nuntil = \"friday\"", "expected `reset`"),
        ("event = \"xid:(a|b)*c*\"", "is no code"),
        ("event = []", "at least one code"),
        (
            "metric = \"power_watts\"\nabove = 1.0\nwhere = { node = \"(a+)+$*x*\" }",
            "own.toml:7:1: rule \"r\": where: node = \"(a+)+$*x*\": a * stands at the end alone",
        ),
        ("stale_source = true\nwhere = { vendor = \"nvidia\" }", "this rule knows cluster, plugin, target"),
        ("power_by = \"cluster\"", "one of above, below, budgets, spike_percent"),
        ("power_by = \"rack\"\nabove = 1.0", "`cluster`, `node`, `namespace`"),
        ("power_by = \"cluster\"\nbudgets = { cluster1 = -1.0 }", "above 0"),
        ("vanished = false", "vanished = false says nothing"),
        ("metric = \"power_watts\"\nabove = 1.0\nand = [{ metric = \"power_watts\", known = true }]", "says nothing"),
        ("metric = \"power_watts\"\nabove = 1.0\nand = [{ metric = \"power_watts\", known = false, above = 1.0 }]", "stands alone"),
        ("metric = \"power_watts\"\nabove = 1.0\nlabels = { severity = \"x\" }", "of its own"),
        ("metric = \"power_watts\"\nabove = 1.0\nlabels = { \"a-b\" = \"x\" }", "no label name"),
        ("metric = \"power_watts\"\nabove = 1.0\nmessage_ko = \"{temp}\"", "{temp} is no placeholder"),
        ("metric = \"temperature_celsius\"\nnear = [\"power_limit\"]\nwithin = 1.0", "near: \"power_limit\" is no metric"),
        ("metric = \"temperature_celsius\"\nnear = [\"slowdown_temperature_celsius\"]\nwithin = 6.0\nclear = 3.0", "no nearer than within"),
        (
            "metric = \"power_watts\"\nabove = 1.0\n[[rules]]\nname = \"r\"\nseverity = \"info\"\nmessage = \"x\"\nvanished = true",
            "own.toml:8:1: name = \"r\": a rule of this name stands at alerts.d/own.toml:2:1 already",
        ),
        (
            "metric = \"power_watts\"\nabove = 1.0\n[[rules]]\nname = \"a\\nb\"\nseverity = \"info\"\nmessage = \"x\"\nvanished = true",
            "letters, digits",
        ),
    ] {
        let error = read(&one(text)).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(!error.lines().any(|l| l.chars().any(char::is_control)), "{error:?}");
    }
    let missing = "[[rules]]\nname = \"r\"\nvanished = true\n";
    assert!(read(missing).unwrap_err().contains("severity is missing"));
}

#[test]
fn ten_thousand_alerts_at_once_are_all_told_and_more_than_there_is_room_for_are_counted() {
    let text = one("metric = \"temperature_celsius\"\nabove = 80.0");
    for count in [10_000usize, MOST_ACTIVE + 10] {
        let mut stage = Stage::new(&text);
        stage.now += SECOND;
        let mut batch = Batch { coverage: Coverage::Whole, ..Batch::default() };
        for i in 0..count {
            batch.subjects.push(BatchSubject {
                kind: Kind::Accelerator,
                identity: vec![("uuid".into(), format!("GPU-{i}"))],
                labels: vec![("class".into(), "gpu".into())],
                parent: None,
                observed_at_ms: None,
            });
            let metric = Catalogue::known("temperature_celsius").unwrap();
            batch.points.push(BatchPoint { subject: i as u32, metric, value: 90.0, quality: Quality::Measured, at_ms: None });
        }
        stage.inventory.apply(&Stage::info(), batch, stage.now);
        let out = stage.look(0);
        assert_eq!((out.changes.len(), stage.engine.book.dropped), (count.min(MOST_ACTIVE), count.saturating_sub(MOST_ACTIVE) as u64));
    }
}
