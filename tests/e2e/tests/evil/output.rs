//! Answers: too much of each thing, what is no number, indexes and names that lie, floods over many calls.

use std::time::Duration;

use kcloud_e2e::until;
use kcloud_monitor::inventory::Kind;
use serde_json::Value;

use crate::stage::{Evil, Stage, evil, play};

#[test]
fn too_much_of_anything_is_refused_by_its_count() {
    play(async {
        const CASES: [(&str, &str); 13] = [
            ("many-points", "200000 points; the limit is 50000"),
            ("many-timed-points", "50002 points; the limit is 50000"),
            ("many-states", "60001 points; the limit is 50000"),
            ("many-gaps", "50001 gaps; the limit is 50000"),
            ("many-subjects", "20001 subjects; the limit is 20000"),
            ("many-labels", "65 labels of a subject; the limit is 64"),
            ("many-events", "1001 events; the limit is 1000"),
            ("many-problems", "1001 problems; the limit is 1000"),
            ("many-metrics", "4097 metrics; the limit is 4096"),
            ("many-state-names", "257 states of a metric; the limit is 256"),
            ("many-tombstones", "20001 tombstones; the limit is 20000"),
            ("long-value", "label \"a\" has 1025 bytes; the limit is 1024"),
            ("long-key", "label name \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\" is not allowed"),
        ];
        refused(&CASES).await;
    });
}

#[test]
fn what_is_no_number_is_refused_and_what_is_no_reading_becomes_a_gap() {
    play(async {
        let stage = Stage::set(["nan", "infinite", "beyond", "histogram"].into_iter().flat_map(evil)).await;
        stage.fails("nan", "plugin", "invalid answer: metric power_watts: NaN is no reading; say a gap").await;
        stage.fails("infinite", "plugin", "invalid answer: metric power_watts: -inf is no reading; say a gap").await;
        let beyond = stage.works("beyond").await;
        assert!(beyond.iter().all(|v| v["values_out_of_range_total"].as_u64().unwrap() >= 4), "{beyond:#?}");
        stage.works("histogram").await;
        stage.end().await;
    });
}

#[test]
fn indexes_names_and_circles_that_lie_make_the_whole_answer_invalid() {
    play(async {
        const CASES: [(&str, &str); 16] = [
            ("metric-index", "metric index 99, of 1"),
            ("subject-index", "subject index 4294967295, of 1"),
            ("state-index", "state 2 of 2"),
            ("state-as-point", "is no number; it goes into states or histograms"),
            ("event-index", "subject index 1, of 1"),
            ("problem-index", "subject index 1, of 1"),
            ("tombstone-index", "subject index 1, of 1"),
            ("tombstone-in-whole", "it has tombstones; only a delta may"),
            ("own-parent", "subject 0: its parent must stand before it"),
            ("circle", "subject 0: its parent must stand before it"),
            ("no-identity", "subject 0: no identity label"),
            ("label-twice", "label \"uuid\" stands twice"),
            ("kind", "unknown kind \"toaster\""),
            ("other-unit", "its unit is \"milliwatts\""),
            ("stamp-in-seconds", "time 1750000000 is not in nanoseconds since the Unix epoch"),
            ("stamp-of-zero", "time 0 is not in nanoseconds since the Unix epoch"),
        ];
        refused(&CASES).await;
    });
}

async fn refused(cases: &[(&str, &str)]) {
    let stage = Stage::set(cases.iter().flat_map(|(mode, _)| evil(mode))).await;
    for (mode, words) in cases {
        stage.fails(mode, "plugin", "invalid answer: ").await;
        stage.fails(mode, "plugin", words).await;
    }
    // Nothing of them is believed, not even what was right.
    assert_eq!(stage.running.host.app.inventory.current().of_kind(Kind::Accelerator).len(), 1);
    stage.end().await;
}

#[test]
fn a_stamp_from_the_future_is_not_taken_and_hides_nothing_that_comes_later() {
    play(async {
        let stage = Stage::set(evil("stamp-in-2554")).await;
        stage.works("stamp-in-2554").await;
        for lines in stage.log("stamp-in-2554").await {
            assert!(
                lines.iter().any(|l| l.contains("1 readings are stamped more than five minutes ahead of this host; not taken")),
                "{lines:?}"
            );
        }
        let snapshot = stage.running.host.app.inventory.current();
        assert!(snapshot.get("GPU-evil").is_some_and(|card| card.readings.is_empty()));
        stage.end().await;
    });
}

#[test]
fn subjects_that_are_always_new_do_not_pile_up() {
    play(async {
        let often = |e: Evil| {
            e.with(|s| {
                s.interval = Duration::from_millis(100);
                s.limits.subjects = 1_000;
            })
        };
        let stage = Stage::set(["new-subjects", "new-subjects-in-deltas"].into_iter().flat_map(evil).map(often)).await;
        // A thousand a call, of which sixteen times the limit are kept at most, and of those that are gone as many as there were at once.
        let full = |v: &Value| Some(v["log_tail"].to_string().contains("subjects are not taken: 16000 of this plugin are known already"));
        stage.all("new-subjects-in-deltas", "has no room", full).await;
        stage.all("new-subjects", "called seventeen times", |v| Some(v["calls_total"].as_u64()? >= 17)).await;
        // What is published comes a little behind what is taken.
        let kept = until("all of them are published", async || {
            Some(stage.running.host.app.inventory.current().subjects.len()).filter(|kept| *kept >= 32_000)
        })
        .await;
        assert!(kept <= 2 * (16_000 + 4_000) + 1, "{kept} subjects are kept");
        stage.end_keeping(kept * 3_000).await;
    });
}

#[test]
fn names_of_metrics_that_are_always_new_run_out_for_their_own_plugin_alone() {
    play(async {
        let stage = Stage::set(evil("new-metrics")).await;
        stage.fails("new-metrics", "plugin", "one plugin brings at most 2048 names of its own").await;
        stage.end().await;
    });
}

#[test]
fn a_flood_of_events_washes_no_other_plugins_events_away() {
    play(async {
        let stage = Stage::set(evil("new-events").into_iter().chain(evil("one-event"))).await;
        stage.works("one-event").await;
        stage.all("new-events", "called fifteen times", |v| Some(v["calls_total"].as_u64()? >= 15)).await;
        let snapshot =
            until("a full snapshot", async || Some(stage.running.host.app.inventory.current()).filter(|s| s.events.len() > 9_000)).await;
        assert!(snapshot.events.iter().any(|e| &*e.key == "the one"), "{} others", snapshot.events.len());
        assert!(snapshot.events.len() <= 10_000);
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_says_as_much_as_it_may_each_time_delays_no_other() {
    play(async {
        let stage = Stage::set(["all-it-may", "graves"].into_iter().flat_map(evil)).await;
        for mode in ["all-it-may", "graves"] {
            stage.all(mode, "called six times", |v| Some(v["calls_total"].as_u64()? >= 6)).await;
            stage.works(mode).await;
        }
        // Fifty thousand series with all that the model and history need for them.
        stage.end_keeping(192 << 20).await;
    });
}

#[test]
fn an_error_of_megabytes_is_cut_to_a_line() {
    play(async {
        let stage = Stage::set(evil("long-error")).await;
        for v in stage.fails("long-error", "plugin", "the plugin's own fault: x\\nx\\nx").await {
            let message = v["last_error"]["message"].as_str().unwrap();
            assert!(message.len() < 2_200 && !message.contains('\n'), "{} bytes", message.len());
        }
        stage.end().await;
    });
}
