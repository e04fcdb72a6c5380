//! Real files, links, pipes and `/proc`.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

fn granted(given: &[String]) -> Globs {
    Globs::new(given).unwrap()
}

fn read(globs: &Globs, path: &str) -> Result<Vec<u8>, FileError> {
    let mut left = MAX_FILE;
    super::read(globs, path, &mut left)
}

fn list(globs: &Globs, path: &str) -> Result<Vec<String>, FileError> {
    super::list(globs, path, 10)
}

fn tree() -> (tempfile::TempDir, String, Globs) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().display().to_string();
    std::fs::create_dir(format!("{root}/open")).unwrap();
    std::fs::write(format!("{root}/secret"), "s").unwrap();
    std::fs::write(format!("{root}/open/file"), "f").unwrap();
    let globs = granted(&[format!("{root}/open/**")]);
    (dir, root, globs)
}

#[test]
fn a_link_out_of_the_granted_tree_is_refused() {
    let (_dir, root, globs) = tree();
    symlink(format!("{root}/secret"), format!("{root}/open/link")).unwrap();
    symlink(&root, format!("{root}/open/up")).unwrap();
    symlink(format!("{root}/open/file"), format!("{root}/open/inside")).unwrap();
    for ok in ["file", "inside"] {
        assert_eq!(read(&globs, &format!("{root}/open/{ok}")).unwrap(), b"f");
    }
    for bad in ["link", "up/secret", "up/open/../secret", "../secret"] {
        let path = format!("{root}/open/{bad}");
        assert!(matches!(read(&globs, &path), Err(FileError::Denied(_))), "{bad}");
        assert!(matches!(modified(&globs, &path), Err(FileError::Denied(_))), "{bad}");
    }
    assert_eq!(list(&globs, &format!("{root}/open")).unwrap(), ["file", "inside", "link", "up"]);
    // The directory that it leads to is on the way to what is granted; of its names only that way is told.
    assert_eq!(list(&globs, &format!("{root}/open/up")).unwrap(), ["open"]);
    assert!(matches!(list(&globs, "/etc"), Err(FileError::Denied(_))));
    assert!(modified(&globs, &format!("{root}/open/file")).unwrap() > 0);
}

#[test]
fn a_link_that_changes_while_it_is_read_never_leads_outside() {
    let (_dir, root, globs) = tree();
    let link = format!("{root}/open/link");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for target in ["open/file", "secret"].iter().cycle() {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                symlink(format!("{root}/{target}"), format!("{root}/next")).unwrap();
                std::fs::rename(format!("{root}/next"), &link).unwrap();
            }
        });
        let mut outcomes = [0, 0];
        let began = std::time::Instant::now();
        while outcomes.contains(&0) || outcomes[0] + outcomes[1] < 5_000 {
            match read(&globs, &link) {
                Ok(bytes) => {
                    assert_eq!(bytes, b"f");
                    outcomes[0] += 1;
                }
                Err(FileError::Denied(_) | FileError::NotFound) => outcomes[1] += 1,
                Err(other) => panic!("{other}"),
            }
            assert!(began.elapsed().as_secs() < 60, "{outcomes:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn only_regular_files_are_read_and_nothing_waits_for_a_pipe() {
    let (_dir, root, globs) = tree();
    rustix::fs::mknodat(rustix::fs::CWD, format!("{root}/open/pipe"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(format!("{root}/open/socket")).unwrap();
    std::fs::create_dir(format!("{root}/open/dir")).unwrap();
    for bad in ["pipe", "socket", "dir"] {
        assert!(matches!(read(&globs, &format!("{root}/open/{bad}")), Err(FileError::Denied(_))), "{bad}");
    }
    let devices = granted(&["/dev/**".to_owned()]);
    assert!(matches!(read(&devices, "/dev/zero"), Err(FileError::Denied(_))));
    assert!(matches!(list(&globs, &format!("{root}/open/file")), Err(FileError::Io(_))));
    assert!(matches!(read(&globs, &format!("{root}/open/none")), Err(FileError::NotFound)));
}

#[test]
fn what_a_process_or_the_kernel_hides_stays_hidden_under_the_widest_glob() {
    let globs = granted(&["/proc/**".to_owned(), "/etc/hostname".to_owned()]);
    let own = std::process::id();
    for secret in ["environ", "mem", "maps", "auxv", "root/etc/hostname", "cwd/Cargo.toml", "exe", "fd/0", "fdinfo/0", "task/1/environ"] {
        for process in ["self".to_owned(), "thread-self".to_owned(), own.to_string()] {
            let path = format!("/proc/{process}/{secret}");
            assert!(read(&globs, &path).is_err(), "{path}");
        }
    }
    assert!(matches!(read(&globs, "/proc/self/environ"), Err(FileError::Denied(_))));
    assert!(matches!(read(&globs, &format!("/proc/{own}/task/{own}/environ")), Err(FileError::Denied(_))));
    for secret in ["/proc/kcore", "/proc/kallsyms"] {
        assert!(!Path::new(secret).exists() || matches!(read(&globs, secret), Err(FileError::Denied(_))), "{secret}");
    }
    for open in ["/proc/loadavg", "/proc/stat", "/proc/net/dev", "/proc/self/stat", &format!("/proc/{own}/status")] {
        assert!(!read(&globs, open).unwrap().is_empty(), "{open}");
    }
    // The same wherever it is mounted.
    assert!(holds_secrets("/host/proc/1/environ") && holds_secrets("/host/proc/1/task/2/mem") && holds_secrets("/host/proc/kcore"));
    assert!(!holds_secrets("/host/proc/1/stat") && !holds_secrets("/host/proc/1/task/2/stat") && !holds_secrets("/host/proc/meminfo"));
    assert!(matches!(super::list(&globs, "/proc/self/fd", MAX_NAMES), Err(FileError::Denied(_))));
}

#[test]
fn a_file_and_a_call_have_so_many_bytes_and_a_directory_so_many_names() {
    let (_dir, root, globs) = tree();
    let path = format!("{root}/open/large");
    std::fs::write(&path, vec![0; MAX_FILE + 1]).unwrap();
    assert!(matches!(read(&globs, &path), Err(FileError::TooLarge(_))));
    std::fs::write(&path, vec![0; MAX_FILE]).unwrap();
    let mut left = MAX_FILE + 10;
    assert_eq!(super::read(&globs, &path, &mut left).unwrap().len(), MAX_FILE);
    assert!(matches!(super::read(&globs, &path, &mut left), Err(FileError::Denied(e)) if e.contains("files_call")));
    assert_eq!(super::read(&globs, &format!("{root}/open/file"), &mut left).unwrap(), b"f");
    std::fs::create_dir(format!("{root}/open/many")).unwrap();
    (0..=10).for_each(|i| drop(File::create(format!("{root}/open/many/{i}")).unwrap()));
    assert!(matches!(list(&globs, &format!("{root}/open/many")), Err(FileError::Io(e)) if e.contains("names")));
}
