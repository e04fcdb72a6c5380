//! What an exporter, or a Prometheus beside it, makes the bundled DCGM mapping say: always a batch that the host takes.
//! The first byte chooses between exposition text and the JSON of an instant query.

use std::collections::BTreeMap;

use dcgm_mapping::{ROWS, Reader, series};
use kcloud_collector_sdk::bindings::kcloud::collector::types as sdk;
use kcloud_collector_sdk::exposition::{Event, Format, Parser};
use kcloud_collector_sdk::mapping::Mapping;
use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::{Batch, Target};
use kcloud_monitor::catalogue::{Catalogue, Kind, NamesLeft};
use kcloud_monitor::inventory::{Quality, Reason, Severity};
use kcloud_monitor::plugins::check;
use kcloud_monitor::plugins::contract as c;
use kcloud_monitor::plugins::limits::Limits;

pub fn run(input: &[u8]) {
    let Some((mode, body)) = input.split_first() else { return };
    let target = Target {
        id: "worker1".into(),
        address: "http://worker1:9400/metrics".into(),
        cluster: "default".into(),
        labels: Vec::new(),
        credential: None,
        config: "{}".into(),
    };
    let definitions = Mapping::definitions(ROWS);
    let known: Vec<c::MetricDef> = definitions.iter().cloned().map(metric).collect();
    let mut batch = Batch::new(definitions);
    let mapping = Mapping::new(ROWS);
    let mut reader = Reader::new(&target, &mapping, 0, &mut batch);
    if mode & 1 == 0 {
        let format = if mode & 2 == 0 { Format::Prometheus } else { Format::OpenMetrics };
        for event in Parser::new(&String::from_utf8_lossy(body), format) {
            match event {
                Ok(Event::Sample(s)) => reader.sample(s.name, &s.labels, s.value, s.timestamp_ms),
                Ok(_) => {}
                Err(bad) => reader.bad_line(bad),
            }
        }
    } else {
        let Ok(rows) = serde_json::from_slice::<Vec<Series>>(body) else { return };
        let scraped = BTreeMap::from([((String::new(), String::new()), 1_764_000_003_000)]);
        rows.iter().for_each(|row| series(&mut reader, row, &scraped));
    }
    drop(reader.finish());
    let (catalogue, left) = (Catalogue::default(), NamesLeft::default());
    let known = check::metrics(&catalogue, &left, &known).expect("the mapping's own metrics");
    let limits = Limits { points: usize::MAX, subjects: usize::MAX, ..Limits::default() };
    let checked = check::batch(&catalogue, &left, &known, &limits, taken(batch.finish()));
    assert!(checked.is_ok(), "an exporter made the plugin answer what is invalid: {}", checked.unwrap_err());
}

fn metric(m: sdk::MetricDef) -> c::MetricDef {
    let kind = match m.kind {
        sdk::MetricKind::Gauge => Kind::Gauge,
        sdk::MetricKind::Counter => Kind::Counter,
        sdk::MetricKind::State => Kind::State,
        sdk::MetricKind::Histogram => Kind::Histogram,
        sdk::MetricKind::Info => Kind::Info,
    };
    let quality = match m.quality {
        sdk::Quality::Measured => Quality::Measured,
        sdk::Quality::Derived => Quality::Derived,
        sdk::Quality::Modelled => Quality::Modelled,
    };
    c::MetricDef { name: m.name, unit: m.unit, kind, quality, states: m.states }
}

/// What crosses the boundary, as the host has it.
fn taken(b: sdk::Batch) -> c::Batch {
    let pairs = |labels: Vec<sdk::Label>| labels.into_iter().map(|l| (l.key, l.value)).collect();
    let point = |metric, subject, value| c::Point { metric, subject, value };
    c::Batch {
        metrics: b.metrics.into_iter().map(metric).collect(),
        subjects: b
            .subjects
            .into_iter()
            .map(|s| c::Subject {
                kind: s.kind,
                identity: pairs(s.identity),
                labels: pairs(s.labels),
                parent: s.parent,
                observed_at_ns: s.observed_at,
            })
            .collect(),
        points: b.points.into_iter().map(|p| point(p.metric, p.subject, p.value)).collect(),
        timed_points: b
            .timed_points
            .into_iter()
            .map(|p| c::TimedPoint { point: point(p.metric, p.subject, p.value), observed_at_ns: p.observed_at })
            .collect(),
        gaps: b.gaps.into_iter().map(|g| c::Gap { metric: g.metric, subject: g.subject, reason: Reason::Error }).collect(),
        events: b
            .events
            .into_iter()
            .map(|e| c::Event {
                subject: e.subject,
                at_ns: e.at,
                severity: Severity::Critical,
                code: e.code,
                message: e.message,
                key: e.key,
            })
            .collect(),
        problems: b
            .problems
            .into_iter()
            .map(|p| c::Problem {
                subject: p.subject,
                error: match p.error {
                    sdk::CollectError::Protocol(why) => c::CollectError::Protocol(why),
                    other => c::CollectError::Internal(other.to_string()),
                },
                line: p.line,
            })
            .collect(),
        ..c::Batch::default()
    }
}
