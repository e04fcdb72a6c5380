//! A workbook: a summary with a chart, then sheets of typed rows, as many as the limit of a sheet asks for. Rows wait on disk; the
//! file is packed at the end.
//!
//! Text is a text cell, whatever it begins with. Excel takes 32,767 characters a cell: what is longer is cut, ends in `…`, and
//! the summary counts it. NUL becomes ␀.

use std::borrow::Cow;
use std::io::{Seek, Write};
use std::sync::Arc;

use rust_xlsxwriter::{Chart, ChartType, Color, Format, Workbook, Worksheet, XlsxError};

use super::plan::{Plan, name_of};
use super::table::{Batch, Column, LABELS, REASON, Summary, TIMESTAMP};
use super::{Encoder, ExportError, Out, Style};
use crate::api::rfc3339;

/// Of a sheet, with its header.
const MOST_ROWS: u32 = 1_048_576;
const MOST_TEXT: usize = 32_767;
/// Lines of the chart, and points of one.
const LINES: usize = 8;
const POINTS: u32 = 5_000;
/// Days from Excel's epoch to Unix'.
const EPOCH: f64 = 25_569.0;

pub(super) struct Excel {
    out: Out,
    book: Workbook,
    style: Style,
    plan: Plan,
    /// The row that is next in the last sheet.
    row: u32,
    most_rows: u32,
    cut: u64,
    /// Bytes of rows that wait on disk, unpacked.
    waiting: u64,
    /// Where the rows of the first resources lie in the first sheet.
    lines: Vec<Line>,
    text: Vec<String>,
}

/// Rows of one resource, for the chart.
struct Line {
    series: Arc<str>,
    name: String,
    first: u32,
    last: u32,
}

impl From<XlsxError> for ExportError {
    fn from(error: XlsxError) -> Self {
        match error {
            XlsxError::IoError(io) => Self::Io(io),
            other => Self::Io(std::io::Error::other(other)),
        }
    }
}

/// Text as a cell takes it, and whether it was cut.
fn fitting(text: &str) -> (Cow<'_, str>, bool) {
    let text = if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { Cow::Borrowed(text) };
    if text.len() <= MOST_TEXT || text.encode_utf16().count() <= MOST_TEXT {
        return (text, false);
    }
    let mut units = 0;
    let fits = |c: &char| {
        units += c.len_utf16();
        units < MOST_TEXT
    };
    let kept: String = text.chars().take_while(fits).collect();
    (Cow::Owned(kept + "…"), true)
}

fn day(at_ms: i64) -> f64 {
    at_ms as f64 / 86_400_000.0 + EPOCH
}

/// A cell that waits on disk, about.
const CELL_BYTES: u64 = 36;

impl Excel {
    pub(super) fn new(out: Out, plan: &Plan, style: &Style) -> Result<Self, ExportError> {
        Self::with_rows(out, plan, style, MOST_ROWS)
    }

    /// With sheets of so many rows.
    pub(super) fn with_rows(out: Out, plan: &Plan, style: &Style, most_rows: u32) -> Result<Self, ExportError> {
        let mut book = Workbook::new();
        book.set_tempdir(&style.scratch)?;
        book.set_zip_compression_level(1);
        book.add_worksheet().set_name("Summary")?;
        // Entries are asked no more.
        let plan = Plan { entries: Vec::new(), remainders: Vec::new(), ..plan.clone() };
        let mut excel =
            Self { out, book, style: style.clone(), plan, row: 0, most_rows, cut: 0, waiting: 0, lines: Vec::new(), text: Vec::new() };
        excel.next_sheet()?;
        Ok(excel)
    }

    fn sheets(&mut self) -> usize {
        self.book.worksheets().len() - 1
    }

    fn next_sheet(&mut self) -> Result<(), ExportError> {
        let name = match self.sheets() {
            0 => "Data".to_owned(),
            n => format!("Data {}", n + 1),
        };
        let heading = Format::new().set_bold().set_background_color(Color::RGB(0x00E7_EDF3));
        let sheet = self.book.add_worksheet_with_low_memory()?;
        sheet.set_name(name)?;
        sheet.set_freeze_panes(1, 0)?;
        sheet.set_column_format(0, &Format::new().set_num_format("yyyy-mm-dd hh:mm:ss.000"))?;
        sheet.set_column_width(0, 23)?;
        for column in 1..=LABELS.len() as u16 {
            sheet.set_column_width(column, 18)?;
        }
        let names = [TIMESTAMP].into_iter().chain(LABELS).chain(self.plan.columns.iter().map(|c| c.name.as_str())).chain([REASON]);
        for (column, name) in names.enumerate() {
            sheet.write_string_with_format(0, column as u16, name, &heading)?;
        }
        self.row = 1;
        Ok(())
    }

    /// Writes rows of a batch into the last sheet.
    fn rows(&mut self, batch: &Batch<'_>, from: usize, to: usize) -> Result<(), ExportError> {
        let last = self.sheets();
        let sheet = self.book.worksheet_from_index(last)?;
        for row in from..to {
            let at = self.row + (row - from) as u32;
            sheet.write_number(at, 0, day(batch.times[row]))?;
            let mut column = 1;
            for text in &self.text {
                if !text.is_empty() {
                    sheet.write_string(at, column, text.as_str())?;
                }
                column += 1;
            }
            for (c, cells) in self.plan.columns.iter().zip(batch.cells) {
                put(sheet, at, column, c, cells[row])?;
                column += 1;
            }
            if let Some(reason) = batch.reason(row) {
                sheet.write_string(at, column, fitting(reason).0)?;
            }
        }
        self.row += (to - from) as u32;
        self.waiting += (to - from) as u64 * (LABELS.len() + self.plan.columns.len() + 2) as u64 * CELL_BYTES;
        if self.waiting > self.style.max_scratch {
            let limit =
                format!("its rows would take more than {} bytes of disk until they are packed, which is the limit", self.style.max_scratch);
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, limit).into());
        }
        Ok(())
    }

    fn summarise(&mut self, summary: &Summary) -> Result<(), ExportError> {
        let (plan, bold) = (&self.plan, Format::new().set_bold());
        let date = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss");
        let sheets = self.book.worksheets().len() - 1;
        let columns = (LABELS.len() + plan.columns.len() + 1) as u16;
        for i in 1..=sheets {
            let rows = if i == sheets { self.row - 1 } else { self.most_rows - 1 };
            self.book.worksheet_from_index(i)?.autofilter(0, 0, rows.max(1), columns)?;
        }
        let sheet = self.book.worksheet_from_index(0)?;
        sheet.set_column_width(0, 34)?.set_column_width(1, 24)?;
        sheet.write_string_with_format(0, 0, format!("KCloud Monitor: {} of {}", plan.what, plan.resource), &bold)?;
        let text = |sheet: &mut Worksheet, row, name: &str, value: &str| -> Result<(), XlsxError> {
            sheet.write_string(row, 0, name)?.write_string(row, 1, value).map(drop)
        };
        text(sheet, 1, "cluster", plan.cluster.as_deref().unwrap_or("all"))?;
        for (row, name, at) in [(2, "from (UTC)", plan.window.0), (3, "until (UTC)", plan.window.1)] {
            sheet.write_string(row, 0, name)?.write_number_with_format(row, 1, day(at), &date)?;
        }
        match plan.step_ms {
            Some(step) => sheet.write_string(4, 0, "step, seconds")?.write_number(4, 1, step as f64 / 1e3).map(drop)?,
            None => text(sheet, 4, "step", "raw: each observation as it came")?,
        }
        sheet.write_string(5, 0, "rows")?.write_number(5, 1, summary.rows as f64)?;
        sheet.write_string(6, 0, "rows with empty cells")?.write_number(6, 1, summary.rows_with_gaps as f64)?;
        sheet.write_string(7, 0, "texts cut at 32,767 characters")?.write_number(7, 1, self.cut as f64)?;
        text(sheet, 8, "snapshot", &format!("{} of {}", plan.sequence, rfc3339(plan.as_of_ms)))?;
        let mut row = 10;
        for (column, name) in ["column", "unit", "aggregate", "values", "least", "mean", "most"].iter().enumerate() {
            sheet.write_string_with_format(row, column as u16, *name, &bold)?;
        }
        for (c, held) in plan.columns.iter().zip(&summary.held) {
            row += 1;
            sheet.write_string(row, 0, &c.name)?.write_string(row, 1, &*c.unit)?;
            sheet.write_string(row, 2, if plan.step_ms.is_some() { name_of(c.how) } else { "" })?;
            sheet.write_number(row, 3, held.count as f64)?;
            if held.count > 0 && c.states.is_none() {
                let all = [held.minimum, held.sum / held.count as f64, held.maximum];
                all.iter().zip(4..).try_for_each(|(v, column)| sheet.write_number(row, column, *v).map(drop))?;
            }
        }
        for warning in &plan.warnings {
            row += 1;
            sheet.write_string(row, 0, fitting(warning).0)?;
        }
        if let Some((c, column)) = plan.columns.iter().zip(LABELS.len() as u16 + 1..).find(|(c, _)| c.states.is_none())
            && !self.lines.is_empty()
        {
            let mut chart = Chart::new(ChartType::Line);
            for line in &self.lines {
                let last = line.last.min(line.first + POINTS);
                let one = chart.add_series().set_name(&line.name);
                one.set_categories(("Data", line.first, 0, last, 0)).set_values(("Data", line.first, column, last, column));
            }
            chart.title().set_name(&c.name);
            chart.x_axis().set_num_format("mm-dd hh:mm");
            chart.y_axis().set_name(&*c.unit);
            chart.set_width(900).set_height(420);
            sheet.insert_chart(row + 2, 0, &chart)?;
        }
        Ok(())
    }
}

fn put(sheet: &mut Worksheet, row: u32, column: u16, of: &Column, value: f64) -> Result<(), XlsxError> {
    if value.is_nan() {
        return Ok(());
    }
    match of.state(value) {
        Some(state) => sheet.write_string(row, column, &**state),
        None => sheet.write_number(row, column, value),
    }
    .map(drop)
}

impl Encoder for Excel {
    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        self.text.clear();
        let mut is_cut = false;
        for label in &batch.entry.labels {
            let (text, cut) = fitting(label.as_deref().unwrap_or(""));
            is_cut |= cut;
            self.text.push(text.into_owned());
        }
        self.cut += if is_cut { batch.times.len() as u64 } else { 0 };
        let mut from = 0;
        while from < batch.times.len() {
            if self.row >= self.most_rows {
                self.next_sheet()?;
            }
            let to = batch.times.len().min(from + (self.most_rows - self.row) as usize);
            let first = self.row;
            self.rows(batch, from, to)?;
            if self.sheets() == 1 {
                let lines = self.lines.len();
                match self.lines.last_mut().filter(|line| line.series == batch.entry.series && line.last + 1 == first) {
                    Some(line) => line.last = self.row - 1,
                    None if lines < LINES => {
                        let name = if self.text[3].is_empty() { &self.text[2] } else { &self.text[3] };
                        // A legend of long names leaves no room for lines.
                        let name = name.chars().take(40).collect();
                        self.lines.push(Line { series: batch.entry.series.clone(), name, first, last: self.row - 1 });
                    }
                    None => {}
                }
            }
            from = to;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, summary: &Summary) -> Result<(), ExportError> {
        self.summarise(summary)?;
        let mut packed = tempfile::tempfile_in(&self.style.scratch)?;
        self.book.save_to_writer(std::io::BufWriter::new(&mut packed))?;
        packed.rewind()?;
        std::io::copy(&mut packed, &mut self.out)?;
        Ok(self.out.flush()?)
    }
}
