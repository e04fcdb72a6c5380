//! `config`: the sample, a check, and what is in force with where each value came from.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, Loader};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Writes the commented sample.
    Init,
    /// Checks the file, every plugins.d/NAME.toml, and each `[config]` by the component that it is for; exit status 2 when something is
    /// wrong.
    Check { path: PathBuf },
    /// Writes the configuration that is in force.
    Print {
        path: PathBuf,
        /// With where each value came from: file and line, variable, or default.
        #[arg(long)]
        show_origin: bool,
    },
}

pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init => print!("{}", include_str!("../../../config/kcloud-monitor.toml")),
        Command::Check { path } => {
            let faults = match Config::load(&path, std::env::vars()) {
                Err(error) => error.0,
                Ok(config) => {
                    let look = Loader::default().look(&config);
                    let (wrong, missing) = super::plugin::check_configs(&config, &look.settings).await?;
                    missing.iter().for_each(|said| println!("{said}"));
                    look.problems.into_iter().chain(wrong).collect()
                }
            };
            if !faults.is_empty() {
                faults.iter().for_each(|f| eprintln!("{f}"));
                return Ok(ExitCode::from(2));
            }
            println!("ok");
        }
        Command::Print { path, show_origin } => match Config::origins(&path, std::env::vars()) {
            Err(error) => {
                eprintln!("{error}");
                return Ok(ExitCode::from(2));
            }
            Ok(keys) => {
                for key in keys {
                    match show_origin {
                        true => println!("{} = {}  # {}", key.name, key.value, key.origin),
                        false => println!("{} = {}", key.name, key.value),
                    }
                }
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}
