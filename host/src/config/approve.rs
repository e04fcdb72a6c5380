//! Writes an operator's approval into `plugins.d/NAME.toml`: the one place where rights stand. What else stands in the file,
//! comments too, stays as it is.

use std::io::Write;
use std::path::Path;

use serde::Deserialize;
use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::parse;
use super::plugin::PluginFile;
use crate::plugins::capabilities::globs::Globs;
use crate::plugins::capabilities::http_policy::Policy;

/// What is granted; what a plugin asks for and this leaves out is granted in its narrowest form.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Approval {
    pub http: Option<Http>,
    pub files: Option<Vec<String>>,
    pub state: Option<bool>,
    pub ipmi: Option<bool>,
    pub nvml: Option<bool>,
}

/// `"targets"`, or origins and ranges beside them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Http {
    Word(String),
    Origins(Vec<String>),
}

/// Grants what is given and, of what is asked for, the rest. Says what was written; writes nothing that would not be read back.
pub fn grant(dir: &Path, plugin: &str, asked: &[String], given: Approval) -> Result<String, String> {
    if plugin.is_empty() || plugin.starts_with('.') || plugin.contains(['/', '\\']) {
        return Err(format!("{plugin:?} is no plugin's name"));
    }
    let path = dir.join(format!("{plugin}.toml"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    let mut document: DocumentMut = text.parse().map_err(|e| format!("{}: {e}", path.display()))?;
    let grants = document.entry("grants").or_insert(Item::Table(Table::new()));
    let grants = grants.as_table_like_mut().ok_or_else(|| format!("{}: grants is no table", path.display()))?;
    let list = |all: &[String]| value(all.iter().collect::<Array>());
    let is_asked = |right: &str| asked.iter().any(|a| a == right);
    let mut written = Vec::new();
    let mut put = |right: &str, item: Item| {
        written.push(format!("{right} = {}", item.to_string().trim()));
        grants.insert(right, item);
    };
    match &given.http {
        Some(Http::Word(word)) => put("http", value(word)),
        Some(Http::Origins(origins)) => {
            origins.iter().try_for_each(|o| Policy::entry(o)).map_err(|e| e.to_string())?;
            put("http", list(origins));
        }
        None if is_asked("http") => put("http", value("targets")),
        None => {}
    }
    match &given.files {
        Some(globs) if !globs.is_empty() => {
            Globs::new(globs)?;
            put("files", list(globs));
        }
        _ if is_asked("files") => {
            return Err("it asks for files: say which, as absolute globs such as /sys/class/hwmon/*/temp1_input".to_owned());
        }
        _ => {}
    }
    for (right, given) in [("state", given.state), ("ipmi", given.ipmi), ("nvml", given.nvml)] {
        if let Some(allow) = given.or(is_asked(right).then_some(true)) {
            put(right, value(allow));
        }
    }
    if written.is_empty() {
        return Err("it asks for nothing that is not granted".to_owned());
    }
    let next = document.to_string();
    parse::<PluginFile>(&path, &next).map_err(|e| e.to_string())?;
    let write = || {
        let mut part = tempfile::NamedTempFile::new_in(dir)?;
        part.write_all(next.as_bytes())?;
        part.as_file().sync_all()?;
        let mode = std::fs::metadata(&path).map(|m| m.permissions()).or_else(|_| {
            use std::os::unix::fs::PermissionsExt;
            std::io::Result::Ok(std::fs::Permissions::from_mode(0o644))
        })?;
        part.as_file().set_permissions(mode)?;
        part.persist(&path).map(drop).map_err(|e| e.error)
    };
    write().map_err(|e: std::io::Error| format!("{} cannot be written: {e}", path.display()))?;
    Ok(written.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(rights: &[&str]) -> Vec<String> {
        rights.iter().map(|r| (*r).to_owned()).collect()
    }

    #[test]
    fn what_is_asked_for_is_granted_narrowly_and_comments_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.toml");
        std::fs::write(&path, "# mine\ninterval = \"5s\"\n[grants] # rights\nstate = false\n").unwrap();
        let said = grant(dir.path(), "p", &asked(&["http", "state"]), Approval::default()).unwrap();
        assert_eq!(said, "http = \"targets\", state = true");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("# mine\ninterval = \"5s\"") && text.contains("# rights") && text.contains("http = \"targets\""), "{text}");
    }

    #[test]
    fn a_plugin_without_a_file_gets_one_and_nothing_wrong_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = Some(vec!["/sys/class/hwmon/*/temp1_input".to_owned()]);
        grant(dir.path(), "p", &asked(&["files"]), Approval { files, ..Approval::default() }).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("p.toml")).unwrap(), "[grants]\nfiles = [\"/sys/class/hwmon/*/temp1_input\"]\n");
        assert!(grant(dir.path(), "q", &asked(&["files"]), Approval::default()).unwrap_err().contains("absolute globs"));
        assert!(grant(dir.path(), "q", &[], Approval::default()).unwrap_err().contains("nothing"));
        let files = Some(vec!["etc/*".to_owned()]);
        assert!(grant(dir.path(), "q", &[], Approval { files, ..Approval::default() }).unwrap_err().contains("absolute path"));
        let http = Some(Http::Origins(vec!["http://169.254.169.254".to_owned()]));
        assert!(grant(dir.path(), "q", &[], Approval { http, ..Approval::default() }).unwrap_err().contains("never reached"));
        assert!(grant(dir.path(), "../q", &asked(&["http"]), Approval::default()).is_err());
        std::fs::write(dir.path().join("bad.toml"), "grants = 5\n").unwrap();
        assert!(grant(dir.path(), "bad", &asked(&["http"]), Approval::default()).unwrap_err().contains("no table"));
        assert!(!dir.path().join("q.toml").exists());
    }
}
