//! What seldom changes, kept in the plugin's store: records, thresholds, inventories, and where the event log was read to.
//!
//! Records are read again when the repository's own stamps say that it changed. Reading them may take longer than a call: what
//! was read is kept, and the next call goes on there.

use std::collections::BTreeMap;

use kcloud_collector_sdk::ipmi::IpmiError;
use kcloud_collector_sdk::{CollectError, Target};
use serde::{Deserialize, Serialize};

use crate::bmc::{Bmc, NOT_PRESENT, RESERVATION, of_sensor};
use crate::fru::{self, Identity};
use crate::sdr::{self, Inventory, Record, Sensor};
use crate::sel::Cursor;

/// Thresholds may be set at any time, and nothing says so.
const THRESHOLDS_S: u64 = 600;
/// A supply may be replaced.
const INVENTORY_S: u64 = 3_600;
/// Bytes of a record at once, where a BMC refuses a whole one.
const PART: u8 = 16;
/// No repository has more; one that never ends is broken.
const MOST_RECORDS: usize = 4_096;
const END: u16 = 0xffff;

/// A repository: the BMC's, or where there is none the device's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Repository {
    Shared,
    Device,
}

impl Repository {
    /// Network function and command of: reserve, get.
    fn commands(self) -> [(u8, u8); 2] {
        match self {
            Self::Shared => [(0x0a, 0x22), (0x0a, 0x23)],
            Self::Device => [(0x04, 0x22), (0x04, 0x21)],
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cache {
    /// What the repository said of itself when reading began.
    pub stamp: Vec<u8>,
    /// As hexadecimal text.
    records: Vec<String>,
    /// The record that comes next; none when all are there.
    next: Option<u16>,
    in_parts: bool,
    /// Mask and six raw values, by the sensor's place.
    pub thresholds: BTreeMap<usize, [u8; 7]>,
    thresholds_at: u64,
    /// By inventory device.
    pub identities: BTreeMap<u8, Identity>,
    inventories_at: u64,
    pub log: Cursor,
}

impl Cache {
    pub(crate) fn new(stamp: Vec<u8>) -> Self {
        Self {
            stamp,
            records: Vec::new(),
            next: Some(0),
            in_parts: false,
            thresholds: BTreeMap::new(),
            thresholds_at: 0,
            identities: BTreeMap::new(),
            inventories_at: 0,
            log: Cursor::default(),
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.next.is_none()
    }

    /// Records that are there.
    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }

    /// Sensors and inventories of the records, in their order.
    pub(crate) fn parts(&self) -> (Vec<Sensor>, Vec<Inventory>) {
        let (mut sensors, mut inventories) = (Vec::new(), Vec::new());
        for record in &self.records {
            match unhex(record).as_deref().and_then(sdr::read) {
                Some(Record::Sensors(some)) => sensors.extend(some),
                Some(Record::Inventory(one)) => inventories.push(one),
                Some(Record::Other) | None => {}
            }
        }
        (sensors, inventories)
    }

    /// Reads records as long as there is time; whether anything was read.
    pub(crate) fn read_records(&mut self, bmc: &mut impl Bmc, repository: Repository, keep_ms: u64) -> Result<bool, CollectError> {
        let before = self.records.len();
        let [reserve, get] = repository.commands();
        let mut reservation = [0, 0];
        while let Some(id) = self.next {
            if bmc.left_ms() <= keep_ms {
                break;
            }
            if self.records.len() >= MOST_RECORDS {
                return Err(CollectError::Protocol(format!("the sensor data repository has no end after {MOST_RECORDS} records")));
            }
            let (next, record) = match self.record(bmc, get, id, reservation)? {
                Ok(read) => read,
                Err(RESERVATION) => {
                    let got = bmc.one(reserve.0, reserve.1, &[])?;
                    reservation = got.ok().and_then(|d| d.first_chunk::<2>().copied()).ok_or_else(|| unreadable("no reservation"))?;
                    match self.record(bmc, get, id, reservation)? {
                        Ok(read) => read,
                        Err(code) => return Err(unreadable(&format!("completion code {code:#04x}"))),
                    }
                }
                // An empty repository.
                Err(NOT_PRESENT) if id == 0 => (END, Vec::new()),
                Err(code) => return Err(unreadable(&format!("completion code {code:#04x}"))),
            };
            if !record.is_empty() {
                self.records.push(hex(&record));
            }
            self.next = (next != END && next != id).then_some(next);
        }
        Ok(self.records.len() > before || self.next.is_none())
    }

    /// One record and the number of the next, or a completion code.
    #[allow(clippy::type_complexity)]
    fn record(
        &mut self,
        bmc: &mut impl Bmc,
        (netfn, cmd): (u8, u8),
        id: u16,
        [r0, r1]: [u8; 2],
    ) -> Result<Result<(u16, Vec<u8>), u8>, CollectError> {
        let [low, high] = id.to_le_bytes();
        let mut ask = |offset: u8, count: u8| -> Result<Result<(u16, Vec<u8>), u8>, CollectError> {
            match bmc.one(netfn, cmd, &[r0, r1, low, high, offset, count])? {
                Ok(data) => match data.split_first_chunk::<2>() {
                    Some((next, part)) => Ok(Ok((u16::from_le_bytes(*next), part.to_vec()))),
                    None => Err(unreadable("an answer is cut short")),
                },
                Err(IpmiError::Completion(code)) => Ok(Err(code)),
                Err(_) => Err(unreadable("no answer")),
            }
        };
        if !self.in_parts {
            match ask(0, 0xff)? {
                // More than the BMC can bring at once.
                Err(0xc4 | 0xc7 | 0xc8 | 0xc9 | 0xca | 0xff) => self.in_parts = true,
                Ok((next, record)) if record.len() >= 5 && record.len() >= 5 + usize::from(record[4]) => return Ok(Ok((next, record))),
                Ok(_) => self.in_parts = true,
                Err(code) => return Ok(Err(code)),
            }
        }
        let (next, mut record) = match ask(0, 5)? {
            Ok(read) => read,
            Err(code) => return Ok(Err(code)),
        };
        let length = 5 + usize::from(*record.get(4).ok_or_else(|| unreadable("a record's head is cut short"))?);
        while record.len() < length {
            match ask(record.len() as u8, (length - record.len()).min(PART.into()) as u8)? {
                Ok((_, part)) if !part.is_empty() => record.extend(part),
                Ok(_) => return Err(unreadable("a record has no end")),
                Err(code) => return Ok(Err(code)),
            }
        }
        Ok(Ok((next, record)))
    }

    /// Reads thresholds that are old; whether anything was read. What did not come is asked for next time.
    pub(crate) fn read_thresholds(&mut self, bmc: &mut impl Bmc, sensors: &[Sensor], keep_ms: u64) -> Result<bool, CollectError> {
        let now = bmc.unix_s();
        if !is_old(self.thresholds_at, THRESHOLDS_S, now) {
            return Ok(false);
        }
        let with: Vec<usize> = (0..sensors.len()).filter(|i| sensors[*i].thresholds != 0).collect();
        let requests: Vec<_> = with.iter().map(|i| of_sensor(sensors[*i].key, 0x27, &[])).collect();
        let answers = bmc.many(&requests, keep_ms)?;
        if answers.len() < requests.len() {
            return Ok(false);
        }
        let read = with.iter().zip(answers).filter_map(|(i, answer)| Some((*i, answer.ok()?.first_chunk::<7>().copied()?)));
        self.thresholds = read.collect();
        self.thresholds_at = now;
        Ok(true)
    }

    /// Reads inventories that are old; whether anything was read.
    pub(crate) fn read_inventories(&mut self, bmc: &mut impl Bmc, devices: &[u8], keep_ms: u64) -> Result<bool, CollectError> {
        let now = bmc.unix_s();
        if !is_old(self.inventories_at, INVENTORY_S, now) {
            return Ok(false);
        }
        let mut found = BTreeMap::new();
        for device in devices {
            if bmc.left_ms() <= keep_ms {
                return Ok(false);
            }
            found.extend(fru::identity(bmc, *device)?.map(|identity| (*device, identity)));
        }
        (self.identities, self.inventories_at) = (found, now);
        Ok(true)
    }
}

/// A clock that went back makes everything old.
fn is_old(at: u64, after: u64, now: u64) -> bool {
    now < at || now - at >= after
}

fn unreadable(why: &str) -> CollectError {
    CollectError::Protocol(format!("the sensor data repository cannot be read: {why}"))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 0xf]).map(|n| char::from(DIGITS[usize::from(n)])).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().as_chunks::<2>().0.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The key of a target's cache: an id may be longer than a key.
pub(crate) fn key(target: &Target) -> String {
    let fnv = |hash: u64, b: &u8| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    let hash = target.id.bytes().chain(target.address.bytes()).fold(0xcbf2_9ce4_8422_2325, |h, b| fnv(h, &b));
    format!("bmc:{hash:016x}")
}
