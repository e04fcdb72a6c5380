//! Cards without an exporter of their own as all-smi's API writes them, in its older and newer labels: blanks after the commas, the head
//! of a family again for each device in the older ones. A dead card's rows are left out, or say -1.

use std::fmt::Write;

use super::{Dialect, Shown};
use crate::other::OtherModel;

const fn model(vendor: &'static str, name: &'static str, gib: u64, limit_watts: u64, resource: &'static str) -> OtherModel {
    OtherModel {
        vendor,
        class: "gpu",
        name,
        memory_bytes: gib << 30,
        limit_watts,
        idle_watts: limit_watts / 10,
        says_power: true,
        cores: 1,
        parts: 0,
        clock_mhz: 1_400,
        resource,
    }
}

pub(crate) const DIALECT: Dialect = Dialect {
    name: "all-smi",
    models: &[
        model("apple", "Apple M3 Ultra", 192, 160, "apple_com_gpu"),
        model("intel", "Intel Arc B580 12GB", 12, 190, "gpu_intel_com_xe"),
    ],
    old_lacks_memory: false,
    write,
};

fn write(shown: &Shown<'_>) -> String {
    let host = &shown.node.name;
    let newer = shown.node.is_newer;
    let mut page = String::from("\n");
    let mut family = |name: &str, value: &dyn Fn(usize) -> f64| {
        for (at, (card, _)) in shown.cards.iter().enumerate() {
            if at == 0 || !newer {
                // Writing to a String cannot fail.
                writeln!(page, "# HELP all_smi_{name} simulated\n# TYPE all_smi_{name} gauge").unwrap_or_default();
            }
            let value = if card.is_dead { -1.0 } else { value(at) };
            if card.is_dead && newer {
                continue;
            }
            let (uuid, index) = if newer { ("gpu_uuid", "gpu_index") } else { ("uuid", "index") };
            let (model, id, at) = (card.model.name, &card.uuid, card.index);
            writeln!(page, "all_smi_{name}{{gpu=\"{model}\", instance=\"{host}\", {uuid}=\"{id}\", {index}=\"{at}\"}} {value}")
                .unwrap_or_default();
        }
    };
    let card = |at: usize| shown.cards[at].0;
    let reading = |at: usize| &shown.cards[at].1;
    family("gpu_utilization", &|at| reading(at).utilization);
    family("gpu_memory_used_bytes", &|at| reading(at).memory_used as f64);
    family("gpu_memory_total_bytes", &|at| card(at).model.memory_bytes as f64);
    family("gpu_temperature_celsius", &|at| reading(at).temperature as f64);
    family("gpu_power_consumption_watts", &|at| reading(at).milliwatts as f64 / 1e3);
    family("gpu_frequency_mhz", &|at| reading(at).clock_mhz as f64);
    for (card, _) in &shown.cards {
        let (uuid, index) = if newer { ("gpu_uuid", "gpu_index") } else { ("uuid", "index") };
        let (model, id, at) = (card.model.name, &card.uuid, card.index);
        writeln!(page, "all_smi_gpu_info{{gpu=\"{model}\", instance=\"{host}\", {uuid}=\"{id}\", {index}=\"{at}\", type=\"GPU\", driver_version=\"1.0\"}} 1")
            .unwrap_or_default();
    }
    let together: u64 = shown.cards.iter().map(|c| c.1.milliwatts).sum();
    writeln!(page, "all_smi_chassis_power_watts{{hostname=\"{host}\", instance=\"{host}\"}} {}", together as f64 / 1e3).unwrap_or_default();
    page
}
