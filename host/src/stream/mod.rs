//! Streams: what is drawn and read now, told to any number of readers.
//!
//! In: each published snapshot and each change of an alert. Out: frames, made and encoded once a topic and snapshot, whose
//! bytes all readers share. It must never let one reader cost another anything, and never keep more than its rings hold.

mod channel;
mod frame;
mod threshold;
pub mod topic;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::time::Instant;

use crate::alerts::{Alerts, Transition};
use crate::inventory::Inventory;
pub use channel::{Channel, Frame, Id, Next, Reader};
pub use frame::{alert, id_of};
use topic::Topic;

/// A snapshot is published this often at most; a frame may be this much of it early, so that it is of the newest.
const EARLY: Duration = Duration::from_millis(125);
/// A topic without readers goes on for this long, so that who comes back has missed nothing.
const LINGER: Duration = Duration::from_secs(60);
/// Topics at once: each is asked for by a client, and costs a frame an interval.
const TOPICS: usize = 256;
/// Of these, asked for by one user or key: the others find some.
const TOPICS_OF_ONE: usize = 64;
/// Frames in the making at once: what is left of the machine answers requests.
const MAKERS: usize = 2;

/// What streams may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_connections: 20_000 }
    }
}

/// What a connection reads, for the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Power,
    Metrics,
    PowerEvents,
    SystemEvents,
}

impl Endpoint {
    pub const ALL: [Self; 4] = [Self::Power, Self::Metrics, Self::PowerEvents, Self::SystemEvents];

    pub fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Metrics => "metrics",
            Self::PowerEvents => "power_events",
            Self::SystemEvents => "system_events",
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Frames that were made, and their bytes.
    pub made: AtomicU64,
    pub made_bytes: AtomicU64,
    /// Frames that were handed to readers, and their bytes.
    pub sent: AtomicU64,
    pub sent_bytes: AtomicU64,
    /// Frames that readers were too slow for.
    pub missed: AtomicU64,
    /// Connections and topics that were refused.
    pub refused: AtomicU64,
}

/// Why a stream cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("{0} streams are open, which is the limit")]
    Connections(usize),
    #[error("{TOPICS} different streams are read, which is the limit; ask for one that others read")]
    Topics,
    #[error("the host stops")]
    Stopping,
}

type Topics = Arc<Mutex<HashMap<Topic, Arc<Channel>>>>;

/// All streams of a host.
pub struct Hub {
    inventory: Arc<Inventory>,
    alerts: Arc<Alerts>,
    topics: Topics,
    makers: Arc<Semaphore>,
    open: [AtomicUsize; Endpoint::ALL.len()],
    limits: Limits,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    left: Notify,
}

/// A place among the open connections, given back when it is dropped.
pub struct Place {
    hub: Arc<Hub>,
    endpoint: Endpoint,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.open[self.endpoint as usize].fetch_sub(1, Ordering::Relaxed);
        self.hub.left.notify_waiters();
    }
}

impl Place {
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Hub {
    /// `alerts` are told to every reader of their cluster.
    pub fn new(inventory: Arc<Inventory>, alerts: Arc<Alerts>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            inventory,
            alerts,
            topics: Topics::default(),
            makers: Arc::new(Semaphore::new(MAKERS)),
            open: Default::default(),
            limits,
            counts: Arc::default(),
            stop: watch::Sender::new(false),
            left: Notify::new(),
        })
    }

    /// A place for one more connection.
    pub fn enter(self: &Arc<Self>, endpoint: Endpoint) -> Result<Place, Refused> {
        if *self.stop.borrow() {
            return Err(Refused::Stopping);
        }
        self.open[endpoint as usize].fetch_add(1, Ordering::Relaxed);
        let place = Place { hub: self.clone(), endpoint };
        if self.open_connections() > self.limits.max_connections {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Connections(self.limits.max_connections));
        }
        Ok(place)
    }

    /// A reader of a topic, which is made where nobody reads it yet. Says whether it goes on after `last`.
    pub fn read(&self, topic: Topic, last: Option<Id>, by: &Arc<str>) -> Result<(Reader, bool), Refused> {
        let mut topics = self.topics();
        if let Some(channel) = topics.get(&topic) {
            return Ok(channel.reader(last));
        }
        // One that nobody reads any more gives way to one that somebody asks for.
        if topics.len() >= TOPICS {
            let unread = topics.iter().find(|(_, c)| c.readers() == 0).map(|(t, _)| t.clone());
            unread.and_then(|t| topics.remove(&t));
        }
        let own = topics.values().filter(|c| c.by == *by && c.readers() > 0).count();
        if topics.len() >= TOPICS || own >= TOPICS_OF_ONE {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Topics);
        }
        let channel = Arc::new(Channel::new(topic.clone(), by.clone()));
        topics.insert(topic, channel.clone());
        let reader = channel.reader(last);
        let (inventory, counts) = (self.inventory.clone(), self.counts.clone());
        let feed = Feed { inventory, counts, topics: self.topics.clone(), makers: self.makers.clone(), channel };
        tokio::spawn(feed.run(self.alerts.transitions(), self.stop.subscribe()));
        Ok(reader)
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<Topic, Arc<Channel>>> {
        self.topics.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Ends every stream; no new one is opened.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Is done when no stream is open any more.
    pub async fn ended(&self) {
        loop {
            let left = self.left.notified();
            if self.open_connections() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Is done when the streams are to end.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub fn open(&self, endpoint: Endpoint) -> usize {
        self.open[endpoint as usize].load(Ordering::Relaxed)
    }

    pub fn open_connections(&self) -> usize {
        Endpoint::ALL.iter().map(|e| self.open(*e)).sum()
    }

    pub fn topic_count(&self) -> usize {
        self.topics().len()
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Number of the newest snapshot.
    pub fn sequence(&self) -> crate::inventory::Sequence {
        self.inventory.current().sequence
    }
}

/// Waits until the streams are to end.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // No hub, no streams.
    drop(stop.wait_for(|stopped| *stopped).await);
}

/// Feeds one topic. Holds nothing of the hub that would keep it.
struct Feed {
    inventory: Arc<Inventory>,
    counts: Arc<Counts>,
    topics: Topics,
    makers: Arc<Semaphore>,
    channel: Arc<Channel>,
}

impl Feed {
    async fn run(self, mut alerts: broadcast::Receiver<Arc<Transition>>, mut stop: watch::Receiver<bool>) {
        let mut published = self.inventory.published();
        published.mark_changed();
        // Something new is there, and goes out as soon as the interval allows.
        let mut is_new = false;
        let mut due = Instant::now();
        let mut empty_since: Option<Instant> = None;
        let mut look = tokio::time::interval(LINGER / 12);
        loop {
            tokio::select! {
                changed = published.changed(), if !is_new => match changed {
                    Ok(()) => is_new = true,
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(due), if is_new => {
                    is_new = false;
                    published.mark_unchanged();
                    due = Instant::now() + self.channel.topic.interval() - EARLY;
                    self.make().await;
                }
                told = alerts.recv() => match told {
                    Ok(transition) => self.tell(&transition),
                    // More at once than anybody reads: they stand in the list of alerts.
                    Err(broadcast::error::RecvError::Lagged(missed)) => tracing::warn!(missed, "a stream did not tell all changes of alerts"),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = stop.changed() => return,
                _ = look.tick() => {}
            }
            if self.channel.readers() > 0 {
                empty_since = None;
            } else if self.is_over(*empty_since.get_or_insert_with(Instant::now)) {
                return;
            }
        }
    }

    /// Whether a topic without readers is at its end: it gave way to another, or nobody came back.
    fn is_over(&self, empty_since: Instant) -> bool {
        let mut topics = self.topics.lock().unwrap_or_else(|e| e.into_inner());
        // Under the lock nobody comes in between.
        if self.channel.readers() > 0 {
            return false;
        }
        let is_there = topics.get(&self.channel.topic).is_some_and(|c| Arc::ptr_eq(c, &self.channel));
        if is_there && empty_since.elapsed() >= LINGER {
            topics.remove(&self.channel.topic);
            return true;
        }
        !is_there
    }

    async fn make(&self) {
        let Ok(_turn) = self.makers.acquire().await else { return };
        let snapshot = self.inventory.current();
        // Before the first collection there is nothing to say.
        if snapshot.at_ms == 0 || !self.channel.is_due(&snapshot) {
            return;
        }
        let channel = self.channel.clone();
        let made = tokio::task::spawn_blocking(move || channel.take(snapshot)).await;
        match made {
            Ok(bytes) => {
                self.counts.made.fetch_add(1, Ordering::Relaxed);
                self.counts.made_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(error) => tracing::error!(%error, topic = self.channel.name(), "a frame was not made"),
        }
    }

    fn tell(&self, transition: &Transition) {
        let topic = &self.channel.topic;
        if topic.filter.has_cluster(&transition.cluster) {
            self.channel.tell(|id| alert(transition, self.channel.name(), &topic.wire, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::params::Params;

    #[tokio::test]
    async fn a_topic_that_nobody_reads_gives_way_and_one_that_is_read_does_not() {
        let hub = Hub::new(Arc::new(Inventory::new(0)), Arc::default(), Limits::default());
        let topic = |n: usize| {
            let params = Params::parse(Some(&format!("cluster=cluster{n}")), topic::POWER).unwrap();
            Topic::power(&params).unwrap()
        };
        let who = |n: usize| -> Arc<str> { format!("user{}", n / TOPICS_OF_ONE).into() };
        let mut readers: Vec<Reader> = (0..TOPICS).map(|n| hub.read(topic(n), None, &who(n)).unwrap().0).collect();
        assert_eq!(hub.read(topic(TOPICS), None, &who(TOPICS)).err(), Some(Refused::Topics));
        assert!(hub.read(topic(0), None, &who(TOPICS)).is_ok(), "who asks for what others read costs nothing");
        drop(readers.pop());
        assert!(hub.read(topic(TOPICS), None, &who(0)).is_err(), "one alone has so many");
        assert!(hub.read(topic(TOPICS), None, &who(TOPICS)).is_ok());
        assert_eq!(hub.topic_count(), TOPICS);
    }

    #[tokio::test]
    async fn places_are_given_back_and_no_more_than_there_are() {
        let hub = Hub::new(Arc::new(Inventory::new(0)), Arc::default(), Limits { max_connections: 2 });
        let (one, _two) = (hub.enter(Endpoint::Power).unwrap(), hub.enter(Endpoint::SystemEvents).unwrap());
        assert_eq!(hub.enter(Endpoint::Power).err(), Some(Refused::Connections(2)));
        assert_eq!(hub.open_connections(), 2, "who was refused holds nothing");
        drop(one);
        assert!(hub.enter(Endpoint::Metrics).is_ok());
        hub.stop();
        assert_eq!(hub.enter(Endpoint::Metrics).err(), Some(Refused::Stopping));
    }
}
