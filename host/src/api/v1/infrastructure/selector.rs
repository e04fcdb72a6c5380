//! Label selectors as Kubernetes writes them: `a=b, a!=b, a in (x,y), a notin (x,y), a, !a`, all of which must hold.

use std::cell::Cell;

use super::super::super::Problem;
use crate::inventory::Subject;

#[derive(Debug, PartialEq)]
enum Demand {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// What the labels of a subject must be.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selector(Vec<(String, Demand, Place)>);

/// Where a label stood in the last subject: the next one mostly has the same labels.
type Place = Cell<usize>;

impl Selector {
    /// Takes what stands in a query.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = text else { return Ok(Self::default()) };
        let allowed = "a=b, a!=b, a in (x,y), a notin (x,y), a, !a, joined by commas";
        let all = split(text).and_then(|parts| parts.into_iter().map(demand).collect::<Option<Vec<_>>>());
        let all = all.map(|all| Self(all.into_iter().map(|(key, demand)| (key, demand, Cell::default())).collect()));
        all.ok_or_else(|| Problem::parameter("label_selector", text, allowed))
    }

    /// Whether a subject's labels are so.
    pub(super) fn takes(&self, s: &Subject) -> bool {
        self.0.iter().all(|(key, demand, place)| {
            let found = match s.labels.get(place.get()) {
                Some((k, v)) if **k == **key => Some(&**v),
                // Labels are sorted by key.
                _ => s.labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|i| {
                    place.set(i);
                    &*s.labels[i].1
                }),
            };
            match demand {
                Demand::In(values) => found.is_some_and(|v| values.iter().any(|w| w == v)),
                // As in Kubernetes: what has no such label is taken, too.
                Demand::NotIn(values) => found.is_none_or(|v| values.iter().all(|w| w != v)),
                Demand::Exists => found.is_some(),
                Demand::Absent => found.is_none(),
            }
        })
    }
}

/// At commas outside of parentheses.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            '(' if inside => return None,
            '(' => inside = true,
            ')' if !inside => return None,
            ')' => inside = false,
            ',' if !inside => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    (!inside).then_some(parts)
}

fn demand(text: &str) -> Option<(String, Demand)> {
    let key = |key: &str| {
        let key = key.trim();
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        is_key.then(|| format!("label:{key}"))
    };
    let value = |value: &str| {
        let value = value.trim();
        value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)).then(|| value.to_owned())
    };
    if let Some(absent) = text.strip_prefix('!') {
        return Some((key(absent)?, Demand::Absent));
    }
    if let Some(list) = text.strip_suffix(')') {
        let (head, list) = list.split_once('(')?;
        let values = list.split(',').map(value).collect::<Option<Vec<_>>>()?;
        let (name, how) = head.trim().rsplit_once(char::is_whitespace)?;
        return match how {
            "in" => Some((key(name)?, Demand::In(values))),
            "notin" => Some((key(name)?, Demand::NotIn(values))),
            _ => None,
        };
    }
    if let Some((name, other)) = text.split_once("!=") {
        return Some((key(name)?, Demand::NotIn(vec![value(other)?])));
    }
    if let Some((name, wanted)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some((key(name)?, Demand::In(vec![value(wanted)?])));
    }
    Some((key(text)?, Demand::Exists))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Kind, Life};

    fn pod(labels: &[(&str, &str)]) -> Subject {
        let mut labels: Vec<_> = labels.iter().map(|(k, v)| (format!("label:{k}").into(), (*v).into())).collect();
        labels.sort();
        Subject {
            id: "p".into(),
            kind: Kind::Pod,
            cluster: "c".into(),
            node: None,
            parent: None,
            identity: vec![],
            labels: labels.into(),
            readings: [].into(),
            others: vec![],
            first_seen_ms: 0,
            last_seen_ms: 0,
            life: Life::Live,
        }
    }

    #[test]
    fn every_form_of_kubernetes_selects_as_kubernetes_does() {
        let pod = pod(&[("app", "web"), ("app.kubernetes.io/name", "x"), ("empty", "")]);
        for (text, taken) in [
            ("app=web", true),
            ("app==web", true),
            ("app = db", false),
            ("app!=web", false),
            ("none!=web", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db)", true),
            ("none notin (db)", true),
            ("app", true),
            ("!app", false),
            ("!none", true),
            ("app.kubernetes.io/name=x,app in (web,db),!none", true),
            ("empty=", true),
        ] {
            assert_eq!(Selector::parse(Some(text)).unwrap().takes(&pod), taken, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", ",", "a=b,", "a in", "a in (b", "a in b)", "a of (b)", "a=b=c", "a{}", "=b", "a in ((b))", "a='b'"] {
            assert!(Selector::parse(Some(text)).is_err(), "{text}");
        }
    }
}
