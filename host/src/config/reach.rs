//! `[grants]` of a plugin and the addresses of its targets: what it may reach over HTTP, and whom it believes there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::Config;
use super::plugin::TargetFile;
use crate::plugins::capabilities::Credential;
use crate::plugins::capabilities::http_policy::{Denied, Origin, Policy};
use crate::plugins::capabilities::ipmi::{self, Bmc, Place, Privilege, Suite};
use crate::plugins::capabilities::nvml::{self, Driver};
use crate::plugins::capabilities::tls::Trust;
use crate::plugins::contract::Target;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GrantsFile {
    /// `"targets"`, or a list of origins beside them.
    http: Option<HttpGrant>,
    /// `"POST https://bmc1/path"`, or `"POST targets/path"` for all configured targets.
    http_methods: Vec<String>,
    /// A `[tls.NAME]` for what has none of its own.
    tls: Option<String>,
    /// Beside those that its targets name.
    credentials: Vec<String>,
    pub(super) files: Option<Vec<String>>,
    pub(super) state: bool,
    pub(super) ipmi: bool,
    nvml: Option<NvmlGrant>,
}

/// How one BMC is spoken to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IpmiFile {
    #[serde(default)]
    privilege: Privilege,
    /// Those that may be used; all without it.
    cipher_suites: Option<Vec<u8>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum HttpGrant {
    Word(String),
    Origins(Vec<String>),
}

/// `true`, or the driver's library.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NvmlGrant {
    Flag(bool),
    Library(PathBuf),
}

impl GrantsFile {
    /// The driver that is granted.
    pub(super) fn nvml(&self) -> Result<Option<Driver>, String> {
        let library = match &self.nvml {
            None | Some(NvmlGrant::Flag(false)) => return Ok(None),
            Some(NvmlGrant::Flag(true)) => nvml::LIBRARY.into(),
            Some(NvmlGrant::Library(path)) if path.is_absolute() => path.clone(),
            Some(NvmlGrant::Library(path)) => {
                return Err(format!("[grants] nvml = {path:?}; allowed: true, or the absolute path of the driver's library"));
            }
        };
        let program = std::env::current_exe().map_err(|e| format!("[grants] nvml: this program does not know where it lies: {e}"))?;
        Ok(Some(Driver { library, program }))
    }
}

/// Every `[tls.NAME]` with its client, which outlives a look that changes nothing of it: connections are kept.
#[derive(Default)]
pub(super) struct Trusts(BTreeMap<String, Arc<Trust>>);

impl Trusts {
    pub(super) fn follow(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.0);
        let now = config.tls.iter().map(|(name, spec)| {
            let new = Trust::new(name, spec.clone());
            let kept = before.remove(name).filter(|known| **known == new);
            (name.clone(), kept.unwrap_or_else(|| Arc::new(new)))
        });
        self.0 = now.collect();
    }
}

/// What the targets said so far.
pub(super) struct Reach<'a> {
    config: &'a Config,
    trusts: &'a Trusts,
    used: BTreeMap<String, Arc<Trust>>,
    origins: Vec<(Origin, Arc<Trust>)>,
    bmcs: Vec<(String, Bmc)>,
}

impl<'a> Reach<'a> {
    pub(super) fn new(config: &'a Config, trusts: &'a Trusts) -> Self {
        Self { config, trusts, used: BTreeMap::new(), origins: Vec::new(), bmcs: Vec::new() }
    }

    fn trust(&mut self, name: &str) -> Result<Arc<Trust>, String> {
        let trust = self.trusts.0.get(name).ok_or_else(|| format!("no [tls.{name}] is configured"))?;
        self.used.insert(name.to_owned(), trust.clone());
        Ok(trust.clone())
    }

    /// Takes a target's address, credential and trust.
    pub(super) fn target(&mut self, t: &TargetFile) -> Result<(), String> {
        if let Some(c) = t.credential.as_ref().filter(|c| !self.config.credentials.contains_key(*c)) {
            return Err(format!("no [credentials.{c}] is configured"));
        }
        if t.address.starts_with("ipmi:") {
            return self.bmc(t);
        }
        if t.ipmi.is_some() {
            return Err(format!("ipmi is for an address with ipmi://, not {:?}", t.address));
        }
        let origin = match Origin::of(&t.address) {
            Ok(origin) => Some(origin),
            Err(error @ Denied::Address(..)) => return Err(error.to_string()),
            // An address of another form, for another right.
            Err(_) => None,
        };
        let Some(name) = &t.tls else { return Ok(()) };
        let trust = self.trust(name)?;
        let origin = origin.filter(Origin::is_https).ok_or_else(|| format!("tls = {name:?} is for an address with https"))?;
        match &t.credential {
            Some(c) if !trust.is_verified() => {
                Err(format!("credential {c:?} is not sent over [tls.{name}], which is insecure; pin_sha256 makes it sure"))
            }
            _ => {
                self.origins.push((origin, trust));
                Ok(())
            }
        }
    }

    fn bmc(&mut self, t: &TargetFile) -> Result<(), String> {
        let place = Place::of(&t.address).map_err(|e| e.to_string())?;
        let credential = t.credential.clone().ok_or("a BMC needs a credential with username and password_file")?;
        if t.tls.is_some() {
            return Err("tls is for an address with https".to_owned());
        }
        let given = t.ipmi.as_ref();
        let suites = match given.and_then(|i| i.cipher_suites.as_ref()) {
            None => Suite::ALL.to_vec(),
            Some(ids) => match ids.iter().find(|id| Suite::of(**id).is_none()) {
                Some(other) => return Err(format!("cipher suite {other}; allowed are 17 and 3")),
                None => Suite::ALL.into_iter().filter(|s| ids.contains(&s.id())).collect(),
            },
        };
        let privilege = given.map(|i| i.privilege).unwrap_or_default();
        self.bmcs.push((t.id.clone(), Bmc { place, credential, privilege, suites }));
        Ok(())
    }

    /// The BMCs among the targets.
    pub(super) fn ipmi(&mut self) -> ipmi::Policy {
        ipmi::Policy::new(std::mem::take(&mut self.bmcs))
    }

    /// Puts the grants to it: the policy, and the credentials that the plugin may name. Says what is wrong, and which files of
    /// `[tls]` cannot be used now.
    pub(super) fn policy(
        mut self,
        grants: &GrantsFile,
        targets: &[(Target, Option<std::time::Duration>)],
        wrong: &mut impl FnMut(String),
        problems: &mut Vec<String>,
    ) -> (Option<Policy>, HashMap<String, Credential>) {
        let addresses = targets.iter().map(|(t, _)| t.address.as_str());
        let mut policy = match &grants.http {
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
        let common = grants.tls.as_ref().map(|name| self.trust(name)).transpose();
        let common = common.map_err(|e| wrong(format!("[grants] tls: {e}"))).ok().flatten();
        if let Some(policy) = &mut policy {
            for (origin, trust) in std::mem::take(&mut self.origins) {
                if !policy.trust(Some(&origin), trust) {
                    wrong(format!("two targets of {origin} have another tls each"));
                }
            }
            common.into_iter().for_each(|trust| _ = policy.trust(None, trust));
            for entry in &grants.http_methods {
                let allowed = match entry.split_once(" targets/") {
                    Some((method, path)) => {
                        targets.iter().try_for_each(|(t, _)| policy.allow_method(&format!("{method} {}/{path}", Origin::of(&t.address)?)))
                    }
                    None => policy.allow_method(entry),
                };
                allowed.unwrap_or_else(|error| wrong(format!("[grants] http_methods: {error}")));
            }
        } else if !grants.http_methods.is_empty() {
            wrong("[grants] http_methods without http opens nothing".to_owned());
        }
        for bad in grants.credentials.iter().filter(|name| !self.config.credentials.contains_key(*name)) {
            wrong(format!("[grants] credentials: no [credentials.{bad}] is configured"));
        }
        let named: BTreeSet<&String> = targets.iter().filter_map(|(t, _)| t.credential.as_ref()).chain(&grants.credentials).collect();
        let mut attached = HashMap::new();
        for (name, credential) in named.into_iter().filter_map(|name| Some((name, self.config.credentials.get(name)?))) {
            let trust =
                credential.tls.as_ref().and_then(|tls| self.trust(tls).map_err(|e| wrong(format!("[credentials.{name}] {e}"))).ok());
            attached.insert(name.clone(), credential.attach(name, trust));
        }
        problems.extend(self.used.values().filter_map(|trust| trust.client().err()));
        (policy, attached)
    }
}
