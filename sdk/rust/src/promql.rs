//! Asking a Prometheus-compatible server: instant and range queries, names of what it holds.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::{CollectError, Target, http};

/// Names a selector, so that a URL stays well below what servers accept.
pub const NAMES_A_QUERY: usize = 24;

/// What a source asks of a server.
pub enum Ask {
    /// Rows of these names as they are held, with further matchers as PromQL text.
    Rows(&'static [&'static str], &'static str),
    /// What an expression over the rows of one name gives, under a name of its own.
    Value { name: &'static str, of: &'static str, expression: &'static str },
}

impl Ask {
    /// The exporter's own names, and those of the answer.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let (rows, own): (&'static [&'static str], [Option<&'static str>; 2]) = match self {
            Self::Rows(names, _) => (names, [None, None]),
            Self::Value { name, of, .. } => (&[], [Some(*of), Some(*name)]),
        };
        rows.iter().copied().chain(own.into_iter().flatten())
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    status: String,
    #[serde(default)]
    error: Option<String>,
    data: Option<T>,
}

#[derive(Deserialize)]
struct Found {
    result: Vec<Series>,
}

/// One series with its samples: one of an instant query, many of a range query.
#[derive(Debug, Deserialize)]
pub struct Series {
    #[serde(rename = "metric")]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

impl Series {
    pub fn name(&self) -> &str {
        self.labels.get("__name__").map_or("", String::as_str)
    }

    /// Time in ms and value of each sample; `None` where the text is no number.
    pub fn samples(&self) -> impl Iterator<Item = (i64, Option<f64>)> + '_ {
        self.value.iter().chain(&self.values).map(|(at, v)| ((at * 1e3).round() as i64, v.parse().ok()))
    }
}

/// So long before the server's own time its rows are looked at: by then a scrape that had begun is mostly written.
const SETTLED_SECONDS: f64 = 2.0;

/// A server for one call.
pub struct Server<'a> {
    target: &'a Target,
    base: &'a str,
    deadline_ms: u32,
    /// The moment that all its instant queries are of, once it is fixed.
    moment: Cell<Option<f64>>,
}

impl<'a> Server<'a> {
    /// `target.address` is the server's base, with a path prefix where it has one.
    pub fn new(target: &'a Target, deadline_ms: u32) -> Self {
        Self { target, base: target.address.trim_end_matches('/'), deadline_ms, moment: Cell::new(None) }
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, CollectError> {
        let answer = http::get(self.target, &format!("{}{path}", self.base), "application/json", self.deadline_ms)?;
        let answer: Answer<T> = answer.json()?;
        let data = answer.data.filter(|_| answer.status == "success");
        data.ok_or_else(|| CollectError::Protocol(answer.error.unwrap_or_else(|| "no data".to_owned())))
    }

    /// What an expression is now.
    pub fn instant(&self, expression: &str) -> Result<Vec<Series>, CollectError> {
        let time = self.moment.get().map_or_else(String::new, |seconds| format!("&time={seconds:.3}"));
        self.get::<Found>(&format!("/api/v1/query?query={}{time}", encode(expression))).map(|r| r.result)
    }

    /// What a source asks, of the names that are `held`.
    pub fn ask(&self, asks: &[Ask], held: impl Fn(&str) -> bool) -> Result<Vec<Series>, CollectError> {
        let mut found = Vec::new();
        for ask in asks {
            match ask {
                Ask::Rows(names, matchers) => {
                    let names: Vec<&str> = names.iter().copied().filter(|n| held(n)).collect();
                    for names in names.chunks(NAMES_A_QUERY) {
                        found.extend(self.instant(&selector(names, matchers))?);
                    }
                }
                Ask::Value { name, of, expression } if held(of) => {
                    found.extend(self.instant(expression)?.into_iter().map(|mut series| {
                        series.labels.insert("__name__".to_owned(), (*name).to_owned());
                        series
                    }));
                }
                Ask::Value { .. } => {}
            }
        }
        Ok(found)
    }

    /// What it was at `start`, `start + step`, … up to `end`, all in ms.
    pub fn range(&self, expression: &str, start_ms: i64, end_ms: i64, step: Duration) -> Result<Vec<Series>, CollectError> {
        let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000));
        let query = format!(
            "/api/v1/query_range?query={}&start={}&end={}&step={}",
            encode(expression),
            seconds(start_ms),
            seconds(end_ms),
            step.as_secs_f64()
        );
        self.get::<Found>(&query).map(|r| r.result)
    }

    /// Names of all series that have a name like one of these (regular expressions), seen in the last hour by default.
    pub fn names(&self, like: &[&str]) -> Result<Vec<String>, CollectError> {
        self.get(&format!("/api/v1/label/__name__/values?match[]={}", encode(&format!("{{__name__=~\"{}\"}}", like.join("|")))))
    }

    /// When each (job, instance) was last scraped, in ms: the stamp of all that it said then, unless it stamps itself. Ask this first:
    /// what is asked later is of the same moment. A scrape in between would give new values the time of the old ones, and every rate
    /// would be wrong.
    pub fn scraped_at(&self) -> Result<BTreeMap<(String, String), i64>, CollectError> {
        let now = self.instant("vector(time())")?;
        self.moment.set(now.first().and_then(|s| s.value.as_ref()).map(|(seconds, _)| seconds - SETTLED_SECONDS));
        let series = self.instant("timestamp(up)")?;
        let one = |s: &Series| {
            let label = |name: &str| s.labels.get(name).cloned().unwrap_or_default();
            let seconds = s.samples().next()?.1?;
            Some(((label("job"), label("instance")), (seconds * 1e3).round() as i64))
        };
        Ok(series.iter().filter_map(one).collect())
    }
}

/// A selector of these names, with further matchers as PromQL text.
pub fn selector(names: &[&str], matchers: &str) -> String {
    format!("{{__name__=~\"{}\"{}{matchers}}}", names.join("|"), if matchers.is_empty() { "" } else { "," })
}

/// A label's value as PromQL text.
pub fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut out, b| {
        match b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            true => out.push(b as char),
            false => {
                out.push('%');
                out.extend([b >> 4, b & 15].map(|n| char::from_digit(n.into(), 16).unwrap_or('0').to_ascii_uppercase()));
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_cannot_be_broken_out_of() {
        assert_eq!(selector(&["a", "b"], &format!("uuid={}", quoted("x\"} or {a"))), r#"{__name__=~"a|b",uuid="x\"} or {a"}"#);
        assert_eq!(encode("{a=\"b\"}"), "%7Ba%3D%22b%22%7D");
    }

    #[test]
    fn a_sample_that_is_no_number_is_told_apart() {
        let text = r#"{"metric":{"__name__":"a"},"values":[[1.5,"2"],[2,"NaN"],[3,"x"]]}"#;
        let series: Series = serde_json::from_str(text).unwrap();
        let all: Vec<_> = series.samples().collect();
        assert_eq!((all[0], all[2]), ((1_500, Some(2.0)), (3_000, None)));
        assert!(all[1].1.unwrap().is_nan());
    }
}
