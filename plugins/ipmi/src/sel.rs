//! The system event log as events: new entries since the last time, each with the sensor that it is about.

use kcloud_collector_sdk::ipmi::IpmiError;
use kcloud_collector_sdk::{CollectError, Event, Severity};
use serde::{Deserialize, Serialize};

use crate::bmc::{Bmc, NOT_PRESENT};
use crate::discrete::{state, type_name};
use crate::sdr::Sensor;

/// Entries of one call: a long log comes in over several.
const MOST: usize = 64;
/// A clock below this counts from the BMC's start: it was never set (IPMI v2.0, 37.1).
const CLOCK_SET: u32 = 0x2000_0000;
/// Zones are whole quarters of an hour, and nowhere further from UTC than this.
const QUARTER_S: i64 = 900;
const FURTHEST_S: i64 = 14 * 3_600;
/// A clock that is further off, zone aside, is not believed.
const OFF_S: i64 = 300;

/// Where reading goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The last entry that was read; 0 at the beginning.
    pub last: u16,
    pub erased_at: u32,
    /// When the newest entry was added, once all are read.
    pub added_at: u32,
    /// How many there were then.
    pub count: u16,
}

/// What Get SEL Info says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Log {
    pub count: u16,
    pub added_at: u32,
    pub erased_at: u32,
}

impl Log {
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        let word = |at: usize| data.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        Some(Self { count: u16::from_le_bytes([*data.get(1)?, *data.get(2)?]), added_at: word(5)?, erased_at: word(9)? })
    }
}

pub(crate) type Entry = [u8; 16];

/// Entries that were not read yet, and where to go on.
pub(crate) fn new_entries(bmc: &mut impl Bmc, log: Log, mut cursor: Cursor, keep_ms: u64) -> Result<(Vec<Entry>, Cursor), CollectError> {
    if cursor.erased_at != log.erased_at || log.count < cursor.count {
        // It was cleared: numbers begin anew.
        cursor = Cursor { erased_at: log.erased_at, ..Cursor::default() };
    }
    let mut entries = Vec::new();
    if (cursor.added_at, cursor.count) == (log.added_at, log.count) {
        return Ok((entries, cursor));
    }
    // The entry that was read last says which comes next.
    let mut id = cursor.last;
    let mut is_known = cursor.last != 0;
    while log.count > 0 && entries.len() < MOST && bmc.left_ms() > keep_ms {
        let [low, high] = id.to_le_bytes();
        let data = match bmc.one(0x0a, 0x43, &[0, 0, low, high, 0, 0xff])? {
            Ok(data) => data,
            // It is gone without a word about it, or the log is empty.
            Err(IpmiError::Completion(NOT_PRESENT)) if is_known => {
                (id, is_known, cursor.last) = (0, false, 0);
                continue;
            }
            Err(_) => return Ok((entries, cursor)),
        };
        let Some((next, entry)) = data.split_first_chunk::<2>().and_then(|(n, e)| Some((u16::from_le_bytes(*n), e.first_chunk::<16>()?)))
        else {
            return Err(CollectError::Protocol("an entry of the event log is cut short".to_owned()));
        };
        if !is_known {
            cursor.last = u16::from_le_bytes([entry[0], entry[1]]);
            entries.push(*entry);
        }
        is_known = false;
        if next == 0xffff || next == id {
            (cursor.added_at, cursor.count) = (log.added_at, log.count);
            break;
        }
        id = next;
    }
    Ok((entries, cursor))
}

/// Seconds that the BMC's clock is ahead of UTC, where it is a zone; none where the clock cannot be believed.
pub(crate) fn zone_s(bmc_s: u32, unix_s: u64) -> Option<i64> {
    let ahead = i64::from(bmc_s) - unix_s as i64;
    let zone = (ahead as f64 / QUARTER_S as f64).round() as i64 * QUARTER_S;
    (bmc_s >= CLOCK_SET && zone.abs() <= FURTHEST_S && (ahead - zone).abs() <= OFF_S).then_some(zone)
}

/// What an entry says, for the sensor that it is about where that has a record.
pub(crate) fn event(entry: &Entry, zone_s: Option<i64>, sensor: Option<&Sensor>) -> Event {
    let id = u16::from_le_bytes([entry[0], entry[1]]);
    let stamp = u32::from_le_bytes([entry[3], entry[4], entry[5], entry[6]]);
    let has_stamp = entry[2] < 0xe0;
    let believed = has_stamp && stamp >= CLOCK_SET && stamp != u32::MAX;
    let at = zone_s.filter(|_| believed).and_then(|zone| u64::try_from(i64::from(stamp) - zone).ok()).map(|s| s * 1_000_000_000);
    let hex: String = entry[2..].iter().map(|b| format!("{b:02x}")).collect();
    // Number, time and content: after a clear numbers come again.
    let key = format!("sel:{id:04x}:{hex}");
    if entry[2] != 2 {
        let text = format!("vendor's record {:#04x}: {hex}", entry[2]);
        return Event { subject: 0, at, severity: Severity::Info, code: format!("sel:oem-{:#04x}", entry[2]), message: text, key };
    }
    let [.., sensor_type, number, kind, data1, data2, data3] = *entry;
    let (is_over, reading_type, offset) = (kind & 0x80 != 0, kind & 0x7f, data1 & 0xf);
    let known = state(sensor_type, reading_type, offset);
    let what = known.map_or_else(|| format!("event {reading_type:#04x} state {offset}"), |(text, _)| text.to_owned());
    let who = match sensor {
        Some(sensor) => sensor.name.clone(),
        None => format!("{} sensor {number:#04x}", type_name(sensor_type)),
    };
    let mut message = format!("{who}: {what}{}", if is_over { " (over)" } else { "" });
    // A threshold's event may carry the reading and the threshold.
    if let Some((sensor, analog)) = sensor.and_then(|s| Some((s, s.analog?))).filter(|_| reading_type == 1) {
        let show =
            |raw| format!("{:.2} {}", crate::convert::value(analog.format, analog.factors, analog.linearization, raw), sensor.units.text());
        if data1 >> 6 == 1 {
            message += &format!(", reading {}", show(data2));
        }
        if data1 >> 4 & 3 == 1 {
            message += &format!(", threshold {}", show(data3));
        }
    }
    let severity = known.map_or(Severity::Info, |(_, weight)| if is_over { Severity::Info } else { weight });
    Event { subject: 0, at, severity, code: format!("sel:{sensor_type:#04x}"), message, key }
}
