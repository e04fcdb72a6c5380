//! `[export]`: what files of many rows may take.

use serde::{Deserialize, Serialize};

use super::{Bytes, Period};
use crate::export::Limits;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// Answers that are written at one time.
    pub at_once: usize,
    /// Rows of one answer; more is a job.
    pub max_rows: u64,
    pub jobs_at_once: usize,
    /// Jobs that are kept, waiting and done ones too.
    pub max_jobs: usize,
    pub max_file_bytes: Bytes,
    /// Of all files of jobs.
    pub max_bytes: Bytes,
    /// How long a job and its file are kept.
    pub keep: Period,
}

impl ExportConfig {
    pub fn limits(&self) -> Limits {
        Limits {
            at_once: self.at_once,
            max_rows: self.max_rows,
            jobs_at_once: self.jobs_at_once,
            max_jobs: self.max_jobs,
            max_file_bytes: self.max_file_bytes.0 as u64,
            max_bytes: self.max_bytes.0 as u64,
            keep: self.keep.0,
        }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        let all = [self.at_once, self.jobs_at_once, self.max_jobs, self.max_rows as usize, self.max_file_bytes.0, self.max_bytes.0];
        all.contains(&0).then_some("every number is above 0")
    }
}

impl Default for ExportConfig {
    fn default() -> Self {
        let Limits { at_once, max_rows, jobs_at_once, max_jobs, max_file_bytes, max_bytes, keep } = Limits::default();
        Self {
            at_once,
            max_rows,
            jobs_at_once,
            max_jobs,
            max_file_bytes: Bytes(max_file_bytes as usize),
            max_bytes: Bytes(max_bytes as usize),
            keep: Period(keep),
        }
    }
}
