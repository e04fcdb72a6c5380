//! An answer line by line, over the pages of one call.

use kcloud_collector_sdk::{CollectError, clock, http};

const READ_BYTES: u32 = 256 << 10;
/// A subject with a thousand labels of a kilobyte and all its readings has less; tables of a large fleet have less, too.
const MAX_LINE: usize = 8 << 20;

/// A body that comes in pieces.
pub trait Pieces {
    /// What came, nothing in it when nothing came within the time, `None` at the end.
    fn read(&mut self, max_bytes: u32, wait_ms: u32) -> Result<Option<Vec<u8>>, CollectError>;
}

impl Pieces for http::Stream {
    fn read(&mut self, max_bytes: u32, wait_ms: u32) -> Result<Option<Vec<u8>>, CollectError> {
        http::Stream::read(self, max_bytes, wait_ms)
    }
}

/// Time of one call.
#[derive(Clone, Copy)]
pub struct Deadline(u64);

impl Deadline {
    pub fn new(left_ms: u32) -> Self {
        Self(clock::monotonic_ms() + u64::from(left_ms))
    }

    pub fn left_ms(self) -> u32 {
        u32::try_from(self.0.saturating_sub(clock::monotonic_ms())).unwrap_or(u32::MAX)
    }
}

pub struct Feed {
    pieces: Box<dyn Pieces>,
    buffer: Vec<u8>,
    /// Of the buffer what was handed out, and looked through for an end of a line.
    done: usize,
    seen: usize,
    pub line: u32,
}

impl Feed {
    pub fn new(pieces: Box<dyn Pieces>) -> Self {
        Self { pieces, buffer: Vec::new(), done: 0, seen: 0, line: 0 }
    }

    /// The next line without its end; `None` when there is none any more.
    pub fn next(&mut self, deadline: Deadline) -> Result<Option<&[u8]>, CollectError> {
        loop {
            if let Some(at) = self.buffer[self.seen..].iter().position(|b| *b == b'\n') {
                let (from, to) = (self.done, self.seen + at);
                (self.done, self.seen) = (to + 1, to + 1);
                self.line += 1;
                return Ok(Some(&self.buffer[from..to]));
            }
            self.buffer.drain(..self.done);
            (self.done, self.seen) = (0, self.buffer.len());
            if self.buffer.len() > MAX_LINE {
                return Err(CollectError::Protocol(format!("line {} has more than {MAX_LINE} bytes", self.line + 1)));
            }
            let left = deadline.left_ms();
            match self.pieces.read(READ_BYTES, left)? {
                None => return Ok(None),
                Some(piece) if piece.is_empty() && deadline.left_ms() == 0 => {
                    return Err(CollectError::Timeout(format!("the answer did not end in time; {} lines of it came", self.line)));
                }
                Some(piece) => self.buffer.extend_from_slice(&piece),
            }
        }
    }
}
