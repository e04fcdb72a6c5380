//! Writes docs/SOURCES.md anew: `cargo xtask sources`.

use std::path::Path;

use anyhow::Result;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = tokio::runtime::Runtime::new()?.block_on(kcloud_collector_test::sources::page(&root))?;
    std::fs::write(root.join("docs/SOURCES.md"), page)?;
    Ok(())
}
