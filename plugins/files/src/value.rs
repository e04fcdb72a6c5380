//! What a source wrote, and what it means: a number, a name, or that there is none.

use kcloud_collector_sdk::GapReason;
use serde_json::Value;

use crate::units;

/// What was found where a table says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Got {
    Text(String),
    Number(f64),
    /// Nothing stands there.
    Missing,
    /// It could not be read, and why.
    Failed(GapReason, String),
}

impl Got {
    pub(crate) fn of_json(value: Option<&Value>) -> Self {
        match value {
            None | Some(Value::Null) => Self::Missing,
            // Ids beyond 2⁵³ keep their last digits as text.
            Some(Value::Number(n)) => match n.as_f64() {
                Some(f) if f.abs() < 9e15 => Self::Number(f),
                _ => Self::Text(n.to_string()),
            },
            Some(Value::String(text)) => Self::Text(text.clone()),
            Some(Value::Bool(b)) => Self::Text(b.to_string()),
            Some(Value::Array(_)) => Self::Failed(GapReason::Error, "a list stands there, no value".to_owned()),
            Some(Value::Object(_)) => Self::Failed(GapReason::Error, "an object stands there, no value".to_owned()),
        }
    }

    /// As text, where there is some.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.trim().to_owned()).filter(|t| !t.is_empty()),
            Self::Number(n) => Some(n.to_string()),
            Self::Missing | Self::Failed(..) => None,
        }
    }
}

/// A value that stands for none.
#[derive(Debug, Clone)]
pub(crate) struct Sentinel {
    pub(crate) text: String,
    pub(crate) number: Option<f64>,
    pub(crate) reason: GapReason,
}

impl Sentinel {
    pub(crate) fn is(&self, got: &Got) -> bool {
        match got {
            Got::Number(n) => self.number.is_some_and(|s| s == *n || (s.is_nan() && n.is_nan())),
            Got::Text(text) => {
                let text = text.trim();
                text == self.text || self.number.is_some_and(|s| number(text).is_some_and(|n| n == s || (s.is_nan() && n.is_nan())))
            }
            Got::Missing | Got::Failed(..) => false,
        }
    }
}

/// What every source may write for "none", in small letters.
const NOTHING: &[(&str, GapReason)] = &[
    ("", GapReason::Absent),
    ("-", GapReason::Absent),
    ("--", GapReason::Absent),
    ("none", GapReason::Absent),
    ("null", GapReason::Absent),
    ("unknown", GapReason::Absent),
    ("n/a", GapReason::Unsupported),
    ("na", GapReason::Unsupported),
    ("[n/a]", GapReason::Unsupported),
    ("not supported", GapReason::Unsupported),
    ("[not supported]", GapReason::Unsupported),
    ("not available", GapReason::Unsupported),
];

pub(crate) fn nothing(text: &str) -> Option<GapReason> {
    let text = text.trim().to_ascii_lowercase();
    NOTHING.iter().find(|(n, _)| *n == text).map(|(_, reason)| *reason)
}

/// A number, also in hexadecimal.
pub(crate) fn number(text: &str) -> Option<f64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|n| n as f64),
        None => text.parse().ok(),
    }
}

/// A thousandth is exact as a division: 84850 m°C are 84.85 °C.
fn scaled(n: f64, factor: f64) -> f64 {
    let inverse = (1.0 / factor).round();
    if factor.abs() < 1.0 && 1.0 / inverse == factor { n / inverse } else { n * factor }
}

/// A number in base units. A unit that the source writes behind it goes before the table's own: the source knows better.
pub(crate) fn measured(got: &Got, unit: &str, factor: f64, offset: f64) -> Result<f64, String> {
    let text = match got {
        Got::Number(n) => return Ok(scaled(*n, factor) + offset),
        Got::Text(text) => text.trim(),
        Got::Missing | Got::Failed(..) => return Err("nothing stands there".to_owned()),
    };
    let short = || text.chars().take(40).collect::<String>();
    if let Some(n) = number(text) {
        return Ok(scaled(n, factor) + offset);
    }
    let at = text.find(|c: char| c.is_whitespace() || c == '%' || c.is_alphabetic() && !matches!(c, 'e' | 'E')).unwrap_or(text.len());
    let (head, tail) = text.split_at(at);
    let n = number(head.trim()).ok_or_else(|| format!("{:?} is no number", short()))?;
    match units::factor(unit, tail.trim()) {
        Some(own) => Ok(scaled(n, own)),
        None => Err(format!("{:?} is in no known unit of {unit}: {}", short(), units::known(unit).join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_as_sources_write_them() {
        let read = |text: &str, unit: &str, factor: f64| measured(&Got::Text(text.to_owned()), unit, factor, 0.0);
        for (text, unit, factor, expected) in [
            ("45000\n", "celsius", 1e-3, 45.0),
            (" 70.00 W", "watts", 1e-3, 70.0),
            ("87%", "ratio", 1.0, 0.87),
            ("81920 MiB", "bytes", 1.0, 85_899_345_920.0),
            ("0x10", "count", 1.0, 16.0),
            ("1.103806595072e+12", "bytes", 1.0, 1.103806595072e12),
            ("43 °C", "celsius", 1e-3, 43.0),
        ] {
            assert_eq!(read(text, unit, factor), Ok(expected), "{text}");
        }
        for bad in ["fast", "70 furlongs", "12 34", "1e", "", "한"] {
            assert!(read(bad, "watts", 1.0).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sentinel_is_known_in_every_spelling() {
        let sentinel = |text: &str| Sentinel { text: text.to_owned(), number: number(text), reason: GapReason::Error };
        for (of, got, expected) in [
            ("-1", Got::Number(-1.0), true),
            ("-1", Got::Text("-1.0\n".into()), true),
            ("0xFFFFFFFF", Got::Text("4294967295".into()), true),
            ("NaN", Got::Number(f64::NAN), true),
            ("off", Got::Text("off".into()), true),
            ("-1", Got::Number(1.0), false),
            ("off", Got::Missing, false),
        ] {
            assert_eq!(sentinel(of).is(&got), expected, "{of} {got:?}");
        }
        assert_eq!((nothing(" N/A\n"), nothing("")), (Some(GapReason::Unsupported), Some(GapReason::Absent)));
    }
}
