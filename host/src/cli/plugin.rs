//! `plugin`: what lies in a directory, what it asks for, and whether it would run.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use crate::catalogue::Catalogue;
use crate::config::{Config, Loader};
use crate::plugins::capabilities::{Commons, RIGHTS, Shared};
use crate::plugins::engine::MAX_COMPONENT;
use crate::plugins::generation::{Compiled, Generation};
use crate::plugins::{Runtime, Settings, watch};

const CONFIG: &str = "/etc/kcloud-monitor/kcloud-monitor.toml";

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Lists components and settings: version, trust, rights asked and granted, and why one would not run.
    List {
        #[arg(long, env = "KCLOUD_CONFIG", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Says what a component asks for and what its digest is, without running it.
    Inspect { file: PathBuf },
    /// Compiles, links with its grants, asks it what it is and checks its `[config]`; reads no target. Exit status 2 when
    /// something is wrong.
    Check {
        /// A plugin's name, or a component's file.
        name: String,
        #[arg(long, env = "KCLOUD_CONFIG", default_value = CONFIG)]
        config: PathBuf,
    },
}

pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Inspect { file } => inspect(&file)?,
        Command::List { config } => {
            let (config, all) = settings(&config)?;
            let runtime = Arc::new(Runtime::new(None)?);
            for settings in all {
                let granted: Vec<&str> = RIGHTS.into_iter().filter(|r| settings.grants.holds(r)).collect();
                let head = format!("{}  targets {}  granted {}", settings.name, settings.targets.len(), words(&granted));
                match load(&runtime, &config, &settings).await {
                    Ok(g) => println!(
                        "{head}  version {}  trust {:?}  asks {}  sha256 {}",
                        g.info.version,
                        g.trust,
                        words(&g.rights_asked),
                        g.digest
                    ),
                    Err(error) => println!("{head}  would not run: {error:#}"),
                }
            }
        }
        Command::Check { name, config } => {
            let (config, all) = settings(&config)?;
            let file = Path::new(&name);
            let stem = file.file_stem().and_then(|n| n.to_str()).unwrap_or(&name);
            let mut settings = all.into_iter().find(|s| s.name == stem).unwrap_or_else(|| Settings::bare(stem));
            let mut config = config;
            if name.ends_with(".wasm") {
                config.plugins.dir = file.parent().map(Path::to_owned).unwrap_or_default();
                settings.component = stem.to_owned();
            }
            match load(&Arc::new(Runtime::new(None)?), &config, &settings).await {
                Ok(g) => println!("{}: version {} would run; {} targets", settings.name, g.info.version, settings.targets.len()),
                Err(error) => {
                    eprintln!("{}: {error:#}", settings.name);
                    return Ok(ExitCode::from(2));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn words(all: &[impl AsRef<str>]) -> String {
    match all.is_empty() {
        true => "nothing".to_owned(),
        false => all.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(","),
    }
}

/// Configured plugins, and components that nobody configured.
fn settings(path: &Path) -> anyhow::Result<(Config, Vec<Settings>)> {
    let config = Config::load(path, std::env::vars())?;
    let look = Loader::default().look(&config);
    look.problems.iter().for_each(|p| eprintln!("{p}"));
    let mut all = look.settings;
    let dir = &config.plugins.dir;
    for found in watch::scan(dir, MAX_COMPONENT).with_context(|| format!("plugins directory {}", dir.display()))? {
        if !all.iter().any(|s| s.component == found.name) {
            all.push(Settings::bare(&found.name));
        }
    }
    Ok((config, all))
}

async fn load(runtime: &Arc<Runtime>, config: &Config, settings: &Settings) -> anyhow::Result<Generation> {
    let file = config.plugins.dir.join(format!("{}.wasm", settings.component));
    let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let compiled = Compiled::new(runtime, &settings.component, &bytes)?;
    let (limits, grants, credentials) = (settings.limits.clone(), settings.grants.clone(), settings.credentials.clone());
    // A check writes nothing: there is no store.
    let shared = Shared::new(&settings.name, limits, grants, credentials, Commons::new()?, None, Arc::default());
    let (runtime, config) = (runtime.clone(), settings.config.clone());
    let handle = runtime.handle();
    let building = async move { Generation::new(runtime, &Catalogue::default(), compiled, shared, &config, 1, 0).await };
    Ok(handle.spawn(building).await??)
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

/// Fills the code cache; what is wrong goes to standard error in one line.
pub(super) fn compile(cache_dir: &Path) -> anyhow::Result<ExitCode> {
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_COMPONENT + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= MAX_COMPONENT, "more than {MAX_COMPONENT} bytes");
    match Runtime::new(Some(cache_dir))?.compile(&bytes) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::from(2))
        }
    }
}
