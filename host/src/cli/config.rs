//! `config`: the sample, a check, and what is in force with where each value came from.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, Loader};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Writes the commented sample.
    Init,
    /// Checks the file and every plugins.d/NAME.toml; exit status 2 when something is wrong.
    Check { path: PathBuf },
    /// Writes the configuration that is in force.
    Print {
        path: PathBuf,
        /// With where each value came from: file and line, variable, or default.
        #[arg(long)]
        show_origin: bool,
    },
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init => print!("{}", include_str!("../../../config/kcloud-monitor.toml")),
        Command::Check { path } => {
            let faults = match Config::load(&path, std::env::vars()) {
                Err(error) => error.0,
                Ok(config) => Loader::default().look(&config).problems,
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
