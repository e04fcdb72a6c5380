//! Texts that are more than texts to somebody: in the exposition, in JSON, in a path, in a log line, on a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use kcloud_collector_sdk::exposition::{Event, Format, Parser, Sample};
use serde_json::{Value, json};

use crate::program::Program;
use crate::raw::Raw;
use crate::stage::{Stage, named, play, told};
use kcloud_e2e::{component, until};

/// Without control characters: with them a label is refused.
const TEXTS: [&str; 20] = [
    "\"} 1",
    "\\",
    "\\\"} 1 #",
    "a\\nb 1",
    "{x=\"y\"}",
    "# EOF",
    "GPU-t\"} 99",
    "=cmd|'/C calc'!A0",
    "@SUM(1+1)*cmd",
    "+1",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "'; DROP TABLE cards; --",
    "<script>alert(1)</script>",
    "$(reboot)`reboot`",
    "a=b&limit=1#x?",
    "\u{202e}moc.live",
    "\u{feff}\u{200b}",
    "온도",
    " ",
];

fn parse(text: &str) -> Vec<Sample<'_>> {
    let all = Parser::new(text, Format::Prometheus)
        .map(|event| event.unwrap_or_else(|bad| panic!("{bad}: {:?}", text.lines().nth(bad.line as usize - 1))));
    all.filter_map(|event| if let Event::Sample(sample) = event { Some(sample) } else { None }).collect()
}

fn value(sample: &Sample<'_>, key: &str) -> String {
    sample.labels.get(key).map(|v| v.into_owned()).unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

async fn text(stage: &Stage, path: &str) -> String {
    let (status, body) = stage.running.get(path).await;
    assert_eq!(status, 200, "{path}");
    body.as_str().unwrap().to_owned()
}

#[test]
fn a_value_of_a_label_stays_a_value_in_exposition_json_paths_and_queries() {
    play(async {
        let stage = Stage::set(told("values", "", &TEXTS)).await;
        stage.works("values").await;
        let expected: BTreeSet<&str> = TEXTS.into_iter().chain(["GPU-t"]).collect();
        let all = until("all cards are published", async || {
            let all = text(&stage, "/metrics").await;
            (parse(&all).iter().filter(|s| s.name == "kcloud_power_watts").count() == expected.len()).then_some(all)
        })
        .await;
        let samples = parse(&all);
        assert!(samples.iter().all(|s| s.name.starts_with("kcloud_")), "{all}");
        let cards: Vec<String> = samples.iter().filter(|s| s.name == "kcloud_power_watts").map(|s| value(s, "uuid")).collect();
        assert_eq!(cards.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
        let theirs = samples.iter().filter(|s| s.name == "kcloud_power_watts" && value(s, "uuid") != "GPU-t");
        assert!(theirs.into_iter().all(|s| s.value == 5.0), "{all}");
        for id in TEXTS {
            let (status, card) = stage.running.get(&format!("/api/v1/accelerators/gpus/{}", escaped(id))).await;
            assert_eq!((status, card["data"]["uuid"].as_str(), card["data"]["model_name"].as_str()), (200, Some(id), Some(id)), "{card}");
            let (_, found) = stage.running.get(&format!("/api/v1/accelerators/gpus?model={}", escaped(id))).await;
            assert_eq!((&found["metadata"]["total_count"], found["data"][0]["uuid"].as_str()), (&json!(1), Some(id)), "{found}");
        }
        stage.end().await;
    });
}

#[test]
fn a_key_of_a_label_is_a_name_or_refused_and_never_another_labels_name() {
    play(async {
        const BAD: [&str; 9] = ["a b", "a\"", "a=\"x\",b", "", "1a", "ä", "a{", "a\n", "a\u{202e}"];
        let odd = ["__name__", "__address__", "a.b", "a_b", "a-b", "a/b", "a:b", "cluster", "kind", "le", "job"];
        let refused = BAD.into_iter().enumerate().flat_map(|(i, key)| named(&format!("bad{i}"), "keys", "", &[key]));
        let stage = Stage::set(refused.chain(named("odd", "keys", "", &odd))).await;
        for i in 0..BAD.len() {
            stage.fails(&format!("bad{i}"), "plugin", "is not allowed").await;
        }
        stage.works("odd").await;
        let all = until("the card is published", async || Some(text(&stage, "/metrics").await).filter(|t| t.contains("GPU-keys"))).await;
        let samples = parse(&all);
        let card = samples.iter().find(|s| value(s, "uuid") == "GPU-keys").unwrap();
        assert_eq!(
            (card.name, value(card, "cluster").as_str(), value(card, "kind").as_str()),
            ("kcloud_power_watts", "cluster1", "accelerator")
        );
        let raw = card.labels.raw();
        assert!(!raw.contains("__name__=") || raw.contains("x__name__="), "{raw}");
        stage.end().await;
    });
}

#[test]
fn control_characters_of_any_kind_are_refused_in_a_label() {
    play(async {
        const BAD: [&str; 6] = ["GPU\n1", "GPU\r", "GPU\0", "\u{1b}[2J", "\u{7f}", "\u{85}"];
        let stage = Stage::set(BAD.into_iter().enumerate().flat_map(|(i, value)| named(&format!("bad{i}"), "values", "", &[value]))).await;
        for i in 0..BAD.len() {
            stage.fails(&format!("bad{i}"), "plugin", "label \"uuid\" holds a control character").await;
        }
        stage.end().await;
    });
}

#[test]
fn a_name_of_a_metric_or_a_kind_is_of_the_model_or_marked_as_strange() {
    play(async {
        let long = format!("x_{}", "a".repeat(99));
        let bad = ["power_watts{a=\"b\"} 1\n#", "x_A", "x_a b", "x_a\n", "kcloud_up", "up", "", &long, "../x_a"];
        let refused = bad.iter().enumerate().flat_map(|(i, name)| named(&format!("bad{i}"), "names", "", &[name]));
        let kinds = ["x_a\"} 1", "x_\n", "x_../../x"];
        let stage = Stage::set(refused.chain(named("strange", "names", "", &["x_up"])).chain(named("kinds", "kinds", "", &kinds))).await;
        for i in 0..bad.len() {
            stage.fails(&format!("bad{i}"), "plugin", "is not in the catalogue").await;
        }
        stage.works("strange").await;
        // What the model does not know has one kind, whatever it is called.
        stage.works("kinds").await;
        let all = text(&stage, "/metrics").await;
        assert!(parse(&all).iter().all(|s| s.name.starts_with("kcloud_") && !s.name.contains("x_up")), "{all}");
        stage.end().await;
    });
}

#[test]
fn targets_that_it_finds_are_checked_one_by_one() {
    play(async {
        let good = ["../../x", "a\"} 1", "=cmd|' /C calc'!A0", "<b>", "온도"];
        let bad = ["", "a\nb", "\u{1b}[31m", "t\0", "a", "a"];
        let list: Vec<&str> = good.into_iter().chain(bad).collect();
        let evils = told("targets", "http://127.0.0.1:9/metrics", &list);
        let stage = Stage::set(evils).await;
        let seen = stage.all("targets", "found some", |v| Some(v["targets"].as_array()?.len() > 1)).await;
        for v in &seen {
            let found: Vec<&str> =
                v["targets"].as_array().unwrap().iter().filter(|t| t["discovered"] == true).filter_map(|t| t["id"].as_str()).collect();
            assert_eq!(found, good.into_iter().chain(["a"]).collect::<Vec<_>>());
            let refused = v["refused_targets"].to_string();
            for words in [
                "its id stands twice",
                "no cluster \\\"not-mine\\\" is configured",
                "169.254.169.254",
                "all of which are shown as they are",
            ] {
                assert!(refused.contains(words), "{words}: {refused}");
            }
            assert!(!refused.contains('\u{1b}'));
        }
        parse(&text(&stage, "/api/v1/system/metrics").await);
        stage.end().await;
    });
}

#[test]
fn ten_thousand_targets_are_the_most_and_delay_nobody() {
    play(async {
        // At an interval at which ten thousand may be read.
        let evils = told("many-targets", "http://127.0.0.1:9/metrics", &[]).into_iter();
        let stage = Stage::set(evils.map(|e| e.with(|s| s.interval = Duration::from_secs(15)))).await;
        let many = |v: &Value| Some(v["refused_targets"].to_string().contains("more than 10000 targets"));
        stage.all("many-targets", "found the most", many).await;
        // Twenty thousand tasks leave holes among what goes on living; they are filled when there are others.
        stage.end_keeping(160 << 20).await;
    });
}

#[test]
fn events_problems_and_errors_are_one_line_of_plain_text_each() {
    play(async {
        let nasty = ["a\nb", "\u{1b}[31mred", "\u{202e}x", "\u{2028}", "\0", "{\"a\":1}", "%s%n"];
        let stage = Stage::set(["events", "problems", "errors"].into_iter().flat_map(|mode| told(mode, "", &nasty))).await;
        let plain = |text: &str| !text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}'));
        stage.works("events").await;
        let events =
            until("events", async || Some(stage.running.host.app.inventory.current()).filter(|s| s.events.len() >= nasty.len())).await;
        assert!(events.events.iter().all(|e| plain(&e.code) && plain(&e.message) && plain(&e.key)), "{:?}", events.events);
        for lines in stage.log("problems").await {
            assert!(lines.len() >= nasty.len() && lines.iter().all(|l| plain(l)), "{lines:?}");
        }
        for v in stage.fails("errors", "plugin", "the plugin's own fault: a\\nb\\u{1b}[31mred\\u{202e}x\\u{2028}").await {
            assert!(plain(v["last_error"]["message"].as_str().unwrap()) && plain(v["reason"].as_str().unwrap_or("")), "{v:#}");
        }
        stage.end().await;
    });
}

#[test]
fn a_components_file_may_be_called_anything() {
    play(async {
        let stage = Stage::set([]).await;
        let bytes = Raw::default().bytes();
        let names = ["evil-\"} 1 # x", "evil-\nforged 1", "evil-=cmd|x", "evil-\u{202e}x", "evil-..", "evil- "];
        for name in names {
            std::fs::write(stage.running.plugins_dir().join(format!("{name}.wasm")), &bytes).unwrap();
        }
        stage.running.host.look_again.notify_one();
        for name in names {
            until(name, async || (stage.running.plugin(&escaped(name)).await.0 == "active").then_some(())).await;
        }
        let all = text(&stage, "/api/v1/system/metrics").await;
        let samples = parse(&all);
        assert!(samples.iter().all(|s| s.name.starts_with("kcloud_")), "{all}");
        let active = samples.iter().filter(|s| s.name == "kcloud_plugin_active");
        assert_eq!(
            active.map(|s| value(s, "plugin")).collect::<BTreeSet<_>>(),
            names.into_iter().chain(["turncoat"]).map(str::to_owned).collect()
        );
        stage.end().await;
    });
}

#[test]
fn a_flood_of_lines_is_cut_counted_and_kept_as_a_tail() {
    play(async {
        let stage = Stage::set(told("chatter", "", &[])).await;
        for v in stage.all("chatter", "has spoken", |v| Some(v["log_lines_dropped_total"].as_u64()? >= 9_000)).await {
            let tail = v["log_tail"].as_array().unwrap();
            assert!(tail.len() <= 200 && tail.iter().all(|l| l.as_str().unwrap().ends_with("\\nforged")), "{v:#}");
        }
        stage.works("chatter").await;
        stage.end().await;
    });
}

/// As it is installed: what stands in its log is for `grep`, for a terminal and for a collector of logs.
#[test]
fn a_line_of_the_hosts_log_is_one_line_whatever_a_plugin_says() {
    play(async {
        let nasty =
            ["a\n2026-01-01T00:00:00Z ERROR forged", "\r\n", "\u{1b}[31mred", "\u{202e}txt", "\u{2028}x", "{\"level\":\"ERROR\"}", "\0"];
        let settings = format!(
            "interval = \"300ms\"\n[grants]\nhttp = \"targets\"\nfiles = [\"/nowhere/*\"]\nstate = true\nipmi = true\nnvml = true\n[config]\nmode = \"lines\"\nlist = {}\n[[targets]]\nid = \"t\"\naddress = \"http://127.0.0.1:9/\"\n",
            serde_json::to_string(&nasty).unwrap()
        );
        for format in ["text", "json"] {
            let program = Program::start(|_| format!("[log]\nformat = \"{format}\"\n"));
            std::fs::write(program.dir.path().join("plugins.d/evil.toml"), &settings).unwrap();
            std::fs::copy(component("evil"), program.dir.path().join("plugins/evil.wasm")).unwrap();
            let log = until("it has spoken", async || Some(program.log()).filter(|l| l.matches("red=").count() >= 2)).await;
            assert!(!log.chars().any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{2028}' | '\u{202e}')), "{log}");
            for line in log.lines() {
                match format {
                    "json" => drop(serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"))),
                    _ => assert!(
                        line.starts_with("20")
                            && line.split(' ').next().unwrap().ends_with('Z')
                            && !line.starts_with("2026-01-01T00:00:00Z"),
                        "{line}"
                    ),
                }
            }
        }
    });
}
