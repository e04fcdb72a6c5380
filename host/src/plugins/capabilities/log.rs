//! The plugin's own log: bounded a call, kept as a tail, passed on to the host's log.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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

impl Level {
    /// Whether a guest's line of this level is kept: `info` and above in the tail, whatever the host logs; `trace` and `debug`,
    /// which would push those out of it, only while the host's own log takes them (target `plugin`).
    pub fn is_kept(self) -> bool {
        match self {
            Self::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
            Self::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
            Self::Info | Self::Warn | Self::Error => true,
        }
    }
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
    fn a_fine_level_is_kept_while_the_hosts_log_takes_it() {
        use tracing_subscriber::layer::SubscriberExt;
        let all = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];
        for (filter, kept) in [
            ("off", [false, false, true, true, true]),
            ("info", [false, false, true, true, true]),
            ("trace,plugin=warn", [false, false, true, true, true]),
            ("info,plugin=debug", [false, true, true, true, true]),
            ("trace", [true; 5]),
        ] {
            let host = tracing_subscriber::registry().with(tracing_subscriber::EnvFilter::new(filter));
            tracing::subscriber::with_default(host, || assert_eq!(all.map(Level::is_kept), kept, "{filter}"));
        }
    }

    #[test]
    fn the_tail_is_bounded() {
        let tail = Tail::default();
        (0..500).for_each(|i| tail.write("p", Level::Info, &i.to_string(), &[]));
        assert_eq!(tail.lines().len(), TAIL);
    }
}
