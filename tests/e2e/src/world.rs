//! A small world put straight into the model, for tests of what the API makes of it: two clusters with names in common, nodes, pods,
//! containers, a BMC, a virtual machine. What plugins make of real sources is tested with them.

use kcloud_monitor::catalogue::{Catalogue, METRICS};
use kcloud_monitor::inventory::batch::{Batch, BatchEvent, BatchPoint, BatchSubject};
use kcloud_monitor::inventory::{HOLDS_NOW, Inventory, Kind, Quality, Severity, SourceInfo};

/// A batch in the making.
#[derive(Default)]
pub struct Says(Batch);

/// One thing that is said: a number or a state of a metric.
#[derive(Clone, Copy)]
pub enum Is {
    Number(f64),
    State(&'static str),
}

use Is::{Number, State};

type Pairs<'a> = &'a [(&'a str, &'a str)];

impl Says {
    /// A subject and what is read of it; gives its index, to be a parent.
    pub fn of(&mut self, kind: Kind, parent: Option<u32>, identity: Pairs<'_>, labels: Pairs<'_>, readings: &[(&str, Is)]) -> u32 {
        let own = |pairs: Pairs<'_>| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let subject = self.0.subjects.len() as u32;
        self.0.subjects.push(BatchSubject { kind, identity: own(identity), labels: own(labels), parent, observed_at_ms: None });
        for (name, is) in readings {
            let metric = Catalogue::known(name).unwrap_or_else(|| panic!("{name} is in the catalogue"));
            let value = match is {
                Number(v) => *v,
                State(s) => METRICS[metric.0 as usize].states.iter().position(|known| known == s).expect("a state of it") as f64,
            };
            self.0.points.push(BatchPoint { subject, metric, value, quality: Quality::Measured, at_ms: None });
        }
        subject
    }

    /// A critical event that holds now, of a subject by its index.
    pub fn holds(&mut self, subject: u32, code: &str, message: &str) {
        let key = format!("{HOLDS_NOW}{subject}/{code}");
        let (code, message) = (code.to_owned(), message.to_owned());
        self.0.events.push(BatchEvent { subject, at_ms: None, severity: Severity::Critical, code, message, key });
    }

    /// Says it, from a plugin and in a cluster, for an hour.
    pub fn say(self, inventory: &Inventory, plugin: &str, cluster: &str) {
        let info = SourceInfo {
            plugin: plugin.into(),
            target: cluster.into(),
            cluster: cluster.into(),
            interval_ms: 3_600_000,
            priority: 0,
            max_subjects: 1_000_000,
            max_values: 10_000_000,
        };
        let problems = inventory.apply(&info, self.0, kcloud_monitor::now_ms());
        assert!(problems.is_empty(), "{problems:?}");
    }
}

const GIB: f64 = 1_073_741_824.0;

fn node(says: &mut Says, name: &str, labels: Pairs<'_>) -> u32 {
    let readings = [
        ("readiness", State("ready")),
        ("cpu_capacity_cores", Number(64.0)),
        ("cpu_allocatable_cores", Number(63.5)),
        ("memory_total_bytes", Number(512.0 * GIB)),
        ("memory_used_bytes", Number(128.0 * GIB)),
        ("utilization_ratio", Number(0.25)),
        ("network_rx_bytes_per_second", Number(1e6)),
    ];
    says.of(Kind::Node, None, &[("node", name)], labels, &readings)
}

fn pod(says: &mut Says, node: u32, name: [&str; 2], labels: Pairs<'_>, readings: &[(&str, Is)]) -> u32 {
    let uid = format!("uid-of-{}", name[1]);
    says.of(Kind::Pod, Some(node), &[("namespace", name[0]), ("name", name[1]), ("uid", &uid)], labels, readings)
}

fn container(says: &mut Says, pod: u32, name: &str, labels: Pairs<'_>) -> u32 {
    let id = format!("containerd://{name}-of-{pod}");
    let readings = [
        ("container_state", State("running")),
        ("readiness", State("ready")),
        ("cpu_request_cores", Number(0.25)),
        ("cpu_limit_cores", Number(2.0)),
        ("cpu_usage_cores", Number(3.0)),
        ("memory_used_bytes", Number(2.0 * GIB)),
        ("restarts_total", Number(1.0)),
    ];
    says.of(Kind::Container, Some(pod), &[("name", name), ("runtime_id", &id)], labels, &readings)
}

/// Puts it all in.
pub fn put(inventory: &Inventory) {
    let mut says = Says::default();
    node(&mut says, "master1", &[("roles", "control-plane"), ("internal_ip", "10.0.0.1"), ("label:zone", "a")]);
    let worker = node(&mut says, "worker1", &[("roles", "worker"), ("label:zone", "b"), ("annotation:note", "x")]);
    node(&mut says, "worker2", &[("roles", ""), ("unschedulable", "true"), ("conditions", "DiskPressure")]);
    let phase = ("phase", State("running"));
    let asked = [phase, ("gpu_request_count", Number(1.0)), ("cpu_usage_cores", Number(6.0)), ("memory_used_bytes", Number(4.0 * GIB))];
    let workload = [("workload_kind", "Job"), ("workload_name", "train"), ("label:app", "train"), ("started_at", "2026-01-01T00:00:00Z")];
    let train = pod(&mut says, worker, ["ml", "train-0"], &workload, &asked);
    container(&mut says, train, "main", &[("image", "train:1")]);
    container(&mut says, train, "side", &[("image", "side:1")]);
    container(&mut says, train, "setup", &[("image", "setup:1"), ("init", "true")]);
    pod(
        &mut says,
        worker,
        ["web", "front"],
        &[("label:app", "front")],
        &[phase, ("cpu_power_watts", Number(10.0)), ("memory_power_watts", Number(2.5))],
    );
    pod(&mut says, worker, ["web", "late"], &[("label:app", "front")], &[("phase", State("pending"))]);
    says.say(inventory, "kubernetes", "cluster1");

    let mut says = Says::default();
    let worker = says.of(Kind::Node, None, &[("node", "worker1")], &[], &[]);
    for (uuid, device, pod, watts) in [("GPU-1", "nvidia0", "train-0", 300.0), ("GPU-2", "nvidia1", "", 100.0)] {
        let holder = [("class", "gpu"), ("vendor", "nvidia"), ("model", "H100"), ("namespace", "ml"), ("pod", pod)];
        let labels = if pod.is_empty() { &holder[..3] } else { &holder[..] };
        says.of(
            Kind::Accelerator,
            Some(worker),
            &[("uuid", uuid), ("node", "worker1"), ("device", device)],
            labels,
            &[("power_watts", Number(watts)), ("utilization_ratio", Number(0.5))],
        );
    }
    says.say(inventory, "nvidia-dcgm", "cluster1");

    let mut says = Says::default();
    let worker = says.of(Kind::Node, None, &[("node", "worker1")], &[], &[]);
    let labels = [("method", "dcmi"), ("bmc_address", "10.1.0.1")];
    let chassis = says.of(
        Kind::Chassis,
        Some(worker),
        &[("name", "dcmi")],
        &labels,
        &[("power_watts", Number(1_000.0)), ("power_state", State("on"))],
    );
    for (entity, name, value, state, kind) in [
        ("3.1", "CPU1 Temp", 55.0, "nominal", "temperature"),
        ("3.2", "CPU2 Temp", 96.0, "critical", "temperature"),
        ("7.1", "Inlet Temp", 24.0, "nominal", "temperature"),
        ("10.1", "1.05V PCH", 1.05, "nominal", "voltage"),
        ("10.2", "12V", 12.1, "nominal", "voltage"),
        ("10.3", "5VSB", 5.02, "warning", "voltage"),
    ] {
        let metric = if kind == "voltage" { "voltage_volts" } else { "temperature_celsius" };
        let readings = [(metric, Number(value)), ("sensor_state", State(state)), ("threshold_upper_critical", Number(95.0))];
        says.of(Kind::Sensor, Some(chassis), &[("entity", entity), ("name", name)], &[("sensor_type", kind)], &readings);
    }
    for i in 1..=10 {
        let (name, speed) = (format!("FAN{i}"), if i == 10 { 0.0 } else { 5_000.0 });
        let readings = [("fan_speed_rpm", Number(speed)), ("sensor_state", State(if i == 10 { "critical" } else { "nominal" }))];
        says.of(Kind::Fan, Some(chassis), &[("name", &name)], &[], &readings);
    }
    for name in ["PSU1", "PSU2"] {
        let readings = [("power_input_watts", Number(520.0)), ("power_capacity_watts", Number(2_000.0)), ("health", State("ok"))];
        says.of(Kind::Psu, Some(chassis), &[("name", name)], &[("serial_number", "1")], &readings);
    }
    says.say(inventory, "ipmi", "cluster1");

    let mut says = Says::default();
    let worker = node(&mut says, "worker1", &[("roles", "worker")]);
    let same = pod(&mut says, worker, ["ml", "train-0"], &[("label:app", "train")], &[phase]);
    container(&mut says, same, "main", &[]);
    let names = [("name", "vm1"), ("project", "research"), ("project_id", "p-1"), ("flavor", "g1"), ("addresses", "10.2.0.4,10.2.0.5")];
    let readings = [
        ("vm_status", State("active")),
        ("vcpu_count", Number(8.0)),
        ("memory_total_bytes", Number(16.0 * GIB)),
        ("cpu_usage_cores", Number(2.0)),
    ];
    says.of(Kind::Vm, Some(worker), &[("uuid", "11111111-2222-3333-4444-555555555555")], &names, &readings);
    says.say(inventory, "openstack", "cluster2");
}
