//! A hundred thousand pods as an installed host has them from a Kubernetes API over a real etcd.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kcloud_kube_api::objects::{node, one_of_many, stored};
use kcloud_kube_api::{Client, Etcd, KubeApi};
use serde_json::Value;

use crate::installed::{Monitor, installed, wait};
use crate::{cpu, row};

const PODS: usize = 100_000;
const ON_A_NODE: usize = 100;
/// What a list brings of a pod and nobody shows: most of its bytes.
const UNREAD: usize = 2_000;
/// Changed at once, one after the other.
const ROUNDS: usize = 10;
const CHANGED: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(600);

fn object(i: usize, phase: &str) -> (String, Vec<u8>) {
    let mut object = one_of_many(i, &format!("worker{}", i / ON_A_NODE), phase);
    object["metadata"]["managedFields"] = "f".repeat(UNREAD).into();
    stored("pods", &object)
}

async fn fill(client: &Client) -> Result<()> {
    let nodes: Vec<_> = (0..PODS / ON_A_NODE).map(|i| stored("nodes", &node(&format!("worker{i}")))).collect();
    for some in nodes.chunks(100) {
        client.put_all(some).await?;
    }
    put(client, 0..PODS, "Running").await
}

async fn put(client: &Client, which: std::ops::Range<usize>, phase: &str) -> Result<()> {
    let all: Vec<usize> = which.collect();
    for some in all.chunks(100) {
        client.put_all(&some.iter().map(|i| object(*i, phase)).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Waits until the host counts so many pods of a phase; how long that took.
fn until_there(host: &Monitor, phase: &str, wanted: u64) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let answer = host.get(&format!("/api/v1/infrastructure/pods?limit=1&status={phase}"))?;
        if answer["metadata"]["total_count"] == wanted {
            return Ok(began.elapsed());
        }
        let plugin = || host.plugin("kubernetes").map(|p| format!("{:#}", p["targets"])).unwrap_or_default();
        ensure!(began.elapsed() < PATIENCE, "{wanted} {phase}: {} {}", answer["metadata"], plugin());
        wait(Duration::from_millis(100));
    }
}

pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let Some(etcd) = runtime.block_on(Etcd::start()) else { return Ok(()) };
    let api = KubeApi::start(&etcd, None)?;
    runtime.block_on(fill(&api.etcd))?;
    let dir = tempfile::tempdir()?;
    let plugins = dir.path().join("plugins");
    fs::create_dir_all(&plugins)?;
    fs::copy(installed().join("plugins/kubernetes.wasm"), plugins.join("kubernetes.wasm"))?;
    // As the sample says for so many.
    let text = format!(
        "interval = \"2s\"\ntimeout = \"120s\"\n[grants]\nhttp = \"targets\"\n[limits]\ncpu = \"60s\"\nmemory = \"512MiB\"\nhttp_call = \"4GiB\"\n\
         points = 200000\nsubjects = 50000\noutput = \"64MiB\"\n[config]\npage_size = 500\n[[targets]]\nid = \"cluster1\"\n\
         address = {:?}\ncluster = \"cluster1\"\n",
        api.base()
    );
    // It is ready when it has listed once.
    let began = Instant::now();
    let host = Monitor::start(dir.path(), &plugins, &[("kubernetes", text)])?;
    let pid = host.pid();
    until_there(&host, "running", PODS as u64)?;
    let listed = began.elapsed();
    let what = format!("{PODS} pods of {ON_A_NODE} a node by the kubernetes plugin from an API over etcd, installed as a user does");
    row("s until all pods are listed", listed.as_secs_f64(), "", &format!("{what}; the API and etcd share these cores"));
    row(
        "CPU ms of the host, 1,000 pods listed",
        cpu::seconds(pid)? * 1e6 / PODS as f64,
        "",
        "since its start: loads the component, reads pages and takes them in",
    );
    let mut most: f64 = 0.0;
    let before = cpu::seconds(pid)?;
    let mut late = Duration::ZERO;
    for round in 0..ROUNDS {
        let (phase, count) = if round % 2 == 0 { ("Failed", CHANGED) } else { ("Running", PODS) };
        runtime.block_on(put(&api.etcd, 0..CHANGED, phase))?;
        late += until_there(&host, &phase.to_lowercase(), count as u64)?;
        most = most.max(cpu::resident_mib(pid)?.0);
    }
    let changes = (ROUNDS * CHANGED) as f64;
    row("s until 1,000 changes show", late.as_secs_f64() / ROUNDS as f64, "≤ 4", "of them up to 2 s until the watch is read again");
    row("CPU ms of the host, 1,000 changes", (cpu::seconds(pid)? - before) * 1e6 / changes, "", "with the questions of this bench");
    let (resident, own) = cpu::resident_mib(pid)?;
    row("MiB resident", resident, "≤ 600", &format!("{own:.0} of them its own; {most:.0} at most while pods changed"));
    let plugin = host.plugin("kubernetes")?;
    let memory = plugin.pointer("/memory_bytes").and_then(Value::as_f64);
    println!("NOTE: the plugin: {}", memory.map_or_else(|| plugin["targets"].to_string(), |b| format!("{:.0} MiB", b / 1048576.0)));
    let peak = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = peak.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?.trim().to_owned();
    println!("NOTE: the most that was ever resident, while the list came: {peak}");
    Ok(())
}
