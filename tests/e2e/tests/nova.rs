//! An OpenStack of our own over HTTPS: an identity service that gives tokens which end, and a Nova that wants them.

#[path = "redfish/site.rs"]
mod site;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum_server::tls_rustls::RustlsConfig;
use kcloud_e2e::until;
use kcloud_monitor::inventory::Kind;
use serde_json::{Value, json};

use site::{Site, World};

const MACHINES: usize = 23;

#[derive(Default)]
struct Cloud {
    password: String,
    issued: usize,
    refused: usize,
    /// The token that is good now.
    token: Option<String>,
    pages: usize,
}

type Shared = Arc<Mutex<Cloud>>;

async fn start(site: &Site) -> (Shared, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let cloud = Shared::new(Mutex::new(Cloud { password: "secret1".into(), ..Cloud::default() }));
    let tls = RustlsConfig::from_pem_file(site.path("server.pem"), site.path("server.key")).await.unwrap();
    let router = Router::new().fallback(answer).with_state(cloud.clone());
    let serving = axum_server::from_tcp_rustls(listener, tls).unwrap();
    tokio::spawn(async move { serving.serve(router.into_make_service()).await });
    (cloud, port)
}

async fn answer(State(cloud): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let mut cloud = cloud.lock().unwrap();
    if (&parts.method, parts.uri.path()) == (&Method::POST, "/identity/v3/auth/tokens") {
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let identity = &said["auth"]["identity"]["application_credential"];
        if (identity["id"].as_str(), identity["secret"].as_str()) != (Some("app-1"), Some(cloud.password.as_str())) {
            cloud.refused += 1;
            return StatusCode::UNAUTHORIZED.into_response();
        }
        cloud.issued += 1;
        let token = format!("token-{}", cloud.issued);
        cloud.token = Some(token.clone());
        let life = json!({ "token": { "issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T01:00:00Z", "catalog": [] } });
        return (StatusCode::CREATED, [("x-subject-token", token)], life.to_string()).into_response();
    }
    let given = parts.headers.get("x-auth-token").and_then(|t| t.to_str().ok()).map(str::to_owned);
    if given.is_none() || given != cloud.token {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if parts.method == Method::DELETE {
        // The one that it names, which need not be the one by whose right it is ended.
        let ended = parts.headers.get("x-subject-token").and_then(|t| t.to_str().ok());
        cloud.token = cloud.token.take().filter(|t| Some(t.as_str()) != ended);
        return StatusCode::NO_CONTENT.into_response();
    }
    match parts.uri.path() {
        "/identity/v3/projects" => json!({ "projects": [{ "id": "p1", "name": "research" }] }).to_string().into_response(),
        "/v2.1/servers/detail" => {
            cloud.pages += 1;
            page(parts.uri.query().unwrap_or("")).to_string().into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Ten machines at most, whatever was asked for.
fn page(query: &str) -> Value {
    let marker = query.split('&').find_map(|q| q.strip_prefix("marker=vm-")).map_or(0, |m| m.parse::<usize>().unwrap() + 1);
    let end = MACHINES.min(marker + 10);
    let one = |n: usize| {
        json!({ "id": format!("vm-{n}"), "name": format!("machine-{n}"), "status": if n == 0 { "PAUSED" } else { "ACTIVE" }, "tenant_id": "p1",
            "OS-EXT-STS:power_state": if n == 0 { 3 } else { 1 }, "OS-EXT-SRV-ATTR:hypervisor_hostname": format!("worker{}", n % 2),
            "flavor": { "original_name": "g1", "vcpus": 4, "ram": 1024, "disk": 10, "extra_specs": { "resources:VGPU": "1" } } })
    };
    let next = if end < MACHINES { json!([{ "rel": "next", "href": "http://inside:8774/v2.1/servers/detail" }]) } else { json!([]) };
    json!({ "servers": (marker..end).map(one).collect::<Vec<_>>(), "servers_links": next })
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_come_by_pages_with_a_token_that_the_host_holds_and_renews() {
    let site = Site::new();
    let (cloud, port) = start(&site).await;
    let base = format!("https://127.0.0.1:{port}");
    let credentials = format!(
        "[credentials.openstack]\ntype = \"keystone\"\norigins = [{base:?}]\nauth_url = \"{base}/identity/v3\"\n\
         application_credential = \"app-1\"\npassword_file = {:?}\ntls = \"own\"\n",
        site.path("secret")
    );
    let identity = format!("identity_url = \"{base}/identity/v3\"");
    let changes =
        [("interval = \"60s\"", "interval = \"300ms\""), ("# identity_url = \"https://keystone.cluster1:5000/v3\"", identity.as_str())];
    let target = format!("\n[[targets]]\nid = \"cloud1\"\naddress = \"{base}/v2.1\"\ntls = \"own\"\ncredential = \"openstack\"\n");
    cloud.lock().unwrap().password = "secret2".to_owned();
    let running = site.host("nova", &credentials, &(Site::sample("nova", &changes) + &target)).await;
    // The wrong secret first.
    let said = until("the refusal", async || World::of(&running).error("cloud1").filter(|e| e.contains("HTTP 401"))).await;
    assert!(said.contains("refused a token") && !said.contains("secret1"), "{said}");
    until("several reads later", async || (World::of(&running).source("cloud1")?.consecutive_failures >= 3).then_some(())).await;
    assert_eq!(cloud.lock().unwrap().refused, 1, "not tried again and again");
    site.write("secret", "secret2");
    until("all machines", async || (World::of(&running).count(Kind::Vm) == MACHINES).then_some(())).await;
    let world = World::of(&running);
    let last = world.find(Kind::Vm, "worker0", "uuid", "vm-22").expect("the last machine of the last page").clone();
    assert_eq!((last.label("project"), last.label("flavor"), last.label("name")), (Some("research"), Some("g1"), Some("machine-22")));
    for (metric, expected) in [("vcpu_count", 4.0), ("memory_total_bytes", 1_073_741_824.0), ("gpu_request_count", 1.0)] {
        assert_eq!(world.number(Kind::Vm, "worker0", "uuid", "vm-22", metric), Some(expected), "{metric}");
    }
    // A token that ends before its time is replaced, and nothing is missed.
    let pages = {
        let mut cloud = cloud.lock().unwrap();
        assert_eq!((cloud.issued, cloud.token.take().as_deref()), (1, Some("token-1")));
        cloud.pages
    };
    until("a second token, and reads with it", async || {
        let cloud = cloud.lock().unwrap();
        (cloud.issued == 2 && cloud.pages > pages + 6).then_some(())
    })
    .await;
    assert_eq!(World::of(&running).error("cloud1"), None);
    let (_, state) = running.get("/api/v1/system/plugins/nova").await;
    assert!(!state.to_string().contains("token-"), "{state}");
    running.host.log_out().await;
    assert_eq!(cloud.lock().unwrap().token, None, "given back");
}
