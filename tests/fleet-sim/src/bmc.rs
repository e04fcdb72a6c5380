//! What a server's BMC has to say: sensors, fans, supplies, each with a state. Served by `pages::ipmi` and `redfish`.

use crate::power::NodePower;
use crate::{BmcTruth, Fleet, Moment, SensorTruth, mix};

/// How a BMC misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BmcFault {
    /// It takes the connection and never answers.
    Hang,
    /// It answers 500.
    Error,
    /// The exporter answers and says that it could not reach it.
    Unreachable,
}

/// What a BMC can say of its server's watts over IPMI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpmiPower {
    Dcmi,
    /// A sensor of the whole server, no DCMI.
    Sensor,
    /// Its supplies' sensors only.
    Supplies,
}

/// Which resources a Redfish service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedfishShape {
    /// Thermal and Power.
    Old,
    /// ThermalSubsystem, PowerSubsystem, Sensors, EnvironmentMetrics.
    New,
}

/// A server's controller; one without either is not there.
#[derive(Debug)]
pub struct Bmc {
    pub ipmi: Option<IpmiPower>,
    pub redfish: Option<RedfishShape>,
    pub fans: usize,
    pub supplies: usize,
    /// Stands still.
    pub broken_fan: Option<usize>,
    pub(crate) id: u64,
}

impl Bmc {
    /// The most trusted way in which the watts of its server can be known, as the model names it.
    pub fn method(&self) -> &'static str {
        match (self.ipmi, self.redfish) {
            (Some(IpmiPower::Dcmi), _) => "dcmi",
            (_, Some(_)) => "redfish",
            (Some(IpmiPower::Sensor), _) => "sensor",
            (Some(IpmiPower::Supplies), _) => "psu",
            (None, None) => "kepler",
        }
    }
}

impl Fleet {
    /// Everything that the BMC of a node reads, whichever way it is asked.
    pub(crate) fn bmc(&self, node: usize, moment: Moment, power: &NodePower) -> BmcTruth {
        let at = &self.nodes[node];
        let bmc = &at.bmc;
        let busy = power.millicores * 1_000 / (at.cores * 1_000).max(1);
        let inlet = 21 + bmc.id % 5;
        let mut temperatures = vec![
            sensor("CPU1 Temp", "temperature", (36 + busy * 40 / 1_000) as f64),
            sensor("CPU2 Temp", "temperature", (35 + busy * 41 / 1_000) as f64),
            sensor("Inlet Temp", "temperature", inlet as f64),
            sensor("Exhaust Temp", "temperature", (inlet + 6 + power.server_milliwatts / 400_000) as f64),
            sensor("System Temp", "temperature", (inlet + 7) as f64),
        ];
        for card in self.cards(node, moment.tick) {
            let celsius = card.read(moment).temperature as f64;
            let state = if celsius >= 85.0 { "warning" } else { "normal" };
            temperatures
                .push(SensorTruth { state: state.into(), ..sensor(&format!("GPU{} Temp", card.index + 1), "temperature", celsius) });
        }
        let fans = (0..bmc.fans).map(|fan| {
            let is_broken = bmc.broken_fan == Some(fan);
            let rpm =
                if is_broken { 0 } else { (2_800 + busy * 3 + power.server_milliwatts / 1_000_000 * 400 + fan as u64 * 20) / 10 * 10 };
            SensorTruth {
                state: if is_broken { "critical" } else { "normal" }.into(),
                ..sensor(&format!("FAN{}", fan + 1), "fan", rpm as f64)
            }
        });
        let rail = |name: &str, millivolts: u64, id: u64| sensor(name, "voltage", (millivolts - 8 + mix(&[bmc.id, id]) % 17) as f64 / 1e3);
        let voltages = vec![
            rail("12V", 12_096, 1),
            rail("5VCC", 5_016, 2),
            rail("3.3VCC", 3_320, 3),
            rail("1.05V PCH", 1_050, 4),
            rail("P1-DIMM", 1_200, 5),
            rail("VBAT", 3_080, 6),
        ];
        let supplies: Vec<SensorTruth> = power
            .supplies_watts(bmc.supplies)
            .enumerate()
            .map(|(psu, watts)| sensor(&format!("PSU{} Power In", psu + 1), "power", watts as f64))
            .collect();
        let currents = supplies
            .iter()
            .enumerate()
            .map(|(psu, s)| sensor(&format!("PSU{} Current", psu + 1), "current", (s.value / 230.0 * 100.0).round() / 100.0))
            .collect();
        // The old shape shows one without a supply.
        let supply_bays = supplies.len() + usize::from(bmc.redfish == Some(RedfishShape::Old));
        let line_voltages = if bmc.redfish.is_some() { supplies.len() } else { 0 };
        BmcTruth { temperatures, fans: fans.collect(), voltages, supplies, currents, supply_bays, line_voltages }
    }
}

fn sensor(name: &str, kind: &'static str, value: f64) -> SensorTruth {
    SensorTruth { name: name.to_owned(), kind: kind.into(), value, state: "normal".into() }
}
