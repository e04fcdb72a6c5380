//! A kubelet's containers: with its stamps, and with the sums of groups and pods that a reader must not add to their parts.

use crate::page::Page;
use crate::{Fleet, Moment, Pod, mix};

struct Row {
    labels: [(&'static str, String); 6],
    cpu_seconds: f64,
    working_set: u64,
}

pub(crate) fn write(fleet: &Fleet, node: usize, moment: Moment) -> String {
    let at = &fleet.nodes[node];
    let mut page = Page::new().stamped(moment.at_ms);
    let pods: Vec<&Pod> = at.pods.iter().map(|p| &fleet.pods[*p]).collect();
    let mut rows = Vec::new();
    let mut networks = Vec::new();
    let label = |container: &str, id: String, image: &str, name: String, pod: Option<&Pod>| {
        [
            ("container", container.to_owned()),
            ("id", id),
            ("image", image.to_owned()),
            ("name", name),
            ("namespace", pod.map_or("", |p| p.namespace).to_owned()),
            ("pod", pod.map_or("", |p| &p.name).to_owned()),
        ]
    };
    for pod in &pods {
        let slice = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice", pod.uid(moment).replace('-', "_"));
        let (since, _) = pod.life(moment);
        let first = rows.len();
        for (c, container) in pod.containers.iter().enumerate() {
            let id = pod.container_id(moment, c);
            rows.push(Row {
                labels: label(container.name, format!("{slice}/cri-containerd-{id}.scope"), container.image, id, Some(pod)),
                cpu_seconds: moment.lifetime(since, |t| pod.millicores(c, t)) / 1e3,
                working_set: pod.working_set(c, moment.tick),
            });
        }
        let sum = |of: fn(&Row) -> f64| rows[first..].iter().map(of).sum::<f64>();
        let (cpu_seconds, working_set) = (sum(|r| r.cpu_seconds), sum(|r| r.working_set as f64) as u64);
        let labels = label("", slice.clone(), "", String::new(), Some(pod));
        rows.push(Row { labels, cpu_seconds: cpu_seconds + 0.02, working_set: working_set + 300 * 1_024 });
        let id = format!("{:064x}", mix(&[pod.life(moment).1, 41]));
        let labels = label("POD", format!("{slice}/cri-containerd-{id}.scope"), "registry.k8s.io/pause:3.10", id, Some(pod));
        networks.push((labels.clone(), *pod, since));
        rows.push(Row { labels, cpu_seconds: 0.02, working_set: 300 * 1_024 });
    }
    let all = |of: fn(&Row) -> f64| rows.iter().filter(|r| r.labels[0].1.is_empty()).map(of).sum::<f64>();
    let (cpu_seconds, working_set) = (all(|r| r.cpu_seconds), all(|r| r.working_set as f64) as u64);
    rows.push(Row { labels: label("", "/kubepods.slice".into(), "", String::new(), None), cpu_seconds, working_set });
    let cpu_seconds = moment.lifetime(0, |t| fleet.millicores(node, t)) / 1e3;
    let whole = label("", "/".into(), "", String::new(), None);
    rows.push(Row { labels: whole, cpu_seconds, working_set: fleet.memory_used(node, moment.tick) });
    metrics(&mut page, &rows);
    for (name, share) in [("receive", 3), ("transmit", 1)] {
        page.counter(&format!("container_network_{name}_bytes_total"));
        for (labels, pod, since) in &networks {
            let bytes = moment.lifetime(*since, |t| pod.all_millicores(t) * share * 50);
            let mut labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
            labels.insert(3, ("interface", "eth0"));
            page.sample(&labels, bytes.floor());
        }
    }
    page.gauge("machine_cpu_cores")
        .sample(&[("boot_id", ""), ("machine_id", &at.machine_id()), ("system_uuid", &at.system_uuid())], at.cores as f64);
    page.gauge("machine_memory_bytes")
        .sample(&[("boot_id", ""), ("machine_id", &at.machine_id()), ("system_uuid", &at.system_uuid())], at.memory_bytes as f64);
    page.done()
}

fn metrics(page: &mut Page, rows: &[Row]) {
    let mut each = |name: &str, kind: &str, extra: Option<(&str, &str)>, value: fn(&Row) -> f64| {
        page.family(name, kind);
        for row in rows {
            let mut labels: Vec<(&str, &str)> = row.labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
            labels.extend(extra);
            page.sample(&labels, value(row));
        }
    };
    each("container_cpu_usage_seconds_total", "counter", Some(("cpu", "total")), |r| r.cpu_seconds);
    each("container_cpu_user_seconds_total", "counter", None, |r| r.cpu_seconds * 0.8);
    each("container_cpu_system_seconds_total", "counter", None, |r| r.cpu_seconds * 0.2);
    each("container_memory_working_set_bytes", "gauge", None, |r| r.working_set as f64);
    each("container_memory_usage_bytes", "gauge", None, |r| (r.working_set + r.working_set / 4_096 / 4 * 4_096) as f64);
    each("container_memory_cache", "gauge", None, |r| (r.working_set / 4_096 / 2 * 4_096) as f64);
    each("container_memory_rss", "gauge", None, |r| (r.working_set / 4_096 * 3 / 4 * 4_096) as f64);
    each("container_memory_swap", "gauge", None, |_| 0.0);
    each("container_spec_memory_limit_bytes", "gauge", None, |r| if r.labels[5].1.is_empty() { 0.0 } else { 9_223_372_036_854_771_712.0 });
    each("container_fs_usage_bytes", "gauge", Some(("device", "/dev/nvme0n1p2")), |r| (r.working_set / 4_096 / 8 * 4_096) as f64);
    each("container_oom_events_total", "counter", None, |_| 0.0);
}
