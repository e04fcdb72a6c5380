//! The past, by `query_range`: the last sample of each step.
//!
//! `last_over_time(selector[step])` a millisecond before the end of each step is that step's last sample; an instant
//! selector would look back five minutes and show what was long gone.

use std::collections::BTreeMap;
use std::time::Duration;

use kcloud_collector_sdk::promql::{Series, Server, quoted, selector};
use kcloud_collector_sdk::{Batch, CollectError, Label, Observation, Page, Quality, RangeQuery, SubjectRef, Target};

use crate::known::Known;

/// Servers refuse more points a series in one answer.
const MOST_STEPS: u64 = 11_000;
/// Steps of the first page, when nobody knows how many series there are.
const FIRST_STEPS: u64 = 250;
/// Observations of a page: 16 bytes each, well below what a call may give out.
const OBSERVATIONS: u64 = 200_000;
const MS: u64 = 1_000_000;

/// Where a page begins and how many steps it has.
struct From {
    at: u64,
    steps: u64,
}

impl From {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (at, steps) = bytes.split_first_chunk::<8>()?;
        Some(Self { at: u64::from_le_bytes(*at), steps: u64::from_le_bytes(steps.try_into().ok()?) })
    }

    fn write(&self) -> Vec<u8> {
        [self.at.to_le_bytes(), self.steps.to_le_bytes()].concat()
    }
}

pub(crate) fn range(
    known: &[Box<dyn Known>],
    server: &Server<'_>,
    target: &Target,
    query: &RangeQuery,
    page: Option<&[u8]>,
) -> Result<Page, CollectError> {
    let step = (query.step / MS).max(1) * MS;
    let first = query.start.div_ceil(step) * step;
    let from = match page {
        None => From { at: first, steps: FIRST_STEPS },
        Some(bytes) => From::read(bytes).ok_or_else(|| CollectError::Internal("a page that is none of ours".to_owned()))?,
    };
    let mut batch = Batch::new(Vec::new());
    if from.at >= query.end {
        return Ok(Page::over(batch));
    }
    let steps = from.steps.min((query.end - from.at).div_ceil(step)).clamp(1, MOST_STEPS);
    let end = from.at + steps * step;
    let mut found: Vec<(SubjectRef, BTreeMap<u64, f64>)> = Vec::new();
    for source in known {
        let names = source.holding(&query.metric);
        if names.is_empty() {
            continue;
        }
        for series in ask(server, source.as_ref(), &names, query, (from.at, end, step))? {
            let mut one = Batch::new(Vec::new());
            let fits = source.subject(target, &series, &mut one).is_some_and(|s| holds(&one, s, query));
            let Some(subject) = fits.then(|| source.subject(target, &series, &mut batch)).flatten() else { continue };
            let factor = names.iter().find(|(n, _)| *n == series.name()).map_or(1.0, |(_, f)| *f);
            let at = match found.iter().position(|(s, _)| *s == subject) {
                Some(at) => at,
                None => {
                    found.push((subject, BTreeMap::new()));
                    found.len() - 1
                }
            };
            for (evaluated_ms, value) in series.samples() {
                let step_at = (evaluated_ms as u64 * MS) / step * step;
                if let Some(value) = value.filter(|v| !source.is_blank(*v)) {
                    // An old and a new name of one reading: the first counts.
                    found[at].1.entry(step_at).or_insert(value * factor);
                }
            }
        }
    }
    let series = found.len() as u64;
    let mut out = Page::over(batch);
    for (subject, observations) in found {
        let observations = observations.into_iter().map(|(at, value)| Observation { at, value }).collect();
        out.series(subject, Quality::Measured, observations);
    }
    if end < query.end {
        let steps = (OBSERVATIONS / series.max(1)).clamp(1, MOST_STEPS);
        out.next_page(From { at: end, steps }.write());
    }
    Ok(out)
}

fn ask(
    server: &Server<'_>,
    source: &dyn Known,
    names: &[(&str, f64)],
    query: &RangeQuery,
    (start, end, step): (u64, u64, u64),
) -> Result<Vec<Series>, CollectError> {
    let names: Vec<&str> = names.iter().map(|(n, _)| *n).collect();
    // What the server can filter it filters; the rest is looked at when the rows are here.
    let narrow = query.matching.iter().find(|l| l.key == "uuid" && !source.spellings("uuid").is_empty());
    let matchers: Vec<String> = match narrow {
        Some(l) => source.spellings("uuid").iter().map(|name| format!("{name}={}", quoted(&l.value))).collect(),
        None => vec![String::new()],
    };
    let window = step / MS;
    let each = matchers.iter().map(|m| format!("last_over_time({}[{window}ms])", selector(&names, m)));
    let expression = each.collect::<Vec<_>>().join(" or ");
    let last = |at: u64| (at / MS) as i64 - 1;
    server.range(&expression, last(start + step), last(end), Duration::from_nanos(step))
}

/// Whether a subject is of the kind, and its labels hold all that is asked for.
fn holds(batch: &Batch, subject: SubjectRef, query: &RangeQuery) -> bool {
    let s = batch.get(subject);
    let has = |wanted: &Label| s.identity.iter().chain(&s.labels).any(|l| l.key == wanted.key && l.value == wanted.value);
    s.kind == query.kind && query.matching.iter().all(has)
}
