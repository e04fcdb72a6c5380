//! The parts put together: plugins are reconciled, targets read, snapshots published, requests answered.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch as signal};

use crate::alerts::{self, Alerts};
use crate::api::{self, App, ClusterInfo, WebOrigin};
use crate::auth::Auth;
use crate::catalogue::Catalogue;
use crate::collect::Collector;
use crate::export::Exports;
use crate::history::remote::{self, RemoteWrite};
use crate::history::{self, Embedded, Endpoint, Engine, Fleet, History, HistoryError, Keep, Point};
use crate::inventory::{Inventory, Kind, NewPoint, Publication, Snapshot};
use crate::net;
use crate::now_ms;
use crate::plugins::engine::Compiler;
use crate::plugins::verify::Policy;
use crate::plugins::watch::Watch;
use crate::plugins::{Registry, Runtime, Settings};
use crate::power::{Facility, Recorder};
use crate::report::{self, Reports};
use crate::stream::{self, Hub};
use crate::tls::Tls;

/// Snapshots are published at most this often (architecture, invariant 3).
const PUBLISH: Duration = Duration::from_millis(250);
/// Users that the command line changed count after this.
const USERS: Duration = Duration::from_secs(2);
/// History is looked after (sealed, rolled up, dropped) this often.
const UPKEEP: Duration = Duration::from_secs(10);
/// Connections may end their answers for this long after a stop.
const GRACE: Duration = Duration::from_secs(10);
/// And streams may say why they end.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a host is made of.
pub struct Options {
    pub plugins_dir: PathBuf,
    pub state_dir: PathBuf,
    /// Components that worked, and the ledger of what was decided against.
    pub kept_dir: PathBuf,
    pub history_dir: PathBuf,
    pub history_keep: Keep,
    /// What is kept of alerts.
    pub alerts_dir: PathBuf,
    /// Where it remembers which reports were made.
    pub reports_dir: PathBuf,
    /// Files of many rows.
    pub exports: Exports,
    /// Where history goes beyond this host.
    pub beyond: Beyond,
    /// For compiled code, where no compiler is given.
    pub cache_dir: Option<PathBuf>,
    /// Where components are compiled by a process of their own; it fills `cache_dir`.
    pub compiler: Option<Compiler>,
    /// Which components are trusted, until a look says otherwise.
    pub policy: Policy,
    pub auth: Auth,
    /// Where plugins' settings lie, when they come from files.
    pub plugins_config_dir: Option<PathBuf>,
    pub clusters: Vec<ClusterInfo>,
    pub forget_after: Duration,
    pub stream: stream::Limits,
    /// Whose pages may read answers.
    pub cors: Vec<WebOrigin>,
    /// It only reads, for another host: no history, no alerts, no reports, a small cache.
    pub is_agent: bool,
}

/// History beyond the host.
#[derive(Default)]
pub struct Beyond {
    /// What is committed leaves.
    pub remote_write: Option<remote::Settings>,
    /// A server that answers for the past, with the matchers of each query.
    pub engine: Option<(Endpoint, BTreeMap<String, String>)>,
    /// What other hosts see now is read from it this often.
    pub view_every: Option<Duration>,
}

/// What the operator's files say now.
#[derive(Default)]
pub struct Look {
    pub settings: Vec<Settings>,
    /// What is wrong with them; the last good ones stay.
    pub problems: Vec<String>,
    /// Their change means: look again.
    pub directories: Vec<PathBuf>,
    /// `None` leaves them as they are.
    pub clusters: Option<Vec<ClusterInfo>>,
    pub facilities: Option<Vec<Facility>>,
    pub reports: Option<report::Settings>,
    pub forget_after: Option<Duration>,
    pub policy: Option<Policy>,
    /// Of all plugins together.
    pub plugins_memory: Option<usize>,
    /// Rules, and who is told; `None` leaves them as they are, at first the ready-made ones.
    pub alerts: Option<alerts::Settings>,
}

impl From<Vec<Settings>> for Look {
    fn from(settings: Vec<Settings>) -> Self {
        Self { settings, ..Self::default() }
    }
}

/// A host that collects; drop it and it stops.
pub struct Host {
    pub app: App,
    /// Tell it to look at the files again.
    pub look_again: Arc<Notify>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Host {
    /// Loads the plugins once, then goes on in the background. `look` is asked again at each change of a watched directory.
    pub async fn start<L: Into<Look> + Send>(options: Options, look: impl Fn() -> L + Send + Sync + 'static) -> anyhow::Result<Self> {
        let runtime = match options.compiler {
            Some(compiler) => Runtime::with_compiler(compiler)?,
            None => Runtime::new(options.cache_dir.as_deref())?,
        };
        let runtime = Arc::new(runtime);
        let catalogue = Arc::new(Catalogue::default());
        let registry =
            Arc::new(Registry::new(runtime, catalogue, options.plugins_dir.clone(), options.state_dir, options.kept_dir, options.policy)?);
        let is_agent = options.is_agent;
        let store = match is_agent {
            true => None,
            false => Some(Arc::new(Embedded::open(&options.history_dir, options.history_keep)?)),
        };
        let remote = match (options.beyond.remote_write, &store) {
            (Some(settings), Some(store)) => Some(Arc::new(RemoteWrite::open(&options.history_dir, store.clone(), settings)?)),
            _ => None,
        };
        let fleet = options
            .beyond
            .view_every
            .zip(options.beyond.engine.clone())
            .map(|(every, (server, labels))| (every, Fleet::new(Engine::new(&server, labels), every.as_millis() as i64)));
        let history: Arc<dyn History> = match (store, options.beyond.engine) {
            (None, _) => Arc::new(history::Nothing),
            (Some(store), Some((server, labels))) => Arc::new(history::Beyond::new(store, Engine::new(&server, labels), remote.clone())),
            (Some(store), None) => store,
        };
        let inventory = Arc::new(Inventory::new(history.committed()?));
        let mut app = App::new(
            inventory.clone(),
            history.clone(),
            registry.clone(),
            Arc::new(options.auth),
            options.plugins_config_dir,
            options.clusters,
        );
        app.remote_write.clone_from(&remote);
        if !is_agent {
            app.alerts = Arc::new(Alerts::open(&options.alerts_dir)?);
        }
        app.streams = Hub::new(inventory.clone(), app.alerts.clone(), options.stream);
        let watching = app.alerts.clone().run(inventory.clone(), registry.catalogue().clone());
        let minutes = options.history_keep.minutes;
        let reports_dir = (!is_agent).then_some(&*options.reports_dir);
        app.reports = Arc::new(Reports::open(inventory.clone(), history.clone(), app.alerts.clone(), reports_dir, minutes));
        app.exports = Arc::new(options.exports);
        app.cors = options.cors.into();
        if is_agent {
            app.keep_less();
        }

        let forget_ms = Arc::new(AtomicI64::new(options.forget_after.as_millis() as i64));
        let look_again = registry.look_again.clone();
        let mut collector = Collector::new(registry.clone(), inventory.clone());
        let catalogue = registry.catalogue().clone();
        let (again, forget, seen) = (look_again.clone(), forget_ms.clone(), app.clone());
        let look = Arc::new(look);
        let reconcile = tokio::spawn(async move {
            let mut watch = Watch::new(std::slice::from_ref(&options.plugins_dir));
            let mut watched = Vec::new();
            loop {
                let asked = look.clone();
                let Ok(now) = tokio::task::spawn_blocking(move || asked().into()).await else { continue };
                let mut now: Look = now;
                if is_agent {
                    // Whoever reads it has rules and makes reports.
                    (now.alerts, now.reports) = (Some(alerts::Settings::default()), None);
                }
                if watched != now.directories {
                    watched = now.directories.clone();
                    let all: Vec<PathBuf> = std::iter::once(&options.plugins_dir).chain(&watched).cloned().collect();
                    watch = Watch::new(&all);
                    // Once more, so that nothing falls between the look and the watch.
                    again.notify_one();
                }
                seen.take(&now);
                let (alerts, settings) = (seen.alerts.clone(), now.alerts.clone());
                // What ends by it is written.
                let set = tokio::task::spawn_blocking(move || match settings {
                    Some(settings) => alerts.set(&settings),
                    None => alerts.begin(),
                });
                if let Err(error) = set.await {
                    tracing::error!(%error, "rules of alerts were not taken");
                }
                if let Some(forget_after) = now.forget_after {
                    forget.store(forget_after.as_millis() as i64, Ordering::Relaxed);
                }
                if let Some(policy) = now.policy {
                    registry.set_policy(policy);
                }
                if let Some(bytes) = now.plugins_memory {
                    registry.commons().memory.set_limit(bytes);
                }
                registry.reconcile(now.settings).await;
                loop {
                    collector.sync();
                    tokio::select! {
                        () = watch.changed() => break,
                        () = again.notified() => break,
                        () = registry.changed.notified() => {}
                    }
                }
            }
        });
        let (sending, alerts) = (remote.clone(), app.alerts.clone());
        let publish = tokio::spawn(async move {
            let mut tick = tokio::time::interval(PUBLISH);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let recorder = Arc::new(Mutex::new(Recorder::default()));
            loop {
                tick.tick().await;
                let Some(next) = inventory.prepare(now_ms(), forget_ms.load(Ordering::Relaxed)) else { continue };
                if is_agent {
                    inventory.publish(next.snapshot);
                    continue;
                }
                let (history, remote, catalogue, recorder) = (history.clone(), remote.clone(), catalogue.clone(), recorder.clone());
                let (inventory, alerts) = (inventory.clone(), alerts.clone());
                let published = tokio::task::spawn_blocking(move || {
                    // Durable first: what a client can see is on disk.
                    let (snapshot, result) = commit(&*history, remote.as_deref(), &catalogue, &recorder, next);
                    if let Err(error) = result {
                        tracing::error!(%error, "a snapshot's points were not kept; it is served all the same");
                    }
                    inventory.publish(snapshot.clone());
                    alerts.look_at(&snapshot, &catalogue, now_ms());
                    inventory.set_faults(&alerts.faults());
                });
                if let Err(error) = published.await {
                    tracing::error!(%error, "a snapshot was not published, or not looked at");
                }
            }
        });
        let (kept, exports, answers) = (app.history.clone(), app.exports.clone(), app.clone());
        let upkeep = tokio::spawn(async move {
            let mut tick = tokio::time::interval(UPKEEP);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                answers.upkeep(now_ms());
                let (kept, exports) = (kept.clone(), exports.clone());
                let done = tokio::task::spawn_blocking(move || {
                    exports.upkeep(now_ms());
                    kept.upkeep(now_ms())
                })
                .await;
                if let Ok(Err(error)) = done {
                    tracing::error!(%error, "history was not looked after");
                }
            }
        });
        let auth = app.auth.clone();
        let users = tokio::spawn(async move {
            let mut tick = tokio::time::interval(USERS);
            loop {
                tick.tick().await;
                let auth = auth.clone();
                if let Err(error) = tokio::task::spawn_blocking(move || auth.reload()).await {
                    tracing::error!(%error, "users were not looked at");
                }
            }
        });
        let named = app.clone();
        let reports = tokio::spawn(app.reports.clone().follow(move || named.clusters().iter().map(|c| c.name.clone()).collect()));
        let mut tasks = vec![reconcile, publish, upkeep, users, tokio::spawn(watching), reports];
        tasks.extend(fleet.map(|(every, fleet)| tokio::spawn(view(app.clone(), every, fleet))));
        tasks.extend(sending.map(|remote| tokio::spawn(remote.run())));
        Ok(Self { app, look_again, tasks })
    }

    /// Answers requests until `stop` is done, then lets answers under way end.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let service = api::router(self.app.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let (tell, told) = signal::channel(false);
        // Weakly: who waits for a stop that never comes must not keep them.
        let streams = Arc::downgrade(&self.app.streams);
        let serving = axum::serve(listener.tap_io(|tcp| net::tune(tcp)), service).with_graceful_shutdown(async move {
            stop.await;
            streams.upgrade().iter().for_each(|s| s.stop());
            tell.send_replace(true);
        });
        let mut heard = told;
        let late = async move {
            if heard.wait_for(|stopped| *stopped).await.is_ok() {
                tokio::time::sleep(GRACE).await;
            }
        };
        tokio::select! {
            served = serving => served?,
            () = late => tracing::warn!("connections were still open at the end of the grace period"),
        }
        self.say_goodbye().await;
        Ok(())
    }
}

impl Host {
    /// Gives back the sessions that it opened at targets; none is opened afterwards.
    pub async fn log_out(&self) {
        self.app.registry.commons().logins.end().await;
    }

    /// The same over HTTPS. `told` means: read the certificate again.
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        tls: Tls,
        told: Arc<Notify>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let mut app = self.app.clone();
        app.is_tls = true;
        let service = api::router(app).into_make_service_with_connect_info::<SocketAddr>();
        let handle = axum_server::Handle::new();
        let (stopping, streams) = (handle.clone(), Arc::downgrade(&self.app.streams));
        tokio::spawn(async move {
            stop.await;
            streams.upgrade().iter().for_each(|s| s.stop());
            stopping.graceful_shutdown(Some(GRACE));
        });
        let server =
            axum_server::from_tcp_rustls(listener.into_std()?, tls.config.clone())?.map(|tls| tls.acceptor(net::Tuned)).handle(handle);
        tokio::select! {
            served = server.serve(service) => served?,
            () = tls.follow(told) => {}
        }
        self.say_goodbye().await;
        Ok(())
    }

    /// Streams say why they end; the server itself does not know of WebSockets any more.
    async fn say_goodbye(&self) {
        self.app.streams.stop();
        if tokio::time::timeout(GOODBYE, self.app.streams.ended()).await.is_err() {
            tracing::warn!(open = self.app.streams.open_connections(), "streams were still open at the end");
        }
    }
}

impl Host {
    /// Takes orders from this machine over a socket that only its owner can open, until the host ends.
    pub fn take_orders(&mut self, socket: &Path) -> anyhow::Result<()> {
        let dir = socket.parent().context("a socket lies in a directory")?;
        // The directory is closed before the socket is there: nobody else ever reaches it.
        std::fs::create_dir_all(dir)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
        match std::fs::remove_file(socket) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        let service = api::local(self.app.clone()).into_make_service();
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).await {
                tracing::error!(%error, "no orders are taken any more");
            }
        }));
        Ok(())
    }
}

/// Makes a snapshot's points durable and hands it on.
fn commit(
    history: &dyn History,
    remote: Option<&RemoteWrite>,
    catalogue: &Catalogue,
    recorder: &Mutex<Recorder>,
    next: Publication,
) -> (Arc<Snapshot>, Result<(), HistoryError>) {
    let mut names = std::collections::HashMap::new();
    let mut point = |p: NewPoint| Point {
        metric: names.entry(p.metric).or_insert_with(|| catalogue.name(p.metric)).clone(),
        subject: p.subject,
        at_ms: p.at_ms,
        value: p.value,
    };
    // The account adds a few to many: so many do not move for them.
    let mut points: Vec<Point> = Vec::with_capacity(next.points.len() + 2 * next.snapshot.of_kind(Kind::Node).len() + 1_024);
    points.extend(next.points.into_iter().map(&mut point));
    recorder.lock().unwrap_or_else(|e| e.into_inner()).note(&next.snapshot, &mut points);
    // Whose they are must be known whenever the points are there. History goes on without: the points are counted as unknown.
    if let Some(Err(error)) = remote.map(|r| r.note(&next.snapshot, points.iter().map(|p| &p.subject))) {
        tracing::error!(%error, "remote write cannot keep whose the points are");
    }
    let result = history.commit(next.snapshot.sequence, next.snapshot.at_ms, &points);
    (next.snapshot, result)
}

/// Reads again and again what other hosts see.
async fn view(app: App, every: Duration, mut fleet: Fleet) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (inventory, clusters) = (app.inventory.clone(), app.clusters());
        let read = tokio::task::spawn_blocking(move || {
            let names: Vec<String> = clusters.iter().map(|c| c.name.clone()).collect();
            fleet.read(&names, &inventory);
            fleet
        });
        fleet = match read.await {
            Ok(fleet) => fleet,
            Err(error) => return tracing::error!(%error, "what other hosts see is read no more"),
        };
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Their threads would hold the end of the program up.
        self.app.exports.end();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
