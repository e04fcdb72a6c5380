//! `kcloud-monitor`; everything is in the library.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which the bindings have no name for.
#[cfg(feature = "mimalloc")]
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// What is free goes back to the system at once, unless `MIMALLOC_PURGE_DELAY` says otherwise: between two reads of ten thousand cards
/// a third of the memory is free. Where pages are small it costs nothing that shows.
#[cfg(feature = "mimalloc")]
#[allow(unsafe_code)]
fn give_back_at_once() {
    // SAFETY: sets a number of the allocator; nothing else runs yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 0) };
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    #[cfg(feature = "mimalloc")]
    give_back_at_once();
    // In a huge page one small block that lives keeps two megabytes: a quarter of the memory of a host that runs for long.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        eprintln!("kcloud-monitor: this kernel cannot switch huge pages off: {error}");
    }
    // How many threads there are is settled before anything is parsed.
    let runtime = match std::env::args_os().skip(1).any(|a| a == "--agent") {
        true => kcloud_monitor::agent_runtime()?,
        false => kcloud_monitor::runtime()?,
    };
    runtime.block_on(kcloud_monitor::cli::run())
}

#[cfg(all(test, feature = "mimalloc"))]
mod tests {
    #[test]
    #[allow(unsafe_code)]
    fn the_number_of_the_option_is_that_of_this_version() {
        // Milliseconds, unless said otherwise; no option beside it is 1,000.
        let said = std::env::var("MIMALLOC_PURGE_DELAY").ok().and_then(|v| v.parse().ok());
        // SAFETY: reads a number of the allocator.
        let get = || unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(get(), said.unwrap_or(1_000));
        super::give_back_at_once();
        assert_eq!(get(), said.unwrap_or(0));
    }
}
