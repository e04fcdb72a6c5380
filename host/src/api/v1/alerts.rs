//! `/monitoring/alerts`: what fires, what ended, who knows, and what is kept quiet.
//!
//! Alerts change without a snapshot: nothing here comes from the cache.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use rand::Rng;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::envelope::{respond_now, rfc3339};
use super::super::params::{Id, Params};
use super::super::{App, Problem, Rendered};
use super::listing::{fields, known_cluster, only};
use crate::alerts::{Alert, ChangeError, Matcher, Rule, Silence, State as AlertState, severity_name, view};
use crate::auth::{AuthError, Principal};
use crate::config::Period;

pub(in crate::api) const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];
pub(in crate::api) const STATES: [&str; 3] = ["pending", "firing", "resolved"];
const SORTS: &str = "severity fired_at rule cluster node value, with - for descending";
/// Bytes of a comment.
const MOST_COMMENT: usize = 500;
const MOST_MATCHERS: usize = 16;
/// A silence lasts this long at most.
const LONGEST_MS: i64 = 365 * 86_400_000;
const MOST_VALUE: usize = 256;

fn row(alert: &Alert) -> Map<String, Value> {
    match view(alert) {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

/// Whether the filters of a request let an alert through.
fn filter<'a>(params: &'a Params) -> Result<impl Fn(&Alert) -> bool + 'a, Problem> {
    let severity = params.one_of("severity", &SEVERITIES)?;
    let is_asked = |name: &'static str| params.get(name).map(|_| params.flag(name)).transpose();
    let (acknowledged, silenced) = (is_asked("acknowledged")?, is_asked("silenced")?);
    let is = |name: &str, value: Option<&str>| params.get(name).is_none_or(|given| value == Some(given));
    Ok(move |a: &Alert| {
        severity.is_none_or(|s| severity_name(a.severity) == s)
            && acknowledged.is_none_or(|yes| a.acknowledged.is_some() == yes)
            && silenced.is_none_or(|yes| a.silenced_by.is_empty() != yes)
            && is("rule", Some(&a.rule))
            && is("cluster", Some(&a.cluster))
            && is("node", a.node.as_deref())
    })
}

fn state_name(state: AlertState) -> &'static str {
    match state {
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
    }
}

/// Among equals the newest first.
fn sort(all: &mut [Arc<Alert>], given: &str) -> Result<(), Problem> {
    let (field, down) = given.strip_prefix('-').map_or((given, false), |f| (f, true));
    let begun = |a: &Alert| a.fired_ms.unwrap_or(a.since_ms);
    all.sort_by_cached_key(|a| (Reverse(begun(a)), a.id.clone()));
    let turned = |order: std::cmp::Ordering| if down { order.reverse() } else { order };
    match field {
        "severity" => all.sort_by(|a, b| turned(a.severity.cmp(&b.severity))),
        "fired_at" => all.sort_by(|a, b| turned(begun(a).cmp(&begun(b)))),
        "rule" => all.sort_by(|a, b| turned(a.rule.cmp(&b.rule))),
        "cluster" => all.sort_by(|a, b| turned(a.cluster.cmp(&b.cluster))),
        "node" => all.sort_by(|a, b| turned(a.node.cmp(&b.node))),
        // What is unknown comes last.
        "value" => all.sort_by(|a, b| match (a.value, b.value) {
            (Some(x), Some(y)) => turned(x.total_cmp(&y)),
            (x, y) => y.is_some().cmp(&x.is_some()),
        }),
        _ => return Err(Problem::parameter("sort", given, SORTS)),
    }
    Ok(())
}

fn page(params: &Params, path: &str, order: &str, mut all: Vec<Arc<Alert>>) -> Result<Rendered, Problem> {
    sort(&mut all, params.get("sort").unwrap_or(order))?;
    let (limit, offset) = params.page()?;
    let mut rows: Vec<Map<String, Value>> = all.iter().skip(offset).take(limit).map(|a| row(a)).collect();
    only(&mut rows, params.get("fields"))?;
    let link = params.link(path, all.len())?;
    Ok(Rendered { link, ..Rendered::list(&rows, all.len())? })
}

pub(in crate::api) async fn list(State(app): State<App>, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    let state = params.one_of("state", &STATES[..2])?;
    let is_let_in = filter(&params)?;
    respond_now(&app, &headers, "alert", &params, || {
        let all = app.alerts.look(|book| {
            let asked = book.all().filter(|a| state.is_none_or(|s| state_name(a.state()) == s)).filter(|a| is_let_in(a));
            asked.cloned().map(Arc::new).collect()
        });
        page(&params, "/api/v1/monitoring/alerts", "-severity", all)
    })
}

pub(in crate::api) async fn history(State(app): State<App>, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    let state = params.one_of("state", &STATES[1..])?;
    let window = params.window("1d", crate::now_ms())?;
    let is_let_in = filter(&params)?;
    respond_now(&app, &headers, "alert", &params, || {
        let is_within = |a: &Alert| {
            let fired = a.fired_ms.is_some_and(|at| at <= window.end);
            fired && a.ended_ms.is_none_or(|at| at >= window.start) && state.is_none_or(|s| state_name(a.state()) == s) && is_let_in(a)
        };
        let all: Vec<Arc<Alert>> = app.alerts.look(|book| {
            let now = book.all().filter(|a| is_within(a)).cloned().map(Arc::new);
            book.ended.iter().map(|(_, a)| a).filter(|a| is_within(a)).cloned().chain(now).collect()
        });
        let used = json!({ "start_time": rfc3339(window.start), "end_time": rfc3339(window.end), "period": params.get("period") });
        let warnings: Vec<String> = window.warning.clone().into_iter().collect();
        // A history is read from its end.
        let page = page(&params, "/api/v1/monitoring/alerts/history", "-fired_at", all)?;
        Ok(Rendered { window: Some(used.into()), warnings: warnings.into(), ..page })
    })
}

pub(in crate::api) async fn detail(State(app): State<App>, Id(id): Id, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let found = app.alerts.look(|book| {
        let active = book.all().find(|a| *a.id == *id).map(row);
        active.or_else(|| book.ended.iter().find(|(_, a)| *a.id == *id).map(|(_, a)| row(a)))
    });
    let found = found.ok_or_else(|| Problem::not_found("alert", &id))?;
    respond_now(&app, &headers, "alert", &params, || Rendered::object(&found))
}

pub(in crate::api) async fn rules(State(app): State<App>, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let (limit, offset) = params.page()?;
    respond_now(&app, &headers, "alert_rule", &params, || {
        let all = app.alerts.rules();
        let mut counts: HashMap<Arc<str>, [usize; 2]> = HashMap::new();
        app.alerts.look(|book| {
            book.all().for_each(|a| counts.entry(a.rule.clone()).or_default()[usize::from(a.state() == AlertState::Firing)] += 1);
        });
        let rows: Vec<Value> =
            all.iter().skip(offset).take(limit).map(|r| rule(r, counts.get(&r.name).copied().unwrap_or_default())).collect();
        let link = params.link("/api/v1/monitoring/alerts/rules", all.len())?;
        Ok(Rendered { link, ..Rendered::list(&rows, all.len())? })
    })
}

fn rule(r: &Rule, [pending, firing]: [usize; 2]) -> Value {
    json!({
        "name": r.name, "severity": r.severity, "origin": r.origin, "pending": pending, "firing": firing,
        "for_seconds": (!r.is_of_moments()).then_some(r.hold_ms as f64 / 1e3), "keep_seconds": r.is_of_moments().then_some(r.keep_ms as f64 / 1e3),
        "definition": r.file,
    })
}

/// What stands in the body of an acknowledgement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(default)]
    comment: String,
}

fn known(body: &[u8]) -> Result<Known, Problem> {
    let known: Known = match body.is_empty() {
        true => Known { comment: String::new() },
        false => serde_json::from_slice(body).map_err(|e| Problem::parameter("body", &e.to_string(), r#"{"comment": "…"}, or no body"#))?,
    };
    checked_comment(&known.comment)?;
    Ok(known)
}

fn checked_comment(comment: &str) -> Result<(), Problem> {
    match comment.len() > MOST_COMMENT || comment.chars().any(char::is_control) {
        true => Err(Problem::parameter("comment", comment, format!("at most {MOST_COMMENT} bytes without control characters"))),
        false => Ok(()),
    }
}

/// Writing waits for the disk, and this is rare: on a thread of its own.
async fn change<T: Send + 'static>(
    what: &'static str,
    id: String,
    work: impl FnOnce() -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal())?;
    done.map_err(|error| match error {
        ChangeError::NotFound => Problem::not_found(what, &id),
        ChangeError::NotNow(why) => Problem::conflict(why),
        ChangeError::Store(error) => {
            tracing::error!(%error, "an order was not kept");
            Problem::unavailable("the store of alerts does not answer", 5)
        }
    })
}

fn done(resource: &str, message: &str, data: Value) -> Json<Value> {
    Json(json!({ "timestamp": rfc3339(crate::now_ms()), "resource_type": resource, "message": message, "data": data }))
}

pub(in crate::api) async fn acknowledge(
    State(app): State<App>,
    Id(id): Id,
    principal: Option<Extension<Principal>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let known = known(&body)?;
    let (alerts, asked, by) = (app.alerts.clone(), id.clone(), principal.name.clone());
    let alert = change("alert", id, move || alerts.acknowledge(&asked, &by, &known.comment)).await?;
    tracing::info!(alert = %alert.id, rule = %alert.rule, by = ?principal.name, "an operator's order: acknowledged");
    Ok(done("alert", "acknowledged", view(&alert)))
}

pub(in crate::api) async fn resolve(
    State(app): State<App>,
    Id(id): Id,
    principal: Option<Extension<Principal>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let known = known(&body)?;
    let (alerts, asked, by) = (app.alerts.clone(), id.clone(), principal.name.clone());
    let alert = change("alert", id, move || alerts.resolve(&asked, &by, &known.comment)).await?;
    app.inventory.set_faults(&app.alerts.faults());
    tracing::info!(alert = %alert.id, rule = %alert.rule, by = ?principal.name, "an operator's order: it is over");
    Ok(done("alert", "it is over", view(&alert)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceRequest {
    matchers: Vec<Matcher>,
    #[serde(default)]
    comment: String,
    duration: Option<Period>,
    ends_at: Option<String>,
}

impl SilenceRequest {
    /// A silence from now on, or what is wrong with what is asked.
    fn checked(self, by: &str, now_ms: i64) -> Result<Silence, Problem> {
        checked_comment(&self.comment)?;
        if self.matchers.is_empty() || self.matchers.len() > MOST_MATCHERS {
            return Err(Problem::parameter("matchers", &self.matchers.len().to_string(), format!("1 to {MOST_MATCHERS} matchers")));
        }
        for m in &self.matchers {
            let is_name = m.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !m.name.is_empty() && m.name.len() <= 100;
            if !is_name {
                return Err(Problem::parameter(
                    "matchers",
                    &m.name,
                    "the name of a label of alerts, such as alertname, node, cluster, severity",
                ));
            }
            let is_value = !m.value.is_empty() && m.value.len() <= MOST_VALUE && !m.value.chars().any(char::is_control);
            if !is_value || m.value.trim_end_matches('*').contains('*') || m.value.ends_with("**") {
                return Err(Problem::parameter("matchers", &m.value, "1 to 256 bytes; a * at the end alone means any ending"));
            }
        }
        let ends_ms = match (&self.duration, &self.ends_at) {
            (Some(duration), None) => now_ms.saturating_add(i64::try_from(duration.0.as_millis()).unwrap_or(i64::MAX)),
            (None, Some(text)) => {
                let moment =
                    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(|m| i64::try_from(m.unix_timestamp_nanos() / 1_000_000).ok());
                moment.ok_or_else(|| Problem::parameter("ends_at", text, "RFC 3339 with an offset, such as 2026-01-01T09:00:00+09:00"))?
            }
            _ => return Err(Problem::parameter("duration", "", "duration, such as \"2h\", or ends_at: one of them")),
        };
        if ends_ms <= now_ms || ends_ms - now_ms > LONGEST_MS {
            return Err(Problem::parameter("ends_at", &rfc3339(ends_ms), "an end that is to come, within 365 days"));
        }
        let id = format!("{:016x}", rand::rng().random::<u64>());
        Ok(Silence { id: id.into(), matchers: self.matchers, by: by.into(), comment: self.comment, starts_ms: now_ms, ends_ms })
    }
}

/// How many alerts each silence covers.
fn covered(app: &App) -> HashMap<Arc<str>, usize> {
    let mut all = HashMap::new();
    app.alerts.look(|book| book.all().flat_map(|a| &a.silenced_by).for_each(|id| *all.entry(id.clone()).or_default() += 1));
    all
}

fn silence_row(covered: &HashMap<Arc<str>, usize>, s: &Silence) -> Map<String, Value> {
    let covers = covered.get(&s.id).copied().unwrap_or(0);
    fields([
        ("id", json!(s.id)),
        ("matchers", json!(s.matchers)),
        ("created_by", json!(s.by)),
        ("comment", json!(s.comment)),
        ("starts_at", json!(rfc3339(s.starts_ms))),
        ("ends_at", json!(rfc3339(s.ends_ms))),
        ("covers", json!(covers)),
    ])
}

pub(in crate::api) async fn silences(State(app): State<App>, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let (limit, offset) = params.page()?;
    respond_now(&app, &headers, "alert_silence", &params, || {
        let all: Vec<Silence> = app.alerts.look(|book| book.silences.clone());
        let covered = covered(&app);
        let rows: Vec<_> = all.iter().skip(offset).take(limit).map(|s| silence_row(&covered, s)).collect();
        let link = params.link("/api/v1/monitoring/alerts/silences", all.len())?;
        Ok(Rendered { link, ..Rendered::list(&rows, all.len())? })
    })
}

pub(in crate::api) async fn silence(
    State(app): State<App>,
    principal: Option<Extension<Principal>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let form = r#"{"matchers": [{"name": "node", "value": "worker1"}], "duration": "2h", "comment": "…"}, or ends_at in place of duration"#;
    let asked: SilenceRequest = serde_json::from_slice(&body).map_err(|e| Problem::parameter("body", &e.to_string(), form))?;
    let silence = asked.checked(&principal.name, crate::now_ms())?;
    let (alerts, kept) = (app.alerts.clone(), silence.clone());
    change("silence", silence.id.to_string(), move || alerts.silence(kept)).await?;
    tracing::info!(silence = %silence.id, matchers = ?silence.matchers, until_ms = silence.ends_ms, by = ?principal.name, "an operator's order: silenced");
    Ok(done("alert_silence", "silenced", Value::Object(silence_row(&covered(&app), &silence))))
}

pub(in crate::api) async fn unsilence(
    State(app): State<App>,
    Id(id): Id,
    principal: Option<Extension<Principal>>,
) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let (alerts, asked) = (app.alerts.clone(), id.clone());
    let silence = change("silence", id, move || alerts.unsilence(&asked)).await?;
    tracing::info!(silence = %silence.id, by = ?principal.name, "an operator's order: a silence ended");
    Ok(done("alert_silence", "the silence is ended", Value::Object(silence_row(&covered(&app), &silence))))
}
