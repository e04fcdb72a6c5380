//! `[reports]`: what a kilowatt-hour costs, where days begin, and reports that make themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::beyond::Server;
use super::{Config, Period};
use crate::report::{At, Delivery, Format, Lang, Plan, Price, Settings, Template, Weekday, Zone};

/// `[reports]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportsConfig {
    /// Where days begin, unless a request or a schedule says otherwise.
    pub timezone: Zone,
    pub lang: Lang,
    /// Without it no report has costs.
    pub price_per_kwh: Option<f64>,
    pub currency: String,
    pub schedule: BTreeMap<String, ScheduleConfig>,
}

/// `[reports.schedule.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    pub template: Template,
    #[serde(default)]
    pub at: At,
    /// Of a weekly one.
    #[serde(default)]
    pub weekday: Weekday,
    /// Of a monthly one.
    #[serde(default = "first")]
    pub day: u8,
    #[serde(default)]
    pub timezone: Option<Zone>,
    #[serde(default)]
    pub lang: Option<Lang>,
    #[serde(default = "pdf")]
    pub formats: Vec<Format>,
    /// A report each; one over all where none is named.
    #[serde(default)]
    pub clusters: Vec<String>,
    #[serde(default)]
    pub directory: Option<PathBuf>,
    #[serde(default)]
    pub webhook: Option<HookConfig>,
}

/// Takes each file as the body of a POST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    pub url: String,
    #[serde(default)]
    pub credential: Option<String>,
    #[serde(default)]
    pub tls: Option<String>,
    #[serde(default = "patience")]
    pub timeout: Period,
}

fn first() -> u8 {
    1
}

fn pdf() -> Vec<Format> {
    vec![Format::Pdf]
}

fn patience() -> Period {
    Period(Duration::from_secs(30))
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl HookConfig {
    fn server(&self) -> Server<'_> {
        let Self { url, credential, tls, timeout } = self;
        Server { url, credential: credential.as_ref(), tls: tls.as_ref(), labels: &NO_LABELS, timeout: timeout.0 }
    }
}

impl ScheduleConfig {
    fn problem(&self, config: &Config) -> Option<String> {
        let unknown = self.clusters.iter().find(|c| !config.clusters.contains_key(*c));
        match () {
            _ if self.template == Template::Custom => {
                Some("template = \"custom\" has no window of its own; allowed: daily, weekly, monthly".into())
            }
            _ if !(1..=28).contains(&self.day) => Some(format!("day = {}; every month has the days 1 to 28", self.day)),
            _ if self.formats.is_empty() => Some(format!("formats is empty; allowed: {}", Format::NAMES.join(", "))),
            _ if self.directory.is_none() && self.webhook.is_none() => {
                Some("directory or webhook is missing: the report would go nowhere".into())
            }
            _ if self.directory.as_ref().is_some_and(|d| !d.is_absolute()) => Some("directory is not an absolute path".into()),
            _ => match unknown {
                Some(name) => Some(format!("there is no [clusters.{name}]")),
                None => self.webhook.as_ref().and_then(|w| w.server().problem(config)).map(|p| format!("webhook: {p}")),
            },
        }
    }
}

impl Config {
    pub(super) fn reports_problem(&self) -> Option<String> {
        let r = &self.reports;
        if let Some(price) = r.price_per_kwh.filter(|p| !(p.is_finite() && *p >= 0.0)) {
            return Some(format!("[reports] price_per_kwh is {price}; it is a number, 0 or more"));
        }
        let of = |(name, s): (&String, &ScheduleConfig)| s.problem(self).map(|p| format!("[reports.schedule.{name}] {p}"));
        r.schedule.iter().find_map(of)
    }

    /// What reports are made with. An error says which address cannot be used.
    pub fn report_settings(&self) -> Result<Settings, String> {
        let r = &self.reports;
        let price = r.price_per_kwh.map(|per_kwh| Price { per_kwh, currency: r.currency.clone() });
        let plan = |(name, s): (&String, &ScheduleConfig)| {
            let webhook = s.webhook.as_ref().map(|w| w.server().endpoint(self)).transpose()?;
            Ok(Plan {
                name: name.clone(),
                template: s.template,
                at: s.at,
                weekday: s.weekday,
                day: s.day,
                zone: s.timezone.unwrap_or(r.timezone),
                lang: s.lang.unwrap_or(r.lang),
                formats: s.formats.clone(),
                clusters: s.clusters.clone(),
                delivery: Delivery { directory: s.directory.clone(), webhook },
            })
        };
        let plans = r.schedule.iter().map(plan).collect::<Result<_, String>>().map_err(|e| format!("[reports] webhook: {e}"))?;
        Ok(Settings { zone: r.timezone, lang: r.lang, price, plans })
    }
}
