//! Shapes of `/export/templates`.

use super::Shapes;

#[rustfmt::skip] // One row a field.
pub(super) const SHAPES: Shapes = &[
    ("ReportTemplates", &[&[
        ("timestamp", "t", ""),
        ("templates", "{@ReportTemplate}", "By name"),
        ("timezone", "s", "Where days begin by default: Z or an offset"),
        ("lang", "en|ko", "By default"),
        ("price_per_kwh", "n?", "null: reports have no costs"),
        ("currency", "s?", ""),
        ("schedules", "[@ReportSchedule]", "Those that make themselves"),
    ]]),
    ("ReportTemplate", &[&[
        ("name", "s", ""),
        ("description", "s", ""),
        ("status", "available", ""),
        ("formats", "[s]", ""),
        ("languages", "[s]", ""),
    ]]),
    ("ReportSchedule", &[&[
        ("name", "s", "As in [reports.schedule.NAME]"),
        ("template", "daily|weekly|monthly", ""),
        ("formats", "[s]", ""),
        ("lang", "en|ko", ""),
        ("timezone", "s", ""),
        ("at", "s", "Local time of day"),
        ("clusters", "[s]", "A report each; empty: one over all"),
        ("next_run", "t", ""),
        ("retry_at", "t?", "After a failure"),
        ("last_run", "@ReportRun?", ""),
        ("last_success", "t?", ""),
    ]]),
    ("ReportRun", &[&[
        ("due", "t", "When it was due"),
        ("ended", "t", ""),
        ("result", "ok|failed", ""),
        ("error", "s?", ""),
        ("files", "[s]", "Names"),
    ]]),
];
