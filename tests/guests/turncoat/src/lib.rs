//! A guest whose versions differ in one byte: tests rewrite `MARK` in the built component and so make its next version.
//!
//! `0` reads well; `1` panics from its second call on, counted over instances in its state; `2` panics at once; `3` lacks a
//! metric; `4` gives watts in another unit; `5` cannot reach anything; `6` reads nothing; `7` asks for one thing more in its
//! configuration.

// Natively nothing is exported, and so nothing is used.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use kcloud_collector_sdk::bindings::kcloud::collector::state;
use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, Info, Label, Metric, MetricKind, Quality, Target, register};
use serde::Deserialize;

static MARK: &[u8; 18] = b"KCLOUD-TURNCOAT-=0";

/// Read so that no compiler knows what it is.
fn mark() -> u8 {
    std::hint::black_box(MARK)[17]
}

#[derive(Deserialize)]
struct Config {
    /// Added to its watts; 13 makes it panic from its second call on.
    #[serde(default)]
    offset: f64,
}

struct Turncoat(Config);

/// Calls so far, over all instances and versions of it that have this mark.
fn count() -> Result<u32, CollectError> {
    let failed = |e: state::StateError| CollectError::Internal(format!("{e:?}"));
    let key = format!("calls-{}", mark());
    let before = state::get(&key).map_err(failed)?.and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    state::put(&key, &(before + 1).to_le_bytes()).map_err(failed)?;
    Ok(before)
}

impl Collector for Turncoat {
    type Config = Config;

    fn describe() -> Info {
        let versions = ["0.1.0", "0.1.1", "0.1.2", "0.1.3", "0.1.4", "0.1.5", "0.1.6", "0.1.7"];
        Info {
            name: "turncoat",
            version: versions[usize::from(mark().wrapping_sub(b'0')).min(7)],
            vendor: "nobody",
            description: "good or bad by one byte",
            metrics: vec![
                definition("power_watts", "watts", MetricKind::Gauge, Quality::Measured),
                definition("temperature_celsius", "celsius", MetricKind::Gauge, Quality::Measured),
            ],
            config_schema: match mark() {
                b'7' => r#"{"type":"object","required":["more"],"properties":{"offset":{"type":"number"},"more":{"type":"string"}}}"#,
                _ => r#"{"type":"object","properties":{"offset":{"type":"number"}}}"#,
            },
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self(config))
    }

    fn collect(&mut self, target: &Target, _deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        match mark() {
            b'1' if count()? >= 1 => panic!("from the second call on"),
            b'2' => panic!("at once"),
            b'5' => return Err(CollectError::Unreachable("on purpose".into())),
            b'6' => return Ok(()),
            _ if self.0.offset == 13.0 && count()? >= 1 => panic!("it does not like 13"),
            _ => {}
        }
        let name = format!("GPU-{}", target.id);
        let card = batch.subject("accelerator", &name.clone(), None, |s| {
            s.identity = vec![Label { key: "uuid".into(), value: name }];
            s.labels = vec![Label { key: "class".into(), value: "gpu".into() }];
        });
        let scale = if mark() == b'4' { 1_000.0 } else { 1.0 };
        batch.point(Metric(0), card, (300.0 + self.0.offset) * scale, None);
        if mark() != b'3' {
            batch.point(Metric(1), card, 50.0, None);
        }
        Ok(())
    }
}

register!(Turncoat);
