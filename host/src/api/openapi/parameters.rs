//! Every query and path parameter, once.

use serde_json::{Value, json};

use super::super::v1::accelerators::STATUSES;
use crate::power::By;

pub(super) fn in_query(name: &str) -> Value {
    let text = || json!({ "type": "string" });
    let flag = || json!({ "type": "boolean", "default": false });
    let moment = || json!({ "type": "string", "format": "date-time" });
    let (schema, description) = match name {
        "cluster" => (text(), "Name of a configured cluster"),
        "node" => (text(), "Name of a node, as in `worker1`"),
        "status" => (json!({ "type": "string", "enum": STATUSES }), "What the card is doing"),
        "vendor" => (text(), "Such as `nvidia`; an open set"),
        "model" => (text(), "Model name, in full"),
        "limit" => (json!({ "type": "integer", "minimum": 1, "maximum": 1_000, "default": 100 }), "Rows of a page"),
        "offset" => (json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX, "default": 0 }), "Rows to pass by"),
        "sort" => (text(), "A field, with `-` for descending: `-power_watts`. What is unknown comes last"),
        "fields" => (text(), "Only these fields of each row, separated by commas"),
        "include_metrics" => (flag(), "With the readings"),
        "include_reasons" => (flag(), "With `unavailable`: why each missing reading is missing"),
        "period" => (
            json!({ "type": "string", "default": "5m" }),
            "How far back: a number with a unit (s m h d w mo). `1m` is one month, as documented",
        ),
        "breakdown_by" => (json!({ "type": "string", "enum": By::NAMES }), "The view; in a time series all but `workload`"),
        "include_efficiency" => (flag(), "With what the watts are for"),
        "resource_types" => (text(), "Parts to show beneath the total, separated by commas: gpus npus nodes pods vms ipmi"),
        "resource_type" => {
            (json!({ "type": "string", "enum": ["gpus", "npus", "accelerators", "nodes"], "default": "gpus" }), "Whose metric")
        }
        "metric_name" => {
            (json!({ "type": "string", "enum": ["utilization", "temperature", "memory_usage", "power"] }), "Which metric; needed")
        }
        "step" => (text(), "Distance of the points: a number with a unit (s m h d w mo). Default: a sixtieth of the window"),
        "start_time" | "start" => (moment(), "Start of the window, RFC 3339 with any offset; not with `period`"),
        "end_time" | "end" => (moment(), "End of the window, RFC 3339 with any offset; default: now"),
        other => (text(), other),
    };
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

pub(super) fn in_path(path: &str, name: &str) -> Value {
    let description = match name {
        "id" if path.contains("/keys/") => "An API key's id",
        "id" => "A UUID, `node:device` (`worker1:nvidia0`), or a device name that only one node has",
        _ if path.contains("/clusters/") => "Name of a configured cluster",
        _ => "Name of a plugin",
    };
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" }, "description": description })
}
