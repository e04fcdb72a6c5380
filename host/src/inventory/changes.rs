//! What changed from one sequence to another, for readers who have the rest.
//!
//! In: snapshots, when somebody asks. Out: the subjects, events and departures after a sequence. It keeps what it compared
//! last, which the snapshot holds anyway, and nothing where nobody asks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{Event, Sequence, Snapshot, Subject};

/// Departures that are remembered; who has an older base gets everything.
const MAX_GONE: usize = 20_000;

/// What is known of the snapshots that were asked for.
#[derive(Default)]
pub struct Changes {
    /// Of the first snapshot that was compared, or of the oldest departure that was forgotten.
    oldest: Sequence,
    latest: Option<Arc<Snapshot>>,
    subjects: HashMap<Arc<str>, Known>,
    gone: VecDeque<(Sequence, Arc<Subject>)>,
    /// By address, which the event keeps while it is here.
    events: HashMap<usize, (Sequence, Arc<Event>)>,
}

struct Known {
    subject: Arc<Subject>,
    changed: Sequence,
    /// When anything but its readings changed.
    described: Sequence,
}

/// Why a reader who named a base gets everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Anew {
    /// It named none.
    First,
    /// The base is of another run of the host.
    Epoch,
    /// What left since then is not known any more.
    TooOld,
    /// The base is newer than this host.
    Ahead,
}

/// What a reader of one base lacks.
pub struct Difference {
    pub snapshot: Arc<Snapshot>,
    /// In the order of a snapshot; whether it is to be described anew.
    pub subjects: Vec<(Arc<Subject>, bool)>,
    pub events: Vec<Arc<Event>>,
    pub gone: Vec<Arc<Subject>>,
    /// `None`: it is what changed.
    pub anew: Option<Anew>,
}

impl Changes {
    /// What came after `since`, as of `now` or of a later snapshot that somebody else asked for meanwhile.
    pub fn after(&mut self, now: Arc<Snapshot>, since: Result<Sequence, Anew>, takes: impl Fn(&Subject) -> bool) -> Difference {
        let now = self.follow(now);
        let since = since.and_then(|since| match () {
            _ if since < self.oldest => Err(Anew::TooOld),
            _ if since > now.sequence => Err(Anew::Ahead),
            _ => Ok(since),
        });
        let (base, anew) = match since {
            Ok(since) => (since, None),
            Err(why) => (0, Some(why)),
        };
        let is_new = |sequence: Sequence| anew.is_some() || sequence > base;
        let mut subjects = Vec::new();
        for subject in now.subjects.iter().filter(|s| takes(s)) {
            let Some(known) = self.subjects.get(&subject.id) else { continue };
            if is_new(known.changed) {
                subjects.push((subject.clone(), is_new(known.described)));
            }
        }
        let event = |e: &&Arc<Event>| self.events.get(&(Arc::as_ptr(e) as usize)).is_some_and(|(at, _)| is_new(*at));
        let events = now.events.iter().filter(event).cloned().collect();
        let gone = self.gone.iter().filter(|(at, s)| anew.is_none() && *at > base && takes(s)).map(|(_, s)| s.clone()).collect();
        Difference { snapshot: now, subjects, events, gone, anew }
    }

    /// Compares with what was there; gives the newest that is known.
    fn follow(&mut self, now: Arc<Snapshot>) -> Arc<Snapshot> {
        let sequence = now.sequence;
        match &self.latest {
            Some(latest) if latest.sequence >= sequence => return latest.clone(),
            Some(_) => {}
            None => self.oldest = sequence,
        }
        for subject in &now.subjects {
            match self.subjects.get_mut(&subject.id) {
                Some(known) if Arc::ptr_eq(&known.subject, subject) => {}
                Some(known) => {
                    if !is_described_alike(&known.subject, subject) {
                        known.described = sequence;
                    }
                    (known.changed, known.subject) = (sequence, subject.clone());
                }
                None => {
                    let known = Known { subject: subject.clone(), changed: sequence, described: sequence };
                    self.subjects.insert(subject.id.clone(), known);
                }
            }
        }
        if self.subjects.len() > now.subjects.len() {
            let left = self.subjects.extract_if(|id, _| now.get(id).is_none());
            self.gone.extend(left.map(|(_, known)| (sequence, known.subject)));
            while self.gone.len() > MAX_GONE {
                self.oldest = self.gone.pop_front().map_or(self.oldest, |(at, _)| at);
            }
        }
        let event = |e: &Arc<Event>| {
            let address = Arc::as_ptr(e) as usize;
            let first = self.events.get(&address).map_or(sequence, |(at, _)| *at);
            (address, (first, e.clone()))
        };
        self.events = now.events.iter().map(event).collect();
        self.latest = Some(now.clone());
        now
    }
}

fn is_described_alike(a: &Subject, b: &Subject) -> bool {
    (Arc::ptr_eq(&a.labels, &b.labels) || a.labels == b.labels)
        && (a.kind, &a.identity, &a.parent, &a.node) == (b.kind, &b.identity, &b.parent, &b.node)
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Batch, BatchPoint, BatchSubject, Coverage};
    use super::super::{Inventory, Kind, Quality, SourceInfo};
    use super::*;
    use crate::catalogue::Catalogue;

    struct World {
        inventory: Inventory,
        changes: Changes,
        at: i64,
    }

    impl World {
        fn say(&mut self, coverage: Coverage, cards: &[(&str, &str)]) -> Sequence {
            self.at += 1_000;
            let source = SourceInfo {
                plugin: "p".into(),
                target: "t".into(),
                cluster: "cluster1".into(),
                interval_ms: 15_000,
                priority: 0,
                max_subjects: 100,
                max_values: 1_000,
            };
            let card = |(name, model): &(&str, &str)| BatchSubject {
                kind: Kind::Pod,
                identity: vec![("namespace".into(), "ml".into()), ("name".into(), (*name).into())],
                labels: vec![("model".into(), (*model).into())],
                parent: None,
                observed_at_ms: None,
            };
            let metric = Catalogue::known("power_watts").unwrap();
            let point = |i: usize| BatchPoint { subject: i as u32, metric, value: 1.0, quality: Quality::Measured, at_ms: Some(self.at) };
            let subjects = cards.iter().map(card).collect();
            let points = (0..cards.len()).map(point).collect();
            self.inventory.apply(&source, Batch { coverage, subjects, points, ..Batch::default() }, self.at);
            let snapshot = self.inventory.prepare(self.at, i64::MAX).unwrap().snapshot;
            self.inventory.publish(snapshot.clone());
            snapshot.sequence
        }

        fn after(&mut self, since: Result<Sequence, Anew>) -> (Vec<(String, bool)>, Vec<String>, Option<Anew>) {
            let d = self.changes.after(self.inventory.current(), since, |_| true);
            let subjects = d.subjects.iter().map(|(s, anew)| (s.label("name").unwrap().to_owned(), *anew)).collect();
            (subjects, d.gone.iter().map(|s| s.label("name").unwrap().to_owned()).collect(), d.anew)
        }
    }

    #[test]
    fn a_reader_is_told_what_changed_since_its_base_and_described_only_where_that_changed() {
        let mut w = World { inventory: Inventory::new(0), changes: Changes::default(), at: 1_764_000_000_000 };
        let one = w.say(Coverage::Whole, &[("a", "x"), ("b", "x"), ("c", "x")]);
        assert_eq!(w.after(Err(Anew::First)).0.len(), 3);
        let two = w.say(Coverage::Partial, &[("a", "x"), ("b", "y")]);
        let named = |all: &[(&str, bool)]| all.iter().map(|(n, d)| ((*n).to_owned(), *d)).collect::<Vec<_>>();
        assert_eq!(w.after(Ok(one)), (named(&[("a", false), ("b", true)]), vec![], None));
        let three = w.say(Coverage::Whole, &[("a", "x"), ("b", "y")]);
        assert_eq!(w.after(Ok(two)), (named(&[("a", false), ("b", false)]), vec!["c".to_owned()], None));
        assert_eq!(w.after(Ok(one)).0, named(&[("a", false), ("b", true)]), "an older base is as good");
        assert_eq!(w.after(Ok(three)), (vec![], vec![], None));
    }

    #[test]
    fn a_base_that_is_not_known_is_answered_whole_and_why() {
        let mut w = World { inventory: Inventory::new(50), changes: Changes::default(), at: 1_764_000_000_000 };
        let one = w.say(Coverage::Whole, &[("a", "x")]);
        assert_eq!(w.after(Ok(one - 1)).2, Some(Anew::TooOld), "nobody looked then");
        assert_eq!(w.after(Ok(one + 1)).2, Some(Anew::Ahead));
        assert_eq!(w.after(Err(Anew::Epoch)), (vec![("a".to_owned(), true)], vec![], Some(Anew::Epoch)));
        let many: Vec<String> = (0..3).map(|i| i.to_string()).collect();
        for name in &many {
            w.say(Coverage::Whole, &[("a", "x"), (name, "x")]);
            w.after(Ok(one));
        }
        assert_eq!(w.after(Ok(one)).1, ["0", "1"]);
    }
}
