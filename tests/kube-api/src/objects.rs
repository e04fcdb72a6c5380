//! Objects of a cluster as an API holds them.

use serde_json::{Value, json};

/// A worker with eight cards, which is ready.
pub fn node(name: &str) -> Value {
    json!({ "kind": "Node", "apiVersion": "v1",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "node-role.kubernetes.io/worker": "" } },
        "status": { "capacity": { "cpu": "64", "memory": "527155104Ki", "pods": "110", "nvidia.com/gpu": "8" },
            "allocatable": { "cpu": "63500m", "nvidia.com/gpu": "8" },
            "conditions": [{ "type": "Ready", "status": "True" }], "addresses": [{ "type": "InternalIP", "address": "10.0.0.11" }] } })
}

/// A pod of two containers, of a deployment.
pub fn pod(namespace: &str, name: &str, node: &str, phase: &str, gpus: u32) -> Value {
    json!({ "kind": "Pod", "apiVersion": "v1",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name, "example.com/team": "a" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-rs"), "uid": "0", "controller": true }] },
        "spec": { "nodeName": node, "containers": [
            { "name": "main", "image": "img:1", "resources": { "requests": { "cpu": "1500m", "nvidia.com/gpu": gpus.to_string() } } },
            { "name": "sidecar", "image": "img:2", "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "64Mi" } } }] },
        "status": { "phase": phase, "containerStatuses": [
            { "name": "main", "ready": true, "restartCount": 2, "image": "", "imageID": "", "containerID": format!("containerd://{name}"), "state": { "running": {} } }] } })
}

/// One of many pods of a large cluster: a hundred on a node, fifty namespaces.
pub fn one_of_many(i: usize, node: &str, phase: &str) -> Value {
    let mut object = pod(&format!("ns{}", i % 50), &format!("p{i}"), node, phase, i as u32 % 2);
    object["metadata"]["uid"] = format!("u{i}").into();
    object
}

/// Where and as what a server keeps an object of a kind (`nodes`, `pods`).
pub fn stored(kind: &str, object: &Value) -> (String, Vec<u8>) {
    let meta = &object["metadata"];
    let namespace = meta["namespace"].as_str().map(|n| format!("{n}/")).unwrap_or_default();
    (format!("/registry/{kind}/{namespace}{}", meta["name"].as_str().unwrap_or_default()), object.to_string().into_bytes())
}
