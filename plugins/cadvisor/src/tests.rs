use std::path::Path;

use kcloud_collector_sdk::bindings::kcloud::collector::types as t;
use kcloud_collector_sdk::exposition::Format;
use kcloud_collector_sdk::{GapReason, Label};

use super::*;

struct Read(t::Batch);

fn target(labels: &[(&str, &str)], address: &str) -> Target {
    Target {
        id: "t".into(),
        address: address.into(),
        cluster: "cluster1".into(),
        labels: labels.iter().map(|(k, v)| Label { key: (*k).into(), value: (*v).into() }).collect(),
        credential: None,
        config: "{}".into(),
    }
}

impl Read {
    fn new(text: &str) -> Self {
        Self::again(text, &target(&[("node", "worker1")], "https://10.0.0.11:10250/metrics/cadvisor"), &mut Ooms::new())
    }

    fn again(text: &str, target: &Target, ooms: &mut Ooms) -> Self {
        let mut rows = Cadvisor::new(target);
        let mut batch = Batch::new(definitions());
        for event in Parser::new(text, Format::Prometheus) {
            match event {
                Ok(Event::Sample(s)) => rows.row(s.name, &s.labels, s.value, s.timestamp_ms),
                Ok(_) => {}
                Err(bad) => bad_line(&mut batch, bad),
            }
        }
        rows.finish(&mut Writer::new(0), &mut batch, ooms).unwrap();
        Self(batch.finish())
    }

    fn subject(&self, kind: &str, name: &str) -> u32 {
        let of = |s: &t::Subject| s.kind == kind && s.identity.iter().any(|l| matches!(&*l.key, "name" | "node") && l.value == name);
        self.0.subjects.iter().position(of).unwrap_or_else(|| panic!("no {kind} {name}")) as u32
    }

    /// Value and stamp in ms.
    fn value(&self, kind: &str, name: &str, metric: &str) -> Option<(f64, Option<u64>)> {
        let subject = self.subject(kind, name);
        let is = |m: u32| definitions()[m as usize].name == metric;
        let plain = self.0.points.iter().filter(|p| p.subject == subject && is(p.metric)).map(|p| (p.value, None));
        let timed = self.0.timed_points.iter().filter(|p| p.subject == subject && is(p.metric));
        let all: Vec<_> = plain.chain(timed.map(|p| (p.value, Some(p.observed_at / 1_000_000)))).collect();
        assert!(all.len() < 2, "{metric} twice: {all:?}");
        all.first().copied()
    }

    fn gap(&self, kind: &str, name: &str, metric: &str) -> Option<GapReason> {
        let subject = self.subject(kind, name);
        self.0.gaps.iter().find(|g| g.subject == subject && definitions()[g.metric as usize].name == metric).map(|g| g.reason)
    }

    fn label(&self, kind: &str, name: &str, key: &str) -> Option<&str> {
        let s = &self.0.subjects[self.subject(kind, name) as usize];
        s.labels.iter().chain(&s.identity).find(|l| l.key == key).map(|l| l.value.as_str())
    }
}

const C1: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const C2: &str = "2222222222222222222222222222222222222222222222222222222222222222";

fn kubelet() -> String {
    let pod = r#"namespace="ml",pod="train-1""#;
    let cgroup = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice";
    let row = |name: &str, container: &str, id: &str, more: &str, value: &str, at: i64| {
        format!("{name}{{container=\"{container}\",id=\"{id}\",image=\"img:1\",name=\"{container}\",{pod}{more}}} {value} {at}\n")
    };
    let (one, two) = (format!("{cgroup}/cri-containerd-{C1}.scope"), format!("{cgroup}/cri-containerd-{C2}.scope"));
    let sandbox = format!("{cgroup}/cri-containerd-{}.scope", C1.replace('1', "3"));
    let at = 1_764_000_000_000;
    let cpu = "container_cpu_usage_seconds_total";
    let mut text = String::new();
    text += "container_cpu_usage_seconds_total{container=\"\",cpu=\"total\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"} 99999 1764000000000\n";
    text += &row(cpu, "", cgroup, ",cpu=\"total\"", "30", at);
    text += &row(cpu, "main", &one, ",cpu=\"total\"", "20", at + 1);
    text += &row(cpu, "sidecar", &two, ",cpu=\"total\"", "10", at + 2);
    text += &row("container_memory_usage_bytes", "", cgroup, "", "3000", at);
    text += &row("container_memory_usage_bytes", "main", &one, "", "2000", at);
    text += &row("container_memory_usage_bytes", "sidecar", &two, "", "900", at);
    text += &row("container_memory_working_set_bytes", "main", &one, "", "1500", at);
    text += &row("container_fs_usage_bytes", "main", &one, ",device=\"/dev/sda1\"", "10", at);
    text += &row("container_fs_usage_bytes", "main", &one, ",device=\"/dev/sdb1\"", "5", at);
    text += &row("container_network_receive_bytes_total", "", &sandbox, ",interface=\"eth0\"", "100", at);
    text += &row("container_network_receive_bytes_total", "", &sandbox, ",interface=\"net1\"", "11", at);
    text += &row("container_network_receive_bytes_total", "", &sandbox, ",interface=\"lo\"", "7777", at);
    text += &row("container_spec_memory_limit_bytes", "main", &one, "", "4096", at);
    text += &row("container_spec_memory_limit_bytes", "sidecar", &two, "", "0", at);
    text += &row("container_spec_cpu_quota", "main", &one, "", "50000", at);
    text += &row("container_spec_cpu_period", "main", &one, "", "100000", at);
    text += &row("container_start_time_seconds", "main", &one, "", "1764000000", at);
    text + "machine_memory_bytes{machine_id=\"m-1\",system_uuid=\"s-1\"} 8e9\n"
}

#[test]
fn a_pod_is_the_sum_of_its_containers_and_each_counts_once() {
    let read = Read::new(&kubelet());
    assert_eq!(read.value("pod", "train-1", "cpu_seconds_total"), Some((30.0, Some(1_764_000_000_002))));
    assert_eq!(read.value("pod", "train-1", "memory_used_bytes"), Some((2900.0, Some(1_764_000_000_000))), "not 5900");
    assert_eq!(read.value("container", "main", "cpu_seconds_total"), Some((20.0, Some(1_764_000_000_001))));
    assert_eq!(read.value("container", "main", "filesystem_used_bytes").map(|v| v.0), Some(15.0));
    assert_eq!(read.label("container", "main", "runtime_id"), Some(C1));
    assert_eq!(read.label("container", "main", "started_at"), Some("2025-11-24T16:00:00Z"));
    assert_eq!(read.0.subjects.iter().filter(|s| s.kind == "container").count(), 2);
    assert_eq!(read.value("node", "worker1", "memory_total_bytes").map(|v| v.0), Some(8e9));
    assert_eq!(read.label("node", "worker1", "machine_id"), Some("m-1"));
}

#[test]
fn a_pods_network_is_all_its_interfaces_but_the_loopback() {
    let read = Read::new(&kubelet());
    assert_eq!(read.value("pod", "train-1", "network_rx_bytes_total").map(|v| v.0), Some(111.0));
    assert_eq!(read.value("container", "main", "network_rx_bytes_total"), None);
}

#[test]
fn no_limit_is_no_number() {
    let read = Read::new(&kubelet());
    assert_eq!(read.value("container", "main", "memory_limit_bytes").map(|v| v.0), Some(4096.0));
    assert_eq!(read.value("container", "main", "cpu_limit_cores").map(|v| v.0), Some(0.5));
    assert_eq!(
        (read.value("container", "sidecar", "memory_limit_bytes"), read.gap("container", "sidecar", "memory_limit_bytes")),
        (None, Some(GapReason::Absent))
    );
    assert_eq!((read.label("container", "sidecar", "limit"), read.label("container", "main", "limit")), (Some("none"), None));
    let huge =
        Read::new("container_spec_memory_limit_bytes{container=\"c\",id=\"/x\",namespace=\"a\",pod=\"p\"} 9.223372036854771712e+18\n");
    assert_eq!(huge.gap("pod", "p", "memory_limit_bytes"), Some(GapReason::Absent));
}

#[test]
fn of_a_container_that_restarted_the_younger_counts() {
    let row = |name: &str, id: &str, value: f64| {
        format!("{name}{{container=\"c\",id=\"/kubepods/{id}\",namespace=\"a\",pod=\"p\"}} {value} 1764000000000\n")
    };
    let text = row("container_cpu_usage_seconds_total", C1, 500.0)
        + &row("container_cpu_usage_seconds_total", C2, 3.0)
        + &row("container_start_time_seconds", C1, 1e9)
        + &row("container_start_time_seconds", C2, 2e9);
    let read = Read::new(&text);
    assert_eq!(read.value("pod", "p", "cpu_seconds_total").map(|v| v.0), Some(3.0));
    assert_eq!(read.label("container", "c", "runtime_id"), Some(C2));
}

#[test]
fn the_pause_of_an_older_kubelet_is_the_pods_network_and_no_container() {
    let read = Read::new(
        "container_network_transmit_bytes_total{container_name=\"POD\",id=\"/k/1\",interface=\"eth0\",namespace=\"a\",pod_name=\"p\"} 5\n\
         container_memory_usage_bytes{container_name=\"POD\",id=\"/k/1\",namespace=\"a\",pod_name=\"p\"} 700\n",
    );
    assert_eq!(read.value("pod", "p", "network_tx_bytes_total"), Some((5.0, None)));
    assert_eq!(read.value("pod", "p", "memory_used_bytes"), None);
    assert!(read.0.subjects.iter().all(|s| s.kind != "container"));
}

#[test]
fn a_kill_for_want_of_memory_is_an_event_once() {
    let text = |n: u32| format!("container_oom_events_total{{container=\"c\",id=\"/k/{C1}\",namespace=\"a\",pod=\"p\"}} {n}\n");
    let (mut ooms, target) = (Ooms::new(), target(&[], "http://10.0.0.11:8080/metrics"));
    let counts: Vec<usize> = [1, 1, 2, 2].map(|n| Read::again(&text(n), &target, &mut ooms).0.events.len()).into();
    assert_eq!(counts, [0, 0, 1, 0], "what was counted before this host looked is no news");
}

#[test]
fn the_capture_of_a_stand_alone_cadvisor_is_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/cadvisor/prometheus_metrics.prom");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("NOT RUN: the capture is not here ({})", file.display());
        return;
    };
    let read = Read::again(&text, &target(&[], "http://10.0.0.11:8080/metrics"), &mut Ooms::new());
    assert!(read.0.problems.is_empty(), "{:?}", read.0.problems);
    let value = |metric| read.value("container", "testcontaineralias", metric);
    let (cpu, at) = value("cpu_seconds_total").unwrap();
    assert!((cpu - 14e-9).abs() < 1e-15, "four CPUs are added up: {cpu}");
    assert_eq!(at, Some(1_395_066_363_000));
    assert_eq!(value("memory_used_bytes").map(|v| v.0), Some(8.0));
    let container = &read.0.subjects[read.subject("container", "testcontaineralias") as usize];
    assert_eq!(container.parent, Some(read.subject("node", "10.0.0.11")), "of a machine that is only known by its address");
}
