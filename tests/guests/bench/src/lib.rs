//! What `cargo xtask bench` measures inside the sandbox: parsing, and nothing but giving out points.

// Natively nothing is exported, and so nothing is used.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use kcloud_collector_sdk::exposition::{Event, Format, Parser};
use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Label, Metric, MetricKind, Quality, Target, register};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    /// Exposition text to parse, `repeat` times a call.
    #[serde(default)]
    text: String,
    #[serde(default)]
    repeat: u32,
    /// Points to give out a call.
    #[serde(default)]
    points: u32,
}

struct Bench(Config);

impl Collector for Bench {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "bench-guest",
            version: "0.1.0",
            vendor: "nobody",
            description: "work to be measured",
            metrics: vec![definition("power_watts", "watts", MetricKind::Gauge, Quality::Measured)],
            config_schema: r#"{"type":"object"}"#,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self(config))
    }

    fn collect(&mut self, _target: &Target, _deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let subject = batch.subject("node", "worker1", None, |s| s.identity = vec![Label { key: "node".into(), value: "worker1".into() }]);
        let mut sum = 0.0;
        for _ in 0..self.0.repeat {
            for event in Parser::new(&self.0.text, Format::Prometheus) {
                if let Ok(Event::Sample(s)) = event {
                    sum += s.value + s.labels.raw().len() as f64;
                }
            }
        }
        if self.0.repeat > 0 {
            batch.point(Metric(0), subject, f64::from(sum > 0.0), None);
        }
        for i in 0..self.0.points {
            batch.point(Metric(0), subject, f64::from(i % 700), None);
        }
        Ok(())
    }
}

register!(Bench);
