//! Ten million rows of history as a file, in each format: rows a CPU-second, and the memory that it takes above an idle process.
//!
//! Each format is written by a process of its own over the same store, opened anew.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kcloud_monitor::export::table::{Batch, Column, Entry, Scale, Summary};
use kcloud_monitor::export::{Encoder, ExportError, Format, Plan, Progress, Style, encoder, run as write};
use kcloud_monitor::history::{Aggregate, Embedded, History, Keep, Point};

use crate::{cpu, row};

const SERIES: usize = 2_000;
const TICKS: i64 = 5_000;
const INTERVAL: i64 = 15_000;
const START: i64 = 1_764_000_000_000 / 3_600_000 * 3_600_000;
const WATTS: &str = "power_watts";

fn id(i: usize) -> String {
    format!("accelerator/cluster1/GPU-{i:08x}-5a4e-11f0-9d2b-{:012x}", i * 7_919)
}

fn watts(i: usize, tick: i64) -> f64 {
    let wave = ((tick as f64 + i as f64 * 13.0) / 240.0).sin();
    ((400.0 + 150.0 * wave + ((tick * 7_919 + i as i64 * 104_729) % 100) as f64) * 1e3).round() / 1e3
}

fn fill(dir: &Path) -> Result<()> {
    let store = Embedded::open(dir, Keep::default())?;
    let (metric, ids): (Arc<str>, Vec<Arc<str>>) = (WATTS.into(), (0..SERIES).map(|i| id(i).into()).collect());
    for tick in 0..TICKS {
        let point = |i: usize| Point {
            subject: ids[i].clone(),
            metric: metric.clone(),
            at_ms: START + tick * INTERVAL,
            value: Some(watts(i, tick)),
        };
        let now = START + (tick + 1) * INTERVAL;
        store.commit(tick as u64 + 1, now, &(0..SERIES).map(point).collect::<Vec<_>>())?;
        if tick % 40 == 0 {
            store.upkeep(now)?;
        }
    }
    store.seal(START + TICKS * INTERVAL)?;
    Ok(())
}

fn plan(is_raw: bool) -> Plan {
    let column = Column { name: WATTS.into(), unit: "watts".into(), scale: Scale::One, states: None, how: Aggregate::Average };
    let (cluster, kind): (Arc<str>, Arc<str>) = ("cluster1".into(), "gpu".into());
    let metrics: Arc<[Option<Arc<str>>]> = [Some(WATTS.into())].into();
    let entry = |i: usize| {
        let series: Arc<str> = id(i).into();
        let (name, node): (Arc<str>, Arc<str>) = (format!("nvidia{}", i % 8).into(), format!("worker{}", i / 8).into());
        Entry {
            labels: [Some(cluster.clone()), Some(kind.clone()), Some(series.clone()), Some(name), Some(node)],
            series,
            metrics: metrics.clone(),
            model: None,
            is_gone: false,
        }
    };
    Plan {
        what: "metrics",
        resource: "gpus".into(),
        columns: vec![column],
        entries: (0..SERIES).map(entry).collect(),
        window: (START, START + TICKS * INTERVAL),
        step_ms: (!is_raw).then_some(INTERVAL),
        ..Plan::default()
    }
}

/// A file that counts; what is written is real.
struct Counting(std::fs::File, Arc<Progress>);

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.0.write(bytes)?;
        self.1.bytes.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Takes rows and does nothing with them: what reading alone takes.
struct Nothing;

impl Encoder for Nothing {
    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        std::hint::black_box(batch.cells);
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Summary) -> Result<(), ExportError> {
        Ok(())
    }
}

fn peak_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<f64>()? / 1024.0)
}

/// The child: writes one file and says what that took.
pub fn child() -> Result<()> {
    let given = |name: &str| std::env::var(name).with_context(|| name.to_owned());
    let dir = given("KCLOUD_BENCH_EXPORT_DIR")?;
    // Without a format rows are read and not written.
    let format = Format::parse(&given("KCLOUD_BENCH_EXPORT")?);
    let plan = plan(std::env::var_os("KCLOUD_BENCH_EXPORT_RAW").is_some());
    let store = Embedded::open(&Path::new(&dir).join("history"), Keep::default())?;
    let scratch = Path::new(&dir).join("scratch");
    std::fs::create_dir_all(&scratch)?;
    // From here on: the peak is measured anew.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let (idle, before) = (cpu::resident_mib(std::process::id())?.0, cpu::seconds(std::process::id())?);
    let progress = Arc::new(Progress::default());
    let path = Path::new(&dir).join("out");
    let out = Counting(std::fs::File::create(&path)?, progress.clone());
    let style = Style { scratch, ..Style::default() };
    let began = std::time::Instant::now();
    let out = Box::new(std::io::BufWriter::with_capacity(256 << 10, out));
    let encoder = match format {
        Some(format) => encoder(format, &plan, &style, out)?,
        None => Box::new(Nothing),
    };
    let summary = write(&plan, &store, encoder, &progress, &|| true)?;
    let (used, wall) = (cpu::seconds(std::process::id())? - before, began.elapsed().as_secs_f64());
    let bytes = std::fs::metadata(&path)?.len();
    println!("{} {used} {} {bytes} {wall}", summary.rows, peak_mib()? - idle);
    Ok(())
}

pub fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fill(&dir.path().join("history"))?;
    for (format, is_raw, per_row, aim) in [
        ("nothing", false, 1.0, ""),
        ("nothing", true, 1.0, ""),
        ("csv", false, 1.0, "≥ 5"),
        ("csv", true, 1.0, "≥ 5"),
        ("parquet", false, 1.0, "≥ 10"),
        ("parquet", true, 1.0, "≥ 10"),
        // A moment, five labels and a number.
        ("excel", false, 7.0, "≥ 1.5"),
        ("ndjson", false, 1.0, ""),
    ] {
        let mut child = Command::new(std::env::current_exe()?);
        child.env("KCLOUD_BENCH_EXPORT", format).env("KCLOUD_BENCH_EXPORT_DIR", dir.path());
        if is_raw {
            child.env("KCLOUD_BENCH_EXPORT_RAW", "1");
        }
        let out = child.stderr(std::process::Stdio::inherit()).output()?;
        ensure!(out.status.success(), "{format}: {}", out.status);
        let said = String::from_utf8(out.stdout)?;
        let numbers: Vec<f64> = said.split_whitespace().map(|n| n.parse::<f64>()).collect::<Result<_, _>>()?;
        let [rows, used, grown, bytes, wall] = numbers[..] else { anyhow::bail!("the child said {said:?}") };
        ensure!(rows as i64 == SERIES as i64 * TICKS, "{rows} rows");
        let of = if is_raw { "raw observations" } else { "steps of 15 s" };
        let unit = if format == "excel" { "cells" } else { "rows" };
        let what = format!("10 M rows, {of}, 8 columns; {used:.1} s of CPU, {wall:.0} s; {:.1} bytes a row", bytes / rows);
        row(&format!("{format}: {unit}, M per CPU-s"), rows * per_row / used / 1e6, aim, &what);
        row(&format!("{format}: MiB above idle"), grown, "≤ 64", of);
        std::fs::remove_file(dir.path().join("out"))?;
    }
    Ok(())
}
