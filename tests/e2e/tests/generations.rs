//! Three generations of hosts: agents of nodes, hosts of clusters, the host of a fleet. What an agent sees, the fleet sees, once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kcloud_e2e::{Running, fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::api::ClusterInfo;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::inventory::{Kind, Life, Snapshot, Value as Read};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
use kcloud_monitor::plugins::capabilities::{Credential, Grants, Secret};
use kcloud_monitor::plugins::contract::Target;
use serde_json::{Value, json};

/// `admin:changeme`
const ADMIN: &str = "Basic YWRtaW46Y2hhbmdlbWU=";
const TICK: Duration = Duration::from_millis(200);

fn clusters() -> Vec<ClusterInfo> {
    ["cluster1", "cluster2"].map(|name| ClusterInfo { name: name.into(), ..ClusterInfo::default() }).to_vec()
}

/// Reads other hosts: id, address, cluster here, and `[targets.config]`.
fn reading(hosts: &[(&str, &str, &str, Value)]) -> Settings {
    let target = |(id, address, cluster, config): &(&str, &str, &str, Value)| Target {
        id: (*id).into(),
        address: (*address).into(),
        cluster: (*cluster).into(),
        labels: vec![],
        credential: Some("far".into()),
        config: config.to_string(),
    };
    let header = Arc::new(|| Ok(("authorization".to_owned(), ADMIN.to_owned())));
    let origins: Vec<String> = hosts.iter().map(|h| h.1.to_owned()).collect();
    Settings {
        grants: Grants { http: Some(Policy::new(origins.iter().map(String::as_str))), ..Grants::default() },
        credentials: HashMap::from([("far".to_owned(), Credential { secret: Secret::Header(header), origins: origins.clone() })]),
        targets: hosts.iter().map(|h| (target(h), None)).collect(),
        interval: TICK,
        clusters: vec!["cluster1".into(), "cluster2".into()],
        ..Settings::bare("kcloud")
    }
}

async fn host(components: &[&str], settings: Vec<Settings>) -> Running {
    Running::start_with(components, settings, |o| o.clusters = clusters()).await
}

/// Everything that is known of cards and what lies below them, but for who said it.
fn readings(snapshot: &Snapshot, metric: impl Fn(kcloud_monitor::catalogue::MetricId) -> Arc<str>) -> BTreeMap<(String, String), String> {
    let kinds = [Kind::Accelerator, Kind::Partition, Kind::Link];
    let subjects = kinds.into_iter().flat_map(|k| snapshot.of_kind(k));
    let all = subjects.flat_map(|s| s.readings.iter().map(move |r| (s, r)));
    all.map(|(s, r)| {
        let at = if matches!(r.value, Read::Gap(_)) { 0 } else { r.at_ms };
        ((s.id.to_string(), metric(r.metric).to_string()), format!("{:?} at {at}", r.value))
    })
    .collect()
}

async fn power(running: &Running, query: &str) -> Option<f64> {
    running.get(&format!("/api/v1/monitoring/power{query}")).await.1["data"]["total_power_watts"].as_f64()
}

async fn cards(running: &Running) -> Value {
    running.get("/api/v1/accelerators/gpus/summary").await.1["data"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_sees_what_its_agents_see_once_and_when_one_dies_why() {
    let (sim, address) = fleet(3, Faults::demo()).await;
    sim.pin(Some(42));
    let truth = sim.truth(42);
    let mut agents = Vec::new();
    // What runs in it dies with it, open connections too, as with a process that is killed.
    let mortal = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for node in 0..3 {
        let mut settings = demo_settings(&sim, address);
        settings[0].interval = TICK;
        settings[0].targets = vec![settings[0].targets[node].clone()];
        // The third belongs to another cluster, which it does not know by that name.
        let agent = async move { Running::start_with(&["nvidia-dcgm"], settings, |o| o.is_agent = true).await };
        agents.push(if node == 1 { mortal.spawn(agent).await.unwrap() } else { agent.await });
    }
    let base: Vec<&str> = agents.iter().map(|a| a.base.as_str()).collect();
    let of = |cluster: &str| json!({ "cluster": cluster });
    let first = reading(&[("agent1", base[0], "cluster1", json!({})), ("agent2", base[1], "cluster1", json!({}))]);
    let second = reading(&[("agent3", base[2], "cluster2", of("cluster1"))]);
    let (first, second) = (host(&["kcloud"], vec![first]).await, host(&["kcloud"], vec![second]).await);
    // One agent is read straight, too: two ways to the same cards.
    let hosts = [
        ("east", first.base.as_str(), "cluster1", json!({})),
        ("west", second.base.as_str(), "cluster2", json!({})),
        ("straight", base[0], "cluster1", json!({})),
    ];
    let top = host(&["kcloud"], vec![reading(&hosts)]).await;

    let seen = until("the fleet sees all cards", async || {
        let summary = cards(&top).await;
        (summary["total_gpus"] == truth.total_gpus).then_some(summary)
    })
    .await;
    assert_eq!(seen["total_power_watts"].as_f64().map(f64::round), Some(truth.total_power_watts.round()));
    assert_eq!(seen["total_memory_used_mb"].as_u64(), Some(truth.total_memory_used_mib));
    assert_eq!(seen["power_known_count"], truth.total_gpus - truth.unknown_power);
    let (_, list) = top.get("/api/v1/clusters").await;
    let counts: Vec<_> = list["data"].as_array().unwrap().iter().map(|c| (c["name"].clone(), c["total_accelerators"].clone())).collect();
    assert_eq!(counts, [(json!("cluster1"), json!(16)), (json!("cluster2"), json!(8))]);

    until("the account of watts agrees", async || {
        let whole = (power(&top, "").await?, power(&first, "").await? + power(&second, "").await?);
        let east = (power(&top, "?cluster=cluster1").await?, power(&first, "?cluster=cluster1").await?);
        ([whole, east].iter().all(|(a, b)| (a - b).abs() < 1e-6)).then_some(())
    })
    .await;

    // Values, gaps with their reasons, and times; of the third, whose ids are those of cluster1 there.
    until("every reading is the agent's own", async || {
        let of = |r: &Running| {
            let catalogue = r.host.app.registry.catalogue().clone();
            readings(&r.host.app.inventory.current(), move |m| catalogue.name(m))
        };
        let (far, near) = (of(&agents[2]), of(&top));
        let same = |(key, value): (&(String, String), &String)| {
            // An agent reads again and again: the same values at a later time.
            let value = value.split(" at ").next();
            near.get(&(key.0.replace("cluster1", "cluster2"), key.1.clone())).map(|v| v.split(" at ").next()) == Some(value)
        };
        (far.len() > 100 && far.iter().all(same)).then_some(())
    })
    .await;
    let uuid = &truth.cards.iter().find(|c| c.node == "worker2").unwrap().uuid;
    let snapshot = top.host.app.inventory.current();
    let card = snapshot.get(uuid).unwrap();
    assert_eq!(card.label("observed_by"), Some("agent2/nvidia-dcgm/worker2, east/kcloud/agent2"));
    let at = |r: &Running| r.host.app.inventory.current().get(uuid).unwrap().readings.iter().map(|r| r.at_ms).max();
    assert!(at(&top) <= at(&agents[1]), "a reading is as old as its observation");

    for (path, expected) in [("", 200), ("/metrics?period=5m", 409)] {
        let (status, body) = agents[1].get(&format!("/api/v1/accelerators/gpus/{uuid}{path}")).await;
        assert_eq!(status, expected, "an agent keeps no history: {body}");
    }
    assert_eq!(agents[1].get("/api/v1/monitoring/alerts/rules").await.1["metadata"]["total_count"], 0);
    assert!(!agents[1].dir.path().join("history").exists() && !agents[1].dir.path().join("alerts").exists());

    mortal.shutdown_background();
    until("its cards are stale in the fleet", async || {
        let snapshot = top.host.app.inventory.current();
        let stale = snapshot.of_kind(Kind::Accelerator).iter().filter(|s| s.life != Life::Live).count();
        (stale == 8).then_some(())
    })
    .await;
    let (_, card) = top.get(&format!("/api/v1/accelerators/gpus/{uuid}?include_metrics=true&include_reasons=true")).await;
    assert_eq!((&card["data"]["status"], &card["data"]["unavailable"]["power_watts"]), (&json!("offline"), &json!("stale")), "{card}");
    let why = until("why shows in the fleet", async || {
        let (_, status) = top.get("/api/v1/system/status").await;
        let all = status["remote_sources"].as_array()?.clone();
        all.into_iter().find(|s| s["name"] == "east/kcloud/agent2" && s["status"] == "failing")
    })
    .await;
    assert!(why["error"].as_str().unwrap().contains("unreachable") && why["cluster"] == "cluster1", "{why}");
    until("the account leaves it out, as the cluster's own does", async || {
        let (top, own) = (power(&top, "?cluster=cluster1").await, power(&first, "").await);
        (top == own).then_some(())
    })
    .await;
    assert_eq!(cards(&top).await["total_gpus"], truth.total_gpus, "cards never leave by themselves");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clusters_of_a_host_are_found_and_one_that_is_not_configured_is_refused() {
    let (sim, address) = fleet(2, Faults::default()).await;
    let mut settings = demo_settings(&sim, address);
    settings[0].targets[1].0.cluster = "cluster2".into();
    let far = host(&["nvidia-dcgm"], settings).await;
    let mut finding = reading(&[("x", &far.base, "cluster1", json!({}))]);
    finding.targets.clear();
    finding.config = json!({ "hosts": [{ "id": "east", "address": far.base, "credential": "far" }] });
    let only_one = Settings { clusters: vec!["cluster1".into()], ..finding.clone() };
    let (both, one) = (host(&["kcloud"], vec![finding]).await, host(&["kcloud"], vec![only_one]).await);
    until("both clusters", async || (cards(&both).await["total_gpus"] == 16).then_some(())).await;
    let sources = both.get("/api/v1/system/status").await.1["sources"].clone();
    let mut named: Vec<_> = sources.as_array().unwrap().iter().map(|s| (s["target"].clone(), s["cluster"].clone())).collect();
    named.sort_by_key(|n| n.0.to_string());
    assert_eq!(named, [(json!("east/cluster1"), json!("cluster1")), (json!("east/cluster2"), json!("cluster2"))]);
    until("one cluster", async || (cards(&one).await["total_gpus"] == 8).then_some(())).await;
    let (_, plugin) = one.get("/api/v1/system/plugins/kcloud").await;
    assert!(plugin.to_string().contains("no cluster \\\"cluster2\\\" is configured"), "{plugin}");
}

/// The lines of an answer.
async fn lines(running: &Running, query: &str) -> (u16, Vec<Value>) {
    let request = running.client.get(format!("{}/api/v1/system/snapshot{query}", running.base)).basic_auth("admin", Some("changeme"));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_given_whole_then_as_what_changed_and_says_when_a_base_is_no_good() {
    let (sim, address) = fleet(2, Faults::default()).await;
    let running = host(&["nvidia-dcgm"], demo_settings(&sim, address)).await;
    until("both nodes", async || (cards(&running).await["total_gpus"] == 16).then_some(())).await;
    let (status, all) = lines(&running, "?cluster=cluster1").await;
    assert_eq!(status, 200);
    let head = &all[0]["snapshot"];
    assert_eq!((&head["format"], &head["since"], &head["anew"]), (&json!(1), &Value::Null, &json!("first")));
    let subjects: Vec<&Value> = all.iter().filter_map(|l| l.get("subject")).collect();
    assert_eq!(all.last().unwrap()["end"]["subjects"], subjects.len());
    let mut known = std::collections::HashSet::new();
    for s in &subjects {
        assert!(s["parent"].is_null() || known.contains(&s["parent"]), "a parent stands before {s}");
        known.insert(&s["id"]);
    }
    let (epoch, sequence) = (head["epoch"].as_str().unwrap(), head["sequence"].as_u64().unwrap());
    let delta = until("something changed", async || {
        let (_, delta) = lines(&running, &format!("?cluster=cluster1&since={sequence}&epoch={epoch}")).await;
        assert_eq!(delta[0]["snapshot"]["since"], sequence);
        delta.iter().any(|l| l.get("subject").is_some()).then_some(delta)
    })
    .await;
    assert!(delta.iter().filter_map(|l| l.get("subject")).all(|s| s["kind"].is_null()), "nothing is described anew");
    let anew = async |query: String| lines(&running, &query).await.1[0]["snapshot"]["anew"].clone();
    assert_eq!(anew(format!("?since={sequence}&epoch=0123")).await, "epoch");
    assert_eq!(anew(format!("?since=1&epoch={epoch}")).await, "too_old");
    assert_eq!(anew(format!("?since=99999999&epoch={epoch}")).await, "ahead");
    for (query, expected) in [("?since=1", 400), ("?epoch=x", 400), ("?since=x&epoch=y", 400), ("?cluster=nowhere", 404), ("?what=1", 400)]
    {
        assert_eq!(running.get(&format!("/api/v1/system/snapshot{query}")).await.0, expected, "{query}");
    }
    let open = running.client.get(format!("{}/api/v1/system/snapshot", running.base)).send().await.unwrap();
    assert_eq!(open.status(), 401);
}
