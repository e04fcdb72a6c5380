//! From a checked table and what stands where it says to subjects and readings. What is missing is a gap, what is wrong a problem that
//! names table, row and place; neither costs its neighbours.

use std::collections::{BTreeSet, HashMap};

use kcloud_collector_sdk::exposition::Labels;
use kcloud_collector_sdk::{Batch, CollectError, GapReason, Label, MetricKind, SubjectRef, Target, target_label};
use serde_json::Value;

use crate::members::{line, member, members};
use crate::pattern::{Parts, Pattern};
use crate::raw::Format;
use crate::table::{From, Metric, Only, Parent, Place, Rule, Subject, Table};
use crate::value::{Got, measured, nothing};
use crate::world::{Disk, FileError, Match, World};

/// Problems of one read that are told one by one.
const MAX_PROBLEMS: usize = 20;

/// What rules are applied to.
#[derive(Clone)]
pub(crate) enum Row<'a> {
    /// Where the table's path matched, and where this row is.
    Text {
        base: String,
        at: Match,
    },
    Json {
        top: &'a Value,
        at: &'a Value,
        parts: Parts,
    },
    Sample {
        labels: Labels<'a>,
    },
}

impl Row<'_> {
    fn part(&self, name: &str) -> Option<String> {
        let of = |parts: &Parts| parts.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        match self {
            Self::Text { at, .. } => of(&at.parts),
            Self::Json { parts, .. } => of(parts),
            Self::Sample { labels } => labels.get(name).map(|v| v.into_owned()),
        }
    }

    /// How messages call it.
    fn name(&self) -> String {
        match self {
            Self::Text { at, .. } => at.path.clone(),
            Self::Json { parts, .. } => parts.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "),
            Self::Sample { labels } => format!("{{{}}}", labels.raw().chars().take(100).collect::<String>()),
        }
    }
}

/// What a file holds or a target answered.
pub(crate) struct Body {
    parts: Parts,
    pub(crate) place: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: Option<String>,
}

/// A row of a subject with the rows below it.
struct Spot<'a> {
    subject: usize,
    row: Row<'a>,
    below: Vec<Spot<'a>>,
}

pub(crate) struct Reader<'a, 'b, 'w> {
    pub(crate) table: &'a Table,
    target: &'a Target,
    pub(crate) batch: &'b mut Batch,
    pub(crate) disk: Disk<'w>,
    /// Where a `file` with a `*` leads, by what it was filled in to.
    resolved: HashMap<String, Option<String>>,
    problems: Vec<String>,
    unsaid: usize,
    pub(crate) is_stale: bool,
}

impl<'a, 'b, 'w> Reader<'a, 'b, 'w> {
    pub(crate) fn new(table: &'a Table, target: &'a Target, batch: &'b mut Batch, world: &'w mut dyn World) -> Self {
        let (resolved, problems) = (HashMap::new(), Vec::new());
        Self { table, target, batch, disk: Disk::new(world), resolved, problems, unsaid: 0, is_stale: false }
    }

    /// Reads the table once. An error is a table that has nothing to say.
    pub(crate) fn read(mut self) -> Result<(), CollectError> {
        let before = self.batch.count();
        let said = match self.table.format {
            Format::Text => self.texts(),
            Format::Json => self.documents(),
            Format::Prometheus => self.expositions(),
        };
        let is_empty = self.batch.count() == before;
        if self.disk.is_cut {
            self.batch.partial();
        }
        let mut all: Vec<CollectError> = self.disk.denied.iter().cloned().map(CollectError::Denied).collect();
        all.extend(self.disk.problems.iter().chain(&self.problems).cloned().map(CollectError::Protocol));
        said?;
        if is_empty {
            return Err(all.into_iter().next().unwrap_or_else(|| {
                CollectError::Unsupported(format!("{}: nothing that it maps is there: {}", self.table.name, self.place()))
            }));
        }
        let more = self.unsaid + all.len().saturating_sub(MAX_PROBLEMS);
        all.into_iter().take(MAX_PROBLEMS).for_each(|p| self.batch.problem(p, None));
        if more > 0 {
            self.batch.problem(CollectError::Protocol(format!("{}: and {more} more of this kind", self.table.name)), None);
        }
        Ok(())
    }

    fn place(&self) -> String {
        match self.table.files {
            Some(_) => self.table.place.clone(),
            None => format!("{}{}", self.target.address, self.table.place),
        }
    }

    pub(crate) fn problem(&mut self, text: impl AsRef<str>) {
        match self.problems.len() < MAX_PROBLEMS {
            true => self.problems.push(format!("{}: {}", self.table.name, text.as_ref())),
            false => self.unsaid += 1,
        }
    }

    // === what is there ===

    fn matches(&mut self) -> Vec<Match> {
        let top = Match { path: String::new(), parts: Parts::new() };
        let table = self.table;
        table.files.as_ref().map_or_else(Vec::new, |files| self.disk.walk(files, &top, table.max_rows, &table.place))
    }

    /// A file that was written too long ago says nothing of now.
    pub(crate) fn age(&mut self, path: &str) -> bool {
        let Some(most) = self.table.max_age_ms else { return false };
        let now = self.disk.world.now_ms();
        match self.disk.world.modified_ms(path) {
            Some(written) if now.saturating_sub(written) > most => {
                self.problem(format!("{path} was written {} s ago, more than max_age_seconds", now.saturating_sub(written) / 1_000));
                true
            }
            _ => false,
        }
    }

    fn texts(&mut self) -> Result<(), CollectError> {
        for at in self.matches() {
            self.is_stale = self.age(&at.path);
            let base = at.path.clone();
            let spots = self.spots(Parent::None, Row::Text { base, at });
            let mut paths = BTreeSet::new();
            spots.iter().for_each(|spot| self.gather(spot, &mut paths));
            self.disk.fetch(paths);
            self.put_all(spots, None);
        }
        Ok(())
    }

    /// Bodies: of files, or of the target.
    pub(crate) fn bodies(&mut self, accept: &str) -> Result<Vec<Body>, CollectError> {
        if self.table.files.is_none() {
            let url = self.place();
            let raw = self.disk.world.get(&url, accept)?;
            if !(200..=299).contains(&raw.status) {
                return Err(raw.refused());
            }
            let content_type = raw.header("content-type").map(str::to_owned);
            return Ok(vec![Body { parts: Parts::new(), place: url, bytes: raw.body, content_type }]);
        }
        let matches = self.matches();
        self.disk.fetch(matches.iter().map(|m| m.path.clone()).collect());
        let mut bodies = Vec::new();
        for Match { path, parts } in matches {
            match self.disk.bytes(&path) {
                Some(Ok(bytes)) => bodies.push(Body { parts, bytes: bytes.clone(), place: path, content_type: None }),
                Some(Err(FileError::Denied(why))) => drop(self.disk.denied.insert(why.clone())),
                _ => {
                    let why = match self.disk.text(&path) {
                        Got::Failed(_, why) => why,
                        _ => format!("{path} is gone"),
                    };
                    self.problem(why);
                    self.batch.partial();
                }
            }
        }
        Ok(bodies)
    }

    fn documents(&mut self) -> Result<(), CollectError> {
        let is_file = self.table.files.is_some();
        for Body { parts, place, bytes, .. } in self.bodies("application/json")? {
            self.is_stale = is_file && self.age(&place);
            let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            let top: Value = match serde_json::from_slice(body) {
                Ok(top) => top,
                Err(error) if !is_file => return Err(CollectError::Protocol(format!("{place}: JSON: {error}"))),
                Err(error) => {
                    self.problem(format!("{place}: JSON: {error}"));
                    self.batch.partial();
                    continue;
                }
            };
            let rows = match &self.table.rows {
                None => vec![(&top, parts)],
                Some(rows) => members(rows, &top, &top, &parts),
            };
            if rows.len() > self.table.max_rows {
                let most = self.table.max_rows;
                self.disk.cut(format!("{place}: more than {most} rows; the rest is left out: max_rows says how many"));
            }
            for (at, parts) in rows.into_iter().take(self.table.max_rows) {
                let spots = self.spots(Parent::None, Row::Json { top: &top, at, parts });
                self.put_all(spots, None);
            }
        }
        Ok(())
    }

    /// The rows of all subjects that hang on this one's row.
    fn spots<'r>(&mut self, of: Parent, row: Row<'r>) -> Vec<Spot<'r>> {
        let table = self.table;
        let mut out = Vec::new();
        for (i, subject) in table.subjects.iter().enumerate() {
            let hangs = match (of, subject.parent) {
                (Parent::Subject(a), Parent::Subject(b)) => a == b,
                (Parent::Subject(_), _) | (_, Parent::Subject(_)) => false,
                _ => true,
            };
            if !hangs {
                continue;
            }
            let rows: Vec<Row<'r>> = match (&subject.each, &row) {
                (None, row) => vec![row.clone()],
                (Some(each), Row::Text { base, at }) => {
                    let what = format!("{}: what is below {}", table.name, at.path);
                    let found = self.disk.walk(each, at, table.max_rows, &what);
                    found.into_iter().map(|at| Row::Text { base: base.clone(), at }).collect()
                }
                (Some(each), Row::Json { top, at, parts }) => {
                    let mut found = members(each, top, at, parts);
                    if found.len() > table.max_rows {
                        found.truncate(table.max_rows);
                        self.disk.cut(format!("{}: more than {} rows below one; the rest is left out", table.name, table.max_rows));
                    }
                    found.into_iter().map(|(at, parts)| Row::Json { top, at, parts }).collect()
                }
                (Some(_), Row::Sample { .. }) => Vec::new(),
            };
            for row in rows {
                let below = self.spots(Parent::Subject(i), row.clone());
                out.push(Spot { subject: i, row, below });
            }
        }
        out
    }

    /// The files that a row needs.
    fn gather(&mut self, spot: &Spot<'_>, paths: &mut BTreeSet<String>) {
        let table = self.table;
        let subject = &table.subjects[spot.subject];
        let rules = table.node.iter().chain(subject.identity.iter().chain(&subject.labels).map(|(_, r)| r));
        let of_rules = rules.filter_map(|r| match &r.from {
            From::Place(place) => Some(place),
            From::Text(_) => None,
        });
        let places = of_rules.chain(subject.only.iter().map(|o| &o.place)).chain(subject.metrics.iter().map(|m| &m.place));
        for place in places {
            paths.extend(self.path(place, &spot.row));
        }
        spot.below.iter().for_each(|below| self.gather(below, paths));
    }

    /// Where a place of a text table lies.
    fn path(&mut self, place: &Place, row: &Row<'_>) -> Option<String> {
        let Row::Text { base, at } = row else { return None };
        let Some(file) = &place.file else { return Some(at.path.clone()) };
        let name = file.fill(|part| row.part(part))?;
        let path = format!("{base}/{name}");
        if !name.contains('*') {
            return Some(path);
        }
        if let Some(known) = self.resolved.get(&path) {
            return known.clone();
        }
        // Braces that a file name holds are no parts.
        let pattern = Pattern::parse(&name).ok()?;
        let base = Match { path: base.clone(), parts: Parts::new() };
        let found = self.disk.walk(&pattern, &base, self.table.max_rows, &path).into_iter().next().map(|m| m.path);
        self.resolved.insert(path, found.clone());
        found
    }

    // === what it says ===

    fn got(&mut self, place: &Place, row: &Row<'_>) -> Got {
        let got = match row {
            Row::Text { .. } => match self.path(place, row) {
                Some(path) => self.disk.text(&path),
                None => Got::Missing,
            },
            Row::Json { top, at, .. } => place.member.as_deref().map_or(Got::Missing, |m| Got::of_json(member(m, top, at))),
            Row::Sample { labels } => {
                let label = place.label.as_deref().and_then(|l| labels.get(l));
                label.filter(|v| !v.is_empty()).map_or(Got::Missing, |v| Got::Text(v.into_owned()))
            }
        };
        let Got::Text(text) = got else { return got };
        let got = match (row, &place.member, &place.key) {
            (Row::Text { .. }, Some(m), _) => match serde_json::from_str::<Value>(&text) {
                Ok(top) => Got::of_json(member(m, &top, &top)),
                Err(error) => Got::Failed(GapReason::Error, format!("JSON: {error}")),
            },
            (_, _, Some(key)) => line(&text, key).map_or(Got::Missing, |v| Got::Text(v.to_owned())),
            _ => Got::Text(text),
        };
        match (got, place.word) {
            (Got::Text(text), Some(n)) => {
                text.split_whitespace().nth(n.saturating_sub(1)).map_or(Got::Missing, |w| Got::Text(w.to_owned()))
            }
            (got, _) => got,
        }
    }

    /// What a label says; none where there is nothing to say.
    fn label(&mut self, rule: &Rule, row: &Row<'_>) -> Option<String> {
        let mut text = match &rule.from {
            From::Text(template) => template.fill(|part| row.part(part))?,
            From::Place(place) => match self.got(place, row) {
                Got::Failed(_, why) => {
                    self.problem(why);
                    return None;
                }
                got => got.text().filter(|t| nothing(t).is_none())?,
            },
        };
        for (cut, is_front) in [(&rule.cut_prefix, true), (&rule.cut_suffix, false)] {
            if let Some(cut) = cut {
                let rest = if is_front { text.strip_prefix(cut.as_str()) } else { text.strip_suffix(cut.as_str()) };
                text = rest.unwrap_or(&text).to_owned();
            }
        }
        Some(rule.rename.get(&text).cloned().unwrap_or(text)).filter(|t| !t.is_empty())
    }

    pub(crate) fn is_taken(&mut self, only: &[Only], row: &Row<'_>) -> bool {
        only.iter().all(|o| {
            let text = self.got(&o.place, row).text().unwrap_or_default();
            o.is.as_ref().is_none_or(|all| all.contains(&text)) && o.is_not.as_ref().is_none_or(|all| !all.contains(&text))
        })
    }

    fn put_all(&mut self, spots: Vec<Spot<'_>>, parent: Option<SubjectRef>) {
        for Spot { subject, row, below } in spots {
            let table = self.table;
            let definition = &table.subjects[subject];
            if !self.is_taken(&definition.only, &row) {
                continue;
            }
            let Some(of) = self.subject(definition, &row, parent) else {
                let keys: Vec<&str> = definition.identity.iter().map(|(k, _)| k.as_str()).collect();
                self.problem(format!("{}: no {} of this {}, so it is left out", row.name(), keys.join(", "), definition.kind));
                continue;
            };
            for metric in &definition.metrics {
                let got = self.got(&metric.place, &row);
                self.reading(metric, of, got, None, &row);
            }
            self.put_all(below, Some(of));
        }
    }

    /// The subject of a row, with its labels; none where nothing tells it from others.
    pub(crate) fn subject(&mut self, definition: &Subject, row: &Row<'_>, parent: Option<SubjectRef>) -> Option<SubjectRef> {
        let mut identity = Vec::new();
        for (key, rule) in &definition.identity {
            identity.extend(self.label(rule, row).map(|value| Label { key: key.clone(), value }));
        }
        if identity.is_empty() || (identity.len() == 1 && identity[0].key == "node" && definition.kind == "accelerator") {
            return None;
        }
        let parent = match definition.parent {
            Parent::Subject(_) => parent,
            Parent::None => None,
            Parent::Node => {
                let rule = self.table.node.as_ref();
                let own = rule.and_then(|rule| self.label(rule, row));
                own.or_else(|| target_label(self.target, "node").map(str::to_owned)).map(|name| self.node(&name))
            }
        };
        let key = match (definition.kind.as_str(), identity.as_slice()) {
            ("node", [one]) => one.value.clone(),
            (kind, all) => {
                // What is one wherever it is said to hang; some samples of an exposition lack the host.
                let is_global = matches!(kind, "accelerator" | "vm") && all.iter().any(|l| l.key == "uuid") || kind == "pod";
                let below = parent.filter(|_| !is_global).map_or(String::new(), |p| p.index().to_string());
                identity.iter().fold(below, |key, l| key + "\u{1}" + &l.key + "\u{2}" + &l.value)
            }
        };
        let of = self.batch.subject(&definition.kind, &key, parent, |s| s.identity = identity);
        for (key, rule) in &definition.labels {
            if self.batch.get(of).labels.iter().all(|l| l.key != *key)
                && let Some(value) = self.label(rule, row)
            {
                self.batch.labels(of).push(Label { key: key.clone(), value });
            }
        }
        Some(of)
    }

    fn node(&mut self, name: &str) -> SubjectRef {
        self.batch.subject("node", name, None, |s| s.identity = vec![Label { key: "node".to_owned(), value: name.to_owned() }])
    }

    /// Puts what was found into the batch: a value, a state, or why there is none.
    pub(crate) fn reading(&mut self, m: &Metric, of: SubjectRef, got: Got, at_ms: Option<i64>, row: &Row<'_>) {
        let sentinel = m.unavailable.iter().find(|s| s.is(&got)).map(|s| s.reason);
        let blank = |got: &Got| match got {
            Got::Text(text) if !m.states.iter().any(|(s, _)| s == text.trim()) => nothing(text),
            _ => None,
        };
        let gap = match (&got, sentinel.or_else(|| blank(&got))) {
            (Got::Missing, _) => match m.missing {
                Some(reason) => Some(reason),
                None => return,
            },
            (Got::Failed(reason, why), _) => {
                let text = format!("{}: {}", m.definition.name, why);
                self.problem(text);
                Some(*reason)
            }
            (_, Some(reason)) => Some(reason),
            _ if self.is_stale => Some(GapReason::Stale),
            _ => None,
        };
        let metric = self.batch.metric(m.definition.clone());
        if let Some(reason) = gap {
            return self.batch.gap(metric, of, reason);
        }
        if m.definition.kind == MetricKind::State {
            let text = got.text().unwrap_or_default();
            return match m.states.iter().find(|(s, _)| *s == text) {
                Some((_, state)) => self.batch.state(metric, of, *state),
                None => {
                    let short: String = text.chars().take(40).collect();
                    self.problem(format!("{}: {}: {short:?} is none of its states", row.name(), m.definition.name));
                    self.batch.gap(metric, of, GapReason::Error);
                }
            };
        }
        match measured(&got, &m.definition.unit, m.factor, m.offset) {
            Ok(value) => self.batch.point(metric, of, value, at_ms),
            Err(why) => {
                self.problem(format!("{}: {}: {why}", row.name(), m.definition.name));
                self.batch.gap(metric, of, GapReason::Error);
            }
        }
    }
}
