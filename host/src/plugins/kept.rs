//! What outlives a restart: components that worked, and what an operator or the host decided against.
//!
//! In a directory of the host's own lie `ledger.json` and each component that was good, under its digest. They are bytes of
//! components, never machine code, and are checked against their digest when they are read.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::verify::ContentDigest;

/// Good versions kept for each plugin, the running one among them.
const KEEP: usize = 3;
/// Digests that a plugin can have quarantined; the oldest are forgotten.
const MAX_QUARANTINED: usize = 100;

/// One version that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    pub sha256: String,
    pub version: String,
    pub at_ms: i64,
}

/// A digest that is not loaded again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    pub sha256: String,
    pub reason: String,
    pub at_ms: i64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    /// Newest first.
    good: Vec<Good>,
    quarantined: Vec<Quarantined>,
    /// By whom it was switched off.
    disabled_by: Option<String>,
}

/// The directory. Every change is on disk when the call returns.
pub struct Kept {
    dir: PathBuf,
    ledger: Mutex<BTreeMap<String, Entry>>,
    /// One change at a time: a component is written before the ledger names it.
    changing: Mutex<()>,
}

impl Kept {
    /// Opens the directory, making it where it is missing. A ledger that cannot be read is set aside, not overwritten.
    pub fn open(dir: PathBuf) -> std::io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let file = dir.join("ledger.json");
        let ledger = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).or_else(|error| {
                let aside = dir.join("ledger.unreadable.json");
                tracing::error!(%error, aside = %aside.display(), "the ledger of plugins cannot be read; it is set aside and begun anew");
                fs::rename(&file, aside).map(|()| BTreeMap::new())
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e),
        };
        Ok(Self { dir, ledger: Mutex::new(ledger), changing: Mutex::default() })
    }

    /// Writes files that the change will name, then the change.
    fn change<T>(&self, plugin: &str, files: &[(String, &[u8])], change: impl FnOnce(&mut Entry) -> T) -> std::io::Result<T> {
        let _turn = self.changing.lock().unwrap_or_else(|e| e.into_inner());
        for (name, bytes) in files {
            self.write(name, bytes)?;
        }
        let mut next = self.ledger.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let result = change(next.entry(plugin.to_owned()).or_default());
        self.write("ledger.json", &serde_json::to_vec_pretty(&next)?)?;
        let wanted: Vec<String> = next.values().flat_map(|e| e.good.iter().map(|g| g.sha256.clone())).collect();
        *self.ledger.lock().unwrap_or_else(|e| e.into_inner()) = next;
        // The change is made; what is left over goes with the next one.
        if let Err(error) = self.sweep(&wanted) {
            tracing::warn!(%error, dir = %self.dir.display(), "components that are good no more were not removed");
        }
        Ok(result)
    }

    fn look<T>(&self, plugin: &str, look: impl FnOnce(&Entry) -> T) -> T {
        let ledger = self.ledger.lock().unwrap_or_else(|e| e.into_inner());
        look(ledger.get(plugin).unwrap_or(&Entry::default()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mut part = tempfile::NamedTempFile::new_in(&self.dir)?;
        part.write_all(bytes)?;
        part.as_file().sync_all()?;
        part.persist(self.dir.join(name)).map_err(|e| e.error)?;
        fs::File::open(&self.dir)?.sync_all()
    }

    /// Removes components that no plugin counts as good any more.
    fn sweep(&self, wanted: &[String]) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if let Some((digest, _)) = name.split_once(".wasm")
                && !wanted.iter().any(|w| w == digest)
            {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Keeps a version that works, with its signature, before all others.
    pub fn good(&self, plugin: &str, good: Good, bytes: &[u8], signature: Option<&[u8]>) -> std::io::Result<()> {
        if self.look(plugin, |e| e.good.first().is_some_and(|g| g.sha256 == good.sha256)) {
            return Ok(());
        }
        let mut files = vec![(format!("{}.wasm", good.sha256), bytes)];
        files.extend(signature.map(|s| (format!("{}.wasm.minisig", good.sha256), s)));
        self.change(plugin, &files, |e| {
            e.good.retain(|g| g.sha256 != good.sha256);
            e.good.insert(0, good);
            e.good.truncate(KEEP);
        })
    }

    /// The newest good version that is neither quarantined nor `except`.
    pub fn last_good(&self, plugin: &str, except: Option<ContentDigest>) -> Option<Good> {
        let except = except.map(|d| d.to_string());
        self.look(plugin, |e| {
            let fits = |g: &&Good| Some(&g.sha256) != except.as_ref() && !e.quarantined.iter().any(|q| q.sha256 == g.sha256);
            e.good.iter().find(fits).cloned()
        })
    }

    /// A kept component with its signature; `Err` where it is not what it was.
    pub fn read(&self, good: &Good) -> std::io::Result<(Vec<u8>, Option<Vec<u8>>)> {
        let bytes = fs::read(self.dir.join(format!("{}.wasm", good.sha256)))?;
        if ContentDigest::of(&bytes).to_string() != good.sha256 {
            return Err(std::io::Error::other("the kept component is not what its name says"));
        }
        match fs::read(self.dir.join(format!("{}.wasm.minisig", good.sha256))) {
            Ok(signature) => Ok((bytes, Some(signature))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok((bytes, None)),
            Err(e) => Err(e),
        }
    }

    /// Good versions, the newest first.
    pub fn versions(&self, plugin: &str) -> Vec<Good> {
        self.look(plugin, |e| e.good.clone())
    }

    /// Takes a digest out of use until it is released.
    pub fn quarantine(&self, plugin: &str, digest: ContentDigest, reason: &str) -> std::io::Result<()> {
        let sha256 = digest.to_string();
        self.change(plugin, &[], |e| {
            e.quarantined.retain(|q| q.sha256 != sha256);
            e.quarantined.insert(0, Quarantined { sha256, reason: reason.to_owned(), at_ms: crate::now_ms() });
            e.quarantined.truncate(MAX_QUARANTINED);
        })
    }

    /// Why a digest is not loaded.
    pub fn quarantined(&self, plugin: &str, digest: ContentDigest) -> Option<Quarantined> {
        let sha256 = digest.to_string();
        self.look(plugin, |e| e.quarantined.iter().find(|q| q.sha256 == sha256).cloned())
    }

    /// All that a plugin has quarantined, the newest first.
    pub fn quarantine_of(&self, plugin: &str) -> Vec<Quarantined> {
        self.look(plugin, |e| e.quarantined.clone())
    }

    /// Lets everything of a plugin be tried again; how many digests that were.
    pub fn release(&self, plugin: &str) -> std::io::Result<usize> {
        match self.look(plugin, |e| e.quarantined.len()) {
            0 => Ok(0),
            _ => self.change(plugin, &[], |e| std::mem::take(&mut e.quarantined).len()),
        }
    }

    /// Switches a plugin off, or on again, over restarts.
    pub fn disable(&self, plugin: &str, by: Option<&str>) -> std::io::Result<()> {
        self.change(plugin, &[], |e| e.disabled_by = by.map(str::to_owned))
    }

    /// Who switched it off.
    pub fn disabled_by(&self, plugin: &str) -> Option<String> {
        self.look(plugin, |e| e.disabled_by.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(bytes: &[u8], version: &str) -> Good {
        Good { sha256: ContentDigest::of(bytes).to_string(), version: version.into(), at_ms: 1 }
    }

    #[test]
    fn the_last_three_good_ones_are_there_after_a_restart_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path().to_owned()).unwrap();
        for bytes in [b"one".as_slice(), b"two", b"three", b"four"] {
            kept.good("p", good(bytes, "1.0.0"), bytes, Some(b"sig")).unwrap();
        }
        let again = Kept::open(dir.path().to_owned()).unwrap();
        let last = again.last_good("p", Some(ContentDigest::of(b"four"))).unwrap();
        assert_eq!(again.read(&last).unwrap(), (b"three".to_vec(), Some(b"sig".to_vec())));
        assert_eq!(again.versions("p").len(), KEEP);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2 * KEEP + 1, "swept");
    }

    #[test]
    fn plugins_that_prove_good_at_once_lose_no_component_to_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path().to_owned()).unwrap();
        std::thread::scope(|scope| {
            for plugin in ["a", "b", "c", "d"] {
                let kept = &kept;
                scope.spawn(move || {
                    for round in 0..25 {
                        let bytes = format!("{plugin} {round}").into_bytes();
                        kept.good(plugin, good(&bytes, "1.0.0"), &bytes, None).unwrap();
                        assert_eq!(kept.read(&kept.versions(plugin)[0]).unwrap().0, bytes);
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_quarantined_is_no_last_good_until_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path().to_owned()).unwrap();
        kept.good("p", good(b"one", "1.0.0"), b"one", None).unwrap();
        kept.quarantine("p", ContentDigest::of(b"one"), "it failed").unwrap();
        assert!(kept.last_good("p", None).is_none());
        assert_eq!(Kept::open(dir.path().to_owned()).unwrap().quarantined("p", ContentDigest::of(b"one")).unwrap().reason, "it failed");
        assert_eq!(kept.release("p").unwrap(), 1);
        assert!(kept.last_good("p", None).is_some());
    }

    #[test]
    fn a_kept_component_that_was_changed_is_not_used_and_a_torn_ledger_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path().to_owned()).unwrap();
        kept.good("p", good(b"one", "1.0.0"), b"one", None).unwrap();
        let last = kept.last_good("p", None).unwrap();
        fs::write(dir.path().join(format!("{}.wasm", last.sha256)), "other").unwrap();
        assert!(kept.read(&last).unwrap_err().to_string().contains("not what its name says"));
        fs::write(dir.path().join("ledger.json"), "{").unwrap();
        assert!(Kept::open(dir.path().to_owned()).unwrap().last_good("p", None).is_none());
        assert!(dir.path().join("ledger.unreadable.json").is_file());
    }
}
