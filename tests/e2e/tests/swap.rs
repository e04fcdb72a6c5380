//! How versions come, prove themselves, and give way.

use std::time::Duration;

use kcloud_e2e::{Running, component, fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::Grants;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
use kcloud_monitor::plugins::contract::Target;
use kcloud_monitor::plugins::verify::{ContentDigest, Demand, Policy as Trust};
use serde_json::{Value, json};

const NAME: &str = "turncoat";

fn settings() -> Settings {
    let target = Target {
        id: "t".into(),
        address: "http://127.0.0.1:9/metrics".into(),
        cluster: "cluster1".into(),
        labels: vec![],
        credential: None,
        config: "{}".into(),
    };
    Settings {
        interval: Duration::from_millis(200),
        timeout: Duration::from_secs(2),
        targets: vec![(target, None)],
        grants: Grants { state: true, ..Grants::default() },
        ..Settings::bare(NAME)
    }
}

/// The component with another mark, and so another version.
fn version(mark: char) -> Vec<u8> {
    let mut bytes = std::fs::read(component(NAME)).unwrap();
    let place = bytes.windows(17).position(|w| w == b"KCLOUD-TURNCOAT-=").expect("the mark is in the component");
    bytes[place + 17] = mark as u8;
    bytes
}

fn put(running: &Running, bytes: &[u8]) {
    let (part, file) = (running.plugins_dir().join(".part"), running.plugins_dir().join(format!("{NAME}.wasm")));
    std::fs::write(&part, bytes).unwrap();
    std::fs::rename(&part, &file).unwrap();
}

async fn detail(running: &Running) -> Value {
    running.get(&format!("/api/v1/system/plugins/{NAME}")).await.1["data"].clone()
}

/// Waits until a version answers, in a state, and gives the whole view.
async fn runs(running: &Running, version: &str, state: &str) -> Value {
    until(&format!("version {version} runs, {state}"), async || {
        let now = detail(running).await;
        (now["version"] == version && now["state"] == state).then_some(now)
    })
    .await
}

/// The first version, with a read behind it.
async fn started(settings: Settings) -> Running {
    let running = Running::start(&[NAME], vec![settings]).await;
    until("a card", async || (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 1).then_some(())).await;
    running
}

async fn order(running: &Running, what: &str) -> (u16, Value) {
    let request =
        running.client.post(format!("{}/api/v1/system/plugins/{NAME}/{what}", running.base)).basic_auth("admin", Some("changeme"));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_on_trial_never_answers_and_says_why() {
    let running = started(settings()).await;
    for (mark, expected) in [('2', "panicked"), ('6', "read nothing"), ('7', "\"more\" is a required property")] {
        put(&running, &version(mark));
        let now = until(expected, async || {
            let now = detail(&running).await;
            (now["state"] == "rejected" && now["reason"].as_str()?.contains(expected)).then_some(now)
        })
        .await;
        assert_eq!(now["version"], "0.1.0", "{now}");
        assert!(now["reason"].as_str().unwrap().ends_with("version 0.1.0 goes on"), "{now}");
        assert!(now["pending"]["digest_sha256"].is_string());
    }
    put(&running, &version('0'));
    runs(&running, "0.1.0", "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_read_a_live_target_waits_and_is_tried_again() {
    let running = started(settings()).await;
    put(&running, &version('5'));
    until("it waits", async || detail(&running).await["reason"].as_str()?.contains("none of the live targets").then_some(())).await;
    // Nothing about the files changed: it is looked at again all the same, and is not remembered as bad.
    running.host.look_again.notify_one();
    put(&running, &version('3'));
    let now = runs(&running, "0.1.3", "active").await;
    assert_eq!(now["last_swap"]["difference"]["metrics_lost"], json!(["temperature_celsius"]), "{now}");
    assert_eq!(now["last_swap"]["from_version"], "0.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_only_fails_gives_way_by_itself_and_stays_away_over_a_restart() {
    let running = started(settings()).await;
    put(&running, &version('1'));
    let now = runs(&running, "0.1.0", "quarantined").await;
    assert!(now["reason"].as_str().unwrap().contains("failed 3 times in a row"), "{now}");
    assert_eq!((&now["returns_total"], now["quarantined"].as_array().unwrap().len()), (&json!(1), 1));
    let states: Vec<&str> = now["transitions"].as_array().unwrap().iter().filter_map(|t| t["to"].as_str()).collect();
    assert!(states.ends_with(&["quarantined"]) && states.contains(&"active"), "{states:?}");
    // Another host over the same directories: the bad digest lies there, the good one runs.
    let again = running.restart(vec![settings()]).await;
    let now = runs(&again, "0.1.0", "quarantined").await;
    assert!(now["last_errors"].as_array().unwrap().is_empty(), "{now}");
    until("the good one reads", async || (detail(&again).await["calls_total"].as_u64()? > 0).then_some(())).await;
    // Until somebody says to try it again.
    assert_eq!(order(&again, "reload").await.0, 200);
    let now = until("it is tried again", async || Some(detail(&again).await).filter(|d| d["state"] == "rejected")).await;
    assert!(now["reason"].as_str().unwrap().contains("on trial") && now["version"] == "0.1.0", "{now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_only_fail_give_way_to_those_before() {
    let running = started(settings()).await;
    *running.settings.lock().unwrap() = vec![Settings { config: json!({ "offset": 13.0 }), ..settings() }];
    running.host.look_again.notify_one();
    let now = until("the settings before are back", async || {
        let now = detail(&running).await;
        (now["returns_total"] == 1).then_some(now)
    })
    .await;
    assert_eq!((&now["state"], &now["version"]), (&json!("rejected"), &json!("0.1.0")), "{now}");
    assert!(now["reason"].as_str().unwrap().contains("settings of now"), "{now}");
    assert!(now["quarantined"].as_array().unwrap().is_empty(), "the component is good");
    *running.settings.lock().unwrap() = vec![Settings { config: json!({ "offset": 7.0 }), ..settings() }];
    running.host.look_again.notify_one();
    until("other settings", async || {
        let body = running.get("/api/v1/accelerators/summary").await.1;
        (body["data"].to_string().contains("307")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_rolls_back_disables_and_enables() {
    let running = started(settings()).await;
    let (status, body) = order(&running, "rollback").await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("CONFLICT")), "{body}");
    put(&running, &version('3'));
    runs(&running, "0.1.3", "active").await;
    let (status, body) = order(&running, "rollback").await;
    assert_eq!((status, &body["data"]["version"]), (200, &json!("0.1.0")), "{body}");
    let now = runs(&running, "0.1.0", "quarantined").await;
    assert!(now["reason"].as_str().unwrap().contains("rolled back by admin"), "{now}");
    assert_eq!(order(&running, "disable").await.0, 200);
    running.plugin_is(NAME, "disabled").await;
    let again = running.restart(vec![settings()]).await;
    assert!(again.plugin_is(NAME, "disabled").await.contains("switched off by admin"));
    assert_eq!(order(&again, "enable").await.0, 200);
    runs(&again, "0.1.0", "quarantined").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_trust_was_withdrawn_is_no_way_back() {
    let pinned = |marks: &[char]| {
        let pins = marks.iter().map(|m| ContentDigest::of(&version(*m))).collect();
        vec![Settings { pins, ..settings() }]
    };
    let policy = Trust { demand: Some(Demand::Pinned), ..Trust::default() };
    let running = Running::start_with(&[], pinned(&['3', '4']), |options| options.policy = policy).await;
    put(&running, &version('4'));
    until("it proved good", async || (!detail(&running).await["good_versions"].as_array()?.is_empty()).then_some(())).await;
    put(&running, &version('3'));
    runs(&running, "0.1.3", "active").await;
    *running.settings.lock().unwrap() = pinned(&['3']);
    running.host.look_again.notify_one();
    let plugin = running.host.app.registry.get(NAME).unwrap();
    until("the pin is gone", async || (plugin.settings().pins.len() == 1).then_some(())).await;
    let (status, body) = order(&running, "rollback").await;
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(status == 409 && message.contains("version 0.1.4 before this one cannot be used: not trusted"), "{body}");
    let now = runs(&running, "0.1.3", "active").await;
    assert!(now["quarantined"].as_array().unwrap().is_empty(), "{now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_written_keeps_no_bad_version_running() {
    let running = started(settings()).await;
    put(&running, &version('3'));
    runs(&running, "0.1.3", "active").await;
    // As on a full disk: a directory that is not empty takes the ledger's place, so that every write of it fails.
    let ledger = running.dir.path().join("kept/ledger.json");
    until("both are kept", async || (detail(&running).await["good_versions"].as_array()?.len() == 2).then_some(())).await;
    std::fs::remove_file(&ledger).unwrap();
    std::fs::create_dir_all(ledger.join("full")).unwrap();
    let (status, body) = order(&running, "rollback").await;
    assert_eq!((status, &body["data"]["version"]), (200, &json!("0.1.0")), "{body}");
    assert!(body["data"]["reason"].as_str().unwrap().contains("the quarantine could not be written"), "{body}");
    // The directory, where the bad one still lies, does not bring it back.
    put(&running, &version('3'));
    let pending = runs(&running, "0.1.0", "quarantined").await["pending"].clone();
    assert_eq!(pending["version"], "0.1.3");
    // With no other version in memory nothing is left half done.
    let (status, body) = order(&running, "rollback").await;
    assert!(status == 409 && body["error"]["message"].as_str().unwrap().contains("the quarantine could not be written"), "{body}");
    runs(&running, "0.1.0", "quarantined").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_reads_beside_the_old_version_and_reports_before_it_takes_over() {
    let running = started(Settings { shadow: 5, ..settings() }).await;
    put(&running, &version('4'));
    let shadow = until("a shadow", async || Some(detail(&running).await["shadow"].clone()).filter(|s| s.is_object())).await;
    assert_eq!(shadow["reads_wanted"], 5);
    let body = running.get("/api/v1/accelerators/summary").await.1;
    assert!(!body["data"].to_string().contains("300000"), "what a shadow reads is shown to nobody: {body}");
    let now = runs(&running, "0.1.4", "active").await;
    let difference = &now["last_swap"]["difference"];
    assert!(difference["cycles"].as_u64().unwrap() >= 5, "{now}");
    assert!(
        difference["values_different"].as_u64().unwrap() >= 5 && difference["examples"][0].as_str().unwrap().contains("300000"),
        "{now}"
    );
    // One that panics as a shadow never answers.
    put(&running, &version('1'));
    until("it fell as a shadow", async || detail(&running).await["reason"].as_str()?.contains("as a shadow").then_some(())).await;
    assert_eq!(detail(&running).await["version"], "0.1.4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_counts_at_once_and_an_upgrade_that_asks_for_more_waits() {
    let running = started(settings()).await;
    // The same name, now a component that asks for HTTP and files beside.
    put(&running, &std::fs::read(component("evil")).unwrap());
    let now = runs(&running, "0.1.0", "waiting-for-approval").await;
    for key in ["rights_missing", "rights_added"] {
        let all = now["pending"][key].as_array().unwrap();
        assert!(all.contains(&json!("http")) && all.contains(&json!("files")), "{now}");
    }
    assert!(now["reason"].as_str().unwrap().contains("send HTTP requests") && now["reason"].as_str().unwrap().contains("goes on"), "{now}");
    let text = running.get("/api/v1/system/metrics").await.1.as_str().unwrap().to_owned();
    assert!(text.contains("kcloud_plugin_state{plugin=\"turncoat\",state=\"waiting-for-approval\"} 1"), "{text}");
    put(&running, &version('0'));
    runs(&running, "0.1.0", "active").await;
    *running.settings.lock().unwrap() = vec![Settings { grants: Grants::default(), ..settings() }];
    running.host.look_again.notify_one();
    let now = until("it stopped", async || {
        let now = detail(&running).await;
        (now["state"] == "waiting-for-approval" && now["version"].is_null()).then_some(now)
    })
    .await;
    assert!(now["reason"].as_str().unwrap().contains("keep a little data"), "{now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_only_fails_is_left_alone_longer_and_longer_and_says_so() {
    let running = Running::start(&[], vec![settings()]).await;
    put(&running, &version('2'));
    let now = until("degraded", async || Some(detail(&running).await).filter(|d| d["state"] == "degraded")).await;
    assert!(now["reason"].as_str().unwrap().contains("faults of its own in a row"), "{now}");
    assert_eq!(now["failures_by_blame"], json!({ "plugin": now["failures_by_blame"]["plugin"] }));
    let calls = now["calls_total"].as_u64().unwrap();
    until("another opening", async || {
        let opened = detail(&running).await["transitions"].as_array()?.iter().filter(|t| t["to"] == "degraded").count();
        (opened >= 3).then_some(())
    })
    .await;
    // At its interval it would have been called dozens of times.
    assert!(detail(&running).await["calls_total"].as_u64().unwrap() <= calls + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_more_or_less_needs_no_new_version() {
    let (fleet, address) = fleet(2, Faults::default()).await;
    let both = demo_settings(&fleet, address).remove(0);
    let of = |count: usize| {
        let targets: Vec<_> = both.targets.iter().take(count).cloned().collect();
        let http = Some(Policy::new(targets.iter().map(|(t, _)| t.address.as_str())));
        Settings { targets, grants: Grants { http, ..Grants::default() }, interval: Duration::from_millis(300), ..both.clone() }
    };
    let running = Running::start(&["nvidia-dcgm"], vec![of(1)]).await;
    let cards = async |count: usize| {
        until("the cards", async || {
            (running.get("/api/v1/accelerators/gpus?status=active").await.1["metadata"]["total_count"].as_u64()? > 8 * (count as u64 - 1))
                .then_some(())
        })
        .await;
    };
    cards(1).await;
    let generation = async || running.get("/api/v1/system/plugins/nvidia-dcgm").await.1["data"]["generation"].clone();
    let first = generation().await;
    *running.settings.lock().unwrap() = vec![of(2)];
    running.host.look_again.notify_one();
    cards(2).await;
    assert_eq!(generation().await, first);
}
