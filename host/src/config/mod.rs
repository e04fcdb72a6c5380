//! The operator's files, read once into checked values. Errors carry file, line, column and what is allowed.

mod alerts;
pub mod approve;
mod beyond;
mod credential;
mod export;
mod keys;
mod limits;
mod origin;
mod plugin;
mod reach;
mod reports;
mod targets;
mod unit;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::WebOrigin;
use crate::history::Keep;
use crate::plugins::capabilities::tls;
use crate::plugins::limits::MemoryPool;
use crate::plugins::verify::{Demand, Key, Policy};
use crate::stream;

pub use alerts::{AlertmanagerConfig, AlertsConfig, WebhookConfig};
pub use beyond::{Backend, EngineConfig, RemoteWriteConfig};
pub use credential::{Credential, CredentialKind};
pub use export::ExportConfig;
pub(crate) use keys::one as public_key;
pub use plugin::{Loader, Look, PluginFile};
pub use reports::{HookConfig, ReportsConfig, ScheduleConfig};
pub use unit::{Bytes, Period};

/// What is wrong with a file, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// `kcloud-monitor.toml`; every key with its default stands in `config/kcloud-monitor.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data_dir: PathBuf,
    pub log: Log,
    pub server: Server,
    pub clusters: BTreeMap<String, Cluster>,
    pub facility: BTreeMap<String, FacilityConfig>,
    pub plugins: Plugins,
    pub inventory: InventoryConfig,
    pub stream: StreamConfig,
    pub history: HistoryConfig,
    pub alerts: AlertsConfig,
    pub reports: ReportsConfig,
    pub export: ExportConfig,
    pub credentials: BTreeMap<String, Credential>,
    pub tls: BTreeMap<String, tls::Spec>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    pub listen: SocketAddr,
    /// HTTPS where it is given.
    pub tls: Option<Certificate>,
    /// Pages of these may read answers.
    pub cors_origins: Vec<WebOrigin>,
}

/// PEM files; read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How the host logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// As in `info,kcloud_monitor=debug`.
    pub level: String,
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Text }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    pub region: Option<String>,
    pub description: Option<String>,
}

/// A hall or site: what its meters show holds servers, cooling and losses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FacilityConfig {
    /// That it feeds; all where none is named.
    pub clusters: Vec<String>,
    /// Ids of subjects with `power_watts`, which add up; where none is named, the `facility` subject of this name.
    pub meters: Vec<String>,
    /// A constant in place of a meter; answers say that it is `configured`.
    pub power_watts: Option<f64>,
}

impl FacilityConfig {
    fn problem(&self, clusters: &BTreeMap<String, Cluster>) -> Option<String> {
        let unknown = self.clusters.iter().find(|c| !clusters.contains_key(*c));
        match self.power_watts {
            Some(_) if !self.meters.is_empty() => Some("meters or power_watts, not both".to_owned()),
            Some(watts) if !(watts > 0.0 && watts.is_finite()) => Some(format!("power_watts is {watts}; it is a number above 0")),
            _ => unknown.map(|name| format!("there is no [clusters.{name}]")),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    pub dir: PathBuf,
    pub config_dir: PathBuf,
    pub cache_dir: Option<PathBuf>,
    /// What compiling one component may take.
    pub compile_memory: Bytes,
    /// What must stand for a component; not given: as on loopback or beyond.
    pub trust: Option<Demand>,
    /// Files of minisign public keys, or the keys themselves.
    pub keys: Vec<String>,
    /// Components that load whatever `trust` says.
    pub dev_dir: Option<PathBuf>,
    /// `keys` as they were read.
    #[serde(skip)]
    trusted: Vec<Key>,
    /// Of all plugins together.
    pub memory: Bytes,
    pub compile_timeout: Period,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InventoryConfig {
    pub forget_after: Period,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamConfig {
    /// WebSockets and event streams that are open at once.
    pub max_connections: usize,
}

impl StreamConfig {
    pub fn limits(&self) -> stream::Limits {
        stream::Limits { max_connections: self.max_connections }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { max_connections: stream::Limits::default().max_connections }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// Of raw points; of rollups by the minute and by the hour.
    pub retention: Period,
    pub retention_minutes: Period,
    pub retention_hours: Period,
    pub max_bytes: Bytes,
    /// Who answers for what is older than the newest minute.
    pub backend: Backend,
    pub prometheus: Option<EngineConfig>,
    pub remote_write: Option<RemoteWriteConfig>,
}

impl HistoryConfig {
    /// Whether nothing of it lies beyond this host.
    pub fn is_embedded_alone(&self) -> bool {
        matches!(self.backend, Backend::Embedded) && self.remote_write.is_none()
    }

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
            backend: Backend::default(),
            prometheus: None,
            remote_write: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "/var/lib/kcloud-monitor".into(),
            log: Log::default(),
            server: Server::default(),
            clusters: BTreeMap::from([("default".to_owned(), Cluster::default())]),
            facility: BTreeMap::new(),
            plugins: Plugins::default(),
            inventory: InventoryConfig::default(),
            stream: StreamConfig::default(),
            history: HistoryConfig::default(),
            alerts: AlertsConfig::default(),
            reports: ReportsConfig::default(),
            export: ExportConfig::default(),
            credentials: BTreeMap::new(),
            tls: BTreeMap::new(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8001)), tls: None, cors_origins: Vec::new() }
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            dir: "/var/lib/kcloud-monitor/plugins".into(),
            config_dir: "/etc/kcloud-monitor/plugins.d".into(),
            cache_dir: None,
            compile_memory: Bytes(1 << 30),
            trust: None,
            keys: Vec::new(),
            dev_dir: None,
            trusted: Vec::new(),
            memory: Bytes(MemoryPool::DEFAULT),
            // A Python component is 10 s of CPU; a machine that is four times slower and half busy needs 80 s.
            compile_timeout: Period(std::time::Duration::from_secs(120)),
        }
    }
}

impl Default for InventoryConfig {
    fn default() -> Self {
        Self { forget_after: Period(std::time::Duration::from_secs(7 * 86_400)) }
    }
}

impl Config {
    /// Reads the file, then the environment over it (`KCLOUD_SECTION__KEY`, `KCLOUD_SECTION__KEY_FILE`).
    pub fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let fail = |e: String| ConfigError(vec![e]);
        let text = std::fs::read_to_string(path).map_err(|e| fail(format!("{}: {e}", path.display())))?;
        let mut config: Self = parse(path, &text)?;
        let mut table: toml::Table = parse(path, &text)?;
        let variables = origin::variables(environment)?;
        for given in &variables {
            // A number or a list is written as in TOML; everything else is text, without quotes.
            let as_text = given.put(&table, toml::Value::String(given.value.clone()))?;
            let taken = as_text.clone().try_into::<Self>().map(|c| (c, as_text)).or_else(|error: toml::de::Error| {
                let Ok(value) = given.value.parse::<toml::Value>() else { return Err(error) };
                let typed = given.put(&table, value).map_err(|_| error.clone())?;
                typed.clone().try_into::<Self>().map(|c| (c, typed)).map_err(|_| error)
            });
            (config, table) = taken.map_err(|e| fail(format!("{}: {}{}", given.name, e.message(), suggestion(e.message()))))?;
        }
        let h = &config.history;
        if h.retention.0 > h.retention_minutes.0 || h.retention_minutes.0 > h.retention_hours.0 {
            return Err(fail(format!(
                "{}: [history] what is finer is kept no longer than what is coarser: retention, retention_minutes, retention_hours",
                path.display()
            )));
        }
        if let Some((name, problem)) = config.tls.iter().find_map(|(name, spec)| Some((name, spec.problem()?))) {
            return Err(fail(format!("{}: [tls.{name}] {problem}", path.display())));
        }
        if let Some((name, problem)) = config.credentials.iter().find_map(|(name, c)| Some((name, c.problem(&config.tls)?))) {
            return Err(fail(format!("{}: [credentials.{name}] {problem}", path.display())));
        }
        if let Some((name, problem)) = config.facility.iter().find_map(|(name, f)| Some((name, f.problem(&config.clusters)?))) {
            return Err(fail(format!("{}: [facility.{name}] {problem}", path.display())));
        }
        if let Some(problem) = config.alerts_problem() {
            return Err(fail(format!("{}: {problem}", path.display())));
        }
        if let Some(problem) = config.export.problem() {
            return Err(fail(format!("{}: [export] {problem}", path.display())));
        }
        if let Some(problem) = config.beyond_problem() {
            return Err(fail(format!("{}: {problem}", path.display())));
        }
        if let Some(problem) = config.reports_problem() {
            return Err(fail(format!("{}: {problem}", path.display())));
        }
        if config.clusters.is_empty() {
            return Err(fail(format!("{}: at least one [clusters.NAME] is needed", path.display())));
        }
        // Ids and paths are made of it.
        if let Some(name) =
            config.clusters.keys().find(|n| n.is_empty() || n.len() > 100 || n.contains(|c: char| c == '/' || c.is_control()))
        {
            return Err(fail(format!("{}: [clusters.{name:?}]: a cluster's name has 1 to 100 bytes, no / among them", path.display())));
        }
        if config.plugins.dev_dir.as_ref() == Some(&config.plugins.dir) {
            let place = origin::place(path, &text, &variables, "plugins.dev_dir");
            return Err(fail(format!("{place}: [plugins] dev_dir is dir itself: nothing there would need to be trusted")));
        }
        config.plugins.trusted = keys::read(&config.plugins.keys).map_err(|faults| {
            let place = origin::place(path, &text, &variables, "plugins.keys");
            ConfigError(faults.into_iter().map(|f| format!("{place}: [plugins] keys: {f}")).collect())
        })?;
        Ok(config)
    }

    /// Which components are trusted by a server that listens on loopback alone, or beyond.
    pub fn policy(&self, is_loopback: bool) -> Policy {
        let Plugins { trust: demand, dev_dir, trusted: keys, .. } = self.plugins.clone();
        Policy { demand, is_loopback, keys, dev_dir, ..Policy::default() }
    }

    /// Directories whose change may change what is trusted.
    pub fn trust_directories(&self) -> impl Iterator<Item = PathBuf> {
        self.plugins.dev_dir.iter().cloned().chain(keys::directories(&self.plugins.keys))
    }

    /// Where compiled code is kept between starts.
    pub fn cache_dir(&self) -> PathBuf {
        self.plugins.cache_dir.clone().unwrap_or_else(|| self.data_dir.join("cache"))
    }

    /// Where a running host takes orders from this machine.
    pub fn admin_socket(&self) -> PathBuf {
        self.data_dir.join("run/admin.sock")
    }

    /// Keys that differ and count only after a restart.
    pub fn needs_restart(&self, running: &Self) -> Vec<&'static str> {
        let keys = [
            ("data_dir", self.data_dir == running.data_dir),
            ("server", self.server == running.server),
            ("log.format", self.log.format == running.log.format),
            ("plugins.dir", self.plugins.dir == running.plugins.dir),
            ("plugins.cache_dir", self.plugins.cache_dir == running.plugins.cache_dir),
            ("plugins.compile_memory", self.plugins.compile_memory == running.plugins.compile_memory),
            ("history", self.history == running.history),
            ("stream", self.stream == running.stream),
            ("export", self.export == running.export),
        ];
        keys.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
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
pub(crate) fn distance(a: &str, b: &str) -> usize {
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
        let error = load("[server]\ncors_origins = [\"*\"]\n", &[]).unwrap_err();
        assert!(error.contains(":2:") && error.contains("\"*\" is no origin"), "{error}");
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
        let error = load("", &[("KCLOUD_SERVER__LISTN", "127.0.0.1:2")]).unwrap_err();
        assert!(error.contains("KCLOUD_SERVER__LISTN") && error.contains("did you mean `listen`"), "{error}");
        assert_eq!(load("", &[("KCLOUD_DATA_DIR", "/d")]).unwrap().data_dir, Path::new("/d"));
        let text = "[credentials.p]\norigins = []\nbearer_file = \"/a\"\n";
        let changes = [("KCLOUD_CREDENTIALS__P__ORIGINS", "[\"http://a:1\"]"), ("KCLOUD_CREDENTIALS__P__BEARER_FILE", "/b")];
        let config = load(text, &changes).unwrap();
        assert_eq!(
            (&config.credentials["p"].origins[..], config.credentials["p"].bearer_file.as_deref()),
            (&["http://a:1".to_owned()][..], Some(Path::new("/b")))
        );
    }

    #[test]
    fn a_variable_may_name_a_file_and_not_both() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("listen");
        std::fs::write(&file, "127.0.0.1:7\n").unwrap();
        let file = file.display().to_string();
        assert_eq!(load("", &[("KCLOUD_SERVER__LISTEN_FILE", &file)]).unwrap().server.listen.port(), 7);
        let both = load("", &[("KCLOUD_SERVER__LISTEN_FILE", &file), ("KCLOUD_SERVER__LISTEN", "127.0.0.1:1")]);
        assert!(both.unwrap_err().contains("not both"));
        assert!(load("", &[("KCLOUD_SERVER__LISTEN_FILE", "/no/such")]).unwrap_err().contains("/no/such"));
    }

    #[test]
    fn a_key_that_cannot_be_read_is_a_fault_with_its_place_and_never_a_key_less() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good.pub"), dir.path().join("bad.pub"));
        let public = "RWRc0WDicByCSdRBzGriHqiCdqnv1HbK1Ko3MNPl8FQ8gWud1737bWAq";
        std::fs::write(&good, format!("untrusted comment: x\n{public}\n")).unwrap();
        std::fs::write(&bad, "untrusted comment: x\nRWnonsense\n").unwrap();
        let keys = |all: &[&str]| load(&format!("[plugins]\ntrust = \"signed\"\nkeys = {all:?}\n"), &[]);
        let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
        let policy = keys(&[good, public]).unwrap().policy(true);
        assert_eq!((policy.demand, policy.keys.len(), &policy.keys[0]), (Some(Demand::Signed), 2, &policy.keys[1]));
        for (given, expected) in [(bad, format!("{bad}:2: not a minisign public key")), ("/no/such", "/no/such: No such file".into())] {
            let error = keys(&[good, given]).unwrap_err();
            assert!(error.contains("kcloud-monitor.toml:3: [plugins] keys: ") && error.contains(&expected), "{error}");
        }
        let error = load("", &[("KCLOUD_PLUGINS__KEYS", "[\"/no/such\"]")]).unwrap_err();
        assert!(error.starts_with("KCLOUD_PLUGINS__KEYS: [plugins] keys: /no/such"), "{error}");
        let error = load("[plugins]\ntrust = \"none\"\n", &[]).unwrap_err();
        assert!(error.contains("kcloud-monitor.toml:2:9:") && error.contains("`signed`, `pinned`, `any`"), "{error}");
        let error = load("[plugins]\ndir = \"/p\"\ndev_dir = \"/p\"\n", &[]).unwrap_err();
        assert!(error.contains("kcloud-monitor.toml:3: [plugins] dev_dir is dir itself"), "{error}");
    }

    #[test]
    fn trust_that_contradicts_itself_is_refused() {
        for (text, expected) in [
            ("ca_file = \"/a\"\ninsecure = true\n", "exclude each other"),
            ("pin_sha256 = [\"ab\"]\n", "64 hexadecimal digits"),
            ("certificate_file = \"/a\"\n", "go together"),
            ("server_name = \"a b\"\n", "neither a name nor an address"),
        ] {
            let error = load(&format!("[tls.bmc]\n{text}"), &[]).unwrap_err();
            assert!(error.contains("[tls.bmc]") && error.contains(expected), "{error}");
        }
        let pin = "AB:".repeat(31) + "CD";
        let given = [("KCLOUD_TLS__BMC__CA_FILE", "/b")];
        assert_eq!(load("[tls.bmc]\nca_file = \"/a\"\n", &given).unwrap().tls["bmc"].ca_file.as_deref(), Some(Path::new("/b")));
        load(&format!("[tls.bmc]\npin_sha256 = [\"{pin}\"]\n"), &[]).unwrap();
    }

    #[test]
    fn a_cluster_of_which_no_id_can_be_made_is_refused() {
        for name in ["a/b", "", "a\\tb"] {
            let error = load(&format!("[clusters.\"{name}\"]\n"), &[]).unwrap_err();
            assert!(error.contains("a cluster's name"), "{error}");
        }
        assert!(load("[clusters.\"seoul 1.a\"]\n", &[]).is_ok());
    }

    #[test]
    fn a_facility_has_meters_or_a_constant_and_feeds_clusters_that_there_are() {
        for (text, expected) in [
            ("meters = [\"chassis/c/pdu\"]\npower_watts = 1000.0\n", "not both"),
            ("power_watts = 0.0\n", "above 0"),
            ("clusters = [\"cluster9\"]\n", "[clusters.cluster9]"),
        ] {
            let error = load(&format!("[clusters.cluster1]\n[facility.hall1]\n{text}"), &[]).unwrap_err();
            assert!(error.contains("[facility.hall1]") && error.contains(expected), "{error}");
        }
        let config = load("[clusters.cluster1]\n[facility.hall1]\nclusters = [\"cluster1\"]\n", &[]).unwrap();
        assert_eq!(config.facility["hall1"].clusters, ["cluster1"]);
    }

    #[test]
    fn a_server_for_history_that_cannot_be_used_is_refused_with_its_reason() {
        let common = "[credentials.p]\norigins = [\"https://a:1\"]\nbearer_file = \"/t\"\n[tls.lax]\ninsecure = true\n";
        for (text, expected) in [
            ("backend = \"prometheus\"", "needs [history.prometheus]"),
            ("backend = \"influx\"", "`embedded` or `prometheus`"),
            ("[history.remote_write]\nlabels = { a = \"b\" }", "[history.remote_write] url is missing"),
            ("[history.remote_write]\nurl = \"nowhere\"", "[history.remote_write] url:"),
            ("[history.remote_write]\nurl = \"http://u:p@a/w\"", "user information"),
            ("[history.remote_write]\nurl = \"http://a:1/w\"\ncredential = \"q\"", "no [credentials.q]"),
            ("[history.remote_write]\nurl = \"http://a:1/w\"\ncredential = \"p\"", "not bound to http://a:1"),
            ("[history.remote_write]\nurl = \"https://a:1/w\"\ncredential = \"p\"\ntls = \"lax\"", "insecure"),
            ("[history.remote_write]\nurl = \"http://a:1/w\"\ntls = \"lax\"", "with https"),
            ("[history.remote_write]\nurl = \"http://a:1/w\"\nlabels = { cluster = \"x\" }", "of its own"),
            ("[history.remote_write]\nurl = \"http://a:1/w\"\nlabels = { \"a-b\" = \"x\" }", "no label name"),
            ("[history.prometheus]\nurl = \"http://a:1\"\ntls = \"none\"", "[history.prometheus] tls = \"none\" is for"),
        ] {
            let error = load(&format!("{common}[history]\n{text}\n"), &[]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let good = "[history]\nbackend = \"prometheus\"\n[history.prometheus]\nurl = \"https://a:1/base\"\n[history.remote_write]\nurl = \"https://a:1/w\"\ncredential = \"p\"\n";
        let config = load(&format!("{common}{good}"), &[("KCLOUD_HISTORY__REMOTE_WRITE__MAX_BYTES", "5MiB")]).unwrap();
        assert_eq!(config.history.remote_write.as_ref().unwrap().max_bytes, Bytes(5 << 20));
        let beyond = config.beyond().unwrap();
        assert!(beyond.remote_write.is_some() && beyond.engine.is_some());
    }

    #[test]
    fn a_viewer_needs_an_engine_and_no_haste() {
        let engine = "[clusters.c]\n[history.prometheus]\nurl = \"http://127.0.0.1:9090\"\n";
        let error = load(&format!("{engine}view_every = \"15s\"\n"), &[]).unwrap_err();
        assert!(error.contains("backend"), "{error}");
        let error = load(&format!("{engine}view_every = \"1ms\"\n[history]\nbackend = \"prometheus\"\n"), &[]).unwrap_err();
        assert!(error.contains("at least 1s"), "{error}");
        let config = load(&format!("{engine}view_every = \"15s\"\n[history]\nbackend = \"prometheus\"\n"), &[]).unwrap();
        assert_eq!(config.history.prometheus.unwrap().view_every, Some(Period(std::time::Duration::from_secs(15))));
    }

    #[test]
    fn every_value_says_where_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kcloud-monitor.toml");
        std::fs::write(&path, "# x\n[history]\nretention = \"1d\"\n").unwrap();
        let environment = [("KCLOUD_SERVER__LISTEN".to_owned(), "127.0.0.1:2".to_owned())];
        let all = Config::origins(&path, environment.into_iter()).unwrap();
        let of = |name: &str| all.iter().find(|k| k.name == name).map(|k| (k.value.clone(), k.origin.clone())).unwrap();
        assert_eq!(of("server.listen"), ("\"127.0.0.1:2\"".into(), "KCLOUD_SERVER__LISTEN".into()));
        assert_eq!(of("history.retention"), ("\"1d\"".into(), format!("{}:3", path.display())));
        assert_eq!(of("history.max_bytes"), ("\"4GiB\"".into(), "default".into()));
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
        assert_eq!((config.plugins.trust, config.plugins.keys), (default.plugins.trust, default.plugins.keys));
        assert_eq!(config.plugins.compile_memory, default.plugins.compile_memory);
        assert_eq!(config.reports, default.reports);
        assert_eq!((config.history, config.log, config.plugins.memory), (default.history, default.log, default.plugins.memory));
        assert_eq!(config.alerts, default.alerts);
        load(sample, &[]).unwrap();
    }
}
