//! Rules as they are written: `alerts.d/*.toml` and the ready-made ones. Out: checked [`Rule`]s, or everything that is wrong, each with
//! file, line, column and what is allowed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::check::{Fault, check};
use super::rule::{PowerBy, Rule};
use crate::config::Period;
use crate::inventory::Severity;

/// The rules that come with the host.
const READY_MADE: &str = include_str!("ready_made.toml");
/// Where a rule comes from that is not in a file.
pub const READY_MADE_ORIGIN: &str = "ready-made";
/// Rules of all files, at most.
const MOST_RULES: usize = 1_000;

/// A file of rules.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    rules: Vec<RuleFile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// What ends an alert of what only happens, before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// The counters of what it is about begin anew: it was reset, or its node restarted.
    Reset,
}

/// One rule as it is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleFile {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<BTreeMap<String, OneOrMany>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub increases: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spike_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_watts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vanished: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_source: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_by: Option<PowerBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<BTreeMap<String, f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub and: Option<Vec<ClauseFile>>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_ko: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// What must hold beside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClauseFile {
    pub metric: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<OneOrMany>,
    /// `false`: nobody says the metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<bool>,
}

/// The keys that say what is looked for; one of these of another form replaces them all.
macro_rules! condition_keys {
    ($do:ident!($($args:tt)*)) => {
        $do!($($args)*; metric, of, rate, above, below, near, within, clear, state, bits, increases, spike_percent, least_watts, event, except,
            vanished, stale_source, power_by, budgets, and)
    };
}
macro_rules! foreign {
    ($base:expr, $over:expr; $($key:ident),*) => { $( ($over.$key.is_some() && $base.$key.is_none()) )||* };
}
macro_rules! clear_all {
    ($base:expr; $($key:ident),*) => { $( $base.$key = None; )* };
}
macro_rules! put_over {
    ($base:expr, $over:expr; $($key:ident),*) => { $( if $over.$key.is_some() { $base.$key.clone_from(&$over.$key); } )* };
}

impl RuleFile {
    /// This rule with the keys that another of its name gives.
    fn changed_by(mut self, over: &Self) -> Self {
        if condition_keys!(foreign!(self, over)) {
            condition_keys!(clear_all!(self));
        }
        condition_keys!(put_over!(self, over));
        put_over!(self, over; enabled, severity, kind, filter, hold, keep, message, message_ko, labels);
        self
    }
}

/// Rules of one file, with where each of their keys stands.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    origin: String,
    rules: Vec<RuleFile>,
    /// Of each rule: line and column of its beginning, and of its keys.
    places: Vec<(Place, HashMap<String, Place>)>,
}

type Place = (usize, usize);

impl Rules {
    /// Takes a file; `parsed` is what the config's own parser makes of it, with its errors.
    pub fn read(path: &std::path::Path, text: &str) -> Result<Self, crate::config::ConfigError> {
        let File { rules } = crate::config::parse(path, text)?;
        let mut places = Vec::new();
        if let Ok(table) = DeTable::parse(text)
            && let Some((_, list)) = table.get_ref().iter().find(|(key, _)| key.get_ref() == "rules")
            && let DeValue::Array(list) = list.get_ref()
        {
            for rule in list.iter() {
                let DeValue::Table(keys) = rule.get_ref() else { continue };
                let keys = keys.iter().map(|(key, _)| (key.get_ref().to_string(), place(text, key.span().start)));
                places.push((place(text, rule.span().start), keys.collect()));
            }
        }
        Ok(Self { origin: path.display().to_string(), rules, places })
    }

    fn at(&self, index: usize, key: &str) -> String {
        let place = self.places.get(index).map(|(start, keys)| keys.get(key).unwrap_or(start));
        place.map_or_else(|| self.origin.clone(), |(line, column)| format!("{}:{line}:{column}", self.origin))
    }
}

fn place(text: &str, at: usize) -> Place {
    let before = &text[..text.floor_char_boundary(at.min(text.len()))];
    (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or("").chars().count() + 1)
}

/// A rule as it stands after all files: with the name of its file, and its place where it has one.
type Candidate = (RuleFile, String, Option<(usize, usize)>);

/// The ready-made rules, changed and joined by those of the files, in order of their names. `budgets` are watts by cluster.
pub fn rules(with_ready_made: bool, budgets: &BTreeMap<String, f64>, files: &[&Rules]) -> (Vec<Arc<Rule>>, Vec<String>) {
    let mut all: BTreeMap<String, Candidate> = BTreeMap::new();
    let mut problems = Vec::new();
    if with_ready_made {
        match toml::from_str::<File>(READY_MADE) {
            Ok(file) => all.extend(file.rules.into_iter().map(|mut rule| {
                [&mut rule.event, &mut rule.except].into_iter().flatten().for_each(name_xids);
                if rule.budgets.is_some() {
                    rule.enabled = Some(!budgets.is_empty());
                    rule.budgets = Some(budgets.clone());
                }
                (rule.name.clone(), (rule, READY_MADE_ORIGIN.to_owned(), None))
            })),
            // A test holds that they read.
            Err(error) => problems.push(format!("the ready-made rules: {error}")),
        }
    }
    for (f, file) in files.iter().enumerate() {
        for (i, rule) in file.rules.iter().enumerate() {
            let short = std::path::Path::new(&file.origin).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            match all.get(&rule.name) {
                Some((_, _, Some((other, at)))) => problems.push(format!(
                    "{}: name = {:?}: a rule of this name stands at {} already",
                    file.at(i, "name"),
                    rule.name.chars().take(80).collect::<String>(),
                    files[*other].at(*at, "name")
                )),
                Some((base, ..)) => {
                    let changed = base.clone().changed_by(rule);
                    all.insert(rule.name.clone(), (changed, short, Some((f, i))));
                }
                None => drop(all.insert(rule.name.clone(), (rule.clone(), short, Some((f, i))))),
            }
        }
    }
    if all.len() > MOST_RULES {
        problems.push(format!("{} rules; at most {MOST_RULES} are allowed, the others are not taken", all.len()));
    }
    let mut rules = Vec::new();
    for (rule, origin, from) in all.into_values().take(MOST_RULES) {
        let name = rule.name.clone();
        match check(rule, &origin) {
            Ok(None) => {}
            Ok(Some(rule)) => rules.push(Arc::new(rule)),
            Err(Fault(key, text)) => {
                let at = from.map_or_else(|| READY_MADE_ORIGIN.to_owned(), |(f, i)| files[f].at(i, key));
                let name: String = name.chars().take(80).collect();
                problems.push(format!("{at}: rule {name:?}: {text}"));
            }
        }
    }
    (rules, problems)
}

/// The codes that `critical-xids` stands for.
fn name_xids(codes: &mut OneOrMany) {
    if *codes == OneOrMany::One("critical-xids".to_owned()) {
        *codes = OneOrMany::Many(super::xid::XIDS.iter().filter(|x| x.is_critical).map(|x| format!("xid:{}", x.code)).collect());
    }
}

/// What is wrong with the rules of one file alone, as they would count beside the ready-made ones.
pub fn problems(file: &Rules, with_ready_made: bool, budgets: &BTreeMap<String, f64>) -> Vec<String> {
    rules(with_ready_made, budgets, &[file]).1
}
