//! A small durable store per plugin: one file a key, below a quota, written whole or not at all, not too often.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Guest, Used};
use crate::plugins::limits::Bucket;

/// What a value takes at least, and grows by: a block of the disk.
const BLOCK: usize = 4 << 10;
const MAX_KEYS: usize = 1_024;
/// Each is a flush to the disk.
const WRITES_PER_CALL: u32 = 100;
const WRITES_PER_MINUTE: u32 = 1_000;
/// What a write that was cut off leaves behind; the next one writes over it.
const UNFINISHED: &str = ".new";
const LOCK: &str = ".lock";

/// Why a call on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("the quota of {0} bytes, counted in blocks of {BLOCK}, would be exceeded")]
    Quota(usize),
    #[error("a key has 1 to 128 bytes; this has {0}")]
    BadKey(usize),
    #[error("a store has at most {MAX_KEYS} keys")]
    Keys,
    #[error("a plugin writes at most {WRITES_PER_CALL} times a call and {WRITES_PER_MINUTE} times a minute")]
    Rate,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A directory of the plugin's own. Every instance of every version writes under one lock.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    quota: usize,
    rate: Arc<Mutex<Bucket>>,
}

impl Store {
    pub fn new(dir: PathBuf, quota: usize) -> Self {
        Self { dir, quota, rate: Arc::new(Mutex::new(Bucket::new(WRITES_PER_MINUTE, Duration::from_secs(60)))) }
    }

    /// The key never becomes a path: its digest does.
    fn path(&self, key: &str) -> Result<PathBuf, StateError> {
        if key.is_empty() || key.len() > 128 {
            return Err(StateError::BadKey(key.len()));
        }
        Ok(self.dir.join(hex(&Sha256::digest(key.as_bytes()))))
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        match fs::read(self.path(key)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), StateError> {
        let path = self.path(key)?;
        let blocks = |bytes: usize| bytes.div_ceil(BLOCK).max(1).saturating_mul(BLOCK);
        let exceeded = Err(StateError::Quota(self.quota));
        if blocks(value.len()) > self.quota {
            return exceeded;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let _held = self.lock()?;
        let (mut keys, mut used) = (1, blocks(value.len()));
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path() != path && !entry.file_name().as_encoded_bytes().starts_with(b".") {
                keys += 1;
                used += blocks(entry.metadata()?.len() as usize);
            }
        }
        if keys > MAX_KEYS {
            return Err(StateError::Keys);
        }
        if used > self.quota {
            return exceeded;
        }
        let unfinished = self.dir.join(UNFINISHED);
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(value)?;
        file.sync_all()?;
        fs::rename(unfinished, path)?;
        Ok(flush(&self.dir)?)
    }

    fn delete(&self, key: &str) -> Result<(), StateError> {
        let path = self.path(key)?;
        if !path.exists() {
            return Ok(());
        }
        let _held = self.lock()?;
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(flush(&self.dir)?),
        }
    }

    /// Held until it is dropped, against other versions of the plugin and other processes too.
    fn lock(&self) -> io::Result<fs::File> {
        let file = fs::File::create(self.dir.join(LOCK))?;
        file.lock()?;
        Ok(file)
    }

    fn may_write(&self, used: &mut Used) -> Result<(), StateError> {
        used.state_writes = used.state_writes.saturating_add(1);
        let within = used.state_writes <= WRITES_PER_CALL && self.rate.lock().unwrap_or_else(|e| e.into_inner()).take();
        if within { Ok(()) } else { Err(StateError::Rate) }
    }
}

/// A rename lasts only once its directory is on the disk.
fn flush(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Guest {
    async fn with_state<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&Store) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let store = self.store()?;
        let looked = self.off_thread(move || look(&store)).await;
        looked.unwrap_or_else(|| Err(io::Error::other("the host could not look").into()))
    }

    fn store(&self) -> Result<Store, StateError> {
        self.shared.state.clone().ok_or_else(|| io::Error::other("the plugin has no store").into())
    }

    pub async fn get_state(&mut self, key: String) -> Result<Option<Vec<u8>>, StateError> {
        self.with_state(move |s| s.get(&key)).await
    }

    pub async fn put_state(&mut self, key: String, value: Vec<u8>) -> Result<(), StateError> {
        self.store()?.may_write(&mut self.used)?;
        self.with_state(move |s| s.put(&key, &value)).await
    }

    pub async fn delete_state(&mut self, key: String) -> Result<(), StateError> {
        self.store()?.may_write(&mut self.used)?;
        self.with_state(move |s| s.delete(&key)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(quota: usize) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("p"), quota);
        (dir, store)
    }

    #[test]
    fn what_was_put_is_there_and_the_quota_holds() {
        let (_dir, store) = store(2 * BLOCK);
        assert!(store.get("a").unwrap().is_none());
        store.delete("a").unwrap();
        store.put("a", b"12345").unwrap();
        // However small, a key takes a block.
        store.put("b", b"").unwrap();
        assert!(matches!(store.put("c", b"1"), Err(StateError::Quota(_))));
        assert!(matches!(store.put("a", &[0; BLOCK + 1]), Err(StateError::Quota(_))));
        assert_eq!(store.get("a").unwrap().as_deref(), Some(&b"12345"[..]));
        store.delete("b").unwrap();
        store.delete("b").unwrap();
        store.put("a", &[1; 2 * BLOCK]).unwrap();
        assert!(matches!(store.get(""), Err(StateError::BadKey(0))));
        assert!(matches!(store.put(&"k".repeat(129), b""), Err(StateError::BadKey(129))));
    }

    #[test]
    fn a_key_is_never_a_path() {
        let (dir, store) = store(1 << 20);
        store.put("../../outside", b"x").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_versions_that_write_at_once_spoil_nothing_and_share_the_quota() {
        let (dir, first) = store(20 * BLOCK);
        let second = Store::new(dir.path().join("p"), 20 * BLOCK);
        std::thread::scope(|threads| {
            for (store, byte) in [(&first, 1u8), (&second, 2)] {
                threads.spawn(move || {
                    for i in 0..30 {
                        // Some meet the quota.
                        let put = store.put(&format!("{byte} {i}"), &vec![byte; BLOCK]);
                        assert!(matches!(put, Ok(()) | Err(StateError::Quota(_))), "{put:?}");
                        let put = store.put("shared", &vec![byte; BLOCK / 2]);
                        assert!(matches!(put, Ok(()) | Err(StateError::Quota(_))), "{put:?}");
                    }
                });
            }
        });
        let kept =
            fs::read_dir(dir.path().join("p")).unwrap().filter(|e| !e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(kept.count(), 20);
        let shared = first.get("shared").unwrap().unwrap();
        assert!(shared.len() == BLOCK / 2 && shared.iter().all(|b| *b == shared[0]));
    }

    #[test]
    fn what_a_cut_off_write_left_counts_for_nothing() {
        let (dir, store) = store(BLOCK);
        store.put("a", b"1").unwrap();
        fs::write(dir.path().join("p").join(UNFINISHED), [0; 10 * BLOCK]).unwrap();
        store.put("a", b"2").unwrap();
        assert_eq!(store.get("a").unwrap().unwrap(), b"2");
        assert!(!dir.path().join("p").join(UNFINISHED).exists());
    }

    #[test]
    fn a_store_has_so_many_keys_and_takes_so_many_writes() {
        let (_dir, store) = store(1 << 30);
        fs::create_dir_all(&store.dir).unwrap();
        (0..MAX_KEYS).for_each(|i| fs::write(store.path(&i.to_string()).unwrap(), b"").unwrap());
        store.put("7", b"x").unwrap();
        assert!(matches!(store.put("one more", b"x"), Err(StateError::Keys)));
        let mut call = Used::default();
        assert_eq!((0..200).filter(|_| store.may_write(&mut call).is_ok()).count(), WRITES_PER_CALL as usize);
        let calls = (0..20).map(|_| Used::default());
        let writes: usize = calls.map(|mut call| (0..100).filter(|_| store.may_write(&mut call).is_ok()).count()).sum();
        assert!(writes < WRITES_PER_MINUTE as usize, "{writes}");
        assert!(store.may_write(&mut Used::default()).unwrap_err().to_string().contains("times a minute"));
    }
}
