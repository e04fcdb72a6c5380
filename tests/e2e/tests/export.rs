//! Files of many rows, as analysts fetch them: over HTTP from a running host, compared with its history.

use kcloud_e2e::{Running, fleet, until, world};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::inventory::Kind;
use serde_json::Value;

async fn running() -> Running {
    let (fleet, address) = fleet(2, Faults::default()).await;
    let running = Running::start(&["nvidia-dcgm"], demo_settings(&fleet, address)).await;
    world::put(&running.host.app.inventory);
    until("18 cards", async || (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 18).then_some(())).await;
    running
}

async fn send(running: &Running, method: reqwest::Method, path: &str) -> reqwest::Response {
    let request = running.client.request(method, format!("{}/api/v1/export/{path}", running.base));
    request.basic_auth("admin", Some("changeme")).send().await.unwrap()
}

async fn bytes(running: &Running, path: &str) -> Vec<u8> {
    let response = send(running, reqwest::Method::GET, path).await;
    assert_eq!(response.status(), 200, "{path}");
    response.bytes().await.unwrap().to_vec()
}

/// A window of whole seconds that ended, as a query.
async fn closed_window(running: &Running) -> (i64, i64, String) {
    let start = kcloud_monitor::now_ms() / 1_000 * 1_000 - 1_000;
    let end = start + 4_000;
    until("the window is over", async || (running.host.app.inventory.current().at_ms > end + 1_000).then_some(())).await;
    (start, end, format!("start_time={}&end_time={}", rfc3339(start), rfc3339(end)))
}

/// RFC 3339 of whole seconds.
fn rfc3339(ms: i64) -> String {
    let days = ms.div_euclid(86_400_000);
    let (z, s) = (days + 719_468, ms.rem_euclid(86_400_000) / 1_000);
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let y = yoe + era * 400 + i64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}Z", s / 3_600, s / 60 % 60, s % 60)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_what_history_holds() {
    let running = running().await;
    let (start, end, window) = closed_window(&running).await;
    let body =
        bytes(&running, &format!("metrics?metric_name=power,temperature,memory_used_bytes&resource_type=gpus&step=raw&{window}")).await;
    let whole: Value = serde_json::from_slice(&body).unwrap();
    let rows = whole["data"].as_array().unwrap();
    let snapshot = running.host.app.inventory.current();
    let mut seen = 0;
    for card in snapshot.of_kind(Kind::Accelerator) {
        for (column, metric) in
            [("power_watts", "power_watts"), ("temperature_celsius", "temperature_celsius"), ("memory_used_bytes", "memory_used_bytes")]
        {
            let history = running.host.app.history.raw(&card.id, metric, start, end).unwrap();
            let exported: Vec<f64> = rows.iter().filter(|r| r["resource_id"] == *card.id).filter_map(|r| r[column].as_f64()).collect();
            let values: Vec<f64> = history.iter().filter_map(|(_, v)| *v).collect();
            assert_eq!(exported.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            seen += values.len();
        }
    }
    assert!(seen > 16 * 3, "{seen} values");
    assert_eq!(whole["metadata"]["total_count"], rows.len());
    assert_eq!(whole["metadata"]["columns"]["memory_used_bytes"]["unit"], "bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_named_with_what_is_allowed() {
    let running = running().await;
    for (query, expected) in [
        ("metrics?format=xml", "csv"),
        ("metrics?metric_name=wats", "temperature_celsius"),
        ("metrics?resource_type=cars", "sensors"),
        ("metrics?step=0s", "number with a unit"),
        ("metrics?step=raw&aggregate=average", "nothing with step=raw"),
        ("metrics?resource_type=all&period=1w&step=1s", "/api/v1/export/jobs"),
        ("metrics?color=red", "metric_name"),
        ("power?breakdown_by=workload", "namespace"),
        ("power?breakdown_by=node&resource_type=gpus", "one of the two"),
        ("power?start_time=2026-01-01", "RFC 3339"),
    ] {
        let response = send(&running, reqwest::Method::GET, query).await;
        assert_eq!(response.status(), 400, "{query}");
        let body = response.text().await.unwrap();
        assert!(body.contains(expected), "{query}: {body}");
    }
    assert_eq!(send(&running, reqwest::Method::GET, "power?cluster=nowhere").await.status(), 404);
    let nobody = running.client.get(format!("{}/api/v1/export/power", running.base)).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_what_it_is_and_is_not_sent_again_while_nothing_changed() {
    let running = running().await;
    let path = "power?format=csv&start_time=2026-01-01T00:00:00Z&end_time=2026-01-02T09:00:00%2B09:00&breakdown_by=vendor";
    let head = send(&running, reqwest::Method::HEAD, path).await;
    let header = |r: &reqwest::Response, name: &str| r.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(head.status(), 200);
    assert_eq!(header(&head, "content-type"), "text/csv; charset=utf-8");
    assert_eq!(header(&head, "content-disposition"), "attachment; filename=\"kcloud-power_20260101T000000Z_20260102T000000Z.csv\"");
    let expected: usize = header(&head, "x-export-rows-expected").parse().unwrap();
    let body = bytes(&running, path).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(text.lines().count(), expected + 1, "{text}");
    assert!(text.contains(",unattributed,") && text.contains(",nvidia,"), "{text}");
    let formats = running.get("/api/v1/export/formats").await.1;
    assert_eq!(formats["formats"]["csv"]["file_extension"], ".csv");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_stops_the_work() {
    let running = running().await;
    // Many empty rows: long enough to go away from, and nothing to wait for.
    let mut response = send(&running, reqwest::Method::GET, "metrics?format=csv&resource_type=gpus&period=3d&step=1s").await;
    assert_eq!(response.status(), 200);
    assert!(!response.chunk().await.unwrap().unwrap().is_empty());
    assert_eq!(running.host.app.exports.active(), 1);
    drop(response);
    until("the work ended", async || (running.host.app.exports.active() == 0).then_some(())).await;
    let text = running.get("/api/v1/system/metrics").await.1.as_str().unwrap().to_owned();
    assert!(text.contains("kcloud_export_files_total{as=\"answer\",format=\"csv\",result=\"stopped\"} 1"), "{text}");
    let rows: u64 =
        text.lines().find_map(|l| l.strip_prefix("kcloud_export_rows_total{as=\"answer\",format=\"csv\"} ")).unwrap().parse().unwrap();
    assert!(rows < 2_000_000, "{rows} rows were written for nobody");
}
