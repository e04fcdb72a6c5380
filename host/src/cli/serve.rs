//! `serve`: the host over the operator's files, which are read again when they change and on SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::api::ClusterInfo;
use crate::auth::Auth;
use crate::config::{Config, Loader};
use crate::export::Exports;
use crate::host::{Host, Look, Options};
use crate::log::Given;
use crate::plugins::OnMissing;
use crate::plugins::engine::Compiler;
use crate::power::Facility;
use crate::tls::Tls;

pub(super) async fn serve(path: PathBuf, is_agent: bool, log: Given) -> anyhow::Result<()> {
    let config = Config::load(&path, std::env::vars())?;
    log.start(&config.log)?;
    // Before anything else: the default action of SIGHUP is to end the process.
    let mut hangup = signal(SignalKind::hangup())?;
    let (auth, first) = Auth::open(&config.data_dir).with_context(|| format!("data_dir {}", config.data_dir.display()))?;
    if let Some(first) = first {
        eprintln!(
            "First start. User {:?}, password {:?}: shown this once; change it with `kcloud-monitor user passwd`.",
            first.user, first.password
        );
    }
    anyhow::ensure!(
        config.server.listen.ip().is_loopback() || !auth.has_password("changeme"),
        "a user's password is \"changeme\", which everybody knows: change it, or listen on loopback only instead of {}",
        config.server.listen
    );
    anyhow::ensure!(
        !is_agent || config.history.is_embedded_alone(),
        "an agent keeps no history: [history] remote_write and backend = \"prometheus\" are for the host that reads it"
    );
    let exports = match is_agent {
        true => Exports::default(),
        false => Exports::open(&config.data_dir.join("exports"), config.export.limits()).context("the directory of exports")?,
    };
    let options = Options {
        plugins_dir: config.plugins.dir.clone(),
        state_dir: config.data_dir.join("state"),
        kept_dir: config.data_dir.join("plugins-kept"),
        history_dir: config.data_dir.join("history"),
        history_keep: config.history.keep(),
        alerts_dir: config.data_dir.join("alerts"),
        reports_dir: config.data_dir.join("reports"),
        exports,
        beyond: config.beyond().map_err(|e| anyhow::anyhow!("[history] {e}"))?,
        cache_dir: None,
        compiler: Some(Compiler {
            program: std::env::current_exe()?,
            cache_dir: std::path::absolute(config.cache_dir())?,
            memory: config.plugins.compile_memory.0 as u64,
            timeout: config.plugins.compile_timeout.0,
        }),
        policy: config.policy(config.server.listen.ip().is_loopback()),
        auth,
        plugins_config_dir: Some(config.plugins.config_dir.clone()),
        clusters: clusters(&config),
        forget_after: config.inventory.forget_after.0,
        stream: config.stream.limits(),
        cors: config.server.cors_origins.clone(),
        is_agent,
    };
    let tls = match &config.server.tls {
        Some(tls) => Some(Tls::load(tls).await?),
        None => None,
    };
    crate::net::open_many_files();
    let socket = config.admin_socket();
    let listener = TcpListener::bind(config.server.listen).await.with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let is_loopback = config.server.listen.ip().is_loopback();
    let mut files = Files { path, config, is_loopback, loader: Loader::default(), log };
    for settings in files.look().settings {
        let (name, plugins) = (format!("{}.wasm", settings.component), &files.config.plugins);
        let file = plugins.dir.join(&name);
        let is_there = file.is_file() || plugins.dev_dir.as_ref().is_some_and(|d| d.join(name).is_file());
        let is_needed = settings.enabled && settings.on_missing == OnMissing::Fail;
        anyhow::ensure!(!is_needed || is_there, "{} is missing, and on_missing = \"fail\" stands in its settings", file.display());
    }
    let files = Arc::new(Mutex::new(files));
    let mut host = Host::start(options, move || files.lock().unwrap_or_else(|e| e.into_inner()).look()).await?;
    host.take_orders(&socket).with_context(|| format!("no orders could be taken over {}", socket.display()))?;
    let (look_again, certificates) = (host.look_again.clone(), Arc::new(Notify::new()));
    let reload = certificates.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: looking at the files again");
            look_again.notify_one();
            reload.notify_one();
        }
    });
    let address = listener.local_addr()?;
    let served = match tls {
        Some(tls) => {
            tracing::info!(%address, "serving HTTPS");
            host.serve_tls(listener, tls, certificates, super::stopped()).await
        }
        None => {
            tracing::info!(%address, "serving");
            host.serve(listener, super::stopped()).await
        }
    };
    host.log_out().await;
    served
}

fn clusters(config: &Config) -> Vec<ClusterInfo> {
    let one = |(name, c): (&String, &crate::config::Cluster)| ClusterInfo {
        name: name.clone(),
        region: c.region.clone(),
        description: c.description.clone(),
    };
    config.clusters.iter().map(one).collect()
}

fn facilities(config: &Config) -> Vec<Facility> {
    let one = |(name, f): (&String, &crate::config::FacilityConfig)| Facility {
        name: name.clone(),
        clusters: f.clusters.clone(),
        meters: f.meters.clone(),
        power_watts: f.power_watts,
    };
    config.facility.iter().map(one).collect()
}

/// The operator's files and what was last good of them.
struct Files {
    path: PathBuf,
    config: Config,
    /// Of the address that it listens on, which a change of the file does not change.
    is_loopback: bool,
    loader: Loader,
    log: Given,
}

impl Files {
    fn look(&mut self) -> Look {
        let mut problems = Vec::new();
        match Config::load(&self.path, std::env::vars()) {
            Ok(config) => {
                for key in config.needs_restart(&self.config) {
                    tracing::warn!(key, "changed in the configuration; it counts after a restart");
                }
                if let Err(error) = self.log.change(&config.log) {
                    problems.push(format!("{error:#}"));
                }
                self.config = config;
            }
            Err(error) => problems.extend(error.0),
        }
        let look = self.loader.look(&self.config);
        problems.extend(look.problems);
        let reports = self.config.report_settings().map_err(|problem| problems.push(problem)).ok();
        let mut directories = look.directories;
        directories.extend(self.path.parent().map(Path::to_owned));
        directories.extend(self.config.trust_directories());
        Look {
            settings: look.settings,
            problems,
            directories,
            clusters: Some(clusters(&self.config)),
            facilities: Some(facilities(&self.config)),
            reports,
            plugins_memory: Some(self.config.plugins.memory.0),
            forget_after: Some(self.config.inventory.forget_after.0),
            policy: Some(self.config.policy(self.is_loopback)),
            alerts: Some(look.alerts),
        }
    }
}
