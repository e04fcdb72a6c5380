//! What is read: files below paths with named parts, and answers over HTTP. Bounded: a table that reaches for too much is told so.

use std::collections::{BTreeMap, BTreeSet};

use kcloud_collector_sdk::bindings::kcloud::collector::{clock, files};
use kcloud_collector_sdk::http::{self, Raw};
use kcloud_collector_sdk::{CollectError, GapReason, Target};

use crate::pattern::{Parts, Pattern};
use crate::value::Got;

pub(crate) use files::FileError;

/// Directories that one read of a target looks into.
const MAX_LISTS: usize = 5_000;
/// Files of one read.
const MAX_FILES: usize = 20_000;
/// Paths that the host takes at once.
const AT_ONCE: usize = 4_096;

/// The host, or what a test puts in its place.
pub(crate) trait World {
    fn list(&mut self, dir: &str) -> Result<Vec<String>, FileError>;
    fn read_all(&mut self, paths: &[String]) -> Vec<Result<Vec<u8>, FileError>>;
    fn modified_ms(&mut self, path: &str) -> Option<i64>;
    fn now_ms(&mut self) -> i64;
    fn get(&mut self, url: &str, accept: &str) -> Result<Raw, CollectError>;
}

pub(crate) struct Wire<'a> {
    pub(crate) target: &'a Target,
    pub(crate) timeout_ms: u32,
}

impl World for Wire<'_> {
    fn list(&mut self, dir: &str) -> Result<Vec<String>, FileError> {
        files::list_dir(dir)
    }

    fn read_all(&mut self, paths: &[String]) -> Vec<Result<Vec<u8>, FileError>> {
        files::read_all(paths)
    }

    fn modified_ms(&mut self, path: &str) -> Option<i64> {
        files::modified(path).ok().map(|ns| (ns / 1_000_000) as i64)
    }

    fn now_ms(&mut self) -> i64 {
        (clock::unix_ns() / 1_000_000) as i64
    }

    fn get(&mut self, url: &str, accept: &str) -> Result<Raw, CollectError> {
        http::raw(self.target, url, &[("accept", accept)], self.timeout_ms)
    }
}

/// A path that a pattern matched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Match {
    pub(crate) path: String,
    pub(crate) parts: Parts,
}

/// Files and directories of one read, each looked at once.
pub(crate) struct Disk<'w> {
    pub(crate) world: &'w mut dyn World,
    listed: BTreeMap<String, Vec<String>>,
    read: BTreeMap<String, Result<Vec<u8>, FileError>>,
    /// What was not looked at or could not be, each once.
    pub(crate) problems: BTreeSet<String>,
    pub(crate) denied: BTreeSet<String>,
    /// Something was left out.
    pub(crate) is_cut: bool,
}

impl<'w> Disk<'w> {
    pub(crate) fn new(world: &'w mut dyn World) -> Self {
        Self { world, listed: BTreeMap::new(), read: BTreeMap::new(), problems: BTreeSet::new(), denied: BTreeSet::new(), is_cut: false }
    }

    fn list(&mut self, dir: &str) -> Vec<String> {
        let dir = if dir.is_empty() { "/" } else { dir };
        if let Some(known) = self.listed.get(dir) {
            return known.clone();
        }
        if self.listed.len() >= MAX_LISTS {
            self.cut(format!(
                "more than {MAX_LISTS} directories would have to be looked into; the rest is left out: name more of the path"
            ));
            return Vec::new();
        }
        let names = self.world.list(dir).unwrap_or_else(|error| {
            match error {
                FileError::Denied(why) => drop(self.denied.insert(why)),
                // What is no directory has nothing below it.
                FileError::NotFound => {}
                FileError::Io(why) if why.contains("not a directory") => {}
                FileError::Io(why) => drop(self.problems.insert(format!("{dir}: {why}"))),
                FileError::TooLarge(most) => drop(self.problems.insert(format!("{dir}: more than {most}"))),
            }
            Vec::new()
        });
        self.listed.insert(dir.to_owned(), names.clone());
        names
    }

    pub(crate) fn cut(&mut self, why: String) {
        self.is_cut = true;
        self.problems.insert(why);
    }

    /// All that a pattern matches, in order of the names, numbers by their value; `most` at most.
    pub(crate) fn walk(&mut self, pattern: &Pattern, below: &Match, most: usize, what: &str) -> Vec<Match> {
        let mut found = vec![if pattern.is_absolute { Match { path: String::new(), parts: below.parts.clone() } } else { below.clone() }];
        let elements: Vec<Option<String>> = pattern.elements().map(|e| e.map(str::to_owned)).collect();
        for (i, literal) in elements.iter().enumerate() {
            let varies = literal.is_none();
            // A fixed name is looked for only where it is the last: below it what is not there lists nothing.
            let is_last = i + 1 == elements.len();
            let mut next = Vec::new();
            for at in found {
                if let Some(name) = literal.as_ref().filter(|_| !is_last) {
                    next.push(Match { path: format!("{}/{name}", at.path), parts: at.parts });
                    continue;
                }
                let mut here: Vec<Match> = Vec::new();
                for name in self.list(&at.path) {
                    let Some(own) = pattern.fits(i, &name) else { continue };
                    here.push(Match { path: format!("{}/{name}", at.path), parts: at.parts.iter().cloned().chain(own).collect() });
                }
                if varies {
                    here.sort_by_cached_key(|found| natural(&found.path));
                }
                next.extend(here);
                if next.len() > most {
                    next.truncate(most);
                    self.cut(format!("{what} matches more than {most}; the rest is left out: max_rows says how many"));
                    break;
                }
            }
            found = next;
        }
        found
    }

    /// Reads what was not read yet, many at once.
    pub(crate) fn fetch(&mut self, paths: BTreeSet<String>) {
        let mut paths: Vec<String> = paths.into_iter().filter(|p| !self.read.contains_key(p)).collect();
        let room = MAX_FILES.saturating_sub(self.read.len());
        if paths.len() > room {
            paths.truncate(room);
            self.cut(format!("more than {MAX_FILES} files would have to be read; the rest is left out: take fewer rows or metrics"));
        }
        for some in paths.chunks(AT_ONCE) {
            let answers = self.world.read_all(some);
            self.read.extend(some.iter().cloned().zip(answers));
        }
    }

    pub(crate) fn bytes(&self, path: &str) -> Option<&Result<Vec<u8>, FileError>> {
        self.read.get(path)
    }

    /// The text of a file that was fetched.
    pub(crate) fn text(&self, path: &str) -> Got {
        match self.read.get(path) {
            None => Got::Failed(GapReason::Error, format!("{path} was not read")),
            Some(Ok(bytes)) => Got::Text(String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\r', '\0']).to_owned()),
            Some(Err(FileError::NotFound)) => Got::Missing,
            Some(Err(FileError::Denied(why))) => Got::Failed(GapReason::Denied, why.clone()),
            Some(Err(FileError::Io(why))) => Got::Failed(GapReason::Error, format!("{path}: {why}")),
            Some(Err(FileError::TooLarge(most))) => Got::Failed(GapReason::Error, format!("{path}: larger than {most} bytes")),
        }
    }
}

/// A key in which `npu10` comes after `npu9`.
pub(crate) fn natural(text: &str) -> Vec<(String, u64)> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(word);
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, after) = tail.split_at(digits);
        out.push((head.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    out
}
