//! What a component says of itself: name and version, its configuration's JSON Schema, an operator's `[config]` as JSON, each
//! after a NUL. Whatever a stranger wrote there, it is judged at once, and nothing is fetched.

use std::time::Duration;

use kcloud_monitor::catalogue::{Catalogue, NamesLeft};
use kcloud_monitor::plugins::contract::Info;
use kcloud_monitor::plugins::{generation, schema};

/// CPU far above what a sane schema needs, in any build.
const AT_ONCE: Duration = Duration::from_secs(5);

/// CPU of this thread: a busy machine is not the schema's fault.
fn cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

pub fn run(input: &[u8]) {
    let [name, version, schema, config] = crate::parts::<4>(input).map(String::from_utf8_lossy);
    let info = Info {
        name: name.into_owned(),
        version: version.into_owned(),
        vendor: String::new(),
        description: String::new(),
        metrics: Vec::new(),
        config_schema: schema.into_owned(),
        bound_to_target: false,
    };
    match generation::described(&Catalogue::default(), &NamesLeft::default(), &info) {
        Ok(_) => assert!(info.name.len() <= 64 && info.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')),
        Err(why) => crate::assert_tellable(&why),
    }
    let config: serde_json::Value = serde_json::from_str(&config).unwrap_or_else(|_| serde_json::json!({}));
    let began = cpu();
    if let Err(error) = schema::check(&info.config_schema, &config) {
        crate::assert_tellable(&error.to_string());
    }
    let took = cpu().saturating_sub(began);
    assert!(took < AT_ONCE, "judging a schema took {took:?}");
}
