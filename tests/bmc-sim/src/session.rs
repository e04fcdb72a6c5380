//! Handshakes and sessions, from the BMC's side.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::crypto::{Keys, code_len, hmac};
use crate::{Faults, Setup, Stats};

const RMCP: [u8; 4] = [6, 0, 0xff, 7];
/// A session without a word for so long is forgotten, as the specification wants.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Statuses of a refused handshake.
const FULL: u8 = 0x01;
const NO_SUITE: u8 = 0x11;
const NO_PRIVILEGE: u8 = 0x0a;
const NO_USER: u8 = 0x0d;
const BAD_CODE: u8 = 0x0f;

#[derive(Default)]
pub(crate) struct Sessions {
    last_id: u32,
    all: HashMap<u32, Session>,
}

struct Session {
    console: [u8; 4],
    suite: u8,
    used: Instant,
    phase: Phase,
}

enum Phase {
    Opened,
    /// Password, number of the console, number of the BMC, role and name with its length.
    Proving {
        password: Vec<u8>,
        console_random: Vec<u8>,
        random: [u8; 16],
        user: Vec<u8>,
    },
    Active {
        keys: Keys,
        sequence: u32,
        seen: Vec<u32>,
    },
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, b| sum.wrapping_sub(*b))
}

/// An IPMI message as the BMC got it.
struct Message<'a> {
    netfn: u8,
    lun: u8,
    from: u8,
    number: u8,
    cmd: u8,
    data: &'a [u8],
}

fn message(bytes: &[u8]) -> Option<Message<'_>> {
    let [_, function, _, from, number, cmd, data @ .., _] = bytes else { return None };
    let good = checksum(&bytes[..3]) == 0 && checksum(&bytes[3..]) == 0;
    good.then_some(Message { netfn: function >> 2, lun: function & 3, from: *from, number: *number, cmd: *cmd, data })
}

fn reply(m: &Message<'_>, owner: u8, answer: Result<Vec<u8>, u8>) -> Vec<u8> {
    let (code, data) = answer.map_or_else(|code| (code, Vec::new()), |data| (0, data));
    let head = [m.from, (m.netfn | 1) << 2];
    let mut out = vec![head[0], head[1], checksum(&head), owner, m.number, m.cmd, code];
    out.extend(data);
    out.push(checksum(&out[3..]));
    out
}

fn plus(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = RMCP.to_vec();
    out.extend([6, kind]);
    out.extend(session.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend((payload.len() as u16).to_le_bytes());
    out.extend(payload);
    out
}

impl Sessions {
    pub(crate) fn open(&self) -> usize {
        self.all.values().filter(|s| matches!(s.phase, Phase::Active { .. }) && s.used.elapsed() < FORGOTTEN).count()
    }

    pub(crate) fn answer(&mut self, setup: &Setup, faults: &Faults, stats: &mut Stats, packet: &[u8]) -> Vec<Vec<u8>> {
        let Some(rest) = packet.strip_prefix(&RMCP) else { return Vec::new() };
        if let Some(([0, _, _, _, _, _, _, _, _, length], body)) = rest.split_first_chunk::<10>() {
            let answer = body.get(..usize::from(*length)).and_then(message).and_then(|m| before_session(setup, &m));
            return answer.map_or_else(Vec::new, |a| {
                let mut out = RMCP.to_vec();
                out.extend([0; 9]);
                out.push(a.len() as u8);
                out.extend(a);
                vec![out]
            });
        }
        let Some((head, body)) = rest.split_first_chunk::<12>().filter(|(h, _)| h[0] == 6) else { return Vec::new() };
        let id = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
        let sequence = u32::from_le_bytes([head[6], head[7], head[8], head[9]]);
        let Some(payload) = body.get(..usize::from(u16::from_le_bytes([head[10], head[11]]))) else { return Vec::new() };
        let single = |answer: Option<Vec<u8>>| answer.into_iter().collect();
        match head[1] {
            0x00 => single(message(payload).and_then(|m| before_session(setup, &m)).map(|a| plus(0, 0, 0, &a))),
            0x10 => single(self.open_session(setup, faults, payload)),
            0x12 => single(self.rakp1(setup, stats, payload)),
            0x14 => single(self.rakp3(setup, stats, payload)),
            0xc0 => self.command(setup, faults, stats, id, sequence, rest, payload),
            _ => Vec::new(),
        }
    }

    fn open_session(&mut self, setup: &Setup, faults: &Faults, request: &[u8]) -> Option<Vec<u8>> {
        let (tag, console) = (*request.first()?, request.get(4..8)?);
        let wanted = [request.get(12)?, request.get(20)?, request.get(28)?].map(|a| a & 0x3f);
        let suite = match wanted {
            [1, 1, 1] => 3,
            [3, 4, 1] => 17,
            _ => 0,
        };
        self.all.retain(|_, s| s.used.elapsed() < FORGOTTEN);
        let refuse = |status| {
            let mut out = vec![tag, status, 0, 0];
            out.extend(console);
            Some(plus(0x11, 0, 0, &out))
        };
        if !setup.suites.contains(&suite) {
            return refuse(NO_SUITE);
        }
        if faults.is_full || self.open() >= setup.most_sessions {
            return refuse(FULL);
        }
        self.last_id += 1;
        let id = 0x0200_0000 | self.last_id;
        let console_id = [console[0], console[1], console[2], console[3]];
        self.all.insert(id, Session { console: console_id, suite, used: Instant::now(), phase: Phase::Opened });
        let mut out = vec![tag, 0, request[1] & 0xf, 0];
        out.extend(console);
        out.extend(id.to_le_bytes());
        out.extend(&request[8..32]);
        Some(plus(0x11, 0, 0, &out))
    }

    fn rakp1(&mut self, setup: &Setup, stats: &mut Stats, request: &[u8]) -> Option<Vec<u8>> {
        stats.logins += 1;
        let id = u32::from_le_bytes(request.get(4..8)?.try_into().ok()?);
        let session = self.all.get_mut(&id)?;
        let (tag, console_random, role) = (request[0], request.get(8..24)?.to_vec(), *request.get(24)?);
        let name = request.get(28..28 + usize::from(*request.get(27)?))?;
        let user = setup.users.iter().find(|u| u.name.as_bytes() == name);
        let status = match user {
            None => NO_USER,
            Some(user) if user.privilege < role & 0xf => NO_PRIVILEGE,
            Some(_) => 0,
        };
        let mut out = vec![tag, status, 0, 0];
        out.extend(session.console);
        let Some(user) = user.filter(|_| status == 0) else { return Some(plus(0x13, 0, 0, &out)) };
        let random: [u8; 16] = rand::random();
        let mut named = vec![role, name.len() as u8];
        named.extend(name);
        let text = [&session.console[..], &id.to_le_bytes(), &console_random, &random, &setup.model.guid, &named].concat();
        let password = user.password.as_bytes().to_vec();
        out.extend(random);
        out.extend(setup.model.guid);
        out.extend(hmac(session.suite, &password, &text));
        session.phase = Phase::Proving { password, console_random, random, user: named };
        Some(plus(0x13, 0, 0, &out))
    }

    fn rakp3(&mut self, setup: &Setup, stats: &mut Stats, request: &[u8]) -> Option<Vec<u8>> {
        let id = u32::from_le_bytes(request.get(4..8)?.try_into().ok()?);
        let session = self.all.get_mut(&id)?;
        let Phase::Proving { password, console_random, random, user } = &session.phase else { return None };
        let mut out = vec![request[0], 0, 0, 0];
        out.extend(session.console);
        let proof = hmac(session.suite, password, &[&random[..], &session.console, user].concat());
        if request.get(8..)? != proof {
            stats.failed_logins += 1;
            out[1] = BAD_CODE;
            self.all.remove(&id);
            return Some(plus(0x15, 0, 0, &out));
        }
        let sik = hmac(session.suite, password, &[&console_random[..], random, user].concat());
        let code = hmac(session.suite, &sik, &[&console_random[..], &id.to_le_bytes(), &setup.model.guid].concat());
        out.extend(&code[..code_len(session.suite)]);
        stats.sessions_opened += 1;
        stats.suites.push(session.suite);
        session.phase = Phase::Active { keys: Keys::new(session.suite, &sik), sequence: 0, seen: Vec::new() };
        Some(plus(0x15, 0, 0, &out))
    }

    #[allow(clippy::too_many_arguments)]
    fn command(
        &mut self,
        setup: &Setup,
        faults: &Faults,
        stats: &mut Stats,
        id: u32,
        number: u32,
        signed: &[u8],
        payload: &[u8],
    ) -> Vec<Vec<u8>> {
        let Some(session) = self.all.get_mut(&id).filter(|s| s.used.elapsed() < FORGOTTEN) else { return Vec::new() };
        let Phase::Active { keys, sequence, seen } = &mut session.phase else { return Vec::new() };
        let Some((signed, code)) = signed.split_at_checked(signed.len() - code_len(keys.suite)) else { return Vec::new() };
        if keys.code(signed) != code || seen.contains(&number) {
            return Vec::new();
        }
        seen.push(number);
        if seen.len() > 32 {
            seen.remove(0);
        }
        session.used = Instant::now();
        let Some(text) = keys.unseal(payload) else { return Vec::new() };
        let Some(m) = message(&text) else { return Vec::new() };
        *stats.commands.entry((m.netfn, m.cmd)).or_default() += 1;
        let (mut replies, mut is_closed) = (Vec::new(), false);
        match (m.netfn, m.cmd) {
            (0x06, 0x3b) => replies.push(reply(&m, 0x20, Ok(vec![m.data.first().copied().unwrap_or(2).max(2)]))),
            (0x06, 0x3c) => {
                replies.push(reply(&m, 0x20, Ok(Vec::new())));
                is_closed = true;
            }
            // Passed on to a controller behind: first that it was, then its answer.
            (0x06, 0x34) => match m.data.split_first().and_then(|(_, inner)| Some((inner[0], message(inner)?))) {
                Some((owner, inner)) if setup.model.sensors.keys().any(|(o, ..)| *o == owner) => {
                    let answer = setup.model.answer(owner, inner.netfn, inner.lun, inner.cmd, inner.data);
                    replies.push(reply(&m, 0x20, Ok(Vec::new())));
                    replies.push(reply(&Message { from: m.from, ..inner }, owner, answer));
                }
                Some(_) => replies.push(reply(&m, 0x20, Err(0x83))),
                None => replies.push(reply(&m, 0x20, Err(0xcc))),
            },
            _ => replies.push(reply(&m, 0x20, setup.model.answer(0x20, m.netfn, m.lun, m.cmd, m.data))),
        }
        let console = u32::from_le_bytes(session.console);
        let mut seal = |reply: Vec<u8>| {
            *sequence += 1;
            let to = if faults.wrong_session { console ^ 0xff } else { console };
            let mut out = plus(0xc0, to, *sequence, &keys.seal(&reply));
            let pad = (4 - (out.len() - RMCP.len() + 2) % 4) % 4;
            out.extend(std::iter::repeat_n(0xff, pad));
            out.extend([pad as u8, 7]);
            let mut code = keys.code(&out[RMCP.len()..]);
            if faults.wrong_code {
                code[0] ^= 1;
            }
            out.extend(code);
            if faults.truncates {
                out.truncate(out.len() - 7);
            }
            out
        };
        let answers = replies.into_iter().map(&mut seal).collect();
        if is_closed {
            stats.sessions_closed += 1;
            self.all.remove(&id);
        }
        answers
    }
}

/// What may be asked without a session.
fn before_session(setup: &Setup, m: &Message<'_>) -> Option<Vec<u8>> {
    match (m.netfn, m.cmd) {
        (0x06, 0x38) => {
            // Authentication per message, users by name; IPMI 2.0.
            Some(reply(m, 0x20, Ok(vec![1, 0x80, 0x04, 0x02, 0, 0, 0, 0])))
        }
        (0x06, 0x54) if setup.lists_suites => {
            let mut records = Vec::new();
            for suite in &setup.suites {
                let [a, i, c] = if *suite == 17 { [3, 4, 1] } else { [1, 1, 1] };
                records.extend([0xc0, *suite, a, 0x40 | i, 0x80 | c]);
            }
            let from = usize::from(m.data.get(2)? & 0x3f) * 16;
            let part: Vec<u8> = records.into_iter().skip(from).take(16).collect();
            Some(reply(m, 0x20, Ok([vec![1], part].concat())))
        }
        (0x06, 0x54) => None,
        _ => None,
    }
}
