//! `kcloud-monitor`; everything is in the library.

#[tokio::main]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    kcloud_monitor::cli::run().await
}
