//! `demo`: the host over a simulated fleet, through the real plugins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kcloud_fleet_sim::{Faults, Fleet, FleetConfig};
use tokio::net::TcpListener;

use super::Demo;
use crate::api::ClusterInfo;
use crate::auth::Auth;
use crate::history::Keep;
use crate::host::{Host, Options};
use crate::plugins::Settings;
use crate::plugins::capabilities::{Grants, http_policy};
use crate::plugins::contract::Target;
use crate::plugins::engine::Compiler;
use crate::plugins::verify::Policy;

pub(super) async fn demo(args: Demo) -> anyhow::Result<()> {
    let Demo { listen, nodes, gpus_per_node, seed, data_dir, plugins_dir } = args;
    anyhow::ensure!(listen.ip().is_loopback(), "the demo's password is known to everybody: it listens on loopback only, not on {listen}");
    let data_dir = data_dir.unwrap_or_else(|| std::env::temp_dir().join(format!("kcloud-monitor-demo-{}", std::process::id())));
    std::fs::create_dir_all(&data_dir)?;
    let beside = std::env::current_exe()?.parent().map(|p| p.join("plugins")).unwrap_or_default();
    let plugins_dir = plugins_dir.unwrap_or(beside);
    anyhow::ensure!(
        plugins_dir.join("nvidia-dcgm.wasm").is_file(),
        "{} has no nvidia-dcgm.wasm; `cargo xtask build` makes it",
        plugins_dir.display()
    );
    let fleet = Arc::new(Fleet::new(FleetConfig { seed, nodes, gpus_per_node, tick: Duration::from_secs(1), faults: Faults::demo() }));
    let simulator = TcpListener::bind("127.0.0.1:0").await?;
    let fleet_address = simulator.local_addr()?;
    let mut settings = demo_settings(&fleet, fleet_address);
    // Of the other components that lie there the demo has no use; their state says so.
    let bundled = std::fs::read_dir(&plugins_dir)?.filter_map(|e| e.ok()?.path().file_stem()?.to_str().map(str::to_owned));
    settings.extend(bundled.filter(|n| n == "prometheus").map(|n| Settings { enabled: false, ..Settings::bare(&n) }));
    let (serving, names) = (kcloud_fleet_sim::serve(fleet.clone(), simulator, std::future::pending()), fleet.node_count());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the simulated fleet stopped");
        }
    });
    let options = Options {
        plugins_dir,
        state_dir: data_dir.join("state"),
        kept_dir: data_dir.join("plugins-kept"),
        history_dir: data_dir.join("history"),
        history_keep: Keep { max_bytes: 1 << 30, ..Keep::default() },
        beyond: crate::host::Beyond::default(),
        cache_dir: None,
        compiler: Some(Compiler {
            program: std::env::current_exe()?,
            cache_dir: std::path::absolute(data_dir.join("cache"))?,
            memory: 1 << 30,
            timeout: crate::config::Plugins::default().compile_timeout.0,
        }),
        policy: Policy { is_loopback: true, ..Policy::default() },
        auth: Auth::in_memory("admin", "changeme")?,
        plugins_config_dir: None,
        clusters: vec![ClusterInfo { name: "cluster1".into(), region: None, description: Some("simulated".into()) }],
        forget_after: Duration::from_secs(7 * 86_400),
    };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let host = Host::start(options, move || settings.clone()).await?;
    println!("KCloud Monitor demo: {names} nodes of {gpus_per_node} GPUs (simulated, seed {seed})");
    println!("  http://{address}/docs   user admin, password changeme");
    println!("  curl -u admin:changeme http://{address}/api/v1/accelerators/gpus/summary");
    println!("  what it must say: http://{fleet_address}/truth");
    host.serve(listener, super::stopped()).await
}

/// One target a simulated node, as an operator would write them.
pub fn demo_settings(fleet: &Fleet, address: SocketAddr) -> Vec<Settings> {
    let target = |i: usize| {
        let node = fleet.node_name(i);
        Target {
            address: format!("http://{address}/nodes/{node}/metrics"),
            labels: vec![("node".to_owned(), node.clone())],
            id: node,
            cluster: "cluster1".to_owned(),
            credential: None,
            config: "{}".to_owned(),
        }
    };
    let targets: Vec<_> = (0..fleet.node_count()).map(|i| (target(i), None)).collect();
    let http = Some(http_policy::Policy::new(targets.iter().map(|(t, _)| t.address.as_str())));
    vec![Settings {
        interval: Duration::from_secs(2),
        targets,
        grants: Grants { http, ..Grants::default() },
        ..Settings::bare("nvidia-dcgm")
    }]
}
