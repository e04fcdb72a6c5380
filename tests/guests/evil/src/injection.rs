//! Hands over every text that the test gives it in a place where a text goes, and says nothing else.

use kcloud_collector_sdk::bindings::kcloud::collector::log;
use kcloud_collector_sdk::mapping::definition;
use kcloud_collector_sdk::{Batch, CollectError, Metric, MetricKind, Quality, Target};

use crate::{Config, Evil, label, mode, output, reading};

pub(crate) fn collect(evil: &Evil, batch: &mut Batch) -> Option<Result<(), CollectError>> {
    let list = &evil.config.list;
    match mode() {
        "values" => {
            batch.leave_as_is();
            for text in list {
                let card = reading(batch, text);
                *batch.labels(card) = vec![label("class", "gpu"), label("hostname", text), label("model", text)];
            }
        }
        // One more label of what makes the card itself.
        "keys" => {
            let mut identity: Vec<_> = list.iter().map(|key| label(key, "1")).collect();
            identity.push(label("uuid", "GPU-keys"));
            let card = batch.subject("accelerator", "keys", None, |s| s.identity = identity);
            batch.point(Metric(0), card, 5.0, None);
        }
        "kinds" => {
            for kind in list {
                let _ = batch.subject(kind, kind, None, |s| s.identity = vec![label("name", kind)]);
            }
        }
        "names" => {
            let card = reading(batch, "GPU-names");
            for name in list {
                let own = batch.metric(kcloud_collector_sdk::MetricDef {
                    name: name.clone(),
                    ..definition("x_evil", "watts", MetricKind::Gauge, Quality::Measured)
                });
                batch.point(own, card, 1.0, None);
            }
        }
        "events" => {
            let card = reading(batch, "GPU-events");
            list.iter().for_each(|text| batch.event(card, kcloud_collector_sdk::Event { code: text.clone(), ..output::event(text, text) }));
        }
        "problems" => list.iter().for_each(|text| batch.problem(CollectError::Protocol(text.clone()), None)),
        "errors" => return Some(Err(CollectError::Internal(list.concat()))),
        "long-error" => return Some(Err(CollectError::Internal("x\n".repeat(2 << 20)))),
        "lines" => list.iter().for_each(|text| log::emit(log::Level::Warn, text, &[label(text, text)])),
        "levels" => {
            for level in [log::Level::Trace, log::Level::Debug, log::Level::Info, log::Level::Warn, log::Level::Error] {
                say(level, &format!("{level:?} is enabled: {}", log::is_enabled(level)));
            }
            say(log::Level::Info, &format!("Debug is enabled: {}", log::is_enabled(log::Level::Debug)));
        }
        "chatter" => (0..10_000).for_each(|i| say(log::Level::Info, &format!("line {i}\nforged"))),
        _ => return None,
    }
    Some(Ok(()))
}

fn say(level: log::Level, line: &str) {
    log::emit(level, line, &[]);
}

fn target(config: &Config, id: String) -> Target {
    Target { id, address: config.url.clone(), cluster: String::new(), labels: vec![], credential: None, config: "{}".to_owned() }
}

/// One with each text as its id, and two that are wrong otherwise.
pub(crate) fn targets(config: &Config) -> Vec<Target> {
    let mut all: Vec<Target> = config.list.iter().map(|id| target(config, id.clone())).collect();
    all.push(Target { cluster: "not-mine".to_owned(), ..target(config, "foreign".to_owned()) });
    all.push(Target { address: "http://169.254.169.254/".to_owned(), ..target(config, "metadata".to_owned()) });
    all
}

pub(crate) fn many_targets(config: &Config) -> Vec<Target> {
    (0..10_500).map(|i| target(config, format!("t{i}"))).collect()
}
