use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::testing::{Seen, target};
use kcloud_collector_sdk::{GapReason, Quality};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut NodeExporter::default(), &target("http://10.0.0.11:9100/metrics", &[("node", "worker1")]), text)
}

/// The capture of the real exporter, or a loud word that it is not here.
fn capture() -> Option<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/node_exporter/e2e-output.prom");
    let text = std::fs::read(file).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if text.is_none() {
        eprintln!("NOT RUN: {file} is not here");
    }
    text
}

#[test]
fn the_node_is_the_targets_else_its_own_name_else_where_it_was_reached() {
    let text = "node_uname_info{nodename=\"own1\",release=\"6.1.0\",machine=\"x86_64\"} 1\nnode_load1 0.5\n";
    let named = read(text);
    let node = named.find("node", "node", "worker1").unwrap();
    assert_eq!((named.label(node, "kernel_version"), named.label(node, "cpu_architecture")), (Some("6.1.0"), Some("x86_64")));
    assert_eq!(named.value(node, "load_1min_count"), Some(0.5));
    let bare = target("http://10.0.0.11:9100/metrics", &[]);
    assert!(Seen::text(&mut NodeExporter::default(), &bare, text).find("node", "node", "own1").is_some());
    assert!(Seen::text(&mut NodeExporter::default(), &bare, "node_load1 0.5\n").find("node", "node", "10.0.0.11").is_some());
}

fn modes(all: &[(f64, f64)], at_ms: i64) -> String {
    let one = |(cpu, (idle, user)): (usize, &(f64, f64))| {
        format!(
            "node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"idle\"}} {idle} {at_ms}\nnode_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"user\"}} {user} {at_ms}\n"
        )
    };
    all.iter().enumerate().map(one).collect()
}

/// With as much time in all modes as the clock says; where that would be less than nothing, none.
fn cpus(idle: &[f64], at_ms: i64) -> String {
    let user = |idle: &f64| ((at_ms - 1_764_000_000_000) as f64 / 1e3 + 100.0 - idle).max(0.0);
    modes(&idle.iter().map(|i| (*i, user(i))).collect::<Vec<_>>(), at_ms)
}

#[test]
fn utilisation_is_of_the_time_that_the_processors_counted_however_late_the_read_was() {
    let mut source = NodeExporter::default();
    let target = target("http://worker1:9100/metrics", &[]);
    let begin = 1_764_000_000_000;
    Seen::text(&mut source, &target, &modes(&[(100.0, 50.0), (100.0, 50.0)], begin));
    // Ten seconds of both processors, read a quarter of a second late.
    let seen = Seen::text(&mut source, &target, &modes(&[(110.0, 50.0), (105.0, 55.0)], begin + 10_250));
    assert_eq!(seen.value(0, "utilization_ratio"), Some(0.25));
    // Time that was stolen may fall: then the clock must do.
    let seen = Seen::text(&mut source, &target, &modes(&[(120.0, 40.0), (115.0, 45.0)], begin + 20_250));
    assert_eq!(seen.value(0, "utilization_ratio"), Some(0.0));
}

#[test]
fn utilisation_is_one_less_the_idle_rate_and_needs_two_reads() {
    let mut source = NodeExporter::default();
    let target = target("http://worker1:9100/metrics", &[]);
    let mut ratio = |text: String| {
        let seen = Seen::text(&mut source, &target, &text);
        (seen.reading(0, "utilization_ratio").map(|(v, q, _)| (v, q)), seen.gap(0, "utilization_ratio"))
    };
    let begin = 1_764_000_000_000;
    assert_eq!(ratio(cpus(&[100.0, 100.0], begin)), (None, Some(GapReason::Absent)), "one read says nothing");
    // 10 s passed on each of two processors; one idled all of it and the other half.
    assert_eq!(ratio(cpus(&[110.0, 105.0], begin + 10_000)), (Some((0.25, Quality::Derived)), None));
    assert_eq!(ratio(cpus(&[110.0, 105.0], begin + 10_000)), (Some((0.25, Quality::Derived)), None), "the same scrape again");
    assert_eq!(ratio(cpus(&[0.0, 0.0], begin + 20_000)), (None, Some(GapReason::Absent)), "it was started anew");
    assert_eq!(ratio(cpus(&[5.0], begin + 30_000)), (None, Some(GapReason::Absent)), "a processor went");
    assert_eq!(ratio(cpus(&[15.02], begin + 40_000)), (Some((0.0, Quality::Derived)), None), "never below nothing");
}

#[test]
fn rapl_zones_contain_each_other_and_are_never_added() {
    let text = "node_rapl_package_joules_total{index=\"0\",path=\"/sys/class/powercap/intel-rapl:0\"} 1000\n\
        node_rapl_package_joules_total{index=\"1\",path=\"/sys/class/powercap/intel-rapl:1\"} 2000\n\
        node_rapl_package_joules_total{index=\"0\",path=\"/sys/class/powercap/intel-rapl-mmio:0\"} 1000\n\
        node_rapl_core_joules_total{index=\"0\",path=\"/sys/class/powercap/intel-rapl:0:0\"} 600\n\
        node_rapl_dram_joules_total{index=\"0\",path=\"/sys/class/powercap/intel-rapl:0:1\"} 300\n\
        node_rapl_psys_joules_total{index=\"0\",path=\"/sys/class/powercap/intel-rapl:2\"} 9000\n";
    let seen = read(text);
    let value = |metric| seen.value(0, metric);
    assert_eq!(value("cpu_energy_joules"), Some(3000.0), "both packages, and none once more through other registers");
    assert_eq!(value("memory_energy_joules"), Some(300.0));
    assert_eq!((value("x_rapl_core_joules_total"), value("x_rapl_psys_joules_total")), (Some(600.0), Some(9000.0)));
}

#[test]
fn a_file_system_counts_once_and_only_if_it_is_the_nodes_own() {
    let mut text = String::new();
    for (device, kind, mount, size, free, available) in [
        ("/dev/sda2", "ext4", "/", 1000, 400, 350),
        ("/dev/sda2", "ext4", "/var/lib/kubelet/pods/x/volume-subpaths/y", 1000, 400, 350),
        ("/dev/nvme0n1", "xfs", "/data", 5000, 1000, 1000),
        ("tmpfs", "tmpfs", "/run", 64, 60, 60),
        ("overlay", "overlay", "/var/lib/docker/x", 1000, 400, 350),
        ("nas:/home", "nfs4", "/home", 90000, 1, 1),
        ("tank", "zfs", "/tank", 1000, 900, 900),
        ("tank/a", "zfs", "/tank/a", 1200, 900, 900),
    ] {
        let labels = format!("{{device=\"{device}\",fstype=\"{kind}\",mountpoint=\"{mount}\"}}");
        text += &format!(
            "node_filesystem_size_bytes{labels} {size}\nnode_filesystem_free_bytes{labels} {free}\nnode_filesystem_avail_bytes{labels} {available}\n"
        );
    }
    let seen = read(&text);
    // The pool: 100 of its own, 300 of its dataset, and 900 free.
    assert_eq!(seen.value(0, "filesystem_total_bytes"), Some(1000.0 + 5000.0 + 1300.0));
    assert_eq!(seen.value(0, "filesystem_used_bytes"), Some(600.0 + 4000.0 + 400.0));
    assert_eq!(seen.value(0, "filesystem_available_bytes"), Some(350.0 + 1000.0 + 900.0));
    assert_eq!(seen.all("x_filesystem").len(), 3);
    let root = seen.find("x_filesystem", "name", "/").unwrap();
    assert_eq!((seen.value(root, "filesystem_used_bytes"), seen.parent(root)), (Some(600.0), Some(("node", 0))));
}

#[test]
fn only_cards_and_drives_count() {
    let mut text = String::new();
    for (device, link, id) in [
        ("eth0", 2, 2),
        ("ib0", 3, 3),
        ("lo", 1, 1),
        ("cali12", 2, 9),
        ("docker0", 5, 5),
        ("bond7", 6, 6),
        ("eth0.100", 2, 7),
        ("mac0", 2, 8),
        ("trunk", 10, 10),
    ] {
        text += &format!(
            "node_network_receive_bytes_total{{device=\"{device}\"}} 100\nnode_network_iface_link{{device=\"{device}\"}} {link}\nnode_network_iface_id{{device=\"{device}\"}} {id}\n"
        );
    }
    text += "node_bonding_slaves{master=\"trunk\"} 2\n";
    for device in ["sda", "sda1", "nvme0n1", "nvme0n1p1", "nvme0c0n1", "dm-0", "md127", "loop3", "sr0", "xvda1", "mmcblk0boot0"] {
        text += &format!("node_disk_read_bytes_total{{device=\"{device}\"}} 10\n");
    }
    let seen = read(&text);
    assert_eq!(seen.value(0, "network_rx_bytes_total"), Some(200.0), "eth0 and ib0");
    assert_eq!(seen.value(0, "disk_read_bytes_total"), Some(30.0), "sda, nvme0n1, and xvda1, whose drive is not there");
    let mut names: Vec<_> = seen.all("x_nic").into_iter().map(|i| seen.label(i, "name").unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["eth0", "ib0"]);
    let mut source = NodeExporter::new(false, vec!["ib".into()]);
    let less = Seen::text(&mut source, &target("http://worker1:9100/metrics", &[]), &text);
    assert_eq!(less.value(0, "network_rx_bytes_total"), Some(100.0));
}

#[test]
fn a_sensor_has_its_label_where_it_is_alone_with_it_and_limits_where_they_are_set() {
    let text = "node_hwmon_chip_names{chip=\"platform_coretemp_0\",chip_name=\"coretemp\"} 1\n\
        node_hwmon_sensor_label{chip=\"platform_coretemp_0\",label=\"Package id 0\",sensor=\"temp1\"} 1\n\
        node_hwmon_sensor_label{chip=\"x\",label=\"same\",sensor=\"temp1\"} 1\nnode_hwmon_sensor_label{chip=\"x\",label=\"same\",sensor=\"temp2\"} 1\n\
        node_hwmon_temp_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"} 55\n\
        node_hwmon_temp_max_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"} 84\nnode_hwmon_temp_crit_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"} 100\n\
        node_hwmon_temp_celsius{chip=\"x\",sensor=\"temp1\"} 1\nnode_hwmon_temp_celsius{chip=\"x\",sensor=\"temp2\"} 2\nnode_hwmon_temp_celsius{chip=\"x\",sensor=\"temp3\"} NaN\n\
        node_hwmon_temp_max_celsius{chip=\"x\",sensor=\"temp1\"} 65261.85\nnode_hwmon_temp_crit_celsius{chip=\"x\",sensor=\"temp1\"} 0\n\
        node_hwmon_fan_rpm{chip=\"nct\",sensor=\"fan10\"} 0\nnode_hwmon_in_volts{chip=\"nct\",sensor=\"in0\"} 0.792\n\
        node_hwmon_power_average_watt{chip=\"gpu\",sensor=\"power1\"} 30\nnode_hwmon_power_watt{chip=\"gpu\",sensor=\"power1\"} 31\n";
    let seen = read(text);
    let cpu = seen.find("sensor", "name", "Package id 0").unwrap();
    assert_eq!((seen.label(cpu, "entity"), seen.label(cpu, "location")), (Some("platform_coretemp_0"), Some("coretemp")));
    assert_eq!(seen.value(cpu, "temperature_celsius"), Some(55.0));
    assert_eq!((seen.value(cpu, "threshold_upper_warning"), seen.value(cpu, "threshold_upper_critical")), (Some(84.0), Some(100.0)));
    let (one, three) = (seen.find("sensor", "name", "same temp1").unwrap(), seen.find("sensor", "name", "temp3").unwrap());
    assert!(seen.find("sensor", "name", "same temp2").is_some());
    assert_eq!((seen.value(one, "threshold_upper_warning"), seen.value(one, "threshold_upper_critical")), (None, None), "no limit is set");
    assert_eq!(seen.gap(three, "temperature_celsius"), Some(GapReason::Error));
    assert_eq!(seen.value(seen.find("fan", "name", "fan10").unwrap(), "fan_speed_rpm"), Some(0.0), "a fan that stands");
    assert_eq!(seen.value(seen.find("sensor", "name", "power1").unwrap(), "power_watts"), Some(31.0));
}

#[test]
fn memory_is_what_is_not_available_and_old_kernels_leave_that_to_us() {
    let seen = read("node_memory_MemTotal_bytes 1000\nnode_memory_MemAvailable_bytes 600\nnode_memory_MemFree_bytes 100\n");
    assert_eq!((seen.value(0, "memory_used_bytes"), seen.value(0, "memory_free_bytes")), (Some(400.0), Some(100.0)));
    assert_eq!(seen.reading(0, "memory_available_bytes").map(|(v, q, _)| (v, q)), Some((600.0, Quality::Measured)));
    let old = read(
        "node_memory_MemTotal_bytes 1000\nnode_memory_MemFree_bytes 100\nnode_memory_Buffers_bytes 50\nnode_memory_Cached_bytes 250\n",
    );
    assert_eq!(old.reading(0, "memory_available_bytes").map(|(v, q, _)| (v, q)), Some((400.0, Quality::Derived)));
}

#[test]
fn two_machines_behind_one_server_stay_two_each_at_its_own_scrape() {
    let series: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"node_load1","job":"node","instance":"10.0.0.1:9100"},"value":[1764000010,"1"]},
            {"metric":{"__name__":"node_uname_info","job":"node","instance":"10.0.0.1:9100","nodename":"worker1"},"value":[1764000010,"1"]},
            {"metric":{"__name__":"node_load1","job":"node","instance":"10.0.0.2:9100","node":"worker2"},"value":[1764000010,"2"]},
            {"metric":{"__name__":"node_load5","job":"node","instance":"10.0.0.2:9100","node":"worker2"},"value":[1764000010,"x"]},
            {"metric":{"__name__":"node_cpu_idle_seconds:sum","job":"node","instance":"10.0.0.2:9100","node":"worker2"},"value":[1764000010,"500"]},
            {"metric":{"__name__":"node_cpu_seconds:sum","job":"node","instance":"10.0.0.2:9100","node":"worker2"},"value":[1764000010,"900"]},
            {"metric":{"__name__":"node_cpu_idle_seconds:count","job":"node","instance":"10.0.0.2:9100","node":"worker2"},"value":[1764000010,"64"]}]"#,
    )
    .unwrap();
    let scraped = [(("node".to_owned(), "10.0.0.2:9100".to_owned()), 1_764_000_003_000i64)].into_iter().collect();
    let seen = Seen::series(&mut NodeExporter::default(), &series, &scraped);
    let (one, two) = (seen.find("node", "node", "worker1").unwrap(), seen.find("node", "node", "worker2").unwrap());
    assert_eq!(seen.value(one, "load_1min_count"), Some(1.0));
    assert_eq!(seen.reading(two, "load_1min_count").map(|(v, _, at)| (v, at)), Some((2.0, Some(1_764_000_003_000_000_000))));
    assert_eq!(seen.gap(two, "load_5min_count"), Some(GapReason::Error));
    assert_eq!(seen.value(two, "cpu_capacity_cores"), Some(64.0));
}

#[test]
fn the_real_exporters_own_example_is_read_whole() {
    let Some(text) = capture() else { return };
    let seen = read(&text);
    assert_eq!(seen.problems(), "");
    let value = |metric| seen.value(0, metric);
    assert_eq!((value("load_1min_count"), value("load_15min_count")), (Some(0.21), Some(0.39)));
    assert_eq!(value("memory_total_bytes"), Some(3_831_959_552.0));
    assert_eq!(value("cpu_energy_joules"), Some(240_422.366267));
    assert_eq!(value("x_rapl_core_joules_total"), Some(118_821.284256));
    assert_eq!(value("cpu_capacity_cores"), Some(8.0));
    assert_eq!(seen.all("sensor").iter().filter(|s| seen.label(**s, "sensor_type") == Some("temperature")).count(), 16);
    assert_eq!(seen.all("fan").len(), 3);
    // sda and mmcblk0 once: not dm-0, which lies on sda, and no partition.
    let mut drives: Vec<_> = seen.all("x_disk").into_iter().map(|i| seen.label(i, "name").unwrap()).collect();
    drives.sort_unstable();
    assert_eq!(drives, ["mmcblk0", "nvme0n1", "sda", "sdb", "sdc", "vda"]);
    let gpu = seen.find("sensor", "name", "foosensor temp1").unwrap();
    assert_eq!(seen.value(gpu, "temperature_celsius"), Some(55.0));
}
