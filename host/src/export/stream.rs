//! Bytes from a thread that writes to a client that reads, with a few pieces between them and no more.
//!
//! The client that goes away closes the channel, and the next write of the thread fails: the work ends there.

use std::io::{Error, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Progress;

/// Bytes of one piece, and pieces that wait.
const PIECE: usize = 64 << 10;
const WAITING: usize = 4;
/// A client that takes nothing for this long holds a thread for nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the client's side gets.
pub type Pieces = mpsc::Receiver<Result<Bytes, Error>>;

/// The thread's side.
pub struct Sender {
    to: mpsc::Sender<Result<Bytes, Error>>,
    runtime: Handle,
    piece: Vec<u8>,
    progress: Arc<Progress>,
}

/// Both sides; to be made inside the runtime.
pub fn channel(progress: Arc<Progress>) -> (Sender, Pieces) {
    let (to, from) = mpsc::channel(WAITING);
    (Sender { to, runtime: Handle::current(), piece: Vec::with_capacity(PIECE), progress }, from)
}

impl Sender {
    /// Whether somebody is there still; to be asked where nothing is sent for long.
    pub fn watch(&self) -> impl Fn() -> bool + Send + use<> {
        let to = self.to.clone();
        move || !to.is_closed()
    }

    fn send(&mut self) -> Result<(), Error> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE)));
        self.progress.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        match self.runtime.block_on(tokio::time::timeout(PATIENCE, self.to.send(Ok(piece)))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::new(ErrorKind::BrokenPipe, "the client is gone")),
            Err(_) => Err(Error::new(ErrorKind::BrokenPipe, "the client takes nothing")),
        }
    }
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let taken = bytes.len().min(PIECE.saturating_sub(self.piece.len()).max(1));
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.send()
    }
}
