//! Query parameters: a route's row in the table says which it takes, everything else is refused by name.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, MatchedPath, Path};
use axum::http::request::Parts;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{App, Problem, routes};
use crate::history::MAX_POINTS;

/// Parameters of one request, checked against what its route takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    given: BTreeMap<String, String>,
    pub cluster: Option<String>,
}

/// What a time series is asked for, in milliseconds.
pub(crate) struct Window {
    pub start: i64,
    pub end: i64,
    pub step: i64,
    pub warning: Option<String>,
}

impl Window {
    /// The end is shown, too.
    pub(crate) fn span(&self) -> (i64, i64) {
        (self.start, self.end + 1)
    }
}

/// The name or id in a path.
pub(crate) struct Id(pub String);

impl FromRequestParts<App> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &App) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        Ok(Self(id))
    }
}

impl FromRequestParts<App> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let route = routes::find(parts.method.as_str(), path).ok_or_else(Problem::internal)?;
        Self::parse(parts.uri.query(), route.query)
    }
}

impl Params {
    /// Takes a query string; `allowed` are the route's parameters.
    pub(crate) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<Self, Problem> {
        let mut given = BTreeMap::new();
        for (name, value) in reqwest::Url::parse(&format!("http://q/?{}", query.unwrap_or(""))).iter().flat_map(|u| u.query_pairs()) {
            // Belongs to the guard.
            if name == "ticket" {
                continue;
            }
            if !allowed.contains(&name.as_ref()) {
                let list = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
                return Err(Problem::parameter(&name, &value, format!("this route takes {list}")));
            }
            if given.insert(name.to_string(), value.to_string()).is_some() {
                return Err(Problem::parameter(&name, &value, "each parameter once"));
            }
        }
        Ok(Self::of(given))
    }

    fn of(given: BTreeMap<String, String>) -> Self {
        let cluster = given.get("cluster").cloned();
        Self { given, cluster }
    }

    /// The same parameters as members of a JSON object; a list is one that is separated by commas.
    pub(crate) fn from_json(body: &serde_json::Map<String, serde_json::Value>, allowed: &[&str]) -> Result<Self, Problem> {
        use serde_json::Value;
        let mut given = BTreeMap::new();
        for (name, value) in body {
            if !allowed.contains(&name.as_str()) {
                return Err(Problem::parameter(name, &value.to_string(), allowed.join(", ")));
            }
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Array(all) if all.iter().all(Value::is_string) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                _ => return Err(Problem::parameter(name, &value.to_string(), "a text, a number, true or false, or a list of texts")),
            };
            given.insert(name.clone(), text);
        }
        Ok(Self::of(given))
    }

    /// All but one.
    pub(crate) fn without(&self, name: &str) -> Self {
        let mut given = self.given.clone();
        given.remove(name);
        Self::of(given)
    }

    /// As they were given.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// Whether a window of time is asked for.
    pub(crate) fn has_window(&self) -> bool {
        ["period", "step", "start_time", "end_time", "start", "end"].iter().any(|name| self.given.contains_key(*name))
    }

    /// The same for the same request however it was written.
    pub(crate) fn normalised(&self) -> String {
        self.given.iter().map(|(k, v)| format!("{k}={}&", v.escape_default())).collect()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        self.flag_or(name, false)
    }

    pub(crate) fn flag_or(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.get(name) {
            None => Ok(default),
            Some("false" | "False" | "0") => Ok(false),
            Some("true" | "True" | "1") => Ok(true),
            Some(other) => Err(Problem::parameter(name, other, "true, false")),
        }
    }

    pub(crate) fn one_of(&self, name: &str, allowed: &[&str]) -> Result<Option<&str>, Problem> {
        match self.get(name) {
            Some(v) if !allowed.contains(&v) => Err(Problem::parameter(name, v, allowed.join(", "))),
            v => Ok(v),
        }
    }

    /// A number that may have a fraction.
    pub(crate) fn decimal(&self, name: &str) -> Result<Option<f64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let parsed = text.parse().ok().filter(|v: &f64| v.is_finite());
        parsed.map(Some).ok_or_else(|| Problem::parameter(name, text, "a number"))
    }

    pub(crate) fn number(&self, name: &str, default: usize, low: usize, high: usize) -> Result<usize, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let parsed = text.parse().ok().filter(|n| (low..=high).contains(n));
        parsed.ok_or_else(|| Problem::parameter(name, text, format!("a whole number from {low} to {high}")))
    }

    /// `limit` and `offset`.
    pub(crate) fn page(&self) -> Result<(usize, usize), Problem> {
        Ok((self.number("limit", 100, 1, 1_000)?, self.number("offset", 0, 0, usize::MAX >> 1)?))
    }

    /// A moment by either of its names.
    fn moment(&self, names: [&str; 2]) -> Result<Option<i64>, Problem> {
        let Some((name, text)) = names.iter().find_map(|n| Some((*n, self.get(n)?))) else { return Ok(None) };
        if names.iter().all(|n| self.get(n).is_some()) {
            return Err(Problem::parameter(name, text, format!("one of {} and {}", names[0], names[1])));
        }
        // A `+` in a query is a blank; in a moment it can only be the sign of the offset.
        let moment = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).ok();
        let ms = moment.and_then(|m| i64::try_from(m.unix_timestamp_nanos() / 1_000_000).ok());
        ms.map(Some).ok_or_else(|| Problem::parameter(name, text, "RFC 3339 with an offset, such as 2026-01-01T09:00:00+09:00"))
    }

    /// The window that is asked for, with what is to be said about it. It ends `now` and is `default` long unless the
    /// request says otherwise; `step` is by default a sixtieth of it.
    pub(crate) fn window(&self, default: &str, now: i64) -> Result<Window, Problem> {
        self.window_of(default, now, MAX_POINTS)
    }

    /// The same with at most so many points a series.
    pub(crate) fn window_of(&self, default: &str, now: i64, most: i64) -> Result<Window, Problem> {
        let form = "a number with a unit: s m h d w mo, such as 5m, 1h, 1d, 1w, 1mo";
        let text = self.get("period").unwrap_or(default);
        // Only here is `1m` a month: as documented.
        let (period, warning) = match text {
            "1m" => (
                Some(30 * 86_400_000),
                Some("period 1m is one month (30 days), as documented; write 1mo for it, 60s for a minute".to_owned()),
            ),
            text => (duration(text), None),
        };
        let period = period.ok_or_else(|| Problem::parameter("period", text, form))?;
        let end = self.moment(["end_time", "end"])?.unwrap_or(now);
        let start = match self.moment(["start_time", "start"])? {
            Some(_) if self.get("period").is_some() => {
                return Err(Problem::parameter("period", text, "start_time or period, not both"));
            }
            Some(start) => start,
            None => end.saturating_sub(period),
        };
        if start >= end {
            let given = format!("{start} to {end} in ms");
            return Err(Problem::parameter("start_time", &given, "a start before the end"));
        }
        let length = end - start;
        let step = match self.get("step") {
            None => (length / 60).max(1_000),
            Some(text) => duration(text).ok_or_else(|| Problem::parameter("step", text, form))?,
        };
        if length / step > most {
            let fits = (length / most).div_euclid(1_000) + 1;
            return Err(Problem::parameter(
                "step",
                self.get("step").unwrap_or(""),
                format!("at most {most} points a series; {fits}s fits this window"),
            ));
        }
        Ok(Window { start, end, step, warning })
    }

    /// The links of a page.
    pub(crate) fn link(&self, path: &str, total: usize) -> Result<Option<std::sync::Arc<str>>, Problem> {
        let (limit, offset) = self.page()?;
        let to = |offset: usize, rel: &str| {
            let mut query = self.given.clone();
            query.insert("offset".into(), offset.to_string());
            query.insert("limit".into(), limit.to_string());
            let mut url = reqwest::Url::parse("http://q/").ok()?;
            url.query_pairs_mut().extend_pairs(&query);
            Some(format!("<{path}?{}>; rel=\"{rel}\"", url.query().unwrap_or("")))
        };
        let next = (offset + limit < total).then(|| to(offset + limit, "next")).flatten();
        let previous = (offset > 0).then(|| to(offset.saturating_sub(limit), "prev")).flatten();
        let links: Vec<String> = next.into_iter().chain(previous).collect();
        Ok((!links.is_empty()).then(|| links.join(", ").into()))
    }
}

/// Milliseconds of `90s`, `5m`, `1h`, `7d`, `1w`, `1mo`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        "mo" => 30 * 86_400_000,
        _ => return None,
    };
    let ms = number.parse::<i64>().ok().filter(|n| *n > 0)?.checked_mul(unit)?;
    // Ten years: longer is a slip, and far from where arithmetic on times ends.
    (ms <= 3_650 * 86_400_000).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 6] = ["period", "step", "start_time", "end_time", "start", "end"];

    fn window(query: &str) -> Result<(i64, i64, i64), String> {
        let params = Params::parse(Some(query), &ALL).map_err(|p| format!("{p:?}"))?;
        params.window("5m", 1_000_000_000).map(|w| (w.start, w.end, w.step)).map_err(|p| format!("{p:?}"))
    }

    #[test]
    fn a_window_is_a_period_or_two_moments_with_any_offset() {
        assert_eq!(window(""), Ok((999_700_000, 1_000_000_000, 5_000)));
        assert_eq!(window("period=1h&step=1m"), Ok((996_400_000, 1_000_000_000, 60_000)));
        assert_eq!(window("period=1m").map(|w| w.1 - w.0), Ok(30 * 86_400_000));
        let moments = "start_time=1970-01-01T09:00:00%2B09:00&end=1970-01-01T00:01:00Z&step=1s";
        assert_eq!(window(moments), Ok((0, 60_000, 1_000)));
        assert_eq!(window("end_time=1970-01-01T01:00:00Z&period=1h").map(|w| (w.0, w.1)), Ok((0, 3_600_000)));
    }

    #[test]
    fn a_bad_window_says_which_parameter_and_what_is_allowed() {
        for (query, expected) in [
            ("period=5", "period"),
            ("period=99999999999999999d", "period"),
            ("period=11000d", "period"),
            ("step=11000d", "step"),
            ("start_time=yesterday", "RFC 3339"),
            ("start_time=1970-01-01T00:00:00", "RFC 3339"),
            ("start=1970-01-01T00:00:00Z&start_time=1970-01-01T00:00:00Z", "one of"),
            ("start=1970-01-01T00:00:00Z&period=1h", "not both"),
            ("start=2970-01-01T00:00:00Z", "before the end"),
            ("period=1w&step=1s", "55s fits"),
        ] {
            let error = window(query).unwrap_err();
            assert!(error.contains(expected), "{query}: {error}");
        }
    }
}
