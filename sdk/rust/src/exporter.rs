//! Exporters whose rows must be seen together: the name stands in one family, the value in another. In: rows, scraped or held by a
//! Prometheus. Out: a [`Page`] an exporter, which a [`Source`] turns into subjects and readings. Rows of two exporters never meet.

mod cards;
mod page;
pub mod tables;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::exposition::{Event, Format, Parser};
use crate::promql::{Ask, Series, Server};
use crate::{Batch, CollectError, GapReason, Label, Metric, MetricDef, MetricKind, Quality, SubjectRef, Target, http};

pub use cards::{Mean, Readings, Who, is_exporters};
pub use page::{Page, Row};

/// How a source is reached.
#[derive(Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Targets are exporters.
    #[default]
    Scrape,
    /// Targets are Prometheus-compatible servers that scrape them.
    Promql,
}

/// One metric that a source can say.
pub struct Def {
    pub name: &'static str,
    pub unit: &'static str,
    pub kind: MetricKind,
    pub quality: Quality,
    pub states: &'static [&'static str],
}

/// A number.
pub const fn number(name: &'static str, unit: &'static str, kind: MetricKind, quality: Quality) -> Def {
    Def { name, unit, kind, quality, states: &[] }
}

/// One of a closed set of names.
pub const fn state(name: &'static str, states: &'static [&'static str]) -> Def {
    Def { name, unit: "state", kind: MetricKind::State, quality: Quality::Measured, states }
}

/// What a kind of exporter says.
pub trait Source {
    /// As its users call it.
    const NAME: &'static str;
    /// A regular expression that all its names match, for asking a server which it holds.
    const LIKE: &'static str;
    const METRICS: &'static [Def];

    /// What is asked of a server; no other name is looked at when the exporter itself is read.
    fn asks(&self) -> &'static [Ask];

    /// Puts what one exporter says into the batch. An error is an exporter that speaks and has nothing to say.
    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError>;
}

/// The definitions of a source, in order.
pub fn definitions(of: &[Def]) -> Vec<MetricDef> {
    let states = |d: &Def| d.states.iter().map(|s| (*s).to_owned()).collect();
    of.iter().map(|d| MetricDef { states: states(d), ..crate::mapping::definition(d.name, d.unit, d.kind, d.quality) }).collect()
}

/// Reads a target once, whichever way it is reached.
pub fn collect<S: Source>(
    source: &mut S,
    transport: Transport,
    target: &Target,
    deadline_ms: u32,
    batch: &mut Batch,
) -> Result<(), CollectError> {
    let mut out = Out::new::<S>(batch, 0);
    match transport {
        Transport::Scrape => {
            let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4";
            let answer = http::get(target, &target.address, accept, deadline_ms)?;
            let (text, format) = answer.exposition()?;
            read_text(source, target, &text, format, &mut out)?;
        }
        Transport::Promql => {
            let server = Server::new(target, deadline_ms);
            let scraped = server.scraped_at()?;
            let series = server.ask(source.asks(), |_| true)?;
            read_series(source, target, &series, &scraped, &mut out);
        }
    }
    match out.is_empty() {
        true => Err(CollectError::Unsupported(format!("no row that {} has is in the answer", S::NAME))),
        false => Ok(()),
    }
}

/// What an exporter answered.
pub fn read_text<S: Source>(source: &mut S, target: &Target, text: &str, format: Format, out: &mut Out<'_>) -> Result<(), CollectError> {
    let mut page = Page::of_target(source.asks(), target);
    for event in Parser::new(text, format) {
        match event {
            Ok(Event::Sample(sample)) => page.sample(&sample),
            Ok(Event::Help { name, text }) => page.explain(name, text),
            Ok(_) => {}
            Err(bad) => {
                out.batch.problem(CollectError::Protocol(format!("column {}: {}", bad.column, bad.reason)), Some(bad.line));
            }
        }
    }
    out.is_alone = true;
    out.take(source, &page)
}

/// What a server holds of many exporters. `scraped` is when each (job, instance) was scraped.
pub fn read_series<S: Source>(
    source: &mut S,
    target: &Target,
    series: &[Series],
    scraped: &BTreeMap<(String, String), i64>,
    out: &mut Out<'_>,
) {
    for page in Page::of_series(source.asks(), target, series, scraped) {
        if let Err(error) = out.take(source, &page) {
            out.batch.problem(error, None);
        }
    }
}

/// A batch, with the metrics of a source by name.
pub struct Out<'b> {
    pub batch: &'b mut Batch,
    /// Place of the source's first metric in `describe`.
    first: u32,
    metrics: &'static [Def],
    rows: usize,
    /// One exporter is all there is in the batch.
    is_alone: bool,
}

impl<'b> Out<'b> {
    pub fn new<S: Source>(batch: &'b mut Batch, first: u32) -> Self {
        Self { batch, first, metrics: S::METRICS, rows: 0, is_alone: false }
    }

    fn take<S: Source>(&mut self, source: &mut S, page: &Page<'_>) -> Result<(), CollectError> {
        self.rows += page.len();
        match page.is_empty() {
            true => Ok(()),
            false => source.read(page, self),
        }
    }

    /// Whether no row was the source's.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn metric(&mut self, name: &str, quality: Option<Quality>) -> Option<(Metric, &'static Def)> {
        let fits = |d: &&Def| d.name == name && quality.is_none_or(|q| q == d.quality);
        let Some(at) = self.metrics.iter().position(|d| fits(&d)) else {
            self.batch.problem(CollectError::Internal(format!("{name} is not described")), None);
            return None;
        };
        Some((Metric(self.first + at as u32), &self.metrics[at]))
    }

    /// A reading in the quality in which the metric is first listed.
    pub fn put(&mut self, name: &str, subject: SubjectRef, value: f64, at_ms: Option<i64>) {
        if let Some((metric, _)) = self.metric(name, None) {
            self.batch.point(metric, subject, value, at_ms);
        }
    }

    /// A reading in this quality, where the metric is listed in several.
    pub fn put_as(&mut self, quality: Quality, name: &str, subject: SubjectRef, value: f64, at_ms: Option<i64>) {
        if let Some((metric, _)) = self.metric(name, Some(quality)) {
            self.batch.point(metric, subject, value, at_ms);
        }
    }

    /// Why there is no reading.
    pub fn gap(&mut self, name: &str, subject: SubjectRef, reason: GapReason) {
        if let Some((metric, _)) = self.metric(name, None) {
            self.batch.gap(metric, subject, reason);
        }
    }

    /// One of the metric's states.
    pub fn state(&mut self, name: &str, subject: SubjectRef, state: &str) {
        let Some((metric, def)) = self.metric(name, None) else { return };
        match def.states.iter().position(|s| *s == state) {
            Some(at) => self.batch.state(metric, subject, at as u32),
            None => self.batch.problem(CollectError::Internal(format!("{name} has no state {state}")), None),
        }
    }

    /// A subject that one label tells from others of its kind below its parent.
    pub fn subject(&mut self, kind: &str, key: &str, value: &str, parent: Option<SubjectRef>) -> SubjectRef {
        let below = parent.map_or(String::new(), |p| p.index().to_string());
        self.batch.subject(kind, &format!("{below}/{value}"), parent, |s| s.identity = vec![label(key, value)])
    }

    /// A node. In one answer the same for every source, as its pods and their containers are.
    pub fn node(&mut self, name: &str) -> SubjectRef {
        self.batch.subject("node", name, None, |s| s.identity = vec![label("node", name)])
    }

    /// A pod by its name; `uid` tells its lives apart.
    pub fn pod(&mut self, node: Option<SubjectRef>, namespace: &str, name: &str, uid: Option<&str>) -> SubjectRef {
        self.batch.subject("pod", &format!("{namespace}/{name}"), node, |s| {
            s.identity = vec![label("namespace", namespace), label("name", name)];
            s.identity.extend(uid.map(|uid| label("uid", uid)));
        })
    }

    /// A container of a pod, or of a node; the runtime's id tells its lives apart.
    pub fn container(&mut self, parent: SubjectRef, name: &str, runtime_id: Option<&str>) -> SubjectRef {
        self.batch.subject("container", &format!("{}/{name}", parent.index()), Some(parent), |s| {
            s.identity = vec![label("name", name)];
            s.identity.extend(runtime_id.map(|id| label("runtime_id", id)));
        })
    }

    /// A virtual machine by its UUID.
    pub fn vm(&mut self, uuid: &str, node: Option<SubjectRef>) -> SubjectRef {
        self.batch.subject("vm", uuid, node, |s| s.identity = vec![label("uuid", uuid)])
    }

    /// Adds a descriptive label, unless it is there or there is nothing to say.
    pub fn label(&mut self, subject: SubjectRef, key: &str, value: Option<impl AsRef<str>>) {
        let labels = self.batch.labels(subject);
        if let Some(value) = value.as_ref().map(AsRef::as_ref).filter(|v| !v.is_empty())
            && labels.iter().all(|l| l.key != key)
        {
            labels.push(label(key, value));
        }
    }

    /// Half of what an exporter has could not be read: what it did not name is not gone, and ages. Of many exporters in one answer
    /// the others' are whole: one that is broken for good must not keep theirs from going.
    pub fn half(&mut self, why: CollectError) {
        if self.is_alone {
            self.batch.partial();
        }
        self.batch.problem(why, None);
    }

    /// Something that is wrong with a part of the answer.
    pub fn problem(&mut self, text: impl Into<String>) {
        self.batch.problem(CollectError::Protocol(text.into()), None);
    }
}

/// Whether a text is a UUID: what a source calls an id may be a name.
pub fn is_uuid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = text.bytes().filter(|b| *b == b'-').count();
    digits == 32 && digits + dashes == text.len() && matches!(dashes, 0 | 4)
}

/// One label.
pub fn label(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}
