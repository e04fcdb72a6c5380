//! Our own series back from a Prometheus-compatible server. PromQL is sent, never evaluated here.
//!
//! Steps agree with the embedded store's: a range of time is asked for so that it holds exactly the observations of `[at,
//! at + step)`. Engines differ in whether a range takes its left edge in; which it is, is asked once in a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::runtime::Handle;

use super::endpoint::{Endpoint, said};
use super::rollup::{Bucket, steps};
use super::{Aggregate, HistoryError, Observation, names};
use crate::catalogue::Catalogue;

/// Of one answer: 11,000 steps of 500 series are 150 MB as text; more is a query gone wrong.
const MAX_ANSWER: usize = 256 << 20;
/// Series in one query.
const SERIES: usize = 500;
/// Points in one answer, so that one query does not fill the memory.
const POINTS: i64 = 1_000_000;
/// How an engine reads ranges is asked again after this: it may have been upgraded.
const CALIBRATED: Duration = Duration::from_secs(600);
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

/// A server that answers PromQL.
pub struct Engine {
    range: Endpoint,
    instant: Endpoint,
    /// Matchers that stand in every query.
    labels: BTreeMap<String, String>,
    runtime: Handle,
    /// Whether a range leaves its left edge out, and when that was asked.
    left_open: Mutex<Option<(Instant, bool)>>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Metric,
    #[serde(default)]
    values: Vec<(f64, String)>,
    value: Option<(f64, String)>,
}

#[derive(Deserialize)]
struct Metric {
    #[serde(default)]
    id: String,
}

/// Time in ms and number of a sample; a NaN is none.
fn sample((at, value): &(f64, String)) -> Option<(i64, f64)> {
    let value = value.parse::<f64>().ok().filter(|v| !v.is_nan())?;
    Some(((at * 1e3).round() as i64, value))
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

/// What stands between the quotes of a regular expression in PromQL and matches a text only.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    names::escaped(&out)
}

impl Engine {
    /// `server` is the base below which `/api/v1/query` lies. To be called from within the runtime.
    pub fn new(server: &Endpoint, labels: BTreeMap<String, String>) -> Self {
        let (range, instant) = (server.below("api/v1/query_range"), server.below("api/v1/query"));
        Self { range, instant, labels, runtime: Handle::current(), left_open: Mutex::default() }
    }

    /// The series of a metric of these subjects; `None` where it never left the host.
    fn selector(&self, subjects: &[&str], metric: &str) -> Option<String> {
        let known = Catalogue::leaving(metric)?;
        let id = match subjects {
            [one] => format!("id=\"{}\"", names::escaped(one)),
            many => format!("id=~\"{}\"", many.iter().map(|s| literal(s)).collect::<Vec<_>>().join("|")),
        };
        let external = self.labels.iter().map(|(k, v)| format!(",{k}=\"{}\"", names::escaped(v)));
        Some(format!("{}{{{id}{}}}", names::metric(known), external.collect::<String>()))
    }

    /// Asks. Blocking.
    fn ask(&self, server: &Endpoint, parameters: &[(&str, String)]) -> Result<Vec<Series>, HistoryError> {
        let fail = |what: String| HistoryError::Engine(what);
        let mut form = reqwest::Url::parse("http://q/").map_err(|e| fail(e.to_string()))?;
        // VictoriaMetrics would move the edges of a range to round times, and hide what is newest.
        form.query_pairs_mut().extend_pairs(parameters).append_pair("nocache", "1").append_pair("latency_offset", "1ms");
        let (server, body) = (server.clone(), form.query().unwrap_or_default().to_owned());
        let asking = self.runtime.spawn(async move { server.post(&FORM, body, MAX_ANSWER).await });
        let answer = self.runtime.block_on(asking).map_err(|e| fail(e.to_string()))?.map_err(|e| fail(e.to_string()))?;
        if answer.is_cut {
            return Err(fail(format!("its answer is larger than {MAX_ANSWER} bytes")));
        }
        let parsed: Answer =
            serde_json::from_slice(&answer.body).map_err(|_| fail(format!("status {}: {}", answer.status, said(&answer.body))))?;
        match parsed {
            Answer { status, data: Some(data), .. } if status == "success" && answer.status == 200 => Ok(data.result),
            Answer { error, .. } => {
                let error = error.unwrap_or_else(|| "no reason given".to_owned());
                Err(fail(format!("status {}: {}", answer.status, said(error.as_bytes()))))
            }
        }
    }

    /// Milliseconds that a range must be long to hold what lies in `length` ms and not what lies at its left edge.
    fn reach(&self, length: i64) -> Result<i64, HistoryError> {
        let known = *self.left_open.lock().unwrap_or_else(|e| e.into_inner());
        let left_open = match known.filter(|(at, _)| at.elapsed() < CALIBRATED) {
            Some((_, left_open)) => left_open,
            None => {
                // Ones at 998, 999 and 1000 s: three of them, or two where the left edge does not count.
                let query = [("query", "count_over_time(vector(1)[2s:1s])".to_owned()), ("time", "1000".to_owned())];
                let answer = self.ask(&self.instant, &query)?;
                let count = answer.first().and_then(|s| s.value.as_ref()).and_then(sample).map(|(_, n)| n);
                let left_open = match count {
                    Some(2.0) => true,
                    Some(3.0) => false,
                    other => return Err(HistoryError::Engine(format!("it counts {other:?} where two or three are right"))),
                };
                *self.left_open.lock().unwrap_or_else(|e| e.into_inner()) = Some((Instant::now(), left_open));
                left_open
            }
        };
        Ok(if left_open { length } else { (length - 1).max(1) })
    }

    /// Steps of one metric of several subjects, as [`super::History::range`] has them; in the order of the subjects.
    pub(super) fn ranges(
        &self,
        subjects: &[&str],
        metric: &str,
        (start, end): (i64, i64),
        step: i64,
        how: Aggregate,
    ) -> Result<Vec<Vec<Observation>>, HistoryError> {
        let step = step.max(1);
        let start = start.div_euclid(step) * step;
        let count = ((end - start + step - 1) / step).max(0);
        let mut all: Vec<Vec<Observation>> = subjects.iter().map(|_| (0..count).map(|i| (start + i * step, None)).collect()).collect();
        if count == 0 || Catalogue::leaving(metric).is_none() {
            return Ok(all);
        }
        // A rank needs all observations, and engines interpolate between them.
        if how == Aggregate::P95 {
            for (out, subject) in all.iter_mut().zip(subjects) {
                let raw = self.raw(subject, metric, start, end)?;
                let buckets: Vec<Bucket> = super::rollup::ones(&raw).collect();
                *out = steps(&buckets, (start, end), step, how);
            }
            return Ok(all);
        }
        let function = match how {
            Aggregate::Average => "avg_over_time",
            Aggregate::Minimum => "min_over_time",
            Aggregate::Maximum => "max_over_time",
            Aggregate::Sum => "sum_over_time",
            Aggregate::Count => "count_over_time",
            Aggregate::Last | Aggregate::P95 => "last_over_time",
        };
        let whole = (end - start) / step;
        let together = (POINTS / count).clamp(1, SERIES as i64) as usize;
        for (part, out) in subjects.chunks(together).zip(all.chunks_mut(together)) {
            let Some(selector) = self.selector(part, metric) else { continue };
            let mut answers = Vec::new();
            // A step is asked for at its last moment.
            if whole > 0 {
                let query = format!("{function}({selector}[{}ms])", self.reach(step)?);
                let (first, last) = (seconds(start + step - 1), seconds(start + whole * step - 1));
                answers = self.ask(&self.range, &[("query", query), ("start", first), ("end", last), ("step", seconds(step))])?;
            }
            // The last one may end with the window, in its middle.
            if whole < count {
                let query = format!("{function}({selector}[{}ms])", self.reach(end - start - whole * step)?);
                answers.extend(self.ask(&self.instant, &[("query", query), ("time", seconds(end - 1))])?);
            }
            let place: HashMap<&str, usize> = part.iter().enumerate().map(|(i, s)| (*s, i)).collect();
            for series in answers {
                let Some(i) = place.get(series.metric.id.as_str()) else { continue };
                for (at, value) in series.values.iter().chain(&series.value).filter_map(sample) {
                    let Some((_, there)) = out[*i].get_mut(((at - start) / step).max(0) as usize) else { continue };
                    *there = Some(joined(*there, value, how));
                }
            }
        }
        Ok(all)
    }

    /// Observations of one series in `[start, end)`. Engines keep ends to themselves.
    pub(super) fn raw(&self, subject: &str, metric: &str, start: i64, end: i64) -> Result<Vec<Observation>, HistoryError> {
        let Some(selector) = self.selector(&[subject], metric).filter(|_| end > start) else { return Ok(Vec::new()) };
        let reach = self.reach(end - start)?;
        let answer = self.ask(&self.instant, &[("query", format!("{selector}[{reach}ms]")), ("time", seconds(end - 1))])?;
        let mut all: Vec<Observation> =
            answer.iter().flat_map(|s| s.values.iter().filter_map(sample)).map(|(at, v)| (at, Some(v))).collect();
        all.retain(|(at, _)| (start..end).contains(at));
        all.sort_by_key(|(at, _)| *at);
        all.dedup_by_key(|(at, _)| *at);
        Ok(all)
    }
}

/// One subject may have two series where a label of it changed; a step in which both have observations is rare.
fn joined(there: Option<f64>, value: f64, how: Aggregate) -> f64 {
    let Some(there) = there else { return value };
    match how {
        Aggregate::Minimum => there.min(value),
        Aggregate::Maximum => there.max(value),
        Aggregate::Sum | Aggregate::Count => there + value,
        Aggregate::Average => (there + value) / 2.0,
        Aggregate::Last | Aggregate::P95 => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_id_breaks_out_of_its_matcher() {
        let server = Endpoint::new("http://127.0.0.1:1/prefix/", None, None, Duration::from_secs(1)).unwrap();
        let engine = Engine::new(&server, BTreeMap::from([("site".to_owned(), "a\"b".to_owned())]));
        let evil = "x\"} or up{a=\"\\\n";
        assert_eq!(engine.selector(&[evil], "power_watts").unwrap(), r#"kcloud_power_watts{id="x\"} or up{a=\"\\\n",site="a\"b"}"#);
        assert_eq!(
            engine.selector(&["a.b|c", "d"], "energy_joules").unwrap(),
            r#"kcloud_energy_joules_total{id=~"a\\.b\\|c|d",site="a\"b"}"#
        );
        assert_eq!(engine.selector(&["a"], "x_acme_frames_count"), None);
        assert_eq!((seconds(1_500), seconds(-1)), ("1.500".to_owned(), "-1.999".to_owned()));
    }
}
