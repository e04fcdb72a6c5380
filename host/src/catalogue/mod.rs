//! What every metric means: name, unit, valid range, kind, and how it adds up.
//!
//! In: metric definitions from plugins. Out: a [`MetricId`] that the rest of the host uses. A metric that the catalogue
//! lacks is kept raw under its own `x_` name and is never added up. Units are base units (spec/DATA_MODELS.md).

mod table;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

pub use table::{METRICS, Metric};

/// Index into the catalogue; stable within one process only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricId(pub u16);

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Raw metrics that plugins brought along, at most: a guard against a plugin that invents names.
const MAX_RAW: usize = 8_192;
const MAX_BROUGHT: usize = 2_048;

/// Why a plugin's metric definition is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("metric {name:?}: its unit is {given:?}, the catalogue says {expected:?}")]
    Unit { name: String, given: String, expected: &'static str },
    #[error("metric {name:?}: its kind is {given:?}, the catalogue says {expected:?}")]
    Kind { name: String, given: Kind, expected: Kind },
    #[error("metric {0:?} is not in the catalogue; a name of your own starts with x_, then [a-z0-9_], at most 100 bytes")]
    Unknown(String),
    #[error("no room for metric {0:?}: {MAX_RAW} names of plugins' own are known already")]
    Full(String),
    #[error("no room for metric {0:?}: one plugin brings at most {MAX_BROUGHT} names of its own")]
    Brought(String),
}

/// Raw names that one plugin may still bring, so that none uses up the room of all.
pub struct NamesLeft(AtomicUsize);

impl Default for NamesLeft {
    fn default() -> Self {
        Self(AtomicUsize::new(MAX_BROUGHT))
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
    metrics: Vec<(Arc<str>, Kind)>,
}

impl Catalogue {
    /// The id of a known metric.
    pub fn known(name: &str) -> Option<MetricId> {
        METRICS.binary_search_by(|m| m.name.cmp(name)).ok().map(|i| MetricId(i as u16))
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
            let (_, known) = &raw.metrics[*i as usize];
            return match *known == kind {
                true => Ok(MetricId(METRICS.len() as u16 + i)),
                false => Err(Refused::Kind { name: name.into(), given: kind, expected: *known }),
            };
        }
        if raw.metrics.len() >= MAX_RAW {
            return Err(Refused::Full(name.into()));
        }
        let taken = left.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.map_err(|_| Refused::Brought(name.into()))?;
        let index = raw.metrics.len() as u16;
        let name: Arc<str> = name.into();
        raw.by_name.insert(name.clone(), index);
        raw.metrics.push((name, kind));
        Ok(MetricId(METRICS.len() as u16 + index))
    }

    /// Name of a metric, known or raw.
    pub fn name(&self, id: MetricId) -> Arc<str> {
        match METRICS.get(id.0 as usize) {
            Some(m) => m.name.into(),
            None => {
                let raw = self.raw.read().unwrap_or_else(|e| e.into_inner());
                raw.metrics.get(id.0 as usize - METRICS.len()).map_or_else(|| "".into(), |(n, _)| n.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(METRICS.windows(2).all(|w| w[0].name < w[1].name));
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
    fn a_raw_metric_needs_its_prefix_and_keeps_its_id() {
        let (c, left) = (Catalogue::default(), NamesLeft::default());
        assert!(matches!(c.admit("fps", "count", Kind::Gauge, &left), Err(Refused::Unknown(_))));
        let a = c.admit("x_acme_frames_count", "count", Kind::Gauge, &left);
        assert_eq!(a, c.admit("x_acme_frames_count", "count", Kind::Gauge, &left));
        assert_eq!(&*c.name(a.unwrap()), "x_acme_frames_count");
    }
}
