//! The demo fleet agrees with its truth: every plugin that is built reads its part of one simulated world, and each route's figures
//! are compared with what the simulator says of itself. A route that lands is a row of [`ROWS`] or [`LISTS`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kcloud_e2e::{Running, root, until};
use kcloud_fleet_sim::{BmcFault, Faults, Fleet, FleetConfig, Origins, Shape};
use kcloud_monitor::cli::{demo_clusters, fleet_settings};
use serde_json::Value;

/// What is read as it is, and summed.
const EXACT: f64 = 0.001;
/// What the host derives from two readings of a counter without stamps: the moments of asking blur it.
const RATE: f64 = 0.03;

/// Where a figure stands in an answer, where it stands in the truth, by how much they may differ. `*` in a pointer adds up over
/// a list, `#` at its end counts; a truth is multiplied by the factor.
type Row = (&'static [&'static str], &'static str, &'static str, &'static str, f64, f64);

const MIB: f64 = 1.0 / 1_048_576.0;
const KSM: &[&str] = &["kube-state-metrics"];
const CARDS: &[&str] = &["nvidia-dcgm"];
const NODES: &[&str] = &["node-exporter"];
const SERVERS: &[&str] = &["ipmi-exporter", "redfish", "kepler"];
const BMCS: &[&str] = &["ipmi-exporter", "redfish"];
const WORK: &[&str] = &["kube-state-metrics", "nvidia-dcgm", "kepler"];
const CLOUD: &[&str] = &["openstack"];

#[rustfmt::skip] // One row a figure.
const ROWS: &[Row] = &[
    (CARDS, "/api/v1/accelerators/gpus/summary", "/data/total_gpus", "/total_gpus", 1.0, 0.0),
    (CARDS, "/api/v1/accelerators/gpus/summary", "/data/total_power_watts", "/total_power_watts", 1.0, EXACT),
    (CARDS, "/api/v1/accelerators/gpus/summary", "/data/total_memory_used_mb", "/total_memory_used_mib", 1.0, 0.0),
    (CARDS, "/api/v1/accelerators/gpus/summary?cluster=cluster2", "/data/total_power_watts", "/clusters/1/accelerator_watts", 1.0, EXACT),
    (CARDS, "/api/v1/accelerators/summary", "/data/summary/total_gpus", "/total_gpus", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/nodes/summary", "/data/total_nodes", "/total/nodes", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/nodes/summary", "/data/ready_nodes", "/total/ready_nodes", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/nodes/summary", "/data/nodes_by_role/master", "/total/masters", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/nodes/summary?cluster=cluster2", "/data/total_nodes", "/clusters/1/nodes", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/nodes/summary", "/data/total_gpus", "/total/gpus", 1.0, 0.0),
    (SERVERS, "/api/v1/infrastructure/nodes/summary", "/data/total_power_watts", "/total/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/infrastructure/nodes/summary?cluster=cluster1", "/data/total_power_watts", "/clusters/0/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/infrastructure/nodes?limit=1000", "/data/*/current_power_watts", "/total/server_watts", 1.0, EXACT),
    (KSM, "/api/v1/infrastructure/nodes?role=master", "/metadata/total_count", "/total/masters", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/pods/summary", "/data/total_pods", "/total/pods", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/pods/summary", "/data/running_pods", "/total/running_pods", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/pods/summary", "/data/pending_pods", "/total/pending_pods", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/pods/summary", "/data/failed_pods", "/total/failed_pods", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/pods/summary?cluster=cluster2", "/data/total_pods", "/clusters/1/pods", 1.0, 0.0),
    (KSM, "/api/v1/infrastructure/pods?limit=1", "/metadata/total_count", "/total/pods", 1.0, 0.0),
    (WORK, "/api/v1/infrastructure/pods/summary", "/data/total_power_watts", "/total/pod_watts", 1.0, EXACT),
    (WORK, "/api/v1/infrastructure/pods/summary?cluster=cluster1&namespace=ml", "/data/total_power_watts", "/clusters/0/namespaces_watts/ml", 1.0, EXACT),
    (KSM, "/api/v1/infrastructure/containers?limit=1&include_terminated=true", "/metadata/total_count", "/total/containers", 1.0, 0.0),
    (CLOUD, "/api/v1/infrastructure/vms?limit=1000", "/metadata/total_count", "/total/vms", 1.0, 0.0),
    (CLOUD, "/api/v1/infrastructure/vms/summary", "/data/total_vms", "/total/vms", 1.0, 0.0),
    (CLOUD, "/api/v1/infrastructure/vms/summary", "/data/vms_by_status/active", "/total/active_vms", 1.0, 0.0),
    (CLOUD, "/api/v1/infrastructure/vms/summary", "/data/total_vcpus", "/total/vm_vcpus", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/summary", "/data/total_nodes", "/total/bmcs", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/summary", "/data/total_fans", "/total/fans", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/summary", "/data/failed_fans", "/total/failed_fans", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/power?limit=1000", "/data/*/total_power_watts", "/total/metered_watts", 1.0, EXACT),
    (BMCS, "/api/v1/hardware/ipmi/power?limit=1000", "/data/#", "/total/bmcs", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/fans?limit=1000", "/data/*/fan_count", "/total/fans", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/temperature?limit=1000", "/data/*/temperatures/#", "/total/temperatures", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/voltage?limit=1000", "/data/*/rails/#", "/total/voltages", 1.0, 0.0),
    (KSM, "/api/v1/clusters", "/data/#", "/clusters/#", 1.0, 0.0),
    (KSM, "/api/v1/clusters/cluster2", "/data/total_pods", "/clusters/1/pods", 1.0, 0.0),
    (KSM, "/api/v1/clusters/cluster1/summary", "/data/resources/active_pods", "/clusters/0/running_pods", 1.0, 0.0),
    (KSM, "/api/v1/clusters/cluster1/topology", "/data/summary/total_nodes", "/clusters/0/nodes", 1.0, 0.0),
    (KSM, "/api/v1/clusters/cluster1/topology", "/data/summary/master_nodes", "/clusters/0/masters", 1.0, 0.0),
];

/// A list, the keys of its rows and theirs in the truth, and each figure of a row.
struct List {
    path: &'static str,
    keys: &'static [(&'static str, &'static str)],
    truth: &'static str,
    figures: &'static [(&'static [&'static str], &'static str, &'static str, f64, f64)],
}

const NODE: &[(&str, &str)] = &[("cluster", "cluster"), ("node_name", "name")];

#[rustfmt::skip] // One row a figure.
const LISTS: &[List] = &[
    List { path: "/api/v1/accelerators/gpus?limit=1000&include_metrics=true", keys: &[("uuid", "uuid")], truth: "/cards", figures: &[
        (CARDS, "/metrics/power_usage_watts", "/power_watts", 1.0, 0.0),
        (CARDS, "/memory_total_mb", "/memory_total_mib", 1.0, 0.0),
        (CARDS, "/cluster", "/cluster", 1.0, 0.0),
        (CARDS, "/hostname", "/node", 1.0, 0.0),
    ] },
    List { path: "/api/v1/infrastructure/nodes?limit=1000&include_metrics=true", keys: NODE, truth: "/nodes", figures: &[
        (KSM, "/cpu_cores", "/cpu_cores", 1.0, 0.0),
        (KSM, "/memory_total_mb", "/memory_total_bytes", MIB, EXACT),
        (KSM, "/internal_ip", "/internal_ip", 1.0, 0.0),
        (SERVERS, "/current_power_watts", "/server_watts", 1.0, RATE),
        (SERVERS, "/power_source", "/method", 1.0, 0.0),
        (NODES, "/metrics/cpu_utilization_percent", "/cpu_utilization_percent", 1.0, RATE),
        (NODES, "/metrics/memory_used_mb", "/memory_used_bytes", MIB, EXACT),
        (NODES, "/metrics/disk_total_mb", "/filesystem_total_bytes", MIB, EXACT),
        (NODES, "/metrics/disk_used_mb", "/filesystem_used_bytes", MIB, EXACT),
        (NODES, "/metrics/network_rx_mbps", "/network_receive_bytes_per_second", 8e-6, RATE),
        (NODES, "/metrics/network_tx_mbps", "/network_transmit_bytes_per_second", 8e-6, RATE),
    ] },
    List { path: "/api/v1/infrastructure/pods?limit=1000&include_metrics=true", keys: &[("cluster", "cluster"), ("namespace", "namespace"), ("pod_name", "name")], truth: "/pods", figures: &[
        (KSM, "/phase", "/phase", 1.0, 0.0),
        (KSM, "/uid", "/uid", 1.0, 0.0),
        (KSM, "/node_name", "/node", 1.0, 0.0),
        (KSM, "/workload_type", "/workload_kind", 1.0, 0.0),
        (KSM, "/workload_name", "/workload_name", 1.0, 0.0),
        (KSM, "/restarts", "/restarts", 1.0, 0.0),
        (KSM, "/container_count", "/containers/#", 1.0, 0.0),
        (KSM, "/memory_request_mb", "/memory_request_bytes", MIB, EXACT),
        (&["kube-state-metrics", "cadvisor"], "/cpu_usage_millicores", "/cpu_millicores", 1.0, RATE),
        (WORK, "/current_power_watts", "/power_watts", 1.0, RATE),
    ] },
    List { path: "/api/v1/infrastructure/vms?limit=1000&include_metrics=true", keys: &[("vm_id", "uuid")], truth: "/vms", figures: &[
        (CLOUD, "/vm_name", "/name", 1.0, 0.0),
        (CLOUD, "/project_name", "/project", 1.0, 0.0),
        (CLOUD, "/hypervisor_hostname", "/hypervisor", 1.0, 0.0),
        (CLOUD, "/vcpus", "/vcpus", 1.0, 0.0),
        (CLOUD, "/memory_mb", "/memory_bytes", MIB, EXACT),
    ] },
    List { path: "/api/v1/hardware/ipmi/power?limit=1000", keys: NODE, truth: "/nodes", figures: &[
        (BMCS, "/total_power_watts", "/server_watts", 1.0, EXACT),
        (BMCS, "/supplies/#", "/bmc/supply_bays", 1.0, 0.0),
    ] },
    List { path: "/api/v1/hardware/ipmi/fans?limit=1000", keys: NODE, truth: "/nodes", figures: &[
        (BMCS, "/fan_count", "/bmc/fans/#", 1.0, 0.0),
    ] },
];

/// What a pointer leads to: `*` adds up, `#` counts.
fn at(value: &Value, pointer: &str) -> Value {
    if let Some((list, rest)) = pointer.split_once("/*") {
        let all = value.pointer(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        return all.iter().filter_map(|v| at(v, rest).as_f64()).sum::<f64>().into();
    }
    match pointer.strip_suffix("/#") {
        Some(list) => value.pointer(list).and_then(Value::as_array).map_or(Value::Null, |l| l.len().into()),
        None => value.pointer(pointer).cloned().unwrap_or(Value::Null),
    }
}

fn agree(said: &Value, truth: &Value, factor: f64, tolerance: f64) -> bool {
    match (said.as_f64(), truth.as_f64()) {
        // Whole units are as near as one can come.
        (Some(a), Some(b)) => {
            (a - b * factor).abs() <= (b * factor).abs() * tolerance + if factor == MIB || tolerance == RATE { 1.0 } else { 1e-6 }
        }
        // Nothing runs, so nobody says how much it uses.
        (None, Some(b)) => b == 0.0 && said.is_null(),
        _ => said == truth,
    }
}

struct Demo {
    fleet: Arc<Fleet>,
    running: Running,
    components: Vec<String>,
}

async fn demo(faults: Faults) -> Demo {
    let config = FleetConfig { seed: 1, nodes: 8, gpus_per_node: 8, tick: Duration::from_secs(1), faults };
    let fleet = Arc::new(Fleet::whole(config, Shape::demo()));
    fleet.hold(42);
    let origins = Origins::serve(&fleet).await.unwrap();
    let built = std::fs::read_dir(root().join("target/dist/plugins")).expect("run `cargo xtask components`");
    let name = |e: std::fs::DirEntry| e.path().file_stem().unwrap().to_str().unwrap().to_owned();
    let components: Vec<String> = built.map(|e| name(e.unwrap())).collect();
    let mut settings = fleet_settings(&fleet, &origins, &components);
    settings.retain(|s| s.enabled);
    let components: Vec<String> = settings.iter().map(|s| s.name.clone()).collect();
    let names: Vec<&str> = components.iter().map(String::as_str).collect();
    let clusters = demo_clusters(&fleet);
    let running = Running::start_with(&names, settings, |options| options.clusters = clusters).await;
    Demo { fleet, running, components }
}

impl Demo {
    fn truth(&self) -> Value {
        let mut truth = serde_json::to_value(self.fleet.truth(self.fleet.now())).unwrap();
        let metered = truth["nodes"].as_array().unwrap().iter().filter(|n| !n["bmc"].is_null()).filter_map(|n| n["server_watts"].as_f64());
        truth["total"]["metered_watts"] = metered.sum::<f64>().into();
        truth
    }

    fn is_built(&self, needs: &[&str]) -> bool {
        needs.iter().all(|n| self.components.iter().any(|c| c == n))
    }

    /// A figure whose plugins are not built is said, loudly, to be not compared.
    fn say_what_is_left_out(&self) {
        let figures = LISTS.iter().flat_map(|l| l.figures.iter().map(|f| (f.0, l.path, f.1)));
        for (needs, path, pointer) in ROWS.iter().map(|r| (r.0, r.1, r.2)).chain(figures).filter(|f| !self.is_built(f.0)) {
            eprintln!("NOT RUN: {path} {pointer} needs {needs:?}, of which `cargo xtask components` has built only {:?}", self.components);
        }
    }

    /// Which figures have not agreed yet. Each must agree once: what is derived from two readings is blurred by how busy this machine is.
    async fn wrong(&self, agreed: &mut BTreeSet<String>) -> Vec<String> {
        let truth = self.truth();
        let mut answers: BTreeMap<&str, (u16, Value)> = BTreeMap::new();
        let paths = ROWS.iter().map(|r| r.1).chain(LISTS.iter().map(|l| l.path));
        for path in paths {
            if !answers.contains_key(path) {
                answers.insert(path, self.running.get(path).await);
            }
        }
        let mut wrong = Vec::new();
        let mut check = |what: &str, said: Value, true_value: Value, factor: f64, tolerance: f64| {
            if agree(&said, &true_value, factor, tolerance) {
                agreed.insert(what.to_owned());
            } else if !agreed.contains(what) {
                wrong.push(format!("{what} says {said}, true is {true_value} x {factor}"));
            }
        };
        for (needs, path, pointer, true_pointer, factor, tolerance) in ROWS {
            let what = format!("{path} {pointer}");
            if self.is_built(needs) {
                check(&what, at(&answers[path].1, pointer), at(&truth, true_pointer), *factor, *tolerance);
            }
        }
        for list in LISTS {
            let answer = &answers[list.path].1;
            let rows = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
            let truths = truth.pointer(list.truth).and_then(Value::as_array).unwrap();
            for (needs, pointer, true_pointer, factor, tolerance) in list.figures {
                if !self.is_built(needs) {
                    continue;
                }
                for row in rows {
                    let same = |t: &&Value| list.keys.iter().all(|(key, truth)| row[*key] == t[*truth]);
                    let key: Vec<&Value> = list.keys.iter().map(|(key, _)| &row[*key]).collect();
                    let what = format!("{} {key:?} {pointer}", list.path);
                    match truths.iter().find(same) {
                        Some(t) => check(&what, at(row, pointer), at(t, true_pointer), *factor, *tolerance),
                        None => check(&what, "nothing in the truth has this key".into(), Value::Null, 1.0, 0.0),
                    }
                }
            }
        }
        wrong
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_fleet_agrees_with_its_truth() {
    let demo = demo(Faults { churn_every: None, ..Faults::demo() }).await;
    demo.say_what_is_left_out();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    let mut agreed = BTreeSet::new();
    loop {
        let wrong = demo.wrong(&mut agreed).await;
        if wrong.is_empty() {
            // Every pod, card and node of it, not an empty list of each.
            assert!(agreed.len() > 2_000, "only {} figures were compared", agreed.len());
            break;
        }
        if std::time::Instant::now() > deadline {
            for name in &demo.components {
                eprintln!("{name}: {:?}", demo.running.plugin(name).await);
            }
            let shown: Vec<&String> = wrong.iter().take(60).collect();
            panic!("{} figures do not agree: {shown:#?}", wrong.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_hangs_is_seen_and_disturbs_no_other() {
    let demo = demo(Faults::default()).await;
    if !demo.is_built(&["ipmi-exporter"]) {
        eprintln!("NOT RUN: ipmi-exporter is not built");
        return;
    }
    let watts = async |node: &str| {
        let (_, body) = demo.running.get(&format!("/api/v1/infrastructure/nodes/{node}?cluster=cluster1")).await;
        (body["data"]["current_power_watts"].as_f64(), body["data"]["power_source"].as_str().map(str::to_owned))
    };
    let said = |node: &str| demo.fleet.truth(42).nodes.iter().find(|n| n.cluster == "cluster1" && n.name == node).unwrap().server_watts;
    until("all servers have watts", async || {
        (watts("worker1").await.0 == Some(said("worker1")) && watts("worker2").await.0 == Some(said("worker2"))).then_some(())
    })
    .await;
    demo.fleet.set_bmc_fault("cluster1/worker1", Some(BmcFault::Hang));
    until("the hanging one's watts are no longer said to be measured", async || {
        (watts("worker1").await.1.as_deref() != Some("dcmi")).then_some(())
    })
    .await;
    assert_eq!(watts("worker2").await.0, Some(said("worker2")), "its neighbour is read as before");
    demo.fleet.set_bmc_fault("cluster1/worker1", None);
    until("it is back by itself", async || (watts("worker1").await.0 == Some(said("worker1"))).then_some(())).await;
}
