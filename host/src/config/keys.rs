//! `[plugins] keys`: public keys, each as the text itself or as the path of a file that minisign wrote.

use std::path::{Path, PathBuf};

use crate::plugins::verify::Key;

/// Characters of a public key.
const KEY: usize = 56;

fn is_key(entry: &str) -> bool {
    entry.len() == KEY && entry.starts_with("RW")
}

/// All of them, or everything that is wrong with them: a list that is half read would refuse what it should admit.
pub(super) fn read(entries: &[String]) -> Result<Vec<Key>, Vec<String>> {
    let (keys, faults): (Vec<_>, Vec<_>) = entries.iter().map(|entry| one(entry)).partition(Result::is_ok);
    match faults.is_empty() {
        true => Ok(keys.into_iter().flatten().collect()),
        false => Err(faults.into_iter().filter_map(Result::err).collect()),
    }
}

/// A key by its text or its file.
pub(crate) fn one(entry: &str) -> Result<Key, String> {
    if is_key(entry) {
        return Key::parse(entry).map_err(|e| format!("{entry}: {e}"));
    }
    let text = std::fs::read_to_string(entry)
        .map_err(|e| format!("{entry}: {e}; a key is the path of a minisign public key, or its {KEY} characters that begin with RW"))?;
    Key::parse_file(&text).map_err(|(line, e)| format!("{entry}:{line}: {e}"))
}

/// Where the files lie.
pub(super) fn directories(entries: &[String]) -> impl Iterator<Item = PathBuf> {
    let files = entries.iter().filter(|e| !is_key(e)).filter_map(|e| Path::new(e).parent());
    files.filter(|d| !d.as_os_str().is_empty()).map(Path::to_owned)
}
