//! The licences of everything that goes into what a user installs, with their texts.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cargo;

/// Parts that no package manager knows of: name, licence, file with its text.
const ASSETS: &[(&str, &str, &[&str])] = &[
    ("redoc", "MIT", &["host/assets/redoc/LICENSE", "host/assets/redoc/redoc.standalone.js.LICENSE.txt"]),
    ("NanumSquareR.ttf", "OFL-1.1", &["host/assets/fonts/NanumSquareR.OFL.txt"]),
];

/// Writes one text of all licences: of the host with what it links, and of the components.
pub(super) fn write(root: &Path, to: &Path) -> Result<()> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut head = String::from("KCloud Monitor is Apache-2.0 (LICENSE). It contains these works of others.\n\n");
    let mut named = HashSet::new();
    for (workspace, first) in [(root.to_owned(), Some("kcloud-monitor")), (root.join("plugins"), None)] {
        for package in linked(&workspace, first)? {
            let field = |key: &str| package[key].as_str().unwrap_or("").to_owned();
            let name = format!("{} {}", field("name"), field("version"));
            if !named.insert(name.clone()) {
                continue;
            }
            writeln!(head, "{name}: {}", if field("license").is_empty() { "see its text".to_owned() } else { field("license") })?;
            let manifest = field("manifest_path");
            let dir = Path::new(&manifest).parent().context("a manifest lies in a directory")?;
            for text in texts_in(dir)? {
                texts.entry(text).or_default().push(name.clone());
            }
        }
    }
    for (name, licence, files) in ASSETS {
        writeln!(head, "{name}: {licence}")?;
        for file in *files {
            texts.entry(fs::read_to_string(root.join(file))?).or_default().push((*name).to_owned());
        }
    }
    ensure!(named.len() > 100, "only {} packages were found", named.len());
    for (text, of) in texts {
        write!(head, "\n{}\n{}\n\n{}\n", "=".repeat(80), of.join(", "), text.trim())?;
    }
    Ok(fs::write(to, head)?)
}

/// Packages of others that are linked into `first`, or into any member.
fn linked(workspace: &Path, first: Option<&str>) -> Result<Vec<Value>> {
    let out = cargo(workspace)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()?;
    ensure!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let all: Value = serde_json::from_slice(&out.stdout)?;
    let packages = all["packages"].as_array().context("no packages")?;
    let id = |v: &Value| v["id"].as_str().unwrap_or("").to_owned();
    let is_member = |p: &Value| p["source"].is_null();
    let mut open: Vec<String> = packages.iter().filter(|p| is_member(p) && first.is_none_or(|f| p["name"] == f)).map(id).collect();
    let nodes = all["resolve"]["nodes"].as_array().context("nothing resolved")?;
    let mut seen: HashSet<String> = open.iter().cloned().collect();
    while let Some(at) = open.pop() {
        let Some(node) = nodes.iter().find(|n| n["id"] == at) else { continue };
        for dependency in node["deps"].as_array().into_iter().flatten() {
            // `kind` is null for what is linked, and names what only builds or tests.
            let is_linked = dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k["kind"].is_null()));
            let to = dependency["pkg"].as_str().unwrap_or("").to_owned();
            if is_linked && seen.insert(to.clone()) {
                open.push(to);
            }
        }
    }
    Ok(packages.iter().filter(|p| seen.contains(&id(p)) && !is_member(p)).cloned().collect())
}

/// Texts of licences and notices in a package.
fn texts_in(dir: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("").to_ascii_uppercase();
        if path.is_file() && ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|head| name.starts_with(head)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files.iter().filter_map(|f| fs::read_to_string(f).ok()).map(|t| t.trim().to_owned()).collect())
}
