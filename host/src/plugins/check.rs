//! Checks what a guest said before anything of it is believed: indexes, numbers, names, lengths, ranges.

use super::capabilities::log::{clean, clean_to};
use super::contract::{Batch, Coverage, HistoryPage, MetricDef, Pairs, RangeQuery, Subject};
use super::limits::Limits;
use crate::catalogue::{Catalogue, Kind as MetricKind, MetricId, NamesLeft};
use crate::inventory::{Kind, Quality, Reason, batch as b};

const MAX_KEY: usize = 128;
const MAX_EVENTS: usize = 1_000;
const MAX_PROBLEMS: usize = 1_000;
/// Metrics of a description or a page, and states of one metric.
const MAX_METRICS: usize = 4_096;
/// Bytes of an event's code and key.
const MAX_CODE: usize = 256;
/// What an answer may hold over all its pages: so many times what one page may.
pub const PAGES_WORTH: usize = 16;
/// Series of one subject on a page of the past: one a quality.
const MAX_SERIES: usize = 3;
/// No source reports readings from before this (2001-09-09): a stamp below it is in another unit.
const OLDEST_MS: i64 = 1_000_000_000_000;

/// One metric of a plugin, admitted to the catalogue.
#[derive(Debug, Clone)]
pub struct Admitted {
    id: MetricId,
    kind: MetricKind,
    quality: Quality,
    /// By the plugin's index, the catalogue's.
    states: Vec<u32>,
}

/// What an answer may still bring, over all its pages: a page's own limits hold too.
pub struct Room {
    points: usize,
    subjects: usize,
    bytes: usize,
    limits: [usize; 3],
}

impl Room {
    pub fn new(limits: &Limits) -> Self {
        let all = [limits.points, limits.subjects, limits.output_bytes].map(|limit| limit.saturating_mul(PAGES_WORTH));
        Self { points: all[0], subjects: all[1], bytes: all[2], limits: all }
    }

    /// Counts a page of a batch.
    pub fn take(&mut self, page: &Batch) -> Result<(), String> {
        let points = page.points.len() + page.timed_points.len() + page.states.len() + page.histograms + page.gaps.len();
        let texts = page.events.iter().map(|e| e.code.len() + e.message.len() + e.key.len()).sum::<usize>();
        self.count(points, &page.subjects, texts + size_of_val(&*page.points) + size_of_val(&*page.timed_points))
    }

    /// Counts a page of the past.
    pub fn take_past(&mut self, page: &HistoryPage) -> Result<(), String> {
        self.count(0, &page.subjects, page.series.iter().map(|s| size_of_val(&*s.observations)).sum())
    }

    fn count(&mut self, points: usize, subjects: &[Subject], other: usize) -> Result<(), String> {
        let labels = |all: &Pairs| all.iter().map(|(k, v)| k.len() + v.len() + size_of::<(String, String)>()).sum::<usize>();
        let bytes = other + subjects.iter().map(|s| labels(&s.identity) + labels(&s.labels)).sum::<usize>();
        let left = |what: &str, left: &mut usize, given: usize, limit: usize| {
            *left = left.checked_sub(given).ok_or_else(|| format!("more than {limit} {what} over all pages"))?;
            Ok::<(), String>(())
        };
        left("points", &mut self.points, points, self.limits[0])?;
        left("subjects", &mut self.subjects, subjects.len(), self.limits[1])?;
        left("bytes", &mut self.bytes, bytes, self.limits[2])
    }
}

/// Admits a plugin's metrics. The first that is not acceptable refuses them all: its author must know.
pub fn metrics(catalogue: &Catalogue, left: &NamesLeft, defs: &[MetricDef]) -> Result<Vec<Admitted>, String> {
    within("metrics", defs.len(), MAX_METRICS)?;
    defs.iter()
        .map(|d| {
            within("states of a metric", d.states.len(), crate::catalogue::MAX_STATES)?;
            let id = catalogue.admit(&d.name, &d.unit, d.kind, left).map_err(|e| e.to_string())?;
            let states = catalogue.states(id, &d.states, left).map_err(|e| e.to_string())?;
            Ok(Admitted { id, kind: d.kind, quality: d.quality, states })
        })
        .collect()
}

/// Checks a batch and brings it into the model's shape. `known` are the metrics of `describe`, `left` the names that it may bring.
pub fn batch(catalogue: &Catalogue, left: &NamesLeft, known: &[Admitted], limits: &Limits, batch: Batch) -> Result<b::Batch, String> {
    let own = metrics(catalogue, left, &batch.metrics)?;
    let metric = |index: u32| -> Result<&Admitted, String> {
        let i = index as usize;
        let found = known.get(i).or_else(|| own.get(i.wrapping_sub(known.len())));
        found.ok_or_else(|| format!("metric index {index}, of {}", known.len() + own.len()))
    };
    let count = batch.subjects.len() as u32;
    let subject = |index: u32| match index < count {
        true => Ok(index),
        false => Err(format!("subject index {index}, of {count}")),
    };
    within("subjects", batch.subjects.len(), limits.subjects)?;
    let numbers = batch.points.len() + batch.timed_points.len() + batch.states.len() + batch.histograms;
    within("points", numbers, limits.points)?;
    within("gaps", batch.gaps.len(), limits.points)?;
    within("events", batch.events.len(), MAX_EVENTS)?;
    within("tombstones", batch.tombstones.len(), limits.subjects)?;
    within("problems", batch.problems.len(), MAX_PROBLEMS)?;
    if batch.coverage != Coverage::Delta && !batch.tombstones.is_empty() {
        return Err("it has tombstones; only a delta may".into());
    }

    let mut out = b::Batch { coverage: batch.coverage, ..b::Batch::default() };
    out.subjects = subjects(batch.subjects, limits)?;

    out.points.reserve(batch.points.len() + batch.timed_points.len());
    let plain = batch.points.iter().map(|p| (*p, None));
    let timed = batch.timed_points.iter().map(|t| (t.point, Some(t.observed_at_ns)));
    for (p, at_ns) in plain.chain(timed) {
        let m = metric(p.metric)?;
        let subject = subject(p.subject)?;
        if matches!(m.kind, MetricKind::State | MetricKind::Histogram) {
            return Err(format!("metric {} is no number; it goes into states or histograms", catalogue.name(m.id)));
        }
        if !p.value.is_finite() {
            return Err(format!("metric {}: {} is no reading; say a gap", catalogue.name(m.id), p.value));
        }
        let (low, high) = Catalogue::metric(m.id).map_or((f64::MIN, f64::MAX), |m| m.range);
        if p.value < low || p.value > high {
            out.out_of_range += 1;
            out.gaps.push(b::BatchGap { subject, metric: m.id, reason: Reason::Error });
            continue;
        }
        let at_ms = at_ns.map(millis).transpose()?;
        out.points.push(b::BatchPoint { subject, metric: m.id, value: p.value, quality: m.quality, at_ms });
    }
    for s in &batch.states {
        let m = metric(s.metric)?;
        let state = m.states.get(s.state as usize).filter(|_| m.kind == MetricKind::State);
        let state = state.ok_or_else(|| format!("metric {}: state {} of {}", catalogue.name(m.id), s.state, m.states.len()))?;
        let subject = subject(s.subject)?;
        out.points.push(b::BatchPoint { subject, metric: m.id, value: (*state).into(), quality: m.quality, at_ms: None });
    }
    for g in &batch.gaps {
        out.gaps.push(b::BatchGap { subject: subject(g.subject)?, metric: metric(g.metric)?.id, reason: g.reason });
    }
    for e in batch.events {
        // A clock that was never set (SEL entries of a new BMC) must not cost the batch.
        let at_ms = e.at_ns.and_then(|ns| millis(ns).ok());
        let subject = subject(e.subject)?;
        out.events.push(b::BatchEvent {
            subject,
            at_ms,
            severity: e.severity,
            code: clean_to(&e.code, MAX_CODE),
            message: clean(&e.message),
            key: clean_to(&e.key, MAX_CODE),
        });
    }
    for p in &batch.problems {
        let place = match (p.subject, p.line) {
            (_, Some(line)) => format!("line {line}: "),
            (Some(s), None) => format!("subject {}: ", subject(s)?),
            (None, None) => String::new(),
        };
        out.problems.push(clean(&format!("{place}{}", p.error)));
    }
    for t in batch.tombstones {
        out.tombstones.push(subject(t)?);
    }
    Ok(out)
}

fn subjects(given: Vec<Subject>, limits: &Limits) -> Result<Vec<b::BatchSubject>, String> {
    let mut out = Vec::with_capacity(given.len());
    for (i, s) in given.into_iter().enumerate() {
        let kind = Kind::parse(&s.kind).ok_or_else(|| format!("subject {i}: unknown kind {:?}", short(&s.kind)))?;
        if s.parent.is_some_and(|p| p as usize >= i) {
            return Err(format!("subject {i}: its parent must stand before it"));
        }
        if s.identity.is_empty() {
            return Err(format!("subject {i}: no identity label"));
        }
        within("labels of a subject", s.identity.len() + s.labels.len(), limits.labels_per_subject)?;
        pairs(&s.identity, limits).map_err(|e| format!("subject {i}: {e}"))?;
        pairs(&s.labels, limits).map_err(|e| format!("subject {i}: {e}"))?;
        let observed_at_ms = s.observed_at_ns.map(millis).transpose()?;
        out.push(b::BatchSubject { kind, identity: s.identity, labels: s.labels, parent: s.parent, observed_at_ms });
    }
    Ok(out)
}

/// One series of the past, checked.
#[derive(Debug, Clone)]
pub struct PastSeries {
    pub kind: Kind,
    pub identity: Pairs,
    pub labels: Pairs,
    pub quality: Quality,
    /// Time in ms and value, in order of time.
    pub observations: Vec<(i64, f64)>,
}

/// Checks a page of the past and brings it into the model's shape. A reading outside the metric's range is left out.
pub fn past(query: &RangeQuery, limits: &Limits, page: HistoryPage) -> Result<Vec<PastSeries>, String> {
    within("subjects", page.subjects.len(), limits.subjects)?;
    within("series", page.series.len(), limits.subjects.saturating_mul(MAX_SERIES))?;
    let mut series_of = vec![0; page.subjects.len()];
    let (low, high) = Catalogue::known(&query.metric).and_then(Catalogue::metric).map_or((f64::MIN, f64::MAX), |m| m.range);
    let known = subjects(page.subjects, limits)?;
    let mut out = Vec::with_capacity(page.series.len());
    for series in page.series {
        let count = known.len();
        let subject = known.get(series.subject as usize).ok_or_else(|| format!("subject index {}, of {count}", series.subject))?;
        series_of[series.subject as usize] += 1;
        within("series of one subject", series_of[series.subject as usize], MAX_SERIES)?;
        let mut observations: Vec<(i64, f64)> = Vec::with_capacity(series.observations.len());
        let mut before = None;
        for (at, value) in series.observations {
            if !(query.start_ns..query.end_ns).contains(&at) || before.is_some_and(|b| at <= b) {
                return Err(format!("an observation at {at} is outside the window or out of order"));
            }
            before = Some(at);
            if !value.is_finite() {
                return Err(format!("{value} is no reading; leave the step out"));
            }
            if (low..=high).contains(&value) {
                observations.push((millis(at)?, value));
            }
        }
        let (kind, identity, labels) = (subject.kind, subject.identity.clone(), subject.labels.clone());
        out.push(PastSeries { kind, identity, labels, quality: series.quality, observations });
    }
    Ok(out)
}

/// Joins the pages of one answer.
pub fn join(into: &mut b::Batch, page: b::Batch) {
    let shift = into.subjects.len() as u32;
    let moved = |i: u32| i + shift;
    into.subjects.extend(page.subjects.into_iter().map(|s| b::BatchSubject { parent: s.parent.map(moved), ..s }));
    into.points.extend(page.points.into_iter().map(|p| b::BatchPoint { subject: moved(p.subject), ..p }));
    into.gaps.extend(page.gaps.into_iter().map(|g| b::BatchGap { subject: moved(g.subject), ..g }));
    into.events.extend(page.events.into_iter().map(|e| b::BatchEvent { subject: moved(e.subject), ..e }));
    into.tombstones.extend(page.tombstones.into_iter().map(moved));
    into.problems.extend(page.problems);
    into.out_of_range += page.out_of_range;
}

fn within(what: &str, given: usize, limit: usize) -> Result<(), String> {
    match given <= limit {
        true => Ok(()),
        false => Err(format!("{given} {what}; the limit is {limit}")),
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn millis(ns: u64) -> Result<i64, String> {
    let ms = (ns / 1_000_000) as i64;
    match ms >= OLDEST_MS {
        true => Ok(ms),
        false => Err(format!("time {ns} is not in nanoseconds since the Unix epoch")),
    }
}

fn pairs(pairs: &Pairs, limits: &Limits) -> Result<(), String> {
    for (i, (k, v)) in pairs.iter().enumerate() {
        let mut bytes = k.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b));
        if !first || !rest || k.len() > MAX_KEY {
            return Err(format!("label name {:?} is not allowed", short(k)));
        }
        if v.len() > limits.label_value_bytes {
            return Err(format!("label {k:?} has {} bytes; the limit is {}", v.len(), limits.label_value_bytes));
        }
        if v.chars().any(char::is_control) {
            return Err(format!("label {k:?} holds a control character"));
        }
        // A handful at most: comparing them costs less than a table.
        if pairs[..i].iter().any(|(other, _)| other == k) {
            return Err(format!("label {k:?} stands twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::contract::{Event, HistorySeries, Point};

    fn def(name: &str, unit: &str) -> MetricDef {
        MetricDef { name: name.into(), unit: unit.into(), kind: MetricKind::Gauge, quality: Quality::Measured, states: vec![] }
    }

    fn checked(change: impl FnOnce(&mut Batch)) -> Result<b::Batch, String> {
        let catalogue = Catalogue::default();
        let left = NamesLeft::default();
        let known = metrics(&catalogue, &left, &[def("power_watts", "watts")]).unwrap();
        let subject = Subject {
            kind: "accelerator".into(),
            identity: vec![("uuid".into(), "GPU-1".into())],
            labels: vec![],
            parent: None,
            observed_at_ns: None,
        };
        let points = vec![Point { metric: 0, subject: 0, value: 300.0 }];
        let mut raw = Batch { subjects: vec![subject], points, ..Batch::default() };
        change(&mut raw);
        batch(&catalogue, &left, &known, &Limits::default(), raw)
    }

    #[test]
    fn a_right_batch_passes() {
        assert_eq!(checked(|_| {}).unwrap().points[0].value, 300.0);
    }

    #[test]
    fn a_value_out_of_range_becomes_a_gap_and_is_counted() {
        let b = checked(|b| b.points[0].value = 9.2e18).unwrap();
        assert_eq!((b.points.len(), b.gaps.len(), b.out_of_range), (0, 1, 1));
    }

    #[test]
    fn what_the_contract_forbids_is_refused_with_its_place() {
        type Change = fn(&mut Batch);
        let cases: [(&str, Change); 9] = [
            ("metric index 1, of 1", |b| b.points[0].metric = 1),
            ("subject index 7, of 1", |b| b.points[0].subject = 7),
            ("say a gap", |b| b.points[0].value = f64::NAN),
            ("unknown kind", |b| b.subjects[0].kind = "toaster".into()),
            ("parent must stand before", |b| b.subjects[0].parent = Some(0)),
            ("no identity", |b| b.subjects[0].identity.clear()),
            ("control character", |b| b.subjects[0].labels.push(("a".into(), "x\ny".into()))),
            ("not allowed", |b| b.subjects[0].labels.push(("a b".into(), "x".into()))),
            ("nanoseconds", |b| b.subjects[0].observed_at_ns = Some(1_700_000_000)),
        ];
        for (expected, change) in cases {
            let error = checked(change).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_past_is_in_order_in_its_window_and_of_known_subjects() {
        let query = RangeQuery {
            metric: "power_watts".into(),
            kind: "accelerator".into(),
            matching: vec![],
            start_ns: 1_700_000_000_000_000_000,
            end_ns: 1_700_000_060_000_000_000,
            step_ns: 1_000_000_000,
        };
        let ask = |subject: u32, seconds: &[(u64, f64)]| {
            let one = Subject {
                kind: "accelerator".into(),
                identity: vec![("uuid".into(), "GPU-1".into())],
                labels: vec![],
                parent: None,
                observed_at_ns: None,
            };
            let observations = seconds.iter().map(|(s, v)| (query.start_ns + s * 1_000_000_000, *v)).collect();
            let series = vec![HistorySeries { subject, quality: Quality::Measured, observations }];
            past(&query, &Limits::default(), HistoryPage { subjects: vec![one], series, next_page: None })
        };
        let many = |count: usize| {
            let series = vec![HistorySeries { subject: 0, quality: Quality::Measured, observations: vec![] }; count];
            let identity = vec![("uuid".into(), "GPU-1".into())];
            let one = Subject { kind: "accelerator".into(), identity, labels: vec![], parent: None, observed_at_ns: None };
            past(&query, &Limits::default(), HistoryPage { subjects: vec![one], series, next_page: None })
        };
        let good = ask(0, &[(0, 300.0), (2, 9e18), (3, 301.0)]).unwrap();
        assert_eq!(good[0].observations, [(1_700_000_000_000, 300.0), (1_700_000_003_000, 301.0)]);
        for (bad, expected) in [
            (ask(1, &[]), "subject index"),
            (ask(0, &[(60, 1.0)]), "outside the window"),
            (ask(0, &[(3, 1.0), (3, 1.0)]), "out of order"),
            (ask(0, &[(3, f64::NAN)]), "no reading"),
            (many(4), "4 series of one subject; the limit is 3"),
        ] {
            assert!(bad.as_ref().is_err_and(|e| e.contains(expected)), "{bad:?}");
        }
    }

    #[test]
    fn what_an_event_says_is_cut_and_cleaned() {
        let event = |text: String| Event {
            subject: 0,
            at_ns: None,
            severity: crate::inventory::Severity::Info,
            code: text.clone(),
            message: text.clone(),
            key: text,
        };
        let b = checked(|b| b.events = vec![event("a\u{202e}b\n".to_owned() + &"x".repeat(1 << 20))]).unwrap();
        let e = &b.events[0];
        assert!(e.message.starts_with("a\\u{202e}b\\nxxx") && e.message.len() < 2_100, "{}", e.message.len());
        assert!(e.code.len() < 300 && e.key.len() < 300);
    }

    #[test]
    fn an_answer_has_room_for_so_many_pages() {
        let limits = Limits { points: 10, subjects: 2, output_bytes: 4_096, ..Limits::default() };
        let page = |points: usize, label: usize| {
            let labels = vec![("a".to_owned(), "x".repeat(label))];
            let subject = Subject { kind: "node".into(), identity: labels, labels: vec![], parent: None, observed_at_ns: None };
            Batch { subjects: vec![subject], points: vec![Point { metric: 0, subject: 0, value: 1.0 }; points], ..Batch::default() }
        };
        for (page, pages, expected) in [(page(10, 1), 16, "points"), (page(1, 1), 32, "subjects"), (page(1, 8_000), 8, "bytes")] {
            let mut room = Room::new(&limits);
            let error = (0..).find_map(|i| room.take(&page).err().map(|e| (i, e))).unwrap();
            assert!(error.0 == pages && error.1.contains(expected), "{error:?}");
        }
    }

    #[test]
    fn too_much_is_refused() {
        let error = checked(|b| b.metrics = vec![def("power_watts", "watts"); 4_097]).unwrap_err();
        assert!(error.contains("limit is 4096"), "{error}");
        let error = checked(|b| b.points = vec![b.points[0]; 50_001]).unwrap_err();
        assert!(error.contains("limit is 50000"), "{error}");
    }
}
