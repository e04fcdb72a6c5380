//! Parquet: moments as UTC milliseconds, text by dictionaries, numbers as doubles, zstd. A row group is written when it is full, so
//! that no more than one is held. Text stands as it is, NUL too.

mod words;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, StringArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use self::words::Words;
use super::plan::Plan;
use super::table::{Batch, Column, LABELS, REASON, Summary, TIMESTAMP};
use super::{Encoder, ExportError, Out};

/// Rows that are gathered before they are encoded: enough that what each call costs is little a row.
const GATHERED: usize = 16_384;
/// A row group, at most.
const GROUP_ROWS: usize = 1 << 20;
const GROUP_BYTES: usize = 16 << 20;
const ZSTD_LEVEL: i32 = 1;

fn dictionary(keys: Vec<i32>, words: ArrayRef) -> Result<ArrayRef, ExportError> {
    let keys = keys.into_iter().map(|k| (k >= 0).then_some(k)).collect::<Int32Array>();
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, words).map_err(std::io::Error::other)?))
}

pub(super) struct Parquet {
    writer: SerializedFileWriter<Out>,
    factory: ArrowRowGroupWriterFactory,
    schema: Arc<Schema>,
    columns: Vec<Column>,
    /// What was gathered.
    times: Vec<i64>,
    cells: Vec<Vec<f64>>,
    /// The row group that grows; the writers of text stay empty.
    group: Vec<ArrowColumnWriter>,
    group_rows: usize,
    labels: [Words; LABELS.len()],
    reasons: Words,
}

fn text_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

impl From<parquet::errors::ParquetError> for ExportError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        use parquet::errors::ParquetError;
        match error {
            // What the writer below said, a client that is gone among it.
            ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(io) => Self::Io(*io),
                Err(other) => Self::Io(std::io::Error::other(other)),
            },
            other => Self::Io(std::io::Error::other(other)),
        }
    }
}

impl Parquet {
    pub(super) fn new(out: Out, plan: &Plan) -> Result<Self, ExportError> {
        let moment = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let mut fields = vec![Field::new(TIMESTAMP, moment, false)];
        fields.extend(LABELS.map(|name| Field::new(name, text_type(), true)));
        for c in &plan.columns {
            let kind = if c.states.is_some() { text_type() } else { DataType::Float64 };
            fields.push(Field::new(&c.name, kind, true).with_metadata(HashMap::from([("unit".to_owned(), c.unit.to_string())])));
        }
        fields.push(Field::new(REASON, text_type(), true));
        let schema = Arc::new(Schema::new(fields));
        let level = ZstdLevel::try_new(ZSTD_LEVEL)?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(format!("kcloud-monitor {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(vec![KeyValue::new("kcloud".to_owned(), super::json::describe(plan).to_string())]));
        let numbers = plan.columns.iter().filter(|c| c.states.is_none()).map(|c| (c.name.as_str(), Encoding::BYTE_STREAM_SPLIT));
        for (name, encoding) in numbers.chain([(TIMESTAMP, Encoding::DELTA_BINARY_PACKED)]) {
            // One part: a point in a name is no path.
            let path = ColumnPath::new(vec![name.to_owned()]);
            properties = properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding);
        }
        let (writer, factory) = ArrowWriter::try_new(out, schema.clone(), Some(properties.build()))?.into_serialized_writer()?;
        Ok(Self {
            writer,
            factory,
            schema,
            columns: plan.columns.clone(),
            times: Vec::new(),
            cells: vec![Vec::new(); plan.columns.len()],
            group: Vec::new(),
            group_rows: 0,
            labels: Default::default(),
            reasons: Words::default(),
        })
    }

    /// Encodes what was gathered.
    fn encode(&mut self) -> Result<(), ExportError> {
        if self.times.is_empty() {
            return Ok(());
        }
        if self.group.is_empty() {
            self.group = self.factory.create_column_writers(self.writer.flushed_row_groups().len())?;
        }
        self.group_rows += self.times.len();
        let times = TimestampMillisecondArray::from(std::mem::take(&mut self.times)).with_timezone("UTC");
        let mut arrays: Vec<(usize, ArrayRef)> = vec![(0, Arc::new(times))];
        for (i, (column, cells)) in self.columns.iter().zip(&mut self.cells).enumerate() {
            let cells = std::mem::take(cells);
            let array: ArrayRef = match &column.states {
                Some(states) => {
                    let key = |v: &f64| if *v >= 0.0 && (*v as usize) < states.len() { *v as i32 } else { -1 };
                    dictionary(cells.iter().map(key).collect(), Arc::new(StringArray::from_iter_values(states.iter())))?
                }
                None if cells.iter().any(|v| v.is_nan()) => {
                    Arc::new(cells.iter().map(|v| (!v.is_nan()).then_some(*v)).collect::<Float64Array>())
                }
                None => Arc::new(Float64Array::from(cells)),
            };
            arrays.push((1 + LABELS.len() + i, array));
        }
        for (i, array) in &arrays {
            for leaf in compute_leaves(self.schema.field(*i), array)? {
                self.group[*i].write(&leaf)?;
            }
        }
        let text = self.labels.iter().chain([&self.reasons]).map(Words::bytes).sum::<usize>();
        let bytes = self.group.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum::<usize>() + text;
        if self.group_rows >= GROUP_ROWS || bytes >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the row group that grew.
    fn flush(&mut self) -> Result<(), ExportError> {
        if self.group.is_empty() {
            return Ok(());
        }
        self.group_rows = 0;
        let schema = self.writer.schema_descr().columns().to_vec();
        let (labels, reason) = (1..=LABELS.len(), 1 + LABELS.len() + self.columns.len());
        let mut group = self.writer.next_row_group()?;
        for (i, column) in std::mem::take(&mut self.group).into_iter().enumerate() {
            let words = match i {
                i if labels.contains(&i) => &mut self.labels[i - 1],
                i if i == reason => &mut self.reasons,
                _ => {
                    column.close()?.append_to_row_group(&mut group)?;
                    continue;
                }
            };
            let (bytes, close) = std::mem::take(words).close(schema[i].clone(), ZSTD_LEVEL)?;
            group.append_column(&bytes, close)?;
        }
        group.close()?;
        Ok(())
    }
}

impl Encoder for Parquet {
    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        let rows = batch.times.len();
        self.times.extend_from_slice(batch.times);
        self.labels.iter_mut().zip(&batch.entry.labels).for_each(|(words, label)| words.add(label.as_ref(), rows));
        self.cells.iter_mut().zip(batch.cells).for_each(|(all, cells)| all.extend_from_slice(cells));
        let mut texts = vec![None];
        texts.extend(batch.texts.iter().skip(1).map(|t| Some(Arc::<str>::from(t.as_str()))));
        for alike in batch.reasons.chunk_by(|a, b| a == b) {
            self.reasons.add(texts.get(alike[0] as usize).and_then(Option::as_ref), alike.len());
        }
        if self.times.len() >= GATHERED {
            self.encode()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Summary) -> Result<(), ExportError> {
        self.encode()?;
        self.flush()?;
        let mut out = self.writer.into_inner()?;
        Ok(out.flush()?)
    }
}
