//! What a report says, whatever it is written as.

use serde::{Serialize, Serializer};

use super::window::{Grain, Template, Zone};
use crate::api::rfc3339;
use crate::inventory::Severity;

fn moment<S: Serializer>(ms: &i64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&rfc3339(*ms))
}

fn maybe<S: Serializer>(ms: &Option<i64>, s: S) -> Result<S::Ok, S::Error> {
    match ms {
        Some(ms) => s.serialize_str(&rfc3339(*ms)),
        None => s.serialize_none(),
    }
}

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    #[serde(rename = "start_time", serialize_with = "moment")]
    pub start: i64,
    #[serde(rename = "end_time", serialize_with = "moment")]
    pub end: i64,
}

/// What a kilowatt-hour costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Price {
    pub per_kwh: f64,
    pub currency: String,
}

/// Energy over a window, with how much of it was observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Drawn {
    /// Of what was observed; `None` where nothing was.
    pub energy_kwh: Option<f64>,
    /// `None` without a price.
    pub cost: Option<f64>,
    /// Energy over the time that it is about.
    pub average_watts: Option<f64>,
    /// The highest mean of one step, and when that began.
    pub peak_watts: Option<f64>,
    #[serde(serialize_with = "maybe")]
    pub peak_time: Option<i64>,
    pub covered_seconds: f64,
    pub missing_seconds: f64,
    pub gaps: u32,
}

impl Drawn {
    /// The part of the window that was observed.
    pub fn coverage(&self) -> f64 {
        let all = self.covered_seconds + self.missing_seconds;
        if all > 0.0 { self.covered_seconds / all } else { 0.0 }
    }
}

/// One cluster, server, namespace or kind of part.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    pub cluster: String,
    pub name: String,
    #[serde(flatten)]
    pub drawn: Drawn,
}

/// One card.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Card {
    pub id: String,
    pub cluster: String,
    pub node: String,
    pub name: String,
    pub model: String,
    #[serde(flatten)]
    pub drawn: Drawn,
    pub average_utilization_percent: Option<f64>,
    /// In which its load is known.
    pub known_seconds: f64,
    /// Steps of less than 1 % load, and what it drew in them.
    pub idle_seconds: f64,
    pub idle_kwh: Option<f64>,
}

impl Card {
    /// It did nothing in all the time in which its load was known.
    pub fn is_idle_throughout(&self) -> bool {
        self.average_utilization_percent.is_some_and(|u| u < 1.0) && self.idle_seconds > 0.0 && self.idle_seconds >= self.known_seconds
    }
}

/// What idle cards drew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Idle {
    /// Cards that were idle throughout, of those whose load is known.
    pub cards: usize,
    pub cards_known: usize,
    pub card_hours: f64,
    pub energy_kwh: Option<f64>,
    pub cost: Option<f64>,
}

/// One hour, day or week.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Part {
    #[serde(flatten)]
    pub span: Span,
    #[serde(flatten)]
    pub drawn: Drawn,
    /// The same part of the window before.
    pub energy_kwh_before: Option<f64>,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    #[serde(rename = "time", serialize_with = "moment")]
    pub at: i64,
    /// Of an alert that ended.
    #[serde(rename = "until", serialize_with = "maybe")]
    pub ended: Option<i64>,
    pub severity: Severity,
    pub code: String,
    pub cluster: String,
    pub resource: String,
    pub message: String,
    pub message_ko: Option<String>,
    /// Alike ones in a row, at the same resource.
    pub count: usize,
}

/// A whole report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub template: Template,
    pub timezone: Zone,
    #[serde(flatten)]
    pub span: Span,
    pub before: Span,
    /// It was made before its window was over.
    pub is_cut: bool,
    pub grain: Grain,
    /// Means of this many seconds are what it is made of: a peak is the highest of them.
    pub step_seconds: i64,
    #[serde(serialize_with = "moment")]
    pub generated_at: i64,
    /// `None`: all.
    pub cluster: Option<String>,
    pub price: Option<Price>,
    pub total: Drawn,
    pub total_before: Drawn,
    /// Servers that were measured, of those that were known: means over the window.
    pub servers_known: Option<f64>,
    pub servers: Option<f64>,
    /// Time in which not all of them were.
    pub partial_seconds: f64,
    pub idle: Idle,
    pub parts: Vec<Part>,
    /// Mean watts by the hour of the day; in windows of two days and more.
    pub hours_of_day: Vec<Option<f64>>,
    pub clusters: Vec<Row>,
    pub nodes: Vec<Row>,
    pub namespaces: Vec<Row>,
    pub resource_types: Vec<Row>,
    pub cards: Vec<Card>,
    pub incidents: Vec<Incident>,
    /// Beyond those that are listed.
    pub incidents_left_out: usize,
    /// What a reader must know of it, in English and Korean.
    pub notes: Vec<[String; 2]>,
    /// Mean watts over the window, for its chart.
    #[serde(skip)]
    pub watts: Vec<(i64, Option<f64>)>,
    #[serde(skip)]
    pub watts_step: i64,
}
