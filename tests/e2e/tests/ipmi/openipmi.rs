//! BMCs that others wrote: `ipmi_sim` of Debian's `openipmi`. It speaks cipher suite 3.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Everything of one BMC lies in a directory of its own.
pub struct Simulated {
    child: Child,
    dir: PathBuf,
    pub port: u16,
}

pub const PASSWORD: &str = "secret1";

fn is_installed() -> bool {
    let found = Command::new("sdrcomp").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("NOT RUN: ipmi_sim is missing; `apt-get install openipmi` (cargo xtask test tries to)");
    }
    found
}

/// Number, name, entity, type, unit, M, exponent, raw reading, upper warning and critical.
type Analog = (u8, &'static str, &'static str, &'static str, &'static str, u8, i8, u8, u8, u8);

const SENSORS: [Analog; 4] = [
    (1, "CPU0 Temp", "processor", "Temperature", "degrees_C", 1, 0, 52, 80, 90),
    (2, "Fan1", "fan_cooling_device", "Fan", "RPM", 100, 0, 84, 0, 0),
    (3, "12V rail", "system_board", "Voltage", "Volts", 6, -2, 201, 220, 225),
    (4, "PSU1 Power In", "power_supply", "Power_Supply", "Watts", 8, 0, 93, 200, 225),
];

impl Simulated {
    /// A BMC with four sensors, whose readings lie in files; none where openipmi is not installed, which is said.
    pub fn start(dir: &Path) -> Option<Self> {
        is_installed().then_some(())?;
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let state = dir.join("state/ipmi_sim/bmc");
        std::fs::create_dir_all(&state).unwrap();
        let at = dir.display();
        let lan = format!(
            "name \"bmc\"\nset_working_mc 0x20\n startlan 1\n  addr 127.0.0.1 {port}\n  priv_limit admin\n  allowed_auths_user none md5\n  \
             allowed_auths_admin none md5\n  guid 00112233445566778899aabbccddeeff\n endlan\n user 2 true \"monitor\" \"{PASSWORD}\" user 10 none md5\n"
        );
        let mut emu =
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 100 0x0a\n".to_owned();
        let mut sdrs = String::new();
        for (number, name, entity, kind, unit, m, exponent, raw, warning, critical) in SENSORS {
            let code = match kind {
                "Temperature" => 1,
                "Voltage" => 2,
                "Fan" => 4,
                _ => 8,
            };
            std::fs::write(dir.join(number.to_string()), format!("{raw}\n")).unwrap();
            emu += &format!("sensor_add 0x20 0 {number} {code} 1 poll 100 file \"{at}/{number}\"\n");
            sdrs += &format!(
                "sdr type 1\n sensor_owner_id 0x20\n sensor_owner_lun 0\n channel_number 0\n sensor_number {number}\n entity_id {entity}\n \
                 entity_instance 1\n init_scanning true\n default_sensor_scan_on true\n sensor_type {kind}\n event_reading_type_code 1\n \
                 analog_data_format unsigned\n base_unit {unit}\n linearization linear\n m {m}\n r_exp {exponent}\n"
            );
            if critical != 0 {
                // Bits: UNR UC UNC LNR LC LNC, then their values; events of upper critical and non-critical.
                emu += &format!("sensor_set_threshold 0x20 0 {number} settable 011000 0 {critical} {warning} 0 0 0\n");
                let mask = "000001010000000";
                emu += &format!("sensor_set_event_support 0x20 0 {number} enable scanning per-state {mask} {mask} {mask} {mask}\n");
                sdrs += " sensor_threshold_access settable\n init_thresholds true\n uc_thrsh_readable true\n unc_thrsh_readable true\n";
            }
            sdrs += &format!(" id_string \"{name}\"\nendsdr\n");
        }
        emu += "mc_enable 0x20\n";
        for (file, text) in [("lan.conf", lan), ("bmc.emu", emu), ("bmc.sdrs", sdrs)] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let compiled = Command::new("sdrcomp").arg("-o").arg(state.join("sdr.20.main")).arg(dir.join("bmc.sdrs")).status().unwrap();
        assert!(compiled.success(), "sdrcomp");
        let mut sim = Command::new("ipmi_sim");
        sim.args(["-c", "lan.conf", "-f", "bmc.emu", "-n", "-s"]).arg(dir.join("state")).current_dir(dir);
        let child = sim.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { child, dir: dir.to_owned(), port })
    }

    /// Sets the raw reading of a sensor.
    pub fn set(&self, sensor: u8, raw: u8) {
        std::fs::write(self.dir.join(sensor.to_string()), format!("{raw}\n")).unwrap();
    }

    /// Stops it where it stands, or lets it go on.
    pub fn freeze(&self, is_frozen: bool) {
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("ipmi_sim did not end: {error}");
        }
    }
}
