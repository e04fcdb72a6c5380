//! Evaluation: what each rule says of each subject, and what becomes of alerts by it.
//!
//! Only what changed since the snapshot before is looked at; a subject without an alert costs no allocation. Sources and what
//! vanished are looked at once a second, sums of watts every five.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::alert::{Cause, End, State, Who};
use super::book::{Book, Out};
use super::rule::{Condition, Lost, PowerBy, PowerTest, Rule, Verdict, is_stale, jump, life_count, note_lost, vanished};
use super::store::{Found, Rows};
use crate::catalogue::Catalogue;
use crate::inventory::{Event, HOLDS_NOW, Kind, Life, Reason, Snapshot, Subject};
use crate::power::{self, By};

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

/// Rules that look at one subject, by how they do.
#[derive(Default, PartialEq, Eq, Hash, Clone)]
struct RuleSet {
    readings: Vec<u16>,
    events: Vec<u16>,
    vanished: Vec<u16>,
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
    /// Rules by which the subject at hand has an alert.
    alerted: Vec<u16>,
    pub book: Book,
}

impl Engine {
    /// Begins with what was kept.
    pub fn with(mut found: Found, now_ms: i64) -> Self {
        let mut engine = Self::default();
        found.told.sort_by_key(|(_, at)| *at);
        for (told, _) in found.told {
            engine.remember(told);
        }
        engine.book = Book::with(found.active, found.ended, found.silences, now_ms);
        engine
    }

    fn remember(&mut self, told: Told) {
        if self.told.insert(told.clone()) {
            self.told_order.push_back(told);
        }
    }

    /// Everything that is to be on disk.
    pub fn rows(&self) -> Rows {
        Rows {
            put: self.book.all().filter(|a| a.state() == State::Firing).cloned().map(Arc::new).collect(),
            ended: self.book.ended.iter().cloned().collect(),
            told: self.told_order.iter().cloned().collect(),
            silences: self.book.silences.clone(),
            ..Rows::default()
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
                let kind = |rule: &Rule| (rule.kind, std::mem::discriminant(&rule.condition));
                let is_other = was.is_some_and(|was| kind(was) != kind(new))
                    || (active.alert.severity, &*active.alert.unit) != (new.severity, new.unit);
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
        // Who looks by the clock may come after who brought a newer one.
        let newest = self.last.clone().filter(|last| last.sequence > snapshot.sequence);
        let snapshot = newest.as_ref().unwrap_or(snapshot);
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
            let is_as_before = |was: &Arc<Subject>| {
                // What did not change is shared.
                let same = |a: &Arc<str>, b: &Arc<str>| Arc::ptr_eq(a, b);
                let is_same_node =
                    was.node.as_ref().zip(s.node.as_ref()).map_or(was.node.is_none() && s.node.is_none(), |(a, b)| same(a, b));
                Arc::ptr_eq(&was.labels, &s.labels)
                    && is_same_node
                    && was.identity.len() == s.identity.len()
                    && was.identity.iter().zip(&s.identity).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
            };
            let set = match (was, known_set) {
                (Some(was), Some(set)) if !self.is_full && is_as_before(was) => set,
                _ => self.set_for(s),
            };
            sets.push(set);
            if set > 0 || !self.book.is_empty() {
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
        let Self { rules, sets, lost, book, missing, is_full, alerted, .. } = self;
        let set_of = &sets[set as usize];
        let who = Who::Subject(new);
        book.rules_of(&new.id, alerted);
        let has_alert = !alerted.is_empty();
        for i in &set_of.readings {
            let rule = &rules[*i as usize];
            let verdict = rule.verdict(old, new, lost);
            if verdict.is_news() || (has_alert && alerted.contains(i)) {
                book.apply((rule, *i), &who, verdict, Cause::default(), now_ms, out);
            }
        }
        // After all of them looked: two rules may look at one counter.
        set_of.readings.iter().for_each(|i| note_lost(&rules[*i as usize], old, new, lost));
        if !set_of.vanished.is_empty() {
            match new.life {
                Life::Live => {
                    missing.remove(&new.id);
                    if has_alert {
                        set_of
                            .vanished
                            .iter()
                            .for_each(|i| book.apply((&rules[*i as usize], *i), &who, Verdict::Not(None), Cause::default(), now_ms, out));
                    }
                }
                _ => drop(missing.insert(new.id.clone(), set)),
            }
        }
        if has_alert && let Some(count) = life_count(new) {
            book.see_life(&new.id, count, |i| rules.get(i as usize).is_some_and(|r| r.is_until_reset), now_ms, out);
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
        if !self.book.is_empty() {
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
            self.book.apply((&rule, i), &Who::Subject(subject), verdict, Cause { event: Some(event), previous: None }, now_ms, out);
            // What holds when a source is first heard has a key without a moment: it is no news after a start.
            let standing = first_key(&event.key).map(|key| Told { key: key.into(), ..told.clone() });
            for told in standing.into_iter().chain([told]) {
                out.rows.told.push(told.clone());
                self.remember(told);
            }
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
                book.apply((&rules[*i as usize], *i), &Who::Subject(s), verdict, Cause::default(), now_ms, out);
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
        let mut seen = HashSet::new();
        for source in &snapshot.sources {
            let who = Who::Source(source);
            if !book.is_empty() && !source.is_gone {
                seen.insert(who.key().into_owned());
            }
            if source.is_gone {
                if !book.is_empty() {
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
            if !verdict.is_news() && book.is_empty() {
                continue;
            }
            for (i, rule) in &of_sources {
                match rule.lets_in(|key| who.label(key)) {
                    true => book.apply((rule, *i), &who, verdict, Cause::default(), now_ms, out),
                    false => book.retain_of(&who.key(), |active| (active.rule == *i).then_some(End::RuleRemoved), now_ms, out),
                }
            }
        }
        book.retain_seen(|rule| of_sources.iter().any(|(i, _)| *i == rule), &seen, now_ms, out);
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
            let (mut seen, mut now_sums) = (HashSet::new(), HashMap::new());
            for (cluster, name, watts, known, all) in sums(snapshot, by) {
                let who = Who::Sum { by, cluster: &cluster, name: &name };
                seen.insert(who.key().into_owned());
                for (i, rule) in &of {
                    let Condition::Power { test, .. } = &rule.condition else { continue };
                    let is_budgeted = !matches!(test, PowerTest::Budgets { watts, .. } if !watts.contains_key(&*name));
                    if !is_budgeted || !rule.lets_in(|key| who.label(key)) {
                        self.book.retain_of(&who.key(), |active| (active.rule == *i).then_some(End::RuleRemoved), now_ms, out);
                        continue;
                    }
                    let verdict = match test {
                        PowerTest::Spike { percent, least_watts } => {
                            let key = (*i, who.key().into_owned());
                            let before = self.sums.get(&key).copied();
                            now_sums.extend(watts.map(|w| (key, (w, known))));
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
                    self.book.apply((rule, *i), &who, verdict, Cause { event: None, previous }, now_ms, out);
                }
            }
            let is_of = |rule: u16| of.iter().any(|(i, _)| *i == rule);
            self.sums.retain(|(i, _), _| !is_of(*i));
            self.sums.extend(now_sums);
            self.book.retain_seen(is_of, &seen, now_ms, out);
        }
    }

    /// What is due by time alone.
    fn timers(&mut self, snapshot: &Snapshot, now_ms: i64, out: &mut Out) {
        let Self { rules, book, .. } = self;
        let mut due = Vec::new();
        book.retain(
            |active| {
                let rule = rules.get(active.rule as usize)?;
                match active.alert.state() {
                    // One observation alone does not hold for any time.
                    State::Pending if now_ms - active.alert.since_ms >= rule.hold_ms && active.alert.held_ms > active.alert.since_ms => {
                        due.push((active.alert.key.clone(), active.rule))
                    }
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

/// The key of what held again (`now:KEY@MILLISECONDS`), as it was when it held first.
fn first_key(key: &str) -> Option<&str> {
    let (first, at) = key.rsplit_once('@')?;
    (first.starts_with(HOLDS_NOW) && at.bytes().all(|b| b.is_ascii_digit())).then_some(first)
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
                    .map(move |r| (cluster.clone(), r.category.to_string(), r.watts, r.known, r.count))
                    .collect::<Vec<_>>()
            };
            clusters.iter().flat_map(of).collect()
        }
    }
}
