//! Lies at the boundary itself: pointers, lengths, tags, an allocator and handles that are not what they are said to be.

use crate::raw::{BATCH, INFO, Raw};
use crate::stage::{Stage, evil, play};

#[test]
fn pointers_lengths_and_tags_that_lie_are_traps_and_nothing_is_read_beyond() {
    play(async {
        let cases: [(&str, &str, Raw); 8] = [
            ("text-beyond", "out of bounds", Raw { words: vec![(INFO, 0xffff_fff0)], ..Raw::default() }),
            ("text-too-long", "out of bounds", Raw { words: vec![(INFO + 4, u32::MAX)], ..Raw::default() }),
            ("list-too-long", "out of bounds", Raw { words: vec![(INFO + 36, 0x7fff_ffff)], ..Raw::default() }),
            ("list-askew", "not aligned", Raw { words: vec![(INFO + 32, 1_025), (INFO + 36, 1)], ..Raw::default() }),
            ("no-text", "utf-8", Raw { words: vec![(INFO, 512), (512, 0xfffe_fdfc)], ..Raw::default() }),
            ("no-case", "unexpected discriminant: 250", Raw { words: vec![(INFO + 48, 250)], ..Raw::default() }),
            ("answer-beyond", "out of bounds", Raw { describe: "(return (i32.const -64))", ..Raw::default() }),
            ("answer-askew", "not aligned", Raw { describe: "(return (i32.const 65))", ..Raw::default() }),
        ];
        let words = cases.each_ref().map(|(name, words, _)| (*name, *words));
        let stage = Stage::set(cases.map(|(name, _, raw)| raw.named(name))).await;
        for (name, words) in words {
            let seen = stage.refuses(name, "describe: trapped: ").await;
            assert!(seen[0]["reason"].as_str().unwrap().contains(words), "{name}: {}", seen[0]["reason"]);
        }
        stage.end().await;
    });
}

#[test]
fn an_allocator_that_lies_or_traps_writes_nowhere_else() {
    play(async {
        let cases = [
            ("room-beyond", "configure: trapped: ", "(i32.const -16)"),
            ("room-askew", "configure: trapped: ", "(i32.const 49155)"),
            ("room-trap", "configure: trapped: it panicked", "(unreachable)"),
        ];
        let raws = cases.map(|(name, _, realloc)| Raw { realloc, ..Raw::default() }.named(name));
        // The same room for everything: what the host writes there is over what it wrote before, and over its own texts.
        let twice = Raw { realloc: "(i32.const 1024)", ..Raw::default() }.named("room-twice");
        let stage = Stage::set(raws.into_iter().chain([twice])).await;
        for (name, words, _) in cases {
            if name == "room-askew" {
                // A text may lie anywhere; a list of labels may not.
                stage.fails(name, "plugin", "not aligned").await;
            } else {
                stage.refuses(name, words).await;
            }
        }
        stage.works("room-twice").await;
        stage.end().await;
    });
}

#[test]
fn the_host_is_not_called_from_where_it_must_not_be() {
    play(async {
        const CLOCK: &str = r#"(import "kcloud:collector/clock@VERSION" "unix-ns" (func $now (result i64)))"#;
        let stage = Stage::set([
            Raw { imports: CLOCK, realloc: "(drop (call $now)) (i32.const 49152)", ..Raw::default() }.named("in-realloc"),
            Raw { imports: CLOCK, after_collect: "(drop (call $now))", ..Raw::default() }.named("in-post-return"),
        ])
        .await;
        stage.refuses("in-realloc", "configure: trapped: wasm trap: cannot leave component instance").await;
        stage.fails("in-post-return", "plugin", "trapped: wasm trap: cannot leave component instance").await;
        stage.end().await;
    });
}

#[test]
fn a_trap_at_the_very_start_or_the_very_end_is_the_plugins_own_and_its_answer_is_not_believed() {
    play(async {
        let start = Raw { start: "(unreachable)", ..Raw::default() }.named("trap-in-start");
        let described = Raw { after_describe: "(unreachable)", ..Raw::default() }.named("trap-after-describe");
        let collected = Raw { after_collect: "(unreachable)", ..Raw::default() }.named("trap-after-collect");
        let stage = Stage::set(evil("panic-in-drop").into_iter().chain(evil("panic")).chain([start, described, collected])).await;
        stage.refuses("trap-in-start", "describe: trapped: it panicked").await;
        stage.refuses("trap-after-describe", "describe: trapped: it panicked").await;
        for name in ["trap-after-collect", "panic-in-drop", "panic"] {
            let seen = stage.fails(name, "plugin", "trapped: it panicked").await;
            assert!(seen.iter().all(|v| v["targets"][0]["last_success"].is_null()), "{seen:#?}");
        }
        let said = stage.view("panic-in-drop").await["log_tail"].to_string();
        assert!(said.contains("on purpose, at the very end"), "{said}");
        stage.end().await;
    });
}

#[test]
fn a_handle_that_was_never_given_is_a_trap() {
    play(async {
        let stage = Stage::set(evil("foreign-handle")).await;
        stage.fails("foreign-handle", "plugin", "trapped: unknown handle index 99").await;
        stage.end().await;
    });
}

/// Subjects of 48 bytes in its memory, labels of 16, and where they lie.
const SUBJECTS: u32 = 1 << 20;
const LABELS: u32 = 2_048;

#[test]
fn a_million_subjects_are_not_even_looked_at() {
    play(async {
        // Zeroes are subjects, too: of no kind and with no identity.
        let words = vec![(BATCH + 12, SUBJECTS), (BATCH + 16, 1_000_000)];
        let stage = Stage::set([Raw { pages: 800, words, ..Raw::default() }.named("million")]).await;
        stage.fails("million", "plugin", "gave out more than its limit of 8388608 bytes in one call").await;
        stage.end().await;
    });
}

#[test]
fn parts_that_all_point_at_one_part_are_counted_each_time() {
    play(async {
        // 20 000 subjects, each of the same 64 labels, each of the same kibibyte: 1.2 GiB out of 2 MiB.
        let fill = |at: u32, count: u32, size: u32, words: &[(u32, u32)]| {
            let stores: String =
                words.iter().map(|(offset, word)| format!("(i32.store offset={offset} (local.get $at) (i32.const {word}))")).collect();
            format!(
                "(local.set $at (i32.const {at})) (local.set $i (i32.const {count}))
            (loop {stores} (local.set $at (i32.add (local.get $at) (i32.const {size})))
                (br_if 0 (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))"
            )
        };
        let labels = fill(LABELS, 64, 16, &[(0, 4_096), (4, 1_024), (8, 4_096), (12, 1_024)]);
        let subjects = fill(SUBJECTS, 20_000, 48, &[(0, 4_096), (4, 1_024), (8, LABELS), (12, 64), (16, LABELS), (20, 64)]);
        let words = vec![(BATCH + 12, SUBJECTS), (BATCH + 16, 20_000)];
        let stage = Stage::set([Raw { pages: 40, collect: labels + &subjects, words, ..Raw::default() }.named("echo")]).await;
        stage.fails("echo", "plugin", "gave out more than its limit of 8388608 bytes in one call").await;
        stage.end().await;
    });
}
