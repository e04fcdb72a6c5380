//! A BMC of our own with sessions, that can be made to break in the ways in which BMCs do.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_server::tls_rustls::RustlsConfig;
use serde_json::{Value, json};

use crate::site::Site;

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

#[derive(Default)]
pub struct Inside {
    pub documents: BTreeMap<String, Value>,
    /// Paths that answer this text in place of their document.
    pub broken: BTreeMap<String, String>,
    /// Paths, with what lies below them, that never answer.
    pub hangs: Option<String>,
    pub password: String,
    pub sessions: HashSet<String>,
    pub logins: usize,
    pub refused: usize,
    pub reads: usize,
    under_way: usize,
    /// Requests at once, at most.
    pub most: usize,
}

#[derive(Clone)]
pub struct Bmc {
    inside: Arc<Mutex<Inside>>,
    pub port: u16,
}

impl Bmc {
    /// A server with two sensors, a supply and a fan in the present shape.
    pub async fn start(site: &Site) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let inside = Inside { documents: documents(), password: "secret1".to_owned(), ..Inside::default() };
        let bmc = Self { inside: Arc::new(Mutex::new(inside)), port: address.port() };
        let tls = RustlsConfig::from_pem_file(site.path("server.pem"), site.path("server.key")).await.unwrap();
        let router = Router::new().fallback(answer).with_state(bmc.clone());
        let serving = axum_server::from_tcp_rustls(listener, tls).unwrap();
        tokio::spawn(async move { serving.serve(router.into_make_service()).await });
        bmc
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }
}

fn link(path: &str) -> Value {
    json!({ "@odata.id": format!("/redfish/v1{path}") })
}

fn documents() -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut put = |path: &str, value: Value| all.insert(format!("/redfish/v1{path}"), value);
    put("", json!({ "Systems": link("/Systems"), "Chassis": link("/Chassis"), "Links": { "Sessions": { "@odata.id": SESSIONS } } }));
    put("/Systems", json!({ "Members": [link("/Systems/1")] }));
    put("/Systems/1", json!({ "Id": "1", "PowerState": "On", "Model": "S1", "Links": { "Chassis": [link("/Chassis/1")] } }));
    put("/Chassis", json!({ "Members": [link("/Chassis/1")] }));
    put(
        "/Chassis/1",
        json!({ "Id": "1", "EnvironmentMetrics": link("/Chassis/1/EnvironmentMetrics"), "Sensors": link("/Chassis/1/Sensors") }),
    );
    put("/Chassis/1/EnvironmentMetrics", json!({ "PowerWatts": { "Reading": 500 }, "EnergykWh": { "Reading": 2 } }));
    put("/Chassis/1/Sensors", json!({ "Members": [link("/Chassis/1/Sensors/Inlet"), link("/Chassis/1/Sensors/Outlet")] }));
    for (id, celsius) in [("Inlet", 24), ("Outlet", 41)] {
        put(&format!("/Chassis/1/Sensors/{id}"), json!({ "Id": id, "Name": id, "ReadingType": "Temperature", "Reading": celsius }));
    }
    all
}

async fn answer(State(bmc): State<Bmc>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_end_matches('/').to_owned();
    let Ok(body) = axum::body::to_bytes(body, 1 << 20).await else { return StatusCode::BAD_REQUEST.into_response() };
    let hangs = bmc.inside().hangs.clone();
    if hangs.is_some_and(|h| path.starts_with(&h)) {
        std::future::pending::<()>().await;
    }
    {
        let mut inside = bmc.inside();
        inside.under_way += 1;
        inside.most = inside.most.max(inside.under_way);
    }
    // Long enough for two to meet, if two were sent.
    tokio::time::sleep(Duration::from_millis(3)).await;
    let token = parts.headers.get("x-auth-token").and_then(|t| t.to_str().ok()).unwrap_or("").to_owned();
    let mut inside = bmc.inside();
    inside.under_way -= 1;
    respond(&mut inside, &parts.method, &path, &token, &body)
}

fn respond(inside: &mut Inside, method: &Method, path: &str, token: &str, body: &Bytes) -> Response {
    if *method == Method::POST && path == SESSIONS {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        if said != json!({ "UserName": "monitor", "Password": inside.password }) {
            inside.refused += 1;
            return StatusCode::UNAUTHORIZED.into_response();
        }
        inside.logins += 1;
        let token = format!("token-{}", inside.logins);
        inside.sessions.insert(token.clone());
        let location = format!("{SESSIONS}/{token}");
        return (StatusCode::CREATED, [("x-auth-token", token), (header::LOCATION.as_str(), location)], "{}").into_response();
    }
    if path != "/redfish/v1" && !inside.sessions.contains(token) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if *method == Method::DELETE {
        inside.sessions.remove(path.rsplit('/').next().unwrap_or(""));
        return StatusCode::NO_CONTENT.into_response();
    }
    inside.reads += 1;
    match (inside.broken.get(path), inside.documents.get(path)) {
        (Some(text), _) => text.clone().into_response(),
        (None, Some(value)) => value.to_string().into_response(),
        (None, None) => StatusCode::NOT_FOUND.into_response(),
    }
}
