//! Servers by their BMCs: the host, its session and the plugin over `ipmi_sim` (cipher suite 3) and over a BMC of our own (17).

#[path = "ipmi/openipmi.rs"]
mod openipmi;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcloud_bmc_sim::{Bmc, Running as Bmcs, Setup, sdr};
use kcloud_e2e::{Running, until};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::inventory::{Kind, Life, Severity, Subject, Value};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::ipmi::{Bmc as Reached, Place, Policy, Privilege, Suite};
use kcloud_monitor::plugins::capabilities::{Credential, Grants, Secret};
use kcloud_monitor::plugins::contract::Target;
use openipmi::Simulated;

type Password = Arc<Mutex<String>>;

/// The plugin with these targets: node, address, and whose password.
fn settings(targets: &[(&str, String, &Password)]) -> Vec<Settings> {
    let mut s = Settings { interval: Duration::from_millis(500), timeout: Duration::from_secs(5), ..Settings::bare("ipmi") };
    s.clusters = vec!["cluster1".into()];
    let mut bmcs = Vec::new();
    for (node, address, password) in targets {
        let password = (*password).clone();
        let credential = Credential {
            secret: Secret::password(move || Ok(("monitor".to_owned(), password.lock().unwrap().clone()))),
            origins: vec![address.clone()],
        };
        s.credentials.insert((*node).to_owned(), credential);
        let place = Place::of(address).unwrap();
        let reached = Reached { place, credential: (*node).to_owned(), privilege: Privilege::User, suites: Suite::ALL.to_vec() };
        bmcs.push(((*node).to_owned(), reached));
        let target = Target {
            id: (*node).to_owned(),
            address: address.clone(),
            cluster: "cluster1".into(),
            labels: vec![("node".into(), (*node).to_owned())],
            credential: Some((*node).to_owned()),
            config: "{}".into(),
        };
        s.targets.push((target, None));
    }
    s.grants = Grants { state: true, ipmi: Some(Policy::new(bmcs)), ..Grants::default() };
    vec![s]
}

fn password(text: &str) -> Password {
    Arc::new(Mutex::new(text.to_owned()))
}

/// A subject of a node by its name, with the names of metrics.
fn subject(running: &Running, node: &str, kind: Kind, name: &str) -> Option<Arc<Subject>> {
    let snapshot = running.host.app.inventory.current();
    let is_it = |s: &&Arc<Subject>| s.node.as_deref() == Some(node) && s.label("name") == Some(name);
    snapshot.of_kind(kind).iter().find(is_it).cloned()
}

fn number(running: &Running, node: &str, kind: Kind, name: &str, metric: &str) -> Option<f64> {
    let subject = subject(running, node, kind, name)?;
    let catalogue = Catalogue::default();
    let reading = subject.readings.iter().find(|r| *catalogue.name(r.metric) == *metric)?;
    match reading.value {
        Value::Number(v, _) if subject.life == Life::Live => Some((v * 1e6).round() / 1e6),
        _ => None,
    }
}

/// Failures in a row and the last error of a source.
fn source(running: &Running, node: &str) -> Option<(u32, Option<i64>, String)> {
    let snapshot = running.host.app.inventory.current();
    let source = snapshot.sources.iter().find(|s| &*s.target == node)?;
    Some((source.consecutive_failures, source.last_success_ms, source.last_error.as_deref().unwrap_or("").to_owned()))
}

/// How often a source is read well from now on, for so many of its reads.
async fn goes_on(running: &Running, node: &str) {
    let (_, before, _) = source(running, node).expect("known");
    until(&format!("{node} is read on"), async || {
        let (failures, last, _) = source(running, node)?;
        (failures == 0 && last > before.map(|ms| ms + 1_000)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bmcs_of_openipmi_are_read_with_thresholds_states_and_events() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let Some(sims) = dirs.iter().map(|d| Simulated::start(d.path())).collect::<Option<Vec<_>>>() else { return };
    let secret = password(openipmi::PASSWORD);
    let nodes = ["worker1", "worker2", "worker3"];
    let targets: Vec<_> = nodes.iter().zip(&sims).map(|(n, sim)| (*n, format!("ipmi://127.0.0.1:{}", sim.port), &secret)).collect();
    let running = Running::start(&["ipmi"], settings(&targets)).await;
    for node in nodes {
        let value = |kind, name, metric| number(&running, node, kind, name, metric);
        until(&format!("{node} is read"), async || (value(Kind::Sensor, "CPU0 Temp", "temperature_celsius") == Some(52.0)).then_some(()))
            .await;
        assert_eq!(value(Kind::Fan, "Fan1", "fan_speed_rpm"), Some(8_400.0));
        assert_eq!(value(Kind::Sensor, "12V rail", "voltage_volts"), Some(12.06));
        assert_eq!(value(Kind::Sensor, "12V rail", "threshold_upper_critical"), Some(13.5));
        assert_eq!(value(Kind::Sensor, "CPU0 Temp", "threshold_upper_warning"), Some(80.0));
        assert_eq!(value(Kind::Psu, "PSU 1", "power_input_watts"), Some(744.0));
        assert!(subject(&running, node, Kind::Chassis, "bmc").is_some());
    }
    sims[1].set(1, 95);
    until("the heat of worker2 is seen and said", async || {
        let hot = number(&running, "worker2", Kind::Sensor, "CPU0 Temp", "temperature_celsius") == Some(95.0);
        let snapshot = running.host.app.inventory.current();
        let said = snapshot.events.iter().any(|e| {
            &*e.code == "sel:0x01" && e.severity == Severity::Critical && e.message.contains("CPU0 Temp: upper critical going high")
        });
        (hot && said).then_some(())
    })
    .await;
    let heat = subject(&running, "worker2", Kind::Sensor, "CPU0 Temp").unwrap();
    let state = heat.readings.iter().find(|r| *Catalogue::default().name(r.metric) == *"sensor_state").unwrap().value;
    assert!(matches!(state, Value::Number(v, _) if v == 2.0), "critical: {state:?}");

    sims[0].freeze(true);
    until("worker1's silence is said", async || {
        let (failures, _, why) = source(&running, "worker1")?;
        (failures > 0 && why.contains("answer")).then_some(())
    })
    .await;
    goes_on(&running, "worker2").await;
    goes_on(&running, "worker3").await;
    sims[0].freeze(false);
    goes_on(&running, "worker1").await;
}

async fn bmc() -> Bmcs {
    Bmcs::start(Bmc::new(Setup { suites: vec![17], ..Setup::default() })).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bmcs_that_hang_refuse_or_die_leave_the_others_alone_and_come_back() {
    let names = ["hangs", "refuses", "dies", "well1", "well2", "well3"];
    let mut bmcs = Vec::new();
    for _ in names {
        bmcs.push(bmc().await);
    }
    let (good, wrong) = (password("secret1"), password("secret2"));
    let of = |name: &str| if name == "refuses" { &wrong } else { &good };
    let targets: Vec<_> = names.iter().zip(&bmcs).map(|(n, b)| (*n, b.url(), of(n))).collect();
    bmcs[0].bmc.faults(|f| f.hangs = true);
    bmcs[2].bmc.faults(|f| f.dies_after = Some(60));
    let running = Running::start(&["ipmi"], settings(&targets)).await;

    until("each says what is wrong with it", async || {
        let hangs = source(&running, "hangs")?.2.contains("did not answer in time");
        let refuses = source(&running, "refuses")?.2.contains("password is not the one");
        let (failures, last, why) = source(&running, "dies")?;
        let dies = failures > 0 && why.contains("answer") && last.is_some();
        (hangs && refuses && dies).then_some(())
    })
    .await;
    for well in ["well1", "well2", "well3"] {
        goes_on(&running, well).await;
        assert_eq!(number(&running, well, Kind::Chassis, "bmc", "power_watts"), Some(412.0));
    }
    let (state, _) = running.plugin("ipmi").await;
    assert_eq!(state, "active", "no fault of the plugin");
    let (_, detail) = running.get("/api/v1/system/plugins/ipmi").await;
    let target = |id: &str| detail["data"]["targets"].as_array().unwrap().iter().find(|t| t["id"] == id).unwrap().clone();
    assert!(target("refuses")["last_error"].as_str().unwrap().contains("password"), "{detail}");
    assert!(!detail.to_string().contains("secret"), "the password is nowhere");
    // What was read of the dead one ages; it never becomes zero.
    until("what the dead one said is stale", async || {
        let chassis = subject(&running, "dies", Kind::Chassis, "bmc")?;
        (chassis.life != Life::Live).then_some(())
    })
    .await;
    let stats = bmcs[1].bmc.stats();
    assert_eq!((stats.logins, stats.failed_logins), (1, 0), "a lock-out is not risked");
    assert_eq!(bmcs[3].bmc.stats().suites, [17], "one session");

    bmcs[0].bmc.faults(|f| f.hangs = false);
    bmcs[2].bmc.restart();
    bmcs[2].bmc.faults(|f| f.hangs = false);
    *wrong.lock().unwrap() = "secret1".to_owned();
    for back in ["hangs", "refuses", "dies"] {
        until(&format!("{back} is back by itself"), async || {
            (number(&running, back, Kind::Chassis, "bmc", "power_watts") == Some(412.0)).then_some(())
        })
        .await;
    }
    for bmc in &bmcs {
        let stats = bmc.bmc.stats();
        let changing = |&(netfn, cmd): &(u8, u8)| matches!((netfn, cmd), (0x00, 2..=6) | (0x04, 0x24 | 0x26 | 0x28 | 0x30) | (0x0a, 0x12 | 0x24..=0x27 | 0x44..=0x47 | 0x49));
        assert!(!stats.commands.keys().any(changing), "{:?}", stats.commands);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_host_reads_no_records_anew_and_repeats_no_event() {
    let bmc = bmc().await;
    bmc.bmc.change(|m| m.happened(sdr::sel_entry(0x6500_0000, 8, 21, 0x6f, [1, 0, 0])));
    let secret = password("secret1");
    let targets = [("worker1", bmc.url(), &secret)];
    let running = Running::start(&["ipmi"], settings(&targets)).await;
    until("its event is there", async || {
        let snapshot = running.host.app.inventory.current();
        snapshot.events.iter().any(|e| e.message.contains("PSU1 Status: failure")).then_some(())
    })
    .await;
    let records = |bmc: &Bmcs| bmc.bmc.stats().commands.get(&(0x0a, 0x23)).copied().unwrap_or(0);
    let before = records(&bmc);
    assert!(before > 0);
    let running = running.restart(settings(&targets)).await;
    until("it is read again", async || {
        (number(&running, "worker1", Kind::Sensor, "GPU0 Temp", "temperature_celsius") == Some(61.0)).then_some(())
    })
    .await;
    assert_eq!(records(&bmc), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_it_is_not_loaded_and_says_what_it_needs() {
    let secret = password("secret1");
    let mut settings = settings(&[("worker1", "ipmi://127.0.0.1:1".into(), &secret)]);
    settings[0].grants.ipmi = None;
    let running = Running::start(&["ipmi"], settings).await;
    let reason = running.plugin_is("ipmi", "waiting-for-approval").await;
    assert!(reason.contains("ipmi"), "{reason}");
}
