//! What a facility draws beside its servers: only from meters that the operator names, never from a factor.

use super::{IDS, Now, Sum, Watts};
use crate::inventory::Snapshot;

/// Below this share of load a card is idle, as everywhere in the API.
const IDLE: f64 = 0.01;

/// A hall or site, as it is configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facility {
    pub name: String,
    /// That it feeds; all where none is named.
    pub clusters: Vec<String>,
    /// Ids of subjects that add up; where none is named, the `facility` subject of its name.
    pub meters: Vec<String>,
    /// A constant in place of a meter.
    pub power_watts: Option<f64>,
}

impl Facility {
    pub fn feeds(&self, cluster: &str) -> bool {
        self.clusters.is_empty() || self.clusters.iter().any(|c| c == cluster)
    }

    /// Ids of what meters it; none where a constant is configured.
    pub fn meters(&self) -> Vec<String> {
        match self.power_watts {
            Some(_) => Vec::new(),
            None if self.meters.is_empty() => vec![format!("facility/{}", self.name)],
            None => self.meters.clone(),
        }
    }

    /// What its meters show now, or which of them does not.
    pub fn metered(&self, snapshot: &Snapshot) -> Result<Option<Watts>, String> {
        let now = Now::of(snapshot);
        let read = |id: &String| {
            let watts = snapshot.get(id).and_then(|s| now.watts(s, IDS.power));
            watts.ok_or_else(|| format!("the meter {id:?} of facility {} is not read now", self.name))
        };
        let all: Vec<Watts> = self.meters().iter().map(read).collect::<Result<_, _>>()?;
        let of = all.len();
        Ok(Watts::sum(all.into_iter(), of))
    }
}

/// What of a facility's watts reaches its servers.
#[derive(Debug, Clone, PartialEq)]
pub struct Efficiency {
    pub it: Sum,
    pub facility_watts: Option<f64>,
    /// Whether a constant is in it.
    pub is_configured: bool,
    pub pue: Option<f64>,
    /// Why there is no PUE.
    pub reason: Option<String>,
}

/// The facilities whose meters show a cluster, or all clusters, and nothing else.
pub fn covering<'a>(snapshot: &Snapshot, facilities: &'a [Facility], cluster: Option<&str>) -> Result<Vec<&'a Facility>, String> {
    if facilities.is_empty() {
        return Err("no facility meter is configured: [facility.NAME] in kcloud-monitor.toml".to_owned());
    }
    let mut all: Vec<&str> = snapshot.account().machines(None).map(|s| &*s.cluster).collect();
    all.dedup();
    let in_scope = |c: &str| cluster.is_none_or(|scope| scope == c);
    let chosen: Vec<&Facility> = facilities.iter().filter(|f| all.iter().any(|c| in_scope(c) && f.feeds(c))).collect();
    if let Some(unfed) = all.iter().find(|c| in_scope(c) && !chosen.iter().any(|f| f.feeds(c))) {
        return Err(format!("no configured facility feeds cluster {unfed}"));
    }
    if let Some((f, other)) = chosen.iter().find_map(|f| Some((f, all.iter().find(|c| !in_scope(c) && f.feeds(c))?))) {
        return Err(format!("facility {} feeds {other}, too; its meters show both", f.name));
    }
    Ok(chosen)
}

/// PUE of a cluster, or of all, where meters show both sides whole.
pub fn efficiency(snapshot: &Snapshot, facilities: &[Facility], cluster: Option<&str>) -> Efficiency {
    let it = snapshot.account().total(cluster);
    let mut out = Efficiency { it, facility_watts: None, is_configured: false, pue: None, reason: None };
    let metered = covering(snapshot, facilities, cluster).and_then(|chosen| {
        let mut sum = None;
        for facility in chosen {
            let watts = match facility.power_watts {
                Some(constant) => Some(constant),
                None => facility.metered(snapshot)?.map(|w| w.watts),
            };
            out.is_configured |= facility.power_watts.is_some();
            sum = watts.map(|w| sum.unwrap_or(0.0) + w).or(sum);
        }
        sum.ok_or_else(|| "no server is known".to_owned())
    });
    let whole =
        snapshot.account().machines(cluster).filter(|s| s.total().is_some_and(|(method, _)| method != super::Method::Parts)).count();
    let judged = metered.and_then(|watts| {
        out.facility_watts = Some(watts);
        match out.it.watts {
            _ if whole < out.it.of => Err(format!("{} of {} servers are not measured as a whole", out.it.of - whole, out.it.of)),
            Some(it) if it > 0.0 && watts >= it => Ok(watts / it),
            Some(it) => Err(format!("the facility's {watts} W are less than its servers' {it} W")),
            None => Err("no server's watts are known".to_owned()),
        }
    });
    match judged {
        Ok(pue) => out.pue = Some(pue),
        Err(reason) => out.reason = Some(reason),
    }
    out
}

/// Cards by what they do, and what they draw doing it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Use {
    pub cards: usize,
    pub utilised: usize,
    pub idle: usize,
    pub watts: Option<f64>,
    pub idle_watts: Option<f64>,
    /// Of cards whose load is known: watts, and watts times load.
    weighed: f64,
    at_work: f64,
}

impl Use {
    /// All cards' watts over those that work.
    pub fn watts_per_utilised(&self) -> Option<f64> {
        self.watts.filter(|_| self.utilised > 0).map(|w| w / self.utilised as f64)
    }

    /// The share of the cards' watts that was drawn under load: watts weighted by utilization.
    pub fn at_work(&self) -> Option<f64> {
        (self.weighed > 0.0).then(|| self.at_work / self.weighed)
    }
}

/// What cards that do nothing draw.
pub fn idle(snapshot: &Snapshot, cluster: Option<&str>) -> Use {
    let (now, account) = (Now::of(snapshot), snapshot.account());
    let mut all = Use::default();
    for (card, watts) in account.machines(cluster).flat_map(|s| account.cards_of(snapshot, s)) {
        let (load, watts) = (now.number(card, IDS.utilization), watts.map(|w| w.watts));
        all.cards += 1;
        all.utilised += usize::from(load.is_some_and(|l| l >= IDLE));
        all.idle += usize::from(load.is_some_and(|l| l < IDLE));
        all.watts = watts.map(|w| all.watts.unwrap_or(0.0) + w).or(all.watts);
        if load.is_some_and(|l| l < IDLE) {
            all.idle_watts = watts.map(|w| all.idle_watts.unwrap_or(0.0) + w).or(all.idle_watts);
        }
        if let Some((load, watts)) = load.zip(watts) {
            all.weighed += watts;
            all.at_work += watts * load;
        }
    }
    all
}
