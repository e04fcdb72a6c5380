//! What the host counts of itself, and how it is written as Prometheus text.

use std::fmt::Write;
use std::time::Duration;

/// Upper bounds of a histogram of durations, in seconds.
const BOUNDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

/// A histogram of durations.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: [u64; BOUNDS.len()],
    sum: f64,
    count: u64,
}

impl Histogram {
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.buckets.iter_mut().zip(BOUNDS).filter(|(_, bound)| seconds <= *bound).for_each(|(n, _)| *n += 1);
        self.sum += seconds;
        self.count += 1;
    }
}

/// A page of Prometheus text. Label values are escaped here and nowhere else.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// Opens a family.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// One sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels = labels_of(labels);
        self.line(format_args!("{name}{labels} {value}"));
    }

    /// All samples of one histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut bucket = |bound: &str, n: u64| {
            let all: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound)]).collect();
            self.sample(&format!("{name}_bucket"), &all, n);
        };
        BOUNDS.iter().zip(histogram.buckets).for_each(|(bound, n)| bucket(&bound.to_string(), n));
        bucket("+Inf", histogram.count);
        self.sample(&format!("{name}_sum"), labels, histogram.sum);
        self.sample(&format!("{name}_count"), labels, histogram.count);
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        self.0.write_fmt(format_args!("{text}\n")).unwrap_or_default();
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

fn labels_of(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let each: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
    format!("{{{}}}", each.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_and_a_label_cannot_break_out() {
        let mut histogram = Histogram::default();
        [1, 20, 2_000].into_iter().for_each(|ms| histogram.observe(Duration::from_millis(ms)));
        let mut page = Page::default();
        page.histogram("x_seconds", &[("of", "a\"} 1\nb")], &histogram);
        let text = page.into_text();
        assert!(text.contains("x_seconds_bucket{of=\"a\\\"} 1\\nb\",le=\"0.05\"} 2"), "{text}");
        assert!(text.contains("le=\"+Inf\"} 3") && text.lines().count() == BOUNDS.len() + 3, "{text}");
    }
}
