//! History alone: bytes on disk per point, points per CPU-second, and how fast a large store opens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use kcloud_collector_sdk::exposition::{Event, Format, Parser};
use kcloud_monitor::history::{Embedded, History, Keep, Point};

use crate::{cpu, fleet, row};

const INTERVAL_MS: i64 = 15_000;
const START_MS: i64 = 1_764_000_000_000;

/// One series for each sample of a page, as the fleet shows them at a tick.
fn points(fleet: &kcloud_fleet_sim::Fleet, names: &mut Vec<(Arc<str>, Arc<str>)>, tick: u64, interval_ms: i64) -> Vec<Point> {
    let mut out = Vec::new();
    for node in 0..fleet.node_count() {
        // Each target is read at a moment of its own, with a jitter of some milliseconds.
        let jitter = (tick.wrapping_mul(0x9e37_79b9).wrapping_add(node as u64 * 7_919) >> 7) % 9;
        let at_ms = START_MS + tick as i64 * interval_ms + node as i64 * 37 % interval_ms + jitter as i64;
        // The simulator's tick is a second.
        let text = fleet.exposition(node, tick * interval_ms as u64 / 1_000);
        for event in Parser::new(&text, Format::Prometheus) {
            let Ok(Event::Sample(s)) = event else { continue };
            if names.len() <= out.len() {
                let uuid = s.labels.get("UUID").or(s.labels.get("gpu_uuid")).unwrap_or_default();
                let part = s.labels.get("GPU_I_ID").unwrap_or_default();
                names.push((format!("{uuid}/{part}").as_str().into(), s.name.into()));
            }
            let (subject, metric) = names[out.len()].clone();
            out.push(Point { subject, metric, at_ms, value: Some(s.value) });
        }
    }
    out
}

fn directory_bytes(dir: &std::path::Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { directory_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}

/// An hour of one read a second, sealed as the store does it, beside columns as long as that hour.
fn every_second(fleet: &kcloud_fleet_sim::Fleet, names: &mut Vec<(Arc<str>, Arc<str>)>) -> Result<()> {
    let mut bytes_a_point = |upkeep: bool| -> Result<(f64, u64)> {
        let dir = tempfile::tempdir()?;
        let store = Embedded::open(dir.path(), Keep::default())?;
        let (mut kept, mut most) = (0u64, 0);
        for tick in 0..3_600 {
            let all = points(fleet, names, tick, 1_000);
            let now = START_MS + (tick as i64 + 1) * 1_000;
            kept += all.len() as u64;
            store.commit(tick + 1, now, &all)?;
            if upkeep && tick % 10 == 0 {
                store.upkeep(now)?;
                most = most.max(store.holds().head_bytes + store.holds().log_bytes);
            }
        }
        store.seal(START_MS + 3_700_000)?;
        Ok((directory_bytes(&dir.path().join("blocks"))? as f64 / kept as f64, most))
    };
    let ((sealed, most), (whole, _)) = (bytes_a_point(true)?, bytes_a_point(false)?);
    let what =
        format!("one read a second for an hour; {whole:.3} in columns of an hour; heads and log {:.1} MB at most", most as f64 / 1e6);
    row("bytes per point on disk, every second", sealed, "≤ 2", &what);
    Ok(())
}

pub fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fleet = fleet(8);
    let store = Embedded::open(dir.path(), Keep::default())?;
    let (mut names, mut kept, mut used, mut sequence) = (Vec::new(), 0u64, 0.0, 0);
    let ticks = 6 * 3_600_000 / INTERVAL_MS;
    for tick in 0..ticks {
        let all = points(&fleet, &mut names, tick as u64, INTERVAL_MS);
        let before = cpu::this_thread()?;
        kept += all.len() as u64;
        sequence += 1;
        let now = START_MS + (tick + 1) * INTERVAL_MS;
        store.commit(sequence, now, &all)?;
        if tick % 4 == 0 {
            store.upkeep(now)?;
        }
        used += cpu::this_thread()? - before;
    }
    let now = START_MS + ticks * INTERVAL_MS;
    store.seal(now)?;
    let raw = directory_bytes(&dir.path().join("blocks"))?;
    row(
        "bytes per point on disk",
        raw as f64 / kept as f64,
        "≤ 2",
        &format!("{:.1} M points of 6 h at 15 s, 64 cards, sealed", kept as f64 / 1e6),
    );
    row("points to durable history, M per CPU-s", kept as f64 / used / 1e6, "", "one commit with fsync per 1,900 points, sealing included");
    store.upkeep(now + 3 * 86_400_000)?;
    drop(store);
    every_second(&fleet, &mut names)?;

    let dir = tempfile::tempdir()?;
    let store = Embedded::open(dir.path(), Keep::default())?;
    let mut kept = 0u64;
    let (mut sequence, mut tick) = (0, 0);
    while kept < 10_000_000 {
        let all = points(&fleet, &mut names, tick, INTERVAL_MS);
        kept += all.len() as u64;
        (sequence, tick) = (sequence + 1, tick + 1);
        store.commit(sequence, START_MS + tick as i64 * INTERVAL_MS, &all)?;
        if kept > 9_000_000 && kept < 9_010_000 {
            store.seal(START_MS + tick as i64 * INTERVAL_MS)?;
        }
    }
    drop(store);
    let began = Instant::now();
    let store = Embedded::open(dir.path(), Keep::default())?;
    let opened = began.elapsed();
    row("seconds to open 10 M points", opened.as_secs_f64(), "≤ 1", "9 M sealed, 1 M in the log");
    let (subject, metric) = &names[0];
    let began = Instant::now();
    let end = START_MS + tick as i64 * INTERVAL_MS;
    let read = store.raw(subject, metric, end - 86_400_000, end + INTERVAL_MS)?;
    let took: Duration = began.elapsed();
    row("ms to read a day of one series", took.as_secs_f64() * 1e3, "", &format!("{} points", read.len()));
    Ok(())
}
