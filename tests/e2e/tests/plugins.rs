//! Components come, wait for rights, are replaced under load and go. What a hostile one can do stands in `evil.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kcloud_e2e::{Running, component, fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::inventory::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_settings_has_no_rights_and_says_what_it_asks_for() {
    for component in ["nvidia-dcgm", "v0-1-0", "evil", "evil-0-2"] {
        let running = Running::start(&[component], vec![]).await;
        let reason = running.plugin_is(component, "waiting-for-approval").await;
        assert!(reason.contains("http"), "{component}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_says_why_and_the_old_version_goes_on() {
    let (fleet, address) = fleet(1, Faults::default()).await;
    let running = Running::start(&["nvidia-dcgm"], demo_settings(&fleet, address)).await;
    running.plugin_is("nvidia-dcgm", "active").await;
    let whole = std::fs::read(component("nvidia-dcgm")).unwrap();
    for (bytes, expected) in [
        (&whole[..whole.len() / 2], "does not compile"),
        (b"just text".as_slice(), "not WebAssembly"),
        (b"\0asm\x01\0\0\0".as_slice(), "core module"),
        // An empty component: right form, another world.
        (b"\0asm\x0d\0\x01\0".as_slice(), "kcloud:collector/collector"),
        (b"".as_slice(), "not WebAssembly"),
    ] {
        let (part, file) = (running.plugins_dir().join(".part"), running.plugins_dir().join("nvidia-dcgm.wasm"));
        std::fs::write(&part, bytes).unwrap();
        std::fs::rename(&part, &file).unwrap();
        let reason = until(expected, async || {
            let (state, reason) = running.plugin("nvidia-dcgm").await;
            (state == "rejected" && reason.contains(expected)).then_some(reason)
        })
        .await;
        assert!(reason.contains("version 0.1.0 goes on"), "{reason}");
        assert_eq!(running.get("/api/v1/accelerators/gpus").await.0, 200);
        std::fs::write(&part, &whole).unwrap();
        std::fs::rename(&part, &file).unwrap();
        running.plugin_is("nvidia-dcgm", "active").await;
    }
}

/// Requests at a steady rate, each of which must succeed and find no card offline.
struct Load {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<u32>,
    began: Instant,
}

impl Load {
    fn start(running: &Running, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, url) = (running.client.clone(), format!("{}/api/v1/accelerators/gpus?status=offline", running.base));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
            let mut all = tokio::task::JoinSet::new();
            while !stopped.load(Ordering::Relaxed) {
                tick.tick().await;
                let request = client.get(&url).basic_auth("admin", Some("changeme"));
                all.spawn(async move {
                    let response = request.send().await.expect("an answer");
                    assert_eq!(response.status(), 200);
                    let body = response.text().await.expect("a body");
                    assert!(body.contains("\"total_count\":0"), "{body}");
                });
            }
            all.join_all().await.len() as u32
        });
        Self { stop, task, began: Instant::now() }
    }

    /// How many there were, in how many seconds.
    async fn stop(self) -> (u32, f64) {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.began.elapsed().as_secs_f64();
        (self.task.await.expect("no request failed"), seconds)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_in_replaced_twenty_times_under_load_and_removed() {
    let (fleet, address) = fleet(2, Faults::default()).await;
    let mut settings = demo_settings(&fleet, address);
    settings[0].interval = Duration::from_millis(500);
    let running = Running::start(&[], settings).await;
    running.plugin_is("nvidia-dcgm", "missing").await;
    let whole = std::fs::read(component("nvidia-dcgm")).unwrap();
    let (part, file) = (running.plugins_dir().join(".part"), running.plugins_dir().join("nvidia-dcgm.wasm"));
    let put = |version: u8| {
        // A custom section more is other bytes, and so another version, of the same code.
        let mut bytes = whole.clone();
        bytes.extend([0, 3, 1, b'v', version]);
        std::fs::write(&part, bytes).unwrap();
        std::fs::rename(&part, &file).unwrap();
    };
    put(0);
    until("data of a dropped-in plugin", async || {
        (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 16).then_some(())
    })
    .await;
    let load = Load::start(&running, 500);
    let mut generation = 1;
    for version in 1..=20 {
        put(version);
        until(&format!("version {version} is swapped in"), async || {
            let now = running.host.app.registry.get("nvidia-dcgm").and_then(|p| p.generation()).map_or(0, |g| g.number);
            (now > generation).then(|| generation = now)
        })
        .await;
    }
    let (requests, seconds) = load.stop().await;
    assert!(f64::from(requests) / seconds > 400.0, "{requests} requests in {seconds} s are no load");
    let snapshot = running.host.app.inventory.current();
    for card in snapshot.of_kind(Kind::Accelerator) {
        let all = running.host.app.history.raw(&card.id, "temperature_celsius", 0, i64::MAX).unwrap();
        let longest = all.windows(2).map(|w| w[1].0 - w[0].0).max().unwrap();
        assert!(all.iter().all(|(_, v)| v.is_some()), "{}: its series was cut", card.id);
        assert!(longest <= 2 * 500, "{}: {longest} ms between two readings of every 500 ms", card.id);
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::write(running.plugins_dir().join("touch"), "").unwrap();
    until("its cards are stale", async || {
        // Taken as removed at the second look without the file.
        std::fs::write(running.plugins_dir().join("touch"), format!("{:?}", Instant::now())).ok()?;
        (running.get("/api/v1/accelerators/gpus?status=offline").await.1["metadata"]["total_count"] == 16).then_some(())
    })
    .await;
}
