//! A mixed fleet through the real plugins agrees with the truth: of every vendor the cards, their watts and their memory, each once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kcloud_e2e::{Running, root, until};
use kcloud_fleet_sim::{DIALECTS, Faults, Fleet, FleetConfig, Origins, Others, Shape, Truth};
use kcloud_monitor::cli::fleet_settings;

/// Cards, those with watts, watts, bytes used.
type Sums = (usize, usize, f64, f64);

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= b.abs() * 1e-3
}

/// By vendor and model, as the API says it.
async fn said(running: &Running) -> BTreeMap<(String, String), Sums> {
    let mut sums: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let mut offset = 0;
    loop {
        let (status, answer) = running.get(&format!("/api/v1/accelerators/all?include_metrics=true&limit=1000&offset={offset}")).await;
        assert_eq!(status, 200, "{answer}");
        let rows = answer["data"].as_array().cloned().unwrap_or_default();
        for row in &rows {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let sum = sums.entry((text("vendor"), text("model"))).or_default();
            let (watts, used) = (row["metrics"]["power_watts"].as_f64(), row["metrics"]["memory_used_mb"].as_f64());
            sum.0 += 1;
            sum.1 += usize::from(watts.is_some());
            sum.2 += watts.unwrap_or(0.0);
            sum.3 += used.unwrap_or(0.0) * 1_048_576.0;
        }
        if rows.len() < 1000 {
            return sums;
        }
        offset += 1000;
    }
}

/// The same, as the fleet's truth has it.
fn truth(truth: &Truth) -> BTreeMap<(String, String), Sums> {
    let mut sums: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let mut add = |vendor: &str, model: &str, watts: Option<f64>, used: f64| {
        let sum = sums.entry((vendor.to_owned(), model.to_owned())).or_default();
        *sum = (sum.0 + 1, sum.1 + usize::from(watts.is_some()), sum.2 + watts.unwrap_or(0.0), sum.3 + used);
    };
    truth.cards.iter().for_each(|c| add("nvidia", &c.model, c.power_watts, (c.memory_used_mib << 20) as f64));
    truth.others.iter().for_each(|c| add(&c.vendor, &c.model, c.power_watts, c.memory_used_bytes.unwrap_or(0) as f64));
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_fleet_agrees_with_the_truth_of_every_vendor() {
    let built = |name: &str| root().join(format!("target/dist/plugins/{name}.wasm")).is_file();
    let (there, missing): (Vec<_>, Vec<_>) = DIALECTS.iter().partition(|d| built(d.name));
    missing.iter().for_each(|d| eprintln!("NOT RUN: {} is not built by `cargo xtask components`", d.name));
    // Two thousand cards, as many of each dialect.
    let nodes = 250 / (there.len() + 1);
    let others = there.iter().map(|dialect| Others { dialect, nodes, cards_per_node: 8 }).collect();
    let faults = Faults { dead_every: 13, ..Faults::demo() };
    let config = FleetConfig { seed: 3, nodes, gpus_per_node: 8, tick: Duration::from_secs(1), faults, others };
    let fleet = Arc::new(Fleet::whole(config, Shape::one(1, 40)));
    fleet.hold(42);
    let origins = Origins::serve(&fleet).await.unwrap();
    let names: Vec<String> = there.iter().map(|d| d.name.to_owned()).chain(["nvidia-dcgm".to_owned()]).collect();
    let mut settings = fleet_settings(&fleet, &origins, &names);
    // all-smi sees Rebellions' cards, too: two paths to one card are one card.
    let seen_twice = settings.iter().find(|s| s.name == "rebellions").map(|s| s.targets.clone()).unwrap_or_default();
    if let Some(peer) = settings.iter_mut().find(|s| s.name == "all-smi") {
        peer.targets.extend(seen_twice.into_iter().map(|(mut target, tls)| {
            target.address = target.address.replace("/rebellions/", "/all-smi/");
            (target, tls)
        }));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let running = Running::start(&names, settings).await;
    let expected = truth(&fleet.truth(42));
    let agrees = |said: &BTreeMap<(String, String), Sums>| {
        let mut wrong = Vec::new();
        for (key, e) in &expected {
            match said.get(key) {
                Some(s) if (s.0, s.1) == (e.0, e.1) && near(s.2, e.2) && near(s.3, e.3) => {}
                other => wrong.push(format!("{key:?}: {other:?} is said, {e:?} is true")),
            }
        }
        wrong.extend(said.keys().filter(|k| !expected.contains_key(*k)).map(|k| format!("{k:?} is nobody")));
        wrong
    };
    let mut last = Vec::new();
    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    until("every vendor's cards, watts and memory agree", async || {
        last = agrees(&said(&running).await);
        assert!(std::time::Instant::now() < deadline, "{last:#?}");
        last.is_empty().then_some(())
    })
    .await;
    // Parts lie under their card, as many as it has, with the pods that hold them; those that share a card's figures repeat none.
    let truth = fleet.truth(42);
    let split: Vec<_> = truth.others.iter().filter(|c| !c.parts.is_empty() && ["furiosa", "huawei"].contains(&&*c.vendor)).collect();
    assert!(split.iter().any(|c| c.vendor == "furiosa") && split.iter().any(|c| c.vendor == "huawei"), "{split:?}");
    let mut rows = Vec::new();
    for vendor in ["furiosa", "huawei"] {
        let (_, all) = running.get(&format!("/api/v1/accelerators/all?limit=1000&vendor={vendor}")).await;
        rows.extend(all["data"].as_array().cloned().unwrap_or_default());
    }
    for card in split.into_iter().step_by(7) {
        let is_it = |row: &&serde_json::Value| row["uuid"].as_str().is_some_and(|u| u.eq_ignore_ascii_case(&card.uuid));
        let Some(row) = rows.iter().find(is_it) else { panic!("{card:?} is not listed") };
        let (status, parts) =
            running.get(&format!("/api/v1/accelerators/{}s/{}/partitions", card.class, row["uuid"].as_str().unwrap())).await;
        assert_eq!((status, parts["data"].as_array().map(Vec::len)), (200, Some(card.parts.len())), "{parts}");
    }
}
