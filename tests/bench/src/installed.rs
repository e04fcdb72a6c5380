//! The installed host as a child of the bench, over files of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api::Started;
use crate::root;

/// How long a start, or anything that is waited for, may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits out a span that is measured.
pub fn wait(span: Duration) {
    std::thread::sleep(span);
}

/// Waits until something is so.
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = check() {
            return Ok(value);
        }
        ensure!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        wait(Duration::from_millis(20));
    }
}

pub struct Monitor {
    process: Started,
    pub base: String,
    pub password: String,
    client: reqwest::blocking::Client,
}

impl Monitor {
    /// Runs over `dir`, with the components in `plugins` and these files in plugins.d.
    pub fn start(dir: &Path, plugins: &Path, settings: &[(&str, String)]) -> Result<Self> {
        Self::start_with(dir, plugins, settings, "")
    }

    /// The same, with more in its configuration.
    pub fn start_with(dir: &Path, plugins: &Path, settings: &[(&str, String)], more: &str) -> Result<Self> {
        let port = free_port()?;
        // What is written while it runs lies beside what it watches.
        let (plugins_d, data) = (dir.join("etc/plugins.d"), dir.join("data"));
        fs::create_dir_all(&plugins_d)?;
        let config = format!(
            "data_dir = {data:?}\n[server]\nlisten = \"127.0.0.1:{port}\"\n[plugins]\ndir = {plugins:?}\nconfig_dir = {plugins_d:?}\n[clusters.cluster1]\n{more}"
        );
        let file = dir.join("etc/kcloud-monitor.toml");
        fs::write(&file, config)?;
        for (name, text) in settings {
            fs::write(plugins_d.join(format!("{name}.toml")), text)?;
        }
        let log = dir.join("host.log");
        let out = fs::File::options().create(true).append(true).open(&log)?;
        let child = Command::new(installed().join("kcloud-monitor"))
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()?;
        let client = reqwest::blocking::Client::builder().no_gzip().timeout(Duration::from_secs(20)).build()?;
        let (process, base) = (Started(child), format!("http://127.0.0.1:{port}"));
        until("the host is ready", || client.get(format!("{base}/readyz")).send().is_ok_and(|r| r.status() == 200).then_some(()))
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        // The first start printed it.
        let said = fs::read_to_string(&log)?;
        let password = said.split("password \"").nth(1).and_then(|p| p.split('"').next()).context("no password was printed")?.to_owned();
        Ok(Self { process, base, password, client })
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// A GET with the password that the first start printed.
    pub fn get(&self, path: &str) -> Result<Value> {
        let response = self.client.get(format!("{}{path}", self.base)).basic_auth("admin", Some(&self.password)).send()?;
        Ok(serde_json::from_slice(&response.bytes()?)?)
    }

    /// One plugin as the API shows it.
    pub fn plugin(&self, name: &str) -> Result<Value> {
        Ok(self.get(&format!("/api/v1/system/plugins/{name}"))?["data"].take())
    }
}

/// Where the build put what a user installs.
pub fn installed() -> PathBuf {
    root().join("target/dist")
}

/// A component with one custom section more: other bytes, and so another version, of the same code.
pub fn variant(name: &str, mark: u16) -> Result<Vec<u8>> {
    let places = [installed().join("plugins"), root().join("target/guests")];
    let file =
        places.iter().map(|p| p.join(format!("{name}.wasm"))).find(|p| p.is_file()).with_context(|| format!("{name}.wasm is not built"))?;
    let mut bytes = fs::read(file)?;
    bytes.extend([0, 4, 1, b'v', mark as u8, (mark >> 8) as u8]);
    Ok(bytes)
}

/// Puts a component in place as a careful operator does.
pub fn put(plugins: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (part, file) = (plugins.join(format!(".{name}.part")), plugins.join(format!("{name}.wasm")));
    fs::write(&part, bytes)?;
    Ok(fs::rename(part, file)?)
}
