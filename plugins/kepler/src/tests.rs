use std::collections::BTreeMap;

use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::testing::{Seen, target};
use kcloud_collector_sdk::{GapReason, Quality};

use super::*;

fn read_as(mut source: Kepler, text: &str) -> Seen {
    Seen::text(&mut source, &target("http://worker1:28282/metrics", &[("node", "worker1")]), text)
}

fn read(text: &str) -> Seen {
    read_as(Kepler::default(), text)
}

const POD: &str = r#"node_name="worker1",pod_id="11111111-1111-4111-8111-111111111111",pod_name="train-1",pod_namespace="ml""#;

#[test]
fn zones_of_a_node_contain_each_other_and_are_never_added() {
    let zone = |name: &str, path: &str| format!("{{node_name=\"worker1\",path=\"{path}\",zone=\"{name}\"}}");
    let mut text = String::new();
    for (name, path, watts) in [
        ("package", "/sys/class/powercap/intel-rapl:0", 100.0),
        ("package-1", "/sys/class/powercap/intel-rapl:1", 110.0),
        ("package", "/sys/class/powercap/intel-rapl-mmio:0", 100.0),
        ("core", "/sys/class/powercap/intel-rapl:0:0", 60.0),
        ("dram", "/sys/class/powercap/intel-rapl:0:1", 20.0),
        ("psys", "/sys/class/powercap/intel-rapl:2", 400.0),
    ] {
        text += &format!(
            "kepler_node_cpu_watts{} {watts}\nkepler_node_cpu_joules_total{} {}\n",
            zone(name, path),
            zone(name, path),
            watts * 10.0
        );
    }
    let seen = read(&text);
    let value = |metric| seen.reading(0, metric).map(|(v, q, _)| (v, q));
    assert_eq!(value("cpu_power_watts"), Some((210.0, Quality::Measured)));
    assert_eq!(value("cpu_energy_joules"), Some((2100.0, Quality::Measured)));
    assert_eq!((seen.value(0, "memory_power_watts"), seen.value(0, "x_kepler_psys_watts")), (Some(20.0), Some(400.0)));
    assert_eq!(seen.value(0, "power_watts"), None, "a server's watts stand on its chassis");
    let in_a_vm = read_as(Kepler { modelled: true, ..Kepler::default() }, &text);
    assert_eq!(in_a_vm.reading(0, "cpu_power_watts").unwrap().1, Quality::Modelled);
}

#[test]
fn a_pods_share_is_modelled_and_one_that_ended_is_left_out() {
    let gone = POD.replace("11111111-1111-4111-8111-111111111111", "gone").replace("train-1", "train-0");
    let text = format!(
        "kepler_pod_cpu_watts{{{POD},state=\"running\",zone=\"package\"}} 30\nkepler_pod_cpu_watts{{{POD},state=\"running\",zone=\"dram\"}} 5\n\
         kepler_pod_cpu_watts{{{POD},state=\"running\",zone=\"core\"}} 20\nkepler_pod_cpu_watts{{{POD},state=\"running\",zone=\"psys\"}} 50\n\
         kepler_pod_gpu_watts{{{POD},state=\"running\"}} 300\nkepler_pod_cpu_joules_total{{{POD},state=\"running\",zone=\"package\"}} 1000\n\
         kepler_pod_cpu_joules_total{{{gone},state=\"terminated\",zone=\"package\"}} 5000\n\
         kepler_pod_cpu_watts{{{gone},state=\"terminated\",zone=\"package\"}} 7\n"
    );
    let seen = read(&text);
    let pod = seen.find("pod", "name", "train-1").unwrap();
    assert_eq!(seen.all("pod").len(), 1);
    assert_eq!((seen.label(pod, "uid"), seen.label(pod, "namespace")), (Some("11111111-1111-4111-8111-111111111111"), Some("ml")));
    assert_eq!(seen.reading(pod, "power_watts").map(|(v, q, _)| (v, q)), Some((335.0, Quality::Modelled)), "no zone that contains another");
    assert_eq!((seen.value(pod, "cpu_power_watts"), seen.value(pod, "accelerator_power_watts")), (Some(30.0), Some(300.0)));
    assert_eq!(seen.value(pod, "energy_joules"), Some(1000.0));
    assert_eq!(seen.parent(pod), Some(("node", 0)));
}

#[test]
fn a_container_finds_its_pod_by_uid_and_one_without_is_a_problem() {
    let container = |id: &str, pod: &str| {
        format!(
            "kepler_container_cpu_watts{{container_id=\"{id}\",container_name=\"main\",node_name=\"worker1\",pod_id=\"{pod}\",runtime=\"containerd\",state=\"running\",zone=\"package\"}} 12\n"
        )
    };
    let text = format!("kepler_pod_cpu_watts{{{POD},state=\"running\",zone=\"package\"}} 30\n")
        + &container("c1", "11111111-1111-4111-8111-111111111111")
        + &container("c2", "22222222-2222-4222-8222-222222222222")
        + &container("c3", "");
    let seen = read(&text);
    let one = seen.find("container", "runtime_id", "c1").unwrap();
    assert_eq!(seen.parent(one), Some(("pod", seen.find("pod", "name", "train-1").unwrap())));
    assert_eq!(seen.value(one, "power_watts"), Some(12.0));
    let alone = seen.find("container", "runtime_id", "c3").unwrap();
    assert_eq!(seen.parent(alone), Some(("node", seen.find("node", "node", "worker1").unwrap())));
    assert!(seen.find("container", "runtime_id", "c2").is_none() && seen.problems().contains("1 containers"), "{}", seen.problems());
}

#[test]
fn before_0_10_modes_are_summed_and_a_pod_is_its_containers() {
    let container = |name: &str, family: &str, mode: &str, value: f64| {
        format!(
            "kepler_container_{family}joules_total{{command=\"x\",container_id=\"{name}-id\",container_name=\"{name}\",container_namespace=\"ml\",mode=\"{mode}\",pod_name=\"train-1\",source=\"rapl\"}} {value}\n"
        )
    };
    let mut text = "kepler_node_info{cpu_architecture=\"x\"} 1\n".to_owned();
    for (package, mode, value) in [("0", "dynamic", 100.0), ("0", "idle", 50.0), ("1", "dynamic", 200.0), ("1", "idle", 60.0)] {
        text += &format!(
            "kepler_node_package_joules_total{{instance=\"other1\",mode=\"{mode}\",package=\"{package}\",source=\"rapl\"}} {value}\n"
        );
    }
    text += "kepler_node_core_joules_total{instance=\"other1\",mode=\"dynamic\",package=\"0\",source=\"rapl\"} 90\n";
    for name in ["main", "sidecar"] {
        for (family, value) in [("", 30.0), ("package_", 20.0), ("dram_", 6.0), ("other_", 4.0)] {
            text += &container(name, family, "dynamic", value);
            text += &container(name, family, "idle", 1.0);
        }
    }
    text += "kepler_container_joules_total{container_id=\"system_processes\",container_name=\"system_processes\",container_namespace=\"system\",mode=\"dynamic\",pod_name=\"system_processes\"} 77\n";
    let seen = read(&text);
    let node = seen.find("node", "node", "worker1").expect("the target's word comes first");
    assert_eq!((seen.value(node, "cpu_energy_joules"), seen.value(node, "x_kepler_core_joules_total")), (Some(410.0), Some(90.0)));
    let pod = seen.find("pod", "name", "train-1").unwrap();
    assert_eq!((seen.value(pod, "energy_joules"), seen.value(pod, "cpu_energy_joules")), (Some(62.0), Some(42.0)));
    assert_eq!((seen.value(pod, "memory_energy_joules"), seen.value(pod, "other_energy_joules")), (Some(14.0), Some(10.0)));
    assert_eq!(seen.value(seen.find("container", "name", "main").unwrap(), "energy_joules"), Some(31.0));
    assert_eq!(seen.all("pod").len(), 1, "the system's processes are no pod");
    assert_eq!(seen.value(node, "x_kepler_system_joules_total"), Some(77.0));
    let sum = "kepler_node_package_joules_total{mode=\"absolute\",package=\"0\"} 150\nkepler_node_package_joules_total{mode=\"dynamic\",package=\"0\"} 100\nkepler_node_package_joules_total{mode=\"idle\",package=\"0\"} 50\n";
    assert_eq!(read(sum).value(0, "cpu_energy_joules"), Some(150.0), "the sum beside its parts counts once");
}

#[test]
fn the_whole_server_stands_on_a_chassis_and_is_said_once() {
    let platform = |mode: &str, source: &str, value: f64| {
        format!("kepler_node_platform_joules_total{{instance=\"worker1\",mode=\"{mode}\",source=\"{source}\"}} {value}\n")
    };
    let seen = read(&(platform("dynamic", "redfish", 900.0) + &platform("idle", "redfish", 100.0) + &platform("dynamic", "acpi", 0.0)));
    let chassis = seen.find("chassis", "name", "kepler").unwrap();
    assert_eq!((seen.value(chassis, "energy_joules"), seen.label(chassis, "method")), (Some(1000.0), Some("kepler")));
    assert_eq!(seen.parent(chassis), Some(("node", seen.find("node", "node", "worker1").unwrap())));
    let none = read(&(platform("dynamic", "acpi", 0.0) + "kepler_node_package_joules_total{package=\"0\"} 5\n"));
    let chassis = none.find("chassis", "name", "kepler").unwrap();
    assert_eq!((none.value(chassis, "energy_joules"), none.gap(chassis, "energy_joules")), (None, Some(GapReason::Unsupported)));
    let watts = |chassis: &str, id: &str, kind: &str, value: f64| {
        format!(
            "kepler_platform_watts{{source=\"redfish\",node_name=\"worker1\",bmc_id=\"b\",chassis_id=\"{chassis}\",source_id=\"{id}\",source_name=\"{id}\",source_type=\"{kind}\"}} {value}\n"
        )
    };
    let both = read(
        &(watts("1", "PS1", "PowerSupply", 245.0) + &watts("1", "PS2", "PowerSupply", 200.0) + &watts("1", "0", "PowerControl", 430.0)),
    );
    let chassis = both.find("chassis", "name", "kepler").unwrap();
    assert_eq!(
        both.reading(chassis, "power_watts").map(|(v, q, _)| (v, q)),
        Some((445.0, Quality::Derived)),
        "supplies, or the control; never both"
    );
    let two = read(&(watts("1", "0", "PowerControl", 900.0) + &watts("HGX", "0", "PowerControl", 700.0)));
    let of = |entity: &str| two.reading(two.find("chassis", "entity", entity).unwrap(), "power_watts").map(|(v, q, _)| (v, q));
    assert_eq!((of("1"), of("HGX")), (Some((900.0, Quality::Measured)), Some((700.0, Quality::Measured))));
}

#[test]
fn cards_are_the_same_that_their_own_exporter_names() {
    let card = |uuid: &str, watts: f64| {
        format!(
            "kepler_node_gpu_watts{{gpu=\"0\",gpu_name=\"NVIDIA L40S\",gpu_uuid=\"{uuid}\",node_name=\"worker1\",vendor=\"nvidia\"}} {watts}\n"
        )
    };
    let seen = read(&(card("GPU-1", 300.0) + &card("GPU-2", 200.0)));
    let one = seen.find("accelerator", "uuid", "GPU-1").unwrap();
    assert_eq!(
        (seen.value(one, "power_watts"), seen.label(one, "model"), seen.label(one, "node")),
        (Some(300.0), Some("NVIDIA L40S"), Some("worker1"))
    );
    assert_eq!(seen.value(seen.find("node", "node", "worker1").unwrap(), "accelerator_power_watts"), Some(500.0));
}

#[test]
fn a_virtual_machine_needs_a_uuid_and_a_process_is_taken_only_when_asked_for() {
    let vm = |id: &str| {
        format!(
            "kepler_vm_cpu_watts{{hypervisor=\"kvm\",node_name=\"worker1\",state=\"running\",vm_id=\"{id}\",vm_name=\"instance-1\",zone=\"package\"}} 40\n"
        )
    };
    let process = "kepler_process_cpu_watts{comm=\"python3\",node_name=\"worker1\",pid=\"42\",state=\"running\",type=\"regular\",zone=\"package\"} 3\n";
    let text = vm("2ce4c5b3-2866-4972-93ce-77a2ea46a7f9") + &vm("fedora") + process;
    let seen = read(&text);
    let one = seen.find("vm", "uuid", "2ce4c5b3-2866-4972-93ce-77a2ea46a7f9").unwrap();
    assert_eq!((seen.value(one, "power_watts"), seen.label(one, "instance_name")), (Some(40.0), Some("instance-1")));
    assert!(seen.all("vm").len() == 1 && seen.problems().contains("without a UUID"), "{}", seen.problems());
    assert!(seen.all("process").is_empty());
    let with = read_as(Kepler { processes: true, ..Kepler::default() }, &text);
    let process = with.find("process", "pid", "42").unwrap();
    assert_eq!((with.value(process, "power_watts"), with.label(process, "command")), (Some(3.0), Some("python3")));
}

#[test]
fn a_machine_without_a_meter_is_no_machine_that_draws_nothing() {
    let seen = read(&format!(
        "kepler_node_cpu_joules_total{{node_name=\"worker1\",zone=\"package\"}} 0\nkepler_pod_cpu_joules_total{{{POD},state=\"running\",zone=\"package\"}} 0\n"
    ));
    let node = seen.find("node", "node", "worker1").unwrap();
    assert_eq!((seen.value(node, "cpu_energy_joules"), seen.gap(node, "cpu_energy_joules")), (None, Some(GapReason::Unsupported)));
    assert_eq!(seen.gap(seen.find("pod", "name", "train-1").unwrap(), "energy_joules"), Some(GapReason::Unsupported));
    // Beside others that draw something, a pod may well have drawn nothing.
    let idle = read(&format!(
        "kepler_node_cpu_joules_total{{node_name=\"worker1\",zone=\"package\"}} 10\nkepler_pod_cpu_joules_total{{{POD},state=\"running\",zone=\"package\"}} 0\n"
    ));
    assert_eq!(idle.value(idle.find("pod", "name", "train-1").unwrap(), "energy_joules"), Some(0.0));
}

#[test]
fn an_estimate_and_the_fake_meter_are_no_measurements() {
    for text in [
        "kepler_node_package_joules_total{instance=\"worker1\",mode=\"dynamic\",package=\"0\",source=\"trained_power_model\"} 5\n",
        "kepler_node_cpu_joules_total{node_name=\"worker1\",path=\"device/fake_cpu_meter/package\",zone=\"package\"} 5\n",
    ] {
        assert_eq!(read(text).reading(0, "cpu_energy_joules").unwrap().1, Quality::Modelled, "{text}");
    }
}

#[test]
fn behind_a_server_the_node_is_its_relabelled_its_own_or_nobody() {
    let row = |labels: &str| {
        format!(
            r#"{{"metric":{{"__name__":"kepler_node_package_joules_total","job":"kepler","mode":"dynamic","package":"0",{labels}}},"value":[1764000010,"5"]}}"#
        )
    };
    let container = r#"{"metric":{"__name__":"kepler_container_joules_total","job":"kepler","instance":"10.0.0.9:9102","container_name":"main","container_namespace":"ml","pod_name":"p","mode":"dynamic"},"value":[1764000010,"5"]}"#;
    let rows = [
        row(r#""instance":"10.0.0.1:9102","exported_instance":"worker1""#),
        row(r#""instance":"10.0.0.2:9102","exported_instance":"localhost.localdomain","node":"worker2""#),
        row(r#""instance":"worker3""#),
        container.to_owned(),
    ];
    let series: Vec<Series> = serde_json::from_str(&format!("[{}]", rows.join(","))).unwrap();
    let seen = Seen::series(&mut Kepler::default(), &series, &BTreeMap::new());
    let mut nodes: Vec<_> = seen.all("node").into_iter().map(|i| seen.label(i, "node").unwrap()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["worker1", "worker2", "worker3"]);
    // A pod is known by its cluster and name; where it runs another source says.
    assert_eq!(seen.parent(seen.find("pod", "name", "p").unwrap()), None);
}

/// A capture, or a loud word that it is not here.
fn capture(name: &str) -> Option<String> {
    let file = format!("{}/../../../shared/fixtures/kepler/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).ok();
    if text.is_none() {
        eprintln!("NOT RUN: {file} is not here");
    }
    text
}

#[test]
fn real_captures_are_read() {
    if let Some(text) = capture("old-issue-707-0.5-all-zero-on-ec2.prom") {
        let seen = read(&text);
        let pod = seen.find("pod", "name", "coredns-8fd4db68f-6r666").unwrap();
        assert_eq!((seen.value(pod, "energy_joules"), seen.gap(pod, "energy_joules")), (None, Some(GapReason::Unsupported)));
        assert_eq!((seen.all("pod").len(), seen.all("container").len()), (3, 4));
    }
    if let Some(text) = capture("old-pr-388-node-package-rows.prom") {
        let seen = read(&text);
        assert_eq!((seen.value(0, "x_kepler_core_joules_total"), seen.value(0, "memory_energy_joules")), (Some(0.005), Some(0.001)));
        let nobody = Seen::text(&mut Kepler::default(), &target("http://10.0.0.1:9102/metrics", &[]), &text);
        assert!(nobody.all("node").is_empty() && nobody.problems().contains("labels.node"), "localhost is nobody");
    }
    if let Some(text) = capture("new-pod-node-lines.prom") {
        let seen = read(&text);
        assert_eq!(seen.value(0, "cpu_power_watts"), Some(105.3));
        assert_eq!(seen.value(seen.find("pod", "name", "web-1").unwrap(), "power_watts"), Some(2.5));
        assert_eq!(seen.value(seen.find("pod", "name", "x").unwrap(), "memory_power_watts"), Some(0.0));
    }
    if let Some(text) = capture("ep001-redfish-platform-watts.prom") {
        let seen = read(&text);
        assert_eq!(seen.value(seen.find("chassis", "name", "kepler").unwrap(), "power_watts"), Some(245.0));
    }
}
