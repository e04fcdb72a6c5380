//! Real exporters of Debian's, read straight and by way of a real Prometheus.

mod bmc;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kcloud_collector_test::{Answer, Collected, Kind, Plugin, Recorded, Setup, target};
use kcloud_e2e::{component, root, until};
use kcloud_monitor::config::{Cluster, Config, Loader};
use serde_json::json;

const WALL: Duration = Duration::from_secs(10);

/// Ends what it started, by its process id.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("a part did not end: {error}");
        }
    }
}

/// Starts a part, or says loudly that it is not here.
fn part(command: &mut Command) -> Option<Part> {
    match command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn() {
        Ok(child) => Some(Part(child)),
        Err(error) => {
            eprintln!("NOT RUN: {:?}: {error}; `apt-get install` it (cargo xtask test tries to)", command.get_program());
            None
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Prometheus with this scrape configuration, every second.
fn prometheus(dir: &Path, jobs: &str) -> Option<(Part, String)> {
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}")).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display())).arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    let part = part(command.arg(format!("--web.listen-address=127.0.0.1:{port}")))?;
    Some((part, format!("http://127.0.0.1:{port}")))
}

async fn plugin(name: &str, address: &str, config: serde_json::Value) -> Plugin {
    // Some read dumps, too, and ask for files.
    let files = vec!["/nowhere/*.json".to_owned()];
    let setup = Setup { http: vec![address.to_owned()], files, config, ..Setup::default() };
    Plugin::load(&component(name), setup).await.expect("it loads")
}

/// Reads until there is what is waited for.
async fn read<T>(what: &str, plugin: &Plugin, address: &str, labels: &[(&str, &str)], check: impl Fn(&Collected) -> Option<T>) -> T {
    let target = target("t", address, labels);
    until(what, async || plugin.collect(&target, WALL).await.ok().and_then(|read| check(&read))).await
}

fn node_exporter() -> Option<(Part, String)> {
    let port = free_port();
    let part = part(Command::new("prometheus-node-exporter").arg(format!("--web.listen-address=127.0.0.1:{port}")))?;
    Some((part, format!("127.0.0.1:{port}")))
}

fn memory_of_this_machine() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|l| l.starts_with("MemTotal:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// What every way to this machine must agree in.
fn of_this_machine(read: &Collected, name: &str) -> Option<f64> {
    let node = read.subject(Kind::Node, "node", name)?;
    let ratio = read.value(node, "utilization_ratio")?;
    assert!((0.0..=1.0).contains(&ratio), "{ratio}");
    assert_eq!(read.value(node, "memory_total_bytes"), Some(memory_of_this_machine()));
    let cpus = std::fs::read_to_string("/proc/stat").unwrap().lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    assert_eq!(read.value(node, "cpu_capacity_cores"), Some(cpus as f64));
    assert!(read.value(node, "load_1min_count").is_some() && read.value(node, "memory_used_bytes") < Some(memory_of_this_machine()));
    assert!(read.subjects(Kind::Other).all(|(_, s)| s.identity.iter().all(|(_, v)| v != "lo")), "loopback is no card");
    Some(ratio)
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_by_way_of_a_real_node_exporter() {
    let Some((_part, at)) = node_exporter() else { return };
    let address = format!("http://{at}/metrics");
    let plugin = plugin("node-exporter", &address, json!({ "pressure": true })).await;
    read("a second read", &plugin, &address, &[("node", "worker1")], |r| of_this_machine(r, "worker1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_by_way_of_a_real_prometheus() {
    let Some((_part, at)) = node_exporter() else { return };
    let dir = tempfile::tempdir().unwrap();
    let jobs = format!("  - job_name: node\n    static_configs: [{{targets: ['{at}'], labels: {{node: worker1}}}}]\n");
    let Some((_server, address)) = prometheus(dir.path(), &jobs) else { return };
    for (name, config) in [("node-exporter", json!({ "transport": "promql" })), ("prometheus", json!({ "discover_seconds": 1 }))] {
        let plugin = plugin(name, &address, config).await;
        read("two scrapes", &plugin, &address, &[], |r| of_this_machine(r, "worker1")).await;
    }
}

/// An ipmi_exporter that logs in as the simulator wants it, of these collectors.
fn ipmi_exporter(dir: &Path, collectors: &str) -> Option<(Part, String)> {
    let flags = "[\"-I\", \"3\"]";
    let module = format!(
        "modules: {{default: {{user: admin, pass: secret1, driver: LAN_2_0, privilege: admin, timeout: 5000, collectors: [{collectors}], \
         workaround_flags: [opensesspriv], custom_args: {{ipmi: {flags}, bmc: {flags}, chassis: {flags}, sel: {flags}, dcmi: {flags}}}}}}}\n"
    );
    let config = dir.join("ipmi_exporter.yml");
    std::fs::write(&config, module).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus-ipmi-exporter");
    command.arg(format!("--config.file={}", config.display())).arg(format!("--web.listen-address=127.0.0.1:{port}"));
    Some((part(&mut command)?, format!("127.0.0.1:{port}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_bmc_by_way_of_a_real_ipmi_exporter() {
    let dir = tempfile::tempdir().unwrap();
    let bmc_port = free_port();
    if bmc::write(dir.path(), bmc_port).is_none() {
        return;
    }
    let Some(simulator) = part(&mut bmc::simulator(dir.path())) else { return };
    let Some((_exporter, at)) = ipmi_exporter(dir.path(), "bmc, ipmi, chassis, sel") else { return };
    let address = format!("http://{at}/ipmi?target=127.0.0.1:{bmc_port}&module=default");
    let plugin = plugin("ipmi-exporter", &format!("http://{at}/"), json!({})).await;
    let labels = [("node", "worker1")];
    let watts = read("the supply's watts", &plugin, &address, &labels, |r| {
        let psu = r.subject(Kind::Psu, "name", "PSU1")?;
        let temperature = r.subject(Kind::Sensor, "name", "GPU0 Temp")?;
        assert_eq!(r.value(temperature, "temperature_celsius"), Some(61.0));
        assert_eq!(r.value(r.subject(Kind::Fan, "name", "Fan1")?, "fan_speed_rpm"), Some(8_400.0));
        assert_eq!(r.value(r.subject(Kind::Sensor, "name", "12V rail")?, "voltage_volts"), Some(12.06));
        assert_eq!(r.subjects(Kind::Psu).count(), 1, "its status is one of its sensors");
        let chassis = r.subject(Kind::Chassis, "name", "bmc")?;
        assert_eq!(
            (r.value(chassis, "power_state"), r.value(chassis, "x_ipmi_sel_count")),
            (Some(0.0), Some(0.0)),
            "on, and nothing in its log"
        );
        assert!(r.subject(Kind::Node, "bmc_address", "127.0.0.1").is_some());
        r.value(psu, "power_input_watts")
    })
    .await;
    assert_eq!(watts, 744.0);
    bmc::set(dir.path(), 1, 97);
    let state = read("the new temperature", &plugin, &address, &labels, |r| {
        let sensor = r.subject(Kind::Sensor, "name", "GPU0 Temp")?;
        (r.value(sensor, "temperature_celsius") == Some(97.0)).then(|| r.value(sensor, "sensor_state"))
    })
    .await;
    // nominal, warning, critical, unknown
    assert_eq!(state, Some(2.0));
    // A collector that the BMC has no answer for leaves the others' whole.
    let Some((_more, with_dcmi)) = ipmi_exporter(dir.path(), "chassis, dcmi") else { return };
    let half = Setup { http: vec![format!("http://{with_dcmi}/")], ..Setup::default() };
    let half = Plugin::load(&component("ipmi-exporter"), half).await.expect("it loads");
    let address_with_dcmi = address.replace(&at, &with_dcmi);
    let problems = read("half an answer", &half, &address_with_dcmi, &labels, |r| {
        assert!(r.subject(Kind::Chassis, "name", "dcmi").is_none(), "no watts are no chassis");
        r.subject(Kind::Chassis, "name", "bmc").map(|_| r.batch.problems.join("; "))
    })
    .await;
    assert!(problems.contains("dcmi"), "{problems}");
    drop(simulator);
    let target = target("t", &address_with_dcmi, &labels);
    let error = until("the BMC is gone", async || half.collect(&target, Duration::from_secs(30)).await.err()).await.to_string();
    assert!(error.contains("127.0.0.1") && error.contains("unreachable"), "{error}");
}

const VM: &str = "2ce4c5b3-2866-4972-93ce-77a2ea46a7f9";

fn kepler() -> String {
    let pod = "node_name=\"worker1\",pod_id=\"11111111-1111-4111-8111-111111111111\",pod_name=\"train-1\",pod_namespace=\"ml\"";
    format!(
        "kepler_node_cpu_watts{{node_name=\"worker1\",path=\"/sys/class/powercap/intel-rapl:0\",zone=\"package\"}} 105.5\n\
         kepler_pod_cpu_watts{{{pod},state=\"running\",zone=\"package\"}} 30\nkepler_pod_cpu_watts{{{pod},state=\"running\",zone=\"dram\"}} 5\n\
         kepler_pod_cpu_watts{{node_name=\"worker1\",pod_id=\"gone\",pod_name=\"gone\",pod_namespace=\"ml\",state=\"terminated\",zone=\"package\"}} 9\n\
         kepler_platform_watts{{source=\"redfish\",node_name=\"worker1\",bmc_id=\"b\",chassis_id=\"1\",source_id=\"0\",source_name=\"c\",source_type=\"PowerControl\"}} 430\n"
    )
}

fn openstack() -> String {
    format!(
        "openstack_nova_up 1\nopenstack_nova_flavor{{disk=\"40\",id=\"3\",name=\"m1.medium\",ram=\"4096\",vcpus=\"2\"}} 1\n\
         openstack_nova_server_status{{flavor_id=\"3\",hypervisor_hostname=\"worker1\",id=\"{VM}\",instance_libvirt=\"instance-1\",name=\"vm-1\",status=\"ACTIVE\",tenant_id=\"p1\",user_id=\"u1\",uuid=\"{VM}\"}} 0\n\
         openstack_nova_agent_state{{adminState=\"enabled\",hostname=\"worker1\",id=\"1\",service=\"nova-compute\",zone=\"nova\"}} 1\n\
         openstack_nova_limits_vcpus_max{{tenant=\"ml\",tenant_id=\"p1\"}} -1\n\
         openstack_placement_resource_total{{hostname=\"worker1\",resourcetype=\"VGPU\"}} 8\n"
    )
}

fn libvirt() -> String {
    format!(
        "libvirtd_domain_domain_state{{uuid=\"{VM}\"}} 1\nlibvirtd_domain_balloon_current{{uuid=\"{VM}\"}} 4194304\n\
         libvirtd_domain_net_rx_bytes{{uuid=\"{VM}\",interface=\"tap0\"}} 7\nlibvirtd_domain_vcpu_state{{uuid=\"{VM}\",vcpu=\"0\"}} 1\n"
    )
}

/// What every way to these three pages must agree in.
fn of_the_pages(read: &Collected, of: &str) -> Option<()> {
    match of {
        "kepler" => {
            let node = read.subject(Kind::Node, "node", "worker1")?;
            let pod = read.subject(Kind::Pod, "name", "train-1")?;
            let chassis = read.subject(Kind::Chassis, "method", "kepler")?;
            assert_eq!((read.value(node, "cpu_power_watts"), read.value(chassis, "power_watts")), (Some(105.5), Some(430.0)));
            assert_eq!((read.value(pod, "power_watts"), read.subjects(Kind::Pod).count()), (Some(35.0), 1));
        }
        "openstack" => {
            let vm = read.subject(Kind::Vm, "uuid", VM)?;
            assert_eq!((read.value(vm, "vcpu_count"), read.value(vm, "vm_status")), (Some(2.0), Some(0.0)));
            let node = read.subject(Kind::Node, "node", "worker1")?;
            assert_eq!(read.value(node, "x_openstack_placement_vgpu_total_count"), Some(8.0));
            assert!(read.subject(Kind::Other, "unlimited", "vcpus").is_some());
        }
        _ => {
            let vm = read.subject(Kind::Vm, "uuid", VM)?;
            assert_eq!(
                (read.value(vm, "memory_total_bytes"), read.value(vm, "network_rx_bytes_total")),
                (Some(4_294_967_296.0), Some(7.0))
            );
            assert_eq!(read.value(vm, "power_state"), Some(0.0));
        }
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kepler_openstack_and_libvirt_say_the_same_straight_and_by_way_of_a_real_prometheus() {
    let pages = [("kepler", kepler()), ("openstack", openstack()), ("libvirt", libvirt())];
    let paths = pages.each_ref().map(|(name, page)| (format!("/{name}/metrics"), Answer::text(page.clone())));
    let recorded = Recorded::start(paths.iter().map(|(path, answer)| (path.as_str(), answer.clone()))).await.expect("a port");
    for (name, _) in &pages {
        let address = recorded.address(&format!("/{name}/metrics"));
        let plugin = plugin(name, &address, json!({})).await;
        read(name, &plugin, &address, &[("node", "worker1")], |r| of_the_pages(r, name)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let host = recorded.address("").replace("http://", "");
    let job = |name: &str| {
        format!(
            "  - job_name: {name}\n    metrics_path: /{name}/metrics\n    static_configs: [{{targets: ['{host}'], labels: {{node: worker1}}}}]\n"
        )
    };
    let Some((_server, address)) = prometheus(dir.path(), &pages.each_ref().map(|(name, _)| job(name)).concat()) else { return };
    for (name, _) in &pages {
        let plugin = plugin(name, &address, json!({ "transport": "promql" })).await;
        read(name, &plugin, &address, &[], |r| of_the_pages(r, name)).await;
    }
    let all = plugin("prometheus", &address, json!({ "discover_seconds": 1 })).await;
    read("all of them in one", &all, &address, &[], |r| pages.iter().all(|(name, _)| of_the_pages(r, name).is_some()).then_some(())).await;
}

/// What a machine of 256 processors with 200 pods shows.
fn a_large_node() -> String {
    let mut page = "node_uname_info{nodename=\"worker1\",release=\"6.8.0\",machine=\"x86_64\"} 1\n".to_owned();
    for cpu in 0..256 {
        for mode in ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"] {
            page += &format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} 12345.67\n");
        }
    }
    for family in [
        "receive_bytes",
        "receive_packets",
        "receive_errs",
        "receive_drop",
        "transmit_bytes",
        "transmit_packets",
        "transmit_errs",
        "transmit_drop",
    ] {
        for pod in 0..200 {
            page += &format!("node_network_{family}_total{{device=\"cali{pod:011x}\"}} 12345\n");
        }
        page += &format!("node_network_{family}_total{{device=\"eth0\"}} 12345\n");
    }
    for family in ["size", "free", "avail", "files", "files_free", "readonly"] {
        for pod in 0..400 {
            page += &format!(
                "node_filesystem_{family}_bytes{{device=\"tmpfs\",fstype=\"tmpfs\",mountpoint=\"/var/lib/kubelet/pods/{pod}/volumes/token\"}} 65536\n"
            );
        }
        page += &format!("node_filesystem_{family}_bytes{{device=\"/dev/sda2\",fstype=\"ext4\",mountpoint=\"/\"}} 65536\n");
    }
    page
}

/// What a Kepler of 250 pods with three containers each and 1,000 processes shows.
fn a_large_kepler() -> String {
    let mut page = String::new();
    for family in ["watts", "joules_total"] {
        for zone in ["package", "dram", "core", "psys"] {
            page += &format!("kepler_node_cpu_{family}{{node_name=\"worker1\",path=\"/sys/{zone}\",zone=\"{zone}\"}} 100\n");
            for pod in 0..250 {
                page += &format!(
                    "kepler_pod_cpu_{family}{{node_name=\"worker1\",pod_id=\"{pod}\",pod_name=\"pod-{pod}\",pod_namespace=\"ml\",state=\"running\",zone=\"{zone}\"}} 1.5\n"
                );
                for container in 0..3 {
                    page += &format!(
                        "kepler_container_cpu_{family}{{container_id=\"{pod}-{container}\",container_name=\"c{container}\",node_name=\"worker1\",pod_id=\"{pod}\",runtime=\"containerd\",state=\"running\",zone=\"{zone}\"}} 0.5\n"
                    );
                }
            }
            for pid in 0..1_000 {
                page += &format!(
                    "kepler_process_cpu_{family}{{comm=\"python3\",exe=\"/usr/bin/python3\",node_name=\"worker1\",pid=\"{pid}\",state=\"running\",type=\"regular\",zone=\"{zone}\"}} 0.1\n"
                );
            }
        }
    }
    page
}

/// What a cloud of 2,000 machines shows.
fn a_large_cloud() -> String {
    let mut page = "openstack_nova_up 1\n".to_owned();
    for flavor in 0..50 {
        page += &format!("openstack_nova_flavor{{disk=\"40\",id=\"{flavor}\",name=\"f{flavor}\",ram=\"4096\",vcpus=\"2\"}} 1\n");
    }
    for vm in 0..2_000 {
        let uuid = format!("2ce4c5b3-2866-4972-93ce-{vm:012x}");
        page += &format!(
            "openstack_nova_server_status{{address_ipv4=\"10.0.0.1\",flavor_id=\"{}\",hypervisor_hostname=\"worker{}\",id=\"{uuid}\",instance_libvirt=\"i-{vm}\",name=\"vm-{vm}\",status=\"ACTIVE\",tenant_id=\"p{}\",user_id=\"u\",uuid=\"{uuid}\"}} 0\n",
            vm % 50,
            vm % 40,
            vm % 30
        );
    }
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_that_one_exporter_shows_is_read_within_the_default_budget() {
    let pages = [
        ("node-exporter", a_large_node(), Kind::Node, 1),
        ("kepler", a_large_kepler(), Kind::Container, 750),
        ("openstack", a_large_cloud(), Kind::Vm, 2_000),
    ];
    let paths = pages.each_ref().map(|(name, page, ..)| (format!("/{name}"), Answer::text(page.clone())));
    let recorded = Recorded::start(paths.iter().map(|(path, answer)| (path.as_str(), answer.clone()))).await.expect("a port");
    for (name, page, kind, count) in &pages {
        let address = recorded.address(&format!("/{name}"));
        let plugin = plugin(name, &address, json!({})).await;
        let began = std::time::Instant::now();
        let read = plugin.collect(&target("t", &address, &[("node", "worker1")]), WALL).await.expect("within its budget");
        eprintln!("{name}: {} KiB in {:?}", page.len() >> 10, began.elapsed());
        assert_eq!(read.subjects(*kind).count(), *count, "{name}");
    }
}

/// A sample with every line that an operator would uncomment.
fn whole(sample: &str) -> String {
    let is_setting = |line: &str| {
        let key: String = line.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        line.starts_with("[[") || line == "[limits]" || !key.is_empty() && line[key.len()..].starts_with(" = ")
    };
    let one = |line: &str| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line).to_owned() + "\n";
    sample.lines().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_taken_with_all_that_it_offers() {
    let names = ["ipmi-exporter", "kepler", "libvirt", "node-exporter", "openstack", "prometheus"];
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let sample = std::fs::read_to_string(root().join(format!("config/plugins.d/{name}.toml"))).unwrap();
        std::fs::write(dir.path().join(format!("{name}.toml")), whole(&sample).replace("credential = ", "# ")).unwrap();
    }
    let mut config = Config::default();
    config.plugins.config_dir = dir.path().to_owned();
    config.clusters.insert("cluster1".to_owned(), Cluster::default());
    let look = Loader::default().look(&config);
    assert!(look.problems.is_empty(), "{:?}", look.problems);
    assert_eq!(look.settings.len(), names.len());
    for settings in look.settings {
        assert!(!settings.targets.is_empty() && settings.grants.http.is_some(), "{}", settings.component);
        let setup = Setup { config: settings.config.clone(), http: vec!["http://127.0.0.1:9/".to_owned()], ..Setup::default() };
        Plugin::load(&component(&settings.component), setup).await.expect("its schema takes it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_that_comes_in_between_gives_no_new_values_the_time_of_the_old_ones() {
    let vector = json!({ "status": "success", "data": { "resultType": "vector", "result": [{ "metric": {}, "value": [1_764_000_010.5, "1764000010.5"] }] } });
    let recorded = Recorded::start([("/api/v1/query", Answer::json(&vector))]).await.expect("a port");
    let address = recorded.address("");
    let plugin = plugin("node-exporter", &address, json!({ "transport": "promql" })).await;
    plugin.collect(&target("t", &address, &[]), WALL).await.expect("an answer, of whatever");
    let asked = recorded.asked();
    assert!(asked[0].contains("time%28%29") && !asked[0].contains("&time="), "first what time it is: {}", asked[0]);
    assert!(asked.len() > 4 && asked[1..].iter().all(|q| q.ends_with("&time=1764000008.500")), "then all of one moment: {asked:?}");
}

/// A page of each exporter of accelerators, and of its one card a metric that every way to it must agree in.
const CARDS: [(&str, &str, &str, f64); 6] = [
    (
        "amd",
        "amd_gpu_package_power{card_series=\"AMD Instinct MI300X\",gpu_id=\"0\",gpu_partition_id=\"0\",serial_number=\"S1\"} 512\n",
        "power_watts",
        512.0,
    ),
    ("intel-gaudi", "accelerator_power_usage_watts{UUID=\"U1\",Serial=\"AN1\",id=\"0\"} 226000\n", "power_watts", 226.0),
    ("intel-gpu", "hw_power_watts{hw_id=\"gpu-uuid-0\",hw_sensor_location=\"card\",pci_bdf=\"0000:03:00.0\"} 31.5\n", "power_watts", 31.5),
    ("nvidia-gpu-exporter", "nvidia_smi_power_draw_watts{uuid=\"a1b2\"} 144.97\n", "power_watts", 144.97),
    ("tenstorrent", "TDP{chip=\"0\",tray=\"1\",hostname=\"worker1\",unit=\"W\"} 62\n", "power_watts", 62.0),
    ("google-tpu", "duty_cycle{accelerator_id=\"77-0\",make=\"cloud-tpu\",model=\"tpu-v6e-slice\"} 50\n", "utilization_ratio", 0.5),
];

#[tokio::test(flavor = "multi_thread")]
async fn cards_of_every_vendor_are_the_same_straight_and_by_way_of_a_real_prometheus() {
    let paths = CARDS.map(|(name, page, ..)| (format!("/{name}/metrics"), Answer::text(page)));
    let recorded = Recorded::start(paths.iter().map(|(path, answer)| (path.as_str(), answer.clone()))).await.expect("a port");
    let is_said = |read: &Collected, of: &str| {
        let (_, _, metric, expected) = CARDS.iter().find(|c| c.0 == of)?;
        let said = |(at, _)| read.value(at, metric) == Some(*expected);
        read.subjects(Kind::Accelerator).any(said).then_some(())
    };
    for (name, ..) in CARDS {
        let address = recorded.address(&format!("/{name}/metrics"));
        let plugin = plugin(name, &address, json!({})).await;
        read(name, &plugin, &address, &[("node", "worker1")], |r| is_said(r, name)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let host = recorded.address("").replace("http://", "");
    let job = |name: &str| {
        format!(
            "  - job_name: {name}\n    metrics_path: /{name}/metrics\n    static_configs: [{{targets: ['{host}'], labels: {{node: worker1}}}}]\n"
        )
    };
    let Some((_server, address)) = prometheus(dir.path(), &CARDS.map(|(name, ..)| job(name)).concat()) else { return };
    for (name, ..) in CARDS {
        let plugin = plugin(name, &address, json!({ "transport": "promql" })).await;
        read(name, &plugin, &address, &[], |r| is_said(r, name)).await;
    }
    let all = plugin("prometheus", &address, json!({ "discover_seconds": 1 })).await;
    read("all of them in one", &all, &address, &[], |r| CARDS.iter().all(|(name, ..)| is_said(r, name).is_some()).then_some(())).await;
}
