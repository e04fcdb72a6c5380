//! Tables against a tree and endpoints of this file's own: the shipped sample, each rule, and whatever may be wrong.

use std::collections::{BTreeMap, BTreeSet};

use kcloud_collector_sdk::bindings::kcloud::collector::types as t;
use kcloud_collector_sdk::http::Raw;
use kcloud_collector_sdk::testing::target;
use kcloud_collector_sdk::{Batch, CollectError, GapReason, Target};
use serde_json::{Value, json};

use super::*;
use crate::world::FileError;

/// A tree of files and answers by URL.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, Vec<u8>>,
    answers: BTreeMap<String, (u16, String)>,
    lists: usize,
    now_ms: i64,
}

impl Tree {
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Self { files, ..Self::default() }
    }

    fn answers(url: &str, body: &str) -> Self {
        Self { answers: BTreeMap::from([(url.to_owned(), (200, body.to_owned()))]), ..Self::default() }
    }
}

impl World for Tree {
    fn list(&mut self, dir: &str) -> Result<Vec<String>, FileError> {
        self.lists += 1;
        let dir = format!("{}/", dir.trim_end_matches('/'));
        let below =
            self.files.range(dir.clone()..).map_while(|(path, _)| path.strip_prefix(&dir)).filter_map(|rest| rest.split('/').next());
        let names: BTreeSet<String> = below.map(str::to_owned).collect();
        if names.is_empty() { Err(FileError::NotFound) } else { Ok(names.into_iter().collect()) }
    }

    fn read_all(&mut self, paths: &[String]) -> Vec<Result<Vec<u8>, FileError>> {
        let one = |path: &String| match self.files.get(path) {
            Some(bytes) if bytes == b"EIO" => Err(FileError::Io("input/output error".to_owned())),
            Some(bytes) if bytes == b"EPERM" => Err(FileError::Denied(format!("{path:?} matches no granted glob"))),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(FileError::NotFound),
        };
        paths.iter().map(one).collect()
    }

    fn modified_ms(&mut self, _: &str) -> Option<i64> {
        Some(0)
    }

    fn now_ms(&mut self) -> i64 {
        self.now_ms
    }

    fn get(&mut self, url: &str, _: &str) -> Result<Raw, CollectError> {
        let (status, body) = self.answers.get(url).cloned().ok_or_else(|| CollectError::Unreachable(url.to_owned()))?;
        Ok(Raw { status, headers: Vec::new(), body: body.into_bytes() })
    }
}

/// What one read gave.
struct Seen(t::Batch);

impl Seen {
    fn text(&self, of: &t::Subject, key: &str) -> Option<String> {
        of.identity.iter().chain(&of.labels).find(|l| l.key == key).map(|l| l.value.clone())
    }

    fn find(&self, kind: &str, key: &str, value: &str) -> Option<(u32, &t::Subject)> {
        let all = self.0.subjects.iter().enumerate().map(|(i, s)| (i as u32, s));
        all.filter(|(_, s)| s.kind == kind).find(|(_, s)| self.text(s, key).as_deref() == Some(value))
    }

    /// Value, state or reason, as text.
    fn says(&self, kind: &str, key: &str, value: &str, metric: &str) -> String {
        let Some((of, _)) = self.find(kind, key, value) else { return "no such subject".to_owned() };
        let is = |m: u32, s: u32| s == of && self.0.metrics[m as usize].name == metric;
        let mut all: Vec<String> = Vec::new();
        all.extend(self.0.points.iter().filter(|p| is(p.metric, p.subject)).map(|p| p.value.to_string()));
        all.extend(self.0.timed_points.iter().filter(|p| is(p.metric, p.subject)).map(|p| format!("{} at {}", p.value, p.observed_at)));
        all.extend(self.0.gaps.iter().filter(|g| is(g.metric, g.subject)).map(|g| format!("{:?}", g.reason)));
        let states = self.0.states.iter().filter(|s| is(s.metric, s.subject));
        all.extend(states.map(|s| self.0.metrics[s.metric as usize].states[s.state as usize].clone()));
        all.join(" and ")
    }

    fn problems(&self) -> String {
        self.0.problems.iter().map(|p| format!("{:?} {:?}\n", p.line, p.error)).collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.0.subjects.iter().filter(|s| s.kind == kind).count()
    }
}

fn plugin(config: Value) -> Result<Files, String> {
    let config = serde_json::from_value(config).map_err(|e| format!("not in the schema's shape: {e}"))?;
    Files::new(config).map_err(|e| match e {
        CollectError::Config(why) => why,
        other => panic!("{other}"),
    })
}

fn try_read(config: Value, world: &mut Tree, target: &Target) -> Result<Seen, CollectError> {
    let mut batch = Batch::new(Vec::new());
    plugin(config).expect("a good table").read(world, target, &mut batch)?;
    Ok(Seen(batch.finish()))
}

fn read(config: Value, world: &mut Tree, target: &Target) -> Seen {
    try_read(config, world, target).expect("an answer")
}

/// The `[config]` that is shipped.
fn sample() -> Value {
    let text = include_str!("../../../config/plugins.d/files.toml");
    let table: toml::Table = text.parse().expect("TOML");
    serde_json::to_value(&table["config"]).expect("JSON")
}

fn local() -> Target {
    target("local", &[("node", "worker1")])
}

const NPU: &[(&str, &str)] = &[
    ("/sys/class/acme_npu/npu0/serial", "SN:A-0001\n"),
    ("/sys/class/acme_npu/npu0/uevent", "DRIVER=acme\nPCI_SLOT_NAME=0000:17:00.0\n"),
    ("/sys/class/acme_npu/npu0/model", "A100N\n"),
    ("/sys/class/acme_npu/npu0/hwmon/hwmon7/power1_input", "45250000\n"),
    ("/sys/class/acme_npu/npu0/hwmon/hwmon7/temp1_input", "61500\n"),
    ("/sys/class/acme_npu/npu0/hwmon/hwmon7/temp2_input", "-40000\n"),
    ("/sys/class/acme_npu/npu0/load", "87\n"),
    ("/sys/class/acme_npu/npu0/memory", "total: 16777216\nused: 8388608 KiB\n"),
    ("/sys/class/acme_npu/npu0/energy", "-1\n"),
    ("/sys/class/acme_npu/npu0/state", "degraded\n"),
    ("/sys/class/acme_npu/npu0/cores/core0/load", "50\n"),
    ("/sys/class/acme_npu/npu0/cores/core10/load", "EIO"),
    ("/sys/class/acme_npu/npu1/serial", "SN:A-0002\n"),
    ("/sys/class/acme_npu/npu1/load", "fast\n"),
    ("/sys/class/acme_npu/npu1/state", "on fire\n"),
    ("/sys/class/acme_npu/npu_control", "x\n"),
];

#[test]
fn the_sampled_npu_is_read_in_base_units_and_its_sentinels_are_gaps() {
    let seen = read(sample(), &mut Tree::of(NPU), &local());
    let of = |metric: &str| seen.says("accelerator", "device", "npu0", metric);
    for (metric, expected) in [
        ("power_watts", "45.25"),
        ("power_limit_watts", ""),
        ("temperature_celsius", "61.5"),
        ("memory_temperature_celsius", "GapReason::Absent"),
        ("utilization_ratio", "0.87"),
        ("memory_total_bytes", "17179869184"),
        ("memory_used_bytes", "8589934592"),
        ("energy_joules", "GapReason::Unsupported"),
        ("health", "warning"),
    ] {
        assert_eq!(of(metric), expected, "{metric}");
    }
    let (card, of) = seen.find("accelerator", "uuid", "A-0001").expect("its serial number without what stands before it");
    for (key, expected) in [("pci_address", "0000:17:00.0"), ("class", "npu"), ("vendor", "acme"), ("model", "Acme 100"), ("index", "0")] {
        assert_eq!(seen.text(of, key).as_deref(), Some(expected), "{key}");
    }
    assert_eq!(of.parent.map(|p| seen.0.subjects[p as usize].kind.as_str()), Some("node"));
    assert_eq!(seen.text(of, "firmware_version"), None, "what is not there is no label");
    let (_, core) = seen.find("core", "index", "10").expect("a core");
    assert_eq!((core.parent, seen.says("core", "index", "0", "utilization_ratio").as_str()), (Some(card), "0.5"));
    assert_eq!(seen.says("core", "index", "10", "utilization_ratio"), "GapReason::Error");
}

#[test]
fn what_is_wrong_with_one_card_is_said_and_costs_no_other() {
    let seen = read(sample(), &mut Tree::of(NPU), &local());
    assert_eq!(seen.count("accelerator"), 2);
    assert_eq!(seen.says("accelerator", "device", "npu1", "power_watts"), "GapReason::Absent");
    for metric in ["utilization_ratio", "health"] {
        assert_eq!(seen.says("accelerator", "device", "npu1", metric), "GapReason::Error", "{metric}");
    }
    let problems = seen.problems();
    for said in
        ["npu1: utilization_ratio: \\\"fast\\\" is no number", "\\\"on fire\\\" is none of its states", "core10/load: input/output error"]
    {
        assert!(problems.contains(said), "{said} in {problems}");
    }
}

const UPS: &str = r#"{"ups": {"serial": "U-7", "model": "Galaxy", "status": "on battery", "input": {"power_kw": "11.82"},
    "output": {"power_kw": 11.2, "capacity_kw": 30, "voltage": null}, "battery": {"temperature": -273, "charge": 98},
    "outlets": [{"name": "A1", "watts": 3710}, {"name": "A2", "watts": "N/A"}, {"watts": 1}]}}"#;

#[test]
fn the_sampled_ups_is_a_chassis_with_its_parts() {
    let at = "http://10.0.3.5/status.json";
    let seen = read(sample(), &mut Tree::answers(at, UPS), &target(at, &[]));
    let (ups, of) = seen.find("chassis", "entity", "U-7").expect("the UPS");
    assert_eq!((of.parent, seen.text(of, "chassis_type").as_deref()), (None, Some("ups")));
    for (kind, name, metric, expected) in [
        ("chassis", "ups", "power_watts", "11820"),
        ("chassis", "ups", "health", "warning"),
        ("psu", "output", "power_output_watts", "11200"),
        ("psu", "output", "power_capacity_watts", "30000"),
        ("psu", "output", "voltage_volts", "GapReason::Absent"),
        ("sensor", "battery temperature", "temperature_celsius", "GapReason::Absent"),
        ("sensor", "battery charge", "reading_value", "98"),
        ("sensor", "A1", "power_watts", "3710"),
        ("sensor", "A2", "power_watts", "GapReason::Unsupported"),
    ] {
        assert_eq!(seen.says(kind, "name", name, metric), expected, "{name} {metric}");
    }
    assert!(seen.0.subjects.iter().skip(1).all(|s| s.parent == Some(ups)), "all below it");
    assert!(seen.problems().contains("outlet=2: no name of this sensor"), "{}", seen.problems());
}

fn exposition() -> Value {
    json!({ "tables": [{ "name": "acme", "format": "prometheus", "url": "/metrics", "node": { "label": "host", "cut_suffix": ".site" },
        "unavailable": { "NaN": "unsupported" },
        "subjects": [
            { "name": "card", "kind": "accelerator", "identity": { "uuid": { "label": "card" } }, "labels": { "class": "npu", "model": "Acme {series}" },
              "only": [{ "label": "type", "is_not": ["virtual"] }],
              "metrics": {
                "power_watts": { "series": ["acme_power_mw", "acme_old_power_mw"], "unit": "mW" },
                "temperature_celsius": { "series": "acme_temp", "where": { "place": "die" } },
                "memory_used_bytes": { "series": "acme_mem", "unit": "MiB", "missing": "unsupported" },
                "x_acme_frames_total": { "series": "acme_frames", "quality": "derived" } } },
            { "kind": "core", "parent": "card", "identity": { "index": { "label": "core" } }, "metrics": { "utilization_ratio": { "series": "acme_core_load", "unit": "%" } } } ] }] })
}

#[test]
fn an_exposition_is_read_by_its_labels() {
    let text = "acme_old_power_mw{card=\"c1\",host=\"worker1.site\",series=\"X\"} 1000\nacme_power_mw{card=\"c1\",host=\"worker1.site\"} 45250\n\
        acme_temp{card=\"c1\",place=\"die\"} NaN\nacme_temp{card=\"c1\",place=\"board\"} 30\nnot a line at all\n\
        acme_core_load{card=\"c1\",core=\"0\"} 50\nacme_core_load{card=\"c1\",core=\"0\"} 60\nacme_core_load{core=\"1\"} 5\n\
        acme_frames{card=\"c1\"} 12 1764000000000\nacme_power_mw{card=\"v1\",type=\"virtual\"} 5\nacme_other{card=\"c9\"} 1\n";
    let seen = read(exposition(), &mut Tree::answers("http://x:1/metrics", text), &target("http://x:1", &[("node", "fallback")]));
    for (metric, expected) in [
        ("power_watts", "45.25"),
        ("temperature_celsius", "GapReason::Unsupported"),
        ("memory_used_bytes", "GapReason::Unsupported"),
        ("x_acme_frames_total", "12 at 1764000000000000000"),
    ] {
        assert_eq!(seen.says("accelerator", "uuid", "c1", metric), expected, "{metric}");
    }
    assert_eq!(
        (seen.count("accelerator"), seen.count("core"), seen.says("core", "index", "0", "utilization_ratio").as_str()),
        (1, 1, "0.5")
    );
    let (_, card) = seen.find("accelerator", "uuid", "c1").unwrap();
    assert_eq!(seen.text(card, "model").as_deref(), Some("Acme X"));
    assert!(seen.find("node", "node", "worker1").is_some());
    let problems = seen.problems();
    assert!(problems.contains("Some(5)") && problems.contains("acme_core_load stands twice"), "{problems}");
}

#[test]
fn a_dump_that_is_too_old_has_no_readings() {
    let table = json!({ "tables": [{ "name": "dump", "format": "json", "files": "/var/dumps/{host}.json", "max_age_seconds": 60, "rows": "/cards/{card}",
        "subjects": [{ "kind": "accelerator", "identity": { "uuid": "{host}-{card}" }, "metrics": { "power_watts": { "member": "w" }, "energy_joules": { "member": "e" } } }] }] });
    let mut tree = Tree::of(&[("/var/dumps/a.json", r#"{"cards": {"x": {"w": 5}}}"#), ("/var/dumps/b.json", "{")]);
    let seen = read(table.clone(), &mut tree, &local());
    assert_eq!(seen.says("accelerator", "uuid", "a-x", "power_watts"), "5");
    assert!(seen.problems().contains("/var/dumps/b.json: JSON") && seen.0.coverage == t::Coverage::Partial, "{}", seen.problems());
    tree.now_ms = 61_000;
    let seen = read(table, &mut tree, &local());
    assert_eq!(seen.says("accelerator", "uuid", "a-x", "power_watts"), "GapReason::Stale");
    assert_eq!(seen.says("accelerator", "uuid", "a-x", "energy_joules"), "GapReason::Absent");
    assert!(seen.problems().contains("was written 61 s ago"), "{}", seen.problems());
}

#[test]
fn hwmon_chips_are_told_by_their_name() {
    let table = json!({ "tables": [{ "name": "hwmon", "format": "text", "files": "/sys/class/hwmon/{chip}", "subjects": [
        { "kind": "sensor", "each": "temp{n:number}_input", "only": [{ "file": "name", "is": ["nvme"] }],
          "identity": { "entity": "{chip}", "name": { "file": "temp{n}_label" } }, "labels": { "sensor_type": "temperature" },
          "metrics": { "temperature_celsius": { "unit": "mC" }, "threshold_upper_critical": { "file": "temp{n}_crit", "unit": "mC", "missing": "leave_out" } } }] }] });
    let tree = [
        ("/sys/class/hwmon/hwmon0/name", "nvme\n"),
        ("/sys/class/hwmon/hwmon0/temp1_input", "40850\n"),
        ("/sys/class/hwmon/hwmon0/temp1_label", "Composite\n"),
        ("/sys/class/hwmon/hwmon0/temp1_crit", "84850\n"),
        ("/sys/class/hwmon/hwmon1/name", "coretemp\n"),
        ("/sys/class/hwmon/hwmon1/temp1_input", "50000\n"),
    ];
    let seen = read(table, &mut Tree::of(&tree), &local());
    assert_eq!(seen.count("sensor"), 1);
    assert_eq!(seen.says("sensor", "name", "Composite", "temperature_celsius"), "40.85");
    assert_eq!(seen.says("sensor", "name", "Composite", "threshold_upper_critical"), "84.85");
}

#[test]
fn a_table_that_reaches_for_too_much_is_bounded_and_says_so() {
    let files: Vec<(String, String)> = (0..30_000).map(|i| (format!("/d/{i}/v"), "1".to_owned())).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let table = |files: &str, max: usize| {
        json!({ "tables": [{ "name": "many", "format": "text", "files": files, "max_rows": max,
            "subjects": [{ "kind": "x_thing", "identity": { "name": "{a}" }, "metrics": { "x_thing_value_count": { "file": "v" } } }] }] })
    };
    let mut tree = Tree::of(&files);
    let seen = read(table("/d/{a}", 1_000), &mut tree, &local());
    assert_eq!((seen.count("x_thing"), seen.0.coverage == t::Coverage::Partial), (1_000, true));
    assert!(seen.problems().contains("/d/{a} matches more than 1000; the rest is left out"), "{}", seen.problems());
    assert_eq!(seen.says("x_thing", "name", "999", "x_thing_value_count"), "1", "in the order of numbers");
    let mut tree = Tree::of(&files);
    let seen = try_read(table("/d/{a}/v", 20_000), &mut tree, &local());
    assert!(tree.lists <= 5_001, "{}", tree.lists);
    let seen = seen.err().map_or_else(String::new, |e| e.to_string());
    assert!(seen.is_empty() || seen.contains("5000 directories"), "{seen}");
}

#[test]
fn nothing_there_is_an_answer_of_its_own_and_a_missing_right_is_the_operators() {
    let error = try_read(sample(), &mut Tree::default(), &local()).err().unwrap();
    assert!(matches!(&error, CollectError::Unsupported(why) if why.contains("/sys/class/acme_npu/npu{n:number}")), "{error}");
    let mut tree = Tree::answers("http://u/", "");
    tree.answers.insert("http://u/".into(), (403, String::new()));
    assert!(matches!(try_read(sample(), &mut tree, &target("http://u/", &[])).err(), Some(CollectError::Auth(_))));
    tree.answers.insert("http://u/".into(), (200, "<html>".into()));
    assert!(
        matches!(try_read(sample(), &mut tree, &target("http://u/", &[])).err(), Some(CollectError::Protocol(why)) if why.contains("JSON"))
    );
    let seen = read(sample(), &mut Tree::of(&[NPU[0], ("/sys/class/acme_npu/npu0/load", "EPERM")]), &local());
    assert_eq!(seen.says("accelerator", "uuid", "A-0001", "utilization_ratio"), "GapReason::Denied");
    let wrong = Target { config: r#"{"tables": ["upss"]}"#.into(), ..local() };
    assert!(
        matches!(try_read(sample(), &mut Tree::default(), &wrong).err(), Some(CollectError::Config(why)) if why.contains("there are acme-npu, ups"))
    );
}

#[test]
fn every_fault_of_a_table_says_where_and_what_would_be_right() {
    let cases: &[(&str, Value, &str, &str)] = &[
        ("/tables/0/subjects/0/metrics/powr_watts", json!({ "file": "x" }), "did you mean \"power_watts\"", ""),
        ("/tables/0/subjects/0/metrics/load_ratio", json!({ "file": "x" }), "x_VENDOR_NAME_UNIT", ""),
        ("/tables/0/subjects/0/metrics/power_watts/unit", json!("MHz"), "known are W mW uW kW", ""),
        ("/tables/0/subjects/0/metrics/power_watts/factor", json!(2), "a unit or a factor", ""),
        ("/tables/0/subjects/0/metrics/power_watts/kind", json!("gauge"), "the catalogue says it", ""),
        ("/tables/0/subjects/0/metrics/power_watts/series", json!("x"), "of a prometheus table", ""),
        ("/tables/0/subjects/0/metrics/power_watts/label", json!("x"), "a place is made of file, key, word", ""),
        ("/tables/0/subjects/0/metrics/power_watts/unavailable", json!({ "5": "abssent" }), "did you mean \"absent\"", "/5"),
        ("/tables/0/subjects/0/metrics/power_watts/file", json!("../x"), "no `.`, `..`", ""),
        ("/tables/0/subjects/0/metrics/power_watts/file", json!("a{m}"), "did you mean \"n\"", ""),
        ("/tables/0/subjects/0/metrics/power_watts/states", json!({ "a": "ok" }), "it has a unit, no states", ""),
        ("/tables/0/subjects/0/metrics/health/states/running", json!("okay"), "did you mean \"ok\"", ""),
        ("/tables/0/subjects/0/kind", json!("acelerator"), "did you mean \"accelerator\"", ""),
        ("/tables/0/subjects/0/identity/serial", json!("x"), "uuid, pci_address, device, node", ""),
        ("/tables/0/subjects/0/labels/a b", json!("x"), "the name of a label", ""),
        ("/tables/0/subjects/0/labels/uuid", json!("x"), "in the identity, too", ""),
        ("/tables/0/subjects/1/parent", json!("crad"), "did you mean \"card\"", ""),
        ("/tables/0/subjects/1/each", json!("a/{n}"), "further up already", ""),
        ("/tables/0/subjects/0/only", json!([{ "file": "x" }]), "either is", "/0"),
        ("/tables/0/files", json!("sys/x"), "begins with /", ""),
        ("/tables/0/files", json!("/sys/**/x"), "no empty element", ""),
        ("/tables/0/rows", json!("/a"), "rows are of JSON", ""),
        ("/tables/0/url", json!("/a"), "files or url", ""),
        ("/tables/1/name", json!("acme-npu"), "two tables are called", ""),
        ("/tables/1/max_age_seconds", json!(5), "an age is of a file", ""),
        ("/tables/1/url", json!("x"), "begins with / or ?", ""),
        ("/tables/1/format", json!("text"), "text is of files", ""),
        ("/tables/1/subjects/0/labels/model", json!({ "text": "a", "member": "b" }), "not both", ""),
        ("/tables/1/subjects/0/labels/model", json!({ "cut_prefix": "b" }), "\"member\" is missing", ""),
    ];
    for (pointer, value, expected, more) in cases {
        let mut config = sample();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match config.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}")) {
            Value::Array(all) => all[key.parse::<usize>().unwrap()] = value.clone(),
            other => drop(other.as_object_mut().unwrap().insert((*key).to_owned(), value.clone())),
        }
        let error = plugin(config).err().unwrap_or_else(|| panic!("{pointer} = {value} is taken"));
        let place = format!("(at \"{pointer}{more}\")");
        assert!(error.contains(expected) && error.contains(&place), "{pointer} = {value}: {error}");
    }
    assert!(plugin(sample()).is_ok());
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides.max(1)
    }
}

#[test]
fn no_table_and_no_content_makes_it_panic() {
    let mut dice = Dice(7);
    let odd =
        ["", "/", "{", "}", "{n}", "{n:number}", "*", "한{n}국", "-1", "0x", "1e999", "\u{0}", "a/b/../c", "=", ":", "9223372036854775807"];
    let (texts, config) = (UPS.to_owned(), sample());
    let mut taken = 0;
    for round in 0..3_000 {
        // Any string of the tables becomes another.
        let mut config = if round % 3 == 0 { exposition() } else { config.clone() };
        let mut strings: Vec<String> = Vec::new();
        fn walk(value: &Value, at: String, out: &mut Vec<String>) {
            match value {
                Value::String(_) => out.push(at),
                Value::Array(all) => all.iter().enumerate().for_each(|(i, v)| walk(v, format!("{at}/{i}"), out)),
                Value::Object(all) => {
                    all.iter().for_each(|(k, v)| walk(v, format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), out))
                }
                _ => {}
            }
        }
        walk(&config, String::new(), &mut strings);
        for _ in 0..1 + dice.roll(3) {
            let at = &strings[dice.roll(strings.len())];
            *config.pointer_mut(at).unwrap() = json!(odd[dice.roll(odd.len())]);
        }
        let Ok(files) = plugin(config) else { continue };
        taken += 1;
        // Any content is cut anywhere, or is something else.
        let mut tree = Tree::of(NPU);
        for bytes in tree.files.values_mut() {
            match dice.roll(4) {
                0 => bytes.truncate(dice.roll(bytes.len() + 1)),
                1 => *bytes = odd[dice.roll(odd.len())].as_bytes().to_vec(),
                2 => bytes.extend([0xff, 0x00, b'9']),
                _ => {}
            }
        }
        let cut = texts.get(..dice.roll(texts.len())).unwrap_or("{}").to_owned();
        let body = ["acme_power_mw{card=\"c\"} 1e999\n", UPS, "[]", "null", &cut][dice.roll(5)].to_owned();
        tree.answers.extend(["http://u", "http://u/metrics"].map(|url| (url.to_owned(), (200, body.clone()))));
        for at in ["local", "http://u"] {
            let mut batch = Batch::new(Vec::new());
            let _ = files.read(&mut tree, &target(at, &[("node", "worker1")]), &mut batch);
            let out = batch.finish();
            assert!(out.points.iter().all(|p| p.value.is_finite()) && out.subjects.iter().all(|s| !s.identity.is_empty()));
        }
    }
    assert!(taken > 500, "{taken}");
}

#[test]
fn every_key_of_the_schema_is_read_and_described() {
    let schema: Value = serde_json::from_str(Files::describe().config_schema).expect("JSON");
    let rule = &schema["$defs"]["rule"]["properties"];
    assert!(rule.as_object().unwrap().values().all(|p| p["description"].is_string()));
    let table = &schema["properties"]["tables"]["items"]["properties"];
    let subject = &table["subjects"]["items"]["properties"];
    let metric = &subject["metrics"]["additionalProperties"]["properties"];
    for (of, count) in [(table, 10), (subject, 8), (metric, 15)] {
        let all = of.as_object().unwrap();
        assert_eq!(all.len(), count);
        assert!(all.values().all(|p| p["description"].is_string()));
    }
}

#[test]
fn gap_reasons_have_the_words_of_the_schema() {
    let schema: Value = serde_json::from_str(Files::describe().config_schema).expect("JSON");
    let words = schema["$defs"]["reasons"]["additionalProperties"]["enum"].as_array().unwrap();
    let all = [GapReason::Unsupported, GapReason::Stale, GapReason::Denied, GapReason::Error, GapReason::Absent];
    for (word, reason) in words.iter().zip(all) {
        let config = json!({ "tables": [{ "name": "a", "format": "text", "files": "/a", "unavailable": { "0": word },
            "subjects": [{ "kind": "x_a", "identity": { "name": "a" }, "metrics": { "x_a_b_count": {} } }] }] });
        let seen = read(config, &mut Tree::of(&[("/a", "0")]), &local());
        assert_eq!(seen.0.gaps[0].reason, reason);
    }
}
