//! Remote write: what is committed to history leaves for a Prometheus-compatible server.
//!
//! In: rows of the embedded store's log, which stay there until they are done with. Out: requests, one at a time, in order.
//! The log is the buffer: nothing is written twice, it survives `kill -9`, and memory holds one batch however long the server
//! is away. It never keeps collection waiting: beyond `max_bytes` the oldest rows are passed over, counted and said.

mod encode;
mod labels;
mod state;
mod subjects;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rand::Rng;

use super::embedded::Embedded;
use super::endpoint::{Endpoint, said};
use super::{History, HistoryError};
use crate::inventory::Snapshot;
use encode::{Body, Encoder, MAX_SAMPLES};
use labels::Known;
use state::{Cursor, State};

/// First and longest pause before a request is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A server may ask for a longer one, up to this.
const LONGEST: Duration = Duration::from_secs(600);
/// What goes wrong again and again is said this often.
const SAID: Duration = Duration::from_secs(60);
/// Labels of subjects that are gone are looked through this often.
const SWEEP: Duration = Duration::from_secs(600);
/// Of a server's reason.
const REASON: usize = 4 << 10;
const HEADERS: [(&str, &str); 3] =
    [("content-encoding", "snappy"), ("content-type", "application/x-protobuf"), ("x-prometheus-remote-write-version", "0.1.0")];

/// How it is done.
#[derive(Clone)]
pub struct Settings {
    pub endpoint: Endpoint,
    /// Put on every series that has none of that name.
    pub labels: BTreeMap<String, String>,
    /// Rows that wait may take this much of the disk.
    pub max_bytes: u64,
    /// Points are gathered for this long.
    pub batch: Duration,
    /// Which subjects there are is told this often.
    pub subjects_every: Duration,
}

/// What it counted and what waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: u64,
    pub refused: u64,
    /// Refused when they were sent again: the first try may have brought them.
    pub repeated: u64,
    pub dropped: u64,
    pub out_of_order: u64,
    pub unknown: u64,
    pub requests: u64,
    pub retries: u64,
    pub sent_bytes: u64,
    pub pending_rows: u64,
    pub pending_bytes: u64,
    pub max_bytes: u64,
    /// Time of the oldest row that waits.
    pub pending_since_ms: Option<i64>,
    /// Tries in a row that brought nothing.
    pub failures: u64,
}

/// What leaves the host.
pub struct RemoteWrite {
    settings: Settings,
    store: Arc<Embedded>,
    state: State,
    known: Mutex<Known>,
    encoder: Mutex<Encoder>,
    cursor: Mutex<Cursor>,
    counts: Mutex<Counts>,
    swept: Mutex<Instant>,
    failures: AtomicU64,
    spoken: Mutex<Option<Instant>>,
    /// The newest, and the time of the one whose subjects were told last.
    newest: Mutex<Option<Arc<Snapshot>>>,
    told_ms: AtomicI64,
}

/// Rows up to `to`, as bodies.
struct Batch {
    to: u64,
    bodies: Vec<Body>,
    /// A part of it may have arrived before a restart.
    is_repeated: bool,
    /// More waits already.
    is_full: bool,
}

impl RemoteWrite {
    /// Opens what it keeps in a directory.
    pub fn open(dir: &Path, store: Arc<Embedded>, settings: Settings) -> Result<Self, HistoryError> {
        let (state, cursor, known) = State::open(dir, store.committed()?)?;
        store.hold_after(cursor.done);
        Ok(Self {
            settings,
            store,
            state,
            known: Mutex::new(known),
            encoder: Mutex::default(),
            cursor: Mutex::new(cursor),
            counts: Mutex::default(),
            swept: Mutex::new(Instant::now()),
            failures: AtomicU64::new(0),
            spoken: Mutex::default(),
            newest: Mutex::default(),
            told_ms: AtomicI64::new(i64::MIN),
        })
    }

    /// Notes whose points come next (ids of their subjects), before they are committed. Waits for the disk.
    pub fn note<'a>(&self, snapshot: &Arc<Snapshot>, named: impl Iterator<Item = &'a Arc<str>>) -> Result<(), HistoryError> {
        let news = lock(&self.known).news(snapshot, named, &self.settings.labels);
        *lock(&self.newest) = Some(snapshot.clone());
        if !news.is_empty() {
            self.state.put_labels(snapshot.sequence, news.iter().map(|(id, l)| (&***id, l)))?;
            let mut known = lock(&self.known);
            news.into_iter().for_each(|(id, labels)| known.add(id, snapshot.sequence, labels));
        }
        if lock(&self.swept).elapsed() >= SWEEP {
            *lock(&self.swept) = Instant::now();
            let done = lock(&self.cursor).done;
            let gone = lock(&self.known).sweep(done, snapshot);
            self.state.drop_labels(gone.iter().map(|(id, from)| (&**id, *from)))?;
        }
        Ok(())
    }

    /// Time of the oldest point that is not known to have arrived.
    pub fn pending_since(&self) -> Option<i64> {
        let done = lock(&self.cursor).done;
        self.store.waiting_after(done).iter().map(|r| r.first_ms).min()
    }

    pub fn counts(&self) -> Counts {
        let done = lock(&self.cursor).done;
        let waiting = self.store.waiting_after(done);
        Counts {
            pending_rows: waiting.len() as u64,
            pending_bytes: waiting.iter().map(|r| r.bytes).sum(),
            pending_since_ms: waiting.iter().map(|r| r.first_ms).min(),
            max_bytes: self.settings.max_bytes,
            failures: self.failures.load(Ordering::Relaxed),
            ..*lock(&self.counts)
        }
    }

    /// Sends for ever.
    pub async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.settings.batch);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = Instant::now();
        loop {
            tick.tick().await;
            self.send_all().await;
            if told.elapsed() >= self.settings.subjects_every {
                told = Instant::now();
                self.tell().await;
            }
        }
    }

    /// Tells once who is there now; what does not arrive is told again in the next round.
    async fn tell(self: &Arc<Self>) {
        let newest = lock(&self.newest).take();
        let Some(snapshot) = newest.filter(|s| s.at_ms > self.told_ms.load(Ordering::Relaxed)) else { return };
        self.told_ms.store(snapshot.at_ms, Ordering::Relaxed);
        let this = self.clone();
        let Ok(bodies) = tokio::task::spawn_blocking(move || subjects::bodies(&snapshot, &this.settings.labels)).await else { return };
        for body in bodies {
            let reason = match self.settings.endpoint.post(&HEADERS, body.bytes, REASON).await {
                Ok(answer) if answer.status < 300 => continue,
                Ok(answer) => format!("status {}: {}", answer.status, said(&answer.body)),
                Err(error) => error.to_string(),
            };
            if self.may_speak() {
                tracing::warn!(reason, "remote write: which subjects there are was not taken; it is told again");
            }
            return;
        }
    }

    /// Sends what waits now; what comes meanwhile is gathered again.
    async fn send_all(self: &Arc<Self>) {
        // An error is said already; the next tick tries again.
        while let Some(Some(batch)) = self.off_thread(Self::next).await {
            let is_full = batch.is_full;
            self.deliver(batch).await;
            if !is_full {
                return;
            }
        }
    }

    async fn off_thread<T: Send + 'static>(self: &Arc<Self>, work: fn(&Self) -> Result<T, HistoryError>) -> Option<T> {
        let this = self.clone();
        match tokio::task::spawn_blocking(move || work(&this)).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                tracing::error!(%error, "remote write cannot read what it is to send");
                None
            }
            Err(error) => {
                tracing::error!(%error, "remote write failed");
                None
            }
        }
    }

    fn advance(&self, to: Cursor) -> Result<(), HistoryError> {
        self.state.advance(to)?;
        *lock(&self.cursor) = to;
        self.store.hold_after(to.done);
        Ok(())
    }

    /// The oldest rows that wait, as bodies; `None` when none do.
    fn next(&self) -> Result<Option<Batch>, HistoryError> {
        self.keep_within()?;
        let Cursor { done, tried } = *lock(&self.cursor);
        let mut encoder = lock(&self.encoder);
        let known = lock(&self.known);
        // After a restart exactly the rows that were under way come first: a server that has them refuses these, and no others.
        let is_repeated = tried > done;
        let (mut to, mut is_full) = (done, is_repeated);
        let read = self.store.rows_after(done, |sequence, points| {
            if (is_full && !is_repeated) || (is_repeated && sequence > tried) {
                return ControlFlow::Break(());
            }
            if points.iter().any(|(id, _)| *id >= encoder.series()) {
                let from = encoder.series();
                encoder.learn(self.store.names_from(from));
            }
            points.iter().for_each(|(id, point)| encoder.push(&known, sequence, *id, *point));
            to = sequence;
            is_full |= encoder.len() >= MAX_SAMPLES;
            ControlFlow::Continue(())
        });
        let (bodies, skipped) = encoder.bodies(&known);
        drop((known, encoder));
        read?;
        if to == done {
            // Rows that were tried are gone: dropped with the bound.
            if is_repeated {
                self.advance(Cursor { done, tried: done })?;
            }
            return Ok(None);
        }
        self.count(|c| {
            c.out_of_order += skipped.out_of_order;
            c.unknown += skipped.unknown;
        });
        if !is_repeated && !bodies.is_empty() {
            self.advance(Cursor { done, tried: to })?;
        }
        Ok(Some(Batch { to, bodies, is_repeated, is_full }))
    }

    /// Passes over the oldest rows where more wait than may.
    fn keep_within(&self) -> Result<(), HistoryError> {
        let Cursor { done, tried } = *lock(&self.cursor);
        let waiting = self.store.waiting_after(done);
        let all: u64 = waiting.iter().map(|r| r.bytes).sum();
        if all <= self.settings.max_bytes {
            return Ok(());
        }
        // A tenth at once, so that it is not said for every row.
        let keep = self.settings.max_bytes / 10 * 9;
        let (mut left, mut to) = (all, done);
        for super::embedded::Row { sequence, bytes, .. } in waiting {
            if left <= keep {
                break;
            }
            (left, to) = (left - bytes, sequence);
        }
        let mut points = 0;
        self.store.rows_after(done, |sequence, row| {
            if sequence > to {
                return ControlFlow::Break(());
            }
            points += row.len() as u64;
            ControlFlow::Continue(())
        })?;
        self.advance(Cursor { done: to, tried: tried.max(to) })?;
        self.count(|c| c.dropped += points);
        tracing::warn!(
            points,
            max_bytes = self.settings.max_bytes,
            "remote write: the server has been away too long; the oldest points are not sent"
        );
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.counts));
    }

    /// Sends a batch until it is taken, refused, or passed over.
    async fn deliver(self: &Arc<Self>, batch: Batch) {
        for body in &batch.bodies {
            // A try without an answer may have arrived.
            let (mut pause, mut may_be_there) = (PAUSES.0, batch.is_repeated);
            loop {
                let Some(wait) = self.attempt(body, &mut may_be_there).await else { break };
                self.count(|c| c.retries += 1);
                let own = pause.mul_f64(rand::rng().random_range(0.8..=1.2));
                tokio::time::sleep(wait.map_or(own, |asked| asked.clamp(own, LONGEST))).await;
                pause = (pause * 2).min(PAUSES.1);
                self.off_thread(Self::keep_within).await;
                if lock(&self.cursor).done >= batch.to {
                    return;
                }
            }
        }
        let this = self.clone();
        let to = batch.to;
        let done = tokio::task::spawn_blocking(move || this.advance(Cursor { done: to, tried: to })).await;
        match done {
            Ok(Ok(())) => {}
            // It is sent again then.
            Ok(Err(error)) => tracing::error!(%error, "remote write cannot keep how far it is"),
            Err(error) => tracing::error!(%error, "remote write cannot keep how far it is"),
        }
    }

    /// One try: `None` when the body is done with, else how long the server wants to be left alone, if it says so.
    async fn attempt(&self, body: &Body, may_be_there: &mut bool) -> Option<Option<Duration>> {
        let answer = self.settings.endpoint.post(&HEADERS, body.bytes.clone(), REASON).await;
        self.count(|c| {
            c.requests += 1;
            c.sent_bytes += body.bytes.len() as u64;
        });
        let (reason, wait) = match answer {
            Ok(answer) => match answer.status {
                200..=299 => {
                    self.count(|c| c.sent += body.samples);
                    if self.failures.swap(0, Ordering::Relaxed) > 0 {
                        tracing::info!("remote write: the server takes points again");
                        *lock(&self.spoken) = None;
                    }
                    return None;
                }
                status @ (400..=428 | 430..=499) => {
                    let repeated = *may_be_there && status == 400;
                    self.count(|c| if repeated { c.repeated += body.samples } else { c.refused += body.samples });
                    if !repeated && self.may_speak() {
                        tracing::error!(
                            status,
                            samples = body.samples,
                            reason = said(&answer.body),
                            "remote write: points were refused and are dropped"
                        );
                    }
                    self.failures.store(0, Ordering::Relaxed);
                    return None;
                }
                status => (format!("status {status}: {}", said(&answer.body)), answer.retry_after),
            },
            Err(error) => {
                *may_be_there = true;
                (error.to_string(), None)
            }
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        if self.may_speak() {
            tracing::warn!(reason, "remote write: the server takes no points; they wait");
        }
        Some(wait)
    }

    /// Whether it is time to say what goes wrong.
    fn may_speak(&self) -> bool {
        let mut spoken = lock(&self.spoken);
        let is_due = spoken.is_none_or(|at| at.elapsed() >= SAID);
        if is_due {
            *spoken = Some(Instant::now());
        }
        is_due
    }
}

/// The labels under which the subjects of a snapshot are told.
#[cfg(test)]
pub(super) fn told(snapshot: &Snapshot) -> Vec<BTreeMap<String, String>> {
    snapshot.subjects.iter().map(|s| subjects::about(snapshot, s)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
