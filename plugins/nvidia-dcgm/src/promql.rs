//! The same rows as a Prometheus-compatible server holds them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kcloud_collector_sdk::mapping::Mapping;
use kcloud_collector_sdk::{Batch, CollectError, Target, http};
use serde::Deserialize;

use crate::read::{Get, Reader};
use crate::table::{ENGINE, ROWS};

/// Names a query, so that a URL stays well below what servers accept.
const NAMES_A_QUERY: usize = 24;

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    value: (f64, String),
}

#[derive(Deserialize)]
pub(crate) struct Labels(BTreeMap<String, String>);

impl Get for Labels {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name).map(|v| Cow::Borrowed(v.as_str()))
    }
}

pub(crate) fn collect(target: &Target, mapping: &Mapping, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
    let names: Vec<&str> = ROWS.iter().flat_map(|r| r.foreign).copied().chain(ENGINE).collect();
    let base = target.address.trim_end_matches('/');
    let mut reader = Reader::new(target, mapping, batch);
    for names in names.chunks(NAMES_A_QUERY) {
        let selector = format!("{{__name__=~\"{}\"}}", names.join("|"));
        let ask = |expression: &str| {
            http::get(target, &format!("{base}/api/v1/query?query={}", encode(expression)), "application/json", deadline_ms)
        };
        let answer = ask(&selector)?;
        let answer: Answer = answer.json()?;
        let Some(data) = answer.data.filter(|_| answer.status == "success") else {
            return Err(CollectError::Protocol(answer.error.unwrap_or_else(|| "no data".to_owned())));
        };
        for series in &data.result {
            let Some(name) = series.metric.0.get("__name__") else { continue };
            match series.value.1.parse::<f64>() {
                Ok(value) => reader.sample(name, &series.metric, value, None),
                Err(_) => reader.problem(format!("{name}: the value {:?} is not a number", series.value.1)),
            }
        }
    }
    reader.finish()
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
