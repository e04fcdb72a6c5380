//! Read-only files below granted globs. What is checked is what was opened: a link that changes in between leads nowhere.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::UNIX_EPOCH;

use rustix::fs::{Mode, OFlags};

use super::Guest;
use super::globs::Globs;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{0}")]
    Denied(String),
    #[error("not found")]
    NotFound,
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    #[error("{0}")]
    Io(String),
}

/// One file, at most.
const MAX_FILE: usize = 1 << 20;
const MAX_PATHS: usize = 4_096;
/// Names in a directory.
const MAX_NAMES: usize = 10_000;
/// All that is read of a process: nothing that holds its environment, memory, descriptors or another root.
const OF_A_PROCESS: [&str; 11] = ["cgroup", "cmdline", "comm", "io", "limits", "mounts", "sched", "schedstat", "stat", "statm", "status"];
/// The kernel's memory, keys, addresses and messages.
const OF_THE_KERNEL: [&str; 9] =
    ["kallsyms", "kcore", "key-users", "keys", "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "sysrq-trigger"];

fn io(e: std::io::Error) -> FileError {
    match e.kind() {
        std::io::ErrorKind::NotFound => FileError::NotFound,
        kind => FileError::Io(kind.to_string()),
    }
}

/// Something that was found, without having been opened for reading: a device or a pipe notices nothing.
struct Found {
    fd: OwnedFd,
    /// Where it lies, all links resolved.
    real: String,
}

impl Found {
    /// Finds `path` when both it and what it leads to are `allowed`.
    fn find(path: &str, allowed: impl Fn(&str) -> bool, denied: &str) -> Result<Self, FileError> {
        let refused = || FileError::Denied(format!("{path:?} {denied}"));
        let hidden = || FileError::Denied(format!("{path:?} is of a process or of the kernel itself and never read"));
        if !allowed(path) {
            return Err(refused());
        }
        // Before anything is followed: below it may lie another root, in which paths mean something else.
        if path.split_once("/proc/").is_some_and(|(_, rest)| holds_secrets(rest)) {
            return Err(hidden());
        }
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|e| io(e.into()))?;
        let real = std::fs::read_link(by_descriptor(&fd)).map_err(io)?;
        let real = real.into_os_string().into_string().map_err(|_| refused())?;
        if !allowed(&real) {
            return Err(refused());
        }
        let of_proc = rustix::fs::fstatfs(&fd).map_err(|e| io(e.into()))?.f_type == rustix::fs::PROC_SUPER_MAGIC;
        if of_proc && holds_secrets(&real) {
            return Err(hidden());
        }
        Ok(Self { fd, real })
    }

    /// Opens the very same file for reading.
    fn open(&self, flags: OFlags) -> Result<File, FileError> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::open(by_descriptor(&self.fd), flags, Mode::empty()).map(File::from).map_err(|e| io(e.into()))
    }
}

fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Whether a path of a process file system leads to more than figures, wherever it is mounted.
fn holds_secrets(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let is_process = |p: &&str| matches!(*p, "self" | "thread-self") || (!p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let last = parts.last().copied().unwrap_or_default();
    match parts.iter().position(is_process) {
        Some(at) => {
            // A process, or one of its threads.
            let rest = &parts[at + 1..];
            let rest = if let ["task", _, rest @ ..] = rest { rest } else { rest };
            !matches!(rest, [] | ["task"] | ["net", ..]) && !matches!(rest, [one] if OF_A_PROCESS.contains(one))
        }
        None => OF_THE_KERNEL.contains(&last),
    }
}

const MATCHES_NONE: &str = "matches no granted glob; [grants] files must list it and what it links to";

fn find_file(globs: &Globs, path: &str) -> Result<Found, FileError> {
    let found = Found::find(path, |p| globs.allow(p), MATCHES_NONE)?;
    let kind = rustix::fs::fstat(&found.fd).map_err(|e| io(e.into()))?.st_mode;
    match rustix::fs::FileType::from_raw_mode(kind).is_file() {
        true => Ok(found),
        false => Err(FileError::Denied(format!("{path:?} is not a regular file"))),
    }
}

/// Reads a file; `left` is what the call may still read.
fn read(globs: &Globs, path: &str, left: &mut usize) -> Result<Vec<u8>, FileError> {
    let most = MAX_FILE.min(*left);
    let mut bytes = Vec::new();
    find_file(globs, path)?.open(OFlags::empty())?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    match bytes.len() {
        n if n > MAX_FILE => return Err(FileError::TooLarge(MAX_FILE as u64)),
        n if n > *left => return Err(FileError::Denied("what one call may read is used up; [limits] files_call says how much".into())),
        _ => {}
    }
    *left -= bytes.len();
    Ok(bytes)
}

fn modified(globs: &Globs, path: &str) -> Result<u64, FileError> {
    let written = File::from(find_file(globs, path)?.fd).metadata().and_then(|m| m.modified()).map_err(io)?;
    Ok(written.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64))
}

/// Names in a directory that a glob matches, or that lie on the way to what one matches.
fn list(globs: &Globs, path: &str, most: usize) -> Result<Vec<String>, FileError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let found = Found::find(path, |p| globs.lead(p), "is not on the way to any granted glob")?;
    let dir = found.open(OFlags::DIRECTORY)?;
    let mut names = Vec::new();
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd())).map_err(io)?;
    for (i, entry) in entries.enumerate() {
        if i >= most {
            return Err(FileError::Io(format!("more than {most} names in the directory")));
        }
        if let Ok(name) = entry.map_err(io)?.file_name().into_string()
            && globs.lead(&format!("{path}/{name}"))
            && globs.lead(&format!("{}/{name}", found.real))
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl Guest {
    async fn with_files<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&Globs) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let Some(globs) = self.shared.grants.files.clone() else { return Err(FileError::Denied("files is not granted".into())) };
        let looked = self.off_thread(move || look(&globs)).await;
        looked.unwrap_or_else(|| Err(FileError::Io("the host could not look".into())))
    }

    pub async fn list_dir(&mut self, path: String) -> Result<Vec<String>, FileError> {
        self.with_files(move |globs| list(globs, &path, MAX_NAMES)).await
    }

    pub async fn file_modified(&mut self, path: String) -> Result<u64, FileError> {
        self.with_files(move |globs| modified(globs, &path)).await
    }

    pub async fn read_file(&mut self, path: String) -> Result<Vec<u8>, FileError> {
        let mut one = self.read_files(vec![path]).await;
        one.pop().unwrap_or_else(|| Err(FileError::Io("the host could not look".into())))
    }

    /// Reads many; answers in their order.
    pub async fn read_files(&mut self, paths: Vec<String>) -> Vec<Result<Vec<u8>, FileError>> {
        let count = paths.len();
        if count > MAX_PATHS {
            return (0..count).map(|_| Err(FileError::Denied(format!("at most {MAX_PATHS} paths at once")))).collect();
        }
        let mut left = self.shared.limits.files_call_bytes.saturating_sub(self.used.file_bytes);
        let before = left;
        let read = self
            .with_files(move |globs| {
                let all: Vec<_> = paths.iter().map(|path| read(globs, path, &mut left)).collect();
                Ok((all, left))
            })
            .await;
        match read {
            Ok((all, left)) => {
                self.used.file_bytes += before - left;
                all
            }
            Err(error) => (0..count).map(|_| Err(FileError::Io(error.to_string()))).collect(),
        }
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
