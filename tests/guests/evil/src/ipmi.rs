//! Commands that a BMC should never get from it: `target netfn cmd [data …]`, each straight and through a bridge.

use kcloud_collector_sdk::CollectError;
use kcloud_collector_sdk::bindings::kcloud::collector::ipmi::{Bridge, Request, raw_all};

use crate::{Config, mode, say};

pub(crate) fn collect(config: &Config) -> Option<Result<(), CollectError>> {
    if mode() != "ipmi" {
        return None;
    }
    for line in &config.list {
        let mut words = line.split(' ');
        let target = words.next().unwrap_or_default();
        let bytes: Vec<u8> = words.filter_map(|w| w.parse().ok()).collect();
        let [netfn, cmd, data @ ..] = &bytes[..] else { return Some(Err(CollectError::Internal(line.clone()))) };
        for bridge in [None, Some(Bridge { channel: 0, address: 0x20 })] {
            let good = Request { bridge: None, netfn: 6, lun: 0, cmd: 1, data: Vec::new() };
            let bad = Request { bridge, netfn: *netfn, lun: 0, cmd: *cmd, data: data.to_vec() };
            say(&format!("{line} {bridge:?} -> {:?}", raw_all(target, &[good, bad])));
        }
    }
    Some(Ok(()))
}
