//! What every metric means: name, unit, valid range, kind, and how it adds up.
//!
//! In: metric definitions from plugins. Out: a [`MetricId`] that the rest of the host uses. A metric that the catalogue
//! lacks is kept raw under its own `x_` name and is never added up. Units are base units (spec/DATA_MODELS.md).

mod table;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, RwLock};

pub use table::{ACCOUNT, METRICS, Metric};

/// Index into the catalogue; stable within one process only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricId(pub u16);

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Gauge,
    Counter,
    State,
    Histogram,
    Info,
}

/// How values of one metric combine over subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    Sum,
    Average,
    Maximum,
    None,
}

const MIB: f64 = 1_048_576.0;

/// What a field of the API is called in the catalogue, and the factor from there.
pub fn documented(field: &str) -> (String, f64) {
    match (field.strip_suffix("_percent"), field.strip_suffix("_mb"), field.strip_suffix("_mhz")) {
        (Some(head), ..) => (format!("{head}_ratio"), 100.0),
        (_, Some(head), _) => (format!("{head}_bytes"), 1.0 / MIB),
        (.., Some(head)) => (format!("{head}_hertz"), 1e-6),
        _ => (field.to_owned(), 1.0),
    }
}

/// Raw metrics that plugins brought along, at most: a guard against a plugin that invents names.
const MAX_RAW: usize = 8_192;
const MAX_BROUGHT: usize = 2_048;
/// Names of one state.
pub const MAX_STATES: usize = 256;
const MAX_STATE: usize = 128;

/// Why a plugin's metric definition is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("metric {name:?}: its unit is {given:?}, the catalogue says {expected:?}")]
    Unit { name: String, given: String, expected: &'static str },
    #[error("metric {name:?}: its kind is {given:?}, the catalogue says {expected:?}")]
    Kind { name: String, given: Kind, expected: Kind },
    #[error("metric {0:?} is not in the catalogue; a name of your own starts with x_, then [a-z0-9_], at most 100 bytes")]
    Unknown(String),
    #[error("metric {name:?} has no state {given:?}; its states are {}", expected.join(", "))]
    State { name: String, given: String, expected: &'static [&'static str] },
    #[error("metric {0:?} has at most {MAX_STATES} states, each with a name of 1 to {MAX_STATE} bytes without control characters")]
    States(String),
    #[error("no room for metric {0:?}: {MAX_RAW} names of plugins' own (of states, too) are known already")]
    Full(String),
    #[error("no room for metric {0:?}: one plugin brings at most {MAX_BROUGHT} names of its own, of states, too")]
    Brought(String),
}

/// Raw names that one plugin may still bring, so that none uses up the room of all.
pub struct NamesLeft(AtomicUsize);

impl Default for NamesLeft {
    fn default() -> Self {
        Self(AtomicUsize::new(MAX_BROUGHT))
    }
}

impl NamesLeft {
    /// Counts one more name, of a metric or of a state of it.
    fn take(&self, metric: &str, all: usize) -> Result<(), Refused> {
        if all >= MAX_RAW {
            return Err(Refused::Full(metric.into()));
        }
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.map(drop).map_err(|_| Refused::Brought(metric.into()))
    }
}

/// The known metrics and the raw ones seen so far. Grows, never shrinks, so that an id stays valid.
#[derive(Default)]
pub struct Catalogue {
    raw: RwLock<RawNames>,
}

#[derive(Default)]
struct RawNames {
    by_name: HashMap<Arc<str>, u16>,
    metrics: Vec<RawMetric>,
    /// Names of their states, all together.
    states: usize,
}

struct RawMetric {
    name: Arc<str>,
    kind: Kind,
    states: Vec<Arc<str>>,
}

impl Catalogue {
    /// The id of a known metric.
    pub fn known(name: &str) -> Option<MetricId> {
        METRICS.binary_search_by(|m| m.name.cmp(name)).ok().map(|i| MetricId(i as u16))
    }

    /// The id of a metric, known or brought by a plugin.
    pub fn find(&self, name: &str) -> Option<MetricId> {
        let raw = || self.raw.read().unwrap_or_else(|e| e.into_inner()).by_name.get(name).map(|i| MetricId(METRICS.len() as u16 + i));
        Self::known(name).or_else(raw)
    }

    /// What stands for a metric outside the host, ours or of the account of power; a plugin's own `x_` metrics do not leave.
    pub fn leaving(name: &str) -> Option<&'static Metric> {
        let find = |all: &'static [Metric]| all.binary_search_by(|m| m.name.cmp(name)).ok().map(|i| &all[i]);
        find(METRICS).or_else(|| find(ACCOUNT))
    }

    /// The catalogue's entry; `None` for a raw metric.
    pub fn metric(id: MetricId) -> Option<&'static Metric> {
        METRICS.get(id.0 as usize)
    }

    /// Checks a plugin's definition and gives its id; `left` are the names that the plugin may still bring.
    pub fn admit(&self, name: &str, unit: &str, kind: Kind, left: &NamesLeft) -> Result<MetricId, Refused> {
        if let Some(id) = Self::known(name) {
            let m = &METRICS[id.0 as usize];
            if m.kind != kind {
                return Err(Refused::Kind { name: name.into(), given: kind, expected: m.kind });
            }
            if m.unit != unit {
                return Err(Refused::Unit { name: name.into(), given: unit.into(), expected: m.unit });
            }
            return Ok(id);
        }
        let well_formed =
            name.starts_with("x_") && name.len() <= 100 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !well_formed {
            return Err(Refused::Unknown(name.chars().take(120).collect()));
        }
        let mut raw = self.raw.write().unwrap_or_else(|e| e.into_inner());
        if let Some(i) = raw.by_name.get(name) {
            let known = raw.metrics[*i as usize].kind;
            return match known == kind {
                true => Ok(MetricId(METRICS.len() as u16 + i)),
                false => Err(Refused::Kind { name: name.into(), given: kind, expected: known }),
            };
        }
        left.take(name, raw.metrics.len() + raw.states)?;
        let index = raw.metrics.len() as u16;
        let name: Arc<str> = name.into();
        raw.by_name.insert(name.clone(), index);
        raw.metrics.push(RawMetric { name, kind, states: Vec::new() });
        Ok(MetricId(METRICS.len() as u16 + index))
    }

    /// Where each of a plugin's names for a state stands here.
    pub fn states(&self, id: MetricId, names: &[String], left: &NamesLeft) -> Result<Vec<u32>, Refused> {
        if let Some(m) = Self::metric(id) {
            let place = |given: &String| m.states.iter().position(|s| s == given).map(|i| i as u32);
            let unknown = |given: &String| Refused::State { name: m.name.into(), given: given.clone(), expected: m.states };
            return names.iter().map(|given| place(given).ok_or_else(|| unknown(given))).collect();
        }
        let RawNames { metrics, states: all, .. } = &mut *self.raw.write().unwrap_or_else(|e| e.into_inner());
        let mut count = metrics.len() + *all;
        let Some(RawMetric { name, states, .. }) = metrics.get_mut(id.0 as usize - METRICS.len()) else { return Ok(Vec::new()) };
        let mut place = |given: &String| {
            if let Some(known) = states.iter().position(|s| **s == **given) {
                return Ok(known as u32);
            }
            if given.is_empty() || given.len() > MAX_STATE || given.chars().any(char::is_control) || states.len() >= MAX_STATES {
                return Err(Refused::States((**name).into()));
            }
            left.take(name, count)?;
            (count, *all) = (count + 1, *all + 1);
            states.push(given.as_str().into());
            Ok(states.len() as u32 - 1)
        };
        names.iter().map(&mut place).collect()
    }

    /// The name of a state that a reading holds.
    pub fn state(&self, id: MetricId, value: f64) -> Option<Arc<str>> {
        match Self::metric(id) {
            Some(m) => m.states.get(value as usize).map(|s| (*s).into()),
            None => {
                let raw = self.raw.read().unwrap_or_else(|e| e.into_inner());
                raw.metrics.get(id.0 as usize - METRICS.len())?.states.get(value as usize).cloned()
            }
        }
    }

    /// What kind of number a metric is, known or raw.
    pub fn kind(&self, id: MetricId) -> Option<Kind> {
        match Self::metric(id) {
            Some(m) => Some(m.kind),
            None => {
                let raw = self.raw.read().unwrap_or_else(|e| e.into_inner());
                raw.metrics.get(id.0 as usize - METRICS.len()).map(|m| m.kind)
            }
        }
    }

    /// What a metric is, known or raw: name, unit, kind and states. The unit of a raw one stands in its name.
    pub fn definition(&self, id: MetricId) -> (Arc<str>, Arc<str>, Kind, Vec<Arc<str>>) {
        if let Some(m) = Self::metric(id) {
            return (m.name.into(), m.unit.into(), m.kind, m.states.iter().map(|s| (*s).into()).collect());
        }
        let raw = self.raw.read().unwrap_or_else(|e| e.into_inner());
        match raw.metrics.get((id.0 as usize).wrapping_sub(METRICS.len())) {
            Some(m) => (m.name.clone(), m.name.rsplit('_').next().unwrap_or("").into(), m.kind, m.states.clone()),
            None => ("".into(), "".into(), Kind::Gauge, Vec::new()),
        }
    }

    /// The gauge that is the growth of a counter a second, where the catalogue has one.
    pub fn rate_of(counter: MetricId) -> Option<MetricId> {
        static RATES: LazyLock<Vec<Option<MetricId>>> = LazyLock::new(|| {
            let rate =
                |m: &Metric| table::RATES.iter().find(|(counter, _)| *counter == m.name).and_then(|(_, gauge)| Catalogue::known(gauge));
            METRICS.iter().map(rate).collect()
        });
        RATES.get(counter.0 as usize).copied().flatten()
    }

    /// Name of a metric, known or raw.
    pub fn name(&self, id: MetricId) -> Arc<str> {
        match METRICS.get(id.0 as usize) {
            Some(m) => m.name.into(),
            None => {
                let raw = self.raw.read().unwrap_or_else(|e| e.into_inner());
                raw.metrics.get(id.0 as usize - METRICS.len()).map_or_else(|| "".into(), |m| m.name.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!([METRICS, ACCOUNT].iter().all(|all| all.windows(2).all(|w| w[0].name < w[1].name)));
        for (counter, gauge) in table::RATES {
            let of = |name: &str, kind: Kind| Catalogue::known(name).is_some_and(|id| METRICS[id.0 as usize].kind == kind);
            assert!(of(counter, Kind::Counter) && of(gauge, Kind::Gauge), "{counter} {gauge}");
        }
    }

    #[test]
    fn a_state_is_known_by_its_name_whatever_order_a_plugin_lists() {
        let (c, left) = (Catalogue::default(), NamesLeft::default());
        let names = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let health = c.admit("health", "state", Kind::State, &left).unwrap();
        assert_eq!(c.states(health, &names(&["critical", "ok"]), &left), Ok(vec![2, 0]));
        assert_eq!(&*c.state(health, 2.0).unwrap(), "critical");
        assert!(matches!(c.states(health, &names(&["good"]), &left), Err(Refused::State { .. })));
        let own = c.admit("x_acme_mode_state", "state", Kind::State, &left).unwrap();
        assert_eq!(c.states(own, &names(&["fast", "slow"]), &left), Ok(vec![0, 1]));
        assert_eq!(c.states(own, &names(&["slow", "off"]), &left), Ok(vec![1, 2]));
        assert_eq!((c.state(own, 2.0).as_deref(), c.state(own, 3.0)), (Some("off"), None));
        assert!(c.states(own, &(0..MAX_STATES).map(|i| i.to_string()).collect::<Vec<_>>(), &left).is_err());
    }

    #[test]
    fn one_plugin_does_not_use_up_the_room_of_all() {
        let (c, greedy, modest) = (Catalogue::default(), NamesLeft::default(), NamesLeft::default());
        let brought = (0..MAX_RAW).filter(|i| c.admit(&format!("x_{i}"), "count", Kind::Gauge, &greedy).is_ok()).count();
        assert_eq!(brought, MAX_BROUGHT);
        assert!(matches!(c.admit("x_more", "count", Kind::Gauge, &greedy), Err(Refused::Brought(_))));
        assert!(c.admit("x_0", "count", Kind::Gauge, &greedy).is_ok() && c.admit("x_more", "count", Kind::Gauge, &modest).is_ok());
    }

    #[test]
    fn a_known_metric_keeps_its_unit_and_kind() {
        let (c, left) = (Catalogue::default(), NamesLeft::default());
        assert!(c.admit("power_watts", "watts", Kind::Gauge, &left).is_ok());
        assert!(matches!(c.admit("power_watts", "milliwatts", Kind::Gauge, &left), Err(Refused::Unit { .. })));
        assert!(matches!(c.admit("power_watts", "watts", Kind::Counter, &left), Err(Refused::Kind { .. })));
    }

    #[test]
    fn no_plugin_says_what_the_host_alone_says() {
        let (c, left) = (Catalogue::default(), NamesLeft::default());
        for m in ACCOUNT {
            assert!(matches!(c.admit(m.name, m.unit, m.kind, &left), Err(Refused::Unknown(_))), "{}", m.name);
            assert!(Catalogue::known(m.name).is_none() && Catalogue::leaving(m.name).is_some());
        }
    }

    #[test]
    fn a_raw_metric_needs_its_prefix_and_keeps_its_id() {
        let (c, left) = (Catalogue::default(), NamesLeft::default());
        assert!(matches!(c.admit("fps", "count", Kind::Gauge, &left), Err(Refused::Unknown(_))));
        let a = c.admit("x_acme_frames_count", "count", Kind::Gauge, &left);
        assert_eq!(a, c.admit("x_acme_frames_count", "count", Kind::Gauge, &left));
        assert_eq!(&*c.name(a.unwrap()), "x_acme_frames_count");
    }
}
