//! `/accelerators`: GPUs and NPUs alike, from one model. Each card counts once; its partitions lie under it.

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::envelope::{respond, rfc3339};
use super::super::params::{Params, Window};
use super::super::{App, Problem, Rendered};
use super::view::{Class, Summary, catalogue_name, converted, device, metrics, number, status, unavailable};
use crate::history::{Aggregate, HistoryError};
use crate::inventory::{Kind, Snapshot, Subject};
use std::sync::Arc;

const LIST: [&str; 11] =
    ["cluster", "node", "status", "vendor", "limit", "offset", "sort", "fields", "include_metrics", "include_reasons", "model"];
const STATUSES: [&str; 4] = ["active", "idle", "error", "offline"];

/// Cards of a class that the filters let through, in the order of (node, device).
fn select<'a>(snapshot: &'a Snapshot, class: Option<Class>, params: &Params) -> Result<Vec<&'a Arc<Subject>>, Problem> {
    let wanted = params.one_of("status", &STATUSES)?;
    let is = |name: &str, value: Option<&str>| params.get(name).is_none_or(|given| value == Some(given));
    let mut cards: Vec<_> = snapshot
        .of_kind(Kind::Accelerator)
        .iter()
        .filter(|s| class.is_none_or(|c| Class::of(s) == c))
        .filter(|s| is("cluster", Some(&s.cluster)) && is("node", s.node.as_deref()))
        .filter(|s| is("vendor", s.label("vendor")) && is("model", s.label("model")))
        .filter(|s| wanted.is_none_or(|w| status(snapshot, s) == w))
        .collect();
    let index = |s: &Subject| s.label("index").and_then(|i| i.parse::<u32>().ok());
    cards.sort_by(|a, b| (&a.cluster, &a.node, index(a), &a.id).cmp(&(&b.cluster, &b.node, index(b), &b.id)));
    Ok(cards)
}

/// A cluster that nobody configured is an error, not an empty list.
fn known_cluster(app: &App, params: &Params) -> Result<(), Problem> {
    match &params.cluster {
        Some(name) if !app.clusters.iter().any(|c| c.name == *name) => Err(Problem::not_found("cluster", name)),
        _ => Ok(()),
    }
}

fn list(app: &App, query: Option<&str>, headers: &HeaderMap, class: Class) -> Result<Response, Problem> {
    let params = Params::parse(query, &LIST)?;
    known_cluster(app, &params)?;
    let (limit, offset) = params.page()?;
    let (with_metrics, with_reasons) = (params.flag("include_metrics")?, params.flag("include_reasons")?);
    respond(app, headers, class.name(), class.plural(), &params, |snapshot| {
        let cards = select(snapshot, Some(class), &params)?;
        let mut rows: Vec<Map<String, Value>> = cards
            .iter()
            .map(|s| {
                let mut row = device(snapshot, s, class);
                if with_metrics {
                    row.insert("metrics".into(), Value::Object(metrics(s, class)));
                }
                if with_reasons {
                    row.insert("unavailable".into(), unavailable(s));
                }
                row
            })
            .collect();
        sort(&mut rows, &cards, &params)?;
        let total = rows.len();
        let mut page: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
        only(&mut page, params.get("fields"))?;
        let link = params.link(&format!("/api/v1/accelerators/{}", class.plural()), total)?;
        Ok(Rendered { link, ..Rendered::list(&page, total)? })
    })
}

/// `sort=-power_watts`: by a field of the row or one of its metrics; what is unknown comes last.
fn sort(rows: &mut Vec<Map<String, Value>>, cards: &[&Arc<Subject>], params: &Params) -> Result<(), Problem> {
    let Some(given) = params.get("sort") else { return Ok(()) };
    let (field, down) = given.strip_prefix('-').map_or((given, false), |f| (f, true));
    let numeric: Option<Vec<Option<f64>>> = match field {
        "power_watts" | "utilization_percent" | "temperature_celsius" | "memory_used_mb" => {
            Some(cards.iter().map(|s| number(s, field)).collect())
        }
        "gpu_id" | "npu_id" | "id" | "hostname" | "model_name" | "vendor" | "status" => None,
        _ => {
            return Err(Problem::parameter(
                "sort",
                given,
                "power_watts utilization_percent temperature_celsius memory_used_mb hostname model_name vendor status, with - for descending",
            ));
        }
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    match numeric {
        Some(values) => order.sort_by(|a, b| match (values[*a], values[*b]) {
            (Some(x), Some(y)) if down => y.total_cmp(&x),
            (Some(x), Some(y)) => x.total_cmp(&y),
            (x, y) => y.is_some().cmp(&x.is_some()),
        }),
        None => {
            let text = |i: &usize| rows[*i].get(field).and_then(Value::as_str).unwrap_or("");
            order.sort_by(|a, b| if down { text(b).cmp(text(a)) } else { text(a).cmp(text(b)) });
        }
    }
    *rows = order.into_iter().map(|i| std::mem::take(&mut rows[i])).collect();
    Ok(())
}

/// `fields=a,b`: only these.
fn only(rows: &mut [Map<String, Value>], fields: Option<&str>) -> Result<(), Problem> {
    let Some(fields) = fields else { return Ok(()) };
    let wanted: Vec<&str> = fields.split(',').map(str::trim).collect();
    if let Some(first) = rows.first()
        && let Some(unknown) = wanted.iter().find(|w| !first.contains_key(**w))
    {
        let known: Vec<&str> = first.keys().map(String::as_str).collect();
        return Err(Problem::parameter("fields", unknown, known.join(", ")));
    }
    rows.iter_mut().for_each(|r| r.retain(|k, _| wanted.contains(&k.as_str())));
    Ok(())
}

fn summarise(app: &App, query: Option<&str>, headers: &HeaderMap, class: Class) -> Result<Response, Problem> {
    let params = Params::parse(query, &["cluster", "node"])?;
    known_cluster(app, &params)?;
    respond(app, headers, class.name(), &format!("{}/summary", class.plural()), &params, |snapshot| {
        let cards = select(snapshot, Some(class), &params)?;
        let summary = Summary::of(snapshot, &cards);
        let warnings = summary.warnings();
        Ok(Rendered { warnings: warnings.into(), ..Rendered::object(&summary.fields(class))? })
    })
}

/// A card by UUID, `node:device`, or a bare device name that only one host has.
fn find<'a>(snapshot: &'a Snapshot, class: Class, id: &str) -> Result<&'a Arc<Subject>, Problem> {
    let cards = || snapshot.of_kind(Kind::Accelerator).iter().filter(|s| Class::of(s) == class);
    if let Some(card) = cards().find(|s| *s.id == *id || s.label("uuid") == Some(id)) {
        return Ok(card);
    }
    let (node, device) = id.split_once(':').map_or((None, id), |(n, d)| (Some(n), d));
    let named: Vec<_> = cards().filter(|s| s.label("device") == Some(device) && (node.is_none() || s.node.as_deref() == node)).collect();
    match named.as_slice() {
        [one] => Ok(one),
        [] => Err(Problem::not_found(class.name(), id)),
        several => {
            let name = |s: &&&Arc<Subject>| format!("{}:{device}", s.node.as_deref().unwrap_or(""));
            Err(Problem::ambiguous(id, several.iter().map(|s| name(&s)).collect()))
        }
    }
}

/// One request about one class.
struct Ask<'a> {
    app: &'a App,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
    class: Class,
}

fn one(
    ask: &Ask<'_>,
    id: &str,
    allowed: &[&str],
    part: &str,
    render: impl FnOnce(&Snapshot, &Subject) -> Value,
) -> Result<Response, Problem> {
    let (params, class) = (Params::parse(ask.query, allowed)?, ask.class);
    respond(ask.app, ask.headers, class.name(), &format!("{}/{id:?}/{part}", class.plural()), &params, |snapshot| {
        let card = find(snapshot, class, id)?;
        if params.get("node").is_some_and(|n| card.node.as_deref() != Some(n)) {
            return Err(Problem::not_found(class.name(), id));
        }
        Rendered::object(&render(snapshot, card))
    })
}

fn detail(app: &App, query: Option<&str>, headers: &HeaderMap, class: Class, id: &str) -> Result<Response, Problem> {
    let allowed = ["include_metrics", "include_reasons"];
    let params = Params::parse(query, &allowed)?;
    let (with_metrics, with_reasons) = (params.flag("include_metrics")?, params.flag("include_reasons")?);
    one(&Ask { app, query, headers, class }, id, &allowed, "", |snapshot, card| {
        let mut row = device(snapshot, card, class);
        if with_metrics {
            row.insert("metrics".into(), Value::Object(metrics(card, class)));
        }
        if with_reasons {
            row.insert("unavailable".into(), unavailable(card));
        }
        Value::Object(row)
    })
}

fn ask<'a>(app: &'a App, query: &'a Option<String>, headers: &'a HeaderMap, class: Class) -> Ask<'a> {
    Ask { app, query: query.as_deref(), headers, class }
}

pub(in crate::api) async fn gpus(State(app): State<App>, RawQuery(q): RawQuery, h: HeaderMap) -> Result<Response, Problem> {
    list(&app, q.as_deref(), &h, Class::Gpu)
}

pub(in crate::api) async fn npus(State(app): State<App>, RawQuery(q): RawQuery, h: HeaderMap) -> Result<Response, Problem> {
    list(&app, q.as_deref(), &h, Class::Npu)
}

pub(in crate::api) async fn gpus_summary(State(app): State<App>, RawQuery(q): RawQuery, h: HeaderMap) -> Result<Response, Problem> {
    summarise(&app, q.as_deref(), &h, Class::Gpu)
}

pub(in crate::api) async fn npus_summary(State(app): State<App>, RawQuery(q): RawQuery, h: HeaderMap) -> Result<Response, Problem> {
    summarise(&app, q.as_deref(), &h, Class::Npu)
}

pub(in crate::api) async fn gpu(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(q): RawQuery,
    h: HeaderMap,
) -> Result<Response, Problem> {
    detail(&app, q.as_deref(), &h, Class::Gpu, &id)
}

pub(in crate::api) async fn npu(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(q): RawQuery,
    h: HeaderMap,
) -> Result<Response, Problem> {
    detail(&app, q.as_deref(), &h, Class::Npu, &id)
}

/// Reading history waits for the disk: never on a thread that answers others.
async fn off_thread(work: impl FnOnce() -> Result<Response, Problem> + Send + 'static) -> Result<Response, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an answer from history failed");
        Err(Problem::internal())
    })
}

fn from_history<T>(result: Result<T, HistoryError>) -> Result<T, Problem> {
    result.map_err(|error| {
        tracing::error!(%error, "history");
        Problem::unavailable("the history store does not answer", 5)
    })
}

/// One card with what history says of a window that ends at the snapshot.
fn timed(
    ask: &Ask<'_>,
    id: &str,
    part: &str,
    render: impl FnOnce(&Subject, &Window, i64) -> Result<Value, Problem>,
) -> Result<Response, Problem> {
    let params = Params::parse(ask.query, &["node", "period", "step"])?;
    let window = params.window("5m")?;
    respond(ask.app, ask.headers, ask.class.name(), &format!("{}/{id:?}/{part}", ask.class.plural()), &params, |snapshot| {
        let card = find(snapshot, ask.class, id)?;
        if params.get("node").is_some_and(|n| card.node.as_deref() != Some(n)) {
            return Err(Problem::not_found(ask.class.name(), id));
        }
        let value = render(card, &window, snapshot.at_ms)?;
        let warnings = window.warning.clone().into_iter().collect::<Vec<_>>().into();
        Ok(Rendered { warnings, ..Rendered::object(&value)? })
    })
}

pub(in crate::api) async fn gpu_metrics(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(q): RawQuery,
    h: HeaderMap,
) -> Result<Response, Problem> {
    card_metrics(app, id, q, h, Class::Gpu).await
}

pub(in crate::api) async fn npu_metrics(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(q): RawQuery,
    h: HeaderMap,
) -> Result<Response, Problem> {
    card_metrics(app, id, q, h, Class::Npu).await
}

async fn card_metrics(app: App, id: String, q: Option<String>, h: HeaderMap, class: Class) -> Result<Response, Problem> {
    off_thread(move || {
        let asked = q.as_deref().is_some_and(|q| q.contains("period=") || q.contains("step="));
        timed(&ask(&app, &q, &h, class), &id, "metrics", |s, window, now| {
            let mut row = metrics(s, class);
            if asked {
                let span = (now - window.period, now + 1);
                let mut series = Map::new();
                for name in ["power_watts", "temperature_celsius", "utilization_percent", "memory_used_mb"] {
                    let (metric, factor) = catalogue_name(name);
                    let steps = from_history(app.history.range(&s.id, &metric, span, window.step, Aggregate::Average))?;
                    let points =
                        steps.into_iter().map(|(at, v)| json!({ "timestamp": rfc3339(at), "value": v.map(|v| converted(v, factor)) }));
                    series.insert(name.to_owned(), points.collect());
                }
                row.insert("timeseries".into(), Value::Object(series));
                row.insert("start_time".into(), json!(rfc3339(span.0)));
                row.insert("end_time".into(), json!(rfc3339(now)));
                row.insert("step_seconds".into(), json!(window.step as f64 / 1e3));
            }
            Ok(Value::Object(row))
        })
    })
    .await
}

pub(in crate::api) async fn gpu_power(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(q): RawQuery,
    h: HeaderMap,
) -> Result<Response, Problem> {
    off_thread(move || {
        timed(&ask(&app, &q, &h, Class::Gpu), &id, "power", |s, window, now| {
            let span = (now - window.period, now + 1);
            let raw = from_history(app.history.raw(&s.id, "power_watts", span.0, span.1))?;
            let watts: Vec<f64> = raw.into_iter().filter_map(|(_, v)| v).collect();
            let known = !watts.is_empty();
            let round = |v: f64| (v * 1e3).round() / 1e3;
            Ok(json!({
                "gpu_id": &*s.id, "timestamp": rfc3339(s.last_seen_ms),
                "start_time": rfc3339(span.0), "end_time": rfc3339(now), "observations": watts.len(),
                "power_watts": number(s, "power_watts"), "power_limit_watts": number(s, "power_limit_watts"),
                "avg_power_watts": known.then(|| round(watts.iter().sum::<f64>() / watts.len() as f64)),
                "max_power_watts": watts.iter().copied().reduce(f64::max),
                "min_power_watts": watts.iter().copied().reduce(f64::min),
                "total_energy_joules": number(s, "energy_joules"),
            }))
        })
    })
    .await
}

pub(in crate::api) async fn gpu_temperature(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(q): RawQuery,
    h: HeaderMap,
) -> Result<Response, Problem> {
    one(&ask(&app, &q, &h, Class::Gpu), &id, &["node"], "temperature", |_, s| {
        let (now, slowdown, shutdown) =
            (number(s, "temperature_celsius"), number(s, "slowdown_temperature_celsius"), number(s, "shutdown_temperature_celsius"));
        // Only against the card's own limits: without them nobody knows.
        let state = match (now, slowdown, shutdown) {
            (Some(t), _, Some(limit)) if t >= limit => Some("critical"),
            (Some(t), Some(limit), _) if t >= limit => Some("warning"),
            (Some(_), Some(_), _) => Some("normal"),
            _ => None,
        };
        json!({
            "gpu_id": &*s.id, "hostname": s.node, "timestamp": rfc3339(s.last_seen_ms),
            "gpu_temperature_celsius": now, "memory_temperature_celsius": number(s, "memory_temperature_celsius"),
            "temperature_limit_celsius": number(s, "temperature_limit_celsius"),
            "slowdown_threshold_celsius": slowdown, "shutdown_threshold_celsius": shutdown, "temperature_status": state,
        })
    })
}

pub(in crate::api) async fn all(State(app): State<App>, RawQuery(q): RawQuery, h: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(q.as_deref(), &LIST)?;
    known_cluster(&app, &params)?;
    let (limit, offset) = params.page()?;
    let with_metrics = params.flag("include_metrics")?;
    respond(&app, &h, "accelerator", "all", &params, |snapshot| {
        let cards = select(snapshot, None, &params)?;
        let mut rows: Vec<Map<String, Value>> = cards
            .iter()
            .map(|s| {
                let mut row = json!({
                    "type": Class::of(s).name(), "id": &*s.id, "uuid": s.label("uuid"), "model": s.label("model"), "vendor": s.label("vendor"),
                    "hostname": s.node, "cluster": &*s.cluster, "pci_bus_id": s.label("pci_address"), "status": status(snapshot, s),
                });
                if with_metrics {
                    row["metrics"] = ["power_watts", "utilization_percent", "temperature_celsius", "memory_used_mb"].map(|f| (f.to_owned(), json!(number(s, f)))).into_iter().collect();
                }
                match row {
                    Value::Object(row) => row,
                    _ => Map::new(),
                }
            })
            .collect();
        sort(&mut rows, &cards, &params)?;
        let total = rows.len();
        let mut page: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
        only(&mut page, params.get("fields"))?;
        let link = params.link("/api/v1/accelerators/all", total)?;
        Ok(Rendered { link, ..Rendered::list(&page, total)? })
    })
}

pub(in crate::api) async fn summary(State(app): State<App>, RawQuery(q): RawQuery, h: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(q.as_deref(), &["cluster", "node"])?;
    known_cluster(&app, &params)?;
    respond(&app, &h, "accelerator", "summary", &params, |snapshot| {
        let of = |class| select(snapshot, class, &params).map(|c| Summary::of(snapshot, &c));
        let (every, gpus, npus) = (of(None)?, of(Some(Class::Gpu))?, of(Some(Class::Npu))?);
        let warnings = every.warnings();
        let data = json!({ "summary": every.combined(&gpus, &npus), "breakdown": { "gpus": gpus.part(), "npus": npus.part() } });
        Ok(Rendered { warnings: warnings.into(), ..Rendered::object(&data)? })
    })
}
