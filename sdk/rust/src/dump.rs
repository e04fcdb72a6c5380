//! Text that a timer wrote to a file, with when it did. In: a path that the operator granted. Out: the text; a dump is as old as its file.

use crate::CollectError;
use crate::bindings::kcloud::collector::files::{self, FileError};

/// The path of a target that is a file: `/var/lib/x.json` or `file:///var/lib/x.json`.
pub fn path(address: &str) -> Option<&str> {
    address.strip_prefix("file://").or_else(|| address.starts_with('/').then_some(address))
}

/// The text of a file, and when it was written in ms.
pub fn read(path: &str) -> Result<(String, i64), CollectError> {
    let failed = |e: FileError| match e {
        FileError::Denied(why) => CollectError::Denied(format!("{path}: {why}")),
        FileError::NotFound => CollectError::Unreachable(format!("{path} is not there")),
        FileError::TooLarge(bytes) => CollectError::Protocol(format!("{path} has {bytes} bytes, which is too much")),
        FileError::Io(why) => CollectError::Unreachable(format!("{path}: {why}")),
    };
    let written = files::modified(path).map_err(failed)?;
    let bytes = files::read(path).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|e| CollectError::Protocol(format!("{path}: {e}")))?;
    Ok((text, i64::try_from(written / 1_000_000).unwrap_or(i64::MAX)))
}
