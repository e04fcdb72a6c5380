//! Writes exposition text: a family's head once, then its samples.

use std::fmt::Write;

/// Labels and value of samples that are put together before they are written.
pub(crate) type Rows = Vec<(Labels, f64)>;
pub(crate) type Labels = Vec<(&'static str, String)>;

pub(crate) struct Page {
    text: String,
    name: String,
    stamp: Option<u64>,
}

impl Page {
    pub fn new() -> Self {
        Self { text: String::with_capacity(1 << 16), name: String::new(), stamp: None }
    }

    /// Every sample ends with this time from here on.
    pub fn stamped(mut self, at_ms: u64) -> Self {
        self.stamp = Some(at_ms);
        self
    }

    /// Begins a family; samples that follow are of it.
    pub fn family(&mut self, name: &str, kind: &str) -> &mut Self {
        // Writing to a String cannot fail.
        writeln!(self.text, "# HELP {name} simulated\n# TYPE {name} {kind}").unwrap_or_default();
        self.name.clear();
        self.name.push_str(name);
        self
    }

    pub fn gauge(&mut self, name: &str) -> &mut Self {
        self.family(name, "gauge")
    }

    pub fn counter(&mut self, name: &str) -> &mut Self {
        self.family(name, "counter")
    }

    /// The same, as the last of a chain.
    pub fn row(&mut self, labels: &[(&str, &str)], value: f64) {
        self.sample(labels, value);
    }

    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.text.push_str(&self.name);
        let mut open = '{';
        for (key, value) in labels {
            self.text.push(open);
            open = ',';
            self.text.push_str(key);
            self.text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' | '"' => self.text.extend(['\\', c]),
                    '\n' => self.text.push_str("\\n"),
                    _ => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if open == ',' {
            self.text.push('}');
        }
        write!(self.text, " {value}").unwrap_or_default();
        if let Some(at_ms) = self.stamp {
            write!(self.text, " {at_ms}").unwrap_or_default();
        }
        self.text.push('\n');
        self
    }

    pub fn rows(&mut self, rows: Rows) {
        for (labels, value) in rows {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
            self.sample(&labels, value);
        }
    }

    pub fn done(self) -> String {
        self.text
    }
}
