use std::fmt::Write;
use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn all(text: &str) -> (Vec<Sample<'_>>, Vec<BadLine>) {
    let (mut samples, mut bad) = (Vec::new(), Vec::new());
    for event in Parser::new(text, Format::Prometheus) {
        match event {
            Ok(Event::Sample(s)) => samples.push(s),
            Ok(_) => {}
            Err(b) => bad.push(b),
        }
    }
    (samples, bad)
}

#[test]
fn forms_that_sources_really_write() {
    type Case = (&'static str, &'static str, f64, &'static [(&'static str, &'static str)]);
    let cases: [Case; 13] = [
        ("up 1", "up", 1.0, &[]),
        ("up{} 1", "up", 1.0, &[]),
        ("  up \t 1  ", "up", 1.0, &[]),
        ("up 1\r", "up", 1.0, &[]),
        ("a{b=\"c\",} 2", "a", 2.0, &[("b", "c")]),
        ("a{b=\"c\", d=\"e\"} 1.103806595072e+12", "a", 1.103806595072e12, &[("b", "c"), ("d", "e")]),
        ("RBLN_DEVICE_STATUS:TEMPERATURE{card=\"x\"} 3", "RBLN_DEVICE_STATUS:TEMPERATURE", 3.0, &[("card", "x")]),
        ("a{b=\"q\\\"x\\\\y\\nz\"} 1", "a", 1.0, &[("b", "q\"x\\y\nz")]),
        ("a{b=\"un\"escaped\",c=\"d\"} 1", "a", 1.0, &[("b", "un\"escaped"), ("c", "d")]),
        ("a{b=\"}{,=\"} 1", "a", 1.0, &[("b", "}{,=")]),
        ("{\"my.metric\",a=\"b\"} 1", "my.metric", 1.0, &[("a", "b")]),
        ("a +Inf", "a", f64::INFINITY, &[]),
        ("a 5 # {trace=\"x\"} 0.1", "a", 5.0, &[]),
    ];
    for (text, name, value, labels) in cases {
        let (samples, bad) = all(text);
        assert!(bad.is_empty(), "{text}: {bad:?}");
        assert_eq!((samples[0].name, samples[0].value), (name, value), "{text}");
        let found: Vec<_> = samples[0].labels.iter().map(|(k, v)| (k, v.into_owned())).collect();
        let expected: Vec<_> = labels.iter().map(|(k, v)| (*k, v.to_string())).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_bad_line_loses_that_line_and_says_which() {
    let text = "# TYPE a gauge\na 1\na ERROR - FAILED TO CONVERT TO STRING\na{b=\"c} 2\n{} 3\na{b} 4\na\n9a 1\na 1 2 3\na 5\n";
    let (samples, bad) = all(text);
    assert_eq!(samples.iter().map(|s| s.value).collect::<Vec<_>>(), [1.0, 5.0]);
    assert_eq!(bad.iter().map(|b| b.line).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(bad[0].reason, "the value is not a number");
}

#[test]
fn not_a_number_is_a_value_and_not_a_bad_line() {
    let (samples, bad) = all("a NaN\nb -Inf\n");
    assert!(bad.is_empty() && samples[0].value.is_nan() && samples[1].value == f64::NEG_INFINITY);
}

#[test]
fn timestamps_are_milliseconds_here_and_seconds_in_openmetrics() {
    let stamp = |format| match Parser::new("a 1 1700000000.5", format).next() {
        Some(Ok(Event::Sample(s))) => s.timestamp_ms,
        other => panic!("{other:?}"),
    };
    assert_eq!(stamp(Format::OpenMetrics), Some(1_700_000_000_500));
    assert_eq!(all("a 1 1700000000123").0[0].timestamp_ms, Some(1_700_000_000_123));
    assert_eq!(Format::of(Some("application/openmetrics-text; version=1.0.0")), Format::OpenMetrics);
}

#[test]
fn repeated_metadata_is_no_fault() {
    let text = "# HELP a x\n# TYPE a gauge\na 1\n# HELP a x\n# TYPE a gauge\n# UNIT a s\n# a comment\n#\na 2\n# EOF";
    let events: Vec<_> = Parser::new(text, Format::OpenMetrics).collect::<Result<_, _>>().unwrap();
    assert_eq!(events.len(), 8);
    assert_eq!(events.last(), Some(&Event::Eof));
}

#[test]
fn bodies_that_are_no_metrics_say_so() {
    assert_eq!(decode(b"", 10).unwrap(), "");
    assert_eq!(decode(b"\n<!DOCTYPE html><p>", 100), Err(BodyError::Html));
    assert_eq!(decode(b"\x1f\x8bnonsense", 100), Err(BodyError::Gzip));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&[b'a'; 1000]).unwrap();
    let packed = gzip.finish().unwrap();
    assert_eq!(decode(&packed, 2000).unwrap().len(), 1000);
    assert_eq!(decode(&packed, 999), Err(BodyError::TooLarge(999)));
}

#[test]
fn bytes_that_are_no_utf8_cost_at_most_their_line() {
    let text = decode(b"a{b=\"\xff\"} 1\nc 2\n", 100).unwrap();
    assert_eq!(all(&text).0.len(), 2);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "\\PC*|[a-z{}\"=,\\\\ #\n0-9]*") {
        for event in Parser::new(&text, Format::OpenMetrics).flatten() {
            if let Event::Sample(s) = event {
                s.labels.iter().for_each(drop);
            }
        }
    }

    #[test]
    fn what_is_written_by_the_rules_comes_back(name in "[a-z_:][a-z0-9_:]{0,20}", key in "[a-z_][a-z0-9_]{0,9}", value in "[^\u{0}\r]*", number: f64) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let mut text = String::new();
        writeln!(text, "{name}{{{key}=\"{escaped}\"}} {number:e}").unwrap();
        let (samples, bad) = all(&text);
        prop_assert!(bad.is_empty(), "{:?}", bad);
        prop_assert_eq!(samples[0].name, name);
        prop_assert_eq!(samples[0].labels.get(&key).unwrap(), value);
        prop_assert!(samples[0].value == number || number.is_nan());
    }
}

#[test]
fn real_captures_parse_without_loss() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    if !root.is_dir() {
        eprintln!("NOT RUN: the captures are not at {}", root.display());
        return;
    }
    let mut files = 0;
    for folder in ["nvidia-dcgm", "exposition", "kepler"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !(name.ends_with(".prom") || name.ends_with(".txt")) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // One capture elides lines with "...", which are no samples.
            let is_sample = |l: &&str| !l.trim().is_empty() && !l.trim_start().starts_with(['#', '.']);
            let lines = text.lines().filter(is_sample).count();
            let format = if name.contains("om") { Format::OpenMetrics } else { Format::Prometheus };
            let bad: Vec<_> = Parser::new(&text, format).filter_map(Result::err).collect();
            let elided = text.lines().filter(|l| l.trim_start().starts_with('.')).count();
            let samples = Parser::new(&text, format).filter(|e| matches!(e, Ok(Event::Sample(_)))).count();
            assert_eq!((samples, bad.len()), (lines, elided), "{folder}/{name}: {bad:?}");
            files += 1;
        }
    }
    assert!(files >= 15, "only {files} captures");
}

#[test]
fn equal_labels_share_a_number_and_a_text_that_only_begins_alike_does_not() {
    let text = "a{x=\"1\"} 1\na{x=\"2\"} 2\nb{x=\"1\"} 3\nb{x=\"2\"} 4\nb{x=\"2\",y=\"}\"} 5\nb{x=\"1\"}6\nc 7\n";
    let all: Vec<_> = Parser::new(text, Format::Prometheus).map(|e| e.unwrap()).collect();
    let seen: Vec<_> = all
        .iter()
        .map(|e| match e {
            Event::Sample(s) => (s.value, s.labels.id(), s.labels.get("x").map(|x| x.into_owned())),
            other => panic!("{other:?}"),
        })
        .collect();
    let x = |v: &str| Some(v.to_owned());
    assert_eq!(
        seen,
        [
            (1.0, Some(0), x("1")),
            (2.0, Some(1), x("2")),
            (3.0, Some(0), x("1")),
            (4.0, Some(1), x("2")),
            (5.0, Some(2), x("2")),
            (6.0, Some(0), x("1")),
            (7.0, None, None)
        ]
    );
}

proptest::proptest! {
    /// What is remembered never changes what is read.
    #[test]
    fn lines_read_together_are_read_as_each_alone(lines in proptest::collection::vec("[ab]\\{(x=\"[12\\\\,}\"]{0,3}\",?){0,2}\\} ?[0-9x]{1,2}", 0..12)) {
        let text = lines.join("\n");
        let together: Vec<String> = Parser::new(&text, Format::Prometheus)
            .map(|e| match e {
                Ok(Event::Sample(s)) => format!("{} {:?} {}", s.name, s.labels.raw(), s.value),
                Ok(other) => format!("{other:?}"),
                Err(bad) => bad.reason.to_owned(),
            })
            .collect();
        let alone: Vec<String> = lines
            .iter()
            .flat_map(|line| Parser::new(line, Format::Prometheus))
            .map(|e| match e {
                Ok(Event::Sample(s)) => format!("{} {:?} {}", s.name, s.labels.raw(), s.value),
                Ok(other) => format!("{other:?}"),
                Err(bad) => bad.reason.to_owned(),
            })
            .collect();
        proptest::prop_assert_eq!(together, alone);
    }
}
