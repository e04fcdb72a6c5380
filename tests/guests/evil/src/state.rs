//! Floods its store.

use kcloud_collector_sdk::CollectError;
use kcloud_collector_sdk::bindings::kcloud::collector::state;

use crate::{Config, mode, say};

pub(crate) fn collect(config: &Config) -> Option<Result<(), CollectError>> {
    let refused = |what: &str, n: usize, error: state::StateError| Err(CollectError::Internal(format!("{what} {n}: {error:?}")));
    match mode() {
        "state-bytes" => {
            for i in 0..100 {
                if let Err(error) = state::put(&format!("k{i}"), &vec![7; 100 << 10]) {
                    return Some(refused("value", i, error));
                }
            }
        }
        // Empty ones take room too: a name on the disk each.
        "state-keys" => {
            for i in 0..100_000 {
                if let Err(error) = state::put(&format!("k{i}"), &[]) {
                    return Some(refused("key", i, error));
                }
            }
        }
        // Each put is a flush to the disk.
        "state-writes" => {
            for i in 0..100_000 {
                if let Err(error) = state::put("k", &i.to_string().into_bytes()) {
                    return Some(refused("write", i, error));
                }
            }
        }
        "state-names" => {
            for key in &config.list {
                let kept = state::put(key, key.as_bytes()).map(|()| state::get(key));
                say(&format!("{key:?} -> {kept:?}"));
            }
        }
        _ => return None,
    }
    Some(Ok(()))
}
