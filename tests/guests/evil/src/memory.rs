//! Takes memory.

use std::hint::black_box;

use kcloud_collector_sdk::CollectError;

use crate::{Evil, mode};

pub(crate) fn collect(evil: &mut Evil) -> Option<Result<(), CollectError>> {
    match mode() {
        "eat" => eat(),
        // A little more each time, and never given back.
        "hoard" => evil.held.push(black_box(vec![1; 1 << 20])),
        _ => return None,
    }
    Some(Ok(()))
}

pub(crate) fn eat() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1u8; 1 << 20]));
    }
}
