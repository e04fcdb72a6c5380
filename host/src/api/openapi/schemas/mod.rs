//! Every shape that leaves the host, as a table: field, type, meaning. A test of the running host holds answers to it.
//!
//! Types: `s` text, `t` moment, `n` number, `i` integer, `b` yes or no, `a|b|c` one of these words, `@Name` another shape,
//! `[…]` a list of, `{…}` a map to, `*` anything; `?` behind it may be null. `~` before a field: not always there.

mod accelerators;
mod alerts;
mod clusters;
mod export;
mod hardware;
mod infrastructure;
mod monitoring;
mod report;
mod system;

use serde_json::{Map, Value, json};

type Fields = &'static [(&'static str, &'static str, &'static str)];
type Shapes = &'static [(&'static str, &'static [Fields])];

/// To add a domain: a file beside this one, and its line here.
const ALL: [Shapes; 10] = [
    COMMON,
    accelerators::SHAPES,
    alerts::SHAPES,
    infrastructure::SHAPES,
    hardware::SHAPES,
    clusters::SHAPES,
    monitoring::SHAPES,
    report::SHAPES,
    export::SHAPES,
    system::SHAPES,
];

const ENVELOPE: Fields = &[
    ("timestamp", "t", "When this was written"),
    ("cluster", "s", "The cluster asked for, else `default`"),
    ("resource_type", "s", "What the rows are"),
    ("metadata", "@Metadata", ""),
];

const TIMED: Fields = &[
    ("~timeseries", "{[@Observation]}", "By field; only with a window"),
    ("~start_time", "t", "The window that was used"),
    ("~end_time", "t", ""),
    ("~step_seconds", "n", "The step that was used; steps begin at multiples of it from the Unix epoch"),
];

#[rustfmt::skip]
const COMMON: Shapes = &[
    ("Metadata", &[&[
        ("total_count", "i", "Rows over all pages"),
        ("query_time_ms", "n", ""),
        ("cache_hit", "b", "The data was rendered before for this snapshot"),
        ("data_source", "[s]", "Plugins that feed the snapshot"),
        ("sequence", "i", "Number of the snapshot; two answers with one number see one world"),
        ("as_of", "t", "When the snapshot was made"),
        ("partial", "b", "Some sources do not answer"),
        ("warnings", "[s]", ""),
        ("~window", "@Window", "Of a time series: what was really used"),
        ("~history", "@Seam", "Where a time series passes from another's memory to this host's own"),
    ]]),
    ("Seam", &[&[
        ("source", "s", "Who answered for what lies before: plugin/target, or prometheus where that is the history backend"),
        ("until", "t", "From here on this host's own store answers, where it has anything"),
    ]]),
    ("Problem", &[&[
        ("type", "s", "URN of the kind of error"),
        ("title", "s", ""),
        ("status", "i", "The HTTP status"),
        ("detail", "s", "What was wrong and what is allowed"),
        ("error", "@Error", ""),
        ("timestamp", "t", ""),
    ]]),
    ("Error", &[&[
        ("code", "UNAUTHORIZED|FORBIDDEN|NOT_FOUND|INVALID_PARAMETER|AMBIGUOUS_ID|CONFLICT|TOO_MANY_REQUESTS|METHOD_NOT_ALLOWED|UPGRADE_REQUIRED|UNAVAILABLE|INTERNAL_ERROR", ""),
        ("message", "s", ""),
        ("details", "{*}", "By code: the parameter, the candidates"),
    ]]),
    ("Observation", &[&[("timestamp", "t", "Start of the step"), ("value", "n?", "Mean of the step; null without an observation")]]),
];

/// Rows of which `fields` may choose a part.
const CHOSEN: [&str; 9] = ["Alert", "Gpu", "Npu", "Accelerator", "Node", "Pod", "Container", "Vm", "BmcSensor"];

/// All shapes by name.
pub(super) fn components() -> Map<String, Value> {
    ALL.into_iter()
        .flatten()
        .map(|(name, parts)| ((*name).to_owned(), shape(parts.iter().copied().flatten(), !CHOSEN.contains(name))))
        .collect()
}

/// The envelope, to which the caller adds `data`.
pub(super) fn envelope() -> Value {
    let mut schema = shape(ENVELOPE.iter(), true);
    if let Some(required) = schema["required"].as_array_mut() {
        required.push(json!("data"));
    }
    schema
}

fn shape<'a>(fields: impl Iterator<Item = &'a (&'static str, &'static str, &'static str)>, is_whole: bool) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, kind, description) in fields {
        let mut schema = of(kind);
        if !description.is_empty() {
            schema["description"] = json!(description);
        }
        let (name, always) = name.strip_prefix('~').map_or((*name, is_whole), |n| (n, false));
        if always {
            required.push(name);
        }
        properties.insert(name.to_owned(), schema);
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn of(kind: &str) -> Value {
    if let Some(inner) = kind.strip_suffix('?') {
        let mut schema = of(inner);
        return match (schema.get("type"), schema.get("enum").cloned()) {
            (Some(_), Some(Value::Array(mut words))) => {
                words.push(Value::Null);
                json!({ "enum": words })
            }
            (Some(simple), _) => {
                schema["type"] = json!([simple, "null"]);
                schema
            }
            (None, _) => json!({ "anyOf": [schema, { "type": "null" }] }),
        };
    }
    let inside = |open, close| kind.strip_prefix(open).and_then(|k: &str| k.strip_suffix(close));
    if let Some(items) = inside('[', ']') {
        return json!({ "type": "array", "items": of(items) });
    }
    if let Some(values) = inside('{', '}') {
        return json!({ "type": "object", "additionalProperties": of(values) });
    }
    match kind {
        "s" => json!({ "type": "string" }),
        "t" => json!({ "type": "string", "format": "date-time" }),
        "n" => json!({ "type": "number" }),
        "i" => json!({ "type": "integer" }),
        "b" => json!({ "type": "boolean" }),
        "*" => json!({}),
        _ => match kind.strip_prefix('@') {
            Some(name) => super::reference(name),
            None => json!({ "type": "string", "enum": kind.split('|').collect::<Vec<_>>() }),
        },
    }
}
