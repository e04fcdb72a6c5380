//! A column of text whose rows come in runs: a resource's labels are the same in all of its rows. The library looks a dictionary's word
//! up for every row, which was half of what an export cost; here a run is looked up once and written as one.
//!
//! What is written is a dictionary page (plain) and one data page (version 1) of run-length encoded levels and keys, as
//! [the format](https://parquet.apache.org/docs/file-format/data-pages/encodings/) has it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// A row without a word.
const NONE: u32 = u32::MAX;

/// The words of one column of a row group.
#[derive(Default)]
pub(super) struct Words {
    known: HashMap<Arc<str>, u32>,
    words: Vec<Arc<str>>,
    word_bytes: usize,
    /// Which word, how many rows.
    runs: Vec<(u32, u32)>,
}

impl Words {
    pub(super) fn add(&mut self, word: Option<&Arc<str>>, rows: usize) {
        let key = match word {
            None => NONE,
            Some(word) => match self.known.get(word) {
                Some(key) => *key,
                None => {
                    let key = self.words.len() as u32;
                    self.known.insert(word.clone(), key);
                    self.words.push(word.clone());
                    self.word_bytes += word.len() + 4;
                    key
                }
            },
        };
        match self.runs.last_mut() {
            Some((last, count)) if *last == key => *count += rows as u32,
            _ => self.runs.push((key, rows as u32)),
        }
    }

    /// What it takes in the file, nearly, before it is compressed.
    pub(super) fn bytes(&self) -> usize {
        self.word_bytes + 4 * self.runs.len()
    }

    /// The column's chunk, as if a file began with it.
    pub(super) fn close(self, column: ColumnDescPtr, zstd: i32) -> Result<(Bytes, ColumnCloseResult), ParquetError> {
        let rows: u32 = self.runs.iter().map(|r| r.1).sum();
        let nulls: u32 = self.runs.iter().filter(|r| r.0 == NONE).map(|r| r.1).sum();
        let mut dictionary = Vec::with_capacity(self.word_bytes);
        for word in &self.words {
            dictionary.extend((word.len() as u32).to_le_bytes());
            dictionary.extend(word.as_bytes());
        }
        let mut page = vec![0; 4];
        for (key, count) in &self.runs {
            run(&mut page, *count, u32::from(*key != NONE), 1);
        }
        let levels = (page.len() - 4) as u32;
        page[..4].copy_from_slice(&levels.to_le_bytes());
        // Bits of the largest key.
        let bits = (self.words.len() as u32).saturating_sub(1).checked_ilog2().map_or(0, |top| top + 1).max(1);
        page.push(bits as u8);
        for (key, count) in self.runs.iter().filter(|r| r.0 != NONE) {
            run(&mut page, *count, *key, bits.div_ceil(8));
        }

        let mut sink = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut sink);
        let mut written = |page: Page, plain: usize| pages.write_page(CompressedPage::new(page, plain));
        let packed = |plain: &[u8]| zstd::bulk::compress(plain, zstd).map(Bytes::from).map_err(|e| ParquetError::External(e.into()));
        let words = Page::DictionaryPage {
            buf: packed(&dictionary)?,
            num_values: self.words.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let keys = Page::DataPage {
            buf: packed(&page)?,
            num_values: rows,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let (words, keys) = (written(words, dictionary.len())?, written(keys, page.len())?);
        let of_page = |page_type, encoding| PageEncodingStats { page_type, encoding, count: 1 };
        let word = |word: Option<&Arc<str>>| word.map(|w| ByteArray::from(&**w));
        let metadata = ColumnChunkMetaData::builder(column)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd)?))
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_page_encoding_stats(vec![
                of_page(PageType::DICTIONARY_PAGE, Encoding::PLAIN),
                of_page(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY),
            ])
            .set_num_values(i64::from(rows))
            .set_total_compressed_size((words.compressed_size + keys.compressed_size) as i64)
            .set_total_uncompressed_size((words.uncompressed_size + keys.uncompressed_size) as i64)
            .set_dictionary_page_offset(Some(words.offset as i64))
            .set_data_page_offset(keys.offset as i64)
            .set_statistics(Statistics::new(
                word(self.words.iter().min()),
                word(self.words.iter().max()),
                None,
                Some(u64::from(nulls)),
                false,
            ))
            .build()?;
        let mut offsets = OffsetIndexBuilder::new();
        offsets.append_row_count(i64::from(rows));
        offsets.append_offset_and_size(keys.offset as i64, keys.compressed_size as i32);
        let close = ColumnCloseResult {
            bytes_written: words.bytes_written + keys.bytes_written,
            rows_written: u64::from(rows),
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        Ok((sink.into_inner()?.into(), close))
    }
}

/// One run of the hybrid encoding: how many, shifted by one, and the value in whole bytes.
fn run(out: &mut Vec<u8>, count: u32, value: u32, bytes: u32) {
    let mut head = u64::from(count) << 1;
    while head >= 0x80 {
        out.push(head as u8 | 0x80);
        head >>= 7;
    }
    out.push(head as u8);
    out.extend(&value.to_le_bytes()[..bytes as usize]);
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use proptest::prelude::*;

    use super::*;

    fn written(runs: &[(Option<u16>, usize)]) -> Bytes {
        let mut words = Words::default();
        for (word, rows) in runs {
            words.add(word.map(|w| Arc::from(format!("word {w}"))).as_ref(), *rows);
        }
        let schema = Arc::new(parse_message_type("message m { optional binary word (UTF8); }").unwrap());
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::default())).unwrap();
        let column = file.schema_descr().column(0);
        let mut group = file.next_row_group().unwrap();
        let (bytes, close) = words.close(column, 1).unwrap();
        group.append_column(&bytes, close).unwrap();
        group.close().unwrap();
        file.into_inner().unwrap().into()
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(runs in prop::collection::vec((prop::option::of(0u16..700), 1usize..400), 1..200)) {
            let file = written(&runs);
            let all = runs.iter().flat_map(|(word, rows)| std::iter::repeat_n(word.map(|w| format!("word {w}")), *rows));
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(997).build().unwrap();
            let read = reader.flat_map(|batch| {
                let batch = batch.unwrap();
                let column = batch.column(0).as_string::<i32>();
                (0..column.len()).map(|i| column.is_valid(i).then(|| column.value(i).to_owned())).collect::<Vec<_>>()
            });
            prop_assert!(all.eq(read));
        }
    }

    #[test]
    fn a_chunk_says_its_least_and_most_word_and_how_many_rows_have_none() {
        let file = ParquetRecordBatchReaderBuilder::try_new(written(&[(Some(7), 3), (None, 4), (Some(3), 2)])).unwrap();
        let chunk = file.metadata().row_group(0).column(0);
        let statistics = chunk.statistics().unwrap();
        assert_eq!((chunk.num_values(), statistics.null_count_opt()), (9, Some(4)));
        assert_eq!((statistics.min_bytes_opt().unwrap(), statistics.max_bytes_opt().unwrap()), (&b"word 3"[..], &b"word 7"[..]));
    }
}
