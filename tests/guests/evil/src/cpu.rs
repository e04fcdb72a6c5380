//! Takes time: its own, the host's, and at moments at which nobody expects it.

use std::hint::black_box;

use kcloud_collector_sdk::bindings::kcloud::collector::clock;
use kcloud_collector_sdk::{Batch, CollectError, Target};

use crate::{Evil, mode, reading, say};

pub(crate) fn collect(evil: &Evil, target: &Target, batch: &mut Batch) -> Option<Result<(), CollectError>> {
    match mode() {
        "loop" => spin(),
        "recurse" => drop(black_box(deep(0))),
        // A page takes next to nothing, and there is always another.
        "pages" => {
            reading(batch, "GPU-evil");
            batch.next_page(vec![1]);
        }
        // What the host does for it is its own time, too: here it only waits.
        "long-lines" => {
            let line = "x".repeat(4 << 20);
            loop {
                say(&line);
            }
        }
        "clock-storm" => loop {
            black_box((clock::unix_ns(), clock::monotonic_ns()));
        },
        // As fine as its clock is: the first two values of each that differ.
        "clock-grain" => {
            let step = |now: fn() -> u64| {
                let first = now();
                std::iter::repeat_with(now).find(|t| *t != first).map_or(0, |t| t.wrapping_sub(first))
            };
            say(&format!("unix {} monotonic {}", step(clock::unix_ns), step(clock::monotonic_ns)));
        }
        "count" => say(&format!("call {} of {}", evil.calls, target.id)),
        _ => return None,
    }
    Some(Ok(()))
}

pub(crate) fn spin() -> ! {
    loop {
        black_box(());
    }
}

fn deep(n: u64) -> u64 {
    let room = black_box([n; 64]);
    match black_box(n) {
        u64::MAX => 0,
        n => room[(n % 64) as usize] + deep(n + 1),
    }
}

/// Lives as long as its answer is being made, and does its worst after.
pub(crate) struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        match mode() {
            "spin-in-drop" => spin(),
            "panic-in-drop" => panic!("on purpose, at the very end"),
            _ => {}
        }
    }
}
