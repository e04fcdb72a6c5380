//! Prometheus text 0.0.4 and OpenMetrics 1.0, read tolerantly.
//!
//! A bad line loses that line: it comes out as a [`BadLine`] with its number and the rest is read on. Zero copy, one
//! pass, nothing allocated per sample; label values are unescaped only when asked for, and a text of labels that stood there
//! before is compared, not read again.

mod body;
mod labels;
#[cfg(test)]
mod tests;

pub use body::{BodyError, decode};
pub use labels::Labels;

use labels::{Memory, begins_with};

/// A longer line is refused: no sample of a known source comes near it.
pub const MAX_LINE: usize = 64 << 10;

/// Which of the two dialects a body is in; they differ in the unit of timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Timestamps in milliseconds.
    Prometheus,
    /// Timestamps in seconds.
    OpenMetrics,
}

impl Format {
    /// By `Content-Type`; without one it is Prometheus text.
    pub fn of(content_type: Option<&str>) -> Self {
        match content_type.is_some_and(|c| c.trim_start().starts_with("application/openmetrics-text")) {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }
}

/// What `# TYPE` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    GaugeHistogram,
    StateSet,
    Info,
    Unknown,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    pub name: &'a str,
    pub labels: Labels<'a>,
    /// As written: NaN and the infinities are values here.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The text after `#`, unparsed.
    pub exemplar: Option<&'a str>,
    /// Counted from 1.
    pub line: u32,
}

/// One line that says something.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    Sample(Sample<'a>),
    Help { name: &'a str, text: &'a str },
    Type { name: &'a str, kind: Kind },
    Unit { name: &'a str, unit: &'a str },
    Eof,
}

/// A line that could not be read; the others were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in bytes.
    pub column: u32,
    pub reason: &'static str,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.reason)
    }
}

/// Reads a body line by line.
pub struct Parser<'a> {
    rest: &'a str,
    format: Format,
    line: u32,
    memory: Memory<'a>,
    /// Of the sample before: the lines of a family stand together.
    name: &'a str,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str, format: Format) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), format, line: 0, memory: Memory::default(), name: "" }
    }

    fn next_line(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match memchr::memchr(b'\n', self.rest.as_bytes()) {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, ""),
        };
        self.rest = rest;
        self.line += 1;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Event<'a>, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.next_line()?;
            let text = line.trim_start_matches([' ', '\t']);
            if text.is_empty() {
                continue;
            }
            let number = self.line;
            let bad = |column: usize, reason| BadLine { line: number, column: column as u32 + 1, reason };
            if line.len() > MAX_LINE {
                return Some(Err(bad(MAX_LINE, "longer than 64 KiB")));
            }
            if let Some(comment) = text.strip_prefix('#') {
                match meta(comment) {
                    Some(event) => return Some(Ok(event)),
                    None => continue,
                }
            }
            let indent = line.len() - text.len();
            let parsed = sample(text, self.format, number, self.name, &mut self.memory);
            if let Ok(sample) = &parsed {
                self.name = sample.name;
            }
            return Some(parsed.map(Event::Sample).map_err(|(column, reason)| bad(indent + column, reason)));
        }
    }
}

/// `# HELP`, `# TYPE`, `# UNIT`, `# EOF`; any other comment is none of ours, nor is a malformed one: it names no value.
fn meta(comment: &str) -> Option<Event<'_>> {
    let comment = comment.trim_start_matches([' ', '\t']);
    let (keyword, rest) = comment.split_once([' ', '\t']).unwrap_or((comment, ""));
    let rest = rest.trim_start_matches([' ', '\t']);
    let (name, text) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    match keyword {
        "EOF" if rest.is_empty() => Some(Event::Eof),
        _ if name.is_empty() => None,
        "HELP" => Some(Event::Help { name, text }),
        "UNIT" => Some(Event::Unit { name, unit: text.trim() }),
        "TYPE" => {
            let kind = match text.trim() {
                "counter" => Kind::Counter,
                "gauge" => Kind::Gauge,
                "histogram" => Kind::Histogram,
                "summary" => Kind::Summary,
                "gaugehistogram" => Kind::GaugeHistogram,
                "stateset" => Kind::StateSet,
                "info" => Kind::Info,
                _ => Kind::Unknown,
            };
            Some(Event::Type { name, kind })
        }
        _ => None,
    }
}

fn sample<'a>(
    text: &'a str,
    format: Format,
    line: u32,
    before: &str,
    memory: &mut Memory<'a>,
) -> Result<Sample<'a>, (usize, &'static str)> {
    let bytes = text.as_bytes();
    let same = !before.is_empty() && bytes.get(before.len()) == Some(&b'{') && begins_with(text, before);
    let mut at = match same {
        true => before.len(),
        false => bytes.iter().position(|b| !is_name(*b)).unwrap_or(bytes.len()),
    };
    let mut name = &text[..at];
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err((0, "a metric name does not start with a digit"));
    }
    let mut labels = Labels::default();
    at += blanks(&bytes[at..]);
    if bytes.get(at) == Some(&b'{') {
        let (found, quoted_name, end) = memory.read(&text[at..]).map_err(|(column, reason)| (at + column, reason))?;
        match (name.is_empty(), quoted_name) {
            (true, Some(quoted)) => name = quoted,
            (true, None) => return Err((0, "no metric name")),
            (false, Some(_)) => return Err((at, "a label without a value")),
            (false, None) => {}
        }
        labels = found;
        at += end;
    } else if name.is_empty() {
        return Err((0, "no metric name"));
    } else if !matches!(bytes.get(name.len()), Some(b' ' | b'\t')) {
        return Err((name.len(), "expected a blank or '{' after the name"));
    }
    at += blanks(&bytes[at..]);
    let (fields, exemplar) = match memchr::memchr(b'#', &bytes[at..]) {
        Some(hash) => (&text[at..at + hash], Some(text[at + hash + 1..].trim())),
        None => (&text[at..], None),
    };
    let mut parts = fields.split([' ', '\t']).filter(|p| !p.is_empty());
    let value = number(parts.next().ok_or((at, "no value"))?).ok_or((at, "the value is not a number"))?;
    let timestamp_ms = match parts.next() {
        None => None,
        Some(stamp) => Some(timestamp(stamp, format).ok_or((at, "the timestamp is not a number"))?),
    };
    if parts.next().is_some() {
        return Err((at, "something follows the timestamp"));
    }
    Ok(Sample { name, labels, value, timestamp_ms, exemplar, line })
}

fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b':'
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(bytes.len())
}

/// A value as both dialects write it. `nan`, `inf` in any case, with a sign; no words beside.
fn number(text: &str) -> Option<f64> {
    fast_float2::parse(text).ok()
}

fn timestamp(text: &str, format: Format) -> Option<i64> {
    match format {
        Format::Prometheus => text.parse().ok().or_else(|| {
            let ms: f64 = fast_float2::parse(text).ok()?;
            (ms.is_finite() && ms.abs() < 9e15).then_some(ms as i64)
        }),
        Format::OpenMetrics => {
            let seconds: f64 = fast_float2::parse(text).ok()?;
            (seconds.is_finite() && seconds.abs() < 9e12).then_some((seconds * 1e3).round() as i64)
        }
    }
}
