//! A BMC of our own: IPMI v2.0 over RMCP+ with cipher suites 3 and 17, since no simulator that can be had speaks the latter.
//!
//! In: a [`Setup`], packets on a UDP socket, [`Faults`] that may change at any time. Out: the answers of a BMC, and [`Stats`] of what
//! it was asked. It answers what reads; anything else is `invalid command`, and counted. `ipmitool` and the host's own client judge it.

mod crypto;
pub mod model;
pub mod sdr;
mod session;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

pub use model::{Dcmi, Model, Sensor};
use session::Sessions;

/// Who may log in.
#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    pub password: String,
    /// The most privilege: 2 user, 3 operator, 4 administrator.
    pub privilege: u8,
}

/// How a BMC begins.
#[derive(Debug, Clone)]
pub struct Setup {
    pub users: Vec<User>,
    /// Cipher suites that it speaks, of 3 and 17.
    pub suites: Vec<u8>,
    /// Whether it lists them when asked.
    pub lists_suites: bool,
    pub most_sessions: usize,
    pub model: Model,
}

impl Default for Setup {
    fn default() -> Self {
        let users = vec![User { name: "monitor".into(), password: "secret1".into(), privilege: 2 }];
        Self { users, suites: vec![3, 17], lists_suites: true, most_sessions: 4, model: Model::server("SN1", 0) }
    }
}

/// What goes wrong, until it is changed.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Answers nothing.
    pub hangs: bool,
    /// Answers that many commands of sessions, then hangs.
    pub dies_after: Option<u32>,
    /// Every so many answers are not sent.
    pub drops_every: Option<u32>,
    pub delay: Duration,
    /// Sends each answer twice.
    pub duplicates: bool,
    /// Answers of sessions lack their end.
    pub truncates: bool,
    /// Answers of sessions carry another session's number.
    pub wrong_session: bool,
    /// Answers of sessions are signed with another key.
    pub wrong_code: bool,
    /// Has no room for a session.
    pub is_full: bool,
}

/// What it was asked so far.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    pub sessions_opened: u32,
    pub sessions_closed: u32,
    /// RAKP 3 with a wrong proof: what locks a user out.
    pub failed_logins: u32,
    /// RAKP 1, each a beginning of a log-in.
    pub logins: u32,
    /// Commands within sessions, by network function and command.
    pub commands: BTreeMap<(u8, u8), u32>,
    /// The suites of the sessions that were opened.
    pub suites: Vec<u8>,
    answers: u32,
}

struct Inner {
    setup: Setup,
    faults: Faults,
    stats: Stats,
    sessions: Sessions,
}

/// A BMC that may be served.
pub struct Bmc(Mutex<Inner>);

impl Bmc {
    /// Without sessions and faults.
    pub fn new(setup: Setup) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { setup, faults: Faults::default(), stats: Stats::default(), sessions: Sessions::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Changes what it knows: readings, log, power.
    pub fn change(&self, change: impl FnOnce(&mut Model)) {
        change(&mut self.lock().setup.model);
    }

    /// Changes who may log in.
    pub fn users(&self, change: impl FnOnce(&mut Vec<User>)) {
        change(&mut self.lock().setup.users);
    }

    /// Changes what goes wrong.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// Forgets every session, as a restart does.
    pub fn restart(&self) {
        self.lock().sessions = Sessions::default();
    }

    /// What it was asked so far.
    pub fn stats(&self) -> Stats {
        self.lock().stats.clone()
    }

    /// Sessions that are open now.
    pub fn sessions(&self) -> usize {
        self.lock().sessions.open()
    }

    /// The answers to a packet, none or more; how long they take.
    pub fn answer(&self, packet: &[u8]) -> (Vec<Vec<u8>>, Duration) {
        let mut inner = self.lock();
        let Inner { setup, faults, stats, sessions } = &mut *inner;
        if faults.hangs {
            return (Vec::new(), Duration::ZERO);
        }
        let mut answers = sessions.answer(setup, faults, stats, packet);
        if faults.dies_after.is_some_and(|n| stats.commands.values().sum::<u32>() >= n) {
            (faults.hangs, faults.dies_after) = (true, None);
        }
        answers.retain(|_| {
            stats.answers += 1;
            faults.drops_every.is_none_or(|n| !stats.answers.is_multiple_of(n))
        });
        if faults.duplicates {
            answers = answers.into_iter().flat_map(|a| [a.clone(), a]).collect();
        }
        (answers, faults.delay)
    }
}

/// Answers on a socket until the task is dropped.
pub async fn serve(bmc: Arc<Bmc>, socket: UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 1_024];
    loop {
        // The peer of an answer may be gone, which a later read says.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let (answers, delay) = bmc.answer(&buffer[..length]);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        for answer in answers {
            _ = socket.send_to(&answer, peer).await;
        }
    }
}

/// A BMC on a loopback port, until it is stopped or dropped.
pub struct Running {
    pub bmc: Arc<Bmc>,
    pub address: SocketAddr,
    task: AbortHandle,
}

impl Running {
    /// On a free port.
    pub async fn start(bmc: Arc<Bmc>) -> io::Result<Self> {
        Self::at(bmc, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// On this port, as after a stop.
    pub async fn at(bmc: Arc<Bmc>, address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { bmc: bmc.clone(), address, task: tokio::spawn(serve(bmc, socket)).abort_handle() })
    }

    /// For a target.
    pub fn url(&self) -> String {
        format!("ipmi://{}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
