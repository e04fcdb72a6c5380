//! Paths with named parts: `/sys/class/acme/npu{n}`, `outlets/{outlet}`. Each element is matched by itself, in time that grows with
//! its length alone, whatever the pattern.

/// One element: literal text around what varies.
#[derive(Debug, Clone, PartialEq)]
struct Element {
    /// Before the first wild, between them, after the last: one more than there are wilds.
    literals: Vec<String>,
    wilds: Vec<Wild>,
}

#[derive(Debug, Clone, PartialEq)]
enum Wild {
    /// `*`: also nothing.
    Any,
    /// `{name}`: at least one character; `{name:number}`: digits.
    Part { name: String, is_number: bool },
}

/// A path whose elements may vary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pattern {
    pub(crate) is_absolute: bool,
    elements: Vec<Element>,
}

/// Values of named parts.
pub(crate) type Parts = Vec<(String, String)>;

impl Pattern {
    /// `Err` says what is wrong and what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/');
        let elements = rest.unwrap_or(text).split('/').map(Element::parse).collect::<Result<Vec<_>, _>>()?;
        let pattern = Self { is_absolute: rest.is_some(), elements };
        let mut names: Vec<&str> = pattern.names().collect();
        names.sort_unstable();
        match names.windows(2).find(|w| w[0] == w[1]) {
            Some(twice) => Err(format!("the part {{{}}} stands twice; each has a name of its own", twice[0])),
            None => Ok(pattern),
        }
    }

    /// Names of its parts.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.elements.iter().flat_map(|e| &e.wilds).filter_map(|w| match w {
            Wild::Part { name, .. } => Some(name.as_str()),
            Wild::Any => None,
        })
    }

    /// Its elements: literal text, or none where it varies.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Option<&str>> {
        self.elements.iter().map(|e| e.wilds.is_empty().then(|| e.literals[0].as_str()))
    }

    /// Whether an element is called so, and what its parts are then.
    pub(crate) fn fits(&self, element: usize, name: &str) -> Option<Parts> {
        self.elements.get(element)?.fits(name)
    }
}

impl Element {
    fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "" | "." | ".." | "**") {
            return Err(format!("an element {text:?}; a path has no empty element, `.`, `..` or `**` in it"));
        }
        let (mut literals, mut wilds) = (vec![String::new()], Vec::new());
        let mut rest = text;
        while let Some(at) = rest.find(['*', '{', '}']) {
            let (before, wild) = rest.split_at(at);
            if let Some(last) = literals.last_mut() {
                last.push_str(before);
            }
            let is_apart = wilds.is_empty() || literals.last().is_some_and(|l| !l.is_empty());
            if !is_apart {
                return Err(format!("{text:?}: nothing stands between two things that vary, so where one ends cannot be told"));
            }
            rest = match wild.strip_prefix('*') {
                Some(after) => {
                    wilds.push(Wild::Any);
                    after
                }
                None => {
                    let inner = wild.strip_prefix('{').and_then(|w| w.split_once('}'));
                    let (inner, after) = inner.ok_or_else(|| format!("{text:?}: a brace without its other; a part is {{name}}"))?;
                    let (name, form) = inner.split_once(':').unwrap_or((inner, ""));
                    if !is_name(name) || !matches!(form, "" | "number") {
                        return Err(format!("{{{inner}}} is no part; a part is {{name}} or {{name:number}}, a name is [a-z0-9_]"));
                    }
                    wilds.push(Wild::Part { name: name.to_owned(), is_number: form == "number" });
                    after
                }
            };
            literals.push(String::new());
        }
        if let Some(last) = literals.last_mut() {
            last.push_str(rest);
        }
        Ok(Self { literals, wilds })
    }

    /// The leftmost shortest match: with literal text between all that varies there is a match when this is one.
    fn fits(&self, name: &str) -> Option<Parts> {
        let mut rest = name.strip_prefix(self.literals[0].as_str())?;
        let mut parts = Parts::new();
        for (i, wild) in self.wilds.iter().enumerate() {
            let next = self.literals[i + 1].as_str();
            let least = match wild {
                Wild::Any => 0,
                Wild::Part { .. } => rest.chars().next()?.len_utf8(),
            };
            let end = match i + 1 == self.wilds.len() {
                true => rest.len().checked_sub(next.len()).filter(|end| *end >= least && rest.ends_with(next))?,
                false => least + rest.get(least..)?.find(next)?,
            };
            let (value, after) = (rest.get(..end)?, &rest[end + next.len()..]);
            if let Wild::Part { name, is_number } = wild {
                if *is_number && !value.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                parts.push((name.clone(), value.to_owned()));
            }
            rest = after;
        }
        rest.is_empty().then_some(parts)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Text with named parts in it: `npu{n}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Bit>);

#[derive(Debug, Clone, PartialEq)]
enum Bit {
    Text(String),
    Part(String),
}

impl Template {
    pub(crate) fn empty() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut bits, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find('{') {
            bits.push(Bit::Text(rest[..at].to_owned()));
            let (name, after) = rest[at + 1..].split_once('}').ok_or_else(|| format!("{text:?}: a brace without its other"))?;
            if name.is_empty() || name.contains('{') {
                return Err(format!("{text:?}: {{{name}}} names no part"));
            }
            bits.push(Bit::Part(name.to_owned()));
            rest = after;
        }
        bits.push(Bit::Text(rest.to_owned()));
        Ok(Self(bits))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|b| match b {
            Bit::Part(name) => Some(name.as_str()),
            Bit::Text(_) => None,
        })
    }

    /// The text with its parts filled in; none where one of them is not there.
    pub(crate) fn fill(&self, part: impl Fn(&str) -> Option<String>) -> Option<String> {
        let bit = |b: &Bit| match b {
            Bit::Text(text) => Some(text.clone()),
            Bit::Part(name) => part(name),
        };
        self.0.iter().map(bit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> Option<String> {
        let parts = Pattern::parse(pattern).unwrap().fits(0, name)?;
        Some(parts.iter().map(|(k, v)| format!("{k}={v} ")).collect())
    }

    #[test]
    fn parts_are_told_by_what_stands_around_them() {
        for (pattern, name, expected) in [
            ("npu{n}", "npu12", Some("n=12 ")),
            ("npu{n}", "npu", None),
            ("npu{n:number}", "npu_control", None),
            ("temp{n:number}_input", "temp3_input", Some("n=3 ")),
            ("temp{n:number}_input", "temp3_max", None),
            ("*-{a}.{b}", "x-y-1.2.3", Some("a=y-1 b=2.3 ")),
            ("*", "", Some("")),
            ("a*a", "a", None),
            ("{한}", "x", None),
            ("{a}", "한국", Some("a=한국 ")),
            ("name", "name", Some("")),
        ] {
            let seen = Pattern::parse(pattern).ok().and_then(|_| fits(pattern, name));
            assert_eq!(seen.as_deref(), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (bad, expected) in [
            ("/a/../b", "no empty element"),
            ("/a//b", "no empty element"),
            ("/a/**/b", "no empty element"),
            ("/{a}{b}", "nothing stands between"),
            ("/*{b}", "nothing stands between"),
            ("/{a", "a brace without"),
            ("/a}", "a brace without"),
            ("/{A}", "is no part"),
            ("/{a:digits}", "is no part"),
            ("/{a}/{a}", "stands twice"),
        ] {
            let error = Pattern::parse(bad).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
        assert!(Template::parse("{a").is_err() && Template::parse("{}").is_err());
    }
}
