//! The part between braces.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Labels of one sample, as written; checked when the line was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Labels<'a> {
    raw: &'a str,
    pub(super) id: Option<u32>,
}

impl PartialEq for Labels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Labels<'_> {}

impl<'a> Labels<'a> {
    /// The text between the braces. Equal texts have equal labels.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// A small number that equal texts of one body share, so that what follows from them is found out once. Not every
    /// text has one.
    pub fn id(&self) -> Option<u32> {
        self.id
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

/// Texts between braces that were read before. An exporter writes family after family with the same subjects in the same
/// order: the next text is mostly the one after the last, and needs no second look.
#[derive(Default)]
pub(super) struct Memory<'a> {
    /// With their braces.
    texts: Vec<&'a str>,
    index: HashMap<&'a str, u32, BuildHasherDefault<Quick>>,
    expected: usize,
}

/// Eight bytes at a time; the keyed hash of the standard library costs more here than reading the labels anew. A body made to
/// collide wastes its own source's budget.
#[derive(Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let words = words.iter().map(|w| u64::from_le_bytes(*w)).chain(rest.iter().map(|b| u64::from(*b)));
        self.0 = words.fold(self.0, |h, w| (h ^ w).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// `str::starts_with` in blocks of 32 bytes: in a sandbox its `memcmp` goes byte by byte, and each turn of a loop asks whether
/// its time is up.
pub(super) fn begins_with(text: &str, with: &str) -> bool {
    let (text, with) = (text.as_bytes(), with.as_bytes());
    let Some(text) = text.get(..with.len()) else { return false };
    let ((a, rest_a), (b, rest_b)) = (text.as_chunks::<32>(), with.as_chunks::<32>());
    if !a.iter().zip(b).all(|(a, b)| same(a, b)) {
        return false;
    }
    let ((a, rest_a), (b, rest_b)) = (rest_a.as_chunks::<8>(), rest_b.as_chunks::<8>());
    a.iter().zip(b).all(|(a, b)| a == b) && rest_a.iter().zip(rest_b).all(|(a, b)| a == b)
}

fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let word = |bytes: &[u8; 32], at: usize| {
        u64::from_le_bytes([
            bytes[at],
            bytes[at + 1],
            bytes[at + 2],
            bytes[at + 3],
            bytes[at + 4],
            bytes[at + 5],
            bytes[at + 6],
            bytes[at + 7],
        ])
    };
    let differs = |at: usize| word(a, at) ^ word(b, at);
    differs(0) | differs(8) | differs(16) | differs(24) == 0
}

/// Texts remembered; a body with more subjects is read all the same.
const REMEMBERED: usize = 16_384;

impl<'a> Memory<'a> {
    /// Reads from `{` to after `}`, as [`scan_labels`] does.
    pub(super) fn read(&mut self, text: &'a str) -> Result<(Labels<'a>, Option<&'a str>, usize), Bad> {
        for guess in [self.expected, 0] {
            if let Some(known) = self.texts.get(guess).filter(|known| begins_with(text, known)) {
                self.expected = guess + 1;
                return Ok((Labels { raw: &known[1..known.len() - 1], id: Some(guess as u32) }, None, known.len()));
            }
        }
        let (mut labels, metric, used) = scan_labels(text)?;
        if metric.is_none() {
            let whole = &text[..used];
            labels.id = self.index.get(whole).copied();
            if labels.id.is_none() && self.texts.len() < REMEMBERED {
                labels.id = Some(self.texts.len() as u32);
                self.index.insert(whole, self.texts.len() as u32);
                self.texts.push(whole);
            }
            self.expected = labels.id.map_or(self.expected, |id| id as usize + 1);
        }
        Ok((labels, metric, used))
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
            Some(b'}') => return Ok((Labels { raw: &text[1..at], id: None }, metric, at + 1)),
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
