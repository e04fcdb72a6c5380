//! What a plugin may say: batches and pages of the past made of the input, from several sources, over time. What passes the
//! check is well-formed, and so is the model, and `/metrics`, that come of it.

use std::collections::HashSet;

use arbitrary::{Result, Unstructured};
use kcloud_collector_sdk::exposition::{Event, Format, Parser};
use kcloud_monitor::api::metrics_text;
use kcloud_monitor::catalogue::{Catalogue, Kind as MetricKind, METRICS, NamesLeft};
use kcloud_monitor::inventory::batch::{Batch as Checked, BatchSubject};
use kcloud_monitor::inventory::{Inventory, Life, Quality, Reason, Severity, Snapshot, SourceInfo, Value};
use kcloud_monitor::plugins::check::{self, Admitted};
use kcloud_monitor::plugins::contract as c;
use kcloud_monitor::plugins::limits::Limits;

const START_MS: i64 = 1_764_000_000_000;
const FORGET_MS: i64 = 3_600_000;

pub fn run(input: &[u8]) {
    // What the input is too short for is left out.
    let _ = story(&mut Unstructured::new(input));
}

fn story(u: &mut Unstructured<'_>) -> Result<()> {
    let limits = Limits { points: 40, subjects: 12, labels_per_subject: 6, label_value_bytes: 40, ..Limits::default() };
    let (catalogue, left, inventory) = (Catalogue::default(), NamesLeft::default(), Inventory::new(0));
    let described = list(u, 4, metric)?;
    let known = check::metrics(&catalogue, &left, &described).unwrap_or_default();
    let (mut now, mut sequence) = (START_MS, 0);
    for _ in 0..u.int_in_range(1..=6)? {
        let source = u.int_in_range(0..=2)?;
        let info = SourceInfo {
            plugin: ["a", "b", "b"][source].into(),
            target: ["one", "one", "two"][source].into(),
            cluster: ["default", "default", "edge"][source].into(),
            interval_ms: 15_000,
            priority: source as i32,
            max_subjects: 40,
            max_values: 200,
        };
        now += i64::from(u.arbitrary::<u8>()?) * 10_000;
        match u.int_in_range(0..=9)? {
            0 => inventory.failed(&info, "unreachable"),
            1 => inventory.remove_source(&info.plugin, &info.target, now),
            2 => past(u, &limits)?,
            _ => match whole(u, (&catalogue, &left, &known), &limits)? {
                Ok(batch) => {
                    inventory.apply(&info, batch, now).iter().for_each(|problem| crate::assert_tellable(problem));
                }
                Err(why) => crate::assert_tellable(&why),
            },
        }
        if let Some(publication) = inventory.prepare(now, FORGET_MS) {
            assert!(publication.snapshot.sequence > sequence);
            sequence = publication.snapshot.sequence;
            assert!(publication.points.iter().all(|p| p.value.is_none_or(f64::is_finite)));
            snapshot(&publication.snapshot, &catalogue);
            inventory.publish(publication.snapshot);
        }
    }
    Ok(())
}

/// One answer of one or two pages.
fn whole(
    u: &mut Unstructured<'_>,
    (catalogue, left, known): (&Catalogue, &NamesLeft, &[Admitted]),
    limits: &Limits,
) -> Result<std::result::Result<Checked, String>> {
    let mut answer: Option<Checked> = None;
    for _ in 0..u.int_in_range(1..=2)? {
        let raw = batch(u, known.len())?;
        match check::batch(catalogue, left, known, limits, raw) {
            Err(why) => return Ok(Err(why)),
            Ok(page) => {
                checked(&page, catalogue, limits);
                match &mut answer {
                    None => answer = Some(page),
                    Some(first) => check::join(first, page),
                }
            }
        }
    }
    Ok(answer.ok_or_else(String::new))
}

/// What passed is as `inventory::batch::Batch` promises.
fn checked(b: &Checked, catalogue: &Catalogue, limits: &Limits) {
    let count = b.subjects.len() as u32;
    assert!(b.subjects.len() <= limits.subjects && b.points.len() <= limits.points);
    for (i, s) in b.subjects.iter().enumerate() {
        assert!(s.parent.is_none_or(|p| (p as usize) < i));
        assert!(!s.identity.is_empty() && s.identity.len() + s.labels.len() <= limits.labels_per_subject);
        clean(s, limits);
    }
    for p in &b.points {
        assert!(p.subject < count && p.value.is_finite() && !catalogue.name(p.metric).is_empty());
        assert!(METRICS.get(p.metric.0 as usize).is_none_or(|m| (m.range.0..=m.range.1).contains(&p.value)));
    }
    assert!(b.gaps.iter().all(|g| g.subject < count && !catalogue.name(g.metric).is_empty()));
    assert!(b.tombstones.iter().all(|t| *t < count));
    assert!(b.tombstones.is_empty() || b.coverage == c::Coverage::Delta);
    for e in &b.events {
        assert!(e.subject < count);
        [&e.code, &e.message, &e.key].into_iter().for_each(|text| crate::assert_tellable(text));
    }
    b.problems.iter().for_each(|p| crate::assert_tellable(p));
}

fn clean(s: &BatchSubject, limits: &Limits) {
    for labels in [&s.identity, &s.labels] {
        let keys: HashSet<&str> = labels.iter().map(|(k, _)| k.as_str()).collect();
        assert_eq!(keys.len(), labels.len());
        for (k, v) in labels {
            assert!(
                !k.is_empty() && k.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b)) && !k.as_bytes()[0].is_ascii_digit()
            );
            assert!(v.len() <= limits.label_value_bytes && !v.chars().any(char::is_control));
        }
    }
}

fn past(u: &mut Unstructured<'_>, limits: &Limits) -> Result<()> {
    let start_ns = (START_MS as u64 + u.int_in_range(0..=1_000)?) * 1_000_000;
    let query = c::RangeQuery {
        metric: metric(u)?.name,
        kind: "accelerator".into(),
        matching: Vec::new(),
        start_ns,
        end_ns: start_ns.saturating_add(u.arbitrary::<u32>()?.into()),
        step_ns: u.arbitrary()?,
    };
    let series = |u: &mut Unstructured<'_>| {
        let observation = |u: &mut Unstructured<'_>| Ok((start_ns.wrapping_add(u.arbitrary::<i16>()? as u64), number(u)?));
        Ok(c::HistorySeries { subject: index(u, 2)?, quality: quality(u)?, observations: list(u, 8, observation)? })
    };
    let page = c::HistoryPage { subjects: subjects(u, 4)?, series: list(u, 4, series)?, next_page: None };
    match check::past(&query, limits, page) {
        Err(why) => crate::assert_tellable(&why),
        Ok(all) => {
            for series in all {
                assert!(series.observations.windows(2).all(|w| w[0].0 <= w[1].0));
                assert!(series.observations.iter().all(|(at, v)| *at >= query.start_ns as i64 / 1_000_000 && v.is_finite()));
            }
        }
    }
    Ok(())
}

/// A snapshot can be searched, every subject is there once, and its text is one that our own parser takes.
fn snapshot(s: &Snapshot, catalogue: &Catalogue) {
    assert!(s.subjects.windows(2).all(|w| (w[0].kind, &w[0].id) < (w[1].kind, &w[1].id)), "subjects out of order, or twice");
    let mut rows = 0;
    for subject in &s.subjects {
        let found = s.get(&subject.id).unwrap_or_else(|| panic!("{} is not found", subject.id));
        assert!(std::sync::Arc::ptr_eq(found, subject), "{} finds another subject", subject.id);
        assert!(subject.readings.windows(2).all(|w| w[0].metric < w[1].metric));
        assert!(subject.labels.windows(2).all(|w| w[0].0 < w[1].0) && subject.identity.windows(2).all(|w| w[0].0 < w[1].0));
        for reading in subject.readings.iter() {
            assert!(!catalogue.name(reading.metric).is_empty() && (reading.source as usize) < s.sources.len());
            let is_number = matches!(reading.value, Value::Number(v, _) if v.is_finite());
            assert!(is_number || matches!(reading.value, Value::Gap(_)));
            rows += usize::from(is_number && subject.life == Life::Live && (reading.metric.0 as usize) < METRICS.len());
        }
    }
    assert!(s.events.iter().all(|e| !e.subject.is_empty()));
    let text = metrics_text(s);
    let mut series = HashSet::new();
    for event in Parser::new(&text, Format::Prometheus) {
        if let Event::Sample(sample) = event.unwrap_or_else(|bad| panic!("/metrics: {bad} in {text}")) {
            assert!(series.insert((sample.name, sample.labels.raw())), "/metrics holds {}{{{}}} twice", sample.name, sample.labels.raw());
            let names: Vec<_> = sample.labels.iter().map(|(k, _)| k).collect();
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        }
    }
    // What the account makes of it stands there, too.
    let is_said = |name: &str| !name.starts_with("kcloud_server_power_") && !name.starts_with("kcloud_cluster_power_");
    assert_eq!(series.iter().filter(|(name, _)| is_said(name)).count(), rows, "{text}");
}

fn list<'a, T>(u: &mut Unstructured<'a>, most: usize, mut one: impl FnMut(&mut Unstructured<'a>) -> Result<T>) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=most)?).map(|_| one(u)).collect()
}

/// Mostly one of those that are there.
fn index(u: &mut Unstructured<'_>, count: usize) -> Result<u32> {
    match count == 0 || u.ratio(1, 32)? {
        true => u.arbitrary(),
        false => u.int_in_range(0..=count as u32 - 1),
    }
}

fn number(u: &mut Unstructured<'_>) -> Result<f64> {
    Ok(match u.int_in_range(0..=3)? {
        0 => u.arbitrary()?,
        1 => f64::from(u.arbitrary::<u8>()?) / 128.0,
        _ => u.arbitrary::<u8>()?.into(),
    })
}

fn text(u: &mut Unstructured<'_>, usual: &[&str]) -> Result<String> {
    Ok(match u.int_in_range(0..=7)? {
        0 => u.arbitrary::<&str>()?.chars().take(200).collect(),
        _ => (*u.choose(usual)?).to_owned(),
    })
}

fn quality(u: &mut Unstructured<'_>) -> Result<Quality> {
    Ok(*u.choose(&[Quality::Measured, Quality::Derived, Quality::Modelled])?)
}

fn metric(u: &mut Unstructured<'_>) -> Result<c::MetricDef> {
    let kinds = [MetricKind::Gauge, MetricKind::Counter, MetricKind::State, MetricKind::Histogram, MetricKind::Info];
    let (name, unit, kind) = match u.int_in_range(0..=3)? {
        0 => (text(u, &["x_a", "x_b_count", "x_"])?, text(u, &["count", ""])?, *u.choose(&kinds)?),
        _ => {
            let m = u.choose(METRICS)?;
            (m.name.to_owned(), m.unit.to_owned(), m.kind)
        }
    };
    let states = list(u, 3, |u| text(u, &["ok", "bad"]))?;
    Ok(c::MetricDef { name, unit, kind, quality: quality(u)?, states })
}

const KINDS: [&str; 12] =
    ["accelerator", "node", "partition", "pod", "container", "chassis", "psu", "vm", "cluster", "facility", "process", "x_thing"];
const KEYS: [&str; 13] =
    ["uuid", "node", "device", "pci_address", "name", "namespace", "entity", "index", "partition_id", "pid", "x.y", "x-y", "cluster"];
const VALUES: [&str; 10] = ["a", "b", "0", "", "0000:17:00.0", "default/a", "default/a/b", "node/default/a", "\u{2028}\"\\", "한국"];

fn label(u: &mut Unstructured<'_>) -> Result<(String, String)> {
    Ok((text(u, &KEYS)?, text(u, &VALUES)?))
}

fn stamp(u: &mut Unstructured<'_>) -> Result<Option<u64>> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Some(u.arbitrary()?),
        1 => Some((START_MS as u64).wrapping_add_signed(u.arbitrary::<i32>()?.into()) * 1_000_000),
        _ => None,
    })
}

fn subject(u: &mut Unstructured<'_>, at: usize) -> Result<c::Subject> {
    let mut identity = vec![label(u)?];
    identity.extend(list(u, 2, label)?);
    Ok(c::Subject {
        kind: text(u, &KINDS)?,
        identity,
        labels: list(u, 3, label)?,
        parent: if at > 0 && u.arbitrary()? { Some(index(u, at)?) } else { None },
        observed_at_ns: stamp(u)?,
    })
}

fn subjects(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<c::Subject>> {
    let mut at = 0;
    list(u, most, |u| {
        at += 1;
        subject(u, at - 1)
    })
}

fn batch(u: &mut Unstructured<'_>, known: usize) -> Result<c::Batch> {
    let reasons = [Reason::Unsupported, Reason::Stale, Reason::Denied, Reason::Error, Reason::Absent];
    let severities = [Severity::Info, Severity::Warning, Severity::Critical];
    let (own, subjects) = (list(u, 2, metric)?, subjects(u, 6)?);
    let (of_metric, of_subject) = (known + own.len(), subjects.len());
    let point = |u: &mut Unstructured<'_>| Ok(c::Point { metric: index(u, of_metric)?, subject: index(u, of_subject)?, value: number(u)? });
    Ok(c::Batch {
        coverage: *u.choose(&[c::Coverage::Whole, c::Coverage::Delta, c::Coverage::Partial])?,
        points: list(u, 8, point)?,
        timed_points: list(u, 4, |u| {
            Ok(c::TimedPoint { point: point(u)?, observed_at_ns: stamp(u)?.unwrap_or(START_MS as u64 * 1_000_000) })
        })?,
        states: list(u, 3, |u| Ok(c::StatePoint { metric: index(u, of_metric)?, subject: index(u, of_subject)?, state: index(u, 2)? }))?,
        histograms: usize::from(u.arbitrary::<u8>()? / 128),
        gaps: list(u, 4, |u| Ok(c::Gap { metric: index(u, of_metric)?, subject: index(u, of_subject)?, reason: *u.choose(&reasons)? }))?,
        events: list(u, 3, |u| {
            Ok(c::Event {
                subject: index(u, of_subject)?,
                at_ns: stamp(u)?,
                severity: *u.choose(&severities)?,
                code: text(u, &["xid:79", "sel:0x01"])?,
                message: text(u, &["fell off the bus"])?,
                key: text(u, &["1", "2"])?,
            })
        })?,
        problems: list(u, 2, |u| {
            let error = c::CollectError::Protocol(text(u, &["no"])?);
            Ok(c::Problem { subject: if u.arbitrary()? { Some(index(u, of_subject)?) } else { None }, error, line: u.arbitrary()? })
        })?,
        tombstones: list(u, 3, |u| index(u, of_subject))?,
        metrics: own,
        subjects,
        next_page: None,
        cursor: None,
    })
}
