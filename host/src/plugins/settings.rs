//! What the operator says of one plugin, in the host's own terms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::call::Failure;
use super::capabilities::{Credential, Grants, RIGHTS};
use super::contract::{CollectError, Target};
use super::generation::LoadError;
use super::limits::Limits;
use super::places::Places;
use super::verify::ContentDigest;

/// What a configured component that is not in the directory means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// It may still come; until then the host is degraded.
    #[default]
    Wait,
    /// Nothing is wrong.
    Ignore,
    /// The host does not start.
    Fail,
}

/// What the operator says of one plugin.
#[derive(Clone)]
pub struct Settings {
    pub name: String,
    /// File stem of its component.
    pub component: String,
    pub enabled: bool,
    pub interval: Duration,
    pub timeout: Duration,
    pub grants: Grants,
    pub limits: Limits,
    pub config: serde_json::Value,
    pub targets: Vec<(Target, Option<Duration>)>,
    pub credentials: HashMap<String, Credential>,
    pub priority: i32,
    pub on_missing: OnMissing,
    /// Configured clusters; the first is the default.
    pub clusters: Vec<String>,
    /// Digests of its component that the operator trusts.
    pub pins: Vec<ContentDigest>,
    /// Cycles that a new version runs beside the old one before it takes over.
    pub shadow: u32,
    /// So many faults of its own in a row make a new version give way to the one before; 0 never.
    pub return_after: u32,
    /// Where its `[config]` stands, for whoever wrote it.
    pub places: Option<Arc<Places>>,
}

impl Settings {
    /// No rights and no targets: what a component without a `NAME.toml` gets.
    pub fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            component: name.to_owned(),
            enabled: true,
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            grants: Grants::default(),
            limits: Limits::default(),
            config: serde_json::json!({}),
            targets: Vec::new(),
            credentials: HashMap::new(),
            priority: 0,
            on_missing: OnMissing::default(),
            clusters: Vec::new(),
            pins: Vec::new(),
            shadow: 0,
            return_after: 3,
            places: None,
        }
    }

    /// What is wrong, one line each; what is wrong with `[config]` with file, line and column.
    pub fn faults(&self, error: &LoadError) -> Vec<String> {
        self.told(error).map_or_else(|| vec![error.to_string()], |(places, said)| places.faults(said))
    }

    /// The same for an answer: in one line, and without the file's folder.
    pub(super) fn reason(&self, error: &LoadError) -> String {
        self.told(error).map_or_else(|| error.to_string(), |(places, said)| places.brief(said))
    }

    fn told<'a>(&'a self, error: &'a LoadError) -> Option<(&'a Places, &'a str)> {
        match error {
            LoadError::Config(said) | LoadError::Configure(Failure::Guest(CollectError::Config(said))) => {
                Some((self.places.as_deref()?, said))
            }
            _ => None,
        }
    }

    /// What needs a new version when it changes. What a linked right reaches does not: it is taken over by what runs.
    pub(super) fn fingerprint(&self) -> String {
        let linked = RIGHTS.map(|right| self.grants.holds(right));
        format!("{linked:?} {:?} {}", self.limits, self.config)
    }
}
