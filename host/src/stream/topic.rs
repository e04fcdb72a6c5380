//! What a reader asks for. Readers who ask for the same share one topic, and with it every frame.

use std::sync::Arc;
use std::time::Duration;

use crate::api::Problem;
use crate::api::params::{Params, duration};
use crate::catalogue::{Catalogue, MetricId, documented};
use crate::inventory::{Kind, Subject};
use crate::power;

/// What a subscription may say, in a query or a command.
pub const POWER: &[&str] = &["cluster", "node", "namespace", "vendor", "resource_type", "interval", "delta"];
pub const METRICS: &[&str] = &["metric_name", "cluster", "node", "namespace", "vendor", "resource_type", "interval", "delta"];
#[rustfmt::skip]
pub const EVENTS: &[&str] = &[
    "cluster", "node", "namespace", "vendor", "resource_type", "interval", "delta", "threshold_watts", "clear_watts", "for", "spike_percent",
    "last_event_id",
];

/// Seconds between two frames unless the reader says otherwise.
pub const INTERVAL: u8 = 5;
/// What is below this part of the threshold has cleared it.
const CLEARS: f64 = 0.95;
/// A change by more than this is a spike.
const SPIKE_PERCENT: f64 = 10.0;

/// Whose watts or readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    Gpus,
    Npus,
    Accelerators,
    Nodes,
    Pods,
    Containers,
    Vms,
    Clusters,
}

impl Resource {
    pub const POWER: [&str; 7] = ["gpus", "npus", "accelerators", "nodes", "pods", "vms", "clusters"];
    pub const METRICS: [&str; 7] = ["gpus", "npus", "accelerators", "nodes", "pods", "containers", "vms"];

    fn parse(name: &str) -> Self {
        match name {
            "npus" => Self::Npus,
            "accelerators" => Self::Accelerators,
            "nodes" => Self::Nodes,
            "pods" => Self::Pods,
            "containers" => Self::Containers,
            "vms" => Self::Vms,
            "clusters" => Self::Clusters,
            _ => Self::Gpus,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Gpus => "gpus",
            Self::Npus => "npus",
            Self::Accelerators => "accelerators",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Containers => "containers",
            Self::Vms => "vms",
            Self::Clusters => "clusters",
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Self::Gpus | Self::Npus | Self::Accelerators => Kind::Accelerator,
            Self::Nodes => Kind::Node,
            Self::Pods => Kind::Pod,
            Self::Containers => Kind::Container,
            Self::Vms => Kind::Vm,
            Self::Clusters => Kind::Cluster,
        }
    }

    fn takes(self, s: &Subject) -> bool {
        match self {
            Self::Gpus | Self::Npus => power::class(s) == self.name(),
            _ => true,
        }
    }
}

/// A metric by its documented name, in the unit of that name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Metric {
    pub id: MetricId,
    /// As in `utilization_percent`.
    pub field: Arc<str>,
    /// As it was asked for.
    pub name: Arc<str>,
}

impl Metric {
    fn parse(name: &str) -> Result<Self, Problem> {
        let field = match name {
            "utilization" => "utilization_percent",
            "temperature" => "temperature_celsius",
            "memory_usage" => "memory_used_mb",
            "power" => "power_watts",
            other => other,
        };
        let allowed = "utilization, temperature, memory_usage, power, or a documented field such as clock_sm_mhz";
        let id = Catalogue::known(&documented(field).0).ok_or_else(|| Problem::parameter("metric_name", name, allowed))?;
        Ok(Self { id, field: field.into(), name: name.into() })
    }

    pub fn factor(&self) -> f64 {
        documented(&self.field).1
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// The total, and where a resource is named each of it.
    Power(Option<Resource>),
    Metrics(Metric, Resource),
}

/// Which of them; what is not given is not asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    pub cluster: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
    pub namespace: Option<Arc<str>>,
    pub vendor: Option<Arc<str>>,
}

fn is(asked: &Option<Arc<str>>, found: Option<&str>) -> bool {
    asked.as_deref().is_none_or(|a| found == Some(a))
}

impl Filter {
    pub fn takes(&self, resource: Resource, s: &Subject) -> bool {
        is(&self.cluster, Some(&s.cluster))
            && is(&self.node, s.node.as_deref())
            && (self.namespace.is_none() || is(&self.namespace, s.label("namespace")))
            && (self.vendor.is_none() || is(&self.vendor, s.label("vendor")))
            && resource.takes(s)
    }

    pub fn has_cluster(&self, cluster: &str) -> bool {
        is(&self.cluster, Some(cluster))
    }
}

/// When a reader of events is told; watts and percents as bits, so that the same is the same topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    threshold: Option<u64>,
    clear: u64,
    pub hold_ms: i64,
    spike: u64,
}

impl Limits {
    pub fn threshold_watts(&self) -> Option<f64> {
        self.threshold.map(f64::from_bits)
    }

    pub fn clear_watts(&self) -> f64 {
        f64::from_bits(self.clear)
    }

    pub fn spike_percent(&self) -> f64 {
        f64::from_bits(self.spike)
    }

    fn parse(params: &Params) -> Result<Self, Problem> {
        let positive = |name: &str| match params.decimal(name)? {
            Some(v) if v <= 0.0 => Err(Problem::parameter(name, &v.to_string(), "a number above 0")),
            v => Ok(v),
        };
        let (threshold, clear) = (positive("threshold_watts")?, positive("clear_watts")?);
        if let Some(clear) = clear.filter(|c| threshold.is_none_or(|t| *c > t)) {
            return Err(Problem::parameter("clear_watts", &clear.to_string(), "at most threshold_watts, which is then needed"));
        }
        let hold_ms = match params.get("for") {
            None => 0,
            Some(_) if threshold.is_none() => return Err(Problem::parameter("for", "", "only with threshold_watts")),
            Some(text) => duration(text).ok_or_else(|| Problem::parameter("for", text, "a number with a unit, such as 30s or 5m"))?,
        };
        Ok(Self {
            threshold: threshold.map(f64::to_bits),
            clear: clear.or(threshold.map(|t| t * CLEARS)).unwrap_or(0.0).to_bits(),
            hold_ms,
            spike: positive("spike_percent")?.unwrap_or(SPIKE_PERCENT).to_bits(),
        })
    }
}

/// How frames go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// JSON, a message a frame.
    Socket,
    /// `text/event-stream`, with what is to be told.
    Events(Limits),
}

/// Everything that tells one stream of frames from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    pub what: What,
    pub filter: Filter,
    pub interval_seconds: u8,
    /// After the first frame only what changed.
    pub is_delta: bool,
    pub wire: Wire,
}

impl Topic {
    /// `/monitoring/stream/power`.
    pub(crate) fn power(params: &Params) -> Result<Self, Problem> {
        let resource = params.one_of("resource_type", &Resource::POWER)?.map(Resource::parse);
        Self::with(What::Power(resource), Wire::Socket, params)
    }

    /// `/monitoring/stream/metrics`.
    pub(crate) fn metrics(params: &Params) -> Result<Self, Problem> {
        let metric = Metric::parse(params.get("metric_name").unwrap_or("utilization"))?;
        let resource = Resource::parse(params.one_of("resource_type", &Resource::METRICS)?.unwrap_or("gpus"));
        Self::with(What::Metrics(metric, resource), Wire::Socket, params)
    }

    /// `/monitoring/events/power`.
    pub(crate) fn events(params: &Params) -> Result<Self, Problem> {
        let limits = Limits::parse(params)?;
        Ok(Self { wire: Wire::Events(limits), ..Self::power(params)? })
    }

    fn with(what: What, wire: Wire, params: &Params) -> Result<Self, Problem> {
        let interval_seconds = params.number("interval", usize::from(INTERVAL), 1, 60)? as u8;
        let of = |name: &str| params.get(name).map(Arc::from);
        let filter = Filter { cluster: of("cluster"), node: of("node"), namespace: of("namespace"), vendor: of("vendor") };
        let resource = match &what {
            What::Power(resource) => *resource,
            What::Metrics(_, resource) => Some(*resource),
        };
        let kind = resource.map(Resource::kind);
        let takes = [
            ("node", !matches!(kind, None | Some(Kind::Cluster)), "only with a resource_type, and not with clusters"),
            ("namespace", matches!(kind, Some(Kind::Pod | Kind::Container | Kind::Vm)), "only with resource_type pods, containers or vms"),
            ("vendor", kind == Some(Kind::Accelerator), "only with resource_type gpus, npus or accelerators"),
        ];
        for (name, takes, allowed) in takes {
            if let Some(given) = params.get(name).filter(|_| !takes) {
                return Err(Problem::parameter(name, given, allowed));
            }
        }
        Ok(Self { what, filter, interval_seconds, is_delta: params.flag("delta")?, wire })
    }

    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds.into())
    }

    /// As it stands in frames and in commands: `power?cluster=cluster1&interval=5`.
    pub fn name(&self) -> String {
        let mut query = reqwest::Url::parse("http://q/").ok();
        if let Some(url) = &mut query {
            let mut pairs = url.query_pairs_mut();
            let mut add = |k: &str, v: Option<&str>| {
                if let Some(v) = v {
                    pairs.append_pair(k, v);
                }
            };
            let (metric, resource) = match &self.what {
                What::Power(resource) => (None, *resource),
                What::Metrics(metric, resource) => (Some(&*metric.name), Some(*resource)),
            };
            add("metric_name", metric);
            add("resource_type", resource.map(Resource::name));
            add("cluster", self.filter.cluster.as_deref());
            add("node", self.filter.node.as_deref());
            add("namespace", self.filter.namespace.as_deref());
            add("vendor", self.filter.vendor.as_deref());
            add("interval", Some(&self.interval_seconds.to_string()));
            add("delta", self.is_delta.then_some("true"));
        }
        format!("{}?{}", self.stream(), query.as_ref().and_then(|u| u.query()).unwrap_or(""))
    }

    pub fn stream(&self) -> &'static str {
        match self.what {
            What::Power(_) => "power",
            What::Metrics(..) => "metrics",
        }
    }
}
