//! The short run: every kept input, then changes of them at random, the same every time, for a few seconds a target.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use kcloud_fuzz::mutate::{Random, mutate};
use kcloud_fuzz::{TARGETS, Target};

/// Whichever comes first.
const RUNS: u32 = 20_000;
const TIME: Duration = Duration::from_secs(4);

fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folders = target.corpus().into_iter().filter(|folder| folder.is_dir());
    let mut files: Vec<_> = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| (f.display().to_string(), std::fs::read(f).unwrap())).collect()
}

fn survives(name: &str) {
    let target = Target::named(name).unwrap();
    let kept = kept(target);
    assert!(!kept.is_empty(), "{name} has no seeds");
    for (file, input) in &kept {
        assert!(catch_unwind(AssertUnwindSafe(|| target.run(input))).is_ok(), "{file} is found again");
    }
    let inputs: Vec<Vec<u8>> = kept.into_iter().map(|(_, input)| input).collect();
    let (mut random, began, mut runs) = (Random::new(2026), Instant::now(), 0);
    while runs < RUNS && began.elapsed() < TIME {
        let input = mutate(&mut random, &inputs);
        if catch_unwind(AssertUnwindSafe(|| target.run(&input))).is_err() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("found-{name}"));
            std::fs::write(&file, input).unwrap();
            panic!("a finding: {}; fix it, and keep the file under tests/fuzz/findings/{name}", file.display());
        }
        runs += 1;
    }
    eprintln!("{name}: {} kept inputs, {runs} changed ones, {:?}", inputs.len(), began.elapsed());
}

macro_rules! targets {
    ($($sentence:ident: $name:literal,)*) => {
        $(#[test]
        fn $sentence() {
            survives($name);
        })*

        #[test]
        fn every_target_has_a_short_run() {
            assert_eq!(TARGETS.map(|t| t.name), [$($name),*]);
        }
    };
}

targets! {
    whatever_a_plugin_answers_the_model_is_well_formed: "batch",
    whatever_a_configuration_holds_it_is_taken_whole_or_refused: "config",
    whatever_a_component_says_of_itself_is_judged_at_once: "describe",
    whatever_an_exporter_writes_a_bad_line_costs_itself: "exposition",
    whatever_a_file_of_the_history_holds_reading_it_ends: "history",
    whatever_a_component_is_loading_it_ends: "loader",
    whatever_a_manifest_holds_it_is_taken_whole_or_refused: "manifest",
    whatever_an_exporter_writes_the_bundled_mapping_answers_what_the_host_takes: "mapping",
    whatever_a_plugin_asks_for_only_what_is_listed_is_reached: "policy",
}
