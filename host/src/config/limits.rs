//! `[limits]` of a plugin: what stands there goes before the default, within what a host can bear.

use std::fmt::Display;
use std::time::Duration;

use serde::Deserialize;

use super::{Bytes, Period};
use crate::plugins::limits::Limits;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    cpu: Option<Period>,
    describe_cpu: Option<Period>,
    memory: Option<Bytes>,
    table_elements: Option<usize>,
    output: Option<Bytes>,
    points: Option<usize>,
    subjects: Option<usize>,
    labels_per_subject: Option<usize>,
    label_value: Option<Bytes>,
    log_lines: Option<u32>,
    log_bytes: Option<Bytes>,
    log_lines_per_minute: Option<u32>,
    http_body: Option<Bytes>,
    http_call: Option<Bytes>,
    http_parallel: Option<usize>,
    http_outstanding: Option<usize>,
    files_call: Option<Bytes>,
    state: Option<Bytes>,
    instances: Option<usize>,
    max_calls: Option<u32>,
    idle: Option<Period>,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// A key with what was given for it, the least and the most.
fn take<G: Display + PartialOrd, T>(
    wrong: &mut impl FnMut(String),
    key: &str,
    given: Option<G>,
    to: &mut T,
    least: G,
    most: G,
    of: fn(G) -> T,
) {
    match given {
        Some(given) if given < least || given > most => wrong(format!("[limits] {key} = {given}: allowed is {least} to {most}")),
        Some(given) => *to = of(given),
        None => {}
    }
}

impl LimitsFile {
    pub(super) fn apply(self, l: &mut Limits, wrong: &mut impl FnMut(String)) {
        let seconds = |s| Period(Duration::from_secs(s));
        let tick = || Period(crate::plugins::limits::TICK);
        let time = |p: Period| p.0;
        let size = |b: Bytes| b.0;
        take(wrong, "cpu", self.cpu, &mut l.cpu, tick(), seconds(60), time);
        take(wrong, "describe_cpu", self.describe_cpu, &mut l.describe_cpu, tick(), seconds(10), time);
        take(wrong, "memory", self.memory, &mut l.memory, Bytes(64 * KIB), Bytes(4 * GIB), size);
        take(wrong, "table_elements", self.table_elements, &mut l.table_elements, 1, 10_000_000, |n| n);
        take(wrong, "output", self.output, &mut l.output_bytes, Bytes(KIB), Bytes(256 * MIB), size);
        take(wrong, "points", self.points, &mut l.points, 1, 5_000_000, |n| n);
        take(wrong, "subjects", self.subjects, &mut l.subjects, 1, 1_000_000, |n| n);
        take(wrong, "labels_per_subject", self.labels_per_subject, &mut l.labels_per_subject, 1, 1_024, |n| n);
        take(wrong, "label_value", self.label_value, &mut l.label_value_bytes, Bytes(KIB), Bytes(64 * KIB), size);
        take(wrong, "log_lines", self.log_lines, &mut l.log_lines, 0, 10_000, |n| n);
        take(wrong, "log_bytes", self.log_bytes, &mut l.log_bytes, Bytes(0), Bytes(MIB), size);
        take(wrong, "log_lines_per_minute", self.log_lines_per_minute, &mut l.log_lines_per_minute, 0, 100_000, |n| n);
        take(wrong, "http_body", self.http_body, &mut l.http_body_bytes, Bytes(KIB), Bytes(GIB), size);
        take(wrong, "http_call", self.http_call, &mut l.http_call_bytes, Bytes(KIB), Bytes(4 * GIB), size);
        take(wrong, "http_parallel", self.http_parallel, &mut l.http_parallel, 1, 256, |n| n);
        take(wrong, "http_outstanding", self.http_outstanding, &mut l.http_outstanding, 1, 1_024, |n| n);
        take(wrong, "files_call", self.files_call, &mut l.files_call_bytes, Bytes(KIB), Bytes(GIB), size);
        take(wrong, "state", self.state, &mut l.state_bytes, Bytes(4 * KIB), Bytes(GIB), size);
        take(wrong, "instances", self.instances, &mut l.instances, 1, 64, |n| n);
        take(wrong, "max_calls", self.max_calls, &mut l.max_calls, 1, 1_000_000_000, |n| n);
        take(wrong, "idle", self.idle, &mut l.idle, seconds(1), seconds(86_400), time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Limits, Vec<String>) {
        let (mut limits, mut errors) = (Limits::default(), Vec::new());
        toml::from_str::<LimitsFile>(text).unwrap().apply(&mut limits, &mut |e| errors.push(e));
        (limits, errors)
    }

    #[test]
    fn every_limit_can_be_set() {
        let text = "cpu = \"1s\"\ndescribe_cpu = \"1s\"\nmemory = \"1MiB\"\ntable_elements = 7\noutput = \"1MiB\"\npoints = 7\nsubjects = 7\n\
            labels_per_subject = 7\nlabel_value = \"2KiB\"\nlog_lines = 7\nlog_bytes = \"1KiB\"\nlog_lines_per_minute = 7\nhttp_body = \"1MiB\"\n\
            http_call = \"1MiB\"\nhttp_parallel = 7\nhttp_outstanding = 7\nfiles_call = \"1MiB\"\nstate = \"2MiB\"\ninstances = 7\n\
            max_calls = 7\nidle = \"1s\"\n";
        let (limits, errors) = read(text);
        assert!(errors.is_empty(), "{errors:?}");
        let second = Duration::from_secs(1);
        let expected = Limits {
            cpu: second,
            describe_cpu: second,
            memory: MIB,
            table_elements: 7,
            output_bytes: MIB,
            points: 7,
            subjects: 7,
            labels_per_subject: 7,
            label_value_bytes: 2 * KIB,
            log_lines: 7,
            log_bytes: KIB,
            log_lines_per_minute: 7,
            http_body_bytes: MIB,
            http_call_bytes: MIB,
            http_parallel: 7,
            http_outstanding: 7,
            files_call_bytes: MIB,
            state_bytes: 2 * MIB,
            instances: 7,
            max_calls: 7,
            idle: second,
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn what_a_host_cannot_bear_is_named_with_what_is_allowed() {
        for (text, expected) in [
            ("memory = \"5GiB\"", "[limits] memory = 5GiB: allowed is 64KiB to 4GiB"),
            ("cpu = \"61s\"", "[limits] cpu = 61s: allowed is 10ms to 1m"),
            ("cpu = \"5ms\"", "[limits] cpu = 5ms: allowed is 10ms to 1m"),
            ("instances = 0", "[limits] instances = 0: allowed is 1 to 64"),
            ("http_outstanding = 2000", "allowed is 1 to 1024"),
        ] {
            let (limits, errors) = read(text);
            assert!(errors.len() == 1 && errors[0].contains(expected), "{errors:?}");
            assert_eq!(limits, Limits::default());
        }
    }
}
