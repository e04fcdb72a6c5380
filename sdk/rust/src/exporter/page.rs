//! The rows of one exporter, by name.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use crate::exposition::{Labels, Sample};
use crate::promql::{Ask, Series};
use crate::{Target, target_label};

/// Labels by which a server's relabelling names the node of an exporter.
const NODE_LABELS: [&str; 2] = ["node", "kubernetes_node"];

/// One sample.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    labels: Said<'a>,
    pub value: f64,
    pub at_ms: Option<i64>,
}

#[derive(Clone, Copy)]
enum Said<'a> {
    Text(Labels<'a>),
    Series(&'a BTreeMap<String, String>),
}

impl<'a> Row<'a> {
    /// A label that the exporter gave; an empty one is none. Where a server kept its own under the name, it is the `exported_` one.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        let found = match self.labels {
            Said::Text(labels) => labels.get(name),
            Said::Series(labels) => {
                let from = (Bound::Included("exported_"), Bound::Unbounded);
                let is_renamed = labels.range::<str, _>(from).next().is_some_and(|(k, _)| k.starts_with("exported_"));
                let renamed = is_renamed.then(|| labels.get(&format!("exported_{name}"))).flatten();
                renamed.or_else(|| labels.get(name)).map(|v| Cow::Borrowed(v.as_str()))
            }
        };
        found.filter(|v| !v.is_empty())
    }

    /// Several labels at once: each `get` reads the text of all.
    pub fn pick<const N: usize>(&self, names: [&str; N]) -> [Option<Cow<'a, str>>; N] {
        let Said::Text(labels) = self.labels else { return names.map(|name| self.get(name)) };
        let mut found = [const { None }; N];
        for (key, value) in labels.iter() {
            if let Some(at) = names.iter().position(|name| *name == key).filter(|_| !value.is_empty()) {
                found[at] = Some(value);
            }
        }
        found
    }

    /// A small number that rows with equal labels share; not every row has one.
    pub fn id(&self) -> Option<u32> {
        match self.labels {
            Said::Text(labels) => labels.id(),
            Said::Series(_) => None,
        }
    }

    /// The labels as they stand in a text, by which a series that stands there twice is found; a server holds none twice.
    pub fn raw(&self) -> Option<&'a str> {
        match self.labels {
            Said::Text(labels) => Some(labels.raw()),
            Said::Series(_) => None,
        }
    }

    /// The same as owned text, empty where there is none.
    pub fn text(&self, name: &str) -> String {
        self.get(name).map_or_else(String::new, Cow::into_owned)
    }
}

/// What one exporter says at one time.
pub struct Page<'a> {
    rows: HashMap<&'static str, Vec<Row<'a>>>,
    help: HashMap<&'a str, &'a str>,
    count: usize,
    /// Tells the exporters of one server apart; empty for one that is read straight.
    pub key: String,
    /// The node, where the operator or the server's relabelling says it.
    pub node: Option<String>,
    /// Where it was reached, without the port: the `target` of its address, else its host.
    pub host: Option<String>,
    /// The `target` of its address, where it speaks for another machine.
    pub asked: Option<String>,
    /// When it was read, on a clock that only goes forward: for sources that stamp nothing.
    pub read_ms: i64,
}

impl<'a> Page<'a> {
    fn empty(asks: &'static [Ask]) -> Self {
        let wanted = asks.iter().flat_map(Ask::names).map(|name| (name, Vec::new()));
        let read_ms = i64::try_from(crate::clock::monotonic_ms()).unwrap_or(i64::MAX);
        let (rows, help) = (wanted.collect(), HashMap::new());
        Self { rows, help, count: 0, key: String::new(), node: None, host: None, asked: None, read_ms }
    }

    pub(super) fn of_target(asks: &'static [Ask], target: &Target) -> Self {
        let node = target_label(target, "node").filter(|n| !n.is_empty()).map(str::to_owned);
        let (host, asked) = (host_of(&target.address), asked_of(&target.address));
        Self { node, host, asked: asked.map(|a| without_port(a).to_owned()), ..Self::empty(asks) }
    }

    pub(super) fn sample(&mut self, sample: &Sample<'a>) {
        if let Some(rows) = self.rows.get_mut(sample.name) {
            rows.push(Row { labels: Said::Text(sample.labels), value: sample.value, at_ms: sample.timestamp_ms });
            self.count += 1;
        }
    }

    pub(super) fn explain(&mut self, name: &'a str, text: &'a str) {
        if self.rows.contains_key(name) {
            self.help.insert(name, text);
        }
    }

    /// One page for each exporter that the series are of.
    pub(super) fn of_series(
        asks: &'static [Ask],
        target: &Target,
        series: &'a [Series],
        scraped: &BTreeMap<(String, String), i64>,
    ) -> Vec<Self> {
        let mut pages: BTreeMap<[&str; 3], Self> = BTreeMap::new();
        for one in series {
            let own = |name: &str| one.labels.get(name).map_or("", String::as_str);
            let key = [own("job"), own("instance"), own("node")];
            let page = pages.entry(key).or_insert_with(|| Self {
                key: format!("{}\n{}", target.id, key.join("\n")),
                host: Some(without_port(key[1]).to_owned()).filter(|h| !h.is_empty()),
                ..Self::empty(asks)
            });
            if page.node.is_none() {
                page.node = NODE_LABELS.iter().map(|name| own(name)).find(|n| !n.is_empty()).map(str::to_owned);
            }
            let at_ms = scraped.get(&(key[0].to_owned(), key[1].to_owned())).copied();
            if let Some(rows) = page.rows.get_mut(one.name()) {
                // A text that is no number is as good as NaN: said, and nothing.
                let values = one.samples().map(|(_, value)| value.unwrap_or(f64::NAN));
                let before = rows.len();
                rows.extend(values.map(|value| Row { labels: Said::Series(&one.labels), value, at_ms }));
                page.count += rows.len() - before;
            }
        }
        pages.into_values().collect()
    }

    /// The rows of a name that is in the source's asks.
    pub fn rows(&self, name: &str) -> &[Row<'a>] {
        self.rows.get(name).map_or(&[], Vec::as_slice)
    }

    /// The first row of a name.
    pub fn first(&self, name: &str) -> Option<Row<'a>> {
        self.rows(name).first().copied()
    }

    /// The node, or else the host where that is a name and no address.
    pub fn named(&self) -> Option<String> {
        let is_name = |h: &&String| h.parse::<std::net::IpAddr>().is_err() && *h != "localhost";
        self.node.clone().or_else(|| self.host.as_ref().filter(is_name).cloned())
    }

    /// What the exporter says of a name itself; a server does not keep it.
    pub fn help(&self, name: &str) -> Option<&'a str> {
        self.help.get(name).copied()
    }

    /// Rows of all names.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// `http://exporter:9290/ipmi?target=10.0.0.1:623&module=x` speaks of `10.0.0.1`.
fn host_of(address: &str) -> Option<String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = asked_of(address).unwrap_or_else(|| rest.split(['/', '?']).next().unwrap_or(rest));
    Some(without_port(host).to_owned()).filter(|h| !h.is_empty())
}

fn asked_of(address: &str) -> Option<&str> {
    address.split_once('?')?.1.split('&').find_map(|p| p.strip_prefix("target="))
}

/// `host:9100`, `[::1]:9100` and `::1` without the port.
fn without_port(address: &str) -> &str {
    match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None => match address.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => address,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_an_address_speaks_of() {
        for (address, host) in [
            ("http://worker1:9100/metrics", "worker1"),
            ("http://10.0.0.9:9290/ipmi?module=default&target=10.0.0.1:623", "10.0.0.1"),
            ("http://[fe80::1]:9100/metrics", "fe80::1"),
            ("10.0.0.1:9100", "10.0.0.1"),
            ("fe80::1", "fe80::1"),
        ] {
            assert_eq!(host_of(address).as_deref(), Some(host), "{address}");
        }
        assert_eq!(host_of(""), None);
    }
}
