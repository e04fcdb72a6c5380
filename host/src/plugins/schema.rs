//! An operator's `[config]` against the JSON Schema that a component brought along.
//!
//! In: a stranger's text. A schema can ask for work without end in a few lines (references that double at each step, a part
//! judged twice on each level), so that what costs more than its size is refused before it is compiled. It must never fetch anything.

use serde_json::Value;

use super::capabilities::log::clean;
use super::generation::LoadError;

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
    let place = |e: jsonschema::ValidationError<'_>| clean(&format!("{e} (at {:?})", e.instance_path().to_string()));
    let errors: Vec<String> = validator.iter_errors(config).take(10).map(place).collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(LoadError::Config(errors.join("; "))),
    }
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
