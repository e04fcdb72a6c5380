//! GET gpus against a handler that returns the same bytes from memory behind the same authentication and middleware.
//!
//! The server is a process of its own, so that its CPU time is the server's alone.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::http::header;
use axum::routing::get;
use kcloud_monitor::api::ClusterInfo;
use kcloud_monitor::auth::Auth;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::history::Keep;
use kcloud_monitor::host::{Host, Options};
use kcloud_monitor::plugins::verify::Policy;
use tokio::net::TcpListener;

use crate::{cpu, fleet, root, row};

const REQUESTS: usize = 20_000;
const CONNECTIONS: usize = 8;
const GPUS: &str = "/api/v1/accelerators/gpus";
const MEMORY: &str = "/bench/memory";

/// A child that ends with its owner.
pub struct Started(pub Child);

impl Drop for Started {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("a child did not end: {error}");
        }
    }
}

/// Starts this program again in another role and gives the address that it prints.
pub fn start(variable: &str, value: &str) -> Result<(Started, String)> {
    let mut child = Command::new(std::env::current_exe()?).env(variable, value).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().context("no output")?;
    let started = Started(child);
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    Ok((started, line.trim().to_owned()))
}

/// The server's side.
pub fn serve() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let dir = tempfile::tempdir()?;
        let fleet = fleet(8);
        let simulator = TcpListener::bind("127.0.0.1:0").await?;
        let mut settings = demo_settings(&fleet, simulator.local_addr()?);
        // One read, and then only answers.
        settings[0].interval = Duration::from_secs(3_600);
        tokio::spawn(kcloud_fleet_sim::serve(fleet, simulator, std::future::pending()));
        let options = Options {
            plugins_dir: root().join("target/dist/plugins"),
            state_dir: dir.path().join("state"),
            kept_dir: dir.path().join("kept"),
            history_dir: dir.path().join("history"),
            alerts_dir: dir.path().join("alerts"),
            reports_dir: dir.path().join("reports"),
            history_keep: Keep::default(),
            exports: kcloud_monitor::export::Exports::default(),
            beyond: kcloud_monitor::host::Beyond::default(),
            cache_dir: None,
            compiler: None,
            policy: Policy { is_loopback: true, ..Policy::default() },
            auth: Auth::in_memory("admin", "changeme")?,
            plugins_config_dir: None,
            clusters: vec![ClusterInfo { name: "cluster1".into(), ..ClusterInfo::default() }],
            forget_after: Duration::from_secs(7 * 86_400),
            stream: kcloud_monitor::stream::Limits::default(),
            cors: Vec::new(),
            is_agent: false,
        };
        let host = Host::start(options, move || settings.clone()).await?;
        let body = async {
            let client = reqwest::Client::builder().no_gzip().build()?;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let url = format!("http://{}{GPUS}", listener.local_addr()?);
            let serving = host.serve(listener, std::future::pending());
            let asking = async {
                loop {
                    let text = client.get(&url).basic_auth("admin", Some("changeme")).send().await?.text().await?;
                    if text.contains("\"total_count\":64") {
                        return anyhow::Ok(text);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::select! { served = serving => served.and(Err(anyhow::anyhow!("it stopped serving"))), body = asking => body }
        };
        let body = bytes(body.await?);
        let memory = Router::new().route(
            MEMORY,
            get(move || {
                let body = body.clone();
                async move { ([(header::CONTENT_TYPE, "application/json")], body) }
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let router = kcloud_monitor::api::router_with(host.app.clone(), memory);
        axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await?;
        Ok(())
    })
}

fn bytes(text: String) -> axum::body::Bytes {
    text.into()
}

/// CPU-seconds of the server for `REQUESTS` answers.
async fn load(client: &reqwest::Client, pid: u32, url: &str) -> Result<f64> {
    let before = cpu::seconds(pid)?;
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (client, url) = (client.clone(), url.to_owned());
            tokio::spawn(async move {
                for _ in 0..REQUESTS / CONNECTIONS {
                    let response = client.get(&url).basic_auth("admin", Some("changeme")).send().await?;
                    ensure!(response.status() == 200, "{url}: {}", response.status());
                    response.bytes().await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(cpu::seconds(pid)? - before)
}

/// The client's side.
pub fn run() -> Result<()> {
    let (server, address) = start("KCLOUD_BENCH_API", "1")?;
    let pid = server.0.id();
    tokio::runtime::Runtime::new()?.block_on(async {
        let client = reqwest::Client::builder().no_gzip().build()?;
        let (mut gpus, mut memory) = (0.0, 0.0);
        // In turn, so that both see the same neighbours.
        for _ in 0..3 {
            memory += load(&client, pid, &format!("http://{address}{MEMORY}")).await?;
            gpus += load(&client, pid, &format!("http://{address}{GPUS}")).await?;
        }
        let each = 3.0 * REQUESTS as f64;
        row(
            "GET gpus / same bytes from memory",
            memory / gpus,
            "≥ 0.7",
            &format!("{:.0} / {:.0} requests per CPU-s, 64 cards, Basic credentials", each / gpus, each / memory),
        );
        Ok(())
    })
}
