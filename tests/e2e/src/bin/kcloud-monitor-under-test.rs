//! The program, built beside its tests so that they can start it.

#[tokio::main]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    kcloud_monitor::cli::run().await
}
