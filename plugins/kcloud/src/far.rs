//! What is known of one far host, kept in step with it.
//!
//! In: the lines of an answer. Out: a batch, in pages. The cursor is the far host's epoch and sequence: an answer that our host did not
//! take is asked for again from the one before. What is remembered is how subjects are described, which a far host says once.

use std::collections::{HashMap, HashSet};

use kcloud_collector_sdk::bindings::kcloud::collector::types::Event;
use kcloud_collector_sdk::{Batch, CollectError, GapReason, Label, Metric, MetricDef, MetricKind, Quality, SubjectRef, Target};

use crate::feed::{Deadline, Feed, Pieces};
use crate::line::{EventLine, FORMAT, Group, Head, Life, Line, MetricRow, Source, SubjectLine, Told};

/// A page ends after so many.
const SUBJECTS: usize = 2_000;
const POINTS: usize = 20_000;
const EVENTS: usize = 500;
/// Places of our own metrics in `describe`.
const PRESENCE: Metric = Metric(0);
const FAILURES: Metric = Metric(1);
const INTERVAL: Metric = Metric(2);
const SUCCESS: Metric = Metric(3);
/// Says on each subject who observed it: the nearest to it first.
const OBSERVED_BY: &str = "observed_by";

pub fn definitions() -> Vec<MetricDef> {
    let metric = |name: &str, help: &str, unit: &str, kind, states: &[&str]| MetricDef {
        name: name.to_owned(),
        help: help.to_owned(),
        unit: unit.to_owned(),
        kind,
        quality: Quality::Measured,
        states: states.iter().map(|s| (*s).to_owned()).collect(),
    };
    let own = |name, help, unit| metric(name, help, unit, MetricKind::Gauge, &[]);
    vec![
        metric("presence", "Whether the far host still hears of it.", "state", MetricKind::State, &["live", "stale", "offline"]),
        own("x_kcloud_source_failures_count", "Failed reads of a far host's source in a row.", "count"),
        own("x_kcloud_source_interval_seconds", "How often a far host reads a source.", "seconds"),
        own("x_kcloud_source_last_success_seconds", "When a far host's source last answered, since the Unix epoch.", "seconds"),
    ]
}

/// How a subject is described.
struct Known {
    kind: String,
    identity: Vec<Label>,
    labels: Vec<Label>,
    parent: Option<String>,
}

pub type Open<'a> = &'a mut dyn FnMut(&str, u32) -> Result<Box<dyn Pieces>, CollectError>;

#[derive(Default)]
pub struct Far {
    known: HashMap<String, Known>,
    /// Gone in answers that may not have been taken; forgotten once that which was given last is.
    leaving: Vec<String>,
    offered: String,
    /// Sources that were named last.
    sources: HashSet<String>,
    under_way: Option<UnderWay>,
}

/// An answer that is being read.
struct UnderWay {
    feed: Feed,
    head: Head,
    page: u64,
    sources: HashMap<u16, Source>,
    metrics: Vec<MetricRow>,
    sets: Vec<Vec<usize>>,
    subjects: usize,
    events: usize,
    gone: usize,
}

/// What of a page is filled.
#[derive(Default)]
struct Page {
    points: usize,
    events: usize,
    /// Of each row of the metrics its place in this page.
    metrics: Vec<Option<Metric>>,
}

impl Far {
    pub fn collect(
        &mut self,
        target: &Target,
        cluster: &str,
        most_labels: usize,
        deadline_ms: u32,
        batch: &mut Batch,
        open: Open<'_>,
    ) -> Result<(), CollectError> {
        let deadline = Deadline::new(deadline_ms);
        let mut under_way = match batch.page.take() {
            Some(page) => {
                let same = |u: &UnderWay| page == u.page.to_le_bytes();
                self.under_way.take().filter(same).ok_or_else(|| CollectError::Internal("a page that is none of ours".to_owned()))?
            }
            None => self.begin(target, cluster, deadline, batch, open)?,
        };
        self.offered = format!("{}:{}", under_way.head.epoch, under_way.head.sequence);
        match under_way.head.since {
            Some(_) => batch.delta(self.offered.clone().into_bytes()),
            None => batch.go_on_from(self.offered.clone().into_bytes()),
        }
        let mut page = Page::default();
        let is_whole = under_way.read(self, target, cluster, most_labels, deadline, &mut page, batch)?;
        if !is_whole {
            under_way.page += 1;
            batch.next_page(under_way.page.to_le_bytes().to_vec());
            self.under_way = Some(under_way);
        }
        Ok(())
    }

    /// Asks for what came after the cursor, and reads how the answer begins.
    fn begin(
        &mut self,
        target: &Target,
        cluster: &str,
        deadline: Deadline,
        batch: &mut Batch,
        open: Open<'_>,
    ) -> Result<UnderWay, CollectError> {
        self.under_way = None;
        let cursor = batch.cursor.take().and_then(|c| String::from_utf8(c).ok());
        let base = cursor.as_deref().and_then(|c| c.split_once(':'));
        let mut url = format!("{}/api/v1/system/snapshot?cluster={}", target.address.trim_end_matches('/'), encoded(cluster));
        if let Some((epoch, sequence)) = base {
            url.push_str(&format!("&since={sequence}&epoch={epoch}"));
        }
        let missing = |e: CollectError| match e {
            CollectError::Protocol(why) if why == "HTTP 404" => CollectError::Config(format!(
                "the host there has no cluster {cluster:?}, or is of a version without snapshots; [targets.config] cluster says what it calls it"
            )),
            other => other,
        };
        let mut feed = Feed::new(open(&url, deadline.left_ms()).map_err(missing)?);
        let Some(first) = feed.next(deadline)? else { return Err(broken("an empty answer")) };
        let head = match serde_json::from_slice(first) {
            Ok(Line::Snapshot(head)) if head.format == FORMAT => head,
            Ok(Line::Snapshot(head)) => {
                return Err(CollectError::Unsupported(format!("its snapshots have format {}; this plugin reads {FORMAT}", head.format)));
            }
            Ok(_) => return Err(broken("line 1 is no head")),
            Err(e) => return Err(broken(&format!("line 1: {e}"))),
        };
        let is_from = |s: u64| base.is_some_and(|(epoch, sequence)| epoch == head.epoch && sequence == s.to_string());
        match head.since {
            Some(since) if !is_from(since) => return Err(broken("it goes on from elsewhere than it was asked to")),
            // Our host gives back the cursor of the last answer that it took.
            Some(_) if cursor.as_deref() == Some(&self.offered) => self.leaving.drain(..).for_each(|id| drop(self.known.remove(&id))),
            Some(_) => {}
            None => {
                self.known.clear();
                self.leaving.clear();
                self.sources.clear();
            }
        }
        let (sources, metrics, sets) = (HashMap::new(), Vec::new(), Vec::new());
        Ok(UnderWay { feed, head, page: 0, sources, metrics, sets, subjects: 0, events: 0, gone: 0 })
    }

    /// Names a subject as the parent of another, or as the place of an event: as it was.
    fn bare(&self, id: &str, batch: &mut Batch) -> Option<SubjectRef> {
        let known = self.known.get(id)?;
        let parent = known.parent.as_deref().and_then(|p| self.bare(p, batch));
        Some(batch.subject(&known.kind, id, parent, |s| s.identity.clone_from(&known.identity)))
    }

    /// How the far host's own sources fare, each a subject.
    fn say_sources(&mut self, target: &Target, cluster: &str, all: &[Source], is_delta: bool, batch: &mut Batch) {
        let mut now = HashSet::new();
        for s in all.iter().filter(|s| !s.gone && s.cluster == cluster) {
            let name = source_name(target, s);
            let at = source(batch, &name);
            let mut label = |key: &str, value: &str| batch.labels(at).push(Label { key: key.to_owned(), value: value.to_owned() });
            label("source_plugin", &s.plugin);
            label("source_target", &s.target);
            label("source_status", if s.failures > 0 { "failing" } else { "connected" });
            s.error.iter().for_each(|e| label("source_error", e));
            batch.point(FAILURES, at, s.failures.into(), None);
            batch.point(INTERVAL, at, s.interval_ms as f64 / 1e3, None);
            match s.last_success {
                Some(ms) => batch.point(SUCCESS, at, ms as f64 / 1e3, None),
                None => batch.gap(SUCCESS, at, GapReason::Absent),
            }
            now.insert(name);
        }
        if is_delta {
            for name in self.sources.difference(&now) {
                let at = source(batch, name);
                batch.tombstone(at);
            }
        }
        self.sources = now;
    }
}

impl UnderWay {
    /// Reads until a page is full (`false`) or the answer is.
    #[allow(clippy::too_many_arguments)]
    fn read(
        &mut self,
        far: &mut Far,
        target: &Target,
        cluster: &str,
        most_labels: usize,
        deadline: Deadline,
        page: &mut Page,
        batch: &mut Batch,
    ) -> Result<bool, CollectError> {
        let is_delta = self.head.since.is_some();
        while let Some(text) = self.feed.next(deadline)? {
            let line = serde_json::from_slice::<Line<'_>>(text);
            match line.map_err(|e| broken(&e.to_string())) {
                Ok(Line::Subject(line)) => {
                    self.subjects += 1;
                    let (sources, metrics, sets) = (&self.sources, &self.metrics, &self.sets);
                    Writer { far, target, sources, metrics, sets, most_labels, page, batch }.subject(line)?;
                }
                Ok(Line::Event(event)) => {
                    self.events += 1;
                    page.events += 1;
                    if let Some(at) = far.bare(&event.subject, batch) {
                        batch.event(at, happened(event));
                    }
                }
                Ok(Line::Gone(id)) => {
                    self.gone += 1;
                    if let Some(at) = far.bare(&id, batch) {
                        batch.tombstone(at);
                        far.leaving.push(id.into_owned());
                    }
                }
                Ok(Line::Sources(all)) => {
                    far.say_sources(target, cluster, &all, is_delta, batch);
                    self.sources = all.into_iter().map(|s| (s.index, s)).collect();
                }
                Ok(Line::Metrics(all)) => self.metrics = all,
                Ok(Line::Sets(all)) => self.sets = all,
                Ok(Line::Snapshot(_)) => return Err(broken("a second head")),
                Ok(Line::End(end)) => {
                    let read = (self.subjects, self.events, self.gone);
                    return match read == (end.subjects, end.events, end.gone) {
                        true => Ok(true),
                        false => Err(broken("its end speaks of other numbers than came")),
                    };
                }
                Err(_) => {
                    let why = serde_json::from_slice::<Line<'_>>(text).err().map(|e| e.to_string()).unwrap_or_default();
                    return Err(broken(&format!("line {}: {why}", self.feed.line)));
                }
            }
            if batch.count() >= SUBJECTS || page.points >= POINTS || page.events >= EVENTS {
                return Ok(false);
            }
        }
        Err(CollectError::Protocol(format!("the answer broke off after line {}", self.feed.line)))
    }
}

/// Brings subjects into a page.
struct Writer<'a> {
    far: &'a mut Far,
    target: &'a Target,
    sources: &'a HashMap<u16, Source>,
    metrics: &'a [MetricRow],
    sets: &'a [Vec<usize>],
    most_labels: usize,
    page: &'a mut Page,
    batch: &'a mut Batch,
}

impl Writer<'_> {
    fn subject(&mut self, line: SubjectLine<'_>) -> Result<(), CollectError> {
        let id = &*line.id;
        if let Some(kind) = line.kind {
            let mut known = Known { kind, identity: line.identity, labels: line.labels, parent: line.parent };
            if let Some(node) = line.node {
                settle_node(&mut known, node);
            }
            self.far.known.insert(id.to_owned(), known);
        }
        let by = self.observers(&line.readings);
        let Some(known) = self.far.known.get(id) else { return Err(broken(&format!("{id} was never described"))) };
        let parent = known.parent.as_deref().and_then(|p| self.far.bare(p, self.batch));
        let room = self.most_labels.saturating_sub(known.identity.len() + 1);
        let at = self.batch.subject(&known.kind, id, parent, |s| s.identity.clone_from(&known.identity));
        let mut labels: Vec<Label> = known.labels.iter().filter(|l| l.key != OBSERVED_BY).take(room).cloned().collect();
        let before = known.labels.iter().find(|l| l.key == OBSERVED_BY).map(|l| l.value.as_str());
        let by: Vec<&str> = before.into_iter().chain(by.iter().map(String::as_str)).collect();
        if !by.is_empty() {
            labels.push(Label { key: OBSERVED_BY.to_owned(), value: by.join(", ") });
        }
        *self.batch.labels(at) = labels;
        let observed = match (line.life, line.readings.first()) {
            (Life::Live, Some(first)) => first.2,
            _ => line.seen,
        };
        self.batch.observed_at(at, observed);
        if line.life != Life::Live || line.readings.is_empty() {
            self.batch.state(PRESENCE, at, line.life as u32);
        }
        for Group(set, _, read_ms, values) in line.readings {
            let rows = self.sets.get(set).filter(|rows| rows.len() == values.len());
            let rows = rows.ok_or_else(|| broken(&format!("{id} has {} values for set {set}", values.len())))?;
            self.page.points += values.len();
            for (row, value) in rows.iter().zip(values) {
                let (metric, is_state) = self.metric(*row)?;
                match value {
                    Told::Gap(reason) => self.batch.gap(metric, at, reason),
                    Told::Number(v) if is_state => self.batch.state(metric, at, v as u32),
                    Told::Number(v) => self.batch.point(metric, at, v, (read_ms != observed).then_some(read_ms)),
                }
            }
        }
        Ok(())
    }

    /// A metric's place in this page, and whether its values are states.
    fn metric(&mut self, row: usize) -> Result<(Metric, bool), CollectError> {
        let given = self.metrics.get(row).ok_or_else(|| broken(&format!("there is no metric {row}")))?;
        let is_state = given.2 == MetricKind::State;
        self.page.metrics.resize(self.metrics.len(), None);
        let metric = self.page.metrics[row].unwrap_or_else(|| {
            self.batch.metric(MetricDef {
                name: given.0.clone(),
                help: String::new(),
                unit: given.1.clone(),
                kind: given.2,
                quality: given.3,
                states: given.4.clone(),
            })
        });
        self.page.metrics[row] = Some(metric);
        Ok((metric, is_state))
    }

    /// The far host's sources that its readings come from.
    fn observers(&self, readings: &[Group]) -> Vec<String> {
        let mut all: Vec<u16> = readings.iter().map(|g| g.1).collect();
        all.sort_unstable();
        all.dedup();
        all.iter().filter_map(|i| self.sources.get(i)).map(|s| source_name(self.target, s)).collect()
    }
}

/// A card without a parent is known by its node, anything else is only described by it.
fn settle_node(known: &mut Known, node: String) {
    let has = |all: &[Label]| all.iter().any(|l| l.key == "node");
    if known.parent.is_some() || has(&known.identity) || has(&known.labels) && known.kind != "accelerator" {
        return;
    }
    let label = Label { key: "node".to_owned(), value: node };
    match known.kind.as_str() {
        "accelerator" => {
            known.labels.retain(|l| l.key != "node");
            known.identity.push(label);
        }
        _ => known.labels.push(label),
    }
}

fn source_name(target: &Target, source: &Source) -> String {
    format!("{}/{}/{}", target.id, source.plugin, source.target)
}

fn source(batch: &mut Batch, name: &str) -> SubjectRef {
    let label = || Label { key: "name".to_owned(), value: name.to_owned() };
    batch.subject("x_source", name, None, |s| s.identity = vec![label()])
}

/// What held there is, here, what happened: said once, it does not come again.
fn happened(line: EventLine<'_>) -> Event {
    let key = match line.key.strip_prefix("now:") {
        Some(rest) if rest.contains('@') => format!("was:{rest}"),
        Some(rest) => format!("was:{rest}@{}", line.at),
        None => line.key,
    };
    let at = u64::try_from(line.at).ok().and_then(|ms| ms.checked_mul(1_000_000));
    Event { subject: 0, at, severity: line.severity, code: line.code, message: line.message, key }
}

fn broken(what: &str) -> CollectError {
    CollectError::Protocol(format!("snapshot: {what}"))
}

fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
