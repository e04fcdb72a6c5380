//! What the host costs, beside what it is compared with, in one run (`cargo xtask bench`).
//!
//! Prints one line a figure: name, value, aim, and what was measured. CPU time is the kernel's; wall time is not used
//! where a busy machine would change it.

mod alerts;
mod api;
mod bmcs;
mod cost;
mod cpu;
mod day;
mod export;
mod generations;
mod installed;
mod micro;
mod plugins;
mod pods;
mod pods_read;
mod power;
mod real;
mod report;
mod store;
mod streams;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use kcloud_fleet_sim::{Faults, Fleet, FleetConfig};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// Which parts to run; all without any.
    parts: Vec<Part>,
    /// Simulated exporters of 8 cards.
    #[arg(long, default_value_t = 1_000)]
    nodes: usize,
    /// Seconds between two reads of a target.
    #[arg(long, default_value_t = 15)]
    interval: u64,
    /// Cycles that are measured.
    #[arg(long, default_value_t = 4)]
    cycles: u32,
    /// Swaps under load.
    #[arg(long, default_value_t = 100)]
    swaps: u16,
    /// How long clients of streams come and go.
    #[arg(long, default_value_t = 60)]
    churn_seconds: u64,
    /// How long a soak lasts.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Sandbox and boundary.
    Micro,
    /// What each plugin costs, side by side.
    Plugins,
    /// Swaps under load.
    Swaps,
    /// Two hundred plugins at once.
    Many,
    /// An hour of swaps and crashes; only when asked for.
    Soak,
    /// History alone.
    Store,
    /// The account of watts, and a day of it.
    Power,
    /// A day of a thousand nodes from history, beside a Prometheus.
    Day,
    /// A daily report of a thousand nodes.
    Report,
    /// Rules over ten thousand cards.
    Alerts,
    /// Ten million rows as files.
    Export,
    /// A hundred thousand pods.
    Pods,
    /// Answers from the cache.
    Api,
    /// Ten thousand readers of a stream.
    Streams,
    /// Two hundred BMCs over IPMI.
    Bmcs,
    /// The whole host over a simulated fleet, beside a Prometheus.
    Host,
    /// Fifty agents, two hosts of clusters and one of the fleet over `--nodes` exporters; only when asked for.
    Fleet,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn fleet(nodes: usize) -> Arc<Fleet> {
    Arc::new(Fleet::new(FleetConfig {
        seed: 1,
        nodes,
        gpus_per_node: 8,
        tick: Duration::from_secs(1),
        faults: Faults::demo(),
        others: Vec::new(),
    }))
}

/// One line of the table.
fn row(name: &str, value: f64, aim: &str, what: &str) {
    println!("| {name} | {value:.3} | {aim} | {what} |");
}

fn main() -> Result<()> {
    // A child of this program; not a part that a user asks for.
    if let Some(nodes) = std::env::var("KCLOUD_BENCH_SIMULATOR").ok().and_then(|n| n.parse().ok()) {
        return simulate(nodes);
    }
    if std::env::var_os("KCLOUD_BENCH_BMCS").is_some() {
        return bmcs::simulate();
    }
    if std::env::var_os("KCLOUD_BENCH_API").is_some() {
        return api::serve();
    }
    if std::env::var_os("KCLOUD_BENCH_PODS").is_some() {
        return pods::serve();
    }
    if let Some(done) = streams::role() {
        return done;
    }
    if std::env::var_os("KCLOUD_BENCH_EXPORT").is_some() {
        return export::child();
    }
    let args = Args::parse();
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    if args.parts.contains(&Part::Soak) {
        return plugins::soak(Duration::from_secs(args.minutes * 60));
    }
    if args.parts != [Part::Plugins] {
        println!(
            "| figure | value | aim | what |
|---|---|---|---|"
        );
    }
    if args.parts.contains(&Part::Fleet) {
        generations::run(args.nodes, Duration::from_secs(args.interval), args.cycles)?;
    }
    if wanted(Part::Micro) {
        micro::run()?;
    }
    if wanted(Part::Swaps) {
        plugins::swaps(args.swaps)?;
    }
    if wanted(Part::Many) {
        plugins::many(200)?;
    }
    if wanted(Part::Store) {
        store::run()?;
    }
    if wanted(Part::Power) {
        power::run()?;
    }
    if wanted(Part::Day) {
        day::run()?;
    }
    if wanted(Part::Report) {
        report::run()?;
    }
    if wanted(Part::Alerts) {
        alerts::run()?;
    }
    if wanted(Part::Export) {
        export::run()?;
    }
    if wanted(Part::Pods) {
        pods::run()?;
        pods_read::run()?;
    }
    if wanted(Part::Api) {
        api::run()?;
    }
    if wanted(Part::Streams) {
        streams::run(args.churn_seconds)?;
    }
    if wanted(Part::Bmcs) {
        bmcs::run(args.cycles)?;
    }
    if wanted(Part::Host) {
        real::run(args.nodes, Duration::from_secs(args.interval), args.cycles)?;
    }
    if wanted(Part::Plugins) {
        cost::run()?;
    }
    Ok(())
}

/// Serves a fleet on a free loopback port, which it prints, until it is killed.
fn simulate(nodes: usize) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("{}", listener.local_addr()?);
        Ok(kcloud_fleet_sim::serve(fleet(nodes), listener, std::future::pending()).await?)
    })
}
