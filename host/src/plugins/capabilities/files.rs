//! Read-only files below granted globs. A link is followed and what it leads to is checked again.

use std::path::Path;

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
const MAX_FILE: u64 = 1 << 20;

/// Whether a granted glob matches; `*` stays inside one path element, `**` does not.
pub fn allowed(globs: &[String], path: &str) -> bool {
    let clean = path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".");
    clean && globs.iter().any(|g| matches(g.as_bytes(), path.as_bytes()))
}

fn matches(glob: &[u8], path: &[u8]) -> bool {
    match (glob, path) {
        ([], []) => true,
        ([b'*', b'*', rest @ ..], _) => (0..=path.len()).any(|i| matches(rest, &path[i..])),
        ([b'*', rest @ ..], _) => {
            let end = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
            (0..=end).any(|i| matches(rest, &path[i..]))
        }
        ([b'?', rest @ ..], [c, tail @ ..]) => *c != b'/' && matches(rest, tail),
        ([g, rest @ ..], [c, tail @ ..]) => g == c && matches(rest, tail),
        _ => false,
    }
}

/// The path with its links resolved, when both it and what it leads to are granted.
fn resolve(globs: &[String], path: &str) -> Result<std::path::PathBuf, FileError> {
    let denied = |p: &str| FileError::Denied(format!("{p:?} matches no granted glob; [grants] files must list it"));
    if !allowed(globs, path) {
        return Err(denied(path));
    }
    let real = Path::new(path).canonicalize().map_err(io)?;
    match real.to_str() {
        Some(real_path) if allowed(globs, real_path) => Ok(real),
        _ => Err(denied(path)),
    }
}

fn io(e: std::io::Error) -> FileError {
    match e.kind() {
        std::io::ErrorKind::NotFound => FileError::NotFound,
        kind => FileError::Io(kind.to_string()),
    }
}

pub fn read(globs: &[String], path: &str) -> Result<Vec<u8>, FileError> {
    use std::io::Read;
    let real = resolve(globs, path)?;
    if !real.metadata().map_err(io)?.is_file() {
        return Err(FileError::Denied(format!("{path:?} is not a regular file")));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(real).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(FileError::TooLarge(MAX_FILE)),
        false => Ok(bytes),
    }
}

/// When a file was last written, in nanoseconds since the Unix epoch.
pub fn modified(globs: &[String], path: &str) -> Result<u64, FileError> {
    let written = resolve(globs, path)?.metadata().and_then(|m| m.modified()).map_err(io)?;
    Ok(written.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64))
}

/// Names in a directory that a glob matches, or that lie on the way to what one matches.
pub fn list(globs: &[String], path: &str) -> Result<Vec<String>, FileError> {
    let path = path.trim_end_matches('/');
    let on_the_way = |p: &str| allowed(globs, p) || globs.iter().any(|g| leads(g, p));
    if !path.starts_with('/') || path.contains("/../") || path.ends_with("/..") || !on_the_way(path) {
        return Err(FileError::Denied(format!("{path:?} is not on the way to any granted glob")));
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        if let Ok(name) = entry.map_err(io)?.file_name().into_string()
            && on_the_way(&format!("{path}/{name}"))
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a glob's beginning, as deep as `path`, matches `path`.
fn leads(glob: &str, path: &str) -> bool {
    let depth = path.split('/').count();
    let head: Vec<&str> = glob.split('/').take(depth).collect();
    head.len() == depth && matches(head.join("/").as_bytes(), path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_glob_matches_is_readable() {
        let globs = vec!["/sys/class/hwmon/*/temp?_input".to_owned()];
        assert!(allowed(&globs, "/sys/class/hwmon/hwmon0/temp1_input"));
        for outside in ["/sys/class/hwmon/hwmon0/../x/temp1_input", "/sys/class/hwmon/a/b/temp1_input", "/etc/shadow", "sys/class"] {
            assert!(!allowed(&globs, outside), "{outside}");
        }
    }

    #[test]
    fn a_link_out_of_the_granted_tree_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::write(root.join("secret"), "s").unwrap();
        std::fs::create_dir(root.join("open")).unwrap();
        std::os::unix::fs::symlink(root.join("secret"), root.join("open/link")).unwrap();
        std::fs::write(root.join("open/file"), "f").unwrap();
        let globs = vec![format!("{}/open/*", root.display())];
        assert_eq!(read(&globs, &format!("{}/open/file", root.display())).unwrap(), b"f");
        assert!(matches!(read(&globs, &format!("{}/open/link", root.display())), Err(FileError::Denied(_))));
        assert_eq!(list(&globs, &format!("{}/open", root.display())).unwrap(), ["file", "link"]);
        assert!(list(&globs, "/etc").is_err());
    }
}
