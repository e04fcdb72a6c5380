//! `/accelerators`: GPUs and NPUs alike, from one model. Each card counts once; its partitions lie under it.

pub(in crate::api) mod card;
pub(in crate::api) mod parts;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::envelope::respond;
use super::super::params::Params;
use super::super::{App, Problem, Rendered};
use super::listing::{known_cluster, only};
use super::view::{Class, Summary, device, metrics, number, status, unavailable};
use crate::inventory::{Kind, Snapshot, Subject};

pub(in crate::api) const TYPES: [&str; 3] = ["gpu", "npu", "other"];
pub(in crate::api) const STATUSES: [&str; 4] = ["active", "idle", "error", "offline"];

/// Cards of a class that the filters let through, in the order of (node, device).
fn select<'a>(snapshot: &'a Snapshot, class: Option<Class>, params: &Params) -> Result<Vec<&'a Arc<Subject>>, Problem> {
    let wanted = params.one_of("status", &STATUSES)?;
    let class = match params.one_of("type", &TYPES)? {
        Some("gpu") => Some(Class::Gpu),
        Some("npu") => Some(Class::Npu),
        Some(_) => Some(Class::Other),
        None => class,
    };
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

/// One page of the cards that the filters let through.
fn list(
    app: &App,
    params: &Params,
    headers: &HeaderMap,
    (class, resource, name): (Option<Class>, &'static str, &str),
    row: impl Fn(&Snapshot, &Subject) -> Map<String, Value>,
) -> Result<Response, Problem> {
    known_cluster(app, params)?;
    let (limit, offset) = params.page()?;
    respond(app, headers, resource, name, params, |snapshot| {
        let cards = select(snapshot, class, params)?;
        let mut rows: Vec<Map<String, Value>> = cards.iter().map(|s| row(snapshot, s)).collect();
        sort(&mut rows, &cards, params)?;
        let total = rows.len();
        let mut page: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
        only(&mut page, params.get("fields"))?;
        let link = params.link(&format!("/api/v1/accelerators/{name}"), total)?;
        Ok(Rendered { link, ..Rendered::list(&page, total)? })
    })
}

fn of_class(app: &App, params: &Params, headers: &HeaderMap, class: Class) -> Result<Response, Problem> {
    let (with_metrics, with_reasons) = (params.flag("include_metrics")?, params.flag("include_reasons")?);
    list(app, params, headers, (Some(class), class.name(), class.plural()), |snapshot, s| {
        let mut row = device(snapshot, s, class);
        if with_metrics {
            row.insert("metrics".into(), Value::Object(metrics(s, class)));
        }
        if with_reasons {
            row.insert("unavailable".into(), unavailable(s));
        }
        row
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

fn summarise(app: &App, params: &Params, headers: &HeaderMap, class: Class) -> Result<Response, Problem> {
    known_cluster(app, params)?;
    respond(app, headers, class.name(), &format!("{}/summary", class.plural()), params, |snapshot| {
        let cards = select(snapshot, Some(class), params)?;
        let summary = Summary::of(snapshot, &cards);
        let warnings = summary.warnings();
        Ok(Rendered { warnings: warnings.into(), ..Rendered::object(&summary.fields(class))? })
    })
}

pub(in crate::api) async fn gpus(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    of_class(&app, &params, &h, Class::Gpu)
}

pub(in crate::api) async fn npus(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    of_class(&app, &params, &h, Class::Npu)
}

pub(in crate::api) async fn gpus_summary(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    summarise(&app, &params, &h, Class::Gpu)
}

pub(in crate::api) async fn npus_summary(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    summarise(&app, &params, &h, Class::Npu)
}

pub(in crate::api) async fn all(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    let with_metrics = params.flag("include_metrics")?;
    list(&app, &params, &h, (None, "accelerator", "all"), |snapshot, s| {
        let rows = [
            ("type", json!(Class::of(s).name())),
            ("id", json!(&*s.id)),
            ("uuid", json!(s.label("uuid"))),
            ("model", json!(s.label("model"))),
            ("vendor", json!(s.label("vendor"))),
            ("hostname", json!(s.node)),
            ("cluster", json!(&*s.cluster)),
            ("pci_bus_id", json!(s.label("pci_address"))),
            ("status", json!(status(snapshot, s))),
        ];
        let mut row: Map<String, Value> = rows.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        if with_metrics {
            let fields = ["power_watts", "utilization_percent", "temperature_celsius", "memory_used_mb"];
            row.insert("metrics".into(), fields.map(|f| (f.to_owned(), json!(number(s, f)))).into_iter().collect());
        }
        row
    })
}

pub(in crate::api) async fn summary(State(app): State<App>, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    known_cluster(&app, &params)?;
    respond(&app, &h, "accelerator", "summary", &params, |snapshot| {
        let of = |class| select(snapshot, class, &params).map(|c| Summary::of(snapshot, &c));
        let (every, gpus, npus) = (of(None)?, of(Some(Class::Gpu))?, of(Some(Class::Npu))?);
        let warnings = every.warnings();
        let data = json!({ "summary": every.combined(&gpus, &npus), "breakdown": { "gpus": gpus.part(), "npus": npus.part() } });
        Ok(Rendered { warnings: warnings.into(), ..Rendered::object(&data)? })
    })
}
