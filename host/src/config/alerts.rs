//! `[alerts]`: where rules lie, budgets, and who is told; and `alerts.d/*.toml`, read again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::beyond::Server;
use super::{Config, ConfigError, Period};
use crate::alerts::notify::{AlertmanagerSpec, Spec, Way, WebhookSpec};
use crate::alerts::{Rules, Settings};
use crate::inventory::Severity;

/// A file of rules that is larger is a mistake.
const MOST_BYTES: u64 = 1 << 20;

/// `[alerts]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    pub rules_dir: PathBuf,
    /// The rules that come with the host.
    pub ready_made: bool,
    /// Where this host is reached, for links in notifications.
    pub external_url: Option<String>,
    /// Of clusters; `power-over-budget` holds them against what is drawn.
    pub power_budget_watts: BTreeMap<String, f64>,
    pub webhooks: BTreeMap<String, WebhookConfig>,
    pub alertmanagers: BTreeMap<String, AlertmanagerConfig>,
}

/// `[alerts.webhooks.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    pub url: String,
    pub credential: Option<String>,
    pub tls: Option<String>,
    /// What signs each request; read at each use.
    pub secret_file: Option<PathBuf>,
    /// This and worse is told.
    pub severity: Severity,
    pub timeout: Period,
}

/// `[alerts.alertmanagers.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertmanagerConfig {
    /// The base below which `/api/v2/alerts` lies.
    pub url: String,
    pub credential: Option<String>,
    pub tls: Option<String>,
    /// Put on every alert.
    pub labels: BTreeMap<String, String>,
    pub severity: Severity,
    /// What fires is sent again this often.
    pub resend: Period,
    pub timeout: Period,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            rules_dir: "/etc/kcloud-monitor/alerts.d".into(),
            ready_made: true,
            external_url: None,
            power_budget_watts: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            alertmanagers: BTreeMap::new(),
        }
    }
}

const TIMEOUT: Period = Period(Duration::from_secs(10));

impl Default for WebhookConfig {
    fn default() -> Self {
        Self { url: String::new(), credential: None, tls: None, secret_file: None, severity: Severity::Info, timeout: TIMEOUT }
    }
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            credential: None,
            tls: None,
            labels: BTreeMap::new(),
            severity: Severity::Info,
            resend: Period(Duration::from_secs(60)),
            timeout: TIMEOUT,
        }
    }
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl WebhookConfig {
    fn server(&self) -> Server<'_> {
        let Self { url, timeout, .. } = self;
        Server { url, credential: self.credential.as_ref(), tls: self.tls.as_ref(), labels: &NO_LABELS, timeout: timeout.0 }
    }
}

impl AlertmanagerConfig {
    fn server(&self) -> Server<'_> {
        let Self { url, timeout, .. } = self;
        Server { url, credential: self.credential.as_ref(), tls: self.tls.as_ref(), labels: &NO_LABELS, timeout: timeout.0 }
    }

    fn label_problem(&self) -> Option<String> {
        let is_name = |n: &str| !n.starts_with(|c: char| c.is_ascii_digit()) && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let bad = self.labels.iter().find(|(name, value)| name.is_empty() || value.is_empty() || !is_name(name))?;
        Some(format!("labels: {:?}; allowed are names of letters, digits, _, not a digit first, with a value that is not empty", bad.0))
    }
}

impl Config {
    /// What is wrong with `[alerts]`.
    pub(super) fn alerts_problem(&self) -> Option<String> {
        let a = &self.alerts;
        for (name, watts) in &a.power_budget_watts {
            if !(*watts > 0.0 && watts.is_finite()) {
                return Some(format!("[alerts.power_budget_watts] {name} is {watts}; it is a number above 0"));
            }
            if !self.clusters.contains_key(name) {
                return Some(format!("[alerts.power_budget_watts] {name}: there is no [clusters.{name}]"));
            }
        }
        if let Some(url) = a.external_url.as_ref().filter(|u| crate::plugins::capabilities::http_policy::Origin::of(u).is_err()) {
            return Some(format!("[alerts] external_url = {url:?} is no URL with http or https, such as \"https://monitor.example\""));
        }
        for (name, w) in &a.webhooks {
            if let Some(problem) = w.server().problem(self) {
                return Some(format!("[alerts.webhooks.{name}] {problem}"));
            }
        }
        for (name, m) in &a.alertmanagers {
            if let Some(problem) = m.server().problem(self).or_else(|| m.label_problem()) {
                return Some(format!("[alerts.alertmanagers.{name}] {problem}"));
            }
            if m.url.contains("/api/") {
                return Some(format!("[alerts.alertmanagers.{name}] url: the base is wanted, without /api/v2/alerts"));
            }
        }
        None
    }

    /// Who is told, and what each was made of.
    fn notifiers(&self, problems: &mut Vec<String>) -> Vec<Spec> {
        let a = &self.alerts;
        // Files are named in it, and no secret.
        let made_of = |what: &dyn std::fmt::Debug, s: &Server<'_>| {
            let credential = s.credential.and_then(|c| self.credentials.get(c));
            let tls = s.tls.and_then(|t| self.tls.get(t));
            format!("{what:?} {credential:?} {tls:?} {:?}", a.external_url)
        };
        let mut specs = Vec::new();
        for (name, w) in &a.webhooks {
            match w.server().endpoint(self) {
                Err(error) => problems.push(format!("[alerts.webhooks.{name}] {error}")),
                Ok(endpoint) => specs.push(Spec {
                    name: name.clone(),
                    endpoint,
                    way: Way::Webhook(WebhookSpec { secret_file: w.secret_file.clone(), least: w.severity }),
                    made_of: made_of(&(name, w), &w.server()),
                }),
            }
        }
        for (name, m) in &a.alertmanagers {
            if m.resend.0 < LEAST_RESEND {
                problems.push(format!("[alerts.alertmanagers.{name}] resend = \"{}\"; allowed is 1s and more, such as 1m", m.resend));
                continue;
            }
            match m.server().endpoint(self) {
                Err(error) => problems.push(format!("[alerts.alertmanagers.{name}] {error}")),
                Ok(endpoint) => specs.push(Spec {
                    name: name.clone(),
                    endpoint: endpoint.below("api/v2/alerts"),
                    way: Way::Alertmanager(AlertmanagerSpec {
                        resend: m.resend.0,
                        labels: m.labels.clone(),
                        least: m.severity,
                        external_url: a.external_url.clone(),
                    }),
                    made_of: made_of(&(name, m), &m.server()),
                }),
            }
        }
        specs
    }
}

/// An Alertmanager is told what fires no more often than this.
const LEAST_RESEND: Duration = Duration::from_secs(1);

/// Files of rules as they were last good.
#[derive(Default)]
pub(super) struct RuleFiles(BTreeMap<PathBuf, Rules>);

impl RuleFiles {
    /// Reads every `*.toml`. One bad file never spoils another, and leaves its last good rules in force. No directory is no rules.
    pub(super) fn look(&mut self, config: &Config, problems: &mut Vec<String>, directories: &mut Vec<PathBuf>) -> Settings {
        let a = &config.alerts;
        let entries = std::fs::read_dir(&a.rules_dir).and_then(|all| all.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>());
        match entries {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.0.clear(),
            Err(error) => problems.push(format!("{}: {error}; the last rules stay", a.rules_dir.display())),
            Ok(paths) => {
                directories.push(a.rules_dir.clone());
                let is_named =
                    |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.ends_with(".toml") && !n.starts_with('.'));
                let mut files: Vec<PathBuf> = paths.into_iter().filter(is_named).collect();
                files.sort();
                self.0.retain(|path, _| files.contains(path));
                for path in files {
                    match read(&path) {
                        Err(error) => problems.extend(error.0),
                        Ok(rules) => match crate::alerts::problems(&rules, a.ready_made, &a.power_budget_watts) {
                            wrong if wrong.is_empty() => drop(self.0.insert(path, rules)),
                            wrong => problems.extend(wrong),
                        },
                    }
                }
            }
        }
        let files: Vec<&Rules> = self.0.values().collect();
        let (rules, wrong) = crate::alerts::rules(a.ready_made, &a.power_budget_watts, &files);
        problems.extend(wrong);
        Settings { rules, notifiers: config.notifiers(problems) }
    }
}

fn read(path: &Path) -> Result<Rules, ConfigError> {
    let fail = |e: String| ConfigError(vec![format!("{}: {e}", path.display())]);
    let size = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if size > MOST_BYTES {
        return Err(fail(format!("{size} bytes; a file of rules has at most {MOST_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    Rules::read(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kcloud-monitor.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path, std::iter::empty()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_wrong_with_who_is_told_is_named() {
        let common =
            "[clusters.cluster1]\n[credentials.p]\norigins = [\"https://a:1\"]\nbearer_file = \"/t\"\n[tls.lax]\ninsecure = true\n";
        for (text, expected) in [
            ("[alerts.webhooks.x]\nsecret_file = \"/s\"", "[alerts.webhooks.x] url is missing"),
            ("[alerts.webhooks.x]\nurl = \"nowhere\"", "[alerts.webhooks.x] url: "),
            ("[alerts.webhooks.x]\nurl = \"http://169.254.169.254/x\"", "is never reached"),
            ("[alerts.webhooks.x]\nurl = \"http://u:p@a/w\"", "user information"),
            ("[alerts.webhooks.x]\nurl = \"http://a/w\"\nseverity = \"bad\"", "`info`, `warning`, `critical`"),
            ("[alerts.webhooks.x]\nurl = \"http://b:1/w\"\ncredential = \"p\"", "not bound to http://b:1"),
            ("[alerts.alertmanagers.x]\nurl = \"https://a:1\"\ncredential = \"p\"\ntls = \"lax\"", "insecure"),
            ("[alerts.alertmanagers.x]\nurl = \"http://a:1/api/v2/alerts\"", "without /api/v2/alerts"),
            ("[alerts.alertmanagers.x]\nurl = \"http://a:1\"\nlabels = { \"a-b\" = \"x\" }", "\"a-b\""),
            ("[alerts.power_budget_watts]\ncluster9 = 1.0", "there is no [clusters.cluster9]"),
            ("[alerts.power_budget_watts]\ncluster1 = -1.0", "a number above 0"),
            ("[alerts]\nexternal_url = \"monitor\"", "is no URL"),
            ("[alerts]\nrule_dir = \"/x\"", "did you mean `rules_dir`"),
        ] {
            let error = load(&format!("{common}{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let good = "[alerts.webhooks.x]\nurl = \"https://a:1/hook\"\ncredential = \"p\"\n[alerts.alertmanagers.m]\nurl = \"http://am:9093/base\"\n";
        let config = load(&format!("{common}{good}")).unwrap();
        let mut problems = Vec::new();
        assert_eq!((config.notifiers(&mut problems).len(), problems.len()), (2, 0));
        // What is written back is read as the same.
        assert_eq!(load(&toml::to_string(&config).unwrap()).unwrap().alerts, config.alerts);
    }

    #[test]
    fn an_address_that_is_a_secret_is_not_printed_and_may_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kcloud-monitor.toml");
        std::fs::write(&path, "[alerts.webhooks.x]\nurl = \"https://a/b\"\n").unwrap();
        let file = dir.path().join("url");
        std::fs::write(&file, "https://hooks.example/services/T0/s3cret\n").unwrap();
        let given = [("KCLOUD_ALERTS__WEBHOOKS__X__URL_FILE".to_owned(), file.display().to_string())];
        assert_eq!(
            Config::load(&path, given.clone().into_iter()).unwrap().alerts.webhooks["x"].url,
            "https://hooks.example/services/T0/s3cret"
        );
        let all = Config::origins(&path, given.into_iter()).unwrap();
        let key = all.iter().find(|k| k.name == "alerts.webhooks.x.url").unwrap();
        assert_eq!(key.value, "\"https://hooks.example:443/…\"");
        assert!(all.iter().all(|k| !k.value.contains("s3cret")));
    }

    #[test]
    fn a_bad_file_leaves_its_last_good_rules_in_force_and_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = load("").unwrap();
        config.alerts.rules_dir = dir.path().join("alerts.d");
        config.alerts.ready_made = false;
        let mut files = RuleFiles::default();
        let mut look = |config: &Config| {
            let (mut problems, mut directories) = (Vec::new(), Vec::new());
            let rules = files.look(config, &mut problems, &mut directories).rules;
            (rules.iter().map(|r| r.name.to_string()).collect::<Vec<_>>(), problems)
        };
        assert_eq!(look(&config), (vec![], vec![]), "no directory is no rules");
        std::fs::create_dir(&config.alerts.rules_dir).unwrap();
        let put = |name: &str, text: &str| std::fs::write(config.alerts.rules_dir.join(name), text).unwrap();
        let rule = |name: &str| format!("[[rules]]\nname = \"{name}\"\nseverity = \"info\"\nmessage = \"x\"\nvanished = true\n");
        put("a.toml", &rule("a"));
        put("b.toml", &rule("b"));
        put(".hidden.toml", "nonsense");
        assert_eq!(look(&config).0, ["a", "b"]);
        put("a.toml", &rule("a").replace("vanished = true", "vanishd = true"));
        let (names, problems) = look(&config);
        assert!(names == ["a", "b"] && problems.len() == 1 && problems[0].contains("a.toml:5:1"), "{names:?} {problems:?}");
        std::fs::remove_file(config.alerts.rules_dir.join("a.toml")).unwrap();
        put("c.toml", &rule("b"));
        let (names, problems) = look(&config);
        assert!(names == ["b"] && problems[0].contains("stands at") && problems[0].contains("b.toml:2:1"), "{names:?} {problems:?}");
        put("c.toml", &"x".repeat(2 << 20));
        assert!(look(&config).1[0].contains("at most 1048576"));
    }

    #[test]
    fn the_sample_reads_beside_the_ready_made_rules() {
        let mut config = load("[clusters.cluster1]\n").unwrap();
        config.alerts.rules_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/alerts.d");
        let (mut problems, mut directories) = (Vec::new(), Vec::new());
        let rules = RuleFiles::default().look(&config, &mut problems, &mut directories).rules;
        assert_eq!(problems, Vec::<String>::new());
        let has = |name: &str| rules.iter().any(|r| &*r.name == name);
        assert!(has("memory-nearly-full") && has("bmc-event") && !has("power-spike"));
    }
}
