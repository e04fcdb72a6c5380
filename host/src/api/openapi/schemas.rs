//! Every shape that leaves the host, as a table: field, type, meaning. A test of the running host holds answers to it.
//!
//! Types: `s` text, `t` moment, `n` number, `i` integer, `b` yes or no, `a|b|c` one of these words, `@Name` another shape,
//! `[…]` a list of, `{…}` a map to, `*` anything; `?` behind it may be null. `~` before a field: not always there.

use serde_json::{Map, Value, json};

type Fields = &'static [(&'static str, &'static str, &'static str)];

const ENVELOPE: Fields = &[
    ("timestamp", "t", "When this was written"),
    ("cluster", "s", "The cluster asked for, else `default`"),
    ("resource_type", "s", "What the rows are"),
    ("metadata", "@Metadata", ""),
];

#[rustfmt::skip] // One row a field.
const CARD: Fields = &[
    ("uuid", "s?", "The vendor's UUID"),
    ("device_index", "i?", "Number on its node"),
    ("device", "s?", "Device name on its node, `nvidia0`"),
    ("model_name", "s?", ""),
    ("vendor", "s?", "An open set"),
    ("driver_version", "s?", ""),
    ("cluster", "s", ""),
    ("hostname", "s?", "Its node"),
    ("pci_bus_id", "s?", ""),
    ("memory_total_mb", "i?", "MiB"),
    ("status", "active|idle|error|offline", "error: an XID or a critical event within ten minutes; idle: below 1 % load; offline: not heard of"),
    ("namespace", "s?", "Of the pod that holds it"),
    ("pod", "s?", ""),
    ("container", "s?", ""),
    ("partitions", "[@Partition]", "MIG instances, dies, core ranges; they never add to the card"),
    ("last_seen", "t", ""),
    ("data_source", "s", "Plugins whose readings these are"),
    ("~unavailable", "{s}", "By catalogue name: unsupported, stale, denied, error or absent"),
];

#[rustfmt::skip]
const METRICS: Fields = &[
    ("timestamp", "t", "Of the newest reading"),
    ("memory_utilization_percent", "n?", "Used of total"),
    ("decoder_utilization_percent", "n?", ""),
    ("encoder_utilization_percent", "n?", ""),
    ("memory_copy_utilization_percent", "n?", "Share of time in which memory was read or written"),
    ("memory_temperature_celsius", "n?", ""),
    ("temperature_limit_celsius", "n?", ""),
    ("power_usage_watts", "n?", ""),
    ("power_limit_watts", "n?", ""),
    ("total_energy_joules", "n?", "Since the driver was loaded"),
    ("memory_used_mb", "i?", "MiB"),
    ("memory_free_mb", "i?", "MiB"),
    ("memory_reserved_mb", "i?", "MiB"),
    ("sm_clock_mhz", "i?", ""),
    ("memory_clock_mhz", "i?", ""),
    ("xid_errors", "i?", "The last XID; 0 is none"),
    ("pcie_replay_counter", "i?", ""),
    ("correctable_remapped_rows", "i?", ""),
    ("uncorrectable_remapped_rows", "i?", ""),
    ("sm_active_percent", "n?", ""),
    ("tensor_active_percent", "n?", ""),
    ("dram_active_percent", "n?", ""),
];

const TIMED: Fields = &[
    ("~timeseries", "{[@Observation]}", "By field; only with a window"),
    ("~start_time", "t", "The window that was used"),
    ("~end_time", "t", ""),
    ("~step_seconds", "n", "The step that was used; steps begin at multiples of it from the Unix epoch"),
];

#[rustfmt::skip]
const SUMMARY: Fields = &[
    ("avg_temperature_celsius", "n?", ""),
    ("max_temperature_celsius", "n?", ""),
    ("warning_temperature_count", "i", "Cards at or above their own slowdown limit"),
    ("critical_temperature_count", "i", "Cards at or above their own shutdown limit"),
    ("total_power_watts", "n?", "Sum over the cards whose power is known"),
    ("avg_power_watts", "n?", "Mean over them"),
    ("max_power_watts", "n?", ""),
    ("total_memory_used_mb", "i?", "MiB"),
    ("total_memory_available_mb", "i?", "MiB"),
    ("avg_memory_used_percent", "n?", ""),
];

#[rustfmt::skip]
const SHAPES: &[(&str, &[Fields])] = &[
    ("Metadata", &[&[
        ("total_count", "i", "Rows over all pages"),
        ("query_time_ms", "n", ""),
        ("cache_hit", "b", "The data was rendered before for this snapshot"),
        ("data_source", "[s]", "Plugins that feed the snapshot"),
        ("sequence", "i", "Number of the snapshot; two answers with one number see one world"),
        ("as_of", "t", "When the snapshot was made"),
        ("partial", "b", "Some sources do not answer"),
        ("warnings", "[s]", ""),
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
        ("code", "UNAUTHORIZED|FORBIDDEN|NOT_FOUND|INVALID_PARAMETER|AMBIGUOUS_ID|CONFLICT|TOO_MANY_REQUESTS|METHOD_NOT_ALLOWED|UNAVAILABLE|INTERNAL_ERROR", ""),
        ("message", "s", ""),
        ("details", "{*}", "By code: the parameter, the candidates"),
    ]]),
    ("Login", &[&[("username", "s", ""), ("password", "s", "")]]),
    ("Token", &[&[
        ("access_token", "s", "For `Authorization: Bearer`"),
        ("token_type", "bearer", ""),
        ("expires_in", "i", "Seconds"),
        ("~username", "s", ""),
    ]]),
    ("Verified", &[&[("valid", "b", ""), ("username", "s", ""), ("scopes", "[read|export|admin]", ""), ("message", "s", "")]]),
    ("Ticket", &[&[("ticket", "s", "Good once"), ("expires_in", "i", "Seconds")]]),
    ("KeyRequest", &[&[
        ("name", "s", "What it is for; 1 to 64 bytes"),
        ("scopes", "[read|export|admin]", "None that the asker has not"),
        ("~expires_in_days", "i", "Without: until it is revoked"),
    ]]),
    ("NewKey", &[&[("id", "s", ""), ("api_key", "s", "For `Authorization: Bearer`; shown this once"), ("scopes", "[read|export|admin]", "")]]),
    ("KeyList", &[&[("data", "[@Key]", "")]]),
    ("Key", &[&[
        ("id", "s", ""),
        ("name", "s", ""),
        ("scopes", "[read|export|admin]", ""),
        ("created_at", "t", ""),
        ("expires_at", "t?", ""),
    ]]),
    ("Revoked", &[&[("id", "s", ""), ("message", "s", "")]]),
    ("Partition", &[&[
        ("partition_id", "s?", ""),
        ("profile", "s?", "Such as `3g.40gb`"),
        ("utilization_percent", "n?", ""),
        ("memory_used_mb", "i?", "MiB"),
        ("memory_total_mb", "i?", "MiB"),
    ]]),
    ("Observation", &[&[("timestamp", "t", "Start of the step"), ("value", "n?", "Mean of the step; null without an observation")]]),
    ("Gpu", &[&[("gpu_id", "s", "Stable over restarts")], CARD, &[("~metrics", "@GpuReadings", "With include_metrics")]]),
    ("Npu", &[&[("npu_id", "s", "Stable over restarts")], CARD, &[("~metrics", "@NpuReadings", "With include_metrics")]]),
    ("GpuReadings", &[&[("gpu_id", "s", ""), ("gpu_utilization_percent", "n?", ""), ("gpu_temperature_celsius", "n?", "")], METRICS]),
    ("NpuReadings", &[&[("npu_id", "s", ""), ("npu_utilization_percent", "n?", ""), ("npu_temperature_celsius", "n?", "")], METRICS]),
    ("GpuMetrics", &[&[("gpu_id", "s", ""), ("gpu_utilization_percent", "n?", ""), ("gpu_temperature_celsius", "n?", "")], METRICS, TIMED]),
    ("NpuMetrics", &[&[("npu_id", "s", ""), ("npu_utilization_percent", "n?", ""), ("npu_temperature_celsius", "n?", "")], METRICS, TIMED]),
    ("GpuPower", &[&[
        ("gpu_id", "s", ""),
        ("timestamp", "t", "When the card was last read"),
        ("start_time", "t", "The window that was used"),
        ("end_time", "t", ""),
        ("observations", "i", "In the window"),
        ("power_watts", "n?", "Now"),
        ("power_limit_watts", "n?", "The device's own"),
        ("avg_power_watts", "n?", "Over the window, as the next two"),
        ("max_power_watts", "n?", ""),
        ("min_power_watts", "n?", ""),
        ("total_energy_joules", "n?", "Since the driver was loaded"),
    ]]),
    ("GpuTemperature", &[&[
        ("gpu_id", "s", ""),
        ("hostname", "s?", ""),
        ("timestamp", "t", ""),
        ("gpu_temperature_celsius", "n?", ""),
        ("memory_temperature_celsius", "n?", ""),
        ("temperature_limit_celsius", "n?", "The device's own limits; null where it does not tell them"),
        ("slowdown_threshold_celsius", "n?", ""),
        ("shutdown_threshold_celsius", "n?", ""),
        ("temperature_status", "normal|warning|critical?", "Against the device's own limits; null where it does not tell them"),
    ]]),
    ("NpuCore", &[&[
        ("npu_id", "s", ""),
        ("core_id", "i?", ""),
        ("timestamp", "t", ""),
        ("state", "idle|running?", ""),
        ("utilization_percent", "n?", ""),
        ("temperature_celsius", "n?", ""),
        ("process_name", "s?", ""),
        ("process_id", "i?", ""),
    ]]),
    ("Accelerator", &[&[
        ("type", "gpu|npu|other", ""),
        ("id", "s", "Stable over restarts"),
        ("uuid", "s?", ""),
        ("model", "s?", ""),
        ("vendor", "s?", ""),
        ("hostname", "s?", ""),
        ("cluster", "s", ""),
        ("pci_bus_id", "s?", ""),
        ("status", "active|idle|error|offline", ""),
        ("~metrics", "@AcceleratorReadings", "With include_metrics"),
    ]]),
    ("AcceleratorReadings", &[&[
        ("power_watts", "n?", ""),
        ("utilization_percent", "n?", ""),
        ("temperature_celsius", "n?", ""),
        ("memory_used_mb", "n?", "MiB"),
    ]]),
    ("GpuSummary", &[SUMMARY, &[
        ("total_gpus", "i", ""),
        ("active_gpus", "i", ""),
        ("idle_gpus", "i", ""),
        ("error_gpus", "i", ""),
        ("offline_gpus", "i", ""),
        ("avg_gpu_utilization_percent", "n?", ""),
        ("max_gpu_utilization_percent", "n?", ""),
        ("power_known_count", "i", "Cards in the sum of watts"),
    ]]),
    ("NpuSummary", &[SUMMARY, &[
        ("total_npus", "i", ""),
        ("active_npus", "i", ""),
        ("idle_npus", "i", ""),
        ("error_npus", "i", ""),
        ("offline_npus", "i", ""),
        ("avg_npu_utilization_percent", "n?", ""),
        ("max_npu_utilization_percent", "n?", ""),
        ("power_known_count", "i", "Cards in the sum of watts"),
    ]]),
    ("AcceleratorSummary", &[&[("summary", "@CombinedSummary", ""), ("breakdown", "{@ClassSummary}", "By class: gpus, npus")]]),
    ("CombinedSummary", &[SUMMARY, &[
        ("max_utilization_percent", "n?", ""),
        ("total_accelerators", "i", ""),
        ("total_gpus", "i", ""),
        ("total_npus", "i", ""),
        ("total_other", "i", ""),
        ("active_accelerators", "i", ""),
        ("idle_accelerators", "i", ""),
        ("error_accelerators", "i", ""),
        ("offline_accelerators", "i", ""),
        ("avg_utilization_percent", "n?", ""),
        ("gpu_power_watts", "n?", ""),
        ("npu_power_watts", "n?", ""),
        ("other_power_watts", "n?", ""),
    ]]),
    ("ClassSummary", &[&[
        ("count", "i", ""),
        ("active", "i", ""),
        ("idle", "i", ""),
        ("power_watts", "n?", ""),
        ("avg_utilization_percent", "n?", ""),
    ]]),
    ("Cluster", &[&[
        ("name", "s", ""),
        ("region", "s?", ""),
        ("description", "s?", ""),
        ("health_status", "healthy|degraded|unreachable|unknown", "degraded: some sources fail; unreachable: all do; unknown: there is none"),
        ("last_health_check", "t?", "When a source last answered"),
        ("total_sources", "i", ""),
        ("failing_sources", "i", ""),
        ("total_nodes", "i", ""),
        ("total_accelerators", "i", ""),
    ]]),
    ("Health", &[&[
        ("timestamp", "t", ""),
        ("status", "healthy|degraded|unhealthy", "unhealthy: no source answers"),
        ("version", "s", ""),
        ("uptime_seconds", "i", ""),
        ("components", "{*}", "sources and plugins, each with a status; plugins also with unsigned, how many run that neither the build, nor a key, nor a pin stands for"),
        ("cache", "{*}", "entries and hit_rate (0 to 1)"),
    ]]),
    ("Status", &[&[
        ("timestamp", "t", ""),
        ("api_version", "s", ""),
        ("status", "healthy|degraded|unhealthy", ""),
        ("sequence", "i", "Of the current snapshot"),
        ("sources", "[@Source]", ""),
        ("config", "@ConfigState", ""),
    ]]),
    ("ConfigState", &[&[
        ("state", "ok|rejected", "rejected: something in the operator's files is wrong; what was good before stays in force"),
        ("problems", "i", "How many; the log says which"),
        ("looked_at", "t", ""),
    ]]),
    ("Source", &[&[
        ("plugin", "s", ""),
        ("target", "s", ""),
        ("cluster", "s", ""),
        ("status", "connected|failing", ""),
        ("last_success", "t?", ""),
        ("consecutive_failures", "i", ""),
    ]]),
    ("Info", &[&[
        ("timestamp", "t", ""),
        ("total_gpus", "i", ""),
        ("subjects", "{i}", "By kind"),
        ("clusters", "[s]", ""),
    ]]),
    ("Version", &[&[("version", "s", ""), ("api_version", "s", ""), ("plugin_contracts", "[s]", "")]]),
    ("Capabilities", &[&[
        ("timestamp", "t", ""),
        ("api_version", "s", ""),
        ("api_domains", "[s]", ""),
        ("data_sources", "{*}", "By plugin: enabled, version, status"),
        ("multi_cluster", "{*}", ""),
    ]]),
    ("PluginList", &[&[
        ("timestamp", "t", ""),
        ("resource_type", "s", ""),
        ("metadata", "{i}", "total_count"),
        ("data", "[@Plugin]", ""),
    ]]),
    ("PluginDetail", &[&[("timestamp", "t", ""), ("resource_type", "s", ""), ("data", "@Plugin", "")]]),
    ("PluginDone", &[&[("timestamp", "t", ""), ("resource_type", "s", ""), ("message", "s", "What was done"), ("data", "@Plugin", "")]]),
    ("Approval", &[&[
        ("~http", "*", "`targets`, or a list of origins and ranges beside them"),
        ("~files", "[s]", "Absolute globs"),
        ("~state", "b", ""),
        ("~ipmi", "b", ""),
    ]]),
    ("Plugin", &[&[
        ("name", "s", ""),
        ("state", "missing|loading|active|degraded|disabled|waiting-for-approval|rejected|quarantined", "of what is in the directory; an older version may go on"),
        ("reason", "s?", "Why, where it is not simply active"),
        ("version", "s?", "This and what follows: of the version that answers"),
        ("vendor", "s?", ""),
        ("digest_sha256", "s?", ""),
        ("trust", "bundled|signed|pinned|dev|any?", "What stands for the component that runs: the build, a key, its digest in its settings, its directory, nothing"),
        ("trust_key", "s?", "Number of the key that signed it"),
        ("trust_rule", "s?", "Which rule admitted it, in words"),
        ("generation", "i?", "Grows with each swap"),
        ("loaded_at", "t?", ""),
        ("rights_asked", "[s]", "What the component imports"),
        ("rights_granted", "[s]", ""),
        ("wasi", "b?", "It imports WASI, which this host links with nothing behind it"),
        ("pending", "@PluginPending?", "What is in the directory and does not run"),
        ("calls_total", "i", ""),
        ("failures_by_blame", "{i}", "plugin, target, operator, host"),
        ("swaps_total", "i", "Versions that came in"),
        ("returns_total", "i", "Times that a failing version gave way to the one before"),
        ("values_out_of_range_total", "i", "Readings that were nonsense and became gaps"),
        ("memory_high_water_bytes", "i?", ""),
        ("last_error", "@PluginError?", ""),
        ("~description", "s?", "This and what follows: in the detail only"),
        ("~targets", "[@PluginTarget]", "Configured, from files, and found by the plugin"),
        ("~refused_targets", "[s]", "Found by the plugin but not read, and why"),
        ("~transitions", "[@PluginTransition]", "The last changes of its state"),
        ("~last_errors", "[@PluginError]", ""),
        ("~last_swap", "@PluginSwap?", "How the running version came in"),
        ("~shadow", "@PluginShadow?", "A new version that reads beside the running one"),
        ("~good_versions", "[@PluginGood]", "Versions that worked, kept for a way back"),
        ("~quarantined", "[@PluginHeld]", "Digests that are not loaded"),
        ("~log_tail", "[s]", ""),
        ("~log_lines_dropped_total", "i", ""),
    ]]),
    ("PluginPending", &[&[
        ("digest_sha256", "s?", ""),
        ("version", "s?", ""),
        ("reason", "s", ""),
        ("rights_asked", "[s]", ""),
        ("rights_missing", "[s]", "Asked for and not granted"),
        ("rights_added", "[s]", "Asked for, and not by the running version"),
        ("in_words", "[s]", "What each missing right lets it do"),
    ]]),
    ("PluginTransition", &[&[("at", "t", ""), ("from", "s", ""), ("to", "s", ""), ("reason", "s?", ""), ("version", "s?", "")]]),
    ("PluginSwap", &[&[
        ("at", "t", ""),
        ("from_version", "s?", ""),
        ("from_digest_sha256", "s?", ""),
        ("build_seconds", "n", "From its bytes to a configured instance"),
        ("trial_seconds", "n", "Reading a live target"),
        ("difference", "@PluginDifference?", ""),
    ]]),
    ("PluginDifference", &[&[
        ("cycles", "i", "Reads that are compared"),
        ("metrics_lost", "[s]", ""),
        ("metrics_gained", "[s]", ""),
        ("values_compared", "i", ""),
        ("values_different", "i", "By more than five in a hundred"),
        ("examples", "[s]", ""),
        ("failures", "i", "Of the new version where the old one did not fail"),
        ("last_failure", "s?", ""),
    ]]),
    ("PluginShadow", &[&[
        ("version", "s", ""),
        ("digest_sha256", "s", ""),
        ("reads_done", "i", ""),
        ("reads_wanted", "i", ""),
        ("difference", "@PluginDifference", ""),
    ]]),
    ("PluginGood", &[&[("version", "s", ""), ("digest_sha256", "s", ""), ("at", "t", "")]]),
    ("PluginHeld", &[&[("digest_sha256", "s", ""), ("reason", "s", ""), ("at", "t", "")]]),
    ("PluginError", &[&[
        ("at", "t", ""),
        ("blame", "plugin|target|operator|host", ""),
        ("target", "s?", ""),
        ("message", "s", ""),
    ]]),
    ("PluginTarget", &[&[
        ("id", "s", ""),
        ("cluster", "s", ""),
        ("discovered", "b", "The plugin found it itself"),
        ("last_success", "t?", ""),
        ("consecutive_failures", "i?", ""),
        ("last_error", "s?", ""),
    ]]),
];

/// Rows of which `fields` may choose a part.
const CHOSEN: [&str; 3] = ["Gpu", "Npu", "Accelerator"];

/// All shapes by name.
pub(super) fn components() -> Map<String, Value> {
    SHAPES.iter().map(|(name, parts)| ((*name).to_owned(), shape(parts.iter().copied().flatten(), !CHOSEN.contains(name)))).collect()
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
