//! A checked rule, and what it says of one subject now. Pure: no clock, no lock, nothing allocated per subject.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::file::RuleFile;
use super::message::Template;
use crate::catalogue::{Catalogue, MetricId};
use crate::inventory::{Kind, Life, Reading, Reason, Severity, Snapshot, Subject, Value};

/// A metric by its name; one of a plugin's own is known only once the plugin has said it.
#[derive(Debug)]
pub struct Metric {
    pub name: Arc<str>,
    id: OnceLock<MetricId>,
}

impl Metric {
    pub fn new(name: &str) -> Self {
        let id = Catalogue::known(name).map_or_else(OnceLock::new, OnceLock::from);
        Self { name: name.into(), id }
    }

    /// Looks a plugin's own metric up, until it is known.
    fn resolve(&self, catalogue: &Catalogue) {
        if self.id.get().is_none()
            && let Some(id) = catalogue.find(&self.name)
        {
            // Who was first found the same.
            let _ = self.id.set(id);
        }
    }

    fn number(&self, s: &Subject) -> Result<f64, Reason> {
        self.observed(s).map(|(value, _)| value)
    }

    /// The number with when it was observed.
    fn observed(&self, s: &Subject) -> Result<(f64, i64), Reason> {
        let id = *self.id.get().ok_or(Reason::Absent)?;
        match s.reading(id) {
            Some(Reading { value: Value::Number(value, _), at_ms, .. }) if s.life == Life::Live => Ok((*value, *at_ms)),
            _ => Err(s.gap(id).unwrap_or(Reason::Absent)),
        }
    }
}

/// A number of a subject, in the unit of the rule.
#[derive(Debug)]
pub struct Quantity {
    pub metric: Metric,
    /// Divided by this.
    pub of: Option<Metric>,
    /// The growth of a counter a second.
    pub is_rate: bool,
    /// From the base unit.
    pub factor: f64,
}

/// When a number holds, and when it does no more: in between it stays as it was.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    Above { at: f64, clear: f64 },
    Below { at: f64, clear: f64 },
}

impl Bound {
    pub fn judge(&self, value: f64) -> Verdict {
        let (holds, is_clear, threshold) = match *self {
            Self::Above { at, clear } => (value > at, value <= clear, at),
            Self::Below { at, clear } => (value < at, value >= clear, at),
        };
        match (holds, is_clear) {
            (true, _) => Verdict::Holds { value: Some(value), threshold: Some(threshold) },
            (_, true) => Verdict::Not(Some(value)),
            _ => Verdict::Between(value),
        }
    }
}

/// What a number is held against.
#[derive(Debug)]
pub enum Test {
    Bound(Bound),
    /// Within so much of the first of these limits that the subject itself tells.
    Near {
        limits: Vec<Metric>,
        within: f64,
        clear: f64,
    },
    /// Any of these bits.
    Bits(u64),
    /// One of these states.
    State(Vec<bool>),
    /// Nobody says it.
    Unknown,
}

/// By what watts are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerBy {
    Cluster,
    Node,
    Namespace,
}

/// What a sum of watts is held against.
#[derive(Debug)]
pub enum PowerTest {
    Bound(Bound),
    /// By name of the cluster, node or namespace, with the part of it below which it is clear.
    Budgets {
        watts: HashMap<String, f64>,
        clear: f64,
    },
    /// A jump by so many percent between two looks.
    Spike {
        percent: f64,
        least_watts: f64,
    },
}

#[derive(Debug)]
pub struct Clause {
    pub quantity: Quantity,
    pub test: Test,
}

#[derive(Debug)]
pub enum Condition {
    Number(Clause),
    /// A counter grew by at least so much.
    Increases {
        metric: Metric,
        by: f64,
        factor: f64,
    },
    /// A reading of watts jumped by so many percent between two observations.
    Spike {
        metric: Metric,
        percent: f64,
        least: f64,
    },
    Event {
        codes: Vec<Pattern>,
        except: Vec<Pattern>,
    },
    /// Its source answers and speaks of it no more.
    Vanished,
    /// A source does not answer for three intervals.
    StaleSource,
    Power {
        by: PowerBy,
        test: PowerTest,
    },
}

/// A text, or the beginning of one where it ends in `*`. Nothing else is special, so that nothing can be slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    is_open: bool,
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        let open = text.strip_suffix('*');
        Self { text: open.unwrap_or(text).to_owned(), is_open: open.is_some() }
    }

    pub fn matches(&self, value: &str) -> bool {
        if self.is_open { value.starts_with(&self.text) } else { value == self.text }
    }

    /// The same for a text that was not made a pattern of.
    pub fn does_match(text: &str, value: &str) -> bool {
        text.strip_suffix('*').map_or(value == text, |open| value.starts_with(open))
    }
}

#[derive(Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub severity: Severity,
    /// Of subjects; `None` where the rule is about sources or sums.
    pub kind: Option<Kind>,
    /// Each label has one of its values.
    pub filter: Vec<(String, Vec<Pattern>)>,
    pub condition: Condition,
    /// All of them must hold, too.
    pub gates: Vec<Clause>,
    /// It holds for this long before it fires.
    pub hold_ms: i64,
    /// What only happens (an event, a growth, a jump) counts for this long.
    pub keep_ms: i64,
    /// It is over when the counters of its subject begin anew.
    pub is_until_reset: bool,
    pub message: Template,
    pub message_ko: Option<Template>,
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// `ready-made`, or the name of its file.
    pub origin: Arc<str>,
    pub unit: &'static str,
    /// As it is written, to tell whether it changed.
    pub file: RuleFile,
}

/// What a rule says of one subject now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    Holds {
        value: Option<f64>,
        threshold: Option<f64>,
    },
    /// It happened just now.
    Happened {
        value: Option<f64>,
        previous: Option<f64>,
    },
    /// Neither beyond its threshold nor back at where it clears.
    Between(f64),
    Not(Option<f64>),
    Unknown(Reason),
    /// No observation since the last look.
    Same,
}

impl Verdict {
    /// Whether it concerns a subject without an alert.
    pub fn is_news(self) -> bool {
        matches!(self, Self::Holds { .. } | Self::Happened { .. })
    }
}

/// Counters as they were before a gap.
pub type Lost = HashMap<(Arc<str>, MetricId), f64>;

impl Rule {
    pub fn resolve(&self, catalogue: &Catalogue) {
        let clause = |c: &Clause| {
            c.quantity.metric.resolve(catalogue);
            c.quantity.of.iter().for_each(|m| m.resolve(catalogue));
            if let Test::Near { limits, .. } = &c.test {
                limits.iter().for_each(|m| m.resolve(catalogue));
            }
        };
        match &self.condition {
            Condition::Number(c) => clause(c),
            Condition::Increases { metric, .. } | Condition::Spike { metric, .. } => metric.resolve(catalogue),
            _ => {}
        }
        self.gates.iter().for_each(clause);
    }

    /// Whether a label's value passes the filter; `get` finds it.
    pub fn lets_in<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.filter.iter().all(|(key, values)| get(key).is_some_and(|v| values.iter().any(|p| p.matches(v))))
    }

    /// Whether what it finds has an end of its own: after [`Rule::keep_ms`].
    pub fn is_of_moments(&self) -> bool {
        matches!(
            self.condition,
            Condition::Increases { .. }
                | Condition::Spike { .. }
                | Condition::Event { .. }
                | Condition::Power { test: PowerTest::Spike { .. }, .. }
        )
    }

    pub fn is_spike(&self) -> bool {
        matches!(self.condition, Condition::Spike { .. } | Condition::Power { test: PowerTest::Spike { .. }, .. })
    }

    /// Of a subject that changed; `old` is the same one before. What is about events, sources and sums is not said here.
    pub fn verdict(&self, old: Option<&Subject>, new: &Subject, lost: &Lost) -> Verdict {
        let verdict = match &self.condition {
            Condition::Number(clause) => clause.verdict(old, new),
            Condition::Increases { metric, by, factor } => increases(metric, *by, *factor, old, new, lost),
            Condition::Spike { metric, percent, least } => spike(metric, (*percent, *least), old, new),
            _ => Verdict::Same,
        };
        self.gates.iter().fold(verdict, |so_far, gate| match so_far {
            Verdict::Not(_) | Verdict::Unknown(_) | Verdict::Same => so_far,
            _ => match gate.verdict(old, new) {
                Verdict::Holds { .. } => so_far,
                unknown @ Verdict::Unknown(_) => unknown,
                _ => Verdict::Not(None),
            },
        })
    }
}

impl Clause {
    fn verdict(&self, old: Option<&Subject>, new: &Subject) -> Verdict {
        let value = match self.quantity.value(old, new) {
            Ok(Some(value)) => value,
            Ok(None) => return Verdict::Same,
            Err(_) if matches!(self.test, Test::Unknown) => return Verdict::Holds { value: None, threshold: None },
            Err(reason) => return Verdict::Unknown(reason),
        };
        match &self.test {
            Test::Bound(bound) => bound.judge(value),
            Test::Near { limits, within, clear } => match limits.iter().find_map(|l| l.number(new).ok()) {
                Some(limit) => {
                    let limit = limit * self.quantity.factor;
                    // At the distance itself it is near already.
                    match () {
                        _ if value >= limit - within => Verdict::Holds { value: Some(value), threshold: Some(limit - within) },
                        _ if value <= limit - clear => Verdict::Not(Some(value)),
                        _ => Verdict::Between(value),
                    }
                }
                // Nobody knows what is too much.
                None => Verdict::Unknown(limits.first().map_or(Reason::Absent, |l| l.number(new).err().unwrap_or(Reason::Absent))),
            },
            // A number of bits is whole and not negative: the catalogue's range says so.
            Test::Bits(bits) if value as u64 & bits != 0 => Verdict::Holds { value: Some(value), threshold: None },
            Test::State(states) if states.get(value as usize).copied().unwrap_or(false) => {
                Verdict::Holds { value: Some(value), threshold: None }
            }
            Test::Bits(_) | Test::State(_) | Test::Unknown => Verdict::Not(Some(value)),
        }
    }
}

impl Quantity {
    /// `Ok(None)` where a rate has seen nothing new.
    fn value(&self, old: Option<&Subject>, new: &Subject) -> Result<Option<f64>, Reason> {
        let (now, now_ms) = self.metric.observed(new)?;
        if self.is_rate {
            let (then, at_ms) = old.and_then(|old| self.metric.observed(old).ok()).ok_or(Reason::Absent)?;
            return match now_ms - at_ms {
                0 => Ok(None),
                // A counter that began anew: what it counted in between is not known.
                span if span < 0 || now < then => Err(Reason::Absent),
                span => Ok(Some((now - then) / span as f64 * 1e3 * self.factor)),
            };
        }
        let Some(of) = &self.of else { return Ok(Some(now * self.factor)) };
        let whole = of.number(new)?;
        if whole > 0.0 { Ok(Some(now / whole * self.factor)) } else { Err(Reason::Absent) }
    }
}

/// A number as it was.
fn before(metric: &Metric, old: Option<&Subject>) -> Option<f64> {
    metric.number(old?).ok()
}

fn increases(metric: &Metric, by: f64, factor: f64, old: Option<&Subject>, new: &Subject, lost: &Lost) -> Verdict {
    let now = match metric.number(new) {
        Ok(now) => now,
        Err(reason) => return Verdict::Unknown(reason),
    };
    let kept = || metric.id.get().and_then(|id| lost.get(&(new.id.clone(), *id)).copied());
    let Some(then) = before(metric, old).or_else(kept) else { return Verdict::Unknown(Reason::Absent) };
    // From 0, where it began anew.
    let growth = if now < then { now } else { now - then };
    match growth >= by {
        true => Verdict::Happened { value: Some(now * factor), previous: Some(then * factor) },
        false => Verdict::Not(Some(now * factor)),
    }
}

fn spike(metric: &Metric, (percent, least): (f64, f64), old: Option<&Subject>, new: &Subject) -> Verdict {
    match (metric.number(new), before(metric, old)) {
        (Err(reason), _) => Verdict::Unknown(reason),
        (Ok(_), None) => Verdict::Unknown(Reason::Absent),
        (Ok(now), Some(then)) => jump(then, now, percent, least),
    }
}

/// A card's count of energy: it grows while the card lives and begins anew with a reset or a restart of its node. `None` where it is not
/// read.
pub fn life_count(s: &Subject) -> Option<f64> {
    s.number(Catalogue::known("energy_joules")?)
}

/// Whether such a count began anew: a reading that is a little less is one of a source that rounds.
pub fn began_anew(then: f64, now: f64) -> bool {
    now < then / 2.0
}

/// Whether watts jumped.
pub fn jump(then: f64, now: f64, percent: f64, least: f64) -> Verdict {
    let change = (now - then).abs();
    match then > 0.0 && change >= least && change / then * 100.0 >= percent {
        true => Verdict::Happened { value: Some(now), previous: Some(then) },
        false => Verdict::Not(Some(now)),
    }
}

/// Notes counters that a gap begins to hide, and forgets those that are read again.
pub fn note_lost(rule: &Rule, old: Option<&Subject>, new: &Subject, lost: &mut Lost) {
    let Condition::Increases { metric, .. } = &rule.condition else { return };
    let Some(id) = metric.id.get().copied() else { return };
    match metric.number(new) {
        Ok(_) if lost.is_empty() => {}
        Ok(_) => drop(lost.remove(&(new.id.clone(), id))),
        Err(_) => {
            if let Some(value) = before(metric, old) {
                lost.insert((new.id.clone(), id), value);
            }
        }
    }
}

/// Whether a subject is missing where it should be: `Unknown` while nobody who knew it answers.
pub fn vanished(snapshot: &Snapshot, s: &Subject, now_ms: i64) -> Verdict {
    if s.life == Life::Live {
        return Verdict::Not(None);
    }
    let answers = |r: &Reading| snapshot.sources.get(r.source as usize).is_some_and(|source| !source.is_gone && !is_stale(source, now_ms));
    match s.readings.iter().any(answers) {
        true => Verdict::Holds { value: None, threshold: None },
        false => Verdict::Unknown(Reason::Stale),
    }
}

/// Whether a source has not answered for three intervals; one that never did, after three tries.
pub fn is_stale(source: &crate::inventory::Source, now_ms: i64) -> bool {
    match source.last_success_ms {
        Some(at) => now_ms - at > source.interval_ms * crate::inventory::STALE_INTERVALS,
        None => i64::from(source.consecutive_failures) >= crate::inventory::STALE_INTERVALS,
    }
}
