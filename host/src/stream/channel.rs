//! One topic's frames: made once, kept in a ring that all its readers share.
//!
//! A reader is a position in the ring. Who is slower than the ring loses its own frames, is told how many, and goes on with
//! the world as it is now. Nothing here grows with the number of readers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::watch;

use super::frame::{self, Made, Maker};
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
    /// Whether the maker's threshold is passed.
    is_over: bool,
    snapshot: Option<Arc<Snapshot>>,
    /// All of it in one frame, once somebody asked.
    full: Option<Arc<Frame>>,
    /// Number of the newest frame that says it.
    newest: u64,
    /// Of the snapshot's frames so far.
    frames: u32,
}

/// A topic that somebody reads.
pub struct Channel {
    pub topic: Topic,
    name: String,
    /// Who asked for it first.
    pub by: Arc<str>,
    /// Held while frames are made: never where somebody reads.
    maker: Mutex<Maker>,
    state: Mutex<State>,
    ring: Mutex<Ring>,
    /// Whose turn it is to make the whole of it.
    whole: tokio::sync::Mutex<()>,
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
    pub fn new(topic: Topic, by: Arc<str>) -> Self {
        let name = topic.name();
        Self {
            topic,
            name,
            by,
            maker: Mutex::default(),
            state: Mutex::default(),
            ring: Mutex::default(),
            whole: tokio::sync::Mutex::default(),
            end: watch::Sender::new(0),
        }
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
        let mut maker = lock(&self.maker);
        let made = maker.make(&self.topic, &self.name, &snapshot);
        let (mut bytes, mut frames) = (0, 0);
        let mut state = lock(&self.state);
        state.is_over = maker.is_over();
        drop(maker);
        let mut ring = lock(&self.ring);
        let mut full = None;
        for Made { text, is_update } in made {
            bytes += text.len();
            let frame = Arc::new(Frame { id: (snapshot.sequence, frames), text: text.into(), is_update });
            frames += 1;
            if is_update {
                state.newest = ring.end();
                full = (!self.topic.is_delta).then(|| frame.clone());
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

    /// The world as it is, where somebody has made a frame of all of it, and the number of the frame that comes after: what was told of
    /// it follows, as far as the ring still has it.
    fn full(&self) -> Option<(Arc<Frame>, u64)> {
        let state = lock(&self.state);
        let full = state.full.clone()?;
        let ring = lock(&self.ring);
        Some((full, (state.newest + 1).max(ring.first)))
    }

    /// The same, made where nobody has; `None` where there is no snapshot yet. One makes it, the others wait.
    async fn whole(&self) -> Option<(Arc<Frame>, u64)> {
        loop {
            if let Some(full) = self.full() {
                return Some(full);
            }
            let _turn = self.whole.lock().await;
            let (snapshot, is_over) = {
                let state = lock(&self.state);
                (state.snapshot.clone()?, state.is_over)
            };
            if self.full().is_some() {
                continue;
            }
            let text = frame::whole(&self.topic, &self.name, &snapshot, is_over);
            let frame = Arc::new(Frame { id: (snapshot.sequence, 0), text: text.into(), is_update: true });
            let mut state = lock(&self.state);
            // A newer snapshot came meanwhile: of that one, then.
            if state.snapshot.as_ref().is_some_and(|s| s.sequence == snapshot.sequence) {
                state.full = Some(frame);
            }
        }
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
            if self.next.is_none()
                && let Some((full, after)) = self.channel.whole().await
            {
                self.next = Some(after);
                return Next::Frame(full);
            }
            if let Some(next) = self.ready() {
                return next;
            }
            if self.told.changed().await.is_err() {
                return Next::End;
            }
        }
    }

    fn ready(&mut self) -> Option<Next> {
        let next = self.next?;
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::api::params::Params;
    use crate::stream::topic::POWER;

    fn channel(query: &str) -> Arc<Channel> {
        Arc::new(Channel::new(Topic::power(&Params::parse(Some(query), POWER).unwrap()).unwrap(), "admin".into()))
    }

    fn publish(channel: &Channel, sequences: std::ops::RangeInclusive<u64>) {
        for sequence in sequences {
            let mut snapshot = Snapshot::default();
            (snapshot.sequence, snapshot.at_ms) = (sequence, 1);
            channel.take(Arc::new(snapshot));
        }
    }

    /// What a reader has now, in words.
    fn read(reader: &mut Reader) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(next) = reader.next().now_or_never() {
            all.push(match next {
                Next::Frame(frame) if frame.text.contains("\"full\":true") => format!("full {}", frame.id.0),
                Next::Frame(frame) => frame.id.0.to_string(),
                Next::Lag(missed) => format!("lag {missed}"),
                Next::End => break,
            });
        }
        all
    }

    #[test]
    fn a_reader_gets_the_newest_frame_and_then_every_one_that_follows() {
        let channel = channel("");
        let (mut early, _) = channel.reader(None);
        assert!(read(&mut early).is_empty(), "nothing is there yet");
        publish(&channel, 1..=3);
        let (mut late, _) = channel.reader(None);
        assert_eq!(read(&mut early), ["3"], "who waited for the first gets the world as it is");
        publish(&channel, 4..=5);
        assert_eq!((read(&mut early), read(&mut late)), (vec!["4".into(), "5".into()], vec!["5".into()]));
    }

    #[test]
    fn who_is_too_slow_is_told_how_many_it_missed_and_goes_on_with_the_newest() {
        let channel = channel("");
        publish(&channel, 1..=1);
        let (mut slow, _) = channel.reader(None);
        let (mut fast, _) = channel.reader(None);
        assert_eq!((read(&mut slow), read(&mut fast)), (vec!["1".into()], vec!["1".into()]));
        for sequence in 2..=200 {
            publish(&channel, sequence..=sequence);
            assert_eq!(read(&mut fast), [sequence.to_string()], "the others notice nothing");
        }
        assert_eq!(read(&mut slow), ["lag 199", "200"]);
        assert!(lock(&channel.ring).frames.len() <= FRAMES);
    }

    #[test]
    fn who_missed_changes_gets_all_of_it_anew() {
        let channel = channel("resource_type=nodes&delta=true");
        publish(&channel, 1..=1);
        let (mut reader, _) = channel.reader(None);
        assert_eq!(read(&mut reader), ["full 1"]);
        publish(&channel, 2..=3);
        assert_eq!(read(&mut reader), ["2", "3"]);
        publish(&channel, 4..=100);
        assert_eq!(read(&mut reader), ["lag 97", "full 100"]);
        publish(&channel, 101..=101);
        assert_eq!(read(&mut reader), ["101"]);
    }

    #[test]
    fn a_storm_of_alerts_is_read_to_its_end_by_who_comes_late_and_by_who_was_too_slow() {
        let channel = channel("");
        publish(&channel, 1..=1);
        let (mut slow, _) = channel.reader(None);
        read(&mut slow);
        for _ in 0..FRAMES + 10 {
            channel.tell(|id| format!("{id:?}"));
        }
        let (mut late, _) = channel.reader(None);
        let all = read(&mut late);
        assert_eq!((all[0].as_str(), all.len()), ("1", FRAMES + 1));
        let all = read(&mut slow);
        assert_eq!((all[0].as_str(), all[1].as_str(), all.len()), ("lag 74", "1", FRAMES + 2));
        assert!(read(&mut slow).is_empty() && read(&mut late).is_empty());
    }

    #[test]
    fn frames_that_are_large_are_kept_in_fewer() {
        let mut ring = Ring::default();
        for n in 0..10 {
            ring.push(Arc::new(Frame { id: (n, 0), text: "x".repeat(BYTES / 3).into(), is_update: true }));
        }
        assert_eq!((ring.frames.len(), ring.end()), (3, 10));
        ring.push(Arc::new(Frame { id: (10, 0), text: "x".repeat(2 * BYTES).into(), is_update: true }));
        assert_eq!((ring.frames.len(), ring.end()), (1, 11), "the newest is always there");
    }

    #[test]
    fn an_event_goes_to_who_waits_and_is_behind_its_snapshot() {
        let channel = channel("");
        publish(&channel, 7..=7);
        let (mut reader, _) = channel.reader(None);
        read(&mut reader);
        channel.tell(|id| format!("{id:?}"));
        channel.tell(|id| format!("{id:?}"));
        let Some(Next::Frame(frame)) = reader.next().now_or_never() else { panic!("an event") };
        assert_eq!((&*frame.text, frame.id), ("(7, 1)", (7, 1)));
        let (mut back, goes_on) = channel.reader(Some((7, 1)));
        assert!(goes_on);
        let Some(Next::Frame(frame)) = back.next().now_or_never() else { panic!("the next event") };
        assert_eq!(frame.id, (7, 2));
    }
}
