use std::path::Path;

use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::bindings::kcloud::collector::types as t;
use kcloud_collector_sdk::exposition::Format;
use kcloud_collector_sdk::promql::Series;
use kube_mapping::model::{CONTAINER_STATES, PHASES, READINESS};

use super::*;

struct Read(t::Batch);

impl Read {
    fn new(text: &str) -> Self {
        let mut state = State::new();
        let mut batch = Batch::new(definitions());
        for event in Parser::new(text, Format::Prometheus) {
            match event {
                Ok(Event::Sample(s)) => state.row(s.name, &s.labels, s.value, s.timestamp_ms),
                Ok(_) => {}
                Err(bad) => bad_line(&mut batch, bad),
            }
        }
        state.finish(&mut Writer::new(0), &mut batch).unwrap();
        Self(batch.finish())
    }

    fn metric(&self, index: u32) -> String {
        let described = definitions();
        match described.get(index as usize) {
            Some(def) => def.name.clone(),
            None => self.0.metrics[index as usize - described.len()].name.clone(),
        }
    }

    fn subject(&self, kind: &str, name: &str) -> u32 {
        let of = |s: &&t::Subject| s.kind == kind && s.identity.iter().any(|l| matches!(&*l.key, "name" | "node") && l.value == name);
        let found = self.0.subjects.iter().position(|s| of(&s));
        found.unwrap_or_else(|| panic!("no {kind} {name}")) as u32
    }

    fn value(&self, kind: &str, name: &str, metric: &str) -> Option<f64> {
        let subject = self.subject(kind, name);
        let all: Vec<f64> =
            self.0.points.iter().filter(|p| p.subject == subject && self.metric(p.metric) == metric).map(|p| p.value).collect();
        assert!(all.len() < 2, "{metric} twice");
        all.first().copied()
    }

    fn gap(&self, kind: &str, name: &str, metric: &str) -> Option<GapReason> {
        let subject = self.subject(kind, name);
        self.0.gaps.iter().find(|g| g.subject == subject && self.metric(g.metric) == metric).map(|g| g.reason)
    }

    fn state(&self, kind: &str, name: &str, metric: &str) -> Option<u32> {
        let subject = self.subject(kind, name);
        self.0.states.iter().find(|s| s.subject == subject && self.metric(s.metric) == metric).map(|s| s.state)
    }

    fn label(&self, kind: &str, name: &str, key: &str) -> Option<&str> {
        let subject = &self.0.subjects[self.subject(kind, name) as usize];
        let mut all = subject.labels.iter().chain(&subject.identity);
        all.find(|l| l.key == key).map(|l| l.value.as_str())
    }
}

const CLUSTER: &str = r#"
kube_node_info{node="worker1",kernel_version="6.1",os_image="Debian 12",container_runtime_version="containerd://1.7",kubelet_version="v1.32.1",internal_ip="10.0.0.11",system_uuid="u-1",pod_cidr="10.1.0.0/24",provider_id=""} 1
kube_node_labels{node="worker1",label_kubernetes_io_arch="amd64",label_node_role_kubernetes_io_control_plane="",label_nvidia_com_gpu_product="NVIDIA-L40S",label_team_a="x"} 1
kube_node_role{node="worker1",role="gpu"} 1
kube_node_spec_unschedulable{node="worker1"} 1
kube_node_status_condition{node="worker1",condition="Ready",status="true"} 0
kube_node_status_condition{node="worker1",condition="Ready",status="false"} 1
kube_node_status_condition{node="worker1",condition="Ready",status="unknown"} 0
kube_node_status_condition{node="worker1",condition="DiskPressure",status="true"} 1
kube_node_status_condition{node="worker1",condition="MemoryPressure",status="false"} 1
kube_node_status_capacity{node="worker1",resource="cpu",unit="core"} 64
kube_node_status_capacity{node="worker1",resource="memory",unit="byte"} 5.4e+11
kube_node_status_capacity{node="worker1",resource="pods",unit="integer"} 110
kube_node_status_capacity{node="worker1",resource="nvidia_com_gpu",unit="integer"} 6
kube_node_status_capacity{node="worker1",resource="nvidia_com_mig_1g_5gb",unit="integer"} 7
kube_node_status_capacity{node="worker1",resource="furiosa_ai_rngd",unit="integer"} 2
kube_node_status_capacity{node="worker1",resource="rebellions_ai_ATOM",unit="integer"} 3
kube_node_status_capacity{node="worker1",resource="hugepages_2Mi",unit="byte"} 0
kube_node_status_allocatable{node="worker1",resource="cpu",unit="core"} 63.5
kube_node_status_allocatable{node="worker1",resource="nvidia_com_gpu",unit="integer"} 5
kube_pod_info{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",node="worker1",host_ip="10.0.0.11",pod_ip="10.1.0.5",created_by_kind="ReplicaSet",created_by_name="train-7d4b9c6f5",host_network="false"} 1
kube_pod_owner{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",owner_kind="ReplicaSet",owner_name="train-7d4b9c6f5",owner_is_controller="true"} 1
kube_pod_labels{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",label_app="train",label_pod_template_hash="7d4b9c6f5",label_kueue_x_k8s_io_queue_name="team-a"} 1
kube_pod_created{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1"} 1.7640000e+09
kube_pod_status_phase{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",phase="Running"} 1
kube_pod_status_phase{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",phase="Pending"} 0
kube_pod_status_ready{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",condition="true"} 1
kube_pod_status_ready{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",condition="false"} 0
kube_pod_status_qos_class{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",qos_class="Burstable"} 1
kube_pod_container_info{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="main",image="img:1",image_id="sha256:1",container_id="containerd://c1"} 1
kube_pod_container_info{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="sidecar",image="img:2",container_id="containerd://c2"} 1
kube_pod_init_container_info{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="setup",image="img:3"} 1
kube_pod_init_container_status_restarts_total{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="setup"} 40
kube_pod_container_resource_requests{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="main",node="worker1",resource="cpu",unit="core"} 4
kube_pod_container_resource_requests{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="main",node="worker1",resource="nvidia_com_gpu",unit="integer"} 2
kube_pod_container_resource_requests{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="sidecar",node="worker1",resource="cpu",unit="core"} 0.5
kube_pod_container_resource_limits{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="main",node="worker1",resource="memory",unit="byte"} 1000
kube_pod_container_status_restarts_total{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="main"} 2
kube_pod_container_status_restarts_total{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="sidecar"} 1
kube_pod_container_status_running{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="main"} 1
kube_pod_container_status_waiting{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="sidecar"} 1
kube_pod_container_status_waiting_reason{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="sidecar",reason="CrashLoopBackOff"} 1
kube_pod_container_status_ready{namespace="ml",pod="train-7d4b9c6f5-x2x2x",uid="p-1",container="sidecar"} 0
"#;

const POD: &str = "train-7d4b9c6f5-x2x2x";

#[test]
fn a_node_has_its_state_its_roles_and_the_sum_of_its_accelerators() {
    let read = Read::new(CLUSTER);
    let value = |metric| read.value("node", "worker1", metric);
    assert_eq!(value("gpu_capacity_count"), Some(13.0), "six whole cards and seven slices");
    assert_eq!((value("gpu_allocatable_count"), value("npu_capacity_count")), (Some(5.0), Some(5.0)));
    assert_eq!(value("x_k8s_nvidia_com_mig_1g_5gb_capacity_count"), Some(7.0));
    assert_eq!((value("cpu_capacity_cores"), value("cpu_allocatable_cores")), (Some(64.0), Some(63.5)));
    assert_eq!((value("memory_total_bytes"), value("memory_allocatable_bytes")), (Some(5.4e11), None));
    assert_eq!(read.state("node", "worker1", "readiness"), Some(1));
    let label = |key| read.label("node", "worker1", key);
    assert_eq!((label("roles"), label("conditions")), (Some("control-plane,gpu"), Some("DiskPressure")));
    assert_eq!((label("unschedulable"), label("cpu_architecture")), (Some("true"), Some("amd64")));
    assert_eq!(label("label:nvidia.com/gpu.product"), Some("NVIDIA-L40S"), "a known key has its own spelling");
    assert_eq!(label("label:team_a"), Some("x"), "any other is as sanitised");
    assert_eq!(label("provider_id"), None);
}

#[test]
fn a_pod_is_the_sum_of_its_containers_without_those_that_set_it_up() {
    let read = Read::new(CLUSTER);
    let value = |metric| read.value("pod", POD, metric);
    assert_eq!((value("cpu_request_cores"), value("gpu_request_count")), (Some(4.5), Some(2.0)));
    assert_eq!((value("npu_request_count"), value("memory_limit_bytes")), (Some(0.0), Some(1000.0)));
    assert_eq!((value("cpu_limit_cores"), read.gap("pod", POD, "cpu_limit_cores")), (None, Some(GapReason::Absent)));
    assert_eq!(value("restarts_total"), Some(3.0));
    assert_eq!(read.state("pod", POD, "phase").map(|s| PHASES[s as usize]), Some("running"));
    assert_eq!(read.state("pod", POD, "readiness").map(|s| READINESS[s as usize]), Some("ready"));
    let label = |key| read.label("pod", POD, key);
    assert_eq!(
        (label("owner_kind"), label("workload_kind"), label("workload_name")),
        (Some("ReplicaSet"), Some("Deployment"), Some("train"))
    );
    assert_eq!((label("queue"), label("created_at"), label("uid")), (Some("team-a"), Some("2025-11-24T16:00:00Z"), Some("p-1")));
    let pod = &read.0.subjects[read.subject("pod", POD) as usize];
    assert_eq!(pod.parent, Some(read.subject("node", "worker1")));
}

#[test]
fn a_container_says_its_own() {
    let read = Read::new(CLUSTER);
    assert_eq!(read.state("container", "sidecar", "container_state").map(|s| CONTAINER_STATES[s as usize]), Some("waiting"));
    assert_eq!(read.label("container", "sidecar", "reason"), Some("CrashLoopBackOff"));
    assert_eq!(read.label("container", "main", "runtime_id"), Some("c1"));
    assert_eq!(read.label("container", "setup", "init"), Some("true"));
    assert_eq!((read.label("container", "main", "limit"), read.label("container", "sidecar", "limit")), (None, Some("none")));
    assert_eq!(read.value("container", "main", "gpu_request_count"), Some(2.0));
    assert_eq!(read.gap("container", "sidecar", "memory_request_bytes"), Some(GapReason::Absent));
}

#[test]
fn the_names_of_version_1_mean_the_same() {
    let read = Read::new(
        "kube_node_status_capacity_cpu_cores{node=\"worker1\"} 8\nkube_node_status_allocatable_memory_bytes{node=\"worker1\"} 1000\n\
         kube_pod_container_resource_requests_cpu_cores{namespace=\"a\",pod=\"p\",container=\"c\",node=\"worker1\"} 0.25\n\
         kube_pod_container_resource_requests{namespace=\"a\",pod=\"p\",container=\"c\",node=\"worker1\",resource=\"cpu\",unit=\"core\"} 0.25\n\
         kube_pod_container_resource_limits_memory_bytes{namespace=\"a\",pod=\"p\",container=\"c\",node=\"worker1\"} 64\n",
    );
    assert_eq!(
        (read.value("node", "worker1", "cpu_capacity_cores"), read.value("node", "worker1", "memory_allocatable_bytes")),
        (Some(8.0), Some(1000.0))
    );
    assert_eq!((read.value("pod", "p", "cpu_request_cores"), read.value("pod", "p", "memory_limit_bytes")), (Some(0.25), Some(64.0)));
}

#[test]
fn what_an_allow_list_leaves_out_is_not_said_to_be_nothing() {
    let read = Read::new(
        "kube_pod_info{namespace=\"a\",pod=\"p\",uid=\"1\",node=\"\",created_by_kind=\"<none>\",created_by_name=\"<none>\"} 1\n\
        kube_pod_container_info{namespace=\"a\",pod=\"p\",uid=\"1\",container=\"c\",image=\"i\"} 1\n",
    );
    assert_eq!((read.value("pod", "p", "gpu_request_count"), read.gap("pod", "p", "cpu_request_cores")), (None, None));
    assert_eq!((read.label("pod", "p", "owner_kind"), read.0.subjects[read.subject("pod", "p") as usize].parent), (None, None));
}

#[test]
fn owners_of_owners_are_known_from_their_rows() {
    let read = Read::new(
        "kube_pod_owner{namespace=\"a\",pod=\"p\",owner_kind=\"Job\",owner_name=\"backup-1\",owner_is_controller=\"true\"} 1\n\
         kube_job_owner{namespace=\"a\",job_name=\"backup-1\",owner_kind=\"CronJob\",owner_name=\"backup\",owner_is_controller=\"true\"} 1\n",
    );
    assert_eq!((read.label("pod", "p", "owner_name"), read.label("pod", "p", "workload_kind")), (Some("backup-1"), Some("CronJob")));
}

#[test]
fn behind_prometheus_the_exported_names_count_and_the_scrape_stamps() {
    let rows: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"kube_pod_status_phase","namespace":"monitoring","pod":"kube-state-metrics-0","exported_namespace":"ml",
            "exported_pod":"train-1","phase":"Failed","job":"ksm","instance":"10.1.0.9:8080"},"value":[1764000010.5,"1"]}]"#,
    )
    .unwrap();
    let scraped = [(("ksm".to_owned(), "10.1.0.9:8080".to_owned()), 1_764_000_003_000i64)].into_iter().collect();
    let mut state = State::new();
    for series in &rows {
        for (_, value) in series.samples() {
            state.row(series.name(), &series.labels, value.unwrap(), kube_mapping::scraped_at(series, &scraped));
        }
    }
    let mut batch = Batch::new(definitions());
    state.finish(&mut Writer::new(0), &mut batch).unwrap();
    let read = Read(batch.finish());
    assert_eq!(read.state("pod", "train-1", "phase").map(|s| PHASES[s as usize]), Some("failed"));
    assert_eq!(read.0.subjects[0].observed_at, Some(1_764_000_003_000_000_000));
}

#[test]
fn the_capture_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/kube-state-metrics");
    if !root.is_dir() {
        eprintln!("NOT RUN: the captures are not here ({})", root.display());
        return;
    }
    let text = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let read = Read::new(&text("node-expected.prom"));
    assert!(read.0.problems.is_empty(), "{:?}", read.0.problems);
    let value = |metric| read.value("node", "127.0.0.1", metric);
    assert_eq!(
        (value("gpu_capacity_count"), value("gpu_allocatable_count"), value("npu_capacity_count")),
        (Some(4.0), Some(1.0), Some(0.0))
    );
    assert_eq!((value("cpu_capacity_cores"), value("pod_capacity_count")), (Some(4.3), Some(1000.0)));
    assert_eq!(read.label("node", "127.0.0.1", "internal_ip"), Some("1.2.3.4"));
    assert_eq!(read.label("node", "127.0.0.1", "roles"), Some("master"));
    let ready = |node| read.state("node", node, "readiness").map(|s| READINESS[s as usize]);
    assert_eq!((ready("127.0.0.1"), ready("127.0.0.2"), ready("127.0.0.3")), (Some("ready"), Some("unknown"), Some("not_ready")));
    assert_eq!(read.label("node", "127.0.0.1", "conditions"), Some("CustomizedType,NetworkUnavailable"));
    let read = Read::new(&text("namespace-expected.prom"));
    assert_eq!(read.label("x_namespace", "nsTerminateTest", "phase"), Some("terminating"));
    assert_eq!(read.label("x_namespace", "ns1", "created_at"), Some("2017-07-14T02:40:00Z"));
}

#[test]
fn another_exporters_answer_is_refused() {
    let mut batch = Batch::new(definitions());
    let mut state = State::new();
    state.row("node_load1", &std::collections::BTreeMap::new(), 1.0, None);
    assert!(matches!(state.finish(&mut Writer::new(0), &mut batch), Err(CollectError::Unsupported(_))));
}
