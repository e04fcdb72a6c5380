//! Query parameters: each route says which it takes, everything else is refused by name.

use std::collections::BTreeMap;

use super::Problem;
use crate::history::MAX_POINTS;

/// Parameters of one request, checked against what its route takes.
#[derive(Debug, Default)]
pub(crate) struct Params {
    given: BTreeMap<String, String>,
    pub cluster: Option<String>,
}

/// What a time series is asked for, in milliseconds.
pub(crate) struct Window {
    pub period: i64,
    pub step: i64,
    pub warning: Option<String>,
}

impl Params {
    /// Takes a query string; `allowed` are the route's parameters.
    pub(crate) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<Self, Problem> {
        let mut given = BTreeMap::new();
        for (name, value) in reqwest::Url::parse(&format!("http://q/?{}", query.unwrap_or(""))).iter().flat_map(|u| u.query_pairs()) {
            if !allowed.contains(&name.as_ref()) {
                let list = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
                return Err(Problem::parameter(&name, &value, format!("this route takes {list}")));
            }
            if given.insert(name.to_string(), value.to_string()).is_some() {
                return Err(Problem::parameter(&name, &value, "each parameter once"));
            }
        }
        let cluster = given.get("cluster").cloned();
        Ok(Self { given, cluster })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// The same for the same request however it was written.
    pub(crate) fn normalised(&self) -> String {
        self.given.iter().map(|(k, v)| format!("{k}={}&", v.escape_default())).collect()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false" | "False" | "0") => Ok(false),
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

    fn number(&self, name: &str, default: usize, low: usize, high: usize) -> Result<usize, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let parsed = text.parse().ok().filter(|n| (low..=high).contains(n));
        parsed.ok_or_else(|| Problem::parameter(name, text, format!("a whole number from {low} to {high}")))
    }

    /// `limit` and `offset`.
    pub(crate) fn page(&self) -> Result<(usize, usize), Problem> {
        Ok((self.number("limit", 100, 1, 1_000)?, self.number("offset", 0, 0, usize::MAX >> 1)?))
    }

    /// `period` and `step` in milliseconds, with what is to be said about them. `step` is by default a sixtieth.
    pub(crate) fn window(&self, default: &str) -> Result<Window, Problem> {
        let text = self.get("period").unwrap_or(default);
        // Only here is `1m` a month: as documented.
        let (period, warning) = match text {
            "1m" => (
                Some(30 * 86_400_000),
                Some("period 1m is one month (30 days), as documented; write 1mo for it, 60s for a minute".to_owned()),
            ),
            text => (duration(text), None),
        };
        let form = "a number with a unit: s m h d w mo, such as 5m, 1h, 1d, 1w, 1mo";
        let period = period.ok_or_else(|| Problem::parameter("period", text, form))?;
        let step = match self.get("step") {
            None => (period / 60).max(1_000),
            Some(text) => duration(text).ok_or_else(|| Problem::parameter("step", text, form))?,
        };
        if period / step > MAX_POINTS {
            let fits = (period / MAX_POINTS).div_euclid(1_000) + 1;
            return Err(Problem::parameter(
                "step",
                self.get("step").unwrap_or(""),
                format!("at most {MAX_POINTS} points a series; {fits}s fits this period"),
            ));
        }
        Ok(Window { period, step, warning })
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
fn duration(text: &str) -> Option<i64> {
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
    number.parse::<i64>().ok().filter(|n| *n > 0)?.checked_mul(unit)
}
