//! What a file of rows is made of: a moment, the labels of a resource, and numbers under names that carry their units.
//!
//! Rows travel in columns: a [`Batch`] is what one resource has over some moments, and a format writes it in one go.

use std::sync::Arc;

use crate::history::Aggregate;
use crate::inventory::Subject;

/// Columns that every row has before its numbers, behind `timestamp`.
pub const LABELS: [&str; 5] = ["cluster", "resource_type", "resource_id", "name", "node"];
/// The first column, and the last: why a cell of the row is empty.
pub const TIMESTAMP: &str = "timestamp";
pub const REASON: &str = "reason";

/// From history's base units to the documented ones. No digit is lost: a file holds what history holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    One,
    /// A ratio.
    Percent,
    /// Bytes to 2^20 bytes.
    Mebi,
    /// Hertz to megahertz.
    Mega,
    /// Bytes a second to megabits a second.
    Megabits,
    /// Cores to thousandths of one.
    Milli,
}

impl Scale {
    #[inline]
    pub fn apply(self, v: f64) -> f64 {
        match self {
            Self::One => v,
            Self::Percent => multiplied(v, 100.0),
            Self::Milli => multiplied(v, 1e3),
            // Exact: a power of two.
            Self::Mebi => v / 1_048_576.0,
            // A quotient is the nearest double to the exact one: nothing to repair.
            Self::Mega => v / 1e6,
            Self::Megabits => v * 8.0 / 1e6,
        }
    }
}

/// 0.57 * 100 is 56.99999999999999. The short number is taken where it is the double beside the product, else the product.
fn multiplied(v: f64, by: f64) -> f64 {
    let product = v * by;
    let short = (product * 1e9).round() / 1e9;
    if (short - product).abs() <= product.abs() * f64::EPSILON { short } else { product }
}

/// One column of numbers, or of states by their names.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub unit: Arc<str>,
    pub scale: Scale,
    /// Of a state: its names.
    pub states: Option<Arc<[Arc<str>]>>,
    /// How the observations of a step become one.
    pub how: Aggregate,
}

/// One resource.
#[derive(Debug, Clone)]
pub struct Entry {
    /// In the order of [`LABELS`]; `None` is an empty cell.
    pub labels: [Option<Arc<str>>; 5],
    /// Its id in history.
    pub series: Arc<str>,
    /// What each column is called there for resources of this kind; `None` where they have no such thing.
    pub metrics: Arc<[Option<Arc<str>>]>,
    /// As the model has it now: it knows why something is not read.
    pub model: Option<Arc<Subject>>,
    /// It is in the model no more: rows are those in which it has a value.
    pub is_gone: bool,
}

/// Rows of one resource. A cell that is NaN is empty: history holds no NaN.
pub struct Batch<'a> {
    pub entry: &'a Entry,
    /// Ms since the Unix epoch.
    pub times: &'a [i64],
    /// By column; each as long as `times`.
    pub cells: &'a [Vec<f64>],
    /// By row: which of `texts` says why something is empty; 0 where nothing is.
    pub reasons: &'a [u32],
    pub texts: &'a [String],
}

impl Batch<'_> {
    /// Why a cell of the row is empty, where one is.
    pub fn reason(&self, row: usize) -> Option<&str> {
        match self.reasons[row] {
            0 => None,
            i => self.texts.get(i as usize).map(String::as_str),
        }
    }
}

impl Column {
    /// The name of the state that a number stands for.
    pub fn state(&self, value: f64) -> Option<&Arc<str>> {
        self.states.as_ref()?.get(value as usize)
    }
}

/// What a column held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    pub count: u64,
    pub minimum: f64,
    pub maximum: f64,
    pub sum: f64,
}

impl Default for Held {
    fn default() -> Self {
        Self { count: 0, minimum: f64::INFINITY, maximum: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl Held {
    /// Adds cells, passing over the empty ones.
    pub fn add(&mut self, cells: &[f64]) {
        for v in cells {
            if !v.is_nan() {
                self.count += 1;
                self.sum += v;
                self.minimum = self.minimum.min(*v);
                self.maximum = self.maximum.max(*v);
            }
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub rows: u64,
    /// Rows in which something is empty.
    pub rows_with_gaps: u64,
    /// By column.
    pub held: Vec<Held>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_and_no_digit_is_lost() {
        assert_eq!(Scale::Percent.apply(0.57), 57.0);
        assert_eq!(Scale::Percent.apply(0.123_456_789_012_345_67), 0.123_456_789_012_345_67 * 100.0);
        assert_eq!(Scale::Mebi.apply(34_359_738_368.0), 32_768.0);
        assert_eq!(Scale::Mebi.apply(1.0) * 1_048_576.0, 1.0);
        assert_eq!(Scale::Mega.apply(1.41e9), 1_410.0);
        assert_eq!(Scale::Megabits.apply(1e6), 8.0);
        for v in (0..10_000).map(|i| f64::from(i) / 1e4) {
            assert_eq!(Scale::Percent.apply(v).to_string(), format!("{}", (v * 1e4).round() / 1e2), "{v}");
        }
    }
}
