//! What a report says of a world whose energy was worked out by hand.

use std::sync::Arc;

use super::window::{DAY, HOUR};
use super::*;
use crate::history::{Embedded, History, Keep, Point};
use crate::inventory::Snapshot;
use crate::power;

const MINUTE: i64 = 60_000;
/// 2026-01-05, a Monday, in UTC.
const MONDAY: i64 = 1_767_571_200_000;

struct Past {
    history: Embedded,
    sequence: u64,
    _dir: tempfile::TempDir,
}

impl Past {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { history: Embedded::open(dir.path(), Keep::default()).unwrap(), sequence: 0, _dir: dir }
    }

    /// A reading a minute.
    fn draws(&mut self, subject: &str, metric: &str, (from, to): (i64, i64), value: f64) {
        let (subject, metric): (Arc<str>, Arc<str>) = (subject.into(), metric.into());
        let point = |at_ms| Point { subject: subject.clone(), metric: metric.clone(), at_ms, value: Some(value) };
        let points: Vec<Point> = (from..to).step_by(MINUTE as usize).map(point).collect();
        self.sequence += 1;
        // As they come: hour by hour.
        let mut points = points;
        points.sort_by_key(|p| p.at_ms);
        for part in points.chunk_by(|a, b| a.at_ms / 3_600_000 == b.at_ms / 3_600_000) {
            self.sequence += 1;
            self.history.commit(self.sequence, part[part.len() - 1].at_ms, part).unwrap();
        }
    }

    fn report(&self, template: Template, given: &Given<'_>, now: i64, cluster: Option<&str>) -> Report {
        let window = Window::of(template, Zone::default(), given, now).unwrap();
        let ask = Ask {
            window,
            cluster: cluster.map(str::to_owned),
            clusters: vec!["cluster1".into(), "cluster2".into()],
            price: Some(Price { per_kwh: 150.0, currency: "KRW".into() }),
            minutes_kept: 30 * DAY,
            now,
            started_ms: now,
            alerts: Vec::new(),
        };
        gather(&self.history, &Snapshot::default(), &ask, &Stop::default()).unwrap()
    }
}

/// A day of 3 kW until noon and 5 kW from two o'clock, after one of 2 kW.
fn past() -> Past {
    let mut past = Past::new();
    let (morning, evening) = ((MONDAY, MONDAY + 12 * HOUR), (MONDAY + 14 * HOUR, MONDAY + DAY));
    let sum = power::cluster_series("cluster1");
    past.draws(&sum, power::CLUSTER_WATTS, (MONDAY - DAY, MONDAY), 2_000.0);
    for (span, watts) in [(morning, 3_000.0), (evening, 5_000.0)] {
        past.draws(&sum, power::CLUSTER_WATTS, span, watts);
        past.draws(&sum, power::CLUSTER_SERVERS, span, 2.0);
        past.draws("node/cluster1/worker1", power::SERVER_WATTS, span, watts / 2.0);
        past.draws(&power::group_series("cluster1", power::By::Namespace, "ml"), power::GROUP_WATTS, span, 1_500.0);
    }
    past.draws(&sum, power::CLUSTER_KNOWN, morning, 2.0);
    past.draws(&sum, power::CLUSTER_KNOWN, (evening.0, evening.0 + HOUR), 1.0);
    past.draws(&sum, power::CLUSTER_KNOWN, (evening.0 + HOUR, evening.1), 2.0);
    past.draws("GPU-1", "power_watts", morning, 300.0);
    past.draws("GPU-1", "utilization_ratio", (morning.0, morning.0 + 6 * HOUR), 0.0);
    past.draws("GPU-1", "utilization_ratio", (morning.0 + 6 * HOUR, morning.1), 0.5);
    past
}

#[test]
fn a_day_adds_up_by_hand_and_its_gap_is_counted_and_not_filled() {
    let past = past();
    let report = past.report(Template::Daily, &Given { start_date: Some("2026-01-05"), ..Given::default() }, MONDAY + 2 * DAY, None);
    // 3 kW × 12 h + 5 kW × 10 h.
    let t = &report.total;
    assert_eq!((t.energy_kwh, t.cost, t.peak_watts, t.peak_time), (Some(86.0), Some(12_900.0), Some(5_000.0), Some(MONDAY + 14 * HOUR)));
    assert_eq!((t.covered_seconds, t.missing_seconds, t.gaps), (22.0 * 3_600.0, 2.0 * 3_600.0, 1));
    assert!((t.average_watts.unwrap() - 86_000.0 / 22.0).abs() < 1e-9);
    assert_eq!(report.total_before.energy_kwh, Some(48.0));
    assert_eq!((report.partial_seconds, report.servers), (3_600.0, Some(2.0)));
    assert_eq!((report.parts.len(), report.parts[0].drawn.energy_kwh, report.parts[0].energy_kwh_before), (24, Some(3.0), Some(2.0)));
    assert_eq!((report.parts[12].drawn.energy_kwh, report.parts[12].drawn.missing_seconds), (None, 3_600.0));
    assert_eq!((&*report.nodes[0].name, report.nodes[0].drawn.energy_kwh), ("worker1", Some(43.0)));
    let names: Vec<_> = report.namespaces.iter().map(|r| (r.name.as_str(), r.drawn.energy_kwh.unwrap())).collect();
    assert_eq!(names, [("unattributed", 53.0), ("ml", 33.0)]);
    let card = &report.cards[0];
    assert_eq!((card.drawn.energy_kwh, card.idle_seconds, card.idle_kwh), (Some(3.6), 6.0 * 3_600.0, Some(1.8)));
    assert_eq!((report.idle.cards, report.idle.energy_kwh, report.idle.cost), (0, Some(1.8), Some(270.0)));
    // cluster2 was never heard of.
    assert_eq!(report.clusters[1].drawn.energy_kwh, None);
    assert!(report.notes.iter().any(|n| n[0].starts_with("2.0 h of 24.0 h were not observed (gaps: 1)")), "{:?}", report.notes);
    assert!(report.notes.iter().any(|n| n[1].contains("24.0시간 중 2.0시간은 관측되지 않았습니다")));
}

#[test]
fn daily_weekly_monthly_and_custom_differ_in_window_and_content() {
    let mut past = past();
    past.draws(&power::cluster_series("cluster1"), power::CLUSTER_WATTS, (MONDAY + DAY, MONDAY + 7 * DAY), 1_000.0);
    let now = MONDAY + 9 * DAY;
    let week = past.report(Template::Weekly, &Given::default(), now, Some("cluster1"));
    assert_eq!((week.span.start, week.span.end, week.parts.len(), week.hours_of_day.len()), (MONDAY, MONDAY + 7 * DAY, 7, 24));
    assert_eq!(week.total.energy_kwh, Some(86.0 + 6.0 * 24.0));
    // Nobody knows the week before but its last day.
    assert_eq!((week.total_before.energy_kwh, week.total_before.missing_seconds), (Some(48.0), 6.0 * 86_400.0));
    let month = past.report(Template::Monthly, &Given { start_date: Some("2026-01-20"), ..Given::default() }, now, None);
    assert_eq!((month.parts.len(), month.is_cut, month.span.end), (13, true, now));
    assert!(month.notes.iter().any(|n| n[0].contains("was not over")));
    let given = Given { start_time: Some("2026-01-05T11:00:00Z"), end_time: Some("2026-01-05T15:30:00+00:00"), ..Given::default() };
    let custom = past.report(Template::Custom, &given, now, None);
    assert_eq!((custom.total.energy_kwh, custom.parts.len(), custom.hours_of_day.len()), (Some(3.0 + 7.5), 5, 0));
}

#[test]
fn every_format_of_every_template_and_language_is_made_and_hostile_names_stay_text() {
    let mut past = past();
    let hostile = ["=HYPERLINK(\"http://x\")", "<script>alert('1')</script>", "-2+3", "zero\0width\u{202e}", "🚀 로켓,\n\"quoted\""];
    for name in hostile.into_iter().chain([&*"n".repeat(10_000)]) {
        past.draws(&format!("node/cluster1/{name}"), power::SERVER_WATTS, (MONDAY, MONDAY + HOUR), 60_000.0);
    }
    let day = Given { start_date: Some("2026-01-05"), ..Given::default() };
    let report = past.report(Template::Daily, &day, MONDAY + 2 * DAY, None);
    assert_eq!(report.nodes.len(), 7);
    for lang in [Lang::En, Lang::Ko] {
        for format in Format::ALL {
            let bytes = render(&report, format, lang).unwrap();
            let head: &[u8] = match format {
                Format::Pdf => b"%PDF-1.7",
                Format::Excel => b"PK\x03\x04",
                Format::Html => b"<!doctype html>",
                Format::Json => b"{\"template\":\"daily\"",
                Format::Csv => b"section,cluster,",
                Format::Parquet => b"PAR1",
            };
            assert!(bytes.starts_with(head), "{format:?}: {:?}", String::from_utf8_lossy(&bytes[..20]));
        }
    }
    let html = String::from_utf8(render(&report, Format::Html, Lang::Ko).unwrap()).unwrap();
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;") && html.contains("에너지"));
    assert!(!html.contains('\0') && !html.contains('\u{202e}') && html.contains(&"n".repeat(10_000)));
    for remote in ["http://www", "https://", "src=", "url(", "@import"] {
        assert!(!html.contains(remote), "{remote} would be fetched");
    }
    let csv = String::from_utf8(render(&report, Format::Csv, Lang::En).unwrap()).unwrap();
    assert!(csv.contains("\"'=HYPERLINK(\"\"http://x\"\")\"") && csv.contains(",'-2+3,") && csv.contains("\"🚀 로켓,\n\"\"quoted\"\"\""));
    let widths: std::collections::BTreeSet<usize> = csv::Reader::from_reader(csv.as_bytes()).records().map(|r| r.unwrap().len()).collect();
    assert_eq!(widths, [18].into());
    assert_eq!(super::render::file_name(&report, "2026-01-05", Format::Excel), "kcloud-daily-2026-01-05.xlsx");
    let of = |name: &str| super::render::plain(name);
    assert_eq!(of("cluster1"), "cluster1");
    assert!(of("서울") != of("부산") && of("../a").starts_with(".._a-"), "no two names become one, and none leads elsewhere");
}

#[test]
fn an_empty_world_and_a_stopped_request_are_said() {
    let past = Past::new();
    let report = past.report(Template::Monthly, &Given::default(), MONDAY, Some("cluster2"));
    assert_eq!((report.total.energy_kwh, report.total.cost, report.nodes.len()), (None, None, 0));
    assert!(report.notes[0][0].contains("Nothing of this window was observed"));
    for format in Format::ALL {
        render(&report, format, Lang::Ko).unwrap();
    }
    let window = Window::of(Template::Daily, Zone::default(), &Given::default(), MONDAY).unwrap();
    let ask = Ask { window, cluster: None, clusters: vec![], price: None, minutes_kept: DAY, now: MONDAY, started_ms: 0, alerts: vec![] };
    let stop = Stop::default();
    stop.stop();
    let stopped = super::gather::gather(&self::past().history, &Snapshot::default(), &ask, &stop);
    assert!(matches!(stopped, Err(ReportError::Stopped)));
}
