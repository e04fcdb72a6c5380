use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use axum::body::Bytes as Received;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use prost::Message;

use super::super::{Keep, Point};
use super::encode::STALE;
use super::*;
use crate::catalogue::{Catalogue, MetricId};
use crate::inventory::batch::{Batch as Said, BatchPoint, BatchSubject};
use crate::inventory::{Inventory, Kind, Quality, SourceInfo};

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// What a server was sent, and what it answers next; 204 when nothing is set.
#[derive(Default)]
struct Server {
    taken: Vec<WriteRequest>,
    tries: usize,
    answers: VecDeque<(u16, Option<&'static str>)>,
}

impl Server {
    /// Samples by labels; panics where one series runs backwards.
    fn series(&self) -> BTreeMap<String, Vec<(i64, u64)>> {
        let mut all: BTreeMap<String, Vec<(i64, u64)>> = BTreeMap::new();
        for s in self.taken.iter().flat_map(|r| &r.series) {
            let names: Vec<&str> = s.labels.iter().map(|l| l.name.as_str()).collect();
            assert!(names.is_sorted() && names.contains(&"__name__"), "{names:?}");
            let key: Vec<String> = s.labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
            let known = all.entry(key.join(",")).or_default();
            for sample in &s.samples {
                assert!(known.last().is_none_or(|(at, _)| *at < sample.timestamp), "order of {key:?}");
                known.push((sample.timestamp, sample.value.to_bits()));
            }
        }
        all
    }

    fn samples(&self) -> usize {
        self.taken.iter().flat_map(|r| &r.series).map(|s| s.samples.len()).sum()
    }
}

async fn server() -> (Arc<Mutex<Server>>, String) {
    let server = Arc::new(Mutex::new(Server::default()));
    let shared = server.clone();
    let take = move |headers: axum::http::HeaderMap, body: Received| async move {
        let mut server = lock(&shared);
        server.tries += 1;
        if let Some((status, after)) = server.answers.pop_front() {
            let headers: Vec<_> = after.map(|a| (axum::http::header::RETRY_AFTER, a)).into_iter().collect();
            let mut answer = (StatusCode::from_u16(status).unwrap(), "a reason\n").into_response();
            answer.headers_mut().extend(headers.into_iter().map(|(k, v)| (k, v.parse().unwrap())));
            return answer;
        }
        assert_eq!(headers["content-encoding"], "snappy");
        assert_eq!(headers["x-prometheus-remote-write-version"], "0.1.0");
        let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        server.taken.push(WriteRequest::decode(raw.as_slice()).unwrap());
        StatusCode::NO_CONTENT.into_response()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/api/v1/write", axum::routing::post(take))).await });
    (server, url)
}

/// Kind, identity, and watts where they were read.
type Read<'a> = (Kind, &'a [(&'a str, &'a str)], Option<f64>);

/// A fleet of cards whose points are committed and leave.
struct Host {
    dir: PathBuf,
    settings: Settings,
    inventory: Inventory,
    store: Arc<Embedded>,
    remote: Arc<RemoteWrite>,
}

fn metric(name: &str) -> MetricId {
    Catalogue::known(name).unwrap()
}

impl Host {
    fn open(dir: &Path, url: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let endpoint = Endpoint::new(url, None, None, Duration::from_secs(2)).unwrap();
        let labels = BTreeMap::from([("Site".to_owned(), "a".to_owned()), ("uuid".to_owned(), "never".to_owned())]);
        let mut settings = Settings { endpoint, labels, max_bytes: 1 << 20, batch: Duration::from_millis(50) };
        change(&mut settings);
        let store = Arc::new(Embedded::open(dir, Keep::default()).unwrap());
        let remote = Arc::new(RemoteWrite::open(dir, store.clone(), settings.clone()).unwrap());
        let inventory = Inventory::new(store.committed().unwrap());
        Self { dir: dir.to_owned(), settings, inventory, store, remote }
    }

    fn restart(self) -> Self {
        let Self { dir, settings, inventory, store, remote } = self;
        drop((inventory, remote));
        assert_eq!(Arc::strong_count(&store), 1);
        drop(store);
        Self::open(&dir, "http://127.0.0.1:1/", |s| *s = settings)
    }

    /// One tick: watts of each subject; `None` where it is not read.
    fn tick(&self, at_ms: i64, subjects: &[Read<'_>]) {
        let info = SourceInfo {
            plugin: "p".into(),
            target: "t".into(),
            cluster: "cluster1".into(),
            interval_ms: 1_000,
            priority: 0,
            max_subjects: 10_000,
            max_values: 100_000,
        };
        let subject = |(kind, identity, _): &Read<'_>| BatchSubject {
            kind: *kind,
            identity: identity.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            labels: vec![],
            parent: None,
            observed_at_ms: None,
        };
        let points = subjects.iter().enumerate().filter_map(|(i, s)| {
            let point =
                BatchPoint { subject: i as u32, metric: metric("power_watts"), value: s.2?, quality: Quality::Measured, at_ms: None };
            Some([point, BatchPoint { metric: metric("energy_joules"), ..point }])
        });
        let said = Said { subjects: subjects.iter().map(subject).collect(), points: points.flatten().collect(), ..Said::default() };
        assert_eq!(self.inventory.apply(&info, said, at_ms), Vec::<String>::new());
        let next = self.inventory.prepare(at_ms, i64::MAX).unwrap();
        self.remote.note(&next.snapshot, next.points.iter().map(|p| &p.subject)).unwrap();
        let name = |m: MetricId| Arc::<str>::from(Catalogue::metric(m).unwrap().name);
        let points: Vec<Point> =
            next.points.into_iter().map(|p| Point { subject: p.subject, metric: name(p.metric), at_ms: p.at_ms, value: p.value }).collect();
        self.store.commit(next.snapshot.sequence, at_ms, &points).unwrap();
        self.inventory.publish(next.snapshot);
    }

    fn card(&self, at_ms: i64, value: Option<f64>) {
        self.tick(at_ms, &[(Kind::Accelerator, &[("uuid", "GPU-1")], value)]);
    }
}

const WATTS: &str = "Site=a,__name__=kcloud_power_watts,cluster=cluster1,id=GPU-1,kind=accelerator,uuid=GPU-1";
const T: i64 = 1_764_000_000_000;

fn watts(server: &Arc<Mutex<Server>>) -> Vec<(i64, u64)> {
    lock(server).series().remove(WATTS).unwrap_or_default()
}

#[tokio::test]
async fn what_is_committed_leaves_in_order_with_its_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = server().await;
    let host = Host::open(dir.path(), &url, |_| ());
    host.card(T, Some(1.0));
    host.card(T + 1_000, Some(2.0));
    host.card(T + 2_000, None);
    host.card(T + 9_000, Some(3.0));
    host.remote.send_all().await;
    let value = |v: f64| v.to_bits();
    assert_eq!(watts(&server), [(T, value(1.0)), (T + 1_000, value(2.0)), (T + 2_000, STALE), (T + 9_000, value(3.0))]);
    let names: Vec<String> = lock(&server).series().into_keys().collect();
    assert!(names.iter().any(|n| n.contains("__name__=kcloud_energy_joules_total,")), "{names:?}");
    assert_eq!(lock(&server).tries, 1, "four ticks, one request");
    let counts = host.remote.counts();
    assert_eq!((counts.pending_rows, counts.failures, counts.refused, counts.unknown), (0, 0, 0, 0));
    assert_eq!(counts.sent as usize, lock(&server).samples());
    host.remote.send_all().await;
    assert_eq!(lock(&server).tries, 1, "nothing waits, nothing is sent");
}

#[tokio::test]
async fn a_new_life_under_one_name_is_a_new_series_and_the_old_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = server().await;
    let host = Host::open(dir.path(), &url, |_| ());
    let pod = |uid: &str, at, w| host.tick(at, &[(Kind::Pod, &[("namespace", "ml"), ("name", "a"), ("uid", uid)], Some(w))]);
    pod("1", T, 1.0);
    pod("2", T + 1_000, 2.0);
    host.remote.send_all().await;
    let series = lock(&server).series();
    let of = |uid: &str| {
        let found = series.iter().find(|(k, _)| k.contains("power_watts") && k.contains(&format!(",uid={uid},")));
        found.map(|(_, v)| v.clone()).unwrap()
    };
    assert_eq!(of("1"), [(T, 1f64.to_bits()), (T + 1_000, STALE)]);
    assert_eq!(of("2"), [(T + 1_000, 2f64.to_bits())]);
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_as_long_as_it_asks_and_gets_all_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = server().await;
    let host = Host::open(dir.path(), &url, |_| ());
    lock(&server).answers.extend([(503, None), (429, Some("2")), (500, None)]);
    (0..5).for_each(|i| host.card(T + i * 1_000, Some(i as f64)));
    let began = Instant::now();
    host.remote.send_all().await;
    assert!(began.elapsed() >= Duration::from_secs(2), "Retry-After counts");
    assert_eq!(watts(&server).len(), 5);
    let counts = host.remote.counts();
    assert_eq!((counts.requests, counts.retries, counts.refused, counts.failures), (4, 3, 0, 0));
}

#[tokio::test]
async fn what_a_server_refuses_is_dropped_and_what_follows_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = server().await;
    let host = Host::open(dir.path(), &url, |_| ());
    host.card(T, Some(1.0));
    lock(&server).answers.push_back((400, None));
    host.remote.send_all().await;
    host.card(T + 1_000, Some(2.0));
    host.remote.send_all().await;
    assert_eq!(watts(&server), [(T + 1_000, 2f64.to_bits())]);
    let counts = host.remote.counts();
    assert_eq!((counts.refused, counts.retries, counts.pending_rows), (2, 0, 0));
}

#[tokio::test]
async fn what_waits_survives_seals_and_restarts_and_whose_it_is_is_known_before_it_is_seen_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = server().await;
    let host = Host::open(dir.path(), &url, |_| ());
    (0..100).for_each(|i| host.card(T + i * 1_000, Some(i as f64)));
    host.store.seal(T + 50_500).unwrap();
    assert_eq!(host.store.holds().log_rows, 49);
    assert_eq!(host.remote.counts().pending_rows, 100);
    let host = host.restart();
    assert_eq!((host.store.holds().log_rows, host.remote.counts().pending_rows), (49, 100));
    host.store.seal(T + 80_500).unwrap();
    let host = host.restart();
    assert_eq!(host.remote.pending_since(), Some(T));
    // Tried once, killed before the answer.
    assert!(host.remote.next().unwrap().is_some());
    host.card(T + 100_000, Some(100.0));
    let host = host.restart();
    assert_eq!(host.remote.state.cursor().unwrap(), Cursor { done: 0, tried: 100 });
    lock(&server).answers.push_back((400, None));
    host.remote.send_all().await;
    let counts = host.remote.counts();
    assert_eq!((counts.repeated, counts.refused), (200, 0), "exactly what may be there already is sent again by itself");
    assert_eq!(watts(&server), [(T + 100_000, 100f64.to_bits())]);
    host.store.upkeep(T + 101_000).unwrap();
    assert_eq!(host.store.waiting_after(0).len(), 20, "what is sealed and sent leaves the log");
    let all = host.store.raw("GPU-1", "power_watts", T, T + 200_000).unwrap();
    assert_eq!(all.len(), 101, "history itself has everything, once");
}

#[tokio::test]
async fn beyond_the_bound_the_oldest_rows_are_passed_over_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = server().await;
    let host = Host::open(dir.path(), &url, |s| s.max_bytes = 3_000);
    (0..1_000).for_each(|i| host.card(T + i * 1_000, Some(i as f64)));
    let before = host.remote.counts();
    assert!(before.pending_bytes > 3_000 && before.dropped == 0);
    host.remote.send_all().await;
    let (counts, sent) = (host.remote.counts(), watts(&server));
    assert_eq!(counts.dropped / 2 + sent.len() as u64, 1_000, "each point of two metrics is sent or counted");
    assert!(sent.len() > 50 && sent.len() < 500, "{}", sent.len());
    assert_eq!(sent.last().unwrap().0, T + 999_000);
}

#[tokio::test]
async fn a_large_backlog_leaves_in_requests_of_bounded_size() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = server().await;
    let host = Host::open(dir.path(), &url, |s| s.max_bytes = 1 << 30);
    let names: Vec<String> = (0..3_000).map(|i| format!("GPU-{i}")).collect();
    let identities: Vec<[(&str, &str); 1]> = names.iter().map(|n| [("uuid", n.as_str())]).collect();
    for i in 0..10 {
        let subjects: Vec<_> = identities.iter().map(|id| (Kind::Accelerator, id.as_slice(), Some(f64::from(i)))).collect();
        host.tick(T + i64::from(i) * 1_000, &subjects);
    }
    host.remote.send_all().await;
    assert_eq!(host.remote.counts().pending_rows, 0);
    let server = lock(&server);
    assert_eq!((server.samples(), server.series().len()), (3_000 * 2 * 10, 6_000));
    let largest = server.taken.iter().map(|r| r.series.iter().map(|s| s.samples.len()).sum::<usize>()).max();
    assert!(largest <= Some(MAX_SAMPLES) && server.tries < 14, "{largest:?} in {}", server.tries);
}
