//! One host with a good plugin, beside which hostile ones come and go.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kcloud_e2e::{Running, component, until};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::globs::Globs;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
use kcloud_monitor::plugins::capabilities::nvml::Driver;
use kcloud_monitor::plugins::capabilities::pod_resources::Kubelet;
use kcloud_monitor::plugins::capabilities::{Grants, ipmi};
use kcloud_monitor::plugins::contract::Target;
use kcloud_monitor::plugins::engine::Compiler;
use kcloud_monitor::plugins::limits::Limits;
use serde_json::{Value, json};

/// The good one reads its target so often.
const INTERVAL: Duration = Duration::from_millis(300);
const NEIGHBOUR: &str = "turncoat";
const CARD: &str = "GPU-t";
/// What a busy machine may cost a client; the rule is milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// What a process may keep of what it once used: threads that wait a second for more work, pieces that the allocator holds ready.
const THREADS: usize = 6;
const MEMORY: usize = 24 << 20;
/// The allocator gives back what was freed a second late, and only when it is called again: `cargo xtask test` tells it not to wait.
const MEMORY_LATE: usize = 96 << 20;
const MEMORY_EACH: usize = 1 << 20;

/// A hostile plugin: its component and what the operator says of it.
pub struct Evil {
    bytes: Vec<u8>,
    settings: Settings,
}

fn target(id: &str, address: &str) -> Target {
    let cluster = "cluster1".to_owned();
    Target { id: id.into(), address: address.into(), cluster, labels: vec![], credential: None, config: "{}".into() }
}

impl Evil {
    /// With one target, on which nobody listens.
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        let files = Some(Globs::new(&["/nowhere/*".to_owned()]).unwrap());
        // There is no such library and no such socket: whoever asks is told so.
        let pod_resources = Some(Kubelet { socket: "/nowhere/kubelet.sock".into() });
        let nvml = Some(Driver { library: "/nowhere/libnvidia-ml.so.1".into(), program: "/nowhere/kcloud-monitor".into() });
        let grants = Grants { state: true, files, ipmi: Some(ipmi::Policy::default()), nvml, pod_resources, ..Grants::default() };
        let settings = Settings {
            interval: INTERVAL,
            timeout: Duration::from_secs(2),
            grants,
            // A busy machine counts as the guest's time while it stands still: only what is about time has a small budget.
            limits: Limits { cpu: Duration::from_secs(1), ..Limits::default() },
            clusters: vec!["cluster1".into()],
            ..Settings::bare(name)
        };
        Self { bytes, settings }.target("http://127.0.0.1:9/metrics")
    }

    pub fn target(self, address: &str) -> Self {
        self.with(|s| {
            s.grants.http = Some(Policy::new([address]));
            s.targets = vec![(target("t", address), None)];
        })
    }

    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }
}

/// A mode of the hostile guest, once for every contract: `NAME` and `NAME-0-2`.
pub fn evil(mode: &str) -> Vec<Evil> {
    told(mode, "", &[])
}

/// The same, with what the mode is about.
pub fn told(mode: &str, url: &str, list: &[&str]) -> Vec<Evil> {
    named(mode, mode, url, list)
}

/// The same under another name.
pub fn named(name: &str, mode: &str, url: &str, list: &[&str]) -> Vec<Evil> {
    let of = |file: &str, suffix: &str| {
        let made = Evil::new(&format!("{name}{suffix}"), std::fs::read(component(file)).unwrap());
        let made = made.with(|s| s.config = json!({ "mode": mode, "url": url, "list": list }));
        if url.is_empty() { made } else { made.target(url) }
    };
    vec![of("evil", ""), of("evil-0-2", "-0-2")]
}

/// Runs a test on the threads that the host has.
pub fn play(test: impl Future<Output = ()>) {
    kcloud_monitor::runtime().unwrap().block_on(test);
}

/// What this process costs: each test has one of its own.
#[derive(Debug, Clone, Copy)]
struct Cost {
    threads: usize,
    resident: usize,
}

impl Cost {
    fn now() -> Self {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let resident = pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096;
        Self { threads: std::fs::read_dir("/proc/self/task").unwrap().count(), resident }
    }
}

/// Ticks that the processors had, that they were in use, and that this process used of them.
#[derive(Debug, Clone, Copy)]
struct Processors {
    all: f64,
    busy: f64,
    own: f64,
}

impl Processors {
    fn now() -> Self {
        let figures =
            |text: String, from: usize| -> Vec<f64> { text.split_whitespace().skip(from).map_while(|f| f.parse().ok()).collect() };
        let all = figures(std::fs::read_to_string("/proc/stat").unwrap().lines().next().unwrap().to_owned(), 1);
        let own = figures(std::fs::read_to_string("/proc/self/stat").unwrap().rsplit(')').next().unwrap().to_owned(), 12);
        // What was waited for, the disk too, is no use.
        Self { all: all[..8].iter().sum(), busy: all[..8].iter().sum::<f64>() - all[3] - all[4], own: own[0] + own[1] }
    }

    /// The part that others had since `before`.
    fn of_others(before: Self) -> f64 {
        let now = Self::now();
        ((now.busy - before.busy) - (now.own - before.own)) / (now.all - before.all).max(1.0)
    }
}

/// What a client saw that asked for what the good plugin reads until it was stopped.
#[derive(Debug, Default)]
struct Seen {
    longest: Duration,
    /// Answers in which the card was no longer heard of.
    offline: usize,
}

struct Client {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Seen>,
}

impl Client {
    fn start(running: &Running) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, base, stopped) = (running.client.clone(), running.base.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                tick.tick().await;
                for path in ["/livez".to_owned(), format!("/api/v1/accelerators/gpus/{CARD}")] {
                    let began = Instant::now();
                    let request = client.get(format!("{base}{path}")).basic_auth("admin", Some("changeme"));
                    let response = request.send().await.expect("an answer");
                    let (status, text) = (response.status(), response.text().await.expect("a body"));
                    assert!(status == 200, "{path}: {status} {text}");
                    seen.offline += usize::from(text.contains("offline"));
                    seen.longest = seen.longest.max(began.elapsed());
                }
            }
            seen
        });
        Self { stop, task }
    }
}

pub struct Stage {
    pub running: Running,
    evils: Vec<String>,
    before: Cost,
    began: Instant,
    began_ms: i64,
    calls: u64,
    client: Client,
    neighbour: Settings,
    processors: Processors,
}

impl Stage {
    /// A host at work, into whose directory these are put.
    pub async fn set(evils: impl IntoIterator<Item = Evil>) -> Self {
        let neighbour = Settings {
            interval: INTERVAL,
            timeout: Duration::from_secs(2),
            targets: vec![(target("t", "http://127.0.0.1:9/metrics"), None)],
            grants: Grants { state: true, ..Grants::default() },
            ..Settings::bare(NEIGHBOUR)
        };
        // As it is installed: what compiling takes is another process's.
        let running = Running::start_with(&[NEIGHBOUR], vec![neighbour.clone()], |options| {
            options.compiler = options.cache_dir.take().map(|cache_dir| Compiler {
                program: env!("CARGO_BIN_EXE_kcloud-monitor-under-test").into(),
                cache_dir,
                memory: 1 << 30,
                timeout: Duration::from_secs(120),
            });
        })
        .await;
        let calls = until("the neighbour has read twice", async || {
            let calls = view(&running, NEIGHBOUR).await["calls_total"].as_u64()?;
            (calls >= 2).then_some(calls)
        })
        .await;
        let (began, began_ms) = (Instant::now(), kcloud_monitor::now_ms());
        let client = Client::start(&running);
        let (before, processors) = (Cost::now(), Processors::now());
        let mut stage = Self { running, evils: vec![], before, began, began_ms, calls, client, neighbour, processors };
        let mut settings = vec![stage.neighbour.clone()];
        // One file for all that are made of the same bytes.
        let mut files: HashMap<Vec<u8>, String> = HashMap::new();
        for Evil { bytes, settings: own } in evils {
            let count = files.len();
            let file = files.entry(bytes).or_insert_with(|| format!("evil-{count}")).clone();
            stage.evils.push(own.name.clone());
            settings.push(Settings { component: file, ..own });
        }
        for (bytes, name) in &files {
            let (part, file) = (stage.running.plugins_dir().join(".part"), stage.running.plugins_dir().join(format!("{name}.wasm")));
            std::fs::write(&part, bytes).unwrap();
            std::fs::rename(part, file).unwrap();
        }
        stage.change(settings);
        stage
    }

    fn change(&self, settings: Vec<Settings>) {
        *self.running.settings.lock().unwrap() = settings;
        self.running.host.look_again.notify_one();
    }

    /// What the API says of a plugin.
    pub async fn view(&self, name: &str) -> Value {
        view(&self.running, name).await
    }

    /// Waits until all of a name, whatever contract they speak, are as expected; gives their views.
    pub async fn all(&self, name: &str, what: &str, check: impl Fn(&Value) -> Option<bool>) -> Vec<Value> {
        let mut seen = Vec::new();
        let of = |e: &&String| e.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest == "-0-2");
        for one in self.evils.iter().filter(of) {
            let mut last = Value::Null;
            let found = until(&format!("{one}: {what}"), async || {
                last = self.view(one).await;
                // What it says of itself instead is worth more than that a minute passed.
                assert!(self.began.elapsed() < Duration::from_secs(50), "{one}: not {what}, but {last:#}");
                (check(&last) == Some(true)).then(|| last.clone())
            })
            .await;
            seen.push(found);
        }
        assert!(!seen.is_empty(), "none is named {name}");
        seen
    }

    /// It was called, and failed: these are the words and this is who is blamed, and nobody else.
    pub async fn fails(&self, name: &str, blame: &str, words: &str) -> Vec<Value> {
        let holds = |v: &Value| {
            let is_it = |e: &Value| e["message"].as_str().is_some_and(|m| m.contains(words));
            Some(v["last_errors"].as_array()?.iter().any(is_it) && !v["failures_by_blame"].as_object()?.is_empty())
        };
        let seen = self.all(name, &format!("fails with {words:?}"), holds).await;
        for v in &seen {
            let blamed: Vec<&String> = v["failures_by_blame"].as_object().unwrap().keys().collect();
            assert_eq!(blamed, [blame], "{v:#}");
        }
        seen
    }

    /// It never got to be called: these are the words.
    pub async fn refuses(&self, name: &str, words: &str) -> Vec<Value> {
        let is = |v: &Value| Some(v["state"] == "rejected" && v["reason"].as_str()?.contains(words));
        let seen = self.all(name, &format!("is refused with {words:?}"), is).await;
        assert!(seen.iter().all(|v| v["calls_total"] == 0 && v["version"].is_null()), "{seen:#?}");
        seen
    }

    /// It is called and all is well with it.
    pub async fn works(&self, name: &str) -> Vec<Value> {
        let seen = self.all(name, "answers", |v| Some(v["state"] == "active" && v["targets"][0]["last_success"].is_string())).await;
        assert!(seen.iter().all(|v| v["failures_by_blame"] == json!({})), "{seen:#?}");
        seen
    }

    /// What all of a name logged, once it was called twice.
    pub async fn log(&self, name: &str) -> Vec<Vec<String>> {
        let seen = self.all(name, "called twice", |v| Some(v["calls_total"].as_u64()? >= 2)).await;
        let lines = |v: Value| v["log_tail"].as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned()).collect();
        seen.into_iter().map(lines).collect()
    }

    /// The show is over: nobody else noticed, and nothing is left.
    pub async fn end(self) {
        self.end_keeping(0).await;
    }

    /// The same, but for what it said: that may be read for an hour yet, and costs so many bytes.
    pub async fn end_keeping(self, bytes: usize) {
        let read = |v: &Value| v["calls_total"].as_u64().unwrap() - self.calls;
        let now = until("the neighbour reads on", async || Some(self.view(NEIGHBOUR).await).filter(|v| read(v) >= 3)).await;
        // Time that others took from this process proves nothing about it.
        let others = Processors::of_others(self.processors);
        let patience = if others < 0.5 { 1 } else { 10 };
        if patience > 1 {
            eprintln!("THE MACHINE IS BUSY: others had {:.0} % of it; time is judged {patience} times as leniently", others * 100.0);
        }
        // One turn may be about to come, and the first began before the clock was looked at.
        let turns = self.began.elapsed().as_millis() / INTERVAL.as_millis();
        assert!(u128::from((read(&now) + 2) * patience) >= turns, "{} reads in {turns} turns", read(&now));
        assert_eq!((&now["state"], &now["failures_by_blame"]), (&json!("active"), &json!({})), "{now:#}");
        let kept = self.running.host.app.history.raw(CARD, "temperature_celsius", self.began_ms, i64::MAX).unwrap();
        let pause = kept.windows(2).map(|w| w[1].0 - w[0].0).max().unwrap_or(0);
        assert!(pause <= (3 * patience * INTERVAL.as_millis() as u64) as i64, "{pause} ms between two readings of every {INTERVAL:?}");
        self.client.stop.store(true, Ordering::Relaxed);
        let seen = self.client.task.await.expect("every request was answered");
        assert!(seen.longest < ANSWERED_WITHIN * patience as u32, "a client waited {:?}", seen.longest);
        let is_whole = seen.offline == 0 && kept.iter().all(|(_, value)| value.is_some());
        assert!(is_whole || patience > 1, "the card went stale for {} answers: {kept:?}", seen.offline);
        *self.running.settings.lock().unwrap() = vec![self.neighbour.clone()];
        for entry in std::fs::read_dir(self.running.plugins_dir()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("evil-")) {
                std::fs::remove_file(path).unwrap();
            }
        }
        until("they are gone", async || {
            // Taken as removed at the second look without them.
            self.running.host.look_again.notify_one();
            (self.running.host.app.registry.list().len() == 1).then_some(())
        })
        .await;
        let deadline = Instant::now() + Duration::from_secs(30);
        let late = if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some_and(|d| d == "0") { 0 } else { MEMORY_LATE };
        loop {
            let now = Cost::now();
            if now.threads <= self.before.threads + THREADS
                && now.resident <= self.before.resident + MEMORY + late + self.evils.len() * MEMORY_EACH + bytes
            {
                break;
            }
            assert!(Instant::now() < deadline, "{:?} before, {now:?} after", self.before);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn view(running: &Running, name: &str) -> Value {
    running.get(&format!("/api/v1/system/plugins/{name}")).await.1["data"].clone()
}
