//! What a program prints in a cell: a number with its unit, or one of many ways to say that there is none.

use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::SubjectRef;
use kcloud_collector_sdk::exporter::tables::{Cards, largest};

/// A cell's number in base units. `unit` is the one that stands elsewhere (the head of a column, a key), where the cell names none.
pub(crate) fn number(text: &str, unit: &str) -> Result<f64, GapReason> {
    let text = text.trim().trim_start_matches('(').trim_end_matches(')').trim();
    let lower = text.to_ascii_lowercase();
    match lower.trim_matches(['[', ']']) {
        "" => return Err(GapReason::Absent),
        "n/a" | "not supported" | "none" | "requested functionality has been deprecated" => return Err(GapReason::Unsupported),
        "insufficient permissions" => return Err(GapReason::Denied),
        _ => {}
    }
    let end = lower.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(lower.len());
    let (digits, own) = lower.split_at(end);
    let own = own.trim();
    let factor = factor(if own.is_empty() { unit } else { own }).ok_or(GapReason::Error)?;
    let value: f64 = digits.parse().map_err(|_| GapReason::Error)?;
    largest(value).map_or(Ok(value * factor), Err)
}

fn factor(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "w" | "c" | "b" | "rpm" | "v" | "a" | "celsius degree" => 1.0,
        "%" => 0.01,
        "mw" | "mv" => 1e-3,
        "uw" | "us" => 1e-6,
        "mhz" => 1e6,
        "kb/s" => 1e3,
        "kib" => 1_024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        _ => return None,
    })
}

/// Says a cell of a card; nothing where the dump has no such cell. 0 of what is never 0 is a gap.
pub(crate) fn say(cards: &mut Cards<'_, '_>, of: SubjectRef, metric: &'static str, cell: Option<&str>, unit: &str) {
    let is_never_zero =
        matches!(metric, "power_watts" | "temperature_celsius" | "memory_temperature_celsius" | "memory_total_bytes" | "power_limit_watts");
    match cell.map(|text| number(text, unit)) {
        None => {}
        Some(Ok(0.0)) if is_never_zero => cards.gap(metric, of, GapReason::Absent),
        Some(Ok(value)) => cards.value(metric, of, value, None),
        Some(Err(reason)) => cards.gap(metric, of, reason),
    }
}

/// A text, unless it says that there is none.
pub(crate) fn text(cell: Option<&str>) -> Option<&str> {
    cell.map(str::trim)
        .filter(|t| !t.is_empty() && !t.starts_with('[') && !t.eq_ignore_ascii_case("n/a") && !t.trim_matches('0').is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_a_number_in_base_units_or_the_reason_why_not() {
        for (cell, unit, expected) in [
            ("700.00 W", "", Ok(700.0)),
            (" 32362 MiB", "", Ok(32_362.0 * 1_048_576.0)),
            ("32362", "MiB", Ok(32_362.0 * 1_048_576.0)),
            ("100 %", "", Ok(1.0)),
            ("(1402Mhz)", "", Ok(1.402e9)),
            ("4000 KB/s", "", Ok(4e6)),
            ("31.00", "Celsius Degree", Ok(31.0)),
            ("[N/A]", "W", Err(GapReason::Unsupported)),
            ("[Requested functionality has been deprecated]", "", Err(GapReason::Unsupported)),
            ("[Insufficient Permissions]", "", Err(GapReason::Denied)),
            ("[Unknown Error]", "W", Err(GapReason::Error)),
            ("ERR!", "W", Err(GapReason::Error)),
            ("", "W", Err(GapReason::Absent)),
            ("-1", "W", Err(GapReason::Error)),
            ("4294967295", "", Err(GapReason::Unsupported)),
        ] {
            assert_eq!(number(cell, unit), expected, "{cell}");
        }
    }
}
