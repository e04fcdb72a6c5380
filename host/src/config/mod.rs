//! The operator's files, read once into checked values. Errors carry file, line, column and what is allowed.

mod plugin;
mod unit;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::history::Keep;

pub use plugin::{PluginFile, load_plugins};
pub use unit::{Bytes, Period};

/// What is wrong with a file, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// `kcloud-monitor.toml`; every key with its default stands in `config/kcloud-monitor.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data_dir: PathBuf,
    pub server: Server,
    pub clusters: BTreeMap<String, Cluster>,
    pub plugins: Plugins,
    pub inventory: InventoryConfig,
    pub history: HistoryConfig,
    pub credentials: BTreeMap<String, Credential>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    pub listen: SocketAddr,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    pub region: Option<String>,
    pub description: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    pub dir: PathBuf,
    pub config_dir: PathBuf,
    pub cache_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InventoryConfig {
    pub forget_after: Period,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// Of raw points; of rollups by the minute and by the hour.
    pub retention: Period,
    pub retention_minutes: Period,
    pub retention_hours: Period,
    pub max_bytes: Bytes,
}

impl HistoryConfig {
    pub fn keep(&self) -> Keep {
        Keep { raw: self.retention.0, minutes: self.retention_minutes.0, hours: self.retention_hours.0, max_bytes: self.max_bytes.0 as u64 }
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        let Keep { raw, minutes, hours, max_bytes } = Keep::default();
        Self {
            retention: Period(raw),
            retention_minutes: Period(minutes),
            retention_hours: Period(hours),
            max_bytes: Bytes(max_bytes as usize),
        }
    }
}

/// A secret that the host adds to requests to `origins`; never seen by a plugin. One of `bearer_file` and
/// `username` with `password_file`; the files are read at each use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    pub origins: Vec<String>,
    pub bearer_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "/var/lib/kcloud-monitor".into(),
            server: Server::default(),
            clusters: BTreeMap::from([("default".to_owned(), Cluster::default())]),
            plugins: Plugins::default(),
            inventory: InventoryConfig::default(),
            history: HistoryConfig::default(),
            credentials: BTreeMap::new(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8001)) }
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self { dir: "/var/lib/kcloud-monitor/plugins".into(), config_dir: "/etc/kcloud-monitor/plugins.d".into(), cache_dir: None }
    }
}

impl Default for InventoryConfig {
    fn default() -> Self {
        Self { forget_after: Period(std::time::Duration::from_secs(7 * 86_400)) }
    }
}

impl Config {
    /// Reads the file, then `KCLOUD_SECTION__KEY` from the environment over it.
    pub fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let fail = |e: String| ConfigError(vec![e]);
        let text = std::fs::read_to_string(path).map_err(|e| fail(format!("{}: {e}", path.display())))?;
        let checked: Self = parse(path, &text)?;
        let mut table: toml::Table = parse(path, &text)?;
        let mut changed = false;
        for (name, value) in environment {
            let Some(key) = name.strip_prefix("KCLOUD_").filter(|k| k.contains("__")) else { continue };
            let parts: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
            let (last, sections) = parts.split_last().ok_or_else(|| fail(format!("{name}: no key")))?;
            let mut at = &mut table;
            for section in sections {
                let next = at.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                at = next.as_table_mut().ok_or_else(|| fail(format!("{name}: {section} is no section")))?;
            }
            at.insert(last.clone(), toml::Value::String(value));
            changed = true;
        }
        let config = match changed {
            false => checked,
            true => table.try_into().map_err(|e: toml::de::Error| fail(format!("environment: {}", e.message())))?,
        };
        let h = &config.history;
        if h.retention.0 > h.retention_minutes.0 || h.retention_minutes.0 > h.retention_hours.0 {
            return Err(fail(format!(
                "{}: [history] what is finer is kept no longer than what is coarser: retention, retention_minutes, retention_hours",
                path.display()
            )));
        }
        if config.clusters.is_empty() {
            return Err(fail(format!("{}: at least one [clusters.NAME] is needed", path.display())));
        }
        Ok(config)
    }
}

/// Parses a file; an error says where, in the file's own terms.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|e| {
        let at = e.span().map_or(0, |s| s.start.min(text.len()));
        let before = &text[..text.floor_char_boundary(at)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let message = e.message();
        ConfigError(vec![format!("{}:{line}:{column}: {message}{}", path.display(), suggestion(message))])
    })
}

/// The nearest of the allowed names, where serde lists them.
fn suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(given) = quoted.next().filter(|_| message.starts_with("unknown field")) else { return String::new() };
    let nearest = quoted.map(|name| (distance(given, name), name)).min();
    nearest.filter(|(d, _)| *d <= 2).map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// Edits from one word to another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kcloud-monitor.toml");
        std::fs::write(&path, text).unwrap();
        let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Config::load(&path, environment).map_err(|e| e.to_string())
    }

    #[test]
    fn a_misspelt_key_says_where_and_what_it_might_be() {
        let error = load("[server]\nlisten = \"127.0.0.1:1\"\n[plugins]\ndirr = \"x\"\n", &[]).unwrap_err();
        assert!(error.contains("kcloud-monitor.toml:4:1:") && error.contains("did you mean `dir`"), "{error}");
    }

    #[test]
    fn a_bad_value_says_where() {
        let error = load("[server]\nlisten = \"nowhere\"\n", &[]).unwrap_err();
        assert!(error.contains(":2:10:"), "{error}");
        let error = load("[inventory]\nforget_after = \"7\"\n", &[]).unwrap_err();
        assert!(error.contains("unit"), "{error}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config =
            load("[server]\nlisten = \"127.0.0.1:1\"\n", &[("KCLOUD_SERVER__LISTEN", "127.0.0.1:2"), ("KCLOUD_OTHER", "x")]).unwrap();
        assert_eq!(config.server.listen.port(), 2);
        assert!(load("", &[("KCLOUD_SERVER__LISTN", "127.0.0.1:2")]).unwrap_err().contains("listn"));
    }

    #[test]
    fn every_key_of_the_sample_with_its_comment_taken_off_is_the_default() {
        let sample = include_str!("../../../config/kcloud-monitor.toml");
        let uncommented: String = sample.lines().map(|l| l.strip_prefix("#: ").unwrap_or(l)).fold(String::new(), |s, l| s + l + "\n");
        assert_ne!(uncommented, sample);
        let config = load(&uncommented, &[]).unwrap();
        let default = Config::default();
        assert_eq!(
            (config.server.listen, config.data_dir, config.plugins.dir),
            (default.server.listen, default.data_dir, default.plugins.dir)
        );
        assert_eq!(
            (config.plugins.config_dir, config.inventory.forget_after),
            (default.plugins.config_dir, default.inventory.forget_after)
        );
        assert_eq!(config.history, default.history);
        load(sample, &[]).unwrap();
    }
}
