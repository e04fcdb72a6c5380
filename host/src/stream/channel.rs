//! One topic's frames: made once, kept in a ring that all its readers share.
//!
//! A reader is a position in the ring. Who is slower than the ring loses its own frames, is told how many, and goes on with
//! the world as it is now. Nothing here grows with the number of readers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::watch;

use super::frame::{Made, Maker};
use super::topic::Topic;
use crate::inventory::{Sequence, Snapshot};

/// Frames kept for readers that are late or come back.
const FRAMES: usize = 64;
/// And their bytes; the newest is always kept.
const BYTES: usize = 8 << 20;

/// Number of a snapshot, and which frame of those about it.
pub type Id = (Sequence, u32);

/// Bytes that go out as they are, to everybody.
#[derive(Debug)]
pub struct Frame {
    pub id: Id,
    pub text: Utf8Bytes,
    /// The state of the world and no event.
    pub is_update: bool,
}

#[derive(Default)]
struct Ring {
    frames: VecDeque<Arc<Frame>>,
    /// Number of the oldest of these.
    first: u64,
    bytes: usize,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.text.len();
        self.frames.push_back(frame);
        while self.frames.len() > FRAMES || (self.bytes > BYTES && self.frames.len() > 1) {
            self.bytes -= self.frames.pop_front().map_or(0, |f| f.text.len());
            self.first += 1;
        }
    }
}

/// What the frames so far say together.
#[derive(Default)]
struct State {
    maker: Maker,
    snapshot: Option<Arc<Snapshot>>,
    /// All of it in one frame, once somebody asked.
    full: Option<Arc<Frame>>,
    /// Of the snapshot's frames so far.
    frames: u32,
}

/// A topic that somebody reads.
pub struct Channel {
    pub topic: Topic,
    name: String,
    state: Mutex<State>,
    ring: Mutex<Ring>,
    end: watch::Sender<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// What a reader gets next.
pub enum Next {
    Frame(Arc<Frame>),
    /// So many frames were missed; the next one is the whole world.
    Lag(u64),
    /// The stream is no more.
    End,
}

impl Channel {
    pub fn new(topic: Topic) -> Self {
        let name = topic.name();
        Self { topic, name, state: Mutex::default(), ring: Mutex::default(), end: watch::Sender::new(0) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Frames are made at most once a snapshot.
    pub fn is_due(&self, snapshot: &Snapshot) -> bool {
        lock(&self.state).snapshot.as_ref().is_none_or(|s| s.sequence != snapshot.sequence)
    }

    /// Makes the frames of a snapshot and hands them to who waits. Gives back how many bytes these are.
    pub fn take(&self, snapshot: Arc<Snapshot>) -> usize {
        let mut state = lock(&self.state);
        let State { maker, .. } = &mut *state;
        let made = maker.make(&self.topic, &self.name, &snapshot);
        let (mut bytes, mut frames) = (0, 0);
        let mut ring = lock(&self.ring);
        let mut full = None;
        for Made { text, is_update } in made {
            bytes += text.len();
            let frame = Arc::new(Frame { id: (snapshot.sequence, frames), text: text.into(), is_update });
            frames += 1;
            if is_update && !self.topic.is_delta {
                full = Some(frame.clone());
            }
            ring.push(frame);
        }
        state.snapshot = Some(snapshot);
        state.full = full;
        state.frames = frames;
        let end = ring.end();
        drop((ring, state));
        self.end.send_replace(end);
        bytes
    }

    /// Hands an event to who waits.
    pub fn tell(&self, text: impl FnOnce(Id) -> String) {
        let mut state = lock(&self.state);
        let id = (state.snapshot.as_ref().map_or(0, |s| s.sequence), state.frames);
        state.frames += 1;
        let mut ring = lock(&self.ring);
        ring.push(Arc::new(Frame { id, text: text(id).into(), is_update: false }));
        let end = ring.end();
        drop((ring, state));
        self.end.send_replace(end);
    }

    /// The world as the frames up to a number say it.
    fn full(&self) -> Option<(Arc<Frame>, u64)> {
        let mut state = lock(&self.state);
        let snapshot = state.snapshot.clone()?;
        let full = state.full.get_or_insert_with(|| {
            let text = super::frame::whole(&self.topic, &self.name, &snapshot);
            Arc::new(Frame { id: (snapshot.sequence, 0), text: text.into(), is_update: true })
        });
        let full = full.clone();
        let end = lock(&self.ring).end();
        Some((full, end))
    }

    pub fn readers(&self) -> usize {
        self.end.receiver_count()
    }

    /// A reader; `last` is the id of the last frame that it knows from before. Says whether it can go on from there.
    pub fn reader(self: &Arc<Self>, last: Option<Id>) -> (Reader, bool) {
        let told = self.end.subscribe();
        let found = last.and_then(|id| {
            let ring = lock(&self.ring);
            let at = ring.frames.iter().position(|f| f.id == id)?;
            Some(ring.first + at as u64 + 1)
        });
        (Reader { channel: self.clone(), told, next: found }, found.is_some())
    }
}

/// Reads one topic.
pub struct Reader {
    channel: Arc<Channel>,
    told: watch::Receiver<u64>,
    /// Number of the next frame; `None` where the whole world comes first.
    next: Option<u64>,
}

impl Reader {
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// The next frame. Loses nothing when it is dropped before it is done.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(next) = self.ready() {
                return next;
            }
            if self.told.changed().await.is_err() {
                return Next::End;
            }
        }
    }

    fn ready(&mut self) -> Option<Next> {
        let Some(next) = self.next else {
            let (full, end) = self.channel.full()?;
            self.next = Some(end);
            return Some(Next::Frame(full));
        };
        let ring = lock(&self.channel.ring);
        if next < ring.first {
            let missed = ring.end() - next;
            self.next = None;
            return Some(Next::Lag(missed));
        }
        let frame = ring.frames.get((next - ring.first) as usize)?.clone();
        self.next = Some(next + 1);
        Some(Next::Frame(frame))
    }
}
