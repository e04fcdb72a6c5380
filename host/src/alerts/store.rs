//! What alerts keep over a restart: those that fire, those that ended, silences, and which events were told already.
//!
//! A change is on disk before anybody hears of it.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;

use super::alert::{Alert, Silence};
use super::engine::Told;

const ACTIVE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("active-1");
/// By number; the newest has the highest.
const ENDED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("ended-1");
const SILENCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("silences-1");
const TOLD: TableDefinition<'_, (&str, &str, &str), i64> = TableDefinition::new("told-1");
const CACHE: usize = 1 << 20;

/// Why alerts could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    #[error("the store of alerts: {0}")]
    Store(#[from] redb::Error),
    #[error("the store of alerts could not be opened: {0}")]
    Open(#[from] redb::DatabaseError),
    #[error("a file of the store of alerts: {0}")]
    File(#[from] std::io::Error),
    #[error("a row of the store of alerts: {0}")]
    Row(#[from] serde_json::Error),
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for AlertsError {
            fn from(e: $error) -> Self {
                Self::Store(e.into())
            }
        }
    )*};
}
from_redb!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);

impl AlertsError {
    /// Whether the file itself is at fault, and not the disk, the rights to it, or another host that holds it.
    fn is_damage(&self) -> bool {
        let damaged = |e: &redb::StorageError| match e {
            redb::StorageError::Corrupted(_) => true,
            redb::StorageError::Io(e) => e.kind() == std::io::ErrorKind::InvalidData,
            _ => false,
        };
        match self {
            Self::Open(redb::DatabaseError::Storage(e)) => damaged(e),
            Self::Store(redb::Error::Corrupted(_)) => true,
            Self::Store(redb::Error::Io(e)) => e.kind() == std::io::ErrorKind::InvalidData,
            _ => false,
        }
    }
}

/// Rows to write, all of them or none.
#[derive(Default)]
pub struct Rows {
    pub put: Vec<Arc<Alert>>,
    /// Ended, with their numbers.
    pub ended: Vec<(u64, Arc<Alert>)>,
    /// Ended ones with numbers below this are forgotten.
    pub forget_below: u64,
    pub told: Vec<Told>,
    pub untold: Vec<Told>,
    pub silences: Vec<Silence>,
    pub unsilenced: Vec<Arc<str>>,
}

impl Rows {
    fn is_empty(&self) -> bool {
        self.put.is_empty()
            && self.ended.is_empty()
            && self.told.is_empty()
            && self.untold.is_empty()
            && self.silences.is_empty()
            && self.unsilenced.is_empty()
    }
}

/// What a start finds.
#[derive(Default)]
pub struct Found {
    pub active: Vec<Alert>,
    pub ended: Vec<(u64, Alert)>,
    pub silences: Vec<Silence>,
    pub told: Vec<(Told, i64)>,
}

pub struct Store(Database);

impl Store {
    /// What was kept. A damaged file is put aside under a name of its own: a host that watches and has forgotten who acknowledged what
    /// is worth more than one that does not start.
    pub fn open(dir: &Path) -> Result<(Self, Found), AlertsError> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("alerts.redb");
        match Self::read(&path) {
            Err(error) if error.is_damage() => {
                let aside = dir.join(format!("alerts.redb.damaged-{}", crate::now_ms()));
                std::fs::rename(&path, &aside)?;
                tracing::error!(%error, aside = %aside.display(), "what was kept of alerts cannot be read and was put aside; they begin anew");
                Self::read(&path)
            }
            read => read,
        }
    }

    fn read(path: &Path) -> Result<(Self, Found), AlertsError> {
        let db = Database::builder().set_cache_size(CACHE).create(path)?;
        let mut found = Found::default();
        let begin = db.begin_write()?;
        for row in begin.open_table(ACTIVE)?.iter()? {
            found.active.extend(read(row?.1.value()));
        }
        for row in begin.open_table(ENDED)?.iter()? {
            let (number, alert) = row?;
            found.ended.extend(read(alert.value()).map(|a| (number.value(), a)));
        }
        for row in begin.open_table(SILENCES)?.iter()? {
            found.silences.extend(read(row?.1.value()));
        }
        for row in begin.open_table(TOLD)?.iter()? {
            let (key, at) = row?;
            let (rule, subject, key) = key.value();
            found.told.push((Told { rule: rule.into(), subject: subject.into(), key: key.into() }, at.value()));
        }
        begin.commit()?;
        Ok((Self(db), found))
    }

    pub fn write(&self, rows: &Rows, now_ms: i64) -> Result<(), AlertsError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.put(rows, now_ms, false)
    }

    /// Writes everything anew: what was there is forgotten.
    pub fn rewrite(&self, all: &Rows, now_ms: i64) -> Result<(), AlertsError> {
        self.put(all, now_ms, true)
    }

    fn put(&self, rows: &Rows, now_ms: i64, is_anew: bool) -> Result<(), AlertsError> {
        let write = self.0.begin_write()?;
        if is_anew {
            write.delete_table(ACTIVE)?;
            write.delete_table(ENDED)?;
            write.delete_table(SILENCES)?;
            write.delete_table(TOLD)?;
        }
        {
            let mut active = write.open_table(ACTIVE)?;
            for alert in &rows.put {
                active.insert(&*alert.id, serde_json::to_vec(&**alert)?.as_slice())?;
            }
            let mut ended = write.open_table(ENDED)?;
            for (number, alert) in &rows.ended {
                active.remove(&*alert.id)?;
                ended.insert(number, serde_json::to_vec(&**alert)?.as_slice())?;
            }
            ended.retain_in(..rows.forget_below, |_, _| false)?;
            let mut told = write.open_table(TOLD)?;
            for t in &rows.told {
                told.insert((&*t.rule, &*t.subject, &*t.key), now_ms)?;
            }
            for t in &rows.untold {
                told.remove((&*t.rule, &*t.subject, &*t.key))?;
            }
            let mut silences = write.open_table(SILENCES)?;
            for s in &rows.silences {
                silences.insert(&*s.id, serde_json::to_vec(s)?.as_slice())?;
            }
            for id in &rows.unsilenced {
                silences.remove(&**id)?;
            }
        }
        Ok(write.commit()?)
    }
}

/// A row of a version that is not this one is left out, and said.
fn read<T: DeserializeOwned>(row: &[u8]) -> Option<T> {
    serde_json::from_slice(row).map_err(|error| tracing::warn!(%error, "a row of the store of alerts does not read; it is left out")).ok()
}
