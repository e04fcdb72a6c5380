//! `/system`: how the host itself fares, and its plugins.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::envelope::rfc3339;
use super::{App, Problem};
use crate::catalogue::{Catalogue, MetricId};
use crate::history::remote::Counts;
use crate::inventory::{Kind, Life, Snapshot, Subject, Value as Reading};
use crate::plugins::{OnMissing, Plugin, State as PluginState};
use crate::telemetry::{Histogram, Page};

/// The host's own counters.
#[derive(Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    latency: Mutex<BTreeMap<String, Histogram>>,
}

impl Counters {
    pub(crate) fn cache(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, route: &str, status: u16, took: Duration) {
        *self.requests.lock().unwrap_or_else(|e| e.into_inner()).entry((route.to_owned(), status)).or_default() += 1;
        self.latency.lock().unwrap_or_else(|e| e.into_inner()).entry(route.to_owned()).or_default().observe(took);
    }

    fn hit_rate(&self) -> Option<f64> {
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        (hits + misses > 0).then(|| (hits as f64 / (hits + misses) as f64 * 1e4).round() / 1e4)
    }
}

struct Health {
    status: &'static str,
    sources: usize,
    failing: usize,
    rejected: usize,
    unsigned: usize,
}

fn look(app: &App) -> Health {
    let snapshot = app.inventory.current();
    let failing = snapshot.asked().filter(|s| s.consecutive_failures > 0).count();
    let bad = |p: &std::sync::Arc<Plugin>| match p.state().0 {
        PluginState::Rejected | PluginState::WaitingForApproval | PluginState::Quarantined | PluginState::Degraded => true,
        PluginState::Missing => p.settings().on_missing != OnMissing::Ignore,
        _ => false,
    };
    let plugins = app.registry.list();
    let rejected = plugins.iter().filter(|p| bad(p)).count();
    let unsigned = plugins.iter().filter_map(|p| p.generation()).filter(|g| g.admission.load().trust.is_unsigned()).count();
    let sources = snapshot.asked().count();
    let status = match () {
        _ if sources > 0 && failing == sources => "unhealthy",
        _ if failing > 0 || rejected > 0 || app.config.load().problems > 0 => "degraded",
        _ => "healthy",
    };
    Health { status, sources, failing, rejected, unsigned }
}

pub(super) async fn health(State(app): State<App>) -> Json<Value> {
    let h = look(&app);
    Json(json!({
        "timestamp": rfc3339(crate::now_ms()), "status": h.status, "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "components": {
            "sources": { "status": if h.failing == 0 { "healthy" } else { "degraded" }, "total": h.sources, "failing": h.failing },
            "plugins": { "status": if h.rejected == 0 { "healthy" } else { "degraded" }, "not_usable": h.rejected, "unsigned": h.unsigned },
        },
        "cache": { "status": "healthy", "entries": app.cache.entry_count(), "hit_rate": app.counters.hit_rate() },
    }))
}

pub(super) async fn status(State(app): State<App>) -> Json<Value> {
    let h = look(&app);
    let snapshot = app.inventory.current();
    let sources: Vec<Value> = snapshot
        .asked()
        .map(|s| {
            json!({
                "plugin": &*s.plugin, "target": &*s.target, "cluster": &*s.cluster,
                "status": if s.consecutive_failures > 0 { "failing" } else { "connected" },
                "last_success": s.last_success_ms.map(rfc3339), "consecutive_failures": s.consecutive_failures,
            })
        })
        .collect();
    Json(
        json!({ "timestamp": rfc3339(crate::now_ms()), "api_version": "v1", "status": h.status, "sequence": snapshot.sequence, "sources": sources,
            "remote_sources": remote_sources(&snapshot, app.registry.catalogue()),
            "config": {
                "state": if app.config.load().problems == 0 { "ok" } else { "rejected" },
                "problems": app.config.load().problems, "looked_at": rfc3339(app.config.load().looked_at),
            },
        }),
    )
}

/// Sources of other hosts, as these say of them (plugin `kcloud`).
fn remote_sources(snapshot: &Snapshot, catalogue: &Catalogue) -> Vec<Value> {
    let metric = |name: &str| catalogue.find(&format!("x_kcloud_source_{name}"));
    let (failures, interval, success) = (metric("failures_count"), metric("interval_seconds"), metric("last_success_seconds"));
    // What was said last, also of one that is not heard of any more.
    let number = |s: &Subject, metric: Option<MetricId>| match s.reading(metric?)?.value {
        Reading::Number(v, _) => Some(v),
        Reading::Gap(_) => None,
    };
    let all = snapshot.of_kind(Kind::Other).iter().filter(|s| s.label("source_plugin").is_some());
    all.map(|s| {
        let status = match s.life {
            Life::Live => s.label("source_status").unwrap_or("connected"),
            Life::Stale => "stale",
            Life::Offline => "offline",
        };
        json!({
            "name": s.label("name"), "plugin": s.label("source_plugin"), "target": s.label("source_target"), "cluster": &*s.cluster,
            "status": status, "error": s.label("source_error"), "interval_seconds": number(s, interval),
            "last_success": number(s, success).map(|at| rfc3339((at * 1e3) as i64)),
            "consecutive_failures": number(s, failures).map(|n| n as u64),
        })
    })
    .collect()
}

pub(super) async fn info(State(app): State<App>) -> Json<Value> {
    let snapshot = app.inventory.current();
    let counts: BTreeMap<&str, usize> = snapshot.subjects.iter().fold(BTreeMap::new(), |mut all, s| {
        *all.entry(s.kind.name()).or_default() += 1;
        all
    });
    let gpus = snapshot.of_kind(Kind::Accelerator).iter().filter(|s| s.label("class") == Some("gpu")).count();
    Json(
        json!({ "timestamp": rfc3339(crate::now_ms()), "total_gpus": gpus, "subjects": counts, "clusters": app.clusters().iter().map(|c| &c.name).collect::<Vec<_>>() }),
    )
}

pub(super) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "api_version": "v1", "plugin_contracts": crate::plugins::contracts() }))
}

pub(super) async fn capabilities(State(app): State<App>) -> Json<Value> {
    let sources: BTreeMap<String, Value> = app
        .registry
        .list()
        .iter()
        .map(|p| {
            let version = p.generation().map(|g| g.info.version.clone());
            (p.name.clone(), json!({ "enabled": version.is_some(), "version": version, "status": p.state().0 }))
        })
        .collect();
    Json(json!({
        "timestamp": rfc3339(crate::now_ms()), "api_version": "v1",
        "api_domains": ["accelerators", "auth", "clusters", "export", "hardware", "infrastructure", "monitoring", "system"], "data_sources": sources,
        "export_formats": crate::export::Format::ALL.map(crate::export::Format::name),
        "multi_cluster": { "enabled": app.clusters().len() > 1, "clusters": app.clusters().iter().map(|c| &c.name).collect::<Vec<_>>() },
    }))
}

/// 200 as long as there is somebody to say so.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 once every source was asked and one answered, or when there is none to ask.
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    let snapshot = app.inventory.current();
    let targets: usize = app.registry.list().iter().filter(|p| p.generation().is_some()).map(|p| p.targets().len()).sum();
    let asked = snapshot.asked().count() >= targets && (targets == 0 || snapshot.asked().any(|s| s.last_success_ms.is_some()));
    let loading = app.registry.list().is_empty() || app.registry.list().iter().any(|p| p.state().0 == PluginState::Loading);
    match asked && !(loading && snapshot.sequence == 0) {
        true => Ok("ready\n"),
        false => Err(Problem::unavailable("the first collection is not done", 1)),
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut page = Page::default();
    page.family("kcloud_http_requests_total", "counter", "Requests by route and status.");
    for ((route, status), n) in app.counters.requests.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        page.sample("kcloud_http_requests_total", &[("route", route), ("status", &status.to_string())], n);
    }
    page.family("kcloud_http_request_duration_seconds", "histogram", "Time to answer by route.");
    for (route, histogram) in app.counters.latency.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        page.histogram("kcloud_http_request_duration_seconds", &[("route", route)], histogram);
    }
    for (name, counter) in [("hits", &app.counters.hits), ("misses", &app.counters.misses)] {
        let name = format!("kcloud_cache_{name}_total");
        page.family(&name, "counter", "Answers that the response cache had, or had not.");
        page.sample(&name, &[], counter.load(Ordering::Relaxed));
    }
    super::v1::stream::metrics(&app, &mut page);
    history_metrics(&app, &mut page);
    if let Some(remote) = &app.remote_write {
        remote_write_metrics(&remote.counts(), &mut page);
    }
    app.alerts.metrics(&mut page);
    app.reports.metrics(&mut page);
    app.exports.metrics(&mut page);
    super::plugins::metrics(&app, &mut page);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.into_text()).into_response()
}

fn history_metrics(app: &App, page: &mut Page) {
    let holds = app.history.holds();
    for (name, help, value) in [
        ("series", "Series that history has a number for.", holds.series),
        ("head_points", "Points that lie in memory until they are sealed.", holds.head_points),
        ("head_bytes", "Memory allocated for them.", holds.head_bytes),
        ("log_rows", "Rows of the log, which holds the same points on disk.", holds.log_rows),
        ("log_bytes", "Bytes of those rows.", holds.log_bytes),
        ("too_late_points", "Points that were stamped hours before they came, and are not kept.", holds.too_late),
    ] {
        let name = format!("kcloud_history_{name}");
        page.family(&name, "gauge", help);
        page.sample(&name, &[], value);
    }
    page.family("kcloud_history_files", "gauge", "Sealed files by tier.");
    holds.files.iter().for_each(|(tier, files, _)| page.sample("kcloud_history_files", &[("tier", tier)], files));
    page.family("kcloud_history_file_bytes", "gauge", "Bytes of the sealed files by tier.");
    holds.files.iter().for_each(|(tier, _, bytes)| page.sample("kcloud_history_file_bytes", &[("tier", tier)], bytes));
}

fn remote_write_metrics(counts: &Counts, page: &mut Page) {
    page.family("kcloud_remote_write_samples_total", "counter", "Samples by what became of them.");
    for (result, n) in [
        ("sent", counts.sent),
        ("refused", counts.refused),
        ("repeated", counts.repeated),
        ("out_of_order", counts.out_of_order),
        ("unknown", counts.unknown),
    ] {
        page.sample("kcloud_remote_write_samples_total", &[("result", result)], n);
    }
    let waits_ms = counts.pending_since_ms.map_or(0, |at| (crate::now_ms() - at).max(0));
    for (name, kind, help, value) in [
        ("dropped_points_total", "counter", "Points passed over because more waited than may.", counts.dropped),
        ("requests_total", "counter", "Requests that were made.", counts.requests),
        ("retries_total", "counter", "Requests of these that had to be made again.", counts.retries),
        ("sent_bytes_total", "counter", "Bytes of their bodies.", counts.sent_bytes),
        ("failures", "gauge", "Requests in a row that brought nothing.", counts.failures),
        ("pending_rows", "gauge", "Rows of the log that wait.", counts.pending_rows),
        ("pending_bytes", "gauge", "Bytes of these on disk.", counts.pending_bytes),
        ("pending_limit_bytes", "gauge", "Bytes that may wait.", counts.max_bytes),
    ] {
        let name = format!("kcloud_remote_write_{name}");
        page.family(&name, kind, help);
        page.sample(&name, &[], value);
    }
    page.family("kcloud_remote_write_behind_seconds", "gauge", "Age of the oldest row that waits.");
    page.sample("kcloud_remote_write_behind_seconds", &[], waits_ms as f64 / 1e3);
}
