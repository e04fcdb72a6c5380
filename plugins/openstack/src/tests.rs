use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::testing::{Seen, target};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut OpenStack, &target("http://exporter:9180/metrics", &[]), text)
}

const SERVER: &str = r#"address_ipv4="1.2.3.4",address_ipv6="80fe::",availability_zone="nova",host_id="h",hypervisor_hostname="worker1",instance_libvirt="instance-00000001",name="vm-1",tenant_id="p1",user_id="u1""#;
const UUID: &str = "2ce4c5b3-2866-4972-93ce-77a2ea46a7f9";

fn server(more: &str) -> String {
    format!("openstack_nova_server_status{{{SERVER},id=\"{UUID}\",uuid=\"{UUID}\",{more}}} 0\n")
}

#[test]
fn a_server_has_its_project_its_host_and_what_its_flavour_gives() {
    let text = server("flavor_id=\"3\",status=\"ACTIVE\"")
        + "openstack_nova_flavor{disk=\"40\",id=\"3\",is_public=\"true\",name=\"m1.medium\",ram=\"4096\",vcpus=\"2\"} 1\n\
           openstack_identity_project_info{description=\"\",domain_id=\"default\",enabled=\"true\",id=\"p1\",is_domain=\"false\",name=\"ml\",parent_id=\"\"} 1\n"
        + &format!("openstack_nova_server_local_gb{{id=\"{UUID}\",name=\"vm-1\",tenant_id=\"p1\"}} 40\n");
    let seen = read(&text);
    let vm = seen.find("vm", "uuid", UUID).unwrap();
    assert_eq!(seen.parent(vm), Some(("node", seen.find("node", "node", "worker1").unwrap())));
    for (key, value) in [
        ("name", "vm-1"),
        ("project", "ml"),
        ("project_id", "p1"),
        ("user_id", "u1"),
        ("hypervisor", "worker1"),
        ("flavor", "m1.medium"),
        ("instance_name", "instance-00000001"),
        ("addresses", "1.2.3.4,80fe::"),
        ("availability_zone", "nova"),
    ] {
        assert_eq!(seen.label(vm, key), Some(value), "{key}");
    }
    assert_eq!((seen.state(vm, "vm_status"), seen.value(vm, "vcpu_count")), (Some("active"), Some(2.0)));
    assert_eq!(seen.value(vm, "memory_total_bytes"), Some(4096.0 * 1_048_576.0));
    assert_eq!(seen.value(vm, "filesystem_total_bytes"), Some(40.0 * 1_073_741_824.0));
}

#[test]
fn a_flavour_is_named_by_newer_clouds_and_may_be_unknown() {
    let flavor = "openstack_nova_flavor{disk=\"40\",id=\"3\",name=\"m1.medium\",ram=\"4096\",vcpus=\"2\"} 1\n";
    let named = read(&(server("flavor_id=\"m1.medium\",status=\"ACTIVE\"") + flavor));
    let vm = named.find("vm", "uuid", UUID).unwrap();
    assert_eq!((named.label(vm, "flavor"), named.value(vm, "vcpu_count")), (Some("m1.medium"), Some(2.0)));
    let unknown = read(&server("flavor_id=\"deleted-flavor\",status=\"ACTIVE\""));
    let vm = unknown.find("vm", "uuid", UUID).unwrap();
    assert_eq!((unknown.label(vm, "flavor"), unknown.value(vm, "vcpu_count")), (Some("deleted-flavor"), None), "unknown is not nothing");
}

#[test]
fn every_status_is_one_of_novas_and_another_is_unknown() {
    for (said, expected) in [
        ("SHUTOFF", "shutoff"),
        ("BUILD(spawning)", "build"),
        ("SHELVED_OFFLOADED", "shelved_offloaded"),
        ("FROZEN", "unknown"),
        ("", "unknown"),
    ] {
        let seen = read(&server(&format!("flavor_id=\"3\",status=\"{said}\"")));
        assert_eq!(seen.state(seen.find("vm", "uuid", UUID).unwrap(), "vm_status"), Some(expected), "{said}");
    }
}

#[test]
fn a_server_that_is_on_no_hypervisor_stands_below_none() {
    let text = server("flavor_id=\"3\",status=\"ERROR\"").replace("worker1", "");
    let seen = read(&text);
    let vm = seen.find("vm", "uuid", UUID).unwrap();
    assert_eq!((seen.parent(vm), seen.label(vm, "hypervisor")), (None, None));
    assert!(seen.all("node").is_empty());
}

#[test]
fn what_a_hypervisor_gave_is_called_allocated() {
    let host = "{aggregates=\"\",availability_zone=\"nova\",hostname=\"worker1\"}";
    let text = format!(
        "openstack_nova_vcpus_available{host} 64\nopenstack_nova_vcpus_used{host} 48\nopenstack_nova_memory_available_bytes{host} 1.103806595072e+12\n\
         openstack_nova_memory_used_bytes{host} 5.36870912e+08\nopenstack_nova_running_vms{{hostname=\"worker1\",tenant_id=\"a\"}} 3\nopenstack_nova_running_vms{{hostname=\"worker1\",tenant_id=\"b\"}} 4\n\
         openstack_placement_resource_total{{hostname=\"worker1\",resourcetype=\"VGPU\"}} 8\nopenstack_placement_resource_usage{{hostname=\"worker1\",resourcetype=\"CUSTOM_L40S.48\"}} 2\n"
    );
    let seen = read(&text);
    let value = |metric| seen.value(0, metric);
    assert_eq!((value("x_openstack_vcpus_count"), value("x_openstack_vcpus_allocated_count")), (Some(64.0), Some(48.0)));
    assert_eq!((value("x_openstack_memory_bytes"), value("x_openstack_vms_count")), (Some(1_103_806_595_072.0), Some(7.0)));
    assert_eq!(
        (value("x_openstack_placement_vgpu_total_count"), value("x_openstack_placement_custom_l40s_48_allocated_count")),
        (Some(8.0), Some(2.0))
    );
    assert_eq!((value("memory_used_bytes"), value("memory_total_bytes")), (None, None), "nobody used it");
}

#[test]
fn no_limit_is_no_number() {
    let seen = read(
        "openstack_nova_limits_vcpus_max{tenant=\"ml\",tenant_id=\"p1\"} -1\nopenstack_nova_limits_vcpus_used{tenant=\"ml\",tenant_id=\"p1\"} 12\n\
         openstack_nova_limits_memory_max{tenant=\"ml\",tenant_id=\"p1\"} 51200\nopenstack_nova_limits_instances_max{tenant=\"ml\",tenant_id=\"p1\"} -1\n\
         openstack_nova_quota_cores{tenant=\"ml\",tenant_id=\"p1\",type=\"limit\"} 20\n",
    );
    let project = seen.find("x_openstack_project", "name", "p1").unwrap();
    assert_eq!(
        (seen.value(project, "x_openstack_quota_vcpus_limit_count"), seen.value(project, "x_openstack_quota_vcpus_used_count")),
        (None, Some(12.0))
    );
    assert_eq!(seen.gap(project, "x_openstack_quota_vcpus_limit_count"), Some(GapReason::Absent));
    assert_eq!(seen.value(project, "x_openstack_quota_memory_limit_bytes"), Some(51_200.0 * 1_048_576.0));
    assert_eq!((seen.label(project, "unlimited"), seen.label(project, "project")), (Some("vcpus,vms"), Some("ml")));
}

#[test]
fn a_service_that_does_not_answer_is_said_and_without_nova_there_is_nothing() {
    let half = read(&(server("flavor_id=\"3\",status=\"ACTIVE\"") + "openstack_nova_up 1\nopenstack_placement_up 0\n"));
    assert!(half.problems().contains("placement") && half.all("vm").len() == 1, "{}", half.problems());
    let none = Seen::try_text(&mut OpenStack, &target("http://exporter:9180/metrics", &[]), "openstack_nova_up 0\n");
    assert!(matches!(none.err(), Some(CollectError::Unreachable(why)) if why.contains("nova")));
}

#[test]
fn the_exporters_own_expected_answer_is_read_whole() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/openstack/exporter-nova-expected.prom");
    let Ok(text) = std::fs::read_to_string(file) else {
        eprintln!("NOT RUN: {file} is not here");
        return;
    };
    let seen = read(&text);
    assert_eq!(seen.problems(), "");
    let vm = seen.find("vm", "uuid", UUID).unwrap();
    assert_eq!(
        (seen.label(vm, "flavor"), seen.label(vm, "hypervisor"), seen.state(vm, "vm_status")),
        (Some("m1.tiny"), Some("fake-mini"), Some("active"))
    );
    assert_eq!(seen.value(vm, "memory_total_bytes"), Some(512.0 * 1_048_576.0));
    assert_eq!(seen.all("vm").len(), 5, "four more have a disk");
    let host = seen.find("node", "node", "host1").unwrap();
    assert_eq!(
        (seen.value(host, "x_openstack_vcpus_count"), seen.value(host, "x_openstack_disk_free_bytes")),
        (Some(4.0), Some(1_103_806_595_072.0))
    );
    let agent = seen.find("x_openstack_agent", "name", "4").unwrap();
    assert_eq!((seen.state(agent, "x_openstack_agent_state"), seen.label(agent, "reason")), (Some("down"), Some("test4")));
    assert_eq!(seen.all("x_openstack_project").len(), 8);
}
