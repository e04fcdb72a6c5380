//! One cluster, kept in step: listed whole page by page, then followed by its watches.
//!
//! In: a call's page and cursor. Out: a batch. The cursor counts answers: the host hands back that of the last answer that it took, so
//! that what it did not take is said again. An instance that is given none lists anew. Never an answer of nothing where the API did not
//! answer: then the call fails, and what was said before ages.

use std::collections::HashMap;

use kcloud_collector_sdk::{Batch, CollectError, Label, Target, http, log};
use kube_mapping::model::{Pod, Writer};
use kube_mapping::owner::{Owner, top};

use crate::Config;
use crate::changes::{Change, Changes, Key, Object};
use crate::events::{Events, There};
use crate::feed::{Deadline, Feed, Line, METADATA, Stopped, WHOLE};
use crate::held::Held;
use crate::objects::{Bare, NamespaceObject, NodeObject, PodObject};

/// Changes of one page of a delta.
const CHANGES: usize = 2_000;
/// Subjects after which a page of a list ends.
const SUBJECTS: usize = 2_000;
/// Pods whose owner is not known yet: its line may come with the next call.
const WAITING: usize = 10_000;
/// A page is begun while this much time is left.
const PAGE_MS: u32 = 500;

/// What stands above something: its owner, and the queue that it is in.
#[derive(Default)]
struct Above {
    owner: Option<Owner>,
    queue: Option<String>,
}

/// The order of the lists: what pods refer to before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nodes,
    Namespaces,
    ReplicaSets,
    Jobs,
    Pods,
    Done,
}

struct Feeds {
    nodes: (Feed, &'static str),
    namespaces: Option<(Feed, &'static str)>,
    replica_sets: Option<(Feed, &'static str)>,
    jobs: Option<(Feed, &'static str)>,
    pods: (Feed, &'static str),
}

impl Feeds {
    fn new() -> Self {
        Self {
            nodes: Feed::new("/api/v1/nodes", WHOLE),
            namespaces: Some(Feed::new("/api/v1/namespaces", WHOLE)),
            replica_sets: Some(Feed::new("/apis/apps/v1/replicasets", METADATA)),
            jobs: Some(Feed::new("/apis/batch/v1/jobs", METADATA)),
            pods: Feed::new("/api/v1/pods", WHOLE),
        }
    }
}

/// Where a list stands.
struct Listing {
    step: Step,
    next: Option<String>,
    page: u64,
}

pub struct Cluster {
    feeds: Feeds,
    /// By kind, namespace and name.
    above: HashMap<(&'static str, String, String), Above>,
    changes: Changes,
    sent: Vec<(Key, Change)>,
    events: Events,
    there: There,
    held: Held,
    waiting: HashMap<(String, String), PodObject>,
    /// The last answer that the host took, and the last that it was offered.
    taken: u64,
    offered: u64,
    /// Whether the one that was offered is a whole list: it cannot be said again.
    is_whole: bool,
    /// Pages of the delta under way.
    delta_page: u64,
    listing: Option<Listing>,
    is_listed: bool,
}

impl Cluster {
    pub fn new(events: &str) -> Self {
        Self {
            feeds: Feeds::new(),
            above: HashMap::new(),
            changes: Changes::default(),
            sent: Vec::new(),
            events: Events::new(events),
            there: There::default(),
            held: Held::default(),
            waiting: HashMap::new(),
            taken: 0,
            offered: 0,
            is_whole: false,
            delta_page: 0,
            listing: None,
            is_listed: false,
        }
    }

    pub fn collect(&mut self, target: &Target, config: &Config, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let deadline = Deadline::new(deadline_ms);
        let number = |bytes: Vec<u8>| bytes.try_into().ok().map(u64::from_le_bytes);
        if let Some(page) = batch.page.take() {
            let page = number(page);
            return match &self.listing {
                Some(listing) if page == Some(listing.page) => self.list(target, config, deadline, batch),
                None if page == Some(self.delta_page) => self.follow(target, config, deadline, batch),
                _ => Err(CollectError::Internal("a page that is none of ours".to_owned())),
            };
        }
        let taken = batch.cursor.take().and_then(number);
        if self.is_listed && taken == Some(self.offered) {
            self.taken = self.offered;
            self.is_whole = false;
            self.sent.clear();
            self.events.taken();
            self.held.taken();
        } else if self.is_listed && !self.is_whole && taken == Some(self.taken) {
            // What was said last, or a page of it, was not taken.
            self.changes.put_back(std::mem::take(&mut self.sent));
            self.events.put_back();
            self.held.put_back();
        } else {
            self.begin(config);
            return self.list(target, config, deadline, batch);
        }
        // Watches are silent for as long as nothing happens: a word that the API is there at all.
        let version = format!("{}/version", target.address.trim_end_matches('/'));
        let answer = http::raw(target, &version, &[("accept", "application/json")], deadline.left_ms())?;
        if !matches!(answer.status, 403 | 404) {
            answer.good()?;
        }
        self.delta_page = 0;
        self.follow(target, config, deadline, batch)
    }

    /// Forgets everything and begins with the first list.
    fn begin(&mut self, config: &Config) {
        *self = Self { offered: self.offered, ..Self::new(&config.events) };
        self.listing = Some(Listing { step: Step::Nodes, next: None, page: 0 });
    }

    fn writer(config: &Config) -> Writer {
        let mut writer = Writer::new(0);
        writer.most_labels = config.labels_per_subject;
        writer
    }

    /// Goes on with the list until a page is full or all is read.
    fn list(&mut self, target: &Target, config: &Config, deadline: Deadline, batch: &mut Batch) -> Result<(), CollectError> {
        let Some(mut at) = self.listing.take() else { return Err(CollectError::Internal("no list is under way".to_owned())) };
        let (limit, annotations) = (config.page_size, config.annotations);
        let mut writer = Self::writer(config);
        while at.step != Step::Done {
            if batch.count() >= SUBJECTS {
                at.page += 1;
                batch.next_page(at.page.to_le_bytes().to_vec());
                self.listing = Some(at);
                return Ok(());
            }
            let next = at.next.take();
            at.next = match at.step {
                Step::Nodes => {
                    let (feed, accept) = &mut self.feeds.nodes;
                    let (all, next) = feed.page::<NodeObject>(target, accept, limit, next.as_deref(), deadline)?;
                    for node in &all {
                        self.there.put("", &node.metadata.name, true);
                        writer.node(batch, node.read(annotations));
                    }
                    next
                }
                Step::Namespaces => {
                    let read = optional(&mut self.feeds.namespaces, batch, |feed, accept| {
                        feed.page::<NamespaceObject>(target, accept, limit, next.as_deref(), deadline)
                    })?;
                    let (all, next) = read.unwrap_or_default();
                    all.iter().for_each(|n| namespace(batch, &mut writer, &n.metadata.name, n.read(annotations)));
                    next
                }
                Step::ReplicaSets | Step::Jobs => {
                    let (kind, feed) = match at.step {
                        Step::Jobs => ("Job", &mut self.feeds.jobs),
                        _ => ("ReplicaSet", &mut self.feeds.replica_sets),
                    };
                    let read = optional(feed, batch, |feed, accept| feed.page::<Bare>(target, accept, limit, next.as_deref(), deadline))?;
                    let (all, next) = read.unwrap_or_default();
                    all.into_iter().for_each(|o| know(&mut self.above, kind, &o));
                    next
                }
                Step::Pods => {
                    let (feed, accept) = &mut self.feeds.pods;
                    let (all, next) = feed.page::<PodObject>(target, accept, limit, next.as_deref(), deadline)?;
                    for object in &all {
                        self.there.put(object.namespace(), &object.metadata.name, true);
                        if config.shared_cards {
                            self.held.pod(object);
                        }
                        let pod = placed(&self.above, object, annotations);
                        writer.pod(batch, pod);
                    }
                    next
                }
                Step::Done => None,
            };
            if at.next.is_none() {
                at.step = match at.step {
                    Step::Nodes => Step::Namespaces,
                    Step::Namespaces => Step::ReplicaSets,
                    Step::ReplicaSets => Step::Jobs,
                    Step::Jobs => Step::Pods,
                    Step::Pods | Step::Done => Step::Done,
                };
            }
        }
        self.held.write(batch);
        said_left_out(&writer);
        (self.is_listed, self.is_whole) = (true, true);
        self.offered += 1;
        batch.go_on_from(self.offered.to_le_bytes().to_vec());
        Ok(())
    }

    /// Reads the watches and says what changed.
    fn follow(&mut self, target: &Target, config: &Config, deadline: Deadline, batch: &mut Batch) -> Result<(), CollectError> {
        let stopped = self.watch(target, config.watch_seconds, deadline)?;
        if stopped == Stopped::Expired {
            self.is_listed = false;
            log::line(log::Level::Info, "the watch expired (410): listing anew");
            if self.delta_page == 0 {
                self.begin(config);
                return self.list(target, config, deadline, batch);
            }
        }
        // While what changed is not taken out yet: an error here costs none of it.
        self.events.read(target, config.page_size, config.watch_seconds, deadline, batch)?;
        let changes = self.changes.take();
        for (key, change) in &changes {
            match key {
                Key::Node(name) => self.there.put("", name, change.now.is_some()),
                Key::Pod(space, name) => {
                    self.there.put(space, name, change.now.is_some());
                    match &change.now {
                        Some(Object::Pod(pod)) if config.shared_cards => self.held.pod(pod),
                        _ => self.held.gone(&(space.clone(), name.clone())),
                    }
                }
                Key::Namespace(_) => {}
            }
        }
        self.write(config, &changes, batch);
        self.held.write(batch);
        self.sent.extend(changes);
        self.events.write(&self.there, batch);
        self.offered = self.taken + 1;
        batch.delta(self.offered.to_le_bytes().to_vec());
        if stopped == Stopped::Full && deadline.left_ms() > PAGE_MS {
            self.delta_page += 1;
            batch.next_page(self.delta_page.to_le_bytes().to_vec());
        }
        Ok(())
    }

    fn watch(&mut self, target: &Target, seconds: u32, deadline: Deadline) -> Result<Stopped, CollectError> {
        let Self { feeds, above, changes, waiting, .. } = self;
        let mut all = Stopped::Idle;
        let mut note = |stopped: Stopped| {
            if stopped == Stopped::Expired || all == Stopped::Idle {
                all = stopped;
            }
        };
        note(feeds.nodes.0.read(target, seconds, deadline, CHANGES, |line| match line {
            Line::Now(o) => changes.put(Key::Node(o_name(&o)), Object::Node(Box::new(o))),
            Line::Gone(o) => changes.remove(Key::Node(o_name(&o)), Object::Node(Box::new(o))),
        })?);
        if let Some((feed, _)) = &mut feeds.namespaces {
            note(feed.read(target, seconds, deadline, CHANGES, |line: Line<NamespaceObject>| match line {
                Line::Now(o) => changes.put(Key::Namespace(o.metadata.name.clone()), Object::Namespace(Box::new(o))),
                Line::Gone(o) => changes.remove(Key::Namespace(o.metadata.name.clone()), Object::Namespace(Box::new(o))),
            })?);
        }
        for (kind, feed) in [("ReplicaSet", &mut feeds.replica_sets), ("Job", &mut feeds.jobs)] {
            let Some((feed, _)) = feed else { continue };
            note(feed.read(target, seconds, deadline, CHANGES, |line: Line<Bare>| match line {
                Line::Now(o) => know(above, kind, &o),
                Line::Gone(o) => forget(above, kind, &o),
            })?);
        }
        let listed = (feeds.replica_sets.is_some(), feeds.jobs.is_some());
        // Those whose owner has come by now are said again.
        let known = |pod: &PodObject| is_above_known(above, listed, pod);
        for (key, pod) in waiting.extract_if(|_, pod| known(pod)) {
            changes.put(Key::Pod(key.0, key.1), Object::Pod(Box::new(pod)));
        }
        note(feeds.pods.0.read(target, seconds, deadline, CHANGES, |line: Line<PodObject>| {
            let (Line::Now(o) | Line::Gone(o)) = &line;
            let key = (o.namespace().to_owned(), o.metadata.name.clone());
            waiting.remove(&key);
            match line {
                Line::Now(o) => {
                    if waiting.len() < WAITING && !known(&o) {
                        waiting.insert(key.clone(), o.clone());
                    }
                    changes.put(Key::Pod(key.0, key.1), Object::Pod(Box::new(o)));
                }
                Line::Gone(o) => changes.remove(Key::Pod(key.0, key.1), Object::Pod(Box::new(o))),
            }
        })?);
        Ok(all)
    }

    fn write(&self, config: &Config, changes: &[(Key, Change)], batch: &mut Batch) {
        let mut writer = Self::writer(config);
        for (key, change) in changes {
            match key {
                Key::Node(name) => match &change.now {
                    Some(Object::Node(node)) => _ = writer.node(batch, node.read(config.annotations)),
                    _ => {
                        let gone = Writer::node_named(batch, name);
                        batch.tombstone(gone);
                    }
                },
                Key::Namespace(name) => match &change.now {
                    Some(Object::Namespace(of)) => namespace(batch, &mut writer, name, of.read(config.annotations)),
                    _ => {
                        let gone = namespace_named(batch, name);
                        batch.tombstone(gone);
                    }
                },
                Key::Pod(space, name) => {
                    let now = match &change.now {
                        Some(Object::Pod(pod)) => Some(pod),
                        _ => None,
                    };
                    let subject = match now {
                        Some(pod) => writer.pod(batch, placed(&self.above, pod, config.annotations)),
                        None => {
                            let gone = Writer::pod_named(batch, None, space, name, None);
                            batch.tombstone(gone);
                            gone
                        }
                    };
                    // Containers of one that went, unless the one of its name that came has them, too.
                    if let Some(Object::Pod(before)) = &change.before {
                        let gone = before.container_names().filter(|c| now.is_none_or(|pod| !pod.container_names().any(|n| n == *c)));
                        for container in gone {
                            let gone = Writer::container_named(batch, subject, container, None);
                            batch.tombstone(gone);
                        }
                    }
                }
            }
        }
        said_left_out(&writer);
    }
}

fn o_name(node: &NodeObject) -> String {
    node.metadata.name.clone()
}

/// A resource that is not needed: where the API refuses it or does not have it, the rest is read without, and it is said once.
pub(crate) fn optional<T>(
    feed: &mut Option<(Feed, &'static str)>,
    batch: &mut Batch,
    read: impl FnOnce(&mut Feed, &'static str) -> Result<T, CollectError>,
) -> Result<Option<T>, CollectError> {
    let Some((open, accept)) = feed else { return Ok(None) };
    match read(open, accept) {
        Ok(read) => Ok(Some(read)),
        Err(CollectError::Auth(text)) if text.ends_with("HTTP 403") => {
            batch.problem(CollectError::Denied(format!("{text}: the rest is read without it")), None);
            *feed = None;
            Ok(None)
        }
        Err(CollectError::Protocol(text)) if text.ends_with("HTTP 404") => {
            batch.problem(CollectError::Unsupported(format!("{text}: the rest is read without it")), None);
            *feed = None;
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

fn know(above: &mut HashMap<(&'static str, String, String), Above>, kind: &'static str, object: &Bare) {
    let meta = &object.metadata;
    let of = Above { owner: meta.owner(), queue: meta.queue().map(str::to_owned) };
    above.insert((kind, meta.namespace.clone().unwrap_or_default(), meta.name.clone()), of);
}

fn forget(above: &mut HashMap<(&'static str, String, String), Above>, kind: &'static str, object: &Bare) {
    let meta = &object.metadata;
    above.remove(&(kind, meta.namespace.clone().unwrap_or_default(), meta.name.clone()));
}

/// The kind of an owner that has owners itself.
fn listed(owner: &Owner) -> Option<&'static str> {
    ["ReplicaSet", "Job"].into_iter().find(|k| *k == owner.kind)
}

/// Whether nothing more about a pod's owner is to come; `is_listed` says whether ReplicaSets and Jobs are.
fn is_above_known(above: &HashMap<(&'static str, String, String), Above>, is_listed: (bool, bool), pod: &PodObject) -> bool {
    let Some(owner) = pod.metadata.owner() else { return true };
    match listed(&owner) {
        Some("Job") if !is_listed.1 => true,
        Some("ReplicaSet") if !is_listed.0 => true,
        Some(kind) => above.contains_key(&(kind, pod.namespace().to_owned(), owner.name)),
        None => true,
    }
}

/// A pod with its workload.
fn placed(above: &HashMap<(&'static str, String, String), Above>, object: &PodObject, annotations: bool) -> Pod {
    let mut pod = object.read(annotations);
    let Some(owner) = &pod.owner else { return pod };
    let known = listed(owner).and_then(|kind| above.get(&(kind, pod.namespace.clone(), owner.name.clone())));
    // One that is known and has no owner stands at the top itself.
    let owner_above = known.map(|k| k.owner.as_ref().unwrap_or(owner));
    pod.workload = Some(top(owner, pod.labels.get("label:pod-template-hash"), owner_above));
    if let Some(queue) = known.and_then(|k| k.queue.as_deref()) {
        pod.labels.put("queue", queue);
    }
    pod
}

pub(crate) fn namespace_named(batch: &mut Batch, name: &str) -> kcloud_collector_sdk::SubjectRef {
    batch.subject("x_namespace", name, None, |s| s.identity = vec![Label { key: "name".to_owned(), value: name.to_owned() }])
}

fn namespace(batch: &mut Batch, writer: &mut Writer, name: &str, labels: kube_mapping::model::Labels) {
    let subject = namespace_named(batch, name);
    writer.describe(batch, subject, labels);
}

fn said_left_out(writer: &Writer) {
    if writer.left_out > 0 {
        let text = format!("{} labels are left out: more than {} of one subject", writer.left_out, writer.most_labels);
        log::line(log::Level::Info, &text);
    }
}
