//! What each plugin costs, side by side: CPU, wall time, bytes and memory of a read, by the simulated fleet. One thread does all of a
//! read (the guest, the host's checks, its HTTP client), so that its CPU time is the read's; the fleet is served by another.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use kcloud_fleet_sim::{DIALECTS, Faults, Fleet, FleetConfig, Origins, Others, Shape};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::cli::fleet_settings;
use kcloud_monitor::inventory::Kind;
use kcloud_monitor::plugins::capabilities::globs::Globs;
use kcloud_monitor::plugins::capabilities::{Commons, Grants, Shared, http_policy};
use kcloud_monitor::plugins::contract::Target;
use kcloud_monitor::plugins::generation::{Compiled, Generation};
use kcloud_monitor::plugins::verify::Verified;
use kcloud_monitor::plugins::{Runtime, Settings};

use crate::cpu;

/// Nodes of 8 cards in the first cluster.
const NODES: usize = 4;
/// Reads of all targets that are measured, after one that warms.
const ROUNDS: usize = 7;
/// Cards in the tree that `files` reads.
const FILES_CARDS: usize = 8;

/// What one plugin's reads took; CPU and wall time of the best round.
struct Cost {
    targets: usize,
    cards: usize,
    subjects: usize,
    readings: usize,
    bytes: u64,
    cpu: f64,
    wall: f64,
    memory: u64,
    code: u64,
}

pub fn run() -> Result<()> {
    let others = DIALECTS.iter().map(|dialect| Others { dialect, nodes: NODES, cards_per_node: 8 }).collect();
    let config = FleetConfig { seed: 1, nodes: NODES, gpus_per_node: 8, tick: Duration::from_secs(3_600), faults: Faults::demo(), others };
    let fleet = Arc::new(Fleet::whole(config, Shape::demo()));
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let origins = serving.block_on(Origins::serve(&fleet))?;
    let counter = Counter::default();
    let dir = crate::root().join("target/dist/plugins");
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("{} is not built", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "wasm") {
            names.extend(path.file_stem().and_then(|n| n.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    let tree = tempfile::tempdir()?;
    println!(
        "\n| plugin | targets | cards | subjects | readings | KB read | CPU ms a cycle | wall ms a cycle | CPU µs a card (or subject) | CPU µs a reading | MiB an instance | KiB of code |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut without = Vec::new();
    for settings in fleet_settings(&fleet, &origins, &names) {
        let name = settings.name.clone();
        let settings = match name.as_str() {
            "files" => sysfs(tree.path(), settings)?,
            _ => settings,
        };
        if settings.targets.is_empty() {
            without.push(name);
            continue;
        }
        let c = serving.block_on(counter.before(settings)).and_then(|settings| measure(&dir, &settings, &counter))?;
        let each = if c.cards > 0 { c.cards } else { c.subjects };
        println!(
            "| {name} | {} | {} | {} | {} | {:.0} | {:.2} | {:.2} | {:.1}{} | {:.2} | {:.1} | {:.0} |",
            c.targets,
            if c.cards > 0 { c.cards.to_string() } else { "–".to_owned() },
            c.subjects,
            c.readings,
            c.bytes as f64 / 1e3,
            c.cpu * 1e3,
            c.wall * 1e3,
            c.cpu * 1e6 / each.max(1) as f64,
            if c.cards > 0 { "" } else { " (subject)" },
            c.cpu * 1e6 / c.readings.max(1) as f64,
            c.memory as f64 / 1_048_576.0,
            c.code as f64 / 1024.0
        );
    }
    if !without.is_empty() {
        println!("\nNOT MEASURED, since the simulated fleet has no source for them: {}.", without.join(", "));
    }
    Ok(())
}

/// Reads all targets of a plugin some times over.
fn measure(dir: &Path, settings: &Settings, counter: &Counter) -> Result<Cost> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio.block_on(async {
        let (runtime, catalogue) = (Arc::new(Runtime::new(None)?), Catalogue::default());
        let bytes = fs::read(dir.join(format!("{}.wasm", settings.component)))?;
        let code = bytes.len() as u64;
        let compiled = Compiled::new(&runtime, &Verified::vouched(&settings.component, bytes)?)?;
        let (limits, grants, credentials) = (settings.limits.clone(), settings.grants.clone(), settings.credentials.clone());
        let shared = Shared::new(&settings.name, limits, grants, credentials, Commons::new()?, None, Arc::default());
        let generation = Generation::new(runtime, &catalogue, compiled, shared, &settings.config, 1, 0).await;
        let generation = generation.with_context(|| settings.name.clone())?;
        let mut cost = Cost {
            targets: settings.targets.len(),
            cards: 0,
            subjects: 0,
            readings: 0,
            bytes: 0,
            cpu: f64::MAX,
            wall: f64::MAX,
            memory: 0,
            code,
        };
        for round in 0..=ROUNDS {
            (cost.cards, cost.subjects, cost.readings) = (0, 0, 0);
            let read_before = counter.bytes();
            let (began, before) = (Instant::now(), cpu::this_thread()?);
            for (target, _) in &settings.targets {
                let batch = generation.collect(&catalogue, target, Duration::from_secs(30)).await;
                let batch = batch.with_context(|| format!("{}: {}", settings.name, target.id))?;
                cost.cards += batch.subjects.iter().filter(|s| s.kind == Kind::Accelerator).count();
                cost.subjects += batch.subjects.len();
                cost.readings += batch.points.len();
            }
            // What disturbs only adds.
            if round > 0 {
                cost.cpu = cost.cpu.min(cpu::this_thread()? - before);
                cost.wall = cost.wall.min(began.elapsed().as_secs_f64());
            }
            cost.bytes = counter.bytes() - read_before;
        }
        cost.memory = generation.memory_high_water.load(Ordering::Relaxed);
        if settings.component == "files" {
            cost.bytes = size_of(Path::new(&settings.targets[0].0.address))?;
        }
        Ok(cost)
    })
}

/// Stands before the fleet and counts the bytes of its answers. Each answer is made once: what is measured is the reading of it.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    bytes: u64,
    /// By port of the counter: the origin behind it.
    behind: HashMap<u16, String>,
    answers: HashMap<String, (u16, String, axum::body::Bytes)>,
}

impl Counter {
    fn bytes(&self) -> u64 {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).bytes
    }

    /// The same settings with the counter in front of each origin.
    async fn before(&self, mut settings: Settings) -> Result<Settings> {
        let mut fronts: HashMap<String, String> = HashMap::new();
        for (target, _) in &mut settings.targets {
            let Some((origin, path)) = split(&target.address) else { continue };
            if !fronts.contains_key(&origin) {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                let at = listener.local_addr()?;
                self.0.lock().unwrap_or_else(|e| e.into_inner()).behind.insert(at.port(), origin.clone());
                let router = Router::new().fallback(answer).with_state((self.clone(), at.port(), reqwest::Client::new()));
                tokio::spawn(async move { axum::serve(listener, router).await });
                fronts.insert(origin.clone(), format!("http://{at}"));
            }
            target.address = format!("{}{path}", fronts[&origin]);
        }
        for credential in settings.credentials.values_mut() {
            credential.origins.extend(fronts.values().cloned());
        }
        if !fronts.is_empty() {
            settings.grants.http = Some(http_policy::Policy::new(settings.targets.iter().map(|(t, _)| t.address.as_str())));
        }
        Ok(settings)
    }
}

/// Origin and what follows it.
fn split(address: &str) -> Option<(String, String)> {
    let rest = address.strip_prefix("http://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    Some((format!("http://{}", &rest[..at]), rest[at..].to_owned()))
}

async fn answer(State((counter, port, client)): State<(Counter, u16, reqwest::Client)>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let (known, behind) = {
        let kept = counter.0.lock().unwrap_or_else(|e| e.into_inner());
        let behind = kept.behind.get(&port).cloned().unwrap_or_default();
        (kept.answers.get(&format!("{behind}{path}")).cloned(), behind)
    };
    let (status, kind, body) = match known {
        Some(known) => known,
        None => {
            let mut ask = client.get(format!("{behind}{path}"));
            for name in ["authorization", "accept"] {
                if let Some(value) = request.headers().get(name) {
                    ask = ask.header(name, value);
                }
            }
            let Ok(answer) = ask.send().await else { return axum::http::StatusCode::BAD_GATEWAY.into_response() };
            let status = answer.status().as_u16();
            let kind = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("text/plain").to_owned();
            let made = (status, kind, answer.bytes().await.unwrap_or_default());
            // What was refused may be let in with other credentials.
            if status == 200 {
                counter.0.lock().unwrap_or_else(|e| e.into_inner()).answers.insert(format!("{behind}{path}"), made.clone());
            }
            made
        }
    };
    counter.0.lock().unwrap_or_else(|e| e.into_inner()).bytes += body.len() as u64;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = axum::http::StatusCode::from_u16(status).unwrap_or(axum::http::StatusCode::BAD_GATEWAY);
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert("content-type", kind);
    }
    response
}

/// The shipped NPU table over a tree of cards.
fn sysfs(top: &Path, settings: Settings) -> Result<Settings> {
    for n in 0..FILES_CARDS {
        let card = top.join(format!("npu{n}"));
        let files = [
            ("serial", format!("SN:A-{n}")),
            ("model", "A100N".to_owned()),
            ("uevent", format!("PCI_SLOT_NAME=0000:{n:02}:00.0")),
            ("hwmon/hwmon3/power1_input", "45250000".to_owned()),
            ("hwmon/hwmon3/power1_cap", "75000000".to_owned()),
            ("hwmon/hwmon3/temp1_input", "61500".to_owned()),
            ("hwmon/hwmon3/temp2_input", "58000".to_owned()),
            ("load", "87".to_owned()),
            ("memory", "total: 16777216\nused: 8388608".to_owned()),
            ("energy", "123456".to_owned()),
            ("state", "running".to_owned()),
        ];
        let cores = (0..4).map(|c| (format!("cores/core{c}/load"), "80".to_owned()));
        for (name, text) in files.into_iter().map(|(n, t)| (n.to_owned(), t)).chain(cores) {
            let file = card.join(name);
            fs::create_dir_all(file.parent().unwrap_or(&card))?;
            fs::write(file, text + "\n")?;
        }
    }
    let sample = fs::read_to_string(crate::root().join("config/plugins.d/files.toml"))?;
    let sample = sample.replace("/sys/class/acme_npu", &top.display().to_string());
    let sample: toml::Table = sample.parse()?;
    let target = Target {
        id: "npus".into(),
        address: top.display().to_string(),
        cluster: "cluster1".into(),
        labels: vec![("node".into(), "worker1".into())],
        credential: None,
        config: "{}".into(),
    };
    let files = Globs::new(&[format!("{}/**", top.display())]).map_err(anyhow::Error::msg)?;
    let http = Some(http_policy::Policy::new([]));
    let grants = Grants { http, files: Some(files), ..Grants::default() };
    Ok(Settings { enabled: true, targets: vec![(target, None)], grants, config: serde_json::to_value(&sample["config"])?, ..settings })
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}
