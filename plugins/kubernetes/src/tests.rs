use std::path::Path;

use kcloud_collector_sdk::bindings::kcloud::collector::types as t;
use kube_mapping::model::Writer;
use serde_json::json;

use super::*;
use crate::changes::{Changes, Key, Object};
use crate::objects::{NodeObject, PodObject};

fn written(write: impl FnOnce(&mut Writer, &mut Batch)) -> t::Batch {
    let mut batch = Batch::new(definitions());
    write(&mut Writer::new(0), &mut batch);
    batch.finish()
}

fn value(batch: &t::Batch, subject: usize, metric: &str) -> Option<f64> {
    let described = definitions();
    let name = |i: u32| match described.get(i as usize) {
        Some(def) => def.name.clone(),
        None => batch.metrics[i as usize - described.len()].name.clone(),
    };
    batch.points.iter().find(|p| p.subject as usize == subject && name(p.metric) == metric).map(|p| p.value)
}

fn label<'a>(batch: &'a t::Batch, subject: usize, key: &str) -> Option<&'a str> {
    let s = &batch.subjects[subject];
    s.labels.iter().chain(&s.identity).find(|l| l.key == key).map(|l| l.value.as_str())
}

fn pod(name: &str, uid: &str) -> serde_json::Value {
    json!({
        "metadata": {
            "name": name, "namespace": "ml", "uid": uid, "resourceVersion": "7", "creationTimestamp": "2025-11-24T16:00:00Z",
            "labels": { "app": "train", "pod-template-hash": "7d4b9c6f5", "example.com/team": "a" },
            "annotations": { "volcano.sh/queue-name": "gold", "long": "x".repeat(300) },
            "ownerReferences": [{ "kind": "Other", "name": "o" }, { "kind": "ReplicaSet", "name": "train-7d4b9c6f5", "controller": true }]
        },
        "spec": {
            "nodeName": "worker1",
            "containers": [
                { "name": "main", "image": "img:1", "resources": {
                    "requests": { "cpu": "3500m", "memory": "2Gi", "nvidia.com/gpu": "2" },
                    "limits": { "memory": "4Gi", "nvidia.com/gpu": 2, "furiosa.ai/rngd": "1" } } },
                { "name": "sidecar", "image": "img:2" }
            ],
            "initContainers": [{ "name": "setup", "image": "img:3", "resources": { "requests": { "cpu": "64" } } }]
        },
        "status": {
            "phase": "Running", "podIP": "10.1.0.5", "startTime": "2025-11-24T16:00:05Z", "qosClass": "Burstable",
            "conditions": [{ "type": "Ready", "status": "False" }],
            "containerStatuses": [
                { "name": "main", "ready": true, "restartCount": 2, "containerID": "containerd://c1", "imageID": "sha256:1",
                  "state": { "running": { "startedAt": "2025-11-24T16:00:09Z" } } },
                { "name": "sidecar", "ready": false, "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }
            ]
        }
    })
}

fn object(name: &str, uid: &str) -> PodObject {
    serde_json::from_value(pod(name, uid)).unwrap()
}

#[test]
fn a_pod_says_the_same_as_by_way_of_kube_state_metrics() {
    let batch = written(|w, b| _ = w.pod(b, object("train-1", "p-1").read(true)));
    let kinds: Vec<&str> = batch.subjects.iter().map(|s| s.kind.as_str()).collect();
    assert_eq!(kinds, ["node", "pod", "container", "container", "container"]);
    let of = |metric| value(&batch, 1, metric);
    assert_eq!(
        (of("cpu_request_cores"), of("memory_request_bytes"), of("memory_limit_bytes")),
        (Some(3.5), Some(2_147_483_648.0), Some(4_294_967_296.0))
    );
    assert_eq!((of("gpu_request_count"), of("gpu_limit_count"), of("npu_limit_count")), (Some(2.0), Some(2.0), Some(1.0)));
    assert_eq!((of("restarts_total"), of("cpu_limit_cores")), (Some(3.0), None));
    let label = |key| label(&batch, 1, key);
    assert_eq!((label("uid"), label("owner_kind"), label("queue")), (Some("p-1"), Some("ReplicaSet"), Some("gold")));
    assert_eq!((label("created_at"), label("started_at")), (Some("2025-11-24T16:00:00Z"), Some("2025-11-24T16:00:05Z")));
    assert_eq!(
        (label("label:example.com/team"), label("annotation:volcano.sh/queue-name"), label("annotation:long")),
        (Some("a"), Some("gold"), None)
    );
    assert_eq!(
        (crate::tests::label(&batch, 2, "runtime_id"), super::tests::label(&batch, 3, "reason")),
        (Some("c1"), Some("CrashLoopBackOff"))
    );
    assert_eq!(crate::tests::label(&batch, 4, "init"), Some("true"));
}

#[test]
fn a_pod_that_waits_for_a_place_has_no_node_and_no_containers_state() {
    let waiting = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c" }] }, "status": { "phase": "Pending" } });
    let waiting: PodObject = serde_json::from_value(waiting).unwrap();
    let batch = written(|w, b| _ = w.pod(b, waiting.read(true)));
    assert_eq!((batch.subjects.len(), batch.subjects[0].parent), (2, None));
    assert_eq!(batch.states.len(), 1, "its phase");
    assert_eq!(value(&batch, 0, "gpu_request_count"), Some(0.0));
}

#[test]
fn the_captures_are_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/kube-api");
    if !root.is_dir() {
        eprintln!("NOT RUN: the captures are not here ({})", root.display());
        return;
    }
    let text = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let node: NodeObject = serde_json::from_str(&text("node-fraction.json")).unwrap();
    let batch = written(|w, b| _ = w.node(b, node.read(true)));
    let of = |metric| value(&batch, 0, metric);
    assert_eq!((of("gpu_capacity_count"), of("gpu_allocatable_count"), of("cpu_capacity_cores")), (Some(2.0), Some(2.0), Some(32.0)));
    assert_eq!(of("memory_total_bytes"), Some(123_662_920.0 * 1024.0));
    assert_eq!(label(&batch, 0, "label:nvidia.com/gpu.product"), Some("Tesla-T4"));
    assert!(batch.subjects[0].labels.len() + batch.subjects[0].identity.len() <= 64);
    let node: NodeObject = serde_json::from_str(&text("node-mig-3-instances.json")).unwrap();
    let batch = written(|w, b| _ = w.node(b, node.read(true)));
    let slices: f64 = batch.points.iter().filter(|p| p.metric as usize >= definitions().len()).map(|p| p.value).sum();
    assert_eq!(value(&batch, 0, "gpu_capacity_count"), Some(slices));
    let pod: PodObject = serde_json::from_str(&text("pod-mig-1g-5gb.json")).unwrap();
    let batch = written(|w, b| _ = w.pod(b, pod.read(true)));
    let at = batch.subjects.iter().position(|s| s.kind == "pod").unwrap();
    assert!(label(&batch, at, "uid").is_some() && value(&batch, at, "restarts_total").is_some());
}

#[test]
fn of_an_object_the_last_word_counts_and_what_went_before_is_remembered() {
    let key = Key::Pod("ml".into(), "train-1".into());
    let of = |uid: &str| Object::Pod(Box::new(object("train-1", uid)));
    let uid = |o: &Option<Object>| match o {
        Some(Object::Pod(p)) => p.metadata.uid.clone(),
        _ => None,
    };
    let mut changes = Changes::default();
    changes.put(key.clone(), of("a"));
    changes.remove(key.clone(), of("a"));
    changes.put(key.clone(), of("b"));
    let first = changes.take();
    assert_eq!((uid(&first[0].1.before).as_deref(), uid(&first[0].1.now).as_deref()), (Some("a"), Some("b")));
    changes.remove(key.clone(), of("b"));
    // The host did not take the first answer.
    changes.put_back(first);
    let again = changes.take();
    assert_eq!((again.len(), uid(&again[0].1.before).as_deref(), uid(&again[0].1.now)), (1, Some("a"), None));
}

const CARD: &str = "GPU-0aa6b97c-d386-26ba-a94a-b9d27c2e3a71";
const OTHER: &str = "GPU-0aa6b97c-d386-26ba-a94a-b9d27c2e3a72";

fn sharing(name: &str, phase: &str, annotation: &str) -> PodObject {
    let mut object = pod(name, name);
    object["metadata"]["annotations"] = json!({ "hami.io/vgpu-devices-allocated": annotation, "hami.io/bind-phase": "success" });
    object["status"]["phase"] = phase.into();
    serde_json::from_value(object).unwrap()
}

/// What is said of each card: the labels that name its holders, or that it is gone.
fn said(held: &mut crate::held::Held) -> Vec<(String, Vec<String>)> {
    let mut batch = Batch::new(definitions());
    batch.delta(Vec::new());
    held.write(&mut batch);
    let batch = batch.finish();
    let cards = batch.subjects.iter().enumerate().filter(|(_, s)| s.kind == "accelerator");
    let of = |(i, s): (usize, &t::Subject)| {
        let is_of_holder = |key: &str| ["namespace", "pod", "container", "holders"].contains(&key);
        let mut all: Vec<String> = s.labels.iter().filter(|l| is_of_holder(&l.key)).map(|l| format!("{}={}", l.key, l.value)).collect();
        all.extend(batch.tombstones.contains(&(i as u32)).then(|| "gone".to_owned()));
        (s.identity[0].value.clone(), all)
    };
    cards.map(of).collect()
}

#[test]
fn a_card_is_held_by_the_pods_on_which_a_scheduler_wrote_it() {
    let card = |card: &str, words: &[&str]| (card.to_owned(), words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    let mut held = crate::held::Held::default();
    // Releases begin the list in different places, and write empty devices.
    held.pod(&sharing("a", "Running", &format!(";{CARD},NVIDIA,1000,30:;,,0,0:;")));
    held.pod(&sharing("b", "Pending", &format!("{CARD},NVIDIA,1000,30:{OTHER}[1g.10gb-0],NVIDIA,1000,30:;")));
    held.pod(&sharing("c", "Succeeded", &format!("{OTHER},NVIDIA,1000,30:;")));
    held.pod(&sharing("d", "Running", "npu-1,Ascend910B,1000,30:;GPU-7,x,1,1:;;;,,:"));
    let both = [card(CARD, &["holders=ml/a,ml/b"]), card(OTHER, &["namespace=ml", "pod=b"])];
    assert_eq!(said(&mut held), both);
    assert_eq!(said(&mut held), [], "it is said once");
    held.put_back();
    assert_eq!(said(&mut held), both, "and again where it was not taken");
    held.taken();
    held.gone(&("ml".to_owned(), "b".to_owned()));
    assert_eq!(said(&mut held), [card(CARD, &["namespace=ml", "pod=a"]), card(OTHER, &["gone"])]);
    held.taken();
    held.pod(&sharing("a", "Failed", &format!("{CARD},NVIDIA,1000,30:;")));
    assert_eq!(said(&mut held), [card(CARD, &["gone"])]);
}
