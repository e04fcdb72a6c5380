//! Sensor data records (IPMI v2.0, 43). Pure: what is cut short or odd is no record.

use crate::convert::{Factors, Format, Units};

/// Which controller, logical unit and number a sensor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub owner: u8,
    pub channel: u8,
    pub lun: u8,
    pub number: u8,
}

/// How a number is made of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Analog {
    pub format: Format,
    pub factors: Factors,
    pub linearization: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sensor {
    pub key: Key,
    pub entity: (u8, u8),
    pub sensor_type: u8,
    pub reading_type: u8,
    pub units: Units,
    /// Of a sensor that gives numbers.
    pub analog: Option<Analog>,
    /// LNC LC LNR UNC UC UNR: bits of the thresholds that can be read.
    pub thresholds: u8,
    /// It only sends events: there is nothing to read.
    pub event_only: bool,
    pub name: String,
}

/// Where the inventory of an entity lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub device: u8,
    pub entity: (u8, u8),
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// Several where a compact record is shared.
    Sensors(Vec<Sensor>),
    Inventory(Inventory),
    /// Of another type.
    Other,
}

const SIX_BITS: u8 = 2;

/// A name after its type and length.
pub(crate) fn text(head: u8, bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(usize::from(head & 0x3f))];
    let decoded: String = match head >> 6 {
        1 => bytes.iter().flat_map(|b| [b >> 4, b & 0xf]).map(|n| char::from(b"0123456789 -.:,_"[usize::from(n)])).collect(),
        SIX_BITS => {
            let bit = |n: usize| bytes.get(n / 8).map_or(0, |b| b >> (n % 8) & 1);
            let six = |n: usize| (0..6).fold(0, |c, i| c | bit(n * 6 + i) << i);
            (0..bytes.len() * 8 / 6).map(|n| char::from(six(n) + 0x20)).collect()
        }
        // Latin 1, which ASCII is a part of.
        _ => bytes.iter().take_while(|b| **b != 0).map(|b| char::from(*b)).collect(),
    };
    decoded.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>().trim().to_owned()
}

/// A name within a record: its length is five bits there.
fn id_string(record: &[u8], at: usize) -> String {
    let head = record.get(at).copied().unwrap_or(0);
    text(head & 0xdf, record.get(at + 1..).unwrap_or_default())
}

/// Reads a record; nothing where it is cut short.
pub(crate) fn read(r: &[u8]) -> Option<Record> {
    let kind = *r.get(3)?;
    let least = match kind {
        0x01 => 48,
        0x02 => 32,
        0x03 => 17,
        0x11 => 16,
        _ => return Some(Record::Other),
    };
    if r.len() < least {
        return None;
    }
    if kind == 0x11 {
        let is_logical = r[7] & 0x80 != 0;
        let inventory = Inventory { device: r[6], entity: (r[12], r[13]), name: id_string(r, 15) };
        return Some(if is_logical && r[5] == 0x20 { Record::Inventory(inventory) } else { Record::Other });
    }
    let key = Key { owner: r[5], channel: r[6] >> 4, lun: r[6] & 3, number: r[7] };
    if kind == 0x03 {
        let one = Sensor {
            key,
            entity: (r[8], r[9]),
            sensor_type: r[10],
            reading_type: r[11],
            units: Units { flags: 0xc0, base: 0, modifier: 0 },
            analog: None,
            thresholds: 0,
            event_only: true,
            name: id_string(r, 16),
        };
        return Some(Record::Sensors(shared(one, r[12], r[13])));
    }
    let one = Sensor {
        key,
        entity: (r[8], r[9]),
        sensor_type: r[12],
        reading_type: r[13],
        units: Units { flags: r[20], base: r[21], modifier: r[22] },
        analog: None,
        thresholds: 0,
        event_only: false,
        name: id_string(r, if kind == 0x01 { 47 } else { 31 }),
    };
    if kind == 0x02 {
        return Some(Record::Sensors(shared(one, r[23], r[24])));
    }
    let factors = Factors::read([r[24], r[25], r[26], r[27], r[28], r[29]]);
    let analog = Format::of(r[20]).map(|format| Analog { format, factors, linearization: r[23] });
    // Capabilities say whether thresholds can be read at all; the mask says which.
    let thresholds = if matches!(r[11] >> 2 & 3, 1 | 2) && one.reading_type == 1 { r[18] & 0x3f } else { 0 };
    Some(Record::Sensors(vec![Sensor { analog, thresholds, ..one }]))
}

/// One record for several sensors: their numbers follow each other, their names have a suffix.
fn shared(one: Sensor, sharing: u8, offset: u8) -> Vec<Sensor> {
    let count = (sharing & 0xf).max(1);
    let counts_entities = offset & 0x80 != 0;
    let each = |i: u8| {
        let suffix = u32::from(offset & 0x7f) + u32::from(i);
        let suffix = match sharing >> 4 & 3 {
            _ if count == 1 => String::new(),
            1 => letters(suffix),
            _ => suffix.to_string(),
        };
        let key = Key { number: one.key.number.wrapping_add(i), ..one.key };
        let entity = (one.entity.0, if counts_entities { one.entity.1.wrapping_add(i) } else { one.entity.1 });
        Sensor { key, entity, name: format!("{}{suffix}", one.name), ..one.clone() }
    };
    (0..count).map(each).collect()
}

/// A, B, …, Z, AA, AB, …
fn letters(n: u32) -> String {
    let letter = |n: u32| char::from(b'A' + (n % 26) as u8);
    if n < 26 { letter(n).to_string() } else { format!("{}{}", letter(n / 26 - 1), letter(n)) }
}
