//! The table of routes: from it come the router, what each route's query may hold, and the OpenAPI document.
//!
//! To add a route, add a row; a field of its answer that `openapi/schemas.rs` does not name fails a test.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post};

use super::v1::accelerators::{self, card, parts};
use super::v1::export::{jobs, report, request};
use super::v1::infrastructure::{containers, nodes, pods, vms};
use super::v1::stream::{self, events, socket};
use super::v1::{alerts, auth, bulk, clusters, export, fleet, hardware, monitoring};
use super::{App, plugins, system};
use crate::auth::Scope;
use crate::stream::topic;

/// What a route answers with 200.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// The envelope around one object of this schema.
    One(&'static str),
    /// The envelope around a list of it.
    Many(&'static str),
    /// This schema as it is.
    Plain(&'static str),
    /// Text, with its media type.
    Text(&'static str),
    /// A WebSocket.
    Socket,
    /// A file of one of the formats of reports.
    Report,
    /// A file in the format that is asked for: rows in JSON with an envelope, or as `Format` says.
    Rows,
    /// A file of any format, whole or in part.
    File,
}

pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    /// The heading under which it stands in the document.
    pub domain: &'static str,
    pub summary: &'static str,
    /// Query parameters, described in `openapi/parameters.rs`.
    pub query: &'static [&'static str],
    pub answer: Answer,
    /// Schema of the request's body.
    pub body: Option<&'static str>,
    /// Answered without credentials.
    pub is_open: bool,
    /// What the credentials must be good for.
    pub scope: Scope,
    handler: fn() -> MethodRouter<App>,
}

impl Route {
    /// Whether its answer goes on.
    pub(super) fn is_stream(&self) -> bool {
        match self.answer {
            Socket => true,
            Text(media) => media.starts_with("text/event-stream"),
            _ => false,
        }
    }
}

const LIST: &[&str] =
    &["cluster", "node", "status", "vendor", "model", "limit", "offset", "sort", "fields", "include_metrics", "include_reasons"];
const ALL: &[&str] = &["type", "cluster", "node", "status", "vendor", "model", "limit", "offset", "sort", "fields", "include_metrics"];
const PLACE: &[&str] = &["cluster", "node"];
const CARD: &[&str] = &["node", "include_metrics", "include_reasons"];
const PARTS: &[&str] = &["node", "limit", "offset"];
const WINDOW: &[&str] = &["node", "period", "step", "start_time", "end_time", "start", "end"];
const PAGE: &[&str] = &["limit", "offset"];
#[rustfmt::skip]
const NODES: &[&str] = &[
    "cluster", "role", "status", "has_gpu", "label_selector", "limit", "offset", "sort", "fields", "include_metrics", "include_reasons",
];
const NODE: &[&str] =
    &["cluster", "include_metrics", "include_power", "include_reasons", "period", "step", "start_time", "end_time", "start", "end"];
const IN_CLUSTER: &[&str] = &["cluster", "period", "step", "start_time", "end_time", "start", "end"];
#[rustfmt::skip]
const PODS: &[&str] = &[
    "cluster", "namespace", "node", "status", "label_selector", "has_gpu", "min_power", "max_power", "limit", "offset", "sort", "fields",
    "include_metrics", "include_power", "include_reasons",
];
const PODS_SUMMARY: &[&str] = &["cluster", "namespace", "node", "status", "label_selector"];
#[rustfmt::skip]
const CONTAINERS: &[&str] = &[
    "cluster", "namespace", "pod", "node", "include_terminated", "min_power", "max_power", "limit", "offset", "sort", "fields",
    "include_metrics", "include_reasons",
];
const CONTAINER: &[&str] = &["cluster", "include_metrics", "include_reasons"];
const VMS: &[&str] =
    &["cluster", "project", "status", "hypervisor", "limit", "offset", "sort", "fields", "include_metrics", "include_reasons"];
const VMS_SUMMARY: &[&str] = &["cluster", "project"];
const SENSORS: &[&str] = &["cluster", "node", "sensor_type", "status", "limit", "offset", "fields", "include_reasons"];
const SENSORS_OF: &[&str] = &["cluster", "sensor_type", "status", "limit", "offset", "fields", "include_reasons"];
const MACHINES: &[&str] = &["cluster", "node", "limit", "offset"];
const TOPOLOGY: &[&str] = &["include_pods", "namespace"];
const SERIES: &[&str] =
    &["cluster", "period", "step", "start_time", "end_time", "start", "end", "breakdown_by", "include_efficiency", "limit"];
const METRIC: &[&str] =
    &["metric_name", "resource_type", "cluster", "node", "period", "step", "start_time", "end_time", "start", "end", "limit", "offset"];
#[rustfmt::skip]
const ALERTS: &[&str] =
    &["state", "severity", "rule", "cluster", "node", "acknowledged", "silenced", "limit", "offset", "sort", "fields"];
#[rustfmt::skip]
const ALERT_HISTORY: &[&str] = &[
    "state", "severity", "rule", "cluster", "node", "acknowledged", "period", "start_time", "end_time", "start", "end", "limit", "offset", "sort",
    "fields",
];
const REPORT: &[&str] = &["template", "format", "cluster", "start_date", "end_date", "start_time", "end_time", "timezone", "lang"];
const NONE: &[&str] = &[];

const fn row(
    path: &'static str,
    domain: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    answer: Answer,
    handler: fn() -> MethodRouter<App>,
) -> Route {
    Route { method: "GET", path, domain, summary, query, answer, body: None, is_open: false, scope: Scope::Read, handler }
}

const fn open(route: Route) -> Route {
    Route { is_open: true, ..route }
}

const fn admin(route: Route) -> Route {
    Route { scope: Scope::Admin, ..route }
}

const fn exporting(route: Route) -> Route {
    Route { scope: Scope::Export, ..route }
}

const fn deleted(route: Route) -> Route {
    Route { method: "DELETE", ..route }
}

const fn posted(route: Route, body: Option<&'static str>) -> Route {
    Route { method: "POST", body, ..route }
}

use Answer::{File, Many, One, Plain, Rows, Socket, Text};

const PROMETHEUS: Answer = Text("text/plain; version=0.0.4; charset=utf-8");
const SNAPSHOT: Answer = Text("application/x-ndjson");
const EVENTS: Answer = Text("text/event-stream; charset=utf-8");
const PLAIN: Answer = Text("text/plain; charset=utf-8");

#[rustfmt::skip] // One row a route.
pub(super) static ROUTES: &[Route] = &[
    open(posted(row("/api/v1/auth/login", "auth", "From a password to a token", NONE, Plain("Token"), || post(auth::login)), Some("Login"))),
    posted(row("/api/v1/auth/token", "auth", "A fresh token for the credentials given", NONE, Plain("Token"), || post(auth::token)), None),
    row("/api/v1/auth/verify", "auth", "Whether the credentials are valid", NONE, Plain("Verified"), || get(auth::verify)),
    posted(row("/api/v1/auth/ticket", "auth", "A ticket for one request that cannot carry a header, as `?ticket=`", NONE, Plain("Ticket"), || post(auth::ticket)), None),
    admin(row("/api/v1/auth/keys", "auth", "API keys, without their secrets", NONE, Plain("KeyList"), || get(auth::keys))),
    admin(posted(row("/api/v1/auth/keys", "auth", "A new API key, shown this once", NONE, Plain("NewKey"), || post(auth::create_key)), Some("KeyRequest"))),
    admin(deleted(row("/api/v1/auth/keys/{id}", "auth", "Ends an API key", NONE, Plain("Revoked"), || delete(auth::revoke_key)))),
    row("/api/v1/accelerators/gpus", "accelerators", "GPUs", LIST, Many("Gpu"), || get(accelerators::gpus)),
    row("/api/v1/accelerators/gpus/summary", "accelerators", "Sums and means over GPUs, each once", PLACE, One("GpuSummary"), || get(accelerators::gpus_summary)),
    row("/api/v1/accelerators/gpus/{id}", "accelerators", "One GPU", CARD, One("Gpu"), || get(card::gpu)),
    row("/api/v1/accelerators/gpus/{id}/metrics", "accelerators", "Its readings; with a window also over time", WINDOW, One("GpuMetrics"), || get(card::gpu_metrics)),
    row("/api/v1/accelerators/gpus/{id}/power", "accelerators", "Its watts over a window", WINDOW, One("GpuPower"), || get(card::gpu_power)),
    row("/api/v1/accelerators/gpus/{id}/temperature", "accelerators", "Its temperatures and their limits", &["node"], One("GpuTemperature"), || get(card::gpu_temperature)),
    row("/api/v1/accelerators/gpus/{id}/health", "accelerators", "How it is, by what one knows, and what to do", &["node"], One("GpuHealth"), || get(parts::gpu_health)),
    row("/api/v1/accelerators/gpus/{id}/events", "accelerators", "What happened to it, the newest first", PARTS, Many("AcceleratorEvent"), || get(parts::gpu_events)),
    row("/api/v1/accelerators/gpus/{id}/partitions", "accelerators", "MIG instances, dies, core ranges", PARTS, Many("GpuPartition"), || get(parts::gpu_partitions)),
    row("/api/v1/accelerators/gpus/{id}/cores", "accelerators", "Its cores, also those of its partitions", PARTS, Many("GpuCore"), || get(parts::gpu_cores)),
    row("/api/v1/accelerators/gpus/{id}/links", "accelerators", "Its links to others", PARTS, Many("GpuLink"), || get(parts::gpu_links)),
    row("/api/v1/accelerators/gpus/{id}/processes", "accelerators", "Processes on it", PARTS, Many("GpuProcess"), || get(parts::gpu_processes)),
    row("/api/v1/accelerators/npus", "accelerators", "NPUs", LIST, Many("Npu"), || get(accelerators::npus)),
    row("/api/v1/accelerators/npus/summary", "accelerators", "Sums and means over NPUs, each once", PLACE, One("NpuSummary"), || get(accelerators::npus_summary)),
    row("/api/v1/accelerators/npus/{id}", "accelerators", "One NPU", CARD, One("Npu"), || get(card::npu)),
    row("/api/v1/accelerators/npus/{id}/metrics", "accelerators", "Its readings; with a window also over time", WINDOW, One("NpuMetrics"), || get(card::npu_metrics)),
    row("/api/v1/accelerators/npus/{id}/power", "accelerators", "Its watts over a window", WINDOW, One("NpuPower"), || get(card::npu_power)),
    row("/api/v1/accelerators/npus/{id}/temperature", "accelerators", "Its temperatures and their limits", &["node"], One("NpuTemperature"), || get(card::npu_temperature)),
    row("/api/v1/accelerators/npus/{id}/health", "accelerators", "How it is, by what one knows, and what to do", &["node"], One("NpuHealth"), || get(parts::npu_health)),
    row("/api/v1/accelerators/npus/{id}/events", "accelerators", "What happened to it, the newest first", PARTS, Many("AcceleratorEvent"), || get(parts::npu_events)),
    row("/api/v1/accelerators/npus/{id}/partitions", "accelerators", "MIG instances, dies, core ranges", PARTS, Many("NpuPartition"), || get(parts::npu_partitions)),
    row("/api/v1/accelerators/npus/{id}/cores", "accelerators", "Its cores, also those of its partitions", PARTS, Many("NpuCore"), || get(parts::npu_cores)),
    row("/api/v1/accelerators/npus/{id}/links", "accelerators", "Its links to others", PARTS, Many("NpuLink"), || get(parts::npu_links)),
    row("/api/v1/accelerators/npus/{id}/processes", "accelerators", "Processes on it", PARTS, Many("NpuProcess"), || get(parts::npu_processes)),
    row("/api/v1/accelerators/all", "accelerators", "Accelerators of every class", ALL, Many("Accelerator"), || get(accelerators::all)),
    row("/api/v1/accelerators/summary", "accelerators", "Sums and means over all, by class", PLACE, One("AcceleratorSummary"), || get(accelerators::summary)),
    row("/api/v1/infrastructure/nodes", "infrastructure", "Nodes", NODES, Many("Node"), || get(nodes::list)),
    row("/api/v1/infrastructure/nodes/summary", "infrastructure", "Nodes by state and role, cards, watts", &["cluster", "role", "status"], One("NodeSummary"), || get(nodes::summary)),
    row("/api/v1/infrastructure/nodes/{name}", "infrastructure", "One node", NODE, One("Node"), || get(nodes::detail)),
    row("/api/v1/infrastructure/nodes/{name}/power", "infrastructure", "What it draws, of what, and over a window", IN_CLUSTER, One("NodePower"), || get(nodes::power)),
    row("/api/v1/infrastructure/nodes/{name}/metrics", "infrastructure", "Its readings; with a window also over time", IN_CLUSTER, One("NodeMetrics"), || get(nodes::metrics)),
    row("/api/v1/infrastructure/pods", "infrastructure", "Pods", PODS, Many("Pod"), || get(pods::list)),
    row("/api/v1/infrastructure/pods/summary", "infrastructure", "Pods by state and namespace, watts", PODS_SUMMARY, One("PodSummary"), || get(pods::summary)),
    row("/api/v1/infrastructure/pods/{namespace}/{name}", "infrastructure", "One pod with its containers", NODE, One("Pod"), || get(pods::detail)),
    row("/api/v1/infrastructure/pods/{namespace}/{name}/power", "infrastructure", "What it draws, of what, and over a window", IN_CLUSTER, One("PodPower"), || get(pods::power)),
    row("/api/v1/infrastructure/pods/{namespace}/{name}/metrics", "infrastructure", "Its readings; with a window also over time", IN_CLUSTER, One("PodMetrics"), || get(pods::metrics)),
    row("/api/v1/infrastructure/containers", "infrastructure", "Containers, each once", CONTAINERS, Many("Container"), || get(containers::list)),
    row("/api/v1/infrastructure/containers/{id}", "infrastructure", "One container", CONTAINER, One("Container"), || get(containers::detail)),
    row("/api/v1/infrastructure/containers/{id}/metrics", "infrastructure", "Its readings; with a window also over time", IN_CLUSTER, One("ContainerMetrics"), || get(containers::metrics)),
    row("/api/v1/infrastructure/containers/{namespace}/{pod}/{name}", "infrastructure", "One container by its pod", CONTAINER, One("Container"), || get(containers::named)),
    row("/api/v1/infrastructure/containers/{namespace}/{pod}/{name}/metrics", "infrastructure", "Its readings; with a window also over time", IN_CLUSTER, One("ContainerMetrics"), || get(containers::named_metrics)),
    row("/api/v1/infrastructure/vms", "infrastructure", "Virtual machines", VMS, Many("Vm"), || get(vms::list)),
    row("/api/v1/infrastructure/vms/summary", "infrastructure", "Virtual machines by state and project", VMS_SUMMARY, One("VmSummary"), || get(vms::summary)),
    row("/api/v1/infrastructure/vms/{id}", "infrastructure", "One virtual machine", NODE, One("Vm"), || get(vms::detail)),
    row("/api/v1/infrastructure/vms/{id}/power", "infrastructure", "What it draws as far as a model says, and over a window", IN_CLUSTER, One("VmPower"), || get(vms::power)),
    row("/api/v1/infrastructure/vms/{id}/metrics", "infrastructure", "Its readings; with a window also over time", IN_CLUSTER, One("VmMetrics"), || get(vms::metrics)),
    row("/api/v1/hardware/ipmi/sensors", "hardware", "Readings of BMCs, by IPMI or Redfish", SENSORS, Many("BmcSensor"), || get(hardware::list)),
    row("/api/v1/hardware/ipmi/sensors/{node}", "hardware", "Readings of one machine's BMC", SENSORS_OF, Many("BmcSensor"), || get(hardware::of_node)),
    row("/api/v1/hardware/ipmi/power", "hardware", "Watts of each machine and its supplies", MACHINES, Many("BmcPower"), || get(hardware::power)),
    row("/api/v1/hardware/ipmi/temperature", "hardware", "Temperatures of each machine", MACHINES, Many("BmcTemperature"), || get(hardware::temperature)),
    row("/api/v1/hardware/ipmi/fans", "hardware", "Fans of each machine, each by its name", MACHINES, Many("BmcFans"), || get(hardware::fans)),
    row("/api/v1/hardware/ipmi/voltage", "hardware", "Rails of each machine, each by its name", MACHINES, Many("BmcVoltage"), || get(hardware::voltage)),
    row("/api/v1/hardware/ipmi/summary", "hardware", "Machines by the worst of their readings", PLACE, One("BmcSummary"), || get(hardware::summary)),
    row("/api/v1/clusters", "clusters", "Configured clusters and how their sources fare", PAGE, Many("Cluster"), || get(clusters::list)),
    row("/api/v1/clusters/{name}", "clusters", "One cluster and its nodes", NONE, One("ClusterDetail"), || get(clusters::detail)),
    row("/api/v1/clusters/{name}/summary", "clusters", "How it fares and what is in it", NONE, One("ClusterSummary"), || get(clusters::summary)),
    row("/api/v1/clusters/{name}/topology", "clusters", "What runs where", TOPOLOGY, One("ClusterTopology"), || get(clusters::topology)),
    row("/api/v1/clusters/{name}/power", "clusters", "What a cluster draws and by whom", &["breakdown_by", "include_efficiency"], One("ClusterPower"), || get(monitoring::of_cluster)),
    row("/api/v1/monitoring/power", "monitoring", "What is drawn now: the total, its coverage and the power tree", &["cluster", "resource_types"], One("Power"), || get(monitoring::power)),
    row("/api/v1/monitoring/power/accelerators", "monitoring", "What cards draw, by class", &["cluster"], One("AcceleratorPower"), || get(monitoring::accelerators)),
    row("/api/v1/monitoring/power/infrastructure", "monitoring", "What servers, pods and virtual machines draw, each server with its parts", &["cluster", "node", "limit", "offset"], One("InfrastructurePower"), || get(monitoring::infrastructure)),
    row("/api/v1/monitoring/power/breakdown", "monitoring", "The total in one of six views, with what nobody claims", &["breakdown_by", "cluster"], One("PowerBreakdown"), || get(monitoring::breakdown)),
    row("/api/v1/monitoring/power/efficiency", "monitoring", "PUE where a facility is metered; watts per working card, idle watts", &["cluster"], One("PowerEfficiency"), || get(monitoring::efficiency)),
    row("/api/v1/monitoring/timeseries/power", "monitoring", "The total over time, its coverage, parts and energy", SERIES, One("PowerSeries"), || get(monitoring::power_series)),
    row("/api/v1/monitoring/timeseries/metrics", "monitoring", "One metric of cards or nodes over time", METRIC, Many("MetricSeries"), || get(monitoring::metric_series)),
    row("/api/v1/monitoring/timeseries/temperature", "monitoring", "Temperatures of cards or nodes over time", METRIC.split_at(1).1, Many("MetricSeries"), || get(monitoring::temperature_series)),
    row("/api/v1/monitoring/stream/power", "monitoring", "Watts as they change, over a WebSocket", topic::POWER, Socket, || get(socket::power)),
    row("/api/v1/monitoring/stream/metrics", "monitoring", "One metric as it changes, over a WebSocket", topic::METRICS, Socket, || get(socket::metrics)),
    row("/api/v1/monitoring/events/power", "monitoring", "Watts as they change and what is to be told of them, as server-sent events", topic::EVENTS, EVENTS, || get(events::power)),
    row("/api/v1/monitoring/stream/info", "monitoring", "Which streams there are, and who reads them", NONE, Plain("StreamInfo"), || get(stream::info)),
    row("/api/v1/monitoring/alerts", "monitoring", "Alerts that fire, or are about to", ALERTS, Many("Alert"), || get(alerts::list)),
    row("/api/v1/monitoring/alerts/history", "monitoring", "Alerts that fired within a window", ALERT_HISTORY, Many("Alert"), || get(alerts::history)),
    row("/api/v1/monitoring/alerts/rules", "monitoring", "Rules in force, and where each comes from", PAGE, Many("AlertRule"), || get(alerts::rules)),
    row("/api/v1/monitoring/alerts/silences", "monitoring", "Silences in force", PAGE, Many("AlertSilence"), || get(alerts::silences)),
    admin(posted(row("/api/v1/monitoring/alerts/silences", "monitoring", "Keeps alerts quiet until it ends", NONE, Plain("AlertSilenceDone"), || post(alerts::silence)), Some("AlertSilenceRequest"))),
    admin(deleted(row("/api/v1/monitoring/alerts/silences/{id}", "monitoring", "Ends a silence", NONE, Plain("AlertSilenceDone"), || delete(alerts::unsilence)))),
    row("/api/v1/monitoring/alerts/{id}", "monitoring", "One alert, also one that ended", NONE, One("Alert"), || get(alerts::detail)),
    admin(posted(row("/api/v1/monitoring/alerts/{id}/acknowledge", "monitoring", "Says that somebody knows", NONE, Plain("AlertDone"), || post(alerts::acknowledge)), Some("AlertAcknowledgement"))),
    admin(posted(row("/api/v1/monitoring/alerts/{id}/resolve", "monitoring", "Says that what only happened is over", NONE, Plain("AlertDone"), || post(alerts::resolve)), Some("AlertAcknowledgement"))),
    exporting(row("/api/v1/export/report", "export", "A report as a file: energy, costs, peaks, idle cards, incidents, what is missing", REPORT, Answer::Report, || get(report::report))),
    exporting(row("/api/v1/export/templates", "export", "What reports there are, and those that make themselves", NONE, Plain("ReportTemplates"), || get(report::templates))),
    exporting(row("/api/v1/export/power", "export", "Watts over time as a file: totals of clusters, their parts in a view, or resources of one type", request::POWER, Rows, || get(export::power))),
    exporting(row("/api/v1/export/metrics", "export", "Metrics of any resources over time as a file", request::METRICS, Rows, || get(export::metrics))),
    exporting(row("/api/v1/export/formats", "export", "Formats of files", NONE, Plain("ExportFormats"), || get(export::formats))),
    exporting(row("/api/v1/export/jobs", "export", "Exports that run on their own, newest first", NONE, Plain("ExportJobList"), || get(jobs::list))),
    exporting(posted(row("/api/v1/export/jobs", "export", "Begins an export whose file is fetched when it is done", NONE, Plain("ExportJob"), || post(jobs::create)), Some("ExportOrder"))),
    exporting(row("/api/v1/export/jobs/{id}", "export", "How far a job is", NONE, Plain("ExportJob"), || get(jobs::one))),
    exporting(deleted(row("/api/v1/export/jobs/{id}", "export", "Ends a job that is under way, or removes one that is over, with its file", NONE, Plain("Revoked"), || delete(jobs::delete)))),
    exporting(row("/api/v1/export/jobs/{id}/file", "export", "The file of a job that is done, or ranges of it", NONE, File, || get(jobs::file))),
    open(row("/api/v1/system/health", "system", "How the host and its parts fare", NONE, Plain("Health"), || get(system::health))),
    row("/api/v1/system/status", "system", "Every source and when it last answered", NONE, Plain("Status"), || get(system::status)),
    row("/api/v1/system/info", "system", "What is watched, in numbers", NONE, Plain("Info"), || get(system::info)),
    row("/api/v1/system/version", "system", "Versions of host, API and plugin contract", NONE, Plain("Version"), || get(system::version)),
    row("/api/v1/system/capabilities", "system", "What is loaded", NONE, Plain("Capabilities"), || get(system::capabilities)),
    row("/api/v1/system/metrics", "system", "The host's own counters as Prometheus text", NONE, PROMETHEUS, || get(system::metrics)),
    row("/api/v1/system/snapshot", "system", "All that this host knows, or what changed since a sequence, for another host", &["cluster", "since", "epoch"], SNAPSHOT, || get(bulk::snapshot)),
    row("/api/v1/system/events", "system", "What happens to plugins, as server-sent events", NONE, EVENTS, || get(stream::system::plugins)),
    row("/api/v1/system/plugins", "system", "Plugins, their state and why", NONE, Plain("PluginList"), || get(plugins::list)),
    row("/api/v1/system/plugins/{name}", "system", "One plugin with its targets, its past and the end of its log", NONE, Plain("PluginDetail"), || get(plugins::detail)),
    admin(posted(row("/api/v1/system/plugins/{name}/approve", "system", "Grants what it asks for, or what the body says", NONE, Plain("PluginDone"), || post(plugins::approve)), Some("Approval"))),
    admin(posted(row("/api/v1/system/plugins/{name}/disable", "system", "Switches it off, over restarts", NONE, Plain("PluginDone"), || post(plugins::disable)), None)),
    admin(posted(row("/api/v1/system/plugins/{name}/enable", "system", "Switches it on again", NONE, Plain("PluginDone"), || post(plugins::enable)), None)),
    admin(posted(row("/api/v1/system/plugins/{name}/reload", "system", "Tries again what was refused or quarantined", NONE, Plain("PluginDone"), || post(plugins::reload)), None)),
    admin(posted(row("/api/v1/system/plugins/{name}/rollback", "system", "Brings the version before back", NONE, Plain("PluginDone"), || post(plugins::roll_back)), None)),
    open(row("/livez", "probes", "The process answers", NONE, PLAIN, || get(system::alive))),
    open(row("/healthz", "probes", "The process answers", NONE, PLAIN, || get(system::alive))),
    open(row("/readyz", "probes", "The first collection is done", NONE, PLAIN, || get(system::readyz))),
    row("/metrics", "probes", "The fleet's values as Prometheus text", NONE, PROMETHEUS, || get(fleet::metrics)),
];

/// The row of a matched path.
pub(super) fn find(method: &str, path: &str) -> Option<&'static Route> {
    // HEAD is GET without the body.
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|r| r.path == path && r.method == method)
}

/// Whether a path is answered without credentials.
pub(super) fn is_open(path: &str) -> bool {
    super::docs::is_page(path) || ROUTES.iter().any(|r| r.is_open && r.path == path)
}

/// Every route of the table.
pub(super) fn router() -> Router<App> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
}
