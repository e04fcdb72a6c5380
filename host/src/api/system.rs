//! `/system`: how the host itself fares, and its plugins.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::envelope::rfc3339;
use super::params::Id;
use super::{App, Problem};
use crate::inventory::Kind;
use crate::plugins::registry::State as PluginState;
use crate::plugins::{OnMissing, Plugin};

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 8] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0];

/// The host's own counters.
#[derive(Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    latency: Mutex<BTreeMap<String, Latency>>,
}

#[derive(Default)]
struct Latency {
    buckets: [u64; BOUNDS.len()],
    sum: f64,
    count: u64,
}

impl Counters {
    pub(crate) fn cache(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, route: &str, status: u16, took: Duration) {
        let seconds = took.as_secs_f64();
        *self.requests.lock().unwrap_or_else(|e| e.into_inner()).entry((route.to_owned(), status)).or_default() += 1;
        let mut latency = self.latency.lock().unwrap_or_else(|e| e.into_inner());
        let of = latency.entry(route.to_owned()).or_default();
        of.buckets.iter_mut().zip(BOUNDS).filter(|(_, b)| seconds <= *b).for_each(|(n, _)| *n += 1);
        of.sum += seconds;
        of.count += 1;
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
}

fn look(app: &App) -> Health {
    let snapshot = app.inventory.current();
    let failing = snapshot.sources.iter().filter(|s| s.consecutive_failures > 0).count();
    let bad = |p: &std::sync::Arc<Plugin>| match p.state().0 {
        PluginState::Rejected | PluginState::NeedsGrant => true,
        PluginState::Missing => p.settings().on_missing != OnMissing::Ignore,
        _ => false,
    };
    let rejected = app.registry.list().iter().filter(|p| bad(p)).count();
    let sources = snapshot.sources.len();
    let status = match () {
        _ if sources > 0 && failing == sources => "unhealthy",
        _ if failing > 0 || rejected > 0 || app.config.load().problems > 0 => "degraded",
        _ => "healthy",
    };
    Health { status, sources, failing, rejected }
}

pub(super) async fn health(State(app): State<App>) -> Json<Value> {
    let h = look(&app);
    Json(json!({
        "timestamp": rfc3339(crate::now_ms()), "status": h.status, "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "components": {
            "sources": { "status": if h.failing == 0 { "healthy" } else { "degraded" }, "total": h.sources, "failing": h.failing },
            "plugins": { "status": if h.rejected == 0 { "healthy" } else { "degraded" }, "not_usable": h.rejected },
        },
        "cache": { "status": "healthy", "entries": app.cache.entry_count(), "hit_rate": app.counters.hit_rate() },
    }))
}

pub(super) async fn status(State(app): State<App>) -> Json<Value> {
    let h = look(&app);
    let snapshot = app.inventory.current();
    let sources: Vec<Value> = snapshot
        .sources
        .iter()
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
            "config": {
                "state": if app.config.load().problems == 0 { "ok" } else { "rejected" },
                "problems": app.config.load().problems, "looked_at": rfc3339(app.config.load().looked_at),
            },
        }),
    )
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
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "api_version": "v1", "plugin_contracts": ["kcloud:collector@0.1.0"] }))
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
        "api_domains": ["accelerators", "auth", "clusters", "system"], "data_sources": sources,
        "multi_cluster": { "enabled": app.clusters().len() > 1, "clusters": app.clusters().iter().map(|c| &c.name).collect::<Vec<_>>() },
    }))
}

fn view(app: &App, p: &Plugin, long: bool) -> Value {
    let (state, reason) = p.state();
    let (settings, generation, snapshot) = (p.settings(), p.generation(), app.inventory.current());
    let granted: Vec<&str> = crate::plugins::capabilities::RIGHTS.into_iter().filter(|r| settings.grants.holds(r)).collect();
    let failures: BTreeMap<String, u64> = p.failures().into_iter().map(|(b, n)| (format!("{b:?}").to_lowercase(), n)).collect();
    let mut out = json!({
        "name": p.name, "state": state, "reason": reason,
        "version": generation.as_ref().map(|g| g.info.version.clone()), "vendor": generation.as_ref().map(|g| g.info.vendor.clone()),
        "digest_sha256": generation.as_ref().map(|g| g.digest.to_string()), "trust": generation.as_ref().map(|g| g.trust),
        "generation": generation.as_ref().map(|g| g.number), "loaded_at": generation.as_ref().map(|g| rfc3339(g.loaded_at_ms)),
        "rights_asked": p.rights_asked(), "rights_granted": granted,
        "wasi": generation.as_ref().map(|g| g.wasi),
        "calls_total": p.calls.load(Ordering::Relaxed), "failures_by_blame": failures,
        "values_out_of_range_total": p.out_of_range.load(Ordering::Relaxed),
        "memory_high_water_bytes": generation.as_ref().map(|g| g.memory_high_water.load(Ordering::Relaxed)),
        "last_error": p.last_error().map(|(at, text)| json!({ "at": rfc3339(at), "message": text })),
    });
    if long {
        out["description"] = json!(generation.as_ref().map(|g| g.info.description.clone()));
        let discovered = p.discovered();
        out["refused_targets"] = json!(discovered.refused);
        out["targets"] = p
            .targets()
            .iter()
            .map(|(t, _)| {
                let source = snapshot.sources.iter().find(|s| *s.plugin == *p.name && *s.target == *t.id);
                json!({
                    "id": t.id, "cluster": t.cluster, "discovered": discovered.targets.contains(t), "last_success": source.and_then(|s| s.last_success_ms).map(rfc3339),
                    "consecutive_failures": source.map(|s| s.consecutive_failures), "last_error": source.and_then(|s| s.last_error.clone()),
                })
            })
            .collect();
        out["log_tail"] = json!(p.log.lines());
        out["log_lines_dropped_total"] = json!(p.log.dropped.load(Ordering::Relaxed));
    }
    out
}

pub(super) async fn plugins(State(app): State<App>) -> Json<Value> {
    let all: Vec<Value> = app.registry.list().iter().map(|p| view(&app, p, false)).collect();
    Json(json!({ "timestamp": rfc3339(crate::now_ms()), "resource_type": "plugin", "metadata": { "total_count": all.len() }, "data": all }))
}

pub(super) async fn plugin(State(app): State<App>, Id(name): Id) -> Result<Json<Value>, Problem> {
    let p = app.registry.get(&name).ok_or_else(|| Problem::not_found("plugin", &name))?;
    Ok(Json(json!({ "timestamp": rfc3339(crate::now_ms()), "resource_type": "plugin", "data": view(&app, &p, true) })))
}

/// 200 as long as there is somebody to say so.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 once every source was asked and one answered, or when there is none to ask.
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    let snapshot = app.inventory.current();
    let targets: usize = app.registry.list().iter().filter(|p| p.generation().is_some()).map(|p| p.targets().len()).sum();
    let asked = snapshot.sources.len() >= targets && (targets == 0 || snapshot.sources.iter().any(|s| s.last_success_ms.is_some()));
    let loading = app.registry.list().is_empty() || app.registry.list().iter().any(|p| p.state().0 == PluginState::Loading);
    match asked && !(loading && snapshot.sequence == 0) {
        true => Ok("ready\n"),
        false => Err(Problem::unavailable("the first collection is not done", 1)),
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| out.write_fmt(format_args!("{text}\n")).unwrap_or_default();
    line(format_args!("# HELP kcloud_http_requests_total Requests by route and status.\n# TYPE kcloud_http_requests_total counter"));
    for ((route, status), n) in app.counters.requests.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        line(format_args!("kcloud_http_requests_total{{route=\"{route}\",status=\"{status}\"}} {n}"));
    }
    line(format_args!(
        "# HELP kcloud_http_request_duration_seconds Time to answer by route.\n# TYPE kcloud_http_request_duration_seconds histogram"
    ));
    for (route, l) in app.counters.latency.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        for (bound, n) in BOUNDS.iter().zip(l.buckets) {
            line(format_args!("kcloud_http_request_duration_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {n}"));
        }
        line(format_args!("kcloud_http_request_duration_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", l.count));
        line(format_args!("kcloud_http_request_duration_seconds_sum{{route=\"{route}\"}} {}", l.sum));
        line(format_args!("kcloud_http_request_duration_seconds_count{{route=\"{route}\"}} {}", l.count));
    }
    for (name, counter) in [("hits", &app.counters.hits), ("misses", &app.counters.misses)] {
        line(format_args!(
            "# HELP kcloud_cache_{name}_total Response cache {name}.\n# TYPE kcloud_cache_{name}_total counter\nkcloud_cache_{name}_total {}",
            counter.load(Ordering::Relaxed)
        ));
    }
    line(format_args!("# HELP kcloud_plugin_calls_total Calls of collect by plugin.\n# TYPE kcloud_plugin_calls_total counter"));
    let plugins = app.registry.list();
    for p in &plugins {
        line(format_args!("kcloud_plugin_calls_total{{plugin=\"{}\"}} {}", p.name, p.calls.load(Ordering::Relaxed)));
    }
    line(format_args!(
        "# HELP kcloud_plugin_failures_total Failed calls by plugin and whom they are blamed on.\n# TYPE kcloud_plugin_failures_total counter"
    ));
    for p in &plugins {
        for (blame, n) in p.failures() {
            line(format_args!(
                "kcloud_plugin_failures_total{{plugin=\"{}\",blame=\"{}\"}} {n}",
                p.name,
                format!("{blame:?}").to_lowercase()
            ));
        }
    }
    line(format_args!("# HELP kcloud_plugin_active Whether a version of the plugin answers.\n# TYPE kcloud_plugin_active gauge"));
    for p in &plugins {
        line(format_args!("kcloud_plugin_active{{plugin=\"{}\"}} {}", p.name, u8::from(p.generation().is_some())));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out).into_response()
}
