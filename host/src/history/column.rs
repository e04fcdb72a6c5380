//! Columns of a sealed file: times and values of one series, each in the shortest of three forms.

use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress};

use super::HistoryError;
use super::codec::{put_bits, put_varint, take_bits, take_varint, unzigzag, zigzag};

/// One value, or equal distances, over and over.
const CONSTANT: u8 = 0;
/// What changed, byte by byte.
const CHANGES: u8 = 1;
const PCO: u8 = 2;
/// Below this many numbers the head of a pco page costs more than it saves.
const WORTH_PCO: usize = 24;
/// Level 6 of 12: half the time of the default and a hundredth larger on the simulated fleet.
const LEVEL: usize = 6;

/// Points of one series in one file, at most: two hours of four a second are a fortieth. A few damaged bytes say any number.
pub(super) const MOST: usize = 1 << 20;

const DAMAGED: HistoryError = HistoryError::Damaged("a column does not read");

fn shortest(changes: Vec<u8>, pco: Option<Vec<u8>>, out: &mut Vec<u8>) {
    let (form, bytes) = match pco.filter(|p| p.len() < changes.len()) {
        Some(pco) => (PCO, pco),
        None => (CHANGES, changes),
    };
    out.push(form);
    out.extend_from_slice(&bytes);
}

fn with_pco<T: pco::data_types::Number>(numbers: &[T]) -> Option<Vec<u8>> {
    (numbers.len() >= WORTH_PCO).then(|| simple_compress(numbers, &ChunkConfig::default().with_compression_level(LEVEL)).ok())?
}

/// Appends times in ms.
pub(super) fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    put_varint(out, times.len() as u64);
    let Some(first) = times.first() else { return };
    let distance = times.get(1).map_or(0, |t| t - first);
    if times.windows(2).all(|w| w[1] - w[0] == distance) {
        out.push(CONSTANT);
        put_varint(out, zigzag(*first));
        return put_varint(out, zigzag(distance));
    }
    let mut changes = Vec::with_capacity(times.len() * 2);
    let (mut at, mut distance) = (0, 0);
    for t in times {
        put_varint(&mut changes, zigzag(t - at - distance));
        (distance, at) = (t - at, *t);
    }
    shortest(changes, with_pco(times), out);
}

/// Reads what [`put_times`] wrote.
pub(super) fn times(mut from: &[u8]) -> Result<Vec<i64>, HistoryError> {
    let count = take_varint(&mut from).filter(|n| *n <= MOST as u64).ok_or(DAMAGED)? as usize;
    if count == 0 {
        return Ok(Vec::new());
    }
    let (form, mut rest) = from.split_first().ok_or(DAMAGED)?;
    match *form {
        CONSTANT => {
            let mut number = || take_varint(&mut rest).map(unzigzag).ok_or(DAMAGED);
            let (first, distance) = (number()?, number()?);
            Ok((0..count as i64).map(|i| first.wrapping_add(i.wrapping_mul(distance))).collect())
        }
        CHANGES => {
            let (mut at, mut distance) = (0i64, 0i64);
            let next = |_| {
                distance = distance.wrapping_add(unzigzag(take_varint(&mut rest).ok_or(DAMAGED)?));
                at = at.wrapping_add(distance);
                Ok(at)
            };
            (0..count).map(next).collect()
        }
        PCO => simple_decompress(rest).ok().filter(|t| t.len() == count).ok_or(DAMAGED),
        _ => Err(DAMAGED),
    }
}

/// Appends values; as many as there are times.
pub(super) fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        out.push(CONSTANT);
        return put_bits(out, 0, Some(first.to_bits()));
    }
    let mut changes = Vec::with_capacity(values.len() * 5);
    let mut before = 0;
    for v in values {
        put_bits(&mut changes, before, Some(v.to_bits()));
        before = v.to_bits();
    }
    shortest(changes, with_pco(values), out);
}

/// Reads what [`put_values`] wrote.
pub(super) fn values(from: &[u8], count: usize) -> Result<Vec<f64>, HistoryError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let (form, mut rest) = from.split_first().ok_or(DAMAGED)?;
    let mut next = |before| take_bits(&mut rest, before).flatten().ok_or(DAMAGED);
    match *form {
        CONSTANT => Ok(vec![f64::from_bits(next(0)?); count]),
        CHANGES => {
            let mut before = 0;
            let one = |_| {
                before = next(before)?;
                Ok(f64::from_bits(before))
            };
            (0..count).map(one).collect()
        }
        PCO => simple_decompress(rest).ok().filter(|v| v.len() == count).ok_or(DAMAGED),
        _ => Err(DAMAGED),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(given: &[f64]) {
        let mut out = Vec::new();
        put_values(&mut out, given);
        let back = values(&out, given.len()).unwrap();
        assert!(back.iter().map(|v| v.to_bits()).eq(given.iter().map(|v| v.to_bits())));
    }

    proptest! {
        #[test]
        fn any_double_comes_back_bit_for_bit(bits in prop::collection::vec(any::<u64>(), 0..80)) {
            same(&bits.into_iter().map(f64::from_bits).collect::<Vec<_>>());
        }

        #[test]
        fn telemetry_comes_back_bit_for_bit(thousandths in prop::collection::vec(0u32..700_000, 0..300)) {
            same(&thousandths.into_iter().map(|v| f64::from(v) / 1e3).collect::<Vec<_>>());
        }

        #[test]
        fn times_come_back(given in prop::collection::vec(-4_000_000_000_000i64..4_000_000_000_000, 0..80)) {
            let mut out = Vec::new();
            put_times(&mut out, &given);
            prop_assert_eq!(times(&out).unwrap(), given);
        }

        #[test]
        fn damage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 1..60)) {
            // Either is right; a panic is not.
            drop(values(&bytes, 9));
            drop(times(&bytes));
        }
    }

    #[test]
    fn steady_times_and_values_cost_next_to_nothing() {
        let mut out = Vec::new();
        put_times(&mut out, &(0..480).map(|i| 1_700_000_000_000 + i * 15_000).collect::<Vec<_>>());
        put_values(&mut out, &[81_559.0 * 1_048_576.0; 480]);
        assert!(out.len() < 30, "{}", out.len());
    }
}
