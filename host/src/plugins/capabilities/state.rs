//! A small durable store per plugin: one file a key, below a quota, written whole or not at all.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// Why a call on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("the quota of {0} bytes would be exceeded")]
    Quota(usize),
    #[error("a key has 1 to 128 bytes; this has {0}")]
    BadKey(usize),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A directory of the plugin's own.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    quota: usize,
}

impl Store {
    pub fn new(dir: PathBuf, quota: usize) -> Self {
        Self { dir, quota }
    }

    /// The key never becomes a path: its digest does.
    fn path(&self, key: &str) -> Result<PathBuf, StateError> {
        if key.is_empty() || key.len() > 128 {
            return Err(StateError::BadKey(key.len()));
        }
        Ok(self.dir.join(hex(&Sha256::digest(key.as_bytes()))))
    }

    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        match fs::read(self.path(key)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub fn put(&self, key: &str, value: &[u8]) -> Result<(), StateError> {
        let path = self.path(key)?;
        fs::create_dir_all(&self.dir)?;
        let mut used = value.len();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path() != path {
                used += entry.metadata()?.len() as usize;
            }
        }
        if used > self.quota {
            return Err(StateError::Quota(self.quota));
        }
        let temporary = self.dir.join(".new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(value)?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        Ok(())
    }

    pub fn delete(&self, key: &str) -> Result<(), StateError> {
        match fs::remove_file(self.path(key)?) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_there_and_the_quota_holds() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("p"), 10);
        assert!(store.get("a").unwrap().is_none());
        store.put("a", b"12345").unwrap();
        assert!(matches!(store.put("b", b"123456"), Err(StateError::Quota(10))));
        store.put("a", b"1234567890").unwrap();
        assert_eq!(store.get("a").unwrap().as_deref(), Some(&b"1234567890"[..]));
        store.delete("a").unwrap();
        store.delete("a").unwrap();
        assert!(matches!(store.get(""), Err(StateError::BadKey(0))));
    }

    #[test]
    fn a_key_is_never_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("p"), 100);
        store.put("../../outside", b"x").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
