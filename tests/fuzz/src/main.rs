//! The driver that coverage guides: `KCLOUD_FUZZ_TARGET=exposition fuzz CORPUS`; started by `cargo xtask fuzz`.
#![no_main]

use kcloud_fuzz::Target;

fn target() -> &'static Target {
    static TARGET: std::sync::OnceLock<&'static Target> = std::sync::OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("KCLOUD_FUZZ_TARGET").unwrap_or_default();
        Target::named(&name).unwrap_or_else(|| panic!("KCLOUD_FUZZ_TARGET={name:?} is no target"))
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| target().run(input));
