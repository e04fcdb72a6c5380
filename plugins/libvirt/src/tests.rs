use kcloud_collector_sdk::testing::{Seen, target};
use kcloud_collector_sdk::{GapReason, Quality};

use super::*;

const UUID: &str = "1bac351f-242e-4d53-8cf3-fd91b061069c";

fn read(text: &str) -> Seen {
    Seen::text(&mut Libvirt, &target("http://10.0.0.11:9177/metrics", &[("node", "worker1")]), text)
}

fn meta() -> String {
    format!(
        "libvirt_domain_info_meta{{domain=\"instance-1\",flavor=\"f\",instance_name=\"vm-1\",project_name=\"ml\",project_uuid=\"p1\",user_name=\"u\",user_uuid=\"u1\",uuid=\"{UUID}\"}} 1\n"
    )
}

#[test]
fn a_domain_is_the_machine_that_its_uuid_names() {
    let text = meta()
        + "libvirt_domain_info_virtual_cpus{domain=\"instance-1\"} 4\nlibvirt_domain_info_cpu_time_seconds_total{domain=\"instance-1\"} 949422.12\n\
           libvirt_domain_info_memory_usage_bytes{domain=\"instance-1\"} 8589934592\nlibvirt_domain_info_maximum_memory_bytes{domain=\"instance-1\"} 17179869184\n\
           libvirt_domain_info_vstate{domain=\"instance-1\"} 1\nlibvirt_domain_info_vstate{domain=\"stranger\"} 1\n";
    let seen = read(&text);
    let vm = seen.find("vm", "uuid", UUID).unwrap();
    assert_eq!(
        (seen.label(vm, "instance_name"), seen.label(vm, "name"), seen.label(vm, "project_id")),
        (Some("instance-1"), Some("vm-1"), Some("p1"))
    );
    assert_eq!((seen.value(vm, "vcpu_count"), seen.value(vm, "cpu_seconds_total")), (Some(4.0), Some(949_422.12)));
    assert_eq!(seen.value(vm, "memory_total_bytes"), Some(8_589_934_592.0), "what it has now, not what it may have");
    assert_eq!(
        (seen.state(vm, "power_state"), seen.parent(vm)),
        (Some("on"), Some(("node", seen.find("node", "node", "worker1").unwrap())))
    );
    assert!(seen.all("vm").len() == 1 && seen.problems().contains("1 domains without a UUID"), "{}", seen.problems());
}

#[test]
fn allocated_memory_is_not_used_memory() {
    let allocated = "libvirt_domain_info_memory_usage_bytes{domain=\"instance-1\"} 1000\n";
    let seen = read(&(meta() + allocated));
    assert_eq!(
        (seen.value(1, "memory_used_bytes"), seen.gap(1, "memory_used_bytes")),
        (None, Some(GapReason::Unsupported)),
        "no balloon driver"
    );
    let balloon = "libvirt_domain_memory_stats_available_bytes{domain=\"instance-1\"} 900\nlibvirt_domain_memory_stats_unused_bytes{domain=\"instance-1\"} 100\nlibvirt_domain_memory_stats_usable_bytes{domain=\"instance-1\"} 300\n";
    let seen = read(&(meta() + allocated + balloon));
    assert_eq!(seen.reading(1, "memory_used_bytes").map(|(v, q, _)| (v, q)), Some((600.0, Quality::Derived)), "cache can be had back");
    let nonsense = balloon.replace(" 300", " 3000");
    assert_eq!(read(&(meta() + allocated + &nonsense)).gap(1, "memory_used_bytes"), Some(GapReason::Unsupported));
}

#[test]
fn the_second_family_counts_in_nanoseconds_and_kib() {
    let of = format!("uuid=\"{UUID}\"");
    let text = format!(
        "libvirtd_domain_cpu_time{{{of}}} 1.5e+12\nlibvirtd_domain_balloon_current{{{of}}} 4.194304e+06\nlibvirtd_domain_balloon_maximum{{{of}}} 8.388608e+06\n\
         libvirtd_domain_balloon_available{{{of}}} 4000000\nlibvirtd_domain_balloon_usable{{{of}}} 1000000\nlibvirtd_domain_domain_state{{{of}}} 5\n\
         libvirtd_domain_vcpu_state{{{of},vcpu=\"0\"}} 1\nlibvirtd_domain_vcpu_state{{{of},vcpu=\"1\"}} 1\nlibvirtd_domain_vcpu_time{{{of},vcpu=\"1\"}} 5e+11\n\
         libvirtd_domain_seconds{{{of},instance_type=\"m1.large\",user_id=\"u1\",project_id=\"p1\"}} 17\n"
    );
    let seen = read(&text);
    let vm = seen.find("vm", "uuid", UUID).unwrap();
    assert_eq!((seen.value(vm, "cpu_seconds_total"), seen.value(vm, "vcpu_count")), (Some(1500.0), Some(2.0)));
    assert_eq!(seen.value(vm, "memory_total_bytes"), Some(4_294_967_296.0));
    assert_eq!(seen.value(vm, "memory_used_bytes"), Some(3_000_000.0 * 1_024.0));
    assert_eq!(
        (seen.state(vm, "power_state"), seen.label(vm, "flavor"), seen.label(vm, "project_id")),
        (Some("off"), Some("m1.large"), Some("p1"))
    );
    let second = seen.value(seen.find("x_vcpu", "index", "1").unwrap(), "cpu_seconds_total").unwrap();
    assert!((second - 500.0).abs() < 1e-9, "{second}");
}

#[test]
fn devices_are_summed_for_the_machine_and_kept_each() {
    let of = format!("uuid=\"{UUID}\"");
    let mut text = String::new();
    for (device, read, size) in [("vda", 100, 1000), ("vdb", 20, 5000)] {
        text += &format!(
            "libvirtd_domain_block_read_bytes{{{of},device=\"{device}\",path=\"/x\"}} {read}\nlibvirtd_domain_block_capacity{{{of},device=\"{device}\",path=\"/x\"}} {size}\n"
        );
    }
    text +=
        &format!("libvirtd_domain_net_rx_bytes{{{of},interface=\"tap0\"}} 7\nlibvirtd_domain_net_rx_bytes{{{of},interface=\"tap1\"}} 8\n");
    let seen = read(&text);
    let vm = seen.find("vm", "uuid", UUID).unwrap();
    assert_eq!((seen.value(vm, "disk_read_bytes_total"), seen.value(vm, "filesystem_total_bytes")), (Some(120.0), Some(6000.0)));
    assert_eq!(seen.value(vm, "network_rx_bytes_total"), Some(15.0));
    let second = seen.find("x_disk", "name", "vdb").unwrap();
    assert_eq!((seen.value(second, "disk_read_bytes_total"), seen.parent(second)), (Some(20.0), Some(("vm", vm))));
}

#[test]
fn every_state_of_libvirt_is_one_of_ours() {
    for (code, expected) in
        [(0, "unknown"), (1, "on"), (2, "on"), (3, "paused"), (4, "powering_off"), (5, "off"), (6, "off"), (7, "paused"), (9, "unknown")]
    {
        let seen = read(&format!("libvirtd_domain_domain_state{{uuid=\"{UUID}\"}} {code}\n"));
        assert_eq!(seen.state(seen.find("vm", "uuid", UUID).unwrap(), "power_state"), Some(expected), "{code}");
    }
}

#[test]
fn an_exporter_that_does_not_reach_libvirt_has_nothing_to_say() {
    let none = Seen::try_text(&mut Libvirt, &target("http://worker1:9177/metrics", &[]), "libvirt_up 0\n");
    assert!(matches!(none.err(), Some(CollectError::Unreachable(_))));
    // The host's name is the node's where nobody says better; an address is nobody's name.
    let state = format!("libvirtd_domain_domain_state{{uuid=\"{UUID}\"}} 1\n");
    assert!(Seen::text(&mut Libvirt, &target("http://worker7:9177/metrics", &[]), &state).find("node", "node", "worker7").is_some());
    assert!(Seen::text(&mut Libvirt, &target("http://10.0.0.7:9177/metrics", &[]), &state).all("node").is_empty());
}

#[test]
fn the_readmes_sample_is_read_whole() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/libvirt/tinkoff-readme.prom");
    let Ok(text) = std::fs::read_to_string(file) else {
        eprintln!("NOT RUN: {file} is not here");
        return;
    };
    let seen = read(&text);
    assert_eq!(seen.problems(), "");
    let vm = seen.find("vm", "uuid", UUID).unwrap();
    assert_eq!((seen.label(vm, "name"), seen.label(vm, "flavor")), (Some("name.of.instance.com"), Some("someflavor-8192")));
    assert_eq!((seen.value(vm, "vcpu_count"), seen.value(vm, "memory_total_bytes")), (Some(2.0), Some(8_589_934_592.0)));
    assert_eq!(seen.value(vm, "memory_used_bytes"), Some(8_363_945_984.0 - 2_270_986_240.0));
    assert_eq!(
        (seen.value(vm, "disk_read_bytes_total"), seen.value(vm, "network_tx_packets_total")),
        (Some(177_040_343_040.0), Some(2_275_386.0))
    );
}
