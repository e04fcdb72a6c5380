use kcloud_collector_sdk::exposition::Format;
use kcloud_collector_sdk::{GapReason, Label};

use super::*;

struct Read(kcloud_collector_sdk::bindings::kcloud::collector::types::Batch);

impl Read {
    fn new(text: &str) -> Self {
        let label = Label { key: "node".into(), value: "worker1".into() };
        let target = Target {
            id: "t".into(),
            address: String::new(),
            cluster: "cluster1".into(),
            labels: vec![label],
            credential: None,
            config: "{}".into(),
        };
        let mapping = Mapping::new(ROWS);
        let mut batch = Batch::new(Dcgm::describe().metrics);
        let mut reader = Reader::new(&target, &mapping, 0, &mut batch);
        for event in Parser::new(text, Format::Prometheus) {
            match event {
                Ok(Event::Sample(s)) => reader.sample(s.name, &s.labels, s.value, s.timestamp_ms),
                Ok(_) => {}
                Err(bad) => reader.bad_line(bad),
            }
        }
        reader.finish().unwrap();
        Self(batch.finish())
    }

    fn values(&self, kind: &str, metric: &str) -> Vec<f64> {
        let name = |i: u32| match ROWS.get(i as usize) {
            Some(row) => row.metric.to_owned(),
            None => self.0.metrics[i as usize - ROWS.len()].name.clone(),
        };
        let of_kind = |s: u32| self.0.subjects[s as usize].kind == kind;
        self.0.points.iter().filter(|p| of_kind(p.subject) && name(p.metric) == metric).map(|p| p.value).collect()
    }

    fn label(&self, kind: &str, key: &str) -> Option<&str> {
        let subject = self.0.subjects.iter().find(|s| s.kind == kind)?;
        let all = subject.labels.iter().chain(&subject.identity);
        all.into_iter().find(|l| l.key == key).map(|l| l.value.as_str())
    }
}

const CARD: &str = r#"gpu="0",UUID="GPU-1",pci_bus_id="00000000:17:00.0",device="nvidia0",modelName="NVIDIA L40S",Hostname="node-a""#;

#[test]
fn old_and_new_names_are_one_reading_in_base_units() {
    let text = format!(
        "DCGM_FI_DEV_POWER_USAGE{{{CARD}}} 300.5\nDCGM_FI_DEV_BOARD_POWER_WATTS{{{CARD}}} 300.5\n\
         DCGM_FI_DEV_GPU_UTIL_RATIO{{{CARD}}} 87\nDCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{CARD}}} 5000\n\
         DCGM_FI_DEV_FB_USED{{{CARD}}} 10\nDCGM_FI_DEV_FB_FREE{{{CARD}}} 20\nDCGM_FI_DEV_FB_RESERVED{{{CARD}}} 2\n"
    );
    let read = Read::new(&text);
    assert_eq!(read.values("accelerator", "power_watts"), [300.5]);
    assert_eq!(read.values("accelerator", "utilization_ratio"), [0.87]);
    assert_eq!(read.values("accelerator", "energy_joules"), [5.0]);
    assert_eq!(read.values("accelerator", "memory_total_bytes"), [32.0 * 1_048_576.0]);
    assert_eq!(read.label("accelerator", "node"), Some("node-a"));
}

#[test]
fn instances_lie_under_their_card_and_the_cards_watts_count_once() {
    let mig = |id| format!("{CARD},GPU_I_PROFILE=\"1g.5gb\",GPU_I_ID=\"{id}\"");
    let mut text = String::new();
    for id in [7, 8] {
        let labels = mig(id);
        text += &format!(
            "DCGM_FI_DEV_POWER_USAGE{{{labels}}} 300\nDCGM_FI_PROF_GR_ENGINE_ACTIVE{{{labels}}} 0.{id}\nDCGM_FI_DEV_FB_USED{{{labels}}} {id}\n"
        );
    }
    let read = Read::new(&text);
    assert_eq!(read.values("accelerator", "power_watts"), [300.0]);
    assert_eq!(read.values("partition", "power_watts"), Vec::<f64>::new());
    let mut engine = read.values("partition", "utilization_ratio");
    engine.sort_by(f64::total_cmp);
    assert_eq!(engine, [0.7, 0.8]);
    assert_eq!(read.values("partition", "memory_used_bytes").len(), 2);
    assert_eq!(read.values("accelerator", "utilization_ratio"), Vec::<f64>::new(), "a MIG card has none of its own");
}

#[test]
fn a_blank_is_a_gap_and_a_bad_line_is_a_problem_with_its_number() {
    let text = format!(
        "DCGM_FI_DEV_MEMORY_TEMP{{{CARD}}} 9223372036854775794\nDCGM_FI_DEV_GPU_TEMP{{{CARD}}} ERROR - FAILED TO CONVERT TO STRING\nDCGM_FI_DEV_GPU_TEMP{{{CARD}}} 40\n"
    );
    let read = Read::new(&text);
    assert_eq!(read.0.gaps.len(), 1);
    assert_eq!(read.0.gaps[0].reason, GapReason::Unsupported);
    assert_eq!(read.0.problems[0].line, Some(2));
    assert_eq!(read.values("accelerator", "temperature_celsius"), [40.0]);
}

#[test]
fn the_workload_is_the_exported_one_behind_prometheus() {
    let text = format!(
        "DCGM_FI_DEV_GPU_TEMP{{{CARD},job=\"dcgm\",pod=\"dcgm-exporter-x\",exported_pod=\"train-1\",exported_namespace=\"ml\"}} 40\n"
    );
    let read = Read::new(&text);
    assert_eq!((read.label("accelerator", "pod"), read.label("accelerator", "namespace")), (Some("train-1"), Some("ml")));
    let idle = format!("DCGM_FI_DEV_GPU_TEMP{{{CARD},job=\"dcgm\",pod=\"dcgm-exporter-x\",namespace=\"gpu-operator\"}} 40\n");
    assert_eq!((Read::new(&idle).label("accelerator", "pod"), Read::new(&idle).label("accelerator", "namespace")), (None, None));
    assert_eq!(Read::new(&format!("DCGM_FI_DEV_GPU_TEMP{{{CARD},pod=\"train-2\"}} 40\n")).label("accelerator", "pod"), Some("train-2"));
}

#[test]
fn an_exporters_pod_is_no_node() {
    let text = "DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-1\",hostname=\"nvidia-dcgm-exporter-abcde\"} 40\n";
    assert_eq!(Read::new(text).label("accelerator", "node"), Some("worker1"));
}

#[test]
fn an_xid_is_an_event_and_a_link_a_part() {
    let text = format!(
        "DCGM_FI_DEV_XID_ERRORS{{{CARD},err_code=\"79\",err_msg=\"GPU has fallen off the bus\"}} 79\nDCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL{{nvlink=\"3\",gpu_uuid=\"GPU-1\"}} 12\n"
    );
    let read = Read::new(&text);
    assert_eq!((read.0.events[0].code.as_str(), read.0.events[0].message.as_str()), ("xid:79", "GPU has fallen off the bus"));
    assert_eq!(read.values("link", "nvlink_total"), [12.0]);
}
