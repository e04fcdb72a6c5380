//! One card: what it is, what it reads, and what history says of it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::super::envelope::{respond, rfc3339};
use super::super::super::params::{Id, Params, Window};
use super::super::super::{App, Problem, Rendered};
use super::super::timed::{self, Field, Series, from_history, put_window, series};
use super::super::view::{Class, MIB, device, metrics, number, unavailable};
use crate::inventory::{Kind, Snapshot, Subject};

/// A card by UUID, `node:device`, or a bare device name that only one host has.
pub(super) fn find<'a>(snapshot: &'a Snapshot, class: Class, id: &str, params: &Params) -> Result<&'a Arc<Subject>, Problem> {
    let cards = || snapshot.of_kind(Kind::Accelerator).iter().filter(|s| Class::of(s) == class);
    let on = params.get("node");
    if let Some(card) = cards().find(|s| *s.id == *id || s.label("uuid") == Some(id)) {
        return match on.is_none_or(|n| card.node.as_deref() == Some(n)) {
            true => Ok(card),
            false => Err(Problem::not_found(class.name(), id)),
        };
    }
    let (node, device) = id.split_once(':').map_or((on, id), |(n, d)| (Some(n), d));
    let named: Vec<_> = cards()
        .filter(|s| s.label("device") == Some(device))
        .filter(|s| [node, on].into_iter().flatten().all(|n| s.node.as_deref() == Some(n)))
        .collect();
    match named.as_slice() {
        [one] => Ok(one),
        [] => Err(Problem::not_found(class.name(), id)),
        several => {
            let name = |s: &&&Arc<Subject>| format!("{}:{device}", s.node.as_deref().unwrap_or(""));
            Err(Problem::ambiguous(id, several.iter().map(|s| name(&s)).collect()))
        }
    }
}

/// What is shown over time.
const MAIN: [Field<'_>; 4] = [
    ("power_watts", "power_watts", 1.0),
    ("temperature_celsius", "temperature_celsius", 1.0),
    ("utilization_percent", "utilization_ratio", 100.0),
    ("memory_used_mb", "memory_used_bytes", 1.0 / MIB),
];

/// One request about one card.
pub(super) struct Ask<'a> {
    pub(super) app: &'a App,
    pub(super) params: &'a Params,
    pub(super) headers: &'a HeaderMap,
    pub(super) class: Class,
    pub(super) id: &'a str,
}

impl Ask<'_> {
    pub(super) fn answer(
        &self,
        part: &str,
        render: impl FnOnce(&Snapshot, &Subject) -> Result<Rendered, Problem>,
    ) -> Result<Response, Problem> {
        let route = format!("{}/{:?}/{part}", self.class.plural(), self.id);
        respond(self.app, self.headers, self.class.name(), &route, self.params, |snapshot| {
            let card = find(snapshot, self.class, self.id, self.params)?;
            render(snapshot, card)
        })
    }

    fn id_field(&self) -> String {
        format!("{}_id", self.class.name())
    }

    fn detail(&self) -> Result<Response, Problem> {
        let (with_metrics, with_reasons) = (self.params.flag("include_metrics")?, self.params.flag("include_reasons")?);
        self.answer("", |snapshot, card| {
            let mut row = device(snapshot, card, self.class);
            if with_metrics {
                row.insert("metrics".into(), Value::Object(metrics(card, self.class)));
            }
            if with_reasons {
                row.insert("unavailable".into(), unavailable(card));
            }
            Rendered::object(&row)
        })
    }

    /// What history says of a window.
    fn timed(&self, part: &str, render: impl FnOnce(&Subject, &Window) -> Result<Rendered, Problem>) -> Result<Response, Problem> {
        self.answer(part, |snapshot, card| {
            let window = self.params.window("5m", snapshot.at_ms)?;
            let mut rendered = render(card, &window)?;
            if part == "power" || self.params.has_window() {
                rendered.seam = rendered.seam.or_else(|| self.app.seam(&window));
            }
            Arc::make_mut(&mut rendered.warnings).extend(window.warning);
            Ok(rendered)
        })
    }

    fn metrics(&self) -> Result<Response, Problem> {
        self.timed("metrics", |s, window| {
            let mut row = metrics(s, self.class);
            let mut over_time = Series::default();
            if self.params.has_window() {
                over_time = series(self.app, s, &MAIN, window, true)?;
                row.insert("timeseries".into(), Value::Object(std::mem::take(&mut over_time.fields)));
                put_window(&mut row, window);
            }
            Ok(Rendered { seam: over_time.seam, warnings: over_time.warnings.into(), ..Rendered::object(&row)? })
        })
    }

    fn power(&self) -> Result<Response, Problem> {
        self.timed("power", |s, window| {
            let (start, end) = window.span();
            let raw = from_history(self.app.history.raw(&s.id, "power_watts", start, end))?;
            let watts: Vec<f64> = raw.into_iter().filter_map(|(_, v)| v).collect();
            let round = |v: f64| (v * 1e3).round() / 1e3;
            let mean = (!watts.is_empty()).then(|| round(watts.iter().sum::<f64>() / watts.len() as f64));
            Rendered::object(&json!({
                self.id_field(): &*s.id, "timestamp": rfc3339(s.last_seen_ms),
                "start_time": rfc3339(window.start), "end_time": rfc3339(window.end), "observations": watts.len(),
                "power_watts": number(s, "power_watts"), "power_limit_watts": number(s, "power_limit_watts"),
                "avg_power_watts": mean,
                "max_power_watts": watts.iter().copied().reduce(f64::max),
                "min_power_watts": watts.iter().copied().reduce(f64::min),
                "total_energy_joules": number(s, "energy_joules"),
            }))
        })
    }

    fn temperature(&self) -> Result<Response, Problem> {
        self.answer("temperature", |_, s| {
            let of = |field| number(s, field);
            let (now, slowdown, shutdown) =
                (of("temperature_celsius"), of("slowdown_temperature_celsius"), of("shutdown_temperature_celsius"));
            // Only against the card's own limits: without them nobody knows.
            let state = match (now, slowdown, shutdown) {
                (Some(t), _, Some(limit)) if t >= limit => Some("critical"),
                (Some(t), Some(limit), _) if t >= limit => Some("warning"),
                (Some(_), Some(_), _) => Some("normal"),
                _ => None,
            };
            Rendered::object(&json!({
                self.id_field(): &*s.id, "hostname": s.node, "timestamp": rfc3339(s.last_seen_ms),
                format!("{}_temperature_celsius", self.class.name()): now, "memory_temperature_celsius": of("memory_temperature_celsius"),
                "temperature_limit_celsius": of("temperature_limit_celsius"),
                "slowdown_threshold_celsius": slowdown, "shutdown_threshold_celsius": shutdown, "temperature_status": state,
            }))
        })
    }
}

async fn off_thread(
    (app, params, headers, class, id): (App, Params, HeaderMap, Class, String),
    work: fn(&Ask<'_>) -> Result<Response, Problem>,
) -> Result<Response, Problem> {
    timed::off_thread(move || work(&Ask { app: &app, params: &params, headers: &headers, class, id: &id })).await
}

pub(in crate::api) async fn gpu(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    Ask { app: &app, params: &params, headers: &h, class: Class::Gpu, id: &id }.detail()
}

pub(in crate::api) async fn npu(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    Ask { app: &app, params: &params, headers: &h, class: Class::Npu, id: &id }.detail()
}

pub(in crate::api) async fn gpu_metrics(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    off_thread((app, params, h, Class::Gpu, id), |a| a.metrics()).await
}

pub(in crate::api) async fn npu_metrics(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    off_thread((app, params, h, Class::Npu, id), |a| a.metrics()).await
}

pub(in crate::api) async fn gpu_power(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    off_thread((app, params, h, Class::Gpu, id), |a| a.power()).await
}

pub(in crate::api) async fn gpu_temperature(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    Ask { app: &app, params: &params, headers: &h, class: Class::Gpu, id: &id }.temperature()
}

pub(in crate::api) async fn npu_power(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    off_thread((app, params, h, Class::Npu, id), |a| a.power()).await
}

pub(in crate::api) async fn npu_temperature(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
    Ask { app: &app, params: &params, headers: &h, class: Class::Npu, id: &id }.temperature()
}
