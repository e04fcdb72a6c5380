//! The demo fleet agrees with its truth: every plugin that is built reads its part of one simulated world, and each route's figures
//! are compared with what the simulator says of itself. A route that lands is a row of [`ROWS`] or [`LISTS`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kcloud_e2e::{Running, root, until};
use kcloud_fleet_sim::{BmcFault, Faults, Fleet, FleetConfig, Origins, Shape};
use kcloud_monitor::cli::{demo_clusters, demo_facilities, fleet_settings};
use serde_json::{Value, json};

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
const DOMAINS: &[&str] = &["openstack", "libvirt"];
const CLOUD: &[&str] = &["openstack"];
const VMS: &[&str] = &["openstack", "kepler"];

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
    (BMCS, "/api/v1/hardware/ipmi/summary", "/data/total_nodes", "/total/machines", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/summary", "/data/total_fans", "/total/fans", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/summary", "/data/failed_fans", "/total/failed_fans", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/power?limit=1000", "/data/*/total_power_watts", "/total/metered_watts", 1.0, EXACT),
    (BMCS, "/api/v1/hardware/ipmi/power?limit=1000", "/data/#", "/total/machines", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/fans?limit=1000", "/data/*/fan_count", "/total/fans", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/temperature?limit=1000", "/data/*/temperatures/#", "/total/temperatures", 1.0, 0.0),
    (BMCS, "/api/v1/hardware/ipmi/voltage?limit=1000", "/data/*/rails/#", "/total/voltages", 1.0, 0.0),
    (KSM, "/api/v1/clusters", "/data/#", "/clusters/#", 1.0, 0.0),
    (KSM, "/api/v1/clusters/cluster2", "/data/total_pods", "/clusters/1/pods", 1.0, 0.0),
    (KSM, "/api/v1/clusters/cluster1/summary", "/data/resources/active_pods", "/clusters/0/running_pods", 1.0, 0.0),
    (KSM, "/api/v1/clusters/cluster1/topology", "/data/summary/total_nodes", "/clusters/0/nodes", 1.0, 0.0),
    (KSM, "/api/v1/clusters/cluster1/topology", "/data/summary/master_nodes", "/clusters/0/masters", 1.0, 0.0),
    (SERVERS, "/api/v1/clusters/cluster1/power", "/data/total_power_watts", "/clusters/0/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/clusters/cluster2/power?breakdown_by=workload", "/data/breakdown/*/power_watts", "/clusters/1/server_watts", 1.0, EXACT),
    (KSM, "/api/v1/clusters/cluster2/power?breakdown_by=workload", "/data/pod_count", "/clusters/1/pods", 1.0, 0.0),
    (SERVERS, "/api/v1/monitoring/power", "/data/total_power_watts", "/total/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/monitoring/power", "/data/coverage/servers", "/total/nodes", 1.0, 0.0),
    (SERVERS, "/api/v1/monitoring/power", "/data/coverage/servers_known", "/total/nodes", 1.0, 0.0),
    (BMCS, "/api/v1/monitoring/power", "/data/breakdown/hardware/ipmi_measured", "/total/metered_watts", 1.0, EXACT),
    (CARDS, "/api/v1/monitoring/power", "/data/breakdown/accelerators/gpus", "/total_power_watts", 1.0, EXACT),
    (WORK, "/api/v1/monitoring/power", "/data/breakdown/infrastructure/pods", "/total/pod_watts", 1.0, EXACT),
    (VMS, "/api/v1/monitoring/power", "/data/breakdown/infrastructure/vms", "/total/vm_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/monitoring/power?cluster=cluster2", "/data/total_power_watts", "/clusters/1/server_watts", 1.0, EXACT),
    (CARDS, "/api/v1/monitoring/power/accelerators", "/data/breakdown/gpus/power_watts", "/total_power_watts", 1.0, EXACT),
    (CARDS, "/api/v1/monitoring/power/accelerators", "/data/breakdown/gpus/count", "/total_gpus", 1.0, 0.0),
    (SERVERS, "/api/v1/monitoring/power/infrastructure?limit=1000", "/data/breakdown/nodes/power_watts", "/total/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/monitoring/power/infrastructure?limit=1000", "/data/servers/#", "/total/nodes", 1.0, 0.0),
    (SERVERS, "/api/v1/monitoring/power/breakdown", "/data/breakdowns/*/power_watts", "/total/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/monitoring/power/breakdown?breakdown_by=node", "/data/breakdowns/*/power_watts", "/total/server_watts", 1.0, EXACT),
    (WORK, "/api/v1/monitoring/power/breakdown?breakdown_by=namespace", "/data/breakdowns/*/power_watts", "/total/server_watts", 1.0, EXACT),
    (WORK, "/api/v1/monitoring/power/breakdown?breakdown_by=namespace", "/data/breakdowns/*/percentage", "/hundred", 1.0, 0.0),
    (WORK, "/api/v1/monitoring/power/breakdown?breakdown_by=workload", "/data/breakdowns/*/percentage", "/hundred", 1.0, 0.0),
    (CARDS, "/api/v1/monitoring/power/breakdown?breakdown_by=vendor", "/data/breakdowns/*/power_watts", "/total/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/monitoring/power/breakdown?breakdown_by=resource_type", "/data/breakdowns/*/power_watts", "/total/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/monitoring/power/efficiency", "/data/it_power_watts", "/total/server_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/monitoring/power/efficiency", "/data/total_facility_power_watts", "/facility/power_watts", 1.0, EXACT),
    (SERVERS, "/api/v1/monitoring/power/efficiency", "/data/pue", "/facility/pue", 1.0, EXACT),
];

/// A list, the keys of its rows and theirs in the truth, and each figure of a row.
struct List {
    path: &'static str,
    /// Where its rows stand.
    rows: &'static str,
    keys: &'static [(&'static str, &'static str)],
    truth: &'static str,
    figures: &'static [(&'static [&'static str], &'static str, &'static str, f64, f64)],
}

const NODE: &[(&str, &str)] = &[("cluster", "cluster"), ("node_name", "name")];

#[rustfmt::skip] // One row a figure.
const LISTS: &[List] = &[
    List { path: "/api/v1/accelerators/gpus?limit=1000&include_metrics=true", rows: "/data", keys: &[("uuid", "uuid")], truth: "/cards", figures: &[
        (CARDS, "/metrics/power_usage_watts", "/power_watts", 1.0, 0.0),
        (CARDS, "/memory_total_mb", "/memory_total_mib", 1.0, 0.0),
        (CARDS, "/cluster", "/cluster", 1.0, 0.0),
        (CARDS, "/hostname", "/node", 1.0, 0.0),
    ] },
    List { path: "/api/v1/infrastructure/nodes?limit=1000&include_metrics=true", rows: "/data", keys: NODE, truth: "/nodes", figures: &[
        (KSM, "/cpu_cores", "/cpu_cores", 1.0, 0.0),
        (KSM, "/memory_total_mb", "/memory_total_bytes", MIB, EXACT),
        (KSM, "/internal_ip", "/internal_ip", 1.0, 0.0),
        (SERVERS, "/current_power_watts", "/server_watts", 1.0, EXACT),
        (SERVERS, "/power_source", "/method", 1.0, 0.0),
        (NODES, "/metrics/cpu_utilization_percent", "/cpu_utilization_percent", 1.0, RATE),
        (NODES, "/metrics/memory_used_mb", "/memory_used_bytes", MIB, EXACT),
        (NODES, "/metrics/disk_total_mb", "/filesystem_total_bytes", MIB, EXACT),
        (NODES, "/metrics/disk_used_mb", "/filesystem_used_bytes", MIB, EXACT),
        (NODES, "/metrics/network_rx_mbps", "/network_receive_bytes_per_second", 8e-6, RATE),
        (NODES, "/metrics/network_tx_mbps", "/network_transmit_bytes_per_second", 8e-6, RATE),
    ] },
    List { path: "/api/v1/infrastructure/pods?limit=1000&include_metrics=true", rows: "/data", keys: &[("cluster", "cluster"), ("namespace", "namespace"), ("pod_name", "name")], truth: "/pods", figures: &[
        (KSM, "/phase", "/phase", 1.0, 0.0),
        (KSM, "/uid", "/uid", 1.0, 0.0),
        (KSM, "/node_name", "/node", 1.0, 0.0),
        (KSM, "/workload_type", "/workload_kind", 1.0, 0.0),
        (KSM, "/workload_name", "/workload_name", 1.0, 0.0),
        (KSM, "/restarts", "/restarts", 1.0, 0.0),
        (KSM, "/container_count", "/containers/#", 1.0, 0.0),
        (KSM, "/memory_request_mb", "/memory_request_bytes", MIB, EXACT),
        (&["kube-state-metrics", "cadvisor"], "/cpu_usage_millicores", "/cpu_millicores", 1.0, RATE),
        (WORK, "/current_power_watts", "/power_watts", 1.0, EXACT),
    ] },
    List { path: "/api/v1/infrastructure/vms?limit=1000&include_metrics=true", rows: "/data", keys: &[("vm_id", "uuid")], truth: "/vms", figures: &[
        (CLOUD, "/vm_name", "/name", 1.0, 0.0),
        (CLOUD, "/project_name", "/project", 1.0, 0.0),
        (CLOUD, "/hypervisor_hostname", "/hypervisor", 1.0, 0.0),
        (CLOUD, "/vcpus", "/vcpus", 1.0, 0.0),
        (CLOUD, "/memory_mb", "/memory_bytes", MIB, EXACT),
        (DOMAINS, "/status", "/status", 1.0, 0.0),
        (VMS, "/current_power_watts", "/power_watts", 1.0, EXACT),
    ] },
    List { path: "/api/v1/hardware/ipmi/power?limit=1000", rows: "/data", keys: NODE, truth: "/nodes", figures: &[
        (BMCS, "/total_power_watts", "/server_watts", 1.0, EXACT),
        (BMCS, "/supplies/#", "/bmc/supply_bays", 1.0, 0.0),
    ] },
    List { path: "/api/v1/hardware/ipmi/fans?limit=1000", rows: "/data", keys: NODE, truth: "/nodes", figures: &[
        (BMCS, "/fan_count", "/bmc/fans/#", 1.0, 0.0),
    ] },
    List { path: "/api/v1/monitoring/power/breakdown", rows: "/data/breakdowns", keys: &[("category", "name")], truth: "/clusters", figures: &[
        (SERVERS, "/power_watts", "/server_watts", 1.0, EXACT),
    ] },
    List { path: "/api/v1/monitoring/power/breakdown?breakdown_by=node", rows: "/data/breakdowns", keys: &[("cluster", "cluster"), ("category", "name")], truth: "/nodes", figures: &[
        (SERVERS, "/power_watts", "/server_watts", 1.0, EXACT),
    ] },
    List { path: "/api/v1/monitoring/power/breakdown?breakdown_by=namespace", rows: "/data/breakdowns", keys: &[("cluster", "cluster"), ("category", "name")], truth: "/namespaces", figures: &[
        (WORK, "/power_watts", "/power_watts", 1.0, EXACT),
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
    // MiB are whole; what is near nothing is blurred as much as what is not.
    let slack = match tolerance {
        _ if factor == MIB => 1.0,
        RATE => 0.5,
        _ => 1e-6,
    };
    match (said.as_f64(), truth.as_f64()) {
        (Some(a), Some(b)) => (a - b * factor).abs() <= (b * factor).abs() * tolerance + slack,
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
    let config = FleetConfig { seed: 1, nodes: 8, gpus_per_node: 8, tick: Duration::from_secs(1), faults, others: Vec::new() };
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
    running.set_facilities(demo_facilities(&fleet));
    Demo { fleet, running, components }
}

impl Demo {
    fn truth(&self) -> Value {
        let mut truth = serde_json::to_value(self.fleet.truth(self.fleet.now())).unwrap();
        let metered = truth["nodes"].as_array().unwrap().iter().filter(|n| !n["bmc"].is_null()).filter_map(|n| n["server_watts"].as_f64());
        truth["total"]["metered_watts"] = metered.sum::<f64>().into();
        // The meter at the door is a machine with a Redfish service, too.
        truth["total"]["machines"] = (truth["total"]["bmcs"].as_u64().unwrap() + 1).into();
        truth["hundred"] = 100.into();
        for vm in truth["vms"].as_array_mut().unwrap() {
            vm["status"] = if vm["is_active"] == true { "active" } else { "shutoff" }.into();
        }
        let of = |c: &Value| -> Vec<Value> {
            let all = c["namespaces_watts"].as_object().unwrap();
            all.iter().map(|(name, watts)| json!({ "cluster": c["name"], "name": name, "power_watts": watts })).collect()
        };
        truth["namespaces"] = truth["clusters"].as_array().unwrap().iter().flat_map(of).collect();
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
            // What is left when all that the truth tells is said.
            let is_rest = |row: &&Value| ["unattributed", "vms"].iter().any(|c| row["category"] == *c) || row["node_name"] == "127.0.0.1";
            let rows = answer.pointer(list.rows).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let rows: Vec<&Value> = rows.iter().filter(|row| !is_rest(row)).collect();
            let truths = truth.pointer(list.truth).and_then(Value::as_array).unwrap();
            for (needs, pointer, true_pointer, factor, tolerance) in list.figures {
                if !self.is_built(needs) {
                    continue;
                }
                for row in &rows {
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

/// Whether an answer says anything: a list has rows, an object has something in it.
fn says_something(body: &Value) -> bool {
    let data = if body["data"].is_null() { body } else { &body["data"] };
    match data {
        Value::Array(rows) => !rows.is_empty(),
        Value::Object(fields) => fields.values().any(|v| !v.is_null()),
        other => !other.is_null(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_route_answers_with_data_of_the_demo_fleet() {
    let demo = demo(Faults { churn_every: None, ..Faults::demo() }).await;
    let truth = demo.fleet.truth(42);
    let pod = truth.pods.iter().find(|p| p.gpus > 0 && p.cluster == "cluster1").unwrap();
    let (pod, vm, card) = (format!("{}/{}", pod.namespace, pod.name), &truth.vms[0].uuid, &truth.cards[0].uuid);
    let (_, document) = demo.running.get("/openapi.json").await;
    let get = |(path, operations): (&String, &Value)| operations.get("get").map(|_| path.clone());
    let paths: Vec<String> = document["paths"].as_object().unwrap().iter().filter_map(get).collect();
    // No source of NPUs is simulated here (`vendors.rs`, `accelerators.rs`), the card that is asked for has no parts and nothing happened to it; keys are an administrator's and there are none; nothing is wrong and no job was ordered. What does
    // not end is read in `stream.rs`.
    let without = |path: &str| {
        let is_stream = ["/stream/power", "/stream/metrics", "/events/power", "/system/events"].iter().any(|end| path.ends_with(end));
        let is_below = ["/cores", "/processes", "/partitions", "/events"].iter().any(|end| path.ends_with(end)) && path.contains("/gpus/");
        is_stream
            || is_below
            || path.contains("/npus")
            || path == "/api/v1/auth/keys"
            || path.contains("/monitoring/alerts")
            || path.contains("/export/jobs")
    };
    let concrete = |path: &str| {
        let of_cluster = path.contains("/nodes/{name}") || path.contains("/sensors/{node}");
        let path = match path {
            p if p.contains("/gpus/{id}") => p.replace("{id}", card),
            p if p.contains("/nodes/{name}") => p.replace("{name}", "worker1"),
            p if p.contains("/containers/{id}") => p.replace("{id}", &format!("{pod}/main").replace('/', "%2F")),
            p if p.contains("/containers/{namespace}") => p.replace("{namespace}/{pod}/{name}", &format!("{pod}/main")),
            p if p.contains("/pods/{namespace}") => p.replace("{namespace}/{name}", &pod),
            p if p.contains("/vms/{id}") => p.replace("{id}", vm),
            p => p
                .replace("{node}", "worker1")
                .replace("/plugins/{name}", "/plugins/redfish")
                .replace("/clusters/{name}", "/clusters/cluster2"),
        };
        match path.as_str() {
            "/api/v1/monitoring/timeseries/metrics" => path + "?metric_name=utilization&resource_type=gpus",
            _ if of_cluster => path + "?cluster=cluster1",
            _ => path,
        }
    };
    let mut left: Vec<String> = paths.iter().filter(|p| !without(p)).map(|p| concrete(p)).collect();
    paths.iter().filter(|p| without(p)).for_each(|p| eprintln!("NOT RUN: {p} has nothing to say of this fleet"));
    assert!(left.len() >= 55, "{left:?}");
    until("every route says something", async || {
        let mut still = Vec::new();
        for path in &left {
            let (status, body) = demo.running.get(path).await;
            if status != 200 || !says_something(&body) {
                eprintln!("{path}: {status} {}", body.to_string().chars().take(200).collect::<String>());
                still.push(path.clone());
            }
        }
        left = still;
        left.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_comes_back_is_a_new_life_and_is_counted_once() {
    let demo = demo(Faults { churn_every: Some(50), ..Faults::default() }).await;
    let (before, after) = (demo.fleet.truth(42), demo.fleet.truth(130));
    let changed = before.pods.iter().zip(&after.pods).find(|(a, b)| a.uid != b.uid).unwrap();
    let path = format!("/api/v1/infrastructure/pods/{}/{}?cluster={}", changed.0.namespace, changed.0.name, changed.0.cluster);
    let is = async |uid: &str| (demo.running.get(&path).await.1["data"]["uid"] == uid).then_some(());
    until("its first life", async || is(&changed.0.uid).await).await;
    demo.fleet.hold(130);
    until("its second life", async || is(&changed.1.uid).await).await;
    // Others come back in answers of their own.
    until("each is counted once", async || {
        let (_, all) = demo.running.get("/api/v1/infrastructure/pods?limit=1").await;
        (all["metadata"]["total_count"] == after.total.pods).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_exporters_are_dead_is_unknown_and_its_bmc_still_says_its_watts() {
    let demo = demo(Faults::default()).await;
    let node = async |name: &str| {
        demo.running.get(&format!("/api/v1/infrastructure/nodes/{name}?cluster=cluster1&include_metrics=true")).await.1["data"].clone()
    };
    let said = |name: &str| demo.fleet.truth(42).nodes.iter().find(|n| n.cluster == "cluster1" && n.name == name).unwrap().server_watts;
    let is_read = async |name: &str| {
        let node = node(name).await;
        node["current_power_watts"] == said(name) && node["status"] == "ready" && !node["metrics"]["memory_used_mb"].is_null()
    };
    until("both are read", async || (is_read("worker1").await && is_read("worker2").await).then_some(())).await;
    demo.fleet.set_down("worker1", true);
    until("Kubernetes no longer knows", async || (node("worker1").await["status"] == "unknown").then_some(())).await;
    until("its exporters' readings are gone", async || node("worker1").await["metrics"]["memory_used_mb"].is_null().then_some(())).await;
    assert_eq!(node("worker1").await["current_power_watts"], said("worker1"));
    assert!(is_read("worker2").await, "its neighbour is read as before");
    demo.fleet.set_down("worker1", false);
    until("it is back by itself", async || is_read("worker1").await.then_some(())).await;
}
