//! What all exports of a host share: limits, how many run at once, and what is counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::jobs::{Jobs, State};
use super::{ExportError, Format, Progress};
use crate::telemetry::Page;

/// What exports may take; `[export]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Answers that are written at one time.
    pub at_once: usize,
    /// Rows of one answer; more is a job.
    pub max_rows: u64,
    /// Jobs that run at one time, and jobs that are kept, waiting and done ones too.
    pub jobs_at_once: usize,
    pub max_jobs: usize,
    /// Of one file, and of all.
    pub max_file_bytes: u64,
    pub max_bytes: u64,
    /// How long a file is kept.
    pub keep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 4,
            max_rows: 1_000_000,
            jobs_at_once: 2,
            max_jobs: 100,
            max_file_bytes: 4 << 30,
            max_bytes: 16 << 30,
            keep: Duration::from_secs(86_400),
        }
    }
}

/// What became of exports of one format.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    done: u64,
    stopped: u64,
    failed: u64,
    rows: u64,
    bytes: u64,
}

/// Shared by all that export.
pub struct Exports {
    pub limits: Limits,
    /// Where parts of workbooks wait.
    pub scratch: PathBuf,
    /// `None` where there is no directory for files.
    pub jobs: Option<Jobs>,
    slots: Arc<Semaphore>,
    ending: AtomicBool,
    active: Arc<AtomicU64>,
    counts: Mutex<BTreeMap<(&'static str, &'static str), Counts>>,
}

impl Default for Exports {
    fn default() -> Self {
        Self::with(Limits::default(), std::env::temp_dir(), None)
    }
}

/// One export that runs.
pub struct Running {
    _slot: OwnedSemaphorePermit,
    active: Arc<AtomicU64>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exports {
    fn with(limits: Limits, scratch: PathBuf, jobs: Option<Jobs>) -> Self {
        let slots = Arc::new(Semaphore::new(limits.at_once));
        Self { limits, scratch, jobs, slots, ending: AtomicBool::new(false), active: Arc::default(), counts: Mutex::default() }
    }

    /// Keeps the files of jobs in a directory, which nobody else writes to.
    pub fn open(dir: &Path, limits: Limits) -> std::io::Result<Self> {
        let jobs = Jobs::open(dir, limits.jobs_at_once)?;
        let scratch = dir.join("scratch");
        // What a crash left there is nobody's.
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)?;
        }
        std::fs::create_dir(&scratch)?;
        Ok(Self::with(limits, scratch, Some(jobs)))
    }

    /// The host ends: what is under way stops at once.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Forgets jobs that are due.
    pub fn upkeep(&self, now_ms: i64) {
        self.jobs.iter().for_each(|jobs| jobs.expire(now_ms));
    }

    /// Room for one more answer; `None` while there is none.
    pub fn begin(&self) -> Option<Running> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        self.active.fetch_add(1, Ordering::Relaxed);
        Some(Running { _slot: slot, active: self.active.clone() })
    }

    /// Answers that are written now.
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts one that ended.
    pub fn ended(&self, how: &'static str, format: Format, progress: &Progress, result: Result<(), &ExportError>) {
        let mut all = self.counts.lock().unwrap_or_else(|e| e.into_inner());
        let counts = all.entry((how, format.name())).or_default();
        *match result {
            Ok(()) => &mut counts.done,
            Err(error) if error.is_stop() => &mut counts.stopped,
            Err(_) => &mut counts.failed,
        } += 1;
        counts.rows += progress.rows.load(Ordering::Relaxed);
        counts.bytes += progress.bytes.load(Ordering::Relaxed);
    }

    /// Writes what was counted.
    pub fn metrics(&self, page: &mut Page) {
        page.family("kcloud_export_active", "gauge", "Answers with files that are written now.");
        page.sample("kcloud_export_active", &[], self.active());
        if let Some(jobs) = &self.jobs {
            page.family("kcloud_export_jobs", "gauge", "Jobs that are kept, by state.");
            for state in [State::Queued, State::Running, State::Done, State::Failed, State::Cancelled, State::Interrupted] {
                page.sample("kcloud_export_jobs", &[("state", &format!("{state:?}").to_lowercase())], jobs.count(state));
            }
            page.family("kcloud_export_job_bytes", "gauge", "Bytes of their files.");
            page.sample("kcloud_export_job_bytes", &[], jobs.bytes());
        }
        let all = self.counts.lock().unwrap_or_else(|e| e.into_inner()).clone();
        page.family("kcloud_export_files_total", "counter", "Files by format, by how they were asked for and what became of them.");
        for ((how, format), c) in &all {
            for (result, n) in [("done", c.done), ("stopped", c.stopped), ("failed", c.failed)] {
                page.sample("kcloud_export_files_total", &[("as", how), ("format", format), ("result", result)], n);
            }
        }
        page.family("kcloud_export_rows_total", "counter", "Rows that were written.");
        all.iter().for_each(|((how, format), c)| page.sample("kcloud_export_rows_total", &[("as", how), ("format", format)], c.rows));
        page.family("kcloud_export_bytes_total", "counter", "Bytes that were written.");
        all.iter().for_each(|((how, format), c)| page.sample("kcloud_export_bytes_total", &[("as", how), ("format", format)], c.bytes));
    }
}
