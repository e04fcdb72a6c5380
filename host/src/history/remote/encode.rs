//! Rows of the log as bodies of remote write 1.0: protobuf, then snappy. Nothing is allocated for a sample.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::codec::put_varint;
use super::super::{Observation, names};
use super::labels::{Known, put_label, varint_bytes};
use crate::catalogue::Catalogue;

/// What ends a series: a NaN that only Prometheus' engines tell from others.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;
/// Of one body: some 200 KiB on the wire, far below what any receiver refuses.
pub(super) const MAX_SAMPLES: usize = 10_000;

/// A series of the log.
struct Series {
    subject: Arc<str>,
    /// Its `__name__` as a label; `None` where it does not leave the host.
    name: Option<Arc<[u8]>>,
    last_ms: i64,
    /// Of the labels that it was last sent with.
    version: Option<u64>,
    /// Its last sample is no end.
    is_open: bool,
}

struct Sample {
    series: u32,
    version: u64,
    at_ms: i64,
    bits: u64,
}

/// A request's body.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub bytes: Bytes,
    pub samples: u64,
}

/// What was not taken into a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    pub out_of_order: u64,
    pub unknown: u64,
}

pub(super) struct Encoder {
    series: Vec<Option<Series>>,
    names: HashMap<Arc<str>, Option<Arc<[u8]>>>,
    samples: Vec<Sample>,
    skipped: Skipped,
    raw: Vec<u8>,
    snappy: snap::raw::Encoder,
}

impl Default for Encoder {
    fn default() -> Self {
        let (skipped, snappy) = (Skipped::default(), snap::raw::Encoder::new());
        Self { series: Vec::new(), names: HashMap::new(), samples: Vec::new(), skipped, raw: Vec::new(), snappy }
    }
}

impl Encoder {
    /// How many series it knows by number.
    pub(super) fn series(&self) -> u32 {
        self.series.len() as u32
    }

    pub(super) fn learn(&mut self, all: Vec<(u32, Arc<str>, Arc<str>)>) {
        let most = all.iter().map(|(id, ..)| *id as usize + 1).max().unwrap_or(0);
        self.series.resize_with(self.series.len().max(most), || None);
        for (id, subject, metric) in all {
            let name = self.names.entry(metric).or_insert_with_key(|metric| {
                let mut label = Vec::new();
                put_label(&mut label, "__name__", &names::metric(Catalogue::leaving(metric)?));
                Some(label.into())
            });
            self.series[id as usize] = Some(Series { subject, name: name.clone(), last_ms: i64::MIN, version: None, is_open: false });
        }
    }

    /// How many samples the next bodies have.
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Takes an observation of a row.
    pub(super) fn push(&mut self, known: &Known, sequence: u64, id: u32, (at_ms, value): Observation) {
        let Some(series) = self.series.get_mut(id as usize).and_then(Option::as_mut) else {
            self.skipped.unknown += 1;
            return;
        };
        if series.name.is_none() {
            return;
        }
        let Some((version, _)) = known.at(&series.subject, sequence) else {
            self.skipped.unknown += 1;
            return;
        };
        let mut put = |version, at_ms, bits| self.samples.push(Sample { series: id, version, at_ms, bits });
        // An end is the host's own word: it comes after what it ends, whatever clock stamped that.
        let end_ms = at_ms.max(series.last_ms.saturating_add(1));
        let Some(value) = value else {
            // What ends is what was sent; what ended already does not end again.
            if series.is_open || series.version.is_none() {
                put(series.version.unwrap_or(*version), end_ms, STALE);
                (series.last_ms, series.is_open) = (end_ms, false);
                series.version = series.version.or(Some(*version));
            }
            return;
        };
        if let Some(before) = series.version.filter(|before| before != version) {
            if series.is_open {
                put(before, end_ms, STALE);
            }
            // Other labels are another series.
            series.last_ms = i64::MIN;
        }
        if at_ms <= series.last_ms {
            self.skipped.out_of_order += 1;
            return;
        }
        put(*version, at_ms, value.to_bits());
        (series.last_ms, series.version, series.is_open) = (at_ms, Some(*version), true);
    }

    /// Bodies of all that was taken, in the order in which they are to be sent.
    pub(super) fn bodies(&mut self, known: &Known) -> (Vec<Body>, Skipped) {
        // Stable: within a series the order of time stays.
        self.samples.sort_by_key(|s| (s.series, s.version));
        let mut bodies = Vec::new();
        let mut count = 0;
        self.raw.clear();
        for group in self.samples.chunk_by(|a, b| (a.series, a.version) == (b.series, b.version)) {
            if count > 0 && count + group.len() > MAX_SAMPLES {
                bodies.extend(compress(&mut self.snappy, &self.raw, count));
                self.raw.clear();
                count = 0;
            }
            let series = self.series.get(group[0].series as usize).and_then(Option::as_ref);
            let labels = series.and_then(|s| Some((known.version(&s.subject, group[0].version)?, s.name.as_deref()?)));
            let Some((labels, name)) = labels else {
                self.skipped.unknown += group.len() as u64;
                continue;
            };
            put_series(&mut self.raw, labels.parts(), name, group);
            count += group.len();
        }
        bodies.extend(compress(&mut self.snappy, &self.raw, count));
        self.samples.clear();
        (bodies, std::mem::take(&mut self.skipped))
    }
}

/// Appends one `TimeSeries`.
fn put_series(out: &mut Vec<u8>, (before, after): (&[u8], &[u8]), name: &[u8], samples: &[Sample]) {
    const SERIES: u8 = 1 << 3 | 2;
    const SAMPLE: u8 = 2 << 3 | 2;
    const VALUE: u8 = 1 << 3 | 1;
    const TIMESTAMP: u8 = 2 << 3;
    let length = |s: &Sample| 1 + 8 + 1 + varint_bytes(s.at_ms as u64);
    let all: usize = samples.iter().map(|s| 2 + length(s)).sum();
    out.push(SERIES);
    put_varint(out, (before.len() + name.len() + after.len() + all) as u64);
    for labels in [before, name, after] {
        out.extend_from_slice(labels);
    }
    for s in samples {
        out.extend_from_slice(&[SAMPLE, length(s) as u8, VALUE]);
        out.extend_from_slice(&s.bits.to_le_bytes());
        out.push(TIMESTAMP);
        put_varint(out, s.at_ms as u64);
    }
}

fn compress(snappy: &mut snap::raw::Encoder, raw: &[u8], samples: usize) -> Option<Body> {
    if samples == 0 {
        return None;
    }
    match snappy.compress_vec(raw) {
        Ok(bytes) => Some(Body { bytes: bytes.into(), samples: samples as u64 }),
        Err(error) => {
            // Above 4 GiB only, which ten thousand samples never are.
            tracing::error!(%error, "a body of remote write could not be compressed");
            None
        }
    }
}
