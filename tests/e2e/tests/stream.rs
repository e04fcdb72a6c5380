//! Streams as their clients see them: WebSockets and server-sent events over loopback.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use kcloud_e2e::{Running, until, world};
use kcloud_monitor::api::ClusterInfo;
use kcloud_monitor::auth::Scope;
use kcloud_monitor::inventory::Kind;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use world::{Is, Says};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

async fn running(max_connections: usize) -> Running {
    let named = |name: &str| ClusterInfo { name: name.into(), ..ClusterInfo::default() };
    Running::start_with(&[], vec![], |options| {
        options.clusters = vec![named("cluster1"), named("cluster2")];
        options.stream.max_connections = max_connections;
    })
    .await
}

/// Says what servers of a cluster draw, and nothing of the others.
fn draw(running: &Running, cluster: &str, servers: &[(&str, f64)]) {
    let mut says = Says::default();
    for (name, watts) in servers {
        let node = says.of(Kind::Node, None, &[("node", name)], &[], &[]);
        says.of(Kind::Chassis, Some(node), &[("name", "dcmi")], &[("method", "dcmi")], &[("power_watts", Is::Number(*watts))]);
    }
    says.say(&running.host.app.inventory, "ipmi", cluster);
}

/// Says it and waits until it is published.
async fn drawn(running: &Running, cluster: &str, servers: &[(&str, f64)]) {
    draw(running, cluster, servers);
    let all: f64 = servers.iter().map(|s| s.1).sum();
    until("the watts are published", async || {
        let (_, body) = running.get(&format!("/api/v1/monitoring/power?cluster={cluster}")).await;
        (body["data"]["total_power_watts"] == all).then_some(())
    })
    .await;
}

/// A WebSocket client.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

const BASIC: (&str, &str) = ("authorization", "Basic YWRtaW46Y2hhbmdlbWU=");

/// Opens a stream with these headers, or says why not.
async fn connect(running: &Running, path: &str, headers: &[(&'static str, &str)]) -> Result<Client, (u16, String, Option<String>)> {
    let mut request = format!("{}/api/v1/monitoring{path}", running.base.replace("http", "ws")).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(Client(socket)),
        Err(Error::Http(response)) => {
            let retry = response.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
            let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
            Err((response.status().as_u16(), body, retry))
        }
        Err(other) => panic!("{other}"),
    }
}

async fn open(running: &Running, path: &str) -> Client {
    connect(running, path, &[BASIC]).await.map_err(|e| format!("{e:?}")).expect("a stream")
}

impl Client {
    async fn message(&mut self) -> Option<Message> {
        tokio::time::timeout(DEADLINE, self.0.next()).await.expect("a message in time").map(|m| m.expect("no error"))
    }

    /// The next text.
    async fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.message().await.expect("not the end") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    async fn close(&mut self) -> CloseFrame {
        loop {
            if let Message::Close(frame) = self.message().await.expect("not the end") {
                return frame.expect("a reason");
            }
        }
    }

    async fn say(&mut self, what: Value) -> Value {
        self.0.send(Message::Text(what.to_string().into())).await.expect("sent");
        self.next().await
    }
}

/// A stream of server-sent events, read as text.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(running: &Running, path: &str, last: Option<&str>) -> Self {
        Self::at(running, &format!("/api/v1/monitoring{path}"), last).await
    }

    async fn at(running: &Running, path: &str, last: Option<&str>) -> Self {
        let mut request = running.client.get(format!("{}{path}", running.base)).basic_auth("admin", Some("changeme"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        Self { response, text: String::new() }
    }

    /// The next event: its name, its id and its data.
    async fn next(&mut self) -> Option<(String, Option<String>, Value)> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
                if let Some(event) = field("event") {
                    let data = field("data").map(|d| serde_json::from_str(&d).expect("JSON on one line"));
                    return Some((event, field("id"), data.expect("data")));
                }
                continue;
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await.expect("an event in time").expect("no error")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    /// The next event of a kind.
    async fn until(&mut self, kind: &str) -> (Option<String>, Value) {
        loop {
            let (event, id, data) = self.next().await.expect("not the end");
            if event == kind {
                return (id, data);
            }
        }
    }
}

async fn nobody_reads(running: &Running) {
    until("all streams are free again", async || (running.host.app.streams.open_connections() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_comes_at_once_and_says_what_the_answer_says() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0), ("worker2", 200.0)]).await;
    let mut client = open(&running, "/stream/power?interval=1").await;
    let frame = client.next().await;
    let (_, answer) = running.get("/api/v1/monitoring/power").await;
    assert_eq!(frame["type"], "power_update");
    assert_eq!(frame["sequence"], answer["metadata"]["sequence"]);
    for field in ["total_power_watts", "breakdown", "coverage"] {
        assert_eq!(frame["data"][field], answer["data"][field], "{field}");
    }
    draw(&running, "cluster1", &[("worker1", 900.0), ("worker2", 200.0)]);
    assert_eq!(client.next().await["data"]["total_power_watts"], 1_100.0);
    client.0.close(None).await.expect("closed");
    nobody_reads(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_of_the_resource_and_the_filter() {
    let running = running(100).await;
    world::put(&running.host.app.inventory);
    let mut client = open(&running, "/stream/power?resource_type=gpus&cluster=cluster1").await;
    let data = client.next().await["data"].clone();
    assert_eq!((&data["count"], &data["resources_power_watts"]), (&json!(2), &json!(400.0)));
    assert_eq!(data["resources"][0]["power_watts"], 300.0);
    assert_eq!(data["resources"][0]["node"], "worker1");
    let mut client = open(&running, "/stream/metrics?metric_name=utilization&resource_type=nodes&node=worker2").await;
    let frame = client.next().await;
    assert_eq!((&frame["metric_name"], &frame["field"]), (&json!("utilization"), &json!("utilization_percent")));
    assert_eq!(frame["data"]["resources"].as_array().unwrap().len(), 1);
    assert_eq!(frame["data"]["resources"][0]["utilization_percent"], 25.0);
    let mut client = open(&running, "/stream/metrics?metric_name=temperature&resource_type=gpus").await;
    let frame = client.next().await;
    assert_eq!((&frame["data"]["known_count"], &frame["data"]["resources"][0]["reason"]), (&json!(0), &json!("absent")));
    assert_eq!(frame["data"]["resources"][0]["temperature_celsius"], Value::Null, "what nobody reads is not 0");
    let mut client = open(&running, "/stream/power?resource_type=pods&namespace=web").await;
    let rows = client.next().await["data"]["resources"].clone();
    assert!(rows.as_array().unwrap().iter().all(|r| r["namespace"] == "web"), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_changes_says_all_first_and_then_what_changed() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0), ("worker2", 200.0)]).await;
    let path = "/stream/power?resource_type=nodes&delta=true&interval=1";
    let mut client = open(&running, path).await;
    let first = client.next().await;
    assert_eq!((&first["full"], first["data"]["resources"].as_array().unwrap().len()), (&json!(true), 2));
    draw(&running, "cluster1", &[("worker1", 801.0), ("worker2", 200.0)]);
    let second = client.next().await;
    assert_eq!(second["full"], false);
    let changed = second["data"]["changed"].as_array().unwrap();
    assert_eq!((changed.len(), &changed[0]["name"], &changed[0]["power_watts"]), (1, &json!("worker1"), &json!(801.0)));
    assert_eq!(second["data"]["removed"], json!([]));
    assert_eq!(second["data"]["total_power_watts"], 1_001.0, "sums are always there");
    // Who comes later starts with all, and both go on with the same frame.
    let mut late = open(&running, path).await;
    let all = late.next().await;
    assert_eq!((&all["full"], &all["data"]["resources"][0]["power_watts"]), (&json!(true), &json!(801.0)));
    draw(&running, "cluster1", &[("worker1", 801.0), ("worker2", 300.0)]);
    let (one, other) = (client.next().await, late.next().await);
    assert_eq!(one, other);
    assert_eq!(one["data"]["changed"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_made_once_for_all_who_ask_for_the_same() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0)]).await;
    let hub = running.host.app.streams.clone();
    let mut clients = Vec::new();
    for _ in 0..20 {
        // The order of parameters makes no other stream.
        let path =
            if clients.len() % 2 == 0 { "/stream/power?interval=1&cluster=cluster1" } else { "/stream/power?cluster=cluster1&interval=1" };
        clients.push(open(&running, path).await);
    }
    for client in &mut clients {
        client.next().await;
    }
    draw(&running, "cluster1", &[("worker1", 801.0)]);
    for client in &mut clients {
        assert_eq!(client.next().await["data"]["total_power_watts"], 801.0);
    }
    let counted = |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(hub.topic_count(), 1);
    until("both frames are counted", async || (counted(&hub.counts().made) == 2).then_some(())).await;
    assert_eq!(counted(&hub.counts().sent), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_what_it_reads_and_hears_what_is_wrong() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0)]).await;
    let mut client = open(&running, "/stream/power").await;
    client.next().await;
    assert_eq!(client.say(json!({ "action": "ping" })).await["type"], "pong");
    let answer = client.say(json!({ "action": "subscribe", "stream": "metrics", "metric_name": "power", "resource_type": "nodes" })).await;
    assert_eq!(
        (&answer["type"], &answer["topic"]),
        (&json!("subscribed"), &json!("metrics?metric_name=power&resource_type=nodes&interval=5"))
    );
    assert_eq!(client.next().await["type"], "metrics_update");
    let answer = client.say(json!({ "action": "set_interval", "interval": 2, "topic": "power?interval=5" })).await;
    assert_eq!((&answer["type"], &answer["topics"]), (&json!("interval_set"), &json!(["power?interval=2"])));
    assert_eq!(client.next().await["topic"], "power?interval=2");
    let answer = client.say(json!({ "action": "unsubscribe" })).await;
    assert_eq!(answer["topics"].as_array().unwrap().len(), 2);
    for (command, allowed) in [
        (json!({ "action": "dance" }), "subscribe, unsubscribe, set_interval, ping"),
        (json!({ "action": "subscribe", "interval": 0 }), "1 to 60"),
        (json!({ "action": "subscribe", "resource_type": "cats" }), "gpus, npus"),
        (json!({ "action": "subscribe", "node": "worker1" }), "only with a resource_type"),
        (json!({ "action": "subscribe", "cluster": "cluster9" }), "there is no cluster"),
        (json!({ "action": "subscribe", "colour": "red" }), "cluster, node"),
        (json!({ "action": "set_interval", "interval": 61 }), "1 to 60"),
        (json!({ "action": "unsubscribe", "topic": "power?interval=5" }), "no topic is read"),
        (json!(["subscribe"]), "a JSON object"),
    ] {
        let answer = client.say(command.clone()).await;
        assert_eq!(answer["type"], "error", "{command}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(allowed), "{command}: {answer}");
    }
    for i in 1..=16 {
        assert_eq!(client.say(json!({ "action": "subscribe", "interval": i })).await["type"], "subscribed", "{i}");
        assert_eq!(client.next().await["type"], "power_update");
    }
    let answer = client.say(json!({ "action": "subscribe", "interval": 17 })).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("16 topics a connection"), "{answer}");
    // What is no command at all ends it, with the reason.
    client.0.send(Message::Text("x".repeat(5_000).into())).await.expect("sent");
    assert!(client.close().await.reason.contains("4096 bytes"));
    nobody_reads(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_had_is_refused_with_the_reason() {
    let running = running(1).await;
    let refused = async |path: &str, headers: &[(&'static str, &str)]| match connect(&running, path, headers).await {
        Ok(_) => panic!("{path} was opened"),
        Err((status, body, retry)) => (status, body, retry),
    };
    let auth = &[BASIC][..];
    let of = async |path: &str, headers: &[(&'static str, &str)], status: u16, text: &str| {
        let (found, body, _) = refused(path, headers).await;
        assert!(found == status && body.contains(text), "{path}: {found} {body}");
    };
    of("/stream/power", &[], 401, "credentials are needed").await;
    of("/stream/power?interval=0", auth, 400, "1 to 60").await;
    of("/stream/power?interval=abc", auth, 400, "1 to 60").await;
    of("/stream/power?speed=1", auth, 400, "this route takes").await;
    of("/stream/metrics?metric_name=beauty", auth, 400, "utilization").await;
    of("/stream/power?cluster=cluster9", auth, 404, "cluster9").await;
    of("/stream/power", &[BASIC, ("origin", "https://evil.example")], 403, "ticket").await;
    // What acts is refused likewise, and a browser's own word goes before names that a proxy may have changed.
    for (header, value, expected) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
    ] {
        let ticket = running.client.post(format!("{}/api/v1/auth/ticket", running.base)).basic_auth("admin", Some("changeme"));
        assert_eq!(ticket.header(header, value).send().await.unwrap().status(), expected, "{header}: {value}");
    }
    let (status, body) = running.get("/api/v1/monitoring/stream/power").await;
    assert_eq!((status, &body["error"]["code"]), (426, &json!("UPGRADE_REQUIRED")));
    let (status, body) = running.get("/api/v1/monitoring/events/power?threshold_watts=-1").await;
    assert!(status == 400 && body.to_string().contains("above 0"), "{body}");
    let (status, body) = running.get("/api/v1/monitoring/events/power?threshold_watts=5&clear_watts=6").await;
    assert!(status == 400 && body.to_string().contains("at most threshold_watts"), "{body}");
    // One is open, which is the limit here; it is given back when the client goes.
    let same = running.base.clone();
    let client =
        connect(&running, "/stream/power", &[BASIC, ("origin", &same)]).await.map_err(|e| format!("{e:?}")).expect("the same origin");
    let (status, body, retry) = refused("/stream/power", auth).await;
    assert!(status == 503 && body.contains("which is the limit") && retry.as_deref() == Some("5"), "{status} {body} {retry:?}");
    drop(client);
    nobody_reads(&running).await;
    open(&running, "/stream/power").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_comes_in_with_a_ticket_that_is_good_once() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0)]).await;
    let ticket = running.client.post(format!("{}/api/v1/auth/ticket", running.base)).basic_auth("admin", Some("changeme"));
    let ticket: Value = serde_json::from_str(&ticket.send().await.unwrap().text().await.unwrap()).unwrap();
    let path = format!("/stream/power?ticket={}", ticket["ticket"].as_str().unwrap());
    let foreign = [("origin", "https://dashboard.example")];
    let mut client = connect(&running, &path, &foreign).await.map_err(|e| format!("{e:?}")).expect("a ticket opens it from anywhere");
    assert_eq!(client.next().await["data"]["total_power_watts"], 800.0);
    assert_eq!(connect(&running, &path, &foreign).await.err().map(|e| e.0), Some(401), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_end_or_are_taken_away_end_their_streams_with_the_reason() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0)]).await;
    let auth = running.host.app.auth.clone();
    let (_, short) = auth.create_key("short", &[Scope::Read], Some(Duration::from_secs(2))).unwrap();
    let (id, long) = auth.create_key("long", &[Scope::Read], None).unwrap();
    let bearer = |key: &str| format!("Bearer {key}");
    let mut ends = connect(&running, "/stream/power", &[("authorization", &bearer(&short))]).await.map_err(|e| format!("{e:?}")).unwrap();
    assert_eq!(ends.next().await["type"], "power_update");
    let last = ends.next().await;
    assert_eq!((&last["type"], &last["error"]["code"]), (&json!("error"), &json!("UNAUTHORIZED")));
    let close = ends.close().await;
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "the token has expired"));
    let mut taken = connect(&running, "/stream/power", &[("authorization", &bearer(&long))]).await.map_err(|e| format!("{e:?}")).unwrap();
    assert_eq!(taken.next().await["type"], "power_update");
    assert!(auth.revoke_key(&id).unwrap());
    let close = taken.close().await;
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "the credentials are not valid"));
    nobody_reads(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_when_a_threshold_is_passed_and_when_it_is_cleared() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0)]).await;
    let mut events = Events::open(&running, "/events/power?threshold_watts=1000&interval=1&spike_percent=40", None).await;
    let (event, id, data) = events.next().await.unwrap();
    assert_eq!((event.as_str(), &data["data"]["total_power_watts"]), ("power_update", &json!(800.0)));
    assert_eq!(id.unwrap(), data["sequence"].to_string());
    draw(&running, "cluster1", &[("worker1", 1_200.0)]);
    let (id, told) = events.until("threshold_exceeded").await;
    assert!(id.unwrap().ends_with(".1"));
    assert_eq!((&told["current_value"], &told["threshold"], &told["severity"]), (&json!(1_200.0), &json!(1_000.0), &json!("critical")));
    let (_, spike) = events.until("power_spike").await;
    assert_eq!((&spike["previous_value"], &spike["change_percent"]), (&json!(800.0), &json!(50.0)));
    // Who comes now is told so by the first frame, and one of whom it is the first topic hears it, too.
    let path = "/events/power?threshold_watts=1000&interval=1&spike_percent=40";
    assert_eq!(Events::open(&running, path, None).await.until("power_update").await.1["threshold_exceeded"], true);
    let mut first = Events::open(&running, "/events/power?threshold_watts=1100", None).await;
    assert_eq!(first.until("threshold_exceeded").await.1["threshold"], 1_100.0);
    draw(&running, "cluster1", &[("worker1", 900.0)]);
    let (_, told) = events.until("threshold_cleared").await;
    assert_eq!((&told["current_value"], &told["severity"]), (&json!(900.0), &json!("info")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_what_it_missed_or_hears_that_it_is_lost() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0)]).await;
    let path = "/events/power?interval=1";
    let mut events = Events::open(&running, path, None).await;
    let (_, last, _) = events.next().await.unwrap();
    drop(events);
    nobody_reads(&running).await;
    // Two frames are made while nobody reads.
    let hub = running.host.app.streams.clone();
    for (n, watts) in [(2, 810.0), (3, 820.0)] {
        draw(&running, "cluster1", &[("worker1", watts)]);
        until("a frame is made", async || (hub.counts().made.load(std::sync::atomic::Ordering::Relaxed) == n).then_some(())).await;
    }
    let mut events = Events::open(&running, path, last.as_deref()).await;
    let mut next = async || events.next().await.unwrap();
    assert_eq!(next().await.2["data"]["total_power_watts"], 810.0);
    assert_eq!(next().await.2["data"]["total_power_watts"], 820.0);
    // Of what nobody keeps it is told that it is lost, and the world as it is follows.
    let mut events = Events::open(&running, "/events/power?interval=1&last_event_id=999999", None).await;
    let (event, _, data) = events.next().await.unwrap();
    assert_eq!((event.as_str(), &data["last_event_id"]), ("reset", &json!("999999")));
    assert_eq!(events.next().await.unwrap().2["data"]["total_power_watts"], 820.0);
    let (status, body) = running.get("/api/v1/monitoring/events/power?last_event_id=yesterday").await;
    assert!(status == 400 && body.to_string().contains("the id of an event"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_says_goodbye_to_every_reader() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0)]).await;
    let mut client = open(&running, "/stream/power").await;
    client.next().await;
    let mut events = Events::open(&running, "/events/power", None).await;
    events.next().await;
    running.host.app.streams.stop();
    assert_eq!(client.next().await["type"], "goodbye");
    let close = client.close().await;
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, "the host stops"));
    assert_eq!(events.next().await.map(|e| e.0).as_deref(), Some("goodbye"));
    assert_eq!(events.next().await, None);
    assert_eq!(connect(&running, "/stream/power", &[BASIC]).await.err().map(|e| e.0), Some(503));
    nobody_reads(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_streams_says_who_reads() {
    let running = running(100).await;
    let client = open(&running, "/stream/metrics").await;
    let (status, info) = running.get("/api/v1/monitoring/stream/info").await;
    assert_eq!(status, 200);
    assert_eq!(info["websocket_endpoints"]["metrics"]["active_connections"], 1);
    assert_eq!(info["websocket_endpoints"]["power"]["active_connections"], 0);
    let (_, page) = running.get("/api/v1/system/metrics").await;
    assert!(page.as_str().unwrap().contains("kcloud_stream_connections{endpoint=\"metrics\"} 1"));
    drop(client);
    nobody_reads(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_plugins_is_told_as_it_happens() {
    let running = running(100).await;
    let mut events = Events::at(&running, "/api/v1/system/events", None).await;
    let (event, _, data) = events.next().await.unwrap();
    assert_eq!((event.as_str(), &data["plugins"]), ("plugin_states", &json!([])));
    std::fs::write(running.plugins_dir().join("broken.wasm"), b"no component").unwrap();
    running.host.look_again.notify_one();
    let told = loop {
        let (_, told) = events.until("plugin_state").await;
        if told["to"] == "rejected" {
            break told;
        }
    };
    assert_eq!(told["plugin"], "broken");
    assert!(told["reason"].as_str().is_some_and(|r| !r.is_empty()), "{told}");
    let (_, page) = running.get("/api/v1/system/plugins/broken").await;
    assert_eq!(page["data"]["state"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_told_to_the_readers_of_its_cluster() {
    let running = running(100).await;
    drawn(&running, "cluster1", &[("worker1", 800.0)]).await;
    let mut here = open(&running, "/stream/power?cluster=cluster1&interval=60").await;
    let mut there = open(&running, "/stream/power?cluster=cluster2&interval=60").await;
    let mut events = Events::open(&running, "/events/power?cluster=cluster1&interval=60", None).await;
    here.next().await;
    there.next().await;
    events.until("power_update").await;
    // A card of the first cluster has a memory that is worn out.
    let mut says = Says::default();
    let node = says.of(Kind::Node, None, &[("node", "worker1")], &[], &[]);
    says.of(
        Kind::Accelerator,
        Some(node),
        &[("uuid", "GPU-1"), ("node", "worker1"), ("device", "nvidia0")],
        &[("class", "gpu"), ("vendor", "nvidia"), ("model", "H100")],
        &[("row_remap_failure", Is::Number(1.0)), ("power_watts", Is::Number(300.0))],
    );
    says.say(&running.host.app.inventory, "nvidia-dcgm", "cluster1");
    let alert = loop {
        let frame = here.next().await;
        if frame["type"] == "alert" {
            break frame;
        }
    };
    assert_eq!((&alert["event"], &alert["cluster"]), (&json!("threshold_exceeded"), &json!("cluster1")));
    let (_, told) = events.until("threshold_exceeded").await;
    assert_eq!((&told["alert"], &told["rule"]), (&alert["alert"], &alert["rule"]));
    assert_eq!(there.say(json!({ "action": "ping" })).await["type"], "pong", "the other cluster's readers hear nothing of it");
}
