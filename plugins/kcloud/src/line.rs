//! The lines of a snapshot, format 1 (spec/API_SPECIFICATION.md, "The whole snapshot").

use std::borrow::Cow;
use std::fmt;

use kcloud_collector_sdk::{GapReason, Label, MetricKind, Quality, Severity};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

pub const FORMAT: u32 = 1;
pub const MEDIA: &str = "application/x-ndjson";

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line<'a> {
    Snapshot(Head),
    Sources(Vec<Source>),
    Metrics(Vec<MetricRow>),
    Sets(Vec<Vec<usize>>),
    #[serde(borrow)]
    Subject(SubjectLine<'a>),
    #[serde(borrow)]
    Event(EventLine<'a>),
    #[serde(borrow)]
    Gone(Cow<'a, str>),
    End(End),
}

#[derive(Deserialize)]
pub struct Head {
    pub format: u32,
    pub epoch: String,
    pub sequence: u64,
    /// Only what changed after this.
    pub since: Option<u64>,
}

#[derive(Deserialize, Clone)]
pub struct Source {
    pub index: u16,
    pub plugin: String,
    pub target: String,
    pub cluster: String,
    pub interval_ms: i64,
    pub last_success: Option<i64>,
    pub failures: u32,
    pub error: Option<String>,
    pub gone: bool,
}

/// Name, unit, kind, quality, states.
#[derive(Deserialize)]
pub struct MetricRow(
    pub String,
    pub String,
    #[serde(deserialize_with = "kind")] pub MetricKind,
    #[serde(deserialize_with = "quality")] pub Quality,
    pub Vec<String>,
);

#[derive(Deserialize)]
pub struct SubjectLine<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// With this, it is described anew.
    pub kind: Option<String>,
    pub parent: Option<String>,
    pub node: Option<String>,
    #[serde(default, deserialize_with = "labels")]
    pub identity: Vec<Label>,
    #[serde(default, deserialize_with = "labels")]
    pub labels: Vec<Label>,
    pub life: Life,
    /// When it was last heard of, in ms.
    pub seen: i64,
    pub readings: Vec<Group>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    Live,
    Stale,
    Offline,
}

/// Set, source, time in ms, values.
#[derive(Deserialize)]
pub struct Group(pub usize, pub u16, pub i64, pub Vec<Told>);

pub enum Told {
    Number(f64),
    Gap(GapReason),
}

#[derive(Deserialize)]
pub struct EventLine<'a> {
    #[serde(borrow)]
    pub subject: Cow<'a, str>,
    pub at: i64,
    #[serde(deserialize_with = "severity")]
    pub severity: Severity,
    pub code: String,
    pub message: String,
    pub key: String,
}

#[derive(Deserialize)]
pub struct End {
    pub subjects: usize,
    pub events: usize,
    pub gone: usize,
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Told;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or the reason of a gap")
            }

            fn visit_f64<E: Error>(self, v: f64) -> Result<Told, E> {
                Ok(Told::Number(v))
            }

            fn visit_u64<E: Error>(self, v: u64) -> Result<Told, E> {
                Ok(Told::Number(v as f64))
            }

            fn visit_i64<E: Error>(self, v: i64) -> Result<Told, E> {
                Ok(Told::Number(v as f64))
            }

            fn visit_str<E: Error>(self, v: &str) -> Result<Told, E> {
                Ok(Told::Gap(match v {
                    "unsupported" => GapReason::Unsupported,
                    "stale" => GapReason::Stale,
                    "denied" => GapReason::Denied,
                    "error" => GapReason::Error,
                    "absent" => GapReason::Absent,
                    other => return Err(E::unknown_variant(other, &["unsupported", "stale", "denied", "error", "absent"])),
                }))
            }
        }
        from.deserialize_any(Any)
    }
}

fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Label>, D::Error> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<Label>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("labels")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::with_capacity(map.size_hint().unwrap_or(12));
            while let Some((key, value)) = map.next_entry()? {
                all.push(Label { key, value });
            }
            Ok(all)
        }
    }
    from.deserialize_map(Pairs)
}

fn kind<'de, D: Deserializer<'de>>(from: D) -> Result<MetricKind, D::Error> {
    Ok(match Cow::<str>::deserialize(from)?.as_ref() {
        "gauge" => MetricKind::Gauge,
        "counter" => MetricKind::Counter,
        "state" => MetricKind::State,
        "histogram" => MetricKind::Histogram,
        "info" => MetricKind::Info,
        other => return Err(Error::unknown_variant(other, &["gauge", "counter", "state", "histogram", "info"])),
    })
}

fn quality<'de, D: Deserializer<'de>>(from: D) -> Result<Quality, D::Error> {
    Ok(match Cow::<str>::deserialize(from)?.as_ref() {
        "measured" => Quality::Measured,
        "derived" => Quality::Derived,
        "modelled" => Quality::Modelled,
        other => return Err(Error::unknown_variant(other, &["measured", "derived", "modelled"])),
    })
}

fn severity<'de, D: Deserializer<'de>>(from: D) -> Result<Severity, D::Error> {
    Ok(match Cow::<str>::deserialize(from)?.as_ref() {
        "info" => Severity::Info,
        "warning" => Severity::Warning,
        "critical" => Severity::Critical,
        other => return Err(Error::unknown_variant(other, &["info", "warning", "critical"])),
    })
}
