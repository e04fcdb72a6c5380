//! The plugins that come with the host, each loaded with its shipped settings (`config/plugins.d/NAME.toml`): what they ask for is what
//! the sample grants, and the sample's `[config]` fits the component's schema, or loading says what is wrong.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::config::{Config, Loader};
use kcloud_monitor::plugins::capabilities::{Commons, Shared};
use kcloud_monitor::plugins::generation::{Compiled, Generation};
use kcloud_monitor::plugins::verify::Verified;
use kcloud_monitor::plugins::{Runtime, Settings};

/// One of them.
pub struct Shipped {
    pub settings: Settings,
    pub generation: Arc<Generation>,
}

/// All of them, in order of their names. `root` is the repository; compiled code is kept below its `target`.
pub async fn shipped(runtime: &Arc<Runtime>, catalogue: &Catalogue, root: &Path) -> Result<Vec<Shipped>> {
    let mut config = Config::default();
    config.plugins.config_dir = root.join("config/plugins.d");
    let look = Loader::default().look(&config);
    ensure!(look.problems.is_empty(), "{}", look.problems.join("\n"));
    let mut all = Vec::new();
    for settings in look.settings {
        let file = root.join(format!("target/dist/plugins/{}.wasm", settings.component));
        let bytes = std::fs::read(&file).with_context(|| format!("{}: is it built? `cargo xtask components`", file.display()))?;
        let (compiling, verified) = (runtime.clone(), Verified::vouched(&settings.component, bytes)?);
        let compiled = tokio::task::spawn_blocking(move || Compiled::new(&compiling, &verified)).await??;
        let (limits, grants, credentials) = (settings.limits.clone(), settings.grants.clone(), settings.credentials.clone());
        let shared = Shared::new(&settings.name, limits, grants, credentials, Commons::new()?, None, Arc::default());
        let generation = Generation::new(runtime.clone(), catalogue, compiled, shared, &settings.config, 1, 0).await;
        let generation = generation.map_err(|e| anyhow::anyhow!("{}: {}", settings.name, settings.faults(&e).join("; ")))?;
        all.push(Shipped { settings, generation: Arc::new(generation) });
    }
    all.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
    Ok(all)
}
