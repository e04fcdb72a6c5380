//! Where a part of a plugin's `[config]` stands in its file, so that what a schema or a plugin says of it names line and column.
//!
//! In: texts in which a part is named as `(at "/a/0/b")`, a JSON Pointer below `[config]`: what this host's schema check writes, and
//! what a plugin's `configure` may. Out: one fault a text, with file, line and column in front. A text that names no part is kept.

use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, Document, Item, TableLike, Value};

/// A file of settings as it was read.
#[derive(Debug)]
pub struct Places {
    path: PathBuf,
    text: String,
}

impl Places {
    pub fn new(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The faults that a message tells, each with its place.
    pub fn faults(&self, message: &str) -> Vec<String> {
        self.told(message, &self.path.display().to_string())
    }

    /// The same in one line, for answers: they name no folder of this machine.
    pub fn brief(&self, message: &str) -> String {
        self.told(message, &self.path.file_name().unwrap_or_default().to_string_lossy()).join("; ")
    }

    fn told(&self, message: &str, file: &str) -> Vec<String> {
        let document = Document::parse(self.text.as_str()).ok();
        let config = document.as_ref().and_then(|d| d.as_table().get_key_value("config"));
        let mut faults = Vec::new();
        let mut rest = message;
        while let Some((said, pointer, after)) = next(rest) {
            let at = config.and_then(|(key, item)| offset(item, &pointer).or_else(|| Some(key.span()?.start)));
            let (line, column) = at.map_or((1, 1), |at| self.line_and_column(at));
            faults.push(format!("{file}:{line}:{column}: {said}"));
            rest = after.strip_prefix("; ").unwrap_or(after);
        }
        if !rest.trim().is_empty() {
            faults.push(format!("{file}: [config] {rest}"));
        }
        faults
    }

    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or("").chars().count() + 1)
    }
}

/// What is said up to the next part that is named, the part, and what follows.
fn next(message: &str) -> Option<(&str, String, &str)> {
    const MARK: &str = " (at \"";
    let at = message.find(MARK)?;
    let mut pointer = String::new();
    let mut rest = message[at + MARK.len()..].char_indices();
    while let Some((i, c)) = rest.next() {
        match c {
            '\\' => pointer.extend(rest.next().map(|(_, c)| c)),
            '"' => {
                let after = &message[at + MARK.len() + i + 1..];
                return Some((&message[..at], pointer, after.strip_prefix(')').unwrap_or(after)));
            }
            _ => pointer.push(c),
        }
    }
    None
}

/// What a name or an index leads into.
#[derive(Clone, Copy)]
enum Node<'a> {
    Table(&'a dyn TableLike),
    Tables(&'a ArrayOfTables),
    Array(&'a Array),
    Leaf,
}

impl<'a> Node<'a> {
    fn of(item: &'a Item) -> Self {
        match item {
            Item::Table(table) => Self::Table(table),
            Item::ArrayOfTables(all) => Self::Tables(all),
            Item::Value(value) => Self::of_value(value),
            Item::None => Self::Leaf,
        }
    }

    fn of_value(value: &'a Value) -> Self {
        match value {
            Value::InlineTable(table) => Self::Table(table),
            Value::Array(all) => Self::Array(all),
            _ => Self::Leaf,
        }
    }

    /// Where something in it begins (of a table its key), and what is there.
    fn step(self, name: &str) -> Option<(Option<usize>, Self)> {
        let start = |span: Option<std::ops::Range<usize>>| span.map(|s| s.start);
        match self {
            Self::Table(table) => {
                let (key, item) = table.get_key_value(name)?;
                Some((start(key.span().or_else(|| item.span())), Self::of(item)))
            }
            Self::Tables(all) => {
                let table = all.get(name.parse().ok()?)?;
                Some((start(table.span()), Self::Table(table)))
            }
            Self::Array(all) => {
                let value = all.get(name.parse().ok()?)?;
                Some((start(value.span()), Self::of_value(value)))
            }
            Self::Leaf => None,
        }
    }
}

/// Where the named part begins; of what is not there, where that begins which it should be in.
fn offset(config: &Item, pointer: &str) -> Option<usize> {
    let (mut node, mut found) = (Node::of(config), None);
    for name in pointer.split('/').skip(1) {
        let Some((at, inner)) = node.step(&name.replace("~1", "/").replace("~0", "~")) else { break };
        (node, found) = (inner, at.or(found));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_configuration_is_found_by_line_and_column() {
        let text = "interval = \"5s\"\n[config]\nmode = 1\n[[config.tables]]\nname = \"한\"\n[[config.tables]]\n  name = \"b\"\n\
            subjects = [{ kind = \"x\" }, { kind = \"y\", \"a/b\" = 1 }]\n[config.tables.more.metrics]\npower_watts = { unit = \"W\" }\n";
        let places = Places::new(Path::new("p.toml"), text);
        for (pointer, expected) in [
            ("/mode", "p.toml:3:1"),
            ("/tables/0", "p.toml:4:1"),
            ("/tables/0/name", "p.toml:5:1"),
            ("/tables/1/name", "p.toml:7:3"),
            ("/tables/1/subjects/1/kind", "p.toml:8:31"),
            ("/tables/1/subjects/1/a~1b", "p.toml:8:43"),
            ("/tables/1/more/metrics/power_watts/unit", "p.toml:10:17"),
            ("/tables/1/more/metrics/power_watts/gone", "p.toml:10:1"),
            ("/gone", "p.toml:2:2"),
            ("", "p.toml:2:2"),
        ] {
            assert_eq!(places.faults(&format!("it is wrong (at {pointer:?})")), [format!("{expected}: it is wrong")], "{pointer}");
        }
    }

    #[test]
    fn many_faults_are_told_apart_and_none_is_lost() {
        let places = Places::new(Path::new("p.toml"), "[config]\na = 1\nb = 2\n");
        let all = places.faults("one; or two (at \"/a\"); three (at \"/b\"); and 4 more");
        assert_eq!(all, ["p.toml:2:1: one; or two", "p.toml:3:1: three", "p.toml: [config] and 4 more"]);
        assert_eq!(places.faults("no place at all"), ["p.toml: [config] no place at all"]);
        assert_eq!(Places::new(Path::new("p"), "[[[").faults("x (at \"/a\")"), ["p:1:1: x"]);
        assert_eq!(Places::new(Path::new("/etc/p.toml"), "").brief("x; y"), "p.toml: [config] x; y");
        assert_eq!(places.faults("cut off (at \"/a"), ["p.toml: [config] cut off (at \"/a"]);
    }
}
