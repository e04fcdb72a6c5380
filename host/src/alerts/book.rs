//! Alerts as they are: what becomes of one by each verdict, from its beginning to its end, and which are silenced.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Change;
use super::alert::{Acknowledgement, Alert, Cause, End, Silence, State, Who};
use super::rule::{Rule, Verdict, began_anew};
use super::store::Rows;
use crate::inventory::{Fault, Reason, Severity};

/// Alerts at one time; more are counted, not kept.
pub const MOST_ACTIVE: usize = 50_000;
/// Ended alerts that are kept, and for how long.
pub const MOST_ENDED: usize = 10_000;
const ENDED_KEPT_MS: i64 = 90 * 86_400_000;
pub const MOST_SILENCES: usize = 1_000;
/// An alert of a source or a sum that is there no more ends after this: their names come back soon after a start, or never.
const UNSEEN_MS: i64 = 10 * 60_000;

/// What an evaluation changed.
#[derive(Default)]
pub struct Out {
    pub changes: Vec<(Change, Arc<Alert>)>,
    /// Firing ones whose silence ended: who is told hears of them now, streams did before.
    pub late: Vec<(Change, Arc<Alert>)>,
    pub rows: Rows,
}

/// An alert with the place of its rule.
pub struct Active {
    pub alert: Alert,
    pub rule: u16,
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

impl Book {
    /// Begins with what was kept. What fired held until the stop, as far as anybody knows.
    pub fn with(active: Vec<Alert>, ended: Vec<(u64, Alert)>, silences: Vec<Silence>, now_ms: i64) -> Self {
        let mut book = Self {
            silences: silences.into_iter().filter(|s| s.ends_ms > now_ms).collect(),
            next: ended.last().map_or(0, |(n, _)| n + 1),
            ended: ended.into_iter().map(|(n, a)| (n, Arc::new(a))).collect(),
            ..Self::default()
        };
        for alert in active {
            let held_ms = if alert.is_moment { alert.held_ms } else { now_ms };
            let alert = Alert { held_ms, unknown: Some(Reason::Absent), ..alert };
            book.count += 1;
            book.active.entry(alert.key.clone()).or_default().push(Active { alert, rule: u16::MAX });
        }
        book.weigh_silences();
        book
    }

    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// The rules by which a subject has an alert, into a list that is used again and again.
    pub fn rules_of(&self, key: &str, into: &mut Vec<u16>) {
        into.clear();
        if !self.active.is_empty() {
            into.extend(self.active.get(key).into_iter().flatten().map(|a| a.rule));
        }
    }

    /// Takes the verdict of a rule, which comes with its place, over.
    pub fn apply(&mut self, (rule, i): (&Rule, u16), who: &Who<'_>, verdict: Verdict, cause: Cause<'_>, now_ms: i64, out: &mut Out) {
        let key = who.key();
        // Each kind of event is an alert of its own.
        let code = cause.event.map(|e| &e.code);
        let place = self.active.get(&*key).and_then(|all| all.iter().position(|a| a.rule == i && a.alert.code.as_ref() == code));
        let Some(place) = place else {
            if !verdict.is_news() {
                return;
            }
            if self.count >= MOST_ACTIVE {
                self.dropped += 1;
                return;
            }
            let mut alert = Alert::begin(rule, who, code, now_ms);
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
                alert.is_told |= alert.is_spike && alert.silenced_by.is_empty();
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

    pub fn fire_if_due(&mut self, rule: &Rule, i: u16, who: &Who<'_>, now_ms: i64, out: &mut Out) {
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
    pub fn retain(&mut self, mut why: impl FnMut(&mut Active) -> Option<End>, now_ms: i64, out: &mut Out) {
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

    /// Ends those of some rules whose subject was not seen for a while.
    pub fn retain_seen(&mut self, is_of: impl Fn(u16) -> bool, seen: &HashSet<String>, now_ms: i64, out: &mut Out) {
        if self.active.is_empty() {
            return;
        }
        let why = |active: &mut Active| {
            if !is_of(active.rule) || seen.contains(&*active.alert.key) {
                return None;
            }
            active.alert.unknown = Some(Reason::Absent);
            (now_ms - active.alert.held_ms > UNSEEN_MS).then_some(End::Gone)
        };
        self.retain(why, now_ms, out);
    }

    pub fn retain_of(&mut self, key: &str, why: impl Fn(&Active) -> Option<End>, now_ms: i64, out: &mut Out) {
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

    /// Ends one of what only happens: somebody says that it is over.
    pub fn resolve(&mut self, id: &str, by: Acknowledgement, now_ms: i64, out: &mut Out) -> Option<Arc<Alert>> {
        let found = self.active.iter().find_map(|(key, all)| Some((key.clone(), all.iter().position(|a| &*a.alert.id == id)?)));
        let (key, place) = found?;
        let mut active = self.remove(&key, place)?;
        active.alert.resolved = Some(by);
        self.end(active, End::Operator, now_ms, out);
        self.ended.back().map(|(_, alert)| alert.clone())
    }

    /// Ends those of a subject that a reset ends, where its counters began anew.
    pub fn see_life(&mut self, key: &str, count: f64, is_until_reset: impl Fn(u16) -> bool, now_ms: i64, out: &mut Out) {
        let Some(all) = self.active.get(key) else { return };
        let is_over = |a: &Active| is_until_reset(a.rule) && a.alert.life_count.is_some_and(|then| began_anew(then, count));
        if all.iter().any(is_over) {
            self.retain_of(key, |a| is_over(a).then_some(End::Reset), now_ms, out);
        }
        self.active.get_mut(key).into_iter().flatten().for_each(|a| a.alert.life_count = Some(count));
    }

    /// Cards that have a critical alert, and when their faults were last said to be over, as far as that is newer than `since_ms`.
    pub fn faults(&self, since_ms: i64) -> HashMap<Arc<str>, Fault> {
        let mut all: HashMap<Arc<str>, Fault> = HashMap::new();
        let is_bad = |a: &&Alert| a.is_of_card() && a.severity == Severity::Critical && a.state() == State::Firing;
        self.all().filter(is_bad).for_each(|a| all.entry(a.key.clone()).or_default().is_critical = true);
        for (_, alert) in self.ended.iter().rev().take_while(|(_, a)| a.ended_ms.is_some_and(|at| at >= since_ms)) {
            if alert.is_of_card() && matches!(alert.end, Some(End::Operator | End::Reset)) {
                let fault = all.entry(alert.key.clone()).or_default();
                fault.over_ms = fault.over_ms.max(alert.ended_ms);
            }
        }
        all
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

    pub fn expire_silences(&mut self, now_ms: i64, out: &mut Out) {
        let (stay, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.silences).into_iter().partition(|s| s.ends_ms > now_ms);
        self.silences = stay;
        if !over.is_empty() {
            out.rows.unsilenced.extend(over.into_iter().map(|s| s.id));
            self.weigh_silences();
            self.speak_late(out);
        }
    }

    /// Tells of what fires, is silenced no more, and was told to nobody.
    pub fn speak_late(&mut self, out: &mut Out) {
        for Active { alert, .. } in self.active.values_mut().flatten() {
            if alert.state() == State::Firing && !alert.is_told && alert.silenced_by.is_empty() {
                alert.is_told = true;
                let alert = Arc::new(alert.clone());
                out.rows.put.push(alert.clone());
                out.late.push((alert.begun(), alert));
            }
        }
    }

    pub fn forget_ended(&mut self, now_ms: i64, out: &mut Out) {
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
    alert.is_told = alert.silenced_by.is_empty();
    let fired = Arc::new(alert.clone());
    out.rows.put.push(fired.clone());
    out.changes.push((fired.begun(), fired));
}
