//! Gaudi's cards as the vendor's exporter writes them: milliwatts, on older nodes under the generic names that say watts and hertz. It
//! names no model. A dead card says zeros.

use super::{Dialect, Shown};
use crate::other::OtherModel;
use crate::page::Page;

const GAUDI: OtherModel = OtherModel {
    vendor: "intel",
    class: "npu",
    name: "",
    memory_bytes: 128 << 30,
    limit_watts: 850,
    idle_watts: 220,
    says_power: true,
    cores: 8,
    parts: 0,
    clock_mhz: 1_600,
    resource: "habana_ai_gaudi",
};

pub(crate) const DIALECT: Dialect = Dialect { name: "intel-gaudi", models: &[GAUDI], old_lacks_memory: false, write };

fn write(shown: &Shown<'_>) -> String {
    let names = match shown.node.is_newer {
        true => [
            "habanalabs_power_mW",
            "habanalabs_clock_soc_mhz",
            "habanalabs_temperature_onchip",
            "habanalabs_utilization",
            "habanalabs_memory_used_bytes",
            "habanalabs_memory_total_bytes",
        ],
        false => [
            "accelerator_power_usage_watts",
            "accelerator_sm_clock_hertz",
            "accelerator_temperature_celcius",
            "accelerator_gpu_utilization",
            "accelerator_memory_used_bytes",
            "accelerator_memory_total_bytes",
        ],
    };
    let mut page = Page::new();
    let labels = |at: usize| {
        let card = shown.cards[at].0;
        let held = card.pod.as_ref().map_or(["", ""], |pod| ["ml", pod]);
        let all = [
            ("Serial", card.serial.clone()),
            ("UUID", card.uuid.clone()),
            ("device", format!("accel{}", card.index)),
            ("id", card.index.to_string()),
            ("driver", "1.22.1-97ec1a4".to_owned()),
        ];
        [all.to_vec(), ["pod_namespace", "pod_name"].into_iter().zip(held).map(|(k, v)| (k, v.to_owned())).collect()].concat()
    };
    for (which, name) in names.iter().enumerate() {
        page.gauge(name);
        for (at, (card, r)) in shown.cards.iter().enumerate() {
            let alive = f64::from(u8::from(!card.is_dead));
            let values = [
                r.milliwatts as f64,
                r.clock_mhz as f64,
                r.temperature as f64,
                r.utilization,
                r.memory_used as f64,
                card.model.memory_bytes as f64,
            ];
            page.rows(vec![(labels(at), values[which] * alive)]);
        }
    }
    page.gauge("habanalabs_nic_port_status");
    for (at, (card, _)) in shown.cards.iter().enumerate() {
        let port = |port: u8| {
            (
                [labels(at), vec![("port", port.to_string()), ("port_type", "external".to_owned())]].concat(),
                f64::from(u8::from(!card.is_dead)),
            )
        };
        page.rows([8, 9].map(port).to_vec());
    }
    page.done()
}
