//! Alerts over HTTP, through the installed program, a webhook that is away, and Debian's Alertmanager.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod program;

use axum::http::{HeaderMap, StatusCode};
use kcloud_e2e::world::{Is, Says};
use kcloud_e2e::{Running, fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::alerts::notify::{AlertmanagerSpec, Spec, Way, WebhookSpec};
use kcloud_monitor::alerts::{Rules, Settings, rules};
use kcloud_monitor::history::Endpoint;
use kcloud_monitor::inventory::{Kind, Severity};
use program::{PASSWORD, Program, binary};
use serde_json::{Value, json};

const HOT: &str = "[[rules]]\nname = \"hot\"\nseverity = \"critical\"\nmetric = \"temperature_celsius\"\nabove = 80.0\nclear = 75.0\n\
    message = \"{name} on {node} is at {value} °C, more than {threshold}\"\nmessage_ko = \"{node}의 {name}: {value} °C\"\n\
    labels = { team = \"ml\" }\n";

/// Only these rules, and these who are told.
fn settings(text: &str, notifiers: Vec<Spec>) -> Settings {
    let file = Rules::read(Path::new("own.toml"), text).unwrap();
    let (rules, problems) = rules(false, &Default::default(), &[&file]);
    assert!(problems.is_empty(), "{problems:?}");
    Settings { rules, notifiers }
}

async fn running(settings: Settings) -> Running {
    let running = Running::start(&[], vec![]).await;
    running.set_alerts(settings).await;
    running
}

/// Cards of worker1 at these temperatures; hostile text in a label of the first.
fn cards(running: &Running, celsius: &[f64]) {
    let mut says = Says::default();
    let node = says.of(Kind::Node, None, &[("node", "worker1")], &[], &[]);
    for (i, celsius) in celsius.iter().enumerate() {
        let (uuid, device) = (format!("GPU-{i}"), format!("nvidia{i}"));
        let pod = if i == 0 { EVIL } else { "train-0" };
        let labels = [("class", "gpu"), ("vendor", "nvidia"), ("pod", pod)];
        let identity = [("uuid", uuid.as_str()), ("node", "worker1"), ("device", device.as_str())];
        says.of(Kind::Accelerator, Some(node), &identity, &labels, &[("temperature_celsius", Is::Number(*celsius))]);
    }
    says.say(&running.host.app.inventory, "nvidia-dcgm", "cluster1");
}

const EVIL: &str = "=cmd|'\"\\{{ .Labels }}<script>\u{ac00}";

async fn send(running: &Running, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = running.client.request(method, format!("{}{path}", running.base)).basic_auth("admin", Some("changeme"));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_listed_acknowledged_silenced_and_ends_in_the_history_over_a_restart() {
    let running = running(settings(HOT, vec![])).await;
    cards(&running, &[90.0, 60.0, 85.0]);
    let list = "/api/v1/monitoring/alerts";
    let body = until("two alerts", async || Some(running.get(list).await.1).filter(|b| b["metadata"]["total_count"] == 2)).await;
    let alert = body["data"].as_array().unwrap().iter().find(|a| a["resource_id"] == "GPU-0").unwrap().clone();
    assert_eq!(
        (&alert["state"], &alert["severity"], &alert["value"], &alert["node"], &alert["labels"]["pod"]),
        (&json!("firing"), &json!("critical"), &json!(90.0), &json!("worker1"), &json!(EVIL))
    );
    assert_eq!(alert["message"], "nvidia0 (GPU-0) on worker1 is at 90 °C, more than 80");
    for (query, count) in [
        ("severity=critical&rule=hot&cluster=cluster1&node=worker1&state=firing", 2),
        ("severity=info", 0),
        ("state=pending", 0),
        ("rule=other", 0),
        ("acknowledged=true", 0),
        ("silenced=false&limit=1&sort=-value", 2),
    ] {
        assert_eq!(running.get(&format!("{list}?{query}")).await.1["metadata"]["total_count"], count, "{query}");
    }
    assert_eq!(running.get(&format!("{list}?sort=-value&fields=value,id")).await.1["data"][0]["value"], 90.0);
    for bad in ["severity=bad", "state=resolved", "acknowledged=x", "sort=mood", "sort=-", "limit=0", "cluster=nowhere", "what=1"] {
        let (status, body) = running.get(&format!("{list}?{bad}")).await;
        assert!([400, 404].contains(&status) && body["error"]["message"].is_string(), "{bad}: {status} {body}");
    }
    let id = alert["id"].as_str().unwrap().to_owned();
    let one = format!("{list}/{id}");
    let (_, key) = send(&running, Method::POST, "/api/v1/auth/keys", Some(json!({ "name": "reader", "scopes": ["read"] }))).await;
    let reader = running.client.post(format!("{}{one}/acknowledge", running.base)).bearer_auth(key["api_key"].as_str().unwrap());
    assert_eq!(reader.send().await.unwrap().status(), 403, "a reader acknowledges nothing");
    let (status, body) = send(&running, Method::POST, &format!("{one}/acknowledge"), Some(json!({ "comment": "on it\n" }))).await;
    assert!(status == 400 && body["detail"].as_str().unwrap().contains("control characters"), "{body}");
    let (status, body) = send(&running, Method::POST, &format!("{one}/acknowledge"), Some(json!({ "comment": "on it" }))).await;
    assert_eq!(
        (status, &body["data"]["acknowledged"]["by"], &body["data"]["acknowledged"]["comment"]),
        (200, &json!("admin"), &json!("on it"))
    );
    assert_eq!(send(&running, Method::POST, &format!("{list}/none/acknowledge"), None).await.0, 404);

    let silences = format!("{list}/silences");
    for (bad, expected) in [
        (json!({ "matchers": [], "duration": "1h" }), "1 to 16 matchers"),
        (json!({ "matchers": [{ "name": "node", "value": "(a+)+*x" }], "duration": "1h" }), "a * at the end alone"),
        (json!({ "matchers": [{ "name": "a b", "value": "x" }], "duration": "1h" }), "name of a label"),
        (json!({ "matchers": [{ "name": "node", "value": "x" }] }), "one of them"),
        (json!({ "matchers": [{ "name": "node", "value": "x" }], "duration": "9999d" }), "within 365 days"),
        (json!({ "matchers": [{ "name": "node", "value": "x" }], "ends_at": "2001-01-01T00:00:00Z" }), "an end that is to come"),
        (json!({ "matchers": [{ "name": "node", "value": "x" }], "ends_at": "tomorrow" }), "RFC 3339"),
        (json!({ "matchers": [{ "name": "node", "value": "x" }], "duration": "1h", "by": "x" }), "unknown field"),
    ] {
        let (status, body) = send(&running, Method::POST, &silences, Some(bad.clone())).await;
        assert!(status == 400 && body["detail"].as_str().unwrap().contains(expected), "{bad}: {body}");
    }
    let asked = json!({ "matchers": [{ "name": "resource_id", "value": "GPU-2" }, { "name": "team", "value": "m*" }], "duration": "2h", "comment": "known" });
    let (status, body) = send(&running, Method::POST, &silences, Some(asked)).await;
    assert_eq!((status, &body["data"]["covers"], &body["data"]["created_by"]), (200, &json!(1), &json!("admin")), "{body}");
    let silence = body["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(running.get(&format!("{list}?silenced=true")).await.1["data"][0]["resource_id"], "GPU-2");

    let running = running.restart(vec![]).await;
    let kept = running.get(&one).await.1;
    assert_eq!((&kept["data"]["acknowledged"]["by"], &kept["data"]["fired_at"]), (&json!("admin"), &alert["fired_at"]));
    cards(&running, &[70.0, 60.0, 85.0]);
    let history = format!("{list}/history");
    let ended = until("it ended", async || {
        Some(running.get(&format!("{history}?state=resolved")).await.1).filter(|b| b["metadata"]["total_count"] == 1)
    })
    .await;
    assert_eq!((&ended["data"][0]["id"], &ended["data"][0]["end_reason"]), (&json!(id), &json!("cleared")));
    assert!(ended["metadata"]["window"]["start_time"].is_string());
    assert_eq!(running.get(&one).await.1["data"]["state"], "resolved");
    assert_eq!(running.get(&format!("{history}?period=1h")).await.1["metadata"]["total_count"], 2, "what fires is in it, too");
    assert_eq!(
        running.get(&format!("{history}?start=2001-01-01T00:00:00Z&end=2001-01-02T00:00:00Z")).await.1["metadata"]["total_count"],
        0
    );
    assert_eq!(send(&running, Method::POST, &format!("{one}/acknowledge"), None).await.0, 409);
    assert_eq!(running.get(&silences).await.1["data"][0]["id"], silence);
    assert_eq!(send(&running, Method::DELETE, &format!("{silences}/{silence}"), None).await.0, 200);
    assert_eq!(send(&running, Method::DELETE, &format!("{silences}/{silence}"), None).await.0, 404);
    let rules = running.get(&format!("{list}/rules")).await.1;
    assert_eq!(
        (&rules["data"][0]["name"], &rules["data"][0]["firing"], &rules["data"][0]["definition"]["above"]),
        (&json!("hot"), &json!(1), &json!(80.0))
    );
    let metrics = running.get("/api/v1/system/metrics").await.1;
    assert!(metrics.as_str().unwrap().contains("kcloud_alerts_firing{rule=\"hot\",severity=\"critical\"} 1"), "{metrics}");
}

/// A receiver that answers 503 while it is away.
#[derive(Default)]
struct Receiver {
    is_away: AtomicBool,
    refused: AtomicBool,
    heard: Mutex<Vec<(HeaderMap, Value)>>,
    turned_away: Mutex<usize>,
}

async fn receiver() -> (Arc<Receiver>, String) {
    let receiver: Arc<Receiver> = Arc::default();
    let hears = receiver.clone();
    let take = async move |headers: HeaderMap, body: String| {
        if hears.is_away.load(Ordering::SeqCst) {
            *hears.turned_away.lock().unwrap() += 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        hears.heard.lock().unwrap().push((headers, serde_json::from_str(&body).unwrap()));
        if hears.refused.load(Ordering::SeqCst) { StatusCode::BAD_REQUEST } else { StatusCode::NO_CONTENT }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/hook", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (receiver, url)
}

impl Receiver {
    /// Type and resource of every change that was heard, in order.
    fn changes(&self) -> Vec<(String, String)> {
        let heard = self.heard.lock().unwrap();
        let all = heard.iter().flat_map(|(_, body)| body["alerts"].as_array().unwrap().clone());
        all.map(|a| (a["type"].as_str().unwrap().to_owned(), a["resource_id"].as_str().unwrap().to_owned())).collect()
    }
}

fn webhook(url: &str, secret_file: Option<&Path>) -> Spec {
    Spec {
        name: "pager".into(),
        endpoint: Endpoint::new(url, None, None, Duration::from_secs(5)).unwrap(),
        way: Way::Webhook(WebhookSpec { secret_file: secret_file.map(Path::to_owned), least: Severity::Info }),
        made_of: url.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_away_hears_everything_in_order_and_signed_and_nothing_that_is_silenced() {
    let (receiver, url) = receiver().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a-secret-of-the-hook\n").unwrap();
    let running = running(settings(HOT, vec![webhook(&url, Some(secret.path()))])).await;
    receiver.is_away.store(true, Ordering::SeqCst);
    let quiet = json!({ "matchers": [{ "name": "resource_id", "value": "GPU-1" }], "duration": "1h" });
    assert_eq!(send(&running, Method::POST, "/api/v1/monitoring/alerts/silences", Some(quiet)).await.0, 200);
    cards(&running, &[90.0, 90.0]);
    until("it is turned away", async || (*receiver.turned_away.lock().unwrap() >= 2).then_some(())).await;
    cards(&running, &[60.0, 60.0]);
    until("both ended", async || {
        let ended = running.get("/api/v1/monitoring/alerts/history?state=resolved").await.1;
        (ended["metadata"]["total_count"] == 2).then_some(())
    })
    .await;
    receiver.is_away.store(false, Ordering::SeqCst);
    until("it hears both changes", async || (receiver.changes().len() >= 2).then_some(())).await;
    let expected = [("threshold_exceeded", "GPU-0"), ("threshold_cleared", "GPU-0")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(receiver.changes(), expected);
    let (headers, body) = receiver.heard.lock().unwrap()[0].clone();
    let signature = headers["x-kcloud-signature"].to_str().unwrap();
    assert!(signature.starts_with("sha256=") && signature.len() == 71 && headers.contains_key("x-kcloud-timestamp"), "{headers:?}");
    assert_eq!(
        (&body["alerts"][0]["labels"]["pod"], &body["alerts"][0]["message_ko"]),
        (&json!(EVIL), &json!("worker1의 nvidia0 (GPU-0): 90 °C"))
    );
    assert!(!body.to_string().contains("a-secret"));
    // What it refuses is not sent again, and what follows is.
    receiver.refused.store(true, Ordering::SeqCst);
    cards(&running, &[90.0]);
    until("it refused", async || (receiver.changes().len() == 3).then_some(())).await;
    receiver.refused.store(false, Ordering::SeqCst);
    cards(&running, &[60.0]);
    until("it hears the next", async || (receiver.changes().len() == 4).then_some(())).await;
    let metrics = running.get("/api/v1/system/metrics").await.1;
    let metrics = metrics.as_str().unwrap();
    for (result, n) in [("sent", 3), ("refused", 1), ("dropped", 0)] {
        let line = format!("kcloud_alerts_notifications_total{{notifier=\"pager\",kind=\"webhook\",result=\"{result}\"}} {n}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_alerts_at_once_all_reach_a_webhook() {
    let (receiver, url) = receiver().await;
    let running = running(settings(HOT, vec![webhook(&url, None)])).await;
    cards(&running, &vec![90.0; 10_000]);
    until("all are heard", async || (receiver.changes().len() == 10_000).then_some(())).await;
    let (status, page) = running.get("/api/v1/monitoring/alerts?limit=1000&offset=9500&sort=rule").await;
    assert_eq!((status, &page["metadata"]["total_count"], page["data"].as_array().unwrap().len()), (200, &json!(10_000), 500));
}

/// Debian's Alertmanager in a process of its own, ended by its id.
struct Alertmanager {
    child: Child,
    base: String,
    _dir: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("Alertmanager did not end: {error}");
        }
    }
}

impl Alertmanager {
    /// Starts it; what it notifies goes to `hook`.
    async fn start(hook: &str, port: Option<u16>) -> Option<Self> {
        let is_there =
            Command::new("prometheus-alertmanager").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if !is_there {
            eprintln!("NOT RUN: prometheus-alertmanager is missing; `apt-get install prometheus-alertmanager` (cargo xtask test tries to)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = port.unwrap_or_else(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let config = format!(
            "route:\n  receiver: hook\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 1h\n\
             receivers:\n- name: hook\n  webhook_configs:\n  - url: {hook}\n    send_resolved: true\n"
        );
        std::fs::write(dir.path().join("am.yml"), config).unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", dir.path().join("am.yml").display()))
            .arg(format!("--storage.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let ready = format!("{base}/-/ready");
        let part = Self { child, base, _dir: dir };
        until("Alertmanager is ready", async || reqwest::get(&ready).await.ok().filter(|r| r.status().is_success()).map(drop)).await;
        Some(part)
    }

    async fn alerts(&self) -> Vec<Value> {
        let Ok(answer) = reqwest::get(format!("{}/api/v2/alerts", self.base)).await else { return vec![] };
        answer.json().await.unwrap_or_default()
    }

    fn spec(base: &str) -> Spec {
        Spec {
            name: "am".into(),
            endpoint: Endpoint::new(&format!("{base}/api/v2/alerts"), None, None, Duration::from_secs(5)).unwrap(),
            way: Way::Alertmanager(AlertmanagerSpec {
                resend: Duration::from_secs(2),
                labels: [("site".to_owned(), "a".to_owned())].into(),
                least: Severity::Info,
                external_url: Some("https://monitor.example".to_owned()),
            }),
            made_of: base.to_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_alertmanager_shows_an_alert_tells_of_it_and_of_its_end() {
    let (receiver, hook) = receiver().await;
    let Some(manager) = Alertmanager::start(&hook, None).await else { return };
    let running = running(settings(HOT, vec![Alertmanager::spec(&manager.base)])).await;
    cards(&running, &[90.0, 60.0]);
    let all = until("it shows the alert", async || Some(manager.alerts().await).filter(|a| a.len() == 1)).await;
    let labels = &all[0]["labels"];
    assert_eq!(
        (&labels["alertname"], &labels["resource_id"], &labels["severity"], &labels["team"], &labels["site"], &labels["pod"]),
        (&json!("hot"), &json!("GPU-0"), &json!("critical"), &json!("ml"), &json!("a"), &json!(EVIL))
    );
    assert_eq!(all[0]["annotations"]["summary"], "nvidia0 (GPU-0) on worker1 is at 90 °C, more than 80");
    assert_eq!(all[0]["annotations"]["summary_ko"], "worker1의 nvidia0 (GPU-0): 90 °C");
    assert!(all[0]["generatorURL"].as_str().unwrap().starts_with("https://monitor.example/api/v1/monitoring/alerts/"));
    let (_, list) = running.get("/api/v1/monitoring/alerts").await;
    assert_eq!(all[0]["startsAt"], list["data"][0]["fired_at"], "the same moment in both");
    let amtool = Command::new("amtool")
        .args(["alert", "query", "alertname=hot", "-o", "json", "--alertmanager.url"])
        .arg(&manager.base)
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&amtool.stdout).unwrap_or_else(|e| panic!("{e}: {amtool:?}"));
    assert_eq!(shown[0]["labels"]["resource_id"], "GPU-0");
    // It is sent again, so that it lives on there: its end moves.
    let first = all[0]["endsAt"].clone();
    until("its end moved", async || manager.alerts().await.first().filter(|a| a["endsAt"] != first).map(drop)).await;
    cards(&running, &[60.0, 60.0]);
    until("it shows none", async || manager.alerts().await.is_empty().then_some(())).await;
    let of = |status: &str| {
        let heard = receiver.heard.lock().unwrap();
        heard.iter().any(|(_, body)| body["status"] == status && body["alerts"][0]["labels"]["resource_id"] == "GPU-0")
    };
    until("it told of the end", async || of("resolved").then_some(())).await;
    assert!(of("firing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_that_comes_late_hears_what_fires_and_what_ended_meanwhile_is_not_shown() {
    let (_, hook) = receiver().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let running = running(settings(HOT, vec![Alertmanager::spec(&format!("http://127.0.0.1:{port}"))])).await;
    cards(&running, &[90.0, 90.0]);
    until("nobody answers", async || {
        let metrics = running.get("/api/v1/system/metrics").await.1;
        metrics.as_str().unwrap().lines().find(|l| l.starts_with("kcloud_alerts_notifier_failures"))?.ends_with(" 2").then_some(())
    })
    .await;
    cards(&running, &[90.0, 60.0]);
    let Some(manager) = Alertmanager::start(&hook, Some(port)).await else { return };
    let all = until("it shows what fires", async || Some(manager.alerts().await).filter(|a| !a.is_empty())).await;
    assert_eq!(all.iter().map(|a| &a["labels"]["resource_id"]).collect::<Vec<_>>(), [&json!("GPU-0")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_rules_are_taken_over_while_it_runs_and_outlive_a_kill() {
    let (fleet, address) = fleet(1, Faults::default()).await;
    let (receiver, url) = receiver().await;
    let more = |dir: &Path| {
        std::fs::create_dir_all(dir.join("alerts.d")).unwrap();
        std::fs::write(dir.join("hook.secret"), "s3cret-of-a-hook").unwrap();
        let (rules, secret) = (dir.join("alerts.d"), dir.join("hook.secret"));
        format!("[alerts]\nrules_dir = {rules:?}\nready_made = false\n[alerts.webhooks.pager]\nurl = \"{url}\"\nsecret_file = {secret:?}\n")
    };
    let mut program = Program::start(more);
    let target = format!(
        "interval = \"300ms\"\n[grants]\nhttp = \"targets\"\n[[targets]]\nid = \"t\"\naddress = \"http://{address}/nodes/{}/metrics\"\n",
        fleet.node_name(0)
    );
    std::fs::write(program.dir.path().join("plugins.d/nvidia-dcgm.toml"), target).unwrap();
    let rules = program.dir.path().join("alerts.d/own.toml");
    let rule = "[[rules]]\nname = \"warm\"\nseverity = \"info\"\nmetric = \"temperature_celsius\"\nabove = 1.0\nmessage = \"{name}: {value} °C\"\n";
    std::fs::write(&rules, rule).unwrap();
    let list = "/api/v1/monitoring/alerts?sort=node&limit=100";
    let firing = async |program: &Program, n: u64| program.get(list).await.filter(|b| b["metadata"]["total_count"] == n);
    let body = until("eight alerts", async || firing(&program, 8).await).await;
    let ids: Vec<String> = body["data"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect();
    until("the hook heard them", async || (receiver.changes().len() == 8).then_some(())).await;

    // A file that does not check is named with line and reason; the last good rules stay.
    std::fs::write(&rules, rule.replace("above", "abov")).unwrap();
    until("the mistake is said", async || program.get("/api/v1/system/status").await.filter(|b| b["config"]["state"] == "rejected")).await;
    assert!(program.log().contains("own.toml:5:1: unknown field `abov`"), "{}", program.log());
    assert!(firing(&program, 8).await.is_some());
    let check = binary().args(["config", "check"]).arg(program.dir.path().join("kcloud-monitor.toml")).output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(check.status.code() == Some(2) && said.contains("own.toml:5:1") && said.contains("did you mean `above`"), "{said}");
    std::fs::write(&rules, rule).unwrap();
    let check = binary().args(["config", "check"]).arg(program.dir.path().join("kcloud-monitor.toml")).output().unwrap();
    assert!(check.status.success(), "{check:?}");

    let acknowledge = format!("http://127.0.0.1:{}/api/v1/monitoring/alerts/{}/acknowledge", program.port, ids[0]);
    let answer = program.client.post(acknowledge).basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    program.child = Program::spawn(program.dir.path(), &[]);
    let body = until("it is back with them", async || {
        firing(&program, 8).await.filter(|b| b["data"].as_array().unwrap().iter().all(|a| a["unknown"].is_null()))
    })
    .await;
    let mut again: Vec<String> = body["data"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect();
    let mut before = ids.clone();
    again.sort();
    before.sort();
    assert_eq!(again, before, "the same alerts, not new ones");
    let kept = program.get(&format!("/api/v1/monitoring/alerts/{}", ids[0])).await.unwrap();
    assert_eq!(kept["data"]["acknowledged"]["by"], "admin");
    // Nobody was told twice; taken away, the rule ends its alerts, and that is told.
    std::fs::remove_file(&rules).unwrap();
    until("they end", async || firing(&program, 0).await).await;
    until("their ends are told", async || (receiver.changes().len() >= 16).then_some(())).await;
    let changes = receiver.changes();
    assert_eq!(changes.iter().filter(|(change, _)| change == "threshold_exceeded").count(), 8, "{changes:?}");
    assert!(!program.log().contains("s3cret"), "no secret in the log");
}
