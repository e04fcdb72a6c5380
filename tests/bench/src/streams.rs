//! Ten thousand WebSocket readers of one stream, some that never read, and clients that come and go.
//!
//! Server and readers are processes of their own, so that the CPU time of each is its own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kcloud_monitor::api::ClusterInfo;
use kcloud_monitor::auth::Auth;
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::history::Keep;
use kcloud_monitor::host::{Beyond, Host, Options};
use kcloud_monitor::inventory::batch::{Batch, BatchPoint, BatchSubject};
use kcloud_monitor::inventory::{Inventory, Kind, Quality, SourceInfo};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::verify::Policy;
use kcloud_monitor::{net, now_ms, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api::Started;
use crate::{cpu, row};

const NODES: usize = 100;
const READERS: usize = 10_000;
const SECONDS: u64 = 30;
const PATH: &str = "/api/v1/monitoring/stream/power?interval=1";

/// What this program is when it is started again.
pub fn role() -> Option<Result<()>> {
    match std::env::var("KCLOUD_BENCH_STREAMS").ok()?.as_str() {
        "serve" => Some(serve()),
        "read" => Some(read()),
        other => Some(Err(anyhow::anyhow!("no role {other:?}"))),
    }
}

/// A hundred servers that draw something else each second.
fn say(inventory: &Inventory, tick: u64) -> Result<()> {
    let power = Catalogue::known("power_watts").context("a metric")?;
    let mut batch = Batch::default();
    let pair = |k: &str, v: String| (k.to_owned(), v);
    for n in 0..NODES {
        let at = batch.subjects.len() as u32;
        let node = BatchSubject {
            kind: Kind::Node,
            identity: vec![pair("node", format!("worker{n}"))],
            labels: vec![],
            parent: None,
            observed_at_ms: None,
        };
        let chassis = BatchSubject {
            kind: Kind::Chassis,
            identity: vec![pair("name", "dcmi".into())],
            labels: vec![pair("method", "dcmi".into())],
            parent: Some(at),
            observed_at_ms: None,
        };
        batch.subjects.extend([node, chassis]);
        let value = 500.0 + ((tick * 7 + n as u64) % 100) as f64;
        batch.points.push(BatchPoint { subject: at + 1, metric: power, value, quality: Quality::Measured, at_ms: None });
    }
    let info = SourceInfo {
        plugin: "ipmi".into(),
        target: "bmcs".into(),
        cluster: "cluster1".into(),
        interval_ms: 1_000,
        priority: 0,
        max_subjects: 1_000,
        max_values: 10_000,
    };
    let problems = inventory.apply(&info, batch, now_ms());
    ensure!(problems.is_empty(), "{problems:?}");
    Ok(())
}

fn serve() -> Result<()> {
    net::open_many_files();
    kcloud_monitor::runtime()?.block_on(async {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        let options = Options {
            plugins_dir: at("plugins"),
            state_dir: at("state"),
            kept_dir: at("kept"),
            history_dir: at("history"),
            alerts_dir: at("alerts"),
            reports_dir: at("reports"),
            history_keep: Keep::default(),
            exports: kcloud_monitor::export::Exports::default(),
            beyond: Beyond::default(),
            cache_dir: None,
            compiler: None,
            policy: Policy { is_loopback: true, ..Policy::default() },
            auth: Auth::in_memory("admin", "changeme")?,
            plugins_config_dir: None,
            clusters: vec![ClusterInfo { name: "cluster1".into(), ..ClusterInfo::default() }],
            forget_after: Duration::from_secs(86_400),
            stream: stream::Limits::default(),
            cors: Vec::new(),
            is_agent: false,
        };
        std::fs::create_dir(&options.plugins_dir)?;
        let host = Host::start(options, Vec::<Settings>::new).await?;
        let inventory = host.app.inventory.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            for n in 0.. {
                tick.tick().await;
                if let Err(error) = say(&inventory, n) {
                    eprintln!("{error:#}");
                }
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        host.serve(listener, std::future::pending()).await
    })
}

/// What the readers of one process got.
#[derive(Default)]
struct Got {
    frames: AtomicU64,
    bytes: AtomicU64,
    lags: AtomicU64,
    lost: AtomicU64,
    open: AtomicU64,
    is_counting: AtomicBool,
    /// Of each reader the frames that were counted.
    each: Mutex<Vec<u64>>,
    /// Milliseconds from the snapshot to here.
    lag_ms: Mutex<Vec<u32>>,
}

async fn connect(address: SocketAddr, path: &str) -> Result<(TcpStream, Vec<u8>)> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Basic YWRtaW46Y2hhbmdlbWU=\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    loop {
        let mut byte = [0];
        ensure!(socket.read(&mut byte).await? == 1, "closed: {}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    Ok((socket, Vec::with_capacity(4 << 10)))
}

/// The next frame of a server: its kind and its payload. Servers do not mask.
async fn frame<'a>(socket: &mut TcpStream, buffer: &'a mut Vec<u8>) -> Result<(u8, &'a [u8])> {
    let mut head = [0_u8; 2];
    socket.read_exact(&mut head).await?;
    let length = match head[1] {
        126 => u64::from(socket.read_u16().await?),
        127 => socket.read_u64().await?,
        short => u64::from(short),
    };
    buffer.resize(length as usize, 0);
    socket.read_exact(buffer).await?;
    Ok((head[0] & 0x0f, buffer))
}

/// `"timestamp":"2026-01-01T12:00:00.123Z"` in milliseconds within its day, which is enough for a lag.
fn stamped(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let at = text.find("\"timestamp\":\"")? + 13;
    let number = |range: std::ops::Range<usize>| text.get(at + range.start..at + range.end)?.parse::<i64>().ok();
    Some(((number(11..13)? * 60 + number(14..16)?) * 60 + number(17..19)?) * 1_000 + number(20..23)?)
}

async fn reader(address: SocketAddr, got: &Got) -> Result<()> {
    let (mut socket, mut buffer) = connect(address, PATH).await?;
    got.open.fetch_add(1, Ordering::Relaxed);
    let mut counted = 0;
    let mut was_counting = false;
    loop {
        let (kind, payload) = frame(&mut socket, &mut buffer).await?;
        match kind {
            1 if payload.windows(14).any(|w| w == b"\"power_update\"") => {
                let now = now_ms().rem_euclid(86_400_000);
                let is_counting = got.is_counting.load(Ordering::Relaxed);
                if is_counting {
                    counted += 1;
                    got.frames.fetch_add(1, Ordering::Relaxed);
                    got.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
                    let lag = stamped(payload).map_or(u32::MAX, |at| (now - at).rem_euclid(86_400_000) as u32);
                    got.lag_ms.lock().unwrap_or_else(|e| e.into_inner()).push(lag);
                } else if was_counting {
                    got.each.lock().unwrap_or_else(|e| e.into_inner()).push(counted);
                    counted = 0;
                }
                was_counting = is_counting;
            }
            1 if payload.windows(5).any(|w| w == b"\"lag\"") => drop(got.lags.fetch_add(1, Ordering::Relaxed)),
            9 => socket.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await?,
            8 => bail!("closed: {}", String::from_utf8_lossy(payload)),
            _ => {}
        }
    }
}

/// Readers by order of the owner: `open ADDRESS N`, `silent ADDRESS N`, `start`, `stop`, `churn ADDRESS SECONDS RATE`.
fn read() -> Result<()> {
    net::open_many_files();
    kcloud_monitor::runtime()?.block_on(async {
        let got = Arc::new(Got::default());
        let mut silent = Vec::new();
        let mut orders = BufReader::new(std::io::stdin()).lines();
        // The owner waits for each answer: nothing else is to be done meanwhile but by tasks.
        while let Some(order) = tokio::task::block_in_place(|| orders.next()) {
            let order = order?;
            let words: Vec<&str> = order.split(' ').collect();
            match words[..] {
                ["open", address, n] => {
                    let (address, n): (SocketAddr, u64) = (address.parse()?, n.parse()?);
                    for _ in 0..n {
                        let got = got.clone();
                        tokio::spawn(async move {
                            let ended = reader(address, &got).await;
                            if let (Err(error), 0) = (ended, got.lost.fetch_add(1, Ordering::Relaxed)) {
                                eprintln!("a reader ended: {error:#}");
                            }
                        });
                        tokio::time::sleep(Duration::from_micros(300)).await;
                    }
                    while got.open.load(Ordering::Relaxed) + got.lost.load(Ordering::Relaxed) < n {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    println!("{}", got.open.load(Ordering::Relaxed));
                }
                ["silent", address, n] => {
                    for _ in 0..n.parse::<u64>()? {
                        silent.push(connect(address.parse()?, PATH).await?);
                    }
                    println!("{}", silent.len());
                }
                ["start"] => {
                    got.lag_ms.lock().unwrap_or_else(|e| e.into_inner()).clear();
                    got.each.lock().unwrap_or_else(|e| e.into_inner()).clear();
                    got.frames.store(0, Ordering::Relaxed);
                    got.bytes.store(0, Ordering::Relaxed);
                    got.is_counting.store(true, Ordering::Relaxed);
                    println!("ok");
                }
                ["stop"] => {
                    got.is_counting.store(false, Ordering::Relaxed);
                    let open = got.open.load(Ordering::Relaxed) - got.lost.load(Ordering::Relaxed);
                    let deadline = Instant::now() + Duration::from_secs(20);
                    while (got.each.lock().unwrap_or_else(|e| e.into_inner()).len() as u64) < open && Instant::now() < deadline {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    println!("{}", summary(&got));
                }
                ["churn", address, seconds, rate] => {
                    let (address, seconds, rate): (SocketAddr, u64, u64) = (address.parse()?, seconds.parse()?, rate.parse()?);
                    println!("{}", churn(address, seconds, rate).await);
                }
                _ => bail!("no order {order:?}"),
            }
            std::io::stdout().flush()?;
        }
        Ok(())
    })
}

/// Numbers in a row: open, lost, frames, the least and the most of one reader, lag messages, bytes of a frame, p50, p99, max.
fn summary(got: &Got) -> String {
    let mut lags = got.lag_ms.lock().unwrap_or_else(|e| e.into_inner());
    lags.sort_unstable();
    let at = |p: f64| lags.get(((lags.len() as f64 * p) as usize).min(lags.len().saturating_sub(1))).copied().unwrap_or(0);
    let each = got.each.lock().unwrap_or_else(|e| e.into_inner());
    let frames = got.frames.load(Ordering::Relaxed);
    let (least, most) = (each.iter().min().copied().unwrap_or(0), each.iter().max().copied().unwrap_or(0));
    format!(
        "{} {} {frames} {least} {most} {} {} {} {} {}",
        got.open.load(Ordering::Relaxed),
        got.lost.load(Ordering::Relaxed),
        got.lags.load(Ordering::Relaxed),
        got.bytes.load(Ordering::Relaxed).checked_div(frames).unwrap_or(0),
        at(0.5),
        at(0.99),
        at(1.0),
    )
}

/// Clients that come, take a frame and go; how many did, and how many could not.
async fn churn(address: SocketAddr, seconds: u64, rate: u64) -> String {
    let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
    for n in 0..seconds * rate {
        tick.tick().await;
        let (done, failed) = (done.clone(), failed.clone());
        tokio::spawn(async move {
            let one = async {
                let (mut socket, mut buffer) = connect(address, PATH).await?;
                frame(&mut socket, &mut buffer).await?;
                if n % 2 == 0 {
                    // Half of them say that they go.
                    socket.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await?;
                }
                anyhow::Ok(())
            };
            let counter = if one.await.is_ok() { done } else { failed };
            counter.fetch_add(1, Ordering::Relaxed);
        });
    }
    while done.load(Ordering::Relaxed) + failed.load(Ordering::Relaxed) < seconds * rate {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    format!("{} {}", done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
}

/// The process of the readers.
struct Readers {
    child: Started,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Readers {
    fn start() -> Result<Self> {
        let mut child: Child = Command::new(std::env::current_exe()?)
            .env("KCLOUD_BENCH_STREAMS", "read")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, answers) = (child.stdin.take().context("no input")?, child.stdout.take().context("no output")?);
        Ok(Self { child: Started(child), orders, answers: BufReader::new(answers) })
    }

    fn order(&mut self, what: &str) -> Result<Vec<u64>> {
        writeln!(self.orders, "{what}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.split_whitespace().filter_map(|w| w.parse().ok()).collect())
    }
}

struct Server {
    child: Started,
    address: String,
    client: reqwest::blocking::Client,
}

impl Server {
    fn start() -> Result<Self> {
        let (child, address) = crate::api::start("KCLOUD_BENCH_STREAMS", "serve")?;
        Ok(Self { child, address, client: reqwest::blocking::Client::new() })
    }

    fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// A counter of the host's own.
    fn counter(&self, name: &str) -> Result<f64> {
        let url = format!("http://{}/api/v1/system/metrics", self.address);
        let text = self.client.get(url).basic_auth("admin", Some("changeme")).send()?.text()?;
        let lines = text.lines().filter_map(|l| l.strip_prefix(name)).filter(|l| l.starts_with(['{', ' ']));
        Ok(lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Threads and open descriptors.
    fn holds(&self) -> Result<(usize, usize)> {
        let count = |what: &str| -> Result<usize> { Ok(std::fs::read_dir(format!("/proc/{}/{what}", self.pid()))?.count()) };
        Ok((count("task")?, count("fd")?))
    }

    fn until_left(&self) -> Result<Duration> {
        let began = Instant::now();
        while self.counter("kcloud_stream_connections")? > 0.0 {
            ensure!(began.elapsed() < Duration::from_secs(30), "streams of clients that are gone are still open");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(began.elapsed())
    }
}

/// Readers that are counted for a while.
fn measure(server: &Server, readers: &mut Readers, seconds: u64) -> Result<(Vec<u64>, f64, f64)> {
    let (before, own) = (cpu::seconds(server.pid())?, cpu::seconds(readers.child.0.id())?);
    readers.order("start")?;
    std::thread::sleep(Duration::from_secs(seconds));
    let got = readers.order("stop")?;
    Ok((got, cpu::seconds(server.pid())? - before, cpu::seconds(readers.child.0.id())? - own))
}

/// Runs the part; clients come and go for `seconds`.
pub fn run(seconds: u64) -> Result<()> {
    let server = Server::start()?;
    // Until it draws something.
    while server.counter("kcloud_history_series")? < 1.0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(3));
    let mut readers = Readers::start()?;
    let (_, empty) = cpu::resident_mib(server.pid())?;
    let open = readers.order(&format!("open {} {READERS}", server.address))?;
    ensure!(open == [READERS as u64], "only {open:?} readers could be opened");
    let (made, sent) = (server.counter("kcloud_stream_frames_made_total")?, server.counter("kcloud_stream_frames_sent_total")?);
    let (got, used, own) = measure(&server, &mut readers, SECONDS)?;
    let (_, full) = cpu::resident_mib(server.pid())?;
    let [_, lost, frames, least, most, lags, bytes, p50, p99, max] = got[..] else { bail!("not the numbers: {got:?}") };
    let (made, sent) =
        (server.counter("kcloud_stream_frames_made_total")? - made, server.counter("kcloud_stream_frames_sent_total")? - sent);
    row("readers of one stream", READERS as f64, "10000", &format!("one frame a second for {SECONDS} s, {bytes} bytes each; lost {lost}"));
    let delivered = frames as f64 / (most.max(1) * READERS as u64) as f64 * 100.0;
    row(
        "frames delivered, %",
        delivered,
        "100",
        &format!("each reader {least} to {most}; {lags} were told of a lag; made {made}, sent {sent}"),
    );
    row("lag from snapshot to client, p99, ms", p99 as f64, "≤ 250", &format!("p50 {p50} ms, max {max} ms"));
    row(
        "CPU of the host a frame and reader, µs",
        used / sent * 1e6,
        "",
        &format!("{:.3} cores; the clients took {:.3}", used / SECONDS as f64, own / SECONDS as f64),
    );
    let each = (full - empty) * 1024.0 / READERS as f64;
    row("memory of the host a reader, KiB", each, "≤ 20", &format!("{empty:.0} MiB without, {full:.0} MiB with"));
    drop(readers);
    row("all places free again, s", server.until_left()?.as_secs_f64(), "≤ 1", "after the death of all 10,000 clients at once");

    let mut readers = Readers::start()?;
    readers.order(&format!("open {} 900", server.address))?;
    let (alone, ..) = measure(&server, &mut readers, SECONDS / 2)?;
    readers.order(&format!("silent {} 100", server.address))?;
    let (beside, ..) = measure(&server, &mut readers, SECONDS / 2)?;
    let said = |got: &[u64]| format!("p50 {} ms, p99 {} ms, max {} ms, each {} to {}", got[7], got[8], got[9], got[3], got[4]);
    row(
        "900 readers beside 100 that never read, p99, ms",
        beside[8] as f64,
        &format!("{}", alone[8]),
        &format!("p99; alone {}; beside {}", said(&alone), said(&beside)),
    );
    drop(readers);
    server.until_left()?;

    let mut readers = Readers::start()?;
    // Warm: what is allocated once is.
    readers.order(&format!("churn {} 20 200", server.address))?;
    server.until_left()?;
    let (before, (_, memory)) = (server.holds()?, cpu::resident_mib(server.pid())?);
    let done = readers.order(&format!("churn {} {seconds} 200", server.address))?;
    drop(readers);
    server.until_left()?;
    let (after, (_, later)) = (server.holds()?, cpu::resident_mib(server.pid())?);
    row(
        "200 clients a second come and go",
        later / memory,
        "≤ 1.1",
        &format!(
            "memory after {seconds} s to before, {memory:.1} to {later:.1} MiB; {} came, {} failed; threads {} to {}, descriptors {} to {}",
            done[0], done[1], before.0, after.0, before.1, after.1
        ),
    );
    Ok(())
}
