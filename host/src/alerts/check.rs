//! From a rule as it is written to one that can be evaluated, or to what is wrong with it and what is allowed.

use super::file::{ClauseFile, OneOrMany, RuleFile};
use super::message::Template;
use super::rule::{Bound, Clause, Condition, Metric, Pattern, PowerBy, PowerTest, Quantity, Rule, Test};
use crate::catalogue::{self, Catalogue};
use crate::config::Period;
use crate::inventory::Kind;

const MOST_LABELS: usize = 32;
/// What only happens counts for this long, unless its rule says otherwise.
const KEEP_MS: i64 = 3_600_000;
/// Labels that every alert has already.
const OWN_LABELS: [&str; 7] = ["alertname", "cluster", "code", "node", "resource_id", "resource_type", "severity"];

/// What is wrong, and at which key.
pub struct Fault(pub &'static str, pub String);

pub type Checked<T> = Result<T, Fault>;

fn fault<T>(key: &'static str, text: impl Into<String>) -> Checked<T> {
    Err(Fault(key, text.into()))
}

/// The rule; `None` where it is switched off.
pub fn check(file: RuleFile, origin: &str) -> Checked<Option<Rule>> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if file.name.is_empty() || file.name.len() > 100 || !file.name.chars().all(is_name) {
        return fault("name", "name: 1 to 100 of letters, digits, - _ .");
    }
    let (condition, kind, unit) = condition(&file)?;
    let is_timed = matches!(
        condition,
        Condition::Number(_)
            | Condition::Vanished
            | Condition::StaleSource
            | Condition::Power { test: PowerTest::Bound(_) | PowerTest::Budgets { .. }, .. }
    );
    if file.hold.is_some() && !is_timed {
        return fault(
            "for",
            "for: what only happens (event, increases, spike_percent) does not last; it counts for as long as `keep` says",
        );
    }
    if file.keep.is_some() && is_timed {
        return fault("keep", "keep is for what only happens: event, increases, spike_percent");
    }
    if file.until.is_some() && !matches!(condition, Condition::Event { .. } | Condition::Increases { .. }) {
        return fault("until", "until is for event and increases");
    }
    let gates = file.and.iter().flatten().map(gate).collect::<Checked<Vec<_>>>()?;
    if !gates.is_empty() && !matches!(condition, Condition::Number(_) | Condition::Increases { .. } | Condition::Spike { .. }) {
        return fault("and", "and is for rules about a metric");
    }
    let mut filter = Vec::new();
    for (key, values) in file.filter.iter().flatten() {
        let allowed: Option<&[&str]> = match &condition {
            Condition::StaleSource => Some(&["cluster", "plugin", "target"]),
            Condition::Power { .. } => Some(&["cluster", "node", "namespace"]),
            _ => None,
        };
        if allowed.is_some_and(|a| !a.contains(&key.as_str())) {
            return fault("where", format!("where: {key:?}; this rule knows {}", allowed.unwrap_or_default().join(", ")));
        }
        if values.all().is_empty() || values.all().iter().any(|v| v.is_empty() || v.len() > 256) {
            return fault("where", format!("where: {key:?} has no value, or one that is empty or longer than 256 bytes"));
        }
        if let Some(bad) = values.all().iter().find(|v| v.trim_end_matches('*').contains('*') || v.ends_with("**")) {
            return fault(
                "where",
                format!("where: {key} = {bad:?}: a * stands at the end alone and means any ending; there is no other pattern"),
            );
        }
        filter.push((key.clone(), values.all().iter().map(|v| Pattern::new(v)).collect()));
    }
    let Some(severity) = file.severity else { return fault("name", "severity is missing: info, warning or critical") };
    let Some(text) = &file.message else { return fault("name", "message is missing") };
    let message = Template::parse(text).map_err(|e| Fault("message", format!("message: {e}")))?;
    let message_ko =
        file.message_ko.as_deref().map(Template::parse).transpose().map_err(|e| Fault("message_ko", format!("message_ko: {e}")))?;
    let mut labels = Vec::new();
    for (name, value) in file.labels.iter().flatten() {
        let is_label = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.len() > 100 || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_label) {
            return fault("labels", format!("labels: {name:?} is no label name; allowed: letters, digits, _, not a digit first"));
        }
        if OWN_LABELS.contains(&name.as_str()) {
            return fault("labels", format!("labels: every alert has a {name:?} of its own"));
        }
        if value.is_empty() || value.len() > 256 || value.chars().any(char::is_control) {
            return fault("labels", format!("labels: {name}: 1 to 256 bytes without control characters"));
        }
        labels.push((name.as_str().into(), value.as_str().into()));
    }
    if labels.len() > MOST_LABELS {
        return fault("labels", format!("labels: at most {MOST_LABELS}"));
    }
    let ms = |p: Period| i64::try_from(p.0.as_millis()).unwrap_or(i64::MAX / 4);
    if file.enabled == Some(false) {
        return Ok(None);
    }
    Ok(Some(Rule {
        name: file.name.as_str().into(),
        severity,
        kind,
        filter,
        condition,
        gates,
        hold_ms: file.hold.map_or(0, ms),
        keep_ms: file.keep.map_or(KEEP_MS, ms),
        is_until_reset: file.until.is_some(),
        message,
        message_ko,
        labels,
        origin: origin.into(),
        unit,
        file,
    }))
}

/// What is looked for, of which kind of subject, and its unit as a person writes it.
fn condition(file: &RuleFile) -> Checked<(Condition, Option<Kind>, &'static str)> {
    let flag = |given: Option<bool>, key: &'static str| match given {
        Some(false) => fault(key, format!("{key} = false says nothing; leave it out")),
        given => Ok(given.is_some()),
    };
    let forms = [
        ("metric", file.metric.is_some()),
        ("event", file.event.is_some()),
        ("vanished", flag(file.vanished, "vanished")?),
        ("stale_source", flag(file.stale_source, "stale_source")?),
        ("power_by", file.power_by.is_some()),
    ];
    let mut given = forms.iter().filter(|(_, is)| *is);
    let form = match (given.next(), given.next()) {
        (Some((form, _)), None) => *form,
        (None, _) => return fault("name", "what it looks for is missing: one of metric, event, vanished, stale_source, power_by"),
        (Some((a, _)), Some((b, _))) => return fault(b, format!("{a} and {b}: one of metric, event, vanished, stale_source, power_by")),
    };
    // What belongs to another form would be passed over in silence.
    let of_form: [(&'static str, bool, &[&str]); 16] = [
        ("of", file.of.is_some(), &["metric"]),
        ("rate", file.rate.is_some(), &["metric"]),
        ("near", file.near.is_some(), &["metric"]),
        ("within", file.within.is_some(), &["metric"]),
        ("state", file.state.is_some(), &["metric"]),
        ("bits", file.bits.is_some(), &["metric"]),
        ("increases", file.increases.is_some(), &["metric"]),
        ("above", file.above.is_some(), &["metric", "power_by"]),
        ("below", file.below.is_some(), &["metric", "power_by"]),
        ("clear", file.clear.is_some(), &["metric", "power_by"]),
        ("spike_percent", file.spike_percent.is_some(), &["metric", "power_by"]),
        ("least_watts", file.least_watts.is_some(), &["metric", "power_by"]),
        ("budgets", file.budgets.is_some(), &["power_by"]),
        ("except", file.except.is_some(), &["event"]),
        ("and", file.and.is_some(), &["metric"]),
        ("kind", file.kind.is_some(), &["metric", "event", "vanished"]),
    ];
    if let Some((key, ..)) = of_form.iter().find(|(_, is_given, forms)| *is_given && !forms.contains(&form)) {
        return fault(key, format!("{key} is not for a rule with {form}"));
    }
    let kind = match file.kind.as_deref() {
        None => Kind::Accelerator,
        Some(name) => match Kind::parse(name).filter(|k| *k != Kind::Other) {
            Some(kind) => kind,
            None => return fault("kind", format!("kind = {name:?}; allowed: {}", KINDS.map(Kind::name).join(", "))),
        },
    };
    let finite = |value: Option<f64>, key: &'static str| match value {
        Some(v) if !v.is_finite() => fault(key, format!("{key} is {v}; it is a number")),
        value => Ok(value),
    };
    let positive = |value: Option<f64>, key: &'static str| match finite(value, key)? {
        Some(v) if v <= 0.0 => fault(key, format!("{key} is {v}; it is a number above 0")),
        value => Ok(value),
    };
    if file.least_watts.is_some() && file.spike_percent.is_none() {
        return fault("least_watts", "least_watts goes with spike_percent");
    }
    let spike = || {
        Checked::Ok((
            positive(file.spike_percent, "spike_percent")?.unwrap_or(0.0),
            positive(file.least_watts, "least_watts")?.unwrap_or(0.0),
        ))
    };
    let patterns = |given: &OneOrMany, key: &'static str| -> Checked<Vec<Pattern>> {
        let is_good =
            |c: &String| !c.is_empty() && c.len() <= 200 && !c.trim_end_matches('*').contains('*') && !c.chars().any(char::is_control);
        match given.all().iter().find(|c| !is_good(c)) {
            Some(bad) => fault(key, format!("{key}: {bad:?} is no code; write such as \"xid:79\" or \"xid:*\"")),
            None if given.all().is_empty() => fault(key, format!("{key}: at least one code, such as \"xid:79\" or \"xid:*\"")),
            None => Ok(given.all().iter().map(|c| Pattern::new(c)).collect()),
        }
    };
    match form {
        "event" => {
            let codes = file.event.as_ref().map_or(Ok(Vec::new()), |e| patterns(e, "event"))?;
            let except = file.except.as_ref().map_or(Ok(Vec::new()), |e| patterns(e, "except"))?;
            Ok((Condition::Event { codes, except }, Some(kind), ""))
        }
        "vanished" => Ok((Condition::Vanished, Some(kind), "")),
        "stale_source" => Ok((Condition::StaleSource, None, "")),
        "power_by" => {
            let by = file.power_by.unwrap_or(PowerBy::Cluster);
            let tests = [file.above.is_some() || file.below.is_some(), file.budgets.is_some(), file.spike_percent.is_some()];
            if tests.iter().filter(|t| **t).count() != 1 {
                return fault("power_by", "power_by goes with one of above, below, budgets, spike_percent");
            }
            let test = if let Some(budgets) = &file.budgets {
                for watts in budgets.values() {
                    positive(Some(*watts), "budgets")?;
                }
                let clear = positive(file.clear, "clear")?.unwrap_or(1.0);
                if clear > 1.0 {
                    return fault("clear", "clear of budgets is a part of them: at most 1, such as 0.95");
                }
                PowerTest::Budgets { watts: budgets.iter().map(|(k, v)| (k.clone(), *v)).collect(), clear }
            } else if file.spike_percent.is_some() {
                let (percent, least_watts) = spike()?;
                PowerTest::Spike { percent, least_watts }
            } else {
                PowerTest::Bound(bound(file.above, file.below, file.clear)?)
            };
            Ok((Condition::Power { by, test }, None, "W"))
        }
        _ => {
            let name = file.metric.as_deref().unwrap_or("");
            let (base, factor) = metric(name, "metric")?;
            let def = Catalogue::known(&base).and_then(Catalogue::metric);
            let unit = unit(name);
            let tests = [
                ("above", file.above.is_some() || file.below.is_some()),
                ("near", file.near.is_some()),
                ("state", file.state.is_some()),
                ("bits", file.bits.is_some()),
                ("increases", file.increases.is_some()),
                ("spike_percent", file.spike_percent.is_some()),
            ];
            let mut given = tests.iter().filter(|(_, is)| *is).map(|(name, _)| *name);
            let test = match (given.next(), given.next()) {
                (Some(test), None) => test,
                (None, _) => {
                    return fault(
                        "metric",
                        "what is too much is missing: one of above, below, near, state, bits, increases, spike_percent",
                    );
                }
                (Some(a), Some(b)) => {
                    return fault(b, format!("{a} and {b}: one of above, below, near, state, bits, increases, spike_percent"));
                }
            };
            let is_state = def.is_some_and(|d| d.kind == catalogue::Kind::State);
            if is_state != (test == "state") && def.is_some() {
                let names = def.map_or_else(String::new, |d| d.states.join(", "));
                let allowed = if is_state { format!("state = one of {names}") } else { "a number: above, below, …".to_owned() };
                return fault(test, format!("{test} does not go with {base}, which has {allowed}"));
            }
            let is_counter = def.is_none_or(|d| d.kind == catalogue::Kind::Counter);
            let is_rate = file.rate.unwrap_or(false);
            if (is_rate || test == "increases") && !is_counter {
                let key = if is_rate { "rate" } else { "increases" };
                return fault(key, format!("{key} is for counters, such as ecc_uncorrected_total; {base} is none"));
            }
            if (is_rate || file.of.is_some()) && test != "above" {
                return fault(if is_rate { "rate" } else { "of" }, "rate and of go with above or below");
            }
            if is_rate && file.of.is_some() {
                return fault("of", "rate or of, not both");
            }
            if file.within.is_some() && test != "near" {
                return fault("within", "within goes with near");
            }
            if file.clear.is_some() && !matches!(test, "above" | "near") {
                return fault("clear", "clear goes with above, below or near");
            }
            let made = match test {
                "increases" => {
                    let by = positive(file.increases, "increases")?.unwrap_or(1.0);
                    return Ok((Condition::Increases { metric: Metric::new(&base), by: by / factor, factor }, Some(kind), unit));
                }
                "spike_percent" => {
                    let (percent, least) = spike()?;
                    if !base.ends_with("_watts") {
                        return fault("spike_percent", format!("spike_percent is for watts; {base} is none"));
                    }
                    return Ok((Condition::Spike { metric: Metric::new(&base), percent, least }, Some(kind), unit));
                }
                "state" => Test::State(states(&base, file.state.as_ref(), "state")?),
                "bits" => match file.bits.unwrap_or(0) {
                    0 => return fault("bits", "bits is 0; at least one bit is wanted, such as 0xE8"),
                    bits => Test::Bits(bits),
                },
                "near" => {
                    let limits = file.near.as_ref().map_or(&[][..], OneOrMany::all);
                    let limits =
                        limits.iter().map(|l| metric(l, "near").map(|(name, _)| Metric::new(&name))).collect::<Checked<Vec<_>>>()?;
                    if limits.is_empty() {
                        return fault("near", "near names the metrics that are its limits, such as [\"slowdown_temperature_celsius\"]");
                    }
                    let within = finite(file.within, "within")?.unwrap_or(0.0);
                    let clear = finite(file.clear, "clear")?.unwrap_or(within);
                    if within < 0.0 || clear < within {
                        return fault(
                            "clear",
                            format!("clear is {clear} and within {within}: distances to the limit, and clear is no nearer than within"),
                        );
                    }
                    Test::Near { limits, within, clear }
                }
                _ => Test::Bound(bound(file.above, file.below, file.clear)?),
            };
            let of = file.of.as_deref().map(|of| metric(of, "of")).transpose()?.map(|(of, _)| Metric::new(&of));
            let unit = if of.is_some() || is_rate { "" } else { unit };
            let factor = if of.is_some() { 1.0 } else { factor };
            let quantity = Quantity { metric: Metric::new(&base), of, is_rate, factor };
            Ok((Condition::Number(Clause { quantity, test: made }), Some(kind), unit))
        }
    }
}

const KINDS: [Kind; 15] = [
    Kind::Accelerator,
    Kind::Chassis,
    Kind::Cluster,
    Kind::Container,
    Kind::Core,
    Kind::Facility,
    Kind::Fan,
    Kind::Link,
    Kind::Node,
    Kind::Partition,
    Kind::Pod,
    Kind::Process,
    Kind::Psu,
    Kind::Sensor,
    Kind::Vm,
];

fn gate(file: &ClauseFile) -> Checked<Clause> {
    let (base, factor) = metric(&file.metric, "and")?;
    let is_bound = file.above.is_some() || file.below.is_some();
    let test = match &file.state {
        _ if file.known == Some(true) => return fault("and", "and: known = true says nothing: what is compared is known"),
        _ if file.known.is_some() && (is_bound || file.state.is_some() || file.of.is_some()) => {
            return fault("and", "and: known = false stands alone with its metric");
        }
        _ if file.known.is_some() => Test::Unknown,
        Some(_) if is_bound => return fault("and", "and: state, above or below, one of them"),
        Some(state) => Test::State(states(&base, Some(state), "and")?),
        None => Test::Bound(bound(file.above, file.below, None).map_err(|Fault(_, text)| Fault("and", format!("and: {text}")))?),
    };
    let of = file.of.as_deref().map(|of| metric(of, "and")).transpose()?.map(|(of, _)| Metric::new(&of));
    let factor = if of.is_some() { 1.0 } else { factor };
    Ok(Clause { quantity: Quantity { metric: Metric::new(&base), of, is_rate: false, factor }, test })
}

fn bound(above: Option<f64>, below: Option<f64>, clear: Option<f64>) -> Checked<Bound> {
    if let Some((key, v)) =
        [("above", above), ("below", below), ("clear", clear)].into_iter().find_map(|(k, v)| v.filter(|v| !v.is_finite()).map(|v| (k, v)))
    {
        return fault(key, format!("{key} is {v}; it is a number"));
    }
    match (above, below) {
        (Some(at), None) => match clear.unwrap_or(at) {
            clear if clear > at => fault("clear", format!("clear is {clear}, above is {at}: it clears at or below what it fires above")),
            clear => Ok(Bound::Above { at, clear }),
        },
        (None, Some(at)) => match clear.unwrap_or(at) {
            clear if clear < at => fault("clear", format!("clear is {clear}, below is {at}: it clears at or above what it fires below")),
            clear => Ok(Bound::Below { at, clear }),
        },
        _ => fault("above", "above or below, one of them"),
    }
}

/// A metric by its name in the catalogue, its documented one with another unit, or a plugin's own; with the factor from the base unit.
fn metric(name: &str, key: &'static str) -> Checked<(String, f64)> {
    let (base, factor) = catalogue::documented(name);
    let is_own =
        name.starts_with("x_") && name.len() <= 100 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_own {
        return Ok((name.to_owned(), 1.0));
    }
    if Catalogue::known(&base).is_some() {
        return Ok((base, factor));
    }
    let near = catalogue::METRICS.iter().map(|m| m.name).min_by_key(|m| crate::config::distance(name, m)).unwrap_or("");
    let name: String = name.chars().take(100).collect();
    fault(
        key,
        format!("{key}: {name:?} is no metric of the catalogue (spec/DATA_MODELS.md) and does not begin with x_; did you mean {near:?}?"),
    )
}

fn states(metric: &str, given: Option<&OneOrMany>, key: &'static str) -> Checked<Vec<bool>> {
    let Some(def) = Catalogue::known(metric).and_then(Catalogue::metric).filter(|d| !d.states.is_empty()) else {
        return fault(key, format!("{metric} is no state of the catalogue"));
    };
    let given = given.map_or(&[][..], OneOrMany::all);
    if let Some(bad) = given.iter().find(|s| !def.states.contains(&s.as_str())) {
        return fault(key, format!("{metric} has no state {bad:?}; its states are {}", def.states.join(", ")));
    }
    if given.is_empty() {
        return fault(key, format!("{key} names no state; there are {}", def.states.join(", ")));
    }
    Ok(def.states.iter().map(|s| given.iter().any(|g| g == s)).collect())
}

/// How a person writes the unit of a metric's name.
fn unit(name: &str) -> &'static str {
    const UNITS: [(&str, &str); 13] = [
        ("_celsius", "°C"),
        ("_watts", "W"),
        ("_percent", "%"),
        ("_bytes", "B"),
        ("_mb", "MiB"),
        ("_mhz", "MHz"),
        ("_hertz", "Hz"),
        ("_joules", "J"),
        ("_rpm", "rpm"),
        ("_volts", "V"),
        ("_amperes", "A"),
        ("_seconds_total", "s"),
        ("_cores", "cores"),
    ];
    UNITS.iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| unit)
}
