//! Harness functions of the fuzz targets: bytes in, nothing out; what must hold is asserted.
//!
//! Two drivers call them: libFuzzer, guided by coverage (`cargo xtask fuzz`), and a short deterministic run in the tests
//! (`tests/short.rs`). A harness must never touch the network or a path that its input names. See README.md.

mod batch;
mod config;
mod describe;
mod exposition;
mod history;
mod loader;
mod manifest;
mod mapping;
pub mod mutate;
mod policy;

use std::alloc::System;
use std::path::PathBuf;

use cap::Cap;

/// Counts what the Rust side allocates, so that an input which makes a parser allocate without bound is a finding.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// One target.
pub struct Target {
    pub name: &'static str,
    harness: fn(&[u8]),
    /// Bytes that one input may allocate beyond what is allocated already.
    memory: usize,
}

/// All targets, by name.
pub const TARGETS: [Target; 9] = [
    Target { name: "batch", harness: batch::run, memory: 64 << 20 },
    Target { name: "config", harness: config::run, memory: 64 << 20 },
    Target { name: "describe", harness: describe::run, memory: 256 << 20 },
    Target { name: "exposition", harness: exposition::run, memory: 64 << 20 },
    Target { name: "history", harness: history::run, memory: 128 << 20 },
    Target { name: "loader", harness: loader::run, memory: 1 << 30 },
    Target { name: "manifest", harness: manifest::run, memory: 64 << 20 },
    Target { name: "mapping", harness: mapping::run, memory: 64 << 20 },
    Target { name: "policy", harness: policy::run, memory: 64 << 20 },
];

impl Target {
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|t| t.name == name)
    }

    /// Runs one input. Panics, or aborts for want of memory, where it finds something.
    pub fn run(&self, input: &[u8]) {
        let limit = ALLOCATOR.allocated().saturating_add(self.memory);
        // It only refuses a limit below what is allocated, which this is not.
        let _ = ALLOCATOR.set_limit(limit);
        (self.harness)(input);
    }

    /// Inputs that are kept: seeds, then findings.
    pub fn corpus(&self) -> [PathBuf; 2] {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        [root.join("corpus").join(self.name), root.join("findings").join(self.name)]
    }
}

/// A folder for functions that read files; in memory where that can be had.
fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder for the inputs")
}

/// Parts of an input, between NUL bytes, so that a seed can be written by hand.
fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut parts = input.splitn(N, |b| *b == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// What is told to an operator is one line without control characters, and not a book.
fn assert_tellable(text: &str) {
    assert!(!text.chars().any(char::is_control), "control characters in what an operator reads: {text:?}");
    assert!(text.len() <= 16 << 10, "{} bytes for an operator to read", text.len());
}
