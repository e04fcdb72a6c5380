//! Memory and tables: counted over a whole instance, from its first byte.

use crate::raw::Raw;
use crate::stage::{Evil, Stage, evil, play};

/// Small, so that it is met long before a budget of time on a busy machine.
fn small(evils: Vec<Evil>) -> Vec<Evil> {
    evils.into_iter().map(|e| e.with(|s| s.limits.memory = 4 << 20)).collect()
}

#[test]
fn a_component_that_wants_too_much_from_the_beginning_is_not_even_asked() {
    play(async {
        let stage = Stage::set([
            Raw { pages: 2_000, ..Raw::default() }.named("large"),
            Raw { items: "(memory $a 400) (memory $b 400) (memory $c 400)", ..Raw::default() }.named("many-memories"),
            Raw { start: "(drop (memory.grow (i32.const 1100)))", ..Raw::default() }.named("grows"),
            Raw { items: "(table 10001 funcref)", ..Raw::default() }.named("large-table"),
            Raw { items: "(table $t 1 funcref)", start: "(drop (table.grow $t (ref.null func) (i32.const 1000000)))", ..Raw::default() }
                .named("grows-table"),
            Raw { items: "(table $a 4000 funcref) (table $b 4000 funcref) (table $c 4000 funcref)", ..Raw::default() }.named("many-tables"),
        ])
        .await;
        for name in ["large", "many-memories", "grows"] {
            stage.refuses(name, "describe: wanted more memory than its limit of 67108864 bytes").await;
        }
        for name in ["large-table", "grows-table", "many-tables"] {
            stage.refuses(name, "describe: wanted more table elements than its limit of 10000").await;
        }
        stage.end().await;
    });
}

#[test]
fn memory_of_another_kind_than_is_counted_does_not_compile() {
    play(async {
        let stage = Stage::set([
            Raw { items: "(memory $wide i64 1)", ..Raw::default() }.named("memory64"),
            Raw { items: "(memory $shared 1 2 shared)", ..Raw::default() }.named("shared"),
        ])
        .await;
        stage.refuses("memory64", "it does not compile: ").await;
        stage.refuses("shared", "it does not compile: ").await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_eats_memory_over_its_configuration_is_refused() {
    play(async {
        let stage = Stage::set(small(evil("eat-in-configure"))).await;
        stage.refuses("eat-in-configure", "configure: wanted more memory than its limit of 4194304 bytes").await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_eats_memory_is_stopped_and_blamed() {
    play(async {
        let stage = Stage::set(small(evil("eat"))).await;
        stage.fails("eat", "plugin", "wanted more memory than its limit of 4194304 bytes").await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_hoards_from_call_to_call_loses_its_hoard() {
    play(async {
        let stage = Stage::set(small(evil("hoard"))).await;
        let seen = stage.fails("hoard", "plugin", "wanted more memory than its limit of 4194304 bytes").await;
        // It was good for a few calls before, and is again with a fresh instance.
        assert!(seen.iter().all(|v| v["targets"][0]["last_success"].is_string()), "{seen:#?}");
        stage.all("hoard", "begins anew", |v| Some(v["targets"][0]["consecutive_failures"] == 0)).await;
        stage.end().await;
    });
}
