//! NVIDIA's driver for guests: what its management library (NVML) says of the cards of this machine.
//!
//! In: names of fields. Out: cards with their MIG devices, links and processes, and the XIDs that were heard. The library is opened by
//! `kcloud-monitor nvml` ([`driver`]), a process that `helper` starts, bounds and ends. It must never load the library into the
//! host, ask for anything that changes a card, or let a guest say which library is loaded.

mod cgroup;
pub mod driver;
mod fields;
mod helper;
mod raw;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use helper::Drivers;

use super::Guest;

/// What is opened where the operator names nothing else; the system's loader finds it.
pub const LIBRARY: &str = "libnvidia-ml.so.1";
/// Fields of one read.
const MAX_FIELDS: usize = 256;
/// Reads of one call.
const MAX_READS: usize = 16;
/// Kept of a call's wall time, so that a guest can still say what it has.
const MARGIN: Duration = Duration::from_millis(250);

/// Which library is opened, and by which program: this binary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Driver {
    pub library: PathBuf,
    pub program: PathBuf,
}

/// What the driver says to one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Number(f64),
    Text(String),
    Unsupported,
    Denied,
    Failed(String),
}

/// The driver itself, a card, or what is a part of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `driver card mig link process`
    pub kind: String,
    /// A smaller index.
    pub parent: Option<u32>,
    pub readings: Vec<(String, Value)>,
}

/// A critical XID of a card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Xid {
    pub uuid: String,
    pub code: u64,
    pub heard_at_ns: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub parts: Vec<Part>,
    pub xids: Vec<Xid>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NvmlError {
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Timeout(String),
}

/// A question to the driver: of which card (none: of all), and which field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Spot {
    card: Option<u32>,
    field: String,
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.card {
            Some(card) => write!(f, "{} of card {card}", self.field),
            None => f.write_str(&self.field),
        }
    }
}

/// One line to the helper.
#[derive(Serialize, Deserialize)]
struct Ask {
    fields: Vec<String>,
    /// Not asked now, and why.
    skip: Vec<(Spot, String)>,
}

/// One line of the helper.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    /// What it asks the driver next: where it hangs or crashes, this was it.
    At(Spot),
    Answer(Answer),
    Error(NvmlError),
}

impl Guest {
    /// Reads the driver of this machine.
    pub async fn read_nvml(&mut self, fields: Vec<String>) -> Result<Answer, NvmlError> {
        let rights = self.shared.rights();
        let driver = rights.grants.nvml.as_ref().ok_or_else(|| NvmlError::Denied("[grants] nvml is not given".into()))?;
        if fields.len() > MAX_FIELDS || fields.iter().any(|f| f.len() > 64) {
            return Err(NvmlError::Denied(format!("at most {MAX_FIELDS} fields, their names of at most 64 bytes")));
        }
        self.used.nvml_reads += 1;
        if self.used.nvml_reads > MAX_READS {
            return Err(NvmlError::Denied(format!("a call reads the driver at most {MAX_READS} times")));
        }
        let until = self.deadline.checked_sub(MARGIN.min(self.remaining() / 8)).unwrap_or_else(Instant::now);
        self.shared.commons.drivers.read(driver, fields, until).await
    }
}
