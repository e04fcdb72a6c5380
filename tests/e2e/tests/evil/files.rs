//! Files and the plugin's own store: nothing beyond what was granted, and no more of it than was said.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use kcloud_monitor::plugins::capabilities::globs::Globs;

use crate::stage::{Evil, Stage, evil, play, told};

fn granted(evils: Vec<Evil>, globs: &[String]) -> impl Iterator<Item = Evil> {
    let globs = Globs::new(globs).unwrap();
    evils.into_iter().map(move |e| e.with(|s| s.grants.files = Some(globs.clone())))
}

#[test]
fn no_path_and_no_link_leads_out_of_what_was_granted() {
    play(async {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (open, closed) = (root.join("open"), root.join("closed"));
        for d in [&open, &closed] {
            fs::create_dir(d).unwrap();
        }
        fs::write(closed.join("secret"), "secret").unwrap();
        fs::write(open.join("large"), vec![0; (1 << 20) + 1]).unwrap();
        fs::create_dir(open.join("directory")).unwrap();
        for (link, to) in [
            ("shadow", "/etc/shadow"),
            ("dir", closed.to_str().unwrap()),
            ("up", "../closed/secret"),
            ("self", "/proc/self/environ"),
            ("zero", "/dev/zero"),
            ("loop", "loop"),
        ] {
            symlink(to, open.join(link)).unwrap();
        }
        assert!(std::process::Command::new("mkfifo").arg(open.join("pipe")).status().unwrap().success());
        let inside = |p: &str| format!("{}/{p}", open.display());
        let paths = [
            "/etc/shadow".to_owned(),
            "etc/shadow".to_owned(),
            String::new(),
            "/".to_owned(),
            format!("{}/secret", closed.display()),
            inside("../closed/secret"),
            inside("./../closed/secret"),
            inside("//../closed/secret"),
            inside("shadow"),
            inside("dir/secret"),
            inside("up"),
            inside("self"),
            inside("zero"),
            inside("loop"),
            inside("pipe"),
            inside("directory"),
            inside("large"),
            inside("none\0/etc/shadow"),
            "/proc/self/environ".to_owned(),
            "/proc/self/root/etc/shadow".to_owned(),
            "/proc/thread-self/fd/0".to_owned(),
            format!("/proc/self/cwd{}/closed/secret", root.display()),
        ];
        let list: Vec<&str> = paths.iter().map(String::as_str).collect();
        let stage = Stage::set(granted(told("read", "", &list), &[format!("{}/**", open.display())])).await;
        for lines in stage.log("read").await {
            assert!(lines.len() >= paths.len() && lines.iter().all(|l| !l.contains("GOT") && !l.contains("\"secret\"")), "{lines:#?}");
        }
        stage.end().await;
    });
}

#[test]
fn what_a_call_reads_of_files_is_counted_over_all_of_it() {
    play(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().canonicalize().unwrap().join("f");
        fs::write(&file, vec![0; 1 << 20]).unwrap();
        let path = file.to_str().unwrap();
        let stage = Stage::set(granted(told("read-much", "", &[path]), &[path.to_owned()])).await;
        stage.fails("read-much", "plugin", "after 16777216 bytes: FileError::Denied(\"what one call may read is used up").await;
        stage.end().await;
    });
}

/// Bytes and names below a directory.
fn size(dir: &Path) -> (u64, usize) {
    let Ok(entries) = fs::read_dir(dir) else { return (0, 0) };
    entries.map(|e| e.unwrap()).fold((0, 0), |(bytes, names), e| {
        let (b, n) = if e.file_type().unwrap().is_dir() { size(&e.path()) } else { (e.metadata().unwrap().len(), 1) };
        (bytes + b, names + n)
    })
}

#[test]
fn a_store_that_is_flooded_takes_its_quota_and_no_more() {
    play(async {
        // Each write is a flush: a slow disk is not what this is about.
        let evils = ["state-bytes", "state-keys", "state-writes"].into_iter().flat_map(evil);
        let stage = Stage::set(evils.map(|e| e.with(|s| s.timeout = Duration::from_secs(30)))).await;
        stage.fails("state-bytes", "plugin", "StateError::Quota(1048576)").await;
        for name in ["state-keys", "state-writes"] {
            stage.fails(name, "plugin", " 100: StateError::Io(\"a plugin writes at most 100 times a call and 1000 times a minute\")").await;
        }
        let state = stage.running.dir.path().join("state");
        for name in ["state-bytes", "state-keys", "state-writes"] {
            let (bytes, names) = size(&state.join(name));
            assert!(bytes <= 1 << 20 && names <= 1_026, "{name}: {bytes} bytes in {names} files");
        }
        stage.end().await;
    });
}

#[test]
fn a_key_of_the_store_is_never_a_path() {
    play(async {
        let long = "k".repeat(128);
        let names = [
            "../../x",
            "/etc/cron.d/x",
            "..",
            ".",
            ".lock",
            ".new",
            "a/b",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "\u{202e}x",
            &long,
            "con",
            "%2e%2e",
            "'; --",
        ];
        let stage = Stage::set(told("state-names", "", &names)).await;
        for lines in stage.log("state-names").await {
            // Each gives back what was put under it.
            assert!(lines.iter().all(|l| l.contains("-> Ok(Ok(Some(")), "{lines:#?}");
        }
        let state = stage.running.dir.path().join("state");
        let all: Vec<String> =
            fs::read_dir(state.join("state-names")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert!(all.iter().all(|n| n.starts_with('.') || (n.len() == 64 && n.bytes().all(|b| b.is_ascii_hexdigit()))), "{all:?}");
        assert_eq!(all.iter().filter(|n| !n.starts_with('.')).count(), names.len());
        let (_, outside) = size(stage.running.dir.path());
        let (_, inside) = size(&state);
        assert!(outside - inside < 20, "only the host's own files lie outside");
        stage.end().await;
    });
}
