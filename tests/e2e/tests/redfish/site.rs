//! A host that reads by its own configuration files, with an authority of its own. Each test file uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kcloud_e2e::Running;
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::config::{Config, Loader};
use kcloud_monitor::inventory::{Kind, Snapshot, Source, Subject};

/// Files of an operator.
pub struct Site {
    pub dir: tempfile::TempDir,
}

impl Site {
    /// An authority and a certificate of 127.0.0.1; the password of all BMCs is `secret1`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "bmc authority");
        let site = Self { dir };
        site.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = rcgen::Issuer::new(params, key);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(rcgen::DnType::CommonName, "bmc");
        site.write("server.pem", &leaf.signed_by(&key, &issuer).unwrap().pem());
        site.write("server.key", &key.serialize_pem());
        site.write("secret", "secret1\n");
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Starts a host with these credentials in its configuration, and these settings of a plugin.
    pub async fn host(&self, plugin: &str, credentials: &str, settings: &str) -> Running {
        let plugins_d = self.path("plugins.d");
        std::fs::create_dir_all(&plugins_d).unwrap();
        let config = format!(
            "[clusters.cluster1]\n[plugins]\nconfig_dir = {plugins_d:?}\n[tls.own]\nca_file = {:?}\n{credentials}",
            self.path("ca.pem")
        );
        self.write("kcloud-monitor.toml", &config);
        std::fs::write(plugins_d.join(format!("{plugin}.toml")), settings).unwrap();
        let config = Config::load(&self.path("kcloud-monitor.toml"), std::iter::empty()).unwrap();
        let look = Loader::default().look(&config);
        assert!(look.problems.is_empty(), "{:?}", look.problems);
        Running::start(&[plugin], look.settings).await
    }

    /// A plugin's sample with other words in it.
    pub fn sample(plugin: &str, changes: &[(&str, &str)]) -> String {
        let file = kcloud_e2e::root().join(format!("config/plugins.d/{plugin}.toml"));
        changes.iter().fold(std::fs::read_to_string(file).unwrap(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })
    }
}

/// What the model says now.
pub struct World(Arc<Snapshot>);

impl World {
    pub fn of(running: &Running) -> Self {
        Self(running.host.app.inventory.current())
    }

    /// The subject of a kind at a node with this label.
    pub fn find(&self, kind: Kind, node: &str, key: &str, value: &str) -> Option<&Arc<Subject>> {
        self.0.of_kind(kind).iter().find(|s| s.node.as_deref() == Some(node) && s.label(key) == Some(value))
    }

    pub fn number(&self, kind: Kind, node: &str, key: &str, value: &str, metric: &str) -> Option<f64> {
        self.find(kind, node, key, value)?.number(Catalogue::known(metric).unwrap())
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.0.of_kind(kind).len()
    }

    /// How the reading of a BMC fares.
    pub fn source(&self, node: &str) -> Option<&Arc<Source>> {
        self.0.asked().find(|s| &*s.target == node)
    }

    pub fn error(&self, node: &str) -> Option<String> {
        Some(self.source(node)?.last_error.as_ref()?.to_string())
    }
}

/// Writes a tree of documents as sushy-static serves it, each renamed into place.
pub fn document(dir: &Path, path: &str, value: &serde_json::Value) {
    let folder = dir.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(&folder).unwrap();
    let part = folder.join(".part");
    std::fs::write(&part, value.to_string()).unwrap();
    std::fs::rename(part, folder.join("index.json")).unwrap();
}
