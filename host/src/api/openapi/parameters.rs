//! Every query and path parameter, once.

use serde_json::{Value, json};

use super::super::v1::accelerators::TYPES as TYPES_OF_CARDS;
use super::super::v1::alerts::{SEVERITIES, STATES};
use super::super::v1::export::request::resource_names;
use super::super::v1::hardware::sensors::TYPES;
use super::super::v1::infrastructure::nodes::ROLES;
use crate::export::Format;
use crate::export::plan::AGGREGATES;
use crate::power::By;
use crate::report::{Format as ReportFormat, Lang, Template};
use crate::stream::topic::Resource;

pub(super) fn in_query(path: &str, name: &str) -> Value {
    let is_export = path.contains("/export/");
    let text = || json!({ "type": "string" });
    let flag = || json!({ "type": "boolean", "default": false });
    let positive = || json!({ "type": "number", "exclusiveMinimum": 0 });
    let moment = || json!({ "type": "string", "format": "date-time" });
    let (schema, description) = match name {
        "state" => (
            json!({ "type": "string", "enum": STATES }),
            "State of an alert: pending or firing in the list, firing or resolved in the history",
        ),
        "severity" => (json!({ "type": "string", "enum": SEVERITIES }), "Severity of an alert"),
        "rule" => (text(), "Name of a rule"),
        "acknowledged" => (json!({ "type": "boolean" }), "Only those that somebody acknowledged, or only the others"),
        "silenced" => (json!({ "type": "boolean" }), "Only those that a silence covers, or only the others"),
        "type" => (json!({ "type": "string", "enum": TYPES_OF_CARDS }), "Class of accelerators"),
        "cluster" => (text(), "Name of a configured cluster"),
        "node" => (text(), "Name of a node, as in `worker1`"),
        "status" => (text(), "One of the states that the field `status` of the rows may have"),
        "since" => {
            (json!({ "type": "integer", "minimum": 0 }), "The sequence of an answer before: only what changed after it; with its epoch")
        }
        "epoch" => (text(), "The epoch of that answer: which run of the host it was of"),
        "role" => (json!({ "type": "string", "enum": ROLES }), "Role of a node"),
        "sensor_type" => (json!({ "type": "string", "enum": TYPES }), "What is read"),
        "namespace" => (text(), "Kubernetes namespace"),
        "pod" => (text(), "Name of a pod"),
        "project" => (text(), "Name or id of a project"),
        "hypervisor" => (text(), "Name of a hypervisor"),
        "has_gpu" => (json!({ "type": "boolean" }), "Only those with GPUs, or only those without"),
        "label_selector" => (text(), "As in Kubernetes: `a=b, a!=b, a in (x,y), a notin (x,y), a, !a`"),
        "min_power" => (json!({ "type": "number" }), "At least these watts"),
        "max_power" => (json!({ "type": "number" }), "At most these watts"),
        "include_power" => (json!({ "type": "boolean" }), "With its watts; of a detail also over the window. Default: true for pods"),
        "include_terminated" => (flag(), "With containers that have ended"),
        "include_pods" => (json!({ "type": "boolean", "default": true }), "With pods"),
        "vendor" => (text(), "Such as `nvidia`; an open set"),
        "model" => (text(), "Model name, in full"),
        "limit" => (json!({ "type": "integer", "minimum": 1, "maximum": 1_000, "default": 100 }), "Rows of a page"),
        "offset" => (json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX, "default": 0 }), "Rows to pass by"),
        "sort" => (text(), "A field, with `-` for descending: `-power_watts`. What is unknown comes last"),
        "fields" => (text(), "Only these fields of each row, separated by commas"),
        "include_metrics" => (flag(), "With the readings"),
        "include_reasons" => (flag(), "With `unavailable`: why each missing reading is missing"),
        "period" if is_export => (
            json!({ "type": "string", "default": "1h" }),
            "How far back: a number with a unit (s m h d w mo). `1m` is one month, as documented",
        ),
        "period" => (
            json!({ "type": "string", "default": "5m" }),
            "How far back: a number with a unit (s m h d w mo). `1m` is one month, as documented",
        ),
        "breakdown_by" => (json!({ "type": "string", "enum": By::NAMES }), "The view"),
        "include_efficiency" => (flag(), "With what the watts are for"),
        "resource_types" => (text(), "Parts to show beneath the total, separated by commas: gpus npus nodes pods vms ipmi"),
        "resource_type" if path.ends_with("/stream/metrics") => {
            (json!({ "type": "string", "enum": Resource::METRICS, "default": "gpus" }), "Whose metric")
        }
        "resource_type" if path.contains("/stream/") || path.contains("/events/") => {
            (json!({ "type": "string", "enum": Resource::POWER }), "Each of these beside the total")
        }
        "metric_name" if path.contains("/stream/") => (
            json!({ "type": "string", "default": "utilization" }),
            "utilization, temperature, memory_usage, power, or a documented field such as `clock_sm_mhz`",
        ),
        "format" if !path.ends_with("/report") => {
            (json!({ "type": "string", "enum": Format::ALL.map(Format::name), "default": "json" }), "What kind of file")
        }
        "aggregate" => (
            json!({ "type": "string", "enum": AGGREGATES.map(|(name, _)| name) }),
            "What becomes of the observations of a step. Default: the mean of gauges, the last of counters and states",
        ),
        "bom" => (flag(), "CSV begins with a byte order mark, which Excel in Korean needs"),
        "resource_type" if is_export => (
            json!({ "type": "string", "enum": resource_names() }),
            "Whose rows. Default of metrics: accelerators; of power: totals of clusters. Not with `breakdown_by`",
        ),
        "metric_name" if is_export => (
            text(),
            "Metrics separated by commas, or `all`: documented names (`memory_used_mb`) or those of the catalogue in base units (`memory_used_bytes`)",
        ),
        "step" if is_export => (
            text(),
            "Distance of the rows: a number with a unit (s m h d w mo), or `raw` for each observation as it came. Default: 5m, or a sixtieth of a window below an hour",
        ),
        "resource_type" => {
            (json!({ "type": "string", "enum": ["gpus", "npus", "accelerators", "nodes"], "default": "gpus" }), "Whose metric")
        }
        "metric_name" => {
            (json!({ "type": "string", "enum": ["utilization", "temperature", "memory_usage", "power"] }), "Which metric; needed")
        }
        "interval" => (json!({ "type": "integer", "minimum": 1, "maximum": 60, "default": 5 }), "Seconds between two frames at least"),
        "delta" => (flag(), "After the first frame only what changed"),
        "threshold_watts" => (positive(), "Told when more is drawn"),
        "clear_watts" => (positive(), "Cleared when less is drawn; default: 95 % of the threshold"),
        "for" => (text(), "How long the threshold must be passed: a number with a unit (s m h d w mo)"),
        "spike_percent" => (positive(), "A jump by more than this is told; default: 10"),
        "last_event_id" => (text(), "As the header `Last-Event-ID`, for who cannot set it"),
        "step" => (text(), "Distance of the points: a number with a unit (s m h d w mo). Default: a sixtieth of the window"),
        "start_time" | "start" => (moment(), "Start of the window, RFC 3339 with any offset; not with `period`"),
        "end_time" | "end" => (moment(), "End of the window, RFC 3339 with any offset; default: now"),
        "template" => (json!({ "type": "string", "enum": Template::NAMES, "default": "daily" }), "Which report"),
        "format" => (json!({ "type": "string", "enum": ReportFormat::NAMES, "default": "pdf" }), "What kind of file"),
        "lang" => (json!({ "type": "string", "enum": Lang::NAMES }), "Language of what is read by eye; default: as configured"),
        "timezone" => (text(), "Where days begin: `Z`, or an offset such as `+09:00`; default: as configured"),
        "start_date" => (
            json!({ "type": "string", "format": "date" }),
            "First day; of a monthly report any day of it. Default: the last whole day, week or month",
        ),
        "end_date" => (json!({ "type": "string", "format": "date" }), "Last day, which is in it"),
        other => (text(), other),
    };
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

pub(super) fn in_path(path: &str, name: &str) -> Value {
    let description = match name {
        "id" if path.contains("/silences/") => "A silence's id",
        "id" if path.contains("/alerts/") => "An alert's id",
        "id" if path.contains("/keys/") => "An API key's id",
        "id" if path.contains("/jobs/") => "A job's id",
        "id" if path.contains("/containers/") => "A runtime id (percent-encoded, or without its scheme), or `namespace/pod/container`",
        "id" if path.contains("/vms/") => "The UUID of a virtual machine, or a name that only one has",
        "name" if path.contains("/nodes/") => "Name of a node",
        "name" if path.contains("/containers/") => "Name of a container",
        "namespace" => "Kubernetes namespace",
        "pod" => "Name of a pod",
        "name" if path.contains("/pods/") => "Name of a pod",
        "node" => "Name of a node, or the address of its BMC",
        "id" => "A UUID, `node:device` (`worker1:nvidia0`), or a device name that only one node has",
        _ if path.contains("/clusters/") => "Name of a configured cluster",
        _ => "Name of a plugin",
    };
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" }, "description": description })
}
