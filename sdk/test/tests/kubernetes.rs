//! The bundled kubernetes component against recorded lists and watches: pages, deltas, what is said again, and what is listed anew.

use std::path::Path;
use std::time::Duration;

use kcloud_collector_test::{Answer, BatchSubject, Collected, Kind, Limits, Plugin, Recorded, Setup, Target, target};
use kcloud_monitor::plugins::contract::Coverage;
use serde_json::{Value, json};

const WALL: Duration = Duration::from_secs(10);

fn pod(name: &str, uid: &str, version: u32, container: &str, phase: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "ml", "uid": uid, "resourceVersion": version.to_string(),
            "ownerReferences": [{ "kind": "ReplicaSet", "name": format!("{name}-7d4b9c6f5"), "controller": true }] },
        "spec": { "nodeName": "worker1", "containers": [{ "name": container, "resources": { "requests": { "nvidia.com/gpu": "1" } } }] },
        "status": { "phase": phase }
    })
}

fn list(version: u32, next: &str, items: &[Value]) -> Answer {
    Answer::json(&json!({ "metadata": { "resourceVersion": version.to_string(), "continue": next }, "items": items }))
}

fn lines(all: &[(&str, Value)]) -> Answer {
    let text: String = all.iter().map(|(kind, object)| json!({ "type": kind, "object": object }).to_string() + "\n").collect();
    Answer::text(text)
}

fn watch(resource: &str, version: u32) -> String {
    format!("{resource}?watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds=240")
}

/// A cluster of one node and three pods on two pages; its watches have nothing to say and end.
async fn cluster() -> (Recorded, Plugin, Target) {
    let node = json!({ "metadata": { "name": "worker1", "resourceVersion": "5", "labels": { "zone": "a" } },
        "status": { "capacity": { "cpu": "64", "nvidia.com/gpu": "8" }, "conditions": [{ "type": "Ready", "status": "True" }] } });
    let owner = json!({ "metadata": { "name": "one-7d4b9c6f5", "namespace": "ml", "resourceVersion": "6",
        "ownerReferences": [{ "kind": "Rollout", "name": "one", "controller": true }] } });
    let silent = || Answer::text("");
    let recorded = Recorded::start([
        ("/version", Answer::json(&json!({ "major": "1" }))),
        ("/api/v1/nodes?limit=10", list(10, "", &[node])),
        ("/api/v1/nodes", silent()),
        ("/apis/apps/v1/replicasets?limit=10", list(10, "", &[owner])),
        ("/apis/apps/v1/replicasets", silent()),
        ("/apis/batch/v1/jobs", Answer::status(403)),
        ("/api/v1/pods?limit=10", list(10, "t/1", &[pod("one", "u1", 7, "main", "Running"), pod("two", "u2", 8, "main", "Pending")])),
        ("/api/v1/pods?limit=10&continue=t%2F1", list(10, "", &[pod("three", "u3", 9, "main", "Running")])),
        ("/api/v1/pods", silent()),
    ])
    .await
    .expect("a port");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist/plugins/kubernetes.wasm");
    let limits = Limits { cpu: Duration::from_secs(5), ..Limits::default() };
    let setup = Setup { http: vec![recorded.address("/")], config: json!({ "page_size": 10 }), limits, ..Setup::default() };
    let plugin = Plugin::load(&file, setup).await.expect("it loads");
    let target = target("cluster1", recorded.address("/").trim_end_matches('/'), &[]);
    (recorded, plugin, target)
}

fn name(s: &BatchSubject) -> &str {
    s.identity.iter().find(|(k, _)| k == "name").map_or("", |(_, v)| v.as_str())
}

fn names(read: &Collected, kind: Kind) -> Vec<&str> {
    let mut all: Vec<&str> = read.subjects(kind).map(|(_, s)| name(s)).collect();
    all.sort_unstable();
    all
}

fn gone(read: &Collected) -> Vec<&str> {
    let mut all: Vec<&str> = read.batch.tombstones.iter().map(|i| name(&read.batch.subjects[*i as usize])).collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_is_whole_and_has_every_page() {
    let (recorded, plugin, target) = cluster().await;
    let read = plugin.collect(&target, WALL).await.expect("a batch");
    assert_eq!(read.batch.coverage, Coverage::Whole);
    assert_eq!(names(&read, Kind::Pod), ["one", "three", "two"]);
    let node = read.subject(Kind::Node, "node", "worker1").expect("the node");
    assert_eq!((read.value(node, "gpu_capacity_count"), read.value(node, "readiness")), (Some(8.0), Some(0.0)));
    let has = |name: &str, key: &str, value: &str| {
        let i = read.subject(Kind::Pod, "name", name).expect("the pod");
        read.batch.subjects[i as usize].labels.iter().any(|(k, v)| k == key && v == value)
    };
    assert!(has("one", "workload_kind", "Rollout"), "its owner's owner is listed");
    assert!(has("two", "workload_kind", "Deployment"), "by the letters of the suffix");
    let text = read.batch.problems.join("; ");
    assert!(text.contains("jobs: HTTP 403") && text.contains("namespaces: HTTP 404"), "{text}");
    assert_eq!(recorded.asked().iter().filter(|p| p.contains("continue")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn then_only_changes_are_said_with_what_is_gone() {
    let (recorded, plugin, target) = cluster().await;
    plugin.collect(&target, WALL).await.expect("a whole");
    let changes = [
        ("MODIFIED", pod("two", "u2", 11, "main", "Running")),
        ("DELETED", pod("three", "u3", 12, "main", "Running")),
        // A new life under an old name, with another container.
        ("DELETED", pod("one", "u1", 13, "main", "Running")),
        ("ADDED", pod("one", "u9", 14, "other", "Pending")),
        ("BOOKMARK", json!({ "metadata": { "resourceVersion": "20" } })),
    ];
    recorded.answer(&watch("/api/v1/pods", 10), lines(&changes));
    let read = plugin.collect(&target, WALL).await.expect("a delta");
    assert_eq!(read.batch.coverage, Coverage::Delta);
    assert_eq!(names(&read, Kind::Pod), ["one", "three", "two"]);
    assert_eq!(gone(&read), ["main", "main", "three"], "the pod with its container, and the container of the old life");
    assert_eq!(read.value(read.subject(Kind::Pod, "uid", "u2").expect("two"), "phase"), Some(1.0));
    assert!(read.subject(Kind::Pod, "uid", "u9").is_some() && read.subject(Kind::Node, "node", "worker1").is_some());
    let read = plugin.collect(&target, WALL).await.expect("a delta of nothing");
    assert_eq!((read.batch.coverage, read.batch.subjects.len()), (Coverage::Delta, 0));
    assert!(recorded.asked().contains(&watch("/api/v1/pods", 20)), "it goes on from the bookmark: {:?}", recorded.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_too_old_is_listed_anew() {
    let (recorded, plugin, target) = cluster().await;
    for expired in
        [lines(&[("ERROR", json!({ "kind": "Status", "code": 410, "message": "too old resource version" }))]), Answer::status(410)]
    {
        plugin.collect(&target, WALL).await.expect("a batch");
        recorded.answer(&watch("/api/v1/pods", 10), expired);
        let read = plugin.collect(&target, WALL).await.expect("a whole");
        assert_eq!((read.batch.coverage, names(&read, Kind::Pod).len()), (Coverage::Whole, 3));
        recorded.answer(&watch("/api/v1/pods", 10), Answer::text(""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_does_not_answer_is_a_failure_and_no_delta_of_nothing() {
    let (recorded, plugin, target) = cluster().await;
    plugin.collect(&target, WALL).await.expect("a whole");
    recorded.answer("/version", Answer::status(503));
    let failed = plugin.collect(&target, WALL).await.err().expect("a failure").to_string();
    assert!(failed.contains("unreachable"), "{failed}");
    recorded.answer("/version", Answer::json(&json!({})));
    recorded.answer(&watch("/api/v1/pods", 10), lines(&[("MODIFIED", pod("two", "u2", 11, "main", "Failed"))]));
    recorded.answer("/api/v1/nodes", Answer::status(401));
    let failed = plugin.collect(&target, WALL).await.err().expect("a failure").to_string();
    assert!(failed.contains("/api/v1/nodes"), "{failed}");
    recorded.answer("/api/v1/nodes", Answer::text(""));
    let read = plugin.collect(&target, WALL).await.expect("a delta");
    assert_eq!((read.batch.coverage, names(&read, Kind::Pod)), (Coverage::Delta, vec!["two"]), "it goes on where it was");
    assert_eq!(recorded.asked().iter().filter(|p| *p == "/api/v1/pods?limit=10").count(), 1, "and lists nothing anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_owner_comes_later_is_said_again() {
    let (recorded, plugin, target) = cluster().await;
    plugin.collect(&target, WALL).await.expect("a whole");
    recorded.answer(&watch("/api/v1/pods", 10), lines(&[("ADDED", pod("four", "u4", 11, "main", "Pending"))]));
    let kind = |read: &Collected| {
        let i = read.subject(Kind::Pod, "name", "four").expect("the pod");
        read.batch.subjects[i as usize].labels.iter().find(|(k, _)| k == "workload_kind").map(|(_, v)| v.clone())
    };
    let read = plugin.collect(&target, WALL).await.expect("a delta");
    assert_eq!(kind(&read).as_deref(), Some("Deployment"));
    let owner = json!({ "metadata": { "name": "four-7d4b9c6f5", "namespace": "ml", "resourceVersion": "12",
        "ownerReferences": [{ "kind": "Rollout", "name": "four", "controller": true }] } });
    recorded.answer(&watch("/apis/apps/v1/replicasets", 10), lines(&[("ADDED", owner)]));
    let read = plugin.collect(&target, WALL).await.expect("a delta");
    assert_eq!(kind(&read).as_deref(), Some("Rollout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_come_on_pages_of_one_delta() {
    let (recorded, plugin, target) = cluster().await;
    plugin.collect(&target, WALL).await.expect("a whole");
    let all: Vec<_> = (0..5_000u32).map(|i| ("ADDED", pod(&format!("p{i}"), &format!("v{i}"), 11 + i, "main", "Pending"))).collect();
    recorded.answer(&watch("/api/v1/pods", 10), lines(&all));
    let mut seen = 0;
    let mut calls = 0;
    while seen < 5_000 {
        let read = plugin.collect(&target, WALL).await.expect("a delta");
        assert_eq!(read.batch.coverage, Coverage::Delta);
        seen += read.subjects(Kind::Pod).count();
        calls += 1;
        assert!(calls < 10, "{seen} of 5000 after {calls} calls");
    }
    assert_eq!((seen, calls), (5_000, 1));
}
