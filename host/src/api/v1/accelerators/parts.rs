//! What lies under a card (partitions, cores, links, processes), what happened to it, and how it is.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::super::envelope::{respond_now, rfc3339};
use super::super::super::params::{Id, Params};
use super::super::super::{App, Problem, Rendered};
use super::super::view::{Class, number, partition, scaled, state, status, whole};
use super::card::{Ask, find};
use crate::alerts::{Alert, severity_name, xid};
use crate::catalogue::METRICS;
use crate::inventory::{Kind, Life, Severity, Snapshot, Subject, Value as Reading};

/// Parts of one kind: under the card, and under each of its partitions; in the order of their numbers.
fn parts<'a>(snapshot: &'a Snapshot, card: &'a Subject, kind: Kind) -> Vec<&'a Arc<Subject>> {
    let mut all: Vec<&Arc<Subject>> = snapshot.children(&card.id, kind).collect();
    if kind != Kind::Partition {
        snapshot.children(&card.id, Kind::Partition).for_each(|p| all.extend(snapshot.children(&p.id, kind)));
    }
    let number = |s: &Subject| s.label(if kind == Kind::Process { "pid" } else { "index" }).and_then(|i| i.parse::<u64>().ok());
    all.sort_by_key(|s| number(s));
    all
}

/// Which partition a part lies in.
fn partition_of<'a>(snapshot: &'a Snapshot, part: &Subject) -> Option<&'a str> {
    let parent = snapshot.get(part.parent.as_deref()?)?;
    parent.label("partition_id").filter(|_| parent.kind == Kind::Partition)
}

fn index(s: &Subject) -> Option<u64> {
    s.label("index").and_then(|i| i.parse().ok())
}

fn core(snapshot: &Snapshot, s: &Subject) -> Value {
    let load = number(s, "utilization_percent");
    let state = match (s.life, load) {
        (Life::Live, _) if state(s, "health") == Some("critical") => Some("error"),
        (Life::Live, Some(0.0)) => Some("idle"),
        (Life::Live, Some(_)) => Some("running"),
        _ => None,
    };
    json!({
        "core_id": index(s), "partition_id": partition_of(snapshot, s), "timestamp": rfc3339(s.last_seen_ms), "state": state,
        "utilization_percent": load, "temperature_celsius": number(s, "temperature_celsius"), "clock_mhz": whole(number(s, "clock_sm_mhz")),
        "process_name": s.label("process_name"), "process_id": s.label("pid").and_then(|p| p.parse::<u32>().ok()),
    })
}

fn link(_: &Snapshot, s: &Subject) -> Value {
    let rate = |metric| scaled(s, metric, 1.0);
    json!({
        "link_id": index(s), "type": s.label("type"), "timestamp": rfc3339(s.last_seen_ms), "state": state(s, "link_status"),
        "remote_device": s.label("remote_device"),
        "rx_bytes_per_second": rate("network_rx_bytes_per_second"), "tx_bytes_per_second": rate("network_tx_bytes_per_second"),
        "rx_bytes_total": rate("network_rx_bytes_total"), "tx_bytes_total": rate("network_tx_bytes_total"),
        "replay_errors_total": rate("nvlink_replay_errors_total"), "recovery_errors_total": rate("nvlink_recovery_errors_total"),
        "crc_flit_errors_total": rate("nvlink_crc_flit_errors_total"), "crc_data_errors_total": rate("nvlink_crc_data_errors_total"),
    })
}

fn process(snapshot: &Snapshot, s: &Subject) -> Value {
    json!({
        "pid": s.label("pid").and_then(|p| p.parse::<u32>().ok()), "name": s.label("name"), "type": s.label("type"), "user": s.label("user"),
        "partition_id": partition_of(snapshot, s), "timestamp": rfc3339(s.last_seen_ms),
        "memory_used_mb": whole(number(s, "memory_used_mb")), "utilization_percent": number(s, "utilization_percent"),
        "namespace": s.label("namespace"), "pod": s.label("pod"), "container": s.label("container"), "container_id": s.label("container_id"),
    })
}

/// What an event or an alert with a code means.
fn meant(code: Option<&str>) -> Map<String, Value> {
    let known = code.and_then(xid::of_code);
    let both = |text: Option<[&'static str; 2]>| text.map_or([Value::Null, Value::Null], |[en, ko]| [json!(en), json!(ko)]);
    let ([meaning, meaning_ko], [action, action_ko]) = (both(known.map(|x| x.meaning)), both(known.map(|x| x.action.text())));
    [("meaning", meaning), ("meaning_ko", meaning_ko), ("action", action), ("action_ko", action_ko)]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v))
        .collect()
}

/// Ids of a card and of everything under it.
fn family(snapshot: &Snapshot, card: &Subject) -> Vec<Arc<str>> {
    let below = [Kind::Partition, Kind::Core, Kind::Link].into_iter().flat_map(|kind| parts(snapshot, card, kind));
    std::iter::once(card.id.clone()).chain(below.map(|s| s.id.clone())).collect()
}

impl Ask<'_> {
    fn parts(&self, part: &str, kind: Kind, row: fn(&Snapshot, &Subject) -> Value) -> Result<Response, Problem> {
        self.answer(part, |snapshot, card| {
            let (limit, offset) = self.params.page()?;
            let all = parts(snapshot, card, kind);
            let rows: Vec<Value> = all
                .iter()
                .skip(offset)
                .take(limit)
                .map(|s| {
                    let mut row = row(snapshot, s);
                    row[format!("{}_id", self.class.name())] = json!(&*card.id);
                    row
                })
                .collect();
            self.listed(part, &rows, all.len())
        })
    }

    fn listed(&self, part: &str, rows: &[Value], total: usize) -> Result<Rendered, Problem> {
        let link = self.params.link(&format!("/api/v1/accelerators/{}/{}/{part}", self.class.plural(), self.id), total)?;
        Ok(Rendered { link, ..Rendered::list(&rows, total)? })
    }

    /// The newest first.
    fn events(&self) -> Result<Response, Problem> {
        self.answer("events", |snapshot, card| {
            let (limit, offset) = self.params.page()?;
            let family = family(snapshot, card);
            let mut all: Vec<_> = snapshot.events.iter().filter(|e| family.contains(&e.subject)).collect();
            all.sort_by_key(|e| std::cmp::Reverse(e.at_ms));
            let row = |e: &&Arc<crate::inventory::Event>| {
                let mut row = meant(Some(&e.code));
                let plugin = snapshot.sources.get(e.source as usize).map(|s| s.plugin.clone());
                for (k, v) in [
                    ("timestamp", json!(rfc3339(e.at_ms))),
                    ("severity", json!(severity_name(e.severity))),
                    ("code", json!(e.code)),
                    ("message", json!(e.message)),
                    ("resource_id", json!(e.subject)),
                    ("data_source", json!(plugin)),
                ] {
                    row.insert(k.to_owned(), v);
                }
                Value::Object(row)
            };
            let rows: Vec<Value> = all.iter().skip(offset).take(limit).map(row).collect();
            self.listed("events", &rows, all.len())
        })
    }

    /// How it is, and by what one knows. Alerts change without a snapshot: never from the cache.
    fn health(&self) -> Result<Response, Problem> {
        respond_now(self.app, self.headers, self.class.name(), self.params, || {
            let snapshot = self.app.inventory.current();
            let card = find(&snapshot, self.class, self.id, self.params)?;
            let family = family(&snapshot, card);
            let alerts: Vec<Alert> = self.app.alerts.look(|book| {
                let is_ours = |a: &&Alert| family.contains(&a.key) && a.fired_ms.is_some();
                book.all().filter(is_ours).cloned().collect()
            });
            Rendered::object(&health(&snapshot, card, self.class, alerts))
        })
    }
}

fn health(snapshot: &Snapshot, card: &Subject, class: Class, mut alerts: Vec<Alert>) -> Value {
    alerts.sort_by_key(|a| (std::cmp::Reverse(a.severity), std::cmp::Reverse(a.fired_ms)));
    let said = state(card, "health");
    let mut evidence: Vec<Value> = Vec::new();
    if let Some(said) = said.filter(|said| *said != "ok") {
        evidence.push(json!({
            "kind": "reading", "severity": if said == "critical" { "critical" } else { "warning" }, "code": "health", "resource_id": &*card.id,
            "message": format!("its source says that its health is {said}"), "message_ko": format!("소스가 보고한 상태: {said}"),
            "first_seen": Value::Null, "last_seen": rfc3339(card.last_seen_ms), "acknowledged": Value::Null, "alert": Value::Null,
            "meaning": Value::Null, "meaning_ko": Value::Null, "action": Value::Null, "action_ko": Value::Null,
        }));
    }
    for a in &alerts {
        let mut row = meant(a.code.as_deref());
        let known = a.acknowledged.as_ref().map(|k| json!({ "by": k.by, "at": rfc3339(k.at_ms), "comment": k.comment }));
        for (k, v) in [
            ("kind", json!("alert")),
            ("severity", json!(severity_name(a.severity))),
            ("code", json!(a.code.as_deref().unwrap_or(&a.rule))),
            ("resource_id", json!(a.resource_id)),
            ("message", json!(a.message)),
            ("message_ko", json!(a.message_ko)),
            ("first_seen", json!(a.fired_ms.map(rfc3339))),
            ("last_seen", json!(rfc3339(a.held_ms))),
            ("acknowledged", json!(known)),
            ("alert", json!(a.id)),
        ] {
            row.insert(k.to_owned(), v);
        }
        evidence.push(Value::Object(row));
    }
    let worst = alerts.iter().map(|a| a.severity).max();
    let is_unknown = card.life != Life::Live;
    let state = match (worst, said) {
        (Some(Severity::Critical), _) | (_, Some("critical")) => "critical",
        // A card that nobody hears of is not well because nothing is said of it.
        _ if is_unknown => "unknown",
        (Some(Severity::Warning), _) | (_, Some("warning")) => "warning",
        _ if snapshot.is_at_fault(&card.id) => "critical",
        _ => "ok",
    };
    // Of a card that is silent: what it said last.
    let last_words = is_unknown.then(|| {
        let number = |r: &crate::inventory::Reading| match r.value {
            Reading::Number(value, _) => Some((METRICS.get(r.metric.0 as usize)?.name, json!({ "value": value, "at": rfc3339(r.at_ms) }))),
            Reading::Gap(_) => None,
        };
        card.readings.iter().filter_map(number).map(|(k, v)| (k.to_owned(), v)).collect::<Map<String, Value>>()
    });
    json!({
        format!("{}_id", class.name()): &*card.id, "hostname": card.node, "cluster": &*card.cluster, "state": state,
        "status": status(snapshot, card), "last_seen": rfc3339(card.last_seen_ms), "evidence": evidence, "last_words": last_words,
    })
}

/// Handlers of GPUs and NPUs alike.
macro_rules! of_both {
    ($($gpu:ident $npu:ident: $work:expr;)*) => {$(
        pub(in crate::api) async fn $gpu(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
            let work: fn(&Ask<'_>) -> Result<Response, Problem> = $work;
            work(&Ask { app: &app, params: &params, headers: &h, class: Class::Gpu, id: &id })
        }

        pub(in crate::api) async fn $npu(State(app): State<App>, Id(id): Id, params: Params, h: HeaderMap) -> Result<Response, Problem> {
            let work: fn(&Ask<'_>) -> Result<Response, Problem> = $work;
            work(&Ask { app: &app, params: &params, headers: &h, class: Class::Npu, id: &id })
        }
    )*};
}
of_both! {
    gpu_partitions npu_partitions: |a| a.parts("partitions", Kind::Partition, |_, p| partition(p));
    gpu_cores npu_cores: |a| a.parts("cores", Kind::Core, core);
    gpu_links npu_links: |a| a.parts("links", Kind::Link, link);
    gpu_processes npu_processes: |a| a.parts("processes", Kind::Process, process);
    gpu_events npu_events: |a| a.events();
    gpu_health npu_health: |a| a.health();
}
