//! What a batch holds, by name: for a plugin's own native tests.

use std::collections::BTreeMap;

use crate::bindings::kcloud::collector::types as t;
use crate::exporter::{Out, Source, definitions, read_series, read_text};
use crate::exposition::Format;
use crate::promql::Series;
use crate::{Batch, CollectError, GapReason, MetricDef, Quality, Target};

/// A batch with its metrics' definitions.
pub struct Seen {
    pub batch: t::Batch,
    metrics: Vec<MetricDef>,
}

/// A target with these labels.
pub fn target(address: &str, labels: &[(&str, &str)]) -> Target {
    Target {
        id: "t".to_owned(),
        address: address.to_owned(),
        cluster: "cluster1".to_owned(),
        labels: labels.iter().map(|(k, v)| crate::exporter::label(k, v)).collect(),
        credential: None,
        config: "{}".to_owned(),
    }
}

/// A capture of the field, by its path below `shared/fixtures` beside the checkout; says loudly when it is not there.
pub fn capture(path: &str) -> Option<String> {
    let file = format!("{}/../../../shared/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file);
    if text.is_err() {
        eprintln!("NOT RUN: {file} is not here");
    }
    text.ok()
}

/// The captures of a source in the shared folder, by name; `None`, and said loudly, where that is not there. `manifest` is the
/// test's `CARGO_MANIFEST_DIR`, two below the repository's root.
pub fn captures(manifest: &str, source: &str) -> Option<Vec<(String, String)>> {
    let folder = std::path::Path::new(manifest).join("../../../shared/fixtures").join(source);
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!("NOT RUN: {} is not here", folder.display());
        return None;
    };
    let read = |file: std::fs::DirEntry| {
        let text = std::fs::read_to_string(file.path()).expect("a capture is text");
        (file.file_name().to_string_lossy().into_owned(), text)
    };
    let mut all: Vec<_> = files.map(|file| read(file.expect("an entry"))).collect();
    all.sort();
    Some(all)
}

/// A capture with lines between its lines that no parser can read; all else must be read as before.
pub fn with_broken_lines(text: &str) -> String {
    text.split_inclusive('\n').enumerate().fold(String::new(), |out, (at, line)| match at % 7 {
        3 => out + line + "broken{a=\"1\n",
        5 => out + line + "a_name{b=\"c\"} ERROR - FAILED TO CONVERT\n",
        _ => out + line,
    })
}

/// A capture cut off at many places; none may make a reader panic.
pub fn cut_off(text: &str) -> impl Iterator<Item = &str> {
    (0..text.len()).step_by(131).map(|at| &text[..text.floor_char_boundary(at)])
}

impl Seen {
    /// The sum of a metric over the subjects of a kind, as people read it: to a millionth.
    pub fn total(&self, kind: &str, metric: &str) -> f64 {
        let sum: f64 = self.all(kind).into_iter().filter_map(|s| self.value(s, metric)).sum();
        (sum * 1e6).round() / 1e6
    }

    /// How many subjects of a kind there are, how many with a reading of a metric, and how many with a gap in its place.
    pub fn count(&self, kind: &str, metric: &str) -> (usize, usize, usize) {
        let all = self.all(kind);
        let said = all.iter().filter(|s| self.value(**s, metric).is_some()).count();
        (all.len(), said, all.iter().filter(|s| self.gap(**s, metric).is_some()).count())
    }

    /// A finished batch, with the metrics that were described.
    pub fn over(described: Vec<MetricDef>, batch: t::Batch) -> Self {
        Self { metrics: described.into_iter().chain(batch.metrics.iter().cloned()).collect(), batch }
    }

    /// What a source makes of an exporter's text.
    pub fn text<S: Source>(source: &mut S, target: &Target, text: &str) -> Self {
        Self::try_text(source, target, text).expect("an answer")
    }

    /// The same of a text that may have nothing to say.
    pub fn try_text<S: Source>(source: &mut S, target: &Target, text: &str) -> Result<Self, CollectError> {
        Self::with::<S>(|out| read_text(source, target, text, Format::Prometheus, out))
    }

    /// What it makes of a server's answer: the `result` of an instant query.
    pub fn series<S: Source>(source: &mut S, series: &[Series], scraped: &BTreeMap<(String, String), i64>) -> Self {
        let mut read = |out: &mut Out<'_>| read_series(source, &target("http://prometheus:9090", &[]), series, scraped, out);
        let seen = Self::with::<S>(|out| {
            read(out);
            Ok(())
        });
        seen.expect("an answer")
    }

    fn with<S: Source>(read: impl FnOnce(&mut Out<'_>) -> Result<(), CollectError>) -> Result<Self, CollectError> {
        Self::of(definitions(S::METRICS), |batch| read(&mut Out::new::<S>(batch, 0)))
    }

    /// What is put into a batch over these metrics.
    pub fn of(metrics: Vec<MetricDef>, read: impl FnOnce(&mut Batch) -> Result<(), CollectError>) -> Result<Self, CollectError> {
        let mut batch = Batch::new(metrics.clone());
        read(&mut batch)?;
        let batch = batch.finish();
        Ok(Self { metrics: metrics.into_iter().chain(batch.metrics.iter().cloned()).collect(), batch })
    }

    /// All readings of a metric on subjects of a kind, the smallest first.
    pub fn values(&self, kind: &str, metric: &str) -> Vec<f64> {
        let mut all: Vec<f64> = self.all(kind).into_iter().filter_map(|s| self.value(s, metric)).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    fn name(&self, metric: u32) -> &str {
        &self.metrics[metric as usize].name
    }

    /// Places of the subjects of a kind.
    pub fn all(&self, kind: &str) -> Vec<u32> {
        (0..self.batch.subjects.len() as u32).filter(|i| self.batch.subjects[*i as usize].kind == kind).collect()
    }

    /// The one subject of a kind that has this label.
    pub fn find(&self, kind: &str, key: &str, value: &str) -> Option<u32> {
        let mut found = self.all(kind).into_iter().filter(|i| self.label(*i, key) == Some(value));
        let first = found.next();
        assert!(found.next().is_none(), "two {kind} have {key}={value}");
        first
    }

    /// A label, descriptive or of the identity.
    pub fn label(&self, subject: u32, key: &str) -> Option<&str> {
        let s = &self.batch.subjects[subject as usize];
        s.identity.iter().chain(&s.labels).find(|l| l.key == key).map(|l| l.value.as_str())
    }

    /// Kind and place of what contains it.
    pub fn parent(&self, subject: u32) -> Option<(&str, u32)> {
        let parent = self.batch.subjects[subject as usize].parent?;
        Some((self.batch.subjects[parent as usize].kind.as_str(), parent))
    }

    /// The one reading of a metric.
    pub fn value(&self, subject: u32, metric: &str) -> Option<f64> {
        self.reading(subject, metric).map(|(value, _, _)| value)
    }

    /// Value, quality and stamp in ns.
    pub fn reading(&self, subject: u32, metric: &str) -> Option<(f64, Quality, Option<u64>)> {
        let plain = self.batch.points.iter().map(|p| (p.metric, p.subject, p.value, None));
        let timed = self.batch.timed_points.iter().map(|p| (p.metric, p.subject, p.value, Some(p.observed_at)));
        let mut found = plain.chain(timed).filter(|(m, s, ..)| *s == subject && self.name(*m) == metric);
        let (m, _, value, at) = found.next()?;
        assert!(found.next().is_none(), "{metric} is said twice of one subject");
        Some((value, self.metrics[m as usize].quality, at))
    }

    /// Why there is no reading.
    pub fn gap(&self, subject: u32, metric: &str) -> Option<GapReason> {
        self.batch.gaps.iter().find(|g| g.subject == subject && self.name(g.metric) == metric).map(|g| g.reason)
    }

    /// The name of a state.
    pub fn state(&self, subject: u32, metric: &str) -> Option<&str> {
        let found = self.batch.states.iter().find(|s| s.subject == subject && self.name(s.metric) == metric)?;
        self.metrics[found.metric as usize].states.get(found.state as usize).map(String::as_str)
    }

    /// The text of what was wrong.
    pub fn problems(&self) -> String {
        self.batch.problems.iter().map(|p| format!("{:?}\n", p.error)).collect()
    }
}
