//! What lists share: order, pages, a part of the fields, and the clusters that there are.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::params::Params;
use super::super::{App, Problem, Rendered};
use crate::inventory::Subject;

/// By what a list is ordered. What is unknown comes last, whatever the direction.
pub(super) enum Key<'a> {
    Number(Option<f64>),
    Text(Cow<'a, str>),
}

impl Key<'_> {
    fn compare(&self, other: &Self, down: bool) -> Ordering {
        let turned = |o: Ordering| if down { o.reverse() } else { o };
        match (self, other) {
            (Key::Number(Some(a)), Key::Number(Some(b))) => turned(a.total_cmp(b)),
            (Key::Number(a), Key::Number(b)) => b.is_some().cmp(&a.is_some()),
            (Key::Text(a), Key::Text(b)) => turned(a.cmp(b)),
            _ => Ordering::Equal,
        }
    }
}

impl<'a> From<Option<&'a str>> for Key<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text.unwrap_or("").into())
    }
}

/// `sort=-power_watts`: brings the page that is asked for into order; what lies behind it is left as it is.
pub(super) fn arrange<'a>(
    all: &mut Vec<&'a Arc<Subject>>,
    params: &Params,
    allowed: &[&str],
    key: impl Fn(&'a Subject, &str) -> Key<'a>,
) -> Result<(), Problem> {
    let Some(given) = params.get("sort") else { return Ok(()) };
    let (field, down) = given.strip_prefix('-').map_or((given, false), |f| (f, true));
    if !allowed.contains(&field) {
        return Err(Problem::parameter("sort", given, format!("{}, with - for descending", allowed.join(" "))));
    }
    let (limit, offset) = params.page()?;
    let mut keyed: Vec<(Key<'a>, usize)> = all.iter().enumerate().map(|(i, s)| (key(s, field), i)).collect();
    let order = |a: &(Key<'a>, usize), b: &(Key<'a>, usize)| a.0.compare(&b.0, down).then(a.1.cmp(&b.1));
    let end = offset.saturating_add(limit);
    if end < keyed.len() {
        keyed.select_nth_unstable_by(end, order);
        keyed.truncate(end);
    }
    keyed.sort_unstable_by(order);
    let first: Vec<&'a Arc<Subject>> = keyed.iter().map(|(_, i)| all[*i]).collect();
    // Only the page is read; the rest keeps its number.
    all[..first.len()].copy_from_slice(&first);
    Ok(())
}

/// The page that is asked for, each row rendered by `row`.
pub(super) fn page<'a>(
    params: &Params,
    path: &str,
    all: &[&'a Arc<Subject>],
    row: impl Fn(&'a Subject) -> Map<String, Value>,
) -> Result<Rendered, Problem> {
    let (limit, offset) = params.page()?;
    let mut rows: Vec<Map<String, Value>> = all.iter().skip(offset).take(limit).map(|s| row(s)).collect();
    only(&mut rows, params.get("fields"))?;
    let link = params.link(path, all.len())?;
    Ok(Rendered { link, ..Rendered::list(&rows, all.len())? })
}

/// `fields=a,b`: only these.
pub(super) fn only(rows: &mut [Map<String, Value>], fields: Option<&str>) -> Result<(), Problem> {
    let Some(fields) = fields else { return Ok(()) };
    let wanted: Vec<&str> = fields.split(',').map(str::trim).collect();
    if let Some(first) = rows.first()
        && let Some(unknown) = wanted.iter().find(|w| !first.contains_key(**w))
    {
        let known: Vec<&str> = first.keys().map(String::as_str).collect();
        return Err(Problem::parameter("fields", unknown, known.join(", ")));
    }
    rows.iter_mut().for_each(|r| r.retain(|k, _| wanted.contains(&k.as_str())));
    Ok(())
}

/// A cluster that nobody configured is an error, not an empty list.
pub(super) fn known_cluster(app: &App, params: &Params) -> Result<(), Problem> {
    match &params.cluster {
        Some(name) if !app.clusters().iter().any(|c| c.name == *name) => Err(Problem::not_found("cluster", name)),
        _ => Ok(()),
    }
}

/// The one subject that a name means; several clusters may have one of that name.
pub(super) fn the_one<'a>(what: &str, name: &str, found: &[&'a Arc<Subject>]) -> Result<&'a Arc<Subject>, Problem> {
    match found {
        [one] => Ok(one),
        [] => Err(Problem::not_found(what, name)),
        several => Err(Problem::ambiguous(name, several.iter().map(|s| format!("cluster={} {name}", s.cluster)).collect())),
    }
}

/// A row of these.
pub(super) fn fields<const N: usize>(rows: [(&str, Value); N]) -> Map<String, Value> {
    rows.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}
