//! The plugin's own log: bounded a call, kept as a tail, passed on to the host's log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
#[derive(Default)]
pub struct Tail {
    lines: Mutex<VecDeque<String>>,
    /// Lines that were over the limit of their call.
    pub dropped: AtomicU64,
}

impl Tail {
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(|e| e.into_inner()).iter().cloned().collect()
    }

    /// Writes one line, escaped and cut.
    pub fn write(&self, plugin: &str, level: Level, message: &str, fields: &[(String, String)]) {
        let mut line = clean(message);
        for (k, v) in fields.iter().take(16) {
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
        let mut lines = self.lines.lock().unwrap_or_else(|e| e.into_inner());
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(format!("{level:?} {line}"));
    }

    pub fn drop_line(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// One store's way to the log, within the limits of one call. Shared with what a WASI guest prints to.
pub struct Voice {
    plugin: Arc<str>,
    tail: Arc<Tail>,
    max_lines: u32,
    max_bytes: usize,
    /// Lines and bytes of this call.
    spent: Mutex<(u32, usize)>,
}

impl Voice {
    pub fn new(plugin: Arc<str>, tail: Arc<Tail>, max_lines: u32, max_bytes: usize) -> Self {
        Self { plugin, tail, max_lines, max_bytes, spent: Mutex::default() }
    }

    /// A new call: its limits begin anew.
    pub fn renew(&self) {
        *self.spent.lock().unwrap_or_else(|e| e.into_inner()) = (0, 0);
    }

    /// One line; what is over the limits is counted and dropped.
    pub fn say(&self, level: Level, message: &str, fields: &[(String, String)]) {
        let mut spent = self.spent.lock().unwrap_or_else(|e| e.into_inner());
        spent.0 += 1;
        spent.1 += message.len() + fields.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        match spent.0 <= self.max_lines && spent.1 <= self.max_bytes {
            true => self.tail.write(&self.plugin, level, message, fields),
            false => self.tail.drop_line(),
        }
    }
}

/// Control characters escaped, cut to a line's length.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_LINE));
    for c in text.chars() {
        if out.len() >= MAX_LINE {
            out.push('…');
            break;
        }
        match c.is_control() {
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
    }

    #[test]
    fn the_tail_is_bounded() {
        let tail = Tail::default();
        (0..500).for_each(|i| tail.write("p", Level::Info, &i.to_string(), &[]));
        assert_eq!(tail.lines().len(), TAIL);
    }
}
