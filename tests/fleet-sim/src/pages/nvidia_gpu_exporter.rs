//! NVIDIA's cards as nvidia_gpu_exporter writes them: the UUID without `GPU-`, no host. Of a card that fell off the bus its info alone.

use super::{Dialect, Shown};
use crate::other::OtherModel;
use crate::page::Page;

const A10: OtherModel = OtherModel {
    vendor: "nvidia",
    class: "gpu",
    name: "NVIDIA A10",
    memory_bytes: 24 << 30,
    limit_watts: 150,
    idle_watts: 20,
    says_power: true,
    cores: 1,
    parts: 0,
    clock_mhz: 1_695,
    resource: "nvidia_com_gpu",
};

pub(crate) const DIALECT: Dialect = Dialect { name: "nvidia-gpu-exporter", models: &[A10], old_lacks_memory: false, write };

fn write(shown: &Shown<'_>) -> String {
    let mut page = Page::new();
    page.gauge("nvidia_smi_command_exit_code").row(&[], 0.0);
    page.gauge("nvidia_smi_gpu_info");
    for (card, _) in &shown.cards {
        let index = card.index.to_string();
        page.row(
            &[
                ("driver_version", "590.48.01"),
                ("index", &index),
                ("name", card.model.name),
                ("pci_bus_id", &format!("0000{}", card.pci)),
                ("serial", "[N/A]"),
                ("uuid", &card.uuid),
            ],
            1.0,
        );
    }
    let clock = if shown.node.is_newer { "clocks_current_sm_clock_hz" } else { "clocks_sm_hz" };
    for (which, name) in ["power_draw_watts", "utilization_gpu_ratio", "memory_used_bytes", "memory_total_bytes", "temperature_gpu", clock]
        .iter()
        .enumerate()
    {
        page.gauge(&format!("nvidia_smi_{name}"));
        for (card, r) in shown.cards.iter().filter(|(card, _)| !card.is_dead) {
            let values = [
                r.milliwatts as f64 / 1e3,
                r.utilization / 100.0,
                r.memory_used as f64,
                card.model.memory_bytes as f64,
                r.temperature as f64,
                r.clock_mhz as f64 * 1e6,
            ];
            page.row(&[("uuid", &card.uuid)], values[which]);
        }
    }
    page.done()
}
