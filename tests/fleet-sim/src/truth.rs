//! What a reader must find: of everything, one row; of each cluster and of all, their sums.

use serde::{Deserialize, Serialize};

use crate::pages::node_exporter::{FILESYSTEM_BYTES, filesystem_used, rates};
use crate::power::{CPU_PER_MILLICORE, MEMORY_PER_MILLICORE};
use crate::{Fleet, Moment, Phase};

/// Everything at a moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Truth {
    pub tick: u64,
    pub total_gpus: usize,
    /// Of all cards, each once; those without a power reading are left out.
    pub total_power_watts: f64,
    pub unknown_power: usize,
    pub total_memory_used_mib: u64,
    pub cards: Vec<CardTruth>,
    /// Cards of other vendors; the figures above are of NVIDIA's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<crate::OtherTruth>,
    /// Of all cards, where there are others than NVIDIA's.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub vendors: std::collections::BTreeMap<String, crate::VendorTruth>,
    pub total: Sums,
    pub facility: FacilityTruth,
    pub clusters: Vec<ClusterTruth>,
    pub nodes: Vec<NodeTruth>,
    pub pods: Vec<PodTruth>,
    pub vms: Vec<VmTruth>,
}

/// One card at that moment. `None` is what its exporter does not say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CardTruth {
    pub uuid: String,
    pub cluster: String,
    pub node: String,
    pub device: String,
    pub model: String,
    /// In namespace `ml`.
    pub pod: Option<String>,
    pub power_watts: Option<f64>,
    pub temperature_celsius: u32,
    pub utilization_percent: Option<u32>,
    pub memory_used_mib: u64,
    pub memory_total_mib: u64,
    pub energy_joules: f64,
    pub xid: u32,
    pub mig_instances: usize,
}

/// Sums over a cluster, or over all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    pub nodes: usize,
    pub ready_nodes: usize,
    pub masters: usize,
    pub workers: usize,
    pub gpus: usize,
    pub pods: usize,
    pub running_pods: usize,
    pub pending_pods: usize,
    pub succeeded_pods: usize,
    pub failed_pods: usize,
    pub containers: usize,
    pub namespaces: usize,
    pub vms: usize,
    pub active_vms: usize,
    pub vm_vcpus: u64,
    pub cpu_cores: u64,
    pub memory_total_bytes: u64,
    pub memory_used_bytes: u64,
    pub server_watts: f64,
    pub cpu_watts: f64,
    pub memory_watts: f64,
    pub accelerator_watts: f64,
    pub rest_watts: f64,
    pub losses_watts: f64,
    pub server_energy_joules: f64,
    /// What stands with pods: their shares of CPU and memory, and the cards that they hold.
    pub pod_watts: f64,
    pub vm_watts: f64,
    pub bmcs: usize,
    pub fans: usize,
    pub failed_fans: usize,
    pub temperatures: usize,
    /// Of rails and of lines.
    pub voltages: usize,
    pub supplies: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClusterTruth {
    pub name: String,
    #[serde(flatten)]
    pub sums: Sums,
    pub namespaces_watts: std::collections::BTreeMap<String, f64>,
}

/// What the meter at the door shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FacilityTruth {
    pub power_watts: f64,
    pub energy_joules: f64,
    /// Over the servers' watts.
    pub pue: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeTruth {
    pub cluster: String,
    pub name: String,
    pub is_master: bool,
    pub is_ready: bool,
    pub internal_ip: String,
    pub cpu_cores: u64,
    pub cpu_millicores: u64,
    pub cpu_utilization_percent: f64,
    pub memory_total_bytes: u64,
    pub memory_used_bytes: u64,
    pub filesystem_total_bytes: u64,
    pub filesystem_used_bytes: u64,
    pub network_receive_bytes_per_second: u64,
    pub network_transmit_bytes_per_second: u64,
    pub gpus: usize,
    pub allocatable_gpus: usize,
    pub running_pods: usize,
    /// `dcmi redfish sensor psu kepler`: how its watts can be known best.
    pub method: String,
    pub server_watts: f64,
    pub cpu_watts: f64,
    pub memory_watts: f64,
    pub accelerator_watts: f64,
    pub rest_watts: f64,
    pub losses_watts: f64,
    pub server_energy_joules: f64,
    pub cpu_energy_joules: f64,
    pub memory_energy_joules: f64,
    pub pod_watts: f64,
    pub vm_watts: f64,
    pub bmc: Option<BmcTruth>,
}

/// What a BMC reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BmcTruth {
    pub temperatures: Vec<SensorTruth>,
    pub fans: Vec<SensorTruth>,
    pub voltages: Vec<SensorTruth>,
    pub supplies: Vec<SensorTruth>,
    pub currents: Vec<SensorTruth>,
    /// With the empty ones, where the BMC tells them.
    pub supply_bays: usize,
    /// Supplies that tell the voltage of their line, too.
    pub line_voltages: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SensorTruth {
    pub name: String,
    pub kind: std::borrow::Cow<'static, str>,
    pub value: f64,
    pub state: std::borrow::Cow<'static, str>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodTruth {
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub node: Option<String>,
    pub phase: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub gpus: u64,
    pub restarts: u64,
    pub cpu_request_millicores: u64,
    pub memory_request_bytes: u64,
    pub cpu_millicores: u64,
    pub cpu_seconds: f64,
    pub memory_working_set_bytes: u64,
    pub cpu_watts: f64,
    pub memory_watts: f64,
    pub accelerator_watts: f64,
    pub power_watts: f64,
    pub cpu_energy_joules: f64,
    pub containers: Vec<ContainerTruth>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerTruth {
    pub name: String,
    pub cpu_millicores: u64,
    pub memory_working_set_bytes: u64,
    pub restarts: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmTruth {
    pub cluster: String,
    pub uuid: String,
    pub name: String,
    pub project: String,
    pub hypervisor: String,
    pub vcpus: u64,
    pub memory_bytes: u64,
    pub memory_used_bytes: u64,
    pub is_active: bool,
    pub cpu_millicores: u64,
    /// Its share of packages and memory.
    pub power_watts: f64,
}

pub(crate) fn watts(milliwatts: u64) -> f64 {
    milliwatts as f64 / 1e3
}

impl Fleet {
    /// What a reader must find at a moment.
    pub fn truth(&self, moment: impl Into<Moment>) -> Truth {
        let moment = moment.into();
        let name = |cluster: usize| self.clusters[cluster].name.as_str();
        let cards: Vec<CardTruth> = (0..self.nodes.len())
            .flat_map(|n| self.cards(n, moment.tick).iter().map(move |c| (n, c)))
            .map(|(n, card)| card.truth(moment, name(self.nodes[n].cluster), &self.nodes[n]))
            .collect();
        let milliwatts: u64 = cards.iter().filter_map(|c| c.power_watts).map(|w| (w * 1e3).round() as u64).sum();
        let nodes: Vec<NodeTruth> = (0..self.nodes.len()).map(|n| self.node_truth(n, moment)).collect();
        let pods: Vec<PodTruth> = self.pods.iter().map(|p| self.pod_truth(p, moment)).collect();
        let vms: Vec<VmTruth> = self.vms.iter().map(|v| self.vm_truth(v, moment)).collect();
        let clusters: Vec<ClusterTruth> = self
            .clusters
            .iter()
            .map(|c| {
                let mut namespaces_watts = std::collections::BTreeMap::new();
                for pod in pods.iter().filter(|p| p.cluster == c.name) {
                    *namespaces_watts.entry(pod.namespace.clone()).or_default() += pod.power_watts;
                }
                let sums = sums(&nodes, &pods, &vms, |cluster| cluster == c.name);
                ClusterTruth { name: c.name.clone(), sums, namespaces_watts }
            })
            .collect();
        let total = sums(&nodes, &pods, &vms, |_| true);
        let power_watts = watts(self.facility_milliwatts(moment.tick));
        let others: Vec<_> = self.nodes.iter().flat_map(|n| n.others.iter().map(|c| c.truth(moment, name(n.cluster), n))).collect();
        let mut truth = Truth {
            tick: moment.tick,
            total_gpus: cards.len(),
            total_power_watts: watts(milliwatts),
            unknown_power: cards.iter().filter(|c| c.power_watts.is_none()).count(),
            total_memory_used_mib: cards.iter().map(|c| c.memory_used_mib).sum(),
            cards,
            others,
            vendors: Default::default(),
            facility: FacilityTruth {
                power_watts,
                energy_joules: moment.lifetime(0, |t| self.facility_milliwatts(t)) / 1e3,
                pue: (total.server_watts > 0.0).then(|| power_watts / total.server_watts),
            },
            total,
            clusters,
            nodes,
            pods,
            vms,
        };
        if !truth.others.is_empty() {
            truth.vendors = crate::other::by_vendor(&truth);
        }
        truth
    }

    fn node_truth(&self, node: usize, moment: Moment) -> NodeTruth {
        let (at, power) = (&self.nodes[node], self.power(node, moment.tick));
        let joules = |of: fn(&crate::power::NodePower) -> u64| self.node_integral(node, moment, of) / 1e3;
        let pods = at.pods.iter().map(|p| self.pod_milliwatts(&self.pods[*p], moment.tick).iter().sum::<u64>()).sum();
        let (rx, tx) = rates(at, moment.tick);
        NodeTruth {
            cluster: self.clusters[at.cluster].name.clone(),
            name: at.name.clone(),
            is_master: at.is_master,
            is_ready: !self.is_down(at),
            internal_ip: at.ip.clone(),
            cpu_cores: at.cores,
            cpu_millicores: power.millicores,
            cpu_utilization_percent: power.millicores as f64 / at.cores as f64 / 10.0,
            memory_total_bytes: at.memory_bytes,
            memory_used_bytes: self.memory_used(node, moment.tick),
            filesystem_total_bytes: FILESYSTEM_BYTES.iter().map(|f| f.3).sum(),
            filesystem_used_bytes: (0..FILESYSTEM_BYTES.len()).map(|f| filesystem_used(at, f)).sum(),
            network_receive_bytes_per_second: rx,
            network_transmit_bytes_per_second: tx,
            gpus: at.cards.len(),
            allocatable_gpus: self.cards(node, moment.tick).len(),
            running_pods: at.pods.len(),
            method: at.bmc.method().to_owned(),
            server_watts: watts(power.server_milliwatts),
            cpu_watts: watts(power.cpu()),
            memory_watts: watts(power.memory()),
            accelerator_watts: watts(power.cards),
            rest_watts: watts(power.rest),
            losses_watts: watts(power.losses),
            server_energy_joules: joules(|p| p.server_milliwatts),
            cpu_energy_joules: joules(|p| p.cpu()),
            memory_energy_joules: joules(|p| p.memory()),
            pod_watts: watts(pods),
            vm_watts: watts(at.vms.iter().map(|v| self.vms[*v].milliwatts(moment.tick)).sum()),
            bmc: (at.bmc.ipmi.is_some() || at.bmc.redfish.is_some()).then(|| self.bmc(node, moment, &power)),
        }
    }

    /// Of its CPU, its memory, its cards.
    pub(crate) fn pod_milliwatts(&self, pod: &crate::Pod, tick: u64) -> [u64; 3] {
        if pod.phase != Phase::Running {
            return [0; 3];
        }
        let millicores = pod.all_millicores(tick);
        [millicores * CPU_PER_MILLICORE, millicores * MEMORY_PER_MILLICORE, self.held_milliwatts(pod, tick)]
    }

    fn pod_truth(&self, pod: &crate::Pod, moment: Moment) -> PodTruth {
        let [cpu, memory, cards] = self.pod_milliwatts(pod, moment.tick);
        let is_running = pod.phase == Phase::Running;
        let (since, _) = pod.life(moment);
        let containers: Vec<ContainerTruth> = (0..pod.containers.len())
            .map(|c| ContainerTruth {
                name: pod.containers[c].name.to_owned(),
                cpu_millicores: if is_running { pod.millicores(c, moment.tick) } else { 0 },
                memory_working_set_bytes: if is_running { pod.working_set(c, moment.tick) } else { 0 },
                restarts: pod.containers[c].restarts,
            })
            .collect();
        let cpu_seconds = if is_running { moment.lifetime(since, |t| pod.all_millicores(t)) / 1e3 } else { 0.0 };
        PodTruth {
            cluster: self.clusters[pod.cluster].name.clone(),
            namespace: pod.namespace.to_owned(),
            name: pod.name.clone(),
            uid: pod.uid(moment),
            node: pod.node.map(|n| self.nodes[n].name.clone()),
            phase: pod.phase.name().to_owned(),
            workload_kind: pod.workload.0.to_owned(),
            workload_name: pod.workload.1.clone(),
            gpus: pod.gpus,
            restarts: containers.iter().map(|c| c.restarts).sum(),
            cpu_request_millicores: pod.containers.iter().map(|c| c.cpu_millicores).sum(),
            memory_request_bytes: pod.containers.iter().map(|c| c.memory_bytes).sum(),
            cpu_millicores: containers.iter().map(|c| c.cpu_millicores).sum(),
            cpu_seconds,
            memory_working_set_bytes: containers.iter().map(|c| c.memory_working_set_bytes).sum(),
            cpu_watts: watts(cpu),
            memory_watts: watts(memory),
            accelerator_watts: watts(cards),
            power_watts: watts(cpu + memory + cards),
            cpu_energy_joules: cpu_seconds * CPU_PER_MILLICORE as f64,
            containers,
        }
    }

    fn vm_truth(&self, vm: &crate::Vm, moment: Moment) -> VmTruth {
        VmTruth {
            cluster: self.clusters[vm.cluster].name.clone(),
            uuid: vm.uuid.clone(),
            name: vm.name.clone(),
            project: vm.project.to_owned(),
            hypervisor: self.nodes[vm.node].name.clone(),
            vcpus: vm.vcpus,
            memory_bytes: vm.memory_bytes,
            memory_used_bytes: vm.memory_used(moment.tick),
            is_active: vm.is_active,
            cpu_millicores: vm.millicores(moment.tick),
            power_watts: watts(vm.milliwatts(moment.tick)),
        }
    }
}

impl crate::Vm {
    pub(crate) fn milliwatts(&self, tick: u64) -> u64 {
        self.millicores(tick) * (CPU_PER_MILLICORE + MEMORY_PER_MILLICORE)
    }
}

fn sums(nodes: &[NodeTruth], pods: &[PodTruth], vms: &[VmTruth], is_in: impl Fn(&str) -> bool) -> Sums {
    let nodes: Vec<&NodeTruth> = nodes.iter().filter(|n| is_in(&n.cluster)).collect();
    let pods: Vec<&PodTruth> = pods.iter().filter(|p| is_in(&p.cluster)).collect();
    let vms: Vec<&VmTruth> = vms.iter().filter(|v| is_in(&v.cluster)).collect();
    let bmcs: Vec<&BmcTruth> = nodes.iter().filter_map(|n| n.bmc.as_ref()).collect();
    let phase = |phase: Phase| pods.iter().filter(|p| p.phase == phase.name()).count();
    // Milliwatts are whole: summed as such, no digit is lost.
    let watt = |of: fn(&NodeTruth) -> f64| watts(nodes.iter().map(|n| (of(n) * 1e3).round() as u64).sum());
    let namespaces: std::collections::BTreeSet<_> = pods.iter().map(|p| (&p.cluster, &p.namespace)).collect();
    Sums {
        nodes: nodes.len(),
        ready_nodes: nodes.iter().filter(|n| n.is_ready).count(),
        masters: nodes.iter().filter(|n| n.is_master).count(),
        workers: nodes.iter().filter(|n| !n.is_master).count(),
        gpus: nodes.iter().map(|n| n.allocatable_gpus).sum(),
        pods: pods.len(),
        running_pods: phase(Phase::Running),
        pending_pods: phase(Phase::Pending),
        succeeded_pods: phase(Phase::Succeeded),
        failed_pods: phase(Phase::Failed),
        containers: pods.iter().map(|p| p.containers.len()).sum(),
        namespaces: namespaces.len(),
        vms: vms.len(),
        active_vms: vms.iter().filter(|v| v.is_active).count(),
        vm_vcpus: vms.iter().map(|v| v.vcpus).sum(),
        cpu_cores: nodes.iter().map(|n| n.cpu_cores).sum(),
        memory_total_bytes: nodes.iter().map(|n| n.memory_total_bytes).sum(),
        memory_used_bytes: nodes.iter().map(|n| n.memory_used_bytes).sum(),
        server_watts: watt(|n| n.server_watts),
        cpu_watts: watt(|n| n.cpu_watts),
        memory_watts: watt(|n| n.memory_watts),
        accelerator_watts: watt(|n| n.accelerator_watts),
        rest_watts: watt(|n| n.rest_watts),
        losses_watts: watt(|n| n.losses_watts),
        server_energy_joules: nodes.iter().map(|n| n.server_energy_joules).sum(),
        pod_watts: watt(|n| n.pod_watts),
        vm_watts: watt(|n| n.vm_watts),
        bmcs: bmcs.len(),
        fans: bmcs.iter().map(|b| b.fans.len()).sum(),
        failed_fans: bmcs.iter().flat_map(|b| &b.fans).filter(|f| f.state == "critical").count(),
        temperatures: bmcs.iter().map(|b| b.temperatures.len()).sum(),
        voltages: bmcs.iter().map(|b| b.voltages.len() + b.line_voltages).sum(),
        supplies: bmcs.iter().map(|b| b.supplies.len()).sum(),
    }
}
