//! `kcloud-monitor`; everything is in the library.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<std::process::ExitCode> {
    // How many threads there are is settled before anything is parsed.
    let runtime = match std::env::args_os().skip(1).any(|a| a == "--agent") {
        true => kcloud_monitor::agent_runtime()?,
        false => kcloud_monitor::runtime()?,
    };
    runtime.block_on(kcloud_monitor::cli::run())
}
