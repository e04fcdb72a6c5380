//! Reads what it should not, and says so when it could.

use kcloud_collector_sdk::CollectError;
use kcloud_collector_sdk::bindings::kcloud::collector::files;

use crate::{Config, mode, say};

pub(crate) fn collect(config: &Config) -> Option<Result<(), CollectError>> {
    match mode() {
        // One by one, all at once, and as directories.
        "read" => {
            for (path, answer) in config.list.iter().zip(files::read_all(&config.list)) {
                let one = files::read(path);
                let said = match (&one, &answer) {
                    (Ok(bytes), _) | (_, Ok(bytes)) => format!("GOT {} bytes", bytes.len()),
                    (Err(a), Err(b)) => format!("{a:?} {b:?}"),
                };
                say(&format!("{path} -> {said}; listed {:?}; written {}", files::list_dir(path), files::modified(path).is_ok()));
            }
        }
        // Many times the same: what a call may read is counted over all of it.
        "read-much" => {
            let mut bytes = 0;
            for _ in 0..1_000 {
                match files::read(&config.list[0]) {
                    Ok(b) => bytes += b.len(),
                    Err(error) => return Some(Err(CollectError::Internal(format!("after {bytes} bytes: {error:?}")))),
                }
            }
        }
        _ => return None,
    }
    Some(Ok(()))
}
