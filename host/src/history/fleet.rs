//! What other hosts see now, read from the engine to which they write: for a host without targets of its own.
//!
//! In: the rounds that remote write sends of each subject (`remote::subjects`) and the newest samples. Out: batches as plugins
//! give them, one for each plugin of the other host, so that everything after them is the same. It never guesses a time: a value
//! is as old as its sample, and one that the other host ended is not there.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;

use super::promql::{Engine, Row};
use super::{HistoryError, names};
use crate::catalogue::{Catalogue, METRICS, MetricId};
use crate::inventory::batch::{Batch, BatchEvent, BatchPoint, BatchSubject};
use crate::inventory::{HOLDS_NOW, Inventory, Kind, Quality, Severity, SourceInfo};

/// A host that has said nothing for this long is not heard any more: three of its rounds.
const SILENT_MS: i64 = 180_000;
/// What the newest round does not name, a round and a half after it was named, is gone.
const GONE_MS: i64 = 90_000;
/// Priorities of another host that are told apart.
const PRIORITIES: i32 = 1_000_000;
const MAX_SUBJECTS: usize = 1_000_000;
const MAX_VALUES: usize = 20_000_000;

/// The clusters that are read.
pub struct Fleet {
    engine: Engine,
    interval_ms: i64,
    /// What was said last time, by plugin and target.
    said: HashSet<(String, String)>,
    /// Clusters that could not be read last time: that is said once.
    failing: HashSet<String>,
}

/// One subject as the other host knows it.
#[derive(Debug)]
struct Told {
    at_ms: i64,
    kind: Kind,
    identity: Vec<(String, String)>,
    labels: Vec<(String, String)>,
    parent: String,
    plugin: String,
    priority: i32,
    derived: HashSet<String>,
    modelled: HashSet<String>,
    /// Metric, value, time.
    values: Vec<(MetricId, f64, i64)>,
}

#[derive(Deserialize)]
struct Texts(#[serde(deserialize_with = "texts")] Vec<(String, String)>);

fn texts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    BTreeMap::<String, String>::deserialize(from).map(|all| all.into_iter().collect())
}

fn ms(seconds: f64) -> i64 {
    (seconds * 1e3).round() as i64
}

impl Told {
    fn of((mut labels, at): Row) -> Option<(String, Self)> {
        let mut take = |key: &str| labels.remove(key).unwrap_or_default();
        let list = |text: String| text.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect();
        let (id, kind) = (take("id"), Kind::parse(&take("kind"))?);
        let told = Self {
            at_ms: ms(at),
            kind,
            identity: serde_json::from_str::<Texts>(&take("subject_identity")).ok()?.0,
            parent: take("subject_parent"),
            plugin: take("subject_plugin"),
            priority: take("subject_priority").parse().unwrap_or(0),
            derived: list(take("subject_derived")),
            modelled: list(take("subject_modelled")),
            labels: Vec::new(),
            values: Vec::new(),
        };
        // A part that an engine cut off is left out.
        let parts = labels.iter().filter(|(k, _)| k.starts_with("subject_labels_"));
        let labels = parts.filter_map(|(_, v)| serde_json::from_str::<Texts>(v).ok()).flat_map(|t| t.0).collect();
        (!id.is_empty()).then_some((id, Self { labels, ..told }))
    }

    fn quality(&self, metric: &str) -> Quality {
        match () {
            () if self.modelled.contains(metric) => Quality::Modelled,
            () if self.derived.contains(metric) => Quality::Derived,
            () => Quality::Measured,
        }
    }
}

/// Pairs of time and value of the series of one answer.
fn timed(rows: Vec<Row>) -> Vec<(BTreeMap<String, String>, i64, f64)> {
    let mut times = HashMap::new();
    let mut values = Vec::new();
    for (mut labels, number) in rows {
        labels.remove("__name__");
        match labels.remove("sampled") {
            Some(_) => drop(times.insert(labels, ms(number))),
            None => values.push((labels, number)),
        }
    }
    values.into_iter().filter_map(|(labels, v)| times.get(&labels).copied().map(|at| (labels, at, v))).collect()
}

impl Fleet {
    /// `interval_ms` is how often it is read.
    pub fn new(engine: Engine, interval_ms: i64) -> Self {
        Self { engine, interval_ms, said: HashSet::new(), failing: HashSet::new() }
    }

    /// Reads one cluster. Blocking.
    fn told(&self, cluster: &str, now_ms: i64) -> Result<HashMap<String, Told>, HistoryError> {
        let own = format!("cluster=\"{}\"", names::escaped(cluster));
        let mut all: HashMap<String, Told> = HashMap::new();
        for row in self.engine.times_now("kcloud_subject_info", &own)? {
            let Some((id, told)) = Told::of(row) else { continue };
            // Other labels are another series; the newest is true.
            if all.get(&id).is_none_or(|known| known.at_ms < told.at_ms) {
                all.insert(id, told);
            }
        }
        let newest = all.values().map(|t| t.at_ms).max().unwrap_or(i64::MIN);
        all.retain(|_, told| told.at_ms >= now_ms - SILENT_MS && told.at_ms >= newest - GONE_MS);
        if all.is_empty() {
            return Ok(all);
        }
        for (i, metric) in METRICS.iter().enumerate() {
            for (labels, at, value) in timed(self.engine.values_now(&names::metric(metric), &own)?) {
                let Some(told) = labels.get("id").and_then(|id| all.get_mut(id)) else { continue };
                if at < now_ms - SILENT_MS {
                    continue;
                }
                let id = MetricId(i as u16);
                match told.values.last_mut().filter(|(known, ..)| *known == id) {
                    Some(known) if known.2 >= at => {}
                    Some(known) => *known = (id, value, at),
                    None => told.values.push((id, value, at)),
                }
            }
        }
        for (labels, at, value) in timed(self.engine.values_now("kcloud_standing_value", &own)?) {
            let Some(told) = labels.get("id").and_then(|id| all.get_mut(id)) else { continue };
            let Some(metric) = labels.get("metric").and_then(|name| Catalogue::known(name)) else { continue };
            // Of the newest round; what was read since then is younger.
            if at >= told.at_ms && told.values.iter().all(|(known, ..)| *known != metric) {
                told.values.push((metric, value, at));
            }
        }
        Ok(all)
    }

    /// Reads these clusters and tells the model. Blocking. What could not be read ages.
    pub fn read(&mut self, clusters: &[String], inventory: &Inventory) {
        let now_ms = crate::now_ms();
        // What is configured no more is not seen any more.
        self.said.retain(|(plugin, target)| {
            let stays = target.strip_prefix("engine/").is_some_and(|c| clusters.iter().any(|known| known == c));
            if !stays {
                inventory.remove_source(plugin, target, now_ms);
            }
            stays
        });
        for cluster in clusters {
            let target = format!("engine/{cluster}");
            let info = |plugin: &str, priority: i32| SourceInfo {
                plugin: plugin.into(),
                target: target.as_str().into(),
                cluster: cluster.as_str().into(),
                interval_ms: self.interval_ms,
                // In the other host's order, below whatever this host reads itself.
                priority: priority.clamp(-PRIORITIES, PRIORITIES) - 2 * PRIORITIES,
                max_subjects: MAX_SUBJECTS,
                max_values: MAX_VALUES,
            };
            let all = match self.told(cluster, now_ms) {
                Ok(all) => {
                    if self.failing.remove(cluster) {
                        tracing::info!(cluster, "what other hosts see now is read again");
                    }
                    all
                }
                Err(error) => {
                    if self.failing.insert(cluster.clone()) {
                        tracing::warn!(%error, cluster, "what other hosts see now could not be read from the history engine");
                    }
                    let before: Vec<_> = self.said.iter().filter(|(_, t)| *t == target).map(|(p, _)| p.clone()).collect();
                    before.iter().for_each(|plugin| inventory.failed(&info(plugin, 0), &error.to_string()));
                    continue;
                }
            };
            let plugins: HashMap<String, i32> = all.values().map(|t| (t.plugin.clone(), t.priority)).collect();
            for (plugin, priority) in &plugins {
                for problem in inventory.apply(&info(plugin, *priority), batch(&all, plugin), now_ms) {
                    tracing::warn!(problem, plugin, cluster, "what another host sees is not taken whole");
                }
            }
            self.said.retain(|(plugin, t)| {
                let stays = *t != target || plugins.contains_key(plugin);
                if !stays {
                    inventory.remove_source(plugin, t, now_ms);
                }
                stays
            });
            self.said.extend(plugins.into_keys().map(|plugin| (plugin, target.clone())));
        }
    }
}

/// What one plugin of the other host says; what contains its subjects stands before them.
fn batch(all: &HashMap<String, Told>, plugin: &str) -> Batch {
    let (mut batch, mut places) = (Batch::default(), HashMap::new());
    let mut ids: Vec<&String> = all.iter().filter(|(_, t)| t.plugin == plugin).map(|(id, _)| id).collect();
    ids.sort();
    for id in ids {
        place(all, plugin, id, &mut batch, &mut places, 0);
    }
    batch
}

/// Containers of containers, at most: what an engine says may go in circles.
const DEEPEST: usize = 16;

fn place<'a>(
    all: &'a HashMap<String, Told>,
    plugin: &str,
    id: &'a str,
    batch: &mut Batch,
    places: &mut HashMap<&'a str, u32>,
    depth: usize,
) -> Option<u32> {
    if let Some(place) = places.get(id) {
        return Some(*place);
    }
    let told = all.get(id).filter(|_| depth < DEEPEST)?;
    let parent = place(all, plugin, &told.parent, batch, places, depth + 1);
    // In a circle it was placed by what it contains.
    if let Some(place) = places.get(id) {
        return Some(*place);
    }
    let subject = batch.subjects.len() as u32;
    let is_own = told.plugin == plugin;
    batch.subjects.push(BatchSubject {
        kind: told.kind,
        identity: told.identity.clone(),
        labels: if is_own { told.labels.clone() } else { Vec::new() },
        parent,
        observed_at_ms: Some(told.at_ms),
    });
    if is_own {
        batch.points.extend(told.values.iter().filter_map(|(metric, value, at_ms)| {
            let name = METRICS.get(metric.0 as usize)?.name;
            Some(BatchPoint { subject, metric: *metric, value: *value, quality: told.quality(name), at_ms: Some(*at_ms) })
        }));
    }
    // Events are in no engine; what holds now is in the gauge.
    let xid = told
        .values
        .iter()
        .find(|(metric, value, _)| is_own && METRICS.get(metric.0 as usize).is_some_and(|m| m.name == "xid_last") && *value > 0.0);
    batch.events.extend(xid.map(|(_, code, _)| BatchEvent {
        subject,
        at_ms: None,
        severity: Severity::Critical,
        code: format!("xid:{code}"),
        message: format!("the last XID is {code}"),
        key: format!("{HOLDS_NOW}{id}/xid:{code}"),
    }));
    places.insert(id, subject);
    Some(subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::remote::told;
    use crate::inventory::{Snapshot, Value};
    use crate::power::tests::{NODE, Row as Said, World, chassis, say_cards};

    /// What an engine would answer of a snapshot.
    fn heard(snapshot: &Snapshot) -> HashMap<String, Told> {
        let rows = told(snapshot).into_iter().map(|labels| (labels, snapshot.at_ms as f64 / 1e3));
        let mut all: HashMap<String, Told> = rows.filter_map(Told::of).collect();
        for subject in &snapshot.subjects {
            let number = |r: &crate::inventory::Reading| match r.value {
                Value::Number(v, _) => Some((r.metric, v, r.at_ms)),
                Value::Gap(_) => None,
            };
            all.get_mut(&*subject.id).unwrap().values = subject.readings.iter().filter_map(number).collect();
        }
        all
    }

    #[test]
    fn another_host_adds_up_the_same_watts_of_the_same_subjects() {
        let world = World::new();
        say_cards(&world, &[300.0; 8]);
        let long = "x".repeat(LONGER);
        let labels = [("node", "worker1"), ("label:zone/a", "\"1\",\n"), ("annotation:note", "at home"), ("label:long", long.as_str())];
        let zones = [("cpu_power_watts", 400.0), ("memory_power_watts", 100.0)];
        world.say("kepler", "cluster1", &[(Kind::Node, None, &labels, &zones)]);
        // Without a method: who reads it decides.
        let of_chassis: Said<'_> = (Kind::Chassis, Some(0), &[("name", "System")], &[("power_watts", 3_500.0)]);
        let psu =
            |name: &'static [(&'static str, &'static str)]| -> Said<'_> { (Kind::Psu, Some(0), name, &[("power_input_watts", 1_800.0)]) };
        world.say("redfish", "cluster1", &[NODE, of_chassis, psu(&[("name", "PSU1")]), psu(&[("name", "PSU2")])]);
        world.say("ipmi", "cluster1", &[NODE, (Kind::Chassis, Some(0), &chassis("sensor"), &[("power_watts", 3_400.0)])]);
        let pod = [("namespace", "ml"), ("name", "train-0"), ("workload_kind", "Job"), ("workload_name", "train")];
        world.say("kubernetes", "cluster1", &[NODE, (Kind::Pod, Some(0), &pod, &[("restarts_total", 2.0)])]);
        let theirs = world.snapshot();
        let (all, here) = (heard(&theirs), World::new());
        for plugin in ["nvidia-dcgm", "kepler", "redfish", "ipmi", "kubernetes"] {
            let problems = here.inventory.apply(&World::info(plugin, "cluster1"), batch(&all, plugin), here.now);
            assert_eq!(problems, Vec::<String>::new());
        }
        let ours = here.snapshot();
        let ids = |s: &Snapshot| s.subjects.iter().map(|s| (s.id.clone(), s.parent.clone(), s.node.clone())).collect::<Vec<_>>();
        assert_eq!(ids(&ours), ids(&theirs));
        let ways = |s: &Snapshot| {
            let server = s.account().server("node/cluster1/worker1").unwrap();
            let all = server.ways.iter().map(|(way, w)| (*way, w.watts, w.quality, w.read)).collect::<Vec<_>>();
            (all, server.cpu.map(|w| (w.watts, w.quality)), server.rest())
        };
        assert_eq!(ways(&ours), ways(&theirs));
        let shares = |s: &Snapshot| s.workloads().shares.iter().map(|s| (s.id.clone(), s.watts())).collect::<Vec<_>>();
        assert_eq!(shares(&ours), shares(&theirs));
        let node = ours.get("node/cluster1/worker1").unwrap();
        assert_eq!((node.label("label:zone/a"), node.label("annotation:note")), (Some("\"1\",\n"), None));
        assert_eq!(node.label("label:long"), None, "longer than an engine takes");
    }

    const LONGER: usize = 2_000;

    #[test]
    fn what_an_engine_says_in_circles_or_in_pieces_is_no_panic() {
        let row = |id: &str, parent: &str, identity: &str| {
            let all =
                [("id", id), ("kind", "chassis"), ("subject_parent", parent), ("subject_identity", identity), ("subject_plugin", "p")];
            (all.map(|(k, v)| (k.to_owned(), v.to_owned())).into(), 1.0)
        };
        let rows = [row("a", "b", "{\"name\":\"a\"}"), row("b", "a", "{\"name\":\"b\"}"), row("c", "", "{\"name\":\"c"), row("", "", "{}")];
        let all: HashMap<String, Told> = rows.into_iter().filter_map(Told::of).collect();
        assert_eq!(all.len(), 2);
        assert!(batch(&all, "p").subjects.len() >= 2);
    }

    #[test]
    fn a_value_has_the_time_of_its_own_series() {
        let labels = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
        let rows = vec![
            (labels(&[("id", "a"), ("device", "0"), ("sampled", "1")]), 10.5),
            (labels(&[("id", "a"), ("device", "1"), ("sampled", "1")]), 20.0),
            (labels(&[("__name__", "kcloud_power_watts"), ("id", "a"), ("device", "0")]), 100.0),
            (labels(&[("__name__", "kcloud_power_watts"), ("id", "b")]), 7.0),
        ];
        assert_eq!(timed(rows), [(labels(&[("id", "a"), ("device", "0")]), 10_500, 100.0)]);
    }
}
