//! A driver's library of our own, compiled for one test. Each test file uses a part of it.
#![allow(dead_code)]

use std::path::PathBuf;
use std::process::Command;

use kcloud_e2e::root;
use kcloud_monitor::plugins::capabilities::nvml::Driver;

/// The library, and the folder whose files say how it misbehaves.
pub struct Library {
    dir: tempfile::TempDir,
}

impl Library {
    /// Compiles it; a C compiler is what the host itself is built with.
    pub fn build() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let source = root().join("tests/e2e/tests/nvml/fake.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(dir.path().join("libnvidia-ml.so.1")).arg(source);
        cc.arg(format!("-DDIR=\"{}\"", dir.path().display()));
        assert!(cc.status().expect("a C compiler").success());
        Self { dir }
    }

    /// As an operator names it.
    pub fn driver(&self) -> Driver {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_kcloud-monitor-under-test"));
        Driver { library: self.dir.path().join("libnvidia-ml.so.1"), program }
    }

    /// From now on it does this.
    pub fn begin(&self, what: &str) {
        std::fs::write(self.dir.path().join(what), "").expect("written");
    }

    /// And no more.
    pub fn end(&self, what: &str) {
        std::fs::remove_file(self.dir.path().join(what)).expect("it was there");
    }
}
