use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

fn point(metric: &str, at_ms: i64, value: Option<f64>) -> Point {
    Point { subject: "GPU-1".into(), metric: metric.into(), at_ms, value }
}

#[test]
fn steps_are_aligned_and_an_empty_one_is_null() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path()).unwrap();
    for (i, (at, v)) in [(1_000, 10.0), (1_500, 30.0), (4_200, 7.0)].into_iter().enumerate() {
        store.commit(i as u64 + 1, at, &[point("power_watts", at, Some(v))]).unwrap();
    }
    let read = |how| store.range("GPU-1", "power_watts", (1_300, 5_000), 1_000, how).unwrap();
    assert_eq!(read(Aggregate::Average), [(1_000, Some(20.0)), (2_000, None), (3_000, None), (4_000, Some(7.0))]);
    for (how, expected) in [
        (Aggregate::Minimum, 10.0),
        (Aggregate::Maximum, 30.0),
        (Aggregate::Sum, 40.0),
        (Aggregate::Count, 2.0),
        (Aggregate::Last, 30.0),
        (Aggregate::P95, 30.0),
    ] {
        assert_eq!(read(how)[0].1, Some(expected), "{how:?}");
    }
    assert!(store.range("GPU-2", "power_watts", (0, 1_000), 1_000, Aggregate::Last).unwrap()[0].1.is_none());
}

#[test]
fn the_end_of_a_series_is_no_value_and_old_rows_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path()).unwrap();
    store.commit(1, 1_000, &[point("a", 1_000, Some(-0.0))]).unwrap();
    store.commit(2, 2_000, &[point("a", 2_000, None)]).unwrap();
    assert_eq!(store.raw("GPU-1", "a", 0, 9_000).unwrap(), [(1_000, Some(-0.0)), (2_000, None)]);
    assert_eq!(store.retain(3_500, Duration::from_secs(2), u64::MAX).unwrap(), 1);
    assert_eq!(store.raw("GPU-1", "a", 0, 9_000).unwrap(), [(2_000, None)]);
    store.commit(3, 3_000, &[point("a", 3_000, Some(1.0))]).unwrap();
    assert_eq!(store.retain(3_500, Duration::from_secs(9), POINT as u64).unwrap(), 1, "one row is what the size allows");
    assert_eq!(store.raw("GPU-1", "a", 0, 9_000).unwrap(), [(3_000, Some(1.0))]);
}

fn value(sequence: u64) -> f64 {
    f64::from_bits(0x4070_0000_0000_0000 + sequence * 7_919)
}

/// The other half of the next test: writes until it is killed.
#[test]
fn writes_for_ever_where_it_is_told_to() {
    let Ok(dir) = std::env::var("KCLOUD_TEST_HISTORY_WRITER") else { return };
    let store = Embedded::open(Path::new(&dir)).unwrap();
    let first = store.committed().unwrap() + 1;
    for sequence in first.. {
        store.commit(sequence, sequence as i64, &[point("a", sequence as i64, Some(value(sequence)))]).unwrap();
        println!("\ncommitted {sequence}");
    }
}

#[test]
fn what_was_committed_is_there_bit_for_bit_after_each_of_twenty_kills() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "history::tests::writes_for_ever_where_it_is_told_to", "--nocapture"])
            .env("KCLOUD_TEST_HISTORY_WRITER", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let committed = lines.filter_map(|l| l.strip_prefix("committed ")?.parse::<u64>().ok());
        let last = committed.take(5 + round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        let on_disk = store.committed().unwrap();
        assert!(on_disk >= last, "{on_disk} of {last}");
        let all = store.raw("GPU-1", "a", 0, on_disk as i64 + 1).unwrap();
        let expected: Vec<_> = (1..=on_disk).map(|s| (s as i64, Some(value(s)))).collect();
        assert!(all == expected, "round {round}: {} of {} points", all.len(), expected.len());
    }
}
