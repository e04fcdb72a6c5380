//! Fills a cluster with pods and VMs.

use super::{BEFORE, Container, GIB, MIB, Phase, Pod, Vm, World};
use crate::{FleetConfig, mix, uuid};

pub(super) fn fill(world: &mut World, config: &FleetConfig, cluster: usize) {
    let shape = world.clusters[cluster].clone();
    let nodes: Vec<usize> = (0..world.nodes.len()).filter(|n| world.nodes[*n].cluster == cluster).collect();
    let workers: Vec<usize> = nodes.iter().copied().filter(|n| !world.nodes[*n].is_master).collect();
    let mut pods: Vec<Pod> = Vec::new();
    // Those that the cards name.
    for at in &workers {
        for card in world.nodes[*at].cards.iter().filter(|c| c.pod.is_some()) {
            let name = card.pod.clone().unwrap_or_default();
            let job = name.rsplit_once('-').map_or(name.clone(), |(job, _)| job.to_owned());
            let queue = if world.nodes[*at].with_cards.is_multiple_of(2) { "research" } else { "product" };
            let labels = vec![("app", "train".to_owned()), ("job-name", job.clone()), ("kueue.x-k8s.io/queue-name", queue.to_owned())];
            let owner = ("Job", job);
            let mut pod = pod(config, cluster, "ml", name, Some(*at), owner.clone(), owner, labels, (3_000, 24 * GIB));
            pod.gpus = 1;
            pods.push(pod);
        }
        for (card, (name, count, _)) in world.nodes[*at].others.iter().flat_map(|c| c.holders().map(move |h| (c, h))) {
            let owner = ("Deployment", "infer".to_owned());
            let labels = vec![("app", "infer".to_owned())];
            let mut pod = pod(config, cluster, "ml", name.to_owned(), Some(*at), owner.clone(), owner, labels, (2_000, 16 * GIB));
            pod.others = Some((card.model.resource, count));
            pods.push(pod);
        }
    }
    for at in &nodes {
        for (namespace, name) in [("kube-system", "kube-proxy"), ("monitoring", "node-exporter")] {
            let owner = ("DaemonSet", name.to_owned());
            let suffix = &uuid(mix(&[world.nodes[*at].id, 60]))[..5];
            let labels = vec![("app", name.to_owned())];
            pods.push(pod(config, cluster, namespace, format!("{name}-{suffix}"), Some(*at), owner.clone(), owner, labels, (60, 96 * MIB)));
        }
    }
    let places = if workers.is_empty() { &nodes } else { &workers };
    for k in 0..shape.pods.saturating_sub(pods.len()) {
        let place = places.get(k % places.len().max(1)).copied();
        pods.push(ordinary(config, cluster, k, place));
    }
    for at in 0..if workers.is_empty() { 0 } else { shape.vms } {
        let id = mix(&[config.seed, 70, cluster as u64, at as u64]);
        let (flavor, vcpus, memory) = [("m1.medium", 2, 4), ("m1.large", 4, 8), ("m1.xlarge", 8, 16)][at % 3];
        world.nodes[workers[at % workers.len()]].vms.push(world.vms.len());
        world.vms.push(Vm {
            cluster,
            node: workers[at % workers.len()],
            uuid: uuid(id),
            name: format!("vm-{}", at + 1),
            domain: format!("instance-{:08x}", 0x100 + at),
            project: ["research", "product", "admin"][at % 3],
            flavor,
            vcpus,
            memory_bytes: memory * GIB,
            disk_bytes: 40 * GIB * (1 + at as u64 % 3),
            is_active: at % 6 != 5,
            id,
        });
    }
    for pod in pods {
        if let (Some(node), Phase::Running) = (pod.node, pod.phase) {
            world.nodes[node].pods.push(world.pods.len());
        }
        world.pods.push(pod);
    }
}

/// One of a Deployment, a StatefulSet or a Job; the n-th of its cluster.
fn ordinary(config: &FleetConfig, cluster: usize, k: usize, place: Option<usize>) -> Pod {
    let id = mix(&[config.seed, 80, cluster as u64, k as u64]);
    let text = uuid(id);
    let (group, member) = (k / 15, k % 15);
    let label = |app: &str| vec![("app", app.to_owned()), ("app.kubernetes.io/name", app.to_owned()), ("tier", format!("t{}", k % 3))];
    let mut made = match member {
        0..=8 => {
            let app = format!("web-{group}");
            let set = format!("{app}-{:08x}", mix(&[config.seed, 81, cluster as u64, group as u64]) >> 32);
            let name = format!("{set}-{}", &text[..5]);
            let sort = label(&app);
            pod(config, cluster, "web", name, place, ("ReplicaSet", set), ("Deployment", app), sort, (250 + id % 500, 512 * MIB))
        }
        9..=11 => {
            let owner = ("StatefulSet", format!("db-{group}"));
            let name = format!("db-{group}-{}", member - 9);
            let sort = label("db");
            pod(config, cluster, "data", name, place, owner.clone(), owner, sort, (500 + id % 900, 4 * GIB))
        }
        _ => {
            let job = format!("etl-{group}");
            let name = format!("{job}-{}", &text[..5]);
            let owner = ("Job", job);
            pod(config, cluster, "batch", name, place, owner.clone(), owner, label("etl"), (700, 2 * GIB))
        }
    };
    made.phase = match member {
        12 => Phase::Succeeded,
        5 if group % 3 == 1 => Phase::Pending,
        13 if group % 4 == 2 => Phase::Failed,
        _ => Phase::Running,
    };
    if made.phase == Phase::Pending {
        made.node = None;
    }
    if member == 9 {
        made.churn = config.faults.churn_every;
    }
    made
}

#[allow(clippy::too_many_arguments)] // Each a fact of the pod, named where it is called.
fn pod(
    config: &FleetConfig,
    cluster: usize,
    namespace: &'static str,
    name: String,
    node: Option<usize>,
    owner: (&'static str, String),
    workload: (&'static str, String),
    labels: Vec<(&'static str, String)>,
    (cpu_millicores, memory_bytes): (u64, u64),
) -> Pod {
    let text = name.bytes().chain(namespace.bytes()).fold(cluster as u64, |h, b| mix(&[h, u64::from(b)]));
    let id = mix(&[config.seed, 90, text]);
    let main = Container { name: "main", image: "registry.example/app:1.4", cpu_millicores, memory_bytes, restarts: id % 7 / 5 };
    let mut containers = vec![main];
    if namespace == "web" || namespace == "ml" {
        let image = "registry.example/sidecar:0.9";
        containers.push(Container { name: "sidecar", image, cpu_millicores: 50, memory_bytes: 64 * MIB, restarts: 0 });
    }
    let (phase, created) = (Phase::Running, id % (BEFORE * 9 / 10));
    Pod { cluster, namespace, name, node, phase, owner, workload, labels, containers, gpus: 0, others: None, id, created, churn: None }
}
