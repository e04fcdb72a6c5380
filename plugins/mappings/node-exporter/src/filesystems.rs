//! File systems that lie on something of the node's own, each once however often it is mounted.

use std::collections::BTreeMap;

use crate::Reading;

/// In memory, made up by the kernel, read only by nature, or over another file system.
const UNREAL: &[&str] = &[
    "tmpfs",
    "devtmpfs",
    "ramfs",
    "rootfs",
    "overlay",
    "overlayfs",
    "aufs",
    "squashfs",
    "iso9660",
    "udf",
    "erofs",
    "proc",
    "sysfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "mqueue",
    "hugetlbfs",
    "debugfs",
    "tracefs",
    "securityfs",
    "pstore",
    "bpf",
    "configfs",
    "fusectl",
    "binfmt_misc",
    "autofs",
    "nsfs",
    "rpc_pipefs",
    "selinuxfs",
    "efivarfs",
    "none",
    "fuse.lxcfs",
    "fuse.gvfsd-fuse",
    "fuse.portal",
];
/// Of another machine: every client shows all of it.
const REMOTE: &[&str] = &[
    "nfs",
    "cifs",
    "smb",
    "ceph",
    "fuse.ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "glusterfs",
    "fuse.gluster",
    "fuse.sshfs",
    "afs",
    "9p",
    "virtiofs",
    "wekafs",
];

#[derive(Default)]
struct FileSystem {
    mount: String,
    total: f64,
    free: Option<f64>,
    available: Option<f64>,
    at_ms: Option<i64>,
}

impl Reading<'_, '_, '_, '_> {
    pub(crate) fn filesystems(&mut self) {
        let page = self.page;
        let by_mount = |family: &str| -> BTreeMap<(String, String), f64> {
            page.rows(family).iter().filter(|r| r.value.is_finite()).map(|r| ((r.text("device"), r.text("mountpoint")), r.value)).collect()
        };
        let (free, available) = (by_mount("node_filesystem_free_bytes"), by_mount("node_filesystem_avail_bytes"));
        let mut all: BTreeMap<String, FileSystem> = BTreeMap::new();
        for row in page.rows("node_filesystem_size_bytes") {
            let (kind, place) = (row.text("fstype"), (row.text("device"), row.text("mountpoint")));
            let is_remote = REMOTE.iter().any(|r| kind.starts_with(r));
            if UNREAL.contains(&kind.as_str()) || is_remote || !(row.value.is_finite() && row.value > 0.0) {
                continue;
            }
            let one = FileSystem {
                mount: place.1.clone(),
                total: row.value,
                free: free.get(&place).copied(),
                available: available.get(&place).copied(),
                at_ms: row.at_ms,
            };
            match kind.as_str() {
                "zfs" => {
                    let pool = place.0.split('/').next().unwrap_or(&place.0).to_owned();
                    let whole = all.remove(&pool);
                    all.insert(pool, whole.map_or(one.clone_as_dataset(), |pool| pool.with(&one)));
                }
                // Bind mounts and subvolumes show the same once more; the shortest place is the first.
                _ => match all.get_mut(&place.0) {
                    Some(known) if known.mount.len() <= one.mount.len() => {}
                    Some(known) => *known = one,
                    None => drop(all.insert(place.0, one)),
                },
            }
        }
        let (mut total, mut used, mut available) = (0.0, None, None);
        let mut at_ms = None;
        for file_system in all.values() {
            let one = self.out.subject("x_filesystem", "name", &file_system.mount, Some(self.node));
            self.out.put("filesystem_total_bytes", one, file_system.total, file_system.at_ms);
            total += file_system.total;
            at_ms = file_system.at_ms;
            // Blocks that are kept for root are not used.
            if let Some(free) = file_system.free.or(file_system.available) {
                *used.get_or_insert(0.0) += file_system.total - free;
                self.out.put("filesystem_used_bytes", one, file_system.total - free, file_system.at_ms);
            }
            if let Some(free) = file_system.available {
                *available.get_or_insert(0.0) += free;
                self.out.put("filesystem_available_bytes", one, free, file_system.at_ms);
            }
        }
        if !all.is_empty() {
            self.out.put("filesystem_total_bytes", self.node, total, at_ms);
        }
        for (metric, value) in [("filesystem_used_bytes", used), ("filesystem_available_bytes", available)] {
            if let Some(value) = value {
                self.out.put(metric, self.node, value, at_ms);
            }
        }
    }
}

impl FileSystem {
    /// Datasets of a pool share what is free: each says as its size what it uses and all that is free.
    fn clone_as_dataset(&self) -> Self {
        Self {
            mount: self.mount.clone(),
            total: self.total,
            free: self.free.or(self.available),
            available: self.available,
            at_ms: self.at_ms,
        }
    }

    fn with(self, other: &Self) -> Self {
        let used = other.total - other.free.or(other.available).unwrap_or(other.total);
        let mount = if other.mount.len() < self.mount.len() { other.mount.clone() } else { self.mount };
        Self { mount, total: self.total + used, ..self }
    }
}
