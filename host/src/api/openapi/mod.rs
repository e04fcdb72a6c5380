//! The OpenAPI 3.1 document, made of the table of routes and the tables beside this file.

mod parameters;
mod schemas;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::routes::{Answer, ROUTES, Route};
use crate::auth::Scope;
use crate::export::Format;

const INTRODUCTION: &str = "Watches AI accelerators and the machines around them. Every number carries its unit in its name; what \
    was not read is `null`, never 0. Errors are RFC 9457 problems. Times are RFC 3339 in UTC.";

/// The whole document.
pub(super) fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in ROUTES {
        paths.entry(route.path).or_default().insert(route.method.to_ascii_lowercase(), operation(route));
    }
    let tags = [
        ("accelerators", "GPUs, NPUs and their partitions"),
        ("infrastructure", "Nodes, pods, containers and virtual machines"),
        ("hardware", "What BMCs read, by IPMI or Redfish"),
        ("clusters", "Configured clusters"),
        ("monitoring", "What is drawn, by whom, and over time"),
        ("export", "Files of many rows"),
        ("system", "The host itself and its plugins"),
        ("auth", "Credentials"),
        ("probes", "For orchestrators and scrapers"),
    ];
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "KCloud Monitor", "version": env!("CARGO_PKG_VERSION"), "description": INTRODUCTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags.map(|(name, description)| json!({ "name": name, "description": description })),
        "security": [{ "basic": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas::components(),
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic" },
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From POST /api/v1/auth/login, or an API key." },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}'));
    let mut given: Vec<Value> = in_path.map(|name| parameters::in_path(route.path, name)).collect();
    let has_path = !given.is_empty();
    given.extend(route.query.iter().map(|name| parameters::in_query(route.path, name)));
    let mut out = json!({
        "operationId": identifier(route), "summary": route.summary, "tags": [route.domain], "parameters": given,
        "responses": responses(route, has_path),
    });
    if let Some(body) = route.body {
        out["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": reference(body) } } });
    }
    if route.scope != Scope::Read {
        out["description"] = json!(format!("Needs the scope `{}`.", route.scope.name()));
    }
    if route.is_open {
        out["security"] = json!([]);
    }
    out
}

/// `get_accelerators_gpus_id_power`.
fn identifier(route: &Route) -> String {
    let path = route.path.trim_start_matches("/api/v1").replace(['{', '}'], "");
    route.method.to_ascii_lowercase() + &path.replace(['/', '-'], "_")
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn responses(route: &Route, has_path: bool) -> Value {
    let request_id = json!({ "X-Request-Id": { "schema": { "type": "string" }, "description": "As given, else made here." } });
    let ok = |media: &str, schema: Value| json!({ "description": route.summary, "headers": request_id.clone(), "content": { media: { "schema": schema } } });
    let envelope = |data: Value| {
        let mut schema = schemas::envelope();
        schema["properties"]["data"] = data;
        ok("application/json", schema)
    };
    let enveloped = matches!(route.answer, Answer::One(_) | Answer::Many(_) | Answer::Rows);
    let good = match route.answer {
        Answer::One(schema) => envelope(reference(schema)),
        Answer::Many(schema) => envelope(json!({ "type": "array", "items": reference(schema) })),
        Answer::Plain(schema) => ok("application/json", reference(schema)),
        // Of each event; `data` is JSON.
        Answer::Text(media) if media.starts_with("text/event-stream") => {
            let text = json!({ "type": "string" });
            ok(media, json!({ "type": "object", "properties": { "id": text, "event": text, "data": text }, "required": ["event", "data"] }))
        }
        Answer::Text(media) => ok(media, json!({ "type": "string" })),
        Answer::Socket => json!({ "description": "The connection is a WebSocket from here on" }),
        Answer::Report => {
            let mut good = ok("application/pdf", json!({ "type": "string", "format": "binary" }));
            for format in crate::report::Format::ALL {
                let media = format.media_type().split(';').next().unwrap_or_default();
                // What the JSON holds is in docs/REPORTS.md.
                good["content"][media] = json!({ "schema": if media == "application/json" { json!({}) } else { json!({ "type": "string", "format": "binary" }) } });
            }
            good
        }
        Answer::File => {
            let of =
                |f: Format| (f.media_type().split(';').next().unwrap_or_default().to_owned(), json!({ "schema": { "format": "binary" } }));
            let mut good = ok("application/json", json!({}));
            good["content"] = Format::ALL.into_iter().map(of).collect();
            good
        }
        Answer::Rows => {
            let mut schema = schemas::envelope();
            schema["properties"]["metadata"] = reference("ExportMetadata");
            // Columns are what was asked for.
            schema["properties"]["data"] = json!({ "type": "array", "items": { "type": "object", "required": ["timestamp", "reason"] } });
            let mut good = ok("application/json", schema);
            for format in Format::ALL.into_iter().filter(|f| *f != Format::Json) {
                let media = format.media_type().split(';').next().unwrap_or_default();
                let schema = if media.starts_with("text/") || format == Format::Ndjson {
                    json!({ "type": "string" })
                } else {
                    json!({ "type": "string", "format": "binary" })
                };
                good["content"][media] = json!({ "schema": schema });
            }
            good
        }
    };
    let is_socket = matches!(route.answer, Answer::Socket);
    let is_taken_on = route.method == "POST" && route.path.ends_with("/export/jobs");
    let status = match () {
        _ if is_socket => "101",
        _ if is_taken_on => "202",
        _ => "200",
    };
    let mut all = Map::from_iter([(status.to_owned(), good)]);
    if matches!(route.answer, Answer::File) {
        for (status, description) in [
            ("206", "The ranges that were asked for"),
            ("304", "Not changed since the date in the request"),
            ("412", "Changed since the date in the request"),
            ("416", "The file has no such range"),
        ] {
            all.insert(status.to_owned(), json!({ "description": description }));
        }
    }
    let in_system = route.domain == "system" || route.domain == "probes";
    let problems = [
        ("400", "A parameter or the body cannot be used; says which, what was given and what is allowed", true),
        ("401", "Credentials are missing, wrong or expired", !route.is_open || route.body.is_some()),
        ("403", "The credentials are not good for this", !route.is_open),
        ("404", "There is no such resource", has_path || is_taken_on || route.query.contains(&"cluster")),
        (
            "409",
            "Several have this name; lists them",
            has_path && ["/accelerators/", "/infrastructure/"].iter().any(|d| route.path.contains(d)),
        ),
        ("426", "Asked without `Upgrade: websocket`", is_socket),
        ("409", "Not in this state; says why", ["/plugins/", "/alerts/"].iter().any(|d| route.path.contains(d)) && route.method == "POST"),
        ("409", "Not done yet", matches!(route.answer, Answer::File)),
        ("429", "Too many failed attempts; says how long to wait", !route.is_open || route.body.is_some()),
        ("500", "The host failed on this request", true),
        ("502", "The engine that answers for the past does not", ["period", "start_date"].iter().any(|q| route.query.contains(q))),
        ("503", "Not now; says when to ask again", !in_system || route.path == "/readyz"),
    ];
    for (status, description, applies) in problems {
        if applies {
            let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
            all.insert(status.to_owned(), json!({ "description": description, "content": content }));
        }
    }
    if enveloped {
        all.insert("304".to_owned(), json!({ "description": "Nothing changed since the ETag in If-None-Match" }));
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn references(value: &Value, out: &mut HashSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| match v.as_str() {
                Some(target) if k == "$ref" => drop(out.insert(target.to_owned())),
                _ => references(v, out),
            }),
            Value::Array(all) => all.iter().for_each(|v| references(v, out)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document();
        let mut found = HashSet::new();
        references(&document, &mut found);
        for target in &found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is not used");
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let names: HashSet<String> = ROUTES.iter().map(identifier).collect();
        assert_eq!(names.len(), ROUTES.len());
    }

    #[test]
    fn the_routes_are_these() {
        let all: Vec<String> = ROUTES.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
        insta::assert_snapshot!(all.join("\n"));
    }
}
