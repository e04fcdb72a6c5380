//! PDF (PDF/A-2b): pages, text that can be searched, charts as paths, tables that go on over pages.
//!
//! What is to be drawn is noted page by page and written at the end, when the number of pages is known. So the
//! pages of one file are all in memory: who makes it bounds the rows.

pub mod font;
mod grid;
mod pages;
mod table;

pub use grid::{Column, Grid};
pub use pages::{About, Pages};
pub use table::Table;

/// Why no file came out.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    #[error("the built-in font could not be read")]
    Font,
    #[error("the PDF could not be written: {0}")]
    Write(String),
}
