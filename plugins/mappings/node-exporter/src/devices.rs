//! Network and disks: what is really there, each byte once. Below each other lie bridges, tunnels, volumes and partitions, which count the same again.

use std::collections::{BTreeMap, HashSet};

use kcloud_collector_sdk::exporter::Row;

use crate::{NodeExporter, Reading, table};

/// Names by which Linux and what runs containers and machines on it call interfaces that are not cards.
const VIRTUAL: &[&str] = &[
    "lo",
    "veth",
    "docker",
    "br-",
    "br0",
    "virbr",
    "vnet",
    "tap",
    "tun",
    "cali",
    "cilium",
    "lxc",
    "lxd",
    "cni",
    "flannel",
    "weave",
    "vxlan",
    "genev",
    "kube",
    "nodelocaldns",
    "dummy",
    "bond",
    "team",
    "ovs",
    "qvo",
    "qvb",
    "qbr",
    "qg-",
    "qr-",
    "wg",
    "gre",
    "erspan",
    "sit",
    "ip6tnl",
    "ip6gre",
    "ip_vti",
    "ip6_vti",
    "tunl",
    "ifb",
    "macv",
    "ipvl",
    "nerdctl",
    "podman",
    "azv",
    "vmnet",
    "ztg",
    "tailscale",
    "teql",
    "bridge",
    "vlan",
    "antrea",
    "ovn",
];
/// Block devices over others, in memory, or over the network.
const STACKED: &[&str] = &["dm-", "md", "loop", "ram", "zram", "sr", "fd", "nbd", "drbd", "rbd", "zd", "bcache"];

impl NodeExporter {
    fn is_ignored(&self, device: &str) -> bool {
        self.ignore.iter().any(|prefix| device.starts_with(prefix.as_str()))
    }

    /// Cards: no tunnel, bridge, bond or end of a pod's cable.
    pub(crate) fn network(&mut self, reading: &mut Reading<'_, '_, '_, '_>) {
        let page = reading.page;
        let of = |family: &str| -> BTreeMap<String, f64> { page.rows(family).iter().map(|r| (r.text("device"), r.value)).collect() };
        let bonds: HashSet<String> = page.rows("node_bonding_slaves").iter().map(|r| r.text("master")).collect();
        // A card is linked to itself; a virtual interface to the one below it.
        let (link, id) = (of("node_network_iface_link"), of("node_network_iface_id"));
        let is_card = |device: &str| {
            let is_named_so = VIRTUAL.iter().any(|p| device.starts_with(p)) || device.contains(['.', '@', ':']);
            let is_linked = matches!((link.get(device), id.get(device)), (Some(a), Some(b)) if a != b);
            !(is_named_so || is_linked || bonds.contains(device) || self.is_ignored(device))
        };
        let cards: HashSet<String> = page.rows(table::NETWORK[0].0).iter().map(|r| r.text("device")).filter(|d| is_card(d)).collect();
        self.counters(reading, "x_nic", &cards, table::NETWORK);
        // Adapters of InfiniBand go past the kernel's interfaces; what these saw is in there once more, so they are not in the node's sum.
        for (family, metric) in table::INFINIBAND {
            for row in page.rows(family) {
                let name = format!("{}/{}", row.text("device"), row.text("port"));
                let card = reading.out.subject("x_nic", "name", &name, Some(reading.node));
                reading.out.put(metric, card, row.value, row.at_ms);
            }
        }
    }

    /// Drives: no volume over others, and no partition of a drive that is there itself.
    pub(crate) fn disks(&mut self, reading: &mut Reading<'_, '_, '_, '_>) {
        let all: HashSet<String> = reading.page.rows(table::DISK[0].0).iter().map(|r| r.text("device")).collect();
        let is_drive = |device: &str| {
            let is_stacked = STACKED.iter().any(|p| device.starts_with(p)) || device.contains("boot") || device.contains("rpmb");
            // One path of several to a drive that has its own name.
            let is_path = device.strip_prefix("nvme").is_some_and(|rest| rest.contains('c'));
            !(is_stacked || is_path || whole(device).is_some_and(|w| all.contains(w)) || self.is_ignored(device))
        };
        let drives: HashSet<String> = all.iter().filter(|d| is_drive(d)).cloned().collect();
        self.counters(reading, "x_disk", &drives, table::DISK);
    }

    /// The counters of some devices, each and together.
    fn counters(
        &mut self,
        reading: &mut Reading<'_, '_, '_, '_>,
        kind: &str,
        devices: &HashSet<String>,
        families: &[(&'static str, &'static str)],
    ) {
        for (family, metric) in families {
            let rows = || reading.page.rows(family).iter().filter(|r| r.value.is_finite() && devices.contains(&r.text("device")));
            let parts: Vec<(String, f64)> = rows().map(|r: &Row<'_>| (r.text("device"), r.value)).collect();
            let at_ms = rows().next().and_then(|r| r.at_ms);
            for (device, value) in &parts {
                let one = reading.out.subject(kind, "name", device, Some(reading.node));
                reading.out.put(metric, one, *value, at_ms);
            }
            self.sum(reading, metric, &parts, at_ms);
        }
    }
}

/// The drive that a partition is of, by its name: `sda` of `sda1`, `nvme0n1` of `nvme0n1p2`.
fn whole(device: &str) -> Option<&str> {
    let head = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if head.len() == device.len() {
        return None;
    }
    match head.strip_suffix('p') {
        Some(before) if before.ends_with(|c: char| c.is_ascii_digit()) => Some(before),
        _ => Some(head),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_names_its_drive() {
        for (device, expected) in [
            ("sda1", Some("sda")),
            ("nvme0n1p2", Some("nvme0n1")),
            ("mmcblk0p1", Some("mmcblk0")),
            ("nvme0n1", Some("nvme0n")),
            ("sda", None),
        ] {
            assert_eq!(whole(device), expected, "{device}");
        }
    }
}
