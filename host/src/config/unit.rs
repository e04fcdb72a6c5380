//! Values that carry their unit in the file.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// A hundred years: what is longer is a mistake, and leaves what clocks can say.
const LONGEST_MS: u64 = 36_500 * 86_400_000;

/// `250ms`, `15s`, `5m`, `1h`, `7d`. A bare number is refused: nobody knows its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Period(pub Duration);

/// `64MiB`, `32KiB`, `10MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Bytes(pub usize);

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let (each, unit) = units.into_iter().find(|(each, _)| ms.is_multiple_of(*each)).unwrap_or((1, "ms"));
        write!(f, "{}{unit}", ms / each)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(each, _)| self.0 >= *each && self.0.is_multiple_of(*each)) {
            Some((each, unit)) => write!(f, "{}{unit}", self.0 / each),
            // There is no smaller unit; thousands are exact for what a file can say.
            None => write!(f, "{}kB", self.0 / 1_000),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..at].parse().ok()?, &text[at..]))
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed = split(&text).and_then(|(n, unit)| {
            let ms = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            n.checked_mul(ms).filter(|ms| (1..=LONGEST_MS).contains(ms)).map(Duration::from_millis)
        });
        parsed.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no duration; write a number above 0 with its unit: ms s m h d, such as \"15s\", at most 36500d"
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed = split(&text).and_then(|(n, unit)| {
            let unit = match unit {
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                "kB" => 1_000,
                "MB" => 1_000_000,
                "GB" => 1_000_000_000,
                _ => return None,
            };
            usize::try_from(n.checked_mul(unit)?).ok()
        });
        parsed.map(Self).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is no size; write a number with its unit: KiB MiB GiB kB MB GB, such as \"64MiB\""))
        })
    }
}
