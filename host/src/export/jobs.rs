//! Exports that nobody waits for: each writes a file, which its owner fetches later.
//!
//! A job is a record beside its file. A file is written under another name, made durable and renamed; the record says `done` only
//! after that. After a crash a job that was under way is `interrupted`, and what it had written is gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Error, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

use super::{ExportError, Exports, Format, Out, Progress};

/// Bytes between two looks at what all files take.
const LOOK_BYTES: u64 = 1 << 20;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
    /// The host ended while it was under way.
    Interrupted,
}

impl State {
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// What is kept of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub what: String,
    pub format: String,
    pub parameters: BTreeMap<String, String>,
    pub owner: String,
    pub state: State,
    pub created_ms: i64,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    /// From then on it is forgotten, and its file with it.
    pub expires_ms: i64,
    pub rows: u64,
    /// Of raw observations an estimate: `None`.
    pub rows_expected: Option<u64>,
    pub bytes: u64,
    /// As it is called where it is saved.
    pub file_name: String,
    pub media_type: String,
    pub error: Option<String>,
}

/// What is asked for.
pub struct Order {
    pub what: String,
    pub format: Format,
    pub parameters: BTreeMap<String, String>,
    pub owner: String,
    pub rows_expected: Option<u64>,
    pub file_stem: String,
}

/// One job.
pub struct Job {
    record: Mutex<Record>,
    pub progress: Arc<Progress>,
    cancelled: Notify,
}

impl Job {
    fn of(record: Record) -> Arc<Self> {
        Arc::new(Self { record: Mutex::new(record), progress: Arc::default(), cancelled: Notify::new() })
    }

    /// As it stands now.
    pub fn record(&self) -> Record {
        let mut record = self.record.lock().unwrap_or_else(|e| e.into_inner()).clone();
        if record.state == State::Running {
            record.rows = self.progress.rows.load(Ordering::Relaxed);
            record.bytes = self.progress.bytes.load(Ordering::Relaxed);
        }
        record
    }

    /// Hundredths that are done, and how many seconds are left at this pace.
    pub fn percent(&self, now_ms: i64) -> (f64, Option<f64>) {
        let record = self.record();
        let part = match (record.state, record.rows_expected) {
            (State::Done, _) => return (100.0, Some(0.0)),
            (State::Running, Some(of)) if of > 0 => record.rows as f64 / of as f64,
            (State::Running, _) => f64::from(self.progress.read_permille.load(Ordering::Relaxed)) / 1e3,
            _ => return (0.0, None),
        };
        // Packing and making durable is left when the last row is written.
        let part = part.min(0.99);
        let ran = record.started_ms.map_or(0.0, |at| (now_ms - at) as f64 / 1e3);
        ((part * 1e4).round() / 1e2, (part >= 0.001).then(|| (ran / part * (1.0 - part)).ceil()))
    }

    fn change(&self, dir: &Path, change: impl FnOnce(&mut Record)) -> std::io::Result<()> {
        let mut record = self.record.lock().unwrap_or_else(|e| e.into_inner());
        change(&mut record);
        save(dir, &record)
    }

    /// Ends it where it is not over.
    pub fn cancel(&self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.cancelled.notify_one();
    }
}

/// Why a job is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("this host has no directory for files")]
    Nowhere,
    #[error("{0} jobs are kept already; delete some, or wait until they expire")]
    TooMany(usize),
    #[error("files of jobs fill their {0} bytes; delete some, or wait until they expire")]
    Full(u64),
    #[error("a job could not be noted: {0}")]
    Disk(#[from] std::io::Error),
}

/// All jobs of a host.
pub struct Jobs {
    dir: PathBuf,
    all: Mutex<BTreeMap<String, Arc<Job>>>,
    turns: Arc<Semaphore>,
}

fn record_path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.json"))
}

fn file_path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.file"))
}

fn part_path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.part"))
}

fn save(dir: &Path, record: &Record) -> std::io::Result<()> {
    let (path, beside) = (record_path(dir, &record.id), dir.join(format!("{}.json.part", record.id)));
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()?;
    std::fs::rename(&beside, &path)?;
    File::open(dir)?.sync_all()
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, "a file of a job could not be removed");
    }
}

impl Jobs {
    /// Reads what there is; what was under way is over.
    pub fn open(dir: &Path, at_once: usize) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let record = path.extension().is_some_and(|e| e == "json").then(|| std::fs::read(&path)).transpose()?;
            let Some(mut record) = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok()) else { continue };
            let is_whole =
                record.state != State::Done || std::fs::metadata(file_path(dir, &record.id)).is_ok_and(|m| m.len() == record.bytes);
            if !record.state.is_over() || !is_whole {
                record.state = State::Interrupted;
                record.error = Some("the host ended before it was done".to_owned());
                record.ended_ms = Some(crate::now_ms());
                save(dir, &record)?;
            }
            all.insert(record.id.clone(), Job::of(record));
        }
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let job = all.get(stem).map(|job: &Arc<Job>| job.record().state);
            let stays = match path.extension().and_then(|e| e.to_str()) {
                Some("file") => job == Some(State::Done),
                Some("json") => job.is_some(),
                _ => false,
            };
            if entry.file_type()?.is_file() && !stays {
                tracing::warn!(file = %path.display(), "what an export left behind is removed");
                std::fs::remove_file(&path)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), all: Mutex::new(all), turns: Arc::new(Semaphore::new(at_once)) })
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.all.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Newest first.
    pub fn list(&self) -> Vec<Arc<Job>> {
        let mut all: Vec<Arc<Job>> = self.all().values().cloned().collect();
        all.sort_by_key(|job| std::cmp::Reverse(job.record().created_ms));
        all
    }

    pub fn get(&self, id: &str) -> Option<Arc<Job>> {
        self.all().get(id).cloned()
    }

    /// Bytes of all files, of those that grow too.
    pub fn bytes(&self) -> u64 {
        self.all().values().map(|job| job.record().bytes).sum()
    }

    /// The file of a job that is done.
    pub fn file(&self, job: &Job) -> Option<PathBuf> {
        let record = job.record();
        (record.state == State::Done).then(|| file_path(&self.dir, &record.id))
    }

    /// Ends a job and forgets it.
    pub fn delete(&self, id: &str) {
        if let Some(job) = self.all().remove(id) {
            job.cancel();
            // A thread that still writes finds its names gone, and removes what it made.
            [record_path(&self.dir, id), file_path(&self.dir, id)].iter().for_each(|path| remove(path));
        }
    }

    /// Forgets what is due.
    pub fn expire(&self, now_ms: i64) {
        let due: Vec<String> =
            self.list().iter().map(|j| j.record()).filter(|r| r.state.is_over() && r.expires_ms <= now_ms).map(|r| r.id).collect();
        due.iter().for_each(|id| self.delete(id));
    }

    /// How many are in each state.
    pub fn count(&self, state: State) -> usize {
        self.all().values().filter(|job| job.record().state == state).count()
    }
}

/// Takes a job on; `work` writes the whole file and gives the rows in it.
pub fn start(
    exports: &Arc<Exports>,
    order: Order,
    work: impl FnOnce(&Job, Out, &dyn Fn() -> bool) -> Result<u64, ExportError> + Send + 'static,
) -> Result<Arc<Job>, Refused> {
    let jobs = exports.jobs.as_ref().ok_or(Refused::Nowhere)?;
    let (now, limits, format) = (crate::now_ms(), &exports.limits, order.format);
    jobs.expire(now);
    let record = Record {
        id: format!("{:032x}", rand::rng().random::<u128>()),
        what: order.what,
        format: format.name().to_owned(),
        parameters: order.parameters,
        owner: order.owner,
        state: State::Queued,
        created_ms: now,
        started_ms: None,
        ended_ms: None,
        expires_ms: now + limits.keep.as_millis() as i64,
        rows: 0,
        rows_expected: order.rows_expected,
        bytes: 0,
        file_name: format!("{}.{}", order.file_stem, format.extension()),
        media_type: format.media_type().to_owned(),
        error: None,
    };
    if jobs.bytes() >= limits.max_bytes {
        return Err(Refused::Full(limits.max_bytes));
    }
    let job = Job::of(record.clone());
    {
        let mut all = jobs.all();
        // One who asks for much leaves room for the others.
        let own = all.values().filter(|j| j.record().owner == record.owner).count();
        if all.len() >= limits.max_jobs || own >= limits.max_jobs.div_ceil(2) {
            return Err(Refused::TooMany(if all.len() >= limits.max_jobs { limits.max_jobs } else { own }));
        }
        save(&jobs.dir, &record)?;
        all.insert(record.id.clone(), job.clone());
    }
    let (exports, running, turns) = (exports.clone(), job.clone(), jobs.turns.clone());
    tokio::spawn(async move {
        let turn = tokio::select! {
            turn = turns.acquire_owned() => turn,
            () = running.cancelled.notified() => return ended(&exports, &running, format, &Err(ExportError::Stopped)),
        };
        let (writer, job) = (exports.clone(), running.clone());
        let result = tokio::task::spawn_blocking(move || write(&writer, &job, work)).await.unwrap_or_else(|error| {
            // It was torn out of its work: nothing of that stays.
            if let Some(jobs) = &exports.jobs {
                remove(&part_path(&jobs.dir, &running.record().id));
            }
            Err(Error::other(error.to_string()).into())
        });
        let noted = tokio::task::spawn_blocking(move || ended(&exports, &running, format, &result)).await;
        if let Err(error) = noted {
            tracing::error!(%error, "the end of an export's job was not noted");
        }
        drop(turn);
    });
    Ok(job)
}

/// Writes a job's file and makes it durable under its name.
fn write(
    exports: &Arc<Exports>,
    job: &Arc<Job>,
    work: impl FnOnce(&Job, Out, &dyn Fn() -> bool) -> Result<u64, ExportError>,
) -> Result<u64, ExportError> {
    let Some(jobs) = &exports.jobs else { return Err(ExportError::Stopped) };
    let id = job.record().id;
    let (part, whole) = (part_path(&jobs.dir, &id), file_path(&jobs.dir, &id));
    if job.progress.stop.load(Ordering::Relaxed) || exports.is_ending() {
        return Err(ExportError::Stopped);
    }
    job.change(&jobs.dir, |r| (r.state, r.started_ms) = (State::Running, Some(crate::now_ms())))?;
    let limited =
        Limited { file: BufWriter::with_capacity(256 << 10, File::create(&part)?), exports: exports.clone(), job: job.clone(), looked: 0 };
    let ending = exports.clone();
    let written = work(job, Box::new(limited), &move || !ending.is_ending()).and_then(|rows| {
        File::open(&part)?.sync_all()?;
        std::fs::rename(&part, &whole)?;
        File::open(&jobs.dir)?.sync_all()?;
        Ok(rows)
    });
    if written.is_err() {
        remove(&part);
    }
    written
}

/// Notes what became of a job.
fn ended(exports: &Arc<Exports>, job: &Arc<Job>, format: Format, result: &Result<u64, ExportError>) {
    let Some(jobs) = &exports.jobs else { return };
    let id = job.record().id;
    exports.ended("job", format, &job.progress, result.as_ref().map(|_| ()));
    let bytes = job.progress.bytes.load(Ordering::Relaxed);
    let (state, error) = match result {
        Ok(_) => (State::Done, None),
        Err(error) if error.is_stop() && exports.is_ending() => (State::Interrupted, Some("the host ended before it was done".to_owned())),
        Err(error) if error.is_stop() => (State::Cancelled, None),
        Err(error) => {
            tracing::error!(%error, job = id, "an export's job failed");
            (State::Failed, Some(said(error)))
        }
    };
    let is_known = jobs.get(&id).is_some();
    let noted = is_known.then(|| {
        job.change(&jobs.dir, |r| {
            let now = crate::now_ms();
            (r.state, r.error, r.ended_ms) = (state, error, Some(now));
            // Kept from its end on, however long it waited and ran.
            r.expires_ms = now + exports.limits.keep.as_millis() as i64;
            (r.rows, r.bytes) = (job.progress.rows.load(Ordering::Relaxed), if state == State::Done { bytes } else { 0 });
        })
    });
    match noted {
        Some(Ok(())) if jobs.get(&id).is_some() => {}
        // It was deleted meanwhile.
        None | Some(Ok(())) => [record_path(&jobs.dir, &id), file_path(&jobs.dir, &id)].iter().for_each(|path| remove(path)),
        Some(Err(error)) => tracing::error!(%error, job = id, "the end of a job could not be noted"),
    }
}

/// What a client hears of an error: nothing of where things lie.
fn said(error: &ExportError) -> String {
    match error {
        ExportError::History(_) => "history did not answer".to_owned(),
        ExportError::Io(e) if matches!(e.kind(), ErrorKind::FileTooLarge | ErrorKind::QuotaExceeded) => e.to_string(),
        ExportError::Io(e) if e.kind() == ErrorKind::StorageFull => "the disk is full".to_owned(),
        ExportError::Plan(_) => error.to_string(),
        ExportError::Io(_) | ExportError::Stopped | ExportError::Full => "the file could not be written".to_owned(),
    }
}

/// A file that may not grow beyond what a job, and all together, may have.
struct Limited {
    file: BufWriter<File>,
    exports: Arc<Exports>,
    job: Arc<Job>,
    looked: u64,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let written = self.file.write(bytes)?;
        let all = self.job.progress.bytes.fetch_add(written as u64, Ordering::Relaxed) + written as u64;
        let limits = &self.exports.limits;
        if all > limits.max_file_bytes {
            return Err(Error::new(
                ErrorKind::FileTooLarge,
                format!("the file would be larger than {} bytes, which is the limit", limits.max_file_bytes),
            ));
        }
        if all - self.looked >= LOOK_BYTES {
            self.looked = all;
            if self.exports.jobs.as_ref().is_some_and(|jobs| jobs.bytes() > limits.max_bytes) {
                return Err(Error::new(
                    ErrorKind::QuotaExceeded,
                    format!("files of jobs would pass their {} bytes together", limits.max_bytes),
                ));
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file.flush()
    }
}
