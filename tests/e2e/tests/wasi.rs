//! Components of ordinary toolchains (`cargo xtask guests`): they read the fleet through the host's `http`, and what they
//! import of WASI gives them nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use kcloud_e2e::{Running, fleet, root, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::contract::Target;
use kcloud_monitor::plugins::engine::Compiler;
use serde_json::{Value, json};

/// Whether a guest is there; `cargo xtask test` says why where it is not.
fn is_built(name: &str) -> bool {
    let is_there = root().join(format!("target/guests/{name}.wasm")).is_file();
    if !is_there {
        eprintln!("NOT RUN for {name}: its toolchain was not to be had (`cargo xtask guests` says why)");
    }
    is_there
}

/// Compiled code by its file, and when it was written: a compilation writes.
fn compiled(cache: &Path) -> BTreeMap<String, SystemTime> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![cache.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.extension() {
                _ if path.is_dir() => dirs.push(path),
                // Notes of wasmtime about a use.
                Some(_) => {}
                None => drop(all.insert(path.display().to_string(), entry.metadata().and_then(|m| m.modified()).unwrap())),
            }
        }
    }
    all
}

fn compiler(cache_dir: &Path, timeout: Duration) -> Compiler {
    Compiler { program: env!("CARGO_BIN_EXE_kcloud-monitor-under-test").into(), cache_dir: cache_dir.to_owned(), memory: 1 << 30, timeout }
}

async fn reads_the_truth_and_is_compiled_once(component: &str, cache: &Path) {
    let (fleet, address) = fleet(4, Faults { blank_power_every: 9, ..Faults::demo() }).await;
    fleet.pin(Some(42));
    let truth = fleet.truth(42);
    let mut settings = demo_settings(&fleet, address);
    (settings[0].name, settings[0].component) = (component.to_owned(), component.to_owned());
    let mut took = Vec::new();
    let mut code = BTreeMap::new();
    for start in ["cold", "from the code cache"] {
        let before = Instant::now();
        let running = Running::start_with(&[component], settings.clone(), |o| {
            o.compiler = Some(compiler(cache, Duration::from_secs(120)));
        })
        .await;
        running.plugin_is(component, "active").await;
        took.push(before.elapsed());
        let summary = until("all nodes are read", async || {
            let (_, body) = running.get(&format!("/api/v1/system/plugins/{component}")).await;
            assert!(body["data"]["last_error"].is_null(), "{body}");
            let (status, body) = running.get("/api/v1/accelerators/gpus/summary").await;
            (status == 200 && body["data"]["total_gpus"] == truth.total_gpus).then_some(body["data"].clone())
        })
        .await;
        assert_eq!(summary["total_power_watts"].as_f64(), Some(truth.total_power_watts), "{start}");
        assert_eq!(summary["power_known_count"], truth.total_gpus - truth.unknown_power);
        let (_, list) = running.get("/api/v1/accelerators/gpus?limit=1000&include_metrics=true").await;
        for card in &truth.cards {
            let row = list["data"].as_array().unwrap().iter().find(|r| r["uuid"] == card.uuid.as_str()).unwrap();
            let metric = |name: &str| row["metrics"][name].as_f64();
            assert_eq!(metric("power_usage_watts"), card.power_watts, "{}", card.uuid);
            assert_eq!(metric("gpu_temperature_celsius"), Some(card.temperature_celsius.into()), "{row}");
            if card.mig_instances == 0 {
                assert_eq!(metric("gpu_utilization_percent"), card.utilization_percent.map(f64::from));
            }
            assert_eq!((row["hostname"].as_str(), row["device"].as_str()), (Some(card.node.as_str()), Some(card.device.as_str())));
        }
        let (_, body) = running.get(&format!("/api/v1/system/plugins/{component}")).await;
        let plugin = &body["data"];
        assert_eq!((&plugin["wasi"], &plugin["last_error"], &plugin["log_tail"]), (&json!(true), &Value::Null, &json!([])), "{plugin}");
        assert!(
            plugin["rights_asked"].as_array().unwrap().iter().all(|r| ["http", "log", "clock"].contains(&r.as_str().unwrap())),
            "{plugin}"
        );
        eprintln!("{component}, {start}: active after {:?}, {} bytes of memory", took[took.len() - 1], plugin["memory_high_water_bytes"]);
        match code.is_empty() {
            true => code = compiled(cache),
            false => assert_eq!(code, compiled(cache), "it was compiled again"),
        }
        assert!(!code.is_empty(), "nothing was kept");
    }
    assert!(took[1] < Duration::from_secs(2).max(took[0] / 4), "{took:?}");
}

/// What is said of a guest that ended itself abnormally; why stands in its log.
const PANICKED: &str = "panicked";

/// Each mode is a plugin of its own, beside one that is read; what must stand in its last error, and in its log.
async fn misbehaves(component: &str, cache: &Path, modes: &[(&str, &str, &str)]) {
    let (fleet, address) = fleet(1, Faults::default()).await;
    let well = Settings {
        name: component.to_owned(),
        component: component.to_owned(),
        timeout: Duration::from_secs(3),
        ..demo_settings(&fleet, address).remove(0)
    };
    let bad = |(mode, ..): &(&str, &str, &str)| {
        let (target, _) = well.targets[0].clone();
        let target = Target { config: json!({ "mode": mode }).to_string(), ..target };
        Settings { name: (*mode).to_owned(), targets: vec![(target, None)], ..well.clone() }
    };
    let all = modes.iter().map(bad).chain([well.clone()]).collect();
    let running = Running::start_with(&[component], all, |o| o.cache_dir = Some(cache.to_owned())).await;
    let (mut errors, mut logs) = (BTreeMap::new(), String::new());
    until("every mode has ended and said why", async || {
        for (mode, _, line) in modes {
            let (_, body) = running.get(&format!("/api/v1/system/plugins/{mode}")).await;
            let log = body["data"]["log_tail"].to_string();
            if let Some(error) = body["data"]["last_error"]["message"].as_str()
                && log.contains(line)
                && errors.insert((*mode).to_owned(), error.to_owned()).is_none()
            {
                eprintln!("{mode}: {error}");
            }
            logs.push_str(&log);
        }
        (errors.len() == modes.len()).then_some(())
    })
    .await;
    for (mode, expected, _) in modes {
        assert!(errors[*mode].contains(expected), "{mode}: {}", errors[*mode]);
    }
    assert!(!logs.contains("root:"), "a file was read: {logs}");
    // The host goes on, and so does the component where it behaves.
    until("its neighbour is read", async || {
        (running.get("/api/v1/accelerators/gpus/summary").await.1["data"]["total_gpus"] == 8).then_some(())
    })
    .await;
    assert!(!errors.contains_key("worker1"), "{errors:#?}");
    assert_eq!(running.get("/livez").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_reads_the_truth_is_compiled_once_and_finds_nothing_where_it_reaches_out() {
    if !is_built("python") {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    reads_the_truth_and_is_compiled_once("python", cache.path()).await;
    let modes = [
        ("raise", PANICKED, "KeyError: 'nothing'"),
        ("loop", "CPU budget of 250ms", ""),
        ("eat", "more memory than its limit", ""),
        ("chatter", PANICKED, "line 50"),
        ("open", PANICKED, "No such file or directory: '/etc/passwd'"),
        ("write", PANICKED, "No such file or directory: '/tmp/x'"),
        ("list", PANICKED, "No such file or directory: '/'"),
        ("connect", PANICKED, "in create_connection"),
        ("resolve", PANICKED, "socket.gaierror"),
        ("listen", PANICKED, "in create_server"),
        ("spawn", PANICKED, "wasi does not support processes"),
        ("environment", PANICKED, "0 variables, arguments [], standard input ''"),
        ("exit", "it called exit", ""),
        ("sleep", "time-out", ""),
        ("random", "CPU budget of 250ms", ""),
    ];
    misbehaves("python", cache.path(), &modes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_reads_the_truth_is_compiled_once_and_is_stopped_where_it_misbehaves() {
    if !is_built("javascript") {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    reads_the_truth_and_is_compiled_once("javascript", cache.path()).await;
    let modes = [
        ("throw", PANICKED, "nobody is not defined"),
        ("loop", "CPU budget of 250ms", ""),
        ("recurse", "stack overflowed", ""),
        ("eat", "more memory than its limit", ""),
        ("chatter", PANICKED, "line 50"),
    ];
    misbehaves("javascript", cache.path(), &modes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_on_its_standard_library_reads_the_truth_and_is_compiled_once() {
    if is_built("nvidia-dcgm-wasip2") {
        let cache = tempfile::tempdir().unwrap();
        reads_the_truth_and_is_compiled_once("nvidia-dcgm-wasip2", cache.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compilation_that_takes_too_long_is_killed_and_named() {
    let cache = tempfile::tempdir().unwrap();
    let running = Running::start_with(&["nvidia-dcgm"], vec![], |o| {
        o.compiler = Some(compiler(cache.path(), Duration::ZERO));
    })
    .await;
    let reason = running.plugin_is("nvidia-dcgm", "rejected").await;
    assert!(reason.contains("compiling took longer than 0ns ([plugins] compile_timeout)"), "{reason}");
    assert!(compiled(cache.path()).is_empty());
}

#[test]
fn inspect_shows_wasi_apart_from_the_rights() {
    for (component, wasi) in [("nvidia-dcgm-wasip2", "true"), ("nvidia-dcgm", "false")] {
        if wasi == "true" && !is_built(component) {
            continue;
        }
        let file = kcloud_e2e::component(component);
        let out = Command::new(env!("CARGO_BIN_EXE_kcloud-monitor-under-test")).args(["plugin", "inspect"]).arg(file).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success() && said.contains(&format!("wasi    {wasi}\n")), "{said}");
        let asks = said.lines().find(|l| l.starts_with("asks")).unwrap();
        assert!(!asks.contains("wasi") && !asks.contains("environment"), "{said}");
    }
}
