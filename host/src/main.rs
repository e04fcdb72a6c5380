//! `kcloud-monitor`; everything is in the library.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<std::process::ExitCode> {
    kcloud_monitor::runtime()?.block_on(kcloud_monitor::cli::run())
}
