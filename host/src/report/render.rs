//! A report as a file.

use super::document::{Block, document};
use super::model::Report;
use super::pdf::{About, Column, Grid, Pages, PdfError};
use super::text::Lang;
use super::{chart, excel, html, rows};
use crate::history::HistoryError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Pdf(#[from] PdfError),
    #[error("the workbook could not be written: {0}")]
    Excel(#[from] rust_xlsxwriter::XlsxError),
    #[error("the table could not be written: {0}")]
    Rows(String),
    #[error("nobody waits for it any more")]
    Stopped,
    #[error("other reports are being made")]
    Busy,
}

/// What a report can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Pdf,
    Excel,
    Html,
    Json,
    Csv,
    Parquet,
}

impl Format {
    pub const NAMES: [&'static str; 6] = ["pdf", "excel", "html", "json", "csv", "parquet"];
    pub const ALL: [Self; 6] = [Self::Pdf, Self::Excel, Self::Html, Self::Json, Self::Csv, Self::Parquet];

    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|n| *n == name).map(|i| Self::ALL[i])
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    pub fn extension(self) -> &'static str {
        ["pdf", "xlsx", "html", "json", "csv", "parquet"][self as usize]
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Excel => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// A name as a part of a file's: letters, digits and `._-`. What has others gets a number, so that no two become the same.
pub(super) fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let kept: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).take(60).collect();
    if kept == name { kept } else { format!("{kept}-{:08x}", crc32fast::hash(name.as_bytes())) }
}

/// The name of a report's file.
pub(super) fn file_name(report: &Report, range: &str, format: Format) -> String {
    let cluster = report.cluster.as_deref().map(|c| format!("{}-", plain(c)));
    format!("kcloud-{}-{}{range}.{}", report.template.name(), cluster.unwrap_or_default(), format.extension())
}

/// Writes it.
pub fn render(report: &Report, format: Format, lang: Lang) -> Result<Vec<u8>, ReportError> {
    match format {
        Format::Pdf => pdf(report, lang),
        Format::Excel => excel::write(report, lang),
        Format::Html => Ok(html::write(&document(report, lang, false)).into_bytes()),
        Format::Json => serde_json::to_vec(report).map_err(|e| ReportError::Rows(e.to_string())),
        Format::Csv => rows::csv(report),
        Format::Parquet => rows::parquet(report),
    }
}

fn pdf(report: &Report, lang: Lang) -> Result<Vec<u8>, ReportError> {
    let document = document(report, lang, false);
    let mut pages = Pages::new(false);
    pages.title(&document.title, &document.below);
    let mut cut = 0;
    for (i, block) in document.blocks.iter().enumerate() {
        match block {
            Block::Heading(text) => {
                let following = match document.blocks.get(i + 1) {
                    Some(Block::Charts(charts)) => charts.iter().map(super::chart::Chart::height).fold(0.0, f32::max) + 10.0,
                    _ => 50.0,
                };
                pages.heading(text, following);
            }
            Block::Text(text) => pages.paragraph(text, 8.5, chart::INK),
            Block::Facts(facts) => {
                let facts: Vec<[&str; 3]> = facts.iter().map(|f| [f.name.as_str(), &f.value, &f.below]).collect();
                pages.facts(&facts);
            }
            Block::Charts(charts) => pages.charts(&charts.iter().collect::<Vec<_>>()),
            Block::Table(table) => {
                if let Some(text) = &table.left_out {
                    pages.paragraph(text, 8.0, chart::GREY);
                }
                let columns = table.columns.iter().map(|(name, is_number)| Column { name: name.clone(), is_number: *is_number });
                let mut grid = Grid::new(columns.collect());
                for row in &table.rows {
                    grid.row(&row.iter().map(|c| c.shown(document.zone)).collect::<Vec<_>>());
                }
                cut += grid.draw(&mut pages);
            }
        }
    }
    if cut > 0 {
        let text = lang.of(
            format!("{cut} names are longer than a cell can be and were cut; the other formats have them whole."),
            format!("이름 {cut}개는 길어서 줄였습니다. 다른 형식에는 전체가 있습니다."),
        );
        pages.paragraph(&text, 7.5, chart::GREY);
    }
    let foot = format!("KCloud Monitor · {}", document.below.first().map_or("", String::as_str));
    Ok(pages.finish(&About { title: document.title, language: lang.name(), foot, made_ms: report.generated_at })?)
}
