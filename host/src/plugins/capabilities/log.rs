//! The plugin's own log: bounded a call and a minute, kept as a tail, passed on to the host's log.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::plugins::limits::Bucket;

/// Lines kept for the API.
const TAIL: usize = 200;
const MAX_LINE: usize = 2_048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The last lines of one plugin.
pub struct Tail {
    inner: Mutex<Inner>,
    /// Lines that were over the limit of their call or of the minute.
    pub dropped: AtomicU64,
}

struct Inner {
    lines: VecDeque<String>,
    rate: Bucket,
}

impl Default for Tail {
    fn default() -> Self {
        let rate = Bucket::new(crate::plugins::limits::Limits::default().log_lines_per_minute, Duration::from_secs(60));
        Self { inner: Mutex::new(Inner { lines: VecDeque::new(), rate }), dropped: AtomicU64::new(0) }
    }
}

impl Tail {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn lines(&self) -> Vec<String> {
        self.inner().lines.iter().cloned().collect()
    }

    /// Lines a minute from now on.
    pub(super) fn set_rate(&self, lines_per_minute: u32) {
        self.inner().rate.resize(lines_per_minute);
    }

    /// Writes one line, escaped and cut; drops it when the minute's are used up.
    pub fn write(&self, plugin: &str, level: Level, message: &str, fields: &[(String, String)]) {
        if !self.inner().rate.take() {
            return self.drop_line();
        }
        let mut line = clean(message);
        for (k, v) in fields.iter().take(16) {
            if line.len() >= MAX_LINE {
                break;
            }
            line.push(' ');
            line.push_str(&clean(k));
            line.push('=');
            line.push_str(&clean(v));
        }
        match level {
            Level::Trace => tracing::trace!(target: "plugin", plugin, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, "{line}"),
            Level::Info => tracing::info!(target: "plugin", plugin, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, "{line}"),
            Level::Error => tracing::error!(target: "plugin", plugin, "{line}"),
        }
        let lines = &mut self.inner().lines;
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(format!("{level:?} {line}"));
    }

    pub fn drop_line(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a character changes how those around it are shown, or is not shown at all.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What a guest said, for people to read: control, direction and invisible characters escaped, cut to a line's length.
pub fn clean(text: &str) -> String {
    clean_to(text, MAX_LINE)
}

/// The same, cut after `most` bytes or a few more.
pub fn clean_to(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        if out.len() >= most {
            out.push('…');
            break;
        }
        match deceives(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(clean("a\nERROR b\u{1b}[31m"), "a\\nERROR b\\u{1b}[31m");
        assert_eq!(clean("a\u{2028}b\u{85}c"), "a\\u{2028}b\\u{85}c");
    }

    #[test]
    fn a_line_is_read_as_it_is_written() {
        for hidden in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{200d}', '\u{feff}', '\u{ad}', '\u{e0041}'] {
            assert_eq!(clean(&format!("x{hidden}y")), format!("x{}y", hidden.escape_default()));
        }
        assert_eq!(clean("온도 – température"), "온도 – température");
    }

    #[test]
    fn the_tail_is_bounded() {
        let tail = Tail::default();
        (0..500).for_each(|i| tail.write("p", Level::Info, &i.to_string(), &[]));
        assert_eq!(tail.lines().len(), TAIL);
    }

    #[test]
    fn lines_over_the_rate_are_counted_and_dropped() {
        let tail = Tail::default();
        tail.set_rate(3);
        (0..10).for_each(|i| tail.write("p", Level::Info, &i.to_string(), &[]));
        assert_eq!((tail.lines().len(), tail.dropped.load(Ordering::Relaxed)), (3, 7));
    }
}
