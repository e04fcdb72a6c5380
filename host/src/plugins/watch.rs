//! Watches directories. Any event means only "look again": which file it named is not believed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::verify::{Candidate, MAX_SIGNATURE, Place};

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

/// A component as it was read, once.
pub struct Found {
    pub name: String,
    /// It and its signature, or why it could not be read.
    pub read: Result<Candidate, String>,
}

/// Reads every `*.wasm` of `dir`, and those of `dev_dir` whose name `dir` has not. A file that changes while it is read is
/// reported as incomplete.
pub fn scan(dir: &Path, dev_dir: Option<&Path>, max: u64) -> std::io::Result<Vec<Found>> {
    let mut names = names(dir)?;
    if let Some(dev_dir) = dev_dir {
        match self::names(dev_dir) {
            Ok(more) => names.extend(more),
            Err(error) => tracing::warn!(dir = %dev_dir.display(), %error, "dev_dir cannot be read"),
        }
    }
    Ok(names.into_iter().map(|name| find(dir, dev_dir, name, max)).collect())
}

/// Reads one component where [`scan`] would find it.
pub fn find(dir: &Path, dev_dir: Option<&Path>, name: String, max: u64) -> Found {
    let lies = |dir: &Path| std::fs::symlink_metadata(dir.join(format!("{name}.wasm"))).is_ok();
    let (dir, place) = match (lies(dir), dev_dir.filter(|d| lies(d))) {
        (true, Some(_)) => (dir, Place::PluginsBeforeDev),
        (false, Some(dev_dir)) => (dev_dir, Place::Dev),
        _ => (dir, Place::Plugins),
    };
    let read = whole(dir, &name, max).map(|(bytes, signature)| Candidate { name: name.clone(), place, bytes, signature });
    Found { name, read }
}

/// Reads the component of this file.
pub fn at(file: &Path, dev_dir: Option<&Path>, max: u64) -> Result<Candidate, String> {
    let name = file.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".wasm")).ok_or("a component is a file NAME.wasm")?;
    let dir = file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_dev = dev_dir.is_some_and(|d| d.canonicalize().is_ok_and(|d| dir.canonicalize().is_ok_and(|f| f == d)));
    let place = if is_dev { Place::Dev } else { Place::Plugins };
    let (bytes, signature) = whole(dir, name, max)?;
    Ok(Candidate { name: name.to_owned(), place, bytes, signature })
}

fn names(dir: &Path) -> std::io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        let file = entry?.file_name();
        // Compiled code is never loaded, but it is answered for.
        let stem = file.to_str().and_then(|f| f.strip_suffix(".wasm").or_else(|| f.strip_suffix(".cwasm")));
        found.extend(stem.filter(|n| !n.starts_with('.') && !n.is_empty()).map(str::to_owned));
    }
    Ok(found)
}

type Whole = (Bytes, Option<Result<Bytes, String>>);

fn whole(dir: &Path, name: &str, max: u64) -> Result<Whole, String> {
    let lies = |file: &str| std::fs::symlink_metadata(dir.join(file)).is_ok();
    let (file, signature) = (format!("{name}.wasm"), format!("{name}.wasm.minisig"));
    if !lies(&file) && lies(&format!("{name}.cwasm")) {
        return Err(format!("{name}.cwasm is compiled code, which is never loaded: put the component there, {file}"));
    }
    let bytes = read(dir, &dir.join(file), max)?;
    let signature = lies(&signature).then(|| read(dir, &dir.join(signature), MAX_SIGNATURE));
    Ok((bytes, signature))
}

fn read(dir: &Path, path: &Path, max: u64) -> Result<Bytes, String> {
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
        true => Ok(bytes.into()),
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
        let bytes = |dir: &Path| scan(dir, None, 100).unwrap().into_iter().map(|f| f.read.unwrap().bytes).collect::<Vec<_>>();
        assert_eq!(bytes(dir), ["one"]);
        std::os::unix::fs::symlink("..v2", dir.join("..tmp")).unwrap();
        std::fs::rename(dir.join("..tmp"), dir.join("..data")).unwrap();
        assert_eq!(bytes(dir), ["two!"]);
    }

    #[test]
    fn a_link_out_of_the_directory_and_a_huge_file_say_why_not() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("plugins");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(root.path().join("x"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("x"), dir.join("a.wasm")).unwrap();
        std::fs::write(dir.join("b.wasm"), "12345").unwrap();
        let reasons: Vec<String> = scan(&dir, None, 4).unwrap().into_iter().map(|f| f.read.unwrap_err()).collect();
        assert!(reasons[0].contains("leads out"), "{reasons:?}");
        assert!(reasons[1].contains("limit is 4"), "{reasons:?}");
    }

    #[test]
    fn the_plugins_directory_goes_before_dev_dir_and_a_signature_lies_beside_its_component() {
        let (dir, dev) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, file, body) in [(&dir, "a.wasm", "1"), (&dev, "a.wasm", "2"), (&dev, "b.wasm", "3"), (&dev, "b.wasm.minisig", "4")] {
            std::fs::write(dir.path().join(file), body).unwrap();
        }
        std::fs::write(dir.path().join("a.wasm.minisig"), vec![b'x'; MAX_SIGNATURE as usize + 1]).unwrap();
        let found = scan(dir.path(), Some(dev.path()), 100).unwrap();
        let read: Vec<Candidate> = found.into_iter().map(|f| f.read.unwrap()).collect();
        assert_eq!(
            (&read[0].bytes[..], read[0].place, &read[1].bytes[..], read[1].place),
            (&b"1"[..], Place::PluginsBeforeDev, &b"3"[..], Place::Dev)
        );
        assert!(read[0].signature.as_ref().unwrap().as_ref().is_err_and(|e| e.contains("limit is 8192")));
        assert_eq!(read[1].signature, Some(Ok("4".into())));
        assert_eq!(scan(dir.path(), Some(Path::new("/no/such")), 100).unwrap().len(), 1);
    }

    #[test]
    fn compiled_code_is_not_loaded_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.cwasm"), "x").unwrap();
        let reason = scan(dir.path(), None, 100).unwrap().remove(0).read.unwrap_err();
        assert!(reason.contains("p.cwasm is compiled code"), "{reason}");
        std::fs::write(dir.path().join("p.wasm"), "y").unwrap();
        assert_eq!(scan(dir.path(), None, 100).unwrap().remove(0).read.unwrap().bytes, "y");
    }

    #[tokio::test]
    async fn looking_leads_to_no_other_look() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), "x").unwrap();
        let mut watch = Watch::new(&[dir.path().to_owned()]);
        assert_eq!(scan(dir.path(), None, 100).unwrap().len(), 1);
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
