//! What an alert says: a text with placeholders, checked when the rule is read and filled in when the alert fires.

use std::fmt::Write;

/// Every placeholder that there is, and `label.KEY` beside them.
pub const SLOTS: [&str; 18] = [
    "action",
    "cluster",
    "code",
    "event",
    "for",
    "id",
    "meaning",
    "metric",
    "name",
    "node",
    "previous",
    "resource",
    "rule",
    "severity",
    "since",
    "threshold",
    "unit",
    "value",
];
/// Characters of a message that is filled in.
const MOST: usize = 1_000;
/// Bytes of a template.
const LONGEST: usize = 2_000;

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Slot(String),
}

/// A checked text.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Part>);

impl Template {
    /// `{name}` is a placeholder, `{{` and `}}` are braces.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(format!("a message has 1 to {LONGEST} bytes and no control characters"));
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let tail = &rest[at..];
            if tail.starts_with("{{") || tail.starts_with("}}") {
                plain.push_str(&tail[..1]);
                rest = &tail[2..];
                continue;
            }
            let end = tail.find('}').filter(|_| tail.starts_with('{'));
            let Some(end) = end else { return Err(format!("a brace without its other one; write {0}{0} for a brace", &tail[..1])) };
            let name = &tail[1..end];
            let is_label = name.strip_prefix("label.").is_some_and(|key| !key.is_empty());
            if !is_label && !SLOTS.contains(&name) {
                let name: String = name.chars().take(60).collect();
                return Err(format!("{{{name}}} is no placeholder; there are {} label.KEY", SLOTS.join(" ")));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Slot(name.to_owned()));
            rest = &tail[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// One line of bounded length; what nobody knows is `unknown`.
    pub fn fill(&self, unknown: &str, get: impl Fn(&str) -> Option<String>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Slot(name) => out.push_str(get(name).as_deref().unwrap_or(unknown)),
            }
        }
        one_line(&out, MOST)
    }
}

/// Text of foreign origin as one bounded line: control characters, also those that turn the direction of writing, become blanks.
pub fn one_line(text: &str, most: usize) -> String {
    let is_turning =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
    text.chars().take(most).map(|c| if c.is_control() || is_turning(c) { ' ' } else { c }).collect()
}

/// A number as a person writes it: two digits behind the point at most.
pub fn figure(value: f64) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    write!(out, "{value:.2}").unwrap_or_default();
    let short = out.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> String {
        let get = |name: &str| match name {
            "value" => Some("91.5".to_owned()),
            "label.team" => Some("a\nb\u{202e}".to_owned()),
            _ => None,
        };
        Template::parse(text).unwrap().fill("unknown", get)
    }

    #[test]
    fn placeholders_are_filled_in_and_what_nobody_knows_is_said() {
        assert_eq!(fill("{value} °C of {{limit}} {threshold}"), "91.5 °C of {limit} unknown");
        assert_eq!(fill("카드 {value}"), "카드 91.5");
    }

    #[test]
    fn foreign_text_stays_one_line() {
        assert_eq!(fill("x {label.team} y"), "x a b  y");
        assert_eq!(Template::parse("{label.x}").unwrap().fill("?", |_| Some("y".repeat(10_000))).len(), MOST);
    }

    #[test]
    fn a_wrong_placeholder_names_those_that_there_are() {
        let error = Template::parse("{temp}").unwrap_err();
        assert!(error.contains("{temp}") && error.contains("threshold"), "{error}");
        for bad in ["{value", "value}", "", "a\u{7}b", "{label.}", "{}"] {
            Template::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn a_figure_has_no_noise() {
        assert_eq!([83.0, 0.1 + 0.2, -0.001, 1_234.5].map(figure), ["83", "0.3", "0", "1234.5"]);
    }
}
