//! Shapes of `/export`. Rows have the columns that were asked for.

use super::Shapes;

#[rustfmt::skip] // One row a field.
pub(super) const SHAPES: Shapes = &[
    ("ExportMetadata", &[&[
        ("total_count", "i", "Rows"),
        ("rows_with_gaps", "i", "Rows in which something is empty"),
        ("window", "@ExportWindow", ""),
        ("columns", "{@ExportColumn}", "By name"),
        ("sequence", "i", "Number of the snapshot from which resources and their labels were taken"),
        ("as_of", "t", "When it was made"),
        ("warnings", "[s]", ""),
    ]]),
    ("ExportWindow", &[&[
        ("start_time", "t", ""),
        ("end_time", "t", "Not in it"),
        ("step_seconds", "n?", "Steps begin at multiples of it from the Unix epoch; null where rows are observations as they came"),
        ("period", "s?", "As it was asked for"),
    ]]),
    ("ExportColumn", &[&[("unit", "s", ""), ("aggregate", "average|minimum|maximum|sum|count|last|p95?", "What became of the observations of a step")]]),
    ("ExportFormats", &[&[("formats", "{@ExportFormat}", "")]]),
    ("ExportFormat", &[&[
        ("name", "s", ""),
        ("description", "s", ""),
        ("mime_type", "s", ""),
        ("file_extension", "s", ""),
        ("status", "available", ""),
        ("features", "[s]", ""),
    ]]),
];
