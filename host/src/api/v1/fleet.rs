//! `/metrics`: the fleet's own values as Prometheus text, written once per snapshot.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::super::{App, Rendered};
use crate::catalogue::{Kind as MetricKind, METRICS, MetricId};
use crate::history::names;
use crate::inventory::{Snapshot, Subject};
use crate::power::{Method, Server, Sum, Watts};

pub(in crate::api) async fn metrics(State(app): State<App>) -> Response {
    let snapshot = app.inventory.current();
    let key = format!("metrics#{}", snapshot.sequence);
    let rendered = app.cache.get(&key).unwrap_or_else(|| {
        let rendered = Rendered { data: write(&snapshot).into(), ..Rendered::empty() };
        app.cache.insert(key, rendered.clone());
        rendered
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], rendered.data).into_response()
}

pub(in crate::api) fn write(snapshot: &Snapshot) -> String {
    let mut by_metric: BTreeMap<MetricId, Vec<(&Subject, f64)>> = BTreeMap::new();
    for subject in &snapshot.subjects {
        for reading in subject.readings.iter() {
            if let Some(value) = subject.number(reading.metric) {
                by_metric.entry(reading.metric).or_default().push((subject, value));
            }
        }
    }
    let labels: std::collections::HashMap<*const Subject, String> =
        snapshot.subjects.iter().map(|s| (std::sync::Arc::as_ptr(s), labels(s))).collect();
    let mut out = String::new();
    for (id, rows) in by_metric {
        // A plugin's own raw metrics are in the API; only what the catalogue defines leaves under our name.
        let Some(metric) = METRICS.get(id.0 as usize) else { continue };
        let kind = if metric.kind == MetricKind::Counter { "counter" } else { "gauge" };
        let name = names::metric(metric);
        // Writing to a String cannot fail.
        writeln!(out, "# HELP {name} {} in {}.\n# TYPE {name} {kind}", metric.name, metric.unit).unwrap_or_default();
        for (subject, value) in rows {
            writeln!(out, "{name}{{{}}} {value}", labels[&(subject as *const Subject)]).unwrap_or_default();
        }
    }
    account(snapshot, &mut out);
    out
}

/// What `power/` makes of the snapshot: servers, each once, and their sums.
fn account(snapshot: &Snapshot, out: &mut String) {
    let account = snapshot.account();
    let mut family = |name: &str, help: &str, rows: Vec<(String, f64)>| {
        if !rows.is_empty() {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge").unwrap_or_default();
            rows.iter().for_each(|(labels, value)| writeln!(out, "{name}{{{labels}}} {value}").unwrap_or_default());
        }
    };
    let of = |s: &Server| format!("cluster=\"{}\",id=\"{}\",kind=\"node\",node=\"{}\"", escape(&s.cluster), escape(&s.id), escape(&s.name));
    let known = || account.servers.iter().filter_map(|s| Some((s, s.total()?)));
    family(
        "kcloud_server_power_watts",
        "What a server draws, by the most trusted way.",
        known().map(|(s, (_, w))| (of(s), w.watts)).collect(),
    );
    let method = |(s, (way, w)): (&Server, (Method, &Watts))| {
        let method = ["measured", "derived", "modelled"][w.quality as usize];
        (format!("{},measured_by=\"{}\",method=\"{method}\"", of(s), way.name()), 1.0)
    };
    family("kcloud_server_power_method_info", "How a server's watts are known.", known().map(method).collect());
    let mut clusters: Vec<&str> = account.machines(None).map(|s| &*s.cluster).collect();
    clusters.dedup();
    let totals: Vec<(String, Sum)> = clusters.iter().map(|c| (format!("cluster=\"{}\"", escape(c)), account.total(Some(c)))).collect();
    let watts = totals.iter().filter_map(|(l, t)| Some((l.clone(), t.watts?))).collect();
    family("kcloud_cluster_power_watts", "What a cluster's servers draw; a guest is in its host.", watts);
    let count = |of: fn(&Sum) -> usize| totals.iter().map(|(l, t)| (l.clone(), of(t) as f64)).collect();
    family("kcloud_cluster_power_known_servers", "Servers in that sum.", count(|t| t.known));
    family("kcloud_cluster_power_servers", "Servers of a cluster.", count(|t| t.of));
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(subject: &Subject) -> String {
    let pairs: Vec<String> = names::labels(subject).iter().map(|(k, v)| format!("{k}=\"{}\"", names::escaped(v))).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Kind, Life};

    #[test]
    fn no_label_of_a_plugin_breaks_the_exposition() {
        let identity = [
            ("__name__", "up"),
            ("a-b", "1"),
            ("a.b", "2"),
            ("a/b", "2"),
            ("a:b", "3"),
            ("a_b", "4"),
            ("cluster", "forged"),
            ("kind", "accelerator"),
            ("uuid", "x\"} 1\n# EOF\\"),
        ];
        let subject = Subject {
            id: "s".into(),
            kind: Kind::Accelerator,
            cluster: "c1".into(),
            node: None,
            parent: None,
            identity: identity.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            labels: Default::default(),
            readings: [].into(),
            others: vec![],
            first_seen_ms: 0,
            last_seen_ms: 0,
            life: Life::Live,
        };
        let expected = r#"a_b="1",a_b_="2",a_b__="3",a_b___="4",cluster="c1",cluster_="forged",id="s",kind="accelerator",uuid="x\"} 1\n# EOF\\",x__name__="up""#;
        assert_eq!(labels(&subject), expected);
    }
}
