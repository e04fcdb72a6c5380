//! Time: wherever it is taken, it is the plugin's own, and nobody else waits.

use std::time::Duration;

use crate::raw::Raw;
use crate::stage::{Evil, Stage, evil, named, play};

/// With the budget that a plugin has by default.
fn brief(evils: Vec<Evil>) -> Vec<Evil> {
    evils.into_iter().map(|e| e.with(|s| s.limits.cpu = Duration::from_millis(250))).collect()
}

#[test]
fn a_start_function_that_spins_is_stopped_before_anything_is_asked() {
    play(async {
        let stage = Stage::set([Raw { start: "(loop (br 0))", ..Raw::default() }.named("spin-in-start")]).await;
        stage.refuses("spin-in-start", "describe: used more than its CPU budget of 100ms").await;
        stage.end().await;
    });
}

#[test]
fn a_description_that_never_comes_is_not_waited_for() {
    play(async {
        let stage = Stage::set([Raw { describe: "(loop (br 0))", ..Raw::default() }.named("spin-in-describe")]).await;
        stage.refuses("spin-in-describe", "describe: used more than its CPU budget of 100ms").await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_spins_over_its_configuration_is_refused() {
    play(async {
        let stage = Stage::set(brief(evil("spin-in-configure"))).await;
        stage.refuses("spin-in-configure", "configure: used more than its CPU budget of 250ms").await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_spins_over_a_target_is_stopped_blamed_and_left_alone() {
    play(async {
        let stage = Stage::set(brief(evil("loop"))).await;
        stage.fails("loop", "plugin", "used more than its CPU budget of 250ms").await;
        let rests = stage.all("loop", "rests", |v| Some(v["state"] == "degraded")).await;
        assert!(rests[0]["reason"].as_str().unwrap().contains("3 faults of its own in a row (used more than its CPU budget"), "{rests:#?}");
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_spins_while_it_looks_for_targets_is_stopped_and_its_targets_are_read_on() {
    play(async {
        let stage = Stage::set(brief(evil("spin-in-discover"))).await;
        let seen = stage.fails("spin-in-discover", "plugin", "used more than its CPU budget of 250ms").await;
        assert!(seen.iter().all(|v| v["last_errors"][0]["target"].is_null()), "{seen:#?}");
        stage.all("spin-in-discover", "is read", |v| Some(v["targets"][0]["last_success"].is_string())).await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_spins_when_its_answer_is_put_away_is_stopped_and_the_answer_not_believed() {
    play(async {
        let after = Raw { after_collect: "(loop (br 0))", ..Raw::default() }.named("spin-after");
        let stage = Stage::set(brief(evil("spin-in-drop").into_iter().chain([after]).collect())).await;
        for name in ["spin-in-drop", "spin-after"] {
            let seen = stage.fails(name, "plugin", "used more than its CPU budget of 250ms").await;
            assert!(seen.iter().all(|v| v["targets"][0]["last_success"].is_null()), "{seen:#?}");
        }
        stage.end().await;
    });
}

#[test]
fn an_allocator_that_spins_costs_its_own_plugin() {
    play(async {
        let stage =
            Stage::set(brief(vec![Raw { realloc: "(loop (br 0)) (unreachable)", ..Raw::default() }.named("spin-in-realloc")])).await;
        stage.refuses("spin-in-realloc", "configure: used more than its CPU budget of 250ms").await;
        stage.end().await;
    });
}

#[test]
fn recursion_ends_in_a_trap_on_whichever_stack() {
    play(async {
        let own = Raw { items: "(func $deep (call $deep))", collect: "(call $deep)".to_owned(), ..Raw::default() }.named("engine-stack");
        let stage = Stage::set(evil("recurse").into_iter().chain([own])).await;
        // The toolchain's own stack lies in its memory and ends first there.
        stage.fails("recurse", "plugin", "trapped: ").await;
        stage.fails("engine-stack", "plugin", "trapped: its stack overflowed").await;
        stage.end().await;
    });
}

#[test]
fn an_answer_of_pages_without_end_is_cut_off() {
    play(async {
        let stage = Stage::set(evil("pages")).await;
        stage.fails("pages", "plugin", "more than 1000 pages").await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_lets_the_host_work_for_it_pays_for_that_too() {
    play(async {
        let stage = Stage::set(brief(evil("long-lines").into_iter().chain(evil("clock-storm")).collect())).await;
        stage.fails("long-lines", "plugin", "used more than its CPU budget of 250ms").await;
        stage.fails("clock-storm", "plugin", "used more than its CPU budget of 250ms").await;
        stage.end().await;
    });
}

#[test]
fn ten_plugins_that_spin_at_once_starve_nobody() {
    play(async {
        let stage = Stage::set((0..5).flat_map(|i| brief(named(&format!("loop{i}"), "loop", "", &[])))).await;
        for i in 0..5 {
            stage.fails(&format!("loop{i}"), "plugin", "used more than its CPU budget of 250ms").await;
        }
        stage.end().await;
    });
}

#[test]
fn no_clock_of_a_plugin_is_finer_than_a_millisecond() {
    play(async {
        let stage = Stage::set(evil("clock-grain")).await;
        for lines in stage.log("clock-grain").await {
            let steps: Vec<u64> = lines[0].split(' ').filter_map(|word| word.parse().ok()).collect();
            assert!(steps.len() == 2 && steps.iter().all(|ns| *ns >= 1_000_000 && ns % 1_000_000 == 0), "{lines:?}");
        }
        stage.end().await;
    });
}
