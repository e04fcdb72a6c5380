//! What the host asks of the kernel for its connections.

use std::future::{Ready, ready};
use std::io;

use axum_server::accept::Accept;
use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;

/// A peer that takes nothing and says nothing for so long is gone: its connection is ended by the kernel, whoever waits on it.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Small writes go out at once, and dead peers are noticed.
pub fn tune(stream: &TcpStream) {
    let patience = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
    let tuned = sockopt::set_tcp_nodelay(stream, true).and_then(|()| sockopt::set_tcp_user_timeout(stream, patience));
    if let Err(error) = tuned {
        // It works without, less well.
        tracing::debug!(%error, "a connection was not tuned");
    }
}

/// The same where TLS comes on top.
#[derive(Debug, Clone, Copy)]
pub struct Tuned;

impl<S> Accept<TcpStream, S> for Tuned {
    type Stream = TcpStream;
    type Service = S;
    type Future = Ready<io::Result<(TcpStream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        tune(&stream);
        ready(Ok((stream, service)))
    }
}

/// Lets this process open as many files as it may: each stream is one, and shells give few.
pub fn open_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
