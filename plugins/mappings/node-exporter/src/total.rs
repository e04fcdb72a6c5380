//! A counter over many counters.

use std::collections::HashMap;

/// Grows by what each part grew by. A part that comes later begins at nothing and one that goes takes nothing away, so that neither
/// looks like a burst. Where a part falls (a wrap, a restart) it begins anew with the sum, which is an ordinary reset.
#[derive(Default)]
pub(crate) struct Total {
    parts: HashMap<String, f64>,
    sum: Option<f64>,
}

impl Total {
    pub(crate) fn read(&mut self, parts: &[(String, f64)]) -> f64 {
        let fell = parts.iter().any(|(key, value)| self.parts.get(key).is_some_and(|before| value < before));
        let sum = match self.sum.filter(|_| !fell) {
            Some(sum) => sum + parts.iter().filter_map(|(key, value)| self.parts.get(key).map(|before| value - before)).sum::<f64>(),
            None => {
                self.parts.clear();
                parts.iter().map(|(_, value)| value).sum()
            }
        };
        self.parts.extend(parts.iter().cloned());
        self.sum = Some(sum);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_comes_goes_or_wraps_makes_no_burst() {
        let mut total = Total::default();
        let mut read = |parts: &[(&str, f64)]| total.read(&parts.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect::<Vec<_>>());
        assert_eq!(read(&[("0", 100.0), ("1", 200.0)]), 300.0);
        assert_eq!(read(&[("0", 110.0), ("1", 220.0)]), 330.0);
        assert_eq!(read(&[("0", 120.0)]), 340.0, "one could not be read");
        assert_eq!(read(&[("0", 130.0), ("1", 260.0)]), 390.0, "what it grew by meanwhile comes with it");
        assert_eq!(read(&[("0", 130.0), ("1", 260.0), ("2", 1e6)]), 390.0, "a new one brings no past");
        assert_eq!(read(&[("0", 5.0), ("1", 260.0)]), 265.0, "a wrap is a reset");
    }
}
