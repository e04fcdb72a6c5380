//! Watches directories. Any event means only "look again": which file it named is not believed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// Events stop for this long before a look, so that a file is whole.
const QUIET: Duration = Duration::from_millis(300);
/// But a directory that never rests is looked at after this.
const AT_MOST: Duration = Duration::from_secs(3);
/// Events get lost (NFS, overflow, containers): look at least this often.
const POLL: Duration = Duration::from_secs(30);

/// Says when to look again.
pub struct Watch {
    events: mpsc::Receiver<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Watches the directories and what they really are behind links. One that cannot be watched is polled.
    pub fn new(dirs: &[PathBuf]) -> Self {
        let (tx, events) = mpsc::channel(1);
        let notify = move |event: notify::Result<notify::Event>| {
            // Our own look opens and reads: that must not lead to another.
            if event.is_ok_and(|e| matches!(e.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))) {
                return;
            }
            // Full means that a look is due already, closed that nobody looks any more.
            tx.try_send(()).unwrap_or_default();
        };
        let watcher = notify::recommended_watcher(notify).map_err(|e| tracing::warn!(error = %e, "no file events; polling")).ok();
        let watcher = watcher.map(|mut w| {
            for dir in dirs.iter().flat_map(|d| [Some(d.clone()), d.canonicalize().ok()]).flatten() {
                if let Err(e) = w.watch(Path::new(&dir), RecursiveMode::NonRecursive) {
                    tracing::warn!(dir = %dir.display(), error = %e, "cannot be watched; polling");
                }
            }
            w
        });
        Self { events, _watcher: watcher }
    }

    /// Waits until it is time to look again.
    pub async fn changed(&mut self) {
        if !matches!(timeout(POLL, self.events.recv()).await, Ok(Some(()))) {
            return;
        }
        let latest = Instant::now() + AT_MOST;
        while let Ok(Some(())) = timeout_at(latest.min(Instant::now() + QUIET), self.events.recv()).await {
            if Instant::now() >= latest {
                return;
            }
        }
    }
}

/// A component file as it was read, once.
pub struct Found {
    pub name: String,
    pub bytes: Result<Vec<u8>, String>,
}

/// Reads every `*.wasm` of a directory. A file that changes while it is read is reported as incomplete.
pub fn scan(dir: &Path, max: u64) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(file) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let Some(name) = file.strip_suffix(".wasm").filter(|n| !n.starts_with('.') && !n.is_empty()) else { continue };
        found.push(Found { name: name.to_owned(), bytes: read(dir, &path, max) });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn read(dir: &Path, path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let text = |e: std::io::Error| e.kind().to_string();
    let real = path.canonicalize().map_err(text)?;
    let root = dir.canonicalize().map_err(text)?;
    if !real.starts_with(&root) {
        return Err("it is a link that leads out of the plugins directory".into());
    }
    let before = std::fs::metadata(&real).map_err(text)?;
    if !before.is_file() {
        return Err("it is not a regular file".into());
    }
    if before.len() > max {
        return Err(format!("it has {} bytes; the limit is {max}", before.len()));
    }
    let bytes = std::fs::read(&real).map_err(text)?;
    let after = std::fs::metadata(&real).map_err(text)?;
    let same = before.modified().ok() == after.modified().ok() && before.len() == after.len();
    match same && bytes.len() as u64 == after.len() {
        true => Ok(bytes),
        false => Err("it changed while it was read".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configmap_swap_is_followed_and_hidden_files_are_not() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        for (version, body) in [("..v1", "one"), ("..v2", "two!")] {
            std::fs::create_dir(dir.join(version)).unwrap();
            std::fs::write(dir.join(version).join("p.wasm"), body).unwrap();
        }
        std::fs::write(dir.join(".hidden.wasm"), "x").unwrap();
        std::os::unix::fs::symlink("..v1", dir.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/p.wasm", dir.join("p.wasm")).unwrap();
        let bytes = |dir: &Path| scan(dir, 100).unwrap().into_iter().map(|f| f.bytes.unwrap()).collect::<Vec<_>>();
        assert_eq!(bytes(dir), [b"one".to_vec()]);
        std::os::unix::fs::symlink("..v2", dir.join("..tmp")).unwrap();
        std::fs::rename(dir.join("..tmp"), dir.join("..data")).unwrap();
        assert_eq!(bytes(dir), [b"two!".to_vec()]);
    }

    #[test]
    fn a_link_out_of_the_directory_and_a_huge_file_say_why_not() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("plugins");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(root.path().join("x"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("x"), dir.join("a.wasm")).unwrap();
        std::fs::write(dir.join("b.wasm"), "12345").unwrap();
        let reasons: Vec<String> = scan(&dir, 4).unwrap().into_iter().map(|f| f.bytes.unwrap_err()).collect();
        assert!(reasons[0].contains("leads out"), "{reasons:?}");
        assert!(reasons[1].contains("limit is 4"), "{reasons:?}");
    }

    #[tokio::test]
    async fn looking_leads_to_no_other_look() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), "x").unwrap();
        let mut watch = Watch::new(&[dir.path().to_owned()]);
        assert_eq!(scan(dir.path(), 100).unwrap().len(), 1);
        std::fs::read(dir.path().join("p.wasm")).unwrap();
        timeout(Duration::from_secs(1), watch.changed()).await.expect_err("nothing changed");
    }

    #[tokio::test]
    async fn a_rename_over_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&[dir.path().to_owned()]);
        std::fs::write(dir.path().join("new"), "x").unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("p.wasm")).unwrap();
        timeout(Duration::from_secs(10), watch.changed()).await.expect("an event, long before the poll");
    }
}
