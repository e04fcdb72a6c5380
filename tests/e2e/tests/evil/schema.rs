//! Descriptions: what a plugin says of itself before it has any right, above all the schema of its settings.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::raw::Raw;
use crate::servers::Server;
use crate::stage::{Evil, Stage, play};

fn schema(name: &str, schema: String) -> Evil {
    Raw { schema, ..Raw::default() }.named(name)
}

#[test]
fn a_schema_that_is_deep_huge_or_leads_elsewhere_is_refused() {
    play(async {
        let decoy = Server::good().await;
        let deep = "{\"items\":".repeat(5_000) + "{}" + &"}".repeat(5_000);
        let elsewhere = format!("{{\"$ref\":\"http://127.0.0.1:{}/schema.json\"}}", decoy.port);
        let stage = Stage::set([
            schema("deep", deep),
            schema("huge", format!("{{\"description\":\"{}\"}}", "x".repeat(300_000))),
            schema("elsewhere", elsewhere),
            schema("file", "{\"$ref\":\"file:///etc/passwd\"}".to_owned()),
            schema("no-json", "{\"type\":".to_owned()),
            schema("no-schema", "{\"type\":\"toaster\"}".to_owned()),
        ])
        .await;
        stage.refuses("deep", "its description: its config schema: not JSON: recursion limit exceeded").await;
        stage.refuses("huge", "its config schema: it has 300018 bytes; the limit is 65536").await;
        for name in ["elsewhere", "file", "no-schema"] {
            stage.refuses(name, "its description: its config schema: ").await;
        }
        stage.refuses("no-json", "its description: its config schema: not JSON: EOF while parsing").await;
        assert_eq!(decoy.connections.load(Ordering::SeqCst), 0);
        stage.end().await;
    });
}

/// Each level asks the next one twice: 2^60 looks at one value.
fn tower() -> String {
    let level = |i: u32| format!("\"d{i}\":{{\"allOf\":[{{\"$ref\":\"#/$defs/d{0}\"}},{{\"$ref\":\"#/$defs/d{0}\"}}]}}", i + 1);
    let levels: Vec<String> = (0..60).map(level).collect();
    format!("{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{},\"d60\":{{}}}}}}", levels.join(","))
}

#[test]
fn a_schema_that_goes_round_in_circles_or_grows_by_doubling_costs_nobody_time() {
    play(async {
        let circle = "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}}}".to_owned();
        let stage = Stage::set([
            schema("own", "{\"$ref\":\"#\"}".to_owned()),
            schema("circle", circle.clone()),
            schema("tower", tower()),
            schema("circle-within", format!("{{\"properties\":{{\"a\":{circle}}}}}")),
        ])
        .await;
        for name in ["own", "circle", "tower", "circle-within"] {
            stage.all(name, "decided", |v| Some(v["state"] == "active" || v["state"] == "rejected")).await;
        }
        stage.end().await;
    });
}

#[test]
fn a_pattern_that_never_ends_matching_costs_nobody_time() {
    play(async {
        let of = |name: &str, pattern: &str| {
            let text = json!({ "properties": { "mode": { "pattern": pattern } } }).to_string();
            schema(name, text).with(|s| s.config = json!({ "mode": "a".repeat(60) + "!" }))
        };
        let stage = Stage::set([
            of("nested", "^(a+)+$"),
            of("alternatives", "^(a|a|aa|a*)*$"),
            of("behind", "^(?=(a+)+$)(a|aa)+$"),
            of("large", "((((a{100}){100}){100}){100}){100}"),
        ])
        .await;
        for name in ["nested", "alternatives", "behind", "large"] {
            stage.refuses(name, "its ").await;
        }
        stage.end().await;
    });
}

#[test]
fn a_description_that_would_be_shown_as_something_else_is_refused() {
    play(async {
        let stage = Stage::set([
            Raw { name: "../raw", ..Raw::default() }.named("name-path"),
            Raw { name: "raw\n", ..Raw::default() }.named("name-line"),
            Raw { name: "", ..Raw::default() }.named("name-none"),
            Raw { version: "1.0.0-\"} 1\n# x", ..Raw::default() }.named("version-forged"),
            Raw { version: "latest", ..Raw::default() }.named("version-none"),
            Raw { vendor: "\u{1b}]0;owned\u{7}", ..Raw::default() }.named("vendor-terminal"),
            Raw { vendor: "moc.elpmaxe\u{202e}", ..Raw::default() }.named("vendor-direction"),
            Raw { description: "x".repeat(4 << 20), ..Raw::default() }.named("description-huge"),
        ])
        .await;
        for (name, words) in [
            ("name-path", "its description: name \"../raw\"; it must match"),
            ("name-line", "its description: name \"raw\\n\"; it must match"),
            ("name-none", "its description: name \"\"; it must match"),
            ("version-forged", "is not a semantic version"),
            ("version-none", "version \"latest\" is not a semantic version"),
            ("vendor-terminal", "its vendor has more than 1024 bytes, or characters that are not shown as they are"),
            ("vendor-direction", "its vendor has more than 1024 bytes, or characters that are not shown as they are"),
            ("description-huge", "its description has more than 1024 bytes"),
        ] {
            stage.refuses(name, words).await;
        }
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_takes_anothers_name_is_shown_under_its_files_own() {
    play(async {
        let stage = Stage::set([Raw { name: "turncoat", ..Raw::default() }.named("masked")]).await;
        stage.works("masked").await;
        let (_, all) = stage.running.get("/api/v1/system/plugins").await;
        let names: Vec<&str> = all["data"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
        assert_eq!(names, ["masked", "turncoat"]);
        stage.end().await;
    });
}
