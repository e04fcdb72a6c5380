//! What one of a node's tenants draws, by part.

use kcloud_collector_sdk::exporter::Row;

/// Where energy goes. `Psys` contains the packages, and these `Core` and `Uncore`: what contains each other is never added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Package,
    Dram,
    Gpu,
    Other,
    Psys,
    Core,
    Uncore,
    /// All of it, as Kepler adds it up.
    Total,
}

impl Part {
    /// `package`, and one of several packages: `package-1`.
    pub(crate) fn of_zone(zone: &str) -> Option<Self> {
        Some(match zone.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-') {
            "package" => Self::Package,
            "dram" => Self::Dram,
            "psys" => Self::Psys,
            "core" => Self::Core,
            "uncore" => Self::Uncore,
            _ => return None,
        })
    }
}

/// A number a part, where there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts([Option<f64>; 8]);

impl Parts {
    pub(crate) fn get(&self, part: Part) -> Option<f64> {
        self.0[part as usize]
    }

    fn add(&mut self, part: Part, value: f64) {
        *self.0[part as usize].get_or_insert(0.0) += value;
    }

    /// All of it: as said, else packages and memory, or what contains them where these are not shown, with the rest.
    pub(crate) fn total(&self) -> Option<f64> {
        let zones = match self.get(Part::Package) {
            Some(package) => Some(package + self.get(Part::Dram).unwrap_or(0.0)),
            None => self.get(Part::Psys).or(self.get(Part::Dram)),
        };
        let parts = [zones, self.get(Part::Gpu), self.get(Part::Other)].into_iter().flatten();
        self.get(Part::Total).or_else(|| parts.reduce(|a, b| a + b))
    }

    fn join(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            if let Some(theirs) = theirs {
                *mine.get_or_insert(0.0) += theirs;
            }
        }
    }
}

/// Joules so far and watts now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Share {
    joules: Parts,
    watts: Parts,
    pub at_ms: Option<i64>,
}

impl Share {
    pub(crate) fn add(&mut self, part: Part, is_power: bool, row: &Row<'_>) {
        let parts = if is_power { &mut self.watts } else { &mut self.joules };
        parts.add(part, row.value);
        self.at_ms = row.at_ms;
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.joules.join(&other.joules);
        self.watts.join(&other.watts);
        self.at_ms = self.at_ms.or(other.at_ms);
    }

    /// Nothing is known of it.
    pub(crate) fn is_empty(&self) -> bool {
        [&self.joules, &self.watts].iter().all(|parts| parts.0.iter().all(Option::is_none))
    }

    pub(crate) fn joules(&self) -> &Parts {
        &self.joules
    }

    pub(crate) fn watts(&self) -> &Parts {
        &self.watts
    }
}
