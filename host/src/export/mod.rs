//! Files of many rows, for those who analyse them.
//!
//! In: a [`Plan`] (which resources, columns, window), made of a request by `api/`, and history. Out: bytes of one [`Format`], as
//! they come, or a file of a [`jobs::Job`]. It must never hold more than a slice of the rows, never write 0 for what
//! nobody observed, never round what history holds, and never go on when nobody takes the bytes any more.

mod csv;
mod excel;
mod exports;
pub mod jobs;
mod json;
mod parquet;
mod pdf;
pub mod plan;
mod source;
mod stamp;
pub mod stream;
pub mod table;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub use exports::{Exports, Limits, Running};
pub use plan::Plan;
use table::{Batch, Held, Summary};

use crate::history::{History, HistoryError};

/// Where bytes go.
pub type Out = Box<dyn Write + Send>;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("history: {0}")]
    History(#[from] HistoryError),
    #[error("writing: {0}")]
    Io(#[from] std::io::Error),
    #[error("nobody takes it any more")]
    Stopped,
    /// What was asked for could be had then, and cannot now.
    #[error("it cannot be had any more: {0}")]
    Plan(String),
    /// No error: the format takes no more rows, and says so in the file.
    #[error("it takes no more rows")]
    Full,
}

impl ExportError {
    /// Whether it ended because it was told to, or nobody listens.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Io(e) => e.kind() == std::io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }
}

/// What files there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Ndjson,
    Csv,
    Excel,
    Parquet,
    Pdf,
}

impl Format {
    pub const ALL: [Self; 6] = [Self::Json, Self::Ndjson, Self::Csv, Self::Excel, Self::Parquet, Self::Pdf];

    /// As a client writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Excel => "excel",
            Self::Parquet => "parquet",
            Self::Pdf => "pdf",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Excel => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            // As documented; `application/vnd.apache.parquet` is younger than the clients.
            Self::Parquet => "application/octet-stream",
            Self::Pdf => "application/pdf",
        }
    }

    pub fn extension(self) -> &'static str {
        match self {
            Self::Excel => "xlsx",
            other => other.name(),
        }
    }

    /// For people: its name, what it is, and what it can.
    pub fn described(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::Json => ("JSON", "The documented envelope around an array of rows", &["streamed", "units in names", "reasons for gaps"]),
            Self::Ndjson => ("NDJSON", "One JSON object a line, without an envelope", &["streamed", "units in names", "reasons for gaps"]),
            Self::Csv => (
                "CSV",
                "RFC 4180 with one header, UTF-8; bom=true for Excel in Korean",
                &["streamed", "units in names", "reasons for gaps", "text that no spreadsheet runs"],
            ),
            Self::Excel => (
                "Excel",
                "A workbook with typed numbers and dates; it arrives when it is whole",
                &["summary", "chart", "frozen header", "filter", "sheets of 1,048,576 rows"],
            ),
            Self::Parquet => (
                "Apache Parquet",
                "Typed columns: UTC milliseconds, dictionary strings, doubles; zstd",
                &["streamed", "row groups", "units in the schema", "reasons for gaps"],
            ),
            Self::Pdf => (
                "PDF",
                "A table to be read by eye: the first 5,000 rows, and that there are more",
                &["PDF/A-2b", "searchable", "lang=ko for Korean"],
            ),
        }
    }
}

impl Default for Style {
    fn default() -> Self {
        Self { bom: false, is_korean: false, scratch: PathBuf::default(), max_scratch: u64::MAX }
    }
}

/// How a file is to be written.
#[derive(Debug, Clone)]
pub struct Style {
    /// CSV begins with a byte order mark: Excel in Korean needs it.
    pub bom: bool,
    /// What is read by eye is in Korean.
    pub is_korean: bool,
    /// Where parts of a workbook wait, and how many bytes of it that may take.
    pub scratch: PathBuf,
    pub max_scratch: u64,
}

/// Writes rows of one plan in one format.
pub trait Encoder: Send {
    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ExportError>;

    /// Writes what belongs at the end.
    fn finish(self: Box<Self>, summary: &Summary) -> Result<(), ExportError>;
}

/// The encoder of a format, which has written its head already.
pub fn encoder(format: Format, plan: &Plan, style: &Style, out: Out) -> Result<Box<dyn Encoder>, ExportError> {
    Ok(match format {
        Format::Json => Box::new(json::Json::new(out, plan, false)?),
        Format::Ndjson => Box::new(json::Json::new(out, plan, true)?),
        Format::Csv => Box::new(csv::Csv::new(out, &plan.columns, style.bom)?),
        Format::Excel => Box::new(excel::Excel::new(out, plan, style)?),
        Format::Parquet => Box::new(parquet::Parquet::new(out, plan)?),
        Format::Pdf => Box::new(pdf::Pdf::new(out, plan, style)),
    })
}

/// How far an export is; others look while it runs, and may stop it.
#[derive(Debug, Default)]
pub struct Progress {
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
    /// Thousandths of the resources that were read.
    pub read_permille: AtomicU32,
    pub stop: AtomicBool,
}

impl Progress {
    fn read(&self, done: usize, of: usize) {
        self.read_permille.store((done * 1_000 / of.max(1)) as u32, Ordering::Relaxed);
    }
}

/// Writes a whole file. `is_wanted` is asked between pieces.
pub fn run(
    plan: &Plan,
    history: &dyn History,
    mut encoder: Box<dyn Encoder>,
    progress: &Progress,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Summary, ExportError> {
    let mut summary = Summary { held: vec![Held::default(); plan.columns.len()], ..Summary::default() };
    let read = source::rows(plan, history, progress, &mut |batch| {
        if progress.stop.load(Ordering::Relaxed) || !is_wanted() {
            return Err(ExportError::Stopped);
        }
        if batch.times.is_empty() {
            return Ok(());
        }
        encoder.batch(batch)?;
        summary.rows += batch.times.len() as u64;
        summary.rows_with_gaps += batch.reasons.iter().filter(|r| **r != 0).count() as u64;
        summary.held.iter_mut().zip(batch.cells).for_each(|(held, cells)| held.add(cells));
        progress.rows.store(summary.rows, Ordering::Relaxed);
        Ok(())
    });
    match read {
        Ok(()) | Err(ExportError::Full) => {}
        Err(error) => return Err(error),
    }
    encoder.finish(&summary)?;
    Ok(summary)
}
