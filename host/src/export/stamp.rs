//! Moments as text, fast: rows of one file mostly lie in one day.

const DAY: i64 = 86_400_000;

/// Writes RFC 3339 in UTC with milliseconds.
pub(super) struct Stamp {
    day: i64,
    /// `2026-01-01T`; empty before the first.
    date: Vec<u8>,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { day: i64::MIN, date: Vec::new() }
    }
}

impl Stamp {
    #[inline]
    pub(super) fn write(&mut self, at_ms: i64, out: &mut Vec<u8>) {
        let (day, in_day) = (at_ms.div_euclid(DAY), at_ms.rem_euclid(DAY));
        if day != self.day {
            let text = crate::api::rfc3339(day * DAY);
            self.date = text.split_inclusive('T').next().unwrap_or("").into();
            self.day = day;
        }
        let (s, ms) = (in_day / 1_000, in_day % 1_000);
        let digit = |n: i64| b'0' + (n % 10) as u8;
        let two = |n: i64| [digit(n / 10), digit(n)];
        let ([a, b], [c, d], [e, f]) = (two(s / 3_600), two(s / 60 % 60), two(s % 60));
        out.extend_from_slice(&self.date);
        out.extend_from_slice(&[a, b, b':', c, d, b':', e, f, b'.', digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_reads_as_the_rest_of_the_interface_writes_it() {
        let mut stamp = Stamp::default();
        for at in [0, -1, 1, 951_827_696_789, 1_764_000_000_000, 1_767_225_599_999, 1_767_225_600_000, 253_402_300_799_999] {
            let mut text = Vec::new();
            stamp.write(at, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), crate::api::rfc3339(at));
        }
    }
}
