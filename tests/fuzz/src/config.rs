//! `kcloud-monitor.toml` and the environment over it: the file, then `NAME=VALUE` after each NUL.

use std::path::Path;

use kcloud_monitor::config::Config;

pub fn run(input: &[u8]) {
    let mut parts = input.split(|b| *b == 0).map(String::from_utf8_lossy);
    let text = parts.next().unwrap_or_default();
    let folder = crate::folder();
    let path = folder.path().join("kcloud-monitor.toml");
    std::fs::write(&path, text.as_bytes()).expect("in memory");
    let environment: Vec<(String, String)> = parts.take(8).enumerate().filter_map(|(i, part)| variable(folder.path(), i, &part)).collect();
    let all = || environment.iter().cloned();
    let config = match Config::load(&path, all()) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.0.is_empty());
            return;
        }
    };
    let keys = Config::origins(&path, all()).expect("what loads has origins");
    assert!(keys.iter().all(|k| !k.origin.is_empty()));
    assert!(config.needs_restart(&config).is_empty());
    // What is written back is read as the same.
    let written = toml::to_string(&config).expect("a configuration is TOML");
    let again = folder.path().join("again.toml");
    std::fs::write(&again, &written).expect("in memory");
    let read = Config::load(&again, std::iter::empty()).unwrap_or_else(|e| panic!("{e}\n{written}"));
    assert_eq!(format!("{read:?}"), format!("{config:?}"));
    times(&config);
}

/// Times are added to the clock, three times over; none may leave what a clock can say.
fn times(config: &Config) {
    let keep = config.history.keep();
    for period in [config.inventory.forget_after.0, keep.raw, keep.minutes, keep.hours] {
        assert!(i64::try_from(period.as_millis()).is_ok_and(|ms| ms.checked_mul(4).is_some()), "{period:?} is no time to wait");
    }
}

/// `_FILE` names a file with what the input gives; the input itself names none.
fn variable(folder: &Path, i: usize, text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    if !name.to_ascii_lowercase().ends_with("_file") {
        return Some((name.to_owned(), value.to_owned()));
    }
    let path = folder.join(format!("variable-{i}"));
    std::fs::write(&path, value).expect("in memory");
    Some((name.to_owned(), path.display().to_string()))
}
