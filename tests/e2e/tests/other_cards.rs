//! Cards of other vendors by files that an operator writes: XPU Manager over TLS with Basic, and what `tt-smi` wrote to a file.

#[path = "redfish/site.rs"]
mod site;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum_server::tls_rustls::RustlsConfig;
use kcloud_e2e::until;
use kcloud_monitor::inventory::Kind;
use site::{Site, World};

const PAGE: &str = "xpum_power_watts{uuid=\"u1\",dev_name=\"Intel(R) Data Center GPU Max 1550\",pci_bdf=\"0000:4d:00.0\"} 450\n\
    xpum_engine_ratio{uuid=\"u1\",pci_bdf=\"0000:4d:00.0\",sub_dev=\"0\"} 0.4\nxpum_engine_ratio{uuid=\"u1\",pci_bdf=\"0000:4d:00.0\",sub_dev=\"1\"} 0.8\n";

/// `monitor:secret1`.
const BASIC: &str = "Basic bW9uaXRvcjpzZWNyZXQx";

async fn answer(headers: HeaderMap) -> Response {
    match headers.get("authorization").and_then(|v| v.to_str().ok()) == Some(BASIC) {
        true => PAGE.into_response(),
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// A port at which XPU Manager's exporter answers over TLS.
async fn xpu_manager(site: &Site) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = RustlsConfig::from_pem_file(site.path("server.pem"), site.path("server.key")).await.unwrap();
    let serving = axum_server::from_tcp_rustls(listener, tls).unwrap();
    tokio::spawn(async move { serving.serve(Router::new().fallback(answer).into_make_service()).await });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn xpu_manager_is_read_over_tls_with_a_name_and_a_password() {
    let site = Site::new();
    let port = xpu_manager(&site).await;
    let origin = format!("https://127.0.0.1:{port}");
    let credentials = |password: &str| {
        format!("[credentials.xpum]\norigins = [{origin:?}]\nusername = \"monitor\"\npassword_file = {:?}\n", site.path(password))
    };
    let settings = Site::sample(
        "intel-gpu",
        &[
            ("15s", "300ms"),
            ("# [[targets]]", "[[targets]]"),
            ("# id =", "id ="),
            ("# address = \"https://10.0.0.11:29999/metrics\"", &format!("address = \"{origin}/metrics\"")),
            ("# cluster =", "cluster ="),
            ("# labels =", "labels ="),
            ("# tls = \"xpum\"", "tls = \"own\""),
            ("# credential =", "credential ="),
        ],
    );
    site.write("wrong", "other\n");
    let running = site.host("intel-gpu", &credentials("wrong"), &settings).await;
    until("the refusal is the operator's", async || World::of(&running).error("worker1").filter(|e| e.contains("credential")).map(drop))
        .await;
    assert_eq!(World::of(&running).count(Kind::Accelerator), 0);
    drop(running);
    let running = site.host("intel-gpu", &credentials("secret"), &settings).await;
    let watts = async || World::of(&running).number(Kind::Accelerator, "worker1", "uuid", "u1", "power_watts");
    assert_eq!(until("the card", watts).await, 450.0);
    let world = World::of(&running);
    let load = world.number(Kind::Accelerator, "worker1", "uuid", "u1", "utilization_ratio").unwrap();
    assert!((load - 0.6).abs() < 1e-9 && world.count(Kind::Partition) == 2, "{load}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tt_smi_wrote_to_a_file_is_read_by_the_files_right() {
    let site = Site::new();
    let folder = std::fs::canonicalize(site.dir.path()).unwrap();
    let dump = |watts: u32| {
        let text = format!(
            r#"{{"time":"2026-01-01T00:00:00","device_info":[{{"board_info":{{"board_type":"p150a","board_id":"0100014611901234","bus_id":"0000:04:00.0"}},
                "telemetry":{{"power":" {watts}.0","asic_temperature":"34.8","aiclk":" 800"}}}}]}}"#
        );
        // Beside, then renamed, as the page of the plugin says.
        site.write("new", &text);
        std::fs::rename(site.path("new"), site.path("worker2.json")).unwrap();
    };
    dump(16);
    let path = folder.join("worker2.json");
    let settings = Site::sample("tenstorrent", &[("15s", "300ms"), ("/var/lib/tt-smi/*.json\"]", &format!("{}\"]", path.display()))])
        + &format!(
            "\n[[targets]]\nid = \"worker2\"\naddress = \"{}\"\ncluster = \"cluster1\"\nlabels = {{ node = \"worker2\" }}\n",
            path.display()
        );
    let running = site.host("tenstorrent", "", &settings).await;
    let watts = || World::of(&running).number(Kind::Accelerator, "worker2", "uuid", "0100014611901234-0", "power_watts");
    until("the chip", async || watts().filter(|w| *w == 16.0)).await;
    dump(21);
    until("what it says later", async || watts().filter(|w| *w == 21.0)).await;
    std::fs::remove_file(site.path("worker2.json")).unwrap();
    until("that it is gone", async || World::of(&running).error("worker2").filter(|e| e.contains("is not there")).map(drop)).await;
}
