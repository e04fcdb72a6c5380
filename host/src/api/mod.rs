//! The HTTP interface. Reads the current snapshot and nothing else: a request never calls a plugin.
//!
//! Units become the documented ones here and only here (spec/API_SPECIFICATION.md).

mod envelope;
mod layer;
mod params;
mod problem;
mod system;
pub mod v1;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use moka::sync::Cache;

use crate::auth::Auth;
use crate::history::History;
use crate::inventory::Inventory;
use crate::plugins::Registry;

pub use problem::Problem;

/// A rendered `data` with what the envelope says about it.
#[derive(Clone)]
pub(crate) struct Rendered {
    pub data: Bytes,
    pub total: usize,
    pub warnings: Arc<Vec<String>>,
    pub link: Option<Arc<str>>,
}

/// A configured cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterInfo {
    pub name: String,
    pub region: Option<String>,
    pub description: Option<String>,
}

/// Everything that a handler can see.
#[derive(Clone)]
pub struct App {
    pub inventory: Arc<Inventory>,
    pub history: Arc<dyn History>,
    pub registry: Arc<Registry>,
    pub auth: Arc<Auth>,
    pub clusters: Arc<Vec<ClusterInfo>>,
    pub started: Instant,
    pub(crate) cache: Cache<String, Rendered>,
    pub(crate) counters: Arc<system::Counters>,
}

/// Rendered answers kept, in bytes.
const CACHE_BYTES: u64 = 64 << 20;

impl App {
    pub fn new(
        inventory: Arc<Inventory>,
        history: Arc<dyn History>,
        registry: Arc<Registry>,
        auth: Arc<Auth>,
        clusters: Vec<ClusterInfo>,
    ) -> Self {
        let weight = |k: &String, v: &Rendered| (k.len() + v.data.len() + 200) as u32;
        let cache = Cache::builder().max_capacity(CACHE_BYTES).weigher(weight).build();
        let (clusters, counters) = (Arc::new(clusters), Arc::default());
        Self { inventory, history, registry, auth, clusters, started: Instant::now(), cache, counters }
    }
}

/// All routes.
pub fn router(app: App) -> Router {
    router_with(app, Router::new())
}

/// All routes and some more behind the same guard and middleware.
pub fn router_with(app: App, more: Router<App>) -> Router {
    let v1 = Router::new()
        .route("/auth/login", post(v1::auth::login))
        .route("/auth/token", post(v1::auth::token))
        .route("/auth/verify", get(v1::auth::verify))
        .route("/accelerators/gpus", get(v1::accelerators::gpus))
        .route("/accelerators/gpus/summary", get(v1::accelerators::gpus_summary))
        .route("/accelerators/gpus/{id}", get(v1::accelerators::gpu))
        .route("/accelerators/gpus/{id}/metrics", get(v1::accelerators::gpu_metrics))
        .route("/accelerators/gpus/{id}/power", get(v1::accelerators::gpu_power))
        .route("/accelerators/gpus/{id}/temperature", get(v1::accelerators::gpu_temperature))
        .route("/accelerators/npus", get(v1::accelerators::npus))
        .route("/accelerators/npus/summary", get(v1::accelerators::npus_summary))
        .route("/accelerators/npus/{id}", get(v1::accelerators::npu))
        .route("/accelerators/npus/{id}/metrics", get(v1::accelerators::npu_metrics))
        .route("/accelerators/all", get(v1::accelerators::all))
        .route("/accelerators/summary", get(v1::accelerators::summary))
        .route("/clusters", get(v1::clusters::list))
        .route("/clusters/{name}", get(v1::clusters::detail))
        .route("/system/health", get(system::health))
        .route("/system/status", get(system::status))
        .route("/system/info", get(system::info))
        .route("/system/version", get(system::version))
        .route("/system/capabilities", get(system::capabilities))
        .route("/system/metrics", get(system::metrics))
        .route("/system/plugins", get(system::plugins))
        .route("/system/plugins/{name}", get(system::plugin));
    Router::new()
        .merge(more)
        .nest("/api/v1", v1)
        .route("/livez", get(|| async { "ok\n" }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(system::readyz))
        .route("/metrics", get(v1::fleet::metrics))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(app.clone(), layer::guard))
        .layer(tower_http::compression::CompressionLayer::new())
        .layer(axum::middleware::from_fn_with_state(app.clone(), layer::observe))
        .with_state(app)
}
