//! Entries of log services as events, the newest of each, a bounded number.

use kcloud_collector_sdk::{Batch, Event, Severity, SubjectRef};
use serde_json::Value;

use crate::service::Service;
use crate::value::{id, link, num, text};

/// Of one log and one read: what was there before came with an earlier read.
const NEWEST: usize = 50;
/// Logs of other things than the hardware's health.
const OTHER: [&str; 9] = ["audit", "dump", "post", "journal", "debug", "syslog", "security", "session", "lclog"];
/// No event is older; a clock that was never set says so.
const OLDEST_MS: i64 = 1_000_000_000_000;

/// Reads the logs that a resource has.
pub(crate) fn read(service: &mut Service<'_>, batch: &mut Batch, of: &Value, subject: SubjectRef) {
    let is_wanted = |name: &str| !OTHER.iter().any(|other| name.to_ascii_lowercase().contains(other));
    let Ok(logs) = service.members(of, "LogServices", |path| is_wanted(crate::value::last(path))) else { return };
    for log in logs.iter().filter(|l| is_wanted(&id(l)) && l["ServiceEnabled"].as_bool() != Some(false)) {
        let Some(path) = link(&log["Entries"]).map(str::to_owned) else { continue };
        let Ok(mut page) = service.get(&path) else { continue };
        let count = num(&page["Members@odata.count"]).map_or(0, |n| n as usize);
        let shown = page["Members"].as_array().map_or(0, Vec::len);
        // The oldest first, and more than a page: the last page holds the newest.
        if count > shown
            && is_ascending(&page)
            && let Ok(last) = service.get(&format!("{path}?$skip={}", count.saturating_sub(NEWEST)))
        {
            page = last;
        }
        let mut entries: Vec<&Value> = page["Members"].as_array().into_iter().flatten().filter(|e| e["Message"].is_string()).collect();
        entries.sort_by_key(|e| std::cmp::Reverse(at_ms(e)));
        for entry in entries.into_iter().take(NEWEST) {
            batch.event(subject, event(entry, &id(log)));
        }
    }
}

fn is_ascending(page: &Value) -> bool {
    let at = |i: usize| at_ms(&page["Members"][i]);
    let last = page["Members"].as_array().map_or(0, Vec::len).saturating_sub(1);
    at(0) <= at(last)
}

fn event(entry: &Value, log: &str) -> Event {
    let severity = match entry["Severity"].as_str().or_else(|| entry["EntrySeverity"].as_str()).unwrap_or("") {
        "Critical" => Severity::Critical,
        "Warning" => Severity::Warning,
        _ => Severity::Info,
    };
    // The registry's name and version change with the firmware; what it says does not.
    let code = text(&entry["MessageId"]).or_else(|| text(&entry["EntryCode"])).or_else(|| text(&entry["EntryType"])).unwrap_or_default();
    let code = code.rsplit('.').next().unwrap_or(&code).to_ascii_lowercase().replace(' ', "-");
    let at = at_ms(entry).filter(|ms| *ms >= OLDEST_MS).and_then(|ms| u64::try_from(ms).ok()?.checked_mul(1_000_000));
    let created = entry["Created"].as_str().unwrap_or("");
    Event {
        subject: 0,
        at,
        severity,
        code: format!("redfish:{code}"),
        message: text(&entry["Message"]).unwrap_or_default(),
        // An id comes again once a log was cleared.
        key: format!("{log}/{}/{created}", id(entry)),
    }
}

/// Milliseconds since 1970 of `2026-01-02T03:04:05+09:00`.
fn at_ms(entry: &Value) -> Option<i64> {
    let text = entry["EventTimestamp"].as_str().or_else(|| entry["Created"].as_str())?;
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let (hour, minute, second) = (part(11..13)?, part(14..16)?, part(17..19)?);
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [] | [b'Z' | b'z', ..] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days of the Gregorian calendar, years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stamps_of_every_zone_are_one_time() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-01-02T03:04:05Z", Some(1_767_323_045_000)),
            ("2026-01-02T12:04:05.123+09:00", Some(1_767_323_045_000)),
            ("2026-01-01T22:04:05-05:00", Some(1_767_323_045_000)),
            ("2024-02-29T00:00:00", Some(1_709_164_800_000)),
            ("2026-13-02T03:04:05Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(at_ms(&json!({ "Created": text })), expected, "{text}");
        }
    }
}
