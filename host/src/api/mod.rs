//! The HTTP interface. Reads the current snapshot and nothing else: a request never calls a plugin.
//!
//! Units become the documented ones here and only here (spec/API_SPECIFICATION.md).

mod cors;
mod docs;
mod envelope;
mod layer;
mod openapi;
pub(crate) mod params;
mod past;
mod plugins;
mod problem;
mod routes;
mod system;
pub mod v1;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use bytes::Bytes;
use moka::Expiry;
use moka::sync::Cache;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use crate::alerts::Alerts;
use crate::auth::Auth;
use crate::export::Exports;
use crate::history::History;
use crate::history::remote::RemoteWrite;
use crate::host::Look;
use crate::inventory::Inventory;
use crate::plugins::Registry;
use crate::power::Facility;
use crate::report::Reports;
use crate::stream::{self, Hub};

pub use cors::WebOrigin;
pub(crate) use envelope::rfc3339;
pub use problem::Problem;

/// A rendered `data` with what the envelope says about it.
#[derive(Clone)]
pub(crate) struct Rendered {
    pub data: Bytes,
    pub total: usize,
    pub warnings: Arc<Vec<String>>,
    pub link: Option<Arc<str>>,
    /// Where the answer passes from another's memory to this host's.
    pub seam: Option<Arc<serde_json::Value>>,
    /// The window and step that were used, of a time series.
    pub window: Option<Arc<serde_json::Value>>,
    /// What the envelope says of it besides, rendered with it.
    pub metadata: Arc<str>,
    /// How long it is kept at most.
    pub life: Duration,
}

impl Rendered {
    pub(crate) fn empty() -> Self {
        Self {
            data: Bytes::new(),
            total: 0,
            warnings: Arc::default(),
            link: None,
            seam: None,
            window: None,
            metadata: "".into(),
            life: Duration::from_secs(30),
        }
    }
}

/// Lets each answer live as long as its kind says.
struct ByKind;

impl Expiry<String, Rendered> for ByKind {
    fn expire_after_create(&self, _: &String, rendered: &Rendered, _: Instant) -> Option<Duration> {
        Some(rendered.life)
    }
}

/// A configured cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterInfo {
    pub name: String,
    pub region: Option<String>,
    pub description: Option<String>,
}

/// Whether the operator's files are in force as they stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigState {
    pub problems: usize,
    /// When they were last looked at, in ms.
    pub looked_at: i64,
}

/// Everything that a handler can see.
#[derive(Clone)]
pub struct App {
    pub inventory: Arc<Inventory>,
    pub history: Arc<dyn History>,
    /// What leaves the host, where anything does.
    pub remote_write: Option<Arc<RemoteWrite>>,
    pub registry: Arc<Registry>,
    /// What is told as it happens.
    pub streams: Arc<Hub>,
    pub alerts: Arc<Alerts>,
    pub reports: Arc<Reports>,
    pub auth: Arc<Auth>,
    /// It is served over HTTPS.
    pub is_tls: bool,
    /// Whose pages may read answers.
    pub cors: Arc<[WebOrigin]>,
    pub exports: Arc<Exports>,
    /// Where an approval is written; `None` where settings come from no files.
    pub plugins_config_dir: Option<PathBuf>,
    clusters: Arc<ArcSwap<Vec<ClusterInfo>>>,
    facilities: Arc<ArcSwap<Vec<Facility>>>,
    config: Arc<ArcSwap<ConfigState>>,
    pub started: Instant,
    pub(crate) cache: Cache<String, Rendered>,
    pub(crate) past: past::Past,
    /// What other hosts read.
    bulk: Arc<v1::bulk::Bulk>,
    pub(crate) counters: Arc<system::Counters>,
}

/// Rendered answers kept, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
const AGENT_CACHE_BYTES: u64 = 4 << 20;

fn cache(bytes: u64) -> Cache<String, Rendered> {
    let weight = |k: &String, v: &Rendered| (k.len() + v.data.len() + v.metadata.len() + 200) as u32;
    Cache::builder().max_capacity(bytes).weigher(weight).expire_after(ByKind).build()
}

impl App {
    pub fn new(
        inventory: Arc<Inventory>,
        history: Arc<dyn History>,
        registry: Arc<Registry>,
        auth: Arc<Auth>,
        plugins_config_dir: Option<PathBuf>,
        clusters: Vec<ClusterInfo>,
    ) -> Self {
        let cache = cache(CACHE_BYTES);
        let alerts = Arc::<Alerts>::default();
        let streams = Hub::new(inventory.clone(), alerts.clone(), stream::Limits::default());
        let reports =
            Arc::new(Reports::open(inventory.clone(), history.clone(), alerts.clone(), None, crate::history::Keep::default().minutes));
        let (clusters, counters, config) = (Arc::new(ArcSwap::from_pointee(clusters)), Arc::default(), Arc::default());
        Self {
            inventory,
            history,
            remote_write: None,
            registry,
            streams,
            alerts,
            reports,
            auth,
            is_tls: false,
            cors: Arc::default(),
            exports: Arc::default(),
            plugins_config_dir,
            clusters,
            facilities: Arc::default(),
            config,
            started: Instant::now(),
            cache,
            past: past::Past::default(),
            bulk: Arc::default(),
            counters,
        }
    }
}

impl App {
    /// Lets go of what nobody asks for.
    pub(crate) fn upkeep(&self, now_ms: i64) {
        self.bulk.upkeep(now_ms);
    }

    /// Lets the cache be small.
    pub(crate) fn keep_less(&mut self) {
        self.cache = cache(AGENT_CACHE_BYTES);
    }

    /// Who answers for which part of a window of history, where it is not this host's own store alone.
    pub(crate) fn seam(&self, window: &params::Window) -> Option<Arc<serde_json::Value>> {
        let halves = self.history.halves((window.start, window.end), window.step)?;
        Some(Arc::new(serde_json::json!({ "source": halves.engine, "until": envelope::rfc3339(halves.until_ms) })))
    }

    /// Configured clusters.
    pub fn clusters(&self) -> Arc<Vec<ClusterInfo>> {
        self.clusters.load_full()
    }

    /// What is metered around the servers.
    pub(crate) fn facilities(&self) -> Arc<Vec<Facility>> {
        self.facilities.load_full()
    }

    /// Takes over what the operator's files say now.
    pub(crate) fn take(&self, look: &Look) {
        for problem in &look.problems {
            tracing::error!(problem, "not taken; what was good before stays in force");
        }
        self.config.store(Arc::new(ConfigState { problems: look.problems.len(), looked_at: crate::now_ms() }));
        if let Some(clusters) = &look.clusters {
            self.clusters.store(Arc::new(clusters.clone()));
        }
        if let Some(reports) = &look.reports {
            self.reports.set(reports.clone());
        }
        if let Some(facilities) = &look.facilities {
            self.facilities.store(Arc::new(facilities.clone()));
        }
    }
}

/// What `/metrics` answers from a snapshot; for the fuzz targets.
#[doc(hidden)]
pub fn metrics_text(snapshot: &crate::inventory::Snapshot) -> String {
    v1::fleet::write(snapshot)
}

/// Files that are compressed already are not compressed again.
fn is_worth_compressing() -> impl Predicate {
    let not = NotForContentType::const_new;
    DefaultPredicate::new()
        .and(not("application/vnd.openxmlformats-officedocument"))
        .and(not("application/octet-stream"))
        .and(not("application/pdf"))
}

/// All routes.
pub fn router(app: App) -> Router {
    router_with(app, Router::new())
}

/// All routes for who reaches the host's own socket: the owner of its files.
pub fn local(app: App) -> Router {
    router(app).layer(axum::Extension(layer::Local))
}

/// All routes and some more behind the same guard and middleware.
pub fn router_with(app: App, more: Router<App>) -> Router {
    let routes = routes::router()
        .merge(docs::router())
        .merge(more)
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(app.clone(), layer::guard))
        .layer(CompressionLayer::new().compress_when(is_worth_compressing()));
    let routes = match cors::layer(&app.cors) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(axum::middleware::from_fn_with_state(app.clone(), layer::observe)).with_state(app)
}
