//! Three generations of installed hosts on one machine: fifty agents, two hosts of clusters, one of the fleet; ten thousand cards.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api::{Started, start};
use crate::installed::{free_port, installed, until, wait};
use crate::{cpu, row};

const AGENTS: usize = 50;
const CLUSTERS: usize = 2;

/// One host that runs, with a token for it.
struct Node {
    process: Started,
    base: String,
    token: PathBuf,
    client: reqwest::blocking::Client,
}

/// What it reads.
enum Reads<'a> {
    /// Exporters of the simulator, by their nodes.
    Exporters(&'a str, std::ops::Range<usize>),
    /// Hosts, each with the cluster that is read.
    Hosts(Vec<(&'a Node, String)>),
}

impl Node {
    fn start(dir: &Path, name: &str, clusters: &[String], reads: &Reads<'_>, interval: Duration) -> Result<Self> {
        let (home, port) = (dir.join(name), free_port()?);
        let (plugins, plugins_d, data) = (home.join("plugins"), home.join("plugins.d"), home.join("data"));
        for made in [&plugins, &plugins_d, &data] {
            fs::create_dir_all(made)?;
        }
        let plugin = if matches!(reads, Reads::Exporters(..)) { "nvidia-dcgm" } else { "kcloud" };
        fs::copy(installed().join(format!("plugins/{plugin}.wasm")), plugins.join(format!("{plugin}.wasm")))?;
        // Compiled once for all: fifty of them would otherwise compile for a minute.
        let cache = dir.join("cache");
        let mut config = format!(
            "data_dir = {data:?}\n[server]\nlisten = \"127.0.0.1:{port}\"\n[plugins]\ndir = {plugins:?}\nconfig_dir = {plugins_d:?}\ncache_dir = {cache:?}\n"
        );
        clusters.iter().try_for_each(|c| writeln!(config, "[clusters.{c}]"))?;
        let mut text = format!("interval = \"{}s\"\ntimeout = \"10s\"\n[grants]\nhttp = \"targets\"\n", interval.as_secs());
        match reads {
            Reads::Exporters(address, nodes) => nodes.clone().try_for_each(|n| {
                write!(text, "[[targets]]\nid = \"worker{n}\"\naddress = \"http://{address}/nodes/worker{n}/metrics\"\n")
            })?,
            Reads::Hosts(hosts) => {
                text.push_str("[limits]\ncpu = \"2s\"\nhttp_body = \"128MiB\"\nhttp_call = \"128MiB\"\n");
                for (n, (host, cluster)) in hosts.iter().enumerate() {
                    let base = &host.base;
                    write!(text, "[[targets]]\nid = \"host{n}\"\naddress = {base:?}\ncluster = {cluster:?}\ncredential = \"host{n}\"\n")?;
                    write!(config, "[credentials.host{n}]\norigins = [{base:?}]\nbearer_file = {:?}\n", host.token)?;
                }
            }
        }
        fs::write(plugins_d.join(format!("{plugin}.toml")), text)?;
        let file = home.join("kcloud-monitor.toml");
        fs::write(&file, config)?;
        let program = installed().join("kcloud-monitor");
        let made =
            Command::new(&program).args(["token", "create", "--data-dir"]).arg(&data).arg("reader").stderr(Stdio::null()).output()?;
        let said = String::from_utf8(made.stdout)?;
        let key = said.split_whitespace().last().context("no key was printed")?;
        let token = home.join("token");
        fs::write(&token, key)?;
        let mut command = Command::new(&program);
        command.arg("serve").arg("--config").arg(&file);
        if matches!(reads, Reads::Exporters(..)) {
            command.arg("--agent");
        }
        let log = fs::File::create(home.join("log"))?;
        let process = Started(command.stdout(Stdio::null()).stderr(log).spawn()?);
        let client = reqwest::blocking::Client::builder().no_gzip().timeout(Duration::from_secs(20)).build()?;
        Ok(Self { process, base: format!("http://127.0.0.1:{port}"), token, client })
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn bytes(&self, path: &str, gzip: bool) -> Result<Vec<u8>> {
        let mut request = self.client.get(format!("{}{path}", self.base)).bearer_auth(fs::read_to_string(&self.token)?);
        if gzip {
            request = request.header("accept-encoding", "gzip");
        }
        Ok(request.send()?.error_for_status()?.bytes()?.to_vec())
    }

    fn get(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.bytes(path, false)?)?)
    }

    fn cards(&self, query: &str) -> Option<u64> {
        self.get(&format!("/api/v1/accelerators/gpus?limit=1{query}")).ok()?["metadata"]["total_count"].as_u64()
    }

    fn watts(&self) -> Option<f64> {
        self.get("/api/v1/accelerators/gpus/summary").ok()?["data"]["total_power_watts"].as_f64()
    }

    /// Size of a snapshot as it is and compressed; its epoch and sequence.
    fn snapshot(&self, query: &str) -> Result<(f64, f64, String, u64)> {
        let (plain, packed) =
            (self.bytes(&format!("/api/v1/system/snapshot{query}"), false)?, self.bytes(&format!("/api/v1/system/snapshot{query}"), true)?);
        let line = plain.split(|b| *b == b'\n').next().context("an empty answer")?;
        let head: Value = serde_json::from_slice(line)?;
        let head = &head["snapshot"];
        let epoch = head["epoch"].as_str().context("no epoch")?.to_owned();
        Ok((plain.len() as f64 / 1e6, packed.len() as f64 / 1e6, epoch, head["sequence"].as_u64().context("no sequence")?))
    }
}

pub fn run(nodes: usize, interval: Duration, cycles: u32) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_simulator, address) = start("KCLOUD_BENCH_SIMULATOR", &nodes.to_string())?;
    let cluster = |n: usize| format!("cluster{}", n + 1);
    let all: Vec<String> = (0..CLUSTERS).map(cluster).collect();
    let each = nodes.div_ceil(AGENTS);
    let mut agents = Vec::new();
    for n in 0..AGENTS {
        let exporters = Reads::Exporters(&address, n * each + 1..nodes.min((n + 1) * each) + 1);
        agents.push(Node::start(dir.path(), &format!("agent{n}"), &[cluster(n % CLUSTERS)], &exporters, interval)?);
    }
    let mut hosts = Vec::new();
    for n in 0..CLUSTERS {
        let own = agents.iter().skip(n).step_by(CLUSTERS).map(|a| (a, cluster(n))).collect();
        hosts.push(Node::start(dir.path(), &cluster(n), &[cluster(n)], &Reads::Hosts(own), interval)?);
    }
    let below = hosts.iter().enumerate().map(|(n, h)| (h, cluster(n))).collect();
    let fleet = Node::start(dir.path(), "fleet", &all, &Reads::Hosts(below), interval)?;

    let cards = nodes as u64 * 8;
    let began = Instant::now();
    until("the hosts of the clusters see their cards", || {
        (hosts.iter().map(|h| h.cards("")).sum::<Option<u64>>()? == cards).then_some(())
    })?;
    let below = Instant::now();
    until("the fleet sees all cards", || (fleet.cards("")? == cards).then_some(()))?;
    let late = below.elapsed().as_secs_f64() / interval.as_secs_f64();
    row(
        "intervals until the fleet sees what the clusters see",
        late,
        "≤ 2",
        &format!(
            "{cards} cards, {AGENTS} agents, {CLUSTERS} hosts of clusters, {:.0} s since the last start",
            began.elapsed().as_secs_f64()
        ),
    );

    // Counters, rates and caches are there.
    wait(interval * 2);
    let used = |all: &[&Node]| all.iter().map(|n| cpu::seconds(n.pid())).sum::<Result<f64>>();
    let groups: [(&str, &str, &str, Vec<&Node>); 3] = [
        ("the fleet's host", "≤ 0.3", "≤ 300", vec![&fleet]),
        ("a cluster's host", "", "", hosts.iter().collect()),
        ("an agent", "", "", agents.iter().collect()),
    ];
    let before = groups.iter().map(|g| used(&g.3)).collect::<Result<Vec<f64>>>()?;
    let began = Instant::now();
    wait(interval * cycles);
    let span = began.elapsed().as_secs_f64();
    for ((name, cores_aim, memory_aim, group), before) in groups.iter().zip(before) {
        let count = group.len() as f64;
        row(
            &format!("cores, {name}"),
            (used(group)? - before) / span / count,
            cores_aim,
            &format!("{} cards each, read every {} s", cards / group.len() as u64, interval.as_secs()),
        );
        let resident = group.iter().map(|n| cpu::resident_mib(n.pid())).collect::<Result<Vec<_>>>()?;
        let (all, own) = resident.iter().fold((0.0, 0.0), |sum, m| (sum.0 + m.0 / count, sum.1 + m.1 / count));
        row(&format!("MiB resident, {name}"), all, memory_aim, &format!("{own:.0} of them its own"));
    }
    let plugin = fleet.get("/api/v1/system/plugins/kcloud")?;
    println!("NOTE: an instance of the fleet's plugin used {} bytes at most", plugin["data"]["memory_high_water_bytes"]);
    let (whole, packed, epoch, sequence) = hosts[0].snapshot("?cluster=cluster1")?;
    row("MB, a whole snapshot", whole, "", &format!("{} cards; {packed:.2} compressed", cards / CLUSTERS as u64));
    wait(interval);
    let (delta, packed, ..) = hosts[0].snapshot(&format!("?cluster=cluster1&since={sequence}&epoch={epoch}"))?;
    row("MB, what changes in an interval", delta, "", &format!("every reading of them; {packed:.2} compressed"));
    // Fleet and clusters are asked one after the other while watts change: what an interval changes is the most they differ by.
    let (top, sum) = (fleet.watts().context("no watts")?, hosts.iter().map(Node::watts).sum::<Option<f64>>().context("no watts")?);
    row("watts of the fleet / of its clusters", top / sum, "1 ± 0.01", "asked one after the other, while they change");

    let dead = agents.remove(0);
    let lost = each as u64 * 8;
    drop(dead);
    let began = Instant::now();
    until("its cards are stale in the fleet", || (fleet.cards("&status=offline")? == lost).then_some(()))?;
    row(
        "intervals until a killed agent's cards are stale in the fleet",
        began.elapsed().as_secs_f64() / interval.as_secs_f64(),
        "≤ 5",
        "three of silence at the cluster's host, one to the fleet's",
    );
    let status = fleet.get("/api/v1/system/status")?;
    let all = status["remote_sources"].as_array().context("no remote sources")?;
    let why = all.iter().find(|s| s["name"] == "host0/kcloud/host0").context("the agent's source is not shown")?;
    ensure!(why["status"] == "failing" && !why["error"].is_null(), "{why}");
    println!("NOTE: of the killed agent the fleet says {}", why["error"]);
    Ok(())
}
