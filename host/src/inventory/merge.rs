//! The working side of the model: takes batches, merges what several sources say, and publishes snapshots.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::batch::{Batch, BatchSubject, Coverage};
use super::identity::{NodeNames, keys};
use super::rates::Rates;
use super::{Event, Fault, HOLDS_NOW, Kind, Labels, Life, Quality, Reading, Reason, Sequence, Severity, Snapshot, Source, Subject, Value};
use crate::catalogue::{Catalogue, MetricId};
use crate::plugins::limits::Bucket;

/// Stale after this many intervals without a sign of it (model.md, "Who is who").
pub(crate) const STALE_INTERVALS: i64 = 3;
const OFFLINE_MS: i64 = 10 * 60_000;
/// Events kept in a snapshot. Who brought the most gives way first.
const MAX_EVENTS: usize = 10_000;
/// Subjects that their plugin no longer names are kept until they are forgotten, this many or as many as it ever named at once.
const MAX_LEFT: usize = 1_000;
/// Targets of one plugin that may speak of one subject.
const MAX_SAID: usize = 8;
/// A plugin may begin as many series in history as it may have values, and so many again in this time.
const SERIES_PER: Duration = Duration::from_secs(10 * 24 * 3_600);
/// Gone sources are looked through at this many.
const MAX_GONE: usize = 1_000;
/// How often a subject that deltas leave as it is shows when it was last heard of.
const CONFIRMED_EVERY_MS: i64 = 60_000;
/// Label keys that are kept once for all subjects.
const MAX_KEYS: usize = 65_536;
/// Values of labels that are kept once for all subjects: a fleet has few, and a selector that compares them finds them near.
const MAX_VALUES: usize = 65_536;
/// A stamp further ahead than this is the source's clock being wrong.
const MAX_AHEAD_MS: i64 = 5 * 60_000;

/// Who a batch comes from.
#[derive(Debug, Clone)]
pub struct SourceInfo {
    pub plugin: Arc<str>,
    pub target: Arc<str>,
    pub cluster: Arc<str>,
    pub interval_ms: i64,
    /// The operator's: who has the higher is believed before the others.
    pub priority: i32,
    /// What the model keeps of the plugin, at most.
    pub max_subjects: usize,
    pub max_values: usize,
}

/// One observation for history.
#[derive(Debug, Clone)]
pub struct NewPoint {
    pub subject: Arc<str>,
    pub metric: MetricId,
    pub at_ms: i64,
    /// `None` where a series ends: what lies across is not joined.
    pub value: Option<f64>,
}

/// What a publish tick found to do.
pub struct Publication {
    pub snapshot: Arc<Snapshot>,
    pub points: Vec<NewPoint>,
}

/// The model. Writers hold its lock for microseconds; readers never take it.
pub struct Inventory {
    working: Mutex<Working>,
    current: ArcSwap<Snapshot>,
    /// Tells who waits for the next.
    published: watch::Sender<Sequence>,
}

#[derive(Default)]
struct Working {
    slots: Vec<Slot>,
    names: NodeNames,
    by_key: HashMap<Kind, HashMap<Box<str>, usize>>,
    /// Forgotten slots: not yet, and already, free for others.
    forgotten: usize,
    free: Vec<usize>,
    sources: Vec<SourceState>,
    by_source: HashMap<(Arc<str>, Arc<str>), u16>,
    /// Of these the gone ones, how many make a look through them worth it, and places that it freed.
    gone: usize,
    look_at: usize,
    free_sources: Vec<u16>,
    /// By plugin.
    held: HashMap<Arc<str>, Held>,
    events: HashMap<Arc<str>, VecDeque<Arc<Event>>>,
    event_keys: HashSet<(Arc<str>, Arc<str>)>,
    points: Vec<NewPoint>,
    faults: Arc<HashMap<Arc<str>, Fault>>,
    dirty: bool,
    sequence: Sequence,
    /// Slots in the order of a snapshot, and whether slots came or went since it was made.
    order: Vec<usize>,
    order_is_old: bool,
    keys: HashSet<Arc<str>>,
    values: HashSet<Arc<str>>,
}

struct SourceState {
    info: SourceInfo,
    public: Arc<Source>,
    subjects: HashSet<usize>,
    /// What held of its subjects in its last answer, by keys that begin with [`HOLDS_NOW`].
    holding: HashSet<(usize, Arc<str>)>,
}

/// What the model keeps of one plugin.
struct Held {
    /// Subjects that it named first and that are not forgotten, and the most of these that it named at one time.
    slots: usize,
    peak: usize,
    /// Those that it names no more, the longest first; one that it named again may still stand here.
    left: VecDeque<usize>,
    /// Readings, whatever comes of them.
    values: usize,
    /// Series that it may still begin, and how often it could not.
    series: Bucket,
    not_begun: u64,
}

impl Held {
    fn of<'a>(all: &'a mut HashMap<Arc<str>, Self>, info: &SourceInfo) -> &'a mut Self {
        let series = || Bucket::new(u32::try_from(info.max_values).unwrap_or(u32::MAX), SERIES_PER);
        let new = || Self { slots: 0, peak: 0, left: VecDeque::new(), values: 0, series: series(), not_begun: 0 };
        if !all.contains_key(&info.plugin) {
            all.insert(info.plugin.clone(), new());
        }
        all.entry(info.plugin.clone()).or_insert_with(new)
    }
}

struct Slot {
    subject: Arc<Subject>,
    made_by: Arc<str>,
    /// What each source says, by source index.
    said: Vec<Said>,
    /// Metrics that have a series in history, sorted, and whether some other has none.
    series: Vec<MetricId>,
    lacks_series: bool,
    /// Its last source names it no more.
    is_left: bool,
    /// Gone from every source and to be left out of the next snapshot.
    forgotten: bool,
}

/// A key as it is kept: a fleet has few, each on every subject.
fn shared(keys: &mut HashSet<Arc<str>>, key: &str) -> Arc<str> {
    if let Some(known) = keys.get(key) {
        return known.clone();
    }
    let new: Arc<str> = key.into();
    if keys.len() < MAX_KEYS {
        keys.insert(new.clone());
    }
    new
}

/// A label's value, one for all where it is one that many may have.
fn value(values: &mut HashSet<Arc<str>>, key: &str, value: String) -> Arc<str> {
    let is_of_many = matches!(key, "image" | "init" | "limit" | "owner_kind" | "owner_name" | "workload_kind" | "workload_name");
    if !is_of_many && !key.starts_with("label:") {
        return value.into();
    }
    if let Some(known) = values.get(value.as_str()) {
        return known.clone();
    }
    let new: Arc<str> = value.into();
    if values.len() >= MAX_VALUES {
        // They come and go; who has one keeps it.
        values.clear();
    }
    values.insert(new.clone());
    new
}

/// What a source that itself hears of a subject from others says of that (`presence`), and since when: takes it out of the readings.
/// Whoever says nothing has seen it.
fn take_presence(readings: &mut Vec<Reading>) -> Option<(Life, i64)> {
    let metric = Catalogue::known("presence");
    let at = readings.iter().position(|r| Some(r.metric) == metric)?;
    let told = readings.swap_remove(at);
    let life = match told.value {
        Value::Number(1.0, _) => Life::Stale,
        Value::Number(2.0, _) => Life::Offline,
        _ => Life::Live,
    };
    Some((life, told.at_ms))
}

impl Said {
    fn is_fresh(&self, sources: &[SourceState], now_ms: i64) -> bool {
        self.life == Life::Live && now_ms - self.last_seen_ms <= sources[self.source as usize].info.interval_ms * STALE_INTERVALS
    }
}

/// Why a subject is not in the model.
enum NotTaken {
    /// It has no identity key.
    Unknown,
    /// The plugin has as many as it may.
    Full,
}

struct Said {
    source: u16,
    /// Those of the subject itself where nobody else speaks of it.
    readings: Arc<[Reading]>,
    rates: Rates,
    labels: Labels,
    last_seen_ms: i64,
    /// Whether the source itself still hears of it.
    life: Life,
}

impl Inventory {
    /// An empty model whose first snapshot follows `sequence`.
    pub fn new(sequence: Sequence) -> Self {
        let working = Working { sequence, ..Working::default() };
        let current = ArcSwap::from_pointee(Snapshot { sequence, ..Snapshot::default() });
        Self { working: Mutex::new(working), current, published: watch::Sender::new(sequence) }
    }

    /// The world now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    fn lock(&self) -> MutexGuard<'_, Working> {
        self.working.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes what a source said at `now_ms`. Gives back what was wrong with it.
    pub fn apply(&self, info: &SourceInfo, batch: Batch, now_ms: i64) -> Vec<String> {
        self.lock().apply(info, batch, now_ms)
    }

    /// Notes that a source failed; its data ages from now on.
    pub fn failed(&self, info: &SourceInfo, error: &str) {
        let mut w = self.lock();
        let Some(source) = w.source(info) else { return };
        let public = Arc::make_mut(&mut w.sources[source as usize].public);
        public.last_error = Some(error.into());
        public.consecutive_failures += 1;
        w.dirty = true;
    }

    /// Takes a source's data out of force: its plugin or target was removed.
    pub fn remove_source(&self, plugin: &str, target: &str, now_ms: i64) {
        let mut w = self.lock();
        let Some(source) = w.by_source.get(&(plugin.into(), target.into())).copied() else { return };
        let state = &mut w.sources[source as usize];
        let subjects = std::mem::take(&mut state.subjects);
        if !std::mem::replace(&mut Arc::make_mut(&mut state.public).is_gone, true) {
            w.gone += 1;
        }
        for slot in subjects {
            w.leave(slot, source, now_ms);
        }
        w.dirty = true;
    }

    /// Builds the next snapshot if anything changed since the last. The caller makes the points durable, then calls
    /// [`Inventory::publish`].
    pub fn prepare(&self, now_ms: i64, forget_after_ms: i64) -> Option<Publication> {
        self.lock().prepare(now_ms, forget_after_ms, &self.current.load())
    }

    /// How cards stand by their alerts, from the next snapshot on.
    pub fn set_faults(&self, faults: &Arc<HashMap<Arc<str>, Fault>>) {
        let mut working = self.lock();
        if !Arc::ptr_eq(&working.faults, faults) {
            working.dirty |= working.faults != *faults;
            working.faults = faults.clone();
        }
    }

    /// Makes a prepared snapshot the current one.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let sequence = snapshot.sequence;
        self.current.store(snapshot);
        self.published.send_replace(sequence);
    }

    /// Changes with every snapshot that is published; who looks late sees the newest.
    pub fn published(&self) -> watch::Receiver<Sequence> {
        self.published.subscribe()
    }
}

impl Working {
    /// The place of a source; `None` when there are as many as can be told apart.
    fn source(&mut self, info: &SourceInfo) -> Option<u16> {
        let key = (info.plugin.clone(), info.target.clone());
        if let Some(i) = self.by_source.get(&key) {
            let state = &mut self.sources[*i as usize];
            state.info = info.clone();
            if state.public.is_gone {
                Arc::make_mut(&mut state.public).is_gone = false;
                self.gone -= 1;
            }
            return Some(*i);
        }
        let public = Arc::new(Source {
            plugin: info.plugin.clone(),
            target: info.target.clone(),
            cluster: info.cluster.clone(),
            interval_ms: info.interval_ms,
            priority: info.priority,
            last_success_ms: None,
            last_error: None,
            consecutive_failures: 0,
            is_gone: false,
        });
        let state = SourceState { info: info.clone(), public, subjects: HashSet::new(), holding: HashSet::new() };
        self.free_gone();
        let index = match self.free_sources.pop() {
            Some(free) => {
                self.sources[free as usize] = state;
                free
            }
            None => {
                let next = u16::try_from(self.sources.len()).ok().filter(|i| *i < u16::MAX)?;
                self.sources.push(state);
                next
            }
        };
        self.by_source.insert(key, index);
        Some(index)
    }

    /// Frees places of sources that are gone and of which nothing is left: targets come and go all day.
    fn free_gone(&mut self) {
        if self.gone < self.look_at.max(MAX_GONE) {
            return;
        }
        let said = self.slots.iter().flat_map(|s| s.said.iter().map(|said| said.source));
        let in_use: HashSet<u16> = said.chain(self.events.values().flatten().map(|e| e.source)).collect();
        for (key, index) in std::mem::take(&mut self.by_source) {
            match self.sources[index as usize].public.is_gone && !in_use.contains(&index) {
                true => self.free_sources.push(index),
                false => drop(self.by_source.insert(key, index)),
            }
        }
        self.gone = self.by_source.values().filter(|i| self.sources[**i as usize].public.is_gone).count();
        self.look_at = 2 * self.gone;
    }

    fn apply(&mut self, info: &SourceInfo, mut batch: Batch, now_ms: i64) -> Vec<String> {
        let Some(source) = self.source(info) else { return vec!["there are too many sources to take another".to_owned()] };
        let mut problems = Vec::new();
        let mut slots = Vec::with_capacity(batch.subjects.len());
        let mut over = 0u32;
        for (i, subject) in batch.subjects.iter().enumerate() {
            let parent = subject.parent.and_then(|p| slots.get(p as usize).copied().flatten());
            let slot = self.slot(info, subject, parent, now_ms);
            match slot {
                Err(NotTaken::Unknown) => problems.push(format!("subject {i} ({}): no identity that the model knows", subject.kind.name())),
                Err(NotTaken::Full) => over += 1,
                Ok(_) => {}
            }
            slots.push(slot.ok());
        }
        if over > 0 {
            problems.push(format!("{over} subjects are not taken: {} of this plugin are known already", info.max_subjects));
        }
        // Two subjects of an answer may be one to the model: what is said of both is said of the first.
        let mut first: HashMap<usize, u32> = HashMap::with_capacity(slots.len());
        let place = |(i, slot): (usize, &Option<usize>)| slot.map(|s| *first.entry(s).or_insert(i as u32));
        let places: Vec<Option<u32>> = slots.iter().enumerate().map(place).collect();
        drop(first);
        let of = |subject: u32| places[subject as usize].unwrap_or(u32::MAX);
        // Mostly they come so.
        if !batch.gaps.is_sorted_by_key(|g| of(g.subject)) {
            batch.gaps.sort_by_key(|g| of(g.subject));
        }
        if !batch.points.is_sorted_by_key(|p| of(p.subject)) {
            batch.points.sort_by_key(|p| of(p.subject));
        }
        // What was computed since then, or waited for its turn, makes no value younger.
        let read_ms = batch.heard_at_ms.map_or(now_ms, |at| at.min(now_ms));
        let mut ahead = 0u32;
        let stamps: Vec<Option<i64>> = batch.subjects.iter().map(|s| s.observed_at_ms).collect();
        batch.points.retain_mut(|p| {
            p.at_ms = p.at_ms.or(stamps[p.subject as usize]);
            let is_taken = p.at_ms.is_none_or(|at| at <= now_ms + MAX_AHEAD_MS);
            ahead += u32::from(!is_taken && slots[p.subject as usize].is_some());
            is_taken
        });
        drop(stamps);
        if ahead > 0 {
            problems.push(format!("{ahead} readings are stamped more than five minutes ahead of this host; not taken"));
        }
        let mut holding = HashSet::new();
        for event in batch.events {
            let Some(slot) = slots[event.subject as usize] else { continue };
            let subject = self.slots[slot].subject.id.clone();
            let mut key: Arc<str> = event.key.into();
            if key.starts_with(HOLDS_NOW) {
                let before = &self.sources[source as usize];
                let (held, was_heard) = (before.holding.contains(&(slot, key.clone())), before.subjects.contains(&slot));
                holding.insert((slot, key.clone()));
                if held {
                    continue;
                }
                // It began while this source was listened to.
                if was_heard {
                    key = format!("{key}@{now_ms}").into();
                }
            }
            if !self.event_keys.insert((subject.clone(), key.clone())) {
                continue;
            }
            self.events.entry(info.plugin.clone()).or_default().push_back(Arc::new(Event {
                subject,
                at_ms: event.at_ms.unwrap_or(now_ms),
                severity: event.severity,
                code: event.code.into(),
                message: event.message.into(),
                key,
                source,
            }));
            if self.event_keys.len() > MAX_EVENTS
                && let Some(most) = self.events.values_mut().max_by_key(|all| all.len())
                && let Some(old) = most.pop_front()
            {
                self.event_keys.remove(&(old.subject.clone(), old.key.clone()));
            }
        }
        let before = &mut self.sources[source as usize].holding;
        if !before.is_empty() {
            let named: HashSet<usize> = slots.iter().flatten().copied().collect();
            before.retain(|(slot, _)| !named.contains(slot));
        }
        before.extend(holding);
        let (mut not_said, not_begun) = (0, Held::of(&mut self.held, info).not_begun);
        let gone: HashSet<u32> = batch.tombstones.into_iter().collect();
        let (mut gaps, mut points) = (batch.gaps.iter().peekable(), batch.points.iter().peekable());
        let mut readings = Vec::new();
        for (i, subject) in batch.subjects.into_iter().enumerate() {
            let Some(slot) = slots[i] else { continue };
            readings.clear();
            let is_its = |subject: u32| of(subject) == i as u32;
            while let Some(gap) = gaps.next_if(|g| is_its(g.subject)) {
                readings.push(Reading { metric: gap.metric, value: Value::Gap(gap.reason), at_ms: now_ms, source });
            }
            while let Some(p) = points.next_if(|p| is_its(p.subject)) {
                let value = Value::Number(p.value, p.quality);
                readings.push(Reading { metric: p.metric, value, at_ms: p.at_ms.unwrap_or(read_ms), source });
            }
            if gone.contains(&(i as u32)) {
                self.sources[source as usize].subjects.remove(&slot);
                self.leave(slot, source, now_ms);
                continue;
            }
            if of(i as u32) != i as u32 {
                continue;
            }
            not_said += self.say(slot, source, batch.coverage == Coverage::Whole, &mut readings, subject.labels, now_ms);
        }
        if not_said > 0 {
            let most = info.max_values;
            problems.push(format!(
                "{not_said} readings are not taken: {MAX_SAID} targets speak of their subject, or {most} of this plugin are known"
            ));
        }
        let not_begun = Held::of(&mut self.held, info).not_begun - not_begun;
        if not_begun > 0 {
            problems.push(format!("{not_begun} readings are not kept in history: this plugin began as many series as it may for now"));
        }
        let named = slots.into_iter().flatten();
        if batch.coverage == Coverage::Whole {
            let now: HashSet<usize> = named.collect();
            let before = std::mem::take(&mut self.sources[source as usize].subjects);
            for slot in before.difference(&now) {
                self.leave(*slot, source, now_ms);
            }
            self.sources[source as usize].subjects = now;
        } else {
            self.sources[source as usize].subjects.extend(named);
        }
        if batch.coverage == Coverage::Delta {
            self.confirm(source, now_ms);
        }
        let public = Arc::make_mut(&mut self.sources[source as usize].public);
        public.interval_ms = info.interval_ms;
        public.priority = info.priority;
        public.last_success_ms = Some(now_ms);
        public.last_error = None;
        public.consecutive_failures = 0;
        self.dirty = true;
        problems
    }

    /// Finds or makes the slot of a subject.
    fn slot<'b>(&mut self, info: &SourceInfo, subject: &'b BatchSubject, parent: Option<usize>, now_ms: i64) -> Result<usize, NotTaken> {
        let said = |k: &str| {
            let all = subject.identity.iter().chain(&subject.labels);
            all.into_iter().find(|(key, value)| key == k && !value.is_empty()).map(|(_, v)| v.as_str())
        };
        if subject.kind == Kind::Node {
            self.names.learn(&info.cluster, said);
        }
        let of_nodes = self.by_key.get(&Kind::Node);
        let is_node = |key: &str| of_nodes.and_then(|all| all.get(key)).is_some_and(|slot| !self.slots[*slot].forgotten);
        let node_name = said("node").and_then(|name| self.names.canonical(&info.cluster, name, is_node));
        let get = |k: &str| match (&node_name, k) {
            (Some(name), "node") => Some(name.to_string()),
            _ => said(k).map(str::to_owned),
        };
        let parent_id = parent.map(|p| self.slots[p].subject.id.clone());
        let node: Option<Arc<str>> = match subject.kind {
            Kind::Cluster | Kind::Facility => None,
            _ => get("node").map(|n| shared(&mut self.keys, &n)).or_else(|| parent.and_then(|p| self.slots[p].subject.node.clone())),
        };
        let scope = &info.cluster;
        let mut candidates = keys(subject.kind, scope, parent_id.as_deref(), node.as_deref(), get);
        let found = candidates.iter().find_map(|k| {
            let slot = *self.by_key.get(&subject.kind)?.get(k.as_str())?;
            // A weaker key (an address, a device name) never joins two cards whose UUIDs differ: a card was swapped.
            let same = match (self.slots[slot].subject.label("uuid"), get("uuid")) {
                (Some(a), Some(b)) => a == b || subject.kind != Kind::Accelerator,
                _ => true,
            };
            same.then_some(slot)
        });
        let first = candidates.first().ok_or(NotTaken::Unknown)?.clone();
        if let (Kind::Node, Some(_), Some(name)) = (subject.kind, &node_name, said("node")) {
            self.give_up_name(&format!("{scope}/{name}"), now_ms);
        }
        let is_held = found.is_some_and(|slot| !self.slots[slot].forgotten);
        if !is_held {
            self.hold(info, now_ms)?;
        }
        let slot = found.unwrap_or_else(|| {
            let id = match subject.kind {
                // As everybody knows it, unless it looks like another kind's: an id names one subject of all.
                Kind::Accelerator if !Kind::leads(&first) => first.clone(),
                kind => format!("{}/{first}", kind.name()),
            };
            // A key that passed to another card may still be the id of the first.
            let is_contested = self.by_key.get(&subject.kind).is_some_and(|of_kind| of_kind.contains_key(first.as_str()));
            let is_taken = |id: &str| is_contested && self.slots.iter().any(|s| &*s.subject.id == id);
            let id = std::iter::once(id.clone()).chain((2u32..).map(|n| format!("{id}#{n}"))).find(|id| !is_taken(id)).unwrap_or(id);
            let new = Slot {
                subject: Arc::new(Subject {
                    id: id.into(),
                    kind: subject.kind,
                    cluster: scope.clone(),
                    node: node.clone(),
                    parent: None,
                    identity: Vec::new(),
                    labels: Labels::default(),
                    readings: Arc::default(),
                    others: Vec::new(),
                    first_seen_ms: now_ms,
                    last_seen_ms: now_ms,
                    life: Life::Live,
                }),
                made_by: info.plugin.clone(),
                said: Vec::new(),
                series: Vec::new(),
                lacks_series: false,
                is_left: false,
                forgotten: false,
            };
            self.order_is_old = true;
            match self.free.pop() {
                Some(free) => {
                    self.slots[free] = new;
                    free
                }
                None => {
                    self.slots.push(new);
                    self.slots.len() - 1
                }
            }
        });
        if let [first, .., known_by] = candidates.as_slice()
            && subject.kind == Kind::Partition
            && self.slots[slot].subject.id.strip_prefix("partition/") == Some(known_by.as_str())
        {
            self.rename(slot, &format!("partition/{first}"), now_ms);
        }
        for key in candidates.drain(..) {
            let of_kind = self.by_key.entry(subject.kind).or_default();
            if of_kind.get(key.as_str()) != Some(&slot) {
                of_kind.insert(key.into(), slot);
            }
        }
        let life = match subject.kind {
            Kind::Pod => "uid",
            Kind::Container => "runtime_id",
            _ => "",
        };
        let of_life = |all: &[(Arc<str>, Arc<str>)]| all.iter().find(|(k, _)| &**k == life).map(|(_, v)| v.clone());
        let now = subject.identity.iter().find(|(k, _)| k == life);
        if of_life(&self.slots[slot].subject.identity).zip(now).is_some_and(|(before, (_, now))| *before != **now) {
            // Another one under the name: its counters start anew, and nothing joins the two.
            self.unsay(slot, |_| false);
            self.merge(slot, now_ms);
        }
        let s = &mut self.slots[slot];
        s.is_left = false;
        if std::mem::take(&mut s.forgotten) {
            s.made_by = info.plugin.clone();
            self.order_is_old = true;
            self.forgotten -= 1;
        }
        // A source that does not say where a pod runs does not move it.
        let parent_id = parent_id.or_else(|| s.subject.parent.clone());
        let named = |k: &str, v: &'b str| if k == "node" { node_name.as_deref().unwrap_or(v) } else { v };
        let stale = s.subject.parent != parent_id
            || (node.is_some() && s.subject.node != node)
            || subject.identity.iter().any(|(k, v)| s.subject.label(k) != Some(named(k, v)));
        if stale {
            let public = Arc::make_mut(&mut s.subject);
            public.parent = parent_id;
            public.node = node.or(public.node.take());
            public.identity.reserve_exact(subject.identity.len().saturating_sub(public.identity.len()));
            for (k, v) in &subject.identity {
                let value = match k.as_str() {
                    "namespace" | "node" => shared(&mut self.keys, named(k, v)),
                    _ => v.as_str().into(),
                };
                match public.identity.binary_search_by(|(key, _)| (**key).cmp(k)) {
                    Ok(i) => public.identity[i].1 = value,
                    Err(i) => public.identity.insert(i, (shared(&mut self.keys, k), value)),
                }
            }
        }
        Ok(slot)
    }

    /// A subject that was known by a weaker key gets the id that it has whoever speaks of it first. What history has of it ends.
    fn rename(&mut self, slot: usize, id: &str, now_ms: i64) {
        let s = &mut self.slots[slot];
        let series = std::mem::take(&mut s.series);
        self.points.extend(series.into_iter().map(|metric| end_of(&s.subject.id, metric, now_ms)));
        let public = Arc::make_mut(&mut s.subject);
        public.id = id.into();
        public.readings = Arc::default();
        self.order_is_old = true;
    }

    /// A node is known by another name now: what stands under this one is no node of its own.
    fn give_up_name(&mut self, key: &str, now_ms: i64) {
        let Some(slot) = self.by_key.get_mut(&Kind::Node).and_then(|all| all.remove(key)) else { return };
        self.unsay(slot, |_| false);
        self.merge(slot, now_ms);
        self.forget(slot);
    }

    /// Counts one more subject of a plugin, in place of one that it left where it has no room.
    fn hold(&mut self, info: &SourceInfo, now_ms: i64) -> Result<(), NotTaken> {
        while Held::of(&mut self.held, info).slots >= info.max_subjects {
            if !self.forget_left(&info.plugin, now_ms) {
                return Err(NotTaken::Full);
            }
        }
        let held = Held::of(&mut self.held, info);
        held.slots += 1;
        held.peak = held.peak.max(held.slots.saturating_sub(held.left.len()));
        Ok(())
    }

    /// Forgets the subject that a plugin left longest ago; `false` when there is none.
    fn forget_left(&mut self, plugin: &Arc<str>, now_ms: i64) -> bool {
        while let Some(slot) = self.held.get_mut(plugin).and_then(|held| held.left.pop_front()) {
            let s = &mut self.slots[slot];
            if s.is_left && !s.forgotten && s.made_by == *plugin {
                self.unsay(slot, |_| false);
                self.merge(slot, now_ms);
                self.forget(slot);
                return true;
            }
        }
        false
    }

    fn forget(&mut self, slot: usize) {
        let s = &mut self.slots[slot];
        if std::mem::replace(&mut s.forgotten, true) {
            return;
        }
        self.order_is_old = true;
        self.forgotten += 1;
        if let Some(held) = self.held.get_mut(&s.made_by) {
            held.slots -= 1;
        }
    }

    /// Drops what is said of a subject but for what is to stay.
    fn unsay(&mut self, slot: usize, stays: impl Fn(&Said) -> bool) {
        let Self { slots, sources, held, .. } = self;
        slots[slot].said.retain(|said| {
            let stays = stays(said);
            if !stays && let Some(held) = held.get_mut(&sources[said.source as usize].info.plugin) {
                held.values -= said.readings.len();
            }
            stays
        });
    }

    /// Where a source speaks of a subject; `None` when as many targets of its plugin do, all of them lately.
    fn place(&mut self, slot: usize, source: u16, now_ms: i64) -> Option<usize> {
        if let Some(known) = self.slots[slot].said.iter().position(|x| x.source == source) {
            return Some(known);
        }
        let (plugin, sources) = (&self.sources[source as usize].info.plugin, &self.sources);
        let own: Vec<&Said> = self.slots[slot].said.iter().filter(|x| sources[x.source as usize].info.plugin == *plugin).collect();
        if own.len() >= MAX_SAID {
            let oldest = own.into_iter().min_by_key(|x| x.last_seen_ms).filter(|x| !x.is_fresh(sources, now_ms))?.source;
            self.unsay(slot, |x| x.source != oldest);
        }
        let said = &mut self.slots[slot].said;
        // Most subjects have one.
        said.reserve_exact(1);
        said.push(Said {
            source,
            readings: Arc::default(),
            rates: Rates::default(),
            labels: Labels::default(),
            last_seen_ms: now_ms,
            life: Life::Live,
        });
        Some(said.len() - 1)
    }

    /// Takes what a source says of a subject and merges it with what the others said. How many readings it did not take.
    fn say(
        &mut self,
        slot: usize,
        source: u16,
        whole: bool,
        readings: &mut Vec<Reading>,
        mut given: Vec<(String, String)>,
        now_ms: i64,
    ) -> usize {
        let told = take_presence(readings);
        let kind = self.slots[slot].subject.kind;
        if let Some(before) = self.slots[slot].said.iter_mut().find(|x| x.source == source) {
            before.rates.add(kind, readings, &before.readings, self.sources[source as usize].info.interval_ms);
        }
        // The last of one metric wins: a gap comes before a number in `apply`.
        readings.sort_by_key(|r| r.metric);
        readings.dedup_by(|later, earlier| {
            let same = later.metric == earlier.metric;
            if same {
                *earlier = *later;
            }
            same
        });
        let Some(place) = self.place(slot, source, now_ms) else { return readings.len().max(1) };
        let readings_given = readings.len();
        let (plugin, most) = (self.sources[source as usize].info.plugin.clone(), self.sources[source as usize].info.max_values);
        // What it left gives way to what it says now.
        while self.held.get(&plugin).is_some_and(|held| held.values + readings.len() > most) && self.forget_left(&plugin, now_ms) {}
        let info = &self.sources[source as usize].info;
        let held = Held::of(&mut self.held, info);
        let said = &mut self.slots[slot].said[place];
        held.values -= said.readings.len();
        if !whole {
            // What it does not name stands.
            for standing in said.readings.iter() {
                if readings[..readings_given].binary_search_by_key(&standing.metric, |r| r.metric).is_err() {
                    readings.push(*standing);
                }
            }
            readings.sort_by_key(|r| r.metric);
        }
        let room = info.max_values.saturating_sub(held.values);
        let over = readings.len().saturating_sub(room);
        readings.truncate(room);
        held.values += readings.len();
        said.readings = readings.as_slice().into();
        // Labels seldom change: they are compared before they are made anew.
        given.sort();
        given.dedup_by(|a, b| a.0 == b.0);
        // Named without a word, as the parent of what did change, it is as it was.
        let is_bare = !whole && given.is_empty() && readings_given == 0 && told.is_none();
        let same = is_bare || said.labels.len() == given.len() && said.labels.iter().zip(&given).all(|(a, b)| *a.0 == *b.0 && *a.1 == *b.1);
        if !same {
            let (keys, values) = (&mut self.keys, &mut self.values);
            said.labels = given.into_iter().map(|(k, v)| (shared(keys, &k), value(values, &k, v))).collect();
        }
        // The parent of what is still heard of may itself be silent.
        if !is_bare || said.life == Life::Live {
            (said.life, said.last_seen_ms) = match told {
                Some((life, seen_ms)) if life != Life::Live => (life, seen_ms.min(now_ms)),
                _ => (Life::Live, now_ms),
            };
        }
        self.merge(slot, now_ms);
        over
    }

    fn merge(&mut self, slot: usize, now_ms: i64) {
        let Self { slots, sources, held, points, .. } = self;
        merge(&mut slots[slot], sources, held, now_ms, points);
    }

    /// A delta says of all that it does not name that it stands: they were heard of.
    fn confirm(&mut self, source: u16, now_ms: i64) {
        for slot in &self.sources[source as usize].subjects {
            let s = &mut self.slots[*slot];
            let mut heard = false;
            for said in s.said.iter_mut().filter(|x| x.source == source && x.life == Life::Live) {
                (said.last_seen_ms, heard) = (now_ms, true);
            }
            // The snapshot holds the subject, so that this copies it: not all of them at every delta.
            if heard && (now_ms - s.subject.last_seen_ms >= CONFIRMED_EVERY_MS || s.subject.life != Life::Live) {
                Arc::make_mut(&mut s.subject).last_seen_ms = now_ms;
            }
        }
    }

    /// A source no longer knows a subject: its readings go; the subject stays until it is forgotten.
    fn leave(&mut self, slot: usize, source: u16, now_ms: i64) {
        let s = &mut self.slots[slot];
        let before = s.said.len();
        let leaving = matches!(s.subject.kind, Kind::Pod | Kind::Container | Kind::Process);
        if s.said.len() == 1 && s.said[0].source == source && !leaving {
            // The last one that knew it: keep what it said, aging, so that its last values can still be read.
            if !std::mem::replace(&mut s.is_left, true) {
                let plugin = s.made_by.clone();
                let Some(held) = self.held.get_mut(&plugin) else { return };
                held.left.push_back(slot);
                if held.left.len() > held.peak.max(MAX_LEFT) {
                    self.forget_left(&plugin, now_ms);
                }
            }
            return;
        }
        self.unsay(slot, |x| x.source != source);
        if self.slots[slot].said.len() != before {
            self.merge(slot, now_ms);
        }
        if self.slots[slot].said.is_empty() && leaving {
            self.forget(slot);
        }
    }

    /// Frees slots of what is forgotten, once they are worth the walk: pods come and go all day.
    fn free_forgotten(&mut self) {
        if self.forgotten < 1_000 || self.forgotten * 4 < self.slots.len() {
            return;
        }
        let mut is_free = vec![false; self.slots.len()];
        self.free.iter().for_each(|i| is_free[*i] = true);
        let gone: HashSet<usize> = (0..self.slots.len()).filter(|i| self.slots[*i].forgotten && !is_free[*i]).collect();
        self.by_key.values_mut().for_each(|of_kind| of_kind.retain(|_, slot| !gone.contains(slot)));
        self.sources.iter_mut().for_each(|s| s.subjects.retain(|slot| !gone.contains(slot)));
        gone.iter().for_each(|i| self.unsay(*i, |_| false));
        self.free.extend(gone);
        self.forgotten = 0;
    }

    fn prepare(&mut self, now_ms: i64, forget_after_ms: i64, current: &Snapshot) -> Option<Publication> {
        let mut changed = std::mem::take(&mut self.dirty);
        let mut silent_too_long = Vec::new();
        for (slot, s) in self.slots.iter_mut().enumerate() {
            if s.forgotten {
                continue;
            }
            let silent = now_ms - s.said.iter().map(|x| x.last_seen_ms).fold(s.subject.last_seen_ms, i64::max);
            let interval = s.said.iter().map(|x| self.sources[x.source as usize].info.interval_ms).max().unwrap_or(0);
            let life = match silent {
                _ if silent >= OFFLINE_MS => Life::Offline,
                _ if silent > interval * STALE_INTERVALS => Life::Stale,
                _ => Life::Live,
            };
            // Where all that speak of it say that they do not hear of it themselves, it is no better than that.
            let life = life.max(s.said.iter().map(|x| x.life).min().unwrap_or(Life::Live));
            if silent >= forget_after_ms {
                silent_too_long.push(slot);
                changed = true;
            }
            if life != s.subject.life {
                let public = Arc::make_mut(&mut s.subject);
                if public.life == Life::Live {
                    let ends = public
                        .readings
                        .iter()
                        .filter(|r| matches!(r.value, Value::Number(..)) && s.series.binary_search(&r.metric).is_ok());
                    self.points.extend(ends.map(|r| end_of(&public.id, r.metric, now_ms)));
                }
                public.life = life;
                changed = true;
            }
        }
        if !changed {
            return None;
        }
        silent_too_long.into_iter().for_each(|slot| self.forget(slot));
        self.sequence = self.sequence.max(current.sequence) + 1;
        let same = !self.order_is_old && current.subjects.len() == self.order.len();
        if std::mem::take(&mut self.order_is_old) {
            self.free_forgotten();
            self.order = (0..self.slots.len()).filter(|i| !self.slots[*i].forgotten).collect();
            let slots = &self.slots;
            self.order.sort_by(|a, b| {
                let (a, b) = (&slots[*a].subject, &slots[*b].subject);
                (a.kind, &a.id).cmp(&(b.kind, &b.id))
            });
        }
        let subjects: Vec<Arc<Subject>> = self.order.iter().map(|i| self.slots[*i].subject.clone()).collect();
        let index = match same {
            true => current.index.clone(),
            false => Arc::new(subjects.iter().enumerate().map(|(i, s)| (s.id.clone(), i)).collect()),
        };
        let mut events: Vec<Arc<Event>> = self.events.values().flatten().cloned().collect();
        events.sort_by_key(|e| e.at_ms);
        let critical = events.iter().filter(|e| e.severity == Severity::Critical).map(|e| (e.subject.clone(), e.at_ms)).collect();
        let snapshot = Arc::new(Snapshot {
            sequence: self.sequence,
            at_ms: now_ms,
            subjects,
            sources: self.sources.iter().map(|s| s.public.clone()).collect(),
            events,
            critical,
            faults: self.faults.clone(),
            index,
            ..Snapshot::default()
        });
        Some(Publication { snapshot, points: std::mem::take(&mut self.points) })
    }
}

/// Chooses for each metric whom to trust, notes what is new for history.
fn merge(slot: &mut Slot, sources: &[SourceState], held: &mut HashMap<Arc<str>, Held>, now_ms: i64, points: &mut Vec<NewPoint>) {
    let trust = |r: &Reading| match r.value {
        Value::Number(_, Quality::Measured) => 0,
        Value::Number(_, Quality::Derived) => 1,
        Value::Number(_, Quality::Modelled) => 2,
        Value::Gap(_) => 3,
    };
    let priority = |r: &Reading| -i64::from(sources[r.source as usize].info.priority);
    if let [only] = slot.said.as_slice() {
        let (readings, labels) = (only.readings.clone(), only.labels.clone());
        begin_series(slot, &readings, sources, held);
        return settle(slot, readings, Vec::new(), labels, now_ms, points);
    }
    let mut all: Vec<(bool, Reading)> =
        slot.said.iter().flat_map(|s| s.readings.iter().map(|r| (!s.is_fresh(sources, now_ms), *r))).collect();
    let is_gap = |r: &Reading| matches!(r.value, Value::Gap(_));
    all.sort_by_key(|(old, r)| (r.metric, *old, is_gap(r), priority(r), trust(r), r.source));
    let mut readings: Vec<Reading> = Vec::with_capacity(all.len());
    let mut others = Vec::new();
    for (old, mut reading) in all {
        match readings.last().is_some_and(|r| r.metric == reading.metric) {
            true => others.push(reading),
            false => {
                // Others still speak of the subject, so that it lives; what only a silent source told is no longer known.
                if old && matches!(reading.value, Value::Number(..)) {
                    reading.value = Value::Gap(Reason::Stale);
                }
                readings.push(reading);
            }
        }
    }
    let mut labels = Vec::new();
    let mut by_trust: Vec<&Said> = slot.said.iter().collect();
    by_trust.sort_by_key(|s| -i64::from(sources[s.source as usize].info.priority));
    for said in by_trust {
        for (k, v) in said.labels.iter() {
            if let Err(i) = labels.binary_search_by(|(key, _): &(Arc<str>, Arc<str>)| key.cmp(k)) {
                labels.insert(i, (k.clone(), v.clone()));
            }
        }
    }
    begin_series(slot, &readings, sources, held);
    settle(slot, readings.into(), others, labels.into(), now_ms, points);
}

/// Notes which new readings get a series: as many as their plugin may begin.
fn begin_series(slot: &mut Slot, readings: &[Reading], sources: &[SourceState], held: &mut HashMap<Arc<str>, Held>) {
    let is_number = |r: &&Reading| matches!(r.value, Value::Number(..));
    // As before, almost always; both are sorted.
    let mut known = slot.series.iter();
    if !slot.lacks_series && readings.iter().filter(is_number).all(|r| known.any(|metric| *metric == r.metric)) {
        return;
    }
    slot.lacks_series = false;
    for r in readings.iter().filter(is_number) {
        let Err(at) = slot.series.binary_search(&r.metric) else { continue };
        let held = Held::of(held, &sources[r.source as usize].info);
        match held.series.take() {
            true => slot.series.insert(at, r.metric),
            false => {
                held.not_begun += 1;
                slot.lacks_series = true;
            }
        }
    }
}

/// Takes over what was chosen and notes what is new for history.
fn settle(slot: &mut Slot, readings: Arc<[Reading]>, others: Vec<Reading>, labels: Labels, now_ms: i64, points: &mut Vec<NewPoint>) {
    let public = Arc::make_mut(&mut slot.subject);
    let has_series = |metric: &MetricId| slot.series.binary_search(metric).is_ok();
    for r in readings.iter() {
        let before = public.readings.binary_search_by_key(&r.metric, |x| x.metric).ok().map(|i| public.readings[i]);
        match (r.value, before) {
            (Value::Number(_, _), Some(b)) if b.at_ms >= r.at_ms && matches!(b.value, Value::Number(..)) => {}
            (Value::Number(v, _), _) if !slot.lacks_series || has_series(&r.metric) => {
                points.push(NewPoint { subject: public.id.clone(), metric: r.metric, at_ms: r.at_ms, value: Some(v) });
            }
            (Value::Gap(_), Some(Reading { value: Value::Number(..), .. })) if has_series(&r.metric) => {
                points.push(end_of(&public.id, r.metric, now_ms));
            }
            _ => {}
        }
    }
    for r in public.readings.iter().filter(|r| matches!(r.value, Value::Number(..))) {
        if has_series(&r.metric) && readings.binary_search_by_key(&r.metric, |x| x.metric).is_err() {
            points.push(end_of(&public.id, r.metric, now_ms));
        }
    }
    public.readings = readings;
    public.others = others;
    if !Arc::ptr_eq(&public.labels, &labels) && public.labels != labels {
        public.labels = labels;
    }
    let live = slot.said.iter().filter(|s| s.life == Life::Live).map(|s| s.last_seen_ms).max();
    if let Some(seen) = live.or_else(|| slot.said.iter().map(|s| s.last_seen_ms).max()) {
        public.last_seen_ms = seen;
    }
}

fn end_of(subject: &Arc<str>, metric: MetricId, at_ms: i64) -> NewPoint {
    NewPoint { subject: subject.clone(), metric, at_ms, value: None }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
