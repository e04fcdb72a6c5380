//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use kcloud_fleet_sim::{Faults, Fleet, FleetConfig};
use tokio::net::TcpListener;

use crate::api::ClusterInfo;
use crate::auth::Auth;
use crate::config::{Config, load_plugins};
use crate::history::Keep;
use crate::host::{Host, Options};
use crate::plugins::capabilities::{Grants, http_policy::Policy};
use crate::plugins::contract::Target;
use crate::plugins::generation::Compiled;
use crate::plugins::{Runtime, Settings};

/// Watches AI accelerators and the machines around them through sandboxed collectors.
#[derive(Parser)]
#[command(name = "kcloud-monitor", version)]
struct Args {
    /// Which lines are logged, as in `info,kcloud_monitor=debug`.
    #[arg(long, global = true, env = "KCLOUD_LOG", default_value = "info")]
    log: String,
    /// Log as JSON, one object a line.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the host.
    Serve {
        #[arg(long, env = "KCLOUD_CONFIG", default_value = "/etc/kcloud-monitor/kcloud-monitor.toml")]
        config: PathBuf,
    },
    /// Runs the host over a simulated fleet: no hardware, no Prometheus. User admin, password changeme.
    Demo {
        /// Loopback only.
        #[arg(long, default_value = "127.0.0.1:8001")]
        listen: SocketAddr,
        #[arg(long, default_value_t = 8)]
        nodes: usize,
        #[arg(long, default_value_t = 8)]
        gpus_per_node: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the demo keeps what it writes; default: a folder under the system's temporary one.
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// Default: the `plugins` folder beside this binary.
        #[arg(long)]
        plugins_dir: Option<PathBuf>,
    },
    /// Looks after the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Looks at components.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Looks after users of a data directory.
    #[command(subcommand)]
    User(UserCommand),
    /// Writes completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Says which version this is.
    Version,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Writes the commented sample.
    Init,
    /// Checks the file and every plugins.d/NAME.toml; exit status 2 when something is wrong.
    Check { path: PathBuf },
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Says what a component asks for and what its digest is, without running it.
    Inspect { file: PathBuf },
}

#[derive(Subcommand)]
enum UserCommand {
    /// Adds a user or changes a password, which is read from standard input.
    Passwd {
        #[arg(long)]
        data_dir: PathBuf,
        name: String,
    },
    Remove {
        #[arg(long)]
        data_dir: PathBuf,
        name: String,
    },
    List {
        #[arg(long)]
        data_dir: PathBuf,
    },
}

/// Runs the binary.
pub async fn run() -> anyhow::Result<std::process::ExitCode> {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log).context("--log")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_json {
        true => log.json().init(),
        false => log.init(),
    }
    match args.command {
        Command::Serve { config } => serve(config).await?,
        Command::Demo { listen, nodes, gpus_per_node, seed, data_dir, plugins_dir } => {
            anyhow::ensure!(
                listen.ip().is_loopback(),
                "the demo's password is known to everybody: it listens on loopback only, not on {listen}"
            );
            demo(listen, nodes, gpus_per_node, seed, data_dir, plugins_dir).await?;
        }
        Command::Config(ConfigCommand::Init) => print!("{}", include_str!("../../config/kcloud-monitor.toml")),
        Command::Config(ConfigCommand::Check { path }) => return Ok(check(&path)),
        Command::Plugin(PluginCommand::Inspect { file }) => inspect(&file)?,
        Command::User(command) => user(command)?,
        Command::Completions { shell } => clap_complete::generate(shell, &mut Args::command(), "kcloud-monitor", &mut std::io::stdout()),
        Command::Version => println!("kcloud-monitor {} (plugin contract kcloud:collector@0.1.0)", env!("CARGO_PKG_VERSION")),
    }
    Ok(std::process::ExitCode::SUCCESS)
}

async fn stopped() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let Ok(mut terminate) = terminate else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => if let Err(error) = interrupted {
            tracing::warn!(%error, "no interrupts");
        },
    }
    tracing::info!("stopping");
}

async fn serve(path: PathBuf) -> anyhow::Result<()> {
    let config = Config::load(&path, std::env::vars())?;
    let (auth, first) = Auth::open(&config.data_dir).with_context(|| format!("data_dir {}", config.data_dir.display()))?;
    if let Some(first) = first {
        eprintln!(
            "First start. User {:?}, password {:?}: shown this once; change it with `kcloud-monitor user passwd`.",
            first.user, first.password
        );
    }
    let clusters = config.clusters.iter().map(|(name, c)| ClusterInfo {
        name: name.clone(),
        region: c.region.clone(),
        description: c.description.clone(),
    });
    let options = Options {
        plugins_dir: config.plugins.dir.clone(),
        watched: vec![config.plugins.config_dir.clone()],
        state_dir: config.data_dir.join("state"),
        history_dir: config.data_dir.join("history"),
        history_keep: config.history.keep(),
        cache_dir: config.plugins.cache_dir.clone(),
        auth,
        clusters: clusters.collect(),
        forget_after: config.inventory.forget_after.0,
    };
    let listener = TcpListener::bind(config.server.listen).await.with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let last_good = std::sync::Mutex::new(std::collections::HashMap::new());
    let host = Host::start(options, move || settings_of(&config, &last_good)).await?;
    tracing::info!(address = %listener.local_addr()?, "serving");
    host.serve(listener, stopped()).await
}

/// The settings as they are now; a file that does not check leaves its last good settings in force.
fn settings_of(config: &Config, last_good: &std::sync::Mutex<std::collections::HashMap<PathBuf, Settings>>) -> Vec<Settings> {
    let mut kept = last_good.lock().unwrap_or_else(|e| e.into_inner());
    let files = match load_plugins(&config.plugins.config_dir, config) {
        Ok(files) => files,
        Err(error) => {
            tracing::error!(dir = %config.plugins.config_dir.display(), %error, "settings cannot be read; the last ones stay");
            return kept.values().cloned().collect();
        }
    };
    kept.retain(|path, _| files.iter().any(|(p, _)| p == path));
    for (path, settings) in files {
        match settings {
            Ok(settings) => drop(kept.insert(path, settings)),
            Err(error) => tracing::error!(%error, "settings not taken; the last good ones, if any, stay"),
        }
    }
    kept.values().cloned().collect()
}

async fn demo(
    listen: SocketAddr,
    nodes: usize,
    gpus_per_node: usize,
    seed: u64,
    data_dir: Option<PathBuf>,
    plugins_dir: Option<PathBuf>,
) -> anyhow::Result<()> {
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
    let settings = demo_settings(&fleet, fleet_address);
    let (serving, names) = (kcloud_fleet_sim::serve(fleet.clone(), simulator, std::future::pending()), fleet.node_count());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the simulated fleet stopped");
        }
    });
    let options = Options {
        plugins_dir,
        watched: Vec::new(),
        state_dir: data_dir.join("state"),
        history_dir: data_dir.join("history"),
        history_keep: Keep { max_bytes: 1 << 30, ..Keep::default() },
        cache_dir: Some(std::path::absolute(data_dir.join("cache"))?),
        auth: Auth::in_memory("admin", "changeme")?,
        clusters: vec![ClusterInfo { name: "cluster1".into(), region: None, description: Some("simulated".into()) }],
        forget_after: Duration::from_secs(7 * 86_400),
    };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let host = Host::start(options, move || settings.clone()).await?;
    println!("KCloud Monitor demo: {names} nodes of {gpus_per_node} GPUs (simulated, seed {seed})");
    println!("  http://{address}/api/v1/accelerators/gpus   user admin, password changeme");
    println!("  curl -u admin:changeme http://{address}/api/v1/accelerators/gpus/summary");
    println!("  what it must say: http://{fleet_address}/truth");
    host.serve(listener, stopped()).await
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
    let http = Some(Policy::new(targets.iter().map(|(t, _)| t.address.as_str())));
    vec![Settings {
        interval: Duration::from_secs(2),
        targets,
        grants: Grants { http, ..Grants::default() },
        ..Settings::bare("nvidia-dcgm")
    }]
}

fn check(path: &Path) -> std::process::ExitCode {
    let mut faults = Vec::new();
    match Config::load(path, std::env::vars()) {
        Err(error) => faults.push(error.to_string()),
        Ok(config) => match load_plugins(&config.plugins.config_dir, &config) {
            Err(error) => faults.push(format!("{}: {error}", config.plugins.config_dir.display())),
            Ok(files) => faults.extend(files.into_iter().filter_map(|(_, s)| s.err()).map(|e| e.to_string())),
        },
    }
    match faults.is_empty() {
        true => {
            println!("ok");
            std::process::ExitCode::SUCCESS
        }
        false => {
            faults.iter().for_each(|f| eprintln!("{f}"));
            std::process::ExitCode::from(2)
        }
    }
}

fn inspect(file: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let name = file.file_stem().and_then(|n| n.to_str()).unwrap_or("");
    let compiled = Compiled::new(&Runtime::new(None)?, name, &bytes)?;
    println!("sha256  {}", compiled.digest);
    println!("trust   {:?}", compiled.trust);
    let rights: Vec<&str> = compiled.rights_asked.iter().map(String::as_str).filter(|r| *r != "types").collect();
    println!("asks    {}", rights.join(", "));
    Ok(())
}

fn user(command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Passwd { data_dir, name } => {
            let mut password = String::new();
            std::io::stdin().read_line(&mut password)?;
            let (auth, first) = Auth::open(&data_dir)?;
            auth.set_password(&name, password.trim_end_matches(['\r', '\n']))?;
            if first.is_some() && name != "admin" {
                auth.remove("admin")?;
            }
            println!("{name}: password set; a running host takes it within seconds");
        }
        UserCommand::Remove { data_dir, name } => anyhow::ensure!(Auth::open(&data_dir)?.0.remove(&name)?, "there is no user {name:?}"),
        UserCommand::List { data_dir } => Auth::open(&data_dir)?.0.users().iter().for_each(|u| println!("{u}")),
    }
    Ok(())
}
