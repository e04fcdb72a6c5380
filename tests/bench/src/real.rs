//! The installed host over a simulated fleet, beside Debian's Prometheus that scrapes the same one.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kcloud_collector_sdk::exposition::{Event, Format, Parser};

use crate::api::{Started, start};
use crate::installed::{Monitor, PATIENCE, free_port, installed, wait};
use crate::{cpu, fleet, row};

fn prometheus(dir: &Path, address: &str, nodes: usize, interval: Duration) -> Result<Option<(Started, String)>> {
    let port = free_port()?;
    let mut text = format!("global: {{scrape_interval: {}s}}\nscrape_configs:\n- job_name: dcgm\n  relabel_configs:\n", interval.as_secs());
    text.push_str("  - {source_labels: [node], target_label: __metrics_path__, replacement: '/nodes/$1/metrics'}\n  static_configs:\n");
    for n in 1..=nodes {
        writeln!(text, "  - {{targets: ['{address}'], labels: {{node: worker{n}}}}}")?;
    }
    let config = dir.join("prometheus.yml");
    fs::write(&config, text)?;
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("prometheus.log"))?)
        .spawn();
    match started {
        Ok(child) => Ok(Some((Started(child), format!("http://127.0.0.1:{port}")))),
        Err(error) => {
            println!("NOT RUN: prometheus did not start ({error}); `apt-get install prometheus`");
            Ok(None)
        }
    }
}

fn appended(client: &reqwest::blocking::Client, base: &str) -> Result<f64> {
    let text = client.get(format!("{base}/metrics")).send()?.text()?;
    let samples = text.lines().filter(|l| l.starts_with("prometheus_tsdb_head_samples_appended_total"));
    Ok(samples.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

pub fn run(nodes: usize, interval: Duration, cycles: u32) -> Result<()> {
    let dir = tempfile::tempdir()?;
    // The first start hashes the admin's password, which takes 19 MiB once.
    let plugins = installed().join("plugins").canonicalize()?;
    drop(Monitor::start(dir.path(), &plugins, &[])?);
    let idle = Monitor::start(dir.path(), &plugins, &[])?;
    wait(Duration::from_secs(3));
    let (all, own) = cpu::resident_mib(idle.pid())?;
    row("MiB resident, idle", all, "≤ 60", &format!("no targets, two plugins, not the first start; {own:.0} of them its own"));
    drop(idle);

    let (_simulator, address) = start("KCLOUD_BENCH_SIMULATOR", &nodes.to_string())?;
    let samples: usize = {
        let fleet = fleet(nodes.min(16));
        let count = |n| Parser::new(&fleet.exposition(n, 1), Format::Prometheus).filter(|e| matches!(e, Ok(Event::Sample(_)))).count();
        (0..fleet.node_count()).map(count).sum::<usize>() * nodes / fleet.node_count()
    };
    let dir = tempfile::tempdir()?;
    let mut text = format!("interval = \"{}s\"\n[grants]\nhttp = \"targets\"\n", interval.as_secs());
    for n in 1..=nodes {
        write!(text, "[[targets]]\nid = \"worker{n}\"\naddress = \"http://{address}/nodes/worker{n}/metrics\"\n")?;
    }
    let monitor = Monitor::start(dir.path(), &plugins, &[("nvidia-dcgm", text)])?;
    let calls = || monitor.plugin("nvidia-dcgm")?["calls_total"].as_f64().context("no calls_total");
    wait(interval);
    let (first, before, began) = (calls()?, cpu::seconds(monitor.pid())?, Instant::now());
    wait(interval * cycles);
    let (calls, used) = (calls()? - first, cpu::seconds(monitor.pid())? - before);
    let cycles_done = calls / nodes as f64;
    let read = cycles_done * samples as f64;
    let what =
        format!("{nodes} exporters of 8 cards, {samples} samples, {cycles_done:.1} cycles in {:.0} s", began.elapsed().as_secs_f64());
    row("CPU-s a cycle", used / cycles_done, "≤ 1", &what);
    let (all, own) = cpu::resident_mib(monitor.pid())?;
    row("MiB resident, whole fleet", all, "≤ 250", &format!("{} cards; {own:.0} of them its own", nodes * 8));
    let listed = monitor.get("/api/v1/accelerators/gpus?limit=1")?["metadata"]["total_count"].clone();
    ensure!(listed == nodes * 8, "{listed} cards are listed");
    drop(monitor);

    let Some((beside, base)) = prometheus(dir.path(), &address, nodes, interval)? else { return Ok(()) };
    let client = reqwest::blocking::Client::new();
    let began = Instant::now();
    while !client.get(format!("{base}/-/ready")).send().is_ok_and(|r| r.status() == 200) {
        ensure!(began.elapsed() < PATIENCE, "prometheus was not ready in time");
        wait(Duration::from_millis(100));
    }
    // Its first cycle makes the series; ours was left out, too.
    wait(interval * 2);
    let (first, before) = (appended(&client, &base)?, cpu::seconds(beside.0.id())?);
    wait(interval * cycles);
    let (stored, its) = (appended(&client, &base)? - first, cpu::seconds(beside.0.id())? - before);
    let (ours, theirs) = (read / used / 1e6, stored / its / 1e6);
    row("samples per CPU-s / Prometheus", ours / theirs, "≥ 3", &format!("{ours:.3} / {theirs:.3} M, scrape to durable history"));
    let (all, _) = cpu::resident_mib(beside.0.id())?;
    row("MiB resident, Prometheus", all, "", "the same fleet");
    Ok(())
}
