//! What many observations come to: least, most, sum, count and last of a span of time.

use super::Observation;

/// How the observations of a step become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Average,
    Minimum,
    Maximum,
    Sum,
    Count,
    Last,
    /// From raw observations only.
    P95,
}

impl Aggregate {
    /// Which of min, max, sum, count and last it is made of; the count tells observations from rollups.
    pub(super) fn columns(self) -> [bool; 5] {
        let of = |all: &[Self]| all.contains(&self);
        [of(&[Self::Minimum]), of(&[Self::Maximum]), of(&[Self::Average, Self::Sum]), true, of(&[Self::Last, Self::P95])]
    }
}

/// The observations of one span, which begins at `at`. Two of one span add up to one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub at: i64,
    pub min: f64,
    pub max: f64,
    pub sum: f64,
    pub count: f64,
    pub last: f64,
}

impl Bucket {
    pub(super) fn one(at: i64, value: f64) -> Self {
        Self { at, min: value, max: value, sum: value, count: 1.0, last: value }
    }

    /// Adds what came later.
    fn add(&mut self, later: &Self) {
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.sum += later.sum;
        self.count += later.count;
        self.last = later.last;
    }

    fn value(&self, how: Aggregate) -> f64 {
        match how {
            Aggregate::Average => self.sum / self.count,
            Aggregate::Minimum => self.min,
            Aggregate::Maximum => self.max,
            Aggregate::Sum => self.sum,
            Aggregate::Count => self.count,
            Aggregate::Last | Aggregate::P95 => self.last,
        }
    }
}

/// Numbers as buckets of one.
pub(super) fn ones(points: &[Observation]) -> impl Iterator<Item = Bucket> + '_ {
    points.iter().filter_map(|(at, v)| v.map(|v| Bucket::one(*at, v)))
}

/// Adds up buckets, in order of time, into spans of `width` ms.
pub(super) fn fold(buckets: impl Iterator<Item = Bucket>, width: i64) -> Vec<Bucket> {
    let mut out: Vec<Bucket> = Vec::new();
    for b in buckets {
        let at = b.at.div_euclid(width) * width;
        match out.last_mut().filter(|last| last.at == at) {
            Some(last) => last.add(&b),
            None => out.push(Bucket { at, ..b }),
        }
    }
    out
}

/// Buckets, in order of time, as steps over `[start, end)`.
pub(super) fn steps(buckets: &[Bucket], (start, end): (i64, i64), step: i64, how: Aggregate) -> Vec<Observation> {
    let mut rest = buckets.iter().skip_while(|b| b.at < start).peekable();
    let mut out = Vec::with_capacity(((end - start) / step + 1).max(0) as usize);
    let mut at = start;
    while at < end {
        let mut whole: Option<Bucket> = None;
        let mut values = Vec::new();
        while let Some(b) = rest.next_if(|b| b.at < at + step) {
            match &mut whole {
                Some(whole) => whole.add(b),
                None => whole = Some(*b),
            }
            if how == Aggregate::P95 {
                values.push(b.last);
            }
        }
        let value = match how {
            Aggregate::P95 => p95(values),
            _ => whole.map(|w| w.value(how)),
        };
        out.push((at, value));
        at += step;
    }
    out
}

/// Nearest rank.
fn p95(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * 95).div_ceil(100).saturating_sub(1)).copied()
}
