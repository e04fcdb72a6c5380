//! The contract is frozen: a file of it that changes breaks every plugin that exists.

use kcloud_e2e::root;
use sha2::{Digest, Sha256};

#[test]
fn frozen_files_are_as_they_were() {
    let frozen = std::fs::read_to_string(root().join("wit/FROZEN")).unwrap();
    let mut pinned: Vec<&str> = Vec::new();
    for line in frozen.lines() {
        let (digest, path) = line.split_once("  ").unwrap();
        let now: String = Sha256::digest(std::fs::read(root().join(path)).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(now, digest, "{path} is frozen (spec/PLUGIN_CONTRACT.md, \"How it may grow\")");
        pinned.push(path);
    }
    // The last as it was released: a component that is built against it must run for ever.
    for folder in ["wit/v0.1", "wit/v0.2", "tests/guests/v0-1-0/wit"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(pinned.contains(&path.as_str()), "{path} is not in wit/FROZEN");
        }
    }
}
