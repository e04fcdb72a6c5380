//! From a process to its container and pod: by its control group, and by the names that the kubelet gives to logs of containers.
//!
//! In: a pid. Out: the container's id, the pod's UID, and their names where this machine's kubelet keeps logs. It reads what every
//! user may read, and follows nothing that a process says of itself but its short name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where a process belongs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub name: Option<String>,
    pub container_id: Option<String>,
    pub pod_uid: Option<String>,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
}

/// Names of the containers of this machine by their ids, as they were when it was made.
pub(super) struct Places {
    proc: PathBuf,
    /// `POD_NAMESPACE_CONTAINER-ID.log`
    logs: HashMap<String, [String; 3]>,
}

impl Places {
    pub(super) fn look(proc: &Path, logs: &Path) -> Self {
        // Where there is no kubelet there is no such directory: ids alone then.
        let entries = std::fs::read_dir(logs).map(|all| all.flatten().take(10_000).collect::<Vec<_>>()).unwrap_or_default();
        let logs = entries.into_iter().filter_map(|e| named(&e.file_name().into_string().ok()?)).collect();
        Self { proc: proc.to_owned(), logs }
    }

    pub(super) fn of(&self, pid: u32) -> Place {
        let read = |file: &str| std::fs::read_to_string(self.proc.join(pid.to_string()).join(file)).ok();
        let name = read("comm").map(|n| n.trim_end().to_owned()).filter(|n| !n.is_empty());
        let (container_id, pod_uid) = read("cgroup").map(|text| ids(&text)).unwrap_or_default();
        let [pod, namespace, container] = match container_id.as_ref().and_then(|id| self.logs.get(id)) {
            Some(names) => names.clone().map(Some),
            None => [None, None, None],
        };
        Place { name, container_id, pod_uid, namespace, pod, container }
    }
}

/// A container's id with pod, namespace and container, from the name of its log.
fn named(file: &str) -> Option<(String, [String; 3])> {
    let (rest, id) = file.strip_suffix(".log")?.rsplit_once('-')?;
    let mut words = rest.splitn(3, '_');
    let names = [words.next()?, words.next()?, words.next()?];
    (is_id(id) && names.iter().all(|n| !n.is_empty())).then(|| (id.to_owned(), names.map(str::to_owned)))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The container's id and the pod's UID, as the paths of both versions of control groups and both of their drivers hold them:
/// `…/kubepods-burstable-pod0a1b_….slice/cri-containerd-ID.scope`, `…/kubepods/burstable/pod0a1b-…/ID`, `/docker/ID`.
fn ids(cgroup: &str) -> (Option<String>, Option<String>) {
    let (mut container, mut pod) = (None, None);
    for element in cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(|path| path.split(['/', ':'])) {
        let bare = element.strip_suffix(".scope").or_else(|| element.strip_suffix(".slice")).unwrap_or(element);
        let last = bare.rsplit('-').next().unwrap_or(bare);
        if is_id(last) {
            // The innermost: a container may hold others.
            container = Some(last.to_owned());
        }
        let uid = bare.strip_prefix("pod").or_else(|| bare.rsplit_once("-pod").map(|(_, uid)| uid));
        if let Some(uid) = uid.map(|u| u.replace('_', "-")).filter(|u| is_uid(u)) {
            pod = Some(uid);
        }
    }
    (container, pod)
}

/// A UUID, or the hash that stands for a static pod.
fn is_uid(text: &str) -> bool {
    matches!(text.len(), 32 | 36) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c0de2a4b5968778695a4b3c2d1e0f3f1c0de2a4b5968778695a4b3c2d1e0f";
    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

    #[test]
    fn every_way_in_which_a_path_names_a_container_is_read() {
        let under = UID.replace('-', "_");
        for (path, pod) in [
            (format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{ID}.scope"), true),
            (format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-{ID}.scope/container"), true),
            (format!("12:cpu:/kubepods/besteffort/pod{UID}/{ID}\n11:devices:/kubepods/besteffort/pod{UID}/{ID}"), true),
            (format!("0::/system.slice/containerd.service/kubepods-burstable-pod{under}.slice:cri-containerd:{ID}"), true),
            (format!("0::/docker/{ID}"), false),
            (format!("0::/system.slice/docker-{ID}.scope"), false),
        ] {
            assert_eq!(ids(&path), (Some(ID.to_owned()), pod.then(|| UID.to_owned())), "{path}");
        }
        for path in ["0::/user.slice/user-1000.slice/session-3.scope", "0::/", "", "nonsense", "0::/kubepods/podcast/abc"] {
            assert_eq!(ids(path), (None, None), "{path}");
        }
    }

    #[test]
    fn a_process_gets_the_names_that_the_kubelet_gives_its_container() {
        let dir = tempfile::tempdir().unwrap();
        let (proc, logs) = (dir.path().join("proc"), dir.path().join("logs"));
        std::fs::create_dir_all(proc.join("42")).unwrap();
        std::fs::create_dir(&logs).unwrap();
        std::fs::write(proc.join("42/comm"), "python3\n").unwrap();
        std::fs::write(proc.join("42/cgroup"), format!("0::/kubepods/pod{UID}/{ID}\n")).unwrap();
        std::fs::write(logs.join(format!("train-0_ml_main-{ID}.log")), "").unwrap();
        std::fs::write(logs.join("broken.log"), "").unwrap();
        let places = Places::look(&proc, &logs);
        let some = |text: &str| Some(text.to_owned());
        let expected = Place {
            name: some("python3"),
            container_id: some(ID),
            pod_uid: some(UID),
            namespace: some("ml"),
            pod: some("train-0"),
            container: some("main"),
        };
        assert_eq!(places.of(42), expected);
        assert_eq!(places.of(43), Place::default(), "one that ended in between");
        let nowhere = Places::look(&proc, &dir.path().join("none")).of(42);
        assert_eq!(nowhere, Place { namespace: None, pod: None, container: None, ..expected });
    }
}
