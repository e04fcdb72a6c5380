//! Two hundred BMCs of our own over IPMI, read by the installed host.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kcloud_bmc_sim::{Bmc, Model, Setup, serve};
use tokio::net::UdpSocket;

use crate::api::start;
use crate::installed::{Monitor, installed, until, wait};
use crate::{cpu, row};

const BMCS: usize = 200;
/// Temperatures beside the 13 sensors that each has.
const MORE: u8 = 60;
const INTERVAL: Duration = Duration::from_secs(30);

/// Serves them on loopback ports, whose numbers it prints on one line, until it is killed.
pub fn simulate() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut ports = String::new();
        for n in 0..BMCS {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            write!(ports, "{} ", socket.local_addr()?.port())?;
            let setup = Setup { model: Model::server(&format!("SN{n}"), MORE), ..Setup::default() };
            tokio::spawn(serve(Bmc::new(setup), socket));
        }
        println!("{ports}");
        std::future::pending().await
    })
}

pub fn run(cycles: u32) -> Result<()> {
    let (_simulator, ports) = start("KCLOUD_BENCH_BMCS", "1")?;
    let dir = tempfile::tempdir()?;
    let password = dir.path().join("bmc.password");
    fs::write(&password, "secret1\n")?;
    let mut text =
        "interval = \"30s\"\ntimeout = \"10s\"\n[grants]\nipmi = true\nstate = true\n[limits]\nstate = \"16MiB\"\ninstances = 16\n"
            .to_owned();
    let mut origins = Vec::new();
    for (n, port) in ports.split_whitespace().enumerate() {
        let address = format!("ipmi://127.0.0.1:{port}");
        write!(
            text,
            "[[targets]]\nid = \"worker{n}\"\naddress = \"{address}\"\ncredential = \"bmc\"\nlabels = {{ node = \"worker{n}\" }}\n"
        )?;
        origins.push(address);
    }
    let credential = format!("[credentials.bmc]\norigins = {origins:?}\nusername = \"monitor\"\npassword_file = {password:?}\n");
    let plugins = installed().join("plugins").canonicalize()?;
    let began = Instant::now();
    let monitor = Monitor::start_with(dir.path(), &plugins, &[("ipmi", text)], &credential)?;
    let good = || {
        let plugin = monitor.plugin("ipmi").ok()?;
        let targets = plugin["targets"].as_array()?;
        Some(targets.iter().filter(|t| t["last_success"].is_string() && t["consecutive_failures"] == 0).count())
    };
    until("every BMC is read once", || (good() == Some(BMCS)).then_some(()))?;
    row(
        "200 BMCs: s until all are read",
        began.elapsed().as_secs_f64(),
        "",
        "log-in, records, thresholds and inventories of each, on one machine with them",
    );
    // The first reads also bring what is then kept.
    wait(INTERVAL);
    let calls = || monitor.plugin("ipmi")?["calls_total"].as_f64().context("no calls_total");
    let (first, before, began) = (calls()?, cpu::seconds(monitor.pid())?, Instant::now());
    wait(INTERVAL * cycles);
    let (calls, used, took) = (calls()? - first, cpu::seconds(monitor.pid())? - before, began.elapsed().as_secs_f64());
    let done = calls / (BMCS as f64 * took / INTERVAL.as_secs_f64());
    row("200 BMCs: reads done / due", done, "≈ 1", &format!("{calls} reads in {took:.0} s"));
    let sensors = 13 + usize::from(MORE);
    row(
        "200 BMCs: cores",
        used / took,
        "≤ 0.3",
        &format!("{sensors} sensors each, every 30 s; {:.1} ms of CPU a read", used / calls * 1e3),
    );
    let (all, own) = cpu::resident_mib(monitor.pid())?;
    row("200 BMCs: MiB resident", all, "", &format!("{own:.0} of them its own"));
    ensure!(good() == Some(BMCS), "{:?} of {BMCS} BMCs are read", good());
    Ok(())
}
