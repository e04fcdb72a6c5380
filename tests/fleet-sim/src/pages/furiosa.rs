//! Furiosa's cards as furiosa-metrics-exporter writes them, in the names of 2025 and of 2024: then power came in microwatts,
//! the peak was the SoC's, and there was nothing about memory. A dead card says only that it is dead.

use super::{Dialect, Shown};
use crate::other::OtherModel;
use crate::page::{Page, Rows};

const RNGD: OtherModel = OtherModel {
    vendor: "furiosa",
    class: "npu",
    name: "RNGD",
    memory_bytes: 48 << 30,
    limit_watts: 180,
    idle_watts: 35,
    says_power: true,
    cores: 8,
    parts: 4,
    clock_mhz: 1_750,
    resource: "furiosa_ai_rngd",
};

pub(crate) const DIALECT: Dialect = Dialect { name: "furiosa", models: &[RNGD], old_lacks_memory: true, write };

fn write(shown: &Shown<'_>) -> String {
    let mut page = Page::new();
    let newer = shown.node.is_newer;
    let host = &shown.node.name;
    let each = |page: &mut Page, name: &str, kind: &str, values: &dyn Fn(usize) -> Rows| {
        page.family(&format!("furiosa_npu_{name}"), kind);
        (0..shown.cards.len()).for_each(|at| page.rows(values(at)));
    };
    // One row a range of cores that is given out as one, or a card. Rows of a split card repeat the card.
    let ranges = |at: usize| -> Vec<(String, Option<&String>)> {
        let card = shown.cards[at].0;
        let (cores, n) = (card.model.cores, card.parts.len());
        match n {
            0 => vec![(format!("0-{}", cores - 1), card.pod.as_ref())],
            n => (0..n).map(|p| (format!("{}-{}", p * cores / n, (p + 1) * cores / n - 1), card.parts[p].as_ref())).collect(),
        }
    };
    let labels = |at: usize, core: String, pod: Option<&String>| {
        let card = shown.cards[at].0;
        let mut all = vec![("arch", card.model.name.to_lowercase()), ("core", core), ("device", format!("npu{}", card.index))];
        let rest = if newer {
            [("driver_version", "2025.1.0"), ("firmware_version", "2025.1.0"), ("hostname", host), ("pci_bus_id", &card.pci)]
        } else {
            [("driver_version", "1.9.3"), ("firmware_version", "1.6.0"), ("kubernetes_node_name", host), ("pci_bud_id", &card.pci)]
        };
        all.extend(rest.map(|(k, v)| (k, v.to_owned())));
        all.push(("uuid", card.uuid.to_uppercase()));
        if let Some(pod) = pod {
            all.extend([("namespace", "ml".to_owned()), ("pod", pod.clone()), ("container", "main".to_owned())]);
        }
        all
    };
    let whole = |at: usize, label: Option<&str>, value: f64| -> Rows {
        let row = |(core, pod): (String, Option<&String>)| {
            let mut all = labels(at, core, pod);
            all.extend(label.map(|l| ("label", l.to_owned())));
            (all, value)
        };
        ranges(at).into_iter().map(row).collect()
    };
    let lives = |at: usize| !shown.cards[at].0.is_dead;
    each(&mut page, "alive", "gauge", &|at| whole(at, None, f64::from(u8::from(lives(at)))));
    each(&mut page, "hw_temperature", "gauge", &|at| {
        let r = &shown.cards[at].1;
        let peak = if newer { "peak" } else { "soc_peak" };
        let rows = [whole(at, Some("ambient"), r.ambient as f64), whole(at, Some(peak), r.temperature as f64)].concat();
        if lives(at) { rows } else { Vec::new() }
    });
    each(&mut page, "hw_power", "gauge", &|at| {
        let milliwatts = shown.cards[at].1.milliwatts as f64;
        if lives(at) { whole(at, Some("rms"), if newer { milliwatts / 1e3 } else { milliwatts * 1e3 }) } else { Vec::new() }
    });
    let by_core = |at: usize, value: &dyn Fn(usize) -> f64| -> Rows {
        let card = shown.cards[at].0;
        let of = |core: usize| match card.parts.len() {
            0 => card.pod.as_ref(),
            n => card.parts[core * n / card.model.cores].as_ref(),
        };
        let cores = if lives(at) { card.model.cores } else { 0 };
        (0..cores).map(|core| (labels(at, core.to_string(), of(core)), value(core))).collect()
    };
    each(&mut page, "core_utilization", "gauge", &|at| by_core(at, &|core| shown.cards[at].1.cores[core] as f64 / 10.0));
    if newer {
        each(&mut page, "core_frequency", "gauge", &|at| by_core(at, &|_| shown.cards[at].1.clock_mhz as f64));
        let memory = |at: usize, bytes: u64| if lives(at) { whole(at, None, bytes as f64) } else { Vec::new() };
        each(&mut page, "dram_usage", "gauge", &|at| memory(at, shown.cards[at].1.memory_used));
        each(&mut page, "dram_total", "gauge", &|at| memory(at, shown.cards[at].0.model.memory_bytes));
        each(&mut page, "throttling_events_count", "gauge", &|at| if lives(at) { whole(at, Some("idle"), 3.0) } else { Vec::new() });
    }
    page.done()
}
