//! The newest points of each series, compressed in memory until they are sealed.
//!
//! A point is the change of its distance in time and the bytes of its value that changed: 3 to 5 bytes for telemetry.

use super::Observation;
use super::codec::{put_bits, put_varint, take_bits, take_varint, unzigzag, zigzag};

/// One series.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    count: u32,
    last_at: i64,
    last_distance: i64,
    last_bits: u64,
}

impl Head {
    pub(super) fn push(&mut self, at_ms: i64, value: Option<f64>) {
        let distance = at_ms.wrapping_sub(self.last_at);
        put_varint(&mut self.bytes, zigzag(distance.wrapping_sub(self.last_distance)));
        let bits = value.map(f64::to_bits);
        put_bits(&mut self.bytes, self.last_bits, bits);
        (self.last_at, self.last_distance) = (at_ms, distance);
        self.last_bits = bits.unwrap_or(self.last_bits);
        self.count += 1;
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// All points, in the order in which they came.
    pub(super) fn points(&self) -> impl Iterator<Item = Observation> + '_ {
        let (mut rest, mut at, mut distance, mut bits) = (self.bytes.as_slice(), 0i64, 0i64, 0u64);
        std::iter::from_fn(move || {
            // Written by `push` alone, so that it always reads.
            let change = unzigzag(take_varint(&mut rest)?);
            let value = take_bits(&mut rest, bits)?;
            distance = distance.wrapping_add(change);
            at = at.wrapping_add(distance);
            bits = value.unwrap_or(bits);
            Some((at, value.map(f64::from_bits)))
        })
    }

    /// Drops those of the first `sealed` points that lie before `cut`.
    pub(super) fn trim(&mut self, sealed: u32, cut_ms: i64) {
        let mut left = Self::default();
        for (i, (at, value)) in self.points().enumerate() {
            if i >= sealed as usize || at >= cut_ms {
                left.push(at, value);
            }
        }
        left.bytes.shrink_to_fit();
        *self = left;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn points_come_back_bit_for_bit(points in prop::collection::vec((any::<i64>(), prop::option::of(any::<u64>())), 0..60)) {
            let mut head = Head::default();
            points.iter().for_each(|(at, v)| head.push(*at, v.map(f64::from_bits)));
            let back: Vec<_> = head.points().map(|(at, v)| (at, v.map(f64::to_bits))).collect();
            prop_assert_eq!(back, points);
        }
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
}
