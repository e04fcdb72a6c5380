//! The document says what the host does, the pages show it, and real tools agree.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use kcloud_e2e::{Running, fleet, root, until, world};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use serde_json::{Value, json};

async fn running() -> Running {
    let (fleet, address) = fleet(2, Faults::demo()).await;
    let running = Running::start(&["nvidia-dcgm"], demo_settings(&fleet, address)).await;
    world::put(&running.host.app.inventory);
    until("18 cards", async || (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 18).then_some(())).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_the_document_says_with_no_field_more() {
    let running = running().await;
    let (status, document) = running.get("/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let card = running.get("/api/v1/accelerators/gpus").await.1["data"][0]["gpu_id"].as_str().unwrap().to_owned();
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(get) = operations.get("get") else { continue };
        let concrete = match path {
            p if p.contains("/gpus/{id}") => p.replace("{id}", &card),
            // No source of NPUs yet: the answer is a problem, and that has a schema too.
            p if p.contains("/npus/{id}") => p.replace("{id}", "none"),
            p if p.contains("/nodes/{name}") => p.replace("{name}", "master1"),
            p if p.contains("/containers/{namespace}") => p.replace("{namespace}/{pod}/{name}", "ml/train-0/side"),
            p if p.contains("/containers/{id}") => p.replace("{id}", "ml%2Ftrain-0%2Fside"),
            p if p.contains("/pods/{namespace}") => p.replace("{namespace}/{name}", "web/front"),
            p if p.contains("/vms/{id}") => p.replace("{id}", "vm1"),
            p if p.contains("/sensors/{node}") => p.replace("{node}", "worker1"),
            p => p.replace("/clusters/{name}", "/clusters/cluster1").replace("/plugins/{name}", "/plugins/nvidia-dcgm"),
        };
        let all = |query: &str| get["parameters"].as_array().unwrap().iter().any(|p| p["name"] == query);
        let mut queries = vec![String::new()];
        if all("include_metrics") {
            queries.push("?include_metrics=true".into());
        }
        if all("include_reasons") {
            queries.push("?include_reasons=true&include_metrics=true".into());
        }
        if all("include_power") {
            queries.push("?include_power=true&include_metrics=true".into());
        }
        if all("period") {
            queries.push("?period=1m&step=1h".into());
        }
        if all("metric_name") {
            queries.push("?metric_name=power&period=1h".into());
        }
        if all("breakdown_by") {
            let extra = if all("include_efficiency") { "&include_efficiency=true" } else { "" };
            queries.extend(["node", "resource_type", "vendor"].map(|by| format!("?breakdown_by={by}{extra}")));
        }
        // An answer that does not end is read in `stream.rs`.
        if get["responses"]["200"]["content"].as_object().is_some_and(|c| c.keys().any(|media| media.starts_with("text/event-stream"))) {
            queries.clear();
        }
        queries.push("?no_such=1".into());
        for query in queries {
            let asked = running.client.get(format!("{}{concrete}{query}", running.base)).basic_auth("admin", Some("changeme"));
            let response = asked.send().await.unwrap();
            let (status, media) = (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap().to_owned());
            let text = response.bytes().await.unwrap();
            let body: Value = serde_json::from_slice(&text).unwrap_or_else(|_| String::from_utf8_lossy(&text).into());
            let answers = &get["responses"][status.to_string()]["content"];
            let Some(schema) =
                answers.as_object().and_then(|c| c.iter().find(|(m, _)| media.starts_with(m.as_str()))).map(|(_, c)| c["schema"].clone())
            else {
                // Probes take no notice of a query.
                panic!("{concrete}{query}: {status} {media} is not documented: {body}");
            };
            let whole = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [schema], "components": document["components"] });
            let validator = jsonschema::validator_for(&whole).unwrap();
            let errors: Vec<String> = validator.iter_errors(&body).map(|e| format!("{} at {}", e, e.instance_path())).collect();
            assert!(errors.is_empty(), "{concrete}{query}: {errors:#?}");
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen}");
}

fn program(names: &[&str]) -> Option<String> {
    let found = names.iter().find(|n| Command::new(n).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok());
    found.map(|n| (*n).to_owned())
}

/// Schemathesis in an environment of its own under target/, made on the first run.
fn schemathesis() -> Result<PathBuf, String> {
    let dir = root().join("target/tools/schemathesis");
    let tool = dir.join("bin/schemathesis");
    if tool.is_file() {
        return Ok(tool);
    }
    let run = |command: &mut Command| match command.stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("{command:?}: {other:?}")),
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    run(Command::new(dir.join("bin/pip")).args(["install", "--quiet", "schemathesis==4.32.5"]))?;
    Ok(tool)
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_answer_that_the_document_does_not_allow() {
    let tool = match tokio::task::spawn_blocking(schemathesis).await.unwrap() {
        Ok(tool) => tool,
        Err(why) => {
            eprintln!("NOT RUN: schemathesis from PyPI could not be installed: {why}");
            return;
        }
    };
    let running = running().await;
    let url = format!("{}/openapi.json", running.base);
    let dir = running.dir.path().to_owned();
    let out = tokio::task::spawn_blocking(move || {
        Command::new(tool)
            .current_dir(dir)
            .args(["run", &url, "--auth", "admin:changeme", "--phases", "examples,coverage,fuzzing", "--max-examples", "12"])
            .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
            // What does not end is read in `stream.rs`.
            .args(["--exclude-path-regex", "/stream/(power|metrics)$|/events(/power)?$"])
            .args(["--seed", "1", "--generation-database", "none", "--request-timeout", "10"])
            .output()
    });
    let out = out.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_renders_both_pages_and_asks_nobody_else() {
    let Some(chromium) = program(&["chromium", "chromium-browser", "google-chrome"]) else {
        eprintln!("NOT RUN: no chromium; `apt-get install chromium` (cargo xtask test tries to)");
        return;
    };
    let running = running().await;
    // What proves that the page was drawn from the document.
    for (page, expected) in [("/docs/", "operations-accelerators"), ("/redoc", "Sums and means over GPUs, each once")] {
        let (log, profile) = (running.dir.path().join("net.json"), running.dir.path().join("profile"));
        let mut command = Command::new(&chromium);
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--no-first-run", "--virtual-time-budget=20000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--log-net-log={}", log.display()))
            .arg(format!("{}{page}", running.base));
        let out = tokio::task::spawn_blocking(move || command.stderr(Stdio::null()).output()).await.unwrap().unwrap();
        let dom = String::from_utf8_lossy(&out.stdout);
        assert!(dom.contains(expected), "{page}: {} bytes of DOM without {expected:?}", dom.len());
        let log = std::fs::read_to_string(&log).unwrap();
        let foreign = foreign_requests(&log, &running.base);
        assert!(foreign.is_empty(), "{page} asked for {foreign:?}");
    }
}

/// URLs that a page asked others than the host for. What the browser asks for itself has no page as its initiator.
fn foreign_requests(log: &str, base: &str) -> Vec<String> {
    // The end of the log is missing when the browser leaves in a hurry.
    let log: Value = serde_json::from_str(log)
        .unwrap_or_else(|_| serde_json::from_str(&format!("{}]}}", log.trim_end().trim_end_matches(','))).unwrap());
    let started = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"].as_u64().unwrap();
    let events = log["events"].as_array().unwrap().iter().filter(|e| e["type"] == started && e["phase"] == 1);
    let asked: Vec<(&str, &str)> =
        events.map(|e| (e["params"]["url"].as_str().unwrap_or(""), e["params"]["initiator"].as_str().unwrap_or(""))).collect();
    assert!(asked.iter().any(|(url, by)| url.starts_with(base) && *by == base), "what the page asks for is told apart: {asked:?}");
    asked.into_iter().filter(|(url, by)| by.starts_with("http") && !url.starts_with(base)).map(|(url, _)| url.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_from_the_predecessor_leads_to_routes_that_there_are() {
    let running = running().await;
    let (_, document) = running.get("/openapi.json").await;
    let served = |route: &str| document["paths"].get(route).is_some();
    let text = std::fs::read_to_string(root().join("docs/MIGRATION.md")).unwrap();
    let (mut led, mut waits) = (BTreeSet::new(), 0);
    for line in text.lines().filter(|l| l.starts_with('|')) {
        // What stands between backquotes, and begins as a route does.
        let routes: Vec<&str> =
            line.split('`').skip(1).step_by(2).map(|r| r.trim_start_matches("POST ").trim_start_matches("GET ")).collect();
        for route in routes.into_iter().filter(|r| r.starts_with("/api/v1/")) {
            assert_eq!(served(route), !line.contains('⏳'), "{route} in: {line}");
            waits += usize::from(line.contains('⏳'));
            led.insert(route.to_owned());
        }
    }
    assert!(led.len() > 50 && waits < 15, "{} routes, {waits} of them not served yet", led.len());
    // And back: no route of the seven domains is forgotten.
    let domains = ["accelerators", "infrastructure", "hardware", "clusters", "monitoring", "export"];
    let forgotten: Vec<&String> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|p| p.split('/').nth(3).is_some_and(|d| domains.contains(&d)) && !led.contains(*p))
        // New ones, which nobody comes from.
        .filter(|p| !p.contains("/monitoring/alerts") && !p.contains("/export/jobs"))
        .filter(|p| !["/health", "/events", "/partitions", "/cores", "/links", "/processes"].iter().any(|end| p.ends_with(end)))
        .filter(|p| !p.ends_with("/pods/{namespace}/{name}/metrics") && !p.contains("/containers/{namespace}/{pod}/{name}"))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}
