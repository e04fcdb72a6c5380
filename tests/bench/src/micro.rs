//! The sandbox against native code, and what a point costs to cross the boundary.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kcloud_collector_sdk::exposition::{Event, Format, Parser};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::plugins::capabilities::{Commons, Grants, Shared};
use kcloud_monitor::plugins::contract::Target;
use kcloud_monitor::plugins::generation::{Compiled, Generation};
use kcloud_monitor::plugins::limits::Limits;
use kcloud_monitor::plugins::{Runtime, Settings};
use serde_json::json;

use crate::{cpu, fleet, row};

async fn generation(runtime: &Arc<Runtime>, catalogue: &Catalogue, config: serde_json::Value) -> Result<Generation> {
    let file = crate::root().join("target/guests/bench-guest.wasm");
    let bytes = std::fs::read(&file).with_context(|| format!("{} is not built", file.display()))?;
    let compiled = Compiled::new(runtime, "bench-guest", &bytes)?;
    let settings = Settings::bare("bench-guest");
    let limits = Limits { cpu: Duration::from_secs(60), output_bytes: 256 << 20, points: 2_000_000, ..settings.limits };
    let shared = Shared::new("bench-guest", limits, Grants::default(), Default::default(), Commons::new()?, None, Arc::default());
    Ok(Generation::new(runtime.clone(), catalogue, compiled, shared, &config, 1, 0).await?)
}

/// CPU-seconds of one call, the least of five: what disturbs only adds.
fn call(runtime: &Arc<Runtime>, catalogue: &Catalogue, config: serde_json::Value) -> Result<f64> {
    // One thread, so that the thread's CPU time is the call's.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio.block_on(async {
        let generation = generation(runtime, catalogue, config).await?;
        let target = Target {
            id: "a".into(),
            address: String::new(),
            cluster: "cluster1".into(),
            labels: Vec::new(),
            credential: None,
            config: "{}".into(),
        };
        let mut least = f64::MAX;
        for _ in 0..6 {
            let before = cpu::this_thread()?;
            generation.collect(catalogue, &target, Duration::from_secs(60)).await?;
            least = least.min(cpu::this_thread()? - before);
        }
        Ok(least)
    })
}

pub fn run() -> Result<()> {
    let (runtime, catalogue) = (Arc::new(Runtime::new(None)?), Catalogue::default());
    let text = fleet(4).exposition(0, 7);
    let samples = Parser::new(&text, Format::Prometheus).filter(|e| matches!(e, Ok(Event::Sample(_)))).count();
    let repeat = 2_000u32;
    let mut native = f64::MAX;
    for _ in 0..6 {
        let before = cpu::this_thread()?;
        let mut sum = 0.0;
        for _ in 0..repeat {
            for event in Parser::new(std::hint::black_box(&text), Format::Prometheus) {
                if let Ok(Event::Sample(s)) = event {
                    sum += s.value + s.labels.raw().len() as f64;
                }
            }
        }
        std::hint::black_box(sum);
        native = native.min(cpu::this_thread()? - before);
    }
    let sandboxed = call(&runtime, &catalogue, json!({ "text": text, "repeat": repeat }))?;
    let per = f64::from(repeat) * samples as f64;
    row(
        "parse in the sandbox / native",
        sandboxed / native,
        "≤ 1.5",
        &format!("{:.1} / {:.1} M samples per CPU-s", per / sandboxed / 1e6, per / native / 1e6),
    );

    let (few, many) = (1_000u32, 1_001_000u32);
    let base = call(&runtime, &catalogue, json!({ "points": few }))?;
    let full = call(&runtime, &catalogue, json!({ "points": many }))?;
    let each = (full - base) / f64::from(many - few) * 1e6;
    row("boundary, µs per point", each, "≤ 0.03", "built in the guest, copied out, checked");
    Ok(())
}
