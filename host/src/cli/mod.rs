//! The command line: what is asked for is parsed once here, each command is a file.

mod config;
mod demo;
mod export;
mod order;
mod plugin;
mod remote;
mod serve;
mod sign;
mod user;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

pub use demo::{clusters as demo_clusters, demo_settings, facilities as demo_facilities, fleet_settings};

/// Watches AI accelerators and the machines around them through sandboxed collectors.
#[derive(Parser)]
#[command(name = "kcloud-monitor", version)]
struct Args {
    /// Which lines are logged, as in `info,kcloud_monitor=debug`; goes before `[log]` level of the configuration.
    #[arg(long, global = true, env = "KCLOUD_LOG")]
    log: Option<String>,
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
        /// As the agent of a node, for a host that reads it: no history, alerts, reports and jobs of exports, and little memory.
        #[arg(long)]
        agent: bool,
    },
    /// Runs the host over a simulated fleet: no hardware, no Prometheus. User admin, password changeme.
    Demo(Demo),
    /// Writes a file of a running host: watts, readings, a report.
    #[command(subcommand)]
    Export(Box<export::Command>),
    /// Shows what a running host sees, again and again.
    #[command(subcommand)]
    Watch(watch::Command),
    /// Looks after the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Looks at components, signs them and checks their signatures.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Looks after users of a data directory; a running host takes a change within seconds.
    #[command(subcommand)]
    User(user::Command),
    /// Looks after long-lived API keys of a data directory; a running host takes a change within seconds.
    #[command(subcommand)]
    Token(user::TokenCommand),
    /// Writes completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Compiles a component from standard input into a code cache; the host calls it.
    #[command(hide = true)]
    Compile {
        #[arg(long)]
        cache_dir: PathBuf,
        /// Bytes that it may take.
        #[arg(long)]
        memory: u64,
        /// Seconds that it may take.
        #[arg(long)]
        seconds: u64,
    },
    /// Asks NVIDIA's driver what standard input asks for; the host calls it.
    #[command(hide = true)]
    Nvml {
        #[arg(long)]
        library: PathBuf,
    },
    /// Says which version this is.
    Version,
}

#[derive(clap::Args)]
struct Demo {
    /// Loopback only.
    #[arg(long, default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    #[arg(long, default_value_t = 8)]
    nodes: usize,
    #[arg(long, default_value_t = 8)]
    gpus_per_node: usize,
    /// Cards of each other vendor that a plugin is there for, on a node of their own; 0: NVIDIA's alone.
    #[arg(long, default_value_t = 4)]
    other_cards: usize,
    /// Pods of the first cluster; those that hold cards and those of DaemonSets are always there.
    #[arg(long)]
    pods: Option<usize>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the demo keeps what it writes; default: a folder under the system's temporary one.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Default: the `plugins` folder beside this binary.
    #[arg(long)]
    plugins_dir: Option<PathBuf>,
}

/// Runs the binary.
pub async fn run() -> anyhow::Result<std::process::ExitCode> {
    let args = Args::parse();
    let given = crate::log::Given { level: args.log, is_json: args.log_json };
    match args.command {
        // It learns from its configuration how to log.
        Command::Serve { config, agent } => serve::serve(config, agent, given).await?,
        other => {
            given.start(&crate::config::Log::default())?;
            match other {
                Command::Demo(demo) => demo::demo(demo).await?,
                Command::Export(command) => return export::run(*command).await,
                Command::Watch(command) => return watch::run(command).await,
                Command::Config(command) => return config::run(command).await,
                Command::Plugin(command) => return plugin::run(command).await,
                Command::User(command) => user::run(command)?,
                Command::Token(command) => user::tokens(command)?,
                Command::Completions { shell } => {
                    clap_complete::generate(shell, &mut Args::command(), "kcloud-monitor", &mut std::io::stdout());
                }
                Command::Compile { cache_dir, memory, seconds } => return plugin::compile(&cache_dir, memory, seconds),
                Command::Nvml { library } => return crate::plugins::capabilities::nvml::driver::serve(&library),
                _ => println!("kcloud-monitor {} (plugin contracts {})", env!("CARGO_PKG_VERSION"), crate::plugins::contracts().join(", ")),
            }
        }
    }
    Ok(std::process::ExitCode::SUCCESS)
}

/// What others said, on a terminal: nothing in it steers one.
fn plain(text: &str) -> String {
    crate::report::pdf::font::clean(text).into_owned()
}

/// Waits for an interrupt or a termination; gives the signal's number.
async fn told_to_stop() -> u8 {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let Ok(mut terminate) = terminate else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => 15,
        _ = tokio::signal::ctrl_c() => 2,
    }
}

/// Waits for a signal to stop.
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
