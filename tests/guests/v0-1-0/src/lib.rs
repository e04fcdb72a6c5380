//! A collector built against contract 0.1.0 as it was released, without the SDK: it must run on every later host unchanged.

// Natively nothing is exported, and so nothing is used.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

wit_bindgen::generate!({ path: "wit", world: "plugin-with-history" });

use exports::kcloud::collector::collector::{Affinity, Guest, Info};
use exports::kcloud::collector::history::{self, Observation, Page, RangeQuery, Series};
use kcloud::collector::types::{Batch, CollectError, Coverage, Label, MetricDef, MetricKind, Point, Quality, Subject, Target};
use kcloud::collector::{clock, http, log};

struct Old;

fn label(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}

fn card() -> Subject {
    Subject {
        kind: "accelerator".to_owned(),
        identity: vec![label("uuid", "GPU-v0-1-0")],
        labels: vec![label("class", "gpu")],
        parent: None,
        observed_at: Some(clock::unix_ns()),
    }
}

impl Guest for Old {
    fn describe() -> Info {
        Info {
            name: "v0-1-0".to_owned(),
            version: "0.1.0".to_owned(),
            vendor: "nobody".to_owned(),
            description: "was built when there was no other contract".to_owned(),
            metrics: vec![MetricDef {
                name: "power_watts".to_owned(),
                help: String::new(),
                unit: "watts".to_owned(),
                kind: MetricKind::Gauge,
                quality: Quality::Measured,
                states: Vec::new(),
            }],
            config_schema: r#"{"type":"object"}"#.to_owned(),
            affinity: Affinity::None,
        }
    }

    fn configure(_config: String) -> Result<(), CollectError> {
        Ok(())
    }

    fn discover() -> Result<Vec<Target>, CollectError> {
        Ok(Vec::new())
    }

    /// As many watts as the target's answer has lines.
    fn collect(target: Target, deadline_ms: u32, _page: Option<Vec<u8>>, _cursor: Option<Vec<u8>>) -> Result<Batch, CollectError> {
        let request = http::Request {
            method: "GET".to_owned(),
            url: target.address,
            headers: Vec::new(),
            body: None,
            credential: None,
            timeout_ms: Some(deadline_ms),
        };
        let response = http::send(&request).map_err(|e| CollectError::Unreachable(e.to_string()))?;
        let lines = response.body.split(|b| *b == b'\n').count();
        log::emit(log::Level::Info, "read", &[label("lines", &lines.to_string())]);
        Ok(Batch {
            coverage: Coverage::Whole,
            metrics: Vec::new(),
            subjects: vec![card()],
            points: vec![Point { metric: 0, subject: 0, value: lines as f64 }],
            timed_points: Vec::new(),
            states: Vec::new(),
            histograms: Vec::new(),
            gaps: Vec::new(),
            events: Vec::new(),
            problems: Vec::new(),
            tombstones: Vec::new(),
            next_page: None,
            cursor: None,
        })
    }
}

impl history::Guest for Old {
    /// 42 watts, always.
    fn range(_target: Target, query: RangeQuery, _deadline_ms: u32, _page: Option<Vec<u8>>) -> Result<Page, CollectError> {
        let observations = vec![Observation { at: query.start.next_multiple_of(query.step), value: 42.0 }];
        Ok(Page { subjects: vec![card()], series: vec![Series { subject: 0, quality: Quality::Measured, observations }], next_page: None })
    }
}

#[cfg(target_arch = "wasm32")]
export!(Old);
