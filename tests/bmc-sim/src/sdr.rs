//! Sensor data records and inventories as bytes (IPMI v2.0, 43; FRU storage definition 1.0).

/// A sensor that has a number.
#[derive(Debug, Clone)]
pub struct Full {
    pub owner: u8,
    pub lun: u8,
    pub number: u8,
    pub entity: (u8, u8),
    pub sensor_type: u8,
    /// Units 1, base unit, modifier unit.
    pub units: [u8; 3],
    pub linearization: u8,
    pub m: i16,
    pub b: i16,
    pub r_exp: i8,
    pub b_exp: i8,
    pub name: &'static str,
}

/// Unsigned, no rate, no modifier.
pub const CELSIUS: [u8; 3] = [0, 1, 0];
pub const VOLTS: [u8; 3] = [0, 4, 0];
pub const AMPERES: [u8; 3] = [0, 5, 0];
pub const WATTS: [u8; 3] = [0, 6, 0];
pub const RPM: [u8; 3] = [0, 18, 0];

impl Default for Full {
    fn default() -> Self {
        Self {
            owner: 0x20,
            lun: 0,
            number: 1,
            entity: (7, 1),
            sensor_type: 1,
            units: CELSIUS,
            linearization: 0,
            m: 1,
            b: 0,
            r_exp: 0,
            b_exp: 0,
            name: "sensor",
        }
    }
}

fn id_string(name: &str) -> Vec<u8> {
    let mut out = vec![0xc0 | name.len() as u8];
    out.extend(name.bytes());
    out
}

/// A record of this type; its number is given when it is put into a repository.
fn record(kind: u8, body: Vec<u8>) -> Vec<u8> {
    let mut out = vec![0, 0, 0x51, kind, body.len() as u8];
    out.extend(body);
    out
}

fn ten_bits(value: i16) -> (u8, u8) {
    ((value & 0xff) as u8, ((value >> 2) & 0xc0) as u8)
}

impl Full {
    /// Its record, of type 1; the number of the record is given by the repository.
    pub fn record(&self) -> Vec<u8> {
        let ((m, m_high), (b, b_high)) = (ten_bits(self.m), ten_bits(self.b));
        let exponents = (self.r_exp as u8) << 4 | (self.b_exp as u8) & 0xf;
        let mut body = vec![self.owner, self.lun, self.number, self.entity.0, self.entity.1, 0x7f, 0x68, self.sensor_type, 1];
        // Upper and lower critical and non-critical thresholds can be read.
        body.extend([0, 0x7a, 0, 0x7a, 0x1b, 0x1b]);
        body.extend(self.units);
        body.extend([self.linearization, m, m_high, b, b_high, 0, exponents, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend(id_string(self.name));
        record(1, body)
    }
}

/// A sensor that has states.
pub fn compact(number: u8, entity: (u8, u8), sensor_type: u8, reading_type: u8, share: u8, name: &str) -> Vec<u8> {
    let mut body = vec![0x20, 0, number, entity.0, entity.1, 0x67, 0x40, sensor_type, reading_type, 0xff, 0, 0xff, 0, 0xff, 0, 0xc0, 0, 0];
    // Numeric suffixes from 1, each with an entity instance of its own.
    body.extend([share, if share > 1 { 0x81 } else { 0 }, 0, 0, 0, 0, 0, 0]);
    body.extend(id_string(name));
    record(2, body)
}

/// A sensor that only sends events.
pub fn event_only(number: u8, entity: (u8, u8), sensor_type: u8, reading_type: u8, name: &str) -> Vec<u8> {
    let mut body = vec![0x20, 0, number, entity.0, entity.1, sensor_type, reading_type, 1, 0, 0, 0];
    body.extend(id_string(name));
    record(3, body)
}

/// Where the inventory of an entity lies.
pub fn fru_locator(device: u8, entity: (u8, u8), name: &str) -> Vec<u8> {
    let mut body = vec![0x20, device, 0x80, 0, 0, 0x10, 0, entity.0, entity.1, 0];
    body.extend(id_string(name));
    record(0x11, body)
}

fn area(fields: &[&str], head: &[u8]) -> Vec<u8> {
    let mut out = head.to_vec();
    for field in fields {
        out.push(0xc0 | field.len() as u8);
        out.extend(field.bytes());
    }
    out.push(0xc1);
    while !(out.len() + 1).is_multiple_of(8) {
        out.push(0);
    }
    out[1] = (out.len() as u8 + 1) / 8;
    out.push(out.iter().fold(0, |sum: u8, b| sum.wrapping_sub(*b)));
    out
}

/// An inventory with a product area: manufacturer, model, part number, version, serial number.
pub fn fru(manufacturer: &str, model: &str, serial: &str) -> Vec<u8> {
    let mut out = vec![1, 0, 0, 0, 1, 0, 0, 0xfe];
    out.extend(area(&[manufacturer, model, "PN-1", "A0", serial], &[1, 0, 0]));
    out
}

/// An entry of the event log: record type 2, by a sensor of the BMC.
pub fn sel_entry(at: u32, sensor_type: u8, number: u8, event: u8, data: [u8; 3]) -> [u8; 16] {
    let t = at.to_le_bytes();
    [0, 0, 2, t[0], t[1], t[2], t[3], 0x20, 0, 4, sensor_type, number, event, data[0], data[1], data[2]]
}
