//! Answers that the SDK would not give: too much of each thing, what is no number, indexes and names that lie.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use kcloud_collector_sdk::bindings::kcloud::collector::clock::unix_ns as now;
use kcloud_collector_sdk::bindings::kcloud::collector::types as wire;
use wire::{Batch, CollectError, Coverage, Event, Gap, GapReason, Histogram, MetricDef, MetricKind, Point, Problem, Quality, Severity};
use wire::{StatePoint, Subject, TimedPoint};

use crate::{label, mode};

/// Nanoseconds since the Unix epoch, in 2025.
const AT: u64 = 1_750_000_000_000_000_000;

/// Makes of a good answer with one subject and one point the one that the mode is about.
pub(crate) fn spoil(b: &mut Batch) {
    let point = |metric: u32, subject: u32, value: f64| Point { metric, subject, value };
    let gap = |metric: u32, subject: u32| Gap { metric, subject, reason: GapReason::Error };
    let numbers = |n: usize| (0..n).map(|i| i.to_string());
    match mode() {
        "many-points" => b.points = vec![point(0, 0, 1.0); 200_000],
        "many-timed-points" => b.timed_points = vec![TimedPoint { metric: 0, subject: 0, value: 1.0, observed_at: AT }; 50_001],
        "many-states" => b.states = vec![StatePoint { metric: 0, subject: 0, state: 0 }; 60_000],
        "many-gaps" => b.gaps = vec![gap(0, 0); 50_001],
        "many-subjects" => b.subjects = numbers(20_001).map(|n| subject("node", &n)).collect(),
        "many-labels" => b.subjects[0].labels = numbers(64).map(|n| label(&format!("l{n}"), "x")).collect(),
        "many-events" => b.events = numbers(1_001).map(|n| event(&n, "x")).collect(),
        "many-problems" => b.problems = numbers(1_001).map(|n| problem(None, &n)).collect(),
        "many-metrics" => b.metrics = numbers(4_097).map(|n| metric(&format!("x_evil_{n}"))).collect(),
        "many-state-names" => {
            b.metrics = vec![MetricDef { states: numbers(257).collect(), kind: MetricKind::State, ..metric("x_evil_state") }]
        }
        "many-tombstones" => (b.coverage, b.tombstones) = (Coverage::Delta, vec![0; 20_001]),
        "long-value" => b.subjects[0].labels = vec![label("a", &"x".repeat(1_025))],
        "long-key" => b.subjects[0].labels = vec![label(&"k".repeat(129), "x")],
        "nan" => b.points = vec![point(0, 0, f64::NAN); 50_000],
        "infinite" => b.points.push(point(0, 0, f64::NEG_INFINITY)),
        "beyond" => b.points = [f64::MAX, f64::MIN, -1.0, 1e300].map(|v| point(0, 0, v)).into(),
        "metric-index" => b.points.push(point(99, 0, 1.0)),
        "subject-index" => b.gaps.push(gap(0, u32::MAX)),
        "state-index" => (b.metrics, b.states) = (vec![state()], vec![StatePoint { metric: 1, subject: 0, state: 2 }]),
        "state-as-point" => (b.metrics, b.points) = (vec![state()], vec![point(1, 0, 1.0)]),
        "event-index" => b.events.push(Event { subject: 1, ..event("k", "x") }),
        "problem-index" => b.problems.push(problem(Some(1), "x")),
        "tombstone-index" => (b.coverage, b.tombstones) = (Coverage::Delta, vec![1]),
        "tombstone-in-whole" => b.tombstones = vec![0],
        "own-parent" => b.subjects[0].parent = Some(0),
        // Each the other's parent: a walk up would never end.
        "circle" => b.subjects = [1, 0].map(|p| Subject { parent: Some(p), ..subject("node", &p.to_string()) }).into(),
        "no-identity" => b.subjects[0].identity.clear(),
        "label-twice" => b.subjects[0].labels = vec![label("uuid", "a"), label("uuid", "b")],
        "kind" => b.subjects[0].kind = "toaster".to_owned(),
        "other-unit" => b.metrics = vec![MetricDef { unit: "milliwatts".to_owned(), ..metric("power_watts") }],
        "stamp-in-seconds" => b.subjects[0].observed_at = Some(1_750_000_000),
        "stamp-of-zero" => b.timed_points = vec![TimedPoint { metric: 0, subject: 0, value: 1.0, observed_at: 0 }],
        "stamp-in-2554" => b.subjects[0].observed_at = Some(u64::MAX),
        "histogram" => {
            let (bounds, buckets) = (vec![f64::NAN; 100], vec![u64::MAX; 3]);
            b.histograms = vec![Histogram { metric: 0, subject: 0, sum: f64::NAN, count: 0, bounds, buckets }];
        }
        // Never seen before, again and again: what is gone must not pile up.
        "new-subjects" => b.subjects = (0..1_000).map(|_| subject("accelerator", &unique())).collect(),
        "new-subjects-in-deltas" => {
            b.coverage = Coverage::Delta;
            b.subjects = (0..1_000).map(|_| subject("accelerator", &unique())).collect();
        }
        "new-metrics" => b.metrics = (0..500).map(|_| metric(&format!("x_evil_{}", unique()))).collect(),
        "one-event" => b.events = vec![event("the one", "look here")],
        "new-events" => b.events = (0..1_000).map(|_| event(&unique(), "look here")).collect(),
        "graves" => {
            b.coverage = Coverage::Delta;
            b.subjects = numbers(20_000).map(|n| subject("node", &n)).collect();
            b.tombstones = (0..20_000).collect();
        }
        // Within every limit, each time.
        "all-it-may" => {
            b.subjects = numbers(5_000).map(|n| subject("accelerator", &n)).collect();
            b.metrics = numbers(10).map(|n| metric(&format!("x_evil_{n}"))).collect();
            let changing = (now() % 1_000_000_007) as f64;
            b.points = (0..50_000).map(|i| point(1 + i / 5_000, i % 5_000, changing + f64::from(i))).collect();
        }
        _ => return,
    }
    // Those that stand for themselves have no point that would be the first thing wrong.
    if !b.subjects.iter().any(|s| s.kind == "accelerator") {
        b.points.clear();
    }
}

/// A name that was never given before: another instance begins at another time.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static BEGAN: OnceLock<u64> = OnceLock::new();
    format!("{:x}_{}", BEGAN.get_or_init(now), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn subject(kind: &str, name: &str) -> Subject {
    let key = if kind == "accelerator" { "uuid" } else { "name" };
    Subject { kind: kind.to_owned(), identity: vec![label(key, name)], labels: vec![], parent: None, observed_at: None }
}

fn metric(name: &str) -> MetricDef {
    let (help, unit) = (String::new(), "watts".to_owned());
    MetricDef { name: name.to_owned(), help, unit, kind: MetricKind::Gauge, quality: Quality::Measured, states: vec![] }
}

fn state() -> MetricDef {
    MetricDef { kind: MetricKind::State, states: vec!["off".to_owned(), "on".to_owned()], ..metric("x_evil_switch") }
}

pub(crate) fn event(key: &str, message: &str) -> Event {
    let (code, message, key) = ("evil:1".to_owned(), message.to_owned(), key.to_owned());
    Event { subject: 0, at: Some(AT), severity: Severity::Info, code, message, key }
}

fn problem(subject: Option<u32>, text: &str) -> Problem {
    Problem { subject, error: CollectError::Protocol(text.to_owned()), line: None }
}
