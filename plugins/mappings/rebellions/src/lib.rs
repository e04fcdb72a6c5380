//! From rows of rbln-metrics-exporter, in both generations of its names, or from `rbln-stat -j`, to NPUs and their dies.

mod device;
pub mod stat;
mod table;

use std::collections::BTreeMap;

use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, GapReason};

use device::Device;
use table::{FAMILIES, Of};

/// No card has so little memory in bytes: what is below is GiB, as builds of old wrote.
const BYTES_FROM: f64 = 4_096.0;
const GIB: f64 = 1_073_741_824.0;

/// What an exporter's watts and degrees are multiplied with.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Scale {
    /// By 1000 where a card would draw less than a watt or be colder than a degree.
    #[default]
    Auto,
    By(f64),
}

/// Reads ATOM, ATOM+ and ATOM Max cards.
#[derive(Default)]
pub struct Rebellions {
    pub scale: Scale,
    /// How many devices make a card; by model where it is not said.
    pub dies_per_card: Option<usize>,
}

impl Source for Rebellions {
    const NAME: &'static str = "rbln-metrics-exporter";
    const LIKE: &'static str = "(RBLN_DEVICE_STATUS:|rbln_npu_).*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        table::ASKS
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let mut devices: BTreeMap<[Option<String>; 3], Device> = BTreeMap::new();
        for (of, names) in FAMILIES {
            for row in names.iter().flat_map(|name| page.rows(name)) {
                let key = ["hostname", "uuid", "name"].map(|label| row.get(label).map(|v| v.into_owned()));
                let device = devices.entry(key).or_insert_with(|| identify(page, row));
                hold(device, row);
                self.one(device, *of, row);
            }
        }
        let mut devices: Vec<Device> = devices.into_values().collect();
        devices.iter_mut().for_each(memory);
        device::say(devices, self.dies_per_card, out);
        Ok(())
    }
}

fn identify(page: &Page<'_>, row: &Row<'_>) -> Device {
    let [host, uuid, name, model, driver, firmware, smc] = row
        .pick(["hostname", "uuid", "name", "card", "driver_version", "firmware_version", "smc_version"])
        .map(|v| v.map(|v| v.into_owned()));
    let labels = [("driver_version", driver), ("firmware_version", firmware), ("smc_version", smc)];
    Device {
        node: page.node_of(host.as_deref()),
        uuid,
        name,
        model,
        labels: labels.into_iter().filter_map(|(k, v)| Some((k, v?))).collect(),
        at_ms: row.at_ms,
        ..Device::default()
    }
}

/// A card without a holder has rows without a pod, and rows of one quantity may lack it.
fn hold(device: &mut Device, row: &Row<'_>) {
    if device.holder[1].is_none() {
        device.holder = row.pick(["namespace", "pod", "container"]).map(|v| v.map(|v| v.into_owned()));
    }
}

impl Rebellions {
    fn one(&self, device: &mut Device, of: Of, row: &Row<'_>) {
        let raw = row.value;
        if let Of::Health = of {
            // 0 is good, other than of most vendors.
            device.health.get_or_insert(match raw {
                0.0 => "ok",
                1.0 => "critical",
                _ => "unknown",
            });
            return;
        }
        let said = if raw.is_finite() { Ok(raw) } else { Err(GapReason::Error) };
        // Neither is 0 of a card that answers.
        let scaled = said.and_then(|v| match self.scale {
            _ if v <= 0.0 => Err(GapReason::Absent),
            Scale::By(factor) => Ok((v * factor, factor != 1.0)),
            Scale::Auto if v < 1.0 => Ok((v * 1e3, true)),
            Scale::Auto => Ok((v, false)),
        });
        let (place, value) = match of {
            Of::Power => (&mut device.power, scaled.map(|s| s.0)),
            Of::Temperature => (&mut device.temperature, scaled.map(|s| s.0)),
            Of::Utilization => (&mut device.utilization, said.map(|v| v / 100.0)),
            Of::Used => (&mut device.used, said),
            Of::Total => (&mut device.total, said.and_then(|v| if v > 0.0 { Ok(v) } else { Err(GapReason::Absent) })),
            Of::Health => return,
        };
        // An old and a new name: the first counts, a reading before a gap.
        if place.is_none_or(|had| had.is_err() && value.is_ok()) {
            *place = Some(value);
            if matches!((of, scaled), (Of::Power | Of::Temperature, Ok((_, true)))) && device.labels.iter().all(|l| l.0 != "unit_rule") {
                device.labels.push(("unit_rule", "power and temperature times 1000".to_owned()));
            }
        }
    }
}

/// Both in the unit of the total.
fn memory(device: &mut Device) {
    match device.total {
        Some(Ok(total)) if total < BYTES_FROM => {
            device.total = Some(Ok(total * GIB));
            device.used = device.used.map(|used| used.map(|v| v * GIB));
        }
        Some(Ok(_)) => {}
        // Without it nobody knows the unit of what is used, unless that is too much for GiB.
        _ => device.used = device.used.map(|used| used.and_then(|v| if v >= BYTES_FROM { Ok(v) } else { Err(GapReason::Error) })),
    }
}
