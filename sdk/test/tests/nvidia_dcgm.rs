//! The bundled component against recorded pages: also the worked example of this crate.

use std::path::Path;
use std::time::Duration;

use kcloud_collector_test::{Answer, Kind, Plugin, Reason, Recorded, Setup, target};

const PAGE: &str = r#"# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1",device="nvidia0",modelName="NVIDIA L40S",Hostname="worker1"} 301.5
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-2",device="nvidia1",modelName="NVIDIA L40S",Hostname="worker1"} 9223372036854775794
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-1",device="nvidia0",modelName="NVIDIA L40S",Hostname="worker1"} 5000
this line is no sample
"#;

const WALL: Duration = Duration::from_secs(10);

async fn plugin(recorded: &Recorded) -> Plugin {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist/plugins/nvidia-dcgm.wasm");
    let setup = Setup { http: vec![recorded.address("/")], ..Setup::default() };
    Plugin::load(&file, setup).await.expect("it loads")
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_in_base_units_and_a_blank_is_a_gap() {
    let recorded = Recorded::start([("/metrics", Answer::text(PAGE))]).await.expect("a port");
    let plugin = plugin(&recorded).await;
    let read = plugin.collect(&target("worker1", &recorded.address("/metrics"), &[]), WALL).await.expect("a batch");
    let first = read.subject(Kind::Accelerator, "uuid", "GPU-1").expect("the first card");
    assert_eq!(read.value(first, "power_watts"), Some(301.5));
    assert_eq!(read.value(first, "energy_joules"), Some(5.0));
    let second = read.subject(Kind::Accelerator, "uuid", "GPU-2").expect("the second card");
    assert_eq!((read.value(second, "power_watts"), read.gap(second, "power_watts")), (None, Some(Reason::Unsupported)));
    assert!(read.batch.problems.iter().any(|p| p.contains("line 6")), "{:?}", read.batch.problems);
    assert_eq!(recorded.asked(), ["/metrics"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_answers_wrong_is_blamed_on_the_target_or_its_operator() {
    let recorded = Recorded::start([]).await.expect("a port");
    let plugin = plugin(&recorded).await;
    for (answer, expected) in [
        (Answer::status(503), "unreachable"),
        (Answer::status(401), "credential"),
        (Answer::text("<html>sign in</html>"), "web page"),
        (Answer::text(""), "reloading"),
    ] {
        recorded.answer("/metrics", answer);
        let failed = plugin.collect(&target("worker1", &recorded.address("/metrics"), &[]), WALL).await;
        let error = failed.err().expect("a failure").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let elsewhere = plugin.collect(&target("x", "http://127.0.0.1:9/metrics", &[]), WALL).await;
    assert!(elsewhere.err().expect("a failure").to_string().contains("not granted"));
}
