//! The driver of cards: read, within bounds, and never the library that a plugin would like.

use crate::library::Library;
use crate::stage::{Evil, Stage, play, told};

#[test]
fn a_driver_is_only_read_and_not_without_end() {
    play(async {
        let library = Library::build();
        let fields = [
            "card.set_power_limit",
            "nvmlDeviceSetPowerManagementLimit",
            "card.power_usage; reset",
            "card.../../../etc/passwd",
            "/tmp/libevil.so",
            "--library",
            "driver.library",
            "card.",
            ".",
            "",
            "\0",
            "\n{\"fields\":[]}",
        ];
        let given = |e: Evil| e.with(|s| s.grants.nvml = Some(library.driver()));
        let stage = Stage::set(told("nvml", "", &fields).into_iter().map(given)).await;
        for lines in stage.log("nvml").await {
            for said in ["many refused true", "beyond 0", "reads 15"] {
                assert!(lines.iter().any(|l| l.ends_with(said)), "{said}: {lines:#?}");
            }
        }
        stage.end().await;
    });
}

#[test]
fn a_driver_that_was_not_granted_is_out_of_reach() {
    play(async {
        let stage = Stage::set(told("nvml", "", &[]).into_iter().map(|e| e.with(|s| s.grants.nvml = None))).await;
        stage
            .all("nvml", "waits for its right", |v| Some(v["reason"].as_str()?.contains("nvml (to read this machine's NVIDIA cards")))
            .await;
        stage.end().await;
    });
}
