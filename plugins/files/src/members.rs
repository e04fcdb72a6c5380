//! Values inside a text: members of JSON, lines with a key.

use serde_json::Value;

use crate::pattern::{Parts, Pattern};

/// The rest of the line that begins with a key and = or :.
pub(crate) fn line<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|l| l.trim_start().strip_prefix(key)?.trim_start().strip_prefix(['=', ':'])).map(str::trim)
}

/// A member: below the row, or with a / at its front from the top.
pub(crate) fn member<'v>(path: &str, top: &'v Value, at: &'v Value) -> Option<&'v Value> {
    let (from, path) = match path.strip_prefix('/') {
        Some(rest) => (top, rest),
        None => (at, path),
    };
    if path.is_empty() {
        return Some(from);
    }
    path.split('/').try_fold(from, |v, name| match v {
        Value::Object(all) => all.get(name),
        Value::Array(all) => all.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// All members that a pattern matches.
pub(crate) fn members<'v>(pattern: &Pattern, top: &'v Value, at: &'v Value, parts: &Parts) -> Vec<(&'v Value, Parts)> {
    let mut found = vec![(if pattern.is_absolute { top } else { at }, parts.clone())];
    for i in 0..pattern.elements().count() {
        let mut next = Vec::new();
        for (value, parts) in found {
            let mut take = |name: &str, value: &'v Value| {
                if let Some(own) = pattern.fits(i, name) {
                    next.push((value, parts.iter().cloned().chain(own).collect()));
                }
            };
            match value {
                Value::Object(all) => all.iter().for_each(|(name, v)| take(name, v)),
                Value::Array(all) => all.iter().enumerate().for_each(|(i, v)| take(&i.to_string(), v)),
                _ => {}
            }
        }
        found = next;
    }
    found
}
