//! An operator's `[config]` against the JSON Schema that a component brought along.
//!
//! In: a stranger's text. A schema can ask for work without end in a few lines (references that double at each step, a part
//! judged twice on each level), so that what costs more than its size is refused before it is compiled. It must never fetch anything.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::capabilities::log::clean;
use super::generation::LoadError;
use crate::config::distance;

/// Of the schema's text; a sane one has a few KiB.
const MAX_BYTES: usize = 64 << 10;
/// Parts of a schema once its references are followed.
const MAX_PARTS: usize = 10_000;
/// Levels of it, references followed: each takes some stack.
const MAX_DEPTH: usize = 200;
/// Of one compiled pattern.
const MAX_PATTERN: usize = 64 << 10;
/// What is in these is data, or names that hold schemas.
const DATA: [&str; 5] = ["const", "default", "enum", "examples", "required"];
const NAMED: [&str; 6] = ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];
/// References that are not followed here, and what judges its parts twice on each level.
const REFUSED: [&str; 6] = ["$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "unevaluatedItems", "unevaluatedProperties"];

/// Whether a configuration fits; names the first ten places where it does not.
pub fn check(schema: &str, config: &Value) -> Result<(), LoadError> {
    let wrong = |e: String| LoadError::Description(format!("its config schema: {}", clean(&e)));
    if schema.len() > MAX_BYTES {
        return Err(wrong(format!("it has {} bytes; the limit is {MAX_BYTES}", schema.len())));
    }
    let schema: Value = serde_json::from_str(schema).map_err(|e| wrong(format!("not JSON: {e}")))?;
    Walk { root: &schema, inside: Vec::new(), left: MAX_PARTS, depth: 0 }.schema(&schema).map_err(wrong)?;
    let patterns = jsonschema::PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
    let validator = jsonschema::options().with_pattern_options(patterns).build(&schema).map_err(|e| wrong(e.to_string()))?;
    let errors: Vec<String> = validator.iter_errors(config).take(10).flat_map(|e| faults(&schema, &e)).collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(LoadError::Config(errors.join("; "))),
    }
}

/// What is wrong and where (`plugins/places.rs` reads it), with what may have been meant.
fn faults(schema: &Value, error: &ValidationError<'_>) -> Vec<String> {
    let at = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = keys(schema, error.schema_path().as_str());
            let one = |key: &String| {
                let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                clean(&format!("unknown key {key:?}{} (at {place:?})", meant(key, known.iter().copied())))
            };
            unexpected.iter().take(10).map(one).collect()
        }
        ValidationErrorKind::Enum { options } => {
            let given = error.instance().as_str().unwrap_or_default().to_owned();
            let all: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            vec![clean(&format!("{error}{} (at {at:?})", meant(&given, all)))]
        }
        _ => vec![clean(&format!("{error} (at {at:?})"))],
    }
}

/// The nearest of what is allowed, or all of it where nothing is near and there is little.
fn meant<'a>(given: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = allowed.into_iter().collect();
    match all.iter().map(|name| (distance(given, name), *name)).min().filter(|(d, _)| *d <= 2) {
        Some((_, name)) => format!("; did you mean {name:?}?"),
        None if all.is_empty() || all.len() > 30 => String::new(),
        None => format!("; allowed are {}", all.join(", ")),
    }
}

/// The names that a part of a schema gives, by the path of its `additionalProperties`, references followed.
fn keys<'s>(schema: &'s Value, path: &str) -> Vec<&'s str> {
    let mut at = schema;
    let steps: Vec<&str> = path.split('/').skip(1).collect();
    for step in steps.iter().take(steps.len().saturating_sub(1)) {
        let inner = match (*step, &at[*step]) {
            ("$ref", Value::String(to)) => to.strip_prefix('#').and_then(|pointer| schema.pointer(pointer)),
            _ => at.get(step.replace("~1", "/").replace("~0", "~")).or_else(|| at.get(step.parse::<usize>().ok()?)),
        };
        let Some(inner) = inner else { return Vec::new() };
        at = inner;
    }
    at["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// Goes through a schema as a validator does, references followed.
struct Walk<'a> {
    root: &'a Value,
    /// References that are being followed.
    inside: Vec<&'a str>,
    left: usize,
    depth: usize,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, at: &'a Value) -> Result<(), String> {
        self.left = self.left.checked_sub(1).ok_or_else(|| format!("more than {MAX_PARTS} parts, its references followed"))?;
        self.depth += 1;
        match at {
            _ if self.depth > MAX_DEPTH => Err(format!("more than {MAX_DEPTH} levels, its references followed")),
            Value::Array(all) => all.iter().try_for_each(|one| self.schema(one)),
            Value::Object(all) => all.iter().try_for_each(|(key, value)| self.keyword(at, key, value)),
            _ => Ok(()),
        }?;
        self.depth -= 1;
        Ok(())
    }

    fn keyword(&mut self, at: &'a Value, key: &str, value: &'a Value) -> Result<(), String> {
        match (key, value) {
            _ if DATA.contains(&key) => Ok(()),
            _ if REFUSED.contains(&key) => Err(format!("{key:?} is not taken here")),
            ("$id" | "id", Value::String(_)) if !std::ptr::eq(at, self.root) => Err(format!("{key:?} is not taken below its root")),
            ("$ref", Value::String(to)) => self.reference(to),
            (_, Value::Object(all)) if NAMED.contains(&key) => all.values().try_for_each(|one| self.schema(one)),
            _ => self.schema(value),
        }
    }

    fn reference(&mut self, to: &'a str) -> Result<(), String> {
        let target = to.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let target = target.ok_or_else(|| format!("reference {to:?}; one to a part of it is taken, as \"#/$defs/name\""))?;
        if self.inside.contains(&to) {
            return Err(format!("reference {to:?} leads to itself"));
        }
        self.inside.push(to);
        self.schema(target)?;
        self.inside.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(schema: &Value, config: Value) -> Result<(), String> {
        check(&schema.to_string(), &config).map_err(|e| e.to_string())
    }

    #[test]
    fn references_and_patterns_of_an_ordinary_schema_work() {
        let schema = json!({
            "$id": "https://example.invalid/plugin",
            "$defs": { "rack": { "properties": { "default": { "type": "integer" } }, "required": ["id"] } },
            "properties": {
                "racks": { "items": { "$ref": "#/$defs/rack" }, "default": [{ "$ref": "in data" }] },
                "id": { "pattern": "^[a-z]+$" },
            },
        });
        assert_eq!(judged(&schema, json!({ "id": "a", "racks": [{ "id": 1, "default": 2 }] })), Ok(()));
        let error = judged(&schema, json!({ "id": "A\n", "racks": [{ "default": "x" }] })).unwrap_err();
        assert!(error.contains("/racks/0") && error.contains("/id") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_key_that_is_unknown_is_named_with_what_was_meant() {
        let table = json!({ "additionalProperties": false, "properties": { "power": {}, "mode": { "enum": ["text", "json"] } } });
        let schema = json!({ "$defs": { "table": table }, "properties": { "tables": { "items": { "$ref": "#/$defs/table" } } }, "additionalProperties": false });
        for (config, expected) in [
            (json!({ "tables": [{ "powr": 1 }] }), "unknown key \"powr\"; did you mean \"power\"? (at \"/tables/0/powr\")"),
            (json!({ "tables": [{ "a/b": 1 }] }), "unknown key \"a/b\"; allowed are mode, power (at \"/tables/0/a~1b\")"),
            (json!({ "tabels": [] }), "unknown key \"tabels\"; did you mean \"tables\"? (at \"/tabels\")"),
            (json!({ "tables": [{ "mode": "jsn" }] }), "did you mean \"json\"? (at \"/tables/0/mode\")"),
        ] {
            let error = judged(&schema, config).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_schema_that_costs_more_than_its_size_is_refused_before_it_is_compiled() {
        let doubling = |key: &str| {
            let next = |i: usize| json!({ key: [{ "$ref": format!("#/$defs/{}", i + 1) }, { "$ref": format!("#/$defs/{}", i + 1) }] });
            let mut all: serde_json::Map<String, Value> = (0..40).map(|i| (i.to_string(), next(i))).collect();
            all.insert("40".into(), json!(true));
            json!({ "$defs": all, "$ref": "#/$defs/0" })
        };
        for (schema, expected) in [
            (doubling("allOf"), "more than 10000 parts"),
            (doubling("anyOf"), "more than 10000 parts"),
            (json!({ "$ref": "#" }), "leads to itself"),
            (json!({ "items": { "$ref": "#" } }), "leads to itself"),
            (json!({ "$ref": "https://example.invalid/schema" }), "to a part of it"),
            (json!({ "properties": { "a": { "$id": "b", "$ref": "#/properties" } } }), "below its root"),
            (json!({ "$anchor": "a" }), "not taken here"),
            (json!({ "unevaluatedProperties": false }), "not taken here"),
            (json!({ "pattern": "(?=a)b" }), "its config schema"),
            (json!({ "pattern": "\\w{1000}{1000}" }), "its config schema"),
            (json!({ "description": "x".repeat(70_000) }), "the limit is 65536"),
        ] {
            let error = judged(&schema, json!({})).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
