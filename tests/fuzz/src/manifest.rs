//! `plugins.d/NAME.toml`, and the file of targets beside it after a NUL: `TARGETS_TOML` and `TARGETS_JSON`
//! in the first stand for the second under such a name.

use std::collections::HashSet;

use kcloud_monitor::config::{Config, Loader};
use tokio::sync::Semaphore;

pub fn run(input: &[u8]) {
    let [manifest, targets] = crate::parts(input);
    let all = crate::folder();
    let folder = all.path().join("plugins.d");
    std::fs::create_dir(&folder).expect("in memory");
    let (toml, json) = (all.path().join("targets.toml"), all.path().join("targets.json"));
    let text = String::from_utf8_lossy(manifest);
    // Files that the input names stay unread; ours stand in for them.
    let text = text.replace("TARGETS_TOML", &toml.display().to_string()).replace("TARGETS_JSON", &json.display().to_string());
    let named = text.parse::<toml::Table>().ok().and_then(|t| t.get("target_files")?.get("paths")?.as_array().cloned());
    let ours = [toml.to_str(), json.to_str()];
    if named.into_iter().flatten().any(|path| path.is_str() && !ours.contains(&path.as_str())) {
        return;
    }
    std::fs::write(&toml, targets).expect("in memory");
    std::fs::write(&json, targets).expect("in memory");
    std::fs::write(folder.join("p.toml"), &text).expect("in memory");
    let mut config = Config::default();
    config.plugins.config_dir = folder;
    let look = Loader::default().look(&config);
    assert!(look.settings.len() == 1 || !look.problems.is_empty());
    for s in &look.settings {
        assert!(!s.component.is_empty() && !s.component.starts_with('.') && !s.component.contains(['/', '\\', '\0']));
        let ids: HashSet<&str> = s.targets.iter().map(|(t, _)| t.id.as_str()).collect();
        assert_eq!(ids.len(), s.targets.len());
        assert!(ids.iter().all(|id| (1..=256).contains(&id.len()) && !id.chars().any(char::is_control)));
        assert!(s.targets.iter().all(|(t, _)| s.clusters.contains(&t.cluster)));
        assert!(s.targets.iter().all(|(t, _)| serde_json::from_str::<serde_json::Value>(&t.config).is_ok_and(|c| c.is_object())));
        // What the runtime makes of them.
        assert!(s.limits.instances <= Semaphore::MAX_PERMITS, "{} instances", s.limits.instances);
        let periods = s.targets.iter().filter_map(|(_, interval)| *interval).chain([s.interval, s.timeout, s.limits.cpu]);
        for period in periods {
            assert!(i64::try_from(period.as_millis()).is_ok_and(|ms| ms.checked_mul(4).is_some()), "{period:?} is no time to wait");
        }
        if let Some(policy) = &s.grants.http {
            s.targets.iter().for_each(|(t, _)| drop(policy.check("GET", &t.address, &[])));
        }
    }
}
