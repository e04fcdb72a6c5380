//! `plugins.d/NAME.toml`: one plugin's rights, limits, configuration and targets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::alerts::RuleFiles;
use super::limits::LimitsFile;
use super::reach::{GrantsFile, IpmiFile, Reach, Trusts};
use super::targets::{self, LastGood, TargetFiles};
use super::{Config, ConfigError, Period, parse};
use crate::plugins::capabilities::Grants;
use crate::plugins::capabilities::globs::Globs;
use crate::plugins::contract::Target;
use crate::plugins::places::Places;
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
    /// A `[tls.NAME]`.
    pub(super) tls: Option<String>,
    pub(super) interval: Option<Period>,
    /// How the BMC of an `ipmi://` address is spoken to.
    pub(super) ipmi: Option<IpmiFile>,
    #[serde(default)]
    pub(super) config: toml::Table,
}

/// Reads the directory of plugins' settings again and again, and remembers what was good.
#[derive(Default)]
pub struct Loader {
    settings: BTreeMap<PathBuf, Settings>,
    targets: LastGood,
    trusts: Trusts,
    rules: RuleFiles,
}

/// What one look found: each file with what is wrong with it, and directories whose change matters.
#[derive(Default)]
pub struct Look {
    pub settings: Vec<Settings>,
    pub problems: Vec<String>,
    pub directories: Vec<PathBuf>,
    pub alerts: crate::alerts::Settings,
}

impl Loader {
    /// Reads every `*.toml`. One bad file never spoils another, and leaves its last good settings in force.
    pub fn look(&mut self, config: &Config) -> Look {
        self.trusts.follow(config);
        let dir = &config.plugins.config_dir;
        let mut look = Look { directories: vec![dir.clone()], ..Look::default() };
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
                    match read.and_then(|text| settings(&name, &path, &text, config, &mut self.targets, &self.trusts, &mut look)) {
                        Ok(settings) => drop(self.settings.insert(path, settings)),
                        Err(error) => look.problems.extend(error.0),
                    }
                }
            }
        }
        look.settings = self.settings.values().cloned().collect();
        look.alerts = self.rules.look(config, &mut look.problems, &mut look.directories);
        look
    }
}

fn settings(
    name: &str,
    path: &Path,
    text: &str,
    config: &Config,
    last_good: &mut LastGood,
    trusts: &Trusts,
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
    let mut reach = Reach::new(config, trusts);
    for t in file.targets.into_iter().chain(from_files) {
        if t.id.is_empty() || t.id.len() > 256 || t.id.chars().any(char::is_control) {
            wrong(format!("target {:?}: an id has 1 to 256 bytes and no control characters", t.id));
        }
        if targets.iter().any(|(other, _)| other.id == t.id) {
            wrong(format!("target {:?} stands twice", t.id));
        }
        reach.target(&t).unwrap_or_else(|error| wrong(format!("target {:?}: {error}", t.id)));
        let cluster = t.cluster.unwrap_or_else(|| default_cluster.to_owned());
        if !config.clusters.contains_key(&cluster) {
            let known: Vec<&str> = config.clusters.keys().map(String::as_str).collect();
            wrong(format!("target {:?}: no [clusters.{cluster}] is configured; there are {}", t.id, known.join(", ")));
        }
        let json = serde_json::to_string(&t.config).unwrap_or_else(|_| "{}".to_owned());
        let labels = t.labels.into_iter().collect();
        let target = Target { id: t.id, address: t.address, cluster, labels, credential: t.credential, config: json };
        targets.push((target, t.interval.map(|p| p.0)));
    }
    let ipmi = file.grants.ipmi.then(|| reach.ipmi());
    let (http, credentials) = reach.policy(&file.grants, &targets, &mut wrong, &mut look.problems);
    let pod_resources = file.grants.pod_resources().map_err(&mut wrong).ok().flatten();
    let nvml = file.grants.nvml().map_err(&mut wrong).ok().flatten();
    let files = file.grants.files.as_deref().map(Globs::new).transpose();
    let files = files.map_err(|e| wrong(format!("[grants] files: {e}"))).ok().flatten();
    let mut limits = bare.limits.clone();
    file.limits.apply(&mut limits, &mut wrong);
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
        grants: Grants { http, files, state: file.grants.state, ipmi, nvml, pod_resources },
        limits,
        on_missing: file.on_missing,
        shadow: file.shadow,
        return_after: file.return_after.unwrap_or(bare.return_after),
        places: Some(Arc::new(Places::new(path, text))),
        clusters: config.clusters.keys().cloned().collect(),
        config: plugin_config,
        targets,
        credentials,
        ..bare
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plugins::capabilities::ipmi::{Privilege, Suite};

    fn read(text: &str) -> Result<Settings, String> {
        look_at(text).0
    }

    fn look_at(text: &str) -> (Result<Settings, String>, Vec<String>) {
        let mut look = Look::default();
        let whole = "[clusters.default]\n[tls.bmc]\nserver_name = \"bmc\"\n[tls.gone]\nca_file = \"/no/such\"\n[tls.lax]\ninsecure = true\n\
            [credentials.bmc]\norigins = [\"https://bmc1\"]\n[credentials.other]\norigins = [\"https://bmc1\"]\n";
        let config: Config = toml::from_str(whole).unwrap();
        let mut trusts = Trusts::default();
        trusts.follow(&config);
        let settings = settings("p", Path::new("p.toml"), text, &config, &mut LastGood::default(), &trusts, &mut look);
        (settings.map_err(|e| e.to_string()), look.problems)
    }

    #[test]
    fn files_of_tls_that_cannot_be_used_are_said_and_spoil_nothing() {
        let (settings, problems) = look_at("[grants]\nhttp = \"targets\"\ntls = \"gone\"\n");
        assert!(settings.is_ok());
        assert!(problems.len() == 1 && problems[0].contains("[tls.gone] ca_file /no/such"), "{problems:?}");
    }

    #[test]
    fn a_look_that_changes_nothing_of_a_tls_keeps_its_connections() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.toml"), format!("[grants]\nhttp = \"targets\"\n{BMC}tls = \"bmc\"\n")).unwrap();
        let mut config: Config = toml::from_str("[clusters.default]\n[tls.bmc]\nserver_name = \"bmc\"\n").unwrap();
        config.plugins.config_dir = dir.path().to_owned();
        let mut loader = Loader::default();
        let mut trust = |config: &Config| {
            let look = loader.look(config);
            look.settings[0].grants.http.as_ref().unwrap().check("GET", "https://bmc1/", &[]).unwrap().trust.unwrap()
        };
        let (first, second) = (trust(&config), trust(&config));
        config.tls.get_mut("bmc").unwrap().server_name = Some("other".into());
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&second, &trust(&config)));
    }

    const BMC: &str = "[[targets]]\nid = \"bmc1\"\naddress = \"https://bmc1\"\n";

    #[test]
    fn a_plugin_has_the_credentials_that_its_targets_or_its_grants_name_and_no_others() {
        let names = |text: &str| read(text).unwrap().credentials.into_keys().collect::<BTreeSet<_>>();
        assert!(names("").is_empty());
        assert_eq!(names(&format!("{BMC}credential = \"bmc\"\n")), BTreeSet::from(["bmc".to_owned()]));
        assert_eq!(names("[grants]\ncredentials = [\"other\"]\n"), BTreeSet::from(["other".to_owned()]));
    }

    #[test]
    fn methods_and_trust_reach_the_targets_that_they_are_for() {
        let text = format!(
            "[grants]\nhttp = [\"https://lone\"]\nhttp_methods = [\"POST targets/login\", \"DELETE https://lone/x/*\"]\ntls = \"lax\"\n{BMC}tls = \"bmc\"\n"
        );
        let policy = read(&text).unwrap().grants.http.unwrap();
        let trust = |url: &str| policy.check("GET", url, &[]).unwrap().trust.unwrap().is_verified();
        assert!(policy.check("POST", "https://bmc1/login", &[]).is_ok() && policy.check("DELETE", "https://lone/x/1", &[]).is_ok());
        assert!(policy.check("POST", "https://lone/login", &[]).is_err() && policy.check("DELETE", "https://bmc1/x/1", &[]).is_err());
        assert!(trust("https://bmc1/") && !trust("https://lone/"));
    }

    #[test]
    fn an_ipmi_target_says_how_its_bmc_is_spoken_to() {
        let text = "[grants]\nipmi = true\n[[targets]]\nid = \"a\"\naddress = \"ipmi://10.0.1.11\"\ncredential = \"bmc\"\n\
            [[targets]]\nid = \"b\"\naddress = \"ipmi://bmc2:6230\"\ncredential = \"other\"\nipmi = { privilege = \"operator\", cipher_suites = [17] }\n";
        let s = read(text).unwrap();
        let policy = s.grants.ipmi.unwrap();
        let (a, b) = (policy.target("a").unwrap(), policy.target("b").unwrap());
        assert_eq!((a.privilege, a.suites.len(), a.place.to_string().as_str()), (Privilege::User, 2, "10.0.1.11:623"));
        assert_eq!((b.privilege, &b.suites[..], b.credential.as_str()), (Privilege::Operator, &[Suite::Seventeen][..], "other"));
        assert!(policy.target("c").is_err() && s.credentials.len() == 2);
        assert!(read(&text.replace("ipmi = true", "state = true")).unwrap().grants.ipmi.is_none());
        for (from, to, expected) in [
            ("ipmi://10.0.1.11", "ipmi://10.0.1.11/x", "no address of a BMC"),
            ("ipmi://10.0.1.11", "ipmi://169.254.0.1", "never reached"),
            ("[17]", "[17, 0]", "cipher suite 0; allowed are 17 and 3"),
            ("credential = \"bmc\"", "", "needs a credential"),
            ("ipmi://bmc2:6230", "https://bmc2", "is for an address with ipmi://"),
            ("operator", "root", "unknown variant"),
        ] {
            let error = read(&text.replace(from, to)).err().unwrap_or_default();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn every_sample_is_understood() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/plugins.d");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let (path, mut text) = (entry.as_ref().unwrap().path(), std::fs::read_to_string(entry.unwrap().path()).unwrap());
            if path.ends_with("ipmi.toml") {
                // With its target.
                let at = text.find("# [[targets]]").unwrap();
                text = text[..at].to_owned() + &text[at..].replace("\n# ", "\n").replacen("# ", "", 1).replace("cluster1", "default");
            }
            read(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            names.push(path);
        }
        assert!(names.len() >= 3, "{names:?}");
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
            (
                "[[targets]]\nid = \"a\"\naddress = \"http://169.254.169.254/x\"\n",
                "target \"a\": http://169.254.169.254:80 is never reached",
            ),
            ("[grants]\nhttp = [\"http://[::ffff:a9fe:a9fe]\"]\n", "is never reached"),
            ("[[targets]]\nid = \"a\"\naddress = \"https://x\"\ntls = \"no\"\n", "no [tls.no]"),
            ("[[targets]]\nid = \"a\"\naddress = \"http://x\"\ntls = \"bmc\"\n", "with https"),
            ("[[targets]]\nid = \"a\"\naddress = \"https://x\"\ntls = \"lax\"\ncredential = \"bmc\"\n", "which is insecure"),
            ("[grants]\nhttp = \"targets\"\ntls = \"no\"\n", "[grants] tls: no [tls.no]"),
            ("[grants]\nhttp_methods = [\"POST https://x/y\"]\n", "without http"),
            ("[grants]\nhttp = [\"https://x\"]\nhttp_methods = [\"GET https://x/y\"]\n", "[grants] http_methods: \"GET https://x/y\""),
            ("[grants]\nhttp = [\"https://x\"]\nhttp_methods = [\"POST https://z/y\"]\n", "neither a target"),
            ("[grants]\nfiles = [\"etc/*\"]\n", "[grants] files: \"etc/*\""),
            ("[grants]\nnvml = \"lib.so\"\n", "[grants] nvml = \"lib.so\"; allowed: true (for libnvidia-ml.so.1), or an absolute path"),
            ("[grants]\ncredentials = [\"none\"]\n", "no [credentials.none]"),
            ("[limits]\ninstances = 100\n", "allowed is 1 to 64"),
        ] {
            let error = read(text).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
