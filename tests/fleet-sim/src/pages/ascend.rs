//! Huawei's cards as npu-exporter writes them: no word of the host, a stamp on each sample (older builds: seconds), "MB", health 1 is good.
//! A card that is split is one of vNPUs, whose memory is in "KB". Of a dead card most rows are the driver's "no value".

use super::{Dialect, Shown};
use crate::other::OtherModel;
use crate::page::{Page, Rows};

const fn model(name: &'static str, gib: u64, limit_watts: u64, parts: usize, resource: &'static str) -> OtherModel {
    OtherModel {
        vendor: "huawei",
        class: "npu",
        name,
        memory_bytes: gib << 30,
        limit_watts,
        idle_watts: limit_watts / 5,
        says_power: true,
        cores: 8,
        parts,
        clock_mhz: 1_800,
        resource,
    }
}

pub(crate) const DIALECT: Dialect = Dialect {
    name: "ascend",
    models: &[model("910B1", 64, 400, 0, "huawei_com_Ascend910"), model("310P3", 24, 72, 4, "huawei_com_Ascend310P")],
    old_lacks_memory: false,
    write,
};

fn write(shown: &Shown<'_>) -> String {
    let newer = shown.node.is_newer;
    let at = if newer { shown.moment.at_ms } else { shown.moment.at_ms / 1_000 };
    let mut page = Page::new().stamped(at);
    let labels = |at: usize| -> Vec<(&'static str, String)> {
        let card = shown.cards[at].0;
        let [id, model, vdie, pci, pod, container] = if newer {
            ["id", "model_name", "vdie_id", "pcie_bus_info", "pod_name", "container_name"]
        } else {
            ["npuID", "modelName", "uuid", "pcie", "podName", "containerName"]
        };
        let held = |text: &str| card.pod.as_ref().map_or(String::new(), |_| text.to_owned());
        vec![
            (id, card.index.to_string()),
            (model, card.model.name.to_owned()),
            (vdie, card.uuid.to_uppercase()),
            (pci, card.pci.clone()),
            ("namespace", held("ml")),
            (pod, card.pod.clone().unwrap_or_default()),
            (container, held("main")),
        ]
    };
    let mut family = |name: &str, value: &dyn Fn(usize) -> Option<f64>| {
        let rows = (0..shown.cards.len()).filter_map(|at| Some((labels(at), value(at)?))).collect();
        page.gauge(&format!("npu_chip_info_{name}")).rows(rows);
    };
    let card = |at: usize| shown.cards[at].0;
    let reading = |at: usize| &shown.cards[at].1;
    // What the driver says of a card that does not answer.
    let or_none = |at: usize, value: f64| Some(if card(at).is_dead { f64::from(u32::MAX) } else { value });
    family("power", &|at| or_none(at, reading(at).milliwatts as f64 / 1e3));
    family("temperature", &|at| or_none(at, reading(at).temperature as f64));
    family("utilization", &|at| or_none(at, reading(at).utilization));
    family("health_status", &|at| Some(f64::from(u8::from(!card(at).is_dead))));
    family("aicore_current_freq", &|at| or_none(at, reading(at).clock_mhz as f64));
    let has_hbm = |at: usize| card(at).model.name.starts_with("910");
    for (name, is_hbm) in [("hbm_", true), ("", false)] {
        // A chip without such memory says 0 of it.
        let of = |at: usize, bytes: u64| or_none(at, if has_hbm(at) == is_hbm { (bytes >> 20) as f64 } else { 0.0 });
        family(&format!("{name}total_memory"), &|at| of(at, card(at).model.memory_bytes));
        family(&format!("{name}used_memory"), &|at| of(at, reading(at).memory_used));
    }
    let mut vnpus: [Rows; 3] = Default::default();
    for (card, r) in &shown.cards {
        for (part, pod) in card.parts.iter().enumerate() {
            let (percent, used) = card.part(r, part);
            let total = card.model.memory_bytes / card.parts.len() as u64;
            let labels = vec![
                (if newer { "id" } else { "npuID" }, card.index.to_string()),
                ("v_dev_id", (100 + part).to_string()),
                ("aicore_count", "2".to_owned()),
                ("is_virtual", "true".to_owned()),
                ("namespace", pod.as_ref().map_or(String::new(), |_| "ml".to_owned())),
                (if newer { "pod_name" } else { "podName" }, pod.clone().unwrap_or_default()),
            ];
            for (rows, value) in vnpus.iter_mut().zip([percent, (total >> 10) as f64, (used >> 10) as f64]) {
                rows.push((labels.clone(), value));
            }
        }
    }
    for (name, rows) in ["aicore_utilization", "total_memory", "used_memory"].into_iter().zip(vnpus) {
        page.gauge(&format!("vnpu_pod_{name}")).rows(rows);
    }
    page.done()
}
