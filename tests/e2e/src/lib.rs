//! Helpers of the end-to-end tests: a fleet, a host over it, and waiting for a condition with a deadline.

pub mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kcloud_fleet_sim::{Faults, Fleet, FleetConfig};
use kcloud_monitor::alerts;
use kcloud_monitor::api::ClusterInfo;
use kcloud_monitor::auth::Auth;
use kcloud_monitor::export::{Exports, Limits};
use kcloud_monitor::history::Keep;
use kcloud_monitor::host::{Host, Look, Options};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::verify::Policy;
use kcloud_monitor::power::Facility;
use serde_json::Value;
use tokio::net::TcpListener;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A built component; `cargo xtask test` builds them first.
pub fn component(name: &str) -> PathBuf {
    let places = [root().join("target/dist/plugins"), root().join("target/guests")];
    let found = places.iter().map(|p| p.join(format!("{name}.wasm"))).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("{name}.wasm is not built: run `cargo xtask components`"))
}

/// Waits until `check` gives something, for at most two minutes: a busy machine is slow, and no test fails for that.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A simulated fleet that is served.
pub async fn fleet(nodes: usize, faults: Faults) -> (Arc<Fleet>, SocketAddr) {
    let config = FleetConfig { seed: 1, nodes, gpus_per_node: 8, tick: Duration::from_secs(1), faults, others: Vec::new() };
    let fleet = Arc::new(Fleet::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(kcloud_fleet_sim::serve(fleet.clone(), listener, std::future::pending()));
    (fleet, address)
}

/// A host that serves on a loopback port, with a plugins directory of its own.
pub struct Running {
    pub host: Arc<Host>,
    pub base: String,
    pub dir: tempfile::TempDir,
    pub settings: Arc<Mutex<Vec<Settings>>>,
    facilities: Arc<Mutex<Vec<Facility>>>,
    alerts: Arc<Mutex<Option<alerts::Settings>>>,
    pub client: reqwest::Client,
    serving: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Starts with these components and settings.
    pub async fn start(components: &[&str], settings: Vec<Settings>) -> Self {
        Self::start_with(components, settings, |_| ()).await
    }

    /// The same, with other options.
    pub async fn start_with(components: &[&str], settings: Vec<Settings>, change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let plugins_dir = dir.path().join("plugins");
        std::fs::create_dir(&plugins_dir).expect("a new directory");
        for name in components {
            std::fs::copy(component(name), plugins_dir.join(format!("{name}.wasm"))).expect("copied");
        }
        Self::over(dir, settings, Arc::default(), change).await
    }

    /// Ends it and starts another over the same directories.
    pub async fn restart(self, settings: Vec<Settings>) -> Self {
        let Self { host, dir, serving, client, alerts: rules, .. } = self;
        // Its idle connections keep the host's tasks alive.
        drop(client);
        serving.abort();
        // The serving task holds the host, and the host its history's file.
        serving.await.expect_err("aborted");
        let (held, alerts) = (Arc::downgrade(&host.app.history), Arc::downgrade(&host.app.alerts));
        drop(host);
        until("the history is closed", async || held.strong_count().eq(&0).then_some(())).await;
        until("the alerts are closed", async || alerts.strong_count().eq(&0).then_some(())).await;
        Self::over(dir, settings, rules, |_| ()).await
    }

    async fn over(
        dir: tempfile::TempDir,
        settings: Vec<Settings>,
        alerts: Arc<Mutex<Option<alerts::Settings>>>,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let settings = Arc::new(Mutex::new(settings));
        let mut options = Options {
            plugins_dir: dir.path().join("plugins"),
            state_dir: dir.path().join("state"),
            kept_dir: dir.path().join("kept"),
            history_dir: dir.path().join("history"),
            history_keep: Keep { max_bytes: 1 << 28, ..Keep::default() },
            alerts_dir: dir.path().join("alerts"),
            reports_dir: dir.path().join("reports"),
            exports: Exports::open(&dir.path().join("exports"), Limits::default()).expect("a new directory"),
            beyond: kcloud_monitor::host::Beyond::default(),
            // Shared by all tests: what they load is mostly the same.
            cache_dir: Some(root().join("target/e2e-code")),
            compiler: None,
            policy: Policy { is_loopback: true, ..Policy::default() },
            auth: Auth::in_memory("admin", "changeme").expect("a user"),
            plugins_config_dir: None,
            clusters: vec![ClusterInfo { name: "cluster1".into(), ..ClusterInfo::default() }],
            forget_after: Duration::from_secs(3_600),
            stream: kcloud_monitor::stream::Limits::default(),
            cors: Vec::new(),
            is_agent: false,
        };
        change(&mut options);
        let facilities: Arc<Mutex<Vec<Facility>>> = Arc::default();
        let (shared, metered, rules) = (settings.clone(), facilities.clone(), alerts.clone());
        let look = move || Look {
            alerts: rules.lock().expect("not poisoned").clone(),
            facilities: Some(metered.lock().expect("not poisoned").clone()),
            ..shared.lock().expect("not poisoned").clone().into()
        };
        let host = Host::start(options, look).await.expect("it starts");
        let host = Arc::new(host);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let answering = host.clone();
        let serving = tokio::spawn(async move { answering.serve(listener, std::future::pending()).await });
        Self { host, base, dir, settings, facilities, alerts, client: reqwest::Client::new(), serving }
    }

    /// Rules and who is told, from now on and over a restart.
    pub async fn set_alerts(&self, settings: alerts::Settings) {
        *self.alerts.lock().expect("not poisoned") = Some(settings.clone());
        let alerts = self.host.app.alerts.clone();
        tokio::task::spawn_blocking(move || alerts.set(&settings)).await.expect("they are set");
    }

    /// What is metered around the servers from now on.
    pub fn set_facilities(&self, facilities: Vec<Facility>) {
        *self.facilities.lock().expect("not poisoned") = facilities;
        self.host.look_again.notify_one();
    }

    /// Where components lie.
    pub fn plugins_dir(&self) -> PathBuf {
        self.dir.path().join("plugins")
    }

    /// A GET with the admin's credentials.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let request = self.client.get(format!("{}{path}", self.base)).basic_auth("admin", Some("changeme"));
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// State and reason of a plugin.
    pub async fn plugin(&self, name: &str) -> (String, String) {
        let (_, body) = self.get(&format!("/api/v1/system/plugins/{name}")).await;
        let text = |key: &str| body["data"][key].as_str().unwrap_or("").to_owned();
        (text("state"), text("reason"))
    }

    /// Waits for a state and gives its reason.
    pub async fn plugin_is(&self, name: &str, state: &str) -> String {
        until(&format!("{name} is {state}"), async || {
            let (now, reason) = self.plugin(name).await;
            (now == state).then_some(reason)
        })
        .await
    }
}
