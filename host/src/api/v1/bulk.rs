//! `/system/snapshot`: everything that this host knows, for another host; then what changed.
//!
//! Lines of JSON (spec/API_SPECIFICATION.md, "The whole snapshot"). Encoded once for all who ask for the same at one sequence.
//! Subjects stand behind their parents. Which metrics a subject has is said once for all that have the same (`set`).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::Rng;
use serde::Serialize;
use serde_json::json;

use super::super::params::Params;
use super::super::{App, Problem, Rendered};
use crate::catalogue::{Catalogue, MetricId};
use crate::inventory::{Anew, Changes, Difference, Kind, Quality, Reading, Snapshot, Source, Subject, Value};

/// Raised when a reader of the one before would misread it.
const FORMAT: u32 = 1;
const MEDIA: &str = "application/x-ndjson";
/// An answer is large, and the next snapshot makes another.
const LIFE: Duration = Duration::from_secs(5);
/// A reader that comes later than this gets everything.
const IDLE_MS: i64 = 10 * 60_000;

/// What tells this run of the host from others, and what changed within it.
pub(in crate::api) struct Bulk {
    epoch: Box<str>,
    changes: Mutex<Changes>,
    /// When somebody asked last, in ms.
    asked: AtomicI64,
}

impl Default for Bulk {
    fn default() -> Self {
        let epoch = format!("{:016x}", rand::rng().random::<u64>()).into();
        Self { epoch, changes: Mutex::default(), asked: AtomicI64::new(i64::MAX) }
    }
}

impl Bulk {
    /// Lets go of what it compared last where nobody asks any more: it would keep old subjects in memory.
    pub(in crate::api) fn upkeep(&self, now_ms: i64) {
        if now_ms.saturating_sub(self.asked.load(Ordering::Relaxed)) > IDLE_MS {
            self.asked.store(i64::MAX, Ordering::Relaxed);
            *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = Changes::default();
        }
    }
}

pub(in crate::api) async fn snapshot(State(app): State<App>, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let since = base(&params, &app.bulk.epoch)?;
    let current = app.inventory.current();
    if let Some(cluster) = params.cluster.as_deref() {
        let is_known = app.clusters().iter().any(|c| c.name == cluster) || current.subjects.iter().any(|s| *s.cluster == *cluster);
        if !is_known {
            return Err(Problem::not_found("cluster", cluster));
        }
    }
    let key = format!("snapshot?{}#{}", params.normalised(), current.sequence);
    let etag = format!("W/\"{}-{}-{:x}\"", app.bulk.epoch, current.sequence, super::super::envelope::hash(&key));
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if seen.is_some_and(|s| s.split(',').any(|t| t.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    app.bulk.asked.store(crate::now_ms(), Ordering::Relaxed);
    let asking = app.clone();
    let cluster = params.cluster.clone();
    // Ten thousand cards take tens of milliseconds: not on a thread that answers others.
    let rendered = tokio::task::spawn_blocking(move || {
        asking.cache.get_with(key, || {
            let takes = |s: &Subject| cluster.as_deref().is_none_or(|c| *s.cluster == *c);
            let changed = asking.bulk.changes.lock().unwrap_or_else(PoisonError::into_inner).after(current, since, takes);
            let data = encode(&changed, asking.registry.catalogue(), &asking.bulk.epoch, cluster.as_deref(), since.ok());
            Rendered { data: data.into(), life: LIFE, ..Rendered::empty() }
        })
    });
    let rendered = rendered.await.map_err(|_| Problem::internal())?;
    let text = |v: &'static str| HeaderValue::from_static(v);
    let etag = HeaderValue::from_str(&etag).map_err(|_| Problem::internal())?;
    let headers = [(header::CONTENT_TYPE, text(MEDIA)), (header::CACHE_CONTROL, text("private, max-age=1")), (header::ETAG, etag)];
    Ok((headers, rendered.data).into_response())
}

/// From where a reader goes on.
fn base(params: &Params, epoch: &str) -> Result<Result<u64, Anew>, Problem> {
    let since = params.get("since").map(|text| {
        text.parse::<u64>().map_err(|_| Problem::parameter("since", text, "a sequence, as an answer before this one named it"))
    });
    match (since.transpose()?, params.get("epoch")) {
        (None, None) => Ok(Err(Anew::First)),
        (None, Some(given)) => Err(Problem::parameter("epoch", given, "it goes with since")),
        (Some(since), None) => Err(Problem::parameter("since", &since.to_string(), "it goes with the epoch of that answer")),
        (Some(since), Some(given)) => Ok(if given == epoch { Ok(since) } else { Err(Anew::Epoch) }),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Subject(SubjectLine<'a>),
    Event(EventLine<'a>),
    Gone(&'a str),
}

#[derive(Serialize)]
struct SubjectLine<'a> {
    id: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    described: Option<Described<'a>>,
    life: crate::inventory::Life,
    /// When it was last heard of.
    seen: i64,
    readings: Vec<Group>,
}

#[derive(Serialize)]
struct Described<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(serialize_with = "pairs")]
    identity: &'a [(Arc<str>, Arc<str>)],
    #[serde(serialize_with = "pairs")]
    labels: &'a [(Arc<str>, Arc<str>)],
}

fn pairs<S: serde::Serializer>(all: &&[(Arc<str>, Arc<str>)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(all.iter().map(|(k, v)| (&**k, &**v)))
}

/// Set, source, time, and a value or the reason of a gap for each metric of the set.
#[derive(Serialize)]
struct Group(usize, u16, i64, Vec<Told>);

#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Number(f64),
    Gap(crate::inventory::Reason),
}

#[derive(Serialize)]
struct EventLine<'a> {
    subject: &'a str,
    at: i64,
    severity: crate::inventory::Severity,
    code: &'a str,
    message: &'a str,
    key: &'a str,
}

/// Tables that subjects refer to.
#[derive(Default)]
struct Tables {
    metrics: HashMap<(MetricId, Quality), usize>,
    rows: Vec<(MetricId, Quality)>,
    sets: HashMap<Vec<usize>, usize>,
    ordered: Vec<Vec<usize>>,
    sources: BTreeSet<u16>,
}

impl Tables {
    fn row(&mut self, metric: MetricId, quality: Quality) -> usize {
        *self.metrics.entry((metric, quality)).or_insert_with(|| {
            self.rows.push((metric, quality));
            self.rows.len() - 1
        })
    }

    fn set(&mut self, rows: Vec<usize>) -> usize {
        if let Some(known) = self.sets.get(&rows) {
            return *known;
        }
        self.ordered.push(rows.clone());
        self.sets.insert(rows, self.ordered.len() - 1);
        self.ordered.len() - 1
    }

    /// What one source said at one time stands together.
    fn groups(&mut self, readings: &[Reading]) -> Vec<Group> {
        let mut groups: Vec<(u16, i64, Vec<usize>, Vec<Told>)> = Vec::with_capacity(1);
        for r in readings {
            let (quality, told) = match r.value {
                Value::Number(v, quality) => (quality, Told::Number(v)),
                Value::Gap(reason) => (Quality::Measured, Told::Gap(reason)),
            };
            let at = groups.iter().position(|g| (g.0, g.1) == (r.source, r.at_ms)).unwrap_or_else(|| {
                groups.push((r.source, r.at_ms, Vec::new(), Vec::new()));
                groups.len() - 1
            });
            groups[at].2.push(self.row(r.metric, quality));
            groups[at].3.push(told);
        }
        self.sources.extend(groups.iter().map(|g| g.0));
        groups.into_iter().map(|(source, at, rows, values)| Group(self.set(rows), source, at, values)).collect()
    }
}

fn encode(changed: &Difference, catalogue: &Catalogue, epoch: &str, cluster: Option<&str>, since: Option<u64>) -> Vec<u8> {
    let snapshot = &changed.snapshot;
    let (mut tables, mut body) = (Tables::default(), Vec::new());
    for (subject, is_new) in parents_first(&changed.subjects) {
        let described = is_new.then(|| Described {
            kind: if subject.kind == Kind::Other { "x_other" } else { subject.kind.name() },
            parent: subject.parent.as_deref(),
            node: subject.node.as_deref(),
            identity: &subject.identity,
            labels: &subject.labels,
        });
        let readings = tables.groups(&subject.readings);
        let (life, seen) = (subject.life, subject.last_seen_ms);
        write(&mut body, &Line::Subject(SubjectLine { id: &subject.id, described, life, seen, readings }));
    }
    let is_of = |id: &str| snapshot.get(id).is_some_and(|s| cluster.is_none_or(|c| *s.cluster == *c));
    let mut events = 0;
    for e in changed.events.iter().filter(|e| is_of(&e.subject)) {
        let (code, message, key) = (&e.code, &e.message, &e.key);
        let line = EventLine { subject: &e.subject, at: e.at_ms, severity: e.severity, code, message, key };
        write(&mut body, &Line::Event(line));
        events += 1;
    }
    changed.gone.iter().for_each(|s| write(&mut body, &Line::Gone(&s.id)));

    let mut out = Vec::with_capacity(body.len() + 4_096);
    let head = json!({ "snapshot": {
        "format": FORMAT, "version": env!("CARGO_PKG_VERSION"), "epoch": epoch, "sequence": snapshot.sequence, "at": snapshot.at_ms,
        "cluster": cluster, "since": since.filter(|_| changed.anew.is_none()), "anew": changed.anew,
    } });
    write(&mut out, &head);
    write(&mut out, &json!({ "sources": sources(snapshot, &tables.sources, cluster) }));
    let metric = |(id, quality): &(MetricId, Quality)| {
        let (name, unit, kind, states) = catalogue.definition(*id);
        json!([name, unit, kind, quality, states])
    };
    write(&mut out, &json!({ "metrics": tables.rows.iter().map(metric).collect::<Vec<_>>() }));
    write(&mut out, &json!({ "sets": tables.ordered }));
    out.append(&mut body);
    let end = json!({ "end": { "subjects": changed.subjects.len(), "events": events, "gone": changed.gone.len() } });
    write(&mut out, &end);
    out
}

/// How those fare that are asked for a cluster, and those that an answer refers to.
fn sources(snapshot: &Snapshot, named: &BTreeSet<u16>, cluster: Option<&str>) -> Vec<serde_json::Value> {
    let all = snapshot.sources.iter().enumerate();
    let wanted = |(i, s): &(usize, &Arc<Source>)| named.contains(&(*i as u16)) || (!s.is_gone && cluster.is_none_or(|c| *s.cluster == *c));
    all.filter(wanted)
        .map(|(i, s)| {
            json!({
                "index": i, "plugin": &*s.plugin, "target": &*s.target, "cluster": &*s.cluster, "interval_ms": s.interval_ms,
                "last_success": s.last_success_ms, "failures": s.consecutive_failures, "error": s.last_error.as_deref(), "gone": s.is_gone,
            })
        })
        .collect()
}

/// In order, but for parents that stand behind a child.
fn parents_first(all: &[(Arc<Subject>, bool)]) -> Vec<(&Subject, bool)> {
    let place: HashMap<&str, usize> = all.iter().enumerate().map(|(i, (s, _))| (&*s.id, i)).collect();
    let (mut out, mut is_out, mut way) = (Vec::with_capacity(all.len()), HashSet::with_capacity(all.len()), Vec::new());
    for i in 0..all.len() {
        let mut next = Some(i);
        // A ring of parents ends at the first that is on the way already.
        while let Some(at) = next.filter(|at| !is_out.contains(at) && !way.contains(at)) {
            way.push(at);
            next = all[at].0.parent.as_deref().and_then(|p| place.get(p).copied());
        }
        while let Some(at) = way.pop() {
            is_out.insert(at);
            out.push((&*all[at].0, all[at].1));
        }
    }
    out
}

fn write(out: &mut Vec<u8>, line: &impl Serialize) {
    // Writing to memory what has text for keys cannot fail.
    serde_json::to_writer(&mut *out, line).unwrap_or_default();
    out.push(b'\n');
}
