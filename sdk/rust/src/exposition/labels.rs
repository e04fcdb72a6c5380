//! The part between braces.

use std::borrow::Cow;

/// Labels of one sample, as written; checked when the line was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    raw: &'a str,
}

impl<'a> Labels<'a> {
    /// The text between the braces. Equal texts have equal labels.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Name and unescaped value of each, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> + use<'a> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            loop {
                rest = rest.trim_start_matches([' ', '\t', ',']);
                if rest.is_empty() {
                    return None;
                }
                match one(rest) {
                    Ok((Part::Label { name, value }, used)) => {
                        rest = &rest[used..];
                        return Some((name, unescape(value)));
                    }
                    Ok((Part::MetricName(_), used)) => rest = &rest[used..],
                    Err(_) => return None,
                }
            }
        })
    }

    /// The value of one label.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.iter().find(|(k, _)| *k == name).map(|(_, v)| v)
    }
}

enum Part<'a> {
    Label {
        name: &'a str,
        value: &'a str,
    },
    /// A quoted string alone: the metric's name in the UTF-8 form.
    MetricName(&'a str),
}

type Bad = (usize, &'static str);

/// Reads from `{` to after `}`: the labels, a quoted metric name if there is one, and how many bytes that were.
pub(super) fn scan_labels(text: &str) -> Result<(Labels<'_>, Option<&str>, usize), Bad> {
    let bytes = text.as_bytes();
    let mut at = 1;
    let mut metric = None;
    loop {
        at += bytes[at..].iter().position(|b| !matches!(b, b' ' | b'\t' | b',')).unwrap_or(bytes.len() - at);
        match bytes.get(at) {
            None => return Err((at, "no closing brace")),
            Some(b'}') => return Ok((Labels { raw: &text[1..at] }, metric, at + 1)),
            Some(_) => {
                let (part, used) = one(&text[at..]).map_err(|(column, reason)| (at + column, reason))?;
                if let Part::MetricName(name) = part {
                    metric = Some(name);
                }
                at += used;
            }
        }
    }
}

/// One `name="value"` at the start of `text`.
fn one(text: &str) -> Result<(Part<'_>, usize), Bad> {
    let bytes = text.as_bytes();
    let blanks = |from: usize| bytes[from..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let (name, mut at) = if bytes[0] == b'"' {
        let end = closing_quote(bytes, 1)?;
        (&text[1..end], end + 1)
    } else {
        let end = bytes.iter().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.'))).unwrap_or(bytes.len());
        if end == 0 {
            return Err((0, "a label name is expected"));
        }
        (&text[..end], end)
    };
    at += blanks(at);
    if bytes[0] == b'"' && matches!(bytes.get(at), Some(b',' | b'}') | None) {
        return Ok((Part::MetricName(name), at));
    }
    if bytes.get(at) != Some(&b'=') {
        return Err((at, "'=' is expected after a label name"));
    }
    at += 1 + blanks(at + 1);
    if bytes.get(at) != Some(&b'"') {
        return Err((at, "a label value stands in quotes"));
    }
    let end = closing_quote(bytes, at + 1)?;
    Ok((Part::Label { name, value: &text[at + 1..end] }, end + 1))
}

/// Where the value that starts at `from` ends. Some exporters do not escape quotes (dcgm-exporter): one that is not
/// followed by `,` or `}` belongs to the value.
fn closing_quote(bytes: &[u8], from: usize) -> Result<usize, Bad> {
    let mut at = from;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or(&[])) {
        at += found;
        if bytes[at] == b'\\' {
            at += 2;
            continue;
        }
        let after = bytes[at + 1..].iter().find(|b| !matches!(b, b' ' | b'\t'));
        if matches!(after, None | Some(b',' | b'}' | b'=')) {
            return Ok(at);
        }
        at += 1;
    }
    Err((from.saturating_sub(1), "a quote is not closed"))
}

fn unescape(value: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', value.as_bytes()).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c @ ('\\' | '"')) => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}
