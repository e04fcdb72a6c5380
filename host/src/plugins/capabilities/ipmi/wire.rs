//! Packets of RMCP and RMCP+ (IPMI v2.0, 13.1 to 13.8) and the messages in them, as bytes. Pure: nothing here trusts what came in.

use super::crypto::{Keys, same};

/// RMCP version 6, no acknowledgement, class IPMI.
const RMCP: [u8; 4] = [6, 0, 0xff, 7];
const RMCP_PLUS: u8 = 6;
const BMC: u8 = 0x20;
/// The address of remote console software.
const CONSOLE: u8 = 0x81;

/// Payload types.
pub(super) const MESSAGE: u8 = 0x00;
pub(super) const OPEN_REQUEST: u8 = 0x10;
pub(super) const OPEN_RESPONSE: u8 = 0x11;
pub(super) const RAKP_1: u8 = 0x12;
pub(super) const RAKP_2: u8 = 0x13;
pub(super) const RAKP_3: u8 = 0x14;
pub(super) const RAKP_4: u8 = 0x15;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;

/// A command to a controller, addressed within the BMC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Command<'a> {
    pub netfn: u8,
    pub lun: u8,
    pub cmd: u8,
    pub data: &'a [u8],
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, b| sum.wrapping_sub(*b))
}

fn message(to: u8, from: u8, number: u8, c: &Command<'_>) -> Vec<u8> {
    let head = [to, c.netfn << 2 | c.lun];
    let mut out = vec![head[0], head[1], checksum(&head), from, number << 2, c.cmd];
    out.extend(c.data);
    out.push(checksum(&out[3..]));
    out
}

/// A command to the BMC.
pub(super) fn request(number: u8, c: &Command<'_>) -> Vec<u8> {
    message(BMC, CONSOLE, number, c)
}

/// The data of a Send Message command that has the BMC pass a command on and track its answer.
pub(super) fn bridged(channel: u8, address: u8, number: u8, c: &Command<'_>) -> Vec<u8> {
    let mut data = vec![0x40 | channel];
    data.extend(message(address, BMC, number, c));
    data
}

/// An answer to a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub netfn: u8,
    pub cmd: u8,
    pub number: u8,
    pub completion: u8,
    pub data: Vec<u8>,
}

/// Reads an answer; nothing where its checksums do not hold.
pub(super) fn response(bytes: &[u8]) -> Option<Response> {
    let [_, function, _, _, number, cmd, completion, data @ .., _] = bytes else { return None };
    let holds = checksum(&bytes[..3]) == 0 && checksum(&bytes[3..]) == 0;
    holds.then(|| Response { netfn: function >> 2, cmd: *cmd, number: number >> 2, completion: *completion, data: data.to_vec() })
}

/// A message before any session, as IPMI 1.5 frames it.
pub(super) fn plain(message: &[u8]) -> Vec<u8> {
    let mut out = RMCP.to_vec();
    out.extend([0; 9]);
    out.push(message.len() as u8);
    out.extend(message);
    out
}

/// A payload of RMCP+ before the session holds.
pub(super) fn open(payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = RMCP.to_vec();
    out.extend([RMCP_PLUS, payload_type]);
    out.extend([0; 8]);
    out.extend((payload.len() as u16).to_le_bytes());
    out.extend(payload);
    out
}

/// A message within a session: encrypted, then signed.
pub(super) fn sealed(keys: &Keys, session: u32, sequence: u32, vector: [u8; 16], message: &[u8]) -> Vec<u8> {
    let payload = keys.encrypt(vector, message);
    let mut out = RMCP.to_vec();
    out.extend([RMCP_PLUS, MESSAGE | ENCRYPTED | AUTHENTICATED]);
    out.extend(session.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend((payload.len() as u16).to_le_bytes());
    out.extend(payload);
    // What is signed is whole words, the two bytes of the trailer with it.
    let pad = (4 - (out.len() - RMCP.len() + 2) % 4) % 4;
    out.extend(std::iter::repeat_n(0xff, pad));
    out.extend([pad as u8, RMCP[3]]);
    let code = keys.sign(&out[RMCP.len()..]);
    out.extend(code);
    out
}

/// The message of an answer that IPMI 1.5 frames, without a session.
pub(super) fn read_plain(packet: &[u8]) -> Option<&[u8]> {
    let rest = packet.strip_prefix(&RMCP)?;
    let (head, rest) = rest.split_first_chunk::<10>()?;
    (head[0] == 0).then(|| rest.get(..usize::from(head[9])))?
}

/// Type, session, sequence number and payload of what RMCP+ frames.
fn read_plus(packet: &[u8]) -> Option<(u8, u32, u32, &[u8])> {
    let rest = packet.strip_prefix(&RMCP)?;
    let (head, rest) = rest.split_first_chunk::<12>()?;
    let [RMCP_PLUS, kind, s0, s1, s2, s3, n0, n1, n2, n3, l0, l1] = *head else { return None };
    let payload = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
    Some((kind, u32::from_le_bytes([s0, s1, s2, s3]), u32::from_le_bytes([n0, n1, n2, n3]), payload))
}

/// A payload of this type before the session holds.
pub(super) fn read_open(packet: &[u8], payload_type: u8) -> Option<&[u8]> {
    let (kind, session, _, payload) = read_plus(packet)?;
    (kind == payload_type && session == 0).then_some(payload)
}

/// Sequence number and message of a session's packet. Nothing of what is not signed with the session's key is believed.
pub(super) fn read_sealed(keys: &Keys, session: u32, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
    let (kind, id, sequence, payload) = read_plus(packet)?;
    if kind != MESSAGE | ENCRYPTED | AUTHENTICATED || id != session {
        return None;
    }
    let (signed, code) = packet[RMCP.len()..].split_at_checked((packet.len() - RMCP.len()).checked_sub(keys.code_len())?)?;
    let ends = signed.len() >= 14 + payload.len() && signed.last() == Some(&RMCP[3]);
    (ends && same(&keys.sign(signed), code)).then_some(())?;
    Some((sequence, keys.decrypt(payload)?))
}

/// The sequence numbers that a session has seen: what was there already, or lies too far off, is not taken.
#[derive(Debug, Default)]
pub(super) struct Window {
    highest: u32,
    /// Bit n: `highest - n` was there.
    seen: u32,
}

impl Window {
    /// Numbers ahead of the highest that are taken.
    const AHEAD: u32 = 32;

    pub(super) fn takes(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false;
        }
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            // The first number of a session may be any.
            if ahead > Self::AHEAD && self.seen != 0 {
                return false;
            }
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let bit = 1_u32.checked_shl(self.highest - sequence).unwrap_or(0);
        let is_new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::super::crypto::Suite;
    use super::*;

    #[test]
    fn a_command_is_framed_as_the_specification_frames_it() {
        let device_id = Command { netfn: 6, lun: 0, cmd: 1, data: &[] };
        assert_eq!(request(1, &device_id), [0x20, 0x18, 0xc8, 0x81, 0x04, 0x01, 0x7a]);
        assert_eq!(bridged(6, 0x2c, 1, &device_id), [0x46, 0x2c, 0x18, 0xbc, 0x20, 0x04, 0x01, 0xdb]);
        assert_eq!(plain(&[1, 2]), [6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2]);
    }

    #[test]
    fn an_answer_whose_checksums_do_not_hold_is_none() {
        let good = [0x81, 0x1c, 0x63, 0x20, 0x04, 0x01, 0x00, 0x20, 0xbb];
        let read = response(&good).unwrap();
        assert_eq!((read.netfn, read.cmd, read.number, read.completion, read.data), (7, 1, 1, 0, vec![0x20]));
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert_eq!(response(&bad), None, "{at}");
            assert_eq!(response(&good[..at]), None, "{at}");
        }
    }

    #[test]
    fn nothing_of_a_session_is_believed_that_its_key_did_not_sign() {
        for suite in Suite::ALL {
            let keys = Keys::of(suite, &[5; 32]);
            for length in 0..40 {
                let message = vec![7; length];
                let packet = sealed(&keys, 9, 3, [1; 16], &message);
                assert_eq!((packet.len() - 4 - keys.code_len()) % 4, 0);
                assert_eq!(read_sealed(&keys, 9, &packet), Some((3, message)));
                assert_eq!(read_sealed(&keys, 8, &packet), None);
                for at in 0..packet.len() {
                    let mut other = packet.clone();
                    other[at] ^= 1;
                    assert_eq!(read_sealed(&keys, 9, &other), None, "{at}");
                    assert_eq!(read_sealed(&keys, 9, &packet[..at]), None, "{at}");
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_in_is_read_or_left(head in 0..3_usize, tail in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let keys = Keys::of(Suite::Seventeen, &[5; 32]);
            let packet = [[&RMCP[..], &[]], [&RMCP[..], &[RMCP_PLUS, 0xc0]], [&[], &[]]][head].concat().into_iter().chain(tail).collect::<Vec<u8>>();
            assert!(read_sealed(&keys, 9, &packet).is_none());
            _ = (read_plain(&packet).and_then(response), read_open(&packet, RAKP_2), response(&packet), keys.decrypt(&packet));
        }
    }

    #[test]
    fn a_sequence_number_is_taken_once_and_near_the_last_only() {
        let mut window = Window::default();
        let taken: Vec<bool> = [5, 5, 6, 4, 4, 40, 38, 38, 6, 7, 0, 90, 72].into_iter().map(|n| window.takes(n)).collect();
        assert_eq!(taken, [true, false, true, true, false, false, true, false, false, true, false, false, false]);
    }
}
