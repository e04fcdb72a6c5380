//! All tables of a report as one: a row each, with what it is of in `section`. For csv and Parquet.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::model::{Drawn, Report, Span};
use super::render::ReportError;
use crate::api::rfc3339;

struct Line<'a> {
    section: &'static str,
    cluster: &'a str,
    node: &'a str,
    name: &'a str,
    span: Span,
    drawn: Drawn,
    /// Of cards: load in percent, seconds and kWh of doing nothing.
    load: Option<f64>,
    idle_seconds: Option<f64>,
    idle_kwh: Option<f64>,
}

fn lines(report: &Report) -> Vec<Line<'_>> {
    let cluster = report.cluster.as_deref().unwrap_or("");
    let line =
        |section, span, drawn| Line { section, cluster, node: "", name: "", span, drawn, load: None, idle_seconds: None, idle_kwh: None };
    let mut all = vec![
        Line { idle_kwh: report.idle.energy_kwh, ..line("total", report.span, report.total) },
        line("before", report.before, report.total_before),
    ];
    all.extend(report.parts.iter().map(|p| line("part", p.span, p.drawn)));
    for (section, rows) in [
        ("cluster", &report.clusters),
        ("resource_type", &report.resource_types),
        ("namespace", &report.namespaces),
        ("node", &report.nodes),
    ] {
        all.extend(rows.iter().map(|row| Line { cluster: &row.cluster, name: &row.name, ..line(section, report.span, row.drawn) }));
    }
    all.extend(report.cards.iter().map(|c| Line {
        cluster: &c.cluster,
        node: &c.node,
        name: &c.name,
        load: c.average_utilization_percent,
        idle_seconds: c.average_utilization_percent.map(|_| c.idle_seconds),
        idle_kwh: c.idle_kwh,
        ..line("card", report.span, c.drawn)
    }));
    all
}

const COLUMNS: [&str; 18] = [
    "section",
    "cluster",
    "node",
    "name",
    "start_time",
    "end_time",
    "energy_kwh",
    "cost",
    "currency",
    "average_watts",
    "peak_watts",
    "peak_time",
    "covered_seconds",
    "missing_seconds",
    "gaps",
    "average_utilization_percent",
    "idle_seconds",
    "idle_kwh",
];

/// A cell that a spreadsheet would take for a formula is made text by an apostrophe.
fn safe(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

pub(super) fn csv(report: &Report) -> Result<Vec<u8>, ReportError> {
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let fail = |e: csv::Error| ReportError::Rows(e.to_string());
    out.write_record(COLUMNS).map_err(fail)?;
    let number = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
    let currency = report.price.as_ref().map_or("", |p| p.currency.as_str());
    for l in lines(report) {
        let d = &l.drawn;
        let row = [
            l.section.to_owned(),
            safe(l.cluster),
            safe(l.node),
            safe(l.name),
            rfc3339(l.span.start),
            rfc3339(l.span.end),
            number(d.energy_kwh),
            number(d.cost),
            safe(currency),
            number(d.average_watts),
            number(d.peak_watts),
            d.peak_time.map(rfc3339).unwrap_or_default(),
            d.covered_seconds.to_string(),
            d.missing_seconds.to_string(),
            d.gaps.to_string(),
            number(l.load),
            number(l.idle_seconds),
            number(l.idle_kwh),
        ];
        out.write_record(&row).map_err(fail)?;
    }
    out.into_inner().map_err(|e| ReportError::Rows(e.to_string()))
}

pub(super) fn parquet(report: &Report) -> Result<Vec<u8>, ReportError> {
    let lines = lines(report);
    let text = |of: for<'a> fn(&'a Line<'a>) -> &'a str| -> ArrayRef {
        Arc::new(StringArray::from_iter(lines.iter().map(|l| Some(of(l)).filter(|t| !t.is_empty()).map(str::to_owned))))
    };
    let number = |of: fn(&Line<'_>) -> Option<f64>| -> ArrayRef { Arc::new(Float64Array::from_iter(lines.iter().map(of))) };
    let time = |of: fn(&Line<'_>) -> Option<i64>| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter(lines.iter().map(of)).with_timezone("UTC"))
    };
    let currency = report.price.as_ref().map(|p| p.currency.clone());
    let arrays: Vec<ArrayRef> = vec![
        text(|l| l.section),
        text(|l| l.cluster),
        text(|l| l.node),
        text(|l| l.name),
        time(|l| Some(l.span.start)),
        time(|l| Some(l.span.end)),
        number(|l| l.drawn.energy_kwh),
        number(|l| l.drawn.cost),
        Arc::new(StringArray::from_iter(lines.iter().map(|_| currency.clone()))),
        number(|l| l.drawn.average_watts),
        number(|l| l.drawn.peak_watts),
        time(|l| l.drawn.peak_time),
        number(|l| Some(l.drawn.covered_seconds)),
        number(|l| Some(l.drawn.missing_seconds)),
        Arc::new(Int64Array::from_iter(lines.iter().map(|l| Some(i64::from(l.drawn.gaps))))),
        number(|l| l.load),
        number(|l| l.idle_seconds),
        number(|l| l.idle_kwh),
    ];
    let fail = |e: String| ReportError::Rows(e);
    let fields: Vec<Field> = COLUMNS.iter().zip(&arrays).map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| fail(e.to_string()))?;
    let level = ZstdLevel::try_new(3).map_err(|e| fail(e.to_string()))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let mut out = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(|e| fail(e.to_string()))?;
    out.write(&batch).map_err(|e| fail(e.to_string()))?;
    out.into_inner().map_err(|e| fail(e.to_string()))
}
