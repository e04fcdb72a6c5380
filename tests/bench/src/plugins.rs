//! What the plugin platform costs and withstands: swaps under load, two hundred plugins at once, an hour of swaps and crashes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::api::{Started, start};
use crate::installed::{Monitor, put, until, variant, wait};
use crate::{cpu, row};

/// Nodes of 8 cards behind the plugin that is swapped, as in the demo.
const NODES: usize = 8;
/// Swaps before memory is looked at.
const WARM: u16 = 30;
/// How much resident memory, threads and descriptors may grow over a soak.
const GROWTH: f64 = 1.10;

/// Settings of the plugins that stand beside each other here.
fn dcgm(address: &str) -> String {
    let mut text = "interval = \"1s\"\n[grants]\nhttp = \"targets\"\n".to_owned();
    for n in 1..=NODES {
        // Writing into a string cannot fail.
        write!(text, "[[targets]]\nid = \"worker{n}\"\naddress = \"http://{address}/nodes/worker{n}/metrics\"\n").unwrap_or_default();
    }
    text
}

fn turncoat() -> String {
    "interval = \"1s\"\n[grants]\nstate = true\n[[targets]]\nid = \"neighbour\"\naddress = \"none\"\n".to_owned()
}

/// A fleet, and a directory with the components.
fn prepared(dir: &Path, names: &[&str]) -> Result<(Started, String, std::path::PathBuf)> {
    let (simulator, address) = start("KCLOUD_BENCH_SIMULATOR", &NODES.to_string())?;
    let plugins = dir.join("plugins");
    fs::create_dir_all(&plugins)?;
    for name in names {
        put(&plugins, name, &variant(name, 0)?)?;
    }
    Ok((simulator, address, plugins))
}

/// Requests at a steady rate from threads of their own; counts answers and failures.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
    began: Instant,
}

impl Load {
    fn start(monitor: &Monitor, per_second: u64) -> Self {
        const THREADS: u64 = 4;
        let (stop, answers, failures): (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let one = || {
            let (stop, answers, failures) = (stop.clone(), answers.clone(), failures.clone());
            let (url, password) = (format!("{}/api/v1/accelerators/gpus?limit=10", monitor.base), monitor.password.clone());
            let pause = Duration::from_secs(1) / (per_second / THREADS) as u32;
            thread::spawn(move || {
                let client = reqwest::blocking::Client::new();
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let good =
                        client.get(&url).basic_auth("admin", Some(&password)).send().is_ok_and(|r| r.status() == 200 && r.bytes().is_ok());
                    if good { &answers } else { &failures }.fetch_add(1, Ordering::Relaxed);
                    next += pause;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
        };
        let threads = (0..THREADS).map(|_| one()).collect();
        Self { stop, answers, failures, threads, began: Instant::now() }
    }

    /// Answers a second, and failures.
    fn end(self) -> (f64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        (self.answers.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64(), self.failures.load(Ordering::Relaxed))
    }
}

/// Whole seconds of the last `seconds` in which the neighbour's card has no observation.
fn lost(monitor: &Monitor, seconds: u64) -> Result<usize> {
    let path = format!("/api/v1/accelerators/gpus/GPU-neighbour/metrics?period={seconds}s&step=2s");
    let answer = monitor.get(&path)?;
    let series = &answer["data"]["timeseries"]["power_watts"];
    let all = series.as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(!all.is_empty(), "the neighbour has no series: {path}: {answer}");
    // The first and the last step may be half.
    let inner = &all[1..all.len().saturating_sub(1).max(1)];
    Ok(inner.iter().filter(|step| step["value"].is_null()).count())
}

fn generation(monitor: &Monitor, name: &str) -> Option<u64> {
    monitor.plugin(name).ok()?["generation"].as_u64()
}

/// Swaps under requests and collection.
pub fn swaps(count: u16) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_simulator, address, plugins) = prepared(dir.path(), &["nvidia-dcgm", "turncoat"])?;
    let monitor = Monitor::start(dir.path(), &plugins, &[("nvidia-dcgm", dcgm(&address)), ("turncoat", turncoat())])?;
    let swap = |mark: u16| -> Result<(f64, f64)> {
        let before = generation(&monitor, "nvidia-dcgm");
        put(&plugins, "nvidia-dcgm", &variant("nvidia-dcgm", mark)?)?;
        until("it is swapped in", || (generation(&monitor, "nvidia-dcgm") > before).then_some(()))?;
        let how = monitor.plugin("nvidia-dcgm")?["last_swap"].take();
        Ok((how["build_seconds"].as_f64().unwrap_or(f64::MAX), how["trial_seconds"].as_f64().unwrap_or(f64::MAX)))
    };
    // Both versions once, so that their code is in the cache.
    let cold = swap(1)?.0;
    swap(2)?;
    let (load, began) = (Load::start(&monitor, 500), Instant::now());
    // Caches and connections fill under load, whatever is swapped.
    for i in 0..WARM {
        swap(1 + i % 2)?;
    }
    let (before, _) = cpu::resident_mib(monitor.pid())?;
    let mut times = Vec::new();
    for i in 0..count {
        times.push(swap(1 + i % 2)?);
    }
    let (rate, failures) = load.end();
    let lost = lost(&monitor, began.elapsed().as_secs())?;
    let (after, _) = cpu::resident_mib(monitor.pid())?;
    let middle = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        (all[all.len() / 2] * 1e3, all[all.len() - 1] * 1e3)
    };
    let (build, worst) = middle(times.iter().map(|t| t.0).collect());
    let (trial, _) = middle(times.iter().map(|t| t.1).collect());
    row(
        "swap with cached code, ms",
        build,
        "≤ 50",
        &format!("median of {count}, worst {worst:.0}: verify, load, link, describe, configure; {:.0} with the compiler", cold * 1e3),
    );
    row("trial read of a live target, ms", trial, "", "the target's time is in it");
    row("requests that failed", failures as f64, "0", &format!("{count} swaps at {rate:.0} requests a second and 9 reads a second"));
    row("neighbour's seconds without a reading", lost as f64, "0", &format!("over {:.0} s", began.elapsed().as_secs_f64()));
    row("resident memory after / before", after / before, "≈ 1", &format!("{after:.0} / {before:.0} MiB"));
    Ok(())
}

/// Two hundred plugins, each of its own bytes, each read every second.
pub fn many(count: u16) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plugins = dir.path().join("plugins");
    fs::create_dir_all(&plugins)?;
    let mut settings = Vec::new();
    let names: Vec<String> = (0..count).map(|i| format!("p{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        fs::write(plugins.join(format!("{name}.wasm")), variant("turncoat", i as u16)?)?;
        let text = format!("interval = \"1s\"\n[grants]\nstate = true\n[[targets]]\nid = \"{name}\"\naddress = \"none\"\n");
        settings.push((name.as_str(), text));
    }
    let began = Instant::now();
    let monitor = Monitor::start(dir.path(), &plugins, &settings)?;
    let cards = || monitor.get("/api/v1/accelerators/gpus?limit=1").ok()?["metadata"]["total_count"].as_u64();
    until("every plugin has a card", || (cards()? == u64::from(count)).then_some(()))?;
    row("s until all answer, nothing cached", began.elapsed().as_secs_f64(), "", &format!("{count} plugins"));
    let calls = || -> Result<f64> {
        let all = monitor.get("/api/v1/system/plugins")?;
        Ok(all["data"].as_array().into_iter().flatten().filter_map(|p| p["calls_total"].as_f64()).sum())
    };
    let (first, used, at) = (calls()?, cpu::seconds(monitor.pid())?, Instant::now());
    wait(Duration::from_secs(20));
    let (calls, used, span) = (calls()? - first, cpu::seconds(monitor.pid())? - used, at.elapsed().as_secs_f64());
    row("reads done / due", calls / (f64::from(count) * span), "≈ 1", &format!("{count} plugins at 1 s"));
    row("CPU-ms a read", used / calls * 1e3, "", "with history and snapshots");
    let (all, own) = cpu::resident_mib(monitor.pid())?;
    row("MiB resident", all, "", &format!("{count} plugins; {own:.0} of them its own, {} threads", threads(monitor.pid())?));
    Ok(())
}

fn threads(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// What is compared are means over a third of the span: memory is a saw, whose tooth is the 17 minutes after which heads are sealed.
const WINDOW: usize = 3;

fn mean<'a>(looks: impl IntoIterator<Item = &'a (f64, f64, f64)>) -> (f64, f64, f64) {
    let (sum, count) = looks.into_iter().fold(((0.0, 0.0, 0.0), 0.0), |(s, n), l| ((s.0 + l.0, s.1 + l.1, s.2 + l.2), n + 1.0));
    (sum.0 / count, sum.1 / count, sum.2 / count)
}

/// One plugin swapped every ten seconds, one that crashes every five, for `span`.
pub fn soak(span: Duration) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_simulator, address, plugins) = prepared(dir.path(), &["nvidia-dcgm", "turncoat", "evil"])?;
    // It panics at every second call: once in five seconds, and never often enough in a row to be left alone.
    let crashing = "interval = \"2500ms\"\n[config]\nmode = \"panic-on-second\"\n[grants]\nhttp = \"targets\"\nfiles = [\"/nowhere/*\"]\nstate = true\nipmi = true\nnvml = true\npod-resources = true\n[[targets]]\nid = \"t\"\naddress = \"http://127.0.0.1:9/\"\n";
    let monitor =
        Monitor::start(dir.path(), &plugins, &[("nvidia-dcgm", dcgm(&address)), ("turncoat", turncoat()), ("evil", crashing.to_owned())])?;
    let pid = monitor.pid();
    let look = || -> Result<(f64, f64, f64)> { Ok((cpu::resident_mib(pid)?.0, threads(pid)? as f64, descriptors(pid)? as f64)) };
    println!("| second | MiB resident | threads | descriptors | swaps | crashes |\n|---|---|---|---|---|---|");
    let began = Instant::now();
    let (mut looks, mut warm, mut mark, mut next_line) = (Vec::new(), None, 0u16, Duration::ZERO);
    let line = |now: (f64, f64, f64)| -> Result<()> {
        let (swaps, crashes) =
            (monitor.plugin("nvidia-dcgm")?["swaps_total"].clone(), monitor.plugin("evil")?["failures_by_blame"]["plugin"].clone());
        println!("| {:.0} | {:.1} | {} | {} | {swaps} | {crashes} |", began.elapsed().as_secs_f64(), now.0, now.1, now.2);
        Ok(())
    };
    while began.elapsed() < span {
        let due = began.elapsed() + Duration::from_secs(10);
        mark = 1 + mark % 2;
        put(&plugins, "nvidia-dcgm", &variant("nvidia-dcgm", mark)?)?;
        wait(due.saturating_sub(began.elapsed()));
        let now = look()?;
        looks.push(now);
        // History has been sealed once by then; what that takes it takes again and again.
        if warm.is_none() && began.elapsed() >= span / 4 {
            warm = Some(looks.len());
            println!("warm:");
        }
        if began.elapsed() >= next_line {
            next_line = began.elapsed() + span / 30;
            line(now)?;
        }
    }
    line(look()?)?;
    let window = looks.len() / WINDOW;
    let (end, warm) = (mean(&looks[looks.len() - window..]), mean(looks.iter().skip(warm.unwrap_or(0)).take(window)));
    let lost = lost(&monitor, began.elapsed().as_secs().min(3_000))?;
    let crashes = monitor.plugin("evil")?["failures_by_blame"]["plugin"].as_f64().unwrap_or(0.0);
    let swaps = monitor.plugin("nvidia-dcgm")?["swaps_total"].as_f64().unwrap_or(0.0);
    println!("| figure | value | aim | what |\n|---|---|---|---|");
    row(
        "resident memory, end / warm",
        end.0 / warm.0,
        "≤ 1.1",
        &format!("{:.1} / {:.1} MiB, means of {} minutes", end.0, warm.0, window / 6),
    );
    row("threads, end / warm", end.1 / warm.1, "≤ 1.1", &format!("{:.1} / {:.1}", end.1, warm.1));
    row("descriptors, end / warm", end.2 / warm.2, "≤ 1.1", &format!("{:.1} / {:.1}", end.2, warm.2));
    row("neighbour's steps without a reading", lost as f64, "0", "of 2 s, the last 50 min at most");
    row("swaps", swaps, "", &format!("and {crashes} crashes in {:.0} s", began.elapsed().as_secs_f64()));
    ensure!(swaps >= span.as_secs_f64() / 10.0 * 0.9 && crashes >= span.as_secs_f64() / 5.0 * 0.8, "not enough happened");
    ensure!(lost == 0, "a neighbour lost readings");
    ensure!(end.0 <= warm.0 * GROWTH && end.1 <= warm.1 * GROWTH && end.2 <= warm.2 * GROWTH, "something grows");
    Ok(())
}
