//! What the API says of nodes, pods, containers, virtual machines, BMCs and clusters.

use kcloud_e2e::{Running, until, world};
use kcloud_monitor::api::ClusterInfo;
use serde_json::{Value, json};

async fn running() -> Running {
    let named = |name: &str| ClusterInfo { name: name.into(), ..ClusterInfo::default() };
    let running =
        Running::start_with(&[], vec![], |options| options.clusters = vec![named("cluster1"), named("cluster2"), named("empty")]).await;
    world::put(&running.host.app.inventory);
    until("it is published", async || (running.get("/api/v1/infrastructure/vms").await.1["metadata"]["total_count"] == 1).then_some(()))
        .await;
    running
}

/// The data of an answer with 200.
async fn data(running: &Running, path: &str) -> Value {
    let (status, body) = running.get(&format!("/api/v1{path}")).await;
    assert_eq!(status, 200, "{path}: {body}");
    body["data"].clone()
}

/// A field of every row.
fn each(rows: &Value, field: &str) -> Value {
    rows.as_array().unwrap().iter().map(|r| r[field].clone()).collect()
}

async fn error(running: &Running, path: &str) -> (u16, String) {
    let (status, body) = running.get(&format!("/api/v1{path}")).await;
    (status, body["error"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_what_all_of_its_sources_say_together() {
    let running = running().await;
    let node = data(&running, "/infrastructure/nodes/worker1?cluster=cluster1&include_metrics=true&include_power=true").await;
    let expected = json!({
        "node_name": "worker1", "role": "gpu_worker", "status": "ready", "gpu_count": 2, "memory_total_mb": 524_288, "allocatable_cpu_cores": 63.5,
        "current_power_watts": 1_000.0, "power_source": "dcmi", "labels": { "zone": "b" }, "annotations": { "note": "x" },
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&node[field], value, "{field}");
    }
    assert_eq!((&node["metrics"]["cpu_utilization_percent"], &node["metrics"]["memory_utilization_percent"]), (&json!(25.0), &json!(25.0)));
    assert_eq!((&node["metrics"]["network_rx_mbps"], &node["metrics"]["pod_count"]), (&json!(8.0), &json!(3)));
    let now = &node["power"]["current"];
    assert_eq!(
        (&now["total_power_watts"], &now["gpu_power_watts"], &now["other_power_watts"]),
        (&json!(1_000.0), &json!(400.0), &json!(600.0))
    );
    assert_eq!(now["dram_power_watts"], Value::Null, "what nobody measures is not 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_collide_between_clusters_stay_apart() {
    let running = running().await;
    let (status, error_of) = error(&running, "/infrastructure/nodes/worker1").await;
    assert!(status == 409 && error_of.contains("cluster=cluster1 worker1") && error_of.contains("cluster=cluster2"), "{error_of}");
    assert_eq!(error(&running, "/infrastructure/pods/ml/train-0").await.0, 409);
    assert_eq!(data(&running, "/infrastructure/pods/ml/train-0?cluster=cluster2").await["container_count"], 1);
    let nodes = data(&running, "/infrastructure/nodes?cluster=cluster2").await;
    assert_eq!(each(&nodes, "node_name"), json!(["worker1"]));
    assert_eq!((&nodes[0]["current_power_watts"], &nodes[0]["role"]), (&Value::Null, &json!("worker")));
    assert_eq!(error(&running, "/infrastructure/nodes?cluster=nope").await.0, 404);
    assert_eq!(error(&running, "/infrastructure/nodes/.*").await.0, 404, "a name is no pattern");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_chosen_by_role_state_cards_and_labels() {
    let running = running().await;
    for (query, names) in [
        ("role=master", vec!["master1"]),
        ("role=gpu_worker", vec!["worker1"]),
        ("status=maintenance", vec!["worker2"]),
        ("has_gpu=true", vec!["worker1"]),
        ("label_selector=zone%20in%20(a,b)", vec!["master1", "worker1"]),
        ("label_selector=!zone&cluster=cluster1", vec!["worker2"]),
        ("cluster=cluster1&sort=-node_name&limit=2", vec!["worker2", "worker1"]),
        ("cluster=cluster1&sort=-current_power_watts&limit=1&offset=0", vec!["worker1"]),
    ] {
        let rows = data(&running, &format!("/infrastructure/nodes?{query}")).await;
        assert_eq!(each(&rows, "node_name"), json!(names), "{query}");
    }
    let summary = data(&running, "/infrastructure/nodes/summary?cluster=cluster1").await;
    let expected = json!({ "total_nodes": 3, "ready_nodes": 2, "maintenance_nodes": 1, "total_gpus": 2, "total_power_watts": 1_000.0, "power_known_count": 1 });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&summary[field], value, "{field}: {summary}");
    }
    assert_eq!(summary["nodes_by_role"], json!({ "master": 1, "gpu_worker": 1, "worker": 1 }));
    let (status, error) = error(&running, "/infrastructure/nodes?label_selector=a%20of%20(b)").await;
    assert!(status == 400 && error.contains("a in (x,y)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_counts_each_container_once_and_draws_what_its_card_draws() {
    let running = running().await;
    let pod = data(&running, "/infrastructure/pods/ml/train-0?cluster=cluster1").await;
    assert_eq!((&pod["container_names"], &pod["gpu_count"]), (&json!(["main", "side"]), &json!(1)), "init containers are apart");
    assert_eq!((&pod["metrics"]["cpu_usage_millicores"], &pod["metrics"]["memory_used_mb"]), (&json!(6_000), &json!(4_096)));
    assert_eq!((&pod["power"]["current"]["gpu_power_watts"], &pod["current_power_watts"]), (&json!(300.0), &json!(300.0)));
    assert_eq!((&pod["workload_type"], &pod["workload_name"], &pod["phase"]), (&json!("Job"), &json!("train"), &json!("Running")));
    assert_eq!(pod["containers"].as_array().unwrap().len(), 3);
    assert_eq!(pod["containers"][0]["cpu_request"], "250m");
    assert_eq!(data(&running, "/infrastructure/pods/web/front").await["current_power_watts"], 12.5);
    assert_eq!(data(&running, "/infrastructure/pods/web/late").await["current_power_watts"], Value::Null);
    assert_eq!(error(&running, "/infrastructure/pods/web/none").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_chosen_and_paged_without_leaving_any_out() {
    let running = running().await;
    for (query, names) in [
        ("label_selector=app%3Dfront", vec!["front", "late"]),
        ("namespace=web&status=pending", vec!["late"]),
        ("node=worker1&cluster=cluster1&has_gpu=true", vec!["train-0"]),
        ("min_power=12&max_power=100", vec!["front"]),
        ("sort=-current_power_watts&limit=2", vec!["train-0", "front"]),
        ("limit=1&offset=3", vec!["train-0"]),
    ] {
        let rows = data(&running, &format!("/infrastructure/pods?{query}")).await;
        assert_eq!(each(&rows, "pod_name"), json!(names), "{query}");
    }
    let (_, body) = running.get("/api/v1/infrastructure/pods?limit=2&fields=pod_name,labels").await;
    assert_eq!(
        (&body["metadata"]["total_count"], &body["data"][0]),
        (&json!(4), &json!({ "labels": { "app": "train" }, "pod_name": "train-0" }))
    );
    let summary = data(&running, "/infrastructure/pods/summary").await;
    assert_eq!((&summary["total_pods"], &summary["running_pods"], &summary["pending_pods"]), (&json!(4), &json!(3), &json!(1)));
    assert_eq!(
        (&summary["total_power_watts"], &summary["namespaces_summary"]["web"]),
        (&json!(312.5), &json!({ "pods": 2, "power_watts": 12.5 }))
    );
    assert_eq!(error(&running, "/infrastructure/pods?min_power=lots").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_found_by_its_id_and_by_its_pod_and_may_use_more_than_one_core() {
    let running = running().await;
    let rows = data(&running, "/infrastructure/containers?pod=train-0&cluster=cluster1").await;
    let id = rows[0]["container_id"].as_str().unwrap();
    assert!(id.starts_with("containerd://main-of-"));
    let encoded = id.replace(':', "%3A").replace('/', "%2F");
    for path in
        [encoded.as_str(), id.split("://").nth(1).unwrap(), "ml/train-0/main?cluster=cluster1", "ml%2Ftrain-0%2Fmain?cluster=cluster1"]
    {
        let container = data(&running, &format!("/infrastructure/containers/{path}")).await;
        assert_eq!((&container["pod_name"], &container["namespace"]), (&json!("train-0"), &json!("ml")), "{path}");
        assert_eq!(
            (&container["metrics"]["cpu_usage_millicores"], &container["metrics"]["cpu_utilization_percent"]),
            (&json!(3_000), &json!(150.0))
        );
    }
    assert_eq!(
        data(&running, "/infrastructure/containers/ml/train-0/side/metrics?cluster=cluster1&period=5m").await["memory_used_mb"],
        2_048
    );
    let on = data(&running, "/infrastructure/containers?node=worker1&cluster=cluster2").await;
    assert_eq!(each(&on, "container_name"), json!(["main"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_machines_are_listed_and_their_absence_is_said() {
    let running = running().await;
    let vm = data(&running, "/infrastructure/vms/vm1?include_metrics=true").await;
    assert_eq!(
        (&vm["status"], &vm["vcpus"], &vm["memory_mb"], &vm["hypervisor_hostname"]),
        (&json!("active"), &json!(8), &json!(16_384), &json!("worker1"))
    );
    assert_eq!((&vm["ip_addresses"], &vm["metrics"]["cpu_utilization_percent"]), (&json!(["10.2.0.4", "10.2.0.5"]), &json!(25.0)));
    assert_eq!(data(&running, "/infrastructure/vms/summary?project=research").await["total_vcpus"], 8);
    let none = Running::start(&[], vec![]).await;
    let (status, body) = none.get("/api/v1/infrastructure/vms").await;
    assert_eq!((status, &body["data"]), (200, &json!([])));
    assert!(body["metadata"]["warnings"][0].as_str().unwrap().contains("virtual machines"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_shows_every_fan_rail_and_supply_by_its_own_name() {
    let running = running().await;
    let fans = data(&running, "/hardware/ipmi/fans").await;
    assert_eq!(
        (&fans[0]["fan_count"], &fans[0]["fan_failure_count"], &fans[0]["overall_fan_status"]),
        (&json!(10), &json!(1), &json!("critical"))
    );
    assert_eq!((&each(&fans[0]["fans"], "name")[9], &fans[0]["fan1_speed_rpm"]), (&json!("FAN10"), &json!(5_000)), "FAN10 is not FAN1");
    let rails = data(&running, "/hardware/ipmi/voltage").await;
    assert_eq!(
        (&rails[0]["voltage_12v"], &rails[0]["voltage_5v"], &rails[0]["voltage_warning_count"]),
        (&json!(12.1), &json!(5.02), &json!(1))
    );
    let power = data(&running, "/hardware/ipmi/power").await;
    assert_eq!((&power[0]["total_power_watts"], &power[0]["power_source"]), (&json!(1_000.0), &json!("dcmi")));
    assert_eq!((each(&power[0]["supplies"], "input_watts"), &power[0]["psu2_power_watts"]), (json!([520.0, 520.0]), &json!(520.0)));
    let heat = data(&running, "/hardware/ipmi/temperature").await;
    assert_eq!((&heat[0]["cpu2_temperature_celsius"], &heat[0]["inlet_temperature_celsius"]), (&json!(96.0), &json!(24.0)));
    assert_eq!((&heat[0]["critical_temperature_count"], &heat[0]["overall_temperature_status"]), (&json!(1), &json!("critical")));
    let summary = data(&running, "/hardware/ipmi/summary").await;
    assert_eq!(
        (&summary["total_fans"], &summary["failed_fans"], &summary["critical_nodes"]),
        (&json!(10), &json!(1), &json!(1)),
        "a node critical twice counts once"
    );
    assert_eq!((&summary["total_power_watts"], &summary["healthy_nodes"]), (&json!(1_000.0), &json!(0)));
    let hot = data(&running, "/hardware/ipmi/sensors?sensor_type=temperature&status=critical").await;
    assert_eq!((each(&hot, "sensor_name"), &hot[0]["upper_critical"]), (json!(["CPU2 Temp"]), &json!(95.0)));
    assert_eq!(data(&running, "/hardware/ipmi/sensors/worker2").await, json!([]), "a node without a BMC that is read");
    assert_eq!(error(&running, "/hardware/ipmi/sensors/nope").await.0, 404);
    let (status, error) = error(&running, "/hardware/ipmi/sensors?sensor_type=smell").await;
    assert!(status == 400 && error.contains("temperature, power, fan"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_its_own_nodes_and_no_others() {
    let running = running().await;
    let one = data(&running, "/clusters/cluster1").await;
    assert_eq!((each(&one["nodes"], "node_name"), &one["active_pods"]), (json!(["master1", "worker1", "worker2"]), &json!(2)));
    assert_eq!((&one["namespaces"], &one["total_accelerators"]), (&json!(["ml", "web"]), &json!(2)));
    let two = data(&running, "/clusters/cluster2/summary").await;
    assert_eq!((&two["resources"]["total_nodes"], &two["resources"]["total_accelerators"]), (&json!(1), &json!(0)));
    let map = data(&running, "/clusters/cluster1/topology?namespace=web").await;
    assert_eq!((&map["summary"]["total_pods"], &map["summary"]["master_nodes"]), (&json!(2), &json!(1)));
    assert_eq!(map["connections"].as_array().unwrap().len(), 4, "two cards and two pods");
    assert_eq!(error(&running, "/clusters/nope/topology").await.0, 404);
    let (_, body) = running.get("/api/v1/clusters/empty").await;
    assert_eq!(
        (&body["data"]["health_status"], &body["metadata"]["warnings"][0]),
        (&json!("unknown"), &json!("cluster empty has no source"))
    );
}
