//! One RMCP+ session: how it is opened (RAKP 1 to 4), what is asked in it, how it ends. The password is used here and goes nowhere.

use std::time::{Duration, Instant};

use super::crypto::{Exchange, Keys, Suite, same};
use super::link::Link;
use super::policy::{Place, Privilege, Request};
use super::wire::{self, Command, Response, Window};
use super::{IpmiError, Login};

/// How long each sending of a command may take until it is sent again. A BMC that is busy needs most of a second.
pub(super) const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(2)];
/// For a question that many BMCs leave without an answer.
const SHORT: [Duration; 1] = [Duration::from_millis(500)];
/// Handshakes until one comes through: a packet of it that is lost begins it anew, since a BMC makes another number at each sending.
const HANDSHAKES: usize = 3;
const MAX_USER: usize = 16;
const MAX_PASSWORD: usize = 20;
/// The user is looked up by name alone, not by name and privilege.
const BY_NAME: u8 = 0x10;
const APP: u8 = 0x06;
const SEND_MESSAGE: u8 = 0x34;

/// Numbers of the session's own handshake.
fn random<const N: usize>() -> [u8; N] {
    rand::Rng::random(&mut rand::rng())
}

pub(super) struct Session {
    link: Link,
    keys: Keys,
    pub(super) suite: Suite,
    /// The BMC's name of the session, and this side's.
    managed_id: u32,
    console_id: u32,
    sequence: u32,
    window: Window,
    number: u8,
    pub(super) used: Instant,
}

/// What a BMC refuses in the handshake (IPMI v2.0, table 13-15).
enum Refusal {
    /// Another suite may do.
    Suite(String),
    Final(IpmiError),
}

impl From<IpmiError> for Refusal {
    fn from(error: IpmiError) -> Self {
        Self::Final(error)
    }
}

fn refused(status: u8, privilege: Privilege) -> Result<(), Refusal> {
    let auth = |why: String| Err(Refusal::Final(IpmiError::Auth(why)));
    match status {
        0 => Ok(()),
        0x01 | 0x0b => Err(IpmiError::Unreachable("all sessions of the BMC are taken".into()).into()),
        0x04..=0x07 | 0x10 | 0x11 => Err(Refusal::Suite(format!("status {status:#04x}"))),
        0x09 | 0x0a => auth(format!("the BMC does not give this user the privilege {privilege}")),
        0x0c | 0x0d => auth("the BMC does not know this user".into()),
        0x0f => auth("the BMC refused the password".into()),
        other => Err(IpmiError::Unreachable(format!("the BMC refused the session with status {other:#04x}")).into()),
    }
}

/// What a BMC says of itself before any session.
struct Offer {
    suites: Vec<Suite>,
    /// It has a key of its own beside the passwords.
    has_kg: bool,
}

impl Session {
    /// Opens a session. `patience` is how long a BMC may take that is known to have been silent.
    pub(super) async fn open(
        place: &Place,
        login: &Login,
        allowed: &[Suite],
        known: Option<Suite>,
        patience: &[Duration],
        until: Instant,
    ) -> Result<Self, IpmiError> {
        if login.user.len() > MAX_USER || login.password.len() > MAX_PASSWORD {
            return Err(IpmiError::Denied(format!("IPMI takes users of at most {MAX_USER} bytes and passwords of at most {MAX_PASSWORD}")));
        }
        let mut link = Link::to(place, until).await?;
        let offer = offered(&mut link, login.privilege, known, patience, until).await?;
        let candidates: Vec<Suite> = allowed.iter().copied().filter(|s| offer.suites.contains(s)).collect();
        let names = |suites: &[Suite]| suites.iter().map(|s| s.id().to_string()).collect::<Vec<_>>().join(", ");
        let mut last = format!("it offers none of {}", names(allowed));
        for suite in candidates {
            match handshakes(&mut link, suite, login, &offer, until).await {
                Ok(opened) => {
                    let Opened { keys, suite, managed_id, console_id } = opened;
                    let (sequence, number, used) = (0, 0, Instant::now());
                    let mut session = Self { link, keys, suite, managed_id, console_id, sequence, window: Window::default(), number, used };
                    session.raise(login.privilege, until).await?;
                    return Ok(session);
                }
                Err(Refusal::Suite(why)) => last = format!("cipher suite {}: {why}", suite.id()),
                Err(Refusal::Final(error)) => return Err(error),
            }
        }
        Err(IpmiError::Unreachable(format!("no common cipher suite (17 and 3 are spoken): {last}")))
    }

    /// A session begins as a user's.
    async fn raise(&mut self, privilege: Privilege, until: Instant) -> Result<(), IpmiError> {
        if privilege == Privilege::User {
            return Ok(());
        }
        let raise = Command { netfn: APP, lun: 0, cmd: 0x3b, data: &[privilege.level()] };
        match self.command(&raise, &WAITS, until).await?.completion {
            0 => Ok(()),
            _ => Err(IpmiError::Auth(format!("the BMC does not give this user the privilege {privilege}"))),
        }
    }

    /// Asks one thing, once for each of `waits`, and waits for its answer.
    pub(super) async fn ask(&mut self, request: &Request, waits: &[Duration], until: Instant) -> Result<Vec<u8>, IpmiError> {
        let Request { bridge, netfn, lun, cmd, data } = request;
        let command = Command { netfn: *netfn, lun: *lun, cmd: *cmd, data };
        let answer = match bridge {
            None => self.command(&command, waits, until).await?,
            Some(b) => self.bridged(b.channel, b.address, &command, waits, until).await?,
        };
        match answer.completion {
            0 => Ok(answer.data),
            code => Err(IpmiError::Completion(code)),
        }
    }

    fn next_number(&mut self) -> u8 {
        self.number = (self.number + 1) % 64;
        self.number
    }

    async fn command(&mut self, command: &Command<'_>, waits: &[Duration], until: Instant) -> Result<Response, IpmiError> {
        let number = self.next_number();
        let message = wire::request(number, command);
        self.exchange(&message, waits, until, |r| r.number == number && r.netfn == command.netfn | 1 && r.cmd == command.cmd).await
    }

    /// The BMC says first that it passed the command on, then brings the answer; some bring it with the first.
    async fn bridged(
        &mut self,
        channel: u8,
        address: u8,
        command: &Command<'_>,
        waits: &[Duration],
        until: Instant,
    ) -> Result<Response, IpmiError> {
        let number = self.next_number();
        let data = wire::bridged(channel, address, number, command);
        let message = wire::request(number, &Command { netfn: APP, lun: 0, cmd: SEND_MESSAGE, data: &data });
        let is_answer = |r: &Response| r.number == number && r.netfn == command.netfn | 1 && r.cmd == command.cmd;
        let is_sent = |r: &Response| r.number == number && r.netfn == APP | 1 && r.cmd == SEND_MESSAGE;
        let first = self.exchange(&message, waits, until, |r| is_answer(r) || is_sent(r)).await?;
        if !is_sent(&first) || first.completion != 0 {
            return Ok(first);
        }
        if let Some(answer) = wire::response(&first.data).filter(is_answer) {
            return Ok(answer);
        }
        let Self { link, keys, console_id, window, .. } = self;
        link.hear(WAITS[0], until, |packet| taken(keys, *console_id, window, packet).filter(is_answer)).await
    }

    async fn exchange(
        &mut self,
        message: &[u8],
        waits: &[Duration],
        until: Instant,
        is_it: impl Fn(&Response) -> bool,
    ) -> Result<Response, IpmiError> {
        let Self { link, keys, managed_id, console_id, window, sequence, .. } = self;
        let packet = || {
            // Zero is for what lies outside of a session.
            *sequence = sequence.checked_add(1).unwrap_or(1);
            wire::sealed(keys, *managed_id, *sequence, random(), message)
        };
        let answer = link.ask(waits, until, packet, |packet| taken(keys, *console_id, window, packet).filter(&is_it)).await;
        self.used = Instant::now();
        answer
    }
}

/// The answer in a packet of this session that was not there before.
fn taken(keys: &Keys, session: u32, window: &mut Window, packet: &[u8]) -> Option<Response> {
    let (sequence, message) = wire::read_sealed(keys, session, packet)?;
    window.takes(sequence).then(|| wire::response(&message))?
}

/// Best effort: a BMC has few sessions, and forgets one that is not closed after a minute.
impl Drop for Session {
    fn drop(&mut self) {
        let number = self.next_number();
        let close = Command { netfn: APP, lun: 0, cmd: 0x3c, data: &self.managed_id.to_le_bytes() };
        self.sequence = self.sequence.wrapping_add(1);
        let packet = wire::sealed(&self.keys, self.managed_id, self.sequence, random(), &wire::request(number, &close));
        _ = self.link.socket.try_send(&packet);
    }
}

async fn offered(
    link: &mut Link,
    privilege: Privilege,
    known: Option<Suite>,
    patience: &[Duration],
    until: Instant,
) -> Result<Offer, IpmiError> {
    // Channel 14 is the one that this comes through; bit 7 asks for what IPMI 2.0 says of it.
    let data = [0x8e, privilege.level()];
    let ask = Command { netfn: APP, lun: 0, cmd: 0x38, data: &data };
    let (packet, is_it) = (wire::plain(&wire::request(1, &ask)), |r: &Response| r.cmd == ask.cmd && r.netfn == APP | 1);
    let accept = |p: &[u8]| wire::read_plain(p).and_then(wire::response).filter(is_it);
    let answer = link.ask(patience, until, || packet.clone(), accept).await?;
    let speaks_2_0 =
        answer.completion == 0 && answer.data.get(1).is_some_and(|b| b & 0x80 != 0) && answer.data.get(3).is_some_and(|b| b & 2 != 0);
    if !speaks_2_0 {
        return Err(IpmiError::Unreachable("the BMC offers no RMCP+ (IPMI 2.0) on this channel".into()));
    }
    let has_kg = answer.data.get(2).is_some_and(|b| b & 0x20 != 0);
    if let Some(suite) = known {
        return Ok(Offer { suites: vec![suite], has_kg });
    }
    let mut records = Vec::new();
    for index in 0..8 {
        let data = [0x0e, 0, 0x80 | index];
        let ask = Command { netfn: APP, lun: 0, cmd: 0x54, data: &data };
        let packet = wire::open(wire::MESSAGE, &wire::request(2 + index, &ask));
        let is_it = |r: &Response| r.cmd == ask.cmd && r.netfn == APP | 1 && r.number == 2 + index;
        let accept = |p: &[u8]| wire::read_open(p, wire::MESSAGE).or_else(|| wire::read_plain(p)).and_then(wire::response).filter(is_it);
        match link.ask(&SHORT, until, || packet.clone(), accept).await {
            Ok(answer) if answer.completion == 0 && answer.data.len() > 1 => {
                records.extend(&answer.data[1..]);
                if answer.data.len() < 17 {
                    break;
                }
            }
            // Not every BMC answers this; what it speaks is found by trying then.
            Ok(_) | Err(IpmiError::Timeout) => break,
            Err(error) => return Err(error),
        }
    }
    let listed = suites(&records);
    let suites = if records.is_empty() { Suite::ALL.to_vec() } else { listed };
    Ok(Offer { suites, has_kg })
}

/// The known ones among cipher suite records: a start byte, the id (after three bytes more for a vendor's own), then algorithms.
fn suites(records: &[u8]) -> Vec<Suite> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = records.get(at) {
        if *start == 0xc0 {
            found.extend(records.get(at + 1).and_then(|id| Suite::of(*id)));
        }
        at += match start {
            0xc0 => 2,
            0xc1 => 5,
            _ => 1,
        };
    }
    found
}

/// A session whose keys agree, without its link.
struct Opened {
    keys: Keys,
    suite: Suite,
    managed_id: u32,
    console_id: u32,
}

async fn handshakes(link: &mut Link, suite: Suite, login: &Login, offer: &Offer, until: Instant) -> Result<Opened, Refusal> {
    let mut last = Refusal::Final(IpmiError::Timeout);
    for _ in 0..HANDSHAKES {
        match handshake(link, suite, login, offer, until).await {
            Err(Refusal::Final(IpmiError::Timeout)) if Instant::now() < until => last = Refusal::Final(IpmiError::Timeout),
            other => return other,
        }
    }
    Err(last)
}

async fn handshake(link: &mut Link, suite: Suite, login: &Login, offer: &Offer, until: Instant) -> Result<Opened, Refusal> {
    let wait = &WAITS[..1];
    let privilege = login.privilege;
    let tag = random::<1>()[0];
    let console_id = u32::from_le_bytes(random()) | 1;
    let id = console_id.to_le_bytes();

    let [authentication, integrity, confidentiality] = suite.algorithms();
    let mut open = vec![tag, privilege.level(), 0, 0];
    open.extend(id);
    for (kind, algorithm) in [(0, authentication), (1, integrity), (2, confidentiality)] {
        open.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    let own = |payload: &[u8], tag: u8| payload.len() >= 8 && payload[0] == tag && (payload[1] != 0 || payload[4..8] == id);
    let answer = |packet: &[u8], kind: u8, tag: u8| {
        wire::read_open(packet, kind).filter(|p| own(p, tag) || p.len() >= 2 && p[0] == tag && p[1] != 0).map(<[u8]>::to_vec)
    };
    let packet = || wire::open(wire::OPEN_REQUEST, &open);
    let opened = link.ask(wait, until, packet, |p| answer(p, wire::OPEN_RESPONSE, tag)).await?;
    refused(opened[1], privilege)?;
    let Some(managed) = opened.get(8..12).and_then(|b| b.try_into().ok()) else { return Err(malformed("its answer to Open Session")) };
    let managed_id = u32::from_le_bytes(managed);
    if (16..36).step_by(8).zip(suite.algorithms()).any(|(at, wanted)| opened.get(at).is_some_and(|given| given & 0x3f != wanted)) {
        return Err(Refusal::Suite("the BMC answered with another".into()));
    }

    let console_random = random();
    let role = BY_NAME | privilege.level();
    let mut rakp1 = vec![tag.wrapping_add(1), 0, 0, 0];
    rakp1.extend(managed_id.to_le_bytes());
    rakp1.extend(console_random);
    rakp1.extend([role, 0, 0, login.user.len() as u8]);
    rakp1.extend(login.user.as_bytes());
    let packet = || wire::open(wire::RAKP_1, &rakp1);
    let rakp2 = link.ask(wait, until, packet, |p| answer(p, wire::RAKP_2, tag.wrapping_add(1))).await?;
    refused(rakp2[1], privilege)?;
    let (Some(managed_random), Some(guid)) =
        (rakp2.get(8..24).and_then(|b| b.try_into().ok()), rakp2.get(24..40).and_then(|b| b.try_into().ok()))
    else {
        return Err(malformed("its RAKP 2"));
    };
    let user = login.user.as_bytes();
    let exchange = Exchange { suite, console_id, managed_id, console_random, managed_random, guid, role, user };
    let password = login.password.as_bytes();
    if !same(&exchange.rakp2(password), &rakp2[40..]) {
        // RAKP 3 is not sent: it would count as a failed log-in, and so many of them lock the user out.
        return Err(IpmiError::Auth("the password is not the one that the BMC knows".into()).into());
    }

    let mut rakp3 = vec![tag.wrapping_add(2), 0, 0, 0];
    rakp3.extend(managed_id.to_le_bytes());
    rakp3.extend(exchange.rakp3(password));
    let packet = || wire::open(wire::RAKP_3, &rakp3);
    let rakp4 = link.ask(wait, until, packet, |p| answer(p, wire::RAKP_4, tag.wrapping_add(2))).await?;
    refused(rakp4[1], privilege)?;
    let sik = exchange.sik(password);
    if !same(&exchange.rakp4(&sik), rakp4.get(8..).unwrap_or_default()) {
        let why = match offer.has_kg {
            true => "the BMC has a key of its own (KG), which is not supported",
            false => "the BMC's proof of the session key is wrong",
        };
        return Err(IpmiError::Auth(why.into()).into());
    }
    Ok(Opened { keys: Keys::of(suite, &sik), suite, managed_id, console_id })
}

fn malformed(what: &str) -> Refusal {
    IpmiError::Unreachable(format!("{what} is cut short: not RMCP+")).into()
}
