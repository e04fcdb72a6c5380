//! Runs a component in the real host, in this process, against recorded answers: the same engine, budgets, grants and checks
//! that an operator's host has, without a directory, a schedule or an API around it. See docs/PLUGIN_GUIDE.md.

mod recorded;
pub mod shipped;
pub mod sources;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
pub use kcloud_monitor::catalogue::Catalogue;
pub use kcloud_monitor::inventory::batch::{Batch, BatchSubject};
pub use kcloud_monitor::inventory::{Kind, Reason};
use kcloud_monitor::plugins::capabilities::globs::Globs;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
pub use kcloud_monitor::plugins::capabilities::nvml::Driver;
use kcloud_monitor::plugins::capabilities::pod_resources::Kubelet;
use kcloud_monitor::plugins::capabilities::{Commons, Credential, Grants, Secret, Shared, ipmi, log};
pub use kcloud_monitor::plugins::check::PastSeries;
pub use kcloud_monitor::plugins::contract::{RangeQuery, Target};
use kcloud_monitor::plugins::generation::{Compiled, Generation};
pub use kcloud_monitor::plugins::limits::Limits;
use kcloud_monitor::plugins::verify::Verified;
use kcloud_monitor::plugins::{Failure, Runtime};
pub use recorded::{Answer, Recorded};

/// A loaded component.
pub struct Plugin {
    runtime: Arc<Runtime>,
    catalogue: Arc<Catalogue>,
    generation: Arc<Generation>,
    log: Arc<log::Tail>,
}

/// The BMC of a target, and who logs in there.
pub struct Bmc {
    /// The target's id.
    pub target: String,
    /// `ipmi://HOST[:PORT]`
    pub address: String,
    pub user: String,
    pub password: String,
}

impl Bmc {
    fn reached(self) -> Result<((String, ipmi::Bmc), (String, Credential))> {
        let Self { target, address, user, password } = self;
        let secret = Secret::password(move || Ok((user.clone(), password.clone())));
        let place = ipmi::Place::of(&address)?;
        let privilege = ipmi::Privilege::default();
        let bmc = ipmi::Bmc { place, credential: target.clone(), privilege, suites: ipmi::Suite::ALL.to_vec() };
        Ok(((target.clone(), bmc), (target, Credential { secret, origins: vec![address] })))
    }
}

/// How a component is loaded; `Setup::default()` is what an operator gets who writes nothing but targets.
pub struct Setup {
    /// The `[config]` table.
    pub config: serde_json::Value,
    /// Addresses that may be reached over HTTP; none of them withholds the right.
    pub http: Vec<String>,
    /// Globs of files that may be read.
    pub files: Vec<String>,
    /// Where its store lies; none withholds the right.
    pub state: Option<PathBuf>,
    /// BMCs of its targets; none at all withholds the right.
    pub ipmi: Option<Vec<Bmc>>,
    /// The driver's library and the `kcloud-monitor` that opens it; none withholds the right.
    pub nvml: Option<Driver>,
    /// The kubelet's socket; none withholds the right.
    pub pod_resources: Option<PathBuf>,
    pub limits: Limits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: serde_json::json!({}),
            http: Vec::new(),
            files: Vec::new(),
            state: None,
            ipmi: None,
            nvml: None,
            pod_resources: None,
            limits: Limits::default(),
        }
    }
}

impl Plugin {
    /// Loads a component's file as the host does: compile, link what is granted, describe, check the configuration.
    pub async fn load(file: &Path, setup: Setup) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("{}: is it built? `cargo xtask components`", file.display()))?;
        let runtime = Arc::new(Runtime::new(None)?);
        let catalogue = Arc::new(Catalogue::default());
        let log: Arc<log::Tail> = Arc::default();
        let name = file.file_stem().and_then(|n| n.to_str()).unwrap_or("plugin").to_owned();
        let (compiling, verified) = (runtime.clone(), Verified::vouched(&name, bytes)?);
        let compiled = tokio::task::spawn_blocking(move || Compiled::new(&compiling, &verified)).await??;
        let files = match setup.files.is_empty() {
            true => None,
            false => Some(Globs::new(&setup.files).map_err(anyhow::Error::msg)?),
        };
        let http = (!setup.http.is_empty()).then(|| Policy::new(setup.http.iter().map(String::as_str)));
        let mut credentials = HashMap::new();
        let reached = setup.ipmi.map(|all| all.into_iter().map(Bmc::reached).collect::<Result<Vec<_>>>()).transpose()?;
        let ipmi = reached.map(|all| {
            ipmi::Policy::new(all.into_iter().map(|(bmc, (name, credential))| {
                credentials.insert(name, credential);
                bmc
            }))
        });
        let pod_resources = setup.pod_resources.map(|socket| Kubelet { socket });
        let grants = Grants { http, files, state: setup.state.is_some(), ipmi, nvml: setup.nvml, pod_resources };
        let shared = Shared::new(&name, setup.limits, grants, credentials, Commons::new()?, setup.state, log.clone());
        let (building, known, config) = (runtime.clone(), catalogue.clone(), setup.config);
        let handle = runtime.handle();
        let generation = handle.spawn(async move { Generation::new(building, &known, compiled, shared, &config, 1, 0).await }).await??;
        Ok(Self { runtime, catalogue, generation: Arc::new(generation), log })
    }

    /// Reads a target once, all pages of it, within `wall`.
    pub async fn collect(&self, target: &Target, wall: Duration) -> Result<Collected, Failure> {
        let (generation, catalogue, target) = (self.generation.clone(), self.catalogue.clone(), target.clone());
        let call = self.runtime.handle().spawn(async move { generation.collect(&catalogue, &target, wall).await });
        let batch = call.await.map_err(|e| Failure::Host(e.to_string()))??;
        Ok(Collected { batch, catalogue: self.catalogue.clone() })
    }

    /// Asks about the past; nothing of a component that does not export `history`.
    pub async fn range(&self, target: &Target, query: &RangeQuery, wall: Duration) -> Result<Vec<PastSeries>, Failure> {
        let (generation, target, query) = (self.generation.clone(), target.clone(), query.clone());
        let call = self.runtime.handle().spawn(async move { generation.range(&target, &query, wall).await });
        call.await.map_err(|e| Failure::Host(e.to_string()))?
    }

    /// What it logged.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }
}

/// A target with this address, as an operator would write it.
pub fn target(id: &str, address: &str, labels: &[(&str, &str)]) -> Target {
    Target {
        id: id.to_owned(),
        address: address.to_owned(),
        cluster: "cluster1".to_owned(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        credential: None,
        config: "{}".to_owned(),
    }
}

/// What one read gave, after the host's checks.
pub struct Collected {
    pub batch: Batch,
    catalogue: Arc<Catalogue>,
}

impl Collected {
    /// Subjects of a kind, with their place in the batch.
    pub fn subjects(&self, kind: Kind) -> impl Iterator<Item = (u32, &BatchSubject)> {
        self.batch.subjects.iter().enumerate().filter(move |(_, s)| s.kind == kind).map(|(i, s)| (i as u32, s))
    }

    /// The subject of a kind that has this label, of its identity or descriptive.
    pub fn subject(&self, kind: Kind, key: &str, value: &str) -> Option<u32> {
        let has = |s: &BatchSubject| s.identity.iter().chain(&s.labels).any(|(k, v)| k == key && v == value);
        self.subjects(kind).find(|(_, s)| has(s)).map(|(i, _)| i)
    }

    /// The reading of a metric, in base units.
    pub fn value(&self, subject: u32, metric: &str) -> Option<f64> {
        let named = |p: &&kcloud_monitor::inventory::batch::BatchPoint| p.subject == subject && *self.catalogue.name(p.metric) == *metric;
        self.batch.points.iter().find(named).map(|p| p.value)
    }

    /// Why a metric has no reading.
    pub fn gap(&self, subject: u32, metric: &str) -> Option<Reason> {
        let named = |g: &&kcloud_monitor::inventory::batch::BatchGap| g.subject == subject && *self.catalogue.name(g.metric) == *metric;
        self.batch.gaps.iter().find(named).map(|g| g.reason)
    }
}
