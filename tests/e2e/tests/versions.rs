//! Versions of the contract: old and new side by side, and a sentence for those to come.

use std::path::Path;
use std::time::Duration;

use kcloud_collector_test::{Answer, Kind, Plugin, RangeQuery, Recorded, Setup, target};
use kcloud_e2e::{Running, component, fleet, root, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::plugins::capabilities::Grants;
use kcloud_monitor::plugins::capabilities::globs::Globs;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
use kcloud_monitor::plugins::capabilities::nvml::Driver;
use kcloud_monitor::plugins::{Blame, Settings};
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// A folder of the contract as one text.
fn contract(folder: &str) -> String {
    ["types", "capabilities", "collector"]
        .map(|name| std::fs::read_to_string(root().join(folder).join(format!("{name}.wit"))).unwrap())
        .concat()
}

/// A component that does nothing, of a world in the last of these packages.
fn made_of(packages: &[&str], world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let ids: Vec<_> = packages.iter().map(|text| resolve.push_source("contract.wit", text).unwrap()).collect();
    let world = resolve.select_world(&ids[ids.len() - 1..], Some(world)).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// Names of a component's imports and exports.
fn names(component: &Path) -> Vec<String> {
    let decoded = wit_component::decode(&std::fs::read(component).unwrap()).unwrap();
    let resolve = decoded.resolve();
    let worlds = resolve.worlds.iter().flat_map(|(_, world)| world.imports.keys().chain(world.exports.keys()));
    worlds.map(|key| resolve.name_world_key(key)).collect()
}

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    let part = dir.join(".part");
    std::fs::write(&part, bytes).unwrap();
    std::fs::rename(part, dir.join(format!("{name}.wasm"))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_every_version_run_side_by_side() {
    for (name, version) in [("v0-1-0", "@0.1.0"), ("nvidia-dcgm", "@0.1.1"), ("evil-0-2", "@0.2.0")] {
        let names = names(&component(name));
        assert!(names.len() >= 4 && names.iter().all(|n| n.starts_with("kcloud:collector/") && n.ends_with(version)), "{names:?}");
    }
    let (fleet, address) = fleet(1, Faults::default()).await;
    let mut settings = demo_settings(&fleet, address);
    let address = settings[0].targets[0].0.address.clone();
    for name in ["v0-1-0", "v0-1-9", "evil-0-2"] {
        let files = Some(Globs::new(&["/nowhere/*".to_owned()]).unwrap());
        let grants = Grants {
            http: Some(Policy::new([address.as_str()])),
            files,
            state: true,
            ipmi: Some(Default::default()),
            nvml: Some(nowhere()),
        };
        let targets = vec![(target("t", &address, &[]), None)];
        let config = json!({ "mode": "none" });
        settings.push(Settings { interval: Duration::from_millis(300), grants, targets, config, ..Settings::bare(name) });
    }
    let running = Running::start(&["v0-1-0", "nvidia-dcgm", "evil-0-2"], settings).await;
    // A contract that is to come, of which this one needs nothing new.
    let mut later = std::fs::read(component("v0-1-0")).unwrap();
    while let Some(at) = later.windows(6).position(|w| w == b"@0.1.0") {
        later[at + 5] = b'9';
    }
    put(&running.plugins_dir(), "v0-1-9", &later);
    // Eight simulated ones, that of both old guests, and that of the hostile one.
    until("8 + 1 + 1 cards", async || (running.host.app.inventory.current().of_kind(Kind::Accelerator).len() == 10).then_some(())).await;
    for name in ["nvidia-dcgm", "v0-1-0", "v0-1-9", "evil-0-2"] {
        let all = until(name, async || {
            let all = running.get(&format!("/api/v1/system/plugins/{name}")).await.1["data"].clone();
            all["targets"][0]["last_success"].is_string().then_some(all)
        })
        .await;
        assert_eq!((&all["state"], &all["failures_by_blame"]), (&json!("active"), &json!({})), "{all}");
    }
    let versions = running.get("/api/v1/system/version").await.1;
    assert_eq!(versions["plugin_contracts"], json!(["kcloud:collector@0.1.1", "kcloud:collector@0.2.0"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_built_against_0_1_0_reads_logs_and_answers_for_the_past() {
    let source = Recorded::start([("/metrics", Answer::text("a 1\nb 2\nc 3"))]).await.unwrap();
    let address = source.address("/metrics");
    let setup = Setup { http: vec![address.clone()], ..Setup::default() };
    let plugin = Plugin::load(&component("v0-1-0"), setup).await.unwrap();
    let target = target("t", &address, &[]);
    let read = plugin.collect(&target, Duration::from_secs(5)).await.unwrap();
    let card = read.subject(Kind::Accelerator, "uuid", "GPU-v0-1-0").unwrap();
    assert_eq!(read.value(card, "power_watts"), Some(3.0));
    assert_eq!(plugin.log(), ["Info read lines=3"]);
    let query = RangeQuery {
        metric: "power_watts".into(),
        kind: "accelerator".into(),
        matching: vec![],
        start_ns: 1_753_000_000_000_000_000,
        end_ns: 1_753_000_020_000_000_000,
        step_ns: 10_000_000_000,
    };
    let past = plugin.range(&target, &query, Duration::from_secs(5)).await.unwrap();
    assert_eq!(past[0].observations, [(1_753_000_000_000, 42.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_host_cannot_run_gets_a_sentence_that_names_the_version_needed() {
    let (v0_1, v0_2) = (contract("wit/v0.1"), contract("wit/v0.2"));
    let of = |version: &str| made_of(&[&v0_2.replace("@0.2.0;", &format!("@{version};"))], "plugin");
    let later = v0_1.replace("@0.1.1;", "@0.1.2;");
    let function = later.replace("interface log {", "interface log {\n@since(version = 0.1.2)\nflush: func();\n");
    let interface = later.replace("import clock;", "import clock; import grpc;") + "interface grpc { open: func(); }";
    let mixed = "package test:mixed; world mixed { import kcloud:collector/log@0.1.1; export kcloud:collector/collector@0.2.0; }";
    let this = format!("this is {}, which offers 0.1.1 and 0.2.0", env!("CARGO_PKG_VERSION"));
    let cases = [
        (of("0.3.0"), format!("it needs KCloud Monitor 0.3 or later (contract kcloud:collector@0.3.0); {this}")),
        (of("1.0.0"), format!("it needs KCloud Monitor 1.0 or later (contract kcloud:collector@1.0.0); {this}")),
        (of("0.0.9"), format!("it is built against kcloud:collector@0.0.9, which no host offers; {this}")),
        (of("0.2.0-rc.1"), format!("it is built against kcloud:collector@0.2.0-rc.1, which was never released; {this}")),
        (
            made_of(&[&function], "plugin"),
            format!("it calls log.flush of kcloud:collector@0.1.2, which needs a later KCloud Monitor; {this}"),
        ),
        (
            made_of(&[&interface], "plugin"),
            format!("it calls grpc.open of kcloud:collector@0.1.2, which needs a later KCloud Monitor; {this}"),
        ),
        (
            made_of(&[&v0_1, &v0_2, mixed], "mixed"),
            "it mixes kcloud:collector@0.1.1 and @0.2.0; a component is built against one version".to_owned(),
        ),
    ];
    let running = Running::start(&[], vec![]).await;
    for (at, (bytes, sentence)) in cases.iter().enumerate() {
        let name = format!("case-{at}");
        put(&running.plugins_dir(), &name, bytes);
        assert_eq!(running.plugin_is(&name, "rejected").await, *sentence);
    }
}

/// No driver at all.
fn nowhere() -> Driver {
    Driver { library: "/nowhere/libnvidia-ml.so.1".into(), program: "/nowhere/kcloud-monitor".into() }
}

/// The hostile guest asks for everything.
fn all_rights(address: &str, config: serde_json::Value) -> Setup {
    let (files, state) = (vec!["/nowhere/*".to_owned()], Some("/nowhere".into()));
    Setup { http: vec![address.to_owned()], files, state, ipmi: Some(Vec::new()), nvml: Some(nowhere()), config, ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_late_is_blamed_and_told_apart_since_0_2() {
    // Connections wait in its backlog and are never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", silent.local_addr().unwrap());
    for (name, said) in [("evil", "unreachable"), ("evil-0-2", "the target did not answer in time")] {
        let setup = all_rights(&address, json!({ "mode": "late", "url": address }));
        let plugin = Plugin::load(&component(name), setup).await.unwrap();
        let Err(failure) = plugin.collect(&target("t", &address, &[]), Duration::from_secs(30)).await else { panic!("{name}: an answer") };
        assert_eq!((failure.to_string(), failure.blame()), (format!("{said}: no whole answer within 200 ms"), Blame::Target));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_can_ask_whether_a_line_is_kept_and_one_that_does_not_imports_nothing_new() {
    for name in ["evil", "evil-0-2"] {
        let setup = all_rights("http://127.0.0.1:9/", json!({ "mode": "levels" }));
        let plugin = Plugin::load(&component(name), setup).await.unwrap();
        plugin.collect(&target("t", "http://127.0.0.1:9/", &[]), Duration::from_secs(30)).await.unwrap();
        // Nobody takes the log of this process.
        let kept = [
            "Info Level::Info is enabled: true",
            "Warn Level::Warn is enabled: true",
            "Error Level::Error is enabled: true",
            "Info Debug is enabled: false",
        ];
        assert_eq!(plugin.log(), kept, "{name}");
    }
    let imports = |name: &str| std::fs::read(component(name)).unwrap().windows(10).any(|w| w == b"is-enabled");
    assert!(imports("evil") && !imports("nvidia-dcgm"));
}
