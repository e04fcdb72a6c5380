//! One alert from when its condition first held to its end, and the silences that keep it quiet.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::message::{figure, one_line};
use super::rule::{Pattern, PowerBy, Rule, life_count};
use super::{Change, Transition, xid};
use crate::api::rfc3339;
use crate::config::Period;
use crate::inventory::{Event, Kind, Reason, Severity, Source, Subject};

/// Characters of a label's value.
const MOST_VALUE: usize = 256;
/// Labels of a subject that an alert carries, beside its own.
const CARRIED: [&str; 11] =
    ["container", "device", "model", "namespace", "pci_address", "pod", "project", "uuid", "vendor", "workload_name", "name"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its condition holds, not yet for as long as its rule says.
    Pending,
    Firing,
    Resolved,
}

/// Why an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its condition holds no more.
    Cleared,
    /// It did not happen again for as long as it counts.
    Expired,
    /// What it is about is not watched any more.
    Gone,
    /// Its rule was taken away, switched off, or is about something else now.
    RuleRemoved,
    /// The counters of what it is about began anew: it was reset, or its node restarted.
    Reset,
    /// An operator said that it is over.
    Operator,
}

/// Who said that they know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    pub by: Arc<str>,
    pub at_ms: i64,
    pub comment: Arc<str>,
}

pub type Labels = Vec<(Arc<str>, Arc<str>)>;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alert {
    /// The same from its beginning to its end.
    pub id: Arc<str>,
    /// Of what it is about, within the host.
    pub key: Arc<str>,
    pub rule: Arc<str>,
    pub severity: Severity,
    pub cluster: Arc<str>,
    pub node: Option<Arc<str>>,
    pub resource_type: Arc<str>,
    pub resource_id: Arc<str>,
    /// As they were when it fired.
    pub labels: Labels,
    pub message: Arc<str>,
    pub message_ko: Option<Arc<str>>,
    pub value: Option<f64>,
    pub threshold: Option<f64>,
    pub unit: Arc<str>,
    /// Its condition has held since.
    pub since_ms: i64,
    pub fired_ms: Option<i64>,
    /// Its condition was last seen to hold.
    pub held_ms: i64,
    pub ended_ms: Option<i64>,
    pub end: Option<End>,
    /// It stays as it is: whether its condition holds is not known, and why.
    pub unknown: Option<Reason>,
    pub acknowledged: Option<Acknowledgement>,
    /// Who said that it is over.
    #[serde(default)]
    pub resolved: Option<Acknowledgement>,
    /// The subject's `life_count` as it was last seen.
    #[serde(default)]
    pub life_count: Option<f64>,
    pub is_spike: bool,
    /// Of the event that it tells of.
    #[serde(default)]
    pub code: Option<Arc<str>>,
    /// Those who are told have heard that it fires: it was not silenced all the time.
    #[serde(default = "is_told")]
    pub is_told: bool,
    /// It only happened: it ends by time.
    pub is_moment: bool,
    /// Ids of silences in force; not kept.
    #[serde(skip)]
    pub silenced_by: Vec<Arc<str>>,
}

/// Of what an older version kept.
fn is_told() -> bool {
    true
}

/// What an alert is about.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    Subject(&'a Subject),
    Source(&'a Source),
    /// Watts of a cluster, node or namespace.
    Sum {
        by: PowerBy,
        cluster: &'a str,
        name: &'a str,
    },
}

/// What happened, of what only happens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cause<'a> {
    pub event: Option<&'a Event>,
    pub previous: Option<f64>,
}

impl Who<'_> {
    /// Subjects have ids of their own; nothing else has one that begins like these.
    pub fn key(&self) -> Cow<'_, str> {
        match self {
            Self::Subject(s) => Cow::Borrowed(&s.id),
            Self::Source(s) => format!("source:{}/{}", s.plugin, s.target).into(),
            Self::Sum { by, cluster, name } => format!("power:{}/{cluster}/{name}", by.name()).into(),
        }
    }

    fn resource_type(&self) -> Arc<str> {
        match self {
            Self::Subject(s) if s.kind == Kind::Accelerator => match s.label("class") {
                Some(class @ ("gpu" | "npu" | "tpu")) => class.into(),
                _ => "accelerator".into(),
            },
            Self::Subject(s) => s.kind.name().into(),
            Self::Source(_) => "source".into(),
            Self::Sum { by, .. } => by.name().into(),
        }
    }

    fn resource_id(&self) -> Arc<str> {
        match self {
            Self::Subject(s) => s.id.clone(),
            Self::Source(s) => format!("{}/{}", s.plugin, s.target).into(),
            Self::Sum { name, .. } => (*name).into(),
        }
    }

    fn cluster(&self) -> Arc<str> {
        match self {
            Self::Subject(s) => s.cluster.clone(),
            Self::Source(s) => s.cluster.clone(),
            Self::Sum { cluster, .. } => (*cluster).into(),
        }
    }

    fn node(&self) -> Option<Arc<str>> {
        match self {
            Self::Subject(s) => s.node.clone(),
            Self::Sum { by: PowerBy::Node, name, .. } => Some((*name).into()),
            _ => None,
        }
    }

    /// A label, or what stands for one.
    pub fn label(&self, key: &str) -> Option<&str> {
        match (self, key) {
            (Self::Subject(s), "cluster") => Some(&s.cluster),
            (Self::Subject(s), "node") => s.node.as_deref(),
            (Self::Subject(s), "id") => Some(&s.id),
            (Self::Subject(s), key) => s.label(key),
            (Self::Source(s), "cluster") => Some(&s.cluster),
            (Self::Source(s), "plugin") => Some(&s.plugin),
            (Self::Source(s), "target") => Some(&s.target),
            (Self::Sum { cluster, .. }, "cluster") => Some(cluster),
            (Self::Sum { by, name, .. }, key) if by.name() == key => Some(name),
            _ => None,
        }
    }

    /// As a person calls it.
    fn name(&self) -> String {
        match self {
            Self::Subject(s) => match s.kind {
                Kind::Accelerator => s.label("device").map_or_else(|| s.id.to_string(), |device| format!("{device} ({})", s.id)),
                Kind::Node => s.node.as_deref().unwrap_or(&s.id).to_owned(),
                _ => s.label("name").unwrap_or(&s.id).to_owned(),
            },
            Self::Source(s) => format!("source {}/{}", s.plugin, s.target),
            Self::Sum { by, name, .. } => format!("{} {name}", by.name()),
        }
    }

    /// When it was last heard of.
    fn heard_ms(&self) -> Option<i64> {
        match self {
            Self::Subject(s) => Some(s.last_seen_ms),
            Self::Source(s) => s.last_success_ms,
            Self::Sum { .. } => None,
        }
    }
}

impl PowerBy {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Namespace => "namespace",
        }
    }
}

impl Alert {
    /// One whose condition begins to hold.
    pub fn begin(rule: &Rule, who: &Who<'_>, code: Option<&Arc<str>>, now_ms: i64) -> Self {
        use sha2::{Digest, Sha256};
        let key = who.key();
        let digest = Sha256::digest(format!("{}\0{key}\0{}\0{now_ms}", rule.name, code.map_or("", |c| c)));
        let id: String = digest.iter().take(12).map(|b| format!("{b:02x}")).collect();
        Self {
            id: id.into(),
            key: key.into(),
            rule: rule.name.clone(),
            severity: rule.severity,
            cluster: who.cluster(),
            node: who.node(),
            resource_type: who.resource_type(),
            resource_id: who.resource_id(),
            labels: Vec::new(),
            message: "".into(),
            message_ko: None,
            value: None,
            threshold: None,
            unit: rule.unit.into(),
            since_ms: now_ms,
            fired_ms: None,
            held_ms: now_ms,
            ended_ms: None,
            end: None,
            unknown: None,
            acknowledged: None,
            resolved: None,
            life_count: match who {
                Who::Subject(s) => life_count(s),
                _ => None,
            },
            is_spike: rule.is_spike(),
            code: code.cloned(),
            is_told: false,
            is_moment: rule.is_of_moments(),
            silenced_by: Vec::new(),
        }
    }

    pub fn state(&self) -> State {
        match (self.fired_ms, self.ended_ms) {
            (_, Some(_)) => State::Resolved,
            (Some(_), _) => State::Firing,
            _ => State::Pending,
        }
    }

    /// Says what is to be said, with labels as they are now.
    pub fn speak(&mut self, rule: &Rule, who: &Who<'_>, cause: Cause<'_>) {
        self.labels = labels(self, rule, who);
        let code = cause.event.and_then(|e| xid::of_code(&e.code));
        let get = |language: usize| {
            let this = &*self;
            move |name: &str| -> Option<String> {
                Some(match name {
                    "cluster" => this.cluster.to_string(),
                    "node" => this.node.as_deref()?.to_owned(),
                    "id" => this.resource_id.to_string(),
                    "name" => who.name(),
                    "resource" => this.resource_type.to_string(),
                    "rule" => this.rule.to_string(),
                    "severity" => severity(this.severity).to_owned(),
                    "value" => figure(this.value?),
                    "threshold" => figure(this.threshold?),
                    "previous" => figure(cause.previous?),
                    "unit" => this.unit.to_string(),
                    "metric" => rule.file.metric.clone()?,
                    "code" => cause.event?.code.to_string(),
                    "event" => cause.event?.message.to_string(),
                    "meaning" => {
                        code.map_or_else(|| cause.event.map(|e| e.message.to_string()), |x| Some(x.meaning[language].to_owned()))?
                    }
                    "action" => code
                        .map_or(["look it up at the vendor", "제조사 문서를 확인하십시오"][language], |x| {
                            x.action.text()[language]
                        })
                        .to_owned(),
                    "since" => rfc3339(who.heard_ms().unwrap_or(this.since_ms)),
                    "for" => rule.file.hold.unwrap_or(Period(std::time::Duration::ZERO)).to_string(),
                    _ => who.label(name.strip_prefix("label.")?).unwrap_or("-").to_owned(),
                })
            }
        };
        let message = rule.message.fill("unknown", get(0));
        let message_ko = rule.message_ko.as_ref().map(|t| t.fill("알 수 없음", get(1)));
        self.message = message.into();
        self.message_ko = message_ko.map(Arc::from);
    }

    pub fn is_of_card(&self) -> bool {
        matches!(&*self.resource_type, "gpu" | "npu" | "tpu" | "accelerator")
    }

    /// What it is told as when it fires.
    pub fn begun(&self) -> Change {
        if self.is_spike { Change::PowerSpike } else { Change::ThresholdExceeded }
    }

    /// What streams hear.
    pub fn transition(&self, change: Change, at_ms: i64) -> Transition {
        Transition {
            alert: self.id.clone(),
            rule: self.rule.clone(),
            change,
            severity: self.severity,
            cluster: self.cluster.clone(),
            resource_type: self.resource_type.clone(),
            resource_id: self.resource_id.clone(),
            message: self.message.clone(),
            message_ko: self.message_ko.clone(),
            current_value: self.value,
            threshold: self.threshold,
            at_ms,
        }
    }

    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == name).map(|(_, v)| &**v)
    }
}

pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// By name, each once, none empty.
fn labels(alert: &Alert, rule: &Rule, who: &Who<'_>) -> Labels {
    let own = [
        ("alertname", Some(&*alert.rule)),
        ("cluster", Some(&*alert.cluster)),
        ("code", alert.code.as_deref()),
        ("node", alert.node.as_deref()),
        ("resource_id", Some(&*alert.resource_id)),
        ("resource_type", Some(&*alert.resource_type)),
        ("severity", Some(severity(alert.severity))),
    ];
    let clean = |v: &str| -> Arc<str> { one_line(v, MOST_VALUE).into() };
    let mut all: Labels = own.into_iter().filter_map(|(k, v)| Some((k.into(), clean(v?)))).collect();
    for (k, v) in &rule.labels {
        if !all.iter().any(|(known, _)| known == k) {
            all.push((k.clone(), v.clone()));
        }
    }
    if let Who::Subject(s) = who {
        for key in CARRIED {
            if let Some(v) = s.label(key)
                && !all.iter().any(|(known, _)| &**known == key)
            {
                all.push((key.into(), clean(v)));
            }
        }
    }
    all.retain(|(_, v)| !v.is_empty());
    all.sort();
    all
}

/// One label that a silence looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    pub name: String,
    /// A `*` at its end means any ending.
    pub value: String,
}

/// Keeps alerts quiet until it ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Silence {
    pub id: Arc<str>,
    pub matchers: Vec<Matcher>,
    pub by: Arc<str>,
    pub comment: String,
    pub starts_ms: i64,
    pub ends_ms: i64,
}

impl Silence {
    pub fn covers(&self, alert: &Alert) -> bool {
        self.matchers.iter().all(|m| alert.label(&m.name).is_some_and(|v| Pattern::does_match(&m.value, v)))
    }
}
