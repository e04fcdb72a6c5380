//! The HTTP interface. Reads the current snapshot and nothing else: a request never calls a plugin.
//!
//! Units become the documented ones here and only here (spec/API_SPECIFICATION.md).

mod docs;
mod envelope;
mod layer;
mod openapi;
mod params;
mod problem;
mod routes;
mod system;
pub mod v1;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
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
    routes::router()
        .merge(docs::router())
        .merge(more)
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(app.clone(), layer::guard))
        .layer(tower_http::compression::CompressionLayer::new())
        .layer(axum::middleware::from_fn_with_state(app.clone(), layer::observe))
        .with_state(app)
}
