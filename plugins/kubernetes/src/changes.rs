//! What changed since the host was told: by object the last word only, kept until the host has taken it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::objects::{NamespaceObject, NodeObject, PodObject};

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Node(String),
    Namespace(String),
    /// Namespace and name.
    Pod(String, String),
}

#[derive(Debug, Clone)]
pub enum Object {
    Node(Box<NodeObject>),
    Namespace(Box<NamespaceObject>),
    Pod(Box<PodObject>),
}

/// An object as it is now; `None` where it is gone. `before` is one of its name that went since the host was told.
#[derive(Debug, Clone)]
pub struct Change {
    pub before: Option<Object>,
    pub now: Option<Object>,
}

/// Changes in the order of their keys.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<Key, Change>);

impl Changes {
    pub fn put(&mut self, key: Key, object: Object) {
        match self.0.entry(key) {
            Entry::Vacant(free) => _ = free.insert(Change { before: None, now: Some(object) }),
            Entry::Occupied(mut known) => known.get_mut().now = Some(object),
        }
    }

    pub fn remove(&mut self, key: Key, last: Object) {
        match self.0.entry(key) {
            Entry::Vacant(free) => _ = free.insert(Change { before: Some(last), now: None }),
            Entry::Occupied(mut known) => {
                // The first that went is the one that the host knows.
                let change = known.get_mut();
                change.before.get_or_insert(last);
                change.now = None;
            }
        }
    }

    /// Takes back what the host did not take; what came since goes before it.
    pub fn put_back(&mut self, older: Vec<(Key, Change)>) {
        for (key, old) in older {
            match self.0.entry(key) {
                Entry::Vacant(free) => _ = free.insert(old),
                Entry::Occupied(mut newer) => {
                    let newer = newer.get_mut();
                    newer.before = old.before.or(newer.before.take());
                }
            }
        }
    }

    pub fn take(&mut self) -> Vec<(Key, Change)> {
        std::mem::take(&mut self.0).into_iter().collect()
    }
}
