//! The newest points of each series, compressed in memory until they are sealed.
//!
//! A point is the change of its distance in time and the bytes of its value that changed: 3 to 5 bytes for telemetry. They lie
//! in chunks: all series grow at the same pace, and one buffer each would double for all of them at the same moment.

use super::Observation;
use super::codec::{put_bits, put_varint, take_bits, take_varint, unzigzag, zigzag};

/// Of one chunk, at most.
const CHUNK: usize = 256;
/// Of one point, at most: ten of a varint, one and eight of a value.
const POINT: usize = 19;

/// One series. Most of what a cluster tells once and then stays as it is: such a one has no memory of its own.
#[derive(Debug, Default)]
pub(super) enum Head {
    #[default]
    Empty,
    /// When, and the value's bits.
    One(i64, Option<u64>),
    Many(Box<Chunks>),
}

/// More than one point.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Full chunks, none larger than what is in it.
    closed: Vec<Box<[u8]>>,
    /// The chunk that grows; a point never crosses into the next.
    bytes: Vec<u8>,
    closed_bytes: u32,
    count: u32,
    last_at: i64,
    last_distance: i64,
    last_bits: u64,
}

impl Head {
    pub(super) fn push(&mut self, at_ms: i64, value: Option<f64>) {
        let bits = value.map(f64::to_bits);
        match self {
            Self::Empty => *self = Self::One(at_ms, bits),
            Self::One(first_ms, first) => {
                let mut chunks = Box::<Chunks>::default();
                chunks.push(*first_ms, *first);
                chunks.push(at_ms, bits);
                *self = Self::Many(chunks);
            }
            Self::Many(chunks) => chunks.push(at_ms, bits),
        }
    }

    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Many(chunks) => chunks.count,
        }
    }

    /// Memory that points take.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => size_of::<Self>(),
            Self::Many(c) => c.bytes.capacity() + c.closed_bytes as usize + c.closed.capacity() * size_of::<Box<[u8]>>(),
        }
    }

    /// All points, in the order in which they came.
    pub(super) fn points(&self) -> impl Iterator<Item = Observation> + '_ {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(at_ms, bits) => (Some((*at_ms, bits.map(f64::from_bits))), None),
            Self::Many(chunks) => (None, Some(chunks.points())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Drops those of the first `sealed` points that lie before `cut`.
    pub(super) fn trim(&mut self, sealed: u32, cut_ms: i64) {
        let mut left = Self::default();
        for (i, (at, value)) in self.points().enumerate() {
            if i >= sealed as usize || at >= cut_ms {
                left.push(at, value);
            }
        }
        if let Self::Many(chunks) = &mut left {
            chunks.bytes.shrink_to_fit();
            chunks.closed.shrink_to_fit();
        }
        *self = left;
    }
}

impl Chunks {
    fn push(&mut self, at_ms: i64, bits: Option<u64>) {
        if self.bytes.len() + POINT > CHUNK {
            let full = std::mem::take(&mut self.bytes).into_boxed_slice();
            self.closed_bytes += full.len() as u32;
            self.closed.push(full);
        }
        let distance = at_ms.wrapping_sub(self.last_at);
        put_varint(&mut self.bytes, zigzag(distance.wrapping_sub(self.last_distance)));
        put_bits(&mut self.bytes, self.last_bits, bits);
        (self.last_at, self.last_distance) = (at_ms, distance);
        self.last_bits = bits.unwrap_or(self.last_bits);
        self.count += 1;
    }

    fn points(&self) -> impl Iterator<Item = Observation> + '_ {
        let mut chunks = self.closed.iter().map(|c| &**c).chain(std::iter::once(self.bytes.as_slice()));
        let (mut rest, mut at, mut distance, mut bits) = (chunks.next().unwrap_or_default(), 0i64, 0i64, 0u64);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                rest = chunks.next()?;
            }
            // Written by `push` alone, so that it always reads.
            let change = unzigzag(take_varint(&mut rest)?);
            let value = take_bits(&mut rest, bits)?;
            distance = distance.wrapping_add(change);
            at = at.wrapping_add(distance);
            bits = value.unwrap_or(bits);
            Some((at, value.map(f64::from_bits)))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn points_come_back_bit_for_bit(points in prop::collection::vec((any::<i64>(), prop::option::of(any::<u64>())), 0..200)) {
            let mut head = Head::default();
            points.iter().for_each(|(at, v)| head.push(*at, v.map(f64::from_bits)));
            let back: Vec<_> = head.points().map(|(at, v)| (at, v.map(f64::to_bits))).collect();
            prop_assert_eq!(back, points);
        }
    }

    #[test]
    fn a_series_of_one_point_is_small() {
        assert_eq!(size_of::<Head>(), 24);
    }

    #[test]
    fn trimming_keeps_what_is_late_and_what_is_new() {
        let mut head = Head::default();
        [10, 20, 30].into_iter().for_each(|at| head.push(at, Some(at as f64)));
        head.push(5, None);
        head.trim(3, 25);
        assert_eq!(head.points().collect::<Vec<_>>(), [(30, Some(30.0)), (5, None)]);
        assert_eq!(head.count(), 2);
    }

    #[test]
    fn memory_grows_by_what_was_put_in_and_never_doubles() {
        let mut head = Head::default();
        let mut before = 0;
        for i in 0..10_000i64 {
            head.push(i * 15_000 + i % 7, Some((i * 7_919 % 1_000) as f64 / 8.0));
            let grown = head.bytes().saturating_sub(before);
            // A chunk's doubling, or that of the list of chunks, whose entry is a sixteenth of a chunk.
            assert!(grown <= CHUNK / 2 || grown <= before / 8, "{grown} at {before}");
            before = head.bytes();
        }
        let Head::Many(chunks) = &head else { panic!("{head:?}") };
        let used: usize = chunks.closed.iter().map(|c| c.len()).sum::<usize>() + chunks.bytes.len();
        assert!(chunks.closed.iter().all(|c| c.len() > CHUNK - POINT && c.len() <= CHUNK));
        assert!(before < used + used / 6 + CHUNK, "{before} for {used}");
        head.trim(10_000, i64::MAX);
        assert_eq!((head.bytes(), head.count()), (0, 0));
    }
}
