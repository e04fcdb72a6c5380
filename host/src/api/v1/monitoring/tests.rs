use serde_json::{Value, json};

use super::super::super::Rendered;
use super::super::super::params::Params;
use super::*;
use crate::catalogue::Catalogue;
use crate::history::{Embedded, History, Keep};
use crate::inventory::Kind;
use crate::power::tests::{NODE, Row, World, chassis, say_cards};
use crate::power::{Facility, Recorder};

/// Two clusters: worker1 of cluster1 at 3,500 W with eight cards of 300 W, one of which a pod holds; worker1 of cluster2 at 700 W.
fn fleet() -> World {
    let world = World::new();
    tell(&world, 300.0, 3_500.0);
    world
}

fn tell(world: &World, card: f64, server: f64) {
    say_cards(world, &[card; 8]);
    for (cluster, watts) in [("cluster1", server), ("cluster2", 700.0)] {
        world.say("ipmi", cluster, &[NODE, (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", watts)])]);
    }
    let zones: Row<'_> = (Kind::Node, None, &[("node", "worker1")], &[("cpu_power_watts", 400.0), ("memory_power_watts", 100.0)]);
    let pod: Row<'_> = (
        Kind::Pod,
        Some(0),
        &[("namespace", "ml"), ("name", "train-0"), ("owner_kind", "Job"), ("owner_name", "train")],
        &[("cpu_power_watts", 50.0)],
    );
    world.say("kepler", "cluster1", &[zones, pod]);
}

fn hall(clusters: &[&str]) -> Facility {
    Facility { name: "hall1".into(), clusters: clusters.iter().map(|c| (*c).to_owned()).collect(), ..Facility::default() }
}

#[test]
fn every_view_adds_up_to_the_total_and_its_percentages_to_100() {
    let world = fleet();
    let snapshot = world.snapshot();
    for by in By::NAMES {
        for cluster in [None, Some("cluster1")] {
            let answer = now::breakdown(&snapshot, cluster, By::parse(by).unwrap());
            let rows = answer.data["breakdowns"].as_array().unwrap();
            let sum = |field: &str| rows.iter().filter_map(|r| r[field].as_f64()).sum::<f64>();
            let total = if cluster.is_some() { 3_500.0 } else { 4_200.0 };
            assert_eq!(answer.data["total_power_watts"], total, "{by}");
            assert!((sum("power_watts") - total).abs() < 1e-3 && (sum("percentage") - 100.0).abs() < 1e-9, "{by}: {rows:?}");
            assert_eq!(rows.last().unwrap()["category"], "unattributed", "{by}");
        }
    }
    let of = |by, category: &str| {
        let answer = now::breakdown(&snapshot, None, by);
        let rows = answer.data["breakdowns"].as_array().unwrap().clone();
        rows.into_iter().find(|r| r["category"] == category).map(|r| r["power_watts"].clone())
    };
    assert_eq!(of(By::Namespace, "ml"), Some(json!(350.0)));
    assert_eq!(of(By::Workload, "ml/Job/train"), Some(json!(350.0)));
    assert_eq!(of(By::Vendor, "nvidia"), Some(json!(2_400.0)));
    assert_eq!((of(By::ResourceType, "gpus"), of(By::ResourceType, "cpu")), (Some(json!(2_400.0)), Some(json!(400.0))));
    assert_eq!(of(By::ResourceType, "unattributed"), Some(json!(1_300.0)));
    // One name in two clusters is two rows.
    let nodes = now::breakdown(&snapshot, None, By::Node);
    assert_eq!(nodes.data["breakdowns"].as_array().unwrap().iter().filter(|r| r["category"] == "worker1").count(), 2);
}

#[test]
fn thirds_add_up_to_100_percent() {
    let thirds = crate::power::percentages(&[1.0, 1.0, 1.0], 3.0).unwrap();
    assert_eq!(thirds.iter().sum::<f64>(), 100.0);
    assert_eq!(crate::power::percentages(&[120.0, -20.0], 100.0), Some(vec![120.0, -20.0]));
    assert_eq!(crate::power::percentages(&[0.0], 0.0), None);
}

#[test]
fn the_total_says_how_many_servers_are_in_it_and_how_each_is_known() {
    let world = fleet();
    world.say("kubernetes", "cluster2", &[(Kind::Node, None, &[("node", "worker2")], &[])]);
    let answer = now::power(&world.snapshot(), None, &[], &now::parts(None).unwrap());
    let (data, warnings) = (answer.data, answer.warnings);
    assert_eq!(data["total_power_watts"], 4_200.0);
    assert_eq!(data["coverage"]["by_way"]["dcmi"], 2);
    assert_eq!((&data["coverage"]["servers"], &data["coverage"]["servers_unknown"]), (&json!(3), &json!(1)));
    assert!(warnings[0].contains("worker2") && warnings[0].contains("not in the total"), "{warnings:?}");
    assert_eq!(data["breakdown"]["accelerators"]["gpus"], 2_400.0);
    assert_eq!(data["breakdown"]["accelerators"]["npus"], Value::Null, "what is not there is not 0");
    assert_eq!(data["breakdown"]["hardware"]["ipmi_measured"], 4_200.0);
    let first = &data["tree"]["children"][0];
    assert_eq!((&first["name"], &first["power_watts"], &first["remainder_watts"]), (&json!("cluster1"), &json!(3_500.0), &json!(600.0)));
    let only = now::power(&world.snapshot(), None, &[], &now::parts(Some("gpus")).unwrap()).data;
    assert_eq!((&only["breakdown"]["hardware"], &only["total_power_watts"]), (&json!({}), &json!(4_200.0)));
    assert!(now::parts(Some("gpus,cats")).is_err());
}

#[test]
fn a_fleet_of_which_nothing_is_known_is_null_everywhere_and_never_0() {
    let world = World::new();
    world.say("kubernetes", "cluster1", &[NODE]);
    let snapshot = world.snapshot();
    assert_eq!(now::power(&snapshot, None, &[], &now::parts(None).unwrap()).data["total_power_watts"], Value::Null);
    assert_eq!(now::accelerators(&snapshot, None).data["breakdown"]["gpus"]["power_watts"], Value::Null);
    assert_eq!(now::infrastructure(&snapshot, None, None, (10, 0)).data["breakdown"]["nodes"]["power_watts"], Value::Null);
    let rows = now::breakdown(&snapshot, None, By::Node).data;
    assert_eq!(
        rows["breakdowns"][0],
        json!({ "category": "worker1", "cluster": "cluster1", "kind": "node", "power_watts": null, "percentage": null, "count": 1 })
    );
    let efficiency = now::efficiency(&snapshot, None, &[]).data;
    assert_eq!((&efficiency["pue"], &efficiency["it_power_watts"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_server_shows_every_way_its_parts_and_its_cards() {
    let world = fleet();
    let snapshot = world.snapshot();
    let data = now::infrastructure(&snapshot, Some("cluster1"), Some("worker1"), (10, 0)).data;
    let server = &data["servers"][0];
    assert_eq!((&server["measured_by"], &server["source"], &server["remainder_watts"]), (&json!("dcmi"), &json!("ipmi"), &json!(600.0)));
    assert_eq!(server["ways"].as_array().unwrap().len(), 2, "its parts are a way, too");
    assert_eq!(server["children"][2]["children"].as_array().unwrap().len(), 8);
    assert_eq!(data["breakdown"]["pods"]["power_watts"], 350.0);
}

#[test]
fn a_pue_comes_from_a_facility_meter_alone_and_says_why_there_is_none() {
    let world = fleet();
    let meter = |watts: f64| world.say("pdu", "cluster1", &[(Kind::Facility, None, &[("name", "hall1")], &[("power_watts", watts)])]);
    let of = |cluster: Option<&str>, facilities: &[Facility]| {
        let data = now::efficiency(&world.snapshot(), cluster, facilities).data;
        (data["pue"].clone(), data["pue_reason"].as_str().unwrap_or("").to_owned(), data["pue_method"].clone())
    };
    assert!(of(None, &[]).1.contains("no facility meter is configured"));
    let both = [hall(&["cluster1", "cluster2"])];
    assert!(of(None, &both).1.contains("facility/hall1"), "its meter is not read yet");
    meter(5_040.0);
    assert_eq!(of(None, &both), (json!(1.2), String::new(), json!("measured")));
    assert!(of(Some("cluster1"), &both).1.contains("feeds cluster2, too"));
    assert!(of(None, &[hall(&["cluster1"])]).1.contains("no configured facility feeds cluster cluster2"));
    let constant = [Facility { power_watts: Some(4_375.0), ..hall(&["cluster1"]) }];
    assert_eq!(of(Some("cluster1"), &constant), (json!(1.25), String::new(), json!("configured")));
    meter(100.0);
    assert!(of(None, &both).1.contains("less than"));
    meter(5_040.0);
    world.say("kubernetes", "cluster2", &[(Kind::Node, None, &[("node", "worker2")], &[])]);
    assert!(of(None, &both).1.contains("1 of 3 servers are not measured"), "half of the servers would make it twice as good");
}

#[test]
fn idle_cards_are_counted_with_their_watts() {
    let world = World::new();
    let card = |uuid: &'static str| [("uuid", uuid), ("class", "gpu")];
    let (a, b) = (card("GPU-1"), card("GPU-2"));
    let rows: [Row<'_>; 3] = [
        NODE,
        (Kind::Accelerator, Some(0), &a, &[("power_watts", 300.0), ("utilization_ratio", 0.5)]),
        (Kind::Accelerator, Some(0), &b, &[("power_watts", 100.0), ("utilization_ratio", 0.0)]),
    ];
    world.say("dcgm", "cluster1", &rows);
    let data = now::efficiency(&world.snapshot(), None, &[]).data;
    let m = &data["efficiency_metrics"];
    assert_eq!((&m["idle_accelerators"], &m["idle_accelerator_power_watts"]), (&json!(1), &json!(100.0)));
    assert_eq!((&m["power_watts_per_utilised_accelerator"], &m["gpu_efficiency_percent"]), (&json!(400.0), &json!(37.5)));
}

/// Half an hour of the fleet, one reading every 15 s; cluster1's server steps from 3,500 W to 4,000 W in the middle and nobody
/// reads anything for five minutes after minute 20.
fn past() -> (World, Embedded, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let history = Embedded::open(dir.path(), Keep::default()).unwrap();
    let (mut world, mut recorder) = (World::new(), Recorder::default());
    world.now = 1_700_000_100_000;
    let catalogue = Catalogue::default();
    for i in 0..120 {
        if !(80..100).contains(&i) {
            tell(&world, 300.0, if i < 60 { 3_500.0 } else { 4_000.0 });
        }
        if let Some(next) = world.inventory.prepare(world.now, i64::MAX) {
            let of = |p: crate::inventory::NewPoint| crate::history::Point {
                subject: p.subject,
                metric: catalogue.name(p.metric),
                at_ms: p.at_ms,
                value: p.value,
            };
            let mut points = next.points.into_iter().map(of).collect();
            recorder.note(&next.snapshot, &mut points);
            history.commit(next.snapshot.sequence, next.snapshot.at_ms, &points).unwrap();
            world.inventory.publish(next.snapshot);
        }
        world.now += 15_000;
    }
    (world, history, dir)
}

fn params(query: &str) -> Params {
    let all = [
        "cluster",
        "period",
        "step",
        "start_time",
        "end_time",
        "start",
        "end",
        "breakdown_by",
        "include_efficiency",
        "limit",
        "offset",
        "resource_type",
        "metric_name",
        "node",
    ];
    Params::parse(Some(query), &all).unwrap()
}

fn data(rendered: Result<Rendered, Problem>) -> Value {
    serde_json::from_slice(&rendered.unwrap().data).unwrap()
}

#[test]
fn the_total_over_time_is_what_was_shown_and_a_step_nobody_observed_is_null() {
    let (world, history, _dir) = past();
    let snapshot = world.inventory.current();
    let of = |query: &str, facilities: &[Facility]| {
        data(series::power(&history, &snapshot, &params(query), vec!["cluster1".into(), "cluster2".into()], facilities))
    };
    let window = "start_time=2023-11-14T22:15:00Z&end_time=2023-11-14T22:44:59Z&step=1m";
    let all = of(window, &[]);
    let steps = all["total_power_timeseries"].as_array().unwrap();
    assert_eq!(steps.len(), 30);
    assert_eq!(steps[0], json!({ "timestamp": "2023-11-14T22:15:00.000Z", "value": 4_200.0 }));
    assert_eq!((&steps[16]["value"], &steps[23]["value"]), (&json!(4_700.0), &Value::Null));
    let known: Vec<_> = steps.iter().map(|s| s["value"].is_number()).collect();
    assert_eq!(known.iter().filter(|k| !**k).count(), 5, "{known:?}");
    assert_eq!(all["coverage_timeseries"][0], json!({ "timestamp": "2023-11-14T22:15:00.000Z", "servers_known": 2.0, "servers": 2.0 }));
    // 15 minutes of 4,200 W and 10 of 4,700 W, up to a second before the end; the gap is left out and counted.
    let joules = 15.0 * 60.0 * 4_200.0 + (10.0 * 60.0 - 0.999) * 4_700.0;
    assert_eq!(all["energy"]["gaps"], 1);
    assert!((all["energy"]["joules"].as_f64().unwrap() - joules).abs() < 1e-3, "{}", all["energy"]);
    assert_eq!(all["energy"]["covered_seconds"], 25.0 * 60.0 - 0.999);
}

#[test]
fn statistics_of_a_node_are_those_of_what_was_shown() {
    let (_world, history, _dir) = past();
    let start = 1_700_000_100_000;
    let of = |end: i64| crate::power::statistics(&history, "node/cluster1/worker1", crate::power::SERVER_WATTS, (start, end)).unwrap();
    let short = of(start + 30 * 60_000);
    assert_eq!((short.least, short.most, short.energy.gaps), (Some(3_500.0), Some(4_000.0), 1));
    let known = short.energy.covered_ms as f64 / 1e3;
    assert!((short.average.unwrap() * known - short.energy.joules.unwrap()).abs() < 1e-3);
    // 3,500 W for 15 minutes, half a reading between, 4,000 W for five and for five once more, each up to the last reading.
    assert_eq!(short.energy.covered_ms, (79 + 19) * 15_000);
    let long = of(start + 24 * 3_600_000);
    assert_eq!((long.least, long.most, long.energy.covered_ms), (Some(3_500.0), Some(4_000.0), 25 * 60_000));
    let none = crate::power::statistics(&history, "node/cluster1/worker9", crate::power::SERVER_WATTS, (start, start + 1)).unwrap();
    assert_eq!(none.average, None);
}

#[test]
fn two_windows_are_two_answers_and_two_keys() {
    let (world, history, _dir) = past();
    let snapshot = world.inventory.current();
    let queries =
        ["start=2023-11-14T22:15:00Z&end=2023-11-14T22:20:00Z&step=1m", "start=2023-11-14T22:31:00Z&end=2023-11-14T22:34:00Z&step=1m"];
    let [a, b] = queries.map(|q| data(series::power(&history, &snapshot, &params(q), vec!["cluster1".into()], &[])));
    assert_ne!(a["total_power_timeseries"], b["total_power_timeseries"]);
    assert_eq!((&a["start_time"], &b["start_time"]), (&json!("2023-11-14T22:15:00.000Z"), &json!("2023-11-14T22:31:00.000Z")));
    assert_ne!(params(queries[0]).normalised(), params(queries[1]).normalised());
}

#[test]
fn a_moment_that_ends_in_z_is_a_moment_and_one_in_seoul_is_the_same() {
    let (world, history, _dir) = past();
    let snapshot = world.inventory.current();
    let queries = [
        "start=2023-11-14T22:15:00Z&end=2023-11-14T22:20:00Z&step=1m",
        "start=2023-11-15T07:15:00%2B09:00&end=2023-11-15T07:20:00%2B09:00&step=1m",
    ];
    let [a, b] = queries.map(|q| data(series::power(&history, &snapshot, &params(q), vec!["cluster1".into()], &[])));
    assert_eq!(a["total_power_timeseries"], b["total_power_timeseries"]);
    // In UTC and on whole steps, wherever the server stands.
    assert_eq!(a["total_power_timeseries"][1]["timestamp"], "2023-11-14T22:16:00.000Z");
}

#[test]
fn parts_over_time_add_up_to_the_total_in_every_step() {
    let (world, history, _dir) = past();
    let snapshot = world.inventory.current();
    for by in ["cluster", "node", "namespace", "vendor", "resource_type"] {
        let query = format!("start=2023-11-14T22:16:00Z&end=2023-11-14T22:29:00Z&step=1m&breakdown_by={by}");
        let all = data(series::power(&history, &snapshot, &params(&query), vec![], &[]));
        let parts = all["breakdown_timeseries"].as_object().unwrap();
        assert!(parts.len() > 1 && parts.contains_key("unattributed"), "{by}: {parts:?}");
        for (i, step) in all["total_power_timeseries"].as_array().unwrap().iter().enumerate() {
            let sum: f64 = parts.values().filter_map(|p| p[i]["value"].as_f64()).sum();
            assert!((sum - step["value"].as_f64().unwrap()).abs() < 0.01, "{by} {i}: {sum} {step}");
        }
    }
}

#[test]
fn a_series_of_pue_needs_a_meter_too() {
    let (world, history, _dir) = past();
    let snapshot = world.inventory.current();
    let query = "start=2023-11-14T22:16:00Z&end=2023-11-14T22:17:00Z&step=1m&include_efficiency=true&cluster=cluster1";
    let of = |facilities: &[Facility]| series::power(&history, &snapshot, &params(query), vec![], facilities).unwrap();
    let none = of(&[]);
    assert!(none.warnings[0].contains("no facility meter is configured"), "{:?}", none.warnings);
    assert_eq!(data(Ok(none))["efficiency_timeseries"], Value::Null);
    let constant = Facility { power_watts: Some(4_375.0), ..hall(&["cluster1"]) };
    assert_eq!(data(Ok(of(&[constant])))["efficiency_timeseries"][0]["value"], 1.25);
}

#[test]
fn metrics_over_time_name_their_unit_and_state_their_window() {
    let (world, history, _dir) = past();
    let snapshot = world.inventory.current();
    let of = |query: &str, metric: &str| series::metrics(&history, &snapshot, &params(query), metric);
    let window = "start=2023-11-14T22:15:00Z&end=2023-11-14T22:25:00Z&step=5m";
    let cards = of(&format!("{window}&limit=3"), "power").unwrap();
    assert_eq!((cards.total, cards.window.as_ref().unwrap()["step_seconds"].clone()), (8, json!(300.0)));
    assert!(cards.link.is_some());
    let rows = data(Ok(cards));
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(rows[0]["datapoints"][0], json!({ "timestamp": 1_700_000_100.0, "value": 300.0 }));
    // A node's watts are the account's.
    let nodes = data(of(&format!("{window}&resource_type=nodes&cluster=cluster1"), "power"));
    assert_eq!((&nodes[0]["resource_id"], &nodes[0]["datapoints"][0]["value"]), (&json!("node/cluster1/worker1"), &json!(3_500.0)));
    let none = data(of(&format!("{window}&resource_type=npus"), "utilization"));
    assert_eq!(none, json!([]));
    let much = of("start=2022-11-14T22:15:00Z&end=2023-11-14T22:25:00Z&step=1s", "power");
    assert!(much.is_err());
}

#[test]
fn the_worked_example_of_the_specification_holds() {
    let mut world = fleet();
    world.say("pdu", "cluster1", &[(Kind::Facility, None, &[("name", "hall1")], &[("power_watts", 5_040.0)])]);
    let snapshot = world.snapshot();
    let row = |by, category: &str| {
        let rows = now::breakdown(&snapshot, None, by).data["breakdowns"].clone();
        let row = rows.as_array().unwrap().iter().find(|r| r["category"] == category).cloned().unwrap();
        (row["power_watts"].as_f64().unwrap(), row["percentage"].as_f64().unwrap())
    };
    assert_eq!(snapshot.account().total(None).watts, Some(4_200.0));
    let data = now::infrastructure(&snapshot, Some("cluster1"), None, (10, 0)).data;
    let way = &data["servers"][0]["ways"][1];
    assert_eq!((&way["measured_by"], &way["power_watts"], &way["method"]), (&json!("parts"), &json!(2_900.0), &json!("modelled")));
    assert_eq!(data["servers"][0]["remainder_watts"], 600.0);
    assert_eq!((row(By::Vendor, "nvidia"), row(By::Vendor, "unattributed")), ((2_400.0, 57.14), (1_800.0, 42.86)));
    assert_eq!((row(By::Namespace, "ml"), row(By::Namespace, "unattributed")), ((350.0, 8.33), (3_850.0, 91.67)));
    assert_eq!(row(By::ResourceType, "unattributed").0, 1_300.0);
    let halls = [hall(&["cluster1", "cluster2"])];
    let whole = now::power(&snapshot, None, &halls, &now::parts(None).unwrap()).data;
    assert_eq!(
        (&whole["tree"]["kind"], &whole["tree"]["power_watts"], &whole["tree"]["remainder_watts"]),
        (&json!("facility"), &json!(5_040.0), &json!(840.0))
    );
    // The BMC of cluster2 falls silent.
    world.now += 60_000;
    say_cards(&world, &[300.0; 8]);
    world.say("ipmi", "cluster1", &[NODE, (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", 3_500.0)])]);
    let answer = now::power(&world.snapshot(), None, &halls, &now::parts(None).unwrap());
    assert_eq!((&answer.data["total_power_watts"], &answer.data["coverage"]["servers_known"]), (&json!(3_500.0), &json!(1)));
    assert!(answer.warnings.iter().any(|w| w.contains("worker1")), "{:?}", answer.warnings);
    assert_eq!(now::efficiency(&world.snapshot(), None, &halls).data["pue"], Value::Null);
}

#[test]
fn the_exposition_says_each_server_once_and_how_it_is_known() {
    let text = super::super::super::metrics_text(&fleet().snapshot());
    for line in [
        r#"kcloud_server_power_watts{cluster="cluster1",id="node/cluster1/worker1",kind="node",node="worker1"} 3500"#,
        r#"kcloud_server_power_method_info{cluster="cluster1",id="node/cluster1/worker1",kind="node",node="worker1",measured_by="dcmi",method="measured"} 1"#,
        r#"kcloud_cluster_power_watts{cluster="cluster2"} 700"#,
        r#"kcloud_cluster_power_known_servers{cluster="cluster2"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn a_cluster_shows_its_own_watts_by_whom_and_for_how_many_pods() {
    let world = fleet();
    let data = now::of_cluster(&world.snapshot(), "cluster1", By::Namespace, true).data;
    assert_eq!((&data["total_power_watts"], &data["node_count"], &data["pod_count"]), (&json!(3_500.0), &json!(1), &json!(1)));
    let row = |i: usize| (data["breakdown"][i]["category"].clone(), data["breakdown"][i]["percentage"].clone());
    assert_eq!((row(0), row(1)), ((json!("ml"), json!(10.0)), (json!("unattributed"), json!(90.0))));
    assert_eq!(
        data["efficiency"],
        json!({ "power_per_pod": 3500.0, "power_per_namespace": 3500.0, "total_workloads": 1, "active_namespaces": 1 })
    );
    // A cluster of which nothing is known has no watts per pod either.
    let none = now::of_cluster(&world.snapshot(), "cluster9", By::Node, true).data;
    assert_eq!((&none["total_power_watts"], &none["efficiency"]["power_per_pod"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_view_that_there_is_not_is_refused_with_those_that_there_are() {
    let error = format!("{:?}", view(&params("breakdown_by=planet")).unwrap_err());
    assert!(error.contains("breakdown_by") && error.contains("resource_type"), "{error}");
    let (world, history, _dir) = past();
    let query = params("period=1h&breakdown_by=planet");
    let error = series::power(&history, &world.inventory.current(), &query, vec![], &[]).err().unwrap();
    assert!(format!("{error:?}").contains("cluster, node, namespace, workload, vendor, resource_type"), "{error:?}");
}

#[test]
fn what_a_workload_drew_is_read_over_time() {
    let (world, history, _dir) = past();
    let query = params("start=2023-11-14T22:15:00Z&end=2023-11-14T22:25:00Z&step=60s&breakdown_by=workload&cluster=cluster1");
    let body = data(series::power(&history, &world.inventory.current(), &query, vec!["cluster1".into()], &[]));
    let rows = body["breakdown_timeseries"].as_object().unwrap();
    let of = |name: &str| rows[name].as_array().unwrap().iter().map(|p| p["value"].clone()).collect::<Vec<_>>();
    let name = rows.keys().find(|k| *k != "unattributed").unwrap();
    assert!(name.starts_with("ml/"), "{rows:?}");
    assert_eq!((of(name)[5].as_f64(), of("unattributed")[5].as_f64()), (Some(350.0), Some(3_150.0)), "{name}");
}

#[test]
fn temperatures_of_nodes_are_those_of_their_sensors() {
    let dir = tempfile::tempdir().unwrap();
    let history = Embedded::open(dir.path(), Keep::default()).unwrap();
    let world = World::new();
    let sensor: Row<'_> = (Kind::Sensor, Some(0), &[("name", "Inlet Temp")], &[("temperature_celsius", 24.5)]);
    let fan: Row<'_> = (Kind::Sensor, Some(0), &[("name", "VIN")], &[("voltage_volts", 12.0)]);
    world.say("ipmi", "cluster1", &[NODE, sensor, fan]);
    let next = world.inventory.prepare(world.now, i64::MAX).unwrap();
    let catalogue = Catalogue::default();
    let of = |p: crate::inventory::NewPoint| crate::history::Point {
        subject: p.subject,
        metric: catalogue.name(p.metric),
        at_ms: p.at_ms,
        value: p.value,
    };
    let points: Vec<_> = next.points.into_iter().map(of).collect();
    history.commit(1, world.now, &points).unwrap();
    let rows = data(series::metrics(&history, &next.snapshot, &params("resource_type=nodes&period=5m&step=5m"), "temperature"));
    assert_eq!(rows.as_array().unwrap().len(), 1, "a voltage is no temperature: {rows}");
    assert_eq!((&rows[0]["name"], &rows[0]["node"], &rows[0]["unit"]), (&json!("Inlet Temp"), &json!("worker1"), &json!("celsius")));
    let values: Vec<_> = rows[0]["datapoints"].as_array().unwrap().iter().map(|p| p["value"].clone()).collect();
    assert_eq!(values, [Value::Null, json!(24.5)]);
}
