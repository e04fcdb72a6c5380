//! `docs/SOURCES.md`: what every bundled plugin reads, asks for and says. In: what the components say of themselves, their shipped
//! settings, and `docs/sources.toml`, in which stands what no component can say. Out: the page. A test holds the page to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use kcloud_monitor::catalogue::{Catalogue, Kind};
use kcloud_monitor::inventory::Quality;
use kcloud_monitor::plugins::Runtime;
use kcloud_monitor::plugins::capabilities::RIGHTS;
use kcloud_monitor::plugins::contract::MetricDef;
use serde::Deserialize;
use serde_json::Value;

use crate::shipped::{Shipped, shipped};

/// The part that is kept by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    reads: String,
    versions: String,
    limits: Vec<String>,
    captures: Vec<String>,
    real: Vec<String>,
}

/// The page as it must be.
pub async fn page(root: &Path) -> Result<String> {
    let runtime = Arc::new(Runtime::new(Some(&root.join("target/e2e-code")))?);
    let all = shipped(&runtime, &Catalogue::default(), root).await?;
    let text = std::fs::read_to_string(root.join("docs/sources.toml"))?;
    let by_hand: BTreeMap<String, ByHand> = toml::from_str(&text).context("docs/sources.toml")?;
    for name in by_hand.keys() {
        ensure!(
            all.iter().any(|s| s.settings.name == *name),
            "docs/sources.toml: [{name}] is no plugin; there is no config/plugins.d/{name}.toml"
        );
    }
    let mut out = String::from(
        "# Sources\n\nWhat comes with the host: what each plugin reads, asks for and says. `cargo xtask sources` writes this page from what the components say of\n\
         themselves, their samples and `docs/sources.toml`; a test fails when it is not what would be written. Names and units:\n\
         [DATA_MODELS](../spec/DATA_MODELS.md); what each source calls them: [PLUGIN_CONTRACT](../spec/PLUGIN_CONTRACT.md), section 4.\n\n\
         | plugin | reads | asks for | metrics | interval |\n|---|---|---|---|---|\n",
    );
    let mut sections = String::new();
    for one in &all {
        let name = &one.settings.name;
        let hand = by_hand
            .get(name)
            .with_context(|| format!("docs/sources.toml lacks [{name}]: what it reads, versions, limits, captures, real"))?;
        proofs(root, name, hand)?;
        let count = names(&one.generation.info.metrics).len();
        let count = if count == 0 { "any".to_owned() } else { count.to_string() };
        let interval = seconds(one.settings.interval);
        writeln!(out, "| [{name}](#{name}) | {} | {} | {count} | {interval} |", hand.reads, words(rights(one)))?;
        section(&mut sections, root, one, hand)?;
    }
    Ok(out + &sections)
}

fn section(out: &mut String, root: &Path, one: &Shipped, hand: &ByHand) -> Result<()> {
    let (name, info) = (&one.settings.name, &one.generation.info);
    ensure!(root.join(format!("docs/plugins/{name}.md")).is_file(), "docs/plugins/{name}.md is missing");
    write!(
        out,
        "\n## {name}\n\n{}. [Guide](plugins/{name}.md), [sample](../config/plugins.d/{name}.toml).\n\n| | |\n|---|---|\n",
        info.description
    )?;
    writeln!(out, "| component | `{}` {}, vendor `{}` |", info.name, info.version, info.vendor)?;
    writeln!(out, "| reads | {} |\n| versions | {} |", hand.reads, hand.versions)?;
    writeln!(out, "| asks for | {} |", words(rights(one)))?;
    let limits = &one.settings.limits;
    let call = format!(
        "every {}, at most {} a read; {} ms of CPU, {} MiB of memory, {} instances",
        seconds(one.settings.interval),
        seconds(one.settings.timeout),
        limits.cpu.as_millis(),
        limits.memory >> 20,
        limits.instances
    );
    writeln!(out, "| as sampled | {call} |")?;
    writeln!(out, "| `[config]` | {} |", settings(&info.config_schema)?)?;
    writeln!(out, "| limits | {} |", hand.limits.join("; "))?;
    let captures: Vec<String> = hand.captures.iter().map(|c| format!("`{c}`")).collect();
    let real: Vec<String> = hand.real.iter().map(|r| format!("[{r}](../{r})")).collect();
    writeln!(out, "| captures that its tests read | {} |", dash(captures.join(", ")))?;
    writeln!(out, "| tested against the real thing, or a server of ours | {} |", dash(real.join(", ")))?;
    match info.metrics.is_empty() {
        true => writeln!(out, "| metrics | any of the catalogue, and `x_…` |")?,
        false => {
            for (unit, all) in by_unit(&info.metrics) {
                writeln!(out, "| {unit} | {} |", all.join(", "))?;
            }
        }
    }
    Ok(())
}

/// Captures and tests must be what they are said to be.
fn proofs(root: &Path, name: &str, hand: &ByHand) -> Result<()> {
    let mut tests = String::new();
    for folder in [format!("plugins/{name}"), "plugins/mappings".to_owned(), "sdk/test/tests".to_owned(), "tests".to_owned()] {
        sources(&root.join(folder), &mut tests)?;
    }
    let fixtures = root.join("../shared/fixtures");
    for capture in &hand.captures {
        let named = match capture.strip_suffix('/') {
            Some(folder) => format!("fixtures/{folder}"),
            None => capture.rsplit('/').next().unwrap_or(capture).to_owned(),
        };
        ensure!(tests.contains(&named), "docs/sources.toml: [{name}] captures {capture:?}: no test names it");
        // Beside the repository only where its makers work on it.
        ensure!(
            !fixtures.is_dir() || fixtures.join(capture).exists(),
            "docs/sources.toml: [{name}] captures {capture:?}: there is no such capture"
        );
    }
    for test in &hand.real {
        let text = std::fs::read_to_string(root.join(test)).with_context(|| format!("docs/sources.toml: [{name}] real {test:?}"))?;
        // One test reads all dialects of the simulated fleet.
        let is_dialect =
            text.contains("DIALECTS") && root.join(format!("tests/fleet-sim/src/pages/{}.rs", name.replace('-', "_"))).is_file();
        ensure!(text.contains(name) || is_dialect, "docs/sources.toml: [{name}] real {test:?} does not name the plugin");
    }
    Ok(())
}

/// The text of all Rust files below a folder.
fn sources(folder: &Path, out: &mut String) -> Result<()> {
    let mut entries: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(all) => all.map(|e| Ok(e?.path())).collect::<Result<_>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => bail!("{}: {error}", folder.display()),
    };
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => sources(&path, out)?,
            false if path.extension().is_some_and(|e| e == "rs") => out.push_str(&std::fs::read_to_string(&path)?),
            false => {}
        }
    }
    Ok(())
}

fn rights(one: &Shipped) -> impl Iterator<Item = &str> {
    one.generation.rights_asked.iter().map(String::as_str).filter(|r| RIGHTS.contains(r))
}

fn words<'a>(all: impl Iterator<Item = &'a str>) -> String {
    dash(all.map(|r| format!("`{r}`")).collect::<Vec<_>>().join(", "))
}

fn dash(text: String) -> String {
    if text.is_empty() { "–".to_owned() } else { text }
}

fn seconds(span: std::time::Duration) -> String {
    match span.as_secs() {
        s if s > 0 && s % 60 == 0 => format!("{} min", s / 60),
        _ => format!("{} s", span.as_secs_f64()),
    }
}

/// Keys of a schema with their defaults.
fn settings(schema: &str) -> Result<String> {
    let schema: Value = serde_json::from_str(schema).context("config schema")?;
    let key = |(name, one): (&String, &Value)| match one.get("default") {
        Some(default) => format!("`{name}` = `{default}`"),
        None => format!("`{name}`"),
    };
    Ok(dash(schema["properties"].as_object().into_iter().flatten().map(key).collect::<Vec<_>>().join(", ")))
}

/// Each name once, with the qualities in which it is said.
fn names(all: &[MetricDef]) -> BTreeMap<&str, Vec<&MetricDef>> {
    let mut out: BTreeMap<&str, Vec<&MetricDef>> = BTreeMap::new();
    all.iter().for_each(|m| out.entry(&m.name).or_default().push(m));
    out
}

/// By unit: names, with what is not an ordinary measured gauge.
fn by_unit(all: &[MetricDef]) -> BTreeMap<&str, Vec<String>> {
    let mut out: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, defs) in names(all) {
        let mut notes = Vec::new();
        match defs[0].kind {
            Kind::Counter => notes.push("counter".to_owned()),
            Kind::State => notes.push(defs[0].states.join(" ")),
            Kind::Histogram => notes.push("histogram".to_owned()),
            Kind::Gauge | Kind::Info => {}
        }
        let is = |quality| defs.iter().any(|d| d.quality == quality);
        match (is(Quality::Measured), is(Quality::Derived), is(Quality::Modelled)) {
            (true, false, false) => {}
            (measured, derived, modelled) => {
                let all = [(measured, "measured"), (derived, "derived"), (modelled, "modelled")];
                notes.push(all.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect::<Vec<_>>().join(" or "));
            }
        }
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
        out.entry(&defs[0].unit).or_default().push(format!("`{name}`{notes}"));
    }
    out
}
