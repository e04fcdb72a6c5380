//! BMCs by Redfish over HTTPS: the real sushy-tools, and one of our own that breaks as BMCs do.

#[path = "redfish/bmc.rs"]
mod bmc;
#[path = "redfish/parts.rs"]
mod parts;
mod program;
#[path = "redfish/site.rs"]
mod site;

use std::process::Command;

use kcloud_e2e::{Running, component, until};
use kcloud_monitor::inventory::Kind;
use serde_json::{Value, json};

use bmc::Bmc;
use parts::{Part, free_port, htpasswd, sushy_tools};
use program::Program;
use site::{Site, World, document};

/// A host over these BMCs, by node and port.
async fn host(site: &Site, bmcs: &[(&str, u16)]) -> Running {
    host_each(site, "500ms", bmcs).await
}

async fn host_each(site: &Site, interval: &str, bmcs: &[(&str, u16)]) -> Running {
    let origins: Vec<String> = bmcs.iter().map(|(_, port)| format!("https://127.0.0.1:{port}")).collect();
    let credentials = format!(
        "[credentials.bmc]\ntype = \"redfish\"\norigins = {origins:?}\nusername = \"monitor\"\npassword_file = {:?}\nbasic_fallback = true\n",
        site.path("secret")
    );
    let interval = format!("interval = {interval:?}");
    let changes = [
        ("interval = \"60s\"", interval.as_str()),
        ("timeout = \"30s\"", "timeout = \"5s\""),
        ("request_seconds = 10", "request_seconds = 1"),
    ];
    let mut settings = Site::sample("redfish", &changes);
    for ((node, _), origin) in bmcs.iter().zip(&origins) {
        let labels = format!("labels = {{ node = {node:?} }}");
        settings += &format!("\n[[targets]]\nid = {node:?}\naddress = {origin:?}\n{labels}\ntls = \"own\"\ncredential = \"bmc\"\n");
    }
    site.host("redfish", &credentials, &settings).await
}

fn link(path: &str) -> Value {
    json!({ "@odata.id": format!("/redfish/v1{path}") })
}

fn watts(consumed: u32) -> Value {
    json!({ "PowerControl": [{ "MemberId": "0", "PowerConsumedWatts": consumed }],
        "PowerSupplies": [{ "MemberId": "0", "Name": "PSU1", "PowerInputWatts": consumed, "PowerCapacityWatts": 1600 }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_of_documents_is_followed_stopped_and_found_again() {
    let Some(bin) = sushy_tools().await else { return };
    let (site, port) = (Site::new(), free_port());
    let tree = site.path("tree");
    document(&tree, "", &json!({ "Systems": link("/Systems"), "Chassis": link("/Chassis") }));
    document(&tree, "/Systems", &json!({ "Members": [link("/Systems/1")] }));
    document(&tree, "/Systems/1", &json!({ "Id": "1", "PowerState": "On", "Links": { "Chassis": [link("/Chassis/1")] } }));
    document(&tree, "/Chassis", &json!({ "Members": [link("/Chassis/1")] }));
    document(
        &tree,
        "/Chassis/1",
        &json!({ "Id": "1", "@odata.id": "/redfish/v1/Chassis/1", "Power": link("/Chassis/1/Power"), "Sensors": link("/Chassis/1/Sensors") }),
    );
    document(&tree, "/Chassis/1/Power", &watts(744));
    let ids: Vec<String> = (1..=8).map(|n| format!("Temp{n}")).collect();
    document(
        &tree,
        "/Chassis/1/Sensors",
        &json!({ "Members": ids.iter().map(|id| link(&format!("/Chassis/1/Sensors/{id}"))).collect::<Vec<_>>() }),
    );
    for (n, id) in ids.iter().enumerate() {
        document(
            &tree,
            &format!("/Chassis/1/Sensors/{id}"),
            &json!({ "Id": id, "Name": id, "ReadingType": "Temperature", "Reading": 30 + n }),
        );
    }
    let mut command = Command::new(bin.join("sushy-static"));
    command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-m"]).arg(&tree);
    let part = Part::start(command.arg("-c").arg(site.path("server.pem")).arg("-k").arg(site.path("server.key")));
    let other = Bmc::start(&site).await;
    let running = host(&site, &[("worker1", port), ("worker2", other.port)]).await;
    let power = async |node: &str| World::of(&running).number(Kind::Chassis, node, "entity", "1", "power_watts");
    until("the watts of both", async || (power("worker1").await == Some(744.0) && power("worker2").await == Some(500.0)).then_some(()))
        .await;
    let world = World::of(&running);
    assert_eq!(world.number(Kind::Sensor, "worker1", "entity", "Temp8", "temperature_celsius"), Some(37.0));
    assert_eq!(world.number(Kind::Psu, "worker1", "name", "PSU1", "power_input_watts"), Some(744.0));
    assert_eq!(world.count(Kind::Sensor), 10);
    document(&tree, "/Chassis/1/Power", &watts(811));
    until("the new watts", async || (power("worker1").await == Some(811.0)).then_some(())).await;
    // It hangs: that shows, and the other is read on.
    part.signal("-STOP");
    until("the reason", async || World::of(&running).error("worker1")).await;
    let before = World::of(&running).source("worker2").unwrap().last_success_ms;
    until("the other goes on", async || (World::of(&running).source("worker2").unwrap().last_success_ms > before).then_some(())).await;
    document(&tree, "/Chassis/1/Power", &watts(900));
    part.signal("-CONT");
    until("it is back", async || (power("worker1").await == Some(900.0)).then_some(())).await;
    assert_eq!(World::of(&running).error("worker2"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_emulator_with_accounts_and_no_sessions_is_read_by_basic() {
    let Some(bin) = sushy_tools().await else { return };
    let (site, port) = (Site::new(), free_port());
    site.write("htpasswd", &htpasswd(&bin, "monitor", "secret2"));
    let uuid = "27946b59-9e44-4fa7-8e91-f3527a1ef001";
    let config = format!(
        "SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {port}\n\
         SUSHY_EMULATOR_STATE_DIR = {dir:?}\nSUSHY_EMULATOR_AUTH_FILE = {htpasswd:?}\n\
         SUSHY_EMULATOR_SSL_CERT = {certificate:?}\nSUSHY_EMULATOR_SSL_KEY = {key:?}\n\
         SUSHY_EMULATOR_FAKE_SYSTEMS = [{{'uuid': {uuid:?}, 'name': 'gpu-node-01', 'power_state': 'On', 'external_notifier': False, 'nics': []}}]\n",
        dir = site.path("state"),
        htpasswd = site.path("htpasswd"),
        certificate = site.path("server.pem"),
        key = site.path("server.key"),
    );
    std::fs::create_dir(site.path("state")).unwrap();
    site.write("sushy.conf", &config);
    let _part = Part::start(Command::new(bin.join("sushy-emulator")).arg("--fake").arg("--config").arg(site.path("sushy.conf")));
    let running = host(&site, &[("worker1", port)]).await;
    // The wrong password first: said as such, and found right by itself.
    let refused =
        until("the refusal", async || World::of(&running).error("worker1").filter(|e| e.contains("refused the credential"))).await;
    assert!(refused.contains("HTTP 401") && !refused.contains("secret1"), "{refused}");
    site.write("secret", "secret2");
    let celsius = async || {
        let world = World::of(&running);
        world.number(Kind::Sensor, "worker1", "name", "Chassis Intake Temp", "temperature_celsius")
    };
    until("the temperature of the intake", async || celsius().await.filter(|c| *c == 25.0)).await;
    let world = World::of(&running);
    assert_eq!(world.number(Kind::Fan, "worker1", "name", "BaseBoard System Fan", "fan_speed_rpm"), Some(2_100.0));
    assert!(world.count(Kind::Chassis) >= 1 && world.count(Kind::Node) == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_serves_all_reads_is_renewed_when_it_ends_and_closed_at_the_stop() {
    let site = Site::new();
    let bmc = Bmc::start(&site).await;
    let running = host(&site, &[("worker1", bmc.port)]).await;
    let reads = async |n: usize| until("reads", async || (bmc.inside().reads >= n).then_some(())).await;
    reads(30).await;
    let before = {
        let mut inside = bmc.inside();
        assert_eq!((inside.logins, inside.sessions.len()), (1, 1));
        inside.sessions.clear();
        inside.reads
    };
    reads(before + 30).await;
    {
        let inside = bmc.inside();
        assert_eq!((inside.logins, inside.most), (2, 1), "one session more, and one request at a time");
    }
    let world = World::of(&running);
    assert_eq!(world.error("worker1"), None);
    assert_eq!(world.number(Kind::Chassis, "worker1", "entity", "1", "energy_joules"), Some(7_200_000.0));
    // Nothing that the plugin or a client can see holds a token.
    let (_, state) = running.get("/api/v1/system/plugins/redfish").await;
    assert!(!state.to_string().contains("token-"), "{state}");
    running.host.log_out().await;
    assert!(bmc.inside().sessions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_installed_program_closes_its_sessions_when_it_is_told_to_stop() {
    let site = Site::new();
    let bmc = Bmc::start(&site).await;
    let origin = format!("https://127.0.0.1:{}", bmc.port);
    let mut program = Program::start(|dir| {
        for sub in ["plugins", "plugins.d"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        std::fs::copy(component("redfish"), dir.join("plugins/redfish.wasm")).unwrap();
        let target = format!("\n[[targets]]\nid = \"bmc1\"\naddress = {origin:?}\ntls = \"own\"\ncredential = \"bmc\"\n");
        std::fs::write(dir.join("plugins.d/redfish.toml"), Site::sample("redfish", &[("60s", "1s")]) + &target).unwrap();
        format!(
            "[tls.own]\nca_file = {:?}\n[credentials.bmc]\ntype = \"redfish\"\norigins = [{origin:?}]\nusername = \"monitor\"\npassword_file = {:?}\n",
            site.path("ca.pem"),
            site.path("secret")
        )
    });
    until("a session", async || (bmc.inside().reads > 8).then_some(())).await;
    assert_eq!(bmc.inside().sessions.len(), 1);
    program.signal("-TERM");
    until("its end", async || program.child.try_wait().unwrap()).await;
    assert!(bmc.inside().sessions.is_empty());
    let log = program.log();
    assert!(!log.contains("token-") && !log.contains("secret1"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_others_are_read_on() {
    let site = Site::new();
    let (wrong, good) = (Bmc::start(&site).await, Bmc::start(&site).await);
    wrong.inside().password = "secret2".to_owned();
    let running = host(&site, &[("worker1", wrong.port), ("worker2", good.port)]).await;
    let said = until("the refusal", async || World::of(&running).error("worker1").filter(|e| e.contains("HTTP 401"))).await;
    assert!(said.contains("refused to open a session for \"monitor\""), "{said}");
    let failures = async || World::of(&running).source("worker1").map_or(0, |s| s.consecutive_failures);
    until("several reads later", async || (failures().await >= 3 && good.inside().reads > 40).then_some(())).await;
    {
        let inside = wrong.inside();
        assert_eq!((inside.refused, inside.logins), (1, 0), "an account is not locked by a monitor");
    }
    assert_eq!(World::of(&running).error("worker2"), None);
    site.write("secret", "secret2");
    until("it is back", async || World::of(&running).number(Kind::Chassis, "worker1", "entity", "1", "power_watts")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_in_a_bmc_costs_that_part_and_is_said() {
    let site = Site::new();
    let bmc = Bmc::start(&site).await;
    let running = host(&site, &[("worker1", bmc.port)]).await;
    let celsius = async |id: &str| World::of(&running).number(Kind::Sensor, "worker1", "entity", id, "temperature_celsius");
    until("both sensors", async || celsius("Inlet").await.and(celsius("Outlet").await)).await;
    {
        let mut inside = bmc.inside();
        inside.broken.insert("/redfish/v1/Chassis/1/Sensors/Inlet".into(), "{\"Id\": \"Inlet\", \"Reading\":".into());
        inside.documents.insert(
            "/redfish/v1/Chassis/1/Sensors/Outlet".into(),
            json!({ "Id": "Outlet", "Name": "Outlet", "ReadingType": "Temperature", "Reading": 55 }),
        );
    }
    until("the other sensor goes on", async || (celsius("Outlet").await == Some(55.0)).then_some(())).await;
    // What was not read ages and is no number any more; it is not gone, either.
    until("the broken one is stale", async || celsius("Inlet").await.is_none().then_some(())).await;
    assert!(World::of(&running).find(Kind::Sensor, "worker1", "entity", "Inlet").is_some());
    // One sensor hangs: the watts that were read before it still come.
    {
        let mut inside = bmc.inside();
        inside.hangs = Some("/redfish/v1/Chassis/1/Sensors/".into());
        inside.documents.insert("/redfish/v1/Chassis/1/EnvironmentMetrics".into(), json!({ "PowerWatts": { "Reading": 640 } }));
    }
    let power = async || World::of(&running).number(Kind::Chassis, "worker1", "entity", "1", "power_watts");
    until("the watts go on", async || (power().await == Some(640.0)).then_some(())).await;
    // All of it hangs, then comes back.
    bmc.inside().hangs = Some("/redfish".into());
    until("the reason", async || World::of(&running).error("worker1")).await;
    {
        let mut inside = bmc.inside();
        (inside.hangs, inside.broken) = (None, Default::default());
    }
    until("all is back", async || celsius("Inlet").await.and(celsius("Outlet").await).and(power().await)).await;
    assert_eq!(World::of(&running).error("worker1"), None);
}

/// CPU seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // User and system time, in hundredths.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_bmcs_are_read_within_one_interval_each_by_one_session() {
    let site = Site::new();
    let mut bmcs = Vec::new();
    for n in 0..200 {
        bmcs.push((format!("worker{n}"), Bmc::start(&site).await));
    }
    // One of them hangs, one breaks.
    bmcs[7].1.inside().hangs = Some("/redfish".into());
    bmcs[9].1.inside().broken.insert("/redfish/v1".into(), "<html>".into());
    let all: Vec<(&str, u16)> = bmcs.iter().map(|(node, bmc)| (node.as_str(), bmc.port)).collect();
    let (began, before) = (std::time::Instant::now(), cpu_seconds());
    let running = host_each(&site, "30s", &all).await;
    let known = async || {
        let world = World::of(&running);
        all.iter().filter(|(node, _)| world.number(Kind::Chassis, node, "entity", "1", "power_watts") == Some(500.0)).count()
    };
    until("the watts of all others", async || (known().await == 198).then_some(())).await;
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - before);
    eprintln!(
        "198 of 200 BMCs after {took:.1} s, {cpu:.1} s of CPU with the BMCs themselves, whose logins and handshakes are the most of it"
    );
    assert!(took < 30.0, "{took} s");
    for (n, (node, bmc)) in bmcs.iter().enumerate() {
        let inside = bmc.inside();
        assert!(inside.logins <= 1 && inside.most <= 1, "{node}: {} logins, {} at once", inside.logins, inside.most);
        assert!(n == 7 || n == 9 || inside.logins == 1, "{node}");
    }
    for node in ["worker7", "worker9"] {
        until("the reason", async || World::of(&running).error(node)).await;
    }
    running.host.log_out().await;
    assert!(bmcs.iter().all(|(_, bmc)| bmc.inside().sessions.is_empty()));
}
