use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use std::path::Path;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Minute and hour and day begin here.
const START: i64 = 20_000 * DAY;

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Keep::default()).unwrap()
}

fn point(metric: &str, at_ms: i64, value: Option<f64>) -> Point {
    Point { subject: "GPU-1".into(), metric: metric.into(), at_ms, value }
}

#[test]
fn steps_are_aligned_and_an_empty_one_is_null() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
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
fn the_end_of_a_series_is_no_value_sealed_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(1, 1_000, &[point("a", 1_000, Some(-0.0))]).unwrap();
    store.commit(2, 2_000, &[point("a", 2_000, None), point("a", 2_000, None)]).unwrap();
    store.commit(3, 3_000, &[point("a", 3_000, Some(1.5))]).unwrap();
    let expected = [(1_000, Some(-0.0)), (2_000, None), (3_000, Some(1.5))];
    assert_eq!(store.raw("GPU-1", "a", 0, 9_000).unwrap(), expected);
    for cut in [2_500, 9_000] {
        store.seal(cut).unwrap();
        assert_eq!(store.raw("GPU-1", "a", 0, 9_000).unwrap(), expected);
        assert_eq!(store.range("GPU-1", "a", (0, 4_000), 1_000, Aggregate::Last).unwrap()[2], (2_000, None));
    }
    drop(store);
    assert_eq!(open(dir.path()).raw("GPU-1", "a", 0, 9_000).unwrap(), expected);
}

#[test]
fn the_store_says_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for i in 0..500i64 {
        store.commit(i as u64 + 1, i * 1_000, &[point("a", i * 1_000, Some((i as f64).sin())), point("b", i * 1_000, Some(1.0))]).unwrap();
    }
    let full = store.holds();
    assert_eq!(
        (full.series, full.head_points, full.log_rows, full.files),
        (2, 1_000, 500, [("raw", 0, 0), ("minutes", 0, 0), ("hours", 0, 0)])
    );
    assert!((5_000..12_000).contains(&full.head_bytes) && full.log_bytes > 5_000, "{full:?}");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.holds(), full, "the same after a restart");
    store.seal(400_000).unwrap();
    let sealed = store.holds();
    assert_eq!((sealed.head_points, sealed.log_rows, sealed.files[0].1), (200, 100, 1));
    assert!(sealed.head_bytes < full.head_bytes / 3 && sealed.files[0].2 > 1_000, "{sealed:?}");
}

/// An hour of one read a second of some series, and of one in a minute of others.
#[test]
fn heads_that_are_read_every_second_stay_small_and_their_files_large() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (mut most, mut sealed, mut rows) = (0, Vec::new(), 0);
    for i in 0..3_600i64 {
        let at = START + i * 1_000;
        let often = (0..8).map(|n| point(&format!("a{n}"), at, Some((i * 7 + n) as f64)));
        let seldom = (0..2).filter(|_| i % 60 == 0).map(|n| point(&format!("b{n}"), at, Some(1.0)));
        store.commit(i as u64 + 1, at, &often.chain(seldom).collect::<Vec<_>>()).unwrap();
        if i % 30 == 0 {
            sealed.extend(Some(store.upkeep(at).unwrap().sealed_points).filter(|n| *n > 0));
            let holds = store.holds();
            (most, rows) = (most.max(holds.head_points), rows.max(holds.log_rows));
        }
    }
    assert!((9_000..11_000).contains(&most) && (1_000..1_400).contains(&rows), "{most} points in heads, {rows} rows in the log");
    assert!((2..=3).contains(&sealed.len()) && sealed.iter().all(|n| *n > 9_000), "{sealed:?}");
    drop(store);
    let store = open(dir.path());
    for (metric, count) in [("a0", 3_600), ("a7", 3_600), ("b1", 60)] {
        assert_eq!(store.raw("GPU-1", metric, START, START + HOUR).unwrap().len(), count, "{metric}");
    }
}

#[test]
fn however_fast_points_come_a_file_holds_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let burst: Vec<Point> = (0..2_000).map(|i| point("a", START + i, Some(i as f64))).collect();
    store.commit(1, START, &burst).unwrap();
    assert_eq!(store.upkeep(START + 4 * 60_000).unwrap().sealed_points, 0);
    assert_eq!(store.upkeep(START + 5 * 60_000).unwrap().sealed_points, 2_000);
}

#[test]
fn a_late_point_behind_the_seal_is_kept_over_a_restart_and_a_repeated_one_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(1, 5_000, &[point("a", 1_000, Some(1.0)), point("a", 5_000, Some(5.0))]).unwrap();
    assert_eq!(store.seal(3_000).unwrap(), 1);
    store.commit(2, 6_000, &[point("a", 2_000, Some(2.0)), point("a", 1_000, Some(1.0))]).unwrap();
    let expected = [(1_000, Some(1.0)), (2_000, Some(2.0)), (5_000, Some(5.0))];
    assert_eq!(store.raw("GPU-1", "a", 0, 9_000).unwrap(), expected);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.raw("GPU-1", "a", 0, 9_000).unwrap(), expected);
    store.seal(9_000).unwrap();
    assert_eq!(store.raw("GPU-1", "a", 0, 9_000).unwrap(), expected);
    assert_eq!(store.range("GPU-1", "a", (0, 9_000), 3_000, Aggregate::Sum).unwrap()[0], (0, Some(3.0)));
}

#[test]
fn what_a_crash_left_half_written_is_removed_and_what_counts_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(1, 1_000, &[point("a", 1_000, Some(1.0))]).unwrap();
    store.seal(2_000).unwrap();
    drop(store);
    let stray = dir.path().join("blocks").join("00000000000000ff.kch");
    std::fs::write(&stray, "half").unwrap();
    assert_eq!(open(dir.path()).raw("GPU-1", "a", 0, 9_000).unwrap().len(), 1);
    assert!(!stray.exists());
}

#[test]
fn a_damaged_file_is_an_error_and_never_a_wrong_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let points: Vec<Point> = (0..100).map(|i| point("a", i * 1_000, Some(i as f64 * 1.37))).collect();
    store.commit(1, 100_000, &points).unwrap();
    store.seal(200_000).unwrap();
    let whole = store.raw("GPU-1", "a", 0, 200_000).unwrap();
    drop(store);
    let file = std::fs::read_dir(dir.path().join("blocks")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        std::fs::write(&file, bad).unwrap();
        let read = open(dir.path()).raw("GPU-1", "a", 0, 200_000);
        // A file that cannot be opened is left out and said in the log; a series number that changed is another series.
        assert!(read.as_ref().map_or(true, |r| *r == whole || r.is_empty()), "byte {at}: {read:?}");
    }
}

/// Nine days of one reading in ten seconds, sealed, rolled up and dropped as time goes on.
#[test]
fn rollups_say_what_the_raw_points_said_and_stay_when_those_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let value = |i: i64| ((i * 7_919) % 1_000) as f64 / 8.0;
    let (mut sequence, mut all) = (0, Vec::new());
    for hour in 0..9 * 24 {
        let at = |i: i64| START + hour * HOUR + i * 10_000;
        let points: Vec<Point> = (0..360).map(|i| point("a", at(i), Some(value(hour * 360 + i)))).collect();
        all.extend(points.iter().map(|p| (p.at_ms, p.value.unwrap())));
        sequence += 1;
        store.commit(sequence, at(360), &points).unwrap();
        store.upkeep(at(360)).unwrap();
    }
    let now = START + 9 * DAY;
    for (from, to, step) in
        [(now - DAY, now, HOUR), (START, now, DAY), (START + 5 * HOUR, START + 6 * HOUR, 60_000), (now - HOUR, now, 60_000)]
    {
        for how in [Aggregate::Average, Aggregate::Minimum, Aggregate::Maximum, Aggregate::Sum, Aggregate::Count, Aggregate::Last] {
            for (at, read) in store.range("GPU-1", "a", (from, to), step, how).unwrap() {
                let of: Vec<f64> = all.iter().filter(|(t, _)| (at..at + step).contains(t)).map(|(_, v)| *v).collect();
                let expected = match how {
                    Aggregate::Average => of.iter().sum::<f64>() / of.len() as f64,
                    Aggregate::Minimum => of.iter().copied().fold(f64::INFINITY, f64::min),
                    Aggregate::Maximum => of.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    Aggregate::Sum => of.iter().sum(),
                    Aggregate::Count => of.len() as f64,
                    _ => of[of.len() - 1],
                };
                assert_eq!(read, Some(expected), "{how:?} at {at} in steps of {step}");
            }
        }
    }
    let raw = store.raw("GPU-1", "a", now - DAY, now).unwrap();
    assert_eq!(raw.len(), 8_640, "the last two days are there point for point");
    let old = store.raw("GPU-1", "a", START, START + HOUR).unwrap();
    assert_eq!(old.len(), 60, "older ones by the minute");
    let p95 = store.range("GPU-1", "a", (now - HOUR, now), HOUR, Aggregate::P95).unwrap()[0].1.unwrap();
    assert!((p95 - 0.95 * 125.0).abs() < 3.0, "{p95}");
}

#[test]
fn many_series_at_once_read_as_each_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let names: Vec<String> = (0..300).map(|i| format!("node/{i}")).collect();
    for i in 0..600i64 {
        let of = |(n, name): (usize, &String)| Point {
            subject: name.as_str().into(),
            metric: "a".into(),
            // Half of them share their times with nobody.
            at_ms: START + i * 60_000 + if n % 2 == 0 { n as i64 } else { 0 },
            value: (n % 3 != 0 || i % 50 != 0).then_some((i * 7 + n as i64) as f64 / 8.0),
        };
        store.commit(i as u64 + 1, START + i * 60_000, &names.iter().enumerate().map(of).collect::<Vec<_>>()).unwrap();
        store.upkeep(START + i * 60_000).unwrap();
    }
    let files = store.holds().files;
    assert!(files[0].1 > 0 && files[1].1 > 0 && store.holds().head_points > 0, "raw, minutes and heads: {files:?}");
    let ids: Vec<&str> = names.iter().map(String::as_str).chain(["nobody"]).collect();
    for (step, how) in [(60_000, Aggregate::Average), (HOUR, Aggregate::Maximum), (90_000, Aggregate::Last), (HOUR, Aggregate::P95)] {
        let window = (START + 30_000, START + 10 * HOUR);
        let all = store.ranges(&ids, "a", window, step, how).unwrap();
        assert_eq!(all.len(), ids.len());
        for (id, many) in ids.iter().zip(all) {
            assert_eq!(many, store.range(id, "a", window, step, how).unwrap(), "{id} {how:?}");
        }
    }
}

#[test]
fn the_store_stays_within_its_bytes_and_drops_the_oldest_raw_points_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Keep { max_bytes: 60_000, ..Keep::default() }).unwrap();
    let mut bytes = 0;
    for i in 0..200i64 {
        let points: Vec<Point> =
            (0..100i64).map(|j| point("a", START + i * 100_000 + j * 1_000, Some(((i * 31 + j) as f64).sin()))).collect();
        store.commit(i as u64 + 1, START + i * 100_000 + 99_000, &points).unwrap();
        if i % 10 == 9 {
            bytes = store.upkeep(START + (i + 1) * 100_000).unwrap().bytes;
            assert!(bytes <= 60_000, "{bytes} after {i}");
        }
    }
    assert!(bytes > 10_000, "{bytes}: it did not throw all away");
    let last = store.raw("GPU-1", "a", START + 199 * 100_000, START + 200 * 100_000).unwrap();
    assert_eq!(last.len(), 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any mix of points and seals reads back as one sorted series in which the last word on a moment counts.
    #[test]
    fn sealing_changes_nothing_that_is_read(steps in prop::collection::vec((0i64..50, prop::option::of(-1e6f64..1e6), any::<bool>()), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let mut expected = std::collections::BTreeMap::new();
        for (i, (at, value, seals)) in steps.iter().enumerate() {
            let at = at * 1_000;
            store.commit(i as u64 + 1, 60_000, &[point("a", at, *value)]).unwrap();
            if let Some(v) = value {
                expected.insert(at, v.to_bits());
            }
            if *seals {
                store.seal(at).unwrap();
            }
        }
        let read = |store: &Embedded| -> Vec<(i64, u64)> {
            let all = store.raw("GPU-1", "a", 0, 100_000).unwrap();
            all.into_iter().filter_map(|(at, v)| Some((at, v?.to_bits()))).collect()
        };
        let expected: Vec<_> = expected.into_iter().collect();
        prop_assert_eq!(read(&store), expected.clone());
        drop(store);
        prop_assert_eq!(read(&open(dir.path())), expected);
    }
}

fn value(sequence: u64) -> f64 {
    f64::from_bits(0x4070_0000_0000_0000 + sequence * 7_919)
}

/// The other half of the next test: writes until it is killed.
#[test]
fn writes_for_ever_where_it_is_told_to() {
    let Ok(dir) = std::env::var("KCLOUD_TEST_HISTORY_WRITER") else { return };
    let store = open(Path::new(&dir));
    let first = store.committed().unwrap() + 1;
    for sequence in first.. {
        store.commit(sequence, sequence as i64, &[point("a", sequence as i64, Some(value(sequence)))]).unwrap();
        println!("\ncommitted {sequence}");
        // Also in the middle of this it may be killed.
        if sequence % 7 == 0 {
            store.seal(sequence as i64 - 2).unwrap();
        }
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
        let store = open(dir.path());
        let on_disk = store.committed().unwrap();
        assert!(on_disk >= last, "{on_disk} of {last}");
        let all = store.raw("GPU-1", "a", 0, on_disk as i64 + 1).unwrap();
        let expected: Vec<_> = (1..=on_disk).map(|s| (s as i64, Some(value(s)))).collect();
        assert!(all == expected, "round {round}: {} of {} points", all.len(), expected.len());
    }
}

#[test]
fn who_reads_while_a_file_is_sealed_finds_each_point_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    let subjects: Vec<Arc<str>> = (0..3_000).map(|i| format!("GPU-{i}").into()).collect();
    let start = 1_764_000_000_000;
    let point = |s: &Arc<str>, at_ms| Point { subject: s.clone(), metric: "power_watts".into(), at_ms, value: Some(1.0) };
    for tick in 0..20i64 {
        let at = start + tick * 60_000;
        store.commit(tick as u64 + 1, at, &subjects.iter().map(|s| point(s, at)).collect::<Vec<_>>()).unwrap();
    }
    let (window, last) = ((start, start + 3_600_000), subjects.last().unwrap());
    let count = || store.range(last, "power_watts", window, 3_600_000, Aggregate::Count).unwrap()[0].1;
    let (seen, sealed) = std::thread::scope(|scope| {
        let sealing = scope.spawn(|| store.seal(start + 3_600_000).unwrap());
        let mut seen = std::collections::BTreeMap::new();
        while !sealing.is_finished() {
            *seen.entry(count().map(f64::to_bits)).or_insert(0) += 1;
            assert_eq!(store.raw(last, "power_watts", window.0, window.1).unwrap().len(), 20);
        }
        (seen, sealing.join().unwrap())
    });
    assert_eq!(sealed, 60_000);
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [Some(20f64.to_bits())], "{seen:?}");
    assert_eq!(count(), Some(20.0));
    // What is committed after that comes back once.
    store.commit(21, start + 20 * 60_000, &[point(last, start + 20 * 60_000)]).unwrap();
    drop(store);
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    assert_eq!(store.range(last, "power_watts", window, 3_600_000, Aggregate::Count).unwrap()[0].1, Some(21.0));
}

#[test]
fn a_clock_that_is_years_behind_hides_nothing_and_makes_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    let now = 1_764_000_000_000;
    let point = |subject: &str, at_ms| Point { subject: subject.into(), metric: "power_watts".into(), at_ms, value: Some(1.0) };
    for tick in 0..10i64 {
        let at = now + tick * 10_000;
        store
            .commit(tick as u64 + 1, at, &[point("good", at), point("behind", 1_104_537_600_000 + tick), point("late", at - 3 * 3_600_000)])
            .unwrap();
        assert_eq!(store.upkeep(at).unwrap().sealed_points, 0, "nothing is due yet");
    }
    assert_eq!(store.holds().too_late, 10);
    assert_eq!(store.raw("behind", "power_watts", 0, i64::MAX).unwrap(), []);
    assert_eq!(store.raw("late", "power_watts", 0, i64::MAX).unwrap().len(), 10);
    assert_eq!(store.raw("good", "power_watts", 0, i64::MAX).unwrap().len(), 10);
}
