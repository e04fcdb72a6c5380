//! `/system/plugins`: every plugin, where it stands and why, and what an operator may do to it while the host runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::envelope::rfc3339;
use super::params::Id;
use super::{App, Problem};
use crate::auth::{AuthError, Principal};
use crate::config::approve::{self, Approval};
use crate::inventory::Source;
use crate::plugins::{Plugin, State as PluginState, approval};
use crate::telemetry::Page;

fn view(app: &App, p: &Plugin, is_long: bool) -> Value {
    let (state, reason) = p.state();
    let (settings, generation, snapshot) = (p.settings(), p.generation(), app.inventory.current());
    let running = generation.as_deref();
    let admission = running.map(|g| g.admission.load_full());
    let granted: Vec<&str> = crate::plugins::capabilities::RIGHTS.into_iter().filter(|r| settings.grants.holds(r)).collect();
    let failures: BTreeMap<String, u64> = p.failures().into_iter().map(|(b, n)| (format!("{b:?}").to_lowercase(), n)).collect();
    let pending = p.pending();
    let asked = running.map(|g| g.rights_asked.clone()).or_else(|| pending.as_ref().map(|p| p.rights_asked.clone())).unwrap_or_default();
    let asked: Vec<String> = asked.into_iter().filter(|r| r != "types").collect();
    let faults = p.faults();
    let fault = |f: &crate::plugins::Fault| json!({ "at": rfc3339(f.at_ms), "blame": format!("{:?}", f.blame).to_lowercase(), "target": f.target, "message": f.message });
    let mut out = json!({
        "name": p.name, "state": state, "reason": reason,
        "version": running.map(|g| &g.info.version), "vendor": running.map(|g| &g.info.vendor),
        "digest_sha256": running.map(|g| g.digest.to_string()), "trust": admission.as_ref().map(|a| a.trust.name()),
        "trust_key": admission.as_ref().and_then(|a| a.trust.key()).map(|k| k.to_string()), "trust_rule": admission.as_ref().map(|a| &a.rule),
        "generation": running.map(|g| g.number), "loaded_at": running.map(|g| rfc3339(g.loaded_at_ms)),
        "rights_asked": asked, "rights_granted": granted, "wasi": running.map(|g| g.wasi),
        "pending": pending.map(|p| json!({
            "digest_sha256": p.digest_sha256, "version": p.version, "reason": p.reason, "rights_asked": p.rights_asked,
            "rights_missing": p.rights_missing, "rights_added": p.rights_added,
            "in_words": p.rights_missing.iter().map(|r| approval::in_words(r)).collect::<Vec<_>>(),
        })),
        "calls_total": p.calls.load(Ordering::Relaxed), "failures_by_blame": failures,
        "swaps_total": p.swaps.load(Ordering::Relaxed), "returns_total": p.returns.load(Ordering::Relaxed),
        "values_out_of_range_total": p.out_of_range.load(Ordering::Relaxed),
        "memory_high_water_bytes": running.map(|g| g.memory_high_water.load(Ordering::Relaxed)),
        "last_error": faults.last().map(fault),
    });
    if is_long {
        out["description"] = json!(running.map(|g| &g.info.description));
        let discovered = p.discovered();
        out["refused_targets"] = json!(discovered.refused);
        // Ten thousand of each, at most.
        let sources: HashMap<&str, &Source> = snapshot.asked().filter(|s| *s.plugin == *p.name).map(|s| (&*s.target, &**s)).collect();
        let found: HashSet<&str> = discovered.targets.iter().map(|t| t.id.as_str()).collect();
        let configured: HashSet<&str> = settings.targets.iter().map(|(t, _)| t.id.as_str()).collect();
        let target = |t: &crate::plugins::contract::Target| {
            let source = sources.get(t.id.as_str());
            let is_found = found.contains(t.id.as_str()) && !configured.contains(t.id.as_str());
            json!({
                "id": t.id, "cluster": t.cluster, "discovered": is_found,
                "last_success": source.and_then(|s| s.last_success_ms).map(rfc3339),
                "consecutive_failures": source.map(|s| s.consecutive_failures), "last_error": source.and_then(|s| s.last_error.clone()),
            })
        };
        out["targets"] = p.targets().iter().map(|(t, _)| target(t)).collect();
        out["transitions"] = p
            .transitions()
            .into_iter()
            .map(|t| json!({ "at": rfc3339(t.at_ms), "from": t.from, "to": t.to, "reason": t.reason, "version": t.version }))
            .collect();
        out["last_errors"] = faults.iter().map(fault).collect();
        out["last_swap"] = json!(p.last_swap().map(|s| json!({
            "at": rfc3339(s.at_ms), "from_version": s.from_version, "from_digest_sha256": s.from_digest_sha256,
            "build_seconds": s.build_seconds, "trial_seconds": s.trial_seconds, "difference": s.difference,
        })));
        out["shadow"] = json!(p.shadow().map(|s| {
            let (done, wanted) = s.progress();
            json!({ "version": s.generation.info.version, "digest_sha256": s.generation.digest.to_string(), "reads_done": done, "reads_wanted": wanted, "difference": s.difference() })
        }));
        let kept = app.registry.kept();
        let good = |g: crate::plugins::kept::Good| json!({ "version": g.version, "digest_sha256": g.sha256, "at": rfc3339(g.at_ms) });
        out["good_versions"] = kept.versions(&p.name).into_iter().map(good).collect();
        let held = |q: crate::plugins::kept::Quarantined| json!({ "digest_sha256": q.sha256, "reason": q.reason, "at": rfc3339(q.at_ms) });
        out["quarantined"] = kept.quarantine_of(&p.name).into_iter().map(held).collect();
        out["log_tail"] = json!(p.log.lines());
        out["log_lines_dropped_total"] = json!(p.log.dropped.load(Ordering::Relaxed));
    }
    out
}

pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    let all: Vec<Value> = app.registry.list().iter().map(|p| view(&app, p, false)).collect();
    Json(json!({ "timestamp": rfc3339(crate::now_ms()), "resource_type": "plugin", "metadata": { "total_count": all.len() }, "data": all }))
}

fn find(app: &App, name: &str) -> Result<Arc<Plugin>, Problem> {
    app.registry.get(name).ok_or_else(|| Problem::not_found("plugin", name))
}

pub(super) async fn detail(State(app): State<App>, Id(name): Id) -> Result<Json<Value>, Problem> {
    let p = find(&app, &name)?;
    Ok(Json(json!({ "timestamp": rfc3339(crate::now_ms()), "resource_type": "plugin", "data": view(&app, &p, true) })))
}

/// Does what an operator asked for, off the threads that answer: the ledger is written durably.
async fn act(
    app: App,
    name: String,
    principal: Option<Extension<Principal>>,
    work: impl FnOnce(&App, &Plugin, &str) -> Result<String, String> + Send + 'static,
) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let p = find(&app, &name)?;
    let (doing, plugin, by) = (app.clone(), p.clone(), principal.name.to_string());
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&doing, &plugin, &by);
        tracing::info!(plugin = plugin.name, by, outcome = done.as_deref().unwrap_or_else(|e| e.as_str()), "an operator's order");
        done
    });
    let message = done.await.map_err(|_| Problem::internal())?.map_err(|why| Problem::conflict(format!("plugin {name:?}: {why}")))?;
    Ok(Json(json!({ "timestamp": rfc3339(crate::now_ms()), "resource_type": "plugin", "message": message, "data": view(&app, &p, true) })))
}

type Who = Option<Extension<Principal>>;

pub(super) async fn roll_back(State(app): State<App>, Id(name): Id, who: Who) -> Result<Json<Value>, Problem> {
    act(app, name, who, |app, p, by| app.registry.roll_back(p, by)).await
}

pub(super) async fn disable(State(app): State<App>, Id(name): Id, who: Who) -> Result<Json<Value>, Problem> {
    act(app, name, who, |app, p, by| app.registry.disable(p, by)).await
}

pub(super) async fn enable(State(app): State<App>, Id(name): Id, who: Who) -> Result<Json<Value>, Problem> {
    act(app, name, who, |app, p, _| app.registry.enable(p)).await
}

pub(super) async fn reload(State(app): State<App>, Id(name): Id, who: Who) -> Result<Json<Value>, Problem> {
    act(app, name, who, |app, p, _| app.registry.reload(p)).await
}

pub(super) async fn approve(State(app): State<App>, Id(name): Id, who: Who, body: Bytes) -> Result<Json<Value>, Problem> {
    let form = r#"{} for what it asks for, or {"http": "targets", "files": ["/sys/class/hwmon/*/temp1_input"], "state": true, "ipmi": true, "nvml": true}"#;
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let given: Approval = serde_json::from_slice(text).map_err(|e| Problem::parameter("body", &e.to_string(), form))?;
    act(app, name, who, move |app, p, _| {
        let dir = app.plugins_config_dir.as_deref().ok_or("this host's settings of plugins come from no files")?;
        let asked = p.pending().map(|p| p.rights_missing).unwrap_or_default();
        let granted = approve::grant(dir, &p.name, &asked, given)?;
        app.registry.look_again.notify_one();
        Ok(format!("granted: {granted}"))
    })
    .await
}

/// What is counted of every plugin.
pub(super) fn metrics(app: &App, page: &mut Page) {
    let plugins = app.registry.list();
    let now = |a: &std::sync::atomic::AtomicU64| a.load(Ordering::Relaxed);
    let mut each = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Plugin) -> Option<f64>| {
        page.family(name, kind, help);
        for p in &plugins {
            if let Some(value) = value(p) {
                page.sample(name, &[("plugin", &p.name)], value);
            }
        }
    };
    each("kcloud_plugin_active", "gauge", "Whether a version of the plugin answers.", &|p| {
        Some(f64::from(u8::from(p.generation().is_some())))
    });
    each("kcloud_plugin_calls_total", "counter", "Calls by plugin.", &|p| Some(now(&p.calls) as f64));
    each("kcloud_plugin_swaps_total", "counter", "Versions that came in.", &|p| Some(now(&p.swaps) as f64));
    each("kcloud_plugin_returns_total", "counter", "Times that a failing version gave way to the one before.", &|p| {
        Some(now(&p.returns) as f64)
    });
    each("kcloud_plugin_generation", "gauge", "Number of the version that answers.", &|p| p.generation().map(|g| g.number as f64));
    each("kcloud_plugin_memory_high_water_bytes", "gauge", "The most memory that an instance of the running version used.", &|p| {
        p.generation().map(|g| now(&g.memory_high_water) as f64)
    });
    each("kcloud_plugin_cpu_seconds_total", "counter", "CPU of the running version's calls, in ticks of 10 ms.", &|p| {
        p.generation().map(|g| now(&g.cpu_ticks) as f64 * 0.01)
    });
    each("kcloud_plugin_points_total", "counter", "Readings that the running version gave.", &|p| {
        p.generation().map(|g| now(&g.points) as f64)
    });
    each("kcloud_plugin_values_out_of_range_total", "counter", "Readings that were nonsense and became gaps.", &|p| {
        Some(now(&p.out_of_range) as f64)
    });
    each("kcloud_plugin_log_lines_dropped_total", "counter", "Log lines over the limit.", &|p| Some(now(&p.log.dropped) as f64));
    page.family("kcloud_plugin_info", "gauge", "The version that answers, and what stands for it.");
    for (p, g) in plugins.iter().filter_map(|p| Some((p, p.generation()?))) {
        let (trust, digest) = (g.admission.load().trust.name(), g.digest.to_string());
        page.sample("kcloud_plugin_info", &[("plugin", &p.name), ("version", &g.info.version), ("trust", trust), ("digest", &digest)], 1);
    }
    page.family("kcloud_plugin_failures_total", "counter", "Failed calls by plugin and whom they are blamed on.");
    for p in &plugins {
        for (blame, n) in p.failures() {
            page.sample("kcloud_plugin_failures_total", &[("plugin", &p.name), ("blame", &format!("{blame:?}").to_lowercase())], n);
        }
    }
    page.family("kcloud_plugin_call_duration_seconds", "histogram", "Wall time of calls.");
    for p in &plugins {
        page.histogram("kcloud_plugin_call_duration_seconds", &[("plugin", &p.name)], &p.durations());
    }
    page.family("kcloud_plugin_state", "gauge", "1 for the state in which the plugin is, 0 for every other.");
    for p in &plugins {
        let current = p.state().0;
        for state in PluginState::ALL {
            page.sample("kcloud_plugin_state", &[("plugin", &p.name), ("state", state.name())], u8::from(state == current));
        }
    }
    page.family("kcloud_plugin_transitions_total", "counter", "How often each state was entered.");
    for p in &plugins {
        for (state, n) in p.entered() {
            page.sample("kcloud_plugin_transitions_total", &[("plugin", &p.name), ("state", state.name())], n);
        }
    }
}
