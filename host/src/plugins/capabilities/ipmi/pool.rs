//! Every BMC that anybody speaks to, with the one session that it has: over calls, instances and plugins. One request at a time.
//!
//! In: commands that the policy let through, and a log-in. Out: answers. It must never hammer: a BMC that refused a log-in is not
//! asked with it again for a while, since BMCs lock users out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::crypto::Suite;
use super::policy::{Bmc, Place, Request};
use super::session::{Session, WAITS};
use super::{IpmiError, Login};

/// A BMC ends a session after 60 s without a word; this side ends it before, so that none is left over.
const IDLE: Duration = Duration::from_secs(45);
/// How often it is looked at whether a session is idle.
const LOOK: Duration = Duration::from_secs(10);
/// A refused log-in is tried again after this, doubled with each refusal in a row.
const HOLD: Duration = Duration::from_secs(60);
const MOST_HOLD: Duration = Duration::from_secs(3_600);
/// Log-ins that one BMC is remembered to have refused.
const REFUSALS: usize = 8;
/// Commands in a row that a BMC may leave without an answer before the rest of them is given up.
const SILENT: usize = 2;

/// Shared by all plugins of a host.
#[derive(Default)]
pub struct Bmcs {
    all: Mutex<HashMap<Place, Arc<tokio::sync::Mutex<State>>>>,
}

/// What is known of one BMC.
#[derive(Default)]
struct State {
    session: Option<(Login, Session)>,
    suite: Option<Suite>,
    /// It did not answer when it was last called on.
    is_silent: bool,
    refusals: Vec<Refused>,
}

struct Refused {
    login: Login,
    why: String,
    until: Instant,
    hold: Duration,
}

impl Bmcs {
    fn of(&self, place: &Place) -> Arc<tokio::sync::Mutex<State>> {
        self.all.lock().unwrap_or_else(|e| e.into_inner()).entry(place.clone()).or_default().clone()
    }

    /// Asks one BMC, in order. What fails as a whole is the error; what fails alone stands in its place.
    pub(super) async fn ask(
        &self,
        bmc: &Bmc,
        login: Login,
        requests: Vec<Request>,
        until: Instant,
    ) -> Result<Vec<Result<Vec<u8>, IpmiError>>, IpmiError> {
        let one = self.of(&bmc.place);
        let mut state = timeout_at(until.into(), one.lock()).await.map_err(|_| IpmiError::Timeout)?;
        if state.session.as_ref().is_some_and(|(of, session)| *of != login || session.used.elapsed() >= IDLE) {
            state.session = None;
        }
        let is_fresh = state.open(bmc, &login, until).await?;
        if is_fresh {
            close_when_idle(&one);
        }
        let (mut is_fresh, mut silent) = (is_fresh, 0);
        let mut answers = Vec::with_capacity(requests.len());
        for request in &requests {
            // A session that was kept may have ended with its BMC's restart: its first command leaves time to log in again.
            let waits = if is_fresh { &WAITS[..] } else { &WAITS[..2] };
            let was_fresh = std::mem::replace(&mut is_fresh, true);
            let mut answer = state.say(request, waits, until).await;
            if is_gone(&answer) && !was_fresh {
                state.session = None;
                match state.open(bmc, &login, until).await {
                    Ok(_) => answer = state.say(request, &WAITS, until).await,
                    Err(error) if answers.is_empty() => return Err(error),
                    Err(error) => answer = Err(error),
                }
            }
            silent = if is_gone(&answer) { silent + 1 } else { 0 };
            answers.push(answer);
            if state.session.is_none() || silent >= SILENT || Instant::now() >= until {
                break;
            }
        }
        if silent > 0 && (silent >= SILENT || Instant::now() >= until) {
            state.session = None;
            state.is_silent = true;
        }
        let rest = match answers.last() {
            Some(Err(error)) if !matches!(error, IpmiError::Completion(_)) => error.clone(),
            _ => IpmiError::Timeout,
        };
        answers.resize(requests.len(), Err(rest));
        Ok(answers)
    }
}

fn is_gone(answer: &Result<Vec<u8>, IpmiError>) -> bool {
    matches!(answer, Err(IpmiError::Timeout | IpmiError::Unreachable(_)))
}

impl State {
    async fn say(&mut self, request: &Request, waits: &[Duration], until: Instant) -> Result<Vec<u8>, IpmiError> {
        match &mut self.session {
            Some((_, session)) => session.ask(request, waits, until).await,
            None => Err(IpmiError::Timeout),
        }
    }

    /// Makes sure that there is a session; whether it is new.
    async fn open(&mut self, bmc: &Bmc, login: &Login, until: Instant) -> Result<bool, IpmiError> {
        if self.session.is_some() {
            return Ok(false);
        }
        let now = Instant::now();
        if let Some(refused) = self.refusals.iter().find(|r| r.login == *login && r.until > now) {
            let left = (refused.until - now).as_secs() + 1;
            let held = "before that, or with another password at once, so that the BMC does not lock the user out";
            return Err(IpmiError::Auth(format!("{}; tried again in {left} s, never {held}", refused.why)));
        }
        // One that was silent last time gets one chance, so that many of them keep nobody waiting.
        let patience = if self.is_silent { &WAITS[..1] } else { &WAITS };
        let opened = Session::open(&bmc.place, login, &bmc.suites, self.suite, patience, until).await;
        self.is_silent = matches!(opened, Err(IpmiError::Timeout | IpmiError::Unreachable(_)));
        match opened {
            Ok(session) => {
                self.suite = Some(session.suite);
                self.refusals.retain(|r| r.login != *login);
                self.session = Some((login.clone(), session));
                Ok(true)
            }
            Err(error) => {
                // What it speaks is asked again: another BMC may stand there now, or this one has new firmware.
                self.suite = None;
                if let IpmiError::Auth(why) = &error {
                    self.refuse(login, why, now);
                }
                Err(error)
            }
        }
    }

    fn refuse(&mut self, login: &Login, why: &str, now: Instant) {
        let before = self.refusals.iter().position(|r| r.login == *login).map(|at| self.refusals.remove(at));
        let hold = before.map_or(HOLD, |r| r.hold.saturating_mul(2).min(MOST_HOLD));
        if self.refusals.len() >= REFUSALS {
            self.refusals.remove(0);
        }
        self.refusals.push(Refused { login: login.clone(), why: why.to_owned(), until: now + hold, hold });
    }
}

/// Ends a session that nobody uses any more.
fn close_when_idle(one: &Arc<tokio::sync::Mutex<State>>) {
    let one = Arc::downgrade(one);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(state) = one.upgrade() else { return };
            // Whoever holds it uses it.
            let Ok(mut state) = state.try_lock() else { continue };
            match &state.session {
                Some((_, session)) if session.used.elapsed() < IDLE => {}
                _ => {
                    state.session = None;
                    return;
                }
            }
        }
    });
}
