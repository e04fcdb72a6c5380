//! `plugins.d/NAME.toml`: one plugin's rights, limits, configuration and targets.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use serde::Deserialize;

use super::targets::{self, LastGood, TargetFiles};
use super::{Bytes, Config, ConfigError, Credential, Period, parse};
use crate::plugins::capabilities::http_policy::Policy;
use crate::plugins::capabilities::{Credential as Attached, Grants};
use crate::plugins::contract::Target;
use crate::plugins::{OnMissing, Settings};

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginFile {
    component: Option<String>,
    /// Digests of the component that are trusted.
    sha256: Pins,
    enabled: Option<bool>,
    interval: Option<Period>,
    timeout: Option<Period>,
    priority: i32,
    grants: GrantsFile,
    limits: LimitsFile,
    config: toml::Table,
    targets: Vec<TargetFile>,
    target_files: TargetFiles,
    on_missing: OnMissing,
    shadow: u32,
    return_after: Option<u32>,
}

/// One, or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Pins {
    One(String),
    Many(Vec<String>),
}

impl Default for Pins {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GrantsFile {
    /// `"targets"`, or a list of origins beside them.
    http: Option<HttpGrant>,
    files: Option<Vec<String>>,
    state: bool,
    ipmi: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum HttpGrant {
    Word(String),
    Origins(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    cpu: Option<Period>,
    memory: Option<Bytes>,
    output: Option<Bytes>,
    http_body: Option<Bytes>,
    table_elements: Option<usize>,
    points: Option<usize>,
    subjects: Option<usize>,
    labels_per_subject: Option<usize>,
    log_lines: Option<u32>,
    instances: Option<usize>,
}

/// One target as it is written, here or in a file of targets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetFile {
    pub(super) id: String,
    pub(super) address: String,
    pub(super) cluster: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) credential: Option<String>,
    pub(super) interval: Option<Period>,
    #[serde(default)]
    pub(super) config: toml::Table,
}

/// Reads the directory of plugins' settings again and again, and remembers what was good.
#[derive(Default)]
pub struct Loader {
    settings: BTreeMap<PathBuf, Settings>,
    targets: LastGood,
}

/// What one look found: each file with what is wrong with it, and directories whose change matters.
pub struct Look {
    pub settings: Vec<Settings>,
    pub problems: Vec<String>,
    pub directories: Vec<PathBuf>,
}

impl Loader {
    /// Reads every `*.toml`. One bad file never spoils another, and leaves its last good settings in force.
    pub fn look(&mut self, config: &Config) -> Look {
        let dir = &config.plugins.config_dir;
        let mut look = Look { settings: Vec::new(), problems: Vec::new(), directories: vec![dir.clone()] };
        if let Some(dev_dir) = config.plugins.dev_dir.as_ref().filter(|d| !d.is_dir()) {
            look.problems.push(format!("[plugins] dev_dir: {} is no directory", dev_dir.display()));
        }
        let entries = std::fs::read_dir(dir).and_then(|all| all.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>());
        match entries {
            Err(error) => look.problems.push(format!("{}: {error}; the last settings stay", dir.display())),
            Ok(paths) => {
                let named =
                    |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.ends_with(".toml") && !n.starts_with('.'));
                let files: Vec<PathBuf> = paths.into_iter().filter(named).collect();
                self.settings.retain(|path, _| files.contains(path));
                for path in files {
                    let read = std::fs::read_to_string(&path).map_err(|e| ConfigError(vec![format!("{}: {e}", path.display())]));
                    let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or("").to_owned();
                    match read.and_then(|text| settings(&name, &path, &text, config, &mut self.targets, &mut look)) {
                        Ok(settings) => drop(self.settings.insert(path, settings)),
                        Err(error) => look.problems.extend(error.0),
                    }
                }
            }
        }
        look.settings = self.settings.values().cloned().collect();
        look
    }
}

fn settings(
    name: &str,
    path: &Path,
    text: &str,
    config: &Config,
    last_good: &mut LastGood,
    look: &mut Look,
) -> Result<Settings, ConfigError> {
    let file: PluginFile = parse(path, text)?;
    let mut errors = Vec::new();
    let mut wrong = |text: String| errors.push(format!("{}: {text}", path.display()));
    let bare = Settings::bare(name);
    let component = file.component.unwrap_or_else(|| format!("{name}.wasm"));
    let stem = component.strip_suffix(".wasm").unwrap_or(&component).to_owned();
    if stem.is_empty() || stem.starts_with('.') || stem.contains(['/', '\\']) {
        wrong(format!("component = {component:?}: a file name in the plugins directory is expected"));
    }
    let pins = match file.sha256 {
        Pins::One(digest) => vec![digest],
        Pins::Many(digests) => digests,
    };
    let pins = pins.iter().filter_map(|d| d.parse().map_err(|e| wrong(format!("sha256: {e}"))).ok()).collect();
    let (from_files, problems) = targets::read(&file.target_files, last_good);
    look.problems.extend(problems);
    look.directories.extend(targets::directories(&file.target_files));
    let default_cluster = config.clusters.keys().next().map_or("default", String::as_str);
    let mut targets: Vec<(Target, Option<std::time::Duration>)> = Vec::new();
    for t in file.targets.into_iter().chain(from_files) {
        if t.id.is_empty() || t.id.len() > 256 || t.id.chars().any(char::is_control) {
            wrong(format!("target {:?}: an id has 1 to 256 bytes and no control characters", t.id));
        }
        if targets.iter().any(|(other, _)| other.id == t.id) {
            wrong(format!("target {:?} stands twice", t.id));
        }
        let cluster = t.cluster.unwrap_or_else(|| default_cluster.to_owned());
        if !config.clusters.contains_key(&cluster) {
            let known: Vec<&str> = config.clusters.keys().map(String::as_str).collect();
            wrong(format!("target {:?}: no [clusters.{cluster}] is configured; there are {}", t.id, known.join(", ")));
        }
        if let Some(c) = t.credential.as_ref().filter(|c| !config.credentials.contains_key(*c)) {
            wrong(format!("target {:?}: no [credentials.{c}] is configured", t.id));
        }
        let json = serde_json::to_string(&t.config).unwrap_or_else(|_| "{}".to_owned());
        let labels = t.labels.into_iter().collect();
        let target = Target { id: t.id, address: t.address, cluster, labels, credential: t.credential, config: json };
        targets.push((target, t.interval.map(|p| p.0)));
    }
    let addresses = targets.iter().map(|(t, _)| t.address.as_str());
    let http = match &file.grants.http {
        None => None,
        Some(HttpGrant::Word(word)) if word == "targets" => Some(Policy::new(addresses)),
        Some(HttpGrant::Word(word)) => {
            wrong(format!("[grants] http = {word:?}; allowed: \"targets\", or a list of origins such as [\"http://10.0.0.11:9400\"]"));
            None
        }
        Some(HttpGrant::Origins(origins)) => {
            for bad in origins.iter().filter_map(|o| Policy::entry(o).err()) {
                wrong(format!("[grants] http: {bad}"));
            }
            Some(Policy::new(addresses.chain(origins.iter().map(String::as_str))))
        }
    };
    let mut limits = bare.limits.clone();
    let l = file.limits;
    let set = |to: &mut usize, from: Option<usize>| *to = from.unwrap_or(*to);
    limits.cpu = l.cpu.map_or(limits.cpu, |p| p.0);
    set(&mut limits.memory, l.memory.map(|b| b.0));
    set(&mut limits.output_bytes, l.output.map(|b| b.0));
    set(&mut limits.http_body_bytes, l.http_body.map(|b| b.0));
    set(&mut limits.table_elements, l.table_elements);
    set(&mut limits.points, l.points);
    set(&mut limits.subjects, l.subjects);
    set(&mut limits.labels_per_subject, l.labels_per_subject);
    set(&mut limits.instances, l.instances);
    limits.log_lines = l.log_lines.unwrap_or(limits.log_lines);
    let plugin_config = serde_json::to_value(&file.config).map_err(|e| ConfigError(vec![format!("{}: [config]: {e}", path.display())]))?;
    if !errors.is_empty() {
        return Err(ConfigError(errors));
    }
    Ok(Settings {
        component: stem,
        pins,
        enabled: file.enabled.unwrap_or(true),
        interval: file.interval.map_or(bare.interval, |p| p.0),
        timeout: file.timeout.map_or(bare.timeout, |p| p.0),
        priority: file.priority,
        grants: Grants { http, files: file.grants.files, state: file.grants.state, ipmi: file.grants.ipmi },
        limits,
        on_missing: file.on_missing,
        shadow: file.shadow,
        return_after: file.return_after.unwrap_or(bare.return_after),
        clusters: config.clusters.keys().cloned().collect(),
        config: plugin_config,
        targets,
        credentials: config.credentials.iter().map(|(k, c)| (k.clone(), attach(c))).collect::<HashMap<_, _>>(),
        ..bare
    })
}

fn attach(credential: &Credential) -> Attached {
    let c = credential.clone();
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map(|s| s.trim_end().to_owned())
            .map_err(|e| format!("the credential's file cannot be read: {}", e.kind()))
    };
    let header = move || {
        let value = match (&c.bearer_file, &c.username, &c.password_file) {
            (Some(token), ..) => format!("Bearer {}", read(token)?),
            (None, Some(user), Some(password)) => {
                let pair = format!("{user}:{}", read(password)?);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            _ => return Err("the credential needs bearer_file, or username and password_file".to_owned()),
        };
        Ok(("authorization".to_owned(), value))
    };
    Attached { header: Arc::new(header), origins: credential.origins.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let mut look = Look { settings: vec![], problems: vec![], directories: vec![] };
        settings("p", Path::new("p.toml"), text, &Config::default(), &mut LastGood::default(), &mut look).map_err(|e| e.to_string())
    }

    #[test]
    fn a_whole_file_is_understood() {
        let s = read("interval = \"5s\"\nsha256 = \"00000000000000000000000000000000000000000000000000000000000000Ff\"\n[grants]\nhttp = \"targets\"\n[limits]\ncpu = \"20ms\"\nmemory = \"8MiB\"\n[config]\ntransport = \"scrape\"\n[[targets]]\nid = \"worker1\"\naddress = \"http://10.0.0.11:9400/metrics\"\nlabels = { node = \"worker1\" }\n").unwrap();
        assert_eq!((s.limits.memory, s.limits.cpu.as_millis(), s.interval.as_secs()), (8 << 20, 20, 5));
        assert_eq!(s.pins[0].to_string(), format!("{}ff", "0".repeat(62)));
        assert_eq!(s.config["transport"], "scrape");
        assert!(s.grants.http.unwrap().check("GET", "http://10.0.0.11:9400/metrics", &[]).is_ok());
    }

    #[test]
    fn every_fault_is_named() {
        for (text, expected) in [
            ("[grants]\nhttp = \"all\"\n", "allowed: \"targets\""),
            ("[[targets]]\nid = \"a\"\naddress = \"x\"\ncluster = \"nope\"\n", "no [clusters.nope]"),
            ("[[targets]]\nid = \"a\"\naddress = \"x\"\ncredential = \"c\"\n", "no [credentials.c]"),
            ("[[targets]]\nid = \"a\"\naddress = \"x\"\n[[targets]]\nid = \"a\"\naddress = \"y\"\n", "stands twice"),
            ("component = \"../x.wasm\"\n", "file name"),
            ("sha256 = [\"abc\"]\n", "64 hexadecimal digits"),
            ("[limits]\nmemory = \"64\"\n", "p.toml:2:10"),
            ("intervall = \"1s\"\n", "did you mean `interval`"),
        ] {
            let error = read(text).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
