//! What an exporter answers: body, then text, in both dialects. The first byte chooses.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use kcloud_collector_sdk::exposition::{BadLine, BodyError, Event, Format, Parser, Sample, decode};

const MAX: usize = 1 << 20;

pub fn run(input: &[u8]) {
    let Some((mode, body)) = input.split_first() else { return };
    let format = if mode & 1 == 0 { Format::Prometheus } else { Format::OpenMetrics };
    let plain = decode(body, MAX);
    if mode & 2 != 0 && !body.starts_with(&[0x1f, 0x8b]) {
        packed(body, &plain);
    }
    if let Ok(text) = plain {
        assert!(text.len() <= MAX);
        lines(&text, format);
    }
}

/// A body that was packed reads as the same; one that was cut off reads as nothing.
fn packed(body: &[u8], plain: &Result<std::borrow::Cow<'_, str>, BodyError>) {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(body).expect("into memory");
    let packed = gzip.finish().expect("into memory");
    assert_eq!(&decode(&packed, MAX), plain);
    assert_eq!(decode(&packed[..packed.len() - 1], MAX), Err(BodyError::Gzip));
    if body.len() > 1 {
        assert_eq!(decode(&packed, body.len() - 1), Err(BodyError::TooLarge(body.len() - 1)));
    }
}

/// Each line is read as if it stood alone: a bad one costs itself and no other, and says which it is.
fn lines(text: &str, format: Format) {
    let together: Vec<String> = Parser::new(text, format).map(|e| told(&e)).collect();
    let mut alone = Vec::new();
    for (i, line) in text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').enumerate() {
        // After an empty line, so that a mark at its start is no byte order mark.
        let one = format!("\n{line}");
        let mut events = Parser::new(&one, format);
        let first = events.next();
        assert!(events.next().is_none(), "one line, two events");
        let Some(mut event) = first else { continue };
        match &mut event {
            Ok(Event::Sample(s)) => {
                check(s);
                s.line = i as u32 + 1;
            }
            Err(BadLine { line: number, column, .. }) => {
                assert!((1..=line.len() as u32 + 1).contains(column), "column {column} of {line:?}");
                *number = i as u32 + 1;
            }
            Ok(_) => {}
        }
        alone.push(told(&event));
    }
    assert_eq!(together, alone);
}

/// Everything of an event but the number that a text of labels has in its body.
fn told(event: &Result<Event<'_>, BadLine>) -> String {
    match event {
        Ok(Event::Sample(s)) => {
            format!("{} {:?} {} {:?} {:?} line {}", s.name, s.labels.raw(), s.value, s.timestamp_ms, s.exemplar, s.line)
        }
        other => format!("{other:?}"),
    }
}

/// Label values survive being written by the rules and read again.
fn check(sample: &Sample<'_>) {
    for (name, value) in sample.labels.iter() {
        assert!(sample.labels.get(name).is_some());
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let line = format!("m{{l=\"{escaped}\"}} 1");
        match Parser::new(&line, Format::Prometheus).next() {
            Some(Ok(Event::Sample(again))) => assert_eq!(again.labels.get("l"), Some(value)),
            other => assert!(line.len() > 1 << 16, "{line:?} reads as {other:?}"),
        }
    }
}
