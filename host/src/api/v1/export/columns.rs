//! `metric_name` to columns: documented names with their units, or catalogue names in base units.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::super::{App, Problem};
use crate::catalogue::{Catalogue, Kind as MetricKind, METRICS, MetricId};
use crate::export::table::{Column, Scale};
use crate::history::Aggregate;
use crate::inventory::{Kind, Subject};
use crate::power;

/// Columns of one file.
const MOST: usize = 256;

/// Documented fields that are called otherwise than their metric.
const ALIASES: [(&str, &str); 20] = [
    ("utilization", "utilization_percent"),
    ("temperature", "temperature_celsius"),
    ("memory_usage", "memory_used_mb"),
    ("power", "power_watts"),
    ("gpu_utilization_percent", "utilization_percent"),
    ("npu_utilization_percent", "utilization_percent"),
    ("cpu_utilization_percent", "utilization_percent"),
    ("gpu_temperature_celsius", "temperature_celsius"),
    ("npu_temperature_celsius", "temperature_celsius"),
    ("memory_copy_utilization_percent", "memory_bandwidth_percent"),
    ("power_usage_watts", "power_watts"),
    ("total_power_watts", "power_watts"),
    ("total_energy_joules", "energy_joules"),
    ("sm_clock_mhz", "clock_sm_mhz"),
    ("memory_clock_mhz", "clock_memory_mhz"),
    ("xid_errors", "xid_last"),
    ("pcie_replay_counter", "pcie_replay_total"),
    ("correctable_remapped_rows", "remapped_rows_correctable_total"),
    ("uncorrectable_remapped_rows", "remapped_rows_uncorrectable_total"),
    ("cpu_usage_millicores", "cpu_usage_millicores"),
];
/// Of these the column keeps the name that was asked for; short names become the documented field.
const SHORT: [&str; 4] = ["utilization", "temperature", "memory_usage", "power"];

/// A column, and the metric that it shows.
pub(super) struct Chosen {
    pub column: Column,
    metric: Arc<str>,
}

/// Endings of documented names, of metrics, the factor between, and the unit.
const ENDINGS: [(&str, &str, Scale, &str); 5] = [
    ("_percent", "_ratio", Scale::Percent, "percent"),
    ("_mb", "_bytes", Scale::Mebi, "MiB"),
    ("_mhz", "_hertz", Scale::Mega, "MHz"),
    ("_mbps", "_bytes_per_second", Scale::Megabits, "Mbit/s"),
    ("_millicores", "_cores", Scale::Milli, "millicores"),
];

/// The documented name of a metric.
fn documented(metric: &str) -> String {
    let swapped = |(doc, base, ..): &(&str, &str, Scale, &str)| {
        // Cores are documented as cores, but for what is used of them.
        let head = metric.strip_suffix(base).filter(|head| *base != "_cores" || *head == "cpu_usage")?;
        Some(format!("{head}{doc}"))
    };
    ENDINGS.iter().find_map(swapped).unwrap_or_else(|| metric.to_owned())
}

/// The metrics of the selected resources that were ever read, by id.
fn read(subjects: &[Arc<Subject>]) -> BTreeSet<MetricId> {
    subjects.iter().flat_map(|s| s.readings.iter().map(|r| r.metric)).collect()
}

/// The columns that are asked for; `how` is what becomes of the observations of a step, where the request says it.
pub(super) fn chosen(app: &App, subjects: &[Arc<Subject>], asked: &str, how: Option<Aggregate>) -> Result<Vec<Chosen>, Problem> {
    let catalogue = app.registry.catalogue();
    let is_power = |k: Kind| matches!(k, Kind::Node | Kind::Pod | Kind::Vm);
    let mut out: Vec<Chosen> = Vec::new();
    if asked == "all" {
        let mut names: Vec<Arc<str>> = read(subjects).into_iter().map(|id| catalogue.name(id)).collect();
        if subjects.iter().any(|s| is_power(s.kind)) {
            names.push("power_watts".into());
        }
        names.sort();
        names.dedup();
        for name in names {
            out.extend(of(catalogue, subjects, &documented(&name), how));
        }
    } else {
        for name in asked.split(',').map(str::trim) {
            let found = of(catalogue, subjects, name, how).ok_or_else(|| {
                let mut known: Vec<String> = read(subjects).into_iter().map(|id| documented(&catalogue.name(id))).collect();
                known.sort();
                Problem::parameter(
                    "metric_name",
                    name,
                    format!("all, or some of these, separated by commas: utilization, temperature, memory_usage, power, a metric of the catalogue in base units (memory_used_bytes), or its documented name ({})", if known.is_empty() { "memory_used_mb".to_owned() } else { known.join(", ") }),
                )
            })?;
            if out.iter().all(|c| c.column.name != found.column.name) {
                out.push(found);
            }
        }
    }
    match out.len() {
        0 if asked != "all" => Err(Problem::parameter("metric_name", asked, "at least one metric")),
        n if n > MOST => Err(Problem::parameter("metric_name", asked, format!("at most {MOST} columns; these are {n}"))),
        _ => Ok(out),
    }
}

fn of(catalogue: &Catalogue, subjects: &[Arc<Subject>], asked: &str, how: Option<Aggregate>) -> Option<Chosen> {
    let field = ALIASES.iter().find(|(alias, _)| *alias == asked).map_or(asked, |(_, field)| field);
    let column_name = if SHORT.contains(&asked) { field } else { asked };
    let known = |name: &str| match Catalogue::known(name) {
        Some(id) => Some(id),
        // A plugin's own, where one of these resources has it.
        None if name.starts_with("x_") => read(subjects).into_iter().find(|id| *catalogue.name(*id) == *name),
        None => None,
    };
    let in_base = |id| Some((id, Scale::One, None));
    let (id, scale, unit) = known(field).and_then(in_base).or_else(|| {
        ENDINGS
            .iter()
            .find_map(|(doc, base, scale, unit)| Some((known(&format!("{}{base}", field.strip_suffix(doc)?))?, *scale, Some(*unit))))
    })?;
    let (unit, kind) = match Catalogue::metric(id) {
        Some(m) => (unit.unwrap_or(m.unit), m.kind),
        None => (unit.unwrap_or("as its plugin says"), catalogue.kind(id)?),
    };
    let states: Option<Arc<[Arc<str>]>> = match kind {
        MetricKind::State => Some(match METRICS.get(id.0 as usize) {
            Some(m) => m.states.iter().map(|s| Arc::from(*s)).collect(),
            None => (0..).map_while(|i| catalogue.state(id, f64::from(i))).collect(),
        }),
        _ => None,
    };
    // A mean of states or of a counter means nothing.
    let usual = if kind == MetricKind::Gauge { Aggregate::Average } else { Aggregate::Last };
    let how = if states.is_some() { Aggregate::Last } else { how.unwrap_or(usual) };
    let column = Column { name: column_name.to_owned(), unit: unit.into(), scale, states, how };
    Some(Chosen { column, metric: catalogue.name(id) })
}

impl Chosen {
    /// What history calls it for resources of a kind: watts of servers, pods and virtual machines are what the account says.
    pub(super) fn metric(&self, kind: Kind) -> Option<Arc<str>> {
        Some(match (&*self.metric, kind) {
            ("power_watts", Kind::Node) => power::SERVER_WATTS.into(),
            ("power_watts", Kind::Pod | Kind::Vm) => power::WORKLOAD_WATTS.into(),
            _ => self.metric.clone(),
        })
    }
}
