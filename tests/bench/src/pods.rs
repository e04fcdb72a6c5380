//! A hundred thousand pods: pages, selectors and what they take of memory. The server is a process of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kcloud_monitor::api::ClusterInfo;
use kcloud_monitor::auth::Auth;
use kcloud_monitor::history::Keep;
use kcloud_monitor::host::{Host, Options};
use kcloud_monitor::inventory::SourceInfo;
use kcloud_monitor::plugins::verify::Policy;
use tokio::net::TcpListener;

use crate::api::start;
use crate::{cpu, power, root, row};

const NODES: usize = 1_000;
const ASKED: usize = 200;
const PODS: &str = "/api/v1/infrastructure/pods";

/// The server's side: a host without plugins, whose model is filled once.
pub fn serve() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let dir = tempfile::tempdir()?;
        let options = Options {
            plugins_dir: root().join("target/dist/none"),
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
        let host = Host::start(options, Vec::new).await?;
        for n in 0..NODES {
            let info = SourceInfo {
                plugin: "kubernetes".into(),
                target: format!("worker{n}").into(),
                cluster: "cluster1".into(),
                interval_ms: 3_600_000,
                priority: 0,
                max_subjects: 10_000_000,
                max_values: 100_000_000,
            };
            host.app.inventory.apply(&info, power::server(n), kcloud_monitor::now_ms());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let router = kcloud_monitor::api::router(host.app.clone());
        axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await?;
        Ok(())
    })
}

/// Milliseconds of CPU and of wall time an answer takes, each of another query, so that none comes from the cache.
async fn asked(client: &reqwest::Client, pid: u32, url: impl Fn(usize) -> String) -> Result<(f64, f64)> {
    let (before, began) = (cpu::seconds(pid)?, Instant::now());
    for i in 0..ASKED {
        let response = client.get(url(i)).basic_auth("admin", Some("changeme")).send().await?;
        ensure!(response.status() == 200, "{}: {}", url(i), response.status());
        response.bytes().await?;
    }
    let each = |seconds: f64| seconds * 1e3 / ASKED as f64;
    Ok((each(cpu::seconds(pid)? - before), each(began.elapsed().as_secs_f64())))
}

/// The client's side.
pub fn run() -> Result<()> {
    let (server, address) = start("KCLOUD_BENCH_PODS", "1")?;
    let (pid, base) = (server.0.id(), format!("http://{address}{PODS}"));
    tokio::runtime::Runtime::new()?.block_on(async {
        let client = reqwest::Client::builder().no_gzip().build()?;
        let all = (NODES * power::PODS) as u64;
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let text = client.get(&base).basic_auth("admin", Some("changeme")).send().await?.text().await?;
            if text.contains(&format!("\"total_count\":{all}")) {
                break;
            }
            ensure!(Instant::now() < deadline, "the model is not filled within two minutes");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let what = format!("CPU, {all} pods; each answer another, none from the cache");
        let (page, wall) = asked(&client, pid, |i| format!("{base}?limit=100&offset={}", i * 7)).await?;
        row("a page of 100 pods, ms", page, "≤ 5", &format!("{what}; {wall:.1} ms of wall time"));
        let (chosen, wall) = asked(&client, pid, |i| format!("{base}?label_selector=team%3Dteam{},app!%3Dx{i}", i % 50)).await?;
        row("a label selector, ms", chosen, "≤ 20", &format!("CPU, one in fifty of all; {wall:.1} ms of wall time"));
        let (sorted, wall) = asked(&client, pid, |i| format!("{base}?sort=-current_power_watts&limit=10&offset={i}")).await?;
        row("the ten that draw most, ms", sorted, "", &format!("CPU; {wall:.1} ms of wall time"));
        let (resident, own) = cpu::resident_mib(pid)?;
        row(
            "MiB resident",
            resident,
            "≤ 600",
            &format!("{own:.0} of them its own; {all} pods, {NODES} nodes with 8 cards and 50 sensors each"),
        );
        Ok(())
    })
}
