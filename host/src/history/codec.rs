//! Bytes of numbers: variable length integers, and doubles without their zero bytes.

/// Appends an unsigned number, seven bits a byte.
pub(super) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes one off the front.
pub(super) fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = from.split_first()?;
        *from = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

/// Small numbers of either sign become small numbers.
pub(super) fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

pub(super) fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Stands for "the series ends here".
const END: u8 = 0xff;

/// Appends the bits of a double as what differs from `before`: nothing when it is the same, else its bytes without the
/// zero bytes before and after. `None` is an end.
pub(super) fn put_bits(out: &mut Vec<u8>, before: u64, bits: Option<u64>) {
    let Some(bits) = bits else { return out.push(END) };
    let differs = bits ^ before;
    if differs == 0 {
        return out.push(0);
    }
    let (lead, trail) = (differs.leading_zeros() / 8, differs.trailing_zeros() / 8);
    out.push(1 + (lead * 8 + trail) as u8);
    out.extend_from_slice(&differs.to_be_bytes()[lead as usize..8 - trail as usize]);
}

/// Takes one off the front: outer `None` for damage, inner for an end.
pub(super) fn take_bits(from: &mut &[u8], before: u64) -> Option<Option<u64>> {
    let (first, rest) = from.split_first()?;
    *from = rest;
    let code = match *first {
        END => return Some(None),
        0 => return Some(Some(before)),
        code @ 1..=64 => usize::from(code - 1),
        _ => return None,
    };
    let (lead, trail) = (code / 8, code % 8);
    let length = 8usize.checked_sub(lead + trail).filter(|n| *n > 0)?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    let mut all = [0; 8];
    all[lead..lead + length].copy_from_slice(bytes);
    Some(Some(before ^ u64::from_be_bytes(all)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_taken(numbers in prop::collection::vec(any::<i64>(), 0..50)) {
            let mut out = Vec::new();
            numbers.iter().for_each(|n| put_varint(&mut out, zigzag(*n)));
            let mut rest = out.as_slice();
            let back: Vec<i64> = numbers.iter().map(|_| unzigzag(take_varint(&mut rest).unwrap())).collect();
            prop_assert_eq!(back, numbers);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn every_bit_of_a_double_comes_back(values in prop::collection::vec(prop::option::of(any::<u64>()), 0..50)) {
            let mut out = Vec::new();
            let mut before = 0;
            for v in &values {
                put_bits(&mut out, before, *v);
                before = v.unwrap_or(before);
            }
            let (mut rest, mut before) = (out.as_slice(), 0);
            for v in &values {
                let back = take_bits(&mut rest, before).unwrap();
                prop_assert_eq!(back, *v);
                before = back.unwrap_or(before);
            }
        }

        #[test]
        fn damage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() && take_bits(&mut rest, 7).is_some() {}
            let mut rest = bytes.as_slice();
            while take_varint(&mut rest).is_some() {}
        }
    }
}
