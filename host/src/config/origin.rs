//! Where each value comes from: a line of the file, a variable of the environment, or the default.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Config, ConfigError};

/// Keys that end in `_file` themselves: such a variable is the key, not a file that holds its value.
const FILE_KEYS: [&str; 6] = ["bearer_file", "ca_file", "certificate_file", "key_file", "password_file", "secret_file"];
/// Keys outside any section that a variable may give.
const TOP: [&str; 1] = ["data_dir"];

/// One variable that gives a key.
pub(super) struct Variable {
    pub name: String,
    pub path: Vec<String>,
    pub value: String,
}

impl Variable {
    /// The table with this value in it.
    pub(super) fn put(&self, table: &toml::Table, value: toml::Value) -> Result<toml::Table, ConfigError> {
        let mut next = table.clone();
        let mut at = &mut next;
        let Some((last, sections)) = self.path.split_last() else { return Ok(next) };
        for section in sections {
            let inner = at.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            at = inner.as_table_mut().ok_or_else(|| ConfigError(vec![format!("{}: {section} is no section", self.name)]))?;
        }
        at.insert(last.clone(), value);
        Ok(next)
    }
}

/// The variables that give keys, in order of their names.
pub(super) fn variables(environment: impl Iterator<Item = (String, String)>) -> Result<Vec<Variable>, ConfigError> {
    let mut found: BTreeMap<Vec<String>, Variable> = BTreeMap::new();
    for (name, value) in environment {
        let Some(key) = name.strip_prefix("KCLOUD_") else { continue };
        let lower = key.to_ascii_lowercase();
        let mut path: Vec<String> = lower.split("__").map(str::to_owned).collect();
        if path.len() < 2 && !TOP.contains(&lower.trim_end_matches("_file")) {
            continue;
        }
        let mut value = value;
        let last = path.last().cloned().unwrap_or_default();
        if let Some(plain) = last.strip_suffix("_file").filter(|_| !FILE_KEYS.contains(&last.as_str())) {
            let text = std::fs::read_to_string(&value).map_err(|e| ConfigError(vec![format!("{name}: {value}: {e}")]))?;
            value = text.trim_end_matches(['\r', '\n']).to_owned();
            path.pop();
            path.push(plain.to_owned());
        }
        let given = Variable { name: name.clone(), path: path.clone(), value };
        if let Some(other) = found.insert(path, given) {
            return Err(ConfigError(vec![format!("{name} and {} give one key: one of them, not both", other.name)]));
        }
    }
    Ok(found.into_values().collect())
}

/// One key of the configuration that is in force.
pub struct Key {
    /// With dots between sections.
    pub name: String,
    /// As TOML.
    pub value: String,
    pub origin: String,
}

impl Config {
    /// Every key with where it came from. No secret is among them: the configuration names files.
    pub fn origins(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Vec<Key>, ConfigError> {
        let environment: Vec<(String, String)> = environment.collect();
        let config = Self::load(path, environment.clone().into_iter())?;
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError(vec![format!("{}: {e}", path.display())]))?;
        let mut origins: BTreeMap<String, String> = BTreeMap::new();
        if let Ok(table) = DeTable::parse(&text) {
            lines(table.get_ref(), "", &mut |key, at| {
                origins.insert(key, line(path, &text, at));
            });
        }
        for v in variables(environment.into_iter())? {
            origins.insert(v.path.join("."), v.name);
        }
        let wrong = |e: toml::ser::Error| ConfigError(vec![e.to_string()]);
        let mut all = Vec::new();
        values(&toml::Value::try_from(&config).map_err(wrong)?, "", &mut |name, value| {
            let origin = origins.get(&name).cloned().unwrap_or_else(|| "default".to_owned());
            all.push(Key { name, value: value.to_string(), origin });
        });
        Ok(all)
    }
}

/// Where a key stands: the variable that gives it, else file and line.
pub(super) fn place(path: &Path, text: &str, variables: &[Variable], key: &str) -> String {
    if let Some(variable) = variables.iter().find(|v| v.path.join(".") == key) {
        return variable.name.clone();
    }
    let mut found = path.display().to_string();
    if let Ok(table) = DeTable::parse(text) {
        lines(table.get_ref(), "", &mut |name, at| {
            if name == key {
                found = line(path, text, at);
            }
        });
    }
    found
}

fn line(path: &Path, text: &str, at: usize) -> String {
    format!("{}:{}", path.display(), text[..at].matches('\n').count() + 1)
}

fn join(head: &str, key: &str) -> String {
    if head.is_empty() { key.to_owned() } else { format!("{head}.{key}") }
}

fn lines(table: &DeTable<'_>, head: &str, found: &mut impl FnMut(String, usize)) {
    for (key, value) in table {
        let name = join(head, key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => lines(inner, &name, found),
            _ => found(name, key.span().start),
        }
    }
}

fn values(value: &toml::Value, head: &str, found: &mut impl FnMut(String, &toml::Value)) {
    match value.as_table() {
        Some(table) => table.iter().for_each(|(key, inner)| values(inner, &join(head, key), found)),
        None => found(head.to_owned(), value),
    }
}
