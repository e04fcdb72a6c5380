//! `[target_files]`: targets that another program writes, in our own shape or as Prometheus file_sd. A bad file keeps its
//! last good targets.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ConfigError;
use super::plugin::TargetFile;

/// `paths` may hold one `*` in its last element, as in Prometheus.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetFiles {
    pub paths: Vec<String>,
}

/// What files held when they were last good.
#[derive(Default)]
pub struct LastGood(HashMap<PathBuf, Vec<TargetFile>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    targets: Vec<TargetFile>,
}

/// A group of Prometheus file_sd.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    Ours(Ours),
    FileSd(Vec<Group>),
}

/// Directories in which these files lie.
pub fn directories(files: &TargetFiles) -> impl Iterator<Item = PathBuf> + '_ {
    files.paths.iter().filter_map(|p| Some(Path::new(p).parent()?.to_owned()))
}

fn matching(pattern: &str) -> std::io::Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let Some((before, after)) = name.split_once('*') else { return Ok(vec![path.to_owned()]) };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap_or(Path::new("/")))? {
        let entry = entry?;
        let fits = |n: &str| n.len() >= before.len() + after.len() && n.starts_with(before) && n.ends_with(after) && !n.starts_with('.');
        if entry.file_name().to_str().is_some_and(fits) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Reads every file. What is wrong is said and does not spoil the others.
pub fn read(files: &TargetFiles, last_good: &mut LastGood) -> (Vec<TargetFile>, Vec<String>) {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for pattern in &files.paths {
        let paths = match matching(pattern) {
            Ok(paths) => paths,
            Err(error) => {
                problems.push(format!("[target_files] {pattern}: {error}"));
                continue;
            }
        };
        for path in paths {
            match one(&path) {
                Ok(targets) => drop(last_good.0.insert(path.clone(), targets)),
                Err(error) => problems.push(format!("{error}; its last good targets, if any, stay")),
            }
            all.extend(last_good.0.get(&path).into_iter().flatten().cloned());
        }
    }
    (all, problems)
}

fn one(path: &Path) -> Result<Vec<TargetFile>, ConfigError> {
    let wrong = |e: String| ConfigError(vec![format!("{}: {e}", path.display())]);
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    if path.extension().is_some_and(|e| e == "toml") {
        return super::parse::<Ours>(path, &text).map(|o| o.targets);
    }
    let form = "expected {\"targets\": [{\"id\", \"address\", …}]} or Prometheus file_sd [{\"targets\": [\"host:port\"], \"labels\": {…}}]";
    serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|e| wrong(e.to_string()))?;
    match serde_json::from_str(&text).map_err(|_| wrong(form.to_owned()))? {
        Json::Ours(ours) => Ok(ours.targets),
        Json::FileSd(groups) => Ok(groups.into_iter().flat_map(group).collect()),
    }
}

/// `__scheme__` and `__metrics_path__` make the address; `__cluster__` names a configured cluster; other labels that start with
/// `__` are Prometheus' own.
fn group(group: Group) -> Vec<TargetFile> {
    let label = |name: &str| group.labels.get(name).map(String::as_str);
    let (scheme, path) = (label("__scheme__").unwrap_or("http"), label("__metrics_path__").unwrap_or("/metrics"));
    let labels: BTreeMap<String, String> = group.labels.clone().into_iter().filter(|(k, _)| !k.starts_with("__")).collect();
    let one = |host: &String| TargetFile {
        id: host.clone(),
        address: format!("{scheme}://{host}{path}"),
        cluster: label("__cluster__").map(str::to_owned),
        labels: labels.clone(),
        credential: None,
        tls: None,
        ipmi: None,
        interval: None,
        config: toml::Table::new(),
    };
    group.targets.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read_and_a_bad_file_keeps_what_it_said_last() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.toml", "[[targets]]\nid = \"worker1\"\naddress = \"http://10.0.0.11:9400/metrics\"\n");
        write("b.json", r#"{"targets": [{"id": "worker2", "address": "http://10.0.0.12:9400/metrics"}]}"#);
        write("c.json", r#"[{"targets": ["10.0.0.13:9400"], "labels": {"node": "worker3", "__metrics_path__": "/m", "__meta_x": "y"}}]"#);
        write(".hidden.json", "nonsense");
        let files = TargetFiles { paths: ["a.toml", "*.json"].map(|p| dir.path().join(p).display().to_string()).to_vec() };
        let mut last_good = LastGood::default();
        let (all, problems) = read(&files, &mut last_good);
        assert!(problems.is_empty(), "{problems:?}");
        let addresses: Vec<&str> = all.iter().map(|t| t.address.as_str()).collect();
        assert_eq!(addresses, ["http://10.0.0.11:9400/metrics", "http://10.0.0.12:9400/metrics", "http://10.0.0.13:9400/m"]);
        assert_eq!(all[2].labels, BTreeMap::from([("node".to_owned(), "worker3".to_owned())]));
        write("c.json", "[{\"targets\": 5}]");
        let (again, problems) = read(&files, &mut last_good);
        assert_eq!(again.len(), 3);
        assert!(problems[0].contains("c.json") && problems[0].contains("file_sd"), "{problems:?}");
        std::fs::remove_file(dir.path().join("c.json")).unwrap();
        assert_eq!(read(&files, &mut last_good).0.len(), 2);
    }
}
