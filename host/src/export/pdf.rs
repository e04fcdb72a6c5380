//! A table to be read by eye: the first pages of the rows. Who wants all of them takes another format, as the first page says.

use super::plan::Plan;
use super::stamp::Stamp;
use super::table::{Batch, Column, LABELS, REASON, Summary, TIMESTAMP};
use super::{Encoder, ExportError, Out, Style};
use crate::api::rfc3339;
use crate::report::pdf::Table;

pub(super) struct Pdf {
    out: Out,
    table: Table,
    columns: Vec<Column>,
    stamp: Stamp,
}

/// A text cell; a NUL cannot be drawn.
fn cell(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

impl Pdf {
    pub(super) fn new(out: Out, plan: &Plan, style: &Style) -> Self {
        let title = format!("{} of {}", plan.what, plan.resource);
        let step = plan.step_ms.map_or_else(|| "raw".to_owned(), |s| format!("{} s", s as f64 / 1e3));
        let window =
            format!("{} · {} – {} · {step}", plan.cluster.as_deref().unwrap_or("*"), rfc3339(plan.window.0), rfc3339(plan.window.1));
        let text = [TIMESTAMP].into_iter().chain(LABELS).map(|name| (name, false));
        let numbers = plan.columns.iter().map(|c| (c.name.as_str(), c.states.is_none()));
        let all: Vec<(&str, bool)> = text.chain(numbers).chain([(REASON, false)]).collect();
        let table = Table::new(&title, &window, &all);
        let table = if style.is_korean { table.in_korean() } else { table };
        Self { out, table, columns: plan.columns.clone(), stamp: Stamp::default() }
    }
}

impl Encoder for Pdf {
    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        let labels: Vec<String> = batch.entry.labels.iter().map(|l| cell(l.as_deref().unwrap_or(""))).collect();
        for (row, at) in batch.times.iter().enumerate() {
            let mut moment = Vec::with_capacity(24);
            self.stamp.write(*at, &mut moment);
            let number = |(c, cells): (&Column, &Vec<f64>)| match (cells[row], c.state(cells[row])) {
                (v, _) if v.is_nan() => String::new(),
                (_, Some(state)) => cell(state),
                (v, None) => v.to_string(),
            };
            let mut cells = vec![String::from_utf8(moment).unwrap_or_default()];
            cells.extend(labels.iter().cloned());
            cells.extend(self.columns.iter().zip(batch.cells).map(number));
            cells.push(batch.reason(row).unwrap_or("").to_owned());
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            if !self.table.row(&cells) {
                return Err(ExportError::Full);
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Summary) -> Result<(), ExportError> {
        let bytes = self.table.finish().map_err(std::io::Error::other)?;
        self.out.write_all(&bytes)?;
        Ok(self.out.flush()?)
    }
}
