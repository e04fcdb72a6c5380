//! A BMC as ipmi_exporter shows it: sensors by id and name, their states beside them; what could not be read says so by `ipmi_up`.

use crate::bmc::IpmiPower;
use crate::page::Page;
use crate::{Fleet, Moment, SensorTruth};

const COLLECTORS: [&str; 5] = ["bmc", "chassis", "dcmi", "ipmi", "sel"];

/// A BMC that did not answer.
pub(crate) fn unreachable() -> String {
    let mut page = Page::new();
    page.gauge("ipmi_scrape_duration_seconds").sample(&[], 10.02);
    page.gauge("ipmi_up");
    COLLECTORS.iter().for_each(|c| page.row(&[("collector", c)], 0.0));
    page.done()
}

pub(crate) fn write(fleet: &Fleet, node: usize, moment: Moment) -> String {
    let at = &fleet.nodes[node];
    let power = fleet.power(node, moment.tick);
    let bmc = fleet.bmc(node, moment, &power);
    let mut page = Page::new();
    page.gauge("ipmi_bmc_info")
        .sample(&[("firmware_revision", "1.74"), ("manufacturer_id", "Contoso (4413)"), ("system_firmware_version", "2.6.1")], 1.0);
    let state = |s: &SensorTruth| match &*s.state {
        "normal" => 0.0,
        "warning" => 1.0,
        _ => 2.0,
    };
    let mut next = 0;
    let mut family = |page: &mut Page, name: &str, unit: &str, sensors: &[SensorTruth]| {
        let ids: Vec<String> = (next..next + sensors.len()).map(|id| id.to_string()).collect();
        next += sensors.len();
        page.gauge(&format!("ipmi_{name}_state"));
        sensors.iter().zip(&ids).for_each(|(s, id)| page.row(&[("id", id), ("name", &s.name)], state(s)));
        page.gauge(&format!("ipmi_{name}_{unit}"));
        sensors.iter().zip(&ids).for_each(|(s, id)| page.row(&[("id", id), ("name", &s.name)], s.value));
    };
    family(&mut page, "temperature", "celsius", &bmc.temperatures);
    family(&mut page, "fan_speed", "rpm", &bmc.fans);
    family(&mut page, "voltage", "volts", &bmc.voltages);
    family(&mut page, "current", "amperes", &bmc.currents);
    let mut watts = bmc.supplies;
    let server = power.server_milliwatts as f64 / 1e3;
    if at.bmc.ipmi == Some(IpmiPower::Sensor) {
        watts.push(SensorTruth { name: "Pwr Consumption".into(), kind: "power".into(), value: server, state: "normal".into() });
    }
    family(&mut page, "power", "watts", &watts);
    page.gauge("ipmi_sensor_state");
    for (id, name, kind) in [("200", "Chassis Intru", "Physical Security"), ("201", "PS1 Status", "Power Supply")] {
        page.sample(&[("id", id), ("name", name), ("type", kind)], 0.0);
    }
    // Nobody could tell how it is.
    page.sample(&[("id", "202"), ("name", "NVMe_SSD"), ("type", "Drive Slot")], f64::NAN);
    page.gauge("ipmi_sensor_value");
    for (id, name, kind) in
        [("200", "Chassis Intru", "Physical Security"), ("201", "PS1 Status", "Power Supply"), ("202", "NVMe_SSD", "Drive Slot")]
    {
        page.sample(&[("id", id), ("name", name), ("type", kind)], f64::NAN);
    }
    if at.bmc.ipmi == Some(IpmiPower::Dcmi) {
        page.gauge("ipmi_dcmi_power_consumption_watts").sample(&[], server);
    }
    page.gauge("ipmi_chassis_power_state").sample(&[], 1.0);
    page.gauge("ipmi_chassis_cooling_fault_state").sample(&[], 1.0);
    page.gauge("ipmi_chassis_drive_fault_state").sample(&[], 1.0);
    page.gauge("ipmi_sel_logs_count").sample(&[], (at.bmc.id % 90) as f64);
    page.gauge("ipmi_sel_free_space_bytes").sample(&[], 15_000.0);
    page.gauge("ipmi_scrape_duration_seconds").sample(&[], 1.4);
    page.gauge("ipmi_up");
    // A BMC without DCMI answers everything else.
    for c in COLLECTORS {
        page.sample(&[("collector", c)], f64::from(u8::from(c != "dcmi" || at.bmc.ipmi == Some(IpmiPower::Dcmi))));
    }
    page.done()
}
