//! Evaluation: what each rule says of each subject, and what becomes of alerts by it.
//!
//! Only what changed since the snapshot before is looked at; a subject without an alert costs no allocation. Sources and what
//! vanished are looked at once a second, sums of watts every five.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Change;
use super::alert::{Alert, Cause, End, Silence, State, Who};
use super::rule::{Condition, Lost, PowerBy, PowerTest, Rule, Verdict, is_stale, jump, note_lost, vanished};
use super::store::{Found, Rows};
use crate::catalogue::Catalogue;
use crate::inventory::{Event, Kind, Life, Reason, Snapshot, Subject};
use crate::power::{self, By};

/// Alerts at one time; more are counted, not kept.
pub const MOST_ACTIVE: usize = 50_000;
/// Ended alerts that are kept, and for how long.
pub const MOST_ENDED: usize = 10_000;
const ENDED_KEPT_MS: i64 = 90 * 86_400_000;
pub const MOST_SILENCES: usize = 1_000;
/// Events that are remembered as told.
const MOST_TOLD: usize = 50_000;
const LOOK_MS: i64 = 1_000;
const SUMS_MS: i64 = 5_000;
/// An alert of which nothing was known for this long ends: what it is about is not watched any more.
const FORGET_MS: i64 = 7 * 86_400_000;

/// An event that a rule told of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Told {
    pub rule: Arc<str>,
    pub subject: Arc<str>,
    pub key: Arc<str>,
}

/// What an evaluation changed.
#[derive(Default)]
pub struct Out {
    pub changes: Vec<(Change, Arc<Alert>)>,
    pub rows: Rows,
}

/// Rules that look at one subject, by how they do.
#[derive(Default, PartialEq, Eq, Hash, Clone)]
struct RuleSet {
    readings: Vec<u16>,
    events: Vec<u16>,
    vanished: Vec<u16>,
}

struct Active {
    alert: Alert,
    rule: u16,
}

#[derive(Default)]
pub struct Engine {
    rules: Vec<Arc<Rule>>,
    /// Places of rules by kind of subject.
    by_kind: HashMap<Kind, Vec<u16>>,
    is_set: bool,
    /// Rules changed: everything is looked at once.
    is_full: bool,
    last: Option<Arc<Snapshot>>,
    /// Of each subject of `last`, a place in `sets`.
    set_of: Vec<u32>,
    sets: Vec<RuleSet>,
    set_ids: HashMap<RuleSet, u32>,
    last_events: Vec<Arc<Event>>,
    lost: Lost,
    /// Subjects that are not live and that a rule would miss, with their sets.
    missing: HashMap<Arc<str>, u32>,
    told: HashSet<Told>,
    told_order: VecDeque<Told>,
    looked_ms: i64,
    summed_ms: i64,
    /// Sums before, with over how many: by place of the rule and key.
    sums: HashMap<(u16, String), (f64, usize)>,
    pub book: Book,
}

/// Alerts as they are.
#[derive(Default)]
pub struct Book {
    active: HashMap<Arc<str>, Vec<Active>>,
    count: usize,
    pub silences: Vec<Silence>,
    /// Newest last.
    pub ended: VecDeque<(u64, Arc<Alert>)>,
    next: u64,
    /// Alerts that there was no room for.
    pub dropped: u64,
    /// Transitions by what they were.
    pub fired: u64,
    pub resolved: u64,
}

impl Engine {
    /// Begins with what was kept.
    pub fn with(found: Found, now_ms: i64) -> Self {
        let mut engine = Self::default();
        for (told, _) in found.told {
            engine.remember(told);
        }
        engine.book.silences = found.silences.into_iter().filter(|s| s.ends_ms > now_ms).collect();
        engine.book.next = found.ended.last().map_or(0, |(n, _)| n + 1);
        engine.book.ended = found.ended.into_iter().map(|(n, a)| (n, Arc::new(a))).collect();
        for alert in found.active {
            // It held until the stop, as far as anybody knows.
            let alert = Alert { held_ms: if alert.is_moment { alert.held_ms } else { now_ms }, unknown: Some(Reason::Absent), ..alert };
            engine.book.count += 1;
            engine.book.active.entry(alert.key.clone()).or_default().push(Active { alert, rule: u16::MAX });
        }
        engine.book.weigh_silences();
        engine
    }

    fn remember(&mut self, told: Told) {
        if self.told.insert(told.clone()) {
            self.told_order.push_back(told);
        }
    }

    pub fn is_set(&self) -> bool {
        self.is_set
    }

    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Puts rules in force. Alerts of those that are there no more, or look for something else now, end.
    pub fn set(&mut self, rules: Vec<Arc<Rule>>, now_ms: i64, out: &mut Out) {
        let same = |a: &Rule, b: &Rule| a.file == b.file && a.origin == b.origin;
        if self.is_set && rules.len() == self.rules.len() && rules.iter().zip(&self.rules).all(|(a, b)| same(a, b)) {
            return;
        }
        let place: HashMap<&str, u16> = rules.iter().enumerate().map(|(i, r)| (&*r.name, i as u16)).collect();
        let before = std::mem::take(&mut self.rules);
        self.book.retain(
            |active| {
                let Some(now) = place.get(&*active.alert.rule) else { return Some(End::RuleRemoved) };
                let was = before.get(active.rule as usize);
                active.rule = *now;
                let new = &rules[*now as usize];
                let is_other = was.is_some_and(|was| std::mem::discriminant(&was.condition) != std::mem::discriminant(&new.condition));
                is_other.then_some(End::RuleRemoved)
            },
            now_ms,
            out,
        );
        self.by_kind.clear();
        for (i, rule) in rules.iter().enumerate() {
            if let Some(kind) = rule.kind {
                self.by_kind.entry(kind).or_default().push(i as u16);
            }
        }
        (self.sets, self.set_ids, self.sums) = (vec![RuleSet::default()], HashMap::from([(RuleSet::default(), 0)]), HashMap::new());
        self.missing.clear();
        (self.rules, self.is_set, self.is_full) = (rules, true, true);
    }

    /// Looks at a snapshot, or at the same one again when time went by.
    pub fn evaluate(&mut self, snapshot: &Arc<Snapshot>, catalogue: &Catalogue, now_ms: i64) -> Out {
        let mut out = Out::default();
        if !self.is_set {
            return out;
        }
        let is_new = self.last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, snapshot));
        if is_new || self.is_full {
            self.rules.iter().for_each(|rule| rule.resolve(catalogue));
            self.walk(snapshot, now_ms, &mut out);
            self.events(snapshot, now_ms, &mut out);
        }
        if now_ms - self.looked_ms >= LOOK_MS || now_ms < self.looked_ms || self.is_full {
            self.looked_ms = now_ms;
            self.vanished(snapshot, now_ms, &mut out);
            self.sources(snapshot, now_ms, &mut out);
            self.timers(snapshot, now_ms, &mut out);
            self.book.expire_silences(now_ms, &mut out);
            self.book.forget_ended(now_ms, &mut out);
        }
        if now_ms - self.summed_ms >= SUMS_MS || now_ms < self.summed_ms || self.is_full {
            self.summed_ms = now_ms;
            self.power(snapshot, now_ms, &mut out);
        }
        self.is_full = false;
        self.last = Some(snapshot.clone());
        out
    }

    /// Both lists are in the order of (kind, id): one pass tells what is new, changed and gone.
    fn walk(&mut self, snapshot: &Snapshot, now_ms: i64, out: &mut Out) {
        let before = self.last.take();
        let old: &[Arc<Subject>] = before.as_ref().map_or(&[], |s| &s.subjects);
        let old_sets = std::mem::take(&mut self.set_of);
        let mut sets = Vec::with_capacity(snapshot.subjects.len());
        let mut o = 0;
        for s in &snapshot.subjects {
            let mut was = None;
            while let Some(candidate) = old.get(o) {
                if Arc::ptr_eq(candidate, s) {
                    was = Some(candidate);
                    break;
                }
                match (candidate.kind, &candidate.id).cmp(&(s.kind, &s.id)) {
                    std::cmp::Ordering::Less => {
                        self.gone(candidate, now_ms, out);
                        o += 1;
                    }
                    std::cmp::Ordering::Equal => {
                        was = Some(candidate);
                        break;
                    }
                    std::cmp::Ordering::Greater => break,
                }
            }
            let known_set = was.map(|_| {
                o += 1;
                old_sets.get(o - 1).copied().unwrap_or(0)
            });
            if let (Some(was), Some(set), false) = (was, known_set, self.is_full)
                && Arc::ptr_eq(was, s)
            {
                sets.push(set);
                continue;
            }
            let is_as_before = |was: &Arc<Subject>| Arc::ptr_eq(&was.labels, &s.labels) && was.node == s.node && was.identity == s.identity;
            let set = match (was, known_set) {
                (Some(was), Some(set)) if !self.is_full && is_as_before(was) => set,
                _ => self.set_for(s),
            };
            sets.push(set);
            if set > 0 || !self.book.active.is_empty() {
                self.subject(was.map(|w| &**w), s, set, now_ms, out);
            }
        }
        old.get(o..).unwrap_or_default().iter().for_each(|gone| self.gone(gone, now_ms, out));
        self.set_of = sets;
    }

    /// The rules whose filter lets a subject in.
    fn set_for(&mut self, s: &Subject) -> u32 {
        let Some(candidates) = self.by_kind.get(&s.kind) else { return 0 };
        let mut set = RuleSet::default();
        let who = Who::Subject(s);
        for i in candidates {
            let rule = &self.rules[*i as usize];
            if rule.lets_in(|key| who.label(key)) {
                match rule.condition {
                    Condition::Event { .. } => set.events.push(*i),
                    Condition::Vanished => set.vanished.push(*i),
                    _ => set.readings.push(*i),
                }
            }
        }
        if let Some(known) = self.set_ids.get(&set) {
            return *known;
        }
        let id = self.sets.len() as u32;
        self.sets.push(set.clone());
        self.set_ids.insert(set, id);
        id
    }

    fn subject(&mut self, old: Option<&Subject>, new: &Subject, set: u32, now_ms: i64, out: &mut Out) {
        let Self { rules, sets, lost, book, missing, is_full, .. } = self;
        let set_of = &sets[set as usize];
        let who = Who::Subject(new);
        let has_alert = !book.active.is_empty() && book.active.contains_key(&new.id);
        for i in &set_of.readings {
            let rule = &rules[*i as usize];
            let verdict = rule.verdict(old, new, lost);
            if has_alert || verdict.is_news() {
                book.apply(rule, *i, &who, verdict, Cause::default(), now_ms, out);
            }
            note_lost(rule, old, new, lost);
        }
        if !set_of.vanished.is_empty() {
            match new.life {
                Life::Live => {
                    missing.remove(&new.id);
                    if has_alert {
                        set_of
                            .vanished
                            .iter()
                            .for_each(|i| book.apply(&rules[*i as usize], *i, &who, Verdict::Not(None), Cause::default(), now_ms, out));
                    }
                }
                _ => drop(missing.insert(new.id.clone(), set)),
            }
        }
        // Its labels changed so that a rule is about it no more.
        if has_alert && (old.is_none_or(|old| !Arc::ptr_eq(&old.labels, &new.labels)) || *is_full) {
            let is_about = |i: u16| set_of.readings.contains(&i) || set_of.vanished.contains(&i) || set_of.events.contains(&i);
            book.retain_of(&new.id, |active| (!is_about(active.rule)).then_some(End::Gone), now_ms, out);
        }
    }

    fn gone(&mut self, s: &Subject, now_ms: i64, out: &mut Out) {
        self.missing.remove(&s.id);
        if !self.lost.is_empty() && self.by_kind.contains_key(&s.kind) {
            self.lost.retain(|(id, _), _| *id != s.id);
        }
        if !self.book.active.is_empty() {
            self.book.retain_of(&s.id, |_| Some(End::Gone), now_ms, out);
        }
    }

    fn events(&mut self, snapshot: &Snapshot, now_ms: i64, out: &mut Out) {
        if !self.rules.iter().any(|r| matches!(r.condition, Condition::Event { .. })) {
            return;
        }
        let before = self.last_events.as_slice();
        let is_same = before.len() == snapshot.events.len()
            && before.last().zip(snapshot.events.last()).is_none_or(|(a, b)| Arc::ptr_eq(a, b))
            && before.first().zip(snapshot.events.first()).is_none_or(|(a, b)| Arc::ptr_eq(a, b));
        if is_same && !self.is_full {
            return;
        }
        let known: HashSet<*const Event> = if self.is_full { HashSet::new() } else { before.iter().map(Arc::as_ptr).collect() };
        let new: Vec<Arc<Event>> = snapshot.events.iter().filter(|e| !known.contains(&Arc::as_ptr(e))).cloned().collect();
        for event in &new {
            self.event(snapshot, event, now_ms, out);
        }
        self.last_events.clone_from(&snapshot.events);
    }

    fn event(&mut self, snapshot: &Snapshot, event: &Event, now_ms: i64, out: &mut Out) {
        let Some(subject) = snapshot.get(&event.subject) else { return };
        let set = self.set_for(subject);
        for i in self.sets[set as usize].events.clone() {
            let rule = self.rules[i as usize].clone();
            let Condition::Event { codes, except } = &rule.condition else { continue };
            if !codes.iter().any(|c| c.matches(&event.code)) || except.iter().any(|c| c.matches(&event.code)) {
                continue;
            }
            let told = Told { rule: rule.name.clone(), subject: event.subject.clone(), key: event.key.clone() };
            // One of long ago is none to wake anybody for: an event log is read anew at each start.
            if now_ms - event.at_ms > rule.keep_ms || self.told.contains(&told) {
                continue;
            }
            let verdict = Verdict::Happened { value: None, previous: None };
            self.book.apply(&rule, i, &Who::Subject(subject), verdict, Cause { event: Some(event), previous: None }, now_ms, out);
            out.rows.told.push(told.clone());
            self.remember(told);
            while self.told_order.len() > MOST_TOLD {
                if let Some(old) = self.told_order.pop_front() {
                    self.told.remove(&old);
                    out.rows.untold.push(old);
                }
            }
        }
    }

    fn vanished(&mut self, snapshot: &Snapshot, now_ms: i64, out: &mut Out) {
        let Self { rules, sets, book, missing, .. } = self;
        for (id, set) in missing.iter() {
            let Some(s) = snapshot.get(id) else { continue };
            let verdict = vanished(snapshot, s, now_ms);
            for i in &sets[*set as usize].vanished {
                book.apply(&rules[*i as usize], *i, &Who::Subject(s), verdict, Cause::default(), now_ms, out);
            }
        }
    }

    fn sources(&mut self, snapshot: &Snapshot, now_ms: i64, out: &mut Out) {
        let Self { rules, book, .. } = self;
        let of_sources: Vec<(u16, &Arc<Rule>)> =
            rules.iter().enumerate().filter(|(_, r)| matches!(r.condition, Condition::StaleSource)).map(|(i, r)| (i as u16, r)).collect();
        if of_sources.is_empty() {
            return;
        }
        for source in &snapshot.sources {
            let who = Who::Source(source);
            if source.is_gone {
                if !book.active.is_empty() {
                    book.retain_of(&who.key(), |_| Some(End::Gone), now_ms, out);
                }
                continue;
            }
            let verdict = match is_stale(source, now_ms) {
                true => Verdict::Holds { value: None, threshold: None },
                // Not asked three times yet, since the start.
                false if source.last_success_ms.is_none() => Verdict::Unknown(Reason::Absent),
                false => Verdict::Not(None),
            };
            if !verdict.is_news() && book.active.is_empty() {
                continue;
            }
            for (i, rule) in &of_sources {
                if rule.lets_in(|key| who.label(key)) {
                    book.apply(rule, *i, &who, verdict, Cause::default(), now_ms, out);
                }
            }
        }
    }

    fn power(&mut self, snapshot: &Snapshot, now_ms: i64, out: &mut Out) {
        let rules: Vec<(u16, Arc<Rule>)> = self
            .rules
            .iter()
            .enumerate()
            .filter(|(_, r)| matches!(r.condition, Condition::Power { .. }))
            .map(|(i, r)| (i as u16, r.clone()))
            .collect();
        for by in [PowerBy::Cluster, PowerBy::Node, PowerBy::Namespace] {
            let of: Vec<&(u16, Arc<Rule>)> =
                rules.iter().filter(|(_, r)| matches!(r.condition, Condition::Power { by: other, .. } if other == by)).collect();
            if of.is_empty() {
                continue;
            }
            for (cluster, name, watts, known, all) in sums(snapshot, by) {
                let who = Who::Sum { by, cluster: &cluster, name: &name };
                for (i, rule) in &of {
                    if !rule.lets_in(|key| who.label(key)) {
                        continue;
                    }
                    let Condition::Power { test, .. } = &rule.condition else { continue };
                    let verdict = match test {
                        PowerTest::Spike { percent, least_watts } => {
                            let key = (*i, who.key().into_owned());
                            let before = watts.map(|w| self.sums.insert(key, (w, known))).unwrap_or_default();
                            match (before, watts) {
                                // Over more or fewer servers than before, it is another sum.
                                (Some((then, over)), Some(now)) if over == known => jump(then, now, *percent, *least_watts),
                                _ => Verdict::Unknown(Reason::Absent),
                            }
                        }
                        PowerTest::Bound(bound) => whole(watts.map(|w| bound.judge(w)), known, all),
                        PowerTest::Budgets { watts: budgets, clear } => {
                            let Some(budget) = budgets.get(&*name) else { continue };
                            let bound = super::rule::Bound::Above { at: *budget, clear: budget * clear };
                            whole(watts.map(|w| bound.judge(w)), known, all)
                        }
                    };
                    let previous = match verdict {
                        Verdict::Happened { previous, .. } => previous,
                        _ => None,
                    };
                    self.book.apply(rule, *i, &who, verdict, Cause { event: None, previous }, now_ms, out);
                }
            }
        }
    }

    /// What is due by time alone.
    fn timers(&mut self, snapshot: &Snapshot, now_ms: i64, out: &mut Out) {
        let Self { rules, book, .. } = self;
        let mut due = Vec::new();
        book.retain(
            |active| {
                let Some(rule) = rules.get(active.rule as usize) else { return None };
                match active.alert.state() {
                    State::Pending if now_ms - active.alert.since_ms >= rule.hold_ms => due.push((active.alert.key.clone(), active.rule)),
                    State::Firing if rule.is_of_moments() && now_ms - active.alert.held_ms > rule.keep_ms => return Some(End::Expired),
                    State::Firing if !rule.is_of_moments() && now_ms - active.alert.held_ms > FORGET_MS => return Some(End::Gone),
                    _ => {}
                }
                None
            },
            now_ms,
            out,
        );
        for (key, i) in due {
            // Others fire when they are looked at: sources, sums, and what vanished.
            if let Some(s) = snapshot.get(&key).filter(|_| !matches!(rules[i as usize].condition, Condition::Vanished)) {
                book.fire_if_due(&rules[i as usize], i, &Who::Subject(s), now_ms, out);
            }
        }
    }
}

/// A sum that lacks a part is at least what it says: it may be too much already, but never little enough.
fn whole(verdict: Option<Verdict>, known: usize, all: usize) -> Verdict {
    match verdict {
        None => Verdict::Unknown(Reason::Absent),
        Some(Verdict::Not(_) | Verdict::Between(_)) if known < all => Verdict::Unknown(Reason::Absent),
        Some(verdict) => verdict,
    }
}

/// Cluster, name, watts, over how many, of how many.
fn sums(snapshot: &Snapshot, by: PowerBy) -> Vec<(String, String, Option<f64>, usize, usize)> {
    let account = snapshot.account();
    let mut clusters: Vec<&Arc<str>> = account.servers.iter().map(|s| &s.cluster).collect();
    clusters.dedup();
    match by {
        PowerBy::Cluster => {
            let one = |c: &&Arc<str>| {
                let sum = account.total(Some(c));
                (c.to_string(), c.to_string(), sum.watts, sum.known, sum.of)
            };
            clusters.iter().map(one).collect()
        }
        PowerBy::Node => account
            .servers
            .iter()
            .map(|s| (s.cluster.to_string(), s.name.to_string(), s.watts(), usize::from(s.watts().is_some()), 1))
            .collect(),
        PowerBy::Namespace => {
            let of = |c: &&Arc<str>| {
                let rows = power::breakdown(snapshot, Some(c), By::Namespace);
                let cluster = c.to_string();
                rows.into_iter()
                    .filter(|r| &*r.category != "unattributed")
                    .map(move |r| (cluster.clone(), r.category.to_string(), r.watts, 1, 1))
                    .collect::<Vec<_>>()
            };
            clusters.iter().flat_map(of).collect()
        }
    }
}

impl Book {
    /// Takes a verdict over.
    fn apply(&mut self, rule: &Rule, i: u16, who: &Who<'_>, verdict: Verdict, cause: Cause<'_>, now_ms: i64, out: &mut Out) {
        let key = who.key();
        let place = self.active.get(&*key).and_then(|all| all.iter().position(|a| a.rule == i));
        let Some(place) = place else {
            if !verdict.is_news() {
                return;
            }
            if self.count >= MOST_ACTIVE {
                self.dropped += 1;
                return;
            }
            let mut alert = Alert::begin(rule, who, now_ms);
            (alert.value, alert.threshold) = match verdict {
                Verdict::Holds { value, threshold } => (value, threshold),
                Verdict::Happened { value, .. } => (value, None),
                _ => (None, None),
            };
            let previous = match verdict {
                Verdict::Happened { previous, .. } => previous.or(cause.previous),
                _ => None,
            };
            self.count += 1;
            let all = self.active.entry(alert.key.clone()).or_default();
            all.push(Active { alert, rule: i });
            if let (true, Some(active)) = (rule.hold_ms == 0, all.last_mut()) {
                fire(&mut active.alert, rule, who, Cause { previous, ..cause }, &self.silences, now_ms, out);
                self.fired += 1;
            }
            return;
        };
        let Some(active) = self.active.get_mut(&*key).and_then(|all| all.get_mut(place)) else { return };
        let alert = &mut active.alert;
        match (verdict, alert.state()) {
            (Verdict::Same, _) => {}
            (Verdict::Holds { value, threshold }, state) => {
                (alert.value, alert.threshold, alert.held_ms, alert.unknown) = (value, threshold, now_ms, None);
                if state == State::Pending && now_ms - alert.since_ms >= rule.hold_ms {
                    fire(alert, rule, who, cause, &self.silences, now_ms, out);
                    self.fired += 1;
                }
            }
            (Verdict::Happened { value, previous }, _) => {
                (alert.value, alert.held_ms, alert.unknown) = (value, now_ms, None);
                alert.speak(rule, who, Cause { previous: previous.or(cause.previous), ..cause });
                let again = Arc::new(alert.clone());
                out.rows.put.push(again.clone());
                if alert.is_spike {
                    out.changes.push((Change::PowerSpike, again));
                }
            }
            (_, State::Pending) => {
                // What lies across a gap is not joined either.
                self.remove(&key, place);
            }
            (Verdict::Between(value), _) => (alert.value, alert.held_ms, alert.unknown) = (Some(value), now_ms, None),
            (Verdict::Unknown(reason), _) => alert.unknown = Some(reason),
            (Verdict::Not(value), _) if rule.is_of_moments() => {
                alert.value = value.or(alert.value);
                alert.unknown = None;
            }
            (Verdict::Not(value), _) => {
                alert.value = value;
                alert.unknown = None;
                if let Some(active) = self.remove(&key, place) {
                    self.end(active, End::Cleared, now_ms, out);
                }
            }
        }
    }

    fn fire_if_due(&mut self, rule: &Rule, i: u16, who: &Who<'_>, now_ms: i64, out: &mut Out) {
        let key = who.key();
        let active = self.active.get_mut(&*key).and_then(|all| all.iter_mut().find(|a| a.rule == i));
        if let Some(active) = active.filter(|a| a.alert.state() == State::Pending) {
            active.alert.held_ms = now_ms;
            fire(&mut active.alert, rule, who, Cause::default(), &self.silences, now_ms, out);
            self.fired += 1;
        }
    }

    fn remove(&mut self, key: &str, place: usize) -> Option<Active> {
        let all = self.active.get_mut(key)?;
        let active = (place < all.len()).then(|| all.swap_remove(place))?;
        if all.is_empty() {
            self.active.remove(key);
        }
        self.count -= 1;
        Some(active)
    }

    fn end(&mut self, active: Active, end: End, now_ms: i64, out: &mut Out) {
        let mut alert = active.alert;
        if alert.state() != State::Firing {
            return;
        }
        (alert.ended_ms, alert.end) = (Some(now_ms.max(alert.fired_ms.unwrap_or(now_ms))), Some(end));
        self.resolved += 1;
        let alert = Arc::new(alert);
        out.rows.ended.push((self.next, alert.clone()));
        self.ended.push_back((self.next, alert.clone()));
        self.next += 1;
        out.changes.push((Change::ThresholdCleared, alert));
    }

    /// Ends those for which `why` gives a reason.
    fn retain(&mut self, mut why: impl FnMut(&mut Active) -> Option<End>, now_ms: i64, out: &mut Out) {
        let mut ending = Vec::new();
        self.active.retain(|_, all| {
            for i in (0..all.len()).rev() {
                if let Some(end) = why(&mut all[i]) {
                    ending.push((all.swap_remove(i), end));
                }
            }
            !all.is_empty()
        });
        self.count -= ending.len();
        ending.into_iter().for_each(|(active, end)| self.end(active, end, now_ms, out));
    }

    fn retain_of(&mut self, key: &str, why: impl Fn(&Active) -> Option<End>, now_ms: i64, out: &mut Out) {
        let mut place = 0;
        while let Some(active) = self.active.get(key).and_then(|all| all.get(place)) {
            match why(active) {
                None => place += 1,
                Some(end) => {
                    if let Some(active) = self.remove(key, place) {
                        self.end(active, end, now_ms, out);
                    }
                }
            }
        }
    }

    /// Those that are pending or fire.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.active.values().flatten().map(|a| &a.alert)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Alert> {
        self.active.values_mut().flatten().map(|a| &mut a.alert).find(|a| &*a.id == id)
    }

    /// Says of each alert which silences cover it.
    pub fn weigh_silences(&mut self) {
        let silences = &self.silences;
        self.active.values_mut().flatten().for_each(|a| a.alert.silenced_by = covering(silences, &a.alert));
    }

    fn expire_silences(&mut self, now_ms: i64, out: &mut Out) {
        let (stay, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.silences).into_iter().partition(|s| s.ends_ms > now_ms);
        self.silences = stay;
        if !over.is_empty() {
            out.rows.unsilenced.extend(over.into_iter().map(|s| s.id));
            self.weigh_silences();
        }
    }

    fn forget_ended(&mut self, now_ms: i64, out: &mut Out) {
        let is_old = |a: &Arc<Alert>| a.ended_ms.is_some_and(|at| now_ms - at > ENDED_KEPT_MS);
        while self.ended.len() > MOST_ENDED || self.ended.front().is_some_and(|(_, a)| is_old(a)) {
            self.ended.pop_front();
        }
        out.rows.forget_below = self.ended.front().map_or(0, |(n, _)| *n);
    }
}

fn covering(silences: &[Silence], alert: &Alert) -> Vec<Arc<str>> {
    silences.iter().filter(|s| s.covers(alert)).map(|s| s.id.clone()).collect()
}

fn fire(alert: &mut Alert, rule: &Rule, who: &Who<'_>, cause: Cause<'_>, silences: &[Silence], now_ms: i64, out: &mut Out) {
    alert.fired_ms = Some(now_ms);
    alert.speak(rule, who, cause);
    alert.silenced_by = covering(silences, alert);
    let fired = Arc::new(alert.clone());
    let change = if alert.is_spike { Change::PowerSpike } else { Change::ThresholdExceeded };
    out.rows.put.push(fired.clone());
    out.changes.push((change, fired));
}
