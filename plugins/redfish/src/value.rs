//! Values out of documents that vendors write as they like.

use serde_json::Value;

/// What some write for "no limit set" or "unknown".
const UNSET: f64 = u32::MAX as f64;

/// A number, also one in quotes.
pub(crate) fn num(value: &Value) -> Option<f64> {
    let n = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    n.filter(|n| n.is_finite() && *n != UNSET)
}

/// The number of a reading: a sensor's excerpt, or the number itself.
pub(crate) fn reading(value: &Value) -> Option<f64> {
    num(value).or_else(|| num(&value["Reading"]))
}

/// Text that says something.
pub(crate) fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let says =
        !text.is_empty() && !matches!(text.to_ascii_lowercase().as_str(), "n/a" | "na" | "none" | "null" | "unknown" | "not available");
    says.then(|| text.to_owned())
}

/// Where a link leads, without a final slash; only a path, since what lies elsewhere is not this service's.
pub(crate) fn link(value: &Value) -> Option<&str> {
    let path = value["@odata.id"].as_str().or_else(|| value.as_str())?;
    (path.starts_with('/') && !path.starts_with("//")).then(|| path.trim_end_matches('/'))
}

/// The last element of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// A resource's id: its own, else the last element of where it stands.
pub(crate) fn id(value: &Value) -> String {
    text(&value["Id"]).or_else(|| link(value).map(|path| last(path).to_owned())).unwrap_or_default()
}

/// Parses JSON, and mends what vendors are known to write: a byte order mark, commas before a closing bracket, NaN, raw control
/// characters in text.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes)
        .or_else(|error| serde_json::from_str(&mended(&String::from_utf8_lossy(bytes))).map_err(|_| error.to_string()))
}

fn mended(text: &str) -> String {
    let (mut out, mut in_text, mut is_escaped) = (String::with_capacity(text.len()), false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            _ if is_escaped => (is_escaped, _) = (false, out.push(c)),
            '\\' if in_text => (is_escaped, _) = (true, out.push(c)),
            '"' => (in_text, _) = (!in_text, out.push(c)),
            _ if in_text => out.push(if c.is_control() { ' ' } else { c }),
            ',' if after.trim_start().starts_with(['}', ']']) => {}
            _ => match ["NaN", "nan", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word)) {
                Some(word) => {
                    out.push_str("null");
                    rest = &rest[word.len()..];
                    continue;
                }
                None => out.push(c),
            },
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vendors_break_is_mended_and_what_is_lost_is_said() {
        let odd = "\u{feff}{\"a\": NaN, \"b\": [1, 2,], \"c\": \"NaN, ]\tx\\\"\", \"d\": \"12.5\",}";
        let value = parse(odd.as_bytes()).unwrap();
        assert_eq!((value["a"].is_null(), value["b"].as_array().unwrap().len(), num(&value["d"])), (true, 2, Some(12.5)));
        assert_eq!(value["c"], "NaN, ] x\"");
        for lost in ["", "<html>", "{\"a\": ", "{\"a\" 1}"] {
            assert!(parse(lost.as_bytes()).is_err(), "{lost}");
        }
        for nothing in ["\"N/A\"", "null", "4294967295", "{}", "\"\"", "\"inf\""] {
            assert_eq!(num(&parse(nothing.as_bytes()).unwrap()), None, "{nothing}");
        }
    }

    #[test]
    fn a_link_stays_in_its_service() {
        for (value, expected) in [
            (r#"{"@odata.id": "/redfish/v1/Chassis/"}"#, Some("/redfish/v1/Chassis")),
            (r#"{"@odata.id": "https://pdu1/redfish/v1"}"#, None),
            (r#"{"@odata.id": "//pdu1/redfish/v1"}"#, None),
            (r#"{"@odata.id": null}"#, None),
            (r#""/redfish/v1/x""#, Some("/redfish/v1/x")),
        ] {
            assert_eq!(link(&parse(value.as_bytes()).unwrap()), expected, "{value}");
        }
    }
}
