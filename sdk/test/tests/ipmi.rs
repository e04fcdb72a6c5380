//! The ipmi component in the real host, without a schedule around it, against a BMC of our own.

use std::time::Duration;

use kcloud_bmc_sim::{Bmc as Simulated, Running, Setup as Begin};
use kcloud_collector_test::{Bmc, Kind, Plugin, Setup, target};

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_is_read_by_its_target_and_what_changes_shows() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist/plugins/ipmi.wasm");
    let bmc = Running::start(Simulated::new(Begin::default())).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    let reached = Bmc { target: "worker1".into(), address: bmc.url(), user: "monitor".into(), password: "secret1".into() };
    let setup = Setup { ipmi: Some(vec![reached]), state: Some(state.path().to_owned()), ..Setup::default() };
    let plugin = Plugin::load(&file, setup).await.unwrap();
    let target = target("worker1", &bmc.url(), &[("node", "worker1")]);
    let wall = Duration::from_secs(10);
    let read = plugin.collect(&target, wall).await.unwrap();
    let chassis = read.subject(Kind::Chassis, "serial_number", "SN1").unwrap();
    assert_eq!(read.value(chassis, "power_watts"), Some(412.0));
    assert_eq!((read.subjects(Kind::Psu).count(), read.subjects(Kind::Fan).count(), read.subjects(Kind::Sensor).count()), (2, 2, 5));
    bmc.bmc.change(|m| m.sensors.get_mut(&(0x20, 0, 2)).unwrap().raw = 88);
    let read = plugin.collect(&target, wall).await.unwrap();
    let gpu = read.subject(Kind::Sensor, "name", "GPU0 Temp").unwrap();
    assert_eq!((read.value(gpu, "temperature_celsius"), read.value(gpu, "threshold_upper_critical")), (Some(88.0), Some(90.0)));
    let stats = bmc.bmc.stats();
    assert_eq!((stats.sessions_opened, stats.suites), (1, vec![17]));
    assert!(plugin.log().is_empty(), "{:?}", plugin.log());
}
