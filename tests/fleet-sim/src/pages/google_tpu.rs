//! TPUs as GKE's device plugin writes them: names without a prefix, a row with the pod that holds a card and one of the node's. It says
//! no watts, and of a dead card no memory.

use super::{Dialect, Shown};
use crate::other::OtherModel;
use crate::page::Page;

const TPU: OtherModel = OtherModel {
    vendor: "google",
    class: "tpu",
    name: "tpu-v6e-slice",
    memory_bytes: 32 << 30,
    limit_watts: 250,
    idle_watts: 60,
    says_power: false,
    cores: 1,
    parts: 0,
    clock_mhz: 1_000,
    resource: "google_com_tpu",
};

pub(crate) const DIALECT: Dialect = Dialect { name: "google-tpu", models: &[TPU], old_lacks_memory: false, write };

fn write(shown: &Shown<'_>) -> String {
    let instance: u64 = shown.node.name.bytes().fold(0, |h, b| crate::mix(&[h, u64::from(b)]));
    let mut page = Page::new();
    for (which, name) in ["duty_cycle", "memory_used", "memory_total", "tensorcore_utilization"].iter().enumerate() {
        for suffix in ["", "_node"] {
            page.gauge(&format!("{name}{suffix}"));
            for (card, r) in &shown.cards {
                let alive = f64::from(u8::from(!card.is_dead));
                let value = [r.utilization, r.memory_used as f64, card.model.memory_bytes as f64, r.utilization / 2.0][which] * alive;
                let mut labels = vec![
                    ("accelerator_id", format!("{instance}-{}", card.index)),
                    ("make", "cloud-tpu".to_owned()),
                    ("model", card.model.name.to_owned()),
                    ("tpu_topology", "2x4".to_owned()),
                ];
                match (suffix, &card.pod) {
                    ("", Some(pod)) => {
                        labels.extend([("container", "main".to_owned()), ("namespace", "ml".to_owned()), ("pod", pod.clone())])
                    }
                    ("", None) => continue,
                    _ => {}
                }
                page.rows(vec![(labels, value)]);
            }
        }
    }
    page.done()
}
