//! A host over a simulated fleet says what the fleet's truth says.

use std::time::Duration;

use kcloud_e2e::{Running, fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_agrees_with_the_truth_to_the_watt() {
    for faults in [Faults::default(), Faults::demo(), Faults { vanish_after: None, ..Faults::all() }] {
        let (fleet, address) = fleet(8, faults).await;
        fleet.pin(Some(42));
        let truth = fleet.truth(42);
        let running = Running::start(&["nvidia-dcgm"], demo_settings(&fleet, address)).await;
        let summary = until("all nodes are read", async || {
            let (status, body) = running.get("/api/v1/accelerators/gpus/summary").await;
            (status == 200 && body["data"]["total_gpus"] == truth.total_gpus).then_some(body["data"].clone())
        })
        .await;
        assert_eq!(summary["total_power_watts"].as_f64(), Some(truth.total_power_watts));
        assert_eq!(summary["power_known_count"], truth.total_gpus - truth.unknown_power);
        assert_eq!(summary["total_memory_used_mb"].as_u64(), Some(truth.total_memory_used_mib));
        let (_, list) = running.get("/api/v1/accelerators/gpus?limit=1000&include_metrics=true").await;
        for card in &truth.cards {
            let row = list["data"].as_array().unwrap().iter().find(|r| r["uuid"] == card.uuid.as_str()).unwrap();
            assert_eq!(row["metrics"]["power_usage_watts"].as_f64(), card.power_watts, "{}", card.uuid);
            assert_eq!(row["metrics"]["gpu_utilization_percent"].as_f64(), card.utilization_percent.map(f64::from));
            assert_eq!((row["hostname"].as_str(), row["device"].as_str()), (Some(card.node.as_str()), Some(card.device.as_str())));
            assert_eq!(row["memory_total_mb"].as_u64(), Some(card.memory_total_mib));
            assert_eq!(row["partitions"].as_array().unwrap().len(), card.mig_instances);
            assert_eq!(row["status"] == "error", card.xid != 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_ages_visibly_and_delays_nobody() {
    let (fleet, address) = fleet(3, Faults::default()).await;
    let mut settings = demo_settings(&fleet, address);
    settings[0].interval = Duration::from_millis(200);
    let running = Running::start(&["nvidia-dcgm"], settings).await;
    let count =
        async |status: &str| running.get(&format!("/api/v1/accelerators/gpus?status={status}")).await.1["metadata"]["total_count"].as_u64();
    until("24 cards", async || (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 24).then_some(())).await;
    fleet.set_down("worker2", true);
    until("its eight cards are offline", async || (count("offline").await == Some(8)).then_some(())).await;
    let (_, body) = running.get("/api/v1/accelerators/gpus/worker2:nvidia0?include_metrics=true&include_reasons=true").await;
    assert!(body["data"]["metrics"]["power_usage_watts"].is_null(), "{body}");
    assert_eq!(body["data"]["unavailable"]["power_watts"], "stale");
    assert_eq!(body["metadata"]["partial"], true);
    let (_, health) = running.get("/api/v1/system/health").await;
    assert_eq!(health["status"], "degraded");
    fleet.set_down("worker2", false);
    until("they are back", async || (count("offline").await == Some(0)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_answered_say_why() {
    let (fleet, address) = fleet(2, Faults::default()).await;
    let running = Running::start(&["nvidia-dcgm"], demo_settings(&fleet, address)).await;
    until("16 cards", async || (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 16).then_some(())).await;
    for (path, status, code) in [
        ("/api/v1/accelerators/gpus?nod=x", 400, "INVALID_PARAMETER"),
        ("/api/v1/accelerators/gpus?limit=0", 400, "INVALID_PARAMETER"),
        ("/api/v1/accelerators/gpus?status=up", 400, "INVALID_PARAMETER"),
        ("/api/v1/accelerators/gpus?sort=-x", 400, "INVALID_PARAMETER"),
        ("/api/v1/accelerators/gpus?cluster=nope", 404, "NOT_FOUND"),
        ("/api/v1/accelerators/gpus/nope", 404, "NOT_FOUND"),
        ("/api/v1/accelerators/gpus/nvidia0", 409, "AMBIGUOUS_ID"),
        ("/api/v1/clusters/nope", 404, "NOT_FOUND"),
        ("/api/v1/nope", 404, "NOT_FOUND"),
    ] {
        let (got, body) = running.get(path).await;
        assert_eq!((got, body["error"]["code"].as_str()), (status, Some(code)), "{path}: {body}");
    }
    for (path, expected) in [("/api/v1/accelerators/npus/summary", 0), ("/api/v1/accelerators/summary", 16)] {
        let (status, body) = running.get(path).await;
        let total = body["data"]["total_npus"].as_u64().or(body["data"]["summary"]["total_gpus"].as_u64());
        assert_eq!((status, total), (200, Some(expected)), "{body}");
    }
    let client = reqwest::Client::new();
    let list = || client.get(format!("{}/api/v1/accelerators/gpus?limit=5", running.base));
    let refused = list().send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate") && refused.headers().contains_key("x-request-id"));
    fleet.pin(Some(1));
    let first = list().basic_auth("admin", Some("changeme")).send().await.unwrap();
    assert!(first.headers()["link"].to_str().unwrap().contains("rel=\"next\""));
    let etag = first.headers()["etag"].clone();
    let again = list().basic_auth("admin", Some("changeme")).header("if-none-match", etag.clone()).send().await.unwrap();
    // A snapshot may have been published in between: then it is another world.
    assert!(again.status() == 304 || again.headers()["etag"] != etag);
    let sorted = running.get("/api/v1/accelerators/all?sort=-power_watts&include_metrics=true").await.1;
    let watts: Vec<f64> = sorted["data"].as_array().unwrap().iter().filter_map(|r| r["metrics"]["power_watts"].as_f64()).collect();
    assert!(watts.len() == 16 && watts.windows(2).all(|w| w[0] >= w[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_answers_for_a_window_and_says_what_it_used() {
    let (fleet, address) = fleet(1, Faults::default()).await;
    let mut settings = demo_settings(&fleet, address);
    settings[0].interval = Duration::from_millis(200);
    fleet.pin(Some(1));
    let running = Running::start(&["nvidia-dcgm"], settings).await;
    let path = "/api/v1/accelerators/gpus/worker1:nvidia0";
    let watts = |tick| fleet.truth(tick).cards[0].power_watts.unwrap();
    until("the first tick is kept", async || {
        (running.get(&format!("{path}/power?period=1h")).await.1["data"]["observations"].as_u64() > Some(1)).then_some(())
    })
    .await;
    fleet.pin(Some(40));
    let power = until("the second too", async || {
        let (_, body) = running.get(&format!("{path}/power?period=1h")).await;
        (body["data"]["min_power_watts"] != body["data"]["max_power_watts"]).then(|| body["data"].clone())
    })
    .await;
    let (low, high) = (watts(1).min(watts(40)), watts(1).max(watts(40)));
    assert_eq!((power["min_power_watts"].as_f64(), power["max_power_watts"].as_f64()), (Some(low), Some(high)));
    let (_, body) = running.get(&format!("{path}/metrics?period=10s&step=1s")).await;
    let series = body["data"]["timeseries"]["power_watts"].as_array().unwrap();
    assert!(series.len() >= 10 && series[0]["value"].is_null(), "no observation is null: {body}");
    let newest = series.iter().rev().find_map(|p| p["value"].as_f64());
    // The newest step may hold both.
    assert!((low..=high).contains(&newest.unwrap()), "{newest:?}");
    assert!(running.get(&format!("{path}/power?period=1m")).await.1["metadata"]["warnings"][0].as_str().unwrap().contains("one month"));
    for query in ["period=5", "period=1y", "period=1d&step=1s", "step=0s"] {
        let (status, body) = running.get(&format!("{path}/metrics?{query}")).await;
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some("INVALID_PARAMETER")), "{query}");
    }
}
