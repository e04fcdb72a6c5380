//! `user` and `token`: who may ask, and what for. They work on the data directory; a running host takes a change.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::{Auth, Scope};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Adds a user; the password is read from standard input.
    Add {
        #[arg(long)]
        data_dir: PathBuf,
        name: String,
        /// What the user may do.
        #[arg(long, value_delimiter = ',', default_value = "read,export")]
        scopes: Vec<Scope>,
    },
    /// Changes a user's password, which is read from standard input.
    Passwd {
        #[arg(long)]
        data_dir: PathBuf,
        name: String,
    },
    /// Removes a user; tokens of the user end at once.
    Remove {
        #[arg(long)]
        data_dir: PathBuf,
        name: String,
    },
    /// Lists users and what they may do.
    List {
        #[arg(long)]
        data_dir: PathBuf,
    },
}

#[derive(clap::Subcommand)]
pub(super) enum TokenCommand {
    /// Makes an API key and prints it this once.
    Create {
        #[arg(long)]
        data_dir: PathBuf,
        /// What it is for.
        name: String,
        #[arg(long, value_delimiter = ',', default_value = "read")]
        scopes: Vec<Scope>,
        /// It ends after so many days; without, when it is revoked.
        #[arg(long)]
        days: Option<u64>,
    },
    /// Lists API keys, never the keys themselves.
    List {
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// Ends an API key.
    Revoke {
        #[arg(long)]
        data_dir: PathBuf,
        id: String,
    },
}

/// One line of standard input.
pub(super) fn password() -> std::io::Result<String> {
    let mut password = String::new();
    std::io::stdin().read_line(&mut password)?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

fn open(data_dir: &std::path::Path) -> anyhow::Result<Auth> {
    let (auth, first) = Auth::open(data_dir)?;
    if let Some(first) = first {
        eprintln!("New data directory. User {:?}, password {:?}: shown this once.", first.user, first.password);
    }
    Ok(auth)
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add { data_dir, name, scopes } => {
            let auth = open(&data_dir)?;
            anyhow::ensure!(!auth.users().contains_key(&name), "there is a user {name:?} already; `user passwd` changes the password");
            auth.add(&name, &password()?, &scopes)?;
            println!("{name}: added");
        }
        Command::Passwd { data_dir, name } => {
            open(&data_dir)?.set_password(&name, &password()?)?;
            println!("{name}: password set");
        }
        Command::Remove { data_dir, name } => anyhow::ensure!(open(&data_dir)?.remove(&name)?, "there is no user {name:?}"),
        Command::List { data_dir } => {
            for (name, scopes) in open(&data_dir)?.users() {
                println!("{name}  {}", join(&scopes));
            }
        }
    }
    Ok(())
}

fn join(scopes: &[Scope]) -> String {
    scopes.iter().map(|s| s.name()).collect::<Vec<_>>().join(",")
}

pub(super) fn tokens(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { data_dir, name, scopes, days } => {
            let life = days.map(|d| Duration::from_secs(d.saturating_mul(86_400)));
            let (id, key) = open(&data_dir)?.create_key(&name, &scopes, life)?;
            println!("{key}");
            eprintln!("API key {id}, shown this once: `Authorization: Bearer KEY`");
        }
        TokenCommand::List { data_dir } => {
            for key in open(&data_dir)?.keys() {
                let end = key.expires_at.map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {at}"));
                println!("{}  {}  {}  {end}", key.id, key.name, join(&key.scopes));
            }
        }
        TokenCommand::Revoke { data_dir, id } => anyhow::ensure!(open(&data_dir)?.revoke_key(&id)?, "there is no API key {id:?}"),
    }
    Ok(())
}
