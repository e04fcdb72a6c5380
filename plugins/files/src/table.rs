//! From a table as it is written to one that can be read by. Every fault is named with its place (`at "/tables/0/…"`, which the host
//! turns into line and column), with what would be right; a table with a fault reads nothing.

use std::collections::BTreeMap;

use kcloud_collector_sdk::{GapReason, MetricDef, MetricKind, Quality};

use crate::catalogue::{self, METRICS};
use crate::pattern::{Pattern, Template};
use crate::raw::{self, Format};
use crate::units;
use crate::value::{Sentinel, number};

/// Kinds of the model, and the identity labels that each knows (spec/DATA_MODELS.md, section 2).
const KINDS: &[(&str, &[&str])] = &[
    ("node", &["node"]),
    ("accelerator", &["uuid", "pci_address", "device", "node"]),
    ("partition", &["partition_id"]),
    ("core", &["index"]),
    ("link", &["index"]),
    ("process", &["pid"]),
    ("pod", &["namespace", "name", "uid"]),
    ("container", &["name", "runtime_id"]),
    ("vm", &["uuid"]),
    ("chassis", &["entity", "name"]),
    ("sensor", &["entity", "name"]),
    ("psu", &["entity", "name"]),
    ("fan", &["entity", "name"]),
    ("facility", &["name"]),
];
/// Faults that are told at once; the host shows 2 KiB of them.
const MAX_FAULTS: usize = 5;

pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) files: Option<Pattern>,
    /// As written, for messages.
    pub(crate) place: String,
    pub(crate) format: Format,
    pub(crate) rows: Option<Pattern>,
    pub(crate) max_rows: usize,
    pub(crate) max_age_ms: Option<i64>,
    pub(crate) node: Option<Rule>,
    /// A parent stands before its children.
    pub(crate) subjects: Vec<Subject>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    Node,
    None,
    Subject(usize),
}

pub(crate) struct Subject {
    pub(crate) kind: String,
    pub(crate) parent: Parent,
    pub(crate) each: Option<Pattern>,
    pub(crate) only: Vec<Only>,
    pub(crate) identity: Vec<(String, Rule)>,
    pub(crate) labels: Vec<(String, Rule)>,
    pub(crate) metrics: Vec<Metric>,
}

pub(crate) struct Only {
    pub(crate) place: Place,
    pub(crate) is: Option<Vec<String>>,
    pub(crate) is_not: Option<Vec<String>>,
}

/// Where something stands; what its table cannot have is none.
#[derive(Default)]
pub(crate) struct Place {
    pub(crate) file: Option<Template>,
    pub(crate) member: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) word: Option<usize>,
    pub(crate) label: Option<String>,
}

pub(crate) struct Rule {
    pub(crate) from: From,
    pub(crate) cut_prefix: Option<String>,
    pub(crate) cut_suffix: Option<String>,
    pub(crate) rename: BTreeMap<String, String>,
}

pub(crate) enum From {
    Text(Template),
    Place(Place),
}

pub(crate) struct Metric {
    pub(crate) definition: MetricDef,
    pub(crate) place: Place,
    pub(crate) series: Vec<String>,
    pub(crate) matching: Vec<(String, String)>,
    pub(crate) factor: f64,
    pub(crate) offset: f64,
    pub(crate) unavailable: Vec<Sentinel>,
    /// What the source writes, and the place of the state that it means.
    pub(crate) states: Vec<(String, u32)>,
    /// None leaves out what is not there.
    pub(crate) missing: Option<GapReason>,
}

/// What is wrong, with its place.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, at: &str, why: impl AsRef<str>) {
        self.0.push(format!("{} (at {at:?})", why.as_ref()));
    }

    fn take<T>(&mut self, at: &str, from: Result<T, String>) -> Option<T> {
        from.map_err(|why| self.add(at, why)).ok()
    }
}

/// The place of a key below another, as a JSON Pointer.
fn below(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// The nearest of what is allowed, or all of it where there is little.
fn instead<'a>(given: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = allowed.into_iter().collect();
    let near = all.iter().map(|name| (distance(given, name), *name)).min().filter(|(d, _)| *d <= 3);
    match near {
        Some((_, name)) => format!("; did you mean {name:?}"),
        None if all.is_empty() => String::new(),
        None if all.len() <= 20 => format!("; there are {}", all.join(", ")),
        None => {
            let shares = |n: &&&str| given.split('_').any(|word| word.len() > 3 && n.contains(word));
            let like: Vec<&str> = all.iter().filter(shares).take(8).copied().collect();
            if like.is_empty() { String::new() } else { format!("; there are {}", like.join(", ")) }
        }
    }
}

/// Edits from one word to another. Long words are not compared.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(100).collect(), b.chars().take(100).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

/// All tables, or what is wrong with them.
pub(crate) fn check(config: raw::Config) -> Result<Vec<Table>, String> {
    let mut faults = Faults::default();
    let mut tables: Vec<Table> = Vec::new();
    for (i, table) in config.tables.into_iter().enumerate() {
        let at = format!("/tables/{i}");
        if tables.iter().any(|t| t.name == table.name) {
            faults.add(&below(&at, "name"), format!("two tables are called {:?}", table.name));
        }
        tables.extend(one(table, &at, &mut faults));
    }
    let count = faults.0.len();
    match count {
        0 => Ok(tables),
        _ => {
            let more = if count > MAX_FAULTS { format!("; and {} more", count - MAX_FAULTS) } else { String::new() };
            faults.0.truncate(MAX_FAULTS);
            Err(faults.0.join("; ") + &more)
        }
    }
}

fn one(table: raw::Table, at: &str, faults: &mut Faults) -> Option<Table> {
    let format = table.format;
    let here = |key: &str| below(at, key);
    let files = table.files.as_ref().and_then(|f| faults.take(&here("files"), Pattern::parse(f)));
    if files.as_ref().is_some_and(|f| !f.is_absolute) {
        faults.add(&here("files"), "a path begins with /");
    }
    match (&table.files, &table.url) {
        (Some(_), Some(_)) => faults.add(&here("url"), "files or url, not both: a table with files reads none over HTTP"),
        (None, _) if format == Format::Text => {
            faults.add(&here("format"), "text is of files, a value each; over HTTP it is \"json\" or \"prometheus\"")
        }
        (None, Some(url)) if !url.starts_with(['/', '?']) => {
            faults.add(&here("url"), format!("{url:?} is added to the target's address, so it begins with / or ?"))
        }
        _ => {}
    }
    if table.max_age_seconds.is_some() && table.files.is_none() {
        faults.add(&here("max_age_seconds"), "an age is of a file; this table has no `files`");
    }
    let rows = table.rows.as_ref().and_then(|r| faults.take(&here("rows"), Pattern::parse(r)));
    if table.rows.is_some() && format != Format::Json {
        faults.add(&here("rows"), "rows are of JSON; of a text table they are what `files` matches, of an exposition what has an identity");
    }
    let own: Vec<String> = files.iter().chain(&rows).flat_map(Pattern::names).map(str::to_owned).collect();
    if let Some(twice) = own.iter().enumerate().find_map(|(i, n)| own[..i].contains(n).then_some(n)) {
        faults.add(&here("rows"), format!("the part {{{twice}}} stands in `files`, too; each has a name of its own"));
    }
    let mut reader = Reader { format, parts: own.clone(), faults };
    let node = table.node.as_ref().map(|r| reader.rule(r, &here("node")));
    let common = reader.sentinels(&table.unavailable, &here("unavailable"));
    let mut subjects: Vec<Subject> = Vec::new();
    // What each subject is called, and the parts that its rows have.
    let mut known: Vec<(Option<String>, Vec<String>)> = Vec::new();
    for (i, subject) in table.subjects.iter().enumerate() {
        let at = below(&here("subjects"), &i.to_string());
        if subject.name.as_deref().is_some_and(|n| matches!(n, "node" | "none" | "") || known.iter().any(|(k, _)| k.as_deref() == Some(n)))
        {
            reader.faults.add(&below(&at, "name"), "a name is not empty, not node or none, and stands once");
        }
        let parent = match subject.parent.as_deref() {
            None if matches!(subject.kind.as_str(), "node" | "cluster" | "facility") => Parent::None,
            None | Some("node") => Parent::Node,
            Some("none") => Parent::None,
            Some(name) => match known.iter().position(|(k, _)| k.as_deref() == Some(name)) {
                Some(place) => Parent::Subject(place),
                None => {
                    let names = known.iter().filter_map(|(k, _)| k.as_deref()).chain(["node", "none"]);
                    let why = format!("parent {name:?} is no subject that stands before{}", instead(name, names));
                    reader.faults.add(&below(&at, "parent"), why);
                    Parent::None
                }
            },
        };
        let mut parts = match parent {
            Parent::Subject(place) => known[place].1.clone(),
            _ => own.clone(),
        };
        let each = subject.each.as_ref().and_then(|e| reader.faults.take(&below(&at, "each"), Pattern::parse(e)));
        if subject.each.is_some() && format == Format::Prometheus {
            reader.faults.add(&below(&at, "each"), "an exposition has no paths: its subjects are told by their identity");
        }
        for name in each.iter().flat_map(Pattern::names) {
            if parts.iter().any(|p| p == name) {
                reader.faults.add(&below(&at, "each"), format!("the part {{{name}}} stands further up already"));
            }
            parts.push(name.to_owned());
        }
        reader.parts = parts.clone();
        subjects.push(reader.subject(subject, &at, parent, each, &common));
        known.push((subject.name.clone(), parts));
    }
    let place = table.files.or(table.url).unwrap_or_default();
    let max_age_ms = table.max_age_seconds.map(|s| i64::from(s) * 1_000);
    Some(Table { name: table.name, files, place, format, rows, max_rows: table.max_rows, max_age_ms, node, subjects })
}

/// Reads rules of one table, whose rows have these parts.
struct Reader<'f> {
    format: Format,
    parts: Vec<String>,
    faults: &'f mut Faults,
}

impl Reader<'_> {
    fn subject(&mut self, s: &raw::Subject, at: &str, parent: Parent, each: Option<Pattern>, common: &[Sentinel]) -> Subject {
        let kind = KINDS.iter().find(|(k, _)| *k == s.kind);
        if kind.is_none() && !s.kind.starts_with("x_") {
            let why = format!(
                "unknown kind {:?}{}; or x_… for what the model does not know",
                s.kind,
                instead(&s.kind, KINDS.iter().map(|k| k.0))
            );
            self.faults.add(&below(at, "kind"), why);
        }
        let identity_at = below(at, "identity");
        for key in s.identity.keys() {
            let allowed: &[&str] = kind.map_or(if s.kind.starts_with("x_") { &["name", "index"] } else { &[] }, |k| k.1);
            if !allowed.is_empty() && !allowed.contains(&key.as_str()) {
                let why = format!("{key:?} does not tell one {} from another; what does: {}", s.kind, allowed.join(", "));
                self.faults.add(&below(&identity_at, key), why);
            }
        }
        let labels_at = below(at, "labels");
        for key in s.labels.keys() {
            let first = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !first || key.len() > 128 || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b)) {
                self.faults.add(&below(&labels_at, key), "the name of a label is [a-zA-Z_][a-zA-Z0-9_.:/-]*");
            }
            if s.identity.contains_key(key) {
                self.faults.add(&below(&labels_at, key), format!("{key:?} is in the identity, too"));
            }
        }
        let only = s.only.iter().enumerate().map(|(i, o)| self.only(o, &below(&below(at, "only"), &i.to_string()))).collect();
        let identity = s.identity.iter().map(|(k, r)| (k.clone(), self.rule(r, &below(&identity_at, k)))).collect();
        let labels = s.labels.iter().map(|(k, r)| (k.clone(), self.rule(r, &below(&labels_at, k)))).collect();
        let metrics_at = below(at, "metrics");
        let metrics = s.metrics.iter().filter_map(|(name, m)| self.metric(name, m, &below(&metrics_at, name), common)).collect();
        Subject { kind: s.kind.clone(), parent, each, only, identity, labels, metrics }
    }

    fn only(&mut self, o: &raw::Only, at: &str) -> Only {
        if o.is.is_some() == o.is_not.is_some() {
            self.faults.add(at, "either is = [\"…\"] or is_not = [\"…\"]");
        }
        Only { place: self.place(&o.place, at, true), is: o.is.clone(), is_not: o.is_not.clone() }
    }

    fn rule(&mut self, rule: &raw::Rule, at: &str) -> Rule {
        let found = match rule {
            raw::Rule::Text(text) => raw::Found { text: Some(text.clone()), ..raw::Found::default() },
            raw::Rule::Found(found) => (**found).clone(),
        };
        let raw::Found { place, text, cut_prefix, cut_suffix, rename } = found;
        let from = match text {
            Some(text) => {
                if place.file.is_some() || place.member.is_some() || place.label.is_some() {
                    self.faults.add(at, "a text, or a place where it stands, not both");
                }
                From::Text(self.template(&text, at).unwrap_or_else(Template::empty))
            }
            None => From::Place(self.place(&place, at, true)),
        };
        Rule { from, cut_prefix, cut_suffix, rename }
    }

    fn template(&mut self, text: &str, at: &str) -> Option<Template> {
        let template = self.faults.take(at, Template::parse(text))?;
        if self.format != Format::Prometheus
            && let Some(name) = template.names().find(|n| !self.parts.iter().any(|p| p == n))
        {
            let hint = match self.parts.is_empty() {
                true => "; no path here has parts".to_owned(),
                false => instead(name, self.parts.iter().map(String::as_str)),
            };
            self.faults.add(at, format!("{{{name}}} is no part of the path{hint}"));
        }
        Some(template)
    }

    /// What a place may be made of depends on the format.
    fn place(&mut self, p: &raw::Place, at: &str, is_needed: bool) -> Place {
        let (format, own) = match self.format {
            Format::Text => ("text", "file, key, word"),
            Format::Json => ("json", "member, word"),
            Format::Prometheus => ("prometheus", "label"),
        };
        let given = [
            ("file", p.file.is_some()),
            ("member", p.member.is_some()),
            ("key", p.key.is_some()),
            ("word", p.word.is_some()),
            ("label", p.label.is_some()),
        ];
        for (name, _) in given.iter().filter(|(name, is)| *is && !own.split(", ").any(|o| o == *name)) {
            // A JSON file in a text table is read by its member.
            if !(self.format == Format::Text && *name == "member") {
                self.faults.add(&below(at, name), format!("{name:?} is not of a {format} table, in which a place is made of {own}"));
            }
        }
        let is_none = given.iter().all(|(_, is)| !is);
        if is_none && is_needed && self.format != Format::Text {
            let main = if self.format == Format::Json { "member" } else { "label" };
            self.faults.add(at, format!("{main:?} is missing: it says where the value stands"));
        }
        if p.key.is_some() && p.member.is_some() {
            self.faults.add(&below(at, "key"), "a key is of lines, a member of JSON; one of them");
        }
        let file = p.file.as_ref().and_then(|f| {
            let at = below(at, "file");
            if f.split('/').any(|e| matches!(e, "" | "." | ".." | "**")) {
                self.faults.add(&at, format!("{f:?} lies below what `files` matched: no / at its front, no `.`, `..` or `**` in it"));
            }
            self.template(f, &at)
        });
        Place { file, member: p.member.clone(), key: p.key.clone(), word: p.word, label: p.label.clone() }
    }

    fn sentinels(&mut self, all: &BTreeMap<String, String>, at: &str) -> Vec<Sentinel> {
        let one = |(text, why): (&String, &String)| match reason(why) {
            Some(reason) => Some(Sentinel { text: text.clone(), number: number(text), reason }),
            None => {
                let why = format!("{why:?} is no reason{}", instead(why, ["unsupported", "stale", "denied", "error", "absent"]));
                self.faults.add(&below(at, text), why);
                None
            }
        };
        all.iter().filter_map(one).collect()
    }

    fn metric(&mut self, name: &str, m: &raw::Metric, at: &str, common: &[Sentinel]) -> Option<Metric> {
        let known = METRICS.iter().find(|k| k.name == name);
        let is_own = name.starts_with("x_");
        if known.is_none() && !is_own {
            let names = METRICS.iter().map(|k| k.name);
            let why = format!("unknown metric {name:?}{}; one of your own begins with x_: x_VENDOR_NAME_UNIT", instead(name, names));
            self.faults.add(at, why);
            return None;
        }
        if is_own && (name.len() > 100 || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')) {
            self.faults.add(at, format!("{name:?}: a metric of your own is x_, then [a-z0-9_], at most 100 bytes"));
        }
        let unit = known.map_or_else(|| units::of_name(name), |k| k.unit);
        let kind = match (known.map(|k| k.kind), m.kind.as_deref()) {
            (Some(kind), None) => kind,
            (Some(_), Some(_)) => {
                self.faults.add(&below(at, "kind"), "the catalogue says it; a kind is for x_ metrics");
                return None;
            }
            (None, Some("counter")) => catalogue::Kind::Counter,
            (None, None) if !m.states.is_empty() => catalogue::Kind::State,
            (None, None) if name.ends_with("_total") => catalogue::Kind::Counter,
            (None, _) => catalogue::Kind::Gauge,
        };
        let is_state = kind == catalogue::Kind::State;
        let (names, states) = self.states(name, known.map(|k| k.states), m, at, is_state);
        let factor = match (&m.unit, m.factor) {
            (Some(_), Some(_)) => {
                self.faults.add(&below(at, "factor"), "a unit or a factor, not both");
                1.0
            }
            (None, factor) => factor.unwrap_or(1.0),
            (Some(given), None) => units::factor(unit, given).unwrap_or_else(|| {
                let all = units::known(unit);
                let why = format!("{given:?} is no unit of {name}, which is in {unit}; known are {}; or give a factor", all.join(" "));
                self.faults.add(&below(at, "unit"), why);
                1.0
            }),
        };
        if is_state && (m.unit.is_some() || m.factor.is_some() || m.offset.is_some()) {
            self.faults.add(at, format!("{name} is a state: it has states, no unit"));
        }
        let mut unavailable = self.sentinels(&m.unavailable, &below(at, "unavailable"));
        unavailable.extend(common.iter().cloned());
        let series = match &m.series {
            None => Vec::new(),
            Some(raw::Names::One(name)) => vec![name.clone()],
            Some(raw::Names::Many(names)) => names.clone(),
        };
        match (self.format, series.is_empty()) {
            (Format::Prometheus, true) => self.faults.add(at, "\"series\" is missing: the name of the samples"),
            (Format::Text | Format::Json, false) => self.faults.add(&below(at, "series"), "series are of a prometheus table"),
            _ => {}
        }
        if self.format != Format::Prometheus && !m.matching.is_empty() {
            self.faults.add(&below(at, "where"), "labels are of a prometheus table");
        }
        let place = self.place(&m.place, at, self.format == Format::Json);
        let definition = MetricDef {
            name: name.to_owned(),
            help: String::new(),
            unit: if is_state { "state".to_owned() } else { unit.to_owned() },
            kind: match kind {
                catalogue::Kind::Gauge => MetricKind::Gauge,
                catalogue::Kind::Counter => MetricKind::Counter,
                catalogue::Kind::State => MetricKind::State,
            },
            quality: match m.quality.as_deref() {
                Some("derived") => Quality::Derived,
                Some("modelled") => Quality::Modelled,
                _ => Quality::Measured,
            },
            states: names,
        };
        let missing = match m.missing.as_deref() {
            Some("leave_out") => None,
            Some("unsupported") => Some(GapReason::Unsupported),
            _ => Some(GapReason::Absent),
        };
        let matching = m.matching.clone().into_iter().collect();
        Some(Metric { definition, place, series, matching, factor, offset: m.offset.unwrap_or(0.0), unavailable, states, missing })
    }

    /// Names of a state, and which of them what the source writes means.
    fn states(
        &mut self,
        name: &str,
        known: Option<&[&str]>,
        m: &raw::Metric,
        at: &str,
        is_state: bool,
    ) -> (Vec<String>, Vec<(String, u32)>) {
        let at = below(at, "states");
        if !is_state {
            if !m.states.is_empty() {
                self.faults.add(&at, format!("{name} is a number: it has a unit, no states"));
            }
            return (Vec::new(), Vec::new());
        }
        let mut names: Vec<String> = known.unwrap_or_default().iter().map(|s| (*s).to_owned()).collect();
        let mut states = Vec::new();
        for (text, state) in &m.states {
            match names.iter().position(|n| n == state) {
                Some(place) => states.push((text.clone(), place as u32)),
                None if known.is_none() => {
                    states.push((text.clone(), names.len() as u32));
                    names.push(state.clone());
                }
                None => {
                    let why = format!("{name} has no state {state:?}{}", instead(state, names.iter().map(String::as_str)));
                    self.faults.add(&below(&at, text), why);
                }
            }
        }
        // A source that writes a state's own name needs no rule for it.
        states.extend(names.iter().enumerate().map(|(i, n)| (n.clone(), i as u32)));
        (names, states)
    }
}

fn reason(word: &str) -> Option<GapReason> {
    Some(match word {
        "unsupported" => GapReason::Unsupported,
        "stale" => GapReason::Stale,
        "denied" => GapReason::Denied,
        "error" => GapReason::Error,
        "absent" => GapReason::Absent,
        _ => return None,
    })
}
