//! The fleet over HTTP.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::{BmcFault, Fleet, Moment, pages, redfish};

/// What every simulated BMC wants to be shown: `monitor` with the password `simulated`, as Basic.
pub const BMC_BASIC: &str = "Basic bW9uaXRvcjpzaW11bGF0ZWQ=";

#[derive(Deserialize)]
struct At {
    tick: Option<u64>,
}

#[derive(Deserialize)]
struct Target {
    target: String,
}

/// Where a served fleet lies: its pages, and the Redfish services of its BMCs, each an origin of its own.
pub struct Origins {
    pub pages: SocketAddr,
    /// The node's place, and where its BMC listens.
    pub bmcs: Vec<(usize, SocketAddr)>,
    /// The Redfish service of the meter at the facility's door.
    pub meter: SocketAddr,
}

impl Origins {
    /// Serves everything on loopback ports for as long as the runtime lives.
    pub async fn serve(fleet: &Arc<Fleet>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let pages = listener.local_addr()?;
        tokio::spawn(serve(fleet.clone(), listener, std::future::pending()));
        let mut bmcs = Vec::new();
        for node in (0..fleet.nodes.len()).filter(|n| fleet.nodes[*n].bmc.redfish.is_some()) {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            bmcs.push((node, listener.local_addr()?));
            tokio::spawn(serve_bmc(fleet.clone(), Some(node), listener));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let meter = listener.local_addr()?;
        tokio::spawn(serve_bmc(fleet.clone(), None, listener));
        Ok(Self { pages, bmcs, meter })
    }
}

/// The routes:
/// - `/nodes/NAME/metrics`: dcgm-exporter of a node of the first cluster;
/// - `/clusters/CLUSTER/nodes/NAME/EXPORTER/metrics`: `dcgm node-exporter cadvisor kepler libvirt` of any, and the name of the
///   [`crate::Dialect`] in which a node's other cards are shown; `all-smi` of all of them;
/// - `/clusters/CLUSTER/EXPORTER/metrics`: `kube-state-metrics openstack`;
/// - `/clusters/CLUSTER/ipmi?target=NAME-bmc`: ipmi_exporter, which reaches every BMC of a cluster;
/// - `/facility/metrics`: the meter at the door;
/// - `/truth`, `/tick`, `/tick/N` (PUT pins, DELETE lets run), `/hold/N` (PUT keeps loads, lets counters run);
/// - `/faults/down/NAME` (POST takes a node's exporters down, DELETE brings them back);
/// - `/faults/bmc/CLUSTER/NAME/KIND` (POST `hang`, `error` or `unreachable`, DELETE makes well).
pub fn router(fleet: Arc<Fleet>) -> Router {
    Router::new()
        .route("/nodes/{node}/metrics", get(first_cluster))
        .route("/clusters/{cluster}/nodes/{node}/{exporter}/metrics", get(of_node))
        .route("/clusters/{cluster}/{exporter}/metrics", get(of_cluster))
        .route("/clusters/{cluster}/ipmi", get(ipmi))
        .route("/facility/metrics", get(|State(f): State<Arc<Fleet>>| async move { text(pages::facility::write(&f, f.now())) }))
        .route("/truth", get(truth))
        .route(
            "/tick",
            get(|State(f): State<Arc<Fleet>>| async move { f.tick().to_string() })
                .delete(|State(f): State<Arc<Fleet>>| async move { f.pin(None) }),
        )
        .route("/tick/{tick}", axum::routing::put(|State(f): State<Arc<Fleet>>, Path(t): Path<u64>| async move { f.pin(Some(t)) }))
        .route("/hold/{tick}", axum::routing::put(|State(f): State<Arc<Fleet>>, Path(t): Path<u64>| async move { f.hold(t) }))
        .route(
            "/faults/down/{*node}",
            post(|State(f): State<Arc<Fleet>>, Path(n): Path<String>| async move { f.set_down(&n, true) })
                .delete(|State(f): State<Arc<Fleet>>, Path(n): Path<String>| async move { f.set_down(&n, false) }),
        )
        .route("/faults/bmc/{cluster}/{node}/{fault}", post(fault).delete(fault))
        .with_state(fleet)
}

/// Serves until `shutdown` is done.
pub async fn serve(fleet: Arc<Fleet>, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    axum::serve(listener, router(fleet)).with_graceful_shutdown(shutdown).await
}

/// Serves the Redfish of one node's BMC, or of the facility's meter, to `monitor` with the password `simulated`.
pub async fn serve_bmc(fleet: Arc<Fleet>, node: Option<usize>, listener: TcpListener) -> std::io::Result<()> {
    let answer = move |request: Request| {
        let fleet = fleet.clone();
        let path = request.uri().path().trim_end_matches('/').to_owned();
        // The root says who it is to everybody.
        let is_known = path == "/redfish/v1" || request.headers().get(header::AUTHORIZATION).is_some_and(|given| given == BMC_BASIC);
        async move { bmc(&fleet, node, &path, is_known).await }
    };
    axum::serve(listener, Router::new().fallback(get(answer))).await
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response()
}

async fn truth(State(fleet): State<Arc<Fleet>>, Query(at): Query<At>) -> Response {
    match at.tick {
        Some(tick) => Json(fleet.truth(Moment { tick, beyond: 0.0, ..fleet.now() })).into_response(),
        None => Json(fleet.truth(fleet.now())).into_response(),
    }
}

async fn first_cluster(State(fleet): State<Arc<Fleet>>, Path(node): Path<String>) -> Response {
    page(&fleet, &fleet.clusters[0].name.clone(), &node, "dcgm")
}

async fn of_node(State(fleet): State<Arc<Fleet>>, Path((cluster, node, exporter)): Path<(String, String, String)>) -> Response {
    page(&fleet, &cluster, &node, &exporter)
}

fn page(fleet: &Fleet, cluster: &str, node: &str, exporter: &str) -> Response {
    let Some(at) = fleet.find(cluster, node) else { return StatusCode::NOT_FOUND.into_response() };
    if fleet.is_down(&fleet.nodes[at]) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let now = fleet.now();
    match exporter {
        "dcgm" if !fleet.nodes[at].cards.is_empty() => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], fleet.exposition(at, now)).into_response()
        }
        "node-exporter" => text(pages::node_exporter::write(fleet, at, now)),
        "cadvisor" => text(pages::cadvisor::write(fleet, at, now)),
        "kepler" => text(pages::kepler::write(fleet, at, now)),
        "libvirt" if !fleet.nodes[at].vms.is_empty() => text(pages::libvirt::write(fleet, at, now)),
        // It reads what others show, too.
        "all-smi" if fleet.nodes[at].dialect.is_some() => text(fleet.shown_in(&pages::all_smi::DIALECT, at, now)),
        name if fleet.nodes[at].dialect.is_some_and(|d| d.name == name) => text(fleet.other_exposition(at, now).unwrap_or_default()),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn of_cluster(State(fleet): State<Arc<Fleet>>, Path((cluster, exporter)): Path<(String, String)>) -> Response {
    let Some(at) = fleet.clusters.iter().position(|c| c.name == cluster) else { return StatusCode::NOT_FOUND.into_response() };
    match exporter.as_str() {
        "kube-state-metrics" => text(pages::kube_state_metrics::write(&fleet, at, fleet.now())),
        "openstack" if fleet.clusters[at].vms > 0 => text(pages::openstack::write(&fleet, at)),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn ipmi(State(fleet): State<Arc<Fleet>>, Path(cluster): Path<String>, Query(Target { target }): Query<Target>) -> Response {
    let node = target.strip_suffix("-bmc").and_then(|n| fleet.find(&cluster, n)).filter(|n| fleet.nodes[*n].bmc.ipmi.is_some());
    // The exporter answers for a BMC that it cannot reach, too.
    let Some(node) = node else { return text(pages::ipmi::unreachable()) };
    match fleet.bmc_fault(&fleet.nodes[node]) {
        Some(BmcFault::Hang) => std::future::pending().await,
        Some(BmcFault::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(BmcFault::Unreachable) => text(pages::ipmi::unreachable()),
        None => text(pages::ipmi::write(&fleet, node, fleet.now())),
    }
}

async fn bmc(fleet: &Fleet, node: Option<usize>, path: &str, is_known: bool) -> Response {
    match node.and_then(|n| fleet.bmc_fault(&fleet.nodes[n])) {
        Some(BmcFault::Hang) => std::future::pending().await,
        Some(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        None if !is_known => return StatusCode::UNAUTHORIZED.into_response(),
        None => {}
    }
    let found = match node {
        Some(node) => redfish::resource(fleet, node, fleet.now(), path),
        None => redfish::meter(fleet, fleet.now(), path),
    };
    match found {
        Some(body) => ([("odata-version", "4.0")], Json(body)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn fault(
    method: axum::http::Method,
    State(fleet): State<Arc<Fleet>>,
    Path((cluster, node, fault)): Path<(String, String, String)>,
) -> StatusCode {
    let kind = match (method.as_str(), fault.as_str()) {
        ("DELETE", _) => None,
        (_, "hang") => Some(BmcFault::Hang),
        (_, "error") => Some(BmcFault::Error),
        (_, "unreachable") => Some(BmcFault::Unreachable),
        _ => return StatusCode::BAD_REQUEST,
    };
    fleet.set_bmc_fault(&format!("{cluster}/{node}"), kind);
    StatusCode::NO_CONTENT
}
