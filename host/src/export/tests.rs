use std::path::Path;
use std::sync::{Arc, Mutex};

use super::table::{Column, Entry, Scale};
use super::*;
use crate::history::{Aggregate, Embedded, Keep, Point};

pub(super) const NASTY: [&str; 9] =
    ["=1+2", "+82", "-5", "@SUM(A1)", "a\"b,c", "line one\nline two\r\nthree", "🔥 가속기 온도", "nul\0inside", "\ttab"];

#[derive(Clone, Default)]
pub(super) struct Kept(pub Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) fn entry(labels: [Option<&str>; 5], series: &str, metrics: &[&str]) -> Entry {
    Entry {
        labels: labels.map(|l| l.map(Arc::from)),
        series: series.into(),
        metrics: metrics.iter().map(|m| Some(Arc::from(*m))).collect(),
        model: None,
        is_gone: false,
    }
}

pub(super) fn column(name: &str, scale: Scale, how: Aggregate) -> Column {
    Column { name: name.into(), unit: "unit".into(), scale, states: None, how }
}

/// Two cards of which the second fell silent, and a state.
pub(super) fn made(dir: &Path) -> (Embedded, Plan) {
    let store = Embedded::open(dir, Keep::default()).unwrap();
    let point = |subject: &str, metric: &str, at_ms, value| Point { subject: subject.into(), metric: metric.into(), at_ms, value };
    let mut points = Vec::new();
    for i in 0..8i64 {
        points.push(point("a", "power_watts", i * 1_000, Some(300.1 + i as f64 / 3.0)));
        points.push(point("a", "utilization_ratio", i * 1_000, Some(0.57)));
        points.push(point("a", "health", i * 1_000, Some(if i < 4 { 0.0 } else { 2.0 })));
    }
    points.push(point("b", "power_watts", 500, Some(-0.25)));
    points.push(point("b", "power_watts", 1_500, None));
    store.commit(1, 9_000, &points).unwrap();
    let mut health = column("health", Scale::One, Aggregate::Last);
    health.states = Some(["ok", "warning", "=critical"].map(Arc::from).into());
    let metrics = ["power_watts", "utilization_ratio", "health"];
    let mut first = entry([Some("cluster1"), Some("gpu"), Some("a"), Some("=HYPERLINK(\"x\")"), None], "a", &metrics);
    first.labels[4] = Some(NASTY.join("|").into());
    let second = entry([Some("cluster1"), Some("gpu"), Some("b"), Some("가".repeat(10_000).as_str()), Some("worker1")], "b", &metrics);
    let plan = Plan {
        what: "metrics",
        resource: "gpus".into(),
        columns: vec![
            column("power_watts", Scale::One, Aggregate::Average),
            column("utilization_percent", Scale::Percent, Aggregate::Average),
            health,
        ],
        entries: vec![first, second],
        window: (0, 8_000),
        step_ms: Some(2_000),
        rows_expected: 8,
        ..Plan::default()
    };
    (store, plan)
}

pub(super) fn write(format: Format, plan: &Plan, history: &dyn History, style: &Style) -> (Vec<u8>, Summary) {
    let kept = Kept::default();
    let encoder = encoder(format, plan, style, Box::new(kept.clone())).unwrap();
    let summary = run(plan, history, encoder, &Progress::default(), &|| true).unwrap();
    (std::mem::take(&mut *kept.0.lock().unwrap()), summary)
}

#[test]
fn csv_has_one_header_and_each_value_to_its_last_digit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, plan) = made(dir.path());
    let (bytes, summary) = write(Format::Csv, &plan, &store, &Style { bom: true, ..Style::default() });
    assert_eq!((summary.rows, summary.rows_with_gaps), (8, 3));
    assert!(bytes.starts_with(b"\xef\xbb\xbftimestamp,cluster,"));
    let text = String::from_utf8(bytes).unwrap();
    let mut reader = ::csv::Reader::from_reader(&text.as_bytes()[3..]);
    assert_eq!(
        reader.headers().unwrap(),
        vec![
            "timestamp",
            "cluster",
            "resource_type",
            "resource_id",
            "name",
            "node",
            "power_watts",
            "utilization_percent",
            "health",
            "reason"
        ]
    );
    let rows: Vec<::csv::StringRecord> = reader.records().map(|r| r.unwrap()).collect();
    let steps = store.range("a", "power_watts", (0, 8_000), 2_000, Aggregate::Average).unwrap();
    for (row, (at, value)) in rows.iter().zip(&steps) {
        assert_eq!(&row[0], crate::api::rfc3339(*at));
        assert_eq!(row[6].parse::<f64>().unwrap().to_bits(), value.unwrap().to_bits());
        assert_eq!((&row[7], &row[9]), ("57.0", ""));
    }
    assert_eq!((&rows[0][4], &rows[0][8], &rows[3][8]), ("'=HYPERLINK(\"x\")", "ok", "'=critical"));
    assert_eq!(&rows[0][5], format!("'{}", NASTY.join("|").replace('\0', "␀")));
    assert_eq!((&rows[4][6], &rows[5][6], &rows[5][9]), ("-0.25", "", "power_watts=not_observed"));
    assert_eq!(rows[4][4].chars().count(), 10_000);
}

#[test]
fn json_is_the_envelope_around_rows_and_lines_are_the_rows_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, plan) = made(dir.path());
    let (bytes, _) = write(Format::Json, &plan, &store, &Style::default());
    let whole: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let rows = whole["data"].as_array().unwrap();
    assert_eq!((rows.len(), &whole["metadata"]["total_count"]), (8, &serde_json::json!(8)));
    assert_eq!(whole["metadata"]["columns"]["utilization_percent"]["aggregate"], "average");
    assert_eq!(rows[0]["node"], NASTY.join("|"));
    assert_eq!((&rows[3]["health"], rows[5]["power_watts"].is_null()), (&serde_json::json!("=critical"), true));
    let (bytes, _) = write(Format::Ndjson, &plan, &store, &Style::default());
    let lines: Vec<serde_json::Value> =
        bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    assert_eq!(&lines, rows);
}

#[test]
fn raw_rows_are_the_observations_and_an_end_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, plan) = made(dir.path());
    let plan = Plan { step_ms: None, ..plan };
    let (bytes, summary) = write(Format::Ndjson, &plan, &store, &Style::default());
    let lines: Vec<serde_json::Value> =
        bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    assert_eq!((lines.len(), summary.rows), (10, 10));
    assert_eq!((&lines[8]["power_watts"], &lines[9]["power_watts"]), (&serde_json::json!(-0.25), &serde_json::Value::Null));
    assert_eq!(lines[9]["reason"], "power_watts=ended");
}

#[test]
fn slices_of_time_give_the_rows_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    let point =
        |i: i64| Point { subject: "a".into(), metric: "power_watts".into(), at_ms: i * 500, value: (i % 7 != 3).then_some(i as f64 / 7.0) };
    store.commit(1, 1, &(0..20_000).map(point).collect::<Vec<_>>()).unwrap();
    let mut plan = Plan {
        what: "metrics",
        columns: vec![column("power_watts", Scale::One, Aggregate::Maximum)],
        entries: vec![entry([None; 5], "a", &["power_watts"])],
        window: (700, 9_999_300),
        step_ms: Some(1_000),
        ..Plan::default()
    };
    let read = |plan: &Plan| {
        let (bytes, _) = write(Format::Csv, plan, &store, &Style::default());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().skip(1).map(|l| l.split(',').nth(6).unwrap().parse::<f64>().ok()).collect::<Vec<_>>()
    };
    let whole = store.range("a", "power_watts", plan.window, 1_000, Aggregate::Maximum).unwrap();
    assert_eq!(read(&plan), whole.iter().map(|(_, v)| *v).collect::<Vec<_>>());
    assert!(whole.len() > 9_000);
    plan.step_ms = None;
    let raw = store.raw("a", "power_watts", plan.window.0, plan.window.1).unwrap();
    assert_eq!(read(&plan), raw.iter().map(|(_, v)| *v).collect::<Vec<_>>());
}

#[test]
fn what_no_part_claims_is_left_of_the_total() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    let point = |subject: &str, value| Point { subject: subject.into(), metric: "w".into(), at_ms: 100, value: Some(value) };
    store.commit(1, 1, &[point("total", 10.0), point("a", 3.0), point("b", 4.5)]).unwrap();
    let part = |series: &str| entry([Some("c"), Some("vendor"), Some(series), Some(series), None], series, &["w"]);
    let plan = Plan {
        what: "power",
        columns: vec![column("power_watts", Scale::One, Aggregate::Average)],
        entries: vec![part("a"), part("b")],
        remainders: vec![plan::Remainder { entry: part("unattributed"), total: ("total".into(), "w".into()), parts: 0..2 }],
        window: (0, 2_000),
        step_ms: Some(1_000),
        ..Plan::default()
    };
    let (bytes, _) = write(Format::Csv, &plan, &store, &Style::default());
    let text = String::from_utf8(bytes).unwrap();
    let last: Vec<&str> = text.lines().rev().take(2).collect();
    assert!(last[1].ends_with(",unattributed,,2.5,") && last[0].ends_with(",unattributed,,,not_observed"), "{text}");
}

#[test]
fn who_goes_away_stops_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut plan) = made(dir.path());
    let one = plan.entries[0].clone();
    plan.entries = vec![one; 10_000];
    let asked = std::cell::Cell::new(0);
    let progress = Progress::default();
    let encoder = encoder(Format::Csv, &plan, &Style::default(), Box::new(Kept::default())).unwrap();
    let stopped = run(&plan, &store, encoder, &progress, &|| {
        asked.set(asked.get() + 1);
        asked.get() <= 3
    });
    assert!(stopped.is_err_and(|e| e.is_stop()));
    assert_eq!(progress.rows.load(Ordering::Relaxed), 12);
}

#[test]
fn parquet_reads_back_typed_and_whole() {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int32Type, TimestampMillisecondType};
    let dir = tempfile::tempdir().unwrap();
    let (store, plan) = made(dir.path());
    let (bytes, _) = write(Format::Parquet, &plan, &store, &Style::default());
    let reader = ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    assert_eq!(reader.schema().field(6).metadata()["unit"], "unit");
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.num_rows(), 8);
    assert_eq!(batch.column(0).as_primitive::<TimestampMillisecondType>().values()[1], 2_000);
    let watts = batch.column(6).as_primitive::<Float64Type>();
    let steps = store.range("a", "power_watts", (0, 8_000), 2_000, Aggregate::Average).unwrap();
    for (i, (_, v)) in steps.iter().enumerate() {
        assert_eq!(watts.value(i).to_bits(), v.unwrap().to_bits());
    }
    use arrow_array::Array;
    assert_eq!((watts.null_count(), watts.value(4)), (3, -0.25));
    let text = |column: usize, row: usize| {
        let column = batch.column(column).as_dictionary::<Int32Type>();
        let words = column.values().as_string::<i32>().clone();
        column.key(row).map(|k| words.value(k).to_owned())
    };
    assert_eq!(text(5, 0).unwrap(), NASTY.join("|"));
    assert_eq!((text(4, 0).unwrap().as_str(), text(8, 3).unwrap().as_str()), ("=HYPERLINK(\"x\")", "=critical"));
    assert_eq!((text(9, 5).unwrap().as_str(), text(9, 0)), ("power_watts=not_observed", None));
}

#[test]
fn a_workbook_goes_on_in_the_next_sheet_and_cuts_what_no_cell_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut plan) = made(dir.path());
    plan.entries[1].labels[3] = Some("🔥".repeat(20_000).into());
    let style = Style { scratch: dir.path().to_owned(), ..Style::default() };
    let kept = Kept::default();
    let encoder = excel::Excel::with_rows(Box::new(kept.clone()), &plan, &style, 4).unwrap();
    let summary = run(&plan, &store, Box::new(encoder), &Progress::default(), &|| true).unwrap();
    assert_eq!(summary.rows, 8);
    let bytes = std::mem::take(&mut *kept.0.lock().unwrap());
    // The sheets stand in the directory of the archive.
    let has = |name: &str| bytes.windows(name.len()).any(|w| w == name.as_bytes());
    assert!(has("xl/worksheets/sheet4.xml") && !has("xl/worksheets/sheet5.xml") && has("xl/charts/chart1.xml"));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().file_type().unwrap().is_file()).count(),
        1,
        "only the store's file is left"
    );
}

#[test]
fn a_pdf_holds_the_first_pages_and_says_that_there_is_more() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut plan) = made(dir.path());
    let one = plan.entries[0].clone();
    plan.entries.extend(vec![one; 2_000]);
    let (bytes, summary) = write(Format::Pdf, &plan, &store, &Style::default());
    assert!(bytes.starts_with(b"%PDF-") && summary.rows <= 5_000, "{}", summary.rows);
    let path = dir.path().join("rows.pdf");
    std::fs::write(&path, bytes).unwrap();
    let Ok(out) = std::process::Command::new("pdftotext").arg("-layout").arg(&path).arg("-").output() else {
        return eprintln!("NOT RUN: no pdftotext; `apt-get install poppler-utils`");
    };
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("Only the first 5,000 rows") && text.contains("metrics of gpus") && text.contains("57"), "{}", &text[..2_000]);
}

#[test]
fn what_is_gone_has_rows_where_it_had_values_and_none_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut plan) = made(dir.path());
    let gone = |series: &str| Entry { is_gone: true, ..entry([None, None, Some(series), None, None], series, &["power_watts"]) };
    plan.columns.truncate(1);
    plan.entries = vec![gone("b"), gone("never")];
    let (bytes, summary) = write(Format::Csv, &plan, &store, &Style::default());
    let steps = store.range("b", "power_watts", (0, 8_000), 2_000, Aggregate::Average).unwrap();
    let known = steps.iter().filter(|(_, v)| v.is_some()).count() as u64;
    assert!(known > 0 && known < 4, "{steps:?}");
    assert_eq!((summary.rows, summary.rows_with_gaps), (known, 0), "{}", String::from_utf8_lossy(&bytes));
}
