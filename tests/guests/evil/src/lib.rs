//! One hostile guest with many bad modes; the tests say what the host must make of each.

// Natively nothing is exported, and so nothing is used.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use std::hint::black_box;

use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Label, MetricKind, Quality, Target, http, log, register};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    mode: String,
    #[serde(default)]
    url: String,
}

struct Evil(Config, u32);

impl Collector for Evil {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "evil",
            version: "0.1.0",
            vendor: "nobody",
            description: "does what it should not",
            metrics: vec![definition("power_watts", "watts", MetricKind::Gauge, Quality::Measured)],
            config_schema: r#"{"type":"object","required":["mode"],"properties":{"mode":{"type":"string"},"url":{"type":"string"}}}"#,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        match config.mode.as_str() {
            "refuse" => Err(CollectError::Config("it never likes its configuration".into())),
            _ => Ok(Self(config, 0)),
        }
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let subject = |batch: &mut Batch, name: &str| {
            let name = name.to_owned();
            batch.subject("accelerator", &name.clone(), None, |s| s.identity = vec![Label { key: "uuid".into(), value: name }])
        };
        match self.0.mode.as_str() {
            "panic" => panic!("on purpose"),
            "panic-on-second" if self.1 > 0 => panic!("on purpose, at the second call"),
            "panic-on-second" => self.1 += 1,
            "loop" => loop {
                black_box(());
            },
            "recurse" => {
                black_box(deep(0));
            }
            "eat" => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            "flood" => {
                for i in 0..200_000 {
                    let s = subject(batch, &format!("GPU-{i}"));
                    batch.point(kcloud_collector_sdk::Metric(0), s, 1.0, None);
                }
            }
            "chatter" => (0..10_000).for_each(|i| log::line(log::Level::Info, &format!("line {i}\nforged"))),
            "levels" => {
                for level in [log::Level::Trace, log::Level::Debug, log::Level::Info, log::Level::Warn, log::Level::Error] {
                    log::line(level, &format!("{level:?} is enabled: {}", log::enabled(level)));
                }
                log::line(log::Level::Info, &format!("Debug is enabled: {}", log::enabled(log::Level::Debug)));
            }
            "bad-index" => {
                let s = subject(batch, "GPU-1");
                batch.point(kcloud_collector_sdk::Metric(99), s, 1.0, None);
            }
            "bad-label" => {
                batch.leave_as_is();
                subject(batch, "GPU\n1");
            }
            "late" => drop(http::get(target, &self.0.url, "*/*", 200)?),
            "fetch" => {
                let answer = http::get(target, &self.0.url, "*/*", deadline_ms)?;
                answer.exposition()?;
            }
            _ => {
                let s = subject(batch, "GPU-evil");
                batch.point(kcloud_collector_sdk::Metric(0), s, 5.0, None);
            }
        }
        Ok(())
    }
}

fn deep(n: u64) -> u64 {
    let room = black_box([n; 64]);
    match black_box(n) {
        u64::MAX => 0,
        n => room[(n % 64) as usize] + deep(n + 1),
    }
}

register!(Evil);
