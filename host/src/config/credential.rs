//! `[credentials.NAME]`: secrets that the host adds to requests, and those with which it logs in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use serde::{Deserialize, Serialize};

use crate::plugins::capabilities::http_policy::Origin;
use crate::plugins::capabilities::login::{Keystone, Login, Way, Who};
use crate::plugins::capabilities::tls::Trust;
use crate::plugins::capabilities::{Credential as Attached, Secret};

/// A secret that the host adds to requests to `origins`; never seen by a plugin. Files are read at each use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    #[serde(default, rename = "type")]
    pub kind: CredentialKind,
    pub origins: Vec<String>,
    pub bearer_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    /// Redfish: Basic where a service has no sessions.
    pub basic_fallback: Option<bool>,
    /// Keystone: with the version, `https://keystone:5000/v3`.
    pub auth_url: Option<String>,
    pub user_domain: Option<String>,
    pub project: Option<String>,
    pub project_domain: Option<String>,
    /// Keystone: its id, in place of a user; `password_file` holds its secret.
    pub application_credential: Option<String>,
    /// Keystone: a `[tls.NAME]` for `auth_url`.
    pub tls: Option<String>,
}

/// How the secret is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// With each request: a bearer token, or Basic.
    #[default]
    Header,
    /// To open a session of the Redfish service that is asked.
    Redfish,
    /// To get a token of OpenStack's identity service.
    Keystone,
}

impl Credential {
    /// What is wrong with it, before any file is read.
    pub(super) fn problem(&self, tls: &BTreeMap<String, crate::plugins::capabilities::tls::Spec>) -> Option<String> {
        use CredentialKind::{Header, Keystone, Redfish};
        let given = [
            ("bearer_file", self.bearer_file.is_some(), &[Header][..]),
            ("basic_fallback", self.basic_fallback.is_some(), &[Redfish]),
            ("auth_url", self.auth_url.is_some(), &[Keystone]),
            ("user_domain", self.user_domain.is_some(), &[Keystone]),
            ("project", self.project.is_some(), &[Keystone]),
            ("project_domain", self.project_domain.is_some(), &[Keystone]),
            ("application_credential", self.application_credential.is_some(), &[Keystone]),
            ("tls", self.tls.is_some(), &[Keystone]),
        ];
        if let Some((key, ..)) = given.iter().find(|(_, is_given, kinds)| *is_given && !kinds.contains(&self.kind)) {
            return Some(format!("{key} is not for type = {:?}", self.name()));
        }
        match self.kind {
            Header => None,
            Redfish if self.username.is_none() || self.password_file.is_none() => {
                Some("type = \"redfish\" needs username and password_file".to_owned())
            }
            Redfish => {
                let plain = |o: &&String| !Origin::of(o).is_ok_and(|o| o.is_https());
                let bad = self.origins.iter().find(plain)?;
                Some(format!("origins: {bad:?}: a password is sent for a session over https only"))
            }
            Keystone => {
                let Some(url) = &self.auth_url else { return Some("type = \"keystone\" needs auth_url".to_owned()) };
                if let Err(error) = Origin::of(url) {
                    return Some(format!("auth_url: {error}"));
                }
                if !url.trim_end_matches('/').ends_with("/v3") {
                    return Some(format!(
                        "auth_url = {url:?}: the address of its version 3 is expected, such as \"https://keystone:5000/v3\""
                    ));
                }
                if let Some(name) = self.tls.as_ref().filter(|name| !tls.contains_key(*name)) {
                    return Some(format!("no [tls.{name}] is configured"));
                }
                if self.tls.as_ref().and_then(|name| tls.get(name)).is_some_and(|spec| spec.insecure) {
                    return Some("its tls is insecure: no secret is sent over it; pin_sha256 makes it sure".to_owned());
                }
                let user = self.username.is_some() && self.project.is_some();
                match self.password_file.is_some() && (user != self.application_credential.is_some()) {
                    true => None,
                    false => Some("password_file is needed, and username with project or else application_credential".to_owned()),
                }
            }
        }
    }

    fn name(&self) -> &'static str {
        match self.kind {
            CredentialKind::Header => "header",
            CredentialKind::Redfish => "redfish",
            CredentialKind::Keystone => "keystone",
        }
    }

    /// What of it goes with a plugin's requests. `trust` is the one that it names.
    pub(super) fn attach(&self, name: &str, trust: Option<Arc<Trust>>) -> Attached {
        let text = |t: &Option<String>, default: &str| t.clone().unwrap_or_else(|| default.to_owned());
        let way = match self.kind {
            CredentialKind::Header => return Attached { secret: self.header(), origins: self.origins.clone() },
            CredentialKind::Redfish => {
                Way::Redfish { username: text(&self.username, ""), basic_fallback: self.basic_fallback.unwrap_or(false) }
            }
            CredentialKind::Keystone => Way::Keystone(Keystone {
                auth_url: text(&self.auth_url, ""),
                who: match &self.application_credential {
                    Some(id) => Who::Application(id.clone()),
                    None => Who::User {
                        name: text(&self.username, ""),
                        domain: text(&self.user_domain, "Default"),
                        project: text(&self.project, ""),
                        project_domain: text(&self.project_domain, "Default"),
                    },
                },
                trust,
            }),
        };
        let login = Login { name: name.to_owned(), secret_file: self.password_file.clone().unwrap_or_default(), way };
        Attached { secret: Secret::Login(Arc::new(login)), origins: self.origins.clone() }
    }

    fn header(&self) -> Secret {
        let c = self.clone();
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map(|s| s.trim_end().to_owned())
                .map_err(|e| format!("the credential's file cannot be read: {}", e.kind()))
        };
        Secret::Header(Arc::new(move || {
            let value = match (&c.bearer_file, &c.username, &c.password_file) {
                (Some(token), ..) => format!("Bearer {}", read(token)?),
                (None, Some(user), Some(password)) => {
                    let pair = format!("{user}:{}", read(password)?);
                    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
                }
                _ => return Err("the credential needs bearer_file, or username and password_file".to_owned()),
            };
            Ok(("authorization".to_owned(), value))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<String> {
        let tls = toml::from_str("[os]\nca_file = \"/ca\"\n[lax]\ninsecure = true\n").unwrap();
        toml::from_str::<Credential>(text).unwrap().problem(&tls)
    }

    #[test]
    fn a_token_is_read_when_it_is_used_so_that_one_that_rotates_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("origins = [\"https://api\"]\nbearer_file = {:?}\n", file.path());
        let Secret::Header(make) = toml::from_str::<Credential>(&text).unwrap().attach("api", None).secret else { panic!("a header") };
        for token in ["first", "second"] {
            std::fs::write(file.path(), format!("{token}\n")).unwrap();
            assert_eq!(make().unwrap().1, format!("Bearer {token}"));
        }
        std::fs::remove_file(file.path()).unwrap();
        assert!(make().unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn what_a_login_lacks_or_cannot_have_is_named() {
        let redfish = "type = \"redfish\"\norigins = [\"https://bmc1\"]\nusername = \"m\"\npassword_file = \"/p\"\n";
        let keystone =
            "type = \"keystone\"\norigins = [\"https://nova:8774\"]\nauth_url = \"https://keystone:5000/v3\"\npassword_file = \"/p\"\n";
        for good in [
            "origins = []\nbearer_file = \"/t\"\n".to_owned(),
            redfish.to_owned(),
            format!("{redfish}basic_fallback = true\n"),
            format!("{keystone}username = \"m\"\nproject = \"admin\"\ntls = \"os\"\n"),
            format!("{keystone}application_credential = \"id\"\n"),
        ] {
            assert_eq!(problem(&good), None, "{good}");
        }
        for (bad, expected) in [
            (redfish.replace("https", "http"), "over https only"),
            (redfish.replace("username = \"m\"\n", ""), "needs username and password_file"),
            (format!("{redfish}project = \"x\"\n"), "project is not for type = \"redfish\""),
            ("origins = []\nbasic_fallback = true\n".to_owned(), "basic_fallback is not for type = \"header\""),
            (keystone.to_owned(), "or else application_credential"),
            (format!("{keystone}username = \"m\"\nproject = \"p\"\napplication_credential = \"id\"\n"), "or else application_credential"),
            (format!("{keystone}application_credential = \"id\"\ntls = \"none\"\n"), "no [tls.none]"),
            (format!("{keystone}application_credential = \"id\"\ntls = \"lax\"\n"), "insecure"),
            (keystone.replace("/v3", "/v2.0"), "version 3"),
            (keystone.replace("https://keystone:5000/v3", "http://169.254.169.254/v3"), "never reached"),
        ] {
            let found = problem(&bad).unwrap_or_default();
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }
}
