//! The page of sources is what the components say of themselves.

use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_sources_is_what_would_be_generated() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = kcloud_collector_test::sources::page(&root).await.unwrap_or_else(|e| panic!("{e:#}"));
    let written = std::fs::read_to_string(root.join("docs/SOURCES.md")).expect("docs/SOURCES.md");
    let differs = page.lines().zip(written.lines()).find(|(new, old)| new != old);
    assert!(page == written, "docs/SOURCES.md is not what `cargo xtask sources` writes; first: {differs:?}");
    for index in ["docs/README.md", "docs/README.ko.md"] {
        assert!(std::fs::read_to_string(root.join(index)).expect(index).contains("(SOURCES.md)"), "{index} does not link it");
    }
}
