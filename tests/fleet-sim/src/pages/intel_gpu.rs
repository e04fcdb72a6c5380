//! Intel's cards as XPU Manager 1.x writes them (older nodes), by tiles and by card and one series twice, and as xpumd 2.x does. A dead
//! card draws nothing, and xpumd says that it failed.

use super::{Dialect, Shown};
use crate::other::OtherModel;
use crate::page::Page;

const fn model(name: &'static str, gib: u64, limit_watts: u64, tiles: usize) -> OtherModel {
    OtherModel {
        vendor: "intel",
        class: "gpu",
        name,
        memory_bytes: gib << 30,
        limit_watts,
        idle_watts: limit_watts / 6,
        says_power: true,
        cores: tiles,
        parts: 0,
        clock_mhz: 1_600,
        resource: "gpu_intel_com_i915",
    }
}

pub(crate) const DIALECT: Dialect = Dialect {
    name: "intel-gpu",
    models: &[model("Intel(R) Data Center GPU Max 1550", 128, 600, 2), model("Intel(R) Data Center GPU Flex 170", 16, 150, 1)],
    old_lacks_memory: false,
    write,
};

type Labels = Vec<(&'static str, String)>;

fn write(shown: &Shown<'_>) -> String {
    if shown.node.is_newer { second(shown) } else { first(shown) }
}

fn first(shown: &Shown<'_>) -> String {
    let mut page = Page::new();
    let labels = |at: usize| -> Labels {
        let card = shown.cards[at].0;
        let mut all = vec![
            ("uuid", card.uuid.clone()),
            ("dev_name", card.model.name.to_owned()),
            ("vendor", "Intel(R) Corporation".to_owned()),
            ("pci_bdf", card.pci.clone()),
            ("dev_file", format!("card{}", card.index)),
            ("node", shown.node.name.clone()),
        ];
        if let Some(pod) = &card.pod {
            all.extend([("kube_namespace", "ml".to_owned()), ("kube_pod", pod.clone()), ("kube_container", "main".to_owned())]);
        }
        all
    };
    let cards = 0..shown.cards.len();
    let lives = |at: &usize| !shown.cards[*at].0.is_dead;
    page.gauge("xpum_power_watts").rows(cards.clone().map(|at| (labels(at), shown.cards[at].1.milliwatts as f64 / 1e3)).collect());
    // The known fault: the same series twice.
    page.rows(cards.clone().take(1).map(|at| (labels(at), shown.cards[at].1.milliwatts as f64 / 1e3)).collect());
    page.counter("xpum_energy_joules_total")
        .rows(cards.clone().filter(lives).map(|at| (labels(at), shown.cards[at].1.energy_millijoules as f64 / 1e3)).collect());
    for (name, more) in [
        ("xpum_power_watts", &[] as &[(&'static str, &str)]),
        ("xpum_engine_ratio", &[]),
        ("xpum_memory_used_bytes", &[]),
        ("xpum_memory_ratio", &[]),
        ("xpum_temperature_celsius", &[("location", "gpu")]),
        ("xpum_frequency_mhz", &[("location", "gpu"), ("type", "actual")]),
        ("xpum_frequency_mhz", &[("location", "gpu"), ("type", "request")]),
    ] {
        page.gauge(name);
        for at in cards.clone().filter(lives) {
            let (card, r) = &shown.cards[at];
            let tiles = card.model.cores as u64;
            for tile in 0..tiles {
                let mib = r.memory_used >> 20;
                let used = ((mib / tiles + if tile == 0 { mib % tiles } else { 0 }) << 20) as f64;
                let value = match (name, more) {
                    ("xpum_power_watts", _) => r.milliwatts as f64 / 1e3 / tiles as f64 * 0.9,
                    ("xpum_engine_ratio", _) => r.cores[tile as usize] as f64 / 1e3,
                    ("xpum_memory_used_bytes", _) => used,
                    ("xpum_memory_ratio", _) => used / (card.model.memory_bytes / tiles) as f64,
                    ("xpum_temperature_celsius", _) => r.temperature as f64,
                    (_, [_, (_, "actual")]) => r.clock_mhz as f64,
                    _ => card.model.clock_mhz as f64,
                };
                // What stands of one tile is the card's, and only its watts are said of the card beside.
                let own = if tiles > 1 { vec![("sub_dev", tile.to_string())] } else { Vec::new() };
                if tiles > 1 || name != "xpum_power_watts" {
                    page.rows(vec![([labels(at), own, more.iter().map(|(k, v)| (*k, (*v).to_owned())).collect()].concat(), value)]);
                }
            }
        }
    }
    page.done()
}

fn second(shown: &Shown<'_>) -> String {
    let mut page = Page::new();
    let labels = |at: usize, more: &[(&'static str, &str)]| -> Labels {
        let card = shown.cards[at].0;
        let own = [
            ("hw_id", card.uuid.clone()),
            ("pci_bdf", card.pci.clone()),
            ("pod", "xpumd-x7k2p".to_owned()),
            ("namespace", "monitoring".to_owned()),
        ];
        own.into_iter().chain(more.iter().map(|(k, v)| (*k, (*v).to_owned()))).collect()
    };
    page.gauge("hw_gpu_info")
        .rows((0..shown.cards.len()).map(|at| (labels(at, &[("hw_model", shown.cards[at].0.model.name)]), 1.0)).collect());
    let mut each = |name: &str, more: &[(&'static str, &str)], with_dead: bool, value: &dyn Fn(usize) -> f64| {
        page.gauge(name);
        let shown_at = |at: &usize| with_dead || !shown.cards[*at].0.is_dead;
        page.rows((0..shown.cards.len()).filter(shown_at).map(|at| (labels(at, more), value(at))).collect());
    };
    let r = |at: usize| &shown.cards[at].1;
    each("hw_power_watts", &[("hw_sensor_location", "card")], false, &|at| r(at).milliwatts as f64 / 1e3);
    each("hw_power_watts", &[("hw_sensor_location", "package")], false, &|at| r(at).milliwatts as f64 / 1e3 * 0.8);
    each("hw_energy_joules_total", &[("hw_sensor_location", "card")], false, &|at| r(at).energy_millijoules as f64 / 1e3);
    each("hw_memory_usage_bytes", &[("hw_memory_location", "device")], false, &|at| r(at).memory_used as f64);
    each("hw_memory_size_bytes", &[("hw_memory_location", "device")], false, &|at| shown.cards[at].0.model.memory_bytes as f64);
    each("hw_temperature_celsius", &[("hw_sensor_location", "gpu"), ("statistic", "max")], false, &|at| r(at).temperature as f64);
    each("hw_temperature_celsius", &[("hw_sensor_location", "gpu"), ("statistic", "min")], false, &|at| r(at).ambient as f64);
    each("hw_gpu_utilization_ratio", &[("hw_gpu_task", "all")], false, &|at| r(at).utilization / 100.0);
    each("hw_frequency_hertz", &[("hw_frequency_domain", "gpu"), ("aggregation", "avg")], false, &|at| r(at).clock_mhz as f64 * 1e6);
    for (state, is_alive) in [("ok", true), ("failed", false)] {
        each("hw_status", &[("hw_state", state)], true, &|at| f64::from(u8::from(shown.cards[at].0.is_dead != is_alive)));
    }
    page.done()
}
