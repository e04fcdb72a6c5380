//! A BMC of OpenIPMI's simulator: three sensors whose raw bytes are files, a supply and its state, chassis power.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Number, name, type, its number, unit, entity, `m`, `r_exp`, raw byte, upper critical raw byte. A value is raw × m × 10^r_exp.
type Sensor = (u8, &'static str, &'static str, u8, &'static str, &'static str, u8, i8, u8, u8);

const SENSORS: [Sensor; 4] = [
    (1, "GPU0 Temp", "Temperature", 1, "degrees_C", "add-in_card", 1, 0, 61, 90),
    (2, "Fan1", "Fan", 4, "RPM", "fan_cooling_device", 100, 0, 84, 0),
    (3, "12V rail", "Voltage", 2, "Volts", "system_board", 6, -2, 201, 225),
    (4, "PSU1 Power In", "Power_Supply", 8, "Watts", "power_supply", 8, 0, 93, 225),
];
const COMMON: &str = " sensor_owner_id 0x20\n sensor_owner_lun 0\n channel_number 0\n init_scanning true\n init_sensor_type true\n \
    default_event_gen_on true\n default_sensor_scan_on true\n entity_instance 1\n";

/// Writes what the simulator reads; `None`, said loudly, where it is not installed.
pub fn write(dir: &Path, port: u16) -> Option<()> {
    let at = dir.display();
    std::fs::create_dir_all(dir.join("state/ipmi_sim/bmc")).unwrap();
    let auth = ["callback", "user", "operator", "admin"].map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n")).concat();
    let lan = format!(
        "name \"bmc\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n{auth}    guid a123456789abcdefa123456789abcdef\n  \
         endlan\n  chassis_control \"{at}/chassis.sh 0x20\"\n  user 2 true \"admin\" \"secret1\" admin 10 none md2 md5 straight\n"
    );
    let chassis = "#!/bin/sh\n[ \"$2 $3\" = \"get power\" ] && echo power:1\n[ \"$2 $3\" = \"get boot\" ] && echo boot:default\nexit 0\n";
    let mut emu =
        "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 200 0x0a\n".to_owned();
    let mut sdrs = "sdr type 18\n device_slave_address 0x20\n device_channel_number 0\n chassis true\n ipmb_event_gen false\n ipmb_event_recv \
        false\n fru_inventory true\n sel true\n sdr true\n sensor true\n entity_id system_board\n entity_instance 1\n id_string \"sim bmc\"\nendsdr\n"
        .to_owned();
    for (number, name, kind, code, unit, entity, m, exponent, raw, critical) in SENSORS {
        set(dir, number, raw);
        let (has, bit) = if critical > 0 { ("1", "1") } else { ("0", "0") };
        let events = format!("0000000{bit}0000000");
        writeln!(emu, "sensor_add 0x20 0 {number} {code:#x} 0x01 poll 200 file \"{at}/{number}\"").unwrap();
        writeln!(emu, "sensor_set_threshold 0x20 0 {number} settable 0{has}0000 0 {critical} 0 0 0 0").unwrap();
        writeln!(emu, "sensor_set_event_support 0x20 0 {number} enable scanning per-state {events} {events} {events} {events}").unwrap();
        let threshold = " uc_thrsh_readable true\n uc_thrsh_settable true\n return_uc true\n assert_ucgh true\n deassert_ucgh true\n";
        let threshold = if critical > 0 { threshold } else { "" };
        writeln!(
            sdrs,
            "sdr type 1\n{COMMON} sensor_number {number}\n entity_id {entity}\n sensor_type {kind}\n init_events true\n init_thresholds true\n \
             sensor_auto_rearm true\n sensor_threshold_access settable\n sensor_event_msg_ctrl per_state\n event_reading_type_code \
             1\n{threshold} analog_data_format unsigned\n rate_unit none\n modifier_unit none\n percentage false\n base_unit {unit}\n \
             modifier_unit_code unspecified\n linearization linear\n m {m}\n tolerance 0\n b 0\n accuracy 1\n accuracy_exp 0\n \
             sensor_direction input\n r_exp {exponent}\n b_exp 0\n sensor_maximum 255\n sensor_minimum 0\n id_string \"{name}\"\nendsdr"
        )
        .unwrap();
    }
    let states = "000000000001111";
    writeln!(
        emu,
        "sensor_add 0x20 0 20 0x8 0x6f\nsensor_set_event_support 0x20 0 20 enable scanning per-state {states} {states} {states} {states}"
    )
    .unwrap();
    writeln!(emu, "sensor_set_bit 0x20 0 20 0 1 0\nmc_enable 0x20").unwrap();
    writeln!(
        sdrs,
        "sdr type 2\n{COMMON} sensor_number 20\n entity_id power_supply\n sensor_type Power_Supply\n event_reading_type_code 0x6f\n id_string \
         \"PSU1 Status\"\nendsdr"
    )
    .unwrap();
    for (name, text) in [("lan.conf", &*lan), ("chassis.sh", chassis), ("bmc.emu", &*emu), ("bmc.sdrs", &*sdrs)] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.join("chassis.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let compile =
        Command::new("sdrcomp").args(["-o", "state/ipmi_sim/bmc/sdr.20.main", "bmc.sdrs"]).current_dir(dir).stdin(Stdio::null()).output();
    match compile {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr)),
        Err(error) => {
            eprintln!("NOT RUN: sdrcomp: {error}; `apt-get install openipmi` (cargo xtask test tries to)");
            return None;
        }
    }
    Some(())
}

/// Sets a sensor's raw byte; the simulator reads it again five times a second.
pub fn set(dir: &Path, sensor: u8, raw: u8) {
    std::fs::write(dir.join(sensor.to_string()), format!("{raw}\n")).unwrap();
}

/// Its program, to be started by whoever ends it.
pub fn simulator(dir: &Path) -> Command {
    let mut command = Command::new("ipmi_sim");
    command.args(["-c", "lan.conf", "-f", "bmc.emu", "-n", "-s"]).arg(dir.join("state")).current_dir(dir);
    command
}
