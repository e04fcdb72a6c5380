//! From rows to subjects and readings, whichever way the rows came.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use kcloud_collector_sdk::exposition::{BadLine, Labels};
use kcloud_collector_sdk::mapping::{Mapping, Row, definition};
use kcloud_collector_sdk::{
    Batch, CollectError, Event, Label, Metric, MetricKind, Quality, Severity, SubjectRef, Target, blank, target_label,
};

use crate::UUID_LABELS;
use crate::table::{ENGINE, is_per_instance};

/// Labels by name.
pub trait Get {
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;

    /// A number that equal labels share, where there is one.
    fn id(&self) -> Option<u32> {
        None
    }
}

impl Get for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(|v| Cow::Borrowed(v.as_str()))
    }
}

impl Get for Labels<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        Labels::get(self, name)
    }

    fn id(&self) -> Option<u32> {
        Labels::id(self)
    }
}

#[derive(Default)]
struct Sums {
    used: Option<(f64, Option<i64>)>,
    free: Option<f64>,
    reserved: Option<f64>,
    has_total: bool,
    has_utilization: bool,
    engine: Option<(f64, Option<i64>)>,
    has_instances: bool,
}

/// Whom a text of labels names.
#[derive(Clone, Copy)]
struct Spot {
    card: SubjectRef,
    instance: Option<SubjectRef>,
    link: Option<SubjectRef>,
}

/// What a row is about.
pub struct Place {
    /// The table's row with its number; `None` for the engine's share, from which utilisation follows.
    pub row: Option<(usize, &'static Row)>,
    pub subject: SubjectRef,
}

/// Reads rows into a batch.
pub struct Reader<'a> {
    target: &'a Target,
    mapping: &'a Mapping,
    /// Number of the table's first metric in `describe`.
    first: u32,
    batch: &'a mut Batch,
    /// By subject: which rows of the table were seen of it.
    seen: Vec<u128>,
    /// By the labels' number: whom they name.
    spots: Vec<Option<Option<Spot>>>,
    /// The last name and its row: one family stands together.
    last: (String, Option<(usize, &'static Row)>),
    sums: HashMap<SubjectRef, Sums>,
    rows: u64,
}

impl<'a> Reader<'a> {
    pub fn new(target: &'a Target, mapping: &'a Mapping, first: u32, batch: &'a mut Batch) -> Self {
        Self {
            target,
            mapping,
            first,
            batch,
            seen: Vec::new(),
            spots: Vec::new(),
            last: (String::new(), None),
            sums: HashMap::new(),
            rows: 0,
        }
    }

    pub fn bad_line(&mut self, bad: BadLine) {
        self.batch.problem(CollectError::Protocol(format!("column {}: {}", bad.column, bad.reason)), Some(bad.line));
    }

    pub fn problem(&mut self, text: String) {
        self.batch.problem(CollectError::Protocol(text), None);
    }

    pub fn sample(&mut self, name: &str, labels: &impl Get, value: f64, at_ms: Option<i64>) {
        let Some(Place { row, subject }) = self.place(name, labels) else { return };
        self.rows += 1;
        let Some((index, row)) = row else {
            if value.is_finite() && blank::dcgm(value).is_none() {
                self.sums.entry(subject).or_default().engine.get_or_insert((value, at_ms));
            }
            return;
        };
        // An old and a new name, or one row a pod of a shared card: the first counts.
        let of_subject = subject.index();
        self.seen.resize(self.seen.len().max(of_subject + 1), 0);
        if self.seen[of_subject] >> index & 1 == 1 {
            return;
        }
        self.seen[of_subject] |= 1 << index;
        let metric = Metric(self.first + index as u32);
        if let Some(reason) = blank::dcgm(value) {
            self.batch.gap(metric, subject, reason);
            return;
        }
        self.batch.point(metric, subject, value * row.factor, at_ms);
        match row.metric {
            "memory_used_bytes" => self.sums_of(subject).used = Some((value * row.factor, at_ms)),
            "memory_free_bytes" => self.sums_of(subject).free = Some(value * row.factor),
            "memory_reserved_bytes" => self.sums_of(subject).reserved = Some(value * row.factor),
            "memory_total_bytes" => self.sums_of(subject).has_total = true,
            "utilization_ratio" => self.sums_of(subject).has_utilization = true,
            "xid_last" if value > 0.0 => {
                let label = |names: &[&str]| names.iter().find_map(|n| labels.get(n).filter(|v| !v.is_empty()));
                let uuid = label(&UUID_LABELS).unwrap_or_default();
                let code = format!("xid:{value}");
                let message = label(&["err_msg"]).map_or_else(|| format!("the last XID is {value}"), Cow::into_owned);
                let key = format!("now:{uuid}/{code}");
                let event = Event { subject: 0, at: None, severity: Severity::Critical, code, message, key };
                self.batch.event(subject, event);
            }
            _ => {}
        }
    }

    /// Which metric of which subject a row is about; its subjects are in the batch then. `None` for a row that is none of ours.
    pub fn place(&mut self, name: &str, labels: &impl Get) -> Option<Place> {
        if self.last.0 != name {
            self.last = (name.to_owned(), self.mapping.find(name));
        }
        let row = self.last.1;
        if row.is_none() && !ENGINE.contains(&name) {
            return None;
        }
        let spot = match labels.id().map(|id| id as usize) {
            None => self.spot(labels),
            Some(id) => match self.spots.get(id).copied().flatten() {
                Some(known) => known,
                None => {
                    let spot = self.spot(labels);
                    self.spots.resize(self.spots.len().max(id + 1), None);
                    self.spots[id] = Some(spot);
                    spot
                }
            },
        }?;
        let Some((_, found)) = row else {
            return Some(Place { row, subject: spot.instance.unwrap_or(spot.card) });
        };
        let subject = match (spot.link, spot.instance) {
            (Some(link), _) => link,
            (None, Some(instance)) if is_per_instance(found.metric) => instance,
            // Repeated on every instance, and true of the card.
            _ => spot.card,
        };
        Some(Place { row, subject })
    }

    fn sums_of(&mut self, subject: SubjectRef) -> &mut Sums {
        self.sums.entry(subject).or_default()
    }

    /// Whom labels name.
    fn spot(&mut self, labels: &impl Get) -> Option<Spot> {
        let label = |names: &[&str]| names.iter().find_map(|n| labels.get(n).filter(|v| !v.is_empty()));
        let uuid = label(&UUID_LABELS)?;
        let card = self.card(&uuid, &label);
        let instance = label(&["GPU_I_ID"]).map(|id| {
            let profile = label(&["GPU_I_PROFILE"]).map(Cow::into_owned);
            self.sums.entry(card).or_default().has_instances = true;
            self.batch.subject("partition", &format!("{uuid}/{id}"), Some(card), |s| {
                s.identity = vec![pair("uuid", &uuid), pair("partition_id", &id)];
                s.labels.extend(profile.map(|p| pair("profile", &p)));
            })
        });
        let link = label(&["nvlink"]).map(|nvlink| {
            self.batch.subject("link", &format!("{uuid}/{nvlink}"), Some(card), |s| {
                s.identity = vec![pair("uuid", &uuid), pair("index", &nvlink)];
                s.labels = vec![pair("link_type", "nvlink")];
            })
        });
        Some(Spot { card, instance, link })
    }

    fn card<'b>(&mut self, uuid: &str, label: &impl Fn(&[&str]) -> Option<Cow<'b, str>>) -> SubjectRef {
        let configured = target_label(self.target, "node");
        let said = label(&["Hostname", "hostname", "node", "kubernetes_node"]);
        let node = match (&said, configured) {
            (Some(said), Some(configured)) if is_exporters_pod(said) => configured.to_owned(),
            (Some(said), _) => said.clone().into_owned(),
            (None, Some(configured)) => configured.to_owned(),
            (None, None) => String::new(),
        };
        let parent = (!node.is_empty()).then(|| self.batch.subject("node", &node, None, |s| s.identity = vec![pair("node", &node)]));
        let card = self.batch.subject("accelerator", uuid, parent, |s| {
            s.identity = vec![pair("uuid", uuid)];
            s.labels = vec![pair("class", "gpu"), pair("vendor", "nvidia")];
            if !node.is_empty() {
                s.identity.push(pair("node", &node));
            }
        });
        // An NVLink row, which names less, may be the first of its card.
        let of_instance = label(&["GPU_I_ID"]).is_some();
        let wanted: [(&str, &[&str]); 8] = [
            ("pci_address", &["pci_bus_id"]),
            ("device", &["device"]),
            ("index", &["gpu"]),
            ("model", &["modelName", "model_name"]),
            ("driver_version", &["DCGM_FI_DRIVER_VERSION"]),
            ("namespace", &["exported_namespace", "namespace", "pod_namespace"]),
            ("pod", &["exported_pod", "pod", "pod_name"]),
            ("container", &["exported_container", "container", "container_name"]),
        ];
        // Behind Prometheus with `honor_labels` off, `pod` may be the exporter's own and the workload's is `exported_pod`.
        let is_exporters = label(&["exported_pod"]).is_none() && label(&["pod"]).is_some_and(|p| is_exporters_pod(&p));
        for (key, names) in wanted {
            let is_workload = matches!(key, "namespace" | "pod" | "container");
            let names = match is_workload && is_exporters {
                true => &names[..1],
                false => names,
            };
            let have = self.batch.labels(card).iter().any(|l| l.key == key);
            if !(have || is_workload && of_instance)
                && let Some(value) = label(names)
            {
                self.batch.labels(card).push(pair(key, &value));
            }
        }
        card
    }

    /// Rows that were ours.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds what follows from the rows together.
    pub fn finish(self) -> Result<(), CollectError> {
        if self.rows == 0 {
            return Err(CollectError::Unsupported("no row of DCGM in the answer: is this a dcgm-exporter?".to_owned()));
        }
        let derived = |batch: &mut Batch, name, unit| batch.metric(definition(name, unit, MetricKind::Gauge, Quality::Derived));
        for (subject, sums) in self.sums {
            if let (false, Some((used, at_ms)), Some(free)) = (sums.has_total, sums.used, sums.free) {
                let metric = derived(self.batch, "memory_total_bytes", "bytes");
                self.batch.point(metric, subject, used + free + sums.reserved.unwrap_or(0.0), at_ms);
            }
            if let (false, false, Some((engine, at_ms))) = (sums.has_utilization, sums.has_instances, sums.engine) {
                let metric = derived(self.batch, "utilization_ratio", "ratio");
                self.batch.point(metric, subject, engine, at_ms);
            }
        }
        Ok(())
    }
}

/// `hostname` is the exporter's own pod where it does not run in the host's network.
fn is_exporters_pod(name: &str) -> bool {
    (name.contains("dcgm") || name.contains("exporter")) && name.contains('-')
}

fn pair(key: &str, value: &str) -> Label {
    Label { key: key.to_owned(), value: value.to_owned() }
}
