//! CSV as RFC 4180 has it, UTF-8: one header for all rows, CRLF, quotes where needed.
//!
//! Text that a spreadsheet would run as a formula gets an apostrophe before it; numbers stay numbers. NUL, which no reader of
//! CSV takes, becomes ␀ (U+2400).

use std::borrow::Cow;
use std::io::Write;

use super::stamp::Stamp;
use super::table::{Batch, Column, LABELS, REASON, Summary, TIMESTAMP};
use super::{Encoder, ExportError, Out};

/// Bytes that are gathered before they are handed on.
const GATHERED: usize = 64 << 10;

pub(super) struct Csv {
    out: Out,
    columns: Vec<Column>,
    /// By column: the names of its states as cells.
    states: Vec<Vec<Vec<u8>>>,
    buffer: Vec<u8>,
    labels: Vec<u8>,
    stamp: Stamp,
}

/// Text as no spreadsheet runs it.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let runs = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    match (runs, text.contains('\0')) {
        (false, false) => Cow::Borrowed(text),
        (runs, _) => Cow::Owned(format!("{}{}", if runs { "'" } else { "" }, text.replace('\0', "\u{2400}"))),
    }
}

/// A record without its line end.
fn record<'a>(fields: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) -> Result<(), ExportError> {
    let mut writer = csv::WriterBuilder::new().buffer_capacity(512).terminator(csv::Terminator::CRLF).from_writer(&mut *out);
    let fields: Vec<Cow<'_, str>> = fields.map(harmless).collect();
    writer.write_record(fields.iter().map(|f| f.as_bytes())).map_err(std::io::Error::from)?;
    writer.flush()?;
    drop(writer);
    out.truncate(out.len() - 2);
    Ok(())
}

impl Csv {
    pub(super) fn new(mut out: Out, columns: &[Column], with_bom: bool) -> Result<Self, ExportError> {
        let mut head = Vec::new();
        let numbers = columns.iter().map(|c| c.name.as_str());
        record([TIMESTAMP].into_iter().chain(LABELS).chain(numbers).chain([REASON]), &mut head)?;
        head.extend_from_slice(b"\r\n");
        if with_bom {
            out.write_all("\u{feff}".as_bytes())?;
        }
        out.write_all(&head)?;
        let cell = |text: &str| {
            let mut cell = Vec::new();
            record([text].into_iter(), &mut cell).map(|()| cell)
        };
        let of = |c: &Column| c.states.iter().flat_map(|s| s.iter()).map(|s| cell(s)).collect::<Result<Vec<_>, _>>();
        let states = columns.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Self {
            out,
            columns: columns.to_vec(),
            states,
            buffer: Vec::with_capacity(2 * GATHERED),
            labels: Vec::new(),
            stamp: Stamp::default(),
        })
    }
}

impl Encoder for Csv {
    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        self.labels.clear();
        record(batch.entry.labels.iter().map(|l| l.as_deref().unwrap_or("")), &mut self.labels)?;
        let mut texts = Vec::with_capacity(batch.texts.len());
        for text in batch.texts {
            let mut cell = Vec::new();
            if !text.is_empty() {
                record([text.as_str()].into_iter(), &mut cell)?;
            }
            texts.push(cell);
        }
        let buffer = &mut self.buffer;
        for (row, at) in batch.times.iter().enumerate() {
            self.stamp.write(*at, buffer);
            buffer.push(b',');
            buffer.extend_from_slice(&self.labels);
            for (i, cells) in batch.cells.iter().enumerate() {
                buffer.push(b',');
                let value = cells[row];
                if value.is_nan() {
                    continue;
                }
                match self.columns[i].states.as_ref().and_then(|_| self.states[i].get(value as usize)) {
                    Some(state) => buffer.extend_from_slice(state),
                    None => serde_json::to_writer(&mut *buffer, &value).map_err(std::io::Error::from)?,
                }
            }
            buffer.push(b',');
            buffer.extend_from_slice(&texts[batch.reasons[row] as usize]);
            buffer.extend_from_slice(b"\r\n");
            if buffer.len() >= GATHERED {
                self.out.write_all(buffer)?;
                buffer.clear();
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Summary) -> Result<(), ExportError> {
        self.out.write_all(&self.buffer)?;
        Ok(self.out.flush()?)
    }
}
