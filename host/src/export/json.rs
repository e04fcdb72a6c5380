//! JSON: the documented envelope around an array that is written as it comes; or one object a line, without an envelope.
//!
//! Text stands as it is, NUL too (`\u0000`). What the whole comes to is known at its end: `metadata` is the last key.

use std::io::Write;

use serde_json::{Value, json};

use super::plan::Plan;
use super::stamp::Stamp;
use super::table::{Batch, Column, LABELS, REASON, Summary, TIMESTAMP};
use super::{Encoder, ExportError, Out};
use crate::api::rfc3339;

const GATHERED: usize = 64 << 10;

pub(super) struct Json {
    out: Out,
    columns: Vec<Column>,
    /// `,"power_watts":`
    keys: Vec<Vec<u8>>,
    states: Vec<Vec<Vec<u8>>>,
    buffer: Vec<u8>,
    labels: Vec<u8>,
    stamp: Stamp,
    /// What the envelope says at its end; `None` without an envelope.
    metadata: Option<Value>,
    is_first: bool,
}

fn text(value: &str) -> Result<Vec<u8>, ExportError> {
    Ok(serde_json::to_vec(value).map_err(std::io::Error::from)?)
}

/// What a file says of itself: window, step, columns and their units.
pub(super) fn describe(plan: &Plan) -> Value {
    let columns: serde_json::Map<String, Value> = plan
        .columns
        .iter()
        .map(|c| (c.name.clone(), json!({ "unit": &*c.unit, "aggregate": plan.step_ms.map(|_| super::plan::name_of(c.how)) })))
        .collect();
    json!({
        "window": {
            "start_time": rfc3339(plan.window.0), "end_time": rfc3339(plan.window.1),
            "step_seconds": plan.step_ms.map(|s| s as f64 / 1e3), "period": plan.period,
        },
        "columns": columns, "sequence": plan.sequence, "as_of": rfc3339(plan.as_of_ms), "warnings": plan.warnings,
    })
}

impl Json {
    pub(super) fn new(out: Out, plan: &Plan, is_lines: bool) -> Result<Self, ExportError> {
        let mut buffer = Vec::with_capacity(2 * GATHERED);
        let metadata = (!is_lines).then(|| describe(plan));
        if !is_lines {
            let head = json!({
                "timestamp": rfc3339(crate::now_ms()), "cluster": plan.cluster.as_deref().unwrap_or("default"), "resource_type": plan.resource,
            })
            .to_string();
            buffer.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
            buffer.extend_from_slice(b",\"data\":[");
        }
        let columns = plan.columns.clone();
        let key = |c: &Column| text(&c.name).map(|name| [b",", name.as_slice(), b":"].concat());
        let keys = columns.iter().map(key).collect::<Result<_, _>>()?;
        let of = |c: &Column| c.states.iter().flat_map(|s| s.iter()).map(|s| text(s)).collect::<Result<Vec<_>, _>>();
        let states = columns.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Self { out, columns, keys, states, buffer, labels: Vec::new(), stamp: Stamp::default(), metadata, is_first: true })
    }
}

impl Encoder for Json {
    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        self.labels.clear();
        self.labels.push(b'"');
        for (name, value) in LABELS.iter().zip(&batch.entry.labels) {
            self.labels.extend_from_slice(format!(",\"{name}\":").as_bytes());
            self.labels.extend_from_slice(&value.as_deref().map_or_else(|| Ok(b"null".to_vec()), text)?);
        }
        let mut reasons = Vec::with_capacity(batch.texts.len());
        for t in batch.texts {
            let reason = if t.is_empty() { b"null".to_vec() } else { text(t)? };
            reasons.push([format!(",\"{REASON}\":").as_bytes(), reason.as_slice(), b"}"].concat());
        }
        let (start, separator) = (format!("{{\"{TIMESTAMP}\":\""), if self.metadata.is_some() { b',' } else { b'\n' });
        let buffer = &mut self.buffer;
        for (row, at) in batch.times.iter().enumerate() {
            if !std::mem::take(&mut self.is_first) {
                buffer.push(separator);
            }
            buffer.extend_from_slice(start.as_bytes());
            self.stamp.write(*at, buffer);
            buffer.extend_from_slice(&self.labels);
            for (i, cells) in batch.cells.iter().enumerate() {
                buffer.extend_from_slice(&self.keys[i]);
                let value = cells[row];
                match self.columns[i].states.as_ref().and_then(|_| self.states[i].get(value as usize)) {
                    _ if value.is_nan() => buffer.extend_from_slice(b"null"),
                    Some(state) => buffer.extend_from_slice(state),
                    None => serde_json::to_writer(&mut *buffer, &value).map_err(std::io::Error::from)?,
                }
            }
            buffer.extend_from_slice(&reasons[batch.reasons[row] as usize]);
            if buffer.len() >= GATHERED {
                self.out.write_all(buffer)?;
                buffer.clear();
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, summary: &Summary) -> Result<(), ExportError> {
        match self.metadata.take() {
            Some(mut metadata) => {
                metadata["total_count"] = json!(summary.rows);
                metadata["rows_with_gaps"] = json!(summary.rows_with_gaps);
                self.buffer.extend_from_slice(format!("],\"metadata\":{metadata}}}").as_bytes());
            }
            None if !self.is_first => self.buffer.push(b'\n'),
            None => {}
        }
        self.out.write_all(&self.buffer)?;
        Ok(self.out.flush()?)
    }
}
