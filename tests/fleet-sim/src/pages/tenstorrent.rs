//! Tenstorrent's chips as tt_telemetry writes them: a stamp on each sample and a blank line after it, units in labels, names of two
//! generations; neither a model nor a serial number. What a dead chip's firmware does not say is 0.

use super::{Dialect, Shown};
use crate::other::OtherModel;

const CHIP: OtherModel = OtherModel {
    vendor: "tenstorrent",
    class: "npu",
    name: "",
    memory_bytes: 0,
    limit_watts: 300,
    idle_watts: 16,
    says_power: true,
    cores: 1,
    parts: 0,
    clock_mhz: 1_350,
    resource: "tenstorrent_com_p150",
};

pub(crate) const DIALECT: Dialect = Dialect { name: "tenstorrent", models: &[CHIP], old_lacks_memory: false, write };

fn write(shown: &Shown<'_>) -> String {
    let at_ms = shown.moment.at_ms;
    let clock = if shown.node.is_newer { "AIClock" } else { "AICLK" };
    let mut text = "# Tenstorrent Metal Telemetry Metrics\n\n".to_owned();
    for (card, r) in &shown.cards {
        let of = format!("tray=\"1\",chip=\"{}\",hostname=\"{}\"", card.index, shown.node.name);
        let alive = f64::from(u8::from(!card.is_dead));
        for (name, unit, value) in [
            ("TDP", "W", r.milliwatts as f64 / 1e3),
            (clock, "MHz", r.clock_mhz as f64),
            ("VCore", "mV", 720.0),
            ("ASICTemperature", "°C", r.temperature as f64),
            ("FanSpeed", "RPM", 1_900.0),
        ] {
            text += &format!(
                "# HELP {name} Metric from Tenstorrent Metal\n# TYPE {name} gauge\n{name}{{{of},unit=\"{unit}\"}} {} {at_ms}\n\n",
                value * alive
            );
        }
        for channel in 0..2 {
            text += &format!(
                "linkIsUp{{channel=\"{channel}\",{of}}} {alive} {at_ms}\n\ncrcErrorCount{{channel=\"{channel}\",{of}}} {channel} {at_ms}\n\n"
            );
        }
    }
    text
}
