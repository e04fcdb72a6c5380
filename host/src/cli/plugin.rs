//! `plugin`: what lies in a directory, what it asks for, and whether it would run.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use super::order;
use crate::catalogue::Catalogue;
use crate::config::approve::{self, Approval, Http};
use crate::config::{Config, Loader};
use crate::plugins::approval;
use crate::plugins::capabilities::{Commons, RIGHTS, Shared};
use crate::plugins::engine::MAX_COMPONENT;
use crate::plugins::generation::{Compiled, Generation, LoadError};
use crate::plugins::verify::{Candidate, ContentDigest, Policy, Refusal, Verified};
use crate::plugins::{Runtime, Settings, watch};

pub(super) const CONFIG: &str = "/etc/kcloud-monitor/kcloud-monitor.toml";

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Lists components and settings: version, trust, rights asked and granted, and why one would not run.
    List {
        #[arg(long, env = "KCLOUD_CONFIG", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Says what a component asks for, what its digest is and whether it is trusted, without running it.
    Inspect {
        file: PathBuf,
        /// By whose `[plugins]` trust and keys; default: the installed configuration, else none.
        #[arg(long, env = "KCLOUD_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Compiles, links with its grants, asks it what it is and checks its `[config]`; reads no target. Exit status 2 when
    /// something is wrong.
    Check {
        /// A plugin's name, or a component's file.
        name: String,
        #[arg(long, env = "KCLOUD_CONFIG", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Where the plugins of a running host stand.
    Status {
        name: Option<String>,
        #[arg(long)]
        json: bool,
        #[arg(long, env = "KCLOUD_CONFIG", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Says in plain words what a component asks for and grants it: writes `[grants]` of plugins.d/NAME.toml. Without a flag each
    /// right is granted in its narrowest form.
    Approve {
        name: String,
        /// `targets`, or origins and ranges beside them.
        #[arg(long, value_delimiter = ',')]
        http: Vec<String>,
        /// Absolute globs of files that it may read.
        #[arg(long, value_delimiter = ',')]
        files: Vec<String>,
        /// Says what would be granted and writes nothing.
        #[arg(long)]
        dry_run: bool,
        #[arg(long, env = "KCLOUD_CONFIG", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Brings the version before back on a running host, and quarantines the one that runs.
    Rollback(Order),
    /// Tries again what was refused or quarantined on a running host.
    Reload(Order),
    /// Switches a plugin of a running host off, over restarts.
    Disable(Order),
    /// Switches it on again.
    Enable(Order),
    #[command(flatten)]
    Sign(super::sign::Command),
}

#[derive(clap::Args)]
pub(super) struct Order {
    name: String,
    #[arg(long, env = "KCLOUD_CONFIG", default_value = CONFIG)]
    config: PathBuf,
}

pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status { name, json, config } => return order::status(&config, name.as_deref(), json).await,
        Command::Rollback(o) => return order::order(&o.config, &o.name, "rollback").await,
        Command::Reload(o) => return order::order(&o.config, &o.name, "reload").await,
        Command::Disable(o) => return order::order(&o.config, &o.name, "disable").await,
        Command::Enable(o) => return order::order(&o.config, &o.name, "enable").await,
        Command::Approve { name, http, files, dry_run, config } => return approve(&config, &name, http, files, dry_run),
        Command::Sign(command) => return super::sign::run(command),
        Command::Inspect { file, config } => inspect(&file, config)?,
        Command::List { config } => {
            let (config, all) = settings(&config)?;
            let runtime = Arc::new(Runtime::new(None)?);
            for settings in all {
                let (dir, dev_dir) = (&config.plugins.dir, config.plugins.dev_dir.as_deref());
                let found = watch::find(dir, dev_dir, settings.component.clone(), MAX_COMPONENT);
                let granted: Vec<&str> = RIGHTS.into_iter().filter(|r| settings.grants.holds(r)).collect();
                let head = format!("{}  targets {}  granted {}", settings.name, settings.targets.len(), words(&granted));
                match load(&runtime, &config, &settings, found.read).await {
                    Ok(g) => println!(
                        "{head}  version {}  trust {}  asks {}  sha256 {}",
                        g.info.version,
                        g.admission.load().trust,
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
            let settings = all.into_iter().find(|s| s.name == stem).unwrap_or_else(|| Settings::bare(stem));
            let dev_dir = config.plugins.dev_dir.as_deref();
            let read = match name.ends_with(".wasm") {
                true => watch::at(file, dev_dir, MAX_COMPONENT),
                false => watch::find(&config.plugins.dir, dev_dir, settings.component.clone(), MAX_COMPONENT).read,
            };
            match load(&Arc::new(Runtime::new(None)?), &config, &settings, read).await {
                Ok(g) => {
                    println!("{}: version {} would run; {} targets", settings.name, g.info.version, settings.targets.len());
                    let admission = g.admission.load();
                    println!("trust {}: {}", admission.trust, admission.rule);
                }
                Err(error) => {
                    faults(&settings, &error).iter().for_each(|fault| eprintln!("{fault}"));
                    return Ok(ExitCode::from(2));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn approve(path: &Path, name: &str, http: Vec<String>, files: Vec<String>, is_dry: bool) -> anyhow::Result<ExitCode> {
    let (config, all) = settings(path)?;
    let settings =
        all.into_iter().find(|s| s.name == name).with_context(|| format!("no plugin {name:?} is configured or lies in the directory"))?;
    let found = watch::find(&config.plugins.dir, config.plugins.dev_dir.as_deref(), settings.component.clone(), MAX_COMPONENT);
    let candidate = found.read.map_err(|e| anyhow::anyhow!("{}.wasm: {e}", settings.component))?;
    // It is looked at, not run: what stands for it is for `plugin verify` to say.
    let compiled = Compiled::new(&Runtime::new(None)?, &Verified::vouched(&settings.component, candidate.bytes)?)?;
    println!("{name}, sha256 {}, asks to", compiled.admission.digest());
    let mut missing = Vec::new();
    for right in compiled.rights_asked.iter().filter(|r| RIGHTS.contains(&r.as_str())) {
        let is_granted = settings.grants.holds(right);
        println!("  {right}: {}{}", approval::in_words(right), if is_granted { " (granted)" } else { "" });
        if !is_granted {
            missing.push(right.clone());
        }
    }
    if is_dry {
        return Ok(ExitCode::SUCCESS);
    }
    let given = Approval {
        http: match http.as_slice() {
            [] => None,
            [word] if word == "targets" => Some(Http::Word(word.clone())),
            _ => Some(Http::Origins(http)),
        },
        files: (!files.is_empty()).then_some(files),
        ..Approval::default()
    };
    match approve::grant(&config.plugins.config_dir, name, &missing, given) {
        Ok(granted) => println!("granted: {granted}"),
        Err(why) => {
            eprintln!("{name}: {why}");
            return Ok(ExitCode::from(2));
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
    for found in watch::scan(dir, config.plugins.dev_dir.as_deref(), MAX_COMPONENT)
        .with_context(|| format!("plugins directory {}", dir.display()))?
    {
        if !all.iter().any(|s| s.component == found.name) {
            all.push(Settings::bare(&found.name));
        }
    }
    Ok((config, all))
}

/// What keeps a plugin from running, one line each.
fn faults(settings: &Settings, error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<LoadError>() {
        Some(error @ (LoadError::Config(_) | LoadError::Configure(_))) => settings.faults(error),
        _ => vec![format!("{}: {error:#}", settings.name)],
    }
}

/// What is wrong with the `[config]` of plugins whose components lie in the directory, and the names of those whose do not. Where the
/// host that uses this configuration has compiled them before, that is quick.
pub(super) async fn check_configs(config: &Config, all: &[Settings]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let cache = Some(config.cache_dir()).filter(|dir| dir.is_dir());
    let runtime = Arc::new(Runtime::new(cache.as_deref())?);
    let (mut wrong, mut missing) = (Vec::new(), Vec::new());
    let has_config = |s: &&Settings| s.enabled && s.config.as_object().is_some_and(|c| !c.is_empty());
    for settings in all.iter().filter(has_config) {
        let found = watch::find(&config.plugins.dir, config.plugins.dev_dir.as_deref(), settings.component.clone(), MAX_COMPONENT);
        match found.read {
            Err(why) => missing.push(format!("{}: its [config] was not held against {}.wasm: {why}", settings.name, settings.component)),
            read => wrong.extend(load(&runtime, config, settings, read).await.err().iter().flat_map(|e| faults(settings, e))),
        }
    }
    Ok((wrong, missing))
}

async fn load(runtime: &Arc<Runtime>, config: &Config, settings: &Settings, read: Result<Candidate, String>) -> anyhow::Result<Generation> {
    let candidate = read.map_err(|e| anyhow::anyhow!("{}.wasm: {e}", settings.component))?;
    let compiled = Compiled::new(runtime, &policy(config).judge(&candidate, &settings.pins)?)?;
    let (limits, grants, credentials) = (settings.limits.clone(), settings.grants.clone(), settings.credentials.clone());
    // A check writes nothing: there is no store.
    let shared = Shared::new(&settings.name, limits, grants, credentials, Commons::new()?, None, Arc::default());
    let (runtime, config) = (runtime.clone(), settings.config.clone());
    let handle = runtime.handle();
    let building = async move { Generation::new(runtime, &Catalogue::default(), compiled, shared, &config, 1, 0).await };
    Ok(handle.spawn(building).await??)
}

fn policy(config: &Config) -> Policy {
    config.policy(config.server.listen.ip().is_loopback())
}

/// Reads a component's file and judges it as the host of this configuration would; without one, as a fresh one on loopback.
pub(super) fn judge(file: &Path, config: Option<&Path>) -> anyhow::Result<(Candidate, Result<Verified, Refusal>)> {
    let (config, all) = match config {
        Some(path) => settings(path)?,
        None => (Config::default(), Vec::new()),
    };
    let candidate =
        watch::at(file, config.plugins.dev_dir.as_deref(), MAX_COMPONENT).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
    let pins = all.into_iter().find(|s| s.component == candidate.name).map_or_else(Vec::new, |s| s.pins);
    let judged = policy(&config).judge(&candidate, &pins);
    Ok((candidate, judged))
}

fn inspect(file: &Path, config: Option<PathBuf>) -> anyhow::Result<()> {
    let config = config.or_else(|| Some(PathBuf::from(CONFIG)).filter(|c| c.is_file()));
    let (candidate, judged) = judge(file, config.as_deref())?;
    // It is looked at and serves nobody, so it need not be trusted.
    let compiled = Compiled::new(&Runtime::new(None)?, &Verified::vouched(&candidate.name, candidate.bytes)?)?;
    println!("sha256  {}", compiled.admission.digest());
    match judged {
        Ok(verified) => println!("trust   {}: {}", verified.admission().trust, verified.admission().rule),
        Err(refusal) => println!("trust   none; {refusal}"),
    }
    let rights: Vec<&str> = compiled.rights_asked.iter().map(String::as_str).filter(|r| *r != "types").collect();
    println!("asks    {}", rights.join(", "));
    println!("wasi    {}", compiled.wasi);
    Ok(())
}

/// Fills the code cache, within its limits and after everything else; what is wrong goes to standard error in one line.
pub(super) fn compile(cache_dir: &Path, memory: u64, seconds: u64) -> anyhow::Result<ExitCode> {
    use rustix::process::{Resource, Rlimit, nice, setrlimit};
    // CPU of all its threads: twice its wall time.
    let (most, seconds) = (Some(memory), Some(2 * seconds));
    setrlimit(Resource::Data, Rlimit { current: most, maximum: most })?;
    setrlimit(Resource::Cpu, Rlimit { current: seconds, maximum: seconds })?;
    nice(10)?;
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_COMPONENT + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= MAX_COMPONENT, "more than {MAX_COMPONENT} bytes");
    match Runtime::new(Some(cache_dir))?.compile(ContentDigest::of(&bytes), &bytes) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::from(2))
        }
    }
}
