//! `/accelerators` over cards of several vendors: what lies under them, how they are, and faults with a life.

use kcloud_e2e::world::{Is, Says};
use kcloud_e2e::{Running, until};
use kcloud_monitor::inventory::Kind;
use serde_json::{Value, json};

/// A GPU with a MIG instance, a link and processes, an NPU with two dies, and a TPU; the GPU's energy, and the XID that its gauge shows.
fn say(running: &Running, joules: f64, xid: Option<&str>) {
    let mut says = Says::default();
    let node = says.of(Kind::Node, None, &[("node", "worker1")], &[], &[]);
    let number = Is::Number;
    let identity = [("uuid", "GPU-1"), ("node", "worker1"), ("device", "nvidia0")];
    let readings = [
        ("power_watts", number(300.0)),
        ("utilization_ratio", number(0.5)),
        ("energy_joules", number(joules)),
        ("temperature_celsius", number(60.0)),
        ("slowdown_temperature_celsius", number(87.0)),
    ];
    let gpu = says.of(Kind::Accelerator, Some(node), &identity, &[("class", "gpu"), ("vendor", "nvidia"), ("model", "H100")], &readings);
    let holder = [("profile", "3g.40gb"), ("namespace", "ml"), ("pod", "train-0"), ("container", "main")];
    let mig = says.of(Kind::Partition, Some(gpu), &[("partition_id", "1")], &holder, &[("memory_used_bytes", number(1_048_576.0))]);
    let process = [("name", "python"), ("type", "compute"), ("namespace", "ml"), ("pod", "train-0")];
    says.of(Kind::Process, Some(mig), &[("pid", "4711")], &process, &[("memory_used_bytes", number(3.0 * 1_048_576.0))]);
    says.of(Kind::Process, Some(gpu), &[("pid", "12")], &[("name", "Xorg")], &[]);
    let errors = [("link_status", Is::State("up")), ("nvlink_replay_errors_total", number(2.0))];
    says.of(Kind::Link, Some(gpu), &[("index", "10")], &[("type", "nvlink")], &errors);
    says.of(Kind::Link, Some(gpu), &[("index", "9")], &[("type", "nvlink")], &[("link_status", Is::State("down"))]);
    if let Some(code) = xid {
        says.holds(gpu, code, "as the driver says");
    }
    let identity = [("uuid", "NPU-1"), ("node", "worker1"), ("device", "rbln0")];
    let readings = [("power_watts", number(100.0)), ("health", Is::State("warning")), ("utilization_ratio", number(0.0))];
    let npu = says.of(Kind::Accelerator, Some(node), &identity, &[("class", "npu"), ("vendor", "rebellions")], &readings);
    for die in ["0", "1"] {
        let part = says.of(Kind::Partition, Some(npu), &[("partition_id", die)], &[], &[]);
        let load = if die == "0" { 0.25 } else { 0.0 };
        says.of(Kind::Core, Some(part), &[("index", die)], &[], &[("utilization_ratio", number(load))]);
    }
    let tpu = [("node", "worker1"), ("device", "0")];
    says.of(Kind::Accelerator, Some(node), &tpu, &[("class", "tpu"), ("vendor", "google")], &[("utilization_ratio", number(0.9))]);
    says.say(&running.host.app.inventory, "any", "cluster1");
}

async fn running() -> Running {
    let running = Running::start(&[], vec![]).await;
    say(&running, 1e6, None);
    until("three cards", async || (get(&running, "all").await["metadata"]["total_count"] == 3).then_some(())).await;
    running
}

async fn get(running: &Running, path: &str) -> Value {
    running.get(&format!("/api/v1/accelerators/{path}")).await.1
}

async fn order(running: &Running, path: &str) -> (u16, Value) {
    let request = running.client.post(format!("{}/api/v1/monitoring/alerts/{path}", running.base)).basic_auth("admin", Some("changeme"));
    let answer = request.body(r#"{"comment": "swapped the riser"}"#).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_under_a_card_is_listed_for_gpus_and_npus_alike() {
    let running = running().await;
    let rows = async |path: &str| get(&running, path).await["data"].as_array().unwrap_or_else(|| panic!("{path}")).clone();
    let mig = rows("gpus/GPU-1/partitions").await;
    assert_eq!(
        (mig.len(), &mig[0]["gpu_id"], &mig[0]["profile"], &mig[0]["memory_used_mb"], &mig[0]["pod"]),
        (1, &json!("GPU-1"), &json!("3g.40gb"), &json!(1), &json!("train-0"))
    );
    let processes = rows("gpus/worker1:nvidia0/processes").await;
    assert_eq!(
        processes.iter().map(|p| (&p["pid"], &p["partition_id"])).collect::<Vec<_>>(),
        [(&json!(12), &Value::Null), (&json!(4711), &json!("1"))]
    );
    assert_eq!(
        (&processes[1]["name"], &processes[1]["memory_used_mb"], &processes[0]["memory_used_mb"]),
        (&json!("python"), &json!(3), &Value::Null)
    );
    let links = rows("gpus/GPU-1/links").await;
    assert_eq!(
        links.iter().map(|l| (&l["link_id"], &l["state"])).collect::<Vec<_>>(),
        [(&json!(9), &json!("down")), (&json!(10), &json!("up"))]
    );
    assert_eq!((&links[0]["replay_errors_total"], &links[1]["replay_errors_total"]), (&Value::Null, &json!(2.0)));
    let cores = rows("npus/NPU-1/cores").await;
    assert_eq!(
        cores.iter().map(|c| (&c["core_id"], &c["partition_id"], &c["state"])).collect::<Vec<_>>(),
        [(&json!(0), &json!("0"), &json!("running")), (&json!(1), &json!("1"), &json!("idle"))]
    );
    assert_eq!(rows("npus/NPU-1/partitions").await.len(), 2);
    let page = get(&running, "npus/NPU-1/partitions?limit=1&offset=1").await;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["metadata"]["total_count"]), (1, &json!(2)));
    for empty in ["gpus/GPU-1/cores", "npus/NPU-1/links", "npus/NPU-1/processes", "npus/worker1:0/events"] {
        assert_eq!(rows(empty).await.len(), 0, "{empty}");
    }
    assert_eq!(get(&running, "npus/NPU-1/power").await["data"]["power_watts"], 100.0);
    assert_eq!(get(&running, "npus/NPU-1/temperature").await["data"]["npu_temperature_celsius"], Value::Null);
    assert_eq!(running.get("/api/v1/accelerators/npus/GPU-1/health").await.0, 404, "a GPU is no NPU");
    // Counts by vendor; a TPU is an NPU.
    let summary = get(&running, "npus/summary").await["data"].clone();
    assert_eq!(
        (&summary["total_npus"], &summary["rebellions_count"], &summary["furiosa_count"], &summary["vendors"]),
        (&json!(2), &json!(1), &json!(0), &json!({ "google": 1, "rebellions": 1 }))
    );
    let all = get(&running, "all?type=npu&sort=-utilization_percent").await;
    assert_eq!(all["data"].as_array().unwrap().iter().map(|a| &a["vendor"]).collect::<Vec<_>>(), [&json!("google"), &json!("rebellions")]);
    let (status, body) = running.get("/api/v1/accelerators/all?type=fpga").await;
    assert!(status == 400 && body.to_string().contains("gpu, npu, other"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_lasts_until_the_card_was_reset_or_an_operator_says_that_it_is_over() {
    let running = running().await;
    let health = async |path: &str| get(&running, &format!("{path}/health")).await["data"].clone();
    let is_well = async || {
        let (now, card) = (health("gpus/GPU-1").await, get(&running, "gpus/GPU-1").await["data"]["status"].clone());
        (now["state"] == "ok" && now["evidence"] == json!([]) && card == "active").then_some(())
    };
    is_well().await.expect("nothing is wrong with it");
    let npu = health("npus/NPU-1").await;
    assert_eq!((&npu["state"], &npu["evidence"][0]["kind"]), (&json!("warning"), &json!("reading")));

    say(&running, 1.1e6, Some("xid:79"));
    let is_bad = async || Some(health("gpus/GPU-1").await).filter(|h| h["state"] == "critical");
    let sick = until("its fault is seen", is_bad).await;
    let evidence = &sick["evidence"][0];
    assert_eq!((&evidence["code"], &evidence["kind"], &evidence["severity"]), (&json!("xid:79"), &json!("alert"), &json!("critical")));
    assert!(
        evidence["meaning"].as_str().unwrap().contains("fallen off the bus") && evidence["action_ko"].as_str().unwrap().contains("노드")
    );
    until("its status says so", async || (get(&running, "gpus/GPU-1").await["data"]["status"] == "error").then_some(())).await;
    let event = get(&running, "gpus/GPU-1/events").await["data"][0].clone();
    assert_eq!((&event["code"], &event["message"], &event["data_source"]), (&json!("xid:79"), &json!("as the driver says"), &json!("any")));

    // The gauge keeps the code; an operator who repaired the card says that it is over.
    let id = evidence["alert"].as_str().unwrap().to_owned();
    let (status, body) = order(&running, &format!("{id}/resolve")).await;
    assert_eq!(
        (status, &body["data"]["end_reason"], &body["data"]["resolved"]["comment"]),
        (200, &json!("operator"), &json!("swapped the riser"))
    );
    say(&running, 1.2e6, Some("xid:79"));
    until("it is well", is_well).await;
    assert_eq!(order(&running, &format!("{id}/resolve")).await.0, 409);
    assert_eq!(order(&running, "none/resolve").await.0, 404);

    // The same again after none: its counter of energy begins anew, which is a reset, and the fault is over.
    say(&running, 1.3e6, None);
    say(&running, 1.4e6, Some("xid:79"));
    until("its fault is seen again", is_bad).await;
    say(&running, 10.0, None);
    until("it is well after the reset", is_well).await;
    let history = running.get("/api/v1/monitoring/alerts/history?rule=accelerator-xid-critical&sort=fired_at").await.1;
    assert_eq!(
        history["data"].as_array().unwrap().iter().map(|a| &a["end_reason"]).collect::<Vec<_>>(),
        [&json!("operator"), &json!("reset")]
    );
}
