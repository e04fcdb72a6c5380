//! Streams read by what users read them with: Python's websockets, Node's ws, curl, and a page in a browser.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use kcloud_e2e::{Running, root, until, world};
use kcloud_monitor::api::{self, ClusterInfo};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A host whose first cluster's one server with a BMC draws 1,000 W.
async fn running() -> Running {
    let named = |name: &str| ClusterInfo { name: name.into(), ..ClusterInfo::default() };
    let running = Running::start_with(&[], vec![], |options| options.clusters = vec![named("cluster1"), named("cluster2")]).await;
    world::put(&running.host.app.inventory);
    until("it is published", async || {
        let (_, body) = running.get("/api/v1/monitoring/power?cluster=cluster1").await;
        (body["data"]["total_power_watts"] == 1_000.0).then_some(())
    })
    .await;
    running
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it ends")
}

/// Runs a program to its end, and gives what it printed.
async fn run(mut command: Command) -> String {
    let Output { status, stdout, stderr } = blocking(move || command.output()).await.expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
    assert!(status.success(), "{status}: {out}{err}");
    out
}

/// Something that a package index has, in a directory of its own under target/tools.
fn installed(name: &str, file: &str, steps: &[&[&str]]) -> Result<PathBuf, String> {
    let dir = root().join("target/tools").join(name);
    let there = dir.join(file);
    if there.exists() {
        return Ok(there);
    }
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    for step in steps {
        let out = Command::new(step[0]).args(&step[1..]).current_dir(&dir).output().map_err(|e| format!("{step:?}: {e}"))?;
        if !out.status.success() {
            return Err(format!("{step:?}: {}", String::from_utf8_lossy(&out.stderr)));
        }
    }
    Ok(there)
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_websockets_reads_a_stream_and_changes_what_it_reads() {
    let tool = blocking(|| {
        let steps: [&[&str]; 2] = [&["python3", "-m", "venv", "venv"], &["venv/bin/pip", "install", "--quiet", "websockets==15.0.1"]];
        installed("python-websockets", "venv/lib", &steps).map(|lib| lib.with_file_name("bin/python"))
    });
    let python = match tool.await {
        Ok(python) => python,
        Err(why) => return eprintln!("NOT RUN: websockets from PyPI could not be installed: {why}"),
    };
    let running = running().await;
    let script = r#"
import asyncio, base64, json, sys, websockets
async def main():
    headers = {"Authorization": "Basic " + base64.b64encode(b"admin:changeme").decode()}
    async with websockets.connect(sys.argv[1] + "/api/v1/monitoring/stream/power?cluster=cluster1", additional_headers=headers) as socket:
        first = json.loads(await socket.recv())
        assert first["type"] == "power_update" and first["data"]["total_power_watts"] == 1000.0, first
        await socket.send(json.dumps({"action": "subscribe", "stream": "metrics", "metric_name": "power", "resource_type": "gpus"}))
        told = json.loads(await socket.recv())
        assert told["type"] == "subscribed", told
        rows = json.loads(await socket.recv())["data"]["resources"]
        assert sorted(r["power_watts"] for r in rows) == [100.0, 300.0], rows
        await (await socket.ping())
    try:
        async with websockets.connect(sys.argv[1] + "/api/v1/monitoring/stream/power"):
            raise SystemExit("it came in without credentials")
    except websockets.exceptions.InvalidStatus as error:
        assert error.response.status_code == 401
    print("done")
asyncio.run(main())
"#;
    let mut command = Command::new(python);
    command.args(["-c", script, &running.base.replace("http", "ws")]);
    assert_eq!(run(command).await.trim(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_ws_reads_a_stream_of_changes() {
    let tool = blocking(|| {
        let steps: [&[&str]; 1] = [&["npm", "install", "--no-audit", "--no-fund", "--silent", "ws@8.18.3"]];
        installed("node-ws", "node_modules/ws/package.json", &steps)
    });
    let package = match tool.await {
        Ok(package) => package,
        Err(why) => return eprintln!("NOT RUN: ws from npm could not be installed: {why}"),
    };
    let running = running().await;
    let script = r#"
const WebSocket = require("ws");
const socket = new WebSocket(process.argv[1] + "/api/v1/monitoring/stream/power?resource_type=gpus&delta=true", { headers: { Authorization: "Basic YWRtaW46Y2hhbmdlbWU=" } });
socket.on("message", (data) => {
  const frame = JSON.parse(data);
  if (frame.type === "power_update" && frame.full) {
    console.log(frame.data.resources.map((r) => r.power_watts).sort().join(" "));
    socket.close();
  }
});
socket.on("error", (e) => { console.error(e); process.exit(1); });
"#;
    let mut command = Command::new("node");
    let dir = package.ancestors().nth(3).expect("the directory of its modules").to_owned();
    command.current_dir(dir).args(["-e", script, &running.base.replace("http", "ws")]);
    assert_eq!(run(command).await.trim(), "100 300");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_events_until_it_has_enough() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("NOT RUN: no curl; `apt-get install curl`");
    }
    let running = running().await;
    let mut command = Command::new("sh");
    let url = format!("{}/api/v1/monitoring/events/power?cluster=cluster1&threshold_watts=900", running.base);
    command.args(["-c", "curl -sN --max-time 60 -u admin:changeme \"$0\" | grep -m1 -A1 'event: threshold_exceeded'", &url]);
    let out = run(command).await;
    let data = out.lines().find_map(|l| l.strip_prefix("data: ")).expect("data");
    let told: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!((&told["current_value"], &told["threshold"]), (&1_000.0.into(), &900.0.into()));
}

/// Opens both kinds of stream with tickets, as docs/STREAMS.md says, and writes what came into the page. It is not loaded before that:
/// the picture is there when both have come.
const PAGE: &str = r#"<!doctype html><title>streams</title><p id="socket"></p><p id="events"></p><img src="/picture?ticket=TICKET"><script>
const headers = { Authorization: "Basic YWRtaW46Y2hhbmdlbWU=" };
const ticket = async () => (await (await fetch("/api/v1/auth/ticket", { method: "POST", headers })).json()).ticket;
const put = (id, text) => { document.getElementById(id).textContent = text; fetch("/came", { headers }); };
(async () => {
  const socket = new WebSocket(`ws://${location.host}/api/v1/monitoring/stream/power?cluster=cluster1&ticket=${await ticket()}`);
  socket.onmessage = (m) => { put("socket", "socket " + JSON.parse(m.data).data.total_power_watts + " W"); socket.close(); };
  const events = new EventSource(`/api/v1/monitoring/events/power?cluster=cluster1&threshold_watts=900&ticket=${await ticket()}`);
  events.addEventListener("threshold_exceeded", (e) => { put("events", "event " + JSON.parse(e.data).threshold + " W " + e.lastEventId.split(".")[1]); events.close(); });
})();
</script>"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_reads_both_kinds_of_stream_with_tickets() {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|n| Command::new(n).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok());
    let Some(chromium) = found else {
        return eprintln!("NOT RUN: no chromium; `apt-get install chromium` (cargo xtask test tries to)");
    };
    let running = running().await;
    let ticket = async |base: &str| {
        let asked = running.client.post(format!("{base}/api/v1/auth/ticket")).basic_auth("admin", Some("changeme")).send().await;
        let ticket: Value = serde_json::from_str(&asked.expect("a ticket").text().await.expect("text")).expect("JSON");
        ticket["ticket"].as_str().expect("a ticket").to_owned()
    };
    let page = PAGE.replace("TICKET", &ticket(&running.base).await);
    let came = Arc::new(Semaphore::new(0));
    let seen = came.clone();
    let page = Router::new()
        .route("/page", get(async move || Html(page)))
        .route("/came", get(async move || came.add_permits(1)))
        .route("/picture", get(async move || drop(seen.acquire_many(2).await)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let router = api::router_with(running.host.app.clone(), page).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut command = Command::new(chromium);
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--no-first-run", "--dump-dom"])
        .arg(format!("--user-data-dir={}", running.dir.path().join("profile").display()))
        .arg(format!("{base}/page?ticket={}", ticket(&base).await));
    let dom = run(command).await;
    assert!(dom.contains("socket 1000 W") && dom.contains("event 900 W 1"), "{dom}");
    until("the page's streams are closed", async || (running.host.app.streams.open_connections() == 0).then_some(())).await;
}
