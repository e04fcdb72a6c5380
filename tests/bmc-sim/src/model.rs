//! What a BMC knows: sensors, records, log, inventory. Answers the commands that read them.

use std::collections::{BTreeMap, HashMap};

use crate::sdr;

/// Completion codes.
pub const INVALID: u8 = 0xc1;
pub const RESERVATION: u8 = 0xc5;
pub const RANGE: u8 = 0xc9;
pub const TOO_LONG: u8 = 0xca;
pub const NOT_PRESENT: u8 = 0xcb;
pub const SHORT: u8 = 0xc7;

/// A sensor's present state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensor {
    pub raw: u8,
    /// Bit 7 events, 6 scanning, 5 no reading.
    pub flags: u8,
    /// Comparison with thresholds, or states 0 to 7; states 8 to 14.
    pub states: [u8; 2],
    /// Mask, then LNC LC LNR UNC UC UNR.
    pub thresholds: Option<[u8; 7]>,
}

impl Sensor {
    /// One with a number, scanned and within its thresholds.
    pub fn reading(raw: u8) -> Self {
        Self { raw, flags: 0xc0, states: [0xc0, 0], thresholds: None }
    }

    /// One with states, scanned.
    pub fn states(bits: u16) -> Self {
        Self { raw: 0, flags: 0xc0, states: [bits as u8, (bits >> 8) as u8 | 0x80], thresholds: None }
    }

    /// Upper non-critical and critical.
    pub fn upper(self, warning: u8, critical: u8) -> Self {
        Self { thresholds: Some([0x18, 0, 0, 0, warning, critical, 0]), ..self }
    }

    /// Lower non-critical and critical.
    pub fn lower(self, warning: u8, critical: u8) -> Self {
        Self { thresholds: Some([0x03, warning, critical, 0, 0, 0, 0]), ..self }
    }
}

/// DCMI power, in watts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dcmi {
    pub watts: u16,
    pub limit: Option<u16>,
    /// Whether the measurement is on.
    pub is_active: bool,
}

/// All that a BMC answers from.
#[derive(Debug, Clone)]
pub struct Model {
    pub guid: [u8; 16],
    /// Major and minor (BCD) of its firmware.
    pub firmware: (u8, u8),
    pub chassis: [u8; 3],
    pub records: Vec<Vec<u8>>,
    /// When the repository was last changed, by the BMC's clock.
    pub records_at: u32,
    /// By owner, unit and number.
    pub sensors: BTreeMap<(u8, u8, u8), Sensor>,
    pub log: Vec<[u8; 16]>,
    pub log_erased_at: u32,
    /// The BMC's clock now; a small number says that it was never set.
    pub clock: u32,
    pub inventories: BTreeMap<u8, Vec<u8>>,
    pub dcmi: Option<Dcmi>,
    /// More bytes of a record or an inventory at once are refused.
    pub most_read: u8,
    /// Answered with a completion code, by network function and command.
    pub refused: HashMap<(u8, u8), u8>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            guid: *b"kcloud-bmc-sim-1",
            firmware: (1, 0x42),
            chassis: [1, 0, 0],
            records: Vec::new(),
            records_at: 0x6500_0000,
            sensors: BTreeMap::new(),
            log: Vec::new(),
            log_erased_at: 0x6400_0000,
            clock: 0x6500_0000,
            inventories: BTreeMap::new(),
            dcmi: Some(Dcmi { watts: 412, limit: None, is_active: true }),
            most_read: 0xff,
            refused: HashMap::new(),
        }
    }
}

impl Model {
    /// Puts a record into the repository.
    pub fn add(&mut self, mut record: Vec<u8>) {
        let id = (self.records.len() as u16 + 1).to_le_bytes();
        record[..2].copy_from_slice(&id);
        self.records.push(record);
        self.records_at += 1;
    }

    /// An analog sensor with its record.
    pub fn analog(&mut self, full: sdr::Full, sensor: Sensor) {
        self.sensors.insert((full.owner, full.lun, full.number), sensor);
        self.add(full.record());
    }

    /// Appends to the event log.
    pub fn happened(&mut self, mut entry: [u8; 16]) {
        let id = (self.log.len() as u16 + 1).to_le_bytes();
        entry[..2].copy_from_slice(&id);
        self.log.push(entry);
    }

    /// A server: processors, inlet, fans, rails, two supplies with inventory, DCMI; `more` temperatures beside.
    pub fn server(serial: &str, more: u8) -> Self {
        let mut model = Self::default();
        let full = sdr::Full::default;
        let temperature = |number, entity, name| sdr::Full { number, entity, name, ..full() };
        model.analog(temperature(1, (3, 1), "CPU0 Temp"), Sensor::reading(52).upper(80, 90));
        model.analog(temperature(2, (11, 1), "GPU0 Temp"), Sensor::reading(61).upper(83, 90));
        model.analog(temperature(3, (55, 1), "Inlet Temp"), Sensor::reading(24).upper(35, 40));
        let fan = |number, name| sdr::Full { number, entity: (29, number), sensor_type: 4, units: sdr::RPM, m: 100, name, ..full() };
        model.analog(fan(4, "Fan1"), Sensor::reading(84).lower(8, 5));
        model.analog(fan(5, "Fan2"), Sensor::reading(83).lower(8, 5));
        let rail = sdr::Full { number: 6, sensor_type: 2, units: sdr::VOLTS, m: 6, r_exp: -2, name: "12V rail", ..full() };
        model.analog(rail, Sensor::reading(201).upper(220, 225));
        for (supply, in_name, out_name) in [(1, "PSU1 Power In", "PSU1 Power Out"), (2, "PSU2 Power In", "PSU2 Power Out")] {
            let watts = |number, name| sdr::Full { number, entity: (10, supply), sensor_type: 8, units: sdr::WATTS, m: 8, name, ..full() };
            model.analog(watts(6 + supply, in_name), Sensor::reading(30).upper(200, 225));
            model.analog(watts(8 + supply, out_name), Sensor::reading(27));
            model.add(sdr::compact(20 + supply, (10, supply), 8, 0x6f, 1, if supply == 1 { "PSU1 Status" } else { "PSU2 Status" }));
            model.sensors.insert((0x20, 0, 20 + supply), Sensor::states(1));
            model.add(sdr::fru_locator(supply, (10, supply), if supply == 1 { "PSU1" } else { "PSU2" }));
            model.inventories.insert(supply, sdr::fru("Supplies Inc", "PS-2000", &format!("{serial}-P{supply}")));
        }
        model.add(sdr::compact(30, (23, 1), 5, 0x6f, 1, "Intrusion"));
        model.sensors.insert((0x20, 0, 30), Sensor::states(0));
        model.inventories.insert(0, sdr::fru("Example Systems", "GX-8", serial));
        for extra in 0..more {
            model.analog(temperature(40 + extra, (8, extra + 1), "DIMM Temp"), Sensor::reading(40).upper(80, 85));
        }
        model
    }

    /// What a controller says to a command: data, or a completion code.
    pub fn answer(&self, owner: u8, netfn: u8, lun: u8, cmd: u8, data: &[u8]) -> Result<Vec<u8>, u8> {
        if let Some(code) = self.refused.get(&(netfn, cmd)) {
            return Err(*code);
        }
        let sensor = |data: &[u8]| {
            let number = *data.first().ok_or(SHORT)?;
            self.sensors.get(&(owner, lun, number)).ok_or(NOT_PRESENT)
        };
        match (netfn, cmd) {
            (0x00, 0x01) => Ok(self.chassis.to_vec()),
            (0x06, 0x01) => Ok(vec![0x20, 0x81, self.firmware.0, self.firmware.1, 2, 0x8f, 0x91, 0x12, 0, 2, 0x0f, 0, 0, 0, 0]),
            (0x06, 0x37) => Ok(self.guid.to_vec()),
            (0x04, 0x2d) => {
                let s = sensor(data)?;
                Ok(vec![s.raw, s.flags, s.states[0], s.states[1]])
            }
            (0x04, 0x27) => Ok(sensor(data)?.thresholds.unwrap_or_default().to_vec()),
            // Factors of a non-linear sensor: what is read counts double.
            (0x04, 0x23) => sensor(data).map(|_| vec![0xff, 2, 0, 0, 0, 0, 0]),
            (0x0a, 0x20) => {
                let mut out = vec![0x51];
                out.extend((self.records.len() as u16).to_le_bytes());
                out.extend([0xff, 0xff]);
                out.extend(self.records_at.to_le_bytes());
                out.extend([0, 0, 0, 0, 0x22]);
                Ok(out)
            }
            (0x0a, 0x22 | 0x42) => Ok(vec![1, 0]),
            (0x0a, 0x23) => self.read_record(data),
            (0x0a, 0x40) => {
                let mut out = vec![0x51];
                out.extend((self.log.len() as u16).to_le_bytes());
                out.extend([0xff, 0x0f]);
                let last = self.log.last().map_or([0xff; 4], |e| [e[3], e[4], e[5], e[6]]);
                out.extend(last);
                out.extend(self.log_erased_at.to_le_bytes());
                out.push(0x0f);
                Ok(out)
            }
            (0x0a, 0x43) => self.read_log(data),
            (0x0a, 0x48) => Ok(self.clock.to_le_bytes().to_vec()),
            (0x0a, 0x10) => {
                let inventory = self.inventories.get(data.first().ok_or(SHORT)?).ok_or(NOT_PRESENT)?;
                let size = (inventory.len() as u16).to_le_bytes();
                Ok(vec![size[0], size[1], 0])
            }
            (0x0a, 0x11) => {
                let [device, low, high, count, ..] = *data else { return Err(SHORT) };
                let inventory = self.inventories.get(&device).ok_or(NOT_PRESENT)?;
                let from = usize::from(u16::from_le_bytes([low, high]));
                let part = inventory.get(from..).filter(|p| !p.is_empty()).ok_or(RANGE)?;
                let count = usize::from(count).min(part.len());
                if count > usize::from(self.most_read) {
                    return Err(TOO_LONG);
                }
                let mut out = vec![count as u8];
                out.extend(&part[..count]);
                Ok(out)
            }
            (0x2c, 0x01..=0x03) => self.dcmi(cmd, data),
            _ => Err(INVALID),
        }
    }

    fn dcmi(&self, cmd: u8, data: &[u8]) -> Result<Vec<u8>, u8> {
        let dcmi = self.dcmi.filter(|_| data.first() == Some(&0xdc)).ok_or(INVALID)?;
        let mut out = vec![0xdc];
        match cmd {
            0x01 => out.extend([1, 5, 2, 0, 1, 0]),
            0x02 => {
                [dcmi.watts, dcmi.watts / 2, dcmi.watts * 2, dcmi.watts].iter().for_each(|w| out.extend(w.to_le_bytes()));
                out.extend(self.clock.to_le_bytes());
                out.extend(1_000_u32.to_le_bytes());
                out.push(if dcmi.is_active { 0x40 } else { 0 });
            }
            _ => {
                // "No active set power limit".
                let limit = dcmi.limit.ok_or(0x80)?;
                out.extend([0, 0, 0]);
                out.extend(limit.to_le_bytes());
                out.extend([0xe8, 3, 0, 0, 0, 0, 1, 0]);
            }
        }
        Ok(out)
    }

    fn read_record(&self, data: &[u8]) -> Result<Vec<u8>, u8> {
        let [r0, r1, i0, i1, offset, count, ..] = *data else { return Err(SHORT) };
        if offset != 0 && [r0, r1] != [1, 0] {
            return Err(RESERVATION);
        }
        let id = usize::from(u16::from_le_bytes([i0, i1]));
        let at = if id == 0 { 0 } else { id - 1 };
        let record = self.records.get(at).ok_or(NOT_PRESENT)?;
        let next = if at + 1 == self.records.len() { 0xffff } else { at as u16 + 2 };
        let part = record.get(usize::from(offset)..).ok_or(RANGE)?;
        let count = if count == 0xff { part.len() } else { usize::from(count).min(part.len()) };
        if count > usize::from(self.most_read) {
            return Err(TOO_LONG);
        }
        let mut out = next.to_le_bytes().to_vec();
        out.extend(&part[..count]);
        Ok(out)
    }

    fn read_log(&self, data: &[u8]) -> Result<Vec<u8>, u8> {
        let [_, _, i0, i1, ..] = *data else { return Err(SHORT) };
        let at = match u16::from_le_bytes([i0, i1]) {
            0 => 0,
            0xffff => self.log.len().saturating_sub(1),
            id => usize::from(id) - 1,
        };
        let entry = self.log.get(at).ok_or(NOT_PRESENT)?;
        let next = if at + 1 == self.log.len() { 0xffff } else { at as u16 + 2 };
        let mut out = next.to_le_bytes().to_vec();
        out.extend(entry);
        Ok(out)
    }
}
