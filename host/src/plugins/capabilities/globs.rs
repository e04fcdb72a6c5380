//! Which paths the operator's globs open. Pure.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Longest path that is looked at.
const MAX_PATH: usize = 4_096;

/// Absolute globs: `*` and `?` stay inside one path element, `**` as an element stands for any number of them.
#[derive(Debug, Clone)]
pub struct Globs {
    given: Vec<String>,
    files: GlobSet,
    /// Directories that lead to what a glob can match.
    ways: GlobSet,
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

impl Globs {
    /// `Err` says which glob is none and why.
    pub fn new(given: &[String]) -> Result<Self, String> {
        let (mut files, mut ways) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for text in given {
            let wrong = |e: String| format!("{text:?}: {e}");
            let glob = |text: &str| GlobBuilder::new(text).literal_separator(true).build().map_err(|e| wrong(e.kind().to_string()));
            if !is_clean(text) {
                return Err(wrong("a glob is an absolute path without //, . and ..".to_owned()));
            }
            files.add(glob(text)?);
            for (at, _) in text.match_indices('/') {
                let (head, next) = (&text[..at], text[at + 1..].split('/').next());
                if !head.is_empty() {
                    ways.add(glob(head)?);
                }
                if next == Some("**") {
                    // Whatever is below may lead on.
                    ways.add(glob(&format!("{head}/**"))?);
                    break;
                }
            }
        }
        let set = |b: GlobSetBuilder| b.build().map_err(|e| e.to_string());
        Ok(Self { given: given.to_vec(), files: set(files)?, ways: set(ways)? })
    }

    /// Whether a file may be read.
    pub fn allow(&self, path: &str) -> bool {
        is_clean(path) && self.files.is_match(path)
    }

    /// Whether a directory may be listed, or a name in it told.
    pub fn lead(&self, path: &str) -> bool {
        is_clean(path) && (self.ways.is_match(path) || self.files.is_match(path))
    }
}

/// One spelling of an absolute path.
fn is_clean(path: &str) -> bool {
    path.len() <= MAX_PATH
        && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0')))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn globs(given: &[&str]) -> Globs {
        Globs::new(&given.iter().map(|g| g.to_string()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn only_what_a_glob_matches_is_readable() {
        let g = globs(&["/sys/class/hwmon/*/temp?_input", "/var/dumps/**/*.json"]);
        for inside in ["/sys/class/hwmon/hwmon0/temp1_input", "/var/dumps/a.json", "/var/dumps/a/b/c.json"] {
            assert!(g.allow(inside), "{inside}");
        }
        for outside in [
            "/sys/class/hwmon/hwmon0/../x/temp1_input",
            "/sys/class/hwmon/./hwmon0/temp1_input",
            "/sys/class/hwmon//hwmon0/temp1_input",
            "//sys/class/hwmon/hwmon0/temp1_input",
            "/sys/class/hwmon/hwmon0/temp1_input/",
            "/sys/class/hwmon/hwmon0/temp1_input\0",
            "/sys/class/hwmon/a/b/temp1_input",
            "/sys/class/hwmon/hwmon0/temp12_input",
            "/etc/shadow",
            "sys/class",
            "",
            "/",
        ] {
            assert!(!g.allow(outside), "{outside:?}");
        }
        assert!(!g.allow(&format!("/var/dumps/{}.json", "x".repeat(MAX_PATH))));
    }

    #[test]
    fn only_directories_on_the_way_are_listed() {
        let g = globs(&["/sys/class/hwmon/*/temp?_input", "/var/dumps/**/*.json"]);
        for way in ["/sys", "/sys/class/hwmon", "/sys/class/hwmon/hwmon0", "/var", "/var/dumps", "/var/dumps/a/b"] {
            assert!(g.lead(way), "{way}");
        }
        for off in ["/etc", "/sys/class/net", "/sys/class/hwmon/hwmon0/device", "/var/log", "/var/dumps/../log", "/"] {
            assert!(!g.lead(off), "{off}");
        }
    }

    #[test]
    fn a_hostile_path_costs_no_more_than_another() {
        let g = globs(&["/a/**/b/**/c/**/d/**/e/**/f/**/g*h*i*j*k*l*m", "/*a*a*a*a*a*a*a*a*a*a*a*a*b"]);
        let began = Instant::now();
        assert!(!g.allow(&format!("/{}", "a".repeat(MAX_PATH - 1))));
        assert!(!g.allow(&"/a/b".repeat(MAX_PATH / 4)));
        assert!(began.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn what_is_no_glob_is_named() {
        for bad in ["relative/*", "/a/../b", "/a//b", "/a/[", "/a/{b", "/a/{b/c,d}"] {
            let error = Globs::new(&[bad.to_owned()]).unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
    }
}
