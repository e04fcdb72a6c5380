//! A table as it is written. The schema has already been held against it: what is wrong here is what a schema cannot say.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) tables: Vec<Table>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Text,
    Json,
    Prometheus,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) files: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) format: Format,
    pub(crate) rows: Option<String>,
    #[serde(default = "thousand")]
    pub(crate) max_rows: usize,
    pub(crate) max_age_seconds: Option<u32>,
    pub(crate) node: Option<Rule>,
    #[serde(default)]
    pub(crate) unavailable: BTreeMap<String, String>,
    pub(crate) subjects: Vec<Subject>,
}

fn thousand() -> usize {
    1_000
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subject {
    pub(crate) name: Option<String>,
    pub(crate) kind: String,
    pub(crate) parent: Option<String>,
    pub(crate) each: Option<String>,
    #[serde(default)]
    pub(crate) only: Vec<Only>,
    pub(crate) identity: BTreeMap<String, Rule>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, Rule>,
    #[serde(default)]
    pub(crate) metrics: BTreeMap<String, Metric>,
}

/// A label: a text with named parts, or where its value stands.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(crate) enum Rule {
    Text(String),
    Found(Box<Found>),
}

#[derive(Deserialize, Clone, Default)]
pub(crate) struct Found {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) text: Option<String>,
    pub(crate) cut_prefix: Option<String>,
    pub(crate) cut_suffix: Option<String>,
    #[serde(default)]
    pub(crate) rename: BTreeMap<String, String>,
}

/// Where something stands.
#[derive(Deserialize, Clone, Default)]
pub(crate) struct Place {
    pub(crate) file: Option<String>,
    pub(crate) member: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) word: Option<usize>,
    pub(crate) label: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Only {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) is: Option<Vec<String>>,
    pub(crate) is_not: Option<Vec<String>>,
}

/// One name, or several of which the first that is there counts.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(crate) enum Names {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
pub(crate) struct Metric {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) series: Option<Names>,
    #[serde(rename = "where", default)]
    pub(crate) matching: BTreeMap<String, String>,
    pub(crate) unit: Option<String>,
    pub(crate) factor: Option<f64>,
    pub(crate) offset: Option<f64>,
    #[serde(default)]
    pub(crate) unavailable: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) states: BTreeMap<String, String>,
    pub(crate) kind: Option<String>,
    pub(crate) quality: Option<String>,
    pub(crate) missing: Option<String>,
}
