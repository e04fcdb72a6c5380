//! Who draws how many watts: one account over everything that is watched (spec/POWER_MODEL.md).
//!
//! In: a [`Snapshot`]. Out: its [`Account`] (servers, what is in them, and who measured it) and its
//! [`Workloads`] (pods and VMs), each made once and read by all: `snapshot.account()`, `snapshot.workloads()`. It must never add
//! watts that contain each other, never count what is stale, and never say 0 for what nobody knows.

mod account;
mod breakdown;
mod energy;
mod facility;
mod record;
mod shares;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::LazyLock;

pub use account::{Account, Server, Sum};
pub use breakdown::{By, Row, breakdown, class, kind_of, percentages, workload_of};
pub use energy::{Energy, Statistics, joules, joules_of_steps, statistics};
pub use facility::{Efficiency, Facility, Use, covering, efficiency, idle};
pub use record::{
    CLUSTER_KNOWN, CLUSTER_SERVERS, CLUSTER_WATTS, GROUP_WATTS, Recorder, SERVER_METHOD, SERVER_WATTS, WORKLOAD_WATTS, cluster_series,
    group_series, method_of, noted, series_labels,
};
pub use shares::{Share, Workloads};

use crate::catalogue::{Catalogue, MetricId};
use crate::inventory::{Life, Quality, Snapshot, Subject, Value};

/// How a server's watts are known, of equally trusted sources the most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A meter in front of it (PDU).
    Meter,
    Dcmi,
    /// PowerControl or EnvironmentMetrics.
    Redfish,
    /// The chassis' own power sensor.
    Sensor,
    /// What the supplies that are there take in, added up.
    Psu,
    /// Kepler's platform zone.
    Kepler,
    /// What is known of it, added up: it draws at least that.
    Parts,
}

impl Method {
    pub const ALL: [Self; 7] = [Self::Meter, Self::Dcmi, Self::Redfish, Self::Sensor, Self::Psu, Self::Kepler, Self::Parts];

    pub fn name(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::Dcmi => "dcmi",
            Self::Redfish => "redfish",
            Self::Sensor => "sensor",
            Self::Psu => "psu",
            Self::Kepler => "kepler",
            Self::Parts => "parts",
        }
    }
}

/// Watts with where they come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watts {
    pub watts: f64,
    pub quality: Quality,
    /// Index into [`Snapshot::sources`]; of a sum the first.
    pub source: u16,
    /// Of a sum the oldest and the newest, in ms since the Unix epoch.
    pub at_ms: i64,
    pub newest_ms: i64,
    /// Of a sum: how many of how many were read.
    pub read: u32,
    pub of: u32,
}

impl Watts {
    /// Adds what does not contain it.
    fn plus(self, other: Self) -> Self {
        Self {
            watts: self.watts + other.watts,
            quality: self.quality.max(other.quality),
            source: self.source,
            at_ms: self.at_ms.min(other.at_ms),
            newest_ms: self.newest_ms.max(other.newest_ms),
            read: self.read + other.read,
            of: self.of + other.of,
        }
    }

    /// A sum over what was read of `of`; `None` where nothing was.
    fn sum(all: impl Iterator<Item = Self>, of: usize) -> Option<Self> {
        let sum = all.reduce(Self::plus)?;
        Some(Self { of: of as u32, ..sum })
    }

    /// The sum of what contains nothing of each other.
    pub fn total(all: impl Iterator<Item = Self>) -> Option<Self> {
        // A sum is computed, of whatever.
        all.reduce(|a, b| Self { quality: a.quality.max(b.quality).max(Quality::Derived), ..a.plus(b) })
    }

    pub fn is_whole(&self) -> bool {
        self.read == self.of
    }
}

/// The metrics that the account reads.
struct Ids {
    power: MetricId,
    power_input: MetricId,
    cpu: MetricId,
    memory: MetricId,
    accelerator: MetricId,
    other: MetricId,
    utilization: MetricId,
    memory_used: MetricId,
    memory_total: MetricId,
}

static IDS: LazyLock<Ids> = LazyLock::new(|| {
    // A test holds that each is in the catalogue; what is not would be read as absent.
    let id = |name| Catalogue::known(name).unwrap_or(MetricId(u16::MAX));
    Ids {
        power: id("power_watts"),
        power_input: id("power_input_watts"),
        cpu: id("cpu_power_watts"),
        memory: id("memory_power_watts"),
        accelerator: id("accelerator_power_watts"),
        other: id("other_power_watts"),
        utilization: id("utilization_ratio"),
        memory_used: id("memory_used_bytes"),
        memory_total: id("memory_total_bytes"),
    }
});

/// What counts as read now: of a subject that is live, by a source that still answers.
struct Now {
    is_fresh: Vec<bool>,
}

impl Now {
    fn of(snapshot: &Snapshot) -> Self {
        let is_fresh = |s: &std::sync::Arc<crate::inventory::Source>| {
            let silent = s.last_success_ms.map(|at| snapshot.at_ms - at);
            !s.is_gone && silent.is_some_and(|silent| silent <= s.interval_ms * crate::inventory::STALE_INTERVALS)
        };
        Self { is_fresh: snapshot.sources.iter().map(is_fresh).collect() }
    }

    fn watts(&self, s: &Subject, metric: MetricId) -> Option<Watts> {
        let r = s.reading(metric)?;
        let (Value::Number(watts, quality), Life::Live) = (r.value, s.life) else { return None };
        let is_fresh = self.is_fresh.get(r.source as usize).copied().unwrap_or(false);
        is_fresh.then_some(Watts { watts, quality, source: r.source, at_ms: r.at_ms, newest_ms: r.at_ms, read: 1, of: 1 })
    }

    fn number(&self, s: &Subject, metric: MetricId) -> Option<f64> {
        self.watts(s, metric).map(|w| w.watts)
    }
}
