//! History beyond the host, by real parts: what leaves by remote write for Debian's Prometheus and VictoriaMetrics comes back
//! by PromQL as the embedded store has it; and a Prometheus that is stopped, killed and started again gets everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcloud_e2e::{Running, fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::history::remote::{Counts, RemoteWrite, Settings};
use kcloud_monitor::history::{Aggregate, Beyond, Embedded, Endpoint, Engine, History, Keep, Observation, Point};
use kcloud_monitor::inventory::batch::{Batch, BatchPoint, BatchSubject};
use kcloud_monitor::inventory::{Inventory, Kind, Quality, SourceInfo};
use kcloud_monitor::power::{self, By, Recorder};

/// A server of its own process, ended by its id.
struct Part {
    child: Child,
    program: &'static str,
    dir: PathBuf,
    port: u16,
}

const PROMETHEUS: &str = "prometheus";
const VICTORIA: &str = "victoria-metrics";

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("a part did not end: {error}");
        }
    }
}

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("NOT RUN: {program} is missing; `apt-get install prometheus victoria-metrics` (cargo xtask test tries to)");
    }
    found
}

impl Part {
    async fn start(program: &'static str, dir: &Path, port: Option<u16>) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = port.unwrap_or_else(free);
        let mut command = Command::new(program);
        let data = dir.join("data");
        match program {
            PROMETHEUS => {
                let config = dir.join("prometheus.yml");
                std::fs::write(&config, "global: {}\n").unwrap();
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                    .arg("--web.enable-remote-write-receiver");
            }
            _ => {
                command
                    .arg(format!("-storageDataPath={}", data.display()))
                    .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                    .args(["-retentionPeriod=1", "-search.latencyOffset=0s"]);
            }
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let part = Self { child, program, dir: dir.to_owned(), port };
        let url = format!("{}/{}", part.base(), if program == PROMETHEUS { "-/ready" } else { "health" });
        until("the engine is ready", async || reqwest::get(&url).await.ok().filter(|r| r.status().is_success()).map(drop)).await;
        part
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn write(&self) -> Endpoint {
        Endpoint::new(&format!("{}/api/v1/write", self.base()), None, None, Duration::from_secs(2)).unwrap()
    }

    fn read(&self) -> Endpoint {
        Endpoint::new(&self.base(), None, None, Duration::from_secs(20)).unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it at once and starts another over its data.
    async fn killed_and_back(self) -> Self {
        let (program, dir, port) = (self.program, self.dir.clone(), self.port);
        drop(self);
        Self::start(program, &dir, Some(port)).await
    }
}

/// Cards whose readings are committed and leave.
struct Cards {
    inventory: Inventory,
    store: Arc<Embedded>,
    remote: Arc<RemoteWrite>,
    ids: Vec<String>,
    /// Cards by UUID, or nodes by name.
    kind: Kind,
    cluster: &'static str,
    /// Where the account of power is noted, too.
    recorder: Option<Mutex<Recorder>>,
    sending: tokio::task::JoinHandle<()>,
}

impl Drop for Cards {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Remote write that tells its subjects often.
fn leaving(engine: &Part) -> Settings {
    let (batch, subjects_every) = (Duration::from_millis(200), Duration::from_millis(300));
    Settings { endpoint: engine.write(), labels: BTreeMap::new(), max_bytes: 1 << 28, batch, subjects_every }
}

const WATTS: &str = "power_watts";

impl Cards {
    fn new(dir: &Path, count: usize, endpoint: Endpoint) -> Self {
        let store = Arc::new(Embedded::open(dir, Keep::default()).unwrap());
        let settings =
            Settings { endpoint, labels: BTreeMap::new(), max_bytes: 1 << 28, batch: Duration::from_millis(100), subjects_every: HOUR };
        let remote = Arc::new(RemoteWrite::open(dir, store.clone(), settings).unwrap());
        let sending = tokio::spawn(remote.clone().run());
        // Names that a query must escape.
        let ids = (0..count).map(|i| format!("GPU-{i}.a+b\"c\\d")).collect();
        Self { inventory: Inventory::new(0), store, remote, ids, kind: Kind::Accelerator, cluster: "cluster1", recorder: None, sending }
    }

    /// All cards are read at a moment; one without a value is not read.
    fn tick(&self, at_ms: i64, value: impl Fn(usize) -> Option<f64>) {
        let source = SourceInfo {
            plugin: "p".into(),
            target: "t".into(),
            cluster: self.cluster.into(),
            interval_ms: 15_000,
            priority: 0,
            max_subjects: 10_000,
            max_values: 1_000_000,
        };
        let own = |id: &String| (if self.kind == Kind::Node { "node" } else { "uuid" }.into(), id.clone());
        let node = self.recorder.iter().map(|_| ("node".into(), "worker1".into()));
        let subject = |id: &String| BatchSubject {
            kind: self.kind,
            identity: std::iter::once(own(id)).chain(node.clone()).collect(),
            labels: vec![],
            parent: None,
            observed_at_ms: None,
        };
        let metric = Catalogue::known(WATTS).unwrap();
        let point = |(i, _): (usize, &String)| {
            Some(BatchPoint { subject: i as u32, metric, value: value(i)?, quality: Quality::Measured, at_ms: None })
        };
        let subjects = self.ids.iter().map(subject).collect();
        let points = self.ids.iter().enumerate().filter_map(point).collect();
        self.inventory.apply(&source, Batch { subjects, points, ..Batch::default() }, at_ms);
        let next = self.inventory.prepare(at_ms, i64::MAX).unwrap();
        let mut points: Vec<Point> =
            next.points.into_iter().map(|p| Point { subject: p.subject, metric: WATTS.into(), at_ms: p.at_ms, value: p.value }).collect();
        if let Some(recorder) = &self.recorder {
            recorder.lock().unwrap().note(&next.snapshot, &mut points);
        }
        self.remote.note(&next.snapshot, points.iter().map(|p| &p.subject)).unwrap();
        self.store.commit(next.snapshot.sequence, at_ms, &points).unwrap();
        self.inventory.publish(next.snapshot);
    }

    async fn all_sent(&self) -> Counts {
        until("nothing waits", async || Some(self.remote.counts()).filter(|c| c.pending_rows == 0)).await
    }

    /// What an engine alone answers: that of a host which has no points of its own.
    fn viewer(&self, dir: &Path, engine: &Part) -> Arc<Beyond> {
        let empty = Arc::new(Embedded::open(dir, Keep::default()).unwrap());
        Arc::new(Beyond::new(empty, Engine::new(&engine.read(), BTreeMap::new()), None))
    }

    /// Raw points of every card, without ends: engines keep those to themselves.
    fn raw(&self, history: &dyn History, window: (i64, i64)) -> Vec<Vec<Observation>> {
        let of = |id: &String| {
            let all = history.raw(id, WATTS, window.0, window.1).unwrap();
            all.into_iter().filter(|(_, v)| v.is_some()).collect()
        };
        self.ids.iter().map(of).collect()
    }
}

fn value(card: usize, i: i64) -> f64 {
    ((i * 7_919 + card as i64 * 31) % 4_000) as f64 / 8.0
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn what_leaves_comes_back(program: &'static str) {
    if !is_installed(program) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = Part::start(program, dir.path(), None).await;
    let cards = Arc::new(Cards::new(&dir.path().join("history"), 12, engine.write()));
    // Forty minutes up to now; the third and fourth minute of each ten without a reading, of half of the cards.
    let now = kcloud_monitor::now_ms();
    let first = now - 2_400_000;
    for i in 0..160i64 {
        // Some moments are round, so that they lie on the edge of a step.
        let at = (first / 60_000) * 60_000 + i * 15_000 + if i % 4 == 0 { 0 } else { (i * 37) % 900 };
        let is_gap = (12..20).contains(&(i % 40));
        cards.tick(at, |card| (!is_gap || card % 2 == 0).then(|| value(card, i)));
    }
    let counts = cards.all_sent().await;
    assert_eq!((counts.refused, counts.repeated, counts.out_of_order, counts.unknown, counts.dropped), (0, 0, 0, 0, 0));
    assert_eq!(counts.sent, 12 * 160 - 6 * 4 * 8 + 6 * 4, "every reading and every end");
    let viewer = cards.viewer(&dir.path().join("viewer"), &engine);
    // What was just written may take an engine some seconds to show.
    let expected = cards.raw(&*cards.store, (first - 60_000, now));
    let (all, shown) = (cards.clone(), viewer.clone());
    until("every point is shown", async || {
        let (all, shown) = (all.clone(), shown.clone());
        let raw = blocking(move || all.raw(&*shown, (first - 60_000, now))).await;
        (raw == expected).then_some(())
    })
    .await;
    blocking(move || {
        let ids: Vec<&str> = cards.ids.iter().map(String::as_str).chain(["nobody"]).collect();
        let all =
            [Aggregate::Average, Aggregate::Minimum, Aggregate::Maximum, Aggregate::Sum, Aggregate::Count, Aggregate::Last, Aggregate::P95];
        for step in [1_000, 15_000, 17_000, 60_000, 300_000, 3_600_000] {
            for how in all {
                let window = (first - 120_000, first + if step == 1_000 { 600_000 } else { 2_000_000 });
                let ours = cards.store.ranges(&ids, WATTS, window, step, how).unwrap();
                let theirs = viewer.ranges(&ids, WATTS, window, step, how).unwrap();
                for (id, (ours, theirs)) in ids.iter().zip(ours.iter().zip(&theirs)) {
                    assert_eq!(ours.len(), theirs.len(), "{program} {how:?} {step}");
                    for ((at, a), (at_too, b)) in ours.iter().zip(theirs) {
                        let near = a.zip(*b).is_none_or(|(a, b)| (a - b).abs() <= 1e-9 * a.abs());
                        assert!(
                            at == at_too && a.is_some() == b.is_some() && near,
                            "{program} {id} {how:?} in {step} at {at}: {a:?} {b:?}"
                        );
                    }
                }
                assert!(ours[0].iter().filter(|(_, v)| v.is_some()).count() > 0, "something is compared");
                assert!(theirs.last().unwrap().iter().all(|(_, v)| v.is_none()), "nobody has no readings");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_for_prometheus_comes_back_as_the_embedded_store_has_it() {
    what_leaves_comes_back(PROMETHEUS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_for_victoria_metrics_comes_back_as_the_embedded_store_has_it() {
    what_leaves_comes_back(VICTORIA).await;
}

async fn the_account_comes_back(program: &'static str) {
    if !is_installed(program) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = Part::start(program, dir.path(), None).await;
    let mut cards = Cards::new(&dir.path().join("history"), 4, engine.write());
    cards.recorder = Some(Mutex::default());
    let first = kcloud_monitor::now_ms() - 900_000;
    for i in 0..40i64 {
        cards.tick(first + i * 15_000, |card| Some(value(card, i)));
    }
    let counts = cards.all_sent().await;
    assert_eq!((counts.refused, counts.out_of_order, counts.unknown, counts.dropped), (0, 0, 0, 0), "{counts:?}");
    let series = [
        ("node/cluster1/worker1".to_owned(), power::SERVER_WATTS),
        ("node/cluster1/worker1".to_owned(), power::SERVER_METHOD),
        (power::cluster_series("cluster1"), power::CLUSTER_WATTS),
        (power::cluster_series("cluster1"), power::CLUSTER_KNOWN),
        (power::group_series("cluster1", By::Vendor, "unknown"), power::GROUP_WATTS),
    ];
    let viewer = cards.viewer(&dir.path().join("viewer"), &engine);
    let window = (first - 60_000, first + 900_000);
    for (subject, metric) in series {
        let ours = cards.store.raw(&subject, metric, window.0, window.1).unwrap();
        assert!(ours.len() >= 40, "{subject} {metric}: {}", ours.len());
        until("the same from the engine", async || {
            let (viewer, subject) = (viewer.clone(), subject.clone());
            let theirs = blocking(move || viewer.raw(&subject, metric, window.0, window.1).unwrap()).await;
            (theirs == ours).then_some(())
        })
        .await;
    }
    let query = format!("{}/api/v1/query?query=kcloud_group_power_watts&time={}", engine.base(), (first + 300_000) / 1_000);
    let body: serde_json::Value = serde_json::from_str(&reqwest::get(query).await.unwrap().text().await.unwrap()).unwrap();
    let all = body["data"]["result"].as_array().unwrap();
    let row = all.iter().find(|r| r["metric"]["breakdown_by"] == "vendor").expect("a row of a view");
    assert_eq!((row["metric"]["cluster"].as_str(), row["metric"]["category"].as_str()), (Some("cluster1"), Some("unknown")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_power_comes_back_from_prometheus_as_it_was_noted() {
    the_account_comes_back(PROMETHEUS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_power_comes_back_from_victoria_metrics_as_it_was_noted() {
    the_account_comes_back(VICTORIA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_stays_a_gap_in_a_prometheus() {
    if !is_installed(PROMETHEUS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = Part::start(PROMETHEUS, dir.path(), None).await;
    let cards = Cards::new(&dir.path().join("history"), 1, engine.write());
    let at = kcloud_monitor::now_ms() - 300_000;
    cards.tick(at, |_| Some(1.0));
    cards.tick(at + 15_000, |_| None);
    cards.tick(at + 120_000, |_| Some(2.0));
    cards.all_sent().await;
    let show = async |ms: i64| {
        let url = format!("{}/api/v1/query?query=kcloud_power_watts&time={}", engine.base(), ms as f64 / 1e3);
        let body: serde_json::Value = serde_json::from_str(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap();
        body["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    assert_eq!(show(at + 14_000).await.as_deref(), Some("1"));
    assert_eq!(show(at + 60_000).await, None, "the lookback of five minutes does not fill it");
    assert_eq!(show(at + 121_000).await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_name_in_two_clusters_stay_apart_in_one_engine() {
    if !is_installed(PROMETHEUS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = Part::start(PROMETHEUS, dir.path(), None).await;
    let at = kcloud_monitor::now_ms() - 120_000;
    let mut ids = Vec::new();
    for (cluster, watts) in [("cluster1", 100.0), ("cluster2", 200.0)] {
        let mut host = Cards::new(&dir.path().join(cluster), 0, engine.write());
        (host.kind, host.cluster, host.ids) = (Kind::Node, cluster, vec!["worker1".into()]);
        host.tick(at, |_| Some(watts));
        host.all_sent().await;
        ids.push(host.inventory.current().of_kind(Kind::Node)[0].id.to_string());
    }
    let host = Cards::new(&dir.path().join("none"), 0, engine.write());
    let viewer = host.viewer(&dir.path().join("viewer"), &engine);
    let read = blocking(move || {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        viewer.ranges(&ids, WATTS, (at - 1_000, at + 1_000), 2_000, Aggregate::Sum).unwrap()
    })
    .await;
    let sums: Vec<f64> = read.iter().map(|steps| steps.iter().filter_map(|(_, v)| *v).sum()).collect();
    assert_eq!(sums, [100.0, 200.0]);
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_is_stopped_for_ten_minutes_then_killed_gets_everything_in_order() {
    if !is_installed(PROMETHEUS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = Part::start(PROMETHEUS, dir.path(), None).await;
    const CARDS: usize = 64;
    let cards = Arc::new(Cards::new(&dir.path().join("history"), CARDS, engine.write()));
    let start = kcloud_monitor::now_ms() - 1_800_000;
    let mut second = 0;
    let mut minutes = |n: i64| {
        for i in second..second + n * 60 {
            cards.tick(start + i * 1_000, |card| Some(value(card, i)));
        }
        second += n * 60;
    };
    minutes(2);
    cards.all_sent().await;
    engine.signal("STOP");
    minutes(1);
    until("a request has no answer", async || (cards.remote.counts().failures > 0).then_some(())).await;
    let (before, heads) = (resident_bytes(), cards.store.holds().head_bytes);
    minutes(9);
    // Sealed in the middle of it: what waits must stay.
    cards.store.seal(start + 300_000).unwrap();
    let (after, counts) = (resident_bytes(), cards.remote.counts());
    assert!(counts.pending_rows >= 600 && counts.sent == (CARDS * 120) as u64, "{counts:?}");
    let grown = after.saturating_sub(before + cards.store.holds().head_bytes.saturating_sub(heads));
    assert!(grown < 24 << 20, "{grown} bytes more while ten minutes of {CARDS} series a second wait on disk");
    engine.signal("CONT");
    cards.all_sent().await;
    engine.signal("STOP");
    minutes(5);
    let engine = engine.killed_and_back().await;
    minutes(1);
    let counts = cards.all_sent().await;
    assert_eq!((counts.refused, counts.dropped, counts.out_of_order, counts.unknown), (0, 0, 0, 0), "{counts:?}");
    assert!(counts.retries > 0);
    let viewer = cards.viewer(&dir.path().join("viewer"), &engine);
    let window = (start, start + 1_200_000);
    let (all, shown) = (cards.clone(), viewer.clone());
    let theirs = blocking(move || all.raw(&*shown, window)).await;
    let ours = cards.raw(&*cards.store, window);
    assert_eq!(ours.iter().map(Vec::len).sum::<usize>(), CARDS * 18 * 60);
    assert!(ours == theirs, "{} of {} points arrived", theirs.iter().map(Vec::len).sum::<usize>(), CARDS * 18 * 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_prometheus_behind_it_says_which_part_of_a_window_comes_from_where() {
    if !is_installed(PROMETHEUS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = Part::start(PROMETHEUS, dir.path(), None).await;
    let (fleet, address) = fleet(1, Faults::demo()).await;
    let running = Running::start_with(&["nvidia-dcgm"], demo_settings(&fleet, address), |options| {
        options.beyond.remote_write = Some(leaving(&engine));
        options.beyond.engine = Some((engine.read(), BTreeMap::new()));
    })
    .await;
    let uuid = fleet.truth(1).cards[0].uuid.clone();
    let path = |window: &str| format!("/api/v1/accelerators/gpus/{uuid}/metrics?{window}");
    until("a reading", async || {
        let (_, body) = running.get(&path("period=5m&step=1s")).await;
        let watts = body["data"]["timeseries"]["power_watts"].as_array()?.iter().any(|p| p["value"].is_number());
        (watts && body["metadata"]["history"]["source"] == "prometheus").then_some(())
    })
    .await;
    let series = format!("{}/api/v1/query?query=kcloud_power_watts", engine.base());
    let body = until("the same in Prometheus", async || {
        let body: serde_json::Value = serde_json::from_str(&reqwest::get(&series).await.ok()?.text().await.ok()?).ok()?;
        (body["data"]["result"].as_array()?.len() >= 7).then_some(body)
    })
    .await;
    let labels = &body["data"]["result"][0]["metric"];
    assert_eq!((labels["cluster"].as_str(), labels["kind"].as_str()), (Some("cluster1"), Some("accelerator")), "{labels}");
    let (_, metrics) = running.get("/api/v1/system/metrics").await;
    let metrics = metrics.as_str().unwrap().to_owned();
    assert!(metrics.contains("kcloud_remote_write_samples_total{result=\"sent\"}"), "{metrics}");
    let long_ago = path("start=2026-01-01T00:00:00Z&end=2026-01-01T01:00:00Z&step=60s");
    let (status, body) = running.get(&long_ago).await;
    assert_eq!((status, body["metadata"]["history"]["until"].as_str()), (200, Some("2026-01-01T01:00:00.000Z")), "{}", body["metadata"]);
    let base = engine.base();
    drop(engine);
    let (status, body) = running.get(&long_ago.replace("step=60s", "step=30s")).await;
    assert_eq!((status, body["error"]["code"].as_str()), (502, Some("PROMETHEUS_ERROR")), "{body}");
    assert!(!body.to_string().contains(base.trim_start_matches("http://")), "no address: {body}");
    let (status, _) = running.get(&format!("/api/v1/accelerators/gpus/{uuid}")).await;
    assert_eq!(status, 200, "what is now is there without it");
}

/// One host reads cards and BMCs and writes; another has no targets and answers the same.
async fn a_viewer_answers_the_same(program: &'static str) {
    if !is_installed(program) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let engine = Part::start(program, dir.path(), None).await;
    let (fleet, address) = fleet(2, Faults::demo()).await;
    let mut settings = demo_settings(&fleet, address);
    // Long enough between two readings for both to show the same one.
    settings.iter_mut().for_each(|s| s.interval = Duration::from_secs(12));
    let writer = Running::start_with(&["nvidia-dcgm"], settings, |options| options.beyond.remote_write = Some(leaving(&engine))).await;
    let viewer = Running::start_with(&[], vec![], |options| {
        options.beyond.engine = Some((engine.read(), BTreeMap::new()));
        options.beyond.view_every = Some(Duration::from_secs(1));
    })
    .await;
    let gpus = async |host: &Running| {
        let (_, body) = host.get("/api/v1/accelerators/gpus?limit=100").await;
        let rows = body["data"].as_array()?.clone();
        // When it was heard of here is another thing than there.
        let own = ["last_seen", "first_seen", "timestamp", "last_updated", "sources"];
        let shown = |row: &serde_json::Value| {
            let mut row = row.as_object().cloned().unwrap_or_default();
            row.retain(|key, _| !own.contains(&key.as_str()));
            let parts = row.get_mut("partitions").and_then(|p| p.as_array_mut());
            parts.into_iter().flatten().for_each(|part| drop(part["last_seen"].take()));
            row
        };
        Some(rows.iter().map(shown).collect::<Vec<_>>()).filter(|rows| rows.len() == 16)
    };
    let power = async |host: &Running| {
        let (_, all) = host.get("/api/v1/monitoring/power").await;
        let (_, by_vendor) = host.get("/api/v1/monitoring/power/breakdown?breakdown_by=vendor").await;
        let mut coverage = all["data"]["coverage"].clone();
        coverage["oldest_seconds"].take();
        let total = all["data"]["total_power_watts"].as_f64()?;
        Some((total, all["data"]["breakdown"].clone(), coverage, by_vendor["data"].clone()))
    };
    let mut last = None;
    let same = tokio::time::timeout(Duration::from_secs(50), async {
        loop {
            let (a, b) = (gpus(&writer).await, gpus(&viewer).await);
            let (c, d) = (power(&writer).await, power(&viewer).await);
            if a == b
                && c == d
                && let Some(same) = a.clone().zip(c.clone())
            {
                return same;
            }
            last = Some((a.map(|a| a[0].clone()), b.map(|b| b[0].clone()), c, d));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let Ok((rows, (total, ..))) = same else { panic!("not the same: {last:#?}") };
    assert!(rows.iter().all(|r| r["model_name"].as_str().is_some_and(|m| !m.is_empty())), "{:?}", rows[0]);
    assert!(total > 1_000.0, "{total} of sixteen cards");
    // The past is there, too.
    let id = rows[0]["gpu_id"].as_str().unwrap().to_owned();
    until("the past of a card", async || {
        let (status, body) = viewer.get(&format!("/api/v1/accelerators/gpus/{id}/metrics?period=5m&step=1s")).await;
        let watts = body["data"]["timeseries"]["power_watts"].as_array()?.iter().any(|p| p["value"].is_number());
        (status == 200 && watts).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_targets_shows_what_another_sees_by_prometheus() {
    a_viewer_answers_the_same(PROMETHEUS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_targets_shows_what_another_sees_by_victoria_metrics() {
    a_viewer_answers_the_same(VICTORIA).await;
}
