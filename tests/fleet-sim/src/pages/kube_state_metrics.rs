//! A cluster's objects, as kube-state-metrics 2 writes them: one row a state with 0 or 1, resources' names with underscores.

use crate::page::Page;
use crate::{Fleet, Moment, Node, Phase, Pod};

/// Writes the rows of one pod, of one of its containers; the labels say which.
type OfPod<'a> = dyn Fn(&mut Page, &Pod, [(&str, &str); 3]) + 'a;
type OfContainer<'a> = dyn Fn(&mut Page, &Pod, usize, [(&str, &str); 4]) + 'a;

pub(crate) fn write(fleet: &Fleet, cluster: usize, moment: Moment) -> String {
    let mut page = Page::new();
    let nodes: Vec<(usize, &Node)> = fleet.nodes.iter().enumerate().filter(|(_, n)| n.cluster == cluster).collect();
    let pods: Vec<(&Pod, String)> = fleet.pods.iter().filter(|p| p.cluster == cluster).map(|p| (p, p.uid(moment))).collect();
    of_nodes(&mut page, fleet, &nodes, moment);
    let mut namespaces: Vec<&str> = pods.iter().map(|(p, _)| p.namespace).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    page.gauge("kube_namespace_status_phase");
    for namespace in &namespaces {
        page.sample(&[("namespace", namespace), ("phase", "Active")], 1.0)
            .sample(&[("namespace", namespace), ("phase", "Terminating")], 0.0);
    }
    of_pods(&mut page, fleet, &pods, moment);
    of_containers(&mut page, &pods, moment);
    owners(&mut page, &pods);
    page.done()
}

fn of_nodes(page: &mut Page, fleet: &Fleet, nodes: &[(usize, &Node)], moment: Moment) {
    page.gauge("kube_node_info");
    for (_, n) in nodes {
        page.sample(
            &[
                ("node", &n.name),
                ("kernel_version", "6.8.0-60-generic"),
                ("os_image", "Ubuntu 24.04.2 LTS"),
                ("container_runtime_version", "containerd://2.0.5"),
                ("kubelet_version", "v1.33.1"),
                ("kubeproxy_version", "deprecated"),
                ("provider_id", ""),
                ("pod_cidr", &format!("10.244.{}.0/24", n.id % 250)),
                ("system_uuid", &n.system_uuid()),
                ("internal_ip", &n.ip),
            ],
            1.0,
        );
    }
    page.gauge("kube_node_created");
    nodes.iter().for_each(|(_, n)| page.row(&[("node", &n.name)], moment.unix(0)));
    page.gauge("kube_node_role");
    for (_, n) in nodes.iter().filter(|(_, n)| n.is_master) {
        page.sample(&[("node", &n.name), ("role", "control-plane")], 1.0);
    }
    page.gauge("kube_node_labels");
    for (_, n) in nodes {
        let mut labels = vec![("node", n.name.as_str()), ("label_kubernetes_io_arch", "amd64"), ("label_kubernetes_io_hostname", &n.name)];
        match n.cards.first() {
            Some(card) => labels.push(("label_nvidia_com_gpu_product", card.model.name)),
            None if n.is_master => labels.push(("label_node_role_kubernetes_io_control_plane", "")),
            None => {}
        }
        page.sample(&labels, 1.0);
    }
    page.gauge("kube_node_spec_unschedulable");
    nodes.iter().for_each(|(_, n)| page.row(&[("node", &n.name)], 0.0));
    page.gauge("kube_node_spec_taint");
    for (_, n) in nodes.iter().filter(|(_, n)| n.is_master) {
        page.sample(&[("node", &n.name), ("key", "node-role.kubernetes.io/control-plane"), ("value", ""), ("effect", "NoSchedule")], 1.0);
    }
    for (name, kept_back) in [("capacity", 0), ("allocatable", 1)] {
        page.gauge(&format!("kube_node_status_{name}"));
        for (at, n) in nodes {
            let mut row = |resource: &str, unit: &str, value: f64| {
                page.sample(&[("node", &n.name), ("resource", resource), ("unit", unit)], value);
            };
            row("cpu", "core", n.cores as f64 - 0.5 * f64::from(kept_back));
            row("memory", "byte", (n.memory_bytes - kept_back as u64 * (1 << 30)) as f64);
            row("ephemeral_storage", "byte", 4.7e11);
            row("pods", "integer", 110.0);
            if !n.cards.is_empty() {
                // A card that dropped off is no more to be had, but still counted until the kubelet restarts.
                let cards = if kept_back == 0 { n.cards.len() } else { fleet.cards(*at, moment.tick).len() };
                row("nvidia_com_gpu", "integer", cards as f64);
            }
            let mut of_others: std::collections::BTreeMap<&str, usize> = Default::default();
            for card in n.others.iter().filter(|c| !c.is_dead || kept_back == 0) {
                *of_others.entry(card.model.resource).or_default() += card.parts.len().max(1);
            }
            of_others.into_iter().for_each(|(resource, count)| row(resource, "integer", count as f64));
        }
    }
    page.gauge("kube_node_status_condition");
    for (_, n) in nodes {
        let is_down = fleet.is_down(n);
        for (condition, when_well) in [("Ready", "true"), ("MemoryPressure", "false"), ("DiskPressure", "false"), ("PIDPressure", "false")]
        {
            for status in ["true", "false", "unknown"] {
                let is_it = if is_down { status == "unknown" } else { status == when_well };
                page.sample(&[("node", &n.name), ("condition", condition), ("status", status)], f64::from(u8::from(is_it)));
            }
        }
    }
}

fn of_pods(page: &mut Page, fleet: &Fleet, pods: &[(&Pod, String)], moment: Moment) {
    let each = |page: &mut Page, name: &str, write: &OfPod<'_>| {
        page.gauge(name);
        pods.iter().for_each(|(p, uid)| write(page, p, [("namespace", p.namespace), ("pod", &p.name), ("uid", uid)]));
    };
    each(page, "kube_pod_info", &|page, p, id| {
        let node = p.node.map(|n| &fleet.nodes[n]);
        let rest = [
            ("host_ip", node.map_or("", |n| &n.ip)),
            ("pod_ip", &if node.is_some() { p.ip() } else { String::new() }),
            ("node", node.map_or("", |n| &n.name)),
            ("created_by_kind", p.owner.0),
            ("created_by_name", &p.owner.1),
            ("priority_class", ""),
            ("host_network", "false"),
        ];
        page.sample(&[&id[..], &rest].concat(), 1.0);
    });
    each(page, "kube_pod_created", &|page, p, id| page.row(&id, moment.unix(p.life(moment).0)));
    each(page, "kube_pod_start_time", &|page, p, id| {
        if p.node.is_some() {
            page.sample(&id, moment.unix(p.life(moment).0) + 1.0);
        }
    });
    each(page, "kube_pod_owner", &|page, p, id| {
        let owner = [("owner_kind", p.owner.0), ("owner_name", p.owner.1.as_str()), ("owner_is_controller", "true")];
        page.sample(&[&id[..], &owner].concat(), 1.0);
    });
    each(page, "kube_pod_labels", &|page, p, id| {
        let keys: Vec<(String, &str)> =
            p.labels.iter().map(|(k, v)| (format!("label_{}", k.replace(['.', '/', '-'], "_")), v.as_str())).collect();
        let labels: Vec<(&str, &str)> = id.into_iter().chain(keys.iter().map(|(k, v)| (k.as_str(), *v))).collect();
        page.sample(&labels, 1.0);
    });
    each(page, "kube_pod_status_phase", &|page, p, id| {
        for phase in ["Pending", "Succeeded", "Failed", "Unknown", "Running"] {
            page.sample(&[&id[..], &[("phase", phase)]].concat(), f64::from(u8::from(p.phase.name() == phase)));
        }
    });
    each(page, "kube_pod_status_ready", &|page, p, id| {
        for condition in ["true", "false", "unknown"] {
            let is_it = condition == if p.phase == Phase::Running { "true" } else { "false" };
            page.sample(&[&id[..], &[("condition", condition)]].concat(), f64::from(u8::from(is_it)));
        }
    });
    each(page, "kube_pod_status_qos_class", &|page, _, id| {
        for class in ["BestEffort", "Burstable", "Guaranteed"] {
            page.sample(&[&id[..], &[("qos_class", class)]].concat(), f64::from(u8::from(class == "Burstable")));
        }
    });
}

fn of_containers(page: &mut Page, pods: &[(&Pod, String)], moment: Moment) {
    let each = |page: &mut Page, name: &str, kind: &str, write: &OfContainer<'_>| {
        page.family(name, kind);
        for (p, uid) in pods {
            for (at, c) in p.containers.iter().enumerate() {
                write(page, p, at, [("namespace", p.namespace), ("pod", &p.name), ("uid", uid), ("container", c.name)]);
            }
        }
    };
    let is = |p: &Pod, phases: &[Phase]| f64::from(u8::from(phases.contains(&p.phase)));
    each(page, "kube_pod_container_info", "gauge", &|page, p, at, id| {
        let runs = p.phase != Phase::Pending;
        let runtime = if runs { format!("containerd://{}", p.container_id(moment, at)) } else { String::new() };
        let image = p.containers[at].image;
        let image_id = format!("registry.example/app@sha256:{:064x}", image.len());
        let rest = [("image", image), ("image_spec", image), ("image_id", &*image_id), ("container_id", &*runtime)];
        page.sample(&[&id[..], &rest].concat(), 1.0);
    });
    for name in ["requests", "limits"] {
        each(page, &format!("kube_pod_container_resource_{name}"), "gauge", &|page, p, at, id| {
            let node = ("node", "");
            let mut row = |resource, unit, value| page.row(&[&id[..], &[node, ("resource", resource), ("unit", unit)]].concat(), value);
            let (c, twice) = (&p.containers[at], if name == "limits" { 2 } else { 1 });
            row("cpu", "core", (c.cpu_millicores * twice) as f64 / 1e3);
            row("memory", "byte", (c.memory_bytes * twice) as f64);
            if at == 0 && p.gpus > 0 {
                row("nvidia_com_gpu", "integer", p.gpus as f64);
            }
            if let Some((resource, count)) = p.others.filter(|_| at == 0) {
                row(resource, "integer", count as f64);
            }
        });
    }
    each(page, "kube_pod_container_status_running", "gauge", &|page, p, _, id| page.row(&id, is(p, &[Phase::Running])));
    each(page, "kube_pod_container_status_waiting", "gauge", &|page, p, _, id| page.row(&id, is(p, &[Phase::Pending])));
    each(page, "kube_pod_container_status_terminated", "gauge", &|page, p, _, id| {
        page.sample(&id, is(p, &[Phase::Succeeded, Phase::Failed]));
    });
    each(page, "kube_pod_container_status_ready", "gauge", &|page, p, _, id| page.row(&id, is(p, &[Phase::Running])));
    each(page, "kube_pod_container_status_terminated_reason", "gauge", &|page, p, _, id| match p.phase {
        Phase::Succeeded => page.row(&[&id[..], &[("reason", "Completed")]].concat(), 1.0),
        Phase::Failed => page.row(&[&id[..], &[("reason", "OOMKilled")]].concat(), 1.0),
        _ => {}
    });
    each(page, "kube_pod_container_status_waiting_reason", "gauge", &|page, p, _, id| {
        if p.phase == Phase::Pending {
            page.sample(&[&id[..], &[("reason", "ContainerCreating")]].concat(), 1.0);
        }
    });
    each(page, "kube_pod_container_status_restarts_total", "counter", &|page, p, at, id| {
        page.sample(&id, p.containers[at].restarts as f64);
    });
}

/// What stands above those that make pods.
fn owners(page: &mut Page, pods: &[(&Pod, String)]) {
    let mut sets: Vec<(&str, &str, &str)> = pods
        .iter()
        .filter(|(p, _)| p.owner.0 == "ReplicaSet")
        .map(|(p, _)| (p.namespace, p.owner.1.as_str(), p.workload.1.as_str()))
        .collect();
    sets.sort_unstable();
    sets.dedup();
    page.gauge("kube_replicaset_owner");
    for (namespace, set, deployment) in sets {
        page.sample(
            &[
                ("namespace", namespace),
                ("replicaset", set),
                ("owner_kind", "Deployment"),
                ("owner_name", deployment),
                ("owner_is_controller", "true"),
            ],
            1.0,
        );
    }
    let mut jobs: Vec<(&str, &str)> =
        pods.iter().filter(|(p, _)| p.owner.0 == "Job").map(|(p, _)| (p.namespace, p.owner.1.as_str())).collect();
    jobs.sort_unstable();
    jobs.dedup();
    page.gauge("kube_job_owner");
    for (namespace, job) in jobs {
        page.sample(
            &[("namespace", namespace), ("job_name", job), ("owner_kind", ""), ("owner_name", ""), ("owner_is_controller", "")],
            1.0,
        );
    }
}
