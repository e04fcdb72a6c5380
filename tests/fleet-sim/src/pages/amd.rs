//! AMD's cards as device-metrics-exporter writes them; on older nodes with the sample configuration's prefix, memory in bytes. All are
//! gauges. A split card is one row a partition: memory is each one's own, all else is the first's, and the others say 0. A dead card
//! says zeros.

use super::{Dialect, Shown};
use crate::other::OtherModel;
use crate::page::Page;

const fn model(name: &'static str, gib: u64, limit_watts: u64, parts: usize) -> OtherModel {
    OtherModel {
        vendor: "amd",
        class: "gpu",
        name,
        memory_bytes: gib << 30,
        limit_watts,
        idle_watts: limit_watts / 6,
        says_power: true,
        cores: 8,
        parts,
        clock_mhz: 2_100,
        resource: "amd_com_gpu",
    }
}

pub(crate) const DIALECT: Dialect = Dialect {
    name: "amd",
    models: &[model("AMD Instinct MI300X", 192, 750, 8), model("AMD Instinct MI210", 64, 300, 0)],
    old_lacks_memory: false,
    write,
};

fn write(shown: &Shown<'_>) -> String {
    let newer = shown.node.is_newer;
    let mib = if newer { 1_048_576.0 } else { 1.0 };
    // What stands of a partition: labels, whether it is the first, and its used and whole bytes.
    let mut rows = Vec::new();
    let mut number = 0;
    for (card, r) in &shown.cards {
        let n = card.parts.len().max(1);
        for part in 0..n {
            let used = if card.parts.is_empty() { r.memory_used } else { card.part(r, part).1 };
            let total = if card.is_dead { 0 } else { card.model.memory_bytes / n as u64 };
            let pod = if card.parts.is_empty() { card.pod.as_ref() } else { card.parts[part].as_ref() };
            let (mode, memory) = if n > 1 { ("cpx", "nps4") } else { ("spx", "nps1") };
            let mut labels = vec![
                ("card_series", card.model.name.to_owned()),
                ("card_vendor", "Advanced Micro Devices Inc".to_owned()),
                ("driver_version", "6.14.14".to_owned()),
                ("gpu_compute_partition_type", mode.to_owned()),
                ("gpu_id", number.to_string()),
                ("gpu_memory_partition_type", memory.to_owned()),
                ("gpu_partition_id", part.to_string()),
                ("gpu_uuid", format!("{}-{part}", card.uuid)),
                ("hostname", shown.node.name.clone()),
                // By which a card is known.
                ("serial_number", card.uuid.clone()),
            ];
            let held = pod.map_or(["", "", ""], |pod| ["ml", pod, "main"]);
            labels.extend(["namespace", "pod", "container"].into_iter().zip(held).map(|(k, v)| (k, v.to_owned())));
            rows.push((*card, r, part == 0 && !card.is_dead, labels, [total as f64 / mib, used as f64 / mib]));
            number += 1;
        }
    }
    let mut page = Page::new();
    let prefix = if newer { "" } else { "amd_" };
    let mut each = |name: &str, value: &dyn Fn(usize) -> f64| {
        page.gauge(&format!("{prefix}{name}"));
        page.rows(rows.iter().enumerate().map(|(at, row)| (row.3.clone(), value(at))).collect());
    };
    let first = |at: usize, value: f64| if rows[at].2 { value } else { 0.0 };
    let is_mi3 = |at: usize| rows[at].0.model.name.contains("MI3");
    let of = |at: usize, wanted: bool, value: f64| if is_mi3(at) == wanted { first(at, value) } else { 0.0 };
    each("gpu_package_power", &|at| of(at, true, rows[at].1.milliwatts as f64 / 1e3));
    each("gpu_average_package_power", &|at| of(at, false, rows[at].1.milliwatts as f64 / 1e3));
    each("gpu_junction_temperature", &|at| of(at, true, rows[at].1.temperature as f64));
    each("gpu_edge_temperature", &|at| of(at, false, rows[at].1.temperature as f64));
    each("gpu_memory_temperature", &|at| first(at, rows[at].1.memory_temperature as f64));
    each("gpu_energy_consumed", &|at| first(at, rows[at].1.energy_millijoules as f64 * 1e3));
    each("gpu_gfx_activity", &|at| first(at, rows[at].1.utilization));
    each("gpu_total_vram", &|at| rows[at].4[0]);
    each("gpu_used_vram", &|at| rows[at].4[1]);
    each("gpu_ecc_uncorrect_total", &|at| first(at, 0.0));
    each("gpu_health", &|at| f64::from(u8::from(!rows[at].0.is_dead)));
    for kind in ["system", "memory"] {
        page.gauge(&format!("{prefix}gpu_clock"));
        for row in rows.iter().filter(|row| row.2) {
            let more = [
                ("clock_index", "0".to_owned()),
                ("clock_type", if newer { kind.to_owned() } else { format!("GPU_CLOCK_TYPE_{}", kind.to_uppercase()) }),
            ];
            page.rows(vec![([row.3.clone(), more.to_vec()].concat(), row.1.clock_mhz as f64)]);
        }
    }
    page.done()
}
