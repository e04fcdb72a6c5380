//! A node's own figures, with what a reader must not add up: file systems mounted twice, memory file systems, virtual devices.

use crate::page::Page;
use crate::power::bytes_per_second;
use crate::world::{GIB, Node};
use crate::{Fleet, Moment, mix};

/// Device, type, mount point, bytes. Real file systems; others below are not.
pub(crate) const FILESYSTEM_BYTES: &[(&str, &str, &str, u64)] =
    &[("/dev/nvme0n1p2", "ext4", "/", 440 * GIB), ("/dev/nvme1n1p1", "xfs", "/data", 3_500 * GIB)];

pub(crate) fn filesystem_used(node: &Node, which: usize) -> u64 {
    FILESYSTEM_BYTES[which].3 / 4_096 * (200 + mix(&[node.id, 11, which as u64]) % 500) / 1_000 * 4_096
}

/// Bytes a second of its one wire: in, out.
pub(crate) fn rates(node: &Node, tick: u64) -> (u64, u64) {
    (bytes_per_second(node, 12, 180_000_000, tick), bytes_per_second(node, 13, 90_000_000, tick))
}

pub(crate) fn write(fleet: &Fleet, node: usize, moment: Moment) -> String {
    let at = &fleet.nodes[node];
    let mut page = Page::new();
    let now = moment.at_ms as f64 / 1e3;
    page.gauge("node_uname_info").sample(
        &[
            ("domainname", "(none)"),
            ("machine", "x86_64"),
            ("nodename", &at.name),
            ("release", "6.8.0-60-generic"),
            ("sysname", "Linux"),
            ("version", "#63-Ubuntu SMP"),
        ],
        1.0,
    );
    page.gauge("node_os_info")
        .sample(&[("id", "ubuntu"), ("name", "Ubuntu"), ("pretty_name", "Ubuntu 24.04.2 LTS"), ("version_id", "24.04")], 1.0);
    page.gauge("node_dmi_info").sample(
        &[
            ("bios_vendor", "Contoso"),
            ("chassis_vendor", "Contoso"),
            ("product_name", if at.is_master { "C1" } else { "G8" }),
            ("product_uuid", &at.system_uuid()),
            ("system_vendor", "Contoso"),
        ],
        1.0,
    );
    page.gauge("node_boot_time_seconds").sample(&[], moment.unix(0));
    page.gauge("node_time_seconds").sample(&[], now);
    // Thousandths of cores are whole; each CPU has its even share of them.
    let (busy, idle) = (
        moment.lifetime(0, |t| fleet.millicores(node, t)) / 1e3,
        moment.lifetime(0, |t| at.cores * 1_000 - fleet.millicores(node, t)) / 1e3,
    );
    page.counter("node_cpu_seconds_total");
    for cpu in 0..at.cores {
        let name = cpu.to_string();
        let share = |of: f64| of / at.cores as f64;
        for (mode, seconds) in [
            ("idle", idle * 0.99),
            ("iowait", idle * 0.01),
            ("irq", 0.0),
            ("nice", busy * 0.02),
            ("softirq", busy * 0.03),
            ("steal", 0.0),
            ("system", busy * 0.15),
            ("user", busy * 0.8),
        ] {
            page.sample(&[("cpu", &name), ("mode", mode)], share(seconds));
        }
    }
    let load = fleet.millicores(node, moment.tick) as f64 / 1e3;
    for (name, value) in [("node_load1", load), ("node_load5", load * 0.97), ("node_load15", load * 0.95)] {
        page.gauge(name).sample(&[], (value * 100.0).round() / 100.0);
    }
    let used = fleet.memory_used(node, moment.tick);
    let cached = (at.memory_bytes - used) / 3;
    for (name, bytes) in [
        ("MemTotal", at.memory_bytes),
        ("MemAvailable", at.memory_bytes - used),
        ("MemFree", at.memory_bytes - used - cached),
        ("Cached", cached),
        ("Buffers", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
    ] {
        page.gauge(&format!("node_memory_{name}_bytes")).sample(&[], bytes as f64);
    }
    filesystems(&mut page, at);
    devices(&mut page, at, moment);
    sensors(&mut page, fleet, node, moment);
    for (what, seconds) in
        [("cpu_waiting", 0.02), ("io_stalled", 0.001), ("io_waiting", 0.004), ("memory_stalled", 0.0), ("memory_waiting", 0.0)]
    {
        page.counter(&format!("node_pressure_{what}_seconds_total")).sample(&[], busy * seconds);
    }
    page.done()
}

fn filesystems(page: &mut Page, at: &Node) {
    let mut rows: Vec<(&str, &str, &str, u64, u64)> =
        FILESYSTEM_BYTES.iter().enumerate().map(|(f, (d, t, m, size))| (*d, *t, *m, *size, *size - filesystem_used(at, f))).collect();
    // The same one again, where a kubelet's volume is bound, and those that are no disks.
    rows.push((rows[1].0, rows[1].1, "/var/lib/kubelet", rows[1].3, rows[1].4));
    rows.push(("tmpfs", "tmpfs", "/run", at.memory_bytes / 10, at.memory_bytes / 11));
    rows.push(("shm", "tmpfs", "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/1/shm", 64 << 20, 64 << 20));
    rows.push(("overlay", "overlay", "/run/containerd/io.containerd.runtime.v2.task/k8s.io/1/rootfs", rows[0].3, rows[0].4));
    for name in ["size", "avail", "free"] {
        page.gauge(&format!("node_filesystem_{name}_bytes"));
        for (device, kind, mount, size, avail) in &rows {
            let bytes = if name == "size" { *size } else { *avail };
            page.sample(&[("device", device), ("device_error", ""), ("fstype", kind), ("mountpoint", mount)], bytes as f64);
        }
    }
    page.gauge("node_filesystem_readonly");
    for (device, kind, mount, ..) in &rows {
        page.sample(&[("device", device), ("device_error", ""), ("fstype", kind), ("mountpoint", mount)], 0.0);
    }
}

fn devices(page: &mut Page, at: &Node, moment: Moment) {
    for (name, device, base) in [("read", 14, 40_000_000), ("written", 15, 25_000_000)] {
        let bytes = moment.lifetime(0, |t| bytes_per_second(at, device, base, t));
        page.counter(&format!("node_disk_{name}_bytes_total"));
        // A mapped device carries again what its disk does.
        page.sample(&[("device", "nvme0n1")], bytes).sample(&[("device", "dm-0")], bytes).sample(&[("device", "loop0")], 0.0);
    }
    for (name, is_in) in [("receive", true), ("transmit", false)] {
        let of = |t| if is_in { rates(at, t).0 } else { rates(at, t).1 };
        let bytes = moment.lifetime(0, of);
        page.counter(&format!("node_network_{name}_bytes_total"));
        for (device, share) in [("eth0", 1.0), ("lo", 0.2), ("cni0", 0.5), ("veth1a2b3c4d", 0.3), ("cali12ab34cd", 0.1), ("docker0", 0.0)] {
            page.sample(&[("device", device)], (bytes * share).floor());
        }
    }
    page.gauge("node_network_up").sample(&[("device", "eth0")], 1.0);
}

fn sensors(page: &mut Page, fleet: &Fleet, node: usize, moment: Moment) {
    let power = fleet.power(node, moment.tick);
    let temperatures = fleet.bmc(node, moment, &power).temperatures;
    page.gauge("node_hwmon_chip_names");
    for (chip, name) in [("platform_coretemp_0", "coretemp"), ("platform_coretemp_1", "coretemp"), ("nvme_nvme0", "nvme")] {
        page.sample(&[("chip", chip), ("chip_name", name)], 1.0);
    }
    page.gauge("node_hwmon_sensor_label");
    for (chip, label) in [("platform_coretemp_0", "Package id 0"), ("platform_coretemp_1", "Package id 1"), ("nvme_nvme0", "Composite")] {
        page.sample(&[("chip", chip), ("label", label), ("sensor", "temp1")], 1.0);
    }
    page.gauge("node_hwmon_temp_celsius");
    page.sample(&[("chip", "platform_coretemp_0"), ("sensor", "temp1")], temperatures[0].value);
    page.sample(&[("chip", "platform_coretemp_1"), ("sensor", "temp1")], temperatures[1].value);
    page.sample(&[("chip", "nvme_nvme0"), ("sensor", "temp1")], temperatures[4].value + 9.0);
    page.gauge("node_hwmon_temp_crit_celsius");
    page.sample(&[("chip", "platform_coretemp_0"), ("sensor", "temp1")], 100.0);
    page.sample(&[("chip", "platform_coretemp_1"), ("sensor", "temp1")], 100.0);
    let (packages, memory) =
        (fleet.node_integral(node, moment, |p| p.cpu()) / 1e3, fleet.node_integral(node, moment, |p| p.memory()) / 1e3);
    for (name, path, joules) in [("package", "", packages), ("dram", ":0", memory)] {
        page.counter(&format!("node_rapl_{name}_joules_total"));
        for index in ["0", "1"] {
            let path = format!("/host/sys/class/powercap/intel-rapl:{index}{path}");
            page.sample(&[("index", index), ("path", &path)], joules / 2.0);
        }
    }
}
